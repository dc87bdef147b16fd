//! The one-to-one queue: one cache line goes over per line of elements, and none comes back for most.
//!
//! # Algorithm
//!
//! Elements lie in lines. A line begins with a word, `number << 8 | count`: which line of the endless sequence this is,
//! and how many of its elements are there. Small elements share a line of 64 bytes with their word; larger ones have a
//! word each, which is the same with one element to a line. Only the producer writes lines.
//!
//! The producer writes an element and then the line's word, so every element is visible at once. The consumer that finds
//! the count risen copies all the news of a packed line into its own memory in one go, and serves the next calls from
//! there: the line goes over once while the producer fills it, not once per element.
//!
//! The producer needs to know how far the consumer is only to not overwrite, so the consumer tells it seldom: `head` is
//! stored every quarter of the capacity, and at once when the producer sleeps. A producer that finds no room by `head` looks at
//! `exact`, so that full means full.
//!
//! # Ordering
//!
//! - `line`: the release store of a line's word; pairs with the consumer's acquire load of it. The elements counted are
//!   there.
//! - `head` and `exact`: release stores after the elements before them were copied out; pair with the producer's acquire
//!   loads. What is overwritten has been read.
//!
//! # Death and succession
//!
//! An end belongs to one handle of one living participant (`Events::producer`, `Events::consumer`); a second one is
//! refused. When its owner is gone, another takes it over where it was:
//!
//! - *consumer*: `exact` is stored before an element is handed out, and `taken` before one is shown in place, so a
//!   successor hands nothing out twice. What the dead one held in its hands (one call's worth) is lost.
//! - *producer*: `tail` is stored after the words, so it may lag; the lines themselves tell a successor what was published.
//!   What was written but not published is not there.
//!
//! Wait-free, both ends, but for the take-over of an end.
//!
//! Source: the sequence beside the payload is as in FastForward (Giacomoni, Moseley, Vachharajani, 2008); packing by line,
//! lazy heads and succession are our own.

use std::cell::UnsafeCell;

use super::layout::{Control, Placed};
use super::{Attempt, Claimed};
use crate::error::{Result, fail};
use crate::shared::{CacheAligned, Width, load_element, store_element};
use crate::sync::{Ordering, PUBLISH};

const COUNT_BITS: u32 = 8;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
/// The longest packed line in bytes.
const LINE_BYTES: usize = 64;

/// A place in the endless sequence of elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    /// How many elements came before.
    position: u64,
    /// The number of its line in the endless sequence.
    line: u64,
    /// Where that line lies: its number modulo the number of lines.
    index: u64,
    /// Which element of its line it is.
    nth: usize,
}

/// The producer's private state.
#[derive(Debug, Default)]
struct Producer {
    /// Who this state was made for ([`Attachment::who`](crate::segment::Attachment)); 0: we are not the producer.
    who: u32,
    next: Place,
    /// The position up to which there is room, as far as we know.
    limit: u64,
    /// The position claimed in place, or [`NONE`]. Enqueueing leaves it behind.
    claimed: u64,
}

/// A position there never is.
const NONE: u64 = u64::MAX;

/// The consumer's private state.
#[derive(Debug)]
struct Consumer {
    /// Who this state was made for; 0: we are not the consumer.
    who: u32,
    next: Place,
    /// How many elements of the current line are known to be there (and, if packed, are in `news`).
    known: usize,
    /// The position at which `head` is stored next.
    tell_at: u64,
    /// The position shown in place, or [`NONE`]. Dequeueing leaves it behind.
    peeked: u64,
    /// The current line, copied out; its elements are where they are in the line.
    news: Line,
}

#[derive(Debug)]
#[repr(C, align(64))]
struct Line([u8; LINE_BYTES]);

/// One handle's view of a queue: the algorithm, and the private state of whichever ends this handle has.
#[derive(Debug)]
pub(crate) struct Spsc {
    placed: Placed,
    capacity: u64,
    /// How many elements the consumer takes between telling the producer.
    quarter: u64,
    producer: CacheAligned<UnsafeCell<Producer>>,
    consumer: CacheAligned<UnsafeCell<Consumer>>,
}

