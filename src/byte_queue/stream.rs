//! The algorithm: one producer, one consumer, and bytes that are never split because the buffer is mapped twice.
//!
//! # Algorithm
//!
//! `tail` is how many bytes were ever committed, `head` how many were consumed. The producer has the bytes between `tail` and
//! `head + capacity`, the consumer those between `head` and `tail`; either may use any part of its own as one piece. Each
//! side keeps the other's position as it last saw it, and looks again only when that is not enough.
//!
//! # Ordering
//!
//! - `tail`: a release store after the bytes; pairs with the consumer's acquire load. What is counted is there.
//! - `head`: a release store after the bytes were read; pairs with the producer's acquire load. What is overwritten was read.
//!
//! # Death and succession
//!
//! An end belongs to one handle of one living participant; when its owner is gone, another takes it over where it was:
//! committed bytes are there and uncommitted ones are not, because one store of `tail` tells them apart. Bytes that a dead
//! consumer had looked at but not consumed are its successor's.
//!
//! # Trust
//!
//! Each side goes by its own private position and its private copy of the capacity. The other's position is checked on arrival: it may not go
//! back, nor be where the capacity forbids, nor between two frames' places. So whatever a peer writes, no address outside the buffer is ever
//! formed, and no message lies where its alignment forbids.
//!
//! # Forks
//!
//! A forked child has copies of its parent's handles, but is neither end: it finds zeros for the state of both ends, and a zeroed end
//! has no room, no bytes and nothing reserved. So the usual case (`…_at_once`) need not ask who we are; where the kernel does not wipe, it is left out.
//!
//! # Lines that come back
//!
//! The producer writes to lines that the consumer has read, so that both caches have them. To get leave for that takes a line's way to the other core and
//! back, for one line after the other. Between cores that share a cache that is little; between others it makes everything ten times slower.
//! There the producer writes large copies past the caches, and for all else asks the consumer (`keep_from`) to store to the lines that it
//! gives back, as they are: a line that only one cache has comes back as a whole, and many of them are under way at once. How far away
//! the consumer is the producer measures now and then, when its position gets here.
//!
//! Wait-free, both ends, but for the take-over of an end.
//!
//! Source: the bounded single-producer queue of Lamport (1983), over a buffer mapped twice.

use std::cell::UnsafeCell;

use super::layout::Placed;
use crate::error::{Error, Result, fail};
use crate::os::process;
use crate::os::wiped::Wiped;
use crate::shared::CacheAligned;
#[cfg(not(loom))]
use crate::shared::{store_bytes, store_bytes_past_caches};
use crate::sync::{Ordering, PUBLISH};

/// Positions beyond this are a scribbling peer's: centuries away, and nothing computed from smaller ones overflows.
const FAR: u64 = 1 << 60;

/// Bytes of a cache line.
const LINE: u64 = 64;
/// Nanoseconds that a line does not take between cores that share a cache.
const FAR_AWAY: u64 = 65;
/// What took longer was not only a line that came.
const INTERRUPTED: u64 = 1000;
/// How many bytes go through before that is found out again.
const MEASURED_EVERY: u64 = 64 << 10;
/// Copies of so many bytes go past the caches, where the other core is far away.
const LARGE: u64 = 1024;

/// A position of one's own, and where in the buffer it is.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    position: u64,
    offset: u64,
}

/// One side's private state.
#[derive(Debug, Default)]
struct Side {
    /// Who this state was made for ([`Attachment::who`](crate::segment::Attachment)); 0: this end is not ours.
    who: u32,
    /// The producer's tail; the consumer's head, or further if it received messages it has not released.
    at: Place,
    /// The position up to which the bytes are ours, as far as we know.
    limit: u64,
    /// How many bytes from `at` on were handed out to be filled.
    reserved: u64,
    /// The consumer's head.
    released: u64,
    /// What the shared counters say. They may come from a peer that writes nonsense, so they wrap.
    messages: u64,
    waits: u64,
    high: u64,
    /// A waiting call looks again and again: that counts once.
    again: bool,
    /// The producer's: how many nanoseconds a line takes from the other core, by and large, and the position from which that is to be measured again.
    distance: u64,
    measured_until: u64,
    /// As last told to the consumer, or by the producer. See [`Produced::keep_from`](super::layout::Produced::keep_from).
    keep_from: u64,
}

impl Side {
    /// Whether the other core shares no cache with the producer's.
    #[inline(always)]
    fn is_far(&self) -> bool {
        self.distance > FAR_AWAY
    }
}

#[derive(Debug)]
struct Ends {
    producer: CacheAligned<UnsafeCell<Side>>,
    consumer: CacheAligned<UnsafeCell<Side>>,
}

