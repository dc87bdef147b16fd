//! A handle on a queue whose element size is known at run time: what the C ABI calls, and what `Queue<T>` is a face of.
//!
//! Here the two algorithms meet the segment: who we are, who is dead, who waits.

use std::ptr::NonNull;
use std::time::Duration;

use super::layout::{Control, FLAG_SPSC, Geometry, Mode, Placed, Shape};
use super::mpmc::Mpmc;
use super::spsc::{self, Inline, Spsc};
use super::{Attempt, Claimed};
use crate::error::{Error, Result, Status, fail};
use crate::os::process;
use crate::segment::{Element, Entry, Kind, Region, Request, Section, Segment, section_bytes};
use crate::shared::{Dynamic, EventCount, Holder, SLICE, SPIN, Width};
use crate::sync::Ordering;
use crate::sync::private::{AtomicBool, AtomicU32, AtomicU64};

/// What a queue is asked to be, or expected to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueShape {
    pub(crate) mode: Mode,
    /// Elements, rounded up to a power of two; when opening, 0: any.
    pub(crate) capacity: u64,
    pub(crate) elem_size: u64,
    /// 0: what suits the size.
    pub(crate) elem_align: u32,
    pub(crate) type_tag: u64,
    pub(crate) exclusive: bool,
}

impl QueueShape {
    pub(crate) fn geometry(&self) -> Result<Geometry> {
        let element = Element::new(self.elem_size, self.elem_align)?;
        if self.capacity == 0 {
            return Err(fail!(Invalid, "a queue needs room for at least 1 element, not 0"));
        }
        let (elem_size, elem_align) = (element.size, element.align);
        self.capacity
            .checked_next_power_of_two()
            .and_then(|capacity| Geometry::new(Shape { mode: self.mode, capacity, elem_size, elem_align }))
            .ok_or_else(|| element.too_many("queue", self.capacity))
    }

    /// Bytes of a segment that such a queue takes, wherever it comes to lie.
    pub(crate) fn bytes(&self) -> Result<u64> {
        let geometry = self.geometry()?;
        section_bytes(geometry.bytes, geometry.align())
            .ok_or_else(|| fail!(Invalid, "a queue of {} elements is too large", self.capacity))
    }

    /// Whether an existing queue is what this asks for; the error names both.
    fn accept(&self, entry: &Entry) -> Result<()> {
        let name = &entry.name;
        let mode = if entry.flags & FLAG_SPSC != 0 { Mode::Spsc } else { Mode::Mpmc };
        if mode != self.mode {
            return Err(fail!(Mismatch, "queue '{name}' is {mode:?}, not {:?}", self.mode));
        }
        Element { size: self.elem_size, align: self.elem_align }.accept(entry)?;
        entry.accept_count(self.capacity, self.capacity.checked_next_power_of_two())?;
        entry.accept_tag(self.type_tag)
    }
}

/// What a queue is and how full it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueStats {
    /// Who may use it.
    pub mode: Mode,
    /// How many elements it has room for.
    pub capacity: u64,
    /// How many elements there are now; a moment later it may be another number.
    pub size: u64,
    /// Bytes of an element.
    pub elem_size: u64,
    /// Alignment of an element.
    pub elem_align: u32,
    /// How many elements were ever enqueued, aborted ones included.
    pub enqueued: u64,
    /// How many elements were ever dequeued, aborted ones included.
    pub dequeued: u64,
    /// Whether it was shut down.
    pub shut_down: bool,
}

#[derive(Debug)]
enum Core {
    Mpmc(Mpmc),
    Spsc(Box<Spsc>),
}

/// How long an operation looks at the same foreign owner before it asks the kernel whether that owner lives.
const PATIENCE: u64 = 1_000_000;