// SAFETY: shared memory is reached through atomics; the private state of an end is used by one thread at a time, which is
// the contract of every function that touches it.
unsafe impl Send for Spsc {}
// SAFETY: as above.
unsafe impl Sync for Spsc {}

impl Spsc {
    pub(crate) fn new(placed: Placed) -> Self {
        let capacity = placed.geometry.shape.capacity;
        let consumer = Consumer {
            who: 0,
            next: Place::default(),
            known: 0,
            tell_at: 0,
            peeked: NONE,
            news: Line([0; LINE_BYTES]),
        };
        Self {
            placed,
            capacity,
            quarter: (capacity / 4).max(1),
            producer: CacheAligned(UnsafeCell::new(Producer { claimed: NONE, ..Producer::default() })),
            consumer: CacheAligned(UnsafeCell::new(consumer)),
        }
    }

    fn control(&self) -> &Control {
        self.placed.control()
    }

    fn per_line(&self) -> usize {
        self.placed.geometry.per_line
    }

    /// Whether news are copied out line by line. In a model they are read from the line, where races are seen.
    #[inline(always)]
    fn is_packed(&self) -> bool {
        cfg!(not(loom)) && self.per_line() > 1
    }

    fn place(&self, position: u64) -> Place {
        let per_line = self.per_line() as u64;
        let line = position / per_line;
        Place { position, line, index: line % self.placed.geometry.lines, nth: (position % per_line) as usize }
    }

    /// The place after `place`.
    #[inline(always)]
    fn step(&self, place: &mut Place) {
        place.position += 1;
        place.nth += 1;
        if place.nth == self.per_line() {
            place.nth = 0;
            place.line += 1;
            place.index += 1;
            if place.index == self.placed.geometry.lines {
                place.index = 0;
            }
        }
    }

    /// How many elements of the line at `place` are there; 0 when the line is of another lap.
    #[inline(always)]
    fn published(&self, place: &Place) -> usize {
        let word = self.placed.word(place.index).load(Ordering::Acquire);
        if word >> COUNT_BITS == place.line { ((word & COUNT_MASK) as usize).min(self.per_line()) } else { 0 }
    }

    /// Whether this handle is the producer in the name of `who`: not what a forked child has copied from its parent.
    ///
    /// # Safety
    /// Here and in every producer function: no other thread uses the producer end of this handle at the same time.
    #[inline(always)]
    pub(crate) unsafe fn is_producer(&self, who: u32) -> bool {
        // SAFETY: the caller's promise.
        let producer = unsafe { &*self.producer.get() };
        producer.who == who && who != 0
    }

    /// Whether this handle is the consumer in the name of `who`.
    ///
    /// # Safety
    /// Here and in every consumer function: no other thread uses the consumer end of this handle at the same time.
    #[inline(always)]
    pub(crate) unsafe fn is_consumer(&self, who: u32) -> bool {
        // SAFETY: the caller's promise.
        let consumer = unsafe { &*self.consumer.get() };
        consumer.who == who && who != 0
    }

    /// Continues where the last producer stopped. The caller has taken the end.
    ///
    /// # Safety
    /// As [`is_producer`](Self::is_producer).
    pub(crate) unsafe fn succeed_producer(&self, who: u32) -> Result<()> {
        // An element shown in place is handed out, but its slot is not free yet: room is counted from `position` alone.
        // Loaded first: it only grows, and nothing loaded later can be behind it.
        let exact = self.control().exact.position.load(Ordering::Acquire);
        let tail = self.control().tail.load(Ordering::Acquire).max(self.consumed()?);
        if exact > tail || tail - exact > self.capacity {
            return Err(self.corrupt(tail, exact));
        }
        // What was published after the last store of `tail`.
        let mut next = self.place(tail);
        while next.position - exact < self.capacity && self.published(&next) > next.nth {
            self.step(&mut next);
        }
        self.control().tail.store(next.position, Ordering::Release);
        // SAFETY: the caller's promise.
        unsafe { *self.producer.get() = Producer { who, next, limit: exact + self.capacity, claimed: NONE } };
        Ok(())
    }

