//! A lock between the threads of one process that a fork cannot break.

use std::time::Duration;

use crate::os::process;
use crate::sync::Ordering;
use crate::sync::private::AtomicU32;

/// Held by the process whose number is in it. In a forked child, a latch that some thread of the parent held is free: that
/// thread is not there. (A mutex would stay locked for ever.) Held for microseconds, but for what its users say.
#[derive(Debug)]
pub(crate) struct Latch(AtomicU32);

impl Latch {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    pub(crate) fn try_acquire(&self) -> bool {
        let me = process::pid();
        let take = |from| self.0.compare_exchange(from, me, Ordering::Acquire, Ordering::Relaxed);
        match take(0) {
            Ok(_) => true,
            Err(holder) => holder != me && take(holder).is_ok(),
        }
    }

    pub(crate) fn acquire(&self) {
        self.acquire_within(Duration::MAX);
    }

    /// Waits no longer than `limit`; true when acquired.
    pub(crate) fn acquire_within(&self, limit: Duration) -> bool {
        let deadline = process::deadline(limit);
        let mut tries = 0_u32;
        while !self.try_acquire() {
            tries += 1;
            if tries < 100 {
                std::thread::yield_now();
            } else if process::now() < deadline {
                // A holder of lower priority must get its turn.
                process::sleep(Duration::from_micros(50));
            } else {
                return false;
            }
        }
        true
    }

    pub(crate) fn release(&self) {
        self.0.store(0, Ordering::Release);
    }

    pub(crate) fn with<T>(&self, action: impl FnOnce() -> T) -> T {
        self.acquire();
        let result = action();
        self.release();
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_by_one_thread_at_a_time_and_by_no_other_process() {
        let latch = Latch::new();
        assert!(latch.try_acquire() && !latch.try_acquire());
        latch.release();
        latch.0.store(process::pid() + 1, Ordering::Relaxed);
        assert!(latch.try_acquire(), "as inherited from a parent");
    }
}
