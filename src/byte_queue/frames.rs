//! Messages over the stream of bytes: a header before each, published together with it.
//!
//! The length in a header is read once, and checked against the bytes that are known to be there before it is used. So a peer
//! that writes nonsense makes the queue corrupt, and nothing else.

use bytemuck::{Pod, Zeroable};

use super::layout::Framing;
use super::stream::Stream;
use crate::error::{Error, Result, fail};
use crate::os::process;
use crate::sync::{AtomicU64, Ordering};

/// A message, where it lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    pub(crate) data: *mut u8,
    pub(crate) length: u64,
    pub(crate) tag: u64,
    /// When it was committed, in nanoseconds of the monotonic clock; 0 where the queue has no times.
    pub(crate) time: u64,
}

/// What precedes a message. In shared memory, `time` is there only where the queue has times.
#[derive(Clone, Copy, Zeroable, Pod)]
#[repr(C)]
struct Header {
    length: u32,
    zero: u32,
    tag: u64,
    time: u64,
}

impl Header {
    /// The words of a header in shared memory. They are atomics: a peer that does not keep to the rules may be writing.
    ///
    /// # Safety
    /// A header is there, as long as `words`.
    #[inline(always)]
    unsafe fn words<'a>(frame: *mut u8, words: usize) -> &'a [AtomicU64] {
        // SAFETY: the caller's promise; frames are aligned to 8 at least.
        unsafe { std::slice::from_raw_parts(frame.cast(), words) }
    }

    /// # Safety
    /// A header's place is at `frame`, which is ours.
    #[inline(always)]
    unsafe fn store(self, framing: Framing, frame: *mut u8) {
        let [first, tag, time] = bytemuck::cast::<_, [u64; 3]>(self);
        // SAFETY: the caller's promise.
        let words = unsafe { Self::words(frame, if framing.times { 3 } else { 2 }) };
        words[0].store(first, Ordering::Relaxed);
        words[1].store(tag, Ordering::Relaxed);
        if framing.times {
            words[2].store(time, Ordering::Relaxed);
        }
    }

    /// # Safety
    /// A header is at `frame`.
    #[inline(always)]
    unsafe fn load(framing: Framing, frame: *mut u8) -> Self {
        // SAFETY: the caller's promise.
        let words = unsafe { Self::words(frame, if framing.times { 3 } else { 2 }) };
        let time = if framing.times { words[2].load(Ordering::Relaxed) } else { 0 };
        bytemuck::cast([words[0].load(Ordering::Relaxed), words[1].load(Ordering::Relaxed), time])
    }
}

impl Stream {
    /// The address of `length` bytes for a message, or `None` when there is no room now.
    ///
    /// # Safety
    /// As [`is_producer`](Self::is_producer), which is true. `length` is at most the longest.
    pub(crate) unsafe fn reserve_message(&self, framing: Framing, length: u64) -> Result<Option<*mut u8>> {
        // SAFETY: the caller's promise.
        let Some(frame) = (unsafe { self.reserve(framing.frame(length)) })? else { return Ok(None) };
        // The bytes that fill the frame up to the next place are not the caller's.
        // SAFETY: the caller's promise.
        unsafe { self.reserved_only(framing.header() + length) };
        // SAFETY: inside the frame.
        Ok(Some(unsafe { frame.add(framing.header() as usize) }))
    }

    /// As [`reserve_message`](Self::reserve_message) in the usual case; see [`reserve_at_once`](Self::reserve_at_once).
    ///
    /// # Safety
    /// As [`is_producer`](Self::is_producer), but that it is true.
    #[inline(always)]
    pub(crate) unsafe fn reserve_message_at_once(&self, framing: Framing, length: u64) -> Option<*mut u8> {
        if length > u32::MAX.into() {
            return None;
        }
        // SAFETY: the caller's promise; the place of the message is inside the frame.
        unsafe {
            let frame = self.reserve_at_once(framing.frame(length))?;
            self.reserved_only(framing.header() + length);
            Some(frame.add(framing.header() as usize))
        }
    }

    /// Publishes the reserved message, of `length` bytes. False when fewer were reserved.
    ///
    /// # Safety
    /// As [`is_producer`](Self::is_producer), but that it is true.
    #[inline(always)]
    pub(crate) unsafe fn commit_message(&self, framing: Framing, length: u64, tag: u64) -> bool {
        if length > u32::MAX.into() {
            return false;
        }
        let write = |frame| {
            let time = if framing.times { process::now() } else { 0 };
            // SAFETY: the frame is ours, and a header long.
            unsafe { Header { length: length as u32, zero: 0, tag, time }.store(framing, frame) };
        };
        // SAFETY: the caller's promise; the frame is no longer than the one that was reserved.
        unsafe { self.commit_frame(framing.frame(length), framing.header() + length, write) }
    }

