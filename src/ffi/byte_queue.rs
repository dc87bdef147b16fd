//! Byte queues, in C.

use std::ffi::{c_char, c_void};
use std::ptr::NonNull;

use super::segment::shm_segment;
use super::status::shm_status;
use super::structure::{self, structure};
use super::table::shm_entry;
use super::{
    SHM_EXCLUSIVE, Sized32, check_count, give_entry, give_span, guard, need, need_bytes, need_out, only_flags, put,
    timeout,
};
use crate::byte_queue::{ByteQueueShape, Framing, RawByteQueue, Received};
use crate::error::{Result, Status, fail};

/// Byte queue: bytes without borders instead of messages.
pub const SHM_STREAM: u32 = 0x0400;
/// Byte queue: messages say when they were sent.
pub const SHM_TIMES: u32 = 0x0800;

/// A handle on a queue of bytes, from one producer to one consumer: messages of any length, or with SHM_STREAM bytes without borders. What is
/// reserved, shown or received lies in one piece, always.
///
/// The first handle that sends or reserves becomes the producer, the first that receives or peeks the consumer, until it is closed or its process
/// dies; others get SHM_ERR_BUSY. One thread at a time may use the producing end of a handle, and one the consuming end. After `fork`, a parent's ends
/// stay the parent's. Any handle, also on a read-only segment, may look at `shm_byte_queue_get_stats` and `_available` from any thread.
///
/// If the producer dies, what it had committed arrives, and nothing else. If the consumer dies, its successor receives what was not released, which
/// the dead one may have received already.
pub struct shm_byte_queue(RawByteQueue);

/// What a byte queue is to be, or must be. `shm_byte_queue_options_init` first.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct shm_byte_queue_options {
    /// Bytes of this struct; set by `shm_byte_queue_options_init`.
    pub struct_size: u32,
    /// SHM_STREAM, or SHM_TIMES; SHM_EXCLUSIVE (create only).
    pub flags: u32,
    /// Bytes of the longest message, or of the stream's buffer. There is at least as much: whole pages, message headers included. When opening, 0: any.
    pub capacity: u64,
    /// Messages begin at multiples of this: 8, 16, 32 or 64; 0 (default): 8. Of a stream, 0.
    pub align: u32,
    /// Zero.
    pub reserved: u32,
    /// A mark of your own for what is sent; opening with another one is a mismatch. 0 (default): unchecked.
    pub type_tag: u64,
}

// SAFETY: repr(C), plain, begins with its size.
unsafe impl Sized32 for shm_byte_queue_options {
    const FIRST: usize = size_of::<Self>();
    const NAME: &'static str = "shm_byte_queue_options";

    fn defaults() -> Self {
        Self { struct_size: size_of::<Self>() as u32, flags: 0, capacity: 0, align: 0, reserved: 0, type_tag: 0 }
    }
}

impl shm_byte_queue_options {
    fn translate(&self) -> Result<ByteQueueShape> {
        only_flags(self.flags, SHM_STREAM | SHM_TIMES | SHM_EXCLUSIVE, "byte queues")?;
        if self.reserved != 0 {
            return Err(fail!(Invalid, "shm_byte_queue_options.reserved is {}, not 0", self.reserved));
        }
        let (stream, times) = (self.flags & SHM_STREAM != 0, self.flags & SHM_TIMES != 0);
        if stream && (times || self.align != 0) {
            return Err(fail!(
                Invalid,
                "a byte queue with SHM_STREAM has no messages, so neither times nor an alignment"
            ));
        }
        let align = if self.align == 0 { 8 } else { self.align.into() };
        Ok(ByteQueueShape {
            capacity: self.capacity,
            framing: (!stream).then_some(Framing { align, times }),
            type_tag: self.type_tag,
            exclusive: self.flags & SHM_EXCLUSIVE != 0,
        })
    }
}

