//! What was in the middle of a change when somebody died is marked, and stays marked until it is cleared.

mod support;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use shmds::{Array, Atomic, Kind, Pool, Queue, QueueOptions, Ring, RingOptions, Segment, SegmentOptions, Span, Status};
use support::*;

const LEN: u64 = 4096;

fn plain() -> SegmentOptions {
    SegmentOptions::new()
}

fn options() -> QueueOptions {
    QueueOptions::new(8)
}

fn overwriting() -> RingOptions {
    RingOptions::new(8).overwrite()
}

/// Names and kinds, in the order of the names.
fn interrupted(segment: &Segment) -> Vec<(String, Kind)> {
    let mut all: Vec<_> = segment.interrupted().map(|entry| (entry.name, entry.kind)).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn names(segment: &Segment) -> Vec<String> {
    interrupted(segment).into_iter().map(|(name, _)| name).collect()
}

/// `writer PATH`: one whole writing, synced, and then one that never ends. Everything else it leaves in order.
#[test]
#[ignore = "not a test: a process that tests start"]
fn writer() {
    let Some(words) = role_words() else { return };
    let segment = Segment::create_file(&words[0], &sized()).unwrap();
    let state = Array::<u64>::create(&segment, "state", LEN).unwrap();
    let whole = Array::<u64>::create(&segment, "whole", LEN).unwrap();
    let queue = Queue::<u64>::create(&segment, "queue", &options()).unwrap();
    let span = Span::create(&segment, "span", 64, 8, false).unwrap();
    whole.write(|array| array.fill(1)).unwrap();
    state.write(|array| array.fill(1)).unwrap();
    assert!(queue.enqueue(&7).unwrap());
    segment.sync().unwrap();
    let _ = state.write(|array| {
        array.copy_from_slice(0, &[2; LEN as usize / 2])?;
        println!("\nin the middle");
        loop {
            std::thread::park();
        }
        #[allow(unreachable_code)]
        Ok(span.len())
    });
}

#[test]
fn when_all_are_gone_the_next_learns_which_writing_was_cut_short_and_has_what_was_synced() {
    let directory = TempDir::new();
    let path = directory.path("simulation");
    let mut writer = Peer::role("writer", path.to_str().unwrap());
    writer.line("in the middle");
    let reader = Segment::open_file(&path, &plain().read_only()).unwrap();
    assert_eq!(names(&reader), [""; 0], "the writer lives");
    drop(reader);
    writer.kill();

    for _ in 0..2 {
        let segment = Segment::open_file(&path, &plain()).unwrap();
        assert_eq!((segment.count(), interrupted(&segment)), (1, vec![("state".to_owned(), Kind::Array)]));
        let whole = Array::<u64>::open(&segment, "whole").unwrap();
        let mut copy = vec![0; LEN as usize];
        assert!(whole.snapshot(0, &mut copy, Duration::ZERO).unwrap());
        assert_eq!(copy, [1; LEN as usize]);
        let state = Array::<u64>::open(&segment, "state").unwrap();
        refused(state.snapshot(0, &mut copy, Duration::ZERO), Status::Torn, &["state"]);
        state.copy_to_slice(0, &mut copy).unwrap();
        assert!(copy.iter().all(|value| [1, 2].contains(value)) && copy[LEN as usize - 1] == 1);
        assert_eq!(Queue::<u64>::open(&segment, "queue").unwrap().len(), 1);
    }

    let segment = Segment::open_file(&path, &plain()).unwrap();
    let state = Array::<u64>::open(&segment, "state").unwrap();
    state.write(|array| array.fill(3)).unwrap();
    assert_eq!(names(&segment), ["state"], "a mark is evidence until somebody takes it away");
    let reader = Segment::open_file(&path, &plain().read_only()).unwrap();
    assert_eq!(names(&reader), ["state"]);
    refused(reader.clear_interrupted("state"), Status::ReadOnly, &["read-only"]);
    refused(segment.clear_interrupted("stat"), Status::NotFound, &["'stat'"]);
    segment.clear_interrupted("state").unwrap();
    segment.clear_interrupted("state").unwrap();
    drop((segment, state));
    assert_eq!((names(&reader), names(&Segment::open_file(&path, &plain()).unwrap())), (vec![], vec![]));
}

/// `holder NAME WHAT`: is killed with something in its hands.
#[test]
#[ignore = "not a test: a process that tests start"]
fn holder() {
    let Some(words) = role_words() else { return };
    let segment = Segment::open(&words[0], &plain()).unwrap();
    let queue = Queue::<u64>::open(&segment, "queue").unwrap();
    let spsc = Queue::<u64>::open(&segment, "spsc").unwrap();
    let pool = Pool::<u64>::open(&segment, "pool").unwrap();
    let array = Array::<u64>::open(&segment, "array").unwrap();
    let ring = Ring::<u64>::open(&segment, "ring").unwrap();
    let _atomic = Atomic::<u64>::open(&segment, "atomic").unwrap();
    let wait = || -> ! {
        println!("\nholding");
        loop {
            std::thread::park();
        }
    };
    match words[1].as_str() {
        "claim" => {
            let _claim = queue.claim().unwrap().unwrap();
            wait();
        }
        "peek" => {
            let _peek = queue.peek().unwrap().unwrap();
            wait();
        }
        "spsc-peek" => {
            let _peek = spsc.peek().unwrap().unwrap();
            wait();
        }
        "spsc-claim" => {
            let _claim = spsc.claim().unwrap().unwrap();
            wait();
        }
        "object" => {
            pool.acquire().unwrap().unwrap();
            wait();
        }
        "writing" => array.write(|_| -> shmds::Result<()> { wait() }).unwrap(),
        "nothing" => {
            assert!(queue.enqueue(&1).unwrap() && spsc.enqueue(&1).unwrap());
            assert!(queue.dequeue().unwrap().is_some() && spsc.dequeue().unwrap().is_some());
            let handle = pool.acquire().unwrap().unwrap();
            pool.release(handle).unwrap();
            array.write(|array| array.fill(4)).unwrap();
            assert!(ring.push(&1).unwrap() && ring.pop().unwrap().is_some());
            wait();
        }
        "announced" => {
            let elements = half_there();
            println!("\nholding");
            // The ring is full, so that old elements are announced to go; the second new one kills us.
            ring.push_bulk(&elements[1..3]).unwrap();
        }
        other => panic!("{other}"),
    }
}

/// Four words, of which only the first two may be read.
fn half_there() -> &'static [u64] {
    let (page, none) = (4096, libc::PROT_NONE);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: two new pages, of which the first can be used; whoever looks at the second is to die.
    unsafe {
        let base = libc::mmap(std::ptr::null_mut(), 2 * page, none, flags, -1, 0);
        assert_eq!(libc::mprotect(base, page, libc::PROT_READ), 0);
        std::slice::from_raw_parts(base.byte_add(page).cast::<u64>().sub(2), 4)
    }
}

