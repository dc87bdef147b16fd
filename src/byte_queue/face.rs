//! `ByteQueue`: the Rust face.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::time::Duration;

use super::frames::Received;
use super::layout::Framing;
use super::raw::{ByteQueueShape, ByteQueueStats, RawByteQueue};
use crate::error::{Error, Result, Status, fail};
use crate::segment::{Entry, Segment};
use crate::shared::store_bytes;

/// What a byte queue is to be.
///
/// ```
/// use shmds::ByteQueueOptions;
/// let options = ByteQueueOptions::new(1 << 20).align(64).times();
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct ByteQueueOptions {
    capacity: u64,
    framing: Option<Framing>,
    exclusive: bool,
    type_tag: u64,
}

impl ByteQueueOptions {
    /// A queue of messages of up to `capacity` bytes: the buffer is that and a header, rounded up to pages. Messages are aligned to 8.
    pub const fn new(capacity: u64) -> Self {
        Self { capacity, framing: Some(Framing { align: 8, times: false }), exclusive: false, type_tag: 0 }
    }

    /// A stream of bytes without borders, in a buffer of `capacity` bytes rounded up to pages. One of whole 2 MiB lies in huge pages if its segment does.
    pub const fn stream(capacity: u64) -> Self {
        Self { capacity, framing: None, exclusive: false, type_tag: 0 }
    }

    /// Messages begin at multiples of `align`: 8, 16, 32 or 64.
    pub const fn align(mut self, align: u32) -> Self {
        if let Some(framing) = &mut self.framing {
            framing.align = align as u64;
        }
        self
    }

    /// Messages say when they were sent, which costs a look at the clock.
    pub const fn times(mut self) -> Self {
        if let Some(framing) = &mut self.framing {
            framing.times = true;
        }
        self
    }

    /// Creating fails with [`Status::Exists`] instead of opening what is there.
    pub const fn exclusive(mut self) -> Self {
        self.exclusive = true;
        self
    }

    /// A mark of your own for what is sent: opening with another one is a mismatch. 0: unchecked.
    pub const fn type_tag(mut self, tag: u64) -> Self {
        self.type_tag = tag;
        self
    }

    /// How many bytes of a segment such a queue takes, alignment included.
    ///
    /// # Errors
    /// `Invalid` when there can be no such queue.
    pub fn bytes(&self) -> Result<u64> {
        self.shape().bytes()
    }

    fn shape(&self) -> ByteQueueShape {
        let Self { capacity, framing, exclusive, type_tag } = *self;
        ByteQueueShape { capacity, framing, exclusive, type_tag }
    }
}

/// A handle on a queue of bytes in a segment: from one producer to one consumer, messages of any length that are never split.
///
/// The first handle that sends becomes the producer, the first that receives the consumer, until it is dropped or its process dies;
/// others get [`Status::Busy`]. A handle is for one thread at a time; [`try_clone`](Self::try_clone) makes one for another thread.
///
/// Calls that find no room or nothing say so and are not errors; after [`end`](Self::end), sending, and receiving once there is nothing left,
/// fail with [`Status::Closed`].
///
/// ```
/// # fn main() -> shmds::Result<()> {
/// use shmds::{ByteQueue, ByteQueueOptions, Segment, SegmentOptions};
/// let name = format!("doc-bytes-{}", std::process::id());
/// let segment = Segment::create(&name, &SegmentOptions::new().size(1 << 20))?;
/// let queue = ByteQueue::create(&segment, "log", &ByteQueueOptions::new(4096))?;
/// assert!(queue.send(b"it begins", 7)?);
///
/// let message = queue.receive()?.expect("one was sent");
/// assert_eq!((message.to_vec(), message.tag()), (b"it begins".to_vec(), 7));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ByteQueue {
    raw: RawByteQueue,
    /// What was reserved, or received, is out: it is *the* next place, so nothing else of its end may run.
    reserved: Cell<bool>,
    received: Cell<bool>,
    /// Not `Sync`: the ends have private state.
    thread: PhantomData<Cell<()>>,
}

