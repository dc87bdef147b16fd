#!/bin/bash
# Measures the queues beside their peers: what a call costs alone (criterion), then throughput and round trips between two
# cores. A table on stdout; target/bench/report.json. The source of both says what is what: benches/peers/.
# SHMDS_BENCH_FEATURES=--no-default-features leaves out iceoryx2, which takes longest to build.
set -euo pipefail
cd "$(dirname "$0")/.."
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}")
export SHMDS_BENCH_NAME=shmds-bench-$$ CARGO_TARGET_DIR CRITERION_HOME="$CARGO_TARGET_DIR/bench/criterion"
peers=(--locked --manifest-path benches/peers/Cargo.toml ${SHMDS_BENCH_FEATURES:-})

clean_up() { # what a killed run leaves; a finished one leaves nothing
  rm -rf /dev/shm/*"$SHMDS_BENCH_NAME"* "$CARGO_TARGET_DIR/bench/iceoryx2"
}
trap clean_up EXIT
rm -rf "$CRITERION_HOME" "$CARGO_TARGET_DIR/bench/report.json"

cargo build --release "${peers[@]}"
echo "==> one thread" >&2
cargo bench --bench single "${peers[@]}" -- --noplot >&2
echo "==> two cores" >&2
timeout 170 "$CARGO_TARGET_DIR/release/shmds-bench" "$@"
