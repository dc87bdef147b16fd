//! A hundred creators race for one name: there is always one segment, and in the end none.
//!
//! `SHMDS_SOAK=1` runs a thousand rounds.

mod support;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use shmds::{Queue, QueueOptions, Result, Segment, SegmentOptions, Status};
use support::*;

const PROCESSES: u64 = 10;
const THREADS: u64 = 10;
const CREATORS: u64 = PROCESSES * THREADS;

fn rounds() -> u64 {
    if is_soak() { 1000 } else { 30 }
}

fn options() -> SegmentOptions {
    SegmentOptions::new().size(256 << 10).max_participants(256).lock_timeout(Duration::from_secs(30))
}

/// Counts who has come this far, over all processes, and waits for the rest.
fn meet(log: &Log, point: u64) {
    let word = log.word(point);
    word.fetch_add(1, Ordering::AcqRel);
    let start = Instant::now();
    while log.get(point) < CREATORS {
        assert!(start.elapsed() < PATIENCE, "only {} came to point {point}", log.get(point));
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// Starts ten processes with ten racing threads each, and waits for them.
fn race(test: &str, name: &Name, rounds: u64) {
    let logs = TempDir::new();
    let log = Log::create(logs.path("points"), 4 * rounds);
    let words = format!("{name} {} {rounds}", log.word_for_peer());
    let peers: Vec<Peer> = (0..PROCESSES).map(|_| Peer::role(test, &words)).collect();
    for peer in peers {
        peer.finish();
    }
    assert!(!name.exists(), "nothing is left");
}

/// What each of the ten threads of a racing process does in each round.
fn racing(each: impl Fn(&str, &Log, u64) + Sync) {
    let Some(words) = role_words() else { return };
    let log = Log::open(words[1].as_ref());
    let rounds: u64 = words[2].parse().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..rounds).for_each(|round| each(&words[0], &log, round)));
        }
    });
    println!();
}

#[test]
#[ignore = "not a test: a process that tests start"]
fn creator() {
    racing(|name, log, round| {
        meet(log, 4 * round);
        let segment = Segment::create(name, &options()).unwrap();
        let roll = Queue::<u64>::create(&segment, "roll", &QueueOptions::new(CREATORS)).unwrap();
        assert!(roll.enqueue(&1).unwrap());
        meet(log, 4 * round + 1);
        assert_eq!(u64::from(segment.count()), CREATORS, "everybody is in the same segment");
        assert_eq!(roll.len(), CREATORS, "and in the same queue");
        assert_eq!(segment.stats().unwrap().entries_used, 1);
        meet(log, 4 * round + 2);
        drop(roll);
        drop(segment);
    });
}

#[test]
fn a_hundred_creators_get_one_segment_and_the_last_closer_removes_it() {
    let name = Name::new();
    race("creator", &name, rounds());
}

#[test]
#[ignore = "not a test: a process that tests start"]
fn exclusive_creator() {
    racing(|name, log, round| {
        meet(log, 4 * round);
        let created = Segment::create(name, &options().exclusive());
        match &created {
            Ok(_) => {
                log.word(4 * round + 1).fetch_add(1, Ordering::AcqRel);
            }
            Err(error) => assert_eq!(error.status(), Status::Exists, "{error}"),
        }
        meet(log, 4 * round + 2);
        assert_eq!(log.get(4 * round + 1), 1, "one and no more");
        if let Ok(segment) = created {
            assert_eq!(segment.count(), 1, "nobody else came in");
        }
        meet(log, 4 * round + 3);
        assert!(!Name::path_of(name).exists(), "gone with its creator");
    });
}

#[test]
fn of_a_hundred_exclusive_creators_one_wins() {
    let name = Name::new();
    race("exclusive_creator", &name, rounds());
}

#[test]
#[ignore = "not a test: a process that tests start"]
fn passer_by() {
    racing(|name, _, round| {
        // No meeting here: creators meet last closers all the time.
        let segment = Segment::create(name, &options()).unwrap();
        let queue = Queue::<u64>::create(&segment, "q", &QueueOptions::new(512)).unwrap();
        assert!(queue.enqueue(&round).unwrap());
        assert!(queue.dequeue_wait(PATIENCE).unwrap().is_some(), "what somebody put in, somebody gets out");
        if round % 3 == 0 {
            std::thread::yield_now();
        }
        drop(queue);
        let opened: Result<Segment> = Segment::open(name, &options());
        assert_eq!(opened.unwrap().name(), segment.name(), "it is there as long as we are");
    });
}

#[test]
fn creators_and_last_closers_at_once_never_fail() {
    let name = Name::new();
    race("passer_by", &name, rounds() * 3);
}

#[test]
#[ignore = "not a test: a process that tests start"]
fn revolving_door() {
    let Some(words) = role_words() else { return };
    for round in 0..words[1].parse::<u64>().unwrap() {
        let segment = Segment::create(&words[0], &options()).unwrap();
        let stats = segment.stats().unwrap();
        assert!((1..=2).contains(&segment.count()), "{stats:?}");
        assert!(!stats.orphaned, "whoever is attached has the segment that the name means");
        (0..round % 64).for_each(|_| std::hint::spin_loop());
    }
    println!();
}

#[test]
fn a_creator_and_the_last_closer_at_the_same_moment_are_never_in_different_segments() {
    let name = Name::new();
    let words = format!("{name} {}", rounds() * 100);
    [0, 1].map(|_| Peer::role("revolving_door", &words)).into_iter().for_each(|peer| {
        peer.finish();
    });
    assert!(!name.exists(), "nothing is left");
}
