/* Every argument wrong in every way: an error with the right status, a sentence with the name and the number, results
 * untouched, and everything as it was before. */
#include "support.h"

#include <sys/statvfs.h>

#define SIZE (UINT64_C(1) << 20)

/* Where results go that must not come: handles that no function gives. */
static shm_segment *const no_segment = (shm_segment *)(uintptr_t)0x5e5e5e50;
static shm_queue *const no_queue = (shm_queue *)(uintptr_t)0x5e5e5e58;

static shm_segment_options segment_shape(uint32_t flags, uint64_t size) {
  shm_segment_options options;
  OK(shm_segment_options_init(&options));
  options.flags = flags;
  options.size = size;
  return options;
}

#define CREATE_FAILS(name, options, status, part)                      \
  do {                                                                 \
    shm_segment *out_ = no_segment;                                    \
    CHECK_FAILS(shm_segment_create(name, options, &out_), status, part); \
    CHECK(out_ == no_segment);                                         \
  } while (0)

#define OPEN_FAILS(name, options, status, part)                      \
  do {                                                               \
    shm_segment *out_ = no_segment;                                  \
    CHECK_FAILS(shm_segment_open(name, options, &out_), status, part); \
    CHECK(out_ == no_segment);                                       \
  } while (0)

#define QUEUE_CREATE_FAILS(segment, name, options, status, part)                \
  do {                                                                          \
    shm_queue *out_ = no_queue;                                                 \
    CHECK_FAILS(shm_queue_create(segment, name, options, &out_), status, part); \
    CHECK(out_ == no_queue);                                                    \
  } while (0)

#define QUEUE_OPEN_FAILS(segment, name, options, status, part)                \
  do {                                                                        \
    shm_queue *out_ = no_queue;                                               \
    CHECK_FAILS(shm_queue_open(segment, name, options, &out_), status, part); \
    CHECK(out_ == no_queue);                                                  \
  } while (0)

/* ---- NULL ---------------------------------------------------------------------------------------------------- */

#define INVALID(call) CHECK_STATUS(call, SHM_ERR_INVALID)

static void null_is_refused_by_every_segment_function(void) {
  const char *name = new_name();
  shm_segment_options options = segment_shape(0, SIZE);
  shm_segment *segment = new_segment(name, SIZE), *out = no_segment;
  shm_segment_stats stats;
  shm_participant people[4];
  size_t count = 77;
  uint32_t number = 77;
  uint64_t size = 77;
  const char *text = "text";
  void *address = &size;

  INVALID(shm_segment_options_init(NULL));
  INVALID(shm_open_segment(NULL, SIZE, &out));
  INVALID(shm_open_segment(name, SIZE, NULL));
  INVALID(shm_segment_create(NULL, &options, &out));
  INVALID(shm_segment_create(name, NULL, &out));
  INVALID(shm_segment_create(name, &options, NULL));
  INVALID(shm_segment_open(NULL, &options, &out));
  INVALID(shm_segment_open(name, &options, NULL));
  INVALID(shm_segment_close(NULL));
  INVALID(shm_segment_unlink(NULL));
  INVALID(shm_segment_span(NULL, &address, &count));
  INVALID(shm_segment_span(segment, NULL, &count));
  INVALID(shm_segment_span(segment, &address, NULL));
  INVALID(shm_segment_count(NULL, &number));
  INVALID(shm_segment_count(segment, NULL));
  INVALID(shm_segment_get_stats(NULL, &stats));
  INVALID(shm_segment_get_stats(segment, NULL));
  INVALID(shm_segment_participants(NULL, people, 4, &count));
  INVALID(shm_segment_participants(segment, NULL, 4, &count));
  INVALID(shm_segment_participants(segment, people, 4, NULL));
  INVALID(shm_segment_reap(NULL, &number));
  INVALID(shm_segment_name(NULL, &text));
  INVALID(shm_segment_name(segment, NULL));
  INVALID(shm_segment_size(&options, 1, NULL));
  CHECK(out == no_segment && count == 77 && number == 77 && size == 77 && strcmp(text, "text") == 0);

  OK(shm_segment_reap(segment, NULL)); /* the one that may be NULL */
  OK(shm_segment_size(NULL, 1, &size));
  CHECK_U64(living(segment), 1);
  OK(shm_segment_close(segment));
}

static void null_is_refused_by_every_table_function(void) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_queue *queue = new_queue(segment, "queue", 0, 4, 8);
  shm_entry entry;
  uint32_t cursor = 0;
  memset(&entry, 0x5e, sizeof entry);
  INVALID(shm_table_find(NULL, "queue", &entry));
  INVALID(shm_table_find(segment, NULL, &entry));
  INVALID(shm_table_find(segment, "queue", NULL));
  INVALID(shm_table_find_sized(NULL, "queue", 5, &entry));
  INVALID(shm_table_find_sized(segment, NULL, 5, &entry));
  INVALID(shm_table_find_sized(segment, "queue", 5, NULL));
  INVALID(shm_table_find_sized(segment, "queue", SIZE_MAX, &entry));
  INVALID(shm_table_wait(NULL, "queue", 0, &entry));
  INVALID(shm_table_wait(segment, NULL, 0, &entry));
  INVALID(shm_table_next(NULL, &cursor, &entry));
  INVALID(shm_table_next(segment, NULL, &entry));
  INVALID(shm_table_next(segment, &cursor, NULL));
  INVALID(shm_table_remove(NULL, "queue"));
  INVALID(shm_table_remove(segment, NULL));
  CHECK(cursor == 0 && entry.name[0] == 0x5e && entry.size == UINT64_C(0x5e5e5e5e5e5e5e5e));
  OK(shm_table_wait(segment, "queue", 0, NULL)); /* the one that may be NULL */
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

