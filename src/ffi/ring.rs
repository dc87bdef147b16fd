//! Rings, in C.

use std::ffi::{c_char, c_void};

use super::segment::shm_segment;
use super::status::shm_status;
use super::structure::{self, structure};
use super::table::shm_entry;
use super::{
    SHM_EXCLUSIVE, Sized32, check_count, give_entry, give_span, guard, need, need_bytes, need_out, only_flags, put,
    timeout,
};
use crate::error::{Result, Status, fail};
use crate::ring::{RawReader, RawRing, RingShape, RingStart, Taken};

/// Ring: the writer overwrites the oldest elements rather than wait for the consumer.
pub const SHM_OVERWRITE: u32 = 0x0200;

/// Begin reading at the oldest element that can be had.
pub const SHM_RING_OLDEST: u64 = u64::MAX;
/// Begin reading at the next element to be written.
pub const SHM_RING_NEWEST: u64 = u64::MAX - 1;

/// A handle on a ring: a stream of elements of one size, with one writer.
///
/// The first handle that pushes becomes the writer, the first that pops or skips the consumer, until it is closed or its process dies;
/// others get SHM_ERR_BUSY. One thread at a time may push with a handle, and one pop. Any number of handles, also on a read-only segment, may look on
/// (`shm_ring_peek`, `shm_ring_last`, `shm_ring_get_stats`) from any thread, or have readers with a position of their own.
pub struct shm_ring(RawRing);

/// A reader of a ring with a position of its own. The writer does not wait for it. For one thread at a time.
pub struct shm_ring_reader(RawReader);

/// What a ring is to be, or must be. `shm_ring_options_init` first.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct shm_ring_options {
    /// Bytes of this struct; set by `shm_ring_options_init`.
    pub struct_size: u32,
    /// SHM_OVERWRITE; SHM_EXCLUSIVE (create only).
    pub flags: u32,
    /// Elements there is to be room for; rounded up to a power of two. When opening, 0: any.
    pub capacity: u64,
    /// Bytes of an element.
    pub elem_size: u64,
    /// Alignment: a power of two up to 4096; 0 (default): what suits the size, at most 8.
    pub elem_align: u32,
    /// Zero.
    pub reserved: u32,
    /// A mark of your own for the type; opening with another one is a mismatch. 0 (default): unchecked.
    pub type_tag: u64,
}

// SAFETY: repr(C), plain, begins with its size.
unsafe impl Sized32 for shm_ring_options {
    const FIRST: usize = size_of::<Self>();
    const NAME: &'static str = "shm_ring_options";

    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>() as u32,
            flags: 0,
            capacity: 0,
            elem_size: 0,
            elem_align: 0,
            reserved: 0,
            type_tag: 0,
        }
    }
}

impl shm_ring_options {
    fn translate(&self) -> Result<RingShape> {
        only_flags(self.flags, SHM_OVERWRITE | SHM_EXCLUSIVE, "rings")?;
        if self.reserved != 0 {
            return Err(fail!(Invalid, "shm_ring_options.reserved is {}, not 0", self.reserved));
        }
        Ok(RingShape {
            capacity: self.capacity,
            elem_size: self.elem_size,
            elem_align: self.elem_align,
            overwrite: self.flags & SHM_OVERWRITE != 0,
            type_tag: self.type_tag,
            exclusive: self.flags & SHM_EXCLUSIVE != 0,
        })
    }
}

structure!(shm_ring(RawRing), shm_ring_options, RingShape);

/// What a ring is, how full it is, and what went through it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct shm_ring_stats {
    /// Elements there is room for.
    pub capacity: u64,
    /// Elements the consumer would find now; where there is none, how many there are.
    pub size: u64,
    /// Bytes of an element.
    pub elem_size: u64,
    /// Alignment of an element.
    pub elem_align: u32,
    /// SHM_OVERWRITE, or 0.
    pub flags: u32,
    /// Elements ever written.
    pub written: u64,
    /// How many of them the consumer popped or skipped.
    pub read: u64,
    /// How many of them the consumer found overwritten.
    pub lost: u64,
    /// The participant who writes; 0: nobody.
    pub writer: u32,
    /// The participant who pops; 0: nobody.
    pub consumer: u32,
}

