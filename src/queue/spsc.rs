//! The one-to-one queue: one cache line goes over per line of elements, and none comes back for most.
//!
//! # Algorithm
//!
//! Elements lie in lines. A line begins with a word, `number << 8 | count`: which line of the endless sequence this is,
//! and how many of its elements are there. Small elements share a line of 64 bytes with their word; larger ones have a
//! word each, which is the same with one element to a line. Only the producer changes lines.
//!
//! The producer writes an element and then the line's word, so every element is visible at once. The consumer that finds
//! the count risen by several copies all the news of a packed line into its own memory in one go, and serves the next calls from
//! there: the line goes over once while the producer fills it, not once per element.
//!
//! The producer needs to know how far the consumer is only to not overwrite, so the consumer tells it seldom: `head` is
//! stored every quarter of the capacity. A producer that finds no room by `head` looks at `exact`, so that full means full.
//!
//! A consumer that has not waited stores the word of a full line as it found it. That changes nothing that could be read; but the line is then in its
//! cache alone, and the producer gets it back by one transfer, of which many are under way at once, instead of having to ask for leave to
//! write to what both have, line by line. Measured: 12 against 2 ns a line between near cores, 36 against 3 between far ones.
//!
//! Both ends go in *runs*: up to `stop`, which is where the line, the known room or the known news end, an operation is a copy, a store
//! of the word (or of the position), and a step. All else is done between runs.
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
//! - *producer*: `tail` is stored between runs, so it lags; the lines themselves tell a successor, and everybody who asks, what was
//!   published since. What was written but not published is not there.
//!
//! A forked child has copies of its parent's handles, but is neither end: the kernel gives it zeros for the state of both ends, and a
//! zeroed end is at its `stop`. Where the kernel does not know how, an end looks whose it is whenever a run begins, and runs are of one element.
//!
//! Wait-free, both ends, but for the take-over of an end.
//!
//! Source: the sequence beside the payload is as in FastForward (Giacomoni, Moseley, Vachharajani, 2008); packing by line,
//! lazy heads and succession are our own.

use std::cell::UnsafeCell;
use std::ptr::null_mut;

use super::layout::{Control, Placed};
use super::{Attempt, Claimed};
use crate::error::{Result, fail};
use crate::os::wiped::Wiped;
use crate::shared::{CacheAligned, Dynamic, Width, load_element, store_element};
use crate::sync::{AtomicU64, Ordering, PUBLISH, polled, prefetch, spin};

pub(super) const COUNT_BITS: u32 = 8;
pub(super) const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
/// The word of the line after `word`'s, when none of its elements is there.
fn after_line(word: u64) -> u64 {
    ((word >> COUNT_BITS) + 1) << COUNT_BITS
}

/// The longest packed line in bytes.
const LINE_BYTES: usize = 64;
/// How often a producer that has just found the queue full looks whether it was told of room, before it looks at the consumer's own line again:
/// taking that away with every try would slow down whom it waits for.
const PATIENCE: u32 = if cfg!(loom) { 0 } else { 16 };
/// The longest run where every element has a line of its own: how far `tail` may lag.
const LONGEST_RUN: u64 = 64;

/// The producer's private state. Zero: we are not the producer.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Producer {
    /// Where the next element goes.
    pub(crate) element: *mut u8,
    /// Where this run ends.
    pub(crate) stop: *mut u8,
    /// The word of that element's line.
    pub(crate) word: *const AtomicU64,
    /// What the word becomes with that element: the line's number, and the count with it.
    pub(crate) value: u64,
    /// The position up to which there is room, as far as we know.
    limit: u64,
    /// The position claimed in place, or [`NONE`]. Enqueueing leaves it behind.
    claimed: u64,
    /// Who this state was made for ([`Attachment::who`](crate::segment::Attachment)).
    who: u32,
    /// Whether the last run could not begin, because the queue was full.
    was_full: bool,
}

/// A position there never is.
const NONE: u64 = u64::MAX;

