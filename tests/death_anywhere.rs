//! Processes that come and go, create and remove, killed at random instants: what they leave is a segment like any other.

mod support;

use shmds::{Queue, QueueOptions, Segment, SegmentOptions, Status};
use support::*;

const DEATHS: u32 = 200;

/// Comes and goes, creates and removes, until it is killed.
#[test]
#[ignore = "not a test: a process that tests start"]
fn restless() {
    let Some(words) = role_words() else { return };
    println!("\nready");
    let (name, seed) = (&words[0], words[1].parse::<u64>().unwrap());
    for round in seed.. {
        let segment = Segment::create(name, &sized()).unwrap();
        let own = format!("own-{}", round % 5);
        let options = QueueOptions::new(1 << (round % 12));
        let options = if round % 2 == 0 { options.spsc() } else { options };
        if let Ok(queue) = Queue::<u64>::create(&segment, &own, &options) {
            let _ = queue.enqueue(&round);
            let _ = queue.dequeue();
            if round % 3 == 0 {
                segment.remove(&own).unwrap();
            }
        } else {
            segment.remove(&own).unwrap();
        }
        let shared = Queue::<u64>::create(&segment, "shared", &QueueOptions::new(64)).unwrap();
        let _ = shared.enqueue(&round).unwrap();
        let _ = shared.dequeue().unwrap();
        if round % 4 == 0 {
            let claim = shared.claim().unwrap();
            segment.reap().unwrap();
            drop(claim);
        }
        drop(segment);
        drop(shared);
    }
}

/// Everything a segment is for works, and its books are in order.
fn is_sound(segment: &Segment) {
    segment.reap().unwrap();
    let table = SegmentOptions::new().size_for(0).unwrap();
    let (stats, entries) = (segment.stats().unwrap(), segment.entries().count() as u32);
    assert_eq!(stats.entries_used, entries, "nothing is removed and not free, nothing half-built");
    assert_eq!(stats.used + stats.free, stats.size - table, "every byte is free or somebody's");
    assert_eq!((stats.participants, segment.participants().len()), (1, 1));
    for entry in segment.entries().collect::<Vec<_>>() {
        assert!(segment.find(&entry.name).unwrap().is_some(), "{} is listed and not found", entry.name);
        let queue = Queue::<u64>::open(segment, &entry.name).unwrap();
        while queue.dequeue().unwrap().is_some() {}
        (0..queue.capacity()).for_each(|value| assert!(queue.enqueue(&value).unwrap(), "{} has no room", entry.name));
        assert!(!queue.enqueue(&0).unwrap());
        (0..queue.capacity()).for_each(|value| assert_eq!(queue.dequeue().unwrap(), Some(value)));
    }
    let queue = Queue::<u64>::create(segment, "probe", &QueueOptions::new(16).exclusive()).unwrap();
    assert!(queue.enqueue(&5).unwrap());
    assert_eq!(queue.dequeue().unwrap(), Some(5));
    segment.remove("probe").unwrap();
}

#[test]
fn a_segment_is_sound_after_each_of_200_deaths_beside_a_survivor() {
    let (name, mut random) = (Name::new(), Random::new());
    let segment = fresh(&name);
    for death in 0..DEATHS / 2 {
        let mut restless = [0, 1].map(|_| Peer::role("restless", &format!("{name} {}", random.below(1000))));
        restless.iter_mut().for_each(|one| {
            one.line("ready");
        });
        std::thread::sleep(random.micros(0, 3000));
        restless.into_iter().for_each(Peer::kill);
        is_sound(&segment);
        if death % 10 == 0 {
            segment.entries().collect::<Vec<_>>().iter().for_each(|entry| segment.remove(&entry.name).unwrap());
            assert_eq!(segment.stats().unwrap().used, 0, "all memory came back");
        }
    }
}

#[test]
fn after_each_of_200_deaths_alone_the_next_gets_a_fresh_segment_and_nothing_is_left() {
    let (name, mut random) = (Name::new(), Random::new());
    for death in 0..DEATHS {
        let mut restless = Peer::role("restless", &format!("{name} {}", random.below(1000)));
        restless.line("ready");
        std::thread::sleep(random.micros(0, 3000));
        restless.kill();
        if death % 2 == 0 {
            refused(Segment::open(&name, &SegmentOptions::new()), Status::NotFound, &[&name]);
            assert!(!name.exists(), "whoever finds a dead segment removes it");
        } else {
            let segment = Segment::create(&name, &sized().exclusive()).unwrap();
            assert_eq!(segment.entries().count(), 0, "not the dead one's");
            is_sound(&segment);
        }
    }
}
