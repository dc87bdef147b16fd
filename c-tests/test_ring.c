/* Rings: one writer; a consumer who loses nothing, or readers who know what they lost. */
#include "support.h"

static shm_ring_options shape(uint32_t flags, uint64_t capacity, uint64_t elem_size) {
  shm_ring_options options;
  OK(shm_ring_options_init(&options));
  options.flags = flags;
  options.capacity = capacity;
  options.elem_size = elem_size;
  return options;
}

static shm_ring *new_ring(const shm_segment *segment, uint32_t flags, uint64_t capacity, uint64_t elem_size) {
  shm_ring_options options = shape(flags, capacity, elem_size);
  shm_ring *ring = NULL;
  OK(shm_ring_create(segment, "r", &options, &ring));
  CHECK(ring != NULL);
  return ring;
}

static shm_ring *open_ring(const shm_segment *segment) {
  shm_ring *ring = NULL;
  OK(shm_ring_open(segment, "r", NULL, &ring));
  return ring;
}

static shm_ring_reader *new_reader(const shm_ring *ring, uint64_t position) {
  shm_ring_reader *reader = NULL;
  OK(shm_ring_reader_open(ring, position, &reader));
  CHECK(reader != NULL);
  return reader;
}

static shm_segment *attach_to_look(const char *name) {
  shm_segment_options options;
  shm_segment *segment = NULL;
  OK(shm_segment_options_init(&options));
  options.flags = SHM_READ_ONLY;
  OK(shm_segment_open(name, &options, &segment));
  return segment;
}

static shm_ring_stats stats_of(const shm_ring *ring) {
  shm_ring_stats stats;
  OK(shm_ring_get_stats(ring, &stats));
  return stats;
}

static shm_ring_reader_stats reader_stats(shm_ring_reader *reader) {
  shm_ring_reader_stats stats;
  OK(shm_ring_reader_get_stats(reader, &stats));
  return stats;
}

/* Pushes from, from + 1, ... at once; all of them go in. */
static void push_numbers(const shm_ring *ring, uint64_t from, size_t count) {
  uint64_t numbers[256];
  size_t done = 0;
  CHECK(count <= COUNT_OF(numbers));
  for (size_t i = 0; i < count; i++) numbers[i] = from + i;
  OK(shm_ring_push_bulk(ring, numbers, count, &done));
  CHECK_U64(done, count);
}

static void are_numbers(const uint64_t *numbers, uint64_t from, size_t count) {
  for (size_t i = 0; i < count; i++) CHECK_U64(numbers[i], from + i);
}

static void a_ring_that_waits_loses_nothing(void) {
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_ring *ring = new_ring(segment, 0, 5, 8);
  uint64_t numbers[20], one = 99, lost = 99, skipped = 99;
  size_t done = 99;
  CHECK_STATUS(shm_ring_pop(ring, &one, &lost), SHM_EMPTY);
  CHECK_U64(lost, 0);
  for (uint64_t i = 0; i < 8; i++) OK(shm_ring_push(ring, &i));
  CHECK_STATUS(shm_ring_push(ring, &one), SHM_FULL);
  shm_ring_stats stats = stats_of(ring);
  CHECK_U64(stats.capacity, 8);
  CHECK_U64(stats.size, 8);
  CHECK_U64(stats.elem_size, 8);
  CHECK_U64(stats.elem_align, 8);
  CHECK_U64(stats.flags, 0);
  CHECK(stats.writer != 0 && stats.consumer == stats.writer);
  for (uint64_t i = 0; i < 3; i++) {
    OK(shm_ring_pop(ring, &one, NULL));
    CHECK_U64(one, i);
  }
  for (uint64_t i = 0; i < 20; i++) numbers[i] = 8 + i;
  OK(shm_ring_push_bulk(ring, numbers, 20, &done));
  CHECK_U64(done, 3);
  CHECK_STATUS(shm_ring_push_bulk(ring, numbers, 20, &done), SHM_FULL);
  CHECK_U64(done, 0);
  OK(shm_ring_pop_bulk(ring, numbers, 6, &done, &lost));
  CHECK_U64(done, 6);
  are_numbers(numbers, 3, 6);
  OK(shm_ring_skip(ring, 1, &skipped));
  CHECK_U64(skipped, 1);
  OK(shm_ring_pop_bulk(ring, numbers, 20, &done, &lost));
  CHECK_U64(done, 1);
  CHECK_U64(numbers[0], 10);
  CHECK_STATUS(shm_ring_pop_bulk(ring, numbers, 20, &done, &lost), SHM_EMPTY);
  CHECK_U64(done, 0);
  push_numbers(ring, 11, 5);
  OK(shm_ring_clear(ring, &skipped));
  CHECK_U64(skipped, 5);
  OK(shm_ring_clear(ring, NULL));
  OK(shm_ring_skip(ring, UINT64_MAX, &skipped));
  CHECK_U64(skipped, 0);
  stats = stats_of(ring);
  CHECK_U64(stats.written, 16);
  CHECK_U64(stats.read, 16);
  CHECK_U64(stats.lost, 0);
  CHECK_U64(stats.size, 0);
  OK(shm_ring_close(ring));
  OK(shm_segment_close(segment));
}

static void a_ring_that_overwrites_tells_what_is_lost(void) {
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_ring *ring = new_ring(segment, SHM_OVERWRITE, 8, 8);
  uint64_t numbers[256], one = 0, lost = 99;
  size_t done = 0;
  push_numbers(ring, 0, 8);
  CHECK_U64(stats_of(ring).size, 8);
  one = 8;
  OK(shm_ring_push(ring, &one));
  OK(shm_ring_push_wait(ring, &one, 0));
  OK(shm_ring_pop(ring, &one, &lost));
  CHECK_U64(one, 2);
  CHECK_U64(lost, 2);
  OK(shm_ring_pop(ring, &one, &lost));
  CHECK_U64(one, 3);
  CHECK_U64(lost, 0);
  push_numbers(ring, 10, 100); /* more than there is room for: the last eight are there */
  OK(shm_ring_pop_bulk(ring, numbers, 256, &done, &lost));
  CHECK_U64(done, 8);
  CHECK_U64(lost, 98);
  are_numbers(numbers, 102, 8);
  shm_ring_stats stats = stats_of(ring);
  CHECK_U64(stats.flags, SHM_OVERWRITE);
  CHECK_U64(stats.written, 110);
  CHECK_U64(stats.read, 10);
  CHECK_U64(stats.lost, 100);
  for (size_t i = 0; i < COUNT_OF(numbers); i++) numbers[i] = 110 + i;
  OK(shm_ring_push_bulk_wait(ring, numbers, 256, 0, &done));
  CHECK_U64(done, 256);
  OK(shm_ring_skip(ring, 3, &one));
  CHECK_U64(one, 3);
  OK(shm_ring_pop(ring, &one, &lost));
  CHECK_U64(one, 361);
  OK(shm_ring_close(ring));
  OK(shm_segment_close(segment));
}

