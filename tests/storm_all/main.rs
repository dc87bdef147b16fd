//! The storm of all structures at once. Processes in three languages work on every structure there is, in two segments and an area, at the
//! same time. They are killed at any instant, stopped for a while, fork, attach and close, remove and make anew; every few seconds whole
//! segments are. The books are kept outside of what they are about, and are exact: what is not there must have been in the hands of
//! somebody who was killed, who can have held one element, or the batch of one call.
//!
//! `SHMDS_SOAK=1` makes it last half an hour, `SHMDS_STORM_SECONDS` as long as it says.
#![allow(unreachable_pub)] // a program has no public face

#[path = "../support/mod.rs"]
mod support;

mod acts;
mod bytes;
mod churn;
mod family;
mod streams;
mod troupe;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use shmds::speculo::Area;
use shmds::{Finding, Segment, SegmentOptions, Severity, Status, VerifyOptions};
use support::*;
use troupe::{Act, Tally, World, perform};

fn how_long() -> Duration {
    let seconds = std::env::var("SHMDS_STORM_SECONDS").map(|seconds| seconds.parse().expect("a number of seconds"));
    Duration::from_secs(seconds.unwrap_or(if is_soak() { 1800 } else { 16 }))
}

/// Nobody may be in everybody's way for longer. The machine has other things to do, so this says no more than that nobody hangs.
const LONGEST_STALL: Duration = Duration::from_secs(20);

/// Somebody failed: the others may stop.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Notes that its thread failed.
struct Alarm;

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            FAILED.store(true, Ordering::Relaxed);
        }
    }
}

fn is_over(end: Instant) -> bool {
    Instant::now() >= end || FAILED.load(Ordering::Relaxed)
}

type Tallies = BTreeMap<&'static str, Tally>;

fn enter(tallies: &mut Tallies, structure: &'static str, tally: &Tally) {
    tallies.entry(structure).or_default().add(tally);
}

/// What happens on one segment, from its creation to its removal.
fn epoch(cast: fn(&Segment) -> Vec<Box<dyn Act>>, end: Instant, tallies: &mut Tallies) {
    let name = Name::new();
    let options = SegmentOptions::new().size(48 << 20).max_participants(128).lock_timeout(PATIENCE);
    let segment = Segment::create(&name, &options.exclusive()).unwrap();
    let world = World { name: name.to_string(), directory: TempDir::new() };
    let acts = cast(&segment);
    let mut own = Tally { attaches: 1, ..Tally::default() };
    std::thread::scope(|scope| {
        let performing: Vec<_> = acts
            .into_iter()
            .map(|act| {
                let world = &world;
                scope.spawn(move || {
                    let _alarm = Alarm;
                    (act.structure(), perform(act, world, end))
                })
            })
            .collect();
        let mut random = Random::new();
        while !performing.iter().all(|thread| thread.is_finished()) {
            look(&segment, &mut own);
            std::thread::sleep(random.micros(20_000, 200_000));
        }
        for thread in performing {
            let (structure, tally) = thread.join().unwrap();
            enter(tallies, structure, &tally);
        }
    });
    rest(&segment, &mut own);
    drop(segment);
    // What this process started elsewhere at that moment had inherited it and could not take it away before its exec: whoever comes next does.
    eventually("the segment is gone", || {
        let found = Segment::open(&name, &SegmentOptions::new());
        found.is_err_and(|error| error.status() == Status::NotFound)
    });
    own.leaked += u64::from(name.exists());
    own.removals += 1;
    enter(tallies, "segment", &own);
}

/// Looks at a segment while everybody works on it.
fn look(segment: &Segment, own: &mut Tally) {
    segment.reap().unwrap();
    let stats = segment.stats().unwrap();
    assert!(stats.used + stats.free <= stats.size, "{stats:?}");
    assert!(segment.participants().iter().any(|one| one.is_self));
    let verified = segment.verify(VerifyOptions::new(), tell).unwrap();
    assert_eq!(verified.damage, 0, "damage while everybody works");
    own.operations += 1;
}

/// Says what verifying found.
fn tell(finding: &Finding) {
    if finding.severity == Severity::Damage {
        say(&finding.sentence);
    }
}

