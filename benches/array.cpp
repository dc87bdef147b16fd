// What reading an array costs beside a heap array, in C++: pointer[i] of the heap, array[i] of an shmds::array. array.rs
// says what is measured and how.
#include <shmds.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace {

constexpr std::size_t repetitions = 11, page = 4096, first = 128, steps = 100000;

struct sequential {
  static constexpr const char* name = "sequential";
  static std::size_t times(std::size_t kib) { return kib < 512 ? 32 : 1; }
  static std::size_t reads(std::size_t length) { return length; }
  [[gnu::noinline]] static std::uint64_t read(const auto& array, std::size_t length, std::uint64_t) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < length; i++) sum += array[i];
    return sum;
  }
};

struct random_walk {
  static constexpr const char* name = "random";
  static std::size_t times(std::size_t) { return 1; }
  static std::size_t reads(std::size_t) { return steps; }
  [[gnu::noinline]] static std::uint64_t read(const auto& array, std::size_t length, std::uint64_t at) {
    for (std::size_t i = 0; i < steps; i++) {
      at = at * UINT64_C(6364136223846793005) + (UINT64_C(1442695040888963407) + array[(at >> 20) & (length - 1)]);
    }
    return at;
  }
};

volatile std::uint64_t sink;

/// Nanoseconds an element.
template <class Test>
double time(const auto& array, std::size_t kib, std::size_t length, std::uint64_t turn) {
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < Test::times(kib); i++) sink = sink + Test::read(array, length, turn);
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
  return took.count() / static_cast<double>(Test::times(kib) * Test::reads(length));
}

using numbers = shmds::array<std::uint64_t>;
using memory = std::unique_ptr<char, decltype(&std::free)>;

memory new_heap(std::size_t length) {
  const std::size_t bytes = (first + length * 8 + page - 1) / page * page;
  memory heap(static_cast<char*>(std::aligned_alloc(page, bytes)), std::free);
  if (!heap) throw std::bad_alloc();
  madvise(heap.get(), bytes, MADV_NOHUGEPAGE);
  std::fill_n(heap.get(), bytes, char{0});
  return heap;
}

numbers new_ours(std::size_t length) {
  const auto name = "shmds-bench-array-" + std::to_string(getpid());
  shmds::segment_options options{.exclusive = true};
  options.size = shmds::segment_size(options, {shmds::array_size<std::uint64_t>(length)});
  const auto segment = shmds::segment::create(name, options);
  auto array = numbers::create(segment, "a", {.count = length});
  shmds::segment::unlink(name);
  array.fill(0);
  if (reinterpret_cast<std::uintptr_t>(array.data()) % page != first) throw std::logic_error("another place in the page");
  return array;
}

template <class Test>
void compare(std::size_t kib) {
  const std::size_t length = kib * 128;
  std::vector<double> heaps, ours;
  for (std::size_t repetition = 0; repetition < repetitions; repetition++) {
    double product_heap = 1, product_ours = 1;
    for (const bool heap_first : {true, false}) {
      memory allocated(heap_first ? new_heap(length) : memory(nullptr, std::free));
      const auto array = new_ours(length);
      if (!allocated) allocated = new_heap(length);
      const auto* const heap = reinterpret_cast<const std::uint64_t*>(allocated.get() + first);
      double of_heap = 1e300, of_ours = 1e300;
      for (unsigned turn = 0; turn < 12; turn++) {
        if ((turn + turn / 2) % 2 == 0) of_heap = std::min(of_heap, time<Test>(heap, kib, length, turn / 2));
        else of_ours = std::min(of_ours, time<Test>(array, kib, length, turn / 2));
      }
      product_heap *= of_heap;
      product_ours *= of_ours;
    }
    heaps.push_back(std::sqrt(product_heap));
    ours.push_back(std::sqrt(product_ours));
  }
  const auto print = [&](const char* who, const std::vector<double>& all) {
    std::printf("array in C++, %s, %zu KiB\tns\t%s\t", Test::name, kib, who);
    for (const double each : all) std::printf("%.4f ", each);
    std::puts("");
  };
  print("floor\theap", heaps);
  print("ours\tshmds C++", ours);
}

}  // namespace

int main() {
  for (const std::size_t kib : {128, 64 << 10}) {
    compare<sequential>(kib);
    compare<random_walk>(kib);
  }
}
