//! A process that measures: one side of a case, or all of them in threads. `cpp/main.cpp` is the same in C++, for what is
//! written in that.

use std::os::fd::RawFd;
use std::sync::Arc;

use shmds::Segment;

use crate::case::{Case, Test};
use crate::control::{Control, end_in, pin};
use crate::kernel::{Futex, Link};
use crate::links::{Ours, Receiver, Sender, Waiting, Writer, segment};
use crate::{Message, alone, measure};

/// The longest a measuring process lives, in seconds.
const PATIENCE: u32 = 10;

pub struct Worker {
    control: &'static Control,
    cores: [usize; 2],
    /// None: all of them.
    side: Option<usize>,
    name: String,
    contender: String,
    case: Case,
    descriptors: Vec<RawFd>,
}

/// What a side does.
enum Job<S, R> {
    Produce(S),
    Consume(R),
    Ping(S, R),
    Echo(R, S),
    HandOver(S),
}

impl Worker {
    /// What a worker is told, after its first word. The coordinator starts workers in both languages so.
    pub fn words(fd: RawFd, cores: [usize; 2], side: Option<usize>, name: &str, contender: &str) -> Vec<String> {
        let side = side.map_or_else(|| "all".to_owned(), |side| side.to_string());
        let numbers = [fd.to_string(), cores[0].to_string(), cores[1].to_string(), side];
        numbers.into_iter().chain([name.to_owned(), contender.to_owned()]).collect()
    }

    pub fn parse(words: &[String]) -> Self {
        let number = |place: usize| words[place].parse::<usize>().expect("a number");
        Self {
            control: Control::inherited(number(0) as RawFd),
            cores: [number(1), number(2)],
            side: words[3].parse().ok(),
            name: words[4].clone(),
            contender: words[5].clone(),
            case: Case::parse(&words[6..13]),
            descriptors: words[13..].iter().map(|word| word.parse().expect("a descriptor")).collect(),
        }
    }

    pub fn run(&self) {
        end_in(PATIENCE);
        if self.side.is_some() {
            self.pin(self.side());
        }
        match (self.contender.as_str(), self.case.bytes) {
            ("shmds Rust", _) if !self.is_remote() && self.case.test != Test::Pair => {
                alone::ours(self.control, &self.case, &self.name);
            }
            ("raw system calls", _) => alone::raw(self.control, &self.case, &self.name),
            ("two lines" | "one line" | "a store" | "a copy of what another core wrote", _) => self.floor(),
            (_, 8) => self.contend::<[u64; 1]>(),
            (_, 64) => self.contend::<[u64; 8]>(),
            (_, 256) => self.contend::<[u64; 32]>(),
            (_, other) => panic!("no message has {other} bytes"),
        }
    }

    fn is_remote(&self) -> bool {
        self.case.sides() > 1
    }

    fn side(&self) -> usize {
        self.side.expect("one side")
    }

    /// Producers come first. The first consumer is not where the first producer is.
    fn pin(&self, side: usize) {
        let place = if side < self.case.producers { side } else { side - self.case.producers + 1 };
        pin(self.cores[place % 2]);
    }

    fn floor(&self) {
        let (control, one) = (self.control, self.contender == "one line");
        control.meet(2);
        match (self.case.test, self.side()) {
            (Test::RoundTrip, 0) => measure::floor_ping(control, one),
            (Test::RoundTrip, _) => measure::floor_pong(control, one),
            (Test::HandOver, 0) => measure::floor_hand_over(control),
            (Test::HandOver, _) => measure::floor_take_over(control),
            (_, side) => measure::floor_copy(control, &self.case, side == 0),
        }
    }

    fn contend<M: Message>(&self) {
        match self.contender.as_str() {
            "shmds Rust" => self.ours::<M>(),
            "rtrb" => self.threads::<M, _, _>(|| {
                let (sender, receiver) = rtrb::RingBuffer::new(self.case.capacity);
                (vec![sender], vec![receiver])
            }),
            "crossbeam ArrayQueue" => self.threads::<M, _, _>(|| {
                let queue = Arc::new(crossbeam_queue::ArrayQueue::new(self.case.capacity));
                (vec![queue.clone(); self.case.producers], vec![queue; self.case.consumers])
            }),
            #[cfg(feature = "iceoryx2")]
            "iceoryx2" => self.iceoryx::<M>(),
            "futex" => self.asleep::<M>(Futex::new(&self.control.ping), Futex::new(&self.control.pong)),
            kernel => {
                let link = |ends: &[RawFd]| Link::new(kernel, ends);
                let (there, back) = self.descriptors.split_at(2);
                if self.case.test == Test::WakeUp {
                    self.asleep::<M>(link(there), link(back));
                } else {
                    let ends = |queue: &str| link(if queue == "there" { there } else { back });
                    self.one_side::<M, _, _>(ends, ends);
                }
            }
        }
    }

