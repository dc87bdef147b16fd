//! Moving elements in and out of shared memory, under an exclusive claim.
//!
//! A `memcpy` whose length is known only at run time costs more than a queue operation. The typed faces know the length
//! when they are compiled ([`Fixed`]); for the C ABI the common lengths are picked out ([`Dynamic`]).

use std::marker::PhantomData;

#[cfg(not(loom))]
use crate::sync::AtomicU8;
use crate::sync::{AtomicU64, Ordering};

/// The length of an element, known when compiled or when run.
pub(crate) trait Width: Copy {
    /// This kind of width, which is `bytes`.
    #[cfg(not(loom))]
    fn of(bytes: usize) -> Self;

    #[cfg(kill_points)]
    fn bytes(self) -> usize;

    /// Copies one element of this width.
    ///
    /// # Safety
    /// Both ranges are valid for that many bytes and do not overlap; neither needs to be aligned.
    unsafe fn copy(self, from: *const u8, to: *mut u8);

    /// As [`copy`](Self::copy), into memory that another core has, or will have: in stores that do not straddle lines, as far as words allow it. Those
    /// wait for both lines, one after the other, and everything after them waits as well.
    ///
    /// # Safety
    /// As [`copy`](Self::copy).
    #[inline(always)]
    unsafe fn copy_out(self, from: *const u8, to: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { self.copy(from, to) }
    }
}

/// The width of a `T`.
pub(crate) struct Fixed<T>(PhantomData<T>);

impl<T> Fixed<T> {
    pub(crate) const WIDTH: Self = Self(PhantomData);
}

impl<T> Clone for Fixed<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Fixed<T> {}

impl<T> Width for Fixed<T> {
    #[cfg(not(loom))]
    #[inline(always)]
    fn of(bytes: usize) -> Self {
        debug_assert_eq!(bytes, size_of::<T>());
        Self::WIDTH
    }

    #[cfg(kill_points)]
    fn bytes(self) -> usize {
        size_of::<T>()
    }

    #[inline(always)]
    unsafe fn copy(self, from: *const u8, to: *mut u8) {
        // SAFETY: the caller's promise; a constant length, so the compiler moves registers.
        unsafe { std::ptr::copy_nonoverlapping(from, to, size_of::<T>()) }
    }

    #[inline(always)]
    unsafe fn copy_out(self, from: *const u8, to: *mut u8) {
        if size_of::<T>() < 2 * VECTOR || !size_of::<T>().is_multiple_of(VECTOR) || to.addr() % VECTOR != VECTOR / 2 {
            // SAFETY: the caller's promise.
            return unsafe { self.copy(from, to) };
        }
        let last = size_of::<T>() - VECTOR / 2;
        // SAFETY: as above; a word, vectors that are aligned where they go, and a word.
        unsafe {
            from.copy_to_nonoverlapping(to, VECTOR / 2);
            from.add(VECTOR / 2).copy_to_nonoverlapping(to.add(VECTOR / 2), size_of::<T>() - VECTOR);
            from.add(last).copy_to_nonoverlapping(to.add(last), VECTOR / 2);
        }
    }
}

/// What compilers copy with, if it is not more.
const VECTOR: usize = 16;

/// A width in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Dynamic(pub(crate) usize);

impl Width for Dynamic {
    #[cfg(not(loom))]
    #[inline(always)]
    fn of(bytes: usize) -> Self {
        Self(bytes)
    }

    #[cfg(kill_points)]
    fn bytes(self) -> usize {
        self.0
    }

    #[inline(always)]
    unsafe fn copy(self, from: *const u8, to: *mut u8) {
        macro_rules! widths {
            ($($bytes:literal)*) => {
                match self.0 {
                    $($bytes => std::ptr::copy_nonoverlapping(from, to, $bytes),)*
                    bytes => std::ptr::copy_nonoverlapping(from, to, bytes),
                }
            };
        }
        // SAFETY: the caller's promise.
        unsafe { widths!(8 64 16 32 4 24 48 128 1 2 12 40 56) }
    }
}

/// Copies bytes into shared memory that the caller alone uses.
///
/// # Safety
/// Both ranges are valid for so many bytes and do not overlap.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) unsafe fn store_bytes(from: *const u8, to: *mut u8, bytes: usize) {
    #[cfg(not(kill_points))]
    // SAFETY: the caller's promise.
    unsafe {
        std::ptr::copy_nonoverlapping(from, to, bytes);
    }
    #[cfg(kill_points)]
    for offset in (0..bytes).step_by(8) {
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(from.add(offset), to.add(offset), (bytes - offset).min(8)) };
        crate::sync::stored();
    }
}

