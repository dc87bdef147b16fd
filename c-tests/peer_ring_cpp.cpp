// A peer at a ring in C++, with shmds.hpp alone. What it does is told in support_ring.h.
#include "support_ring.h"

#include "shmds.hpp"

#include <algorithm>
#include <array>
#include <exception>
#include <string_view>

namespace {

using samples = shmds::ring<sample>;
using words = shmds::array<std::uint64_t>;
using shmds::atomic_uint64_t;

constexpr std::chrono::nanoseconds look{RING_LOOK_NS};
std::array<sample, RING_MAX_BULK> buffer;

int push(samples& ring, const atomic_uint64_t& the_end, words& log, const ring_job& job) {
  const auto self = static_cast<std::uint64_t>(getpid());
  auto next = ring.total_written();
  for (const auto end = the_end.load(); end == 0 || next < end;) {
    auto count = ring_bulk(next, job.bulk);
    if (end != 0) count = static_cast<std::size_t>(std::min<std::uint64_t>(count, end - next));
    for (std::size_t i = 0; i < count; i++) sample_write(&buffer[i], next + i, self);
    next += count;
    log.set(0, next);
    peer_begins();
    const bool in = count == 1 ? ring.push_for(buffer[0], shmds::forever)
                               : ring.push_bulk_for({buffer.data(), count}, shmds::forever) == count;
    if (!in) peer_fail("push", "not all went in");
    peer_succeeds();
    log.set(1, next);
    peer_pause_us(job.pause_us);
  }
  return 0;
}

void mark(words& log, std::uint64_t first, std::size_t count) {
  for (auto at = 8 + first; at < 8 + first + count && at < log.size(); at++) log.set(at, log.get(at) + 1);
}

int pop(samples& ring, const atomic_uint64_t& the_end, words& log, const ring_job& job) {
  ring_judge judge{};
  judge.next = ring.total_read() + ring.lost();
  ring_ready();
  while (the_end == 0 || judge.next != the_end) {
    std::uint64_t lost = 0;
    std::size_t count = 0;
    peer_begins();
    if (job.bulk == 1) {
      if (const auto one = ring.pop_for(look, &lost)) buffer[count++] = *one;
    } else {
      count = ring.pop_bulk_for({buffer.data(), job.bulk}, look, &lost);
    }
    if (count > 0) peer_succeeds();
    ring_judge_samples(&judge, buffer.data(), count, lost);
    mark(log, judge.next - count, count);
    peer_pause_us(job.pause_us);
  }
  return ring_verdict(&judge);
}

int follow(const samples& ring, const atomic_uint64_t& the_end, const ring_job& job, bool waits) {
  ring_judge judge{};
  auto reader = ring.reader(0);
  ring_ready();
  while (the_end == 0 || judge.next != the_end) {
    std::uint64_t lost = 0;
    std::size_t count = 0;
    peer_begins();
    if (waits) {
      count = reader.read_bulk_for({buffer.data(), job.bulk}, look, &lost);
    } else if (job.bulk == 1) {
      if (const auto one = reader.read(&lost)) buffer[count++] = *one;
    } else {
      count = reader.read_bulk({buffer.data(), job.bulk}, &lost);
    }
    if (count == 0) sched_yield();
    if (count > 0) peer_succeeds();
    ring_judge_samples(&judge, buffer.data(), count, lost);
    peer_pause_us(job.pause_us);
  }
  if (reader.position() != judge.next || reader.total_read() != judge.got || reader.lost() != judge.lost) {
    peer_fail(job.verb, "the reader counts other than its caller");
  }
  return ring_verdict(&judge);
}

int run(const ring_job& job) {
  const std::string_view verb = job.verb;
  const auto segment = shmds::segment::open(job.segment);
  auto ring = samples::open(segment, "r");
  const auto end = atomic_uint64_t::open(segment, "end");
  auto log = words::open(segment, "log");
  if (verb == "push") return push(ring, end, log, job);
  if (verb == "pop") return pop(ring, end, log, job);
  return follow(ring, end, job, verb == "wait");
}

}  // namespace

int main(int argc, char** argv) {
  const ring_job job = ring_parse(argc, argv);
  try {
    return run(job);
  } catch (const std::exception& e) {
    peer_fail(job.verb, e.what());
  }
}
