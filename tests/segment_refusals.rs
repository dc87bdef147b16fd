//! What is not a segment of ours, or not ours to use, is refused with a reason, and left alone.

mod support;

use std::fs::File;
use std::os::unix::fs::FileExt;

use shmds::{Queue, QueueOptions, Segment, SegmentOptions, Status};
use support::*;

fn plain() -> SegmentOptions {
    SegmentOptions::new()
}

/// Opening, opening read-only, creating and unlinking are all refused, and what has the name keeps it.
#[track_caller]
fn refused_by_all(name: &Name, status: Status, words: &[&str]) {
    refused(Segment::open(name, &plain()), status, words);
    refused(Segment::open(name, &plain().read_only()), status, words);
    refused(Segment::create(name, &sized()), status, words);
    refused(Segment::create(name, &sized().exclusive()), status, words);
    refused(Segment::unlink(name), status, words);
    assert!(name.exists(), "what is not ours is left alone");
}

#[test]
fn foreign_files_are_refused_and_left_alone() {
    let name = Name::new();
    for (contents, words) in [
        (vec![], "0 bytes"),
        (vec![7; 100], "100 bytes"),
        (vec![7; 1 << 16], "0x0707070707070707"),
        (vec![0; 1 << 16], "0x0000000000000000"),
    ] {
        std::fs::write(name.path(), &contents).unwrap();
        refused_by_all(&name, Status::Corrupt, &[&name, "not a segment", words]);
        assert_eq!(std::fs::read(name.path()).unwrap(), contents);
    }
    name.clear();
}

#[test]
fn directories_links_and_pipes_are_refused() {
    let (name, other) = (Name::new(), Name::new());
    std::fs::create_dir(name.path()).unwrap();
    for result in [Segment::open(&name, &plain()), Segment::create(&name, &sized())] {
        let error = result.unwrap_err();
        assert!(matches!(error.status(), Status::Corrupt | Status::System), "{error:?}");
        assert!(error.message().contains(&*name), "{error:?}");
    }
    refused(Segment::open(&name, &plain().read_only()), Status::Corrupt, &[&name, "not a regular file"]);
    assert!(Segment::unlink(&name).is_err() && name.exists());
    name.clear();

    let real = fresh(&other);
    std::os::unix::fs::symlink(other.path(), name.path()).unwrap();
    refused_by_all(&name, Status::Permission, &[&name]);
    name.clear();
    drop(real);
    std::os::unix::fs::symlink("nowhere", name.path()).unwrap();
    refused_by_all(&name, Status::Permission, &[&name]);
    name.clear();

    let path = std::ffi::CString::new(name.path().to_str().unwrap()).unwrap();
    // SAFETY: a NUL-terminated path.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    refused_by_all(&name, Status::Corrupt, &[&name, "not a regular file"]);
    name.clear();
}

/// A persistent segment that nobody is attached to, for scribbling.
fn lonely(name: &Name) -> File {
    let segment = Segment::create(name, &sized().persistent().exclusive()).unwrap();
    drop(Queue::<u64>::create(&segment, "q", &QueueOptions::new(8)).unwrap());
    drop(segment);
    File::options().read(true).write(true).open(name.path()).unwrap()
}

#[test]
fn another_format_byte_order_or_page_size_is_a_version_error_that_names_both() {
    let name = Name::new();
    let file = lonely(&name);
    for (offset, value, words) in [
        (8, 2_u32, ["format 2", "format 1"]),
        (8, 0, ["format 0", "format 1"]),
        (12, 0x0102_0304_u32.swap_bytes(), ["other byte order", ""]),
        (24, 65_536, ["pages of 65536", "4096"]),
        (24, 0, ["pages of 0", "4096"]),
    ] {
        let mut before = [0; 4];
        file.read_exact_at(&mut before, offset).unwrap();
        file.write_all_at(&value.to_ne_bytes(), offset).unwrap();
        refused_by_all(&name, Status::Version, &[&name, words[0], words[1]]);
        file.write_all_at(&before, offset).unwrap();
    }
    let mut magic = [0; 8];
    file.read_exact_at(&mut magic, 0).unwrap();
    let backwards: Vec<u8> = magic.iter().rev().copied().collect();
    file.write_all_at(&backwards, 0).unwrap();
    refused_by_all(&name, Status::Version, &[&name, "other byte order"]);
    file.write_all_at(&magic, 0).unwrap();
    assert!(Segment::open(&name, &plain()).is_ok(), "put right again");
    Segment::unlink(&name).unwrap();
}

