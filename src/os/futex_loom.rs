//! The futex as the model checker sees it: a queue of sleepers behind a lock, as in the kernel. A wake-up that is never
//! sent leaves a thread asleep for ever, which loom reports as a deadlock.

use loom::sync::{Condvar, Mutex};

use crate::sync::{AtomicU32, Ordering};

loom::lazy_static! {
    static ref SLEEPERS: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());
}

pub(crate) fn wait(word: &AtomicU32, expected: u32, _deadline: u64) {
    let (lock, sleepers) = &*SLEEPERS;
    let guard = lock.lock().unwrap();
    if word.load(Ordering::Acquire) == expected {
        drop(sleepers.wait(guard).unwrap());
    }
}

pub(crate) fn wake_all(_word: &AtomicU32) {
    let (lock, sleepers) = &*SLEEPERS;
    let _guard = lock.lock().unwrap();
    sleepers.notify_all();
}
