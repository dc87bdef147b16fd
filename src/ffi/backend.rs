//! Segments that are not in shared memory: in files.

use std::ffi::{c_char, c_void};

use super::segment::{give, options_or_defaults, shm_segment, shm_segment_options};
use super::status::shm_status;
use super::{guard, need, need_options, need_out, need_path};
use crate::error::Status;
use crate::segment::Segment;

/// Creates a segment in the file `path`, in any directory of a disk, or attaches to it if it is there. It is persistent: it stays when
/// every process is gone, and when the machine is restarted. Its name and its table are on the disk when this returns; what is
/// in its structures is there after the next `shm_segment_sync`, or when the kernel finds the time. The handle is closed with
/// `shm_segment_close`.
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

/// Attaches to the segment in the file `path`, whether or not anybody else is attached. `options` as for `shm_segment_open`.
/// The handle is closed with `shm_segment_close`.
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

/// Returns when all of the segment is on the disk as it is now. Of a segment that is not in a file there is nothing to do.
/// Who goes on writing meanwhile is not held up, and what becomes of that is open. What a reader finds after a crash of the
/// machine is certain only for what was not written to after the last sync.
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
