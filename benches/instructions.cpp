// The hot paths whose instructions are counted, in C and C++; instructions.rs has them in Rust. scripts/instructions.sh
// runs both under callgrind and compares. Each path runs `times` times and twice as often: the difference is what it
// takes, without the start of the loop.
//
// One thread does both sides. C++ has only what is compiled into the caller; the rest of it calls C.
// `instructions NAME DIRECTORY`: the segment's name, and where areas of chunks go.
#include <shmds.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <vector>

/// Callgrind counts what happens in here, and writes the number down each time.
extern "C" [[gnu::noipa]] void measured(void (*loop)(void*, std::size_t), void* path, std::size_t times) {
  loop(path, times);
  asm volatile("" ::: "memory");  // or it would be a jump out of here
}

namespace {

constexpr std::size_t times = 1024;  // a multiple of every capacity, so that both counts go round as a whole
constexpr std::size_t many = 32;

template <std::size_t Bytes>
using block = std::array<std::uint64_t, Bytes / 8>;

/// The path says whether it did what it is for.
void count(const std::string& name, auto path) {
  const auto loop = [](void* at, std::size_t n) {
    for (auto& once = *static_cast<decltype(path)*>(at); n > 0; n--) {
      if (!once()) std::abort();
    }
  };
  loop(&path, times);
  measured(loop, &path, times);
  measured(loop, &path, 2 * times);
  std::puts(name.c_str());
}

bool ok(shm_status status) { return status == SHM_OK; }

/// A segment that has lost its name already.
shmds::segment nameless(const std::string& name, shmds::table_shape table) {
  auto made = shmds::segment::create(name, {.size = 4 << 20, .exclusive = true, .table = table});
  shmds::segment::unlink(name);
  return made;
}

template <class T>
void queue(const shmds::segment& segment, bool single) {
  const std::string bytes = std::to_string(sizeof(T)) + " B", kind = single ? "SPSC " : "MPMC ";
  auto queue = shmds::queue<T>::create(segment, kind + bytes, {.capacity = 256, .single = single});
  shm_queue* const q = queue.native();
  T in{}, out{};
  std::array<T, many> ins{}, outs{};
  std::size_t done = 0;
  const auto pair = [&] { return ok(shm_queue_enqueue(q, &in)) && ok(shm_queue_dequeue(q, &out)); };
  count("C    " + kind + "enqueue, dequeue, " + bytes, pair);
  count("C    " + kind + "enqueue 32, dequeue 32, one by one, " + bytes, [&] {
    return std::ranges::all_of(ins, [&](const T& each) { return ok(shm_queue_enqueue(q, &each)); }) &&
           std::ranges::all_of(outs, [&](T& each) { return ok(shm_queue_dequeue(q, &each)); });
  });
  count("C    " + kind + "enqueue 32, dequeue 32, in bulk, " + bytes, [&] {
    return ok(shm_queue_enqueue_bulk(q, ins.data(), many, &done)) && done == many &&
           ok(shm_queue_dequeue_bulk(q, outs.data(), many, &done)) && done == many;
  });
  count("C    " + kind + "claim, commit, peek, release, " + bytes, [&] {
    shm_queue_slot slot;
    return ok(shm_queue_claim(q, &slot)) && ok(shm_queue_commit(q, &slot)) && ok(shm_queue_peek(q, &slot)) &&
           ok(shm_queue_release(q, &slot));
  });
  if (single) {
    count("C++  " + kind + "enqueue, dequeue, " + bytes, [&] { return queue.enqueue(in) && queue.dequeue(out); });
    count("C++  " + kind + "enqueue 32, dequeue 32, one by one, " + bytes, [&] {
      return std::ranges::all_of(ins, [&](const T& each) { return queue.enqueue(each); }) &&
             std::ranges::all_of(outs, [&](T& each) { return queue.dequeue(each); });
    });
  }
  // Once somebody has waited, the flag of sleepers was up and is down again; nobody is woken for it.
  if (queue.dequeue_for(std::chrono::milliseconds(1))) std::abort();
  count("C    " + kind + "enqueue, dequeue, after a wait, " + bytes, pair);
}

void byte_queue(const shmds::segment& segment) {
  auto queue = shmds::byte_queue::create(segment, "bytes", {.capacity = 1 << 16});
  shm_byte_queue* const q = queue.native();
  block<64> in{}, out{};
  count("C    byte queue send, receive, release, 64 B", [&] {
    shm_message message;
    return ok(shm_byte_queue_send(q, &in, sizeof in, 7)) && ok(shm_byte_queue_receive(q, &message)) &&
           message.length == sizeof in && ok(shm_byte_queue_release(q));
  });
  count("C    byte queue send, receive into, 64 B", [&] {
    std::uint64_t length = 0, tag = 0;
    return ok(shm_byte_queue_send(q, &in, sizeof in, 7)) &&
           ok(shm_byte_queue_receive_into(q, &out, sizeof out, &length, &tag)) && tag == 7;
  });
  count("C    byte queue reserve, commit, receive, release, 64 B", [&] {
    void* room = nullptr;
    shm_message message;
    return ok(shm_byte_queue_reserve(q, 64, &room)) && ok(shm_byte_queue_commit(q, 64, 0)) &&
           ok(shm_byte_queue_receive(q, &message)) && ok(shm_byte_queue_release(q));
  });
}

void ring(const shmds::segment& segment) {
  block<64> in{}, out{};
  std::size_t done = 0;
  std::uint64_t lost = 0;
  auto lossless = shmds::ring<block<64>>::create(segment, "ring", {.capacity = 256, .overwrite = false});
  count("C    ring push, pop, 64 B", [&] {
    return ok(shm_ring_push(lossless.native(), &in)) && ok(shm_ring_pop(lossless.native(), &out, &lost));
  });
  auto overwriting = shmds::ring<block<64>>::create(segment, "overwriting", {.capacity = 256, .overwrite = true});
  auto reader = overwriting.reader();
  count("C    ring that overwrites push, read, 64 B", [&] {
    return ok(shm_ring_push(overwriting.native(), &in)) &&
           ok(shm_ring_reader_read(reader.native(), &out, 1, &done, &lost)) && lost == 0;
  });
}

void pool(const shmds::segment& segment) {
  auto pool = shmds::pool<block<64>>::create(segment, "pool", {.capacity = 256});
  shm_pool* const p = pool.native();
  std::array<std::uint64_t, many> handles{};
  count("C    pool acquire, get, release", [&] {
    void* object = nullptr;
    return ok(shm_pool_acquire(p, handles.data())) && ok(shm_pool_get(p, handles[0], &object)) && ok(shm_pool_release(p, handles[0]));
  });
  count("C    pool acquire 32, release 32, in batches", [&] {
    std::size_t done = 0;
    return ok(shm_pool_acquire_batch(p, handles.data(), many, &done)) && done == many &&
           ok(shm_pool_release_batch(p, handles.data(), many, &done));
  });
}

void atomic(const shmds::segment& segment) {
  auto atomic = shmds::atomic<std::uint64_t>::create(segment, "atomic");
  shm_atomic* const a = atomic.native();
  shm_atomic_value value{.u64 = 1}, old;
  count("C    atomic add", [&] { return ok(shm_atomic_fetch(a, SHM_ADD, value, SHM_SEQ_CST, &old)); });
  count("C    atomic load", [&] { return ok(shm_atomic_load(a, SHM_SEQ_CST, &old)); });
  count("C    atomic store", [&] { return ok(shm_atomic_store(a, value, SHM_SEQ_CST)); });
  count("C++  atomic add", [&] { return atomic.fetch_add(1) != 0; });
  count("C++  atomic load", [&] { return atomic.load() != 0; });
  count("C++  atomic store", [&] { return atomic.store(1), true; });
}

void array(const shmds::segment& segment) {
  auto array = shmds::array<std::uint64_t>::create(segment, "array", {.count = times});
  std::uint64_t value = 1;
  std::size_t at = 0;
  count("C    array set, get", [&] {
    at = (at + 1) % times;
    return ok(shm_array_set(array.native(), at, &value)) && ok(shm_array_get(array.native(), at, &value));
  });
  count("C++  array [] written and read", [&] {
    at = (at + 1) % times;
    array[at] = value;
    asm volatile("" ::: "memory");
    return array[at] == value;
  });
  block<256> copy{};
  count("C    array store, load, 256 B", [&] {
    return ok(shm_array_store(array.native(), 0, copy.size(), copy.data())) &&
           ok(shm_array_load(array.native(), 0, copy.size(), copy.data()));
  });
}

void table(const std::string& name, std::size_t names) {
  const auto segment = nameless(name, shmds::table::custom(32, static_cast<std::uint32_t>(names)));
  std::vector<std::string> all(names);
  for (std::size_t i = 0; i < names; i++) {
    all[i] = "instrument/" + std::to_string(1000 + i);
    (void)shmds::atomic<std::uint64_t>::create(segment, all[i]);
  }
  std::size_t at = 0;
  count("C    table lookup, 1 of " + std::to_string(names), [&] {
    shm_entry entry;
    at = (at + 1) % names;
    return ok(shm_table_find(segment.native(), all[at].c_str(), &entry));
  });
}

void speculo(const std::string& directory) {
  const std::string name = "area";  // in a directory of its own: compaction spells names out, and takes as long as they are
  auto area = shmds::speculo_area::create(name, {.directory = directory, .exclusive = true});
  auto reader = shmds::speculo_reader::open(name, {.directory = directory});
  block<64> in{};
  std::uint64_t ids[16] = {};
  for (auto& id : ids) id = *area.write(std::as_bytes(std::span(in)));
  while (reader.next()) {
  }
  speculo_view view;
  std::size_t at = 0;
  count("C    speculo update, commit, next, 64 B", [&] {
    at = (at + 1) % std::size(ids);
    speculo_chunk chunk;
    void* data = nullptr;
    if (!ok(speculo_chunk_init(&chunk, area.native()))) return false;
    chunk.id = ids[at];
    if (!ok(speculo_chunk_update(&chunk, sizeof in, &data))) return false;
    std::memcpy(data, &in, sizeof in);
    return ok(speculo_chunk_commit(&chunk)) && ok(speculo_reader_next(reader.native(), &view)) && view.id == ids[at];
  });
  count("C    speculo get, 1 of 16", [&] {
    at = (at + 1) % std::size(ids);
    return ok(speculo_reader_get(reader.native(), ids[at], &view));
  });
  area.unlink();
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) return 2;
  const std::string name = arguments[1], directory = arguments[2];
  const auto segment = nameless(name, shmds::table::standard);
  for (const bool single : {true, false}) {
    queue<block<8>>(segment, single);
    queue<block<64>>(segment, single);
    queue<block<256>>(segment, single);
  }
  byte_queue(segment);
  ring(segment);
  pool(segment);
  atomic(segment);
  array(segment);
  for (const std::size_t names : {1, 64, 1024}) table(name, names);
  speculo(directory);
}
