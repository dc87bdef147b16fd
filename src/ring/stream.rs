//! The algorithm: one writer, one consumer, and any number of readers of whom nobody knows.
//!
//! # Algorithm
//!
//! ```text
//! writer, at position p                     reader, at position c
//!   announced = p + n      relaxed            w = written            acquire, `close`
//!   release fence          `open`             c behind announced − capacity? → go there, and count it
//!   store n elements       contended          copy elements c … w    contended
//!   written = p + n        release, `close`   acquire fence          `open`
//!                                             copies behind announced − capacity are void
//! ```
//!
//! The writer says what it is about to overwrite before it does, and a reader looks after it has copied. So the writer never waits
//! for a reader and never touches a reader's position, and a reader knows exactly which elements it did not get.
//!
//! In a ring that does not overwrite, the writer keeps a capacity's distance from the consumer, who therefore need not look
//! a second time. Others who look on may still be overtaken.
//!
//! # Ordering
//!
//! - `close`: whoever sees a position written sees the elements before it.
//! - `open`: whoever copied any byte of a new element sees, after its fence, that the old one was announced to go.
//! - `room`: the consumer's release store of `read`, after its copy; pairs with the writer's acquire load. What is overwritten has been read.
//!
//! # Death and succession
//!
//! An end belongs to one handle of one living participant; when its owner is gone, another takes it over where it was.
//!
//! - *writer*: what it did not publish is not there. It may have spoilt what it had announced to overwrite; `announced` stays where it was, so that nobody
//!   takes that for an element, and its successor begins at `written`.
//! - *consumer*: `read` is stored before an element is handed out, so nothing is handed out twice. What the dead one held in its
//!   hands (one call's worth) is lost to everybody but those who look on.
//!
//! Wait-free, all of it, but for the take-over of an end.
//!
//! Source: the announcement is that of Aeron's broadcast buffer (`tail intent`), the validation that of a sequence lock.

use std::cell::UnsafeCell;

use super::layout::Placed;
use crate::error::{Error, Result, fail};
use crate::shared::{CacheAligned, load_contended, store_contended};
use crate::sync::{Ordering, PUBLISH, fence};

/// Positions beyond this are a scribbling peer's: centuries away, and nothing computed from smaller ones overflows.
const FAR: u64 = 1 << 55;

/// How often a reader that was overtaken in the middle tries again, further ahead each time.
const TRIES: u32 = 4;

/// The writer's private state.
#[derive(Debug, Default)]
struct Writer {
    /// Who this state was made for ([`Attachment::who`](crate::segment::Attachment)); 0: we are not the writer.
    who: u32,
    written: u64,
    announced: u64,
    /// The position up to which there is room, as far as we know.
    limit: u64,
}

/// The consumer's private state.
#[derive(Debug, Default)]
struct Consumer {
    /// Who this state was made for; 0: we are not the consumer.
    who: u32,
    read: u64,
    lost: u64,
    /// The position up to which there are elements, as far as we know.
    known: u64,
}

/// What a reader got: elements from `first` on. Those between where it was and `first` are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Copied {
    pub(crate) first: u64,
    pub(crate) count: usize,
}

/// What a call of the consumer, or of a reader with a position of its own, came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) count: usize,
    /// How many elements before them were overwritten unread.
    pub(crate) lost: u64,
}

/// Where a reader is, which is its own affair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) position: u64,
    /// How many elements it passed without getting them.
    pub(crate) lost: u64,
    /// How many it got or skipped.
    pub(crate) read: u64,
}

/// One handle's view of a ring: the algorithm, and the private state of whichever ends this handle has.
#[derive(Debug)]
pub(crate) struct Stream {
    placed: Placed,
    capacity: u64,
    overwrite: bool,
    writer: CacheAligned<UnsafeCell<Writer>>,
    consumer: CacheAligned<UnsafeCell<Consumer>>,
}

// SAFETY: shared memory is reached through atomics; the private state of an end is used by one thread at a time, which is
// the contract of every function that touches it.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

impl Stream {
    pub(crate) fn new(placed: Placed) -> Self {
        let shape = placed.geometry.shape;
        Self {
            placed,
            capacity: shape.capacity,
            overwrite: shape.overwrite,
            writer: CacheAligned::default(),
            consumer: CacheAligned::default(),
        }
    }

    #[cold]
    fn corrupt(&self, what: &str, position: u64, other: u64) -> Error {
        fail!(Corrupt, "the ring says {what} is {position}, which cannot be: {other}, of capacity {}", self.capacity)
    }

