//! The loops whose time is taken; `cpp/measure.hpp` has the same. Nobody sleeps in them unless the case says so: a wake-up by
//! the kernel costs a hundred times what is measured here. Streams pause for a moment when there is nothing to do, as all
//! decent loops do, and yield where there are more sides than cores; round trips do neither.

use std::hint::spin_loop;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

use crate::Message;
use crate::case::{BULK, Case, Test};
use crate::control::{Control, now};
use crate::links::{Receiver, Sender, Waiting};
use crate::report::median;

/// How long one measurement runs, in nanoseconds.
const SPAN: u64 = 30_000_000;
/// The same where sides take turns on a core.
const SPAN_CROWDED: u64 = 150_000_000;
/// The most a warm-up takes.
const WARM_UP: u64 = 5_000_000;
/// Messages between two looks at the clock, and no fewer than fill the queue.
const CHUNK: u64 = 8192;
/// Round trips between two looks at the clock.
const BATCH: u64 = 16;
/// Messages that go in before any is taken out: fewer than all queues have room for.
const APART: u64 = 1000;
/// Messages handed over, and at the beginning not counted.
const HANDED_OVER: usize = 20_000;
const NOT_COUNTED: usize = 1000;
/// Where a message says which producer it is from.
const PRODUCER: u32 = 56;

struct Pause {
    crowded: bool,
    times: u32,
}

impl Pause {
    fn new(case: &Case) -> Self {
        Self { crowded: case.sides() > 2, times: 0 }
    }

    /// There was something to do.
    #[inline(always)]
    fn over(&mut self) {
        self.times = 0;
    }

    #[inline(always)]
    fn pause(&mut self) {
        self.times += 1;
        if self.crowded && self.times.is_multiple_of(64) {
            std::thread::yield_now();
        } else {
            spin_loop();
        }
    }
}

/// The first consumer of one producer gets every message in order; otherwise see `consume_shared`.
fn is_exact(case: &Case) -> bool {
    case.test == Test::Throughput && case.sides() == 2
}

pub fn produce<M: Message>(control: &Control, case: &Case, index: usize, mut sender: impl Sender<M>) {
    let (mut sequence, mut pause) = ((index as u64) << PRODUCER, Pause::new(case));
    let count = &control.counts[case.consumers + index].0;
    let mut messages = [M::new(0); BULK];
    loop {
        for (message, sequence) in messages[..case.bulk].iter_mut().zip(sequence..) {
            *message = M::new(sequence);
        }
        let mut sent = 0;
        while sent < case.bulk {
            let now = if case.bulk == 1 {
                usize::from(sender.send(&messages[0]))
            } else {
                sender.send_bulk(&messages[sent..case.bulk])
            };
            sent += now;
            if now == 0 {
                if control.is_stopped() {
                    return;
                }
                pause.pause();
            } else {
                pause.over();
            }
        }
        sequence += case.bulk as u64;
        if !is_exact(case) && sequence.is_multiple_of(64) {
            count.store(sequence & ((1 << PRODUCER) - 1), Relaxed);
            if control.is_stopped() {
                return;
            }
        }
    }
}

pub fn consume<M: Message>(control: &Control, case: &Case, index: usize, receiver: impl Receiver<M>) {
    if is_exact(case) {
        consume_all(control, case, receiver);
    } else {
        consume_shared(control, case, index, receiver);
    }
}

/// Measures millions of messages a second: the median of chunks, so that a preemption spoils a chunk and not the whole.
fn consume_all<M: Message>(control: &Control, case: &Case, mut receiver: impl Receiver<M>) {
    let (mut expected, mut pause) = (0, Pause::new(case));
    let chunk = CHUNK.max(case.capacity as u64);
    let mut messages = [M::new(0); BULK];
    let mut receive_chunk = || {
        let end = expected + chunk;
        while expected < end {
            let got = if case.bulk == 1 {
                receiver.receive().map_or(0, |message| {
                    messages[0] = message;
                    1
                })
            } else {
                receiver.receive_bulk(&mut messages)
            };
            for message in &messages[..got] {
                assert!(message.sequence() == expected, "message {expected} is lost or out of order");
                expected += 1;
            }
            if got == 0 {
                pause.pause();
            }
        }
    };
    receive_chunk();
    let nanoseconds = sample(SPAN, &mut receive_chunk);
    control.finish(&[chunk as f64 * 1000.0 / nanoseconds]);
}