static void null_is_refused_by_every_queue_function(uint32_t flags) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_queue_options shape = queue_shape(flags, 4, 8);
  shm_queue *queue = new_queue(segment, "queue", flags, 4, 8), *out = no_queue;
  shm_queue_stats stats;
  shm_queue_slot slot = {&shape, 77};
  uint64_t value = 77, bytes = 77;
  size_t done = 77;

  INVALID(shm_queue_options_init(NULL));
  INVALID(shm_queue_size(NULL, &bytes));
  INVALID(shm_queue_size(&shape, NULL));
  INVALID(shm_queue_create(NULL, "another", &shape, &out));
  INVALID(shm_queue_create(segment, NULL, &shape, &out));
  INVALID(shm_queue_create(segment, "another", NULL, &out));
  INVALID(shm_queue_create(segment, "another", &shape, NULL));
  INVALID(shm_queue_open(NULL, "queue", &shape, &out));
  INVALID(shm_queue_open(segment, NULL, &shape, &out));
  INVALID(shm_queue_open(segment, "queue", &shape, NULL));
  INVALID(shm_queue_close(NULL));
  INVALID(shm_queue_enqueue(NULL, &value));
  INVALID(shm_queue_enqueue(queue, NULL));
  INVALID(shm_queue_dequeue(NULL, &value));
  INVALID(shm_queue_dequeue(queue, NULL));
  INVALID(shm_queue_enqueue_wait(NULL, &value, 0));
  INVALID(shm_queue_enqueue_wait(queue, NULL, 0));
  INVALID(shm_queue_dequeue_wait(NULL, &value, 0));
  INVALID(shm_queue_dequeue_wait(queue, NULL, 0));
  INVALID(shm_queue_enqueue_bulk(NULL, &value, 1, &done));
  INVALID(shm_queue_enqueue_bulk(queue, NULL, 1, &done));
  INVALID(shm_queue_enqueue_bulk(queue, &value, 1, NULL));
  INVALID(shm_queue_dequeue_bulk(NULL, &value, 1, &done));
  INVALID(shm_queue_dequeue_bulk(queue, NULL, 1, &done));
  INVALID(shm_queue_dequeue_bulk(queue, &value, 1, NULL));
  INVALID(shm_queue_enqueue_bulk_wait(NULL, &value, 1, 0, &done));
  INVALID(shm_queue_enqueue_bulk_wait(queue, NULL, 1, 0, &done));
  INVALID(shm_queue_enqueue_bulk_wait(queue, &value, 1, 0, NULL));
  INVALID(shm_queue_dequeue_bulk_wait(NULL, &value, 1, 0, &done));
  INVALID(shm_queue_dequeue_bulk_wait(queue, NULL, 1, 0, &done));
  INVALID(shm_queue_dequeue_bulk_wait(queue, &value, 1, 0, NULL));
  INVALID(shm_queue_claim(NULL, &slot));
  INVALID(shm_queue_claim(queue, NULL));
  INVALID(shm_queue_claim_wait(NULL, 0, &slot));
  INVALID(shm_queue_claim_wait(queue, 0, NULL));
  INVALID(shm_queue_commit(NULL, &slot));
  INVALID(shm_queue_commit(queue, NULL));
  INVALID(shm_queue_abort(NULL, &slot));
  INVALID(shm_queue_abort(queue, NULL));
  INVALID(shm_queue_peek(NULL, &slot));
  INVALID(shm_queue_peek(queue, NULL));
  INVALID(shm_queue_peek_wait(NULL, 0, &slot));
  INVALID(shm_queue_peek_wait(queue, 0, NULL));
  INVALID(shm_queue_release(NULL, &slot));
  INVALID(shm_queue_release(queue, NULL));
  INVALID(shm_queue_shutdown(NULL));
  INVALID(shm_queue_get_stats(NULL, &stats));
  INVALID(shm_queue_get_stats(queue, NULL));
  INVALID(shm_queue_set_spin(NULL, 0));
  CHECK(out == no_queue && value == 77 && bytes == 77 && done == 77 && slot.position == 77 && slot.data == &shape);

  /* Nothing of all this has left a trace. */
  CHECK_U64(queue_count(queue), 0);
  for (uint64_t i = 0; i < 4; i++) OK(shm_queue_enqueue(queue, &i));
  CHECK_STATUS(shm_queue_enqueue(queue, &value), SHM_FULL);
  for (uint64_t i = 0; i < 4; i++) {
    OK(shm_queue_dequeue(queue, &value));
    CHECK_U64(value, i);
  }
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