    /// Whether this handle is the writer in the name of `who`: not what a forked child has copied from its parent.
    ///
    /// # Safety
    /// Here and in every function of the writer: no other thread uses the writing end of this handle at the same time.
    #[inline(always)]
    pub(crate) unsafe fn is_writer(&self, who: u32) -> bool {
        // SAFETY: the caller's promise.
        let writer = unsafe { &*self.writer.get() };
        writer.who == who && who != 0
    }

    /// Whether this handle is the consumer in the name of `who`.
    ///
    /// # Safety
    /// Here and in every function of the consumer: no other thread uses the consuming end of this handle at the same time.
    #[inline(always)]
    pub(crate) unsafe fn is_consumer(&self, who: u32) -> bool {
        // SAFETY: the caller's promise.
        let consumer = unsafe { &*self.consumer.get() };
        consumer.who == who && who != 0
    }

    /// Continues where the last writer stopped. The caller has taken the end.
    ///
    /// # Safety
    /// As [`is_writer`](Self::is_writer).
    pub(crate) unsafe fn succeed_writer(&self, who: u32) -> Result<()> {
        let written = self.written()?;
        let announced = self.placed.control().written.announced.load(Ordering::Acquire).max(written);
        if announced - written > self.capacity {
            return Err(self.corrupt("announced", announced, written));
        }
        // SAFETY: the caller's promise.
        unsafe { *self.writer.get() = Writer { who, written, announced, limit: 0 } };
        Ok(())
    }

    /// Continues where the last consumer stopped. The caller has taken the end.
    ///
    /// # Safety
    /// As [`is_consumer`](Self::is_consumer).
    pub(crate) unsafe fn succeed_consumer(&self, who: u32) -> Result<()> {
        let (read, lost) = self.consumed()?;
        // SAFETY: the caller's promise.
        unsafe { *self.consumer.get() = Consumer { who, read, lost, known: read + lost } };
        Ok(())
    }

    /// How many elements were ever written.
    #[inline(always)]
    pub(crate) fn written(&self) -> Result<u64> {
        let written = self.placed.control().written.written.load(Ordering::Acquire); // `close`
        if written < FAR { Ok(written) } else { Err(self.corrupt("written", written, 0)) }
    }

    /// How many elements the consumer took, and how many it found overwritten.
    pub(crate) fn consumed(&self) -> Result<(u64, u64)> {
        let consumed = &self.placed.control().consumed;
        let (read, lost) = (consumed.read.load(Ordering::Acquire), consumed.lost.load(Ordering::Acquire)); // `room`
        if read < FAR && lost < FAR { Ok((read, lost)) } else { Err(self.corrupt("read", read, lost)) }
    }

    /// The oldest element that is not announced to go.
    #[inline(always)]
    fn oldest(&self) -> u64 {
        self.placed.control().written.announced.load(Ordering::Relaxed).saturating_sub(self.capacity)
    }

    /// The oldest of the elements before `written` that can be had, or `ahead` elements after it. Never more than a capacity before
    /// `written`, whatever the ring says: what a reader copies begins here, and has to end inside the ring.
    #[inline(always)]
    fn first(&self, written: u64, ahead: u64) -> u64 {
        (self.oldest() + ahead).max(written.saturating_sub(self.capacity)).min(written)
    }

    /// Writes up to `count` elements, published at once: as many as there is room for, or, overwriting, as the ring has.
    ///
    /// # Safety
    /// As [`is_writer`](Self::is_writer), which is true; `elements` is readable for that many.
    #[inline(always)]
    pub(crate) unsafe fn push(&self, elements: *const u8, count: usize) -> Result<usize> {
        // SAFETY: the caller's promise.
        let writer = unsafe { &mut *self.writer.get() };
        let room = if self.overwrite { self.capacity } else { self.room(writer, count as u64)? };
        let count = (count as u64).min(room) as usize;
        if count == 0 {
            return Ok(0);
        }
        let control = &self.placed.control().written;
        let next = writer.written + count as u64;
        if next > writer.announced {
            writer.announced = next;
            control.announced.store(next, Ordering::Relaxed);
        }
        // `open`: no byte of a new element is seen before the announcement.
        #[cfg(not(seeded_bug))]
        fence(Ordering::Release);
        // SAFETY: the caller's promise.
        unsafe { self.store(writer.written, count, elements) };
        writer.written = next;
        control.written.store(next, PUBLISH); // `close`
        Ok(count)
    }

    /// How many elements there is room for; looks at the consumer's position only when there seem to be fewer than `wanted`.
    #[inline(always)]
    fn room(&self, writer: &mut Writer, wanted: u64) -> Result<u64> {
        if writer.limit.saturating_sub(writer.written) < wanted { self.find_room(writer) } else { Ok(wanted) }
    }

