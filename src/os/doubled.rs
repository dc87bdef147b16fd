//! A stretch of a shared mapping, mapped a second time right behind itself: a buffer without an end.

use std::io;
use std::ptr::NonNull;

use memmap2::{MmapOptions, MmapRaw};

use super::mapping::HUGE_PAGE;
use super::memory::fill_page_table;

/// `2 * len` bytes of address space, in huge pages where the shared mapping is and `len` is a multiple of them, both halves of which are the same memory; unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Doubled {
    base: NonNull<u8>,
    len: usize,
    /// The reservation that both halves lie in: it owns the whole range, so nothing else can come to lie there.
    _range: MmapRaw,
}

// SAFETY: an address range; what is done with it is the business of those who read and write there.
unsafe impl Send for Doubled {}
// SAFETY: as above.
unsafe impl Sync for Doubled {}

impl Doubled {
    /// Maps `len` bytes from `shared` on twice, readable and writable as they are there. Both are multiples of the page size.
    ///
    /// # Safety
    /// That range is part of a shared mapping.
    pub(crate) unsafe fn new(shared: NonNull<u8>, len: usize) -> io::Result<Self> {
        let too_long = || io::Error::from_raw_os_error(libc::ENOMEM);
        // Room to begin where `shared` does within a huge page: then whatever huge pages are there serve here, too.
        let slack = if len >= HUGE_PAGE { HUGE_PAGE } else { 0 };
        let reserved = len.checked_mul(2).and_then(|twice| twice.checked_add(slack)).ok_or_else(too_long)?;
        let range = MmapRaw::from(MmapOptions::new().len(reserved).no_reserve_swap().map_anon()?);
        let start = range.as_mut_ptr();
        let phase = if slack == 0 { 0 } else { shared.addr().get().wrapping_sub(start.addr()) % HUGE_PAGE };
        // SAFETY: less than the slack.
        let base = NonNull::new(unsafe { start.add(phase) }).ok_or_else(too_long)?;
        for half in 0..2 {
            let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
            // An old length of 0 asks for another mapping of the same pages, so no descriptor is needed.
            // SAFETY: the caller's promise; the new place is inside the reservation, which nobody else knows.
            let mapped = unsafe { libc::mremap(shared.as_ptr().cast(), 0, len, flags, base.as_ptr().add(half * len)) };
            if mapped == libc::MAP_FAILED {
                let error = io::Error::last_os_error();
                give_up(range, base, len, half);
                return Err(error);
            }
        }
        Ok(Self { base, len, _range: range })
    }

    /// Has every page of both halves in this process's page table, if the kernel will: the shared mapping's entries are its own. Reading does, as
    /// the pages are there already, and are written back nowhere for having been looked at.
    pub(crate) fn prefault(&self) {
        // SAFETY: both halves, which are mapped, and readable as the shared mapping is.
        let _ = unsafe { fill_page_table(self.base, 2 * self.len, libc::MADV_POPULATE_READ) };
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }
}

/// Unmaps what is certainly ours after `failed` could not be filled. The kernel may have emptied that half before it failed, and another thread
/// may have got the place since: unmapping the whole would take its memory away. An empty half costs address space at most.
#[cold]
fn give_up(range: MmapRaw, base: NonNull<u8>, len: usize, failed: usize) {
    std::mem::forget(range);
    // SAFETY: the other half, which nothing but this function's caller knows.
    unsafe { libc::munmap(base.as_ptr().add((1 - failed) * len).cast(), len) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::object::{Build, Unlinked};
    use crate::os::process;

    #[test]
    fn a_failure_leaves_alone_what_came_to_lie_in_the_emptied_half() {
        let len = 16 * process::page_size();
        let range = MmapRaw::from(MmapOptions::new().len(2 * len).map_anon().unwrap());
        let base = NonNull::new(range.as_mut_ptr()).unwrap();
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        // SAFETY: the first half of a mapping of our own: as if the kernel had emptied it and another thread had got the place.
        let other = unsafe { libc::mmap(base.as_ptr().cast(), len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        assert!(other == base.as_ptr().cast());
        give_up(range, base, len, 0);
        // SAFETY: that place, which must be there still.
        unsafe {
            base.as_ptr().write(7);
            assert_eq!(base.as_ptr().read(), 7);
            libc::munmap(other, len);
        }
    }

    #[test]
    fn what_is_written_beyond_the_end_is_at_the_beginning() {
        let page = process::page_size();
        let shared = MmapRaw::from(MmapOptions::new().len(4 * page).map_anon().unwrap());
        assert!(shared.len() == 4 * page);
        // An anonymous private mapping cannot be doubled: its copy would be other memory.
        let start = NonNull::new(shared.as_mut_ptr()).unwrap();
        // SAFETY: a mapping, if not a shared one.
        let refused = unsafe { Doubled::new(start, page) };
        assert!(refused.is_err());

        let directory = std::path::Path::new("/dev/shm");
        let file = Unlinked::new(directory, 4 * page as u64, 0o600, None, Build::Best).unwrap();
        let mapping = crate::os::mapping::Mapping::new(std::os::fd::AsFd::as_fd(file.file()), 4 * page, false).unwrap();
        // SAFETY: inside the mapping.
        let second = unsafe { mapping.base().add(page) };
        // SAFETY: two pages of a shared mapping.
        let doubled = unsafe { Doubled::new(second, 2 * page) }.unwrap();
        // SAFETY: inside the two halves, and the mapping.
        unsafe {
            for at in [0, 1, 2 * page - 1] {
                doubled.base().add(at).write(at as u8 | 0x80);
                assert_eq!(doubled.base().add(2 * page + at).read(), at as u8 | 0x80);
                assert_eq!(second.add(at).read(), at as u8 | 0x80);
            }
            doubled.base().add(2 * page - 4).cast::<u64>().write_unaligned(u64::MAX);
            assert_eq!(second.cast::<u32>().read(), u32::MAX);
            assert_eq!(mapping.base().add(3 * page).read(), 0, "what lies behind is untouched");
        }
        drop(doubled);
        // SAFETY: the first mapping is still there.
        unsafe { assert_eq!(second.cast::<u32>().read(), u32::MAX) };
    }
}
