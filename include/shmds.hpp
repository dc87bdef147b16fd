/// @file shmds.hpp
/// The C++20 face of libshmds: data structures in shared memory, typed and owned. Header-only, over shmds.h.
///
/// **Ownership.** `segment`, `descriptor`, the structures (`span`, `array<T>`, `atomic<T>`, `queue<T>`, `pool<T>`,
/// `ring<T>`, `byte_queue`), and the slots, views, writings, readers, reservations and messages they hand out are
/// move-only owners: the destructor gives back what they hold. A moved-from or default-made owner is empty; using it
/// throws `status::invalid`, destroying it is harmless. A structure keeps its segment's memory mapped, so the segment
/// object may go first. What a structure handed out, pointers, references and iterators must go before it; a ring's
/// readers keep their ring open. So own `speculo_area`, its drafts, and `speculo_reader`.
///
/// **Errors.** Factories throw `shmds::error` when they cannot deliver. Operations return: a full or empty queue, a
/// timeout, a closed queue or a name that is not there is an ordinary outcome (`false`, `std::nullopt` or a count),
/// never an exception. What is left (damaged memory, an end in other hands, a read-only attachment) throws
/// `shmds::error`.
///
/// **Threads and processes.** A `segment` may be used from any thread at once, and so may every structure but
/// three: of a single-producer, single-consumer queue, a ring and a byte queue each end belongs to one thread at a time.
/// So does a ring's reader. Between processes the same, through each one's own objects. After fork() the child may go
/// on using its copies; the ends of single queues, rings and byte queues, and areas, stay with the parent. An area and
/// its readers are of one thread at a time each.
#ifndef SHMDS_HPP
#define SHMDS_HPP

#include "shmds.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <new>
#include <optional>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <unistd.h>

namespace shmds {

// ---- what everything else is written in ------------------------------------------------------------------------

/// How an operation ended: zero, ordinary outcomes above, errors below. The same numbers as `shm_status`.
enum class status : std::int32_t {
  ok = SHM_OK,
  full = SHM_FULL,
  empty = SHM_EMPTY,
  timeout = SHM_TIMEOUT,
  closed = SHM_CLOSED,
  lapped = SHM_LAPPED,
  torn = SHM_TORN,
  invalid = SHM_ERR_INVALID,
  not_found = SHM_ERR_NOT_FOUND,
  exists = SHM_ERR_EXISTS,
  mismatch = SHM_ERR_MISMATCH,
  version = SHM_ERR_VERSION,
  corrupt = SHM_ERR_CORRUPT,
  no_space = SHM_ERR_NO_SPACE,
  limit = SHM_ERR_LIMIT,
  permission = SHM_ERR_PERMISSION,
  busy = SHM_ERR_BUSY,
  read_only = SHM_ERR_READ_ONLY,
  system = SHM_ERR_SYSTEM,
  internal = SHM_ERR_INTERNAL,
};

/// The status in a few words; never null, also for numbers no status has.
[[nodiscard]] inline const char* to_string(status s) noexcept {
  return shm_status_string(static_cast<shm_status>(s));
}

/// Something went wrong: which status, and in what() one sentence with the names and numbers involved.
class error : public std::runtime_error {
 public:
  error(shmds::status status, const std::string& sentence) : std::runtime_error(sentence), status_(status) {}
  [[nodiscard]] shmds::status status() const noexcept { return status_; }

 private:
  shmds::status status_;
};

namespace detail {

/// Hands on success and ordinary outcomes; throws what is an error.
inline status check(shm_status returned) {
  const auto s = static_cast<status>(returned);
  if (static_cast<std::int32_t>(returned) < 0) [[unlikely]] {
    throw error(s, shm_last_error());
  }
  return s;
}

/// As check(), for functions that know success only, and the one error that means "there is none".
inline bool check_found(shm_status returned) {
  return returned != SHM_ERR_NOT_FOUND && check(returned) == status::ok;
}

/// What a C function hands out as address and length.
inline std::span<std::byte> bytes_of(auto function, auto* handle) {
  void* data = nullptr;
  std::size_t size = 0;
  check(function(handle, &data, &size));
  return {static_cast<std::byte*>(data), size};
}

/// A name as C wants it. One with a NUL inside would be cut short there and mean another thing: refused.
inline std::string c_name(std::string_view name) {
  if (name.find('\0') != std::string_view::npos) {
    throw error(status::invalid, "the name \"" + std::string(name.data()) + "...\" has a NUL inside");
  }
  return std::string(name);
}

/// Room for one T whose bytes come from elsewhere; T needs no default constructor.
template <class T>
union room {
  room() noexcept : nothing() {}
  char nothing;
  T value;
};

/// Converts to what `make` returns, which is then made where it is to be: for what takes long to copy.
template <class Make>
struct made_by {
  Make make;
  operator std::invoke_result_t<Make>() const { return make(); }
};

}  // namespace detail

/// How long to wait: any std::chrono duration. Negative ones are zero, `forever` and what is too long for the
/// library's 64 bits of nanoseconds (584 years) is without limit, fractions of a nanosecond are rounded up.
class timeout {
 public:
  template <class Rep, class Period>
  constexpr timeout(std::chrono::duration<Rep, Period> duration) noexcept  // NOLINT: implicit on purpose
      : nanoseconds_(convert(duration)) {}
  [[nodiscard]] constexpr std::uint64_t nanoseconds() const noexcept { return nanoseconds_; }

 private:
  template <class Rep, class Period>
  static constexpr std::uint64_t convert(std::chrono::duration<Rep, Period> duration) noexcept {
    if (duration == duration.max()) return SHM_FOREVER;
    const long double exact = std::chrono::duration<long double, std::nano>(duration).count();
    if (!(exact > 0)) return 0;  // also what is not a number
    if (exact >= 0x1p64L) return SHM_FOREVER;
    const auto whole = static_cast<std::uint64_t>(exact);
    return static_cast<long double>(whole) < exact ? whole + 1 : whole;
  }
  std::uint64_t nanoseconds_;
};

/// Wait without limit.
inline constexpr std::chrono::nanoseconds forever = std::chrono::nanoseconds::max();

/// The library's version, such as "0.1.0".
[[nodiscard]] inline std::string_view version() noexcept { return shm_version(); }

// ---- segments --------------------------------------------------------------------------------------------------

/// How many structures a segment can name, and how long their names may be.
struct table_shape {
  shm_table_shape shape;
  std::uint32_t name_bytes = 0;  ///< of a custom shape
  std::uint32_t entries = 0;     ///< of a custom shape
};

/// The table shapes there are: bytes of a name × number of structures.
namespace table {
inline constexpr table_shape small{SHM_TABLE_SMALL};        ///< 16 × 16
inline constexpr table_shape standard{SHM_TABLE_STANDARD};  ///< 32 × 64
inline constexpr table_shape large{SHM_TABLE_LARGE};        ///< 64 × 256
inline constexpr table_shape huge{SHM_TABLE_HUGE};          ///< 256 × 1024
[[nodiscard]] constexpr table_shape custom(std::uint32_t name_bytes, std::uint32_t entries) noexcept {
  return {SHM_TABLE_CUSTOM, name_bytes, entries};
}
}  // namespace table

/// How a segment is to be created or opened. What is left out is as the library has it.
/// Written in place: `segment::create("sim", {.size = 1 << 20, .exclusive = true})`.
struct segment_options {
  std::uint64_t size = 0;                                    ///< bytes of the whole; create needs it
  bool exclusive = false;                                    ///< create: refuse a segment that exists
  bool read_only = false;                                    ///< open: map without write permission
  bool persistent = false;                                   ///< create: outlive the last one attached
  bool any_owner = false;                                    ///< attach although another user owns it
  std::optional<std::uint32_t> mode{};                       ///< permission bits, exact whatever the umask; 0600
  std::optional<std::int64_t> group{};                       ///< group id; the creator's
  table_shape table = table::standard;                       ///< see namespace table
  std::optional<std::uint32_t> max_participants{};           ///< most attachments at once; 64
  std::optional<std::uint64_t> max_allocation{};             ///< most bytes of one structure; no limit
  std::optional<std::chrono::milliseconds> lock_timeout{};   ///< longest wait for the segment's lock; 5 s
  bool prefault = false;                                     ///< have every page in our page table; see unavailable()
  bool lock_memory = false;                                  ///< keep every page in memory; see unavailable()
  bool huge_pages = false;                                   ///< huge pages of 2 MiB; see unavailable()
  std::optional<std::int32_t> numa_node{};                   ///< have the memory on this node; see unavailable()
};

namespace detail {

inline shm_segment_options native(const segment_options& from) {
  shm_segment_options to;
  check(shm_segment_options_init(&to));
  to.flags = (from.exclusive ? SHM_EXCLUSIVE : 0u) | (from.read_only ? SHM_READ_ONLY : 0u) |
             (from.persistent ? SHM_PERSISTENT : 0u) | (from.any_owner ? SHM_ANY_OWNER : 0u) |
             (from.prefault ? SHM_PREFAULT : 0u) | (from.lock_memory ? SHM_LOCK_MEMORY : 0u) |
             (from.huge_pages ? SHM_HUGE_PAGES : 0u);
  to.size = from.size;
  to.mode = from.mode.value_or(to.mode);
  to.group = from.group.value_or(to.group);
  to.numa_node = from.numa_node.value_or(to.numa_node);
  to.table = from.table.shape;
  to.table_name_bytes = from.table.name_bytes;
  to.table_entries = from.table.entries;
  to.max_participants = from.max_participants.value_or(to.max_participants);
  to.max_allocation = from.max_allocation.value_or(to.max_allocation);
  if (from.lock_timeout) {
    const auto ms = from.lock_timeout->count();
    to.lock_timeout_ms = ms <= 0 ? 0u : ms >= UINT32_MAX ? UINT32_MAX : static_cast<std::uint32_t>(ms);
  }
  return to;
}

}  // namespace detail

using entry = shm_entry;                  ///< one named structure: kind, size, users, name
using participant = shm_participant;      ///< one attachment: id, process, whether it lives
using segment_stats = shm_segment_stats;  ///< room taken and free, entries, participants

/// A wish about a segment's memory.
enum class memory_option : std::uint32_t {
  prefault = SHM_PREFAULT,
  lock_memory = SHM_LOCK_MEMORY,
  huge_pages = SHM_HUGE_PAGES,
  numa_node = SHM_NUMA_NODE,
};

/// A wish that could not be had, and a sentence that says why.
struct unavailable_option {
  memory_option option;
  std::string reason;
};

/// How bad a finding is.
enum class severity : std::uint32_t {
  leftover = SHM_LEFTOVER,  ///< of somebody who died, or begun and not ended: reap() gives it back, or the next completes it
  damage = SHM_DAMAGE,      ///< no rule leads here: somebody wrote over it
};

/// Something that is not as it should be.
struct finding {
  shmds::severity severity;
  std::uint32_t kind;    ///< one of shm_kind: what it is in; 0 for the segment itself, and for an area of chunks
  std::uint64_t offset;  ///< in bytes from the beginning of the segment, or of the area's file
  std::string name;      ///< of the structure, or of the area; empty for the segment itself
  std::string sentence;  ///< what it is, with names and numbers
};

/// What verifying came to.
struct verified : shm_verified {
  std::vector<finding> findings;  ///< of one structure, 64 or so; all are counted
  [[nodiscard]] bool sound() const noexcept { return damage == 0; }
  [[nodiscard]] bool clean() const noexcept { return damage == 0 && leftovers == 0; }
};

/// While others work, or when nobody does: then more is certain, and looked at.
enum class verify_when : std::uint32_t { live = 0, at_rest = SHM_VERIFY_AT_REST };

namespace detail {

/// Has C collect what it finds. No exception may go through it.
template <class Verify>
verified verify(Verify&& call, verify_when when) {
  struct collected {
    verified result{};
    std::exception_ptr failed;
  } all;
  const auto visit = [](const shm_finding* found, void* context) noexcept {
    auto& to = *static_cast<collected*>(context);
    try {
      to.result.findings.push_back(
          {static_cast<severity>(found->severity), found->kind, found->offset, found->name, found->sentence});
    } catch (...) {
      to.failed = std::current_exception();
    }
  };
  const auto outcome = call(static_cast<std::uint32_t>(when), +visit, &all, static_cast<shm_verified*>(&all.result));
  if (all.failed) std::rethrow_exception(all.failed);
  // Damage is what was asked for; that there is nothing to look at is an error.
  if (!(outcome == SHM_ERR_CORRUPT && all.result.damage > 0)) check(outcome);
  return std::move(all.result);
}

}  // namespace detail

/// The structures of a segment, as an input range. What is created or removed while it is walked may be missed.
/// Valid as long as the segment object it came from.
class entry_range : public std::ranges::view_interface<entry_range> {
 public:
  class iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = entry;
    using difference_type = std::ptrdiff_t;
    iterator() = default;
    explicit iterator(const shm_segment* segment) : segment_(segment) { ++*this; }
    [[nodiscard]] const entry& operator*() const noexcept { return entry_; }
    [[nodiscard]] const entry* operator->() const noexcept { return &entry_; }
    iterator& operator++() {
      end_ = detail::check(shm_table_next(segment_, &cursor_, &entry_)) != status::ok;
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const iterator& i, std::default_sentinel_t) noexcept { return i.end_; }

