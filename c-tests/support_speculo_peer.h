/* What the peers at an area share: the writer and the readers of a storm, started by tests that have others, in other
 * languages, at the same area. peer_speculo_c is written with shmds.h alone, peer_speculo_cpp with shmds.hpp alone; both take
 * the same words:
 *
 *   peer write NAME LOG
 *       Goes on where the last writer of the area stopped: updates chunks, has them expire, obsoletes and allocates them as
 *       fast as it can, until it is killed or told to stop; then it commits one last chunk. If its parent is gone, it removes
 *       the area and ends.
 *   peer read NAME LOG WORD PAUSE_US
 *       Reads until the last chunk, mostly by next, and now and then by get and next_valid, and pauses PAUSE_US microseconds
 *       after each chunk. With a LOG that is not "-" it keeps up: it must get every beacon, and stores the number of the last
 *       in word SEEN + WORD.
 *
 * The contents of a chunk are its label, its number, and bytes that follow from both, as many as follow from both. Labels
 * are 1 to CHUNK_KEYS, whose numbers grow from chunk to chunk; BEACON, which are numbered from 1 without a gap and stay
 * until all who keep up have seen them; and END, the last chunk, whose number is the last beacon's.
 *
 * Reading fails unless contents are whole and stay so while they are shown; next brings growing versions; neither next, get
 * nor next_valid shows of an id what is older than what any of them has shown; get finds a beacon until it is acknowledged;
 * what was received and what was skipped is all there was; and the process has the manifest and one area mapped, neither of
 * them writable. Peers print "ready" when they have opened the area, and readers at last what they saw. They end with 0, or
 * with 1 if anything was wrong, and standard error says what.
 */
#ifndef SHMDS_TEST_SUPPORT_SPECULO_PEER_H
#define SHMDS_TEST_SUPPORT_SPECULO_PEER_H
#include "support_peer.h"

#define CHUNK_KEYS 16
#define CHUNK_BEACON UINT64_C(1000)
#define CHUNK_END UINT64_C(1001)
#define CHUNK_BEACONS 64 /* that wait to be seen at most */
#define CHUNK_MOST 320   /* bytes of contents */
#define CHUNK_PIECE 40   /* contents are written in pieces, so that what is torn shows */

/* The area's settings. */
#define CHUNK_AREA_MIN 8192
#define CHUNK_AREA_MAX (256 << 10)
#define CHUNK_AREA_MODE 0644

/* Words of LOG. */
enum {
  LOG_NUMBER,    /* of the last chunk that a writer was about to commit */
  LOG_STOP,      /* nonzero: the writer is to stop */
  LOG_COMMITTED, /* how many chunks were */
  LOG_KEEPERS,   /* how many readers keep up */
  LOG_SEEN       /* and from here on, the last beacon that each of them saw */
};

struct chunk_job {
  const char *verb, *name, *log;
  uint64_t word, pause_us;
};

static inline struct chunk_job chunk_parse(int argc, char **argv) {
  struct chunk_job job = {argc > 1 ? argv[1] : "", NULL, NULL, 0, 0};
  const int reads = strcmp(job.verb, "read") == 0;
  if (argc != (reads ? 6 : 4) || (!reads && strcmp(job.verb, "write") != 0)) {
    peer_fail("usage", "peer write NAME LOG, or peer read NAME LOG WORD PAUSE_US");
  }
  job.name = argv[2];
  job.log = strcmp(argv[3], "-") == 0 ? NULL : argv[3];
  if (reads) {
    job.word = LOG_SEEN + peer_number(argv[4]);
    job.pause_us = peer_number(argv[5]);
  }
  return job;
}

static inline void chunk_ready(void) {
  printf("ready\n");
  fflush(stdout);
}

static inline uint64_t chunk_log(const struct peer_log *log, uint64_t word) {
  return __atomic_load_n(&log->words[word], __ATOMIC_ACQUIRE);
}

/* A number below `bound` (xorshift64*). */
static inline uint64_t chunk_below(uint64_t bound) {
  static uint64_t state;
  if (state == 0) state = (peer_now_ns() ^ (uint64_t)getpid() << 32) | 1;
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return (state * UINT64_C(0x2545F4914F6CDD1D) >> 16) % bound;
}

/* ---- contents -------------------------------------------------------------------------------------------------- */

static inline void chunk_put_word(unsigned char *to, uint64_t word) {
  for (int i = 0; i < 8; i++) to[i] = (unsigned char)(word >> 8 * i);
}

static inline uint64_t chunk_word(const unsigned char *from) {
  uint64_t word = 0;
  for (int i = 0; i < 8; i++) word |= (uint64_t)from[i] << 8 * i;
  return word;
}

