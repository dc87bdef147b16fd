/* A peer at a byte queue in C, with shmds.h alone. What it does is told in support_bytes.h. */
#include "support_bytes.h"

#include "shmds.h"

static shm_segment *segment;
static shm_byte_queue *queue;
static shm_byte_queue_stats stats;
static char *buffer;

/* Ends the peer for an error; true if it came to something. */
static int done(const char *what, shm_status status) {
  if (status < 0) peer_fail(what, shm_last_error());
  return status == SHM_OK;
}

static void must(const char *what, shm_status status) {
  if (!done(what, status)) peer_fail(what, shm_status_string(status));
}

static void send_messages(const struct bytes_job *job) {
  for (uint64_t number = 0; number < job->count; number++) {
    const uint64_t length = bytes_length(job->seed, number, job->most);
    if (number % 2 == 0) {
      const uint64_t tag = bytes_write(buffer, length, job->seed, number);
      must("send", shm_byte_queue_send_wait(queue, buffer, length, tag, SHM_FOREVER));
    } else {
      void *room = NULL;
      const uint64_t reserved = bytes_reserved(length, number, stats.longest);
      must("reserve", shm_byte_queue_reserve_wait(queue, reserved, SHM_FOREVER, &room));
      must("commit", shm_byte_queue_commit(queue, length, bytes_write(room, length, job->seed, number)));
    }
  }
}

static void send_stream(const struct bytes_job *job) {
  for (uint64_t position = 0, turn = 0; position < job->count; turn++) {
    uint64_t length = bytes_length(job->seed, turn, job->most);
    void *room = NULL;
    if (length > job->count - position) length = job->count - position;
    must("reserve", shm_byte_queue_reserve_wait(queue, bytes_reserved(length, turn, stats.longest), SHM_FOREVER, &room));
    bytes_fill(room, length, job->seed, position);
    must("commit", shm_byte_queue_commit(queue, length, 0));
    position += length;
  }
}

static void end(void) {
  void *room = NULL;
  must("end", shm_byte_queue_end(queue));
  if (shm_byte_queue_reserve_wait(queue, 1, SHM_FOREVER, &room) != SHM_CLOSED) peer_fail("reserve", "after the end");
}

static void take_messages(const struct bytes_job *job) {
  uint64_t number = 0, copied = 0, batches = 0;
  for (;;) {
    shm_message one, batch[BYTES_BATCH];
    uint64_t length = 0, tag = 0;
    size_t count = 0;
    if (!done("receive", shm_byte_queue_receive_wait(queue, SHM_FOREVER, &one))) break;
    bytes_check(one.data, one.length, one.tag, job->seed, number++, job->most);
    if ((one.time_ns != 0) != ((stats.flags & SHM_TIMES) != 0)) peer_fail("receive", "a time, or none");
    must("release", shm_byte_queue_release(queue));
    if (done("copy", shm_byte_queue_receive_into(queue, buffer, (size_t)stats.longest, &length, &tag))) {
      bytes_check(buffer, length, tag, job->seed, number++, job->most);
      copied++;
    }
    if (done("batch", shm_byte_queue_receive_batch(queue, batch, BYTES_BATCH, &count))) {
      for (size_t i = 0; i < count; i++) {
        bytes_check(batch[i].data, batch[i].length, batch[i].tag, job->seed, number++, job->most);
      }
      batches += count;
      must("release", shm_byte_queue_release(queue));
    }
  }
  bytes_verdict(job, number, copied, batches);
}

static void take_stream(const struct bytes_job *job) {
  uint64_t position = 0;
  for (uint64_t turn = 0, least = 1;; turn++) {
    const void *data = NULL;
    uint64_t there = 0;
    if (!done("peek", shm_byte_queue_peek_wait(queue, least, SHM_FOREVER, &data, &there))) {
      if (least == 1) break;
      least = 1; /* so many will not come, but perhaps fewer */
      continue;
    }
    if (there < least) peer_fail("peek", "fewer than asked for");
    there = bytes_part(turn, there);
    bytes_compare(data, there, job->seed, position);
    must("consume", shm_byte_queue_consume(queue, there));
    position += there;
    least = bytes_length(job->seed, turn, stats.longest / 2);
  }
  bytes_verdict(job, position, 0, 0);
}

int main(int argc, char **argv) {
  const struct bytes_job job = bytes_parse(argc, argv);
  must(job.segment, shm_segment_open(job.segment, NULL, &segment));
  must("q", shm_byte_queue_open(segment, "q", NULL, &queue));
  must("q", shm_byte_queue_get_stats(queue, &stats));
  buffer = (char *)malloc((size_t)stats.longest);
  if (buffer == NULL) peer_fail("q", "no memory");
  const int stream = (stats.flags & SHM_STREAM) != 0;
  if (strcmp(job.verb, "send") == 0) {
    (stream ? send_stream : send_messages)(&job);
    end();
  } else {
    (stream ? take_stream : take_messages)(&job);
  }
  free(buffer);
  must("close", shm_byte_queue_close(queue));
  must("close", shm_segment_close(segment));
  return 0;
}
