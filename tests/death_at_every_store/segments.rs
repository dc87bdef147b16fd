//! The segment itself: names are there or not, no memory is lost, and those who bury the dead can die of it.

use std::path::Path;

use shmds::{
    Array, Atomic, ByteQueue, ByteQueueOptions, Kind, Pool, Queue, QueueOptions, Ring, RingOptions, Segment, Span,
    kill_points,
};

use super::support::{Name, Peer, role_words, sized};
use super::{Dying, Look, Operation};

/// Everything that a structure of this kind is for works.
fn is_sound(segment: &Segment, name: &str, kind: Kind) {
    match kind {
        Kind::Queue => {
            let queue = Queue::<u64>::open(segment, name).unwrap();
            (0..queue.capacity()).for_each(|value| assert!(queue.enqueue(&value).unwrap()));
            (0..queue.capacity()).for_each(|value| assert_eq!(queue.dequeue().unwrap(), Some(value)));
        }
        Kind::Ring => {
            let ring = Ring::<u64>::open(segment, name).unwrap();
            (0..ring.capacity()).for_each(|value| assert!(ring.push(&value).unwrap()));
            (0..ring.capacity()).for_each(|value| assert_eq!(ring.pop().unwrap(), Some(value)));
        }
        Kind::Pool => {
            let pool = Pool::<u64>::open(segment, name).unwrap();
            let all = pool.acquire_batch(1000).unwrap();
            assert_eq!(all.len() as u64, pool.capacity());
            pool.release_batch(&all).unwrap();
        }
        Kind::ByteQueue => {
            let queue = ByteQueue::open(segment, name).unwrap();
            let longest = vec![7; queue.longest() as usize];
            assert!(queue.send(&longest, 3).unwrap());
            assert_eq!(queue.receive().unwrap().unwrap().to_vec(), longest);
        }
        Kind::Array => {
            let array = Array::<u64>::open(segment, name).unwrap();
            assert!(array.iter().all(|one| one == 0), "what is new is zero");
            array.fill(u64::MAX).unwrap();
        }
        Kind::Atomic => {
            let atomic = Atomic::<u64>::open(segment, name).unwrap();
            assert_eq!(atomic.load(std::sync::atomic::Ordering::Relaxed).unwrap(), 5);
        }
        Kind::Span => assert_eq!(Span::open(segment, name).unwrap().len(), 700),
        other => panic!("{other:?}"),
    }
}

fn create(segment: &Segment, kind: Kind, name: &str) -> Box<dyn std::any::Any> {
    match kind {
        Kind::Queue => Box::new(Queue::<u64>::create(segment, name, &QueueOptions::new(16)).unwrap()),
        Kind::Ring => Box::new(Ring::<u64>::create(segment, name, &RingOptions::new(16)).unwrap()),
        Kind::Pool => Box::new(Pool::<u64>::create(segment, name, 70).unwrap()),
        Kind::ByteQueue => {
            Box::new(ByteQueue::create(segment, name, &ByteQueueOptions::new(5000).times().align(32)).unwrap())
        }
        Kind::Array => Box::new(Array::<u64>::create(segment, name, 100).unwrap()),
        Kind::Atomic => Box::new(Atomic::<u64>::create(segment, name, 5).unwrap()),
        Kind::Span => Box::new(Span::create(segment, name, 700, 64, false).unwrap()),
        other => panic!("{other:?}"),
    }
}

const KINDS: [Kind; 7] = [Kind::Queue, Kind::Ring, Kind::Pool, Kind::ByteQueue, Kind::Array, Kind::Atomic, Kind::Span];

/// Whatever is left is sound, and all memory can be had again.
fn clear(segment: &Segment) {
    for entry in segment.entries().collect::<Vec<_>>() {
        if entry.name != "other" {
            is_sound(segment, &entry.name, entry.kind);
        }
        segment.remove(&entry.name).unwrap();
    }
    let stats = segment.stats().unwrap();
    assert_eq!((stats.used, stats.entries_used), (0, 0), "all memory came back");
    assert_eq!(stats.free, stats.largest_free);
}

/// What becomes of the structure "new", which may be there before.
#[derive(Clone, Copy, PartialEq)]
enum New {
    Appears,
    Stays,
    Goes,
    /// It goes, and another appears.
    Changes,
}

