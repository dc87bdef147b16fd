// One half of a measurement: sends messages of a size at a rate over a byte queue that says when each was sent.
// latency_reader.cpp is the other half, and may be started before or after.
//
//   latency_writer [MESSAGES [BYTES [A_SECOND [SEGMENT]]]]    20000 of 64 bytes, 20000 a second, over "latency"
#include <shmds.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <string>
#include <thread>

int main(int argc, char** argv) try {
  using clock = std::chrono::steady_clock;
  const auto number = [&](int nth, std::uint64_t usual) -> std::uint64_t { return argc > nth ? std::stoull(argv[nth]) : usual; };
  const auto messages = number(1, 20'000), bytes = number(2, 64), a_second = std::max<std::uint64_t>(number(3, 20'000), 1);
  const std::string name = argc > 4 ? argv[4] : "latency";

  const shmds::byte_queue_options options{.capacity = std::max<std::uint64_t>(16 * bytes, 1 << 16), .times = true};
  shmds::segment_options sized;
  sized.size = shmds::segment_size(sized, {shmds::byte_queue_size(options)});
  const auto segment = shmds::segment::create(name, sized);
  auto queue = shmds::byte_queue::create(segment, "messages", options);
  for (int looks = 0; queue.stats().consumer == 0; looks++) {  // a reader takes the other end when it first looks
    if (looks == 30'000) throw std::runtime_error("no reader came within half a minute");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  const auto begun = clock::now();
  for (std::uint64_t n = 0; n < messages; n++) {
    const auto due = begun + std::chrono::nanoseconds(n * 1'000'000'000 / a_second);
    std::this_thread::sleep_until(due - std::chrono::microseconds(100));  // waking up takes longer than a message does
    while (clock::now() < due) {
    }
    auto place = queue.reserve_for(bytes, std::chrono::seconds(10));
    if (!place) throw std::runtime_error("the reader has stopped");
    std::ranges::fill(place->bytes(), static_cast<std::byte>(n));
    place->commit(bytes, n);  // the time is taken here
  }
  queue.end();
  const std::chrono::duration<double> took = clock::now() - begun;
  std::printf("sent %llu messages of %llu bytes, %.0f a second\n", static_cast<unsigned long long>(messages),
              static_cast<unsigned long long>(bytes), static_cast<double>(messages) / took.count());
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "latency_writer: %s\n", e.what());
  return 1;
}
