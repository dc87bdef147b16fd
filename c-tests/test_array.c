/* Arrays and spans: bounds, mismatches, snapshots that are whole, torn or out of time, and what a killed writer leaves. */
#include "support.h"

static shm_array_options shape(uint64_t count, uint64_t elem_size) {
  shm_array_options options;
  OK(shm_array_options_init(&options));
  options.count = count;
  options.elem_size = elem_size;
  return options;
}

static shm_array *new_array(const shm_segment *segment, uint64_t count, uint64_t elem_size) {
  shm_array_options options = shape(count, elem_size);
  shm_array *array = NULL;
  OK(shm_array_create(segment, "a", &options, &array));
  return array;
}

static void elements_are_copied_in_and_out_within_bounds(void) {
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_array *array = new_array(segment, 100, sizeof(uint64_t));
  uint64_t value = 7, range[100], *data = NULL;
  void *address = NULL;
  size_t count = 0, stride = 0;
  OK(shm_array_data(array, &address, &count, &stride));
  data = (uint64_t *)address;
  CHECK_U64(count, 100);
  CHECK_U64(stride, 8);
  for (size_t i = 0; i < 100; i++) CHECK_U64(data[i], 0);
  OK(shm_array_set(array, 99, &value));
  CHECK_U64(data[99], 7);
  data[99] = 8;
  OK(shm_array_get(array, 99, &value));
  CHECK_U64(value, 8);
  CHECK_FAILS(shm_array_get(array, 100, &value), SHM_ERR_INVALID, "array 'a' has 100 elements");
  CHECK_FAILS(shm_array_set(array, SIZE_MAX, &value), SHM_ERR_INVALID, "100 elements");
  CHECK_FAILS(shm_array_load(array, 1, 100, range), SHM_ERR_INVALID, "100 at 1");
  CHECK_FAILS(shm_array_store(array, 100, 1, range), SHM_ERR_INVALID, "1 at 100");
  CHECK_FAILS(shm_array_load(array, 1, SIZE_MAX, range), SHM_ERR_INVALID, "100 elements");
  CHECK_FAILS(shm_array_snapshot(array, 50, 51, range, 0), SHM_ERR_INVALID, "51 at 50");
  OK(shm_array_load(array, 100, 0, range));
  for (size_t i = 0; i < 100; i++) range[i] = i;
  OK(shm_array_store(array, 0, 100, range));
  OK(shm_array_load(array, 40, 2, range));
  CHECK(range[0] == 40 && range[1] == 41 && data[99] == 99);
  OK(shm_array_fill(array, &value));
  for (size_t i = 0; i < 100; i++) CHECK_U64(data[i], 8);
  OK(shm_array_close(array));
  OK(shm_segment_close(segment));
}

static void gaps_between_elements_are_skipped(void) {
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_array_options options = shape(10, 12);
  options.elem_align = 64;
  shm_array *array = NULL;
  char in[24], out[24];
  void *data = NULL;
  size_t count = 0, stride = 0;
  shm_array_stats stats;
  OK(shm_array_create(segment, "a", &options, &array));
  OK(shm_array_data(array, &data, &count, &stride));
  CHECK_U64(stride, 64);
  CHECK_U64((uintptr_t)data % 64, 0);
  for (size_t i = 0; i < sizeof in; i++) in[i] = (char)i;
  OK(shm_array_store(array, 3, 2, in));
  CHECK(memcmp((char *)data + 4 * 64, in + 12, 12) == 0);
  OK(shm_array_load(array, 3, 2, out));
  CHECK(memcmp(in, out, sizeof in) == 0);
  OK(shm_array_get_stats(array, &stats));
  CHECK(stats.count == 10 && stats.elem_size == 12 && stats.stride == 64 && stats.elem_align == 64);
  OK(shm_array_close(array));
  OK(shm_segment_close(segment));
}

