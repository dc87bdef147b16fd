//! The contenders that are written in Rust, all behind the same traits.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use shmds::{Queue, QueueOptions, Ring, RingOptions, RingReader, RingStart, Segment, SegmentOptions};

use crate::Message;
use crate::case::{Case, Mode};
use crate::measure::PATIENCE;

pub trait Sender<M> {
    /// False when there is no room.
    fn send(&mut self, message: &M) -> bool;

    /// How many found room; for those without such a call, one by one.
    fn send_bulk(&mut self, messages: &[M]) -> usize {
        messages.iter().take_while(|message| self.send(message)).count()
    }
}

pub trait Receiver<M> {
    fn receive(&mut self) -> Option<M>;

    /// How many there were, at most so many.
    fn receive_bulk(&mut self, messages: &mut [M]) -> usize {
        messages.iter_mut().map_while(|place| self.receive().map(|message| *place = message)).count()
    }
}

/// Both ends of what can be waited at; each side uses one of them.
pub trait Waiting<M> {
    fn send_waking(&mut self, message: &M);
    fn receive_asleep(&mut self) -> M;
}

/// What the contenders ask of a message's type.
#[cfg(feature = "iceoryx2")]
pub trait Sendable: iceoryx2::prelude::ZeroCopySend + std::fmt::Debug + Copy + Send + 'static {}
#[cfg(feature = "iceoryx2")]
impl<T: iceoryx2::prelude::ZeroCopySend + std::fmt::Debug + Copy + Send + 'static> Sendable for T {}

#[cfg(not(feature = "iceoryx2"))]
pub trait Sendable: std::fmt::Debug + Copy + Send + 'static {}
#[cfg(not(feature = "iceoryx2"))]
impl<T: std::fmt::Debug + Copy + Send + 'static> Sendable for T {}

/// The segment of one measurement, with room for two queues: all sides create it, and whoever comes later attaches.
pub fn segment(name: &str, case: &Case) -> Segment {
    let size = (2 << 20) + 2 * case.capacity * (case.bytes + 64);
    Segment::create(name, &SegmentOptions::new().size(size as u64)).expect("a segment")
}

/// An end of one of our queues.
pub struct Ours<M> {
    pub queue: Queue<M>,
}

impl<M: Message> Ours<M> {
    pub fn new(segment: &Segment, name: &str, case: &Case) -> Self {
        let options = QueueOptions::new(case.capacity as u64);
        let options = if case.mode == Mode::Spsc { options.spsc() } else { options };
        Self { queue: Queue::create(segment, name, &options).expect("a queue") }
    }

    pub fn sleeping_at_once(self) -> Self {
        self.queue.set_spin(Duration::ZERO);
        self
    }
}

impl<M: Message> Sender<M> for Ours<M> {
    #[inline(always)]
    fn send(&mut self, message: &M) -> bool {
        self.queue.enqueue(message).expect("a working queue")
    }

    #[inline(always)]
    fn send_bulk(&mut self, messages: &[M]) -> usize {
        self.queue.enqueue_bulk(messages).expect("a working queue")
    }
}

impl<M: Message> Receiver<M> for Ours<M> {
    #[inline(always)]
    fn receive(&mut self) -> Option<M> {
        self.queue.dequeue().expect("a working queue")
    }

    #[inline(always)]
    fn receive_bulk(&mut self, messages: &mut [M]) -> usize {
        self.queue.dequeue_bulk(messages).expect("a working queue")
    }
}

impl<M: Message> Waiting<M> for Ours<M> {
    #[inline(always)]
    fn send_waking(&mut self, message: &M) {
        assert!(self.send(message), "there is room for one");
    }

    #[inline(always)]
    fn receive_asleep(&mut self) -> M {
        self.queue.dequeue_wait(PATIENCE).expect("a working queue").expect("a message in time")
    }
}

/// The writer of one of our rings.
pub struct Writer<M>(pub Ring<M>);
/// One of its readers.
pub struct Follower<M>(RingReader<M>);

impl<M: Message> Writer<M> {
    pub fn new(segment: &Segment, name: &str, case: &Case) -> Self {
        let options = RingOptions::new(case.capacity as u64).overwrite();
        Self(Ring::create(segment, name, &options).expect("a ring"))
    }

    pub fn follower(&self) -> Follower<M> {
        Follower(self.0.reader(RingStart::Oldest).expect("a reader"))
    }
}

impl<M: Message> Sender<M> for Writer<M> {
    #[inline(always)]
    fn send(&mut self, message: &M) -> bool {
        self.0.push(message).expect("a working ring")
    }
}

impl<M: Message> Receiver<M> for Follower<M> {
    #[inline(always)]
    fn receive(&mut self) -> Option<M> {
        self.0.read().expect("a working ring")
    }
}

impl<M: Message> Sender<M> for rtrb::Producer<M> {
    #[inline(always)]
    fn send(&mut self, message: &M) -> bool {
        self.push(*message).is_ok()
    }

    #[inline(always)]
    fn send_bulk(&mut self, messages: &[M]) -> usize {
        self.push_partial_slice(messages).0.len()
    }
}

impl<M: Message> Receiver<M> for rtrb::Consumer<M> {
    #[inline(always)]
    fn receive(&mut self) -> Option<M> {
        self.pop().ok()
    }

    #[inline(always)]
    fn receive_bulk(&mut self, messages: &mut [M]) -> usize {
        self.pop_partial_slice(messages).0.len()
    }
}

impl<M: Message> Sender<M> for Arc<ArrayQueue<M>> {
    #[inline(always)]
    fn send(&mut self, message: &M) -> bool {
        self.push(*message).is_ok()
    }
}

impl<M: Message> Receiver<M> for Arc<ArrayQueue<M>> {
    #[inline(always)]
    fn receive(&mut self) -> Option<M> {
        self.pop()
    }
}