/* ---- names --------------------------------------------------------------------------------------------------- */

static void segment_names_that_cannot_be_are_refused(void) {
  static char too_long[400];
  static const char *const bad[] = {"", "/", ".", "..", "/.", "/..", "a/b", "/a/b", "a/", "//a", "../a", too_long};
  shm_segment_options options = segment_shape(0, SIZE);
  memset(too_long, 'n', sizeof too_long - 1);
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    const char *part = bad[i] == too_long ? "399" : strlen(bad[i]) < 2 && bad[i][0] != '.' ? "empty" : bad[i];
    shm_segment *out = no_segment;
    CREATE_FAILS(bad[i], &options, SHM_ERR_INVALID, part);
    OPEN_FAILS(bad[i], NULL, SHM_ERR_INVALID, part);
    CHECK_FAILS(shm_open_segment(bad[i], SIZE, &out), SHM_ERR_INVALID, part);
    CHECK_FAILS(shm_segment_unlink(bad[i]), SHM_ERR_INVALID, part);
    CHECK(out == no_segment);
  }
  CREATE_FAILS("\xff\xfe", &options, SHM_ERR_INVALID, "UTF-8");
  OPEN_FAILS("\xc3", NULL, SHM_ERR_INVALID, "UTF-8");
}

static void structure_names_that_do_not_fit_are_refused(void) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_queue_options shape = queue_shape(0, 4, 8);
  shm_entry entry;
  char name[40];
  memset(&entry, 0x5e, sizeof entry);
  memset(name, 'n', sizeof name);
  name[33] = '\0'; /* the standard table has room for 32 */
  QUEUE_CREATE_FAILS(segment, name, &shape, SHM_ERR_INVALID, "33");
  QUEUE_CREATE_FAILS(segment, name, &shape, SHM_ERR_INVALID, "32");
  CHECK_STATUS(shm_table_find(segment, name, &entry), SHM_ERR_INVALID);
  CHECK_STATUS(shm_table_remove(segment, name), SHM_ERR_INVALID);
  QUEUE_CREATE_FAILS(segment, "", &shape, SHM_ERR_INVALID, "name");
  QUEUE_CREATE_FAILS(segment, "\xff", &shape, SHM_ERR_INVALID, "UTF-8");
  CHECK_STATUS(shm_table_find(segment, "", &entry), SHM_ERR_INVALID);
  CHECK(entry.name[0] == 0x5e);

  name[32] = '\0';
  shm_queue *queue = new_queue(segment, name, 0, 4, 8);
  name[31] = 'x'; /* the last byte counts: nothing was cut off */
  CHECK_FAILS(shm_table_find(segment, name, &entry), SHM_ERR_NOT_FOUND, name);
  name[31] = 'n';
  OK(shm_table_find(segment, name, &entry));
  CHECK(strcmp(entry.name, name) == 0);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

