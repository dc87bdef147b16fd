//! The directory of named structures.
//!
//! ```text
//! entry, at entries_offset + index * entry_stride
//! 0    state    generation << 32 | kind << 8 | phase        (FREE, BUILDING, LIVE, UNLINKED)
//! 8    hash     MurmurHash64A of the name
//! 16   offset   of the section in the segment
//! 24   size     of the section
//! 32   elem_size
//! 40   count    elements, in the structure's own sense
//! 48   type_tag
//! 56   elem_align, flags, name_len, interrupted (u32 each)
//! 128  name, padded with zeros to a multiple of 8
//! …    users    one bit per participant that has the structure open
//!
//! index word: high half of the hash << 32 | entry number + 1; 0 is empty
//! ```
//!
//! **Changes** happen under the segment's lock. An entry's fields are written while it is BUILDING and published by the
//! release store of LIVE; the index word follows, by a release store. Removal turns LIVE into UNLINKED (the name is gone
//! at once) and rebuilds the index, with `index_version` odd meanwhile. UNLINKED becomes FREE when no user is left.
//!
//! **Lookups** take no lock. They probe the index from the hash (linear probing; the index is at most a quarter full) and
//! read the entry like a sequence lock: state, fields, state again; the generation makes a reused entry another state. A
//! miss while the index was being rebuilt is looked up in the entries themselves.
//!
//! **Death.** The entries are authoritative and the index is derived: whoever takes the lock after a holder's death drops
//! BUILDING entries and rebuilds the index. Death between UNLINKED and the rebuild leaves an index word that leads to an
//! entry that is not LIVE, which lookups ignore.

use std::ops::Range;

use super::header::{ENTRY_FIXED_BYTES, Header, Layout, TableShape, WORD};
use super::region::Region;
use crate::error::{Result, fail};
use crate::shared::{Shared, little_endian, murmur64a};
use crate::sync::{AtomicU32, AtomicU64, Ordering, PUBLISH, fence};

/// What a table entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Kind {
    /// A named raw region.
    Span = 1,
    /// A fixed-size array.
    Array = 2,
    /// A named atomic.
    Atomic = 3,
    /// A bounded FIFO of fixed-size elements.
    Queue = 4,
    /// An object pool.
    Pool = 5,
    /// A ring buffer.
    Ring = 6,
    /// A queue of variable-length messages.
    ByteQueue = 7,
    /// Something made by a later version of the library.
    Unknown = 255,
}

impl Kind {
    fn from_code(code: u32) -> Self {
        const KNOWN: [Kind; 7] =
            [Kind::Span, Kind::Array, Kind::Atomic, Kind::Queue, Kind::Pool, Kind::Ring, Kind::ByteQueue];
        KNOWN.into_iter().find(|kind| *kind as u32 == code).unwrap_or(Kind::Unknown)
    }

    /// What people call it.
    pub(crate) fn noun(self) -> &'static str {
        let with_article = self.with_article();
        with_article.split_once(' ').map_or(with_article, |(_, noun)| noun)
    }

    /// What people call it, article first.
    #[must_use]
    pub fn with_article(self) -> &'static str {
        match self {
            Self::Span => "a span",
            Self::Array => "an array",
            Self::Atomic => "an atomic",
            Self::Queue => "a queue",
            Self::Pool => "a pool",
            Self::Ring => "a ring",
            Self::ByteQueue => "a byte queue",
            Self::Unknown => "a structure of a later version",
        }
    }
}

/// A named structure, as the table describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<Name = String> {
    /// Its name. A lookup has it already, and spares a copy.
    pub name: Name,
    /// What it is.
    pub kind: Kind,
    /// What the kind needs to know: for a queue, whether it is SPSC.
    pub flags: u32,
    /// Where its section begins, in bytes from the start of the segment.
    pub offset: u64,
    /// How many bytes its section has.
    pub size: u64,
    /// Bytes of an element.
    pub elem_size: u64,
    /// Alignment of an element.
    pub elem_align: u32,
    /// How many elements, in the structure's own sense: a queue's capacity, an array's length.
    pub count: u64,
    /// The caller's own mark for the element type; 0 when there is none.
    pub type_tag: u64,
    /// How many participants have it open.
    pub users: u32,
    /// Whether somebody died in the middle of a change of it. See [`Segment::interrupted`](crate::Segment::interrupted).
    pub interrupted: bool,
}

