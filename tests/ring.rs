//! Rings among processes: what one language writes the others read, and the deaths of writers, consumers and sleepers leave
//! whole elements and exact counts.

mod support;

use std::time::{Duration, Instant};

use shmds::{Queue, QueueOptions, Ring, RingOptions, RingStart, Segment, SegmentOptions, Status};
use support::*;

const SOON: Duration = Duration::from_secs(20);
const CAPACITY: u64 = 64;

fn options(overwrite: bool) -> RingOptions {
    let options = RingOptions::new(CAPACITY);
    if overwrite { options.overwrite() } else { options }
}

fn numbers(segment: &Segment, name: &str, capacity: u64) -> Ring<u64> {
    Ring::create(segment, name, &RingOptions::new(capacity)).unwrap()
}

#[test]
fn handles_share_a_ring_and_readers_follow_it() {
    let name = Name::new();
    let segment = fresh(&name);
    let ring = Ring::<u64>::create(&segment, "r", &RingOptions::new(7).overwrite().type_tag(5)).unwrap();
    let other = ring.try_clone().unwrap();
    let (mut reader, mut late) = (ring.reader(RingStart::Oldest).unwrap(), ring.reader(RingStart::Newest).unwrap());
    assert_eq!((ring.capacity(), ring.available().unwrap(), ring.name()), (8, 8, "r"));
    assert!(ring.is_empty().unwrap() && other.pop().unwrap().is_none() && reader.read().unwrap().is_none());
    assert_eq!(ring.push_bulk(&(0..20).collect::<Vec<_>>()).unwrap(), 20);
    refused(other.push(&1), Status::Busy, &["'r'", "writer", "another handle"]);
    refused(ring.pop(), Status::Busy, &["'r'", "consumer", "another handle"]);
    assert!(ring.is_full().unwrap());

    let mut four = [0; 4];
    assert_eq!((ring.peek(2, &mut four).unwrap(), four), (4, [14, 15, 16, 17]));
    assert_eq!((ring.last(&mut four).unwrap(), four), (4, [16, 17, 18, 19]));
    assert_eq!((other.pop().unwrap(), other.skip(2).unwrap(), other.pop_bulk(&mut four).unwrap()), (Some(12), 2, 4));
    assert_eq!((four, other.clear().unwrap(), other.clear().unwrap()), ([15, 16, 17, 18], 1, 0));
    let stats = ring.stats().unwrap();
    assert_eq!((stats.written, stats.read, stats.lost, stats.size), (20, 8, 12, 0));
    assert!(stats.overwrite && stats.writer != 0 && stats.writer == stats.consumer);

    assert_eq!((reader.lag().unwrap(), reader.peek(1, &mut four).unwrap(), four), (20, 4, [13, 14, 15, 16]));
    assert_eq!((reader.read().unwrap(), reader.lost(), reader.position()), (Some(12), 12, 13));
    assert_eq!((late.read_bulk_wait(&mut four, SOON).unwrap(), late.total_read(), late.lost()), (4, 4, 12));
    assert_eq!((late.skip(u64::MAX).unwrap(), late.read_wait(Duration::from_millis(1)).unwrap()), (4, None));
    late.seek(RingStart::At(14)).unwrap();
    assert_eq!(late.read().unwrap(), Some(14));
    refused(late.seek(RingStart::At(21)), Status::Invalid, &["'r'", "20 elements", "21"]);
    refused(ring.reader(RingStart::At(u64::MAX)), Status::Invalid, &["'r'"]);
    late.seek(RingStart::Newest).unwrap();
    assert_eq!(late.position(), 20);

    drop(ring);
    assert!(other.push(&20).unwrap(), "a dropped handle leaves its end");
    assert_eq!((other.pop().unwrap(), late.read().unwrap()), (Some(20), Some(20)));
    refused(Ring::<u64>::create(&segment, "r", &RingOptions::new(8)), Status::Mismatch, &["'r'", "overwrites"]);
    refused(Ring::<u32>::open(&segment, "r"), Status::Mismatch, &["'r'", "8 bytes", "4"]);
    refused(Ring::<u64>::open_tagged(&segment, "r", 6), Status::Mismatch, &["'r'"]);
    assert!(Ring::<u64>::open_tagged(&segment, "r", 5).is_ok());
}

