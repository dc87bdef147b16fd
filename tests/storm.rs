//! Storms: processes in three languages work on one queue, are killed at random, and are replaced; every element is
//! accounted for.
//!
//! `SHMDS_SOAK=1` makes the storm last ten minutes, `SHMDS_STORM_SECONDS` as long as it says.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use shmds::{Queue, QueueOptions, Segment};
use support::*;

const CAPACITY: u64 = 64;
/// Nobody may be in everybody's way for longer.
const LONGEST_STALL: Duration = Duration::from_millis(100);
const TICK: Duration = Duration::from_millis(2);
/// Room for 32 million elements in a log; what is not written takes none.
const LOG_WORDS: u64 = 64 << 20;

fn how_long() -> Duration {
    let seconds = std::env::var("SHMDS_STORM_SECONDS").map(|seconds| seconds.parse().expect("a number of seconds"));
    Duration::from_secs(seconds.unwrap_or(if is_soak() { 600 } else { 30 }))
}

/// A process of the storm, and what it writes down.
struct Worker {
    peer: Peer,
    log: Log,
    /// The number of this producer; consumers have none.
    producer: Option<u64>,
}

struct Storm {
    queue: Queue<Message>,
    segment: Segment,
    name: Name,
    directory: TempDir,
    random: Random,
    producers: u64,
    logs: u64,
}

impl Storm {
    fn new(options: &QueueOptions) -> Self {
        let name = Name::new();
        let segment = fresh(&name);
        let queue = Queue::create(&segment, "storm", options).unwrap();
        Self { name, segment, queue, directory: TempDir::new(), random: Random::new(), producers: 0, logs: 0 }
    }

    fn start(&mut self, produces: bool) -> Worker {
        self.logs += 1;
        let log = Log::create(self.directory.path(&self.logs.to_string()), if produces { 2 } else { LOG_WORDS });
        let language = self.random.one_of(&EVERY_LANGUAGE);
        let style = self.random.one_of(&["", " --inplace"]);
        let (name, path) = (&self.name, log.word_for_peer());
        if !produces {
            let peer = language.start(&format!("storm-consume {name} storm {path}{style}"));
            return Worker { peer, log, producer: None };
        }
        let producer = self.producers;
        self.producers += 1;
        let peer = language.start(&format!("storm-produce {name} storm {producer} 0 {path}{style}"));
        Worker { peer, log, producer: Some(producer) }
    }

    /// Everything the dead had was given back: nobody but us is there, and the queue holds what it did at first.
    fn is_sound(&self) {
        self.segment.reap().unwrap();
        assert_eq!((self.segment.count(), self.segment.participants().len()), (1, 1));
        assert_eq!(self.segment.find("storm").unwrap().unwrap().users, 1);
        assert_eq!(self.queue.dequeue().unwrap(), None);
        for _ in 0..3 {
            (0..CAPACITY).for_each(|nth| assert!(self.queue.enqueue(&Message::new(1, nth)).unwrap(), "no room: {nth}"));
            assert!(!self.queue.enqueue(&Message::new(1, 0)).unwrap() && self.queue.is_full());
            (0..CAPACITY).for_each(|nth| assert_eq!(self.queue.dequeue().unwrap(), Some(Message::new(1, nth))));
            assert!(self.queue.dequeue().unwrap().is_none() && self.queue.is_empty());
        }
    }
}

