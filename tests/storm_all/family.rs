//! Processes that fork: their children use what they inherited, and end by themselves or are killed in the middle of it.

use std::os::unix::process::parent_id;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shmds::{Array, Atomic, Pool, Queue, Result, Ring, RingStart, Segment, SegmentOptions, Status};

use crate::support::diary::{begins, gives_up, succeeds};
use crate::support::*;

/// So many children has a parent; then it only waits to be killed.
pub const CHILDREN: u64 = 64;
/// Words of the log: the child that is there, how many there were, and two words for the use of each.
const CHILD: u64 = 0;
const BORN: u64 = 1;
pub const LOG_WORDS: u64 = 2 + 2 * CHILDREN;

/// What a family has written down.
pub struct Album<'a>(pub &'a Log);

impl Album<'_> {
    pub fn forks(&self) -> u64 {
        self.0.get(BORN)
    }

    /// The two words of each child.
    pub fn children(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        (0..CHILDREN).map(|nth| (self.0.get(2 + 2 * nth), self.0.get(3 + 2 * nth)))
    }

    /// Waits until the child of a killed parent is dead, too. It is ours then: orphans of this process's descendants are.
    pub fn bury_child(&self) {
        let child = self.0.get(CHILD) as libc::pid_t;
        if child != 0 {
            // SAFETY: no status is asked for.
            eventually("the orphan dies", || unsafe { libc::waitpid(child, std::ptr::null_mut(), libc::WNOHANG) != 0 });
        }
    }
}

#[test]
#[ignore = "not a test: a process of the storm"]
fn family() {
    play(|words| {
        let [what, segment, log, base] = words else { panic!("not four words: {words:?}") };
        let segment = Segment::open(segment, &SegmentOptions::new())?;
        let (log, base) = (Log::open(Path::new(log)), base.parse().unwrap());
        match what.as_str() {
            "queue" => enqueue(&segment, &log, base),
            "pool" => acquire(&segment, &log, base),
            "atomic" => add(&segment, &log),
            "array" => look(&segment, &log),
            "ring" => follow(&segment, &log),
            _ => panic!("no such word: {what}"),
        }
    });
}

/// Has children one after the other: `child` is told which it is and how often it is to do what it does; `doom` is told before one is killed.
fn raise(log: &Log, doom: impl Fn(u64) -> Result<()>, child: impl Fn(u64, u64) -> Result<()>) -> Result<()> {
    let (mut random, parent) = (Random::new(), std::process::id());
    for nth in 0..CHILDREN {
        let turns = 1 + random.below(3000);
        // SAFETY: this is the only thread that does anything; the child leaves by _exit.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "no fork: {}", std::io::Error::last_os_error());
        if pid == 0 {
            log.set(CHILD, std::process::id().into());
            // SAFETY: no preconditions.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) };
            // Who is born when its parent is dead already is in nobody's books.
            let live = || if parent_id() == parent { child(nth, turns) } else { Ok(()) };
            let outcome = catch_unwind(AssertUnwindSafe(live));
            if let Ok(Err(error)) = &outcome {
                say(&format!("child: {error}"));
            }
            // SAFETY: no preconditions.
            unsafe { libc::_exit(i32::from(!matches!(outcome, Ok(Ok(()))))) };
        }
        log.set(BORN, nth + 1);
        let is_doomed = random.below(2) == 0;
        if is_doomed {
            std::thread::sleep(random.micros(0, 3000));
            doom(nth)?;
            // SAFETY: our own child, not waited for yet.
            assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
        }
        let mut status = 0;
        // SAFETY: a live integer; our own child.
        assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
        assert!(status == 0 || is_doomed && status == libc::SIGKILL, "child {nth} ended with {status}");
        log.set(CHILD, 0);
        gives_up();
        std::thread::sleep(random.micros(500, 20_000));
    }
    loop {
        std::thread::park();
    }
}

/// Each child is a producer of its own.
fn enqueue(segment: &Segment, log: &Log, base: u64) -> Result<()> {
    let queue = Queue::<Message>::open(segment, "mpmc")?;
    let doom = |_| Ok(());
    raise(log, doom, |nth, turns| {
        for sequence in 0..turns {
            log.set(2 + 2 * nth, sequence);
            begins();
            assert!(queue.enqueue_wait(&Message::new(base + nth, sequence), Duration::MAX)?);
            succeeds();
            log.set(3 + 2 * nth, sequence + 1);
        }
        Ok(())
    })
}

fn acquire(segment: &Segment, log: &Log, base: u64) -> Result<()> {
    let (pool, doomed) = (Pool::<Object>::open(segment, "pool")?, Array::<u64>::open(segment, "doomed")?);
    let doom = |nth| doomed.set((base + nth) as usize, 1);
    raise(log, doom, |nth, turns| {
        (1..=turns).try_for_each(|turn| {
            begins();
            while !pool_turn(&pool, &doomed, base + nth + 1, turn)? {
                std::thread::sleep(Duration::from_micros(20));
            }
            succeeds();
            Ok(())
        })
    })
}

fn add(segment: &Segment, log: &Log) -> Result<()> {
    let counter = Atomic::<u64>::open(segment, "counter")?;
    let doom = |_| Ok(());
    raise(log, doom, |nth, turns| {
        for times in 1..=turns {
            log.set(2 + 2 * nth, times);
            begins();
            counter.fetch_add(1, Ordering::AcqRel)?;
            succeeds();
            log.set(3 + 2 * nth, times);
        }
        Ok(())
    })
}

fn look(segment: &Segment, log: &Log) -> Result<()> {
    let array = Array::<u64>::open(segment, "array")?;
    let doom = |_| Ok(());
    raise(log, doom, |_, turns| {
        let (mut elements, mut last) = (vec![0; array.len()], 0);
        for _ in 0..turns {
            begins();
            match array.snapshot(0, &mut elements, Duration::from_secs(30)) {
                Err(error) if error.status() == Status::Torn => std::thread::sleep(Duration::from_micros(100)),
                looked => {
                    assert!(looked?, "the writer leaves no gap");
                    succeeds();
                    assert!(written(&elements) >= last, "an older writing than before");
                    last = elements[0];
                }
            }
        }
        Ok(())
    })
}

fn follow(segment: &Segment, log: &Log) -> Result<()> {
    let ring = Ring::<Sample>::open(segment, "r")?;
    let doom = |_| Ok(());
    raise(log, doom, |_, turns| {
        let mut reader = ring.reader(RingStart::At(0))?;
        for _ in 0..turns {
            begins();
            let Some(sample) = reader.read_wait(Duration::from_millis(20))? else { continue };
            succeeds();
            assert!(sample.is(reader.position() - 1), "torn, or another: {sample:?}");
        }
        Ok(())
    })
}