    /// The next message, if there is one. It is not gone over yet.
    ///
    /// # Safety
    /// As [`is_consumer`](Self::is_consumer), which is true.
    pub(crate) unsafe fn next_message(&self, framing: Framing) -> Result<Option<Received>> {
        // SAFETY: the caller's promise.
        let Some((frame, there)) = (unsafe { self.peek(framing.header()) })? else { return Ok(None) };
        // SAFETY: a header is there.
        let shown = unsafe { read(framing, frame, there) };
        shown.map(Some).map_err(|header| nonsense(&header, there))
    }

    /// As [`next_message`](Self::next_message) in the usual case; `None` also when it makes no sense, or when it must first be found out whether we
    /// are the consumer.
    ///
    /// # Safety
    /// As [`is_consumer`](Self::is_consumer), but that it is true.
    #[inline(always)]
    pub(crate) unsafe fn next_message_at_once(&self, framing: Framing) -> Option<Received> {
        let header = framing.header();
        // SAFETY: the caller's promise; a header is there.
        unsafe {
            let known = self.peek_at_once(header);
            let (frame, there) =
                known.or_else(|| if self.look_at_once() { self.peek_at_once(header) } else { None })?;
            read(framing, frame, there).ok()
        }
    }

    /// Goes over the message that [`next_message`](Self::next_message) showed.
    ///
    /// # Safety
    /// As [`is_consumer`](Self::is_consumer), which is true.
    #[inline(always)]
    pub(crate) unsafe fn pass_message(&self, framing: Framing, message: &Received) {
        // SAFETY: the caller's promise.
        unsafe { self.pass(framing.frame(message.length), 1) };
    }
}

/// The message whose frame begins here, where `there` bytes are; or a header that cannot be.
///
/// # Safety
/// A header is at `frame`.
#[inline(always)]
unsafe fn read(framing: Framing, frame: *mut u8, there: u64) -> Result<Received, Header> {
    // SAFETY: the caller's promise.
    let header = unsafe { Header::load(framing, frame) };
    let length = u64::from(header.length);
    if framing.frame(length) > there || header.zero != 0 {
        return Err(header);
    }
    // SAFETY: inside the frame.
    let data = unsafe { frame.add(framing.header() as usize) };
    Ok(Received { data, length, tag: header.tag, time: header.time })
}

#[cold]
fn nonsense(header: &Header, there: u64) -> Error {
    let Header { length, zero, .. } = header;
    fail!(Corrupt, "the byte queue has a message of {length} bytes, marked {zero:#x}, where {there} bytes are")
}

#[cfg(test)]
mod tests {
    use super::super::stream::tests::TestQueue;
    use super::*;
    use crate::sync::Ordering;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    const PLAIN: Framing = Framing { align: 8, times: false };
    const TIMED: Framing = Framing { align: 64, times: true };

    /// Every other time as in the usual case, with all that it leaves behind.
    fn send(stream: &Stream, framing: Framing, message: &[u8], tag: u64) -> bool {
        let length = message.len() as u64;
        // SAFETY: one thread; inside what was reserved.
        unsafe {
            let at_once = if tag.is_multiple_of(2) { stream.reserve_message_at_once(framing, length) } else { None };
            let Some(place) = at_once.or_else(|| stream.reserve_message(framing, length).unwrap()) else {
                return false;
            };
            assert!((place as u64).is_multiple_of(framing.align));
            place.copy_from_nonoverlapping(message.as_ptr(), message.len());
            stream.commit_message(framing, message.len() as u64, tag)
        }
    }

    fn receive(stream: &Stream, framing: Framing) -> Result<Option<(Vec<u8>, u64)>> {
        // SAFETY: one thread; inside what is shown.
        unsafe {
            let shown = stream.next_message_at_once(framing);
            let found = stream.next_message(framing);
            // What makes no sense is not shown, and said by the other.
            assert_eq!(shown.is_some(), matches!(found, Ok(Some(_))));
            let Some(message) = found? else { return Ok(None) };
            assert_eq!((message.data, message.tag), shown.map(|shown| (shown.data, shown.tag)).unwrap());
            assert_eq!(message.time > 0, framing.times);
            let bytes = std::slice::from_raw_parts(message.data, message.length as usize).to_vec();
            stream.pass_message(framing, &message);
            stream.release();
            Ok(Some((bytes, message.tag)))
        }
    }

