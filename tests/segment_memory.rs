//! Wishes about a segment's memory: granted so that the kernel's books show it, or told to be unavailable.

mod support;

use std::collections::HashMap;

use shmds::{ByteQueue, ByteQueueOptions, MemoryOption, Segment, SegmentOptions, Span, Status};
use support::*;

const SIZE: u64 = 8 << 20;

/// What /proc/self/smaps says, in KiB, about the mapping that a segment is in.
fn books(segment: &Segment) -> HashMap<String, u64> {
    let span = Span::create(segment, "probe", 4096, 8, false).unwrap();
    books_at(span.as_ptr().addr().get())
}

/// The same about the mapping at an address.
fn books_at(address: usize) -> HashMap<String, u64> {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut books = HashMap::new();
    let mut inside = false;
    for line in smaps.lines() {
        let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
        if let Some([from, to]) = range.map(|(from, to)| [from, to].map(|end| usize::from_str_radix(end, 16)))
            && let (Ok(from), Ok(to)) = (from, to)
        {
            inside = (from..to).contains(&address);
        } else if inside
            && let Some((key, value)) = line.split_once(':')
            && let Some(value) = value.trim().strip_suffix(" kB")
        {
            books.insert(key.to_owned(), value.parse().unwrap());
        }
    }
    assert!(!books.is_empty());
    books
}

fn options() -> SegmentOptions {
    SegmentOptions::new().size(SIZE)
}

#[track_caller]
fn all_granted(segment: &Segment) {
    assert_eq!(segment.unavailable(), []);
}

#[test]
fn without_prefaulting_pages_come_when_they_are_touched_and_with_it_all_are_there() {
    let name = Name::new();
    let plain = Segment::create(&name, &options()).unwrap();
    all_granted(&plain);
    assert!(books(&plain)["Rss"] < SIZE / 2048);
    let all = Segment::open(&name, &SegmentOptions::new().prefault()).unwrap();
    all_granted(&all);
    assert_eq!(books(&all)["Rss"], SIZE / 1024);
    let reader = Segment::open(&name, &SegmentOptions::new().read_only().prefault()).unwrap();
    all_granted(&reader);
    drop((plain, all, reader));
    let created = Segment::create(&name, &options().prefault()).unwrap();
    assert_eq!(books(&created)["Rss"], SIZE / 1024);
}

#[test]
fn a_byte_queue_in_prefaulted_memory_has_no_pages_left_to_come() {
    let name = Name::new();
    let buffer = 1 << 20;
    let rss = |options: SegmentOptions| {
        let segment = Segment::create(&name, &options).unwrap();
        let queue = ByteQueue::create(&segment, "q", &ByteQueueOptions::stream(buffer)).unwrap();
        let room = queue.reserve(1).unwrap().unwrap().as_mut_ptr().addr();
        // The two halves are mappings of their own.
        [room, room + buffer as usize].map(|address| books_at(address)["Rss"])
    };
    assert_eq!(rss(options().prefault()), [buffer / 1024; 2]);
    assert_eq!(rss(options()), [0; 2]);
}

#[test]
fn locked_memory_is_locked() {
    let name = Name::new();
    let segment = Segment::create(&name, &options().lock_memory()).unwrap();
    all_granted(&segment);
    assert_eq!(books(&segment)["Locked"], SIZE / 1024);
}

/// `without_locks NAME`: may lock nothing, as another user.
#[test]
#[ignore = "not a test: a process that tests start"]
fn without_locks() {
    let Some(words) = role_words() else { return };
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a live structure; neither call has preconditions.
    let became =
        unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &none) == 0 && libc::setresuid(65534, 65534, 65534) == 0 };
    assert!(became);
    let segment = Segment::create(&words[0], &options().lock_memory().prefault()).unwrap();
    let [refused] = segment.unavailable() else { panic!("{:?}", segment.unavailable()) };
    assert_eq!(refused.option, MemoryOption::LockMemory);
    for word in [words[0].as_str(), "8388608", "locked in memory"] {
        assert!(refused.reason.contains(word), "{}", refused.reason);
    }
    let books = books(&segment);
    assert_eq!((books["Locked"], books["Rss"]), (0, SIZE / 1024), "the other wish was granted");
}

#[test]
fn memory_that_may_not_be_locked_is_told_and_no_error() {
    need_root();
    Peer::role("without_locks", &Name::new()).finish();
}

#[test]
fn huge_pages_are_there_or_told_to_be_missing() {
    let name = Name::new();
    // Not whole huge pages, so that there is a rest.
    let segment = Segment::create(&name, &SegmentOptions::new().size(SIZE + 12288).huge_pages()).unwrap();
    let books = books(&segment);
    match segment.unavailable() {
        [] => assert!(books["ShmemPmdMapped"] >= SIZE / 1024, "{books:?}"),
        [refused] => {
            assert_eq!((refused.option, books["ShmemPmdMapped"]), (MemoryOption::HugePages, 0));
            assert!(refused.reason.contains(&*name), "{}", refused.reason);
        }
        more => panic!("{more:?}"),
    }
    let second = Segment::open(&name, &SegmentOptions::new().huge_pages().prefault()).unwrap();
    assert_eq!(second.unavailable().is_empty(), segment.unavailable().is_empty());
    let base = Span::create(&second, "probe", 4096, 8, false).unwrap().as_ptr().addr().get() as u64
        - second.find("probe").unwrap().unwrap().offset;
    assert_eq!(base % (2 << 20), 0);
}

