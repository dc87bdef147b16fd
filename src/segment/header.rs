//! The first bytes of a segment, and where everything else lies.
//!
//! ```text
//! 0     Header, line 0: identity and geometry, written once before the segment gets its name
//! 128   Header, line 1: words changed under the segment's lock
//! 256   participants: max_participants records of 64 bytes; participant id i (1, 2, …) has record i − 1
//! …     index: index_slots words, a hash table from names to entries
//! …     entries: fixed part, name, users bitmap; see table.rs
//! …     data, from data_offset (a multiple of 4096) to the end: the sections of the structures
//! ```
//!
//! The geometry follows from four numbers (name bytes, entries, participants, segment size); it is stored in full, so
//! that others can read a segment without this arithmetic, and checked against it at attach.

use crate::error::{Result, fail};
use crate::os::process;
use crate::segment::table::Fixed;
use crate::shared::{LINE_PAIR, Shared, fnv1a};
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// The bytes `SHMDSEG` and a NUL, read as a little-endian number.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"SHMDSEG\0");
/// Reads as itself only with the byte order it was written in.
pub(crate) const BYTE_ORDER: u32 = 0x0102_0304;
/// The version of the bytes described in docs/FORMAT.md. Any other is refused.
pub(crate) const FORMAT: u32 = 1;

pub(crate) const FLAG_PERSISTENT: u32 = 1;

#[repr(C, align(128))]
pub(crate) struct Header {
    pub(crate) magic: AtomicU64,
    pub(crate) format: AtomicU32,
    pub(crate) byte_order: AtomicU32,
    pub(crate) size: AtomicU64,
    pub(crate) page_size: AtomicU32,
    pub(crate) flags: AtomicU32,
    pub(crate) name_bytes: AtomicU32,
    pub(crate) entries: AtomicU32,
    pub(crate) max_participants: AtomicU32,
    pub(crate) index_slots: AtomicU32,
    pub(crate) max_allocation: AtomicU64,
    pub(crate) participants_offset: AtomicU64,
    pub(crate) index_offset: AtomicU64,
    pub(crate) entries_offset: AtomicU64,
    pub(crate) data_offset: AtomicU64,
    pub(crate) created: AtomicU64,
    /// FNV-1a of the geometry above: a scribbled header is told from a foreign one.
    pub(crate) check: AtomicU64,
    reserved: [AtomicU64; 3],
    /// The process that holds the segment's lock, for the message to those who wait; nonzero after a death inside it.
    pub(crate) lock_pid: AtomicU32,
    pub(crate) lock_participant: AtomicU32,
    /// Odd while the index is being rebuilt.
    pub(crate) index_version: AtomicU32,
    /// Moves, and is woken, whenever an entry appears or goes.
    pub(crate) changes: AtomicU32,
    /// Bytes from here on were never part of a structure and are still zero.
    pub(crate) high_water: AtomicU64,
    /// Nonzero once somebody attached whom membarrier does not reach.
    pub(crate) fences: AtomicU32,
    reserved_1: [AtomicU32; 1],
    /// Of a segment in a file: the run of the machine in which somebody last attached.
    pub(crate) boot: AtomicU64,
    reserved_2: [AtomicU64; 11],
}

// SAFETY: atomics only.
unsafe impl Shared for Header {}

#[cfg(not(loom))]
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<Header>() == 256);
    assert!(offset_of!(Header, size) == 16);
    assert!(offset_of!(Header, max_allocation) == 48);
    assert!(offset_of!(Header, data_offset) == 80);
    assert!(offset_of!(Header, check) == 96);
    assert!(offset_of!(Header, lock_pid) == 128);
    assert!(offset_of!(Header, changes) == 140);
    assert!(offset_of!(Header, high_water) == 144);
    assert!(offset_of!(Header, boot) == 160);
};

/// The limits of a table: how long names may be and how many entries there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableShape {
    /// Most bytes in a name.
    pub name_bytes: u32,
    /// Most structures.
    pub entries: u32,
}

impl TableShape {
    /// 16 structures with names of up to 16 bytes.
    pub const SMALL: Self = Self { name_bytes: 16, entries: 16 };
    /// 64 structures with names of up to 32 bytes; the default.
    pub const STANDARD: Self = Self { name_bytes: 32, entries: 64 };
    /// 256 structures with names of up to 64 bytes.
    pub const LARGE: Self = Self { name_bytes: 64, entries: 256 };
    /// 1024 structures with names of up to 256 bytes.
    pub const HUGE: Self = Self { name_bytes: 256, entries: 1024 };

