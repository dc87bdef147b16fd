// What one process pays alone, for our C++ and C faces and for peers: as src/alone.rs has it.
#pragma once

#include "links.hpp"
#include "measure.hpp"
#include "peers.hpp"

#include <optional>
#include <thread>

constexpr std::uint64_t span_alone = 15'000'000;
/// Operations between two looks at the clock.
constexpr std::size_t batch_alone = 1024;

/// Measures nanoseconds of one operation; `work` does `of` at once.
void each(control_page& control, std::size_t of, auto&& work) {
  const std::size_t times = batch_alone / of;
  const double all = sample(span_alone, [&] {
    for (std::size_t n = 0; n < times; n++) work();
  });
  control.finish({all / static_cast<double>(times * of)});
}

template <class M, class Link>
void pairs(control_page& control, const test_case& of, Link& sender, Link& receiver) {
  M messages[most_in_bulk], received[most_in_bulk];
  for (auto& m : messages) m = M(7);
  if (of.bulk == 1) {
    each(control, 1, [&] {
      keep(messages[0]);
      check(sender.send(messages[0]), "there is room for one");
      check(receiver.receive(received[0]), "what was just sent");
      keep(received[0]);
    });
  } else {
    each(control, most_in_bulk, [&] {
      keep(messages);
      check(send_bulk(sender, messages, most_in_bulk) == most_in_bulk, "there is room for them");
      check(receive_bulk(receiver, received, most_in_bulk) == most_in_bulk, "what was just sent");
      keep(received);
    });
  }
}

/// Two queues, one of which somebody waited at once, in turns.
template <class Link>
void slept(control_page& control, const test_case& of, const shmds::segment& in, auto wait) {
  using M = message<1>;
  std::optional<Link> fresh, slept;
  fresh.emplace(in, "fresh", of);
  slept.emplace(in, "slept", of);
  std::thread([&] {
    Link sleeper(in, "slept", of);
    wait(sleeper);
  }).join();
  M m(7), received;
  const auto measure = [&](Link& link) {
    const auto begin = now();
    for (std::size_t n = 0; n < batch_alone; n++) {
      keep(m);
      check(link.send(m), "there is room for one");
      check(link.receive(received), "what was just sent");
      keep(received);
    }
    return static_cast<double>(now() - begin) / batch_alone;
  };
  std::vector<double> differences;
  for (const auto end = now() + span_alone; now() < end;) {
    const double one = measure(*slept), two = measure(*fresh), three = measure(*fresh), four = measure(*slept);
    differences.push_back((one + four - two - three) / 2);
  }
  control.finish({median(differences)});
}

/// Measures nanoseconds of making something, and of making it and undoing that.
void made(control_page& control, auto&& make, auto&& undo) {
  std::vector<double> making, all;
  for (const auto end = now() + span_alone; making.size() < 3 || now() < end;) {
    const auto begin = now();
    auto made = make();
    const auto between = now();
    undo(made);
    making.push_back(static_cast<double>(between - begin));
    all.push_back(static_cast<double>(now() - begin));
  }
  control.finish({median(making), median(all)});
}

struct object {
  char bytes[64];
};

inline std::vector<std::string> all_names(const test_case& of) {
  std::vector<std::string> names;
  for (std::size_t n = 0; n < of.capacity; n++) {
    char name[32];
    std::snprintf(name, sizeof name, "structure-%04zu", n);
    names.emplace_back(name);
  }
  return names;
}

/// Names in an order that is not theirs.
void each_name(control_page& control, const std::vector<std::string>& names, auto&& find) {
  std::size_t at = 0;
  each(control, 1, [&] {
    at = (at + 7) % names.size();
    check(find(names[at]), "a name");
  });
}

inline void cpp_alone(control_page& control, const test_case& of, const std::string& name) {
  using shmds::segment;
  if (of.test == "create") {
    const shmds::segment_options options{.size = of.bytes, .exclusive = true};
    return made(control, [&] { return segment::create(name, options); }, [](segment& it) { it = {}; });
  }
  if (of.test == "open") {
    const auto there = segment::create(name, {.size = of.bytes});
    return made(control, [&] { return segment::open(name); }, [](segment& it) { it = {}; });
  }
  const bool lookup = of.test == "lookup";
  const auto in = lookup ? segment::create(name, {.size = 4 << 20, .table = shmds::table::huge})
                         : segment::create(name, {.size = segment_bytes(of)});
  segment::unlink(name);
  if (lookup) {
    const auto names = all_names(of);
    std::vector<shmds::span> spans;
    for (const auto& each : names) spans.push_back(shmds::span::create(in, each, 64));
    return each_name(control, names, [&](const std::string& wanted) { return in.find(wanted).has_value(); });
  }
  if (of.test == "slept") {
    return slept<cpp_link<message<1>>>(control, of, in, [](auto& link) {
      link.queue.spin(0ns);
      check(!link.queue.dequeue_for(2ms), "nothing");
    });
  }
  if (of.test == "pool") {
    auto pool = shmds::pool<object>::create(in, "pool", {.capacity = of.capacity});
    if (of.bulk == 1) {
      return each(control, 1, [&] {
        auto acquired = pool.acquire();
        keep(acquired);
        pool.release(acquired.value());
      });
    }
    shmds::pool_handle handles[most_in_bulk];
    return each(control, most_in_bulk, [&] {
      check(pool.acquire_batch(handles) == most_in_bulk, "objects");
      keep(handles);
      pool.release_batch(handles);
    });
  }
  auto atomic = shmds::atomic<std::uint64_t>::create(in, "atomic");
  if (of.test == "load") {
    return each(control, 1, [&] {
      keep(atomic);
      check(atomic.load() == 0, "nobody stores");
    });
  }
  each(control, 1, [&] {
    auto before = atomic.fetch_add(1);
    keep(before);
  });
}

