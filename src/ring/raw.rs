//! Handles on a ring whose element size is known at run time: what the C ABI calls, and what `Ring<T>` is a face of.

use std::ptr::NonNull;
use std::time::Duration;

use super::RingStart;
use super::layout::{Control, FLAG_OVERWRITE, Geometry, Shape};
use super::stream::{Cursor, Stream, Taken};
use crate::error::{Result, Status, fail};
use crate::segment::{Element, Entry, Kind, Region, Request, Section, Segment, section_bytes};
use crate::shared::{EventCount, Holder, SLICE, SPIN, poll};
use crate::sync::Ordering;
use crate::sync::private::AtomicU64;

/// What a ring is asked to be, or expected to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingShape {
    /// Elements, rounded up to a power of two; when opening, 0: any.
    pub(crate) capacity: u64,
    pub(crate) elem_size: u64,
    /// 0: what suits the size.
    pub(crate) elem_align: u32,
    pub(crate) overwrite: bool,
    pub(crate) type_tag: u64,
    pub(crate) exclusive: bool,
}

impl RingShape {
    fn geometry(&self) -> Result<Geometry> {
        let element = Element::new(self.elem_size, self.elem_align)?;
        if self.capacity == 0 {
            return Err(fail!(Invalid, "a ring needs room for at least 1 element, not 0"));
        }
        let (elem_size, elem_align) = (element.size, element.align);
        self.capacity
            .checked_next_power_of_two()
            .and_then(|capacity| Geometry::new(Shape { overwrite: self.overwrite, capacity, elem_size, elem_align }))
            .ok_or_else(|| element.too_many("ring", self.capacity))
    }

    /// Bytes of a segment that such a ring takes, wherever it comes to lie.
    pub(crate) fn bytes(&self) -> Result<u64> {
        let geometry = self.geometry()?;
        section_bytes(geometry.bytes, geometry.align())
            .ok_or_else(|| fail!(Invalid, "a ring of {} elements is too large", self.capacity))
    }

    /// Whether an existing ring is what this asks for; the error names both.
    fn accept(&self, entry: &Entry) -> Result<()> {
        let manner = |overwrite| if overwrite { "overwrites what is old" } else { "waits for its consumer" };
        let overwrite = entry.flags & FLAG_OVERWRITE != 0;
        if overwrite != self.overwrite {
            let (found, wanted) = (manner(overwrite), manner(self.overwrite));
            return Err(fail!(Mismatch, "ring '{}' is one that {found}, not one that {wanted}", entry.name));
        }
        Element { size: self.elem_size, align: self.elem_align }.accept(entry)?;
        entry.accept_count(self.capacity, self.capacity.checked_next_power_of_two())?;
        entry.accept_tag(self.type_tag)
    }
}

/// What a ring is, how full it is, and what went through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingStats {
    /// How many elements it has room for.
    pub capacity: u64,
    /// How many elements the consumer would find now; where there is none, how many there are.
    pub size: u64,
    /// Bytes of an element.
    pub elem_size: u64,
    /// Alignment of an element.
    pub elem_align: u32,
    /// Whether the writer overwrites what is old, rather than wait.
    pub overwrite: bool,
    /// How many elements were ever written.
    pub written: u64,
    /// How many of them the consumer popped or skipped.
    pub read: u64,
    /// How many the consumer found overwritten.
    pub lost: u64,
    /// The participant who writes; 0: nobody.
    pub writer: u32,
    /// The participant who pops; 0: nobody.
    pub consumer: u32,
}

/// What both kinds of handle have.
#[derive(Debug)]
struct Common {
    section: Section,
    stream: Stream,
    control: NonNull<Control>,
    geometry: Geometry,
    spin: AtomicU64,
}

// SAFETY: the pointer is to shared memory that `section` keeps open; atomics only.
unsafe impl Send for Common {}
// SAFETY: as above.
unsafe impl Sync for Common {}

impl Common {
    fn over(section: Section) -> Result<Self> {
        let entry = section.entry();
        let geometry = Geometry::of(entry)?;
        let Some(placed) = geometry.place(section.region()) else {
            return Err(fail!(Corrupt, "ring '{}' does not fit into its section", entry.name));
        };
        let control = placed.control().into();
        Ok(Self { section, stream: Stream::new(placed), control, geometry, spin: AtomicU64::new(SPIN) })
    }

    fn control(&self) -> &Control {
        // SAFETY: from `place`; atomics only.
        unsafe { self.control.as_ref() }
    }