    /// Most entries a custom table may have.
    pub(crate) const MAX_ENTRIES: u32 = 65_535;
    /// Most bytes a name may have in any table.
    pub(crate) const MAX_NAME_BYTES: u32 = 256;
}

/// The greatest number of attachments a segment can be made for.
pub(crate) const MAX_PARTICIPANTS: u32 = 4096;
/// Sections begin at multiples of this at least, and of at most this times 32 (a page).
pub(crate) const SECTION_ALIGN: u64 = LINE_PAIR as u64;
/// The largest alignment an element can ask for.
pub(crate) const MAX_ALIGN: u64 = 4096;

/// Private, validated geometry of a segment: computed once, never read again from shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) size: u64,
    pub(crate) table: TableShape,
    pub(crate) max_participants: u32,
    pub(crate) max_allocation: u64,
    pub(crate) index_slots: u32,
    pub(crate) participants_offset: u64,
    pub(crate) index_offset: u64,
    pub(crate) entries_offset: u64,
    /// Bytes of one entry: fixed part, name, users bitmap.
    pub(crate) entry_stride: u64,
    pub(crate) data_offset: u64,
}

pub(crate) const PARTICIPANT_BYTES: u64 = 64;
pub(crate) const ENTRY_FIXED_BYTES: u64 = if cfg!(loom) { size_of::<Fixed>() as u64 } else { 128 };
/// Bytes of an index word, of a word of a name, and of one of a users bitmap.
pub(crate) const WORD: u64 = size_of::<AtomicU64>() as u64;

impl Layout {
    /// The geometry that follows from these numbers; an error names the one that is out of range.
    pub(crate) fn new(size: u64, table: TableShape, max_participants: u32, max_allocation: u64) -> Result<Self> {
        if table.name_bytes == 0 || table.name_bytes > TableShape::MAX_NAME_BYTES {
            let most = TableShape::MAX_NAME_BYTES;
            return Err(fail!(Invalid, "a table's names may have 1 to {most} bytes, not {}", table.name_bytes));
        }
        if table.entries == 0 || table.entries > TableShape::MAX_ENTRIES {
            let most = TableShape::MAX_ENTRIES;
            return Err(fail!(Invalid, "a table may have 1 to {most} entries, not {}", table.entries));
        }
        if max_participants == 0 || max_participants > MAX_PARTICIPANTS {
            return Err(fail!(
                Invalid,
                "a segment may have 1 to {MAX_PARTICIPANTS} participants, not {max_participants}"
            ));
        }
        let index_slots = (table.entries * 4).next_power_of_two();
        let participants_offset = size_of::<Header>() as u64;
        let index_offset = participants_offset + u64::from(max_participants) * PARTICIPANT_BYTES;
        let entries_offset = (index_offset + u64::from(index_slots) * WORD).next_multiple_of(SECTION_ALIGN);
        let users_bytes = u64::from(max_participants).div_ceil(64) * WORD;
        let name_bytes = u64::from(table.name_bytes).div_ceil(8) * WORD;
        let entry_stride = (ENTRY_FIXED_BYTES + name_bytes + users_bytes).next_multiple_of(64);
        let data_offset = (entries_offset + u64::from(table.entries) * entry_stride).next_multiple_of(MAX_ALIGN);
        if size < data_offset {
            return Err(fail!(
                Invalid,
                "a segment of {size} bytes is too small: its table of {} entries and {max_participants} participants \
                 alone take {data_offset}",
                table.entries
            ));
        }
        if i64::try_from(size).is_err() || usize::try_from(size).is_err() {
            return Err(fail!(Invalid, "a segment of {size} bytes is more than this machine can address"));
        }
        Ok(Self {
            size,
            table,
            max_participants,
            max_allocation,
            index_slots,
            participants_offset,
            index_offset,
            entries_offset,
            entry_stride,
            data_offset,
        })
    }

