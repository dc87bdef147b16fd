/* The directory of a segment: many names, walking, waiting, and removal that means unlink. */
#include "support.h"

#include <pthread.h>

#define SIZE (UINT64_C(1) << 20)

static shm_segment *new_segment_with_table(int shape, uint64_t size) {
  shm_segment_options options;
  shm_segment *segment = NULL;
  OK(shm_segment_options_init(&options));
  options.flags = SHM_EXCLUSIVE;
  options.size = size;
  options.table = (shm_table_shape)shape;
  OK(shm_segment_create(new_name(), &options, &segment));
  return segment;
}

static shm_segment_stats stats_of(const shm_segment *segment) {
  shm_segment_stats stats;
  OK(shm_segment_get_stats(segment, &stats));
  return stats;
}

static int has(const shm_segment *segment, const char *name) {
  shm_entry entry;
  shm_status status = shm_table_find(segment, name, &entry);
  if (status == SHM_ERR_NOT_FOUND) return 0;
  OK(status);
  return 1;
}

static void a_name_may_end_anywhere_in_a_text(void) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_queue *queue = new_queue(segment, "orders", 0, 4, 8);
  const char *text = "orders/orders!";
  shm_entry entry;
  for (size_t length = 0; length <= strlen(text); length++) {
    shm_status status = shm_table_find_sized(segment, text, length, &entry);
    CHECK_STATUS(status, length == 6 ? SHM_OK : length == 0 ? SHM_ERR_INVALID : SHM_ERR_NOT_FOUND);
  }
  OK(shm_table_find_sized(segment, text + 7, 6, &entry));
  CHECK(strcmp(entry.name, "orders") == 0);
  CHECK_FAILS(shm_table_find_sized(segment, text, 3, &entry), SHM_ERR_NOT_FOUND, "'ord'");
  CHECK_FAILS(shm_table_find_sized(segment, "orders", 7, &entry), SHM_ERR_INVALID, "control character");
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

static void an_entry_says_what_the_structure_is(void) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_queue_options shape = queue_shape(0, 100, 24);
  shm_queue *queue = NULL, *again = NULL;
  shm_entry entry;
  uint64_t bytes = 0;
  shape.elem_align = 16;
  shape.type_tag = UINT64_C(0xfeedfacecafebeef);
  OK(shm_queue_create(segment, "trades", &shape, &queue));
  OK(shm_queue_size(&shape, &bytes));
  memset(&entry, 0x5e, sizeof entry);
  OK(shm_table_find(segment, "trades", &entry));
  CHECK_U64(entry.kind, SHM_KIND_QUEUE);
  CHECK_U64(entry.elem_size, 24);
  CHECK_U64(entry.elem_align, 16);
  CHECK_U64(entry.count, 128);
  CHECK_U64(entry.type_tag, UINT64_C(0xfeedfacecafebeef));
  CHECK(entry.size >= 128 * 24 && entry.size <= bytes && entry.offset + entry.size <= stats_of(segment).size);
  CHECK_U64(entry.flags & SHM_SPSC, 0);
  CHECK_U64(entry.users, 1); /* participants, not handles */
  CHECK(strcmp(entry.name, "trades") == 0);
  again = open_queue(segment, "trades");
  OK(shm_table_find(segment, "trades", &entry));
  CHECK_U64(entry.users, 1);
  for (int i = 0; i < 1000; i++) {
    shm_queue *one_of_many = open_queue(segment, "trades");
    if (i % 2) {
      OK(shm_queue_close(again));
      again = one_of_many;
    } else {
      OK(shm_queue_close(one_of_many));
    }
  }
  OK(shm_table_find(segment, "trades", &entry));
  CHECK_U64(entry.users, 1);
  OK(shm_queue_close(queue));
  OK(shm_queue_close(again));
  OK(shm_table_find(segment, "trades", &entry)); /* nobody has it open: it stays */
  CHECK_U64(entry.users, 0);

  queue = new_queue(segment, "single", SHM_SPSC, 4, 8);
  OK(shm_table_find(segment, "single", &entry));
  CHECK_U64(entry.flags & SHM_SPSC, SHM_SPSC);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

