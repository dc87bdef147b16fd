// Segments in files and in memfds, and wishes about their memory, in C++.
#include "support.h"

#include "shmds.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

constexpr std::uint64_t size = 4u << 20;

static_assert(!std::is_copy_constructible_v<shmds::descriptor> && !std::is_copy_assignable_v<shmds::descriptor>);
static_assert(std::is_nothrow_move_constructible_v<shmds::descriptor>);
static_assert(std::is_nothrow_move_assignable_v<shmds::descriptor>);

/// A directory that goes with this, and with what is in it.
struct directory {
  std::filesystem::path path;
  directory() {
    std::string name = "/tmp/shmds-test-" + std::to_string(getpid()) + "-XXXXXX";
    CHECK(mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~directory() { std::filesystem::remove_all(path); }
};

template <class Call>
shmds::status status_of(Call call) {
  try {
    call();
  } catch (const shmds::error& e) {
    return e.status();
  }
  return shmds::status::ok;
}

void every_table_shape_has_a_name() {
  for (const auto& [shape, entries, bytes] : {std::tuple{shmds::table::small, 16u, 16u},
                                              std::tuple{shmds::table::standard, 64u, 32u},
                                              std::tuple{shmds::table::large, 256u, 64u},
                                              std::tuple{shmds::table::huge, 1024u, 256u},
                                              std::tuple{shmds::table::custom(9, 3), 3u, 9u}}) {
    const auto stats = shmds::segment::create_memfd("shape", {.size = size, .table = shape}).stats();
    CHECK_U64(stats.entries_free, entries);
    CHECK_U64(stats.table_name_bytes, bytes);
  }
}

void wishes_are_granted_or_told() {
  const auto segment = shmds::segment::create(
      new_name(), {.size = size, .prefault = true, .lock_memory = true, .huge_pages = true, .numa_node = 9999});
  const auto refused = segment.unavailable();
  const auto node = std::ranges::find(refused, shmds::memory_option::numa_node, &shmds::unavailable_option::option);
  CHECK(node != refused.end() && node->reason.find("9999") != std::string::npos);
  CHECK(std::ranges::count(refused, shmds::memory_option::prefault, &shmds::unavailable_option::option) == 0);
  CHECK(shmds::segment::open(segment.name()).unavailable().empty());
  CHECK(status_of([] { (void)shmds::segment().unavailable(); }) == shmds::status::invalid);
}

void a_file_keeps_what_was_synced_and_knows_what_was_interrupted() {
  const directory home;
  const auto path = home.path / "state";
  const auto ready = new_pipe();
  const auto child = fork_child();
  if (child == 0) {
    const auto segment = shmds::segment::create_file(path, {.size = size, .exclusive = true});
    auto values = shmds::array<std::uint64_t>::create(segment, "values", {.count = 1000});
    auto other = shmds::array<std::uint64_t>::create(segment, "other", {.count = 1000});
    std::iota(values.begin(), values.end(), 0);
    segment.sync();
    const auto writing = other.write();
    other[0] = 1;
    segment.sync(std::as_bytes(std::span(other.data(), 1)));
    segment.sync(std::span<const std::byte>());  // nothing to do, as with all empty spans
    say(ready);
    for (;;) pause();
  }
  await(ready);
  kill_child(child);
  close_pipe(ready);

  const auto segment = shmds::segment::open_file(path);
  CHECK(segment.name() == path.native());
  const auto marked = segment.interrupted();
  CHECK(marked.size() == 1 && std::string(marked[0].name) == "other" && marked[0].kind == SHM_KIND_ARRAY);
  const auto values = shmds::array<std::uint64_t>::open(segment, "values");
  for (std::uint64_t i = 0; i < 1000; i++) CHECK_U64(values[i], i);
  CHECK(segment.clear_interrupted("other") && !segment.clear_interrupted("nothing"));
  CHECK(segment.interrupted().empty());
  const std::uint64_t local = 0;
  CHECK(status_of([&] { segment.sync(std::as_bytes(std::span(&local, 1))); }) == shmds::status::invalid);
  CHECK(status_of([&] { (void)shmds::segment::open_file(home.path / "no"); }) == shmds::status::not_found);
  CHECK(shmds::segment::unlink_file(path) && !shmds::segment::unlink_file(path));
}

void a_memfd_is_passed_sealed_and_closed() {
  int sockets[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0);
  shmds::descriptor ours(sockets[0]), theirs(sockets[1]);
  const auto child = fork_child();
  if (child == 0) {
    ours = {};
    const auto segment = shmds::segment::receive(theirs.get());
    CHECK(segment && segment->count() == 2 && segment->name() == "passed");
    CHECK(shmds::queue<int>::open(*segment, "numbers").enqueue(42));
    _exit(0);
  }
  theirs = {};
  const auto segment = shmds::segment::create_memfd("passed", {.size = size});
  auto numbers = shmds::queue<int>::create(segment, "numbers", {.capacity = 4});
  CHECK(segment.send(ours.get()));
  CHECK_CHILD(child);
  CHECK(numbers.dequeue() == 42);
  CHECK(!shmds::segment::receive(ours.get()));
  CHECK(status_of([] { (void)shmds::segment::receive(-1); }) == shmds::status::invalid);

  auto fd = segment.fd();
  CHECK(ftruncate(fd.get(), 0) != 0 && errno == EPERM);
  {
    const auto again = shmds::segment::open_fd(fd.get());
    CHECK_U64(again.count(), 2);
  }
  const int number = fd.get();
  auto moved = std::move(fd);
  CHECK(fd.get() == -1 && moved.get() == number);  // NOLINT: what is left of it is the point
  moved = shmds::descriptor();
  CHECK(moved.get() == -1 && fcntl(number, F_GETFD) == -1);
  const int kept = segment.fd().release();
  CHECK(fcntl(kept, F_GETFD) != -1);
  close(kept);
  CHECK(status_of([] { (void)shmds::segment::open_fd(-1); }) == shmds::status::invalid);
}

}  // namespace

int main() {
  support_start(100);
  RUN(every_table_shape_has_a_name);
  RUN(wishes_are_granted_or_told);
  RUN(a_file_keeps_what_was_synced_and_knows_what_was_interrupted);
  RUN(a_memfd_is_passed_sealed_and_closed);
  return 0;
}