/// The life of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Free = 0,
    Building = 1,
    Live = 2,
    Unlinked = 3,
}

/// An entry's state word, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State(u64);

impl State {
    fn new(generation: u32, kind: u32, phase: Phase) -> Self {
        Self(u64::from(generation) << 32 | u64::from(kind & 0xff) << 8 | phase as u64)
    }

    pub(crate) fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(crate) fn kind(self) -> Kind {
        Kind::from_code((self.0 >> 8) as u32 & 0xff)
    }

    /// `None` for a value no version of ours writes.
    pub(crate) fn phase(self) -> Option<Phase> {
        match self.0 & 0xff {
            0 => Some(Phase::Free),
            1 => Some(Phase::Building),
            2 => Some(Phase::Live),
            3 => Some(Phase::Unlinked),
            _ => None,
        }
    }

    fn with(self, phase: Phase) -> Self {
        Self(self.0 & !0xff | phase as u64)
    }

    pub(super) fn bits(self) -> u64 {
        self.0
    }

    /// Whether only those bits are set that mean something.
    pub(super) fn is_sound(self) -> bool {
        self.0 & 0xffff_0000 == 0
    }
}

#[repr(C)]
pub(super) struct Fixed {
    state: AtomicU64,
    hash: AtomicU64,
    offset: AtomicU64,
    size: AtomicU64,
    elem_size: AtomicU64,
    count: AtomicU64,
    type_tag: AtomicU64,
    elem_align: AtomicU32,
    flags: AtomicU32,
    name_len: AtomicU32,
    interrupted: AtomicU32,
    reserved_2: [AtomicU64; 7],
}

// SAFETY: atomics only.
unsafe impl Shared for Fixed {}

const _: () = assert!(size_of::<Fixed>() as u64 == ENTRY_FIXED_BYTES);

/// A section to be made: everything an entry says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: Kind,
    pub(crate) flags: u32,
    pub(crate) size: u64,
    /// At least; every section is aligned to a line pair.
    pub(crate) align: u64,
    pub(crate) elem_size: u64,
    pub(crate) elem_align: u32,
    pub(crate) count: u64,
    pub(crate) type_tag: u64,
}

/// The table of one mapped segment. Copies nothing but the geometry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    region: Region,
    layout: Layout,
}

/// How often a lookup starts over because an entry changed under it, before it gives the entry up as not there.
const RETRIES: u32 = if cfg!(loom) { 2 } else { 64 };

