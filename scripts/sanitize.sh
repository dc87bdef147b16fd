#!/bin/bash
# sanitize.sh [thread|address|valgrind]...: looks for races, for what is read and written beyond its bounds, and for leaks, in the C and C++ tests
# with a library that is instrumented like them; in soak for races in the Rust tests that have threads, too. A planted race must be found.
# All three by default. SHMDS_SOAK=1 runs more tests, for longer. Valgrind takes the tests from CMAKE_BINARY_DIR, as they are.
#
# ThreadSanitizer sees neither across processes nor across two mappings: c-tests/test_threads* and tests/threads.rs have threads on one. Valgrind has
# no mremap that doubles a mapping (src/os/doubled.rs), so it runs nothing with byte queues; nor tests with bounds on time, as it lets one thread run at a time.
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

# -Zsanitizer is not stable yet; it works with the stable compiler.
instrumented() { # SANITIZER AND FLAGS, CARGO'S COMMAND, ARGUMENT...: the command, in `command`
  command=(env RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=$1" cargo "$2" --locked --quiet --target $target --target-dir "$dir" "${@:3}")
}

library() { # SANITIZER FLAGS...: the static library, instrumented
  instrumented "$*" build --lib
  "${command[@]}"
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

reports=0 tests=0 rust=0
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
  if [ -z "$soak" ]; then
    say thread ", and the planted race found"
    return
  fi
  rust_tests "thread $flags" "$mark"
  say thread ", $rust Rust tests among them, and the planted race found in C and in Rust"
}

# Rust tests that have threads on one mapping. Only in soak: that the threads of a scope have ended is told in the part of std that is not
# instrumented, so what comes after a scope whose threads were not joined one by one may be reported, once in many runs.
rust_tests() { # SANITIZER AND FLAGS, MARK
  local many=four_producers_and_four_consumers_lose_and_double_nothing_and_keep_the_order line words passed files
  local which=("lib" "test=threads" "test=speculo"
    "test=queue $many whoever_waits_is_woken_by_what_it_waits_for a_shutdown_wakes_everybody_who_waits"
    "test=ring a_ring_that_waits_moves_everything_from_thread_to_thread who_is_attached_read_only_looks_on"
    "test=byte_queue those_who_sleep_are_woken_by_what_they_wait_for_and_by_the_end" "test=table")
  # Not tests/fork.rs: an entry freed through another attachment's mapping, or by a child, and filled through this one looks like a race.
  mapfile -t files < <(printf -- '--%s\n' "${which[@]%% *}" | sort -u)
  export TSAN_OPTIONS="$TSAN_OPTIONS print_suppressions=0 suppressions=$PWD/scripts/thread-sanitizer.supp"

  instrumented "$1 --cfg seeded_bug" test --test=queue -- --nocapture --exact $many
  timeout 900 "${command[@]}" >"$work/out" 2>&1 || true
  grep -q "$2" "$work/out" || { echo "sanitize: thread: the planted race was NOT found in Rust" >&2; exit 1; }

  # What they need, before anything of theirs is timed.
  instrumented "$1" test --no-run "${files[@]}"
  "${command[@]}"
  for line in "${which[@]}"; do
    read -ra words <<<"$line"
    # The harness keeps what tests say behind a lock that is not instrumented.
    instrumented "$1" test "--${words[0]}" -- --nocapture ${words[1]:+--exact "${words[@]:1}"}
    look "$2" "${command[@]}"
    passed=$(sed -nE 's/^test result: ok\. ([0-9]+) passed.*/\1/p' "$work/out" | tail -n 1)
    [ ${#words[@]} = 1 ] || [ "$passed" = $((${#words[@]} - 1)) ] || { echo "sanitize: thread: $passed of these ran: $line" >&2; exit 1; }
    tests=$((tests + passed - 1)) rust=$((rust + passed))
  done
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
