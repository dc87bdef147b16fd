/* Areas of chunks: one writer, readers who cannot write. */
#include "support.h"
#include "support_speculo.h"

/* ---- helpers --------------------------------------------------------------------------------------------------- */

/* An area's name; what is in /dev/shm of it is removed by drop(). */
static void drop(const char *name) {
  const shm_status status = speculo_area_unlink_name(name, NULL);
  if (status != SHM_ERR_NOT_FOUND) OK(status);
}

static speculo_area *settings(const char *name, uint32_t flags) {
  speculo_area *area = NULL;
  OK(speculo_area_new(name, flags, &area));
  CHECK(area != NULL);
  return area;
}

static speculo_area *create(const char *name) {
  speculo_area *area = settings(name, 0);
  OK(speculo_area_create(area));
  return area;
}

static speculo_reader *reader_of(const char *name) {
  speculo_reader *reader = NULL;
  OK(speculo_reader_open(name, NULL, &reader));
  CHECK(reader != NULL);
  return reader;
}

static uint64_t put_text(speculo_area *area, const char *text) {
  uint64_t id = 0;
  OK(speculo_area_write(area, text, strlen(text), 0, &id));
  CHECK(id != 0);
  return id;
}

static int is_text(speculo_view view, const char *text) {
  return view.size == strlen(text) && memcmp(view.data, text, view.size) == 0;
}

#define CHECK_NEXT(reader, text)                       \
  do {                                                 \
    speculo_view view_;                                \
    OK(speculo_reader_next(reader, &view_));           \
    CHECK(is_text(view_, text));                       \
  } while (0)

static speculo_area_stats area_stats(speculo_area *area) {
  speculo_area_stats stats;
  OK(speculo_area_get_stats(area, &stats));
  return stats;
}

static speculo_reader_stats reader_stats(speculo_reader *reader) {
  speculo_reader_stats stats;
  OK(speculo_reader_get_stats(reader, &stats));
  return stats;
}

static uint64_t manual_clock(void *context) { return *(const uint64_t *)context; }

/* ---- writing and reading --------------------------------------------------------------------------------------- */

static void chunks_are_allocated_filled_and_committed(void) {
  const char *name = new_name();
  speculo_area *area = create(name);
  speculo_reader *reader = reader_of(name);
  speculo_view view;
  CHECK_STATUS(speculo_reader_next(reader, &view), SHM_EMPTY);

  speculo_chunk chunk;
  void *data = NULL;
  OK(speculo_chunk_init(&chunk, area));
  CHECK(chunk.area == area && chunk.id == 0 && chunk.version == 0 && chunk.expires == 0 && chunk.data == NULL);
  OK(speculo_chunk_allocate(&chunk, 100, &data));
  CHECK(data == chunk.data && (uintptr_t)data % 64 == 0 && chunk.id != 0 && chunk.size == 100 && chunk.version == 0);
  for (int i = 0; i < 100; i++) CHECK(((const char *)data)[i] == 0);
  memcpy(data, "hello", 5);
  CHECK_STATUS(speculo_reader_next(reader, &view), SHM_EMPTY);
  CHECK_FAILS(speculo_area_write(area, "x", 1, 0, NULL), SHM_ERR_BUSY, "neither committed nor discarded");
  CHECK_FAILS(speculo_area_collect(area), SHM_ERR_BUSY, "is allocated");
  speculo_chunk other;
  OK(speculo_chunk_init(&other, area));
  void *untouched = data;
  CHECK_FAILS(speculo_chunk_allocate(&other, 1, &untouched), SHM_ERR_BUSY, "is allocated");
  CHECK(untouched == data && other.id == 0);
  CHECK_FAILS(speculo_chunk_commit(&other), SHM_ERR_INVALID, "chunk 0 is not allocated");
  CHECK_FAILS(speculo_chunk_discard(&other), SHM_ERR_INVALID, "is not allocated");
  other = chunk;
  OK(speculo_chunk_commit(&chunk));
  CHECK(chunk.version == 1 && chunk.data == NULL);
  CHECK_FAILS(speculo_chunk_commit(&chunk), SHM_ERR_INVALID, "is not allocated");
  CHECK_FAILS(speculo_chunk_commit(&other), SHM_ERR_INVALID, "is not allocated");

  OK(speculo_reader_next(reader, &view));
  CHECK(view.size == 100 && memcmp(view.data, "hello", 6) == 0 && view.id == chunk.id && view.version == 1);
  CHECK(view.expires == 0 && (uintptr_t)view.data % 64 == 0);

  /* Discarded ones are never seen, and the chunk can be used again. */
  const uint64_t first = chunk.id;
  OK(speculo_chunk_allocate(&chunk, 10, &data));
  CHECK(chunk.id != first);
  OK(speculo_chunk_discard(&chunk));
  CHECK(chunk.data == NULL);
  CHECK_STATUS(speculo_reader_next(reader, &view), SHM_EMPTY);
  OK(speculo_chunk_allocate(&chunk, 0, &data));
  OK(speculo_chunk_commit(&chunk));
  OK(speculo_reader_next(reader, &view));
  CHECK(view.size == 0 && view.id == chunk.id && view.version == 2);
  OK(speculo_area_write(area, NULL, 0, 0, NULL));
  OK(speculo_reader_next(reader, &view));
  CHECK_U64(reader_stats(reader).received, 3);
  OK(speculo_reader_close(reader));
  OK(speculo_area_unlink(area));
  OK(speculo_area_close(area));
}

