// Speculo beside the bare memory: from commit to sight between two cores, committing in three languages, reading, compacting.
//
// Every measurement is a process of its own, or two, started anew and pinned: this program as another part of itself, or
// benches/speculo.rs for Rust. All take their turns in each repetition; medians, least and greatest of the repetitions, and the
// median of the ratios to the last row, the limit, in the same repetition: above one is slower than the limit.
//
// From commit to sight: the chunk carries the time before it was allocated; every 20 us one is committed for a reader that calls `next`
// all the time, every 500 us for one that sleeps in `next_wait`. The limits are a store that another core waits for, and a
// futex. Committing: from warm private memory, new ids into an area large enough ("new"), or one of many ids again and again
// with the compactions that takes ("again"). The limits are copies of as many bytes to the same places in a plain object
// whose pages are there already: mapped for the first time, as an area is, or touched before. Reading: an area that
// was written before, all its words added up, or as many lookups as chunks in random order; the limits have the same bytes
// in memory, and a std::unordered_map. Compacting: every second chunk is obsolete; the limits copy what is valid into a new
// object, making it included, or only copy.
//
// SHMDS_BENCH_REPETITIONS says how often (11), SHMDS_BENCH_CORES where (the first two allowed, "0,1"), SHMDS_BENCH_ONLY which table (a
// part of its title). Arguments: where the Rust program is, and where a report in JSON goes; either may be left out.
#include <shmds.hpp>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <linux/futex.h>
#include <sched.h>
#include <string>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <unordered_map>
#include <utility>
#include <vector>

namespace {

using strings = std::vector<std::string>;

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

void check(shm_status status) {
  if (status != SHM_OK) {
    std::fprintf(stderr, "speculo: status %d: %s\n", status, shm_last_error());
    std::exit(1);
  }
}

std::uint64_t now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(time.tv_nsec);
}

double since(std::uint64_t begun) { return static_cast<double>(now() - begun); }

std::size_t taken(std::size_t size) { return 64 + (size + 63) / 64 * 64; }

// ---- the parts: each is a process, and says what it measured on its standard output -------------------------------

void say(double number) { std::printf("%.3f\n", number); }

/// Tells the other side that this one is prepared, and waits for the word to begin.
void ready() {
  std::puts("ready");
  std::fflush(stdout);
  if (std::getchar() == EOF) std::exit(1);
}

/// A plain object of memory, whose pages are there, mapped anew: touched or not.
char* plain(std::size_t bytes, bool touch) {
  const int file = memfd_create("shmds-bench", MFD_CLOEXEC);
  if (file < 0 || posix_fallocate(file, 0, static_cast<off_t>(bytes)) != 0) fail("memfd");
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (memory == MAP_FAILED) fail("mmap");
  close(file);
  if (touch) std::memset(memory, 1, bytes);
  return static_cast<char*>(memory);
}

/// What the two processes of a limit share: a descriptor that both inherit.
struct board {
  alignas(128) std::atomic<std::uint64_t> stamp;
  alignas(128) std::atomic<std::uint64_t> seen;
  alignas(128) std::atomic<std::uint32_t> bell;
};

board& shared(const std::string& descriptor) {
  void* const memory = mmap(nullptr, sizeof(board), PROT_READ | PROT_WRITE, MAP_SHARED, std::stoi(descriptor), 0);
  if (memory == MAP_FAILED) fail("mmap");
  return *static_cast<board*>(memory);
}

void futex(std::atomic<std::uint32_t>& word, int operation, std::uint32_t value) {
  syscall(SYS_futex, &word, operation, value, nullptr, nullptr, 0);
}

speculo_area* area_of(const std::string& name, std::size_t most, std::size_t least) {
  speculo_area* area = nullptr;
  check(speculo_area_new(name.c_str(), SHM_EXCLUSIVE, &area));
  check(speculo_area_set_max_size(area, most));
  check(speculo_area_set_min_size(area, least));
  check(speculo_area_create(area));
  return area;
}

