/* Segments: making, finding, sharing, leaving and losing them. */
#include "support.h"

#include <dirent.h>
#include <pthread.h>

#define SIZE (UINT64_C(1) << 20)

static shm_segment_options segment_shape(uint32_t flags, uint64_t size) {
  shm_segment_options options;
  OK(shm_segment_options_init(&options));
  options.flags = flags;
  options.size = size;
  return options;
}

static shm_segment_stats stats_of(const shm_segment *segment) {
  shm_segment_stats stats;
  OK(shm_segment_get_stats(segment, &stats));
  return stats;
}

static int open_fds(void) {
  int count = 0;
  DIR *directory = opendir("/proc/self/fd");
  CHECK(directory != NULL);
  while (readdir(directory) != NULL) count++;
  closedir(directory);
  return count;
}

static int mappings(void) {
  int count = 0, c;
  FILE *maps = fopen("/proc/self/maps", "r");
  CHECK(maps != NULL);
  while ((c = getc(maps)) != EOF) count += c == '\n';
  fclose(maps);
  return count;
}

/* ---- words about itself -------------------------------------------------------------------------------------- */

static void the_library_says_its_version(void) {
  CHECK(shm_abi_version() >= 1);
  CHECK(strchr(shm_version(), '.') != NULL);
}

static void every_status_has_a_text_of_its_own(void) {
  for (int32_t a = SHM_ERR_INTERNAL; a <= SHM_LAPPED; a++) {
    CHECK(shm_status_string(a) != NULL && shm_status_string(a)[0] != '\0');
    for (int32_t b = SHM_ERR_INTERNAL; b < a; b++) CHECK(strcmp(shm_status_string(a), shm_status_string(b)) != 0);
  }
  CHECK(shm_status_string(INT32_MAX) != NULL && shm_status_string(INT32_MIN) != NULL);
}

static void *fail_in_another_thread(void *name) {
  shm_segment *segment = NULL;
  CHECK_FAILS(shm_segment_open((const char *)name, NULL, &segment), SHM_ERR_NOT_FOUND, (const char *)name + 1);
  return NULL;
}

