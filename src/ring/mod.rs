//! A ring for streams: one writer; a consumer whom it waits for, or any number of readers for whom it does not.
//!
//! | file | what is in it |
//! |---|---|
//! | `layout` | the bytes |
//! | `stream` | the algorithm, over plain bytes |
//! | `raw` | handles: the algorithm, who we are, who waits |
//! | `typed` | `Ring<T>`, `RingReader<T>` |

pub(crate) mod layout;
pub(crate) mod stream;

#[cfg(not(loom))]
mod raw;
#[cfg(not(loom))]
mod typed;
#[cfg(not(loom))]
mod verify;

#[cfg(not(loom))]
pub use raw::RingStats;
#[cfg(not(loom))]
pub(crate) use raw::{RawReader, RawRing, RingShape, is_unfinished, reclaim};
#[cfg(not(loom))]
pub(crate) use stream::Taken;
#[cfg(not(loom))]
pub use typed::{Ring, RingOptions, RingReader};
#[cfg(not(loom))]
pub(crate) use verify::verify;

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingStart {
    /// At the oldest element that can be had.
    Oldest,
    /// At the next one to be written.
    Newest,
    /// At a position, as another reader told it. What was overwritten since counts as lost.
    At(u64),
}
