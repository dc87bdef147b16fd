//! Somebody scribbles over a manifest and its areas: readers and writers report it, or get garbage. They never fault and never hang.
//!
//! Who makes a file shorter is not stopped by this: whoever touches what is gone gets SIGBUS. It takes permission to write, as scribbling does.

mod support;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use shmds::Status;
use shmds::speculo::{Area, AreaOptions, Reader, ReaderOptions};
use support::*;

fn options() -> AreaOptions {
    AreaOptions::new().min_size(8192).max_size(64 << 10)
}

/// What takes longer than this hangs.
fn timed<T>(what: &str, call: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let outcome = call();
    assert!(begun.elapsed() < Duration::from_secs(1), "{what} took {:.1?}", begun.elapsed());
    outcome
}

fn until(words: &[String]) -> Instant {
    Instant::now() + Duration::from_millis(words[1].parse().unwrap())
}

#[test]
#[ignore = "not a test: a process that tests start"]
fn scribbles() {
    let Some(words) = role_words() else { return };
    let mut random = Random::new();
    println!("\nhere");
    let manifest = format!("/dev/shm/{}.speculo", words[0]);
    let end = until(&words);
    while Instant::now() < end {
        let Ok(file) = File::options().read(true).write(true).open(&manifest) else { continue };
        let mut now = [0; 8];
        let mut at = 128 + 8 * random.below(4);
        let mut target = file;
        if random.below(4) != 0 {
            let _ = target.read_at(&mut now, 128);
            let area = format!("{manifest}-{}", u64::from_le_bytes(now));
            let Ok(file) = File::options().read(true).write(true).open(area) else { continue };
            let len = file.metadata().unwrap().len();
            // The headers more than the rest, and where chunks begin more than where they do not.
            at = match random.below(8) {
                0 => 16 + 8 * random.below(4),
                1..=5 => 128 + 64 * random.below(len.min(4096) / 64 - 2) + 8 * random.below(5),
                _ => 8 * random.below(len / 8),
            };
            target = file;
        }
        target.read_at(&mut now, at).unwrap();
        let old = u64::from_le_bytes(now);
        let new = match random.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => i64::MAX as u64,
            3 => old ^ 1 << random.below(64),
            4 => old.wrapping_add(random.below(200)).wrapping_sub(100),
            5 => random.below(6),
            6 => random.below(1 << 16),
            _ => random.next(),
        };
        target.write_at(&new.to_le_bytes(), at).unwrap();
        std::thread::sleep(random.micros(0, 200));
        // Mostly it is as before, so that there is something left to break.
        if random.below(4) != 0 {
            target.write_at(&now, at).unwrap();
        }
    }
}

#[test]
#[ignore = "not a test: a process that tests start"]
fn reads() {
    let Some(words) = role_words() else { return };
    println!("\nhere");
    let (mut random, end) = (Random::new(), until(&words));
    let (mut good, mut bad, mut sum) = (0_u64, 0_u64, 0_u64);
    while Instant::now() < end {
        let Ok(mut reader) = timed("opening", || Reader::open(&words[0], &ReaderOptions::new())) else {
            bad += 1;
            continue;
        };
        for _ in 0..100 {
            let (number, wait) = (random.below(300), Duration::from_micros(random.below(2000)));
            let found = timed("reading", || match random.below(5) {
                0 => reader.next(),
                1 => reader.next_wait(wait),
                2 => reader.get(number),
                3 => reader.next_valid(number),
                _ => {
                    reader.seek(number);
                    reader.next()
                }
            });
            match found {
                // Whatever it says is there can be read.
                Ok(Some(chunk)) => {
                    sum += chunk.to_vec().iter().map(|byte| u64::from(*byte)).sum::<u64>();
                    good += 1;
                }
                Ok(None) => {}
                Err(_) => bad += 1,
            }
        }
        let _ = reader.stats();
    }
    assert!(sum > 0);
    println!("{good} chunks, {bad} refusals");
}

