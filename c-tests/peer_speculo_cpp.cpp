// A peer at an area in C++, with shmds.hpp alone. What it does is told in support_speculo_peer.h.
#include "support_speculo_peer.h"

#include "shmds.hpp"

#include <algorithm>
#include <exception>
#include <string_view>

namespace {

using view = shmds::speculo_chunk_view;

// ---- the writer --------------------------------------------------------------------------------------------------

// False when there is no room.
bool put(shmds::speculo_area& area, chunk_books& books, std::uint64_t label, std::uint64_t number, std::uint64_t expires) {
  unsigned char bytes[CHUNK_MOST];
  const auto size = chunk_contents(bytes, label, number);
  const auto known = label <= CHUNK_KEYS ? books.keys[label] : 0;
  peer_begins();
  auto draft = [&] {
    try {
      return known != 0 ? area.update(known, size, expires) : area.allocate(size, expires);
    } catch (const shmds::error& e) {
      // What was there a moment ago may just have expired.
      if (e.status() != shmds::status::not_found) throw;
      return area.allocate(size, expires);
    }
  }();
  if (!draft) return false;
  for (std::size_t at = 0; at < size; at += CHUNK_PIECE) {
    std::memcpy(draft->bytes().data() + at, bytes + at, std::min<std::size_t>(CHUNK_PIECE, size - at));
  }
  draft->commit();
  peer_succeeds();
  chunk_committed(&books, label, number, draft->id());
  return true;
}

int storm(const chunk_job& job) {
  auto books = chunk_open_books(&job);
  auto area = shmds::speculo_area::create(
      job.name, {.max_size = CHUNK_AREA_MAX, .min_size = CHUNK_AREA_MIN, .mode = CHUNK_AREA_MODE});
  for (const auto& valid : shmds::speculo_reader::open(job.name)) {
    const auto chunk = chunk_whole(valid.id(), valid.version(), valid.bytes().data(), valid.bytes().size());
    chunk_enter(&books, chunk.label, chunk.number, chunk.id);
  }
  chunk_ready();
  while (chunk_log(&books.log, LOG_STOP) == 0) {
    const auto expires = chunk_expires(shmds::speculo_area::now());
    put(area, books, 1 + chunk_below(CHUNK_KEYS), chunk_next_number(&books), expires);
    if (chunk_wants_beacon(&books)) put(area, books, CHUNK_BEACON, books.last_beacon + 1, 0);
    if (const auto id = chunk_unwanted(&books)) area.obsolete(id);
    while (const auto id = chunk_seen_beacon(&books)) {
      if (!area.obsolete(id)) peer_fail("write", "a beacon was gone before it was obsolete");
    }
    if (chunk_is_orphan(&books)) {
      area.unlink();
      peer_fail("write", "the parent is gone");
    }
  }
  if (!put(area, books, CHUNK_END, books.last_beacon, 0)) peer_fail("write", "there is no room for the last");
  return 0;
}

// ---- the reader --------------------------------------------------------------------------------------------------

chunk_judge judge;

chunk shown(decltype(chunk_judge_shown) judges, const view& view) {
  return judges(&judge, view.id(), view.version(), view.bytes().data(), view.bytes().size());
}

int read_all(const chunk_job& job) {
  peer_log log{};
  if (job.log != nullptr) log = peer_open_log(job.log);
  auto reader = shmds::speculo_reader::open(job.name);
  chunk_ready();
  for (;;) {
    peer_begins();
    const auto next = reader.next_for(std::chrono::nanoseconds(PEER_LONG_NS));
    if (!next) peer_fail("next", reader.closed() ? "the area was removed" : "nothing for a long time");
    peer_succeeds();
    const auto chunk = shown(chunk_judge_next, *next);
    if (job.log != nullptr && chunk.label == CHUNK_BEACON) {
      const auto kept = reader.get(chunk.id);
      if (!kept) peer_fail("get", "a beacon was gone before it was acknowledged");
      shown(chunk_judge_shown, *kept);
      chunk_judge_beacon(&judge, &chunk, &log, job.word);
    }
    const auto turn = chunk_below(16);
    if (turn == 0) {
      const auto id = chunk_recent(&judge);
      const auto newest = reader.get(id);
      if (newest && shown(chunk_judge_shown, *newest).id != id) peer_fail("get", "a chunk of another id");
    } else if (turn == 1) {
      if (const auto valid = reader.next_valid(judge.passed)) shown(chunk_judge_shown, *valid);
    }
    const auto stats = reader.stats();
    chunk_judge_area(&judge, &job, stats.generation);
    if (chunk.label == CHUNK_END) return chunk_verdict(&judge, &job, chunk.number, stats.received, stats.skipped);
    peer_pause_us(job.pause_us);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const chunk_job job = chunk_parse(argc, argv);
  try {
    return std::string_view(job.verb) == "write" ? storm(job) : read_all(job);
  } catch (const std::exception& e) {
    peer_fail(job.verb, e.what());
  }
}
