//! Shared memory that is too small: what fits works to the last byte, what does not is refused, and nobody is ever killed by SIGBUS.

use std::time::Duration;

use shmds::speculo::{Area, AreaOptions, Reader, ReaderOptions};
use shmds::{
    Array, Atomic, ByteQueue, ByteQueueOptions, Pool, Queue, QueueOptions, Ring, RingOptions, Segment, SegmentOptions,
    Span, Status, TableShape,
};

use crate::support::scarce::{self, Lack, files_of, own_shared_memory, possessions};
use crate::support::*;
use crate::{put, take};

fn small(bytes: u64) -> SegmentOptions {
    SegmentOptions::new().size(bytes).table(TableShape::SMALL).max_participants(8)
}

/// Every byte of the largest span there is room for can be written and read.
fn fill_all(segment: &Segment) {
    let largest = segment.stats().unwrap().largest_free;
    let span = Span::create(segment, "all", largest, 1, true).unwrap();
    for at in 0..span.len() {
        // SAFETY: inside the span, which is ours.
        unsafe { span.as_ptr().add(at).write(at as u8 | 1) };
    }
    // SAFETY: as above.
    let bytes = unsafe { span.span().as_ref() };
    assert!(largest >= 4096 && (0..).zip(bytes).all(|(at, byte): (usize, _)| *byte == at as u8 | 1));
    let name = segment.name();
    refused(Span::create(segment, "more", 4096, 1, true), Status::NoSpace, &["'more'", "4096", name]);
    refused(Array::<u64>::create(segment, "more", 512), Status::NoSpace, &["'more'", "4224", name]);
    refused(ByteQueue::create(segment, "more", &ByteQueueOptions::stream(4096)), Status::NoSpace, &["'more'", "8192"]);
    segment.remove("all").unwrap();
}

/// One of each kind, and each works.
fn one_of_each(segment: &Segment) {
    let queue = Queue::<u64>::create(segment, "q", &QueueOptions::new(16)).unwrap();
    let single = Queue::<u64>::create(segment, "s", &QueueOptions::new(16).spsc()).unwrap();
    let ring = Ring::<u64>::create(segment, "r", &RingOptions::new(16)).unwrap();
    let bytes = ByteQueue::create(segment, "b", &ByteQueueOptions::stream(4096)).unwrap();
    let pool = Pool::<u64>::create(segment, "p", 16).unwrap();
    let array = Array::<u64>::create(segment, "a", 16).unwrap();
    let atomic = Atomic::<u64>::create(segment, "x", 7).unwrap();
    assert!(queue.enqueue(&1).unwrap() && single.enqueue(&2).unwrap() && ring.push(&3).unwrap());
    assert!(put(&bytes, &[4; 4096]));
    let handle = pool.acquire_with(5).unwrap().unwrap();
    array.fill(6).unwrap();
    assert_eq!((queue.dequeue().unwrap(), single.dequeue().unwrap(), ring.pop().unwrap()), (Some(1), Some(2), Some(3)));
    assert_eq!((take(&bytes, 4096), pool.read(handle).unwrap(), array.get(15).unwrap()), (vec![4; 4096], 5, 6));
    assert_eq!(atomic.wait(7, Duration::from_millis(1)).unwrap(), None);
    drop((queue, single, ring, bytes, pool, array, atomic));
    segment.remove_all().unwrap();
}

/// `little BYTES`: has a /dev/shm of so many bytes to itself.
#[test]
#[ignore = "not a test: a process that tests start"]
fn little() {
    let Some(words) = role_words() else { return };
    let all: u64 = words[0].parse().unwrap();
    own_shared_memory(&format!("size={all}"));
    let nothing = possessions();
    for bytes in [all + 4096, all << 4, 1 << 40] {
        let numbers: &[&str] = &["'one'", &bytes.to_string(), &format!("{all} were free")];
        refused(Segment::create("one", &small(bytes)), Status::NoSpace, numbers);
    }
    let most = AreaOptions::new().max_size(all << 1).min_size(all);
    refused(Area::create("one", &most), Status::NoSpace, &["'one'", &all.to_string(), "were free"]);
    assert_eq!((possessions(), files_of("one")), (nothing.clone(), vec![]));

    let first = Segment::create("one", &small(all / 2)).unwrap();
    let numbers: &[&str] = &["'two'", &(all / 2 + 4096).to_string(), &format!("{} were free", all / 2)];
    refused(Segment::create("two", &small(all / 2 + 4096)), Status::NoSpace, numbers);
    one_of_each(&first);
    fill_all(&first);
    // To the last page.
    let second = Segment::create("two", &small(all / 2)).unwrap();
    fill_all(&second);
    refused(Segment::create("three", &small(16384)), Status::NoSpace, &["'three'", "16384", "0 were free"]);
    refused(Area::create("three", &AreaOptions::new()), Status::NoSpace, &["'three'", "4096", "0 were free"]);
    assert_eq!(files_of("three"), Vec::<std::path::PathBuf>::new());
    let other = Segment::open("one", &SegmentOptions::new()).unwrap();
    one_of_each(&other);
    drop(other);
    drop(first);
    // Room for the manifest and an area that may not grow much.
    let mut area = Area::create("three", &AreaOptions::new().min_size(4096).max_size(all)).unwrap();
    let mut reader = Reader::open("three", &ReaderOptions::new()).unwrap();
    let mut written = 0;
    let end = loop {
        match area.write(&[written as u8; 900], 0) {
            Ok(Some(_)) => written += 1,
            other => break other,
        }
    };
    refused(end, Status::NoSpace, &["'three'", "generation", "were free"]);
    for expected in 0..written {
        assert_eq!(reader.next().unwrap().unwrap().to_vec(), [expected as u8; 900]);
    }
    // One less: then there is room for one more.
    assert!(written > 4, "{written}");
    area.obsolete(1).unwrap();
    area.obsolete(2).unwrap();
    drop(reader);
    assert!(
        area.collect().unwrap() || area.stats().live < area.stats().used,
        "what is valid fits beside what was there"
    );
    assert!(area.read(written).is_some());
    drop(second);
    assert!(area.write(&[1; 900], 0).unwrap().is_some(), "there is room again");
    area.unlink().unwrap();
    assert_eq!((possessions(), files_of("")), (nothing, vec![]));
}