/// One handle's view of a byte queue: the algorithm, and the private state of whichever ends this handle has.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(super) placed: Placed,
    capacity: u64,
    /// What positions are multiples of, less 1.
    mask: u64,
    ends: Wiped<Ends>,
}

// SAFETY: shared memory is reached through atomics, or is this end's alone; the private state of an end is used by one thread
// at a time, which is the contract of every function that touches it.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

impl Stream {
    pub(crate) fn new(placed: Placed) -> Self {
        // SAFETY: zeroed ends are ends that we are not: numbers, and a flag.
        Self::over(placed, unsafe { Wiped::zeroed() })
    }

    fn over(placed: Placed, ends: Wiped<Ends>) -> Self {
        Self {
            placed,
            capacity: placed.shape.capacity,
            mask: placed.shape.framing.map_or(0, |framing| framing.align - 1),
            ends,
        }
    }

    /// Whether an end's state that is there is this process's own.
    #[inline(always)]
    pub(crate) fn is_wiped(&self) -> bool {
        self.ends.is_wiped()
    }

    #[cold]
    fn corrupt(&self, head: u64, tail: u64) -> Error {
        fail!(
            Corrupt,
            "the byte queue says it has bytes {head} to {tail}, which its capacity {} or its alignment {} forbids",
            self.capacity,
            self.mask + 1
        )
    }

    /// The two positions, if they make sense.
    pub(crate) fn positions(&self) -> Result<(u64, u64)> {
        let control = self.placed.control();
        // `head` first: it only grows, and `tail` loaded later is not behind it.
        let head = control.consumed.head.load(Ordering::Acquire);
        let tail = control.produced.tail.load(Ordering::Acquire);
        if tail < FAR && head <= tail { Ok((head, tail)) } else { Err(self.corrupt(head, tail)) }
    }

    /// The two positions, if an end can go on from them.
    fn ends(&self) -> Result<(u64, u64)> {
        let (head, tail) = self.positions()?;
        if tail - head > self.capacity || (head | tail) & self.mask != 0 {
            return Err(self.corrupt(head, tail));
        }
        Ok((head, tail))
    }

    fn place(&self, position: u64) -> Place {
        Place { position, offset: position % self.capacity }
    }

    #[inline(always)]
    fn forward(&self, at: Place, bytes: u64) -> Place {
        let offset = at.offset + bytes;
        Place {
            position: at.position + bytes,
            offset: if offset >= self.capacity { offset - self.capacity } else { offset },
        }
    }

    /// Whether this handle is the producer in the name of `who`: not what a forked child has copied from its parent.
    ///
    /// # Safety
    /// Here and in every function of the producer: no other thread uses the producing end of this handle at the same time.
    #[inline(always)]
    pub(crate) unsafe fn is_producer(&self, who: u32) -> bool {
        // SAFETY: the caller's promise.
        let side = unsafe { &*self.ends.producer.get() };
        side.who == who && who != 0
    }

    /// Whether this handle is the consumer in the name of `who`.
    ///
    /// # Safety
    /// Here and in every function of the consumer: no other thread uses the consuming end of this handle at the same time.
    #[inline(always)]
    pub(crate) unsafe fn is_consumer(&self, who: u32) -> bool {
        // SAFETY: the caller's promise.
        let side = unsafe { &*self.ends.consumer.get() };
        side.who == who && who != 0
    }

    /// Whether what is about to find no room looks for it again, which does not count any more.
    ///
    /// # Safety
    /// As [`is_producer`](Self::is_producer).
    pub(crate) unsafe fn looks_for_room_again(&self, again: bool) {
        // SAFETY: the caller's promise.
        unsafe { (*self.ends.producer.get()).again = again };
    }

    /// Whether what is about to find nothing looks for it again, which does not count any more.
    ///
    /// # Safety
    /// As [`is_consumer`](Self::is_consumer).
    pub(crate) unsafe fn looks_for_bytes_again(&self, again: bool) {
        // SAFETY: the caller's promise.
        unsafe { (*self.ends.consumer.get()).again = again };
    }

    /// Continues where the last producer stopped. The caller has taken the end.
    ///
    /// # Safety
    /// As [`is_producer`](Self::is_producer).
    pub(crate) unsafe fn succeed_producer(&self, who: u32) -> Result<()> {
        let (head, tail) = self.ends()?;
        let produced = &self.placed.control().produced;
        let (messages, waits) = (produced.messages.load(Ordering::Relaxed), produced.full.load(Ordering::Relaxed));
        // The consumer was told so by our predecessor.
        let keep_from = if cfg!(not(loom)) { produced.keep_from.load(Ordering::Relaxed) } else { 0 };
        let (at, limit) = (self.place(tail), head + self.capacity);
        let side = Side { who, at, limit, messages, waits, keep_from, ..Side::default() };
        // SAFETY: the caller's promise.
        unsafe { *self.ends.producer.get() = side };
        Ok(())
    }