   private:
    const shm_segment* segment_ = nullptr;
    std::uint32_t cursor_ = 0;
    bool end_ = true;
    entry entry_{};
  };
  explicit entry_range(const shm_segment* segment = nullptr) noexcept : segment_(segment) {}
  [[nodiscard]] iterator begin() const { return iterator(segment_); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

 private:
  const shm_segment* segment_;
};

/// A file descriptor; the destructor closes it.
class descriptor {
 public:
  descriptor() = default;
  explicit descriptor(int fd) noexcept : fd_(fd) {}
  descriptor(descriptor&& other) noexcept : fd_(other.release()) {}
  descriptor& operator=(descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  /// The number; -1 if this is empty.
  [[nodiscard]] int get() const noexcept { return fd_; }
  /// The number, which is the caller's to close now.
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

/// An attachment to a shared memory segment; the destructor detaches. Unless it is persistent, a segment is gone
/// with the last attachment to it, closed or crashed. Any thread may use it at any time.
class segment {
 public:
  segment() = default;

  /// Creates the segment, or attaches to the one that has the name already (unless `exclusive`).
  [[nodiscard]] static segment create(std::string_view name, const segment_options& options) {
    return make(shm_segment_create, name, options);
  }
  /// Attaches to a segment that exists.
  [[nodiscard]] static segment open(std::string_view name, const segment_options& options = {}) {
    return make(shm_segment_open, name, options);
  }
  /// Takes the name away; those attached keep what they have. False if there was no such name.
  static bool unlink(std::string_view name) {
    return detail::check_found(shm_segment_unlink(detail::c_name(name).c_str()));
  }

  /// Creates a segment in a file on a disk, or attaches to the one that is there (unless `exclusive`). It is
  /// persistent, and survives the machine's restart; what was written is on the disk after the next sync().
  [[nodiscard]] static segment create_file(const std::filesystem::path& path, const segment_options& options) {
    return make(shm_segment_create_file, path.native(), options);
  }
  /// Attaches to the segment in a file, whether or not anybody else is attached.
  [[nodiscard]] static segment open_file(const std::filesystem::path& path, const segment_options& options = {}) {
    return make(shm_segment_open_file, path.native(), options);
  }
  /// Removes the file; those attached keep what they have. False if there was no such file.
  static bool unlink_file(const std::filesystem::path& path) {
    return detail::check_found(shm_segment_unlink_file(detail::c_name(path.native()).c_str()));
  }

  /// Creates a segment that has no name: peers get a descriptor of it. Its length is sealed, so they need not be
  /// trusted with it. The name is for people.
  [[nodiscard]] static segment create_memfd(std::string_view name, const segment_options& options) {
    return make(shm_segment_create_memfd, name, options);
  }
  /// Attaches to the segment that a descriptor leads to, which may be closed right after.
  [[nodiscard]] static segment open_fd(int fd, const segment_options& options = {}) {
    return made(options, [&](auto* native, auto* handle) { return shm_segment_open_fd(fd, native, handle); });
  }
  /// Attaches to a segment that somebody sends through a Unix socket. Nothing if the other end is closed, or a socket
  /// that does not wait (any longer) has nothing.
  [[nodiscard]] static std::optional<segment> receive(int socket, const segment_options& options = {}) {
    auto received =
        made(options, [&](auto* native, auto* handle) { return shm_segment_receive(socket, native, handle); });
    if (!received) return {};
    return received;
  }
  /// A new descriptor that leads to the segment, to be inherited or passed.
  [[nodiscard]] descriptor fd() const {
    int fd = -1;
    detail::check(shm_segment_fd(native(), &fd));
    return descriptor(fd);
  }
  /// Passes a descriptor of the segment through a Unix socket. False if the socket does not wait (any longer).
  [[nodiscard]] bool send(int socket) const { return detail::check(shm_segment_send(native(), socket)) == status::ok; }

  /// Returns when all of a segment in a file is on the disk as it is now.
  void sync() const { detail::check(shm_segment_sync(native())); }
  /// The same for some of its bytes: `segment.sync(std::as_bytes(std::span(values.data(), 100)))`.
  void sync(std::span<const std::byte> bytes) const {
    if (!bytes.empty()) detail::check(shm_segment_sync_range(native(), bytes.data(), bytes.size()));
  }

  /// The name in shared memory, or the path.
  [[nodiscard]] std::string_view name() const {
    const char* text = nullptr;
    detail::check(shm_segment_name(native(), &text));
    return text;
  }
  /// All of it, as mapped here and as docs/FORMAT.md has it: to look at, or to register with a device. Other processes
  /// may write to it at any time.
  [[nodiscard]] std::span<const std::byte> bytes() const { return detail::bytes_of(shm_segment_span, native()); }
  [[nodiscard]] segment_stats stats() const {
    segment_stats stats{};
    detail::check(shm_segment_get_stats(native(), &stats));
    return stats;
  }
  /// What was asked for about this attachment's memory and could not be had. Without it the segment works all the same.
  [[nodiscard]] std::vector<unavailable_option> unavailable() const {
    std::uint32_t options = 0;
    detail::check(shm_segment_unavailable(native(), &options));
    std::vector<unavailable_option> all;
    for (const auto option : {memory_option::prefault, memory_option::lock_memory, memory_option::huge_pages,
                              memory_option::numa_node}) {
      if ((options & static_cast<std::uint32_t>(option)) == 0) continue;
      const char* reason = nullptr;
      detail::check(shm_segment_unavailable_reason(native(), static_cast<std::uint32_t>(option), &reason));
      all.push_back({option, reason});
    }
    return all;
  }
  /// Living attachments, this one included.
  [[nodiscard]] std::uint32_t count() const {
    std::uint32_t living = 0;
    detail::check(shm_segment_count(native(), &living));
    return living;
  }
  /// Who is attached: every participant there is a record of, dead ones not yet reaped included.
  [[nodiscard]] std::vector<participant> participants() const {
    std::vector<participant> all(stats().max_participants);
    std::size_t count = 0;
    detail::check(shm_segment_participants(native(), all.data(), all.size(), &count));
    if (count < all.size()) all.resize(count);
    return all;
  }
  /// Gives back what dead participants held, and says how many there were.
  std::uint32_t reap() const {  // NOLINT: the number is an extra
    std::uint32_t reaped = 0;
    detail::check(shm_segment_reap(native(), &reaped));
    return reaped;
  }

  /// Looks at the segment and at every structure in it, and says what is not as it should be. Nothing is changed, and
  /// nobody is held up for long; a read-only attachment will do. While others work, only what is certain is told.
  [[nodiscard]] verified verify(verify_when when = verify_when::live) const {
    const auto call = [&](auto... arguments) { return shm_segment_verify(native(), arguments...); };
    return detail::verify(call, when);
  }

  /// The structures by name: `for (const auto& e : segment.entries())`.
  [[nodiscard]] entry_range entries() const noexcept { return entry_range(native()); }
  [[nodiscard]] std::optional<entry> find(std::string_view name) const {
    bool there = false;
    std::optional<entry> found(std::in_place, detail::made_by([&] {
      entry made;  // all of it is written, or none of it read
      const auto* text = name.empty() ? "" : name.data();
      there = detail::check_found(shm_table_find_sized(native(), text, name.size(), &made));
      return made;
    }));
    if (!there) found.reset();
    return found;
  }
  /// Waits until a structure of that name is there; nothing if it did not come in time.
  [[nodiscard]] std::optional<entry> wait_for(std::string_view name, timeout limit) const {
    entry found{};
    const auto text = detail::c_name(name);
    if (detail::check(shm_table_wait(native(), text.c_str(), limit.nanoseconds(), &found)) != status::ok) return {};
    return found;
  }
  /// The structures in the middle of whose change somebody died, until clear_interrupted().
  [[nodiscard]] std::vector<entry> interrupted() const {
    std::vector<entry> all;
    for (const auto& e : entries()) {
      if (e.interrupted != 0) all.push_back(e);
    }
    return all;
  }
  /// Forgets that a structure was interrupted. False if there is none of that name.
  bool clear_interrupted(std::string_view name) const {
    return detail::check_found(shm_table_clear_interrupted(native(), detail::c_name(name).c_str()));
  }
  /// Takes a structure's name away at once; its memory is free when its last user is gone. False if there was none.
  bool remove(std::string_view name) const {
    return detail::check_found(shm_table_remove(native(), detail::c_name(name).c_str()));
  }

  /// Takes all names away, and says how many there were.
  std::uint32_t remove_all() const {  // NOLINT: the number is an extra
    std::uint32_t removed = 0;
    detail::check(shm_table_remove_all(native(), &removed));
    return removed;
  }

  /// The C handle, still owned by this object; null if this is empty.
  [[nodiscard]] shm_segment* native() const noexcept { return handle_.get(); }
  [[nodiscard]] explicit operator bool() const noexcept { return handle_ != nullptr; }

 private:
  struct closer {
    void operator()(shm_segment* s) const noexcept { shm_segment_close(s); }
  };
  static segment make(auto function, std::string_view name, const segment_options& options) {
    const auto text = detail::c_name(name);
    return made(options, [&](auto* native, auto* handle) { return function(text.c_str(), native, handle); });
  }
  /// Empty after an outcome that is neither success nor an error.
  static segment made(const segment_options& options, auto function) {
    const auto native = detail::native(options);
    shm_segment* handle = nullptr;
    detail::check(function(&native, &handle));
    segment made;
    made.handle_.reset(handle);
    return made;
  }

  std::unique_ptr<shm_segment, closer> handle_;
};

/// The size a segment needs to hold structures of these sizes:
/// `segment_size({.table = table::small}, {queue_size<order>(1024), queue_size<fill>(64)})`.
[[nodiscard]] inline std::uint64_t segment_size(const segment_options& options,
                                                std::initializer_list<std::uint64_t> structures) {
  std::uint64_t sum = 0, size = 0;
  for (const auto bytes : structures) {
    if (bytes > UINT64_MAX - sum) throw error(status::invalid, "the structures' sizes add up to more than 64 bits");
    sum += bytes;
  }
  const auto native = detail::native(options);
  detail::check(shm_segment_size(&native, sum, &size));
  return size;
}

// ---- elements --------------------------------------------------------------------------------------------------

/// What can lie in shared memory: plain bytes to be copied, aligned to no more than a page. Keep pointers out, they
/// mean nothing to another process, and std::size_t or long where a 32-bit process takes part.
template <class T>
concept element = std::is_object_v<T> && std::is_trivially_copyable_v<T> && !std::is_const_v<T> &&
                  !std::is_volatile_v<T> && alignof(T) <= 4096;

namespace detail {

/// Closes what C opened.
template <auto Close>
struct closer {
  void operator()(auto* handle) const noexcept { Close(handle); }
};

/// T(args...) or T{args...}, in place.
template <class T, class... Args>
void construct(void* at, Args&&... args) {
  if constexpr (std::is_constructible_v<T, Args...>) {
    ::new (at) T(std::forward<Args>(args)...);
  } else {
    ::new (at) T{std::forward<Args>(args)...};
  }
}

}  // namespace detail

// ---- queues ----------------------------------------------------------------------------------------------------

/// How a queue is to be created, or what it is expected to be when opened.
struct queue_options {
  std::uint64_t capacity = 0;    ///< elements, rounded up to a power of two; open: 0 takes any
  std::optional<bool> single{};  ///< one producer and one consumer, which is faster; left out: no; open: takes any
  bool exclusive = false;        ///< create: refuse a queue that exists
  std::uint64_t tag = 0;         ///< a number for the element's type, compared when opened; 0 takes any
};

using queue_stats = shm_queue_stats;  ///< capacity, size, elements ever entered and taken

namespace detail {

template <element T>
shm_queue_options native(const queue_options& from) {
  shm_queue_options to;
  check(shm_queue_options_init(&to));
  to.flags = (from.single.value_or(false) ? SHM_SPSC : 0u) | (from.exclusive ? SHM_EXCLUSIVE : 0u);
  to.capacity = from.capacity;
  to.elem_size = sizeof(T);
  to.elem_align = alignof(T);
  to.type_tag = from.tag;
  return to;
}

/// The usual operations of an SPSC queue, compiled into the caller. What is to be done is told at shm_queue_inline.
template <element T>
class inline_path {
 public:
  enum class outcome { done, empty, ask };  ///< ask: it takes the library to know

  inline_path() = default;
  explicit inline_path(shm_queue* queue) {
    shm_queue_inline found{};
    if (shm_queue_get_inline(queue, SHM_INLINE_VERSION, &found) != SHM_OK || found.producer == nullptr) return;
    if (found.first != first || found.step != step || found.per_line != per_line || found.stride != stride) return;
    shared_ = found;
    producer_ = found.producer;
    consumer_ = found.consumer;
  }
  inline_path(inline_path&& other) noexcept { *this = std::move(other); }
  inline_path& operator=(inline_path&& other) noexcept {
    shared_ = other.shared_;
    producer_ = std::exchange(other.producer_, &no_producer);
    consumer_ = std::exchange(other.consumer_, &no_consumer);
    return *this;
  }

  /// False, with nothing done: it takes the library.
  [[gnu::always_inline]] bool enqueue(shm_queue* queue, const T& value) const {
    auto& end = *producer_;
    if (end.element == end.stop || load(shared_.shut) != 0) return false;
    copy_out(end.element, value);
    word(end.word).store(end.value, std::memory_order_release);
    end.element += packed ? step : stride;
    if constexpr (!packed) end.word += stride / sizeof(*end.word);
    end.value += packed ? 1 : line;
    wake(queue, shared_.items);
    return true;
  }

  [[gnu::always_inline]] outcome dequeue(shm_queue* queue, T& value) const {
    auto& end = *consumer_;
    if (end.element == end.stop) {
      if (const auto found = look(end); found != outcome::done) return found;
    }
    std::memcpy(&value, end.element, sizeof(T));
    end.element += step;
    word(shared_.exact).store(++end.position, std::memory_order_release);
    wake(queue, shared_.space);
    return outcome::done;
  }

 private:
  static constexpr std::uint64_t line = 256, cache_line = 64;
  static constexpr std::uint64_t first = alignof(T) > 8 ? alignof(T) : 8, step = sizeof(T);
  static constexpr std::uint64_t fitting = first < cache_line ? (cache_line - first) / step : 0;
  static constexpr std::uint64_t per_line = fitting > 1 ? fitting : 1;
  static constexpr bool packed = per_line > 1;
  static constexpr std::uint64_t slot = (first + step + first - 1) / first * first;
  static constexpr std::uint64_t stride = packed ? cache_line : slot <= cache_line ? std::bit_ceil(slot) : slot;
  static constexpr std::uint64_t fetched = stride < 5 * cache_line ? stride : 5 * cache_line;

  /// An end that is at its stop for ever.
  static inline constinit shm_queue_producer no_producer{};
  static inline constinit shm_queue_consumer no_consumer{};

  static std::atomic_ref<std::uint64_t> word(std::uint64_t* at) { return std::atomic_ref(*at); }
  static std::uint32_t load(const std::uint32_t* at) {
    return std::atomic_ref(const_cast<std::uint32_t&>(*at)).load(std::memory_order_relaxed);
  }
  /// In stores that do not straddle lines, as far as words allow it: those wait for both, one after the other.
  static void copy_out(std::uint8_t* to, const T& value) {
    constexpr std::size_t vector = 16, half = vector / 2;
    const auto* from = reinterpret_cast<const std::uint8_t*>(&value);
    if constexpr (sizeof(T) >= 2 * vector && sizeof(T) % vector == 0) {
      if (reinterpret_cast<std::uintptr_t>(to) % vector == half) {
        std::memcpy(to, from, half);
        std::memcpy(to + half, from + half, sizeof(T) - vector);
        std::memcpy(to + sizeof(T) - half, from + sizeof(T) - half, half);
        return;
      }
    }
    std::memcpy(to, from, sizeof(T));
  }
  static void wake(shm_queue* queue, const std::uint32_t* sleepers) {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (load(sleepers) != 0) [[unlikely]] shm_queue_wake(queue);
  }

  [[gnu::always_inline]] outcome look(shm_queue_consumer& end) const {
    if (end.word == nullptr) return outcome::ask;
    if (end.value % line == per_line) {
      end.value = (end.value / line + 1) * line;
      end.word += stride / sizeof(*end.word);
      if (end.word == shared_.end) end.word = shared_.slots;
      if (end.position >= end.tell_at) {
        word(shared_.head).store(end.position, std::memory_order_release);
        end.tell_at = end.position + shared_.quarter;
      }
    }
    // A slot of several lines is fetched as a whole, not the rest after the word has come.
    for (std::uint64_t at = cache_line; at < fetched; at += cache_line) {
      __builtin_prefetch(reinterpret_cast<const char*>(end.word) + at);
    }
    const auto known = end.value % line;
    const auto fresh = word(end.word).load(std::memory_order_acquire) - end.value;
    if (fresh - 1 >= per_line - known) {
      end.element = end.stop = nullptr;
#if defined(__x86_64__)
      __builtin_ia32_lfence();  // or the loop that polls has dozens of these loads under way, all in vain when the word changes
#endif
      return outcome::empty;
    }
    end.value += fresh;
    if (end.value % line == per_line && end.element != nullptr) word(end.word).store(end.value, std::memory_order_relaxed);
    const auto offset = first + known * step;
    end.element = reinterpret_cast<std::uint8_t*>(end.word) + offset;
    if constexpr (packed) {
      if (fresh > 1) {
        for (std::uint64_t nth = 0; nth < fresh; ++nth) {
          std::memcpy(end.news + offset + nth * step, end.element + nth * step, step);
        }
        end.element = end.news + offset;
      }
      // The producer is lines ahead: what it has left behind can come already.
      if (fresh == per_line) __builtin_prefetch(end.word + 2 * stride / sizeof(*end.word));
    }
    end.stop = end.element + fresh * step;
    return outcome::done;
  }

  shm_queue_producer* producer_ = &no_producer;
  shm_queue_consumer* consumer_ = &no_consumer;
  shm_queue_inline shared_{};
};

/// One element of a queue, in place; or nothing, and then false. The destructor undoes what was not finished.
template <class T, auto Undo>
class in_place {
 public:
  in_place() noexcept = default;
  in_place(shm_queue* queue, const shm_queue_slot& slot) noexcept : queue_(queue), slot_(slot) {}
  in_place(in_place&& other) noexcept : queue_(std::exchange(other.queue_, nullptr)), slot_(other.slot_) {}
  in_place& operator=(in_place&& other) noexcept {
    in_place taken(std::move(other));  // what we held is given up with it, now
    std::swap(queue_, taken.queue_);
    std::swap(slot_, taken.slot_);
    return *this;
  }
  ~in_place() {
    if (queue_ != nullptr) Undo(queue_, &slot_);
  }
  [[nodiscard]] explicit operator bool() const noexcept { return queue_ != nullptr; }
  [[nodiscard]] T* get() const noexcept { return queue_ != nullptr ? static_cast<T*>(slot_.data) : nullptr; }
  [[nodiscard]] T* operator->() const noexcept { return get(); }
  [[nodiscard]] T& operator*() const noexcept { return *get(); }
  [[nodiscard]] std::uint64_t position() const noexcept { return slot_.position; }  ///< its number in the queue's life

 protected:
  void finish(auto function) { check(function(std::exchange(queue_, nullptr), &slot_)); }

 private:
  shm_queue* queue_ = nullptr;
  shm_queue_slot slot_{};
};

}  // namespace detail

/// A place claimed in a queue: write the element, then commit(). The destructor aborts what was not committed.
template <element T>
struct queue_slot : detail::in_place<T, shm_queue_abort> {
  using detail::in_place<T, shm_queue_abort>::in_place;
  void commit() { this->finish(shm_queue_commit); }  ///< the element is in the queue
  void abort() { this->finish(shm_queue_abort); }    ///< there never was one
};

/// An element at the front of a queue, read in its place. release() or the destructor takes it out.
template <element T>
struct queue_view : detail::in_place<const T, shm_queue_release> {
  using detail::in_place<const T, shm_queue_release>::in_place;
  void release() { this->finish(shm_queue_release); }  ///< the place is free again
};

/// A bounded first-in, first-out queue of T in a segment. The destructor closes this handle; the queue stays.
/// No operation locks. For many producers and consumers on any threads, or, `single`, for one of each.
template <element T>
class queue {
 public:
  using value_type = T;
  using slot = queue_slot<T>;
  using view = queue_view<T>;

  queue() = default;

  /// Creates the queue, or attaches to the one of that name if it is the same in kind, element and capacity.
  [[nodiscard]] static queue create(const segment& in, std::string_view name, const queue_options& options) {
    return make(shm_queue_create, in, name, options);
  }
  /// Attaches to a queue that exists, be it for many or single; its element must be a T.
  [[nodiscard]] static queue open(const segment& in, std::string_view name, const queue_options& expected = {}) {
    auto found = expected;
    if (!found.single) {
      const auto there = in.find(name);
      found.single = there && (there->flags & SHM_SPSC) != 0;
    }
    return make(shm_queue_open, in, name, found);
  }

  // Copied in and out.

  /// False if the queue is full or shut down.
  [[nodiscard]] bool enqueue(const T& value) {
    return inline_.enqueue(native(), value) || ok(shm_queue_enqueue(native(), &value));
  }
  /// Waits for room; false if none came in time or the queue is shut down.
  [[nodiscard]] bool enqueue_for(const T& value, timeout limit) {
    return ok(shm_queue_enqueue_wait(native(), &value, limit.nanoseconds()));
  }
  /// False, and `value` as it was, if the queue is empty.
  [[nodiscard]] bool dequeue(T& value) {
    const auto found = inline_.dequeue(native(), value);
    return found == path::outcome::done || (found == path::outcome::ask && ok(shm_queue_dequeue(native(), &value)));
  }
  [[nodiscard]] std::optional<T> dequeue() {
    detail::room<T> room;
    return dequeue(room.value) ? std::optional<T>(room.value) : std::nullopt;
  }
  /// Waits for an element; nothing if none came in time, or the queue is shut down and empty.
  [[nodiscard]] std::optional<T> dequeue_for(timeout limit) {
    return take(shm_queue_dequeue_wait, limit.nanoseconds());
  }

  // Many at once. All say how many: the first so many of the span.

  [[nodiscard]] std::size_t enqueue_bulk(std::span<const T> values) { return bulk(shm_queue_enqueue_bulk, values); }
  [[nodiscard]] std::size_t dequeue_bulk(std::span<T> values) { return bulk(shm_queue_dequeue_bulk, values); }
  /// Waits until all are in, the time is over or the queue is shut down.
  [[nodiscard]] std::size_t enqueue_bulk_for(std::span<const T> values, timeout limit) {
    return bulk(shm_queue_enqueue_bulk_wait, values, limit.nanoseconds());
  }
  /// Waits until at least one is out, the time is over or the queue is shut down and empty.
  [[nodiscard]] std::size_t dequeue_bulk_for(std::span<T> values, timeout limit) {
    return bulk(shm_queue_dequeue_bulk_wait, values, limit.nanoseconds());
  }

  // In place: `if (auto place = queue.claim()) { place->price = 7; place.commit(); }`

  /// A place for the next element, with whatever bytes lie there; false if the queue is full or shut down.
  [[nodiscard]] slot claim() { return place<slot>(shm_queue_claim); }
  [[nodiscard]] slot claim_for(timeout limit) { return place<slot>(shm_queue_claim_wait, limit.nanoseconds()); }
  /// The next element where it lies, taken from other consumers; false if the queue is empty.
  [[nodiscard]] view peek() { return place<view>(shm_queue_peek); }
  [[nodiscard]] view peek_for(timeout limit) { return place<view>(shm_queue_peek_wait, limit.nanoseconds()); }
  /// Constructs the next element in its place, T(args...) or T{args...}. False if the queue is full or shut down.
  /// If T's constructor throws, there is no element.
  template <class... Args>
  [[nodiscard]] bool emplace(Args&&... args) {
    auto claimed = claim();
    if (!claimed) return false;
    detail::construct<T>(claimed.get(), std::forward<Args>(args)...);
    claimed.commit();
    return true;
  }

  // As a whole. While others work on the queue, size() and what follows from it is already history.

  [[nodiscard]] std::uint64_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::uint64_t size() const { return stats().size; }
  [[nodiscard]] bool empty() const { return size() == 0; }
  [[nodiscard]] bool full() const { return size() >= capacity_; }
  /// No more elements come in, here or anywhere; what is in can still be taken out.
  void shutdown() { detail::check(shm_queue_shutdown(native())); }
  [[nodiscard]] bool closed() const { return stats().shut_down != 0; }
  [[nodiscard]] bool single() const { return (stats().flags & SHM_SPSC) != 0; }
  [[nodiscard]] queue_stats stats() const {
    queue_stats stats{};
    detail::check(shm_queue_get_stats(native(), &stats));
    return stats;
  }
  /// How long this handle's waiting calls spin before they sleep.
  void spin(timeout time) { detail::check(shm_queue_set_spin(native(), time.nanoseconds())); }
  /// All of its bytes, as docs/FORMAT.md has them; other processes may write to them at any time.
  [[nodiscard]] std::span<std::byte> bytes() { return detail::bytes_of(shm_queue_span, native()); }
  [[nodiscard]] std::span<const std::byte> bytes() const { return detail::bytes_of(shm_queue_span, native()); }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] std::uint64_t tag() const noexcept { return tag_; }  ///< as given to create or open

  /// The C handle, still owned by this object; null if this is empty.
  [[nodiscard]] shm_queue* native() const noexcept { return handle_.get(); }
  [[nodiscard]] explicit operator bool() const noexcept { return handle_ != nullptr; }

 private:
  struct closer {
    void operator()(shm_queue* q) const noexcept { shm_queue_close(q); }
  };
  static queue make(auto function, const segment& in, std::string_view name, const queue_options& options) {
    const auto native = detail::native<T>(options);
    shm_queue* handle = nullptr;
    queue made;
    made.name_ = detail::c_name(name);
    made.tag_ = options.tag;
    detail::check(function(in.native(), made.name_.c_str(), &native, &handle));
    made.handle_.reset(handle);
    made.capacity_ = made.stats().capacity;
    made.inline_ = path(handle);
    return made;
  }
  static bool ok(shm_status returned) { return detail::check(returned) == status::ok; }
  std::optional<T> take(auto function, auto... limit) {
    detail::room<T> room;
    return ok(function(native(), &room.value, limit...)) ? std::optional<T>(room.value) : std::nullopt;
  }
  std::size_t bulk(auto function, auto values, auto... limit) {
    std::size_t done = 0;
    if (!values.empty()) detail::check(function(native(), values.data(), values.size(), limit..., &done));
    return done;
  }
  template <class Place>
  Place place(auto function, auto... limit) {
    shm_queue_slot claimed{};
    return ok(function(native(), limit..., &claimed)) ? Place(native(), claimed) : Place();
  }

  using path = detail::inline_path<T>;
  std::unique_ptr<shm_queue, closer> handle_;
  path inline_;
  std::string name_;
  std::uint64_t capacity_ = 0;
  std::uint64_t tag_ = 0;
};

/// Bytes a queue of so many Ts takes in a segment; see segment_size().
template <element T>
[[nodiscard]] std::uint64_t queue_size(std::uint64_t capacity, bool single = false) {
  std::uint64_t bytes = 0;
  const auto native = detail::native<T>({.capacity = capacity, .single = single});
  detail::check(shm_queue_size(&native, &bytes));
  return bytes;
}

// ---- spans -----------------------------------------------------------------------------------------------------

/// A named raw region. Who writes what when is between its users.
class span {
 public:
  span() = default;

