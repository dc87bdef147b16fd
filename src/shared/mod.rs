//! The small vocabulary all structures are written in.

mod cache;
mod copy;
mod end;
mod event_count;
mod hash;
mod latch;
mod plain;
mod seq_lock;

pub(crate) use cache::{CacheAligned, LINE_PAIR};
pub(crate) use copy::{
    Dynamic, Fixed, Width, copy_committed, load_contended, load_element, private_bytes, store_contended, store_element,
};
#[cfg(not(loom))]
pub(crate) use copy::{store_bytes, store_bytes_past_caches};
pub(crate) use end::{End, Holder};
pub(crate) use event_count::{EventCount, SLICE};
#[cfg(not(loom))]
pub(crate) use event_count::{SPIN, poll};
pub(crate) use hash::{fnv1a, little_endian, murmur64a};
pub(crate) use latch::Latch;
pub use plain::Plain;
pub(crate) use seq_lock::{Read, SeqLock};

/// Types that may be looked at in shared memory through a reference: made of atomics only, and any bytes are valid.
///
/// # Safety
/// The type is `repr(C)`, has no field but atomics (and arrays and structs of them), and no padding that matters.
pub(crate) unsafe trait Shared {}

// SAFETY: an atomic integer is the case the rule is about.
unsafe impl Shared for crate::sync::AtomicU32 {}
// SAFETY: as above.
unsafe impl Shared for crate::sync::AtomicU64 {}
