// The C++ face of rings.
#include "support.hpp"

#include "shmds.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <thread>

using namespace std::chrono_literals;

namespace {

struct sample {
  std::uint64_t position;
  double value;
};
struct odd {
  std::array<char, 7> bytes;
};
/// Has no default constructor.
struct explicit_one {
  std::int32_t value;
  explicit explicit_one(std::int32_t v) : value(v) {}
};

using numbers = shmds::ring<std::uint64_t>;

shmds::segment fresh(const char* name) { return shmds::segment::create(name, {.size = 1 << 20, .exclusive = true}); }

shmds::segment look(const char* name) { return shmds::segment::open(name, {.read_only = true}); }

std::vector<std::uint64_t> from(std::uint64_t first, std::size_t count) {
  std::vector<std::uint64_t> all(count);
  std::iota(all.begin(), all.end(), first);
  return all;
}

/// What is at the beginning of the buffer are these.
void are(std::span<const std::uint64_t> buffer, std::size_t count, std::uint64_t first, std::size_t expected) {
  CHECK_U64(count, expected);
  CHECK(std::ranges::equal(buffer.first(count), from(first, expected)));
}

static_assert(std::input_iterator<numbers::reader_type::iterator>);
static_assert(std::sentinel_for<std::default_sentinel_t, numbers::reader_type::iterator>);
static_assert(std::ranges::input_range<shmds::ring_reader<sample>>);
static_assert(!std::is_copy_constructible_v<numbers> && !std::is_copy_assignable_v<numbers>);
static_assert(std::is_nothrow_move_constructible_v<numbers> && std::is_nothrow_move_assignable_v<numbers>);
static_assert(!std::is_copy_constructible_v<numbers::reader_type> &&
              std::is_nothrow_move_constructible_v<numbers::reader_type>);

void a_ring_that_waits_loses_nothing() {
  const auto segment = fresh(new_name());
  auto ring = numbers::create(segment, "r", {.capacity = 5});
  CHECK(ring && ring.capacity() == 8 && ring.empty() && !ring.full() && ring.available() == 8 && ring.size() == 0);
  CHECK(ring.name() == "r" && ring.tag() == 0 && !ring.overwrites());
  std::uint64_t one = 77, lost = 77;
  CHECK(!ring.pop() && !ring.pop(one, &lost) && one == 77 && lost == 0);
  for (std::uint64_t i = 0; i < 8; i++) CHECK(ring.push(i));
  CHECK(!ring.push(8) && ring.full() && ring.available() == 0 && !ring.push_for(8, 1ms));
  CHECK(ring.pop(one) && one == 0 && ring.pop() == 1u && ring.pop_for(1s, &lost) == 2u && lost == 0);
  CHECK_U64(ring.push_bulk(from(8, 20)), 3);
  CHECK_U64(ring.push_bulk(from(11, 1)), 0);
  std::array<std::uint64_t, 20> buffer{};
  are(buffer, ring.pop_bulk(std::span(buffer).first(6), &lost), 3, 6);
  CHECK_U64(ring.skip(1), 1);
  are(buffer, ring.pop_bulk_for(buffer, 1s), 10, 1);
  CHECK(ring.pop_bulk(buffer) == 0 && ring.pop_bulk_for(buffer, 1ms, &lost) == 0 && lost == 0);
  CHECK_U64(ring.push_bulk_for(from(11, 12), 2ms), 8);
  CHECK(ring.push_bulk({}) == 0 && ring.push_bulk_for({}, 1s) == 0 && ring.pop_bulk({}) == 0);
  CHECK(ring.clear() == 8 && ring.clear() == 0 && ring.empty());
  const auto stats = ring.stats();
  CHECK(stats.written == 19 && stats.read == 19 && stats.lost == 0 && stats.writer != 0 && stats.elem_size == 8);
  CHECK(ring.total_written() == 19 && ring.total_read() == 19 && ring.lost() == 0);
  ring.spin(0ns);
  CHECK(!ring.pop_for(3ms));
}

void a_ring_that_overwrites_tells_what_is_lost() {
  const auto segment = fresh(new_name());
  auto ring = numbers::create(segment, "r", {.capacity = 8, .overwrite = true});
  CHECK(ring.overwrites());
  std::array<std::uint64_t, 20> buffer{};
  std::uint64_t one = 0, lost = 99;
  for (std::uint64_t i = 0; i < 10; i++) CHECK(ring.push(i));
  CHECK(ring.pop(&lost) == 2u && lost == 2);
  CHECK(ring.pop(one, &lost) && one == 3 && lost == 0);
  CHECK_U64(ring.push_bulk(from(10, 100)), 100);
  are(buffer, ring.pop_bulk(buffer, &lost), 102, 8);
  CHECK_U64(lost, 98);
  CHECK(ring.lost() == 100 && ring.total_read() == 10);
  lost = 99;
  CHECK(ring.pop_bulk({}, &lost) == 0 && lost == 0);
  CHECK(ring.push_for(110, 0ns) && ring.push_bulk_for(from(111, 9), 0ns) == 9);
  CHECK(ring.pop_for(1s, &lost) == 112u && lost == 2);
  CHECK(ring.pop_bulk_for(buffer, 1s, &lost) == 7 && lost == 0);
}

void who_looks_on_changes_nothing() {
  const auto segment = fresh(new_name());
  for (const bool overwrite : {false, true}) {
    auto ring = numbers::create(segment, overwrite ? "o" : "w", {.capacity = 8, .overwrite = overwrite});
    const auto other = numbers::open(segment, ring.name());
    std::array<std::uint64_t, 20> buffer{};
    CHECK(other.last(buffer) == 0 && other.peek(0, buffer) == 0 && other.last({}) == 0);
    CHECK(ring.push_bulk(from(0, 6)) == 6 && ring.pop() == 0u && ring.push_bulk(from(6, 3)) == 3);
    are(buffer, other.peek(0, buffer), 1, 8);
    are(buffer, other.peek(3, std::span(buffer).first(2)), 4, 2);
    CHECK_U64(other.peek(8, buffer), 0);
    are(buffer, other.last(std::span(buffer).first(3)), 6, 3);
    are(buffer, other.last(buffer), 1, 8);
    CHECK_U64(ring.size(), 8);
  }
}

void readers_have_positions_of_their_own() {
  const auto segment = fresh(new_name());
  auto ring = numbers::create(segment, "r", {.capacity = 8, .overwrite = true});
  auto reader = ring.reader(), late = ring.reader(shmds::ring_start::newest);
  std::array<std::uint64_t, 20> buffer{};
  std::uint64_t one = 77, lost = 99;
  CHECK(!reader.read(&lost) && lost == 0 && !reader.read(one) && one == 77 && reader.read_bulk(buffer) == 0);
  CHECK(!reader.read_for(1ms) && reader.read_bulk_for(buffer, 1ms) == 0 && reader.begin() == reader.end());
  CHECK_U64(ring.push_bulk(from(0, 5)), 5);
  CHECK(reader.read() == 0u && reader.read(one) && one == 1 && reader.read_for(1s) == 2u);
  CHECK_U64(ring.push_bulk(from(5, 15)), 15);
  CHECK(reader.lag() == 17 && reader.position() == 3);
  are(buffer, reader.peek(1, std::span(buffer).first(2)), 13, 2);
  are(buffer, reader.read_bulk(std::span(buffer).first(2), &lost), 12, 2);
  CHECK_U64(lost, 9);
  CHECK(reader.skip(4) == 4 && reader.skip(9) == 2 && reader.lost() == 9 && reader.total_read() == 11);
  CHECK(late.read_bulk_for(buffer, 1s, &lost) == 8 && lost == 12);

  reader.seek(15);
  std::vector<std::uint64_t> seen;
  for (const auto& number : reader) seen.push_back(number);
  CHECK(seen == from(15, 5) && reader.position() == 20 && reader.lag() == 0);
  reader.seek(shmds::ring_start::oldest);
  CHECK_U64(std::ranges::distance(reader), 8);
  reader.seek(shmds::ring_start::newest);
  CHECK(reader.stats().lag == 0);
  throws([&] { reader.seek(21); }, shmds::status::invalid, "ring 'r' has 20 elements written; 21 is not");
  throws([&] { (void)ring.reader(21); }, shmds::status::invalid, "ring 'r'");
  auto again = ring.reader(late.position() - 1);
  CHECK(again.read() == 19u);

  auto moved = std::move(reader);
  CHECK(moved && !reader);
  throws([&] { (void)reader.read(); }, shmds::status::invalid, "reader is NULL");
  throws([&] { (void)reader.position(); }, shmds::status::invalid, "reader is NULL");
  moved.spin(0ns);
  CHECK(ring.push(20));
  ring = {};
  CHECK(moved.read() == 20u);  // a reader keeps the ring open
}

void elements_are_any_plain_type() {
  const auto segment = fresh(new_name());
  auto odds = shmds::ring<odd>::create(segment, "odd", {.capacity = 4, .overwrite = true, .alignment = 64});
  CHECK(odds.stats().elem_align == 64);
  auto reader = odds.reader();
  for (char c = 'a'; c < 'k'; c++) CHECK(odds.push({{c, c, c, c, c, c, c}}));
  for (const auto& o : reader) CHECK(std::ranges::all_of(o.bytes, [&](char c) { return c == o.bytes[0]; }));
  CHECK(reader.lost() == 6 && reader.total_read() == 4);
  auto plain = shmds::ring<odd>::open(segment, "odd");
  CHECK(plain.pop()->bytes[6] == 'g');

  auto ones = shmds::ring<explicit_one>::create(segment, "one", {.capacity = 4});
  CHECK(ones.push(explicit_one(4)) && ones.push(explicit_one(5)));
  auto follower = ones.reader();
  std::int32_t sum = 0;
  for (const auto& one : follower) sum += one.value;
  CHECK(sum == 9 && ones.pop()->value == 4);

  auto samples = shmds::ring<sample>::create(segment, "s", {.capacity = 4, .exclusive = true, .tag = 3});
  CHECK(samples.push({1, 2.5}) && samples.reader().begin()->value == 2.5 && samples.tag() == 3);
}

void what_is_not_the_same_is_a_mismatch() {
  const auto segment = fresh(new_name());
  const auto ring = numbers::create(segment, "r", {.capacity = 8, .overwrite = true, .tag = 7});
  using shmds::status;
  CHECK(numbers::open(segment, "r", {.overwrite = true}) && numbers::create(segment, "r", {.capacity = 8, .overwrite = true}));
  CHECK(numbers::open(segment, "r", {.capacity = 7, .tag = 7}).capacity() == 8);
  throws([&] { (void)numbers::create(segment, "r", {.capacity = 8}); }, status::mismatch, "overwrites what is old");
  throws([&] { (void)numbers::open(segment, "r", {.overwrite = false}); }, status::mismatch, "waits for its consumer");
  throws([&] { (void)numbers::open(segment, "r", {.capacity = 16}); }, status::mismatch, "'r'");
  throws([&] { (void)numbers::open(segment, "r", {.tag = 8}); }, status::mismatch, "'r'");
  throws([&] { (void)shmds::ring<int>::open(segment, "r"); }, status::mismatch, "of 8 bytes, not of 4");
  throws([&] { (void)shmds::queue<std::uint64_t>::open(segment, "r"); }, status::mismatch, "'r'");
  throws([&] { (void)numbers::open(segment, "none"); }, status::not_found, "none");
  throws([&] { (void)numbers::create(segment, "q", {}); }, status::invalid, "at least 1");
  throws([&] { (void)numbers::create(segment, "q", {.capacity = 1 << 20}); }, status::no_space, "q");
  throws([&] { (void)numbers::create(segment, std::string_view("q\0x", 3), {.capacity = 1}); }, status::invalid, "NUL");
  throws([&] { (void)shmds::ring_size<sample>(UINT64_MAX); }, status::invalid, "ring");
  throws([&] { (void)numbers::create(segment, "r", {.capacity = 8, .overwrite = true, .exclusive = true}); },
         status::exists, "r");
}

void there_is_one_writer_and_one_consumer() {
  const auto segment = fresh(new_name());
  auto ring = numbers::create(segment, "r", {.capacity = 8});
  auto twin = numbers::open(segment, "r");
  CHECK(ring.push(1) && ring.push(2) && twin.pop() == 1u);
  throws([&] { (void)twin.push(3); }, shmds::status::busy, "one writer at a time");
  throws([&] { (void)ring.pop(); }, shmds::status::busy, "one consumer at a time");
  throws([&] { (void)ring.clear(); }, shmds::status::busy, "one consumer at a time");
  auto moved = std::move(twin);
  CHECK(!twin && moved.pop() == 2u);
  throws([&] { (void)twin.push(3); }, shmds::status::invalid, "ring is NULL");
  throws([&] { (void)twin.reader(); }, shmds::status::invalid, "ring is NULL");
  throws([&] { (void)twin.size(); }, shmds::status::invalid, "ring is NULL");
  ring = {};
  CHECK(moved.push(3) && moved.pop() == 3u);

  const pid_t child = fork_child();
  if (child == 0) {
    throws([&] { (void)moved.push(4); }, shmds::status::busy, "one writer");
    throws([&] { (void)moved.pop(); }, shmds::status::busy, "one consumer");
    _exit(0);
  }
  CHECK_CHILD(child);
  CHECK(moved.push(4) && moved.pop() == 4u);
}

void a_read_only_segment_is_for_looking() {
  const auto name = new_name();
  const auto segment = fresh(name), looking = look(name);
  auto ring = numbers::create(segment, "r", {.capacity = 8, .overwrite = true});
  auto seen = numbers::open(looking, "r");
  auto reader = seen.reader();
  CHECK_U64(ring.push_bulk(from(0, 5)), 5);
  throws([&] { (void)seen.push(1); }, shmds::status::read_only, "read-only");
  throws([&] { (void)seen.pop(); }, shmds::status::read_only, "read-only");
  throws([&] { (void)seen.skip(1); }, shmds::status::read_only, "read-only");
  throws([&] { (void)numbers::create(looking, "new", {.capacity = 8}); }, shmds::status::read_only, "read-only");
  std::array<std::uint64_t, 8> buffer{};
  are(buffer, seen.peek(1, buffer), 1, 4);
  are(buffer, seen.last(buffer), 0, 5);
  are(buffer, reader.read_bulk_for(buffer, 1s), 0, 5);
  CHECK(!reader.read_for(2ms) && seen.size() == 5);
  std::thread writer([&] {
    std::this_thread::sleep_for(10ms);
    CHECK(ring.push(5));
  });
  CHECK(reader.read_for(20s) == 5u);
  writer.join();
}

void sleepers_are_woken_from_another_process() {
  constexpr std::uint64_t count = 2000;
  const auto segment = fresh(new_name());
  auto ring = numbers::create(segment, "r", {.capacity = 2});
  const pid_t consumer = fork_child();
  if (consumer == 0) {
    ring.spin(0ns);
    for (std::uint64_t i = 0; i < count; i++) CHECK(ring.pop_for(20s) == i);
    _exit(0);
  }
  const pid_t follower = fork_child();
  if (follower == 0) {
    auto reader = ring.reader(0);
    reader.spin(0ns);
    for (std::uint64_t next = 0, lost = 0; next < count; next++) {
      const auto number = reader.read_for(20s, &lost);
      next += lost;
      CHECK(number == next);
    }
    CHECK_U64(reader.total_read() + reader.lost(), count);
    _exit(0);
  }
  for (std::uint64_t i = 0; i < count; i++) CHECK(ring.push_for(i, 20s));
  CHECK_CHILD(consumer);
  CHECK_CHILD(follower);
  CHECK(ring.empty() && ring.total_read() == count);
}

void the_size_is_enough() {
  shmds::segment_options options{.exclusive = true, .table = shmds::table::small};
  options.size = shmds::segment_size(options, {shmds::ring_size<sample>(100), shmds::ring_size<odd>(10, 4096)});
  const auto segment = shmds::segment::create(new_name(), options);
  CHECK(shmds::ring<odd>::create(segment, "o", {.capacity = 10, .alignment = 4096}));
  CHECK(shmds::ring<sample>::create(segment, "s", {.capacity = 100, .overwrite = true}));
}

}  // namespace

int main() {
  support_start(100);
  RUN(a_ring_that_waits_loses_nothing);
  RUN(a_ring_that_overwrites_tells_what_is_lost);
  RUN(who_looks_on_changes_nothing);
  RUN(readers_have_positions_of_their_own);
  RUN(elements_are_any_plain_type);
  RUN(what_is_not_the_same_is_a_mismatch);
  RUN(there_is_one_writer_and_one_consumer);
  RUN(a_read_only_segment_is_for_looking);
  RUN(sleepers_are_woken_from_another_process);
  RUN(the_size_is_enough);
  return 0;
}
