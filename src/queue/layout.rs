//! The bytes of a queue.
//!
//! ```text
//! 0     control line 0: events and ends; read by everybody, written when somebody sleeps, wakes, comes or goes
//! 128   tail      MPMC: hint where the next free slot is; SPSC: the producer's position
//! 256   head      MPMC: hint where the next full slot is; SPSC: the consumer's position as told to the producer
//! 384   exact     SPSC: the consumer's true position; taken: one past an element it looks at in place
//! 512   slots, at this or the next multiple of the element's alignment
//! ```
//!
//! | slots of | stride | bytes |
//! |---|---|---|
//! | MPMC | state, element | state word; element at the next multiple of its alignment |
//! | SPSC, packed by line | 64 | line word; as many elements as fit. Where at least two fit |
//! | SPSC, one by one | word, element | as a line with one element |

#[cfg(not(loom))]
use crate::error::{Result, fail};
use crate::segment::Region;
#[cfg(not(loom))]
use crate::segment::{Element, SECTION_ALIGN};
use crate::shared::{CacheAligned, End, EventCount, Shared};
use crate::sync::{AtomicU32, AtomicU64, Ordering, prefetch};

/// Who may use a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Any number of producers and consumers.
    Mpmc,
    /// One producer and one consumer at a time: several times faster.
    Spsc,
}

/// The table entry's flag for SPSC.
pub(crate) const FLAG_SPSC: u32 = 1;

#[repr(C)]
pub(crate) struct Events {
    /// Consumers sleep here until there is an element.
    pub(crate) items: EventCount,
    /// Producers sleep here until there is room.
    pub(crate) space: EventCount,
    /// Nonzero after shutdown.
    pub(crate) shut: AtomicU32,
    reserved: AtomicU32,
    /// SPSC: who is the producer.
    pub(crate) producer: End,
    /// SPSC: who is the consumer.
    pub(crate) consumer: End,
}

#[repr(C)]
pub(crate) struct Exact {
    pub(crate) position: AtomicU64,
    pub(crate) taken: AtomicU64,
}

/// The control lines of a queue.
#[repr(C)]
pub(crate) struct Control {
    pub(crate) events: CacheAligned<Events>,
    pub(crate) tail: CacheAligned<AtomicU64>,
    pub(crate) head: CacheAligned<AtomicU64>,
    pub(crate) exact: CacheAligned<Exact>,
}

// SAFETY: atomics and padding only.
unsafe impl Shared for Control {}

#[cfg(not(loom))]
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<Control>() == 512);
    assert!(offset_of!(Control, tail) == 128 && offset_of!(Control, head) == 256 && offset_of!(Control, exact) == 384);
    assert!(offset_of!(Events, shut) == 16 && offset_of!(Events, producer) == 24);
};

impl Control {
    #[cfg(all(test, loom))]
    pub(crate) fn new() -> Self {
        Self {
            events: CacheAligned(Events {
                items: EventCount::new(),
                space: EventCount::new(),
                shut: AtomicU32::new(0),
                reserved: AtomicU32::new(0),
                producer: End::new(),
                consumer: End::new(),
            }),
            tail: CacheAligned(AtomicU64::new(0)),
            head: CacheAligned(AtomicU64::new(0)),
            exact: CacheAligned(Exact { position: AtomicU64::new(0), taken: AtomicU64::new(0) }),
        }
    }

    #[inline(always)]
    pub(crate) fn is_shut(&self) -> bool {
        self.events.shut.load(Ordering::Relaxed) != 0
    }
}

/// The word before each element, or before each line of elements. Under a model checker it is larger.
const WORD: usize = size_of::<AtomicU64>();
/// A line of packed elements.
#[cfg(not(loom))]
const LINE: usize = 64;
/// In a model, elements are loom cells, and a line holds two.
#[cfg(loom)]
const LINE: usize = WORD + 2 * size_of::<loom::cell::UnsafeCell<u64>>();

/// What a queue is asked to be. The capacity is a power of two already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) mode: Mode,
    pub(crate) capacity: u64,
    pub(crate) elem_size: u64,
    pub(crate) elem_align: u32,
}

/// Where the slots of a queue of some shape lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) shape: Shape,
    /// Offset of the first slot (or line) in the section.
    pub(crate) slots: usize,
    /// Bytes from one slot (or line) to the next.
    pub(crate) stride: usize,
    /// Offset of the (first) element in a slot (or line).
    pub(crate) first: usize,
    /// Bytes from one element of a line to the next.
    pub(crate) step: usize,
    /// Elements in a slot (or line): 1 unless packed.
    pub(crate) per_line: usize,
    /// How many slots (or lines) there are.
    pub(crate) lines: u64,
    /// Bytes of the whole section.
    pub(crate) bytes: u64,
}