structure!(shm_byte_queue(RawByteQueue), shm_byte_queue_options, ByteQueueShape);

/// A message that was received, where it lies.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct shm_message {
    /// The first byte, aligned as the queue says. Good until it is released.
    pub data: *const c_void,
    /// How many bytes it has.
    pub length: u64,
    /// The sender's tag.
    pub tag: u64,
    /// When it was sent, in nanoseconds of the monotonic clock; 0 without SHM_TIMES.
    pub time_ns: u64,
}

impl From<Received> for shm_message {
    fn from(from: Received) -> Self {
        Self { data: from.data.cast(), length: from.length, tag: from.tag, time_ns: from.time }
    }
}

/// What a byte queue is, how full it is, and what went through it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct shm_byte_queue_stats {
    /// Bytes of the buffer, headers of messages included.
    pub capacity: u64,
    /// The longest message, or stretch of bytes, that it can take.
    pub longest: u64,
    /// Bytes that wait, headers included.
    pub used: u64,
    /// The longest message, or stretch of bytes, for which there is room now; 0 also when not even an empty message fits.
    pub room: u64,
    /// Messages sent; of a stream, commits. A death just before the step that publishes leaves it 1 too high.
    pub sent: u64,
    /// Messages released; of a stream, consumptions. Those that a dead consumer was just releasing may count twice.
    pub received: u64,
    /// Bytes sent, headers included: the producer's position.
    pub bytes_sent: u64,
    /// Bytes released, headers included: the consumer's position.
    pub bytes_received: u64,
    /// How often the producer found no room; a waiting call counts once.
    pub full: u64,
    /// How often the consumer found nothing; a waiting call counts once.
    pub empty: u64,
    /// The most bytes the consumer ever found waiting.
    pub high_water: u64,
    /// Messages begin at multiples of this; of a stream, 0.
    pub align: u32,
    /// SHM_STREAM, SHM_TIMES, or 0.
    pub flags: u32,
    /// 1 after `shm_byte_queue_end`.
    pub ended: u32,
    /// The participant who sends; 0: nobody.
    pub producer: u32,
    /// The participant who receives; 0: nobody.
    pub consumer: u32,
    /// Zero.
    pub reserved: u32,
}

/// Fills in the defaults.
///
/// # Safety
/// `options` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_byte_queue_options_init(options: *mut shm_byte_queue_options) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::options_init::<shm_byte_queue>(options) }
}

/// How many bytes of a segment such a byte queue takes, alignment included.
///
/// Errors: SHM_ERR_INVALID when there can be no such queue.
///
/// # Safety
/// `options` is NULL or as `shm_byte_queue_options_init` left it; `bytes` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_byte_queue_size(options: *const shm_byte_queue_options, bytes: *mut u64) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::size::<shm_byte_queue>(options, bytes) }
}

/// Creates the byte queue `name`, or opens it if it is there with the same manner and capacity. The handle is closed with
/// `shm_byte_queue_close`; it keeps the segment attached.
///
/// Errors: SHM_ERR_EXISTS with SHM_EXCLUSIVE; SHM_ERR_MISMATCH, naming what differs; SHM_ERR_NO_SPACE; SHM_ERR_LIMIT when
/// the table is full; SHM_ERR_INVALID; SHM_ERR_READ_ONLY; SHM_ERR_BUSY when a stopped process holds the segment's lock; SHM_ERR_SYSTEM when
/// there is no address space for it, of which it takes twice its capacity.
///
/// # Safety
/// `segment` is NULL or a handle; `name` is NULL or a string; `options` is NULL or as `shm_byte_queue_options_init` left it; `out`
/// is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_byte_queue_create(
    segment: Option<&shm_segment>,
    name: *const c_char,
    options: *const shm_byte_queue_options,
    out: *mut *mut shm_byte_queue,
) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::create::<shm_byte_queue>(segment, name, options, out) }
}