#[test]
fn a_ring_that_waits_moves_everything_from_thread_to_thread() {
    const COUNT: u64 = 200_000;
    let name = Name::new();
    let segment = fresh(&name);
    let ring = numbers(&segment, "r", 16);
    let consumer = ring.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (mut next, mut buffer) = (0, [0; 11]);
            while next < COUNT {
                let count = consumer.pop_bulk_wait(&mut buffer, SOON).unwrap();
                assert!(count > 0 && buffer[..count].iter().copied().eq(next..next + count as u64));
                next += count as u64;
            }
        });
        let all: Vec<u64> = (0..COUNT).collect();
        for some in all.chunks(37) {
            assert_eq!(ring.push_bulk_wait(some, SOON).unwrap(), some.len());
        }
    });
    let stats = ring.stats().unwrap();
    assert_eq!((stats.written, stats.read, stats.lost), (COUNT, COUNT, 0));
}

#[test]
fn who_is_attached_read_only_looks_on() {
    let name = Name::new();
    let segment = fresh(&name);
    let ring = numbers(&segment, "r", 8);
    let looking = Segment::open(&name, &SegmentOptions::new().read_only()).unwrap();
    let seen = Ring::<u64>::open(&looking, "r").unwrap();
    let mut reader = seen.reader(RingStart::Oldest).unwrap();
    assert!(ring.push(&1).unwrap());
    let mut out = [0; 2];
    assert_eq!((seen.last(&mut out).unwrap(), seen.peek(0, &mut out).unwrap(), out[0]), (1, 1, 1));
    for refusal in [seen.push(&1).map(drop), seen.pop().map(drop), seen.clear().map(drop)] {
        refused(refusal, Status::ReadOnly, &["read-only"]);
    }
    assert_eq!(reader.read().unwrap(), Some(1));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || reader.read_wait(SOON).unwrap());
        std::thread::sleep(Duration::from_millis(10));
        assert!(ring.push(&2).unwrap());
        assert_eq!(waiting.join().unwrap(), Some(2));
    });
}

/// Each language writes what each other reads and pops, samples checked one by one.
fn every_pair(overwrite: bool) {
    const COUNT: u64 = 20_000;
    for from in EVERY_LANGUAGE {
        for to in EVERY_LANGUAGE {
            for bulk in [1, 23] {
                let stage = Stage::new(&options(overwrite), COUNT);
                stage.set_end(COUNT);
                let takers = ["pop", "poll", "wait"].map(|verb| stage.start(to, verb, bulk, 0));
                stage.start(from, "push", bulk, 0).finish();
                for (verb, (got, lost)) in ["pop", "poll", "wait"].iter().zip(takers.map(verdict)) {
                    let what = format!("{from:?} to {to:?}, {verb}, {bulk} at once");
                    assert_eq!(got + lost, COUNT, "{what}");
                    assert!(overwrite || *verb != "pop" || lost == 0, "{what}: {lost} lost");
                }
                let stats = stage.ring.stats().unwrap();
                assert_eq!((stats.written, stats.read + stats.lost), (COUNT, COUNT), "{from:?} to {to:?}");
                assert_eq!(handed_out(&stage), stats.read, "{from:?} to {to:?}");
            }
        }
    }
}

#[test]
fn every_language_writes_for_every_other() {
    every_pair(false);
}

#[test]
fn every_language_overwrites_for_every_other() {
    every_pair(true);
}

/// How many samples consumers say they were given; none of them twice.
fn handed_out(stage: &Stage) -> u64 {
    let marks = stage.log.iter().skip(8);
    marks.enumerate().fold(0, |sum, (position, times)| {
        assert!(times <= 1, "{position} was handed out {times} times");
        sum + times
    })
}

