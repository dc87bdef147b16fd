//! Verifying what was written over: each rule is broken once, and what is found names it. And whatever is there, looking at it ends.

mod support;

use std::time::Instant;

use shmds::speculo::{Area, AreaOptions};
use shmds::{
    Array, Atomic, ByteQueue, ByteQueueOptions, Finding, Kind, Pool, Queue, QueueOptions, Ring, RingOptions, Segment,
    SegmentOptions, Severity, Span, Status, VerifyOptions,
};
use support::*;

const LIVE: VerifyOptions = VerifyOptions::new();
const AT_REST: VerifyOptions = VerifyOptions::new().at_rest();

/// A segment's bytes, to be written over.
struct Image(Segment);

impl Image {
    fn at<T>(&self, offset: u64) -> *mut T {
        let all = self.0.span();
        assert!(offset as usize + size_of::<T>() <= all.len());
        // SAFETY: inside.
        unsafe { all.cast::<u8>().as_ptr().add(offset as usize).cast() }
    }

    fn get(&self, offset: u64) -> u64 {
        // SAFETY: inside, aligned, and nobody else works.
        unsafe { self.at::<u64>(offset).read_volatile() }
    }

    fn put(&self, offset: u64, value: u64) {
        // SAFETY: as above.
        unsafe { self.at::<u64>(offset).write_volatile(value) };
    }

    fn put_half(&self, offset: u64, value: u32) {
        // SAFETY: as above.
        unsafe { self.at::<u32>(offset).write_volatile(value) };
    }

    fn section(&self, name: &str) -> u64 {
        self.0.find(name).unwrap().unwrap().offset
    }

    /// Where the entry of a name lies.
    fn entry(&self, name: &str) -> u64 {
        let section = self.section(name);
        // 64 participants: 8 bytes of users.
        let stride = (128 + 32 + 8_u64).next_multiple_of(64);
        (0..64).map(|number| self.get(72) + number * stride).find(|at| self.get(at + 16) == section).unwrap()
    }

    /// Where the first word of the index lies that is not empty, or is.
    fn index(&self, empty: bool) -> u64 {
        (self.get(64)..self.get(72)).step_by(8).find(|at| (self.get(*at) == 0) == empty).unwrap()
    }
}

/// What has to be found: how bad, whether also while others work, in which structure, and words of the sentence.
struct Broken {
    severity: Severity,
    live: bool,
    name: &'static str,
    words: &'static [&'static str],
    how: fn(&Image),
}

