#!/bin/bash
# Kills a process right after each of its stores to shared memory, in every operation, and looks whether the others can go on. The library
# counts its stores in this build only, which therefore has a directory of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
export RUSTFLAGS="--cfg kill_points"
dir=${CARGO_TARGET_DIR:-target}/kill-points
tests=$(cargo test --locked --target-dir "$dir" --test death_at_every_store -- --list | grep -c 'every_store: test$') || true
[ "$tests" -gt 0 ] || { echo "kill-points: no test ran" >&2; exit 1; }
cargo test --locked --target-dir "$dir" --test death_at_every_store "$@"
