/* A block of data that is published and updated: the weather at four places. Readers get the newest one, whole, and wait for the next.
 *
 *   speculo_block_c publish NAME [MILLISECONDS]    a new block after so many (1000), in place of the former
 *   speculo_block_c watch NAME                     tells each new block, until the publisher goes
 *
 * The C, C++ and Rust versions of this program understand each other. */
#define _POSIX_C_SOURCE 200809L
#include <shmds.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct place {
  char name[16];
  double temperature;
};

struct weather {
  uint64_t number; /* how many blocks there were */
  struct place places[4];
};

static volatile sig_atomic_t stopped;
static void on_signal(int number) { stopped = number; }

static shm_status check(shm_status status) { /* negative: an error; positive: an ordinary outcome, such as "empty" */
  if (status >= 0) return status;
  fprintf(stderr, "speculo_block: %s\n", shm_last_error());
  exit(1);
}

static void nap(long milliseconds) {
  nanosleep(&(struct timespec){milliseconds / 1000, milliseconds % 1000 * 1000000}, NULL);
}

static const struct weather *weather_in(const speculo_view *view) { /* where it lies */
  if (view->size == sizeof(struct weather)) return view->data;
  fprintf(stderr, "speculo_block: this is no weather\n");
  exit(1);
}

/* The block that a former publisher left: its id, and the number in it; else 0. */
static uint64_t former(const char *name, uint64_t *number) {
  speculo_reader *reader;
  speculo_view view = {0};
  check(speculo_reader_open(name, NULL, &reader));
  *number = check(speculo_reader_next(reader, &view)) == SHM_OK ? weather_in(&view)->number : 0;
  check(speculo_reader_close(reader));
  return view.id;
}

static void publish(const char *name, long milliseconds) {
  speculo_area *area;
  check(speculo_area_new(name, 0, &area));
  check(speculo_area_create(area)); /* or goes on with what a publisher left when it was killed */
  speculo_chunk block;
  check(speculo_chunk_init(&block, area));
  uint64_t number;
  block.id = former(name, &number);
  while (!stopped) {
    void *data;
    const shm_status status = block.id != 0 ? speculo_chunk_update(&block, sizeof(struct weather), &data)
                                            : speculo_chunk_allocate(&block, sizeof(struct weather), &data);
    if (check(status) == SHM_FULL) {
      fprintf(stderr, "speculo_block: no room for a block\n");
      exit(1);
    }
    struct weather *weather = data; /* filled where it lies, and seen by nobody yet */
    weather->number = ++number;
    static const char *const places[] = {"Bern", "Genoa", "Oslo", "Porto"};
    for (int i = 0; i < 4; i++) {
      strcpy(weather->places[i].name, places[i]);
      weather->places[i].temperature = (double)(number % 30) + i * 0.25;
    }
    check(speculo_chunk_commit(&block)); /* seen by everybody, and it never changes again */
    nap(milliseconds);
  }
  check(speculo_area_unlink(area));
  check(speculo_area_close(area));
}

static void watch(const char *name) {
  const uint64_t patience = 100000000; /* nanoseconds, after which it looks whether it was stopped */
  speculo_reader *reader;
  shm_status status = speculo_reader_open(name, NULL, &reader);
  for (; status == SHM_ERR_NOT_FOUND && !stopped; status = speculo_reader_open(name, NULL, &reader)) nap(20);
  if (status == SHM_ERR_NOT_FOUND) return;
  check(status);
  speculo_view view;
  while (!stopped && (status = check(speculo_reader_next_wait(reader, patience, &view))) != SHM_CLOSED) {
    if (status != SHM_OK) continue;
    const struct weather *weather = weather_in(&view); /* the newest: blocks whose place was taken are passed over */
    printf("%llu:", (unsigned long long)weather->number);
    for (int i = 0; i < 4; i++) printf(" %.16s %.2f", weather->places[i].name, weather->places[i].temperature);
    putchar('\n');
  }
  check(speculo_reader_close(reader));
}

int main(int argc, char **argv) {
  const struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (argc >= 3 && strcmp(argv[1], "publish") == 0) {
    publish(argv[2], argc > 3 ? atol(argv[3]) : 1000);
  } else if (argc == 3 && strcmp(argv[1], "watch") == 0) {
    watch(argv[2]);
  } else {
    fprintf(stderr, "usage: speculo_block_c publish NAME [MILLISECONDS] | watch NAME\n");
    return 2;
  }
}
