//! What one process pays alone, for our Rust face and for what the system offers; `cpp/alone.hpp` has the same.

use std::ffi::CString;
use std::hint::black_box;
use std::ptr::null_mut;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use shmds::{Atomic, Pool, Segment, SegmentOptions, Span, TableShape};

use crate::Message;
use crate::case::{BULK, Case, Test};
use crate::control::{Control, now};
use crate::links::{Ours, Receiver, Sender, segment};
use crate::measure::sample;
use crate::report::median;

const SPAN: u64 = 15_000_000;
/// Operations between two looks at the clock.
const BATCH: usize = 1024;

/// Measures nanoseconds of one operation; `work` does `of` at once.
fn each(control: &Control, of: usize, mut work: impl FnMut()) {
    let times = BATCH / of;
    let nanoseconds = sample(SPAN, &mut || (0..times).for_each(|_| work()));
    control.finish(&[nanoseconds / (times * of) as f64]);
}

pub fn pairs<M: Message>(control: &Control, case: &Case, mut sender: impl Sender<M>, mut receiver: impl Receiver<M>) {
    let (messages, mut received) = ([M::new(7); BULK], [M::new(0); BULK]);
    if case.bulk == 1 {
        each(control, 1, || {
            assert!(sender.send(black_box(&messages[0])));
            black_box(receiver.receive().expect("what was just sent"));
        });
    } else {
        each(control, BULK, || {
            assert!(sender.send_bulk(black_box(&messages)) == BULK);
            assert!(receiver.receive_bulk(black_box(&mut received)) == BULK);
        });
    }
}

/// All that is measured of our Rust face.
pub fn ours(control: &Control, case: &Case, name: &str) {
    match case.test {
        Test::Create | Test::Open => return lifecycle(control, case, name),
        Test::Lookup => return lookup(control, case, name),
        _ => {}
    }
    let segment = segment(name, case);
    Segment::unlink(name).expect("its name");
    match case.test {
        Test::Slept => slept(control, case, &segment),
        Test::Pool => {
            let pool = Pool::<[u64; 8]>::create(&segment, "pool", case.capacity as u64).expect("a pool");
            if case.bulk == 1 {
                each(control, 1, || {
                    let object = pool.acquire().expect("a working pool").expect("an object");
                    pool.release(black_box(object)).expect("a working pool");
                });
            } else {
                each(control, BULK, || {
                    let objects = pool.acquire_batch(BULK).expect("a working pool");
                    assert!(objects.len() == BULK);
                    pool.release_batch(black_box(&objects)).expect("a working pool");
                });
            }
        }
        Test::Load | Test::Add => {
            let atomic = Atomic::<u64>::create(&segment, "atomic", 0).expect("an atomic");
            if case.test == Test::Load {
                each(control, 1, || assert!(black_box(&atomic).load(SeqCst).expect("an atomic") == 0));
            } else {
                each(control, 1, || drop(black_box(black_box(&atomic).fetch_add(1, SeqCst))));
            }
        }
        other => panic!("{other:?} is not measured alone"),
    }
}

/// Two queues, one of which somebody waited at once, in turns.
fn slept(control: &Control, case: &Case, segment: &Segment) {
    let fresh = Ours::<[u64; 1]>::new(segment, "fresh", case);
    let slept = Ours::<[u64; 1]>::new(segment, "slept", case);
    std::thread::scope(|scope| {
        let sleeper = Ours::<[u64; 1]>::new(segment, "slept", case).sleeping_at_once();
        scope.spawn(move || assert!(sleeper.queue.dequeue_wait(Duration::from_millis(2)).expect("a queue").is_none()));
    });
    let measure = |queue: &Ours<[u64; 1]>| {
        let begin = now();
        for _ in 0..BATCH {
            assert!(queue.queue.enqueue(black_box(&[7])).expect("a working queue"));
            black_box(queue.queue.dequeue().expect("a working queue"));
        }
        (now() - begin) as f64 / BATCH as f64
    };
    let mut differences = Vec::new();
    let end = now() + SPAN;
    while now() < end {
        let (one, two, three, four) = (measure(&slept), measure(&fresh), measure(&fresh), measure(&slept));
        differences.push((one + four - two - three) / 2.0);
    }
    control.finish(&[median(&mut differences)]);
}

fn lookup(control: &Control, case: &Case, name: &str) {
    let options = SegmentOptions::new().size(4 << 20).table(TableShape::HUGE);
    let segment = Segment::create(name, &options).expect("a segment");
    Segment::unlink(name).expect("its name");
    let names: Vec<_> = (0..case.capacity).map(|number| format!("structure-{number:04}")).collect();
    let _all: Vec<_> = names.iter().map(|name| Span::create(&segment, name, 64, 0, false).expect("a span")).collect();
    let mut at = 0;
    each(control, 1, || {
        at = (at + 7) % names.len();
        assert!(segment.find(black_box(&names[at])).expect("a name").is_some());
    });
}

/// Measures nanoseconds of making something, and of making it and undoing that.
fn made<T>(control: &Control, mut make: impl FnMut() -> T, mut undo: impl FnMut(T)) {
    let (mut making, mut all) = (Vec::new(), Vec::new());
    let end = now() + SPAN;
    while making.len() < 3 || now() < end {
        let begin = now();
        let made = make();
        let between = now();
        undo(made);
        making.push((between - begin) as f64);
        all.push((now() - begin) as f64);
    }
    control.finish(&[median(&mut making), median(&mut all)]);
}

fn lifecycle(control: &Control, case: &Case, name: &str) {
    let options = SegmentOptions::new().size(case.bytes as u64);
    if case.test == Test::Create {
        let options = options.exclusive();
        return made(control, || Segment::create(name, &options).expect("a segment"), drop);
    }
    let _there = Segment::create(name, &options).expect("a segment");
    made(control, || Segment::open(name, &SegmentOptions::new()).expect("the segment"), drop);
}

/// The system calls without which there is no segment whose pages are there.
pub fn raw(control: &Control, case: &Case, name: &str) {
    let name = CString::new(format!("/{name}")).expect("a name");
    let map = |fd: i32, length: usize| {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping where the kernel likes it, and a descriptor of ours.
        unsafe {
            let memory = libc::mmap(null_mut(), length, access, libc::MAP_SHARED, fd, 0);
            assert!(memory != libc::MAP_FAILED && libc::close(fd) == 0);
            memory
        }
    };
    // SAFETY: plain calls.
    let create = || unsafe {
        let fd = libc::shm_open(name.as_ptr(), libc::O_CREAT | libc::O_EXCL | libc::O_RDWR, 0o600);
        assert!(fd >= 0 && libc::fallocate(fd, 0, 0, case.bytes as i64) == 0, "memory to share");
        map(fd, case.bytes)
    };
    // SAFETY: as above.
    let open = || unsafe {
        let mut status: libc::stat = std::mem::zeroed();
        let fd = libc::shm_open(name.as_ptr(), libc::O_RDWR, 0);
        assert!(fd >= 0 && libc::fstat(fd, &mut status) == 0, "shared memory");
        map(fd, status.st_size as usize)
    };
    // SAFETY: what was mapped.
    let unmap = |memory| unsafe { assert!(libc::munmap(memory, case.bytes) == 0) };
    // SAFETY: a plain call.
    let unlink = || unsafe { assert!(libc::shm_unlink(name.as_ptr()) == 0) };
    if case.test == Test::Create {
        return made(control, create, |memory| {
            unlink();
            unmap(memory);
        });
    }
    let there = create();
    made(control, open, unmap);
    unlink();
    unmap(there);
}
