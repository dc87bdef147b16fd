#!/bin/bash
# Kills a process right after each of its stores to shared memory, in every operation, and looks whether the others can go on. The library
# counts its stores in this build only, which therefore has a directory of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
export RUSTFLAGS="--cfg kill_points"
dir=${CARGO_TARGET_DIR:-target}/kill-points
tests=$(cargo test --locked --target-dir "$dir" --test death_at_every_store -- --list | grep -c 'every_store: test$') || true
[ "$tests" -gt 0 ] || { echo "kill-points: no test ran" >&2; exit 1; }
said=$(mktemp)
trap 'rm -f "$said"' EXIT
cargo test --locked --target-dir "$dir" --test death_at_every_store "$@" 2>&1 | tee "$said"
awk '$1 == "part:" { operations += $2; stores += $4; deaths += $6; findings += $8 }
  END { printf "kill-points: %d operations, %d stores, %d deaths, %d findings\n", operations, stores, deaths, findings }' "$said"
