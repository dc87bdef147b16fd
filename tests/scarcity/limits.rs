//! What a process may not have any more: descriptors, address space, large files, locked memory.

use std::time::Duration;

use shmds::speculo::{Area, AreaOptions, Reader, ReaderOptions};
use shmds::{
    Atomic, ByteQueue, ByteQueueOptions, MemoryOption, Queue, QueueOptions, Ring, RingOptions, Segment, SegmentOptions,
    Status,
};

use crate::put;
use crate::rights::become_user;
use crate::support::scarce::{files_of, limit, possessions};
use crate::support::*;

const SHORT: Duration = Duration::from_millis(5);

fn plain() -> SegmentOptions {
    SegmentOptions::new()
}

/// Does something while there are `free` more descriptors.
fn with_descriptors<T>(free: u64, act: impl FnOnce() -> T) -> T {
    let mut next = std::fs::File::open("/dev/null").unwrap();
    // Those below are taken, once the holes are filled.
    let mut fillers = Vec::new();
    let highest = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let highest = highest.map(|entry| entry.file_name().to_string_lossy().parse::<i32>().unwrap()).max().unwrap();
    use std::os::fd::AsRawFd;
    while next.as_raw_fd() < highest {
        fillers.push(std::mem::replace(&mut next, std::fs::File::open("/dev/null").unwrap()));
    }
    let first = next.as_raw_fd() as u64;
    drop(next);
    limit(libc::RLIMIT_NOFILE, first + free);
    let result = act();
    limit(libc::RLIMIT_NOFILE, u64::MAX);
    result
}

/// `descriptors NAME OTHER AREA`: does everything with none, one, two, … descriptors left.
#[test]
#[ignore = "not a test: a process that tests start"]
fn descriptors() {
    let Some(words) = role_words() else { return };
    let [name, other, area_name] = &words[..] else { panic!("{words:?}") };
    let segment = Segment::create(name, &sized()).unwrap();
    let mut area = Area::create(area_name, &AreaOptions::new().min_size(4096)).unwrap();
    let first = area.write(&[1; 100], 0).unwrap().unwrap();

    // Who has what they need needs no more.
    with_descriptors(0, || {
        let queue = Queue::<u64>::create(&segment, "q", &QueueOptions::new(8)).unwrap();
        let bytes = ByteQueue::create(&segment, "b", &ByteQueueOptions::new(4000)).unwrap();
        let ring = Ring::<u64>::create(&segment, "r", &RingOptions::new(8)).unwrap();
        let atomic = Atomic::<u64>::create(&segment, "x", 0).unwrap();
        assert!(queue.enqueue(&1).unwrap() && queue.dequeue().unwrap() == Some(1));
        assert_eq!(queue.dequeue_wait(SHORT).unwrap(), None);
        assert!(ring.pop_wait(SHORT).unwrap().is_none() && atomic.wait(0, SHORT).unwrap().is_none());
        assert!(bytes.receive_wait(SHORT).unwrap().is_none() && segment.wait_for("none", SHORT).unwrap().is_none());
        assert!(segment.reap().unwrap() == 0 && segment.count() == 1 && segment.stats().unwrap().entries_used == 4);
        assert!(area.write(&[2; 100], 0).unwrap().is_some());
        segment.remove_all().unwrap();
    });
    let mut reader = Reader::open(area_name, &ReaderOptions::new()).unwrap();

    let refusals = |what: &str, named: &str, act: &mut dyn FnMut() -> shmds::Result<()>| {
        let before = (possessions(), files_of(name), files_of(other), files_of(area_name));
        let mut refusals = 0;
        for free in 0.. {
            assert!(free < 8, "{what} still fails with {free} descriptors");
            let result = with_descriptors(free, &mut *act);
            let Err(error) = result else { break };
            refused::<()>(Err(error), Status::Limit, &[named, "Too many open files"]);
            let now = (possessions(), files_of(name), files_of(other), files_of(area_name));
            assert_eq!(now, before, "{what}, with {free} descriptors");
            refusals += 1;
        }
        assert!(refusals > 0, "{what} needs no descriptors");
    };
    let new = AreaOptions::new().max_size(8192);
    refusals("creating", other, &mut || Segment::create(other, &sized()).map(drop));
    refusals("attaching", name, &mut || Segment::open(name, &plain()).map(drop));
    refusals("attaching to read", name, &mut || Segment::open(name, &plain().read_only()).map(drop));
    refusals("creating what is there", name, &mut || Segment::create(name, &sized()).map(drop));
    refusals("creating without a name", other, &mut || Segment::create_memfd(other, &sized()).map(drop));
    refusals("giving a descriptor", name, &mut || segment.fd().map(drop));
    drop(Segment::create(other, &sized().persistent()).unwrap());
    refusals("removing", other, &mut || Segment::unlink(other));
    refusals("making an area", other, &mut || Area::create(other, &new)?.unlink());
    refusals("opening an area to read", area_name, &mut || Reader::open(area_name, &ReaderOptions::new()).map(drop));
    area.obsolete(first).unwrap();
    refusals("compacting", area_name, &mut || area.collect().map(drop));
    assert_eq!(area.stats().generation, 2);
    // A reader that cannot follow yet is told so, and follows when it can.
    refusals("following", area_name, &mut || reader.next().map(drop));
    assert_eq!(reader.stats().received, 1);
    refusals("listing areas", "/dev/shm", &mut || Area::list(area_name, &AreaOptions::new()).map(drop));
    drop(area);
    refusals("continuing an area", area_name, &mut || Area::open(area_name, &AreaOptions::new()).map(drop));
    Area::unlink_name(area_name, &AreaOptions::new()).unwrap();
}

