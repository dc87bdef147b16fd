//! Shared-memory data structures for processes that talk to each other in nanoseconds and survive each other's deaths.
//!
//! A [`Segment`] is a piece of memory that several processes map. In it lie named structures: [`Queue`], [`ByteQueue`],
//! [`Array`], [`Atomic`], [`Pool`], [`Ring`] and [`Span`]. Everything can be used from Rust, from C (`shmds.h`) and from C++ (`shmds.hpp`) at the same time.
//!
//! ```
//! # fn main() -> shmds::Result<()> {
//! use shmds::{Queue, QueueOptions, Segment, SegmentOptions};
//! let name = format!("doc-lib-{}", std::process::id());
//!
//! // One process:
//! let segment = Segment::create(&name, &SegmentOptions::new().size(1 << 20))?;
//! let out = Queue::<[f64; 3]>::create(&segment, "positions", &QueueOptions::new(256))?;
//! out.enqueue(&[1.0, 2.0, 3.0])?;
//!
//! // Another:
//! let segment = Segment::open(&name, &SegmentOptions::new())?;
//! let positions = Queue::<[f64; 3]>::open(&segment, "positions")?;
//! assert_eq!(positions.dequeue()?, Some([1.0, 2.0, 3.0]));
//! # Ok(())
//! # }
//! ```
//!
//! # The house
//!
//! One room per structure, and the same name on every floor:
//!
//! ```text
//! C or C++ caller → include/shmds.h → ffi/queue.rs → queue/ → segment/ → os/
//! ```
//!
//! | room | what lives there | may import |
//! |---|---|---|
//! | `ffi` | the C ABI: translation, one file per structure, no logic | everything below |
//! | `queue` | the bounded FIFO | segment, shared, os, sync |
//! | `array`, `atomic`, `byte_queue`, `pool`, `ring`, `span` | the other structures | segment, shared, os, sync |
//! | `kinds` | which structure buries its dead how, and verifies itself; the only call upward, from segment | structures |
//! | `speculo` | areas of immutable chunks, beside segments | shared, os, sync |
//! | `segment` | create, attach, the table of names, participants and their deaths | shared, os, sync |
//! | `shared` | the vocabulary: line pairs, event count, element copies, plain data | os, sync |
//! | `os` | the only room that talks to the kernel | sync |
//! | `sync` | the only import of atomics: the seam for model checking | |
//! | `error` | one list of outcomes, one table of texts | |

// A model is a part of the house; what it does not use is used elsewhere.
#![cfg_attr(loom, allow(dead_code, unreachable_pub, unused_imports))]

#[cfg(not(loom))]
mod array;
#[cfg(not(loom))]
mod atomic;
mod byte_queue;
mod error;
mod os;
mod pool;
mod queue;
mod ring;
mod segment;
mod shared;
mod sync;

#[cfg(not(loom))]
mod ffi;
#[cfg(not(loom))]
mod kinds;
#[cfg(not(loom))]
mod span;
pub mod speculo;

pub use error::{Error, Result, Status};
pub use pool::Handle;
pub use queue::Mode;
pub use ring::RingStart;
pub use shared::Plain;

#[cfg(not(loom))]
pub use array::Array;
#[cfg(not(loom))]
pub use atomic::{Atomic, AtomicValue, Scalar};
#[cfg(not(loom))]
pub use byte_queue::{ByteQueue, ByteQueueOptions, ByteQueueStats, Message, Messages, Reservation};
#[cfg(not(loom))]
pub use pool::{Pool, PoolStats};
#[cfg(not(loom))]
pub use queue::{Claim, Peek, Queue, QueueOptions, QueueStats};
#[cfg(not(loom))]
pub use ring::{Ring, RingOptions, RingReader, RingStats};
#[cfg(not(loom))]
pub use segment::{
    Entry, Finding, Kind, MemoryOption, Participant, Segment, SegmentOptions, SegmentStats, Severity, TableShape,
    Unavailable, Verified, VerifyOptions,
};
#[cfg(not(loom))]
pub use span::Span;

#[cfg(all(kill_points, not(loom)))]
#[doc(hidden)]
pub use sync::kill_points;

/// The README's Rust program, as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