/* The longest names there can be come back whole, terminated, from every call that hands them out. */
static void the_longest_names_come_back_whole(void) {
  shm_segment_options options = segment_shape(SHM_EXCLUSIVE, 2 * SIZE);
  shm_segment *segment = NULL;
  shm_queue_options shape = queue_shape(0, 4, 8);
  shm_queue *queue = NULL;
  shm_entry entry;
  uint32_t cursor = 0;
  char name[300];
  options.table = (shm_table_shape)SHM_TABLE_HUGE;
  OK(shm_segment_create(new_name(), &options, &segment));
  memset(name, 'n', sizeof name);
  name[257] = '\0';
  QUEUE_CREATE_FAILS(segment, name, &shape, SHM_ERR_INVALID, "257");
  name[256] = '\0';
  CHECK(SHM_NAME_CAPACITY > 256);
  OK(shm_queue_create(segment, name, &shape, &queue));
  memset(&entry, 0x5e, sizeof entry);
  OK(shm_table_find(segment, name, &entry));
  CHECK(strcmp(entry.name, name) == 0);
  memset(&entry, 0x5e, sizeof entry);
  OK(shm_table_next(segment, &cursor, &entry));
  CHECK(strcmp(entry.name, name) == 0);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

static void absent_names_are_not_found(void) {
  const char *name = new_name();
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_entry entry;
  memset(&entry, 0x5e, sizeof entry);
  OPEN_FAILS(name, NULL, SHM_ERR_NOT_FOUND, name + 1);
  CHECK_FAILS(shm_segment_unlink(name), SHM_ERR_NOT_FOUND, name + 1);
  QUEUE_OPEN_FAILS(segment, "nobody", NULL, SHM_ERR_NOT_FOUND, "nobody");
  CHECK_FAILS(shm_table_find(segment, "nobody", &entry), SHM_ERR_NOT_FOUND, "nobody");
  CHECK_FAILS(shm_table_remove(segment, "nobody"), SHM_ERR_NOT_FOUND, "nobody");
  CHECK_STATUS(shm_table_wait(segment, "nobody", MILLISECOND, &entry), SHM_TIMEOUT);
  CHECK(entry.name[0] == 0x5e);
  OK(shm_segment_close(segment));
}

/* ---- sizes and options --------------------------------------------------------------------------------------- */

static void segment_sizes_that_cannot_be_are_refused(void) {
  const char *name = new_name();
  shm_segment_options options = segment_shape(0, 0);
  struct statvfs disk;
  uint64_t size = 77;
  char number[24];
  CREATE_FAILS(name, &options, SHM_ERR_INVALID, "0");
  options.size = 1;
  CREATE_FAILS(name, &options, SHM_ERR_INVALID, "too small");
  options.size = UINT64_MAX;
  CREATE_FAILS(name, &options, SHM_ERR_INVALID, "18446744073709551615");
  options.size = UINT64_MAX - 4096;
  CREATE_FAILS(name, &options, SHM_ERR_INVALID, "1844674407370954");
  CHECK(statvfs("/dev/shm", &disk) == 0);
  if (disk.f_blocks != 0) { /* 0: a file system without a limit */
    options.size = (uint64_t)disk.f_blocks * disk.f_frsize + (UINT64_C(1) << 30);
    snprintf(number, sizeof number, "%" PRIu64, options.size);
    CREATE_FAILS(name, &options, SHM_ERR_NO_SPACE, name + 1);
    CHECK(strstr(shm_last_error(), number) != NULL);
  }
  CHECK(!file_exists(name));
  CHECK_FAILS(shm_segment_size(NULL, UINT64_MAX, &size), SHM_ERR_INVALID, "18446744073709551615");
  CHECK_U64(size, 77);
}

static void segment_options_that_cannot_be_are_refused(void) {
  const char *name = new_name();
  const shm_segment_options good = segment_shape(0, SIZE);
  shm_segment_options options = good;
  uint64_t size = 77;
  options.struct_size = 0;
  CREATE_FAILS(name, &options, SHM_ERR_INVALID, "shm_segment_options");
  OPEN_FAILS(name, &options, SHM_ERR_INVALID, "shm_segment_options");
  CHECK_FAILS(shm_segment_size(&options, 1, &size), SHM_ERR_INVALID, "shm_segment_options");
  options.struct_size = 3;
  CREATE_FAILS(name, &options, SHM_ERR_INVALID, "3");
  options.struct_size = 1u << 30;
  CREATE_FAILS(name, &options, SHM_ERR_INVALID, "1073741824");

  options = good;
  options.flags = 0x80000000u;
  CREATE_FAILS(name, &options, SHM_ERR_INVALID, "flag");
  options = good;
  options.flags = SHM_SPSC; /* of a queue */
  CREATE_FAILS(name, &options, SHM_ERR_INVALID, "flag");
  options = good;
  options.mode = 0x10000;
  CREATE_FAILS(name, &options, SHM_ERR_INVALID, "mode");
  options = good;
  options.group = INT64_C(1) << 40;
  CREATE_FAILS(name, &options, SHM_ERR_INVALID, "group");
  options = good;
  options.table = (shm_table_shape)99;
  CREATE_FAILS(name, &options, SHM_ERR_INVALID, "99");
  CHECK_FAILS(shm_segment_size(&options, 1, &size), SHM_ERR_INVALID, "99");
  options = good;
  options.table = (shm_table_shape)SHM_TABLE_CUSTOM;
  options.table_name_bytes = 0;
  options.table_entries = 8;
  CREATE_FAILS(name, &options, SHM_ERR_INVALID, "0");
  options.table_name_bytes = 100000;
  CREATE_FAILS(name, &options, SHM_ERR_INVALID, "100000");
  options.table_name_bytes = 8;
  options.table_entries = 0;
  CREATE_FAILS(name, &options, SHM_ERR_INVALID, "0");
  options.table_entries = UINT32_MAX;
  CREATE_FAILS(name, &options, SHM_ERR_INVALID, "4294967295");
  options = good;
  options.max_participants = 0;
  CREATE_FAILS(name, &options, SHM_ERR_INVALID, "participants");
  options.max_participants = UINT32_MAX;
  CREATE_FAILS(name, &options, SHM_ERR_INVALID, "4294967295");
  CHECK(!file_exists(name));
  CHECK_U64(size, 77);
}

static void queue_options_that_cannot_be_are_refused(uint32_t flags) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  const shm_queue_options good = queue_shape(flags, 4, 8);
  static const struct {
    uint64_t capacity, elem_size;
    uint32_t elem_align;
    shm_status status;
    const char *part;
  } bad[] = {
      {0, 8, 0, (shm_status)SHM_ERR_INVALID, "0"},
      {4, 0, 0, (shm_status)SHM_ERR_INVALID, "element"},
      {UINT64_MAX, 8, 0, (shm_status)SHM_ERR_INVALID, "18446744073709551615"},
      {4, UINT64_MAX, 0, (shm_status)SHM_ERR_INVALID, "18446744073709551615"},
      {UINT64_MAX, UINT64_MAX, 0, (shm_status)SHM_ERR_INVALID, "18446744073709551615"},
      {(UINT64_C(1) << 63) + 1, 1, 0, (shm_status)SHM_ERR_INVALID, "9223372036854775809"},
      {UINT64_C(1) << 32, UINT64_C(1) << 32, 0, (shm_status)SHM_ERR_INVALID, "4294967296"},
      {4, 8, 3, (shm_status)SHM_ERR_INVALID, "3"},
      {4, 8, 24, (shm_status)SHM_ERR_INVALID, "24"},
      {4, 8192, 8192, (shm_status)SHM_ERR_INVALID, "8192"},
      {4, 8, UINT32_MAX, (shm_status)SHM_ERR_INVALID, "4294967295"},
  };
  shm_queue_options options;
  uint64_t bytes = 77;
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    options = good;
    options.capacity = bad[i].capacity;
    options.elem_size = bad[i].elem_size;
    options.elem_align = bad[i].elem_align;
    QUEUE_CREATE_FAILS(segment, "queue", &options, bad[i].status, bad[i].part);
    CHECK_FAILS(shm_queue_size(&options, &bytes), bad[i].status, bad[i].part);
  }
  options = good;
  options.struct_size = 1;
  QUEUE_CREATE_FAILS(segment, "queue", &options, SHM_ERR_INVALID, "shm_queue_options");
  QUEUE_OPEN_FAILS(segment, "queue", &options, SHM_ERR_INVALID, "shm_queue_options");
  CHECK_FAILS(shm_queue_size(&options, &bytes), SHM_ERR_INVALID, "shm_queue_options");
  options = good;
  options.flags |= 0x40000000u;
  QUEUE_CREATE_FAILS(segment, "queue", &options, SHM_ERR_INVALID, "flag");
  CHECK_U64(bytes, 77);

  options = good;
  options.capacity = UINT64_C(1) << 40; /* could be, elsewhere */
  QUEUE_CREATE_FAILS(segment, "queue", &options, SHM_ERR_NO_SPACE, "queue");

  shm_segment_stats stats;
  OK(shm_segment_get_stats(segment, &stats));
  CHECK(stats.entries_used == 0 && stats.used == 0);
  OK(shm_segment_close(segment));
}

