/* Queues. What holds for both kinds is checked for both: 0 is the queue for many, SHM_SPSC the one for one and one. */
#include "support.h"

#include <pthread.h>

#define SIZE (UINT64_C(4) << 20)

static shm_queue_stats stats_of(const shm_queue *queue) {
  shm_queue_stats stats;
  OK(shm_queue_get_stats(queue, &stats));
  return stats;
}

static void put(shm_queue *queue, uint64_t value) { OK(shm_queue_enqueue(queue, &value)); }

static void expect(shm_queue *queue, uint64_t expected) {
  uint64_t value = ~expected;
  OK(shm_queue_dequeue(queue, &value));
  CHECK_U64(value, expected);
}

static void expect_empty(shm_queue *queue) {
  uint64_t value = 0x5e5e;
  CHECK_STATUS(shm_queue_dequeue(queue, &value), SHM_EMPTY);
  CHECK_U64(value, 0x5e5e);
  CHECK_U64(queue_count(queue), 0);
}

static uint32_t next_random(uint32_t *state) {
  *state = *state * 1664525u + 1013904223u;
  return *state >> 8;
}

/* ---- one thread ---------------------------------------------------------------------------------------------- */

static void elements_come_out_as_they_went_in(uint32_t flags) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_queue *queue = new_queue(segment, "queue", flags, 16, 8);
  uint64_t in = 0, out = 0;
  uint32_t random = 1;
  expect_empty(queue);
  while (out < 20000) {
    for (uint32_t n = next_random(&random) % 17; n > 0 && in - out < 16; n--) put(queue, in++);
    CHECK_U64(queue_count(queue), in - out);
    for (uint32_t n = next_random(&random) % 17; n > 0 && out < in; n--) expect(queue, out++);
  }
  while (out < in) expect(queue, out++);
  expect_empty(queue);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

static void a_queue_holds_its_capacity_and_no_more(uint32_t flags) {
  static const uint64_t capacities[][2] = {{1, 1}, {2, 2}, {3, 4}, {5, 8}, {8, 8}, {9, 16}, {100, 128}, {1000, 1024}};
  shm_segment *segment = new_segment(new_name(), SIZE);
  for (size_t i = 0; i < COUNT_OF(capacities); i++) {
    const uint64_t capacity = capacities[i][1];
    uint64_t value = 0;
    shm_queue *queue = new_queue(segment, "queue", flags, capacities[i][0], 8);
    CHECK_U64(stats_of(queue).capacity, capacity);
    CHECK_U64(stats_of(queue).elem_size, 8);
    CHECK_U64(stats_of(queue).flags & SHM_SPSC, flags);
    for (uint64_t round = 0; round < 5; round++) {
      for (uint64_t n = 0; n < capacity; n++) put(queue, round << 32 | n);
      CHECK_STATUS(shm_queue_enqueue(queue, &value), SHM_FULL);
      CHECK_U64(queue_count(queue), capacity);
      expect(queue, round << 32); /* one out, one in: full means full, not nearly */
      put(queue, round << 32 | capacity);
      CHECK_STATUS(shm_queue_enqueue(queue, &value), SHM_FULL);
      for (uint64_t n = 1; n <= capacity; n++) expect(queue, round << 32 | n);
      expect_empty(queue);
    }
    CHECK_U64(stats_of(queue).enqueued, 5 * (capacity + 1));
    CHECK_U64(stats_of(queue).dequeued, 5 * (capacity + 1));
    OK(shm_queue_close(queue));
    OK(shm_table_remove(segment, "queue"));
  }
  OK(shm_segment_close(segment));
}

static void fill_element(unsigned char *element, size_t size, uint32_t seed) {
  for (size_t i = 0; i < size; i++) element[i] = (unsigned char)(next_random(&seed) >> 3);
}

static void elements_of_every_size_and_alignment(uint32_t flags) {
  static const size_t sizes[] = {1, 2, 3, 4, 7, 8, 12, 16, 24, 28, 29, 32, 56, 64, 100, 256, 4096};
  enum { CAPACITY = 16, ROUNDS = 5 };
  static unsigned char in[4096 + 16], out[4096 + 16];
  shm_segment *segment = new_segment(new_name(), SIZE);
  for (size_t s = 0; s < COUNT_OF(sizes); s++) {
    for (uint32_t align = 0; align <= 4096; align = align == 0 ? 1 : align * 2) {
      const size_t size = sizes[s];
      shm_queue_options shape = queue_shape(flags, CAPACITY, size);
      shm_queue *queue = NULL;
      shm_queue_slot slot;
      uint32_t n = 0, m = 0;
      shape.elem_align = align;
      OK(shm_queue_create(segment, "queue", &shape, &queue));
      const uint32_t given = stats_of(queue).elem_align;
      if (align == 0) {
        CHECK(given >= 1 && given <= 8 && size % given == 0 && (given == 8 || size % (given * 2) != 0));
      } else {
        CHECK_U64(given, align);
      }
      for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < CAPACITY; i++) { /* by copy and in place, in turn */
          fill_element(in, size, n);
          if (n++ % 3) {
            OK(shm_queue_enqueue(queue, in));
          } else {
            OK(shm_queue_claim(queue, &slot));
            CHECK((uintptr_t)slot.data % given == 0);
            memcpy(slot.data, in, size);
            OK(shm_queue_commit(queue, &slot));
          }
        }
        CHECK_STATUS(shm_queue_enqueue(queue, in), SHM_FULL);
        for (int i = 0; i < CAPACITY; i++) {
          fill_element(in, size, m);
          memset(out, 0x5e, sizeof out);
          if (m++ % 2) {
            OK(shm_queue_dequeue(queue, out));
          } else {
            OK(shm_queue_peek(queue, &slot));
            CHECK((uintptr_t)slot.data % given == 0);
            memcpy(out, slot.data, size);
            OK(shm_queue_release(queue, &slot));
          }
          if (memcmp(in, out, size) != 0) FAIL("element %u of size %zu, alignment %u", m - 1, size, align);
          for (size_t byte = size; byte < size + 16; byte++) CHECK(out[byte] == 0x5e); /* not one byte too many */
        }
        CHECK_STATUS(shm_queue_dequeue(queue, out), SHM_EMPTY);
      }
      OK(shm_queue_close(queue));
      OK(shm_table_remove(segment, "queue"));
    }
  }
  OK(shm_segment_close(segment));
}

