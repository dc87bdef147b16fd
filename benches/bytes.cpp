// Messages between two processes on two cores: byte queues beside a Unix socket, a pipe, boost's message queue and the bare
// memory. All take their turns in each repetition, in fresh processes. On stdout a line of samples for each, as
// benches/peers/src/report.rs reads them.
//
// The sender has its message in warm private memory and the receiver wants it in its own: everybody copies twice, but for
// "in place", where the receiver adds up the words where they lie. Buffers are of 4 MiB where that can be chosen. The limit
// is what copying alone takes that a process on the other core has just written. Latency is from before sending 64 bytes, every
// 20 us, until they are there; its limit is a store that another core waits for.
//
// SHMDS_BENCH_REPETITIONS says how often (11), SHMDS_BENCH_CORES where (the first two allowed, "0,1").
#include <shmds.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <memory>
#include <sched.h>
#include <string>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#if __has_include(<boost/interprocess/ipc/message_queue.hpp>)
#define HAS_BOOST 1
#include <boost/interprocess/ipc/message_queue.hpp>
#endif

namespace {

using namespace std::chrono_literals;
constexpr std::size_t buffered = 4 << 20, longest = 1 << 20, latencies = 2000;

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

std::uint64_t now() {
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch() / 1ns);
}

/// What the two processes of one measurement share beside what is measured.
struct shared {
  alignas(128) std::atomic<std::uint64_t> ready, turn, stamp;
  alignas(128) double result;
  alignas(4096) char memory[longest];
};

shared* board;

/// What is sent in one measurement: so many messages, of all sizes between two as likely on a logarithmic scale.
struct load {
  const char* name;
  std::size_t least, most, count;
  std::vector<std::size_t> sizes() const {
    std::vector<std::size_t> all(1024);
    std::uint64_t random = 7;
    for (auto& size : all) {
      random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
      const double part = static_cast<double>(random >> 40) / (1 << 24);
      size = static_cast<std::size_t>(static_cast<double>(least) * std::pow(static_cast<double>(most) / static_cast<double>(least), part));
    }
    return all;
  }
};

/// A way from one process to the other, made before the second one is.
struct link {
  virtual ~link() = default;
  virtual void be_receiver() {}
  virtual void be_sender() {}
  virtual bool send(const char* data, std::size_t size) = 0;  // false: it is too long
  virtual void receive(char* buffer) = 0;
};

struct ours : link {
  shmds::segment segment;
  shmds::byte_queue queue;
  std::string name;
  bool in_place;
  std::chrono::nanoseconds spin;
  std::uint64_t sum = 0;
  explicit ours(bool place, std::chrono::nanoseconds spins = 1ms) : in_place(place), spin(spins) {
    const char* given = std::getenv("SHMDS_BENCH_NAME");
    name = (given != nullptr ? given : "shmds-bench-bytes") + std::to_string(getpid());
    const shmds::byte_queue_options options{.capacity = buffered};
    shmds::segment_options sized{.exclusive = true, .prefault = true};
    sized.size = shmds::segment_size(sized, {shmds::byte_queue_size(options)});
    segment = shmds::segment::create(name, sized);
    queue = shmds::byte_queue::create(segment, "q", options);
    queue.set_spin(spin);
  }
  void be_receiver() override {
    segment = shmds::segment::open(name, {.prefault = true});
    queue = shmds::byte_queue::open(segment, "q");
    queue.set_spin(spin);
  }
  bool send(const char* data, std::size_t size) override { return queue.send_for(std::string_view(data, size), 0, 10s); }
  void receive(char* buffer) override {
    if (!in_place) {
      for (;;) {
        if (queue.receive_into({reinterpret_cast<std::byte*>(buffer), longest})) return;
        if (const auto message = queue.receive_for(10s)) return void(std::memcpy(buffer, message->data(), message->size()));
      }
    }
    const auto message = queue.receive_for(10s);
    if (!message) std::_Exit(1);
    std::uint64_t word = 0, words = 0;
    for (std::size_t at = 0; at + 8 <= message->size(); at += 8) {
      std::memcpy(&word, message->data() + at, 8);
      words += word;
    }
    sum += words;
    std::memcpy(buffer, message->data(), 8);
    std::memcpy(buffer + 8, &sum, 8);
  }
};