impl Geometry {
    /// `None` when the numbers overflow.
    pub(crate) fn new(shape: Shape) -> Option<Self> {
        let size = usize::try_from(shape.elem_size).ok()?;
        let align = shape.elem_align as usize;
        let first = WORD.next_multiple_of(align);
        let step = size.checked_next_multiple_of(align)?;
        let per_line = match shape.mode {
            Mode::Spsc if first < LINE => ((LINE - first) / step).max(1),
            _ => 1,
        };
        let stride = if per_line > 1 {
            LINE
        } else {
            let bytes = first.checked_add(step)?.checked_next_multiple_of(WORD.max(align))?;
            // A slot that fits into a line does not straddle two.
            if bytes <= LINE { bytes.next_power_of_two() } else { bytes }
        };
        let lines = match shape.mode {
            Mode::Mpmc => shape.capacity,
            // Whatever the position in a line, `capacity` elements fit without touching the oldest line still in use.
            Mode::Spsc => (shape.capacity - 1).div_ceil(per_line as u64).checked_add(1)?,
        };
        let slots = size_of::<Control>().next_multiple_of(align.max(LINE));
        let bytes = lines.checked_mul(stride as u64)?.checked_add(slots as u64)?;
        (bytes <= i64::MAX as u64).then_some(Self { shape, slots, stride, first, step, per_line, lines, bytes })
    }

    /// The geometry that a table entry describes, checked against the section it has.
    #[cfg(not(loom))]
    pub(crate) fn of(entry: &crate::segment::Entry) -> Result<Self> {
        let mode = if entry.flags & FLAG_SPSC != 0 { Mode::Spsc } else { Mode::Mpmc };
        let shape = Shape { mode, capacity: entry.count, elem_size: entry.elem_size, elem_align: entry.elem_align };
        let corrupt = || fail!(Corrupt, "the entry of queue '{}' makes no sense: {shape:?}", entry.name);
        if Element::of(entry).is_none() || !shape.capacity.is_power_of_two() {
            return Err(corrupt());
        }
        let geometry = Self::new(shape).ok_or_else(corrupt)?;
        let aligned = entry.offset.is_multiple_of(geometry.align());
        if geometry.bytes > entry.size || !aligned { Err(corrupt()) } else { Ok(geometry) }
    }

    /// What the section must be aligned to.
    #[cfg(not(loom))]
    pub(crate) fn align(&self) -> u64 {
        u64::from(self.shape.elem_align).max(SECTION_ALIGN)
    }

    /// The parts of a section of this geometry.
    pub(crate) fn place(&self, section: Region) -> Option<Placed> {
        section.at::<Control>(0)?;
        let slots = section.part(self.slots as u64, self.lines * self.stride as u64)?;
        Some(Placed { control: section.base().cast(), slots: slots.base(), geometry: *self })
    }
}

/// A queue's bytes, found and checked. Whoever holds one also holds what keeps the section open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    control: std::ptr::NonNull<Control>,
    slots: std::ptr::NonNull<u8>,
    pub(crate) geometry: Geometry,
}

// SAFETY: addresses of shared memory; what is reached through them are atomics, or payload under an exclusive claim.
unsafe impl Send for Placed {}
// SAFETY: as above.
unsafe impl Sync for Placed {}

impl Placed {
    #[inline(always)]
    pub(crate) fn control(&self) -> &Control {
        // SAFETY: checked in `place`; atomics only.
        unsafe { self.control.as_ref() }
    }

    /// The word of slot (or line) `index`, which is less than `lines`.
    #[inline(always)]
    pub(crate) fn word(&self, index: u64) -> &AtomicU64 {
        debug_assert!(index < self.geometry.lines);
        // SAFETY: inside the slots by `place`; aligned, because stride and slots are multiples of a word's alignment.
        unsafe { self.slots.add(index as usize * self.geometry.stride).cast().as_ref() }
    }

    /// Has the lines of a slot after its first fetched, up to four (of larger ones, the processor knows the rest by itself): together with the word that
    /// is looked at next, and not after it has come.
    #[inline(always)]
    pub(crate) fn fetch(&self, word: *const AtomicU64) {
        for nth in 1..=4 {
            if self.geometry.stride <= nth * 64 {
                break;
            }
            prefetch(word.cast::<u8>().wrapping_add(nth * 64));
        }
    }

    /// The address behind the last slot (or line).
    #[inline(always)]
    pub(crate) fn end(&self) -> *const AtomicU64 {
        self.slots.as_ptr().wrapping_add(self.geometry.lines as usize * self.geometry.stride).cast()
    }

