/* What the three programs of the particle demo say to each other. Plain structs: the same bytes in C, C++ and Rust.
 *
 *   particles_sim.cpp        the simulation: bouncing particles, stepped in real time
 *   particles_consumer.rs    receives events and state frames, checks them, and steers the simulation
 *   particles_monitor.c      looks on, without permission to write
 *
 *   name        kind     from → to               what
 *   "state"     array    simulation → anybody    struct frame: the newest step, a consistent snapshot for any number of readers
 *   "frame"     atomic   simulation → anybody    u64: how many steps there were, of all simulations; readers sleep on it
 *   "steps"     ring     simulation → anybody    struct step: telemetry; the oldest is overwritten, nobody is waited for
 *   "events"    queue    simulation → consumer   struct event: nothing may be lost; the simulation waits a little when it is full
 *   "surveys"   pool     simulation → consumer   struct survey: filled in place, and then the receiver's
 *   "mail"      queue    simulation → consumer   u64: the handles of surveys; SPSC
 *   "control"   queue    consumer → simulation   struct control
 */
#ifndef PARTICLES_H
#define PARTICLES_H

#include <stdint.h>
#include <string.h>

#define PARTICLES 10240         /* in a box of one metre by one, each of mass 1 kg */
#define STEPS_PER_SECOND 1000
#define GRAVITY 9.81f           /* downwards, m/s² */

#define STEPS_CAPACITY 4096
#define EVENTS_CAPACITY 8192
#define SURVEYS_CAPACITY 32
#define MAIL_CAPACITY 16
#define CONTROL_CAPACITY 16
#define STEPS_PER_SURVEY 20

struct particle {
  float x, y, vx, vy;
};

struct frame {
  uint64_t checksum;            /* over all that follows */
  uint64_t step;                /* of this simulation, from 1 */
  uint64_t time_ns;             /* CLOCK_MONOTONIC */
  uint64_t surveys_sent;        /* all counts are this simulation's, so far */
  uint64_t events_sent;
  uint64_t events_delayed;      /* found the queue full and waited */
  uint64_t events_dropped;      /* waited in vain */
  uint32_t simulation;          /* pid of the writer */
  float gravity;
  struct particle particles[PARTICLES];
};

struct step {                   /* a line of telemetry */
  uint64_t frame;               /* how many steps there were, of all simulations */
  uint64_t time_ns;             /* CLOCK_MONOTONIC */
  double energy;                /* mean energy of a particle in joules */
  uint32_t hits;                /* against walls, in this step */
  uint32_t simulation;          /* pid of the writer */
};

#define SPEED_CLASSES 120       /* of 0.25 m/s; the last takes all that is faster */

struct survey {                 /* how fast the particles are */
  uint64_t frame;
  uint32_t simulation;          /* pid of the sender */
  float fastest;                /* m/s */
  uint32_t particles[SPEED_CLASSES];
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
