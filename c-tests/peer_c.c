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

static void find_queue(const struct peer_job *job) {
  const uint64_t end = peer_now_ns() + PEER_PATIENCE_NS;
  shm_queue_options expected;
  shm_entry entry;
  shm_status status;
  while ((status = shm_segment_open(job->segment, NULL, &segment)) == SHM_ERR_NOT_FOUND && peer_now_ns() < end) {
    peer_pause_us(1000);
  }
  must(job->segment, status);
  must(job->queue, shm_table_wait(segment, job->queue, PEER_PATIENCE_NS, &entry));
  must("options", shm_queue_options_init(&expected));
  expected.flags = entry.flags & SHM_SPSC;
  expected.elem_size = sizeof(struct message);
  must(job->queue, shm_queue_open(segment, job->queue, &expected, &queue));
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
    if (!enqueue_one(&m, job->inplace)) return 0;
    peer_log_store(&log, 1, sequence + 1);
  }
}

static int storm_consume(const struct peer_job *job) {
  struct peer_log log = peer_open_log(job->log);
  for (;;) {
    peer_log_reserve(&log);
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
  }
}

int main(int argc, char **argv) {
  const struct peer_job job = peer_parse(argc, argv);
  int result;
  find_queue(&job);
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
