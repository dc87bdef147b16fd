//! One writer that updates, expires and compacts as fast as it can, and dies now and then; readers in other processes, of another user too.
//!
//! `SHMDS_SOAK=1` lets it compact 300,000 times.

mod support;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use shmds::speculo::{Area, AreaOptions, Reader, ReaderOptions};
use support::*;

const KEYS: u64 = 16;
/// Labels above the keys': what stays until the reader that keeps up has seen it, and what comes at the end.
const BEACON: u64 = 1000;
const END: u64 = 1001;

// Words that the processes share beside the area, for the test's sake.
/// The number of the last chunk that a writer was about to commit.
const NUMBER: u64 = 0;
/// How many beacons the reader that keeps up has seen.
const SEEN: u64 = 1;
const STOP: u64 = 2;
const COMMITTED: u64 = 3;

fn options() -> AreaOptions {
    AreaOptions::new().min_size(8192).max_size(256 << 10).mode(0o644)
}

fn now() -> u64 {
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
        let mut area = Area::create(name, &options()).unwrap();
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
        let last_beacon = beacons.last_key_value().map_or(0, |(number, _)| *number).max(log.get(SEEN));
        Self { area, log, keys, beacons: beacons.into_iter().collect(), last_beacon }
    }

    /// False when there is no room.
    fn put(&mut self, label: u64, number: u64, expires: u64) -> bool {
        let bytes = contents(label, number);
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
        if label == BEACON {
            self.beacons.push_back((number, id));
            self.last_beacon = number;
        } else {
            self.keys.insert(label, id);
        }
        self.log.word(COMMITTED).fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        true
    }

    fn storm(&mut self) {
        let mut random = Random::new();
        while self.log.get(STOP) == 0 {
            let number = self.log.get(NUMBER) + 1;
            self.log.set(NUMBER, number);
            let key = 1 + random.below(KEYS);
            let expires = match random.below(4) {
                0 => now() + 1000 * (1 + random.below(3000)),
                1 => now() + 1_000_000_000,
                _ => 0,
            };
            self.put(key, number, expires);
            if random.below(16) == 0 && self.beacons.len() < 64 {
                self.put(BEACON, self.last_beacon + 1, 0);
            }
            if random.below(32) == 0
                && let Some(id) = self.keys.remove(&(1 + random.below(KEYS)))
            {
                let _ = self.area.obsolete(id);
            }
            let seen = self.log.get(SEEN);
            while let Some((beacon, id)) = self.beacons.front()
                && *beacon <= seen
            {
                self.area.obsolete(*id).unwrap();
                self.beacons.pop_front();
            }
        }
        assert!(self.put(END, self.last_beacon, 0), "there is no room for the last");
    }
}

#[test]
#[ignore = "not a test: a process that tests start"]
fn writer() {
    let Some(words) = role_words() else { return };
    println!("\nhere");
    Writing::new(&words[0], Log::open(words[1].as_ref())).storm();
}

#[test]
#[ignore = "not a test: a process that tests start"]
fn reader() {
    let Some(words) = role_words() else { return };
    let log = (words[1] != "-").then(|| Log::open(words[1].as_ref()));
    let pause = Duration::from_micros(words[2].parse().unwrap());
    let mut reader = Reader::open(&words[0], &ReaderOptions::new()).unwrap();
    println!("\nhere");
    let (mut passed, mut got, mut beacons, mut areas) = (0, 0_u64, 0, 0);
    let mut numbers: HashMap<u64, u64> = HashMap::new();
    let mut generation = 0;
    let last = loop {
        let Some(chunk) = reader.next_wait(Duration::from_secs(30)).unwrap() else { panic!("nothing for 30 s") };
        let (id, version) = (chunk.id(), chunk.version());
        let (label, number) = whole(&chunk.to_vec());
        // It stays as it is while it is held.
        assert_eq!(whole(&chunk.to_vec()), (label, number));
        assert!(version > passed, "{version} after {passed}");
        passed = version;
        got += 1;
        if let Some(before) = numbers.insert(id, number) {
            assert!(before < number, "{number} of chunk {id} after {before}");
        }
        if label == BEACON
            && let Some(log) = &log
        {
            assert_eq!(number, beacons + 1, "one was committed and never seen");
            beacons = number;
            log.set(SEEN, beacons);
        }
        if label == END {
            break number;
        }
        if got.is_multiple_of(16)
            && let Some(newest) = reader.get(id).unwrap()
        {
            assert!(newest.version() >= version && newest.id() == id, "{} before {version}", newest.version());
            assert!(whole(&newest.to_vec()).1 >= number);
        }
        areas += u64::from(std::mem::replace(&mut generation, reader.stats().generation) != generation);
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
    };
    assert!(log.is_none() || beacons == last, "{beacons} of {last} beacons");
    let stats = reader.stats();
    assert_eq!(stats.received, got);
    assert_eq!(stats.received + stats.skipped, passed, "every chunk was read or passed over");
    println!("{got} chunks of {passed}, {areas} areas");
}

