// Peers written in C and C++, where their headers are there. A link is both ends, as in links.hpp.
#pragma once

#include "control.hpp"

#include <memory>
#include <new>

#if __has_include(<boost/lockfree/queue.hpp>)
#define HAS_BOOST_LOCKFREE 1
#include <boost/lockfree/queue.hpp>
#include <boost/lockfree/spsc_queue.hpp>
#endif
#if __has_include(<boost/interprocess/ipc/message_queue.hpp>)
#define HAS_BOOST_INTERPROCESS 1
#include <boost/interprocess/allocators/private_node_allocator.hpp>
#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/interprocess/managed_shared_memory.hpp>
#endif
#if __has_include(<ck_ring.h>)
#define HAS_CK 1
#define false 0  // some of its functions return `false` for a null pointer, which C++ does not have
#include <ck_ring.h>
#undef false
#endif
#if __has_include(<readerwriterqueue/readerwriterqueue.h>)
#define HAS_READERWRITERQUEUE 1
#include <readerwriterqueue/readerwriterqueue.h>
#endif
#if __has_include(<concurrentqueue/concurrentqueue.h>)
#define HAS_CONCURRENTQUEUE 1
#include <concurrentqueue/concurrentqueue.h>
#endif
#if __has_include(<atomic_queue/atomic_queue.h>)
#define HAS_ATOMIC_QUEUE 1
#include <atomic_queue/atomic_queue.h>
#endif

/// A structure in the memory that all sides share: the first side makes it, the others wait for that.
template <class T>
T* placed(control_page& control, bool first, bool back) {
  constexpr std::size_t half = arena_bytes / 2, head = 4096;
  static_assert(sizeof(T) <= half - head && alignof(T) <= head);
  auto* const made = reinterpret_cast<std::atomic<std::uint32_t>*>(control.arena()) + (back ? 1 : 0);
  void* const at = control.arena() + head + (back ? half - head : 0);
  if (first) {
    T* const structure = new (at) T;
    made->store(1);
    return structure;
  }
  while (made->load() == 0) usleep(20);
  return std::launder(static_cast<T*>(at));
}

#ifdef HAS_BOOST_LOCKFREE
template <class M, std::size_t N>
struct boost_spsc {
  using structure = boost::lockfree::spsc_queue<M, boost::lockfree::capacity<N>>;
  structure* queue;
  bool send(const M& m) { return queue->push(m); }
  bool receive(M& m) { return queue->pop(m); }
  std::size_t send_bulk(const M* m, std::size_t count) { return queue->push(m, count); }
  std::size_t receive_bulk(M* m, std::size_t count) { return queue->pop(m, count); }
};

template <class M, std::size_t N>
struct boost_mpmc {
  // Its indices have 16 bits.
  using structure = boost::lockfree::queue<M, boost::lockfree::capacity<N < 65535 ? N : 1>>;
  structure* queue;
  bool send(const M& m) { return queue->push(m); }
  bool receive(M& m) { return queue->pop(m); }
};
#endif

#ifdef HAS_CK
/// Room for one less than N.
template <class M, std::size_t N>
struct ck_memory {
  ck_ring_t ring;
  M buffer[N];
  ck_memory() { ck_ring_init(&ring, N); }
};

// What its macros for other types than pointers are made of; those are not C++.
template <class M, std::size_t N>
struct ck_spsc {
  using structure = ck_memory<M, N>;
  structure* queue;
  bool send(const M& m) { return _ck_ring_enqueue_sp(&queue->ring, queue->buffer, &m, sizeof m, nullptr); }
  bool receive(M& m) { return _ck_ring_dequeue_sc(&queue->ring, queue->buffer, &m, sizeof m); }
};

template <class M, std::size_t N>
struct ck_mpmc {
  using structure = ck_memory<M, N>;
  structure* queue;
  bool send(const M& m) { return _ck_ring_enqueue_mp(&queue->ring, queue->buffer, &m, sizeof m, nullptr); }
  bool receive(M& m) { return _ck_ring_dequeue_mc(&queue->ring, queue->buffer, &m, sizeof m); }
};
#endif

#ifdef HAS_ATOMIC_QUEUE
template <class M, std::size_t N, bool Single>
struct atomic_link {
  using structure = atomic_queue::AtomicQueue2<M, N, true, true, false, Single>;
  structure* queue;
  bool send(const M& m) { return queue->try_push(m); }
  bool receive(M& m) { return queue->try_pop(m); }
};
#endif

#ifdef HAS_READERWRITERQUEUE
template <class M>
struct readerwriter_link {
  std::shared_ptr<moodycamel::ReaderWriterQueue<M>> queue;
  explicit readerwriter_link(std::size_t capacity) : queue(std::make_shared<moodycamel::ReaderWriterQueue<M>>(capacity)) {}
  bool send(const M& m) { return queue->try_enqueue(m); }
  bool receive(M& m) { return queue->try_dequeue(m); }
};
#endif

#ifdef HAS_CONCURRENTQUEUE
template <class M>
struct concurrent_link {
  std::shared_ptr<moodycamel::ConcurrentQueue<M>> queue;
  explicit concurrent_link(std::size_t capacity) : queue(std::make_shared<moodycamel::ConcurrentQueue<M>>(capacity)) {}
  bool send(const M& m) { return queue->try_enqueue(m); }
  bool receive(M& m) { return queue->try_dequeue(m); }
  std::size_t send_bulk(const M* m, std::size_t count) { return queue->try_enqueue_bulk(m, count) ? count : 0; }
  std::size_t receive_bulk(M* m, std::size_t count) { return queue->try_dequeue_bulk(m, count); }
};
#endif

#ifdef HAS_BOOST_INTERPROCESS
/// All sides name it; main removes the name once they have it.
template <class M>
struct boost_messages {
  std::unique_ptr<boost::interprocess::message_queue> queue;
  boost_messages(const std::string& name, std::size_t capacity) {
    namespace bi = boost::interprocess;
    queue = std::make_unique<bi::message_queue>(bi::open_or_create, name.c_str(), capacity, sizeof(M));
  }
  bool send(const M& m) { return queue->try_send(&m, sizeof m, 0); }
  bool receive(M& m) {
    boost::interprocess::message_queue::size_type got = 0;
    unsigned priority = 0;
    return queue->try_receive(&m, sizeof m, got, priority);
  }
  void send_waking(const M& m) { queue->send(&m, sizeof m, 0); }
  void receive_asleep(M& m) {
    boost::interprocess::message_queue::size_type got = 0;
    unsigned priority = 0;
    queue->receive(&m, sizeof m, got, priority);
  }
};
#endif