void end(speculo_area* area) {
  check(speculo_area_unlink(area));
  check(speculo_area_close(area));
}

/// Calls `give` with the time, so many times and so far apart.
void pace(std::size_t count, std::uint64_t apart, const std::function<void(std::uint64_t)>& give) {
  auto due = now();
  for (std::size_t n = 0; n < count; n++) {
    for (due += apart; now() < due;) {
    }
    give(now());
  }
}

void wait_until(const std::atomic<std::uint64_t>& word, std::uint64_t value) {
  while (word.load(std::memory_order_acquire) != value) {
  }
}

/// give NAME COUNT APART DESCRIPTOR
void give(const strings& args) {
  speculo_area* const area = area_of(args[0], 16 << 20, 16 << 20);
  auto& board = shared(args[3]);
  ready();
  pace(std::stoul(args[1]), std::stoul(args[2]), [&](std::uint64_t time) {
    check(speculo_area_write(area, &time, sizeof time, 0, nullptr));
    wait_until(board.seen, time);  // as for the limit
  });
  ready();
  end(area);
}

/// give-plain DESCRIPTOR COUNT APART WAKE
void give_plain(const strings& args) {
  auto& board = shared(args[0]);
  ready();
  pace(std::stoul(args[1]), std::stoul(args[2]), [&](std::uint64_t time) {
    board.stamp.store(time, std::memory_order_release);
    if (args[3] == "wake") {
      board.bell.fetch_add(1, std::memory_order_release);
      futex(board.bell, FUTEX_WAKE, 1);
    }
    wait_until(board.seen, time);  // or a reader that was interrupted would miss it
  });
  ready();
}

void say_percentiles(std::vector<double> all) {
  std::ranges::sort(all);
  for (const double part : {0.5, 0.9, 0.99, 0.999}) say(all[static_cast<std::size_t>(part * static_cast<double>(all.size() - 1))]);
}

/// take NAME COUNT WAIT DESCRIPTOR
void take(const strings& args) {
  auto& board = shared(args[3]);
  speculo_reader* reader = nullptr;
  check(speculo_reader_open(args[0].c_str(), nullptr, &reader));
  std::vector<double> all;
  ready();
  while (all.size() < std::stoul(args[1])) {
    speculo_view view;
    shm_status status = SHM_EMPTY;
    if (args[2] == "wait") {
      status = speculo_reader_next_wait(reader, SHM_FOREVER, &view);
    } else {
      while (status == SHM_EMPTY) status = speculo_reader_next(reader, &view);
    }
    check(status);
    std::uint64_t time = 0;
    std::memcpy(&time, view.data, sizeof time);
    all.push_back(since(time));
    board.seen.store(time, std::memory_order_release);
  }
  check(speculo_reader_close(reader));
  say_percentiles(all);
}

/// take-plain DESCRIPTOR COUNT WAIT
void take_plain(const strings& args) {
  auto& board = shared(args[0]);
  std::vector<double> all;
  ready();
  std::uint64_t time = 0, last = 0;
  while (all.size() < std::stoul(args[1])) {
    for (;; last == time && args[2] == "wait" ? futex(board.bell, FUTEX_WAIT, static_cast<std::uint32_t>(all.size())) : void()) {
      time = board.stamp.load(std::memory_order_acquire);
      if (time != last) break;
    }
    all.push_back(since(time));
    board.seen.store(last = time, std::memory_order_release);
  }
  say_percentiles(all);
}

/// How a measurement of committing goes: so many chunks, of so many ids (0: each of its own), in an area of so many bytes at most.
struct load {
  std::size_t size, count, ids, most, least;
  explicit load(const strings& args)
      : size(std::stoul(args[0])), count(std::stoul(args[1])), ids(std::stoul(args[2])), most(std::stoul(args[3])), least(ids != 0 ? 65536 : most) {}
};

