/* A peer at a ring in C, with shmds.h alone. What it does is told in support_ring.h. */
#include "support_ring.h"

#include "shmds.h"

static shm_segment *segment;
static shm_ring *ring;
static shm_atomic *end_atomic;
static const uint64_t *end_word;
static shm_array *log_array;
static uint64_t log_words;
static struct sample samples[RING_MAX_BULK];

/* Ends the peer for an error; true if it came to something. */
static int done(const char *what, shm_status status) {
  if (status < 0) peer_fail(what, shm_last_error());
  return status == SHM_OK;
}

static void must(const char *what, shm_status status) {
  if (!done(what, status)) peer_fail(what, shm_status_string(status));
}

static void open_all(const struct ring_job *job) {
  shm_array_stats stats;
  void *address = NULL;
  must(job->segment, shm_segment_open(job->segment, NULL, &segment));
  must("r", shm_ring_open(segment, "r", NULL, &ring));
  must("end", shm_atomic_open(segment, "end", SHM_ATOMIC_U64, &end_atomic));
  must("end", shm_atomic_pointer(end_atomic, &address));
  end_word = (const uint64_t *)address;
  must("log", shm_array_open(segment, "log", NULL, &log_array));
  must("log", shm_array_get_stats(log_array, &stats));
  log_words = stats.count;
}

static uint64_t the_end(void) { return __atomic_load_n(end_word, __ATOMIC_ACQUIRE); }

static int push(const struct ring_job *job) {
  const uint64_t self = (uint64_t)getpid();
  shm_ring_stats stats;
  must("stats", shm_ring_get_stats(ring, &stats));
  uint64_t next = stats.written;
  for (uint64_t end = the_end(); end == 0 || next < end;) {
    size_t count = ring_bulk(next, job->bulk), in = 0;
    if (end != 0 && count > end - next) count = (size_t)(end - next);
    for (size_t i = 0; i < count; i++) sample_write(&samples[i], next + i, self);
    next += count;
    must("log", shm_array_set(log_array, 0, &next));
    peer_begins();
    if (count == 1) {
      must("push", shm_ring_push_wait(ring, samples, SHM_FOREVER));
    } else {
      must("push", shm_ring_push_bulk_wait(ring, samples, count, SHM_FOREVER, &in));
    }
    peer_succeeds();
    must("log", shm_array_set(log_array, 1, &next));
    peer_pause_us(job->pause_us);
  }
  return 0;
}

static void mark(uint64_t first, size_t count) {
  for (uint64_t at = 8 + first; at < 8 + first + count && at < log_words; at++) {
    uint64_t times = 0;
    must("log", shm_array_get(log_array, at, &times));
    times++;
    must("log", shm_array_set(log_array, at, &times));
  }
}

static int pop(const struct ring_job *job) {
  struct ring_judge judge = {0, 0, 0};
  shm_ring_stats stats;
  must("stats", shm_ring_get_stats(ring, &stats));
  judge.next = stats.read + stats.lost;
  ring_ready();
  while (the_end() == 0 || judge.next != the_end()) {
    size_t count = 0;
    uint64_t lost = 0;
    peer_begins();
    if (job->bulk == 1) {
      count = (size_t)done("pop", shm_ring_pop_wait(ring, samples, RING_LOOK_NS, &lost));
    } else {
      done("pop", shm_ring_pop_bulk_wait(ring, samples, job->bulk, RING_LOOK_NS, &count, &lost));
    }
    if (count > 0) peer_succeeds();
    ring_judge_samples(&judge, samples, count, lost);
    mark(judge.next - count, count);
    peer_pause_us(job->pause_us);
  }
  return ring_verdict(&judge);
}

static int follow(const struct ring_job *job, int waits) {
  struct ring_judge judge = {0, 0, 0};
  shm_ring_reader_stats stats;
  shm_ring_reader *reader = NULL;
  must("reader", shm_ring_reader_open(ring, 0, &reader));
  ring_ready();
  while (the_end() == 0 || judge.next != the_end()) {
    size_t count = 0;
    uint64_t lost = 0;
    peer_begins();
    if (waits) {
      done("read", shm_ring_reader_read_wait(reader, samples, job->bulk, RING_LOOK_NS, &count, &lost));
    } else if (!done("read", shm_ring_reader_read(reader, samples, job->bulk, &count, &lost))) {
      sched_yield();
    }
    if (count > 0) peer_succeeds();
    ring_judge_samples(&judge, samples, count, lost);
    peer_pause_us(job->pause_us);
  }
  must("stats", shm_ring_reader_get_stats(reader, &stats));
  if (stats.position != judge.next || stats.read != judge.got || stats.lost != judge.lost) {
    peer_fail(job->verb, "the reader counts other than its caller");
  }
  must("close", shm_ring_reader_close(reader));
  return ring_verdict(&judge);
}

int main(int argc, char **argv) {
  const struct ring_job job = ring_parse(argc, argv);
  int result;
  open_all(&job);
  if (strcmp(job.verb, "push") == 0) {
    result = push(&job);
  } else if (strcmp(job.verb, "pop") == 0) {
    result = pop(&job);
  } else {
    result = follow(&job, strcmp(job.verb, "wait") == 0);
  }
  must("close", shm_array_close(log_array));
  must("close", shm_atomic_close(end_atomic));
  must("close", shm_ring_close(ring));
  must("close", shm_segment_close(segment));
  return result;
}
