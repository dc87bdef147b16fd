//! A forked child is a participant of its own, and what its parent owned stays its parent's.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use shmds::speculo::{Area, AreaOptions};
use shmds::{Queue, QueueOptions, Segment, Status};
use support::*;

const SOON: Duration = Duration::from_secs(20);

/// Runs `child` in a forked child, `parent` in this process, and waits for the child, which must end well.
fn fork(child: impl FnOnce(), parent: impl FnOnce()) {
    // SAFETY: roles run on the only thread that does anything; the child leaves by _exit.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
        // SAFETY: no preconditions.
        unsafe { libc::_exit(i32::from(outcome.is_err())) };
    }
    parent();
    let mut status = 0;
    // SAFETY: a live integer; our own child.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert_eq!(status, 0, "the child did not end well");
}

/// `family NAME`: a parent with an end of a queue, and its child.
#[test]
#[ignore = "not a test: a process that tests start"]
fn family() {
    let Some(words) = role_words() else { return };
    let segment = Segment::create(&words[0], &sized().exclusive()).unwrap();
    let spsc = Queue::<u64>::create(&segment, "spsc", &QueueOptions::new(8).spsc()).unwrap();
    let mpmc = Queue::<u64>::create(&segment, "mpmc", &QueueOptions::new(8)).unwrap();
    assert!(spsc.enqueue(&1).unwrap());
    let held = mpmc.claim().unwrap().unwrap();
    let parent = std::process::id();
    fork(
        || {
            assert_eq!(segment.count(), 2, "a participant of its own");
            let list = segment.participants();
            let own = list.iter().find(|one| one.is_self).unwrap();
            assert_eq!((own.pid, list.iter().filter(|one| one.pid == parent).count()), (std::process::id(), 1));
            refused(spsc.enqueue(&2), Status::Busy, &["'spsc'", "producer", &format!("process {parent}")]);
            assert_eq!(spsc.dequeue().unwrap(), Some(1), "nobody had this end");
            assert!(mpmc.enqueue(&3).unwrap());
            assert_eq!(segment.find("mpmc").unwrap().unwrap().users, 2);
        },
        || {
            eventually("the child enqueues", || mpmc.stats().enqueued == 2);
            assert_eq!(mpmc.dequeue().unwrap(), None, "the parent's claim is still the parent's");
        },
    );
    held.commit().unwrap();
    assert!(mpmc.dequeue().unwrap().is_some());
    assert_eq!(mpmc.dequeue().unwrap(), Some(3));
    assert!(spsc.enqueue(&2).unwrap(), "the parent's end is still the parent's");
    assert_eq!(spsc.dequeue().unwrap(), Some(2), "the child's end went with the child");
    assert_eq!((segment.count(), segment.participants().len()), (1, 1));
}

#[test]
fn a_forked_child_cannot_use_what_is_its_parents() {
    let name = Name::new();
    Peer::role("family", &name).finish();
    assert!(!name.exists());
}

/// `orphanage NAME`: a parent that is killed, and the child that goes on.
#[test]
#[ignore = "not a test: a process that tests start"]
fn orphanage() {
    let Some(words) = role_words() else { return };
    let segment = Segment::open(&words[0], &sized()).unwrap();
    let spsc = Queue::<u64>::open(&segment, "spsc").unwrap();
    assert!(spsc.enqueue(&1).unwrap());
    fork(
        || {
            let start = Instant::now();
            while let Err(error) = spsc.enqueue(&2) {
                assert_eq!(error.status(), Status::Busy, "{error}");
                assert!(start.elapsed() < SOON, "{error}");
                std::thread::sleep(Duration::from_millis(1));
            }
        },
        || {
            println!("\nready");
            loop {
                std::thread::park();
            }
        },
    );
}

#[test]
fn a_living_child_does_not_keep_its_dead_parents_end() {
    let name = Name::new();
    let segment = fresh(&name);
    let spsc = Queue::<u64>::create(&segment, "spsc", &QueueOptions::new(8).spsc()).unwrap();
    let mut family = Peer::role("orphanage", &name);
    family.line("ready");
    assert_eq!(spsc.dequeue_wait(SOON).unwrap(), Some(1));
    assert_eq!(spsc.dequeue_wait(Duration::from_millis(50)).unwrap(), None, "the parent lives");
    family.kill();
    assert_eq!(spsc.dequeue_wait(SOON).unwrap(), Some(2), "the child took over");
    eventually("the child is gone", || segment.count() == 1);
}