    #[test]
    fn messages_of_every_length_arrive_at_every_place() {
        for framing in [PLAIN, TIMED, Framing { align: 32, times: false }, Framing { align: 8, times: true }] {
            let test = TestQueue::new(Some(framing), 64 * 12_345);
            let stream = test.stream();
            let longest = test.placed.shape.longest() as usize;
            assert_eq!(longest as u64 + framing.header(), 4096);
            for length in (0..longest).step_by(7).chain([longest, 1, longest]) {
                let message: Vec<u8> = (0..length).map(|i| (i % 249) as u8).collect();
                assert!(send(&stream, framing, &message, length as u64));
                assert_eq!(receive(&stream, framing).unwrap(), Some((message, length as u64)));
            }
        }
    }

    #[test]
    fn fewer_bytes_than_reserved_can_be_committed_and_not_more() {
        let test = TestQueue::new(Some(PLAIN), 0);
        let stream = test.stream();
        // SAFETY: one thread.
        unsafe {
            assert!(!stream.commit_message(PLAIN, 0, 0), "nothing is reserved");
            stream.reserve_message(PLAIN, 100).unwrap().unwrap().write_bytes(b'x', 100);
            assert!(!stream.commit_message(PLAIN, 101, 1), "though the frame has room for 104");
            assert!(stream.commit_message(PLAIN, 5, 1));
            assert!(!stream.commit_message(PLAIN, 5, 1));
        }
        assert_eq!(receive(&stream, PLAIN).unwrap(), Some((b"xxxxx".to_vec(), 1)));
    }

    #[test]
    fn a_length_that_cannot_be_is_refused_and_nothing_behind_it_is_read() {
        for length in [1_u32, 4097, u32::MAX, u32::MAX - 15] {
            let test = TestQueue::new(Some(PLAIN), 4096 - 16);
            let stream = test.stream();
            assert!(send(&stream, PLAIN, b"", 3));
            // SAFETY: the header's place.
            unsafe { test.placed.byte(4096 - 16).cast::<u32>().write(length) };
            assert!(receive(&stream, PLAIN).is_err(), "{length}");
            assert!(receive(&stream, PLAIN).is_err(), "and again");
        }
    }

    #[test]
    fn scribbled_frames_end_in_an_outcome() {
        let mut seed = 0x9abc_def1_1234_5678_u64;
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let mut test = TestQueue::new(Some(PLAIN), 0);
        let mut stream = test.stream();
        for round in 0..20_000 {
            if round % 100 == 0 {
                test = TestQueue::new(Some(PLAIN), random() % 1000 * 8);
                stream = test.stream();
            }
            match random() % 4 {
                0 => {
                    let message = vec![7; (random() % 300) as usize];
                    let _ = send(&stream, PLAIN, &message, random());
                }
                // SAFETY: inside the buffer.
                1 => unsafe {
                    test.placed.byte(random() % 4089).cast::<u64>().write_unaligned(random() >> (random() % 64))
                },
                2 => test.placed.control().consumed.high.store(random(), Ordering::Relaxed),
                _ => drop(receive(&stream, PLAIN)),
            }
        }
    }

    proptest! {
        #[test]
        fn any_order_of_messages_agrees_with_a_deque(
            start in 0_u64..600,
            wide: bool,
            operations in prop::collection::vec((0_u8..6, 0_usize..1500), 1..80),
        ) {
            let framing = if wide { TIMED } else { PLAIN };
            let test = TestQueue::new(Some(framing), start * framing.align);
            let mut stream = test.stream();
            let mut model: VecDeque<(Vec<u8>, u64)> = VecDeque::new();
            for (number, (operation, length)) in operations.into_iter().enumerate() {
                match operation {
                    0..=2 => {
                        let message: Vec<u8> = (0..length).map(|i| (i + number) as u8).collect();
                        let used: u64 = model.iter().map(|(bytes, _)| framing.frame(bytes.len() as u64)).sum();
                        let sent = send(&stream, framing, &message, number as u64);
                        prop_assert_eq!(sent, used + framing.frame(length as u64) <= 4096);
                        if sent {
                            model.push_back((message, number as u64));
                        }
                    }
                    3 | 4 => prop_assert_eq!(receive(&stream, framing).unwrap(), model.pop_front()),
                    _ => stream = test.stream(),
                }
            }
        }
    }
}
