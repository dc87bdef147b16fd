//! A queue of bytes: messages of any length, or a stream without borders, never split and never copied.
//!
//! | file | what is in it |
//! |---|---|
//! | `layout` | the bytes |
//! | `stream` | the algorithm: positions and nothing else |
//! | `frames` | messages over it |
//! | `raw` | a handle: the algorithm, who we are, who waits |
//! | `face` | `ByteQueue` |

pub(crate) mod layout;
pub(crate) mod stream;

#[cfg(not(loom))]
mod face;
#[cfg(not(loom))]
mod frames;
#[cfg(not(loom))]
mod raw;
#[cfg(not(loom))]
mod verify;

#[cfg(not(loom))]
pub use face::{ByteQueue, ByteQueueOptions, Message, Messages, Reservation};
#[cfg(not(loom))]
pub(crate) use frames::Received;
#[cfg(not(loom))]
pub(crate) use layout::Framing;
#[cfg(not(loom))]
pub use raw::ByteQueueStats;
#[cfg(not(loom))]
pub(crate) use raw::{ByteQueueShape, RawByteQueue, reclaim};
#[cfg(not(loom))]
pub(crate) use verify::verify;