/// The consumer's private state. Zero: we are not the consumer.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Consumer {
    /// Where the next element is: in its line, or in `news`.
    pub(crate) element: *mut u8,
    /// Where this run ends.
    pub(crate) stop: *mut u8,
    /// The word of the line that is read.
    pub(crate) word: *const AtomicU64,
    /// What the word was when we looked: the line's number, and how many of its elements are known.
    pub(crate) value: u64,
    /// How many elements were taken.
    pub(crate) position: u64,
    /// The position from which on `head` is stored anew.
    pub(crate) tell_at: u64,
    /// The position shown in place, or [`NONE`]. Dequeueing leaves it behind.
    peeked: u64,
    /// Who this state was made for.
    who: u32,
    /// The news of a packed line, copied out; each element is where it is in the line.
    pub(crate) news: Line,
}

impl Consumer {
    /// Notes that nothing was there: the next run begins where none ended.
    fn wait(&mut self) {
        (self.element, self.stop) = (null_mut(), null_mut());
        polled();
    }
}

#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Line([u8; LINE_BYTES]);

#[derive(Debug)]
#[repr(C)]
struct Ends {
    producer: CacheAligned<UnsafeCell<Producer>>,
    consumer: CacheAligned<UnsafeCell<Consumer>>,
}

/// How far one element is from the next, and what the word gains with it.
#[derive(Clone, Copy, Debug)]
struct Stride {
    element: usize,
    word: usize,
    value: u64,
}

/// All that an operation touches within a run, for inline code outside of this library (`ffi::inline`).
#[cfg(not(loom))]
pub(crate) struct Inline<'a> {
    pub(crate) producer: *mut Producer,
    pub(crate) consumer: *mut Consumer,
    pub(crate) control: &'a Control,
    pub(crate) placed: Placed,
    pub(crate) quarter: u64,
}

/// One handle's view of a queue: the algorithm, and the private state of whichever ends this handle has.
#[derive(Debug)]
pub(crate) struct Spsc {
    placed: Placed,
    capacity: u64,
    /// How many elements the consumer takes between telling the producer.
    quarter: u64,
    stride: Stride,
    ends: Wiped<Ends>,
}

// SAFETY: shared memory is reached through atomics; the private state of an end is used by one thread at a time, which is
// the contract of every function that touches it.
unsafe impl Send for Spsc {}
// SAFETY: as above.
unsafe impl Sync for Spsc {}

impl Spsc {
    pub(crate) fn new(placed: Placed) -> Self {
        // SAFETY: zeroed ends are ends that we are not: null pointers and numbers.
        Self::over(placed, unsafe { Wiped::zeroed() })
    }

    fn over(placed: Placed, ends: Wiped<Ends>) -> Self {
        let geometry = placed.geometry;
        let capacity = geometry.shape.capacity;
        let stride = if geometry.per_line > 1 {
            Stride { element: geometry.step, word: 0, value: 1 }
        } else {
            Stride { element: geometry.stride, word: geometry.stride, value: 1 << COUNT_BITS }
        };
        Self { placed, capacity, quarter: (capacity / 4).max(1), stride, ends }
    }

    fn control(&self) -> &Control {
        self.placed.control()
    }

    #[inline(always)]
    fn per_line(&self) -> u64 {
        self.placed.geometry.per_line as u64
    }

    /// # Safety
    /// Here and in every producer function: no other thread uses the producer end of this handle at the same time.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "one thread per end is the contract")]
    unsafe fn producer(&self) -> &mut Producer {
        // SAFETY: the caller's promise.
        unsafe { &mut *self.ends.producer.get() }
    }

    /// # Safety
    /// Here and in every consumer function: no other thread uses the consumer end of this handle at the same time.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "one thread per end is the contract")]
    unsafe fn consumer(&self) -> &mut Consumer {
        // SAFETY: the caller's promise.
        unsafe { &mut *self.ends.consumer.get() }
    }

    /// `word`; or, behind the last line, the first line's.
    #[inline(always)]
    fn wrapped(&self, word: *const AtomicU64) -> *const AtomicU64 {
        if word == self.placed.end() { self.placed.word(0) } else { word }
    }

    /// The element `nth` of the line of `word`.
    #[inline(always)]
    fn element(&self, word: *const AtomicU64, nth: u64) -> *mut u8 {
        let offset = self.placed.geometry.first + nth as usize * self.placed.geometry.step;
        word.cast_mut().cast::<u8>().wrapping_add(offset)
    }