static void the_last_error_is_the_threads_own(void) {
  const char *mine = new_name(), *other = new_name();
  shm_segment *segment = NULL;
  pthread_t thread;
  CHECK_FAILS(shm_segment_open(mine, NULL, &segment), SHM_ERR_NOT_FOUND, mine + 1);
  CHECK(pthread_create(&thread, NULL, fail_in_another_thread, (void *)(uintptr_t)other) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(strstr(shm_last_error(), mine + 1) != NULL);
}

/* ---- create, open, close, unlink ----------------------------------------------------------------------------- */

static void what_is_created_can_be_opened(void) {
  const char *name = new_name(), *a_name = NULL, *b_name = NULL;
  shm_segment *a = new_segment(name, SIZE), *b = attach(name);
  shm_entry entry;
  CHECK(file_exists(name));
  OK(shm_segment_name(a, &a_name));
  OK(shm_segment_name(b, &b_name));
  CHECK(strcmp(a_name, b_name) == 0 && strstr(a_name, name + 1) != NULL);
  shm_queue *queue = new_queue(a, "queue", 0, 4, 8);
  OK(shm_table_find(b, "queue", &entry));
  OK(shm_queue_close(queue));
  OK(shm_segment_close(a));
  OK(shm_table_find(b, "queue", &entry));
  OK(shm_segment_close(b));
}

static void a_leading_slash_changes_nothing(void) {
  const char *name = new_name();
  shm_segment *a = new_segment(name + 1, SIZE), *b = attach(name), *c = attach(name + 1);
  CHECK_U64(living(a), 3);
  OK(shm_segment_close(b));
  OK(shm_segment_close(c));
  OK(shm_segment_unlink(name));
  CHECK(!file_exists(name));
  OK(shm_segment_close(a));
}

static void create_attaches_to_what_exists(void) {
  const char *name = new_name();
  shm_segment_options options = segment_shape(0, SIZE);
  shm_segment *a = NULL, *b = NULL;
  OK(shm_segment_create(name, &options, &a));
  OK(shm_segment_create(name, &options, &b));
  CHECK_U64(living(a), 2);
  shm_queue *queue = new_queue(a, "queue", 0, 4, 8);
  OK(shm_queue_close(queue));
  queue = open_queue(b, "queue");
  OK(shm_queue_close(queue));
  OK(shm_segment_close(a));
  OK(shm_segment_close(b));
}

static void exclusive_creation_refuses_what_exists(void) {
  const char *name = new_name();
  shm_segment *a = new_segment(name, SIZE), *b = NULL;
  shm_segment_options options = segment_shape(SHM_EXCLUSIVE, SIZE);
  CHECK_FAILS(shm_segment_create(name, &options, &b), SHM_ERR_EXISTS, name + 1);
  CHECK(b == NULL);
  OK(shm_segment_close(a));
}

static void open_segment_creates_or_attaches(void) {
  const char *name = new_name();
  shm_segment *a = NULL, *b = NULL, *c = NULL;
  CHECK_FAILS(shm_open_segment(name, 0, &a), SHM_ERR_NOT_FOUND, name + 1);
  CHECK(a == NULL && !file_exists(name));
  OK(shm_open_segment(name, SIZE, &a));
  OK(shm_open_segment(name, SIZE, &b));
  OK(shm_open_segment(name, 0, &c));
  CHECK_U64(living(a), 3);
  OK(shm_segment_close(a));
  OK(shm_segment_close(b));
  OK(shm_segment_close(c));
}

static void a_segment_goes_with_the_last_who_closes_it(void) {
  const char *name = new_name();
  shm_segment *a = new_segment(name, SIZE), *b = attach(name), *none = NULL;
  OK(shm_segment_close(a));
  CHECK(file_exists(name));
  OK(shm_segment_close(b));
  CHECK(!file_exists(name));
  CHECK_FAILS(shm_segment_open(name, NULL, &none), SHM_ERR_NOT_FOUND, name + 1);
}

static void a_persistent_segment_stays_with_what_is_in_it(void) {
  const char *name = new_name();
  shm_segment_options options = segment_shape(SHM_PERSISTENT, SIZE);
  shm_segment *segment = NULL;
  uint64_t value = 4711;
  OK(shm_segment_create(name, &options, &segment));
  shm_queue *queue = new_queue(segment, "queue", 0, 4, 8);
  OK(shm_queue_enqueue(queue, &value));
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
  CHECK(file_exists(name));

  segment = attach(name);
  CHECK((stats_of(segment).flags & SHM_PERSISTENT) != 0);
  CHECK_U64(living(segment), 1);
  queue = open_queue(segment, "queue");
  value = 0;
  OK(shm_queue_dequeue(queue, &value));
  CHECK_U64(value, 4711);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
  OK(shm_segment_unlink(name));
  CHECK(!file_exists(name));
  CHECK_FAILS(shm_segment_unlink(name), SHM_ERR_NOT_FOUND, name + 1);
}

static void unlink_takes_the_name_and_leaves_the_rest(void) {
  const char *name = new_name();
  shm_segment *old = new_segment(name, SIZE);
  shm_queue *queue = new_queue(old, "queue", 0, 4, 8);
  shm_entry entry;
  uint64_t value = 1;
  CHECK_U64(stats_of(old).orphaned, 0);
  OK(shm_segment_unlink(name));
  CHECK_U64(stats_of(old).orphaned, 1);
  OK(shm_queue_enqueue(queue, &value));

  shm_segment *fresh = new_segment(name, SIZE);
  CHECK_U64(stats_of(fresh).orphaned, 0);
  CHECK_STATUS(shm_table_find(fresh, "queue", &entry), SHM_ERR_NOT_FOUND);
  CHECK_U64(living(fresh), 1);
  CHECK_U64(living(old), 1);

  OK(shm_queue_dequeue(queue, &value));
  OK(shm_queue_close(queue));
  OK(shm_segment_close(old)); /* the last of the old one: must not take the new one's name */
  CHECK(file_exists(name));
  OK(shm_segment_close(fresh));
  CHECK(!file_exists(name));
}

static void a_queue_outlives_the_handle_of_its_segment(void) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_queue *queue = new_queue(segment, "queue", 0, 4, 8);
  uint64_t value = 7;
  OK(shm_segment_close(segment));
  OK(shm_queue_enqueue(queue, &value));
  value = 0;
  OK(shm_queue_dequeue(queue, &value));
  CHECK_U64(value, 7);
  OK(shm_queue_close(queue));
}