    /// The address of element `nth` in slot (or line) `index`.
    #[inline(always)]
    pub(crate) fn element(&self, index: u64, nth: usize) -> *mut u8 {
        debug_assert!(index < self.geometry.lines && nth < self.geometry.per_line);
        let offset = self.geometry.first + nth * self.geometry.step;
        // SAFETY: inside the slots by `place` and the bounds above.
        unsafe { self.slots.add(index as usize * self.geometry.stride + offset).as_ptr() }
    }
}

#[cfg(all(test, loom))]
pub(crate) mod model {
    //! A queue over heap memory, made of loom's atomics and cells.

    use super::*;
    use crate::segment::region::heap::HeapRegion;

    pub(crate) struct ModelQueue {
        pub(crate) placed: Placed,
        _heap: HeapRegion,
    }

    impl ModelQueue {
        /// A queue of words. `word` gives the initial word of each slot.
        pub(crate) fn new(mode: Mode, capacity: u64, word: impl Fn(u64) -> u64) -> Self {
            let cell = size_of::<loom::cell::UnsafeCell<u64>>() as u64;
            let align = align_of::<loom::cell::UnsafeCell<u64>>() as u32;
            let geometry = Geometry::new(Shape { mode, capacity, elem_size: cell, elem_align: align }).unwrap();
            let heap = HeapRegion::new(geometry.bytes as usize);
            // SAFETY: the heap is fresh, large enough and ours; every atomic and cell is written before it is used.
            unsafe {
                heap.region().base().cast::<Control>().write(Control::new());
                let slots = heap.region().base().add(geometry.slots);
                for index in 0..geometry.lines {
                    let slot = slots.add(index as usize * geometry.stride);
                    slot.cast::<AtomicU64>().write(AtomicU64::new(word(index)));
                    for nth in 0..geometry.per_line {
                        slot.add(geometry.first + nth * geometry.step).cast().write(loom::cell::UnsafeCell::new(0_u64));
                    }
                }
            }
            let placed = geometry.place(heap.region()).unwrap();
            Self { placed, _heap: heap }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn geometry(mode: Mode, capacity: u64, elem_size: u64, elem_align: u32) -> Geometry {
        Geometry::new(Shape { mode, capacity, elem_size, elem_align }).unwrap()
    }

    #[test]
    fn small_elements_are_packed_by_line() {
        let words = geometry(Mode::Spsc, 1024, 8, 8);
        assert_eq!((words.stride, words.first, words.per_line, words.lines), (64, 8, 7, 148));
        let bytes = geometry(Mode::Spsc, 64, 1, 1);
        assert_eq!((bytes.stride, bytes.per_line), (64, 56));
        assert_eq!(geometry(Mode::Spsc, 64, 28, 4).per_line, 2);
        assert_eq!(geometry(Mode::Spsc, 64, 29, 1).per_line, 1);
        assert_eq!(geometry(Mode::Spsc, 64, 16, 16).per_line, 3);
    }

    #[test]
    fn larger_elements_have_a_word_each() {
        let line = geometry(Mode::Spsc, 1024, 64, 8);
        assert_eq!((line.stride, line.first, line.per_line, line.lines), (72, 8, 1, 1024));
        let aligned = geometry(Mode::Spsc, 4, 4096, 4096);
        assert_eq!((aligned.slots, aligned.first, aligned.stride), (4096, 4096, 8192));
    }

    #[test]
    fn mpmc_slots_that_fit_a_line_do_not_straddle() {
        assert_eq!(geometry(Mode::Mpmc, 16, 8, 8).stride, 16);
        assert_eq!(geometry(Mode::Mpmc, 16, 12, 4).stride, 32);
        assert_eq!(geometry(Mode::Mpmc, 16, 56, 8).stride, 64);
        assert_eq!(geometry(Mode::Mpmc, 16, 64, 8).stride, 72);
    }

    #[test]
    fn every_element_is_inside_its_section_and_aligned() {
        for mode in [Mode::Mpmc, Mode::Spsc] {
            for size in (1..140).chain([256, 4095, 4096, 10_000]) {
                for align in (0..13).map(|shift| 1_u32 << shift) {
                    for capacity in [1, 2, 8, 64] {
                        let g = geometry(mode, capacity, size, align);
                        for part in [g.slots, g.stride, g.first, g.step] {
                            assert!(part.is_multiple_of(align as usize), "{g:?}");
                        }
                        assert!(g.first + (g.per_line - 1) * g.step + size as usize <= g.stride, "{g:?}");
                        assert!(g.step >= size as usize && g.per_line < 64);
                    }
                }
            }
        }
    }

    #[test]
    fn overflowing_shapes_are_refused() {
        for (capacity, elem_size) in [(1 << 62, 8), (1 << 32, 1 << 40), (2, u64::MAX), (1 << 63, 1)] {
            for mode in [Mode::Mpmc, Mode::Spsc] {
                assert_eq!(Geometry::new(Shape { mode, capacity, elem_size, elem_align: 1 }), None);
            }
        }
    }
}