static void bulk_does_what_there_is_room_for(uint32_t flags) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_queue *queue = new_queue(segment, "queue", flags, 8, 8);
  uint64_t values[20], out[20];
  size_t done = 0;
  for (uint64_t i = 0; i < 20; i++) values[i] = i;
  OK(shm_queue_enqueue_bulk(queue, values, 0, &done));
  CHECK_U64(done, 0);
  OK(shm_queue_enqueue_bulk_wait(queue, values, 0, SHM_FOREVER, &done));
  OK(shm_queue_dequeue_bulk(queue, out, 0, &done));
  OK(shm_queue_dequeue_bulk_wait(queue, out, 0, SHM_FOREVER, &done));
  CHECK_U64(done, 0);
  OK(shm_queue_enqueue_bulk(queue, values, 5, &done));
  CHECK_U64(done, 5);
  OK(shm_queue_enqueue_bulk(queue, values + 5, 15, &done));
  CHECK_U64(done, 3);
  done = 0;
  CHECK_STATUS(shm_queue_enqueue_bulk(queue, values, 1, &done), SHM_FULL);
  CHECK_U64(done, 0);
  memset(out, 0x5e, sizeof out);
  OK(shm_queue_dequeue_bulk(queue, out, 3, &done));
  CHECK_U64(done, 3);
  for (uint64_t i = 0; i < 3; i++) CHECK_U64(out[i], i);
  CHECK_U64(out[3], UINT64_C(0x5e5e5e5e5e5e5e5e));
  OK(shm_queue_dequeue_bulk(queue, out, 20, &done));
  CHECK_U64(done, 5);
  for (uint64_t i = 0; i < 5; i++) CHECK_U64(out[i], i + 3);
  CHECK_U64(out[5], UINT64_C(0x5e5e5e5e5e5e5e5e));
  done = 0;
  CHECK_STATUS(shm_queue_dequeue_bulk(queue, out, 20, &done), SHM_EMPTY);
  CHECK_U64(done, 0);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

static void bulk_and_single_mix(uint32_t flags) {
  static const size_t sizes[] = {1, 4, 8, 24, 28, 40, 100};
  enum { CAPACITY = 32 };
  static unsigned char in[CAPACITY * 100], out[CAPACITY * 100], expected[100];
  shm_segment *segment = new_segment(new_name(), SIZE);
  for (size_t s = 0; s < COUNT_OF(sizes); s++) {
    const size_t size = sizes[s];
    shm_queue *queue = new_queue(segment, "queue", flags, CAPACITY, size);
    uint32_t random = 5, pushed = 0, popped = 0;
    while (popped < 5000) {
      size_t want = next_random(&random) % CAPACITY + 1, done = 0;
      for (size_t i = 0; i < want; i++) fill_element(in + i * size, size, pushed + (uint32_t)i);
      shm_status status = want % 5 ? shm_queue_enqueue_bulk(queue, in, want, &done) : shm_queue_enqueue(queue, in);
      if (want % 5 == 0 && status == SHM_OK) done = 1;
      if (pushed - popped == CAPACITY) {
        CHECK_STATUS(status, SHM_FULL);
      } else {
        const size_t room = CAPACITY - (pushed - popped);
        OK(status);
        CHECK_U64(done, want % 5 == 0 ? 1 : want < room ? want : room);
        pushed += (uint32_t)done;
      }
      want = next_random(&random) % CAPACITY + 1;
      done = 0;
      status = want % 5 ? shm_queue_dequeue_bulk(queue, out, want, &done) : shm_queue_dequeue(queue, out);
      if (want % 5 == 0 && status == SHM_OK) done = 1;
      OK(status); /* something was put in just now */
      CHECK(done >= 1 && done <= want);
      for (size_t i = 0; i < done; i++) {
        fill_element(expected, size, popped + (uint32_t)i);
        CHECK(memcmp(out + i * size, expected, size) == 0);
      }
      popped += (uint32_t)done;
    }
    OK(shm_queue_close(queue));
    OK(shm_table_remove(segment, "queue"));
  }
  OK(shm_segment_close(segment));
}

static void claims_are_seen_when_committed(uint32_t flags) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_queue *queue = new_queue(segment, "queue", flags, 4, 8);
  shm_queue_slot slot;
  uint64_t value = 0;
  put(queue, 1);
  OK(shm_queue_claim(queue, &slot));
  CHECK_U64(slot.position, 1);
  *(uint64_t *)slot.data = 2;
  expect(queue, 1);
  CHECK_STATUS(shm_queue_dequeue(queue, &value), SHM_EMPTY);
  OK(shm_queue_commit(queue, &slot));
  CHECK_U64(queue_count(queue), 1);
  expect(queue, 2);
  for (uint64_t i = 0; i < 4; i++) put(queue, i);
  CHECK_STATUS(shm_queue_claim(queue, &slot), SHM_FULL);
  for (uint64_t i = 0; i < 4; i++) expect(queue, i);
  expect_empty(queue);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

