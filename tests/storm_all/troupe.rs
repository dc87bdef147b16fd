//! Those who work on one structure, what befalls them, and how long they had to wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::family::Album;
use crate::is_over;
use crate::support::diary::now_ns;
use crate::support::*;

/// Where a structure is: a segment or an area, and what is written down beside it.
pub struct World {
    pub name: String,
    pub directory: TempDir,
}

/// A process that works on a structure.
pub struct Worker {
    /// Until it is dead.
    peer: Option<Peer>,
    pub role: &'static str,
    pub number: u64,
    pub log: Log,
    diary: Diary,
}

/// What a role needs to begin.
pub struct Part<'a> {
    pub world: &'a World,
    pub random: &'a mut Random,
    pub role: &'static str,
}

impl Part<'_> {
    /// Starts a process of this number in this language: `test` and `kind` are its program, `words` gets the path of a log of so many words.
    pub fn start(
        &self,
        language: Language,
        (test, kind): (&str, &str),
        number: u64,
        log_words: u64,
        words: impl FnOnce(&str) -> String,
    ) -> Worker {
        static STARTED: AtomicU64 = AtomicU64::new(0);
        let started = STARTED.fetch_add(1, Ordering::Relaxed);
        let path = |what| self.world.directory.path(&format!("{what}-{started}"));
        let (log, diary) = (Log::create(path("log"), log_words), Diary::create(path("diary")));
        let peer = language.start_in_storm(test, kind, &words(log.word_for_peer()), diary.path());
        Worker { peer: Some(peer), role: self.role, number, log, diary }
    }
}

impl Worker {
    /// How many operations came to something.
    pub fn done(&self) -> u64 {
        self.diary.done()
    }
}

/// One structure's part of the storm.
pub trait Act: Send {
    fn structure(&self) -> &'static str;

    /// The roles, one for each process.
    fn cast(&self) -> &'static [&'static str];

    /// Whether one of this role may be killed.
    fn may_die(&self, role: &str) -> bool {
        !role.is_empty()
    }

    fn start(&mut self, role: &'static str, part: Part<'_>) -> Worker;

    /// Looks at the structure while everybody works.
    fn look(&self) {}

    /// Somebody is about to be killed.
    fn doom(&mut self, _: &Worker) {}

    /// Enters what somebody wrote down who was killed.
    fn bury(&mut self, dead: &Worker, living: &[Worker], tally: &mut Tally);

    /// Ends it, and closes the books: everybody is killed, in some order.
    fn rest(&mut self, troupe: &mut Troupe<'_>, tally: &mut Tally);
}

/// What happened to a structure and those who work on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub operations: u64,
    pub kills: u64,
    pub stops: u64,
    pub forks: u64,
    pub attaches: u64,
    pub removals: u64,
    pub held: u64,
    pub lost: u64,
    pub twice: u64,
    pub leaked: u64,
    pub stall: Duration,
}

impl Tally {
    pub fn columns(&self) -> [u64; 10] {
        let Self { operations, kills, stops, forks, attaches, removals, held, lost, twice, leaked, .. } = *self;
        [operations, kills, stops, forks, attaches, removals, held, lost, twice, leaked]
    }

    pub fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.kills += other.kills;
        self.stops += other.stops;
        self.forks += other.forks;
        self.attaches += other.attaches;
        self.removals += other.removals;
        self.held += other.held;
        self.lost += other.lost;
        self.twice += other.twice;
        self.leaked += other.leaked;
        self.stall = self.stall.max(other.stall);
    }
}

/// When operations could not succeed: somebody was stopped, or there was nobody in one of the roles. By the clock of the diaries.
#[derive(Default)]
struct Gaps {
    over: Vec<(u64, u64)>,
    since: Option<u64>,
}

impl Gaps {
    /// The longest time between these two in which an operation could have succeeded.
    fn stall(&self, (mut from, to): (u64, u64)) -> u64 {
        let since = self.since.map(|since| (since, u64::MAX));
        let first = self.over.partition_point(|gap| gap.1 <= from);
        let mut longest = 0;
        for (begin, end) in self.over[first..].iter().copied().chain(since) {
            if begin >= to {
                break;
            }
            longest = longest.max(begin.saturating_sub(from));
            from = from.max(end);
        }
        longest.max(to.saturating_sub(from))
    }
}

pub struct Troupe<'a> {
    world: &'a World,
    pub workers: Vec<Worker>,
    pub random: Random,
    gaps: Gaps,
}