static void what_does_not_fit_is_refused_with_a_sentence(void) {
  const char *name = new_name();
  shm_segment *segment = new_segment(name, 1 << 20);
  shm_array *array = new_array(segment, 100, 8), *other = NULL;
  uint64_t bytes = 0, value = 0;
  shm_array_options options = shape(100, 16);
  CHECK_FAILS(shm_array_create(segment, "a", &options, &other), SHM_ERR_MISMATCH, "array 'a' has elements of 8 bytes, not of 16");
  options = shape(99, 8);
  CHECK_FAILS(shm_array_open(segment, "a", &options, &other), SHM_ERR_MISMATCH, "'a'");
  options = shape(100, 8);
  options.type_tag = 5;
  CHECK_FAILS(shm_array_open(segment, "a", &options, &other), SHM_ERR_MISMATCH, "type tag");
  options.flags = SHM_EXCLUSIVE;
  options.type_tag = 0;
  CHECK_FAILS(shm_array_create(segment, "a", &options, &other), SHM_ERR_EXISTS, "'a'");
  options.flags = SHM_SPSC;
  CHECK_FAILS(shm_array_create(segment, "b", &options, &other), SHM_ERR_INVALID, "flag");
  options = shape(0, 8);
  CHECK_FAILS(shm_array_create(segment, "b", &options, &other), SHM_ERR_INVALID, "0 elements");
  CHECK_FAILS(shm_array_size(&options, &bytes), SHM_ERR_INVALID, "0 elements");
  options = shape(UINT64_MAX / 8, 8);
  CHECK_FAILS(shm_array_size(&options, &bytes), SHM_ERR_INVALID, "array");
  CHECK_FAILS(shm_array_open(segment, "none", NULL, &other), SHM_ERR_NOT_FOUND, "none");
  CHECK_FAILS(shm_array_get(NULL, 0, &value), SHM_ERR_INVALID, "array is NULL");
  CHECK_FAILS(shm_array_get(array, 0, NULL), SHM_ERR_INVALID, "element is NULL");
  CHECK_FAILS(shm_array_end_write(array), SHM_ERR_INVALID, "not writing");
  CHECK(other == NULL);
  options = shape(100, 8);
  OK(shm_array_size(&options, &bytes));
  CHECK(bytes >= 800 && bytes <= 1200);

  shm_segment *looking = NULL;
  shm_segment_options read_only;
  OK(shm_segment_options_init(&read_only));
  read_only.flags = SHM_READ_ONLY;
  OK(shm_segment_open(name, &read_only, &looking));
  OK(shm_array_open(looking, "a", NULL, &other));
  OK(shm_array_get(other, 0, &value));
  OK(shm_array_snapshot(other, 0, 1, &value, SECOND));
  CHECK_STATUS(shm_array_set(other, 0, &value), SHM_ERR_READ_ONLY);
  CHECK_STATUS(shm_array_fill(other, &value), SHM_ERR_READ_ONLY);
  CHECK_STATUS(shm_array_begin_write(other), SHM_ERR_READ_ONLY);
  OK(shm_array_close(other));
  OK(shm_segment_close(looking));
  OK(shm_array_close(array));
  OK(shm_segment_close(segment));
}

enum { WIDE = 200 };

static void snapshots_are_of_one_moment(void) {
  const char *name = new_name();
  shm_segment *segment = new_segment(name, 1 << 20);
  shm_array *array = new_array(segment, WIDE, 8);
  pid_t child = fork_child();
  if (child == 0) {
    for (uint64_t round = 1; round <= 3000; round++) {
      OK(shm_array_begin_write(array));
      OK(shm_array_fill(array, &round));
      OK(shm_array_end_write(array));
    }
    _exit(0);
  }
  uint64_t copy[WIDE], last = 0, whole = 0;
  while (last < 3000) {
    shm_status status = shm_array_snapshot(array, 0, WIDE, copy, LONG_ENOUGH);
    CHECK_STATUS(status, SHM_OK);
    for (size_t i = 1; i < WIDE; i++) CHECK_U64(copy[i], copy[0]);
    CHECK(copy[0] >= last);
    last = copy[0];
    whole++;
  }
  CHECK_CHILD(child);
  CHECK(whole > 0);
  shm_array_stats stats;
  OK(shm_array_get_stats(array, &stats));
  CHECK_U64(stats.writings, 3000);
  CHECK_U64(stats.unfinished, 0);
  OK(shm_array_close(array));
  OK(shm_segment_close(segment));
}

