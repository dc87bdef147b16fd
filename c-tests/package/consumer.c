/* Uses the installed library from C: consumer VERSION */
#include <shmds.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
  if (argc != 2 || strcmp(argv[1], shm_version()) != 0) {
    fprintf(stderr, "expected version %s, the library is %s\n", argc > 1 ? argv[1] : "(none)", shm_version());
    return 1;
  }
  shm_segment *segment = NULL;
  if (shm_open_segment("shmds-consumer-c", 1 << 20, &segment) != SHM_OK || segment == NULL) {
    fprintf(stderr, "%s\n", shm_last_error());
    return 1;
  }
  if (shm_segment_close(segment) != SHM_OK) return 1;
  printf("C consumer of libshmds %s, ABI %u\n", shm_version(), (unsigned)shm_abi_version());
  return 0;
}