/* Elements come out whole wherever the ring begins again, whatever their size, alignment and number at a time. */
static void elements_wrap(uint32_t flags) {
  static const struct {
    uint64_t capacity, size;
    uint32_t align;
  } shapes[] = {{1, 8, 0}, {4, 1, 0}, {8, 3, 1}, {8, 12, 4}, {16, 64, 0}, {4, 40, 64}, {2, 5000, 4096}, {64, 7, 8}};
  for (size_t s = 0; s < COUNT_OF(shapes); s++) {
    const uint64_t capacity = shapes[s].capacity, size = shapes[s].size;
    shm_segment *segment = new_segment(new_name(), 1 << 20);
    shm_ring_options options = shape(flags, capacity, size);
    options.elem_align = shapes[s].align;
    shm_ring *ring = NULL;
    OK(shm_ring_create(segment, "r", &options, &ring));
    shm_ring_reader *reader = new_reader(ring, 0);
    unsigned char *in = (unsigned char *)malloc(capacity * size), *out = (unsigned char *)malloc(capacity * size + 1);
    CHECK(in != NULL && out != NULL);
    uint64_t sent = 0;
    for (size_t round = 0; round < 300; round++) {
      const size_t count = 1 + round % capacity;
      size_t done = 0;
      for (size_t i = 0; i < count; i++) memset(in + i * size, (int)(sent + i), size);
      OK(shm_ring_push_bulk(ring, in, count, &done));
      CHECK_U64(done, count);
      out[count * size] = 0xee;
      OK(shm_ring_pop_bulk(ring, out, count, &done, NULL));
      CHECK_U64(done, count);
      CHECK(memcmp(in, out, count * size) == 0 && out[count * size] == 0xee);
      OK(shm_ring_reader_read(reader, out, count, &done, NULL));
      CHECK_U64(done, count);
      CHECK(memcmp(in, out, count * size) == 0 && out[count * size] == 0xee);
      OK(shm_ring_last(ring, out, count, &done));
      CHECK_U64(done, count);
      CHECK(memcmp(in, out, count * size) == 0 && out[count * size] == 0xee);
      sent += count;
    }
    free(in);
    free(out);
    OK(shm_ring_reader_close(reader));
    OK(shm_ring_close(ring));
    OK(shm_segment_close(segment));
  }
}

static void who_looks_on_changes_nothing(uint32_t flags) {
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_ring *ring = new_ring(segment, flags, 8, 8), *other = open_ring(segment);
  uint64_t numbers[20], one = 0;
  size_t done = 99;
  CHECK_STATUS(shm_ring_peek(other, 0, numbers, 20, &done), SHM_EMPTY);
  CHECK_U64(done, 0);
  done = 99;
  CHECK_STATUS(shm_ring_last(other, numbers, 20, &done), SHM_EMPTY);
  CHECK_U64(done, 0);
  OK(shm_ring_last(other, numbers, 0, &done));
  OK(shm_ring_peek(other, 0, numbers, 0, &done));
  push_numbers(ring, 0, 6);
  OK(shm_ring_pop(ring, &one, NULL));
  push_numbers(ring, 6, 3);
  OK(shm_ring_peek(other, 0, numbers, 20, &done));
  CHECK_U64(done, 8);
  are_numbers(numbers, 1, 8);
  OK(shm_ring_peek(other, 3, numbers, 2, &done));
  CHECK_U64(done, 2);
  are_numbers(numbers, 4, 2);
  OK(shm_ring_peek(other, 7, numbers, 20, &done));
  CHECK_U64(done, 1);
  CHECK_U64(numbers[0], 8);
  CHECK_STATUS(shm_ring_peek(other, 8, numbers, 20, &done), SHM_EMPTY);
  CHECK_STATUS(shm_ring_peek(other, UINT64_MAX, numbers, 20, &done), SHM_EMPTY);
  OK(shm_ring_last(other, numbers, 3, &done));
  CHECK_U64(done, 3);
  are_numbers(numbers, 6, 3);
  OK(shm_ring_last(other, numbers, 20, &done));
  CHECK_U64(done, 8);
  are_numbers(numbers, 1, 8);
  CHECK_U64(stats_of(ring).read, 1);
  CHECK_U64(stats_of(ring).size, 8);
  OK(shm_ring_close(other));
  OK(shm_ring_close(ring));
  OK(shm_segment_close(segment));
}

