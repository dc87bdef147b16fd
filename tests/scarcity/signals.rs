//! Signals without end, forks without end, and a wall clock that jumps.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use shmds::speculo::{Area, AreaOptions, Reader, ReaderOptions};
use shmds::{
    Array, Atomic, ByteQueue, ByteQueueOptions, Pool, Queue, QueueOptions, Ring, RingOptions, RingStart, Segment,
    SegmentOptions, Status,
};

use crate::only;
use crate::support::scarce::{Lack, possessions};
use crate::support::*;

/// Runs `act` in a forked child, which ends by it.
pub(crate) fn forked(act: impl FnOnce()) -> libc::pid_t {
    // SAFETY: roles run on the only thread that does anything; the child leaves by _exit.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        // SAFETY: no preconditions.
        unsafe { libc::_exit(i32::from(outcome.is_err())) };
    }
    pid
}

/// How a child of ours ended.
fn outcome(pid: libc::pid_t) -> libc::c_int {
    let mut status = 0;
    // SAFETY: a live integer; our own child.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } != pid {
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EINTR));
    }
    status
}

#[track_caller]
pub(crate) fn ended_well(pid: libc::pid_t) {
    assert_eq!(outcome(pid), 0, "the child did not end well");
}

static SIGNALS: AtomicU64 = AtomicU64::new(0);

extern "C" fn count(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// Has this thread interrupted every 50 microseconds from now on, in whatever it does.
fn interrupt() {
    // SAFETY: live structures; the handler touches an atomic only. No SA_RESTART: what can be interrupted is.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count as *const () as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR2, &action, std::ptr::null_mut()), 0);
        let mut event: libc::sigevent = std::mem::zeroed();
        (event.sigev_notify, event.sigev_signo) = (libc::SIGEV_THREAD_ID, libc::SIGUSR2);
        event.sigev_notify_thread_id = libc::gettid();
        let mut timer = std::ptr::null_mut();
        assert_eq!(libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer), 0);
        let often = libc::timespec { tv_sec: 0, tv_nsec: 50_000 };
        let times = libc::itimerspec { it_interval: often, it_value: often };
        assert_eq!(libc::timer_settime(timer, 0, &times, std::ptr::null_mut()), 0);
    }
}

const SHORT: Duration = Duration::from_millis(20);

/// It comes to nothing, and takes as long as it may.
#[track_caller]
fn in_vain<T>(mut wait: impl FnMut(Duration) -> shmds::Result<Option<T>>) {
    let start = Instant::now();
    assert!(wait(SHORT).unwrap().is_none());
    let took = start.elapsed();
    // Who is late has a machine with other things to do.
    assert!(took >= SHORT && took < PATIENCE / 2, "{took:?} instead of {SHORT:?}");
}

/// All waits there are, with nobody who would end them.
struct Waits {
    segment: Segment,
    queue: Queue<u64>,
    single: Queue<u64>,
    ring: Ring<u64>,
    bytes: ByteQueue,
    atomic: Atomic<u64>,
    reader: Reader,
}

impl Waits {
    fn new(name: &str, area: &str) -> Self {
        let segment = Segment::create(name, &sized()).unwrap();
        Self {
            queue: Queue::create(&segment, "q", &QueueOptions::new(4)).unwrap(),
            single: Queue::create(&segment, "s", &QueueOptions::new(4).spsc()).unwrap(),
            ring: Ring::create(&segment, "r", &RingOptions::new(4)).unwrap(),
            bytes: ByteQueue::create(&segment, "b", &ByteQueueOptions::new(4000)).unwrap(),
            atomic: Atomic::create(&segment, "x", 0).unwrap(),
            reader: Reader::open(area, &ReaderOptions::new()).unwrap(),
            segment,
        }
    }