  /// Creates the region, all zero, or attaches to the one of that name if it is as long. `align` 0: a cache line.
  [[nodiscard]] static span create(const segment& in, std::string_view name, std::uint64_t bytes,
                                   std::uint32_t align = 0, bool exclusive = false) {
    return make(shm_span_create, in, name, bytes, align, exclusive ? SHM_EXCLUSIVE : 0u);
  }
  [[nodiscard]] static span open(const segment& in, std::string_view name) { return make(shm_span_open, in, name); }

  [[nodiscard]] std::byte* data() const noexcept { return as_span().data(); }
  [[nodiscard]] std::size_t size() const noexcept { return as_span().size(); }
  [[nodiscard]] bool empty() const noexcept { return as_span().empty(); }
  [[nodiscard]] std::byte& operator[](std::size_t i) const noexcept { return as_span()[i]; }  ///< unchecked
  [[nodiscard]] std::byte* begin() const noexcept { return data(); }
  [[nodiscard]] std::byte* end() const noexcept { return data() + size(); }
  [[nodiscard]] std::span<std::byte> as_span() const noexcept {
    return handle_ ? bytes_ : std::span<std::byte>();
  }
  /// The same, as every structure has it.
  [[nodiscard]] std::span<std::byte> bytes() noexcept { return as_span(); }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return as_span(); }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

  /// The C handle, still owned by this object; null if this is empty. So with all structures.
  [[nodiscard]] shm_span* native() const noexcept { return handle_.get(); }
  [[nodiscard]] explicit operator bool() const noexcept { return handle_ != nullptr; }

 private:
  static span make(auto function, const segment& in, std::string_view name, auto... shape) {
    shm_span* handle = nullptr;
    void* data = nullptr;
    std::size_t size = 0;
    span made;
    made.name_ = detail::c_name(name);
    detail::check(function(in.native(), made.name_.c_str(), shape..., &handle));
    made.handle_.reset(handle);
    detail::check(shm_span_data(handle, &data, &size));
    made.bytes_ = {static_cast<std::byte*>(data), size};
    return made;
  }

  std::unique_ptr<shm_span, detail::closer<shm_span_close>> handle_;
  std::string name_;
  std::span<std::byte> bytes_;
};

/// Bytes a span takes in a segment; see segment_size().
[[nodiscard]] inline std::uint64_t span_size(std::uint64_t bytes, std::uint32_t align = 0) {
  std::uint64_t taken = 0;
  detail::check(shm_span_size(bytes, align, &taken));
  return taken;
}

// ---- arrays ----------------------------------------------------------------------------------------------------

/// How an array is to be created, or what it is expected to be when opened.
struct array_options {
  std::uint64_t count = 0;  ///< elements; open: 0 takes any
  bool exclusive = false;   ///< create: refuse an array that exists
  std::uint64_t tag = 0;    ///< a number for the element's type, compared when opened; 0 takes any
};

using array_stats = shm_array_stats;  ///< count, sizes, writings completed

namespace detail {

template <element T>
shm_array_options native(const array_options& from) {
  shm_array_options to;
  check(shm_array_options_init(&to));
  to.flags = from.exclusive ? SHM_EXCLUSIVE : 0u;
  to.count = from.count;
  to.elem_size = sizeof(T);
  to.elem_align = alignof(T);
  to.type_tag = from.tag;
  return to;
}

}  // namespace detail

/// A writing that snapshots see whole or not at all; end() or the destructor completes it. If an exception takes it
/// away, or abandon(), the array is torn until somebody completes a writing: half of one is not shown as whole.
class array_writing {
 public:
  explicit array_writing(const shm_array* array) : array_(array) { detail::check(shm_array_begin_write(array)); }
  array_writing(array_writing&& other) noexcept
      : array_(std::exchange(other.array_, nullptr)), exceptions_(other.exceptions_) {}
  array_writing& operator=(array_writing&&) = delete;
  ~array_writing() {
    if (array_ == nullptr) return;
    if (std::uncaught_exceptions() > exceptions_) shm_array_abandon_write(array_);
    else shm_array_end_write(array_);
  }
  void end() { detail::check(shm_array_end_write(std::exchange(array_, nullptr))); }
  void abandon() { detail::check(shm_array_abandon_write(std::exchange(array_, nullptr))); }