static void a_thousand_names_are_all_found(void) {
  enum { MANY = 1000 };
  shm_segment *segment = new_segment_with_table(SHM_TABLE_HUGE, UINT64_C(8) << 20);
  static char seen[MANY];
  shm_entry entry;
  char name[32];
  uint32_t cursor = 0;
  unsigned walked = 0;
  for (int i = 0; i < MANY; i++) {
    snprintf(name, sizeof name, "structure %d", i);
    shm_queue *queue = new_queue(segment, name, i % 2 ? SHM_SPSC : 0, 8, (uint64_t)(i % 64 + 1));
    OK(shm_queue_close(queue));
  }
  for (int i = 0; i < MANY; i++) {
    snprintf(name, sizeof name, "structure %d", i);
    OK(shm_table_find(segment, name, &entry));
    CHECK(strcmp(entry.name, name) == 0);
    CHECK_U64(entry.elem_size, i % 64 + 1);
  }
  CHECK(!has(segment, "structure 1000") && !has(segment, "structure") && !has(segment, "structure 10 "));
  while (shm_table_next(segment, &cursor, &entry) == SHM_OK) {
    int i = -1;
    CHECK(sscanf(entry.name, "structure %d", &i) == 1 && i >= 0 && i < MANY);
    CHECK(!seen[i]);
    seen[i] = 1;
    walked++;
  }
  CHECK_U64(walked, MANY);
  CHECK_STATUS(shm_table_next(segment, &cursor, &entry), SHM_EMPTY); /* and it stays at the end */
  for (int i = 0; i < MANY; i += 2) {
    snprintf(name, sizeof name, "structure %d", i);
    OK(shm_table_remove(segment, name));
  }
  for (int i = 0; i < MANY; i++) {
    snprintf(name, sizeof name, "structure %d", i);
    CHECK_U64(has(segment, name), i % 2);
  }
  OK(shm_segment_close(segment));
}

static void an_empty_table_ends_at_once(void) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_entry entry;
  uint32_t cursor = 0;
  memset(&entry, 0x5e, sizeof entry);
  CHECK_STATUS(shm_table_next(segment, &cursor, &entry), SHM_EMPTY);
  cursor = UINT32_MAX;
  CHECK_STATUS(shm_table_next(segment, &cursor, &entry), SHM_EMPTY);
  CHECK(entry.name[0] == 0x5e);
  OK(shm_segment_close(segment));
}

static void sections_do_not_overlap(void) {
  enum { MANY = 60 };
  shm_segment *segment = new_segment(new_name(), UINT64_C(4) << 20);
  shm_entry entries[MANY];
  shm_queue *queues[MANY];
  uint32_t cursor = 0;
  int count = 0;
  char name[16];
  for (int i = 0; i < MANY; i++) {
    const uint64_t capacity = (uint64_t)(i * 7 % 50 + 1), elem_size = (uint64_t)(i * 13 % 90 + 1);
    shm_queue_options shape = queue_shape(i % 3 ? 0 : SHM_SPSC, capacity, elem_size);
    snprintf(name, sizeof name, "q%d", i);
    OK(shm_queue_create(segment, name, &shape, &queues[i]));
  }
  while (count < MANY && shm_table_next(segment, &cursor, &entries[count]) == SHM_OK) count++;
  CHECK_U64(count, MANY);
  for (int a = 0; a < MANY; a++) {
    for (int b = 0; b < a; b++) {
      CHECK(entries[a].offset + entries[a].size <= entries[b].offset ||
            entries[b].offset + entries[b].size <= entries[a].offset);
    }
  }
  for (int i = 0; i < MANY; i++) OK(shm_queue_close(queues[i]));
  OK(shm_segment_close(segment));
}

/* ---- removal ------------------------------------------------------------------------------------------------- */

