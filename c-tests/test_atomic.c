/* Atomics of every type: values, orders, operations, and waiting that crosses processes. */
#include "support.h"

static const struct {
  uint32_t type;
  uint64_t bytes;
} types[] = {
    {SHM_ATOMIC_BOOL, 1}, {SHM_ATOMIC_I32, 4}, {SHM_ATOMIC_U32, 4}, {SHM_ATOMIC_I64, 8},
    {SHM_ATOMIC_U64, 8},  {SHM_ATOMIC_F32, 4}, {SHM_ATOMIC_F64, 8},
};

/* The number `n` as a value of this type; every number up to 2^53 of the wide ones. */
static shm_atomic_value number(uint32_t type, int64_t n) {
  shm_atomic_value value;
  memset(&value, 0xee, sizeof value); /* what is not of the type must not matter */
  switch (type) {
    case SHM_ATOMIC_BOOL: value.b = n != 0; break;
    case SHM_ATOMIC_I32: value.i32 = (int32_t)n; break;
    case SHM_ATOMIC_U32: value.u32 = (uint32_t)n; break;
    case SHM_ATOMIC_I64: value.i64 = n; break;
    case SHM_ATOMIC_U64: value.u64 = (uint64_t)n; break;
    case SHM_ATOMIC_F32: value.f32 = (float)n; break;
    default: value.f64 = (double)n; break;
  }
  return value;
}

static int64_t value_of(uint32_t type, shm_atomic_value value) {
  switch (type) {
    case SHM_ATOMIC_BOOL: return value.b;
    case SHM_ATOMIC_I32: return value.i32;
    case SHM_ATOMIC_U32: return value.u32;
    case SHM_ATOMIC_I64: return value.i64;
    case SHM_ATOMIC_U64: return (int64_t)value.u64;
    case SHM_ATOMIC_F32: return (int64_t)value.f32;
    default: return (int64_t)value.f64;
  }
}

static shm_atomic *new_atomic(const shm_segment *segment, uint32_t type, int64_t initial) {
  shm_atomic *atomic = NULL;
  OK(shm_atomic_create(segment, "x", type, number(type, initial), 0, &atomic));
  return atomic;
}

static int64_t now_is(const shm_atomic *atomic, uint32_t type) {
  shm_atomic_value value;
  OK(shm_atomic_load(atomic, SHM_ACQUIRE, &value));
  return value_of(type, value);
}

static void every_type_loads_stores_and_exchanges(void) {
  for (size_t i = 0; i < COUNT_OF(types); i++) {
    const uint32_t type = types[i].type;
    shm_segment *segment = new_segment(new_name(), 1 << 20);
    shm_atomic *atomic = new_atomic(segment, type, 1), *again = NULL;
    shm_atomic_value value;
    shm_entry entry;
    void *address = NULL;
    bool exchanged = false;
    uint32_t found = 0;
    CHECK_U64(now_is(atomic, type), 1);
    OK(shm_atomic_create(segment, "x", type, number(type, 0), 0, &again));
    CHECK_U64(now_is(again, type), 1);
    OK(shm_atomic_close(again));
    OK(shm_atomic_open(segment, "x", 0, &again));
    OK(shm_atomic_get_type(again, &found));
    CHECK_U64(found, type);
    OK(shm_table_find(segment, "x", &entry));
    CHECK(entry.kind == SHM_KIND_ATOMIC && entry.flags == type && entry.elem_size == types[i].bytes);
    OK(shm_atomic_store(again, number(type, 0), SHM_RELEASE));
    CHECK_U64(now_is(atomic, type), 0);
    OK(shm_atomic_exchange(atomic, number(type, 1), SHM_ACQ_REL, &value));
    CHECK_U64(value_of(type, value), 0);
    value = number(type, 0);
    OK(shm_atomic_compare_exchange(atomic, &value, number(type, 0), false, SHM_SEQ_CST, SHM_RELAXED, &exchanged));
    CHECK(!exchanged);
    CHECK_U64(value_of(type, value), 1);
    OK(shm_atomic_compare_exchange(atomic, &value, number(type, 0), false, SHM_RELEASE, SHM_ACQUIRE, &exchanged));
    CHECK(exchanged);
    value = number(type, 0);
    do {
      OK(shm_atomic_compare_exchange(atomic, &value, number(type, 1), true, SHM_ACQ_REL, SHM_RELAXED, &exchanged));
    } while (!exchanged);
    CHECK_U64(now_is(again, type), 1);
    OK(shm_atomic_pointer(atomic, &address));
    shm_atomic_value one = number(type, 1);
    CHECK(memcmp(address, &one, types[i].bytes) == 0);
    OK(shm_atomic_close(again));
    OK(shm_atomic_close(atomic));
    OK(shm_segment_close(segment));
  }
}