static void readers_have_positions_of_their_own(void) {
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_ring *ring = new_ring(segment, SHM_OVERWRITE, 8, 8);
  shm_ring_reader *first = new_reader(ring, SHM_RING_OLDEST), *early = new_reader(ring, SHM_RING_NEWEST);
  uint64_t numbers[20], lost = 99, skipped = 0;
  size_t done = 99;
  CHECK_STATUS(shm_ring_reader_read(first, numbers, 20, &done, &lost), SHM_EMPTY);
  CHECK_U64(done, 0);
  CHECK_U64(lost, 0);
  push_numbers(ring, 0, 5);
  OK(shm_ring_reader_read(first, numbers, 3, &done, NULL));
  CHECK_U64(done, 3);
  are_numbers(numbers, 0, 3);
  shm_ring_reader *late = new_reader(ring, SHM_RING_NEWEST);
  push_numbers(ring, 5, 15);
  CHECK_U64(reader_stats(first).lag, 17);
  OK(shm_ring_reader_peek(first, 1, numbers, 2, &done));
  CHECK_U64(done, 2);
  are_numbers(numbers, 13, 2);
  CHECK_U64(reader_stats(first).position, 3);
  OK(shm_ring_reader_read(first, numbers, 2, &done, &lost));
  CHECK_U64(lost, 9);
  are_numbers(numbers, 12, 2);
  OK(shm_ring_reader_skip(first, 4, &skipped));
  CHECK_U64(skipped, 4);
  OK(shm_ring_reader_skip(first, UINT64_MAX, &skipped));
  CHECK_U64(skipped, 2);
  OK(shm_ring_reader_skip(first, 1, NULL));
  shm_ring_reader_stats stats = reader_stats(first);
  CHECK_U64(stats.position, 20);
  CHECK_U64(stats.read, 11);
  CHECK_U64(stats.lost, 9);
  CHECK_U64(stats.lag, 0);
  CHECK_STATUS(shm_ring_reader_peek(first, 0, numbers, 2, &done), SHM_EMPTY);
  OK(shm_ring_reader_peek(first, 0, numbers, 0, &done));
  OK(shm_ring_reader_read(late, numbers, 20, &done, &lost));
  CHECK_U64(done, 8);
  CHECK_U64(lost, 7);
  CHECK_U64(reader_stats(early).lag, 20);

  OK(shm_ring_reader_seek(first, 15));
  OK(shm_ring_reader_read(first, numbers, 1, &done, &lost));
  CHECK_U64(numbers[0], 15);
  CHECK_U64(lost, 0);
  OK(shm_ring_reader_seek(first, 2));
  OK(shm_ring_reader_read(first, numbers, 1, &done, &lost));
  CHECK_U64(numbers[0], 12);
  CHECK_U64(lost, 10);
  OK(shm_ring_reader_seek(first, SHM_RING_NEWEST));
  CHECK_U64(reader_stats(first).lag, 0);
  OK(shm_ring_reader_seek(first, SHM_RING_OLDEST));
  CHECK_U64(reader_stats(first).lag, 8);
  CHECK_U64(reader_stats(first).lost, 19);
  CHECK_FAILS(shm_ring_reader_seek(first, 21), SHM_ERR_INVALID, "ring 'r' has 20 elements written; 21 is not among them");
  CHECK_FAILS(shm_ring_reader_open(ring, 21, &late), SHM_ERR_INVALID, "ring 'r' has 20 elements");
  CHECK_U64(reader_stats(first).position, 12);

  /* A reader keeps the ring open. */
  OK(shm_ring_reader_set_spin(first, 0));
  OK(shm_table_remove(segment, "r"));
  OK(shm_ring_close(ring));
  OK(shm_ring_reader_read(first, numbers, 20, &done, &lost));
  CHECK_U64(done, 8);
  are_numbers(numbers, 12, 8);
  OK(shm_ring_reader_close(first));
  OK(shm_ring_reader_close(early));
  OK(shm_ring_reader_close(late));
  OK(shm_segment_close(segment));
}

/* Writes the word of the announcement, as a writer who is about to overwrite everything does, and stops there. */
static void announce(shm_segment *segment, const char *name, uint64_t position) {
  shm_entry entry;
  OK(shm_table_find(segment, "r", &entry));
  int file = open(path_of(name), O_RDWR | O_CLOEXEC);
  CHECK(file >= 0);
  CHECK(pwrite(file, &position, 8, (off_t)(entry.offset + 136)) == 8);
  close(file);
}

static void what_a_writer_is_overwriting_is_lapped(void) {
  const char *name = new_name();
  shm_segment *segment = new_segment(name, 1 << 20);
  shm_ring *ring = new_ring(segment, SHM_OVERWRITE, 8, 8);
  shm_ring_reader *reader = new_reader(ring, 0), *waiting = new_reader(ring, 0);
  uint64_t numbers[8], lost = 0;
  size_t done = 99;
  push_numbers(ring, 0, 8);
  announce(segment, name, 16);
  CHECK_STATUS(shm_ring_reader_read(reader, numbers, 8, &done, &lost), SHM_LAPPED);
  CHECK_U64(done, 0);
  CHECK_U64(lost, 8);
  CHECK_STATUS(shm_ring_reader_read(reader, numbers, 8, &done, &lost), SHM_EMPTY);
  CHECK_U64(lost, 0);
  CHECK_STATUS(shm_ring_reader_read_wait(waiting, numbers, 8, 5 * MILLISECOND, &done, &lost), SHM_TIMEOUT);
  CHECK_U64(lost, 8);
  CHECK_STATUS(shm_ring_last(ring, numbers, 8, &done), SHM_EMPTY);
  CHECK_STATUS(shm_ring_peek(ring, 0, numbers, 8, &done), SHM_EMPTY);
  lost = 0;
  CHECK_STATUS(shm_ring_pop(ring, numbers, &lost), SHM_LAPPED);
  CHECK_U64(lost, 8);
  CHECK_STATUS(shm_ring_pop_wait(ring, numbers, 0, &lost), SHM_TIMEOUT);
  CHECK_STATUS(shm_ring_pop_bulk(ring, numbers, 8, &done, &lost), SHM_EMPTY);
  CHECK_U64(stats_of(ring).lost, 8);
  push_numbers(ring, 8, 2);
  OK(shm_ring_pop(ring, numbers, &lost));
  CHECK_U64(numbers[0], 8);
  CHECK_U64(lost, 0);
  OK(shm_ring_reader_close(waiting));
  OK(shm_ring_reader_close(reader));
  OK(shm_ring_close(ring));
  OK(shm_segment_close(segment));
}

