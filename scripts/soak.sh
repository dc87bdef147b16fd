#!/bin/bash
# The long runs, for three idle hours: storms of kills and races, the model check without a bound on preemptions, the sanitizers on all they
# can take, and an hour of fuzzing.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${SHMDS_PEERS_DIR:?is not set; \`make soak\` builds the peers and sets it}"
export SHMDS_SOAK=1
cargo test --locked --release --test storm_all --test storm --test pool_storm --test ring_storm --test speculo_storm --test races --test verify --test verify_damage --test malice --test byte_queue \
  --test byte_queue_languages --test speculo_clock --test speculo_hostile -- --nocapture
scripts/loom.sh
scripts/sanitize.sh
scripts/fuzz.sh 900
