//! Which objects are free, and who owns the others.
//!
//! # Bytes
//!
//! | offset | field |
//! |---|---|
//! | 0 | map: ⌈capacity / 64⌉ words; bit i says that object i may be free |
//! | next multiple of 128 | states: a word per object: generation << 32 \| owner << 16 \| phase (0 FREE, 1 OWNED) |
//! | next multiple of 128 and of the alignment | objects, at multiples of their size rounded up to their alignment |
//!
//! A zeroed map says that nothing is free, so a new pool has its bits set before it gets its name.
//!
//! # Algorithm
//!
//! The states are authoritative and the map is a hint where to look. `acquire` claims an object by one compare-and-swap FREE(g) →
//! OWNED(g, me). `release` checks the handle against the state, and makes it FREE(g + 1).
//!
//! A bit that is set for an owned object costs whoever looks for a free one a look; a bit that is missing hides a free one. So
//! anybody may clear a bit at any time, and looks at the state after it: if that is FREE, the bit is set again. And whoever made a state FREE looks
//! at the bit after it, and sets it if it is missing. Of two who do this at once, one sees what the other did (`hint`). Whoever looks for
//! a free object clears the bits that led to none.
//!
//! So the map need not change at all where one object is acquired and released again and again: a handle remembers which it acquired last, tries
//! that first, and clears its bit only when it goes on to another. But peers may scribble: whoever finds a pool exhausted looks at
//! the objects one by one once in a while, and sets the bits that are missing.
//!
//! A linked list of free objects would take one swap less, but between taking an object off the list and writing its owner
//! down, a death would leak it; here the owner is written by the very swap that takes it. A batch takes each object by a swap of its own
//! word, which nobody else wants, and changes the map, which all share, once per 64 objects.
//!
//! # Handles
//!
//! A handle is generation << 32 | index + 1. A second release finds another phase or generation, a stale handle another
//! generation, a foreign one another owner: all are refused. A generation comes again after 2^32 uses of one object.
//!
//! # Ordering
//!
//! - `free`: the release swap to FREE pairs with the acquire swap to OWNED: whoever gets an object sees what its last owner did.
//! - `hint`: the swap to FREE and the look at the bit after it, the clearing of the bit and the look at the state after it: all are SeqCst, so that one
//!   of two looks sees the other side's change.
//!
//! # Death
//!
//! Recovery makes every object of the dead FREE of the next generation and sets its bit; and sets the bit of every FREE object that
//! has none, for an owner who died between the two steps of a release. Both can be done twice and beside the living: a bit set for an object
//! that was claimed meanwhile is a wrong hint, which costs a look.
//!
//! An object can be handed to somebody who is closing the pool and has given everything back already. The giver looks for that
//! afterwards, but may die before, or look too early. Such a stray is given back when somebody who has the pool open is buried, or when a
//! pool is found exhausted: under the segment's lock nobody comes to have the pool open, so who does not, has no right to an object.
//!
//! Lock-free.

use crate::segment::Region;
use crate::shared::LINE_PAIR;
use crate::sync::{AtomicU64, Ordering, swapped};

/// How an object is given away. Without the release half in the model checker's must-fail twin.
const GIVE: Ordering = if cfg!(seeded_bug) { Ordering::Acquire } else { Ordering::SeqCst };
/// How bits are changed, and how one looks at bit or state after changing the other. In the twin they order nothing.
const HINT: Ordering = if cfg!(seeded_bug) { Ordering::Relaxed } else { Ordering::SeqCst };

pub(super) const FREE: u64 = 0;
pub(super) const OWNED: u64 = 1;
const PHASE_MASK: u64 = 0xffff;
const OWNER_SHIFT: u32 = 16;
const OWNER_MASK: u64 = 0xffff << OWNER_SHIFT;
const GENERATION_SHIFT: u32 = 32;

fn owned(generation: u64, owner: u32) -> u64 {
    generation << GENERATION_SHIFT | u64::from(owner) << OWNER_SHIFT | OWNED
}

pub(super) fn owner(state: u64) -> u32 {
    ((state & OWNER_MASK) >> OWNER_SHIFT) as u32
}

pub(super) fn phase(state: u64) -> u64 {
    state & PHASE_MASK
}

