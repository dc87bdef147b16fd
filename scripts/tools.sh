#!/bin/bash
# tools.sh [COMMAND...]: looks for the tools that building and testing need, and for these commands. What is missing is
# installed where that can be done with apt-get as root, and named otherwise. Says nothing when all is there.
set -euo pipefail
others=("$@")

cmake_is_recent() {
  local have
  have=$(cmake --version 2>/dev/null | sed -n 's/^cmake version //p')
  [ -n "$have" ] && [ "$(printf '3.20\n%s\n' "$have" | sort -V | head -n 1)" = 3.20 ]
}

missing() { # one Debian package per line
  command -v gcc >/dev/null || echo gcc
  command -v g++ >/dev/null || echo g++
  command -v nm >/dev/null && command -v readelf >/dev/null || echo binutils
  command -v pkg-config >/dev/null || echo pkg-config
  cmake_is_recent || echo cmake
  for other in "${others[@]}"; do command -v "$other" >/dev/null || echo "$other"; done
}

mapfile -t packages < <(missing)
if [ ${#packages[@]} -gt 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "tools: installing ${packages[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq || true # what it could not fetch is missed below
  apt-get install -qq -y --no-install-recommends "${packages[@]}" libc6-dev >/dev/null || true
  mapfile -t packages < <(missing)
fi

command -v cargo >/dev/null && [ ${#packages[@]} = 0 ] && exit 0

{
  echo "These tools are missing:"
  command -v cargo >/dev/null || echo "  cargo (Rust's build tool): https://rustup.rs"
  for package in "${packages[@]}"; do
    case $package in
    cmake) echo "  cmake, 3.20 or newer: your distribution's package, or https://cmake.org/download" ;;
    binutils) echo "  nm and readelf: your distribution's package binutils" ;;
    *) echo "  $package: your distribution's package" ;;
    esac
  done
  if [ ${#packages[@]} -gt 0 ] && command -v apt-get >/dev/null; then
    echo "On this machine: sudo apt-get install ${packages[*]}"
  fi
} >&2
exit 1