struct unix_socket : link {
  int ends[2];
  unix_socket() {
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) fail("socketpair");
    const int size = buffered;  // root may have it; others get what the system allows
    if (setsockopt(ends[0], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) != 0) {
      setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    }
  }
  ~unix_socket() override { close(ends[0]), close(ends[1]); }
  bool send(const char* data, std::size_t size) override {
    if (::send(ends[0], data, size, MSG_NOSIGNAL) == static_cast<ssize_t>(size)) return true;
    if (errno != EMSGSIZE && errno != ENOBUFS) fail("send");
    return false;
  }
  void receive(char* buffer) override {
    if (recv(ends[1], buffer, longest, 0) <= 0) std::_Exit(1);
  }
};

/// A length before each message; the reader takes as much as there is at once.
struct pipe_link : link {
  int ends[2];
  std::vector<char> read_ahead = std::vector<char>(buffered);
  std::size_t from = 0, to = 0;
  pipe_link() {
    if (pipe2(ends, O_CLOEXEC) != 0) fail("pipe");
    fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);  // the most that everybody may have
  }
  ~pipe_link() override { close(ends[0]), close(ends[1]); }
  void be_receiver() override { close(std::exchange(ends[1], -1)); }
  void be_sender() override { close(std::exchange(ends[0], -1)); }
  bool send(const char* data, std::size_t size) override {
    const auto length = static_cast<std::uint32_t>(size);
    std::array<char, sizeof length> header;
    std::memcpy(header.data(), &length, sizeof length);
    iovec parts[2] = {{header.data(), sizeof length}, {const_cast<char*>(data), size}};
    if (writev(ends[1], parts, 2) != static_cast<ssize_t>(size + sizeof length)) fail("writev");
    return true;
  }
  void more(std::size_t wanted) {
    if (from + wanted > read_ahead.size()) {
      std::memmove(read_ahead.data(), read_ahead.data() + from, to - from);
      to -= std::exchange(from, 0);
    }
    while (to - from < wanted) {
      const auto got = read(ends[0], read_ahead.data() + to, read_ahead.size() - to);
      if (got <= 0) std::_Exit(1);
      to += static_cast<std::size_t>(got);
    }
  }
  void receive(char* buffer) override {
    std::uint32_t length = 0;
    more(sizeof length);
    std::memcpy(&length, read_ahead.data() + from, sizeof length);
    more(sizeof length + length);
    std::memcpy(buffer, read_ahead.data() + from + sizeof length, std::min<std::size_t>(length, 8));  // it is in private memory
    from += sizeof length + length;
    if (from == to) from = to = 0;
  }
};

#ifdef HAS_BOOST
struct boost_queue : link {
  std::unique_ptr<boost::interprocess::message_queue> queue;
  explicit boost_queue(std::size_t most) {
    using namespace boost::interprocess;
    const auto name = std::string(std::getenv("SHMDS_BENCH_NAME") != nullptr ? std::getenv("SHMDS_BENCH_NAME") : "shmds-bench") +
                      "-boost-" + std::to_string(getpid());
    queue = std::make_unique<message_queue>(create_only, name.c_str(), buffered / most, most);
    message_queue::remove(name.c_str());  // the mapping is inherited
  }
  bool send(const char* data, std::size_t size) override {
    queue->send(data, size, 0);
    return true;
  }
  void receive(char* buffer) override {
    boost::interprocess::message_queue::size_type got = 0;
    unsigned priority = 0;
    queue->receive(buffer, longest, got, priority);
  }
};
#endif

int cores[2];

void pin(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) fail("sched_setaffinity");
}

/// Runs the two halves in two processes, this one and a new one; what the new one measured, or NaN.
double between(const std::function<bool()>& here, const std::function<double()>& there) {
  std::memset(static_cast<void*>(board), 1, sizeof *board);
  board->ready = board->turn = board->stamp = 0;
  std::fflush(stdout);
  const pid_t other = fork();
  if (other < 0) fail("fork");
  if (other == 0) {
    alarm(20);
    pin(cores[1]);
    int status = 1;
    try {
      board->result = there();
      status = 0;
    } catch (const std::exception& e) {
      std::fprintf(stderr, "bytes: %s\n", e.what());
    }
    _exit(status);
  }
  const bool fine = here();
  if (!fine) kill(other, SIGKILL);
  int status = 0;
  if (waitpid(other, &status, 0) != other || (fine && status != 0)) fail("the receiver");
  return fine ? board->result : NAN;
}