impl ByteQueue {
    /// Creates the queue `name`, or opens it if it is there with the same capacity and manner.
    ///
    /// # Errors
    /// `Exists` when exclusive; `Mismatch`, naming what differs; `NoSpace`; `Limit`; `Invalid`; `ReadOnly`; `Busy`.
    pub fn create(segment: &Segment, name: &str, options: &ByteQueueOptions) -> Result<Self> {
        Ok(Self::over(RawByteQueue::create(segment, name, &options.shape())?))
    }

    /// Opens the queue `name` as it is. On a read-only segment it can be looked at only.
    ///
    /// # Errors
    /// `NotFound`; `Mismatch` when it is something else; `Limit` when there is no address space for it.
    pub fn open(segment: &Segment, name: &str) -> Result<Self> {
        Ok(Self::over(RawByteQueue::open(segment, name, None)?))
    }

    /// Opens the queue `name`, which must be what `options` say; a capacity of 0 stands for any.
    ///
    /// # Errors
    /// As [`open`](Self::open); `Mismatch`, naming what differs.
    pub fn open_as(segment: &Segment, name: &str, options: &ByteQueueOptions) -> Result<Self> {
        Ok(Self::over(RawByteQueue::open(segment, name, Some(&options.shape()))?))
    }

    fn over(raw: RawByteQueue) -> Self {
        Self { raw, reserved: Cell::new(false), received: Cell::new(false), thread: PhantomData }
    }