/* ---- the wrong thing under the right name -------------------------------------------------------------------- */

static void another_shape_is_a_mismatch_that_says_which(uint32_t flags) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_queue_options good = queue_shape(flags, 16, 24), other;
  shm_queue *queue = NULL;
  good.type_tag = 0x4711;
  OK(shm_queue_create(segment, "trades", &good, &queue));

  other = good;
  other.elem_size = 32;
  QUEUE_CREATE_FAILS(segment, "trades", &other, SHM_ERR_MISMATCH, "trades");
  CHECK(strstr(shm_last_error(), "24") != NULL && strstr(shm_last_error(), "32") != NULL);
  QUEUE_OPEN_FAILS(segment, "trades", &other, SHM_ERR_MISMATCH, "32");
  other = good;
  other.elem_align = 16;
  QUEUE_CREATE_FAILS(segment, "trades", &other, SHM_ERR_MISMATCH, "align");
  QUEUE_OPEN_FAILS(segment, "trades", &other, SHM_ERR_MISMATCH, "16");
  other = good;
  other.capacity = 64;
  QUEUE_CREATE_FAILS(segment, "trades", &other, SHM_ERR_MISMATCH, "64");
  QUEUE_OPEN_FAILS(segment, "trades", &other, SHM_ERR_MISMATCH, "16");
  other = good;
  other.flags = flags ^ SHM_SPSC;
  QUEUE_CREATE_FAILS(segment, "trades", &other, SHM_ERR_MISMATCH, "trades");
  QUEUE_OPEN_FAILS(segment, "trades", &other, SHM_ERR_MISMATCH, "trades");
  other = good;
  other.type_tag = 0x4712;
  QUEUE_CREATE_FAILS(segment, "trades", &other, SHM_ERR_MISMATCH, "0x4711");
  CHECK(strstr(shm_last_error(), "0x4712") != NULL);
  QUEUE_OPEN_FAILS(segment, "trades", &other, SHM_ERR_MISMATCH, "0x4712");
  other = good;
  other.flags |= SHM_EXCLUSIVE;
  QUEUE_CREATE_FAILS(segment, "trades", &other, SHM_ERR_EXISTS, "trades");

  /* What is the same, or not asked about, attaches. */
  shm_queue *again = NULL;
  OK(shm_queue_create(segment, "trades", &good, &again));
  OK(shm_queue_close(again));
  other = good;
  other.capacity = 9; /* 16, rounded up */
  OK(shm_queue_create(segment, "trades", &other, &again));
  OK(shm_queue_close(again));
  other.capacity = 0;
  other.elem_align = 4; /* more is given */
  other.type_tag = 0;
  OK(shm_queue_open(segment, "trades", &other, &again));
  OK(shm_queue_close(again));
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

