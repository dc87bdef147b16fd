//! Waiting for a condition across processes, without a cost to those who make it true while nobody sleeps.
//!
//! An event count is the futex word `sequence` and the flag `waiters`:
//!
//! ```text
//! waker                                sleeper
//!   make the condition true              key = sequence           (1)
//!   light fence                          waiters |= ASLEEP        (2)
//!   waiters == 0 ?  → done               heavy fence
//!   waiters = 0                          condition true? → done
//!   sequence += 1                        sleep while sequence == key
//!   wake all
//! ```
//!
//! **No wake-up is lost.** Either the waker's look at `waiters` comes after (2), and it wakes; or it comes before, and
//! then the fences (Dekker's pattern: each side stores, fences, looks) make the sleeper see the condition. A sleeper
//! between (1) and its sleep finds `sequence` changed and does not sleep. A waker clears the flag *before* it moves
//! `sequence`; a sleeper whose (2) fell before that clearing read its key before the move, so it wakes and comes again.
//!
//! **The fence is paid by the sleeper** (`os::barrier`). `waiters` has a second bit, FENCE, set for good by a sleeper
//! that cannot reach the others' processors: wakers then take the slow path and fence themselves. A waker that cannot be
//! reached fences always.
//!
//! **Death.** `waiters` is a flag, not a count: a dead sleeper costs the next waker one system call, once. A waker that
//! dies between making the condition true and waking leaves sleepers asleep; so callers sleep in bounded slices
//! ([`SLICE`]) and look again.
//!
//! Everybody asleep is woken, not just one: a single wake-up could go to a sleeper that dies before it acts on it.
//!
//! Source: the event counts of Reed and Kanodia (1979), in the form common since Vyukov's.

#[cfg(not(loom))]
use std::time::Duration;

use crate::os::{barrier, futex, process};
#[cfg(not(loom))]
use crate::sync::spin;
use crate::sync::{AtomicU32, Ordering, light_fence};

const ASLEEP: u32 = 1;
const FENCE: u32 = 2;

/// The longest anybody sleeps without looking again: a bound on what a death at the worst instruction can cost.
pub(crate) const SLICE: u64 = 20_000_000;

/// The same where wake-ups cannot be relied on, because no fence reaches the waker.
const SLICE_WITHOUT_FENCE: u64 = 5_000_000;

/// How long waiting calls spin before they sleep, in nanoseconds, unless told otherwise.
#[cfg(not(loom))]
pub(crate) const SPIN: u64 = 20_000;

/// How often those look again who may not leave word that they sleep.
#[cfg(not(loom))]
const POLL: Duration = Duration::from_micros(200);

/// See the module's documentation. Eight bytes of shared memory; zero is its initial state.
#[repr(C)]
pub(crate) struct EventCount {
    sequence: AtomicU32,
    waiters: AtomicU32,
}

// SAFETY: two atomics.
unsafe impl super::Shared for EventCount {}

impl EventCount {
    #[cfg(any(test, loom))]
    pub(crate) fn new() -> Self {
        Self { sequence: AtomicU32::new(0), waiters: AtomicU32::new(0) }
    }

    /// Whether somebody may be asleep. What a waker does after each change of the condition.
    #[inline(always)]
    pub(crate) fn has_waiters(&self) -> bool {
        light_fence();
        self.waiters.load(Ordering::Relaxed) != 0
    }

    /// Nonzero while somebody may be asleep, for code outside of this library that looks by itself.
    #[cfg(not(loom))]
    pub(crate) fn waiters(&self) -> *const AtomicU32 {
        &raw const self.waiters
    }

    /// What `waiters` says, if that means nothing. A sleeper that gave up leaves its flag behind, so a flag alone is no sign of anything.
    #[cfg(not(loom))]
    pub(crate) fn nonsense(&self) -> Option<u32> {
        Some(self.waiters.load(Ordering::Relaxed)).filter(|waiters| waiters & !(ASLEEP | FENCE) != 0)
    }

    /// Wakes whoever sleeps, if anybody does. `fenced`: membarrier does not reach this process.
    #[inline(always)]
    pub(crate) fn notify(&self, fenced: bool) {
        if self.has_waiters() || fenced {
            self.notify_slow();
        }
    }

    /// Wakes whoever sleeps, with a fence of its own.
    #[cold]
    pub(crate) fn notify_slow(&self) {
        crate::sync::fence(Ordering::SeqCst);
        if self.waiters.load(Ordering::Relaxed) & ASLEEP == 0 {
            return;
        }
        self.waiters.fetch_and(!ASLEEP, Ordering::AcqRel);
        self.sequence.fetch_add(1, Ordering::AcqRel);
        futex::wake_all(&self.sequence);
    }

