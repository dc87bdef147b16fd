//! `Ring<T>` and `RingReader<T>`: the typed faces.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::time::Duration;

use super::raw::{RawReader, RawRing, RingShape, RingStats};
use super::{RingStart, Taken};
use crate::error::Result;
use crate::segment::{Entry, Segment};
use crate::shared::Plain;

/// What a ring is to be.
///
/// ```
/// use shmds::RingOptions;
/// let options = RingOptions::new(1024).overwrite();
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct RingOptions {
    capacity: u64,
    overwrite: bool,
    exclusive: bool,
    type_tag: u64,
}

impl RingOptions {
    /// A ring with room for at least `capacity` elements, rounded up to a power of two, whose writer waits for its consumer.
    pub const fn new(capacity: u64) -> Self {
        Self { capacity, overwrite: false, exclusive: false, type_tag: 0 }
    }

    /// The writer overwrites the oldest elements rather than wait.
    pub const fn overwrite(mut self) -> Self {
        self.overwrite = true;
        self
    }

    /// Creating fails with [`Status::Exists`](crate::Status::Exists) instead of opening what is there.
    pub const fn exclusive(mut self) -> Self {
        self.exclusive = true;
        self
    }

    /// A mark of your own for the element type: opening with another one is a mismatch. 0: unchecked.
    pub const fn type_tag(mut self, tag: u64) -> Self {
        self.type_tag = tag;
        self
    }

    /// How many bytes of a segment such a ring of `T` takes, alignment included.
    ///
    /// # Errors
    /// `Invalid` when there can be no such ring.
    pub fn bytes<T: Plain>(&self) -> Result<u64> {
        self.shape::<T>().bytes()
    }

    fn shape<T>(&self) -> RingShape {
        RingShape {
            capacity: self.capacity,
            elem_size: size_of::<T>() as u64,
            elem_align: align_of::<T>() as u32,
            overwrite: self.overwrite,
            type_tag: self.type_tag,
            exclusive: self.exclusive,
        }
    }
}

/// A handle on a ring of `T` in a segment: a stream with one writer.
///
/// The first handle that pushes becomes the writer, the first that pops the consumer, until it is dropped or its process dies;
/// others get [`Status::Busy`](crate::Status::Busy). Any number of others may look on ([`peek`](Self::peek), [`last`](Self::last)) or follow with a
/// position of their own ([`reader`](Self::reader)), also where the attachment is read-only. A handle is for one thread at a time;
/// [`try_clone`](Self::try_clone) makes one for another thread.
///
/// ```
/// # fn main() -> shmds::Result<()> {
/// use shmds::{Ring, RingOptions, RingStart, Segment, SegmentOptions};
/// let name = format!("doc-ring-{}", std::process::id());
/// let segment = Segment::create(&name, &SegmentOptions::new().size(1 << 20))?;
/// let ring = Ring::<u64>::create(&segment, "samples", &RingOptions::new(4).overwrite())?;
/// let mut reader = ring.reader(RingStart::Oldest)?;
/// ring.push_bulk(&[1, 2, 3, 4, 5])?;
/// assert_eq!(reader.read()?, Some(2));
/// assert_eq!(reader.lost(), 1);
///
/// let mut newest = [0; 2];
/// assert_eq!(ring.last(&mut newest)?, 2);
/// assert_eq!(newest, [4, 5]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Ring<T> {
    raw: RawRing,
    /// Not `Sync`: the ends have private state.
    thread: PhantomData<Cell<T>>,
}

impl<T: Plain> Ring<T> {
    /// Creates the ring `name`, or opens it if it is there with the same manner, capacity and kind of element.
    ///
    /// # Errors
    /// `Exists` when exclusive; `Mismatch`, naming what differs; `NoSpace`; `Limit` when the table is full; `Invalid`;
    /// `ReadOnly`; `Busy` when a stopped process holds the segment's lock.
    pub fn create(segment: &Segment, name: &str, options: &RingOptions) -> Result<Self> {
        Ok(Self { raw: RawRing::create(segment, name, &options.shape::<T>())?, thread: PhantomData })
    }