    /// The line of `position`, and the word that it has when the elements before `position` are published.
    fn line(&self, position: u64) -> (*const AtomicU64, u64) {
        let line = position / self.per_line();
        let word = self.placed.word(line % self.placed.geometry.lines);
        (word, line << COUNT_BITS | (position % self.per_line()))
    }

    /// Whether the element at `position` is published, and not yet overwritten.
    fn is_published(&self, position: u64) -> bool {
        let (word, before) = self.line(position);
        // SAFETY: a line's word.
        let news = unsafe { &*word }.load(Ordering::Acquire).wrapping_sub(before);
        news.wrapping_sub(1) < self.per_line() - (before & COUNT_MASK)
    }

    /// The first position from `from` on whose element is not published.
    fn published(&self, from: u64) -> u64 {
        (from..from.saturating_add(self.capacity))
            .find(|position| !self.is_published(*position))
            .unwrap_or(from.saturating_add(self.capacity))
    }

    /// Whether this handle is the producer in the name of `who`: not what a forked child has copied from its parent.
    ///
    /// # Safety
    /// As [`producer`](Self::producer).
    #[inline(always)]
    pub(crate) unsafe fn is_producer(&self, who: impl FnOnce() -> u32) -> bool {
        // SAFETY: the caller's promise.
        let producer = unsafe { self.producer() };
        !producer.word.is_null() && (self.ends.is_wiped() || producer.who == who())
    }

    /// Whether this handle is the consumer in the name of `who`.
    ///
    /// # Safety
    /// As [`consumer`](Self::consumer).
    #[inline(always)]
    pub(crate) unsafe fn is_consumer(&self, who: impl FnOnce() -> u32) -> bool {
        // SAFETY: the caller's promise.
        let consumer = unsafe { self.consumer() };
        !consumer.word.is_null() && (self.ends.is_wiped() || consumer.who == who())
    }

    /// Continues where the last producer stopped. The caller has taken the end.
    ///
    /// # Safety
    /// As [`producer`](Self::producer).
    pub(crate) unsafe fn succeed_producer(&self, who: u32) -> Result<()> {
        // An element shown in place is handed out, but its slot is not free yet: room is counted from `position` alone.
        // Loaded first: it only grows, and nothing loaded later can be behind it.
        let exact = self.control().exact.position.load(Ordering::Acquire);
        let tail = self.control().tail.load(Ordering::Acquire).max(self.consumed()?);
        if exact > tail || tail - exact > self.capacity {
            return Err(self.corrupt(tail, exact));
        }
        // What was published after the last store of `tail`.
        let next = self.published(tail).min(exact + self.capacity);
        self.control().tail.store(next, Ordering::Release);
        let (word, before) = self.line(next);
        let element = self.element(word, before & COUNT_MASK);
        let limit = exact + self.capacity;
        // SAFETY: the caller's promise.
        *unsafe { self.producer() } =
            Producer { element, stop: element, word, value: before + 1, limit, claimed: NONE, who, was_full: false };
        Ok(())
    }