/// Where a reader is, and what it got.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct shm_ring_reader_stats {
    /// How many elements were written before the one it reads next: what `shm_ring_reader_open` and `_seek` take.
    pub position: u64,
    /// Elements it read or skipped.
    pub read: u64,
    /// Elements that were overwritten before it came to them.
    pub lost: u64,
    /// Elements it is behind the writer; some of them may be overwritten already.
    pub lag: u64,
}

/// Fills in the defaults.
///
/// # Safety
/// `options` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_options_init(options: *mut shm_ring_options) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::options_init::<shm_ring>(options) }
}

/// How many bytes of a segment such a ring takes, alignment included.
///
/// Errors: SHM_ERR_INVALID when there can be no such ring.
///
/// # Safety
/// `options` is NULL or as `shm_ring_options_init` left it; `bytes` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_size(options: *const shm_ring_options, bytes: *mut u64) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::size::<shm_ring>(options, bytes) }
}

/// Creates the ring `name`, or opens it if it is there with the same manner, capacity and elements. The handle is closed with
/// `shm_ring_close`; it keeps the segment attached.
///
/// Errors: SHM_ERR_EXISTS with SHM_EXCLUSIVE; SHM_ERR_MISMATCH, naming what differs; SHM_ERR_NO_SPACE; SHM_ERR_LIMIT when
/// the table is full; SHM_ERR_INVALID; SHM_ERR_READ_ONLY; SHM_ERR_BUSY when a stopped process holds the segment's lock.
///
/// # Safety
/// `segment` is NULL or a handle; `name` is NULL or a string; `options` is NULL or as `shm_ring_options_init` left it; `out`
/// is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_create(
    segment: Option<&shm_segment>,
    name: *const c_char,
    options: *const shm_ring_options,
    out: *mut *mut shm_ring,
) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::create::<shm_ring>(segment, name, options, out) }
}

/// Opens the ring `name`. With `expected` it must be what that says (capacity 0: any); NULL takes it as it is. On a
/// read-only segment it can be looked at and read by readers. The handle is closed with `shm_ring_close`.
///
/// Errors: SHM_ERR_NOT_FOUND; else as `shm_ring_create`.
///
/// # Safety
/// As `shm_ring_create`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_open(
    segment: Option<&shm_segment>,
    name: *const c_char,
    expected: *const shm_ring_options,
    out: *mut *mut shm_ring,
) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::open::<shm_ring>(segment, name, expected, out) }
}

/// Ends the handle; others may have its ends.
///
/// # Safety
/// `ring` is NULL or a handle that was not closed yet, and no other thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_close(ring: *mut shm_ring) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::close(ring, "ring") }
}

/// Writes a copy of an element: SHM_OK, SHM_FULL (never with SHM_OVERWRITE).
///
/// Errors: SHM_ERR_BUSY when there is another writer; SHM_ERR_READ_ONLY; SHM_ERR_CORRUPT.
///
/// # Safety
/// `ring` is NULL or a handle, used by one pushing thread; `element` is NULL or readable for an element.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_push(ring: Option<&shm_ring>, element: *const c_void) -> shm_status {
    guard(|| {
        let (ring, element) = (&need(ring, "ring")?.0, need_bytes(element, "element")?);
        // SAFETY: the caller's promises.
        unsafe { ring.push(element, 1, &mut 0) }
    })
}

/// As `shm_ring_push`, waiting up to `timeout_ns` nanoseconds (SHM_FOREVER: no limit) for room; then SHM_TIMEOUT.
///
/// # Safety
/// As `shm_ring_push`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_push_wait(
    ring: Option<&shm_ring>,
    element: *const c_void,
    timeout_ns: u64,
) -> shm_status {
    guard(|| {
        let (ring, element) = (&need(ring, "ring")?.0, need_bytes(element, "element")?);
        // SAFETY: the caller's promises.
        unsafe { ring.push_wait(element, 1, timeout(timeout_ns), &mut 0) }
    })
}

/// Writes as many of `count` elements, one after the other, as there is room for, published at once, and sets `done` to how many: SHM_OK when
/// at least one (or `count` is 0), else SHM_FULL. With SHM_OVERWRITE all are written, a capacity's worth at a time.
///
/// Errors: as `shm_ring_push`.
///
/// # Safety
/// As `shm_ring_push`, for `count` elements; `done` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_push_bulk(
    ring: Option<&shm_ring>,
    elements: *const c_void,
    count: usize,
    done: *mut usize,
) -> shm_status {
    guard(|| {
        let ring = &need(ring, "ring")?.0;
        let (elements, done) = (need_bytes(elements, "elements")?, need_out(done, "done")?);
        check_count(count, ring.elem_size())?;
        let mut moved = 0;
        // SAFETY: the caller's promises.
        let status = unsafe { ring.push(elements, count, &mut moved) }?;
        // SAFETY: not NULL, and the caller's promise.
        unsafe { done.write(moved) };
        Ok(if moved > 0 { Status::Ok } else { status })
    })
}