/// Opens the byte queue `name`. With `expected` it must be what that says (capacity 0: any); NULL takes it as it is. On a
/// read-only segment it can be looked at. The handle is closed with `shm_byte_queue_close`.
///
/// Errors: SHM_ERR_NOT_FOUND; else as `shm_byte_queue_create`.
///
/// # Safety
/// As `shm_byte_queue_create`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_byte_queue_open(
    segment: Option<&shm_segment>,
    name: *const c_char,
    expected: *const shm_byte_queue_options,
    out: *mut *mut shm_byte_queue,
) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::open::<shm_byte_queue>(segment, name, expected, out) }
}

/// Ends the handle; others may have its ends. What is reserved is given up, what was received is not released.
///
/// # Safety
/// `queue` is NULL or a handle that was not closed yet, and no other thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_byte_queue_close(queue: *mut shm_byte_queue) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::close(queue, "queue") }
}

/// Hands on what was found, or says why there was nothing.
fn found<T>(outcome: Result<T, Status>, write: impl FnOnce(T)) -> Status {
    match outcome {
        Ok(value) => {
            write(value);
            Status::Ok
        }
        Err(status) => status,
    }
}

/// Room for a message of up to `bytes` bytes, or for so many bytes of a stream, in one piece, to be filled and committed or aborted: SHM_OK, SHM_FULL,
/// SHM_CLOSED. Reserving or sending again before that gives up what was reserved.
///
/// Errors: SHM_ERR_INVALID when it never fits, or for 0 bytes of a stream; SHM_ERR_BUSY when there is another producer; SHM_ERR_READ_ONLY;
/// SHM_ERR_CORRUPT.
///
/// # Safety
/// `queue` is NULL or a handle, used by one producing thread; `data` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_byte_queue_reserve(
    queue: Option<&shm_byte_queue>,
    bytes: u64,
    data: *mut *mut c_void,
) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe {
        if reserve_at_once(queue, bytes, data) { shm_status::SHM_OK } else { reserve_otherwise(queue, bytes, data) }
    }
}

/// False, with nothing done, when it is not the usual case; likewise all the others of this name.
///
/// # Safety
/// As `shm_byte_queue_reserve`.
#[inline(always)]
unsafe fn reserve_at_once(queue: Option<&shm_byte_queue>, bytes: u64, data: *mut *mut c_void) -> bool {
    // SAFETY: the caller's promises; not NULL.
    unsafe {
        if let Some(queue) = queue
            && !data.is_null()
            && let Some(place) = queue.0.reserve_at_once(bytes)
        {
            data.write(place.cast());
            return true;
        }
    }
    false
}

/// # Safety
/// As `shm_byte_queue_reserve`.
#[cold]
#[inline(never)]
unsafe extern "C" fn reserve_otherwise(
    queue: Option<&shm_byte_queue>,
    bytes: u64,
    data: *mut *mut c_void,
) -> shm_status {
    guard(|| {
        let (queue, data) = (&need(queue, "queue")?.0, need_out(data, "data")?);
        // SAFETY: the caller's promise.
        Ok(found(unsafe { queue.reserve(bytes) }?, |place| put(data, place.cast())))
    })
}

/// As `shm_byte_queue_reserve`, waiting up to `timeout_ns` nanoseconds (SHM_FOREVER: no limit) for room; then SHM_TIMEOUT.
///
/// # Safety
/// As `shm_byte_queue_reserve`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_byte_queue_reserve_wait(
    queue: Option<&shm_byte_queue>,
    bytes: u64,
    timeout_ns: u64,
    data: *mut *mut c_void,
) -> shm_status {
    // SAFETY: the caller's promises.
    if unsafe { reserve_at_once(queue, bytes, data) } {
        return shm_status::SHM_OK;
    }
    guard(|| {
        let (queue, data) = (&need(queue, "queue")?.0, need_out(data, "data")?);
        // SAFETY: the caller's promise.
        let outcome = unsafe { queue.wait(Status::Full, timeout(timeout_ns), || queue.reserve(bytes)) }?;
        Ok(found(outcome, |place| put(data, place.cast())))
    })
}

