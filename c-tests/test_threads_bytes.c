/* Threads at the two ends of a byte queue through one mapping; beside test_threads.c because valgrind knows no second mapping of the same pages. */
#include "support.h"

#include <pthread.h>

static shm_byte_queue *queue;
static uint64_t turns = 20000;

static size_t length_of(uint64_t number) { return 1 + (size_t)(number * 7919 % 900); }

static void fill(unsigned char *data, uint64_t number) {
  for (size_t i = 0; i < length_of(number); i++) data[i] = (unsigned char)(number + i);
}

static void check(const unsigned char *data, uint64_t length, uint64_t tag, uint64_t number) {
  CHECK_U64(tag, number);
  CHECK_U64(length, length_of(number));
  for (size_t i = 0; i < length; i++) CHECK(data[i] == (unsigned char)(number + i));
}

static void *send(void *unused) {
  (void)unused;
  for (uint64_t i = 0; i < turns; i++) {
    unsigned char bytes[1000];
    void *room;
    if (i % 2 == 0) {
      fill(bytes, i);
      OK(shm_byte_queue_send_wait(queue, bytes, length_of(i), i, LONG_ENOUGH));
    } else {
      OK(shm_byte_queue_reserve_wait(queue, sizeof bytes, LONG_ENOUGH, &room));
      fill((unsigned char *)room, i);
      OK(shm_byte_queue_commit(queue, length_of(i), i));
    }
  }
  OK(shm_byte_queue_end(queue));
  return NULL;
}

static void *receive(void *unused) {
  uint64_t number = 0;
  (void)unused;
  for (;;) {
    unsigned char bytes[1000];
    uint64_t length, tag;
    shm_message message;
    shm_status status = shm_byte_queue_receive_wait(queue, LONG_ENOUGH, &message);
    if (status == SHM_CLOSED) break;
    OK(status);
    check((const unsigned char *)message.data, message.length, message.tag, number++);
    OK(shm_byte_queue_release(queue));
    status = shm_byte_queue_receive_into(queue, bytes, sizeof bytes, &length, &tag);
    if (status == SHM_OK) check(bytes, length, tag, number++);
  }
  CHECK_U64(number, turns);
  return NULL;
}

static void a_byte_queue(void) {
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_byte_queue_options options;
  pthread_t sender, receiver;
  OK(shm_byte_queue_options_init(&options));
  options.capacity = 8192;
  OK(shm_byte_queue_create(segment, "bytes", &options, &queue));
  CHECK(pthread_create(&sender, NULL, send, NULL) == 0 && pthread_create(&receiver, NULL, receive, NULL) == 0);
  CHECK(pthread_join(sender, NULL) == 0 && pthread_join(receiver, NULL) == 0);
  OK(shm_byte_queue_close(queue));
  OK(shm_segment_close(segment));
}

int main(void) {
  support_start(110);
  const char *wanted = getenv("SHMDS_TURNS");
  if (wanted != NULL) turns = strtoull(wanted, NULL, 10);
  RUN(a_byte_queue);
  return 0;
}
