//! The table of names, in C.

use std::ffi::{CStr, c_char};

use super::ring::SHM_OVERWRITE;
use super::segment::shm_segment;
use super::status::shm_status;
use super::{SHM_NAME_CAPACITY, SHM_SPSC, check_count, guard, need, need_bytes, need_out, need_text, text, timeout};
use crate::error::{Status, fail};
use crate::queue::layout::FLAG_SPSC;
use crate::ring::layout::FLAG_OVERWRITE;
use crate::segment::{Entry, Kind};

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum shm_kind {
    /// A named raw region.
    SHM_KIND_SPAN = 1,
    /// A fixed-size array.
    SHM_KIND_ARRAY = 2,
    /// A named atomic.
    SHM_KIND_ATOMIC = 3,
    /// A bounded FIFO of fixed-size elements.
    SHM_KIND_QUEUE = 4,
    /// An object pool.
    SHM_KIND_POOL = 5,
    /// A ring buffer.
    SHM_KIND_RING = 6,
    /// A queue of variable-length messages.
    SHM_KIND_BYTE_QUEUE = 7,
    /// Something made by a later version of the library.
    SHM_KIND_UNKNOWN = 255,
}

/// A named structure, as the table describes it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct shm_entry {
    /// One of `shm_kind`.
    pub kind: u32,
    /// What the kind needs to know: for a queue, SHM_SPSC; for a ring, SHM_OVERWRITE; for an atomic, its `shm_atomic_type`.
    pub flags: u32,
    /// Where its section begins, in bytes from the start of the segment.
    pub offset: u64,
    /// Bytes of its section.
    pub size: u64,
    /// Bytes of an element.
    pub elem_size: u64,
    /// Alignment of an element.
    pub elem_align: u32,
    /// How many participants have it open.
    pub users: u32,
    /// How many elements, in the structure's own sense: a queue's capacity.
    pub count: u64,
    /// The creator's own mark for the element type; 0 when there is none.
    pub type_tag: u64,
    /// 1 when somebody died in the middle of a change of it, until `shm_table_clear_interrupted`: of an array, a writing is
    /// unfinished; of a queue, the elements the dead were enqueueing or dequeueing are lost; of a pool, their objects were
    /// given back; of a ring, those a writer was pushing are lost and, where it overwrites, as many old ones. After a crash of the machine, 1 for all that was open in a segment in a file.
    pub interrupted: u32,
    /// Zero, for later.
    pub reserved: u32,
    /// Its name, NUL-terminated; what is behind that is not written.
    pub name: [c_char; SHM_NAME_CAPACITY],
}

impl From<Kind> for shm_kind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Span => Self::SHM_KIND_SPAN,
            Kind::Array => Self::SHM_KIND_ARRAY,
            Kind::Atomic => Self::SHM_KIND_ATOMIC,
            Kind::Queue => Self::SHM_KIND_QUEUE,
            Kind::Pool => Self::SHM_KIND_POOL,
            Kind::Ring => Self::SHM_KIND_RING,
            Kind::ByteQueue => Self::SHM_KIND_BYTE_QUEUE,
            Kind::Unknown => Self::SHM_KIND_UNKNOWN,
        }
    }
}

impl shm_entry {
    /// Writes what an entry says to `out`, and no more of the name than there is: clearing the rest takes an eighth of a lookup.
    ///
    /// # Safety
    /// `out` is writable.
    #[inline]
    pub(super) unsafe fn write(out: *mut Self, entry: &Entry<impl AsRef<[u8]>>) {
        let name = entry.name.as_ref();
        let length = name.len().min(SHM_NAME_CAPACITY - 1);
        let flags = match entry.kind {
            Kind::Queue if entry.flags & FLAG_SPSC != 0 => SHM_SPSC,
            Kind::Ring if entry.flags & FLAG_OVERWRITE != 0 => SHM_OVERWRITE,
            Kind::Atomic => entry.flags,
            _ => 0,
        };
        // SAFETY: the caller's promise; the name and its NUL fit.
        unsafe {
            (*out).kind = shm_kind::from(entry.kind) as u32;
            (*out).flags = flags;
            (*out).offset = entry.offset;
            (*out).size = entry.size;
            (*out).elem_size = entry.elem_size;
            (*out).elem_align = entry.elem_align;
            (*out).users = entry.users;
            (*out).count = entry.count;
            (*out).type_tag = entry.type_tag;
            (*out).interrupted = entry.interrupted.into();
            (*out).reserved = 0;
            let to = (&raw mut (*out).name).cast::<u8>();
            to.copy_from_nonoverlapping(name.as_ptr(), length);
            to.add(length).write(0);
        }
    }
}

/// Looks a name up. Takes no lock; its cost does not grow with the table.
///
/// Errors: SHM_ERR_NOT_FOUND; SHM_ERR_INVALID for a name this table cannot hold.
///
/// # Safety
/// `segment` is NULL or a handle; `name` is NULL or a string; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_table_find(
    segment: Option<&shm_segment>,
    name: *const c_char,
    out: *mut shm_entry,
) -> shm_status {
    let length = if name.is_null() {
        0
    } else {
        // SAFETY: the caller's promise.
        unsafe { CStr::from_ptr(name) }.count_bytes()
    };
    // SAFETY: the caller's promises; so long is the string.
    unsafe { shm_table_find_sized(segment, name, length, out) }
}