void wait_until(const std::atomic<std::uint64_t>& word, std::uint64_t value) {
  while (word.load(std::memory_order_acquire) != value) {
  }
}

std::vector<char> source(longest, 'x'), target(longest, 'y');

/// Gigabytes a second.
double throughput(link& by, const load& what) {
  const auto sizes = what.sizes();
  const auto here = [&] {
    by.be_sender();
    wait_until(board->ready, 1);
    for (std::size_t n = 0; n < what.count; n++) {
      if (!by.send(source.data(), sizes[n % sizes.size()])) return false;
    }
    return true;
  };
  return between(here, [&] {
    by.be_receiver();
    board->ready = 1;
    by.receive(target.data());
    const auto begun = now();
    std::size_t bytes = 0;
    for (std::size_t n = 1; n < what.count; n++) {
      by.receive(target.data());
      bytes += sizes[n % sizes.size()];
    }
    return static_cast<double>(bytes) / static_cast<double>(now() - begun);
  });
}

/// The same, of copying alone: what the other process has just written, a megabyte at a time.
double copying(const load& what) {
  constexpr std::uint64_t turns = 64;
  const auto sizes = what.sizes();
  const auto here = [&] {
    for (std::uint64_t turn = 0; turn < turns; turn++) {
      std::memcpy(board->memory, source.data(), longest);
      board->turn.store(2 * turn + 1, std::memory_order_release);
      wait_until(board->turn, 2 * turn + 2);
    }
    return true;
  };
  return between(here, [&] {
    std::uint64_t took = 0;
    std::size_t bytes = 0;
    for (std::uint64_t turn = 0; turn < turns; turn++) {
      wait_until(board->turn, 2 * turn + 1);
      const auto begun = now();
      for (std::size_t at = 0, n = 0; at < longest; n++) {
        const auto size = std::min(sizes[n % sizes.size()], longest - at);
        std::memcpy(target.data(), board->memory + at, size);
        asm volatile("" : : "r"(target.data()) : "memory");
        at += size;
        bytes += size;
      }
      if (turn == 0) bytes = 0;  // then pages were touched for the first time
      else took += now() - begun;
      board->turn.store(2 * turn + 2, std::memory_order_release);
    }
    return static_cast<double>(bytes) / static_cast<double>(took);
  });
}

double median(std::vector<double> all) {
  std::ranges::sort(all);
  return all[all.size() / 2];
}

/// Nanoseconds, the median of many: `give` sends the time, `take` gives the time that came.
double latency(const std::function<void(std::uint64_t)>& give, const std::function<std::uint64_t()>& take, link* by) {
  const auto here = [&] {
    if (by != nullptr) by->be_sender();
    wait_until(board->ready, 1);
    auto due = now();
    for (std::size_t n = 0; n < latencies; n++) {
      for (due += 20'000; now() < due;) {
      }
      give(now());
    }
    return true;
  };
  return between(here, [&] {
    if (by != nullptr) by->be_receiver();
    board->ready = 1;
    std::vector<double> all;
    for (std::size_t n = 0; n < latencies; n++) {
      const auto sent = take();
      all.push_back(static_cast<double>(now() - sent));
    }
    return median(all);
  });
}

double latency(link& by) {
  const auto give = [&](std::uint64_t time) {
    std::memcpy(source.data(), &time, 8);
    by.send(source.data(), 64);
  };
  const auto take = [&] {
    std::uint64_t sent = 0;
    by.receive(target.data());
    std::memcpy(&sent, target.data(), 8);
    return sent;
  };
  return latency(give, take, &by);
}

