//! The directory of a segment: names come and go, and the memory behind them is somebody's or free.

mod support;

use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use shmds::{Kind, Queue, QueueOptions, Segment, SegmentOptions, Span, Status, TableShape};
use support::*;

fn create<T: shmds::Plain>(segment: &Segment, name: &str, capacity: u64) -> Queue<T> {
    Queue::create(segment, name, &QueueOptions::new(capacity).exclusive()).unwrap()
}

#[test]
fn names_are_found_until_they_are_removed() {
    let name = Name::new();
    let segment = Segment::create(&name, &sized().table(TableShape::HUGE)).unwrap();
    let names: Vec<String> = (0..1000).map(|nth| format!("structure number {nth}")).collect();
    let queues: Vec<Queue<u32>> = names.iter().map(|name| create(&segment, name, 16)).collect();
    for (nth, name) in names.iter().enumerate() {
        let entry = segment.find(name).unwrap().unwrap();
        assert_eq!((&entry.name, entry.kind, entry.elem_size, entry.count), (name, Kind::Queue, 4, 16));
        assert!(queues[nth].enqueue(&(nth as u32)).unwrap());
    }
    assert_eq!(segment.entries().count(), 1000);
    for name in names.iter().step_by(3) {
        segment.remove(name).unwrap();
        refused(segment.remove(name), Status::NotFound, &[name]);
    }
    for (nth, name) in names.iter().enumerate() {
        assert_eq!(segment.find(name).unwrap().is_some(), nth % 3 != 0, "{name}");
        assert_eq!(queues[nth].dequeue().unwrap(), Some(nth as u32), "each name has memory of its own");
    }
    assert_eq!(segment.entries().count(), 666);
}

#[test]
fn taking_all_names_away_holds_nobody_up_for_long() {
    let name = Name::new();
    let shape = TableShape { name_bytes: 8, entries: 20_000 };
    let options = SegmentOptions::new().size(16 << 20).table(shape).max_participants(8);
    let segment = Segment::create(&name, &options).unwrap();
    for nth in 0..2000 {
        Span::create(&segment, &nth.to_string(), 64, 8, false).unwrap();
    }
    let _measuring = measuring();
    let start = Instant::now();
    assert_eq!(segment.remove_all().unwrap(), 2000);
    assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
    assert_eq!((segment.entries().count(), segment.find("7").unwrap()), (0, None));
    assert_eq!(segment.stats().unwrap().entries_free, 20_000);
}

#[test]
fn impossible_names_are_refused_with_their_length() {
    let name = Name::new();
    let segment = fresh(&name);
    let (longest, long) = ("n".repeat(32), "n".repeat(33));
    drop(create::<u8>(&segment, &longest, 1));
    assert!(segment.find(&longest).unwrap().is_some());
    for (bad, words) in [("", ["empty", ""]), ("a\nb", ["control character", "a\\nb"]), (&long, ["33 bytes", "32"])] {
        refused(Queue::<u8>::create(&segment, bad, &QueueOptions::new(1)), Status::Invalid, &words);
        refused(Queue::<u8>::open(&segment, bad), Status::Invalid, &words);
        refused(segment.find(bad), Status::Invalid, &words);
        refused(segment.remove(bad), Status::Invalid, &words);
        refused(segment.wait_for(bad, Duration::ZERO), Status::Invalid, &words);
    }
    refused(Queue::<u8>::open(&segment, "not there"), Status::NotFound, &["'not there'", &name]);
}

