/* Segments in files and in memfds, and wishes about their memory. */
#include "support.h"

#include <sys/socket.h>

#define SIZE (UINT64_C(4) << 20)

static char directory[64]; /* of this test's files */

/* A path in it. Valid until the next call. */
static const char *in_directory(const char *file) {
  static char path[128];
  snprintf(path, sizeof path, "%s/%s", directory, file);
  return path;
}

static void remove_directory(void) {
  if (names_owner != getpid()) return;
  unlink(in_directory("state")); /* of a check that failed */
  rmdir(directory);
}

static shm_segment_options shape(uint32_t flags, uint64_t size) {
  shm_segment_options options;
  OK(shm_segment_options_init(&options));
  options.flags = flags;
  options.size = size;
  return options;
}

static shm_array *new_array(const shm_segment *segment, const char *name, uint64_t count) {
  shm_array_options options;
  shm_array *array = NULL;
  OK(shm_array_options_init(&options));
  options.count = count;
  options.elem_size = sizeof(uint64_t);
  OK(shm_array_create(segment, name, &options, &array));
  return array;
}

static shm_array *open_array(const shm_segment *segment, const char *name) {
  shm_array *array = NULL;
  OK(shm_array_open(segment, name, NULL, &array));
  return array;
}

/* The name of every marked structure, one space after each. */
static const char *interrupted(const shm_segment *segment) {
  static char names[256];
  uint32_t cursor = 0;
  shm_entry entry;
  names[0] = '\0';
  while (shm_table_next(segment, &cursor, &entry) == SHM_OK) {
    CHECK(entry.interrupted <= 1 && entry.reserved == 0);
    if (!entry.interrupted) continue;
    strcat(names, entry.name);
    strcat(names, " ");
  }
  return names;
}

static void only_fields_there_are_can_be_asked_for(void) {
  const char *name = new_name();
  shm_segment *segment = NULL;
  shm_segment_options options = shape(0, SIZE);
  CHECK(options.numa_node == -1 && options.reserved == 0);
  options.numa_node = -2;
  CHECK_FAILS(shm_segment_create(name, &options, &segment), SHM_ERR_INVALID, "-2");
  options = shape(0, SIZE);
  options.reserved = 1;
  CHECK_FAILS(shm_segment_create(name, &options, &segment), SHM_ERR_INVALID, "reserved");
  options = shape(SHM_NUMA_NODE, SIZE);
  CHECK_FAILS(shm_segment_create(name, &options, &segment), SHM_ERR_INVALID, "0x80");
  CHECK(segment == NULL);
}

static void what_could_not_be_had_is_told_with_a_reason(void) {
  const char *name = new_name(), *reason = NULL;
  shm_segment *segment = NULL;
  uint32_t mask = 99;
  shm_segment_options options = shape(SHM_PREFAULT | SHM_LOCK_MEMORY | SHM_HUGE_PAGES, UINT64_C(1) << 20);
  options.numa_node = 9999;
  OK(shm_segment_create(name, &options, &segment));
  OK(shm_segment_unavailable(segment, &mask));
  CHECK((mask & SHM_NUMA_NODE) != 0 && (mask & SHM_HUGE_PAGES) != 0 && (mask & SHM_PREFAULT) == 0);
  OK(shm_segment_unavailable_reason(segment, SHM_NUMA_NODE, &reason));
  CHECK(strstr(reason, "9999") != NULL && strstr(reason, name + 1) != NULL);
  OK(shm_segment_unavailable_reason(segment, SHM_HUGE_PAGES, &reason));
  CHECK(strstr(reason, "1048576") != NULL);
  reason = NULL;
  CHECK_FAILS(shm_segment_unavailable_reason(segment, SHM_PREFAULT, &reason), SHM_ERR_NOT_FOUND, "0x10");
  CHECK_STATUS(shm_segment_unavailable_reason(segment, 0, &reason), SHM_ERR_NOT_FOUND);
  CHECK(reason == NULL);
  CHECK_STATUS(shm_segment_unavailable(NULL, &mask), SHM_ERR_INVALID);
  CHECK_STATUS(shm_segment_unavailable(segment, NULL), SHM_ERR_INVALID);
  CHECK_STATUS(shm_segment_unavailable_reason(NULL, 1, &reason), SHM_ERR_INVALID);
  CHECK_STATUS(shm_segment_unavailable_reason(segment, 1, NULL), SHM_ERR_INVALID);

  shm_segment *plain = attach(name);
  OK(shm_segment_unavailable(plain, &mask));
  CHECK_U64(mask, 0);
  OK(shm_segment_close(plain));
  OK(shm_segment_close(segment));
}