double store() {
  std::uint64_t last = 0;
  const auto take = [&] {
    std::uint64_t sent = last;
    while (sent == last) sent = board->stamp.load(std::memory_order_acquire);
    board->turn.store(sent, std::memory_order_release);
    return last = sent;
  };
  const auto give = [](std::uint64_t time) {
    board->stamp.store(time, std::memory_order_release);
    wait_until(board->turn, time);  // or a receiver that was interrupted would miss it
  };
  return latency(give, take, nullptr);
}

struct row {
  const char* role;
  const char* name;
  std::function<double()> measure;
  std::vector<double> values{};
};

/// All in turns. What cannot send such messages at all is left out.
void table(const std::string& name, const char* unit, double scale, std::size_t repetitions, std::vector<row> rows) {
  for (std::size_t repetition = 0; repetition < repetitions; repetition++) {
    for (auto& row : rows) row.values.push_back(row.measure() * scale);
  }
  for (const auto& row : rows) {
    if (std::isnan(row.values[0])) {
      std::fprintf(stderr, "  %s: too long for a %s\n", name.c_str(), row.name);
      continue;
    }
    std::printf("%s\t%s\t%s\t%s\t", name.c_str(), unit, row.role, row.name);
    for (const double value : row.values) std::printf("%.5g ", value);
    std::puts("");
  }
  std::fprintf(stderr, "  %s: done\n", name.c_str());
}

void choose_cores() {
  const char* given = std::getenv("SHMDS_BENCH_CORES");
  if (given != nullptr && std::sscanf(given, "%d,%d", &cores[0], &cores[1]) == 2) return;
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) fail("sched_getaffinity");
  int found = 0;
  for (int core = 0; core < CPU_SETSIZE && found < 2; core++) {
    if (CPU_ISSET(core, &set)) cores[found++] = core;
  }
  if (found < 2) {
    std::fputs("Only one core to run on: nothing to measure between two.\n", stderr);
    std::exit(0);
  }
}

}  // namespace

int main() try {
  const char* given = std::getenv("SHMDS_BENCH_REPETITIONS");
  const auto repetitions = static_cast<std::size_t>(given != nullptr && *given != 0 ? std::atoi(given) : 11);
  choose_cores();
  pin(cores[0]);
  void* const memory = mmap(nullptr, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) fail("mmap");
  board = new (memory) shared;
#ifndef HAS_BOOST
  std::fputs("  left out, because it is not here: boost message_queue\n", stderr);
#endif
  const load loads[] = {{"bytes, 16 B to 4 KiB", 16, 4096, 100'000}, {"bytes, 64 KiB", 65536, 65536, 2000}, {"bytes, 1 MiB", longest, longest, 150}};
  for (const auto& what : loads) {
    const auto over = [&what](auto make) {
      return [&what, make] {
        auto by = make();
        return throughput(by, what);
      };
    };
    // What counts of small messages is how many there are.
    double bytes = 0;
    for (const auto size : what.sizes()) bytes += static_cast<double>(size) / 1024;
    const bool mixed = what.least != what.most;
    table(what.name, mixed ? "M/s" : "GB/s", mixed ? 1000 / bytes : 1, repetitions,
          {{"ours", "shmds C++", over([] { return ours(false); })},
           {"ours", "shmds C++, received in place", over([] { return ours(true); })},
           {"peer", "Unix socket", over([] { return unix_socket(); })},
           {"peer", "pipe", over([] { return pipe_link(); })},
#ifdef HAS_BOOST
           {"peer", "boost message_queue", over([&what] { return boost_queue(what.most); })},
#endif
           {"floor", "a copy of what another core wrote", [&what] { return copying(what); }}});
  }
  const auto of = [](auto make) {
    return [make] {
      auto by = make();
      return latency(by);
    };
  };
  table("bytes, one way, 64 B", "ns", 1, repetitions,
        {{"ours", "shmds C++", of([] { return ours(false); })},
         {"aside", "shmds C++, asleep in between", of([] { return ours(false, 0ns); })},
         {"peer", "Unix socket", of([] { return unix_socket(); })},
         {"peer", "pipe", of([] { return pipe_link(); })},
#ifdef HAS_BOOST
         {"peer", "boost message_queue", of([] { return boost_queue(64); })},
#endif
         {"floor", "a store", store}});
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "bytes: %s\n", e.what());
  return 1;
}
