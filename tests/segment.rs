//! The life of a segment: made, attached to, counted, removed; by a close or by a death.

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

use shmds::{Queue, QueueOptions, Segment, SegmentOptions, Status, TableShape};
use support::*;

fn plain() -> SegmentOptions {
    SegmentOptions::new()
}

#[test]
fn a_segment_is_gone_with_its_last_closer() {
    let name = Name::new();
    refused(Segment::open(&name, &plain()), Status::NotFound, &[&name]);
    let first = fresh(&name);
    let second = Segment::open(&name, &plain()).unwrap();
    assert_eq!((first.count(), second.count(), first.name()), (2, 2, &*name));
    drop(first);
    assert!(name.exists());
    assert_eq!(second.count(), 1);
    let queue = Queue::<u64>::create(&second, "q", &QueueOptions::new(4)).unwrap();
    drop(second);
    assert!(name.exists(), "what is open keeps it");
    assert!(queue.enqueue(&1).unwrap());
    drop(queue);
    assert!(!name.exists());
    refused(Segment::open(&name, &plain()), Status::NotFound, &[&name]);
}

#[test]
fn creating_what_is_there_attaches_unless_exclusive() {
    let name = Name::new();
    let first = fresh(&name);
    let second = Segment::create(&name, &sized()).unwrap();
    let smaller = Segment::create(&name, &plain().size(1 << 16)).unwrap();
    assert_eq!((first.count(), smaller.stats().unwrap().size), (3, 4 << 20));
    refused(Segment::create(&name, &sized().exclusive()), Status::Exists, &[&name]);
    assert_eq!(second.count(), 3, "whoever was refused is not attached");
}

#[test]
fn another_shape_is_refused_with_both_sides_named() {
    let name = Name::new();
    let _segment = Segment::create(&name, &sized().table(TableShape::SMALL)).unwrap();
    refused(Segment::create(&name, &plain().size(8 << 20)), Status::Mismatch, &[&name, "4194304", "8388608"]);
    let other = sized().table(TableShape::LARGE);
    refused(Segment::create(&name, &other), Status::Mismatch, &[&name, "16 names of 16", "256 of 64"]);
    assert!(Segment::create(&name, &sized().table(TableShape::SMALL)).is_ok());
    assert!(Segment::create(&name, &sized()).is_ok(), "who names no table takes any");
}

/// `owner NAME [persistent]`: has a segment with a queue in it, until it is killed.
#[test]
#[ignore = "not a test: a process that tests start"]
fn owner() {
    let Some(words) = role_words() else { return };
    let options = if words.len() > 1 { sized().persistent() } else { sized() };
    let segment = Segment::create(&words[0], &options).unwrap();
    let queue = Queue::<u64>::create(&segment, "old", &QueueOptions::new(4)).unwrap();
    assert!(queue.enqueue(&7).unwrap());
    println!("\nready");
    loop {
        std::thread::park();
    }
}

fn start_owner(words: &str) -> Peer {
    let mut owner = Peer::role("owner", words);
    owner.line("ready");
    owner
}

#[test]
fn the_segment_of_a_dead_sole_owner_is_not_found() {
    let name = Name::new();
    let owner = start_owner(&name);
    assert_eq!(Segment::open(&name, &plain()).unwrap().count(), 2);
    owner.kill();
    assert!(name.exists(), "nobody has looked yet");
    refused(Segment::open(&name, &plain()), Status::NotFound, &[&name]);
    assert!(!name.exists(), "whoever looked removed it");
}

#[test]
fn a_creator_after_a_dead_sole_owner_gets_a_fresh_segment() {
    let name = Name::new();
    start_owner(&name).kill();
    let segment = Segment::create(&name, &sized().exclusive()).unwrap();
    assert_eq!((segment.count(), segment.entries().count()), (1, 0));
}

#[test]
fn a_read_only_opener_does_not_find_the_segment_of_a_dead_sole_owner_either() {
    let name = Name::new();
    start_owner(&name).kill();
    refused(Segment::open(&name, &plain().read_only()), Status::NotFound, &[&name]);
    // It may not be allowed to remove it; this one is.
    refused(Segment::open(&name, &plain()), Status::NotFound, &[&name]);
    assert!(!name.exists());
}

