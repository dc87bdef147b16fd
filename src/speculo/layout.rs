//! The bytes of a manifest and of an area.
//!
//! The manifest is an object of one page, `NAME.speculo`; the areas are objects `NAME.speculo-GENERATION` beside it.
//!
//! | manifest | type | field |
//! |---|---|---|
//! | 0 | u64 | magic: `SPECMANI` |
//! | 8 | u32 | format: 1 |
//! | 12 | u32 | byte order: 0x01020304 |
//! | 128 | u64 | current: the generation of the area that is read; 0: none yet |
//! | 136 | u64 | committed: the version of the newest chunk |
//! | 144 | u64 | next id |
//! | 152 | u32 | bell: the futex that readers sleep on; moves with every commit and every change of area |
//! | 156 | u32 | nonzero when it is being removed |
//! | 160 | u64 | rung: when the sleepers were woken last, in nanoseconds since the machine started |
//!
//! | area | type | field |
//! |---|---|---|
//! | 0 | u64 | magic: `SPECAREA` |
//! | 8 | u32 | format |
//! | 12 | u32 | byte order |
//! | 16 | u64 | bytes of the area |
//! | 24 | u64 | generation |
//! | 32 | u64 | boot: which run of the machine its times are of |
//! | 40 | u32 | state: 1 READY, 2 OBSOLETE |
//! | 128 | | chunks, one after the other, at multiples of 64 |
//!
//! | chunk | type | field |
//! |---|---|---|
//! | 0 | u32 | state: 0 UNALLOCATED, 1 ALLOCATED, 2 WRITTEN, 3 OBSOLETE, 4 DISCARDED |
//! | 8 | u64 | id |
//! | 16 | u64 | version: chunks are numbered from 1 as they are committed; of a DISCARDED one, it means nothing |
//! | 24 | u64 | bytes of contents |
//! | 32 | u64 | expires: nanoseconds since the machine started; 0: never |
//! | 64 | | the contents; the chunk ends at the next multiple of 64 |
//!
//! A fresh area is zero, so behind the last chunk there is always one that is UNALLOCATED, or the end.

use crate::error::{Result, fail};
use crate::shared::Shared;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

const FORMAT: u32 = 1;
const BYTE_ORDER: u32 = 0x0102_0304;
const MANIFEST_MAGIC: u64 = u64::from_le_bytes(*b"SPECMANI");
const AREA_MAGIC: u64 = u64::from_le_bytes(*b"SPECAREA");

pub(crate) const MANIFEST_BYTES: u64 = 4096;
/// Chunks begin at multiples of this.
pub(crate) const GRAIN: u64 = size_of::<ChunkHeader>() as u64;
/// Where the first chunk of an area lies.
pub(crate) const FIRST: u64 = 2 * GRAIN;

/// What every object begins with.
#[repr(C)]
struct Beginning {
    magic: AtomicU64,
    format: AtomicU32,
    byte_order: AtomicU32,
}

#[repr(C)]
pub(crate) struct Manifest {
    beginning: Beginning,
    reserved: [AtomicU64; 14],
    pub(crate) current: AtomicU64,
    pub(crate) committed: AtomicU64,
    pub(crate) next_id: AtomicU64,
    pub(crate) bell: AtomicU32,
    pub(crate) removed: AtomicU32,
    pub(crate) rung: AtomicU64,
}

#[repr(C)]
pub(crate) struct AreaHeader {
    beginning: Beginning,
    bytes: AtomicU64,
    generation: AtomicU64,
    pub(crate) boot: AtomicU64,
    pub(crate) state: AtomicU32,
    reserved: AtomicU32,
}

pub(crate) const READY: u32 = 1;
pub(crate) const AREA_OBSOLETE: u32 = 2;

#[repr(C)]
pub(crate) struct ChunkHeader {
    pub(crate) state: AtomicU32,
    reserved: AtomicU32,
    pub(crate) id: AtomicU64,
    pub(crate) version: AtomicU64,
    pub(crate) size: AtomicU64,
    pub(crate) expires: AtomicU64,
    reserved_too: [AtomicU64; 3],
}

pub(crate) const UNALLOCATED: u32 = 0;
pub(crate) const ALLOCATED: u32 = 1;
pub(crate) const WRITTEN: u32 = 2;
pub(crate) const OBSOLETE: u32 = 3;
pub(crate) const DISCARDED: u32 = 4;

// SAFETY: atomics only.
unsafe impl Shared for Manifest {}
// SAFETY: as above.
unsafe impl Shared for AreaHeader {}
// SAFETY: as above.
unsafe impl Shared for ChunkHeader {}

