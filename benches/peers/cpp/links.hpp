// Our queues and rings, through the C++ header and through the C functions. A link is both ends; a side uses one.
#pragma once

#include "control.hpp"

#include <chrono>
#include <shmds.hpp>

using namespace std::chrono_literals;

/// How long a side may wait for the other, who then is dead.
constexpr std::uint64_t patience = 5'000'000'000;

inline void must(shm_status returned) {
  if (returned == SHM_OK) [[likely]] return;
  std::fprintf(stderr, "%s: %s\n", shm_status_string(returned), returned < 0 ? shm_last_error() : "");
  std::_Exit(1);
}

/// A call that may find a queue full or empty.
inline bool done(shm_status returned) {
  check(returned >= 0, "a working structure");
  return returned == SHM_OK;
}

/// The segment of one measurement, as links.rs makes it.
inline std::uint64_t segment_bytes(const test_case& of) { return (2 << 20) + 2 * of.capacity * (of.bytes + 64); }

template <class M>
struct cpp_link {
  shmds::queue<M> queue;
  cpp_link(const shmds::segment& in, const char* name, const test_case& of)
      : queue(shmds::queue<M>::create(in, name, {.capacity = of.capacity, .single = of.single})) {
    if (of.test == "wake-up") queue.spin(0ns);
  }
  bool send(const M& m) { return queue.enqueue(m); }
  bool receive(M& m) { return queue.dequeue(m); }
  std::size_t send_bulk(const M* m, std::size_t count) { return queue.enqueue_bulk({m, count}); }
  std::size_t receive_bulk(M* m, std::size_t count) { return queue.dequeue_bulk({m, count}); }
  void send_waking(const M& m) { check(send(m), "there is room for one"); }
  void receive_asleep(M& m) {
    const auto taken = queue.dequeue_for(std::chrono::nanoseconds(patience));
    check(taken.has_value(), "a message in time");
    m = *taken;
  }
};

template <class M>
struct c_link {
  shm_queue* queue = nullptr;
  c_link(const shmds::segment& in, const char* name, const test_case& of) {
    shm_queue_options options;
    must(shm_queue_options_init(&options));
    options.flags = of.single ? SHM_SPSC : 0;
    options.capacity = of.capacity;
    options.elem_size = sizeof(M);
    options.elem_align = alignof(M);
    must(shm_queue_create(in.native(), name, &options, &queue));
    if (of.test == "wake-up") must(shm_queue_set_spin(queue, 0));
  }
  c_link(const c_link&) = delete;
  c_link& operator=(const c_link&) = delete;
  ~c_link() { shm_queue_close(queue); }
  bool send(const M& m) { return done(shm_queue_enqueue(queue, &m)); }
  bool receive(M& m) { return done(shm_queue_dequeue(queue, &m)); }
  std::size_t send_bulk(const M* m, std::size_t count) {
    std::size_t sent = 0;
    done(shm_queue_enqueue_bulk(queue, m, count, &sent));
    return sent;
  }
  std::size_t receive_bulk(M* m, std::size_t count) {
    std::size_t got = 0;
    done(shm_queue_dequeue_bulk(queue, m, count, &got));
    return got;
  }
  void send_waking(const M& m) { check(send(m), "there is room for one"); }
  void receive_asleep(M& m) { must(shm_queue_dequeue_wait(queue, &m, patience)); }
};

/// The writer of a ring, or one of its readers.
template <class M>
struct cpp_ring {
  shmds::ring<M> ring;
  shmds::ring_reader<M> reader;
  cpp_ring(const shmds::segment& in, const char* name, const test_case& of)
      : ring(shmds::ring<M>::create(in, name, {.capacity = of.capacity, .overwrite = true})), reader(ring.reader()) {}
  bool send(const M& m) { return ring.push(m); }
  bool receive(M& m) { return reader.read(m); }
};

template <class M>
struct c_ring {
  shm_ring* ring = nullptr;
  shm_ring_reader* reader = nullptr;
  c_ring(const shmds::segment& in, const char* name, const test_case& of) {
    shm_ring_options options;
    must(shm_ring_options_init(&options));
    options.flags = SHM_OVERWRITE;
    options.capacity = of.capacity;
    options.elem_size = sizeof(M);
    options.elem_align = alignof(M);
    must(shm_ring_create(in.native(), name, &options, &ring));
    must(shm_ring_reader_open(ring, SHM_RING_OLDEST, &reader));
  }
  c_ring(const c_ring&) = delete;
  c_ring& operator=(const c_ring&) = delete;
  ~c_ring() {
    shm_ring_reader_close(reader);
    shm_ring_close(ring);
  }
  bool send(const M& m) { return done(shm_ring_push(ring, &m)); }
  bool receive(M& m) {
    std::size_t got = 0;
    done(shm_ring_reader_read(reader, &m, 1, &got, nullptr));
    return got == 1;
  }
};
