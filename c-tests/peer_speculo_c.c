/* A peer at an area in C, with shmds.h alone. What it does is told in support_speculo_peer.h. */
#include "support_speculo_peer.h"

#include "shmds.h"

static speculo_area *area;
static struct chunk_books books;
static struct chunk_judge judge;

/* Ends the peer for an error; true if it came to something. */
static int done(const char *what, shm_status status) {
  if (status < 0) peer_fail(what, shm_last_error());
  return status == SHM_OK;
}

static void must(const char *what, shm_status status) {
  if (!done(what, status)) peer_fail(what, shm_status_string(status));
}

/* ---- the writer ------------------------------------------------------------------------------------------------ */

static void open_area(const struct chunk_job *job) {
  speculo_reader *reader = NULL;
  speculo_view view = {NULL, 0, 0, 0, 0};
  must("new", speculo_area_new(job->name, 0, &area));
  must("max", speculo_area_set_max_size(area, CHUNK_AREA_MAX));
  must("min", speculo_area_set_min_size(area, CHUNK_AREA_MIN));
  must("mode", speculo_area_set_mode(area, CHUNK_AREA_MODE));
  must("create", speculo_area_create(area));
  must("reader", speculo_reader_open(job->name, NULL, &reader));
  while (done("next_valid", speculo_reader_next_valid(reader, view.version, &view))) {
    const struct chunk chunk = chunk_whole(view.id, view.version, view.data, view.size);
    chunk_enter(&books, chunk.label, chunk.number, chunk.id);
  }
  must("close", speculo_reader_close(reader));
}

/* 0 when there is no room. */
static int put(uint64_t label, uint64_t number, uint64_t expires) {
  unsigned char bytes[CHUNK_MOST];
  const size_t size = chunk_contents(bytes, label, number);
  speculo_chunk chunk;
  void *data = NULL;
  peer_begins();
  must("init", speculo_chunk_init(&chunk, area));
  must("expiration", speculo_chunk_set_expiration(&chunk, expires));
  chunk.id = label <= CHUNK_KEYS ? books.keys[label] : 0;
  shm_status status = chunk.id != 0 ? speculo_chunk_update(&chunk, size, &data) : SHM_ERR_NOT_FOUND;
  /* What was there a moment ago may just have expired. */
  if (status == SHM_ERR_NOT_FOUND) status = speculo_chunk_allocate(&chunk, size, &data);
  if (!done("allocate", status)) return 0;
  for (size_t at = 0; at < size; at += CHUNK_PIECE) {
    memcpy((char *)data + at, bytes + at, size - at < CHUNK_PIECE ? size - at : CHUNK_PIECE);
  }
  must("commit", speculo_chunk_commit(&chunk));
  peer_succeeds();
  chunk_committed(&books, label, number, chunk.id);
  return 1;
}

static int storm(const struct chunk_job *job) {
  books = chunk_open_books(job);
  open_area(job);
  chunk_ready();
  while (chunk_log(&books.log, LOG_STOP) == 0) {
    uint64_t now = 0, id;
    must("now", speculo_now(&now));
    put(1 + chunk_below(CHUNK_KEYS), chunk_next_number(&books), chunk_expires(now));
    if (chunk_wants_beacon(&books)) put(CHUNK_BEACON, books.last_beacon + 1, 0);
    if ((id = chunk_unwanted(&books)) != 0) {
      const shm_status status = speculo_area_obsolete(area, id);
      if (status != SHM_ERR_NOT_FOUND) must("obsolete", status);
    }
    while ((id = chunk_seen_beacon(&books)) != 0) must("obsolete", speculo_area_obsolete(area, id));
    if (chunk_is_orphan(&books)) {
      speculo_area_unlink(area);
      peer_fail("write", "the parent is gone");
    }
  }
  if (!put(CHUNK_END, books.last_beacon, 0)) peer_fail("write", "there is no room for the last");
  must("close", speculo_area_close(area));
  return 0;
}

/* ---- the reader ------------------------------------------------------------------------------------------------ */

static void look(speculo_reader *reader, uint64_t turn) {
  speculo_view view;
  if (turn == 0) {
    const uint64_t id = chunk_recent(&judge);
    if (!done("get", speculo_reader_get(reader, id, &view))) return;
    if (view.id != id) peer_fail("get", "a chunk of another id");
  } else if (turn != 1 || !done("next_valid", speculo_reader_next_valid(reader, judge.passed, &view))) {
    return;
  }
  chunk_judge_shown(&judge, view.id, view.version, view.data, view.size);
}

static int read_all(const struct chunk_job *job) {
  struct peer_log log = {NULL, 0};
  speculo_reader *reader = NULL;
  speculo_reader_stats stats;
  struct chunk chunk;
  if (job->log != NULL) log = peer_open_log(job->log);
  must("open", speculo_reader_open(job->name, NULL, &reader));
  chunk_ready();
  do {
    speculo_view view;
    peer_begins();
    must("next", speculo_reader_next_wait(reader, PEER_LONG_NS, &view));
    peer_succeeds();
    chunk = chunk_judge_next(&judge, view.id, view.version, view.data, view.size);
    if (log.words != NULL && chunk.label == CHUNK_BEACON) {
      must("get", speculo_reader_get(reader, chunk.id, &view));
      chunk_judge_shown(&judge, view.id, view.version, view.data, view.size);
      chunk_judge_beacon(&judge, &chunk, &log, job->word);
    }
    look(reader, chunk_below(16));
    must("stats", speculo_reader_get_stats(reader, &stats));
    chunk_judge_area(&judge, job, stats.generation);
    peer_pause_us(job->pause_us);
  } while (chunk.label != CHUNK_END);
  must("close", speculo_reader_close(reader));
  return chunk_verdict(&judge, job, chunk.number, stats.received, stats.skipped);
}

int main(int argc, char **argv) {
  const struct chunk_job job = chunk_parse(argc, argv);
  return strcmp(job.verb, "write") == 0 ? storm(&job) : read_all(&job);
}
