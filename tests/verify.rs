//! Verifying: what is sound is found sound, while everybody works and when nobody does, and each thing that is broken is found and named.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use shmds::{
    Array, Atomic, ByteQueue, ByteQueueOptions, Finding, Pool, Queue, QueueOptions, Ring, RingOptions, Segment,
    SegmentOptions, Span, Status, Verified, VerifyOptions,
};
use support::*;

const LIVE: VerifyOptions = VerifyOptions::new();
const AT_REST: VerifyOptions = VerifyOptions::new().at_rest();

fn verify(segment: &Segment, options: VerifyOptions) -> (Verified, Vec<Finding>) {
    let mut findings = Vec::new();
    let verified = segment.verify(options, |finding| findings.push(finding.clone())).unwrap();
    assert!(verified.damage + verified.leftovers >= findings.len() as u64);
    (verified, findings)
}

#[track_caller]
fn is_clean(segment: &Segment, options: VerifyOptions) -> u64 {
    let (verified, findings) = verify(segment, options);
    assert!(findings.is_empty() && verified.unknown == 0, "{findings:#?}");
    verified.sound().unwrap();
    verified.checked
}

#[track_caller]
fn is_clean_always(segment: &Segment) {
    let read_only = Segment::open(segment.name(), &SegmentOptions::new().read_only()).unwrap();
    for options in [LIVE, AT_REST] {
        assert_eq!(is_clean(segment, options), is_clean(&read_only, options));
    }
}

/// One of everything.
struct Everything {
    queues: Vec<Queue<u64>>,
    large: Queue<[u64; 9]>,
    rings: Vec<Ring<u64>>,
    bytes: Vec<ByteQueue>,
    pool: Pool<u64>,
    array: Array<u64>,
    atomic: Atomic<u32>,
    _span: Span,
}

impl Everything {
    fn new(segment: &Segment) -> Self {
        let queue = |name: &str, options: QueueOptions| Queue::create(segment, name, &options).unwrap();
        let ring = |name: &str, options: RingOptions| Ring::create(segment, name, &options).unwrap();
        let bytes = |name: &str, options: ByteQueueOptions| ByteQueue::create(segment, name, &options).unwrap();
        Self {
            queues: vec![
                queue("mpmc", QueueOptions::new(8)),
                queue("mpmc-of-one", QueueOptions::new(1)),
                queue("spsc", QueueOptions::new(8).spsc()),
                queue("spsc-of-one", QueueOptions::new(1).spsc()),
            ],
            large: Queue::create(segment, "spsc-large", &QueueOptions::new(4).spsc()).unwrap(),
            rings: vec![ring("ring", RingOptions::new(8)), ring("overwriting", RingOptions::new(8).overwrite())],
            bytes: vec![
                bytes("bytes", ByteQueueOptions::new(4000)),
                bytes("timed", ByteQueueOptions::new(4000).align(64).times()),
                bytes("stream", ByteQueueOptions::stream(4000)),
            ],
            pool: Pool::create(segment, "pool", 70).unwrap(),
            array: Array::create(segment, "array", 100).unwrap(),
            atomic: Atomic::create(segment, "atomic", 5).unwrap(),
            _span: Span::create(segment, "span", 700, 64, true).unwrap(),
        }
    }

    const COUNT: u64 = 14;