/* Positions that nobody can have written end in an error or an outcome, never in a fault. */
static void scribbled_words_are_refused(uint32_t flags) {
  static const uint64_t words[] = {1, 7, 9, 1000, UINT64_C(1) << 54, UINT64_C(1) << 55, UINT64_C(1) << 63, UINT64_MAX};
  static const int offsets[] = {128, 136, 256, 264};
  for (size_t at = 0; at < COUNT_OF(offsets); at++) {
    for (size_t w = 0; w < COUNT_OF(words); w++) {
      const char *name = new_name();
      shm_segment *segment = new_segment(name, 1 << 16);
      shm_ring *ring = new_ring(segment, flags, 8, 8), *fresh = NULL;
      shm_ring_reader *reader = new_reader(ring, 0), *second = NULL;
      shm_ring_stats stats;
      shm_entry entry;
      uint64_t *numbers = (uint64_t *)calloc(1 << 16, 8), lost = 0;
      size_t done = 0;
      CHECK(numbers != NULL);
      push_numbers(ring, 0, 8);
      OK(shm_ring_pop(ring, numbers, NULL));
      OK(shm_table_find(segment, "r", &entry));
      int file = open(path_of(name), O_RDWR | O_CLOEXEC);
      CHECK(file >= 0 && pwrite(file, &words[w], 8, (off_t)(entry.offset + (uint64_t)offsets[at])) == 8);
      close(file);
      const size_t many = 1 << 16;
      if (shm_ring_get_stats(ring, &stats) == SHM_OK) CHECK(stats.size <= stats.capacity);
      (void)shm_ring_last(ring, numbers, many, &done);
      (void)shm_ring_peek(ring, 0, numbers, many, &done);
      (void)shm_ring_peek(ring, UINT64_MAX, numbers, many, &done);
      (void)shm_ring_reader_peek(reader, 3, numbers, many, &done);
      (void)shm_ring_reader_read(reader, numbers, many, &done, &lost);
      (void)shm_ring_reader_read_wait(reader, numbers, many, MILLISECOND, &done, &lost);
      (void)shm_ring_reader_skip(reader, UINT64_MAX, &lost);
      (void)shm_ring_reader_seek(reader, words[w]);
      if (shm_ring_reader_open(ring, SHM_RING_OLDEST, &second) == SHM_OK) OK(shm_ring_reader_close(second));
      (void)shm_ring_push_bulk(ring, numbers, 100, &done);
      (void)shm_ring_pop_bulk(ring, numbers, many, &done, &lost);
      (void)shm_ring_skip(ring, UINT64_MAX, &lost);
      OK(shm_ring_close(ring));
      fresh = open_ring(segment); /* its ends begin where the words say */
      (void)shm_ring_push_bulk_wait(fresh, numbers, 100, MILLISECOND, &done);
      (void)shm_ring_pop_bulk_wait(fresh, numbers, many, MILLISECOND, &done, &lost);
      (void)shm_ring_skip(fresh, 5, &lost);
      free(numbers);
      OK(shm_ring_reader_close(reader));
      OK(shm_ring_close(fresh));
      OK(shm_segment_close(segment));
    }
  }
}

static void there_is_one_writer_and_one_consumer(uint32_t flags) {
  const char *name = new_name();
  shm_segment *segment = new_segment(name, 1 << 20), *second = attach(name);
  shm_ring *ring = new_ring(segment, flags, 8, 8), *twin = open_ring(segment), *theirs = open_ring(second);
  uint64_t one = 1, numbers[2] = {1, 2}, skipped = 0;
  size_t done = 0;
  char process[64];
  snprintf(process, sizeof process, "process %ld", (long)getpid());
  OK(shm_ring_push(ring, &one));
  OK(shm_ring_push(ring, &one));
  CHECK_FAILS(shm_ring_push(twin, &one), SHM_ERR_BUSY, "ring 'r' has one writer at a time, and that is another handle");
  CHECK_FAILS(shm_ring_push_wait(theirs, &one, SECOND), SHM_ERR_BUSY, process);
  CHECK_FAILS(shm_ring_push_bulk(theirs, numbers, 2, &done), SHM_ERR_BUSY, "one writer");
  CHECK_FAILS(shm_ring_push_bulk_wait(theirs, numbers, 2, SECOND, &done), SHM_ERR_BUSY, "one writer");
  OK(shm_ring_pop(theirs, &one, NULL));
  CHECK(stats_of(ring).writer != stats_of(ring).consumer);
  CHECK_FAILS(shm_ring_pop(ring, &one, NULL), SHM_ERR_BUSY, "ring 'r' has one consumer at a time");
  CHECK_FAILS(shm_ring_pop_wait(ring, &one, SECOND, NULL), SHM_ERR_BUSY, process);
  CHECK_FAILS(shm_ring_pop_bulk(ring, numbers, 2, &done, NULL), SHM_ERR_BUSY, "one consumer");
  CHECK_FAILS(shm_ring_pop_bulk_wait(ring, numbers, 2, SECOND, &done, NULL), SHM_ERR_BUSY, "one consumer");
  CHECK_FAILS(shm_ring_skip(ring, 1, &skipped), SHM_ERR_BUSY, "one consumer");
  CHECK_FAILS(shm_ring_clear(ring, &skipped), SHM_ERR_BUSY, "one consumer");
  OK(shm_ring_close(ring));
  OK(shm_ring_push(twin, &one));
  OK(shm_ring_close(theirs));
  OK(shm_ring_pop_bulk(twin, numbers, 2, &done, NULL));
  CHECK_U64(done, 2);
  OK(shm_ring_close(twin));
  twin = open_ring(segment);
  CHECK_U64(stats_of(twin).writer, 0);
  CHECK_U64(stats_of(twin).consumer, 0);
  OK(shm_ring_close(twin));
  OK(shm_segment_close(second));
  OK(shm_segment_close(segment));
}

