//! A lock between the threads of one process that a fork cannot break.

use std::time::Duration;

use crate::os::process;
#[cfg(loom)]
use crate::sync::AtomicU32;
#[cfg(not(loom))]
use crate::sync::private::AtomicU32;
use crate::sync::{Ordering, PUBLISH};

/// Held by the process whose number is in it. In a forked child, a latch that some thread of the parent held is free: that
/// thread is not there. (A mutex would stay locked for ever.) Held for microseconds, but for what its users say.
#[derive(Debug)]
pub(crate) struct Latch(AtomicU32);

impl Latch {
    #[cfg(not(loom))]
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

    #[cfg(not(loom))]
    pub(crate) fn acquire(&self) {
        self.acquire_within(Duration::MAX);
    }

    /// Waits no longer than `limit`; true when acquired.
    #[cfg(not(loom))]
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
        self.0.store(0, PUBLISH);
    }

    #[cfg(not(loom))]
    pub(crate) fn with<T>(&self, action: impl FnOnce() -> T) -> T {
        self.acquire();
        let result = action();
        self.release();
        result
    }
}

#[cfg(all(test, not(loom)))]
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

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::explore;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    struct Model {
        latch: Latch,
        kept: UnsafeCell<u64>,
    }

    // SAFETY: loom's cell reports whatever is shared wrongly.
    unsafe impl Sync for Model {}
    // SAFETY: as above.
    unsafe impl Send for Model {}

    fn try_once(model: &Model) -> u64 {
        if !model.latch.try_acquire() {
            return 0;
        }
        // SAFETY: the latch is held.
        model.kept.with_mut(|kept| unsafe { *kept += 1 });
        model.latch.release();
        1
    }

    #[test]
    fn loom_one_thread_gets_a_latch_that_a_parent_held() {
        explore(|| {
            // As a child of a fork finds it.
            let parent = process::pid() - 1;
            let model = Arc::new(Model { latch: Latch(AtomicU32::new(parent)), kept: UnsafeCell::new(0) });
            let other = {
                let model = model.clone();
                loom::thread::spawn(move || try_once(&model))
            };
            let got = try_once(&model) + other.join().unwrap();
            assert!(got > 0 && model.latch.try_acquire());
            // SAFETY: the latch is held, and the other thread gone.
            assert_eq!(model.kept.with(|kept| unsafe { *kept }), got);
        });
    }
}