    fn all_in_vain(&mut self) {
        let some = |done: bool| done.then_some(());
        for queue in [&self.queue, &self.single] {
            in_vain(|limit| queue.dequeue_wait(limit));
            in_vain(|limit| queue.peek_wait(limit).map(|peek| peek.map(drop)));
            in_vain(|limit| queue.dequeue_bulk_wait(&mut [0; 2], limit).map(|some| (some > 0).then_some(())));
            while queue.enqueue(&1).unwrap() {}
            in_vain(|limit| queue.enqueue_wait(&1, limit).map(some));
            in_vain(|limit| queue.claim_wait(limit).map(|claim| claim.map(drop)));
            while queue.dequeue().unwrap().is_some() {}
        }
        in_vain(|limit| self.ring.pop_wait(limit));
        while self.ring.push(&1).unwrap() {}
        in_vain(|limit| self.ring.push_wait(&1, limit).map(some));
        while self.ring.pop().unwrap().is_some() {}
        let mut reader = self.ring.reader(RingStart::Newest).unwrap();
        in_vain(|limit| reader.read_wait(limit));
        in_vain(|limit| self.bytes.receive_wait(limit).map(|message| message.map(drop)));
        while self.bytes.send(&[0; 1000], 0).unwrap() {}
        in_vain(|limit| self.bytes.send_wait(&[0; 1000], 0, limit).map(some));
        while self.bytes.receive().unwrap().is_some() {}
        in_vain(|limit| self.atomic.wait(0, limit));
        in_vain(|limit| self.segment.wait_for("none", limit));
        in_vain(|limit| self.reader.next_wait(limit).map(|chunk| chunk.map(drop)));
        let (one, _two) = std::os::unix::net::UnixStream::pair().unwrap();
        one.set_read_timeout(Some(SHORT)).unwrap();
        let start = Instant::now();
        refused(Segment::receive(&one, &SegmentOptions::new()), Status::Timeout, &["does not wait any longer"]);
        assert!(start.elapsed() >= SHORT && start.elapsed() < PATIENCE / 2, "{:?}", start.elapsed());
    }
}

/// `interrupted NAME AREA DIRECTORY`: does everything while signals come all the time.
#[test]
#[ignore = "not a test: a process that tests start"]
fn interrupted() {
    let Some(words) = role_words() else { return };
    let [name, area_name, directory] = &words[..] else { panic!("{words:?}") };
    let nothing = possessions();
    interrupt();
    let start = Instant::now();
    for turn in 0..5 {
        let mut area = Area::create(area_name, &AreaOptions::new().min_size(4096)).unwrap();
        let mut waits = Waits::new(name, area_name);
        waits.all_in_vain();
        let wishes = SegmentOptions::new().prefault().lock_memory();
        let other = Segment::open(name, &wishes).unwrap();
        assert_eq!((other.unavailable(), other.count()), (&[][..], 2));
        let reader = Segment::open(name, &SegmentOptions::new().read_only()).unwrap();
        assert_eq!(Queue::<u64>::open(&reader, "q").unwrap().len(), 0);
        let nameless = Segment::create_memfd(name, &SegmentOptions::new().size(16 << 20)).unwrap();
        let (one, two) = std::os::unix::net::UnixStream::pair().unwrap();
        nameless.send(&one).unwrap();
        assert_eq!(Segment::receive(&two, &SegmentOptions::new()).unwrap().count(), 2);
        let file = format!("{directory}file");
        Segment::create_file(&file, &sized()).unwrap().sync().unwrap();
        Segment::unlink_file(&file).unwrap();
        let pool = Pool::<u64>::create(&other, "p", 64).unwrap();
        let array = Array::<u64>::create(&other, "a", 1 << 12).unwrap();
        for number in 0..200_u64 {
            assert!(waits.queue.enqueue(&number).unwrap() && waits.single.enqueue(&number).unwrap());
            assert!(waits.ring.push(&number).unwrap() && waits.bytes.send(&number.to_le_bytes(), number).unwrap());
            let handle = pool.acquire_with(number).unwrap().unwrap();
            array.write(|array| array.fill(number)).unwrap();
            assert!(array.snapshot(0, &mut [0; 1 << 12], PATIENCE).unwrap());
            assert_eq!(waits.queue.dequeue_wait(PATIENCE).unwrap(), Some(number));
            assert_eq!((waits.single.dequeue().unwrap(), waits.ring.pop().unwrap()), (Some(number), Some(number)));
            assert_eq!(waits.bytes.receive_wait(PATIENCE).unwrap().unwrap().tag(), number);
            assert_eq!(pool.read(handle).unwrap(), number);
            pool.release(handle).unwrap();
            let id = area.write(&[turn; 400], 0).unwrap().unwrap();
            assert_eq!(waits.reader.next_wait(PATIENCE).unwrap().unwrap().id(), id);
            area.obsolete(id).unwrap();
            if number % 20 == 0 {
                ended_well(forked(|| assert!(waits.queue.enqueue(&7).unwrap() && other.count() >= 2)));
                assert_eq!(waits.queue.dequeue().unwrap(), Some(7));
            }
        }
        assert!(area.stats().compactions > 10);
        drop((pool, array));
        other.remove_all().unwrap();
        drop((waits, other, reader, nameless));
        area.unlink().unwrap();
    }
    let (signals, took) = (SIGNALS.load(Ordering::Relaxed), start.elapsed());
    assert!(signals > 1000, "{signals} in {took:?}");
    assert_eq!(possessions(), nothing);
    println!("\n{signals} signals in {took:?}");
}