/// Publishes the first `bytes` of what was reserved, as a message with a tag of yours, which a stream ignores; the rest is given up.
///
/// Errors: SHM_ERR_INVALID when not as many are reserved by this handle; then what is reserved stays so.
///
/// # Safety
/// `queue` is NULL or a handle, used by one producing thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_byte_queue_commit(queue: Option<&shm_byte_queue>, bytes: u64, tag: u64) -> shm_status {
    match queue {
        // SAFETY: the caller's promise.
        Some(queue) if unsafe { queue.0.commit_at_once(bytes, tag) } => shm_status::SHM_OK,
        // SAFETY: as above.
        _ => unsafe { commit_otherwise(queue, bytes, tag) },
    }
}

/// # Safety
/// As `shm_byte_queue_commit`.
#[cold]
#[inline(never)]
unsafe extern "C" fn commit_otherwise(queue: Option<&shm_byte_queue>, bytes: u64, tag: u64) -> shm_status {
    guard(|| {
        // SAFETY: the caller's promise.
        unsafe { need(queue, "queue")?.0.commit(bytes, tag) }?;
        Ok(Status::Ok)
    })
}

/// Gives up what was reserved; nobody sees it.
///
/// Errors: SHM_ERR_INVALID when nothing is reserved by this handle.
///
/// # Safety
/// As `shm_byte_queue_commit`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_byte_queue_abort(queue: Option<&shm_byte_queue>) -> shm_status {
    guard(|| {
        // SAFETY: the caller's promise.
        unsafe { need(queue, "queue")?.0.abort() }?;
        Ok(Status::Ok)
    })
}

/// A message to be sent, which must be there unless it is empty.
fn need_message(data: *const c_void, length: u64) -> Result<*const u8> {
    if length == 0 { Ok(NonNull::dangling().as_ptr()) } else { need_bytes(data, "data") }
}

/// Sends a copy of a message of `length` bytes (0: `data` may be NULL) with a tag of yours: SHM_OK, SHM_FULL, SHM_CLOSED.
///
/// Errors: SHM_ERR_INVALID when it never fits, or of a stream; SHM_ERR_BUSY when there is another producer; SHM_ERR_READ_ONLY; SHM_ERR_CORRUPT.
///
/// # Safety
/// `queue` is NULL or a handle, used by one producing thread; `data` is NULL or readable for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_byte_queue_send(
    queue: Option<&shm_byte_queue>,
    data: *const c_void,
    length: u64,
    tag: u64,
) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe {
        if send_at_once(queue, data, length, tag) {
            shm_status::SHM_OK
        } else {
            send_otherwise(queue, data, length, tag)
        }
    }
}

/// # Safety
/// As `shm_byte_queue_send`.
#[inline(always)]
unsafe fn send_at_once(queue: Option<&shm_byte_queue>, data: *const c_void, length: u64, tag: u64) -> bool {
    // SAFETY: the caller's promises; not NULL.
    queue.is_some_and(|queue| !data.is_null() && unsafe { queue.0.send_at_once(data.cast(), length, tag) })
}

/// # Safety
/// As `shm_byte_queue_send`.
#[cold]
#[inline(never)]
unsafe extern "C" fn send_otherwise(
    queue: Option<&shm_byte_queue>,
    data: *const c_void,
    length: u64,
    tag: u64,
) -> shm_status {
    guard(|| {
        let (queue, data) = (&need(queue, "queue")?.0, need_message(data, length)?);
        // SAFETY: the caller's promises.
        unsafe { queue.send(data, length, tag) }
    })
}