static void bad_input_is_refused_with_a_sentence(void) {
  const char *name = new_name();
  shm_segment *segment = new_segment(name, 1 << 20);
  shm_ring *ring = new_ring(segment, SHM_OVERWRITE, 8, 8), *other = NULL;
  shm_ring_reader *reader = new_reader(ring, 0), *no_reader = NULL;
  shm_ring_options options = shape(SHM_OVERWRITE, 8, 8);
  shm_ring_reader_stats where;
  shm_ring_stats stats;
  uint64_t one = 0, bytes = 0;
  size_t done = 77;

  CHECK_FAILS(shm_ring_options_init(NULL), SHM_ERR_INVALID, "options is NULL");
  CHECK_FAILS(shm_ring_size(NULL, &bytes), SHM_ERR_INVALID, "options is NULL");
  CHECK_FAILS(shm_ring_size(&options, NULL), SHM_ERR_INVALID, "bytes is NULL");
  CHECK_FAILS(shm_ring_create(NULL, "r", &options, &other), SHM_ERR_INVALID, "segment is NULL");
  CHECK_FAILS(shm_ring_create(segment, NULL, &options, &other), SHM_ERR_INVALID, "name is NULL");
  CHECK_FAILS(shm_ring_create(segment, "q", NULL, &other), SHM_ERR_INVALID, "options is NULL");
  CHECK_FAILS(shm_ring_create(segment, "q", &options, NULL), SHM_ERR_INVALID, "out is NULL");
  CHECK_FAILS(shm_ring_open(NULL, "r", NULL, &other), SHM_ERR_INVALID, "segment is NULL");
  CHECK_FAILS(shm_ring_open(segment, NULL, NULL, &other), SHM_ERR_INVALID, "name is NULL");
  CHECK_FAILS(shm_ring_open(segment, "r", NULL, NULL), SHM_ERR_INVALID, "out is NULL");
  CHECK_FAILS(shm_ring_open(segment, "absent", NULL, &other), SHM_ERR_NOT_FOUND, "absent");
  CHECK_FAILS(shm_ring_close(NULL), SHM_ERR_INVALID, "ring is NULL");
  CHECK_FAILS(shm_ring_push(NULL, &one), SHM_ERR_INVALID, "ring is NULL");
  CHECK_FAILS(shm_ring_push(ring, NULL), SHM_ERR_INVALID, "element is NULL");
  CHECK_FAILS(shm_ring_push_wait(NULL, &one, 0), SHM_ERR_INVALID, "ring is NULL");
  CHECK_FAILS(shm_ring_push_wait(ring, NULL, 0), SHM_ERR_INVALID, "element is NULL");
  CHECK_FAILS(shm_ring_push_bulk(NULL, &one, 1, &done), SHM_ERR_INVALID, "ring is NULL");
  CHECK_FAILS(shm_ring_push_bulk(ring, NULL, 1, &done), SHM_ERR_INVALID, "elements is NULL");
  CHECK_FAILS(shm_ring_push_bulk(ring, &one, 1, NULL), SHM_ERR_INVALID, "done is NULL");
  CHECK_FAILS(shm_ring_push_bulk(ring, &one, SIZE_MAX, &done), SHM_ERR_INVALID, "cannot be in memory");
  CHECK_FAILS(shm_ring_push_bulk_wait(NULL, &one, 1, 0, &done), SHM_ERR_INVALID, "ring is NULL");
  CHECK_FAILS(shm_ring_push_bulk_wait(ring, NULL, 1, 0, &done), SHM_ERR_INVALID, "elements is NULL");
  CHECK_FAILS(shm_ring_push_bulk_wait(ring, &one, 1, 0, NULL), SHM_ERR_INVALID, "done is NULL");
  CHECK_FAILS(shm_ring_push_bulk_wait(ring, &one, SIZE_MAX / 8, 0, &done), SHM_ERR_INVALID, "cannot be in memory");
  CHECK_FAILS(shm_ring_pop(NULL, &one, NULL), SHM_ERR_INVALID, "ring is NULL");
  CHECK_FAILS(shm_ring_pop(ring, NULL, NULL), SHM_ERR_INVALID, "element is NULL");
  CHECK_FAILS(shm_ring_pop_wait(NULL, &one, 0, NULL), SHM_ERR_INVALID, "ring is NULL");
  CHECK_FAILS(shm_ring_pop_wait(ring, NULL, 0, NULL), SHM_ERR_INVALID, "element is NULL");
  CHECK_FAILS(shm_ring_pop_bulk(NULL, &one, 1, &done, NULL), SHM_ERR_INVALID, "ring is NULL");
  CHECK_FAILS(shm_ring_pop_bulk(ring, NULL, 1, &done, NULL), SHM_ERR_INVALID, "elements is NULL");
  CHECK_FAILS(shm_ring_pop_bulk(ring, &one, 1, NULL, NULL), SHM_ERR_INVALID, "done is NULL");
  CHECK_FAILS(shm_ring_pop_bulk(ring, &one, SIZE_MAX, &done, NULL), SHM_ERR_INVALID, "cannot be in memory");
  CHECK_FAILS(shm_ring_pop_bulk_wait(NULL, &one, 1, 0, &done, NULL), SHM_ERR_INVALID, "ring is NULL");
  CHECK_FAILS(shm_ring_pop_bulk_wait(ring, NULL, 1, 0, &done, NULL), SHM_ERR_INVALID, "elements is NULL");
  CHECK_FAILS(shm_ring_pop_bulk_wait(ring, &one, 1, 0, NULL, NULL), SHM_ERR_INVALID, "done is NULL");
  CHECK_FAILS(shm_ring_pop_bulk_wait(ring, &one, SIZE_MAX, 0, &done, NULL), SHM_ERR_INVALID, "cannot be in memory");
  CHECK_FAILS(shm_ring_peek(NULL, 0, &one, 1, &done), SHM_ERR_INVALID, "ring is NULL");
  CHECK_FAILS(shm_ring_peek(ring, 0, NULL, 1, &done), SHM_ERR_INVALID, "elements is NULL");
  CHECK_FAILS(shm_ring_peek(ring, 0, &one, 1, NULL), SHM_ERR_INVALID, "done is NULL");
  CHECK_FAILS(shm_ring_peek(ring, 0, &one, SIZE_MAX, &done), SHM_ERR_INVALID, "cannot be in memory");
  CHECK_FAILS(shm_ring_last(NULL, &one, 1, &done), SHM_ERR_INVALID, "ring is NULL");
  CHECK_FAILS(shm_ring_last(ring, NULL, 1, &done), SHM_ERR_INVALID, "elements is NULL");
  CHECK_FAILS(shm_ring_last(ring, &one, 1, NULL), SHM_ERR_INVALID, "done is NULL");
  CHECK_FAILS(shm_ring_last(ring, &one, SIZE_MAX, &done), SHM_ERR_INVALID, "cannot be in memory");
  CHECK_FAILS(shm_ring_skip(NULL, 1, NULL), SHM_ERR_INVALID, "ring is NULL");
  CHECK_FAILS(shm_ring_clear(NULL, NULL), SHM_ERR_INVALID, "ring is NULL");
  CHECK_FAILS(shm_ring_get_stats(NULL, &stats), SHM_ERR_INVALID, "ring is NULL");
  CHECK_FAILS(shm_ring_get_stats(ring, NULL), SHM_ERR_INVALID, "stats is NULL");
  CHECK_FAILS(shm_ring_set_spin(NULL, 0), SHM_ERR_INVALID, "ring is NULL");
  CHECK_FAILS(shm_ring_reader_open(NULL, 0, &no_reader), SHM_ERR_INVALID, "ring is NULL");
  CHECK_FAILS(shm_ring_reader_open(ring, 0, NULL), SHM_ERR_INVALID, "out is NULL");
  CHECK_FAILS(shm_ring_reader_close(NULL), SHM_ERR_INVALID, "reader is NULL");
  CHECK_FAILS(shm_ring_reader_read(NULL, &one, 1, &done, NULL), SHM_ERR_INVALID, "reader is NULL");
  CHECK_FAILS(shm_ring_reader_read(reader, NULL, 1, &done, NULL), SHM_ERR_INVALID, "elements is NULL");
  CHECK_FAILS(shm_ring_reader_read(reader, &one, 1, NULL, NULL), SHM_ERR_INVALID, "done is NULL");
  CHECK_FAILS(shm_ring_reader_read(reader, &one, SIZE_MAX, &done, NULL), SHM_ERR_INVALID, "cannot be in memory");
  CHECK_FAILS(shm_ring_reader_read_wait(NULL, &one, 1, 0, &done, NULL), SHM_ERR_INVALID, "reader is NULL");
  CHECK_FAILS(shm_ring_reader_read_wait(reader, NULL, 1, 0, &done, NULL), SHM_ERR_INVALID, "elements is NULL");
  CHECK_FAILS(shm_ring_reader_read_wait(reader, &one, 1, 0, NULL, NULL), SHM_ERR_INVALID, "done is NULL");
  CHECK_FAILS(shm_ring_reader_read_wait(reader, &one, SIZE_MAX, 0, &done, NULL), SHM_ERR_INVALID, "cannot be");
  CHECK_FAILS(shm_ring_reader_peek(NULL, 0, &one, 1, &done), SHM_ERR_INVALID, "reader is NULL");
  CHECK_FAILS(shm_ring_reader_peek(reader, 0, NULL, 1, &done), SHM_ERR_INVALID, "elements is NULL");
  CHECK_FAILS(shm_ring_reader_peek(reader, 0, &one, 1, NULL), SHM_ERR_INVALID, "done is NULL");
  CHECK_FAILS(shm_ring_reader_peek(reader, 0, &one, SIZE_MAX, &done), SHM_ERR_INVALID, "cannot be in memory");
  CHECK_FAILS(shm_ring_reader_skip(NULL, 1, NULL), SHM_ERR_INVALID, "reader is NULL");
  CHECK_FAILS(shm_ring_reader_seek(NULL, 0), SHM_ERR_INVALID, "reader is NULL");
  CHECK_FAILS(shm_ring_reader_get_stats(NULL, &where), SHM_ERR_INVALID, "reader is NULL");
  CHECK_FAILS(shm_ring_reader_get_stats(reader, NULL), SHM_ERR_INVALID, "stats is NULL");
  CHECK_FAILS(shm_ring_reader_set_spin(NULL, 0), SHM_ERR_INVALID, "reader is NULL");
  CHECK_U64(done, 77); /* a refusal writes nothing */
  CHECK(other == NULL && no_reader == NULL);
  stats = stats_of(ring);
  CHECK_U64(stats.writer + stats.consumer + stats.written, 0);

  options = shape(0, 0, 8);
  CHECK_FAILS(shm_ring_create(segment, "q", &options, &other), SHM_ERR_INVALID, "at least 1 element");
  options = shape(0, 8, 0);
  CHECK_STATUS(shm_ring_create(segment, "q", &options, &other), SHM_ERR_INVALID);
  options = shape(0, UINT64_MAX, 8);
  CHECK_STATUS(shm_ring_size(&options, &bytes), SHM_ERR_INVALID);
  options = shape(0, UINT64_C(1) << 62, 64);
  CHECK_STATUS(shm_ring_size(&options, &bytes), SHM_ERR_INVALID);
  options = shape(0, 8, 8);
  options.elem_align = 3;
  CHECK_STATUS(shm_ring_create(segment, "q", &options, &other), SHM_ERR_INVALID);
  options.elem_align = 8192;
  CHECK_STATUS(shm_ring_create(segment, "q", &options, &other), SHM_ERR_INVALID);
  options = shape(SHM_SPSC, 8, 8);
  CHECK_FAILS(shm_ring_create(segment, "q", &options, &other), SHM_ERR_INVALID, "rings");
  options = shape(0, 8, 8);
  options.reserved = 1;
  CHECK_FAILS(shm_ring_create(segment, "q", &options, &other), SHM_ERR_INVALID, "reserved");
  options = shape(0, 8, 8);
  options.struct_size = 4;
  CHECK_FAILS(shm_ring_create(segment, "q", &options, &other), SHM_ERR_INVALID, "shm_ring_options");
  options = shape(0, 1 << 20, 8);
  CHECK_FAILS(shm_ring_create(segment, "q", &options, &other), SHM_ERR_NO_SPACE, "q");
  OK(shm_ring_reader_close(reader));
  OK(shm_ring_close(ring));
  OK(shm_segment_close(segment));
}

