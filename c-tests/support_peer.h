/* What the peers share: programs on one side of a structure, started by tests that have another program, in another
 * language, on the other side. peer_c is written with shmds.h alone, peer_cpp with shmds.hpp alone; both take the same
 * words:
 *
 *   peer produce SEGMENT QUEUE PRODUCER_ID COUNT [--bulk N] [--inplace] [--pause-us U]
 *       Enqueues COUNT messages with the sequences 0, 1, ...; waits where the queue is full; pauses U microseconds after
 *       each (or each bulk).
 *   peer consume SEGMENT QUEUE COUNT [--bulk N] [--inplace] [--pause-us U]
 *       Dequeues COUNT messages, or, if COUNT is 0, as many as come until the queue is shut down. Prints
 *       "consumed N lost-order L bad B": how many came; how many of these not after the one before from the same
 *       producer; how many with a wrong check. Ends with 0 if and only if L and B are 0 and N is COUNT (or COUNT is 0).
 *   peer hold SEGMENT QUEUE claim|peek
 *       Claims a place or peeks at an element (waiting for it), prints "held POSITION" and does nothing more until it is
 *       killed. A claimed place is written, but not committed.
 *   peer storm-produce SEGMENT QUEUE PRODUCER_ID FIRST LOG [--inplace]
 *       Enqueues messages with the sequences FIRST, FIRST + 1, ... until it is killed or the queue is shut down. LOG is a
 *       file of at least 16 bytes. Word 0 is the next sequence, stored before the call that enqueues it; word 1 is one
 *       more than the last sequence known to be in (FIRST at first), stored after the call.
 *   peer storm-consume SEGMENT QUEUE LOG [--inplace]
 *       Dequeues messages until it is killed or the queue is shut down. LOG is a file of zeros. The messages so far are
 *       pairs (producer, sequence) from word 1 on; word 0 is how many, stored last. With --inplace each is logged
 *       between peek and release. A log that is not empty is continued.
 *
 *   peer span-fill SEGMENT SPAN SEED
 *   peer span-check SEGMENT SPAN SEED
 *       Writes bytes that follow from SEED; finds them, and fails otherwise.
 *   peer array-write SEGMENT ARRAY COUNT
 *       Completes the writings up to number COUNT (0: until it is killed), one behind the other, beginning after the one
 *       that is there; see peer_writing.
 *   peer array-read SEGMENT ARRAY COUNT
 *       Takes snapshots until it has seen writing COUNT (0: until it is killed). Fails when one is a mixture, or older
 *       than the one before. Prints "read N torn T": how many were whole, and how often the array was torn.
 *   peer array-hold SEGMENT ARRAY COUNT
 *       Begins a writing, writes the first COUNT elements, prints "held COUNT" and does nothing more until it is killed.
 *   peer atomic-ping SEGMENT ATOMIC ROUNDS
 *   peer atomic-pong SEGMENT ATOMIC ROUNDS
 *       ROUNDS times (pong, 0: until it is killed), ping stores a value that is not 0 and waits for 0; pong waits for
 *       it and stores 0. The atomic is of any type; of eight bytes, only the upper four differ. Ping lets pong fall
 *       asleep each time, and prints "median-us M", microseconds for there and back.
 *   peer atomic-add SEGMENT ATOMIC LOG
 *       Adds 1 to an atomic of 64 bits until it is killed. Word 0 of LOG is how often it has begun to, word 1 how often it has
 *       done so. Fails when the value does not grow.
 *   peer pool-give SEGMENT POOL QUEUE COUNT
 *   peer pool-take SEGMENT POOL QUEUE COUNT
 *       Give acquires COUNT objects one by one, writes them, sends each handle as a message's producer, and waits until
 *       none is left; take adopts, checks and releases them.
 *   peer pool-hold SEGMENT POOL COUNT
 *       Acquires COUNT objects, prints "held COUNT" and does nothing more until it is killed.
 *   peer pool-storm SEGMENT POOL DOOMED NUMBER LOG
 *       Acquires one to four objects, marks them, finds its marks, releases them, again and again until it is killed.
 *       Fails when an object that it got bears the mark of another NUMBER, unless element NUMBER of the array DOOMED says
 *       that this one was about to be killed; or when its own marks change. Word 0 of LOG is how often it did so.
 *
 * An array's elements are of 8 bytes, a pool's objects of PEER_OBJECT_WORDS times as many.
 *
 * If the variable SHMDS_PEER_DIARY names a file, the verbs of storms, array-write, array-read, atomic-ping and atomic-pong note
 * there how many operations came to something, and which took long (tests/support/diary.rs).
 *
 * Words are 64-bit, in the machine's order, written through a shared mapping, so that they survive the peer. Peers wait
 * up to 5 seconds for the segment, and then for the structure, to appear. They end with 0: all was right; 1: something was
 * wrong, and standard error says what; 2: the words make no sense; 3: the log is full.
 */
