/* Byte queues: messages and bytes arrive whole and in order, wrong calls are refused, and the dead have successors. */
#include "support.h"

#define PAGE 4096u
#define HEADER 16u /* of a message aligned to 8, without times */

static shm_byte_queue_options shape(uint32_t flags, uint64_t capacity) {
  shm_byte_queue_options options;
  OK(shm_byte_queue_options_init(&options));
  options.flags = flags;
  options.capacity = capacity;
  return options;
}

static shm_byte_queue *new_bytes(const shm_segment *segment, uint32_t flags, uint64_t capacity) {
  shm_byte_queue_options options = shape(flags, capacity);
  shm_byte_queue *queue = NULL;
  OK(shm_byte_queue_create(segment, "b", &options, &queue));
  return queue;
}

static shm_byte_queue *open_bytes(const shm_segment *segment) {
  shm_byte_queue *queue = NULL;
  OK(shm_byte_queue_open(segment, "b", NULL, &queue));
  return queue;
}

static shm_byte_queue_stats stats_of(const shm_byte_queue *queue) {
  shm_byte_queue_stats stats;
  OK(shm_byte_queue_get_stats(queue, &stats));
  return stats;
}

static unsigned char pattern(uint64_t seed, uint64_t i) { return (unsigned char)(seed * 31 + i * 7 + (i >> 8)); }

static void fill(void *data, uint64_t length, uint64_t seed) {
  for (uint64_t i = 0; i < length; i++) ((unsigned char *)data)[i] = pattern(seed, i);
}

static void check_filled(const void *data, uint64_t length, uint64_t seed) {
  for (uint64_t i = 0; i < length; i++) {
    if (((const unsigned char *)data)[i] != pattern(seed, i)) FAIL("byte %" PRIu64 " of %" PRIu64 " is wrong", i, length);
  }
}

static void send_text(const shm_byte_queue *queue, const char *text, uint64_t tag) {
  OK(shm_byte_queue_send(queue, text, strlen(text), tag));
}

static void check_text(const shm_message *message, const char *text, uint64_t tag) {
  CHECK_U64(message->length, strlen(text));
  CHECK(memcmp(message->data, text, strlen(text)) == 0);
  CHECK_U64(message->tag, tag);
}

static void messages_arrive_whole_and_in_order(void) {
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_byte_queue *queue = new_bytes(segment, 0, 4000);
  shm_message message;
  CHECK_STATUS(shm_byte_queue_receive(queue, &message), SHM_EMPTY);
  send_text(queue, "one", 1);
  OK(shm_byte_queue_send(queue, NULL, 0, UINT64_MAX));
  send_text(queue, "three", 3);
  OK(shm_byte_queue_receive(queue, &message));
  check_text(&message, "one", 1);
  CHECK_U64(message.time_ns, 0);
  CHECK_U64((uintptr_t)message.data % 8, 0);
  OK(shm_byte_queue_release(queue));
  OK(shm_byte_queue_receive(queue, &message));
  check_text(&message, "", UINT64_MAX);
  OK(shm_byte_queue_receive(queue, &message)); /* the one before is held still */
  check_text(&message, "three", 3);
  CHECK_STATUS(shm_byte_queue_receive(queue, &message), SHM_EMPTY);
  CHECK_U64(stats_of(queue).received, 1);
  OK(shm_byte_queue_release(queue));

  shm_byte_queue_stats stats = stats_of(queue);
  CHECK_U64(stats.capacity, PAGE);
  CHECK_U64(stats.longest, PAGE - HEADER);
  CHECK_U64(stats.used, 0);
  CHECK_U64(stats.room, stats.longest);
  CHECK_U64(stats.sent, 3);
  CHECK_U64(stats.received, 3);
  CHECK_U64(stats.bytes_sent, 3 * HEADER + 8 + 8);
  CHECK_U64(stats.bytes_received, stats.bytes_sent);
  CHECK_U64(stats.full, 0);
  CHECK_U64(stats.empty, 2);
  CHECK_U64(stats.high_water, stats.bytes_sent);
  CHECK_U64(stats.align, 8);
  CHECK_U64(stats.flags, 0);
  CHECK_U64(stats.ended, 0);
  CHECK_U64(stats.producer, stats.consumer);
  CHECK(stats.producer != 0);

  void *data = NULL;
  size_t bytes = 0;
  shm_entry entry;
  OK(shm_byte_queue_span(queue, &data, &bytes));
  OK(shm_byte_queue_entry(queue, &entry));
  CHECK_U64(bytes, 2 * PAGE);
  CHECK_U64(entry.size, bytes);
  CHECK_U64(entry.kind, SHM_KIND_BYTE_QUEUE);
  CHECK(strcmp(entry.name, "b") == 0 && memcmp((char *)data + PAGE + HEADER, "one", 3) == 0);
  OK(shm_byte_queue_close(queue));
  OK(shm_segment_close(segment));
}

/* Every length, at every place a message can begin at, in a buffer of a page. */
static void messages_wrap_around_at_every_place(uint32_t align) {
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_byte_queue_options options = shape(SHM_TIMES, 1);
  options.align = align;
  shm_byte_queue *queue = NULL;
  OK(shm_byte_queue_create(segment, "b", &options, &queue));
  const uint64_t longest = stats_of(queue).longest;
  CHECK_U64(longest, PAGE - (24 + align - 1) / align * align);
  static unsigned char buffer[PAGE];
  uint64_t before = 0;
  for (uint64_t place = 0; place < PAGE; place += align) {
    const uint64_t lengths[] = {longest, 0, 1, place % (longest + 1), longest - place % 64};
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
      const uint64_t length = lengths[i];
      shm_message message;
      fill(buffer, length, place + i);
      OK(shm_byte_queue_send(queue, buffer, length, place));
      if (length == longest) CHECK_STATUS(shm_byte_queue_send(queue, buffer, 0, 0), SHM_FULL);
      OK(shm_byte_queue_receive(queue, &message));
      CHECK_U64(message.length, length);
      CHECK_U64(message.tag, place);
      CHECK_U64((uintptr_t)message.data % align, 0);
      CHECK(message.time_ns >= before && message.time_ns <= now_ns());
      before = message.time_ns;
      check_filled(message.data, length, place + i);
      OK(shm_byte_queue_release(queue));
    }
    /* On to the next place: a message of one step less than all, and its like. */
    OK(shm_byte_queue_send(queue, buffer, longest - align, 0));
    OK(shm_byte_queue_receive_into(queue, buffer, sizeof buffer, &before, NULL));
    CHECK_U64(before, longest - align);
    before = 0;
  }
  OK(shm_byte_queue_close(queue));
  OK(shm_segment_close(segment));
}