#[test]
fn a_storm_of_signals_disturbs_nothing_and_prolongs_no_wait() {
    let _alone = measuring();
    let (name, area, directory) = (Name::new(), AreaName::new(), TempDir::new());
    let words = format!("{name} {} {}", &*area, directory.path("").display());
    let said = Peer::role_without(&[], "signals::interrupted", &words).finish();
    say(&format!("interrupted: {}", said.trim()));
    assert!(!name.exists() && area.objects().is_empty());
}

/// `sleeper NAME AREA`: waits by all means while the wall clock jumps, in vain and until it is woken.
#[test]
#[ignore = "not a test: a process that tests start"]
fn sleeper() {
    let Some(words) = role_words() else { return };
    Lack::WallClock.impose().unwrap();
    let jump = SystemTime::now().duration_since(SystemTime::now()).unwrap_or_else(|error| error.duration());
    assert!(jump.as_secs() > 19 * 365 * 24 * 3600, "it was not preloaded");
    let mut waits = Waits::new(&words[0], &words[1]);
    waits.all_in_vain();
    println!("\nasleep");
    assert_eq!(waits.queue.dequeue_wait(PATIENCE).unwrap(), Some(1));
    assert_eq!(waits.atomic.wait(0, PATIENCE).unwrap(), Some(2));
    assert_eq!(waits.reader.next_wait(PATIENCE).unwrap().unwrap().to_vec(), b"3");
    println!("woken");
}

#[test]
fn a_wall_clock_that_jumps_prolongs_no_wait_and_nobody_sleeps_by_it() {
    let directory = TempDir::new();
    let library = jumping_wall_clock(&directory);
    let (name, area_name) = (Name::new(), AreaName::new());
    let mut area = Area::create(&area_name, &AreaOptions::new()).unwrap();
    let preloaded = format!("LD_PRELOAD={}", library.display());
    let words = format!("{name} {}", &*area_name);
    let mut sleeper = Peer::role_through("env", &[&preloaded], "signals::sleeper", &words);
    sleeper.line("asleep");
    let segment = Segment::open(&name, &SegmentOptions::new()).unwrap();
    assert!(Queue::<u64>::open(&segment, "q").unwrap().enqueue(&1).unwrap());
    let atomic = Atomic::<u64>::open(&segment, "x").unwrap();
    atomic.store(2, Ordering::Release).unwrap();
    atomic.notify_all().unwrap();
    area.write(b"3", 0).unwrap().unwrap();
    sleeper.line("woken");
    sleeper.finish();
    drop((atomic, segment));
    area.unlink().unwrap();
}