#[test]
fn the_last_reader_removes_the_segment_of_a_dead_owner() {
    let name = Name::new();
    let owner = start_owner(&name);
    let reader = Segment::open(&name, &plain().read_only()).unwrap();
    owner.kill();
    let again = Segment::open(&name, &plain().read_only()).expect("somebody living is there");
    assert_eq!((again.count(), again.participants().len()), (0, 1));
    drop(again);
    drop(reader);
    assert!(!name.exists());
}

/// `leaver NAME ATTACHMENTS`: ends without closing anything.
#[test]
#[ignore = "not a test: a process that tests start"]
fn leaver() {
    let Some(words) = role_words() else { return };
    for _ in 0..words[1].parse::<u32>().unwrap() {
        let segment = Segment::create(&words[0], &sized()).unwrap();
        std::mem::forget(Queue::<u64>::create(&segment, "q", &QueueOptions::new(4)).unwrap());
    }
    std::process::exit(0);
}

#[test]
fn a_process_that_ends_without_closing_leaves_nothing() {
    let name = Name::new();
    for attachments in [1, 2] {
        Peer::role("leaver", &format!("{name} {attachments}")).finish();
        assert!(!name.exists(), "with {attachments} attachments");
    }
}

#[test]
fn a_persistent_segment_stays_through_closes_and_deaths_until_it_is_unlinked() {
    let name = Name::new();
    start_owner(&format!("{name} persistent")).kill();
    for _ in 0..2 {
        let segment = Segment::open(&name, &plain()).unwrap();
        let stats = segment.stats().unwrap();
        assert!(stats.persistent && stats.participants == 1);
        let queue = Queue::<u64>::open(&segment, "old").unwrap();
        assert_eq!(queue.dequeue().unwrap(), Some(7));
        assert!(queue.enqueue(&7).unwrap());
    }
    Segment::unlink(&name).unwrap();
    refused(Segment::open(&name, &plain()), Status::NotFound, &[&name]);
}

#[test]
fn a_leading_slash_means_nothing() {
    let name = Name::new();
    let first = fresh(&name);
    let second = Segment::open(&format!("/{name}"), &plain()).unwrap();
    assert_eq!((first.count(), second.name()), (2, &*name));
    Segment::unlink(&format!("/{name}")).unwrap();
    assert!(!name.exists());
}

#[test]
fn impossible_names_are_refused_and_never_truncated() {
    let long = "n".repeat(256);
    for bad in ["", "/", "//", "a/b", "/a/b", ".", "..", "/..", "tab\there", "nul\0", &long] {
        refused(Segment::create(bad, &sized()), Status::Invalid, &["name"]);
        refused(Segment::open(bad, &plain()), Status::Invalid, &["name"]);
        refused(Segment::unlink(bad), Status::Invalid, &["name"]);
    }
    refused(Segment::create(&long, &sized()), Status::Invalid, &["256 bytes", "at most 255"]);
    let longest = &format!("{}{long}", Name::new())[..255];
    assert_eq!(Segment::create(longest, &sized()).unwrap().name(), longest);
}

#[test]
fn impossible_sizes_are_refused_with_their_numbers() {
    let name = Name::new();
    refused(Segment::create(&name, &plain()), Status::Invalid, &["size 0"]);
    refused(Segment::create(&name, &plain().size(u64::MAX)), Status::Invalid, &["18446744073709551615"]);
    refused(Segment::create(&name, &plain().size(1 << 63)), Status::Invalid, &["9223372036854775808"]);
    refused(Segment::create(&name, &plain().size(1)), Status::Invalid, &["4096 bytes is too small", "64 participants"]);
    for (options, words) in [
        (sized().table(TableShape { name_bytes: 0, entries: 1 }), ["names", "not 0"]),
        (sized().table(TableShape { name_bytes: 257, entries: 1 }), ["1 to 256", "not 257"]),
        (sized().table(TableShape { name_bytes: 8, entries: 0 }), ["entries", "not 0"]),
        (sized().table(TableShape { name_bytes: 8, entries: 65_536 }), ["1 to 65535", "not 65536"]),
        (sized().max_participants(0), ["participants", "not 0"]),
        (sized().max_participants(4097), ["1 to 4096", "not 4097"]),
        (sized().mode(0o400), ["0400", "0600"]),
        (sized().mode(0o1600), ["01600", "0777"]),
        (sized().read_only(), ["created", "read-only"]),
    ] {
        // In whatever way the number is written.
        refused(Segment::create(&name, &options), Status::Invalid, &[words[0].trim_start_matches('0'), words[1]]);
    }
    assert!(!name.exists());
}