static void places_that_are_not_held_are_refused(uint32_t flags) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_queue *queue = new_queue(segment, "queue", flags, 4, 8);
  shm_queue_slot slot = {NULL, 0}, claimed = {NULL, 0};
  uint64_t value = 5;
  INVALID(shm_queue_commit(queue, &slot)); /* never claimed */
  INVALID(shm_queue_abort(queue, &slot));
  INVALID(shm_queue_release(queue, &slot));
  slot.position = UINT64_MAX;
  INVALID(shm_queue_commit(queue, &slot));
  INVALID(shm_queue_release(queue, &slot));

  OK(shm_queue_claim(queue, &claimed));
  INVALID(shm_queue_release(queue, &claimed)); /* not peeked */
  slot = claimed;
  slot.position += 1;
  INVALID(shm_queue_commit(queue, &slot));
  *(uint64_t *)claimed.data = value;
  OK(shm_queue_commit(queue, &claimed));
  INVALID(shm_queue_commit(queue, &claimed)); /* not twice */
  INVALID(shm_queue_abort(queue, &claimed));

  OK(shm_queue_claim(queue, &claimed));
  OK(shm_queue_abort(queue, &claimed));
  INVALID(shm_queue_abort(queue, &claimed));
  INVALID(shm_queue_commit(queue, &claimed)); /* given up is given up */

  OK(shm_queue_peek(queue, &claimed));
  INVALID(shm_queue_commit(queue, &claimed));
  OK(shm_queue_release(queue, &claimed));
  INVALID(shm_queue_release(queue, &claimed));
  CHECK_U64(queue_count(queue), 0);
  OK(shm_queue_enqueue(queue, &value));
  value = 0;
  OK(shm_queue_dequeue(queue, &value));
  CHECK_U64(value, 5);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

/* ---- no room ------------------------------------------------------------------------------------------------- */

static void a_full_table_is_a_limit(void) {
  shm_segment_options options = segment_shape(SHM_EXCLUSIVE, SIZE);
  shm_segment *segment = NULL;
  shm_queue *queues[16];
  shm_queue_options shape = queue_shape(0, 4, 8);
  char name[16];
  options.table = (shm_table_shape)SHM_TABLE_SMALL;
  OK(shm_segment_create(new_name(), &options, &segment));
  for (int i = 0; i < 16; i++) {
    snprintf(name, sizeof name, "q%d", i);
    queues[i] = new_queue(segment, name, 0, 4, 8);
  }
  QUEUE_CREATE_FAILS(segment, "one more", &shape, SHM_ERR_LIMIT, "one more");
  CHECK(strstr(shm_last_error(), "16") != NULL);
  OK(shm_table_remove(segment, "q7"));
  OK(shm_queue_close(queues[7]));
  queues[7] = new_queue(segment, "one more", 0, 4, 8);
  for (int i = 0; i < 16; i++) OK(shm_queue_close(queues[i]));
  OK(shm_segment_close(segment));
}

static void a_full_segment_has_no_space(void) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_queue_options shape = queue_shape(0, 256, 1024); /* a quarter of the segment, more with its states */
  shm_queue *queues[8];
  shm_segment_stats stats;
  char name[16], number[24];
  int made = 0;
  uint64_t bytes = 0;
  OK(shm_queue_size(&shape, &bytes));
  OK(shm_segment_get_stats(segment, &stats));
  while (stats.largest_free >= bytes) {
    snprintf(name, sizeof name, "q%d", made);
    OK(shm_queue_create(segment, name, &shape, &queues[made++]));
    OK(shm_segment_get_stats(segment, &stats));
  }
  CHECK(made >= 2 && made <= 3);
  snprintf(number, sizeof number, "%" PRIu64, stats.largest_free);
  QUEUE_CREATE_FAILS(segment, "one more", &shape, SHM_ERR_NO_SPACE, "one more");
  CHECK(strstr(shm_last_error(), number) != NULL); /* how much there is ... */
  snprintf(number, sizeof number, "%" PRIu64, bytes);
  CHECK(strstr(shm_last_error(), number) != NULL); /* ... and how much it takes */
  shm_queue *small = new_queue(segment, "small", 0, 4, 8);
  OK(shm_queue_close(small));
  while (made > 0) OK(shm_queue_close(queues[--made]));
  OK(shm_segment_close(segment));
}