    /// Opens the ring `name`, whose elements have the size of `T` and at least its alignment, whatever its manner and capacity.
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
        let raw = RawRing::open(segment, name, None)?;
        let overwrite = raw.stats()?.overwrite;
        raw.expect(&RingOptions { capacity: 0, overwrite, exclusive: false, type_tag }.shape::<T>())?;
        Ok(Self { raw, thread: PhantomData })
    }

    /// Another handle on the same ring, for another thread.
    ///
    /// # Errors
    /// In a forked child that could not register.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self { raw: self.raw.reopen()?, thread: PhantomData })
    }

    /// A reader with a position of its own, for any thread. The writer does not wait for it, in either manner; it learns exactly how many
    /// elements it lost.
    ///
    /// # Errors
    /// `Invalid` for a position that was not written yet; `Corrupt`.
    pub fn reader(&self, start: RingStart) -> Result<RingReader<T>> {
        Ok(RingReader { raw: self.raw.reader(start)?, element: PhantomData })
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
        &self.raw.entry().name
    }

    /// What the ring is, how full it is, and what went through it.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn stats(&self) -> Result<RingStats> {
        self.raw.stats()
    }

    /// How many elements there is room for.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.raw.entry().count
    }

    /// How many elements the consumer would find now.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn len(&self) -> Result<u64> {
        Ok(self.stats()?.size)
    }

    /// Whether there is nothing now.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Whether there is no room now: the next push waits, or overwrites.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn is_full(&self) -> Result<bool> {
        Ok(self.available()? == 0)
    }

    /// How many elements can be pushed before one has to wait, or to go.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn available(&self) -> Result<u64> {
        Ok(self.capacity() - self.len()?)
    }

    /// Writes a copy of `element`; false when there is no room, which there always is where the writer overwrites.
    ///
    /// # Errors
    /// `Busy` when there is another writer; `ReadOnly`; `Corrupt`.
    #[inline]
    pub fn push(&self, element: &T) -> Result<bool> {
        Ok(self.push_bulk(std::slice::from_ref(element))? == 1)
    }

    /// As [`push`](Self::push), waiting up to `timeout` (`Duration::MAX`: for ever) for room.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_wait(&self, element: &T, timeout: Duration) -> Result<bool> {
        Ok(self.push_bulk_wait(std::slice::from_ref(element), timeout)? == 1)
    }

    /// Writes as many of `elements` as there is room for, published at once; returns how many. Where the writer overwrites,
    /// all; a capacity's worth at a time.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    #[inline]
    pub fn push_bulk(&self, elements: &[T]) -> Result<usize> {
        let mut done = 0;
        // SAFETY: `T`s, whose size was checked at open; not `Sync`, so this thread alone uses the handle.
        unsafe { self.raw.push(elements.as_ptr().cast(), elements.len(), &mut done) }?;
        Ok(done)
    }

    /// Writes all of `elements`, waiting up to `timeout` altogether; returns how many are in.
    ///
    /// # Errors
    /// As [`push`](Self::push); what is in stays in.
    pub fn push_bulk_wait(&self, elements: &[T], timeout: Duration) -> Result<usize> {
        let mut done = 0;
        // SAFETY: as in `push_bulk`.
        unsafe { self.raw.push_wait(elements.as_ptr().cast(), elements.len(), timeout, &mut done) }?;
        Ok(done)
    }

    /// Takes the oldest element there is. What was overwritten before it counts in [`RingStats::lost`].
    ///
    /// # Errors
    /// `Busy` when there is another consumer; `ReadOnly`; `Corrupt`.
    #[inline]
    pub fn pop(&self) -> Result<Option<T>> {
        let mut element = T::zeroed();
        Ok((self.pop_bulk(std::slice::from_mut(&mut element))? == 1).then_some(element))
    }

    /// As [`pop`](Self::pop), waiting up to `timeout` (`Duration::MAX`: for ever) for an element.
    ///
    /// # Errors
    /// As [`pop`](Self::pop).
    pub fn pop_wait(&self, timeout: Duration) -> Result<Option<T>> {
        let mut element = T::zeroed();
        Ok((self.pop_bulk_wait(std::slice::from_mut(&mut element), timeout)? == 1).then_some(element))
    }

    /// Takes as many elements as there are into the beginning of `elements`; returns how many. Those behind may have changed.
    ///
    /// # Errors
    /// As [`pop`](Self::pop).
    #[inline]
    pub fn pop_bulk(&self, elements: &mut [T]) -> Result<usize> {
        let mut taken = Taken::default();
        // SAFETY: as in `push_bulk`; any bytes are a `T`.
        unsafe { self.raw.pop(elements.as_mut_ptr().cast(), elements.len(), &mut taken) }?;
        Ok(taken.count)
    }

    /// As [`pop_bulk`](Self::pop_bulk), waiting up to `timeout` for the first.
    ///
    /// # Errors
    /// As [`pop`](Self::pop).
    pub fn pop_bulk_wait(&self, elements: &mut [T], timeout: Duration) -> Result<usize> {
        let mut taken = Taken::default();
        // SAFETY: as in `pop_bulk`.
        unsafe { self.raw.pop_wait(elements.as_mut_ptr().cast(), elements.len(), timeout, &mut taken) }?;
        Ok(taken.count)
    }

    /// Copies elements that lie `offset` after the one that would be popped next; returns how many. They stay where they are.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn peek(&self, offset: u64, elements: &mut [T]) -> Result<usize> {
        // SAFETY: as in `pop_bulk`.
        unsafe { self.raw.peek(offset, elements.as_mut_ptr().cast(), elements.len()) }
    }

    /// Copies the newest elements, oldest first; returns how many: fewer when there are not as many, or a fast writer is
    /// overwriting them.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn last(&self, elements: &mut [T]) -> Result<usize> {
        // SAFETY: as in `pop_bulk`.
        unsafe { self.raw.last(elements.as_mut_ptr().cast(), elements.len()) }
    }

    /// Passes over up to `count` elements, as if they had been popped; returns how many.
    ///
    /// # Errors
    /// As [`pop`](Self::pop).
    pub fn skip(&self, count: u64) -> Result<u64> {
        // SAFETY: not `Sync`, so this thread alone uses the handle.
        unsafe { self.raw.skip(count) }
    }

    /// Passes over all elements there are; returns how many.
    ///
    /// # Errors
    /// As [`pop`](Self::pop).
    pub fn clear(&self) -> Result<u64> {
        self.skip(u64::MAX)
    }

    /// How long waiting calls of this handle spin before they sleep; 20 µs at first.
    pub fn set_spin(&self, limit: Duration) {
        self.raw.set_spin(limit);
    }
}

