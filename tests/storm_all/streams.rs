//! The structures through which elements travel, and the pool.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use shmds::{Array, Atomic, ByteQueue, ByteQueueOptions, Pool, Queue, QueueOptions, Ring, RingOptions, Segment};

use crate::acts::{BYTES_END, PEER, RING_PEER, reached, start_family};
use crate::bytes::{Holding, judge};
use crate::family::{Album, CHILDREN};
use crate::support::*;
use crate::troupe::{Act, Part, Tally, Troupe, Worker};

/// Room for 64 million elements in a log: more than a consumer takes in its life. What is not written takes none.
const LOG_WORDS: u64 = 128 << 20;
const CAPACITY: u64 = 64;

/// A queue is as empty, and has as much room, as when it was new; else something is lost in it.
fn is_as_new(queue: &Queue<Message>) -> u64 {
    let has_room = (0..CAPACITY).filter(|nth| queue.enqueue(&Message::new(1, *nth)).unwrap()).count() as u64;
    assert!(!queue.enqueue(&Message::new(1, 0)).unwrap());
    while queue.dequeue().unwrap().is_some() {}
    CAPACITY - has_room
}

fn start_end(part: &Part<'_>, language: Language, queue: &str, number: u64, style: &str) -> Worker {
    let name = &part.world.name;
    if part.role == "produce" {
        let words = |log: &str| format!("storm-produce {name} {queue} {number} 0 {log}{style}");
        part.start(language, PEER, number, 2, words)
    } else {
        part.start(language, PEER, 0, LOG_WORDS, |log| format!("storm-consume {name} {queue} {log}{style}"))
    }
}

// ---- queues -----------------------------------------------------------------------------------------------------

pub struct Mpmc {
    queue: Queue<Message>,
    books: Books,
    producers: u64,
}

impl Mpmc {
    pub fn new(segment: &Segment) -> Box<Self> {
        let queue = Queue::create(segment, "mpmc", &QueueOptions::new(CAPACITY)).unwrap();
        Box::new(Self { queue, books: Books::default(), producers: 0 })
    }
}

impl Act for Mpmc {
    fn structure(&self) -> &'static str {
        "queue, mpmc"
    }

    fn cast(&self) -> &'static [&'static str] {
        &["produce", "produce", "consume", "consume", "family"]
    }

    fn start(&mut self, role: &'static str, part: Part<'_>) -> Worker {
        let number = self.producers;
        if role == "family" {
            self.producers += CHILDREN;
            return start_family(&part, "queue", number);
        }
        self.producers += u64::from(role == "produce");
        let (language, style) = (part.random.one_of(&EVERY_LANGUAGE), part.random.one_of(&["", " --inplace"]));
        start_end(&part, language, "mpmc", number, style)
    }

    fn bury(&mut self, dead: &Worker, living: &[Worker], _: &mut Tally) {
        match dead.role {
            "produce" => self.books.producer_died(dead.number, dead.log.get(0), dead.log.get(1)),
            "family" => {
                for (number, (intent, done)) in (dead.number..).zip(Album(&dead.log).children()) {
                    self.books.producer_died(number, intent, done);
                }
            }
            _ => self.books.consumer_died(&dead.log, reached(living)),
        }
    }

    fn rest(&mut self, troupe: &mut Troupe<'_>, tally: &mut Tally) {
        ["produce", "family"].iter().for_each(|role| troupe.kill_all(role, self, tally));
        eventually("the queue is drained", || self.queue.is_empty());
        troupe.kill_all("consume", self, tally);
        while let Some(message) = self.queue.dequeue().unwrap() {
            self.books.left(&message);
        }
        // It fails when an element came twice, or is missing and nobody had it.
        self.books.close();
        tally.held += self.books.lost();
        tally.leaked += is_as_new(&self.queue);
    }
}

pub struct Spsc {
    queue: Queue<Message>,
    succession: Succession,
    producers: u64,
}

impl Spsc {
    pub fn new(segment: &Segment) -> Box<Self> {
        let queue = Queue::create(segment, "spsc", &QueueOptions::new(CAPACITY).spsc()).unwrap();
        Box::new(Self { queue, succession: Succession::default(), producers: 0 })
    }
}

impl Act for Spsc {
    fn structure(&self) -> &'static str {
        "queue, spsc"
    }

    fn cast(&self) -> &'static [&'static str] {
        &["produce", "consume"]
    }

    fn start(&mut self, role: &'static str, part: Part<'_>) -> Worker {
        let number = self.producers;
        self.producers += u64::from(role == "produce");
        let (language, style) = (part.random.one_of(&EVERY_LANGUAGE), part.random.one_of(&["", " --inplace"]));
        start_end(&part, language, "spsc", number, style)
    }

    fn bury(&mut self, dead: &Worker, _: &[Worker], _: &mut Tally) {
        if dead.role == "produce" {
            self.succession.producer_died((dead.log.get(0), dead.log.get(1)));
        } else {
            self.succession.consumer_died(dead.log.pairs(), 1);
        }
    }

    fn rest(&mut self, troupe: &mut Troupe<'_>, tally: &mut Tally) {
        ["produce", "consume"].iter().for_each(|role| troupe.kill_all(role, self, tally));
        self.succession.rest(std::iter::from_fn(|| self.queue.dequeue().unwrap()));
        tally.held += self.succession.lost();
        tally.leaked += is_as_new(&self.queue);
    }
}