    /// Another handle on the same queue, for another thread.
    ///
    /// # Errors
    /// In a forked child that could not register; `Limit` when there is no address space for it.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self::over(self.raw.reopen()?))
    }

    /// The name in the segment's table.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.raw.entry().name
    }

    /// All of its bytes, as docs/FORMAT.md has them. Valid while a handle on it is open; of a read-only segment, for reading only.
    /// Other processes may write to them at any time.
    #[must_use]
    pub fn span(&self) -> NonNull<[u8]> {
        self.raw.span()
    }

    /// What the table said of it when it was opened.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        self.raw.entry()
    }

    /// How many bytes wait, headers included, and the longest message, or stretch of bytes, for which there is room now.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn available(&self) -> Result<(u64, u64)> {
        self.raw.available()
    }

    /// The longest message, or stretch of bytes, that it can take.
    #[must_use]
    pub fn longest(&self) -> u64 {
        self.raw.longest()
    }

    /// What the queue is, how full it is, and what went through it.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn stats(&self) -> Result<ByteQueueStats> {
        self.raw.stats()
    }

    #[inline]
    fn free(&self, out: &Cell<bool>, what: &str) -> Result<()> {
        if out.get() { Err(self.is_out(what)) } else { Ok(()) }
    }

    #[cold]
    fn is_out(&self, what: &str) -> Error {
        fail!(Busy, "a {what} of byte queue '{}' is still held", self.name())
    }

    /// Sends a copy of `message` with a tag of yours; false when there is no room.
    ///
    /// # Errors
    /// `Closed`; `Busy` when there is another producer; `Invalid` when it never fits; `ReadOnly`; `Corrupt`.
    #[inline]
    pub fn send(&self, message: &[u8], tag: u64) -> Result<bool> {
        self.free(&self.reserved, "reservation")?;
        // SAFETY: as long as that; not `Sync`, so this thread alone uses the handle.
        unsafe {
            if self.raw.send_at_once(message.as_ptr(), message.len() as u64, tag) {
                return Ok(true);
            }
            done(self.raw.send(message.as_ptr(), message.len() as u64, tag)?)
        }
    }

    /// As [`send`](Self::send), waiting up to `timeout` (`Duration::MAX`: for ever) for room.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_wait(&self, message: &[u8], tag: u64, timeout: Duration) -> Result<bool> {
        self.free(&self.reserved, "reservation")?;
        // SAFETY: as long as that; not `Sync`, so this thread alone uses the handle.
        unsafe {
            if self.raw.send_at_once(message.as_ptr(), message.len() as u64, tag) {
                return Ok(true);
            }
            done(self.raw.send_wait(message.as_ptr(), message.len() as u64, tag, timeout)?)
        }
    }

    /// Room for a message of up to `length` bytes, to be filled in place and committed, or `None`. Until then the producer does nothing else
    /// (`Busy`). Of a stream: room for so many bytes.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn reserve(&self, length: usize) -> Result<Option<Reservation<'_>>> {
        self.reserve_wait(length, Duration::ZERO)
    }

    /// As [`reserve`](Self::reserve), waiting up to `timeout` for room.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn reserve_wait(&self, length: usize, timeout: Duration) -> Result<Option<Reservation<'_>>> {
        self.free(&self.reserved, "reservation")?;
        // SAFETY: not `Sync`, so this thread alone uses the handle.
        let found = match unsafe { self.raw.reserve_at_once(length as u64) } {
            None => {
                // SAFETY: as above.
                let attempt = || unsafe { self.raw.reserve(length as u64) };
                // SAFETY: as above.
                found(unsafe { self.raw.wait(Status::Full, timeout, attempt) }?)?
            }
            place => place,
        };
        self.reserved.set(found.is_some());
        Ok(found.map(|data| Reservation { queue: self, data, length }))
    }

    /// The next message, which lies where it is until it is dropped. Until then the consumer does nothing else (`Busy`).
    ///
    /// # Errors
    /// `Closed` after the end, once there is nothing left; `Busy` when there is another consumer; `Invalid` of a stream; `ReadOnly`; `Corrupt`.
    #[inline]
    pub fn receive(&self) -> Result<Option<Message<'_>>> {
        self.receive_wait(Duration::ZERO)
    }

    /// As [`receive`](Self::receive), waiting up to `timeout` (`Duration::MAX`: for ever) for a message.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    #[inline]
    pub fn receive_wait(&self, timeout: Duration) -> Result<Option<Message<'_>>> {
        self.free(&self.received, "message")?;
        // SAFETY: not `Sync`, so this thread alone uses the handle.
        let found = match unsafe { self.raw.receive_at_once() } {
            // SAFETY: as above.
            None => found(unsafe { self.raw.wait(Status::Empty, timeout, || self.raw.receive()) }?)?,
            message => message,
        };
        self.received.set(found.is_some());
        Ok(found.map(|received| Message { received, guard: Some(Guard(self)), queue: PhantomData }))
    }

    /// Copies the next message to the beginning of `buffer`, and says how long it is and its tag. One that is too long for the buffer stays
    /// where it is.
    ///
    /// # Errors
    /// As [`receive`](Self::receive); `Invalid`, with the length, when it is too long for the buffer.
    pub fn receive_into(&self, buffer: &mut [u8]) -> Result<Option<(usize, u64)>> {
        self.free(&self.received, "message")?;
        // SAFETY: not `Sync`, so this thread alone uses the handle; as long as that.
        if let Some((length, tag)) = unsafe { self.raw.receive_into_at_once(buffer.as_mut_ptr(), buffer.len() as u64) }
        {
            return Ok(Some((length as usize, tag)));
        }
        let mut length = None;
        // SAFETY: not `Sync`, so this thread alone uses the handle; as long as that.
        let tag = found(unsafe { self.raw.receive_into(buffer.as_mut_ptr(), buffer.len() as u64, &mut length) }?)?;
        Ok(tag.zip(length).map(|(tag, length)| (length as usize, tag)))
    }

    /// All messages that are there, in order; given back all at once when the result is dropped.
    ///
    /// ```
    /// # fn main() -> shmds::Result<()> {
    /// # use shmds::{ByteQueue, ByteQueueOptions, Segment, SegmentOptions};
    /// # let name = format!("doc-batch-{}", std::process::id());
    /// # let segment = Segment::create(&name, &SegmentOptions::new().size(1 << 20))?;
    /// # let queue = ByteQueue::create(&segment, "log", &ByteQueueOptions::new(4096))?;
    /// queue.send(b"one", 1)?;
    /// queue.send(b"two", 2)?;
    /// let mut messages = queue.receive_batch()?;
    /// while let Some(message) = messages.next()? {
    ///     println!("{:?}", message.to_vec());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Busy` when a message is still held.
    pub fn receive_batch(&self) -> Result<Messages<'_>> {
        self.free(&self.received, "message")?;
        self.received.set(true);
        Ok(Messages { guard: Guard(self) })
    }

    /// Shows the next bytes of a stream in one piece, if there are `length` at least, to `look`, which says how many of them are done with.
    /// It gets an address and how many there are. `None` when there are not as many.
    ///
    /// # Errors
    /// As [`receive`](Self::receive); `Invalid` when more are said to be done with than there are.
    pub fn consume(&self, length: usize, look: impl FnOnce(*const u8, usize) -> usize) -> Result<Option<usize>> {
        self.consume_wait(length, Duration::ZERO, look)
    }

    /// As [`consume`](Self::consume), waiting up to `timeout` (`Duration::MAX`: for ever) for so many bytes. A producer who waits for room and a consumer
    /// who waits for bytes wait for each other for ever if both together want more than the buffer has.
    ///
    /// # Errors
    /// As [`consume`](Self::consume).
    pub fn consume_wait(
        &self,
        length: usize,
        timeout: Duration,
        look: impl FnOnce(*const u8, usize) -> usize,
    ) -> Result<Option<usize>> {
        self.free(&self.received, "message")?;
        // SAFETY: not `Sync`, so this thread alone uses the handle.
        let shown = unsafe { self.raw.wait(Status::Empty, timeout, || self.raw.peek(length as u64)) }?;
        let Some((data, there)) = found(shown)? else { return Ok(None) };
        self.received.set(true);
        let guard = Unlock(&self.received);
        let used = look(data, there as usize);
        drop(guard);
        // SAFETY: as above.
        unsafe { self.raw.consume(used as u64) }?;
        Ok(Some(used))
    }

    /// Says that nothing more will come: the consumer finds out when it has taken what is there. Only the producer can.
    ///
    /// # Errors
    /// `Busy` when there is another producer; `ReadOnly`.
    pub fn end(&self) -> Result<()> {
        self.free(&self.reserved, "reservation")?;
        // SAFETY: not `Sync`, so this thread alone uses the handle.
        unsafe { self.raw.end() }
    }

    /// How long waiting calls of this handle spin before they sleep; 20 µs at first.
    pub fn set_spin(&self, limit: Duration) {
        self.raw.set_spin(limit);
    }
}

