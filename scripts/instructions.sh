#!/bin/bash
# instructions.sh BUILD [refresh]: counts the instructions of the hot paths (benches/instructions.*) under callgrind and compares them
# with benches/instructions.txt, which `refresh` writes anew. A count depends neither on the clock nor on the processor
# (benches/instructions_libc.c), but on what made the code: with other compilers than the baseline's, only gross changes are told apart.
set -euo pipefail
build=$(realpath "${1:?usage: instructions.sh BUILD [refresh]}")
cd "$(dirname "$0")/.."
baseline=benches/instructions.txt
name=shmds-instructions-$$
work=$(mktemp -d)
trap 'rm -rf "$work" /dev/shm/*"$name"*' EXIT
trap exit INT TERM

if [ "$(uname -m)" != x86_64 ]; then
  echo "instructions: NOT COMPARED: the baseline is for x86_64, this is $(uname -m)"
  exit
fi
if ! command -v valgrind >/dev/null; then
  echo "instructions: NOT COMPARED: valgrind is missing (your distribution's package)"
  exit
fi

makers() { # what the counts depend on beside the sources
  rustc --version
  "${CXX:-g++}" --version | head -n 1
  getconf GNU_LIBC_VERSION
}

count() { # PROGRAM: "instructions<TAB>path", by what 2n runs take more than n
  mkdir "$work/out" "$work/area"
  # From there, as long paths take longer.
  (cd "$work/area" && LD_PRELOAD="$work/libc.so" timeout 120 valgrind -q --tool=callgrind --callgrind-out-file="$work/out/part" \
    --toggle-collect=measured --dump-after=measured "$1" "$name" . >"$work/paths")
  find "$work/out" -name 'part.*' | sort -V | xargs sed -n 's/^totals: //p' >"$work/totals"
  awk 'NR == FNR { total[NR] = $1; next }
       { printf "%.2f\t%s\n", (total[2 * FNR] - total[2 * FNR - 1]) / 1024, $0 }
       END { if (NR != 3 * FNR) { print "callgrind counted something else" >"/dev/stderr"; exit 1 } }' "$work/totals" "$work/paths"
  rm -r "$work/out" "$work/area"
}

strict=(-Wall -Wextra -Werror)
"${CC:-gcc}" -std=c11 -D_GNU_SOURCE -O1 -ffreestanding "${strict[@]}" -fPIC -shared \
  benches/instructions_libc.c -o "$work/libc.so"
"${CXX:-g++}" -std=c++20 -O3 "${strict[@]}" -Iinclude benches/instructions.cpp -L"$build/lib" -Wl,-rpath,"$build/lib" \
  -lshmds -o "$work/cpp"
rust=$(cargo bench --locked --bench instructions --no-run --message-format=json |
  sed -n 's/.*"executable":"\([^"]*\/instructions-[^"]*\)".*/\1/p')
for program in "$work/cpp" "$rust"; do count "$program"; done >"$work/counts"
makers >"$work/makers"

if [ "${2:-}" = refresh ]; then
  {
    echo "# Instructions of the hot paths, each run once: \`make instructions-baseline\` counts them, \`make test-instructions\` compares."
    echo "# Made by:"
    sed 's/^/# /' "$work/makers"
    cat "$work/counts"
  } >"$baseline"
  echo "instructions: $(wc -l <"$work/counts") paths counted, in $baseline"
  exit
fi

bound=2 note=
if ! diff <(sed -n '3,5s/^# //p' "$baseline") "$work/makers" >"$work/others"; then
  bound=25 note=", which other compilers made: \`make instructions-baseline\` brings back 2 %"
  sed 's/^</baseline:/; s/^>/here:    /; /^[0-9-]/d' "$work/others"
fi
# Whole instructions of the few that a short path has are more than a few percent of it, and may move with the compiler.
awk -F'\t' -v bound=$bound -v note="$note" -v slack=$((bound == 2 ? 0 : 4)) '
  NR == FNR { if (!/^#/) old[$2] = $1; next }
  !($2 in old) { printf "%9s %9.2f          %s: NEW\n", "", $1, $2; failed++; next }
  {
    change = 100 * ($1 / old[$2] - 1)
    beyond = (change > bound || change < -bound) && ($1 - old[$2]) ^ 2 > slack ^ 2
    printf "%9.2f %9.2f %+7.2f %% %s%s\n", old[$2], $1, change, $2, beyond ? (change > 0 ? ": MORE" : ": LESS") : ""
    failed += beyond
    delete old[$2]
    paths++
  }
  BEGIN { print "      was        is   change" }
  END {
    for (path in old) { printf "%9.2f %9s          %s: GONE\n", old[path], "", path; failed++ }
    if (failed) {
      printf "instructions: %d NOT within %d %% of the baseline%s\n", failed, bound, note
      print "If that is meant (fewer, a new path, or more for a reason that the commit tells), make instructions-baseline."
      exit 1
    }
    printf "instructions: %d paths within %d %% of the baseline%s\n", paths, bound, note
  }' "$baseline" "$work/counts"