    /// Writes the header of a fresh, zeroed segment.
    #[cfg(not(loom))]
    pub(crate) fn write(&self, header: &Header, flags: u32) {
        let set = |word: &AtomicU32, value: u32| word.store(value, Ordering::Relaxed);
        let set_wide = |word: &AtomicU64, value: u64| word.store(value, Ordering::Relaxed);
        set_wide(&header.magic, MAGIC);
        set(&header.format, FORMAT);
        set(&header.byte_order, BYTE_ORDER);
        set_wide(&header.size, self.size);
        set(&header.page_size, process::page_size() as u32);
        set(&header.flags, flags);
        set(&header.name_bytes, self.table.name_bytes);
        set(&header.entries, self.table.entries);
        set(&header.max_participants, self.max_participants);
        set(&header.index_slots, self.index_slots);
        set_wide(&header.max_allocation, self.max_allocation);
        set_wide(&header.participants_offset, self.participants_offset);
        set_wide(&header.index_offset, self.index_offset);
        set_wide(&header.entries_offset, self.entries_offset);
        set_wide(&header.data_offset, self.data_offset);
        set_wide(&header.created, process::now());
        set_wide(&header.high_water, self.data_offset);
        set_wide(&header.check, geometry_hash(header));
    }

    /// Validates the header of an object of `file_size` bytes and takes the private copy of its geometry. `what` names
    /// the segment in messages.
    #[cfg(not(loom))]
    pub(crate) fn read(header: &Header, file_size: u64, what: &str) -> Result<Self> {
        let magic = header.magic.load(Ordering::Relaxed);
        if magic == MAGIC.swap_bytes() || header.byte_order.load(Ordering::Relaxed) == BYTE_ORDER.swap_bytes() {
            return Err(fail!(Version, "{what} was made on a machine of the other byte order"));
        }
        if magic != MAGIC {
            return Err(fail!(Corrupt, "{what} is not a segment of this library: it begins with {magic:#018x}"));
        }
        let order = header.byte_order.load(Ordering::Relaxed);
        if order != BYTE_ORDER {
            return Err(fail!(Corrupt, "{what} has the byte-order mark {order:#010x} instead of {BYTE_ORDER:#010x}"));
        }
        let format = header.format.load(Ordering::Relaxed);
        if format != FORMAT {
            return Err(fail!(Version, "{what} has format {format}; this library reads format {FORMAT}"));
        }
        let page = header.page_size.load(Ordering::Relaxed);
        if page as usize != process::page_size() {
            return Err(fail!(
                Version,
                "{what} was made for pages of {page} bytes; ours have {}",
                process::page_size()
            ));
        }
        let size = header.size.load(Ordering::Relaxed);
        if size != file_size {
            return Err(fail!(Corrupt, "{what} says it has {size} bytes, but its file has {file_size}"));
        }
        let table = TableShape {
            name_bytes: header.name_bytes.load(Ordering::Relaxed),
            entries: header.entries.load(Ordering::Relaxed),
        };
        let participants = header.max_participants.load(Ordering::Relaxed);
        let layout = Self::new(size, table, participants, header.max_allocation.load(Ordering::Relaxed))
            .map_err(|error| fail!(Corrupt, "the header of {what} makes no sense: {error}"))?;
        let (expected, found) = (geometry_hash(header), header.check.load(Ordering::Relaxed));
        let stored = [
            (header.participants_offset.load(Ordering::Relaxed), layout.participants_offset),
            (header.index_offset.load(Ordering::Relaxed), layout.index_offset),
            (header.entries_offset.load(Ordering::Relaxed), layout.entries_offset),
            (header.data_offset.load(Ordering::Relaxed), layout.data_offset),
            (u64::from(header.index_slots.load(Ordering::Relaxed)), u64::from(layout.index_slots)),
            (found, expected),
        ];
        for (stored, computed) in stored {
            if stored != computed {
                return Err(fail!(Corrupt, "the header of {what} was written over: {stored} where {computed} belongs"));
            }
        }
        Ok(layout)
    }
}

/// The bytes of the geometry, hashed in the order they lie.
fn geometry_hash(header: &Header) -> u64 {
    let mut bytes = Vec::with_capacity(96);
    for word in [&header.magic, &header.size, &header.max_allocation, &header.participants_offset] {
        bytes.extend(word.load(Ordering::Relaxed).to_le_bytes());
    }
    for word in [&header.index_offset, &header.entries_offset, &header.data_offset, &header.created] {
        bytes.extend(word.load(Ordering::Relaxed).to_le_bytes());
    }
    let narrow = [&header.format, &header.byte_order, &header.page_size, &header.flags];
    for word in narrow.into_iter().chain([&header.name_bytes, &header.entries, &header.max_participants]) {
        bytes.extend(word.load(Ordering::Relaxed).to_le_bytes());
    }
    fnv1a(&bytes)
}
