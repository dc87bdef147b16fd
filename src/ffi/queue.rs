//! Queues, in C.

use std::ffi::{c_char, c_void};

use super::segment::shm_segment;
use super::status::shm_status;
use super::structure::{self, structure};
use super::table::shm_entry;
use super::{
    SHM_EXCLUSIVE, SHM_SPSC, Sized32, check_count, give_entry, give_span, guard, need, need_bytes, need_out,
    only_flags, timeout,
};
use crate::error::{Result, Status, fail};
use crate::queue::{Claimed, Mode, QueueShape, RawQueue};
use crate::shared::{Dynamic, Fixed, Width};

/// A handle on a bounded first-in first-out queue of fixed-size elements. A many-to-many queue's handle may be used by any
/// number of threads. An SPSC queue's handle is for one enqueuing and one dequeuing thread: the first handle that enqueues
/// becomes the producer and the first that dequeues the consumer, until it is closed or its process dies; others get
/// SHM_ERR_BUSY. After `fork`, a parent's SPSC ends stay the parent's.
///
/// If a process dies in the middle of an operation, the others go on: an element that was not enqueued yet is not seen, and an
/// element that the dead one was dequeuing is lost with it.
pub struct shm_queue {
    pub(super) raw: RawQueue,
    /// `shm_queue_enqueue` for this queue's size of elements, so that its copy is of a size known when compiled.
    enqueue: Enqueue,
    /// Likewise `shm_queue_dequeue`.
    dequeue: Dequeue,
}

type Enqueue = unsafe extern "C" fn(&shm_queue, *const u8) -> shm_status;
type Dequeue = unsafe extern "C" fn(&shm_queue, *mut u8) -> shm_status;

impl From<RawQueue> for shm_queue {
    fn from(raw: RawQueue) -> Self {
        macro_rules! sized {
            ($($bytes:literal)*) => {
                match raw.elem_size() {
                    $($bytes => (enqueue::<Fixed<[u8; $bytes]>>, dequeue::<Fixed<[u8; $bytes]>>),)*
                    _ => (enqueue::<Dynamic>, dequeue::<Dynamic>),
                }
            };
        }
        let (enqueue, dequeue): (Enqueue, Dequeue) = sized!(1 2 4 8 12 16 24 32 40 48 56 64 96 128 192 256 512 1024);
        Self { raw, enqueue, dequeue }
    }
}

/// # Safety
/// As [`shm_queue_enqueue`], for elements of this width.
unsafe extern "C" fn enqueue<W: Width>(queue: &shm_queue, element: *const u8) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe {
        if queue.raw.enqueue_at_once(W::of(queue.raw.elem_size()), element) {
            shm_status::SHM_OK
        } else {
            enqueue_otherwise(queue, element)
        }
    }
}

/// # Safety
/// As [`shm_queue_enqueue`].
#[cold]
#[inline(never)]
unsafe extern "C" fn enqueue_otherwise(queue: &shm_queue, element: *const u8) -> shm_status {
    // SAFETY: the caller's promises.
    guard(|| unsafe { queue.raw.enqueue_otherwise(element) })
}

/// # Safety
/// As [`shm_queue_dequeue`], for elements of this width.
unsafe extern "C" fn dequeue<W: Width>(queue: &shm_queue, element: *mut u8) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe {
        if queue.raw.dequeue_at_once(W::of(queue.raw.elem_size()), element) {
            shm_status::SHM_OK
        } else {
            look_and_dequeue::<W>(queue, element)
        }
    }
}

/// Apart, so that there is less to do before and after a call that need not look.
///
/// # Safety
/// As [`dequeue`].
#[inline(never)]
unsafe extern "C" fn look_and_dequeue<W: Width>(queue: &shm_queue, element: *mut u8) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe {
        if queue.raw.look_at_once() && queue.raw.dequeue_at_once(W::of(queue.raw.elem_size()), element) {
            shm_status::SHM_OK
        } else {
            dequeue_otherwise(queue, element)
        }
    }
}

/// # Safety
/// As [`shm_queue_dequeue`].
#[cold]
#[inline(never)]
unsafe extern "C" fn dequeue_otherwise(queue: &shm_queue, element: *mut u8) -> shm_status {
    // SAFETY: the caller's promises.
    guard(|| unsafe { queue.raw.dequeue_otherwise(element) })
}

