/* What the C and C++ tests share: checks that say where and why, names nobody else has, children, a clean /dev/shm.
 * Include it first. Everything here compiles as C11 and as C++20.
 *
 * A test is a program of named checks: `static void fifo(void) { ... }` and RUN(fifo) in main. The first thing that is
 * not as it should be prints file:line, the status and the library's sentence, and ends the program with 1.
 */
#ifndef SHMDS_TEST_SUPPORT_H
#define SHMDS_TEST_SUPPORT_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "shmds.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MILLISECOND UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)
#define LONG_ENOUGH (20 * SECOND) /* a wait that is expected to end much sooner */
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- names, and what becomes of them ------------------------------------------------------------------------- */

#define MAX_NAMES 4096
#define MAX_CHILDREN 64
static char names_given[MAX_NAMES][80]; /* "/shmds-test-PID-N" */
static size_t names_count;
static pid_t names_owner; /* the process that cleans up; its forked children do not */
static pid_t children[MAX_CHILDREN];
static size_t children_count;
static const char *current_check = "setup";

/* Only async-signal-safe calls: it also runs in signal handlers. */
static inline void support_clean_up(void) {
  if (names_owner != getpid()) return;
  for (size_t i = 0; i < children_count; i++) {
    if (children[i] > 0) kill(children[i], SIGKILL);
  }
  for (size_t i = 0; i < names_count; i++) {
    char path[96] = "/dev/shm";
    strcat(path, names_given[i]);
    unlink(path);
  }
}

static inline void support_on_signal(int signal_number) {
  support_clean_up();
  signal(signal_number, SIG_DFL);
  raise(signal_number);
}

/* Once, first thing in main: the program ends within `seconds`, and leaves nothing behind. */
static inline void support_start(unsigned seconds) {
  static const int deadly[] = {SIGALRM, SIGINT, SIGTERM, SIGHUP, SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE};
  names_owner = getpid();
  for (size_t i = 0; i < COUNT_OF(deadly); i++) signal(deadly[i], support_on_signal);
  atexit(support_clean_up);
  setvbuf(stdout, NULL, _IOLBF, 0);
  alarm(seconds);
}

/* A segment name nobody else has, unlinked when the program ends. Valid for ever. */
static inline const char *new_name(void) {
  if (names_count == MAX_NAMES) abort();
  snprintf(names_given[names_count], sizeof names_given[0], "/shmds-test-%ld-%zu", (long)getpid(), names_count);
  return names_given[names_count++];
}

/* Where that segment's file lies. Valid until the next call. */
static inline const char *path_of(const char *name) {
  static char path[96];
  snprintf(path, sizeof path, "/dev/shm/%s", name[0] == '/' ? name + 1 : name);
  return path;
}

static inline int file_exists(const char *name) {
  struct stat st;
  return lstat(path_of(name), &st) == 0;
}

/* ---- checks -------------------------------------------------------------------------------------------------- */

#if defined(__GNUC__)
__attribute__((noreturn, format(printf, 3, 4)))
#endif
static inline void fail_at(const char *file, int line, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "%s:%d: in %s: ", file, line, current_check);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fprintf(stderr, "\n  last error: %s\n", shm_last_error());
  fflush(NULL);
  if (names_owner != getpid()) _exit(1); /* a forked child: what was registered with atexit is its parent's */
  exit(1);
}

#define FAIL(...) fail_at(__FILE__, __LINE__, __VA_ARGS__)