/// Writes all of `count` elements, waiting up to `timeout_ns` nanoseconds altogether: SHM_OK when all are in, else
/// SHM_TIMEOUT. `done` is set to how many are in.
///
/// Errors: as `shm_ring_push`.
///
/// # Safety
/// As `shm_ring_push_bulk`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_push_bulk_wait(
    ring: Option<&shm_ring>,
    elements: *const c_void,
    count: usize,
    timeout_ns: u64,
    done: *mut usize,
) -> shm_status {
    guard(|| {
        let ring = &need(ring, "ring")?.0;
        let (elements, done) = (need_bytes(elements, "elements")?, need_out(done, "done")?);
        check_count(count, ring.elem_size())?;
        let mut moved = 0;
        // SAFETY: the caller's promises.
        let status = unsafe { ring.push_wait(elements, count, timeout(timeout_ns), &mut moved) }?;
        // SAFETY: not NULL, and the caller's promise.
        unsafe { done.write(moved) };
        Ok(status)
    })
}

/// Tells how many were taken, and how many were lost before them, to a caller who wants to know.
fn tell(taken: Taken, done: *mut usize, lost: *mut u64) {
    put(done, taken.count);
    put(lost, taken.lost);
}

/// Has `call` take up to `count` elements of `elem_size` bytes, and tells what came of it.
fn take(
    elements: *mut c_void,
    count: usize,
    elem_size: usize,
    done: *mut usize,
    lost: *mut u64,
    call: impl FnOnce(*mut u8, &mut Taken) -> Result<Status>,
) -> Result<Status> {
    let (elements, done) = (need_out(elements, "elements")?, need_out(done, "done")?);
    check_count(count, elem_size)?;
    let mut taken = Taken::default();
    let status = call(elements.cast(), &mut taken)?;
    tell(taken, done, lost);
    Ok(status)
}

/// Has `call` copy up to `count` elements of `elem_size` bytes, which stay where they are, and tells how many.
fn copy(
    elements: *mut c_void,
    count: usize,
    elem_size: usize,
    done: *mut usize,
    call: impl FnOnce(*mut u8) -> Result<usize>,
) -> Result<Status> {
    let (elements, done) = (need_out(elements, "elements")?, need_out(done, "done")?);
    check_count(count, elem_size)?;
    let copied = call(elements.cast())?;
    put(done, copied);
    Ok(if copied > 0 || count == 0 { Status::Ok } else { Status::Empty })
}

/// Takes the oldest element there is: SHM_OK; SHM_EMPTY; SHM_LAPPED when what there was is overwritten, and nothing could be had. `lost` (may be
/// NULL) is set to how many elements were overwritten before they could be taken, since the last call that said so. When nothing was taken,
/// the bytes at `element` may have changed all the same.
///
/// Errors: SHM_ERR_BUSY when there is another consumer; SHM_ERR_READ_ONLY; SHM_ERR_CORRUPT.
///
/// # Safety
/// `ring` is NULL or a handle, used by one popping thread; `element` is NULL or writable for an element; `lost` is NULL or
/// writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_pop(ring: Option<&shm_ring>, element: *mut c_void, lost: *mut u64) -> shm_status {
    guard(|| {
        let (ring, element) = (&need(ring, "ring")?.0, need_out(element, "element")?);
        let mut taken = Taken::default();
        // SAFETY: the caller's promises.
        let status = unsafe { ring.pop(element.cast(), 1, &mut taken) }?;
        tell(taken, std::ptr::null_mut(), lost);
        Ok(status)
    })
}

/// As `shm_ring_pop`, waiting up to `timeout_ns` nanoseconds (SHM_FOREVER: no limit) for an element; then SHM_TIMEOUT.
///
/// # Safety
/// As `shm_ring_pop`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_pop_wait(
    ring: Option<&shm_ring>,
    element: *mut c_void,
    timeout_ns: u64,
    lost: *mut u64,
) -> shm_status {
    guard(|| {
        let (ring, element) = (&need(ring, "ring")?.0, need_out(element, "element")?);
        let mut taken = Taken::default();
        // SAFETY: the caller's promises.
        let status = unsafe { ring.pop_wait(element.cast(), 1, timeout(timeout_ns), &mut taken) }?;
        tell(taken, std::ptr::null_mut(), lost);
        Ok(status)
    })
}