 private:
  const shm_array* array_;
  int exceptions_ = std::uncaught_exceptions();  ///< under way when it began: those do not take it away
};

/// An array of fixed length in a segment. Elements are reached as those of a heap array are: plain loads and stores,
/// and who reads while another process writes gets whatever is there. get, set, load and store copy through atomics
/// of at most eight bytes; a `writing` and a `snapshot` together give copies of one moment.
///
/// It is a contiguous range, so what the standard library does with ranges, spans and iterators it does with an array:
///
///     std::reduce(a.begin(), a.end())                                         // the sum
///     std::ranges::minmax(a)
///     std::ranges::transform(a, a.begin(), [](double x) { return 2 * x; })    // scaled
///     std::inner_product(a.begin(), a.end(), b.begin(), 0.0)
template <element T>
class array {
 public:
  using value_type = T;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using reference = T&;
  using const_reference = const T&;
  using iterator = T*;
  using const_iterator = const T*;
  using reverse_iterator = std::reverse_iterator<iterator>;
  using const_reverse_iterator = std::reverse_iterator<const_iterator>;

  array() = default;

  /// Creates the array, all zero bytes, or attaches to the one of that name if it is the same in element and length.
  [[nodiscard]] static array create(const segment& in, std::string_view name, const array_options& options) {
    return make(shm_array_create, in, name, options);
  }
  /// Attaches to an array that exists; its element must be a T.
  [[nodiscard]] static array open(const segment& in, std::string_view name, const array_options& expected = {}) {
    return make(shm_array_open, in, name, expected);
  }

  // As a container. Of a read-only segment, for reading only.

  [[nodiscard]] std::span<T> as_span() const noexcept { return handle_ ? elements_ : std::span<T>(); }
  [[nodiscard]] T* data() const noexcept { return as_span().data(); }
  [[nodiscard]] std::size_t size() const noexcept { return as_span().size(); }
  [[nodiscard]] std::size_t max_size() const noexcept { return size(); }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  [[nodiscard]] T& operator[](std::size_t i) const noexcept { return elements_[i]; }  ///< unchecked
  /// Throws `status::invalid` when there is no such element.
  [[nodiscard]] T& at(std::size_t i) const {
    if (i < size()) return elements_[i];
    throw error(status::invalid, "array '" + name_ + "' has " + std::to_string(size()) + " elements; " +
                                     std::to_string(i) + " is not among them");
  }
  [[nodiscard]] T& front() const noexcept { return elements_.front(); }
  [[nodiscard]] T& back() const noexcept { return elements_.back(); }
  [[nodiscard]] iterator begin() const noexcept { return data(); }
  [[nodiscard]] iterator end() const noexcept { return data() + size(); }
  [[nodiscard]] const_iterator cbegin() const noexcept { return begin(); }
  [[nodiscard]] const_iterator cend() const noexcept { return end(); }
  [[nodiscard]] reverse_iterator rbegin() const noexcept { return reverse_iterator(end()); }
  [[nodiscard]] reverse_iterator rend() const noexcept { return reverse_iterator(begin()); }
  [[nodiscard]] const_reverse_iterator crbegin() const noexcept { return const_reverse_iterator(end()); }
  [[nodiscard]] const_reverse_iterator crend() const noexcept { return const_reverse_iterator(begin()); }

  // Beside writers and readers in other processes. All throw `status::invalid` beyond the end.

  [[nodiscard]] T get(std::size_t i) const {
    detail::room<T> room;
    detail::check(shm_array_get(native(), i, &room.value));
    return room.value;
  }
  void set(std::size_t i, const T& value) { detail::check(shm_array_set(native(), i, &value)); }
  void fill(const T& value) { detail::check(shm_array_fill(native(), &value)); }
  /// Copies out, from `start` on, as it is.
  void load(std::size_t start, std::span<T> out) const {
    if (!out.empty()) detail::check(shm_array_load(native(), start, out.size(), out.data()));
  }
  /// Copies in, from `start` on.
  void store(std::size_t start, std::span<const T> values) {
    if (!values.empty()) detail::check(shm_array_store(native(), start, values.size(), values.data()));
  }
  /// Until the result is gone, what set, store and fill change is one change for snapshots. One writer at a time:
  /// throws `status::busy` when somebody living writes.
  [[nodiscard]] array_writing write() { return array_writing(native()); }
  /// Copies out, from `start` on, all of one moment: `status::ok`; `status::torn` when a writer died in the middle
  /// or gave up, and nobody completed a writing since; `status::timeout` when writers left no gap.
  [[nodiscard]] status snapshot(std::size_t start, std::span<T> out, timeout limit = forever) const {
    if (out.empty()) return status::ok;
    return detail::check(shm_array_snapshot(native(), start, out.size(), out.data(), limit.nanoseconds()));
  }
  [[nodiscard]] array_stats stats() const {
    array_stats stats{};
    detail::check(shm_array_get_stats(native(), &stats));
    return stats;
  }
  /// All of its bytes, as docs/FORMAT.md has them; other processes may write to them at any time.
  [[nodiscard]] std::span<std::byte> bytes() { return detail::bytes_of(shm_array_span, native()); }
  [[nodiscard]] std::span<const std::byte> bytes() const { return detail::bytes_of(shm_array_span, native()); }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] shm_array* native() const noexcept { return handle_.get(); }
  [[nodiscard]] explicit operator bool() const noexcept { return handle_ != nullptr; }

 private:
  static array make(auto function, const segment& in, std::string_view name, const array_options& options) {
    const auto native = detail::native<T>(options);
    shm_array* handle = nullptr;
    void* data = nullptr;
    std::size_t count = 0, stride = 0;
    array made;
    made.name_ = detail::c_name(name);
    detail::check(function(in.native(), made.name_.c_str(), &native, &handle));
    made.handle_.reset(handle);
    detail::check(shm_array_data(handle, &data, &count, &stride));
    if (stride != sizeof(T)) {  // made with a larger alignment: not one T behind the other
      throw error(status::mismatch, "the elements of array '" + made.name_ + "' are " + std::to_string(stride) +
                                        " bytes apart, not " + std::to_string(sizeof(T)));
    }
    made.elements_ = {static_cast<T*>(data), count};
    return made;
  }

  std::unique_ptr<shm_array, detail::closer<shm_array_close>> handle_;
  std::string name_;
  std::span<T> elements_;
};

/// Bytes an array of so many Ts takes in a segment; see segment_size().
template <element T>
[[nodiscard]] std::uint64_t array_size(std::uint64_t count) {
  std::uint64_t bytes = 0;
  const auto native = detail::native<T>(array_options{.count = count});
  detail::check(shm_array_size(&native, &bytes));
  return bytes;
}

// ---- atomics ---------------------------------------------------------------------------------------------------

namespace detail {

/// The C type that stands for T; 0: there is none.
template <class T>
constexpr std::uint32_t atomic_type() {
  if (std::is_same_v<T, bool>) return SHM_ATOMIC_BOOL;
  if (std::is_same_v<T, float>) return SHM_ATOMIC_F32;
  if (std::is_same_v<T, double>) return SHM_ATOMIC_F64;
  if (!std::is_integral_v<T> || std::is_const_v<T> || std::is_volatile_v<T>) return 0;
  if (sizeof(T) == 4) return std::is_signed_v<T> ? SHM_ATOMIC_I32 : SHM_ATOMIC_U32;
  if (sizeof(T) == 8) return std::is_signed_v<T> ? SHM_ATOMIC_I64 : SHM_ATOMIC_U64;
  return 0;
}

}  // namespace detail

/// bool, integers of 4 or 8 bytes, float and double.
template <class T>
concept atomic_value = detail::atomic_type<T>() != 0;

/// A named atomic. Its operations are the machine's, inline; wait and notify reach other processes, which
/// std::atomic's do not. Who changes the value for waiters notifies.
template <atomic_value T>
class atomic {
  /// A bool is handled as its byte: a peer may have written one that no bool has. Any that is not zero is true.
  using word = std::conditional_t<std::is_same_v<T, bool>, std::uint8_t, T>;
  using order = std::memory_order;
  static constexpr order strict = std::memory_order_seq_cst;
  static constexpr bool floating = std::is_floating_point_v<T>;
  static constexpr bool integer = std::is_integral_v<T> && !std::is_same_v<T, bool>;

 public:
  using value_type = T;
  static constexpr bool is_always_lock_free = std::atomic_ref<word>::is_always_lock_free;

  atomic() = default;

  /// Creates the atomic, or attaches, whatever its value, to the one of that name if it has this type.
  [[nodiscard]] static atomic create(const segment& in, std::string_view name, T initial = {},
                                     bool exclusive = false) {
    return make(shm_atomic_create, in, name, to_c(initial), exclusive ? SHM_EXCLUSIVE : 0u);
  }
  [[nodiscard]] static atomic open(const segment& in, std::string_view name) { return make(shm_atomic_open, in, name); }

  [[nodiscard]] bool is_lock_free() const noexcept { return is_always_lock_free; }
  [[nodiscard]] T load(order o = strict) const { return value(readable().load(o)); }
  void store(T desired, order o = strict) { writable().store(static_cast<word>(desired), o); }
  T exchange(T desired, order o = strict) { return value(writable().exchange(static_cast<word>(desired), o)); }
  /// Compared bit by bit. If the value is another, `expected` becomes that. A weak one may fail for no reason. One order
  /// for both outcomes, or one for each.
  bool compare_exchange_weak(T& expected, T desired, order o = strict) { return compare<true>(expected, desired, o); }
  bool compare_exchange_weak(T& expected, T desired, order success, order failure) {
    return compare<true>(expected, desired, success, failure);
  }
  bool compare_exchange_strong(T& expected, T desired, order o = strict) {
    return compare<false>(expected, desired, o);
  }
  bool compare_exchange_strong(T& expected, T desired, order success, order failure) {
    return compare<false>(expected, desired, success, failure);
  }

  // All return the value before.

  T fetch_add(T n, order o = strict) requires(integer || floating) {
    if constexpr (integer) return writable().fetch_add(n, o);
    else return change([n](T old) { return old + n; }, o);
  }
  T fetch_sub(T n, order o = strict) requires(integer || floating) {
    if constexpr (integer) return writable().fetch_sub(n, o);
    else return change([n](T old) { return old - n; }, o);
  }
  T fetch_and(T n, order o = strict) requires(!floating) {
    if constexpr (integer) return writable().fetch_and(n, o);
    else return change([n](T old) { return old && n; }, o);
  }
  T fetch_or(T n, order o = strict) requires(!floating) {
    if constexpr (integer) return writable().fetch_or(n, o);
    else return change([n](T old) { return old || n; }, o);
  }
  T fetch_xor(T n, order o = strict) requires(!floating) {
    if constexpr (integer) return writable().fetch_xor(n, o);
    else return change([n](T old) { return old != n; }, o);
  }
  // What is not a number is passed over, as by std::fmin and std::fmax.
  T fetch_min(T n, order o = strict) requires(integer || floating) {
    return change([n](T old) { return n < old || is_nan(old) ? n : old; }, o);
  }
  T fetch_max(T n, order o = strict) requires(integer || floating) {
    return change([n](T old) { return old < n || is_nan(old) ? n : old; }, o);
  }

  // As a number. These return the value after, but for x++ and x--.

  T operator=(T desired) {  // NOLINT: as std::atomic's
    store(desired);
    return desired;
  }
  operator T() const { return load(); }  // NOLINT: implicit on purpose
  T operator++() requires integer { return *this += T(1); }
  T operator--() requires integer { return *this -= T(1); }
  T operator++(int) requires integer { return fetch_add(T(1)); }
  T operator--(int) requires integer { return fetch_sub(T(1)); }
  T operator+=(T n) requires(integer || floating) { return after(fetch_add(n), n, std::plus<>()); }
  T operator-=(T n) requires(integer || floating) { return after(fetch_sub(n), n, std::minus<>()); }
  T operator&=(T n) requires(!floating) { return static_cast<T>(fetch_and(n) & n); }
  T operator|=(T n) requires(!floating) { return static_cast<T>(fetch_or(n) | n); }
  T operator^=(T n) requires(!floating) { return static_cast<T>(fetch_xor(n) ^ n); }