/* Writes the contents; how many bytes they are. */
static inline size_t chunk_contents(unsigned char to[CHUNK_MOST], uint64_t label, uint64_t number) {
  uint64_t state = ((label << 40 ^ number) * UINT64_C(0x9E3779B97F4A7C15)) | 1;
  const size_t size = 16 + (size_t)((state >> 40) % 300);
  chunk_put_word(to, label);
  chunk_put_word(to + 8, number);
  for (size_t i = 16; i < size; i++) {
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    to[i] = (unsigned char)(state >> 56);
  }
  return size;
}

/* What a chunk shows. */
struct chunk {
  uint64_t id, version, label, number;
};

/* Fails unless the contents are whole. */
static inline struct chunk chunk_whole(uint64_t id, uint64_t version, const void *data, uint64_t size) {
  unsigned char expected[CHUNK_MOST];
  struct chunk chunk = {id, version, 0, 0};
  if (size >= 16) {
    chunk.label = chunk_word((const unsigned char *)data);
    chunk.number = chunk_word((const unsigned char *)data + 8);
  }
  if (size < 16 || chunk_contents(expected, chunk.label, chunk.number) != size || memcmp(data, expected, (size_t)size) != 0) {
    fprintf(stderr, "peer: version %" PRIu64 " of chunk %" PRIu64 " is not as it was written\n", version, id);
    exit(1);
  }
  return chunk;
}

/* ---- what a writer knows ---------------------------------------------------------------------------------------- */

struct chunk_books {
  struct peer_log log;
  pid_t parent;
  uint64_t keys[CHUNK_KEYS + 1];   /* the id of each key's chunk; 0: none */
  uint64_t beacons[CHUNK_BEACONS]; /* the ids of those that wait to be seen, at their numbers' remainders */
  uint64_t first_beacon, last_beacon;
};

static inline struct chunk_books chunk_open_books(const struct chunk_job *job) {
  struct chunk_books books;
  memset(&books, 0, sizeof books);
  books.parent = getppid();
  books.log = peer_open_log(job->log);
  for (uint64_t i = 0; i < chunk_log(&books.log, LOG_KEEPERS); i++) {
    const uint64_t seen = chunk_log(&books.log, LOG_SEEN + i);
    if (seen > books.last_beacon) books.last_beacon = seen;
  }
  books.first_beacon = books.last_beacon + 1;
  return books;
}

/* Enters a chunk that is valid. */
static inline void chunk_enter(struct chunk_books *books, uint64_t label, uint64_t number, uint64_t id) {
  if (label == CHUNK_BEACON) {
    books->beacons[number % CHUNK_BEACONS] = id;
    if (number < books->first_beacon) books->first_beacon = number;
    if (number > books->last_beacon) books->last_beacon = number;
  } else if (label <= CHUNK_KEYS) {
    books->keys[label] = id;
  }
}

static inline void chunk_committed(struct chunk_books *books, uint64_t label, uint64_t number, uint64_t id) {
  chunk_enter(books, label, number, id);
  peer_log_store(&books->log, LOG_COMMITTED, chunk_log(&books->log, LOG_COMMITTED) + 1);
}

/* The number of the chunk that is written next. */
static inline uint64_t chunk_next_number(struct chunk_books *books) {
  const uint64_t number = chunk_log(&books->log, LOG_NUMBER) + 1;
  peer_log_store(&books->log, LOG_NUMBER, number);
  return number;
}

/* When the chunk expires that is written at `now`. */
static inline uint64_t chunk_expires(uint64_t now) {
  switch (chunk_below(4)) {
    case 0: return now + 1000 * (1 + chunk_below(3000));
    case 1: return now + 1000000000;
    default: return 0;
  }
}

static inline int chunk_wants_beacon(const struct chunk_books *books) {
  return chunk_below(16) == 0 && books->last_beacon + 1 - books->first_beacon < CHUNK_BEACONS;
}

/* The id of a key's chunk that is to be obsolete, which the books forget; 0: none. */
static inline uint64_t chunk_unwanted(struct chunk_books *books) {
  const uint64_t key = 1 + chunk_below(CHUNK_KEYS);
  const uint64_t id = chunk_below(32) == 0 ? books->keys[key] : 0;
  if (id != 0) books->keys[key] = 0;
  return id;
}

/* The id of the oldest beacon, if all have seen it who keep up; it is off the books then. Else 0. */
static inline uint64_t chunk_seen_beacon(struct chunk_books *books) {
  if (books->first_beacon > books->last_beacon) return 0;
  for (uint64_t i = 0; i < chunk_log(&books->log, LOG_KEEPERS); i++) {
    if (chunk_log(&books->log, LOG_SEEN + i) < books->first_beacon) return 0;
  }
  return books->beacons[books->first_beacon++ % CHUNK_BEACONS];
}