/// As `shm_byte_queue_send`, waiting up to `timeout_ns` nanoseconds (SHM_FOREVER: no limit) for room; then SHM_TIMEOUT.
///
/// # Safety
/// As `shm_byte_queue_send`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_byte_queue_send_wait(
    queue: Option<&shm_byte_queue>,
    data: *const c_void,
    length: u64,
    tag: u64,
    timeout_ns: u64,
) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe {
        if send_at_once(queue, data, length, tag) {
            shm_status::SHM_OK
        } else {
            wait_and_send(queue, data, length, tag, timeout_ns)
        }
    }
}

/// # Safety
/// As `shm_byte_queue_send`.
#[cold]
#[inline(never)]
unsafe extern "C" fn wait_and_send(
    queue: Option<&shm_byte_queue>,
    data: *const c_void,
    length: u64,
    tag: u64,
    timeout_ns: u64,
) -> shm_status {
    guard(|| {
        let (queue, data) = (&need(queue, "queue")?.0, need_message(data, length)?);
        // SAFETY: the caller's promises.
        unsafe { queue.send_wait(data, length, tag, timeout(timeout_ns)) }
    })
}

/// Shows the next bytes of a stream in one piece, if there are `least` (1 or more) at least, and sets `there` to how many: SHM_OK, SHM_EMPTY; SHM_CLOSED
/// after the end, when no more will come than there are. They stay until `shm_byte_queue_consume`.
///
/// Errors: SHM_ERR_INVALID for 0 bytes, for more than the capacity, or where there are messages; SHM_ERR_BUSY when there is another consumer;
/// SHM_ERR_READ_ONLY; SHM_ERR_CORRUPT.
///
/// # Safety
/// `queue` is NULL or a handle, used by one consuming thread; `data` and `there` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_byte_queue_peek(
    queue: Option<&shm_byte_queue>,
    least: u64,
    data: *mut *const c_void,
    there: *mut u64,
) -> shm_status {
    guard(|| {
        let queue = &need(queue, "queue")?.0;
        let (data, there) = (need_out(data, "data")?, need_out(there, "there")?);
        // SAFETY: the caller's promise.
        let outcome = unsafe { queue.peek(least) }?;
        Ok(found(outcome, |(place, bytes)| {
            put(data, place.cast_const().cast());
            put(there, bytes);
        }))
    })
}

/// As `shm_byte_queue_peek`, waiting up to `timeout_ns` nanoseconds (SHM_FOREVER: no limit) for `least` bytes; then SHM_TIMEOUT. A producer who waits
/// for room and a consumer who waits for bytes wait for each other for ever if both together want more than the buffer has.
///
/// # Safety
/// As `shm_byte_queue_peek`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_byte_queue_peek_wait(
    queue: Option<&shm_byte_queue>,
    least: u64,
    timeout_ns: u64,
    data: *mut *const c_void,
    there: *mut u64,
) -> shm_status {
    guard(|| {
        let queue = &need(queue, "queue")?.0;
        let (data, there) = (need_out(data, "data")?, need_out(there, "there")?);
        // SAFETY: the caller's promise.
        let outcome = unsafe { queue.wait(Status::Empty, timeout(timeout_ns), || queue.peek(least)) }?;
        Ok(found(outcome, |(place, bytes)| {
            put(data, place.cast_const().cast());
            put(there, bytes);
        }))
    })
}

/// Gives the next `bytes` bytes of a stream back.
///
/// Errors: SHM_ERR_INVALID when this handle was not shown as many, or where there are messages.
///
/// # Safety
/// `queue` is NULL or a handle, used by one consuming thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_byte_queue_consume(queue: Option<&shm_byte_queue>, bytes: u64) -> shm_status {
    guard(|| {
        // SAFETY: the caller's promise.
        unsafe { need(queue, "queue")?.0.consume(bytes) }?;
        Ok(Status::Ok)
    })
}