#[test]
fn every_scribbled_word_of_the_geometry_is_noticed() {
    let name = Name::new();
    let file = lonely(&name);
    for offset in (0..104).step_by(4) {
        let mut before = [0; 4];
        file.read_exact_at(&mut before, offset).unwrap();
        for value in [u32::MAX, 1 << 31, u32::from_ne_bytes(before) ^ 4] {
            file.write_all_at(&value.to_ne_bytes(), offset).unwrap();
            for result in [Segment::open(&name, &plain()), Segment::open(&name, &plain().read_only())] {
                let Err(error) = result else { panic!("{value:#x} at byte {offset} was not noticed") };
                assert!(matches!(error.status(), Status::Corrupt | Status::Version), "{offset}: {error:?}");
                assert!(error.message().contains(&*name), "{error:?}");
            }
        }
        file.write_all_at(&before, offset).unwrap();
    }
    assert!(Segment::open(&name, &plain()).is_ok());
    Segment::unlink(&name).unwrap();
}

#[test]
fn a_truncated_or_grown_segment_is_corrupt() {
    let name = Name::new();
    let file = lonely(&name);
    for (size, words) in [(8 << 20, "8388608"), (2 << 20, "2097152"), (4096, "4096"), (255, "255 bytes")] {
        file.set_len(size).unwrap();
        refused_by_all(&name, Status::Corrupt, &[&name, words]);
    }
    name.clear();
}

#[test]
fn a_scribbled_table_is_corrupt_and_nothing_worse() {
    let name = Name::new();
    let file = lonely(&name);
    let mut bytes = vec![0; 4 << 20];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let mut random = Random::new();
    for _ in 0..300 {
        let offset = 256 + random.below(60_000);
        let value = random.one_of(&[0_u64, u64::MAX, 1 << 63, 3, 0xffff_ffff]);
        file.write_all_at(&value.to_ne_bytes(), offset).unwrap();
        if random.below(4) != 0 {
            continue;
        }
        // Whatever comes, it is an answer: no fault, no endless loop, no panic.
        if let Ok(segment) = Segment::open(&name, &plain()) {
            let _ = segment.stats();
            let _ = segment.find("q");
            let _ = segment.entries().count();
            let _ = segment.participants();
            if let Ok(queue) = Queue::<u64>::open(&segment, "q") {
                let _ = queue.enqueue(&1);
                let _ = queue.dequeue();
            }
            let _ = Queue::<u64>::create(&segment, "new", &QueueOptions::new(8));
            let _ = segment.remove("new");
            let _ = segment.reap();
        }
        file.write_all_at(&bytes, 0).unwrap();
    }
    name.clear();
}

/// Becomes another user for good.
fn become_user(id: u32) {
    // SAFETY: neither has preconditions; glibc has all threads follow.
    let became = unsafe { libc::setresgid(id, id, id) == 0 && libc::setresuid(id, id, id) == 0 };
    assert!(became, "cannot become user {id}");
}

/// `as_owner NAME UID`: has a segment that others may read.
#[test]
#[ignore = "not a test: a process that tests start"]
fn as_owner() {
    let Some(words) = role_words() else { return };
    become_user(words[1].parse().unwrap());
    let segment = Segment::create(&words[0], &sized().mode(0o644)).unwrap();
    let queue = Queue::<u64>::create(&segment, "q", &QueueOptions::new(8)).unwrap();
    assert!(queue.enqueue(&5).unwrap());
    println!("\nready");
    loop {
        std::thread::park();
    }
}