  /// Waits until the value, compared bit by bit, is not `old`, and returns it; nothing if that was not in time.
  [[nodiscard]] std::optional<T> wait_for(T old, timeout limit) const {
    shm_atomic_value now{};
    const auto returned = shm_atomic_wait(native(), to_c(old), limit.nanoseconds(), &now);
    return detail::check(returned) == status::ok ? std::optional<T>(from_c(now)) : std::nullopt;
  }
  T wait(T old) const { return wait_for(old, forever).value(); }  // NOLINT: the value is an extra
  void notify_one() { detail::check(shm_atomic_notify_one(native())); }
  void notify_all() { detail::check(shm_atomic_notify_all(native())); }
  /// All of its bytes, as docs/FORMAT.md has them; other processes may write to them at any time.
  [[nodiscard]] std::span<std::byte> bytes() { return detail::bytes_of(shm_atomic_span, native()); }
  [[nodiscard]] std::span<const std::byte> bytes() const { return detail::bytes_of(shm_atomic_span, native()); }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] shm_atomic* native() const noexcept { return handle_.get(); }

 private:
  static atomic make(auto function, const segment& in, std::string_view name, auto... initial) {
    shm_atomic* handle = nullptr;
    void* address = nullptr;
    atomic made;
    made.name_ = detail::c_name(name);
    detail::check(function(in.native(), made.name_.c_str(), detail::atomic_type<T>(), initial..., &handle));
    made.handle_.reset(handle);
    detail::check(shm_atomic_pointer(handle, &address));
    made.word_ = static_cast<word*>(address);
    const auto allowed = shm_atomic_notify_one(handle);  // wakes nobody who does not look again
    made.writable_ = allowed != SHM_ERR_READ_ONLY && detail::check(allowed) == status::ok;
    return made;
  }
  static shm_atomic_value to_c(T value) noexcept {
    shm_atomic_value to{};
    std::memcpy(&to, &value, sizeof value);
    return to;
  }
  static T from_c(const shm_atomic_value& value) noexcept {
    T to;
    std::memcpy(&to, &value, sizeof to);
    return to;
  }
  template <bool Weak>
  bool compare(T& expected, T desired, auto... orders) {
    const auto place = writable();
    auto found = static_cast<word>(expected);
    for (;;) {
      const word tried = found;
      bool done;
      if constexpr (Weak) done = place.compare_exchange_weak(found, static_cast<word>(desired), orders...);
      else done = place.compare_exchange_strong(found, static_cast<word>(desired), orders...);
      if (done) return true;
      if constexpr (std::is_same_v<T, bool>) {  // a byte that no bool has may read as the one expected
        if (found != tried && value(found) == expected) continue;
      }
      expected = value(found);
      return false;
    }
  }
  static T value(word found) noexcept {
    if constexpr (std::is_same_v<T, bool>) return found != 0;
    else return found;
  }
  /// Integers wrap around at their limits.
  static T after(T old, T n, auto operation) noexcept {
    if constexpr (integer) {
      using bits = std::make_unsigned_t<T>;
      return static_cast<T>(operation(static_cast<bits>(old), static_cast<bits>(n)));
    } else {
      return operation(old, n);
    }
  }
  T change(auto to, order o) {
    const auto place = writable();
    word old = place.load(std::memory_order_relaxed);
    while (!place.compare_exchange_weak(old, static_cast<word>(to(value(old))), o, std::memory_order_relaxed)) {
    }
    return value(old);
  }
  static bool is_nan(T x) noexcept {
    if constexpr (floating) return x != x;
    else return false;
  }
  std::atomic_ref<word> readable() const {
    if (!handle_) [[unlikely]] throw error(status::invalid, "this atomic is empty");
    return std::atomic_ref<word>(*word_);
  }
  /// A store to read-only memory would be the end of the process.
  std::atomic_ref<word> writable() const {
    if (handle_ && !writable_) [[unlikely]] {
      throw error(status::read_only, "atomic '" + name_ + "' is in a segment that is attached read-only");
    }
    return readable();
  }

  std::unique_ptr<shm_atomic, detail::closer<shm_atomic_close>> handle_;
  std::string name_;
  word* word_ = nullptr;
  bool writable_ = false;
};

using atomic_bool = atomic<bool>;
using atomic_int = atomic<int>;
using atomic_uint = atomic<unsigned>;
using atomic_size_t = atomic<std::size_t>;
using atomic_int64_t = atomic<std::int64_t>;
using atomic_uint64_t = atomic<std::uint64_t>;

/// Bytes an atomic takes in a segment; see segment_size().
[[nodiscard]] inline std::uint64_t atomic_size() {
  std::uint64_t bytes = 0;
  detail::check(shm_atomic_size(&bytes));
  return bytes;
}

// ---- pools -----------------------------------------------------------------------------------------------------

/// How a pool is to be created, or what it is expected to be when opened.
struct pool_options {
  std::uint64_t capacity = 0;  ///< objects; open: 0 takes any
  bool exclusive = false;      ///< create: refuse a pool that exists
  std::uint64_t tag = 0;       ///< a number for the object's type, compared when opened; 0 takes any
};

using pool_stats = shm_pool_stats;  ///< capacity, allocated, available
using pool_handle = std::uint64_t;  ///< names an object, in every process; may be sent

namespace detail {

template <element T>
shm_pool_options native(const pool_options& from) {
  shm_pool_options to;
  check(shm_pool_options_init(&to));
  to.flags = from.exclusive ? SHM_EXCLUSIVE : 0u;
  to.capacity = from.capacity;
  to.elem_size = sizeof(T);
  to.elem_align = alignof(T);
  to.type_tag = from.tag;
  return to;
}

}  // namespace detail

/// The objects of a pool that somebody owns, by handle, as an input range. What is acquired or released while it is
/// walked may be missed. Valid as long as the pool object it came from.
class pool_range : public std::ranges::view_interface<pool_range> {
 public:
  class iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = pool_handle;
    using difference_type = std::ptrdiff_t;
    iterator() = default;
    explicit iterator(const shm_pool* pool) : pool_(pool) { ++*this; }
    [[nodiscard]] pool_handle operator*() const noexcept { return handle_; }
    iterator& operator++() {
      end_ = detail::check(shm_pool_next(pool_, &cursor_, &handle_)) != status::ok;
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const iterator& i, std::default_sentinel_t) noexcept { return i.end_; }

   private:
    const shm_pool* pool_ = nullptr;
    std::uint64_t cursor_ = 0;
    pool_handle handle_ = SHM_NO_OBJECT;
    bool end_ = true;
  };
  explicit pool_range(const shm_pool* pool = nullptr) noexcept : pool_(pool) {}
  [[nodiscard]] iterator begin() const { return iterator(pool_); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

 private:
  const shm_pool* pool_;
};

/// A pool of Ts in a segment. An object belongs to the participant that acquired it, until it is released or handed
/// over; those of a dead participant come back. A handle that was released is refused from then on, whoever has it.
template <element T>
class pool {
 public:
  using value_type = T;
  using handle = pool_handle;
  static constexpr handle invalid_handle = SHM_NO_OBJECT;

  pool() = default;

  /// Creates the pool, or attaches to the one of that name if it is the same in object and capacity.
  [[nodiscard]] static pool create(const segment& in, std::string_view name, const pool_options& options) {
    return make(shm_pool_create, in, name, options);
  }
  /// Attaches to a pool that exists; its object must be a T.
  [[nodiscard]] static pool open(const segment& in, std::string_view name, const pool_options& expected = {}) {
    return make(shm_pool_open, in, name, expected);
  }

  /// An object with whatever bytes lie there; nothing if there is none.
  [[nodiscard]] std::optional<handle> acquire() {
    handle acquired = invalid_handle;
    if (detail::check(shm_pool_acquire(native(), &acquired)) != status::ok) return {};
    return acquired;
  }
  /// An object made as T(args...) or T{args...}; nothing if there is none. If the constructor throws, it is free.
  template <class... Args>
  [[nodiscard]] std::optional<handle> acquire_construct(Args&&... args) {
    const auto acquired = acquire();
    if (!acquired) return {};
    try {
      detail::construct<T>(get(*acquired), std::forward<Args>(args)...);
    } catch (...) {
      shm_pool_release(native(), *acquired);
      throw;
    }
    return acquired;
  }
  /// Throws `status::invalid` for a handle that was released, that belongs to somebody else, or that never was.
  void release(handle h) { detail::check(shm_pool_release(native(), h)); }
  /// As many as there are; how many: the first so many of the span.
  [[nodiscard]] std::size_t acquire_batch(std::span<handle> handles) {
    std::size_t done = 0;
    if (!handles.empty()) detail::check(shm_pool_acquire_batch(native(), handles.data(), handles.size(), &done));
    return done;
  }
  /// Throws at the first that is refused; those before it are released.
  void release_batch(std::span<const handle> handles) {
    std::size_t done = 0;
    if (!handles.empty()) detail::check(shm_pool_release_batch(native(), handles.data(), handles.size(), &done));
  }

  /// The object, whoever owns it. Throws `status::invalid` for a handle that is stale or never was.
  [[nodiscard]] T* get(handle h) const {
    void* object = nullptr;
    detail::check(shm_pool_get(native(), h, &object));
    return static_cast<T*>(object);
  }
  [[nodiscard]] T& operator[](handle h) const { return *get(h); }
  [[nodiscard]] bool is_valid(handle h) const {
    bool valid = false;
    detail::check(shm_pool_is_valid(native(), h, &valid));
    return valid;
  }
  /// The participant that owns it.
  [[nodiscard]] std::uint32_t owner(handle h) const {
    std::uint32_t id = 0;
    detail::check(shm_pool_owner(native(), h, &id));
    return id;
  }
  /// Makes an object of ours one of that participant's. False if there is none, or it does not have the pool open.
  [[nodiscard]] bool hand_over(handle h, std::uint32_t to) {
    return detail::check_found(shm_pool_hand_over(native(), h, to));
  }
  /// Makes an object ours, whoever owned it: what the receiver of a handle does. Throws `status::invalid` if it was
  /// released meanwhile, or given back because its sender died.
  void adopt(handle h) { detail::check(shm_pool_adopt(native(), h)); }

  // As a whole. All but capacity() count, and are history at once while others work on the pool.

  [[nodiscard]] std::uint64_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::uint64_t allocated() const { return stats().allocated; }
  [[nodiscard]] std::uint64_t available() const { return stats().available; }
  [[nodiscard]] bool empty() const { return allocated() == 0; }  ///< nothing is acquired
  [[nodiscard]] bool full() const { return available() == 0; }   ///< nothing is free
  [[nodiscard]] pool_stats stats() const {
    pool_stats stats{};
    detail::check(shm_pool_get_stats(native(), &stats));
    return stats;
  }
  /// The objects that somebody owns: `for (auto h : pool.handles())`.
  [[nodiscard]] pool_range handles() const noexcept { return pool_range(native()); }
  /// All of its bytes, as docs/FORMAT.md has them; other processes may write to them at any time.
  [[nodiscard]] std::span<std::byte> bytes() { return detail::bytes_of(shm_pool_span, native()); }
  [[nodiscard]] std::span<const std::byte> bytes() const { return detail::bytes_of(shm_pool_span, native()); }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] shm_pool* native() const noexcept { return handle_.get(); }
  [[nodiscard]] explicit operator bool() const noexcept { return handle_ != nullptr; }

 private:
  static pool make(auto function, const segment& in, std::string_view name, const pool_options& options) {
    const auto native = detail::native<T>(options);
    shm_pool* opened = nullptr;
    pool made;
    made.name_ = detail::c_name(name);
    detail::check(function(in.native(), made.name_.c_str(), &native, &opened));
    made.handle_.reset(opened);
    made.capacity_ = made.stats().capacity;
    return made;
  }

  std::unique_ptr<shm_pool, detail::closer<shm_pool_close>> handle_;
  std::string name_;
  std::uint64_t capacity_ = 0;
};

/// Bytes a pool of so many Ts takes in a segment; see segment_size().
template <element T>
[[nodiscard]] std::uint64_t pool_size(std::uint64_t capacity) {
  std::uint64_t bytes = 0;
  const auto native = detail::native<T>(pool_options{.capacity = capacity});
  detail::check(shm_pool_size(&native, &bytes));
  return bytes;
}

// ---- rings -----------------------------------------------------------------------------------------------------

/// How a ring is to be created, or what it is expected to be when opened.
struct ring_options {
  std::uint64_t capacity = 0;       ///< elements, rounded up to a power of two; open: 0 takes any
  std::optional<bool> overwrite{};  ///< the writer overwrites what is old; left out: it waits; open: takes any
  bool exclusive = false;           ///< create: refuse a ring that exists
  std::uint32_t alignment = 0;      ///< of an element, if it is to be more than T's
  std::uint64_t tag = 0;            ///< a number for the element's type, compared when opened; 0 takes any
};

using ring_stats = shm_ring_stats;                ///< capacity, size, elements ever written, read and lost
using ring_reader_stats = shm_ring_reader_stats;  ///< position, elements read and lost, lag

/// Where a reader begins: at a position that another reader told, or at one of these.
namespace ring_start {
inline constexpr std::uint64_t oldest = SHM_RING_OLDEST;  ///< the oldest element that can be had
inline constexpr std::uint64_t newest = SHM_RING_NEWEST;  ///< the next one to be written
}  // namespace ring_start

namespace detail {

template <element T>
shm_ring_options native(const ring_options& from) {
  shm_ring_options to;
  check(shm_ring_options_init(&to));
  to.flags = (from.overwrite.value_or(false) ? SHM_OVERWRITE : 0u) | (from.exclusive ? SHM_EXCLUSIVE : 0u);
  to.capacity = from.capacity;
  to.elem_size = sizeof(T);
  to.elem_align = from.alignment < alignof(T) ? static_cast<std::uint32_t>(alignof(T)) : from.alignment;
  to.type_tag = from.tag;
  return to;
}

/// What functions that copy elements out say: how many.
std::size_t copied(auto values, auto function) {
  std::size_t done = 0;
  if (!values.empty()) check(function(values.data(), values.size(), &done));
  return done;
}

}  // namespace detail

/// A reader of a ring with a position of its own. The writer does not wait for it, in either manner; it learns
/// exactly how many elements it lost: each call that reads sets `*lost`, if given, to how many were overwritten
/// unread since the call before, and lost() is the sum. Of one thread at a time.
template <element T>
class ring_reader {
 public:
  using value_type = T;

  /// What a range-for over a reader goes through: the elements that are there, read one by one.
  class iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = T;
    using difference_type = std::ptrdiff_t;
    iterator() = default;
    explicit iterator(ring_reader* reader) : reader_(reader) { ++*this; }
    [[nodiscard]] const T& operator*() const noexcept { return *element_; }
    [[nodiscard]] const T* operator->() const noexcept { return &*element_; }
    iterator& operator++() {
      element_ = reader_->read();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const iterator& i, std::default_sentinel_t) noexcept { return !i.element_; }

