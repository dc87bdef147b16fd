//! The one place of a producer, a consumer or a writer, and who has it.

use super::Shared;
use crate::sync::{AtomicU64, CLAIM, Ordering};

/// An end of a structure: held by one handle of one participant at a time. Eight bytes of shared memory: number of the
/// handle << 16 | participant id; 0 when nobody has it.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct End(AtomicU64);

// SAFETY: an atomic.
unsafe impl Shared for End {}

/// Who wants an end, or has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder(u64);

impl Holder {
    /// Handle `number` of participant `me`. Handles are numbered per process, from 1.
    pub(crate) fn new(me: u32, number: u64) -> Self {
        Self(number << 16 | u64::from(me))
    }

    pub(crate) fn participant(self) -> u32 {
        (self.0 & 0xffff) as u32
    }
}

impl End {
    #[cfg(any(test, loom))]
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Takes the end if nobody has it, or we have already; otherwise says who has it.
    pub(crate) fn take(&self, me: Holder) -> Result<(), Holder> {
        // Acquire, `end`.
        match self.0.compare_exchange(0, me.0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            Err(current) if current == me.0 => Ok(()),
            Err(current) => Err(Holder(current)),
        }
    }

    /// Who has the end.
    #[cfg(not(loom))]
    pub(crate) fn holder(&self) -> Option<Holder> {
        Some(Holder(self.0.load(Ordering::Acquire))).filter(|holder| holder.0 != 0)
    }

    /// The participant who has the end; 0: nobody.
    #[cfg(not(loom))]
    pub(crate) fn participant(&self) -> u32 {
        Holder(self.0.load(Ordering::Relaxed)).participant()
    }

    /// Gives the end back, if it is still ours.
    pub(crate) fn leave(&self, me: Holder) {
        // Release, `end`: the next holder sees what this one did; and when this one is dead, whoever gives back for it has seen that.
        let _ = self.0.compare_exchange(me.0, 0, CLAIM, Ordering::Relaxed);
    }

    /// Whether any handle of a participant has the end.
    pub(crate) fn is_held_by(&self, participant: u32) -> bool {
        let current = Holder(self.0.load(Ordering::Acquire));
        current.0 != 0 && current.participant() == participant
    }

    /// Gives the end back if `dead` had it. Can be done twice without harm.
    pub(crate) fn reclaim(&self, dead: u32) {
        let current = Holder(self.0.load(Ordering::Acquire));
        if current.0 != 0 && current.participant() == dead {
            self.leave(current);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_end_has_one_holder_at_a_time() {
        let end = End::new();
        let (ours, twin, other) = (Holder::new(3, 1), Holder::new(3, 2), Holder::new(4, 2));
        assert_eq!(end.take(ours), Ok(()));
        assert_eq!(end.take(ours), Ok(()));
        assert_eq!(end.take(twin), Err(ours));
        end.leave(twin);
        end.reclaim(4);
        assert_eq!(end.take(other), Err(ours));
        end.reclaim(3);
        end.reclaim(3);
        assert_eq!(end.take(other), Ok(()));
        end.leave(other);
        assert_eq!(end.take(twin), Ok(()));
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::explore;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    const DEAD: Holder = Holder(1 << 16 | 9);

    struct Model {
        end: End,
        /// What only the holder touches: it reports who does beside the holder, or without having seen what the last one did.
        theirs: UnsafeCell<u64>,
    }

    // SAFETY: loom's cell reports whatever is shared wrongly.
    unsafe impl Sync for Model {}
    // SAFETY: as above.
    unsafe impl Send for Model {}

    /// Finds the end in the hands of the dead, gives it back, and takes and leaves it, if nobody was faster.
    fn take_over(model: &Model, me: Holder) -> u64 {
        if model.end.take(me).is_err() {
            model.end.reclaim(DEAD.participant());
            if model.end.take(me).is_err() {
                return 0;
            }
        }
        // SAFETY: ours.
        model.theirs.with_mut(|theirs| unsafe { *theirs += 1 });
        model.end.leave(me);
        1
    }

    #[test]
    fn loom_who_takes_over_an_end_has_it_alone_and_sees_what_was_done_there() {
        explore(|| {
            let model = Arc::new(Model { end: End::new(), theirs: UnsafeCell::new(0) });
            model.end.take(DEAD).unwrap();
            let other = {
                let model = model.clone();
                loom::thread::spawn(move || take_over(&model, Holder::new(2, 1)))
            };
            let took = take_over(&model, Holder::new(3, 1)) + other.join().unwrap();
            assert!(took > 0, "nobody got it");
            assert_eq!(model.end.take(DEAD), Ok(()), "nobody has it any more");
            // SAFETY: the other is gone.
            assert_eq!(model.theirs.with(|theirs| unsafe { *theirs }), took);
        });
    }
}
