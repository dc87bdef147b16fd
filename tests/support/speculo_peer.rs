//! The writer and the readers of a storm over an area: the peer in Rust. What peers do is told in c-tests/support_speculo_peer.h.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::unix::process::parent_id;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shmds::speculo::{Area, AreaOptions, Chunk, Reader, ReaderOptions};

use super::Random;
use super::diary::{begins, succeeds};
use super::log::Log;
use super::peer::role_words;
use super::speculo::{contents, read_only_mappings, whole};

const KEYS: u64 = 16;
/// Labels above the keys': what stays until those who keep up have seen it, and what comes at the end.
const BEACON: u64 = 1000;
const END: u64 = 1001;

/// Words that the processes share beside the area, for the test's sake.
pub mod storm_words {
    /// The number of the last chunk that a writer was about to commit.
    pub const NUMBER: u64 = 0;
    pub const STOP: u64 = 1;
    pub const COMMITTED: u64 = 2;
    /// How many readers keep up.
    pub const KEEPERS: u64 = 3;
    /// And from here on, the last beacon that each of them saw.
    pub const SEEN: u64 = 4;
}
use storm_words::*;

/// What the area of the storm is.
pub fn storm_options() -> AreaOptions {
    AreaOptions::new().min_size(8192).max_size(256 << 10).mode(0o644)
}

#[test]
#[ignore = "not a test: the process that tests start as their peer in Rust"]
fn speculo_role() {
    let Some(words) = role_words() else { return };
    println!();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["write", name, log] => Writing::new(name, Log::open(Path::new(log))).storm(),
        ["read", name, log, word, pause] => {
            let log = (log != "-").then(|| (Log::open(Path::new(log)), SEEN + word.parse::<u64>().unwrap()));
            read(name, log.as_ref(), Duration::from_micros(pause.parse().unwrap()));
        }
        _ => panic!("no such words: {words:?}"),
    }
}

fn since_boot() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes to what is passed.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What a writer has to know, and finds in the area when it is the next one.
struct Writing {
    area: Area,
    log: Log,
    /// The id of each key's chunk.
    keys: HashMap<u64, u64>,
    beacons: VecDeque<(u64, u64)>,
    last_beacon: u64,
}

impl Writing {
    fn new(name: &str, log: Log) -> Self {
        let mut area = Area::create(name, &storm_options()).unwrap();
        let mut reader = Reader::open(name, &ReaderOptions::new()).unwrap();
        let (mut keys, mut beacons, mut version) = (HashMap::new(), BTreeMap::new(), 0);
        while let Some(chunk) = reader.next_valid(version).unwrap() {
            version = chunk.version();
            let bytes = chunk.to_vec();
            assert_eq!(area.read(chunk.id()).unwrap_or_else(|| bytes.clone()), bytes);
            match whole(&bytes) {
                (BEACON, number) => drop(beacons.insert(number, chunk.id())),
                (label, _) => drop(keys.insert(label, chunk.id())),
            }
        }
        let seen = (0..log.get(KEEPERS)).map(|nth| log.get(SEEN + nth)).max().unwrap_or(0);
        let last_beacon = beacons.last_key_value().map_or(0, |(number, _)| *number).max(seen);
        Self { area, log, keys, beacons: beacons.into_iter().collect(), last_beacon }
    }

    /// False when there is no room.
    fn put(&mut self, label: u64, number: u64, expires: u64) -> bool {
        let bytes = contents(label, number);
        begins();
        let known = self.keys.get(&label).copied().filter(|id| self.area.read(*id).is_some());
        let draft = match known {
            Some(id) => self.area.update_until(id, bytes.len() as u64, expires),
            None => self.area.allocate(bytes.len() as u64, expires),
        };
        // What was there a moment ago may just have expired.
        let Ok(Some(mut draft)) = draft else { return false };
        // In pieces, so that what is torn shows.
        bytes.chunks(40).enumerate().for_each(|(nth, piece)| draft.write(nth as u64 * 40, piece).unwrap());
        let id = draft.id();
        draft.commit().unwrap();
        succeeds();
        if label == BEACON {
            self.beacons.push_back((number, id));
            self.last_beacon = number;
        } else {
            self.keys.insert(label, id);
        }
        self.log.word(COMMITTED).fetch_add(1, Ordering::Relaxed);
        true
    }