inline void c_alone(control_page& control, const test_case& of, const std::string& name) {
  shm_segment_options options;
  must(shm_segment_options_init(&options));
  const auto create = [&] {
    shm_segment* segment = nullptr;
    must(shm_segment_create(name.c_str(), &options, &segment));
    return segment;
  };
  const auto close = [](shm_segment* segment) { must(shm_segment_close(segment)); };
  if (of.test == "create" || of.test == "open") {
    options.size = of.bytes;
    if (of.test == "create") {
      options.flags = SHM_EXCLUSIVE;
      return made(control, create, close);
    }
    shm_segment* const there = create();
    made(control, [&] {
      shm_segment* segment = nullptr;
      must(shm_segment_open(name.c_str(), nullptr, &segment));
      return segment;
    }, close);
    return close(there);
  }
  // What is measured is called in C; what prepares it need not be.
  const bool lookup = of.test == "lookup";
  const auto in = lookup ? shmds::segment::create(name, {.size = 4 << 20, .table = shmds::table::huge})
                         : shmds::segment::create(name, {.size = segment_bytes(of)});
  shmds::segment::unlink(name);
  if (lookup) {
    const auto names = all_names(of);
    std::vector<shmds::span> spans;
    for (const auto& each : names) spans.push_back(shmds::span::create(in, each, 64));
    return each_name(control, names, [&](const std::string& wanted) {
      shm_entry entry;
      return done(shm_table_find(in.native(), wanted.c_str(), &entry));
    });
  }
  if (of.test == "slept") {
    return slept<c_link<message<1>>>(control, of, in, [](auto& link) {
      message<1> nothing;
      must(shm_queue_set_spin(link.queue, 0));
      check(shm_queue_dequeue_wait(link.queue, &nothing, 2'000'000) == SHM_TIMEOUT, "nothing");
    });
  }
  if (of.test == "pool") {
    const auto pool = shmds::pool<object>::create(in, "pool", {.capacity = of.capacity});
    shm_pool* const native = pool.native();
    std::uint64_t handles[most_in_bulk];
    std::size_t count = 0;
    if (of.bulk == 1) {
      return each(control, 1, [&] {
        must(shm_pool_acquire(native, handles));
        keep(handles);
        must(shm_pool_release(native, handles[0]));
      });
    }
    return each(control, most_in_bulk, [&] {
      must(shm_pool_acquire_batch(native, handles, most_in_bulk, &count));
      keep(handles);
      must(shm_pool_release_batch(native, handles, most_in_bulk, &count));
    });
  }
  const auto atomic = shmds::atomic<std::uint64_t>::create(in, "atomic");
  shm_atomic* const native = atomic.native();
  shm_atomic_value value{};
  if (of.test == "load") {
    return each(control, 1, [&] {
      must(shm_atomic_load(native, SHM_SEQ_CST, &value));
      check(value.u64 == 0, "nobody stores");
    });
  }
  shm_atomic_value one{}, before{};
  one.u64 = 1;
  each(control, 1, [&] { must(shm_atomic_fetch(native, SHM_ADD, one, SHM_SEQ_CST, &before)); });
}

inline void heap_alone(control_page& control, const test_case& of) {
  void* objects[most_in_bulk];
  each(control, of.bulk, [&] {
    for (std::size_t n = 0; n < of.bulk; n++) objects[n] = std::malloc(sizeof(object));
    keep(objects);
    for (std::size_t n = 0; n < of.bulk; n++) std::free(objects[n]);
  });
}

inline void atomic_alone(control_page& control, const test_case& of) {
  std::atomic<std::uint64_t> word = 0;
  if (of.test == "load") {
    return each(control, 1, [&] {
      keep(word);
      check(word.load() == 0, "nobody stores");
    });
  }
  each(control, 1, [&] {
    auto before = word.fetch_add(1);
    keep(before);
  });
}

#ifdef HAS_BOOST_INTERPROCESS
inline void boost_alone(control_page& control, const test_case& of, const std::string& name, bool nodes) {
  namespace bi = boost::interprocess;
  using segment = bi::managed_shared_memory;
  const auto create = [&](std::size_t bytes) { return segment(bi::create_only, name.c_str(), bytes); };
  const auto remove = [&] { bi::shared_memory_object::remove(name.c_str()); };
  if (of.test == "create") {
    return made(control, [&] { return create(of.bytes); }, [&](segment& it) {
      segment gone(std::move(it));
      remove();
    });
  }
  segment in = create(4 << 20);
  if (of.test == "open") {
    made(control, [&] { return segment(bi::open_only, name.c_str()); }, [](segment& it) { segment gone(std::move(it)); });
    return remove();
  }
  remove();
  if (of.test == "lookup") {
    const auto names = all_names(of);
    for (const auto& each : names) in.construct<std::uint64_t>(each.c_str())(0);
    return each_name(control, names, [&](const std::string& wanted) { return in.find<std::uint64_t>(wanted.c_str()).first != nullptr; });
  }
  if (nodes) {
    bi::private_node_allocator<object, segment::segment_manager> allocator(in.get_segment_manager());
    const auto keeps_a_block = allocator.allocate_one();
    each(control, 1, [&] {
      auto got = allocator.allocate_one();
      keep(got);
      allocator.deallocate_one(got);
    });
    return allocator.deallocate_one(keeps_a_block);
  }
  each(control, 1, [&] {
    void* got = in.allocate(sizeof(object));
    keep(got);
    in.deallocate(got);
  });
}
#endif
