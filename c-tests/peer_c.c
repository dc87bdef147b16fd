/* A peer in C, with shmds.h alone. What it does is told in support_peer.h. */
#include "support_peer.h"

#include "shmds.h"

static shm_segment *segment;
static shm_queue *queue;

/* Ends the peer for an error; true unless the queue is shut down. */
static int done(const char *what, shm_status status) {
  if (status < 0) peer_fail(what, shm_last_error());
  if (status != SHM_OK && status != SHM_CLOSED) peer_fail(what, shm_status_string(status));
  return status == SHM_OK;
}

static void must(const char *what, shm_status status) {
  if (!done(what, status)) peer_fail(what, shm_status_string(status));
}

static void find_segment(const struct peer_job *job) {
  const uint64_t end = peer_now_ns() + PEER_PATIENCE_NS;
  shm_status status;
  while ((status = shm_segment_open(job->segment, NULL, &segment)) == SHM_ERR_NOT_FOUND && peer_now_ns() < end) {
    peer_pause_us(1000);
  }
  must(job->segment, status);
}

static void find_queue(const char *name) {
  shm_queue_options expected;
  shm_entry entry;
  must(name, shm_table_wait(segment, name, PEER_PATIENCE_NS, &entry));
  must("options", shm_queue_options_init(&expected));
  expected.flags = entry.flags & SHM_SPSC;
  expected.elem_size = sizeof(struct message);
  must(name, shm_queue_open(segment, name, &expected, &queue));
}

static int enqueue_one(const struct message *m, int inplace) {
  shm_queue_slot slot;
  if (!inplace) return done("enqueue", shm_queue_enqueue_wait(queue, m, SHM_FOREVER));
  if (!done("claim", shm_queue_claim_wait(queue, SHM_FOREVER, &slot))) return 0;
  memcpy(slot.data, m, sizeof *m);
  must("commit", shm_queue_commit(queue, &slot));
  return 1;
}

static int produce(const struct peer_job *job) {
  static struct message messages[PEER_MAX_BULK];
  for (uint64_t sent = 0; sent < job->count;) {
    size_t n = 0, in = 0;
    for (; n < job->bulk && sent + n < job->count; n++) messages[n] = message_of(job->producer, sent + n);
    if (n > 1) {
      must("enqueue", shm_queue_enqueue_bulk_wait(queue, messages, n, SHM_FOREVER, &in));
      if (in != n) peer_fail("enqueue", "not all went in");
    } else if (!enqueue_one(messages, job->inplace)) {
      peer_fail("enqueue", shm_status_string(SHM_CLOSED));
    }
    sent += n;
    peer_pause_us(job->pause_us);
  }
  return 0;
}

static int consume(const struct peer_job *job) {
  static struct message messages[PEER_MAX_BULK];
  static struct peer_judge judge;
  while (job->count == 0 || judge.consumed < job->count) {
    size_t n = 1;
    if (job->inplace) {
      shm_queue_slot slot;
      if (!done("peek", shm_queue_peek_wait(queue, SHM_FOREVER, &slot))) break;
      peer_judge_message(&judge, (const struct message *)slot.data);
      must("release", shm_queue_release(queue, &slot));
      n = 0;
    } else if (job->bulk > 1) {
      const uint64_t left = job->count == 0 ? job->bulk : job->count - judge.consumed;
      const size_t want = (size_t)(left < job->bulk ? left : job->bulk);
      if (!done("dequeue", shm_queue_dequeue_bulk_wait(queue, messages, want, SHM_FOREVER, &n))) break;
    } else if (!done("dequeue", shm_queue_dequeue_wait(queue, messages, SHM_FOREVER))) {
      break;
    }
    for (size_t i = 0; i < n; i++) peer_judge_message(&judge, &messages[i]);
    peer_pause_us(job->pause_us);
  }
  return peer_verdict(&judge, job->count);
}

#if defined(__GNUC__)
__attribute__((noreturn))
#endif
static void hold(const struct peer_job *job) {
  const struct message m = message_of(UINT64_C(0xdead), 0);
  shm_queue_slot slot;
  if (job->peek) {
    must("peek", shm_queue_peek_wait(queue, SHM_FOREVER, &slot));
  } else {
    must("claim", shm_queue_claim_wait(queue, SHM_FOREVER, &slot));
    memcpy(slot.data, &m, sizeof m);
  }
  printf("held %" PRIu64 "\n", slot.position);
  fflush(stdout);
  for (;;) pause();
}