static void updates_keep_their_id_and_the_obsolete_is_gone(void) {
  const char *name = new_name();
  speculo_area *area = create(name);
  const uint64_t one = put_text(area, "one"), two = put_text(area, "two");
  speculo_chunk chunk;
  void *data;
  OK(speculo_chunk_init(&chunk, area));
  CHECK_FAILS(speculo_chunk_update(&chunk, 1, &data), SHM_ERR_NOT_FOUND, "no chunk 0");
  chunk.id = one;
  OK(speculo_chunk_update(&chunk, 5, &data));
  CHECK_U64(chunk.id, one);
  memcpy(data, "one.1", 5);
  speculo_reader *reader = reader_of(name);
  speculo_view view;
  OK(speculo_reader_get(reader, one, &view));
  CHECK(is_text(view, "one") && view.version == 1);
  OK(speculo_chunk_commit(&chunk));
  CHECK_U64(chunk.version, 3);
  OK(speculo_reader_get(reader, one, &view));
  CHECK(is_text(view, "one.1") && view.version == 3 && view.id == one);
  CHECK_NEXT(reader, "two");
  CHECK_NEXT(reader, "one.1");
  CHECK_STATUS(speculo_reader_next(reader, &view), SHM_EMPTY);
  CHECK_U64(reader_stats(reader).skipped, 1);

  OK(speculo_area_obsolete(area, two));
  CHECK_FAILS(speculo_area_obsolete(area, two), SHM_ERR_NOT_FOUND, "has no chunk");
  CHECK_STATUS(speculo_reader_get(reader, two, &view), SHM_EMPTY);
  CHECK_STATUS(speculo_reader_get(reader, 12345, &view), SHM_EMPTY);
  OK(speculo_reader_next_valid(reader, 0, &view));
  CHECK(is_text(view, "one.1"));
  CHECK_STATUS(speculo_reader_next_valid(reader, view.version, &view), SHM_EMPTY);
  OK(speculo_reader_seek(reader, 0));
  CHECK_NEXT(reader, "one.1");
  OK(speculo_reader_seek(reader, 3));
  CHECK_STATUS(speculo_reader_next(reader, &view), SHM_EMPTY);
  put_text(area, "three");
  CHECK_U64(reader_stats(reader).lag, 1);
  CHECK_NEXT(reader, "three");
  const speculo_reader_stats stats = reader_stats(reader);
  CHECK(stats.version == 4 && stats.lag == 0 && stats.generation == 1 && stats.bytes == 64 << 10 && stats.orphaned == 0 && stats.reserved[2] == 0);
  OK(speculo_reader_close(reader));
  OK(speculo_area_close(area));
  drop(name);
}

static void chunks_expire_by_a_callback(void) {
  const char *name = new_name();
  uint64_t time = 100;
  speculo_area *area = settings(name, 0);
  OK(speculo_area_set_clock(area, manual_clock, &time));
  OK(speculo_area_create(area));
  speculo_reader *reader = reader_of(name);
  OK(speculo_reader_set_clock(reader, manual_clock, &time));
  uint64_t brief = 0;
  OK(speculo_area_write(area, "brief", 5, 150, &brief));
  speculo_chunk chunk;
  void *data;
  OK(speculo_chunk_init(&chunk, area));
  OK(speculo_chunk_set_expiration(&chunk, 200));
  OK(speculo_chunk_allocate(&chunk, 1, &data));
  OK(speculo_chunk_set_expiration(&chunk, 300)); /* until it is committed */
  OK(speculo_chunk_commit(&chunk));
  CHECK_U64(chunk.expires, 300);
  speculo_view view;
  OK(speculo_reader_get(reader, brief, &view));
  CHECK_U64(view.expires, 150);
  time = 150;
  CHECK_STATUS(speculo_reader_get(reader, brief, &view), SHM_EMPTY);
  OK(speculo_reader_next(reader, &view));
  CHECK(view.id == chunk.id && view.expires == 300);
  CHECK_U64(area_stats(area).chunks, 1);
  OK(speculo_area_collect(area));
  CHECK_STATUS(speculo_area_collect(area), SHM_EMPTY);
  time = 299;
  OK(speculo_chunk_update(&chunk, 1, &data)); /* it keeps its expiration */
  OK(speculo_chunk_discard(&chunk));
  OK(speculo_reader_get(reader, chunk.id, &view));
  time = 300;
  CHECK_STATUS(speculo_reader_get(reader, chunk.id, &view), SHM_EMPTY);
  CHECK_FAILS(speculo_chunk_update(&chunk, 1, &data), SHM_ERR_NOT_FOUND, "has no chunk");
  CHECK_U64(area_stats(area).live, 0);
  CHECK_FAILS(speculo_reader_set_clock(reader, manual_clock, &time), SHM_ERR_INVALID, "its clock comes before");
  OK(speculo_reader_close(reader));
  OK(speculo_area_close(area));
  drop(name);
}

/* The default clock is CLOCK_BOOTTIME: what people set (CLOCK_REALTIME) is nowhere in it. Setting the machine's time for a test would disturb others;
 * that it counts from the start of the machine and not from 1970 is what can be seen without. */
static void chunks_expire_by_the_time_since_the_machine_started(void) {
  uint64_t before = 0, after = 0;
  struct timespec boot, wall;
  OK(speculo_now(&before));
  clock_gettime(CLOCK_BOOTTIME, &boot);
  clock_gettime(CLOCK_REALTIME, &wall);
  OK(speculo_now(&after));
  const uint64_t now = (uint64_t)boot.tv_sec * SECOND + (uint64_t)boot.tv_nsec;
  CHECK(before <= now && now <= after);
  CHECK(after < (uint64_t)wall.tv_sec * SECOND);

  const char *name = new_name();
  speculo_area *area = create(name);
  speculo_reader *reader = reader_of(name);
  uint64_t brief = 0, lasting = 0;
  OK(speculo_area_write(area, "brief", 5, after + 50 * MILLISECOND, &brief));
  OK(speculo_area_write(area, "lasting", 7, after + 3600 * SECOND, &lasting));
  speculo_view view;
  uint64_t limit = now_ns() + LONG_ENOUGH;
  while (speculo_reader_get(reader, brief, &view) == SHM_OK && now_ns() < limit) sleep_ns(MILLISECOND);
  OK(speculo_now(&after));
  CHECK(after >= before + 50 * MILLISECOND && now_ns() < limit);
  CHECK_NEXT(reader, "lasting");
  CHECK_U64(area_stats(area).chunks, 1);
  OK(speculo_reader_close(reader));
  OK(speculo_area_close(area));
  drop(name);
}

/* ---- growing, compacting, following ------------------------------------------------------------------------------ */