#[test]
fn a_queue_of_another_shape_is_refused_with_both_sides_named() {
    let name = Name::new();
    let segment = fresh(&name);
    let options = QueueOptions::new(100).type_tag(7);
    let _queue = Queue::<u64>::create(&segment, "q", &options).unwrap();
    let again = |options: &QueueOptions| Queue::<u64>::create(&segment, "q", options);
    assert_eq!(again(&options).unwrap().capacity(), 128);
    assert!(again(&QueueOptions::new(128)).is_ok(), "an unnamed tag is not compared");
    refused(again(&options.exclusive()), Status::Exists, &["'q'", &name]);
    refused(again(&options.spsc()), Status::Mismatch, &["'q'", "Mpmc", "Spsc"]);
    refused(again(&QueueOptions::new(129)), Status::Mismatch, &["'q'", "128 elements", "129"]);
    refused(again(&QueueOptions::new(128).type_tag(8)), Status::Mismatch, &["'q'", "0x7", "0x8"]);
    refused(Queue::<u32>::create(&segment, "q", &options), Status::Mismatch, &["'q'", "8 bytes", "4"]);
    refused(Queue::<[u8; 9]>::open(&segment, "q"), Status::Mismatch, &["'q'", "8 bytes", "9"]);
    refused(Queue::<u64>::open_tagged(&segment, "q", 9), Status::Mismatch, &["'q'", "0x7", "0x9"]);
    assert!(Queue::<u64>::open_tagged(&segment, "q", 7).is_ok());
    assert!(Queue::<[u8; 8]>::open(&segment, "q").is_ok(), "less alignment is no harm");
    let _bytes = Queue::<[u8; 8]>::create(&segment, "bytes", &QueueOptions::new(4)).unwrap();
    refused(Queue::<u64>::open(&segment, "bytes"), Status::Mismatch, &["'bytes'", "to 1", "8 was asked"]);
    for (bad, words) in [(0, "not 0"), (u64::MAX, "18446744073709551615"), (1 << 62, "4611686018427387904")] {
        let impossible = QueueOptions::new(bad);
        refused(Queue::<u64>::create(&segment, "bad", &impossible), Status::Invalid, &[words]);
        refused(impossible.bytes::<u64>(), Status::Invalid, &[words]);
    }
    assert_eq!(segment.find("q").unwrap().unwrap().users, 1, "whoever was refused uses nothing");
}

#[test]
fn a_structure_of_another_kind_is_refused() {
    let name = Name::new();
    let segment = fresh(&name);
    drop(create::<u64>(&segment, "q", 4));
    // The kind is in the second byte of the first entry, and where the entries are in the header.
    let file = std::fs::File::options().read(true).write(true).open(name.path()).unwrap();
    let mut offset = [0; 8];
    file.read_exact_at(&mut offset, 72).unwrap();
    for (code, kind, noun) in [(2, Kind::Array, "array"), (6, Kind::Ring, "ring"), (99, Kind::Unknown, "later version")]
    {
        file.write_all_at(&[code], u64::from_ne_bytes(offset) + 1).unwrap();
        assert_eq!(segment.find("q").unwrap().unwrap().kind, kind);
        refused(Queue::<u64>::open(&segment, "q"), Status::Mismatch, &["'q'", noun, "queue"]);
        refused(Queue::<u64>::create(&segment, "q", &QueueOptions::new(4)), Status::Mismatch, &["'q'", noun, "queue"]);
    }
}

#[test]
fn a_full_table_is_a_limit_with_its_number_until_an_entry_is_free() {
    let name = Name::new();
    let segment = Segment::create(&name, &sized().table(TableShape::SMALL)).unwrap();
    let mut queues: Vec<Queue<u8>> = (0..16).map(|nth| create(&segment, &format!("q{nth}"), 1)).collect();
    let one_more = || Queue::<u8>::create(&segment, "one more", &QueueOptions::new(1));
    refused(one_more(), Status::Limit, &["'one more'", "16", &name]);
    segment.remove("q3").unwrap();
    refused(one_more(), Status::Limit, &["'one more'", "16"]);
    assert_eq!(segment.stats().unwrap().entries_free, 0, "somebody has it open still");
    drop(queues.remove(3));
    assert_eq!(segment.stats().unwrap().entries_free, 1);
    assert!(one_more().is_ok());
}

#[test]
fn a_full_segment_is_no_space_with_its_numbers_until_memory_is_free() {
    let name = Name::new();
    let segment = fresh(&name);
    let free = segment.stats().unwrap().free;
    let large = QueueOptions::new(2 << 20);
    let bytes = large.bytes::<u8>().unwrap();
    assert!(bytes > free);
    let refusal: &[&str] = &["'large'", &bytes.to_string(), &free.to_string(), &name];
    refused(Queue::<u8>::create(&segment, "large", &large), Status::NoSpace, refusal);
    assert!(segment.find("large").unwrap().is_none() && segment.stats().unwrap().free == free);
    let mut count = 0;
    while let Ok(queue) = Queue::<[u8; 1024]>::create(&segment, &format!("{count}"), &QueueOptions::new(256)) {
        drop(queue);
        count += 1;
    }
    assert_eq!(count, free / QueueOptions::new(256).bytes::<[u8; 1024]>().unwrap());
    segment.remove("5").unwrap();
    drop(create::<[u8; 1024]>(&segment, "again", 256));
}

