#!/bin/bash
# Measures the library beside its peers and the machine's limits: docs/PERFORMANCE.md says what and how. Whoever measures leaves
# samples in target/bench; of those come the table, target/bench/report.json and the pictures beside it. Ten minutes.
#
# `bench.sh PART` measures only cases whose names contain PART (`bench.sh array`, `bench.sh bytes`, `bench.sh "round trip"`);
# `bench.sh check` runs everything once, to see that it works; `bench.sh docs` writes the last run into docs/PERFORMANCE.md.
# SHMDS_BENCH_REPETITIONS says how often (9), SHMDS_BENCH_CORES where (the first two allowed, "0,1").
# SHMDS_BENCH_FEATURES=--no-default-features leaves out iceoryx2, which takes longest to build.
set -euo pipefail
cd "$(dirname "$0")/.."
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}")
export SHMDS_BENCH_NAME=shmds-bench-$$ CARGO_TARGET_DIR CRITERION_HOME="$CARGO_TARGET_DIR/bench/criterion"
work="$CARGO_TARGET_DIR/bench"
lib=$(realpath "${CMAKE_BINARY_DIR:-target/cmake}/lib")
# Their own directory: the library's files have no hash in their names, and theirs are built with other features.
peers=(--locked --manifest-path benches/peers/Cargo.toml --target-dir "$work/peers" ${SHMDS_BENCH_FEATURES:-})
coordinator="$work/peers/release/shmds-bench"
part=${1:-} status=0

clean_up() { # what a killed run leaves; a finished one leaves nothing
  rm -rf /dev/shm/*"$SHMDS_BENCH_NAME"* "$work/iceoryx2"
}
trap clean_up EXIT

packages() { # peers that are headers; those that cannot be had are left out, and the table says so
  local wanted=(libboost-dev libck-dev libreaderwriterqueue-dev libconcurrentqueue-dev libatomic-queue-dev) package
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 0
  for package in "${wanted[@]}"; do
    dpkg -s "$package" >/dev/null 2>&1 ||
      DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$package" >/dev/null 2>&1 ||
      echo "  $package cannot be had" >&2
  done
}

compile() { # OUTPUT SOURCE FLAG...
  local compiler=("${CXX:-g++}" -std=c++20) link=(-L"$lib" -Wl,-rpath,"$lib" -lshmds -lrt -lm)
  [[ $2 == *.cpp ]] || compiler=("${CC:-gcc}" -std=c11)
  "${compiler[@]}" -O3 -Wall -Wextra -Werror -Iinclude "${@:3}" "$2" "${link[@]}" -o "$work/$1"
}

keep() { # NAME COMMAND...: its samples; the rest is for people
  echo "==> $1" >&2
  timeout 300 "${@:2}" >"$work/$1.samples"
  grep -v "$(printf '\t')" "$work/$1.samples" || true
}

arrays() { # pinned to the first core
  local core=${SHMDS_BENCH_CORES:-$(taskset -cp $$ | sed 's/.*: //; s/-.*//')} each
  core=${core%%,*}
  cargo bench --locked --bench array --no-run
  # Where the same loop lies in a cache line makes a factor of two.
  for each in c cpp; do compile "array-$each" "benches/array.$each" -falign-loops=64; done
  keep array-rust taskset -c "$core" cargo bench --quiet --locked --bench array
  for each in c cpp; do keep "array-$each" taskset -c "$core" "$work/array-$each"; done
}

mkdir -p "$work"
[ "$part" != docs ] || exec "$coordinator" docs
if [ "$part" = check ]; then
  export SHMDS_BENCH_REPETITIONS=1
  part=
fi
rm -rf "$CRITERION_HOME" "$work/report.json" "$work"/*.samples
packages
cargo build --release "${peers[@]}"

if [[ "arrays" == *"$part"* ]]; then arrays; fi
if [[ "bytes" == *"$part"* ]]; then
  compile bytes benches/bytes.cpp
  keep bytes "$work/bytes"
fi
if [[ "speculo" == *"$part"* ]]; then
  rust=$(cargo bench --locked --bench speculo --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*\/speculo-[^"]*\)".*/\1/p')
  compile speculo benches/speculo.cpp
  keep speculo "$work/speculo" "$rust" "$work/speculo.json"
fi
if [ -z "${SHMDS_BENCH_REPETITIONS:-}" ] && [[ "criterion" == *"$part"* ]]; then
  echo "==> criterion" >&2
  cargo bench --bench single "${peers[@]}" -- --noplot >&2
fi
if [[ ! "array bytes speculo criterion" == *"${part:-all}"* ]]; then
  echo "==> structures" >&2
  compile cpp benches/peers/cpp/main.cpp
  timeout 720 "$coordinator" run "$part" || status=$?
fi
"$coordinator" report
exit "$status"