#[test]
fn more_than_shared_memory_has_is_no_space_and_leaves_nothing() {
    let name = Name::new();
    // SAFETY: plain data, filled by the call.
    let mut info: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: a valid path and a live structure.
    assert_eq!(unsafe { libc::statvfs(c"/dev/shm".as_ptr(), &mut info) }, 0);
    let size = info.f_blocks * info.f_frsize + (1 << 20);
    refused(Segment::create(&name, &plain().size(size)), Status::NoSpace, &[&name, &size.to_string()]);
    assert!(!name.exists());
}

/// `umask NAME MASK MODE`: makes a segment under a umask.
#[test]
#[ignore = "not a test: a process that tests start"]
fn under_umask() {
    let Some(words) = role_words() else { return };
    let [mask, mode] = [1, 2].map(|word| u32::from_str_radix(&words[word], 8).unwrap());
    // SAFETY: umask has no preconditions.
    unsafe { libc::umask(mask) };
    let segment = Segment::create(&words[0], &sized().mode(mode)).unwrap();
    let found = Name::path_of(&words[0]).metadata().unwrap();
    assert_eq!(found.permissions().mode() & 0o7777, mode);
    // SAFETY: geteuid has no preconditions.
    assert_eq!(found.uid(), unsafe { libc::geteuid() });
    drop(segment);
}

#[test]
fn the_mode_is_exact_whatever_the_umask() {
    let name = Name::new();
    for mask in ["077", "000", "777"] {
        for mode in ["600", "640", "666", "777"] {
            Peer::role("under_umask", &format!("{name} {mask} {mode}")).finish();
        }
    }
    let segment = fresh(&name);
    assert_eq!(
        name.path().metadata().unwrap().permissions().mode() & 0o7777,
        0o600,
        "nobody else's business by default"
    );
    drop(segment);
}

#[test]
fn the_estimate_is_exactly_enough() {
    let name = Name::new();
    let small = QueueOptions::new(100);
    let (paired, large) = (QueueOptions::new(1000).spsc(), QueueOptions::new(7));
    for table in [TableShape::SMALL, TableShape::STANDARD, TableShape { name_bytes: 9, entries: 3 }] {
        let options = plain().table(table).max_participants(70);
        let bytes =
            small.bytes::<u8>().unwrap() + paired.bytes::<[u64; 5]>().unwrap() + large.bytes::<[u32; 1000]>().unwrap();
        let size = options.size_for(bytes).unwrap();
        assert_eq!(size % 4096, 0);
        let segment = Segment::create(&name, &options.clone().size(size)).unwrap();
        let _small = Queue::<u8>::create(&segment, "small", &small).unwrap();
        let _paired = Queue::<[u64; 5]>::create(&segment, "paired", &paired).unwrap();
        let _large = Queue::<[u32; 1000]>::create(&segment, "large", &large).unwrap();
        let stats = segment.stats().unwrap();
        assert_eq!((stats.size, stats.entries_used, stats.used.abs_diff(bytes) < 128 * 3), (size, 3, true), "{bytes}");
        assert!(stats.free < 4096 + 128 * 3, "only what rounding to pages left: {}", stats.free);
        assert_eq!(stats.entries_free, table.entries - 3);
    }
    refused(plain().size_for(u64::MAX), Status::Invalid, &["18446744073709551615"]);
}

