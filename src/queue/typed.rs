//! `Queue<T>`: the typed face. Copies have constant size and inline.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::time::Duration;

use super::Claimed;
use super::layout::Mode;
use super::raw::{QueueShape, QueueStats, RawQueue};
use crate::error::{Error, Result, Status, fail};
use crate::segment::{Entry, Segment};
use crate::shared::{Fixed, Plain};

/// What a queue is to be.
///
/// ```
/// use shmds::QueueOptions;
/// let options = QueueOptions::new(1024).spsc();
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct QueueOptions {
    capacity: u64,
    mode: Mode,
    exclusive: bool,
    type_tag: u64,
}

impl QueueOptions {
    /// A queue for many producers and consumers with room for at least `capacity` elements: rounded up to a power of two.
    pub const fn new(capacity: u64) -> Self {
        Self { capacity, mode: Mode::Mpmc, exclusive: false, type_tag: 0 }
    }

    /// One producer and one consumer at a time, and several times faster.
    pub const fn spsc(mut self) -> Self {
        self.mode = Mode::Spsc;
        self
    }

    /// Creating fails with [`Status::Exists`] instead of opening what is there.
    pub const fn exclusive(mut self) -> Self {
        self.exclusive = true;
        self
    }

    /// A mark of your own for the element type: opening with another one is a mismatch. 0: unchecked.
    pub const fn type_tag(mut self, tag: u64) -> Self {
        self.type_tag = tag;
        self
    }

    /// How many bytes of a segment such a queue of `T` takes, alignment included.
    ///
    /// # Errors
    /// `Invalid` when there can be no such queue.
    pub fn bytes<T: Plain>(&self) -> Result<u64> {
        self.shape::<T>().bytes()
    }

    fn shape<T>(&self) -> QueueShape {
        QueueShape {
            mode: self.mode,
            capacity: self.capacity,
            elem_size: size_of::<T>() as u64,
            elem_align: align_of::<T>() as u32,
            type_tag: self.type_tag,
            exclusive: self.exclusive,
        }
    }
}

/// A handle on a bounded first-in first-out queue of `T` in a segment.
///
/// A handle is for one thread at a time; [`try_clone`](Self::try_clone) makes one for another thread. On an SPSC queue, the
/// first handle that enqueues becomes the producer and the first that dequeues the consumer, until it is dropped or its
/// process dies; others get [`Status::Busy`].
///
/// Calls that find the queue full or empty say so and are not errors; after [`shutdown`](Self::shutdown), enqueueing, and
/// dequeueing once the queue is empty, fail with [`Status::Closed`].
///
/// ```
/// # fn main() -> shmds::Result<()> {
/// use shmds::{Queue, QueueOptions, Segment, SegmentOptions};
/// let name = format!("doc-queue-{}", std::process::id());
/// let segment = Segment::create(&name, &SegmentOptions::new().size(1 << 20))?;
/// let queue = Queue::<u64>::create(&segment, "numbers", &QueueOptions::new(16))?;
/// assert!(queue.enqueue(&7)?);
/// assert_eq!(queue.dequeue()?, Some(7));
/// assert_eq!(queue.dequeue()?, None);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Queue<T> {
    raw: RawQueue,
    /// Of an SPSC queue, a claim or a peek is out: it is *the* next slot, so nothing else of its end may run.
    claimed: Cell<bool>,
    peeked: Cell<bool>,
    /// Not `Sync`: the ends of an SPSC queue have private state.
    thread: PhantomData<Cell<T>>,
}

impl<T: Plain> Queue<T> {
    /// Creates the queue `name`, or opens it if it is there with the same mode, capacity and kind of element.
    ///
    /// # Errors
    /// `Exists` when exclusive; `Mismatch`, naming what differs; `NoSpace`; `Limit` when the table is full; `Invalid`;
    /// `ReadOnly`; `Busy` when a stopped process holds the segment's lock.
    pub fn create(segment: &Segment, name: &str, options: &QueueOptions) -> Result<Self> {
        Ok(Self::over(RawQueue::create(segment, name, &options.shape::<T>())?))
    }

    /// Opens the queue `name`, whose elements have the size of `T` and at least its alignment, whatever its mode and
    /// capacity. On a read-only segment it can be looked at only.
    ///
    /// # Errors
    /// `NotFound`; else as [`create`](Self::create).
    pub fn open(segment: &Segment, name: &str) -> Result<Self> {
        Self::open_tagged(segment, name, 0)
    }