/// commit-c SIZE COUNT IDS MOST NAME; nanoseconds a chunk
void commit_c(const strings& args) {
  const load load(args);
  speculo_area* const area = area_of(args[4], load.most, std::min(load.least, load.most));
  const std::vector<char> source(load.size, 'x');
  speculo_chunk chunk;
  check(speculo_chunk_init(&chunk, area));
  void* data = nullptr;
  const auto fill = [&](shm_status status) {
    check(status);
    std::memcpy(data, source.data(), source.size());
    check(speculo_chunk_commit(&chunk));
  };
  for (std::size_t n = 0; n < load.ids; n++) fill(speculo_chunk_allocate(&chunk, load.size, &data));
  const auto begun = now();
  for (std::size_t n = 0; n < load.count; n++) {
    if (load.ids == 0) {
      fill(speculo_chunk_allocate(&chunk, load.size, &data));
    } else {
      chunk.id = 1 + n % load.ids;
      fill(speculo_chunk_update(&chunk, load.size, &data));
    }
  }
  say(since(begun) / static_cast<double>(load.count));
  end(area);
}

/// commit-cpp: the same in C++
void commit_cpp(const strings& args) {
  const load load(args);
  auto area = shmds::speculo_area::create(args[4], {.max_size = load.most, .min_size = std::min(load.least, load.most), .exclusive = true});
  const std::vector<char> source(load.size, 'x');
  const auto fill = [&](auto draft) {
    std::memcpy(draft.value().bytes().data(), source.data(), source.size());
    draft->commit();
  };
  for (std::size_t n = 0; n < load.ids; n++) fill(area.allocate(load.size));
  const auto begun = now();
  for (std::size_t n = 0; n < load.count; n++) fill(load.ids == 0 ? area.allocate(load.size) : area.update(1 + n % load.ids, load.size));
  say(since(begun) / static_cast<double>(load.count));
  area.unlink();
}

/// copy SIZE COUNT IDS MOST TOUCH: to where an area would have the chunks
void copy(const strings& args) {
  const load load(args);
  char* const memory = plain(load.most, args[4] == "touched");
  const std::vector<char> source(load.size, 'x');
  std::size_t at = 128;
  const auto begun = now();
  for (std::size_t n = 0; n < load.count; n++, at += taken(load.size)) {
    if (at + taken(load.size) > load.most) at = 128;
    std::memcpy(memory + at + 64, source.data(), source.size());
    asm volatile("" : : "r"(memory) : "memory");
  }
  say(since(begun) / static_cast<double>(load.count));
}

std::uint64_t sum(const void* data, std::size_t size) {
  std::uint64_t sum = 0, word = 0;
  for (std::size_t at = 0; at + 8 <= size; at += 8) {
    std::memcpy(&word, static_cast<const char*>(data) + at, 8);
    sum += word;
  }
  return sum;
}

void use(std::uint64_t value) { asm volatile("" : : "r"(value)); }

/// prepare NAME SIZE COUNT: an area to be read
void prepare(const strings& args) {
  const std::size_t size = std::stoul(args[1]), count = std::stoul(args[2]), bytes = 128 + count * taken(size);
  speculo_area* const area = area_of(args[0], bytes, bytes);
  const std::vector<char> source(size, 'x');
  for (std::size_t n = 0; n < count; n++) check(speculo_area_write(area, source.data(), size, 0, nullptr));
  check(speculo_area_close(area));
  say(0);
}

/// remove NAME
void remove(const strings& args) {
  check(speculo_area_unlink_name(args[0].c_str(), nullptr));
  say(0);
}