    /// Continues where the last consumer stopped. The caller has taken the end.
    ///
    /// # Safety
    /// As [`consumer`](Self::consumer).
    pub(crate) unsafe fn succeed_consumer(&self, who: u32) -> Result<()> {
        let exact = self.consumed()?;
        self.control().exact.position.store(exact, Ordering::Release);
        self.control().head.store(exact, Ordering::Release);
        let (word, value) = self.line(exact);
        // SAFETY: the caller's promise.
        *unsafe { self.consumer() } = Consumer {
            element: null_mut(),
            stop: null_mut(),
            word,
            value,
            position: exact,
            tell_at: exact + self.quarter,
            peeked: NONE,
            who,
            news: Line([0; LINE_BYTES]),
        };
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

    /// The position of the producer's next element.
    #[inline(always)]
    fn next_position(&self, producer: &Producer) -> u64 {
        (producer.value >> COUNT_BITS) * self.per_line() + (producer.value & COUNT_MASK) - 1
    }

    /// Whether there is room for the next element.
    #[inline(always)]
    fn has_room(&self, producer: &mut Producer) -> Result<bool> {
        if producer.element == producer.stop { self.begin_run(producer) } else { Ok(true) }
    }

    /// Begins the producer's next run; false when the queue is full.
    #[inline(never)]
    fn begin_run(&self, producer: &mut Producer) -> Result<bool> {
        let geometry = &self.placed.geometry;
        let packed = geometry.per_line > 1;
        if packed && producer.value & COUNT_MASK > self.per_line() {
            producer.value = after_line(producer.value) | 1;
            producer.word = self.wrapped(producer.word.wrapping_byte_add(geometry.stride));
            producer.element = self.element(producer.word, 0);
        } else if !packed {
            producer.word = self.wrapped(producer.word);
            producer.element = self.element(producer.word, 0);
        }
        // Should what follows fail.
        producer.stop = producer.element;
        let position = self.next_position(producer);
        self.control().tail.store(position, Ordering::Release);
        if position >= producer.limit && !self.find_room(producer, position)? {
            return Ok(false);
        }
        let together = if packed {
            self.per_line() + 1 - (producer.value & COUNT_MASK)
        } else {
            let to_the_end = self.placed.end().addr() - producer.word.addr();
            LONGEST_RUN.min((to_the_end / geometry.stride) as u64)
        };
        let run = if self.ends.is_wiped() { together.min(producer.limit - position) } else { 1 };
        producer.stop = producer.element.wrapping_add(run as usize * self.stride.element);
        Ok(true)
    }

    /// Looks how far the consumer is; false when the queue is full.
    fn find_room(&self, producer: &mut Producer, next: u64) -> Result<bool> {
        if producer.was_full {
            let full = next.wrapping_sub(self.capacity);
            let _ = (0..PATIENCE).any(|_| {
                spin();
                self.control().head.load(Ordering::Relaxed) > full
            });
        }
        for told in [&*self.control().head, &self.control().exact.position] {
            let head = told.load(Ordering::Acquire);
            // A head ahead of us is a scribbling peer's; one that lags only means less room.
            if head > next {
                return Err(self.corrupt(next, head));
            }
            producer.limit = producer.limit.max(head + self.capacity);
            producer.was_full = next >= producer.limit;
            if !producer.was_full {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Publishes the element at the producer's place, and moves on.
    #[inline(always)]
    fn publish(&self, producer: &mut Producer) {
        // SAFETY: the word of a line of ours, as this run is not over.
        unsafe { &*producer.word }.store(producer.value, PUBLISH);
        producer.element = producer.element.wrapping_add(self.stride.element);
        producer.word = producer.word.wrapping_byte_add(self.stride.word);
        producer.value += self.stride.value;
    }

    /// Enqueues a copy of `element`.
    ///
    /// # Safety
    /// As [`producer`](Self::producer), which we are; `element` is readable for an element of `width`, which is
    /// the queue's element size.
    #[inline(always)]
    pub(crate) unsafe fn enqueue<W: Width>(&self, width: W, element: *const u8) -> Result<Attempt<()>> {
        // SAFETY: the caller's promise.
        let room = self.has_room(unsafe { self.producer() })?;
        // SAFETY: the caller's promise.
        Ok(if room && unsafe { self.enqueue_in_run(width, element) } { Attempt::Done(()) } else { Attempt::Not })
    }

    /// As [`enqueue`](Self::enqueue); false, with nothing done, when the run is over, or we are not the producer.
    ///
    /// # Safety
    /// As [`enqueue`](Self::enqueue), but that we are the producer.
    #[inline(always)]
    pub(crate) unsafe fn enqueue_in_run<W: Width>(&self, width: W, element: *const u8) -> bool {
        // SAFETY: the caller's promise.
        let producer = unsafe { self.producer() };
        let goes_on = producer.element != producer.stop;
        if goes_on {
            // SAFETY: there is room, so the consumer has left this element, and only we write.
            unsafe { store_element(width, element, producer.element) };
            self.publish(producer);
        }
        goes_on
    }

    /// Whether elements lie in a line as they do in an array, `bytes` apart, so that a run of them is one copy.
    #[inline(always)]
    fn is_dense(&self, bytes: usize) -> bool {
        cfg!(not(loom)) && self.stride.word == 0 && self.stride.element == bytes
    }

    /// Enqueues up to `count` elements, each run of a line published once; returns how many.
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
        let producer = unsafe { self.producer() };
        let mut done = 0;
        while done < count {
            match self.has_room(producer) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if done == 0 => return Err(error),
                // What is in is in; the error comes back with the next call.
                Err(_) => break,
            }
            if self.is_dense(bytes) {
                let some = (producer.stop.addr() - producer.element.addr()).min((count - done) * bytes);
                // SAFETY: as in `enqueue`, for the rest of this run at most, and inside the caller's elements.
                unsafe { store_element(Dynamic(some), elements.add(done * bytes), producer.element) };
                let moved = some / bytes;
                producer.value += moved as u64 - 1;
                producer.element = producer.element.wrapping_add(some - bytes);
                self.publish(producer);
                done += moved;
            } else {
                // SAFETY: as in `enqueue`, and inside the caller's elements.
                while done < count && unsafe { self.enqueue_in_run(width, elements.add(done * bytes)) } {
                    done += 1;
                }
            }
        }
        Ok(done)
    }

    /// The place of the next element, to be filled in place. Claiming again gives the same.
    ///
    /// # Safety
    /// As [`producer`](Self::producer), which we are.
    pub(crate) unsafe fn claim(&self) -> Result<Attempt<Claimed>> {
        // SAFETY: the caller's promise.
        let producer = unsafe { self.producer() };
        if !self.has_room(producer)? {
            return Ok(Attempt::Not);
        }
        let position = self.next_position(producer);
        producer.claimed = position;
        Ok(Attempt::Done(Claimed { position, data: producer.element }))
    }

    /// Whether `position` is claimed. If so, no run has ended since, and its element is the next.
    fn is_claimed(&self, producer: &Producer, position: u64) -> bool {
        producer.claimed == position && producer.element != producer.stop && self.next_position(producer) == position
    }

    /// Publishes the claimed element. False when `position` is not the one claimed.
    ///
    /// # Safety
    /// As [`producer`](Self::producer), which we are.
    pub(crate) unsafe fn commit(&self, position: u64) -> bool {
        // SAFETY: the caller's promise.
        let producer = unsafe { self.producer() };
        let mine = self.is_claimed(producer, position);
        if mine {
            self.publish(producer);
        }
        mine
    }

    /// Gives the claimed element up. False when `position` is not the one claimed.
    ///
    /// # Safety
    /// As [`producer`](Self::producer), which we are.
    pub(crate) unsafe fn abort(&self, position: u64) -> bool {
        // SAFETY: the caller's promise.
        let producer = unsafe { self.producer() };
        let mine = self.is_claimed(producer, position);
        if mine {
            producer.claimed = NONE;
        }
        mine
    }

    /// Whether there is a next element.
    #[inline(always)]
    fn has_element(&self, consumer: &mut Consumer) -> bool {
        consumer.element != consumer.stop || self.look(consumer)
    }

    /// How many elements have come into the consumer's line, or into the next if this one is read.
    #[inline(always)]
    fn news(&self, consumer: &mut Consumer) -> u64 {
        if consumer.value & COUNT_MASK == self.per_line() {
            self.next_line(consumer);
        }
        self.placed.fetch(consumer.word);
        let left = self.per_line() - (consumer.value & COUNT_MASK);
        // SAFETY: a line's word.
        let fresh = unsafe { &*consumer.word }.load(Ordering::Acquire).wrapping_sub(consumer.value);
        // The producer is lines ahead: what it has left behind can come already. What it is writing must not be taken away from it.
        if fresh > 1 && fresh == self.per_line() {
            prefetch(consumer.word.cast::<u8>().wrapping_add(2 * self.placed.geometry.stride));
        }
        // A line of an earlier lap is far behind; what is further ahead than the line has elements is scribbled.
        if fresh <= left { fresh } else { 0 }
    }

    /// Takes the consumer's line away from the producer's cache, by storing its word as it is: a full line is ours until `exact` passes it. A producer
    /// gets a line that only we have two to ten times as fast as one that both have. Not a line that was waited for: who has to
    /// answer it would have the answer wait for this store.
    #[inline(always)]
    fn keep(&self, consumer: &Consumer) {
        if consumer.value & COUNT_MASK == self.per_line() && !consumer.element.is_null() {
            // SAFETY: a line's word.
            unsafe { &*consumer.word }.store(consumer.value, Ordering::Relaxed);
        }
    }

    /// Goes over at most `most` elements that have come into the consumer's line: the first of them, and the bytes of all.
    #[inline(always)]
    fn take_news(&self, consumer: &mut Consumer, most: u64) -> Option<(*mut u8, usize)> {
        let fresh = self.news(consumer).min(most);
        if fresh == 0 {
            consumer.wait();
            return None;
        }
        let from = self.element(consumer.word, consumer.value & COUNT_MASK);
        consumer.value += fresh;
        self.keep(consumer);
        Some((from, fresh as usize * self.placed.geometry.step))
    }

    /// Begins the consumer's next run with whatever its line has got; false when that is nothing.
    #[inline(always)]
    fn look(&self, consumer: &mut Consumer) -> bool {
        let Some((from, bytes)) = self.take_news(consumer, u64::MAX) else { return false };
        consumer.element = from;
        // In a model elements are read where they lie, where races are seen.
        if cfg!(not(loom)) && bytes > self.placed.geometry.step {
            consumer.element = consumer.news.0.as_mut_ptr().wrapping_add(from.addr() - consumer.word.addr());
            // SAFETY: there are several to a line, so it is a packed one, and both ranges end inside their lines; the producer is
            // done with these elements and does not touch them before `head` or `exact` passes them.
            unsafe { Dynamic(bytes).copy(from, consumer.element) };
        }
        consumer.stop = consumer.element.wrapping_add(bytes);
        true
    }

    /// As [`look`](Self::look), for at most so many elements, which are taken from where they lie.
    fn look_for(&self, consumer: &mut Consumer, count: u64) -> bool {
        let Some((from, bytes)) = self.take_news(consumer, count) else { return false };
        (consumer.element, consumer.stop) = (from, from.wrapping_add(bytes));
        true
    }

    #[inline(always)]
    fn next_line(&self, consumer: &mut Consumer) {
        consumer.value = after_line(consumer.value);
        consumer.word = self.wrapped(consumer.word.wrapping_byte_add(self.placed.geometry.stride));
        if consumer.position >= consumer.tell_at {
            self.control().head.store(consumer.position, Ordering::Release);
            consumer.tell_at = consumer.position + self.quarter;
        }
    }

    /// Moves on by `count` elements of this run, which were copied out.
    #[inline(always)]
    fn pass(&self, consumer: &mut Consumer, count: usize) {
        consumer.element = consumer.element.wrapping_add(count * self.placed.geometry.step);
        consumer.position += count as u64;
        self.control().exact.position.store(consumer.position, Ordering::Release);
    }

    /// Dequeues into `element`.
    ///
    /// # Safety
    /// As [`consumer`](Self::consumer), which we are; `element` is writable for an element of `width`, which is
    /// the queue's element size.
    #[inline(always)]
    pub(crate) unsafe fn dequeue<W: Width>(&self, width: W, element: *mut u8) -> Attempt<()> {
        // SAFETY: the caller's promise.
        let there = self.has_element(unsafe { self.consumer() });
        // SAFETY: the caller's promise.
        if there && unsafe { self.dequeue_in_run(width, element) } { Attempt::Done(()) } else { Attempt::Not }
    }

    /// As [`dequeue`](Self::dequeue); false, with nothing done, when the run is over, or we are not the consumer.
    ///
    /// # Safety
    /// As [`dequeue`](Self::dequeue), but that we are the consumer.
    #[inline(always)]
    pub(crate) unsafe fn dequeue_in_run<W: Width>(&self, width: W, element: *mut u8) -> bool {
        // SAFETY: the caller's promise.
        let consumer = unsafe { self.consumer() };
        let goes_on = consumer.element != consumer.stop;
        if goes_on {
            // SAFETY: the element is there, and stays until it is passed.
            unsafe { load_element(width, consumer.element, element) };
            self.pass(consumer, 1);
        }
        goes_on
    }

    /// Begins the consumer's next run; false when there is nothing, or when it must first be found out whether we are the consumer.
    ///
    /// # Safety
    /// As [`consumer`](Self::consumer).
    #[inline(always)]
    pub(crate) unsafe fn look_at_once(&self) -> bool {
        // SAFETY: the caller's promise; and whoever is told by zeros that it is not the consumer need not be asked.
        let consumer = unsafe { self.consumer() };
        self.ends.is_wiped() && !consumer.word.is_null() && self.look(consumer)
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
        let consumer = unsafe { self.consumer() };
        let mut done = 0;
        while done < count && (consumer.element != consumer.stop || self.look_for(consumer, (count - done) as u64)) {
            if self.is_dense(bytes) {
                let some = (consumer.stop.addr() - consumer.element.addr()).min((count - done) * bytes);
                // SAFETY: as in `dequeue`, for the rest of this run at most, and inside the caller's elements.
                unsafe { Dynamic(some).copy(consumer.element, elements.add(done * bytes)) };
                self.pass(consumer, some / bytes);
                done += some / bytes;
            } else {
                // SAFETY: as in `dequeue`, and inside the caller's elements.
                while done < count && unsafe { self.dequeue_in_run(width, elements.add(done * bytes)) } {
                    done += 1;
                }
            }
        }
        done
    }

    /// The next element, to be read in place until [`release`](Self::release). Peeking again gives the same. If packed,
    /// in place may be in this handle's own copy of the line.
    ///
    /// # Safety
    /// As [`consumer`](Self::consumer), which we are.
    pub(crate) unsafe fn peek(&self) -> Attempt<Claimed> {
        // SAFETY: the caller's promise.
        let consumer = unsafe { self.consumer() };
        if !self.has_element(consumer) {
            return Attempt::Not;
        }
        let position = consumer.position;
        consumer.peeked = position;
        // Shown counts as handed out: a successor begins after it.
        self.control().exact.taken.store(position + 1, Ordering::Release);
        Attempt::Done(Claimed { position, data: consumer.element })
    }

    /// Moves on past the peeked element. False when `position` is not the one peeked.
    ///
    /// # Safety
    /// As [`consumer`](Self::consumer), which we are.
    pub(crate) unsafe fn release(&self, position: u64) -> bool {
        // SAFETY: the caller's promise.
        let consumer = unsafe { self.consumer() };
        let mine = consumer.position == position && consumer.peeked == position;
        if mine {
            self.pass(consumer, 1);
        }
        mine
    }

    /// What inline code works on, if it may: it does not ask who it is.
    #[cfg(not(loom))]
    pub(crate) fn inline(&self) -> Option<Inline<'_>> {
        let (producer, consumer) = (self.ends.producer.get(), self.ends.consumer.get());
        let Self { placed, quarter, .. } = *self;
        self.ends.is_wiped().then(|| Inline { producer, consumer, control: self.control(), placed, quarter })
    }

    /// How many elements were ever enqueued and dequeued.
    pub(crate) fn positions(&self) -> (u64, u64) {
        // `exact` first: what is seen of the producer later is not behind it.
        let head = self.control().exact.position.load(Ordering::Acquire);
        (self.published(self.control().tail.load(Ordering::Acquire).max(head)), head)
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

        /// As where the kernel does not wipe what a child inherits.
        fn unwiped(capacity: u64, size: usize) -> Self {
            let mut test = Self::new(capacity, size);
            // SAFETY: zeroed ends are ends that we are not.
            test.queue = Spsc::over(test.queue.placed, unsafe { Wiped::kept() });
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
            for test in [1, 2, 4, 64].into_iter().flat_map(|n| [TestQueue::new(n, size), TestQueue::unwiped(n, size)]) {
                let capacity = test.queue.capacity;
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
    fn an_end_is_its_own_makers_only() {
        for (test, wiped) in [(TestQueue::new(8, 8), true), (TestQueue::unwiped(8, 8), false)] {
            assert_eq!(test.queue.ends.is_wiped(), wiped, "the kernel of this machine wipes");
            // SAFETY: one thread.
            unsafe {
                assert!(test.queue.is_producer(|| 1) && test.queue.is_consumer(|| 1));
                // In a child, who it is differs; or there are zeros.
                assert_eq!((test.queue.is_producer(|| 2), test.queue.is_consumer(|| 2)), (wiped, wiped));
                assert_eq!(test.queue.inline().is_some(), wiped);
                let element = test.bytes(1);
                let mut out = test.bytes(0);
                // Each run is of one element, so that it is asked before the next.
                assert!(test.push(1) && test.push(2));
                assert_eq!(test.queue.enqueue_in_run(Dynamic(8), element.as_ptr()), wiped);
                assert_eq!(test.queue.look_at_once() && test.queue.dequeue_in_run(Dynamic(8), out.as_mut_ptr()), wiped);
            }
        }
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
