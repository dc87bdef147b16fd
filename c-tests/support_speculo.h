/* What the tests of areas share: nothing of theirs stays in /dev/shm, also when one fails. Include it after support.h. */
#ifndef SHMDS_TEST_SUPPORT_SPECULO_H
#define SHMDS_TEST_SUPPORT_SPECULO_H

#include <dirent.h>

/* Removes the manifests and areas of all names of this program's. */
static inline void remove_areas(void) {
  if (names_owner != getpid()) return;
  char prefix[64], path[300];
  snprintf(prefix, sizeof prefix, "shmds-test-%ld-", (long)names_owner);
  DIR *directory = opendir("/dev/shm");
  if (directory == NULL) return;
  for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
    if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0) continue;
    snprintf(path, sizeof path, "/dev/shm/%s", entry->d_name);
    unlink(path);
  }
  closedir(directory);
}

/* Instead of support_start. */
static inline void support_start_areas(unsigned seconds) {
  support_start(seconds);
  atexit(remove_areas);
}

#endif