/// Takes as many elements as there are, up to `count`, and sets `done` to how many: SHM_OK when at least one (or `count` is 0), else
/// SHM_EMPTY or SHM_LAPPED. `lost`: as in `shm_ring_pop`. What lies behind the first `done` elements may have changed.
///
/// Errors: as `shm_ring_pop`.
///
/// # Safety
/// As `shm_ring_pop`, for `count` elements; `done` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_pop_bulk(
    ring: Option<&shm_ring>,
    elements: *mut c_void,
    count: usize,
    done: *mut usize,
    lost: *mut u64,
) -> shm_status {
    guard(|| {
        let ring = &need(ring, "ring")?.0;
        // SAFETY: the caller's promises.
        take(elements, count, ring.elem_size(), done, lost, |to, taken| unsafe { ring.pop(to, count, taken) })
    })
}

/// As `shm_ring_pop_bulk`, waiting up to `timeout_ns` nanoseconds for the first element; then SHM_TIMEOUT.
///
/// # Safety
/// As `shm_ring_pop_bulk`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_pop_bulk_wait(
    ring: Option<&shm_ring>,
    elements: *mut c_void,
    count: usize,
    timeout_ns: u64,
    done: *mut usize,
    lost: *mut u64,
) -> shm_status {
    guard(|| {
        let ring = &need(ring, "ring")?.0;
        // SAFETY: the caller's promises.
        take(elements, count, ring.elem_size(), done, lost, |to, taken| unsafe {
            ring.pop_wait(to, count, timeout(timeout_ns), taken)
        })
    })
}

/// Copies up to `count` elements that lie `offset` after the one that would be popped next, and sets `done` to how many: SHM_OK when at least one
/// (or `count` is 0), else SHM_EMPTY. They stay where they are. Also on a read-only segment.
///
/// Errors: SHM_ERR_CORRUPT.
///
/// # Safety
/// `ring` is NULL or a handle; `elements` is NULL or writable for `count` elements; `done` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_peek(
    ring: Option<&shm_ring>,
    offset: u64,
    elements: *mut c_void,
    count: usize,
    done: *mut usize,
) -> shm_status {
    guard(|| {
        let ring = &need(ring, "ring")?.0;
        // SAFETY: the caller's promises.
        copy(elements, count, ring.elem_size(), done, |to| unsafe { ring.peek(offset, to, count) })
    })
}

/// Copies the newest `count` elements, oldest first, and sets `done` to how many: fewer when there are not as many, or a fast writer is overwriting
/// them. SHM_OK when at least one (or `count` is 0), else SHM_EMPTY. Also on a read-only segment.
///
/// Errors: SHM_ERR_CORRUPT.
///
/// # Safety
/// As `shm_ring_peek`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_last(
    ring: Option<&shm_ring>,
    elements: *mut c_void,
    count: usize,
    done: *mut usize,
) -> shm_status {
    guard(|| {
        let ring = &need(ring, "ring")?.0;
        // SAFETY: the caller's promises.
        copy(elements, count, ring.elem_size(), done, |to| unsafe { ring.last(to, count) })
    })
}

/// Passes over up to `count` elements, as if they had been popped, and sets `skipped` (may be NULL) to how many. What was overwritten before
/// them is told by `shm_ring_get_stats` alone.
///
/// Errors: as `shm_ring_pop`.
///
/// # Safety
/// `ring` is NULL or a handle, used by one popping thread; `skipped` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_skip(ring: Option<&shm_ring>, count: u64, skipped: *mut u64) -> shm_status {
    guard(|| {
        // SAFETY: the caller's promise.
        put(skipped, unsafe { need(ring, "ring")?.0.skip(count) }?);
        Ok(Status::Ok)
    })
}

/// Passes over all elements there are, and sets `skipped` (may be NULL) to how many.
///
/// Errors: as `shm_ring_pop`.
///
/// # Safety
/// As `shm_ring_skip`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_clear(ring: Option<&shm_ring>, skipped: *mut u64) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { shm_ring_skip(ring, u64::MAX, skipped) }
}

