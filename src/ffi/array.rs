//! Arrays, in C.

use std::ffi::{c_char, c_void};

use super::segment::shm_segment;
use super::status::shm_status;
use super::structure::{self, structure};
use super::table::shm_entry;
use super::{SHM_EXCLUSIVE, Sized32, give_entry, give_span, guard, need, need_bytes, need_out, only_flags, timeout};
use crate::array::{ArrayShape, RawArray};
use crate::error::{Result, Status, fail};

/// A handle on a fixed-length array. May be used from any thread.
///
/// The address is there for plain loads and stores. What goes through the functions is copied by atomics of at most eight bytes: a
/// range, or a larger element, may be a mixture of old and new, unless its writer writes between `shm_array_begin_write` and
/// `shm_array_end_write` and its reader takes a `shm_array_snapshot`.
pub struct shm_array(RawArray);

/// What an array is to be, or must be. `shm_array_options_init` first.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct shm_array_options {
    /// Bytes of this struct; set by `shm_array_options_init`.
    pub struct_size: u32,
    /// SHM_EXCLUSIVE (create only).
    pub flags: u32,
    /// Elements. When opening, 0: any.
    pub count: u64,
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
unsafe impl Sized32 for shm_array_options {
    const FIRST: usize = size_of::<Self>();
    const NAME: &'static str = "shm_array_options";

    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>() as u32,
            flags: 0,
            count: 0,
            elem_size: 0,
            elem_align: 0,
            reserved: 0,
            type_tag: 0,
        }
    }
}

impl shm_array_options {
    fn translate(&self) -> Result<ArrayShape> {
        only_flags(self.flags, SHM_EXCLUSIVE, "arrays")?;
        if self.reserved != 0 {
            return Err(fail!(Invalid, "shm_array_options.reserved is {}, not 0", self.reserved));
        }
        Ok(ArrayShape {
            len: self.count,
            elem_size: self.elem_size,
            elem_align: self.elem_align,
            type_tag: self.type_tag,
            exclusive: self.flags & SHM_EXCLUSIVE != 0,
        })
    }
}

structure!(shm_array(RawArray), shm_array_options, ArrayShape);

/// What an array is, and what was written to it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct shm_array_stats {
    /// How many elements there are.
    pub count: u64,
    /// Bytes of an element.
    pub elem_size: u64,
    /// Bytes from one element to the next.
    pub stride: u64,
    /// Alignment of an element.
    pub elem_align: u32,
    /// 1 while a writing is under way, or was left unfinished by a writer that died or gave up.
    pub unfinished: u32,
    /// How many writings were completed.
    pub writings: u64,
}

/// Fills in the defaults.
///
/// # Safety
/// `options` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_array_options_init(options: *mut shm_array_options) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::options_init::<shm_array>(options) }
}

/// How many bytes of a segment such an array takes, alignment included.
///
/// Errors: SHM_ERR_INVALID when there can be no such array.
///
/// # Safety
/// `options` is NULL or as `shm_array_options_init` left it; `bytes` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_array_size(options: *const shm_array_options, bytes: *mut u64) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::size::<shm_array>(options, bytes) }
}

/// Creates the array `name` of zero bytes, or opens it if it is there with as many of the same. The handle is closed with
/// `shm_array_close`; it keeps the segment attached.
///
/// Errors: SHM_ERR_EXISTS with SHM_EXCLUSIVE; SHM_ERR_MISMATCH, naming what differs; SHM_ERR_NO_SPACE; SHM_ERR_LIMIT when the table is
/// full; SHM_ERR_INVALID; SHM_ERR_READ_ONLY; SHM_ERR_BUSY when a stopped process holds the segment's lock.
///
/// # Safety
/// `segment` is NULL or a handle; `name` is NULL or a string; `options` is NULL or as `shm_array_options_init` left it; `out`
/// is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_array_create(
    segment: Option<&shm_segment>,
    name: *const c_char,
    options: *const shm_array_options,
    out: *mut *mut shm_array,
) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::create::<shm_array>(segment, name, options, out) }
}