    /// Continues where the last consumer stopped. The caller has taken the end.
    ///
    /// # Safety
    /// As [`is_consumer`](Self::is_consumer).
    pub(crate) unsafe fn succeed_consumer(&self, who: u32) -> Result<()> {
        let (head, _) = self.ends()?;
        let consumed = &self.placed.control().consumed;
        let (messages, waits) = (consumed.messages.load(Ordering::Relaxed), consumed.empty.load(Ordering::Relaxed));
        let high = consumed.high.load(Ordering::Relaxed);
        // It looks for itself how far it can go, and so sees how much had come together.
        let side =
            Side { who, at: self.place(head), limit: head, released: head, messages, waits, high, ..Side::default() };
        // SAFETY: the caller's promise.
        unsafe { *self.ends.consumer.get() = side };
        Ok(())
    }

    /// As [`reserve`](Self::reserve) in the usual case; `None`, with nothing done, also when it must first be looked for room, or found out whether
    /// we are the producer.
    ///
    /// # Safety
    /// As [`is_producer`](Self::is_producer), but that it is true.
    #[inline(always)]
    pub(crate) unsafe fn reserve_at_once(&self, bytes: u64) -> Option<*mut u8> {
        // SAFETY: the caller's promise.
        let side = unsafe { &mut *self.ends.producer.get() };
        if side.limit - side.at.position < bytes || bytes == 0 || !self.is_wiped() {
            return None;
        }
        side.reserved = bytes;
        Some(self.placed.byte(side.at.offset))
    }

    /// The address of `bytes` bytes to be filled, or `None` when there is no room for them now. Reserving again gives the same place.
    ///
    /// # Safety
    /// As [`is_producer`](Self::is_producer), which is true.
    pub(crate) unsafe fn reserve(&self, bytes: u64) -> Result<Option<*mut u8>> {
        // SAFETY: the caller's promise.
        let side = unsafe { &mut *self.ends.producer.get() };
        if side.limit - side.at.position < bytes && !self.find_room(side, bytes)? {
            return Ok(None);
        }
        side.reserved = bytes;
        Ok(Some(self.placed.byte(side.at.offset)))
    }

    #[inline(never)]
    fn find_room(&self, side: &mut Side, bytes: u64) -> Result<bool> {
        let (tail, control) = (side.at.position, self.placed.control());
        let measures = tail >= side.measured_until;
        let [before, begun] = if measures { [process::now(), process::now()] } else { [0; 2] };
        let head = control.consumed.head.load(Ordering::Acquire);
        if head > tail || head + self.capacity < side.limit {
            return Err(self.corrupt(head, tail));
        }
        // If it is the same as before, its line was in our own cache.
        if measures && head + self.capacity != side.limit {
            self.note_distance(side, (process::now() - begun).saturating_sub(begun - before));
        }
        side.limit = head + self.capacity;
        let found = side.limit - tail >= bytes;
        if !found && !side.again {
            side.waits = side.waits.wrapping_add(1);
            control.produced.full.store(side.waits, Ordering::Relaxed);
        }
        Ok(found)
    }

    /// Notes how long a line took from the consumer's core, and has it send lines back accordingly.
    fn note_distance(&self, side: &mut Side, took: u64) {
        side.measured_until = side.at.position + MEASURED_EVERY;
        // Where stores are counted, time must not decide which there are.
        if took > INTERRUPTED || cfg!(kill_points) {
            return;
        }
        side.distance = (3 * side.distance + took.min(2 * FAR_AWAY)) / 4;
        let far = side.is_far();
        if far != (side.keep_from != 0) {
            self.have_kept_from(side, if far { side.at.position } else { 0 });
        }
    }

    fn have_kept_from(&self, side: &mut Side, position: u64) {
        side.keep_from = position;
        self.placed.control().produced.keep_from.store(position, Ordering::Relaxed);
    }

    /// Fills what was reserved with a copy.
    ///
    /// # Safety
    /// As [`is_producer`](Self::is_producer), which is true; `place` was reserved for at least `length` bytes, and `data` is readable for as many.
    #[cfg(not(loom))]
    #[inline(always)]
    pub(crate) unsafe fn fill(&self, place: *mut u8, data: *const u8, length: u64) {
        // SAFETY: the caller's promises.
        unsafe {
            if length >= LARGE && (*self.ends.producer.get()).is_far() {
                self.fill_from_afar(place, data, length);
            } else {
                store_bytes(data, place, length as usize);
            }
        }
    }

    /// # Safety
    /// As [`fill`](Self::fill).
    #[cfg(not(loom))]
    #[cold]
    unsafe fn fill_from_afar(&self, place: *mut u8, data: *const u8, length: u64) {
        // SAFETY: the caller's promises.
        unsafe {
            store_bytes_past_caches(data, place, length as usize);
            let side = &mut *self.ends.producer.get();
            self.have_kept_from(side, side.at.position + length);
        }
    }