/// `heir NAME`: the only attached process is killed, but its child lives.
#[test]
#[ignore = "not a test: a process that tests start"]
fn heir() {
    let Some(words) = role_words() else { return };
    let segment = Segment::create(&words[0], &sized().exclusive()).unwrap();
    let go_on = Queue::<u64>::create(&segment, "q", &QueueOptions::new(8)).unwrap();
    fork(
        || {
            assert!(go_on.enqueue(&std::process::id().into()).unwrap());
            assert_eq!(go_on.capacity(), 8);
            let ended = std::iter::repeat_with(|| go_on.stats().shut_down).take(20_000).find(|ended| {
                std::thread::sleep(Duration::from_millis(1));
                *ended
            });
            assert_eq!(ended, Some(true));
        },
        || {
            eventually("the child is there", || go_on.len() == 1);
            println!("\nready");
            loop {
                std::thread::park();
            }
        },
    );
}

#[test]
fn a_segment_lives_on_in_the_child_of_its_dead_owner() {
    let name = Name::new();
    let mut family = Peer::role("heir", &name);
    family.line("ready");
    family.kill();
    let segment = Segment::open(&name, &sized()).expect("the child is attached");
    assert_eq!(segment.count(), 2);
    let queue = Queue::<u64>::open(&segment, "q").unwrap();
    queue.shutdown().unwrap();
    eventually("the child is gone", || segment.count() == 1);
}

/// `busy NAME FORKS`: forks children while other threads open, use and close.
#[test]
#[ignore = "not a test: a process that tests start"]
fn busy() {
    let Some(words) = role_words() else { return };
    let segment = Segment::create(&words[0], &sized().exclusive()).unwrap();
    let shared = Queue::<u64>::create(&segment, "shared", &QueueOptions::new(64)).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for own in ["one", "two"] {
            let (segment, over) = (&segment, &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let shared = Queue::<u64>::open(segment, "shared").unwrap();
                    let _ = shared.enqueue(&1).unwrap();
                    let _ = shared.dequeue().unwrap();
                    let own_queue = Queue::<u64>::create(segment, own, &QueueOptions::new(8).spsc()).unwrap();
                    let _ = own_queue.enqueue(&1).unwrap();
                    segment.remove(own).unwrap();
                    drop(own_queue);
                    let another = Segment::open(segment.name(), &sized()).unwrap();
                    assert!(another.count() >= 2);
                }
            });
        }
        for _ in 0..words[1].parse::<u32>().unwrap() {
            fork(
                || {
                    assert!(segment.participants().iter().any(|one| one.is_self && one.pid == std::process::id()));
                    shared.enqueue_wait(&2, SOON).unwrap();
                    assert!(shared.dequeue_wait(SOON).unwrap().is_some());
                },
                || {},
            );
        }
        over.store(true, Ordering::Relaxed);
    });
    segment.reap().unwrap();
    assert_eq!((segment.count(), segment.participants().len()), (1, 1));
    assert_eq!(segment.find("shared").unwrap().unwrap().users, 1);
    while shared.dequeue().unwrap().is_some() {}
    (0..64).for_each(|nth| assert!(shared.enqueue(&nth).unwrap(), "no child took room with it"));
    segment.remove("shared").unwrap();
    drop(shared);
    assert_eq!(segment.stats().unwrap().used, 0, "no child kept memory");
}

#[test]
fn forks_beside_busy_threads_leave_nothing_behind() {
    let name = Name::new();
    Peer::role("busy", &format!("{name} 1000")).finish();
    assert!(!name.exists());
}

/// `area NAME`: a writer of an area, who dies before its child.
#[test]
#[ignore = "not a test: a process that tests start"]
fn area() {
    let Some(words) = role_words() else { return };
    println!();
    let options = AreaOptions::new();
    let mut area = Area::create(&words[0], &options).unwrap();
    let id = area.write(b"parent's", 0).unwrap().unwrap();
    std::mem::forget(area.update(id, 8).unwrap().unwrap());
    let parent = std::process::id();
    let (mut area, mut second) = (Some(area), None);
    fork(
        || {
            let area = area.as_mut().unwrap();
            refused(area.write(b"child's", 0), Status::Busy, &[]);
            refused(area.obsolete(id), Status::Busy, &[]);
            refused(area.collect(), Status::Busy, &[]);
            refused(Area::open(&words[0], &options), Status::Busy, &[]);
            // SAFETY: no preconditions.
            unsafe { libc::kill(parent as libc::pid_t, libc::SIGKILL) };
            eventually("the parent's lock goes with it, although its child has all it had", || {
                second = Area::open(&words[0], &options).ok();
                second.is_some()
            });
            assert_eq!(second.as_mut().unwrap().read(id).unwrap(), b"parent's");
            println!("heir");
        },
        || std::thread::sleep(SOON),
    );
}

#[test]
fn a_forked_child_cannot_write_to_its_parents_area_and_does_not_keep_it() {
    let name = AreaName::new();
    let out = Peer::role("area", &name).died();
    assert!(out.contains("heir"), "{out}");
    assert!(Area::unlink_name(&name, &AreaOptions::new()).unwrap());
}
