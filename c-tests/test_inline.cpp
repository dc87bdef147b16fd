// The usual operations of SPSC queues are compiled into C++ programs: the same tests for them and for the library's own.
#include "support.h"

#include "shmds.hpp"

#include <array>
#include <chrono>
#include <cstring>
#include <deque>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

using namespace std::chrono_literals;

namespace {

template <std::size_t Bytes, std::size_t Align>
struct alignas(Align) block {
  std::array<unsigned char, Bytes> bytes;
  static block of(std::uint64_t number) {
    block made{};
    for (std::size_t i = 0; i < Bytes; i++) made.bytes[i] = static_cast<unsigned char>((number * 31 + i) >> (i % 4));
    return made;
  }
  friend bool operator==(const block&, const block&) = default;
};

shmds::segment fresh() { return shmds::segment::create(new_name(), {.size = 8u << 20, .exclusive = true}); }

/// Any order of inline operations and the library's, on the same handles, agrees with a deque.
template <class T>
void agrees_with_a_deque(std::uint64_t capacity) {
  auto in = fresh();
  auto queue = shmds::queue<T>::create(in, "queue", {.capacity = capacity, .single = true});
  std::mt19937_64 random(capacity * sizeof(T));
  std::deque<std::uint64_t> expected;
  std::uint64_t sent = 0;
  const auto take = [&](const T& got) {
    CHECK(!expected.empty() && got == T::of(expected.front()));
    expected.pop_front();
  };
  for (int step = 0; step < 20000; step++) {
    // By turns rather full and rather empty.
    const bool filling = step / 500 % 2 == 0;
    const bool enqueues = random() % 4 < (filling ? 3u : 1u);
    const auto how = random() % 4;
    const auto next = T::of(sent);
    T got{};
    if (enqueues && how < 2) {
      const bool done = how == 0 ? queue.enqueue(next) : shm_queue_enqueue(queue.native(), &next) == SHM_OK;
      CHECK(done == (expected.size() < capacity));
      if (done) expected.push_back(sent++);
    } else if (enqueues && how == 2) {
      if (auto slot = queue.claim()) {
        *slot = next;
        if (random() % 4 == 0) {
          slot.abort();
        } else {
          slot.commit();
          expected.push_back(sent++);
        }
      } else {
        CHECK(expected.size() == capacity);
      }
    } else if (enqueues) {
      std::vector<T> many(random() % 20);
      for (std::size_t i = 0; i < many.size(); i++) many[i] = T::of(sent + i);
      const auto room = capacity - expected.size();
      const auto done = queue.enqueue_bulk(many);
      CHECK(done == std::min<std::uint64_t>(many.size(), room));
      for (std::size_t i = 0; i < done; i++) expected.push_back(sent++);
    } else if (how < 2) {
      const bool done = how == 0 ? queue.dequeue(got) : shm_queue_dequeue(queue.native(), &got) == SHM_OK;
      CHECK(done == !expected.empty());
      if (done) take(got);
    } else if (how == 2) {
      if (auto view = queue.peek()) {
        CHECK(!expected.empty() && *view == T::of(expected.front()));
        view.release();
        expected.pop_front();
      } else {
        CHECK(expected.empty());
      }
    } else {
      std::vector<T> many(random() % 20);
      const auto done = queue.dequeue_bulk(many);
      CHECK(done == std::min<std::uint64_t>(many.size(), expected.size()));
      for (std::size_t i = 0; i < done; i++) take(many[i]);
    }
    CHECK(queue.size() == expected.size());
  }
}

void any_order_of_inline_and_other_calls_agrees_with_a_deque() {
  for (const std::uint64_t capacity : {1, 2, 4, 16, 64}) {
    agrees_with_a_deque<block<1, 1>>(capacity);
    agrees_with_a_deque<block<3, 1>>(capacity);
    agrees_with_a_deque<block<8, 8>>(capacity);
    agrees_with_a_deque<block<12, 4>>(capacity);
    agrees_with_a_deque<block<16, 16>>(capacity);
    agrees_with_a_deque<block<24, 8>>(capacity);
    agrees_with_a_deque<block<28, 4>>(capacity);
    agrees_with_a_deque<block<32, 32>>(capacity);
    agrees_with_a_deque<block<40, 8>>(capacity);
    agrees_with_a_deque<block<64, 8>>(capacity);
    agrees_with_a_deque<block<64, 64>>(capacity);
    agrees_with_a_deque<block<256, 8>>(capacity);
    agrees_with_a_deque<block<100, 1>>(capacity);
  }
}

void inline_code_is_there_where_it_can_be_and_only_there() {
  auto in = fresh();
  auto single = shmds::queue<std::uint64_t>::create(in, "single", {.capacity = 8, .single = true});
  auto many = shmds::queue<std::uint64_t>::create(in, "many", {.capacity = 8});
  shm_queue_inline found{};
  OK(shm_queue_get_inline(single.native(), SHM_INLINE_VERSION, &found));
  CHECK(found.producer != nullptr && found.consumer != nullptr && found.per_line == 7 && found.stride == 64);
  // Nothing yet: whoever comes first becomes the producer, in the library.
  CHECK(found.producer->element == found.producer->stop && found.consumer->word == nullptr);
  CHECK(single.enqueue(1) && found.producer->element != found.producer->stop);
  OK(shm_queue_get_inline(many.native(), SHM_INLINE_VERSION, &found));
  CHECK(found.producer == nullptr && found.consumer == nullptr && found.slots == nullptr);

  CHECK(shm_queue_get_inline(single.native(), SHM_INLINE_VERSION + 1, &found) == SHM_ERR_VERSION);
  CHECK(std::strstr(shm_last_error(), "inline") != nullptr && found.producer == nullptr);
  CHECK(shm_queue_get_inline(nullptr, SHM_INLINE_VERSION, &found) == SHM_ERR_INVALID);
  CHECK(shm_queue_get_inline(single.native(), SHM_INLINE_VERSION, nullptr) == SHM_ERR_INVALID);
  CHECK(shm_queue_wake(nullptr) == SHM_ERR_INVALID);
  OK(shm_queue_wake(single.native()));
}

void what_was_moved_from_works_on_nothing() {
  auto in = fresh();
  auto queue = shmds::queue<std::uint64_t>::create(in, "queue", {.capacity = 8, .single = true});
  CHECK(queue.enqueue(7));
  auto moved = std::move(queue);
  std::uint64_t got = 0;
  for (int times = 0; times < 2; times++) {
    bool threw = false;
    try {
      (void)(times == 0 ? queue.enqueue(8) : queue.dequeue(got));  // NOLINT(bugprone-use-after-move)
    } catch (const shmds::error& e) {
      threw = e.status() == shmds::status::invalid;
    }
    CHECK(threw);
  }
  CHECK(moved.enqueue(9) && moved.dequeue() == 7u && moved.dequeue() == 9u && !moved.dequeue());
}

void a_shut_queue_takes_nothing_more_and_gives_what_it_has() {
  auto in = fresh();
  auto queue = shmds::queue<std::uint64_t>::create(in, "queue", {.capacity = 8, .single = true});
  auto other = shmds::queue<std::uint64_t>::open(in, "queue");
  CHECK(queue.enqueue(1) && queue.enqueue(2));
  other.shutdown();
  CHECK(!queue.enqueue(3));
  std::uint64_t got = 0;
  CHECK(queue.dequeue(got) && got == 1 && queue.dequeue(got) && got == 2 && !queue.dequeue(got) && got == 2);
}

/// A child has a copy of its parent's handle, but not its ends; and the parent goes on as if nothing had been.
void a_forked_child_is_neither_end() {
  auto in = fresh();
  auto queue = shmds::queue<std::uint64_t>::create(in, "queue", {.capacity = 64, .single = true});
  for (std::uint64_t i = 0; i < 10; i++) CHECK(queue.enqueue(i));
  CHECK(queue.dequeue() == 0u);
  const pid_t child = fork();
  if (child == 0) {
    int refused = 0;
    std::uint64_t got = 0;
    for (int times = 0; times < 2; times++) {
      try {
        (void)(times == 0 ? queue.enqueue(99) : queue.dequeue(got));
      } catch (const shmds::error& e) {
        refused += e.status() == shmds::status::busy;
      }
    }
    _exit(refused == 2 ? 0 : 1);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  CHECK(queue.enqueue(10));
  for (std::uint64_t i = 1; i <= 10; i++) CHECK(queue.dequeue() == i);
  CHECK(!queue.dequeue());
}

void inline_calls_wake_whoever_sleeps() {
  auto in = fresh();
  auto there = shmds::queue<std::uint64_t>::create(in, "there", {.capacity = 1, .single = true});
  auto back = shmds::queue<std::uint64_t>::create(in, "back", {.capacity = 1, .single = true});
  std::thread echo([&] {
    there.spin(0ns);
    back.spin(0ns);
    for (int i = 0; i < 300; i++) {
      const auto got = there.dequeue_for(20s);
      CHECK(got && back.enqueue_for(*got, 20s));
    }
  });
  for (std::uint64_t i = 0; i < 300; i++) {
    if (i % 100 == 0) std::this_thread::sleep_for(5ms);  // so that it does sleep
    while (!there.enqueue(i)) std::this_thread::yield();
    std::uint64_t got = 0;
    while (!back.dequeue(got)) std::this_thread::yield();
    CHECK(got == i);
  }
  echo.join();
}

}  // namespace

int main() {
  any_order_of_inline_and_other_calls_agrees_with_a_deque();
  inline_code_is_there_where_it_can_be_and_only_there();
  what_was_moved_from_works_on_nothing();
  a_shut_queue_takes_nothing_more_and_gives_what_it_has();
  a_forked_child_is_neither_end();
  inline_calls_wake_whoever_sleeps();
  return 0;
}