static void what_is_reserved_is_filled_in_place(void) {
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_byte_queue *queue = new_bytes(segment, 0, 4000);
  void *data = NULL, *again = NULL;
  shm_message message;
  CHECK_FAILS(shm_byte_queue_commit(queue, 0, 0), SHM_ERR_INVALID, "not reserved by this handle");
  CHECK_FAILS(shm_byte_queue_abort(queue), SHM_ERR_INVALID, "nothing of byte queue 'b' is reserved");
  OK(shm_byte_queue_reserve(queue, 100, &data));
  fill(data, 100, 5);
  CHECK_FAILS(shm_byte_queue_commit(queue, 101, 0), SHM_ERR_INVALID, "101 bytes");
  CHECK_FAILS(shm_byte_queue_commit(queue, UINT64_MAX, 0), SHM_ERR_INVALID, "not reserved");
  CHECK_STATUS(shm_byte_queue_receive(queue, &message), SHM_EMPTY);
  OK(shm_byte_queue_commit(queue, 70, 9));
  CHECK_FAILS(shm_byte_queue_commit(queue, 0, 0), SHM_ERR_INVALID, "not reserved");
  OK(shm_byte_queue_receive(queue, &message));
  CHECK_U64(message.length, 70);
  CHECK_U64(message.tag, 9);
  check_filled(message.data, 70, 5);
  OK(shm_byte_queue_release(queue));

  OK(shm_byte_queue_reserve(queue, 10, &data));
  OK(shm_byte_queue_abort(queue));
  CHECK_FAILS(shm_byte_queue_commit(queue, 10, 0), SHM_ERR_INVALID, "not reserved");
  OK(shm_byte_queue_reserve(queue, 4000, &again));
  CHECK(again == data);
  send_text(queue, "instead", 1); /* gives up what was reserved */
  CHECK_FAILS(shm_byte_queue_commit(queue, 10, 0), SHM_ERR_INVALID, "not reserved");
  OK(shm_byte_queue_reserve(queue, 0, &data));
  OK(shm_byte_queue_commit(queue, 0, 2));
  OK(shm_byte_queue_receive(queue, &message));
  check_text(&message, "instead", 1);
  OK(shm_byte_queue_receive(queue, &message));
  check_text(&message, "", 2);
  OK(shm_byte_queue_release(queue));
  CHECK_U64(stats_of(queue).sent, 3);
  OK(shm_byte_queue_close(queue));
  OK(shm_segment_close(segment));
}

static void batches_are_given_back_at_once(void) {
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_byte_queue *queue = new_bytes(segment, 0, 4000);
  shm_message messages[10];
  size_t done = 77;
  CHECK_STATUS(shm_byte_queue_receive_batch(queue, messages, 10, &done), SHM_EMPTY);
  CHECK_U64(done, 0);
  OK(shm_byte_queue_receive_batch(queue, messages, 0, &done));
  CHECK_FAILS(shm_byte_queue_release(queue), SHM_ERR_INVALID, "no message of byte queue 'b' is held");
  for (uint64_t i = 0; i < 7; i++) OK(shm_byte_queue_send(queue, &i, sizeof i, i));
  OK(shm_byte_queue_receive_batch(queue, messages, 5, &done));
  CHECK_U64(done, 5);
  OK(shm_byte_queue_receive_batch_wait(queue, messages + 5, 5, SECOND, &done));
  CHECK_U64(done, 2);
  for (uint64_t i = 0; i < 7; i++) {
    CHECK_U64(messages[i].tag, i);
    CHECK(memcmp(messages[i].data, &i, sizeof i) == 0);
  }
  CHECK_U64(stats_of(queue).used, 7 * (HEADER + 8));

  /* What is copied out meanwhile is not given back before them. */
  uint64_t length = 0, tag = 0, value = 8;
  OK(shm_byte_queue_send(queue, &value, sizeof value, 8));
  OK(shm_byte_queue_receive_into(queue, &value, sizeof value, &length, &tag));
  CHECK_U64(stats_of(queue).used, 8 * (HEADER + 8));
  OK(shm_byte_queue_release(queue));
  CHECK_U64(stats_of(queue).used, 0);
  CHECK_U64(stats_of(queue).received, 8);
  CHECK_FAILS(shm_byte_queue_release(queue), SHM_ERR_INVALID, "is held by this handle");
  CHECK_STATUS(shm_byte_queue_receive_batch_wait(queue, messages, 5, MILLISECOND, &done), SHM_TIMEOUT);
  CHECK_U64(done, 0);
  CHECK_FAILS(shm_byte_queue_receive_batch(queue, messages, SIZE_MAX, &done), SHM_ERR_INVALID, "cannot be in memory");
  OK(shm_byte_queue_close(queue));
  OK(shm_segment_close(segment));
}

static void a_message_too_long_for_the_buffer_stays(void) {
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_byte_queue *queue = new_bytes(segment, 0, 4000);
  char buffer[16] = "untouched";
  uint64_t length = 99, tag = 99;
  CHECK_STATUS(shm_byte_queue_receive_into(queue, buffer, sizeof buffer, &length, &tag), SHM_EMPTY);
  CHECK_U64(length, 99);
  send_text(queue, "twelve bytes", 4);
  CHECK_FAILS(shm_byte_queue_receive_into(queue, buffer, 11, &length, &tag), SHM_ERR_INVALID,
              "'b' has 12 bytes; the buffer has 11");
  CHECK_U64(length, 12);
  CHECK_U64(tag, 99);
  CHECK(strcmp(buffer, "untouched") == 0);
  length = 0;
  CHECK_FAILS(shm_byte_queue_receive_into(queue, NULL, 0, &length, NULL), SHM_ERR_INVALID, "the buffer has 0");
  CHECK_U64(length, 12);
  OK(shm_byte_queue_receive_into(queue, buffer, 12, &length, &tag));
  CHECK_U64(tag, 4);
  CHECK(memcmp(buffer, "twelve bytes", 12) == 0);
  CHECK_STATUS(shm_byte_queue_receive_into(queue, buffer, 12, &length, NULL), SHM_EMPTY);
  OK(shm_byte_queue_close(queue));
  OK(shm_segment_close(segment));
}