static void a_file_outlives_a_writer_killed_in_the_middle(void) {
  const char *path = in_directory("state");
  shm_segment_options options = shape(0, SIZE);
  shm_segment *segment = NULL;
  uint64_t ones[512], copy[512];
  for (size_t i = 0; i < COUNT_OF(ones); i++) ones[i] = 1;
  signal_pipe ready = new_pipe();
  pid_t child = fork_child();
  if (child == 0) {
    OK(shm_segment_create_file(path, &options, &segment));
    shm_array *whole = new_array(segment, "whole", 512), *state = new_array(segment, "state", 512);
    void *data = NULL;
    size_t count = 0, stride = 0;
    OK(shm_array_begin_write(whole));
    OK(shm_array_store(whole, 0, 512, ones));
    OK(shm_array_end_write(whole));
    OK(shm_segment_sync(segment));
    OK(shm_array_begin_write(state));
    OK(shm_array_store(state, 0, 256, ones));
    OK(shm_array_data(state, &data, &count, &stride));
    OK(shm_segment_sync_range(segment, data, 256 * sizeof ones[0]));
    say(ready);
    for (;;) pause();
  }
  await(ready);
  kill_child(child);
  close_pipe(ready);

  const char *name = NULL;
  shm_segment_stats stats;
  OK(shm_segment_open_file(path, NULL, &segment));
  OK(shm_segment_name(segment, &name));
  CHECK(strcmp(name, path) == 0);
  OK(shm_segment_get_stats(segment, &stats));
  CHECK((stats.flags & SHM_PERSISTENT) != 0);
  CHECK_U64(stats.participants, 1);
  CHECK(strcmp(interrupted(segment), "state ") == 0);
  shm_array *whole = open_array(segment, "whole"), *state = open_array(segment, "state");
  OK(shm_array_snapshot(whole, 0, 512, copy, 0));
  CHECK(memcmp(copy, ones, sizeof copy) == 0);
  CHECK_STATUS(shm_array_snapshot(state, 0, 512, copy, 0), SHM_TORN);
  OK(shm_array_load(state, 0, 512, copy));
  CHECK(memcmp(copy, ones, sizeof copy / 2) == 0 && copy[256] == 0);
  CHECK_FAILS(shm_table_clear_interrupted(segment, "nothing"), SHM_ERR_NOT_FOUND, "nothing");
  CHECK_STATUS(shm_table_clear_interrupted(NULL, "state"), SHM_ERR_INVALID);
  CHECK_STATUS(shm_table_clear_interrupted(segment, NULL), SHM_ERR_INVALID);
  OK(shm_table_clear_interrupted(segment, "state"));
  CHECK(strcmp(interrupted(segment), "") == 0);
  OK(shm_array_close(whole));
  OK(shm_array_close(state));
  OK(shm_segment_close(segment));
  OK(shm_segment_unlink_file(path));
  CHECK_FAILS(shm_segment_unlink_file(path), SHM_ERR_NOT_FOUND, path);
}

static void what_is_no_file_of_ours_is_refused(void) {
  shm_segment_options options = shape(0, SIZE);
  shm_segment *segment = NULL;
  int local = 0;
  CHECK_STATUS(shm_segment_create_file(NULL, &options, &segment), SHM_ERR_INVALID);
  CHECK_STATUS(shm_segment_create_file("x", NULL, &segment), SHM_ERR_INVALID);
  CHECK_STATUS(shm_segment_create_file("x", &options, NULL), SHM_ERR_INVALID);
  CHECK_STATUS(shm_segment_open_file(NULL, NULL, &segment), SHM_ERR_INVALID);
  CHECK_STATUS(shm_segment_open_file("x", NULL, NULL), SHM_ERR_INVALID);
  CHECK_STATUS(shm_segment_unlink_file(NULL), SHM_ERR_INVALID);
  CHECK_FAILS(shm_segment_open_file("", NULL, &segment), SHM_ERR_INVALID, "''");
  CHECK_FAILS(shm_segment_create_file("/tmp/", &options, &segment), SHM_ERR_INVALID, "/tmp/");
  CHECK_FAILS(shm_segment_open_file(in_directory("no"), NULL, &segment), SHM_ERR_NOT_FOUND, "/no");
  CHECK_FAILS(shm_segment_create_file(in_directory("no/no"), &options, &segment), SHM_ERR_NOT_FOUND, "no directory");
  CHECK_FAILS(shm_segment_unlink_file("/proc/self/exe"), SHM_ERR_PERMISSION, "/proc/self/exe");
  CHECK(segment == NULL);
  OK(shm_segment_create_file(in_directory("\xff not UTF-8"), &options, &segment));
  CHECK_FAILS(shm_segment_sync_range(segment, &local, sizeof local), SHM_ERR_INVALID, "4 bytes");
  CHECK_STATUS(shm_segment_sync_range(segment, NULL, 1), SHM_ERR_INVALID);
  CHECK_STATUS(shm_segment_sync_range(NULL, &local, 1), SHM_ERR_INVALID);
  CHECK_STATUS(shm_segment_sync(NULL), SHM_ERR_INVALID);
  OK(shm_segment_close(segment));
  OK(shm_segment_unlink_file(in_directory("\xff not UTF-8")));
}