static void aborted_claims_never_were(uint32_t flags) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_queue *queue = new_queue(segment, "queue", flags, 4, 8);
  shm_queue_slot slot;
  uint64_t in = 0, out = 0;
  for (int round = 0; round < 50; round++) {
    put(queue, in++);
    OK(shm_queue_claim(queue, &slot));
    *(uint64_t *)slot.data = 0xdead;
    OK(shm_queue_abort(queue, &slot));
    put(queue, in++);
    expect(queue, out++);
    expect(queue, out++);
    expect_empty(queue);
  }
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

/* However often a producer changes its mind, an empty queue has room, whether or not a consumer looks meanwhile. */
static void aborted_claims_take_no_room(uint32_t flags) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_queue *queue = new_queue(segment, "queue", flags, 4, 8);
  shm_queue_slot slot;
  for (int round = 0; round < 50; round++) {
    OK(shm_queue_claim(queue, &slot));
    OK(shm_queue_abort(queue, &slot));
  }
  for (uint64_t i = 0; i < 4; i++) put(queue, i);
  for (uint64_t i = 0; i < 4; i++) expect(queue, i);
  expect_empty(queue);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

/* Places that came to nothing do not keep consumers waiting for what will never come. */
static void consumers_of_nothing_but_aborted_claims_end_at_shutdown(uint32_t flags) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_queue *queue = new_queue(segment, "queue", flags, 4, 8);
  shm_queue_slot slot;
  uint64_t value = 0;
  put(queue, 1);
  OK(shm_queue_claim(queue, &slot));
  OK(shm_queue_abort(queue, &slot));
  OK(shm_queue_shutdown(queue));
  expect(queue, 1);
  CHECK_STATUS(shm_queue_dequeue_wait(queue, &value, SECOND), SHM_CLOSED);
  CHECK_STATUS(shm_queue_dequeue(queue, &value), SHM_CLOSED);
  CHECK_STATUS(shm_queue_peek(queue, &slot), SHM_CLOSED);
  CHECK_U64(queue_count(queue), 0);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

static void several_claims_may_be_open_at_once(void) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_queue *queue = new_queue(segment, "queue", 0, 4, 8);
  shm_queue_slot slots[4], one_more;
  uint64_t value = 0;
  for (uint64_t i = 0; i < 4; i++) {
    OK(shm_queue_claim(queue, &slots[i]));
    CHECK_U64(slots[i].position, i);
    *(uint64_t *)slots[i].data = i;
  }
  CHECK_STATUS(shm_queue_claim(queue, &one_more), SHM_FULL);
  for (int i = 3; i > 0; i--) OK(shm_queue_commit(queue, &slots[i]));
  CHECK_STATUS(shm_queue_dequeue(queue, &value), SHM_EMPTY); /* the first is still being written */
  OK(shm_queue_commit(queue, &slots[0]));
  for (uint64_t i = 0; i < 4; i++) {
    OK(shm_queue_peek(queue, &slots[i]));
    CHECK_U64(slots[i].position, i);
    CHECK_U64(*(uint64_t *)slots[i].data, i);
  }
  for (uint64_t i = 4; i-- > 0;) OK(shm_queue_release(queue, &slots[i]));
  expect_empty(queue);
  for (uint64_t i = 0; i < 4; i++) put(queue, i);
  for (uint64_t i = 0; i < 4; i++) expect(queue, i);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

static void a_peeked_element_stays_put_until_released(uint32_t flags) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_queue *queue = new_queue(segment, "queue", flags, 4, 100);
  unsigned char element[100], out[100];
  shm_queue_slot slot;
  CHECK_STATUS(shm_queue_peek(queue, &slot), SHM_EMPTY);
  for (uint32_t i = 0; i < 4; i++) {
    fill_element(element, sizeof element, i);
    OK(shm_queue_enqueue(queue, element));
  }
  OK(shm_queue_peek(queue, &slot));
  CHECK_U64(slot.position, 0);
  CHECK_STATUS(shm_queue_enqueue(queue, element), SHM_FULL); /* its place is not free yet */
  fill_element(element, sizeof element, 0);
  CHECK(memcmp(slot.data, element, sizeof element) == 0);
  OK(shm_queue_release(queue, &slot));
  fill_element(element, sizeof element, 4);
  OK(shm_queue_enqueue(queue, element));
  for (uint32_t i = 1; i <= 4; i++) {
    fill_element(element, sizeof element, i);
    OK(shm_queue_dequeue(queue, out));
    CHECK(memcmp(out, element, sizeof element) == 0);
  }
  CHECK_STATUS(shm_queue_peek(queue, &slot), SHM_EMPTY);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

