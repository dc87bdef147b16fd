//! Mapping an object into the address space.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

use memmap2::{MmapOptions, MmapRaw};

/// A shared mapping of the first `len` bytes of an object; unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Mapping(MmapRaw);

impl Mapping {
    pub(crate) fn new(file: BorrowedFd<'_>, len: usize, read_only: bool) -> io::Result<Self> {
        let mut options = MmapOptions::new();
        options.len(len);
        let raw =
            if read_only { options.map_raw_read_only(file.as_raw_fd())? } else { options.map_raw(file.as_raw_fd())? };
        Ok(Self(raw))
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        NonNull::new(self.0.as_mut_ptr()).unwrap_or(NonNull::dangling())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