/// `as_reader NAME UID OWNER`: looks at another user's segment.
#[test]
#[ignore = "not a test: a process that tests start"]
fn as_reader() {
    let Some(words) = role_words() else { return };
    become_user(words[1].parse().unwrap());
    let (name, owner) = (&words[0], &words[2]);
    refused(Segment::open(name, &plain()), Status::Permission, &[name]);
    refused(Segment::open(name, &plain().any_owner()), Status::Permission, &[name]);
    if owner != "0" {
        let sentence: &[&str] = &[name, &format!("user {owner}"), &format!("user {}", words[1])];
        refused(Segment::open(name, &plain().read_only()), Status::Permission, sentence);
    }
    let segment = Segment::open(name, &plain().read_only().any_owner()).unwrap();
    let stats = segment.stats().unwrap();
    assert!(stats.read_only && stats.participants == 1 && stats.entries_used == 1, "{stats:?}");
    let queue = Queue::<u64>::open(&segment, "q").unwrap();
    assert_eq!((queue.len(), queue.capacity()), (1, 8));
    let reason: &[&str] = &[name, "read-only"];
    refused(queue.dequeue(), Status::ReadOnly, reason);
    refused(queue.enqueue(&1), Status::ReadOnly, reason);
    refused(segment.remove("q"), Status::ReadOnly, reason);
    refused(segment.reap(), Status::ReadOnly, reason);
    refused(Segment::unlink(name), Status::Permission, &[name]);
    println!("\nlooked");
}

#[test]
fn another_users_segment_can_be_read_by_whoever_trusts_that_user() {
    need_root();
    let name = Name::new();
    let mut owner = Peer::role("as_owner", &format!("{name} 65534"));
    owner.line("ready");
    Peer::role("as_reader", &format!("{name} 65533 65534")).finish();
    refused(Segment::open(&name, &plain()), Status::Permission, &["user 65534", "user 0"]);
    assert_eq!(Segment::open(&name, &plain().any_owner()).unwrap().count(), 2);
    owner.kill();
    refused(Segment::open(&name, &plain().any_owner()), Status::NotFound, &[&name]);
    assert!(!name.exists());
}

#[test]
fn the_segment_of_root_can_be_read_by_everybody_it_lets() {
    need_root();
    let name = Name::new();
    let segment = Segment::create(&name, &sized().mode(0o644)).unwrap();
    let queue = Queue::<u64>::create(&segment, "q", &QueueOptions::new(8)).unwrap();
    assert!(queue.enqueue(&5).unwrap());
    Peer::role("as_reader", &format!("{name} 65533 0")).finish();
    assert_eq!(queue.dequeue().unwrap(), Some(5));
}

#[test]
fn an_unreadable_segment_is_refused() {
    need_root();
    let name = Name::new();
    let _segment = fresh(&name);
    Peer::role("as_stranger", &format!("{name} 65533")).finish();
}

/// `as_stranger NAME UID`: is not let in.
#[test]
#[ignore = "not a test: a process that tests start"]
fn as_stranger() {
    let Some(words) = role_words() else { return };
    become_user(words[1].parse().unwrap());
    for options in [plain(), plain().read_only(), plain().any_owner()] {
        refused(Segment::open(&words[0], &options), Status::Permission, &[&words[0]]);
    }
    refused(Segment::create(&words[0], &sized()), Status::Permission, &[&words[0]]);
    refused(Segment::unlink(&words[0]), Status::Permission, &[&words[0]]);
}

/// `in_tiny_memory NAME`: has a /dev/shm of 1 MiB to itself.
#[test]
#[ignore = "not a test: a process that tests start"]
fn in_tiny_memory() {
    let Some(words) = role_words() else { return };
    // SAFETY: constant strings; the mounts are seen by this process alone.
    let mounted = unsafe {
        let private = libc::MS_REC | libc::MS_PRIVATE;
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(c"none".as_ptr(), c"/".as_ptr(), std::ptr::null(), private, std::ptr::null()) == 0
            && libc::mount(c"shm".as_ptr(), c"/dev/shm".as_ptr(), c"tmpfs".as_ptr(), 0, c"size=1m".as_ptr().cast()) == 0
    };
    assert!(mounted, "{}", std::io::Error::last_os_error());
    let name = &words[0];
    let of = |bytes| Segment::create(name, &plain().size(bytes));
    refused(of(2 << 20), Status::NoSpace, &[name, "2097152", "1048576 were free"]);
    let half = of(512 << 10).unwrap();
    let rest = Segment::create("rest", &plain().size(768 << 10));
    refused(rest, Status::NoSpace, &["'rest'", "786432"]);
    assert_eq!(std::fs::read_dir("/dev/shm").unwrap().count(), 1, "a failed creation leaves nothing");
    drop(half);
    drop(of(1 << 20).unwrap());
    assert_eq!(std::fs::read_dir("/dev/shm").unwrap().count(), 0);
}

#[test]
fn a_full_shared_memory_is_an_error_with_its_numbers_and_no_signal_later() {
    need_root();
    Peer::role("in_tiny_memory", &Name::new()).finish();
}
