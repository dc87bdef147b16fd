// The C++ face of byte queues.
#include "support.hpp"

#include "shmds.hpp"

#include <algorithm>
#include <array>
#include <numeric>

using namespace std::chrono_literals;

namespace {

struct order {
  std::uint64_t id;
  double price;
};
using orders = std::array<order, 9>;
struct alignas(64) wide {
  std::uint64_t values[8];
};
struct positive {
  int value;
  explicit positive(int v) : value(v) {
    if (v < 0) throw std::runtime_error("negative");
  }
};

shmds::segment fresh() { return shmds::segment::create(new_name(), {.size = 1 << 20, .exclusive = true}); }

static_assert(std::ranges::input_range<shmds::byte_messages>);
static_assert(!std::is_copy_constructible_v<shmds::byte_queue> && std::is_nothrow_move_constructible_v<shmds::byte_queue>);
static_assert(!std::is_copy_constructible_v<shmds::byte_message> && std::is_nothrow_move_assignable_v<shmds::byte_message>);
static_assert(!std::is_copy_constructible_v<shmds::byte_reservation>);

void messages_of_every_kind_arrive() {
  const auto segment = fresh();
  auto queue = shmds::byte_queue::create(segment, "b", {.capacity = 4000, .times = true, .exclusive = true});
  CHECK(queue.name() == "b" && queue.capacity() == 4096 && queue.longest() == 4072 && queue.available() == 4072);
  CHECK(queue && queue.empty() && !queue.receive() && !queue.ended());
  const std::string text = "as a string";
  const std::array<std::byte, 3> bytes{std::byte{1}, std::byte{2}, std::byte{3}};
  CHECK(queue.send(text, 1) && queue.send("as a literal") && queue.send(bytes, 3));
  CHECK(queue.send_for(std::span<const std::byte>(), 4, 1s) && queue.send_for("waiting", 5, 1s));
  CHECK(queue.emplace<order>(6u, 1.5) && queue.emplace_tagged<order>(7, 8u, 2.5));
  CHECK(queue.used() == queue.stats().used && queue.stats().sent == 7 && queue.available() < 4072);
  {
    auto first = queue.receive();
    CHECK(first && first->text() == text && first->tag() == 1 && first->size() == text.size() && !first->empty());
    CHECK(first->time() > 0ns && first->time() <= std::chrono::steady_clock::now().time_since_epoch());
    throws([&] { (void)queue.receive(); }, shmds::status::busy, "a message of byte queue 'b' is still held");
    throws([&] { (void)queue.receive_all(); }, shmds::status::busy, "still held");
    auto moved = std::move(*first);
    CHECK(moved.text() == text && first->empty());
    first.reset();
    throws([&] { (void)queue.receive(); }, shmds::status::busy, "still held");
    moved.release();
    moved.release();
    CHECK(moved.empty());
  }
  auto message = queue.receive();
  CHECK(message && message->text() == "as a literal" && message->tag() == 0);
  throws([&] { (void)message->as<order>(); }, shmds::status::invalid, "a message of 12 bytes is not a type of 16 bytes");
  message.reset();
  message = queue.receive();
  CHECK(message && std::ranges::equal(message->bytes(), bytes));
  message.reset();
  CHECK(queue.stats().received == 3);

  std::size_t count = 0;
  for (const auto& one : queue.receive_all()) {
    CHECK(queue.stats().received == 3);
    if (count == 0) CHECK(one.empty() && one.tag() == 4);
    if (count == 1) CHECK(one.text() == "waiting" && one.tag() == 5);
    if (count == 2) CHECK(one.as<order>().id == 6 && one.as<order>().price == 1.5);
    if (count == 3) CHECK(one.as<order>().id == 8 && one.tag() == 7);
    count++;
  }
  CHECK(count == 4 && queue.empty() && queue.stats().received == 7);
  for (const auto& one : queue.receive_all()) FAIL("there is %zu", one.size());
  CHECK(!queue.receive_for(1ms) && queue.bytes().size() == 8192);
}

void a_reservation_is_filled_in_place() {
  const auto segment = fresh();
  auto queue = shmds::byte_queue::create(segment, "b", {.capacity = 4000});
  {
    auto given_up = queue.reserve(100);
    CHECK(given_up && given_up->size() == 100);
    throws([&] { (void)queue.reserve(1); }, shmds::status::busy, "a reservation of byte queue 'b' is still held");
    throws([&] { (void)queue.send("x"); }, shmds::status::busy, "still held");
    throws([&] { queue.end(); }, shmds::status::busy, "still held");
  }
  CHECK(queue.empty());
  {
    auto room = queue.reserve(100);
    std::ranges::fill(room->bytes(), std::byte{7});
    throws([&] { room->commit(101); }, shmds::status::invalid, "101 bytes");
    auto moved = std::move(*room);
    moved.commit(60, 9);
    throws([&] { moved.commit(1); }, shmds::status::invalid, "queue is NULL");
    moved.abort();
  }
  {
    auto message = queue.receive();
    CHECK(message && message->size() == 60 && message->tag() == 9);
    CHECK(std::ranges::all_of(message->bytes(), [](std::byte b) { return b == std::byte{7}; }));
  }
  CHECK(queue.send(std::string(4000, 'x')) && !queue.reserve(100) && !queue.reserve_for(100, 2ms));
  CHECK(!queue.send(std::string(100, 'x')) && !queue.send_for(std::string(100, 'x'), 0, 2ms) && !queue.emplace<orders>());
  throws([&] { (void)queue.send(std::string(4081, 'x')); }, shmds::status::invalid, "4081 bytes never fit");
  (void)queue.receive();
  auto all = queue.reserve_for(10, shmds::forever);
  all->commit();
  CHECK(queue.receive()->size() == 10);

  throws([&] { (void)queue.emplace<wide>(); }, shmds::status::invalid, "byte queue 'b' aligns messages to 8, not to 64");
}

void a_constructor_that_throws_leaves_no_message() {
  const auto segment = fresh();
  auto queue = shmds::byte_queue::create(segment, "b", {.capacity = 4000, .align = 64});
  bool thrown = false;
  try {
    (void)queue.emplace<positive>(-1);
  } catch (const std::runtime_error&) {
    thrown = true;
  }
  CHECK(thrown && queue.empty() && queue.emplace<positive>(5) && queue.receive()->as<positive>().value == 5);
  CHECK(queue.emplace<wide>() && reinterpret_cast<std::uintptr_t>(&queue.receive()->as<wide>()) % 64 == 0);
}

void a_copy_needs_room() {
  const auto segment = fresh();
  auto queue = shmds::byte_queue::create(segment, "b", {.capacity = 4000});
  std::array<std::byte, 8> buffer{};
  CHECK(!queue.receive_into(buffer) && queue.send("nine long", 1) && queue.send("", 2));
  throws([&] { (void)queue.receive_into(buffer); }, shmds::status::invalid, "has 9 bytes; the buffer has 8");
  std::array<std::byte, 9> larger{};
  const auto copied = queue.receive_into(larger);
  CHECK(copied && copied->size == 9 && copied->tag == 1 && larger[8] == std::byte{'g'});
  CHECK(queue.receive_into({})->tag == 2 && !queue.receive_into(buffer));
}

void a_stream_is_read_in_any_parts() {
  const auto segment = fresh();
  const shmds::byte_queue_options options{.capacity = 4096, .stream = true};
  auto queue = shmds::byte_queue::create(segment, "b", options);
  CHECK(queue.capacity() == 4096 && queue.longest() == 4096 && !queue.peek() && !queue.peek_for(1, 2ms));
  std::uint8_t in = 0, out = 0;
  for (std::size_t step = 1; step < 4096; step += 37) {
    auto room = queue.reserve(step);
    CHECK(room && room->size() == step);
    for (auto& byte : room->bytes()) byte = static_cast<std::byte>(in++);
    room->commit();
    const auto shown = queue.peek(step);
    CHECK(shown && shown->size() == step && !queue.peek(step + 1));
    for (const auto byte : *shown) CHECK(byte == static_cast<std::byte>(out++));
    throws([&] { queue.consume(step + 1); }, shmds::status::invalid, "has not shown");
    queue.consume(step);
  }
  throws([&] { (void)queue.send("x"); }, shmds::status::invalid, "not messages");
  throws([&] { (void)queue.receive(); }, shmds::status::invalid, "not messages");
  throws([&] { (void)queue.emplace<order>(1u, 1.0); }, shmds::status::invalid, "aligns messages to 0");
  throws([&] { (void)queue.peek(0); }, shmds::status::invalid, "at least 1 byte");
  auto again = shmds::byte_queue::open(segment, "b", options);
  throws([&] { (void)again.reserve(1); }, shmds::status::busy, "one producer at a time");
  throws([&] { (void)shmds::byte_queue::open(segment, "b", {.capacity = 4096}); }, shmds::status::mismatch, "not messages");
}

void the_end_is_seen_after_the_last_message() {
  const auto segment = fresh();
  auto queue = shmds::byte_queue::create(segment, "b", {.capacity = 100});
  queue.set_spin(0s);
  const pid_t child = fork_child();
  if (child == 0) {
    for (std::uint64_t i = 0; i < 2000; i++) CHECK(queue.send_for(std::string(i % 3000, 'x'), i, 20s));
    queue.end();
    CHECK(!queue.send("more") && !queue.reserve(1) && queue.ended());
    _exit(0);
  }
  std::uint64_t next = 0;
  while (auto message = queue.receive_for(20s)) {
    CHECK(message->tag() == next && message->size() == next % 3000);
    next++;
    message.reset();
    for (const auto& more : queue.receive_all()) {
      CHECK(more.tag() == next && more.size() == next % 3000);
      next++;
    }
  }
  CHECK(next == 2000 && queue.ended() && queue.empty() && !queue.receive_for(shmds::forever));
  CHECK_CHILD(child);
}

void what_a_dead_child_held_is_there() {
  const auto segment = fresh();
  auto queue = shmds::byte_queue::create(segment, "b", {.capacity = 100});
  CHECK(queue.send("one", 1) && queue.send("two", 2));
  queue = {};  // the child is to have both ends
  queue = shmds::byte_queue::open(segment, "b");
  const pid_t child = fork_child();
  if (child == 0) {
    (void)queue.receive();
    auto held = queue.receive();
    CHECK(held->tag() == 2 && queue.send("three", 3));
    auto room = queue.reserve(50);
    std::ranges::fill(room->bytes(), std::byte{0xee});
    raise(SIGKILL);
  }
  (void)wait_status(child);
  const auto next = [&] { return std::string(queue.receive().value().text()); };
  CHECK(next() == "two" && next() == "three" && !queue.receive());
  CHECK(queue.send("four") && queue.receive()->text() == "four");
}

void a_reader_of_a_read_only_segment_looks_on() {
  const auto segment = fresh();
  auto queue = shmds::byte_queue::create(segment, "b", {.capacity = 100, .tag = 5});
  CHECK(queue.send("one"));
  const auto looking = shmds::segment::open(segment.name(), {.read_only = true});
  auto other = shmds::byte_queue::open(looking, "b");
  CHECK(other.stats().sent == 1 && other.used() == 24 && std::as_const(other).bytes().size() == 8192);
  throws([&] { (void)other.send("x"); }, shmds::status::read_only, "read-only");
  throws([&] { (void)other.receive_for(shmds::forever); }, shmds::status::read_only, "read-only");
  throws([&] { for (const auto& one : other.receive_all()) (void)one; }, shmds::status::read_only, "read-only");
  throws([&] { (void)shmds::byte_queue::open(segment, "b", {.tag = 6}); }, shmds::status::mismatch, "'b'");
}

void an_empty_owner_throws_and_a_moved_one_works() {
  const auto segment = fresh();
  auto queue = shmds::byte_queue::create(segment, "b", {.capacity = 100});
  CHECK(queue.send("one"));
  auto message = queue.receive();
  auto moved = std::move(queue);  // what is held goes on being held
  CHECK(!queue && queue.native() == nullptr && moved.native() != nullptr);
  throws([&] { (void)moved.receive(); }, shmds::status::busy, "still held");
  message.reset();
  CHECK(!moved.receive() && moved.stats().received == 1);
  throws([&] { (void)queue.send("x"); }, shmds::status::invalid, "queue is NULL");
  throws([&] { (void)queue.emplace<order>(); }, shmds::status::invalid, "queue is NULL");
  throws([&] { (void)queue.receive(); }, shmds::status::invalid, "queue is NULL");
  throws([&] { (void)queue.receive_all(); }, shmds::status::invalid, "is empty");
  throws([&] { (void)queue.stats(); }, shmds::status::invalid, "queue is NULL");
}

void one_size_holds_it() {
  const shmds::byte_queue_options large{.capacity = 100'000, .times = true, .align = 32};
  shmds::segment_options options{.exclusive = true, .table = shmds::table::small};
  options.size = shmds::segment_size(options, {shmds::byte_queue_size(large), shmds::byte_queue_size({.capacity = 1})});
  const auto segment = shmds::segment::create(new_name(), options);
  CHECK(shmds::byte_queue::create(segment, "large", large).longest() >= 100'000);
  CHECK(shmds::byte_queue::create(segment, "small", {.capacity = 1}).longest() == 4080);
  throws([] { (void)shmds::byte_queue_size({}); }, shmds::status::invalid, "at least 1 byte");
}

}  // namespace

int main() {
  support_start(100);
  RUN(messages_of_every_kind_arrive);
  RUN(a_reservation_is_filled_in_place);
  RUN(a_constructor_that_throws_leaves_no_message);
  RUN(a_copy_needs_room);
  RUN(a_stream_is_read_in_any_parts);
  RUN(the_end_is_seen_after_the_last_message);
  RUN(what_a_dead_child_held_is_there);
  RUN(a_reader_of_a_read_only_segment_looks_on);
  RUN(an_empty_owner_throws_and_a_moved_one_works);
  RUN(one_size_holds_it);
  return 0;
}
