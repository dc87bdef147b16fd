#!/bin/bash
# Runs the Rust tests, doc tests included. SHMDS_PEERS_DIR is where the C and C++ programs lie that some of them start.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${SHMDS_PEERS_DIR:?is not set; \`make test-rust\` builds the peers and sets it}"
if cargo nextest --version >/dev/null 2>&1; then
  cargo nextest run --locked
  cargo test --locked --doc
else
  cargo test --locked
fi
