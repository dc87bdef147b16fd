//! Segments that have no name in shared memory: in files, and behind descriptors.

use std::ffi::{c_char, c_int, c_void};
use std::os::fd::IntoRawFd;

use super::segment::{give, options_or_defaults, shm_segment, shm_segment_options};
use super::status::shm_status;
use super::{guard, need, need_fd, need_options, need_out, need_path, need_text};
use crate::error::Status;
use crate::segment::Segment;

/// Creates a segment in the file `path`, in any directory of a disk, or attaches to it if it is there. It is
/// persistent: it stays when every process is gone, and when the machine is restarted. Its name and its table are on
/// the disk when this returns; what is in its structures is there after the next `shm_segment_sync`, or when the kernel
/// finds the time. The handle is closed with `shm_segment_close`.
///
/// Errors: as `shm_segment_create`; SHM_ERR_NOT_FOUND when there is no such directory; SHM_ERR_PERMISSION also for a
/// symbolic link.
///
/// # Safety
/// `path` is NULL or a string; `options` is NULL or as `shm_segment_options_init` left it; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_segment_create_file(
    path: *const c_char,
    options: *const shm_segment_options,
    out: *mut *mut shm_segment,
) -> shm_status {
    guard(|| {
        let out = need_out(out, "out")?;
        // SAFETY: the caller's promises.
        let (path, options) = unsafe { (need_path(path)?, need_options(options)?) };
        give(Segment::create_file(path, &options.translate()?)?, out)
    })
}

/// Attaches to the segment in the file `path`, whether or not anybody else is attached. `options` as for
/// `shm_segment_open`. The handle is closed with `shm_segment_close`.
///
/// Errors: as `shm_segment_open`; SHM_ERR_PERMISSION also for a symbolic link.
///
/// # Safety
/// `path` is NULL or a string; `options` is NULL or as `shm_segment_options_init` left it; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_segment_open_file(
    path: *const c_char,
    options: *const shm_segment_options,
    out: *mut *mut shm_segment,
) -> shm_status {
    guard(|| {
        let out = need_out(out, "out")?;
        // SAFETY: the caller's promises.
        let (path, options) = unsafe { (need_path(path)?, options_or_defaults(options)?) };
        give(Segment::open_file(path, &options)?, out)
    })
}

/// Removes the file of a segment, whoever is attached; they keep what they have.
///
/// Errors: as `shm_segment_unlink`.
///
/// # Safety
/// `path` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_segment_unlink_file(path: *const c_char) -> shm_status {
    guard(|| {
        // SAFETY: the caller's promise.
        Segment::unlink_file(unsafe { need_path(path) }?)?;
        Ok(Status::Ok)
    })
}

/// Returns when all of the segment is on the disk as it is now. Of a segment that is not in a file there is nothing to
/// do. Who goes on writing meanwhile is not held up, and what becomes of that is open. What a reader finds after a
/// crash of the machine is certain only for what was not written to after the last sync.
///
/// Errors: SHM_ERR_SYSTEM when the disk fails; SHM_ERR_NO_SPACE.
///
/// # Safety
/// `segment` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_segment_sync(segment: Option<&shm_segment>) -> shm_status {
    guard(|| {
        need(segment, "segment")?.segment.sync()?;
        Ok(Status::Ok)
    })
}

/// As `shm_segment_sync`, for the `bytes` bytes at `start`: of an array or a span, say.
///
/// Errors: SHM_ERR_INVALID when they are not all in the segment; else as `shm_segment_sync`.
///
/// # Safety
/// `segment` is NULL or a handle. `start` may be any address: it is compared, not followed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_segment_sync_range(
    segment: Option<&shm_segment>,
    start: *const c_void,
    bytes: usize,
) -> shm_status {
    guard(|| {
        need(segment, "segment")?.segment.sync_range(start.cast(), bytes)?;
        Ok(Status::Ok)
    })
}