    /// As [`open`](Self::open), and the creator's type tag must be this one.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_tagged(segment: &Segment, name: &str, type_tag: u64) -> Result<Self> {
        let raw = RawQueue::open(segment, name, None)?;
        let found = raw.stats();
        let expected = QueueOptions { capacity: 0, mode: found.mode, exclusive: false, type_tag };
        raw.expect(&expected.shape::<T>())?;
        Ok(Self::over(raw))
    }

    fn over(raw: RawQueue) -> Self {
        Self { raw, claimed: Cell::new(false), peeked: Cell::new(false), thread: PhantomData }
    }

    /// Another handle on the same queue, for another thread.
    ///
    /// # Errors
    /// In a forked child that could not register.
    pub fn try_clone(&self) -> Result<Self> {
        self.raw.reopen().map(Self::over)
    }

    /// Refuses to produce while a claim of the same SPSC end is out: it would be the same slot.
    #[inline]
    fn no_claim_out(&self) -> Result<()> {
        if self.claimed.get() { Err(self.is_out("claim")) } else { Ok(()) }
    }

    /// Refuses to consume while a peek of the same SPSC end is out.
    #[inline]
    fn no_peek_out(&self) -> Result<()> {
        if self.peeked.get() { Err(self.is_out("peek")) } else { Ok(()) }
    }

    #[cold]
    fn is_out(&self, what: &str) -> Error {
        fail!(Busy, "queue '{}' is SPSC, and a {what} of this handle is still held", self.name())
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

    /// The name in the segment's table.
    #[must_use]
    pub fn name(&self) -> &str {
        self.raw.name()
    }

    /// What the queue is and how full it is.
    #[must_use]
    pub fn stats(&self) -> QueueStats {
        self.raw.stats()
    }

    /// How many elements there is room for.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.raw.stats().capacity
    }

    /// How many elements there are now.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.raw.stats().size
    }

    /// Whether there is nothing now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is no room now.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let stats = self.raw.stats();
        stats.size == stats.capacity
    }

    /// Enqueues a copy of `element`; false when there is no room.
    ///
    /// # Errors
    /// `Closed`; `Busy` when SPSC has another producer; `ReadOnly`; `Corrupt`.
    #[inline]
    pub fn enqueue(&self, element: &T) -> Result<bool> {
        self.done(self.try_enqueue(element)?)
    }

    /// As [`enqueue`](Self::enqueue), waiting up to `timeout` (`Duration::MAX`: for ever) for room.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue).
    pub fn enqueue_wait(&self, element: &T, timeout: Duration) -> Result<bool> {
        self.done(outcome(self.raw.wait(Status::Full, timeout, || Ok(result(self.try_enqueue(element)?)))?))
    }

    #[inline]
    fn try_enqueue(&self, element: &T) -> Result<Status> {
        self.no_claim_out()?;
        // SAFETY: a `T`, whose size was checked at open; not `Sync`, so this thread alone uses the handle.
        unsafe { self.raw.enqueue(Fixed::<T>::WIDTH, std::ptr::from_ref(element).cast()) }
    }

    /// Dequeues the oldest element, if there is one. On a many-to-many queue, elements that came later wait while another
    /// process is still writing an older one.
    ///
    /// # Errors
    /// `Closed` after a shutdown, once there is nothing left; `Busy` when SPSC has another consumer; `ReadOnly`; `Corrupt`.
    #[inline]
    pub fn dequeue(&self) -> Result<Option<T>> {
        let mut element = T::zeroed();
        Ok(self.done(self.try_dequeue(&mut element)?)?.then_some(element))
    }

    /// As [`dequeue`](Self::dequeue), waiting up to `timeout` (`Duration::MAX`: for ever) for an element.
    ///
    /// # Errors
    /// As [`dequeue`](Self::dequeue).
    pub fn dequeue_wait(&self, timeout: Duration) -> Result<Option<T>> {
        let mut element = T::zeroed();
        let waited = self.raw.wait(Status::Empty, timeout, || Ok(result(self.try_dequeue(&mut element)?)))?;
        Ok(self.done(outcome(waited))?.then_some(element))
    }

    #[inline]
    fn try_dequeue(&self, element: &mut T) -> Result<Status> {
        self.no_peek_out()?;
        // SAFETY: as in `try_enqueue`; any bytes are a `T`.
        unsafe { self.raw.dequeue(Fixed::<T>::WIDTH, std::ptr::from_mut(element).cast()) }
    }

    /// Enqueues as many of `elements` as there is room for; returns how many.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue).
    pub fn enqueue_bulk(&self, elements: &[T]) -> Result<usize> {
        let mut done = 0;
        let status = self.try_enqueue_bulk(elements, &mut done)?;
        if done == 0 {
            self.done(status)?;
        }
        Ok(done)
    }

    /// Enqueues all of `elements`, waiting up to `timeout` altogether; returns how many are in.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue); what is in stays in.
    pub fn enqueue_bulk_wait(&self, elements: &[T], timeout: Duration) -> Result<usize> {
        let mut done = 0;
        let waited =
            self.raw.wait(Status::Full, timeout, || Ok(result(self.try_enqueue_bulk(elements, &mut done)?)))?;
        if done == 0 {
            self.done(outcome(waited))?;
        }
        Ok(done)
    }

    fn try_enqueue_bulk(&self, elements: &[T], done: &mut usize) -> Result<Status> {
        self.no_claim_out()?;
        // SAFETY: as in `try_enqueue`, for each.
        unsafe { self.raw.enqueue_bulk(Fixed::<T>::WIDTH, elements.as_ptr().cast(), elements.len(), done) }
    }

    /// Dequeues as many elements as there are into the beginning of `elements`; returns how many.
    ///
    /// # Errors
    /// As [`dequeue`](Self::dequeue).
    pub fn dequeue_bulk(&self, elements: &mut [T]) -> Result<usize> {
        let mut done = 0;
        self.done(self.try_dequeue_bulk(elements, &mut done)?)?;
        Ok(done)
    }

    /// As [`dequeue_bulk`](Self::dequeue_bulk), waiting up to `timeout` for the first.
    ///
    /// # Errors
    /// As [`dequeue`](Self::dequeue).
    pub fn dequeue_bulk_wait(&self, elements: &mut [T], timeout: Duration) -> Result<usize> {
        let mut done = 0;
        let waited =
            self.raw.wait(Status::Empty, timeout, || Ok(result(self.try_dequeue_bulk(elements, &mut done)?)))?;
        self.done(outcome(waited))?;
        Ok(done)
    }

    fn try_dequeue_bulk(&self, elements: &mut [T], done: &mut usize) -> Result<Status> {
        self.no_peek_out()?;
        // SAFETY: as in `try_dequeue`, for each.
        unsafe { self.raw.dequeue_bulk(Fixed::<T>::WIDTH, elements.as_mut_ptr().cast(), elements.len(), done) }
    }

    /// Claims the next slot, to be filled in place and committed. While it is held, consumers of a many-to-many queue
    /// do not get past it, and the producer of an SPSC queue does nothing else (`Busy`). `None` when there is no room.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue).
    pub fn claim(&self) -> Result<Option<Claim<'_, T>>> {
        self.claim_wait(Duration::ZERO)
    }

    /// As [`claim`](Self::claim), waiting up to `timeout` for room.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue).
    pub fn claim_wait(&self, timeout: Duration) -> Result<Option<Claim<'_, T>>> {
        self.no_claim_out()?;
        // SAFETY: not `Sync`, so this thread alone uses the handle.
        match self.raw.wait(Status::Full, timeout, || unsafe { self.raw.claim() })? {
            Ok(claimed) => {
                self.claimed.set(self.raw.mode() == Mode::Spsc);
                Ok(Some(Claim { queue: self, claimed }))
            }
            Err(status) => self.done(status).map(|_| None),
        }
    }

    /// Takes the oldest element, to be read in place. It is this caller's from now on, and its slot is free again when the
    /// value is dropped; until then, the consumer of an SPSC queue takes nothing else (`Busy`). `None` when there is nothing.
    ///
    /// # Errors
    /// As [`dequeue`](Self::dequeue).
    pub fn peek(&self) -> Result<Option<Peek<'_, T>>> {
        self.peek_wait(Duration::ZERO)
    }

    /// As [`peek`](Self::peek), waiting up to `timeout` for an element.
    ///
    /// # Errors
    /// As [`dequeue`](Self::dequeue).
    pub fn peek_wait(&self, timeout: Duration) -> Result<Option<Peek<'_, T>>> {
        self.no_peek_out()?;
        // SAFETY: not `Sync`, so this thread alone uses the handle.
        match self.raw.wait(Status::Empty, timeout, || unsafe { self.raw.peek() })? {
            Ok(claimed) => {
                self.peeked.set(self.raw.mode() == Mode::Spsc);
                Ok(Some(Peek { queue: self, claimed }))
            }
            Err(status) => self.done(status).map(|_| None),
        }
    }

    /// Says that nothing more will come: enqueueing fails with [`Status::Closed`] from now on, dequeueing once the queue is
    /// empty. For all handles, and for good. An enqueue running at the same time may still succeed.
    ///
    /// # Errors
    /// `ReadOnly`.
    pub fn shutdown(&self) -> Result<()> {
        self.raw.shutdown()
    }

    /// How long waiting calls of this handle spin before they sleep; 20 µs at first.
    pub fn set_spin(&self, limit: Duration) {
        self.raw.set_spin(limit);
    }

    /// Ordinary outcomes as a truth value; a shutdown as an error.
    #[inline]
    fn done(&self, status: Status) -> Result<bool> {
        match status {
            Status::Ok => Ok(true),
            Status::Closed => Err(self.closed()),
            _ => Ok(false),
        }
    }

    #[cold]
    fn closed(&self) -> Error {
        fail!(Closed, "queue '{}' is shut down", self.name())
    }
}