const _: () = assert!(size_of::<AreaHeader>() as u64 <= FIRST);
#[cfg(not(loom))]
const _: () = {
    use std::mem::offset_of;
    assert!(
        offset_of!(Manifest, current) == 128 && offset_of!(Manifest, bell) == 152 && offset_of!(Manifest, rung) == 160
    );
    assert!(offset_of!(AreaHeader, boot) == 32 && offset_of!(AreaHeader, state) == 40);
    assert!(size_of::<ChunkHeader>() == 64 && offset_of!(ChunkHeader, expires) == 32);
};

/// Bytes of a chunk with contents of `size` bytes. `None` when there can be no such chunk.
pub(crate) fn chunk_bytes(size: u64) -> Option<u64> {
    size.checked_next_multiple_of(GRAIN)?.checked_add(GRAIN).filter(|bytes| i64::try_from(*bytes).is_ok())
}

impl Beginning {
    fn begin(&self, magic: u64) {
        self.format.store(FORMAT, Ordering::Relaxed);
        self.byte_order.store(BYTE_ORDER, Ordering::Relaxed);
        self.magic.store(magic, Ordering::Relaxed);
    }

    fn check(&self, magic: u64, what: &str) -> Result<()> {
        let order = self.byte_order.load(Ordering::Relaxed);
        if order == BYTE_ORDER.swap_bytes() {
            return Err(fail!(Version, "{what} was made on a machine of the other byte order"));
        }
        if self.magic.load(Ordering::Relaxed) != magic || order != BYTE_ORDER {
            return Err(fail!(Corrupt, "{what} is something else"));
        }
        let format = self.format.load(Ordering::Relaxed);
        if format != FORMAT {
            return Err(fail!(Version, "{what} has format {format}; this library knows {FORMAT}"));
        }
        Ok(())
    }
}

impl Manifest {
    /// Makes zero bytes a manifest.
    pub(crate) fn begin(&self) {
        self.next_id.store(1, Ordering::Relaxed);
        self.beginning.begin(MANIFEST_MAGIC);
    }

    pub(crate) fn check(&self, what: &str) -> Result<()> {
        self.beginning.check(MANIFEST_MAGIC, what)
    }
}

impl AreaHeader {
    /// Makes zero bytes an area.
    pub(crate) fn begin(&self, bytes: u64, generation: u64, boot: u64) {
        self.beginning.begin(AREA_MAGIC);
        self.bytes.store(bytes, Ordering::Relaxed);
        self.generation.store(generation, Ordering::Relaxed);
        self.boot.store(boot, Ordering::Relaxed);
        self.state.store(READY, Ordering::Release);
    }

    /// `len`, `generation`: what it is to say of itself.
    pub(crate) fn check(&self, len: u64, generation: u64, what: &str) -> Result<()> {
        self.beginning.check(AREA_MAGIC, what)?;
        let (bytes, found) = (self.bytes.load(Ordering::Relaxed), self.generation.load(Ordering::Relaxed));
        if bytes != len || found != generation {
            return Err(fail!(
                Corrupt,
                "{what} says that it has {bytes} bytes and generation {found}; it has {len} and {generation}"
            ));
        }
        Ok(())
    }
}

/// Zero, as loom has it, whose atomics are made.
#[cfg(all(test, loom))]
mod model {
    use super::*;

    fn zero() -> AtomicU64 {
        AtomicU64::new(0)
    }

    fn half() -> AtomicU32 {
        AtomicU32::new(0)
    }

    impl Beginning {
        fn new() -> Self {
            Self { magic: zero(), format: half(), byte_order: half() }
        }
    }

    impl Manifest {
        pub(crate) fn new() -> Self {
            Self {
                beginning: Beginning::new(),
                reserved: std::array::from_fn(|_| zero()),
                current: zero(),
                committed: zero(),
                next_id: zero(),
                bell: half(),
                removed: half(),
                rung: zero(),
            }
        }
    }

    impl AreaHeader {
        pub(crate) fn new() -> Self {
            Self {
                beginning: Beginning::new(),
                bytes: zero(),
                generation: zero(),
                boot: zero(),
                state: half(),
                reserved: half(),
            }
        }
    }

    impl ChunkHeader {
        pub(crate) fn new() -> Self {
            Self {
                state: half(),
                reserved: half(),
                id: zero(),
                version: zero(),
                size: zero(),
                expires: zero(),
                reserved_too: std::array::from_fn(|_| zero()),
            }
        }
    }
}