#[test]
fn without_descriptors_everything_new_is_refused_and_everything_old_goes_on() {
    let (name, other, area) = (Name::new(), Name::new(), AreaName::new());
    Peer::role_without(&[], "limits::descriptors", &format!("{name} {other} {}", &*area)).finish();
    assert!(!name.exists() && !other.exists());
}

/// How many bytes of address space this process has taken.
fn taken() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').next().unwrap().parse::<u64>().unwrap() * 4096
}

/// `address_space NAME AREA`: has no room for another mapping of some size.
#[test]
#[ignore = "not a test: a process that tests start"]
fn address_space() {
    let Some(words) = role_words() else { return };
    let [name, area_name] = &words[..] else { panic!("{words:?}") };
    let segment = Segment::create(name, &sized()).unwrap();
    let mut area = Area::create(area_name, &AreaOptions::new().min_size(2 << 20).max_size(8 << 20)).unwrap();
    let id = area.write(b"there", 0).unwrap().unwrap();
    area.write(b"obsolete", 0).unwrap().and_then(|id| area.obsolete(id).ok()).unwrap();
    let held = ByteQueue::create(&segment, "held", &ByteQueueOptions::stream(1 << 20)).unwrap();
    let before = (possessions(), files_of(name), files_of(area_name), segment.stats().unwrap());
    limit(libc::RLIMIT_AS, taken() + (1 << 20));

    let buffer = ByteQueueOptions::stream(1 << 20);
    let twice: &[&str] = &["'b'", "1048576", "twice", "Cannot allocate memory"];
    for _ in 0..3 {
        refused(ByteQueue::create(&segment, "b", &buffer), Status::Limit, twice);
    }
    assert!(segment.find("b").unwrap().is_none(), "what was refused is not there");
    refused(ByteQueue::open(&segment, "held"), Status::Limit, &["'held'", "1048576", "twice"]);
    refused(held.try_clone(), Status::Limit, &["'held'", "1048576", "twice"]);
    let map: &[&str] = &["cannot map", name, "4194304", "Cannot allocate memory"];
    refused(Segment::open(name, &plain()), Status::Limit, map);
    refused(Segment::open(name, &plain().read_only()), Status::Limit, map);
    refused(Segment::create(&format!("{name}-2"), &sized()), Status::Limit, map);
    refused(Segment::create_memfd(name, &sized()), Status::Limit, map);
    refused(area.collect(), Status::Limit, &["cannot map the 2097152 bytes", area_name]);
    refused(
        Reader::open(area_name, &ReaderOptions::new()),
        Status::Limit,
        &["cannot map the 2097152 bytes", area_name],
    );
    let large = AreaOptions::new().min_size(2 << 20).max_size(8 << 20);
    refused(
        Area::create(&format!("{area_name}-2"), &large),
        Status::Limit,
        &["cannot map the 2097152 bytes", area_name],
    );
    assert!(put(&held, &[1; 100]), "what was there goes on");
    assert_eq!(area.read(id).unwrap(), b"there");

    limit(libc::RLIMIT_AS, u64::MAX);
    let after = (possessions(), files_of(name), files_of(area_name), segment.stats().unwrap());
    assert_eq!(after, before);
    let queue = ByteQueue::create(&segment, "b", &buffer).unwrap();
    assert!(put(&queue, &[1; 100]) && area.collect().unwrap());
    area.unlink().unwrap();

    // A name goes without a mapping of what has it.
    let other = format!("{name}-2");
    let unnamed = Segment::create(&other, &sized()).unwrap();
    limit(libc::RLIMIT_AS, taken() + (1 << 20));
    Segment::unlink(&other).unwrap();
    limit(libc::RLIMIT_AS, u64::MAX);
    assert!(unnamed.stats().unwrap().orphaned);
}