/* Steps of every length over the end of the buffer, always in one piece. */
static void a_stream_has_no_borders(void) {
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_byte_queue *queue = new_bytes(segment, SHM_STREAM, PAGE - 5);
  void *data = NULL;
  const void *shown = NULL;
  uint64_t there = 0, position = 0, used = 0, room = 0;
  CHECK_U64(stats_of(queue).capacity, PAGE);
  CHECK_U64(stats_of(queue).longest, PAGE);
  CHECK_U64(stats_of(queue).flags, SHM_STREAM);
  CHECK_U64(stats_of(queue).align, 0);
  CHECK_STATUS(shm_byte_queue_peek(queue, 1, &shown, &there), SHM_EMPTY);
  for (uint64_t step = 1; step <= PAGE; step += step < 64 ? 1 : 61) {
    OK(shm_byte_queue_reserve(queue, step, &data));
    fill(data, step, step);
    CHECK_FAILS(shm_byte_queue_commit(queue, step + 1, 0), SHM_ERR_INVALID, "not reserved");
    OK(shm_byte_queue_commit(queue, step, 0));
    OK(shm_byte_queue_available(queue, &used, &room));
    CHECK_U64(used, step);
    CHECK_U64(room, PAGE - step);
    OK(shm_byte_queue_peek(queue, step, &shown, &there));
    CHECK_U64(there, step);
    check_filled(shown, step, step);
    CHECK_FAILS(shm_byte_queue_consume(queue, step + 1), SHM_ERR_INVALID, "has not shown this handle");
    OK(shm_byte_queue_consume(queue, step));
    CHECK_FAILS(shm_byte_queue_consume(queue, 1), SHM_ERR_INVALID, "has not shown this handle 1 bytes");
    position += step;
  }
  CHECK_U64(stats_of(queue).bytes_received, position);
  /* From every place on, all of it. */
  for (uint64_t place = 0; place < 70; place++) {
    OK(shm_byte_queue_reserve(queue, PAGE, &data));
    fill(data, PAGE, place);
    OK(shm_byte_queue_commit(queue, PAGE, 0));
    CHECK_STATUS(shm_byte_queue_reserve(queue, 1, &data), SHM_FULL);
    OK(shm_byte_queue_peek(queue, 1, &shown, &there));
    CHECK_U64(there, PAGE);
    check_filled(shown, PAGE, place);
    OK(shm_byte_queue_consume(queue, PAGE - 1));
    OK(shm_byte_queue_consume(queue, 1));
    OK(shm_byte_queue_reserve(queue, 61, &data));
    OK(shm_byte_queue_commit(queue, 61, 0));
    OK(shm_byte_queue_peek(queue, 61, &shown, &there));
    OK(shm_byte_queue_consume(queue, 61));
  }
  OK(shm_byte_queue_reserve(queue, 10, &data));
  OK(shm_byte_queue_commit(queue, 0, 0));
  CHECK_STATUS(shm_byte_queue_peek(queue, 1, &shown, &there), SHM_EMPTY);

  shm_message message;
  size_t done = 0;
  CHECK_FAILS(shm_byte_queue_send(queue, "x", 1, 0), SHM_ERR_INVALID, "bytes without borders, not messages");
  CHECK_FAILS(shm_byte_queue_receive(queue, &message), SHM_ERR_INVALID, "not messages");
  CHECK_FAILS(shm_byte_queue_receive_batch(queue, &message, 1, &done), SHM_ERR_INVALID, "not messages");
  CHECK_FAILS(shm_byte_queue_receive_into(queue, &done, 8, &there, NULL), SHM_ERR_INVALID, "not messages");
  CHECK_FAILS(shm_byte_queue_release(queue), SHM_ERR_INVALID, "not messages");
  CHECK_FAILS(shm_byte_queue_reserve(queue, 0, &data), SHM_ERR_INVALID, "at least 1 byte");
  CHECK_FAILS(shm_byte_queue_peek(queue, 0, &shown, &there), SHM_ERR_INVALID, "at least 1 byte");
  CHECK_FAILS(shm_byte_queue_reserve(queue, PAGE + 1, &data), SHM_ERR_INVALID, "4097 bytes never fit into byte queue 'b'");
  CHECK_FAILS(shm_byte_queue_peek(queue, UINT64_MAX, &shown, &there), SHM_ERR_INVALID, "never fit");
  OK(shm_byte_queue_close(queue));
  OK(shm_segment_close(segment));
}