    /// How many bytes were reserved and neither committed nor given up.
    ///
    /// # Safety
    /// As [`is_producer`](Self::is_producer), which is true.
    #[inline(always)]
    pub(crate) unsafe fn reserved(&self) -> u64 {
        // SAFETY: the caller's promise.
        unsafe { (*self.ends.producer.get()).reserved }
    }

    /// Says that of what was reserved only the first `bytes` are to be filled.
    ///
    /// # Safety
    /// As [`is_producer`](Self::is_producer), which is true.
    #[inline(always)]
    pub(super) unsafe fn reserved_only(&self, bytes: u64) {
        // SAFETY: the caller's promise.
        unsafe { (*self.ends.producer.get()).reserved = bytes };
    }

    /// Publishes the first `bytes` of what was reserved, as `messages` more messages; the rest is given up. False when not as many were reserved,
    /// or nothing was.
    ///
    /// # Safety
    /// As [`is_producer`](Self::is_producer), which is true.
    #[inline(always)]
    pub(crate) unsafe fn commit(&self, bytes: u64, messages: u64) -> bool {
        // SAFETY: the caller's promise.
        let side = unsafe { &mut *self.ends.producer.get() };
        if bytes > side.reserved || side.reserved == 0 {
            return false;
        }
        self.publish(side, bytes, messages);
        true
    }

    #[inline(always)]
    fn publish(&self, side: &mut Side, bytes: u64, messages: u64) {
        side.reserved = 0;
        side.at = self.forward(side.at, bytes);
        side.messages = side.messages.wrapping_add(messages);
        let produced = &self.placed.control().produced;
        produced.messages.store(side.messages, Ordering::Relaxed);
        produced.tail.store(side.at.position, PUBLISH); // `tail`
    }

    /// Publishes a frame of `bytes` bytes, at whose beginning `header` writes, if what was reserved has the first `needed` of them. The bytes up to
    /// the next frame's place were not handed out, but there is room for them.
    ///
    /// # Safety
    /// As [`is_producer`](Self::is_producer), but that it is true.
    #[inline(always)]
    pub(super) unsafe fn commit_frame(&self, bytes: u64, needed: u64, header: impl FnOnce(*mut u8)) -> bool {
        // SAFETY: the caller's promise.
        let side = unsafe { &mut *self.ends.producer.get() };
        let reserved = needed <= side.reserved;
        if reserved {
            header(self.placed.byte(side.at.offset));
            self.publish(side, bytes, 1);
        }
        reserved
    }

    /// The address of the next bytes and how many there are, if there are `bytes` at least. Nothing is consumed.
    ///
    /// # Safety
    /// As [`is_consumer`](Self::is_consumer), which is true.
    pub(crate) unsafe fn peek(&self, bytes: u64) -> Result<Option<(*mut u8, u64)>> {
        // SAFETY: the caller's promise.
        let side = unsafe { &mut *self.ends.consumer.get() };
        if side.limit - side.at.position < bytes && !self.find_bytes(side, bytes)? {
            return Ok(None);
        }
        Ok(Some((self.placed.byte(side.at.offset), side.limit - side.at.position)))
    }

    #[inline(never)]
    fn find_bytes(&self, side: &mut Side, bytes: u64) -> Result<bool> {
        let control = self.placed.control();
        let tail = control.produced.tail.load(Ordering::Acquire); // `tail`
        if !self.is_sound(side, tail) {
            return Err(self.corrupt(side.released, tail));
        }
        self.go_up_to(side, tail);
        let found = tail - side.at.position >= bytes;
        if !found && !side.again {
            side.waits = side.waits.wrapping_add(1);
            control.consumed.empty.store(side.waits, Ordering::Relaxed);
        }
        Ok(found)
    }

    /// Whether this can be what the producer says after what it said before.
    #[inline(always)]
    fn is_sound(&self, side: &Side, tail: u64) -> bool {
        tail >= side.limit && tail - side.released <= self.capacity && tail & self.mask == 0
    }

    #[inline(always)]
    fn go_up_to(&self, side: &mut Side, tail: u64) {
        side.limit = tail;
        if cfg!(not(loom)) {
            // From the line that has just come.
            side.keep_from = self.placed.control().produced.keep_from.load(Ordering::Relaxed);
        }
        if tail - side.released > side.high {
            side.high = tail - side.released;
            self.placed.control().consumed.high.store(side.high, Ordering::Relaxed);
        }
    }

