//! A handle on a byte queue: what the C ABI calls, and what `ByteQueue` is a face of.

use std::ptr::NonNull;
use std::time::Duration;

use super::frames::Received;
use super::layout::{Control, FLAG_FRAMED, FLAG_TIMES, Framing, Placed, Shape};
use super::stream::Stream;
use crate::error::{Error, Result, Status, fail};
use crate::os::doubled::Doubled;
use crate::os::process;
use crate::segment::{Entry, Kind, Region, Request, Section, Segment, section_bytes};
use crate::shared::{EventCount, Holder, SLICE, SPIN};
use crate::sync::Ordering;
use crate::sync::private::AtomicU64;

/// What a byte queue is asked to be, or expected to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ByteQueueShape {
    /// Bytes of the longest message, or stretch; rounded up to pages. When opening, 0: any.
    pub(crate) capacity: u64,
    /// `None`: bytes without borders.
    pub(crate) framing: Option<Framing>,
    pub(crate) type_tag: u64,
    pub(crate) exclusive: bool,
}

impl ByteQueueShape {
    fn shape(&self) -> Result<Shape> {
        if self.capacity == 0 {
            return Err(fail!(Invalid, "a byte queue needs room for at least 1 byte, not 0"));
        }
        if let Some(framing) = self.framing {
            check(framing)?;
        }
        let page = process::page_size() as u64;
        let header = self.framing.map_or(0, Framing::header);
        self.capacity
            .checked_add(header)
            .and_then(|bytes| bytes.checked_next_multiple_of(page))
            // Twice the buffer has to fit into the address space.
            .filter(|bytes| *bytes <= (i64::MAX / 4) as u64)
            .map(|capacity| Shape { capacity, framing: self.framing })
            .ok_or_else(|| {
                fail!(Invalid, "a byte queue of {} bytes is more than this machine can address", self.capacity)
            })
    }

    /// Bytes of a segment that such a queue takes, wherever it comes to lie.
    pub(crate) fn bytes(&self) -> Result<u64> {
        let page = process::page_size() as u64;
        let shape = self.shape()?;
        section_bytes(page + shape.capacity, page)
            .ok_or_else(|| fail!(Invalid, "a byte queue of {} bytes is too large", self.capacity))
    }

    /// Whether an existing queue is what this asks for; the error names both.
    fn accept(&self, entry: &Entry) -> Result<()> {
        let name = &entry.name;
        let found = framing_of(entry);
        if found != self.framing {
            let (is, asked) = (describe(found), describe(self.framing));
            return Err(fail!(Mismatch, "byte queue '{name}' has {is}, not {asked}"));
        }
        if self.capacity != 0 && self.shape()?.capacity != entry.count {
            let (has, asked) = (entry.count, self.capacity);
            return Err(fail!(
                Mismatch,
                "byte queue '{name}' has a buffer of {has} bytes, which is not what {asked} bytes need"
            ));
        }
        entry.accept_tag(self.type_tag)
    }
}

fn check(framing: Framing) -> Result<()> {
    if framing.align.is_power_of_two() && (8..=64).contains(&framing.align) {
        return Ok(());
    }
    Err(fail!(Invalid, "an alignment of {} is not one of 8, 16, 32 and 64, which messages can have", framing.align))
}

fn describe(framing: Option<Framing>) -> String {
    match framing {
        None => "bytes without borders".to_owned(),
        Some(Framing { align, times: false }) => format!("messages aligned to {align}"),
        Some(Framing { align, times: true }) => format!("messages with times, aligned to {align}"),
    }
}

fn framing_of(entry: &Entry) -> Option<Framing> {
    let times = entry.flags & FLAG_TIMES != 0;
    (entry.flags & FLAG_FRAMED != 0).then_some(Framing { align: entry.elem_align.into(), times })
}