/// Opens the array `name`. `expected`: what it must be; NULL: whatever it is.
///
/// Errors: SHM_ERR_NOT_FOUND; SHM_ERR_MISMATCH, naming what differs; SHM_ERR_INVALID; SHM_ERR_BUSY.
///
/// # Safety
/// As `shm_array_create`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_array_open(
    segment: Option<&shm_segment>,
    name: *const c_char,
    expected: *const shm_array_options,
    out: *mut *mut shm_array,
) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::open::<shm_array>(segment, name, expected, out) }
}

/// Ends the handle. What it holds is given back with the process's last handle on the array.
///
/// # Safety
/// `array` is NULL or a handle that was not closed yet, and no other thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_array_close(array: *mut shm_array) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::close(array, "array") }
}

/// The first element, how many there are, and the bytes from one to the next. Valid until the handle is closed; of a read-only
/// segment, for reading only.
///
/// # Safety
/// `array` is NULL or a handle; `data`, `count` and `stride` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_array_data(
    array: Option<&shm_array>,
    data: *mut *mut c_void,
    count: *mut usize,
    stride: *mut usize,
) -> shm_status {
    guard(|| {
        let array = &need(array, "array")?.0;
        let (data, count, stride) = (need_out(data, "data")?, need_out(count, "count")?, need_out(stride, "stride")?);
        // SAFETY: not NULL, and the caller's promises.
        unsafe {
            data.write(array.data().as_ptr().cast());
            count.write(array.len());
            stride.write(array.step());
        }
        Ok(Status::Ok)
    })
}

/// Copies element `index` out.
///
/// Errors: SHM_ERR_INVALID when there is no such element.
///
/// # Safety
/// `array` is NULL or a handle; `element` is NULL or writable for an element.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_array_get(array: Option<&shm_array>, index: usize, element: *mut c_void) -> shm_status {
    guard(|| {
        let (array, element) = (&need(array, "array")?.0, need_out(element, "element")?);
        // SAFETY: the caller's promise.
        unsafe { array.load(index, 1, element.cast()) }?;
        Ok(Status::Ok)
    })
}

/// Copies an element to `index`.
///
/// Errors: SHM_ERR_INVALID when there is no such element; SHM_ERR_READ_ONLY.
///
/// # Safety
/// `array` is NULL or a handle; `element` is NULL or readable for an element.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_array_set(array: Option<&shm_array>, index: usize, element: *const c_void) -> shm_status {
    guard(|| {
        let (array, element) = (&need(array, "array")?.0, need_bytes(element, "element")?);
        // SAFETY: the caller's promise.
        unsafe { array.store(index, 1, element) }?;
        Ok(Status::Ok)
    })
}

/// Copies one element to all places.
///
/// Errors: SHM_ERR_READ_ONLY.
///
/// # Safety
/// As `shm_array_set`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_array_fill(array: Option<&shm_array>, element: *const c_void) -> shm_status {
    guard(|| {
        let (array, element) = (&need(array, "array")?.0, need_bytes(element, "element")?);
        // SAFETY: the caller's promise.
        unsafe { array.fill(element) }?;
        Ok(Status::Ok)
    })
}

/// Copies `count` elements out, from `start` on, one behind the other without gaps.
///
/// Errors: SHM_ERR_INVALID when there are not as many.
///
/// # Safety
/// `array` is NULL or a handle; `elements` is NULL or writable for `count` elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_array_load(
    array: Option<&shm_array>,
    start: usize,
    count: usize,
    elements: *mut c_void,
) -> shm_status {
    guard(|| {
        let (array, elements) = (&need(array, "array")?.0, need_out(elements, "elements")?);
        // SAFETY: the caller's promise.
        unsafe { array.load(start, count, elements.cast()) }?;
        Ok(Status::Ok)
    })
}