#[test]
#[ignore = "not a test: a process that tests start"]
fn writes() {
    let Some(words) = role_words() else { return };
    println!("\nhere");
    let (mut random, end) = (Random::new(), until(&words));
    let (mut good, mut bad, mut anew) = (0_u64, 0_u64, 0_u64);
    while Instant::now() < end {
        let Ok(mut area) = timed("opening", || Area::create(&words[0], &options())) else {
            bad += 1;
            // Somebody has to clean up.
            if random.below(4) == 0 {
                anew += 1;
                let entries = std::fs::read_dir("/dev/shm").unwrap().flatten();
                let prefix = format!("{}.speculo", words[0]);
                entries
                    .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
                    .for_each(|entry| drop(std::fs::remove_file(entry.path())));
            }
            continue;
        };
        for _ in 0..random.below(300) {
            let id = random.below(200);
            let outcome = timed("writing", || match random.below(8) {
                0 => area.obsolete(id).is_ok(),
                1 => area.collect().is_ok(),
                2 => area.read(id).is_some(),
                3 | 4 => area.update(id, 200).ok().flatten().is_some_and(|draft| draft.commit().is_ok()),
                5 => area.write(&[7; 500], 1).is_ok(),
                _ => area.write(&contents(0, id), 0).is_ok(),
            });
            let _ = area.stats();
            good += u64::from(outcome);
            bad += u64::from(!outcome);
        }
    }
    println!("{good} successes, {bad} refusals, {anew} times begun anew");
}

#[test]
fn who_scribbles_over_an_area_makes_nobody_fault_or_hang() {
    let name = AreaName::new();
    Area::create(&name, &options()).unwrap().write(b"first", 0).unwrap();
    let millis = if is_soak() { 60_000 } else { 4_000 };
    let words = format!("{} {millis}", &*name);
    let mut peers: Vec<Peer> =
        ["scribbles", "scribbles", "reads", "reads", "writes"].map(|role| Peer::role(role, &words)).into();
    peers.iter_mut().for_each(|peer| drop(peer.line("here")));
    let said: Vec<_> = peers.into_iter().map(Peer::finish).collect();
    for line in said.iter().flat_map(|said| said.lines()).filter(|line| line.contains("refusals")) {
        say(&format!("scribbled over: {line}"));
    }
}

/// Changes one word of an object, and back when it was looked at.
fn changed<T>(path: &std::path::Path, at: u64, value: u64, look: impl FnOnce() -> T) -> T {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut before = [0; 8];
    file.read_at(&mut before, at).unwrap();
    file.write_at(&value.to_le_bytes(), at).unwrap();
    let outcome = look();
    file.write_at(&before, at).unwrap();
    outcome
}

#[test]
fn a_manifest_that_cannot_be_true_is_refused_and_costs_nothing() {
    let name = AreaName::new();
    let id = Area::create(&name, &options()).unwrap().write(b"first", 0).unwrap().unwrap();
    let open = || Area::open(&name, &options()).map(drop);
    for (at, value) in [(128, 7), (128, u64::MAX), (136, u64::MAX), (144, u64::MAX)] {
        refused(changed(&name.manifest(), at, value, open), Status::Corrupt, &[]);
    }
    for (at, value) in [(16, 4096), (24, 2), (128 + 8, u64::MAX), (128 + 16, u64::MAX), (128 + 24, 8192), (128, 5)] {
        refused(changed(&name.area(1), at, value, open), Status::Corrupt, &[]);
    }
    let read = || Reader::open(&name, &ReaderOptions::new()).map(drop);
    for value in [7, u64::MAX] {
        refused(changed(&name.manifest(), 128, value, read), Status::Corrupt, &[]);
    }
    assert_eq!(Area::open(&name, &options()).unwrap().read(id).unwrap(), b"first");
}

#[test]
fn an_update_of_another_boot_takes_the_older_chunk_along_and_its_version_with_it() {
    let name = AreaName::new();
    let mut area = Area::create(&name, &options()).unwrap();
    let (id, kept) = (area.write(b"old", 0).unwrap().unwrap(), area.write(b"kept", 0).unwrap().unwrap());
    area.update_until(id, 3, u64::MAX).unwrap().unwrap().commit().unwrap();
    drop(area);
    // As if the writer had died before it marked the older one, and the machine with it.
    File::options().write(true).open(name.area(1)).unwrap().write_at(&[2], 128).unwrap();
    File::options().write(true).open(name.area(1)).unwrap().write_at(&[1; 8], 32).unwrap();
    File::options().write(true).open(name.manifest()).unwrap().write_at(&2_u64.to_le_bytes(), 136).unwrap();
    let mut area = Area::open(&name, &options()).unwrap();
    assert_eq!((area.read(id), area.read(kept)), (None, Some(b"kept".to_vec())));
    assert_eq!((area.stats().committed, area.stats().generation), (3, 2));
}