static void a_removed_queue_works_on_for_those_who_have_it(void) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  const uint64_t empty = stats_of(segment).used;
  shm_queue *old = new_queue(segment, "queue", 0, 64, 8), *fresh = NULL;
  uint64_t value = 1;
  OK(shm_queue_enqueue(old, &value));
  OK(shm_table_remove(segment, "queue"));
  CHECK(!has(segment, "queue"));
  CHECK_FAILS(shm_table_remove(segment, "queue"), SHM_ERR_NOT_FOUND, "queue");
  CHECK_STATUS(shm_queue_open(segment, "queue", NULL, &fresh), SHM_ERR_NOT_FOUND);

  fresh = new_queue(segment, "queue", SHM_EXCLUSIVE, 64, 16); /* the name is free at once, also for another shape */
  uint64_t pair[2] = {8, 9};
  for (int i = 0; i < 64; i++) OK(shm_queue_enqueue(fresh, pair)); /* and none of its bytes are the old one's */
  CHECK_STATUS(shm_queue_enqueue(fresh, pair), SHM_FULL);
  OK(shm_queue_dequeue(old, &value));
  CHECK_U64(value, 1);
  CHECK_STATUS(shm_queue_dequeue(old, &value), SHM_EMPTY);
  for (uint64_t i = 0; i < 64; i++) OK(shm_queue_enqueue(old, &i));
  for (uint64_t i = 0; i < 64; i++) {
    OK(shm_queue_dequeue(old, &value));
    CHECK_U64(value, i);
  }
  OK(shm_queue_close(old));
  OK(shm_queue_close(fresh));
  OK(shm_table_remove(segment, "queue"));
  CHECK_U64(stats_of(segment).used, empty);
  CHECK_U64(stats_of(segment).entries_used, 0);
  OK(shm_segment_close(segment));
}

static void memory_is_reclaimed_ten_thousand_times(void) {
  shm_segment *segment = new_segment_with_table(SHM_TABLE_SMALL, UINT64_C(256) << 10);
  const shm_segment_stats before = stats_of(segment);
  static char element[64], out[64];
  for (int i = 0; i < 10000; i++) {
    shm_queue_options shape = queue_shape(i % 2 ? SHM_SPSC : 0, UINT64_C(1) << i % 10, (uint64_t)(i % 64 + 1));
    shm_queue *queue = NULL;
    OK(shm_queue_create(segment, "again", &shape, &queue));
    CHECK_STATUS(shm_queue_dequeue(queue, out), SHM_EMPTY); /* nothing of the one before */
    memset(element, i, sizeof element);
    OK(shm_queue_enqueue(queue, element));
    if (i % 3) {
      OK(shm_table_remove(segment, "again"));
      OK(shm_queue_close(queue));
    } else {
      OK(shm_queue_close(queue));
      OK(shm_table_remove(segment, "again"));
    }
  }
  CHECK_U64(stats_of(segment).free, before.free);
  CHECK_U64(stats_of(segment).largest_free, before.largest_free);
  CHECK_U64(stats_of(segment).entries_used, 0);
  OK(shm_segment_close(segment));
}

/* Holes of all sizes, and at the end one piece again. */
static void freed_pieces_join(void) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  const shm_segment_stats before = stats_of(segment);
  shm_queue *queues[64];
  char name[16];
  for (int round = 0; round < 20; round++) {
    for (int i = 0; i < 48; i++) {
      snprintf(name, sizeof name, "q%d", i);
      queues[i] = new_queue(segment, name, 0, (uint64_t)((i + round) % 17 + 1), (uint64_t)(i % 40 + 1));
    }
    for (int step = 0; step < 48; step++) {
      int i = step * 29 % 48;
      snprintf(name, sizeof name, "q%d", i);
      OK(shm_table_remove(segment, name));
      OK(shm_queue_close(queues[i]));
    }
    CHECK_U64(stats_of(segment).largest_free, before.largest_free);
  }
  OK(shm_segment_close(segment));
}

static void memory_comes_back_when_its_last_user_dies(void) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  const uint64_t free_before = stats_of(segment).free;
  signal_pipe there = new_pipe();
  pid_t child = fork_child();
  if (child == 0) {
    (void)new_queue(segment, "queue", 0, 1024, 64);
    say(there);
    for (;;) pause();
  }
  await(there);
  OK(shm_table_remove(segment, "queue"));
  CHECK(stats_of(segment).free < free_before); /* somebody still has it */
  kill_child(child);
  OK(shm_segment_reap(segment, NULL));
  CHECK_U64(stats_of(segment).free, free_before);
  OK(shm_segment_close(segment));
  close_pipe(there);
}