#[test]
fn participants_are_listed_with_their_processes() {
    let name = Name::new();
    let segment = fresh(&name);
    let _queue = Queue::<Message>::create(&segment, "q", &QueueOptions::new(4)).unwrap();
    let second = Segment::open(&name, &plain()).unwrap();
    let mut peer = Language::C.start(&format!("hold {name} q claim"));
    peer.line("held");
    let list = segment.participants();
    assert_eq!((list.len(), segment.count(), segment.stats().unwrap().participants), (3, 3, 3));
    assert_eq!(list.iter().map(|one| one.id).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(list.iter().map(|one| one.is_self).collect::<Vec<_>>(), [true, false, false]);
    let own = std::process::id();
    assert_eq!(list.iter().map(|one| one.pid).collect::<Vec<_>>(), [own, own, peer.pid()]);
    assert!(list.iter().all(|one| one.alive && one.attached > 0) && list[2].command == "peer_c", "{list:?}");
    assert!(list[0].attached <= list[1].attached && list[1].attached <= list[2].attached);
    drop(second);
    assert_eq!(segment.participants().len(), 2);
    peer.kill();
    assert_eq!((segment.count(), segment.reap().unwrap(), segment.reap().unwrap()), (1, 1, 0));
}

#[test]
fn one_participant_too_many_is_refused_and_a_reader_is_none() {
    let name = Name::new();
    let first = Segment::create(&name, &sized().max_participants(2)).unwrap();
    let second = Segment::open(&name, &plain()).unwrap();
    refused(Segment::open(&name, &plain()), Status::Limit, &[&name, "2 participants"]);
    let reader = Segment::open(&name, &plain().read_only()).unwrap();
    assert_eq!((reader.count(), first.stats().unwrap().max_participants), (2, 2));
    drop(second);
    assert_eq!(Segment::open(&name, &plain()).unwrap().count(), 2);
}

#[test]
fn unlinking_takes_the_name_and_leaves_the_attached_what_they_have() {
    let name = Name::new();
    refused(Segment::unlink(&name), Status::NotFound, &[&name]);
    let old = fresh(&name);
    let queue = Queue::<u64>::create(&old, "q", &QueueOptions::new(4)).unwrap();
    assert!(!old.stats().unwrap().orphaned);
    Segment::unlink(&name).unwrap();
    assert!(old.stats().unwrap().orphaned && !name.exists());
    let new = fresh(&name);
    assert_eq!((new.entries().count(), old.entries().count(), new.count(), old.count()), (0, 1, 1, 1));
    assert!(queue.enqueue(&3).unwrap());
    assert_eq!(queue.dequeue().unwrap(), Some(3));
    drop(queue);
    drop(old);
    assert!(name.exists(), "whoever closes the old one does not touch the new one's name");
    assert!(!new.stats().unwrap().orphaned);
}

/// `lock_holder NAME`: takes the segment's lock as the format says, and keeps it.
#[test]
#[ignore = "not a test: a process that tests start"]
fn lock_holder() {
    use std::os::fd::AsRawFd;
    let Some(words) = role_words() else { return };
    let file = std::fs::File::options().read(true).write(true).open(Name::path_of(&words[0])).unwrap();
    // SAFETY: plain data.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    (lock.l_type, lock.l_start, lock.l_len) = (libc::F_WRLCK as libc::c_short, 1 << 62, 1);
    // SAFETY: a valid descriptor and a live structure.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &lock) }, 0);
    std::os::unix::fs::FileExt::write_all_at(&file, &std::process::id().to_ne_bytes(), 128).unwrap();
    println!("\nready");
    loop {
        std::thread::park();
    }
}

#[test]
fn a_stopped_holder_of_the_lock_makes_others_wait_no_longer_than_asked_and_is_named() {
    let (name, limit) = (Name::new(), Duration::from_millis(150));
    let segment = Segment::create(&name, &sized().lock_timeout(limit)).unwrap();
    let _queue = Queue::<u64>::create(&segment, "q", &QueueOptions::new(4)).unwrap();
    let mut holder = Peer::role("lock_holder", &name);
    holder.line("ready");
    holder.stop();
    let words: &[&str] = &[&name, &format!("process {}", holder.pid()), "150ms"];
    let bounded = |refusal: &dyn Fn()| {
        let start = Instant::now();
        refusal();
        assert!((limit..limit * 10).contains(&start.elapsed()), "{:?}", start.elapsed());
    };
    let patient = plain().lock_timeout(limit);
    bounded(&|| refused(Segment::open(&name, &patient), Status::Busy, words));
    bounded(&|| refused(Segment::open(&name, &patient.clone().read_only()), Status::Busy, words));
    bounded(&|| refused(Segment::create(&name, &patient.clone().size(1 << 16)), Status::Busy, words));
    bounded(&|| refused(Queue::<u64>::create(&segment, "new", &QueueOptions::new(4)), Status::Busy, words));
    bounded(&|| refused(segment.remove("q"), Status::Busy, words));
    bounded(&|| refused(segment.stats(), Status::Busy, words));
    assert!(segment.find("q").unwrap().is_some(), "looking takes no lock");
    holder.kill();
    assert_eq!(Segment::open(&name, &patient).unwrap().count(), 2, "the lock dies with its holder");
}