static void shutdown_lets_the_rest_out_and_nothing_in(uint32_t flags) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_queue *queue = new_queue(segment, "queue", flags, 8, 8);
  shm_queue_slot slot;
  uint64_t value = 0;
  size_t done = 0;
  put(queue, 1);
  put(queue, 2);
  OK(shm_queue_claim(queue, &slot));
  *(uint64_t *)slot.data = 3;
  CHECK_U64(stats_of(queue).shut_down, 0);
  OK(shm_queue_shutdown(queue));
  OK(shm_queue_shutdown(queue)); /* twice is once */
  CHECK(stats_of(queue).shut_down != 0);
  OK(shm_queue_commit(queue, &slot)); /* was under way */
  CHECK_STATUS(shm_queue_enqueue(queue, &value), SHM_CLOSED);
  CHECK_STATUS(shm_queue_enqueue_wait(queue, &value, SHM_FOREVER), SHM_CLOSED);
  CHECK_STATUS(shm_queue_enqueue_bulk(queue, &value, 1, &done), SHM_CLOSED);
  CHECK_STATUS(shm_queue_enqueue_bulk_wait(queue, &value, 1, SHM_FOREVER, &done), SHM_CLOSED);
  CHECK_STATUS(shm_queue_claim(queue, &slot), SHM_CLOSED);
  CHECK_STATUS(shm_queue_claim_wait(queue, SHM_FOREVER, &slot), SHM_CLOSED);
  expect(queue, 1);
  OK(shm_queue_dequeue_wait(queue, &value, SHM_FOREVER));
  CHECK_U64(value, 2);
  OK(shm_queue_peek(queue, &slot));
  CHECK_U64(*(uint64_t *)slot.data, 3);
  OK(shm_queue_release(queue, &slot));
  CHECK_STATUS(shm_queue_dequeue(queue, &value), SHM_CLOSED);
  CHECK_STATUS(shm_queue_dequeue_wait(queue, &value, SHM_FOREVER), SHM_CLOSED);
  CHECK_STATUS(shm_queue_dequeue_bulk(queue, &value, 1, &done), SHM_CLOSED);
  CHECK_STATUS(shm_queue_dequeue_bulk_wait(queue, &value, 1, SHM_FOREVER, &done), SHM_CLOSED);
  CHECK_STATUS(shm_queue_peek(queue, &slot), SHM_CLOSED);
  CHECK_STATUS(shm_queue_peek_wait(queue, SHM_FOREVER, &slot), SHM_CLOSED);
  OK(shm_queue_close(queue));
  queue = open_queue(segment, "queue"); /* and so it stays */
  CHECK_STATUS(shm_queue_enqueue(queue, &value), SHM_CLOSED);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

/* ---- waiting ------------------------------------------------------------------------------------------------- */

#define CHECK_TAKES(least, call, status)               \
  do {                                                 \
    const uint64_t begin_ = now_ns();                  \
    CHECK_STATUS(call, status);                        \
    const uint64_t took_ = now_ns() - begin_;          \
    CHECK(took_ + 1 > (least) && took_ < LONG_ENOUGH); \
  } while (0)

static void waits_end_in_time(uint32_t flags) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_queue *queue = new_queue(segment, "queue", flags, 4, 8);
  shm_queue_slot slot;
  uint64_t values[10] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, out = 0x5e;
  const uint64_t limit = 20 * MILLISECOND;
  size_t done = 0;
  CHECK_TAKES(0, shm_queue_dequeue_wait(queue, &out, 0), SHM_TIMEOUT);
  CHECK_TAKES(limit, shm_queue_dequeue_wait(queue, &out, limit), SHM_TIMEOUT);
  CHECK_TAKES(limit, shm_queue_dequeue_bulk_wait(queue, &out, 1, limit, &done), SHM_TIMEOUT);
  CHECK_U64(done, 0);
  CHECK_TAKES(limit, shm_queue_peek_wait(queue, limit, &slot), SHM_TIMEOUT);
  CHECK_U64(out, 0x5e);

  CHECK_TAKES(limit, shm_queue_enqueue_bulk_wait(queue, values, 10, limit, &done), SHM_TIMEOUT);
  CHECK_U64(done, 4);
  CHECK_TAKES(0, shm_queue_enqueue_wait(queue, values, 0), SHM_TIMEOUT);
  CHECK_TAKES(limit, shm_queue_enqueue_wait(queue, values, limit), SHM_TIMEOUT);
  CHECK_TAKES(limit, shm_queue_claim_wait(queue, limit, &slot), SHM_TIMEOUT);
  OK(shm_queue_set_spin(queue, 0));
  CHECK_TAKES(limit, shm_queue_enqueue_wait(queue, values, limit), SHM_TIMEOUT);
  OK(shm_queue_set_spin(queue, SHM_FOREVER)); /* spins all the time, and yet no longer */
  CHECK_TAKES(limit, shm_queue_enqueue_wait(queue, values, limit), SHM_TIMEOUT);
  for (uint64_t i = 0; i < 4; i++) expect(queue, i);

  /* What need not wait does not, however long it might. */
  OK(shm_queue_enqueue_wait(queue, &values[7], SHM_FOREVER));
  OK(shm_queue_enqueue_wait(queue, &values[8], SHM_FOREVER - 1));
  OK(shm_queue_dequeue_wait(queue, &out, SHM_FOREVER));
  CHECK_U64(out, 7);
  OK(shm_queue_dequeue_wait(queue, &out, 0));
  CHECK_U64(out, 8);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

typedef struct work {
  shm_queue *queue;
  uint64_t id, count;
  pthread_t thread;
} work;

static void *enqueue_a_little_later(void *argument) {
  work *w = (work *)argument;
  sleep_ns(30 * MILLISECOND);
  put(w->queue, w->id);
  return NULL;
}

static void *dequeue_a_little_later(void *argument) {
  work *w = (work *)argument;
  sleep_ns(30 * MILLISECOND);
  expect(w->queue, w->id);
  return NULL;
}

static void *shut_down_a_little_later(void *argument) {
  work *w = (work *)argument;
  sleep_ns(30 * MILLISECOND);
  OK(shm_queue_shutdown(w->queue));
  return NULL;
}