#[test]
fn a_byte_queue_lies_in_huge_pages_where_its_segment_does() {
    const LEN: usize = 4 << 20;
    let name = Name::new();
    let segment = Segment::create(&name, &SegmentOptions::new().size(2 * SIZE).huge_pages()).unwrap();
    let queue = ByteQueue::create(&segment, "q", &ByteQueueOptions::stream(LEN as u64)).unwrap();
    let mut first = None;
    for step in [LEN / 2, LEN] {
        let mut place = queue.reserve(LEN).unwrap().unwrap();
        let address = place.as_mut_ptr().addr();
        place.write(0, &vec![step as u8 | 1; LEN]).unwrap();
        place.commit(step, 0).unwrap();
        assert_eq!(queue.consume(step, |_, there| there).unwrap(), Some(step));
        first.get_or_insert(address);
    }
    let first = first.unwrap();
    if segment.unavailable().is_empty() {
        for half in [first, first + LEN] {
            let books = books_at(half);
            assert!(books["ShmemPmdMapped"] >= 2048, "{books:?}");
        }
    } else {
        assert_eq!(books_at(first)["ShmemPmdMapped"], 0);
    }
}

/// `at_the_limits NAME`: may have files of 4 MiB, and address space that is almost all taken.
#[test]
#[ignore = "not a test: a process that tests start"]
fn at_the_limits() {
    let Some(words) = role_words() else { return };
    let limit = |resource, bytes| {
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: a live structure.
        assert_eq!(unsafe { libc::setrlimit(resource, &limit) }, 0);
    };
    limit(libc::RLIMIT_FSIZE, 4 << 20);
    let named = Segment::create(&words[0], &options());
    refused(named, Status::NoSpace, &[&words[0], "8388608", "File too large"]);
    refused(Segment::create_memfd("limited", &options()), Status::NoSpace, &["limited", "8388608", "File too large"]);
    limit(libc::RLIMIT_FSIZE, libc::RLIM_INFINITY);

    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split(' ').next().unwrap().parse().unwrap();
    // Room for the segment, and not for a reservation of whole huge pages around it.
    limit(libc::RLIMIT_AS, pages * 4096 + SIZE + (1 << 20));
    let segment = Segment::create(&words[0], &options().huge_pages()).unwrap();
    segment.unavailable().iter().for_each(|one| assert_eq!(one.option, MemoryOption::HugePages));
    refused(Segment::open(&words[0], &SegmentOptions::new()), Status::Limit, &["cannot map", &words[0], "8388608"]);
}

#[test]
fn limits_of_the_process_are_errors_or_told() {
    Peer::role("at_the_limits", &Name::new()).finish();
}

#[test]
fn a_segment_smaller_than_a_huge_page_says_so() {
    let name = Name::new();
    let segment = Segment::create(&name, &SegmentOptions::new().size(1 << 20).huge_pages()).unwrap();
    let [refused] = segment.unavailable() else { panic!("{:?}", segment.unavailable()) };
    assert_eq!(refused.option, MemoryOption::HugePages);
    assert!(refused.reason.contains("1048576") && refused.reason.contains("2097152"), "{}", refused.reason);
}

#[test]
fn node_0_is_there_and_node_9999_is_told_to_be_missing() {
    let name = Name::new();
    let segment = Segment::create(&name, &options().numa_node(0)).unwrap();
    all_granted(&segment);
    for node in [9999, u32::MAX] {
        let other = Segment::open(&name, &SegmentOptions::new().numa_node(node)).unwrap();
        let [refused] = other.unavailable() else { panic!("{:?}", other.unavailable()) };
        assert_eq!(refused.option, MemoryOption::NumaNode);
        assert!(refused.reason.contains(&node.to_string()) && refused.reason.contains(&*name), "{}", refused.reason);
        assert_eq!(other.count(), 2, "it works all the same");
    }
}

#[test]
fn all_wishes_together_are_granted_or_told() {
    let name = Name::new();
    let wishes = options().prefault().lock_memory().huge_pages().numa_node(0);
    let segment = Segment::create(&name, &wishes).unwrap();
    let books = books(&segment);
    let refused = |option| segment.unavailable().iter().any(|one| one.option == option);
    assert!(refused(MemoryOption::Prefault) || books["Rss"] == SIZE / 1024, "{books:?}");
    assert!(refused(MemoryOption::LockMemory) || books["Locked"] == SIZE / 1024, "{books:?}");
    assert!(refused(MemoryOption::HugePages) || books["ShmemPmdMapped"] == SIZE / 1024, "{books:?}");
    all_granted(&Segment::open(&name, &SegmentOptions::new()).unwrap());
}