/// What a byte queue is, how full it is, and what went through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteQueueStats {
    /// Bytes of the buffer, headers of messages included.
    pub capacity: u64,
    /// The longest message, or stretch of bytes, that it can take.
    pub longest: u64,
    /// Bytes that wait, headers included.
    pub used: u64,
    /// The longest message, or stretch of bytes, for which there is room now; 0 also when not even an empty message fits.
    pub room: u64,
    /// Messages sent; of a queue without messages, commits. A death just before the step that publishes leaves it 1 too high.
    pub sent: u64,
    /// Messages received and released; of a queue without messages, consumptions. Those that a dead consumer was just releasing may count twice.
    pub received: u64,
    /// Bytes sent, headers included.
    pub bytes_sent: u64,
    /// Bytes received, headers included.
    pub bytes_received: u64,
    /// How often the producer found no room; a waiting call counts once.
    pub full: u64,
    /// How often the consumer found nothing; a waiting call counts once.
    pub empty: u64,
    /// The most bytes the consumer ever found waiting.
    pub high_water: u64,
    /// Whether nothing more will come.
    pub ended: bool,
    /// The participant who sends; 0: nobody.
    pub producer: u32,
    /// The participant who receives; 0: nobody.
    pub consumer: u32,
}

#[derive(Debug)]
pub(crate) struct RawByteQueue {
    stream: Stream,
    placed: Placed,
    /// Keeps the buffer mapped.
    _doubled: Doubled,
    section: Section,
    /// Tells this handle from the other handles of this process.
    handle: u64,
    spin: AtomicU64,
}

impl RawByteQueue {
    pub(crate) fn create(segment: &Segment, name: &str, expected: &ByteQueueShape) -> Result<Self> {
        let (shape, page) = (expected.shape()?, process::page_size() as u64);
        let flags = match shape.framing {
            None => 0,
            Some(framing) => FLAG_FRAMED | if framing.times { FLAG_TIMES } else { 0 },
        };
        let request = Request {
            name,
            kind: Kind::ByteQueue,
            flags,
            size: page + shape.capacity,
            align: page,
            elem_size: 1,
            elem_align: shape.framing.map_or(1, |framing| framing.align as u32),
            count: shape.capacity,
            type_tag: expected.type_tag,
        };
        // A zeroed section is an empty queue: nothing is left to initialise. But there may be no room for it in the address space, and then it is not made.
        let mut doubled = None;
        let accept = |entry: &Entry| expected.accept(entry);
        let section = segment.create_section_with(&request, expected.exclusive, accept, |section| {
            doubled = section.part(page, shape.capacity).map(|buffer| double(buffer, name)).transpose()?;
            Ok(())
        })?;
        Self::over(section, doubled)
    }

    /// `expected`: what the queue must be; `None` takes it as it is.
    pub(crate) fn open(segment: &Segment, name: &str, expected: Option<&ByteQueueShape>) -> Result<Self> {
        Self::over(
            segment
                .open_section(name, Kind::ByteQueue, |entry| expected.map_or(Ok(()), |shape| shape.accept(entry)))?,
            None,
        )
    }

    /// Another handle on the same queue.
    pub(crate) fn reopen(&self) -> Result<Self> {
        let other = Self::over(self.section.reopen()?, None)?;
        other.spin.store(self.spin.load(Ordering::Relaxed), Ordering::Relaxed);
        Ok(other)
    }

    /// `doubled`: its buffer, if that is mapped already.
    fn over(section: Section, doubled: Option<Doubled>) -> Result<Self> {
        let entry = section.entry();
        let corrupt = || fail!(Corrupt, "the entry of byte queue '{}' makes no sense", entry.name);
        let (shape, buffer) = place(entry, section.region()).ok_or_else(corrupt)?;
        let doubled = doubled.map_or_else(|| double(buffer, &entry.name), Ok)?;
        if section.segment().attachment().is_prefaulted() {
            doubled.prefault();
        }
        // SAFETY: the buffer of this shape, doubled; the handle keeps it.
        let placed = unsafe { Placed::new(section.region(), doubled.base(), shape) }.ok_or_else(corrupt)?;
        let (handle, spin) = (Section::next_handle(), AtomicU64::new(SPIN));
        Ok(Self { stream: Stream::new(placed), placed, _doubled: doubled, section, handle, spin })
    }