impl Table {
    pub(crate) fn new(region: Region, layout: Layout) -> Self {
        Self { region, layout }
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Refuses names no table could hold, before anything is looked up.
    pub(crate) fn check_name(&self, name: &str) -> Result<()> {
        let most = self.layout.table.name_bytes;
        if name.is_empty() {
            return Err(fail!(Invalid, "a structure's name is empty"));
        }
        if name.len() > most as usize {
            return Err(fail!(
                Invalid,
                "the name '{name}' has {} bytes; names in this segment may have {most}",
                name.len()
            ));
        }
        if let Some(bad) = name.chars().find(|c| c.is_control()) {
            return Err(fail!(Invalid, "the name {name:?} has the control character {bad:?}"));
        }
        Ok(())
    }

    fn header(&self) -> &Header {
        self.region.at(0).expect("checked at attach")
    }

    fn fixed(&self, entry: u32) -> &Fixed {
        let offset = self.layout.entries_offset + u64::from(entry) * self.layout.entry_stride;
        self.region.at(offset).expect("inside by the layout")
    }

    fn words(&self, entry: u32, start: u64, count: u64) -> &[AtomicU64] {
        let offset = self.layout.entries_offset + u64::from(entry) * self.layout.entry_stride + start;
        self.region.slice(offset, count).expect("inside by the layout")
    }

    fn name_words(&self, entry: u32) -> &[AtomicU64] {
        self.words(entry, ENTRY_FIXED_BYTES, u64::from(self.layout.table.name_bytes).div_ceil(8))
    }

    fn users_words(&self, entry: u32) -> &[AtomicU64] {
        let start = ENTRY_FIXED_BYTES + u64::from(self.layout.table.name_bytes).div_ceil(8) * WORD;
        self.words(entry, start, u64::from(self.layout.max_participants).div_ceil(64))
    }

    fn index_word(&self, slot: u32) -> &AtomicU64 {
        self.region.at(self.layout.index_offset + u64::from(slot) * WORD).expect("inside by the layout")
    }

    pub(crate) fn capacity(&self) -> u32 {
        self.layout.table.entries
    }

    pub(crate) fn state(&self, entry: u32) -> State {
        State(self.fixed(entry).state.load(Ordering::Acquire))
    }

    /// A consistent copy of an entry in a phase with contents, and its state. `None` when it has none or keeps changing.
    pub(crate) fn read(&self, entry: u32) -> Option<(State, Entry)> {
        for _ in 0..RETRIES {
            let state = self.state(entry);
            if !matches!(state.phase(), Some(Phase::Live | Phase::Unlinked)) {
                return None;
            }
            let mut bytes = Vec::with_capacity(TableShape::MAX_NAME_BYTES as usize);
            for word in self.name_words(entry) {
                bytes.extend(word.load(Ordering::Relaxed).to_le_bytes());
            }
            let len = (self.fixed(entry).name_len.load(Ordering::Relaxed) as usize).min(bytes.len());
            let name = String::from_utf8_lossy(&bytes[..len]).into_owned();
            if let Some(found) = self.read_named(entry, state, name) {
                return Some((state, found));
            }
        }
        None
    }

    /// A consistent copy of an entry that had this name in this state. `None` when it is in another by now.
    #[inline(always)]
    pub(crate) fn read_named<N>(&self, entry: u32, state: State, name: N) -> Option<Entry<N>> {
        let fixed = self.fixed(entry);
        let found = Entry {
            name,
            kind: state.kind(),
            flags: fixed.flags.load(Ordering::Relaxed),
            offset: fixed.offset.load(Ordering::Relaxed),
            size: fixed.size.load(Ordering::Relaxed),
            elem_size: fixed.elem_size.load(Ordering::Relaxed),
            elem_align: fixed.elem_align.load(Ordering::Relaxed),
            count: fixed.count.load(Ordering::Relaxed),
            type_tag: fixed.type_tag.load(Ordering::Relaxed),
            interrupted: fixed.interrupted.load(Ordering::Relaxed) != 0,
            users: self.users_words(entry).iter().map(|word| word.load(Ordering::Relaxed).count_ones()).sum(),
        };
        // Pairs with the release fence in `build`: whoever saw a field of the next generation sees its state.
        fence(Ordering::Acquire);
        (State(fixed.state.load(Ordering::Relaxed)) == state).then_some(found)
    }

    /// The entry of a LIVE name; of none, for bytes that can be no name. Takes no lock, and does not slow down with the number of entries.
    #[inline]
    pub(crate) fn find(&self, name: &(impl AsRef<[u8]> + ?Sized)) -> Option<(u32, State)> {
        let name = name.as_ref();
        if name.is_empty() || name.len() > self.layout.table.name_bytes as usize {
            return None;
        }
        let hash = murmur64a(name);
        self.probe(name, hash).or_else(|| self.find_again(name, hash))
    }

    /// Finds out whether a name that the index does not lead to is not there either.
    #[cold]
    fn find_again(&self, name: &[u8], hash: u64) -> Option<(u32, State)> {
        let header = self.header();
        for _ in 0..RETRIES {
            let version = header.index_version.load(Ordering::Acquire);
            if let Some(found) = self.probe(name, hash) {
                return Some(found);
            }
            fence(Ordering::Acquire);
            if version.is_multiple_of(2) && header.index_version.load(Ordering::Relaxed) == version {
                return None;
            }
            crate::sync::spin();
        }
        // The index is being rebuilt, or its builder died: the entries themselves know.
        (0..self.capacity()).find_map(|entry| self.matches(entry, name, hash).map(|state| (entry, state)))
    }

    #[inline(always)]
    fn probe(&self, name: &[u8], hash: u64) -> Option<(u32, State)> {
        let mask = self.layout.index_slots - 1;
        for distance in 0..self.layout.index_slots {
            let word = self.index_word((hash as u32).wrapping_add(distance) & mask).load(Ordering::Acquire);
            if word == 0 {
                return None;
            }
            let entry = (word as u32).wrapping_sub(1);
            if word >> 32 != hash >> 32 || entry >= self.capacity() {
                continue;
            }
            if let Some(state) = self.matches(entry, name, hash) {
                return Some((entry, state));
            }
        }
        None
    }

    /// The state of `entry` if it is LIVE under this very name.
    #[inline(always)]
    fn matches(&self, entry: u32, name: &[u8], hash: u64) -> Option<State> {
        let fixed = self.fixed(entry);
        for _ in 0..RETRIES {
            let state = self.state(entry);
            if state.phase() != Some(Phase::Live) {
                return None;
            }
            let same = fixed.hash.load(Ordering::Relaxed) == hash
                && fixed.name_len.load(Ordering::Relaxed) as usize == name.len()
                && is_stored_in(name, self.name_words(entry));
            fence(Ordering::Acquire);
            if State(fixed.state.load(Ordering::Relaxed)) == state {
                return same.then_some(state);
            }
        }
        None
    }

    /// The first entry from `from` on that is LIVE, with its number.
    pub(crate) fn next_live(&self, from: u32) -> Option<(u32, Entry)> {
        (from..self.capacity()).find_map(|entry| {
            let (state, found) = self.read(entry)?;
            (state.phase() == Some(Phase::Live)).then_some((entry, found))
        })
    }

    // What follows is for who verifies the table, under the lock.

    /// Where an entry lies.
    pub(super) fn offset(&self, entry: u32) -> u64 {
        self.layout.entries_offset + u64::from(entry) * self.layout.entry_stride
    }

    /// The bytes of an entry's name with their padding, and its length and its hash, as they are stored.
    pub(super) fn stored_name(&self, entry: u32) -> (Vec<u8>, u32, u64) {
        let fixed = self.fixed(entry);
        let bytes = self.name_words(entry).iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
        (bytes, fixed.name_len.load(Ordering::Relaxed), fixed.hash.load(Ordering::Relaxed))
    }

    /// Everybody who is said to have an entry open, also who cannot be.
    pub(super) fn users(&self, entry: u32) -> impl Iterator<Item = u32> {
        self.users_words(entry).iter().zip((1..).step_by(64)).flat_map(|(word, first)| {
            let word = word.load(Ordering::Acquire);
            (0..64).filter(move |bit| word >> bit & 1 != 0).map(move |bit| first + bit)
        })
    }

    /// Whether the index leads to this entry by that name.
    pub(super) fn is_indexed(&self, entry: u32, name: &str) -> bool {
        self.probe(name.as_bytes(), murmur64a(name.as_bytes())).is_some_and(|(found, _)| found == entry)
    }

    /// The words of the index that are not empty: their number, and that of the entry they lead to by its hash, if there is such an entry.
    pub(super) fn indexed(&self) -> impl Iterator<Item = (u32, Option<u32>)> {
        (0..self.layout.index_slots).filter_map(|slot| {
            let word = self.index_word(slot).load(Ordering::Relaxed);
            let entry = (word as u32).wrapping_sub(1);
            let leads = entry < self.capacity() && self.fixed(entry).hash.load(Ordering::Relaxed) >> 32 == word >> 32;
            (word != 0).then(|| (slot, leads.then_some(entry)))
        })
    }

    /// How large an entry says its section is.
    pub(crate) fn size(&self, entry: u32) -> u64 {
        self.fixed(entry).size.load(Ordering::Relaxed)
    }

    // What follows changes the table; the caller holds the segment's lock.

    /// Offset and size of every section, whatever its phase.
    pub(crate) fn sections(&self) -> Vec<(u64, u64)> {
        (0..self.capacity())
            .filter(|entry| self.state(*entry).phase() != Some(Phase::Free))
            .map(|entry| {
                let fixed = self.fixed(entry);
                (fixed.offset.load(Ordering::Relaxed), fixed.size.load(Ordering::Relaxed))
            })
            .collect()
    }

    pub(crate) fn free_entry(&self) -> Option<u32> {
        (0..self.capacity()).find(|entry| self.state(*entry).phase() == Some(Phase::Free))
    }

    pub(crate) fn free_entries(&self) -> u32 {
        (0..self.capacity()).filter(|entry| self.state(*entry).phase() == Some(Phase::Free)).count() as u32
    }

    /// Fills a FREE entry; it stays invisible until [`publish`](Self::publish).
    pub(crate) fn build(&self, entry: u32, request: &Request<'_>, offset: u64) -> State {
        let fixed = self.fixed(entry);
        let generation = self.state(entry).generation().wrapping_add(1);
        let state = State::new(generation, request.kind as u32, Phase::Building);
        fixed.state.store(state.0, Ordering::Relaxed);
        // No field of this generation may be seen before its state: pairs with the acquire fences of the readers.
        #[cfg(not(seeded_bug))]
        fence(Ordering::Release);
        fixed.hash.store(murmur64a(request.name.as_bytes()), Ordering::Relaxed);
        fixed.offset.store(offset, Ordering::Relaxed);
        fixed.size.store(request.size, Ordering::Relaxed);
        fixed.elem_size.store(request.elem_size, Ordering::Relaxed);
        fixed.count.store(request.count, Ordering::Relaxed);
        fixed.type_tag.store(request.type_tag, Ordering::Relaxed);
        fixed.elem_align.store(request.elem_align, Ordering::Relaxed);
        fixed.flags.store(request.flags, Ordering::Relaxed);
        fixed.name_len.store(request.name.len() as u32, Ordering::Relaxed);
        fixed.interrupted.store(0, Ordering::Relaxed);
        let padding = std::iter::repeat(0);
        for (word, value) in self.name_words(entry).iter().zip(padded_words(request.name.as_bytes()).chain(padding)) {
            word.store(value, Ordering::Relaxed);
        }
        self.users_words(entry).iter().for_each(|word| word.store(0, Ordering::Relaxed));
        state
    }

    /// Makes a built entry visible under its name, section contents and all, and wakes those who wait for names.
    pub(crate) fn publish(&self, entry: u32, building: State) {
        let state = building.with(Phase::Live);
        self.fixed(entry).state.store(state.0, PUBLISH);
        self.insert(entry);
        self.announce();
    }

    fn insert(&self, entry: u32) {
        let hash = self.fixed(entry).hash.load(Ordering::Relaxed);
        let mask = self.layout.index_slots - 1;
        let free = (0..self.layout.index_slots)
            .map(|distance| self.index_word((hash as u32).wrapping_add(distance) & mask))
            .find(|word| word.load(Ordering::Relaxed) == 0);
        // There is always a free word: four per entry, unless a peer scribbled; lookups then fall back to the entries.
        if let Some(word) = free {
            word.store(hash & 0xffff_ffff_0000_0000 | u64::from(entry + 1), Ordering::Release);
        }
    }

    /// Takes the names of the LIVE ones among these entries away; says how many there were. The memory stays until the last
    /// user is gone.
    pub(crate) fn unlink(&self, entries: Range<u32>) -> u32 {
        let mut unlinked = 0;
        for entry in entries {
            let state = self.state(entry);
            if state.phase() == Some(Phase::Live) {
                self.fixed(entry).state.store(state.with(Phase::Unlinked).0, Ordering::Release);
                unlinked += 1;
            }
        }
        self.rebuild_index();
        self.announce();
        unlinked
    }

    /// Notes, or forgets, that somebody died in the middle of a change of a structure.
    pub(crate) fn set_interrupted(&self, entry: u32, interrupted: bool) {
        self.fixed(entry).interrupted.store(interrupted.into(), Ordering::Release);
    }

    /// Gives an entry and its memory back.
    pub(crate) fn free(&self, entry: u32) {
        self.fixed(entry).state.store(self.state(entry).with(Phase::Free).0, Ordering::Release);
    }

    /// Computes the index anew from the entries.
    pub(crate) fn rebuild_index(&self) {
        let version = &self.header().index_version;
        let odd = version.load(Ordering::Relaxed) | 1;
        version.store(odd, Ordering::Relaxed);
        // Nothing of the rebuild may be seen before the odd version: pairs with the acquire fence in `find_again`.
        #[cfg(not(seeded_bug))]
        fence(Ordering::Release);
        for slot in 0..self.layout.index_slots {
            self.index_word(slot).store(0, Ordering::Relaxed);
        }
        for entry in 0..self.capacity() {
            if self.state(entry).phase() == Some(Phase::Live) {
                self.insert(entry);
            }
        }
        // Who sees the even version sees the whole index: pairs with the acquire load in `find_again`.
        version.store(odd.wrapping_add(1), PUBLISH);
    }

    /// After a death inside the lock: drops what was being built and computes the index anew.
    pub(crate) fn repair(&self) {
        for entry in 0..self.capacity() {
            if !matches!(self.state(entry).phase(), Some(Phase::Live | Phase::Unlinked | Phase::Free)) {
                self.free(entry);
            }
        }
        self.rebuild_index();
    }

    fn announce(&self) {
        let changes = &self.header().changes;
        changes.fetch_add(1, Ordering::Release);
        // Names come and go seldom, and read-only waiters cannot leave word that they sleep.
        crate::os::futex::wake_all(changes);
    }

    fn user(&self, entry: u32, participant: u32) -> Option<(&AtomicU64, u64)> {
        let bit = participant.checked_sub(1)?;
        Some((self.users_words(entry).get(bit as usize / 64)?, 1 << (bit % 64)))
    }

    pub(crate) fn add_user(&self, entry: u32, participant: u32) {
        if let Some((word, bit)) = self.user(entry, participant) {
            word.fetch_or(bit, Ordering::AcqRel);
        }
    }

    /// Can be done twice without harm.
    pub(crate) fn remove_user(&self, entry: u32, participant: u32) {
        if let Some((word, bit)) = self.user(entry, participant) {
            word.fetch_and(!bit, Ordering::AcqRel);
        }
    }

    pub(crate) fn is_user(&self, entry: u32, participant: u32) -> bool {
        self.user(entry, participant).is_some_and(|(word, bit)| word.load(Ordering::Acquire) & bit != 0)
    }

    pub(crate) fn has_users(&self, entry: u32) -> bool {
        self.users_words(entry).iter().any(|word| word.load(Ordering::Acquire) != 0)
    }
}

/// Whether `words` begin with those of `name`.
#[inline(always)]
fn is_stored_in(name: &[u8], words: &[AtomicU64]) -> bool {
    let mut words = words.iter().map(|word| word.load(Ordering::Relaxed));
    padded_words(name).all(|word| words.next() == Some(word))
}

/// A name as the words it is stored in.
fn padded_words(name: &[u8]) -> impl Iterator<Item = u64> {
    let (whole, rest) = name.as_chunks();
    let rest = (!rest.is_empty()).then(|| little_endian(rest));
    whole.iter().map(|chunk| u64::from_le_bytes(*chunk)).chain(rest)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::segment::region::heap::HeapRegion;

    fn with_table(test: impl FnOnce(Table)) {
        let layout = Layout::new(1 << 20, TableShape { name_bytes: 24, entries: 300 }, 70, 0).unwrap();
        let heap = HeapRegion::new(1 << 20);
        layout.write(heap.region().at(0).unwrap(), 0);
        test(Table::new(heap.region(), layout));
    }

    fn add(table: &Table, name: &str, offset: u64) -> u32 {
        let request = Request {
            name,
            kind: Kind::Queue,
            flags: 0,
            size: 128,
            align: 128,
            elem_size: 8,
            elem_align: 8,
            count: 16,
            type_tag: 0,
        };
        let entry = table.free_entry().unwrap();
        let state = table.build(entry, &request, offset);
        assert_eq!(table.find(name), None, "visible before it is published");
        table.publish(entry, state);
        entry
    }

    #[test]
    fn every_name_is_found_until_it_is_removed() {
        with_table(|table| {
            let names: Vec<String> = (0..300).map(|i| format!("structure/{i}")).collect();
            let entries: Vec<u32> = names.iter().map(|name| add(&table, name, 0)).collect();
            assert_eq!(table.free_entry(), None);
            for (name, entry) in names.iter().zip(&entries) {
                assert_eq!(table.find(name).map(|(found, _)| found), Some(*entry));
                assert_eq!(table.read(*entry).unwrap().1.name, *name);
            }
            assert_eq!(table.find("structure/300"), None);
            for (name, entry) in names.iter().zip(&entries).step_by(2) {
                table.unlink(*entry..*entry + 1);
                assert_eq!(table.find(name), None);
                table.free(*entry);
            }
            for (name, entry) in names.iter().zip(&entries).skip(1).step_by(2) {
                assert_eq!(table.find(name).map(|(found, _)| found), Some(*entry));
            }
            assert_eq!(table.free_entries(), 150);
        });
    }

    #[test]
    fn a_reused_entry_has_another_generation() {
        with_table(|table| {
            let entry = add(&table, "a", 0);
            let before = table.find("a").unwrap().1.generation();
            table.unlink(entry..entry + 1);
            table.free(entry);
            assert_eq!(add(&table, "b", 0), entry);
            assert_ne!(table.find("b").unwrap().1.generation(), before);
        });
    }

    #[test]
    fn death_in_a_rebuild_hides_nothing_and_is_repaired() {
        with_table(|table| {
            let entry = add(&table, "a", 0);
            // As if the holder of the lock had died after clearing the index.
            table.header().index_version.store(1, Ordering::Relaxed);
            (0..table.layout.index_slots).for_each(|slot| table.index_word(slot).store(0, Ordering::Relaxed));
            assert_eq!(table.find("a").map(|(found, _)| found), Some(entry));
            table.repair();
            assert!(table.header().index_version.load(Ordering::Relaxed).is_multiple_of(2));
            assert_eq!(table.probe(b"a", murmur64a(b"a")).map(|(found, _)| found), Some(entry));
        });
    }

    #[test]
    fn half_built_entries_are_dropped_by_repair() {
        with_table(|table| {
            let request = Request {
                name: "half",
                kind: Kind::Queue,
                flags: 0,
                size: 128,
                align: 128,
                elem_size: 8,
                elem_align: 8,
                count: 1,
                type_tag: 0,
            };
            table.build(0, &request, 0);
            assert_eq!(table.find("half"), None);
            assert_eq!(table.free_entries(), 299);
            table.repair();
            assert_eq!(table.free_entries(), 300);
        });
    }

    #[test]
    fn users_are_a_set() {
        with_table(|table| {
            let entry = add(&table, "a", 0);
            for participant in [1, 64, 65, 70] {
                table.add_user(entry, participant);
                table.add_user(entry, participant);
                assert!(table.is_user(entry, participant));
            }
            assert_eq!(table.read(entry).unwrap().1.users, 4);
            for participant in [1, 64, 65, 70] {
                assert!(table.has_users(entry));
                table.remove_user(entry, participant);
                table.remove_user(entry, participant);
            }
            assert!(!table.has_users(entry));
            // Out of range: nothing, rather than somebody else's bit.
            table.add_user(entry, 0);
            table.add_user(entry, 129);
            assert!(!table.has_users(entry));
        });
    }

    #[test]
    fn names_are_checked() {
        with_table(|table| {
            assert!(table.check_name("a/b c").is_ok());
            assert!(table.check_name(&"n".repeat(24)).is_ok());
            for bad in ["", "tab\there", &"n".repeat(25)] {
                assert!(table.check_name(bad).is_err(), "{bad:?}");
            }
        });
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::segment::region::heap::HeapRegion;
    use crate::sync::explore;
    use loom::sync::Arc;
    use std::mem::offset_of;

    struct Model {
        table: Table,
        _heap: HeapRegion,
    }

    /// An empty table.
    fn model(entries: u32) -> Arc<Model> {
        const BYTES: usize = 1 << 14;
        let layout = Layout::new(BYTES as u64, TableShape { name_bytes: 8, entries }, 1, 0).unwrap();
        let heap = HeapRegion::new(BYTES);
        let table = Table::new(heap.region(), layout);
        // By address: a reference would promise that nobody writes, as there are no cells in loom's atomics.
        let at = |offset: u64| heap.region().part(offset, 0).unwrap().base();
        let word = |offset: u64| {
            // SAFETY: fresh memory, ours.
            unsafe { at(offset).cast().write(AtomicU64::new(0)) };
        };
        for offset in [offset_of!(Header, index_version), offset_of!(Header, changes)] {
            // SAFETY: as above.
            unsafe { at(offset as u64).cast().write(AtomicU32::new(0)) };
        }
        (0..u64::from(layout.index_slots)).for_each(|slot| word(layout.index_offset + slot * WORD));
        for entry in 0..entries {
            let (wide, narrow) = (|| AtomicU64::new(0), || AtomicU32::new(0));
            let fixed = Fixed {
                state: wide(),
                hash: wide(),
                offset: wide(),
                size: wide(),
                elem_size: wide(),
                count: wide(),
                type_tag: wide(),
                elem_align: narrow(),
                flags: narrow(),
                name_len: narrow(),
                interrupted: narrow(),
                reserved_2: std::array::from_fn(|_| wide()),
            };
            // SAFETY: as above.
            unsafe { at(table.offset(entry)).cast().write(fixed) };
            // Its name, and its users.
            (0..2).for_each(|nth| word(table.offset(entry) + ENTRY_FIXED_BYTES + nth * WORD));
        }
        Arc::new(Model { table, _heap: heap })
    }

    /// Whatever is said of this structure is `mark`.
    fn marked<Name>(name: Name, mark: u32) -> Entry<Name> {
        let wide = u64::from(mark);
        Entry {
            name,
            kind: Kind::Queue,
            flags: mark,
            offset: wide,
            size: wide,
            elem_size: wide,
            elem_align: mark,
            count: wide,
            type_tag: wide,
            users: 0,
            interrupted: false,
        }
    }

    fn add(table: &Table, entry: u32, name: &str, mark: u32) {
        let Entry { kind, flags, offset, size, elem_size, elem_align, count, type_tag, .. } = marked(name, mark);
        let request = Request { name, kind, flags, size, align: 1, elem_size, elem_align, count, type_tag };
        let building = table.build(entry, &request, offset);
        table.publish(entry, building);
    }

    fn remove(table: &Table, entry: u32) {
        table.unlink(entry..entry + 1);
        table.free(entry);
    }

    fn look_up<'a>(table: &Table, name: &'a str) -> Option<Entry<&'a str>> {
        let (entry, state) = table.find(name)?;
        table.read_named(entry, state, name)
    }

