#!/bin/bash
# test-readme.sh BUILD: the C and C++ programs of README.md compile, run and say what they should; its two that measure run.
# (The Rust one is a doc test.)
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

block() { # LANGUAGE: the first fenced block of this language
  awk -v fence='```'"$1" '$0 == fence { on = 1; next } on && /^```/ { exit } on' README.md
}

block c >"$work/readme.c"
block cpp >"$work/readme.cpp"
flags=(-Iinclude -Wall -Wextra -Wpedantic -Werror -L"$build/lib" -Wl,-rpath,"$(realpath "$build/lib")")
"${CC:-gcc}" -std=c11 "$work/readme.c" "${flags[@]}" -lshmds -o "$work/c"
"${CXX:-g++}" -std=c++20 "$work/readme.cpp" "${flags[@]}" -lshmds -o "$work/cpp"
for program in c cpp; do
  said=$("$work/$program")
  [ "$said" = 42 ] || { echo "README: the $program program said '$said'" >&2; exit 1; }
done
measure=$(grep -o '\./latency_writer_cpp & [^`]*' README.md)
cp "$build"/examples/latency_*_cpp "$work"
(cd "$work" && bash -c "$measure && wait \$!" >measured) && [ -s "$work/latency.svg" ] || { echo "README: $measure: failed" >&2; exit 1; }
echo "README: the C and C++ programs run"
