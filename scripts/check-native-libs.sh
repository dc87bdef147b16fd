#!/bin/bash
# The system libraries that the package names for libshmds.a are those that rustc says it needs.
set -euo pipefail
cd "$(dirname "$0")/.."
needed=$(cargo rustc --locked --lib --crate-type staticlib -- --print native-static-libs 2>&1 |
  sed -n 's/.*native-static-libs: *//p' | tail -n 1)
packaged=$(sed -n 's/^set(SHMDS_SYSTEM_LIBRARIES \(.*\))$/\1/p' cmake/shmds-targets.cmake | sed -E 's/(^| )/\1-l/g')
if [ -z "$needed" ] || [ "$needed" != "$packaged" ]; then
  printf 'rustc needs:     %s\nthe package has: %s (cmake/shmds-targets.cmake)\n' "$needed" "$packaged" >&2
  exit 1
fi
echo "system libraries of libshmds.a: $packaged"
