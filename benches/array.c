/* What reading an array costs beside a heap array, in C: pointer[i] of both. array.rs says what is measured and how. On stdout a
 * line of samples for each, as benches/peers/src/report.rs reads them. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <math.h>
#include <shmds.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { REPETITIONS = 11, PAGE = 4096, FIRST = 128, STEPS = 100000 };

static void must(shm_status status) {
  if (status == SHM_OK) return;
  fprintf(stderr, "array.c: %s\n", shm_last_error());
  exit(1);
}

__attribute__((noinline)) static uint64_t sum(const uint64_t *array, size_t length, uint64_t unused) {
  uint64_t sum = 0;
  (void)unused;
  for (size_t i = 0; i < length; i++) sum += array[i];
  return sum;
}

__attribute__((noinline)) static uint64_t walk(const uint64_t *array, size_t length, uint64_t at) {
  for (size_t i = 0; i < STEPS; i++) {
    at = at * UINT64_C(6364136223846793005) + (UINT64_C(1442695040888963407) + array[(at >> 20) & (length - 1)]);
  }
  return at;
}

static double now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static char *new_heap(size_t length) {
  const size_t bytes = (FIRST + length * 8 + PAGE - 1) / PAGE * PAGE;
  char *heap = (char *)aligned_alloc(PAGE, bytes);
  if (heap == NULL) exit(1);
  madvise(heap, bytes, MADV_NOHUGEPAGE);
  return (char *)memset(heap, 0, bytes);
}

static shm_array *new_ours(size_t length, const uint64_t **data) {
  char name[64];
  shm_segment_options options;
  shm_array_options shape;
  shm_segment *segment;
  shm_array *array;
  uint64_t taken;
  const uint64_t zero = 0;
  void *address;
  size_t count, stride;
  snprintf(name, sizeof name, "shmds-bench-array-%ld", (long)getpid());
  must(shm_array_options_init(&shape));
  shape.count = length;
  shape.elem_size = 8;
  must(shm_array_size(&shape, &taken));
  must(shm_segment_options_init(&options));
  must(shm_segment_size(&options, taken, &options.size));
  must(shm_segment_create(name, &options, &segment));
  must(shm_array_create(segment, "a", &shape, &array));
  must(shm_segment_unlink(name));
  must(shm_segment_close(segment)); /* the array keeps it */
  must(shm_array_fill(array, &zero));
  must(shm_array_data(array, &address, &count, &stride));
  if ((uintptr_t)address % PAGE != FIRST || stride != 8) exit(1);
  *data = (const uint64_t *)address;
  return array;
}

static volatile uint64_t sink;

int main(void) {
  static const size_t sizes[] = {128, 64 << 10}; /* KiB */
  for (int test = 0; test < 4; test++) {
    const size_t kib = sizes[test / 2], length = kib * 128, times = test % 2 == 0 && kib < 512 ? 32 : 1;
    uint64_t (*const read)(const uint64_t *, size_t, uint64_t) = test % 2 == 0 ? sum : walk;
    const double reads = test % 2 == 0 ? (double)(times * length) : STEPS;
    double samples[2][REPETITIONS];
    for (int sample = 0; sample < 2 * REPETITIONS; sample++) {
      const uint64_t *arrays[2];
      char *heap = sample % 2 == 0 ? new_heap(length) : NULL;
      shm_array *array = new_ours(length, &arrays[1]);
      if (heap == NULL) heap = new_heap(length);
      arrays[0] = (const uint64_t *)(heap + FIRST);
      double best[2] = {1e300, 1e300};
      for (int turn = 0; turn < 12; turn++) {
        const int which = (turn + turn / 2) % 2;
        const double start = now_ns();
        for (size_t i = 0; i < times; i++) sink += read(arrays[which], length, (uint64_t)turn / 2);
        const double took = (now_ns() - start) / reads;
        if (took < best[which]) best[which] = took;
      }
      for (int which = 0; which < 2; which++) {
        double *const mean = &samples[which][sample / 2];
        *mean = sample % 2 == 0 ? best[which] : sqrt(*mean * best[which]);
      }
      free(heap);
      must(shm_array_close(array));
    }
    for (int which = 0; which < 2; which++) {
      printf("array in C, %s, %zu KiB\tns\t%s\t", test % 2 == 0 ? "sequential" : "random", kib,
             which == 0 ? "floor\theap" : "ours\tshmds C");
      for (int repetition = 0; repetition < REPETITIONS; repetition++) printf("%.4f ", samples[which][repetition]);
      puts("");
    }
  }
  return 0;
}
