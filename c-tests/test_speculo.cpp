// The C++ face of areas of chunks.
#include "support.hpp"
#include "support_speculo.h"

#include "shmds.hpp"

#include <algorithm>
#include <csignal>
#include <thread>

using namespace std::chrono_literals;

namespace {

using area = shmds::speculo_area;
using reader = shmds::speculo_reader;

static_assert(std::input_iterator<reader::iterator>);
static_assert(std::ranges::input_range<reader>);
static_assert(!std::is_copy_constructible_v<area> && std::is_nothrow_move_constructible_v<area>);
static_assert(!std::is_copy_constructible_v<reader> && std::is_nothrow_move_assignable_v<reader>);
static_assert(!std::is_copy_constructible_v<shmds::speculo_draft>);

struct sample {
  std::uint64_t number;
  double value;
};

std::span<const std::byte> raw(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string text(const shmds::speculo_chunk_view& view) {
  return {reinterpret_cast<const char*>(view.bytes().data()), view.bytes().size()};
}

std::string next(reader& from) {
  const auto view = from.next();
  return view ? text(*view) : "nothing";
}

std::vector<std::string> valid(reader& from) {
  std::vector<std::string> all;
  for (const auto& chunk : from) all.push_back(text(chunk));
  return all;
}

void chunks_are_filled_in_place_and_read_in_place() {
  const char* name = new_name();
  auto writer = area::create(name, {.max_size = 1 << 20, .exclusive = true});
  auto from = reader::open(name);
  CHECK(!from.next() && !from.closed());
  std::uint64_t id = 0;
  {
    auto draft = writer.allocate(sizeof(sample));
    CHECK(draft && *draft && draft->bytes().size() == sizeof(sample));
    CHECK(std::ranges::all_of(draft->bytes(), [](std::byte byte) { return byte == std::byte{0}; }));
    const sample one{1, 1.5};
    std::memcpy(draft->bytes().data(), &one, sizeof one);
    CHECK(!from.next());
    throws([&] { (void)writer.allocate(1); }, shmds::status::busy, "is allocated");
    auto moved = std::move(*draft);
    CHECK(!*draft && draft->bytes().empty());
    id = moved.id();
    CHECK_U64(moved.commit(), 1);
    CHECK(!moved);
    throws([&] { moved.commit(); }, shmds::status::invalid, "is not allocated");
  }
  const auto view = from.next();
  CHECK(view && view->id() == id && view->version() == 1 && view->expires() == 0);
  CHECK(view->as<sample>().value == 1.5);
  throws([&] { (void)view->as<std::uint64_t>(); }, shmds::status::mismatch, "has 16 bytes, not 8");
  {
    const auto given_up = writer.allocate(10);  // discarded by its destructor
    CHECK(given_up.has_value());
  }
  {
    auto given_up = writer.update(id, 10);
    CHECK(given_up.has_value());
    given_up->discard();
    given_up = writer.update(id, 11);
    CHECK(given_up.has_value());
  }
  CHECK(!from.next());
  CHECK(from.get(id)->as<sample>().number == 1);
  throws([&] { (void)writer.update(99, 1); }, shmds::status::not_found, "no chunk 99");
  throws([&] { (void)writer.allocate(1 << 30); }, shmds::status::invalid, "never fits");
  writer.unlink();
  CHECK(!writer && !from.next() && from.closed());
}

void what_is_valid_now_is_a_range() {
  const char* name = new_name();
  auto writer = area::create(name);
  auto from = reader::open(name);
  CHECK(valid(from).empty());
  const auto one = writer.write(raw("one")), two = writer.write(raw("two")), three = writer.write(raw("three"));
  CHECK(one && two && three);
  auto draft = writer.update(*one, 5);
  std::ranges::copy(raw("one.1"), draft->bytes().begin());
  draft->commit();
  CHECK(writer.obsolete(*two) && !writer.obsolete(*two));
  CHECK((valid(from) == std::vector<std::string>{"three", "one.1"}));
  CHECK(next(from) == "three" && next(from) == "one.1" && next(from) == "nothing");
  CHECK(writer.collect() && !writer.collect());
  CHECK((valid(from) == std::vector<std::string>{"three", "one.1"}));
  from.seek(0);
  CHECK(next(from) == "three");
  const auto stats = writer.stats();
  CHECK(stats.chunks == 2 && stats.generation == 2 && stats.compactions == 1 && stats.committed == 4);
  CHECK(from.stats().version == 3 && from.stats().lag == 1 && from.stats().generation == 2);
  auto other = std::move(from);
  CHECK(!from && other);
  throws([&] { (void)from.next(); }, shmds::status::invalid, "reader is NULL");
  throws([&] { (void)from.stats(); }, shmds::status::invalid, "reader is NULL");
  writer = {};
  CHECK(area::unlink(name) && !area::unlink(name));
}

void both_sides_go_by_one_clock() {
  const char* name = new_name();
  std::uint64_t time = 10;
  const auto clock = [&] { return time; };
  auto writer = area::create(name, {.clock = clock});
  auto from = reader::open(name, {.clock = clock});
  const auto id = writer.write(raw("brief"), 20);
  auto draft = writer.allocate(1, 5);
  draft->expires(30);
  draft->commit();
  CHECK(from.get(*id)->expires() == 20);
  time = 20;
  CHECK(!from.get(*id) && from.next()->expires() == 30 && writer.stats().chunks == 1);
  CHECK(area::now() > 30);
  writer.unlink();
}

std::uint64_t throwing_clock(void*) { throw 5; }

/// C is between a clock and its caller: what it throws ends the program, in an orderly way.
void a_clock_that_throws_ends_the_program() {
  for (const bool in_c : {true, false}) {
    const char* name = new_name();
    const pid_t child = fork_child();
    if (child == 0) {
      std::signal(SIGABRT, [](int) { _exit(42); });
      CHECK(std::freopen("/dev/null", "w", stderr) != nullptr);
      if (in_c) {
        ::speculo_area* plain = nullptr;
        OK(speculo_area_new(name, 0, &plain));
        OK(speculo_area_set_clock(plain, throwing_clock, nullptr));
        OK(speculo_area_create(plain));
        OK(speculo_area_write(plain, "x", 1, 1, nullptr));
        const shm_status status = speculo_area_write(plain, "x", 1, 1, nullptr);
        _exit(status == SHM_ERR_INTERNAL ? 42 : 1);
      }
      auto writer = area::create(name, {.clock = []() -> std::uint64_t { throw 5; }});
      (void)writer.write(raw("x"), 1);
      (void)writer.write(raw("x"), 1);
      _exit(1);
    }
    const int status = wait_status(child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 42) FAIL("it ended with %d", status);
    CHECK(area::unlink(name));
  }
}

void a_full_area_gives_nothing_and_the_next_writer_goes_on() {
  const char* name = new_name();
  auto writer = area::create(name, {.max_size = 8192, .min_size = 4096, .gc_threshold = 30});
  const std::vector<std::byte> big(1000);
  std::uint64_t last = 0;
  while (const auto id = writer.write(big)) last = *id;
  CHECK(!writer.allocate(1000) && !writer.update(last, 2000));
  throws([&] { (void)area::open(name); }, shmds::status::busy, "has a writer already");
  throws([&] { (void)area::create(name, {.exclusive = true}); }, shmds::status::busy, "has a writer already");
  writer = {};
  throws([&] { (void)area::create(name, {.exclusive = true}); }, shmds::status::exists, "exists already");
  writer = area::open(name);
  CHECK(writer.write(big));
  writer.unlink();
  throws([&] { (void)area::open(name); }, shmds::status::not_found, "there is no area");
  throws([&] { (void)reader::open(name); }, shmds::status::not_found, "cannot open");
  throws([&] { (void)area::create(std::string_view("a\0b", 3)); }, shmds::status::invalid, "NUL");
  throws([&] { (void)area::create(name, {.gc_threshold = 0}); }, shmds::status::invalid, "0 percent");
  throws([&] { (void)area::create(name, {.directory = "/nonexistent"}); }, shmds::status::not_found, "cannot");
  throws([&] { (void)writer.write(big); }, shmds::status::invalid, "area is NULL");
}

void a_sleeping_reader_is_woken() {
  const char* name = new_name();
  auto writer = area::create(name);
  auto from = reader::open(name);
  CHECK(!from.next_for(5ms) && !from.closed());
  std::thread sleeper([&] {
    const auto woken = from.next_for(20s);
    CHECK(woken && text(*woken) == "wake up");
    CHECK(!from.next_for(shmds::forever) && from.closed());
  });
  std::this_thread::sleep_for(20ms);
  CHECK(writer.write(raw("wake up")));
  std::this_thread::sleep_for(20ms);
  writer.unlink();
  sleeper.join();
}

void areas_are_listed() {
  const std::string prefix = new_name() + std::string(".");
  CHECK(area::list(prefix).empty());
  auto b = area::create(prefix + "b");
  auto a = area::create(prefix + "a");
  CHECK((area::list(prefix) == std::vector{prefix.substr(1) + "a", prefix.substr(1) + "b"}));  // without the slash
  a.unlink();
  b.unlink();
  CHECK(area::list(prefix).empty());
  throws([] { (void)area::list("", {.directory = "/nonexistent"}); }, shmds::status::not_found, "cannot list");
  throws([] { (void)area::list({"a\0b", 3}); }, shmds::status::invalid, "NUL inside");
}

}  // namespace

int main() {
  support_start_areas(100);
  RUN(chunks_are_filled_in_place_and_read_in_place);
  RUN(what_is_valid_now_is_a_range);
  RUN(both_sides_go_by_one_clock);
  RUN(a_clock_that_throws_ends_the_program);
  RUN(a_full_area_gives_nothing_and_the_next_writer_goes_on);
  RUN(a_sleeping_reader_is_woken);
  RUN(areas_are_listed);
  return 0;
}