/// What a queue is to be, or must be. `shm_queue_options_init` first.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct shm_queue_options {
    /// Bytes of this struct; set by `shm_queue_options_init`.
    pub struct_size: u32,
    /// SHM_SPSC, SHM_EXCLUSIVE (create only).
    pub flags: u32,
    /// Elements there is room for, rounded up to a power of two. When opening, 0: any.
    pub capacity: u64,
    /// Bytes of an element.
    pub elem_size: u64,
    /// Alignment of an element: a power of two up to 4096; 0 (default): what suits its size, at most 8.
    pub elem_align: u32,
    /// Zero.
    pub reserved: u32,
    /// A mark of your own for the element type; opening with another one is a mismatch. 0 (default): unchecked.
    pub type_tag: u64,
}

// SAFETY: repr(C), plain, begins with its size.
unsafe impl Sized32 for shm_queue_options {
    const FIRST: usize = size_of::<Self>();
    const NAME: &'static str = "shm_queue_options";

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

impl shm_queue_options {
    fn translate(&self) -> Result<QueueShape> {
        only_flags(self.flags, SHM_SPSC | SHM_EXCLUSIVE, "queues")?;
        if self.reserved != 0 {
            return Err(fail!(Invalid, "shm_queue_options.reserved is {}, not 0", self.reserved));
        }
        Ok(QueueShape {
            mode: if self.flags & SHM_SPSC != 0 { Mode::Spsc } else { Mode::Mpmc },
            capacity: self.capacity,
            elem_size: self.elem_size,
            elem_align: self.elem_align,
            type_tag: self.type_tag,
            exclusive: self.flags & SHM_EXCLUSIVE != 0,
        })
    }
}

structure!(shm_queue from RawQueue, shm_queue_options, QueueShape);

/// What a queue is and how full it is.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct shm_queue_stats {
    /// How many elements there is room for.
    pub capacity: u64,
    /// How many elements there are now; a moment later it may be another number.
    pub size: u64,
    /// Bytes of an element.
    pub elem_size: u64,
    /// Alignment of an element.
    pub elem_align: u32,
    /// SHM_SPSC.
    pub flags: u32,
    /// How many elements were ever enqueued, aborted ones included.
    pub enqueued: u64,
    /// How many elements were ever dequeued, aborted ones included.
    pub dequeued: u64,
    /// 1 after `shm_queue_shutdown`.
    pub shut_down: u32,
    /// Zero.
    pub reserved: u32,
}

/// An element in place: claimed to be filled, or peeked to be read.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct shm_queue_slot {
    /// Where the element is; aligned as the queue says.
    pub data: *mut c_void,
    /// Which element it is.
    pub position: u64,
}

/// Fills in the defaults.
///
/// # Safety
/// `options` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_queue_options_init(options: *mut shm_queue_options) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::options_init::<shm_queue>(options) }
}

/// How many bytes of a segment such a queue takes, alignment included.
///
/// Errors: SHM_ERR_INVALID when there can be no such queue.
///
/// # Safety
/// `options` is NULL or as `shm_queue_options_init` left it; `bytes` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_queue_size(options: *const shm_queue_options, bytes: *mut u64) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::size::<shm_queue>(options, bytes) }
}

/// Creates the queue `name`, or opens it if it is there with the same mode, capacity and elements. The handle is closed with
/// `shm_queue_close`; it keeps the segment attached.
///
/// Errors: SHM_ERR_EXISTS with SHM_EXCLUSIVE; SHM_ERR_MISMATCH, naming what differs; SHM_ERR_NO_SPACE; SHM_ERR_LIMIT when
/// the table is full; SHM_ERR_INVALID; SHM_ERR_READ_ONLY; SHM_ERR_BUSY when a stopped process holds the segment's lock.
///
/// # Safety
/// `segment` is NULL or a handle; `name` is NULL or a string; `options` is NULL or as `shm_queue_options_init` left it; `out`
/// is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_queue_create(
    segment: Option<&shm_segment>,
    name: *const c_char,
    options: *const shm_queue_options,
    out: *mut *mut shm_queue,
) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::create::<shm_queue>(segment, name, options, out) }
}

