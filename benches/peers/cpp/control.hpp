// The memory that measuring processes share, and where they run: as src/control.rs has it.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <initializer_list>
#include <sched.h>
#include <string>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <vector>

constexpr std::size_t arena_bytes = 48 << 20;
constexpr std::size_t most_in_bulk = 32;

struct line {
  alignas(128) std::atomic<std::uint64_t> word;
};

struct alignas(4096) control_page {
  line ping, pong, counts[8];
  std::atomic<std::uint64_t> results[3];
  std::atomic<std::uint32_t> ready, stop;

  bool stopped() const { return stop.load(std::memory_order_relaxed) != 0; }
  std::byte* arena() { return reinterpret_cast<std::byte*>(this + 1); }
  void meet(std::size_t sides) {
    ready.fetch_add(1);
    while (ready.load() < sides) usleep(20);
  }
  void finish(std::initializer_list<double> values) {
    std::size_t place = 0;
    for (const double value : values) results[place++] = std::bit_cast<std::uint64_t>(value);
    stop = 1;
  }
};
static_assert(sizeof(control_page) == 4096);

/// What is measured: as src/case.rs has it.
struct test_case {
  std::string test;
  bool single;
  std::size_t bytes, capacity, producers, consumers, bulk;
  std::size_t sides() const {
    for (const char* remote : {"throughput", "apart", "round-trip", "wake-up", "hand-over", "ring"}) {
      if (test == remote) return producers + consumers;
    }
    return 1;
  }
};

/// What is sent: words that are all the same, so that one that is torn shows.
template <std::size_t Words>
struct message {
  std::uint64_t words[Words];
  message() = default;
  explicit message(std::uint64_t sequence) { std::fill_n(words, Words, sequence); }
  std::uint64_t sequence() const;
};

/// Stays on in a program that is compiled for speed: this is what tells that a measurement is one of working queues.
inline void check(bool holds, const char* sentence) {
  if (holds) [[likely]] return;
  std::fprintf(stderr, "%s\n", sentence);
  std::_Exit(1);
}

template <std::size_t Words>
std::uint64_t message<Words>::sequence() const {
  check(words[Words - 1] == words[0], "a message is torn");
  return words[0];
}

/// Makes the compiler believe that it is read and written.
inline void keep(auto& value) { asm volatile("" : : "r"(&value) : "memory"); }

inline std::uint64_t now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(time.tv_nsec);
}

inline void pin(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  check(sched_setaffinity(0, sizeof set, &set) == 0, "cannot run on that core");
}

inline double percentile(std::vector<double>& samples, double part) {
  std::ranges::sort(samples);
  return samples[static_cast<std::size_t>(static_cast<double>(samples.size() - 1) * part)];
}

inline double median(std::vector<double>& samples) {
  std::ranges::sort(samples);
  const auto half = samples.size() / 2;
  return samples.size() % 2 == 0 ? (samples[half - 1] + samples[half]) / 2 : samples[half];
}
