//! The bytes of a ring.
//!
//! ```text
//! 0     events and ends; read by everybody, written when somebody sleeps, wakes, comes or goes
//! 128   written, announced: the writer's positions
//! 256   read, lost: how many elements the consumer took, and how many it found overwritten
//! 384   elements, at this or the next multiple of their alignment; each at a multiple of its size rounded up to its alignment
//! ```

#[cfg(not(loom))]
use crate::error::{Result, fail};
use crate::segment::Region;
#[cfg(not(loom))]
use crate::segment::{Element, SECTION_ALIGN};
use crate::shared::{CacheAligned, End, EventCount, Shared, private_bytes};
use crate::sync::AtomicU64;

/// The table entry's flag for a ring whose writer does not wait.
pub(crate) const FLAG_OVERWRITE: u32 = 1;

#[repr(C)]
pub(crate) struct Events {
    /// Readers sleep here until there is an element.
    pub(crate) items: EventCount,
    /// The writer sleeps here until there is room.
    pub(crate) space: EventCount,
    pub(crate) writer: End,
    pub(crate) consumer: End,
}

/// Positions count elements from the first one ever written, and never wrap.
#[repr(C)]
pub(crate) struct Written {
    /// Elements before this one are there, unless they were overwritten since.
    pub(crate) written: AtomicU64,
    /// Elements before this one, less the capacity, may be overwritten already. Never less than `written`, never goes back.
    pub(crate) announced: AtomicU64,
}

/// The consumer is at `read + lost`. Each step changes one of them, so a death cannot part them.
#[repr(C)]
pub(crate) struct Consumed {
    pub(crate) read: AtomicU64,
    pub(crate) lost: AtomicU64,
}

/// The control lines of a ring.
#[repr(C)]
pub(crate) struct Control {
    pub(crate) events: CacheAligned<Events>,
    pub(crate) written: CacheAligned<Written>,
    pub(crate) consumed: CacheAligned<Consumed>,
}

// SAFETY: atomics and padding only.
unsafe impl Shared for Control {}

#[cfg(not(loom))]
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<Control>() == 384);
    assert!(offset_of!(Control, written) == 128 && offset_of!(Control, consumed) == 256);
    assert!(offset_of!(Events, space) == 8 && offset_of!(Events, writer) == 16 && offset_of!(Events, consumer) == 24);
    assert!(offset_of!(Written, announced) == 8 && offset_of!(Consumed, lost) == 8);
};

impl Control {
    #[cfg(all(test, loom))]
    pub(crate) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            events: CacheAligned(Events {
                items: EventCount::new(),
                space: EventCount::new(),
                writer: End::new(),
                consumer: End::new(),
            }),
            written: CacheAligned(Written { written: zero(), announced: zero() }),
            consumed: CacheAligned(Consumed { read: zero(), lost: zero() }),
        }
    }
}

/// What a ring is asked to be. The capacity is a power of two already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) overwrite: bool,
    pub(crate) capacity: u64,
    pub(crate) elem_size: u64,
    pub(crate) elem_align: u32,
}

/// Where the elements of a ring of some shape lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) shape: Shape,
    /// Offset of the first element.
    pub(crate) first: u64,
    /// Bytes of an element.
    pub(crate) size: usize,
    /// Bytes from one element to the next.
    pub(crate) step: usize,
    /// Bytes of an element that was copied out.
    pub(crate) private: usize,
    /// Bytes of the whole section.
    pub(crate) bytes: u64,
}

impl Geometry {
    /// `None` when the numbers overflow.
    pub(crate) fn new(shape: Shape) -> Option<Self> {
        let align = u64::from(shape.elem_align);
        let step = shape.elem_size.checked_next_multiple_of(align)?;
        let first = (size_of::<Control>() as u64).next_multiple_of(align);
        let bytes = shape.capacity.checked_mul(step)?.checked_add(first)?;
        let (size, step) = (shape.elem_size as usize, step as usize);
        let geometry = Self { shape, first, size, step, private: private_bytes(size), bytes };
        (bytes <= i64::MAX as u64).then_some(geometry)
    }

    /// The geometry that a table entry describes, checked against the section it has.
    #[cfg(not(loom))]
    pub(crate) fn of(entry: &crate::segment::Entry) -> Result<Self> {
        let overwrite = entry.flags & FLAG_OVERWRITE != 0;
        let shape =
            Shape { overwrite, capacity: entry.count, elem_size: entry.elem_size, elem_align: entry.elem_align };
        let corrupt = || fail!(Corrupt, "the entry of ring '{}' makes no sense: {shape:?}", entry.name);
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
        let elements = section.part(self.first, self.bytes - self.first)?;
        Some(Placed { control: section.base().cast(), elements: elements.base(), geometry: *self })
    }
}

/// A ring's bytes, found and checked. Whoever holds one also holds what keeps the section open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    control: std::ptr::NonNull<Control>,
    elements: std::ptr::NonNull<u8>,
    pub(crate) geometry: Geometry,
}

// SAFETY: addresses of shared memory; what is reached through them are atomics.
unsafe impl Send for Placed {}
// SAFETY: as above.
unsafe impl Sync for Placed {}

impl Placed {
    #[inline(always)]
    pub(crate) fn control(&self) -> &Control {
        // SAFETY: checked in `place`; atomics only.
        unsafe { self.control.as_ref() }
    }

    /// Where the element of a position lies: its number modulo the capacity.
    #[inline(always)]
    pub(crate) fn index(&self, position: u64) -> usize {
        (position & (self.geometry.shape.capacity - 1)) as usize
    }

    /// The address of an element.
    #[inline(always)]
    pub(crate) fn element(&self, index: usize) -> *mut u8 {
        debug_assert!((index as u64) < self.geometry.shape.capacity);
        // SAFETY: inside the section by `place` and the bound above.
        unsafe { self.elements.add(index * self.geometry.step).as_ptr() }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_inside_its_section_and_aligned() {
        for elem_size in (1..140).chain([4095, 4096, 10_000]) {
            for elem_align in (0..13).map(|shift| 1_u32 << shift) {
                for capacity in [1, 2, 64] {
                    let g = Geometry::new(Shape { overwrite: true, capacity, elem_size, elem_align }).unwrap();
                    assert!(g.first.is_multiple_of(elem_align.into()) && g.first >= 384, "{g:?}");
                    assert!(g.step.is_multiple_of(elem_align as usize) && g.step >= g.size, "{g:?}");
                    assert_eq!(g.first + capacity * g.step as u64, g.bytes);
                }
            }
        }
    }

    #[test]
    fn overflowing_shapes_are_refused() {
        for (capacity, elem_size) in [(1 << 62, 8), (1 << 32, 1 << 40), (2, u64::MAX), (1 << 63, 1)] {
            assert_eq!(Geometry::new(Shape { overwrite: false, capacity, elem_size, elem_align: 1 }), None);
        }
    }
}