static void what_is_not_the_same_is_a_mismatch(void) {
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_ring_options options = shape(SHM_OVERWRITE, 100, 12);
  shm_ring *ring = NULL, *other = NULL;
  shm_entry entry;
  uint64_t bytes = 0;
  options.type_tag = 7;
  OK(shm_ring_create(segment, "r", &options, &ring));
  OK(shm_ring_size(&options, &bytes));
  OK(shm_table_find(segment, "r", &entry));
  CHECK_U64(entry.kind, SHM_KIND_RING);
  CHECK_U64(entry.flags, SHM_OVERWRITE);
  CHECK_U64(entry.count, 128);
  CHECK_U64(entry.elem_size, 12);
  CHECK_U64(entry.type_tag, 7);
  CHECK(bytes >= entry.size);
  OK(shm_ring_create(segment, "r", &options, &other)); /* the same: opened */
  OK(shm_ring_close(other));
  options.capacity = 0;
  OK(shm_ring_open(segment, "r", &options, &other));
  OK(shm_ring_close(other));
  options.capacity = 100;
  options.flags = SHM_OVERWRITE | SHM_EXCLUSIVE;
  CHECK_FAILS(shm_ring_create(segment, "r", &options, &other), SHM_ERR_EXISTS, "r");
  options.flags = 0;
  CHECK_FAILS(shm_ring_create(segment, "r", &options, &other), SHM_ERR_MISMATCH, "overwrites what is old");
  CHECK_FAILS(shm_ring_open(segment, "r", &options, &other), SHM_ERR_MISMATCH, "waits for its consumer");
  options.flags = SHM_OVERWRITE;
  options.elem_size = 8;
  CHECK_FAILS(shm_ring_open(segment, "r", &options, &other), SHM_ERR_MISMATCH, "of 12 bytes, not of 8");
  options.elem_size = 12;
  options.capacity = 129;
  CHECK_FAILS(shm_ring_open(segment, "r", &options, &other), SHM_ERR_MISMATCH, "'r'");
  options.capacity = 128;
  options.type_tag = 8;
  CHECK_FAILS(shm_ring_open(segment, "r", &options, &other), SHM_ERR_MISMATCH, "'r'");
  options.type_tag = 0;
  options.elem_align = 64;
  CHECK_FAILS(shm_ring_open(segment, "r", &options, &other), SHM_ERR_MISMATCH, "'r'");
  shm_queue *queue = NULL;
  CHECK_FAILS(shm_queue_open(segment, "r", NULL, &queue), SHM_ERR_MISMATCH, "'r'");
  queue = new_queue(segment, "q", 0, 8, 12);
  CHECK_FAILS(shm_ring_open(segment, "q", NULL, &other), SHM_ERR_MISMATCH, "'q'");
  options = shape(0, 8, 12);
  CHECK_FAILS(shm_ring_create(segment, "q", &options, &other), SHM_ERR_MISMATCH, "'q'");
  CHECK(other == NULL || queue != NULL);
  OK(shm_queue_close(queue));
  OK(shm_ring_close(ring));
  OK(shm_segment_close(segment));
}