/// As `shm_table_find`, for a name of `length` bytes, after which there need not be a NUL.
///
/// Errors: as `shm_table_find`.
///
/// # Safety
/// `segment` is NULL or a handle; `name` is NULL or readable for `length` bytes; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_table_find_sized(
    segment: Option<&shm_segment>,
    name: *const c_char,
    length: usize,
    out: *mut shm_entry,
) -> shm_status {
    if let Some(segment) = segment
        && !name.is_null()
        && !out.is_null()
        && length < SHM_NAME_CAPACITY
        // SAFETY: the caller's promise.
        && let Some(found) = segment.segment.find_bytes(unsafe { std::slice::from_raw_parts(name.cast(), length) })
    {
        // SAFETY: not NULL, and the caller's promise.
        unsafe { shm_entry::write(out, &found) };
        return shm_status::SHM_OK;
    }
    // SAFETY: the caller's promises.
    unsafe { not_found(segment, name, length, out) }
}

/// Says why nothing was found; unless it is there by now.
///
/// # Safety
/// As [`shm_table_find_sized`].
#[cold]
unsafe extern "C" fn not_found(
    segment: Option<&shm_segment>,
    name: *const c_char,
    length: usize,
    out: *mut shm_entry,
) -> shm_status {
    guard(|| {
        let (segment, out) = (&need(segment, "segment")?.segment, need_out(out, "out")?);
        let name = need_bytes(name.cast(), "name")?;
        check_count(length, 1)?;
        // SAFETY: not NULL, and the caller's promise.
        let name = text(unsafe { std::slice::from_raw_parts(name, length) }, "name")?;
        let found = segment
            .find(name)?
            .ok_or_else(|| fail!(NotFound, "there is no '{name}' in segment '{}'", segment.name()))?;
        // SAFETY: not NULL, and the caller's promise.
        unsafe { shm_entry::write(out, &found) };
        Ok(Status::Ok)
    })
}

/// Waits until there is a structure called `name`: SHM_OK, or SHM_TIMEOUT after `timeout_ns` nanoseconds (SHM_FOREVER: no
/// limit). `out` may be NULL. Also for read-only attachments.
///
/// Errors: SHM_ERR_INVALID for a name this table cannot hold.
///
/// # Safety
/// `segment` is NULL or a handle; `name` is NULL or a string; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_table_wait(
    segment: Option<&shm_segment>,
    name: *const c_char,
    timeout_ns: u64,
    out: *mut shm_entry,
) -> shm_status {
    guard(|| {
        let segment = need(segment, "segment")?;
        // SAFETY: the caller's promise.
        let name = unsafe { need_text(name, "name") }?;
        let Some(found) = segment.segment.wait_for(name, timeout(timeout_ns))? else { return Ok(Status::Timeout) };
        if !out.is_null() {
            // SAFETY: not NULL, and the caller's promise.
            unsafe { shm_entry::write(out, &found) };
        }
        Ok(Status::Ok)
    })
}

/// The next structure: begin with `*cursor` 0 and call until SHM_EMPTY. One that comes or goes meanwhile may or may not be
/// there.
///
/// # Safety
/// `segment` is NULL or a handle; `cursor` and `out` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_table_next(
    segment: Option<&shm_segment>,
    cursor: *mut u32,
    out: *mut shm_entry,
) -> shm_status {
    guard(|| {
        let segment = need(segment, "segment")?;
        let (cursor, out) = (need_out(cursor, "cursor")?, need_out(out, "out")?);
        // SAFETY: not NULL, and the caller's promise.
        let mut next = unsafe { cursor.read() };
        let Some(found) = segment.segment.next_entry(&mut next) else { return Ok(Status::Empty) };
        // SAFETY: not NULL, and the caller's promise.
        unsafe {
            cursor.write(next);
            shm_entry::write(out, &found);
        }
        Ok(Status::Ok)
    })
}

/// Forgets that a structure was interrupted: you have looked at it, and it is as it should be.
///
/// Errors: SHM_ERR_NOT_FOUND; SHM_ERR_INVALID; SHM_ERR_READ_ONLY; SHM_ERR_BUSY.
///
/// # Safety
/// `segment` is NULL or a handle; `name` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_table_clear_interrupted(segment: Option<&shm_segment>, name: *const c_char) -> shm_status {
    guard(|| {
        // SAFETY: the caller's promise.
        need(segment, "segment")?.segment.clear_interrupted(unsafe { need_text(name, "name") }?)?;
        Ok(Status::Ok)
    })
}

/// Takes the name of a structure away. Those who have it open keep it; its memory is free again when the last of them closes
/// it or dies.
///
/// Errors: SHM_ERR_NOT_FOUND; SHM_ERR_INVALID; SHM_ERR_READ_ONLY; SHM_ERR_BUSY.
///
/// # Safety
/// `segment` is NULL or a handle; `name` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_table_remove(segment: Option<&shm_segment>, name: *const c_char) -> shm_status {
    guard(|| {
        // SAFETY: the caller's promise.
        need(segment, "segment")?.segment.remove(unsafe { need_text(name, "name") }?)?;
        Ok(Status::Ok)
    })
}

/// Takes the names of all structures away, as `shm_table_remove` does, and sets `removed` to how many there were; NULL: not wanted.
///
/// Errors: SHM_ERR_READ_ONLY; SHM_ERR_BUSY.
///
/// # Safety
/// `segment` is NULL or a handle; `removed` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_table_remove_all(segment: Option<&shm_segment>, removed: *mut u32) -> shm_status {
    guard(|| {
        let count = need(segment, "segment")?.segment.remove_all()?;
        if !removed.is_null() {
            // SAFETY: the caller's promise.
            unsafe { removed.write(count) };
        }
        Ok(Status::Ok)
    })
}
