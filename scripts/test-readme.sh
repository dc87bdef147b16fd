#!/bin/bash
# test-readme.sh BUILD: the C and C++ programs of README.md compile, run and say what they should; so do the examples it starts.
# (The Rust programs are doc tests.)
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

block() { # LANGUAGE N: the fenced block of this language that comes as the Nth
  awk -v fence='```'"$1" -v nth="$2" '$0 == fence && ++n == nth { on = 1; next } on && /^```/ { exit } on' README.md
}
example() { # START: what begins so in backquotes, with names that nobody else has
  grep -o "\`$1[^\`]*" README.md | tr -d '\`' | sed "s/\(news\|weather\)/readme-$$/g"
}
fail() { echo "README: $*" >&2; exit 1; }

flags=(-Iinclude -Wall -Wextra -Wpedantic -Werror -L"$build/lib" -Wl,-rpath,"$(realpath "$build/lib")")
for nth in 1:42 2:42.5; do
  for language in c cpp; do
    block $language "${nth%:*}" | sed "s/\"prices\"/\"prices-$$\"/" >"$work/readme.$language"
  done
  "${CC:-gcc}" -std=c11 "$work/readme.c" "${flags[@]}" -lshmds -o "$work/c"
  "${CXX:-g++}" -std=c++20 "$work/readme.cpp" "${flags[@]}" -lshmds -o "$work/cpp"
  for program in c cpp; do
    said=$("$work/$program")
    [ "$said" = "${nth#*:}" ] || fail "program $nth in $program said '$said'"
  done
done

cp "$build"/examples/{latency,speculo}_*_c* "$work"
measure=$(example ./latency_writer)
(cd "$work" && bash -c "$measure && wait \$!" >measured) && [ -s "$work/latency.svg" ] || fail "$measure: failed"
merge=$(example 'seq 3')
said=$(cd "$work" && bash -c "$merge; wait" | sort | tr '\n' ' ')
[ "$said" = "alice: 1 alice: 2 alice: 3 bob: 4 bob: 5 bob: 6 " ] || fail "$merge: said '$said'"
watch=$(example 'timeout 1 ./speculo_block')
said=$(cd "$work" && bash -c "$watch")
grep -q '^3: Bern 3.00 ' <<<"$said" || fail "$watch: said '$said'"
echo "README: the C and C++ programs run"
