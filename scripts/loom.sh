#!/bin/bash
# Model-checks the lock-free cores (without a bound on preemptions where SHMDS_SOAK is set), then checks that the check
# bites: with a bug planted in them (--cfg seeded_bug) every one of these tests has to fail.
set -euo pipefail
cd "$(dirname "$0")/.."
loom() { # RUSTFLAGS ARGUMENT...
  RUSTFLAGS=$1 cargo test --locked --release --lib --target-dir "${CARGO_TARGET_DIR:-target}/loom" "${@:2}"
}

loom "--cfg loom" loom
mapfile -t tests < <(loom "--cfg loom" --quiet loom -- --list 2>/dev/null | sed -n 's/: test$//p')
[ ${#tests[@]} -gt 0 ] || { echo "loom: no test ran" >&2; exit 1; }

twin="--cfg loom --cfg seeded_bug"
loom "$twin" --quiet --no-run # a twin that does not compile would fail for the wrong reason
unset SHMDS_SOAK
for test in "${tests[@]}"; do # one by one, as what loom finds may end the process
  status=0
  loom "$twin" -- --exact "$test" >/dev/null 2>&1 || status=$?
  [ $status != 0 ] || { echo "loom: $test did NOT find the planted bug" >&2; exit 1; }
done
echo "loom: ${#tests[@]} tests passed, and each found the planted bug"