/// Receives the next message where it lies: SHM_OK, SHM_EMPTY; SHM_CLOSED after the end, once there is nothing left. It stays there until
/// `shm_byte_queue_release`; the ones behind it can be received meanwhile.
///
/// Errors: SHM_ERR_INVALID of a stream; SHM_ERR_BUSY when there is another consumer; SHM_ERR_READ_ONLY; SHM_ERR_CORRUPT.
///
/// # Safety
/// `queue` is NULL or a handle, used by one consuming thread; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_byte_queue_receive(queue: Option<&shm_byte_queue>, out: *mut shm_message) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { if receive_at_once(queue, out) { shm_status::SHM_OK } else { receive_otherwise(queue, out) } }
}

/// # Safety
/// As `shm_byte_queue_receive`.
#[inline(always)]
unsafe fn receive_at_once(queue: Option<&shm_byte_queue>, out: *mut shm_message) -> bool {
    // SAFETY: the caller's promises; not NULL.
    unsafe {
        if let Some(queue) = queue
            && !out.is_null()
            && let Some(message) = queue.0.receive_at_once()
        {
            out.write(message.into());
            return true;
        }
    }
    false
}

/// # Safety
/// As `shm_byte_queue_receive`.
#[cold]
#[inline(never)]
unsafe extern "C" fn receive_otherwise(queue: Option<&shm_byte_queue>, out: *mut shm_message) -> shm_status {
    guard(|| {
        let (queue, out) = (&need(queue, "queue")?.0, need_out(out, "out")?);
        // SAFETY: the caller's promise.
        Ok(found(unsafe { queue.receive() }?, |message| put(out, message.into())))
    })
}

/// As `shm_byte_queue_receive`, waiting up to `timeout_ns` nanoseconds (SHM_FOREVER: no limit) for a message; then SHM_TIMEOUT.
///
/// # Safety
/// As `shm_byte_queue_receive`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_byte_queue_receive_wait(
    queue: Option<&shm_byte_queue>,
    timeout_ns: u64,
    out: *mut shm_message,
) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { if receive_at_once(queue, out) { shm_status::SHM_OK } else { wait_and_receive(queue, timeout_ns, out) } }
}

/// # Safety
/// As `shm_byte_queue_receive`.
#[cold]
#[inline(never)]
unsafe extern "C" fn wait_and_receive(
    queue: Option<&shm_byte_queue>,
    timeout_ns: u64,
    out: *mut shm_message,
) -> shm_status {
    guard(|| {
        let (queue, out) = (&need(queue, "queue")?.0, need_out(out, "out")?);
        // SAFETY: the caller's promise.
        let outcome = unsafe { queue.wait(Status::Empty, timeout(timeout_ns), || queue.receive()) }?;
        Ok(found(outcome, |message| put(out, message.into())))
    })
}

/// Receives as many messages as there are, up to `count`, where they lie, and sets `done` to how many: SHM_OK when at least one (or `count` is 0), else
/// SHM_EMPTY or SHM_CLOSED. `shm_byte_queue_release` gives all of them back.
///
/// Errors: as `shm_byte_queue_receive`.
///
/// # Safety
/// As `shm_byte_queue_receive`, for `count` messages; `done` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_byte_queue_receive_batch(
    queue: Option<&shm_byte_queue>,
    out: *mut shm_message,
    count: usize,
    done: *mut usize,
) -> shm_status {
    guard(|| {
        let queue = &need(queue, "queue")?.0;
        let (out, done) = (need_out(out, "out")?, need_out(done, "done")?);
        check_count(count, size_of::<shm_message>())?;
        let mut moved = 0;
        // SAFETY: the caller's promises; inside the messages.
        let status = unsafe {
            queue.receive_batch(count, |message| {
                out.add(moved).write(message.into());
                moved += 1;
            })
        }?;
        put(done, moved);
        Ok(status)
    })
}