/// scan NAME SIZE COUNT HOW: nanoseconds a chunk
void scan(const strings& args) {
  const std::size_t size = std::stoul(args[1]), count = std::stoul(args[2]);
  const auto& how = args[3];
  speculo_reader* reader = nullptr;
  check(speculo_reader_open(args[0].c_str(), nullptr, &reader));
  const auto walk = [&] {
    const auto begun = now();
    std::uint64_t total = 0, version = 0;
    for (std::size_t n = 0; n < count; n++) {
      speculo_view view;
      check(how == "valid" ? speculo_reader_next_valid(reader, version, &view) : speculo_reader_next(reader, &view));
      version = view.version;
      total += sum(view.data, size);
    }
    use(total);
    check(speculo_reader_seek(reader, 0));
    return since(begun) / static_cast<double>(count);
  };
  const double first = walk();
  say(how == "first" ? first : walk());
  check(speculo_reader_close(reader));
}

/// scan-plain - SIZE COUNT
void scan_plain(const strings& args) {
  const std::size_t size = std::stoul(args[1]), count = std::stoul(args[2]);
  const char* const memory = plain(128 + count * taken(size), true);
  const auto begun = now();
  std::uint64_t total = 0;
  for (std::size_t n = 0; n < count; n++) total += sum(memory + 128 + n * taken(size) + 64, size);
  use(total);
  say(since(begun) / static_cast<double>(count));
}

constexpr std::size_t lookups = 200'000;

/// Nanoseconds of `find` with a random number from 1 to `count`.
template <class F>
double look_up(std::size_t count, F find) {
  std::uint64_t random = 7, total = 0;
  const auto begun = now();
  for (std::size_t n = 0; n < lookups; n++) {
    random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    total += find(1 + (random >> 33) % count);
  }
  use(total);
  return since(begun) / lookups;
}

/// get NAME SIZE COUNT HOW
void get(const strings& args) {
  speculo_reader* reader = nullptr;
  check(speculo_reader_open(args[0].c_str(), nullptr, &reader));
  const std::size_t size = std::stoul(args[1]), count = std::stoul(args[2]);
  const auto find = [&](std::uint64_t id) {
    speculo_view view;
    check(speculo_reader_get(reader, id, &view));
    return sum(view.data, size);
  };
  const auto begun = now();
  find(1);
  const double first = since(begun) / static_cast<double>(count);
  for (std::uint64_t id = 1; id <= count; id++) find(id);  // pages and caches
  say(args[3] == "first" ? first : look_up(count, find));
  check(speculo_reader_close(reader));
}

/// get-plain - SIZE COUNT
void get_plain(const strings& args) {
  const std::size_t size = std::stoul(args[1]), count = std::stoul(args[2]);
  const char* const memory = plain(128 + count * taken(size), true);
  std::unordered_map<std::uint64_t, const char*> places;
  for (std::uint64_t id = 1; id <= count; id++) places[id] = memory + 128 + (id - 1) * taken(size) + 64;
  say(look_up(count, [&](std::uint64_t id) { return sum(places.find(id)->second, size); }));
}

/// compact NAME SIZE COUNT: nanoseconds a live chunk
void compact(const strings& args) {
  const std::size_t size = std::stoul(args[1]), live = std::stoul(args[2]), bytes = 128 + 2 * live * taken(size);
  speculo_area* const area = area_of(args[0], bytes, 65536);
  const std::vector<char> source(size, 'x');
  for (std::uint64_t n = 0; n < 2 * live; n++) check(speculo_area_write(area, source.data(), size, 0, nullptr));
  for (std::uint64_t n = 0; n < live; n++) check(speculo_area_obsolete(area, 1 + 2 * n));
  const auto begun = now();
  check(speculo_area_collect(area));
  say(since(begun) / static_cast<double>(live));
  end(area);
}

/// compact-plain - SIZE COUNT MADE
void compact_plain(const strings& args) {
  const std::size_t size = std::stoul(args[1]), live = std::stoul(args[2]), bytes = 128 + 2 * live * taken(size);
  const char* const from = plain(bytes, true);
  char* const there = args[3] == "touched" ? plain(bytes, true) : nullptr;
  const auto begun = now();
  char* const to = there != nullptr ? there : plain(bytes, false);
  for (std::size_t n = 0; n < live; n++) std::memcpy(to + n * taken(size), from + (2 * n + 1) * taken(size), size + 64);
  asm volatile("" : : "r"(to) : "memory");
  say(since(begun) / static_cast<double>(live));
}