    /// As [`peek`](Self::peek) in the usual case; `None`, with nothing done, also when it must first be looked for bytes, or found out whether we are
    /// the consumer.
    ///
    /// # Safety
    /// As [`is_consumer`](Self::is_consumer), but that it is true.
    #[inline(always)]
    pub(crate) unsafe fn peek_at_once(&self, bytes: u64) -> Option<(*mut u8, u64)> {
        // SAFETY: the caller's promise.
        let side = unsafe { &*self.ends.consumer.get() };
        let there = side.limit - side.at.position;
        let known = there >= bytes && bytes > 0 && self.is_wiped();
        known.then(|| (self.placed.byte(side.at.offset), there))
    }

    /// Looks how far the producer is; false when no further, or nowhere that makes sense, or when it must first be found out whether we are the
    /// consumer. That nothing came does not count.
    ///
    /// # Safety
    /// As [`is_consumer`](Self::is_consumer), but that it is true.
    #[inline(always)]
    pub(crate) unsafe fn look_at_once(&self) -> bool {
        // SAFETY: the caller's promise.
        let side = unsafe { &mut *self.ends.consumer.get() };
        if side.who == 0 || !self.is_wiped() {
            return false;
        }
        let tail = self.placed.control().produced.tail.load(Ordering::Acquire); // `tail`
        let further = tail > side.limit && self.is_sound(side, tail);
        if further {
            self.go_up_to(side, tail);
        }
        further
    }

    /// Goes over the next `bytes`, which stay where they are until they are [`release`](Self::release)d. False when there are not
    /// as many.
    ///
    /// # Safety
    /// As [`is_consumer`](Self::is_consumer), which is true.
    #[inline(always)]
    pub(crate) unsafe fn pass(&self, bytes: u64, messages: u64) -> bool {
        // SAFETY: the caller's promise.
        let side = unsafe { &mut *self.ends.consumer.get() };
        if bytes > side.limit - side.at.position {
            return false;
        }
        side.at = self.forward(side.at, bytes);
        side.messages = side.messages.wrapping_add(messages);
        true
    }

    /// Whether anything was gone over and not given back.
    ///
    /// # Safety
    /// As [`is_consumer`](Self::is_consumer), which is true.
    #[inline(always)]
    pub(crate) unsafe fn is_held(&self) -> bool {
        // SAFETY: the caller's promise.
        let side = unsafe { &*self.ends.consumer.get() };
        side.at.position != side.released
    }

    /// Gives back all that was gone over. The address of no byte before is good any more.
    ///
    /// # Safety
    /// As [`is_consumer`](Self::is_consumer), which is true.
    #[inline(always)]
    pub(crate) unsafe fn release(&self) {
        // SAFETY: the caller's promise.
        let side = unsafe { &mut *self.ends.consumer.get() };
        if side.keep_from != 0 {
            self.keep(side);
        }
        side.released = side.at.position;
        let consumed = &self.placed.control().consumed;
        consumed.messages.store(side.messages, Ordering::Relaxed);
        consumed.head.store(side.at.position, Ordering::Release); // `head`
    }

    /// Stores to the lines that are done with, which changes nothing.
    #[cold]
    fn keep(&self, side: &Side) {
        let (from, to) = (side.keep_from.max(side.released), side.at.position);
        if from >= to {
            return;
        }
        let begin = self.placed.byte(from % self.capacity);
        for line in 0..to / LINE - from / LINE {
            let byte = begin.wrapping_add((line * LINE) as usize);
            // SAFETY: between `released` and `at`, where nobody else writes before `head` passes it.
            unsafe { byte.write_volatile(byte.read_volatile()) };
        }
    }
}

#[cfg(all(test, not(loom)))]
pub(super) mod tests {
    use super::super::layout::{Framing, Shape};
    use super::*;
    use crate::os::doubled::Doubled;
    use crate::os::mapping::Mapping;
    use crate::os::object::{Build, Unlinked};
    use crate::os::process;
    use crate::segment::Region;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::os::fd::AsFd;

    /// A byte queue in memory of its own. Handles may be made at will: each has its own ends.
    pub(in super::super) struct TestQueue {
        pub(in super::super) placed: Placed,
        _doubled: Doubled,
        _mapping: Mapping,
    }

    impl TestQueue {
        pub(in super::super) fn new(framing: Option<Framing>, start: u64) -> Self {
            let page = process::page_size();
            let object =
                Unlinked::new(std::path::Path::new("/dev/shm"), 2 * page as u64, 0o600, None, Build::Best).unwrap();
            let mapping = Mapping::new(object.file().as_fd(), 2 * page, false).unwrap();
            let shape = Shape { capacity: page as u64, framing };
            // SAFETY: the mapping lives as long as this; its second page is the buffer.
            let (doubled, placed) = unsafe {
                let doubled = Doubled::new(mapping.base().add(page), page).unwrap();
                let placed = Placed::new(Region::new(mapping.base(), 2 * page), doubled.base(), shape).unwrap();
                (doubled, placed)
            };
            placed.control().produced.tail.store(start, Ordering::Relaxed);
            placed.control().consumed.head.store(start, Ordering::Relaxed);
            Self { placed, _doubled: doubled, _mapping: mapping }
        }