/// True when done, false when there was no room; after the end, an error.
fn done(status: Status) -> Result<bool> {
    match status {
        Status::Ok => Ok(true),
        Status::Closed => Err(closed()),
        _ => Ok(false),
    }
}

fn found<T>(outcome: Result<T, Status>) -> Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(Status::Closed) => Err(closed()),
        Err(_) => Ok(None),
    }
}

#[cold]
fn closed() -> Error {
    fail!(Closed, "the stream has ended")
}

/// Clears a flag when dropped, also by a panic.
struct Unlock<'a>(&'a Cell<bool>);

impl Drop for Unlock<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// Room that was reserved. Given up when dropped without having been committed.
#[derive(Debug)]
pub struct Reservation<'a> {
    queue: &'a ByteQueue,
    data: *mut u8,
    length: usize,
}

impl Reservation<'_> {
    /// The first byte. What lies there is whatever it was.
    #[must_use]
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.data
    }

    /// How many bytes were reserved.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether none were.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Copies `bytes` in, `offset` bytes from the beginning.
    ///
    /// # Errors
    /// `Invalid` when they do not fit.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<()> {
        if offset > self.length || bytes.len() > self.length - offset {
            let (count, room) = (bytes.len(), self.length);
            return Err(fail!(Invalid, "{count} bytes at {offset} do not fit into {room} reserved ones"));
        }
        // SAFETY: inside the reservation, which is ours.
        unsafe { store_bytes(bytes.as_ptr(), self.data.add(offset), bytes.len()) };
        Ok(())
    }

    /// Publishes the first `length` bytes with a tag of yours, which a stream ignores; the rest is given up.
    ///
    /// # Errors
    /// `Invalid` when fewer were reserved.
    pub fn commit(self, length: usize, tag: u64) -> Result<()> {
        if length > self.length {
            return Err(fail!(Invalid, "{length} bytes cannot be committed of {} reserved ones", self.length));
        }
        // SAFETY: not `Sync`, so this thread alone uses the handle.
        if unsafe { self.queue.raw.commit_at_once(length as u64, tag) } {
            return Ok(());
        }
        // SAFETY: as above.
        unsafe { self.queue.raw.commit(length as u64, tag) }
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.queue.reserved.set(false);
        // SAFETY: as in `commit`, after which there is nothing left to give up.
        unsafe { self.queue.raw.give_up() };
    }
}