#[test]
fn without_address_space_nothing_is_half_made() {
    let (name, area) = (Name::new(), AreaName::new());
    Peer::role_without(&[], "limits::address_space", &format!("{name} {}", &*area)).finish();
    assert!(!name.exists());
}

/// `file_size NAME AREA DIRECTORY`: may have small files only, and is killed by SIGXFSZ if anybody tries to have a larger one.
#[test]
#[ignore = "not a test: a process that tests start"]
fn file_size() {
    let Some(words) = role_words() else { return };
    let [name, area_name, directory] = &words[..] else { panic!("{words:?}") };
    // SAFETY: the handler is the kernel's.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_DFL) };
    let nothing = possessions();
    let large: &[&str] = &["4194304", "File too large"];
    let refuse = |result: shmds::Result<Segment>| refused(result, Status::NoSpace, large);
    for most in [0, 4095, 4096, (4 << 20) - 1] {
        limit(libc::RLIMIT_FSIZE, most);
        refuse(Segment::create(name, &sized()));
        refuse(Segment::create_memfd(name, &sized()));
        refuse(Segment::create_file(format!("{directory}file"), &sized()));
        if most < 65536 {
            refused(Area::create(area_name, &AreaOptions::new()), Status::NoSpace, &[area_name, "File too large"]);
        }
        assert_eq!((possessions(), files_of(name), files_of(area_name)), (nothing.clone(), vec![], vec![]));
        assert_eq!(std::fs::read_dir(directory).unwrap().count(), 0);
    }
    // As large as it may be, and not a byte more.
    limit(libc::RLIMIT_FSIZE, 4 << 20);
    let segment = Segment::create(name, &sized()).unwrap();
    assert_eq!(segment.stats().unwrap().size, 4 << 20);
    limit(libc::RLIMIT_FSIZE, 0);
    assert!(Queue::<u64>::create(&segment, "q", &QueueOptions::new(8)).unwrap().enqueue(&1).unwrap());
    assert_eq!(Segment::open(name, &plain()).unwrap().count(), 2);
    // An area grows to the limit; then it makes do with less than twice what it has, and then no more.
    limit(libc::RLIMIT_FSIZE, 80 << 10);
    let mut area = Area::create(area_name, &AreaOptions::new()).unwrap();
    let mut written = 0;
    let end = loop {
        match area.write(&[written as u8; 1000], 0) {
            Ok(Some(_)) => written += 1,
            other => break other,
        }
    };
    refused(end, Status::NoSpace, &[area_name, "generation ", "File too large"]);
    let stats = area.stats();
    assert!(written == 75 && stats.chunks == 75 && (76 << 10..=80 << 10).contains(&stats.bytes), "{written} {stats:?}");
    area.unlink().unwrap();
}

#[test]
fn the_limit_of_file_sizes_is_an_error_and_no_signal() {
    let (name, area, directory) = (Name::new(), AreaName::new(), TempDir::new());
    let words = format!("{name} {} {}", &*area, directory.path("").display());
    Peer::role_without(&[], "limits::file_size", &words).finish();
    assert!(!name.exists());
}

/// `locked NAME UID`: may lock half of a segment.
#[test]
#[ignore = "not a test: a process that tests start"]
fn locked() {
    let Some(words) = role_words() else { return };
    let uid: u32 = words[1].parse().unwrap();
    if uid != 0 {
        become_user(uid, uid, &[]); // root may lock whatever it likes
    }
    limit(libc::RLIMIT_MEMLOCK, 2 << 20);
    let segment = Segment::create(&words[0], &sized().lock_memory()).unwrap();
    let [refused] = segment.unavailable() else { panic!("{:?}", segment.unavailable()) };
    assert_eq!(refused.option, MemoryOption::LockMemory);
    let sentence = &refused.reason;
    assert!(sentence.contains("4194304") && sentence.contains(&words[0]) && sentence.contains("locked"), "{sentence}");
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    assert_eq!(locked.trim(), "0 kB", "half of it is not locked either");
    let queue = Queue::<u64>::create(&segment, "q", &QueueOptions::new(8)).unwrap();
    assert!(queue.enqueue(&1).unwrap() && queue.dequeue().unwrap() == Some(1));
    drop((queue, segment));
    let half = Segment::create(&words[0], &plain().size(1 << 20).lock_memory()).unwrap();
    assert_eq!(half.unavailable(), []);
}

#[test]
fn memory_that_may_not_be_locked_is_told_and_no_error() {
    // SAFETY: geteuid has no preconditions.
    let uid = if unsafe { libc::geteuid() } == 0 { 65533 } else { 0 };
    let name = Name::new();
    Peer::role_without(&[], "limits::locked", &format!("{name} {uid}")).finish();
    assert!(!name.exists());
}