// ---- byte queues ------------------------------------------------------------------------------------------------

pub struct Bytes {
    queue: ByteQueue,
    succession: Succession,
    producers: u64,
    /// A taker died that looked at a message in place: the last one it logged may come again.
    again: bool,
}

impl Bytes {
    pub fn new(segment: &Segment) -> Box<Self> {
        let queue = ByteQueue::create(segment, "bytes", &ByteQueueOptions::new(1 << 14)).unwrap();
        Box::new(Self { queue, succession: Succession::default(), producers: 0, again: false })
    }

    /// Without the one that came again.
    fn fresh<'a>(&mut self, pairs: &'a [u64]) -> &'a [u64] {
        let [producer, sequence, rest @ ..] = pairs else { return pairs };
        let is_again = self.again && self.succession.last() == Some((*producer, *sequence));
        self.again = false;
        if is_again { rest } else { pairs }
    }
}

impl Act for Bytes {
    fn structure(&self) -> &'static str {
        "byte queue"
    }

    fn cast(&self) -> &'static [&'static str] {
        &["send", "take"]
    }

    fn start(&mut self, role: &'static str, part: Part<'_>) -> Worker {
        let (name, number) = (&part.world.name, self.producers);
        self.producers += u64::from(role == "send");
        let words = if role == "send" { 2 } else { LOG_WORDS };
        part.start(Language::Rust, BYTES_END, number, words, |log| format!("{role} {name} {log} {number}"))
    }

    fn bury(&mut self, dead: &Worker, _: &[Worker], _: &mut Tally) {
        if dead.role == "send" {
            self.succession.producer_died((dead.log.get(0), dead.log.get(1)));
            return;
        }
        let holding = Holding::of(&dead.log);
        let pairs = self.fresh(dead.log.pairs());
        self.succession.consumer_died(pairs, u64::from(holding == Holding::Copying));
        self.again |= holding == Holding::InPlace;
    }

    fn rest(&mut self, troupe: &mut Troupe<'_>, tally: &mut Tally) {
        ["send", "take"].iter().for_each(|role| troupe.kill_all(role, self, tally));
        let mut left = Vec::new();
        while let Some(message) = self.queue.receive().unwrap() {
            // SAFETY: the producer keeps to the rules, and is dead.
            let (producer, sequence) = judge(unsafe { message.as_slice() }, message.tag());
            left.extend([producer, sequence]);
        }
        let left = self.fresh(&left).to_vec();
        self.succession.rest(left.chunks(2).map(|pair| Message::new(pair[0], pair[1])));
        tally.held += self.succession.lost();
        // There is room for the longest again.
        let longest = vec![0; self.queue.longest() as usize];
        tally.leaked += u64::from(!self.queue.send(&longest, 0).unwrap());
        drop(self.queue.receive().unwrap());
    }
}

// ---- rings ------------------------------------------------------------------------------------------------------

/// For so many positions it is noted that they were handed out.
const MARKS: u64 = 2 << 20;
const BULK: u64 = 16;

pub struct RingAct {
    ring: Ring<Sample>,
    log: Array<u64>,
    end: Atomic<u64>,
    overwrites: bool,
    consumers: u64,
}

impl RingAct {
    pub fn new(segment: &Segment, overwrites: bool) -> Box<Self> {
        let options = RingOptions::new(1024);
        let options = if overwrites { options.overwrite() } else { options };
        let ring = Ring::create(segment, "r", &options).unwrap();
        let end = Atomic::create(segment, "end", 0).unwrap();
        let log = Array::create(segment, "log", 8 + if overwrites { 0 } else { MARKS }).unwrap();
        Box::new(Self { ring, log, end, overwrites, consumers: 0 })
    }

    /// How many were in the hands of dead consumers. Each had at most what one call hands out.
    fn held(&self, tally: &mut Tally) -> u64 {
        let stats = self.ring.stats().unwrap();
        let taken = stats.read.min(MARKS) as usize;
        let mut marks = vec![0; taken];
        self.log.copy_to_slice(8, &mut marks).unwrap();
        tally.twice += marks.iter().filter(|times| **times > 1).count() as u64;
        let runs = marks.chunk_by(|one, other| (*one == 0) == (*other == 0)).filter(|run| run[0] == 0);
        let (held, deaths) = runs.fold((0, 0), |(held, deaths), run| {
            let length = run.len() as u64;
            (held + length, deaths + length.div_ceil(BULK))
        });
        assert!(deaths <= self.consumers, "{held} are missing, by {deaths} deaths, and there were {}", self.consumers);
        held
    }
}