static void operations_do_what_they_say(void) {
  static const struct {
    uint32_t operation;
    int64_t operand, result;
    bool integer, floating;
  } steps[] = {
      {SHM_ADD, 12, 22, true, true},     {SHM_SUBTRACT, 7, 15, true, true}, {SHM_AND, 6, 6, true, false},
      {SHM_OR, 9, 15, true, false},      {SHM_XOR, 5, 10, true, false},     {SHM_MINIMUM, 4, 4, true, true},
      {SHM_MINIMUM, 8, 4, true, true},   {SHM_MAXIMUM, 30, 30, true, true}, {SHM_MAXIMUM, 1, 30, true, true},
  };
  for (size_t i = 1; i < COUNT_OF(types); i++) {
    const uint32_t type = types[i].type;
    const bool floating = type == SHM_ATOMIC_F32 || type == SHM_ATOMIC_F64;
    shm_segment *segment = new_segment(new_name(), 1 << 20);
    shm_atomic *atomic = new_atomic(segment, type, 10);
    shm_atomic_value old;
    int64_t before = 10;
    for (size_t s = 0; s < COUNT_OF(steps); s++) {
      if (floating && !steps[s].floating) {
        CHECK_FAILS(shm_atomic_fetch(atomic, steps[s].operation, number(type, 1), SHM_ACQ_REL, &old), SHM_ERR_INVALID,
                    "which has no");
        continue;
      }
      OK(shm_atomic_fetch(atomic, steps[s].operation, number(type, steps[s].operand), SHM_ACQ_REL, &old));
      CHECK_U64(value_of(type, old), before);
      before = now_is(atomic, type);
      if (!floating || s < 2) CHECK_U64(before, steps[s].result);
    }
    CHECK_U64(before, 30);
    OK(shm_atomic_fetch(atomic, SHM_ADD, number(type, 1), SHM_RELAXED, NULL));
    CHECK_U64(now_is(atomic, type), 31);
    OK(shm_atomic_close(atomic));
    OK(shm_segment_close(segment));
  }

  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_atomic *flag = new_atomic(segment, SHM_ATOMIC_BOOL, 1);
  CHECK_FAILS(shm_atomic_fetch(flag, SHM_ADD, number(SHM_ATOMIC_BOOL, 1), SHM_RELAXED, NULL), SHM_ERR_INVALID,
              "is a bool, which has no Add");
  OK(shm_atomic_fetch(flag, SHM_XOR, number(SHM_ATOMIC_BOOL, 1), SHM_RELAXED, NULL));
  CHECK_U64(now_is(flag, SHM_ATOMIC_BOOL), 0);
  OK(shm_atomic_close(flag));
  OK(shm_segment_close(segment));

  segment = new_segment(new_name(), 1 << 20);
  shm_atomic *signed_one = new_atomic(segment, SHM_ATOMIC_I32, -5);
  OK(shm_atomic_fetch(signed_one, SHM_MAXIMUM, number(SHM_ATOMIC_I32, -2), SHM_RELAXED, NULL));
  CHECK(now_is(signed_one, SHM_ATOMIC_I32) == -2);
  OK(shm_atomic_close(signed_one));
  OK(shm_segment_close(segment));
}

