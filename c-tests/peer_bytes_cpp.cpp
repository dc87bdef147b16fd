// A peer at a byte queue in C++, with shmds.hpp alone. What it does is told in support_bytes.h.
#include "support_bytes.h"

#include "shmds.hpp"

#include <algorithm>
#include <exception>
#include <string_view>
#include <vector>

namespace {

using shmds::byte_queue;
using shmds::forever;

void send_messages(byte_queue& queue, const bytes_job& job) {
  std::vector<std::byte> buffer(queue.longest());
  for (std::uint64_t number = 0; number < job.count; number++) {
    const auto length = bytes_length(job.seed, number, job.most);
    if (number % 2 == 0) {
      const auto tag = bytes_write(buffer.data(), length, job.seed, number);
      if (!queue.send_for({buffer.data(), length}, tag, forever)) peer_fail("send", "ended");
    } else {
      auto room = queue.reserve_for(bytes_reserved(length, number, queue.longest()), forever);
      if (!room) peer_fail("reserve", "ended");
      room->commit(length, bytes_write(room->data(), length, job.seed, number));
    }
  }
}

void send_stream(byte_queue& queue, const bytes_job& job) {
  for (std::uint64_t position = 0, turn = 0; position < job.count; turn++) {
    const auto length = std::min(bytes_length(job.seed, turn, job.most), job.count - position);
    auto room = queue.reserve_for(bytes_reserved(length, turn, queue.longest()), forever);
    if (!room) peer_fail("reserve", "ended");
    bytes_fill(room->data(), length, job.seed, position);
    room->commit(length);
    position += length;
  }
}

void take_messages(byte_queue& queue, const bytes_job& job) {
  std::vector<std::byte> buffer(queue.longest());
  const bool times = (queue.stats().flags & SHM_TIMES) != 0;
  std::uint64_t number = 0, copied = 0, batches = 0;
  while (auto message = queue.receive_for(forever)) {
    bytes_check(message->data(), message->size(), message->tag(), job.seed, number++, job.most);
    if ((message->time().count() != 0) != times) peer_fail("receive", "a time, or none");
    message->release();
    if (const auto copy = queue.receive_into(buffer)) {
      bytes_check(buffer.data(), copy->size, copy->tag, job.seed, number++, job.most);
      copied++;
    }
    for (const auto& one : queue.receive_all()) {
      bytes_check(one.data(), one.size(), one.tag(), job.seed, number++, job.most);
      batches++;
    }
  }
  bytes_verdict(&job, number, copied, batches);
}

void take_stream(byte_queue& queue, const bytes_job& job) {
  std::uint64_t position = 0;
  for (std::uint64_t turn = 0, least = 1;; turn++) {
    const auto there = queue.peek_for(least, forever);
    if (!there) {
      if (least == 1) break;
      least = 1;  // so many will not come, but perhaps fewer
      continue;
    }
    if (there->size() < least) peer_fail("peek", "fewer than asked for");
    const auto part = bytes_part(turn, there->size());
    bytes_compare(there->data(), part, job.seed, position);
    queue.consume(part);
    position += part;
    least = bytes_length(job.seed, turn, queue.longest() / 2);
  }
  bytes_verdict(&job, position, 0, 0);
}

void run(const bytes_job& job) {
  const auto segment = shmds::segment::open(job.segment);
  auto queue = byte_queue::open(segment, "q");
  const bool stream = (queue.stats().flags & SHM_STREAM) != 0;
  if (job.verb == std::string_view("send")) {
    (stream ? send_stream : send_messages)(queue, job);
    queue.end();
    if (queue.reserve_for(1, forever)) peer_fail("reserve", "after the end");
  } else {
    (stream ? take_stream : take_messages)(queue, job);
    if (!queue.ended()) peer_fail("take", "stopped before the end");
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bytes_job job = bytes_parse(argc, argv);
  try {
    run(job);
  } catch (const std::exception& e) {
    peer_fail(job.verb, e.what());
  }
}