    fn storm(mut self) {
        let (mut random, parent) = (Random::new(), parent_id());
        println!("ready");
        while self.log.get(STOP) == 0 {
            let number = self.log.get(NUMBER) + 1;
            self.log.set(NUMBER, number);
            let now = since_boot();
            let expires = match random.below(4) {
                0 => now + 1000 * (1 + random.below(3000)),
                1 => now + 1_000_000_000,
                _ => 0,
            };
            self.put(1 + random.below(KEYS), number, expires);
            if random.below(16) == 0 && self.beacons.len() < 64 {
                self.put(BEACON, self.last_beacon + 1, 0);
            }
            if random.below(32) == 0
                && let Some(id) = self.keys.remove(&(1 + random.below(KEYS)))
            {
                let _ = self.area.obsolete(id);
            }
            let seen = (0..self.log.get(KEEPERS)).map(|nth| self.log.get(SEEN + nth)).min().unwrap_or(u64::MAX);
            while let Some((beacon, id)) = self.beacons.front()
                && *beacon <= seen
            {
                self.area.obsolete(*id).unwrap();
                self.beacons.pop_front();
            }
            if parent_id() != parent {
                let _ = self.area.unlink();
                panic!("the parent is gone");
            }
        }
        assert!(self.put(END, self.last_beacon, 0), "there is no room for the last");
    }
}

/// What a reader has seen, by whatever call.
#[derive(Default)]
struct Judge {
    passed: u64,
    got: u64,
    ahead: u64,
    /// The version and the number of each id.
    seen: HashMap<u64, (u64, u64)>,
    recent: [u64; 32],
}

impl Judge {
    /// Judges what was shown; its label and number.
    fn shown(&mut self, chunk: &Chunk<'_>) -> (u64, u64) {
        let (id, version) = (chunk.id(), chunk.version());
        let (label, number) = whole(&chunk.to_vec());
        // It stays as it is while it is shown.
        assert_eq!(whole(&chunk.to_vec()), (label, number));
        if let Some(before) = self.seen.insert(id, (version, number)) {
            let same = before == (version, number);
            let newer = before.0 < version && before.1 < number;
            assert!(same || newer, "version and number {version}, {number} of chunk {id} after {before:?}");
        }
        self.ahead += u64::from(version > self.passed);
        (label, number)
    }

    fn next(&mut self, chunk: &Chunk<'_>) -> (u64, u64) {
        assert!(chunk.version() > self.passed, "{} after {}", chunk.version(), self.passed);
        self.passed = chunk.version();
        self.recent[self.got as usize % self.recent.len()] = chunk.id();
        self.got += 1;
        self.shown(chunk)
    }
}

fn read(name: &str, log: Option<&(Log, u64)>, pause: Duration) {
    let (mut reader, mut random) = (Reader::open(name, &ReaderOptions::new()).unwrap(), Random::new());
    println!("ready");
    let (mut judge, mut beacons, mut areas, mut generation, mut looks) = (Judge::default(), 0, 0_u64, 0, 0);
    let last = loop {
        begins();
        let Some(chunk) = reader.next_wait(Duration::from_secs(30)).unwrap() else { panic!("nothing for 30 s") };
        succeeds();
        let (id, (label, number)) = (chunk.id(), judge.next(&chunk));
        if label == BEACON
            && let Some((log, word)) = log
        {
            assert_eq!(number, beacons + 1, "one was committed and never seen");
            beacons = number;
            let kept = reader.get(id).unwrap().expect("nobody takes it away before it is acknowledged");
            judge.shown(&kept);
            log.set(*word, beacons);
        }
        match random.below(16) {
            0 => {
                let id = random.one_of(&judge.recent[..judge.recent.len().min(judge.got as usize)]);
                if let Some(newest) = reader.get(id).unwrap() {
                    assert_eq!(newest.id(), id);
                    judge.shown(&newest);
                }
            }
            1 => {
                if let Some(valid) = reader.next_valid(judge.passed).unwrap() {
                    judge.shown(&valid);
                }
            }
            _ => {}
        }
        if std::mem::replace(&mut generation, reader.stats().generation) != generation {
            // Now and then only: they are as many lines as a process has libraries.
            if areas % 64 == 0 {
                read_only_mappings(name);
                looks += 1;
            }
            areas += 1;
        }
        if label == END {
            break number;
        }
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
    };
    assert!(log.is_none() || beacons == last, "{beacons} of {last} beacons");
    let (stats, Judge { got, passed, ahead, .. }) = (reader.stats(), judge);
    assert_eq!(stats.received, got);
    assert_eq!(stats.received + stats.skipped, passed, "every chunk was read or passed over");
    println!("{got} chunks of {passed}, {ahead} ahead, {areas} areas, {looks} looks at the mappings");
}
