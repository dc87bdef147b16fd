/* Greetings between processes. Run `hello_c send` in one terminal and `hello_c receive` in another, in either order;
 * the C, C++ and Rust versions of this program understand each other. */
#include <shmds.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct greeting {
  uint64_t number;
  char text[24];
};

static void check(shm_status status) { /* negative: an error; positive: an ordinary outcome, such as "timeout" */
  if (status == SHM_OK) return;
  fprintf(stderr, "hello: %s\n", status < 0 ? shm_last_error() : shm_status_string(status));
  exit(1);
}

int main(int argc, char **argv) {
  const uint64_t ten_seconds = 10000000000u;
  const int sending = argc > 1 && strcmp(argv[1], "send") == 0;
  shm_segment *segment;
  check(shm_open_segment("hello", 1 << 20, &segment)); /* whoever comes first creates it */
  if (sending) check(shm_table_wait(segment, "greetings", ten_seconds, NULL)); /* until somebody listens */

  shm_queue *queue;
  shm_queue_options options;
  check(shm_queue_options_init(&options));
  options.capacity = 16;
  options.elem_size = sizeof(struct greeting);
  check(shm_queue_create(segment, "greetings", &options, &queue)); /* attaches if it is there */
  for (uint64_t i = 1; i <= 3; i++) {
    struct greeting greeting = {i, "hello from C"};
    check(sending ? shm_queue_enqueue(queue, &greeting) : shm_queue_dequeue_wait(queue, &greeting, ten_seconds));
    printf("%s %llu: %s\n", sending ? "sent" : "received", (unsigned long long)greeting.number, greeting.text);
  }
  check(shm_queue_close(queue));
  check(shm_segment_close(segment)); /* the last to leave takes the segment away */
}