/// Writers die in the middle of it again and again. Their successors go on where they stopped.
fn dying_writers(overwrite: bool) {
    const DEATHS: usize = 40;
    let (stage, mut random) = (Stage::new(&options(overwrite), 0), Random::new());
    let takers: Vec<Peer> = ["pop", "poll", "wait", "poll"]
        .iter()
        .zip([7, 16, 3, 1])
        .map(|(verb, bulk)| stage.start(random.one_of(&EVERY_LANGUAGE), verb, bulk, 0))
        .collect();
    let (mut before, mut between) = (0, 0);
    for _ in 0..DEATHS {
        let writer = stage.start(random.one_of(&EVERY_LANGUAGE), "push", CAPACITY / 2, 0);
        eventually("it writes", || stage.written() > before);
        std::thread::sleep(random.micros(0, 10_000));
        writer.kill();
        let (written, intent, done) = (stage.written(), stage.log.get(0).unwrap(), stage.log.get(1).unwrap());
        assert!(before < written && done <= written && written <= intent, "{before} {done} {written} {intent}");
        if overwrite {
            assert!(written == done || written == intent, "a bulk is published at once: {done} {written} {intent}");
        }
        between += u64::from(done != intent);
        before = written;
    }
    let end = before + 1000;
    stage.set_end(end);
    stage.start(Language::Rust, "push", CAPACITY / 2, 0).finish();
    let mut totals = Vec::new();
    for (nth, taker) in takers.into_iter().enumerate() {
        let (got, lost) = verdict(taker);
        assert_eq!(got + lost, end, "taker {nth}");
        assert!(overwrite || nth != 0 || lost == 0, "{lost} were lost to a consumer for whom the writer waits");
        totals.push((got, lost));
    }
    let stats = stage.ring.stats().unwrap();
    assert_eq!((stats.written, stats.read, stats.lost), (end, totals[0].0, totals[0].1));
    say(&format!("{DEATHS} writers died, {between} between two notes, of {end} samples; read and lost: {totals:?}"));
}

#[test]
fn writers_killed_while_overwriting_leave_whole_elements_and_exact_counts() {
    dying_writers(true);
}

#[test]
fn writers_killed_in_a_ring_that_waits_lose_nothing_that_was_published() {
    dying_writers(false);
}

/// Consumers die in the middle of it again and again.
fn dying_consumers(overwrite: bool) {
    const BULK: u64 = 9;
    // A writer who waits goes on when there is a consumer; one who does not would be done before the second comes.
    let (count, pause_us) = if overwrite { (500_000, 20) } else { (2_000_000, 0) };
    let (stage, mut random) = (Stage::new(&options(overwrite), count), Random::new());
    stage.set_end(count);
    let writer = stage.start(random.one_of(&EVERY_LANGUAGE), "push", 32, pause_us);
    let mut deaths = 0;
    let taken = || stage.ring.stats().map(|stats| stats.read + stats.lost).unwrap();
    while taken() < count {
        let consumer = stage.start(random.one_of(&EVERY_LANGUAGE), "pop", BULK, 0);
        std::thread::sleep(random.micros(0, 5_000));
        consumer.kill_if_running();
        deaths += 1;
        let stats = stage.ring.stats().unwrap();
        assert!(stats.read + stats.lost <= stats.written && (overwrite || stats.lost == 0), "{stats:?}");
    }
    writer.finish();
    let (stats, marked) = (stage.ring.stats().unwrap(), handed_out(&stage));
    assert_eq!((stats.written, stats.read + stats.lost), (count, count));
    let held = stats.read - marked;
    say(&format!("{deaths} consumers died: {marked} handed out, {held} held by the dead, {} lost", stats.lost));
    assert!(held <= deaths * BULK, "the dead held more than a call's worth each: {held} of {deaths}");
}

#[test]
fn consumers_killed_while_they_pop_are_succeeded_and_nothing_is_handed_out_twice() {
    dying_consumers(false);
}

#[test]
fn consumers_killed_while_they_are_overtaken_are_succeeded_and_nothing_is_handed_out_twice() {
    dying_consumers(true);
}