/// Creates a segment that has no name: peers get a descriptor of it (`shm_segment_fd`), and it lives as long as
/// somebody has one or is attached. Its length is sealed, so peers need not be trusted with it: they can write
/// nonsense, but not cut it short under others. `name` is what people see, in sentences and in /proc; many may have the
/// same. `mode` says whose processes may attach once they have a descriptor. With SHM_HUGE_PAGES, reserved ones are
/// taken where there are enough; not for peers you do not trust, as a hole punched into those cannot always be filled
/// again. The handle is closed with `shm_segment_close`.
///
/// Errors: as `shm_segment_create`.
///
/// # Safety
/// `name` is NULL or a string; `options` is NULL or as `shm_segment_options_init` left it; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_segment_create_memfd(
    name: *const c_char,
    options: *const shm_segment_options,
    out: *mut *mut shm_segment,
) -> shm_status {
    guard(|| {
        let out = need_out(out, "out")?;
        // SAFETY: the caller's promises.
        let (name, options) = unsafe { (need_text(name, "name")?, need_options(options)?) };
        give(Segment::create_memfd(name, &options.translate()?)?, out)
    })
}

/// Attaches to the segment that a descriptor leads to, which stays the caller's: it may be closed right after. Mostly
/// one of a segment made by `shm_segment_create_memfd`, but any segment's will do. `options` as for `shm_segment_open`.
/// The handle is closed with `shm_segment_close`.
///
/// Errors: SHM_ERR_PERMISSION when a memfd is not sealed against shrinking and growing, or another object, or one of
/// reserved huge pages, belongs to another user, all without SHM_ANY_OWNER, or when its mode forbids it;
/// SHM_ERR_INVALID for a number that is no descriptor; else as `shm_segment_open`.
///
/// # Safety
/// `fd` is not closed by another thread meanwhile; `options` is NULL or as `shm_segment_options_init` left it; `out` is NULL
/// or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_segment_open_fd(
    fd: c_int,
    options: *const shm_segment_options,
    out: *mut *mut shm_segment,
) -> shm_status {
    guard(|| {
        let out = need_out(out, "out")?;
        // SAFETY: the caller's promises.
        let (fd, options) = unsafe { (need_fd(fd, "fd")?, options_or_defaults(options)?) };
        give(Segment::open_fd(fd, &options)?, out)
    })
}

/// A new descriptor that leads to the segment, to be inherited or passed; the caller closes it. It is closed on `exec`
/// unless that is changed. It is not an attachment. Of a read-only attachment it is read-only.
///
/// Errors: SHM_ERR_LIMIT when there are no more descriptors; SHM_ERR_PERMISSION; SHM_ERR_SYSTEM.
///
/// # Safety
/// `segment` is NULL or a handle; `fd` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_segment_fd(segment: Option<&shm_segment>, fd: *mut c_int) -> shm_status {
    guard(|| {
        let (segment, fd) = (need(segment, "segment")?, need_out(fd, "fd")?);
        let descriptor = segment.segment.fd()?;
        // SAFETY: not NULL, and the caller's promise.
        unsafe { fd.write(descriptor.into_raw_fd()) };
        Ok(Status::Ok)
    })
}

/// Passes a descriptor of the segment through a Unix socket, with one byte, for `shm_segment_receive`.
///
/// Outcomes: SHM_TIMEOUT when the socket does not wait, or not longer. Errors: as `shm_segment_fd`; SHM_ERR_INVALID for
/// a number that is no descriptor; SHM_ERR_SYSTEM.
///
/// # Safety
/// `segment` is NULL or a handle; `socket` is not closed by another thread meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_segment_send(segment: Option<&shm_segment>, socket: c_int) -> shm_status {
    guard(|| {
        let segment = need(segment, "segment")?;
        // SAFETY: the caller's promise.
        segment.segment.send(unsafe { need_fd(socket, "socket") }?)?;
        Ok(Status::Ok)
    })
}

/// Attaches to a segment whose descriptor comes through a Unix socket. `options` as for `shm_segment_open`. The handle
/// is closed with `shm_segment_close`.
///
/// Outcomes: SHM_CLOSED when the other end is; SHM_TIMEOUT when the socket does not wait, or not longer. Errors:
/// SHM_ERR_SYSTEM when something else comes; SHM_ERR_INVALID for a number that is no descriptor; else as
/// `shm_segment_open_fd`.
///
/// # Safety
/// `socket` is not closed by another thread meanwhile; `options` is NULL or as `shm_segment_options_init` left it; `out` is
/// NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_segment_receive(
    socket: c_int,
    options: *const shm_segment_options,
    out: *mut *mut shm_segment,
) -> shm_status {
    guard(|| {
        let out = need_out(out, "out")?;
        // SAFETY: the caller's promises.
        let (socket, options) = unsafe { (need_fd(socket, "socket")?, options_or_defaults(options)?) };
        give(Segment::receive(socket, &options)?, out)
    })
}