/// As [`store_bytes`], past the caches, where the machine can: no line is fetched before it is overwritten, and none is taken out of another core's
/// cache one by one. Whoever reads the bytes gets them from memory.
///
/// # Safety
/// As [`store_bytes`].
#[cfg(not(loom))]
pub(crate) unsafe fn store_bytes_past_caches(from: *const u8, to: *mut u8, bytes: usize) {
    #[cfg(all(target_arch = "x86_64", not(any(miri, kill_points))))]
    // SAFETY: the caller's promise; SSE2 is there on every x86-64; the runs begin where `to` is aligned.
    unsafe {
        use std::arch::x86_64::{_mm_loadu_si128, _mm_sfence, _mm_stream_si128};
        let begin = to.align_offset(VECTOR).min(bytes);
        let end = begin + (bytes - begin) / VECTOR * VECTOR;
        store_bytes(from, to, begin);
        for offset in (begin..end).step_by(VECTOR) {
            _mm_stream_si128(to.add(offset).cast(), _mm_loadu_si128(from.add(offset).cast()));
        }
        store_bytes(from.add(end), to.add(end), bytes - end);
        // No later store orders these but a fence.
        _mm_sfence();
    }
    #[cfg(not(all(target_arch = "x86_64", not(any(miri, kill_points)))))]
    // SAFETY: the caller's promise.
    unsafe {
        store_bytes(from, to, bytes);
    }
}

/// Copies an element into its slot, which the caller has claimed.
///
/// # Safety
/// As [`Width::copy`]; `slot` is claimed by the caller for writing.
#[inline(always)]
pub(crate) unsafe fn store_element<W: Width>(width: W, element: *const u8, slot: *mut u8) {
    #[cfg(not(any(loom, kill_points)))]
    // SAFETY: the caller's promise.
    unsafe {
        width.copy_out(element, slot);
    }
    #[cfg(kill_points)]
    // SAFETY: the caller's promise.
    unsafe {
        store_bytes(element, slot, width.bytes());
    }
    #[cfg(loom)]
    // SAFETY: in a model, a slot's payload is a loom cell of one word, which reports every race on it.
    unsafe {
        let _ = width;
        (*slot.cast::<loom::cell::UnsafeCell<u64>>()).with_mut(|cell| *cell = element.cast::<u64>().read_unaligned());
    }
}

/// Copies an element out of its slot, which the caller has claimed.
///
/// # Safety
/// As [`Width::copy`]; `slot` is claimed by the caller for reading.
#[inline(always)]
pub(crate) unsafe fn load_element<W: Width>(width: W, slot: *const u8, element: *mut u8) {
    #[cfg(not(loom))]
    // SAFETY: the caller's promise.
    unsafe {
        width.copy(slot, element);
    }
    #[cfg(loom)]
    // SAFETY: as in `store_element`.
    unsafe {
        let _ = width;
        (*slot.cast::<loom::cell::UnsafeCell<u64>>()).with(|cell| element.cast::<u64>().write_unaligned(*cell));
    }
}

/// Copies an element that nobody changes any more into a slot, which the caller has claimed.
///
/// # Safety
/// As [`Width::copy`]; both are in shared memory.
#[inline(always)]
pub(crate) unsafe fn copy_committed<W: Width>(width: W, from: *const u8, to: *mut u8) {
    #[cfg(not(loom))]
    // SAFETY: the caller's promise.
    unsafe {
        store_element(width, from, to);
    }
    #[cfg(loom)]
    // SAFETY: as above; in a model, both are cells of one word.
    unsafe {
        let mut word = 0_u64;
        load_element(width, from, std::ptr::from_mut(&mut word).cast());
        store_element(width, std::ptr::from_ref(&word).cast(), to);
    }
}

/// Copies out of memory that another process may be writing at this moment: byte by byte or word by word through atomics,
/// so that what comes out may be a mixture, but getting it is no data race. The caller finds out whether it was.
///
/// # Safety
/// `from` is valid shared memory of `bytes` bytes, `to` private memory of as many.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) unsafe fn load_contended(from: *const u8, to: *mut u8, bytes: usize) {
    // SAFETY: inside both ranges; the atomics are aligned by `runs`.
    let word = |offset| unsafe {
        let value = (*from.add(offset).cast::<AtomicU64>()).load(Ordering::Relaxed);
        to.add(offset).cast::<u64>().write_unaligned(value);
    };
    // SAFETY: as above.
    let byte = |offset| unsafe {
        to.add(offset).write((*from.add(offset).cast::<AtomicU8>()).load(Ordering::Relaxed));
    };
    runs(from, bytes, word, byte);
}

/// Copies into memory that other processes may be reading at this moment; see [`load_contended`].
///
/// # Safety
/// `to` is valid shared memory of `bytes` bytes, `from` private memory of as many.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) unsafe fn store_contended(from: *const u8, to: *mut u8, bytes: usize) {
    // SAFETY: inside both ranges; the atomics are aligned by `runs`.
    let word = |offset| unsafe {
        let value = from.add(offset).cast::<u64>().read_unaligned();
        (*to.add(offset).cast::<AtomicU64>()).store(value, Ordering::Relaxed);
    };
    // SAFETY: as above.
    let byte = |offset| unsafe {
        (*to.add(offset).cast::<AtomicU8>()).store(from.add(offset).read(), Ordering::Relaxed);
    };
    runs(to, bytes, word, byte);
}