    #[inline(never)]
    fn find_room(&self, writer: &mut Writer) -> Result<u64> {
        let (read, lost) = self.consumed()?;
        let position = read + lost;
        if position > writer.written {
            return Err(self.corrupt("read", position, writer.written));
        }
        writer.limit = position + self.capacity;
        Ok(writer.limit.saturating_sub(writer.written))
    }

    /// Copies `count` elements into the ring, from position `first` on.
    #[inline(always)]
    unsafe fn store(&self, first: u64, count: usize, elements: *const u8) {
        let (index, private) = (self.placed.index(first), self.placed.geometry.private);
        let before_end = count.min(self.capacity as usize - index);
        // SAFETY: the caller's promise; both runs are inside the ring.
        unsafe {
            self.store_run(index, before_end, elements);
            if before_end < count {
                self.store_run(0, count - before_end, elements.add(before_end * private));
            }
        }
    }

    #[inline(always)]
    unsafe fn store_run(&self, index: usize, count: usize, elements: *const u8) {
        let geometry = &self.placed.geometry;
        let (size, step, to) = (geometry.size, geometry.step, self.placed.element(index));
        // SAFETY: the caller's promise.
        unsafe {
            if size == step {
                store_contended(elements, to, count * size);
            } else {
                (0..count).for_each(|i| store_contended(elements.add(i * geometry.private), to.add(i * step), size));
            }
        }
    }

    /// Copies `count` elements out of the ring, from position `first` on. Whether they are whole is another question.
    #[inline(always)]
    unsafe fn load(&self, first: u64, count: usize, out: *mut u8) {
        let (index, private) = (self.placed.index(first), self.placed.geometry.private);
        let before_end = count.min(self.capacity as usize - index);
        // SAFETY: the caller's promise; both runs are inside the ring.
        unsafe {
            self.load_run(index, before_end, out);
            if before_end < count {
                self.load_run(0, count - before_end, out.add(before_end * private));
            }
        }
    }

    #[inline(always)]
    unsafe fn load_run(&self, index: usize, count: usize, out: *mut u8) {
        let geometry = &self.placed.geometry;
        let (size, step, from) = (geometry.size, geometry.step, self.placed.element(index).cast_const());
        // SAFETY: the caller's promise.
        unsafe {
            if size == step {
                load_contended(from, out, count * size);
            } else {
                (0..count).for_each(|i| load_contended(from.add(i * step), out.add(i * geometry.private), size));
            }
        }
    }

    /// Copies up to `count` elements from position `from` on, or from the first after it that can still be had. A reader that is
    /// overtaken again and again goes further ahead each time, and in the end gets nothing this time.
    ///
    /// # Safety
    /// `out` is writable for that many elements.
    #[inline(always)]
    pub(crate) unsafe fn copy(&self, from: u64, count: usize, out: *mut u8) -> Result<Copied> {
        let mut first = from;
        for attempt in 0..TRIES {
            let written = self.written()?;
            // Who was overtaken at the oldest element is overtaken there again.
            let ahead = if attempt < 2 { 0 } else { self.capacity >> (TRIES - attempt) };
            first = first.max(self.first(written, ahead));
            if written < first {
                return Err(self.corrupt("written", written, first));
            }
            let count = (count as u64).min(written - first) as usize;
            if count == 0 {
                break;
            }
            // SAFETY: the caller's promise.
            unsafe { self.load(first, count, out) };
            fence(Ordering::Acquire); // pairs with `open`
            let spoilt = self.oldest().saturating_sub(first);
            if spoilt == 0 {
                return Ok(Copied { first, count });
            }
            if spoilt < count as u64 {
                // The later ones are whole.
                let (spoilt, private) = (spoilt as usize, self.placed.geometry.private);
                // SAFETY: both inside `out`.
                unsafe { std::ptr::copy(out.add(spoilt * private), out, (count - spoilt) * private) };
                return Ok(Copied { first: first + spoilt as u64, count: count - spoilt });
            }
        }
        Ok(Copied { first, count: 0 })
    }

    /// Takes up to `count` elements for the consumer.
    ///
    /// # Safety
    /// As [`is_consumer`](Self::is_consumer), which is true; `out` is writable for that many elements.
    #[inline(always)]
    pub(crate) unsafe fn pop(&self, count: usize, out: *mut u8) -> Result<Taken> {
        // SAFETY: the caller's promise.
        let consumer = unsafe { &mut *self.consumer.get() };
        let next = consumer.read + consumer.lost;
        let copied = if self.overwrite {
            // SAFETY: the caller's promise.
            unsafe { self.copy(next, count, out) }?
        } else {
            if consumer.known - next < count as u64 {
                let written = self.written()?;
                if written < next || written - next > self.capacity {
                    return Err(self.corrupt("written", written, next));
                }
                consumer.known = written;
            }
            let count = (count as u64).min(consumer.known - next) as usize;
            // SAFETY: the caller's promise.
            unsafe { self.load(next, count, out) };
            Copied { first: next, count }
        };
        Ok(self.advance(consumer, copied.first - next, copied.count as u64))
    }

