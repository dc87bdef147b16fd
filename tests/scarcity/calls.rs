//! Kernels, and sandboxes, without one system call or another: there is a way around, or a sentence that says what is missing.

use std::io::BufRead;
use std::time::Duration;

use shmds::speculo::{Area, AreaOptions, Reader, ReaderOptions, now};
use shmds::{
    Array, Atomic, ByteQueue, ByteQueueOptions, Pool, Queue, QueueOptions, Ring, RingOptions, Segment, SegmentOptions,
    Status,
};

use crate::support::scarce::{self, Lack, files_of, possessions};
use crate::support::*;
use crate::{only, signals};

const SECOND: Duration = Duration::from_secs(1);

/// Messages, samples and rounds that go from each to each.
const COUNT: u64 = 200;

/// The names of what a host has.
struct Names {
    plain: Name,
    bytes: Name,
    ring: Name,
    area: AreaName,
}

impl Names {
    fn new() -> Self {
        Self { plain: Name::new(), bytes: Name::new(), ring: Name::new(), area: AreaName::new() }
    }
}

/// `host PLAIN BYTES RING AREA`: has structures of every kind. It is told "anew" to have a fresh byte queue and ring, "dead" to look after those
/// who were killed, and to go by the end of its input.
#[test]
#[ignore = "not a test: a process that tests start"]
fn host() {
    let Some(words) = role_words() else { return };
    let [plain, bytes, ring, area] = &words[..] else { panic!("{words:?}") };
    let segments = [plain, bytes, ring].map(|name| Segment::create(name, &sized().exclusive()).unwrap());
    let [plain, bytes, ring] = &segments;
    let queue = Queue::<Message>::create(plain, "q", &QueueOptions::new(8)).unwrap();
    let array = Array::<u64>::create(plain, "a", 200).unwrap();
    let pool = Pool::<Object>::create(plain, "p", 8).unwrap();
    let atomic = Atomic::<u64>::create(plain, "x", 0).unwrap();
    drop(Area::create(area, &storm_options().exclusive()).unwrap());
    println!("\nready");
    for line in std::io::stdin().lock().lines() {
        match line.unwrap().as_str() {
            "anew" => {
                bytes.remove_all().unwrap();
                ring.remove_all().unwrap();
                drop(ByteQueue::create(bytes, "q", &ByteQueueOptions::new(4000)).unwrap());
                drop(Ring::<Sample>::create(ring, "r", &RingOptions::new(64)).unwrap());
                drop(Atomic::<u64>::create(ring, "end", COUNT).unwrap());
                drop(Array::<u64>::create(ring, "log", 8).unwrap());
            }
            "dead" => {
                // Whoever came after them has reaped the others.
                assert_eq!((plain.reap().unwrap(), plain.participants().len()), (1, 1));
                let mut interrupted: Vec<String> = plain.interrupted().map(|entry| entry.name).collect();
                interrupted.sort();
                assert_eq!(interrupted, ["a", "p", "q"]);
                for name in interrupted {
                    plain.clear_interrupted(&name).unwrap();
                }
                for sequence in 0..16 {
                    assert!(queue.enqueue_wait(&Message::new(0, sequence), SECOND * 20).unwrap());
                    assert_eq!(queue.dequeue_wait(SECOND * 20).unwrap(), Some(Message::new(0, sequence)));
                }
                assert_eq!(pool.stats().available, 8);
                refused(array.snapshot(0, &mut [0; 200], SECOND), Status::Torn, &["'a'"]);
                array.write(|array| array.fill(0)).unwrap();
                assert!(array.snapshot(0, &mut [1; 200], SECOND).unwrap());
                assert_eq!(atomic.wait(0, Duration::from_millis(30)).unwrap(), None, "nobody changes it");
            }
            other => panic!("{other}?"),
        }
        println!("done");
    }
    assert!(Area::unlink_name(area, &storm_options()).unwrap());
    assert!(segments.iter().all(|segment| segment.count() == 1));
    drop((queue, array, pool, atomic));
    drop(segments);
    let left: Vec<_> = words.iter().flat_map(|name| files_of(name)).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A host without some things, and a guest in each language without others: all structures, both directions, asleep and woken, deaths, and the end.
fn exchange(host_lacks: &[Lack], guest_lacks: &[Lack]) {
    let names = Names::new();
    let Names { plain, bytes, ring, area } = &names;
    let words = format!("{plain} {bytes} {ring} {}", &**area);
    let mut host = Peer::role_without(host_lacks, "calls::host", &words);
    host.line("ready");
    let mut tell = |line: &str| {
        host.tell(line);
        host.line("done");
    };
    for language in EVERY_LANGUAGE {
        let guest = |part, words: &str| language.start_without(guest_lacks, part, words);
        // What is beside the guest is as the host is.
        let other = |part, words: &str| Language::Rust.start_without(host_lacks, part, words);
        let both = |one: Peer, two: Peer| {
            two.finish();
            one.finish();
        };
        let plainly = STRUCTURES;
        let consumes = format!("consume {plain} q {COUNT}");
        let produces = format!("produce {plain} q 1 {COUNT}");
        both(guest(plainly, &consumes), other(plainly, &produces));
        both(other(plainly, &consumes), guest(plainly, &produces));
        let (ping, pong) = (format!("atomic-ping {plain} x 15"), format!("atomic-pong {plain} x 15"));
        both(guest(plainly, &ping), other(plainly, &pong));
        both(other(plainly, &ping), guest(plainly, &pong));
        both(
            guest(plainly, &format!("pool-give {plain} p q {COUNT}")),
            other(plainly, &format!("pool-take {plain} p q {COUNT}")),
        );
        let snapshots = other(plainly, &format!("array-read {plain} a {COUNT}"));
        both(snapshots, guest(plainly, &format!("array-write {plain} a {COUNT}")));

        tell("anew");
        both(
            guest(BYTES, &format!("send {bytes} {COUNT} 7 2000")),
            other(BYTES, &format!("take {bytes} {COUNT} 7 2000")),
        );
        let mut pops = other(RING, &format!("pop {ring} 4 0"));
        pops.line("ready");
        guest(RING, &format!("push {ring} 4 0")).finish();
        assert_eq!(verdict(pops), (COUNT, 0));
        // Its peers look into /proc, to see that they can write nowhere.
        if !host_lacks.contains(&Lack::Proc) && !guest_lacks.contains(&Lack::Proc) {
            chunks(area, |words| guest(SPECULO, words), |words| other(SPECULO, words));
            chunks(area, |words| other(SPECULO, words), |words| guest(SPECULO, words));
        }

        for holds in
            [format!("hold {plain} q claim"), format!("array-hold {plain} a 50"), format!("pool-hold {plain} p 3")]
        {
            let mut doomed = guest(plainly, &holds);
            doomed.line("held");
            doomed.kill();
        }
        tell("dead");
    }
    host.end_input();
    host.finish();
}

/// Chunks from one side to the other, until the writer is told to stop.
fn chunks(area: &AreaName, write: impl FnOnce(&str) -> Peer, read: impl FnOnce(&str) -> Peer) {
    let directory = TempDir::new();
    let log = Log::create(directory.path("log"), 512);
    let mut writer = write(&format!("write {} {}", &**area, log.word_for_peer()));
    writer.line("ready");
    let mut reader = read(&format!("read {} - 0 0", &**area));
    reader.line("ready");
    std::thread::sleep(Duration::from_millis(50));
    log.set(storm_words::STOP, 1);
    writer.finish();
    reader.finish();
    // The last chunk of this run is not to end the next.
    assert!(Area::unlink_name(area, &storm_options()).unwrap());
    drop(Area::create(area, &storm_options().exclusive()).unwrap());
}

#[test]
fn all_works_where_nothing_is_missing() {
    exchange(&[], &[]);
}

#[test]
fn all_works_without_membarrier() {
    exchange(&[Lack::Membarrier], &[Lack::Membarrier]);
}

#[test]
fn all_works_with_guests_without_membarrier() {
    exchange(&[], &[Lack::Membarrier]);
}

#[test]
fn all_works_with_a_host_without_membarrier() {
    exchange(&[Lack::Membarrier], &[]);
}

#[test]
fn all_works_without_files_that_have_no_name() {
    exchange(&[Lack::TmpFile], &[Lack::TmpFile]);
}

#[test]
fn all_works_without_proc() {
    if unprivileged_without_proc() {
        return;
    }
    exchange(&[Lack::Proc], &[Lack::Proc]);
}

/// In a user namespace of one's own, /proc cannot be taken away: what more privileged ones mounted is locked together.
fn unprivileged_without_proc() -> bool {
    !scarce::is_root_or_said("a system without /proc")
}

#[test]
fn all_works_without_memory_that_forks_wipe() {
    exchange(&[Lack::WipeOnFork], &[Lack::WipeOnFork]);
}

#[test]
fn all_works_without_fallocate() {
    exchange(&[Lack::Fallocate], &[Lack::Fallocate]);
}

#[test]
fn all_works_without_what_newer_kernels_have() {
    exchange(&[Lack::Membarrier, Lack::Memfd, Lack::Populate, Lack::WipeOnFork], &[Lack::Memfd, Lack::TmpFile]);
}

/// `family NAME`: a parent and a child that it forks, where forks wipe nothing.
#[test]
#[ignore = "not a test: a process that tests start"]
fn family() {
    let Some(words) = role_words() else { return };
    let segment = Segment::create(&words[0], &sized().exclusive()).unwrap();
    let queue = Queue::<u64>::create(&segment, "q", &QueueOptions::new(64).spsc()).unwrap();
    let bytes = ByteQueue::create(&segment, "b", &ByteQueueOptions::new(4000)).unwrap();
    let mut area = Area::create(&words[1], &AreaOptions::new()).unwrap();
    assert!(queue.enqueue(&1).unwrap() && bytes.send(b"one", 0).unwrap() && area.write(b"one", 0).unwrap().is_some());
    let child = signals::forked(|| {
        let busy = format!("process {}", std::os::unix::process::parent_id());
        refused(queue.enqueue(&2), Status::Busy, &["'q'", &busy]);
        refused(bytes.send(b"two", 0), Status::Busy, &["'b'", &busy]);
        refused(area.write(b"two", 0), Status::Busy, &[&words[1], &busy]);
        assert_eq!((segment.count(), queue.dequeue().unwrap()), (2, Some(1)), "nobody had that end");
    });
    signals::ended_well(child);
    assert!(queue.enqueue(&2).unwrap() && bytes.send(b"two", 0).unwrap() && area.write(b"two", 0).unwrap().is_some());
    assert_eq!((queue.dequeue().unwrap(), segment.count(), segment.participants().len()), (Some(2), 1, 1));
    area.unlink().unwrap();
}

#[test]
fn a_forked_child_has_no_share_in_its_parents_ends_where_forks_wipe_nothing() {
    let (name, area) = (Name::new(), AreaName::new());
    for lacks in [&[][..], &[Lack::WipeOnFork]] {
        Peer::role_without(lacks, "calls::family", &format!("{name} {}", &*area)).finish();
        assert!(!name.exists() && area.objects().is_empty());
    }
}

/// `without_locks NAME DIRECTORY`: asks for everything that needs locks.
#[test]
#[ignore = "not a test: a process that tests start"]
fn without_locks() {
    let Some(words) = role_words() else { return };
    let (name, file) = (&words[0], format!("{}segment", words[1]));
    let before = possessions();
    let locks = "open-file-description locks";
    refused(Segment::create(name, &sized()), Status::System, &[name, locks]);
    refused(Segment::create_file(&file, &sized()), Status::System, &[&file, locks]);
    refused(Segment::create_memfd(name, &sized()), Status::System, &[name, locks]);
    refused(Area::create(name, &AreaOptions::new()), Status::System, &[name, locks]);
    assert_eq!((possessions(), files_of(name)), (before, vec![]));
    assert!(!std::fs::exists(file).unwrap());
}

#[test]
fn without_locks_that_die_with_their_holder_everything_is_refused_and_nothing_left() {
    let (name, directory) = (Name::new(), TempDir::new());
    let words = format!("{name} {}", directory.path("").display());
    Peer::role_without(&[Lack::OfdLocks], "calls::without_locks", &words).finish();
}

/// `latecomer NAME AREA`: finds what others made, and no locks.
#[test]
#[ignore = "not a test: a process that tests start"]
fn latecomer() {
    let Some(words) = role_words() else { return };
    let (name, locks) = (&words[0], "open-file-description locks");
    let before = possessions();
    let plain = SegmentOptions::new();
    refused(Segment::open(name, &plain), Status::System, &[name, locks]);
    refused(Segment::open(name, &plain.clone().read_only()), Status::System, &[name, locks]);
    refused(Segment::create(name, &sized()), Status::System, &[name, locks]);
    refused(Segment::unlink(name), Status::System, &[name, locks]);
    refused(Area::open(&words[1], &AreaOptions::new()), Status::System, &[&words[1], locks]);
    refused(Area::unlink_name(&words[1], &AreaOptions::new()), Status::System, &[&words[1], locks]);
    assert_eq!(possessions(), before);
    // Its lock is a courtesy.
    let mut reader = Reader::open(&words[1], &ReaderOptions::new()).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().to_vec(), b"there");
}

