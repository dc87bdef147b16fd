#!/bin/bash
# check-symbols.sh LIBRARY: the shared library exports what include/shmds.h declares and nothing else, and its SONAME is
# right.
set -euo pipefail
library=$(realpath "${1:?usage: check-symbols.sh LIBRARY}")
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

nm --dynamic --defined-only "$library" | awk '{print $NF}' | sort >"$work/exported"
# Without comments and line breaks, a prototype is a name of ours followed by an opening parenthesis.
gcc -E -P -Iinclude include/shmds.h | tr '\n' ' ' | grep -oE '\b(shm|speculo)_[a-z0-9_]+ *\(' |
  tr -d ' (' | sort -u >"$work/declared"

failed=0
complain() { # WHAT LIST
  [ -z "$2" ] || { printf '%s:\n%s\n' "$1" "$2" >&2; failed=1; }
}
complain "exported, but neither shm_* nor speculo_*" "$(grep -vE '^(shm|speculo)_' "$work/exported" || true)"
complain "exported, but not declared in shmds.h" "$(comm -23 "$work/exported" "$work/declared")"
complain "declared in shmds.h, but not exported" "$(comm -13 "$work/exported" "$work/declared")"

soname=$(readelf --dynamic --wide "$library" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
wanted=libshmds.so.$(scripts/version.sh abi)
[ "$soname" = "$wanted" ] || complain "SONAME" "${soname:-none}, expected $wanted"
[ -s "$work/declared" ] || complain "prototypes" "none found in shmds.h"

[ $failed = 0 ] && echo "symbols: $(wc -l <"$work/exported") exported and declared, SONAME $soname"