static void a_read_only_segment_is_for_looking(uint32_t flags) {
  const char *name = new_name();
  shm_segment *segment = new_segment(name, 1 << 20), *looking = attach_to_look(name);
  shm_ring *ring = new_ring(segment, flags, 8, 8), *seen = open_ring(looking);
  shm_ring_reader *reader = new_reader(seen, SHM_RING_OLDEST);
  shm_ring_options options = shape(flags, 8, 8);
  shm_ring *other = NULL;
  uint64_t numbers[20], one = 0, lost = 0;
  size_t done = 0;
  push_numbers(ring, 0, 5);
  CHECK_STATUS(shm_ring_create(looking, "new", &options, &other), SHM_ERR_READ_ONLY);
  CHECK_STATUS(shm_ring_push(seen, &one), SHM_ERR_READ_ONLY);
  CHECK_STATUS(shm_ring_push_wait(seen, &one, SECOND), SHM_ERR_READ_ONLY);
  CHECK_STATUS(shm_ring_push_bulk(seen, numbers, 2, &done), SHM_ERR_READ_ONLY);
  CHECK_STATUS(shm_ring_push_bulk_wait(seen, numbers, 2, SECOND, &done), SHM_ERR_READ_ONLY);
  CHECK_STATUS(shm_ring_pop(seen, &one, &lost), SHM_ERR_READ_ONLY);
  CHECK_STATUS(shm_ring_pop_wait(seen, &one, SECOND, &lost), SHM_ERR_READ_ONLY);
  CHECK_STATUS(shm_ring_pop_bulk(seen, numbers, 2, &done, &lost), SHM_ERR_READ_ONLY);
  CHECK_STATUS(shm_ring_pop_bulk_wait(seen, numbers, 2, SECOND, &done, &lost), SHM_ERR_READ_ONLY);
  CHECK_STATUS(shm_ring_skip(seen, 1, &lost), SHM_ERR_READ_ONLY);
  CHECK_STATUS(shm_ring_clear(seen, &lost), SHM_ERR_READ_ONLY);
  OK(shm_ring_peek(seen, 1, numbers, 20, &done));
  CHECK_U64(done, 4);
  are_numbers(numbers, 1, 4);
  OK(shm_ring_last(seen, numbers, 2, &done));
  CHECK_U64(done, 2);
  are_numbers(numbers, 3, 2);
  CHECK_U64(stats_of(seen).size, 5);
  OK(shm_ring_reader_read_wait(reader, numbers, 20, SECOND, &done, &lost));
  CHECK_U64(done, 5);
  CHECK_STATUS(shm_ring_reader_read_wait(reader, numbers, 20, 3 * MILLISECOND, &done, &lost), SHM_TIMEOUT);
  CHECK_STATUS(shm_ring_reader_read_wait(reader, numbers, 20, 0, &done, &lost), SHM_TIMEOUT);
  OK(shm_ring_close(ring));
  pid_t child = fork_child();
  if (child == 0) {
    shm_segment *mine = attach(name);
    shm_ring *writes = open_ring(mine);
    sleep_ns(30 * MILLISECOND);
    one = 5;
    OK(shm_ring_push(writes, &one));
    _exit(0);
  }
  OK(shm_ring_reader_read_wait(reader, numbers, 20, LONG_ENOUGH, &done, &lost));
  CHECK_U64(done, 1);
  CHECK_U64(numbers[0], 5);
  CHECK_CHILD(child);
  OK(shm_ring_reader_close(reader));
  OK(shm_ring_close(seen));
  OK(shm_segment_close(looking));
  OK(shm_segment_close(segment));
}