/// As `shm_byte_queue_receive_batch`, waiting up to `timeout_ns` nanoseconds for the first message; then SHM_TIMEOUT.
///
/// # Safety
/// As `shm_byte_queue_receive_batch`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_byte_queue_receive_batch_wait(
    queue: Option<&shm_byte_queue>,
    out: *mut shm_message,
    count: usize,
    timeout_ns: u64,
    done: *mut usize,
) -> shm_status {
    guard(|| {
        let queue = &need(queue, "queue")?.0;
        let (out, done) = (need_out(out, "out")?, need_out(done, "done")?);
        check_count(count, size_of::<shm_message>())?;
        let mut moved = 0;
        // SAFETY: the caller's promises; inside the messages.
        let status = unsafe {
            queue.receive_batch_wait(count, timeout(timeout_ns), |message| {
                out.add(moved).write(message.into());
                moved += 1;
            })
        }?;
        put(done, moved);
        Ok(status)
    })
}

/// Gives back every message that was received. The address of none of them is good any more.
///
/// Errors: SHM_ERR_INVALID when this handle holds none.
///
/// # Safety
/// `queue` is NULL or a handle, used by one consuming thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_byte_queue_release(queue: Option<&shm_byte_queue>) -> shm_status {
    match queue {
        // SAFETY: the caller's promise.
        Some(queue) if unsafe { queue.0.release_at_once() } => shm_status::SHM_OK,
        // SAFETY: as above.
        _ => unsafe { release_otherwise(queue) },
    }
}

/// # Safety
/// As `shm_byte_queue_release`.
#[cold]
#[inline(never)]
unsafe extern "C" fn release_otherwise(queue: Option<&shm_byte_queue>) -> shm_status {
    guard(|| {
        // SAFETY: the caller's promise.
        unsafe { need(queue, "queue")?.0.release() }?;
        Ok(Status::Ok)
    })
}

/// Copies the next message to `buffer` of `size` bytes (0: it may be NULL), and gives it back, but not what is still held: SHM_OK, SHM_EMPTY, SHM_CLOSED.
/// `length` is set to its length, and `tag` (may be NULL) to its tag.
///
/// Errors: SHM_ERR_INVALID when it is too long for the buffer: then `length` says how long it is all the same, and it stays where it is; else as
/// `shm_byte_queue_receive`.
///
/// # Safety
/// `queue` is NULL or a handle, used by one consuming thread; `buffer` is NULL or writable for `size` bytes; `length` and `tag` are NULL or
/// writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_byte_queue_receive_into(
    queue: Option<&shm_byte_queue>,
    buffer: *mut c_void,
    size: usize,
    length: *mut u64,
    tag: *mut u64,
) -> shm_status {
    // SAFETY: the caller's promises; not NULL.
    unsafe {
        if let Some(queue) = queue
            && !buffer.is_null()
            && !length.is_null()
            && let Some((bytes, sent)) = queue.0.receive_into_at_once(buffer.cast(), size as u64)
        {
            length.write(bytes);
            put(tag, sent);
            return shm_status::SHM_OK;
        }
        receive_into_otherwise(queue, buffer, size, length, tag)
    }
}

/// # Safety
/// As `shm_byte_queue_receive_into`.
#[cold]
#[inline(never)]
unsafe extern "C" fn receive_into_otherwise(
    queue: Option<&shm_byte_queue>,
    buffer: *mut c_void,
    size: usize,
    length: *mut u64,
    tag: *mut u64,
) -> shm_status {
    guard(|| {
        let (queue, length) = (&need(queue, "queue")?.0, need_out(length, "length")?);
        let buffer = if size == 0 { NonNull::dangling().as_ptr() } else { need_out(buffer, "buffer")?.cast() };
        let mut needed = None;
        // SAFETY: the caller's promises.
        let outcome = unsafe { queue.receive_into(buffer, size as u64, &mut needed) };
        if let Some(needed) = needed {
            put(length, needed);
        }
        Ok(found(outcome?, |sent| put(tag, sent)))
    })
}