static void readers_follow_growth_and_compaction(void) {
  const char *name = new_name();
  speculo_area *area = settings(name, SHM_EXCLUSIVE);
  OK(speculo_area_set_max_size(area, 32 << 10));
  OK(speculo_area_set_min_size(area, 4096));
  OK(speculo_area_set_gc_threshold(area, 40));
  OK(speculo_area_create(area));
  speculo_reader *reader = reader_of(name);
  const uint64_t kept = put_text(area, "kept");
  speculo_chunk chunk;
  void *data;
  uint64_t number = 0, seen = 0, version = 0;
  OK(speculo_chunk_init(&chunk, area));
  OK(speculo_chunk_allocate(&chunk, 500, &data));
  OK(speculo_chunk_commit(&chunk));
  speculo_view view;
  for (number = 1; number <= 2000; number++) {
    OK(speculo_chunk_update(&chunk, 500, &data));
    memcpy(data, &number, sizeof number);
    OK(speculo_chunk_commit(&chunk));
    if (number % 7 != 0) continue;
    while (speculo_reader_next(reader, &view) == SHM_OK) {
      CHECK(view.version > version);
      version = view.version;
      if (view.id == kept) continue;
      memcpy(&seen, view.data, sizeof seen);
      CHECK_U64(seen, number);
    }
  }
  const speculo_area_stats stats = area_stats(area);
  CHECK(stats.compactions > 50 && stats.generation == stats.compactions + 1 && stats.chunks == 2);
  CHECK(stats.bytes <= 32 << 10 && stats.committed == 2002 && stats.live <= stats.used && stats.reserved[0] == 0);
  OK(speculo_reader_get(reader, kept, &view));
  CHECK(is_text(view, "kept") && view.version == 1);

  /* Until there is no room. */
  shm_status status = SHM_OK;
  static const char big[3000] = {0};
  uint64_t id = 0, last = 0, count = 0;
  while ((status = speculo_area_write(area, big, sizeof big, 0, &id)) == SHM_OK) last = id, count++;
  CHECK_STATUS(status, SHM_FULL);
  CHECK(id == last && count >= 9);
  CHECK_STATUS(speculo_chunk_update(&chunk, 20000, &data), SHM_FULL);
  CHECK(chunk.data == NULL);
  CHECK_FAILS(speculo_area_write(area, big, 1 << 20, 0, NULL), SHM_ERR_INVALID, "never fits");
  OK(speculo_area_obsolete(area, last));
  OK(speculo_area_write(area, big, sizeof big, 0, &id));
  OK(speculo_reader_get(reader, id, &view));
  OK(speculo_reader_close(reader));
  OK(speculo_area_unlink(area));
  OK(speculo_area_close(area));
}