#[test]
fn without_such_locks_nobody_attaches_and_nobody_else_is_disturbed() {
    let (name, area_name) = (Name::new(), AreaName::new());
    let segment = fresh(&name);
    let mut area = Area::create(&area_name, &AreaOptions::new()).unwrap();
    area.write(b"there", 0).unwrap().unwrap();
    Peer::role_without(&[Lack::OfdLocks], "calls::latecomer", &format!("{name} {}", &*area_name)).finish();
    only(&segment, 1);
    assert!(name.exists());
    area.unlink().unwrap();
}

/// `without_memfd NAME` and `without_proc NAME`: ask for a segment without a name.
#[test]
#[ignore = "not a test: a process that tests start"]
fn without_memfd() {
    let Some(words) = role_words() else { return };
    let name = &words[0];
    let before = possessions();
    refused(Segment::create_memfd(name, &sized()), Status::System, &[name, "4194304 bytes", "not implemented"]);
    assert_eq!(possessions(), before);
    assert_eq!(Segment::create(name, &sized()).unwrap().count(), 1);
}

#[test]
fn without_memfd_there_are_no_nameless_segments_and_others_are_as_ever() {
    let name = Name::new();
    Peer::role_without(&[Lack::Memfd], "calls::without_memfd", &name).finish();
}