/// Opens the queue `name`. With `expected` it must be what that says (capacity 0: any); NULL takes it as it is. On a
/// read-only segment it can be looked at only. The handle is closed with `shm_queue_close`.
///
/// Errors: SHM_ERR_NOT_FOUND; else as `shm_queue_create`.
///
/// # Safety
/// As `shm_queue_create`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_queue_open(
    segment: Option<&shm_segment>,
    name: *const c_char,
    expected: *const shm_queue_options,
    out: *mut *mut shm_queue,
) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::open::<shm_queue>(segment, name, expected, out) }
}

/// Ends the handle. Slots it claimed or peeked and did not give back are given up with the process's last handle on the queue.
///
/// # Safety
/// `queue` is NULL or a handle that was not closed yet, and no other thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_queue_close(queue: *mut shm_queue) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::close(queue, "queue") }
}

/// Enqueues a copy of an element: SHM_OK, SHM_FULL, SHM_CLOSED.
///
/// Errors: SHM_ERR_BUSY when the queue is SPSC and has another producer; SHM_ERR_READ_ONLY; SHM_ERR_CORRUPT.
///
/// # Safety
/// `queue` is NULL or a handle, used by one enqueuing thread if SPSC; `element` is NULL or readable for an element.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_queue_enqueue(queue: Option<&shm_queue>, element: *const c_void) -> shm_status {
    match queue {
        // SAFETY: the caller's promises.
        Some(queue) if !element.is_null() => unsafe { (queue.enqueue)(queue, element.cast()) },
        _ => refused(queue, element),
    }
}

/// Dequeues the oldest element: SHM_OK, SHM_EMPTY; SHM_CLOSED after a shutdown, once there is nothing left. On a many-to-many
/// queue, elements that came later wait while another process is still writing an older one.
///
/// Errors: SHM_ERR_BUSY when the queue is SPSC and has another consumer; SHM_ERR_READ_ONLY; SHM_ERR_CORRUPT.
///
/// # Safety
/// `queue` is NULL or a handle, used by one dequeuing thread if SPSC; `element` is NULL or writable for an element.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_queue_dequeue(queue: Option<&shm_queue>, element: *mut c_void) -> shm_status {
    match queue {
        // SAFETY: the caller's promises.
        Some(queue) if !element.is_null() => unsafe { (queue.dequeue)(queue, element.cast()) },
        _ => refused(queue, element),
    }
}

/// Says what is NULL.
#[cold]
extern "C" fn refused(queue: Option<&shm_queue>, element: *const c_void) -> shm_status {
    guard(|| {
        need(queue, "queue")?;
        need_bytes(element, "element")?;
        Ok(Status::Ok)
    })
}

fn settled(result: Result<(), Status>) -> Status {
    result.err().unwrap_or(Status::Ok)
}

fn result(status: Status) -> Result<(), Status> {
    if status == Status::Ok { Ok(()) } else { Err(status) }
}

/// As `shm_queue_enqueue`, waiting up to `timeout_ns` nanoseconds (SHM_FOREVER: no limit) for room; then SHM_TIMEOUT.
///
/// # Safety
/// As `shm_queue_enqueue`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_queue_enqueue_wait(
    queue: Option<&shm_queue>,
    element: *const c_void,
    timeout_ns: u64,
) -> shm_status {
    guard(|| {
        let (queue, element) = (&need(queue, "queue")?.raw, need_bytes(element, "element")?);
        let width = Dynamic(queue.elem_size());
        // SAFETY: the caller's promises.
        let attempt = || Ok(result(unsafe { queue.enqueue(width, element) }?));
        Ok(settled(queue.wait(Status::Full, timeout(timeout_ns), attempt)?))
    })
}

