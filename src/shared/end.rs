//! The one place of a producer, a consumer or a writer, and who has it.

use super::Shared;
use crate::sync::{AtomicU64, Ordering};

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
        let _ = self.0.compare_exchange(me.0, 0, Ordering::AcqRel, Ordering::Relaxed);
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
