//! Who works on which structure, and how it is found out at the end whether all is right.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use shmds::speculo::Area;
use shmds::{Array, Atomic, Segment, VerifyOptions};

use crate::churn;
use crate::family::{self, Album};
use crate::support::*;
use crate::tell;
use crate::troupe::{Act, Part, Tally, Troupe, Worker};

pub const PEER: (&str, &str) = ("support::role::role", "peer");
pub const RING_PEER: (&str, &str) = ("support::ring::ring_role", "peer_ring");
const SPECULO_PEER: (&str, &str) = ("support::speculo_peer::speculo_role", "peer_speculo");
pub const FAMILY: (&str, &str) = ("family::family", "");
pub const BYTES_END: (&str, &str) = ("bytes::bytes_end", "");
const CHURNER: (&str, &str) = ("churn::churner", "");

/// A parent of children that use a structure.
pub fn start_family(part: &Part<'_>, what: &str, base: u64) -> Worker {
    let name = &part.world.name;
    part.start(Language::Rust, FAMILY, base, family::LOG_WORDS, |log| format!("{what} {name} {log} {base}"))
}

// ---- arrays -----------------------------------------------------------------------------------------------------

pub struct ArrayAct {
    array: Array<u64>,
    written: u64,
    deaths: u64,
}

impl ArrayAct {
    pub fn new(segment: &Segment) -> Box<Self> {
        Box::new(Self { array: Array::create(segment, "array", 200).unwrap(), written: 0, deaths: 0 })
    }
}

impl Act for ArrayAct {
    fn structure(&self) -> &'static str {
        "array"
    }

    fn cast(&self) -> &'static [&'static str] {
        &["write", "read", "read", "family"]
    }

    fn start(&mut self, role: &'static str, part: Part<'_>) -> Worker {
        if role == "family" {
            return start_family(&part, "array", 0);
        }
        let (language, name) = (part.random.one_of(&EVERY_LANGUAGE), &part.world.name);
        part.start(language, PEER, 0, 2, |_| format!("array-{role} {name} array 0"))
    }

    fn bury(&mut self, dead: &Worker, _: &[Worker], _: &mut Tally) {
        if dead.role == "write" {
            self.written += dead.done();
            self.deaths += 1;
        }
    }

    /// Each writing counts on by one from the last that was begun.
    fn rest(&mut self, troupe: &mut Troupe<'_>, tally: &mut Tally) {
        ["family", "read", "write"].iter().for_each(|role| troupe.kill_all(role, self, tally));
        let number = self.array.get(0).unwrap();
        tally.lost += self.written.saturating_sub(number);
        tally.held += number.saturating_sub(self.written);
        tally.twice += number.saturating_sub(self.written + self.deaths);
        let mut elements = vec![0; self.array.len()];
        writing(&mut elements, number + 1);
        self.array.write(|array| array.copy_from_slice(0, &elements)).unwrap();
        let mut seen = vec![0; self.array.len()];
        assert!(self.array.snapshot(0, &mut seen, PATIENCE).unwrap() && seen == elements);
    }
}

// ---- atomics ----------------------------------------------------------------------------------------------------

pub struct AtomicAct {
    counter: Atomic<u64>,
    _turn: Atomic<u32>,
    begun: u64,
    done: u64,
}

impl AtomicAct {
    pub fn new(segment: &Segment) -> Box<Self> {
        let counter = Atomic::create(segment, "counter", 0).unwrap();
        let _turn = Atomic::create(segment, "turn", 0).unwrap();
        Box::new(Self { counter, _turn, begun: 0, done: 0 })
    }
}

impl Act for AtomicAct {
    fn structure(&self) -> &'static str {
        "atomic"
    }

    fn cast(&self) -> &'static [&'static str] {
        &["add", "add", "ping", "pong", "family"]
    }

    fn start(&mut self, role: &'static str, part: Part<'_>) -> Worker {
        if role == "family" {
            return start_family(&part, "atomic", 0);
        }
        let (language, name) = (part.random.one_of(&EVERY_LANGUAGE), &part.world.name);
        part.start(language, PEER, 0, 2, |log| match role {
            "add" => format!("atomic-add {name} counter {log}"),
            "ping" => format!("atomic-ping {name} turn 100000"),
            _ => format!("atomic-pong {name} turn 0"),
        })
    }

    fn bury(&mut self, dead: &Worker, _: &[Worker], _: &mut Tally) {
        let words: Vec<_> = match dead.role {
            "add" => vec![(dead.log.get(0), dead.log.get(1))],
            "family" => Album(&dead.log).children().collect(),
            _ => Vec::new(),
        };
        for (begun, done) in words {
            assert!(done <= begun && begun <= done + 1);
            self.begun += begun;
            self.done += done;
        }
    }

    fn rest(&mut self, troupe: &mut Troupe<'_>, tally: &mut Tally) {
        ["add", "family", "ping", "pong"].iter().for_each(|role| troupe.kill_all(role, self, tally));
        let value = self.counter.load(Ordering::Acquire).unwrap();
        tally.lost += self.done.saturating_sub(value);
        tally.twice += value.saturating_sub(self.begun);
        tally.held += value.saturating_sub(self.done);
    }
}

// ---- what is made and removed -----------------------------------------------------------------------------------

pub struct ChurnAct {
    started: u64,
    segment: Segment,
}

impl ChurnAct {
    pub fn new(segment: &Segment) -> Box<Self> {
        let segment = segment.clone();
        Box::new(Self { started: 0, segment })
    }
}