static void nothing_is_left_after_a_thousand_rounds(void) {
  const char *name = new_name();
  int fds = 0, maps = 0;
  for (int round = 0; round < 1010; round++) {
    shm_segment *a = new_segment(name, SIZE), *b = attach(name);
    shm_queue *queue = new_queue(a, "queue", 0, 64, 8);
    OK(shm_queue_close(queue));
    OK(shm_segment_close(a));
    OK(shm_segment_close(b));
    if (round == 10) {
      fds = open_fds();
      maps = mappings();
    }
  }
  CHECK_U64(open_fds(), fds);
  CHECK(mappings() <= maps + 2);
}

/* ---- what it says of itself ---------------------------------------------------------------------------------- */

static void stats_add_up(void) {
  shm_segment *segment = new_segment(new_name(), SIZE - 1);
  const shm_segment_stats before = stats_of(segment);
  CHECK(before.size >= SIZE - 1 && before.size % (uint64_t)sysconf(_SC_PAGESIZE) == 0);
  CHECK_U64(before.used, 0);
  CHECK(before.free > 0 && before.free < before.size);
  CHECK_U64(before.largest_free, before.free);
  CHECK_U64(before.entries_used, 0);
  CHECK_U64(before.entries_free, 64);
  CHECK_U64(before.participants, 1);
  CHECK_U64(before.max_participants, 64);
  CHECK_U64(before.table_name_bytes, 32);
  CHECK_U64(before.flags, 0);

  shm_queue *queue = new_queue(segment, "queue", 0, 64, 64);
  const shm_segment_stats after = stats_of(segment);
  CHECK(after.used >= 64 * 64);
  CHECK_U64(after.used + after.free, before.used + before.free);
  CHECK(after.largest_free <= after.free);
  CHECK_U64(after.entries_used, 1);
  CHECK_U64(after.entries_free, 63);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

static void table_shapes_are_as_named(void) {
  static const struct {
    int shape;
    uint32_t name_bytes, entries;
  } shapes[] = {{SHM_TABLE_SMALL, 16, 16},   {SHM_TABLE_STANDARD, 32, 64}, {SHM_TABLE_LARGE, 64, 256},
                {SHM_TABLE_HUGE, 256, 1024}, {SHM_TABLE_CUSTOM, 24, 5}};
  for (size_t i = 0; i < COUNT_OF(shapes); i++) {
    shm_segment_options options = segment_shape(SHM_EXCLUSIVE, 2 * SIZE);
    shm_segment *segment = NULL;
    options.table = (shm_table_shape)shapes[i].shape;
    options.table_name_bytes = 24;
    options.table_entries = 5;
    OK(shm_segment_create(new_name(), &options, &segment));
    CHECK_U64(stats_of(segment).table_name_bytes, shapes[i].name_bytes);
    CHECK_U64(stats_of(segment).entries_free, shapes[i].entries);
    OK(shm_segment_close(segment));
  }
}

static void the_estimate_is_enough(void) {
  const shm_queue_options shapes[] = {
      queue_shape(0, 1000, 24),      queue_shape(SHM_SPSC, 1000, 8), queue_shape(0, 1, 1),
      queue_shape(SHM_SPSC, 3, 100), queue_shape(0, 17, 4096),       queue_shape(SHM_SPSC, 64, 29),
  };
  static const int tables[] = {SHM_TABLE_SMALL, SHM_TABLE_STANDARD, SHM_TABLE_LARGE, SHM_TABLE_HUGE};
  static char element[4096];
  for (size_t t = 0; t < COUNT_OF(tables); t++) {
    shm_segment_options options = segment_shape(SHM_EXCLUSIVE, 0);
    shm_segment *segment = NULL;
    uint64_t sum = 0;
    options.table = (shm_table_shape)tables[t];
    options.max_participants = t % 2 ? 2 : 200;
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
      uint64_t bytes = 0;
      OK(shm_queue_size(&shapes[i], &bytes));
      CHECK(bytes >= shapes[i].capacity * shapes[i].elem_size);
      sum += bytes;
    }
    OK(shm_segment_size(&options, sum, &options.size));
    CHECK(options.size >= sum);
    OK(shm_segment_create(new_name(), &options, &segment));
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
      char name[16];
      shm_queue *queue = NULL;
      shm_queue_stats stats;
      snprintf(name, sizeof name, "queue %zu", i);
      OK(shm_queue_create(segment, name, &shapes[i], &queue));
      OK(shm_queue_get_stats(queue, &stats));
      CHECK(stats.capacity >= shapes[i].capacity);
      for (uint64_t n = 0; n < stats.capacity; n++) OK(shm_queue_enqueue(queue, element));
      CHECK_STATUS(shm_queue_enqueue(queue, element), SHM_FULL);
      OK(shm_queue_close(queue));
    }
    OK(shm_segment_close(segment));
  }
}

