//! The C ABI: translation only. Check pointers, convert, call, map the outcome.
//!
//! Conventions, the same for every function:
//!
//! - The result is a `shm_status`. Results go through out-parameters, which are untouched when the status is negative.
//! - NULL where a thing is needed is `SHM_ERR_INVALID`. A NULL option, filter or out-parameter is allowed only where the
//!   function's comment says so.
//! - Handles are opaque; whoever created one closes it, once. Closing a segment with open structures is allowed: the attachment
//!   ends when the last of them is closed.
//! - Options structs begin with their size; `*_init` sets it and the defaults.
//! - No panic leaves: it becomes `SHM_ERR_INTERNAL`.

// Everything `pub` here is read by cbindgen, and its names are C names.
#![allow(non_camel_case_types, unreachable_pub)]

mod array;
mod atomic;
mod backend;
mod byte_queue;
mod inline;
mod pool;
mod queue;
mod ring;
mod segment;
mod span;
mod speculo;
mod status;
mod structure;
mod table;
mod verify;

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::ptr::NonNull;
use std::time::Duration;

use self::status::{remember, shm_status};
use self::table::shm_entry;
use crate::error::{Error, Result, Status, fail};
use crate::segment::Entry;

/// A timeout of this many nanoseconds never comes.
pub const SHM_FOREVER: u64 = u64::MAX;
/// Creating fails with SHM_ERR_EXISTS instead of attaching to, or opening, what is there.
pub const SHM_EXCLUSIVE: u32 = 0x0001;
/// Segment: map without permission to write.
pub const SHM_READ_ONLY: u32 = 0x0002;
/// Segment: keep it when nobody is attached.
pub const SHM_PERSISTENT: u32 = 0x0004;
/// Segment: attach although it belongs to a user who is neither us nor root. Only for users you trust.
pub const SHM_ANY_OWNER: u32 = 0x0008;
/// Segment: have every page in this process's page table before creating or opening returns.
pub const SHM_PREFAULT: u32 = 0x0010;
/// Segment: keep every page in memory while this process is attached.
pub const SHM_LOCK_MEMORY: u32 = 0x0020;
/// Segment: have the memory in huge pages of 2 MiB, but for a rest at its end.
pub const SHM_HUGE_PAGES: u32 = 0x0040;
/// In `shm_segment_unavailable`: the NUMA node. Asked for by `numa_node`, not by this flag.
pub const SHM_NUMA_NODE: u32 = 0x0080;
/// Queue: one producer and one consumer at a time, and several times faster.
pub const SHM_SPSC: u32 = 0x0100;
/// Bytes of a name's buffer: the longest name and a NUL.
pub const SHM_NAME_CAPACITY: usize = 264;

/// Runs the body of an exported function; nothing but a status leaves.
#[inline(always)]
fn guard(body: impl FnOnce() -> Result<Status>) -> shm_status {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(status)) => status.into(),
        Ok(Err(error)) => failed(&error),
        Err(_) => failed(&fail!(Internal, "a defect in the library was stopped at its boundary; please report it")),
    }
}

#[cold]
fn failed(error: &Error) -> shm_status {
    remember(error);
    error.status().into()
}

/// A handle or options that must be there.
#[inline(always)]
fn need<'a, T>(argument: Option<&'a T>, name: &str) -> Result<&'a T> {
    argument.ok_or_else(|| null(name))
}

#[cold]
fn null(name: &str) -> Error {
    fail!(Invalid, "{name} is NULL")
}

/// A buffer or out-parameter that must be there.
#[inline(always)]
fn need_out<T>(argument: *mut T, name: &str) -> Result<*mut T> {
    if argument.is_null() { Err(null(name)) } else { Ok(argument) }
}

/// Bytes that must be there.
#[inline(always)]
fn need_bytes(argument: *const c_void, name: &str) -> Result<*const u8> {
    if argument.is_null() { Err(null(name)) } else { Ok(argument.cast()) }
}

/// Refuses more elements than there can be memory for.
fn check_count(count: usize, elem_size: usize) -> Result<()> {
    match count.checked_mul(elem_size) {
        Some(bytes) if isize::try_from(bytes).is_ok() => Ok(()),
        _ => Err(fail!(Invalid, "{count} elements of {elem_size} bytes cannot be in memory")),
    }
}

/// Writes to an out-parameter, which the exported function's caller promised to be NULL or writable.
#[inline(always)]
fn put<T>(out: *mut T, value: T) {
    if !out.is_null() {
        // SAFETY: not NULL, and the promise that every exported function asks for.
        unsafe { out.write(value) };
    }
}