/// FREE of the generation after this state's.
fn freed(state: u64) -> u64 {
    (state >> GENERATION_SHIFT).wrapping_add(1) << GENERATION_SHIFT | FREE
}

/// Names an object of a pool, and which use of it. Plain data: may be sent to other processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle(u64);

impl Handle {
    /// The handle of no object.
    pub const NONE: Self = Self(0);

    fn new(index: u64, generation: u64) -> Self {
        Self(generation << GENERATION_SHIFT | (index + 1))
    }

    /// The number that stands for this handle in messages and in C.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The handle with this number. Any number may be tried: a wrong one is refused where it is used.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[inline(always)]
    pub(crate) fn index(self) -> Option<u64> {
        (self.0 & 0xffff_ffff).checked_sub(1)
    }

    fn generation(self) -> u64 {
        self.0 >> GENERATION_SHIFT
    }
}

/// Why a handle was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No object has this number.
    NoSuchObject,
    /// The object was released since, or never acquired.
    Stale,
    /// Another participant owns it.
    Foreign(u32),
}

/// Where a pool's bytes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) capacity: u64,
    states: u64,
    objects: u64,
    step: u64,
    pub(crate) bytes: u64,
    pub(crate) align: u64,
}

const WORD: u64 = size_of::<AtomicU64>() as u64;
const LINES: u64 = LINE_PAIR as u64;

/// The most objects a pool can have: handles have 32 bits for the number.
pub(crate) const MOST: u64 = u32::MAX as u64 - 1;

impl Geometry {
    /// `None` when the numbers overflow. `step`: bytes from one object to the next.
    pub(crate) fn new(capacity: u64, step: u64, align: u64) -> Option<Self> {
        if capacity > MOST {
            return None;
        }
        let align = align.max(LINES);
        let states = (capacity.div_ceil(64) * WORD).next_multiple_of(LINES);
        let objects = (states + capacity * WORD).checked_next_multiple_of(align)?;
        let bytes = step.checked_mul(capacity)?.checked_add(objects)?;
        (bytes <= i64::MAX as u64).then_some(Self { capacity, states, objects, step, bytes, align })
    }
}

/// The algorithm over one pool's bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots {
    region: Region,
    geometry: Geometry,
}

impl Slots {
    /// `None` when the section is too small or misplaced.
    pub(crate) fn new(region: Region, geometry: Geometry) -> Option<Self> {
        region.part(0, geometry.bytes)?;
        region.at::<AtomicU64>(0)?;
        Some(Self { region, geometry })
    }

    #[inline(always)]
    fn at(&self, offset: u64) -> &AtomicU64 {
        // SAFETY: `new` checked that the whole geometry lies in the region, aligned; the callers stay in the geometry.
        unsafe { self.region.base().add(offset as usize).cast().as_ref() }
    }

    #[inline(always)]
    pub(super) fn map(&self, word: u64) -> &AtomicU64 {
        debug_assert!(word < self.words());
        self.at(word * WORD)
    }

    #[inline(always)]
    pub(super) fn state(&self, index: u64) -> &AtomicU64 {
        debug_assert!(index < self.geometry.capacity);
        self.at(self.geometry.states + index * WORD)
    }

    /// Where the state of an object lies in the section.
    pub(super) fn state_offset(&self, index: u64) -> u64 {
        self.geometry.states + index * WORD
    }

    /// Bytes of the section.
    pub(super) fn bytes(&self) -> u64 {
        self.geometry.bytes
    }

    fn words(&self) -> u64 {
        self.geometry.capacity.div_ceil(64)
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.geometry.capacity
    }

    /// Says of every object of a zeroed pool that it is free.
    pub(crate) fn initialise(&self) {
        for index in 0..self.geometry.capacity {
            self.hint(index);
        }
    }

    fn hint(&self, index: u64) {
        self.hints(index / 64, 1 << (index % 64));
    }

    /// Sets those of the bits that are missing, after their objects became FREE.
    #[inline(always)]
    fn hints(&self, word: u64, bits: u64) {
        swapped();
        // SeqCst, `hint`.
        let missing = bits & !self.map(word).load(HINT);
        if missing != 0 {
            self.map(word).fetch_or(missing, HINT);
        }
    }