/// A status as the result that [`RawQueue::wait`] takes.
#[inline]
fn result(status: Status) -> Result<(), Status> {
    if status == Status::Ok { Ok(()) } else { Err(status) }
}

/// And back.
#[inline]
fn outcome(result: Result<(), Status>) -> Status {
    result.err().unwrap_or(Status::Ok)
}

/// A claimed slot. Dropping it without [`commit`](Self::commit) gives it up, unseen.
#[derive(Debug)]
#[must_use = "a claim that is dropped is given up"]
pub struct Claim<'a, T: Plain> {
    queue: &'a Queue<T>,
    claimed: Claimed,
}

impl<T: Plain> Claim<'_, T> {
    /// Where the element is to be written; its old bytes are whatever was there before.
    #[must_use]
    pub fn as_mut_ptr(&mut self) -> *mut T {
        self.claimed.data.cast()
    }

    /// Writes the element.
    pub fn write(&mut self, element: T) {
        // SAFETY: the slot is ours, as large and as aligned as a `T`.
        unsafe { self.as_mut_ptr().write(element) };
    }

    /// Makes the element visible.
    ///
    /// # Errors
    /// `Invalid` when the process was forked since, and this is the child.
    pub fn commit(self) -> Result<()> {
        let (queue, position) = (self.queue, self.claimed.position);
        std::mem::forget(self);
        queue.claimed.set(false);
        // SAFETY: the queue is not `Sync`, so this thread alone uses the handle.
        unsafe { queue.raw.commit(position) }
    }
}

