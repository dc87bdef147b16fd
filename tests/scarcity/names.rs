//! Names that go while they are in use, as systemd's RemoveIPC takes them at log-out, and names that others have taken before.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use shmds::speculo::{Area, AreaOptions, Reader, ReaderOptions};
use shmds::{Queue, QueueOptions, Segment, SegmentOptions, Status};

use crate::only;
use crate::rights::become_user;
use crate::support::scarce::{is_root_or_said, possessions};
use crate::support::*;

/// `user NAME`: is told "next" to enqueue another number into the segment it had from the beginning, and to go.
#[test]
#[ignore = "not a test: a process that tests start"]
fn user() {
    let Some(words) = role_words() else { return };
    let segment = Segment::open(&words[0], &SegmentOptions::new()).unwrap();
    let queue = Queue::<u64>::open(&segment, "q").unwrap();
    println!("\nready");
    for (line, number) in std::io::stdin().lines().zip(1..) {
        assert_eq!(line.unwrap(), "next");
        assert!(queue.enqueue(&number).unwrap());
        println!("orphaned {}", segment.stats().unwrap().orphaned);
    }
    assert!(segment.stats().unwrap().orphaned);
}

#[test]
fn users_of_a_removed_segment_go_on_and_leave_the_next_of_its_name_alone() {
    let name = Name::new();
    for persistent in [false, true] {
        let options = if persistent { sized().persistent() } else { sized() };
        let old = Segment::create(&name, &options.clone().exclusive()).unwrap();
        let queue = Queue::<u64>::create(&old, "q", &QueueOptions::new(8)).unwrap();
        let reader = Segment::open(&name, &SegmentOptions::new().read_only()).unwrap();
        let start = || {
            let mut user = Peer::role_without(&[], "names::user", &name);
            user.line("ready");
            user
        };
        let [mut ends, mut dies] = [start(), start()];
        ends.tell("next");
        assert_eq!(ends.line("orphaned "), "false");
        // Not by the library, which would ask the users.
        std::fs::remove_file(name.path()).unwrap();
        for segment in [&old, &reader] {
            assert!(segment.stats().unwrap().orphaned);
        }
        for user in [&mut ends, &mut dies] {
            user.tell("next");
            assert_eq!(user.line("orphaned "), "true");
        }
        refused(Segment::open(&name, &SegmentOptions::new()), Status::NotFound, &[&name]);
        assert_eq!(
            [1, 2, 1].map(|_| queue.dequeue().unwrap().unwrap()).iter().sum::<u64>(),
            4,
            "they reach each other"
        );

        let new = Segment::create(&name, &options.clone().exclusive()).unwrap();
        assert!(!new.stats().unwrap().orphaned && new.find("q").unwrap().is_none());
        ends.end_input();
        ends.finish();
        dies.kill();
        only(&old, 1);
        only(&new, 1);
        drop((old, queue, reader));
        assert!(name.exists() && !new.stats().unwrap().orphaned, "the name is the new one's");
        only(&Segment::open(&name, &SegmentOptions::new()).unwrap(), 2);
        drop(new);
        assert_eq!(name.exists(), persistent);
        name.clear();
    }
}

#[test]
fn who_writes_and_reads_a_removed_area_is_told_and_leaves_the_next_of_its_name_alone() {
    let name = AreaName::new();
    let options = AreaOptions::new().exclusive();
    let mut old = Area::create(&name, &options).unwrap();
    let mut reader = Reader::open(&name, &ReaderOptions::new()).unwrap();
    old.write(b"one", 0).unwrap().unwrap();
    assert!(!old.stats().orphaned && !reader.stats().orphaned);
    for path in name.objects() {
        std::fs::remove_file(path).unwrap();
    }
    assert!(old.stats().orphaned && reader.stats().orphaned);
    let mut new = Area::create(&name, &options).unwrap();
    new.write(b"other", 0).unwrap().unwrap();
    assert!(old.stats().orphaned && reader.stats().orphaned && !new.stats().orphaned);
    // What is mapped goes on.
    old.write(b"two", 0).unwrap().unwrap();
    for expected in [b"one", b"two"] {
        assert_eq!(reader.next().unwrap().unwrap().to_vec(), expected);
    }
    assert!(reader.next_wait(Duration::from_millis(5)).unwrap().is_none());
    old.obsolete(1).unwrap();
    refused(old.collect(), Status::Corrupt, &[&name, "removed"]);
    let objects = name.objects();
    old.unlink().unwrap();
    drop(reader);
    assert_eq!((name.objects(), new.stats().orphaned), (objects, false));
    new.unlink().unwrap();
}

/// `squatter NAME FROM TO`: as another user, has the names of the generations to come.
#[test]
#[ignore = "not a test: a process that tests start"]
fn squatter() {
    let Some(words) = role_words() else { return };
    become_user(65533, 65533, &[]);
    let [from, to] = [1, 2].map(|word| words[word].parse::<u64>().unwrap());
    for generation in from..=to {
        let path = format!("/dev/shm/{}.speculo-{generation}", words[0]);
        // A name is a name, whatever has it.
        match generation % 3 {
            0 => std::fs::create_dir(path).unwrap(),
            1 => drop(std::fs::File::create_new(path).unwrap()),
            _ => std::os::unix::fs::symlink("/etc/passwd", path).unwrap(),
        }
    }
}

