// Large data in two levels: a pool of blocks, and an array that says which block holds which part. A writer adds blocks as
// the data grow; readers follow the array, copy nothing, and never see a block before it is filled. Run it without words:
// it writes in one process and reads in another.
#include <shmds.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <exception>
#include <span>
#include <stdexcept>
#include <string>

using namespace std::chrono_literals;
using block = std::array<std::uint32_t, 1024>;  // 4 KiB of numbers
using blocks = shmds::pool<block>;
using handles = shmds::array<shmds::pool_handle>;  // 0: not there yet
constexpr std::uint64_t most = 1000;
constexpr std::size_t wanted = 200'000;  // numbers, in 196 blocks

/// The n-th number of the data.
std::uint32_t number(std::size_t n) { return static_cast<std::uint32_t>(n * n); }

void write(const shmds::segment& segment) {
  auto pool = blocks::open(segment, "blocks");
  auto index = handles::open(segment, "index");
  auto size = shmds::atomic_uint64_t::open(segment, "size");
  for (std::size_t n = 0; n < wanted;) {
    const auto handle = pool.acquire();
    if (!handle) throw std::runtime_error("all blocks are taken");
    const std::size_t part = n / block().size();
    for (auto& place : pool[*handle]) {
      if (n < wanted) place = number(n++);
    }
    {
      const auto writing = index.write();  // who sees the handle in a snapshot sees the block
      index.set(part, *handle);
    }
    size = n;
    size.notify_all();
  }
}

void read(const shmds::segment& segment) {
  const auto pool = blocks::open(segment, "blocks");
  const auto index = handles::open(segment, "index");
  const auto size = shmds::atomic_uint64_t::open(segment, "size");
  std::array<shmds::pool_handle, most> parts{};
  std::uint64_t seen = 0;
  while (seen < wanted) {
    const auto now = size.wait_for(seen, 10s);
    if (!now) throw std::runtime_error("nobody writes");
    if (index.snapshot(0, parts, 10s) != shmds::status::ok) throw std::runtime_error("the writer is gone");
    for (; seen < *now; seen++) {
      const auto& numbers = pool[parts[seen / block().size()]];  // throws if the writer died: its blocks are given back
      if (numbers[seen % numbers.size()] != number(seen)) throw std::runtime_error("not what was written");
    }
  }
  std::printf("read %llu numbers from %llu blocks\n", static_cast<unsigned long long>(seen),
              static_cast<unsigned long long>(pool.allocated()));
}

int main() try {
  const auto name = "blocks-" + std::to_string(getpid());
  shmds::segment_options options{.exclusive = true};
  options.size = shmds::segment_size(options, {shmds::pool_size<block>(most), shmds::array_size<shmds::pool_handle>(most),
                                               shmds::atomic_size()});
  const auto segment = shmds::segment::create(name, options);
  const auto pool = blocks::create(segment, "blocks", {.capacity = most});
  const auto index = handles::create(segment, "index", {.count = most});
  const auto size = shmds::atomic_uint64_t::create(segment, "size", 0);
  const pid_t reader = fork();
  if (reader == 0) {
    try {
      read(shmds::segment::open(name));
      std::fflush(stdout);
      _exit(0);
    } catch (const std::exception& e) {
      std::fprintf(stderr, "blocks, reading: %s\n", e.what());
      _exit(1);
    }
  }
  write(segment);  // what it acquires is this process's as long as the pool is open
  int status = 1;
  return waitpid(reader, &status, 0) == reader && status == 0 ? 0 : 1;
} catch (const std::exception& e) {
  std::fprintf(stderr, "blocks: %s\n", e.what());
  return 1;
}
