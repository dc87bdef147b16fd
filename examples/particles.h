/* What the three programs of the particle demo say to each other. Plain structs: the same bytes in C, C++ and Rust.
 *
 *   particles_sim.cpp        the simulation: bouncing particles, stepped in real time
 *   particles_consumer.rs    receives events and state frames, checks them, and steers the simulation
 *   particles_monitor.c      looks on, without permission to write
 *
 *   queue      from → to               element          kind
 *   "state"    simulation → consumer   struct frame     SPSC, written and read in place
 *   "events"   simulation → consumer   struct event     MPMC, the simulation waits a little when it is full
 *   "control"  consumer → simulation   struct control   MPMC
 */
#ifndef PARTICLES_H
#define PARTICLES_H

#include <stdint.h>
#include <string.h>

#define PARTICLES 10240         /* in a box of one metre by one, each of mass 1 kg */
#define STEPS_PER_SECOND 1000
#define GRAVITY 9.81f           /* downwards, m/s² */

#define STATE_CAPACITY 8
#define EVENTS_CAPACITY 8192
#define CONTROL_CAPACITY 16

struct particle {
  float x, y, vx, vy;
};

struct frame {
  uint64_t checksum;            /* over all that follows */
  uint64_t step;                /* of this simulation, from 1 */
  uint64_t time_ns;             /* CLOCK_MONOTONIC at commit */
  uint64_t frames_dropped;      /* because the consumer lagged; all counts are this simulation's, so far */
  uint64_t events_sent;
  uint64_t events_delayed;      /* found the queue full and waited */
  uint64_t events_dropped;      /* waited in vain */
  uint32_t simulation;          /* pid of the writer */
  float gravity;
  struct particle particles[PARTICLES];
};

enum wall { WALL_FLOOR, WALL_CEILING, WALL_LEFT, WALL_RIGHT };

struct event {                  /* a particle hit a wall */
  uint64_t time_ns;             /* CLOCK_MONOTONIC */
  uint64_t number;              /* of this simulation, from 1, without gaps */
  uint32_t simulation;          /* pid of the sender */
  uint32_t particle;
  uint32_t wall;                /* enum wall */
  float speed;                  /* at which it hit */
};

enum control_kind { CONTROL_GRAVITY = 1, CONTROL_PAUSE = 2, CONTROL_STOP = 3 };

struct control {
  uint32_t kind;                /* enum control_kind */
  uint32_t number;              /* of this message, from 1 */
  double value;                 /* gravity in m/s²; pause in seconds */
};

/* Two running sums (after Fletcher): the second notices words that changed places. */
static inline uint64_t frame_checksum(const struct frame *frame) {
  const unsigned char *bytes = (const unsigned char *)frame;
  uint64_t a = 1, b = 0;
  for (size_t at = sizeof frame->checksum; at < sizeof *frame; at += sizeof(uint64_t)) {
    uint64_t word;
    memcpy(&word, bytes + at, sizeof word);
    a += word;
    b += a;
  }
  return a ^ (b << 32 | b >> 32);
}

#endif
