//! The bytes of a byte queue.
//!
//! ```text
//! 0       events, ends, the end of the stream; read by both sides, written when somebody sleeps, wakes, comes or goes
//! 128     tail, messages, full, keep_from: the producer's
//! 256     head, messages, empty, high: the consumer's
//! page    the buffer, of `capacity` bytes: a multiple of the page
//! ```
//!
//! A message lies in the buffer as a frame: at a multiple of the alignment A,
//!
//! | offset | field |
//! |---|---|
//! | 0 | length: u32 |
//! | 4 | zero: u32 |
//! | 8 | tag: u64 |
//! | 16 | time: u64, where the queue has times |
//! | 16 (24 with times), rounded up to A | the message; the frame ends at the next multiple of A |

use crate::segment::Region;
use crate::shared::{CacheAligned, End, EventCount, Shared};
use crate::sync::{AtomicU32, AtomicU64};

/// The table entry's flag for a queue of frames.
pub(crate) const FLAG_FRAMED: u32 = 1;
/// And of frames that say when they were sent.
pub(crate) const FLAG_TIMES: u32 = 2;

#[repr(C)]
pub(crate) struct Events {
    /// The consumer sleeps here until there is something.
    pub(crate) data: EventCount,
    /// The producer sleeps here until there is room.
    pub(crate) space: EventCount,
    /// Nonzero when nothing more will come.
    pub(crate) ended: AtomicU32,
    reserved: AtomicU32,
    pub(crate) producer: End,
    pub(crate) consumer: End,
}

/// What the producer alone writes. Positions count bytes from 0 and never wrap.
#[repr(C)]
pub(crate) struct Produced {
    pub(crate) tail: AtomicU64,
    pub(crate) messages: AtomicU64,
    /// How often there was no room.
    pub(crate) full: AtomicU64,
    /// From which position on the producer would have the consumer store to the lines that it gives back; 0: from nowhere on. A hint.
    pub(crate) keep_from: AtomicU64,
}

/// What the consumer alone writes.
#[repr(C)]
pub(crate) struct Consumed {
    pub(crate) head: AtomicU64,
    pub(crate) messages: AtomicU64,
    /// How often there was nothing.
    pub(crate) empty: AtomicU64,
    /// The most bytes it ever found waiting.
    pub(crate) high: AtomicU64,
}

#[repr(C)]
pub(crate) struct Control {
    pub(crate) events: CacheAligned<Events>,
    pub(crate) produced: CacheAligned<Produced>,
    pub(crate) consumed: CacheAligned<Consumed>,
}

// SAFETY: atomics and padding only.
unsafe impl Shared for Control {}

#[cfg(not(loom))]
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<Control>() == 384);
    assert!(offset_of!(Control, produced) == 128 && offset_of!(Control, consumed) == 256);
    assert!(offset_of!(Events, space) == 8 && offset_of!(Events, ended) == 16);
    assert!(offset_of!(Events, producer) == 24 && offset_of!(Events, consumer) == 32);
    assert!(offset_of!(Produced, keep_from) == 24 && offset_of!(Consumed, high) == 24);
};

impl Control {
    #[cfg(all(test, loom))]
    pub(crate) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            events: CacheAligned(Events {
                data: EventCount::new(),
                space: EventCount::new(),
                ended: AtomicU32::new(0),
                reserved: AtomicU32::new(0),
                producer: End::new(),
                consumer: End::new(),
            }),
            produced: CacheAligned(Produced { tail: zero(), messages: zero(), full: zero(), keep_from: zero() }),
            consumed: CacheAligned(Consumed { head: zero(), messages: zero(), empty: zero(), high: zero() }),
        }
    }
}

/// How messages lie in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Framing {
    /// Of messages, and so of frames: a power of two, 8 to 64.
    pub(crate) align: u64,
    pub(crate) times: bool,
}

impl Framing {
    /// Bytes from the beginning of a frame to its message.
    pub(crate) const fn header(self) -> u64 {
        self.rounded(if self.times { 24 } else { 16 })
    }

    /// Bytes of the frame of a message of `length` bytes.
    #[inline(always)]
    pub(crate) const fn frame(self, length: u64) -> u64 {
        self.header() + self.rounded(length)
    }

    /// Up to the alignment; without a division, which takes longer than sending a small message.
    #[inline(always)]
    const fn rounded(self, bytes: u64) -> u64 {
        (bytes + self.align - 1) & !(self.align - 1)
    }
}

/// What a byte queue is asked to be. The capacity is a multiple of the page already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Bytes of the buffer.
    pub(crate) capacity: u64,
    /// `None`: bytes without borders.
    pub(crate) framing: Option<Framing>,
}

impl Shape {
    /// The longest message, or stretch of bytes.
    pub(crate) fn longest(&self) -> u64 {
        match self.framing {
            Some(framing) => (self.capacity - framing.header()).min(u32::MAX.into()),
            None => self.capacity,
        }
    }

    /// How many bytes wait between these positions, and the longest message, or stretch, for which there is room.
    #[cfg(not(loom))]
    pub(crate) fn available(&self, head: u64, tail: u64) -> (u64, u64) {
        let used = (tail - head).min(self.capacity);
        let free = self.capacity - used;
        let room = match self.framing {
            // All of these are multiples of the alignment, so what a frame is rounded up to fits, too.
            Some(framing) => free.saturating_sub(framing.header()).min(self.longest()),
            None => free,
        };
        (used, room)
    }
}

/// A byte queue's control lines and buffer, found and checked. Whoever holds one also holds what keeps them there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    control: std::ptr::NonNull<Control>,
    /// Mapped twice: `2 * capacity` bytes.
    buffer: std::ptr::NonNull<u8>,
    pub(crate) shape: Shape,
}

// SAFETY: addresses of shared memory; what is reached through them are atomics, or bytes under an exclusive claim.
unsafe impl Send for Placed {}
// SAFETY: as above.
unsafe impl Sync for Placed {}

impl Placed {
    /// `None` when the control lines do not fit into the section.
    ///
    /// # Safety
    /// `buffer` is the doubled buffer of this shape.
    pub(crate) unsafe fn new(section: Region, buffer: std::ptr::NonNull<u8>, shape: Shape) -> Option<Self> {
        section.at::<Control>(0)?;
        Some(Self { control: section.base().cast(), buffer, shape })
    }

    #[inline(always)]
    pub(crate) fn control(&self) -> &Control {
        // SAFETY: checked in `new`; atomics only.
        unsafe { self.control.as_ref() }
    }

    /// The address of byte `offset` of the buffer, from which on a capacity's worth lies in one piece.
    #[inline(always)]
    pub(crate) fn byte(&self, offset: u64) -> *mut u8 {
        debug_assert!(offset < self.shape.capacity);
        // SAFETY: inside the first half by the bound above, which all callers keep.
        unsafe { self.buffer.add(offset as usize).as_ptr() }
    }
}
