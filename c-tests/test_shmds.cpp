// The C++ face: the same library, typed and owned.
#include "support.h"

#include "shmds.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <limits>
#include <numeric>
#include <ranges>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t size = 1u << 20;
constexpr auto long_enough = 20s;

/// The call throws an error of this status whose sentence has this in it.
#define CHECK_THROWS(call, expected, part)                                                                   \
  do {                                                                                                       \
    bool thrown_ = false;                                                                                    \
    try {                                                                                                    \
      (void)(call);                                                                                          \
    } catch (const shmds::error& e) {                                                                        \
      thrown_ = true;                                                                                        \
      if (e.status() != (expected)) FAIL("%s threw %s: %s", #call, shmds::to_string(e.status()), e.what());  \
      if (std::string(e.what()).find(part) == std::string::npos) FAIL("sentence lacks it: %s", e.what());    \
    }                                                                                                        \
    if (!thrown_) FAIL("%s did not throw", #call);                                                           \
  } while (0)

shmds::segment fresh(shmds::segment_options options = {.size = size}) {
  options.exclusive = true;
  return shmds::segment::create(new_name(), options);
}

struct order {
  std::uint64_t id;
  double price;
  std::array<char, 16> symbol;
  friend bool operator==(const order&, const order&) = default;
};

// ---- what the compiler checks -----------------------------------------------------------------------------------

static_assert(!std::is_copy_constructible_v<shmds::segment> && !std::is_copy_assignable_v<shmds::segment>);
static_assert(!std::is_copy_constructible_v<shmds::queue<int>> && !std::is_copy_assignable_v<shmds::queue<int>>);
static_assert(!std::is_copy_constructible_v<shmds::queue<int>::slot>);
static_assert(!std::is_copy_constructible_v<shmds::queue<int>::view>);
static_assert(std::is_nothrow_move_constructible_v<shmds::segment>);
static_assert(std::is_nothrow_move_assignable_v<shmds::segment>);
static_assert(std::is_nothrow_move_constructible_v<shmds::queue<int>>);
static_assert(std::is_nothrow_move_constructible_v<shmds::queue<int>::slot>);
static_assert(std::is_nothrow_move_assignable_v<shmds::queue<int>::view>);
static_assert(std::is_base_of_v<std::runtime_error, shmds::error>);
static_assert(std::is_same_v<decltype(std::declval<shmds::queue<int>::view>().get()), const int*>);

static_assert(shmds::element<int> && shmds::element<order> && shmds::element<std::array<char, 7>>);
static_assert(!shmds::element<std::string> && !shmds::element<const int> && !shmds::element<int&>);
static_assert(!shmds::element<std::vector<int>> && !shmds::element<void>);
struct alignas(8192) too_aligned {
  char bytes[8192];
};
static_assert(!shmds::element<too_aligned>);

static_assert(std::ranges::input_range<shmds::entry_range> && std::ranges::view<shmds::entry_range>);

static_assert(shmds::timeout(0s).nanoseconds() == 0);
static_assert(shmds::timeout(-1s).nanoseconds() == 0);
static_assert(shmds::timeout(std::chrono::hours::min()).nanoseconds() == 0);
static_assert(shmds::timeout(1ns).nanoseconds() == 1);
static_assert(shmds::timeout(1500us).nanoseconds() == 1'500'000);
static_assert(shmds::timeout(std::chrono::duration<double>(0.25)).nanoseconds() == 250'000'000);
static_assert(shmds::timeout(std::chrono::duration<double, std::pico>(1)).nanoseconds() == 1);
static_assert(shmds::timeout(shmds::forever).nanoseconds() == SHM_FOREVER);
static_assert(shmds::timeout(std::chrono::milliseconds::max()).nanoseconds() == SHM_FOREVER);
static_assert(shmds::timeout(std::chrono::hours::max()).nanoseconds() == SHM_FOREVER);
static_assert(shmds::timeout(std::chrono::hours(24) * 365 * 1000).nanoseconds() == SHM_FOREVER);
static_assert(shmds::timeout(std::chrono::hours(24) * 365 * 500).nanoseconds() == 15'768'000'000'000'000'000u);
static_assert(shmds::timeout(std::chrono::nanoseconds::max() - 1ns).nanoseconds() == 9'223'372'036'854'775'806u);

void timeouts_that_are_no_numbers_are_none() {
  using seconds = std::chrono::duration<double>;
  CHECK_U64(shmds::timeout(seconds(std::numeric_limits<double>::quiet_NaN())).nanoseconds(), 0);
  CHECK_U64(shmds::timeout(seconds(std::numeric_limits<double>::infinity())).nanoseconds(), SHM_FOREVER);
  CHECK_U64(shmds::timeout(seconds(-std::numeric_limits<double>::infinity())).nanoseconds(), 0);
  CHECK_U64(shmds::timeout(seconds(1e300)).nanoseconds(), SHM_FOREVER);
}

void the_library_says_its_version() {
  CHECK(!shmds::version().empty());
  CHECK(shmds::to_string(shmds::status::full) == std::string(shm_status_string(SHM_FULL)));
  CHECK(shmds::to_string(static_cast<shmds::status>(4711)) != nullptr);
}

// ---- segments ---------------------------------------------------------------------------------------------------

void a_segment_closes_itself() {
  const char* name = new_name();
  {
    const auto a = shmds::segment::create(name, {.size = size, .exclusive = true});
    CHECK(a.name() == name + 1 || a.name() == name);
    CHECK_U64(a.count(), 1);
    {
      const auto b = shmds::segment::open(name);
      CHECK_U64(a.count(), 2);
    }
    CHECK_U64(a.count(), 1);
    CHECK(file_exists(name));
  }
  CHECK(!file_exists(name));
}

void a_moved_segment_is_the_same_and_leaves_nothing_behind() {
  const char* name = new_name();
  auto a = shmds::segment::create(name, {.size = size});
  auto* const handle = a.native();
  auto b = std::move(a);
  CHECK(b.native() == handle && b && !a && a.native() == nullptr);
  CHECK_U64(b.count(), 1);
  CHECK_THROWS(a.count(), shmds::status::invalid, "");
  CHECK_THROWS(a.name(), shmds::status::invalid, "");
  CHECK_THROWS(a.find("x"), shmds::status::invalid, "");
  CHECK_THROWS(shmds::queue<int>::create(a, "x", {.capacity = 1}), shmds::status::invalid, "");

  auto other = fresh();
  const std::string other_name(other.name());
  other = std::move(b); // closes what it had
  CHECK(!file_exists(other_name.c_str()));
  CHECK(other.native() == handle);
  CHECK_U64(other.count(), 1);
  a = std::move(other); // an empty one can be filled again
  CHECK_U64(a.count(), 1);
}

void factories_throw_with_status_and_sentence() {
  const char* name = new_name();
  CHECK_THROWS(shmds::segment::open(name), shmds::status::not_found, name + 1);
  CHECK_THROWS(shmds::segment::create(name, {}), shmds::status::invalid, "0");
  CHECK_THROWS(shmds::segment::create("a/b", {.size = size}), shmds::status::invalid, "a/b");
  CHECK_THROWS(shmds::segment::create(std::string_view("cut\0off", 7), {.size = size}), shmds::status::invalid, "cut");
  const auto segment = shmds::segment::create(name, {.size = size});
  CHECK_THROWS(shmds::segment::create(name, {.size = size, .exclusive = true}), shmds::status::exists, name + 1);
  CHECK_THROWS(shmds::queue<int>::open(segment, "nobody"), shmds::status::not_found, "nobody");
  CHECK_THROWS(shmds::queue<int>::create(segment, "none", {}), shmds::status::invalid, "0");
  CHECK_THROWS(segment.find(std::string_view("cut\0off", 7)), shmds::status::invalid, "cut");
}

void names_may_be_any_kind_of_string() {
  const std::string name = new_name();
  const auto segment = shmds::segment::create(std::string_view(name), {.size = size});
  const std::string_view part = std::string_view("queue-and-more").substr(0, 5); // not terminated where it ends
  const auto queue = shmds::queue<int>::create(segment, part, {.capacity = 4});
  CHECK(segment.find("queue").has_value() && !segment.find("queue-and-more"));
  for (const auto text : {std::string_view("queue\0", 6), std::string_view("queue\0x", 7), std::string_view("nil\0x", 5)}) {
    CHECK_THROWS((void)segment.find(text), shmds::status::invalid, "control character");
  }
  CHECK(queue.name() == "queue");
}

void options_reach_the_library() {
  const char* name = new_name();
  const shmds::segment_options options{.size = size,
                                       .exclusive = true,
                                       .persistent = true,
                                       .mode = 0640,
                                       .table = shmds::table::custom(20, 7),
                                       .max_participants = 3,
                                       .max_allocation = 4096,
                                       .lock_timeout = 100ms};
  {
    const auto segment = shmds::segment::create(name, options);
    const auto stats = segment.stats();
    CHECK_U64(stats.table_name_bytes, 20);
    CHECK_U64(stats.entries_free, 7);
    CHECK_U64(stats.max_participants, 3);
    CHECK(stats.flags & SHM_PERSISTENT);
    struct stat st;
    CHECK(stat(path_of(name), &st) == 0 && (st.st_mode & 07777) == 0640);
    CHECK_THROWS(shmds::queue<order>::create(segment, "large", {.capacity = 4096}), shmds::status::no_space, "4096");
  }
  CHECK(file_exists(name));
  const auto reader = shmds::segment::open(name, {.read_only = true});
  CHECK(reader.stats().flags & SHM_READ_ONLY);
  CHECK_THROWS(shmds::queue<int>::create(reader, "q", {.capacity = 4}), shmds::status::read_only, "read-only");
  CHECK(shmds::segment::unlink(name));
  CHECK(!shmds::segment::unlink(name));
  CHECK(!file_exists(name));
  CHECK_U64(reader.stats().orphaned, 1);
}

void the_table_shapes_have_their_sizes() {
  const std::pair<shmds::table_shape, std::uint32_t> shapes[] = {{shmds::table::small, 16},
                                                                 {shmds::table::standard, 64},
                                                                 {shmds::table::large, 256},
                                                                 {shmds::table::huge, 1024}};
  for (const auto& [shape, entries] : shapes) {
    CHECK_U64(fresh({.size = 2 * size, .table = shape}).stats().entries_free, entries);
  }
}

void the_table_is_a_range() {
  const auto segment = fresh();
  CHECK(segment.entries().begin() == segment.entries().end());
  for (const char* name : {"alpha", "beta", "gamma"}) {
    auto queue = shmds::queue<order>::create(segment, name, {.capacity = 8, .tag = 99});
  }
  auto single = shmds::queue<char>::create(segment, "delta", {.capacity = 8, .single = true});
  std::vector<std::string> names;
  for (const shmds::entry& e : segment.entries()) names.emplace_back(e.name);
  std::ranges::sort(names);
  CHECK((names == std::vector<std::string>{"alpha", "beta", "delta", "gamma"}));

  auto orders = segment.entries() | std::views::filter([](const auto& e) { return e.elem_size == sizeof(order); });
  CHECK_U64(std::ranges::distance(orders), 3);
  auto entries = segment.entries();
  const auto delta = std::ranges::find_if(entries, [](const auto& e) { return e.name == std::string_view("delta"); });
  CHECK(delta != entries.end() && delta->kind == SHM_KIND_QUEUE && (delta->flags & SHM_SPSC));
  for (auto i = entries.begin(); i != entries.end(); i++) CHECK_U64(i->count, 8);

  const auto found = segment.find("beta");
  CHECK(found && found->type_tag == 99 && found->elem_align == alignof(order));
  CHECK(!segment.find("epsilon"));
  CHECK(segment.remove("beta"));
  CHECK(!segment.remove("beta"));
  CHECK(!segment.find("beta"));
  CHECK(segment.wait_for("alpha", 0s));
  CHECK(!segment.wait_for("beta", 5ms));
}

void the_estimate_is_enough() {
  const shmds::segment_options shape{.table = shmds::table::small, .max_participants = 5};
  auto options = shape;
  options.size = shmds::segment_size(
      shape, {shmds::queue_size<order>(1000), shmds::queue_size<char>(500, true), shmds::queue_size<std::uint64_t>(3)});
  const auto segment = fresh(options);
  auto a = shmds::queue<order>::create(segment, "a", {.capacity = 1000});
  auto b = shmds::queue<char>::create(segment, "b", {.capacity = 500, .single = true});
  auto c = shmds::queue<std::uint64_t>::create(segment, "c", {.capacity = 3});
  CHECK(a.capacity() == 1024 && b.capacity() == 512 && c.capacity() == 4);
  CHECK_THROWS(shmds::segment_size({}, {UINT64_MAX, 1}), shmds::status::invalid, "64 bits");
  CHECK_THROWS(shmds::queue_size<order>(UINT64_MAX), shmds::status::invalid, "18446744073709551615");
}

void participants_are_listed_and_reaped() {
  const auto segment = fresh();
  signal_pipe there = new_pipe();
  const pid_t child = fork_child();
  if (child == 0) {
    say(there);
    for (;;) pause();
  }
  await(there);
  auto people = segment.participants();
  CHECK_U64(people.size(), 2);
  CHECK(std::ranges::count_if(people, [](const auto& p) { return p.is_self != 0; }) == 1);
  const auto is_child = [&](const auto& p) { return static_cast<pid_t>(p.pid) == child && p.alive; };
  CHECK(std::ranges::count_if(people, is_child) == 1);
  kill_child(child);
  people = segment.participants();
  CHECK(std::ranges::count_if(people, [](const auto& p) { return p.alive != 0; }) == 1);
  CHECK_U64(segment.count(), 1);
  CHECK_U64(segment.reap(), 1);
  CHECK_U64(segment.participants().size(), 1);
  close_pipe(there);
}

// ---- queues -----------------------------------------------------------------------------------------------------

void a_queue_takes_and_gives(bool single) {
  const auto segment = fresh();
  auto queue = shmds::queue<order>::create(segment, "orders", {.capacity = 3, .single = single, .tag = 7});
  const order first{1, 2.5, {'A', 'B'}}, second{2, -1, {'C'}};
  CHECK(queue.capacity() == 4 && queue.empty() && !queue.full() && queue.single() == single);
  CHECK(queue.name() == "orders" && queue.tag() == 7);
  CHECK(!queue.dequeue());
  CHECK(queue.enqueue(first));
  CHECK(queue.enqueue(second));
  CHECK(queue.enqueue({3, 0, {}}));
  CHECK(queue.enqueue_for({4, 0, {}}, 0s));
  CHECK(queue.full() && queue.size() == 4);
  CHECK(!queue.enqueue(first));
  CHECK(!queue.enqueue_for(first, 1ms));
  CHECK(queue.dequeue() == first);
  order out{};
  CHECK(queue.dequeue(out));
  CHECK(out == second);
  const auto third = queue.dequeue_for(shmds::forever);
  CHECK(third && third->id == 3);
  CHECK(queue.dequeue()->id == 4);
  CHECK(!queue.dequeue(out) && out == second);
  CHECK(!queue.dequeue_for(1ms));
  CHECK_U64(queue.stats().enqueued, 4);
}

template <class T>
void check_type(const T& value) {
  const auto segment = fresh({.size = 4 * size});
  for (const bool single : {false, true}) {
    auto queue = shmds::queue<T>::create(segment, single ? "single" : "many", {.capacity = 4, .single = single});
    for (int round = 0; round < 10; round++) {
      CHECK(queue.enqueue(value));
      auto place = queue.claim();
      CHECK(place && reinterpret_cast<std::uintptr_t>(place.get()) % alignof(T) == 0);
      *place = value;
      place.commit();
      const auto out = queue.dequeue();
      CHECK(out && std::memcmp(&*out, &value, sizeof value) == 0);
      const auto view = queue.peek();
      CHECK(view && reinterpret_cast<std::uintptr_t>(view.get()) % alignof(T) == 0);
      CHECK(std::memcmp(view.get(), &value, sizeof value) == 0);
    }
  }
}

enum class color : std::uint8_t { red = 1, green = 2 };
struct alignas(64) line {
  int values[32];
};
struct alignas(4096) page {
  char bytes[4096];
};
class positive { // no default constructor
 public:
  explicit positive(int value) : value_(value) {
    if (value <= 0) throw std::domain_error("not positive");
  }
  int value() const { return value_; }

 private:
  int value_;
};

void elements_may_be_of_any_plain_type() {
  check_type('x');
  check_type(true);
  check_type(std::uint64_t{1} << 63);
  check_type(3.5f);
  check_type(color::green);
  check_type(std::array<std::uint8_t, 3>{1, 2, 3});
  check_type(std::array<std::uint32_t, 7>{1, 2, 3, 4, 5, 6, 7});
  check_type(order{1, 2, {'x'}});
  check_type(line{{1, 2, 3}});
  check_type(page{{'p'}});
  check_type(positive(3));
}

void bulk_takes_spans(bool single) {
  const auto segment = fresh();
  auto queue = shmds::queue<int>::create(segment, "ints", {.capacity = 8, .single = single});
  std::vector<int> in(12), out(12);
  std::iota(in.begin(), in.end(), 0);
  CHECK_U64(queue.enqueue_bulk({}), 0);
  CHECK_U64(queue.enqueue_bulk(std::span(in).first(3)), 3);
  CHECK_U64(queue.enqueue_bulk(std::span(in).subspan(3)), 5);
  CHECK_U64(queue.enqueue_bulk(in), 0);
  CHECK_U64(queue.enqueue_bulk_for(in, 1ms), 0);
  CHECK_U64(queue.dequeue_bulk({}), 0);
  CHECK_U64(queue.dequeue_bulk(out), 8);
  CHECK(std::equal(out.begin(), out.begin() + 8, in.begin()));
  CHECK_U64(queue.dequeue_bulk(out), 0);
  CHECK_U64(queue.dequeue_bulk_for(out, 1ms), 0);
  CHECK_U64(queue.enqueue_bulk_for(in, 1ms), 8);
  std::array<int, 3> three{};
  CHECK_U64(queue.dequeue_bulk_for(three, shmds::forever), 3);
  CHECK(three[2] == 2);
}

void slots_commit_or_abort(bool single) {
  const auto segment = fresh();
  auto queue = shmds::queue<order>::create(segment, "orders", {.capacity = 4, .single = single});
  {
    auto place = queue.claim();
    CHECK(place);
    place->id = 1; // and never committed
  }
  if (auto place = queue.claim()) {
    place->id = 2;
    place->price = 7;
    place.commit();
    CHECK(!place && place.get() == nullptr);
    CHECK_THROWS(place.commit(), shmds::status::invalid, "");
  }
  auto place = queue.claim_for(0s);
  auto moved = std::move(place);
  CHECK(!place && moved);
  moved->id = 3;
  moved.commit();
  place = queue.claim();
  place.abort();
  CHECK(!place);
  CHECK(queue.dequeue()->id == 2);
  CHECK(queue.dequeue()->id == 3);
  CHECK(!queue.dequeue());

  shmds::queue<order>::slot assigned;
  CHECK(!assigned);
  assigned = queue.claim();
  assigned->id = 4;
  assigned.commit();
  for (std::uint64_t id = 5; id < 8; id++) CHECK(queue.enqueue({id, 0, {}}));
  CHECK(!queue.claim());
  CHECK(!queue.claim_for(1ms));
  for (std::uint64_t id = 4; id < 8; id++) CHECK(queue.dequeue()->id == id);
}

void views_release(bool single) {
  const auto segment = fresh();
  auto queue = shmds::queue<order>::create(segment, "orders", {.capacity = 2, .single = single});
  CHECK(!queue.peek());
  CHECK(!queue.peek_for(1ms));
  for (std::uint64_t round = 0; round < 10; round++) {
    CHECK(queue.enqueue({round, 1, {}}));
    CHECK(queue.enqueue({round + 100, 1, {}}));
    {
      const auto view = queue.peek();
      CHECK(view && view->id == round && (*view).price == 1);
      CHECK(!queue.enqueue({0, 0, {}})); // still there
    }
    CHECK(queue.enqueue({round + 200, 1, {}}));
    auto view = queue.peek_for(shmds::forever);
    CHECK(view->id == round + 100);
    auto moved = std::move(view);
    moved.release();
    CHECK(!moved && !view);
    CHECK_THROWS(moved.release(), shmds::status::invalid, "");
    CHECK(queue.dequeue()->id == round + 200);
  }
}

void emplace_constructs_in_place(bool single) {
  const auto segment = fresh();
  auto orders = shmds::queue<order>::create(segment, "orders", {.capacity = 2, .single = single});
  CHECK(orders.emplace(7u, 1.5, std::array<char, 16>{'Z'}));
  CHECK((orders.dequeue() == order{7, 1.5, {'Z'}}));
  auto numbers = shmds::queue<positive>::create(segment, "numbers", {.capacity = 2, .single = single});
  CHECK(numbers.emplace(1));
  bool thrown = false;
  try {
    (void)numbers.emplace(-1);
  } catch (const std::domain_error&) {
    thrown = true;
  }
  CHECK(thrown);
  CHECK(numbers.dequeue()->value() == 1);
  CHECK(!numbers.dequeue());
  CHECK(numbers.emplace(2));
  CHECK(numbers.emplace(3));
  CHECK(!numbers.emplace(4));
  CHECK(numbers.dequeue()->value() == 2);
}

void another_type_is_a_mismatch() {
  const auto segment = fresh();
  auto queue = shmds::queue<order>::create(segment, "orders", {.capacity = 16, .tag = 5});
  CHECK_THROWS(shmds::queue<int>::open(segment, "orders"), shmds::status::mismatch, "orders");
  CHECK_THROWS(shmds::queue<line>::create(segment, "orders", {.capacity = 16}), shmds::status::mismatch, "orders");
  CHECK_THROWS(shmds::queue<order>::open(segment, "orders", {.capacity = 64}), shmds::status::mismatch, "64");
  CHECK_THROWS(shmds::queue<order>::open(segment, "orders", {.single = true}), shmds::status::mismatch, "orders");
  CHECK_THROWS(shmds::queue<order>::open(segment, "orders", {.tag = 6}), shmds::status::mismatch, "orders");
  CHECK_THROWS(shmds::queue<order>::create(segment, "orders", {.capacity = 16, .exclusive = true}),
               shmds::status::exists, "orders");
  CHECK(shmds::queue<order>::open(segment, "orders", {.capacity = 16, .single = false, .tag = 5}).capacity() == 16);
  auto single = shmds::queue<order>::create(segment, "single", {.capacity = 16, .single = true});
  CHECK(shmds::queue<order>::open(segment, "single").single()); // as it is
  CHECK_THROWS(shmds::queue<order>::open(segment, "single", {.single = false}), shmds::status::mismatch, "single");
}

void a_moved_queue_is_the_same_and_leaves_nothing_behind() {
  const auto segment = fresh();
  auto a = shmds::queue<int>::create(segment, "ints", {.capacity = 4});
  CHECK(a.enqueue(1));
  auto b = std::move(a);
  CHECK(!a && b && b.name() == "ints" && b.capacity() == 4);
  CHECK(b.dequeue() == 1);
  CHECK_THROWS(a.enqueue(1), shmds::status::invalid, "");
  CHECK_THROWS(a.dequeue(), shmds::status::invalid, "");
  CHECK_THROWS(a.size(), shmds::status::invalid, "");
  CHECK_THROWS(a.claim(), shmds::status::invalid, "");
  shmds::queue<int> c;
  CHECK(!c);
  c = std::move(b);
  auto place = c.claim();
  a = std::move(c); // a place does not mind where its queue goes
  *place = 2;
  place.commit();
  CHECK(a.dequeue() == 2);
}

void a_queue_outlives_its_segment_object() {
  shmds::queue<int> queue;
  {
    const auto segment = fresh();
    queue = shmds::queue<int>::create(segment, "ints", {.capacity = 4});
  }
  CHECK(queue.enqueue(1));
  CHECK(queue.dequeue() == 1);
}

void c_and_cpp_handles_meet(bool single) {
  const auto segment = fresh();
  auto queue = shmds::queue<order>::create(segment, "orders", {.capacity = 4, .single = single});
  shm_queue* c = open_queue(segment.native(), "orders");
  order value{1, 2, {'c'}};
  OK(shm_queue_enqueue(c, &value));
  CHECK(queue.dequeue() == value);
  if (!single) {
    value.id = 2;
    CHECK(queue.enqueue(value));
    order out{};
    OK(shm_queue_dequeue(c, &out));
    CHECK(out == value);
    OK(shm_queue_enqueue(queue.native(), &value));
    CHECK(queue.dequeue() == value);
  } else {
    CHECK_THROWS(queue.enqueue(value), shmds::status::busy, "orders");
    order out{};
    CHECK_STATUS(shm_queue_dequeue(c, &out), SHM_ERR_BUSY);
  }
  OK(shm_queue_close(c));
}

void a_read_only_queue_throws_where_it_would_write() {
  const auto segment = fresh();
  auto queue = shmds::queue<int>::create(segment, "ints", {.capacity = 4});
  CHECK(queue.enqueue(1));
  const auto reader = shmds::segment::open(segment.name(), {.read_only = true});
  auto other = shmds::queue<int>::open(reader, "ints");
  CHECK(other.size() == 1 && !other.closed());
  CHECK_THROWS(other.enqueue(1), shmds::status::read_only, "");
  CHECK_THROWS(other.dequeue(), shmds::status::read_only, "");
  CHECK_THROWS(other.shutdown(), shmds::status::read_only, "");
}

void shutdown_is_an_outcome_not_an_error(bool single) {
  const auto segment = fresh();
  auto queue = shmds::queue<int>::create(segment, "ints", {.capacity = 4, .single = single});
  CHECK(queue.enqueue(1));
  CHECK(!queue.closed());
  queue.shutdown();
  CHECK(queue.closed());
  const int values[] = {1, 2};
  int out[2];
  CHECK(!queue.enqueue(2));
  CHECK(!queue.enqueue_for(2, shmds::forever));
  CHECK(!queue.emplace(2));
  CHECK_U64(queue.enqueue_bulk_for(values, shmds::forever), 0);
  CHECK(queue.dequeue_for(shmds::forever) == 1);
  CHECK(!queue.dequeue_for(shmds::forever));
  CHECK(!queue.peek_for(shmds::forever));
  CHECK_U64(queue.dequeue_bulk_for(out, shmds::forever), 0);
}

struct numbered {
  int producer, sequence;
};

void threads_share_a_queue() {
  constexpr int producers = 2, consumers = 2, each = 50000;
  const auto segment = fresh();
  auto queue = shmds::queue<numbered>::create(segment, "numbered", {.capacity = 256});
  std::array<std::array<int, producers>, consumers> taken{};
  {
    std::vector<std::jthread> consuming;
    for (auto& mine : taken) {
      consuming.emplace_back([&queue, &mine] {
        std::array<int, producers> next{};
        while (const auto taken_out = queue.dequeue_for(long_enough)) {
          const auto [producer, sequence] = *taken_out;
          CHECK(sequence >= next[static_cast<std::size_t>(producer)]);
          next[static_cast<std::size_t>(producer)] = sequence + 1;
          mine[static_cast<std::size_t>(producer)]++;
        }
        CHECK(queue.closed());
      });
    }
    {
      std::vector<std::jthread> producing;
      for (int p = 0; p < producers; p++) {
        producing.emplace_back([&queue, p] {
          for (int i = 0; i < each; i++) CHECK(queue.enqueue_for({p, i}, long_enough));
        });
      }
    }
    queue.shutdown();
  }
  for (std::size_t p = 0; p < producers; p++) CHECK(taken[0][p] + taken[1][p] == each);
}

void processes_share_a_queue(bool single) {
  constexpr std::uint64_t many = 50000;
  const auto segment = fresh();
  const pid_t child = fork_child();
  if (child == 0) {
    {
      const auto mine = shmds::segment::open(segment.name());
      CHECK(mine.wait_for("numbers", long_enough));
      auto queue = shmds::queue<std::uint64_t>::open(mine, "numbers");
      std::vector<std::uint64_t> some(37);
      for (std::uint64_t next = 0; next < many;) {
        const auto n = std::min<std::uint64_t>(some.size(), many - next);
        std::iota(some.begin(), some.end(), next);
        CHECK(queue.enqueue_bulk_for(std::span(some).first(n), long_enough) == n);
        next += n;
      }
      queue.shutdown();
    }
    _exit(0);
  }
  auto queue = shmds::queue<std::uint64_t>::create(segment, "numbers", {.capacity = 64, .single = single});
  std::uint64_t expected = 0;
  while (auto view = queue.peek_for(long_enough)) CHECK_U64(*view, expected++);
  CHECK(queue.closed());
  CHECK_U64(expected, many);
  CHECK_CHILD(child);
}

void a_dead_producers_place_is_stepped_over(bool single) {
  const auto segment = fresh();
  auto queue = shmds::queue<int>::create(segment, "ints", {.capacity = 4, .single = single});
  signal_pipe there = new_pipe();
  const pid_t child = fork_child();
  if (child == 0) {
    const auto place = queue.claim();
    CHECK(place);
    *place = 13;
    say(there);
    for (;;) pause();
  }
  await(there);
  kill_child(child);
  CHECK(queue.enqueue(1));
  CHECK(queue.dequeue_for(long_enough) == 1);
  CHECK(!queue.dequeue());
  close_pipe(there);
}

}  // namespace

#define RUN_BOTH(check)   \
  do {                    \
    RUN_WITH(check, false); \
    RUN_WITH(check, true);  \
  } while (0)

int main() {
  support_start(100);
  try {
    RUN(timeouts_that_are_no_numbers_are_none);
    RUN(the_library_says_its_version);
    RUN(a_segment_closes_itself);
    RUN(a_moved_segment_is_the_same_and_leaves_nothing_behind);
    RUN(factories_throw_with_status_and_sentence);
    RUN(names_may_be_any_kind_of_string);
    RUN(options_reach_the_library);
    RUN(the_table_shapes_have_their_sizes);
    RUN(the_table_is_a_range);
    RUN(the_estimate_is_enough);
    RUN(participants_are_listed_and_reaped);
    RUN_BOTH(a_queue_takes_and_gives);
    RUN(elements_may_be_of_any_plain_type);
    RUN_BOTH(bulk_takes_spans);
    RUN_BOTH(slots_commit_or_abort);
    RUN_BOTH(views_release);
    RUN_BOTH(emplace_constructs_in_place);
    RUN(another_type_is_a_mismatch);
    RUN(a_moved_queue_is_the_same_and_leaves_nothing_behind);
    RUN(a_queue_outlives_its_segment_object);
    RUN_BOTH(c_and_cpp_handles_meet);
    RUN(a_read_only_queue_throws_where_it_would_write);
    RUN_BOTH(shutdown_is_an_outcome_not_an_error);
    RUN(threads_share_a_queue);
    RUN_BOTH(processes_share_a_queue);
    RUN_BOTH(a_dead_producers_place_is_stepped_over);
  } catch (const std::exception& e) {
    FAIL("unexpected exception: %s", e.what());
  }
  return 0;
}