    /// Clears bits of objects that were not free; those that are by now get theirs back.
    fn clear(&self, word: u64, bits: u64) {
        self.map(word).fetch_and(!bits, HINT);
        swapped();
        let mut left = bits;
        while left != 0 {
            let index = word * 64 + u64::from(left.trailing_zeros());
            left &= left - 1;
            // SeqCst, `hint`.
            if index < self.geometry.capacity && phase(self.state(index).load(HINT)) == FREE {
                self.hint(index);
            }
        }
    }

    /// Clears the bit of an object that is not free, if it is set.
    #[inline(always)]
    pub(crate) fn leave(&self, index: u64) {
        if index < self.geometry.capacity
            && self.map(index / 64).load(Ordering::Relaxed) >> (index % 64) & 1 != 0
            && phase(self.state(index).load(Ordering::Relaxed)) != FREE
        {
            self.clear(index / 64, 1 << (index % 64));
        }
    }

    /// The address of an object.
    #[inline(always)]
    pub(crate) fn object(&self, index: u64) -> *mut u8 {
        debug_assert!(index < self.geometry.capacity);
        // SAFETY: inside the region by `new`.
        unsafe { self.region.base().add((self.geometry.objects + index * self.geometry.step) as usize).as_ptr() }
    }

    /// Takes object `last` if it is free; else the first of its map word that has its bit set, if it is free, and leaves `last`.
    #[inline(always)]
    pub(crate) fn acquire_at_once(&self, me: u32, last: u64) -> Option<Handle> {
        if let Some(handle) = self.take(me, last) {
            return Some(handle);
        }
        if last >= self.geometry.capacity {
            return None;
        }
        self.leave(last);
        let bits = self.map(last / 64).load(Ordering::Relaxed);
        if bits == 0 { None } else { self.take(me, last / 64 * 64 + u64::from(bits.trailing_zeros())) }
    }

    /// Takes up to `count` free objects, looking from `from`'s map word on, and hands them to `give`.
    pub(crate) fn acquire(&self, me: u32, from: u64, count: usize, mut give: impl FnMut(Handle)) {
        let words = self.words();
        let start = from / 64 % words;
        let mut left = count;
        for word in (start..words).chain(0..start) {
            left -= self.acquire_in(me, word, left, &mut give);
            if left == 0 {
                break;
            }
        }
    }

    /// Takes up to `count` free objects of one map word; says how many.
    fn acquire_in(&self, me: u32, word: u64, count: usize, give: &mut impl FnMut(Handle)) -> usize {
        let found = self.map(word).load(Ordering::Relaxed);
        let (mut taken, mut bits) = (0, found);
        while bits != 0 && taken < count {
            let nth = bits.trailing_zeros();
            bits &= bits - 1;
            if let Some(handle) = self.take(me, word * 64 + u64::from(nth)) {
                give(handle);
                taken += 1;
            }
        }
        if found != bits {
            self.clear(word, found ^ bits);
        }
        taken
    }

    /// Claims an object.
    #[inline(always)]
    fn take(&self, me: u32, index: u64) -> Option<Handle> {
        if index >= self.geometry.capacity {
            return None;
        }
        let state = self.state(index);
        let found = state.load(Ordering::Relaxed);
        let generation = found >> GENERATION_SHIFT;
        if phase(found) != FREE {
            return None;
        }
        // Acquire, `free`.
        state.compare_exchange(found, owned(generation, me), Ordering::Acquire, Ordering::Relaxed).ok()?;
        Some(Handle::new(index, generation))
    }

    /// The object's number, if the handle is of its present use, whoever owns it.
    pub(crate) fn find(&self, handle: Handle) -> Result<u64, Refusal> {
        let index = handle.index().filter(|index| *index < self.geometry.capacity).ok_or(Refusal::NoSuchObject)?;
        let state = self.state(index).load(Ordering::Acquire);
        if phase(state) == OWNED && state >> GENERATION_SHIFT == handle.generation() {
            Ok(index)
        } else {
            Err(Refusal::Stale)
        }
    }

    /// Changes the state of `me`'s object.
    fn change(&self, me: u32, handle: Handle, to: impl Fn(u64) -> u64) -> Result<u64, Refusal> {
        let index = self.find(handle)?;
        let mine = owned(handle.generation(), me);
        // Release, `free`; SeqCst, `hint`.
        match self.state(index).compare_exchange(mine, to(mine), GIVE, Ordering::Relaxed) {
            Ok(_) => Ok(index),
            Err(found) if phase(found) == OWNED && found >> GENERATION_SHIFT == handle.generation() => {
                Err(Refusal::Foreign(owner(found)))
            }
            Err(_) => Err(Refusal::Stale),
        }
    }

