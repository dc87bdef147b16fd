/* Pools: every object has one owner, wrong handles are refused, and the objects of the dead come back. */
#include "support.h"

static shm_pool_options shape(uint64_t capacity, uint64_t elem_size) {
  shm_pool_options options;
  OK(shm_pool_options_init(&options));
  options.capacity = capacity;
  options.elem_size = elem_size;
  return options;
}

static shm_pool *new_pool(const shm_segment *segment, uint64_t capacity, uint64_t elem_size) {
  shm_pool_options options = shape(capacity, elem_size);
  shm_pool *pool = NULL;
  OK(shm_pool_create(segment, "p", &options, &pool));
  return pool;
}

static shm_pool *open_pool(const shm_segment *segment) {
  shm_pool *pool = NULL;
  OK(shm_pool_open(segment, "p", NULL, &pool));
  return pool;
}

static uint64_t allocated(const shm_pool *pool) {
  shm_pool_stats stats;
  OK(shm_pool_get_stats(pool, &stats));
  CHECK_U64(stats.allocated + stats.available, stats.capacity);
  return stats.allocated;
}

static bool is_valid(const shm_pool *pool, uint64_t handle) {
  bool valid = false;
  OK(shm_pool_is_valid(pool, handle, &valid));
  return valid;
}

static void a_pool_gives_all_it_has_and_no_more(void) {
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_pool *pool = new_pool(segment, 100, 24);
  uint64_t handles[101], one = 0, cursor = 0, seen = 0;
  char *objects[100];
  for (size_t i = 0; i < 100; i++) {
    void *object = NULL;
    OK(shm_pool_acquire(pool, &handles[i]));
    OK(shm_pool_get(pool, handles[i], &object));
    CHECK_U64((uintptr_t)object % 8, 0);
    objects[i] = (char *)object;
    memset(objects[i], (int)i, 24);
  }
  CHECK_STATUS(shm_pool_acquire(pool, &one), SHM_EMPTY);
  CHECK_U64(one, SHM_NO_OBJECT);
  CHECK_U64(allocated(pool), 100);
  for (size_t i = 0; i < 100; i++) CHECK(objects[i][0] == (char)i && objects[i][23] == (char)i);
  while (shm_pool_next(pool, &cursor, &one) == SHM_OK) {
    CHECK(is_valid(pool, one));
    seen++;
  }
  CHECK_U64(seen, 100);
  for (size_t i = 0; i < 100; i++) OK(shm_pool_release(pool, handles[i]));
  CHECK_U64(allocated(pool), 0);
  cursor = 0;
  CHECK_STATUS(shm_pool_next(pool, &cursor, &one), SHM_EMPTY);
  cursor = UINT64_MAX;
  CHECK_STATUS(shm_pool_next(pool, &cursor, &one), SHM_EMPTY);
  OK(shm_pool_close(pool));
  OK(shm_segment_close(segment));
}

static void batches_take_what_there_is(void) {
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_pool *pool = new_pool(segment, 10, 8);
  uint64_t handles[20];
  size_t done = 99;
  OK(shm_pool_acquire_batch(pool, handles, 7, &done));
  CHECK_U64(done, 7);
  OK(shm_pool_acquire_batch(pool, handles + 7, 13, &done));
  CHECK_U64(done, 3);
  CHECK_STATUS(shm_pool_acquire_batch(pool, handles + 10, 5, &done), SHM_EMPTY);
  CHECK_U64(done, 0);
  OK(shm_pool_acquire_batch(pool, handles, 0, &done));
  OK(shm_pool_release(pool, handles[4]));
  CHECK_FAILS(shm_pool_release_batch(pool, handles, 10, &done), SHM_ERR_INVALID, "stale");
  CHECK_U64(done, 4);
  OK(shm_pool_release_batch(pool, handles + 5, 5, &done));
  CHECK_U64(done, 5);
  CHECK_U64(allocated(pool), 0);
  OK(shm_pool_close(pool));
  OK(shm_segment_close(segment));
}