#[test]
fn every_kind_of_unfinished_change_is_marked_and_finished_ones_are_not() {
    let name = Name::new();
    let segment = fresh(&name);
    let queue = Queue::<u64>::create(&segment, "queue", &options()).unwrap();
    Queue::<u64>::create(&segment, "spsc", &options().spsc()).unwrap();
    let pool = Pool::<u64>::create(&segment, "pool", 4).unwrap();
    Array::<u64>::create(&segment, "array", 4).unwrap();
    let ring = Ring::<u64>::create(&segment, "ring", &overwriting()).unwrap();
    Atomic::<u64>::create(&segment, "atomic", 0).unwrap();
    for (what, expected) in [
        ("nothing", vec![]),
        ("claim", vec!["queue"]),
        ("peek", vec!["queue"]),
        ("spsc-peek", vec!["spsc"]),
        ("spsc-claim", vec![]), // not published, so it was never there
        ("object", vec!["pool"]),
        ("writing", vec!["array"]),
        ("announced", vec!["ring"]),
    ] {
        while queue.len() < 2 {
            assert!(queue.enqueue(&1).unwrap());
        }
        // The ends are the holder's, so this handle is closed before.
        let spsc = Queue::<u64>::open(&segment, "spsc").unwrap();
        while spsc.dequeue().unwrap().is_some() {}
        assert!(spsc.enqueue(&1).unwrap());
        drop(spsc);
        Ring::<u64>::open(&segment, "ring").unwrap().push_bulk(&[5; 8]).unwrap();
        let mine = pool.acquire().unwrap().unwrap();
        let mut holder = Peer::role("holder", &format!("{name} {what}"));
        holder.line("holding");
        assert_eq!(names(&segment), [""; 0]);
        if what == "announced" {
            eventually("dead by its own hand", || segment.count() == 1);
            drop(holder);
        } else {
            holder.kill();
        }
        assert_eq!(
            (segment.reap().unwrap(), names(&segment)),
            (1, expected.iter().map(|n| n.to_string()).collect()),
            "{what}"
        );
        assert_eq!(segment.reap().unwrap(), 0);
        expected.iter().for_each(|name| segment.clear_interrupted(name).unwrap());
        assert_eq!(names(&segment), [""; 0]);
        pool.release(mine).unwrap();
    }
    // Two were announced to go, and none came: the last of the test.
    let (mut last, stats) = ([0; 8], ring.stats().unwrap());
    assert_eq!((stats.written, stats.writer, ring.last(&mut last).unwrap()), (8 * 8 + 1, 0, 6));
    assert_eq!(last[..6], [5; 6]);
}