    /// Gives an object back; false, and nothing was done, if it is refused.
    #[inline(always)]
    pub(crate) fn release_at_once(&self, me: u32, handle: Handle) -> bool {
        let Some(index) = handle.index().filter(|index| *index < self.geometry.capacity) else { return false };
        let mine = owned(handle.generation(), me);
        // Release, `free`; SeqCst, `hint`.
        let freed = self.state(index).compare_exchange(mine, freed(mine), GIVE, Ordering::Relaxed).is_ok();
        if freed {
            self.hints(index / 64, 1 << (index % 64));
        }
        freed
    }

    /// Gives objects back; stops at the first that is refused, and says how many came before it.
    pub(crate) fn release(
        &self,
        me: u32,
        handles: impl IntoIterator<Item = Handle>,
    ) -> Result<(), (usize, Handle, Refusal)> {
        let (mut word, mut bits) = (0, 0);
        for (done, handle) in handles.into_iter().enumerate() {
            let freed = self.change(me, handle, freed);
            let next = freed.as_ref().map_or(word, |index| index / 64);
            if bits != 0 && (freed.is_err() || next != word) {
                self.hints(word, bits);
                bits = 0;
            }
            let index = freed.map_err(|refusal| (done, handle, refusal))?;
            word = next;
            bits |= 1 << (index % 64);
        }
        if bits != 0 {
            self.hints(word, bits);
        }
        Ok(())
    }

    /// Makes an object of `from`'s one of `to`'s.
    pub(crate) fn hand_over(&self, from: u32, handle: Handle, to: u32) -> Result<(), Refusal> {
        self.change(from, handle, |_| owned(handle.generation(), to)).map(|_| ())
    }

    /// Whoever owns an object, if the handle is of its present use.
    pub(crate) fn owner(&self, handle: Handle) -> Result<u32, Refusal> {
        let index = self.find(handle)?;
        Ok(owner(self.state(index).load(Ordering::Acquire)))
    }

    /// The first object from `from` on that somebody owns, and its number.
    pub(crate) fn next_owned(&self, from: u64) -> Option<(u64, Handle)> {
        (from..self.geometry.capacity).find_map(|index| {
            let state = self.state(index).load(Ordering::Acquire);
            (phase(state) == OWNED).then(|| (index, Handle::new(index, state >> GENERATION_SHIFT)))
        })
    }

    /// How many objects are free.
    pub(crate) fn available(&self) -> u64 {
        let free = |index: &u64| phase(self.state(*index).load(Ordering::Relaxed)) == FREE;
        (0..self.geometry.capacity).filter(free).count() as u64
    }

    /// Whether any object is a participant's.
    pub(crate) fn is_owner(&self, participant: u32) -> bool {
        (0..self.geometry.capacity).any(|index| {
            let state = self.state(index).load(Ordering::Acquire);
            phase(state) == OWNED && owner(state) == participant
        })
    }

    /// Sets the bit of every FREE object that has none; true when there were some.
    pub(crate) fn restore_hints(&self) -> bool {
        let mut any = false;
        for index in 0..self.geometry.capacity {
            any |= self.restore_hint(index, self.state(index).load(Ordering::Relaxed));
        }
        any
    }

    fn restore_hint(&self, index: u64, found: u64) -> bool {
        let lost = phase(found) == FREE && self.map(index / 64).load(Ordering::Relaxed) >> (index % 64) & 1 == 0;
        if lost {
            self.hint(index);
        }
        lost
    }

    /// Gives back every object of `dead`, and every hint it did not come to give.
    pub(crate) fn reclaim(&self, dead: u32) {
        self.reclaim_from(|owner| owner == dead);
    }

    /// Gives back every object whose owner is `gone`, and every hint that is missing; true when there were some.
    pub(crate) fn reclaim_from(&self, gone: impl Fn(u32) -> bool) -> bool {
        let mut any = false;
        for index in 0..self.geometry.capacity {
            let state = self.state(index);
            let found = state.load(Ordering::Acquire);
            if phase(found) == OWNED && gone(owner(found)) {
                if state.compare_exchange(found, freed(found), GIVE, Ordering::Relaxed).is_ok() {
                    self.hint(index);
                    any = true;
                }
            } else {
                any |= self.restore_hint(index, found);
            }
        }
        any
    }
}