const fn damage(name: &'static str, words: &'static [&'static str], how: fn(&Image)) -> Broken {
    Broken { severity: Severity::Damage, live: true, name, words, how }
}

const fn at_rest(broken: Broken) -> Broken {
    Broken { live: false, ..broken }
}

const fn leftover(broken: Broken) -> Broken {
    Broken { severity: Severity::Leftover, ..broken }
}

const NOBODY: u64 = 9;
const TURN: u64 = 1 << 19;
const WRITING: u64 = 1 << 16;
const FULL: u64 = 2 << 16;

#[rustfmt::skip]
const BROKEN: &[Broken] = &[
    damage("", &["says it has"], |image| image.put(16, image.get(16) + 4096)),
    damage("", &["written over"], |image| image.put(72, image.get(72) + 64)),
    damage("", &["high water", "0"], |image| image.put(144, 0)),
    damage("", &["index", "rebuilt"], |image| image.put_half(136, 7)),
    leftover(damage("", &["999999", "died holding the lock"], |image| image.put_half(128, 999_999))),
    damage("", &["participant 6", "state 7"], |image| image.put_half(256 + 5 * 64, 7)),
    leftover(damage("", &["participant 6", "dead"], |image| image.put_half(256 + 5 * 64, 1))),
    at_rest(damage("", &["not zero"], |image| image.put(image.get(16) - 64, 1))),
    damage("", &["does not lead to"], |image| image.put(image.index(false), 0)),
    damage("", &["leads to no name"], |image| image.put(image.index(true), 7 << 32 | 3)),

    damage("", &["has the state"], |image| image.put_half(image.entry("span"), 1 << 8 | 9)),
    damage("", &["has the state"], |image| image.put_half(image.entry("span"), 0xff << 16 | 1 << 8 | 2)),
    damage("", &["being built"], |image| image.put_half(image.entry("span"), 1 << 8 | 1)),
    damage("", &["hash of 'span'"], |image| image.put(image.entry("span") + 8, 5)),
    damage("", &["is none", "sp"], |image| image.put(image.entry("span") + 128, u64::from_le_bytes(*b"sp\x07n\0\0\0\0"))),
    damage("", &["is none"], |image| image.put(image.entry("span") + 144, 1)),
    damage("", &["0 bytes", "32"], |image| image.put_half(image.entry("span") + 64, 0)),
    damage("", &["33 bytes", "32"], |image| image.put_half(image.entry("span") + 64, 33)),
    damage("", &["'span'", "bytes at 0"], |image| image.put(image.entry("span") + 16, 0)),
    damage("", &["'span'", "bytes at 18446744073709551488"], |image| image.put(image.entry("span") + 16, u64::MAX - 127)),
    damage("", &["'span'", "bytes at"], |image| image.put(image.entry("span") + 16, image.section("span") + 64)),
    damage("", &["'span'", "beyond the high water"], |image| image.put(144, image.get(144) - 128)),
    damage("", &["where", "goes to"], |image| image.put(image.entry("span") + 16, image.section("atomic"))),
    damage("", &["same name, 'array'"], |image| {
        let (from, to) = (image.entry("array"), image.entry("span"));
        [8, 64, 128].into_iter().for_each(|word| image.put(to + word, image.get(from + word)));
    }),
    damage("", &["'span'", "open by participant 9"], |image| image.put(image.entry("span") + 160, 1 << (NOBODY - 1))),

    damage("span", &["makes no sense"], |image| image.put(image.entry("span") + 40, 699)),
    damage("atomic", &["makes no sense"], |image| image.put_half(image.entry("atomic") + 60, 9)),
    damage("mpmc", &["makes no sense"], |image| image.put(image.entry("mpmc") + 40, 7)),
    damage("mpmc", &["makes no sense", "aligned to 0"], |image| image.put_half(image.entry("mpmc") + 56, 0)),
    damage("spsc", &["makes no sense"], |image| image.put(image.entry("spsc") + 32, 0)),
    damage("ring", &["makes no sense"], |image| image.put_half(image.entry("ring") + 60, 2)),
    damage("pool", &["makes no sense"], |image| image.put_half(image.entry("pool") + 56, 3)),
    damage("bytes", &["makes no sense"], |image| image.put(image.entry("bytes") + 40, 4097)),
    damage("array", &["makes no sense"], |image| image.put(image.entry("array") + 40, 101)),

    damage("mpmc", &["items", "0x8"], |image| image.put_half(image.section("mpmc") + 4, 8)),
    damage("mpmc", &["an end that somebody holds"], |image| image.put(image.section("mpmc") + 24, 1 << 16 | 1)),
    damage("mpmc", &["slot 2", "there is not"], |image| image.put(image.section("mpmc") + 512 + 2 * 16, 5 << 16)),
    damage("mpmc", &["slot 2", "there is not"], |image| image.put(image.section("mpmc") + 512 + 2 * 16, FULL | 1)),
    damage("mpmc", &["slot 3", "written by participant 9", "none"], |image| {
        image.put(image.section("mpmc") + 512 + 3 * 16, WRITING | NOBODY);
    }),
    damage("mpmc", &["slot 3", "participant 5000", "1 to 64"], |image| {
        image.put(image.section("mpmc") + 512 + 3 * 16, WRITING | 5000);
    }),
    at_rest(leftover(damage("mpmc", &["slot 3", "written by participant 1", "lives"], |image| {
        image.put(image.section("mpmc") + 512 + 3 * 16, WRITING | 1);
    }))),
    damage("mpmc", &["behind for its producers"], |image| image.put(image.section("mpmc") + 512 + 16, 0)),
    damage("mpmc", &["behind"], |image| image.put(image.section("mpmc") + 512 + 7 * 16, (100 * TURN) | FULL)),
    damage("mpmc", &["slot 0 is 1 turns behind for its consumers", "slot 1"], |image| {
        image.put(image.section("mpmc") + 512, FULL);
        image.put(image.section("mpmc") + 512 + 16, TURN);
    }),
    damage("mpmc", &["hint", "producers", "ahead"], |image| image.put(image.section("mpmc") + 128, 4)),
    damage("mpmc", &["hint", "consumers", "ahead"], |image| image.put(image.section("mpmc") + 256, 3)),

    damage("spsc", &["producer", "participant 9", "none"], |image| image.put(image.section("spsc") + 24, 1 << 16 | NOBODY)),
    damage("spsc", &["consumer", "participant 0"], |image| image.put(image.section("spsc") + 32, 1 << 16)),
    damage("spsc", &["told that it is at 2", "at 1"], |image| image.put(image.section("spsc") + 256, 2)),
    damage("spsc", &["consumer is at 1", "3"], |image| image.put(image.section("spsc") + 392, 3)),
    damage("spsc", &["consumer is at 10", "9 elements"], |image| image.put(image.section("spsc") + 384, 10)),
    damage("spsc", &["producer was at 10", "9 elements"], |image| image.put(image.section("spsc") + 128, 10)),
    damage("spsc", &["nobody can have come to"], |image| image.put(image.section("spsc") + 384, u64::MAX)),
    damage("spsc", &["consumer is at 0", "9 were published", "capacity 8"], |image| image.put(image.section("spsc") + 384, 0)),
    damage("spsc", &["line 0 of 2", "0x63"], |image| image.put(image.section("spsc") + 512, 99)),
    damage("spsc", &["line 0 of 2", "0x101"], |image| image.put(image.section("spsc") + 512, 0x101)),
    damage("spsc", &["line 0 ends at element 6, not 7"], |image| image.put(image.section("spsc") + 512, 6)),
    damage("spsc", &["line 0 ends at element 0, not 7"], |image| image.put(image.section("spsc") + 512, 0)),
    at_rest(leftover(damage("spsc", &["element 1 was shown"], |image| image.put(image.section("spsc") + 392, 2)))),

    damage("ring", &["writer", "participant 9"], |image| image.put(image.section("ring") + 16, 1 << 16 | NOBODY)),
    damage("ring", &["4 are announced", "5 were written"], |image| image.put(image.section("ring") + 136, 4)),
    damage("ring", &["14 are announced", "capacity is 8"], |image| image.put(image.section("ring") + 136, 14)),
    at_rest(leftover(damage("ring", &["6 are announced and 5 written"], |image| image.put(image.section("ring") + 136, 6)))),
    damage("ring", &["consumer is at 6", "5 were written"], |image| image.put(image.section("ring") + 256, 6)),
    damage("ring", &["1 were lost"], |image| image.put(image.section("ring") + 264, 1)),
    damage("ring", &["nobody can have come to"], |image| image.put(image.section("ring") + 264, u64::MAX)),
    damage("ring", &["20 were written", "consumer is at 2"], |image| {
        [128, 136].into_iter().for_each(|word| image.put(image.section("ring") + word, 20));
    }),

    damage("bytes", &["consumer", "participant 9"], |image| image.put(image.section("bytes") + 32, 1 << 16 | NOBODY)),
    damage("bytes", &["tail is 65"], |image| image.put(image.section("bytes") + 128, 65)),
    damage("bytes", &["capacity of 4096"], |image| image.put(image.section("bytes") + 128, 8192)),
    damage("bytes", &["bytes 80 to"], |image| image.put(image.section("bytes") + 256, 80)),
    damage("bytes", &["message of 1000 bytes"], |image| image.put(image.section("bytes") + 4096 + 24, 1000)),
    damage("bytes", &["marked 0x1"], |image| image.put(image.section("bytes") + 4096 + 24, 1 << 32 | 3)),

    damage("pool", &["object 5", "there is not"], |image| image.put(image.section("pool") + 128 + 5 * 8, 2)),
    damage("pool", &["object 5", "there is not"], |image| image.put(image.section("pool") + 128 + 5 * 8, 1 << 16)),
    damage("pool", &["object 5", "participant 5000"], |image| image.put(image.section("pool") + 128 + 5 * 8, 5000 << 16 | 1)),
    at_rest(leftover(damage("pool", &["object 5", "participant 9", "none"], |image| {
        image.put(image.section("pool") + 128 + 5 * 8, NOBODY << 16 | 1);
    }))),
    damage("pool", &["map", "behind the last of 70"], |image| image.put(image.section("pool") + 8, u64::MAX)),
    at_rest(leftover(damage("pool", &["object 69", "free", "map"], |image| image.put(image.section("pool") + 8, 0x1f)))),

    damage("array", &["written by participant 9", "none"], |image| image.put_half(image.section("array") + 8, NOBODY as u32)),
    at_rest(leftover(damage("array", &["torn"], |image| image.put(image.section("array"), 3)))),
    at_rest(leftover(damage("array", &["written by participant 1", "lives"], |image| image.put_half(image.section("array") + 8, 1)))),
    damage("atomic", &["waiters", "0xff"], |image| image.put_half(image.section("atomic") + 132, 0xff)),
];

/// Something of everything, in a state that is known. Whoever has them keeps them open.
fn furnish(segment: &Segment) -> impl Sized + use<> {
    let mpmc = Queue::<u64>::create(segment, "mpmc", &QueueOptions::new(8)).unwrap();
    assert_eq!(mpmc.enqueue_bulk(&[1, 2, 3]).unwrap(), 3);
    assert_eq!(mpmc.dequeue().unwrap(), Some(1));
    let spsc = Queue::<u64>::create(segment, "spsc", &QueueOptions::new(8).spsc()).unwrap();
    assert_eq!(spsc.enqueue_bulk(&[1; 8]).unwrap(), 8);
    assert_eq!(spsc.dequeue().unwrap(), Some(1));
    assert!(spsc.enqueue(&1).unwrap());
    let ring = Ring::<u64>::create(segment, "ring", &RingOptions::new(8)).unwrap();
    assert_eq!(ring.push_bulk(&[1; 5]).unwrap(), 5);
    assert_eq!(ring.pop_bulk(&mut [0; 2]).unwrap(), 2);
    let bytes = ByteQueue::create(segment, "bytes", &ByteQueueOptions::new(4000)).unwrap();
    (0..3).for_each(|tag| assert!(bytes.send(b"one", tag).unwrap()));
    drop(bytes.receive().unwrap().unwrap());
    let pool = Pool::<u64>::create(segment, "pool", 70).unwrap();
    assert_eq!(pool.acquire_batch(2).unwrap().len(), 2);
    let array = Array::<u64>::create(segment, "array", 100).unwrap();
    array.write(|array| array.fill(1)).unwrap();
    let atomic = Atomic::<u32>::create(segment, "atomic", 5).unwrap();
    (mpmc, spsc, ring, bytes, pool, array, atomic, Span::create(segment, "span", 700, 0, true).unwrap())
}

fn findings(segment: &Segment, options: VerifyOptions) -> Vec<Finding> {
    let mut findings = Vec::new();
    let verified = segment.verify(options, |finding| findings.push(finding.clone())).unwrap();
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count() as u64;
    assert!(count(Severity::Damage) <= verified.damage && count(Severity::Leftover) <= verified.leftovers);
    let first = findings.iter().find(|finding| finding.severity == Severity::Damage);
    match (verified.sound(), first) {
        (Ok(()), None) => assert_eq!(verified.damage, 0),
        (Err(error), Some(first)) => assert_eq!((error.status(), error.message()), (Status::Corrupt, &*first.sentence)),
        other => panic!("{other:?}"),
    }
    findings
}

fn segment_of(name: &Name) -> Segment {
    let segment = Segment::create(name, &SegmentOptions::new().size(128 << 10).exclusive()).unwrap();
    furnish(&segment);
    segment
}

#[test]
fn every_rule_that_is_broken_is_named() {
    for (row, broken) in BROKEN.iter().enumerate() {
        let name = Name::new();
        let segment = segment_of(&name);
        let _kept = furnish_again(&segment);
        assert_eq!(findings(&segment, AT_REST), [], "row {row}");
        (broken.how)(&Image(segment.clone()));
        let read_only = Segment::open(&name, &SegmentOptions::new().read_only());
        for (options, expected) in [(LIVE, broken.live), (AT_REST, true)] {
            let all = findings(&segment, options);
            let named = all.iter().find(|finding| {
                finding.severity == broken.severity
                    && finding.name == broken.name
                    && finding.kind.is_some() != broken.name.is_empty()
                    && finding.offset < 128 << 10
                    && broken.words.iter().all(|word| finding.sentence.contains(word))
            });
            assert_eq!(named.is_some(), expected, "row {row}, {:?}, {options:?}: {all:#?}", broken.words);
            if broken.severity == Severity::Leftover {
                assert!(all.iter().all(|finding| finding.severity == Severity::Leftover), "row {row}: {all:#?}");
            }
            // Where the header is still one, who may not write finds the same.
            if let Ok(read_only) = &read_only {
                assert_eq!(findings(read_only, options), all, "row {row}");
            }
        }
    }
    say(&format!("{} rules", BROKEN.len()));
}

/// Handles that stay open, so that what is theirs is somebody's.
fn furnish_again(segment: &Segment) -> impl Sized + use<> {
    (
        Queue::<u64>::open(segment, "mpmc").unwrap(),
        Queue::<u64>::open(segment, "spsc").unwrap(),
        Pool::<u64>::open(segment, "pool").unwrap(),
        Array::<u64>::open(segment, "array").unwrap(),
    )
}

#[test]
fn what_a_later_version_made_is_counted_and_not_judged() {
    let name = Name::new();
    let segment = segment_of(&name);
    let image = Image(segment.clone());
    let entry = image.entry("span");
    image.put_half(entry, 100 << 8 | 2);
    let verified = segment.verify(AT_REST, |finding| panic!("{finding:?}")).unwrap();
    assert_eq!((verified.checked, verified.unknown), (7, 1));
    assert_eq!(segment.find("span").unwrap().unwrap().kind, Kind::Unknown);
}

#[test]
fn a_queue_whose_entry_has_no_alignment_is_refused_and_reaped() {
    let name = Name::new();
    let segment = segment_of(&name);
    let image = Image(segment.clone());
    let entry = image.entry("mpmc");
    image.put_half(entry + 56, 0);
    refused(Queue::<u64>::open(&segment, "mpmc"), Status::Corrupt, &["mpmc"]);
    // Somebody who had it open, and died.
    image.put(entry + 160, 1 << (NOBODY - 1));
    image.put_half(256 + (NOBODY - 1) * 64, 1);
    assert_eq!(segment.reap().unwrap(), 1);
}

#[test]
fn whatever_is_written_over_looking_ends_and_nothing_faults() {
    let mut random = Random::new();
    let (rounds, mut found) = (if is_soak() { 20_000 } else { 400 }, 0);
    let name = Name::new();
    let segment = segment_of(&name);
    let _kept = furnish_again(&segment);
    let image = Image(segment.clone());
    let sound: Vec<u64> = (0..128 << 10).step_by(8).map(|at| image.get(at)).collect();
    let start = Instant::now();
    for _ in 0..rounds {
        for _ in 0..=random.below(20) {
            // Mostly where the rules are: the header, the table, and the beginnings of sections.
            let at = if random.below(4) == 0 { random.below(128 << 10) } else { random.below(16 << 10) };
            let value = match random.below(4) {
                0 => random.below(16),
                1 => image.get(at & !7) ^ 1 << random.below(64),
                2 => u64::MAX - random.below(256),
                _ => random.next(),
            };
            image.put(at & !7, value);
        }
        for options in [LIVE, AT_REST] {
            found += findings(&segment, options).len();
        }
        for (word, value) in sound.iter().enumerate() {
            image.put(word as u64 * 8, *value);
        }
    }
    assert_eq!(findings(&segment, AT_REST), []);
    assert!(found > rounds, "{found} findings");
    assert!(start.elapsed() < PATIENCE * 10);
    say(&format!("{found} findings in {rounds} segments written over"));
}

fn findings_of_area(name: &AreaName, options: VerifyOptions) -> Vec<Finding> {
    let mut findings = Vec::new();
    let verified =
        Area::verify_name(name, &AreaOptions::new(), options, |finding| findings.push(finding.clone())).unwrap();
    assert_eq!(verified.damage + verified.leftovers, findings.len() as u64);
    findings
}

/// A word of the manifest, or of the area; what it becomes; how bad, and words of the sentence.
type AreaBroken = (bool, usize, u64, Severity, bool, &'static [&'static str]);