static void a_living_writer_is_waited_for_and_a_killed_one_leaves_it_torn(void) {
  const char *name = new_name();
  shm_segment *segment = new_segment(name, 1 << 20);
  shm_array *array = new_array(segment, WIDE, 8);
  signal_pipe inside = new_pipe();
  uint64_t copy[WIDE], value = 3;
  shm_array_stats stats;
  pid_t child = fork_child();
  if (child == 0) {
    OK(shm_array_begin_write(array));
    OK(shm_array_store(array, 0, 1, &value));
    say(inside);
    for (;;) pause();
  }
  await(inside);
  CHECK_STATUS(shm_array_snapshot(array, 0, WIDE, copy, 20 * MILLISECOND), SHM_TIMEOUT);
  CHECK_FAILS(shm_array_begin_write(array), SHM_ERR_BUSY, "array 'a' is being written by participant");
  CHECK_FAILS(shm_array_end_write(array), SHM_ERR_INVALID, "not writing");
  kill_child(child);
  CHECK_STATUS(shm_array_snapshot(array, 0, WIDE, copy, LONG_ENOUGH), SHM_TORN);
  OK(shm_array_get_stats(array, &stats));
  CHECK_U64(stats.unfinished, 1);
  CHECK_U64(stats.writings, 0);
  OK(shm_array_get(array, 0, &value));
  CHECK_U64(value, 3);
  value = 4;
  OK(shm_array_begin_write(array));
  CHECK_STATUS(shm_array_begin_write(array), SHM_ERR_BUSY);
  OK(shm_array_fill(array, &value));
  OK(shm_array_end_write(array));
  OK(shm_array_snapshot(array, 0, WIDE, copy, 0));
  CHECK(copy[0] == 4 && copy[WIDE - 1] == 4);
  OK(shm_array_get_stats(array, &stats));
  CHECK_U64(stats.unfinished, 0);
  CHECK_U64(stats.writings, 1);
  OK(shm_array_begin_write(array));
  OK(shm_array_abandon_write(array));
  CHECK_FAILS(shm_array_abandon_write(array), SHM_ERR_INVALID, "not writing array 'a'");
  CHECK_STATUS(shm_array_snapshot(array, 0, WIDE, copy, LONG_ENOUGH), SHM_TORN);
  OK(shm_array_begin_write(array));
  OK(shm_array_end_write(array));
  OK(shm_array_snapshot(array, 0, WIDE, copy, 0));
  CHECK_STATUS(shm_array_abandon_write(NULL), SHM_ERR_INVALID);
  close_pipe(inside);
  OK(shm_array_close(array));
  OK(shm_segment_close(segment));
}

static void a_span_is_memory_with_a_name(void) {
  const char *name = new_name();
  shm_segment *segment = new_segment(name, 1 << 20);
  shm_span *span = NULL, *other = NULL;
  void *data = NULL;
  size_t bytes = 0;
  uint64_t taken = 0;
  OK(shm_span_create(segment, "s", 1000, 4096, 0, &span));
  OK(shm_span_data(span, &data, &bytes));
  CHECK_U64(bytes, 1000);
  CHECK_U64((uintptr_t)data % 4096, 0);
  for (size_t i = 0; i < bytes; i++) CHECK(((char *)data)[i] == 0);
  CHECK_FAILS(shm_span_create(segment, "s", 1001, 0, 0, &other), SHM_ERR_MISMATCH, "span 's'");
  CHECK_FAILS(shm_span_create(segment, "s", 1000, 0, SHM_EXCLUSIVE, &other), SHM_ERR_EXISTS, "'s'");
  CHECK_FAILS(shm_span_create(segment, "t", 0, 0, 0, &other), SHM_ERR_INVALID, "0 bytes");
  CHECK_FAILS(shm_span_create(segment, "t", 1, 3, 0, &other), SHM_ERR_INVALID, "alignment");
  CHECK_FAILS(shm_span_open(segment, "t", &other), SHM_ERR_NOT_FOUND, "t");
  CHECK_FAILS(shm_span_data(span, &data, NULL), SHM_ERR_INVALID, "bytes is NULL");
  OK(shm_span_size(1000, 0, &taken));
  CHECK(taken >= 1000 && taken <= 1024);
  pid_t child = fork_child();
  if (child == 0) {
    shm_segment *mine = attach(name);
    OK(shm_span_open(mine, "s", &other));
    OK(shm_span_data(other, &data, &bytes));
    strcpy((char *)data + 990, "hello");
    _exit(0);
  }
  CHECK_CHILD(child);
  CHECK(strcmp((char *)data + 990, "hello") == 0);
  OK(shm_span_close(span));
  OK(shm_segment_close(segment));
}