static void waits_end_when_their_time_is_over(void) {
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_ring *ring = new_ring(segment, 0, 4, 8);
  shm_ring_reader *reader = new_reader(ring, 0);
  uint64_t numbers[6] = {0, 1, 2, 3, 4, 5}, lost = 99;
  size_t done = 99;
  OK(shm_ring_set_spin(ring, 1000));
  uint64_t start = now_ns();
  CHECK_STATUS(shm_ring_pop_wait(ring, numbers, 20 * MILLISECOND, &lost), SHM_TIMEOUT);
  CHECK(now_ns() - start >= 20 * MILLISECOND);
  CHECK_U64(lost, 0);
  CHECK_STATUS(shm_ring_pop_bulk_wait(ring, numbers, 6, 5 * MILLISECOND, &done, &lost), SHM_TIMEOUT);
  CHECK_U64(done, 0);
  CHECK_STATUS(shm_ring_reader_read_wait(reader, numbers, 6, 5 * MILLISECOND, &done, &lost), SHM_TIMEOUT);
  CHECK_U64(done, 0);
  start = now_ns();
  CHECK_STATUS(shm_ring_push_bulk_wait(ring, numbers, 6, 20 * MILLISECOND, &done), SHM_TIMEOUT);
  CHECK(now_ns() - start >= 20 * MILLISECOND);
  CHECK_U64(done, 4);
  CHECK_STATUS(shm_ring_push_wait(ring, numbers, 5 * MILLISECOND), SHM_TIMEOUT);
  CHECK_STATUS(shm_ring_push_wait(ring, numbers, 0), SHM_TIMEOUT);
  OK(shm_ring_pop_wait(ring, numbers, SHM_FOREVER, &lost));
  OK(shm_ring_push_wait(ring, numbers, SHM_FOREVER));
  OK(shm_ring_pop_bulk_wait(ring, numbers, 6, SHM_FOREVER, &done, NULL));
  CHECK_U64(done, 4);
  OK(shm_ring_push_bulk_wait(ring, numbers, 0, SHM_FOREVER, &done));
  OK(shm_ring_pop_bulk_wait(ring, numbers, 0, SHM_FOREVER, &done, NULL));
  OK(shm_ring_pop_bulk(ring, numbers, 0, &done, NULL));
  OK(shm_ring_push_bulk(ring, numbers, 0, &done));
  OK(shm_ring_reader_read_wait(reader, numbers, 0, SHM_FOREVER, &done, NULL));
  OK(shm_ring_reader_close(reader));
  OK(shm_ring_close(ring));
  OK(shm_segment_close(segment));
}

/* Both sides wait for each other all the time; a ring of two makes sure of that. */
static void sleepers_are_woken_from_another_process(void) {
  enum { COUNT = 2000 };
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_ring *ring = new_ring(segment, 0, 2, 8);
  pid_t child = fork_child();
  if (child == 0) {
    uint64_t numbers[3], got = 0, lost = 0;
    size_t done = 0;
    OK(shm_ring_set_spin(ring, 0));
    while (got < COUNT) {
      OK(shm_ring_pop_bulk_wait(ring, numbers, 3, LONG_ENOUGH, &done, &lost));
      are_numbers(numbers, got, done);
      got += done;
      CHECK_U64(lost, 0);
      if (got % 500 < 2) sleep_ns(MILLISECOND);
    }
    _exit(0);
  }
  shm_ring_reader *reader = NULL;
  pid_t other = fork_child();
  if (other == 0) {
    uint64_t one = 0, next = 0, lost = 0;
    size_t done = 0;
    reader = new_reader(ring, 0);
    OK(shm_ring_reader_set_spin(reader, 0));
    while (next < COUNT) {
      OK(shm_ring_reader_read_wait(reader, &one, 1, LONG_ENOUGH, &done, &lost));
      next += lost;
      CHECK_U64(one, next);
      next++;
    }
    shm_ring_reader_stats stats = reader_stats(reader);
    CHECK_U64(stats.read + stats.lost, COUNT);
    _exit(0);
  }
  OK(shm_ring_set_spin(ring, 0));
  for (uint64_t i = 0; i < COUNT; i++) {
    OK(shm_ring_push_wait(ring, &i, LONG_ENOUGH));
    if (i % 700 == 0) sleep_ns(MILLISECOND);
  }
  CHECK_CHILD(child);
  CHECK_CHILD(other);
  OK(shm_segment_reap(segment, NULL));
  shm_ring_stats stats = stats_of(ring);
  CHECK_U64(stats.written, COUNT);
  CHECK_U64(stats.read, COUNT);
  CHECK_U64(stats.consumer, 0);
  OK(shm_ring_close(ring));
  OK(shm_segment_close(segment));
}

static void the_ends_of_the_dead_are_taken_over(uint32_t flags) {
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_ring *ring = new_ring(segment, flags, 8, 8);
  signal_pipe done = new_pipe();
  uint64_t one = 0, lost = 0;
  pid_t child = fork_child();
  if (child == 0) {
    push_numbers(ring, 0, 6);
    OK(shm_ring_pop(ring, &one, NULL));
    OK(shm_ring_pop(ring, &one, NULL));
    say(done);
    for (;;) pause();
  }
  await(done);
  CHECK_STATUS(shm_ring_push(ring, &one), SHM_ERR_BUSY);
  CHECK_STATUS(shm_ring_pop(ring, &one, NULL), SHM_ERR_BUSY);
  kill_child(child);
  push_numbers(ring, 6, 2);
  for (uint64_t i = 2; i < 8; i++) {
    OK(shm_ring_pop(ring, &one, &lost));
    CHECK_U64(one, i);
    CHECK_U64(lost, 0);
  }
  CHECK_STATUS(shm_ring_pop(ring, &one, &lost), SHM_EMPTY);
  CHECK_U64(stats_of(ring).written, 8);
  CHECK_U64(stats_of(ring).read, 8);
  close_pipe(done);
  OK(shm_ring_close(ring));
  OK(shm_segment_close(segment));
}

int main(void) {
  support_start(100);
  RUN(a_ring_that_waits_loses_nothing);
  RUN(a_ring_that_overwrites_tells_what_is_lost);
  RUN_WITH(elements_wrap, 0);
  RUN_WITH(elements_wrap, SHM_OVERWRITE);
  RUN_WITH(who_looks_on_changes_nothing, 0);
  RUN_WITH(who_looks_on_changes_nothing, SHM_OVERWRITE);
  RUN(readers_have_positions_of_their_own);
  RUN(what_a_writer_is_overwriting_is_lapped);
  RUN_WITH(scribbled_words_are_refused, 0);
  RUN_WITH(scribbled_words_are_refused, SHM_OVERWRITE);
  RUN_WITH(there_is_one_writer_and_one_consumer, 0);
  RUN_WITH(there_is_one_writer_and_one_consumer, SHM_OVERWRITE);
  RUN(bad_input_is_refused_with_a_sentence);
  RUN(what_is_not_the_same_is_a_mismatch);
  RUN_WITH(a_read_only_segment_is_for_looking, 0);
  RUN_WITH(a_read_only_segment_is_for_looking, SHM_OVERWRITE);
  RUN(waits_end_when_their_time_is_over);
  RUN(sleepers_are_woken_from_another_process);
  RUN_WITH(the_ends_of_the_dead_are_taken_over, 0);
  RUN_WITH(the_ends_of_the_dead_are_taken_over, SHM_OVERWRITE);
  return 0;
}