/// Visits `bytes` bytes from `shared` on: single bytes up to the first aligned word, words, single bytes.
#[cfg(not(loom))]
#[inline(always)]
fn runs(shared: *const u8, bytes: usize, word: impl Fn(usize), byte: impl Fn(usize)) {
    // The compiler does not unroll loops over atomics.
    let words = |from: usize, to: usize| {
        let mut offset = from;
        while to - offset >= 64 {
            (0..8).for_each(|nth| word(offset + nth * 8));
            offset += 64;
        }
        while offset < to {
            word(offset);
            offset += 8;
        }
    };
    if shared.addr().is_multiple_of(8) && bytes.is_multiple_of(8) {
        return words(0, bytes);
    }
    let head = shared.align_offset(8).min(bytes);
    let words_end = head + (bytes - head) / 8 * 8;
    (0..head).for_each(&byte);
    words(head, words_end);
    (words_end..bytes).for_each(&byte);
}

/// How many bytes of private memory hold a copy of that many shared ones: as many, but in a model.
pub(crate) const fn private_bytes(shared: usize) -> usize {
    if cfg!(loom) { shared / size_of::<AtomicU64>() * 8 } else { shared }
}

/// In a model, contended memory is a run of loom atomics of 64 bits.
///
/// # Safety
/// `from` leads to loom atomics that take up `bytes` bytes, `to` to as many `u64`.
#[cfg(loom)]
pub(crate) unsafe fn load_contended(from: *const u8, to: *mut u8, bytes: usize) {
    for word in 0..bytes / size_of::<AtomicU64>() {
        // SAFETY: the caller's promise.
        unsafe { *to.cast::<u64>().add(word) = (*from.cast::<AtomicU64>().add(word)).load(Ordering::Relaxed) };
    }
}

/// As [`load_contended`], the other way.
///
/// # Safety
/// As [`load_contended`], the other way.
#[cfg(loom)]
pub(crate) unsafe fn store_contended(from: *const u8, to: *mut u8, bytes: usize) {
    for word in 0..bytes / size_of::<AtomicU64>() {
        // SAFETY: the caller's promise.
        unsafe { (*to.cast::<AtomicU64>().add(word)).store(*from.cast::<u64>().add(word), Ordering::Relaxed) };
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_past_the_caches_whole_to_every_alignment() {
        for (bytes, offset) in (0..80).flat_map(|bytes| (0..20).map(move |offset| (bytes, offset))) {
            let from: Vec<u8> = (0..bytes).map(|i| i as u8 | 1).collect();
            let mut to = vec![0_u8; bytes + 64];
            // SAFETY: both are long enough.
            unsafe { store_bytes_past_caches(from.as_ptr(), to.as_mut_ptr().add(offset), bytes) };
            assert_eq!(to[offset..offset + bytes], from);
            assert_eq!(to.iter().filter(|byte| **byte != 0).count(), bytes);
        }
    }

    #[test]
    fn elements_are_copied_out_whole_to_every_alignment() {
        fn check<const BYTES: usize>() {
            let from: Vec<u8> = (0..BYTES).map(|i| i as u8 | 1).collect();
            for offset in 0..32 {
                let mut to = vec![0_u8; BYTES + 64];
                // SAFETY: both are long enough.
                unsafe { Fixed::<[u8; BYTES]>::WIDTH.copy_out(from.as_ptr(), to.as_mut_ptr().add(offset)) };
                assert_eq!(to[offset..offset + BYTES], from);
                assert_eq!(to.iter().filter(|byte| **byte != 0).count(), BYTES);
            }
        }
        check::<8>();
        check::<16>();
        check::<32>();
        check::<40>();
        check::<48>();
        check::<64>();
        check::<100>();
        check::<256>();
    }

    #[test]
    fn every_width_copies_all_its_bytes_and_no_more() {
        for width in 0..300 {
            let from: Vec<u8> = (0..width).map(|i| i as u8 | 1).collect();
            let mut to = vec![0_u8; width + 8];
            // SAFETY: both are at least `width` long.
            unsafe { Dynamic(width).copy(from.as_ptr(), to.as_mut_ptr()) };
            assert_eq!(&to[..width], &from[..]);
            assert_eq!(&to[width..], &[0; 8]);
        }
    }

    #[test]
    fn contended_copies_move_every_byte_at_every_alignment() {
        for offset in 0..9 {
            for bytes in (0..40).chain(60..90).chain(120..150) {
                let private: Vec<u8> = (0..bytes).map(|i| i as u8 | 0x80).collect();
                let mut shared = [0_u64; 20];
                let at = shared.as_mut_ptr().cast::<u8>().wrapping_add(offset);
                let mut back = vec![0; bytes];
                // SAFETY: 20 words hold offset + bytes.
                unsafe {
                    store_contended(private.as_ptr(), at, bytes);
                    load_contended(at, back.as_mut_ptr(), bytes);
                }
                assert_eq!(back, private);
                assert_eq!(bytemuck::bytes_of(&shared).iter().filter(|byte| **byte != 0).count(), bytes);
            }
        }
    }
}
