// A stream of messages that expire. Every sender writes to an area of its own; a reader merges them, in the order of time.
//
//   speculo_stream_cpp send STREAM SENDER [SECONDS]    each line of standard input is a message, valid for so long (10)
//   speculo_stream_cpp merge STREAM                    tells the messages of all senders, also of those that come later
//
// The C, C++ and Rust versions of this program understand each other.
#include <shmds.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using std::chrono::nanoseconds;

constexpr auto delay = 50ms;  // a message is told when no sender is about to commit an older one any more

volatile std::sig_atomic_t stopped = 0;

/// The same in every process.
nanoseconds now() { return nanoseconds(shmds::speculo_area::now()); }

void nap() { std::this_thread::sleep_for(5ms); }

/// A message: when it was sent, and its text.
std::vector<std::byte> message(nanoseconds sent, const std::string& text) {
  const std::uint64_t time = static_cast<std::uint64_t>(sent.count());
  std::vector<std::byte> bytes(sizeof time + text.size());
  std::memcpy(bytes.data(), &time, sizeof time);
  std::ranges::copy(std::as_bytes(std::span(text)), bytes.begin() + sizeof time);
  return bytes;
}

void send(const std::string& stream, const std::string& sender, nanoseconds valid) {
  // Or goes on with what a sender of this name left when it was killed.
  auto area = shmds::speculo_area::create(stream + "." + sender);
  nanoseconds over{};
  for (std::string line; !stopped && std::getline(std::cin, line);) {
    for (;;) {
      const auto sent = now();
      over = sent + valid;
      if (area.write(message(sent, line), static_cast<std::uint64_t>(over.count())) || stopped) break;
      nap();  // until older messages have expired
    }
  }
  while (!stopped && now() < over) nap();  // who comes later is to read them, too
  area.unlink();
}

struct source {
  shmds::speculo_reader reader;
  std::optional<shmds::speculo_chunk_view> head{};  // its next message, which stays until the reader is asked for another

  nanoseconds sent() const {
    std::uint64_t time = 0;
    if (head->bytes().size() >= sizeof time) std::memcpy(&time, head->bytes().data(), sizeof time);
    return nanoseconds(time);
  }
};

using sources = std::map<std::string, source>;

void discover(sources& all, const std::string& prefix) {
  for (const auto& name : shmds::speculo_area::list(prefix)) {
    if (all.contains(name)) continue;
    try {
      all.emplace(name, source{shmds::speculo_reader::open(name)});
    } catch (const shmds::error& e) {
      if (e.status() != shmds::status::not_found) throw;  // gone meanwhile
    }
  }
}

/// Who has the oldest of all messages; all.end(): nobody has one.
sources::iterator oldest(sources& all) {
  for (auto& [name, one] : all) {
    if (!one.head) one.head = one.reader.next();
  }
  // Their senders have gone, and everything is read.
  std::erase_if(all, [](const auto& one) { return !one.second.head && one.second.reader.closed(); });
  auto found = all.end();
  for (auto one = all.begin(); one != all.end(); ++one) {
    if (one->second.head && (found == all.end() || one->second.sent() < found->second.sent())) found = one;
  }
  return found;
}

void merge(const std::string& stream) {
  const auto prefix = stream + ".";
  for (sources all; !stopped;) {
    const auto due = now() - delay;  // before it looks who is there: all that was committed until now is found
    discover(all, prefix);
    for (auto one = oldest(all); one != all.end() && one->second.sent() <= due && !stopped; one = oldest(all)) {
      const auto bytes = one->second.head->bytes();
      const auto text = bytes.subspan(std::min<std::size_t>(8, bytes.size()));
      std::cout << one->first.substr(prefix.size()) << ": ";
      std::cout.write(reinterpret_cast<const char*>(text.data()), static_cast<std::streamsize>(text.size())) << std::endl;
      one->second.head.reset();
    }
    nap();  // nothing would be told sooner if it waited at an area (next_for): the delay is longer
  }
}

}  // namespace

int main(int argc, char** argv) try {
  struct sigaction action {};  // without SA_RESTART, it also ends the wait for a line
  action.sa_handler = [](int number) { stopped = number; };
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.size() >= 3 && words[0] == "send") {
    send(words[1], words[2], std::chrono::seconds(words.size() > 3 ? std::stoi(words[3]) : 10));
  } else if (words.size() == 2 && words[0] == "merge") {
    merge(words[1]);
  } else {
    std::cerr << "usage: speculo_stream_cpp send STREAM SENDER [SECONDS] | merge STREAM\n";
    return 2;
  }
} catch (const std::exception& e) {
  std::cerr << "speculo_stream: " << e.what() << '\n';
  return 1;
}