const std::unordered_map<std::string, void (*)(const strings&)> parts{
    {"give", give},         {"give-plain", give_plain}, {"take", take},       {"take-plain", take_plain}, {"commit-c", commit_c},
    {"commit-cpp", commit_cpp}, {"copy", copy},         {"prepare", prepare}, {"remove", remove},         {"scan", scan},
    {"scan-plain", scan_plain}, {"get", get},           {"get-plain", get_plain}, {"compact", compact},   {"compact-plain", compact_plain}};

// ---- what starts them, in turns -----------------------------------------------------------------------------------

std::string myself, name;
int cores[2];

void pin(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) fail("sched_setaffinity");
}

/// A process of a part. It does not outlive this one, nor half a minute.
struct part {
  pid_t process;
  FILE *to, *from;
  part(int core, const std::string& program, const strings& args) {
    int down[2], up[2];
    if (pipe2(down, O_CLOEXEC) != 0 || pipe2(up, O_CLOEXEC) != 0) fail("pipe");
    process = fork();
    if (process < 0) fail("fork");
    if (process == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      alarm(30);
      pin(core);
      dup2(down[0], 0);
      dup2(up[1], 1);
      std::vector<char*> all{const_cast<char*>(program.c_str())};
      for (const auto& arg : args) all.push_back(const_cast<char*>(arg.c_str()));
      all.push_back(nullptr);
      execv(program.c_str(), all.data());
      std::perror(program.c_str());
      _exit(127);
    }
    close(down[0]), close(up[1]);
    to = fdopen(down[1], "w"), from = fdopen(up[0], "r");
  }
  part(const part&) = delete;
  part& operator=(const part&) = delete;
  ~part() {
    std::fclose(to), std::fclose(from);
    int status = 0;
    if (waitpid(process, &status, 0) != process || status != 0) {
      std::fputs("speculo: a part failed\n", stderr);
      std::exit(1);
    }
  }
  void wait_until_ready() {
    char line[64];
    if (std::fgets(line, sizeof line, from) == nullptr || std::strcmp(line, "ready\n") != 0) fail("a part that is ready");
  }
  void begin() {
    std::fputs("\n", to);
    std::fflush(to);
  }
  std::vector<double> numbers() {
    std::vector<double> all;
    for (double number = 0; std::fscanf(from, "%lf", &number) == 1;) all.push_back(number);
    return all;
  }
};

using measurement = std::function<std::vector<double>()>;

measurement alone(const std::string& program, const strings& args) {
  return [=] { return part(cores[0], program, args).numbers(); };
}

measurement alone(const strings& args) { return alone(myself, args); }

/// Two parts, on two cores.
measurement between(const strings& giving, const strings& taking) {
  return [=] {
    part giver(cores[0], myself, giving);
    giver.wait_until_ready();
    part taker(cores[1], myself, taking);
    taker.wait_until_ready();
    taker.begin();
    usleep(2000);  // until it is where it waits
    giver.begin();
    const auto numbers = taker.numbers();
    giver.wait_until_ready();
    giver.begin();
    return numbers;
  };
}

struct row {
  std::string label;
  measurement measure;
  std::vector<std::vector<double>> values{};
};

double median(std::vector<double> all) {
  std::ranges::sort(all);
  return all[all.size() / 2];
}

std::size_t repetitions = 11;
strings report;

