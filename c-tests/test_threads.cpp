// As test_threads.c, through the classes: SPSC queues are compiled into the caller here, and byte queues are not.
#include "support.hpp"

#include <array>
#include <thread>

using namespace std::chrono_literals;

namespace {

std::uint64_t turns = 5000;
constexpr auto long_enough = 20s;

struct element {
  std::uint64_t number, inverse, filler;
};

element element_of(std::uint64_t number) { return {number, ~number, number * 3}; }

void check(const element& e) { CHECK(e.inverse == ~e.number && e.filler == e.number * 3); }

shmds::segment fresh() { return shmds::segment::create(new_name(), {.size = 8 << 20, .exclusive = true}); }

void a_queue_is_compiled_into_its_caller() {
  const auto segment = fresh();
  auto in = shmds::queue<element>::create(segment, "queue", {.capacity = 16, .single = true});
  std::jthread producer([&] {
    for (std::uint64_t i = 0; i < turns; i++) {
      if (i % 2 == 0) {
        while (!in.enqueue(element_of(i))) std::this_thread::yield();
      } else {
        CHECK(in.enqueue_for(element_of(i), long_enough));
      }
    }
  });
  for (std::uint64_t i = 0; i < turns; i++) {
    element e{};
    if (i % 2 == 0) {
      while (!in.dequeue(e)) std::this_thread::yield();
    } else {
      e = in.dequeue_for(long_enough).value();
    }
    check(e);
    CHECK_U64(e.number, i);
  }
}

void small_elements_lie_packed_in_lines() {
  const auto segment = fresh();
  auto in = shmds::queue<std::uint16_t>::create(segment, "queue", {.capacity = 64, .single = true});
  std::jthread producer([&] {
    for (std::uint64_t i = 0; i < turns; i++) {
      while (!in.enqueue(static_cast<std::uint16_t>(i))) std::this_thread::yield();
    }
  });
  for (std::uint64_t i = 0; i < turns; i++) {
    std::uint16_t got = 0;
    while (!in.dequeue(got)) std::this_thread::yield();
    CHECK_U64(got, static_cast<std::uint16_t>(i));
  }
}

void a_queue_for_many() {
  const auto segment = fresh();
  auto in = shmds::queue<element>::create(segment, "queue", {.capacity = 16});
  const auto produce = [&] {
    for (std::uint64_t i = 0; i < turns; i++) CHECK(in.enqueue_for(element_of(i), long_enough));
  };
  const auto consume = [&] {
    for (std::uint64_t i = 0; i < turns; i++) check(in.dequeue_for(long_enough).value());
  };
  {
    std::array<std::jthread, 4> threads{std::jthread(produce), std::jthread(consume), std::jthread(produce), std::jthread(consume)};
  }
  CHECK(in.empty());
}

void a_ring() {
  const auto segment = fresh();
  auto ring = shmds::ring<element>::create(segment, "ring", {.capacity = 32, .overwrite = true});
  std::jthread writer([&] {
    for (std::uint64_t i = 0; i < turns; i++) {
      CHECK(ring.push(element_of(i)));
      if (i % 64 == 0) std::this_thread::sleep_for(1us);
    }
  });
  auto reader = ring.reader(0);
  for (std::uint64_t next = 0, lost = 0; next < turns; next++) {
    const auto e = reader.read_for(long_enough, &lost).value();
    next += lost;
    check(e);
    CHECK_U64(e.number, next);
  }
}

void a_pool() {
  const auto segment = fresh();
  auto pool = shmds::pool<element>::create(segment, "pool", {.capacity = 4});
  const auto own = [&](std::uint64_t first) {
    for (std::uint64_t i = first; i < first + turns; i++) {
      const auto handle = pool.acquire();
      if (!handle) continue;
      pool[*handle] = element_of(i);
      check(pool[*handle]);
      CHECK_U64(pool[*handle].number, i);
      pool.release(*handle);
    }
  };
  {
    std::array<std::jthread, 3> threads{std::jthread(own, 0), std::jthread(own, turns), std::jthread(own, 2 * turns)};
  }
  CHECK(pool.empty());
}

void an_array() {
  const auto segment = fresh();
  auto array = shmds::array<std::uint64_t>::create(segment, "array", {.count = 50});
  std::jthread writer([&] {
    for (std::uint64_t turn = 1; turn <= turns; turn++) {
      {
        const auto writing = array.write();
        for (std::size_t i = 0; i < array.size(); i++) array.set(i, turn);
      }
      if (turn % 16 == 0) std::this_thread::sleep_for(1us);  // so that readers get a turn
    }
  });
  std::array<std::uint64_t, 50> elements{};
  do {
    CHECK(array.snapshot(0, elements, long_enough) == shmds::status::ok);
    for (const auto e : elements) CHECK_U64(e, elements[0]);
  } while (elements[0] < turns);
}

void an_atomic() {
  const auto segment = fresh();
  auto atomic = shmds::atomic<std::uint32_t>::create(segment, "atomic", 0);
  element behind = element_of(0);
  const auto take_turns = [&](std::uint32_t me) {
    for (std::uint32_t turn = me; turn < turns; turn += 2) {
      for (auto now = atomic.load(std::memory_order_acquire); now != turn;) now = atomic.wait_for(now, long_enough).value();
      check(behind);
      CHECK_U64(behind.number, turn);
      behind = element_of(turn + 1);
      atomic.store(turn + 1, std::memory_order_release);
      atomic.notify_all();
    }
  };
  std::array<std::jthread, 2> threads{std::jthread(take_turns, 0), std::jthread(take_turns, 1)};
}

}  // namespace

int main() {
  support_start(110);
  if (const char* wanted = std::getenv("SHMDS_TURNS")) turns = std::strtoull(wanted, nullptr, 10);
  RUN(a_queue_is_compiled_into_its_caller);
  RUN(small_elements_lie_packed_in_lines);
  RUN(a_queue_for_many);
  RUN(a_ring);
  RUN(a_pool);
  RUN(an_array);
  RUN(an_atomic);
  return 0;
}