static void the_estimate_without_options_is_for_the_defaults(void) {
  shm_segment_options options = segment_shape(0, 0);
  uint64_t with = 0, without = 0;
  OK(shm_segment_size(&options, 10000, &with));
  OK(shm_segment_size(NULL, 10000, &without));
  CHECK_U64(with, without);
}

static void max_allocation_is_a_limit_on_each(void) {
  shm_segment_options options = segment_shape(SHM_EXCLUSIVE, SIZE);
  shm_segment *segment = NULL;
  options.max_allocation = 64 * 1024;
  OK(shm_segment_create(new_name(), &options, &segment));
  shm_queue_options shape = queue_shape(0, 8192, 64);
  shm_queue *queue = NULL;
  CHECK_FAILS(shm_queue_create(segment, "large", &shape, &queue), SHM_ERR_NO_SPACE, "65536");
  CHECK(queue == NULL);
  queue = new_queue(segment, "small", 0, 64, 64);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

/* ---- permissions --------------------------------------------------------------------------------------------- */

static void modes_are_exact_whatever_the_umask(void) {
  static const uint32_t masks[] = {0, 022, 077, 0777}, modes[] = {0600, 0640, 0660, 0666};
  for (size_t m = 0; m < COUNT_OF(masks); m++) {
    for (size_t i = 0; i < COUNT_OF(modes); i++) {
      const char *name = new_name();
      shm_segment_options options = segment_shape(SHM_EXCLUSIVE, SIZE);
      shm_segment *segment = NULL;
      struct stat st;
      CHECK_U64(options.mode, 0600);
      options.mode = modes[i];
      mode_t mask = umask((mode_t)masks[m]);
      shm_status status = shm_segment_create(name, &options, &segment);
      umask(mask);
      OK(status);
      CHECK(stat(path_of(name), &st) == 0);
      CHECK_U64(st.st_mode & 07777, modes[i]);
      OK(shm_segment_close(segment));
    }
  }
}

static void a_read_only_attachment_can_look_and_not_touch(void) {
  const char *name = new_name();
  shm_segment *writer = new_segment(name, SIZE), *reader = NULL;
  shm_queue *queue = new_queue(writer, "queue", 0, 4, 8), *other = NULL;
  shm_segment_options options = segment_shape(SHM_READ_ONLY, 0);
  shm_queue_options shape = queue_shape(0, 4, 8);
  shm_queue_slot slot = {NULL, 0};
  shm_queue_stats stats;
  shm_entry entry;
  uint64_t value = 9;
  OK(shm_queue_enqueue(queue, &value));
  OK(shm_segment_open(name, &options, &reader));
  CHECK((stats_of(reader).flags & SHM_READ_ONLY) != 0);
  CHECK((stats_of(writer).flags & SHM_READ_ONLY) == 0);
  OK(shm_table_find(reader, "queue", &entry));
  CHECK_U64(entry.elem_size, 8);
  OK(shm_table_wait(reader, "queue", SECOND, &entry));
  CHECK_FAILS(shm_queue_create(reader, "another", &shape, &other), SHM_ERR_READ_ONLY, name + 1);
  CHECK_FAILS(shm_table_remove(reader, "queue"), SHM_ERR_READ_ONLY, name + 1);

  other = open_queue(reader, "queue");
  OK(shm_queue_get_stats(other, &stats));
  CHECK_U64(stats.size, 1);
  value = 10;
  CHECK_FAILS(shm_queue_enqueue(other, &value), SHM_ERR_READ_ONLY, name + 1);
  CHECK_FAILS(shm_queue_enqueue_wait(other, &value, 0), SHM_ERR_READ_ONLY, name + 1);
  CHECK_FAILS(shm_queue_dequeue(other, &value), SHM_ERR_READ_ONLY, name + 1);
  CHECK_FAILS(shm_queue_claim(other, &slot), SHM_ERR_READ_ONLY, name + 1);
  CHECK_FAILS(shm_queue_peek(other, &slot), SHM_ERR_READ_ONLY, name + 1);
  CHECK_FAILS(shm_queue_shutdown(other), SHM_ERR_READ_ONLY, name + 1);
  CHECK_U64(value, 10);
  CHECK_U64(queue_count(queue), 1);

  /* A living reader keeps the segment, though it can write no mark of itself. */
  OK(shm_queue_close(queue));
  OK(shm_segment_close(writer));
  CHECK(file_exists(name));
  writer = attach(name);
  queue = open_queue(writer, "queue");
  OK(shm_queue_dequeue(queue, &value));
  CHECK_U64(value, 9);
  OK(shm_queue_close(queue));
  OK(shm_queue_close(other));
  OK(shm_segment_close(writer));
  OK(shm_segment_close(reader));
}

/* ---- who is there -------------------------------------------------------------------------------------------- */

static void a_forked_child_is_a_participant_of_its_own(void) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  signal_pipe there = new_pipe(), go = new_pipe();
  CHECK_U64(living(segment), 1);
  pid_t child = fork_child();
  if (child == 0) {
    CHECK_U64(living(segment), 2);
    say(there);
    await(go);
    _exit(0);
  }
  await(there);
  CHECK_U64(living(segment), 2);

  shm_participant people[8];
  size_t count = 0;
  int seen_self = 0, seen_child = 0;
  OK(shm_segment_participants(segment, people, COUNT_OF(people), &count));
  CHECK_U64(count, 2);
  for (size_t i = 0; i < count; i++) {
    CHECK_U64(people[i].alive, 1);
    CHECK(people[i].command[0] != '\0' && memchr(people[i].command, 0, sizeof people[i].command) != NULL);
    CHECK(people[i].attached_ns != 0);
    seen_self += people[i].is_self && (pid_t)people[i].pid == getpid();
    seen_child += !people[i].is_self && (pid_t)people[i].pid == child;
  }
  CHECK(seen_self == 1 && seen_child == 1);
  CHECK(people[0].id != people[1].id);

  say(go);
  CHECK_CHILD(child);
  CHECK_U64(living(segment), 1);
  OK(shm_segment_reap(segment, NULL));
  CHECK_U64(living(segment), 1);
  OK(shm_segment_participants(segment, people, COUNT_OF(people), &count));
  CHECK_U64(count, 1);
  OK(shm_segment_close(segment));
  close_pipe(there);
  close_pipe(go);
}

