#!/bin/bash
# Measures reading an array beside a heap array, in three languages (benches/array.*); byte queues beside sockets, pipes and
# boost (benches/bytes.cpp; as root it installs libboost-dev where that is missing); speculo beside the bare memory
# (benches/speculo.*; also in target/bench/speculo.json); and the queues beside their peers:
# what a call costs alone (criterion), then throughput and round trips between two cores (benches/peers/). Tables on
# stdout; the queues also in target/bench/report.json. `bench.sh array` measures the arrays only, `bench.sh bytes` the byte queues,
# `bench.sh speculo` speculo.
# SHMDS_BENCH_FEATURES=--no-default-features leaves out iceoryx2, which takes longest to build.
set -euo pipefail
cd "$(dirname "$0")/.."
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}")
export SHMDS_BENCH_NAME=shmds-bench-$$ CARGO_TARGET_DIR CRITERION_HOME="$CARGO_TARGET_DIR/bench/criterion"
# Their own directory: the library's files have no hash in their names, and theirs are built with other features.
peers_dir="$CARGO_TARGET_DIR/bench/peers"
peers=(--locked --manifest-path benches/peers/Cargo.toml --target-dir "$peers_dir" ${SHMDS_BENCH_FEATURES:-})

clean_up() { # what a killed run leaves; a finished one leaves nothing
  rm -rf /dev/shm/*"$SHMDS_BENCH_NAME"* "$CARGO_TARGET_DIR/bench/iceoryx2"
}
trap clean_up EXIT
rm -rf "$CRITERION_HOME" "$CARGO_TARGET_DIR/bench/report.json"

array() { # pinned to the first core
  local lib cores work="$CARGO_TARGET_DIR/bench/array"
  lib=$(realpath "${CMAKE_BINARY_DIR:-target/cmake}/lib")
  cores=${SHMDS_BENCH_CORES:-$(taskset -cp $$ | sed 's/.*: //; s/-.*//')}
  mkdir -p "$work"
  cargo bench --locked --bench array --no-run
  # Where the same loop lies in a cache line makes a factor of two.
  local flags=(-O3 -falign-loops=64 -Wall -Wextra -Werror -Iinclude -L"$lib" -Wl,-rpath,"$lib")
  "${CC:-gcc}" -std=c11 "${flags[@]}" benches/array.c -lshmds -lm -o "$work/c"
  "${CXX:-g++}" -std=c++20 "${flags[@]}" benches/array.cpp -lshmds -o "$work/cpp"
  echo "Reading arrays of 64-bit numbers: nanoseconds an element, medians of 11 repetitions; and median, least and"
  echo "greatest of their ratios, shmds to heap. What is done is told in benches/array.rs."
  echo "                                heap     shmds   ratio"
  taskset -c "${cores%%,*}" cargo bench --quiet --locked --bench array
  taskset -c "${cores%%,*}" "$work/c"
  taskset -c "${cores%%,*}" "$work/cpp"
}

bytes() {
  local lib work="$CARGO_TARGET_DIR/bench/bytes"
  mkdir -p "$CARGO_TARGET_DIR/bench"
  lib=$(realpath "${CMAKE_BINARY_DIR:-target/cmake}/lib")
  if [ ! -e /usr/include/boost/interprocess/ipc/message_queue.hpp ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends libboost-dev >/dev/null || true
  fi
  "${CXX:-g++}" -std=c++20 -O3 -Wall -Wextra -Werror -Iinclude -L"$lib" -Wl,-rpath,"$lib" benches/bytes.cpp -lshmds -o "$work"
  timeout 170 "$work"
}

speculo() {
  local lib rust work="$CARGO_TARGET_DIR/bench/speculo"
  mkdir -p "$CARGO_TARGET_DIR/bench"
  lib=$(realpath "${CMAKE_BINARY_DIR:-target/cmake}/lib")
  rust=$(cargo bench --locked --bench speculo --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*\/speculo-[^"]*\)".*/\1/p')
  "${CXX:-g++}" -std=c++20 -O3 -Wall -Wextra -Werror -Iinclude -L"$lib" -Wl,-rpath,"$lib" benches/speculo.cpp -lshmds -o "$work"
  timeout 300 "$work" "$rust" "$work.json"
}

case ${1:-} in array | bytes | speculo)
  "$1"
  exit
  ;;
esac
echo "==> arrays" >&2
array
echo "==> byte queues" >&2
bytes
echo "==> speculo" >&2
speculo

cargo build --release "${peers[@]}"
echo "==> one thread" >&2
cargo bench --bench single "${peers[@]}" -- --noplot >&2
echo "==> two cores" >&2
timeout 170 "$peers_dir/release/shmds-bench" "$@"