#[cfg(test)]
fn acquire(slots: &Slots, me: u32) -> Option<Handle> {
    let mut acquired = None;
    slots.acquire(me, 0, 1, |handle| acquired = Some(handle));
    acquired
}

#[cfg(test)]
fn release(slots: &Slots, me: u32, handle: Handle) -> Result<(), Refusal> {
    slots.release(me, [handle]).map_err(|(_, _, refusal)| refusal)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::segment::region::heap::HeapRegion;
    use proptest::prelude::*;

    struct TestPool {
        slots: Slots,
        _heap: HeapRegion,
    }

    impl TestPool {
        fn new(capacity: u64) -> Self {
            let geometry = Geometry::new(capacity, 24, 8).unwrap();
            let heap = HeapRegion::new(geometry.bytes as usize);
            let slots = Slots::new(heap.region(), geometry).unwrap();
            slots.initialise();
            Self { slots, _heap: heap }
        }

        fn acquire(&self, me: u32) -> Option<Handle> {
            acquire(&self.slots, me)
        }

        fn release(&self, me: u32, handle: Handle) -> Result<(), Refusal> {
            release(&self.slots, me, handle)
        }
    }

    #[test]
    fn one_object_again_and_again_leaves_the_map_alone() {
        let test = TestPool::new(100);
        let map = || [0, 1].map(|word| test.slots.map(word).load(Ordering::Relaxed));
        let full = map();
        for _ in 0..3 {
            let handle = test.slots.acquire_at_once(7, 70).unwrap();
            assert_eq!((handle.index(), map()), (Some(70), full));
            assert!(test.slots.release_at_once(7, handle));
            assert!(!test.slots.release_at_once(7, handle));
        }
        let held = test.slots.acquire_at_once(7, 70).unwrap();
        let next = test.slots.acquire_at_once(7, 70).unwrap();
        assert_eq!((next.index(), map()), (Some(64), [full[0], full[1] & !(1 << 6)]));
        assert!(test.slots.release_at_once(7, held));
        assert_eq!(map(), full);
    }

    #[test]
    fn every_object_is_given_once_and_all_come_back() {
        for capacity in [1, 63, 64, 65, 200] {
            let test = TestPool::new(capacity);
            let handles: Vec<Handle> = std::iter::from_fn(|| test.acquire(1)).collect();
            assert_eq!(handles.len() as u64, capacity);
            let mut addresses: Vec<_> =
                handles.iter().map(|h| test.slots.object(test.slots.find(*h).unwrap())).collect();
            addresses.sort_unstable();
            addresses.dedup();
            assert_eq!(addresses.len() as u64, capacity);
            assert_eq!(test.slots.available(), 0);
            for handle in &handles {
                assert_eq!(test.release(1, *handle), Ok(()));
                assert_eq!(test.release(1, *handle), Err(Refusal::Stale), "a second release");
                assert_eq!(test.slots.find(*handle), Err(Refusal::Stale));
            }
            assert_eq!(test.slots.available(), capacity);
        }
    }

    #[test]
    fn batches_take_what_there_is_and_stop_at_what_is_refused() {
        let test = TestPool::new(150);
        let mut handles = Vec::new();
        test.slots.acquire(1, 64, 100, |handle| handles.push(handle));
        test.slots.acquire(1, 0, 100, |handle| handles.push(handle));
        assert_eq!((handles.len(), test.slots.available()), (150, 0));
        assert_eq!(acquire(&test.slots, 1), None);
        assert!((0..3).all(|word| test.slots.map(word).load(Ordering::Relaxed) == 0));

        let bad = Handle::new(6, 9);
        let batch = [handles[3], handles[149], handles[4], bad, handles[5]];
        assert_eq!(test.slots.release(1, batch), Err((3, bad, Refusal::Stale)));
        assert_eq!(test.slots.available(), 3);
        let mut again = Vec::new();
        test.slots.acquire(1, 0, 9, |handle| again.push(handle));
        assert_eq!(again.len(), 3, "all that is free has its hint");
        assert_eq!(test.slots.release(1, again), Ok(()));
    }

    #[test]
    fn foreign_and_made_up_handles_are_refused() {
        let test = TestPool::new(4);
        let handle = test.acquire(1).unwrap();
        assert_eq!(test.release(2, handle), Err(Refusal::Foreign(1)));
        assert_eq!(test.slots.hand_over(1, handle, 2), Ok(()));
        assert_eq!((test.slots.owner(handle), test.release(1, handle)), (Ok(2), Err(Refusal::Foreign(2))));
        assert_eq!(test.release(2, handle), Ok(()));
        for bits in [0, 5, 99, u64::MAX, handle.to_bits()] {
            assert!(test.release(1, Handle::from_bits(bits)).is_err(), "{bits}");
            assert!(test.slots.find(Handle::from_bits(bits)).is_err(), "{bits}");
        }
    }

    #[test]
    fn what_the_dead_owned_or_were_releasing_comes_back() {
        let test = TestPool::new(3);
        let (kept, _lost, released) = (test.acquire(1).unwrap(), test.acquire(9).unwrap(), test.acquire(9).unwrap());
        // Death between FREE and the hint.
        let index = test.slots.change(9, released, freed).unwrap();
        assert_eq!(test.slots.map(0).load(Ordering::Relaxed), 0);
        assert_eq!((test.acquire(1), index), (None, 2));
        test.slots.reclaim(9);
        test.slots.reclaim(9);
        assert_eq!(test.slots.available(), 2);
        assert!(test.acquire(1).is_some() && test.acquire(1).is_some() && test.acquire(1).is_none());
        assert_eq!(test.slots.owner(kept), Ok(1));
    }

    #[test]
    fn what_strayed_comes_back_and_what_somebody_has_stays() {
        let test = TestPool::new(3);
        let (kept, strayed) = (test.acquire(1).unwrap(), test.acquire(1).unwrap());
        assert_eq!(test.slots.hand_over(1, strayed, 9), Ok(()));
        assert!(test.slots.reclaim_from(|owner| owner != 1));
        assert!(!test.slots.reclaim_from(|owner| owner != 1));
        assert_eq!((test.slots.owner(kept), test.slots.owner(strayed)), (Ok(1), Err(Refusal::Stale)));
        assert!(test.acquire(1).is_some() && test.acquire(1).is_some() && test.acquire(1).is_none());
    }

    #[test]
    fn scribbled_words_end_in_an_outcome() {
        let test = TestPool::new(100);
        let mut seed = 0x1234_5678_9abc_def1_u64;
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        for _ in 0..20_000 {
            match random() % 6 {
                0 => test.slots.map(random() % 2).store(random(), Ordering::Relaxed),
                1 => test.slots.state(random() % 100).store(random(), Ordering::Relaxed),
                2 => test.slots.acquire(1, random(), (random() % 70) as usize, |_| ()),
                3 => drop(test.release(1, Handle::from_bits(random() & 0xffff_0000_007f))),
                4 => test.slots.reclaim(1),
                _ => drop(test.slots.next_owned(random() % 200)),
            }
        }
    }

    proptest! {
        #[test]
        fn any_order_of_operations_agrees_with_a_set(operations in prop::collection::vec((0_u8..4, 0_usize..8), 1..300)) {
            let test = TestPool::new(5);
            let mut model: Vec<(Handle, u32)> = Vec::new();
            for (operation, pick) in operations {
                let me = pick as u32 % 3 + 1;
                match operation {
                    0 | 1 => match test.acquire(me) {
                        Some(handle) => {
                            prop_assert!(!model.iter().any(|(other, _)| *other == handle));
                            model.push((handle, me));
                        }
                        None => prop_assert_eq!(model.len(), 5),
                    },
                    2 if !model.is_empty() => {
                        let (handle, owner) = model.swap_remove(pick % model.len());
                        prop_assert_eq!(test.release(owner, handle), Ok(()));
                        prop_assert_eq!(test.release(owner, handle), Err(Refusal::Stale));
                    }
                    3 => {
                        test.slots.reclaim(me);
                        model.retain(|(_, owner)| *owner != me);
                    }
                    _ => {}
                }
                prop_assert_eq!(test.slots.available(), 5 - model.len() as u64);
            }
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::segment::region::heap::HeapRegion;
    use crate::sync::explore;
    use loom::sync::Arc;

    struct Model {
        slots: Slots,
        /// Races on an object are races on its cell.
        objects: Vec<loom::cell::UnsafeCell<u32>>,
        _heap: HeapRegion,
    }

    // SAFETY: loom's cells report whatever is shared wrongly.
    unsafe impl Sync for Model {}
    // SAFETY: as above.
    unsafe impl Send for Model {}

    fn model(capacity: u64) -> Arc<Model> {
        let geometry = Geometry::new(capacity, 8, 8).unwrap();
        let heap = HeapRegion::new(geometry.bytes as usize);
        let slots = Slots { region: heap.region(), geometry };
        let words = [slots.map(0) as *const AtomicU64]
            .into_iter()
            .chain((0..capacity).map(|index| slots.state(index) as *const AtomicU64));
        for word in words {
            // SAFETY: fresh memory, ours.
            unsafe { word.cast_mut().write(AtomicU64::new(0)) };
        }
        slots.initialise();
        let objects = (0..capacity).map(|_| loom::cell::UnsafeCell::new(0)).collect();
        Arc::new(Model { slots, objects, _heap: heap })
    }

    /// Acquires an object, marks it, finds the mark, releases it.
    fn use_one(model: &Model, me: u32) -> bool {
        let Some(handle) = acquire(&model.slots, me) else { return false };
        let index = model.slots.find(handle).unwrap() as usize;
        // SAFETY: ours.
        model.objects[index].with_mut(|object| unsafe { *object = me });
        // SAFETY: ours.
        model.objects[index].with(|object| assert_eq!(unsafe { *object }, me));
        assert_eq!(release(&model.slots, me, handle), Ok(()));
        true
    }

    #[test]
    fn loom_an_object_has_one_owner() {
        explore(|| {
            let model = model(1);
            let other = {
                let model = model.clone();
                loom::thread::spawn(move || use_one(&model, 1))
            };
            let mine = use_one(&model, 2);
            assert!(other.join().unwrap() || mine);
            assert_eq!(model.slots.available(), 1);
            assert!(use_one(&model, 3), "leaked");
        });
    }

    #[test]
    fn loom_a_batch_leaves_its_hints_right() {
        explore(|| {
            let model = model(2);
            let other = {
                let model = model.clone();
                loom::thread::spawn(move || {
                    let mut batch = Vec::new();
                    model.slots.acquire(1, 0, 2, |handle| batch.push(handle));
                    for handle in &batch {
                        let index = model.slots.find(*handle).unwrap() as usize;
                        // SAFETY: ours.
                        model.objects[index].with_mut(|object| unsafe { *object = 1 });
                    }
                    assert_eq!(model.slots.release(1, batch), Ok(()));
                })
            };
            use_one(&model, 2);
            other.join().unwrap();
            let mut all = 0;
            model.slots.acquire(3, 0, 2, |_| all += 1);
            assert_eq!(all, 2, "leaked");
        });
    }

    #[test]
    fn loom_a_bit_that_is_cleared_late_hides_nothing() {
        explore(|| {
            let model = model(2);
            let handle = model.slots.acquire_at_once(1, 0).unwrap();
            let other = {
                let model = model.clone();
                loom::thread::spawn(move || assert!(model.slots.release_at_once(1, handle)))
            };
            // Gets the same again, or goes on to the other and leaves this one.
            model.slots.acquire_at_once(1, 0);
            other.join().unwrap();
            let (free, mut found) = (model.slots.available(), 0);
            model.slots.acquire(2, 0, 2, |_| found += 1);
            assert_eq!(found, free, "hidden");
        });
    }

    #[test]
    fn loom_the_dead_are_reclaimed_beside_the_living() {
        explore(|| {
            let model = model(2);
            acquire(&model.slots, 9).unwrap();
            let reaper = {
                let model = model.clone();
                loom::thread::spawn(move || {
                    model.slots.reclaim(9);
                    use_one(&model, 2)
                })
            };
            assert!(use_one(&model, 1));
            // Perhaps what the reaper gave back, and takes next; perhaps none, as it looks while that is on its way.
            use_one(&model, 1);
            reaper.join().unwrap();
            assert_eq!(model.slots.available(), 2);
            assert!(acquire(&model.slots, 1).is_some() && acquire(&model.slots, 1).is_some());
        });
    }
}