static void the_list_of_participants_fits_any_buffer(void) {
  const char *name = new_name();
  shm_segment *segments[5];
  shm_participant people[5];
  size_t count = 0;
  for (size_t i = 0; i < COUNT_OF(segments); i++) segments[i] = i == 0 ? new_segment(name, SIZE) : attach(name);
  OK(shm_segment_participants(segments[0], NULL, 0, &count));
  CHECK_U64(count, 5);
  memset(people, 0x5e, sizeof people);
  OK(shm_segment_participants(segments[0], people, 3, &count));
  CHECK_U64(count, 5);
  CHECK(people[2].pid == (uint32_t)getpid() && people[3].pid == 0x5e5e5e5eu);
  OK(shm_segment_participants(segments[0], people, 5, &count));
  CHECK(people[4].pid == (uint32_t)getpid());
  for (size_t i = 0; i < COUNT_OF(segments); i++) OK(shm_segment_close(segments[i]));
}

static void the_dead_are_counted_out_and_reaped(void) {
  const char *name = new_name();
  shm_segment *segment = new_segment(name, SIZE);
  signal_pipe there = new_pipe();
  pid_t child = fork_child();
  uint32_t reaped = 77;
  if (child == 0) {
    (void)attach(name); /* two attachments: the inherited one and its own */
    say(there);
    for (;;) pause();
  }
  await(there);
  CHECK_U64(living(segment), 3);
  OK(shm_segment_reap(segment, &reaped));
  CHECK_U64(reaped, 0);
  kill_child(child);
  CHECK_U64(living(segment), 1);
  OK(shm_segment_reap(segment, &reaped));
  CHECK_U64(reaped, 2);
  OK(shm_segment_reap(segment, &reaped));
  CHECK_U64(reaped, 0);
  OK(shm_segment_close(segment));
  close_pipe(there);
}

