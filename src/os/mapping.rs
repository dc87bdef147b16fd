//! Mapping an object into the address space.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

use memmap2::{MmapOptions, MmapRaw};

/// The size of the huge pages asked for: that of a middle page-table entry, with pages of 4 KiB.
pub(crate) const HUGE_PAGE: usize = 2 << 20;

/// A shared mapping of the first `len` bytes of an object; unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
    read_only: bool,
    /// What is unmapped: the mapping itself, or the reservation that it lies in.
    _range: MmapRaw,
}

// SAFETY: an address range; what is done with it is the business of those who read and write there.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub(crate) fn new(file: BorrowedFd<'_>, len: usize, read_only: bool) -> io::Result<Self> {
        let mut options = MmapOptions::new();
        options.len(len);
        let range =
            if read_only { options.map_raw_read_only(file.as_raw_fd())? } else { options.map_raw(file.as_raw_fd())? };
        let base = NonNull::new(range.as_mut_ptr()).unwrap_or(NonNull::dangling());
        Ok(Self { base, len, read_only, _range: range })
    }

    /// As [`new`](Self::new), beginning where a huge page can.
    pub(crate) fn new_aligned(file: BorrowedFd<'_>, len: usize, read_only: bool) -> io::Result<Self> {
        let too_long = || io::Error::from_raw_os_error(libc::ENOMEM);
        // A reservation with room to move in; it is never touched where the object is not mapped over it.
        let reserved = len.checked_next_multiple_of(HUGE_PAGE).and_then(|len| len.checked_add(HUGE_PAGE));
        let range = MmapOptions::new().len(reserved.ok_or_else(too_long)?).no_reserve_swap().map_anon()?;
        let range = MmapRaw::from(range);
        let start = range.as_mut_ptr();
        let prot = if read_only { libc::PROT_READ } else { libc::PROT_READ | libc::PROT_WRITE };
        let (flags, fd) = (libc::MAP_SHARED | libc::MAP_FIXED, file.as_raw_fd());
        // SAFETY: all of the new mapping lies in the reservation, which nobody else knows.
        let base = unsafe { libc::mmap(start.add(start.align_offset(HUGE_PAGE)).cast(), len, prot, flags, fd, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(too_long)?;
        Ok(Self { base, len, read_only, _range: range })
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }
}