#[test]
fn the_largest_allocation_is_what_was_said() {
    let name = Name::new();
    let options = QueueOptions::new(64);
    let bytes = options.bytes::<u64>().unwrap();
    for (most, fits) in [(bytes, true), (bytes - 1, false)] {
        let segment = Segment::create(&name, &sized().max_allocation(most)).unwrap();
        let queue = Queue::<u64>::create(&segment, "q", &options);
        if fits {
            assert!(queue.is_ok());
        } else {
            refused(queue, Status::NoSpace, &["'q'", &bytes.to_string(), &most.to_string(), &name]);
        }
    }
}

#[test]
fn a_removed_name_can_be_given_again_while_the_old_structure_is_in_use() {
    let name = Name::new();
    let segment = fresh(&name);
    let old = create::<u64>(&segment, "q", 16);
    assert!(old.enqueue(&1).unwrap());
    let used = segment.stats().unwrap().used;
    segment.remove("q").unwrap();
    assert!(segment.find("q").unwrap().is_none());
    refused(Queue::<u64>::open(&segment, "q"), Status::NotFound, &["'q'"]);
    let new = create::<[u64; 2]>(&segment, "q", 16);
    let clone = old.try_clone().unwrap();
    assert!(clone.enqueue(&2).unwrap() && new.enqueue(&[3; 2]).unwrap());
    assert_eq!((old.dequeue().unwrap(), old.dequeue().unwrap()), (Some(1), Some(2)));
    assert!(segment.stats().unwrap().used > used);
    drop(old);
    assert!(segment.stats().unwrap().used > used, "the clone has it open");
    drop(clone);
    segment.remove("q").unwrap();
    assert_eq!(new.dequeue().unwrap(), Some([3; 2]));
    drop(new);
    let stats = segment.stats().unwrap();
    assert_eq!((stats.used, stats.entries_used, stats.largest_free), (0, 0, stats.free));
}

#[test]
fn the_memory_of_a_removed_structure_is_free_when_its_last_user_is_killed() {
    let name = Name::new();
    let segment = fresh(&name);
    for language in EVERY_LANGUAGE {
        drop(create::<Message>(&segment, "q", 16));
        let mut user = language.start(&format!("hold {name} q claim"));
        user.line("held");
        segment.remove("q").unwrap();
        assert_eq!(segment.stats().unwrap().entries_used, 1);
        user.kill();
        assert_eq!(segment.reap().unwrap(), 1);
        assert_eq!((segment.stats().unwrap().entries_used, segment.stats().unwrap().used), (0, 0));
    }
}

#[test]
fn a_reader_keeps_what_it_looks_at() {
    let name = Name::new();
    let segment = fresh(&name);
    let reader = Segment::open(&name, &SegmentOptions::new().read_only()).unwrap();
    let queue = create::<u64>(&segment, "q", 16);
    assert!(queue.enqueue(&1).unwrap());
    let looked_at = Queue::<u64>::open(&reader, "q").unwrap();
    drop(queue);
    segment.remove("q").unwrap();
    assert_eq!((segment.stats().unwrap().entries_used, looked_at.len()), (1, 1));
    drop(looked_at);
    assert_eq!(segment.stats().unwrap().entries_used, 0);
}

#[test]
fn ten_thousand_creations_and_removals_of_all_sizes_leak_nothing() {
    let (name, mut random) = (Name::new(), Random::new());
    let segment = fresh(&name);
    let mut living: Vec<(String, Queue<u64>)> = Vec::new();
    for cycle in 0..10_000_u32 {
        if living.len() == 12 || (random.below(3) == 0 && !living.is_empty()) {
            let (name, queue) = living.swap_remove(random.below(living.len() as u64) as usize);
            assert!(queue.dequeue().unwrap().is_some());
            segment.remove(&name).unwrap();
        }
        let (name, capacity) = (format!("queue {cycle}"), 1 << random.below(14));
        let options = QueueOptions::new(capacity);
        let queue = Queue::create(&segment, &name, &if cycle % 2 == 0 { options.spsc() } else { options }).unwrap();
        assert_eq!((queue.len(), queue.stats().enqueued, queue.stats().shut_down), (0, 0, false), "made of old memory");
        assert!(queue.enqueue(&u64::MAX).unwrap());
        living.push((name, queue));
    }
    for (name, _) in &living {
        segment.remove(name).unwrap();
    }
    drop(living);
    let stats = segment.stats().unwrap();
    assert_eq!((stats.used, stats.entries_used, stats.largest_free), (0, 0, stats.free));
}