/// As `shm_queue_dequeue`, waiting up to `timeout_ns` nanoseconds (SHM_FOREVER: no limit) for an element; then SHM_TIMEOUT.
///
/// # Safety
/// As `shm_queue_dequeue`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_queue_dequeue_wait(
    queue: Option<&shm_queue>,
    element: *mut c_void,
    timeout_ns: u64,
) -> shm_status {
    guard(|| {
        let (queue, element) = (&need(queue, "queue")?.raw, need_out(element, "element")?);
        let width = Dynamic(queue.elem_size());
        // SAFETY: the caller's promises.
        let attempt = || Ok(result(unsafe { queue.dequeue(width, element.cast()) }?));
        Ok(settled(queue.wait(Status::Empty, timeout(timeout_ns), attempt)?))
    })
}

/// Enqueues as many of `count` elements, one after the other, as there is room for, and sets `done` to how many: SHM_OK when
/// at least one (or `count` is 0), else SHM_FULL or SHM_CLOSED.
///
/// Errors: as `shm_queue_enqueue`.
///
/// # Safety
/// As `shm_queue_enqueue`, for `count` elements; `done` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_queue_enqueue_bulk(
    queue: Option<&shm_queue>,
    elements: *const c_void,
    count: usize,
    done: *mut usize,
) -> shm_status {
    guard(|| {
        let queue = &need(queue, "queue")?.raw;
        let (elements, done) = (need_bytes(elements, "elements")?, need_out(done, "done")?);
        check_count(count, queue.elem_size())?;
        let mut moved = 0;
        // SAFETY: the caller's promises.
        let status = unsafe { queue.enqueue_bulk(Dynamic(queue.elem_size()), elements, count, &mut moved) }?;
        // SAFETY: not NULL, and the caller's promise.
        unsafe { done.write(moved) };
        Ok(if moved > 0 { Status::Ok } else { status })
    })
}

/// Dequeues as many elements as there are, up to `count`, and sets `done` to how many: SHM_OK when at least one (or `count` is
/// 0), else SHM_EMPTY or SHM_CLOSED.
///
/// Errors: as `shm_queue_dequeue`.
///
/// # Safety
/// As `shm_queue_dequeue`, for `count` elements; `done` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_queue_dequeue_bulk(
    queue: Option<&shm_queue>,
    elements: *mut c_void,
    count: usize,
    done: *mut usize,
) -> shm_status {
    guard(|| {
        let queue = &need(queue, "queue")?.raw;
        let (elements, done) = (need_out(elements, "elements")?, need_out(done, "done")?);
        check_count(count, queue.elem_size())?;
        let mut moved = 0;
        // SAFETY: the caller's promises.
        let status = unsafe { queue.dequeue_bulk(Dynamic(queue.elem_size()), elements.cast(), count, &mut moved) }?;
        // SAFETY: not NULL, and the caller's promise.
        unsafe { done.write(moved) };
        Ok(status)
    })
}

/// Enqueues all of `count` elements, waiting up to `timeout_ns` nanoseconds altogether: SHM_OK when all are in, else
/// SHM_TIMEOUT or SHM_CLOSED. `done` is set to how many are in.
///
/// Errors: as `shm_queue_enqueue`.
///
/// # Safety
/// As `shm_queue_enqueue_bulk`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_queue_enqueue_bulk_wait(
    queue: Option<&shm_queue>,
    elements: *const c_void,
    count: usize,
    timeout_ns: u64,
    done: *mut usize,
) -> shm_status {
    guard(|| {
        let queue = &need(queue, "queue")?.raw;
        let (elements, done) = (need_bytes(elements, "elements")?, need_out(done, "done")?);
        check_count(count, queue.elem_size())?;
        let width = Dynamic(queue.elem_size());
        let mut moved = 0;
        let status = queue.wait(Status::Full, timeout(timeout_ns), || {
            // SAFETY: the caller's promises; inside the elements.
            Ok(result(unsafe { queue.enqueue_bulk(width, elements, count, &mut moved) }?))
        })?;
        // SAFETY: not NULL, and the caller's promise.
        unsafe { done.write(moved) };
        Ok(settled(status))
    })
}