#ifndef SHMDS_TEST_SUPPORT_PEER_H
#define SHMDS_TEST_SUPPORT_PEER_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PEER_PATIENCE_NS UINT64_C(5000000000) /* how long a peer waits for the segment, and for the structure */
#define PEER_LONG_NS UINT64_C(30000000000)     /* how long it waits for what another peer does */
#define PEER_MAX_BULK 1024
#define PEER_MAX_ELEMENTS 4096
#define PEER_OBJECT_WORDS 8

struct message {
  uint64_t producer;
  uint64_t sequence;
  uint64_t check;
};

static inline uint64_t check_of(uint64_t producer, uint64_t sequence) {
  return (producer * UINT64_C(0x9E3779B97F4A7C15)) ^ sequence ^ UINT64_C(0x5bd1e995);
}

static inline struct message message_of(uint64_t producer, uint64_t sequence) {
  struct message m;
  m.producer = producer;
  m.sequence = sequence;
  m.check = check_of(producer, sequence);
  return m;
}

#if defined(__GNUC__)
__attribute__((noreturn))
#endif
static inline void peer_fail(const char *what, const char *why) {
  fprintf(stderr, "peer: %s: %s\n", what, why);
  exit(1);
}

/* ---- what the command line asks for -------------------------------------------------------------------------- */

struct peer_job {
  const char *verb, *segment, *queue, *log, *other;
  uint64_t producer, count, first, bulk, pause_us;
  int inplace, peek;
};

#if defined(__GNUC__)
__attribute__((noreturn))
#endif
static inline void peer_usage(void) {
  fprintf(stderr,
          "usage: peer produce SEGMENT QUEUE PRODUCER_ID COUNT [--bulk N] [--inplace] [--pause-us U]\n"
          "       peer consume SEGMENT QUEUE COUNT [--bulk N] [--inplace] [--pause-us U]\n"
          "       peer hold SEGMENT QUEUE claim|peek\n"
          "       peer storm-produce SEGMENT QUEUE PRODUCER_ID FIRST LOG [--inplace]\n"
          "       peer storm-consume SEGMENT QUEUE LOG [--inplace]\n"
          "       peer span-fill|span-check SEGMENT SPAN SEED\n"
          "       peer array-write|array-read|array-hold SEGMENT ARRAY COUNT\n"
          "       peer atomic-ping|atomic-pong SEGMENT ATOMIC ROUNDS\n"
          "       peer atomic-add SEGMENT ATOMIC LOG\n"
          "       peer pool-give|pool-take SEGMENT POOL QUEUE COUNT\n"
          "       peer pool-hold SEGMENT POOL COUNT\n"
          "       peer pool-storm SEGMENT POOL DOOMED NUMBER LOG\n");
  exit(2);
}

static inline uint64_t peer_number(const char *text) {
  char *end = NULL;
  errno = 0;
  uint64_t number = strtoull(text, &end, 10);
  if (errno != 0 || end == text || *end != '\0') peer_usage();
  return number;
}

/* The words behind the name of a structure other than a queue: a letter each. */
static inline int peer_parse_structure(struct peer_job *job, int argc, char **argv) {
  static const char *const verbs[][2] = {
      {"span-fill", "f"},   {"span-check", "f"},  {"array-write", "c"}, {"array-read", "c"},
      {"array-hold", "c"},  {"atomic-ping", "c"}, {"atomic-pong", "c"}, {"atomic-add", "l"}, {"pool-give", "oc"},
      {"pool-take", "oc"},  {"pool-hold", "c"},   {"pool-storm", "opl"},
  };
  for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
    const char *letter = verbs[i][1];
    if (strcmp(job->verb, verbs[i][0]) != 0) continue;
    if (argc != 4 + (int)strlen(letter)) peer_usage();
    for (char **word = argv + 4; *letter != '\0'; word++, letter++) {
      if (*letter == 'c') job->count = peer_number(*word);
      if (*letter == 'f') job->first = peer_number(*word);
      if (*letter == 'p') job->producer = peer_number(*word);
      if (*letter == 'o') job->other = *word;
      if (*letter == 'l') job->log = *word;
    }
    return 1;
  }
  return 0;
}