#[test]
fn old_memory_is_zeroed_before_it_is_used_again() {
    let name = Name::new();
    let segment = fresh(&name);
    for mode in [QueueOptions::new(64), QueueOptions::new(64).spsc()] {
        let old = create::<[u64; 8]>(&segment, "old", 64);
        while old.enqueue(&[u64::MAX; 8]).unwrap() {}
        old.shutdown().unwrap();
        let offset = segment.find("old").unwrap().unwrap().offset;
        segment.remove("old").unwrap();
        drop(old);
        let new = Queue::<[u64; 4]>::create(&segment, "new", &mode).unwrap();
        assert_eq!(segment.find("new").unwrap().unwrap().offset, offset, "the same memory");
        assert_eq!((new.dequeue().unwrap(), new.is_empty(), new.stats().shut_down), (None, true, false));
        let mut claim = new.claim().unwrap().unwrap();
        // SAFETY: a claimed slot, read by its owner.
        assert_eq!(unsafe { claim.as_mut_ptr().read() }, [0; 4]);
        claim.write([1; 4]);
        claim.commit().unwrap();
        assert_eq!(new.dequeue().unwrap(), Some([1; 4]));
        segment.remove("new").unwrap();
    }
}

/// `late_creator NAME`: makes the queue "late", after a while.
#[test]
#[ignore = "not a test: a process that tests start"]
fn late_creator() {
    let Some(words) = role_words() else { return };
    let segment = Segment::open(&words[0], &SegmentOptions::new()).unwrap();
    println!("\nready");
    std::thread::sleep(Duration::from_millis(50));
    drop(create::<u64>(&segment, "late", 4));
}

#[test]
fn a_name_can_be_waited_for_across_processes() {
    let name = Name::new();
    let segment = fresh(&name);
    let reader = Segment::open(&name, &SegmentOptions::new().read_only()).unwrap();
    for waiting in [&segment, &reader] {
        let start = Instant::now();
        assert_eq!(waiting.wait_for("late", Duration::from_millis(30)).unwrap(), None);
        assert!(start.elapsed() >= Duration::from_millis(30));
        assert_eq!(waiting.wait_for("late", Duration::ZERO).unwrap(), None);
        let mut creator = Peer::role("late_creator", &name);
        creator.line("ready");
        let found = waiting.wait_for("late", Duration::MAX).unwrap().unwrap();
        assert_eq!((&*found.name, found.count), ("late", 4));
        assert_eq!(waiting.wait_for("late", Duration::ZERO).unwrap().unwrap().offset, found.offset);
        creator.finish();
        segment.remove("late").unwrap();
    }
}

/// `same_names NAME COUNT`: makes one queue after the other and puts itself in.
#[test]
#[ignore = "not a test: a process that tests start"]
fn same_names() {
    let Some(words) = role_words() else { return };
    let segment = Segment::open(&words[0], &SegmentOptions::new()).unwrap();
    for nth in 0..words[1].parse::<u32>().unwrap() {
        let queue = Queue::<u32>::create(&segment, &format!("q{nth}"), &QueueOptions::new(4)).unwrap();
        assert!(queue.enqueue(&std::process::id()).unwrap());
    }
}

#[test]
fn several_creators_of_one_name_at_once_get_one_queue() {
    let name = Name::new();
    let segment = Segment::create(&name, &sized().table(TableShape::HUGE)).unwrap();
    let creators = [0; 4].map(|_| Peer::role("same_names", &format!("{name} 500")));
    let mut pids = creators.iter().map(Peer::pid).collect::<Vec<_>>();
    creators.into_iter().for_each(|creator| {
        creator.finish();
    });
    pids.sort_unstable();
    assert_eq!(segment.entries().count(), 500);
    for nth in 0..500 {
        let queue = Queue::<u32>::open(&segment, &format!("q{nth}")).unwrap();
        let mut found: Vec<u32> = std::iter::from_fn(|| queue.dequeue().unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, pids, "all were in the same queue q{nth}");
    }
}

#[test]
fn a_name_that_stays_is_found_at_every_moment_while_others_come_and_go() {
    let name = Name::new();
    let segment = fresh(&name);
    let _stays = create::<u64>(&segment, "stays", 4);
    std::thread::scope(|scope| {
        let changing = scope.spawn(|| {
            for cycle in 0..5000 {
                let name = format!("comes and goes {}", cycle % 7);
                drop(create::<u64>(&segment, &name, 4));
                segment.remove(&name).unwrap();
            }
        });
        while !changing.is_finished() {
            let found = segment.find("stays").unwrap().expect("it is there all the time");
            assert_eq!((&*found.name, found.elem_size, found.count), ("stays", 8, 4));
            assert_eq!(segment.entries().filter(|entry| entry.name == "stays").count(), 1);
        }
    });
}