/// Watches from a thread of its own whether elements are taken all the time.
struct Watch {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Stalls>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Stalls {
    /// The longest, without the time in which this process itself should have run and did not: whatever kept it from
    /// running may have kept the others.
    longest: Duration,
    /// The longest by the clock.
    by_the_clock: Duration,
}

impl Watch {
    fn over(queue: Queue<Message>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let over = over.clone();
            move || watch(&queue, &over)
        });
        Self { over, thread }
    }

    fn sees_a_stall(&self) -> bool {
        self.thread.is_finished()
    }

    fn end(self) -> Stalls {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Until it is over, or nothing moves for too long.
fn watch(queue: &Queue<Message>, over: &AtomicBool) -> Stalls {
    let (mut longest, mut current) = (Stalls::default(), Stalls::default());
    let (mut taken, mut ticked) = (queue.stats().dequeued, Instant::now());
    while !over.load(Ordering::Relaxed) && longest.longest <= LONGEST_STALL {
        std::thread::sleep(TICK);
        let (now, passed) = (queue.stats().dequeued, ticked.elapsed());
        ticked = Instant::now();
        if now != taken {
            (taken, current) = (now, Stalls::default());
            continue;
        }
        current.longest += passed.min(2 * TICK);
        current.by_the_clock += passed;
        longest.longest = longest.longest.max(current.longest);
        longest.by_the_clock = longest.by_the_clock.max(current.by_the_clock);
    }
    longest
}

#[test]
fn a_storm_over_an_mpmc_queue_loses_only_what_the_killed_held_and_never_stalls() {
    let _alone = measuring();
    let mut storm = Storm::new(&QueueOptions::new(CAPACITY));
    let (mut books, mut kills) = (Books::default(), 0_u64);
    let mut workers: Vec<Worker> = (0..8).map(|nth| storm.start(nth % 2 == 0)).collect();
    eventually("everybody works", || workers.iter().all(|worker| worker.log.get(0) > 0));

    let watch = Watch::over(storm.queue.try_clone().unwrap());
    let end = Instant::now() + how_long();
    while Instant::now() < end && !watch.sees_a_stall() {
        let victim = storm.random.below(workers.len() as u64) as usize;
        let fresh = storm.start(workers[victim].producer.is_some());
        let dead = std::mem::replace(&mut workers[victim], fresh);
        kills += 1;
        bury(dead, &workers, &mut books);
        std::thread::sleep(storm.random.micros(2_000, 40_000));
    }
    let stalls = watch.end();

    // Producers first, so that the consumers drain the queue.
    let (producers, mut consumers): (Vec<_>, Vec<_>) = workers.into_iter().partition(|one| one.producer.is_some());
    for dead in producers {
        bury(dead, &consumers, &mut books);
    }
    eventually("the queue is drained", || storm.queue.is_empty());
    while let Some(dead) = consumers.pop() {
        bury(dead, &consumers, &mut books);
    }
    while let Some(message) = storm.queue.dequeue().unwrap() {
        books.left(&message);
    }
    books.close();
    say(&format!("MPMC storm: {kills} kills, {}; {stalls:?}", books.summary()));
    assert!(stalls.longest <= LONGEST_STALL, "{stalls:?}");
    storm.is_sound();
}

/// Kills a worker and enters what it wrote down.
fn bury(dead: Worker, living: &[Worker], books: &mut Books) {
    dead.peer.kill();
    match dead.producer {
        Some(producer) => books.producer_died(producer, dead.log.get(0), dead.log.get(1)),
        None => {
            let reached = living.iter().filter_map(|one| Some((one.producer?, one.log.get(0)))).collect();
            books.consumer_died(&dead.log, reached);
        }
    }
    std::fs::remove_file(dead.log.path()).unwrap();
}

#[test]
fn a_storm_over_an_spsc_queue_delivers_in_order_and_loses_only_what_dead_consumers_held() {
    let _alone = measuring();
    let mut storm = Storm::new(&QueueOptions::new(CAPACITY).spsc());
    let mut succession = Succession::default();
    let (mut producer, mut consumer) = (storm.start(true), storm.start(false));
    let end = Instant::now() + how_long() / 3;
    let mut kills = 0_u64;
    while Instant::now() < end {
        std::thread::sleep(storm.random.micros(5_000, 50_000));
        kills += 1;
        // An end is free when its owner is dead, not before: a successor that is too early is refused.
        if storm.random.below(2) == 0 {
            succession.producer_died(end_producer(producer));
            producer = storm.start(true);
        } else {
            succession.consumer_died(end_consumer(consumer).pairs(), 1);
            consumer = storm.start(false);
        }
    }
    succession.producer_died(end_producer(producer));
    succession.consumer_died(end_consumer(consumer).pairs(), 1);
    succession.rest(std::iter::from_fn(|| storm.queue.dequeue().unwrap()));
    say(&format!("SPSC storm: {kills} kills, {}", succession.summary()));
    storm.is_sound();
}

fn end_producer(worker: Worker) -> (u64, u64) {
    worker.peer.kill();
    (worker.log.get(0), worker.log.get(1))
}

fn end_consumer(worker: Worker) -> Log {
    worker.peer.kill();
    std::fs::remove_file(worker.log.path()).unwrap();
    worker.log
}