/// Measures millions of messages a second that all consumers get together, and that all producers give.
fn consume_shared<M: Message>(control: &Control, case: &Case, index: usize, mut receiver: impl Receiver<M>) {
    let mut last = [0; 8];
    let (mut got, mut pause) = (0u64, Pause::new(case));
    let span = if case.sides() > 2 { SPAN_CROWDED } else { SPAN };
    let sum =
        |range: std::ops::Range<usize>| control.counts[range].iter().map(|count| count.0.load(Relaxed)).sum::<u64>();
    let counts = || [sum(0..case.consumers), sum(case.consumers..case.consumers + case.producers)];
    let mut begin = now() + span / 8; // what comes before is a warm-up
    let mut before: Option<[u64; 2]> = None;
    while !control.is_stopped() {
        if let Some(message) = receiver.receive() {
            let (producer, sequence) = ((message.sequence() >> PRODUCER) as usize, message.sequence() + 1);
            assert!(sequence > last[producer], "a message is out of order, or there twice");
            last[producer] = sequence;
            got += 1;
            pause.over();
            if !got.is_multiple_of(64) {
                continue;
            }
        } else {
            pause.pause();
        }
        control.counts[index].0.store(got, Relaxed);
        if index != 0 {
            continue;
        }
        let time = now();
        match before {
            None if time >= begin => (begin, before) = (time, Some(counts())),
            Some([read, written]) if time >= begin + span => {
                let [read, written] = [counts()[0] - read, counts()[1] - written];
                assert!(read > 0, "nothing arrives");
                control.finish(&[read, written].map(|count| count as f64 * 1000.0 / (time - begin) as f64));
            }
            _ => {}
        }
    }
}

/// Waits for a turn of one of two sides; false when there is none any more.
fn is_turn(control: &Control, turn: u64) -> bool {
    while control.ping.0.load(Acquire) != turn {
        if control.is_stopped() {
            return false;
        }
    }
    true
}

/// Fills a queue while nobody empties it.
pub fn fill<M: Message>(control: &Control, mut sender: impl Sender<M>) {
    for round in 0.. {
        if !is_turn(control, 2 * round) {
            return;
        }
        let begin = now();
        (0..APART).for_each(|number| while !sender.send(&M::new(round * APART + number)) {});
        control.counts[0].0.store(now() - begin, Relaxed);
        control.ping.0.store(2 * round + 1, Release);
    }
}

/// Empties a queue while nobody fills it. Measures nanoseconds a message of both.
pub fn empty<M: Message>(control: &Control, mut receiver: impl Receiver<M>) {
    let (mut filling, mut emptying) = (Vec::new(), Vec::new());
    let begin = now();
    for round in 0.. {
        assert!(is_turn(control, 2 * round + 1), "only this side stops");
        let first = now();
        for number in round * APART..(round + 1) * APART {
            let message = receiver.receive().expect("all of them are there");
            assert!(message.sequence() == number, "message {number} is lost or out of order");
        }
        let last = now();
        filling.push(control.counts[0].0.load(Relaxed) as f64 / APART as f64);
        emptying.push((last - first) as f64 / APART as f64);
        if filling.len() > 8 && last - begin > SPAN {
            return control.finish(&[median(&mut filling[1..]), median(&mut emptying[1..])]);
        }
        control.ping.0.store(2 * round + 2, Release);
    }
}

/// Measures nanoseconds a round trip: the median of batches, and percentiles of single ones.
pub fn ping<M: Message>(control: &Control, mut sender: impl Sender<M>, mut receiver: impl Receiver<M>) {
    let mut sequence = 0;
    trips(control, || {
        while !sender.send(&M::new(sequence)) {}
        let back = loop {
            if let Some(message) = receiver.receive() {
                break message;
            }
        };
        assert!(back.sequence() == sequence, "message {sequence} did not come back");
        sequence += 1;
    });
}

pub fn echo<M: Message>(control: &Control, mut receiver: impl Receiver<M>, mut sender: impl Sender<M>) {
    while !control.is_stopped() {
        if let Some(message) = receiver.receive() {
            while !sender.send(&message) {}
        }
    }
}

fn trips(control: &Control, mut trip: impl FnMut()) {
    warm_up(&mut trip);
    let batch = sample(SPAN, &mut || (0..BATCH).for_each(|_| trip()));
    let mut single = samples(SPAN, &mut trip);
    control.finish(&[batch / BATCH as f64, percentile(&mut single, 0.99), percentile(&mut single, 0.999)]);
}

/// The floor under every round trip: two cache lines there and back, with nothing else; or one.
pub fn floor_ping(control: &Control, one: bool) {
    let (ping, pong) = (&control.ping.0, if one { &control.ping.0 } else { &control.pong.0 });
    let mut sequence = 0;
    trips(control, || {
        sequence += 2;
        ping.store(sequence - 1, Release);
        let answer = if one { sequence } else { sequence - 1 };
        while pong.load(Acquire) != answer {}
    });
}

pub fn floor_pong(control: &Control, one: bool) {
    let mut seen = 0;
    while !control.is_stopped() {
        let sequence = control.ping.0.load(Acquire);
        if sequence != seen {
            seen = sequence + u64::from(one);
            (if one { &control.ping.0 } else { &control.pong.0 }).store(seen, Release);
        }
    }
}

