//! Memory that a forked child does not inherit: it finds zeros there. So what a process knows only of itself needs no look at who
//! asks.

use std::mem::MaybeUninit;
use std::ops::Deref;
use std::ptr::NonNull;

#[cfg(not(loom))]
use memmap2::MmapMut;

/// A `T` in such memory; or, where the kernel does not know how (Linux has since 4.14) or has no memory to map, in memory like any other.
#[derive(Debug)]
pub(crate) struct Wiped<T> {
    at: NonNull<T>,
    #[cfg_attr(loom, expect(dead_code, reason = "keeps it"))]
    memory: Memory<T>,
}

#[derive(Debug)]
enum Memory<T> {
    #[cfg(not(loom))]
    Wiped(#[expect(dead_code, reason = "keeps it mapped")] MmapMut),
    Kept(#[expect(dead_code, reason = "keeps it")] Box<MaybeUninit<T>>),
}

// SAFETY: it owns the `T`.
unsafe impl<T: Send> Send for Wiped<T> {}
// SAFETY: and gives shared references only.
unsafe impl<T: Sync> Sync for Wiped<T> {}

impl<T> Wiped<T> {
    /// # Safety
    /// A `T` may be all zeros, and needs no dropping.
    pub(crate) unsafe fn zeroed() -> Self {
        #[cfg(not(loom))]
        if let Ok(mut map) = MmapMut::map_anon(size_of::<T>())
            && let Some(at) = NonNull::new(map.as_mut_ptr())
            // SAFETY: the whole of a mapping of ours.
            && super::check(unsafe { libc::madvise(at.as_ptr().cast(), map.len(), libc::MADV_WIPEONFORK) }).is_ok()
        {
            return Self { at: at.cast(), memory: Memory::Wiped(map) };
        }
        // SAFETY: the caller's promise.
        unsafe { Self::kept() }
    }

    /// In memory like any other.
    ///
    /// # Safety
    /// As [`zeroed`](Self::zeroed).
    pub(crate) unsafe fn kept() -> Self {
        let mut memory = Box::new(MaybeUninit::zeroed());
        Self { at: NonNull::from(&mut *memory).cast(), memory: Memory::Kept(memory) }
    }

    /// Whether children do find zeros.
    #[inline(always)]
    pub(crate) fn is_wiped(&self) -> bool {
        #[cfg(not(loom))]
        return matches!(self.memory, Memory::Wiped(_));
        // In a model nobody forks.
        #[cfg(loom)]
        true
    }
}

impl<T> Deref for Wiped<T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: ours until we are dropped, at least as large and aligned as a `T`, and zeros are one.
        unsafe { self.at.as_ref() }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::private::AtomicU64;
    use std::sync::atomic::Ordering;

    #[test]
    fn a_child_finds_zeros_and_the_parent_what_was_there() {
        // SAFETY: a number.
        let wiped = unsafe { Wiped::<AtomicU64>::zeroed() };
        wiped.store(7, Ordering::Relaxed);
        // SAFETY: the child only looks, and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let found = wiped.load(Ordering::Relaxed);
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(i32::from(found != if wiped.is_wiped() { 0 } else { 7 })) };
        }
        let mut status = -1;
        // SAFETY: our child.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!((status, wiped.load(Ordering::Relaxed)), (0, 7));
    }
}
