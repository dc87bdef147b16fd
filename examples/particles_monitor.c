/* The monitor of the particle demo: attaches read-only, so it can disturb nobody, and tells each second how the segment
 * and its queues are, what the telemetry says, and who is attached; and at once when somebody arrives, leaves or dies.
 *
 *   particles_monitor SEGMENT
 *
 * It ends when everybody it watched has gone, or on SIGINT. */
#define _POSIX_C_SOURCE 200809L
#include <shmds.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "particles.h"

#define MAX_PARTICIPANTS 64
#define LOOKS_PER_SECOND 10

static volatile sig_atomic_t interrupted;

static void on_signal(int number) {
  (void)number;
  interrupted = 1;
}

static void check(const char *what, shm_status status) {
  if (status >= 0) return;
  fprintf(stderr, "%s: %s\n", what, shm_last_error());
  exit(1);
}

static void nap(void) { nanosleep(&(struct timespec){.tv_nsec = 1000000000 / LOOKS_PER_SECOND}, NULL); }

/* The segment is made by the simulation; wait for it, at most five seconds. */
static shm_segment *attach(const char *name) {
  shm_segment_options options;
  check("options", shm_segment_options_init(&options));
  options.flags = SHM_READ_ONLY;
  shm_segment *segment = NULL;
  shm_status status = SHM_ERR_NOT_FOUND;
  for (int tries = 0; tries < 5 * LOOKS_PER_SECOND && !interrupted; tries++) {
    status = shm_segment_open(name, &options, &segment);
    if (status != SHM_ERR_NOT_FOUND) break;
    nap();
  }
  if (!interrupted) check("attach", status);
  return segment;
}

/* Who is attached, and who was at the last look. */
struct people {
  shm_participant list[MAX_PARTICIPANTS];
  size_t count;
};

static const shm_participant *find(const struct people *people, const shm_participant *who) {
  for (size_t i = 0; i < people->count; i++)
    if (people->list[i].pid == who->pid && people->list[i].attached_ns == who->attached_ns) return &people->list[i];
  return NULL;
}

static size_t living(const struct people *people) {
  size_t count = 0;
  for (size_t i = 0; i < people->count; i++) count += people->list[i].alive;
  return count;
}

/* Whether the simulation has said that no more events will come. Who goes before that has died, even if the others
 * were so quick to clean up that nobody saw the dead participant. */
static int is_over(const shm_segment *segment) {
  shm_queue *events;
  shm_queue_stats stats = {.shut_down = 0};
  if (shm_queue_open(segment, "events", NULL, &events) != SHM_OK) return 0;
  check("queue", shm_queue_get_stats(events, &stats));
  check("queue", shm_queue_close(events));
  return stats.shut_down != 0;
}

static void announce_changes(const shm_segment *segment, const struct people *before, const struct people *now) {
  for (size_t i = 0; i < now->count; i++) {
    const shm_participant *who = &now->list[i], *then = find(before, who);
    if (who->alive && then == NULL)
      printf("+ %u %s has attached\n", who->pid, who->command);
    if (!who->alive && (then == NULL || then->alive))
      printf("! %u %s HAS DIED\n", who->pid, who->command);
  }
  for (size_t i = 0; i < before->count; i++) {
    const shm_participant *who = &before->list[i];
    if (find(now, who) != NULL) continue;
    const int left = who->alive && is_over(segment);
    printf("%c %u %s %s\n", who->alive && !left ? '!' : '-', who->pid, who->command,
           left ? "has left" : who->alive ? "HAS DIED and is cleaned up" : "is cleaned up");
  }
}

static void report_queues(const shm_segment *segment) {
  shm_entry entry;
  uint32_t cursor = 0;
  while (shm_table_next(segment, &cursor, &entry) == SHM_OK) {
    shm_queue *queue;
    shm_queue_stats stats;
    if (entry.kind != SHM_KIND_QUEUE || shm_queue_open(segment, entry.name, NULL, &queue) != SHM_OK) continue;
    if (shm_queue_get_stats(queue, &stats) == SHM_OK)
      printf("│ %s %llu/%llu ", entry.name, (unsigned long long)stats.size, (unsigned long long)stats.capacity);
    check("close queue", shm_queue_close(queue));
  }
}

/* Follows the ring of telemetry with a position of its own, of which the simulation knows nothing. */
struct follower {
  shm_ring *ring;
  shm_ring_reader *reader;
};

/* The simulation makes the ring a moment after the segment. */
static int follow(const shm_segment *segment, struct follower *follower) {
  if (follower->reader != NULL) return 1;
  if (shm_ring_open(segment, "steps", NULL, &follower->ring) != SHM_OK) return 0;
  check("reader", shm_ring_reader_open(follower->ring, SHM_RING_OLDEST, &follower->reader));
  return 1;
}

static void report_steps(struct follower *follower) {
  struct step steps[256];
  double least = 1e300, most = -1e300;
  uint64_t count = 0, hits = 0, lost = 0, lost_now = 0;
  size_t read;
  shm_status status;
  while ((status = shm_ring_reader_read(follower->reader, steps, 256, &read, &lost_now)) == SHM_OK || status == SHM_LAPPED) {
    lost += lost_now;
    count += read;
    for (size_t i = 0; i < read; i++) {
      hits += steps[i].hits;
      if (steps[i].energy < least) least = steps[i].energy;
      if (steps[i].energy > most) most = steps[i].energy;
    }
  }
  check("telemetry", status);
  if (count > 0)
    printf("│ steps %llu, lost %llu, hits %llu, energy %.2f…%.2f J ", (unsigned long long)count, (unsigned long long)lost,
           (unsigned long long)hits, least, most);
}

static void unfollow(struct follower *follower) {
  if (follower->reader != NULL) check("reader", shm_ring_reader_close(follower->reader));
  if (follower->ring != NULL) check("ring", shm_ring_close(follower->ring));
}

static void report(const shm_segment *segment, struct follower *follower, const struct people *people) {
  shm_segment_stats stats;
  check("stats", shm_segment_get_stats(segment, &stats));
  printf("%.1f/%.1f MiB ", stats.used / 1048576.0, stats.size / 1048576.0);
  report_queues(segment);
  if (follow(segment, follower)) report_steps(follower);
  printf("│ alive");
  for (size_t i = 0; i < people->count; i++)
    if (people->list[i].alive) printf(" %u", people->list[i].pid);
  printf("\n");
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: particles_monitor SEGMENT\n");
    return 2;
  }
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  setvbuf(stdout, NULL, _IOLBF, 0);

  shm_segment *segment = attach(argv[1]);
  if (segment == NULL) return 0; /* interrupted while it waited */
  struct follower follower = {.ring = NULL, .reader = NULL};
  struct people before = {.count = 0}, now = {.count = 0};
  for (unsigned look = 1; !interrupted; look++) {
    check("participants", shm_segment_participants(segment, now.list, MAX_PARTICIPANTS, &now.count));
    announce_changes(segment, &before, &now);
    if (living(&now) == 0) break;
    if (look % LOOKS_PER_SECOND == 0) report(segment, &follower, &now);
    before = now;
    nap();
  }
  unfollow(&follower);
  check("close", shm_segment_close(segment));
  puts("nobody left to watch");
  return 0;
}