/// An operation beside two other structures, one of which has been removed: the memory is not fresh.
fn operation(name: &str, new: New, die: impl Fn(&Dying) + 'static) -> Operation {
    let prepare = move |segment: &Segment, _nth: u64| -> Look {
        let dirty = Span::create(segment, "dirty", 100_000, 64, true).unwrap();
        // SAFETY: so many bytes are ours.
        unsafe { dirty.as_ptr().as_ptr().write_bytes(0xee, dirty.len()) };
        drop(Queue::<u64>::create(segment, "other", &QueueOptions::new(8)).unwrap());
        segment.remove("dirty").unwrap();
        drop(dirty);
        if new != New::Appears {
            drop(create(segment, Kind::Queue, "new"));
        }
        let segment = segment.clone();
        Box::new(move |complete| {
            let found = segment.find("new").unwrap().is_some();
            match new {
                New::Stays => assert!(found),
                _ => assert!(!complete || found == (new != New::Goes)),
            }
            assert!(segment.find("other").unwrap().is_some());
            assert_eq!(segment.entries().count(), 1 + usize::from(found));
            // The same name again, and others.
            for kind in KINDS {
                drop(create(&segment, kind, &format!("next-{kind:?}")));
            }
            clear(&segment);
        })
    };
    Operation::new(format!("segment:{name}"), die, prepare)
}

pub(super) fn operations() -> Vec<Operation> {
    let mut all = Vec::new();
    for kind in KINDS {
        all.push(operation(&format!("create-{kind:?}"), New::Appears, move |dying| {
            let segment = dying.attach();
            dying.during(|| create(&segment, kind, "new"));
        }));
    }
    all.extend([
        operation("open", New::Stays, |dying| {
            let segment = dying.attach();
            dying.during(|| Queue::<u64>::open(&segment, "new").unwrap());
        }),
        operation("close", New::Stays, |dying| {
            let segment = dying.attach();
            let queue = Queue::<u64>::open(&segment, "new").unwrap();
            dying.during(|| drop(queue));
        }),
        operation("remove", New::Goes, |dying| {
            let segment = dying.attach();
            dying.during(|| segment.remove("new").unwrap());
        }),
        operation("remove-and-close", New::Goes, |dying| {
            let segment = dying.attach();
            let queue = Queue::<u64>::open(&segment, "new").unwrap();
            dying.during(|| {
                segment.remove("new").unwrap();
                drop(queue);
            });
        }),
        operation("remove-and-create", New::Changes, |dying| {
            let segment = dying.attach();
            dying.during(|| {
                segment.remove("new").unwrap();
                create(&segment, Kind::Queue, "new")
            });
        }),
        operation("clear-interrupted", New::Stays, |dying| {
            let segment = dying.attach();
            dying.during(|| segment.clear_interrupted("new").unwrap());
        }),
        operation("stats", New::Stays, |dying| {
            let segment = dying.attach();
            dying.during(|| segment.stats().unwrap());
        }),
        operation("attach-by-descriptor", New::Stays, |dying| {
            let descriptor = dying.attach().fd().unwrap();
            dying.during(|| Segment::open_fd(&descriptor, &sized()).unwrap());
        }),
        remove_all(),
        in_a_file("create-file", |dying, path| dying.during(|| Segment::create_file(path, &sized()).unwrap())),
        in_a_file("attach-to-file", |dying, path| {
            drop(Segment::create_file(path, &sized()).unwrap());
            dying.during(|| {
                let segment = Segment::open_file(path, &sized()).unwrap();
                let queue = create(&segment, Kind::Queue, "new");
                segment.sync().unwrap();
                (segment, queue)
            });
        }),
        alone("unlink", |dying| {
            let name = own(&dying.segment);
            let _segment = Segment::create(&name, &sized().exclusive()).unwrap();
            dying.during(|| Segment::unlink(&name).unwrap());
        }),
        alone("create-memfd", |dying| {
            dying.during(|| Segment::create_memfd(&own(&dying.segment), &sized()).unwrap());
        }),
        operation("attach", New::Stays, |dying| dying.during(|| dying.attach())),
        operation("detach", New::Stays, |dying| {
            let segment = dying.attach();
            dying.during(|| drop(segment));
        }),
        operation("attach-open-use-detach", New::Stays, |dying| {
            dying.during(|| {
                let segment = dying.attach();
                let queue = Queue::<u64>::open(&segment, "other").unwrap();
                assert!(queue.enqueue(&1).unwrap() && queue.dequeue().unwrap().is_some());
            });
        }),
        alone("create-segment", |dying| {
            let name = own(&dying.segment);
            dying.during(|| Segment::create(&name, &sized().exclusive()).unwrap());
        }),
        alone("detach-last", |dying| {
            let segment = Segment::create(&own(&dying.segment), &sized().exclusive()).unwrap();
            let queue = create(&segment, Kind::Queue, "new");
            dying.during(|| drop((segment, queue)));
        }),
        alone("find-it-dead-and-create-it", |dying| {
            let name = own(&dying.segment);
            let mut founder = Peer::role("segments::founder", &name);
            founder.line("founded");
            founder.kill();
            dying.during(|| Segment::create(&name, &sized().exclusive()).unwrap());
        }),
        operation("fork", New::Stays, |dying| {
            let held = holding(dying);
            dying.during(|| fork_and_wait(|| ()));
            drop(held);
        }),
        operation("be-forked", New::Stays, |dying| be_forked(dying, &holding(dying).0)),
        reap("reap", |dying, segment| dying.during(|| assert_eq!(segment.reap().unwrap(), 1))),
        reap("reap-by-attaching", |dying, _| dying.during(|| dying.attach())),
    ]);
    all
}