#[test]
fn every_rule_of_an_area_that_is_broken_is_named() {
    use Severity::{Damage, Leftover};
    // Three chunks of 128 bytes from 128 on: obsolete, written, written. Then nothing.
    const CASES: &[AreaBroken] = &[
        (true, 128, 7, Damage, true, &["no generation 7"]),
        (true, 136, 1, Damage, true, &["version 3", "1 were committed"]),
        (true, 136, 2, Leftover, false, &["version 3", "2 were committed"]),
        (true, 144, 2, Damage, true, &["id 2", "next one is 2"]),
        (false, 0, 1, Damage, true, &["something else"]),
        (false, 40, 2, Damage, true, &["state is 2"]),
        (false, 128, 9, Damage, true, &["state 9"]),
        (false, 128, 2, Leftover, false, &["chunk 1 counts at 128"]),
        (false, 256, 1, Damage, true, &["allocated, and not the last"]),
        (false, 384, 1, Leftover, false, &["allocated, and has no writer"]),
        (false, 384 + 16, 1, Damage, true, &["version 1, after version 2"]),
        (false, 256 + 8, 0, Damage, true, &["id 0"]),
        (false, 256 + 24, u64::MAX, Damage, true, &["18446744073709551615"]),
        (false, 1024, 1, Damage, false, &["byte 1024 is not zero"]),
    ];
    for (row, (manifest, offset, value, severity, live, words)) in CASES.iter().enumerate() {
        let name = AreaName::new();
        let mut area = Area::create(&name, &AreaOptions::new()).unwrap();
        assert_eq!(area.write(b"one", 0).unwrap(), Some(1));
        assert_eq!(area.write(b"two", 0).unwrap(), Some(2));
        area.update(1, 3).unwrap().unwrap().commit().unwrap();
        for options in [LIVE, AT_REST] {
            assert_eq!(findings_of_area(&name, options), []);
        }
        drop(area);
        let path = if *manifest { name.manifest() } else { name.area(1) };
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[*offset..offset + 8].copy_from_slice(&value.to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
        for (options, expected) in [(LIVE, *live), (AT_REST, true)] {
            let all = findings_of_area(&name, options);
            let named = all.iter().any(|finding| {
                finding.severity == *severity && words.iter().all(|word| finding.sentence.contains(word))
            });
            assert_eq!(named, expected, "row {row}, {words:?}, {options:?}: {all:#?}");
            assert!(all.iter().all(|finding| finding.kind.is_none() && finding.name == *name));
        }
    }
    let name = AreaName::new();
    refused(Area::verify_name(&name, &AreaOptions::new(), LIVE, |_| ()), Status::NotFound, &["manifest"]);
}
