// Preloaded into the programs whose instructions are counted (scripts/instructions.sh): what the C library picks by
// processor, and what it gets from the clock and from chance. Here all of it is the same on every machine and in every
// run. And what valgrind 3.19 refuses: mapping again what is mapped, which byte queues do.
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

void *memcpy(void *to, const void *from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);
int memcmp(const void *one, const void *other, size_t bytes);
int bcmp(const void *one, const void *other, size_t bytes);
size_t strlen(const char *text);
ssize_t getrandom(void *to, size_t bytes, unsigned flags);

// Compiled with -O1, so that no compiler takes these loops for the functions they are.
void *memcpy(void *to, const void *from, size_t bytes) {
  char *out = to;
  const char *in = from;
  for (; bytes >= 16; bytes -= 16, out += 16, in += 16) __builtin_memcpy(out, in, 16);
  for (; bytes > 0; bytes--) *out++ = *in++;
  return to;
}

void *memmove(void *to, const void *from, size_t bytes) {
  if ((uintptr_t)to - (uintptr_t)from >= bytes) return memcpy(to, from, bytes);
  for (; bytes > 0; bytes--) ((char *)to)[bytes - 1] = ((const char *)from)[bytes - 1];
  return to;
}

void *memset(void *to, int value, size_t bytes) {
  char *out = to;
  const uint64_t word = UINT64_C(0x0101010101010101) * (unsigned char)value;
  for (; bytes >= 8; bytes -= 8, out += 8) __builtin_memcpy(out, &word, 8);
  for (; bytes > 0; bytes--) *out++ = (char)value;
  return to;
}

int memcmp(const void *one, const void *other, size_t bytes) {
  const unsigned char *a = one, *b = other;
  for (; bytes > 0; bytes--, a++, b++) {
    if (*a != *b) return *a - *b;
  }
  return 0;
}

int bcmp(const void *one, const void *other, size_t bytes) { return memcmp(one, other, bytes); }

size_t strlen(const char *text) {
  size_t length = 0;
  while (text[length] != 0) length++;
  return length;
}

/// A microsecond passes from one look to the next.
int clock_gettime(clockid_t clock, struct timespec *now) {
  static long looks;
  (void)clock;
  looks++;
  now->tv_sec = 1 + looks / 1000000;
  now->tv_nsec = looks % 1000000 * 1000;
  return 0;
}

ssize_t getrandom(void *to, size_t bytes, unsigned flags) {
  (void)flags;
  memset(to, 0x5a, bytes);
  return (ssize_t)bytes;
}

/// The shared mappings that were made; the last one at an address is the one that is there.
static struct {
  uintptr_t start;
  size_t bytes;
  int fd;
  off_t offset;
} made[64];
static size_t count;

void *mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset) {
  void *start = (void *)syscall(SYS_mmap, at, bytes, protection, flags, fd, offset);
  if (start != MAP_FAILED && (flags & MAP_SHARED) != 0 && count < sizeof made / sizeof *made) {
    made[count].start = (uintptr_t)start;
    made[count].bytes = bytes;
    made[count].fd = dup(fd);
    made[count++].offset = offset;
  }
  return start;
}

void *mremap(void *from, size_t old_bytes, size_t bytes, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  void *to = (flags & MREMAP_FIXED) != 0 ? va_arg(rest, void *) : NULL;
  va_end(rest);
  if (old_bytes != 0) return (void *)syscall(SYS_mremap, from, old_bytes, bytes, flags, to);
  for (size_t nth = count; nth-- > 0;) {
    const size_t begin = (uintptr_t)from - made[nth].start;
    if (begin >= made[nth].bytes) continue;
    const off_t offset = made[nth].offset + (off_t)begin;
    return (void *)syscall(SYS_mmap, to, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, made[nth].fd, offset);
  }
  errno = EINVAL;
  return MAP_FAILED;
}