        pub(in super::super) fn stream(&self) -> Stream {
            let stream = Stream::new(self.placed);
            // SAFETY: tests use a stream from one thread.
            unsafe {
                stream.succeed_producer(1).unwrap();
                stream.succeed_consumer(1).unwrap();
            }
            stream
        }
    }

    fn write(stream: &Stream, bytes: &[u8], commit: usize) -> bool {
        // SAFETY: one thread; inside what was reserved.
        unsafe {
            let Some(place) = stream.reserve(bytes.len() as u64).unwrap() else { return false };
            place.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            stream.commit(commit as u64, 1)
        }
    }

    fn read(stream: &Stream, least: usize, consume: usize) -> Option<Vec<u8>> {
        // SAFETY: one thread; inside what is shown.
        unsafe {
            let (place, there) = stream.peek(least as u64).unwrap()?;
            let bytes = std::slice::from_raw_parts(place, there as usize).to_vec();
            if stream.pass(consume as u64, 1) {
                stream.release();
            }
            Some(bytes)
        }
    }

    #[test]
    fn the_whole_capacity_can_be_one_piece_wherever_it_begins() {
        let page = process::page_size() as u64;
        for start in [0, 1, page / 2, page - 1, 17 * page + 3] {
            let test = TestQueue::new(None, start);
            let stream = test.stream();
            let bytes: Vec<u8> = (0..page).map(|i| (i % 251) as u8).collect();
            assert!(write(&stream, &bytes, bytes.len()));
            // SAFETY: one thread.
            assert_eq!(unsafe { stream.reserve(1) }.unwrap(), None);
            assert_eq!(read(&stream, bytes.len(), bytes.len()), Some(bytes));
            assert_eq!(read(&stream, 1, 0), None);
        }
    }

    #[test]
    fn what_was_not_committed_is_not_there_and_what_was_not_consumed_is() {
        let test = TestQueue::new(None, 0);
        let stream = test.stream();
        assert!(write(&stream, b"abcdef", 3));
        // SAFETY: one thread.
        unsafe {
            assert!(!stream.commit(1, 1) && !stream.commit(0, 1), "nothing is reserved any more");
            let _ = stream.reserve(10).unwrap();
            assert!(!stream.commit(11, 1));
        }
        let heir = test.stream();
        assert_eq!(read(&heir, 1, 1), Some(b"abc".to_vec()));
        // SAFETY: one thread.
        unsafe {
            assert!(heir.peek(2).unwrap().is_some() && heir.pass(2, 1));
        }
        assert_eq!(read(&test.stream(), 1, 2), Some(b"bc".to_vec()), "gone over, but not released");
        assert_eq!(test.stream().positions().unwrap(), (3, 3));
    }

    #[test]
    fn where_children_are_not_told_by_zeros_nothing_is_done_at_once() {
        let test = TestQueue::new(None, 0);
        // SAFETY: zeroed ends are ends that we are not.
        let kept = Stream::over(test.placed, unsafe { Wiped::kept() });
        for (stream, wiped) in [(test.stream(), true), (kept, false)] {
            assert_eq!(stream.is_wiped(), wiped, "the kernel of this machine wipes");
            // SAFETY: one thread.
            unsafe {
                stream.succeed_producer(1).unwrap();
                stream.succeed_consumer(1).unwrap();
                assert_eq!(stream.reserve_at_once(8).is_some(), wiped);
                assert!(write(&stream, b"abc", 3));
                assert_eq!(stream.look_at_once(), wiped);
                assert_eq!(stream.peek_at_once(3).is_some(), wiped);
                assert_eq!(read(&stream, 3, 3), Some(b"abc".to_vec()));
            }
        }
    }

    #[test]
    fn ends_that_we_are_not_do_nothing_at_once() {
        let test = TestQueue::new(None, 0);
        assert!(write(&test.stream(), b"abc", 3));
        let stream = Stream::new(test.placed);
        // SAFETY: one thread.
        unsafe {
            assert!(stream.reserve_at_once(1).is_none() && stream.reserve_at_once(0).is_none());
            assert!(!stream.commit(0, 0) && !stream.look_at_once() && !stream.is_held());
            assert!(stream.peek_at_once(1).is_none() && stream.peek_at_once(0).is_none());
        }
        assert_eq!(test.stream().positions().unwrap(), (0, 3));
    }