/* As a daemon is made: the parent goes at once, before the child has run a single instruction. */
static void a_parent_that_closes_leaves_the_segment_to_its_child(void) {
  for (int round = 0; round < 100; round++) {
    const char *name = new_name();
    shm_segment *segment = new_segment(name, SIZE);
    shm_queue *queue = new_queue(segment, "queue", 0, 4, 8);
    signal_pipe go = new_pipe();
    uint64_t value = 3;
    OK(shm_queue_enqueue(queue, &value));
    pid_t child = fork_child();
    if (child == 0) {
      await(go);
      CHECK(file_exists(name));
      CHECK_U64(stats_of(segment).orphaned, 0);
      CHECK_U64(living(segment), 1);
      value = 0;
      OK(shm_queue_dequeue(queue, &value));
      CHECK_U64(value, 3);
      OK(shm_queue_close(queue));
      OK(shm_segment_close(segment));
      CHECK(!file_exists(name));
      _exit(0);
    }
    OK(shm_queue_close(queue));
    OK(shm_segment_close(segment));
    CHECK(file_exists(name));
    say(go);
    CHECK_CHILD(child);
    CHECK(!file_exists(name));
    close_pipe(go);
  }
}

static void a_childs_close_is_not_its_parents(void) {
  const char *name = new_name();
  shm_segment *segment = new_segment(name, SIZE);
  shm_queue *queue = new_queue(segment, "queue", 0, 4, 8);
  pid_t child = fork_child();
  uint64_t value = 5;
  if (child == 0) {
    OK(shm_queue_enqueue(queue, &value));
    OK(shm_queue_close(queue));
    OK(shm_segment_close(segment));
    _exit(0);
  }
  CHECK_CHILD(child);
  CHECK(file_exists(name));
  CHECK_U64(living(segment), 1);
  value = 0;
  OK(shm_queue_dequeue(queue, &value));
  CHECK_U64(value, 5);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

static void a_segment_goes_with_the_last_who_dies(void) {
  const char *name = new_name();
  signal_pipe there = new_pipe();
  shm_segment *segment = NULL;
  pid_t child = fork_child();
  if (child == 0) {
    segment = new_segment(name, SIZE);
    (void)new_queue(segment, "queue", 0, 4, 8);
    say(there);
    for (;;) pause();
  }
  await(there);
  kill_child(child);
  CHECK_FAILS(shm_segment_open(name, NULL, &segment), SHM_ERR_NOT_FOUND, name + 1);
  CHECK(!file_exists(name));
  close_pipe(there);
}

static void creation_replaces_what_the_dead_left(void) {
  const char *name = new_name();
  signal_pipe there = new_pipe();
  shm_entry entry;
  pid_t child = fork_child();
  if (child == 0) {
    (void)new_queue(new_segment(name, SIZE), "queue", 0, 4, 8);
    say(there);
    for (;;) pause();
  }
  await(there);
  kill_child(child);
  shm_segment *segment = new_segment(name, SIZE); /* exclusive, and yet */
  CHECK_STATUS(shm_table_find(segment, "queue", &entry), SHM_ERR_NOT_FOUND);
  CHECK_U64(living(segment), 1);
  OK(shm_segment_close(segment));
  close_pipe(there);
}

/* A process stopped (not dead) with the segment's lock in its hands: others are told who it is, in bounded time. */
static void a_stopped_holder_of_the_lock_is_named(void) {
  const char *name = new_name();
  const uint64_t size = UINT64_C(48) << 20;
  shm_segment_options options = segment_shape(0, 0);
  shm_segment *maker = new_segment(name, size), *segment = NULL, *none = NULL;
  shm_queue *queue = new_queue(maker, "queue", 0, 4, 8);
  shm_segment_stats stats;
  char pid[16];
  int met = 0;
  options.lock_timeout_ms = 60;
  OK(shm_segment_open(name, &options, &segment));
  pid_t child = fork_child();
  if (child == 0) {
    for (;;) { /* clearing what was used before is done under the lock, and takes its time */
      shm_queue *large = new_queue(maker, "large", 0, 512 * 1024, 56);
      OK(shm_table_remove(maker, "large"));
      OK(shm_queue_close(large));
    }
  }
  snprintf(pid, sizeof pid, "%ld", (long)child);
  for (int tries = 0; tries < 500 && !met; tries++) {
    sleep_ns(3 * MILLISECOND);
    kill(child, SIGSTOP);
    sleep_ns(MILLISECOND);
    const uint64_t begin = now_ns();
    shm_status status = shm_segment_get_stats(segment, &stats);
    if (status != SHM_OK) {
      met = 1;
      CHECK_STATUS(status, SHM_ERR_BUSY);
      CHECK(strstr(shm_last_error(), pid) != NULL);
      CHECK(now_ns() - begin >= 60 * MILLISECOND && now_ns() - begin < 5 * SECOND);
      CHECK_FAILS(shm_segment_open(name, &options, &none), SHM_ERR_BUSY, pid);
      CHECK_FAILS(shm_table_remove(segment, "queue"), SHM_ERR_BUSY, pid);
      uint64_t value = 1; /* what takes no lock goes on */
      OK(shm_queue_enqueue(queue, &value));
      OK(shm_queue_dequeue(queue, &value));
      CHECK_U64(living(segment), 4); /* maker and segment, twice */
    }
    kill(child, SIGCONT);
  }
  CHECK(met);
  kill_child(child); /* living, it would have the lock most of the time */
  OK(shm_segment_get_stats(segment, &stats));
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
  OK(shm_segment_close(maker));
}

static volatile int stop; /* through __atomic only */

static void *work_without_pause(void *argument) {
  const shm_segment *segment = (const shm_segment *)argument;
  for (uint64_t i = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); i++) {
    shm_queue *queue = new_queue(segment, "coming and going", 0, 4, 8);
    OK(shm_queue_enqueue(queue, &i));
    OK(shm_queue_close(queue));
    if (i % 2) OK(shm_table_remove(segment, "coming and going"));
  }
  return NULL;
}