static void a_memfd_passes_through_a_socket_to_a_child(void) {
  shm_segment_options options = shape(0, SIZE);
  shm_segment *segment = NULL;
  int sockets[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0);
  pid_t child = fork_child(); /* before there is anything to inherit */
  if (child == 0) {
    uint64_t value = 4711;
    close(sockets[0]);
    OK(shm_segment_receive(sockets[1], NULL, &segment));
    CHECK_U64(living(segment), 2);
    shm_queue *queue = open_queue(segment, "queue");
    OK(shm_queue_enqueue(queue, &value));
    _exit(0); /* without closing */
  }
  close(sockets[1]);
  OK(shm_segment_create_memfd("passed", &options, &segment));
  shm_queue *queue = new_queue(segment, "queue", 0, 4, 8);
  OK(shm_segment_send(segment, sockets[0]));
  CHECK_CHILD(child);
  uint64_t value = 0;
  OK(shm_queue_dequeue(queue, &value));
  CHECK_U64(value, 4711);
  CHECK_U64(living(segment), 1);

  CHECK_STATUS(shm_segment_send(NULL, sockets[0]), SHM_ERR_INVALID);
  CHECK_FAILS(shm_segment_send(segment, -1), SHM_ERR_INVALID, "-1");
  CHECK_FAILS(shm_segment_send(segment, 1 << 30), SHM_ERR_INVALID, "Bad file descriptor");
  CHECK_STATUS(shm_segment_send(segment, sockets[0]), SHM_ERR_SYSTEM); /* the other end is gone, and no signal came */
  shm_segment *none = NULL;
  CHECK_STATUS(shm_segment_receive(sockets[0], NULL, &none), SHM_CLOSED);
  CHECK_STATUS(shm_segment_receive(sockets[0], NULL, NULL), SHM_ERR_INVALID);
  CHECK_FAILS(shm_segment_receive(-7, NULL, &none), SHM_ERR_INVALID, "-7");
  CHECK_FAILS(shm_segment_receive(1 << 30, NULL, &none), SHM_ERR_INVALID, "Bad file descriptor");
  CHECK(none == NULL);
  close(sockets[0]);
  OK(shm_queue_close(queue));
  OK(shm_segment_close(segment));
}

static void a_memfd_is_sealed_and_has_no_name(void) {
  shm_segment_options options = shape(0, SIZE);
  shm_segment *segment = NULL, *again = NULL;
  const char *name = NULL;
  int fd = -1;
  OK(shm_segment_create_memfd("sealed", &options, &segment));
  OK(shm_segment_fd(segment, &fd));
  CHECK(fd >= 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
  CHECK(ftruncate(fd, 0) != 0 && errno == EPERM);
  CHECK(ftruncate(fd, (off_t)SIZE * 2) != 0 && errno == EPERM);
  OK(shm_segment_open_fd(fd, NULL, &again));
  close(fd);
  OK(shm_segment_name(again, &name));
  CHECK(strcmp(name, "sealed") == 0 && !file_exists("sealed"));
  CHECK_U64(living(again), 2);
  OK(shm_segment_close(segment));
  OK(shm_segment_close(again));

  segment = NULL;
  fd = memfd_create("loose", MFD_ALLOW_SEALING);
  CHECK(ftruncate(fd, 1 << 20) == 0);
  CHECK_FAILS(shm_segment_open_fd(fd, NULL, &segment), SHM_ERR_PERMISSION, "not sealed");
  close(fd);
  CHECK_FAILS(shm_segment_open_fd(fd, NULL, &segment), SHM_ERR_INVALID, "descriptor");
  CHECK_FAILS(shm_segment_open_fd(-1, NULL, &segment), SHM_ERR_INVALID, "-1");
  CHECK_STATUS(shm_segment_open_fd(0, NULL, NULL), SHM_ERR_INVALID);
  CHECK_STATUS(shm_segment_fd(NULL, &fd), SHM_ERR_INVALID);
  CHECK_STATUS(shm_segment_create_memfd(NULL, &options, &segment), SHM_ERR_INVALID);
  CHECK_STATUS(shm_segment_create_memfd("x", NULL, &segment), SHM_ERR_INVALID);
  CHECK_STATUS(shm_segment_create_memfd("x", &options, NULL), SHM_ERR_INVALID);
  CHECK(segment == NULL);
}

int main(void) {
  support_start(100);
  snprintf(directory, sizeof directory, "/tmp/shmds-test-%ld-XXXXXX", (long)getpid());
  CHECK(mkdtemp(directory) != NULL);
  atexit(remove_directory);
  RUN(only_fields_there_are_can_be_asked_for);
  RUN(what_could_not_be_had_is_told_with_a_reason);
  RUN(a_file_outlives_a_writer_killed_in_the_middle);
  RUN(what_is_no_file_of_ours_is_refused);
  RUN(a_memfd_passes_through_a_socket_to_a_child);
  RUN(a_memfd_is_sealed_and_has_no_name);
  return 0;
}