#[derive(Debug)]
pub(crate) struct RawQueue {
    section: Section,
    placed: Placed,
    core: Core,
    /// Tells this handle from the other handles of this process.
    handle: u64,
    /// Whether wakers have to fence for themselves.
    fenced: bool,
    /// Whether the last enqueue found no room.
    was_full: AtomicBool,
    spin: AtomicU64,
    /// Who holds up our enqueueing.
    full: Stuck,
    /// Who holds up our dequeueing.
    empty: Stuck,
}

/// The owner we are stuck behind (0: nobody), and since when.
#[derive(Debug, Default)]
struct Stuck {
    owner: AtomicU32,
    since: AtomicU64,
}

impl Stuck {
    /// Notes whom we are stuck behind; true, once in a while, when it is time to ask whether they live.
    #[cold]
    fn behind(&self, owner: u32) -> bool {
        let now = process::now();
        let same = self.owner.swap(owner, Ordering::Relaxed) == owner;
        if same && now.saturating_sub(self.since.load(Ordering::Relaxed)) < PATIENCE {
            return false;
        }
        self.since.store(now, Ordering::Relaxed);
        same
    }

    fn slice(&self) -> u64 {
        if self.owner.load(Ordering::Relaxed) == 0 { SLICE } else { PATIENCE }
    }
}

impl RawQueue {
    pub(crate) fn create(segment: &Segment, name: &str, shape: &QueueShape) -> Result<Self> {
        let geometry = shape.geometry()?;
        let request = Request {
            name,
            kind: Kind::Queue,
            flags: if shape.mode == Mode::Spsc { FLAG_SPSC } else { 0 },
            size: geometry.bytes,
            align: geometry.align(),
            elem_size: geometry.shape.elem_size,
            elem_align: geometry.shape.elem_align,
            count: geometry.shape.capacity,
            type_tag: shape.type_tag,
        };
        // A zeroed section is an empty queue: nothing is left to initialise.
        Self::over(segment.create_section(&request, shape.exclusive, |entry| shape.accept(entry))?)
    }

    /// `expected`: what the queue must be; `None` takes it as it is.
    pub(crate) fn open(segment: &Segment, name: &str, expected: Option<&QueueShape>) -> Result<Self> {
        Self::over(
            segment.open_section(name, Kind::Queue, |entry| expected.map_or(Ok(()), |shape| shape.accept(entry)))?,
        )
    }

    /// Refuses the queue if it is not what this shape says.
    pub(crate) fn expect(&self, shape: &QueueShape) -> Result<()> {
        shape.accept(self.section.entry())
    }

    /// Another handle on the same queue.
    pub(crate) fn reopen(&self) -> Result<Self> {
        let other = Self::over(self.section.reopen()?)?;
        other.spin.store(self.spin.load(Ordering::Relaxed), Ordering::Relaxed);
        Ok(other)
    }

    fn over(section: Section) -> Result<Self> {
        let entry = section.entry();
        let geometry = Geometry::of(entry)?;
        let Some(placed) = geometry.place(section.region()) else {
            return Err(fail!(Corrupt, "queue '{}' does not fit into its section", entry.name));
        };
        let core = match geometry.shape.mode {
            Mode::Mpmc => Core::Mpmc(Mpmc::new(placed)),
            Mode::Spsc => Core::Spsc(Box::new(Spsc::new(placed))),
        };
        let fenced = section.segment().attachment().is_fenced();
        Ok(Self {
            section,
            placed,
            core,
            handle: Section::next_handle(),
            fenced,
            was_full: AtomicBool::new(false),
            spin: AtomicU64::new(SPIN),
            full: Stuck::default(),
            empty: Stuck::default(),
        })
    }

    pub(crate) fn entry(&self) -> &Entry {
        self.section.entry()
    }

    pub(crate) fn span(&self) -> NonNull<[u8]> {
        self.section.region().bytes()
    }

    pub(crate) fn name(&self) -> &str {
        &self.entry().name
    }

    pub(crate) fn mode(&self) -> Mode {
        self.placed.geometry.shape.mode
    }

    pub(crate) fn elem_size(&self) -> usize {
        self.placed.geometry.shape.elem_size as usize
    }

