//! The loops whose time is taken. Nobody sleeps or yields in them: a wake-up by the kernel costs a hundred times what is
//! measured here. Streams pause for a moment (`spin_loop`) when there is nothing to do, as all decent loops do; round
//! trips do not.

use std::hint::spin_loop;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::control::Control;
use crate::links::{Receiver, Sender};
use crate::report::median;
use crate::{CAPACITY, Message};

/// How long one measurement runs.
const SPAN: Duration = Duration::from_millis(30);
/// Messages between two looks at the clock.
const CHUNK: u64 = 8 * CAPACITY as u64;
/// Round trips between two looks at the clock.
const BATCH: u64 = 16;

/// One side of a measurement between two.
pub enum Side<S, R> {
    Produce(S),
    Consume(R),
    Ping(S, R),
    Echo(R, S),
}

impl<S, R> Side<S, R> {
    /// Runs this side to its end.
    pub fn run<M: Message>(self, control: &Control)
    where
        S: Sender<M>,
        R: Receiver<M>,
    {
        match self {
            Self::Produce(sender) => produce(control, sender),
            Self::Consume(receiver) => consume(control, receiver),
            Self::Ping(sender, receiver) => ping(control, sender, receiver),
            Self::Echo(receiver, sender) => echo(control, receiver, sender),
        }
    }
}

fn produce<M: Message>(control: &Control, mut sender: impl Sender<M>) {
    for sequence in 0.. {
        let message = M::new(sequence);
        while !sender.send(&message) {
            if control.is_stopped() {
                return;
            }
            spin_loop();
        }
    }
}

/// Measures millions of messages a second: the median of chunks, so that a preemption spoils a chunk and not the whole.
fn consume<M: Message>(control: &Control, mut receiver: impl Receiver<M>) {
    let mut expected = 0;
    let mut chunk = || {
        let end = expected + CHUNK;
        while expected < end {
            if let Some(message) = receiver.receive() {
                assert!(message.sequence() == expected, "message {expected} is lost or out of order");
                expected += 1;
            } else {
                spin_loop();
            }
        }
    };
    chunk();
    let nanoseconds = sample(&mut chunk);
    control.finish(CHUNK as f64 * 1000.0 / nanoseconds);
}

/// Measures nanoseconds a round trip, likewise.
fn ping<M: Message>(control: &Control, mut sender: impl Sender<M>, mut receiver: impl Receiver<M>) {
    let mut sequence = 0;
    let mut batch = || {
        for _ in 0..BATCH {
            while !sender.send(&M::new(sequence)) {}
            let back = loop {
                if let Some(message) = receiver.receive() {
                    break message;
                }
            };
            assert!(back.sequence() == sequence, "message {sequence} did not come back");
            sequence += 1;
        }
    };
    (0..100).for_each(|_| batch());
    let nanoseconds = sample(&mut batch);
    control.finish(nanoseconds / BATCH as f64);
}

fn echo<M: Message>(control: &Control, mut receiver: impl Receiver<M>, mut sender: impl Sender<M>) {
    while !control.is_stopped() {
        if let Some(message) = receiver.receive() {
            while !sender.send(&message) {}
        }
    }
}

/// The floor under every round trip: two cache lines there and back, with nothing else.
pub fn floor_ping(control: &Control) {
    let mut sequence = 0;
    let mut batch = || {
        for _ in 0..BATCH {
            sequence += 1;
            control.ping.0.store(sequence, Ordering::Release);
            while control.pong.0.load(Ordering::Acquire) != sequence {}
        }
    };
    (0..100).for_each(|_| batch());
    let nanoseconds = sample(&mut batch);
    control.finish(nanoseconds / BATCH as f64);
}

pub fn floor_pong(control: &Control) {
    let mut seen = 0;
    while !control.is_stopped() {
        let sequence = control.ping.0.load(Ordering::Acquire);
        if sequence != seen {
            seen = sequence;
            control.pong.0.store(sequence, Ordering::Release);
        }
    }
}

/// Runs `work` until the time is up, at least three times; the median of how many nanoseconds it took.
fn sample(work: &mut impl FnMut()) -> f64 {
    let begin = Instant::now();
    let mut before = begin;
    let mut times = Vec::new();
    while times.len() < 3 || before - begin < SPAN {
        work();
        let now = Instant::now();
        times.push((now - before).as_nanos() as f64);
        before = now;
    }
    median(&mut times)
}