    /// Repeats `attempt` until it yields something, or for `timeout`: spinning for `spin` nanoseconds, and then asleep. A `timeout`
    /// of zero tries once. `slice` bounds one sleep (see [`SLICE`]).
    #[cfg(not(loom))]
    pub(crate) fn wait<T>(
        &self,
        timeout: Duration,
        spin: u64,
        slice: impl Fn() -> u64,
        mut attempt: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        spin_for(timeout, spin, &mut attempt).unwrap_or_else(|deadline| self.sleep_until(deadline, slice, attempt))
    }

    /// Sleeps until `condition` yields something, or until `deadline`; the caller has looked before and found nothing.
    /// `slice` bounds one sleep (see [`SLICE`]).
    pub(crate) fn sleep_until<T>(
        &self,
        deadline: u64,
        slice: impl Fn() -> u64,
        mut condition: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        loop {
            let key = self.sequence.load(Ordering::Acquire);
            self.waiters.fetch_or(ASLEEP, Ordering::AcqRel);
            let reached = barrier::heavy();
            if let Some(value) = condition() {
                return Some(value);
            }
            let now = process::now();
            if now >= deadline {
                return None;
            }
            let slice = if reached {
                slice()
            } else {
                self.waiters.fetch_or(FENCE, Ordering::AcqRel);
                slice().min(SLICE_WITHOUT_FENCE)
            };
            futex::wait(&self.sequence, key, deadline.min(now.saturating_add(slice)));
        }
    }
}

/// As [`EventCount::wait`], for those who may not leave word that they sleep: they look again from time to time.
#[cfg(not(loom))]
pub(crate) fn poll<T>(timeout: Duration, spin: u64, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    spin_for(timeout, spin, &mut attempt).unwrap_or_else(|deadline| {
        loop {
            let left = deadline.saturating_sub(process::now());
            process::sleep(POLL.min(Duration::from_nanos(left)));
            let outcome = attempt();
            if outcome.is_some() || left == 0 {
                return outcome;
            }
        }
    })
}

/// The outcome, or the deadline of those who go on to sleep.
#[cfg(not(loom))]
fn spin_for<T>(timeout: Duration, limit: u64, attempt: &mut impl FnMut() -> Option<T>) -> Result<Option<T>, u64> {
    let first = attempt();
    if first.is_some() || timeout.is_zero() {
        return Ok(first);
    }
    let deadline = process::deadline(timeout);
    let spin_until = deadline.min(process::now().saturating_add(limit));
    while process::now() < spin_until {
        for _ in 0..16 {
            spin();
            let outcome = attempt();
            if outcome.is_some() {
                return Ok(outcome);
            }
        }
    }
    Err(deadline)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn sleeper_is_woken_by_a_change() {
        let event = EventCount::new();
        let value = AtomicU32::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(5));
                value.store(7, Ordering::Release);
                event.notify(false);
            });
            let deadline = process::deadline(Duration::from_secs(10));
            let seen =
                event.sleep_until(deadline, || SLICE, || Some(value.load(Ordering::Acquire)).filter(|v| *v == 7));
            assert_eq!(seen, Some(7));
        });
    }

    #[test]
    fn sleep_ends_at_the_deadline() {
        let event = EventCount::new();
        let start = process::now();
        let deadline = process::deadline(Duration::from_millis(20));
        assert_eq!(event.sleep_until(deadline, || SLICE, || None::<()>), None);
        assert!(process::now() - start >= 20_000_000);
    }

    #[test]
    fn flag_of_a_dead_sleeper_is_cleared_by_the_first_waker() {
        let event = EventCount::new();
        event.waiters.store(ASLEEP, Ordering::Relaxed);
        assert!(event.has_waiters());
        event.notify(false);
        assert!(!event.has_waiters());
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::explore;
    use loom::sync::Arc;

    fn wakes(sleepers: usize) {
        explore(move || {
            let shared = Arc::new((EventCount::new(), AtomicU32::new(0)));
            let threads: Vec<_> = (0..sleepers)
                .map(|_| {
                    let shared = shared.clone();
                    loom::thread::spawn(move || {
                        let (event, value) = &*shared;
                        event.sleep_until(u64::MAX, || SLICE, || (value.load(Ordering::Relaxed) == 1).then_some(()))
                    })
                })
                .collect();
            let (event, value) = &*shared;
            value.store(1, Ordering::Relaxed);
            event.notify(false);
            for thread in threads {
                assert_eq!(thread.join().unwrap(), Some(()));
            }
        });
    }

    #[test]
    fn loom_no_wake_up_is_lost() {
        wakes(1);
    }

    #[test]
    fn loom_no_wake_up_is_lost_by_two_sleepers() {
        wakes(2);
    }
}
