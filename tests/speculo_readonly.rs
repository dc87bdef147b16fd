//! Readers cannot write, and what was committed never changes.

mod support;

use std::collections::HashMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use shmds::speculo::{Area, AreaOptions, Reader, ReaderOptions};
use support::*;

#[test]
#[ignore = "not a test: a process that tests start"]
fn reads_only() {
    let Some(words) = role_words() else { return };
    println!("\nhere");
    let mut reader = Reader::open(&words[0], &ReaderOptions::new()).unwrap();
    let mut generations = HashMap::new();
    loop {
        let Some(chunk) = reader.next_wait(Duration::from_secs(20)).unwrap() else { panic!("nothing more") };
        let (last, at) = (chunk.to_vec() == b"last", chunk.as_ptr() as usize);
        assert!(read_only_mappings(&words[0]).iter().any(|range| range.contains(&at)));
        *generations.entry(reader.stats().generation).or_insert(0) += 1;
        if last {
            break;
        }
    }
    println!("{} areas", generations.len());
}

#[test]
fn a_reader_has_no_mapping_that_it_could_write_to_or_make_writable() {
    let name = AreaName::new();
    let mut area = Area::create(&name, &AreaOptions::new().min_size(4096)).unwrap();
    let mut reader = Peer::role("reads_only", &name);
    reader.line("here");
    let id = area.write(b"first", 0).unwrap().unwrap();
    for _ in 0..300 {
        area.update(id, 500).unwrap().unwrap().commit().unwrap();
        std::thread::sleep(Duration::from_micros(100));
    }
    area.write(b"last", 0).unwrap();
    let said = reader.finish();
    say(&format!("read-only mappings: in {}", said.trim()));
    assert!(area.stats().compactions > 5);
}

/// A hash of each chunk that was committed when the first copy of an area was made: its header without the state, and its contents, as they are
/// in the second. By version.
fn hashes(first: &[u8], bytes: &[u8]) -> Vec<(u64, u64)> {
    let (mut all, mut at) = (Vec::new(), 128);
    while at + 64 <= bytes.len() && first[at] != 0 {
        let (state, size) = (first[at], word(bytes, at + 24) as usize);
        if state == 2 || state == 3 {
            let mut hasher = DefaultHasher::new();
            bytes[at + 4..at + 64 + size].hash(&mut hasher);
            all.push((word(bytes, at + 16), hasher.finish()));
        }
        at += 64 + size.next_multiple_of(64);
    }
    all
}

#[test]
#[ignore = "not a test: a process that tests start"]
fn hashes_all() {
    let Some(words) = role_words() else { return };
    println!("\nhere");
    let path = format!("/dev/shm/{}.speculo-1", words[0]);
    let (mut known, mut samples, mut compared) = (HashMap::new(), 0_u64, 0_u64);
    // Copies that are made while the writer works; its file may be gone, which is the end.
    while let (Ok(first), Ok(bytes)) = (fs::read(&path), fs::read(&path)) {
        samples += 1;
        for (version, hash) in hashes(&first, &bytes) {
            if let Some(before) = known.insert(version, hash) {
                assert_eq!(before, hash, "chunk {version} changed after it was committed");
                compared += 1;
            }
        }
    }
    println!("{samples} samples, {} chunks, compared {compared} times", known.len());
    assert!(samples > 10 && known.len() > 1000);
}

#[test]
fn what_was_committed_never_changes_but_for_its_state() {
    let name = AreaName::new();
    // One area for all of it.
    let options = AreaOptions::new().min_size(2 << 20).max_size(2 << 20).gc_threshold(100);
    let mut area = Area::create(&name, &options).unwrap();
    let mut peer = Peer::role("hashes_all", &name);
    peer.line("here");
    let (mut random, mut ids, begun) = (Random::new(), Vec::new(), Instant::now());
    let mut number = 0;
    // Until little room is left, so that all of it happens in one area.
    while area.stats().used + 4096 < area.stats().bytes {
        number += 1;
        let bytes = contents(random.below(50), number);
        match random.below(8) {
            0 => drop(area.allocate(300, 0).unwrap()),
            1 if !ids.is_empty() => {
                let _ = area.obsolete(random.one_of(&ids));
            }
            2..=4 if !ids.is_empty() => {
                if let Ok(Some(mut draft)) = area.update(random.one_of(&ids), bytes.len() as u64) {
                    draft.write(0, &bytes).unwrap();
                    draft.commit().unwrap();
                }
            }
            _ => ids.extend(area.write(&bytes, if number % 5 == 0 { number } else { 0 }).unwrap()),
        }
        if number % 10 == 0 {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    assert_eq!(area.stats().generation, 1);
    std::thread::sleep(Duration::from_millis(20));
    area.unlink().unwrap();
    say(&format!(
        "committed bytes: {}, {:.1?}",
        peer.finish().trim().lines().next().unwrap_or_default(),
        begun.elapsed()
    ));
}