static inline int chunk_is_orphan(const struct chunk_books *books) { return getppid() != books->parent; }

/* ---- what a reader has seen ------------------------------------------------------------------------------------- */

#define CHUNK_MEMORY 65536 /* of how many ids; an older one makes room for a newer one */
#define CHUNK_RECENT 32

struct chunk_judge {
  uint64_t passed, got, ahead, beacons, areas, generation, looked;
  struct chunk seen[CHUNK_MEMORY];
  uint64_t recent[CHUNK_RECENT];
};

/* Judges what next, get or next_valid has shown. */
static inline struct chunk chunk_judge_shown(struct chunk_judge *judge, uint64_t id, uint64_t version, const void *data,
                                             uint64_t size) {
  const struct chunk chunk = chunk_whole(id, version, data, size);
  struct chunk *seen = &judge->seen[id % CHUNK_MEMORY];
  const int wrong = version < seen->version || (version == seen->version) != (chunk.number == seen->number) ||
                    chunk.number < seen->number;
  if (seen->id == id && wrong) {
    fprintf(stderr, "peer: version %" PRIu64 ", number %" PRIu64 ", of chunk %" PRIu64 " came after %" PRIu64 ", %" PRIu64 "\n",
            version, chunk.number, id, seen->version, seen->number);
    exit(1);
  }
  *seen = chunk;
  judge->ahead += version > judge->passed;
  return chunk_whole(id, version, data, size); /* it stays as it is while it is shown */
}

/* Judges what next has brought. */
static inline struct chunk chunk_judge_next(struct chunk_judge *judge, uint64_t id, uint64_t version, const void *data,
                                            uint64_t size) {
  if (version <= judge->passed) peer_fail("next", "an older version after a newer one");
  judge->passed = version;
  judge->recent[judge->got++ % CHUNK_RECENT] = id;
  return chunk_judge_shown(judge, id, version, data, size);
}

/* Of one who keeps up, and has a beacon: acknowledges it. */
static inline void chunk_judge_beacon(struct chunk_judge *judge, const struct chunk *chunk, struct peer_log *log,
                                      uint64_t word) {
  if (chunk->number != judge->beacons + 1) peer_fail("next", "a beacon was committed and never seen");
  judge->beacons = chunk->number;
  peer_log_store(log, word, judge->beacons);
}

/* The id to ask get for. */
static inline uint64_t chunk_recent(const struct chunk_judge *judge) {
  return judge->recent[chunk_below(judge->got < CHUNK_RECENT ? judge->got : CHUNK_RECENT)];
}

/* Fails unless this process maps the manifest and one area, and neither of them is writable or can be made so. */
static inline void chunk_judge_mappings(const char *name) {
  char line[512], ours[256], permissions[5];
  int count = 0;
  FILE *maps = fopen("/proc/self/maps", "re");
  if (maps == NULL) peer_fail("maps", strerror(errno));
  snprintf(ours, sizeof ours, "/%s.speculo", name);
  while (fgets(line, sizeof line, maps) != NULL) {
    uintptr_t from = 0, to = 0;
    if (strstr(line, ours) == NULL) continue;
    count++;
    if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &from, &to, permissions) != 3) peer_fail("maps", line);
    if (strcmp(permissions, "r--s") != 0) peer_fail("mapped otherwise than read-only", line);
    if (mprotect((void *)from, to - from, PROT_READ | PROT_WRITE) == 0 || errno != EACCES) {
      peer_fail("can be made writable", line);
    }
  }
  fclose(maps);
  if (count != 2) peer_fail("maps", "not the manifest and one area");
}

/* Notes which area it is in, and looks at the mappings now and then: they are as many lines as a process has libraries. */
static inline void chunk_judge_area(struct chunk_judge *judge, const struct chunk_job *job, uint64_t generation) {
  if (generation == judge->generation) return;
  judge->generation = generation;
  if (judge->areas++ % 64 != 0) return;
  chunk_judge_mappings(job->name);
  judge->looked++;
}

/* After the last chunk, of that number. */
static inline int chunk_verdict(const struct chunk_judge *judge, const struct chunk_job *job, uint64_t last, uint64_t received,
                                uint64_t skipped) {
  if (job->log != NULL && judge->beacons != last) peer_fail("read", "a beacon is missing at the end");
  if (received != judge->got) peer_fail("read", "the reader counts other than its caller");
  if (received + skipped != judge->passed) peer_fail("read", "a chunk was neither received nor skipped");
  printf("%" PRIu64 " chunks of %" PRIu64 ", %" PRIu64 " ahead, %" PRIu64 " areas, %" PRIu64 " looks at the mappings\n",
         judge->got, judge->passed, judge->ahead, judge->areas, judge->looked);
  return 0;
}

#endif
