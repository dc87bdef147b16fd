#!/bin/bash
# use-package.sh PREFIX LIBDIR VERSION: uses the libshmds installed in PREFIX (its libraries in PREFIX/LIBDIR) as a user
# would: C and C++, shared and static, CMake and pkg-config; and asks for versions that it must not pass for.
set -euo pipefail
[ $# = 3 ] || { echo "usage: use-package.sh PREFIX LIBDIR VERSION" >&2; exit 2; }
prefix=$(realpath "$1")
libdir=$prefix/$2
version=$3
cd "$(dirname "$0")/../c-tests/package"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { cat "$work/log" >&2; echo "FAILED: $*" >&2; exit 1; }
IFS=. read -r major minor patch <<<"$version"

# configure DIRECTORY VERSION_TO_ASK_FOR
configure() {
  cmake -S . -B "$work/$1" -DCMAKE_PREFIX_PATH="$prefix" -DSHMDS_VERSION="$version" -DSHMDS_WANTED="$2" \
    >"$work/log" 2>&1
}
configure right "$major.$minor" || fail "find_package(shmds $major.$minor)"
cmake --build "$work/right" >"$work/log" 2>&1 || fail "cannot build with CMake"
ctest --test-dir "$work/right" --output-on-failure >"$work/log" 2>&1 || fail "CMake's consumers fail"
grep -q "100% tests passed, 0 tests failed out of 4" "$work/log" || fail "these are not the four consumers"

wrong_versions="$major.$minor.$((patch + 1)) $major.$((minor + 1)) $((major + 1))"
[ "$minor" = 0 ] || wrong_versions+=" $major.$((minor - 1))"
for wrong in $wrong_versions; do
  if configure wrong "$wrong"; then fail "find_package(shmds $wrong) accepts $version"; fi
  grep -q "shmds-config.cmake, version: $version" "$work/log" || fail "shmds $wrong was refused for another reason"
done

export PKG_CONFIG_PATH=$libdir/pkgconfig
found=$(pkg-config --modversion shmds)
[ "$found" = "$version" ] || fail "pkg-config finds version $found"
read -ra shared <<<"$(pkg-config --cflags --libs shmds)"
read -ra static <<<"$(pkg-config --static --cflags --libs shmds | sed 's/-lshmds/-l:libshmds.a/')"
for compile in "gcc consumer.c" "g++ -std=c++20 consumer.cpp"; do
  $compile -o "$work/shared" "${shared[@]}"
  LD_LIBRARY_PATH=$libdir "$work/shared" "$version"
  $compile -o "$work/static" "${static[@]}"
  "$work/static" "$version"
  if readelf -d "$work/static" | grep 'NEEDED.*shmds'; then fail "the static consumer needs the shared library"; fi
done