/// Gives back what was received.
#[derive(Debug)]
struct Guard<'a>(&'a ByteQueue);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.received.set(false);
        // SAFETY: not `Sync`, so this thread alone uses the handle. An error means that nothing was received.
        let _ = unsafe { self.0.raw.release_at_once() || self.0.raw.release().is_ok() };
    }
}

/// A message that was received, where it lies.
#[derive(Debug)]
pub struct Message<'a> {
    received: Received,
    /// `None` in a batch, which has the guard.
    #[expect(dead_code, reason = "gives the message back when dropped")]
    guard: Option<Guard<'a>>,
    queue: PhantomData<&'a ByteQueue>,
}

impl Message<'_> {
    /// The first byte. The producer leaves the message alone until it is dropped; one that does not keep to the rules can write there at any time.
    #[must_use]
    pub fn as_ptr(&self) -> *const u8 {
        self.received.data
    }

    /// How many bytes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.received.length as usize
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes in place.
    ///
    /// # Safety
    /// The producer keeps to the rules: it does not write to what it has sent.
    #[must_use]
    pub unsafe fn as_slice(&self) -> &[u8] {
        // SAFETY: there, and the caller's promise.
        unsafe { std::slice::from_raw_parts(self.received.data, self.len()) }
    }

    /// A copy of the bytes.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(self.len());
        // SAFETY: as many bytes are there, and there is room for them.
        unsafe {
            std::ptr::copy_nonoverlapping(self.received.data, copy.as_mut_ptr(), self.len());
            copy.set_len(self.len());
        }
        copy
    }

    /// The sender's tag.
    #[must_use]
    pub fn tag(&self) -> u64 {
        self.received.tag
    }

    /// When it was sent, in nanoseconds of the monotonic clock; 0 where the queue has no times.
    #[must_use]
    pub fn time(&self) -> u64 {
        self.received.time
    }
}

/// The messages of a batch.
#[derive(Debug)]
pub struct Messages<'a> {
    guard: Guard<'a>,
}