/// `squatted NAME`: writes as a user to whom other users' names are out of reach.
#[test]
#[ignore = "not a test: a process that tests start"]
fn squatted() {
    let Some(words) = role_words() else { return };
    let name = &words[0];
    become_user(65534, 65534, &[]);
    let options = AreaOptions::new().min_size(4096).max_size(1 << 16).mode(0o644);
    let mut area = Area::create(name, &options).unwrap();
    let mut reader = Reader::open(name, &ReaderOptions::new()).unwrap();
    let first = area.stats().generation;
    println!("\ngeneration {first}");
    let id = area.write(&[0; 1000], 0).unwrap().unwrap();
    let mut told = std::io::stdin().lines();
    let mut wait = || assert_eq!(told.next().unwrap().unwrap(), "next");
    wait();
    for turn in 1..50 {
        let mut draft = area.update(id, 1000).unwrap().unwrap();
        draft.write(0, &[turn; 1000]).unwrap();
        draft.commit().unwrap();
        assert_eq!(reader.get(id).unwrap().unwrap().to_vec(), [turn; 1000]);
    }
    let stats = area.stats();
    assert!(stats.compactions > 10 && stats.generation > first + 10, "{stats:?}");
    println!("generation {}", stats.generation);
    wait();
    let before = possessions();
    // However many it is: it is said, and nothing is lost.
    assert!(area.update(id, 1000).unwrap().is_some_and(|draft| draft.commit().is_ok()));
    let numbers: &[&str] =
        &[name, &format!("generations {} to {}", stats.generation + 1, stats.generation + 100), "somebody else's"];
    refused(area.collect(), Status::Permission, numbers);
    assert_eq!(possessions(), before);
    assert!(area.read(id).is_some());
    println!("refused");
    wait();
    assert!(area.collect().unwrap(), "they are gone");
    area.unlink().unwrap();
}

#[test]
fn a_writer_passes_over_the_names_that_another_user_has_taken() {
    if !is_root_or_said("names that another user has taken") {
        return;
    }
    let name = AreaName::new();
    let squat = |from: u64, to: u64| drop(Peer::role("names::squatter", &format!("{} {from} {to}", &*name)).finish());
    let clear = || {
        for path in name.objects() {
            let _ = std::fs::remove_dir(&path);
            if path.symlink_metadata().is_ok_and(|found| std::os::unix::fs::MetadataExt::uid(&found) == 65533) {
                std::fs::remove_file(path).unwrap();
            }
        }
    };
    squat(1, 3);
    let mut writer = Peer::role_without(&[], "names::squatted", &name);
    assert_eq!(writer.line("generation "), "4", "the first, too");
    squat(6, 20);
    writer.tell("next");
    let generation: u64 = writer.line("generation ").parse().unwrap();
    assert!(generation > 20);
    squat(generation + 1, generation + 100);
    writer.tell("next");
    writer.line("refused");
    clear();
    writer.tell("next");
    writer.finish();
    assert_eq!(name.objects(), Vec::<std::path::PathBuf>::new());
}

/// `forger NAME`: as another user, has a copy of the current area under the name of another generation, for all to write to. Says when it changes.
#[test]
#[ignore = "not a test: a process that tests start"]
fn forger() {
    let Some(words) = role_words() else { return };
    become_user(65533, 65533, &[]);
    let path = |generation: u64| format!("/dev/shm/{}.speculo-{generation}", words[0]);
    let mut bytes = std::fs::read(path(1)).unwrap();
    bytes[24..32].copy_from_slice(&77_u64.to_ne_bytes());
    std::fs::write(path(77), &bytes).unwrap();
    std::fs::set_permissions(path(77), std::fs::Permissions::from_mode(0o666)).unwrap();
    println!("\nforged");
    assert!(std::io::stdin().lines().next().is_none());
    assert!(std::fs::read(path(77)).unwrap() == bytes, "somebody took it for an area of theirs");
    std::fs::remove_file(path(77)).unwrap();
}

/// `successor NAME`: makes an area and lets it be copied; then comes as its next writer, and removes it.
#[test]
#[ignore = "not a test: a process that tests start"]
fn successor() {
    let Some(words) = role_words() else { return };
    become_user(65534, 65534, &[]);
    let options = AreaOptions::new().mode(0o644);
    Area::create(&words[0], &options).unwrap().write(b"one", 0).unwrap().unwrap();
    println!("\nready");
    assert!(std::io::stdin().lines().next().is_none());
    let mut area = Area::open(&words[0], &options).unwrap();
    assert_eq!((area.stats().generation, area.read(1).unwrap()), (1, b"one".to_vec()));
    area.obsolete(1).unwrap();
    assert!(area.collect().unwrap());
    area.unlink().unwrap();
}

#[test]
fn a_writer_leaves_alone_what_another_user_calls_an_area_of_it() {
    if !is_root_or_said("files of another user") {
        return;
    }
    let name = AreaName::new();
    let mut successor = Peer::role_without(&[], "names::successor", &name);
    successor.line("ready");
    let mut forger = Peer::role_without(&[], "names::forger", &name);
    forger.line("forged");
    successor.end_input();
    successor.finish();
    forger.end_input();
    forger.finish();
    assert_eq!(name.objects(), Vec::<std::path::PathBuf>::new());
}