    /// Moves everything on by something different each time; `step` is what is asked before each.
    fn work(&self, turn: u64, step: impl Fn()) {
        for queue in &self.queues {
            for value in 0..turn % 13 {
                step();
                let _ = queue.enqueue(&value).unwrap();
            }
            if turn.is_multiple_of(3) {
                let claimed = queue.claim().unwrap();
                step();
                drop(claimed);
            }
            for _ in 0..turn % 7 {
                step();
                let _ = queue.dequeue().unwrap();
            }
            let _ = queue.enqueue_bulk(&[1, 2, 3]).unwrap();
            step();
            let _ = queue.dequeue_bulk(&mut [0; 4]).unwrap();
            let peeked = queue.peek().unwrap();
            step();
            drop(peeked);
        }
        for _ in 0..turn % 5 {
            let _ = self.large.enqueue(&[turn; 9]).unwrap();
            step();
        }
        (0..turn % 4).for_each(|_| _ = self.large.dequeue().unwrap());
        for ring in &self.rings {
            (0..turn % 11).for_each(|value| _ = ring.push(&value).unwrap());
            step();
            let _ = ring.push_bulk(&[1, 2, 3, 4, 5]).unwrap();
            let _ = ring.pop_bulk(&mut [0; 3]).unwrap();
            step();
            let _ = ring.skip(turn % 3).unwrap();
        }
        for queue in &self.bytes {
            for number in 0..turn % 4 {
                let length = ((turn * 37 + number * 411) % 1800 + 1) as usize;
                if let Some(mut place) = queue.reserve(length).unwrap() {
                    place.write(0, &vec![7; length]).unwrap();
                    step();
                    if number != 2 {
                        place.commit(length, number).unwrap();
                    }
                }
            }
            step();
            for _ in 0..turn % 3 {
                if queue.name() == "stream" {
                    queue.consume(1, |_, there| there.min(999)).unwrap();
                } else {
                    drop(queue.receive().unwrap());
                }
            }
        }
        let objects = self.pool.acquire_batch((turn % 71) as usize).unwrap();
        step();
        self.pool.release_batch(&objects).unwrap();
        self.array.write(|array| array.fill(turn).inspect(|()| step())).unwrap();
        self.atomic.fetch_add(1, Ordering::Relaxed).unwrap();
    }
}

#[test]
fn what_is_sound_is_found_sound_in_every_state() {
    let name = Name::new();
    let segment = fresh(&name);
    is_clean_always(&segment);
    let all = Everything::new(&segment);
    assert_eq!(is_clean(&segment, AT_REST), Everything::COUNT);
    for turn in 0..300 {
        // In the middle of a writing, or with something claimed, it is not at rest.
        all.work(turn, || _ = is_clean(&segment, LIVE));
        is_clean_always(&segment);
    }
    // Names come and go; what is removed and still open is looked at, too.
    segment.remove("mpmc").unwrap();
    is_clean_always(&segment);
    drop(all);
    is_clean_always(&segment);
    segment.remove_all().unwrap();
    is_clean_always(&segment);
    // Memory that was used before is used again.
    drop(Everything::new(&segment));
    is_clean_always(&segment);
}

#[test]
#[ignore = "not a test: a process that tests start"]
fn busy() {
    let Some(words) = role_words() else { return };
    println!("\nhere");
    let segment = Segment::open(&words[0], &SegmentOptions::new()).unwrap();
    let seed: u64 = words[1].parse().unwrap();
    for turn in seed.. {
        match turn % 5 {
            0 => {
                let own = format!("own-{seed}");
                let queue = Queue::<u64>::create(&segment, &own, &QueueOptions::new(4)).unwrap();
                let _ = queue.enqueue(&turn).unwrap();
                segment.remove(&own).unwrap();
            }
            1 => drop(Segment::open(&words[0], &SegmentOptions::new()).unwrap()),
            _ => work_together(&segment, turn),
        }
    }
}