/// A string that must be there and be UTF-8.
///
/// # Safety
/// `text` is NULL or a NUL-terminated string that outlives the result.
unsafe fn need_text<'a>(text: *const c_char, name: &str) -> Result<&'a str> {
    if text.is_null() {
        return Err(null(name));
    }
    // SAFETY: the caller's promise.
    self::text(unsafe { CStr::from_ptr(text) }.to_bytes(), name)
}

fn text<'a>(bytes: &'a [u8], name: &str) -> Result<&'a str> {
    str::from_utf8(bytes).map_err(|error| fail!(Invalid, "{name} is not UTF-8: {error}"))
}

/// A path that must be there. Its bytes are the file system's business.
///
/// # Safety
/// `path` is NULL or a NUL-terminated string that outlives the result.
unsafe fn need_path<'a>(path: *const c_char) -> Result<&'a Path> {
    if path.is_null() {
        return Err(null("path"));
    }
    // SAFETY: the caller's promise.
    Ok(Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes())))
}

/// A descriptor that may be one.
///
/// # Safety
/// Whatever the number leads to is not closed while the result is used.
unsafe fn need_fd<'a>(fd: c_int, name: &str) -> Result<BorrowedFd<'a>> {
    if fd < 0 {
        return Err(fail!(Invalid, "{name} is {fd}, which is no descriptor"));
    }
    // SAFETY: not −1, and the caller's promise; one that is not open is refused by the kernel.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

fn timeout(nanos: u64) -> Duration {
    if nanos == SHM_FOREVER { Duration::MAX } else { Duration::from_nanos(nanos) }
}

/// Refuses flags a function does not know.
fn only_flags(given: u32, known: u32, what: &str) -> Result<()> {
    if given & !known != 0 {
        return Err(fail!(Invalid, "{what} have no flag {:#x}", given & !known));
    }
    Ok(())
}

/// Options that begin with their own size.
///
/// # Safety
/// `repr(C)`, plain data, first field a `u32` that holds the size; fields are only ever added at the end.
unsafe trait Sized32: Copy {
    /// The size of the first version.
    const FIRST: usize;
    const NAME: &'static str;
    fn defaults() -> Self;
}

/// The caller's options, which may be of an older or newer version: what is missing has its default, and what we do not know
/// must be zero.
///
/// # Safety
/// `given` is NULL or points to as many readable bytes as its first field says.
unsafe fn need_options<T: Sized32>(given: *const T) -> Result<T> {
    if given.is_null() {
        return Err(null(T::NAME));
    }
    // SAFETY: the first field is there.
    let size = unsafe { given.cast::<u32>().read_unaligned() } as usize;
    if size < T::FIRST || size > 4096 {
        return Err(fail!(Invalid, "{} says it has {size} bytes; was {}_init called?", T::NAME, T::NAME));
    }
    let mut options = T::defaults();
    let known = size.min(size_of::<T>());
    // SAFETY: the caller's promise; plain data.
    unsafe { std::ptr::copy_nonoverlapping(given.cast::<u8>(), (&raw mut options).cast(), known) };
    // SAFETY: the caller's promise.
    let rest = unsafe { std::slice::from_raw_parts(given.cast::<u8>().add(known), size - known) };
    if rest.iter().any(|byte| *byte != 0) {
        return Err(fail!(Invalid, "{} asks for something this version of the library does not know", T::NAME));
    }
    Ok(options)
}

/// Hands out a range of shared memory.
///
/// # Safety
/// `data` and `bytes` are NULL or writable.
unsafe fn give_span(span: NonNull<[u8]>, data: *mut *mut c_void, bytes: *mut usize) -> Result<Status> {
    let (data, bytes) = (need_out(data, "data")?, need_out(bytes, "bytes")?);
    // SAFETY: not NULL, and the caller's promise.
    unsafe {
        data.write(span.as_ptr().cast());
        bytes.write(span.len());
    }
    Ok(Status::Ok)
}

/// Hands out what the table said of a structure.
///
/// # Safety
/// `out` is NULL or writable.
unsafe fn give_entry(entry: &Entry, out: *mut shm_entry) -> Result<Status> {
    let out = need_out(out, "out")?;
    // SAFETY: not NULL, and the caller's promise.
    unsafe { shm_entry::write(out, entry) };
    Ok(Status::Ok)
}

/// A name in a fixed buffer, as far as there is room for it and a NUL; NUL-padded.
fn put_text<const N: usize>(text: &str) -> [c_char; N] {
    let mut buffer = [0; N];
    let text = bytemuck::cast_slice(&text.as_bytes()[..text.len().min(N - 1)]);
    buffer[..text.len()].copy_from_slice(text);
    buffer
}