/// Compactions at least; how often the writer is killed.
fn storm(compactions: u64, kills: u64) {
    let (name, directory) = (AreaName::new(), TempDir::new());
    let log = Log::create(directory.path("log"), 512);
    // The area is there before its readers.
    drop(Area::create(&name, &options()).unwrap());
    let write = || {
        let mut writer = Peer::role("writer", &format!("{} {}", &*name, log.word_for_peer()));
        writer.line("here");
        writer
    };
    let words = |log: &str, pause: u64| format!("{} {log} {pause}", &*name);
    let mut readers = vec![
        ("keeps up", Peer::role("reader", &words(log.word_for_peer(), 0))),
        ("reads", Peer::role("reader", &words("-", 0))),
        ("reads", Peer::role("reader", &words("-", 20))),
        ("is slow", Peer::role("reader", &words("-", 3000))),
    ];
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } == 0 {
        readers.push(("is another user", Peer::role_as(65534, "reader", &words("-", 0))));
    }
    readers.iter_mut().for_each(|(_, reader)| drop(reader.line("here")));
    let begun = Instant::now();
    let mut looker = Reader::open(&name, &ReaderOptions::new()).unwrap();
    let mut writer = write();
    let (mut random, mut left) = (Random::new(), kills);
    loop {
        let next = compactions / (kills + 1) * (kills + 1 - left);
        std::thread::sleep(random.micros(1, 2000));
        looker.get(0).unwrap();
        let generation = looker.stats().generation;
        assert!(begun.elapsed() < PATIENCE * if is_soak() { 30 } else { 2 }, "{generation} areas only");
        if generation > compactions / 2 && readers.iter().all(|(what, _)| *what != "comes late") {
            readers.push(("comes late", Peer::role("reader", &words("-", 0))));
            readers.last_mut().unwrap().1.line("here");
        }
        if left > 0 && generation > next {
            left -= 1;
            writer.kill();
            writer = write();
        } else if generation > compactions {
            break;
        }
    }
    log.set(STOP, 1);
    writer.finish();
    let took = begun.elapsed();
    looker.get(0).unwrap();
    let (done, committed) = (looker.stats().generation - 1, log.get(COMMITTED));
    say(&format!("speculo storm: {done} compactions, {committed} commits, {kills} writers killed, {took:.1?}"));
    for (what, reader) in readers {
        say(&format!("speculo storm: one {what}: {}", reader.finish().lines().next().unwrap_or_default()));
    }
    assert!(done >= compactions);
    // Only the last one's areas are there.
    drop(looker);
    assert_eq!(name.objects().len(), 2);
    assert!(Area::unlink_name(&name, &options()).unwrap());
    assert_eq!(name.objects().len(), 0);
}

#[test]
fn readers_see_every_chunk_whole_and_in_order_while_it_is_compacted() {
    let _alone = measuring();
    storm(if is_soak() { 300_000 } else { 10_000 }, 0);
}

#[test]
fn readers_see_every_chunk_whole_and_in_order_while_writers_are_killed() {
    let _alone = measuring();
    storm(if is_soak() { 100_000 } else { 4_000 }, if is_soak() { 2_000 } else { 50 });
}