    /// Two names that are looked for in the same word of the index first.
    fn colliding(table: &Table) -> [&'static str; 2] {
        let home = |name: &&str| murmur64a(name.as_bytes()) as u32 & (table.layout.index_slots - 1);
        let first = "a";
        let second = ["b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q"];
        [first, second.into_iter().find(|name| home(name) == home(&first)).unwrap()]
    }

    /// Another thread looks while this one changes the table. Not the other way round: loom remembers only the last access of a word,
    /// and what a change loads itself would hide that a look had loaded it.
    fn beside(model: &Arc<Model>, change: impl FnOnce(&Table), look: impl FnOnce(&Table) + 'static) {
        let reader = {
            let model = model.clone();
            loom::thread::spawn(move || look(&model.table))
        };
        change(&model.table);
        reader.join().unwrap();
    }

    #[test]
    fn loom_an_entry_that_is_reused_is_read_as_it_was_or_not_at_all() {
        explore(|| {
            let model = model(1);
            add(&model.table, 0, "a", 1);
            let state = model.table.state(0);
            let change = |table: &Table| {
                remove(table, 0);
                add(table, 0, "b", 2);
            };
            beside(&model, change, move |table| {
                if let Some(found) = table.read_named(0, state, "a") {
                    assert_eq!(found, marked("a", 1));
                }
            });
            assert_eq!(look_up(&model.table, "a"), None);
            assert_eq!(look_up(&model.table, "b"), Some(marked("b", 2)));
        });
    }

