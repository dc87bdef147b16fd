//! Bounded first-in first-out queues of fixed-size elements, between any number of processes.
//!
//! | file | what is in it |
//! |---|---|
//! | `layout` | the bytes |
//! | `mpmc` | many producers, many consumers: slots with owners |
//! | `spsc` | one producer, one consumer: packed lines, lazy heads |
//! | `raw` | a handle: either of them, plus waiting, burying the dead, and closing |
//! | `typed` | `Queue<T>` |
//! | `verify` | whether the bytes are what the rules allow |
//!
//! A queue is either for many producers and consumers ([`Mode::Mpmc`]) or for one of each ([`Mode::Spsc`]). Both have a
//! capacity that is a power of two, keep the order of each producer, and lose nothing but what a killed process held in
//! its hands.

pub(crate) mod layout;
pub(crate) mod mpmc;
pub(crate) mod spsc;

#[cfg(not(loom))]
mod raw;
#[cfg(not(loom))]
mod typed;
#[cfg(not(loom))]
mod verify;

pub use layout::Mode;
#[cfg(not(loom))]
pub use raw::QueueStats;
#[cfg(not(loom))]
pub(crate) use raw::{QueueShape, RawQueue, is_unfinished, reclaim};
#[cfg(not(loom))]
pub use typed::{Claim, Peek, Queue, QueueOptions};
#[cfg(not(loom))]
pub(crate) use verify::verify;

/// What one try at an operation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt<T> {
    /// Done.
    Done(T),
    /// Full, or empty.
    Not,
    /// As [`Not`](Self::Not), because of this participant's unfinished operation.
    Behind(u32),
}

impl<T> Attempt<T> {
    fn map<U>(self, f: impl FnOnce(T) -> U) -> Attempt<U> {
        match self {
            Self::Done(value) => Attempt::Done(f(value)),
            Self::Not => Attempt::Not,
            Self::Behind(owner) => Attempt::Behind(owner),
        }
    }
}

/// An element in place: claimed to be filled, or peeked to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claimed {
    pub(crate) position: u64,
    pub(crate) data: *mut u8,
}
