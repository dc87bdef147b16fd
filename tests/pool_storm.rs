//! A storm over a pool: processes in three languages acquire, mark and release, are killed at random, and are replaced. No
//! object has two owners, and none is lost.
//!
//! `SHMDS_SOAK=1` makes the storm last two minutes, `SHMDS_STORM_SECONDS` as long as it says.

mod support;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use shmds::{Array, Pool, Segment};
use support::*;

const CAPACITY: u64 = 12;
const WORKERS: usize = 4;
/// So many may be killed.
const MOST: u64 = 400_000;

fn how_long() -> Duration {
    let seconds = std::env::var("SHMDS_STORM_SECONDS").map(|seconds| seconds.parse().expect("a number of seconds"));
    Duration::from_secs(seconds.unwrap_or(if is_soak() { 120 } else { 8 }))
}

struct Storm {
    pool: Pool<Object>,
    /// Says of each worker whether it is about to be killed: then its marks may be found.
    doomed: Array<u64>,
    segment: Segment,
    name: Name,
    directory: TempDir,
    random: Random,
    started: u64,
}

struct Worker {
    peer: Peer,
    log: Log,
    number: u64,
}

impl Storm {
    fn start(&mut self) -> Worker {
        let number = self.started;
        self.started += 1;
        let log = Log::create(self.directory.path(&number.to_string()), 2);
        let language = self.random.one_of(&EVERY_LANGUAGE);
        let peer = language.start(&format!("pool-storm {} p doomed {number} {}", self.name, log.word_for_peer()));
        Worker { peer, log, number }
    }

    /// Kills a worker; how often it had objects.
    fn end(&self, worker: Worker) -> u64 {
        self.doomed.set(worker.number as usize, 1).unwrap();
        worker.peer.kill();
        std::fs::remove_file(worker.log.path()).unwrap();
        worker.log.get(0)
    }
}

#[test]
fn in_a_storm_no_object_has_two_owners_and_none_is_lost() {
    let name = Name::new();
    let segment = fresh(&name);
    let pool = Pool::create(&segment, "p", CAPACITY).unwrap();
    let doomed = Array::create(&segment, "doomed", MOST).unwrap();
    let (directory, random) = (TempDir::new(), Random::new());
    let mut storm = Storm { pool, doomed, segment, name, directory, random, started: 0 };
    let mut workers: Vec<Worker> = (0..WORKERS).map(|_| storm.start()).collect();
    let mut uses = 0;
    let end = Instant::now() + how_long();
    while Instant::now() < end {
        eventually("everybody works", || workers.iter().all(|worker| worker.log.get(0) > 0));
        std::thread::sleep(storm.random.micros(0, 20_000));
        let fresh = storm.start();
        let victim = storm.random.below(WORKERS as u64) as usize;
        uses += storm.end(std::mem::replace(&mut workers[victim], fresh));
    }
    uses += workers.into_iter().map(|worker| storm.end(worker)).sum::<u64>();
    say(&format!("pool storm: {} processes killed, objects acquired and released {uses} times", storm.started));

    storm.segment.reap().unwrap();
    assert_eq!((storm.segment.count(), storm.segment.participants().len()), (1, 1));
    for _ in 0..3 {
        assert_eq!((storm.pool.stats().available, storm.pool.handles().count()), (CAPACITY, 0));
        let handles = storm.pool.acquire_batch(CAPACITY as usize + 1).unwrap();
        let objects: HashSet<_> = handles.iter().map(|handle| storm.pool.get(*handle).unwrap()).collect();
        assert_eq!((handles.len() as u64, objects.len() as u64), (CAPACITY, CAPACITY));
        storm.pool.release_batch(&handles).unwrap();
    }
}