    #[test]
    fn loom_a_new_name_is_seen_with_all_that_is_said_of_it_or_not_at_all() {
        explore(|| {
            let model = model(1);
            let change = |table: &Table| add(table, 0, "new", 1);
            beside(&model, change, |table| {
                // By who lists the names, too: no index leads there.
                if let Some(found) = table.next_live(0) {
                    assert_eq!(found, (0, marked("new".to_owned(), 1)));
                }
                if let Some(found) = look_up(table, "new") {
                    assert_eq!(found, marked("new", 1));
                }
            });
            assert_eq!(look_up(&model.table, "new"), Some(marked("new", 1)));
        });
    }

    #[test]
    fn loom_a_name_that_stays_is_found_while_one_before_it_goes_and_another_comes() {
        explore(|| {
            let model = model(2);
            let [goes, stays] = colliding(&model.table);
            add(&model.table, 0, goes, 1);
            add(&model.table, 1, stays, 2);
            let change = |table: &Table| {
                remove(table, 0);
                add(table, 0, "new", 3);
            };
            beside(&model, change, move |table| assert_eq!(look_up(table, stays), Some(marked(stays, 2))));
        });
    }

    #[test]
    fn loom_a_name_that_stays_is_found_beside_the_repair_of_the_index() {
        explore(|| {
            let model = model(1);
            add(&model.table, 0, "stays", 1);
            // As if the holder of the lock had died after clearing the index.
            model.table.header().index_version.store(1, Ordering::Relaxed);
            (0..model.table.layout.index_slots)
                .for_each(|slot| model.table.index_word(slot).store(0, Ordering::Relaxed));
            beside(&model, Table::repair, |table| assert_eq!(look_up(table, "stays"), Some(marked("stays", 1))));
        });
    }
}