    /// Moves the consumer on, past `lost` elements that it did not get and `read` that it did.
    #[inline(always)]
    fn advance(&self, consumer: &mut Consumer, lost: u64, read: u64) -> Taken {
        let consumed = &self.placed.control().consumed;
        if lost > 0 {
            consumer.lost += lost;
            consumed.lost.store(consumer.lost, Ordering::Release);
        }
        if read > 0 {
            consumer.read += read;
            consumed.read.store(consumer.read, Ordering::Release); // `room`
        }
        Taken { count: read as usize, lost }
    }

    /// Passes over up to `count` elements, as if they had been popped.
    ///
    /// # Safety
    /// As [`is_consumer`](Self::is_consumer), which is true.
    pub(crate) unsafe fn skip(&self, count: u64) -> Result<u64> {
        // SAFETY: the caller's promise.
        let consumer = unsafe { &mut *self.consumer.get() };
        let next = consumer.read + consumer.lost;
        let (first, count) = self.ahead(next, count)?;
        self.advance(consumer, first - next, count);
        consumer.known = consumer.known.max(first + count);
        Ok(count)
    }

    /// The first element from `position` on that can be had, and how many there are from it, up to `count`.
    fn ahead(&self, position: u64, count: u64) -> Result<(u64, u64)> {
        let written = self.written()?;
        if written < position {
            return Err(self.corrupt("written", written, position));
        }
        let first = position.max(self.first(written, 0));
        Ok((first, count.min(written - first)))
    }

    /// Takes up to `count` elements for a reader.
    ///
    /// # Safety
    /// `out` is writable for that many elements.
    #[inline(always)]
    pub(crate) unsafe fn read(&self, cursor: &mut Cursor, count: usize, out: *mut u8) -> Result<Taken> {
        // SAFETY: the caller's promise.
        let copied = unsafe { self.copy(cursor.position, count, out) }?;
        let lost = copied.first - cursor.position;
        cursor.lost += lost;
        cursor.read += copied.count as u64;
        cursor.position = copied.first + copied.count as u64;
        Ok(Taken { count: copied.count, lost })
    }

    /// Passes over up to `count` elements, as if the reader had read them.
    pub(crate) fn pass(&self, cursor: &mut Cursor, count: u64) -> Result<u64> {
        let (first, count) = self.ahead(cursor.position, count)?;
        cursor.lost += first - cursor.position;
        cursor.read += count;
        cursor.position = first + count;
        Ok(count)
    }

    /// The positions of the oldest element that can be had, and of the next to be written.
    pub(crate) fn span(&self) -> Result<(u64, u64)> {
        let (first, count) = self.ahead(0, u64::MAX)?;
        Ok((first, first + count))
    }

    /// Copies up to `count` elements that lie `offset` elements after `position`, if that can still be had, else after the
    /// oldest that can. Nobody's position changes.
    ///
    /// # Safety
    /// `out` is writable for that many elements.
    pub(crate) unsafe fn peek(&self, position: u64, offset: u64, count: usize, out: *mut u8) -> Result<usize> {
        for _ in 0..TRIES {
            let (first, there) = self.ahead(position, u64::MAX)?;
            if there <= offset {
                break;
            }
            // SAFETY: the caller's promise.
            let copied = unsafe { self.copy(first + offset, count, out) }?;
            if copied.first == first + offset {
                return Ok(copied.count);
            }
        }
        Ok(0)
    }