impl<'a> Messages<'a> {
    /// The next message, if there is one.
    ///
    /// # Errors
    /// As [`ByteQueue::receive`].
    #[expect(clippy::should_implement_trait, reason = "a message must not outlive the batch, and receiving can fail")]
    pub fn next(&mut self) -> Result<Option<Message<'_>>> {
        // SAFETY: not `Sync`, so this thread alone uses the handle.
        let found = found(unsafe { self.guard.0.raw.receive() }?)?;
        Ok(found.map(|received| Message { received, guard: None, queue: PhantomData }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::SegmentOptions;

    /// A queue in a segment of its own, which is gone when the test is.
    fn queue(what: &str, options: &ByteQueueOptions) -> (Segment, ByteQueue) {
        let name = format!("shmds-bytes-{what}-{}", std::process::id());
        let segment = Segment::create(&name, &SegmentOptions::new().size(1 << 20).exclusive()).unwrap();
        let queue = ByteQueue::create(&segment, "b", options).unwrap();
        (segment, queue)
    }

    fn refused<T: std::fmt::Debug>(outcome: Result<T>, status: Status, part: &str) {
        let error = outcome.unwrap_err();
        assert!(error.status() == status && error.to_string().contains(part), "{error}");
    }

    #[test]
    fn what_is_available_is_what_fits_next() {
        for options in
            [ByteQueueOptions::new(4000), ByteQueueOptions::new(4000).align(64).times(), ByteQueueOptions::stream(8192)]
        {
            let (_segment, queue) = queue("room", &options);
            let longest = queue.longest() as usize;
            assert_eq!(queue.available().unwrap(), (0, longest as u64));
            for part in [1, 100, 1000, 64] {
                queue.reserve(part).unwrap().unwrap().commit(part, 0).unwrap();
                let stats = queue.stats().unwrap();
                let room = stats.room as usize;
                assert_eq!(queue.available().unwrap(), (stats.used, stats.room));
                assert!(room < longest && queue.reserve(room + 1).unwrap().is_none(), "{room}");
                assert!(queue.reserve(room).unwrap().is_some(), "{room}");
            }
            let room = queue.available().unwrap().1 as usize;
            queue.reserve(room).unwrap().unwrap().commit(room, 0).unwrap();
            assert_eq!(queue.available().unwrap().1, 0);
            refused(queue.reserve(longest + 1), Status::Invalid, "never fit");
        }
    }

    #[test]
    fn a_message_that_is_too_long_for_a_buffer_stays() {
        let (_segment, queue) = queue("into", &ByteQueueOptions::new(4000));
        assert_eq!(queue.receive_into(&mut []).unwrap(), None);
        assert!(queue.send(b"twelve bytes", 3).unwrap() && queue.send(b"", 4).unwrap());
        let mut buffer = [0; 12];
        refused(queue.receive_into(&mut buffer[..11]), Status::Invalid, "has 12 bytes; the buffer has 11");
        assert_eq!(queue.receive_into(&mut buffer).unwrap(), Some((12, 3)));
        assert_eq!(&buffer, b"twelve bytes");
        assert_eq!(queue.receive_into(&mut []).unwrap(), Some((0, 4)));
        assert_eq!(queue.stats().unwrap().received, 2);
    }

    #[test]
    fn nothing_comes_after_the_end() {
        let (_segment, queue) = queue("end", &ByteQueueOptions::new(4000));
        assert!(queue.send(b"last", 0).unwrap());
        let reservation = queue.reserve(10).unwrap().unwrap();
        refused(queue.end(), Status::Busy, "reservation");
        // As C can: it has no borrow to keep it from that.
        // SAFETY: one thread.
        unsafe { queue.raw.end() }.unwrap();
        refused(reservation.commit(10, 0), Status::Invalid, "not reserved");
        refused(queue.send(b"more", 0), Status::Closed, "ended");
        assert_eq!(queue.receive().unwrap().unwrap().to_vec(), b"last");
        refused(queue.receive(), Status::Closed, "ended");
    }

    #[test]
    fn a_stream_has_no_messages_and_messages_are_no_stream() {
        let (_segment, queue) = self::queue("stream", &ByteQueueOptions::stream(100));
        refused(queue.send(b"x", 0), Status::Invalid, "not messages");
        refused(queue.receive(), Status::Invalid, "not messages");
        refused(queue.reserve(0), Status::Invalid, "at least 1 byte");
        refused(queue.consume(0, |_, _| 0), Status::Invalid, "at least 1 byte");
        let (_segment, queue) = self::queue("messages", &ByteQueueOptions::new(100));
        refused(queue.consume(1, |_, _| 0), Status::Invalid, "not bytes without borders");
    }

    #[test]
    fn a_waiting_call_counts_once() {
        const WHILE: Duration = Duration::from_millis(3);
        let (_segment, queue) = queue("once", &ByteQueueOptions::new(4000));
        assert!(queue.receive_wait(WHILE).unwrap().is_none() && queue.receive().unwrap().is_none());
        assert!(queue.send(&[1; 4000], 0).unwrap());
        assert!(!queue.send_wait(&[1; 4000], 0, WHILE).unwrap() && !queue.send(&[1; 4000], 0).unwrap());
        assert!(queue.reserve_wait(4000, WHILE).unwrap().is_none());
        let stats = queue.stats().unwrap();
        assert_eq!((stats.empty, stats.full), (2, 3));
    }
}