static void users_are_counted_by_participant(void) {
  const char *name = new_name();
  shm_segment *a = new_segment(name, SIZE), *b = attach(name);
  shm_queue *in_a = new_queue(a, "queue", 0, 4, 8), *in_b = open_queue(b, "queue");
  shm_entry entry;
  signal_pipe there = new_pipe();
  OK(shm_table_find(a, "queue", &entry));
  CHECK_U64(entry.users, 2);
  pid_t child = fork_child(); /* inherits both */
  if (child == 0) {
    say(there);
    for (;;) pause();
  }
  await(there);
  OK(shm_table_find(a, "queue", &entry));
  CHECK_U64(entry.users, 4);
  kill_child(child);
  OK(shm_segment_reap(a, NULL));
  OK(shm_table_find(a, "queue", &entry));
  CHECK_U64(entry.users, 2);
  OK(shm_queue_close(in_b));
  OK(shm_table_find(a, "queue", &entry));
  CHECK_U64(entry.users, 1);
  OK(shm_queue_close(in_a));
  OK(shm_segment_close(a));
  OK(shm_segment_close(b));
  close_pipe(there);
}

/* ---- waiting for a name -------------------------------------------------------------------------------------- */

static void waiting_for_a_name_ends_in_time(void) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_entry entry;
  uint64_t begin = now_ns();
  CHECK_STATUS(shm_table_wait(segment, "queue", 0, &entry), SHM_TIMEOUT);
  CHECK(now_ns() - begin < SECOND);
  begin = now_ns();
  CHECK_STATUS(shm_table_wait(segment, "queue", 30 * MILLISECOND, &entry), SHM_TIMEOUT);
  CHECK(now_ns() - begin >= 30 * MILLISECOND && now_ns() - begin < 10 * SECOND);
  shm_queue *queue = new_queue(segment, "queue", 0, 4, 8);
  OK(shm_table_wait(segment, "queue", 0, &entry));
  OK(shm_table_wait(segment, "queue", SHM_FOREVER, &entry));
  CHECK_U64(entry.elem_size, 8);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

static void a_name_wakes_those_who_wait_in_other_processes(void) {
  enum { CHILDREN = 3 };
  shm_segment *segment = new_segment(new_name(), SIZE);
  signal_pipe there = new_pipe();
  pid_t waiting[CHILDREN];
  for (int i = 0; i < CHILDREN; i++) {
    waiting[i] = fork_child();
    if (waiting[i] == 0) {
      shm_entry entry;
      say(there);
      OK(shm_table_wait(segment, "late", i == 0 ? SHM_FOREVER : LONG_ENOUGH, &entry));
      CHECK_U64(entry.elem_size, 12);
      shm_queue *queue = open_queue(segment, "late");
      OK(shm_queue_close(queue));
      _exit(0);
    }
  }
  for (int i = 0; i < CHILDREN; i++) await(there);
  sleep_ns(20 * MILLISECOND); /* asleep by now */
  shm_queue *other = new_queue(segment, "early", 0, 4, 8); /* wakes them for nothing */
  sleep_ns(20 * MILLISECOND);
  shm_queue *queue = new_queue(segment, "late", 0, 4, 12);
  for (int i = 0; i < CHILDREN; i++) CHECK_CHILD(waiting[i]);
  OK(shm_queue_close(queue));
  OK(shm_queue_close(other));
  OK(shm_segment_close(segment));
  close_pipe(there);
}

/* ---- at the same time ---------------------------------------------------------------------------------------- */

static void racing_creators_of_a_name_share_one_queue(void) {
  enum { CHILDREN = 4, ROUNDS = 60 };
  shm_segment *segment = new_segment(new_name(), SIZE);
  for (int round = 0; round < ROUNDS; round++) {
    char name[16];
    pid_t racers[CHILDREN];
    uint64_t sum = 0, value;
    snprintf(name, sizeof name, "round %d", round);
    for (uint64_t i = 0; i < CHILDREN; i++) {
      racers[i] = fork_child();
      if (racers[i] == 0) {
        shm_queue *queue = new_queue(segment, name, 0, 16, 8);
        uint64_t mine = UINT64_C(1) << i;
        OK(shm_queue_enqueue(queue, &mine));
        _exit(0); /* without a close */
      }
    }
    for (int i = 0; i < CHILDREN; i++) CHECK_CHILD(racers[i]);
    shm_queue *queue = open_queue(segment, name);
    while (shm_queue_dequeue(queue, &value) == SHM_OK) sum += value;
    CHECK_U64(sum, (1u << CHILDREN) - 1);
    OK(shm_queue_close(queue));
    OK(shm_table_remove(segment, name));
  }
  OK(shm_segment_reap(segment, NULL)); /* the dead children's */
  CHECK_U64(stats_of(segment).entries_used, 0);
  OK(shm_segment_close(segment));
}

