// A peer in C++, with shmds.hpp alone. What it does is told in support_peer.h.
#include "support_peer.h"

#include "shmds.hpp"

#include <algorithm>
#include <array>
#include <exception>
#include <string_view>

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
    if (!enqueue_one(to, message_of(job.producer, sequence), job.inplace != 0)) return 0;
    peer_log_store(&log, 1, sequence + 1);
  }
}

int storm_consume(messages& from, const peer_job& job) {
  peer_log log = peer_open_log(job.log);
  for (;;) {
    peer_log_reserve(&log);
    if (job.inplace) {
      const auto view = from.peek_for(shmds::forever);
      if (!view) return 0;
      peer_log_append(&log, view.get());
    } else {
      const auto m = from.dequeue_for(shmds::forever);
      if (!m) return 0;
      peer_log_append(&log, &*m);
    }
  }
}

int run(const peer_job& job) {
  const std::string_view verb = job.verb;
  const auto segment = find_segment(job);
  if (!segment.wait_for(job.queue, patience)) peer_fail(job.queue, "did not appear");
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