/// A reader of a ring with a position of its own. Other readers, the consumer and the writer do not notice it.
#[derive(Debug)]
pub struct RingReader<T> {
    raw: RawReader,
    element: PhantomData<fn() -> T>,
}

impl<T: Plain> RingReader<T> {
    /// The next element, if there is one.
    ///
    /// # Errors
    /// `Corrupt`.
    #[inline]
    pub fn read(&mut self) -> Result<Option<T>> {
        let mut element = T::zeroed();
        Ok((self.read_bulk(std::slice::from_mut(&mut element))? == 1).then_some(element))
    }

    /// As [`read`](Self::read), waiting up to `timeout` (`Duration::MAX`: for ever) for an element.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_wait(&mut self, timeout: Duration) -> Result<Option<T>> {
        let mut element = T::zeroed();
        Ok((self.read_bulk_wait(std::slice::from_mut(&mut element), timeout)? == 1).then_some(element))
    }

    /// Reads as many elements as there are into the beginning of `elements`; returns how many. Those behind may have changed.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    #[inline]
    pub fn read_bulk(&mut self, elements: &mut [T]) -> Result<usize> {
        let mut taken = Taken::default();
        // SAFETY: `T`s, whose size was checked at open; any bytes are a `T`.
        unsafe { self.raw.read(elements.as_mut_ptr().cast(), elements.len(), &mut taken) }?;
        Ok(taken.count)
    }

    /// As [`read_bulk`](Self::read_bulk), waiting up to `timeout` for the first.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_bulk_wait(&mut self, elements: &mut [T], timeout: Duration) -> Result<usize> {
        let mut taken = Taken::default();
        // SAFETY: as in `read_bulk`.
        unsafe { self.raw.read_wait(elements.as_mut_ptr().cast(), elements.len(), timeout, &mut taken) }?;
        Ok(taken.count)
    }

    /// Copies elements that lie `offset` after the next; returns how many. The position does not change.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn peek(&self, offset: u64, elements: &mut [T]) -> Result<usize> {
        // SAFETY: as in `read_bulk`.
        unsafe { self.raw.peek(offset, elements.as_mut_ptr().cast(), elements.len()) }
    }

    /// Passes over up to `count` elements, as if they had been read; returns how many.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn skip(&mut self, count: u64) -> Result<u64> {
        self.raw.skip(count)
    }

    /// Goes elsewhere. What lies between counts neither as read nor as lost.
    ///
    /// # Errors
    /// `Invalid` for a position that was not written yet; `Corrupt`.
    pub fn seek(&mut self, to: RingStart) -> Result<()> {
        self.raw.seek(to)
    }

    /// The position of the next element: how many were written before it.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.raw.cursor().position
    }

    /// How many elements it read or skipped.
    #[must_use]
    pub fn total_read(&self) -> u64 {
        self.raw.cursor().read
    }

    /// How many elements were overwritten before it came to them.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.raw.cursor().lost
    }

    /// How many elements it is behind the writer; some of them may be overwritten already.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn lag(&self) -> Result<u64> {
        self.raw.lag()
    }

    /// How long waiting calls of this reader spin before they sleep; 20 µs at first.
    pub fn set_spin(&self, limit: Duration) {
        self.raw.set_spin(limit);
    }
}