/* Forked in the middle of whatever another thread does with the segment, children can use what they inherited. */
static void a_fork_beside_working_threads_works(void) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_queue *queue = new_queue(segment, "queue", 0, 256, 8);
  pthread_t thread;
  uint64_t value = 0;
  __atomic_store_n(&stop, 0, __ATOMIC_RELAXED);
  CHECK(pthread_create(&thread, NULL, work_without_pause, segment) == 0);
  for (uint64_t i = 0; i < 100; i++) {
    pid_t child = fork_child();
    if (child == 0) {
      CHECK(living(segment) >= 2);
      OK(shm_queue_enqueue(queue, &i));
      shm_queue *again = open_queue(segment, "queue");
      OK(shm_queue_close(again));
      _exit(0);
    }
    CHECK_CHILD(child);
    OK(shm_queue_dequeue(queue, &value));
    CHECK_U64(value, i);
  }
  __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
  CHECK(pthread_join(thread, NULL) == 0);
  OK(shm_segment_reap(segment, NULL));
  CHECK_U64(living(segment), 1);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

/* Several processes come and go at once, each putting its mark in: never two segments, never half a one. */
static void racing_creators_meet_in_one_segment(void) {
  enum { CHILDREN = 4, ROUNDS = 40 };
  for (int round = 0; round < ROUNDS; round++) {
    const char *name = new_name();
    signal_pipe there = new_pipe(), go = new_pipe(), leave = new_pipe();
    pid_t racers[CHILDREN];
    for (int i = 0; i < CHILDREN; i++) {
      racers[i] = fork_child();
      if (racers[i] == 0) {
        shm_segment_options options = segment_shape(0, SIZE);
        shm_segment *segment = NULL;
        char mark[16];
        await(go);
        OK(shm_segment_create(name, &options, &segment));
        snprintf(mark, sizeof mark, "mark %d", i);
        shm_queue *queue = new_queue(segment, mark, SHM_EXCLUSIVE, 4, 8);
        say(there);
        await(leave);
        OK(shm_queue_close(queue));
        OK(shm_segment_close(segment));
        _exit(0);
      }
    }
    for (int i = 0; i < CHILDREN; i++) say(go);
    for (int i = 0; i < CHILDREN; i++) await(there);
    shm_segment *segment = attach(name);
    CHECK_U64(living(segment), CHILDREN + 1);
    CHECK_U64(stats_of(segment).entries_used, CHILDREN);
    OK(shm_segment_close(segment));
    for (int i = 0; i < CHILDREN; i++) say(leave);
    for (int i = 0; i < CHILDREN; i++) CHECK_CHILD(racers[i]);
    CHECK(!file_exists(name));
    close_pipe(there);
    close_pipe(go);
    close_pipe(leave);
  }
}