    #[test]
    fn bytes_are_the_same_however_they_are_copied_and_given_back() {
        let page = process::page_size() as u64;
        let test = TestQueue::new(None, page - 100);
        let stream = test.stream();
        let keep_from = &test.placed.control().produced.keep_from;
        let hint = || keep_from.load(Ordering::Relaxed);
        for (turn, far) in (0..600).map(|turn| (turn, turn / 100 % 2 == 1)) {
            let bytes: Vec<u8> = (0..1 + turn * 37 % page).map(|i| (i * 7 + turn) as u8).collect();
            // SAFETY: one thread.
            unsafe {
                let side = &mut *stream.ends.producer.get();
                (0..10).for_each(|_| stream.note_distance(side, if far { 120 } else { 20 }));
                assert!(side.is_far() == far && (hint() != 0) == far);
                side.measured_until = u64::MAX;
                let place = stream.reserve(bytes.len() as u64).unwrap().unwrap();
                stream.fill(place, bytes.as_ptr(), bytes.len() as u64);
                assert!(stream.commit(bytes.len() as u64, 1));
            }
            let (_, tail) = stream.positions().unwrap();
            assert!(!far || (hint() == tail) == (bytes.len() as u64 >= LARGE), "past what went past the caches");
            assert_eq!(read(&stream, bytes.len(), 0).as_ref(), Some(&bytes));
            assert_eq!(read(&stream, bytes.len(), bytes.len() / 2).as_ref(), Some(&bytes));
            assert_eq!(read(&stream, 1, bytes.len().div_ceil(2)).unwrap(), bytes[bytes.len() / 2..]);
        }
        assert_ne!(hint(), 0);
        let near = test.stream();
        // SAFETY: one thread.
        unsafe { near.note_distance(&mut *near.ends.producer.get(), 20) };
        assert_eq!(hint(), 0, "a successor takes back what its predecessor had asked for");
    }

