//! Spans, in C.

use std::ffi::{c_char, c_void};

use super::segment::shm_segment;
use super::status::shm_status;
use super::structure;
use super::table::shm_entry;
use super::{SHM_EXCLUSIVE, give_entry, give_span, guard, need, need_out, need_text, only_flags};
use crate::error::Status;
use crate::span::Span;

/// A handle on a named raw region. May be used from any thread. Who writes what when is between the region's users.
pub struct shm_span(Span);

/// How many bytes of a segment a span takes, alignment included.
///
/// Errors: SHM_ERR_INVALID when there can be no such span.
///
/// # Safety
/// `taken` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_span_size(bytes: u64, align: u32, taken: *mut u64) -> shm_status {
    guard(|| {
        let taken = need_out(taken, "taken")?;
        // SAFETY: not NULL, and the caller's promise.
        unsafe { taken.write(Span::bytes_for(bytes, align)?) };
        Ok(Status::Ok)
    })
}

/// Creates the region `name` of `bytes` zero bytes, aligned to `align` (a power of two up to 4096; 0: a cache line), or opens it if it is
/// there with this length and at least this alignment. `flags`: SHM_EXCLUSIVE or 0. The handle is closed with
/// `shm_span_close`; it keeps the segment attached.
///
/// Errors: SHM_ERR_EXISTS with SHM_EXCLUSIVE; SHM_ERR_MISMATCH, naming what differs; SHM_ERR_NO_SPACE; SHM_ERR_LIMIT when the table is
/// full; SHM_ERR_INVALID; SHM_ERR_READ_ONLY; SHM_ERR_BUSY when a stopped process holds the segment's lock.
///
/// # Safety
/// `segment` is NULL or a handle; `name` is NULL or a string; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_span_create(
    segment: Option<&shm_segment>,
    name: *const c_char,
    bytes: u64,
    align: u32,
    flags: u32,
    out: *mut *mut shm_span,
) -> shm_status {
    guard(|| {
        let (segment, out) = (need(segment, "segment")?, need_out(out, "out")?);
        // SAFETY: the caller's promise.
        let name = unsafe { need_text(name, "name") }?;
        only_flags(flags, SHM_EXCLUSIVE, "spans")?;
        structure::give(shm_span(Span::create(&segment.segment, name, bytes, align, flags & SHM_EXCLUSIVE != 0)?), out)
    })
}

/// Opens the region `name`, however long it is.
///
/// Errors: SHM_ERR_NOT_FOUND; SHM_ERR_MISMATCH; SHM_ERR_INVALID; SHM_ERR_BUSY.
///
/// # Safety
/// As `shm_span_create`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_span_open(
    segment: Option<&shm_segment>,
    name: *const c_char,
    out: *mut *mut shm_span,
) -> shm_status {
    guard(|| {
        let (segment, out) = (need(segment, "segment")?, need_out(out, "out")?);
        // SAFETY: the caller's promise.
        let name = unsafe { need_text(name, "name") }?;
        structure::give(shm_span(Span::open(&segment.segment, name)?), out)
    })
}

/// Ends the handle, and with it the validity of the address it gave.
///
/// # Safety
/// `span` is NULL or a handle that was not closed yet, and no other thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_span_close(span: *mut shm_span) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::close(span, "span") }
}

/// The first byte, and how many there are. Valid until the handle is closed; of a read-only segment, for reading only.
///
/// # Safety
/// `span` is NULL or a handle; `data` and `bytes` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_span_data(
    span: Option<&shm_span>,
    data: *mut *mut c_void,
    bytes: *mut usize,
) -> shm_status {
    // SAFETY: the caller's promises.
    guard(|| unsafe { give_span(need(span, "span")?.0.span(), data, bytes) })
}

/// What the table said of the span when this handle was opened, its name among it.
///
/// # Safety
/// `span` is NULL or a handle; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_span_entry(span: Option<&shm_span>, out: *mut shm_entry) -> shm_status {
    // SAFETY: the caller's promises.
    guard(|| unsafe { give_entry(need(span, "span")?.0.entry(), out) })
}

/// All of the segment's bytes, where this attachment has mapped them. Valid until the segment and everything in it is closed; of a
/// read-only segment, for reading only. For those who look, or who register the memory with a device: other processes may write to
/// it at any time, and who writes to it past the structures breaks them.
///
/// # Safety
/// `segment` is NULL or a handle; `data` and `bytes` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_segment_span(
    segment: Option<&shm_segment>,
    data: *mut *mut c_void,
    bytes: *mut usize,
) -> shm_status {
    // SAFETY: the caller's promises.
    guard(|| unsafe { give_span(need(segment, "segment")?.segment.span(), data, bytes) })
}