static int storm_produce(const struct peer_job *job) {
  struct peer_log log = peer_open_log(job->log);
  peer_log_store(&log, 1, job->first);
  for (uint64_t sequence = job->first;; sequence++) {
    const struct message m = message_of(job->producer, sequence);
    peer_log_store(&log, 0, sequence);
    peer_begins();
    if (!enqueue_one(&m, job->inplace)) return 0;
    peer_succeeds();
    peer_log_store(&log, 1, sequence + 1);
  }
}

static int storm_consume(const struct peer_job *job) {
  struct peer_log log = peer_open_log(job->log);
  for (;;) {
    peer_log_reserve(&log);
    peer_begins();
    if (job->inplace) {
      shm_queue_slot slot;
      if (!done("peek", shm_queue_peek_wait(queue, SHM_FOREVER, &slot))) return 0;
      peer_log_append(&log, (const struct message *)slot.data);
      must("release", shm_queue_release(queue, &slot));
    } else {
      struct message m;
      if (!done("dequeue", shm_queue_dequeue_wait(queue, &m, SHM_FOREVER))) return 0;
      peer_log_append(&log, &m);
    }
    peer_succeeds();
  }
}

/* ---- spans ---------------------------------------------------------------------------------------------------- */

static int span_fill(const struct peer_job *job) {
  shm_span *span;
  void *data;
  size_t bytes;
  must(job->queue, shm_span_open(segment, job->queue, &span));
  must("data", shm_span_data(span, &data, &bytes));
  for (size_t i = 0; i < bytes; i++) ((unsigned char *)data)[i] = peer_byte(job->first, i);
  must("close", shm_span_close(span));
  return 0;
}

static int span_check(const struct peer_job *job) {
  shm_span *span;
  void *data;
  size_t bytes;
  must(job->queue, shm_span_open(segment, job->queue, &span));
  must("data", shm_span_data(span, &data, &bytes));
  for (size_t i = 0; i < bytes; i++) {
    if (((const unsigned char *)data)[i] != peer_byte(job->first, i)) peer_fail("span-check", "other bytes");
  }
  must("close", shm_span_close(span));
  return 0;
}

/* ---- arrays --------------------------------------------------------------------------------------------------- */

static uint64_t elements[PEER_MAX_ELEMENTS];

static shm_array *find_array(const char *name, size_t most, size_t *count) {
  shm_array *array;
  shm_array_options expected;
  shm_array_stats stats;
  must("options", shm_array_options_init(&expected));
  expected.elem_size = sizeof *elements;
  must(name, shm_array_open(segment, name, &expected, &array));
  must("stats", shm_array_get_stats(array, &stats));
  *count = (size_t)stats.count;
  if (*count < 2 || *count > most) peer_fail(name, "of another length");
  return array;
}

static int array_write(const struct peer_job *job) {
  size_t count;
  uint64_t number;
  shm_array *array = find_array(job->queue, PEER_MAX_ELEMENTS, &count);
  for (must("get", shm_array_get(array, 0, &number)); job->count == 0 || number < job->count;) {
    peer_writing(elements, count, ++number);
    peer_begins();
    must("begin", shm_array_begin_write(array));
    if (number % 2 == 0) {
      must("store", shm_array_store(array, 0, count, elements));
    } else {
      for (size_t i = 0; i < count; i++) must("set", shm_array_set(array, i, &elements[i]));
    }
    must("end", shm_array_end_write(array));
    peer_succeeds();
  }
  must("close", shm_array_close(array));
  return 0;
}

static int array_read(const struct peer_job *job) {
  size_t count;
  uint64_t last = 0, whole = 0, torn = 0;
  shm_array *array = find_array(job->queue, PEER_MAX_ELEMENTS, &count);
  while (job->count == 0 || last < job->count) {
    peer_begins();
    const shm_status status = shm_array_snapshot(array, 0, count, elements, PEER_LONG_NS);
    if (status == SHM_TORN) {
      torn++;
      peer_pause_us(100);
      continue;
    }
    must("snapshot", status);
    peer_succeeds();
    const uint64_t number = peer_check_writing("array-read", elements, count);
    if (number < last) peer_fail("array-read", "an older writing than before");
    last = number;
    whole++;
  }
  printf("read %" PRIu64 " torn %" PRIu64 "\n", whole, torn);
  must("close", shm_array_close(array));
  return 0;
}

static int array_hold(const struct peer_job *job) {
  size_t count;
  shm_array *array = find_array(job->queue, PEER_MAX_ELEMENTS, &count);
  must("get", shm_array_get(array, 0, elements));
  peer_writing(elements, count, elements[0] + 1);
  must("begin", shm_array_begin_write(array));
  must("store", shm_array_store(array, 0, (size_t)job->count, elements));
  peer_held(job->count);
}

/* ---- atomics -------------------------------------------------------------------------------------------------- */

