// A peer in C++, with shmds.hpp alone. What it does is told in support_peer.h.
#include "support_peer.h"

#include "shmds.hpp"

#include <algorithm>
#include <array>
#include <exception>
#include <string_view>
#include <vector>

namespace {

using messages = shmds::queue<message>;

constexpr std::chrono::nanoseconds patience{PEER_PATIENCE_NS};

/// Waits for the segment as others make it.
shmds::segment find_segment(const peer_job& job) {
  for (const auto end = std::chrono::steady_clock::now() + patience;;) {
    try {
      return shmds::segment::open(job.segment);
    } catch (const shmds::error& e) {
      if (e.status() != shmds::status::not_found || std::chrono::steady_clock::now() >= end) throw;
    }
    peer_pause_us(1000);
  }
}

/// True unless the queue is shut down.
bool enqueue_one(messages& to, const message& m, bool inplace) {
  if (!inplace) return to.enqueue_for(m, shmds::forever);
  auto place = to.claim_for(shmds::forever);
  if (!place) return false;
  *place = m;
  place.commit();
  return true;
}

int produce(messages& to, const peer_job& job) {
  static std::array<message, PEER_MAX_BULK> buffer;
  for (std::uint64_t sent = 0; sent < job.count;) {
    const auto n = static_cast<std::size_t>(std::min(job.bulk, job.count - sent));
    for (std::size_t i = 0; i < n; i++) buffer[i] = message_of(job.producer, sent + i);
    const bool in = n > 1 ? to.enqueue_bulk_for({buffer.data(), n}, shmds::forever) == n
                          : enqueue_one(to, buffer[0], job.inplace != 0);
    if (!in) peer_fail("enqueue", "not all went in");
    sent += n;
    peer_pause_us(job.pause_us);
  }
  return 0;
}

int consume(messages& from, const peer_job& job) {
  static std::array<message, PEER_MAX_BULK> buffer;
  static peer_judge judge;
  while (job.count == 0 || judge.consumed < job.count) {
    if (job.inplace) {
      auto view = from.peek_for(shmds::forever);
      if (!view) break;
      peer_judge_message(&judge, view.get());
      view.release();
    } else if (job.bulk > 1) {
      const auto left = job.count == 0 ? job.bulk : job.count - judge.consumed;
      const auto want = static_cast<std::size_t>(std::min(left, job.bulk));
      const auto n = from.dequeue_bulk_for({buffer.data(), want}, shmds::forever);
      if (n == 0) break;
      for (std::size_t i = 0; i < n; i++) peer_judge_message(&judge, &buffer[i]);
    } else {
      const auto m = from.dequeue_for(shmds::forever);
      if (!m) break;
      peer_judge_message(&judge, &*m);
    }
    peer_pause_us(job.pause_us);
  }
  return peer_verdict(&judge, job.count);
}

[[noreturn]] void held(std::uint64_t position) {
  std::printf("held %" PRIu64 "\n", position);
  std::fflush(stdout);
  for (;;) pause();
}

int hold(messages& of, const peer_job& job) {
  if (job.peek) {
    const auto view = of.peek_for(shmds::forever);
    if (view) held(view.position());
  } else {
    const auto place = of.claim_for(shmds::forever);
    if (place) {
      *place = message_of(0xdead, 0);
      held(place.position());
    }
  }
  peer_fail("hold", "shut down");
}

int storm_produce(messages& to, const peer_job& job) {
  peer_log log = peer_open_log(job.log);
  peer_log_store(&log, 1, job.first);
  for (std::uint64_t sequence = job.first;; sequence++) {
    peer_log_store(&log, 0, sequence);
    peer_begins();
    if (!enqueue_one(to, message_of(job.producer, sequence), job.inplace != 0)) return 0;
    peer_succeeds();
    peer_log_store(&log, 1, sequence + 1);
  }
}

int storm_consume(messages& from, const peer_job& job) {
  peer_log log = peer_open_log(job.log);
  for (;;) {
    peer_log_reserve(&log);
    peer_begins();
    if (job.inplace) {
      const auto view = from.peek_for(shmds::forever);
      if (!view) return 0;
      peer_log_append(&log, view.get());
    } else {
      const auto m = from.dequeue_for(shmds::forever);
      if (!m) return 0;
      peer_log_append(&log, &*m);
    }
    peer_succeeds();
  }
}

// ---- spans, arrays, atomics, pools -------------------------------------------------------------------------------

constexpr std::chrono::nanoseconds long_enough{PEER_LONG_NS};

using objects = shmds::pool<std::array<std::uint64_t, PEER_OBJECT_WORDS>>;
using numbers = shmds::array<std::uint64_t>;

int span_fill(const shmds::segment& segment, const peer_job& job) {
  const auto span = shmds::span::open(segment, job.queue);
  for (std::size_t i = 0; i < span.size(); i++) span[i] = std::byte{peer_byte(job.first, i)};
  return 0;
}

int span_check(const shmds::segment& segment, const peer_job& job) {
  const auto span = shmds::span::open(segment, job.queue);
  for (std::size_t i = 0; i < span.size(); i++) {
    if (span[i] != std::byte{peer_byte(job.first, i)}) peer_fail("span-check", "other bytes");
  }
  return 0;
}

int array_write(const shmds::segment& segment, const peer_job& job) {
  auto array = numbers::open(segment, job.queue);
  std::vector<std::uint64_t> elements(array.size());
  for (auto number = array.get(0); job.count == 0 || number < job.count;) {
    peer_writing(elements.data(), elements.size(), ++number);
    peer_begins();
    {
      const auto writing = array.write();
      if (number % 2 == 0) {
        array.store(0, elements);
      } else {
        for (std::size_t i = 0; i < elements.size(); i++) array.set(i, elements[i]);
      }
    }
    peer_succeeds();
  }
  return 0;
}

int array_read(const shmds::segment& segment, const peer_job& job) {
  const auto array = numbers::open(segment, job.queue);
  std::vector<std::uint64_t> elements(array.size());
  std::uint64_t last = 0, whole = 0, torn = 0;
  while (job.count == 0 || last < job.count) {
    peer_begins();
    const auto status = array.snapshot(0, elements, long_enough);
    if (status == shmds::status::torn) {
      torn++;
      peer_pause_us(100);
      continue;
    }
    if (status != shmds::status::ok) peer_fail("array-read", shmds::to_string(status));
    peer_succeeds();
    const auto number = peer_check_writing("array-read", elements.data(), elements.size());
    if (number < last) peer_fail("array-read", "an older writing than before");
    last = number;
    whole++;
  }
  std::printf("read %" PRIu64 " torn %" PRIu64 "\n", whole, torn);
  return 0;
}

int array_hold(const shmds::segment& segment, const peer_job& job) {
  auto array = numbers::open(segment, job.queue);
  std::vector<std::uint64_t> elements(array.size());
  peer_writing(elements.data(), elements.size(), array.get(0) + 1);
  const auto writing = array.write();
  array.store(0, std::span(elements).first(static_cast<std::size_t>(job.count)));
  peer_held(job.count);
}

template <class T>
int ping_or_pong(const shmds::segment& segment, const peer_job& job) {
  const bool ping = std::string_view(job.verb) == "atomic-ping";
  auto atomic = shmds::atomic<T>::open(segment, job.queue);
  T there = T(1);
  if constexpr (std::is_floating_point_v<T>) there = T(1.5);
  else if constexpr (sizeof(T) == 8) there = T(1) << 32;
  std::vector<std::uint64_t> times(1);
  const auto tell = [&](T value) {
    atomic.store(value, std::memory_order_release);
    if (ping) atomic.notify_one();
    else atomic.notify_all();
  };
  const auto expect = [&](T old, T value) {
    peer_begins();
    const auto now = atomic.wait_for(old, job.count == 0 ? shmds::forever : long_enough);
    if (!now || *now != value) peer_fail(job.verb, now ? "another value" : "nobody answers");
    peer_succeeds();
  };
  for (std::uint64_t round = 0; round < job.count || (job.count == 0 && !ping); round++) {
    if (ping) {
      peer_pause_us(200);
      const auto start = peer_now_ns();
      peer_begins();
      tell(there);
      expect(there, T(0));
      times.push_back(peer_now_ns() - start);
    } else {
      expect(T(0), there);
      tell(T(0));
    }
  }
  std::ranges::sort(times);
  std::printf("median-us %" PRIu64 "\n", times[times.size() / 2] / 1000);
  return 0;
}

int atomic_ping_or_pong(const shmds::segment& segment, const peer_job& job) {
  switch (segment.find(job.queue).value().flags) {
    case SHM_ATOMIC_BOOL: return ping_or_pong<bool>(segment, job);
    case SHM_ATOMIC_I32: return ping_or_pong<std::int32_t>(segment, job);
    case SHM_ATOMIC_U32: return ping_or_pong<std::uint32_t>(segment, job);
    case SHM_ATOMIC_I64: return ping_or_pong<std::int64_t>(segment, job);
    case SHM_ATOMIC_U64: return ping_or_pong<std::uint64_t>(segment, job);
    case SHM_ATOMIC_F32: return ping_or_pong<float>(segment, job);
    default: return ping_or_pong<double>(segment, job);
  }
}

int atomic_add(const shmds::segment& segment, const peer_job& job) {
  peer_log log = peer_open_log(job.log);
  auto atomic = shmds::atomic<std::uint64_t>::open(segment, job.queue);
  for (std::uint64_t times = 1, last = 0;; times++) {
    peer_begins();
    peer_log_store(&log, 0, times);
    const auto value = atomic.fetch_add(1, std::memory_order_acq_rel) + 1;
    peer_log_store(&log, 1, times);
    peer_succeeds();
    if (value <= last) peer_fail(job.verb, "the value did not grow");
    last = value;
  }
}

int pool_give(const shmds::segment& segment, const peer_job& job) {
  auto pool = objects::open(segment, job.queue);
  auto queue = messages::open(segment, job.other);
  for (std::uint64_t n = 0; n < job.count; n++) {
    auto handle = pool.acquire();
    for (; !handle; handle = pool.acquire()) peer_pause_us(20);
    peer_writing(pool[*handle].data(), PEER_OBJECT_WORDS, n);
    if (!queue.enqueue_for(message_of(*handle, n), long_enough)) peer_fail("pool-give", "nobody takes");
  }
  // What we own goes with us.
  for (const auto end = peer_now_ns() + PEER_LONG_NS; !pool.empty(); peer_pause_us(100)) {
    if (peer_now_ns() > end) peer_fail("pool-give", "not all were taken");
  }
  return 0;
}

int pool_take(const shmds::segment& segment, const peer_job& job) {
  auto pool = objects::open(segment, job.queue);
  auto queue = messages::open(segment, job.other);
  for (std::uint64_t n = 0; n < job.count; n++) {
    const auto m = queue.dequeue_for(long_enough);
    if (!m) peer_fail("pool-take", "nobody gives");
    pool.adopt(m->producer);
    const auto number = peer_check_writing("pool-take", pool[m->producer].data(), PEER_OBJECT_WORDS);
    if (number != n || m->sequence != n) peer_fail("pool-take", "another object");
    pool.release(m->producer);
  }
  return 0;
}

int pool_hold(const shmds::segment& segment, const peer_job& job) {
  auto pool = objects::open(segment, job.queue);
  std::vector<shmds::pool_handle> handles(static_cast<std::size_t>(job.count));
  if (pool.acquire_batch(handles) != handles.size()) peer_fail("pool-hold", "not as many");
  peer_held(handles.size());
}

int pool_storm(const shmds::segment& segment, const peer_job& job) {
  peer_log log = peer_open_log(job.log);
  auto pool = objects::open(segment, job.queue);
  const auto doomed = numbers::open(segment, job.other);
  const std::uint64_t me = job.producer + 1;
  std::array<shmds::pool_handle, 4> handles;
  for (std::uint64_t use = 1;; use++) {
    peer_begins();
    const auto mine = std::span(handles).first(pool.acquire_batch(std::span(handles).first(1 + use % 4)));
    if (mine.empty()) {
      peer_pause_us(20);
      continue;
    }
    for (const auto handle : mine) {
      const auto other = peer_mark(pool[handle].data(), me);
      if (other != 0 && doomed.get(other - 1) == 0) peer_fail("pool-storm", "an object with two owners");
    }
    for (const auto handle : mine) peer_unmark(pool[handle].data(), me);
    if (use % 2 == 0) pool.release_batch(mine);
    else std::ranges::for_each(mine, [&](auto handle) { pool.release(handle); });
    peer_log_store(&log, 0, use);
    peer_succeeds();
  }
}

struct role {
  std::string_view verb;
  int (*run)(const shmds::segment&, const peer_job&);
};
constexpr role on_structures[] = {
    {"span-fill", span_fill},   {"span-check", span_check},
    {"array-write", array_write}, {"array-read", array_read}, {"array-hold", array_hold},
    {"atomic-ping", atomic_ping_or_pong}, {"atomic-pong", atomic_ping_or_pong}, {"atomic-add", atomic_add},
    {"pool-give", pool_give},   {"pool-take", pool_take},   {"pool-hold", pool_hold}, {"pool-storm", pool_storm},
};

int run(const peer_job& job) {
  const std::string_view verb = job.verb;
  const auto segment = find_segment(job);
  if (!segment.wait_for(job.queue, patience)) peer_fail(job.queue, "did not appear");
  for (const auto& role : on_structures) {
    if (role.verb == verb) return role.run(segment, job);
  }
  auto queue = messages::open(segment, job.queue);
  if (verb == "produce") return produce(queue, job);
  if (verb == "consume") return consume(queue, job);
  if (verb == "hold") return hold(queue, job);
  if (verb == "storm-produce") return storm_produce(queue, job);
  return storm_consume(queue, job);
}

}  // namespace

int main(int argc, char** argv) {
  const peer_job job = peer_parse(argc, argv);
  try {
    return run(job);
  } catch (const std::exception& e) {
    peer_fail(job.verb, e.what());
  }
}