   private:
    ring_reader* reader_ = nullptr;
    std::optional<T> element_;
  };

  ring_reader() = default;
  /// See ring<T>::reader().
  ring_reader(const shm_ring* of, std::uint64_t start) {
    shm_ring_reader* handle = nullptr;
    detail::check(shm_ring_reader_open(of, start, &handle));
    handle_.reset(handle);
  }

  /// The next element; nothing if there is none.
  [[nodiscard]] std::optional<T> read(std::uint64_t* lost = nullptr) { return take(shm_ring_reader_read, lost); }
  /// False, and `value` as it was, if there is none.
  [[nodiscard]] bool read(T& value, std::uint64_t* lost = nullptr) {
    const auto next = read(lost);
    if (next) value = *next;
    return next.has_value();
  }
  /// Waits for an element; nothing if none came in time. On a read-only segment it looks again from time to time.
  [[nodiscard]] std::optional<T> read_for(timeout limit, std::uint64_t* lost = nullptr) {
    return take(shm_ring_reader_read_wait, lost, limit.nanoseconds());
  }
  /// As many as there are; how many: the first so many of the span. What lies behind them there may have changed.
  [[nodiscard]] std::size_t read_bulk(std::span<T> values, std::uint64_t* lost = nullptr) {
    return bulk(shm_ring_reader_read, values, lost);
  }
  /// Waits until there is at least one, or the time is over.
  [[nodiscard]] std::size_t read_bulk_for(std::span<T> values, timeout limit, std::uint64_t* lost = nullptr) {
    return bulk(shm_ring_reader_read_wait, values, lost, limit.nanoseconds());
  }
  /// The elements there are, while they are read: `for (const auto& sample : reader)`. Against a writer who does not
  /// stop it may not end.
  [[nodiscard]] iterator begin() { return iterator(this); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  /// Copies elements that lie `offset` after the next; how many. The position does not change.
  [[nodiscard]] std::size_t peek(std::uint64_t offset, std::span<T> values) const {
    return detail::copied(values, [&](auto... out) { return shm_ring_reader_peek(native(), offset, out...); });
  }
  /// Passes over up to so many, as if they had been read; how many. What it finds lost counts in lost() alone.
  std::uint64_t skip(std::uint64_t count) {  // NOLINT: the number is an extra
    std::uint64_t skipped = 0;
    detail::check(shm_ring_reader_skip(native(), count, &skipped));
    return skipped;
  }
  /// Goes to a position, or to ring_start's; what lies between counts neither as read nor as lost. Throws
  /// `status::invalid` for a position that was not written yet.
  void seek(std::uint64_t position) { detail::check(shm_ring_reader_seek(native(), position)); }

  [[nodiscard]] std::uint64_t position() const { return stats().position; }  ///< how many were written before the next
  [[nodiscard]] std::uint64_t lost() const { return stats().lost; }          ///< overwritten before it came to them
  [[nodiscard]] std::uint64_t total_read() const { return stats().read; }    ///< read or skipped
  [[nodiscard]] std::uint64_t lag() const { return stats().lag; }            ///< how many it is behind the writer
  [[nodiscard]] ring_reader_stats stats() const {
    ring_reader_stats stats{};
    detail::check(shm_ring_reader_get_stats(native(), &stats));
    return stats;
  }
  /// How long this reader's waiting calls spin before they sleep.
  void spin(timeout time) { detail::check(shm_ring_reader_set_spin(native(), time.nanoseconds())); }

  /// The C handle, still owned by this object; null if this is empty.
  [[nodiscard]] shm_ring_reader* native() const noexcept { return handle_.get(); }
  [[nodiscard]] explicit operator bool() const noexcept { return handle_ != nullptr; }

 private:
  std::optional<T> take(auto function, std::uint64_t* lost, auto... limit) {
    detail::room<T> room;
    std::size_t done = 0;
    detail::check(function(native(), &room.value, 1, limit..., &done, lost));
    return done == 1 ? std::optional<T>(room.value) : std::nullopt;
  }
  std::size_t bulk(auto function, std::span<T> values, std::uint64_t* lost, auto... limit) {
    if (lost != nullptr) *lost = 0;
    return detail::copied(values, [&](T* out, std::size_t count, std::size_t* done) {
      return function(native(), out, count, limit..., done, lost);
    });
  }

  std::unique_ptr<shm_ring_reader, detail::closer<shm_ring_reader_close>> handle_;
};

/// A stream of Ts in a segment, with one writer. The destructor closes this handle; the ring stays. The first handle
/// that pushes becomes the writer, the first that pops or skips the consumer, until it is closed or its process dies;
/// others throw `status::busy`. Any number may look on (peek, last, stats) or follow with a reader(), also where the
/// segment is attached read-only. A ring is made in one of two manners: the writer waits for the consumer, or it
/// overwrites what is old. Then each call that pops sets `*lost`, if given, to how many elements were overwritten
/// before they could be taken, since the call before, and lost() is the sum.
template <element T>
class ring {
 public:
  using value_type = T;
  using reader_type = ring_reader<T>;

  ring() = default;

  /// Creates the ring, or attaches to the one of that name if it is the same in manner, element and capacity.
  [[nodiscard]] static ring create(const segment& in, std::string_view name, const ring_options& options) {
    return make(shm_ring_create, in, name, options);
  }
  /// Attaches to a ring that exists, whatever its manner; its element must be a T.
  [[nodiscard]] static ring open(const segment& in, std::string_view name, const ring_options& expected = {}) {
    auto found = expected;
    if (!found.overwrite) {
      const auto there = in.find(name);
      found.overwrite = there && (there->flags & SHM_OVERWRITE) != 0;
    }
    return make(shm_ring_open, in, name, found);
  }

  // The writer. A ring that overwrites always has room.

  /// False if there is no room.
  [[nodiscard]] bool push(const T& value) { return ok(shm_ring_push(native(), &value)); }
  /// Waits for room; false if none came in time.
  [[nodiscard]] bool push_for(const T& value, timeout limit) {
    return ok(shm_ring_push_wait(native(), &value, limit.nanoseconds()));
  }
  /// As many as there is room for, published at once; how many: the first so many of the span. Where the writer
  /// overwrites, all, a capacity's worth at a time.
  [[nodiscard]] std::size_t push_bulk(std::span<const T> values) {
    return detail::copied(values, [&](auto... in) { return shm_ring_push_bulk(native(), in...); });
  }
  /// Waits until all are in or the time is over; how many are in.
  [[nodiscard]] std::size_t push_bulk_for(std::span<const T> values, timeout limit) {
    return detail::copied(values, [&](const T* in, std::size_t count, std::size_t* done) {
      return shm_ring_push_bulk_wait(native(), in, count, limit.nanoseconds(), done);
    });
  }

  // The consumer.

  /// The oldest element there is; nothing if there is none.
  [[nodiscard]] std::optional<T> pop(std::uint64_t* lost = nullptr) { return take(shm_ring_pop, lost); }
  /// False, and `value` as it was, if there is none.
  [[nodiscard]] bool pop(T& value, std::uint64_t* lost = nullptr) {
    const auto oldest = pop(lost);
    if (oldest) value = *oldest;
    return oldest.has_value();
  }
  /// Waits for an element; nothing if none came in time.
  [[nodiscard]] std::optional<T> pop_for(timeout limit, std::uint64_t* lost = nullptr) {
    return take(shm_ring_pop_wait, lost, limit.nanoseconds());
  }
  /// As many as there are; how many: the first so many of the span. What lies behind them there may have changed.
  [[nodiscard]] std::size_t pop_bulk(std::span<T> values, std::uint64_t* lost = nullptr) {
    return bulk(shm_ring_pop_bulk, values, lost);
  }
  /// Waits until there is at least one, or the time is over.
  [[nodiscard]] std::size_t pop_bulk_for(std::span<T> values, timeout limit, std::uint64_t* lost = nullptr) {
    return bulk(shm_ring_pop_bulk_wait, values, lost, limit.nanoseconds());
  }
  /// Passes over up to so many, as if they had been popped; how many. What it finds lost counts in lost() alone.
  std::uint64_t skip(std::uint64_t count) {  // NOLINT: the number is an extra
    std::uint64_t skipped = 0;
    detail::check(shm_ring_skip(native(), count, &skipped));
    return skipped;
  }
  /// Passes over all there are; how many.
  std::uint64_t clear() { return skip(UINT64_MAX); }  // NOLINT: as skip

  // Those who look on.

  /// Copies elements that lie `offset` after the one popped next; how many. They stay where they are.
  [[nodiscard]] std::size_t peek(std::uint64_t offset, std::span<T> values) const {
    return detail::copied(values, [&](auto... out) { return shm_ring_peek(native(), offset, out...); });
  }
  /// Copies the newest, oldest first; how many: fewer when there are not as many, or a fast writer overwrites them.
  [[nodiscard]] std::size_t last(std::span<T> values) const {
    return detail::copied(values, [&](auto... out) { return shm_ring_last(native(), out...); });
  }
  /// A reader with a position of its own, for any thread: see ring_start. It keeps the ring open.
  [[nodiscard]] reader_type reader(std::uint64_t start = ring_start::oldest) const {
    return reader_type(native(), start);
  }

  // As a whole. While others work on the ring, size() and what follows from it is already history.

  [[nodiscard]] std::uint64_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::uint64_t size() const { return stats().size; }  ///< what the consumer would find
  [[nodiscard]] bool empty() const { return size() == 0; }
  [[nodiscard]] bool full() const { return available() == 0; }
  [[nodiscard]] std::uint64_t available() const { return capacity_ - size(); }  ///< until one has to wait, or to go
  [[nodiscard]] bool overwrites() const { return (stats().flags & SHM_OVERWRITE) != 0; }
  [[nodiscard]] std::uint64_t total_written() const { return stats().written; }
  [[nodiscard]] std::uint64_t total_read() const { return stats().read; }  ///< popped or skipped by the consumer
  [[nodiscard]] std::uint64_t lost() const { return stats().lost; }        ///< found overwritten by the consumer
  [[nodiscard]] ring_stats stats() const {
    ring_stats stats{};
    detail::check(shm_ring_get_stats(native(), &stats));
    return stats;
  }
  /// How long this handle's waiting calls spin before they sleep.
  void spin(timeout time) { detail::check(shm_ring_set_spin(native(), time.nanoseconds())); }
  /// All of its bytes, as docs/FORMAT.md has them; other processes may write to them at any time.
  [[nodiscard]] std::span<std::byte> bytes() { return detail::bytes_of(shm_ring_span, native()); }
  [[nodiscard]] std::span<const std::byte> bytes() const { return detail::bytes_of(shm_ring_span, native()); }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] std::uint64_t tag() const noexcept { return tag_; }  ///< as given to create or open

  /// The C handle, still owned by this object; null if this is empty.
  [[nodiscard]] shm_ring* native() const noexcept { return handle_.get(); }
  [[nodiscard]] explicit operator bool() const noexcept { return handle_ != nullptr; }

 private:
  static ring make(auto function, const segment& in, std::string_view name, const ring_options& options) {
    const auto native = detail::native<T>(options);
    shm_ring* opened = nullptr;
    ring made;
    made.name_ = detail::c_name(name);
    made.tag_ = options.tag;
    detail::check(function(in.native(), made.name_.c_str(), &native, &opened));
    made.handle_.reset(opened);
    made.capacity_ = made.stats().capacity;
    return made;
  }
  static bool ok(shm_status returned) { return detail::check(returned) == status::ok; }
  std::optional<T> take(auto function, std::uint64_t* lost, auto... limit) {
    detail::room<T> room;
    return ok(function(native(), &room.value, limit..., lost)) ? std::optional<T>(room.value) : std::nullopt;
  }
  std::size_t bulk(auto function, std::span<T> values, std::uint64_t* lost, auto... limit) {
    if (lost != nullptr) *lost = 0;
    return detail::copied(values, [&](T* out, std::size_t count, std::size_t* done) {
      return function(native(), out, count, limit..., done, lost);
    });
  }

  std::unique_ptr<shm_ring, detail::closer<shm_ring_close>> handle_;
  std::string name_;
  std::uint64_t capacity_ = 0;
  std::uint64_t tag_ = 0;
};

/// Bytes a ring of so many Ts takes in a segment; see segment_size().
template <element T>
[[nodiscard]] std::uint64_t ring_size(std::uint64_t capacity, std::uint32_t alignment = 0) {
  std::uint64_t bytes = 0;
  const auto native = detail::native<T>(ring_options{.capacity = capacity, .alignment = alignment});
  detail::check(shm_ring_size(&native, &bytes));
  return bytes;
}

// ---- byte queues -----------------------------------------------------------------------------------------------

/// How a byte queue is to be created, or what it is expected to be when opened.
struct byte_queue_options {
  std::uint64_t capacity = 0;  ///< bytes of the longest message, or of a stream's buffer; open: 0 takes any
  bool stream = false;         ///< bytes without borders instead of messages
  bool times = false;          ///< messages say when they were sent
  std::uint32_t align = 0;     ///< messages begin at multiples of it: 8, 16, 32 or 64; 0: 8. Of a stream, 0
  bool exclusive = false;      ///< create: refuse a byte queue that exists
  std::uint64_t tag = 0;       ///< a number for what is sent, compared when opened; 0 takes any
};

using byte_queue_stats = shm_byte_queue_stats;  ///< room, messages and bytes sent and received, full and empty hits

namespace detail {

inline shm_byte_queue_options native(const byte_queue_options& from) {
  shm_byte_queue_options to;
  check(shm_byte_queue_options_init(&to));
  to.flags = (from.stream ? SHM_STREAM : 0u) | (from.times ? SHM_TIMES : 0u) | (from.exclusive ? SHM_EXCLUSIVE : 0u);
  to.capacity = from.capacity;
  to.align = from.align;
  to.type_tag = from.tag;
  return to;
}

/// A byte queue's handle, and what of its ends is out. Each end is one thread's, so each flag has a line of its own.
struct byte_queue_ends {
  shm_byte_queue* handle = nullptr;
  alignas(64) bool reserved = false;
  alignas(64) bool held = false;
  byte_queue_ends() = default;
  byte_queue_ends(const byte_queue_ends&) = delete;
  byte_queue_ends& operator=(const byte_queue_ends&) = delete;
  ~byte_queue_ends() {
    if (handle != nullptr) shm_byte_queue_close(handle);
  }
};

}  // namespace detail

/// A message where it lies, with its sender's tag. A peer that keeps to the rules leaves it alone.
class byte_view {
 public:
  byte_view() = default;
  explicit byte_view(const shm_message& message) noexcept : message_(message) {}
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data(), size()}; }
  [[nodiscard]] std::string_view text() const noexcept { return {static_cast<const char*>(message_.data), size()}; }
  [[nodiscard]] const std::byte* data() const noexcept { return static_cast<const std::byte*>(message_.data); }
  [[nodiscard]] std::size_t size() const noexcept { return static_cast<std::size_t>(message_.length); }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  [[nodiscard]] std::uint64_t tag() const noexcept { return message_.tag; }
  /// When it was sent, by CLOCK_MONOTONIC (std::chrono::steady_clock); 0 where the queue has no times.
  [[nodiscard]] std::chrono::nanoseconds time() const noexcept {
    return std::chrono::nanoseconds(static_cast<std::int64_t>(message_.time_ns));
  }
  /// The message as a T, in place. Throws `status::invalid` if it has another size, or lies where no T can.
  template <element T>
  [[nodiscard]] const T& as() const {
    if (size() != sizeof(T) || reinterpret_cast<std::uintptr_t>(message_.data) % alignof(T) != 0) {
      throw error(status::invalid, "a message of " + std::to_string(size()) + " bytes is not a type of " +
                                       std::to_string(sizeof(T)) + " bytes aligned to " + std::to_string(alignof(T)));
    }
    return *static_cast<const T*>(message_.data);
  }

 private:
  shm_message message_{};
};

