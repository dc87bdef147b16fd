#!/bin/bash
# The long runs, for three idle hours: storms of kills and races, the model check without a bound on preemptions, the sanitizers on all they
# can take, and an hour of fuzzing.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${SHMDS_PEERS_DIR:?is not set; \`make soak\` builds the peers and sets it}"
export SHMDS_SOAK=1
cargo test --locked --release --test storm --test pool_storm --test ring_storm --test speculo_storm --test races --test verify --test verify_damage --test malice --test byte_queue \
  --test byte_queue_languages --test speculo_clock -- --nocapture
cargo test --locked --release --test storm_all -- --ignored --exact --nocapture \
  in_a_storm_of_all_structures_nothing_is_lost_doubled_or_leaked_and_nobody_hangs
scripts/loom.sh
scripts/sanitize.sh
scripts/fuzz.sh 900