#[test]
#[ignore = "not a test: a process that tests start"]
fn without_proc() {
    let Some(words) = role_words() else { return };
    let name = &words[0];
    assert!(!std::fs::exists("/proc/self").unwrap());
    refused(Segment::create_memfd(name, &sized()), Status::System, &[name, "there is no /proc"]);
    let segment = Segment::create(name, &sized()).unwrap();
    let descriptor = segment.fd().unwrap();
    refused(
        Segment::open_fd(&descriptor, &SegmentOptions::new()),
        Status::System,
        &["descriptor", "there is no /proc"],
    );
    // The run of the machine is not known here, so times are taken for those of this one.
    let mut area = Area::open(&words[1], &AreaOptions::new()).unwrap();
    assert_eq!(area.read(1).unwrap(), b"for a while");
    let mut reader = Reader::open(&words[1], &ReaderOptions::new()).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().to_vec(), b"for a while");
    assert!(area.write(b"from there", now() + 3_600_000_000_000).unwrap().is_some());
    area.obsolete(1).unwrap();
    assert!(area.collect().unwrap());
}

#[test]
fn without_proc_nothing_can_be_opened_by_its_descriptor_and_times_still_count() {
    if unprivileged_without_proc() {
        return;
    }
    let (name, area_name) = (Name::new(), AreaName::new());
    let mut area = Area::create(&area_name, &AreaOptions::new()).unwrap();
    assert_eq!(area.write(b"for a while", now() + 3_600_000_000_000).unwrap(), Some(1));
    drop(area);
    Peer::role_without(&[Lack::Proc], "calls::without_proc", &format!("{name} {}", &*area_name)).finish();
    let mut reader = Reader::open(&area_name, &ReaderOptions::new()).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().to_vec(), b"from there");
    let mut area = Area::open(&area_name, &AreaOptions::new()).unwrap();
    assert_eq!(area.read(2).unwrap(), b"from there");
    area.unlink().unwrap();
}

/// `filled NAME`: reserves by writing.
#[test]
#[ignore = "not a test: a process that tests start"]
fn filled() {
    let Some(words) = role_words() else { return };
    let segment = Segment::create(&words[0], &sized()).unwrap();
    let file = std::fs::metadata(Name::path_of(&words[0])).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!((file.len(), file.blocks() * 512), (4 << 20, 4 << 20), "all of it is there");
    drop(segment);
    scarce::own_shared_memory("size=1m");
    refused(Segment::create("more", &sized()), Status::NoSpace, &["'more'", "4194304", "1048576 were free"]);
    assert!(files_of("").is_empty());
    assert_eq!(Segment::create("less", &SegmentOptions::new().size(1 << 20)).unwrap().count(), 1);
}

#[test]
fn without_fallocate_every_page_is_reserved_all_the_same() {
    Peer::role_without(&[Lack::Fallocate], "calls::filled", &Name::new()).finish();
}