/// A message that was received. release() or the destructor gives it back; the next can be received only then.
class byte_message : public byte_view {
 public:
  byte_message(detail::byte_queue_ends* ends, const shm_message& message) noexcept : byte_view(message), ends_(ends) {
    ends->held = true;
  }
  byte_message(byte_message&& other) noexcept
      : byte_view(std::exchange(static_cast<byte_view&>(other), {})), ends_(std::exchange(other.ends_, nullptr)) {}
  byte_message& operator=(byte_message&& other) noexcept {
    byte_message taken(std::move(other));  // what we held is given back with it, now
    std::swap(ends_, taken.ends_);
    std::swap(static_cast<byte_view&>(*this), static_cast<byte_view&>(taken));
    return *this;
  }
  ~byte_message() { give_back(); }
  void release() noexcept { give_back(); }

 private:
  void give_back() noexcept {
    if (ends_ == nullptr) return;
    ends_->held = false;
    shm_byte_queue_release(std::exchange(ends_, nullptr)->handle);
    static_cast<byte_view&>(*this) = {};
  }
  detail::byte_queue_ends* ends_;
};

/// The messages that are there, as an input range; all are given back at once by the destructor.
class byte_messages {
 public:
  class iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = byte_view;
    using difference_type = std::ptrdiff_t;
    iterator() = default;
    explicit iterator(shm_byte_queue* queue) : queue_(queue) { ++*this; }
    [[nodiscard]] const byte_view& operator*() const noexcept { return view_; }
    [[nodiscard]] const byte_view* operator->() const noexcept { return &view_; }
    iterator& operator++() {
      shm_message next{};
      end_ = detail::check(shm_byte_queue_receive(queue_, &next)) != status::ok;
      view_ = byte_view(next);
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const iterator& i, std::default_sentinel_t) noexcept { return i.end_; }

   private:
    shm_byte_queue* queue_ = nullptr;
    byte_view view_{};
    bool end_ = true;
  };
  explicit byte_messages(detail::byte_queue_ends* ends) noexcept : ends_(ends) { ends->held = true; }
  byte_messages(byte_messages&& other) noexcept : ends_(std::exchange(other.ends_, nullptr)) {}
  byte_messages& operator=(byte_messages&&) = delete;
  ~byte_messages() {
    if (ends_ == nullptr) return;
    ends_->held = false;
    shm_byte_queue_release(ends_->handle);  // refused if nothing was received
  }
  /// Goes on behind the last one received.
  [[nodiscard]] iterator begin() { return ends_ != nullptr ? iterator(ends_->handle) : iterator(); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

 private:
  detail::byte_queue_ends* ends_;
};

/// Room reserved in a byte queue: fill it, then commit(). The destructor gives up what was not committed.
class byte_reservation {
 public:
  byte_reservation(detail::byte_queue_ends* ends, std::span<std::byte> room) noexcept : ends_(ends), room_(room) {
    ends->reserved = true;
  }
  byte_reservation(byte_reservation&& other) noexcept
      : ends_(std::exchange(other.ends_, nullptr)), room_(std::exchange(other.room_, {})) {}
  byte_reservation& operator=(byte_reservation&& other) noexcept {
    byte_reservation taken(std::move(other));  // what we had is given up with it, now
    std::swap(ends_, taken.ends_);
    std::swap(room_, taken.room_);
    return *this;
  }
  ~byte_reservation() { abort(); }
  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return room_; }
  [[nodiscard]] std::byte* data() const noexcept { return room_.data(); }
  [[nodiscard]] std::size_t size() const noexcept { return room_.size(); }
  /// Publishes the first `size` bytes, as a message with this tag; a stream has no tags. Throws `status::invalid`, and
  /// the room stays reserved, if fewer were.
  void commit(std::size_t size, std::uint64_t tag = 0) {
    detail::check(shm_byte_queue_commit(ends_ != nullptr ? ends_->handle : nullptr, size, tag));
    forget();
  }
  /// Publishes all of it.
  void commit() { commit(size()); }
  void abort() noexcept {
    if (ends_ == nullptr) return;
    shm_byte_queue_abort(ends_->handle);
    forget();
  }

 private:
  void forget() noexcept {
    std::exchange(ends_, nullptr)->reserved = false;
    room_ = {};
  }
  detail::byte_queue_ends* ends_;
  std::span<std::byte> room_;
};

/// A queue of bytes in a segment, from one producer to one consumer: messages of any length, or a stream without
/// borders. What is reserved, shown or received lies in one piece, always, up to the whole capacity.
///
///     if (auto room = queue.reserve(64)) room->commit(fill(room->bytes()), tag);
///     while (auto message = queue.receive()) use(message->bytes());
///     for (const auto& message : queue.receive_all()) use(message.as<order>());
///
/// The first object that sends is the producer, the first that receives the consumer, until it is gone or its process
/// died; others get `status::busy`. So does, at each end, who goes on while a reservation or a message is still held.
class byte_queue {
 public:
  using reservation = byte_reservation;
  using message = byte_message;

  byte_queue() = default;

  /// Creates the byte queue, or attaches to the one of that name if it is the same in manner and capacity.
  [[nodiscard]] static byte_queue create(const segment& in, std::string_view name, const byte_queue_options& options) {
    const auto native = detail::native(options);
    return make(shm_byte_queue_create, in, name, &native);
  }
  /// Attaches to a byte queue that exists, as it is.
  [[nodiscard]] static byte_queue open(const segment& in, std::string_view name) {
    return make(shm_byte_queue_open, in, name, nullptr);
  }
  /// Attaches to a byte queue that must be what is expected.
  [[nodiscard]] static byte_queue open(const segment& in, std::string_view name, const byte_queue_options& expected) {
    const auto native = detail::native(expected);
    return make(shm_byte_queue_open, in, name, &native);
  }

  // Sending. All throw `status::invalid` for what never fits.

  /// False if there is no room, or after the end.
  [[nodiscard]] bool send(std::span<const std::byte> message, std::uint64_t tag = 0) {
    return ok(shm_byte_queue_send(producer(), message.data(), message.size(), tag));
  }
  [[nodiscard]] bool send(std::string_view text, std::uint64_t tag = 0) {
    return ok(shm_byte_queue_send(producer(), text.data(), text.size(), tag));
  }
  /// Waits for room; false if none came in time, or after the end.
  [[nodiscard]] bool send_for(std::span<const std::byte> message, std::uint64_t tag, timeout limit) {
    return ok(shm_byte_queue_send_wait(producer(), message.data(), message.size(), tag, limit.nanoseconds()));
  }
  [[nodiscard]] bool send_for(std::string_view text, std::uint64_t tag, timeout limit) {
    return ok(shm_byte_queue_send_wait(producer(), text.data(), text.size(), tag, limit.nanoseconds()));
  }
  /// Room for a message of up to `size` bytes, or for so many of a stream; nothing if there is none, or after the end.
  [[nodiscard]] std::optional<reservation> reserve(std::size_t size) { return room(shm_byte_queue_reserve, size); }
  [[nodiscard]] std::optional<reservation> reserve_for(std::size_t size, timeout limit) {
    return room(shm_byte_queue_reserve_wait, size, limit.nanoseconds());
  }
  /// Constructs a message in its place, T(args...) or T{args...}. False if there is no room, or after the end. If T's
  /// constructor throws, there is no message. Throws `status::invalid` if messages are aligned to less than a T.
  template <element T, class... Args>
  [[nodiscard]] bool emplace(Args&&... args) {
    return emplace_tagged<T>(0, std::forward<Args>(args)...);
  }
  template <element T, class... Args>
  [[nodiscard]] bool emplace_tagged(std::uint64_t tag, Args&&... args) {
    if (handle() != nullptr && alignof(T) > align_) {
      throw error(status::invalid, "byte queue '" + name_ + "' aligns messages to " + std::to_string(align_) +
                                       ", not to " + std::to_string(alignof(T)));
    }
    auto reserved = reserve(sizeof(T));
    if (!reserved) return false;
    detail::construct<T>(reserved->data(), std::forward<Args>(args)...);
    reserved->commit(sizeof(T), tag);
    return true;
  }
  /// Says that nothing more will come. Only the producer can.
  void end() { detail::check(shm_byte_queue_end(producer())); }

  // Receiving. Nothing also after the end, once there is nothing left: ended() tells.

  [[nodiscard]] std::optional<message> receive() { return next(shm_byte_queue_receive); }
  [[nodiscard]] std::optional<message> receive_for(timeout limit) {
    return next(shm_byte_queue_receive_wait, limit.nanoseconds());
  }
  /// All messages that are there: `for (const auto& message : queue.receive_all())`.
  [[nodiscard]] byte_messages receive_all() {
    (void)consumer();
    if (ends_ == nullptr) throw error(status::invalid, "this byte queue is empty");
    return byte_messages(ends_.get());
  }
  struct copied {
    std::size_t size;
    std::uint64_t tag;
  };
  /// Copies the next message to the beginning of `buffer`. Throws `status::invalid`, and the message stays, if it is
  /// too long for that.
  [[nodiscard]] std::optional<copied> receive_into(std::span<std::byte> buffer) {
    std::uint64_t size = 0, tag = 0;
    if (!ok(shm_byte_queue_receive_into(consumer(), buffer.data(), buffer.size(), &size, &tag))) return {};
    return copied{static_cast<std::size_t>(size), tag};
  }

  // Receiving from a stream.

  /// All bytes there are, in one piece, if there are `least` (1 or more) at least.
  [[nodiscard]] std::optional<std::span<const std::byte>> peek(std::size_t least = 1) {
    return show(shm_byte_queue_peek, least);
  }
  [[nodiscard]] std::optional<std::span<const std::byte>> peek_for(std::size_t least, timeout limit) {
    return show(shm_byte_queue_peek_wait, least, limit.nanoseconds());
  }
  /// Gives the next so many bytes back. Throws `status::invalid` if fewer were shown.
  void consume(std::size_t size) { detail::check(shm_byte_queue_consume(consumer(), size)); }

  // As a whole. Others may be at work: but for capacity() and longest(), history at once.

  [[nodiscard]] std::uint64_t capacity() const noexcept { return capacity_; }  ///< bytes, message headers included
  [[nodiscard]] std::uint64_t longest() const noexcept { return longest_; }    ///< bytes of the longest message
  /// Bytes that wait, message headers included.
  [[nodiscard]] std::uint64_t used() const {
    std::uint64_t used = 0;
    detail::check(shm_byte_queue_available(handle(), &used, nullptr));
    return used;
  }
  /// The longest message, or stretch, for which there is room.
  [[nodiscard]] std::uint64_t available() const {
    std::uint64_t room = 0;
    detail::check(shm_byte_queue_available(handle(), nullptr, &room));
    return room;
  }
  [[nodiscard]] bool empty() const { return used() == 0; }
  [[nodiscard]] bool ended() const { return stats().ended != 0; }  ///< nothing comes after what there is
  [[nodiscard]] byte_queue_stats stats() const {
    byte_queue_stats stats{};
    detail::check(shm_byte_queue_get_stats(handle(), &stats));
    return stats;
  }
  /// How long this handle's waiting calls spin before they sleep.
  void set_spin(timeout time) { detail::check(shm_byte_queue_set_spin(handle(), time.nanoseconds())); }
  /// All of its bytes, as docs/FORMAT.md has them; other processes may write to them at any time.
  [[nodiscard]] std::span<std::byte> bytes() { return detail::bytes_of(shm_byte_queue_span, handle()); }
  [[nodiscard]] std::span<const std::byte> bytes() const { return detail::bytes_of(shm_byte_queue_span, handle()); }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] shm_byte_queue* native() const noexcept { return handle(); }
  [[nodiscard]] explicit operator bool() const noexcept { return ends_ != nullptr; }

 private:
  static byte_queue make(auto function, const segment& in, std::string_view name,
                         const shm_byte_queue_options* options) {
    byte_queue made;
    made.name_ = detail::c_name(name);
    auto ends = std::make_unique<detail::byte_queue_ends>();
    detail::check(function(in.native(), made.name_.c_str(), options, &ends->handle));
    made.ends_ = std::move(ends);
    const auto stats = made.stats();
    made.capacity_ = stats.capacity;
    made.longest_ = stats.longest;
    made.align_ = stats.align;
    return made;
  }
  static bool ok(shm_status returned) { return detail::check(returned) == status::ok; }
  shm_byte_queue* handle() const noexcept { return ends_ != nullptr ? ends_->handle : nullptr; }
  /// What is out is *the* next place, so nothing else of its end may run.
  shm_byte_queue* producer() const {
    if (ends_ != nullptr && ends_->reserved) throw error(status::busy, "a reservation" + still_held());
    return handle();
  }
  shm_byte_queue* consumer() const {
    if (ends_ != nullptr && ends_->held) throw error(status::busy, "a message" + still_held());
    return handle();
  }
  std::string still_held() const { return " of byte queue '" + name_ + "' is still held"; }
  std::optional<reservation> room(auto function, std::size_t size, auto... limit) {
    void* data = nullptr;
    if (!ok(function(producer(), size, limit..., &data))) return {};
    return std::optional<reservation>(std::in_place, ends_.get(), std::span(static_cast<std::byte*>(data), size));
  }
  std::optional<message> next(auto function, auto... limit) {
    shm_message received{};
    if (!ok(function(consumer(), limit..., &received))) return {};
    return std::optional<message>(std::in_place, ends_.get(), received);
  }
  std::optional<std::span<const std::byte>> show(auto function, std::size_t least, auto... limit) {
    const void* data = nullptr;
    std::uint64_t there = 0;
    if (!ok(function(consumer(), least, limit..., &data, &there))) return {};
    return std::span(static_cast<const std::byte*>(data), static_cast<std::size_t>(there));
  }

  std::unique_ptr<detail::byte_queue_ends> ends_;
  std::string name_;
  std::uint64_t capacity_ = 0;
  std::uint64_t longest_ = 0;
  std::uint32_t align_ = 0;
};

/// Bytes such a byte queue takes in a segment; see segment_size().
[[nodiscard]] inline std::uint64_t byte_queue_size(const byte_queue_options& options) {
  std::uint64_t bytes = 0;
  const auto native = detail::native(options);
  detail::check(shm_byte_queue_size(&native, &bytes));
  return bytes;
}

// ---- speculo ---------------------------------------------------------------------------------------------------

/// What time it is: nanoseconds. Must not throw: that would end the program.
using speculo_clock = std::function<std::uint64_t()>;

/// What an area is to be. What is left out is as the library has it.
struct speculo_options {
  std::optional<std::uint64_t> max_size{};        ///< bytes at most; 1 MiB
  std::optional<std::uint64_t> min_size{};        ///< bytes at first, and at least where there is room; 64 KiB
  std::optional<std::uint64_t> max_pinned{};      ///< bytes of former areas that readers may keep; no limit
  std::optional<std::uint32_t> mode{};            ///< permission bits, exact whatever the umask; 0600
  std::filesystem::path directory{};              ///< where it lies; where POSIX shared memory does
  std::optional<std::uint32_t> gc_threshold{};    ///< percent wasted before it is compacted although there is room; 50
  speculo_clock clock{};                          ///< speculo_area::now; readers need the same
  bool exclusive = false;                         ///< create: refuse an area that exists
  bool any_owner = false;                         ///< continue an area although another user owns it
};