    pub(crate) fn set_spin(&self, limit: Duration) {
        self.spin.store(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    #[inline(always)]
    fn control(&self) -> &Control {
        self.placed.control()
    }

    /// Our participant id; 0 when we may not own anything.
    #[inline(always)]
    fn me(&self) -> u32 {
        self.section.segment().attachment().me()
    }

    /// As [`me`](Self::me), and not to be confused with a parent whose handle we have copied.
    #[inline(always)]
    fn who(&self) -> u32 {
        self.section.segment().attachment().who()
    }

    /// Wakes those who sleep on `event`, after the condition they wait for was made true.
    #[inline(always)]
    fn wake(&self, event: &EventCount) {
        event.notify(self.fenced);
    }

    /// The producer's side of an operation: checks, and which algorithm.
    #[inline(always)]
    fn produce<T>(
        &self,
        mpmc: impl Fn(&Mpmc, u32) -> Result<Attempt<T>>,
        spsc: impl Fn(&Spsc) -> Result<Attempt<T>>,
    ) -> Result<Step<T>> {
        if self.control().is_shut() {
            return Ok(Step::Stop(Status::Closed));
        }
        match &self.core {
            Core::Mpmc(queue) => {
                let me = self.me();
                self.patiently(me, Status::Full, || mpmc(queue, me))
            }
            Core::Spsc(queue) => {
                // SAFETY: the contract of a handle: one thread per end.
                if !unsafe { queue.is_producer(|| self.who()) } {
                    self.become_producer(queue)?;
                }
                Ok(Step::of(spsc(queue)?, Status::Full))
            }
        }
    }

    /// The consumer's side of an operation.
    #[inline(always)]
    fn consume<T>(
        &self,
        mpmc: impl Fn(&Mpmc, u32) -> Result<Attempt<T>>,
        spsc: impl Fn(&Spsc) -> Attempt<T>,
    ) -> Result<Step<T>> {
        match &self.core {
            Core::Mpmc(queue) => {
                let me = self.me();
                self.patiently(me, Status::Empty, || mpmc(queue, me))
            }
            Core::Spsc(queue) => {
                // SAFETY: the contract of a handle: one thread per end.
                if !unsafe { queue.is_consumer(|| self.who()) } {
                    self.become_consumer(queue)?;
                }
                Ok(Step::of(spsc(queue), Status::Empty))
            }
        }
    }

    /// Tries, and looks whether whoever is in the way is dead.
    #[inline(always)]
    fn patiently<T>(&self, me: u32, otherwise: Status, attempt: impl Fn() -> Result<Attempt<T>>) -> Result<Step<T>> {
        if me == 0 {
            return Err(self.section.unregistered());
        }
        match attempt()? {
            Attempt::Done(value) => Ok(Step::Done(value)),
            Attempt::Not => {
                self.stuck(otherwise).owner.store(0, Ordering::Relaxed);
                Ok(Step::Stop(otherwise))
            }
            Attempt::Behind(owner) => {
                if self.stuck(otherwise).behind(owner) && self.section.bury_if_dead(owner) {
                    Ok(Step::of(attempt()?, otherwise))
                } else {
                    Ok(Step::Stop(otherwise))
                }
            }
        }
    }

    /// Who is in the way of an operation that would otherwise end with this status.
    fn stuck(&self, otherwise: Status) -> &Stuck {
        if otherwise == Status::Full { &self.full } else { &self.empty }
    }

    fn holder(&self, me: u32) -> Holder {
        Holder::new(me, self.handle)
    }

    #[cold]
    fn become_producer(&self, queue: &Spsc) -> Result<()> {
        self.section.take_end(&self.control().events.producer, self.holder(self.me()), "SPSC producer")?;
        // SAFETY: the contract of a handle: one thread per end.
        unsafe { queue.succeed_producer(self.who()) }
    }

    #[cold]
    fn become_consumer(&self, queue: &Spsc) -> Result<()> {
        self.section.take_end(&self.control().events.consumer, self.holder(self.me()), "SPSC consumer")?;
        // SAFETY: the contract of a handle: one thread per end.
        unsafe { queue.succeed_consumer(self.who()) }
    }

    /// Enqueues a copy of an element: `Ok`, `Full` or `Closed`.
    ///
    /// # Safety
    /// `element` is readable for `width`, which is the queue's element size. If SPSC, no other thread uses the producer
    /// end of this handle at the same time (here and in every function that enqueues).
    #[inline(always)]
    pub(crate) unsafe fn enqueue<W: Width>(&self, width: W, element: *const u8) -> Result<Status> {
        // SAFETY: the caller's promises.
        unsafe { if self.enqueue_at_once(width, element) { Ok(Status::Ok) } else { self.enqueue_otherwise(element) } }
    }

    /// As [`enqueue`](Self::enqueue) in the usual case, which cannot fail; false, with nothing done, in any other.
    ///
    /// # Safety
    /// As [`enqueue`](Self::enqueue).
    #[inline(always)]
    pub(crate) unsafe fn enqueue_at_once<W: Width>(&self, width: W, element: *const u8) -> bool {
        if self.control().is_shut() {
            return false;
        }
        let done = match &self.core {
            // SAFETY: the caller's promises.
            Core::Spsc(queue) => unsafe { queue.enqueue_in_run(width, element) },
            Core::Mpmc(queue) => {
                let me = self.me();
                // Who waits for room looks before it claims.
                let may = me != 0 && !self.was_full.load(Ordering::Relaxed);
                // SAFETY: the caller's promises.
                may && unsafe { queue.enqueue_at_once(me, width, element) }
            }
        };
        if done {
            self.wake(&self.control().events.items);
        }
        done
    }

    /// # Safety
    /// As [`enqueue`](Self::enqueue).
    #[inline(never)]
    pub(crate) unsafe fn enqueue_otherwise(&self, element: *const u8) -> Result<Status> {
        let width = Dynamic(self.elem_size());
        // SAFETY: the caller's promises.
        let step = self.produce(
            |queue, me| unsafe { queue.enqueue(me, width, element) },
            |queue| unsafe { queue.enqueue(width, element) },
        )?;
        if step.is_done() {
            self.wake(&self.control().events.items);
        }
        self.was_full.store(!step.is_done(), Ordering::Relaxed);
        Ok(step.status())
    }

    /// Dequeues an element: `Ok`, `Empty` or `Closed`.
    ///
    /// # Safety
    /// `element` is writable for `width`, which is the queue's element size. If SPSC, no other thread uses the consumer
    /// end of this handle at the same time (here and in every function that dequeues).
    #[inline(always)]
    pub(crate) unsafe fn dequeue<W: Width>(&self, width: W, element: *mut u8) -> Result<Status> {
        // SAFETY: the caller's promises.
        unsafe {
            if self.dequeue_at_once(width, element) || self.look_at_once() && self.dequeue_at_once(width, element) {
                Ok(Status::Ok)
            } else {
                self.dequeue_otherwise(element)
            }
        }
    }

    /// As [`dequeue`](Self::dequeue) in the usual case, which cannot fail; false, with nothing done, in any other.
    ///
    /// # Safety
    /// As [`dequeue`](Self::dequeue).
    #[inline(always)]
    pub(crate) unsafe fn dequeue_at_once<W: Width>(&self, width: W, element: *mut u8) -> bool {
        let done = match &self.core {
            // SAFETY: the caller's promises.
            Core::Spsc(queue) => unsafe { queue.dequeue_in_run(width, element) },
            Core::Mpmc(queue) => {
                let me = self.me();
                // SAFETY: the caller's promises.
                me != 0 && unsafe { queue.dequeue_at_once(me, width, element) }
            }
        };
        if done {
            self.wake(&self.control().events.space);
        }
        done
    }

    /// Whether [`dequeue_at_once`](Self::dequeue_at_once) may succeed now that it has not: there are news, for a consumer who looks for them
    /// only now and then.
    ///
    /// # Safety
    /// As [`dequeue`](Self::dequeue).
    #[inline(always)]
    pub(crate) unsafe fn look_at_once(&self) -> bool {
        // SAFETY: the caller's promise.
        matches!(&self.core, Core::Spsc(queue) if unsafe { queue.look_at_once() })
    }

    /// # Safety
    /// As [`dequeue`](Self::dequeue).
    #[inline(never)]
    pub(crate) unsafe fn dequeue_otherwise(&self, element: *mut u8) -> Result<Status> {
        let width = Dynamic(self.elem_size());
        // SAFETY: the caller's promises.
        let step = self.consume(
            |queue, me| unsafe { queue.dequeue(me, width, element) },
            |queue| unsafe { queue.dequeue(width, element) },
        )?;
        if step.is_done() {
            self.wake(&self.control().events.space);
            return Ok(Status::Ok);
        }
        Ok(self.empty_or_closed())
    }

    /// Empty; or, after a shutdown, closed. An element that came in between is found by the next call.
    fn empty_or_closed(&self) -> Status {
        if !self.control().is_shut() {
            return Status::Empty;
        }
        let (tail, head) = self.positions();
        // A producer that died before it stored its position leaves it behind the consumer's.
        if tail.wrapping_sub(head) as i64 <= 0 { Status::Closed } else { Status::Empty }
    }

    /// Enqueues as many as there is room for of `count` elements, of which `done` are in already; `Ok` when all are in then.
    ///
    /// # Safety
    /// As [`enqueue`](Self::enqueue), for `count` elements one after the other.
    pub(crate) unsafe fn enqueue_bulk<W: Width>(
        &self,
        width: W,
        elements: *const u8,
        count: usize,
        done: &mut usize,
    ) -> Result<Status> {
        let bytes = self.elem_size();
        let before = *done;
        let mut status = Status::Ok;
        while *done < count && status == Status::Ok {
            // SAFETY: inside the caller's elements.
            let rest = unsafe { elements.add(*done * bytes) };
            // SAFETY: the caller's promises.
            let step = self.produce(
                |queue, me| Ok(unsafe { queue.enqueue(me, width, rest) }?.map(|()| 1)),
                |queue| Ok(some(unsafe { queue.enqueue_bulk(width, rest, bytes, count - *done) }?)),
            );
            match step {
                Ok(Step::Done(moved)) => *done += moved,
                Ok(Step::Stop(reason)) => status = reason,
                // What is in stays in; the error comes back with the next call.
                Err(error) if *done == before => return Err(error),
                Err(_) => status = Status::Full,
            }
        }
        if *done > before {
            self.wake(&self.control().events.items);
        }
        Ok(status)
    }

    /// Dequeues up to `count` elements and says how many; `Empty` or `Closed` when none.
    ///
    /// # Safety
    /// As [`dequeue`](Self::dequeue), for `count` elements one after the other.
    pub(crate) unsafe fn dequeue_bulk<W: Width>(
        &self,
        width: W,
        elements: *mut u8,
        count: usize,
        done: &mut usize,
    ) -> Result<Status> {
        let bytes = self.elem_size();
        while *done < count {
            // SAFETY: inside the caller's elements.
            let rest = unsafe { elements.add(*done * bytes) };
            // SAFETY: the caller's promises.
            let step = self.consume(
                |queue, me| Ok(unsafe { queue.dequeue(me, width, rest) }?.map(|()| 1)),
                |queue| some(unsafe { queue.dequeue_bulk(width, rest, bytes, count - *done) }),
            );
            match step {
                Ok(Step::Done(moved)) => *done += moved,
                Ok(Step::Stop(_)) => break,
                Err(error) if *done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        if *done > 0 {
            self.wake(&self.control().events.space);
            return Ok(Status::Ok);
        }
        Ok(if count == 0 { Status::Ok } else { self.empty_or_closed() })
    }

    /// Claims a slot to be filled in place.
    ///
    /// # Safety
    /// If SPSC, one thread per end, as for [`enqueue`](Self::enqueue).
    pub(crate) unsafe fn claim(&self) -> Result<Result<Claimed, Status>> {
        // SAFETY: the caller's promise.
        let step = self.produce(|queue, me| queue.claim(me), |queue| unsafe { queue.claim() })?;
        self.section.note_held();
        Ok(step.value())
    }

    /// Publishes a claimed slot.
    ///
    /// # Safety
    /// As [`claim`](Self::claim).
    pub(crate) unsafe fn commit(&self, position: u64) -> Result<()> {
        let me = self.me();
        let mine = match &self.core {
            Core::Mpmc(queue) => me != 0 && queue.commit(me, position),
            // SAFETY: the caller's promise.
            Core::Spsc(queue) => unsafe { queue.is_producer(|| self.who()) && queue.commit(position) },
        };
        if !mine {
            return Err(self.not_held(position, "claimed"));
        }
        self.wake(&self.control().events.items);
        Ok(())
    }

    /// Gives a claimed slot up, unseen.
    ///
    /// # Safety
    /// As [`claim`](Self::claim).
    pub(crate) unsafe fn abort(&self, position: u64) -> Result<()> {
        let me = self.me();
        let mine = match &self.core {
            Core::Mpmc(queue) => me != 0 && queue.abort(me, position),
            // SAFETY: the caller's promise.
            Core::Spsc(queue) => unsafe { queue.is_producer(|| self.who()) && queue.abort(position) },
        };
        if !mine {
            return Err(self.not_held(position, "claimed"));
        }
        // Consumers may have been waiting for this slot, and find the ones after it; producers can have it.
        self.wake(&self.control().events.items);
        self.wake(&self.control().events.space);
        Ok(())
    }

    /// Takes the next element, to be read in place.
    ///
    /// # Safety
    /// If SPSC, one thread per end, as for [`dequeue`](Self::dequeue).
    pub(crate) unsafe fn peek(&self) -> Result<Result<Claimed, Status>> {
        // SAFETY: the caller's promise.
        let step = self.consume(|queue, me| queue.peek(me), |queue| unsafe { queue.peek() })?;
        self.section.note_held();
        Ok(step.value().map_err(|_| self.empty_or_closed()))
    }

    /// Gives the slot of a peeked element back.
    ///
    /// # Safety
    /// As [`peek`](Self::peek).
    pub(crate) unsafe fn release(&self, position: u64) -> Result<()> {
        let me = self.me();
        let mine = match &self.core {
            Core::Mpmc(queue) => me != 0 && queue.release(me, position),
            // SAFETY: the caller's promise.
            Core::Spsc(queue) => unsafe { queue.is_consumer(|| self.who()) && queue.release(position) },
        };
        if !mine {
            return Err(self.not_held(position, "peeked"));
        }
        self.wake(&self.control().events.space);
        Ok(())
    }

    #[cold]
    fn not_held(&self, position: u64, how: &str) -> Error {
        fail!(Invalid, "position {position} of queue '{}' is not {how} by this attachment", self.name())
    }

    /// Repeats `attempt` while it says `retry`, spinning and then sleeping on the event that it may change, until the time is
    /// up. A `timeout` of zero tries once.
    pub(crate) fn wait<T>(
        &self,
        retry: Status,
        timeout: Duration,
        mut attempt: impl FnMut() -> Result<Result<T, Status>>,
    ) -> Result<Result<T, Status>> {
        let events = &self.control().events;
        let event = if retry == Status::Full { &events.space } else { &events.items };
        let spin = self.spin.load(Ordering::Relaxed);
        let attempt = || match attempt() {
            Ok(Err(status)) if status == retry => None,
            other => Some(other),
        };
        match event.wait(timeout, spin, || self.stuck(retry).slice(), attempt) {
            Some(outcome) => outcome,
            None => Ok(Err(Status::Timeout)),
        }
    }

    /// What inline code outside of this library works on, if there can be any.
    pub(crate) fn inline(&self) -> Option<Inline<'_>> {
        match &self.core {
            Core::Spsc(queue) if !self.fenced => queue.inline(),
            _ => None,
        }
    }

    /// Wakes whoever sleeps.
    pub(crate) fn wake_all(&self) {
        self.control().events.items.notify_slow();
        self.control().events.space.notify_slow();
    }

    /// No more enqueues; consumers take what there is.
    pub(crate) fn shutdown(&self) -> Result<()> {
        if self.me() == 0 {
            return Err(self.section.unregistered());
        }
        self.control().events.shut.store(1, Ordering::Release);
        self.wake_all();
        Ok(())
    }

    fn positions(&self) -> (u64, u64) {
        match &self.core {
            Core::Mpmc(queue) => queue.positions(),
            Core::Spsc(queue) => queue.positions(),
        }
    }

    pub(crate) fn stats(&self) -> QueueStats {
        let shape = self.placed.geometry.shape;
        let (enqueued, dequeued) = self.positions();
        // Read at two moments, so the difference may come out negative.
        let size = (enqueued.wrapping_sub(dequeued) as i64).clamp(0, shape.capacity as i64) as u64;
        QueueStats {
            mode: shape.mode,
            capacity: shape.capacity,
            size,
            elem_size: shape.elem_size,
            elem_align: shape.elem_align,
            enqueued,
            dequeued,
            shut_down: self.control().is_shut(),
        }
    }
}

impl Drop for RawQueue {
    fn drop(&mut self) {
        let me = self.me();
        if me == 0 || matches!(self.core, Core::Mpmc(_)) {
            return;
        }
        let events = &self.control().events;
        events.producer.leave(self.holder(me));
        events.consumer.leave(self.holder(me));
    }
}

/// What became of a try, after everything that could be done about it.
enum Step<T> {
    Done(T),
    Stop(Status),
}

impl<T> Step<T> {
    #[inline(always)]
    fn of(attempt: Attempt<T>, otherwise: Status) -> Self {
        match attempt {
            Attempt::Done(value) => Self::Done(value),
            Attempt::Not | Attempt::Behind(_) => Self::Stop(otherwise),
        }
    }

    #[inline(always)]
    fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }

    #[inline(always)]
    fn status(&self) -> Status {
        match self {
            Self::Done(_) => Status::Ok,
            Self::Stop(status) => *status,
        }
    }

    fn value(self) -> Result<T, Status> {
        match self {
            Self::Done(value) => Ok(value),
            Self::Stop(status) => Err(status),
        }
    }
}

/// How many were moved; none is not done.
fn some(moved: usize) -> Attempt<usize> {
    if moved == 0 { Attempt::Not } else { Attempt::Done(moved) }
}

/// Whether `dead` was enqueueing or dequeueing.
pub(crate) fn is_unfinished(entry: &Entry, section: Region, dead: u32) -> bool {
    let Some(placed) = Geometry::of(entry).ok().and_then(|geometry| geometry.place(section)) else { return false };
    match placed.geometry.shape.mode {
        Mode::Mpmc => Mpmc::new(placed).is_owner(dead),
        Mode::Spsc => spsc::is_unfinished(placed.control(), dead),
    }
}

/// Gives back what `dead` owned in a queue. Bytes that make no sense have nothing to give back.
pub(crate) fn reclaim(entry: &Entry, section: Region, dead: u32) -> bool {
    let Some(placed) = Geometry::of(entry).ok().and_then(|geometry| geometry.place(section)) else { return true };
    let control = placed.control();
    let freed = match placed.geometry.shape.mode {
        Mode::Mpmc => Mpmc::new(placed).reclaim(dead),
        Mode::Spsc => {
            spsc::reclaim(control, dead);
            false
        }
    };
    if freed {
        // Those who slept behind the dead one find something else now.
        control.events.items.notify_slow();
        control.events.space.notify_slow();
    }
    true
}