/* What ping stores. */
static shm_atomic_value value_there(const shm_atomic *atomic) {
  shm_atomic_value value;
  uint32_t type;
  must("type", shm_atomic_get_type(atomic, &type));
  memset(&value, 0, sizeof value);
  if (type == SHM_ATOMIC_BOOL) value.b = true;
  if (type == SHM_ATOMIC_I32 || type == SHM_ATOMIC_U32) value.u32 = 1;
  if (type == SHM_ATOMIC_I64 || type == SHM_ATOMIC_U64) value.u64 = UINT64_C(1) << 32;
  if (type == SHM_ATOMIC_F32) value.f32 = 1.5f;
  if (type == SHM_ATOMIC_F64) value.f64 = 1.5;
  return value;
}

static int atomic_ping_or_pong(const struct peer_job *job) {
  static uint64_t times[100000];
  const int ping = strcmp(job->verb, "atomic-ping") == 0;
  shm_atomic *atomic;
  shm_atomic_value zero, there;
  if (job->count > sizeof times / sizeof *times) peer_usage();
  must(job->queue, shm_atomic_open(segment, job->queue, 0, &atomic));
  there = value_there(atomic);
  memset(&zero, 0, sizeof zero);
  for (uint64_t round = 0; round < job->count || (job->count == 0 && !ping); round++) {
    const shm_atomic_value old = ping ? there : zero, mine = ping ? there : zero;
    shm_atomic_value now;
    uint64_t start = 0;
    if (ping) {
      peer_pause_us(200);
      start = peer_now_ns();
      peer_begins();
      must("store", shm_atomic_store(atomic, mine, SHM_RELEASE));
      must("notify", shm_atomic_notify_one(atomic));
    }
    peer_begins();
    must("wait", shm_atomic_wait(atomic, old, job->count == 0 ? SHM_FOREVER : PEER_LONG_NS, &now));
    if (memcmp(&now, ping ? &zero : &there, sizeof now) != 0) peer_fail(job->verb, "another value");
    peer_succeeds();
    if (ping) {
      times[round] = peer_now_ns() - start;
    } else {
      must("store", shm_atomic_store(atomic, mine, SHM_RELEASE));
      must("notify", shm_atomic_notify_all(atomic));
    }
  }
  qsort(times, (size_t)job->count, sizeof *times, peer_compare);
  printf("median-us %" PRIu64 "\n", times[job->count / 2] / 1000);
  must("close", shm_atomic_close(atomic));
  return 0;
}

static int atomic_add(const struct peer_job *job) {
  struct peer_log log = peer_open_log(job->log);
  shm_atomic *atomic;
  shm_atomic_value one, before;
  uint64_t last = 0;
  must(job->queue, shm_atomic_open(segment, job->queue, SHM_ATOMIC_U64, &atomic));
  memset(&one, 0, sizeof one);
  one.u64 = 1;
  for (uint64_t times = 1;; times++) {
    peer_begins();
    peer_log_store(&log, 0, times);
    must("add", shm_atomic_fetch(atomic, SHM_ADD, one, SHM_ACQ_REL, &before));
    peer_log_store(&log, 1, times);
    peer_succeeds();
    if (before.u64 + 1 <= last) peer_fail(job->verb, "the value did not grow");
    last = before.u64 + 1;
  }
}

/* ---- pools ---------------------------------------------------------------------------------------------------- */

static shm_pool *find_pool(const char *name) {
  shm_pool *pool;
  shm_pool_options expected;
  must("options", shm_pool_options_init(&expected));
  expected.elem_size = PEER_OBJECT_WORDS * sizeof(uint64_t);
  must(name, shm_pool_open(segment, name, &expected, &pool));
  return pool;
}

static uint64_t *object_of(const shm_pool *pool, uint64_t handle) {
  void *object;
  must("get", shm_pool_get(pool, handle, &object));
  return (uint64_t *)object;
}

static uint64_t allocated(const shm_pool *pool) {
  shm_pool_stats stats;
  must("stats", shm_pool_get_stats(pool, &stats));
  return stats.allocated;
}

static int pool_give(const struct peer_job *job) {
  shm_pool *pool = find_pool(job->queue);
  find_queue(job->other);
  for (uint64_t n = 0; n < job->count; n++) {
    struct message m;
    shm_status status;
    uint64_t handle = SHM_NO_OBJECT;
    while ((status = shm_pool_acquire(pool, &handle)) == SHM_EMPTY) peer_pause_us(20);
    must("acquire", status);
    peer_writing(object_of(pool, handle), PEER_OBJECT_WORDS, n);
    m = message_of(handle, n);
    must("enqueue", shm_queue_enqueue_wait(queue, &m, PEER_LONG_NS));
  }
  /* What we own goes with us. */
  for (const uint64_t end = peer_now_ns() + PEER_LONG_NS; allocated(pool) > 0;) {
    if (peer_now_ns() > end) peer_fail("pool-give", "not all were taken");
    peer_pause_us(100);
  }
  must("close", shm_pool_close(pool));
  must("close", shm_queue_close(queue));
  return 0;
}