    fn set_spin(&self, limit: Duration) {
        self.spin.store(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Repeats `attempt` while it says that it did not come to anything.
    fn wait(
        &self,
        event: &EventCount,
        timeout: Duration,
        mut attempt: impl FnMut() -> Result<Status>,
    ) -> Result<Status> {
        let spin = self.spin.load(Ordering::Relaxed);
        let attempt = || match attempt() {
            Ok(Status::Full | Status::Empty | Status::Lapped) => None,
            other => Some(other),
        };
        let outcome = if self.section.segment().attachment().is_read_only() {
            poll(timeout, spin, attempt)
        } else {
            event.wait(timeout, spin, || SLICE, attempt)
        };
        outcome.unwrap_or(Ok(Status::Timeout))
    }
}

/// A handle on the ring, which may have its ends.
#[derive(Debug)]
pub(crate) struct RawRing {
    common: Common,
    /// Tells this handle from the other handles of this process.
    handle: u64,
}

impl RawRing {
    pub(crate) fn create(segment: &Segment, name: &str, shape: &RingShape) -> Result<Self> {
        let geometry = shape.geometry()?;
        let request = Request {
            name,
            kind: Kind::Ring,
            flags: if shape.overwrite { FLAG_OVERWRITE } else { 0 },
            size: geometry.bytes,
            align: geometry.align(),
            elem_size: geometry.shape.elem_size,
            elem_align: geometry.shape.elem_align,
            count: geometry.shape.capacity,
            type_tag: shape.type_tag,
        };
        // A zeroed section is an empty ring: nothing is left to initialise.
        Self::over(segment.create_section(&request, shape.exclusive, |entry| shape.accept(entry))?)
    }

    /// `expected`: what the ring must be; `None` takes it as it is.
    pub(crate) fn open(segment: &Segment, name: &str, expected: Option<&RingShape>) -> Result<Self> {
        Self::over(
            segment.open_section(name, Kind::Ring, |entry| expected.map_or(Ok(()), |shape| shape.accept(entry)))?,
        )
    }

    /// Refuses the ring if it is not what this shape says.
    pub(crate) fn expect(&self, shape: &RingShape) -> Result<()> {
        shape.accept(self.entry())
    }

    /// Another handle on the same ring.
    pub(crate) fn reopen(&self) -> Result<Self> {
        let other = Self::over(self.common.section.reopen()?)?;
        other.common.spin.store(self.common.spin.load(Ordering::Relaxed), Ordering::Relaxed);
        Ok(other)
    }

    fn over(section: Section) -> Result<Self> {
        Ok(Self { common: Common::over(section)?, handle: Section::next_handle() })
    }

    /// A reader of this ring with a position of its own.
    pub(crate) fn reader(&self, start: RingStart) -> Result<RawReader> {
        let common = Common::over(self.common.section.reopen()?)?;
        let mut reader = RawReader { common, cursor: Cursor::default() };
        reader.seek(start)?;
        Ok(reader)
    }

    pub(crate) fn entry(&self) -> &Entry {
        self.common.section.entry()
    }

    pub(crate) fn span(&self) -> NonNull<[u8]> {
        self.common.section.region().bytes()
    }

    pub(crate) fn elem_size(&self) -> usize {
        self.common.geometry.size
    }

    pub(crate) fn set_spin(&self, limit: Duration) {
        self.common.set_spin(limit);
    }

    fn who(&self) -> u32 {
        self.common.section.segment().attachment().who()
    }

    fn holder(&self) -> Holder {
        Holder::new(self.common.section.segment().attachment().me(), self.handle)
    }

    /// Wakes those who sleep on `event`, after the condition they wait for was made true.
    #[inline(always)]
    fn wake(&self, event: &EventCount) {
        event.notify(self.common.section.segment().attachment().is_fenced());
    }

    /// The algorithm, of which we are the writer.
    #[inline(always)]
    fn as_writer(&self) -> Result<&Stream> {
        // SAFETY: the contract of a handle: one thread per end.
        if !unsafe { self.common.stream.is_writer(self.who()) } {
            self.become_writer()?;
        }
        Ok(&self.common.stream)
    }

    /// The algorithm, of which we are the consumer.
    #[inline(always)]
    fn as_consumer(&self) -> Result<&Stream> {
        // SAFETY: the contract of a handle: one thread per end.
        if !unsafe { self.common.stream.is_consumer(self.who()) } {
            self.become_consumer()?;
        }
        Ok(&self.common.stream)
    }

    #[cold]
    fn become_writer(&self) -> Result<()> {
        let end = &self.common.control().events.writer;
        self.common.section.take_end(end, self.holder(), "writer")?;
        // SAFETY: the contract of a handle: one thread per end.
        unsafe { self.common.stream.succeed_writer(self.who()) }
    }

    #[cold]
    fn become_consumer(&self) -> Result<()> {
        let end = &self.common.control().events.consumer;
        self.common.section.take_end(end, self.holder(), "consumer")?;
        // SAFETY: the contract of a handle: one thread per end.
        unsafe { self.common.stream.succeed_consumer(self.who()) }
    }

    /// Writes elements, of which `done` are written already: `Ok` when all are, or `Full`.
    ///
    /// # Safety
    /// `elements` is readable for `count` elements. No other thread uses the writing end of this handle at the same time.
    #[inline(always)]
    pub(crate) unsafe fn push(&self, elements: *const u8, count: usize, done: &mut usize) -> Result<Status> {
        let stream = self.as_writer()?;
        let before = *done;
        while *done < count {
            // SAFETY: the caller's promises; inside the elements.
            match unsafe { stream.push(elements.add(*done * self.elem_size()), count - *done) } {
                Ok(0) => break,
                Ok(some) => *done += some,
                // What is in stays in; the error comes back with the next call.
                Err(error) if *done == before => return Err(error),
                Err(_) => break,
            }
        }
        if *done > before {
            self.wake(&self.common.control().events.items);
        }
        Ok(if *done == count { Status::Ok } else { Status::Full })
    }

    /// As [`push`](Self::push), waiting up to `timeout` for room.
    ///
    /// # Safety
    /// As [`push`](Self::push).
    pub(crate) unsafe fn push_wait(
        &self,
        elements: *const u8,
        count: usize,
        timeout: Duration,
        done: &mut usize,
    ) -> Result<Status> {
        // SAFETY: the caller's promises.
        self.common.wait(&self.common.control().events.space, timeout, || unsafe { self.push(elements, count, done) })
    }

    /// Takes up to `count` elements, adding to `taken`: `Ok`; `Empty`; `Lapped` when those there were are lost.
    ///
    /// # Safety
    /// `out` is writable for `count` elements. No other thread uses the consuming end of this handle at the same time.
    #[inline(always)]
    pub(crate) unsafe fn pop(&self, out: *mut u8, count: usize, taken: &mut Taken) -> Result<Status> {
        // SAFETY: the caller's promises.
        let some = unsafe { self.as_consumer()?.pop(count, out) }?;
        if some.count > 0 {
            self.wake(&self.common.control().events.space);
        }
        Ok(add(taken, some, count))
    }

    /// As [`pop`](Self::pop), waiting up to `timeout` for the first.
    ///
    /// # Safety
    /// As [`pop`](Self::pop).
    pub(crate) unsafe fn pop_wait(
        &self,
        out: *mut u8,
        count: usize,
        timeout: Duration,
        taken: &mut Taken,
    ) -> Result<Status> {
        // SAFETY: the caller's promises.
        self.common.wait(&self.common.control().events.items, timeout, || unsafe { self.pop(out, count, taken) })
    }

    /// Passes over up to `count` elements as the consumer.
    ///
    /// # Safety
    /// No other thread uses the consuming end of this handle at the same time.
    pub(crate) unsafe fn skip(&self, count: u64) -> Result<u64> {
        // SAFETY: the caller's promise.
        let skipped = unsafe { self.as_consumer()?.skip(count) }?;
        self.wake(&self.common.control().events.space);
        Ok(skipped)
    }

    /// Copies up to `count` elements that lie `offset` after the consumer's next; nobody's position changes.
    ///
    /// # Safety
    /// `out` is writable for `count` elements.
    pub(crate) unsafe fn peek(&self, offset: u64, out: *mut u8, count: usize) -> Result<usize> {
        let (read, lost) = self.common.stream.consumed()?;
        let written = self.common.stream.written()?;
        // The two were read at different moments.
        let position = (read + lost).min(written);
        // SAFETY: the caller's promise.
        unsafe { self.common.stream.peek(position, offset, count, out) }
    }

    /// Copies the newest `count` elements, oldest first; says how many.
    ///
    /// # Safety
    /// `out` is writable for `count` elements.
    pub(crate) unsafe fn last(&self, out: *mut u8, count: usize) -> Result<usize> {
        // SAFETY: the caller's promise.
        unsafe { self.common.stream.last(count, out) }
    }

    pub(crate) fn stats(&self) -> Result<RingStats> {
        let Common { stream, geometry: Geometry { shape, .. }, .. } = &self.common;
        let (read, lost) = stream.consumed()?;
        let (oldest, written) = stream.span()?;
        let events = &self.common.control().events;
        Ok(RingStats {
            capacity: shape.capacity,
            size: written.saturating_sub((read + lost).max(oldest)),
            elem_size: shape.elem_size,
            elem_align: shape.elem_align,
            overwrite: shape.overwrite,
            written,
            read,
            lost,
            writer: events.writer.participant(),
            consumer: events.consumer.participant(),
        })
    }
}

impl Drop for RawRing {
    fn drop(&mut self) {
        let holder = self.holder();
        if holder.participant() != 0 {
            let events = &self.common.control().events;
            events.writer.leave(holder);
            events.consumer.leave(holder);
        }
    }
}

/// A reader with a position of its own, of which nobody else knows.
#[derive(Debug)]
pub(crate) struct RawReader {
    common: Common,
    cursor: Cursor,
}

impl RawReader {
    pub(crate) fn entry(&self) -> &Entry {
        self.common.section.entry()
    }

    pub(crate) fn elem_size(&self) -> usize {
        self.common.geometry.size
    }

    pub(crate) fn set_spin(&self, limit: Duration) {
        self.common.set_spin(limit);
    }

    /// Where it is, and what it got and lost.
    pub(crate) fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// How many elements it is behind the writer; some of them may be overwritten already.
    pub(crate) fn lag(&self) -> Result<u64> {
        Ok(self.common.stream.written()?.saturating_sub(self.cursor.position))
    }

    /// Goes elsewhere. What lies between counts neither as read nor as lost.
    pub(crate) fn seek(&mut self, to: RingStart) -> Result<()> {
        let (oldest, written) = self.common.stream.span()?;
        self.cursor.position = match to {
            RingStart::Oldest => oldest,
            RingStart::Newest => written,
            RingStart::At(position) if position <= written => position,
            RingStart::At(position) => {
                let name = &self.entry().name;
                return Err(fail!(
                    Invalid,
                    "ring '{name}' has {written} elements written; {position} is not among them"
                ));
            }
        };
        Ok(())
    }

    /// Reads up to `count` elements, adding to `taken`: `Ok`; `Empty`; `Lapped` when those there were are lost.
    ///
    /// # Safety
    /// `out` is writable for `count` elements.
    #[inline(always)]
    pub(crate) unsafe fn read(&mut self, out: *mut u8, count: usize, taken: &mut Taken) -> Result<Status> {
        // SAFETY: the caller's promise.
        let some = unsafe { self.common.stream.read(&mut self.cursor, count, out) }?;
        Ok(add(taken, some, count))
    }

    /// As [`read`](Self::read), waiting up to `timeout` for the first.
    ///
    /// # Safety
    /// As [`read`](Self::read).
    pub(crate) unsafe fn read_wait(
        &mut self,
        out: *mut u8,
        count: usize,
        timeout: Duration,
        taken: &mut Taken,
    ) -> Result<Status> {
        let Self { common, cursor } = self;
        common.wait(&common.control().events.items, timeout, || {
            // SAFETY: the caller's promise.
            let some = unsafe { common.stream.read(cursor, count, out) }?;
            Ok(add(taken, some, count))
        })
    }

    /// Passes over up to `count` elements, as if they had been read.
    pub(crate) fn skip(&mut self, count: u64) -> Result<u64> {
        self.common.stream.pass(&mut self.cursor, count)
    }

    /// Copies up to `count` elements that lie `offset` after the next; the position does not change.
    ///
    /// # Safety
    /// `out` is writable for `count` elements.
    pub(crate) unsafe fn peek(&self, offset: u64, out: *mut u8, count: usize) -> Result<usize> {
        // SAFETY: the caller's promise.
        unsafe { self.common.stream.peek(self.cursor.position, offset, count, out) }
    }
}

/// Adds what one attempt brought, and says what it came to.
fn add(taken: &mut Taken, some: Taken, wanted: usize) -> Status {
    taken.count += some.count;
    taken.lost += some.lost;
    if some.count > 0 || wanted == 0 {
        Status::Ok
    } else if some.lost > 0 {
        Status::Lapped
    } else {
        Status::Empty
    }
}

/// Whether `dead` was writing. Of elements that it had announced and did not come to publish, nothing is seen. A successor that has
/// not come to write as many yet looks the same, and rightly so: what was announced to go before its time is still missing.
pub(crate) fn is_unfinished(entry: &Entry, section: Region, dead: u32) -> bool {
    Geometry::of(entry).ok().and_then(|geometry| geometry.place(section)).is_some_and(|placed| {
        let Control { events, written, .. } = placed.control();
        let announced = written.announced.load(Ordering::Acquire);
        events.writer.is_held_by(dead) && announced > written.written.load(Ordering::Acquire)
    })
}

/// Frees the ends that `dead` had. Bytes that make no sense have nothing to give back.
pub(crate) fn reclaim(entry: &Entry, section: Region, dead: u32) -> bool {
    if let Some(placed) = Geometry::of(entry).ok().and_then(|geometry| geometry.place(section)) {
        let events = &placed.control().events;
        events.writer.reclaim(dead);
        events.consumer.reclaim(dead);
    }
    true
}