static void one_participant_too_many_is_a_limit(void) {
  const char *name = new_name();
  shm_segment_options options = segment_shape(SHM_EXCLUSIVE, SIZE);
  shm_segment *a = NULL, *b = NULL;
  options.max_participants = 2;
  OK(shm_segment_create(name, &options, &a));
  b = attach(name);
  OPEN_FAILS(name, NULL, SHM_ERR_LIMIT, name + 1);
  CHECK(strstr(shm_last_error(), "2") != NULL);
  CHECK_U64(living(a), 2);
  OK(shm_segment_close(b));
  b = attach(name);
  OK(shm_segment_close(b));

  signal_pipe there = new_pipe();
  pid_t child = fork_child(); /* takes the second place */
  if (child == 0) {
    say(there);
    for (;;) pause();
  }
  await(there);
  OPEN_FAILS(name, NULL, SHM_ERR_LIMIT, name + 1);
  kill_child(child);
  b = attach(name); /* the dead make room without being asked */
  CHECK_U64(living(a), 2);

  child = fork_child(); /* two more attachments, and no room: the child's handles fail, its parent's go on */
  if (child == 0) {
    shm_queue *out = no_queue;
    shm_queue_options shape = queue_shape(0, 4, 8);
    CHECK(shm_queue_create(a, "queue", &shape, &out) < 0);
    CHECK(out == no_queue);
    CHECK(shm_segment_close(a) <= 0 && shm_segment_close(b) <= 0);
    _exit(0);
  }
  CHECK_CHILD(child);
  CHECK_U64(living(a), 2);
  shm_queue *queue = new_queue(a, "queue", 0, 4, 8);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(a));
  OK(shm_segment_close(b));
  close_pipe(there);
}

/* ---- files that are no segments ------------------------------------------------------------------------------ */

static void write_file(const char *name, const void *bytes, size_t count) {
  int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  CHECK(fd >= 0);
  CHECK(write(fd, bytes, count) == (ssize_t)count);
  close(fd);
}

/* A real segment's file, with nobody attached. */
static const char *new_file(void) {
  const char *name = new_name();
  shm_segment_options options = segment_shape(SHM_EXCLUSIVE | SHM_PERSISTENT, SIZE);
  shm_segment *segment = NULL;
  OK(shm_segment_create(name, &options, &segment));
  shm_queue *queue = new_queue(segment, "queue", 0, 4, 8);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
  return name;
}

static void patch(const char *name, off_t offset, const void *bytes, size_t count) {
  int fd = open(path_of(name), O_RDWR | O_CLOEXEC);
  CHECK(fd >= 0);
  CHECK(pwrite(fd, bytes, count, offset) == (ssize_t)count);
  close(fd);
}

/* Refused in every way of coming, and not touched. */
static void check_refused(const char *name, shm_status status, const char *part) {
  struct stat before, after;
  const shm_segment_options read_only = segment_shape(SHM_READ_ONLY, 0), create = segment_shape(0, SIZE);
  CHECK(lstat(path_of(name), &before) == 0);
  OPEN_FAILS(name, NULL, status, name + 1);
  CHECK(strstr(shm_last_error(), part) != NULL);
  OPEN_FAILS(name, &read_only, status, part);
  CREATE_FAILS(name, &create, status, part);
  CHECK(lstat(path_of(name), &after) == 0);
  CHECK(before.st_ino == after.st_ino && before.st_size == after.st_size && before.st_mode == after.st_mode);
}

static void foreign_files_are_refused_and_left_alone(void) {
  static unsigned char bytes[65536];
  const char *name = new_name();
  uint32_t random = 12345;
  for (size_t i = 0; i < sizeof bytes; i++) {
    random = random * 1664525u + 1013904223u;
    bytes[i] = (unsigned char)(random >> 24);
  }
  write_file(name, bytes, sizeof bytes);
  check_refused(name, (shm_status)SHM_ERR_CORRUPT, "not a segment");

  name = new_name();
  write_file(name, bytes, 0);
  check_refused(name, (shm_status)SHM_ERR_CORRUPT, "0 bytes");
  name = new_name();
  write_file(name, bytes, 100);
  check_refused(name, (shm_status)SHM_ERR_CORRUPT, "100 bytes");
  memset(bytes, 0, sizeof bytes);
  name = new_name();
  write_file(name, bytes, sizeof bytes);
  check_refused(name, (shm_status)SHM_ERR_CORRUPT, "not a segment");
}

static void truncated_segments_are_refused(void) {
  static const off_t lengths[] = {0, 8, 255, 256, 4096, 65536, (off_t)(SIZE - 4096), (off_t)(SIZE - 1)};
  for (size_t i = 0; i < COUNT_OF(lengths); i++) {
    char number[24];
    const char *name = new_file();
    CHECK(truncate(path_of(name), lengths[i]) == 0);
    snprintf(number, sizeof number, "%ld", (long)lengths[i]);
    check_refused(name, (shm_status)SHM_ERR_CORRUPT, number);
  }
  const char *name = new_file(); /* and one that has grown */
  CHECK(truncate(path_of(name), (off_t)(2 * SIZE)) == 0);
  check_refused(name, (shm_status)SHM_ERR_CORRUPT, "2097152");
}

static void other_formats_are_refused_by_number(void) {
  const uint32_t version = 77, swapped = 0x04030201u, nonsense = 0x01020305u;
  const uint64_t magic = UINT64_C(0x1122334455667788);
  const char *name = new_file();
  patch(name, 8, &version, sizeof version);
  check_refused(name, (shm_status)SHM_ERR_VERSION, "77");
  name = new_file();
  patch(name, 12, &swapped, sizeof swapped);
  check_refused(name, (shm_status)SHM_ERR_VERSION, "byte order");
  name = new_file();
  patch(name, 12, &nonsense, sizeof nonsense);
  check_refused(name, (shm_status)SHM_ERR_CORRUPT, "0x01020305");
  name = new_file();
  patch(name, 0, &magic, sizeof magic);
  check_refused(name, (shm_status)SHM_ERR_CORRUPT, "0x1122334455667788");
}