static inline struct peer_job peer_parse(int argc, char **argv) {
  struct peer_job job;
  memset(&job, 0, sizeof job);
  if (argc < 5) peer_usage();
  job.verb = argv[1];
  job.segment = argv[2];
  job.queue = argv[3];
  job.bulk = 1;
  if (peer_parse_structure(&job, argc, argv)) return job;
  int next = 4;
  if (strcmp(job.verb, "produce") == 0 && argc >= 6) {
    job.producer = peer_number(argv[next++]);
    job.count = peer_number(argv[next++]);
  } else if (strcmp(job.verb, "consume") == 0) {
    job.count = peer_number(argv[next++]);
  } else if (strcmp(job.verb, "hold") == 0) {
    job.peek = strcmp(argv[next], "peek") == 0;
    if (!job.peek && strcmp(argv[next], "claim") != 0) peer_usage();
    next++;
  } else if (strcmp(job.verb, "storm-produce") == 0 && argc >= 7) {
    job.producer = peer_number(argv[next++]);
    job.first = peer_number(argv[next++]);
    job.log = argv[next++];
  } else if (strcmp(job.verb, "storm-consume") == 0) {
    job.log = argv[next++];
  } else {
    peer_usage();
  }
  for (; next < argc; next++) {
    if (strcmp(argv[next], "--inplace") == 0) {
      job.inplace = 1;
    } else if (strcmp(argv[next], "--bulk") == 0 && next + 1 < argc) {
      job.bulk = peer_number(argv[++next]);
    } else if (strcmp(argv[next], "--pause-us") == 0 && next + 1 < argc) {
      job.pause_us = peer_number(argv[++next]);
    } else {
      peer_usage();
    }
  }
  if (job.bulk < 1 || job.bulk > PEER_MAX_BULK || (job.bulk > 1 && job.inplace)) peer_usage();
  return job;
}

/* ---- time ---------------------------------------------------------------------------------------------------- */

static inline uint64_t peer_now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

static inline void peer_pause_us(uint64_t us) {
  struct timespec t;
  if (us == 0) return;
  t.tv_sec = (time_t)(us / 1000000);
  t.tv_nsec = (long)(us % 1000000) * 1000;
  while (nanosleep(&t, &t) != 0 && errno == EINTR) {
  }
}

/* ---- the consumer's judgement --------------------------------------------------------------------------------- */

#define PEER_MAX_PRODUCERS 1024

struct peer_judge {
  uint64_t consumed, lost_order, bad;
  size_t producers;
  struct {
    uint64_t id, next;
  } producer[PEER_MAX_PRODUCERS];
};

static inline void peer_judge_message(struct peer_judge *judge, const struct message *m) {
  size_t i = 0;
  judge->consumed++;
  if (m->check != check_of(m->producer, m->sequence)) {
    judge->bad++;
    return;
  }
  while (i < judge->producers && judge->producer[i].id != m->producer) i++;
  if (i == judge->producers) {
    if (i == PEER_MAX_PRODUCERS) peer_fail("consume", "more producers than can be remembered");
    judge->producers++;
    judge->producer[i].id = m->producer;
    judge->producer[i].next = 0;
  }
  if (m->sequence < judge->producer[i].next) judge->lost_order++;
  judge->producer[i].next = m->sequence + 1;
}

/* Prints the line; the peer's exit status. */
static inline int peer_verdict(const struct peer_judge *judge, uint64_t wanted) {
  printf("consumed %" PRIu64 " lost-order %" PRIu64 " bad %" PRIu64 "\n", judge->consumed, judge->lost_order,
         judge->bad);
  return judge->lost_order == 0 && judge->bad == 0 && (wanted == 0 || judge->consumed == wanted) ? 0 : 1;
}

/* ---- logs that survive ---------------------------------------------------------------------------------------- */

struct peer_log {
  uint64_t *words;
  uint64_t count;
};

static inline struct peer_log peer_open_log(const char *path) {
  struct peer_log log;
  struct stat st;
  int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &st) != 0) peer_fail(path, strerror(errno));
  log.count = (uint64_t)st.st_size / 8;
  if (log.count < 2) peer_fail(path, "too short for a log");
  void *address = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (address == MAP_FAILED) peer_fail(path, strerror(errno));
  close(fd);
  log.words = (uint64_t *)address;
  return log;
}

static inline void peer_log_store(struct peer_log *log, uint64_t word, uint64_t value) {
  __atomic_store_n(&log->words[word], value, __ATOMIC_RELEASE);
}

/* Ends the peer with 3 when there is no room for one more; called before an element is taken. */
static inline void peer_log_reserve(const struct peer_log *log) {
  if (log->words[0] > (log->count - 1) / 2 || log->words[0] * 2 + 2 >= log->count) exit(3);
}