/// What several can do at once to the same structures.
fn work_together(segment: &Segment, turn: u64) {
    let quietly = |status: Status| assert_eq!(status, Status::Busy, "another has this end");
    let queue = Queue::<u64>::open(segment, "mpmc").unwrap();
    let pool = Pool::<u64>::open(segment, "pool").unwrap();
    for value in 0..20 {
        let _ = queue.enqueue(&value).unwrap();
        let _ = queue.dequeue().unwrap();
        let objects = pool.acquire_batch((turn % 9) as usize).unwrap();
        let _ = queue.enqueue_bulk(&[1, 2, 3]).unwrap();
        pool.release_batch(&objects).unwrap();
        drop(queue.peek().unwrap());
        drop(queue.claim().unwrap());
    }
    for name in ["spsc", "spsc-large"] {
        if name == "spsc" {
            let queue = Queue::<u64>::open(segment, name).unwrap();
            for value in 0..200 {
                queue.enqueue(&value).map_or_else(|error| quietly(error.status()), |_| ());
                queue.dequeue().map_or_else(|error| quietly(error.status()), |_| ());
            }
        } else {
            let queue = Queue::<[u64; 9]>::open(segment, name).unwrap();
            for value in 0..200 {
                queue.enqueue(&[value; 9]).map_or_else(|error| quietly(error.status()), |_| ());
                queue.dequeue().map_or_else(|error| quietly(error.status()), |_| ());
            }
        }
    }
    for name in ["ring", "overwriting"] {
        let ring = Ring::<u64>::open(segment, name).unwrap();
        for value in 0..200 {
            ring.push_bulk(&[value; 3]).map_or_else(|error| quietly(error.status()), |_| ());
            ring.pop().map_or_else(|error| quietly(error.status()), |_| ());
        }
    }
    for name in ["bytes", "timed"] {
        let bytes = ByteQueue::open(segment, name).unwrap();
        for value in 0..200 {
            let message = vec![7; (value * 31 % 900) as usize];
            bytes.send(&message, value).map_or_else(|error| quietly(error.status()), |_| ());
            bytes.receive().map_or_else(|error| quietly(error.status()), drop);
        }
    }
    let array = Array::<u64>::open(segment, "array").unwrap();
    let _ = array.write(|array| array.fill(turn));
}

#[test]
fn nothing_is_found_while_everybody_works() {
    let name = Name::new();
    let segment = fresh(&name);
    let all = Everything::new(&segment);
    // The ends of what has only one of each are the workers'.
    drop(all);
    let mut peers: Vec<_> =
        (0..3).map(|seed| Peer::role("busy", &format!("{} {}", &*name, seed * 1_000_000))).collect();
    peers.iter_mut().for_each(|peer| _ = peer.line("here"));
    let read_only = Segment::open(&name, &SegmentOptions::new().read_only()).unwrap();
    let done = AtomicBool::new(false);
    let limit = Duration::from_secs(if is_soak() { 120 } else { 4 });
    let looks: u64 = thread::scope(|scope| {
        let lookers: Vec<_> = [&segment, &read_only]
            .into_iter()
            .map(|segment| {
                scope.spawn(|| {
                    let mut looks = 0;
                    while !done.load(Ordering::Relaxed) {
                        is_clean(segment, LIVE);
                        looks += 1;
                        // Shared locks that overlap without end would keep those out who create and attach.
                        thread::sleep(Duration::from_micros(300));
                    }
                    looks
                })
            })
            .collect();
        let start = Instant::now();
        while start.elapsed() < limit && lookers.iter().all(|looker| !looker.is_finished()) {
            work_together(&segment, start.elapsed().as_millis() as u64);
        }
        done.store(true, Ordering::Relaxed);
        lookers.into_iter().map(|looker| looker.join().unwrap()).sum()
    });
    assert!(looks > 10, "{looks} looks");
    peers.into_iter().for_each(Peer::kill);
    // What they held when they died is theirs, until it is given back.
    let (verified, findings) = verify(&segment, LIVE);
    assert_eq!(verified.damage, 0, "{findings:#?}");
    // Those who died first may have been reaped by the others.
    assert!(verified.leftovers > 0, "{findings:#?}");
    assert!(segment.reap().unwrap() > 0);
    is_clean(&segment, LIVE);
    let (verified, findings) = verify(&segment, AT_REST);
    assert_eq!(verified.damage, 0, "{findings:#?}");
    say(&format!("{looks} looks while 4 processes worked"));
}
