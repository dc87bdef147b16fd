#!/bin/bash
# sanitize.sh [thread|address|valgrind]...: looks for races, for what is read and written beyond its bounds, and for leaks, in the C and C++ tests
# with a library that is instrumented like them. A planted race must be found.
# All three by default. SHMDS_SOAK=1 runs more tests, for longer. Valgrind takes the tests from CMAKE_BINARY_DIR, as they are.
#
# ThreadSanitizer sees neither across processes nor across two mappings: c-tests/test_threads* have threads on one. Valgrind has no mremap that
# doubles a mapping (src/os/doubled.rs), so it runs nothing with byte queues; nor tests with bounds on time, as it lets one thread run at a time.
set -euo pipefail
cd "$(dirname "$0")/.."
target=x86_64-unknown-linux-gnu
dir=$(realpath -m "${CARGO_TARGET_DIR:-target}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap exit INT TERM
soak=${SHMDS_SOAK:-}
read -ra libraries < <(sed -n 's/^set(SHMDS_SYSTEM_LIBRARIES \(.*\))$/\1/p' cmake/shmds-targets.cmake | sed -E 's/(^| )/\1-l/g')
libraries+=(-lstdc++)

library() { # SANITIZER FLAGS...: the static library, instrumented
  # -Zsanitizer is not stable yet; it works with the stable compiler.
  RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=$1 ${*:2}" cargo build --locked --quiet --lib --target $target --target-dir "$dir"
  cp "$dir/$target/debug/libshmds.a" "$work/libshmds.a"
}

# What LLVM calls when it instruments for threads, and GCC's library of that does not have.
shim() {
  local each
  echo '#include <string.h>'
  for each in memcpy:const\ void\ * memmove:const\ void\ * memset:int; do
    echo "void *__tsan_${each%%:*}(void *to, ${each#*:} what, size_t n) { return ${each%%:*}(to, what, n); }"
  done
}

compile() { # SANITIZER FILE [OBJECT]: the program's path
  local compiler=("${CXX:-g++}" -std=c++20)
  [[ $2 == *.cpp ]] || compiler=("${CC:-gcc}" -std=c11)
  "${compiler[@]}" -g -O1 -fno-omit-frame-pointer -fsanitize="$1" -Iinclude "c-tests/$2" ${3:+"$3"} "$work/libshmds.a" "${libraries[@]}" \
    -o "$work/${2/./_}"
  echo "$work/${2/./_}"
}

reports=0 tests=0
look() { # MARK COMMAND...: runs it; its reports have the mark in them
  local status=0 found
  timeout 300 "${@:2}" >"$work/out" 2>&1 || status=$?
  found=$(grep -cE "$1" "$work/out") || true
  tests=$((tests + 1)) reports=$((reports + found))
  [ $status = 0 ] && [ "$found" = 0 ] && return
  tail -n 200 "$work/out" >&2
  echo "sanitize: FAILED ($status, $found reports): ${*:2}" >&2
  exit 1
}

say() { echo "sanitize: $1: $tests tests, $reports reports$2"; tests=0; }

thread_sanitizer() {
  local flags=-Cunsafe-allow-abi-mismatch=sanitizer mark="WARNING: ThreadSanitizer" file program
  local files=(test_threads.c test_threads_bytes.c test_threads.cpp test_inline.cpp)
  # A child of a program with threads may go on.
  export TSAN_OPTIONS="die_after_fork=0 halt_on_error=0"
  [ -z "$soak" ] || files+=(test_queue.c test_table.c test_segment.c test_ring.cpp test_shmds.cpp test_atomic.c)
  shim | "${CC:-gcc}" -O1 -fno-builtin -fsanitize=thread -x c -c - -o "$work/shim.o"
  library thread "$flags" --cfg seeded_bug
  program=$(compile thread test_threads.c "$work/shim.o")
  timeout 300 "$program" >"$work/out" 2>&1 || true
  grep -q "$mark" "$work/out" || { echo "sanitize: thread: the planted race was NOT found" >&2; exit 1; }
  library thread "$flags"
  for file in "${files[@]}"; do
    program=$(compile thread "$file" "$work/shim.o")
    look "$mark" "$program"
  done
  say thread ", and the planted race found"
}

address_sanitizer() {
  local file program files=(test_threads.c test_threads_bytes.c test_threads.cpp test_array.c test_pool.c test_ring.c test_table.c test_byte_queue.c test_bad_input.c)
  [ -z "$soak" ] || mapfile -t files < <(cd c-tests && ls test_*.c test_*.cpp)
  export ASAN_OPTIONS=detect_leaks=1
  library address
  for file in "${files[@]}"; do
    program=$(compile address "$file")
    look "ERROR: (Address|Leak)Sanitizer" "$program"
  done
  say address ""
}

under_valgrind() {
  local name names=(test_threads test_array test_atomic test_pool)
  # Leaks are AddressSanitizer's to find: children that tests fork end without closing what they inherited.
  local memcheck=(valgrind -q --fair-sched=yes --error-exitcode=9)
  [ -z "$soak" ] || names+=(test_ring test_queue test_speculo)
  command -v valgrind >/dev/null || { echo "sanitize: valgrind: NOT RUN: it is missing"; return; }
  for name in "${names[@]}"; do
    SHMDS_TURNS=${soak:+2}500 look "^==[0-9]+== (Invalid|Conditional|Use of|Syscall param)" \
      "${memcheck[@]}" "${CMAKE_BINARY_DIR:-target/cmake}/c-tests/${name}_c_static"
  done
  say valgrind ""
}

for tool in "${@:-thread address valgrind}"; do
  for one in $tool; do
    case $one in
    thread) thread_sanitizer ;;
    address) address_sanitizer ;;
    valgrind) under_valgrind ;;
    *) echo "usage: sanitize.sh [thread|address|valgrind]..." >&2; exit 2 ;;
    esac
  done
done