static int pool_take(const struct peer_job *job) {
  shm_pool *pool = find_pool(job->queue);
  find_queue(job->other);
  for (uint64_t n = 0; n < job->count; n++) {
    struct message m;
    must("dequeue", shm_queue_dequeue_wait(queue, &m, PEER_LONG_NS));
    must("adopt", shm_pool_adopt(pool, m.producer));
    if (peer_check_writing("pool-take", object_of(pool, m.producer), PEER_OBJECT_WORDS) != n || m.sequence != n) {
      peer_fail("pool-take", "another object");
    }
    must("release", shm_pool_release(pool, m.producer));
  }
  must("close", shm_pool_close(pool));
  must("close", shm_queue_close(queue));
  return 0;
}

static int pool_hold(const struct peer_job *job) {
  shm_pool *pool = find_pool(job->queue);
  uint64_t *handles = elements;
  size_t done = 0;
  must("acquire", shm_pool_acquire_batch(pool, handles, (size_t)job->count, &done));
  if (done != job->count) peer_fail("pool-hold", "not as many");
  peer_held(done);
}

static int pool_storm(const struct peer_job *job) {
  struct peer_log log = peer_open_log(job->log);
  shm_pool *pool = find_pool(job->queue);
  size_t count;
  shm_array *doomed = find_array(job->other, SIZE_MAX, &count);
  const uint64_t me = job->producer + 1;
  for (uint64_t use = 1;; use++) {
    uint64_t handles[4], is_doomed = 0;
    size_t got = 0, done = 0;
    peer_begins();
    const shm_status status = shm_pool_acquire_batch(pool, handles, 1 + use % 4, &got);
    if (status == SHM_EMPTY) {
      peer_pause_us(20);
      continue;
    }
    must("acquire", status);
    for (size_t i = 0; i < got; i++) {
      const uint64_t other = peer_mark(object_of(pool, handles[i]), me);
      if (other != 0) must("doomed", shm_array_get(doomed, (size_t)(other - 1), &is_doomed));
      if (other != 0 && !is_doomed) peer_fail("pool-storm", "an object with two owners");
    }
    for (size_t i = 0; i < got; i++) peer_unmark(object_of(pool, handles[i]), me);
    if (use % 2 == 0) {
      must("release", shm_pool_release_batch(pool, handles, got, &done));
    } else {
      for (size_t i = 0; i < got; i++) must("release", shm_pool_release(pool, handles[i]));
    }
    peer_log_store(&log, 0, use);
    peer_succeeds();
  }
}

/* ---- which ---------------------------------------------------------------------------------------------------- */

static const struct {
  const char *verb;
  int (*run)(const struct peer_job *);
} on_structures[] = {
    {"span-fill", span_fill},   {"span-check", span_check},
    {"array-write", array_write}, {"array-read", array_read}, {"array-hold", array_hold},
    {"atomic-ping", atomic_ping_or_pong}, {"atomic-pong", atomic_ping_or_pong}, {"atomic-add", atomic_add},
    {"pool-give", pool_give},   {"pool-take", pool_take},   {"pool-hold", pool_hold}, {"pool-storm", pool_storm},
};

int main(int argc, char **argv) {
  const struct peer_job job = peer_parse(argc, argv);
  int result;
  find_segment(&job);
  for (size_t i = 0; i < sizeof on_structures / sizeof on_structures[0]; i++) {
    if (strcmp(job.verb, on_structures[i].verb) != 0) continue;
    must(job.queue, shm_table_wait(segment, job.queue, PEER_PATIENCE_NS, NULL));
    result = on_structures[i].run(&job);
    must("close", shm_segment_close(segment));
    return result;
  }
  find_queue(job.queue);
  if (strcmp(job.verb, "produce") == 0) {
    result = produce(&job);
  } else if (strcmp(job.verb, "consume") == 0) {
    result = consume(&job);
  } else if (strcmp(job.verb, "hold") == 0) {
    hold(&job);
  } else if (strcmp(job.verb, "storm-produce") == 0) {
    result = storm_produce(&job);
  } else {
    result = storm_consume(&job);
  }
  must("close", shm_queue_close(queue));
  must("close", shm_segment_close(segment));
  return result;
}
