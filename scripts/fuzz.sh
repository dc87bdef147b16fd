#!/bin/bash
# fuzz.sh [SECONDS]: lets libFuzzer attack the library, with the address sanitizer, SECONDS (60) for each target. What it finds is in
# fuzz/artifacts, and `cargo fuzz run TARGET FILE` repeats it. What is new is kept in a copy of the corpus; `fuzz.sh SECONDS keep` puts what
# covers most of it back into fuzz/corpus.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
targets="live_segment attach speculo_reader c_abi"
cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz
# The sanitizer is a nightly feature. The thread that watches for calls that hang is still there in the end, which it would call a leak.
export RUSTC_BOOTSTRAP=1 ASAN_OPTIONS=detect_leaks=0
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}")/fuzz
export CARGO_TARGET_DIR
work=$(mktemp -d)
# A run that is ended by force leaves names behind.
trap 'rm -rf "$work" /dev/shm/shmds-malice-*' EXIT
cargo fuzz build
for target in $targets; do
  mkdir "$work/$target" "$work/$target.least"
  cp fuzz/corpus/$target/* "$work/$target"
  options="-timeout=30 -rss_limit_mb=2048 -malloc_limit_mb=64 -detect_leaks=0 -print_final_stats=1"
  cargo fuzz run $target "$work/$target" -- $options -max_total_time="$seconds" -max_len=2048
  if [ "${2:-}" = keep ]; then
    cargo fuzz run $target -- -merge=1 -timeout=30 "$work/$target.least" "$work/$target"
    # At most 200 of them, of all sizes.
    step=$(($(find "$work/$target.least" -type f | wc -l) / 200 + 1))
    rm fuzz/corpus/$target/*
    find "$work/$target.least" -type f -printf '%s %p\n' | sort -n | awk "NR % $step == 0 { print \$2 }" | xargs cp -t fuzz/corpus/$target
  fi
done
