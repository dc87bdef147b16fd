/* What the byte queue peers share: programs at one end of a byte queue, started by tests that have another program, in any
 * language, at the other. peer_bytes_c is written with shmds.h alone, peer_bytes_cpp with shmds.hpp alone; both take the
 * same words:
 *
 *   peer send SEGMENT COUNT SEED MOST   sends, ends the stream, and looks that nothing can be sent after that
 *   peer take SEGMENT COUNT SEED MOST   takes until the end, and checks
 *
 * The queue is called "q". If it has messages, COUNT of them are sent, of 1 to MOST bytes, all binary orders of magnitude as
 * likely; even ones copied, odd ones written in place, where more may have been reserved. They are taken in turns: one in
 * place, one copied if it is there already, and all that are there. Each is checked byte for byte; its tag is its number and
 * the sum of its words, so that order and contents cannot be taken for others.
 *
 * If it is a stream, COUNT bytes are sent in pieces of 1 to MOST, and some of what was reserved is given up. Taking asks for
 * 1 byte or more, up to half of the queue and to more than will come, and consumes all that is shown or a part. MOST must
 * leave room beside what taking waits for.
 *
 * Taking prints "took N copied C in batches B": messages or bytes. Peers end with 0, or with 1 if anything was wrong, and
 * standard error says what.
 */
#ifndef SHMDS_TEST_SUPPORT_BYTES_H
#define SHMDS_TEST_SUPPORT_BYTES_H
#include "support_peer.h"

#define BYTES_BATCH 16

static inline uint64_t bytes_mix(uint64_t word) {
  word = (word ^ word >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  word = (word ^ word >> 27) * UINT64_C(0x94d049bb133111eb);
  return word ^ word >> 31;
}

/* How long message or piece `number` is: 1 to `most`. */
static inline uint64_t bytes_length(uint64_t seed, uint64_t number, uint64_t most) {
  uint64_t orders = 1;
  const uint64_t random = bytes_mix(seed ^ number);
  while (orders < 64 && most >> orders != 0) orders++;
  const uint64_t least = UINT64_C(1) << random % orders;
  const uint64_t length = least + (random >> 32) % least;
  return length < most ? length : most;
}

/* How many are reserved for so many. */
static inline uint64_t bytes_reserved(uint64_t length, uint64_t number, uint64_t longest) {
  return length + number % 50 < longest ? length + number % 50 : longest;
}

/* Word `nth` of message `number`, or of the stream (number 0). */
static inline uint64_t bytes_word(uint64_t seed, uint64_t number, uint64_t nth) {
  return (seed ^ number * UINT64_C(0x9E3779B97F4A7C15)) + (nth + 1) * UINT64_C(0xD1B54A32D192ED03);
}

/* Writes message `number` to `to`; its tag. */
static inline uint64_t bytes_write(void *to, uint64_t length, uint64_t seed, uint64_t number) {
  uint64_t sum = number;
  for (uint64_t at = 0; at < length; at += 8) {
    const size_t part = (size_t)(length - at < 8 ? length - at : 8);
    uint64_t word = bytes_word(seed, number, at / 8), written = 0;
    memcpy(&written, &word, part);
    memcpy((char *)to + at, &written, part);
    sum += written;
  }
  return sum;
}

/* Fails unless this is message `number`, whole. */
static inline void bytes_check(const void *from, uint64_t length, uint64_t tag, uint64_t seed, uint64_t number,
                               uint64_t most) {
  uint64_t sum = number, wrong = length ^ bytes_length(seed, number, most);
  for (uint64_t at = 0; at < length && wrong == 0; at += 8) {
    const size_t part = (size_t)(length - at < 8 ? length - at : 8);
    uint64_t word = bytes_word(seed, number, at / 8), read = 0;
    memcpy(&read, (const char *)from + at, part);
    wrong |= memcmp(&read, &word, part) != 0;
    sum += read;
  }
  if (wrong != 0 || tag != sum) {
    fprintf(stderr, "peer: message %" PRIu64 " came with %" PRIu64 " bytes and tag %" PRIu64 ": torn, or another\n", number,
            length, tag);
    exit(1);
  }
}

/* The stream's byte at `position`. */
static inline unsigned char bytes_at(uint64_t seed, uint64_t position) {
  return (unsigned char)(bytes_mix(bytes_word(seed, 0, position / 8)) >> position % 8 * 8);
}

static inline void bytes_fill(void *to, uint64_t length, uint64_t seed, uint64_t position) {
  for (uint64_t i = 0; i < length; i++) ((unsigned char *)to)[i] = bytes_at(seed, position + i);
}

static inline void bytes_compare(const void *from, uint64_t length, uint64_t seed, uint64_t position) {
  for (uint64_t i = 0; i < length; i++) {
    if (((const unsigned char *)from)[i] != bytes_at(seed, position + i)) {
      fprintf(stderr, "peer: the stream's byte %" PRIu64 " is another\n", position + i);
      exit(1);
    }
  }
}

/* How many of the bytes that are shown are consumed. */
static inline uint64_t bytes_part(uint64_t turn, uint64_t there) { return turn % 3 == 0 ? (there + 1) / 2 : there; }

struct bytes_job {
  const char *verb, *segment;
  uint64_t count, seed, most;
};

static inline struct bytes_job bytes_parse(int argc, char **argv) {
  struct bytes_job job;
  if (argc != 6 || (strcmp(argv[1], "send") != 0 && strcmp(argv[1], "take") != 0)) {
    peer_fail("usage", "peer send|take SEGMENT COUNT SEED MOST");
  }
  job.verb = argv[1];
  job.segment = argv[2];
  job.count = peer_number(argv[3]);
  job.seed = peer_number(argv[4]);
  job.most = peer_number(argv[5]);
  return job;
}

static inline void bytes_verdict(const struct bytes_job *job, uint64_t took, uint64_t copied, uint64_t batches) {
  if (took != job->count) peer_fail("take", "the stream ended too early, or too late");
  printf("took %" PRIu64 " copied %" PRIu64 " in batches %" PRIu64 "\n", took, copied, batches);
}

#endif
