// A block of data that is published and updated: the weather at four places. Readers get the newest one, whole, and wait for the next.
//
//   speculo_block_cpp publish NAME [MILLISECONDS]    a new block after so many (1000), in place of the former
//   speculo_block_cpp watch NAME                     tells each new block, until the publisher goes
//
// The C, C++ and Rust versions of this program understand each other.
#include <shmds.hpp>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;

struct place {
  char name[16];
  double temperature;
};

struct weather {
  std::uint64_t number;  // how many blocks there were
  place places[4];
};

volatile std::sig_atomic_t stopped = 0;

void publish(const std::string& name, std::chrono::milliseconds period) {
  // Or goes on with what a publisher left when it was killed.
  auto area = shmds::speculo_area::create(name);
  std::uint64_t id = 0, number = 0;
  auto own = shmds::speculo_reader::open(name);
  if (const auto former = own.next()) {
    id = former->id();
    number = former->as<weather>().number;
  }
  for (; !stopped; std::this_thread::sleep_for(period)) {
    auto draft = id != 0 ? area.update(id, sizeof(weather)) : area.allocate(sizeof(weather));
    if (!draft) throw std::runtime_error("no room for a block");
    auto* block = new (draft->bytes().data()) weather{};  // filled where it lies, and seen by nobody yet
    block->number = ++number;
    constexpr const char* names[] = {"Bern", "Genoa", "Oslo", "Porto"};
    for (int i = 0; i < 4; ++i) {
      std::strcpy(block->places[i].name, names[i]);
      block->places[i].temperature = static_cast<double>(number % 30) + i * 0.25;
    }
    id = draft->id();
    draft->commit();  // seen by everybody, and it never changes again
  }
  area.unlink();
}

void watch(const std::string& name) {
  shmds::speculo_reader reader;
  while (!reader && !stopped) {
    try {
      reader = shmds::speculo_reader::open(name);
    } catch (const shmds::error& e) {
      if (e.status() != shmds::status::not_found) throw;
      std::this_thread::sleep_for(20ms);  // the publisher is not there yet
    }
  }
  while (!stopped && !reader.closed()) {
    const auto chunk = reader.next_for(100ms);  // after which it looks whether it was stopped
    if (!chunk) continue;
    const auto block = chunk->as<weather>();  // the newest: blocks whose place was taken are passed over
    std::printf("%llu:", static_cast<unsigned long long>(block.number));
    for (const auto& place : block.places) std::printf(" %.16s %.2f", place.name, place.temperature);
    std::puts("");
  }
}

}  // namespace

int main(int argc, char** argv) try {
  std::signal(SIGINT, [](int number) { stopped = number; });
  std::signal(SIGTERM, [](int number) { stopped = number; });
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.size() >= 2 && words[0] == "publish") {
    publish(words[1], std::chrono::milliseconds(words.size() > 2 ? std::stoi(words[2]) : 1000));
  } else if (words.size() == 2 && words[0] == "watch") {
    watch(words[1]);
  } else {
    std::fprintf(stderr, "usage: speculo_block_cpp publish NAME [MILLISECONDS] | watch NAME\n");
    return 2;
  }
} catch (const std::exception& e) {
  std::fprintf(stderr, "speculo_block: %s\n", e.what());
  return 1;
}
