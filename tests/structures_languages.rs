//! What one language does with a span, an array, an atomic or a pool, every other understands.

mod support;

use std::time::Duration;

use shmds::{Array, Atomic, AtomicValue, Pool, Queue, QueueOptions, Segment, Span};
use support::*;

fn every_pair(mut check: impl FnMut(&Segment, &Name, Language, Language)) {
    let name = Name::new();
    let segment = fresh(&name);
    for from in EVERY_LANGUAGE {
        for to in EVERY_LANGUAGE {
            check(&segment, &name, from, to);
            segment.remove_all().unwrap();
        }
    }
    assert_eq!((segment.count(), segment.stats().unwrap().used), (1, 0), "everybody is gone, and nothing is left");
}

/// The number behind `word` in what a peer said.
fn number(said: &str, word: &str) -> u64 {
    let mut words = said.split_whitespace().skip_while(|other| *other != word);
    words.nth(1).unwrap_or_else(|| panic!("no {word} in {said:?}")).parse().unwrap()
}

#[test]
fn every_language_finds_the_bytes_that_every_other_left_in_a_span() {
    let mut seed = 0;
    every_pair(|segment, name, from, to| {
        seed += 1;
        let span = Span::create(segment, "s", 5003, 0, true).unwrap();
        from.start(&format!("span-fill {name} s {seed}")).finish();
        to.start(&format!("span-check {name} s {seed}")).finish();
        // SAFETY: nobody else is left.
        let bytes = unsafe { span.span().as_ref() };
        assert!((0..).zip(bytes).all(|(at, found)| *found == byte(seed, at)), "{from:?} to {to:?}");
    });
}

#[test]
fn every_language_takes_whole_snapshots_of_what_every_other_writes() {
    const COUNT: u64 = 5000;
    every_pair(|segment, name, from, to| {
        let array = Array::<u64>::create(segment, "a", 200).unwrap();
        let readers = [to, from].map(|language| language.start(&format!("array-read {name} a {COUNT}")));
        eventually("the readers are there", || segment.find("a").unwrap().unwrap().users == 3);
        from.start(&format!("array-write {name} a {COUNT}")).finish();
        for reader in readers {
            let said = reader.finish();
            assert!(number(&said, "read") > 0 && number(&said, "torn") == 0, "{from:?} to {to:?}: {said}");
        }
        let mut copy = vec![0; 200];
        assert!(array.snapshot(0, &mut copy, Duration::ZERO).unwrap());
        assert_eq!((written(&copy), array.writings()), (COUNT, (COUNT, false)));
    });
}

/// Both sides sleep again and again: woken by the 20 ms in which a sleeper looks by itself, a round would take that long.
fn wakes<T: AtomicValue>(segment: &Segment, name: &Name, from: Language, to: Language, zero: T) {
    const ROUNDS: u32 = 31;
    drop(Atomic::<T>::create(segment, "x", zero).unwrap());
    let pong = to.start(&format!("atomic-pong {name} x {ROUNDS}"));
    let said = from.start(&format!("atomic-ping {name} x {ROUNDS}")).finish();
    pong.finish();
    let median = number(&said, "median-us");
    assert!(median < 10_000, "{from:?} and {to:?}, {}: {median} us there and back", std::any::type_name::<T>());
    segment.remove("x").unwrap();
}

#[test]
fn every_language_wakes_every_other_through_an_atomic_of_any_width() {
    let _alone = measuring();
    every_pair(|segment, name, from, to| {
        wakes(segment, name, from, to, false);
        wakes(segment, name, from, to, 0_i32);
        wakes(segment, name, from, to, 0_u32);
        wakes(segment, name, from, to, 0_i64);
        wakes(segment, name, from, to, 0_u64);
        wakes(segment, name, from, to, 0_f32);
        wakes(segment, name, from, to, 0_f64);
    });
}

#[test]
fn every_language_gets_the_objects_that_every_other_acquired() {
    const COUNT: u64 = 5000;
    every_pair(|segment, name, from, to| {
        let pool = Pool::<Object>::create(segment, "p", 8).unwrap();
        let _queue = Queue::<Message>::create(segment, "q", &QueueOptions::new(4)).unwrap();
        let giver = from.start(&format!("pool-give {name} p q {COUNT}"));
        to.start(&format!("pool-take {name} p q {COUNT}")).finish();
        giver.finish();
        assert_eq!((pool.stats().available, pool.handles().count()), (8, 0), "{from:?} to {to:?}");
    });
}