impl<T: Plain> Drop for Claim<'_, T> {
    fn drop(&mut self) {
        self.queue.claimed.set(false);
        // SAFETY: the queue is not `Sync`, so this thread alone uses the handle.
        let _ = unsafe { self.queue.raw.abort(self.claimed.position) };
    }
}

/// An element in place. Its slot is free again when this is dropped.
#[derive(Debug)]
pub struct Peek<'a, T: Plain> {
    queue: &'a Queue<T>,
    claimed: Claimed,
}

impl<T: Plain> Peek<'_, T> {
    /// Where the element is. Nobody of good will writes to it; a scribbling peer can, so no reference is given.
    #[must_use]
    pub fn as_ptr(&self) -> *const T {
        self.claimed.data.cast_const().cast()
    }

    /// A copy of the element.
    #[must_use]
    pub fn read(&self) -> T {
        // SAFETY: the slot is ours, as large and as aligned as a `T`, and any bytes are one.
        unsafe { self.as_ptr().read() }
    }
}

impl<T: Plain> Drop for Peek<'_, T> {
    fn drop(&mut self) {
        self.queue.peeked.set(false);
        // SAFETY: the queue is not `Sync`, so this thread alone uses the handle.
        let _ = unsafe { self.queue.raw.release(self.claimed.position) };
    }
}