/// As `shm_queue_dequeue_bulk`, waiting up to `timeout_ns` nanoseconds for the first element; then SHM_TIMEOUT.
///
/// # Safety
/// As `shm_queue_dequeue_bulk`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_queue_dequeue_bulk_wait(
    queue: Option<&shm_queue>,
    elements: *mut c_void,
    count: usize,
    timeout_ns: u64,
    done: *mut usize,
) -> shm_status {
    guard(|| {
        let queue = &need(queue, "queue")?.raw;
        let (elements, done) = (need_out(elements, "elements")?, need_out(done, "done")?);
        check_count(count, queue.elem_size())?;
        let width = Dynamic(queue.elem_size());
        let mut moved = 0;
        let status = queue.wait(Status::Empty, timeout(timeout_ns), || {
            // SAFETY: the caller's promises.
            Ok(result(unsafe { queue.dequeue_bulk(width, elements.cast(), count, &mut moved) }?))
        })?;
        // SAFETY: not NULL, and the caller's promise.
        unsafe { done.write(moved) };
        Ok(settled(status))
    })
}

fn put_slot(outcome: Result<Claimed, Status>, slot: *mut shm_queue_slot) -> Status {
    match outcome {
        Ok(claimed) => {
            // SAFETY: the caller checked that `slot` is not NULL, and its own caller promised that it is writable.
            unsafe { slot.write(shm_queue_slot { data: claimed.data.cast(), position: claimed.position }) };
            Status::Ok
        }
        Err(status) => status,
    }
}

/// Claims the next slot, to be filled in place and then committed or aborted: SHM_OK, SHM_FULL, SHM_CLOSED. While it is held,
/// consumers of a many-to-many queue do not get past it.
///
/// Errors: as `shm_queue_enqueue`.
///
/// # Safety
/// `queue` is NULL or a handle, used by one enqueuing thread if SPSC; `slot` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_queue_claim(queue: Option<&shm_queue>, slot: *mut shm_queue_slot) -> shm_status {
    guard(|| {
        let (queue, slot) = (&need(queue, "queue")?.raw, need_out(slot, "slot")?);
        // SAFETY: the caller's promise.
        Ok(put_slot(unsafe { queue.claim() }?, slot))
    })
}

/// As `shm_queue_claim`, waiting up to `timeout_ns` nanoseconds for room; then SHM_TIMEOUT.
///
/// # Safety
/// As `shm_queue_claim`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_queue_claim_wait(
    queue: Option<&shm_queue>,
    timeout_ns: u64,
    slot: *mut shm_queue_slot,
) -> shm_status {
    guard(|| {
        let (queue, slot) = (&need(queue, "queue")?.raw, need_out(slot, "slot")?);
        // SAFETY: the caller's promise.
        Ok(put_slot(queue.wait(Status::Full, timeout(timeout_ns), || unsafe { queue.claim() })?, slot))
    })
}

/// Makes a claimed element visible.
///
/// Errors: SHM_ERR_INVALID when the slot is not claimed by this attachment.
///
/// # Safety
/// `queue` is NULL or a handle, used by one enqueuing thread if SPSC; `slot` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_queue_commit(queue: Option<&shm_queue>, slot: Option<&shm_queue_slot>) -> shm_status {
    guard(|| {
        // SAFETY: the caller's promise.
        unsafe { need(queue, "queue")?.raw.commit(need(slot, "slot")?.position) }?;
        Ok(Status::Ok)
    })
}

/// Gives a claimed slot up; nobody sees it.
///
/// Errors: SHM_ERR_INVALID when the slot is not claimed by this attachment.
///
/// # Safety
/// As `shm_queue_commit`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_queue_abort(queue: Option<&shm_queue>, slot: Option<&shm_queue_slot>) -> shm_status {
    guard(|| {
        // SAFETY: the caller's promise.
        unsafe { need(queue, "queue")?.raw.abort(need(slot, "slot")?.position) }?;
        Ok(Status::Ok)
    })
}

/// Takes the oldest element, to be read in place and then released: SHM_OK, SHM_EMPTY, SHM_CLOSED. It is this caller's from
/// now on; nobody else sees it. On an SPSC queue of small elements, in place is in the handle's own memory.
///
/// Errors: as `shm_queue_dequeue`.
///
/// # Safety
/// `queue` is NULL or a handle, used by one dequeuing thread if SPSC; `slot` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_queue_peek(queue: Option<&shm_queue>, slot: *mut shm_queue_slot) -> shm_status {
    guard(|| {
        let (queue, slot) = (&need(queue, "queue")?.raw, need_out(slot, "slot")?);
        // SAFETY: the caller's promise.
        Ok(put_slot(unsafe { queue.peek() }?, slot))
    })
}