#[test]
fn sleepers_killed_in_their_sleep_cost_nobody_a_wake_up() {
    const SECOND: Duration = Duration::from_secs(1);
    for language in EVERY_LANGUAGE {
        let stage = Stage::new(&options(false), 0);
        let sleepers = ["pop", "wait"].map(|verb| stage.start(language, verb, 1, 0));
        let mut reader = stage.ring.reader(RingStart::Oldest).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(move || reader.read_wait(SOON).unwrap());
            std::thread::sleep(Duration::from_millis(20));
            sleepers.into_iter().for_each(Peer::kill);
            let sent = Instant::now();
            assert!(stage.ring.push(&Sample::new(0, 1)).unwrap());
            assert!(waiting.join().unwrap().expect("the living sleeper gets it").is(0));
            assert!(sent.elapsed() < SECOND);
        });
        assert!(stage.ring.pop().unwrap().expect("nobody has taken it").is(0), "the consumer's end is free");

        let stage = Stage::new(&options(false), 0);
        let sleeper = stage.start(language, "push", 1, 0);
        eventually("the ring is full", || stage.ring.is_full().unwrap());
        std::thread::sleep(Duration::from_millis(30));
        sleeper.kill();
        let (writer, consumer) = (stage.ring.try_clone().unwrap(), &stage.ring);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(move || writer.push_wait(&Sample::new(CAPACITY, 1), SOON).unwrap());
            std::thread::sleep(Duration::from_millis(20));
            let sent = Instant::now();
            (0..=CAPACITY).for_each(|position| assert!(consumer.pop_wait(SOON).unwrap().unwrap().is(position)));
            assert!(waiting.join().unwrap() && sent.elapsed() < SECOND);
        });
    }
}

/// `family NAME`: a parent with both ends of a ring and a reader, and its child.
#[test]
#[ignore = "not a test: a process that tests start"]
fn family() {
    let Some(words) = role_words() else { return };
    let segment = Segment::create(&words[0], &sized().exclusive()).unwrap();
    let ring = numbers(&segment, "r", 8);
    let told = Queue::<u64>::create(&segment, "told", &QueueOptions::new(8)).unwrap();
    let mut reader = ring.reader(RingStart::Oldest).unwrap();
    assert_eq!(ring.push_bulk(&[0, 1, 2, 3]).unwrap(), 4);
    assert_eq!((ring.pop().unwrap(), reader.read().unwrap()), (Some(0), Some(0)));
    let parent = format!("process {}", std::process::id());
    // SAFETY: roles run on the only thread that does anything; the child leaves by _exit.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            refused(ring.push(&9), Status::Busy, &["'r'", "writer", &parent]);
            refused(ring.pop(), Status::Busy, &["'r'", "consumer", &parent]);
            assert_eq!((reader.position(), reader.read().unwrap()), (1, Some(1)), "its copy goes on");
            let mut newest = [0; 2];
            assert_eq!((ring.last(&mut newest).unwrap(), newest), (2, [2, 3]));
            assert!(told.enqueue(&1).unwrap());
            assert_eq!((reader.skip(2).unwrap(), reader.read_wait(SOON).unwrap()), (2, Some(4)));
        }));
        // SAFETY: no preconditions.
        unsafe { libc::_exit(i32::from(outcome.is_err())) };
    }
    assert_eq!(told.dequeue_wait(SOON).unwrap(), Some(1));
    std::thread::sleep(Duration::from_millis(20));
    assert!(ring.push(&4).unwrap(), "the ends are still the parent's");
    let mut status = 0;
    // SAFETY: a live integer; our own child.
    assert_eq!((unsafe { libc::waitpid(child, &mut status, 0) }, status), (child, 0), "the child did not end well");
    assert_eq!((reader.position(), reader.read().unwrap()), (1, Some(1)), "the parent's reader is where it was");
    assert_eq!((ring.pop().unwrap(), ring.stats().unwrap().read), (Some(1), 2));
    segment.reap().unwrap();
    assert_eq!(segment.count(), 1);
}

#[test]
fn a_forked_child_gets_neither_end_and_reads_on_with_its_copy_of_the_reader() {
    let name = Name::new();
    Peer::role("family", &name).finish();
    assert!(!name.exists());
}