impl Troupe<'_> {
    fn start(&mut self, act: &mut dyn Act, role: &'static str, tally: &mut Tally) {
        let part = Part { world: self.world, random: &mut self.random, role };
        let worker = act.start(role, part);
        tally.attaches += 1;
        self.workers.push(worker);
    }

    /// Whether there is somebody at work in each role, but for one worker.
    fn is_complete(&self, cast: &[&str], without: Option<usize>) -> bool {
        let works = |role: &str| {
            let others = self.workers.iter().enumerate().filter(|(nth, _)| Some(*nth) != without);
            others.into_iter().any(|(_, worker)| worker.role == role && worker.diary.has_begun())
        };
        cast.iter().all(|role| works(role))
    }

    /// Notes whether operations can succeed from now on.
    fn look(&mut self, cast: &[&str]) {
        if self.gaps.since.is_some()
            && self.is_complete(cast, None)
            && let Some(since) = self.gaps.since.take()
        {
            self.gaps.over.push((since, now_ns()));
        }
    }

    /// Until everybody works.
    fn gather(&mut self, cast: &[&str]) {
        eventually("everybody works", || self.workers.iter().all(|worker| worker.diary.has_begun()));
        self.look(cast);
    }

    /// Kills one, and enters it; its role.
    fn kill(&mut self, victim: usize, act: &mut dyn Act, tally: &mut Tally) -> &'static str {
        if !self.is_complete(act.cast(), Some(victim)) {
            self.gaps.since.get_or_insert_with(now_ns);
        }
        let mut dead = self.workers.swap_remove(victim);
        act.doom(&dead);
        dead.peer.take().unwrap().kill();
        let died = now_ns();
        if dead.role == "family" {
            let album = Album(&dead.log);
            album.bury_child();
            tally.forks += album.forks();
        }
        tally.kills += 1;
        act.bury(&dead, &self.workers, tally);
        self.enter(&dead, died, tally);
        dead.role
    }

    /// Kills all who have this role.
    pub fn kill_all(&mut self, role: &str, act: &mut dyn Act, tally: &mut Tally) {
        while let Some(victim) = self.workers.iter().position(|worker| worker.role == role) {
            self.kill(victim, act, tally);
        }
    }

    /// Waits until all who have this role end by themselves; what they said.
    pub fn finish_all(&mut self, role: &str, tally: &mut Tally) -> Vec<String> {
        let mut said = Vec::new();
        while let Some(nth) = self.workers.iter().position(|worker| worker.role == role) {
            let mut done = self.workers.swap_remove(nth);
            said.push(done.peer.take().unwrap().finish());
            self.enter(&done, now_ns(), tally);
        }
        said
    }

    /// Enters how much somebody did, and how long they had to wait until their end.
    fn enter(&self, over: &Worker, ended: u64, tally: &mut Tally) {
        tally.operations += over.diary.done();
        for wait in over.diary.waits(ended) {
            tally.stall = tally.stall.max(Duration::from_nanos(self.gaps.stall(wait)));
        }
        [over.diary.path(), over.log.path()].into_iter().for_each(|path| std::fs::remove_file(path).unwrap());
    }

    /// Stops one for a while. Whoever waits for what it has in its hands cannot go on.
    fn stop(&mut self, victim: usize, cast: &[&str]) {
        self.gaps.since.get_or_insert_with(now_ns);
        let worker = self.workers[victim].peer.as_ref().unwrap();
        worker.signal(libc::SIGSTOP);
        std::thread::sleep(self.random.micros(500, 20_000));
        worker.signal(libc::SIGCONT);
        self.look(cast);
    }
}

/// Until the end: whatever may happen to those who work on a structure. Then its books are closed.
pub fn perform(mut act: Box<dyn Act>, world: &World, end: Instant) -> Tally {
    let mut tally = Tally::default();
    let gaps = Gaps { over: Vec::new(), since: Some(now_ns()) };
    let mut troupe = Troupe { world, workers: Vec::new(), random: Random::new(), gaps };
    let cast = act.cast();
    let act = &mut *act;
    cast.iter().for_each(|role| troupe.start(act, role, &mut tally));
    while !is_over(end) {
        std::thread::sleep(troupe.random.micros(500, 8_000));
        troupe.look(cast);
        let victim = troupe.random.below(troupe.workers.len() as u64) as usize;
        match troupe.random.below(12) {
            0 if act.may_die(troupe.workers[victim].role) => {
                let role = troupe.kill(victim, act, &mut tally);
                troupe.start(act, role, &mut tally);
            }
            1 => {
                troupe.stop(victim, cast);
                tally.stops += 1;
            }
            2 => act.look(),
            _ => {}
        }
    }
    troupe.gather(cast);
    act.rest(&mut troupe, &mut tally);
    assert!(troupe.workers.is_empty());
    tally
}