static void what_cannot_be_is_refused_with_a_sentence(void) {
  const char *name = new_name();
  shm_segment *segment = new_segment(name, 1 << 20);
  shm_byte_queue_options options = shape(0, 100);
  shm_byte_queue *queue = NULL, *other = NULL;
  uint64_t bytes = 0;

  CHECK_FAILS(shm_byte_queue_options_init(NULL), SHM_ERR_INVALID, "options is NULL");
  OK(shm_byte_queue_size(&options, &bytes));
  CHECK(bytes >= 2 * PAGE && bytes <= 3 * PAGE);
  CHECK_FAILS(shm_byte_queue_size(NULL, &bytes), SHM_ERR_INVALID, "shm_byte_queue_options is NULL");
  CHECK_FAILS(shm_byte_queue_size(&options, NULL), SHM_ERR_INVALID, "bytes is NULL");

  options.capacity = 0;
  CHECK_FAILS(shm_byte_queue_create(segment, "b", &options, &queue), SHM_ERR_INVALID, "at least 1 byte");
  options.capacity = UINT64_MAX;
  CHECK_FAILS(shm_byte_queue_create(segment, "b", &options, &queue), SHM_ERR_INVALID, "can address");
  CHECK_FAILS(shm_byte_queue_size(&options, &bytes), SHM_ERR_INVALID, "can address");
  options.capacity = UINT64_C(1) << 60;
  CHECK_FAILS(shm_byte_queue_create(segment, "b", &options, &queue), SHM_ERR_NO_SPACE, "b");
  options.capacity = 1 << 20;
  CHECK_FAILS(shm_byte_queue_create(segment, "b", &options, &queue), SHM_ERR_NO_SPACE, "b");
  options.capacity = 100;
  const uint32_t wrong[] = {1, 4, 7, 24, 128, UINT32_MAX};
  for (size_t i = 0; i < COUNT_OF(wrong); i++) {
    options.align = wrong[i];
    CHECK_FAILS(shm_byte_queue_create(segment, "b", &options, &queue), SHM_ERR_INVALID, "8, 16, 32 and 64");
  }
  options.align = 8;
  options.flags = SHM_STREAM;
  CHECK_FAILS(shm_byte_queue_create(segment, "b", &options, &queue), SHM_ERR_INVALID, "nor an alignment");
  options.align = 0;
  options.flags = SHM_STREAM | SHM_TIMES;
  CHECK_FAILS(shm_byte_queue_create(segment, "b", &options, &queue), SHM_ERR_INVALID, "neither times");
  options.flags = SHM_SPSC;
  CHECK_FAILS(shm_byte_queue_create(segment, "b", &options, &queue), SHM_ERR_INVALID, "byte queues have no flag 0x100");
  options = shape(0, 100);
  options.reserved = 1;
  CHECK_FAILS(shm_byte_queue_create(segment, "b", &options, &queue), SHM_ERR_INVALID, "reserved is 1");
  options = shape(0, 100);
  options.struct_size = 3;
  CHECK_FAILS(shm_byte_queue_create(segment, "b", &options, &queue), SHM_ERR_INVALID, "says it has 3 bytes");
  options = shape(0, 100);
  CHECK_FAILS(shm_byte_queue_create(NULL, "b", &options, &queue), SHM_ERR_INVALID, "segment is NULL");
  CHECK_FAILS(shm_byte_queue_create(segment, NULL, &options, &queue), SHM_ERR_INVALID, "name is NULL");
  CHECK_FAILS(shm_byte_queue_create(segment, "b", NULL, &queue), SHM_ERR_INVALID, "options is NULL");
  CHECK_FAILS(shm_byte_queue_create(segment, "b", &options, NULL), SHM_ERR_INVALID, "out is NULL");
  CHECK_FAILS(shm_byte_queue_open(segment, "b", NULL, &queue), SHM_ERR_NOT_FOUND, "'b'");
  CHECK_FAILS(shm_byte_queue_open(NULL, "b", NULL, &queue), SHM_ERR_INVALID, "segment is NULL");
  CHECK_FAILS(shm_byte_queue_open(segment, "b", NULL, NULL), SHM_ERR_INVALID, "out is NULL");
  CHECK(queue == NULL);

  /* What is there already. */
  options.type_tag = 6;
  OK(shm_byte_queue_create(segment, "b", &options, &queue));
  OK(shm_byte_queue_create(segment, "b", &options, &other));
  OK(shm_byte_queue_close(other));
  options.flags = SHM_EXCLUSIVE;
  CHECK_FAILS(shm_byte_queue_create(segment, "b", &options, &other), SHM_ERR_EXISTS, "'b'");
  options.flags = 0;
  options.capacity = 0;
  OK(shm_byte_queue_open(segment, "b", &options, &other));
  OK(shm_byte_queue_close(other));
  options.type_tag = 7;
  CHECK_FAILS(shm_byte_queue_open(segment, "b", &options, &other), SHM_ERR_MISMATCH, "'b'");
  options = shape(0, PAGE);
  CHECK_FAILS(shm_byte_queue_open(segment, "b", &options, &other), SHM_ERR_MISMATCH, "a buffer of 4096 bytes");
  options = shape(SHM_STREAM, 100);
  CHECK_FAILS(shm_byte_queue_create(segment, "b", &options, &other), SHM_ERR_MISMATCH,
              "messages aligned to 8, not bytes without borders");
  options = shape(SHM_TIMES, 100);
  CHECK_FAILS(shm_byte_queue_create(segment, "b", &options, &other), SHM_ERR_MISMATCH, "not messages with times");
  options = shape(0, 100);
  options.align = 64;
  CHECK_FAILS(shm_byte_queue_create(segment, "b", &options, &other), SHM_ERR_MISMATCH, "not messages aligned to 64");
  shm_queue *elements = new_queue(segment, "q", 0, 4, 8);
  options = shape(0, 100);
  CHECK_FAILS(shm_byte_queue_open(segment, "q", &options, &other), SHM_ERR_MISMATCH, "byte queue");
  CHECK_FAILS(shm_byte_queue_create(segment, "q", &options, &other), SHM_ERR_MISMATCH, "byte queue");
  OK(shm_queue_close(elements));

  /* Handles and places that are not there; lengths that cannot be. */
  void *data = NULL;
  const void *shown = NULL;
  shm_message message;
  size_t done = 0;
  CHECK_FAILS(shm_byte_queue_close(NULL), SHM_ERR_INVALID, "queue is NULL");
  CHECK_FAILS(shm_byte_queue_reserve(NULL, 1, &data), SHM_ERR_INVALID, "queue is NULL");
  CHECK_FAILS(shm_byte_queue_reserve(queue, 1, NULL), SHM_ERR_INVALID, "data is NULL");
  CHECK_FAILS(shm_byte_queue_reserve_wait(NULL, 1, 0, &data), SHM_ERR_INVALID, "queue is NULL");
  CHECK_FAILS(shm_byte_queue_reserve_wait(queue, 1, 0, NULL), SHM_ERR_INVALID, "data is NULL");
  CHECK_FAILS(shm_byte_queue_commit(NULL, 1, 0), SHM_ERR_INVALID, "queue is NULL");
  CHECK_FAILS(shm_byte_queue_abort(NULL), SHM_ERR_INVALID, "queue is NULL");
  CHECK_FAILS(shm_byte_queue_send(NULL, "x", 1, 0), SHM_ERR_INVALID, "queue is NULL");
  CHECK_FAILS(shm_byte_queue_send(queue, NULL, 1, 0), SHM_ERR_INVALID, "data is NULL");
  CHECK_FAILS(shm_byte_queue_send_wait(NULL, "x", 1, 0, 0), SHM_ERR_INVALID, "queue is NULL");
  CHECK_FAILS(shm_byte_queue_send_wait(queue, NULL, 1, 0, 0), SHM_ERR_INVALID, "data is NULL");
  CHECK_FAILS(shm_byte_queue_peek(NULL, 1, &shown, &bytes), SHM_ERR_INVALID, "queue is NULL");
  CHECK_FAILS(shm_byte_queue_peek(queue, 1, NULL, &bytes), SHM_ERR_INVALID, "data is NULL");
  CHECK_FAILS(shm_byte_queue_peek(queue, 1, &shown, NULL), SHM_ERR_INVALID, "there is NULL");
  CHECK_FAILS(shm_byte_queue_peek_wait(queue, 1, 0, &shown, NULL), SHM_ERR_INVALID, "there is NULL");
  CHECK_FAILS(shm_byte_queue_peek(queue, 1, &shown, &bytes), SHM_ERR_INVALID, "messages, not bytes without borders");
  CHECK_FAILS(shm_byte_queue_peek_wait(queue, 1, 0, &shown, &bytes), SHM_ERR_INVALID, "not bytes without borders");
  CHECK_FAILS(shm_byte_queue_consume(NULL, 1), SHM_ERR_INVALID, "queue is NULL");
  CHECK_FAILS(shm_byte_queue_consume(queue, 1), SHM_ERR_INVALID, "not bytes without borders");
  CHECK_FAILS(shm_byte_queue_receive(NULL, &message), SHM_ERR_INVALID, "queue is NULL");
  CHECK_FAILS(shm_byte_queue_receive(queue, NULL), SHM_ERR_INVALID, "out is NULL");
  CHECK_FAILS(shm_byte_queue_receive_wait(queue, 0, NULL), SHM_ERR_INVALID, "out is NULL");
  CHECK_FAILS(shm_byte_queue_receive_batch(queue, NULL, 1, &done), SHM_ERR_INVALID, "out is NULL");
  CHECK_FAILS(shm_byte_queue_receive_batch(queue, &message, 1, NULL), SHM_ERR_INVALID, "done is NULL");
  CHECK_FAILS(shm_byte_queue_receive_batch_wait(queue, &message, 1, 0, NULL), SHM_ERR_INVALID, "done is NULL");
  CHECK_FAILS(shm_byte_queue_receive_into(queue, NULL, 1, &bytes, NULL), SHM_ERR_INVALID, "buffer is NULL");
  CHECK_FAILS(shm_byte_queue_receive_into(queue, &done, 8, NULL, NULL), SHM_ERR_INVALID, "length is NULL");
  CHECK_FAILS(shm_byte_queue_release(NULL), SHM_ERR_INVALID, "queue is NULL");
  CHECK_FAILS(shm_byte_queue_release(queue), SHM_ERR_INVALID, "no message of byte queue 'b'");
  CHECK_FAILS(shm_byte_queue_end(NULL), SHM_ERR_INVALID, "queue is NULL");
  CHECK_FAILS(shm_byte_queue_available(NULL, &bytes, &bytes), SHM_ERR_INVALID, "queue is NULL");
  OK(shm_byte_queue_available(queue, NULL, NULL));
  CHECK_FAILS(shm_byte_queue_get_stats(queue, NULL), SHM_ERR_INVALID, "stats is NULL");
  CHECK_FAILS(shm_byte_queue_set_spin(NULL, 0), SHM_ERR_INVALID, "queue is NULL");
  CHECK_FAILS(shm_byte_queue_span(queue, NULL, &done), SHM_ERR_INVALID, "data is NULL");
  CHECK_FAILS(shm_byte_queue_entry(queue, NULL), SHM_ERR_INVALID, "out is NULL");
  CHECK_FAILS(shm_byte_queue_reserve(queue, PAGE - HEADER + 1, &data), SHM_ERR_INVALID, "takes 4080 at most");
  CHECK_FAILS(shm_byte_queue_reserve(queue, UINT64_MAX, &data), SHM_ERR_INVALID, "never fit");
  CHECK_FAILS(shm_byte_queue_reserve_wait(queue, UINT64_MAX - 7, SHM_FOREVER, &data), SHM_ERR_INVALID, "never fit");
  CHECK_FAILS(shm_byte_queue_send(queue, "x", UINT64_MAX - 15, 0), SHM_ERR_INVALID, "never fit");
  CHECK_FAILS(shm_byte_queue_send_wait(queue, "x", PAGE, 0, SHM_FOREVER), SHM_ERR_INVALID, "never fit");
  CHECK(data == NULL && shown == NULL);
  CHECK_U64(stats_of(queue).sent, 0);

  /* A read-only segment: to look at. */
  send_text(queue, "seen", 1);
  shm_segment_options looking;
  OK(shm_segment_options_init(&looking));
  looking.flags = SHM_READ_ONLY;
  shm_segment *second = NULL;
  OK(shm_segment_open(name, &looking, &second));
  other = open_bytes(second);
  CHECK_U64(stats_of(other).used, HEADER + 8);
  CHECK_U64(stats_of(other).sent, 1);
  CHECK_FAILS(shm_byte_queue_send(other, "x", 1, 0), SHM_ERR_READ_ONLY, "read-only");
  CHECK_FAILS(shm_byte_queue_reserve_wait(other, 1, SHM_FOREVER, &data), SHM_ERR_READ_ONLY, "read-only");
  CHECK_FAILS(shm_byte_queue_receive(other, &message), SHM_ERR_READ_ONLY, "read-only");
  CHECK_FAILS(shm_byte_queue_receive_wait(other, SHM_FOREVER, &message), SHM_ERR_READ_ONLY, "read-only");
  CHECK_FAILS(shm_byte_queue_end(other), SHM_ERR_READ_ONLY, "read-only");
  CHECK_STATUS(shm_byte_queue_commit(other, 1, 0), SHM_ERR_INVALID);
  CHECK_STATUS(shm_byte_queue_release(other), SHM_ERR_INVALID);
  CHECK_FAILS(shm_byte_queue_create(second, "new", &options, &queue), SHM_ERR_READ_ONLY, "read-only");
  OK(shm_byte_queue_close(other));
  OK(shm_segment_close(second));
  OK(shm_byte_queue_close(queue));
  OK(shm_segment_close(segment));
}