    pub(crate) fn entry(&self) -> &Entry {
        self.section.entry()
    }

    pub(crate) fn span(&self) -> NonNull<[u8]> {
        self.section.region().bytes()
    }

    pub(crate) fn longest(&self) -> u64 {
        self.placed.shape.longest()
    }

    pub(crate) fn framing(&self) -> Option<Framing> {
        self.placed.shape.framing
    }

    pub(crate) fn set_spin(&self, limit: Duration) {
        self.spin.store(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    #[inline(always)]
    fn control(&self) -> &Control {
        self.placed.control()
    }

    #[inline(always)]
    fn who(&self) -> u32 {
        self.section.segment().attachment().who()
    }

    fn holder(&self) -> Holder {
        Holder::new(self.section.segment().attachment().me(), self.handle)
    }

    /// Wakes those who sleep on `event`, after the condition they wait for was made true.
    #[inline(always)]
    fn wake(&self, event: &EventCount) {
        event.notify(self.section.segment().attachment().is_fenced());
    }

    /// The algorithm, of which we are the producer; `None` after the end of the stream.
    #[inline(always)]
    fn as_producer(&self) -> Result<Option<&Stream>> {
        // SAFETY: the contract of a handle: one thread per end.
        if !unsafe { self.stream.is_producer(self.who()) } {
            self.become_producer()?;
        }
        Ok((self.control().events.ended.load(Ordering::Relaxed) == 0).then_some(&self.stream))
    }

    /// The algorithm, of which we are the consumer.
    #[inline(always)]
    fn as_consumer(&self) -> Result<&Stream> {
        // SAFETY: the contract of a handle: one thread per end.
        if !unsafe { self.stream.is_consumer(self.who()) } {
            self.become_consumer()?;
        }
        Ok(&self.stream)
    }

    #[cold]
    fn become_producer(&self) -> Result<()> {
        self.section.take_end(&self.control().events.producer, self.holder(), "producer")?;
        // SAFETY: the contract of a handle: one thread per end.
        unsafe { self.stream.succeed_producer(self.who()) }
    }

    #[cold]
    fn become_consumer(&self) -> Result<()> {
        self.section.take_end(&self.control().events.consumer, self.holder(), "consumer")?;
        // SAFETY: the contract of a handle: one thread per end.
        unsafe { self.stream.succeed_consumer(self.who()) }
    }

    fn check_length(&self, length: u64) -> Result<()> {
        if length <= self.longest() && (length > 0 || self.framing().is_some()) {
            return Ok(());
        }
        let (name, longest) = (&self.entry().name, self.longest());
        if length == 0 {
            return Err(fail!(Invalid, "at least 1 byte of byte queue '{name}' has to be asked for, not 0"));
        }
        Err(fail!(Invalid, "{length} bytes never fit into byte queue '{name}', which takes {longest} at most"))
    }

    /// The framing; or an error that says that there are no messages in this queue.
    #[inline(always)]
    fn framed(&self) -> Result<Framing> {
        self.framing().ok_or_else(|| self.wrong_kind("bytes without borders, not messages"))
    }

    /// An error where there are messages in this queue.
    #[inline(always)]
    fn unframed(&self) -> Result<()> {
        if self.framing().is_none() { Ok(()) } else { Err(self.wrong_kind("messages, not bytes without borders")) }
    }

    #[cold]
    fn wrong_kind(&self, what: &str) -> Error {
        fail!(Invalid, "byte queue '{}' has {what}", self.entry().name)
    }

    /// As [`reserve`](Self::reserve) in the usual case, which cannot fail; `None`, with nothing done, in any other.
    ///
    /// # Safety
    /// As [`reserve`](Self::reserve).
    #[inline(always)]
    pub(crate) unsafe fn reserve_at_once(&self, bytes: u64) -> Option<*mut u8> {
        if self.control().events.ended.load(Ordering::Relaxed) != 0 {
            return None;
        }
        // SAFETY: the caller's promise.
        unsafe {
            match self.framing() {
                Some(framing) => self.stream.reserve_message_at_once(framing, bytes),
                None => self.stream.reserve_at_once(bytes),
            }
        }
    }

    /// Room for `bytes` bytes in one piece, or for a message of that length: an address, or `Full` or `Closed`.
    ///
    /// # Safety
    /// No other thread uses the producing end of this handle at the same time (here and in every function that sends).
    pub(crate) unsafe fn reserve(&self, bytes: u64) -> Result<Result<*mut u8, Status>> {
        self.check_length(bytes)?;
        let Some(stream) = self.as_producer()? else { return Ok(Err(Status::Closed)) };
        // SAFETY: the caller's promise; the length was checked.
        let place = unsafe {
            match self.framing() {
                Some(framing) => stream.reserve_message(framing, bytes),
                None => stream.reserve(bytes),
            }
        }?;
        Ok(place.ok_or(Status::Full))
    }

    /// As [`commit`](Self::commit) in the usual case, which cannot fail; false, with nothing done, in any other.
    ///
    /// # Safety
    /// As [`reserve`](Self::reserve).
    #[inline(always)]
    pub(crate) unsafe fn commit_at_once(&self, bytes: u64, tag: u64) -> bool {
        // SAFETY: the caller's promise.
        self.stream.is_wiped() && unsafe { self.commit_reserved(bytes, tag) }
    }

    /// False when not as many are reserved.
    ///
    /// # Safety
    /// As [`reserve`](Self::reserve).
    #[inline(always)]
    unsafe fn commit_reserved(&self, bytes: u64, tag: u64) -> bool {
        // SAFETY: the caller's promise.
        let mine = unsafe {
            match self.framing() {
                Some(framing) => self.stream.commit_message(framing, bytes, tag),
                None => self.stream.commit(bytes, u64::from(bytes > 0)),
            }
        };
        if mine {
            self.wake(&self.control().events.data);
        }
        mine
    }

    /// Publishes the first `bytes` of what was reserved, as a message with this tag where there are messages.
    ///
    /// # Safety
    /// As [`reserve`](Self::reserve).
    pub(crate) unsafe fn commit(&self, bytes: u64, tag: u64) -> Result<()> {
        // SAFETY: the caller's promise.
        if unsafe { self.stream.is_producer(self.who()) && self.commit_reserved(bytes, tag) } {
            return Ok(());
        }
        Err(fail!(Invalid, "{bytes} bytes of byte queue '{}' are not reserved by this handle", self.entry().name))
    }

    /// The next bytes in one piece, if there are `bytes` at least: address and number of all there are; `Empty` or `Closed`.
    ///
    /// # Safety
    /// No other thread uses the consuming end of this handle at the same time (here and in every function that receives).
    pub(crate) unsafe fn peek(&self, bytes: u64) -> Result<Result<(*mut u8, u64), Status>> {
        self.unframed()?;
        self.check_length(bytes)?;
        let stream = self.as_consumer()?;
        // SAFETY: the caller's promise.
        match unsafe { stream.peek(bytes) }? {
            Some(found) => Ok(Ok(found)),
            // SAFETY: the caller's promise.
            None => self.empty_or_closed(|stream| unsafe { stream.peek(bytes) }),
        }
    }

    /// Empty; or closed, if the stream has ended: then what came just before the end is looked for once more.
    #[cold]
    fn empty_or_closed<T>(&self, again: impl FnOnce(&Stream) -> Result<Option<T>>) -> Result<Result<T, Status>> {
        if self.control().events.ended.load(Ordering::Acquire) == 0 {
            return Ok(Err(Status::Empty));
        }
        Ok(again(&self.stream)?.ok_or(Status::Closed))
    }

    /// Gives the next `bytes` bytes back.
    ///
    /// # Safety
    /// As [`peek`](Self::peek).
    pub(crate) unsafe fn consume(&self, bytes: u64) -> Result<()> {
        self.unframed()?;
        // SAFETY: the caller's promise.
        let mine = unsafe { self.stream.is_consumer(self.who()) && self.stream.pass(bytes, u64::from(bytes > 0)) };
        if !mine {
            return Err(fail!(Invalid, "byte queue '{}' has not shown this handle {bytes} bytes", self.entry().name));
        }
        // SAFETY: the caller's promise.
        unsafe { self.give_back() };
        Ok(())
    }

    /// Gives up what was reserved.
    ///
    /// # Safety
    /// As [`reserve`](Self::reserve).
    pub(crate) unsafe fn abort(&self) -> Result<()> {
        // SAFETY: the caller's promise.
        if unsafe { self.give_up() } {
            return Ok(());
        }
        Err(fail!(Invalid, "nothing of byte queue '{}' is reserved by this handle", self.entry().name))
    }

    /// As [`abort`](Self::abort), for those who do not know whether anything is reserved; false when nothing was.
    ///
    /// # Safety
    /// As [`reserve`](Self::reserve).
    #[inline]
    pub(crate) unsafe fn give_up(&self) -> bool {
        // SAFETY: the caller's promise.
        let mine = unsafe { self.stream.reserved() > 0 && self.stream.is_producer(self.who()) };
        if mine {
            // SAFETY: the caller's promise.
            unsafe { self.stream.reserved_only(0) };
        }
        mine
    }

    /// As [`send`](Self::send) in the usual case, which cannot fail; false, with nothing done, in any other.
    ///
    /// # Safety
    /// As [`send`](Self::send).
    #[inline(always)]
    pub(crate) unsafe fn send_at_once(&self, data: *const u8, length: u64, tag: u64) -> bool {
        if self.framing().is_none() {
            return false;
        }
        // SAFETY: the caller's promises; reserved, and so committed.
        unsafe {
            let Some(place) = self.reserve_at_once(length) else { return false };
            self.stream.fill(place, data, length);
            self.commit_at_once(length, tag)
        }
    }

    /// Sends a copy of a message: `Ok`, `Full` or `Closed`.
    ///
    /// # Safety
    /// As [`reserve`](Self::reserve); `data` is readable for `length` bytes.
    pub(crate) unsafe fn send(&self, data: *const u8, length: u64, tag: u64) -> Result<Status> {
        self.framed()?;
        // SAFETY: the caller's promise.
        match unsafe { self.reserve(length) }? {
            Ok(place) => {
                // SAFETY: reserved, and the caller's promise.
                unsafe {
                    self.stream.fill(place, data, length);
                    self.commit(length, tag)?;
                }
                Ok(Status::Ok)
            }
            Err(status) => Ok(status),
        }
    }

    /// As [`send`](Self::send), waiting up to `timeout` for room.
    ///
    /// # Safety
    /// As [`send`](Self::send).
    pub(crate) unsafe fn send_wait(&self, data: *const u8, length: u64, tag: u64, timeout: Duration) -> Result<Status> {
        // SAFETY: the caller's promises.
        let attempt = || match unsafe { self.send(data, length, tag) }? {
            Status::Ok => Ok(Ok(())),
            status => Ok(Err(status)),
        };
        // SAFETY: the caller's promise.
        Ok(unsafe { self.wait(Status::Full, timeout, attempt) }?.err().unwrap_or(Status::Ok))
    }

    /// As [`receive`](Self::receive) in the usual case, which cannot fail; `None`, with nothing done, in any other.
    ///
    /// # Safety
    /// As [`peek`](Self::peek).
    #[inline(always)]
    pub(crate) unsafe fn receive_at_once(&self) -> Option<Received> {
        let framing = self.framing()?;
        // SAFETY: the caller's promise.
        unsafe {
            let message = self.stream.next_message_at_once(framing)?;
            self.stream.pass_message(framing, &message);
            Some(message)
        }
    }

    /// The next message where it lies, which stays there until [`release`](Self::release): or `Empty` or `Closed`. The one after it can be received
    /// meanwhile.
    ///
    /// # Safety
    /// As [`peek`](Self::peek).
    #[inline(always)]
    pub(crate) unsafe fn receive(&self) -> Result<Result<Received, Status>> {
        // SAFETY: the caller's promise.
        match unsafe { self.receive_at_once() } {
            Some(message) => Ok(Ok(message)),
            // SAFETY: the caller's promise.
            None => unsafe { self.receive_otherwise() },
        }
    }

    /// # Safety
    /// As [`peek`](Self::peek).
    #[cold]
    unsafe fn receive_otherwise(&self) -> Result<Result<Received, Status>> {
        let framing = self.framed()?;
        // SAFETY: the caller's promise.
        let found = unsafe { self.next_message() }?;
        if let Ok(message) = &found {
            // SAFETY: the caller's promise.
            unsafe { self.stream.pass_message(framing, message) };
        }
        Ok(found)
    }

    /// Receives as many messages as there are, up to `count`: `Ok` when at least one, or `count` is 0; else `Empty` or `Closed`.
    ///
    /// # Safety
    /// As [`peek`](Self::peek).
    pub(crate) unsafe fn receive_batch(&self, count: usize, mut take: impl FnMut(Received)) -> Result<Status> {
        self.framed()?;
        for done in 0..count {
            // SAFETY: the caller's promise.
            match unsafe { self.receive() } {
                Ok(Ok(message)) => take(message),
                Ok(Err(status)) if done == 0 => return Ok(status),
                Err(error) if done == 0 => return Err(error),
                // What stopped it will be there next time.
                Ok(Err(_)) | Err(_) => break,
            }
        }
        Ok(Status::Ok)
    }

    /// As [`receive_batch`](Self::receive_batch), waiting up to `timeout` for the first.
    ///
    /// # Safety
    /// As [`peek`](Self::peek).
    pub(crate) unsafe fn receive_batch_wait(
        &self,
        count: usize,
        timeout: Duration,
        mut take: impl FnMut(Received),
    ) -> Result<Status> {
        // SAFETY: the caller's promise.
        let attempt = || match unsafe { self.receive_batch(count, &mut take) }? {
            Status::Ok => Ok(Ok(())),
            status => Ok(Err(status)),
        };
        // SAFETY: the caller's promise.
        Ok(unsafe { self.wait(Status::Empty, timeout, attempt) }?.err().unwrap_or(Status::Ok))
    }

    /// As [`receive`](Self::receive), but the message is the next one still.
    ///
    /// # Safety
    /// As [`peek`](Self::peek).
    pub(crate) unsafe fn next_message(&self) -> Result<Result<Received, Status>> {
        let framing = self.framed()?;
        let stream = self.as_consumer()?;
        // SAFETY: the caller's promise.
        match unsafe { stream.next_message(framing) }? {
            Some(message) => Ok(Ok(message)),
            // SAFETY: the caller's promise.
            None => self.empty_or_closed(|stream| unsafe { stream.next_message(framing) }),
        }
    }

    /// As [`receive_into`](Self::receive_into) in the usual case, which cannot fail: length and tag; `None`, with nothing done, in any other.
    ///
    /// # Safety
    /// As [`receive_into`](Self::receive_into).
    #[inline(always)]
    pub(crate) unsafe fn receive_into_at_once(&self, buffer: *mut u8, size: u64) -> Option<(u64, u64)> {
        let framing = self.framing()?;
        // SAFETY: the caller's promises.
        unsafe {
            let message = self.stream.next_message_at_once(framing)?;
            if message.length > size {
                return None;
            }
            self.copy_out(framing, &message, buffer);
            Some((message.length, message.tag))
        }
    }

    /// Copies the next message to `buffer` and goes over it; if nothing before it is held, gives it back.
    ///
    /// # Safety
    /// As [`peek`](Self::peek); we are the consumer, this is what [`Stream::next_message`] showed, and `buffer` is as long as it.
    #[inline(always)]
    unsafe fn copy_out(&self, framing: Framing, message: &Received, buffer: *mut u8) {
        // SAFETY: the message is there until it is released, and the caller's promises.
        unsafe {
            std::ptr::copy_nonoverlapping(message.data, buffer, message.length as usize);
            let held = self.stream.is_held();
            self.stream.pass_message(framing, message);
            if !held {
                self.give_back();
            }
        }
    }

    /// Copies the next message to `buffer` and gives it back, but what was received before it only together with that: or `Empty` or `Closed`.
    /// `length` is set to its length even if it is too long for the buffer, and then it stays; and left alone where there is none.
    ///
    /// # Safety
    /// As [`peek`](Self::peek); `buffer` is writable for `size` bytes.
    pub(crate) unsafe fn receive_into(
        &self,
        buffer: *mut u8,
        size: u64,
        length: &mut Option<u64>,
    ) -> Result<Result<u64, Status>> {
        let framing = self.framed()?;
        // SAFETY: the caller's promise.
        let message = match unsafe { self.next_message() }? {
            Ok(message) => message,
            Err(status) => return Ok(Err(status)),
        };
        *length = Some(message.length);
        if message.length > size {
            let (name, length) = (&self.entry().name, message.length);
            return Err(fail!(
                Invalid,
                "the next message of byte queue '{name}' has {length} bytes; the buffer has {size}"
            ));
        }
        // SAFETY: the caller's promises.
        unsafe { self.copy_out(framing, &message, buffer) };
        Ok(Ok(message.tag))
    }

    /// # Safety
    /// As [`peek`](Self::peek); we are the consumer.
    #[inline(always)]
    unsafe fn give_back(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.stream.release() };
        self.wake(&self.control().events.space);
    }

    /// As [`release`](Self::release) in the usual case, which cannot fail; false, with nothing done, in any other.
    ///
    /// # Safety
    /// As [`peek`](Self::peek).
    #[inline(always)]
    pub(crate) unsafe fn release_at_once(&self) -> bool {
        // SAFETY: the caller's promise; nothing is held where we are not the consumer.
        let may = self.framing().is_some() && self.stream.is_wiped() && unsafe { self.stream.is_held() };
        if may {
            // SAFETY: as above.
            unsafe { self.give_back() };
        }
        may
    }

    /// Gives back every message that was received. The address of none of them is good any more.
    ///
    /// # Safety
    /// As [`peek`](Self::peek).
    pub(crate) unsafe fn release(&self) -> Result<()> {
        self.framed()?;
        // SAFETY: the caller's promise.
        if !unsafe { self.stream.is_consumer(self.who()) && self.stream.is_held() } {
            return Err(fail!(Invalid, "no message of byte queue '{}' is held by this handle", self.entry().name));
        }
        // SAFETY: the caller's promise.
        unsafe { self.give_back() };
        Ok(())
    }

    /// Says that nothing more will come. What is reserved is given up.
    ///
    /// # Safety
    /// As [`reserve`](Self::reserve).
    pub(crate) unsafe fn end(&self) -> Result<()> {
        self.as_producer()?;
        // Nothing may be published after the end was seen.
        // SAFETY: the caller's promise.
        unsafe { self.stream.reserved_only(0) };
        let events = &self.control().events;
        events.ended.store(1, Ordering::Release);
        events.data.notify_slow();
        events.space.notify_slow();
        Ok(())
    }

    /// Repeats `attempt` while it says `retry`, `Full` or `Empty`, up to `timeout`. Statistics count that once.
    ///
    /// # Safety
    /// No other thread uses the end that `attempt` uses at the same time.
    pub(crate) unsafe fn wait<T>(
        &self,
        retry: Status,
        timeout: Duration,
        mut attempt: impl FnMut() -> Result<Result<T, Status>>,
    ) -> Result<Result<T, Status>> {
        let events = &self.control().events;
        let full = retry == Status::Full;
        let event = if full { &events.space } else { &events.data };
        // SAFETY: the caller's promise.
        let again = |again| unsafe {
            if full { self.stream.looks_for_room_again(again) } else { self.stream.looks_for_bytes_again(again) }
        };
        let attempt = || match attempt() {
            Ok(Err(status)) if status == retry => {
                again(true);
                None
            }
            other => Some(other),
        };
        let spin = self.spin.load(Ordering::Relaxed);
        let outcome = event.wait(timeout, spin, || SLICE, attempt).unwrap_or(Ok(Err(Status::Timeout)));
        again(false);
        outcome
    }

    /// How many bytes wait, headers included, and the longest message, or stretch, for which there is room now.
    pub(crate) fn available(&self) -> Result<(u64, u64)> {
        let (head, tail) = self.stream.positions()?;
        Ok(self.placed.shape.available(head, tail))
    }

    pub(crate) fn stats(&self) -> Result<ByteQueueStats> {
        let (shape, control) = (self.placed.shape, self.control());
        let (head, tail) = self.stream.positions()?;
        let (used, room) = shape.available(head, tail);
        let (produced, consumed, events) = (&control.produced, &control.consumed, &control.events);
        Ok(ByteQueueStats {
            capacity: shape.capacity,
            longest: shape.longest(),
            used,
            room,
            sent: produced.messages.load(Ordering::Relaxed),
            received: consumed.messages.load(Ordering::Relaxed),
            bytes_sent: tail,
            bytes_received: head,
            full: produced.full.load(Ordering::Relaxed),
            empty: consumed.empty.load(Ordering::Relaxed),
            high_water: consumed.high.load(Ordering::Relaxed),
            ended: events.ended.load(Ordering::Relaxed) != 0,
            producer: events.producer.participant(),
            consumer: events.consumer.participant(),
        })
    }
}

impl Drop for RawByteQueue {
    fn drop(&mut self) {
        let holder = self.holder();
        if holder.participant() != 0 {
            let events = &self.control().events;
            events.producer.leave(holder);
            events.consumer.leave(holder);
        }
    }
}

/// Maps a buffer twice.
fn double(buffer: Region, name: &str) -> Result<Doubled> {
    let len = buffer.len();
    // SAFETY: a part of the segment's mapping, which is a shared one.
    unsafe { Doubled::new(buffer.base(), len) }
        .map_err(|error| Error::system(format_args!("cannot map the {len} bytes of byte queue '{name}' twice"), error))
}

/// What the entry says, and where the buffer is, if it tells the truth.
pub(super) fn place(entry: &Entry, section: Region) -> Option<(Shape, Region)> {
    let page = process::page_size() as u64;
    let shape = Shape { capacity: entry.count, framing: framing_of(entry) };
    let sound = shape.framing.is_none_or(|framing| check(framing).is_ok())
        && shape.capacity > 0
        && shape.capacity.is_multiple_of(page)
        && shape.capacity <= (i64::MAX / 4) as u64
        && entry.offset.is_multiple_of(page);
    if !sound {
        return None;
    }
    Some((shape, section.part(page, shape.capacity)?))
}

/// Frees the ends that `dead` had. There is nothing else: one store publishes, and one gives back.
pub(crate) fn reclaim(entry: &Entry, section: Region, dead: u32) -> bool {
    if place(entry, section).is_some()
        && let Some(control) = section.at::<Control>(0)
    {
        control.events.producer.reclaim(dead);
        control.events.consumer.reclaim(dead);
    }
    true
}