    /// Continues where the last consumer stopped. The caller has taken the end.
    ///
    /// # Safety
    /// As [`is_consumer`](Self::is_consumer).
    pub(crate) unsafe fn succeed_consumer(&self, who: u32) -> Result<()> {
        let exact = self.consumed()?;
        self.control().exact.position.store(exact, Ordering::Release);
        self.control().head.store(exact, Ordering::Release);
        // SAFETY: the caller's promise.
        let consumer = unsafe { &mut *self.consumer.get() };
        consumer.who = who;
        consumer.next = self.place(exact);
        consumer.known = 0;
        consumer.tell_at = exact + self.quarter;
        consumer.peeked = NONE;
        Ok(())
    }

    /// How many elements were handed out or shown.
    fn consumed(&self) -> Result<u64> {
        let exact = &self.control().exact;
        let position = exact.position.load(Ordering::Acquire).max(exact.taken.load(Ordering::Acquire));
        // Centuries away, unless a peer scribbled; and nothing computed from it overflows.
        if position < 1 << 55 { Ok(position) } else { Err(self.corrupt(position, position)) }
    }

    #[cold]
    fn corrupt(&self, tail: u64, head: u64) -> crate::Error {
        fail!(Corrupt, "the queue says it has positions {head} to {tail}, which its capacity {} forbids", self.capacity)
    }

    /// Whether there is room for the next element; looks at the consumer's position only when there seems to be none.
    #[inline(always)]
    fn has_room(&self, producer: &mut Producer) -> Result<bool> {
        if producer.next.position < producer.limit { Ok(true) } else { self.find_room(producer) }
    }