    fn ours<M: Message>(&self) {
        let segment = segment(&self.name, &self.case);
        let end = |queue: &str| Ours::<M>::new(&segment, queue, &self.case);
        match self.case.test {
            Test::WakeUp => self.asleep::<M>(end("there").sleeping_at_once(), end("back").sleeping_at_once()),
            Test::HandOver if self.side() == 1 => {
                let receiver = end("there");
                self.meet();
                measure::take_over::<M>(self.control, receiver);
            }
            Test::Ring => {
                let ring = Writer::<M>::new(&segment, "ring", &self.case);
                if self.side() == 0 {
                    self.meet();
                    measure::produce(self.control, &self.case, 0, ring);
                } else {
                    let follower = ring.follower();
                    self.meet();
                    measure::consume(self.control, &self.case, self.side() - 1, follower);
                }
            }
            _ => self.one_side::<M, _, _>(end, end),
        }
    }

    #[cfg(feature = "iceoryx2")]
    fn iceoryx<M: Message>(&self) {
        use crate::iceoryx::{receiver, sender};
        let directory = std::path::absolute(crate::directory().join("iceoryx2")).expect("a path");
        let directory = directory.to_str().expect("a path of text");
        let service = |queue: &str| format!("{}/{queue}", self.name);
        self.one_side::<M, _, _>(
            |queue| sender(directory, &service(queue)),
            |queue| receiver(directory, &service(queue)),
        );
    }

    /// All sides have what they measure, so its name is needed no more, and a killed run leaves nothing.
    fn meet(&self) {
        self.control.meet(self.case.sides());
        if self.side() == 0 {
            let _ = Segment::unlink(&self.name);
        }
    }

    fn asleep<M: Message>(&self, there: impl Waiting<M>, back: impl Waiting<M>) {
        self.meet();
        if self.side() == 0 {
            measure::wake(self.control, there, back);
        } else {
            measure::woken(self.control, there, back);
        }
    }

    /// One side, over the queues "there" and "back".
    fn one_side<M, S, R>(&self, sender: impl Fn(&str) -> S, receiver: impl Fn(&str) -> R)
    where
        M: Message,
        S: Sender<M>,
        R: Receiver<M>,
    {
        let side = self.side();
        let is_producer = side < self.case.producers;
        let job = match self.case.test {
            Test::Throughput | Test::Apart if is_producer => Job::Produce(sender("there")),
            Test::Throughput | Test::Apart => Job::Consume(receiver("there")),
            Test::HandOver => Job::HandOver(sender("there")),
            Test::RoundTrip if is_producer => Job::Ping(sender("there"), receiver("back")),
            Test::RoundTrip => Job::Echo(receiver("there"), sender("back")),
            _ => {
                let (sender, receiver) = (sender("there"), receiver("there"));
                let _ = Segment::unlink(&self.name);
                return alone::pairs(self.control, &self.case, sender, receiver);
            }
        };
        self.meet();
        self.work(side, job);
    }

    fn work<M: Message, S: Sender<M>, R: Receiver<M>>(&self, side: usize, job: Job<S, R>) {
        let (control, case) = (self.control, &self.case);
        match job {
            Job::Produce(sender) if case.test == Test::Apart => measure::fill(control, sender),
            Job::Consume(receiver) if case.test == Test::Apart => measure::empty(control, receiver),
            Job::Produce(sender) => measure::produce(control, case, side, sender),
            Job::Consume(receiver) => measure::consume(control, case, side - case.producers, receiver),
            Job::Ping(sender, receiver) => measure::ping(control, sender, receiver),
            Job::Echo(receiver, sender) => measure::echo(control, receiver, sender),
            Job::HandOver(sender) => measure::hand_over(control, sender),
        }
    }

    /// All sides, in threads of this process.
    fn threads<M, S, R>(&self, queue: impl Fn() -> (Vec<S>, Vec<R>))
    where
        M: Message,
        S: Sender<M> + Send,
        R: Receiver<M> + Send,
    {
        let (mut there, mut arrived) = queue();
        let jobs: Vec<_> = match self.case.test {
            Test::Throughput | Test::Apart => {
                there.into_iter().map(Job::Produce).chain(arrived.into_iter().map(Job::Consume)).collect()
            }
            Test::RoundTrip => {
                let (mut back, mut returned) = queue();
                vec![Job::Ping(there.remove(0), returned.remove(0)), Job::Echo(arrived.remove(0), back.remove(0))]
            }
            _ => {
                pin(self.cores[0]);
                return alone::pairs(self.control, &self.case, there.remove(0), arrived.remove(0));
            }
        };
        std::thread::scope(|scope| {
            for (side, job) in jobs.into_iter().enumerate() {
                scope.spawn(move || {
                    self.pin(side);
                    self.control.meet(self.case.sides());
                    self.work(side, job);
                });
            }
        });
    }
}
