//! All pointer arithmetic on shared memory happens here: a checked offset becomes a header or a slot.

use std::ptr::NonNull;

use crate::shared::Shared;

/// A range of shared memory: a mapping, or a part of one. Does not own it; whoever holds a region also holds what keeps
/// the mapping alive. Structures are handed a region and know no mapping, so they run over heap memory in tests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a region is an address range; what is reached through it are atomics, or payload under an exclusive claim.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// # Safety
    /// `base` is valid for reads and writes (or, for a read-only mapping, reads) of `len` bytes as long as the region or
    /// anything made from it is used, and nobody forms `&mut` to any of it.
    pub(crate) unsafe fn new(base: NonNull<u8>, len: usize) -> Self {
        Self { base, len }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The address of the first byte.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Address and length in one.
    #[cfg(not(loom))]
    pub(crate) fn bytes(&self) -> NonNull<[u8]> {
        NonNull::slice_from_raw_parts(self.base, self.len)
    }

    /// The part of `len` bytes at `offset`, if all of it lies inside.
    pub(crate) fn part(&self, offset: u64, len: u64) -> Option<Self> {
        let end = offset.checked_add(len)?;
        if end > self.len as u64 {
            return None;
        }
        // SAFETY: `offset` is at most `self.len`, so the address stays inside the range or at its end.
        let base = unsafe { self.base.add(offset as usize) };
        Some(Self { base, len: len as usize })
    }

    /// The `T` at `offset`, if it lies inside and is aligned.
    pub(crate) fn at<T: Shared>(&self, offset: u64) -> Option<&T> {
        self.slice(offset, 1)?.first()
    }

    /// The `count` `T`s from `offset` on, if all of them lie inside and are aligned.
    #[inline]
    pub(crate) fn slice<T: Shared>(&self, offset: u64, count: u64) -> Option<&[T]> {
        let part = self.part(offset, count.checked_mul(size_of::<T>() as u64)?)?;
        let pointer = part.base.cast::<T>();
        // SAFETY: inside the range and aligned; `Shared` types are valid for any bytes and made of atomics, so a
        // reference may coexist with whatever other processes do.
        pointer.is_aligned().then(|| unsafe { NonNull::slice_from_raw_parts(pointer, count as usize).as_ref() })
    }

    /// Fills with zero bytes.
    ///
    /// # Safety
    /// Nobody else uses this range now.
    #[cfg(not(loom))]
    pub(crate) unsafe fn clear(&self) {
        // SAFETY: the range is valid, and the caller has it alone.
        unsafe { self.base.as_ptr().write_bytes(0, self.len) };
        // Nobody can tell how far it came: until it is done, the range belongs to nobody.
        crate::sync::stored();
    }
}

#[cfg(test)]
pub(crate) mod heap {
    //! Heap memory in the place of a segment, for unit and model tests.

    use super::Region;
    use std::alloc::{Layout, alloc_zeroed, dealloc};
    use std::ptr::NonNull;

    pub(crate) struct HeapRegion {
        region: Region,
        layout: Layout,
    }

    impl HeapRegion {
        pub(crate) fn new(len: usize) -> Self {
            let layout = Layout::from_size_align(len, 4096).unwrap();
            // SAFETY: the length is not zero in any test.
            let base = NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap();
            // SAFETY: owned by this value, which outlives its users.
            Self { region: unsafe { Region::new(base, len) }, layout }
        }

        pub(crate) fn region(&self) -> Region {
            self.region
        }
    }

    impl Drop for HeapRegion {
        fn drop(&mut self) {
            // SAFETY: allocated above with this layout.
            unsafe { dealloc(self.region.base().as_ptr(), self.layout) };
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::heap::HeapRegion;
    use crate::sync::AtomicU64;

    #[test]
    fn parts_never_leave_the_region() {
        let heap = HeapRegion::new(4096);
        let region = heap.region();
        assert!(region.part(0, 4096).is_some());
        assert!(region.part(4096, 0).is_some());
        for (offset, len) in [(0, 4097), (4096, 1), (1, 4096), (u64::MAX, 1), (u64::MAX, u64::MAX), (8, u64::MAX - 4)] {
            assert!(region.part(offset, len).is_none(), "{offset} {len}");
        }
    }

    #[test]
    fn headers_must_be_aligned_and_inside() {
        let heap = HeapRegion::new(4096);
        let region = heap.region();
        assert!(region.at::<AtomicU64>(8).is_some());
        assert!(region.at::<AtomicU64>(4).is_none());
        assert!(region.at::<AtomicU64>(4096 - 4).is_none());
        assert!(region.at::<AtomicU64>(4088).is_some());
        assert_eq!(region.slice::<AtomicU64>(4080, 2).map(<[_]>::len), Some(2));
        for (offset, count) in [(4080, 3), (4, 1), (0, u64::MAX), (8, u64::MAX / 8)] {
            assert!(region.slice::<AtomicU64>(offset, count).is_none(), "{offset} {count}");
        }
    }
}
