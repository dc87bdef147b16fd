//! Chunks expire by the time since the machine started: whatever people set the clock to, and in whatever time namespace.

mod support;

use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use shmds::speculo::{Area, AreaOptions, Reader, ReaderOptions, now};
use support::*;

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3600 * SECOND;
const TWO_HOURS: &str = "7200";

/// How far the clock since boot is ahead here, in seconds: by the offset of a time namespace.
fn shift() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a live timespec.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut time) }, 0);
    time.tv_sec - (now() / SECOND) as i64
}

/// How many seconds the wall clock moves from one look to the next.
fn jump() -> i64 {
    let wall = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    wall() - wall()
}

/// `write NAME`: a chunk that expires soon and one that does not; `read NAME WHEN`: looks at them; `fork`: becomes two, in two namespaces.
#[test]
#[ignore = "not a test: a process that tests start"]
fn clock_role() {
    let Some(words) = role_words() else { return };
    println!("\nhere");
    match &words[..] {
        [verb, name] if verb == "write" => writes(name),
        [verb, name, when] if verb == "read" => reads(name, when.parse().unwrap()),
        _ => forks(),
    }
}

/// Looks until it is over, and that is when it should be.
fn is_over_at(when: u64, mut is_there: impl FnMut() -> bool) {
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < PATIENCE / 2, "{when} never comes");
        let before = now();
        if !is_there() {
            break assert!(now() >= when, "{} ns too early", when - now());
        }
        assert!(before < when, "{} ns too late", before - when);
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn writes(name: &str) {
    let mut area = Area::create(name, &AreaOptions::new()).unwrap();
    let when = now() + SECOND / 2;
    let short = area.write(b"short", when).unwrap().unwrap();
    let long = area.write(b"long", when + HOUR).unwrap().unwrap();
    println!("written {when}");
    is_over_at(when, || area.read(short).is_some());
    assert!(area.collect().unwrap() && area.read(long).is_some());
    println!("over at {} {} {}", now(), shift(), jump());
}

fn reads(name: &str, when: u64) {
    let mut reader = Reader::open(name, &ReaderOptions::new()).unwrap();
    is_over_at(when, || reader.get(1).unwrap().is_some());
    let long = reader.next_wait(Duration::ZERO).unwrap().expect("there for an hour");
    assert_eq!((long.id(), long.expires()), (2, when + HOUR));
    let asleep = Instant::now();
    assert!(reader.next_wait(Duration::from_millis(50)).unwrap().is_none());
    assert!((50..30_000).contains(&asleep.elapsed().as_millis()), "asleep for {:?}", asleep.elapsed());
    println!("over at {} {} {}", now(), shift(), jump());
}

/// The time of a process that ended well, and how far its clocks were off.
fn outcome(mut peer: Peer) -> (i64, i64) {
    let line = peer.line("over at ");
    let [time, shift, jump] = line.split(' ').map(|word| word.parse::<i64>().unwrap()).collect::<Vec<_>>()[..] else {
        panic!("{line}")
    };
    assert!(now().abs_diff(time as u64) < 20 * SECOND, "its time is {time}, and here it is {}", now());
    peer.finish();
    (shift, jump)
}

/// A writer and a reader through those programs: how far their clocks were off.
fn expire_on_time(writer: &[&str], reader: &[&str]) -> [(i64, i64); 2] {
    let name = AreaName::new();
    let start = |program: &[&str], words: &str| Peer::role_through(program[0], &program[1..], "clock_role", words);
    let mut writer = start(writer, &format!("write {}", &*name));
    let when: u64 = writer.line("written ").parse().unwrap();
    // Readers sleep by the time when they were woken last; they would sleep too long by a clock that is not theirs.
    let mut rung = [0; 8];
    std::fs::File::open(name.manifest()).unwrap().read_exact_at(&mut rung, 160).unwrap();
    let rung = u64::from_le_bytes(rung);
    assert!(rung.abs_diff(when) < 20 * SECOND, "woken at {rung}, and {when} is a moment later");
    let reader = start(reader, &format!("read {} {when}", &*name));
    let mut ours = Reader::open(&name, &ReaderOptions::new()).unwrap();
    is_over_at(when, || ours.get(1).unwrap().is_some());
    let clocks = [outcome(writer), outcome(reader)];
    assert_eq!(ours.next().unwrap().unwrap().expires(), when + HOUR);
    let mut next = Area::open(&name, &AreaOptions::new()).unwrap();
    assert_eq!(next.read(2).unwrap(), b"long", "to the next writer its time is of the same run of the machine");
    clocks
}