#define CHECK(condition)                                 \
  do {                                                   \
    if (!(condition)) FAIL("not true: %s", #condition);  \
  } while (0)

#define CHECK_U64(actual, expected)                                                                      \
  do {                                                                                                   \
    uint64_t actual_ = (uint64_t)(actual), expected_ = (uint64_t)(expected);                             \
    if (actual_ != expected_) FAIL("%s is %" PRIu64 ", expected %" PRIu64, #actual, actual_, expected_); \
  } while (0)

#define CHECK_STATUS(call, expected)                                                                    \
  do {                                                                                                  \
    int32_t actual_ = (int32_t)(call), expected_ = (int32_t)(expected);                                 \
    if (actual_ != expected_) {                                                                         \
      FAIL("%s\n  gave %" PRId32 " (%s), expected %" PRId32 " (%s)", #call, actual_,                    \
           shm_status_string(actual_), expected_, shm_status_string(expected_));                        \
    }                                                                                                   \
  } while (0)

#define OK(call) CHECK_STATUS(call, SHM_OK)

/* The call fails with this status, and the sentence has this in it. */
#define CHECK_FAILS(call, expected, part)                                                               \
  do {                                                                                                  \
    CHECK_STATUS(call, expected);                                                                       \
    if (strstr(shm_last_error(), part) == NULL) FAIL("%s\n  sentence lacks \"%s\"", #call, part);       \
  } while (0)

#define RUN(check)                  \
  do {                              \
    current_check = #check;         \
    check();                        \
    printf("ok %s\n", #check);      \
  } while (0)

/* The same check under another name, with an argument: RUN_WITH(fifo, SHM_SPSC). */
#define RUN_WITH(check, argument)                   \
  do {                                              \
    current_check = #check "(" #argument ")";       \
    check(argument);                                \
    printf("ok %s(%s)\n", #check, #argument);       \
  } while (0)

/* ---- time ---------------------------------------------------------------------------------------------------- */

static inline uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static inline void sleep_ns(uint64_t ns) {
  struct timespec t;
  t.tv_sec = (time_t)(ns / SECOND);
  t.tv_nsec = (long)(ns % SECOND);
  while (nanosleep(&t, &t) != 0 && errno == EINTR) {
  }
}

/* ---- children ------------------------------------------------------------------------------------------------ */

/* fork() with clean output. The child ends with _exit. */
static inline pid_t fork_child(void) {
  fflush(NULL);
  pid_t child = fork();
  if (child < 0) FAIL("fork: %s", strerror(errno));
  if (child == 0) prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (child > 0) {
    size_t i = 0;
    while (i < children_count && children[i] != 0) i++;
    if (i == MAX_CHILDREN) FAIL("more than %d children", MAX_CHILDREN);
    children[i] = child;
    if (i == children_count) children_count++;
  }
  return child;
}

static inline int wait_status(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) FAIL("waitpid: %s", strerror(errno));
  }
  for (size_t i = 0; i < children_count; i++) {
    if (children[i] == child) children[i] = 0;
  }
  return status;
}

/* The child has to end by itself, with 0. One killed by a signal has failed. */
#define CHECK_CHILD(child)                                                                    \
  do {                                                                                        \
    int status_ = wait_status(child);                                                         \
    if (!WIFEXITED(status_)) FAIL("the child was ended by signal %d", WTERMSIG(status_));     \
    if (WEXITSTATUS(status_) != 0) FAIL("the child ended with %d", WEXITSTATUS(status_));     \
  } while (0)

/* Ends the child as a crash would, and waits until it is gone. */
static inline void kill_child(pid_t child) {
  kill(child, SIGKILL);
  (void)wait_status(child);
}

/* ---- steps two processes take in turn -------------------------------------------------------------------------- */

/* A pipe: one side says a byte, the other waits for it. Made before fork. */
typedef struct signal_pipe {
  int ends[2];
} signal_pipe;

static inline signal_pipe new_pipe(void) {
  signal_pipe p;
  if (pipe(p.ends) != 0) FAIL("pipe: %s", strerror(errno));
  return p;
}

static inline void say(signal_pipe p) {
  if (write(p.ends[1], "!", 1) != 1) FAIL("write: %s", strerror(errno));
}

static inline void await(signal_pipe p) {
  char byte;
  ssize_t n;
  do {
    n = read(p.ends[0], &byte, 1);
  } while (n < 0 && errno == EINTR);
  if (n != 1) FAIL("the other side is gone");
}

static inline void close_pipe(signal_pipe p) {
  close(p.ends[0]);
  close(p.ends[1]);
}

/* ---- segments and queues with few words -------------------------------------------------------------------------- */

static inline shm_segment *new_segment(const char *name, uint64_t size) {
  shm_segment_options options;
  shm_segment *segment = NULL;
  OK(shm_segment_options_init(&options));
  options.flags = SHM_EXCLUSIVE;
  options.size = size;
  OK(shm_segment_create(name, &options, &segment));
  CHECK(segment != NULL);
  return segment;
}

static inline shm_segment *attach(const char *name) {
  shm_segment *segment = NULL;
  OK(shm_segment_open(name, NULL, &segment));
  CHECK(segment != NULL);
  return segment;
}

static inline shm_queue_options queue_shape(uint32_t flags, uint64_t capacity, uint64_t elem_size) {
  shm_queue_options options;
  OK(shm_queue_options_init(&options));
  options.flags = flags;
  options.capacity = capacity;
  options.elem_size = elem_size;
  return options;
}

static inline shm_queue *new_queue(const shm_segment *segment, const char *name, uint32_t flags, uint64_t capacity,
                                   uint64_t elem_size) {
  shm_queue_options options = queue_shape(flags, capacity, elem_size);
  shm_queue *queue = NULL;
  OK(shm_queue_create(segment, name, &options, &queue));
  CHECK(queue != NULL);
  return queue;
}

static inline shm_queue *open_queue(const shm_segment *segment, const char *name) {
  shm_queue *queue = NULL;
  OK(shm_queue_open(segment, name, NULL, &queue));
  CHECK(queue != NULL);
  return queue;
}

static inline uint64_t queue_count(const shm_queue *queue) {
  shm_queue_stats stats;
  OK(shm_queue_get_stats(queue, &stats));
  return stats.size;
}

static inline uint32_t living(const shm_segment *segment) {
  uint32_t count = 0;
  OK(shm_segment_count(segment, &count));
  return count;
}

#endif