/// What the ring is, how full it is, and what went through it. Also on a read-only segment.
///
/// Errors: SHM_ERR_CORRUPT.
///
/// # Safety
/// `ring` is NULL or a handle; `stats` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_get_stats(ring: Option<&shm_ring>, stats: *mut shm_ring_stats) -> shm_status {
    guard(|| {
        let (ring, stats) = (&need(ring, "ring")?.0, need_out(stats, "stats")?);
        let found = ring.stats()?;
        let translated = shm_ring_stats {
            capacity: found.capacity,
            size: found.size,
            elem_size: found.elem_size,
            elem_align: found.elem_align,
            flags: if found.overwrite { SHM_OVERWRITE } else { 0 },
            written: found.written,
            read: found.read,
            lost: found.lost,
            writer: found.writer,
            consumer: found.consumer,
        };
        put(stats, translated);
        Ok(Status::Ok)
    })
}

/// All bytes of the ring, as docs/FORMAT.md has them. Valid until the handle is closed; of a read-only segment, for reading only.
/// Other processes may write to them at any time.
///
/// # Safety
/// `ring` is NULL or a handle; `data` and `bytes` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_span(
    ring: Option<&shm_ring>,
    data: *mut *mut c_void,
    bytes: *mut usize,
) -> shm_status {
    // SAFETY: the caller's promises.
    guard(|| unsafe { give_span(need(ring, "ring")?.0.span(), data, bytes) })
}

/// What the table said of the ring when this handle was opened, its name among it.
///
/// # Safety
/// `ring` is NULL or a handle; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_entry(ring: Option<&shm_ring>, out: *mut shm_entry) -> shm_status {
    // SAFETY: the caller's promises.
    guard(|| unsafe { give_entry(need(ring, "ring")?.0.entry(), out) })
}

/// How long waiting calls of this handle spin before they sleep, in nanoseconds; 20,000 at first.
///
/// # Safety
/// `ring` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_set_spin(ring: Option<&shm_ring>, spin_ns: u64) -> shm_status {
    guard(|| {
        need(ring, "ring")?.0.set_spin(timeout(spin_ns));
        Ok(Status::Ok)
    })
}

fn start(position: u64) -> RingStart {
    match position {
        SHM_RING_OLDEST => RingStart::Oldest,
        SHM_RING_NEWEST => RingStart::Newest,
        position => RingStart::At(position),
    }
}

/// Makes a reader with a position of its own, that begins at SHM_RING_OLDEST, SHM_RING_NEWEST, or a position another reader told. Also on a
/// read-only segment. It is closed with `shm_ring_reader_close`, and keeps the ring open.
///
/// Errors: SHM_ERR_INVALID for a position that was not written yet; SHM_ERR_CORRUPT.
///
/// # Safety
/// `ring` is NULL or a handle; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_reader_open(
    ring: Option<&shm_ring>,
    position: u64,
    out: *mut *mut shm_ring_reader,
) -> shm_status {
    guard(|| {
        let (ring, out) = (&need(ring, "ring")?.0, need_out(out, "out")?);
        structure::give(shm_ring_reader(ring.reader(start(position))?), out)
    })
}

/// Ends the reader.
///
/// # Safety
/// `reader` is NULL or a reader that was not closed yet, and no other thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_reader_close(reader: *mut shm_ring_reader) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::close(reader, "reader") }
}

/// A reader that must be there.
///
/// # Safety
/// `reader` is NULL or a reader that no other thread uses.
unsafe fn need_reader<'a>(reader: *mut shm_ring_reader) -> Result<&'a mut RawReader> {
    // SAFETY: not NULL, and the caller's promise.
    Ok(unsafe { &mut (*need_out(reader, "reader")?).0 })
}

/// Reads up to `count` elements and sets `done` to how many: SHM_OK when at least one (or `count` is 0), else SHM_EMPTY; SHM_LAPPED when what there
/// was is overwritten, and nothing could be had. `lost` (may be NULL) is set to how many elements were overwritten before they could be
/// read, since the last call that said so. What lies behind the first `done` elements may have changed.
///
/// Errors: SHM_ERR_CORRUPT.
///
/// # Safety
/// `reader` is NULL or a reader that no other thread uses; `elements` is NULL or writable for `count` elements; `done` is NULL
/// or writable; `lost` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_reader_read(
    reader: *mut shm_ring_reader,
    elements: *mut c_void,
    count: usize,
    done: *mut usize,
    lost: *mut u64,
) -> shm_status {
    guard(|| {
        // SAFETY: the caller's promise.
        let reader = unsafe { need_reader(reader) }?;
        // SAFETY: the caller's promises.
        take(elements, count, reader.elem_size(), done, lost, |to, taken| unsafe { reader.read(to, count, taken) })
    })
}