static void threads_wake_each_other(uint32_t flags) {
  static const uint64_t spins[] = {0, 20000};
  static const uint64_t limits[] = {SHM_FOREVER, SHM_FOREVER - 1, LONG_ENOUGH};
  shm_segment *segment = new_segment(new_name(), SIZE);
  for (size_t i = 0; i < COUNT_OF(spins) * COUNT_OF(limits); i++) {
    shm_queue *queue = new_queue(segment, "queue", flags, 2, 8);
    const uint64_t limit = limits[i % COUNT_OF(limits)];
    work w;
    uint64_t value = 0;
    w.queue = queue;
    w.id = 77;
    OK(shm_queue_set_spin(queue, spins[i % COUNT_OF(spins)]));
    CHECK(pthread_create(&w.thread, NULL, enqueue_a_little_later, &w) == 0);
    OK(shm_queue_dequeue_wait(queue, &value, limit));
    CHECK_U64(value, 77);
    CHECK(pthread_join(w.thread, NULL) == 0);

    put(queue, 77);
    put(queue, 78);
    CHECK(pthread_create(&w.thread, NULL, dequeue_a_little_later, &w) == 0);
    value = 79;
    OK(shm_queue_enqueue_wait(queue, &value, limit));
    CHECK(pthread_join(w.thread, NULL) == 0);
    expect(queue, 78);
    expect(queue, 79);

    CHECK(pthread_create(&w.thread, NULL, shut_down_a_little_later, &w) == 0);
    CHECK_STATUS(shm_queue_dequeue_wait(queue, &value, limit), SHM_CLOSED);
    CHECK(pthread_join(w.thread, NULL) == 0);
    OK(shm_queue_close(queue));
    OK(shm_table_remove(segment, "queue"));
  }
  OK(shm_segment_close(segment));
}

static void a_full_queue_wakes_its_producer_at_shutdown(uint32_t flags) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_queue *queue = new_queue(segment, "queue", flags, 2, 8);
  uint64_t values[3] = {1, 2, 3};
  size_t done = 0;
  work w;
  w.queue = queue;
  CHECK(pthread_create(&w.thread, NULL, shut_down_a_little_later, &w) == 0);
  CHECK_STATUS(shm_queue_enqueue_bulk_wait(queue, values, 3, LONG_ENOUGH, &done), SHM_CLOSED);
  CHECK_U64(done, 2);
  CHECK(pthread_join(w.thread, NULL) == 0);
  expect(queue, 1);
  expect(queue, 2);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

static void processes_wake_each_other(uint32_t flags) {
  enum { ROUNDS = 30 };
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_queue *there = new_queue(segment, "there", flags, 4, 8), *back = new_queue(segment, "back", flags, 4, 8);
  OK(shm_queue_set_spin(there, 0));
  OK(shm_queue_set_spin(back, 0));
  pid_t child = fork_child();
  if (child == 0) {
    for (uint64_t value;;) {
      shm_status status = shm_queue_dequeue_wait(there, &value, LONG_ENOUGH);
      if (status == SHM_CLOSED) _exit(0);
      OK(status);
      OK(shm_queue_enqueue_wait(back, &value, LONG_ENOUGH));
    }
  }
  for (uint64_t i = 0; i < ROUNDS; i++) {
    uint64_t value = i, answer = 0;
    if (i % 4 == 0) sleep_ns(3 * MILLISECOND); /* the child is asleep */
    OK(shm_queue_enqueue(there, &value));
    OK(shm_queue_dequeue_wait(back, &answer, LONG_ENOUGH));
    CHECK_U64(answer, i);
  }
  for (uint64_t i = 0; i < 50; i++) { /* more than fits: the child is woken from a full queue as well */
    OK(shm_queue_enqueue_wait(there, &i, LONG_ENOUGH));
    if (i >= 6) {
      uint64_t answer = 0;
      OK(shm_queue_dequeue_wait(back, &answer, LONG_ENOUGH));
      CHECK_U64(answer, i - 6);
    }
  }
  for (uint64_t i = 44; i < 50; i++) {
    uint64_t answer = 0;
    OK(shm_queue_dequeue_wait(back, &answer, LONG_ENOUGH));
    CHECK_U64(answer, i);
  }
  OK(shm_queue_shutdown(there));
  CHECK_CHILD(child);
  OK(shm_queue_close(there));
  OK(shm_queue_close(back));
  OK(shm_segment_close(segment));
}

/* ---- many threads -------------------------------------------------------------------------------------------- */

enum { PRODUCERS = 2, CONSUMERS = 2, PER_PRODUCER = 100000, BULK = 7 };

typedef struct pair {
  uint64_t producer, sequence;
} pair;

static void *produce(void *argument) {
  work *w = (work *)argument;
  for (uint64_t i = 0; i < w->count;) {
    pair pairs[BULK];
    size_t n = 0, done = 0;
    for (; n < BULK && i + n < w->count; n++) {
      pairs[n].producer = w->id;
      pairs[n].sequence = i + n;
    }
    switch (i % 3) {
      case 0:
        OK(shm_queue_enqueue_wait(w->queue, pairs, LONG_ENOUGH));
        i++;
        break;
      case 1:
        OK(shm_queue_enqueue_bulk_wait(w->queue, pairs, n, LONG_ENOUGH, &done));
        CHECK_U64(done, n);
        i += n;
        break;
      default: {
        shm_queue_slot slot;
        OK(shm_queue_claim_wait(w->queue, LONG_ENOUGH, &slot));
        memcpy(slot.data, pairs, sizeof pairs[0]);
        OK(shm_queue_commit(w->queue, &slot));
        i++;
      }
    }
  }
  return NULL;
}

