//! A process dies right after its first, second, third, … store to shared memory, in every operation there is; whoever was there all the
//! time finds everything in order and goes on.
//!
//! The library counts its stores only when built with `--cfg kill_points`; without it, there is nothing here. `scripts/kill-points.sh` runs it.
#![cfg(kill_points)]

#[path = "../support/mod.rs"]
mod support;

mod bytes;
mod cells;
mod coverage;
mod elements;
mod segments;
mod speculo;

use std::time::Duration;

use shmds::{Segment, SegmentOptions, VerifyOptions, kill_points};
use support::*;

/// Long enough for anything that must happen at once, a sleep that nobody ends included.
const SOON: Duration = Duration::from_secs(1);

/// A wait that is over when it begins: it leaves word that somebody sleeps, and looks once more.
const AN_INSTANT: Duration = Duration::from_nanos(1);

/// Looks after a death; told whether the operation was complete.
type Look = Box<dyn FnOnce(bool)>;

/// Gets everything ready in the survivor, before. The number tells this death from the others.
type Prepare = dyn Fn(&Segment, u64) -> Look;

/// An operation that a process dies in.
struct Operation {
    name: String,
    /// In the process that dies: gets everything ready, and then dies [`during`] it.
    die: Box<dyn Fn(&Dying)>,
    prepare: Box<Prepare>,
}

impl Operation {
    fn new(
        name: impl Into<String>,
        die: impl Fn(&Dying) + 'static,
        prepare: impl Fn(&Segment, u64) -> Look + 'static,
    ) -> Self {
        Self { name: name.into(), die: Box::new(die), prepare: Box::new(prepare) }
    }
}

/// The process that is going to die.
struct Dying {
    segment: String,
    /// After which store.
    nth: u64,
}

impl Dying {
    fn attach(&self) -> Segment {
        Segment::open(&self.segment, &SegmentOptions::new()).unwrap()
    }

    /// Dies in `operation`, or right after it.
    fn during<T>(&self, operation: impl FnOnce() -> T) {
        kill_points::arm(self.nth);
        let kept = operation();
        println!("complete after {}", kill_points::disarm());
        std::mem::forget(kept);
        // SAFETY: neither has preconditions.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }
}

fn operations() -> Vec<Operation> {
    [bytes::operations(), elements::operations(), cells::operations(), segments::operations()]
        .into_iter()
        .flatten()
        .collect()
}

#[test]
#[ignore = "not a test: a process that tests start"]
fn dying() {
    let Some(words) = role_words() else { return };
    println!();
    let dying = Dying { segment: words[0].clone(), nth: words[2].parse().unwrap() };
    let operation = operations().into_iter().find(|operation| operation.name == words[1]).unwrap();
    (operation.die)(&dying);
    unreachable!("it should be dead");
}

/// What was tried, to be added up by `scripts/kill-points.sh`.
#[derive(Default)]
struct Total {
    operations: u64,
    stores: u64,
    deaths: u64,
}

impl Total {
    fn operation(&mut self, name: &str, stores: u64) {
        self.operations += 1;
        self.stores += stores;
        say(&format!("  {name}: {stores}"));
    }

    /// Findings fail a test, so whoever comes here had none.
    fn say(&self) {
        let Self { operations, stores, deaths } = self;
        say(&format!("part: {operations} operations, {stores} stores, {deaths} deaths, 0 findings"));
    }
}

/// A process dies in each of these at every store.
fn survive(operations: Vec<Operation>) {
    let mut total = Total::default();
    for operation in operations {
        let name = Name::new();
        let segment = fresh(&name);
        for nth in 1.. {
            let look = (operation.prepare)(&segment, nth);
            let out = Peer::role("dying", &format!("{name} {} {nth}", operation.name)).died();
            let complete = out.lines().find_map(|line| line.strip_prefix("complete after "));
            let context = Context(&operation.name, nth);
            total.deaths += 1;
            // Before anybody repairs anything: a death breaks nothing, it only leaves something.
            verified(&segment, VerifyOptions::new(), u64::MAX);
            let dead = segment.reap().unwrap();
            assert!(dead <= 2, "{dead} dead");
            // Others may be working: those who sleep, and are woken.
            verified(&segment, VerifyOptions::new(), 0);
            look(complete.is_some());
            is_sound(&segment);
            finds_nothing(&segment);
            std::mem::forget(context);
            if let Some(count) = complete {
                let count: u64 = count.parse().unwrap();
                assert_eq!(count, nth - 1, "as many deaths as stores");
                total.operation(&operation.name, count);
                break;
            }
        }
    }
    total.say();
}

/// No damage, and leftovers up to so many.
fn verified(segment: &Segment, options: VerifyOptions, most: u64) {
    let mut sentences = Vec::new();
    let found = segment.verify(options, |one| sentences.push(one.sentence.clone())).unwrap();
    assert!(found.damage == 0 && found.leftovers <= most && found.unknown == 0, "{sentences:#?}");
}

/// Everybody who lives is content, and nobody works: nothing is left of the dead, and nothing is broken.
fn finds_nothing(segment: &Segment) {
    verified(segment, VerifyOptions::new().at_rest(), 0);
}

/// Says at which death it was when what follows it fails.
struct Context<'a>(&'a str, u64);

impl Drop for Context<'_> {
    fn drop(&mut self) {
        say(&format!("{}, death {}:", self.0, self.1));
    }
}

/// The books of the segment are in order, and only we are there.
fn is_sound(segment: &Segment) {
    let stats = segment.stats().unwrap();
    let entries: Vec<_> = segment.entries().collect();
    let table = SegmentOptions::new().size_for(0).unwrap();
    assert_eq!((stats.participants, segment.participants().len()), (1, 1));
    assert_eq!(stats.entries_used, entries.len() as u32, "nothing is removed and not free, nothing half-built");
    assert_eq!(stats.used + stats.free, stats.size - table, "every byte is free or somebody's");
    for entry in entries {
        assert!(segment.find(&entry.name).unwrap().is_some(), "{} is listed and not found", entry.name);
        assert!(entry.users <= 1, "{entry:?}");
    }
}

#[test]
fn byte_queues_survive_a_death_at_every_store() {
    survive(bytes::operations());
}

#[test]
fn queues_and_rings_survive_a_death_at_every_store() {
    survive(elements::operations());
}

#[test]
fn pools_arrays_and_atomics_survive_a_death_at_every_store() {
    survive(cells::operations());
}

#[test]
fn segments_survive_a_death_at_every_store() {
    survive(segments::operations());
}