    #[test]
    fn what_waits_for_a_new_consumer_counts_as_waiting() {
        let test = TestQueue::new(None, 0);
        assert!(write(&test.stream(), b"abc", 3));
        assert_eq!(read(&test.stream(), 1, 3), Some(b"abc".to_vec()));
        assert_eq!(test.placed.control().consumed.high.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn counters_that_a_peer_filled_wrap_around() {
        let test = TestQueue::new(None, 0);
        let control = test.placed.control();
        let words = [&control.produced.messages, &control.produced.full, &control.consumed.messages];
        words.into_iter().chain([&control.consumed.empty]).for_each(|word| word.store(u64::MAX, Ordering::Relaxed));
        let stream = test.stream();
        assert_eq!(read(&stream, 1, 1), None);
        assert!(write(&stream, b"abc", 3));
        // SAFETY: one thread.
        assert_eq!(unsafe { stream.reserve(4096) }.unwrap(), None);
        assert_eq!(read(&stream, 3, 3), Some(b"abc".to_vec()));
        assert_eq!(control.produced.messages.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn positions_between_the_places_of_messages_are_refused_at_both_ends() {
        let framing = Some(Framing { align: 64, times: false });
        for (head, tail) in [(8, 64), (0, 8), (64, 100), (1, 1)] {
            let test = TestQueue::new(framing, 0);
            let stream = test.stream();
            test.placed.control().produced.tail.store(tail, Ordering::Relaxed);
            test.placed.control().consumed.head.store(head, Ordering::Relaxed);
            // SAFETY: one thread.
            unsafe {
                assert!(stream.succeed_producer(2).is_err() && stream.succeed_consumer(2).is_err(), "{head} to {tail}");
                assert!(tail == 64 || stream.peek(16).is_err());
            }
        }
    }

    #[test]
    fn scribbled_positions_end_in_an_outcome() {
        let test = TestQueue::new(None, 0);
        let mut seed = 0x1234_5678_9abc_def1_u64;
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let stream = test.stream();
        let longest = process::page_size() as u64;
        for _ in 0..50_000 {
            let control = test.placed.control();
            let position = random() >> (random() % 64);
            let bytes = random() % (longest + 1);
            // SAFETY: one thread; inside what was reserved or shown.
            unsafe {
                match random() % 8 {
                    0 if position % 2 == 0 => control.produced.keep_from.store(position, Ordering::Relaxed),
                    0 => control.produced.tail.store(position, Ordering::Relaxed),
                    1 => control.consumed.head.store(position, Ordering::Relaxed),
                    2 => {
                        if let Ok(Some(place)) = stream.reserve(bytes) {
                            place.write_bytes(7, bytes as usize);
                        }
                    }
                    3 => drop(stream.commit(bytes, 1)),
                    4 => {
                        if let Ok(Some((place, there))) = stream.peek(bytes) {
                            assert!(there <= longest);
                            drop(std::slice::from_raw_parts(place, there as usize).to_vec());
                        }
                    }
                    5 => {
                        stream.pass(bytes, 1);
                        stream.release();
                    }
                    6 => drop(stream.succeed_producer(1)),
                    _ => drop(stream.succeed_consumer(1)),
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_order_of_operations_agrees_with_a_deque(
            start in prop_oneof![0_u64..9000, Just(FAR - (1 << 30))],
            operations in prop::collection::vec((0_u8..5, 1_usize..4097, 0_usize..4097), 1..60),
        ) {
            let test = TestQueue::new(None, start);
            let mut stream = test.stream();
            let mut model: VecDeque<u8> = VecDeque::new();
            let mut next = 0_u8;
            for (operation, bytes, part) in operations {
                match operation {
                    0 | 1 => {
                        let data: Vec<u8> = (0..bytes).map(|i| next.wrapping_add(i as u8)).collect();
                        let commit = part.min(bytes);
                        let fits = bytes <= 4096 - model.len();
                        prop_assert_eq!(write(&stream, &data, commit), fits);
                        if fits {
                            model.extend(&data[..commit]);
                            next = next.wrapping_add(commit as u8);
                        }
                    }
                    2 | 3 => {
                        let found = read(&stream, bytes, part);
                        if bytes <= model.len() {
                            let there = found.unwrap();
                            // What was committed since the last look need not be shown.
                            prop_assert!(there.len() >= bytes && there.len() <= model.len());
                            prop_assert!(model.iter().zip(&there).all(|(a, b)| a == b));
                            if part <= there.len() {
                                model.drain(..part);
                            }
                        } else {
                            prop_assert_eq!(found, None);
                        }
                    }
                    _ => stream = test.stream(),
                }
            }
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::super::layout::{Control, Shape};
    use super::*;
    use crate::segment::region::heap::HeapRegion;
    use crate::shared::{Dynamic, load_element, store_element};
    use crate::sync::explore;
    use loom::cell::UnsafeCell as Cell;
    use loom::sync::Arc;

    const CELL: u64 = size_of::<Cell<u64>>() as u64;
    const CAPACITY: u64 = 2;

    /// A queue whose bytes come in cells, which report every race on them. It is not mapped twice, so nothing is longer than one.
    struct Model {
        placed: Placed,
        _heap: HeapRegion,
    }

    // SAFETY: atomics, and cells that report whatever is shared wrongly.
    unsafe impl Sync for Model {}
    // SAFETY: as above.
    unsafe impl Send for Model {}

    fn model() -> Arc<Model> {
        let first = size_of::<Control>().next_multiple_of(align_of::<Cell<u64>>());
        let heap = HeapRegion::new(first + (CAPACITY * CELL) as usize);
        // SAFETY: the heap is fresh, large enough and ours; everything is written before it is used.
        let placed = unsafe {
            heap.region().base().cast::<Control>().write(Control::new());
            let buffer = heap.region().base().add(first);
            (0..CAPACITY).for_each(|i| buffer.add((i * CELL) as usize).cast().write(Cell::new(0_u64)));
            let shape = Shape { capacity: CAPACITY * CELL, framing: None };
            Placed::new(heap.region(), buffer, shape).unwrap()
        };
        Arc::new(Model { placed, _heap: heap })
    }

    #[test]
    fn loom_bytes_arrive_and_are_overwritten_only_after_they_were_read() {
        explore(|| {
            let model = model();
            // Made here, as loom remembers only the last access of a word: loads in the thread would hide ours.
            let (producer, consumer) = (Stream::new(model.placed), Stream::new(model.placed));
            // SAFETY: one thread per end.
            unsafe {
                producer.succeed_producer(1).unwrap();
                consumer.succeed_consumer(2).unwrap();
            }
            let thread = {
                let model = model.clone();
                loom::thread::spawn(move || {
                    let _keep = model;
                    // SAFETY: one thread per end; reserved.
                    (0..4_u64)
                        .filter(|sent| unsafe {
                            let Some(place) = producer.reserve(CELL).unwrap() else { return false };
                            store_element(Dynamic(8), std::ptr::from_ref(sent).cast(), place);
                            producer.commit(CELL, 1)
                        })
                        .collect::<Vec<_>>()
                })
            };
            let mut got = Vec::new();
            let mut take = || {
                // SAFETY: one thread per end; shown.
                unsafe {
                    if let Some((place, _)) = consumer.peek(CELL).unwrap() {
                        let mut value = 9_u64;
                        load_element(Dynamic(8), place, std::ptr::from_mut(&mut value).cast());
                        assert!(consumer.pass(CELL, 1));
                        consumer.release();
                        got.push(value);
                    }
                }
            };
            (0..2).for_each(|_| take());
            let sent = thread.join().unwrap();
            (0..2).for_each(|_| take());
            assert_eq!(got, sent);
        });
    }
}