/* The span and the entry that a structure hands out agree with the table, and with the segment's own span. */
#define CHECK_SHOWS(noun, handle, its_name)                                                \
  do {                                                                                     \
    void *data_ = NULL, *base_ = NULL;                                                     \
    size_t bytes_ = 0, all_ = 0;                                                           \
    shm_entry told_, found_;                                                               \
    OK(shm_segment_span(segment, &base_, &all_));                                          \
    OK(shm_##noun##_span(handle, &data_, &bytes_));                                        \
    OK(shm_##noun##_entry(handle, &told_));                                                \
    OK(shm_table_find(segment, its_name, &found_));                                        \
    CHECK_U64(bytes_, found_.size);                                                        \
    CHECK_U64((uint64_t)((char *)data_ - (char *)base_), found_.offset);                   \
    CHECK(told_.offset == found_.offset && told_.kind == found_.kind && all_ == 1 << 20);  \
    CHECK(strcmp(told_.name, its_name) == 0);                                              \
    CHECK_FAILS(shm_##noun##_span(NULL, &data_, &bytes_), SHM_ERR_INVALID, " is NULL");    \
    CHECK_FAILS(shm_##noun##_span(handle, NULL, &bytes_), SHM_ERR_INVALID, "data is NULL"); \
    CHECK_FAILS(shm_##noun##_span(handle, &data_, NULL), SHM_ERR_INVALID, "bytes is NULL"); \
    CHECK_FAILS(shm_##noun##_entry(handle, NULL), SHM_ERR_INVALID, "out is NULL");         \
    CHECK_FAILS(shm_##noun##_entry(NULL, &told_), SHM_ERR_INVALID, " is NULL");            \
    OK(shm_##noun##_close(handle));                                                        \
  } while (0)

#define shm_span_span shm_span_data

static void every_structure_shows_its_bytes(void) {
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_array *array = new_array(segment, 100, 8);
  shm_queue *queue = new_queue(segment, "q", 0, 16, 8);
  shm_span *span = NULL;
  shm_atomic *atomic = NULL;
  shm_pool *pool = NULL;
  shm_atomic_value value;
  shm_pool_options options;
  value.i32 = 7;
  OK(shm_span_create(segment, "s", 1000, 0, 0, &span));
  OK(shm_atomic_create(segment, "x", SHM_ATOMIC_I32, value, 0, &atomic));
  OK(shm_pool_options_init(&options));
  options.capacity = 5;
  options.elem_size = 24;
  OK(shm_pool_create(segment, "p", &options, &pool));
  uint32_t removed = 0;
  CHECK_SHOWS(array, array, "a");
  CHECK_SHOWS(queue, queue, "q");
  CHECK_SHOWS(span, span, "s");
  CHECK_SHOWS(atomic, atomic, "x");
  CHECK_SHOWS(pool, pool, "p");
  OK(shm_table_remove_all(segment, &removed));
  CHECK_U64(removed, 5);
  OK(shm_table_remove_all(segment, NULL));
  CHECK_STATUS(shm_table_remove_all(NULL, &removed), SHM_ERR_INVALID);
  OK(shm_segment_close(segment));
}

int main(void) {
  support_start(60);
  RUN(elements_are_copied_in_and_out_within_bounds);
  RUN(gaps_between_elements_are_skipped);
  RUN(what_does_not_fit_is_refused_with_a_sentence);
  RUN(snapshots_are_of_one_moment);
  RUN(a_living_writer_is_waited_for_and_a_killed_one_leaves_it_torn);
  RUN(a_span_is_memory_with_a_name);
  RUN(every_structure_shows_its_bytes);
  return 0;
}