static void what_readers_keep_is_counted_and_limited(void) {
  const char *name = new_name();
  speculo_area *area = settings(name, 0);
  OK(speculo_area_set_max_size(area, 8192));
  OK(speculo_area_set_min_size(area, 4096));
  OK(speculo_area_set_max_pinned(area, 4096));
  OK(speculo_area_create(area));
  const uint64_t id = put_text(area, "x");
  speculo_reader *reader = reader_of(name);
  OK(speculo_area_obsolete(area, id));
  OK(speculo_area_collect(area));
  CHECK_U64(area_stats(area).pinned, 4096);
  OK(speculo_area_obsolete(area, put_text(area, "y")));
  speculo_reader *other = reader_of(name);
  CHECK_STATUS(speculo_area_collect(area), SHM_EMPTY); /* a second would be too much */
  speculo_view view;
  CHECK_STATUS(speculo_reader_next(reader, &view), SHM_EMPTY); /* it moves over */
  CHECK_U64(area_stats(area).pinned, 0);
  OK(speculo_area_collect(area));
  OK(speculo_reader_close(other));
  OK(speculo_reader_close(reader));
  CHECK_U64(area_stats(area).pinned, 0);
  OK(speculo_area_close(area));
  drop(name);
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

static void readers_in_other_processes_are_woken(void) {
  const char *name = new_name();
  speculo_area *area = create(name);
  speculo_reader *patient = reader_of(name);
  speculo_view view;
  CHECK_STATUS(speculo_reader_next_wait(patient, 0, &view), SHM_TIMEOUT);
  const uint64_t begun = now_ns();
  CHECK_STATUS(speculo_reader_next_wait(patient, 20 * MILLISECOND, &view), SHM_TIMEOUT);
  CHECK(now_ns() - begun >= 20 * MILLISECOND);
  OK(speculo_reader_close(patient));
  signal_pipe ready = new_pipe();
  pid_t child = fork_child();
  if (child == 0) {
    speculo_reader *reader = reader_of(name);
    say(ready);
    OK(speculo_reader_next_wait(reader, LONG_ENOUGH, &view));
    CHECK(is_text(view, "wake up"));
    say(ready);
    CHECK_STATUS(speculo_reader_next_wait(reader, SHM_FOREVER, &view), SHM_CLOSED);
    _exit(0);
  }
  await(ready);
  sleep_ns(20 * MILLISECOND);
  put_text(area, "wake up");
  await(ready);
  sleep_ns(20 * MILLISECOND);
  OK(speculo_area_unlink(area));
  CHECK_CHILD(child);
  close_pipe(ready);
  OK(speculo_area_close(area));
}

/* ---- one writer after the other ---------------------------------------------------------------------------------- */

static void there_is_one_living_writer(void) {
  const char *name = new_name();
  speculo_area *area = settings(name, 0), *other = settings(name, 0);
  CHECK_FAILS(speculo_area_open(other), SHM_ERR_NOT_FOUND, "there is no area");
  CHECK_FAILS(speculo_area_unlink(other), SHM_ERR_NOT_FOUND, "there is no area");
  OK(speculo_area_create(area));
  CHECK_FAILS(speculo_area_create(area), SHM_ERR_INVALID, "already");
  CHECK_FAILS(speculo_area_open(area), SHM_ERR_INVALID, "already");
  CHECK_FAILS(speculo_area_open(other), SHM_ERR_BUSY, "has a writer already");
  CHECK_FAILS(speculo_area_create(other), SHM_ERR_BUSY, "has a writer already");
  CHECK_FAILS(speculo_area_unlink(other), SHM_ERR_BUSY, "has a writer already");
  CHECK_FAILS(speculo_area_unlink_name(name, NULL), SHM_ERR_BUSY, "has a writer already");
  const uint64_t id = put_text(area, "kept");

  /* A forked child is not the writer, and does not keep its parent's place. */
  signal_pipe ready = new_pipe(), done = new_pipe();
  pid_t child = fork_child();
  if (child == 0) {
    speculo_chunk chunk;
    void *data;
    CHECK_FAILS(speculo_area_write(area, "x", 1, 0, NULL), SHM_ERR_BUSY, "forked this one");
    OK(speculo_chunk_init(&chunk, area));
    CHECK_FAILS(speculo_chunk_allocate(&chunk, 1, &data), SHM_ERR_BUSY, "forked this one");
    CHECK_FAILS(speculo_area_obsolete(area, id), SHM_ERR_BUSY, "forked this one");
    CHECK_FAILS(speculo_area_collect(area), SHM_ERR_BUSY, "forked this one");
    CHECK_FAILS(speculo_area_unlink(area), SHM_ERR_BUSY, "forked this one");
    CHECK_FAILS(speculo_area_unlink(area), SHM_ERR_BUSY, "forked this one");
    say(ready);
    await(done);
    OK(speculo_area_close(area));
    _exit(0);
  }
  await(ready);
  OK(speculo_area_close(area));
  OK(speculo_area_open(other));
  say(done);
  CHECK_CHILD(child);
  speculo_reader *reader = reader_of(name);
  CHECK_NEXT(reader, "kept");
  CHECK(put_text(other, "more") > id);
  CHECK_NEXT(reader, "more");

  speculo_area *exclusive = settings(name, SHM_EXCLUSIVE);
  CHECK_STATUS(speculo_area_create(exclusive), SHM_ERR_BUSY);
  OK(speculo_area_close(other));
  CHECK_FAILS(speculo_area_create(exclusive), SHM_ERR_EXISTS, "exists already");
  OK(speculo_area_unlink(exclusive)); /* nobody writes */
  OK(speculo_area_create(exclusive));
  OK(speculo_area_unlink(exclusive));
  OK(speculo_area_close(exclusive));
  speculo_view view;
  CHECK_STATUS(speculo_reader_next(reader, &view), SHM_CLOSED);
  OK(speculo_reader_close(reader));
  CHECK_FAILS(speculo_reader_open(name, NULL, &reader), SHM_ERR_NOT_FOUND, "cannot open");
  CHECK_FAILS(speculo_area_unlink_name(name, NULL), SHM_ERR_NOT_FOUND, "there is no area");
  close_pipe(ready);
  close_pipe(done);
}

static void a_killed_writers_place_is_taken(void) {
  const char *name = new_name();
  signal_pipe ready = new_pipe();
  pid_t child = fork_child();
  if (child == 0) {
    speculo_area *area = create(name);
    speculo_chunk chunk;
    void *data;
    put_text(area, "first");
    OK(speculo_chunk_init(&chunk, area));
    chunk.id = put_text(area, "second");
    OK(speculo_chunk_update(&chunk, 1000, &data));
    memset(data, 0xee, 1000);
    say(ready);
    for (;;) pause();
  }
  await(ready);
  speculo_reader *reader = reader_of(name);
  CHECK_NEXT(reader, "first");
  speculo_area *area = settings(name, 0);
  CHECK_STATUS(speculo_area_open(area), SHM_ERR_BUSY);
  kill_child(child);
  OK(speculo_area_open(area));
  CHECK_NEXT(reader, "second");
  speculo_view view;
  CHECK_STATUS(speculo_reader_next(reader, &view), SHM_EMPTY);
  const speculo_area_stats stats = area_stats(area);
  CHECK(stats.chunks == 2 && stats.committed == 2 && stats.live < stats.used);
  speculo_chunk chunk;
  void *data;
  OK(speculo_chunk_init(&chunk, area));
  OK(speculo_chunk_allocate(&chunk, 1000, &data));
  for (int i = 0; i < 1000; i++) CHECK(((const char *)data)[i] == 0);
  OK(speculo_chunk_commit(&chunk));
  OK(speculo_reader_next(reader, &view));
  CHECK(view.id == chunk.id && view.version == 3);
  OK(speculo_area_collect(area));
  OK(speculo_reader_get(reader, chunk.id, &view));
  OK(speculo_reader_close(reader));
  OK(speculo_area_close(area));
  close_pipe(ready);
  drop(name);
}

/* What a writer that is going to be killed says, and what it began with. */
typedef struct told {
  uint64_t opened, committed;
} told;

static void store_u64(uint64_t *word, uint64_t value) { __atomic_store_n(word, value, __ATOMIC_RELEASE); }
static uint64_t load_u64(const uint64_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }

#define STORM_IDS 8

/* Chunks whose words all are their version, updates of a few ids, in an area that is compacted all the time, until killed. */
static void write_until_killed(const char *name, told *tell, uint64_t seed) {
  speculo_area *area = settings(name, 0);
  OK(speculo_area_set_min_size(area, 4096));
  OK(speculo_area_create(area));
  uint64_t ids[STORM_IDS] = {0}; /* of this writer; what its predecessors left stays */
  uint64_t version = area_stats(area).committed;
  store_u64(&tell->opened, version);
  for (uint64_t n = seed;; n++) {
    speculo_chunk chunk;
    void *data;
    OK(speculo_chunk_init(&chunk, area));
    chunk.id = ids[n % STORM_IDS];
    const uint64_t words = 1 + n * 7 % 60;
    if (chunk.id != 0) {
      OK(speculo_chunk_update(&chunk, words * 8, &data));
    } else {
      OK(speculo_chunk_allocate(&chunk, words * 8, &data));
    }
    const uint64_t mark = version + 1;
    for (uint64_t i = 0; i < words; i++) memcpy((char *)data + i * 8, &mark, 8);
    if (n % 11 == 0) {
      OK(speculo_chunk_discard(&chunk));
      continue;
    }
    OK(speculo_chunk_commit(&chunk));
    CHECK_U64(chunk.version, version + 1);
    version = chunk.version;
    ids[n % STORM_IDS] = chunk.id;
    store_u64(&tell->committed, version);
  }
}

static void check_whole(speculo_view view) {
  for (uint64_t i = 0; i < view.size / 8; i++) {
    uint64_t word;
    memcpy(&word, (const char *)view.data + i * 8, 8);
    CHECK_U64(word, view.version);
  }
}

/* Writers die anywhere: nothing that was committed is lost or torn, nothing that was not is seen, and readers go on. */
static void writers_killed_anywhere_lose_nothing(void) {
  const char *name = new_name();
  told *tell = (told *)mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(tell != MAP_FAILED);
  speculo_reader *reader = NULL;
  uint64_t seen = 0, areas = 0;
  for (uint64_t round = 1; round <= 60; round++) {
    const uint64_t before = load_u64(&tell->committed);
    pid_t child = fork_child();
    if (child == 0) write_until_killed(name, tell, round * 1000);
    const uint64_t limit = now_ns() + LONG_ENOUGH;
    while (load_u64(&tell->committed) < before + 20 && now_ns() < limit) sleep_ns(100000);
    CHECK(now_ns() < limit && load_u64(&tell->opened) >= before); /* it found all that its predecessors had said was there */
    if (reader == NULL) reader = reader_of(name);
    speculo_view view;
    const uint64_t end = now_ns() + (1 + round % 7) * 300000;
    while (now_ns() < end) {
      if (speculo_reader_next(reader, &view) != SHM_OK) continue;
      CHECK(view.version > seen);
      seen = view.version;
      check_whole(view);
    }
    kill_child(child);
    const uint64_t said = load_u64(&tell->committed);
    shm_status status;
    while ((status = speculo_reader_next(reader, &view)) == SHM_OK) {
      CHECK(view.version > seen);
      seen = view.version;
      check_whole(view);
    }
    CHECK_STATUS(status, SHM_EMPTY);
    for (uint64_t id = 1; id <= STORM_IDS; id++) {
      if (speculo_reader_get(reader, id, &view) == SHM_OK) check_whole(view);
    }
    CHECK(said <= seen && seen <= said + 1); /* it may have died before it could say so */
    areas = reader_stats(reader).generation;
  }
  CHECK(areas > 10);
  OK(speculo_reader_close(reader));
  munmap(tell, 4096);
  drop(name);
  char left[128];
  for (uint64_t area = areas > 3 ? areas - 3 : 1; area < areas + 3; area++) {
    snprintf(left, sizeof left, "%s.speculo-%" PRIu64, path_of(name), area);
    CHECK(access(left, F_OK) == -1);
  }
}

/* ---- what a reader cannot do ------------------------------------------------------------------------------------- */

/* What is mapped of the area: how many mappings there are. None of them can be written to, or be made so. */
static int read_only_mappings(const char *name) {
  FILE *maps = fopen("/proc/self/maps", "r");
  char line[512], part[128];
  int count = 0;
  snprintf(part, sizeof part, "%s.speculo", path_of(name));
  CHECK(maps != NULL);
  while (fgets(line, sizeof line, maps) != NULL) {
    if (strstr(line, part) == NULL) continue;
    uint64_t from, to;
    char rights[5];
    CHECK(sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s", &from, &to, rights) == 3);
    if (strcmp(rights, "r--s") != 0) FAIL("mapped with other rights: %s", line);
    errno = 0;
    CHECK(mprotect((void *)(uintptr_t)from, (size_t)(to - from), PROT_READ | PROT_WRITE) == -1 && errno == EACCES);
    count++;
  }
  fclose(maps);
  return count;
}

static void a_reader_maps_nothing_that_it_could_write_to(void) {
  const char *name = new_name();
  signal_pipe ready = new_pipe(), go_on = new_pipe();
  pid_t child = fork_child(); /* which has nothing of the writer's */
  if (child == 0) {
    speculo_view view;
    await(ready);
    speculo_reader *reader = reader_of(name);
    CHECK_NEXT(reader, "visible");
    CHECK_U64((uint64_t)read_only_mappings(name), 2); /* the manifest and the area */
    say(go_on);
    await(ready);
    OK(speculo_reader_next(reader, &view));
    CHECK_U64((uint64_t)read_only_mappings(name), 2); /* of a new area */
    CHECK_U64(reader_stats(reader).generation, 2);
    OK(speculo_reader_close(reader));
    CHECK_U64((uint64_t)read_only_mappings(name), 0);
    _exit(0);
  }
  speculo_area *area = create(name);
  const uint64_t id = put_text(area, "visible");
  say(ready);
  await(go_on);
  OK(speculo_area_obsolete(area, id));
  OK(speculo_area_collect(area));
  put_text(area, "more");
  say(ready);
  CHECK_CHILD(child);
  close_pipe(ready);
  close_pipe(go_on);
  OK(speculo_area_unlink(area));
  OK(speculo_area_close(area));
}

/* The mode decides who reads. As root, another user tries; otherwise only what the mode has become can be checked. */
static void another_user_reads_and_cannot_write(void) {
  const char *name = new_name();
  speculo_area *area = settings(name, 0);
  OK(speculo_area_set_mode(area, 0644));
  OK(speculo_area_create(area));
  put_text(area, "for all");
  const char *secret = new_name();
  speculo_area *closed = create(secret);
  struct stat st;
  char path[128];
  snprintf(path, sizeof path, "%s.speculo", path_of(name));
  CHECK(stat(path, &st) == 0 && (st.st_mode & 07777) == 0644);
  snprintf(path, sizeof path, "%s.speculo-1", path_of(name));
  CHECK(stat(path, &st) == 0 && (st.st_mode & 07777) == 0644);
  snprintf(path, sizeof path, "%s.speculo", path_of(secret));
  CHECK(stat(path, &st) == 0 && (st.st_mode & 07777) == 0600);
  if (geteuid() != 0) {
    printf("  not root: no other user tried\n");
  } else {
    signal_pipe ready = new_pipe(), go_on = new_pipe();
    pid_t child = fork_child();
    if (child == 0) {
      CHECK(setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0);
      speculo_reader *reader = reader_of(name), *refused = NULL;
      CHECK_NEXT(reader, "for all");
      CHECK_FAILS(speculo_reader_open(secret, NULL, &refused), SHM_ERR_PERMISSION, "cannot open");
      CHECK(refused == NULL);
      speculo_area *writer = settings(name, SHM_ANY_OWNER);
      CHECK_STATUS(speculo_area_open(writer), SHM_ERR_PERMISSION);
      CHECK_STATUS(speculo_area_unlink(writer), SHM_ERR_PERMISSION);
      say(ready);
      await(go_on);
      CHECK_NEXT(reader, "more"); /* in another area */
      CHECK_U64(reader_stats(reader).generation, 2);
      _exit(0);
    }
    await(ready);
    OK(speculo_area_obsolete(area, 1));
    OK(speculo_area_collect(area));
    CHECK(area_stats(area).pinned > 0); /* a reader without permission to write is seen all the same */
    put_text(area, "more");
    say(go_on);
    CHECK_CHILD(child);
    close_pipe(ready);
    close_pipe(go_on);
    /* Somebody else's area is continued only when that is said. */
    const char *theirs = new_name();
    child = fork_child();
    if (child == 0) {
      CHECK(setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0);
      OK(speculo_area_close(create(theirs)));
      _exit(0);
    }
    CHECK_CHILD(child);
    speculo_area *plain = settings(theirs, 0), *any = settings(theirs, SHM_ANY_OWNER);
    CHECK_FAILS(speculo_area_open(plain), SHM_ERR_PERMISSION, "belongs to user 65534");
    CHECK_FAILS(speculo_area_unlink_name(theirs, NULL), SHM_ERR_PERMISSION, "belongs to user 65534");
    OK(speculo_area_open(any));
    OK(speculo_area_unlink(any));
    OK(speculo_area_close(plain));
    OK(speculo_area_close(any));
  }
  OK(speculo_area_unlink(area));
  OK(speculo_area_unlink(closed));
  OK(speculo_area_close(area));
  OK(speculo_area_close(closed));
}

/* ---- other places, other bytes ----------------------------------------------------------------------------------- */

static void areas_lie_in_other_directories(void) {
  char directory[] = "/tmp/shmds-test-XXXXXX";
  CHECK(mkdtemp(directory) != NULL);
  const char *name = new_name();
  speculo_area *area = settings(name, 0);
  OK(speculo_area_set_directory(area, directory));
  OK(speculo_area_create(area));
  put_text(area, "elsewhere");
  speculo_reader *reader = NULL;
  CHECK_STATUS(speculo_reader_open(name, NULL, &reader), SHM_ERR_NOT_FOUND);
  OK(speculo_reader_open(name, directory, &reader));
  CHECK_NEXT(reader, "elsewhere");
  OK(speculo_reader_close(reader));
  OK(speculo_area_close(area));
  CHECK_STATUS(speculo_area_unlink_name(name, NULL), SHM_ERR_NOT_FOUND);
  OK(speculo_area_unlink_name(name, directory));
  CHECK(rmdir(directory) == 0); /* nothing is left */
  area = settings(name, 0);
  OK(speculo_area_set_directory(area, directory));
  CHECK_STATUS(speculo_area_create(area), SHM_ERR_NOT_FOUND);
  OK(speculo_area_close(area));
}

static void areas_are_listed(void) {
  char directory[] = "/tmp/shmds-test-XXXXXX";
  CHECK(mkdtemp(directory) != NULL);
  const char *names[] = {"news.b", "news.a", "other"};
  for (int i = 0; i < 3; i++) {
    speculo_area *area = settings(names[i], 0);
    OK(speculo_area_set_directory(area, directory));
    OK(speculo_area_create(area));
    OK(speculo_area_close(area));
  }
  speculo_area_name found[3];
  memset(found, '?', sizeof found);
  size_t count = 0;
  OK(speculo_area_list("news.", directory, NULL, 0, &count));
  CHECK(count == 2);
  OK(speculo_area_list("news.", directory, found, 1, &count));
  CHECK(count == 2 && strcmp(found[0].name, "news.a") == 0 && found[1].name[0] == '?');
  OK(speculo_area_list("", directory, found, 3, &count));
  CHECK(count == 3 && strcmp(found[1].name, "news.b") == 0 && strcmp(found[2].name, "other") == 0);
  for (int i = 0; i < 3; i++) OK(speculo_area_unlink_name(names[i], directory));
  OK(speculo_area_list("", directory, found, 3, &count));
  CHECK(count == 0 && rmdir(directory) == 0);
  CHECK_FAILS(speculo_area_list("", directory, found, 3, &count), SHM_ERR_NOT_FOUND, "cannot list");
  CHECK_FAILS(speculo_area_list(NULL, NULL, found, 3, &count), SHM_ERR_INVALID, "prefix is NULL");
  CHECK_FAILS(speculo_area_list("", NULL, NULL, 3, &count), SHM_ERR_INVALID, "out is NULL");
  CHECK_FAILS(speculo_area_list("", NULL, found, 3, NULL), SHM_ERR_INVALID, "count is NULL");
}

static void overwrite(const char *path, off_t offset, const void *bytes, size_t size) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  CHECK(fd >= 0 && pwrite(fd, bytes, size, offset) == (ssize_t)size);
  close(fd);
}

/* Whatever is in the bytes, readers answer with a status. */
static void scribbled_bytes_do_not_crash_readers(void) {
  const char *name = new_name();
  char manifest[128], chunks[128];
  snprintf(manifest, sizeof manifest, "%s.speculo", path_of(name));
  snprintf(chunks, sizeof chunks, "%s.speculo-1", path_of(name));
  static const uint64_t values[] = {0, 1, 63, 4096, UINT64_C(1) << 32, INT64_MAX, UINT64_MAX - 63, UINT64_MAX};
  static const off_t places[] = {128, 136, 144, 152, 160, 192};
  speculo_area *area = create(name);
  const uint64_t id = put_text(area, "one");
  put_text(area, "two");
  for (size_t place = 0; place < COUNT_OF(places); place++) {
    for (size_t value = 0; value < COUNT_OF(values); value++) {
      uint64_t kept;
      int fd = open(chunks, O_RDONLY | O_CLOEXEC);
      CHECK(fd >= 0 && pread(fd, &kept, sizeof kept, places[place]) == (ssize_t)sizeof kept);
      close(fd);
      overwrite(chunks, places[place], &values[value], sizeof kept);
      speculo_reader *reader = reader_of(name);
      speculo_view view;
      for (int i = 0; i < 4; i++) {
        shm_status status = speculo_reader_next(reader, &view);
        CHECK(status == SHM_OK || status == SHM_EMPTY || status == SHM_ERR_CORRUPT);
        if (status == SHM_OK) CHECK(view.size < 64 << 10);
        status = speculo_reader_get(reader, id, &view);
        CHECK(status == SHM_OK || status == SHM_EMPTY || status == SHM_ERR_CORRUPT);
        status = speculo_reader_next_valid(reader, 0, &view);
        CHECK(status == SHM_OK || status == SHM_EMPTY || status == SHM_ERR_CORRUPT);
        if (i == 1) OK(speculo_reader_seek(reader, 0));
      }
      OK(speculo_reader_close(reader));
      overwrite(chunks, places[place], &kept, sizeof kept);
    }
  }
  speculo_reader *reader = reader_of(name);
  const uint64_t nowhere = 999;
  const uint64_t one = 1;
  overwrite(manifest, 128, &nowhere, 8);
  speculo_view view;
  CHECK_FAILS(speculo_reader_next(reader, &view), SHM_ERR_CORRUPT, "no generation 999");
  overwrite(manifest, 128, &one, 8);
  CHECK_NEXT(reader, "one");
  OK(speculo_reader_close(reader));
  overwrite(chunks, 16, &nowhere, 8);
  CHECK_FAILS(speculo_reader_open(name, NULL, &reader), SHM_ERR_CORRUPT, "says that it has 999 bytes");
  const uint64_t right = 64 << 10;
  overwrite(chunks, 16, &right, 8);
  overwrite(manifest, 0, "rubbish!", 8);
  CHECK_FAILS(speculo_reader_open(name, NULL, &reader), SHM_ERR_CORRUPT, "is something else");
  overwrite(manifest, 0, "SPECMANI", 8);
  overwrite(manifest, 8, "\2\0\0\0\4\3\2\1", 8);
  CHECK_FAILS(speculo_reader_open(name, NULL, &reader), SHM_ERR_VERSION, "format 2");
  overwrite(manifest, 8, "\1\0\0\0\1\2\3\4", 8);
  CHECK_FAILS(speculo_reader_open(name, NULL, &reader), SHM_ERR_VERSION, "byte order");
  overwrite(manifest, 8, "\1\0\0\0\4\3\2\1", 8);
  OK(speculo_reader_open(name, NULL, &reader));
  OK(speculo_reader_close(reader));
  OK(speculo_area_close(area));
  CHECK(truncate(manifest, 100) == 0);
  CHECK_FAILS(speculo_reader_open(name, NULL, &reader), SHM_ERR_CORRUPT, "is no manifest");
  CHECK(unlink(manifest) == 0 && unlink(chunks) == 0);
}

/* ---- bad input --------------------------------------------------------------------------------------------------- */

typedef struct reentrant {
  speculo_area *area;
  speculo_reader *reader;
  shm_status status;
} reentrant;

static uint64_t clock_that_calls_back(void *context) {
  reentrant *what = (reentrant *)context;
  speculo_view view;
  what->status = what->area != NULL ? speculo_area_collect(what->area) : speculo_reader_next(what->reader, &view);
  return 1;
}

static void a_clock_cannot_call_back(void) {
  const char *name = new_name();
  reentrant writing = {NULL, NULL, SHM_OK}, reading = {NULL, NULL, SHM_OK};
  writing.area = settings(name, 0);
  OK(speculo_area_set_clock(writing.area, clock_that_calls_back, &writing));
  OK(speculo_area_create(writing.area));
  OK(speculo_area_write(writing.area, "x", 1, 100, NULL));
  OK(speculo_area_write(writing.area, "y", 1, 100, NULL));
  CHECK_STATUS(writing.status, SHM_ERR_BUSY);
  reading.reader = reader_of(name);
  OK(speculo_reader_set_clock(reading.reader, clock_that_calls_back, &reading));
  CHECK_NEXT(reading.reader, "x");
  CHECK_STATUS(reading.status, SHM_ERR_BUSY);
  CHECK_NEXT(reading.reader, "y");
  OK(speculo_reader_close(reading.reader));
  OK(speculo_area_unlink(writing.area));
  OK(speculo_area_close(writing.area));
}

static void settings_come_before(void) {
  const char *name = new_name();
  speculo_area *area = create(name);
  uint64_t time = 0;
  CHECK_FAILS(speculo_area_set_max_size(area, 1 << 20), SHM_ERR_INVALID, "settings come before");
  CHECK_FAILS(speculo_area_set_min_size(area, 1 << 20), SHM_ERR_INVALID, "settings come before");
  CHECK_FAILS(speculo_area_set_max_pinned(area, 0), SHM_ERR_INVALID, "settings come before");
  CHECK_FAILS(speculo_area_set_mode(area, 0600), SHM_ERR_INVALID, "settings come before");
  CHECK_FAILS(speculo_area_set_directory(area, "/tmp"), SHM_ERR_INVALID, "settings come before");
  CHECK_FAILS(speculo_area_set_gc_threshold(area, 1), SHM_ERR_INVALID, "settings come before");
  CHECK_FAILS(speculo_area_set_clock(area, manual_clock, &time), SHM_ERR_INVALID, "settings come before");
  OK(speculo_area_unlink(area));
  OK(speculo_area_set_gc_threshold(area, 101)); /* as before it was created */
  CHECK_FAILS(speculo_area_create(area), SHM_ERR_INVALID, "101 percent");
  OK(speculo_area_set_gc_threshold(area, 100));
  OK(speculo_area_set_mode(area, 0400));
  CHECK_FAILS(speculo_area_create(area), SHM_ERR_INVALID, "mode 0o400");
  OK(speculo_area_set_mode(area, 0600));
  OK(speculo_area_set_max_size(area, 0));
  CHECK_FAILS(speculo_area_create(area), SHM_ERR_INVALID, "at most 0 bytes");
  OK(speculo_area_set_max_size(area, 8192));
  OK(speculo_area_set_min_size(area, 8193));
  CHECK_FAILS(speculo_area_create(area), SHM_ERR_INVALID, "8193 bytes at first");
  OK(speculo_area_set_min_size(area, UINT64_C(1) << 60));
  OK(speculo_area_set_max_size(area, UINT64_C(1) << 60));
  OK(speculo_area_set_min_size(area, UINT64_C(1) << 60));
  CHECK_STATUS(speculo_area_create(area), SHM_ERR_NO_SPACE);
  OK(speculo_area_close(area));
  drop(name); /* the manifest was made, and the area was not */
}

static void bad_input_is_refused_in_a_sentence(void) {
  const char *name = new_name();
  speculo_area *area = (speculo_area *)&name;
  speculo_area *const untouched = area;
  CHECK_FAILS(speculo_area_new(NULL, 0, &area), SHM_ERR_INVALID, "name is NULL");
  CHECK_FAILS(speculo_area_new(name, 0, NULL), SHM_ERR_INVALID, "out is NULL");
  CHECK_FAILS(speculo_area_new("", 0, &area), SHM_ERR_INVALID, "cannot be an area's name");
  CHECK_FAILS(speculo_area_new("a/b", 0, &area), SHM_ERR_INVALID, "cannot be an area's name");
  CHECK_FAILS(speculo_area_new("\xff", 0, &area), SHM_ERR_INVALID, "UTF-8");
  CHECK_FAILS(speculo_area_new(name, SHM_PERSISTENT, &area), SHM_ERR_INVALID, "no flag 0x4");
  CHECK(area == untouched);

  uint64_t time = 0, id = 7;
  CHECK_FAILS(speculo_area_set_max_size(NULL, 1), SHM_ERR_INVALID, "area is NULL");
  CHECK_FAILS(speculo_area_set_min_size(NULL, 1), SHM_ERR_INVALID, "area is NULL");
  CHECK_FAILS(speculo_area_set_max_pinned(NULL, 1), SHM_ERR_INVALID, "area is NULL");
  CHECK_FAILS(speculo_area_set_mode(NULL, 0600), SHM_ERR_INVALID, "area is NULL");
  CHECK_FAILS(speculo_area_set_directory(NULL, "/tmp"), SHM_ERR_INVALID, "area is NULL");
  CHECK_FAILS(speculo_area_set_gc_threshold(NULL, 1), SHM_ERR_INVALID, "area is NULL");
  CHECK_FAILS(speculo_area_set_clock(NULL, manual_clock, &time), SHM_ERR_INVALID, "area is NULL");
  CHECK_FAILS(speculo_area_create(NULL), SHM_ERR_INVALID, "area is NULL");
  CHECK_FAILS(speculo_area_open(NULL), SHM_ERR_INVALID, "area is NULL");
  CHECK_FAILS(speculo_area_write(NULL, "x", 1, 0, NULL), SHM_ERR_INVALID, "area is NULL");
  CHECK_FAILS(speculo_area_obsolete(NULL, 1), SHM_ERR_INVALID, "area is NULL");
  CHECK_FAILS(speculo_area_collect(NULL), SHM_ERR_INVALID, "area is NULL");
  CHECK_FAILS(speculo_area_unlink(NULL), SHM_ERR_INVALID, "area is NULL");
  CHECK_FAILS(speculo_area_close(NULL), SHM_ERR_INVALID, "area is NULL");
  CHECK_FAILS(speculo_area_unlink_name(NULL, NULL), SHM_ERR_INVALID, "name is NULL");
  CHECK_FAILS(speculo_area_unlink_name("a/b", NULL), SHM_ERR_INVALID, "cannot be an area's name");
  CHECK_FAILS(speculo_now(NULL), SHM_ERR_INVALID, "now is NULL");

  area = settings(name, 0);
  CHECK_FAILS(speculo_area_set_directory(area, NULL), SHM_ERR_INVALID, "path is NULL");
  CHECK_FAILS(speculo_area_set_clock(area, NULL, &time), SHM_ERR_INVALID, "now is NULL");
  speculo_chunk chunk, zero;
  speculo_area_stats stats;
  void *data = &chunk;
  CHECK_FAILS(speculo_area_write(area, "x", 1, 0, NULL), SHM_ERR_INVALID, "neither created nor opened");
  CHECK_FAILS(speculo_area_get_stats(area, &stats), SHM_ERR_INVALID, "neither created nor opened");
  CHECK_FAILS(speculo_area_get_stats(area, NULL), SHM_ERR_INVALID, "stats is NULL");
  CHECK_FAILS(speculo_area_get_stats(NULL, &stats), SHM_ERR_INVALID, "area is NULL");
  CHECK_FAILS(speculo_chunk_init(NULL, area), SHM_ERR_INVALID, "chunk is NULL");
  CHECK_FAILS(speculo_chunk_init(&chunk, NULL), SHM_ERR_INVALID, "area is NULL");
  OK(speculo_chunk_init(&chunk, area));
  CHECK_FAILS(speculo_chunk_allocate(&chunk, 1, &data), SHM_ERR_INVALID, "neither created nor opened");
  OK(speculo_area_create(area));
  CHECK_FAILS(speculo_area_write(area, NULL, 1, 0, &id), SHM_ERR_INVALID, "data is NULL");
  CHECK_FAILS(speculo_area_write(area, "x", UINT64_MAX, 0, &id), SHM_ERR_INVALID, "cannot have a chunk");
  CHECK_U64(id, 7);
  CHECK_FAILS(speculo_chunk_allocate(NULL, 1, &data), SHM_ERR_INVALID, "chunk is NULL");
  CHECK_FAILS(speculo_chunk_allocate(&chunk, 1, NULL), SHM_ERR_INVALID, "data is NULL");
  CHECK_FAILS(speculo_chunk_allocate(&chunk, 1 << 20, &data), SHM_ERR_INVALID, "never fits");
  CHECK_FAILS(speculo_chunk_update(NULL, 1, &data), SHM_ERR_INVALID, "chunk is NULL");
  CHECK_FAILS(speculo_chunk_update(&chunk, 1, NULL), SHM_ERR_INVALID, "data is NULL");
  CHECK(data == &chunk);
  CHECK_FAILS(speculo_chunk_commit(NULL), SHM_ERR_INVALID, "chunk is NULL");
  CHECK_FAILS(speculo_chunk_discard(NULL), SHM_ERR_INVALID, "chunk is NULL");
  CHECK_FAILS(speculo_chunk_set_expiration(NULL, 1), SHM_ERR_INVALID, "chunk is NULL");
  memset(&zero, 0, sizeof zero);
  CHECK_FAILS(speculo_chunk_commit(&zero), SHM_ERR_INVALID, "area is NULL");
  CHECK_FAILS(speculo_chunk_set_expiration(&zero, 1), SHM_ERR_INVALID, "area is NULL");
  chunk.data = &time;
  CHECK_FAILS(speculo_chunk_set_expiration(&chunk, 1), SHM_ERR_INVALID, "is not allocated");
  CHECK_FAILS(speculo_chunk_commit(&chunk), SHM_ERR_INVALID, "is not allocated");

  speculo_reader *reader = NULL;
  speculo_view view;
  speculo_reader_stats reader_stats_;
  CHECK_FAILS(speculo_reader_open(NULL, NULL, &reader), SHM_ERR_INVALID, "name is NULL");
  CHECK_FAILS(speculo_reader_open(name, NULL, NULL), SHM_ERR_INVALID, "out is NULL");
  CHECK_FAILS(speculo_reader_open(".x", NULL, &reader), SHM_ERR_INVALID, "cannot be an area's name");
  CHECK(reader == NULL);
  OK(speculo_reader_open(name, NULL, &reader));
  CHECK_FAILS(speculo_reader_set_clock(reader, NULL, NULL), SHM_ERR_INVALID, "now is NULL");
  CHECK_FAILS(speculo_reader_set_clock(NULL, manual_clock, &time), SHM_ERR_INVALID, "reader is NULL");
  CHECK_FAILS(speculo_reader_next(reader, NULL), SHM_ERR_INVALID, "view is NULL");
  CHECK_FAILS(speculo_reader_next(NULL, &view), SHM_ERR_INVALID, "reader is NULL");
  CHECK_FAILS(speculo_reader_next_wait(reader, 0, NULL), SHM_ERR_INVALID, "view is NULL");
  CHECK_FAILS(speculo_reader_next_wait(NULL, 0, &view), SHM_ERR_INVALID, "reader is NULL");
  CHECK_FAILS(speculo_reader_get(reader, 1, NULL), SHM_ERR_INVALID, "view is NULL");
  CHECK_FAILS(speculo_reader_get(NULL, 1, &view), SHM_ERR_INVALID, "reader is NULL");
  CHECK_FAILS(speculo_reader_next_valid(reader, 0, NULL), SHM_ERR_INVALID, "view is NULL");
  CHECK_FAILS(speculo_reader_next_valid(NULL, 0, &view), SHM_ERR_INVALID, "reader is NULL");
  CHECK_FAILS(speculo_reader_seek(NULL, 0), SHM_ERR_INVALID, "reader is NULL");
  CHECK_FAILS(speculo_reader_get_stats(reader, NULL), SHM_ERR_INVALID, "stats is NULL");
  CHECK_FAILS(speculo_reader_get_stats(NULL, &reader_stats_), SHM_ERR_INVALID, "reader is NULL");
  CHECK_FAILS(speculo_reader_close(NULL), SHM_ERR_INVALID, "reader is NULL");
  OK(speculo_reader_close(reader));
  OK(speculo_area_unlink(area));
  OK(speculo_area_close(area));
}

int main(void) {
  support_start_areas(100);
  RUN(chunks_are_allocated_filled_and_committed);
  RUN(updates_keep_their_id_and_the_obsolete_is_gone);
  RUN(chunks_expire_by_a_callback);
  RUN(chunks_expire_by_the_time_since_the_machine_started);
  RUN(readers_follow_growth_and_compaction);
  RUN(what_readers_keep_is_counted_and_limited);
  RUN(readers_in_other_processes_are_woken);
  RUN(there_is_one_living_writer);
  RUN(a_killed_writers_place_is_taken);
  RUN(writers_killed_anywhere_lose_nothing);
  RUN(a_reader_maps_nothing_that_it_could_write_to);
  RUN(another_user_reads_and_cannot_write);
  RUN(areas_lie_in_other_directories);
  RUN(areas_are_listed);
  RUN(scribbled_bytes_do_not_crash_readers);
  RUN(a_clock_cannot_call_back);
  RUN(settings_come_before);
  RUN(bad_input_is_refused_in_a_sentence);
  return 0;
}
