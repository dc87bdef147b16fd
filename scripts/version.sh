#!/bin/sh
# Prints the version, which is written once, in Cargo.toml; with "abi", the ABI number that the SONAME ends in.
set -eu
cd "$(dirname "$0")/.."
version=$(sed -n 's/^version *= *"\([0-9]*\.[0-9]*\.[0-9]*\).*/\1/p' Cargo.toml | head -n 1)
[ -n "$version" ] || { echo "no version in Cargo.toml" >&2; exit 1; }
case "${1:-}:$version" in
abi:0.*) echo "${version%.*}" ;; # 0.MINOR
abi:*) echo "${version%%.*}" ;;  # MAJOR
*) echo "$version" ;;
esac
