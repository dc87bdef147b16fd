//! What the kernel can be asked to do with the memory behind a mapping. Every wish may be refused; the error says why.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};

use super::mapping::{HUGE_PAGE, Mapping};
use super::{check, process};

/// How often the kernel is asked again for huge pages while it says that it is busy with the pages.
const TRIES: usize = 20;

impl Mapping {
    fn advise(&self, len: usize, advice: libc::c_int) -> io::Result<()> {
        // SAFETY: a range of our mapping, and advice that leaves its contents alone.
        check(unsafe { libc::madvise(self.base().as_ptr().cast(), len, advice) }).map(drop)
    }

    /// Has every page in this process's page table, ready to be written unless the mapping is read-only or `only_read`.
    pub(crate) fn prefault(&self, only_read: bool) -> io::Result<()> {
        let read = only_read || self.is_read_only();
        let populate = if read { libc::MADV_POPULATE_READ } else { libc::MADV_POPULATE_WRITE };
        // SAFETY: the whole of our mapping.
        unsafe { fill_page_table(self.base(), self.len(), populate) }
    }

    /// Keeps every page in memory, and in this process's page table.
    pub(crate) fn lock_in_memory(&self) -> io::Result<()> {
        let (base, len) = (self.base().as_ptr().cast(), self.len());
        // SAFETY: the whole of our mapping.
        check(unsafe { libc::mlock(base, len) }).map(drop).inspect_err(|_| {
            // Not half of it.
            // SAFETY: as above.
            unsafe { libc::munlock(base, len) };
        })
    }

    /// Puts as much of the object as there are whole huge pages in it into huge pages.
    pub(crate) fn use_huge_pages(&self) -> io::Result<()> {
        let whole = self.len() / HUGE_PAGE * HUGE_PAGE;
        if whole == 0 {
            let why = format!("{} bytes are less than one of {HUGE_PAGE}", self.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        // For what is taken later. Where it is refused, collapsing what is there may still work.
        let _ = self.advise(whole, libc::MADV_HUGEPAGE);
        for _ in 1..TRIES {
            match self.advise(whole, libc::MADV_COLLAPSE) {
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
                result => return result,
            }
        }
        self.advise(whole, libc::MADV_COLLAPSE)
    }

    /// Returns when a part of the mapping, widened to whole pages, is in its file as it is now.
    pub(crate) fn sync(&self, offset: usize, len: usize) -> io::Result<()> {
        let start = offset / process::page_size() * process::page_size();
        let end = offset.saturating_add(len).min(self.len());
        if start >= end {
            return Ok(());
        }
        // SAFETY: a range of our mapping, whose contents it leaves alone.
        check(unsafe { libc::msync(self.base().add(start).as_ptr().cast(), end - start, libc::MS_SYNC) }).map(drop)
    }

    /// Moves every page to the memory of one NUMA node, and takes later ones from there.
    pub(crate) fn bind_to_node(&self, node: u32) -> io::Result<()> {
        /// More nodes than any kernel is built for; a longer mask is refused as a whole.
        const NODES: u32 = 1 << 15;
        const MPOL_MF_STRICT: libc::c_uint = 1;
        const MPOL_MF_MOVE: libc::c_uint = 2;
        if node >= NODES {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let mut mask = [0 as libc::c_ulong; (NODES / libc::c_ulong::BITS) as usize];
        mask[(node / libc::c_ulong::BITS) as usize] = 1 << (node % libc::c_ulong::BITS);
        // Only pages in our page table are moved, and their creator has taken them all already.
        self.prefault(true)?;
        // SAFETY: a range of our mapping, and a live mask of that many bits. The kernel takes one bit less than it is told.
        let result = unsafe {
            libc::syscall(
                libc::SYS_mbind,
                self.base().as_ptr(),
                self.len(),
                libc::MPOL_BIND,
                mask.as_ptr(),
                libc::c_ulong::from(node + 2),
                MPOL_MF_STRICT | MPOL_MF_MOVE,
            )
        };
        check(result as libc::c_int).map(drop)
    }
}

/// Has every page of a range in this process's page table; `populate` says how, MADV_POPULATE_READ or MADV_POPULATE_WRITE.
///
/// # Safety
/// It is mapped, readable, and for MADV_POPULATE_WRITE writable.
pub(super) unsafe fn fill_page_table(base: NonNull<u8>, len: usize, populate: libc::c_int) -> io::Result<()> {
    // SAFETY: the caller's promise; advice that leaves the contents alone.
    match check(unsafe { libc::madvise(base.as_ptr().cast(), len, populate) }) {
        // Before Linux 5.14: by touching.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            for offset in (0..len).step_by(process::page_size()) {
                // SAFETY: inside the range; an atomic, whatever others do there.
                unsafe { base.add(offset).cast::<AtomicU8>().as_ref() }.load(Ordering::Relaxed);
            }
            Ok(())
        }
        result => result.map(drop),
    }
}

/// Whether an object is made of huge pages reserved for the purpose.
pub(crate) fn is_made_of_huge_pages(file: BorrowedFd<'_>) -> bool {
    // SAFETY: statfs is plain data.
    let mut info: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: a valid descriptor and a live structure.
    check(unsafe { libc::fstatfs(file.as_raw_fd(), &mut info) }).is_ok() && info.f_type == libc::HUGETLBFS_MAGIC
}