/// Everybody is dead: nothing of theirs is left.
fn rest(segment: &Segment, own: &mut Tally) {
    // What this process starts on the other segment is a participant here between fork and exec.
    eventually("everybody has left", || {
        segment.reap().unwrap();
        segment.count() == 1 && segment.participants().len() == 1
    });
    let mut found = Vec::new();
    let verified = segment.verify(VerifyOptions::new().at_rest(), |finding| found.push(finding.clone())).unwrap();
    assert!(verified.checked > 0 && found.is_empty(), "{found:#?}");
    own.leaked += segment.entries().map(|entry| u64::from(entry.users)).sum::<u64>();
    own.removals += u64::from(segment.remove_all().unwrap());
    let stats = segment.stats().unwrap();
    own.leaked += stats.used + u64::from(stats.entries_used);
    assert_eq!(own.leaked, 0, "{:?}, {stats:?}", segment.participants());
}

/// One segment after the other.
fn world(cast: fn(&Segment) -> Vec<Box<dyn Act>>, end: Instant) -> Tallies {
    let (mut tallies, mut random) = (Tallies::new(), Random::new());
    while !is_over(end) {
        epoch(cast, end.min(Instant::now() + random.micros(3_000_000, 7_000_000)), &mut tallies);
    }
    tallies
}

fn area(end: Instant) -> Tallies {
    let (mut tallies, mut random) = (Tallies::new(), Random::new());
    while !is_over(end) {
        let name = AreaName::new();
        let world = World { name: name.to_string(), directory: TempDir::new() };
        let act = acts::Speculo::new(name, &world.directory);
        let end = end.min(Instant::now() + random.micros(5_000_000, 15_000_000));
        enter(&mut tallies, act.structure(), &perform(act, &world, end));
    }
    tallies
}

fn print(tallies: &Tallies, took: Duration) {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap();
    let processors = std::thread::available_parallelism().unwrap();
    say(&format!("storm of all structures: {took:.0?} on {processors} processors, load {}", load.trim()));
    let titles =
        ["operations", "kills", "stops", "forks", "attached", "removed", "with killed", "lost", "twice", "leaked"];
    let titles: Vec<_> = titles.iter().map(|title| format!("{title:>14}")).collect();
    say(&format!("{:<18}{} {:>14}", "structure", titles.join(""), "longest stall"));
    for (structure, tally) in tallies {
        let columns: Vec<_> = tally.columns().iter().map(|number| format!("{number:>14}")).collect();
        say(&format!("{structure:<18}{} {:>11} us", columns.join(""), tally.stall.as_micros()));
    }
}

#[test]
fn in_a_storm_of_all_structures_nothing_is_lost_doubled_or_leaked_and_nobody_hangs() {
    let _alone = measuring();
    let _janitor = Janitor::employ();
    // Children of the killed are ours to bury.
    // SAFETY: no preconditions.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1 as libc::c_ulong) }, 0);
    let (begun, end) = (Instant::now(), Instant::now() + how_long());
    let prefix = prefix();
    warm_up();
    let had = churn::has(&prefix);
    let mut tallies = Tallies::new();
    std::thread::scope(|scope| {
        let threads = [
            scope.spawn(move || alarmed(|| world(acts::queues, end))),
            scope.spawn(move || alarmed(|| world(acts::cells, end))),
            scope.spawn(move || alarmed(|| area(end))),
        ];
        for thread in threads {
            for (structure, tally) in thread.join().unwrap() {
                enter(&mut tallies, structure, &tally);
            }
        }
    });
    let took = begun.elapsed();
    // What the killed had forked and nobody waited for.
    // SAFETY: no status is asked for; everybody who was started was waited for.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
    print(&tallies, took);
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let descriptors: Vec<_> = descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect();
    assert_eq!(churn::has(&prefix), had, "descriptors and mappings: {descriptors:?}");
    let files = std::fs::read_dir("/dev/shm").unwrap().flatten().map(|entry| entry.file_name());
    let left: Vec<_> = files.filter(|file| file.to_string_lossy().starts_with(&prefix)).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    for (structure, tally) in &tallies {
        assert_eq!((tally.lost, tally.twice, tally.leaked), (0, 0, 0), "{structure}");
        assert!(tally.operations > 0, "{structure}: nothing was done");
        assert!(tally.stall < LONGEST_STALL, "{structure}: {:?}", tally.stall);
    }
    let all = tallies.values().fold(Tally::default(), |mut sum, tally| {
        sum.add(tally);
        sum
    });
    assert!(all.kills > 0 && all.stops > 0 && all.forks > 0, "this was no storm");
}

/// What a process keeps for ever from its first segment and its first area on: two descriptors of nothing, for children.
fn warm_up() {
    drop(fresh(&Name::new()));
    let name = AreaName::new();
    Area::create(&name, &storm_options()).unwrap().unlink().unwrap();
}

fn alarmed<T>(does: impl FnOnce() -> T) -> T {
    let _alarm = Alarm;
    does()
}