    /// Copies the newest `count` elements, oldest first: fewer when there are not as many, or the writer is overtaking.
    ///
    /// # Safety
    /// `out` is writable for that many elements.
    pub(crate) unsafe fn last(&self, count: usize, out: *mut u8) -> Result<usize> {
        let (oldest, written) = self.span()?;
        let first = written.saturating_sub(count as u64).max(oldest);
        // SAFETY: the caller's promise.
        Ok(unsafe { self.copy(first, count, out) }?.count)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::layout::{Geometry, Shape};
    use super::*;
    use crate::segment::region::heap::HeapRegion;
    use proptest::prelude::*;

    /// A ring of words. Handles may be made at will: each has its own ends.
    struct TestRing {
        placed: Placed,
        _heap: HeapRegion,
    }

    impl TestRing {
        fn new(overwrite: bool, capacity: u64) -> Self {
            let geometry = Geometry::new(Shape { overwrite, capacity, elem_size: 8, elem_align: 8 }).unwrap();
            let heap = HeapRegion::new(geometry.bytes as usize);
            Self { placed: geometry.place(heap.region()).unwrap(), _heap: heap }
        }

        fn stream(&self) -> Stream {
            let stream = Stream::new(self.placed);
            // SAFETY: tests use a stream from one thread.
            unsafe {
                stream.succeed_writer(1).unwrap();
                stream.succeed_consumer(1).unwrap();
            }
            stream
        }

        fn set_position(&self, position: u64) {
            let control = self.placed.control();
            control.written.written.store(position, Ordering::Relaxed);
            control.written.announced.store(position, Ordering::Relaxed);
            control.consumed.read.store(position, Ordering::Relaxed);
        }
    }

    fn push(stream: &Stream, elements: &[u64]) -> usize {
        // SAFETY: as long as that; one thread.
        unsafe { stream.push(elements.as_ptr().cast(), elements.len()) }.unwrap()
    }

    fn pop(stream: &Stream, count: usize) -> (Vec<u64>, u64) {
        let mut out = vec![0_u64; count];
        // SAFETY: as long as that; one thread.
        let taken = unsafe { stream.pop(count, out.as_mut_ptr().cast()) }.unwrap();
        out.truncate(taken.count);
        (out, taken.lost)
    }

    fn read(stream: &Stream, cursor: &mut Cursor, count: usize) -> (Vec<u64>, u64) {
        let mut out = vec![0_u64; count];
        // SAFETY: as long as that.
        let taken = unsafe { stream.read(cursor, count, out.as_mut_ptr().cast()) }.unwrap();
        out.truncate(taken.count);
        (out, taken.lost)
    }

    fn last(stream: &Stream, count: usize) -> Vec<u64> {
        let mut out = vec![0_u64; count];
        // SAFETY: as long as that.
        let count = unsafe { stream.last(count, out.as_mut_ptr().cast()) }.unwrap();
        out.truncate(count);
        out
    }

    fn peek(stream: &Stream, position: u64, offset: u64, count: usize) -> Vec<u64> {
        let mut out = vec![0_u64; count];
        // SAFETY: as long as that.
        let count = unsafe { stream.peek(position, offset, count, out.as_mut_ptr().cast()) }.unwrap();
        out.truncate(count);
        out
    }

    #[test]
    fn a_full_ring_waits_or_overwrites() {
        let test = TestRing::new(false, 4);
        let stream = test.stream();
        assert_eq!(push(&stream, &[1, 2, 3, 4, 5, 6]), 4);
        assert_eq!(push(&stream, &[7]), 0);
        assert_eq!(pop(&stream, 3), (vec![1, 2, 3], 0));
        assert_eq!(push(&stream, &[5, 6, 7, 8]), 3);
        assert_eq!(pop(&stream, 9), (vec![4, 5, 6, 7], 0));

        let test = TestRing::new(true, 4);
        let stream = test.stream();
        assert_eq!((push(&stream, &[1, 2, 3]), push(&stream, &[4, 5, 6])), (3, 3));
        assert_eq!(push(&stream, &[7, 8, 9, 10, 11]), 4, "a capacity at a time");
        assert_eq!(pop(&stream, 2), (vec![7, 8], 6));
        assert_eq!(pop(&stream, 9), (vec![9, 10], 0));
        assert_eq!(stream.consumed().unwrap(), (4, 6));
    }

    #[test]
    fn readers_have_their_own_positions_and_losses() {
        let test = TestRing::new(true, 8);
        let stream = test.stream();
        let (mut slow, mut fast) = (Cursor::default(), Cursor::default());
        for round in 0..10_u64 {
            let elements: Vec<u64> = (0..3).map(|i| round * 3 + i).collect();
            push(&stream, &elements);
            assert_eq!(read(&stream, &mut fast, 8), (elements, 0));
        }
        assert_eq!(read(&stream, &mut slow, 5), ((22..27).collect(), 22));
        assert_eq!(stream.pass(&mut slow, 2).unwrap(), 2);
        assert_eq!(read(&stream, &mut slow, 5), (vec![29], 0));
        assert_eq!((slow.read + slow.lost, slow.position, fast.lost), (30, 30, 0));
        assert_eq!(last(&stream, 3), [27, 28, 29]);
        assert_eq!(last(&stream, 100), (22..30).collect::<Vec<_>>());
        assert_eq!(peek(&stream, 0, 1, 2), [23, 24]);
        assert_eq!(peek(&stream, 29, 1, 2), [0; 0]);
    }

    #[test]
    fn what_a_dead_writer_announced_to_overwrite_is_gone_and_what_it_published_is_not() {
        let test = TestRing::new(true, 4);
        push(&test.stream(), &[1, 2, 3, 4]);
        // It announces two more, spoils one, and dies.
        test.placed.control().written.announced.store(6, Ordering::Relaxed);
        // SAFETY: the address of the element of position 4.
        unsafe { test.placed.element(0).cast::<u64>().write(99) };
        let mut cursor = Cursor::default();
        let heir = test.stream();
        assert_eq!(read(&heir, &mut cursor, 4), (vec![3, 4], 2));
        push(&heir, &[5]);
        assert_eq!(test.placed.control().written.announced.load(Ordering::Relaxed), 6, "it never goes back");
        assert_eq!(last(&heir, 4), [3, 4, 5]);
        push(&heir, &[6, 7]);
        assert_eq!(read(&heir, &mut cursor, 4), (vec![5, 6, 7], 0));
    }

    /// Reads all there is from position 0 on: each element must be the one of its position, and what is missing counted.
    fn all_is_whole(stream: &Stream) -> Vec<u64> {
        let mut cursor = Cursor::default();
        let (got, lost) = read(stream, &mut cursor, 100);
        assert_eq!(lost + got.len() as u64, stream.written().unwrap());
        assert!(got.iter().copied().eq(lost..lost + got.len() as u64), "{got:?} after {lost}");
        got
    }

    #[test]
    fn a_writer_may_die_after_any_of_its_stores() {
        for (overwrite, bulk) in [false, true].into_iter().flat_map(|manner| (1..=4).map(move |bulk| (manner, bulk))) {
            // Announced; each element; written.
            for stores in 0..=bulk + 2 {
                let test = TestRing::new(overwrite, 4);
                let control = test.placed.control();
                let dying = test.stream();
                push(&dying, &[0, 1, 2]);
                assert_eq!(pop(&dying, 3).0, [0, 1, 2]);
                push(&dying, &[3, 4]);
                assert_eq!(pop(&dying, 2).0, [3, 4]);
                if stores > 0 {
                    control.written.announced.store(5 + bulk, Ordering::Relaxed);
                }
                for position in 5..5 + bulk.min(stores.saturating_sub(1)) {
                    let element = test.placed.element(test.placed.index(position)).cast::<u64>();
                    // SAFETY: an element of a word.
                    unsafe { element.write(position) };
                }
                if stores == bulk + 2 {
                    control.written.written.store(5 + bulk, Ordering::Relaxed);
                }
                let heir = test.stream();
                all_is_whole(&heir);
                let written = heir.written().unwrap();
                assert_eq!(written, if stores == bulk + 2 { 5 + bulk } else { 5 });
                let room = if overwrite { 4 } else { 9 - written };
                let more: Vec<u64> = (written..written + room).collect();
                assert_eq!(push(&heir, &more) as u64, room, "what was announced and not written takes no room");
                assert_eq!(all_is_whole(&heir).len(), 4);
                let (got, lost) = pop(&test.stream(), 4);
                assert!(got.iter().copied().eq(5 + lost..9 + lost) && (overwrite || lost == 0), "{got:?}, {lost}");
            }
        }
    }

    #[test]
    fn a_consumer_may_die_between_its_two_stores() {
        let test = TestRing::new(true, 4);
        let stream = test.stream();
        push(&stream, &[0, 1, 2, 3]);
        push(&stream, &[4, 5]);
        // It has counted what it lost, and not yet what it took: that was not handed out.
        test.placed.control().consumed.lost.store(2, Ordering::Relaxed);
        assert_eq!(pop(&test.stream(), 9), (vec![2, 3, 4, 5], 0));
        assert_eq!(stream.consumed().unwrap(), (4, 2));
    }

    #[test]
    fn an_heir_of_the_consumer_gets_what_was_not_handed_out() {
        for overwrite in [false, true] {
            let test = TestRing::new(overwrite, 4);
            push(&test.stream(), &[1, 2, 3]);
            assert_eq!(pop(&test.stream(), 1).0, [1]);
            assert_eq!(pop(&test.stream(), 4).0, [2, 3]);
            assert_eq!(pop(&test.stream(), 4).0, [0; 0]);
        }
    }

    #[test]
    fn skipping_counts_as_reading() {
        for overwrite in [false, true] {
            let test = TestRing::new(overwrite, 4);
            let stream = test.stream();
            push(&stream, &[1, 2, 3]);
            // SAFETY: one thread.
            assert_eq!(unsafe { stream.skip(2) }.unwrap(), 2);
            assert_eq!(pop(&stream, 4).0, [3]);
            push(&stream, &[4, 5]);
            // SAFETY: one thread.
            assert_eq!(unsafe { stream.skip(u64::MAX) }.unwrap(), 2);
            assert_eq!((pop(&stream, 4).0, stream.consumed().unwrap()), (vec![], (5, 0)));
        }
    }

    #[test]
    fn an_announcement_that_was_taken_back_leads_nobody_out_of_the_ring() {
        for overwrite in [false, true] {
            let test = TestRing::new(overwrite, 4);
            test.set_position(1000);
            let (stream, mut cursor) = (test.stream(), Cursor::default());
            test.placed.control().written.announced.store(0, Ordering::Relaxed);
            assert_eq!(stream.span().unwrap(), (996, 1000));
            let (got, lost) = read(&stream, &mut cursor, 300);
            assert_eq!((got.len(), lost, cursor.position), (4, 996, 1000));
            assert_eq!((last(&stream, 300).len(), peek(&stream, 0, 0, 300).len()), (4, 4));
            test.placed.control().consumed.read.store(0, Ordering::Relaxed);
            // SAFETY: one thread.
            assert_eq!(unsafe { test.stream().skip(u64::MAX) }.unwrap(), 4);
        }
    }

    #[test]
    fn scribbled_positions_end_in_an_outcome() {
        let test = TestRing::new(true, 8);
        let mut seed = 0x1234_5678_9abc_def1_u64;
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let lossless = Stream { overwrite: false, ..Stream::new(test.placed) };
        let streams = [test.stream(), lossless];
        let mut cursor = Cursor::default();
        let mut out = [0_u64; 64];
        let to = out.as_mut_ptr().cast::<u8>();
        for _ in 0..20_000 {
            let control = test.placed.control();
            let stream = &streams[(random() % 2) as usize];
            let count = (random() % 65) as usize;
            let position = random() >> (random() % 64);
            // SAFETY: 64 words; one thread.
            unsafe {
                match random() % 12 {
                    0 => control.written.written.store(position, Ordering::Relaxed),
                    1 => control.written.announced.store(position, Ordering::Relaxed),
                    2 => control.consumed.read.store(position, Ordering::Relaxed),
                    3 => control.consumed.lost.store(position, Ordering::Relaxed),
                    4 => drop(stream.push(to, count)),
                    5 => drop(stream.pop(count, to)),
                    6 => drop(stream.read(&mut cursor, count, to)),
                    7 => drop(stream.peek(position % FAR, position, count, to)),
                    8 => drop(stream.last(count, to)),
                    9 => drop(stream.skip(position)),
                    10 => drop(stream.succeed_writer(1)),
                    _ => drop(stream.succeed_consumer(1)),
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_order_of_operations_agrees_with_a_list(
            overwrite: bool,
            capacity in (0_u32..5).prop_map(|shift| 1_u64 << shift),
            start in prop_oneof![Just(0), 1_u64..1000, Just(FAR - 10_000)],
            operations in prop::collection::vec((0_u8..8, 0_usize..20), 1..200),
        ) {
            let test = TestRing::new(overwrite, capacity);
            test.set_position(start);
            let mut stream = test.stream();
            let mut cursor = Cursor { position: start, ..Cursor::default() };
            // All there ever was from `base` on, zeros up to `start`; what is there is its end.
            let base = start.saturating_sub(capacity);
            let mut all = vec![0_u64; (start - base) as usize];
            let (mut popped, mut lost) = (start - base, 0_u64);
            for (operation, count) in operations {
                let written = all.len() as u64;
                let oldest = written.saturating_sub(capacity);
                let newest = |from: u64, count: usize| -> Vec<u64> {
                    all.iter().skip(from as usize).take(count).copied().collect()
                };
                match operation {
                    0..=2 => {
                        let elements: Vec<u64> = (written..written + count as u64).map(|i| i * 7 + 1).collect();
                        let room = if overwrite { capacity } else { capacity - (written - popped - lost) };
                        let pushed = push(&stream, &elements);
                        prop_assert_eq!(pushed, count.min(room as usize));
                        all.extend_from_slice(&elements[..pushed]);
                    }
                    3 => {
                        let next = (popped + lost).max(oldest);
                        let expected = newest(next, count);
                        let (got, gone) = pop(&stream, count);
                        prop_assert_eq!(&got, &expected);
                        prop_assert_eq!(gone, next - popped - lost);
                        popped += got.len() as u64;
                        lost += gone;
                    }
                    4 => {
                        let next = (cursor.position - base).max(oldest);
                        let expected = newest(next, count);
                        prop_assert_eq!(read(&stream, &mut cursor, count).0, expected);
                        prop_assert_eq!(cursor.read + cursor.lost, cursor.position - start);
                    }
                    5 => {
                        let first = written.saturating_sub(count as u64).max(oldest);
                        prop_assert_eq!(last(&stream, count), newest(first, count));
                    }
                    6 => {
                        let next = (popped + lost).max(oldest);
                        let expected = newest(next + 2, count);
                        prop_assert_eq!(peek(&stream, base + popped + lost, 2, count), expected);
                    }
                    _ => stream = test.stream(),
                }
            }
            let (read, gone) = stream.consumed().unwrap();
            prop_assert_eq!((read - base, gone), (popped, lost));
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::super::layout::{Control, Geometry, Shape};
    use super::*;
    use crate::segment::region::heap::HeapRegion;
    use crate::sync::{AtomicU64, explore};
    /// Words of an element. What a reader gets must be of one and the same element.
    const WORDS: usize = 2;

    struct Model {
        placed: Placed,
        _heap: HeapRegion,
    }

    fn model(overwrite: bool, capacity: u64) -> Model {
        let elem_size = (WORDS * size_of::<AtomicU64>()) as u64;
        let elem_align = align_of::<AtomicU64>() as u32;
        let geometry = Geometry::new(Shape { overwrite, capacity, elem_size, elem_align }).unwrap();
        let heap = HeapRegion::new(geometry.bytes as usize);
        let placed = geometry.place(heap.region()).unwrap();
        // SAFETY: the heap is fresh, large enough and ours; every atomic is written before it is used.
        unsafe {
            heap.region().base().cast::<Control>().write(Control::new());
            for word in 0..capacity as usize * WORDS {
                placed.element(0).cast::<AtomicU64>().add(word).write(AtomicU64::new(0));
            }
        }
        Model { placed, _heap: heap }
    }

    /// The element of a position; not zero, which is what memory holds at first.
    fn element(position: u64) -> [u64; WORDS] {
        [position + 1, (position + 1) * 100]
    }

    fn push(stream: &Stream, position: u64) -> bool {
        // SAFETY: an element; one thread per end.
        unsafe { stream.push(element(position).as_ptr().cast(), 1) }.unwrap() == 1
    }

    /// Made before the thread that uses it: the loads in here would hide others' loads from loom, which remembers the last of each word.
    fn writer(model: &Model) -> Stream {
        let stream = Stream::new(model.placed);
        // SAFETY: one thread per end.
        unsafe { stream.succeed_writer(1) }.unwrap();
        stream
    }

    /// Reads, and checks that it is what was written there.
    fn read(stream: &Stream, cursor: &mut Cursor, count: usize) {
        let mut out = [[7; WORDS]; 2];
        // SAFETY: two elements.
        let taken = unsafe { stream.read(cursor, count, out.as_mut_ptr().cast()) }.unwrap();
        let first = cursor.position - taken.count as u64;
        for (nth, got) in out[..taken.count].iter().enumerate() {
            assert_eq!(*got, element(first + nth as u64), "torn");
        }
        assert_eq!(cursor.read + cursor.lost, cursor.position);
    }

    #[test]
    fn loom_an_overtaken_reader_gets_whole_elements_and_counts_the_rest() {
        explore(|| {
            let model = model(true, 2);
            let stream = writer(&model);
            let thread = loom::thread::spawn(move || {
                (0..4).for_each(|value| assert!(push(&stream, value)));
            });
            let (stream, mut cursor) = (Stream::new(model.placed), Cursor::default());
            read(&stream, &mut cursor, 1);
            thread.join().unwrap();
            while cursor.position < 4 {
                read(&stream, &mut cursor, 1);
            }
        });
    }

    #[test]
    fn loom_a_bulk_is_whole_or_its_later_part() {
        explore(|| {
            let model = model(true, 2);
            let stream = writer(&model);
            (0..2).for_each(|value| assert!(push(&stream, value)));
            let thread = loom::thread::spawn(move || {
                (2..4).for_each(|value| assert!(push(&stream, value)));
            });
            let (stream, mut cursor) = (Stream::new(model.placed), Cursor::default());
            read(&stream, &mut cursor, 2);
            thread.join().unwrap();
        });
    }

    #[test]
    fn loom_a_ring_that_waits_loses_nothing() {
        explore(|| {
            let model = model(false, 1);
            let stream = writer(&model);
            let thread = loom::thread::spawn(move || (0..3).filter(|value| push(&stream, *value)).count() as u64);
            let stream = Stream::new(model.placed);
            let mut got = Vec::new();
            let pop = |got: &mut Vec<_>| {
                let mut out = [7_u64; WORDS];
                // SAFETY: an element; one thread per end.
                unsafe {
                    if !stream.is_consumer(2) {
                        stream.succeed_consumer(2).unwrap();
                    }
                    let taken = stream.pop(1, out.as_mut_ptr().cast()).unwrap();
                    assert_eq!(taken.lost, 0);
                    if taken.count == 1 {
                        got.push(out);
                    }
                }
            };
            (0..2).for_each(|_| pop(&mut got));
            let pushed = thread.join().unwrap();
            pop(&mut got);
            assert_eq!(got.len() as u64, pushed);
            assert!(got.iter().all(|got| got[1] == got[0] * 100) && got.is_sorted());
        });
    }
}
