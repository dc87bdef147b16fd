//! The bytes of a manifest and of an area, and walking over chunks.
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
//! | 160 | u64 | rung: when the sleepers were woken last, in nanoseconds of CLOCK_MONOTONIC |
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
//! | 32 | u64 | expires: nanoseconds since boot; 0: never |
//! | 64 | | the contents; the chunk ends at the next multiple of 64 |
//!
//! A fresh area is zero, so behind the last chunk there is always one that is UNALLOCATED, or the end.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use crate::error::{Error, Result, fail};
use crate::os::mapping::Mapping;
use crate::os::process;
use crate::segment::Region;
use crate::shared::{Shared, fnv1a};
use crate::sync::{AtomicU32, AtomicU64, Ordering};

const FORMAT: u32 = 1;
const BYTE_ORDER: u32 = 0x0102_0304;
const MANIFEST_MAGIC: u64 = u64::from_le_bytes(*b"SPECMANI");
const AREA_MAGIC: u64 = u64::from_le_bytes(*b"SPECAREA");

pub(crate) const MANIFEST_BYTES: u64 = 4096;
/// How many nanoseconds after waking its readers a writer may leave out waking them; they look by themselves then.
pub(crate) const QUIET: u64 = 20_000;
/// Chunks begin at multiples of this.
pub(crate) const GRAIN: u64 = 64;
/// Where the first chunk of an area lies.
pub(crate) const FIRST: u64 = 128;

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

const _: () = {
    use std::mem::offset_of;
    assert!(
        offset_of!(Manifest, current) == 128 && offset_of!(Manifest, bell) == 152 && offset_of!(Manifest, rung) == 160
    );
    assert!(offset_of!(AreaHeader, boot) == 32 && offset_of!(AreaHeader, state) == 40);
    assert!(size_of::<ChunkHeader>() == GRAIN as usize && offset_of!(ChunkHeader, expires) == 32);
};

/// Bytes of a chunk with contents of `size` bytes. `None` when there can be no such chunk.
pub(crate) fn chunk_bytes(size: u64) -> Option<u64> {
    size.checked_next_multiple_of(GRAIN)?.checked_add(GRAIN).filter(|bytes| i64::try_from(*bytes).is_ok())
}

/// What tells times of this run of the machine from others.
pub(crate) fn boot() -> u64 {
    process::boot_id().map_or(0, |id| fnv1a(&id))
}

fn begin(beginning: &Beginning, magic: u64) {
    beginning.format.store(FORMAT, Ordering::Relaxed);
    beginning.byte_order.store(BYTE_ORDER, Ordering::Relaxed);
    beginning.magic.store(magic, Ordering::Relaxed);
}

fn check(beginning: &Beginning, magic: u64, what: &str) -> Result<()> {
    let order = beginning.byte_order.load(Ordering::Relaxed);
    if order == BYTE_ORDER.swap_bytes() {
        return Err(fail!(Version, "{what} was made on a machine of the other byte order"));
    }
    if beginning.magic.load(Ordering::Relaxed) != magic || order != BYTE_ORDER {
        return Err(fail!(Corrupt, "{what} is something else"));
    }
    let format = beginning.format.load(Ordering::Relaxed);
    if format != FORMAT {
        return Err(fail!(Version, "{what} has format {format}; this library knows {FORMAT}"));
    }
    Ok(())
}

fn map(file: &File, len: u64, read_only: bool, what: &str) -> Result<Mapping> {
    let failed = |error| Error::system(format_args!("cannot map {what}"), error);
    let len = usize::try_from(len).map_err(|_| fail!(Limit, "{what} has {len} bytes, more than can be mapped"))?;
    Mapping::new(file.as_fd(), len, read_only).map_err(failed)
}

fn region(mapping: &Mapping) -> Region {
    // SAFETY: valid as long as the mapping, which whoever uses the region holds too.
    unsafe { Region::new(mapping.base(), mapping.len()) }
}

/// A mapped manifest.
#[derive(Debug)]
pub(crate) struct MappedManifest(Mapping);

impl MappedManifest {
    /// `fresh`: it is being made.
    pub(crate) fn new(file: &File, read_only: bool, fresh: bool, what: &str) -> Result<Self> {
        let metadata = file.metadata().map_err(|error| Error::system(format_args!("cannot look at {what}"), error))?;
        if !metadata.is_file() || metadata.len() < MANIFEST_BYTES {
            return Err(fail!(Corrupt, "{what} has {} bytes, and is no manifest", metadata.len()));
        }
        let manifest = Self(map(file, MANIFEST_BYTES, read_only, what)?);
        if fresh {
            manifest.next_id.store(1, Ordering::Relaxed);
            begin(&manifest.beginning, MANIFEST_MAGIC);
        }
        check(&manifest.beginning, MANIFEST_MAGIC, what)?;
        Ok(manifest)
    }
}