/* The last one out removes the name just when somebody comes in: the one who came must not be left with nothing. */
static void coming_and_going_at_once_loses_nobody(void) {
  enum { CHILDREN = 3, ROUNDS = 300 };
  const char *name = new_name();
  pid_t racers[CHILDREN];
  for (int i = 0; i < CHILDREN; i++) {
    racers[i] = fork_child();
    if (racers[i] == 0) {
      for (int round = 0; round < ROUNDS; round++) {
        shm_segment_options options = segment_shape(0, SIZE);
        shm_segment *segment = NULL;
        OK(shm_segment_create(name, &options, &segment));
        CHECK_U64(stats_of(segment).orphaned, 0);
        OK(shm_segment_close(segment));
      }
      _exit(0);
    }
  }
  for (int i = 0; i < CHILDREN; i++) CHECK_CHILD(racers[i]);
  CHECK(!file_exists(name));
}

int main(void) {
  support_start(120);
  RUN(the_library_says_its_version);
  RUN(every_status_has_a_text_of_its_own);
  RUN(the_last_error_is_the_threads_own);
  RUN(what_is_created_can_be_opened);
  RUN(a_leading_slash_changes_nothing);
  RUN(create_attaches_to_what_exists);
  RUN(exclusive_creation_refuses_what_exists);
  RUN(open_segment_creates_or_attaches);
  RUN(a_segment_goes_with_the_last_who_closes_it);
  RUN(a_persistent_segment_stays_with_what_is_in_it);
  RUN(unlink_takes_the_name_and_leaves_the_rest);
  RUN(a_queue_outlives_the_handle_of_its_segment);
  RUN(nothing_is_left_after_a_thousand_rounds);
  RUN(stats_add_up);
  RUN(table_shapes_are_as_named);
  RUN(the_estimate_is_enough);
  RUN(the_estimate_without_options_is_for_the_defaults);
  RUN(max_allocation_is_a_limit_on_each);
  RUN(modes_are_exact_whatever_the_umask);
  RUN(a_read_only_attachment_can_look_and_not_touch);
  RUN(a_forked_child_is_a_participant_of_its_own);
  RUN(the_list_of_participants_fits_any_buffer);
  RUN(the_dead_are_counted_out_and_reaped);
  RUN(a_parent_that_closes_leaves_the_segment_to_its_child);
  RUN(a_childs_close_is_not_its_parents);
  RUN(a_segment_goes_with_the_last_who_dies);
  RUN(creation_replaces_what_the_dead_left);
  RUN(a_stopped_holder_of_the_lock_is_named);
  RUN(a_fork_beside_working_threads_works);
  RUN(racing_creators_meet_in_one_segment);
  RUN(coming_and_going_at_once_loses_nobody);
  return 0;
}