/// All in turns. What is measured is in nanoseconds, of `bytes` bytes; the last row is the limit, which the others are divided by. Several
/// numbers of one measurement have several `columns`.
void table(const std::string& title, const std::string& what, std::size_t bytes, const strings& columns, std::vector<row> rows) {
  const char* only = std::getenv("SHMDS_BENCH_ONLY");
  if (only != nullptr && title.find(only) == std::string::npos) return;
  for (std::size_t repetition = 0; repetition < repetitions; repetition++) {
    for (auto& row : rows) {
      row.values.push_back(row.measure());
      if (row.values.back().size() != columns.size()) fail("a measurement");
    }
  }
  std::printf("\n%-40s %9s %9s %9s %8s%s\n", (title + ": " + what).c_str(), "median", "min", "max", "ratio",
              bytes != 0 ? "      M/s     GB/s" : "");
  for (const auto& row : rows) {
    for (std::size_t column = 0; column < columns.size(); column++) {
      std::vector<double> all, ratios;
      for (std::size_t n = 0; n < repetitions; n++) {
        all.push_back(row.values[n][column]);
        ratios.push_back(row.values[n][column] / rows.back().values[n][column]);
      }
      const auto label = row.label + (columns[column].empty() ? "" : ", " + columns[column]);
      const auto [least, most] = std::ranges::minmax(all);
      std::printf("  %-38s %9.1f %9.1f %9.1f %8.2f", label.c_str(), median(all), least, most, median(ratios));
      if (bytes != 0) std::printf(" %8.3f %8.3f", 1000 / median(all), static_cast<double>(bytes) / median(all));
      std::puts("");
      char numbers[160];
      std::snprintf(numbers, sizeof numbers, R"("unit": "ns", "median": %.3f, "min": %.3f, "max": %.3f, "ratio": %.3f)", median(all), least,
                    most, median(ratios));
      report.push_back("{\"name\": \"speculo/" + title + "/" + label + "\", \"peer\": \"" + rows.back().label + "\", " + numbers + "}");
    }
  }
  std::fflush(stdout);
}

void write_report(const char* path) {
  FILE* const file = std::fopen(path, "w");
  if (file == nullptr) fail(path);
  for (std::size_t n = 0; n < report.size(); n++) std::fprintf(file, "%s  %s", n == 0 ? "[\n" : ",\n", report[n].c_str());
  std::fputs("\n]\n", file);
  if (std::fclose(file) != 0) fail(path);
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
    std::puts("Only one core to run on: nothing to measure between two.");
    std::exit(0);
  }
}

void latencies() {
  const int file = memfd_create("shmds-bench-board", 0);
  if (file < 0 || ftruncate(file, sizeof(board)) != 0) fail("memfd");
  const auto descriptor = std::to_string(file);
  for (const std::string how : {"spin", "wait"}) {
    const bool spins = how == "spin";
    const std::string count = spins ? "10000" : "500", apart = spins ? "20000" : "500000", wake = spins ? "spin" : "wake";
    const auto afresh = [=](const measurement& measure) {
      return [=] {
        if (ftruncate(file, 0) != 0 || ftruncate(file, sizeof(board)) != 0) fail("ftruncate");
        return measure();
      };
    };
    const auto ours = afresh(between({"give", name, count, apart, descriptor}, {"take", name, count, how, descriptor}));
    const auto limit = afresh(between({"give-plain", descriptor, count, apart, wake}, {"take-plain", descriptor, count, how}));
    table(std::string("Commit to sight, ") + (spins ? "spinning" : "asleep"), "ns", 0, {"median", "90 %", "99 %", "99.9 %"},
          {{"speculo", ours}, {spins ? "limit: a store" : "limit: a futex", limit}});
  }
  close(file);
}