#[test]
fn in_64_kib_what_fits_works_and_the_rest_is_refused() {
    Peer::role_without(&[], "room::little", "65536").finish();
}

#[test]
fn in_1_mib_what_fits_works_and_the_rest_is_refused() {
    Peer::role_without(&[], "room::little", "1048576").finish();
}

#[test]
fn so_it_is_without_files_that_have_no_name() {
    Peer::role_without(&[Lack::TmpFile], "room::little", "65536").finish();
}

/// `few_files`: has a /dev/shm that takes one or two more files.
#[test]
#[ignore = "not a test: a process that tests start"]
fn few_files() {
    if role_words().is_none() {
        return;
    }
    own_shared_memory("size=1m,nr_inodes=2"); // one of which is the directory
    let nothing = possessions();
    let none = "no more files are possible";
    let segment = Segment::create("one", &small(32768)).unwrap();
    let attached = possessions();
    refused(Segment::create("two", &small(32768)), Status::NoSpace, &["'two'", "32768", none]);
    refused(Area::create("two", &AreaOptions::new()), Status::NoSpace, &["'two'", "4096", none]);
    assert_eq!((possessions(), files_of("").len()), (attached, 1));
    one_of_each(&segment);
    drop(segment);
    // The manifest can be made, and its area cannot: then there is no manifest.
    refused(Area::create("two", &AreaOptions::new()), Status::NoSpace, &["'two'", "generation 1", "65536", none]);
    assert_eq!((possessions(), files_of("")), (nothing, vec![]));
    assert_eq!(Segment::create("one", &small(32768)).unwrap().count(), 1, "the one file can be made again");

    scarce::mount_shared_memory("size=1m,nr_inodes=3", 0);
    let mut area = Area::create("two", &AreaOptions::new().min_size(4096)).unwrap();
    let id = area.write(&[1; 3000], 0).unwrap().unwrap();
    // No file for a compaction: what is there stays.
    refused(area.write(&[2; 3000], 0), Status::NoSpace, &["'two'", "generation 2", none]);
    assert_eq!(area.read(id).unwrap(), [1; 3000]);
    area.unlink().unwrap();
}

#[test]
fn without_inodes_it_is_said_that_there_are_none() {
    Peer::role_without(&[], "room::few_files", "-").finish();
}

/// `tight`: updates chunks that fit twice, but not three times.
#[test]
#[ignore = "not a test: a process that tests start"]
fn tight() {
    const CHUNKS: u64 = 32;
    if role_words().is_none() {
        return;
    }
    own_shared_memory("size=128k");
    let mut area = Area::create("tight", &AreaOptions::new().min_size(16 << 10)).unwrap();
    let mut reader = Reader::open("tight", &ReaderOptions::new()).unwrap();
    let ids: Vec<u64> = (0..CHUNKS).map(|_| area.write(&[0; 1000], 0).unwrap().unwrap()).collect();
    let mut least = u64::MAX;
    for turn in 1..100_u8 {
        for id in &ids {
            let mut draft = area.update(*id, 1000).unwrap().expect("there is room for all that is valid");
            draft.write(0, &[turn; 1000]).unwrap();
            draft.commit().unwrap();
            // It goes along, and keeps no former area.
            assert_eq!(reader.get(*id).unwrap().unwrap().to_vec(), [turn; 1000]);
        }
        least = least.min(area.stats().bytes);
    }
    let stats = area.stats();
    assert!(stats.compactions > 90 && stats.chunks == CHUNKS && least < 2 * stats.live, "{least} {stats:?}");
    area.unlink().unwrap();
}

#[test]
fn a_compaction_makes_do_with_less_than_it_would_like() {
    Peer::role_without(&[], "room::tight", "-").finish();
}