impl std::ops::Deref for MappedManifest {
    type Target = Manifest;
    fn deref(&self) -> &Manifest {
        // SAFETY: the mapping is larger, aligned to a page, and lives as long as this; atomics only.
        unsafe { self.0.base().cast().as_ref() }
    }
}

/// A mapped area.
#[derive(Debug)]
pub(crate) struct MappedArea {
    mapping: Mapping,
    pub(crate) generation: u64,
}

/// A chunk's header, read once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) offset: u64,
    pub(crate) state: u32,
    pub(crate) id: u64,
    pub(crate) version: u64,
    pub(crate) size: u64,
    pub(crate) expires: u64,
    /// Where the chunk after it begins.
    pub(crate) next: u64,
}

impl MappedArea {
    pub(crate) fn create(file: &File, bytes: u64, generation: u64, what: &str) -> Result<Self> {
        let area = Self { mapping: map(file, bytes, false, what)?, generation };
        let header = area.header();
        begin(&header.beginning, AREA_MAGIC);
        header.bytes.store(bytes, Ordering::Relaxed);
        header.generation.store(generation, Ordering::Relaxed);
        header.boot.store(boot(), Ordering::Relaxed);
        header.state.store(READY, Ordering::Release);
        Ok(area)
    }

    pub(crate) fn open(file: &File, generation: u64, read_only: bool, what: &str) -> Result<Self> {
        let metadata = file.metadata().map_err(|error| Error::system(format_args!("cannot look at {what}"), error))?;
        let len = metadata.size();
        if !metadata.is_file() || len < FIRST + GRAIN {
            return Err(fail!(Corrupt, "{what} has {len} bytes, and is no area"));
        }
        let area = Self { mapping: map(file, len, read_only, what)?, generation };
        let header = area.header();
        check(&header.beginning, AREA_MAGIC, what)?;
        let (bytes, found) = (header.bytes.load(Ordering::Relaxed), header.generation.load(Ordering::Relaxed));
        if bytes != len || found != generation {
            return Err(fail!(
                Corrupt,
                "{what} says that it has {bytes} bytes and generation {found}; it has {len} and {generation}"
            ));
        }
        Ok(area)
    }

    pub(crate) fn header(&self) -> &AreaHeader {
        // SAFETY: the mapping is larger, aligned to a page, and lives as long as this; atomics only.
        unsafe { self.mapping.base().cast().as_ref() }
    }

    /// Bytes of the area.
    pub(crate) fn bytes(&self) -> u64 {
        self.mapping.len() as u64
    }

    /// The header at `offset`, or `None` at the end.
    #[inline]
    pub(crate) fn at(&self, offset: u64) -> Option<&ChunkHeader> {
        let header: *const ChunkHeader = region(&self.mapping).at(offset)?;
        // SAFETY: from `at`; the mapping lives as long as this.
        Some(unsafe { &*header })
    }

    /// The chunk at `offset`; `None` at the end, and where nothing is allocated. Its size was checked.
    #[inline]
    pub(crate) fn chunk(&self, offset: u64) -> Result<Option<Chunk>> {
        let Some(header) = self.at(offset) else { return Ok(None) };
        let state = header.state.load(Ordering::Acquire); // `written`
        if state == UNALLOCATED {
            return Ok(None);
        }
        let size = header.size.load(Ordering::Relaxed);
        let next = chunk_bytes(size).and_then(|bytes| bytes.checked_add(offset)).filter(|next| *next <= self.bytes());
        let (Some(next), ALLOCATED..=DISCARDED) = (next, state) else {
            return Err(fail!(
                Corrupt,
                "the chunk at {offset} of an area of {} bytes says that it has {size} and state {state}",
                self.bytes()
            ));
        };
        Ok(Some(Chunk {
            offset,
            state,
            id: header.id.load(Ordering::Relaxed),
            // Its writer may have died between giving it a version and committing it; then the version is another's.
            version: if state == DISCARDED { 0 } else { header.version.load(Ordering::Relaxed) },
            size,
            expires: header.expires.load(Ordering::Relaxed),
            next,
        }))
    }

    /// The address of the contents of the chunk at `offset`, which are `size` bytes. Null when they are not all inside.
    #[inline]
    pub(crate) fn contents(&self, offset: u64, size: u64) -> *mut u8 {
        region(&self.mapping).part(offset + GRAIN, size).map_or(std::ptr::null_mut(), |part| part.base().as_ptr())
    }
}
