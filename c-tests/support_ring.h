/* What the ring peers share: programs at one end of a ring, or beside it, started by tests that have other programs, in
 * other languages, at the rest. peer_ring_c is written with shmds.h alone, peer_ring_cpp with shmds.hpp alone; both take
 * the same words:
 *
 *   peer push SEGMENT BULK PAUSE_US   writes samples, 1 to BULK at a time, from where the last writer stopped
 *   peer pop SEGMENT BULK PAUSE_US    pops up to BULK at a time, waiting for them
 *   peer poll SEGMENT BULK PAUSE_US   reads from position 0, up to BULK at a time, looking again and again
 *   peer wait SEGMENT BULK PAUSE_US   as poll, asleep while there is nothing
 *
 * The ring is called "r". The others in the segment are the atomic u64 "end", at which everybody stops, 0 as long as that is
 * not known; and the array of u64 "log":
 *   0 and 1   the position after the bulk the writer is about to push, and after the last that it pushed
 *   8 + n     if the array is longer than 8: how often the sample of position n was handed out by pop
 * All but push check that each sample is whole and the one that has to come after what was lost, print "ready" when they
 * have begun, and at last "got N lost L". They pause PAUSE_US microseconds after each call. They end with 0, or with 1 if
 * anything was wrong, and standard error says what.
 */
#ifndef SHMDS_TEST_SUPPORT_RING_H
#define SHMDS_TEST_SUPPORT_RING_H
#include "support_peer.h"

#include <sched.h>

#define RING_MAX_BULK 1024
#define RING_LOOK_NS UINT64_C(20000000) /* how long a wait is before the end is looked at */

/* Every word depends on the position and on who wrote it, and the last on all the others. */
struct sample {
  uint64_t word[8];
};

static inline uint64_t sample_sum(const struct sample *s) {
  uint64_t sum = 0;
  for (int i = 0; i < 7; i++) sum += s->word[i];
  return sum;
}

static inline void sample_write(struct sample *s, uint64_t position, uint64_t writer) {
  s->word[0] = position;
  s->word[1] = writer;
  for (uint64_t i = 2; i < 7; i++) s->word[i] = (position + writer) ^ (i << 40);
  s->word[7] = sample_sum(s);
}

/* Whether it is whole, and the sample of that position. */
static inline int sample_is(const struct sample *s, uint64_t position) {
  uint64_t wrong = (s->word[0] ^ position) | (s->word[7] ^ sample_sum(s));
  for (uint64_t i = 2; i < 7; i++) wrong |= s->word[i] ^ (position + s->word[1]) ^ (i << 40);
  return wrong == 0;
}

/* How many are written at once at this position: 1 to `bulk`. */
static inline size_t ring_bulk(uint64_t position, uint64_t bulk) {
  return (size_t)(1 + (position * UINT64_C(0x9E3779B97F4A7C15) >> 40) % bulk);
}

struct ring_job {
  const char *verb, *segment;
  uint64_t bulk, pause_us;
};

static inline struct ring_job ring_parse(int argc, char **argv) {
  struct ring_job job;
  if (argc != 5) peer_fail("usage", "peer push|pop|poll|wait SEGMENT BULK PAUSE_US");
  job.verb = argv[1];
  job.segment = argv[2];
  job.bulk = strtoull(argv[3], NULL, 10);
  job.pause_us = strtoull(argv[4], NULL, 10);
  if (job.bulk < 1 || job.bulk > RING_MAX_BULK) peer_fail("usage", "BULK is 1 to 1024");
  return job;
}

/* Where someone who takes samples is. */
struct ring_judge {
  uint64_t next, got, lost;
};

static inline void ring_ready(void) {
  printf("ready\n");
  fflush(stdout);
}

/* Checks what a call brought. */
static inline void ring_judge_samples(struct ring_judge *judge, const struct sample *samples, size_t count,
                                      uint64_t lost) {
  judge->lost += lost;
  judge->next += lost;
  for (size_t i = 0; i < count; i++) {
    if (!sample_is(&samples[i], judge->next + i)) {
      fprintf(stderr, "peer: sample %" PRIu64 " is %" PRIu64 " of writer %" PRIu64 ", or torn\n", judge->next + i,
              samples[i].word[0], samples[i].word[1]);
      exit(1);
    }
  }
  judge->next += count;
  judge->got += count;
}

static inline int ring_verdict(const struct ring_judge *judge) {
  printf("got %" PRIu64 " lost %" PRIu64 "\n", judge->got, judge->lost);
  return 0;
}

#endif