/* Any one byte of the identity and geometry: refused, or without meaning; never a crash. */
static void a_scribbled_header_is_noticed(void) {
  const char *name = new_file();
  unsigned char header[112], byte;
  int refused = 0;
  int fd = open(path_of(name), O_RDONLY | O_CLOEXEC);
  CHECK(fd >= 0 && read(fd, header, sizeof header) == (ssize_t)sizeof header);
  close(fd);
  for (size_t i = 0; i < sizeof header; i++) {
    shm_segment *segment = no_segment;
    byte = (unsigned char)(header[i] ^ 0x41);
    patch(name, (off_t)i, &byte, 1);
    shm_status status = shm_segment_open(name, NULL, &segment);
    if (status == SHM_OK) {
      OK(shm_segment_close(segment));
    } else {
      CHECK(status == SHM_ERR_CORRUPT || status == SHM_ERR_VERSION);
      CHECK(segment == no_segment && strstr(shm_last_error(), name + 1) != NULL);
      refused++;
    }
    CHECK(file_exists(name));
    patch(name, (off_t)i, &header[i], 1);
  }
  CHECK(refused >= 80);
  shm_segment *segment = attach(name);
  OK(shm_segment_close(segment));
}

static void what_is_no_plain_file_is_refused(void) {
  const char *directory = new_name(), *link = new_name(), *fifo = new_name(), *target = new_file();
  char to[128];
  shm_segment *out = no_segment;
  shm_segment_options read_only = segment_shape(SHM_READ_ONLY, 0);
  CHECK(mkdir(path_of(directory), 0700) == 0);
  CHECK(shm_segment_open(directory, NULL, &out) < 0);
  CHECK(shm_segment_open(directory, &read_only, &out) < 0);
  CHECK(strstr(shm_last_error(), directory + 1) != NULL);
  CHECK(rmdir(path_of(directory)) == 0);

  snprintf(to, sizeof to, "%s", path_of(target));
  CHECK(symlink(to, path_of(link)) == 0);
  OPEN_FAILS(link, NULL, SHM_ERR_PERMISSION, link + 1);

  CHECK(mkfifo(path_of(fifo), 0600) == 0);
  CHECK(shm_segment_open(fifo, NULL, &out) < 0); /* and it comes back */
  CHECK(strstr(shm_last_error(), fifo + 1) != NULL);
  CHECK(shm_segment_open(fifo, &read_only, &out) < 0);
  CHECK(out == no_segment && file_exists(fifo) && file_exists(link));
}

static void another_users_segment_is_refused_unless_asked_for(void) {
  if (geteuid() != 0) return; /* only root can make one */
  const char *name = new_file();
  const shm_segment_options any = segment_shape(SHM_ANY_OWNER, 0);
  shm_segment *segment = NULL;
  CHECK(chown(path_of(name), 65534, (gid_t)-1) == 0);
  check_refused(name, (shm_status)SHM_ERR_PERMISSION, "65534");
  OK(shm_segment_open(name, &any, &segment));
  OK(shm_segment_close(segment));
}

int main(void) {
  support_start(60);
  RUN(null_is_refused_by_every_segment_function);
  RUN(null_is_refused_by_every_table_function);
  RUN_WITH(null_is_refused_by_every_queue_function, 0);
  RUN_WITH(null_is_refused_by_every_queue_function, SHM_SPSC);
  RUN(segment_names_that_cannot_be_are_refused);
  RUN(structure_names_that_do_not_fit_are_refused);
  RUN(the_longest_names_come_back_whole);
  RUN(absent_names_are_not_found);
  RUN(segment_sizes_that_cannot_be_are_refused);
  RUN(segment_options_that_cannot_be_are_refused);
  RUN_WITH(queue_options_that_cannot_be_are_refused, 0);
  RUN_WITH(queue_options_that_cannot_be_are_refused, SHM_SPSC);
  RUN_WITH(another_shape_is_a_mismatch_that_says_which, 0);
  RUN_WITH(another_shape_is_a_mismatch_that_says_which, SHM_SPSC);
  RUN_WITH(places_that_are_not_held_are_refused, 0);
  RUN_WITH(places_that_are_not_held_are_refused, SHM_SPSC);
  RUN(a_full_table_is_a_limit);
  RUN(a_full_segment_has_no_space);
  RUN(one_participant_too_many_is_a_limit);
  RUN(foreign_files_are_refused_and_left_alone);
  RUN(truncated_segments_are_refused);
  RUN(other_formats_are_refused_by_number);
  RUN(a_scribbled_header_is_noticed);
  RUN(what_is_no_plain_file_is_refused);
  RUN(another_users_segment_is_refused_unless_asked_for);
  return 0;
}