/// Copies `count` elements in, from `start` on; they lie one behind the other without gaps.
///
/// Errors: SHM_ERR_INVALID when there are not as many; SHM_ERR_READ_ONLY.
///
/// # Safety
/// `array` is NULL or a handle; `elements` is NULL or readable for `count` elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_array_store(
    array: Option<&shm_array>,
    start: usize,
    count: usize,
    elements: *const c_void,
) -> shm_status {
    guard(|| {
        let (array, elements) = (&need(array, "array")?.0, need_bytes(elements, "elements")?);
        // SAFETY: the caller's promise.
        unsafe { array.store(start, count, elements) }?;
        Ok(Status::Ok)
    })
}

/// Begins a writing that snapshots see whole or not at all. One writer at a time. Write with `shm_array_set`, `_store` and `_fill`.
///
/// Errors: SHM_ERR_BUSY when somebody living writes; SHM_ERR_READ_ONLY.
///
/// # Safety
/// `array` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_array_begin_write(array: Option<&shm_array>) -> shm_status {
    guard(|| {
        need(array, "array")?.0.begin_write()?;
        Ok(Status::Ok)
    })
}

/// Ends a writing.
///
/// Errors: SHM_ERR_INVALID when this attachment is not writing.
///
/// # Safety
/// `array` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_array_end_write(array: Option<&shm_array>) -> shm_status {
    guard(|| {
        need(array, "array")?.0.end_write()?;
        Ok(Status::Ok)
    })
}

/// Leaves a writing in the middle, as the death of the writer would: the array is torn until a writing is completed.
///
/// Errors: SHM_ERR_INVALID when this attachment is not writing.
///
/// # Safety
/// `array` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_array_abandon_write(array: Option<&shm_array>) -> shm_status {
    guard(|| {
        need(array, "array")?.0.abandon_write()?;
        Ok(Status::Ok)
    })
}

/// Copies `count` elements out, from `start` on, all of the same moment: SHM_OK; SHM_TORN when a writer died in the middle or gave up,
/// and nobody has completed a writing since; SHM_TIMEOUT when writers left no gap for `timeout_ns` nanoseconds. After the latter two, what is in
/// `elements` is of no use. Never holds a writer up.
///
/// Errors: SHM_ERR_INVALID when there are not as many.
///
/// # Safety
/// As `shm_array_load`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_array_snapshot(
    array: Option<&shm_array>,
    start: usize,
    count: usize,
    elements: *mut c_void,
    timeout_ns: u64,
) -> shm_status {
    guard(|| {
        let (array, elements) = (&need(array, "array")?.0, need_out(elements, "elements")?);
        // SAFETY: the caller's promise.
        unsafe { array.snapshot(start, count, elements.cast(), timeout(timeout_ns)) }
    })
}

/// What the array is, and how many writings were completed.
///
/// # Safety
/// `array` is NULL or a handle; `stats` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_array_get_stats(array: Option<&shm_array>, stats: *mut shm_array_stats) -> shm_status {
    guard(|| {
        let (array, stats) = (&need(array, "array")?.0, need_out(stats, "stats")?);
        let (writings, unfinished) = array.writings();
        let translated = shm_array_stats {
            count: array.len() as u64,
            elem_size: array.elem_size() as u64,
            stride: array.step() as u64,
            elem_align: array.entry().elem_align,
            unfinished: unfinished.into(),
            writings,
        };
        // SAFETY: not NULL, and the caller's promise.
        unsafe { stats.write(translated) };
        Ok(Status::Ok)
    })
}

/// All bytes of the array, as docs/FORMAT.md has them. Valid until the handle is closed; of a read-only segment, for reading only.
/// Other processes may write to them at any time.
///
/// # Safety
/// `array` is NULL or a handle; `data` and `bytes` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_array_span(
    array: Option<&shm_array>,
    data: *mut *mut c_void,
    bytes: *mut usize,
) -> shm_status {
    // SAFETY: the caller's promises.
    guard(|| unsafe { give_span(need(array, "array")?.0.span(), data, bytes) })
}

/// What the table said of the array when this handle was opened, its name among it.
///
/// # Safety
/// `array` is NULL or a handle; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_array_entry(array: Option<&shm_array>, out: *mut shm_entry) -> shm_status {
    // SAFETY: the caller's promises.
    guard(|| unsafe { give_entry(need(array, "array")?.0.entry(), out) })
}