static void an_end_is_one_handles(void) {
  const char *name = new_name();
  shm_segment *segment = new_segment(name, 1 << 20), *second = attach(name);
  shm_byte_queue *queue = new_bytes(segment, 0, 100), *twin = open_bytes(segment), *other = open_bytes(second);
  shm_message message;
  void *data = NULL;
  send_text(queue, "one", 1);
  CHECK_FAILS(shm_byte_queue_send(twin, "x", 1, 0), SHM_ERR_BUSY, "another handle of this attachment");
  CHECK_FAILS(shm_byte_queue_send(other, "x", 1, 0), SHM_ERR_BUSY, "'b' has one producer at a time");
  CHECK_FAILS(shm_byte_queue_reserve_wait(other, 1, SHM_FOREVER, &data), SHM_ERR_BUSY, "one producer");
  CHECK_FAILS(shm_byte_queue_end(other), SHM_ERR_BUSY, "one producer");
  OK(shm_byte_queue_receive(other, &message));
  CHECK_FAILS(shm_byte_queue_receive(queue, &message), SHM_ERR_BUSY, "one consumer at a time");
  CHECK_FAILS(shm_byte_queue_receive_wait(twin, SHM_FOREVER, &message), SHM_ERR_BUSY, "one consumer");
  /* What was not released is the next one's again; what is reserved is nobody's. */
  OK(shm_byte_queue_close(other));
  OK(shm_byte_queue_receive(twin, &message));
  check_text(&message, "one", 1);
  OK(shm_byte_queue_release(twin));
  OK(shm_byte_queue_reserve(queue, 10, &data));
  OK(shm_byte_queue_close(queue));
  send_text(twin, "two", 2);
  OK(shm_byte_queue_receive(twin, &message));
  check_text(&message, "two", 2);
  OK(shm_byte_queue_close(twin));
  OK(shm_segment_close(second));
  OK(shm_segment_close(segment));
}