/// As `shm_ring_reader_read`, waiting up to `timeout_ns` nanoseconds (SHM_FOREVER: no limit) for the first element; then SHM_TIMEOUT.
/// On a read-only segment it looks again from time to time instead of being woken.
///
/// # Safety
/// As `shm_ring_reader_read`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_reader_read_wait(
    reader: *mut shm_ring_reader,
    elements: *mut c_void,
    count: usize,
    timeout_ns: u64,
    done: *mut usize,
    lost: *mut u64,
) -> shm_status {
    guard(|| {
        // SAFETY: the caller's promise.
        let reader = unsafe { need_reader(reader) }?;
        // SAFETY: the caller's promises.
        take(elements, count, reader.elem_size(), done, lost, |to, taken| unsafe {
            reader.read_wait(to, count, timeout(timeout_ns), taken)
        })
    })
}

/// Copies up to `count` elements that lie `offset` after the next, and sets `done` to how many: SHM_OK when at least one (or `count` is 0),
/// else SHM_EMPTY. The position does not change.
///
/// Errors: SHM_ERR_CORRUPT.
///
/// # Safety
/// As `shm_ring_reader_read`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_reader_peek(
    reader: *mut shm_ring_reader,
    offset: u64,
    elements: *mut c_void,
    count: usize,
    done: *mut usize,
) -> shm_status {
    guard(|| {
        // SAFETY: the caller's promise.
        let reader = unsafe { need_reader(reader) }?;
        // SAFETY: the caller's promises.
        copy(elements, count, reader.elem_size(), done, |to| unsafe { reader.peek(offset, to, count) })
    })
}

/// Passes over up to `count` elements, as if they had been read, and sets `skipped` (may be NULL) to how many. What was overwritten before
/// them is told by `shm_ring_reader_get_stats` alone.
///
/// Errors: SHM_ERR_CORRUPT.
///
/// # Safety
/// `reader` is NULL or a reader that no other thread uses; `skipped` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_reader_skip(
    reader: *mut shm_ring_reader,
    count: u64,
    skipped: *mut u64,
) -> shm_status {
    guard(|| {
        // SAFETY: the caller's promise.
        put(skipped, unsafe { need_reader(reader) }?.skip(count)?);
        Ok(Status::Ok)
    })
}

/// Goes to SHM_RING_OLDEST, SHM_RING_NEWEST, or a position. What lies between counts neither as read nor as lost.
///
/// Errors: SHM_ERR_INVALID for a position that was not written yet; SHM_ERR_CORRUPT.
///
/// # Safety
/// `reader` is NULL or a reader that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_reader_seek(reader: *mut shm_ring_reader, position: u64) -> shm_status {
    guard(|| {
        // SAFETY: the caller's promise.
        unsafe { need_reader(reader) }?.seek(start(position))?;
        Ok(Status::Ok)
    })
}

/// Where the reader is, and what it got.
///
/// Errors: SHM_ERR_CORRUPT.
///
/// # Safety
/// `reader` is NULL or a reader that no other thread uses; `stats` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_reader_get_stats(
    reader: *mut shm_ring_reader,
    stats: *mut shm_ring_reader_stats,
) -> shm_status {
    guard(|| {
        // SAFETY: the caller's promise.
        let reader = unsafe { need_reader(reader) }?;
        let (cursor, lag) = (reader.cursor(), reader.lag()?);
        let stats = need_out(stats, "stats")?;
        put(stats, shm_ring_reader_stats { position: cursor.position, read: cursor.read, lost: cursor.lost, lag });
        Ok(Status::Ok)
    })
}

/// How long waiting calls of this reader spin before they sleep, in nanoseconds; 20,000 at first.
///
/// # Safety
/// `reader` is NULL or a reader that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_ring_reader_set_spin(reader: *mut shm_ring_reader, spin_ns: u64) -> shm_status {
    guard(|| {
        // SAFETY: the caller's promise.
        unsafe { need_reader(reader) }?.set_spin(timeout(spin_ns));
        Ok(Status::Ok)
    })
}