fn remove_all() -> Operation {
    let prepare = |segment: &Segment, _nth: u64| -> Look {
        for kind in KINDS {
            drop(create(segment, kind, &format!("{kind:?}")));
        }
        let segment = segment.clone();
        Box::new(move |complete| {
            assert!(!complete || segment.entries().next().is_none());
            for entry in segment.entries().collect::<Vec<_>>() {
                is_sound(&segment, &entry.name, entry.kind);
            }
            segment.remove_all().unwrap();
            assert_eq!(segment.stats().unwrap().used, 0);
        })
    };
    let die = |dying: &Dying| {
        let segment = dying.attach();
        dying.during(|| segment.remove_all().unwrap());
    };
    Operation::new("segment:remove-all", die, prepare)
}

/// Somebody dies with a segment in a file, which stays.
fn in_a_file(name: &str, die: fn(&Dying, &Path)) -> Operation {
    let path = |segment: &str| std::env::temp_dir().join(format!("{segment}-file"));
    let prepare = move |segment: &Segment, _nth: u64| -> Look {
        let path = path(segment.name());
        Box::new(move |complete| {
            assert!(!complete || path.exists());
            let segment = Segment::create_file(&path, &sized()).unwrap();
            assert_eq!(segment.participants().len(), 1);
            drop(create(&segment, Kind::Pool, "next"));
            is_sound(&segment, "next", Kind::Pool);
            super::finds_nothing(&segment);
            drop(segment);
            Segment::unlink_file(&path).unwrap();
        })
    };
    Operation::new(format!("segment:{name}"), move |dying| die(dying, &path(&dying.segment)), prepare)
}

/// Something open, and something held.
fn holding(dying: &Dying) -> (Segment, Queue<u64>) {
    let segment = dying.attach();
    let queue = Queue::<u64>::open(&segment, "new").unwrap();
    assert!(queue.enqueue(&1).unwrap());
    std::mem::forget(queue.peek().unwrap().unwrap());
    (segment, queue)
}

/// Has a child that does this and no more, and waits until it is dead.
fn fork_and_wait(child: impl FnOnce()) {
    // SAFETY: nobody else in this process does anything; the child leaves by _exit; our own child, whose status nobody wants.
    unsafe {
        let pid = libc::fork();
        assert!(pid >= 0);
        if pid == 0 {
            child();
            libc::_exit(0);
        }
        assert_eq!(libc::waitpid(pid, std::ptr::null_mut(), 0), pid);
    }
}