static void waits_end_in_time(void) {
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_byte_queue *queue = new_bytes(segment, 0, 4000);
  static char buffer[4000];
  shm_message message;
  void *data = NULL;
  const uint64_t spins[] = {0, 20000, SHM_FOREVER};
  for (size_t i = 0; i < COUNT_OF(spins); i++) {
    OK(shm_byte_queue_set_spin(queue, spins[i]));
    uint64_t start = now_ns();
    CHECK_STATUS(shm_byte_queue_receive_wait(queue, 5 * MILLISECOND, &message), SHM_TIMEOUT);
    CHECK(now_ns() - start >= 5 * MILLISECOND);
    OK(shm_byte_queue_send(queue, buffer, sizeof buffer, 0));
    start = now_ns();
    CHECK_STATUS(shm_byte_queue_send_wait(queue, buffer, 100, 0, 5 * MILLISECOND), SHM_TIMEOUT);
    CHECK_STATUS(shm_byte_queue_reserve_wait(queue, 100, 5 * MILLISECOND, &data), SHM_TIMEOUT);
    CHECK(now_ns() - start >= 10 * MILLISECOND);
    OK(shm_byte_queue_receive_wait(queue, 0, &message));
    OK(shm_byte_queue_release(queue));
    OK(shm_byte_queue_reserve_wait(queue, 100, 0, &data));
    OK(shm_byte_queue_abort(queue));
  }
  CHECK_U64(stats_of(queue).empty, 3);
  CHECK_U64(stats_of(queue).full, 6);
  OK(shm_byte_queue_close(queue));
  OK(shm_segment_close(segment));
}

/* More than fits, both sides asleep in turn; every message is whole and next in line. */
static void sleepers_are_woken_across_processes(uint32_t flags) {
  enum { ROUNDS = 3000 };
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_byte_queue *queue = new_bytes(segment, flags, 2000);
  OK(shm_byte_queue_set_spin(queue, 0));
  const pid_t child = fork_child();
  if (child == 0) {
    void *data = NULL;
    for (uint64_t i = 0; i < ROUNDS; i++) {
      const uint64_t length = 1 + i * 37 % 1900;
      OK(shm_byte_queue_reserve_wait(queue, length, LONG_ENOUGH, &data));
      fill(data, length, i);
      OK(shm_byte_queue_commit(queue, length, i));
      if (i % 500 == 0) sleep_ns(3 * MILLISECOND);
    }
    OK(shm_byte_queue_end(queue));
    _exit(0);
  }
  for (uint64_t i = 0; i < ROUNDS; i++) {
    const uint64_t length = 1 + i * 37 % 1900;
    if (flags == SHM_STREAM) {
      const void *data = NULL;
      uint64_t there = 0;
      OK(shm_byte_queue_peek_wait(queue, length, LONG_ENOUGH, &data, &there));
      CHECK(there >= length);
      check_filled(data, length, i);
      OK(shm_byte_queue_consume(queue, length));
    } else {
      shm_message message;
      OK(shm_byte_queue_receive_wait(queue, LONG_ENOUGH, &message));
      CHECK_U64(message.length, length);
      CHECK_U64(message.tag, i);
      check_filled(message.data, length, i);
      OK(shm_byte_queue_release(queue));
    }
    if (i % 700 == 0) sleep_ns(3 * MILLISECOND);
  }
  if (flags == SHM_STREAM) {
    const void *data = NULL;
    uint64_t there = 0;
    CHECK_STATUS(shm_byte_queue_peek_wait(queue, 1, SHM_FOREVER, &data, &there), SHM_CLOSED);
  } else {
    shm_message message;
    size_t done = 0;
    CHECK_STATUS(shm_byte_queue_receive_wait(queue, SHM_FOREVER, &message), SHM_CLOSED);
    CHECK_STATUS(shm_byte_queue_receive_batch_wait(queue, &message, 1, SHM_FOREVER, &done), SHM_CLOSED);
  }
  CHECK_CHILD(child);
  CHECK_U64(stats_of(queue).sent, ROUNDS);
  CHECK_U64(stats_of(queue).received, ROUNDS);
  OK(shm_byte_queue_close(queue));
  OK(shm_segment_close(segment));
}