static void what_makes_no_sense_is_refused_with_a_sentence(void) {
  const char *name = new_name();
  shm_segment *segment = new_segment(name, 1 << 20);
  const shm_atomic_value zero = number(SHM_ATOMIC_U64, 0);
  shm_atomic *atomic = new_atomic(segment, SHM_ATOMIC_U64, 0), *other = NULL;
  shm_atomic_value value = zero;
  bool exchanged = false;
  CHECK_FAILS(shm_atomic_create(segment, "x", SHM_ATOMIC_I64, zero, 0, &other), SHM_ERR_MISMATCH,
              "atomic 'x' is a u64, not a i64");
  CHECK_FAILS(shm_atomic_open(segment, "x", SHM_ATOMIC_F32, &other), SHM_ERR_MISMATCH, "not a f32");
  CHECK_FAILS(shm_atomic_open(segment, "y", 0, &other), SHM_ERR_NOT_FOUND, "y");
  CHECK_FAILS(shm_atomic_create(segment, "x", SHM_ATOMIC_U64, zero, SHM_EXCLUSIVE, &other), SHM_ERR_EXISTS, "x");
  CHECK_FAILS(shm_atomic_create(segment, "y", SHM_ATOMIC_U64, zero, SHM_SPSC, &other), SHM_ERR_INVALID, "flag");
  static const uint32_t no_types[] = {0, 8, UINT32_MAX};
  for (size_t i = 0; i < COUNT_OF(no_types); i++) {
    CHECK_FAILS(shm_atomic_create(segment, "y", no_types[i], zero, 0, &other), SHM_ERR_INVALID, "no atomic type");
  }
  CHECK_FAILS(shm_atomic_open(segment, "x", 99, &other), SHM_ERR_INVALID, "no atomic type 99");
  for (uint32_t order = 0; order < 8; order++) {
    const bool known = order != 1 && order < 6;
    const bool loads = known && order != SHM_RELEASE && order != SHM_ACQ_REL;
    const bool stores = known && order != SHM_ACQUIRE && order != SHM_ACQ_REL;
    CHECK_STATUS(shm_atomic_load(atomic, order, &value), loads ? SHM_OK : SHM_ERR_INVALID);
    if (!loads) CHECK(strstr(shm_last_error(), "order") != NULL);
    CHECK_STATUS(shm_atomic_store(atomic, zero, order), stores ? SHM_OK : SHM_ERR_INVALID);
    if (!stores) CHECK(strstr(shm_last_error(), "order") != NULL);
    CHECK_STATUS(shm_atomic_exchange(atomic, zero, order, &value), known ? SHM_OK : SHM_ERR_INVALID);
    for (uint32_t operation = 0; operation < 9; operation++) {
      const bool possible = known && operation >= 1 && operation <= 7;
      CHECK_STATUS(shm_atomic_fetch(atomic, operation, zero, order, NULL), possible ? SHM_OK : SHM_ERR_INVALID);
    }
    for (uint32_t failure = 0; failure < 8; failure++) {
      const bool fails = failure == SHM_RELAXED || failure == SHM_ACQUIRE || failure == SHM_SEQ_CST;
      CHECK_STATUS(shm_atomic_compare_exchange(atomic, &value, zero, false, order, failure, &exchanged),
                   known && fails ? SHM_OK : SHM_ERR_INVALID);
      CHECK_STATUS(shm_atomic_compare_exchange(atomic, &value, zero, true, order, failure, &exchanged),
                   known && fails ? SHM_OK : SHM_ERR_INVALID);
    }
  }
  CHECK_FAILS(shm_atomic_fetch(atomic, 8, zero, SHM_RELAXED, NULL), SHM_ERR_INVALID, "no atomic operation 8");
  CHECK_FAILS(shm_atomic_load(NULL, SHM_RELAXED, &value), SHM_ERR_INVALID, "atomic is NULL");
  CHECK_FAILS(shm_atomic_load(atomic, SHM_RELAXED, NULL), SHM_ERR_INVALID, "value is NULL");
  CHECK_FAILS(shm_atomic_compare_exchange(atomic, NULL, zero, true, 0, 0, &exchanged), SHM_ERR_INVALID, "expected");

  shm_segment *looking = NULL;
  shm_segment_options read_only;
  OK(shm_segment_options_init(&read_only));
  read_only.flags = SHM_READ_ONLY;
  OK(shm_segment_open(name, &read_only, &looking));
  OK(shm_atomic_open(looking, "x", 0, &other));
  OK(shm_atomic_load(other, SHM_SEQ_CST, &value));
  CHECK_STATUS(shm_atomic_store(other, zero, SHM_RELAXED), SHM_ERR_READ_ONLY);
  CHECK_STATUS(shm_atomic_exchange(other, zero, SHM_RELAXED, &value), SHM_ERR_READ_ONLY);
  CHECK_STATUS(shm_atomic_fetch(other, SHM_ADD, zero, SHM_RELAXED, NULL), SHM_ERR_READ_ONLY);
  CHECK_STATUS(shm_atomic_notify_all(other), SHM_ERR_READ_ONLY);
  CHECK_STATUS(shm_atomic_wait(other, zero, 0, NULL), SHM_TIMEOUT);
  OK(shm_atomic_close(other));
  OK(shm_segment_close(looking));
  OK(shm_atomic_close(atomic));
  OK(shm_segment_close(segment));
}

