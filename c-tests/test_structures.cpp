// The C++ face of spans, arrays, atomics and pools.
#include "support.hpp"

#include "shmds.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

using namespace std::chrono_literals;

namespace {

struct point {
  double x, y, z;
};
struct positive {
  int value;
  explicit positive(int v) : value(v) {
    if (v < 0) throw std::runtime_error("negative");
  }
};

shmds::segment fresh(const char* name) { return shmds::segment::create(name, {.size = 1 << 20, .exclusive = true}); }

shmds::segment look(const char* name) { return shmds::segment::open(name, {.read_only = true}); }

static_assert(std::ranges::contiguous_range<const shmds::array<point>>);
static_assert(std::ranges::input_range<shmds::pool_range>);
static_assert(!std::is_copy_constructible_v<shmds::atomic<int>> && !std::is_copy_assignable_v<shmds::atomic<int>>);
static_assert(shmds::atomic<double>::is_always_lock_free && shmds::atomic<bool>::is_always_lock_free);

void a_span_is_bytes() {
  const auto segment = fresh(new_name());
  auto span = shmds::span::create(segment, "s", 100);
  CHECK(span.size() == 100 && !span.empty() && span.name() == "s");
  span[99] = std::byte{7};
  auto again = shmds::span::open(segment, "s");
  CHECK(*(again.end() - 1) == std::byte{7});
  throws([&] { (void)shmds::span::create(segment, "s", 99); }, shmds::status::mismatch, "span 's'");
  auto moved = std::move(again);
  CHECK(!again && again.empty() && moved.as_span().size() == 100);
  CHECK(shmds::span_size(100) == 128);
}

void an_array_is_a_container() {
  const auto segment = fresh(new_name());
  auto array = shmds::array<int>::create(segment, "a", {.count = 10});
  CHECK(array.size() == 10 && array.max_size() == 10 && !array.empty() && array.name() == "a");
  std::iota(array.begin(), array.end(), 1);
  CHECK(array.front() == 1 && array.back() == 10 && array[4] == 5 && array.at(9) == 10);
  CHECK(std::accumulate(array.cbegin(), array.cend(), 0) == 55);
  CHECK(std::inner_product(array.begin(), array.end(), array.begin(), 0) == 385);
  CHECK(std::ranges::min(array) == 1 && std::ranges::max(array) == 10);
  std::ranges::transform(array, array.begin(), [](int i) { return 2 * i; });
  CHECK(std::reduce(array.begin(), array.end()) == 110);
  std::iota(array.begin(), array.end(), 1);
  CHECK(*array.rbegin() == 10 && *(array.rend() - 1) == 1 && array.crend() - array.crbegin() == 10);
  std::ranges::sort(array, std::greater<>());
  CHECK(array.data()[0] == 10 && array.as_span().last(1)[0] == 1);
  throws([&] { (void)array.at(10); }, shmds::status::invalid, "array 'a' has 10 elements; 10 is not");
  throws([&] { (void)array.get(10); }, shmds::status::invalid, "array 'a' has 10 elements");
  array.fill(3);
  CHECK(std::ranges::all_of(array, [](int i) { return i == 3; }));
  auto again = shmds::array<int>::open(segment, "a", {.count = 10});
  again.set(2, 9);
  CHECK(array.get(2) == 9);
  throws([&] { (void)shmds::array<double>::open(segment, "a"); }, shmds::status::mismatch, "of 4 bytes, not of 8");
  throws([&] { (void)shmds::array<int>::create(segment, "a", {.count = 11}); }, shmds::status::mismatch, "'a'");
  auto moved = std::move(again);
  CHECK(!again && again.size() == 0 && again.begin() == again.end() && moved[2] == 9);
  throws([&] { (void)again.get(0); }, shmds::status::invalid, "array is NULL");
  throws([&] { (void)again.at(0); }, shmds::status::invalid, "0 elements");

  shm_array_options wide;
  OK(shm_array_options_init(&wide));
  wide.count = 4;
  wide.elem_size = 4;
  wide.elem_align = 64;
  shm_array* made = nullptr;
  OK(shm_array_create(segment.native(), "wide", &wide, &made));
  throws([&] { (void)shmds::array<int>::open(segment, "wide"); }, shmds::status::mismatch, "64 bytes apart");
  OK(shm_array_close(made));
}

void snapshots_know_writers() {
  const auto name = new_name();
  const auto segment = fresh(name);
  auto array = shmds::array<point>::create(segment, "a", {.count = 5, .exclusive = true});
  std::array<point, 5> copy{};
  {
    auto writing = array.write();
    array.set(4, {1, 2, 3});
    throws([&] { (void)array.write(); }, shmds::status::busy, "array 'a'");
    CHECK(array.snapshot(0, copy, 5ms) == shmds::status::timeout);
  }
  CHECK(array.snapshot(0, copy) == shmds::status::ok && copy[4].z == 3);
  auto writing = array.write();
  auto same = std::move(writing);
  array.store(0, copy);
  same.end();
  array.load(4, std::span(copy).first(1));
  CHECK(copy[0].y == 2 && array.stats().writings == 2);
  const auto looking = look(name);
  const auto other = shmds::array<point>::open(looking, "a");
  CHECK(other.back().x == 1 && other.snapshot(0, copy, 1s) == shmds::status::ok);

  const pid_t child = fork_child();
  if (child == 0) {
    auto unfinished = array.write();
    raise(SIGKILL);
  }
  (void)wait_status(child);
  CHECK(array.snapshot(0, copy, 20s) == shmds::status::torn);
  array.write().end();
  CHECK(array.snapshot(0, copy, 20s) == shmds::status::ok);
}

/// Writes while it is destroyed, which may be during an exception.
struct late_writer {
  shmds::array<int>& array;
  ~late_writer() {
    auto writing = array.write();
    array.fill(5);
  }
};

void an_exception_leaves_the_array_torn() {
  const auto segment = fresh(new_name());
  auto array = shmds::array<int>::create(segment, "a", {.count = 5});
  std::array<int, 5> copy{};
  const auto interrupted = [&](auto during) {
    try {
      during();
    } catch (const std::runtime_error&) {
      return true;
    }
    return false;
  };
  CHECK(interrupted([&] {
    auto writing = array.write();
    array.set(0, 1);
    throw std::runtime_error("in the middle");
  }));
  CHECK(array.snapshot(0, copy) == shmds::status::torn && array.stats().unfinished == 1);
  CHECK(interrupted([&] {
    auto first = array.write();
    auto writing = std::move(first);
    throw std::runtime_error("after a move");
  }));
  CHECK(array.snapshot(0, copy) == shmds::status::torn && array.stats().writings == 0);
  array.write().end();
  CHECK(array.snapshot(0, copy) == shmds::status::ok && copy[0] == 1);
  CHECK(interrupted([&] {
    array.write().end();
    throw std::runtime_error("after the end");
  }));
  CHECK(interrupted([&] {
    late_writer writer{array};
    throw std::runtime_error("before the beginning");
  }));
  CHECK(array.snapshot(0, copy) == shmds::status::ok && copy[4] == 5 && array.stats().writings == 3);
  auto writing = array.write();
  writing.abandon();
  CHECK(array.snapshot(0, copy) == shmds::status::torn);
  throws([&] { writing.end(); }, shmds::status::invalid, "array is NULL");
}

template <class T>
void atomic_numbers() {
  const auto segment = fresh(new_name());
  auto x = shmds::atomic<T>::create(segment, "x", T(5));
  auto y = shmds::atomic<T>::open(segment, "x");
  CHECK(x.is_lock_free() && x == T(5) && y.load(std::memory_order_acquire) == T(5));
  CHECK((x = T(6)) == T(6) && y == T(6));
  CHECK(x.fetch_add(T(4)) == T(6) && x.fetch_sub(T(1)) == T(10) && (x += T(2)) == T(11) && (x -= T(1)) == T(10));
  CHECK(x.fetch_min(T(3)) == T(10) && x.fetch_max(T(8)) == T(3) && y.exchange(T(1)) == T(8));
  T expected = T(9);
  CHECK(!x.compare_exchange_strong(expected, T(2)) && expected == T(1));
  while (!x.compare_exchange_weak(expected, T(2), std::memory_order_acq_rel)) {
  }
  CHECK(y == T(2));
  if constexpr (std::is_integral_v<T>) {
    CHECK(++x == 3 && x++ == 3 && --x == 3 && x-- == 3 && x == 2);
    CHECK((x |= 5) == 7 && (x &= 6) == 6 && (x ^= 3) == 5);
    x = std::numeric_limits<T>::max();
    CHECK(++x == std::numeric_limits<T>::min());
  }
  x = T(0);
  const pid_t child = fork_child();
  for (int i = 0; i < 50000; i++) x += T(1);
  x.notify_all();
  if (child == 0) _exit(0);
  for (T now = y; now != T(100000); now = y) (void)y.wait_for(now, 50ms);
  CHECK_CHILD(child);
  CHECK(!x.wait_for(x, 1ms) && x.wait(T(1)) == T(100000));
  throws([&] { (void)shmds::atomic<bool>::open(segment, "x"); }, shmds::status::mismatch, "not a bool");
  auto moved = std::move(x);
  CHECK(moved == T(100000));
  throws([&] { (void)x.load(); }, shmds::status::invalid, "empty");
  throws([&] { x = T(1); }, shmds::status::invalid, "empty");
}

void atomic_flags_and_lookers() {
  const auto name = new_name();
  const auto segment = fresh(name);
  auto flag = shmds::atomic_bool::create(segment, "f", true);
  CHECK(flag && (flag &= true) && !(flag ^= true) && (flag |= true) && flag.exchange(false) && !flag);
  const auto looking = look(name);
  auto seen = shmds::atomic_bool::open(looking, "f");
  CHECK(!seen);
  flag.store(true);
  CHECK(seen && seen.wait(false));
  throws([&] { seen.exchange(false); }, shmds::status::read_only, "atomic 'f'");
  throws([&] { seen = false; }, shmds::status::read_only, "read-only");
  CHECK(flag);
}

template <class T>
void not_a_number_is_passed_over() {
  const auto segment = fresh(new_name());
  const T nan = std::numeric_limits<T>::quiet_NaN();
  auto x = shmds::atomic<T>::create(segment, "x", T(5));
  CHECK(x.fetch_min(nan) == T(5) && x.fetch_max(nan) == T(5) && x == T(5));
  x = nan;
  CHECK(std::isnan(x.fetch_min(T(7))) && x == T(7));
  x = nan;
  CHECK(std::isnan(x.fetch_max(T(8))) && x == T(8));
  x = nan;
  CHECK(std::isnan(x.fetch_max(nan)) && std::isnan(x.load()));
}

void a_scribbled_bool_is_true() {
  const auto segment = fresh(new_name());
  auto flag = shmds::atomic_bool::create(segment, "f", false);
  auto* const byte = reinterpret_cast<unsigned char*>(flag.bytes().data());
  for (int scribbled = 1; scribbled < 256; scribbled++) {
    const auto scribble = [&] { *byte = static_cast<unsigned char>(scribbled); };
    scribble();
    bool expected = false;
    CHECK(flag && flag.wait(false) && !flag.wait_for(true, 0ms));
    CHECK(!flag.compare_exchange_strong(expected, false) && expected && *byte == scribbled);
    CHECK(flag.compare_exchange_strong(expected, false) && *byte == 0);
    scribble();
    while (!flag.compare_exchange_weak(expected = true, true, std::memory_order_acq_rel, std::memory_order_relaxed)) {
    }
    CHECK(*byte == 1);
    scribble();
    CHECK(flag.fetch_and(true) && *byte == 1);
    scribble();
    CHECK(flag.fetch_and(false) && *byte == 0);
    scribble();
    CHECK(flag.fetch_or(false) && *byte == 1);
    scribble();
    CHECK(flag.fetch_xor(true) && *byte == 0);
    scribble();
    CHECK(!(flag ^= true) && *byte == 0);
    scribble();
    CHECK(flag.exchange(false) && *byte == 0);
  }
}

void a_pool_lends_objects() {
  const auto name = new_name();
  const auto segment = fresh(name), second = shmds::segment::open(name);
  auto pool = shmds::pool<point>::create(segment, "p", {.capacity = 4});
  auto theirs = shmds::pool<point>::open(second, "p", {.capacity = 4});
  CHECK(pool.capacity() == 4 && pool.empty() && !pool.full() && pool.available() == 4);
  const auto one = pool.acquire_construct(1.0, 2.0, 3.0);
  CHECK(one && pool[*one].y == 2 && theirs.get(*one)->z == 3 && pool.is_valid(*one) && pool.allocated() == 1);
  CHECK(!pool.is_valid(pool.invalid_handle));
  throws([&] { theirs.release(*one); }, shmds::status::invalid, "belongs to participant");
  std::array<shmds::pool_handle, 5> rest{};
  CHECK(theirs.acquire_batch(rest) == 3 && pool.full() && !pool.acquire() && !pool.acquire_construct());
  std::size_t owned = 0;
  for (auto h : pool.handles()) owned += pool.is_valid(h);
  CHECK(owned == 4);
  CHECK(pool.hand_over(*one, theirs.owner(rest[0])) && !theirs.hand_over(rest[0], 60));
  theirs.release(*one);
  CHECK(!pool.is_valid(*one));
  throws([&] { pool.adopt(*one); }, shmds::status::invalid, "stale");
  throws([&] { (void)pool.get(*one); }, shmds::status::invalid, "stale");
  pool.adopt(rest[0]);
  pool.release(rest[0]);
  theirs.release_batch(std::span(rest).subspan(1, 2));
  CHECK(pool.empty() && pool.handles().begin() == pool.handles().end());
  throws([&] { (void)shmds::pool<int>::open(segment, "p"); }, shmds::status::mismatch, "pool 'p'");

  auto picky = shmds::pool<positive>::create(segment, "picky", {.capacity = 1});
  bool thrown = false;
  try {
    (void)picky.acquire_construct(-1);
  } catch (const std::runtime_error&) {
    thrown = true;
  }
  const auto good = picky.acquire_construct(1);
  CHECK(thrown && good && picky[*good].value == 1);
  auto moved = std::move(picky);
  CHECK(!picky && moved.is_valid(*good));
  throws([&] { (void)picky.acquire(); }, shmds::status::invalid, "pool is NULL");
}

void everything_is_removed_at_once() {
  const auto segment = fresh(new_name());
  const auto span = shmds::span::create(segment, "s", 1000);
  for (int i = 0; i < 20; i++) (void)shmds::atomic<int>::create(segment, std::to_string(i), i);
  CHECK(segment.remove_all() == 21 && segment.entries().begin() == segment.entries().end());
  CHECK(segment.stats().entries_used == 1 && segment.remove_all() == 0);  // ours is still open
  const auto looking = look(segment.name().data());
  throws([&] { looking.remove_all(); }, shmds::status::read_only, "read-only");
}

/// What the structure shows of itself is what the table says of it.
template <class Structure>
void shows(const shmds::segment& segment, Structure& structure) {
  const std::span<std::byte> bytes = structure.bytes();
  const std::span<const std::byte> same = std::as_const(structure).bytes();
  const auto entry = segment.find(structure.name());
  CHECK(entry && bytes.data() == same.data() && bytes.size() == same.size());
  CHECK(bytes.size() == entry->size && bytes.data() - segment.bytes().data() == std::ptrdiff_t(entry->offset));
}

void every_structure_shows_its_bytes() {
  const auto segment = fresh(new_name());
  CHECK(segment.bytes().size() == segment.stats().size);
  CHECK(std::memcmp(segment.bytes().data(), "SHMDSEG", 8) == 0);
  auto span = shmds::span::create(segment, "s", 1000);
  auto array = shmds::array<std::uint64_t>::create(segment, "a", {.count = 3});
  auto atomic = shmds::atomic<int>::create(segment, "x", 7);
  auto queue = shmds::queue<int>::create(segment, "q", {.capacity = 4});
  auto pool = shmds::pool<point>::create(segment, "p", {.capacity = 4});
  shows(segment, span);
  shows(segment, array);
  shows(segment, atomic);
  shows(segment, queue);
  shows(segment, pool);
  auto ring = shmds::ring<int>::create(segment, "r", {.capacity = 4});
  shows(segment, ring);
  CHECK(static_cast<void*>(array.data()) == array.bytes().data() + 128 && atomic.bytes()[0] == std::byte{7});
  auto moved = std::move(queue);
  throws([&] { (void)queue.bytes(); }, shmds::status::invalid, "queue is NULL");
}

void one_size_holds_them_all() {
  shmds::segment_options options{.exclusive = true, .table = shmds::table::small};
  options.size = shmds::segment_size(options, {shmds::span_size(1000, 4096), shmds::array_size<point>(100),
                                               shmds::atomic_size(), shmds::pool_size<point>(50)});
  const auto segment = shmds::segment::create(new_name(), options);
  const auto span = shmds::span::create(segment, "s", 1000, 4096);
  const auto array = shmds::array<point>::create(segment, "a", {.count = 100});
  const auto atomic = shmds::atomic<double>::create(segment, "x", 1.5);
  const auto pool = shmds::pool<point>::create(segment, "p", {.capacity = 50});
  CHECK(span && array && atomic == 1.5 && pool);
}

}  // namespace

int main() {
  support_start(100);
  RUN(a_span_is_bytes);
  RUN(an_array_is_a_container);
  RUN(snapshots_know_writers);
  RUN(an_exception_leaves_the_array_torn);
  RUN(atomic_numbers<std::int32_t>);
  RUN(atomic_numbers<std::uint32_t>);
  RUN(atomic_numbers<std::int64_t>);
  RUN(atomic_numbers<std::uint64_t>);
  RUN(atomic_numbers<float>);
  RUN(atomic_numbers<double>);
  RUN(atomic_flags_and_lookers);
  RUN(not_a_number_is_passed_over<float>);
  RUN(not_a_number_is_passed_over<double>);
  RUN(a_scribbled_bool_is_true);
  RUN(a_pool_lends_objects);
  RUN(everything_is_removed_at_once);
  RUN(every_structure_shows_its_bytes);
  RUN(one_size_holds_them_all);
  return 0;
}