static volatile int stop; /* through __atomic only */

static void *create_and_remove(void *argument) {
  const shm_segment *segment = (const shm_segment *)argument;
  while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
    for (uint64_t size = 8; size <= 16; size += 8) {
      shm_queue *queue = new_queue(segment, "changing", 0, 4, size);
      OK(shm_queue_close(queue));
      OK(shm_table_remove(segment, "changing"));
    }
  }
  return NULL;
}

/* Lookups take no lock: whoever looks while entries come and go sees one or none, never half of one. */
static void lookups_beside_changes_see_whole_entries(void) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_queue *fixed = new_queue(segment, "fixed", 0, 4, 40);
  pthread_t thread;
  shm_entry entry;
  uint64_t hits = 0;
  __atomic_store_n(&stop, 0, __ATOMIC_RELAXED);
  CHECK(pthread_create(&thread, NULL, create_and_remove, segment) == 0);
  /* On a busy machine the other thread may not run for long. */
  uint64_t end = now_ns() + 500 * MILLISECOND, last_end = end + 20000 * MILLISECOND;
  while (now_ns() < (hits > 0 ? end : last_end)) {
    shm_status status = shm_table_find(segment, "changing", &entry);
    if (status == SHM_OK) {
      CHECK(strcmp(entry.name, "changing") == 0 && entry.kind == SHM_KIND_QUEUE && entry.count == 4);
      CHECK(entry.elem_size == 8 || entry.elem_size == 16);
      hits++;
    } else {
      CHECK_STATUS(status, SHM_ERR_NOT_FOUND);
    }
    OK(shm_table_find(segment, "fixed", &entry)); /* is always there */
    CHECK_U64(entry.elem_size, 40);
    shm_queue *queue = NULL;
    status = shm_queue_open(segment, "changing", NULL, &queue);
    if (status == SHM_OK) {
      OK(shm_queue_close(queue));
    } else {
      CHECK_STATUS(status, SHM_ERR_NOT_FOUND);
    }
  }
  __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(hits > 0);
  OK(shm_queue_close(fixed));
  OK(shm_segment_close(segment));
}

/* A child is killed wherever it is in making and removing; the table stays whole and nothing leaks. */
static void creators_may_die_at_any_moment(void) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  const uint64_t free_before = stats_of(segment).free;
  uint32_t random = 7;
  for (int round = 0; round < 60; round++) {
    pid_t child = fork_child();
    if (child == 0) {
      for (;;) {
        shm_queue *queue = new_queue(segment, "doomed", 0, 64, 64);
        OK(shm_queue_close(queue));
        OK(shm_table_remove(segment, "doomed"));
      }
    }
    random = random * 1664525u + 1013904223u;
    sleep_ns(MILLISECOND + random % (2 * MILLISECOND));
    kill_child(child);
    shm_queue *queue = new_queue(segment, "doomed", 0, 64, 64);
    shm_queue *other = new_queue(segment, "other", 0, 8, 8);
    OK(shm_queue_close(queue));
    OK(shm_queue_close(other));
    OK(shm_table_remove(segment, "doomed"));
    OK(shm_table_remove(segment, "other"));
    OK(shm_segment_reap(segment, NULL));
    CHECK_U64(stats_of(segment).free, free_before);
    CHECK_U64(living(segment), 1);
  }
  CHECK_U64(stats_of(segment).entries_used, 0);
  OK(shm_segment_close(segment));
}

int main(void) {
  support_start(100);
  RUN(a_name_may_end_anywhere_in_a_text);
  RUN(an_entry_says_what_the_structure_is);
  RUN(a_thousand_names_are_all_found);
  RUN(an_empty_table_ends_at_once);
  RUN(sections_do_not_overlap);
  RUN(a_removed_queue_works_on_for_those_who_have_it);
  RUN(memory_is_reclaimed_ten_thousand_times);
  RUN(freed_pieces_join);
  RUN(memory_comes_back_when_its_last_user_dies);
  RUN(users_are_counted_by_participant);
  RUN(waiting_for_a_name_ends_in_time);
  RUN(a_name_wakes_those_who_wait_in_other_processes);
  RUN(racing_creators_of_a_name_share_one_queue);
  RUN(lookups_beside_changes_see_whole_entries);
  RUN(creators_may_die_at_any_moment);
  return 0;
}