/// Says that nothing more will come: sending gives SHM_CLOSED from now on, receiving once there is nothing left. For good, and only the
/// producer can. What is reserved is given up.
///
/// Errors: SHM_ERR_BUSY when there is another producer; SHM_ERR_READ_ONLY; SHM_ERR_CORRUPT.
///
/// # Safety
/// `queue` is NULL or a handle, used by one producing thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_byte_queue_end(queue: Option<&shm_byte_queue>) -> shm_status {
    guard(|| {
        // SAFETY: the caller's promise.
        unsafe { need(queue, "queue")?.0.end() }?;
        Ok(Status::Ok)
    })
}

/// How many bytes wait, headers of messages included, and the longest message, or stretch of bytes, for which there is room now. Either may be NULL. Also
/// on a read-only segment.
///
/// Errors: SHM_ERR_CORRUPT.
///
/// # Safety
/// `queue` is NULL or a handle; `used` and `room` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_byte_queue_available(
    queue: Option<&shm_byte_queue>,
    used: *mut u64,
    room: *mut u64,
) -> shm_status {
    guard(|| {
        let found = need(queue, "queue")?.0.available()?;
        put(used, found.0);
        put(room, found.1);
        Ok(Status::Ok)
    })
}

/// What the byte queue is, how full it is, and what went through it. Also on a read-only segment.
///
/// Errors: SHM_ERR_CORRUPT.
///
/// # Safety
/// `queue` is NULL or a handle; `stats` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_byte_queue_get_stats(
    queue: Option<&shm_byte_queue>,
    stats: *mut shm_byte_queue_stats,
) -> shm_status {
    guard(|| {
        let (queue, stats) = (&need(queue, "queue")?.0, need_out(stats, "stats")?);
        let found = queue.stats()?;
        let (align, flags) = match queue.framing() {
            None => (0, SHM_STREAM),
            Some(framing) => (framing.align as u32, if framing.times { SHM_TIMES } else { 0 }),
        };
        let translated = shm_byte_queue_stats {
            capacity: found.capacity,
            longest: found.longest,
            used: found.used,
            room: found.room,
            sent: found.sent,
            received: found.received,
            bytes_sent: found.bytes_sent,
            bytes_received: found.bytes_received,
            full: found.full,
            empty: found.empty,
            high_water: found.high_water,
            align,
            flags,
            ended: found.ended.into(),
            producer: found.producer,
            consumer: found.consumer,
            reserved: 0,
        };
        put(stats, translated);
        Ok(Status::Ok)
    })
}

/// How long waiting calls of this handle spin before they sleep, in nanoseconds; 20,000 at first.
///
/// # Safety
/// `queue` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_byte_queue_set_spin(queue: Option<&shm_byte_queue>, spin_ns: u64) -> shm_status {
    guard(|| {
        need(queue, "queue")?.0.set_spin(timeout(spin_ns));
        Ok(Status::Ok)
    })
}

/// All bytes of the byte queue, as docs/FORMAT.md has them. Valid until the handle is closed; of a read-only segment, for reading only.
/// Other processes may write to them at any time.
///
/// # Safety
/// `queue` is NULL or a handle; `data` and `bytes` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_byte_queue_span(
    queue: Option<&shm_byte_queue>,
    data: *mut *mut c_void,
    bytes: *mut usize,
) -> shm_status {
    // SAFETY: the caller's promises.
    guard(|| unsafe { give_span(need(queue, "queue")?.0.span(), data, bytes) })
}

/// What the table said of the byte queue when this handle was opened, its name among it.
///
/// # Safety
/// `queue` is NULL or a handle; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_byte_queue_entry(queue: Option<&shm_byte_queue>, out: *mut shm_entry) -> shm_status {
    // SAFETY: the caller's promises.
    guard(|| unsafe { give_entry(need(queue, "queue")?.0.entry(), out) })
}