static void wrong_handles_are_refused(void) {
  const char *name = new_name();
  shm_segment *segment = new_segment(name, 1 << 20), *second = attach(name);
  shm_pool *pool = new_pool(segment, 4, 16), *theirs = open_pool(second);
  uint64_t old = 0, now = 0, foreign = 0;
  uint32_t owner = 0;
  void *object = NULL;
  OK(shm_pool_acquire(pool, &old));
  OK(shm_pool_release(pool, old));
  CHECK_FAILS(shm_pool_release(pool, old), SHM_ERR_INVALID, "of pool 'p' is stale: its object was released");
  OK(shm_pool_acquire(pool, &now));
  CHECK(now != old);
  CHECK(!is_valid(pool, old) && is_valid(pool, now));
  CHECK_FAILS(shm_pool_release(pool, old), SHM_ERR_INVALID, "stale");
  CHECK_FAILS(shm_pool_get(pool, old, &object), SHM_ERR_INVALID, "stale");
  CHECK_FAILS(shm_pool_adopt(pool, old), SHM_ERR_INVALID, "stale");
  CHECK_FAILS(shm_pool_owner(pool, old, &owner), SHM_ERR_INVALID, "stale");
  OK(shm_pool_acquire(theirs, &foreign));
  CHECK_FAILS(shm_pool_release(pool, foreign), SHM_ERR_INVALID, "belongs to participant");
  CHECK_FAILS(shm_pool_hand_over(pool, foreign, 1), SHM_ERR_INVALID, "belongs to participant");
  OK(shm_pool_get(pool, foreign, &object));
  static const uint64_t none[] = {SHM_NO_OBJECT, 5, UINT32_MAX, UINT64_MAX, UINT64_C(1) << 32};
  for (size_t i = 0; i < COUNT_OF(none); i++) {
    CHECK(!is_valid(pool, none[i]));
    CHECK_FAILS(shm_pool_release(pool, none[i]), SHM_ERR_INVALID, "names none of the 4 objects of pool 'p'");
    CHECK_FAILS(shm_pool_get(pool, none[i], &object), SHM_ERR_INVALID, "names none");
  }
  OK(shm_pool_adopt(pool, foreign));
  CHECK_FAILS(shm_pool_release(theirs, foreign), SHM_ERR_INVALID, "belongs to participant");
  OK(shm_pool_release(pool, foreign));
  OK(shm_pool_close(theirs));
  OK(shm_segment_close(second));
  OK(shm_pool_close(pool));
  OK(shm_segment_close(segment));
}

static void what_does_not_fit_is_refused_with_a_sentence(void) {
  const char *name = new_name();
  shm_segment *segment = new_segment(name, 1 << 20);
  shm_pool *pool = new_pool(segment, 10, 8), *other = NULL;
  uint64_t bytes = 0, handle = 0;
  size_t done = 0;
  shm_pool_options options = shape(10, 9);
  CHECK_FAILS(shm_pool_create(segment, "p", &options, &other), SHM_ERR_MISMATCH, "pool 'p' has elements of 8 bytes, not of 9");
  options = shape(11, 8);
  CHECK_FAILS(shm_pool_open(segment, "p", &options, &other), SHM_ERR_MISMATCH, "'p'");
  options = shape(0, 8);
  CHECK_FAILS(shm_pool_create(segment, "q", &options, &other), SHM_ERR_INVALID, "not 0");
  options = shape(UINT32_MAX, 8);
  CHECK_FAILS(shm_pool_size(&options, &bytes), SHM_ERR_INVALID, "a pool may have");
  options = shape(10, 8);
  options.flags = SHM_EXCLUSIVE;
  CHECK_FAILS(shm_pool_create(segment, "p", &options, &other), SHM_ERR_EXISTS, "p");
  options.reserved = 1;
  CHECK_FAILS(shm_pool_create(segment, "q", &options, &other), SHM_ERR_INVALID, "reserved");
  CHECK_FAILS(shm_array_open(segment, "p", NULL, (shm_array **)&other), SHM_ERR_MISMATCH, "'p'");
  CHECK_FAILS(shm_pool_acquire(NULL, &handle), SHM_ERR_INVALID, "pool is NULL");
  CHECK_FAILS(shm_pool_acquire(pool, NULL), SHM_ERR_INVALID, "handle is NULL");
  CHECK_FAILS(shm_pool_release_batch(pool, NULL, 1, &done), SHM_ERR_INVALID, "handles is NULL");
  shm_segment *looking = NULL;
  shm_segment_options read_only;
  OK(shm_segment_options_init(&read_only));
  read_only.flags = SHM_READ_ONLY;
  OK(shm_segment_open(name, &read_only, &looking));
  other = open_pool(looking);
  CHECK_U64(allocated(other), 0);
  CHECK_STATUS(shm_pool_acquire(other, &handle), SHM_ERR_READ_ONLY);
  CHECK_STATUS(shm_pool_acquire_batch(other, &handle, 1, &done), SHM_ERR_READ_ONLY);
  OK(shm_pool_close(other));
  OK(shm_segment_close(looking));
  OK(shm_pool_close(pool));
  OK(shm_segment_close(segment));
}

static void the_objects_of_the_dead_come_back(void) {
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_pool *pool = new_pool(segment, 8, 8);
  signal_pipe done = new_pipe();
  uint64_t mine = 0, handles[8];
  size_t count = 0;
  OK(shm_pool_acquire(pool, &mine));
  pid_t child = fork_child();
  if (child == 0) {
    OK(shm_pool_acquire_batch(pool, handles, 8, &count));
    CHECK_U64(count, 7);
    CHECK_FAILS(shm_pool_release(pool, mine), SHM_ERR_INVALID, "belongs to participant");
    say(done);
    for (;;) pause();
  }
  await(done);
  CHECK_STATUS(shm_pool_acquire(pool, &handles[0]), SHM_EMPTY);
  kill_child(child);
  sleep_ns(2 * MILLISECOND); /* an exhausted pool looks for the dead once a millisecond */
  OK(shm_pool_acquire_batch(pool, handles, 8, &count));
  CHECK_U64(count, 7);
  CHECK(is_valid(pool, mine));
  CHECK_U64(allocated(pool), 8);
  close_pipe(done);
  OK(shm_pool_close(pool));
  OK(shm_segment_close(segment));
}

