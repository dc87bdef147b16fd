//! The expensive half of an asymmetric fence.
//!
//! A waker stores its data and then looks whether anybody sleeps. Without a fence between the two, the look may come
//! first and a wake-up is lost. Wakers run millions of times a second and sleepers seldom, so the sleeper pays:
//! `membarrier(GLOBAL_EXPEDITED)` makes every processor that runs a registered process execute a full fence, now.
//!
//! A process that cannot register (old kernel, seccomp) uses a real fence in its wakers; one that cannot call it asks
//! all wakers for theirs through the flag in the event count. See `shared/event_count.rs`.

use crate::sync::{Ordering, fence};

#[cfg(not(loom))]
fn call(command: libc::c_int) -> bool {
    // SAFETY: membarrier takes no pointers.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

/// Registers this process, once, to be reached by other processes' [`heavy`]. False where that cannot be had.
/// Registration belongs to the address space: a forked child inherits it.
#[cfg(not(loom))]
pub(crate) fn register() -> bool {
    use crate::sync::private::AtomicU32;
    const UNKNOWN: u32 = 0;
    const YES: u32 = 1;
    const NO: u32 = 2;
    // Registering twice does no harm; a `Once` could be inherited half-done by a forked child.
    static REGISTERED: AtomicU32 = AtomicU32::new(UNKNOWN);
    if REGISTERED.load(Ordering::Relaxed) == UNKNOWN {
        let done = call(libc::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED);
        REGISTERED.store(if done { YES } else { NO }, Ordering::Relaxed);
    }
    REGISTERED.load(Ordering::Relaxed) == YES
}

/// A full fence here and on every processor that runs a registered process. False where only the local half was done.
#[cfg(not(loom))]
pub(crate) fn heavy() -> bool {
    fence(Ordering::SeqCst);
    call(libc::MEMBARRIER_CMD_GLOBAL_EXPEDITED)
}

#[cfg(loom)]
pub(crate) fn heavy() -> bool {
    fence(Ordering::SeqCst);
    true
}
