// Uses the installed library from C++: consumer VERSION
#include <cstdio>
#include <shmds.hpp>
#include <string_view>

int main(int argc, char **argv) {
  if (argc != 2 || std::string_view(argv[1]) != shm_version()) {
    std::fprintf(stderr, "expected version %s, the library is %s\n", argc > 1 ? argv[1] : "(none)", shm_version());
    return 1;
  }
  shm_segment *segment = nullptr;
  if (shm_open_segment("shmds-consumer-cpp", 1 << 20, &segment) != SHM_OK || segment == nullptr) {
    std::fprintf(stderr, "%s\n", shm_last_error());
    return 1;
  }
  if (shm_segment_close(segment) != SHM_OK) return 1;
  std::printf("C++ consumer of libshmds %s, ABI %u\n", shm_version(), static_cast<unsigned>(shm_abi_version()));
}
