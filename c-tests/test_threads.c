/* Threads at work on every structure through one mapping. That is what ThreadSanitizer can see into (scripts/sanitize.sh): it is blind
 * across processes, and across two mappings of the same memory. Contents are plain memory, so that a missing order shows. */
#include "support.h"

#include <pthread.h>

#define SIZE (UINT64_C(8) << 20)
#define MOST_THREADS 4

static shm_segment *segment;
static uint64_t turns = 5000;

/* Each thread is told which it is. */
static size_t numbers[MOST_THREADS] = {0, 1, 2, 3};

static void together(size_t count, void *(*const works[])(void *)) {
  pthread_t threads[MOST_THREADS];
  CHECK(count <= MOST_THREADS);
  for (size_t i = 0; i < count; i++) CHECK(pthread_create(&threads[i], NULL, works[i], &numbers[i]) == 0);
  for (size_t i = 0; i < count; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

typedef struct element {
  uint64_t number, inverse, filler;
} element;

static element element_of(uint64_t number) {
  element e;
  e.number = number;
  e.inverse = ~number;
  e.filler = number * 3;
  return e;
}

static void check_element(const element *e) { CHECK(e->inverse == ~e->number && e->filler == e->number * 3); }

/* ---- queues -------------------------------------------------------------------------------------------------- */

static shm_queue *queue;

static void *enqueue(void *unused) {
  (void)unused;
  for (uint64_t i = 0; i < turns; i++) {
    const element e = element_of(i);
    shm_queue_slot slot;
    if (i % 2 == 0) {
      OK(shm_queue_enqueue_wait(queue, &e, LONG_ENOUGH));
    } else {
      OK(shm_queue_claim_wait(queue, LONG_ENOUGH, &slot));
      *(element *)slot.data = e;
      OK(shm_queue_commit(queue, &slot));
    }
  }
  return NULL;
}

static void *dequeue(void *unused) {
  (void)unused;
  for (uint64_t i = 0; i < turns; i++) {
    element e;
    shm_queue_slot slot;
    if (i % 2 == 0) {
      OK(shm_queue_dequeue_wait(queue, &e, LONG_ENOUGH));
    } else {
      OK(shm_queue_peek_wait(queue, LONG_ENOUGH, &slot));
      e = *(const element *)slot.data;
      OK(shm_queue_release(queue, &slot));
    }
    check_element(&e);
  }
  return NULL;
}

static void a_queue(uint32_t flags) {
  void *(*const works[])(void *) = {enqueue, dequeue, enqueue, dequeue};
  queue = new_queue(segment, "queue", flags, 16, sizeof(element));
  together(flags == SHM_SPSC ? 2 : 4, works);
  CHECK_U64(queue_count(queue), 0);
  OK(shm_queue_close(queue));
  OK(shm_table_remove(segment, "queue"));
}

/* ---- pools --------------------------------------------------------------------------------------------------- */

static shm_pool *pool;

static void *own(void *number) {
  const uint64_t me = *(size_t *)number;
  for (uint64_t turn = 0; turn < turns; turn++) {
    uint64_t handles[3];
    size_t got = 0, done = 0;
    const shm_status status = shm_pool_acquire_batch(pool, handles, 1 + turn % 3, &got);
    if (status == SHM_EMPTY) continue;
    OK(status);
    for (size_t i = 0; i < got; i++) {
      void *object;
      OK(shm_pool_get(pool, handles[i], &object));
      *(element *)object = element_of(me * turns + turn);
    }
    for (size_t i = 0; i < got; i++) {
      void *object;
      OK(shm_pool_get(pool, handles[i], &object));
      CHECK_U64(((element *)object)->number, me * turns + turn);
      check_element((element *)object);
    }
    OK(shm_pool_release_batch(pool, handles, got, &done));
  }
  return NULL;
}

static void a_pool(void) {
  void *(*const works[])(void *) = {own, own, own};
  shm_pool_options options;
  shm_pool_stats stats;
  OK(shm_pool_options_init(&options));
  options.capacity = 6;
  options.elem_size = sizeof(element);
  OK(shm_pool_create(segment, "pool", &options, &pool));
  together(COUNT_OF(works), works);
  OK(shm_pool_get_stats(pool, &stats));
  CHECK_U64(stats.allocated, 0);
  OK(shm_pool_close(pool));
}

/* ---- arrays -------------------------------------------------------------------------------------------------- */

enum { COUNT = 50 };
static shm_array *array;

static void *write_array(void *unused) {
  (void)unused;
  for (uint64_t turn = 1; turn <= turns; turn++) {
    OK(shm_array_begin_write(array));
    for (size_t i = 0; i < COUNT; i++) OK(shm_array_set(array, i, &turn));
    OK(shm_array_end_write(array));
    if (turn % 16 == 0) sleep_ns(1000); /* so that readers get a turn */
  }
  return NULL;
}

static void *read_array(void *unused) {
  uint64_t elements[COUNT];
  (void)unused;
  do {
    OK(shm_array_snapshot(array, 0, COUNT, elements, LONG_ENOUGH));
    for (size_t i = 1; i < COUNT; i++) CHECK_U64(elements[i], elements[0]);
  } while (elements[0] < turns);
  return NULL;
}

static void an_array(void) {
  void *(*const works[])(void *) = {write_array, read_array, read_array};
  shm_array_options options;
  OK(shm_array_options_init(&options));
  options.count = COUNT;
  options.elem_size = sizeof(uint64_t);
  OK(shm_array_create(segment, "array", &options, &array));
  together(COUNT_OF(works), works);
  OK(shm_array_close(array));
}

/* ---- atomics ------------------------------------------------------------------------------------------------- */

static shm_atomic *atomic;
static element behind; /* published by the atomic's value */

static shm_atomic_value u64_value(uint64_t number) {
  shm_atomic_value value;
  memset(&value, 0, sizeof value);
  value.u64 = number;
  return value;
}

/* Two in turn: the value says whose it is. */
static void *take_turns(void *number) {
  const uint64_t me = *(size_t *)number;
  for (uint64_t turn = me; turn < turns; turn += 2) {
    shm_atomic_value now;
    OK(shm_atomic_load(atomic, SHM_ACQUIRE, &now));
    while (now.u64 != turn) OK(shm_atomic_wait(atomic, now, LONG_ENOUGH, &now));
    check_element(&behind);
    CHECK_U64(behind.number, turn);
    behind = element_of(turn + 1);
    OK(shm_atomic_store(atomic, u64_value(turn + 1), SHM_RELEASE));
    OK(shm_atomic_notify_all(atomic));
  }
  return NULL;
}

static void an_atomic(void) {
  void *(*const works[])(void *) = {take_turns, take_turns};
  behind = element_of(0);
  OK(shm_atomic_create(segment, "atomic", SHM_ATOMIC_U64, u64_value(0), 0, &atomic));
  together(COUNT_OF(works), works);
  OK(shm_atomic_close(atomic));
}

/* ---- rings --------------------------------------------------------------------------------------------------- */

static shm_ring *ring;

static void *push(void *unused) {
  (void)unused;
  for (uint64_t i = 0; i < turns; i++) {
    const element e = element_of(i);
    OK(shm_ring_push_wait(ring, &e, LONG_ENOUGH));
    if (i % 64 == 0) sleep_ns(1000);
  }
  return NULL;
}

static void *pop(void *unused) {
  (void)unused;
  for (uint64_t next = 0; next < turns; next++) {
    element e;
    uint64_t lost = 0;
    OK(shm_ring_pop_wait(ring, &e, LONG_ENOUGH, &lost));
    next += lost;
    check_element(&e);
    CHECK_U64(e.number, next);
  }
  return NULL;
}

static void *follow(void *unused) {
  shm_ring_reader *reader;
  (void)unused;
  OK(shm_ring_reader_open(ring, 0, &reader));
  for (uint64_t next = 0; next < turns;) {
    element some[5];
    uint64_t lost = 0;
    size_t count = 0;
    OK(shm_ring_reader_read_wait(reader, some, COUNT_OF(some), LONG_ENOUGH, &count, &lost));
    next += lost;
    for (size_t i = 0; i < count; i++, next++) {
      check_element(&some[i]);
      CHECK_U64(some[i].number, next);
    }
  }
  OK(shm_ring_reader_close(reader));
  return NULL;
}

static void a_ring(uint32_t flags) {
  void *(*const works[])(void *) = {push, pop, follow};
  shm_ring_options options;
  OK(shm_ring_options_init(&options));
  options.flags = flags;
  options.capacity = 32;
  options.elem_size = sizeof(element);
  OK(shm_ring_create(segment, "ring", &options, &ring));
  together(COUNT_OF(works), works);
  OK(shm_ring_close(ring));
  OK(shm_table_remove(segment, "ring"));
}

/* ---- the table ----------------------------------------------------------------------------------------------- */

static void *make_and_remove(void *number) {
  char own_name[16];
  snprintf(own_name, sizeof own_name, "own-%zu", *(size_t *)number);
  for (uint64_t turn = 0; turn < turns / 20; turn++) {
    shm_span *span;
    void *data;
    size_t bytes;
    OK(shm_span_create(segment, own_name, 100 + turn % 5000, 0, SHM_EXCLUSIVE, &span));
    OK(shm_span_data(span, &data, &bytes));
    memset(data, (int)turn, bytes);
    OK(shm_table_remove(segment, own_name));
    CHECK_U64(((unsigned char *)data)[bytes - 1], turn % 256);
    OK(shm_span_close(span));
    OK(shm_segment_reap(segment, NULL));
  }
  return NULL;
}

static void *look_up(void *unused) {
  (void)unused;
  for (uint64_t turn = 0; turn < turns / 4; turn++) {
    shm_entry entry;
    shm_status status = shm_table_find(segment, "own-0", &entry);
    CHECK(status == SHM_OK || status == SHM_ERR_NOT_FOUND);
    OK(shm_table_find(segment, "array", &entry));
    CHECK(living(segment) >= 1);
  }
  return NULL;
}

static void a_table(void) {
  void *(*const works[])(void *) = {make_and_remove, make_and_remove, look_up, look_up};
  together(COUNT_OF(works), works);
}

/* ---- areas --------------------------------------------------------------------------------------------------- */

static const char *area_name;

static void *write_chunks(void *unused) {
  speculo_area *area;
  (void)unused;
  OK(speculo_area_new(area_name, 0, &area));
  OK(speculo_area_open(area));
  for (uint64_t i = 1; i <= turns; i++) {
    const element e = element_of(i);
    uint64_t id = 0;
    OK(speculo_area_write(area, &e, sizeof e, 0, &id));
    if (i < turns) OK(speculo_area_obsolete(area, id));
  }
  OK(speculo_area_close(area));
  return NULL;
}

static void *read_chunks(void *unused) {
  speculo_reader *reader;
  uint64_t last = 0;
  (void)unused;
  OK(speculo_reader_open(area_name, NULL, &reader));
  while (last < turns) {
    speculo_view view;
    element e;
    OK(speculo_reader_next_wait(reader, LONG_ENOUGH, &view));
    CHECK_U64(view.size, sizeof e);
    memcpy(&e, view.data, sizeof e);
    check_element(&e);
    CHECK(e.number > last);
    last = e.number;
  }
  OK(speculo_reader_close(reader));
  return NULL;
}

static void an_area(void) {
  void *(*const works[])(void *) = {write_chunks, read_chunks, read_chunks};
  speculo_area *area;
  area_name = new_name() + 1;
  OK(speculo_area_new(area_name, 0, &area));
  OK(speculo_area_set_max_size(area, 64 << 10));
  OK(speculo_area_create(area));
  OK(speculo_area_close(area));
  together(COUNT_OF(works), works);
  OK(speculo_area_unlink_name(area_name, NULL));
}

int main(void) {
  support_start(110);
  const char *wanted = getenv("SHMDS_TURNS");
  if (wanted != NULL) turns = strtoull(wanted, NULL, 10);
  segment = new_segment(new_name(), SIZE);
  RUN_WITH(a_queue, 0);
  RUN_WITH(a_queue, SHM_SPSC);
  RUN(a_pool);
  RUN(an_array);
  RUN(an_atomic);
  RUN_WITH(a_ring, 0);
  RUN_WITH(a_ring, SHM_OVERWRITE);
  RUN(a_table);
  RUN(an_area);
  OK(shm_segment_close(segment));
  return 0;
}