static uint64_t seen_by[CONSUMERS][PRODUCERS];

static void note(work *w, const pair *p, uint64_t next[PRODUCERS]) {
  CHECK(p->producer < PRODUCERS);
  CHECK(p->sequence >= next[p->producer]); /* each producer's in order, whoever gets them */
  next[p->producer] = p->sequence + 1;
  seen_by[w->id][p->producer]++;
}

static void *consume(void *argument) {
  work *w = (work *)argument;
  uint64_t next[PRODUCERS] = {0, 0};
  for (uint64_t turn = 0;; turn++) {
    pair pairs[BULK];
    size_t done = 1;
    shm_status status;
    if (turn % 3 == 0) {
      status = shm_queue_dequeue_wait(w->queue, pairs, LONG_ENOUGH);
    } else if (turn % 3 == 1) {
      status = shm_queue_dequeue_bulk_wait(w->queue, pairs, BULK, LONG_ENOUGH, &done);
    } else {
      shm_queue_slot slot;
      status = shm_queue_peek_wait(w->queue, LONG_ENOUGH, &slot);
      if (status == SHM_OK) {
        memcpy(pairs, slot.data, sizeof pairs[0]);
        OK(shm_queue_release(w->queue, &slot));
      }
    }
    if (status == SHM_CLOSED) return NULL;
    OK(status);
    CHECK(done >= 1 && done <= BULK);
    for (size_t i = 0; i < done; i++) note(w, &pairs[i], next);
  }
}

static void run_threads(shm_queue *queue, size_t producers, size_t consumers, uint64_t count) {
  work w[PRODUCERS + CONSUMERS];
  memset(seen_by, 0, sizeof seen_by);
  for (size_t i = 0; i < producers + consumers; i++) {
    const int is_producer = i < producers;
    w[i].queue = queue;
    w[i].id = is_producer ? i : i - producers;
    w[i].count = count;
    CHECK(pthread_create(&w[i].thread, NULL, is_producer ? produce : consume, &w[i]) == 0);
  }
  for (size_t i = 0; i < producers; i++) CHECK(pthread_join(w[i].thread, NULL) == 0);
  OK(shm_queue_shutdown(queue));
  for (size_t i = producers; i < producers + consumers; i++) CHECK(pthread_join(w[i].thread, NULL) == 0);
  for (size_t p = 0; p < producers; p++) {
    uint64_t sum = 0;
    for (size_t c = 0; c < consumers; c++) sum += seen_by[c][p];
    CHECK_U64(sum, count); /* with the order above: every one of them, and once */
  }
}

static void many_threads_lose_and_double_nothing(void) {
  static const uint64_t capacities[] = {1, 2, 64, 1024};
  shm_segment *segment = new_segment(new_name(), SIZE);
  for (size_t i = 0; i < COUNT_OF(capacities); i++) {
    shm_queue *queue = new_queue(segment, "queue", 0, capacities[i], sizeof(pair));
    run_threads(queue, PRODUCERS, CONSUMERS, capacities[i] < 64 ? PER_PRODUCER / 10 : PER_PRODUCER);
    OK(shm_queue_close(queue));
    OK(shm_table_remove(segment, "queue"));
  }
  OK(shm_segment_close(segment));
}

static void one_handle_serves_both_ends_in_two_threads(uint32_t flags) {
  static const uint64_t capacities[] = {1, 2, 8, 1024};
  shm_segment *segment = new_segment(new_name(), SIZE);
  for (size_t i = 0; i < COUNT_OF(capacities); i++) {
    shm_queue *queue = new_queue(segment, "queue", flags, capacities[i], sizeof(pair));
    run_threads(queue, 1, 1, capacities[i] < 8 ? PER_PRODUCER / 10 : PER_PRODUCER);
    OK(shm_queue_close(queue));
    OK(shm_table_remove(segment, "queue"));
  }
  OK(shm_segment_close(segment));
}

/* ---- ends ---------------------------------------------------------------------------------------------------- */

static void handles_of_a_queue_for_many_are_equal(void) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_queue *a = new_queue(segment, "queue", 0, 8, 8), *b = open_queue(segment, "queue");
  put(a, 1);
  put(b, 2);
  expect(b, 1);
  expect(a, 2);
  OK(shm_queue_close(a));
  put(b, 3);
  expect(b, 3);
  OK(shm_queue_close(b));
  OK(shm_segment_close(segment));
}

static void each_end_of_a_single_queue_has_one_owner(void) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_queue *a = new_queue(segment, "queue", SHM_SPSC, 8, 8), *b = open_queue(segment, "queue");
  shm_queue_slot slot;
  uint64_t value = 5;
  size_t done = 77;
  put(a, 1); /* a is the producer now */
  CHECK_FAILS(shm_queue_enqueue(b, &value), SHM_ERR_BUSY, "queue");
  CHECK_FAILS(shm_queue_enqueue_wait(b, &value, LONG_ENOUGH), SHM_ERR_BUSY, "queue");
  CHECK_FAILS(shm_queue_enqueue_bulk(b, &value, 1, &done), SHM_ERR_BUSY, "queue");
  CHECK_FAILS(shm_queue_claim(b, &slot), SHM_ERR_BUSY, "queue");
  CHECK_U64(done, 77);
  put(a, 2);
  expect(b, 1); /* and b the consumer */
  value = 0x5e;
  CHECK_FAILS(shm_queue_dequeue(a, &value), SHM_ERR_BUSY, "queue");
  CHECK_FAILS(shm_queue_peek(a, &slot), SHM_ERR_BUSY, "queue");
  CHECK_U64(value, 0x5e);

  OK(shm_queue_close(a)); /* closing leaves the end to others */
  put(b, 3);
  expect(b, 2);
  expect(b, 3);
  a = open_queue(segment, "queue");
  CHECK_STATUS(shm_queue_dequeue(a, &value), SHM_ERR_BUSY);
  OK(shm_queue_close(b));
  put(a, 4);
  expect(a, 4);
  expect_empty(a);
  OK(shm_queue_close(a));
  OK(shm_segment_close(segment));
}

