//! Open-file-description locks (`F_OFD_SETLK`).
//!
//! They belong to an open file description, not to a process: two attachments of one process exclude each other, and
//! the kernel drops them when the last descriptor of the description is closed, which is what happens when a process
//! dies, however it dies. The bytes locked lie far beyond the end of the file and stand for nothing but themselves.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;

/// A range of lock bytes, relative to [`BASE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bytes {
    pub(crate) start: u32,
    pub(crate) len: u32,
}

/// Whether others may hold the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Shared,
    Exclusive,
}

/// Where the lock bytes begin: beyond any file there can be.
const BASE: i64 = 1 << 62;

fn description(bytes: Bytes, kind: libc::c_int) -> libc::flock {
    // SAFETY: flock is plain data; zero is valid for every field.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = BASE + i64::from(bytes.start);
    lock.l_len = i64::from(bytes.len);
    lock
}

/// Takes the lock if nobody else holds it in a way that excludes `mode`; true when taken.
pub(crate) fn try_lock(file: BorrowedFd<'_>, bytes: Bytes, mode: Mode) -> io::Result<bool> {
    let kind = match mode {
        Mode::Shared => libc::F_RDLCK,
        Mode::Exclusive => libc::F_WRLCK,
    };
    // SAFETY: fcntl reads the structure passed.
    match check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &description(bytes, kind)) }) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES | libc::EINTR)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives the bytes back.
pub(crate) fn unlock(file: BorrowedFd<'_>, bytes: Bytes) {
    // SAFETY: fcntl reads the structure passed. Unlocking cannot fail for a valid descriptor and range.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &description(bytes, libc::F_UNLCK)) };
}

/// Whether anybody else (any other open file description) holds any of the bytes.
pub(crate) fn is_locked_by_others(file: BorrowedFd<'_>, bytes: Bytes) -> io::Result<bool> {
    let mut lock = description(bytes, libc::F_WRLCK);
    // SAFETY: fcntl reads and writes the structure passed.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &mut lock) })?;
    Ok(libc::c_int::from(lock.l_type) != libc::F_UNLCK)
}