impl Act for RingAct {
    fn structure(&self) -> &'static str {
        if self.overwrites { "ring, overwrite" } else { "ring, lossless" }
    }

    fn cast(&self) -> &'static [&'static str] {
        if self.overwrites { &["push", "poll", "wait", "family"] } else { &["push", "pop"] }
    }

    fn start(&mut self, role: &'static str, part: Part<'_>) -> Worker {
        if role == "family" {
            return start_family(&part, "ring", 0);
        }
        let (language, name) = (part.random.one_of(&EVERY_LANGUAGE), &part.world.name);
        let pause = if role == "push" { 50 } else { 0 };
        part.start(language, RING_PEER, 0, 2, |_| format!("{role} {name} {BULK} {pause}"))
    }

    fn bury(&mut self, dead: &Worker, _: &[Worker], tally: &mut Tally) {
        self.consumers += u64::from(dead.role == "pop");
        if dead.role == "push" {
            // The positions that the dead was about to write, and had written.
            let (written, begun, done) =
                (self.ring.stats().unwrap().written, self.log.get(0).unwrap(), self.log.get(1).unwrap());
            tally.lost += done.saturating_sub(written);
            tally.twice += written.saturating_sub(begun);
        }
    }

    fn rest(&mut self, troupe: &mut Troupe<'_>, tally: &mut Tally) {
        troupe.kill_all("push", self, tally);
        troupe.kill_all("family", self, tally);
        let written = self.ring.stats().unwrap().written;
        if !self.overwrites {
            let taken = || self.ring.stats().map(|stats| stats.read).unwrap();
            eventually("the ring is drained", || taken() == written);
            troupe.kill_all("pop", self, tally);
            tally.lost += self.ring.stats().unwrap().lost;
            tally.held += self.held(tally);
            return;
        }
        // Those who read count all, what they lost included.
        let end = written + 10_000;
        self.end.store(end, Ordering::Release).unwrap();
        let mut elements = vec![Sample([0; 8]); BULK as usize];
        for first in (written..end).step_by(BULK as usize) {
            let count = BULK.min(end - first);
            (first..end).zip(&mut elements).for_each(|(position, sample)| *sample = Sample::new(position, 0));
            assert_eq!(self.ring.push_bulk(&elements[..count as usize]).unwrap() as u64, count);
        }
        for role in ["poll", "wait"] {
            for said in troupe.finish_all(role, tally) {
                let words: Vec<&str> = said.lines().find(|line| line.starts_with("got ")).unwrap().split(' ').collect();
                let [got, lost] = [words[1], words[3]].map(|word| word.parse::<u64>().unwrap());
                tally.lost += end.saturating_sub(got + lost);
                tally.twice += (got + lost).saturating_sub(end);
            }
        }
    }
}

// ---- pools ------------------------------------------------------------------------------------------------------

const OBJECTS: u64 = 24;
/// So many may own objects, one after the other.
const OWNERS: u64 = 64 << 10;

pub struct PoolAct {
    pool: Pool<Object>,
    /// Says of each owner whether it is about to be killed: then its marks may be found.
    doomed: Array<u64>,
    owners: u64,
    segment: Segment,
}

impl PoolAct {
    pub fn new(segment: &Segment) -> Box<Self> {
        let pool = Pool::create(segment, "pool", OBJECTS).unwrap();
        let doomed = Array::create(segment, "doomed", OWNERS).unwrap();
        let segment = segment.clone();
        Box::new(Self { pool, doomed, owners: 0, segment })
    }
}

impl Act for PoolAct {
    fn structure(&self) -> &'static str {
        "pool"
    }

    fn cast(&self) -> &'static [&'static str] {
        &["own", "own", "own", "family"]
    }

    fn start(&mut self, role: &'static str, part: Part<'_>) -> Worker {
        let number = self.owners;
        if role == "family" {
            self.owners += CHILDREN;
            return start_family(&part, "pool", number);
        }
        self.owners += 1;
        let (language, name) = (part.random.one_of(&EVERY_LANGUAGE), &part.world.name);
        part.start(language, PEER, number, 2, |log| format!("pool-storm {name} pool doomed {number} {log}"))
    }

    fn doom(&mut self, worker: &Worker) {
        let numbers = if worker.role == "family" { CHILDREN } else { 1 };
        (worker.number..).take(numbers as usize).for_each(|number| self.doomed.set(number as usize, 1).unwrap());
    }

    fn bury(&mut self, _: &Worker, _: &[Worker], _: &mut Tally) {}

    fn rest(&mut self, troupe: &mut Troupe<'_>, tally: &mut Tally) {
        ["family", "own"].iter().for_each(|role| troupe.kill_all(role, self, tally));
        self.segment.reap().unwrap();
        tally.leaked += OBJECTS - self.pool.stats().available + self.pool.handles().count() as u64;
        let handles = self.pool.acquire_batch(OBJECTS as usize + 1).unwrap();
        let objects: HashSet<_> = handles.iter().map(|handle| self.pool.get(*handle).unwrap()).collect();
        tally.twice += (handles.len() - objects.len()) as u64;
        tally.leaked += OBJECTS.abs_diff(handles.len() as u64);
        self.pool.release_batch(&handles).unwrap();
    }
}
