/* A stream of messages that expire. Every sender writes to an area of its own; a reader merges them, in the order of time.
 *
 *   speculo_stream_c send STREAM SENDER [SECONDS]    each line of standard input is a message, valid for so long (10)
 *   speculo_stream_c merge STREAM                    tells the messages of all senders, also of those that come later
 *
 * The C, C++ and Rust versions of this program understand each other. */
#define _POSIX_C_SOURCE 200809L
#include <shmds.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_SENDERS = 64 };
static const uint64_t second = 1000000000;
static const uint64_t delay = 50000000; /* a message is told when no sender is about to commit an older one any more */

struct message {
  uint64_t sent; /* by speculo_now, which is the same in every process */
  char text[1000]; /* no longer than it has to be, without a NUL */
};

static volatile sig_atomic_t stopped;
static void on_signal(int number) { stopped = number; }

static shm_status check(shm_status status) { /* negative: an error; positive: an ordinary outcome, such as "empty" */
  if (status >= 0) return status;
  fprintf(stderr, "speculo_stream: %s\n", shm_last_error());
  exit(1);
}

static uint64_t now(void) {
  uint64_t time = 0;
  check(speculo_now(&time));
  return time;
}

static void nap(void) { nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL); }

static void send(const char *stream, const char *sender, uint64_t valid) {
  char name[SHM_NAME_CAPACITY];
  snprintf(name, sizeof name, "%s.%s", stream, sender);
  speculo_area *area;
  check(speculo_area_new(name, 0, &area));
  check(speculo_area_create(area)); /* or goes on with what a sender of this name left when it was killed */
  struct message message = {0};
  while (!stopped && fgets(message.text, sizeof message.text, stdin) != NULL) {
    const size_t size = offsetof(struct message, text) + strcspn(message.text, "\n");
    message.sent = now();
    while (check(speculo_area_write(area, &message, size, message.sent + valid, NULL)) == SHM_FULL && !stopped) {
      nap(); /* until older messages have expired */
      message.sent = now();
    }
  }
  while (!stopped && now() < message.sent + valid) nap(); /* who comes later is to read them, too */
  check(speculo_area_unlink(area));
  check(speculo_area_close(area));
}

struct source {
  char name[SHM_NAME_CAPACITY];
  speculo_reader *reader;
  speculo_view head; /* its next message, which stays until the reader is asked for another */
  bool has_head;
};
static struct source sources[MOST_SENDERS];
static size_t count;

static void discover(const char *prefix) {
  speculo_area_name names[MOST_SENDERS];
  size_t found, known;
  check(speculo_area_list(prefix, NULL, names, MOST_SENDERS, &found));
  for (size_t i = 0; i < found && i < MOST_SENDERS && count < MOST_SENDERS; i++) {
    for (known = 0; known < count && strcmp(sources[known].name, names[i].name) != 0;) known++;
    if (known < count) continue;
    struct source *fresh = &sources[count];
    const shm_status status = speculo_reader_open(names[i].name, NULL, &fresh->reader);
    if (status == SHM_ERR_NOT_FOUND) continue; /* gone meanwhile */
    check(status);
    memcpy(fresh->name, names[i].name, sizeof fresh->name);
    fresh->has_head = false;
    count++;
  }
}

static uint64_t sent(const struct source *source) {
  uint64_t time = 0;
  if (source->head.size >= sizeof time) memcpy(&time, source->head.data, sizeof time);
  return time;
}

/* Who has the oldest of all messages; NULL: nobody has one. */
static struct source *oldest(void) {
  struct source *found = NULL;
  for (size_t i = 0; i < count; i++) {
    struct source *source = &sources[i];
    if (!source->has_head) {
      const shm_status status = check(speculo_reader_next(source->reader, &source->head));
      source->has_head = status == SHM_OK;
      if (status == SHM_CLOSED) { /* the sender has gone, and everything is read */
        check(speculo_reader_close(source->reader));
        *source = sources[--count];
        i--;
        continue;
      }
    }
    if (source->has_head && (found == NULL || sent(source) < sent(found))) found = source;
  }
  return found;
}

static void merge(const char *stream) {
  char prefix[SHM_NAME_CAPACITY];
  snprintf(prefix, sizeof prefix, "%s.", stream);
  while (!stopped) {
    const uint64_t due = now() - delay; /* before it looks who is there: all that was committed until now is found */
    discover(prefix);
    for (struct source *source = oldest(); source != NULL && sent(source) <= due && !stopped; source = oldest()) {
      printf("%s: ", source->name + strlen(prefix));
      if (source->head.size > 8) fwrite((const char *)source->head.data + 8, 1, source->head.size - 8, stdout);
      putchar('\n');
      source->has_head = false;
    }
    nap(); /* nothing would be told sooner if it waited at an area (speculo_reader_next_wait): the delay is longer */
  }
  while (count > 0) check(speculo_reader_close(sources[--count].reader));
}

int main(int argc, char **argv) {
  const struct sigaction action = {.sa_handler = on_signal}; /* without SA_RESTART, it also ends the wait for a line */
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (argc >= 4 && strcmp(argv[1], "send") == 0) {
    send(argv[2], argv[3], (argc > 4 ? strtoull(argv[4], NULL, 10) : 10) * second);
  } else if (argc == 3 && strcmp(argv[1], "merge") == 0) {
    merge(argv[2]);
  } else {
    fprintf(stderr, "usage: speculo_stream_c send STREAM SENDER [SECONDS] | merge STREAM\n");
    return 2;
  }
}