static void the_end_comes_after_the_last_message(void) {
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_byte_queue *queue = new_bytes(segment, 0, 4000);
  shm_message message;
  void *data = NULL;
  char buffer[8];
  uint64_t length = 0;
  send_text(queue, "last", 1);
  OK(shm_byte_queue_reserve(queue, 4, &data));
  OK(shm_byte_queue_end(queue));
  OK(shm_byte_queue_end(queue));
  CHECK_FAILS(shm_byte_queue_commit(queue, 4, 0), SHM_ERR_INVALID, "not reserved");
  CHECK_STATUS(shm_byte_queue_send(queue, "x", 1, 0), SHM_CLOSED);
  CHECK_STATUS(shm_byte_queue_send_wait(queue, "x", 1, 0, SHM_FOREVER), SHM_CLOSED);
  CHECK_STATUS(shm_byte_queue_reserve(queue, 1, &data), SHM_CLOSED);
  CHECK_STATUS(shm_byte_queue_reserve_wait(queue, 1, SHM_FOREVER, &data), SHM_CLOSED);
  CHECK_U64(stats_of(queue).ended, 1);
  OK(shm_byte_queue_receive_wait(queue, SHM_FOREVER, &message));
  check_text(&message, "last", 1);
  CHECK_STATUS(shm_byte_queue_receive(queue, &message), SHM_CLOSED);
  OK(shm_byte_queue_release(queue));
  CHECK_STATUS(shm_byte_queue_receive_wait(queue, SHM_FOREVER, &message), SHM_CLOSED);
  CHECK_STATUS(shm_byte_queue_receive_into(queue, buffer, sizeof buffer, &length, NULL), SHM_CLOSED);
  OK(shm_byte_queue_close(queue));

  /* Fewer bytes of a stream than asked for will never be more. */
  OK(shm_table_remove(segment, "b"));
  queue = new_bytes(segment, SHM_STREAM, 100);
  const void *shown = NULL;
  OK(shm_byte_queue_reserve(queue, 5, &data));
  OK(shm_byte_queue_commit(queue, 5, 0));
  OK(shm_byte_queue_end(queue));
  CHECK_STATUS(shm_byte_queue_peek_wait(queue, 6, SHM_FOREVER, &shown, &length), SHM_CLOSED);
  OK(shm_byte_queue_peek(queue, 5, &shown, &length));
  OK(shm_byte_queue_consume(queue, 5));
  CHECK_STATUS(shm_byte_queue_peek(queue, 1, &shown, &length), SHM_CLOSED);
  OK(shm_byte_queue_close(queue));
  OK(shm_segment_close(segment));
}

static void a_dead_producer_has_a_successor(uint32_t flags) {
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_byte_queue *queue = new_bytes(segment, flags, 4000);
  void *data = NULL;
  for (uint64_t turn = 0; turn < 5; turn++) {
    signal_pipe done = new_pipe();
    const pid_t child = fork_child();
    if (child == 0) {
      OK(shm_byte_queue_reserve(queue, 900, &data));
      fill(data, 900, turn);
      OK(shm_byte_queue_commit(queue, 900, turn));
      OK(shm_byte_queue_reserve(queue, 1500, &data));
      memset(data, 0xee, 1500);
      say(done);
      for (;;) pause();
    }
    await(done);
    CHECK_FAILS(shm_byte_queue_reserve(queue, 1, &data), SHM_ERR_BUSY, "one producer at a time, and that is participant");
    kill_child(child);
    close_pipe(done);
    OK(shm_byte_queue_reserve(queue, 901, &data));
    fill(data, 901, turn + 100);
    OK(shm_byte_queue_commit(queue, 901, turn + 100));
    for (uint64_t part = 0; part < 2; part++) {
      const uint64_t length = 900 + part, seed = turn + 100 * part;
      if (flags == SHM_STREAM) {
        const void *shown = NULL;
        uint64_t there = 0;
        OK(shm_byte_queue_peek(queue, length, &shown, &there));
        CHECK_U64(there, part == 0 ? 1801 : 901);
        check_filled(shown, length, seed);
        OK(shm_byte_queue_consume(queue, length));
      } else {
        shm_message message;
        OK(shm_byte_queue_receive(queue, &message));
        CHECK_U64(message.length, length);
        CHECK_U64(message.tag, seed);
        check_filled(message.data, length, seed);
        OK(shm_byte_queue_release(queue));
      }
    }
    /* The end is given up, for the next child. */
    OK(shm_byte_queue_close(queue));
    queue = open_bytes(segment);
  }
  OK(shm_byte_queue_close(queue));
  OK(shm_segment_close(segment));
}

static void what_a_dead_consumer_did_not_release_is_received_again(void) {
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_byte_queue *queue = new_bytes(segment, 0, 4000);
  shm_message message;
  for (uint64_t i = 0; i < 6; i++) OK(shm_byte_queue_send(queue, &i, sizeof i, i));
  signal_pipe done = new_pipe();
  const pid_t child = fork_child();
  if (child == 0) {
    uint64_t value = 0, length = 0;
    OK(shm_byte_queue_receive(queue, &message));
    OK(shm_byte_queue_release(queue));
    OK(shm_byte_queue_receive_into(queue, &value, sizeof value, &length, NULL));
    CHECK_U64(value, 1);
    for (int i = 0; i < 3; i++) OK(shm_byte_queue_receive(queue, &message));
    CHECK_U64(message.tag, 4);
    say(done);
    for (;;) pause();
  }
  await(done);
  CHECK_FAILS(shm_byte_queue_receive(queue, &message), SHM_ERR_BUSY, "one consumer at a time");
  kill_child(child);
  close_pipe(done);
  for (uint64_t i = 2; i < 6; i++) {
    OK(shm_byte_queue_receive(queue, &message));
    CHECK_U64(message.tag, i);
    CHECK(memcmp(message.data, &i, sizeof i) == 0);
  }
  OK(shm_byte_queue_release(queue));
  CHECK_U64(stats_of(queue).received, 6);
  CHECK_U64(stats_of(queue).used, 0);
  OK(shm_byte_queue_close(queue));
  OK(shm_segment_close(segment));
}