/* The child waits for a change of any width; the change of the upper half of a wide one must be seen as well. */
static void waiting_crosses_processes(void) {
  for (size_t i = 0; i < COUNT_OF(types); i++) {
    const uint32_t type = types[i].type;
    const int64_t next = type == SHM_ATOMIC_I64 || type == SHM_ATOMIC_U64 ? INT64_C(1) << 32 : 1;
    shm_segment *segment = new_segment(new_name(), 1 << 20);
    shm_atomic *atomic = new_atomic(segment, type, 0);
    shm_atomic_value now;
    uint64_t start = now_ns();
    CHECK_STATUS(shm_atomic_wait(atomic, number(type, 0), 10 * MILLISECOND, &now), SHM_TIMEOUT);
    CHECK(now_ns() - start >= 10 * MILLISECOND);
    OK(shm_atomic_wait(atomic, number(type, 1), 0, &now));
    CHECK_U64(value_of(type, now), 0);
    signal_pipe ready = new_pipe();
    pid_t child = fork_child();
    if (child == 0) {
      say(ready);
      OK(shm_atomic_wait(atomic, number(type, 0), LONG_ENOUGH, &now));
      CHECK(value_of(type, now) == next);
      OK(shm_atomic_store(atomic, number(type, 0), SHM_RELEASE));
      OK(shm_atomic_notify_all(atomic));
      _exit(0);
    }
    await(ready);
    sleep_ns(30 * MILLISECOND);
    OK(shm_atomic_store(atomic, number(type, next), SHM_RELEASE));
    OK(shm_atomic_notify_one(atomic));
    OK(shm_atomic_wait(atomic, number(type, next), LONG_ENOUGH, NULL));
    CHECK_CHILD(child);
    close_pipe(ready);
    OK(shm_atomic_close(atomic));
    OK(shm_segment_close(segment));
  }
}

/* Two processes count together; nothing is lost, whatever the type's way of adding is. */
static void sums_of_two_processes_are_complete(void) {
  enum { ROUNDS = 100000 };
  for (size_t i = 1; i < COUNT_OF(types); i++) {
    const uint32_t type = types[i].type;
    shm_segment *segment = new_segment(new_name(), 1 << 20);
    shm_atomic *atomic = new_atomic(segment, type, 0);
    pid_t child = fork_child();
    for (int round = 0; round < ROUNDS; round++) {
      OK(shm_atomic_fetch(atomic, SHM_ADD, number(type, 1), SHM_RELAXED, NULL));
    }
    if (child == 0) _exit(0);
    CHECK_CHILD(child);
    CHECK_U64(now_is(atomic, type), 2 * ROUNDS);
    OK(shm_atomic_close(atomic));
    OK(shm_segment_close(segment));
  }
}