#[test]
fn a_wall_clock_that_jumps_expires_nothing() {
    let directory = TempDir::new();
    let library = jumping_wall_clock(&directory);
    let preloaded = format!("LD_PRELOAD={}", library.display());
    for (shift, jump) in expire_on_time(&["env", &preloaded], &["env", &preloaded]) {
        assert_eq!(shift, 0);
        assert!(jump.abs() > 19 * 365 * 24 * 3600, "it was not preloaded: {jump} s");
    }
}

/// Both clocks, as they are when somebody moves to another machine.
fn shifted(seconds: &str) -> [&str; 9] {
    ["unshare", "--time", "--boottime", seconds, "--monotonic", seconds, "--fork", "--kill-child", "--"]
}

#[test]
fn chunks_expire_at_the_same_instant_in_every_time_namespace() {
    need_root();
    let [(here, _), (there, _)] = expire_on_time(&["env"], &shifted(TWO_HOURS));
    assert!(here.abs() <= 1 && (there - 7200).abs() <= 1, "{here} {there}");
    // Whatever the machine's age, its clock cannot be put back to before its start.
    let younger = -((now() / SECOND / 2) as i64);
    let [(writer, _), (reader, _)] = expire_on_time(&shifted(TWO_HOURS), &shifted(&younger.to_string()));
    assert!((writer - 7200).abs() <= 1 && (reader - younger).abs() <= 1, "{writer} {reader}");
}

/// Whether it is so in a forked child.
fn in_child(so: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child looks at clocks and files, and ends.
    match unsafe { libc::fork() } {
        // SAFETY: no preconditions.
        0 => unsafe { libc::_exit(i32::from(!so())) },
        child => {
            let mut status = -1;
            // SAFETY: our child, and a live word.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            status == 0
        }
    }
}

/// A process makes a namespace for its children, and has a child that executes nothing.
fn forks() {
    let before = now();
    let right = || now().abs_diff(before) < HOUR / 2;
    assert!(in_child(|| {
        // SAFETY: no preconditions.
        let made = unsafe { libc::unshare(libc::CLONE_NEWTIME) } == 0;
        let set = std::fs::write("/proc/self/timens_offsets", format!("boottime {TWO_HOURS} 0"));
        let outside = right() && shift().abs() <= 1;
        made && set.is_ok() && outside && in_child(|| right() && (shift() - 7200).abs() <= 1)
    }));
}

#[test]
fn a_child_that_was_forked_into_a_time_namespace_has_the_right_time() {
    need_root();
    Peer::role("clock_role", "fork").finish();
}

/// Sets the wall clock ahead and gives back what it was, with the time that has passed since.
struct WallClock {
    was: libc::timespec,
    since: Instant,
}

impl WallClock {
    fn set_ahead(seconds: i64) -> Self {
        let mut was = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: live timespecs.
        unsafe {
            assert_eq!(libc::clock_gettime(libc::CLOCK_REALTIME, &mut was), 0);
            let clock = Self { was, since: Instant::now() };
            was.tv_sec += seconds;
            assert_eq!(libc::clock_settime(libc::CLOCK_REALTIME, &was), 0);
            clock
        }
    }
}

impl Drop for WallClock {
    fn drop(&mut self) {
        let now = Duration::new(self.was.tv_sec as u64, self.was.tv_nsec as u32) + self.since.elapsed();
        let now = libc::timespec { tv_sec: now.as_secs() as i64, tv_nsec: now.subsec_nanos().into() };
        // SAFETY: a live timespec.
        unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &now) };
    }
}

/// In the long run only, as it changes the time of the whole machine, for an instant.
#[test]
fn setting_the_machines_time_expires_nothing() {
    if !is_soak() {
        return;
    }
    need_root();
    let name = AreaName::new();
    let mut area = Area::create(&name, &AreaOptions::new()).unwrap();
    let mut reader = Reader::open(&name, &ReaderOptions::new()).unwrap();
    let long = area.write(b"long", now() + HOUR / 2).unwrap().unwrap();
    let over = area.write(b"over", now()).unwrap().unwrap();
    for seconds in [3600, -3600] {
        let wall = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
        let (was, before) = (wall(), now());
        let ahead = WallClock::set_ahead(seconds);
        let moved = wall() - was;
        let seen = [long, over].map(|id| (area.read(id).is_some(), reader.get(id).unwrap().is_some()));
        let passed = now() - before;
        drop(ahead);
        assert!((moved - seconds).abs() < 10 && passed < 10 * SECOND, "{moved} {passed}");
        assert_eq!(seen, [(true, true), (false, false)]);
    }
}