/// Measures nanoseconds a round trip between two that sleep in between, and those of the call that wakes.
pub fn wake<M: Message>(control: &Control, mut there: impl Waiting<M>, mut back: impl Waiting<M>) {
    let (mut sequence, mut calls) = (0, Vec::new());
    let mut trip = || {
        let begin = now();
        there.send_waking(&M::new(sequence));
        calls.push((now() - begin) as f64);
        assert!(back.receive_asleep().sequence() == sequence, "message {sequence} did not come back");
        sequence += 1;
    };
    warm_up(&mut trip);
    let nanoseconds = sample(SPAN, &mut trip);
    control.finish(&[nanoseconds, median(&mut calls)]);
    there.send_waking(&M::new(0)); // for the other side to see that it is over
}

pub fn woken<M: Message>(control: &Control, mut there: impl Waiting<M>, mut back: impl Waiting<M>) {
    loop {
        let message = there.receive_asleep();
        if control.is_stopped() {
            return;
        }
        back.send_waking(&message);
    }
}

/// Calls with the time at irregular moments, 2.2 µs apart on average, and not before the last one arrived: else one preemption
/// of the receiver would be the age of all that wait for it.
fn at_moments(control: &Control, mut give: impl FnMut(u64)) {
    let mut random = 7u64;
    for _ in 0..HANDED_OVER {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let due = now() + 200 + (random >> 40) % 4000;
        while now() < due {}
        let time = now();
        give(time);
        while control.pong.0.load(Acquire) != time {}
    }
}

/// Measures how long what was given at those moments takes.
fn ages(control: &Control, mut take: impl FnMut() -> u64) {
    let age = |_| {
        let sent = take();
        let age = now().saturating_sub(sent) as f64;
        control.pong.0.store(sent, Release);
        age
    };
    let mut ages: Vec<_> = (0..HANDED_OVER).map(age).collect();
    let ages = &mut ages[NOT_COUNTED..];
    control.finish(&[0.5, 0.99, 0.999].map(|part| percentile(ages, part)));
}

pub fn hand_over<M: Message>(control: &Control, mut sender: impl Sender<M>) {
    at_moments(control, |time| assert!(sender.send(&M::new(time)), "there is room for one"));
}

pub fn take_over<M: Message>(control: &Control, mut receiver: impl Waiting<M>) {
    ages(control, || receiver.receive_asleep().sequence());
}

pub fn floor_hand_over(control: &Control) {
    at_moments(control, |time| control.ping.0.store(time, Release));
}

pub fn floor_take_over(control: &Control) {
    let mut last = 0;
    ages(control, || {
        while control.ping.0.load(Acquire) == last {}
        last = control.ping.0.load(Acquire);
        last
    });
}

/// The floor under streams: blocks of a queue's size that another core writes, and this one copies out.
pub fn floor_copy(control: &Control, case: &Case, writes: bool) {
    const LONGEST: usize = 1 << 20;
    let length = (case.capacity * case.bytes).min(LONGEST);
    let mut private = vec![1u8; length];
    let (shared, mut turn, mut times) = (control.arena(), 0, Vec::new());
    let begin = now();
    while !control.is_stopped() {
        let wanted = if writes { 2 * turn } else { 2 * turn + 1 };
        if !is_turn(control, wanted) {
            return;
        }
        // SAFETY: the arena is longer, and it is this side's turn.
        unsafe {
            if writes {
                shared.copy_from_nonoverlapping(private.as_ptr(), length);
            } else {
                let begin = now();
                private.as_mut_ptr().copy_from_nonoverlapping(shared, length);
                std::hint::black_box(&mut private);
                times.push((now() - begin) as f64);
            }
        }
        control.ping.0.store(wanted + 1, Release);
        turn += 1;
        if !writes && times.len() > 8 && now() - begin > SPAN {
            control.finish(&[(length / case.bytes) as f64 * 1000.0 / median(&mut times[1..])]);
        }
    }
}

fn warm_up(work: &mut impl FnMut()) {
    let end = now() + WARM_UP;
    for _ in 0..1600 {
        work();
        if now() > end {
            return;
        }
    }
}

/// Runs `work` until the time is up, at least three times; how many nanoseconds each took.
fn samples(span: u64, work: &mut impl FnMut()) -> Vec<f64> {
    let begin = now();
    let mut before = begin;
    let mut times = Vec::with_capacity(1 << 18);
    while times.len() < 3 || before - begin < span {
        work();
        let now = now();
        times.push((now - before) as f64);
        before = now;
    }
    times
}

/// Their median.
pub fn sample(span: u64, work: &mut impl FnMut()) -> f64 {
    median(&mut samples(span, work))
}

fn percentile(samples: &mut [f64], part: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[((samples.len() - 1) as f64 * part) as usize]
}

/// How long a side may wait for the other, who then is dead.
pub const PATIENCE: Duration = Duration::from_secs(5);