void commits(const std::string& rust) {
  struct {
    const char* name;
    std::size_t size, count, ids;
  } const sizes[] = {{"64 B", 64, 200'000, 1000}, {"4 KiB", 4096, 8000, 100}, {"1 MiB", 1 << 20, 60, 4}};
  for (const auto& [label, size, count, ids] : sizes) {
    for (const bool again : {false, true}) {
      const auto most = again ? 128 + 4 * ids * taken(size) : 128 + count * taken(size);
      const auto page_end = (most + 4095) / 4096 * 4096;
      const auto args = [&](const char* part, const std::string& last) {
        return strings{part, std::to_string(size), std::to_string(count), std::to_string(again ? ids : 0), std::to_string(page_end), last};
      };
      std::vector<row> rows{{"C", alone(args("commit-c", name))}, {"C++", alone(args("commit-cpp", name))}};
      if (!rust.empty()) rows.push_back({"Rust", alone(rust, args("commit", name))});
      rows.push_back({"limit: memcpy, mapped anew", alone(args("copy", "anew"))});
      rows.push_back({"limit: memcpy, touched before", alone(args("copy", "touched"))});
      table(std::string("Commit, ") + (again ? "again, " : "new, ") + label, "ns a chunk", size, {""}, rows);
    }
  }
}

void reads() {
  const auto prepared = [](std::size_t size, std::size_t count, const auto& measure) {
    const strings place{name, std::to_string(size), std::to_string(count)};
    const auto with = [&](const char* part, const char* how) { return alone({part, place[0], place[1], place[2], how}); };
    alone({"prepare", place[0], place[1], place[2]})();
    measure(with);
    alone({"remove", name})();
  };
  for (const auto& [label, size, count] : {std::tuple("64 B", 64, 65536), {"4 KiB", 4096, 8192}}) {
    prepared(size, count, [&](const auto& with) {
      table(std::string("Scan, ") + label, "ns a chunk", size, {""},
            {{"next, for the first time", with("scan", "first")},
             {"next", with("scan", "next")},
             {"next_valid", with("scan", "valid")},
             {"limit: memory", with("scan-plain", "")}});
    });
  }
  for (const auto& [label, count] : {std::pair("1k ids", 1024), {"64k ids", 65536}}) {
    prepared(64, count, [&](const auto& with) {
      table(std::string("Get, 64 B of ") + label, "ns", 64, {""},
            {{"get, the first: ns a chunk", with("get", "first")}, {"get", with("get", "get")}, {"limit: std::unordered_map", with("get-plain", "")}});
    });
  }
}

void compactions() {
  for (const auto& [label, size, live] : {std::tuple("64 B", 64, 65536), {"4 KiB", 4096, 4096}, {"1 MiB", 1 << 20, 16}}) {
    const auto with = [&](const char* part, const char* how) { return alone({part, name, std::to_string(size), std::to_string(live), how}); };
    table(std::string("Compact, ") + label, "ns a live chunk", size, {""},
          {{"collect", with("compact", "")},
           {"limit: memcpy to a new object", with("compact-plain", "made")},
           {"limit: memcpy, touched before", with("compact-plain", "touched")}});
  }
}

}  // namespace

int main(int count, char** args) try {
  if (count > 1 && parts.contains(args[1])) {
    parts.at(args[1])(strings(args + 2, args + count));
    return 0;
  }
  const char* given = std::getenv("SHMDS_BENCH_REPETITIONS");
  if (given != nullptr && std::atoi(given) > 0) repetitions = static_cast<std::size_t>(std::atoi(given));
  const char* prefix = std::getenv("SHMDS_BENCH_NAME");
  name = (prefix != nullptr ? prefix : "shmds-bench") + std::string("-speculo-") + std::to_string(getpid());
  myself = "/proc/" + std::to_string(getpid()) + "/exe";
  choose_cores();
  std::printf("Speculo on cores %d and %d: medians, least and greatest of %zu repetitions, and the medians of their ratios to the last\n"
              "row. What is done is told in benches/speculo.cpp.\n",
              cores[0], cores[1], repetitions);
  latencies();
  commits(count > 1 ? args[1] : "");
  reads();
  compactions();
  if (count > 2) write_report(args[2]);
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "speculo: %s\n", e.what());
  return 1;
}