static void the_ends_of_a_single_queue_stay_with_the_parent(void) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_queue *queue = new_queue(segment, "queue", SHM_SPSC, 8, 8);
  uint64_t value = 1;
  put(queue, 1);
  pid_t child = fork_child();
  if (child == 0) {
    CHECK_STATUS(shm_queue_enqueue(queue, &value), SHM_ERR_BUSY);
    expect(queue, 1); /* this end nobody had */
    OK(shm_queue_close(queue));
    _exit(0);
  }
  CHECK_CHILD(child);
  for (uint64_t i = 2; i < 10; i++) put(queue, i);
  for (uint64_t i = 2; i < 10; i++) expect(queue, i);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

/* ---- death --------------------------------------------------------------------------------------------------- */

static void a_producer_killed_between_claim_and_commit_stops_nobody(uint32_t flags) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  signal_pipe there = new_pipe();
  shm_queue *queue = new_queue(segment, "queue", flags, 8, 8);
  uint64_t in = 0, out = 0;
  for (int round = 0; round < 20; round++) {
    if (flags == 0) put(queue, in++); /* the other kind would make us the producer */
    pid_t child = fork_child();
    if (child == 0) {
      shm_queue_slot slot;
      OK(shm_queue_enqueue(queue, &in));
      OK(shm_queue_claim(queue, &slot));
      *(uint64_t *)slot.data = 0xdead;
      say(there);
      for (;;) pause();
    }
    await(there);
    in++;
    kill_child(child);
    for (int i = 0; i < 3; i++) put(queue, in++); /* single: takes the dead one's end over */
    while (out < in) {
      uint64_t value = 0;
      OK(shm_queue_dequeue_wait(queue, &value, LONG_ENOUGH));
      CHECK_U64(value, out++);
    }
    expect_empty(queue);
    if (flags != 0) { /* give the producer's end to the next child */
      shm_queue *fresh = open_queue(segment, "queue");
      OK(shm_queue_close(queue));
      queue = fresh;
    }
  }
  for (uint64_t i = 0; i < 8; i++) put(queue, i); /* and no place was lost */
  for (uint64_t i = 0; i < 8; i++) expect(queue, i);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
  close_pipe(there);
}

static void a_consumer_killed_while_it_looks_takes_one_element_along(uint32_t flags) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  signal_pipe there = new_pipe();
  shm_queue *queue = new_queue(segment, "queue", flags, 8, 8);
  for (int round = 0; round < 20; round++) {
    uint64_t value = 0;
    for (uint64_t i = 0; i < 8; i++) put(queue, i);
    pid_t child = fork_child();
    if (child == 0) {
      shm_queue_slot slot;
      expect(queue, 0);
      OK(shm_queue_peek(queue, &slot));
      CHECK_U64(*(uint64_t *)slot.data, 1);
      say(there);
      for (;;) pause();
    }
    await(there);
    kill_child(child);
    for (uint64_t i = 2; i < 8; i++) { /* the one it looked at is gone with it; nothing comes twice */
      OK(shm_queue_dequeue_wait(queue, &value, LONG_ENOUGH));
      CHECK_U64(value, i);
    }
    for (uint64_t i = 0; i < 8; i++) OK(shm_queue_enqueue_wait(queue, &i, LONG_ENOUGH)); /* all places are back */
    CHECK_STATUS(shm_queue_enqueue(queue, &value), SHM_FULL);
    for (uint64_t i = 0; i < 8; i++) expect(queue, i);
    expect_empty(queue);
    if (flags != 0) {
      shm_queue *fresh = open_queue(segment, "queue");
      OK(shm_queue_close(queue));
      queue = fresh;
    }
  }
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
  close_pipe(there);
}

/* Asleep, not just stuck: whoever waits for what the dead one held is helped without anybody waking it. */
static void waiters_outlive_the_one_they_wait_for(void) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  signal_pipe there = new_pipe();
  shm_queue *queue = new_queue(segment, "queue", 0, 4, 8);
  uint64_t value = 0;
  pid_t child = fork_child();
  if (child == 0) {
    shm_queue_slot slot;
    OK(shm_queue_claim(queue, &slot));
    put(queue, 42);
    say(there);
    for (;;) pause();
  }
  await(there);
  pid_t killer = fork_child();
  if (killer == 0) {
    sleep_ns(50 * MILLISECOND);
    kill(child, SIGKILL);
    _exit(0);
  }
  OK(shm_queue_set_spin(queue, 0));
  OK(shm_queue_dequeue_wait(queue, &value, LONG_ENOUGH));
  CHECK_U64(value, 42);
  kill_child(child);
  CHECK_CHILD(killer);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
  close_pipe(there);
}