impl Act for ChurnAct {
    fn structure(&self) -> &'static str {
        "spans, tables"
    }

    fn cast(&self) -> &'static [&'static str] {
        &["churn", "churn"]
    }

    fn start(&mut self, _: &'static str, part: Part<'_>) -> Worker {
        let (number, name) = (self.started, &part.world.name);
        self.started += 1;
        let words = |log: &str| format!("{name} {log} {number}");
        part.start(Language::Rust, CHURNER, number, churn::LOG_WORDS, words)
    }

    fn bury(&mut self, dead: &Worker, _: &[Worker], tally: &mut Tally) {
        tally.attaches += dead.log.get(churn::ATTACHED);
        tally.removals += dead.log.get(churn::REMOVED);
        // It may have died with a segment of its own, which then waits for somebody to come.
        let own = format!("{}-own-{}", self.segment.name(), dead.number);
        if Name::path_of(&own).exists() {
            Segment::unlink(&own).unwrap();
            tally.held += 1;
        }
        let _ = self.segment.remove(&format!("own-{}", dead.number));
    }

    fn rest(&mut self, troupe: &mut Troupe<'_>, tally: &mut Tally) {
        troupe.kill_all("churn", self, tally);
        for nth in 0..4 {
            let _ = self.segment.remove(&format!("churn-{nth}"));
        }
        let left =
            self.segment.entries().filter(|entry| entry.name.starts_with("churn") || entry.name.starts_with("own"));
        tally.leaked += left.count() as u64;
    }
}

// ---- areas ------------------------------------------------------------------------------------------------------

pub struct Speculo {
    name: AreaName,
    log: Log,
}

impl Speculo {
    pub fn new(name: AreaName, directory: &TempDir) -> Box<Self> {
        drop(Area::create(&name, &storm_options()).unwrap());
        let log = Log::create(directory.path("log"), 512);
        log.set(storm_words::KEEPERS, EVERY_LANGUAGE.len() as u64);
        Box::new(Self { name, log })
    }
}

impl Act for Speculo {
    fn structure(&self) -> &'static str {
        "speculo area"
    }

    fn cast(&self) -> &'static [&'static str] {
        &["write", "keeper 0", "keeper 1", "keeper 2", "read", "read"]
    }

    /// Those who keep up must see every beacon.
    fn may_die(&self, role: &str) -> bool {
        !role.starts_with("keeper")
    }

    fn start(&mut self, role: &'static str, part: Part<'_>) -> Worker {
        let (name, log) = (&*self.name, self.log.word_for_peer());
        let any = part.random.one_of(&EVERY_LANGUAGE);
        if role == "write" {
            return part.start(any, SPECULO_PEER, 0, 2, |_| format!("write {name} {log}"));
        }
        let Some(nth) = role.strip_prefix("keeper ").map(|nth| nth.parse::<usize>().unwrap()) else {
            let pause = part.random.below(2) * 500;
            return part.start(any, SPECULO_PEER, 0, 2, |_| format!("read {name} - 0 {pause}"));
        };
        part.start(EVERY_LANGUAGE[nth], SPECULO_PEER, 0, 2, |_| format!("read {name} {log} {nth} 0"))
    }

    fn look(&self) {
        let verified = Area::verify_name(&self.name, &storm_options(), VerifyOptions::new(), tell).unwrap();
        assert_eq!(verified.damage, 0, "damage while everybody works");
    }

    fn bury(&mut self, _: &Worker, _: &[Worker], _: &mut Tally) {}

    /// The last chunk ends them all. Readers find out by themselves whether they saw what they must.
    fn rest(&mut self, troupe: &mut Troupe<'_>, tally: &mut Tally) {
        self.log.set(storm_words::STOP, 1);
        for role in ["write", "keeper 0", "keeper 1", "keeper 2", "read"] {
            troupe.finish_all(role, tally);
        }
        tally.leaked += self.name.objects().len().abs_diff(2) as u64;
        let mut found = Vec::new();
        let at_rest = VerifyOptions::new().at_rest();
        Area::verify_name(&self.name, &storm_options(), at_rest, |finding| found.push(finding.clone())).unwrap();
        assert!(found.is_empty(), "{found:#?}");
        assert!(Area::unlink_name(&self.name, &storm_options()).unwrap());
        tally.leaked += self.name.objects().len() as u64;
        tally.removals += 1;
    }
}

/// What is known of the producers who live.
pub fn reached(living: &[Worker]) -> HashMap<u64, u64> {
    let produce =
        living.iter().filter(|worker| worker.role == "produce").map(|worker| (worker.number, worker.log.get(0)));
    let families = living.iter().filter(|worker| worker.role == "family");
    let children = families.flat_map(|worker| {
        let album: Vec<_> = Album(&worker.log).children().collect();
        (worker.number..).zip(album).map(|(number, (intent, _))| (number, intent))
    });
    produce.chain(children).collect()
}

/// What works on the one segment.
pub fn queues(segment: &Segment) -> Vec<Box<dyn Act>> {
    use crate::streams::*;
    vec![
        Mpmc::new(segment),
        Spsc::new(segment),
        ArrayAct::new(segment),
        RingAct::new(segment, false),
        ChurnAct::new(segment),
    ]
}

/// And on the other.
pub fn cells(segment: &Segment) -> Vec<Box<dyn Act>> {
    use crate::streams::*;
    vec![
        PoolAct::new(segment),
        AtomicAct::new(segment),
        Bytes::new(segment),
        RingAct::new(segment, true),
        ChurnAct::new(segment),
    ]
}