static inline void peer_log_append(struct peer_log *log, const struct message *m) {
  const uint64_t n = log->words[0];
  if (m->check != check_of(m->producer, m->sequence)) peer_fail("storm-consume", "a message with a wrong check");
  log->words[1 + 2 * n] = m->producer;
  log->words[2 + 2 * n] = m->sequence;
  peer_log_store(log, 0, n + 1);
}

/* ---- how long it waits ----------------------------------------------------------------------------------------- */

/* The diary of a process of a storm, if there is one: the same as in tests/support/diary.rs. */
#define PEER_DIARY_LONG_NS UINT64_C(1000000)
#define PEER_DIARY_KEPT 1024
enum { DIARY_DONE, DIARY_BEGUN, DIARY_NOTED, DIARY_NOTES };

static inline struct peer_log *peer_diary(void) {
  static struct peer_log diary;
  static int opened;
  if (!opened) {
    const char *path = getenv("SHMDS_PEER_DIARY");
    if (path != NULL) diary = peer_open_log(path);
    opened = 1;
  }
  return diary.words != NULL ? &diary : NULL;
}

/* An operation begins, or is tried again. */
static inline void peer_begins(void) {
  struct peer_log *diary = peer_diary();
  if (diary != NULL && diary->words[DIARY_BEGUN] == 0) peer_log_store(diary, DIARY_BEGUN, peer_now_ns());
}

/* It came to something. */
static inline void peer_succeeds(void) {
  struct peer_log *diary = peer_diary();
  if (diary == NULL) return;
  const uint64_t begun = diary->words[DIARY_BEGUN], now = peer_now_ns(), noted = diary->words[DIARY_NOTED];
  if (now - begun > PEER_DIARY_LONG_NS) {
    peer_log_store(diary, DIARY_NOTES + noted % PEER_DIARY_KEPT * 2, begun);
    peer_log_store(diary, DIARY_NOTES + noted % PEER_DIARY_KEPT * 2 + 1, now);
    peer_log_store(diary, DIARY_NOTED, noted + 1);
  }
  peer_log_store(diary, DIARY_BEGUN, 0);
  peer_log_store(diary, DIARY_DONE, diary->words[DIARY_DONE] + 1);
}

/* ---- what lies in spans, arrays and objects -------------------------------------------------------------------- */

static inline unsigned char peer_byte(uint64_t seed, size_t at) { return (unsigned char)(seed * 31 + at * 7 + at / 251); }

/* Writing `number` of so many words: the first is the number, the last the sum of the others. Number 0 is all zeros. */
static inline void peer_writing(uint64_t *words, size_t count, uint64_t number) {
  uint64_t sum = words[0] = number;
  for (size_t i = 1; i + 1 < count; i++) sum += words[i] = number * UINT64_C(0x9E3779B97F4A7C15) * (i + 1);
  words[count - 1] = sum;
}

/* Fails unless the words are those of the writing that the first one says. */
static inline uint64_t peer_check_writing(const char *what, const uint64_t *words, size_t count) {
  uint64_t expected[PEER_MAX_ELEMENTS];
  peer_writing(expected, count, words[0]);
  if (memcmp(words, expected, count * sizeof *words) != 0) peer_fail(what, "a mixture of writings");
  return words[0];
}

/* Says "held COUNT", and does nothing more until it is killed. */
#if defined(__GNUC__)
__attribute__((noreturn))
#endif
static inline void peer_held(uint64_t count) {
  printf("held %" PRIu64 "\n", count);
  fflush(stdout);
  for (;;) pause();
}

static inline int peer_compare(const void *a, const void *b) {
  const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

/* Marks an object that was just acquired as that of worker `me`; gives the mark that was there, 0 if none. */
static inline uint64_t peer_mark(uint64_t *object, uint64_t me) {
  const uint64_t before = __atomic_exchange_n(object, me, __ATOMIC_ACQ_REL);
  for (size_t i = 1; i < PEER_OBJECT_WORDS; i++) __atomic_store_n(object + i, me * (i + 1), __ATOMIC_RELAXED);
  return before;
}

/* Fails unless the marks are still there, and takes them away. */
static inline void peer_unmark(uint64_t *object, uint64_t me) {
  for (size_t i = 1; i < PEER_OBJECT_WORDS; i++) {
    if (__atomic_load_n(object + i, __ATOMIC_RELAXED) != me * (i + 1)) peer_fail("pool-storm", "somebody wrote to my object");
  }
  if (__atomic_exchange_n(object, 0, __ATOMIC_ACQ_REL) != me) peer_fail("pool-storm", "somebody marked my object");
}

#endif
