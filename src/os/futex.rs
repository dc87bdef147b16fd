//! Sleeping on a 32-bit word of shared memory.
//!
//! Without `FUTEX_PRIVATE_FLAG`: the kernel finds the word by its page, so every process that maps it can wake every
//! other. `std::thread::park` and most wait crates use the private form and never wake another process.

use crate::sync::AtomicU32;

/// Sleeps while `word` holds `expected`, until woken or until `deadline` (nanoseconds of
/// [`process::now`](super::process::now), `u64::MAX`: no limit). May return early for no reason; callers look again.
pub(crate) fn wait(word: &AtomicU32, expected: u32, deadline: u64) {
    let at = libc::timespec {
        tv_sec: (deadline / 1_000_000_000) as libc::time_t,
        tv_nsec: (deadline % 1_000_000_000) as libc::c_long,
    };
    let timeout: *const libc::timespec = if deadline == u64::MAX { std::ptr::null() } else { &at };
    // SAFETY: the word is mapped for as long as the reference lives; the kernel only reads it. FUTEX_WAIT_BITSET takes
    // an absolute CLOCK_MONOTONIC time. Errors (EAGAIN, EINTR, ETIMEDOUT) all mean: look again.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            std::ptr::from_ref(word),
            libc::FUTEX_WAIT_BITSET,
            expected,
            timeout,
            std::ptr::null::<u32>(),
            libc::FUTEX_BITSET_MATCH_ANY,
        );
    }
}

/// Wakes everybody who sleeps on `word`, in whatever process.
pub(crate) fn wake_all(word: &AtomicU32) {
    // SAFETY: FUTEX_WAKE uses the address only to find the sleepers.
    unsafe {
        libc::syscall(libc::SYS_futex, std::ptr::from_ref(word), libc::FUTEX_WAKE, i32::MAX);
    }
}