static void consumers_end_at_shutdown_although_a_producer_died_in_it(uint32_t flags) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  signal_pipe there = new_pipe();
  shm_queue *queue = new_queue(segment, "queue", flags, 4, 8);
  uint64_t value = 0;
  pid_t child = fork_child();
  if (child == 0) {
    shm_queue_slot slot;
    put(queue, 1);
    OK(shm_queue_claim(queue, &slot));
    say(there);
    for (;;) pause();
  }
  await(there);
  kill_child(child);
  OK(shm_queue_shutdown(queue));
  expect(queue, 1);
  CHECK_STATUS(shm_queue_dequeue_wait(queue, &value, 2 * SECOND), SHM_CLOSED);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
  close_pipe(there);
}

static void sleepers_that_die_cost_nothing(uint32_t flags) {
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_queue *queue = new_queue(segment, "queue", flags, 1024, 8);
  OK(shm_queue_set_spin(queue, 0));
  for (int round = 0; round < 10; round++) {
    signal_pipe there = new_pipe();
    pid_t child = fork_child();
    if (child == 0) {
      uint64_t value;
      say(there);
      (void)shm_queue_dequeue_wait(queue, &value, SHM_FOREVER);
      _exit(1);
    }
    await(there);
    sleep_ns(5 * MILLISECOND);
    kill_child(child);
    close_pipe(there);
  }
  for (uint64_t i = 0; i < 1000; i++) put(queue, i);
  for (uint64_t i = 0; i < 1000; i++) {
    uint64_t value = 0;
    OK(shm_queue_dequeue_wait(queue, &value, LONG_ENOUGH));
    CHECK_U64(value, i);
  }
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

/* Children are killed wherever they are while they produce: what they are known to have put in comes out, in order. */
static void producers_may_die_at_any_moment(uint32_t flags) {
  enum { ROUNDS = 40 };
  shm_segment *segment = new_segment(new_name(), SIZE);
  shm_queue *queue = new_queue(segment, "queue", flags, 64, sizeof(pair));
  uint64_t *known = (uint64_t *)mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  uint32_t random = 3;
  CHECK(known != MAP_FAILED);
  for (uint64_t round = 0; round < ROUNDS; round++) {
    uint64_t next = 0;
    pair p;
    __atomic_store_n(known, 0, __ATOMIC_RELAXED);
    pid_t child = fork_child();
    if (child == 0) {
      p.producer = round;
      for (p.sequence = 0;; p.sequence++) {
        if (p.sequence % 2) {
          shm_queue_slot slot;
          OK(shm_queue_claim_wait(queue, SHM_FOREVER, &slot));
          memcpy(slot.data, &p, sizeof p);
          OK(shm_queue_commit(queue, &slot));
        } else {
          OK(shm_queue_enqueue_wait(queue, &p, SHM_FOREVER));
        }
        __atomic_store_n(known, p.sequence + 1, __ATOMIC_RELEASE);
      }
    }
    random = random * 1664525u + 1013904223u;
    for (uint64_t end = now_ns() + MILLISECOND + random % (2 * MILLISECOND); now_ns() < end;) {
      shm_status status = shm_queue_dequeue(queue, &p);
      if (status == SHM_EMPTY) continue;
      OK(status);
      CHECK_U64(p.producer, round);
      CHECK_U64(p.sequence, next++);
    }
    kill_child(child);
    OK(shm_segment_reap(segment, NULL));
    for (;;) {
      shm_status status = shm_queue_dequeue(queue, &p);
      if (status == SHM_EMPTY) break;
      OK(status);
      CHECK_U64(p.producer, round);
      CHECK_U64(p.sequence, next++);
    }
    const uint64_t acknowledged = __atomic_load_n(known, __ATOMIC_ACQUIRE);
    CHECK(next == acknowledged || next == acknowledged + 1);
  }
  munmap(known, 4096);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

#define RUN_BOTH(check)      \
  do {                       \
    RUN_WITH(check, 0);        \
    RUN_WITH(check, SHM_SPSC); \
  } while (0)

int main(void) {
  support_start(100);
  RUN_BOTH(elements_come_out_as_they_went_in);
  RUN_BOTH(a_queue_holds_its_capacity_and_no_more);
  RUN_BOTH(elements_of_every_size_and_alignment);
  RUN_BOTH(bulk_does_what_there_is_room_for);
  RUN_BOTH(bulk_and_single_mix);
  RUN_BOTH(claims_are_seen_when_committed);
  RUN_BOTH(aborted_claims_never_were);
  RUN_BOTH(aborted_claims_take_no_room);
  RUN_BOTH(consumers_of_nothing_but_aborted_claims_end_at_shutdown);
  RUN(several_claims_may_be_open_at_once);
  RUN_BOTH(a_peeked_element_stays_put_until_released);
  RUN_BOTH(shutdown_lets_the_rest_out_and_nothing_in);
  RUN_BOTH(waits_end_in_time);
  RUN_BOTH(threads_wake_each_other);
  RUN_BOTH(a_full_queue_wakes_its_producer_at_shutdown);
  RUN_BOTH(processes_wake_each_other);
  RUN(many_threads_lose_and_double_nothing);
  RUN_BOTH(one_handle_serves_both_ends_in_two_threads);
  RUN(handles_of_a_queue_for_many_are_equal);
  RUN(each_end_of_a_single_queue_has_one_owner);
  RUN(the_ends_of_a_single_queue_stay_with_the_parent);
  RUN_BOTH(a_producer_killed_between_claim_and_commit_stops_nobody);
  RUN_BOTH(a_consumer_killed_while_it_looks_takes_one_element_along);
  RUN(waiters_outlive_the_one_they_wait_for);
  RUN_BOTH(consumers_end_at_shutdown_although_a_producer_died_in_it);
  RUN_BOTH(sleepers_that_die_cost_nothing);
  RUN_BOTH(producers_may_die_at_any_moment);
  return 0;
}