/* Whoever dies at whatever instant: what arrives is whole and in order, and nothing that was committed is lost. */
static void deaths_at_random_lose_nothing(void) {
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_byte_queue *queue = new_bytes(segment, 0, 4000);
  uint64_t next = 0, deaths = 0, seed = now_ns();
  while (deaths < 60) {
    const pid_t child = fork_child();
    if (child == 0) {
      shm_byte_queue *mine = open_bytes(segment);
      for (uint64_t i = stats_of(mine).sent;; i++) {
        /* The number is what is in the buffer, not what was counted: a death may leave the count 1 too high. */
        void *data = NULL;
        const uint64_t length = 8 + i * 13 % 700;
        OK(shm_byte_queue_reserve_wait(mine, length, LONG_ENOUGH, &data));
        fill(data, length, length);
        OK(shm_byte_queue_commit(mine, length, length));
      }
    }
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    const uint64_t until = now_ns() + (seed >> 33) % (2 * MILLISECOND);
    shm_message message;
    int killed = 0;
    for (;;) {
      if (!killed && now_ns() >= until) {
        kill_child(child);
        killed = 1;
      }
      shm_status status = shm_byte_queue_receive(queue, &message);
      if (status == SHM_EMPTY && killed) break;
      if (status == SHM_EMPTY) continue;
      CHECK_STATUS(status, SHM_OK);
      CHECK_U64(message.length, message.tag);
      check_filled(message.data, message.length, message.tag);
      OK(shm_byte_queue_release(queue));
      next++;
    }
    deaths++;
    const shm_byte_queue_stats stats = stats_of(queue);
    CHECK_U64(stats.bytes_sent, stats.bytes_received);
    CHECK_U64(stats.received, next);
    CHECK(stats.sent >= next && stats.sent <= next + deaths);
  }
  CHECK(next > 0);
  OK(shm_byte_queue_close(queue));
  OK(shm_segment_close(segment));
}

/* A peer that writes anything anywhere: an outcome, never a fault. */
static void a_scribbling_peer_does_no_harm(uint32_t flags) {
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_byte_queue *queue = new_bytes(segment, flags, 4000);
  unsigned char *all = NULL;
  void *data = NULL;
  size_t bytes = 0;
  static unsigned char buffer[PAGE];
  uint64_t seed = 99, outcomes[4] = {0, 0, 0, 0};
  OK(shm_byte_queue_span(queue, &data, &bytes));
  all = (unsigned char *)data;
  for (int round = 0; round < 30000; round++) {
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    const uint64_t value = seed >> 33, length = value % PAGE;
    shm_status status = SHM_OK;
    shm_message message;
    const void *shown = NULL;
    uint64_t there = 0;
    switch (value % 11) {
      case 0: memcpy(all + 128 + value % 3 * 8, &seed, 8); break;
      case 1: memcpy(all + 256 + value % 4 * 8, &there, 8); break;
      case 2: memcpy(all + PAGE + seed % (PAGE - 8), &seed, 8); break;
      case 3: all[128 + value / 11 % 256] ^= (unsigned char)(1u << value % 8); break;
      case 4:
      case 5:
        if ((status = shm_byte_queue_reserve(queue, length, &data)) == SHM_OK) {
          memset(data, 0x5a, length);
          status = shm_byte_queue_commit(queue, length, 0);
        }
        break;
      case 6:
      case 7:
        if (flags == SHM_STREAM) {
          if ((status = shm_byte_queue_peek(queue, 1 + length, &shown, &there)) == SHM_OK) {
            CHECK(there <= PAGE);
            memcpy(buffer, shown, there);
            status = shm_byte_queue_consume(queue, there);
          }
        } else if ((status = shm_byte_queue_receive(queue, &message)) == SHM_OK) {
          CHECK(message.length <= PAGE && (uintptr_t)message.data % 8 == 0);
          memcpy(buffer, message.data, message.length);
          status = shm_byte_queue_release(queue);
        }
        break;
      case 8: status = shm_byte_queue_receive_into(queue, buffer, sizeof buffer, &there, NULL); break;
      case 9:
        OK(shm_byte_queue_close(queue));
        queue = open_bytes(segment);
        break;
      default: {
        shm_byte_queue_stats stats;
        status = shm_byte_queue_get_stats(queue, &stats);
        if (value % 5 == 0) memset(all + 128, 0, 256); /* sane again */
      }
    }
    if (status == SHM_OK) outcomes[0]++;
    else if (status > 0) outcomes[1]++;
    else if (status == SHM_ERR_CORRUPT) outcomes[2]++;
    else if (status == SHM_ERR_INVALID) outcomes[3]++;
    else FAIL("an outcome of %d", (int)status);
  }
  CHECK(outcomes[0] > 1000 && outcomes[2] > 100);
  OK(shm_byte_queue_close(queue));
  OK(shm_segment_close(segment));
}

int main(void) {
  support_start(100);
  RUN(messages_arrive_whole_and_in_order);
  RUN_WITH(messages_wrap_around_at_every_place, 8);
  RUN_WITH(messages_wrap_around_at_every_place, 16);
  RUN_WITH(messages_wrap_around_at_every_place, 64);
  RUN(what_is_reserved_is_filled_in_place);
  RUN(batches_are_given_back_at_once);
  RUN(a_message_too_long_for_the_buffer_stays);
  RUN(a_stream_has_no_borders);
  RUN(what_cannot_be_is_refused_with_a_sentence);
  RUN(an_end_is_one_handles);
  RUN(waits_end_in_time);
  RUN_WITH(sleepers_are_woken_across_processes, 0);
  RUN_WITH(sleepers_are_woken_across_processes, SHM_STREAM);
  RUN(the_end_comes_after_the_last_message);
  RUN_WITH(a_dead_producer_has_a_successor, 0);
  RUN_WITH(a_dead_producer_has_a_successor, SHM_STREAM);
  RUN(what_a_dead_consumer_did_not_release_is_received_again);
  RUN(deaths_at_random_lose_nothing);
  RUN_WITH(a_scribbling_peer_does_no_harm, 0);
  RUN_WITH(a_scribbling_peer_does_no_harm, SHM_STREAM);
  return 0;
}