/// As `shm_queue_peek`, waiting up to `timeout_ns` nanoseconds for an element; then SHM_TIMEOUT.
///
/// # Safety
/// As `shm_queue_peek`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_queue_peek_wait(
    queue: Option<&shm_queue>,
    timeout_ns: u64,
    slot: *mut shm_queue_slot,
) -> shm_status {
    guard(|| {
        let (queue, slot) = (&need(queue, "queue")?.raw, need_out(slot, "slot")?);
        // SAFETY: the caller's promise.
        Ok(put_slot(queue.wait(Status::Empty, timeout(timeout_ns), || unsafe { queue.peek() })?, slot))
    })
}

/// Gives the slot of a peeked element back.
///
/// Errors: SHM_ERR_INVALID when the slot is not held by this attachment.
///
/// # Safety
/// `queue` is NULL or a handle, used by one dequeuing thread if SPSC; `slot` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_queue_release(queue: Option<&shm_queue>, slot: Option<&shm_queue_slot>) -> shm_status {
    guard(|| {
        // SAFETY: the caller's promise.
        unsafe { need(queue, "queue")?.raw.release(need(slot, "slot")?.position) }?;
        Ok(Status::Ok)
    })
}

/// Says that nothing more will come: enqueueing gives SHM_CLOSED from now on, dequeueing once the queue is empty. For all handles,
/// and for good. An enqueue running at the same time may still succeed.
///
/// Errors: SHM_ERR_READ_ONLY.
///
/// # Safety
/// `queue` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_queue_shutdown(queue: Option<&shm_queue>) -> shm_status {
    guard(|| {
        need(queue, "queue")?.raw.shutdown()?;
        Ok(Status::Ok)
    })
}

/// What the queue is and how full it is. Also on a read-only segment.
///
/// # Safety
/// `queue` is NULL or a handle; `stats` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_queue_get_stats(queue: Option<&shm_queue>, stats: *mut shm_queue_stats) -> shm_status {
    guard(|| {
        let (queue, stats) = (&need(queue, "queue")?.raw, need_out(stats, "stats")?);
        let found = queue.stats();
        let translated = shm_queue_stats {
            capacity: found.capacity,
            size: found.size,
            elem_size: found.elem_size,
            elem_align: found.elem_align,
            flags: if found.mode == Mode::Spsc { SHM_SPSC } else { 0 },
            enqueued: found.enqueued,
            dequeued: found.dequeued,
            shut_down: found.shut_down.into(),
            reserved: 0,
        };
        // SAFETY: not NULL, and the caller's promise.
        unsafe { stats.write(translated) };
        Ok(Status::Ok)
    })
}

/// How long waiting calls of this handle spin before they sleep, in nanoseconds; 20,000 at first.
///
/// # Safety
/// `queue` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_queue_set_spin(queue: Option<&shm_queue>, spin_ns: u64) -> shm_status {
    guard(|| {
        need(queue, "queue")?.raw.set_spin(timeout(spin_ns));
        Ok(Status::Ok)
    })
}

/// All bytes of the queue, as docs/FORMAT.md has them. Valid until the handle is closed; of a read-only segment, for reading only.
/// Other processes may write to them at any time.
///
/// # Safety
/// `queue` is NULL or a handle; `data` and `bytes` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_queue_span(
    queue: Option<&shm_queue>,
    data: *mut *mut c_void,
    bytes: *mut usize,
) -> shm_status {
    // SAFETY: the caller's promises.
    guard(|| unsafe { give_span(need(queue, "queue")?.raw.span(), data, bytes) })
}

/// What the table said of the queue when this handle was opened, its name among it.
///
/// # Safety
/// `queue` is NULL or a handle; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_queue_entry(queue: Option<&shm_queue>, out: *mut shm_entry) -> shm_status {
    // SAFETY: the caller's promises.
    guard(|| unsafe { give_entry(need(queue, "queue")?.raw.entry(), out) })
}
