//! Dying after the n-th store: what shared memory looks like at every instant at which a death can be told from another.
//!
//! Here, only with `--cfg kill_points`, the atomics are the core ones in wrappers of the same layout that count every change they make to
//! memory. What they do not change is nothing that others could see, so a failed compare-exchange is no point to die at.

use core::sync::atomic::{self, Ordering};

use super::private;
use crate::os::process;

/// How many changes there were since [`arm`] was called.
static STORES: private::AtomicU64 = private::AtomicU64::new(0);
/// Which of them is the last; 0: none.
static LAST: private::AtomicU64 = private::AtomicU64::new(0);

/// From now on, this process dies right after its `last` change of shared memory, counted from 1.
pub fn arm(last: u64) {
    STORES.store(0, Ordering::Relaxed);
    LAST.store(last, Ordering::Relaxed);
}

/// From now on, this process lives. Returns how many changes there were since it was armed.
pub fn disarm() -> u64 {
    LAST.store(0, Ordering::Relaxed);
    STORES.load(Ordering::Relaxed)
}

/// Counts a change, and may not return.
pub(super) fn stored() {
    let nth = STORES.fetch_add(1, Ordering::SeqCst) + 1;
    if nth == LAST.load(Ordering::Relaxed) {
        process::die();
    }
}

/// Says afterwards that it happened.
fn after<T>(outcome: T) -> T {
    stored();
    outcome
}

macro_rules! counted {
    ($($name:ident: $value:ty),*) => {$(
        #[derive(Debug)]
        #[repr(transparent)]
        pub(crate) struct $name(atomic::$name);

        #[allow(dead_code, reason = "not every width uses every operation")]
        impl $name {
            pub(crate) const fn new(value: $value) -> Self {
                Self(atomic::$name::new(value))
            }

            #[inline]
            pub(crate) fn load(&self, order: Ordering) -> $value {
                self.0.load(order)
            }

            pub(crate) fn store(&self, value: $value, order: Ordering) {
                after(self.0.store(value, order));
            }

            pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                after(self.0.swap(value, order))
            }

            pub(crate) fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.0.compare_exchange(current, new, success, failure).map(after)
            }

            pub(crate) fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.0.compare_exchange_weak(current, new, success, failure).map(after)
            }

            counted!(@fetch $value: fetch_add fetch_sub fetch_and fetch_or fetch_xor);
        }
    )*};
    (@fetch $value:ty: $($operation:ident)*) => {$(
        pub(crate) fn $operation(&self, operand: $value, order: Ordering) -> $value {
            after(self.0.$operation(operand, order))
        }
    )*};
}

counted!(AtomicU8: u8, AtomicU32: u32, AtomicU64: u64);