#[test]
fn a_structure_that_takes_the_place_of_a_marked_one_is_not_marked() {
    let name = Name::new();
    let segment = fresh(&name);
    let queue = Queue::<u64>::create(&segment, "queue", &options()).unwrap();
    Queue::<u64>::create(&segment, "spsc", &options().spsc()).unwrap();
    Pool::<u64>::create(&segment, "pool", 4).unwrap();
    Array::<u64>::create(&segment, "array", 4).unwrap();
    Ring::<u64>::create(&segment, "ring", &overwriting()).unwrap();
    Atomic::<u64>::create(&segment, "atomic", 0).unwrap();
    let mut holder = Peer::role("holder", &format!("{name} claim"));
    holder.line("holding");
    holder.kill();
    segment.reap().unwrap();
    assert_eq!(names(&segment), ["queue"]);
    drop(queue);
    segment.remove("queue").unwrap();
    assert_eq!(names(&segment), [""; 0]);
    Queue::<u64>::create(&segment, "queue", &options()).unwrap();
    assert_eq!(names(&segment), [""; 0]);
}

/// As if the machine had been started again since.
fn restart(path: &Path) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut boot = [0; 8];
    file.read_exact_at(&mut boot, 160).unwrap();
    assert_ne!(boot, [0; 8]);
    boot[3] ^= 1;
    file.write_all_at(&boot, 160).unwrap();
}

#[test]
fn after_a_restart_of_the_machine_all_that_was_open_is_marked() {
    let directory = TempDir::new();
    let path = directory.path("simulation");
    let mut writer = Peer::role("writer", path.to_str().unwrap());
    writer.line("in the middle");
    {
        let segment = Segment::open_file(&path, &plain()).unwrap();
        Queue::<u64>::create(&segment, "closed", &options()).unwrap();
    }
    writer.kill();
    restart(&path);
    let segment = Segment::open_file(&path, &plain()).unwrap();
    assert_eq!(names(&segment), ["queue", "span", "state", "whole"]);
    names(&segment).iter().for_each(|name| segment.clear_interrupted(name).unwrap());
    let _open = Array::<u64>::open(&segment, "whole").unwrap();
    assert_eq!(names(&Segment::open_file(&path, &plain()).unwrap()), [""; 0], "once for each restart");
    drop((segment, _open));
    restart(&path);
    assert_eq!(names(&Segment::open_file(&path, &plain()).unwrap()), [""; 0], "everything was closed");
}