/// How an area is to be read.
struct speculo_reader_options {
  std::filesystem::path directory{};  ///< where the area lies; where POSIX shared memory does
  speculo_clock clock{};              ///< the writer's, if it has one of its own
};

using speculo_stats = speculo_area_stats;           ///< room, valid chunks, what readers keep
using speculo_position = ::speculo_reader_stats;    ///< generation, version, received, skipped, lag

namespace detail {

/// Has C call a clock that stays where it is.
inline std::uint64_t call_clock(void* clock) noexcept { return (*static_cast<const speculo_clock*>(clock))(); }

inline std::unique_ptr<speculo_clock> own(const speculo_clock& clock) {
  return clock ? std::make_unique<speculo_clock>(clock) : nullptr;
}

/// A directory as C wants it: null for the usual one.
inline const char* c_directory(const std::filesystem::path& directory) {
  if (directory.native().find('\0') != std::string::npos) throw error(status::invalid, "the directory has a NUL inside");
  return directory.empty() ? nullptr : directory.c_str();
}

}  // namespace detail

/// A chunk that is allocated: fill it, then commit(). The destructor discards what was not committed. It must go before
/// its area, which has one at a time.
class speculo_draft {
 public:
  speculo_draft() = default;
  explicit speculo_draft(const ::speculo_chunk& chunk) noexcept : chunk_(chunk) {}
  speculo_draft(speculo_draft&& other) noexcept : chunk_(std::exchange(other.chunk_, {})) {}
  speculo_draft& operator=(speculo_draft&& other) noexcept {
    speculo_draft taken(std::move(other));  // what we held is discarded with it, now
    std::swap(chunk_, taken.chunk_);
    return *this;
  }
  ~speculo_draft() {
    if (*this) speculo_chunk_discard(&chunk_);
  }
  /// The contents, zero at first.
  [[nodiscard]] std::span<std::byte> bytes() const noexcept {
    return {static_cast<std::byte*>(chunk_.data), static_cast<std::size_t>(chunk_.data != nullptr ? chunk_.size : 0)};
  }
  [[nodiscard]] std::uint64_t id() const noexcept { return chunk_.id; }
  /// When it expires, in nanoseconds of the area's clock; 0: never.
  void expires(std::uint64_t when) { detail::check(speculo_chunk_set_expiration(&chunk_, when)); }
  /// Makes it visible, and its contents constant; how many chunks were committed up to this one.
  std::uint64_t commit() {  // NOLINT: the number is an extra
    detail::check(speculo_chunk_commit(&chunk_));
    return chunk_.version;
  }
  /// Gives it up now.
  void discard() { detail::check(speculo_chunk_discard(&chunk_)); }
  /// Whether there is a chunk to be committed.
  [[nodiscard]] explicit operator bool() const noexcept { return chunk_.data != nullptr; }

 private:
  ::speculo_chunk chunk_{};
};

/// The writer of an area of chunks that never change once they are committed. The destructor ends the writer; the area
/// stays, for readers and for the next writer. There is one living writer per area.
class speculo_area {
 public:
  speculo_area() = default;

  /// Makes the area, or continues the one that is there (unless `exclusive`).
  [[nodiscard]] static speculo_area create(std::string_view name, const speculo_options& options = {}) {
    auto made = prepared(name, options);
    detail::check(speculo_area_create(made.native()));
    return made;
  }
  /// Continues an area that is there.
  [[nodiscard]] static speculo_area open(std::string_view name, const speculo_options& options = {}) {
    auto made = prepared(name, options);
    detail::check(speculo_area_open(made.native()));
    return made;
  }
  /// Removes an area that nobody writes to. False if there was none.
  static bool unlink(std::string_view name, const speculo_options& options = {}) {
    return detail::check_found(speculo_area_unlink(prepared(name, options).native()));
  }
  /// The names of the areas that begin with a prefix, in alphabetical order; of the options, the directory counts.
  [[nodiscard]] static std::vector<std::string> list(std::string_view prefix, const speculo_options& options = {}) {
    const auto text = detail::c_name(prefix);
    const char* directory = detail::c_directory(options.directory);
    std::vector<::speculo_area_name> found;
    std::size_t count = 0;
    do {  // more may have come meanwhile
      found.resize(count);
      detail::check(speculo_area_list(text.c_str(), directory, found.data(), found.size(), &count));
    } while (count > found.size());
    std::vector<std::string> names;
    for (const auto& area : std::span(found).first(count)) names.emplace_back(area.name);
    return names;
  }
  /// Looks at the area of that name, whether or not somebody writes it; of the options, the directory counts.
  [[nodiscard]] static verified verify(std::string_view name, verify_when when = verify_when::live,
                                       const speculo_options& options = {}) {
    const auto text = detail::c_name(name);
    const char* directory = detail::c_directory(options.directory);
    const auto call = [&](auto... arguments) { return speculo_area_verify(text.c_str(), directory, arguments...); };
    return detail::verify(call, when);
  }
  /// Nanoseconds since the machine started, whatever time people set and in whatever time namespace: what areas without a clock of their own go by.
  [[nodiscard]] static std::uint64_t now() {
    std::uint64_t now = 0;
    detail::check(speculo_now(&now));
    return now;
  }

  /// A chunk of a new id; nothing if there is no room, and none can be made.
  [[nodiscard]] std::optional<speculo_draft> allocate(std::uint64_t size, std::uint64_t expires = 0) {
    return draft(speculo_chunk_allocate, 0, size, expires);
  }
  /// A chunk that takes the place of the valid chunk of an id when it is committed. Throws `status::not_found`.
  [[nodiscard]] std::optional<speculo_draft> update(std::uint64_t id, std::uint64_t size, std::uint64_t expires = 0) {
    return draft(speculo_chunk_update, id, size, expires);
  }
  /// Commits a chunk with a copy of these bytes; its id, or nothing if there is no room.
  std::optional<std::uint64_t> write(std::span<const std::byte> bytes, std::uint64_t expires = 0) {  // NOLINT
    std::uint64_t id = 0;
    const auto done = detail::check(speculo_area_write(native(), bytes.data(), bytes.size(), expires, &id));
    return done == status::ok ? std::optional(id) : std::nullopt;
  }
  /// Says that a chunk counts no more. False if there was no valid one of this id.
  bool obsolete(std::uint64_t id) {  // NOLINT
    return detail::check_found(speculo_area_obsolete(native(), id));
  }
  /// Moves what is valid to a new area now. False if nothing would be gained, or readers keep too much.
  bool collect() {  // NOLINT
    return detail::check(speculo_area_collect(native())) == status::ok;
  }
  [[nodiscard]] speculo_stats stats() const {
    speculo_stats stats{};
    detail::check(speculo_area_get_stats(native(), &stats));
    return stats;
  }
  /// Removes it, for everybody: readers keep what they have, and learn that it is closed. This is empty then.
  void unlink() {
    detail::check(speculo_area_unlink(native()));
    *this = {};
  }

  /// The C handle, still owned by this object; null if this is empty.
  [[nodiscard]] ::speculo_area* native() const noexcept { return handle_.get(); }
  [[nodiscard]] explicit operator bool() const noexcept { return handle_ != nullptr; }

 private:
  static speculo_area prepared(std::string_view name, const speculo_options& options) {
    ::speculo_area* handle = nullptr;
    const auto flags = (options.exclusive ? SHM_EXCLUSIVE : 0u) | (options.any_owner ? SHM_ANY_OWNER : 0u);
    detail::check(speculo_area_new(detail::c_name(name).c_str(), flags, &handle));
    speculo_area made;
    made.handle_.reset(handle);
    if (options.max_size) detail::check(speculo_area_set_max_size(handle, *options.max_size));
    if (options.min_size) detail::check(speculo_area_set_min_size(handle, *options.min_size));
    if (options.max_pinned) detail::check(speculo_area_set_max_pinned(handle, *options.max_pinned));
    if (options.mode) detail::check(speculo_area_set_mode(handle, *options.mode));
    if (options.gc_threshold) detail::check(speculo_area_set_gc_threshold(handle, *options.gc_threshold));
    const char* directory = detail::c_directory(options.directory);
    if (directory != nullptr) detail::check(speculo_area_set_directory(handle, directory));
    made.clock_ = detail::own(options.clock);
    if (made.clock_) detail::check(speculo_area_set_clock(handle, detail::call_clock, made.clock_.get()));
    return made;
  }
  std::optional<speculo_draft> draft(auto function, std::uint64_t id, std::uint64_t size, std::uint64_t expires) {
    ::speculo_chunk chunk;
    detail::check(speculo_chunk_init(&chunk, native()));
    chunk.id = id;
    chunk.expires = expires;
    void* data = nullptr;
    if (detail::check(function(&chunk, size, &data)) != status::ok) return std::nullopt;
    return std::optional<speculo_draft>(std::in_place, chunk);
  }

  std::unique_ptr<speculo_clock> clock_;  // goes after the handle, which calls it
  std::unique_ptr<::speculo_area, detail::closer<speculo_area_close>> handle_;
};

/// A chunk that was read: it does not change, and is there until the next call of its reader.
class speculo_chunk_view {
 public:
  speculo_chunk_view() = default;
  explicit speculo_chunk_view(const ::speculo_view& view) noexcept : view_(view) {}
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
    return {static_cast<const std::byte*>(view_.data), static_cast<std::size_t>(view_.size)};
  }
  /// A copy of the contents as a T. Throws `status::mismatch` when they have another size.
  template <element T>
  [[nodiscard]] T as() const {
    if (view_.size != sizeof(T)) {
      throw error(status::mismatch, "chunk " + std::to_string(view_.id) + " has " + std::to_string(view_.size) +
                                        " bytes, not " + std::to_string(sizeof(T)));
    }
    detail::room<T> room;
    std::memcpy(static_cast<void*>(&room.value), view_.data, sizeof(T));
    return room.value;
  }
  [[nodiscard]] std::uint64_t id() const noexcept { return view_.id; }            ///< an update has the same
  [[nodiscard]] std::uint64_t version() const noexcept { return view_.version; }  ///< chunks committed up to this one
  [[nodiscard]] std::uint64_t expires() const noexcept { return view_.expires; }  ///< 0: never

 private:
  ::speculo_view view_{};
};

/// A reader of an area: it needs permission to read only, and maps nothing that it could write to.
class speculo_reader {
 public:
  /// What a range-for over a reader goes through: the chunks that are valid now, oldest first. It stands beside next():
  /// where the reader is does not change.
  class iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = speculo_chunk_view;
    using difference_type = std::ptrdiff_t;
    iterator() = default;
    explicit iterator(speculo_reader* reader) : reader_(reader) { ++*this; }
    [[nodiscard]] const speculo_chunk_view& operator*() const noexcept { return *view_; }
    [[nodiscard]] const speculo_chunk_view* operator->() const noexcept { return &*view_; }
    iterator& operator++() {
      view_ = reader_->next_valid(view_ ? view_->version() : 0);
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const iterator& i, std::default_sentinel_t) noexcept { return !i.view_; }

   private:
    speculo_reader* reader_ = nullptr;
    std::optional<speculo_chunk_view> view_;
  };

  speculo_reader() = default;
  /// Begins at the oldest valid chunk.
  [[nodiscard]] static speculo_reader open(std::string_view name, const speculo_reader_options& options = {}) {
    ::speculo_reader* handle = nullptr;
    const char* directory = detail::c_directory(options.directory);
    detail::check(speculo_reader_open(detail::c_name(name).c_str(), directory, &handle));
    speculo_reader opened;
    opened.handle_.reset(handle);
    opened.clock_ = detail::own(options.clock);
    if (opened.clock_) detail::check(speculo_reader_set_clock(handle, detail::call_clock, opened.clock_.get()));
    return opened;
  }

  /// The next chunk that is valid now, after the last one; nothing if there is none, or the area was removed: closed().
  /// Of an id, no older chunk comes after a newer one, whichever function showed it; only seek() goes back.
  [[nodiscard]] std::optional<speculo_chunk_view> next() { return take(speculo_reader_next); }
  /// Waits for one, asleep; nothing if none came in time, or the area was removed.
  [[nodiscard]] std::optional<speculo_chunk_view> next_for(timeout limit) {
    return take(speculo_reader_next_wait, limit.nanoseconds());
  }
  /// Whether the last next() or next_for() found the area removed, and nothing left.
  [[nodiscard]] bool closed() const noexcept { return closed_; }
  /// The newest chunk of an id, if it is valid. Where the reader is does not change.
  [[nodiscard]] std::optional<speculo_chunk_view> get(std::uint64_t id) { return look(speculo_reader_get, id); }
  /// The first valid chunk of a greater version. Where the reader is does not change.
  [[nodiscard]] std::optional<speculo_chunk_view> next_valid(std::uint64_t version) {
    return look(speculo_reader_next_valid, version);
  }
  /// What is valid now: `for (const auto& chunk : reader)`. Each is there until the loop goes on.
  [[nodiscard]] iterator begin() { return iterator(this); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }
  /// Goes on after the chunk of that version; 0: begins again.
  void seek(std::uint64_t version) { detail::check(speculo_reader_seek(native(), version)); }
  [[nodiscard]] speculo_position stats() const {
    speculo_position stats{};
    detail::check(speculo_reader_get_stats(native(), &stats));
    return stats;
  }

  /// The C handle, still owned by this object; null if this is empty.
  [[nodiscard]] ::speculo_reader* native() const noexcept { return handle_.get(); }
  [[nodiscard]] explicit operator bool() const noexcept { return handle_ != nullptr; }

 private:
  std::optional<speculo_chunk_view> take(auto function, auto... limit) {
    ::speculo_view view;
    const auto done = detail::check(function(native(), limit..., &view));
    closed_ = done == status::closed;
    return done == status::ok ? std::optional<speculo_chunk_view>(std::in_place, view) : std::nullopt;
  }
  std::optional<speculo_chunk_view> look(auto function, std::uint64_t key) {
    ::speculo_view view;
    const auto done = detail::check(function(native(), key, &view));
    return done == status::ok ? std::optional<speculo_chunk_view>(std::in_place, view) : std::nullopt;
  }

  std::unique_ptr<speculo_clock> clock_;  // goes after the handle, which calls it
  std::unique_ptr<::speculo_reader, detail::closer<speculo_reader_close>> handle_;
  bool closed_ = false;
};

}  // namespace shmds

#endif