/// `forker NAME AREA`: two threads at work while a third forks and forks.
#[test]
#[ignore = "not a test: a process that tests start"]
fn forker() {
    let Some(words) = role_words() else { return };
    let segment = Segment::create(&words[0], &sized().exclusive()).unwrap();
    let queue = Queue::<u64>::create(&segment, "q", &QueueOptions::new(64)).unwrap();
    let children = Atomic::<u64>::create(&segment, "children", 0).unwrap();
    let stop = Atomic::<bool>::create(&segment, "stop", false).unwrap();
    let mut area = Area::create(&words[1], &AreaOptions::new().min_size(4096)).unwrap();
    let mut ends = [0_u64; 3];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (queue, mut next) = (Queue::<u64>::open(&segment, "q").unwrap(), 0_u64);
            while !stop.load(Ordering::Acquire).unwrap() {
                if queue.enqueue_wait(&next, SHORT).unwrap() {
                    next += 1;
                }
            }
        });
        scope.spawn(|| {
            let queue = Queue::<u64>::open(&segment, "q").unwrap();
            while !stop.load(Ordering::Acquire).unwrap() {
                queue.dequeue_wait(SHORT).unwrap();
                let id = area.write(&[1; 300], 0).unwrap().unwrap();
                area.obsolete(id).unwrap();
            }
        });
        let end = || {
            // SAFETY: neither has preconditions.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        };
        for turn in 0..150_usize {
            // One ends well, one dies with something in its hands, one dies while its own child goes on for a while.
            let child = forked(|| {
                children.fetch_add(1, Ordering::AcqRel).unwrap();
                assert!(queue.enqueue_wait(&1, PATIENCE).unwrap() && queue.dequeue_wait(PATIENCE).unwrap().is_some());
                match turn % 3 {
                    0 => assert!(segment.count() >= 2),
                    1 => {
                        std::mem::forget(queue.claim_wait(PATIENCE).unwrap());
                        end();
                    }
                    _ => {
                        forked(|| {
                            std::thread::sleep(Duration::from_millis(5));
                            children.fetch_add(1, Ordering::AcqRel).unwrap();
                            // Not waiting: the others may be gone by now.
                            let _ = (queue.enqueue(&1).unwrap(), queue.dequeue().unwrap());
                        });
                        end();
                    }
                }
            });
            let status = outcome(child);
            assert_eq!(status, if turn % 3 == 0 { 0 } else { libc::SIGKILL }, "child {turn}");
            ends[turn % 3] += 1;
        }
        stop.store(true, Ordering::Release).unwrap();
    });
    eventually("the last grandchild is gone", || segment.count() == 1);
    assert_eq!((ends, children.load(Ordering::Acquire).unwrap()), ([50; 3], 200));
    let _ = segment.reap().unwrap();
    assert_eq!(segment.participants().len(), 1, "nobody is left in the books");
    // What the dead had is voided, and all goes on.
    while queue.dequeue_wait(SHORT).unwrap().is_some() {}
    for number in 0..200 {
        assert!(queue.enqueue_wait(&number, PATIENCE).unwrap());
        assert_eq!(queue.dequeue_wait(PATIENCE).unwrap(), Some(number));
    }
    area.unlink().unwrap();
}

#[test]
fn a_storm_of_forks_leaves_nobody_in_the_books() {
    let (name, area) = (Name::new(), AreaName::new());
    Peer::role_without(&[], "signals::forker", &format!("{name} {}", &*area)).finish();
    assert!(!name.exists() && area.objects().is_empty());
}

/// `parent NAME AREA`: has a child and a grandchild that do nothing, and is killed.
#[test]
#[ignore = "not a test: a process that tests start"]
fn parent() {
    let Some(words) = role_words() else { return };
    let segment = Segment::open(&words[0], &SegmentOptions::new()).unwrap();
    let queue = Queue::<u64>::open(&segment, "s").unwrap();
    assert!(queue.enqueue(&1).unwrap());
    let area = Area::create(&words[1], &AreaOptions::new()).unwrap();
    // They are not to outlive a test that fails.
    let sleep = || std::thread::sleep(PATIENCE * 2);
    let child = forked(|| {
        // After its own line.
        std::io::stdin().lines().for_each(drop);
        let grandchild = forked(sleep);
        println!("\ngrandchild {grandchild}");
        sleep();
    });
    println!("\nchild {child}");
    sleep();
    drop((area, queue));
}

#[test]
fn children_who_do_nothing_keep_no_lock_of_their_parents_alive() {
    let (name, area) = (Name::new(), AreaName::new());
    let segment = fresh(&name);
    let queue = Queue::<u64>::create(&segment, "s", &QueueOptions::new(8).spsc()).unwrap();
    let mut parent = Peer::role_without(&[], "signals::parent", &format!("{name} {}", &*area));
    let child = parent.line("child ").parse::<libc::pid_t>().unwrap();
    parent.end_input();
    let pids = [child, parent.line("grandchild ").parse().unwrap()];
    only(&segment, 4);
    refused(Area::open(&area, &AreaOptions::new()), Status::Busy, &[&area]);
    refused(queue.enqueue(&2), Status::Busy, &["'s'", &format!("process {}", parent.pid())]);
    parent.kill();
    for pid in pids {
        // SAFETY: no preconditions; they sleep until we kill them.
        assert_eq!(unsafe { libc::kill(pid, 0) }, 0, "it lives");
    }
    only(&segment, 3);
    assert!(queue.enqueue(&2).unwrap(), "the end can be taken over");
    Area::open(&area, &AreaOptions::new()).unwrap().unlink().unwrap();
    for pid in pids {
        // SAFETY: as above.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
    only(&segment, 1);
}