/// A child dies while it becomes somebody of its own; and then its parent.
fn be_forked(dying: &Dying, segment: &Segment) {
    // What the parent stores before a fork, the child has in its count.
    kill_points::arm(u64::MAX);
    fork_and_wait(|| ());
    let before = kill_points::disarm();
    assert_eq!(segment.reap().unwrap(), 1);
    kill_points::arm(before + dying.nth);
    fork_and_wait(|| println!("complete after {}", kill_points::disarm() - before));
    // SAFETY: neither has preconditions.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}

/// A segment of the dying one's own.
fn own(name: &str) -> String {
    format!("{name}-own")
}

/// Somebody dies with a segment that nobody else has; the next creates it.
fn alone(name: &str, die: fn(&Dying)) -> Operation {
    let prepare = move |segment: &Segment, _nth: u64| -> Look {
        let name = own(segment.name());
        Box::new(move |_| {
            let path = Name::path_of(&name);
            let segment = Segment::create(&name, &sized().exclusive()).expect("nobody living has it");
            assert_eq!((segment.entries().count(), segment.participants().len()), (0, 1));
            for kind in KINDS {
                drop(create(&segment, kind, "new"));
                is_sound(&segment, "new", kind);
                segment.remove("new").unwrap();
            }
            super::finds_nothing(&segment);
            drop(segment);
            assert!(!path.exists());
        })
    };
    Operation::new(format!("segment:{name}"), die, prepare)
}

/// Somebody dies and leaves a segment that nobody is attached to.
#[test]
#[ignore = "not a test: a process that tests start"]
fn founder() {
    let Some(words) = role_words() else { return };
    let segment = Segment::create(&words[0], &sized().exclusive()).unwrap();
    let _queue = create(&segment, Kind::Queue, "new");
    println!("\nfounded");
    loop {
        std::thread::park();
    }
}

/// Somebody dies with a share in everything.
#[test]
#[ignore = "not a test: a process that tests start"]
fn holder() {
    let Some(words) = role_words() else { return };
    let segment = Segment::open(&words[0], &shmds::SegmentOptions::new()).unwrap();
    let queue = Queue::<u64>::open(&segment, "queue").unwrap();
    let spsc = Queue::<u64>::open(&segment, "spsc").unwrap();
    let ring = Ring::<u64>::open(&segment, "ring").unwrap();
    let bytes = ByteQueue::open(&segment, "bytes").unwrap();
    let pool = Pool::<u64>::open(&segment, "pool").unwrap();
    let array = Array::<u64>::open(&segment, "array").unwrap();
    assert!(queue.enqueue(&1).unwrap() && spsc.enqueue(&1).unwrap() && ring.push(&1).unwrap());
    assert!(bytes.send(b"one", 1).unwrap() && bytes.send(b"two", 2).unwrap());
    let _peek = queue.peek().unwrap().unwrap();
    let _claim = queue.claim().unwrap().unwrap();
    let _spsc_claim = spsc.claim().unwrap().unwrap();
    let _message = bytes.receive().unwrap().unwrap();
    let _reserved = bytes.reserve(1000).unwrap().unwrap();
    assert_eq!(pool.acquire_batch(69).unwrap().len(), 69);
    let _ = array.write(|array| -> shmds::Result<()> {
        array.set(0, 1)?;
        println!("\nheld");
        loop {
            std::thread::park();
        }
    });
}

/// The one that buries another dies of it, and is buried with it.
fn reap(name: &str, die: fn(&Dying, &Segment)) -> Operation {
    let die = move |dying: &Dying| {
        let segment = dying.attach();
        let mut holder = Peer::role("segments::holder", &dying.segment);
        holder.line("held");
        holder.kill();
        die(dying, &segment);
    };
    let prepare = |segment: &Segment, _nth: u64| -> Look {
        let queue = Queue::<u64>::create(segment, "queue", &QueueOptions::new(4)).unwrap();
        let spsc = Queue::<u64>::create(segment, "spsc", &QueueOptions::new(4).spsc()).unwrap();
        let ring = Ring::<u64>::create(segment, "ring", &RingOptions::new(4)).unwrap();
        let bytes = ByteQueue::create(segment, "bytes", &ByteQueueOptions::new(4000)).unwrap();
        let pool = Pool::<u64>::create(segment, "pool", 70).unwrap();
        let array = Array::<u64>::create(segment, "array", 4).unwrap();
        let segment = segment.clone();
        Box::new(move |_| {
            assert_eq!(queue.dequeue().unwrap(), None, "what it peeked at is gone, what it claimed is void");
            (0..4).for_each(|value| assert!(queue.enqueue(&value).unwrap()));
            (0..4).for_each(|value| assert_eq!(queue.dequeue().unwrap(), Some(value)));
            assert_eq!(spsc.dequeue().unwrap(), Some(1));
            assert!(spsc.enqueue(&2).unwrap());
            assert_eq!((spsc.dequeue().unwrap(), spsc.dequeue().unwrap()), (Some(2), None));
            assert_eq!(ring.pop().unwrap(), Some(1));
            assert!(ring.push(&2).unwrap());
            assert_eq!((ring.pop().unwrap(), ring.pop().unwrap()), (Some(2), None));
            assert!(bytes.send(b"three", 3).unwrap());
            for tag in 1..=3 {
                assert_eq!(bytes.receive().unwrap().unwrap().tag(), tag);
            }
            let all = pool.acquire_batch(100).unwrap();
            assert_eq!(all.len(), 70);
            pool.release_batch(&all).unwrap();
            assert!(array.snapshot(0, &mut [0; 4], super::SOON).is_err(), "torn");
            array.write(|array| array.fill(3)).unwrap();
            assert!(array.snapshot(0, &mut [0; 4], super::SOON).unwrap());
            drop((queue, spsc, ring, bytes, pool, array));
            assert_eq!(segment.remove_all().unwrap(), 6);
            assert_eq!(segment.stats().unwrap().used, 0);
        })
    };
    Operation::new(format!("segment:{name}"), die, prepare)
}