    #[inline(never)]
    fn find_room(&self, producer: &mut Producer) -> Result<bool> {
        for told in [&*self.control().head, &self.control().exact.position] {
            let head = told.load(Ordering::Acquire);
            let next = producer.next.position;
            // A head ahead of us is a scribbling peer's; one that lags only means less room.
            if head > next {
                return Err(self.corrupt(next, head));
            }
            producer.limit = producer.limit.max(head + self.capacity);
            if next < producer.limit {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Publishes the element at the producer's place and moves on.
    #[inline(always)]
    fn publish(&self, producer: &mut Producer) {
        let Place { line, index, nth, .. } = producer.next;
        self.placed.word(index).store(line << COUNT_BITS | (nth as u64 + 1), PUBLISH);
        self.step(&mut producer.next);
        self.control().tail.store(producer.next.position, Ordering::Release);
    }

    /// Enqueues a copy of `element`.
    ///
    /// # Safety
    /// As [`is_producer`](Self::is_producer), which is true; `element` is readable for an element of `width`, which is
    /// the queue's element size.
    #[inline(always)]
    pub(crate) unsafe fn enqueue<W: Width>(&self, width: W, element: *const u8) -> Result<Attempt<()>> {
        // SAFETY: the caller's promise.
        let producer = unsafe { &mut *self.producer.get() };
        if !self.has_room(producer)? {
            return Ok(Attempt::Not);
        }
        // SAFETY: there is room, so the consumer has left this element, and only we write.
        unsafe { store_element(width, element, self.placed.element(producer.next.index, producer.next.nth)) };
        self.publish(producer);
        Ok(Attempt::Done(()))
    }

    /// Enqueues up to `count` elements, each line published once; returns how many.
    ///
    /// # Safety
    /// As [`enqueue`](Self::enqueue), for `count` elements one after the other, `bytes` apart.
    pub(crate) unsafe fn enqueue_bulk<W: Width>(
        &self,
        width: W,
        elements: *const u8,
        bytes: usize,
        count: usize,
    ) -> Result<usize> {
        // SAFETY: the caller's promise.
        let producer = unsafe { &mut *self.producer.get() };
        let mut done = 0;
        while done < count {
            match self.has_room(producer) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if done == 0 => return Err(error),
                // What is in is in; the error comes back with the next call.
                Err(_) => break,
            }
            let Place { position, line, index, nth } = producer.next;
            let room = usize::try_from(producer.limit - position).unwrap_or(usize::MAX);
            let some = (count - done).min(self.per_line() - nth).min(room);
            for offset in 0..some {
                // SAFETY: as in `enqueue`, and inside the caller's elements.
                unsafe {
                    store_element(
                        width,
                        elements.add((done + offset) * bytes),
                        self.placed.element(index, nth + offset),
                    );
                }
                self.step(&mut producer.next);
            }
            self.placed.word(index).store(line << COUNT_BITS | (nth + some) as u64, PUBLISH);
            done += some;
        }
        self.control().tail.store(producer.next.position, Ordering::Release);
        Ok(done)
    }

    /// The place of the next element, to be filled in place. Claiming again gives the same.
    ///
    /// # Safety
    /// As [`is_producer`](Self::is_producer), which is true.
    pub(crate) unsafe fn claim(&self) -> Result<Attempt<Claimed>> {
        // SAFETY: the caller's promise.
        let producer = unsafe { &mut *self.producer.get() };
        if !self.has_room(producer)? {
            return Ok(Attempt::Not);
        }
        let next = producer.next;
        producer.claimed = next.position;
        Ok(Attempt::Done(Claimed { position: next.position, data: self.placed.element(next.index, next.nth) }))
    }

    /// Publishes the claimed element. False when `position` is not the one claimed.
    ///
    /// # Safety
    /// As [`is_producer`](Self::is_producer), which is true.
    pub(crate) unsafe fn commit(&self, position: u64) -> bool {
        // SAFETY: the caller's promise.
        let producer = unsafe { &mut *self.producer.get() };
        let mine = producer.next.position == position && producer.claimed == position;
        if mine {
            self.publish(producer);
        }
        mine
    }

    /// Gives the claimed element up. False when `position` is not the one claimed.
    ///
    /// # Safety
    /// As [`is_producer`](Self::is_producer), which is true.
    pub(crate) unsafe fn abort(&self, position: u64) -> bool {
        // SAFETY: the caller's promise.
        let producer = unsafe { &mut *self.producer.get() };
        let mine = producer.next.position == position && producer.claimed == position;
        if mine {
            producer.claimed = NONE;
        }
        mine
    }

    /// Makes sure that the next element, if there is one, is known and (if packed) copied out.
    #[inline(always)]
    fn has_element(&self, consumer: &mut Consumer) -> bool {
        consumer.next.nth < consumer.known || self.look(consumer)
    }

    #[inline(always)]
    fn look(&self, consumer: &mut Consumer) -> bool {
        let next = consumer.next;
        let count = self.published(&next);
        if count <= next.nth {
            return false;
        }
        if self.is_packed() {
            let from = self.placed.element(next.index, next.nth);
            let offset = self.placed.geometry.first + next.nth * self.placed.geometry.step;
            let bytes = (count - next.nth) * self.placed.geometry.step;
            // SAFETY: `count` is at most the elements of a line, so both ranges end inside their lines; the producer is
            // done with these elements and does not touch them before `head` or `exact` passes them.
            unsafe { std::ptr::copy_nonoverlapping(from, consumer.news.0.as_mut_ptr().add(offset), bytes) };
        }
        consumer.known = count;
        true
    }

    /// Where the next element is to be read from, once it is known.
    #[inline(always)]
    fn source(&self, consumer: &mut Consumer) -> *mut u8 {
        let next = consumer.next;
        if self.is_packed() {
            let offset = self.placed.geometry.first + next.nth * self.placed.geometry.step;
            // SAFETY: inside the line.
            unsafe { consumer.news.0.as_mut_ptr().add(offset) }
        } else {
            self.placed.element(next.index, next.nth)
        }
    }

    /// Moves on past the next element. The caller has copied it out.
    #[inline(always)]
    fn pass(&self, consumer: &mut Consumer) {
        self.step(&mut consumer.next);
        if consumer.next.nth == 0 {
            consumer.known = 0;
        }
    }

    /// Stores the consumer's position, exactly for a successor, and now and then for the producer.
    #[inline(always)]
    fn settle(&self, consumer: &mut Consumer) {
        let position = consumer.next.position;
        self.control().exact.position.store(position, Ordering::Release);
        if position >= consumer.tell_at || self.control().events.space.has_waiters() {
            self.control().head.store(position, Ordering::Release);
            consumer.tell_at = position + self.quarter;
        }
    }

    /// Dequeues into `element`.
    ///
    /// # Safety
    /// As [`is_consumer`](Self::is_consumer), which is true; `element` is writable for an element of `width`, which is
    /// the queue's element size.
    #[inline(always)]
    pub(crate) unsafe fn dequeue<W: Width>(&self, width: W, element: *mut u8) -> Attempt<()> {
        // SAFETY: the caller's promise.
        let consumer = unsafe { &mut *self.consumer.get() };
        if !self.has_element(consumer) {
            return Attempt::Not;
        }
        let source = self.source(consumer);
        if self.is_packed() {
            // SAFETY: private memory, as wide as an element.
            unsafe { width.copy(source, element) };
        } else {
            // SAFETY: the element is there, and stays until `settle` passes it.
            unsafe { load_element(width, source, element) };
        }
        self.pass(consumer);
        self.settle(consumer);
        Attempt::Done(())
    }

    /// Dequeues up to `count` elements; returns how many.
    ///
    /// # Safety
    /// As [`dequeue`](Self::dequeue), for `count` elements one after the other, `bytes` apart.
    pub(crate) unsafe fn dequeue_bulk<W: Width>(
        &self,
        width: W,
        elements: *mut u8,
        bytes: usize,
        count: usize,
    ) -> usize {
        // SAFETY: the caller's promise.
        let consumer = unsafe { &mut *self.consumer.get() };
        let mut done = 0;
        while done < count && self.has_element(consumer) {
            let some = (count - done).min(consumer.known - consumer.next.nth);
            for offset in done..done + some {
                let source = self.source(consumer);
                // SAFETY: as in `dequeue`, and inside the caller's elements.
                unsafe {
                    if self.is_packed() {
                        width.copy(source, elements.add(offset * bytes));
                    } else {
                        load_element(width, source, elements.add(offset * bytes));
                    }
                }
                self.pass(consumer);
            }
            done += some;
        }
        if done > 0 {
            self.settle(consumer);
        }
        done
    }

    /// The next element, to be read in place until [`release`](Self::release). Peeking again gives the same. If packed,
    /// in place is in this handle's own copy of the line.
    ///
    /// # Safety
    /// As [`is_consumer`](Self::is_consumer), which is true.
    pub(crate) unsafe fn peek(&self) -> Attempt<Claimed> {
        // SAFETY: the caller's promise.
        let consumer = unsafe { &mut *self.consumer.get() };
        if !self.has_element(consumer) {
            return Attempt::Not;
        }
        let position = consumer.next.position;
        consumer.peeked = position;
        // Shown counts as handed out: a successor begins after it.
        self.control().exact.taken.store(position + 1, Ordering::Release);
        Attempt::Done(Claimed { position, data: self.source(consumer) })
    }

    /// Moves on past the peeked element. False when `position` is not the one peeked.
    ///
    /// # Safety
    /// As [`is_consumer`](Self::is_consumer), which is true.
    pub(crate) unsafe fn release(&self, position: u64) -> bool {
        // SAFETY: the caller's promise.
        let consumer = unsafe { &mut *self.consumer.get() };
        let mine = consumer.next.position == position && consumer.peeked == position;
        if mine {
            self.pass(consumer);
            self.settle(consumer);
        }
        mine
    }

    /// How many elements were ever enqueued and dequeued.
    pub(crate) fn positions(&self) -> (u64, u64) {
        let head = self.control().exact.position.load(Ordering::Acquire);
        (self.control().tail.load(Ordering::Acquire), head)
    }
}

/// Whether `dead` was shown an element in place, which is lost with it. What a producer had not published was never there.
pub(crate) fn is_unfinished(control: &Control, dead: u32) -> bool {
    let exact = &control.exact;
    let held =
        exact.taken.load(Ordering::Acquire).wrapping_sub(exact.position.load(Ordering::Acquire)).cast_signed() > 0;
    held && control.events.consumer.is_held_by(dead)
}

/// Gives back whichever ends `dead` had. Can be done twice without harm.
pub(crate) fn reclaim(control: &Control, dead: u32) {
    for end in [&control.events.producer, &control.events.consumer] {
        end.reclaim(dead);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::queue::layout::{Geometry, Mode, Shape};
    use crate::segment::region::heap::HeapRegion;
    use crate::shared::Dynamic;

    struct TestQueue {
        queue: Spsc,
        size: usize,
        heap: HeapRegion,
        geometry: Geometry,
    }

    impl TestQueue {
        fn new(capacity: u64, size: usize) -> Self {
            let shape = Shape { mode: Mode::Spsc, capacity, elem_size: size as u64, elem_align: 1 };
            let geometry = Geometry::new(shape).unwrap();
            let heap = HeapRegion::new(geometry.bytes as usize);
            let queue = Spsc::new(geometry.place(heap.region()).unwrap());
            let test = Self { queue, size, heap, geometry };
            test.succeed();
            test
        }

        fn succeed(&self) {
            // SAFETY: one thread.
            unsafe {
                self.queue.succeed_producer(1).unwrap();
                self.queue.succeed_consumer(1).unwrap();
            }
        }

        /// Another handle on the same bytes, as a successor has.
        fn successor(&self) -> Spsc {
            Spsc::new(self.geometry.place(self.heap.region()).unwrap())
        }

        fn bytes(&self, value: u64) -> Vec<u8> {
            (0..self.size).map(|i| (value.wrapping_mul(31) >> (i % 8 * 8)) as u8 ^ i as u8).collect()
        }

        fn push(&self, value: u64) -> bool {
            let element = self.bytes(value);
            // SAFETY: one thread; an element of that size.
            unsafe { self.queue.enqueue(Dynamic(self.size), element.as_ptr()) }.unwrap() == Attempt::Done(())
        }

        fn pop(&self) -> Option<Vec<u8>> {
            Self::pop_from(&self.queue, self.size)
        }

        fn pop_from(queue: &Spsc, size: usize) -> Option<Vec<u8>> {
            let mut element = vec![0; size];
            // SAFETY: one thread; an element of that size.
            (unsafe { queue.dequeue(Dynamic(size), element.as_mut_ptr()) } == Attempt::Done(())).then_some(element)
        }
    }

    #[test]
    fn every_size_comes_out_in_order_and_full_means_full() {
        for size in [1, 2, 3, 7, 8, 12, 16, 27, 28, 29, 56, 64, 100] {
            for capacity in [1, 2, 4, 64] {
                let test = TestQueue::new(capacity, size);
                let (mut sent, mut received) = (0, 0);
                for round in 0..200_u64 {
                    while sent - received < capacity {
                        assert!(test.push(sent), "size {size} capacity {capacity} sent {sent} received {received}");
                        sent += 1;
                    }
                    assert!(!test.push(sent));
                    for _ in 0..=round % capacity {
                        assert_eq!(test.pop(), Some(test.bytes(received)));
                        received += 1;
                    }
                }
                while received < sent {
                    assert_eq!(test.pop(), Some(test.bytes(received)));
                    received += 1;
                }
                assert_eq!(test.pop(), None);
            }
        }
    }

    #[test]
    fn bulk_moves_the_same_elements_as_one_by_one() {
        for size in [3, 8, 40] {
            let test = TestQueue::new(32, size);
            let (mut sent, mut received) = (0_u64, 0_u64);
            for round in 0..100 {
                let want = round % 37 + 1;
                let elements: Vec<u8> = (sent..sent + want as u64).flat_map(|value| test.bytes(value)).collect();
                // SAFETY: one thread; `want` elements.
                let done = unsafe { test.queue.enqueue_bulk(Dynamic(size), elements.as_ptr(), size, want) }.unwrap();
                assert_eq!(done, want.min(32 - (sent - received) as usize));
                sent += done as u64;
                let mut out = vec![0; size * want];
                // SAFETY: one thread; room for `want` elements.
                let got = unsafe { test.queue.dequeue_bulk(Dynamic(size), out.as_mut_ptr(), size, want) };
                for element in out.chunks(size).take(got) {
                    assert_eq!(element, test.bytes(received));
                    received += 1;
                }
            }
        }
    }

    #[test]
    fn only_what_is_held_can_be_committed_given_up_or_released() {
        for size in [8, 40] {
            let test = TestQueue::new(4, size);
            // SAFETY: one thread.
            unsafe {
                assert!(!test.queue.commit(0) && !test.queue.abort(0) && !test.queue.release(0));
                let Attempt::Done(claimed) = test.queue.claim().unwrap() else { panic!() };
                assert!(test.queue.abort(claimed.position));
                assert!(!test.queue.abort(claimed.position) && !test.queue.commit(claimed.position));
                let Attempt::Done(claimed) = test.queue.claim().unwrap() else { panic!() };
                assert!(test.push(7));
                assert!(!test.queue.commit(claimed.position), "overtaken by an enqueue");
                assert!(!test.queue.release(0), "there, but not peeked");
                let Attempt::Done(peeked) = test.queue.peek() else { panic!() };
                assert!(test.queue.release(peeked.position) && !test.queue.release(peeked.position));
            }
        }
    }

    #[test]
    fn a_successor_consumer_continues_after_what_was_handed_out_or_shown() {
        for size in [8, 40] {
            let test = TestQueue::new(64, size);
            (0..20).for_each(|value| assert!(test.push(value)));
            (0..5).for_each(|value| assert_eq!(test.pop(), Some(test.bytes(value))));
            // SAFETY: one thread.
            assert!(matches!(unsafe { test.queue.peek() }, Attempt::Done(Claimed { position: 5, .. })));
            let successor = test.successor();
            // SAFETY: one thread.
            unsafe { successor.succeed_consumer(2).unwrap() };
            for value in 6..20 {
                assert_eq!(TestQueue::pop_from(&successor, size), Some(test.bytes(value)));
            }
            assert_eq!(TestQueue::pop_from(&successor, size), None);
        }
    }

    #[test]
    fn a_successor_producer_continues_after_what_was_published() {
        for size in [8, 40] {
            let test = TestQueue::new(64, size);
            (0..20).for_each(|value| assert!(test.push(value)));
            // Death after publishing, before `tail`.
            test.queue.control().tail.store(3, Ordering::Relaxed);
            // SAFETY: one thread; what is claimed and never committed is not seen.
            drop(unsafe { test.queue.claim() });
            let successor = test.successor();
            // SAFETY: one thread.
            unsafe { successor.succeed_producer(2).unwrap() };
            let element = test.bytes(20);
            // SAFETY: one thread; an element of that size.
            assert_eq!(unsafe { successor.enqueue(Dynamic(size), element.as_ptr()) }.unwrap(), Attempt::Done(()));
            (0..=20).for_each(|value| assert_eq!(test.pop(), Some(test.bytes(value))));
            assert_eq!(test.pop(), None);
        }
    }

    #[test]
    fn a_successor_producer_does_not_overwrite_what_is_shown() {
        let test = TestQueue::new(2, 40);
        assert!(test.push(1) && test.push(2));
        // SAFETY: one thread.
        let Attempt::Done(peeked) = (unsafe { test.queue.peek() }) else { panic!() };
        let successor = test.successor();
        let element = test.bytes(3);
        // SAFETY: one thread; elements of that size.
        unsafe {
            successor.succeed_producer(2).unwrap();
            assert_eq!(successor.enqueue(Dynamic(40), element.as_ptr()).unwrap(), Attempt::Not);
            assert_eq!(std::slice::from_raw_parts(peeked.data, 40), test.bytes(1));
            assert!(test.queue.release(peeked.position));
            assert_eq!(successor.enqueue(Dynamic(40), element.as_ptr()).unwrap(), Attempt::Done(()));
        }
    }

    #[test]
    fn a_consumer_that_stopped_before_telling_is_no_reason_to_call_the_queue_corrupt() {
        let test = TestQueue::new(8, 64);
        for round in 0..3 {
            (0..8).for_each(|value| assert!(test.push(round * 8 + value)));
            if round < 2 {
                (0..8).for_each(|value| assert_eq!(test.pop(), Some(test.bytes(round * 8 + value))));
            }
        }
        test.queue.control().head.store(0, Ordering::Relaxed);
        assert!(!test.push(24));
    }

    #[test]
    fn scribbled_words_and_positions_end_in_an_outcome() {
        for size in [8, 40] {
            let test = TestQueue::new(16, size);
            let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
            let mut random = move || {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                seed
            };
            let element = test.bytes(1);
            for _ in 0..20_000 {
                let value = if random() % 2 == 0 { random() } else { random() % 64 };
                // SAFETY: one thread; elements of that size.
                unsafe {
                    match random() % 9 {
                        0 => test.queue.control().head.store(value, Ordering::Relaxed),
                        1 => test.queue.control().tail.store(value, Ordering::Relaxed),
                        2 => test.queue.control().exact.position.store(value, Ordering::Relaxed),
                        3 => test.queue.control().exact.taken.store(value, Ordering::Relaxed),
                        4 => test.queue.placed.word(value % test.geometry.lines).store(random(), Ordering::Relaxed),
                        5 => drop(test.queue.enqueue(Dynamic(size), element.as_ptr())),
                        6 => drop(test.pop()),
                        7 => drop(test.queue.succeed_producer(1)),
                        _ => drop(test.queue.succeed_consumer(1)),
                    }
                }
            }
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::queue::layout::Mode;
    use crate::queue::layout::model::ModelQueue;
    use crate::shared::Fixed;
    use crate::sync::explore;
    use loom::sync::Arc;

    const WORD: Fixed<u64> = Fixed::WIDTH;

    struct Model {
        queue: Spsc,
        _memory: ModelQueue,
    }

    impl Model {
        fn new(capacity: u64) -> Arc<Self> {
            let memory = ModelQueue::new(Mode::Spsc, capacity, |_| 0);
            let queue = Spsc::new(memory.placed);
            // SAFETY: one thread so far.
            unsafe {
                queue.succeed_producer(1).unwrap();
                queue.succeed_consumer(2).unwrap();
            }
            Arc::new(Self { queue, _memory: memory })
        }
    }

    /// Sends 1, 2, … `count` through a queue of `capacity`.
    fn sends(capacity: u64, count: u64) {
        explore(move || {
            let model = Model::new(capacity);
            let producer = {
                let model = model.clone();
                loom::thread::spawn(move || {
                    for value in 1..=count {
                        // SAFETY: the only producer; a live u64.
                        while unsafe { model.queue.enqueue(WORD, (&raw const value).cast()) }.unwrap() == Attempt::Not {
                            loom::thread::yield_now();
                        }
                    }
                })
            };
            for expected in 1..=count {
                let mut value = 0_u64;
                // SAFETY: the only consumer; a live u64.
                while unsafe { model.queue.dequeue(WORD, (&raw mut value).cast()) } == Attempt::Not {
                    loom::thread::yield_now();
                }
                assert_eq!(value, expected);
            }
            producer.join().unwrap();
        });
    }

    #[test]
    fn loom_elements_arrive_whole_and_in_order() {
        sends(4, 3);
    }

    #[test]
    fn loom_lines_are_overwritten_only_after_they_were_read() {
        sends(1, 3);
        sends(2, 3);
    }
}
