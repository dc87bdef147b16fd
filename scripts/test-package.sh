#!/bin/bash
# test-package.sh BUILD: installs the library, moves the prefix, and uses it from outside without Rust; then uses the
# sources as a subdirectory. Of BUILD, a CMake build tree, only the cargo directory is used: nothing is compiled twice.
set -euo pipefail
build=$(realpath "${1:?usage: test-package.sh BUILD}")
cd "$(dirname "$0")/.."
source=$PWD
version=$(scripts/version.sh)
cargo_dir=$(sed -n 's/^SHMDS_CARGO_DIR:PATH=//p' "$build/CMakeCache.txt")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "package: FAILED: $*" >&2; exit 1; }
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "$*"; }; }
options=(-DCMAKE_BUILD_TYPE=Release -DSHMDS_BUILD_TESTS=OFF -DSHMDS_BUILD_EXAMPLES=OFF -DSHMDS_CARGO_DIR="$cargo_dir")

# In front of the real ones: a cargo and a rustc that only leave a mark.
mkdir "$work/no-rust"
for tool in cargo rustc rustup; do
  printf '#!/bin/sh\necho "%s $*" >>"%s"\nexit 1\n' "$tool" "$work/rust-was-called" >"$work/no-rust/$tool"
  chmod +x "$work/no-rust/$tool"
done

for libdir in lib "lib/$(gcc -dumpmachine)"; do
  quietly cmake -S . -B "$work/build" "${options[@]}" \
    -DCMAKE_INSTALL_PREFIX="$work/prefix" -DCMAKE_INSTALL_LIBDIR="$libdir"
  quietly cmake --build "$work/build"
  quietly cmake --install "$work/build"
  quietly env DESTDIR="$work/stage" cmake --install "$work/build"
  quietly diff -r "$work/prefix" "$work/stage$work/prefix"
  mv "$work/prefix" "$work/moved"
  rm -rf "$work/stage" "$work/build"

  for place in "$work" "$build" "$source" "$cargo_dir"; do
    if grep -rlF "$place" "$work/moved" >&2; then fail "these installed files mention $place"; fi
  done
  quietly env PATH="$work/no-rust:$PATH" scripts/use-package.sh "$work/moved" "$libdir" "$version"
  [ ! -e "$work/rust-was-called" ] || fail "the installed package called $(cat "$work/rust-was-called")"
  rm -rf "$work/moved"
  echo "package: $libdir: installed, moved, used from C and C++, shared and static, by CMake and pkg-config, without Rust"
done

quietly cmake -S c-tests/package -B "$work/fetched" -DSHMDS_SOURCE="$source" -DSHMDS_VERSION="$version" "${options[@]}"
quietly cmake --build "$work/fetched"
quietly ctest --test-dir "$work/fetched" --output-on-failure --no-tests=error
echo "package: used from source, by FetchContent"