/* What is not a number is passed over, whether it is there already or comes. */
static void minima_and_maxima_pass_over_what_is_not_a_number(void) {
  static const uint32_t floating[] = {SHM_ATOMIC_F32, SHM_ATOMIC_F64}, operations[] = {SHM_MINIMUM, SHM_MAXIMUM};
  for (size_t i = 0; i < 4; i++) {
    const uint32_t type = floating[i / 2], operation = operations[i % 2];
    shm_segment *segment = new_segment(new_name(), 1 << 20);
    shm_atomic *atomic = new_atomic(segment, type, 5);
    shm_atomic_value nan, now;
    memset(&nan, 0, sizeof nan);
    if (type == SHM_ATOMIC_F32) nan.u32 = 0x7fc00000u;
    else nan.u64 = UINT64_C(0x7ff8000000000000);
    OK(shm_atomic_fetch(atomic, operation, nan, SHM_RELAXED, NULL));
    CHECK_U64(now_is(atomic, type), 5);
    OK(shm_atomic_store(atomic, nan, SHM_RELAXED));
    OK(shm_atomic_fetch(atomic, operation, nan, SHM_RELAXED, NULL));
    OK(shm_atomic_load(atomic, SHM_RELAXED, &now));
    CHECK(type == SHM_ATOMIC_F32 ? now.f32 != now.f32 : now.f64 != now.f64);
    OK(shm_atomic_fetch(atomic, operation, number(type, 7), SHM_RELAXED, NULL));
    CHECK_U64(now_is(atomic, type), 7);
    OK(shm_atomic_close(atomic));
    OK(shm_segment_close(segment));
  }
}

/* Any byte but 0 is true, for every operation. */
static void a_scribbled_bool_is_true_for_every_operation(void) {
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  const uint32_t type = SHM_ATOMIC_BOOL;
  shm_atomic *atomic = new_atomic(segment, type, 0);
  void *address = NULL;
  shm_atomic_value value;
  bool exchanged;
  static const struct {
    uint32_t operation;
    bool operand, result;
  } steps[] = {{SHM_AND, true, true}, {SHM_AND, false, false}, {SHM_OR, false, true}, {SHM_XOR, true, false}, {SHM_XOR, false, true}};
  OK(shm_atomic_pointer(atomic, &address));
  for (int byte = 1; byte < 256; byte++) {
    unsigned char *scribbled = (unsigned char *)address;
    *scribbled = (unsigned char)byte;
    CHECK(now_is(atomic, type) == 1);
    CHECK_STATUS(shm_atomic_wait(atomic, number(type, 1), 0, NULL), SHM_TIMEOUT);
    OK(shm_atomic_wait(atomic, number(type, 0), 0, NULL));
    value = number(type, 0);
    OK(shm_atomic_compare_exchange(atomic, &value, number(type, 0), false, SHM_SEQ_CST, SHM_RELAXED, &exchanged));
    CHECK(!exchanged && value_of(type, value) == 1 && *scribbled == byte);
    OK(shm_atomic_compare_exchange(atomic, &value, number(type, 0), false, SHM_SEQ_CST, SHM_RELAXED, &exchanged));
    CHECK(exchanged && *scribbled == 0);
    *scribbled = (unsigned char)byte;
    do {
      value = number(type, 1);
      OK(shm_atomic_compare_exchange(atomic, &value, number(type, 1), true, SHM_SEQ_CST, SHM_RELAXED, &exchanged));
    } while (!exchanged);
    CHECK(*scribbled == 1);
    for (size_t s = 0; s < COUNT_OF(steps); s++) {
      *scribbled = (unsigned char)byte;
      OK(shm_atomic_fetch(atomic, steps[s].operation, number(type, steps[s].operand), SHM_ACQ_REL, &value));
      CHECK(value_of(type, value) == 1 && *scribbled == steps[s].result);
    }
    *scribbled = (unsigned char)byte;
    OK(shm_atomic_exchange(atomic, number(type, 0), SHM_ACQ_REL, &value));
    CHECK(value_of(type, value) == 1 && *scribbled == 0);
  }
  OK(shm_atomic_close(atomic));
  OK(shm_segment_close(segment));
}

int main(void) {
  support_start(60);
  RUN(every_type_loads_stores_and_exchanges);
  RUN(operations_do_what_they_say);
  RUN(what_makes_no_sense_is_refused_with_a_sentence);
  RUN(minima_and_maxima_pass_over_what_is_not_a_number);
  RUN(a_scribbled_bool_is_true_for_every_operation);
  RUN(waiting_crosses_processes);
  RUN(sums_of_two_processes_are_complete);
  return 0;
}