static void objects_are_handed_over_and_outlive_their_maker(void) {
  const char *name = new_name();
  shm_segment *segment = new_segment(name, 1 << 20);
  shm_pool *pool = new_pool(segment, 4, 8);
  shm_queue *queue = new_queue(segment, "q", 0, 4, 8);
  uint64_t given = 0, adopted = 0, mine = 0;
  uint32_t me = 0, owner = 0;
  void *object = NULL;
  OK(shm_pool_acquire(pool, &mine));
  OK(shm_pool_owner(pool, mine, &me));
  CHECK_FAILS(shm_pool_hand_over(pool, mine, 0), SHM_ERR_NOT_FOUND, "no participant 0");
  CHECK_FAILS(shm_pool_hand_over(pool, mine, 60), SHM_ERR_NOT_FOUND, "no participant 60");
  CHECK_FAILS(shm_pool_hand_over(pool, mine, UINT32_MAX), SHM_ERR_NOT_FOUND, "no participant");
  signal_pipe done = new_pipe();
  pid_t child = fork_child();
  if (child == 0) {
    uint64_t handles[3];
    for (int i = 0; i < 3; i++) {
      OK(shm_pool_acquire(pool, &handles[i]));
      OK(shm_pool_get(pool, handles[i], &object));
      *(uint64_t *)object = 100 + (uint64_t)i;
    }
    OK(shm_pool_hand_over(pool, handles[0], me));
    CHECK_FAILS(shm_pool_release(pool, handles[0]), SHM_ERR_INVALID, "belongs to participant");
    OK(shm_queue_enqueue(queue, &handles[0]));
    OK(shm_queue_enqueue(queue, &handles[1]));
    say(done);
    for (;;) pause();
  }
  await(done);
  OK(shm_queue_dequeue(queue, &given));
  OK(shm_queue_dequeue(queue, &adopted));
  OK(shm_pool_owner(pool, adopted, &owner));
  CHECK(owner != me);
  OK(shm_pool_adopt(pool, adopted));
  kill_child(child);
  OK(shm_segment_reap(segment, NULL));
  CHECK_U64(allocated(pool), 3);
  OK(shm_pool_get(pool, given, &object));
  CHECK_U64(*(uint64_t *)object, 100);
  OK(shm_pool_get(pool, adopted, &object));
  CHECK_U64(*(uint64_t *)object, 101);
  OK(shm_pool_release(pool, given));
  OK(shm_pool_release(pool, adopted));
  OK(shm_pool_release(pool, mine));

  /* Attached, but without the pool: nobody would give back what such a one owns. */
  OK(shm_pool_acquire(pool, &mine));
  shm_segment *second = attach(name);
  shm_participant all[8];
  size_t count = 0;
  OK(shm_segment_participants(segment, all, 8, &count));
  for (size_t i = 0; i < count; i++) {
    if (all[i].id != me) CHECK_FAILS(shm_pool_hand_over(pool, mine, all[i].id), SHM_ERR_NOT_FOUND, "does not have pool 'p' open");
  }
  CHECK(count >= 2);
  OK(shm_pool_release(pool, mine));
  OK(shm_segment_close(second));
  close_pipe(done);
  OK(shm_queue_close(queue));
  OK(shm_pool_close(pool));
  OK(shm_segment_close(segment));
}

/* Each process marks what it acquires, and finds its mark again. */
static void an_object_has_one_owner_at_a_time(void) {
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_pool *pool = new_pool(segment, 3, 8);
  pid_t family[3];
  for (uint64_t who = 0; who < COUNT_OF(family); who++) {
    family[who] = fork_child();
    if (family[who] != 0) continue;
    for (uint64_t round = 0; round < 20000; round++) {
      uint64_t handle = 0;
      void *object = NULL;
      shm_status status = shm_pool_acquire(pool, &handle);
      if (status == SHM_EMPTY) continue;
      CHECK_STATUS(status, SHM_OK);
      OK(shm_pool_get(pool, handle, &object));
      const uint64_t mark = who << 32 | round;
      __atomic_store_n((uint64_t *)object, mark, __ATOMIC_RELAXED);
      if (round % 64 == 0) sleep_ns(1000);
      CHECK_U64(__atomic_load_n((uint64_t *)object, __ATOMIC_RELAXED), mark);
      OK(shm_pool_release(pool, handle));
    }
    _exit(0);
  }
  for (size_t who = 0; who < COUNT_OF(family); who++) CHECK_CHILD(family[who]);
  CHECK_U64(allocated(pool), 0);
  OK(shm_pool_close(pool));
  OK(shm_segment_close(segment));
}

int main(void) {
  support_start(60);
  RUN(a_pool_gives_all_it_has_and_no_more);
  RUN(batches_take_what_there_is);
  RUN(wrong_handles_are_refused);
  RUN(what_does_not_fit_is_refused_with_a_sentence);
  RUN(the_objects_of_the_dead_come_back);
  RUN(objects_are_handed_over_and_outlive_their_maker);
  RUN(an_object_has_one_owner_at_a_time);
  return 0;
}
