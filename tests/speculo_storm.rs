//! One writer that updates, expires and compacts as fast as it can, and dies now and then, to be succeeded by one in another language; eight
//! readers in other processes, in every language, of another user too. What each of them does and checks is told in
//! c-tests/support_speculo_peer.h.
//!
//! `SHMDS_SOAK=1` lets it compact 300,000 times.

mod support;

use std::time::Instant;

use shmds::speculo::{Area, Reader, ReaderOptions};
use support::*;

/// An area, what its processes share beside it, and how to start them.
struct Storm {
    name: AreaName,
    _directory: TempDir,
    log: Log,
}

impl Storm {
    fn new() -> Self {
        let (name, directory) = (AreaName::new(), TempDir::new());
        // The area is there before its readers.
        drop(Area::create(&name, &storm_options()).unwrap());
        let log = Log::create(directory.path("log"), 512);
        log.set(storm_words::KEEPERS, EVERY_LANGUAGE.len() as u64);
        Self { name, _directory: directory, log }
    }

    fn write(&self, language: Language) -> Peer {
        let mut writer = language.start_speculo(None, &format!("write {} {}", &*self.name, self.log.word_for_peer()));
        writer.line("ready");
        writer
    }

    /// One that keeps up, the `nth` of them.
    fn keep_up(&self, nth: usize) -> Peer {
        let words = format!("read {} {} {nth} 0", &*self.name, self.log.word_for_peer());
        EVERY_LANGUAGE[nth].start_speculo(None, &words)
    }

    fn read(&self, language: Language, pause_us: u64, uid: Option<u32>) -> Peer {
        language.start_speculo(uid, &format!("read {} - 0 {pause_us}", &*self.name))
    }
}

/// Compactions at least; how often the writer is killed.
fn storm(compactions: u64, kills: u64) {
    let storm = Storm::new();
    // SAFETY: geteuid has no preconditions.
    let other = (unsafe { libc::geteuid() } == 0).then_some(65534);
    let mut readers = vec![
        ("one in Rust keeps up", storm.keep_up(0)),
        ("one in C keeps up", storm.keep_up(1)),
        ("one in C++ keeps up", storm.keep_up(2)),
        ("one in C++ reads", storm.read(Language::Cpp, 20, None)),
        ("one in Rust reads", storm.read(Language::Rust, 0, None)),
        ("one in C, of another user if we are root", storm.read(Language::C, 0, other)),
        ("one in C is slow", storm.read(Language::C, 3000, None)),
    ];
    readers.iter_mut().for_each(|(_, reader)| drop(reader.line("ready")));
    let begun = Instant::now();
    let mut looker = Reader::open(&storm.name, &ReaderOptions::new()).unwrap();
    // Every third writer is in the same language.
    let mut languages = EVERY_LANGUAGE.into_iter().cycle();
    let mut write = || storm.write(languages.next().unwrap());
    let mut writer = write();
    let (mut random, mut left) = (Random::new(), kills);
    loop {
        let next = compactions / (kills + 1) * (kills + 1 - left);
        std::thread::sleep(random.micros(1, 2000));
        looker.get(0).unwrap();
        let generation = looker.stats().generation;
        assert!(begun.elapsed() < PATIENCE * if is_soak() { 30 } else { 2 }, "{generation} areas only");
        if generation > compactions / 2 && readers.len() < 8 {
            let mut late = storm.read(Language::Cpp, 0, None);
            late.line("ready");
            readers.push(("one in C++ comes late", late));
        }
        if left > 0 && generation > next {
            left -= 1;
            writer.kill();
            writer = write();
        } else if generation > compactions {
            break;
        }
    }
    storm.log.set(storm_words::STOP, 1);
    writer.finish();
    let took = begun.elapsed();
    looker.get(0).unwrap();
    let (done, committed) = (looker.stats().generation - 1, storm.log.get(storm_words::COMMITTED));
    say(&format!("speculo storm: {done} compactions, {committed} commits, {kills} writers killed, {took:.1?}"));
    for (what, reader) in readers {
        let said = reader.finish();
        let line = said.lines().find(|line| line.contains(" chunks of ")).unwrap_or_else(|| panic!("{what}: {said}"));
        say(&format!("speculo storm: {what}: {line}"));
    }
    assert!(done >= compactions);
    // Only the last one's areas are there.
    drop(looker);
    assert_eq!(storm.name.objects().len(), 2);
    assert!(Area::unlink_name(&storm.name, &storm_options()).unwrap());
    assert_eq!(storm.name.objects().len(), 0);
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
