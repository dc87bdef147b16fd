// Greetings between processes. Run `hello_cpp send` in one terminal and `hello_cpp receive` in another, in either order;
// the C, C++ and Rust versions of this program understand each other.
#include <shmds.hpp>

#include <chrono>
#include <cstdio>
#include <stdexcept>
#include <string_view>

struct greeting {
  std::uint64_t number;
  char text[24];
};

int main(int argc, char** argv) try {
  using namespace std::chrono_literals;
  auto segment = shmds::segment::create("hello", {.size = 1 << 20});  // whoever comes first creates it
  const bool sending = argc > 1 && std::string_view(argv[1]) == "send";
  if (sending && !segment.wait_for("greetings", 10s)) throw std::runtime_error("nobody listens");

  auto queue = shmds::queue<greeting>::create(segment, "greetings", {.capacity = 16});  // attaches if it is there
  for (std::uint64_t i = 1; i <= 3; ++i) {
    if (sending) {
      if (!queue.enqueue({i, "hello from C++"})) throw std::runtime_error("the queue is full");
      std::printf("sent %llu\n", static_cast<unsigned long long>(i));
    } else if (const auto greeting = queue.dequeue_for(10s)) {
      std::printf("received %llu: %s\n", static_cast<unsigned long long>(greeting->number), greeting->text);
    } else {
      throw std::runtime_error("nobody sends");
    }
  }
} catch (const std::exception& e) {
  std::fprintf(stderr, "hello: %s\n", e.what());
  return 1;
}  // the last to leave takes the segment away
