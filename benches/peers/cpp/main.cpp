// A process that measures: one side of a case, or all of them in threads; src/worker.rs is the same in Rust, and src/main.rs
// starts both. `contenders` says who was built in.
#include "alone.hpp"

#include <functional>

namespace {

struct worker {
  control_page& control;
  int cores[2];
  std::size_t side;
  std::string name, contender;
  test_case of;

  bool produces() const { return side < of.producers; }
  void pin(std::size_t which) const {
    ::pin(cores[(which < of.producers ? which : which - of.producers + 1) % 2]);
  }
};

template <class M, class Link>
void work(const worker& me, std::size_t side, Link& there, Link* back) {
  auto& control = me.control;
  if (me.of.test == "round-trip") {
    if (side == 0) ping<M>(control, there, *back);
    else echo<M>(control, there, *back);
  } else if (me.of.test == "wake-up") {
    if constexpr (requires { there.send_waking(M(0)); }) {
      if (side == 0) wake<M>(control, there, *back);
      else woken<M>(control, there, *back);
    }
  } else if (me.of.test == "hand-over") {
    if constexpr (requires { there.send_waking(M(0)); }) {
      if (side == 0) hand_over<M>(control, there);
      else take_over<M>(control, there);
    }
  } else if (me.of.test == "apart") {
    if (side == 0) fill<M>(control, there);
    else empty<M>(control, there);
  } else if (side < me.of.producers) {
    produce<M>(control, me.of, side, there);
  } else {
    consume<M>(control, me.of, side - me.of.producers, there);
  }
}

/// One side; `make` gives an optional link to the queue of a name. `done` is called when all sides have theirs.
template <class M>
void one_side(const worker& me, auto make, auto done) {
  me.pin(me.side);
  const bool both = me.of.test == "round-trip" || me.of.test == "wake-up";
  auto there = make("there");
  auto back = both ? make("back") : decltype(there){};
  if (me.of.test == "pair") {
    done();
    auto receiver = make("there");
    return pairs<M>(me.control, me.of, *there, *receiver);
  }
  me.control.meet(me.of.sides());
  if (me.side == 0) done();
  work<M>(me, me.side, *there, both ? &*back : nullptr);
}

/// All sides, in threads.
template <class M, class Link>
void threads(const worker& me) {
  Link there(me.of.capacity), back(me.of.capacity);
  if (me.of.test == "pair") {
    me.pin(0);
    return pairs<M>(me.control, me.of, there, there);
  }
  std::vector<std::jthread> sides;
  for (std::size_t side = 0; side < me.of.sides(); side++) {
    sides.emplace_back([&, side] {
      me.pin(side);
      me.control.meet(me.of.sides());
      Link mine = there, other = back;
      work<M>(me, side, mine, &other);
    });
  }
}

/// Our own, in a segment; Link is made in it by name.
template <class M, class Link>
void in_segment(const worker& me) {
  std::optional<shmds::segment> in = shmds::segment::create(me.name, {.size = segment_bytes(me.of)});
  const auto make = [&](const char* name) {
    std::unique_ptr<Link> link = std::make_unique<Link>(*in, name, me.of);
    return link;
  };
  one_side<M>(me, make, [&] { shmds::segment::unlink(me.name); });
}

/// A peer in the arena.
template <class M, class Link>
void in_arena(const worker& me) {
  const auto make = [&](const char* name) {
    const bool back = std::string_view(name) == "back";
    return std::optional<Link>(Link{placed<typename Link::structure>(me.control, me.side == 0, back)});
  };
  one_side<M>(me, make, [] {});
}

template <class M, template <class, std::size_t> class Link>
void in_arena_of(const worker& me) {
  if (me.of.capacity == 1024) in_arena<M, Link<M, 1024>>(me);
  else if (me.of.capacity == 65536) in_arena<M, Link<M, 65536>>(me);
  else check(false, "no such capacity");
}

#ifdef HAS_ATOMIC_QUEUE
template <class M, std::size_t N>
using atomic_single = atomic_link<M, N, true>;
template <class M, std::size_t N>
using atomic_many = atomic_link<M, N, false>;
#endif

struct contender {
  const char* name;
  void (*run)(const worker&);
};

/// Whoever sends messages: `run` for each of their sizes.
#define OF_EACH_SIZE(expression_of_M)                                                    \
  [](const worker& me) {                                                                 \
    const auto run = [&]<class M>(M*) { expression_of_M; };                              \
    if (me.of.bytes == 8) run(static_cast<message<1>*>(nullptr));                        \
    else if (me.of.bytes == 64) run(static_cast<message<8>*>(nullptr));                  \
    else if (me.of.bytes == 256) run(static_cast<message<32>*>(nullptr));                \
    else check(false, "no message has so many bytes");                                   \
  }

bool is_alone(const worker& me) { return me.of.sides() == 1 && me.of.test != "pair"; }

const contender all[] = {
    {"shmds C++", OF_EACH_SIZE((me.of.test == "ring" ? in_segment<M, cpp_ring<M>> : in_segment<M, cpp_link<M>>)(me))},
    {"shmds C", OF_EACH_SIZE((me.of.test == "ring" ? in_segment<M, c_ring<M>> : in_segment<M, c_link<M>>)(me))},
    {"malloc", [](const worker& me) { heap_alone(me.control, me.of); }},
    {"std::atomic", [](const worker& me) { atomic_alone(me.control, me.of); }},
#ifdef HAS_BOOST_LOCKFREE
    {"boost spsc_queue", OF_EACH_SIZE((in_arena_of<M, boost_spsc>(me)))},
    {"boost queue", OF_EACH_SIZE((in_arena_of<M, boost_mpmc>(me)))},
#endif
#ifdef HAS_CK
    {"ck_ring", OF_EACH_SIZE((me.of.single ? in_arena_of<M, ck_spsc> : in_arena_of<M, ck_mpmc>)(me))},
#endif
#ifdef HAS_ATOMIC_QUEUE
    {"atomic_queue", OF_EACH_SIZE((me.of.single ? in_arena_of<M, atomic_single> : in_arena_of<M, atomic_many>)(me))},
#endif
#ifdef HAS_READERWRITERQUEUE
    {"readerwriterqueue", OF_EACH_SIZE((threads<M, readerwriter_link<M>>(me)))},
#endif
#ifdef HAS_CONCURRENTQUEUE
    {"concurrentqueue", OF_EACH_SIZE((threads<M, concurrent_link<M>>(me)))},
#endif
#ifdef HAS_BOOST_INTERPROCESS
    {"boost message_queue", OF_EACH_SIZE({
       const auto named = [&](const char* queue) { return me.name + "-" + queue; };
       const auto make = [&](const char* queue) {
         return std::optional<boost_messages<M>>(std::in_place, named(queue), me.of.capacity);
       };
       one_side<M>(me, make, [&] {
         for (const char* queue : {"there", "back"}) boost::interprocess::message_queue::remove(named(queue).c_str());
       });
     })},
    {"boost node allocator", [](const worker& me) { boost_alone(me.control, me.of, me.name, true); }},
    {"boost managed_shared_memory", [](const worker& me) { boost_alone(me.control, me.of, me.name, false); }},
#endif
};

int run(int count, char** words) {
  check(count >= 15, "worker FD CORE CORE SIDE NAME CONTENDER TEST MODE BYTES CAPACITY PRODUCERS CONSUMERS BULK");
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  alarm(10);
  const auto number = [&](int place) { return static_cast<std::size_t>(std::strtoull(words[place], nullptr, 10)); };
  void* const memory = mmap(nullptr, sizeof(control_page) + arena_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, std::atoi(words[2]), 0);
  check(memory != MAP_FAILED, "memory to share");
  const worker me{*static_cast<control_page*>(memory),
                  {std::atoi(words[3]), std::atoi(words[4])},
                  number(5),
                  words[6],
                  words[7],
                  {words[8], std::string_view(words[9]) == "SPSC", number(10), number(11), number(12), number(13), number(14)}};
  if (is_alone(me)) me.pin(0);
  if (is_alone(me) && me.contender == "shmds C++") return cpp_alone(me.control, me.of, me.name), 0;
  if (is_alone(me) && me.contender == "shmds C") return c_alone(me.control, me.of, me.name), 0;
  for (const auto& contender : all) {
    if (me.contender == contender.name) return contender.run(me), 0;
  }
  check(false, "there is no such contender");
  return 1;
}

}  // namespace

int main(int count, char** words) try {
  if (count == 2 && std::string_view(words[1]) == "contenders") {
    for (const auto& contender : all) std::puts(contender.name);
    return 0;
  }
  return run(count, words);
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
