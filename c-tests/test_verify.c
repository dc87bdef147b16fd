/* Verifying: what is sound is found sound, what the dead left is a leftover, and what was written over is named. */
#include "support.h"

typedef struct notes {
  size_t count;
  shm_finding last;
  char name[64], sentence[512];
} notes;

static void take(const shm_finding *finding, void *context) {
  notes *all = (notes *)context;
  all->count++;
  all->last = *finding;
  snprintf(all->name, sizeof all->name, "%s", finding->name);
  snprintf(all->sentence, sizeof all->sentence, "%s", finding->sentence);
}

static shm_verified verify(const shm_segment *segment, uint32_t flags, shm_status expected, notes *all) {
  shm_verified verified;
  memset(all, 0, sizeof *all);
  CHECK_STATUS(shm_segment_verify(segment, flags, take, all, &verified), expected);
  CHECK_U64(verified.damage + verified.leftovers, all->count);
  CHECK_U64(verified.unknown, 0);
  return verified;
}

static char *bytes_of(const shm_segment *segment, const char *name) {
  void *data = NULL;
  size_t bytes = 0;
  shm_entry entry;
  OK(shm_segment_span(segment, &data, &bytes));
  OK(shm_table_find(segment, name, &entry));
  return (char *)data + entry.offset;
}

static void what_is_sound_is_found_sound(void) {
  const char *name = new_name();
  shm_segment *segment = new_segment(name, 1 << 20);
  shm_segment_options options;
  shm_segment *reader = NULL;
  shm_queue *queue = new_queue(segment, "q", 0, 8, 8);
  uint64_t value = 7;
  notes all;
  OK(shm_queue_enqueue(queue, &value));
  CHECK_U64(verify(segment, 0, SHM_OK, &all).checked, 1);
  CHECK_U64(verify(segment, SHM_VERIFY_AT_REST, SHM_OK, &all).checked, 1);
  OK(shm_segment_options_init(&options));
  options.flags = SHM_READ_ONLY;
  OK(shm_segment_open(name, &options, &reader));
  CHECK_U64(verify(reader, SHM_VERIFY_AT_REST, SHM_OK, &all).checked, 1);
  CHECK_U64(all.count, 0);
  OK(shm_segment_verify(segment, 0, NULL, NULL, NULL));
  CHECK_FAILS(shm_segment_verify(NULL, 0, take, &all, NULL), SHM_ERR_INVALID, "segment");
  CHECK_FAILS(shm_segment_verify(segment, SHM_EXCLUSIVE, take, &all, NULL), SHM_ERR_INVALID, "0x1");
  OK(shm_segment_close(reader));
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

static void what_was_written_over_is_named(void) {
  shm_segment *segment = new_segment(new_name(), 1 << 20);
  shm_queue *queue = new_queue(segment, "q", 0, 8, 8);
  const uint64_t impossible = UINT64_C(5) << 16;
  notes all;
  memcpy(bytes_of(segment, "q") + 512 + 3 * 16, &impossible, sizeof impossible);
  CHECK_U64(verify(segment, 0, SHM_ERR_CORRUPT, &all).damage, 1);
  CHECK(all.last.severity == SHM_DAMAGE && all.last.kind == SHM_KIND_QUEUE && strcmp(all.name, "q") == 0);
  CHECK(strstr(all.sentence, "slot 3") != NULL && strcmp(all.sentence, shm_last_error()) == 0);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

static void what_the_dead_left_is_a_leftover_until_it_is_reaped(void) {
  const char *name = new_name();
  shm_segment *segment = new_segment(name, 1 << 20);
  shm_queue *queue = new_queue(segment, "q", 0, 8, 8);
  signal_pipe ready = new_pipe();
  notes all;
  pid_t child = fork_child();
  if (child == 0) {
    shm_segment *own = attach(name);
    shm_queue *theirs = open_queue(own, "q");
    shm_queue_slot slot;
    OK(shm_queue_claim(theirs, &slot));
    say(ready);
    for (;;) pause();
  }
  await(ready);
  verify(segment, 0, SHM_OK, &all);
  CHECK_U64(all.count, 0);
  kill_child(child);
  CHECK(verify(segment, 0, SHM_OK, &all).leftovers >= 2);
  CHECK(all.last.severity == SHM_LEFTOVER && strstr(all.sentence, "dead") != NULL);
  OK(shm_segment_reap(segment, NULL));
  verify(segment, SHM_VERIFY_AT_REST, SHM_OK, &all);
  CHECK_U64(all.count, 0);
  close_pipe(ready);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

static void an_area_is_verified_without_writing_to_it(void) {
  char name[64], path[128];
  speculo_area *area = NULL;
  shm_verified verified;
  uint64_t id = 0;
  uint32_t state = 9;
  notes all;
  FILE *file;
  snprintf(name, sizeof name, "shmds-test-%ld-verify", (long)getpid());
  snprintf(path, sizeof path, "/dev/shm/%s.speculo-1", name);
  memset(&all, 0, sizeof all);
  CHECK_FAILS(speculo_area_verify(name, NULL, 0, take, &all, &verified), SHM_ERR_NOT_FOUND, name);
  OK(speculo_area_new(name, 0, &area));
  OK(speculo_area_create(area));
  OK(speculo_area_write(area, "one", 3, 0, &id));
  OK(speculo_area_verify(name, NULL, 0, take, &all, &verified));
  OK(speculo_area_verify(name, "/dev/shm", SHM_VERIFY_AT_REST, take, &all, &verified));
  CHECK(verified.checked == 1 && all.count == 0);
  file = fopen(path, "r+");
  CHECK(file != NULL && fseek(file, 128, SEEK_SET) == 0 && fwrite(&state, sizeof state, 1, file) == 1);
  CHECK(fclose(file) == 0);
  CHECK_FAILS(speculo_area_verify(name, NULL, 0, take, &all, &verified), SHM_ERR_CORRUPT, "state 9");
  CHECK(verified.damage == 1 && strcmp(all.name, name) == 0 && all.last.kind == 0 && all.last.offset == 128);
  OK(speculo_area_unlink(area));
  OK(speculo_area_close(area));
}

int main(void) {
  support_start(60);
  RUN(what_is_sound_is_found_sound);
  RUN(what_was_written_over_is_named);
  RUN(what_the_dead_left_is_a_leftover_until_it_is_reaped);
  RUN(an_area_is_verified_without_writing_to_it);
  return 0;
}
