//! Byte queues: what each call does and refuses, between processes, with deaths, forks and a peer that keeps to no rule.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memmap2::MmapOptions;
use shmds::{ByteQueue, ByteQueueOptions, Kind, Queue, QueueOptions, Segment, SegmentOptions, Status};
use support::*;

const SOON: Duration = Duration::from_secs(20);
const FOREVER: Duration = Duration::MAX;

/// Runs a test on a fresh queue.
fn on(options: &ByteQueueOptions, test: impl Fn(&Segment, ByteQueue)) {
    let name = Name::new();
    let segment = fresh(&name);
    test(&segment, ByteQueue::create(&segment, "q", options).unwrap());
}

/// Puts bytes into a stream.
fn put(stream: &ByteQueue, bytes: &[u8]) -> bool {
    let Some(mut place) = stream.reserve(bytes.len()).unwrap() else { return false };
    place.write(0, bytes).unwrap();
    place.commit(bytes.len(), 0).unwrap();
    true
}

/// Takes all there is in a stream, if that is `least` bytes at least.
fn take(stream: &ByteQueue, least: usize) -> shmds::Result<Option<Vec<u8>>> {
    let mut all = Vec::new();
    let taken = stream.consume(least, |data, there| {
        // SAFETY: so many are there.
        all.extend_from_slice(unsafe { std::slice::from_raw_parts(data, there) });
        there
    })?;
    Ok(taken.map(|_| all))
}

#[test]
fn what_is_asked_for_is_checked_when_it_is_made_and_when_it_is_opened() {
    let name = Name::new();
    let segment = fresh(&name);
    let make = |options: ByteQueueOptions| ByteQueue::create(&segment, "q", &options);
    refused(make(ByteQueueOptions::new(0)), Status::Invalid, &["at least 1 byte"]);
    refused(make(ByteQueueOptions::new(u64::MAX)), Status::Invalid, &["more than this machine can address"]);
    refused(make(ByteQueueOptions::new(100).align(12)), Status::Invalid, &["an alignment of 12", "8, 16, 32 and 64"]);
    refused(make(ByteQueueOptions::new(100).align(128)), Status::Invalid, &["an alignment of 128"]);
    refused(make(ByteQueueOptions::new(5 << 20)), Status::NoSpace, &["'q'"]);
    refused(ByteQueue::open(&segment, "q"), Status::NotFound, &["'q'"]);

    let options = ByteQueueOptions::new(4000).type_tag(7);
    let queue = make(options).unwrap();
    assert_eq!((queue.name(), queue.longest()), ("q", 4096 - 16));
    assert!(options.bytes().unwrap() >= 2 * 4096);
    refused(make(options.exclusive()), Status::Exists, &["'q'"]);
    refused(make(options.align(16)), Status::Mismatch, &["'q'", "messages aligned to 8", "not messages aligned to 16"]);
    refused(make(options.times()), Status::Mismatch, &["aligned to 8", "messages with times"]);
    let stream = ByteQueueOptions::stream(4096).type_tag(7);
    refused(make(stream), Status::Mismatch, &["messages aligned to 8", "not bytes without borders"]);
    refused(make(ByteQueueOptions::new(5000).type_tag(7)), Status::Mismatch, &["a buffer of 4096 bytes", "5000"]);
    refused(make(ByteQueueOptions::new(4000).type_tag(8)), Status::Mismatch, &["'q'", "7", "8"]);
    let open_as = |options| ByteQueue::open_as(&segment, "q", &options);
    assert!(open_as(ByteQueueOptions::new(0)).is_ok(), "any capacity, and no tag");
    refused(open_as(ByteQueueOptions::new(0).align(32)), Status::Mismatch, &["aligned to 32"]);
    refused(open_as(ByteQueueOptions::new(4081)), Status::Mismatch, &["4081"]);
    refused(Queue::<u64>::open(&segment, "q"), Status::Mismatch, &["a byte queue", "not a queue"]);
    drop(Queue::<u64>::create(&segment, "other", &QueueOptions::new(2)).unwrap());
    refused(ByteQueue::open(&segment, "other"), Status::Mismatch, &["is a queue, not a byte queue"]);
    let entry = segment.find("q").unwrap().unwrap();
    assert_eq!((entry.kind, entry.count, entry.elem_size, entry.elem_align), (Kind::ByteQueue, 4096, 1, 8));
    assert!(entry.offset.is_multiple_of(4096));
}

#[test]
fn messages_come_as_they_were_sent() {
    for options in [ByteQueueOptions::new(4000), ByteQueueOptions::new(4000).align(64).times()] {
        on(&options, |segment, queue| {
            let timed = segment.find("q").unwrap().unwrap().elem_align == 64;
            assert!(queue.receive().unwrap().is_none());
            assert!(queue.send(b"", 1).unwrap() && queue.send(b"two", 2).unwrap());
            let mut place = queue.reserve(100).unwrap().unwrap();
            assert_eq!((place.len(), place.is_empty()), (100, false));
            place.write(2, b"ree").unwrap();
            // SAFETY: reserved.
            unsafe { place.as_mut_ptr().copy_from_nonoverlapping(b"th".as_ptr(), 2) };
            refused(place.write(99, b"xx"), Status::Invalid, &["2 bytes at 99", "100 reserved"]);
            refused(place.write(usize::MAX, b"x"), Status::Invalid, &["100 reserved"]);
            place.commit(5, u64::MAX).unwrap();

            let message = queue.receive().unwrap().unwrap();
            assert_eq!((message.len(), message.is_empty(), message.tag()), (0, true, 1));
            assert_eq!(message.time() > 0, timed);
            let first = message.time();
            drop(message);
            let message = queue.receive().unwrap().unwrap();
            // SAFETY: this test keeps to the rules.
            assert_eq!((unsafe { message.as_slice() }, message.tag()), (b"two".as_slice(), 2));
            assert!(message.time() >= first && (message.as_ptr() as u64).is_multiple_of(if timed { 64 } else { 8 }));
            drop(message);
            let mut small = [0; 4];
            refused(queue.receive_into(&mut small), Status::Invalid, &["'q'", "5 bytes", "the buffer has 4"]);
            let mut buffer = [0; 8];
            assert_eq!(queue.receive_into(&mut buffer).unwrap(), Some((5, u64::MAX)), "it is still there");
            assert_eq!(&buffer, b"three\0\0\0");
            assert_eq!(queue.receive_into(&mut buffer).unwrap(), None);
            let stats = queue.stats().unwrap();
            assert_eq!((stats.sent, stats.received, stats.used, stats.ended), (3, 3, 0, false));
            assert_eq!((stats.capacity, stats.longest), (4096, queue.longest()));
            assert!(stats.bytes_sent == stats.bytes_received && stats.empty >= 2 && stats.high_water > 0);
            assert!(stats.producer != 0 && stats.producer == stats.consumer);
        });
    }
}

#[test]
fn a_stream_has_no_borders() {
    on(&ByteQueueOptions::stream(4096), |_, stream| {
        assert_eq!(stream.longest(), 4096);
        assert!(put(&stream, b"one") && put(&stream, b"two"));
        assert_eq!(take(&stream, 7).unwrap(), None);
        let first = stream.consume(4, |_, there| {
            assert_eq!(there, 6);
            refused(stream.consume(1, |_, _| 1), Status::Busy, &["'q'", "still held"]);
            4
        });
        assert_eq!(first.unwrap(), Some(4));
        assert_eq!(take(&stream, 1).unwrap().unwrap(), b"wo");
        let wrong = &["'q'", "bytes without borders, not messages"];
        refused(stream.send(b"x", 0), Status::Invalid, wrong);
        refused(stream.receive(), Status::Invalid, wrong);
        refused(stream.receive_into(&mut [0; 9]), Status::Invalid, wrong);
        refused(stream.receive_batch().unwrap().next(), Status::Invalid, wrong);
        assert!(put(&stream, b"abc"));
        refused(
            stream.consume(1, |_, there| there + 1),
            Status::Invalid,
            &["'q'", "has not shown this handle 4 bytes"],
        );
        refused(stream.consume(4097, |_, there| there), Status::Invalid, &["4097 bytes never fit", "4096 at most"]);
        assert_eq!(take(&stream, 3).unwrap().unwrap(), b"abc");
        for _ in 0..3 {
            assert!(put(&stream, &[7; 4096]) && !put(&stream, b"x"));
            assert_eq!(take(&stream, 4096).unwrap().unwrap(), [7; 4096]);
        }
    });
    on(&ByteQueueOptions::new(4000), |_, queue| {
        refused(take(&queue, 1), Status::Invalid, &["'q'", "messages, not bytes without borders"]);
    });
}

#[test]
fn what_is_too_long_is_refused_and_what_has_no_room_now_is_not_sent() {
    on(&ByteQueueOptions::new(4000), |_, queue| {
        let longest = queue.longest() as usize;
        let too_long = vec![1; longest + 1];
        let words = &["'q'", "4081 bytes never fit", "4080 at most"];
        refused(queue.send(&too_long, 0), Status::Invalid, words);
        refused(queue.send_wait(&too_long, 0, FOREVER), Status::Invalid, words);
        refused(queue.reserve(longest + 1), Status::Invalid, words);
        refused(queue.reserve_wait(usize::MAX, FOREVER), Status::Invalid, &["never fit"]);
        assert!(queue.send(&too_long[1..], 0).unwrap());
        assert!(!queue.send(b"", 0).unwrap());
        assert!(queue.reserve(0).unwrap().is_none());
        let start = Instant::now();
        assert!(!queue.send_wait(b"", 0, Duration::from_millis(30)).unwrap());
        assert!(queue.reserve_wait(0, Duration::from_millis(30)).unwrap().is_none());
        assert!(start.elapsed() >= Duration::from_millis(60));
        drop(queue.receive().unwrap().unwrap());
        assert!(queue.receive_wait(Duration::from_millis(30)).unwrap().is_none());
        assert!(queue.stats().unwrap().full >= 4);
    });
}

#[test]
fn one_thing_at_a_time_is_held_at_each_end() {
    on(&ByteQueueOptions::new(4000), |_, queue| {
        let place = queue.reserve(10).unwrap().unwrap();
        let held = &["a reservation of byte queue 'q' is still held"];
        refused(queue.send(b"x", 0), Status::Busy, held);
        refused(queue.reserve(1), Status::Busy, held);
        refused(queue.end(), Status::Busy, held);
        assert!(queue.receive().unwrap().is_none(), "the other end is free");
        refused(place.commit(11, 0), Status::Invalid, &["11 bytes", "10 reserved"]);
        assert!(queue.receive().unwrap().is_none(), "given up");
        assert!(queue.send(b"a", 1).unwrap() && queue.send(b"b", 2).unwrap() && queue.send(b"c", 3).unwrap());
        let message = queue.receive().unwrap().unwrap();
        let held = &["a message of byte queue 'q' is still held"];
        refused(queue.receive(), Status::Busy, held);
        refused(queue.receive_into(&mut [0; 9]), Status::Busy, held);
        refused(queue.receive_batch(), Status::Busy, held);
        assert_eq!(queue.stats().unwrap().received, 0);
        drop(message);
        let mut batch = queue.receive_batch().unwrap();
        refused(queue.receive(), Status::Busy, held);
        assert_eq!(batch.next().unwrap().unwrap().tag(), 2);
        assert_eq!(batch.next().unwrap().unwrap().to_vec(), b"c");
        assert!(batch.next().unwrap().is_none());
        assert_eq!(queue.stats().unwrap().received, 1);
        drop(batch);
        assert_eq!(queue.stats().unwrap().received, 3);
    });
}

#[test]
fn an_end_belongs_to_one_handle_until_it_is_dropped() {
    on(&ByteQueueOptions::new(4000), |_, queue| {
        let other = queue.try_clone().unwrap();
        assert!(queue.send(b"a", 1).unwrap() && queue.send(b"b", 2).unwrap());
        let one = |noun| format!("byte queue 'q' has one {noun} at a time, and that is another handle");
        refused(other.send(b"x", 0), Status::Busy, &[&one("producer")]);
        refused(other.end(), Status::Busy, &[&one("producer")]);
        let held = other.receive().unwrap().unwrap();
        refused(queue.receive(), Status::Busy, &[&one("consumer")]);
        std::mem::forget(held);
        drop(other);
        assert_eq!(queue.receive().unwrap().unwrap().tag(), 1, "what was received and not released comes again");
    });
    let name = Name::new();
    let segment = fresh(&name);
    let queue = ByteQueue::create(&segment, "q", &ByteQueueOptions::new(4000)).unwrap();
    assert!(queue.send(b"a", 1).unwrap());
    let reader = Segment::open(&name, &SegmentOptions::new().read_only()).unwrap();
    let looks_on = ByteQueue::open(&reader, "q").unwrap();
    assert_eq!(looks_on.stats().unwrap().sent, 1);
    refused(looks_on.send(b"x", 1), Status::ReadOnly, &[]);
    refused(looks_on.receive(), Status::ReadOnly, &[]);
    refused(looks_on.end(), Status::ReadOnly, &[]);
}

#[test]
fn after_the_end_what_is_there_is_taken_and_nothing_comes() {
    for framed in [true, false] {
        let options = if framed { ByteQueueOptions::new(4000) } else { ByteQueueOptions::stream(4000) };
        on(&options, |_, queue| {
            assert!(put(&queue, b"last"));
            queue.end().unwrap();
            queue.end().unwrap();
            let words = &["the stream has ended"];
            refused(queue.reserve(1), Status::Closed, words);
            refused(queue.reserve_wait(1, FOREVER), Status::Closed, words);
            assert!(queue.stats().unwrap().ended);
            if framed {
                refused(queue.send(b"x", 0), Status::Closed, words);
                refused(queue.send_wait(b"x", 0, FOREVER), Status::Closed, words);
                assert_eq!(queue.receive_wait(FOREVER).unwrap().unwrap().to_vec(), b"last");
                refused(queue.receive(), Status::Closed, words);
                refused(queue.receive_wait(FOREVER), Status::Closed, words);
                refused(queue.receive_into(&mut [0; 9]), Status::Closed, words);
                refused(queue.receive_batch().unwrap().next(), Status::Closed, words);
            } else {
                refused(take(&queue, 5), Status::Closed, words);
                assert_eq!(take(&queue, 1).unwrap().unwrap(), b"last");
                refused(take(&queue, 1), Status::Closed, words);
            }
        });
    }
}

/// The length of message `number` of a run: all are about as likely, and the longest and the empty one are among them.
fn length(seed: u64, number: u64, longest: u64) -> usize {
    let random = mix(seed ^ number);
    (match random % 16 {
        0 => longest,
        1 => 0,
        2..8 => random >> 32 & 63,
        _ => (random >> 32) % (longest + 1),
    }) as usize
}

fn mix(mut word: u64) -> u64 {
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// The bytes of a stream from `position` on.
fn fill(seed: u64, position: u64, bytes: &mut [u8]) {
    for (at, byte) in (position..).zip(bytes) {
        *byte = (mix(seed ^ (at / 8)) >> (at % 8 * 8)) as u8;
    }
}

#[track_caller]
fn same(seed: u64, position: u64, bytes: &[u8]) {
    let mut expected = vec![0; bytes.len()];
    fill(seed, position, &mut expected);
    let differs = bytes.iter().zip(&expected).position(|(a, b)| a != b);
    assert_eq!(differs, None, "at byte {position} + {differs:?} of {}", bytes.len());
}

/// `produce SEGMENT COUNT SEED` or `consume …`: messages of random lengths, in every manner, in order.
#[test]
#[ignore = "not a test: a process that tests start"]
fn one_end() {
    let Some(words) = role_words() else { return };
    println!();
    let segment = Segment::open(&words[1], &SegmentOptions::new()).unwrap();
    let queue = ByteQueue::open(&segment, "q").unwrap();
    let (count, seed): (u64, u64) = (words[2].parse().unwrap(), words[3].parse().unwrap());
    let framed = segment.find("q").unwrap().unwrap().flags != 0;
    match (words[0].as_str(), framed) {
        ("produce", true) => {
            for number in 0..count {
                let mut bytes = vec![0; length(seed, number, queue.longest())];
                fill(seed, number << 32, &mut bytes);
                if number % 3 == 0 {
                    assert!(queue.send_wait(&bytes, number, FOREVER).unwrap());
                } else {
                    let more = (bytes.len() + number as usize % 50).min(queue.longest() as usize);
                    let mut place = queue.reserve_wait(more, FOREVER).unwrap().unwrap();
                    place.write(0, &bytes).unwrap();
                    place.commit(bytes.len(), number).unwrap();
                }
            }
            queue.end().unwrap();
        }
        ("produce", false) => {
            let (mut position, mut turn) = (0, 0);
            while position < count {
                let bytes = length(seed, turn, queue.longest()).min((count - position) as usize);
                let mut place = queue.reserve_wait(bytes, FOREVER).unwrap().unwrap();
                // SAFETY: reserved.
                fill(seed, position, unsafe { std::slice::from_raw_parts_mut(place.as_mut_ptr(), bytes) });
                let some = if turn % 3 == 0 { bytes } else { bytes / 2 };
                place.commit(some, 0).unwrap();
                (position, turn) = (position + some as u64, turn + 1);
            }
            queue.end().unwrap();
        }
        ("consume", true) => {
            let mut buffer = vec![0; queue.longest() as usize];
            let mut number = 0;
            let mut check = |tag: u64, bytes: &[u8]| {
                assert_eq!((tag, bytes.len()), (number, length(seed, number, queue.longest())), "in order");
                same(seed, number << 32, bytes);
                number += 1;
            };
            loop {
                match queue.receive_wait(FOREVER) {
                    Err(error) if error.status() == Status::Closed => break,
                    // SAFETY: the producer keeps to the rules.
                    message => message.unwrap().map(|one| check(one.tag(), unsafe { one.as_slice() })).unwrap(),
                }
                if let Ok(Some((bytes, tag))) = queue.receive_into(&mut buffer) {
                    check(tag, &buffer[..bytes]);
                }
                let mut batch = queue.receive_batch().unwrap();
                while let Ok(Some(message)) = batch.next() {
                    check(message.tag(), &message.to_vec());
                }
            }
            assert_eq!(number, count);
        }
        _ => {
            let (mut position, mut turn) = (0, 0);
            loop {
                let look = |data, there| {
                    // SAFETY: the producer keeps to the rules.
                    same(seed, position, unsafe { std::slice::from_raw_parts(data, there) });
                    if turn % 2 == 0 { there } else { there / 2 }
                };
                match queue.consume(1, look) {
                    Err(error) if error.status() == Status::Closed => break,
                    used => position += used.unwrap().unwrap_or(0) as u64,
                }
                turn += 1;
            }
            assert_eq!(position, count);
        }
    }
}

#[test]
fn messages_of_every_length_go_from_process_to_process_in_order() {
    let mut random = Random::new();
    let manners = [
        (ByteQueueOptions::new(4000), 20_000),
        (ByteQueueOptions::new(100_000).align(64).times(), 2_000),
        (ByteQueueOptions::stream(4096), 10_000_000),
        (ByteQueueOptions::stream(100_000), 30_000_000),
    ];
    for (options, count) in manners {
        let name = Name::new();
        let segment = fresh(&name);
        let queue = ByteQueue::create(&segment, "q", &options).unwrap();
        let words = format!("{name} {count} {}", random.below(1 << 60));
        let peers = ["produce", "consume"].map(|verb| Peer::role("one_end", &format!("{verb} {words}")));
        peers.into_iter().for_each(|peer| drop(peer.finish()));
        let stats = queue.stats().unwrap();
        assert!(stats.ended && stats.used == 0 && stats.bytes_sent == stats.bytes_received);
        assert_eq!((stats.producer, stats.consumer), (0, 0));
    }
}

/// A message's place in the order of all: producers come one after the other, and number theirs.
fn place(producer: u64, number: u64) -> u64 {
    producer << 40 | number
}

/// `produce SEGMENT LOG PRODUCER` or `consume SEGMENT LOG 0`, until it is killed. Logs: word 0, what is about to be done; word 1, what is done for sure.
#[test]
#[ignore = "not a test: a process that tests start"]
fn mortal() {
    let Some(words) = role_words() else { return };
    println!();
    let segment = Segment::open(&words[1], &SegmentOptions::new()).unwrap();
    let queue = ByteQueue::open(&segment, "q").unwrap();
    let (log, producer) = (Log::open(words[2].as_ref()), words[3].parse::<u64>().unwrap());
    let framed = segment.find("q").unwrap().unwrap().flags != 0;
    let mut random = Random::new();
    match (words[0].as_str(), framed) {
        ("produce", true) => {
            for number in 0.. {
                let place = place(producer, number);
                let mut bytes = vec![0; length(7, place, queue.longest())];
                fill(7, place, &mut bytes);
                log.set(0, number + 1);
                if random.below(2) == 0 {
                    assert!(queue.send_wait(&bytes, place, FOREVER).unwrap());
                } else {
                    drop(queue.reserve_wait(5, FOREVER).unwrap());
                    let mut reserved = queue.reserve_wait(bytes.len(), FOREVER).unwrap().unwrap();
                    reserved.write(0, &bytes).unwrap();
                    reserved.commit(bytes.len(), place).unwrap();
                }
                log.set(1, number + 1);
            }
        }
        ("produce", false) => loop {
            // The next byte is the next byte, whoever writes it.
            let position = queue.stats().unwrap().bytes_sent;
            assert!(position >= log.get(1), "{position} was committed and is not there: {}", log.get(1));
            let bytes = length(random.next(), position, queue.longest()).max(1);
            let mut place = queue.reserve_wait(bytes, FOREVER).unwrap().unwrap();
            // SAFETY: reserved.
            fill(7, position, unsafe { std::slice::from_raw_parts_mut(place.as_mut_ptr(), bytes) });
            let some = bytes - random.below(bytes as u64) as usize;
            place.commit(some, 0).unwrap();
            log.set(1, position + some as u64);
        },
        ("consume", true) => {
            // What was seen, and what was released for sure; both are places of messages, plus 1.
            let (mut seen, released) = (log.get(0), log.get(1));
            let mut first = true;
            let mut see = |message: &shmds::Message<'_>| {
                let place = message.tag();
                assert_eq!(message.len(), length(7, place, queue.longest()));
                same(7, place, &message.to_vec());
                assert!(place >= released, "it was released: {place:x}, {released:x}");
                // The first may be one that was seen and not released; then all that follow it come again, too.
                let next = if first && place < seen { place } else { seen };
                first = false;
                let follows = place == next || place >> 40 > next >> 40 && place as u32 == 0;
                assert!(follows, "{place:x} after {next:x}");
                seen = place + 1;
                log.set(2 + (place >> 40), (place & 0xff_ffff_ffff) + 1);
                log.set(0, log.get(0).max(seen));
                seen
            };
            loop {
                let last = if random.below(2) == 0 {
                    see(&queue.receive_wait(FOREVER).unwrap().unwrap())
                } else {
                    let mut batch = queue.receive_batch().unwrap();
                    let mut last = None;
                    while let Some(message) = batch.next().unwrap() {
                        last = Some(see(&message));
                    }
                    let Some(last) = last else { continue };
                    last
                };
                log.set(1, last);
            }
        }
        _ => loop {
            let position = queue.stats().unwrap().bytes_received;
            assert!(position >= log.get(1), "{position} was consumed before: {}", log.get(1));
            let look = |data, there| {
                // SAFETY: the producer keeps to the rules.
                same(7, position, unsafe { std::slice::from_raw_parts(data, there) });
                1 + random.below(there as u64) as usize
            };
            if let Some(used) = queue.consume(1, look).unwrap() {
                log.set(1, position + used as u64);
            }
        },
    }
}

#[test]
fn killed_ends_are_succeeded_and_nothing_is_lost_or_torn_or_out_of_order() {
    let (mut random, logs) = (Random::new(), TempDir::new());
    let deaths = if is_soak() { 3000 } else { 120 };
    let manners =
        [ByteQueueOptions::new(4000), ByteQueueOptions::new(20_000).align(32).times(), ByteQueueOptions::stream(9000)];
    for (at, options) in manners.into_iter().enumerate() {
        let name = Name::new();
        let segment = fresh(&name);
        let queue = ByteQueue::create(&segment, "q", &options).unwrap();
        let framed = at < 2;
        let consumed = Log::create(logs.path(&format!("{at}-consumer")), 2 + deaths);
        // Each framed producer begins anew; a stream goes on.
        let mut produced = vec![Log::create(logs.path(&format!("{at}-producer-0")), 2)];
        let start = |verb: &str, log: &Log, number: usize| {
            Peer::role("mortal", &format!("{verb} {name} {} {number}", log.word_for_peer()))
        };
        let mut producer = start("produce", &produced[0], 0);
        let mut consumer = start("consume", &consumed, 0);
        for _ in 0..deaths {
            let done = || [produced.last().unwrap().get(1), consumed.get(1)];
            let before = done();
            eventually("both work", || done()[0] > before[0] && done()[1] > before[1]);
            std::thread::sleep(random.micros(0, 5000));
            if random.below(2) == 0 {
                producer.kill();
                if framed {
                    let number = produced.len();
                    produced.push(Log::create(logs.path(&format!("{at}-producer-{number}")), 2));
                }
                producer = start("produce", produced.last().unwrap(), produced.len() - 1);
            } else {
                consumer.kill();
                consumer = start("consume", &consumed, 0);
            }
        }
        producer.kill();
        eventually("all is consumed", || queue.stats().unwrap().used == 0);
        let seen = |number: usize| consumed.get(2 + number as u64);
        let last = produced.len() - 1;
        eventually("the last is logged", || !framed || seen(last) >= produced[last].get(1));
        consumer.kill();
        for (number, log) in produced.iter().enumerate().filter(|_| framed) {
            let (about, done) = (log.get(0), log.get(1));
            assert!((done..=about).contains(&seen(number)), "producer {number}: {done} … {about}, {}", seen(number));
        }
        let stats = queue.stats().unwrap();
        assert!(stats.bytes_sent > 1000 * deaths, "somebody is stuck: {stats:?}");
        say(&format!("{deaths} deaths, {} bytes, {} messages", stats.bytes_sent, stats.sent));
    }
}

/// `family NAME`: a parent with both ends of a queue, and its child.
#[test]
#[ignore = "not a test: a process that tests start"]
fn family() {
    let Some(words) = role_words() else { return };
    let segment = Segment::create(&words[0], &sized().exclusive()).unwrap();
    let queue = ByteQueue::create(&segment, "q", &ByteQueueOptions::new(4000)).unwrap();
    assert!(queue.send(b"a", 1).unwrap() && queue.send(b"b", 2).unwrap());
    let held = queue.receive().unwrap().unwrap();
    let parent = format!("process {}", std::process::id());
    // SAFETY: the only thread that does anything; the child leaves by _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let own = queue.try_clone().unwrap();
            for queue in [&queue, &own] {
                refused(queue.send(b"x", 0), Status::Busy, &["'q'", "producer", &parent]);
                refused(queue.reserve(1), Status::Busy, &["'q'", "producer", &parent]);
                refused(queue.end(), Status::Busy, &["'q'", "producer", &parent]);
            }
            refused(own.receive(), Status::Busy, &["'q'", "consumer", &parent]);
            assert_eq!(held.to_vec(), b"a", "what the parent received is there");
        }));
        // SAFETY: no preconditions.
        unsafe { libc::_exit(i32::from(outcome.is_err())) };
    }
    let mut status = 0;
    // SAFETY: a live integer; our own child.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "the child did not end well");
    assert_eq!(queue.stats().unwrap().received, 0, "the child released nothing");
    drop(held);
    assert_eq!(queue.receive().unwrap().unwrap().tag(), 2);
    assert!(queue.send(b"c", 3).unwrap(), "the parent's ends are still the parent's");
}

#[test]
fn a_forked_child_has_no_end_of_its_parents() {
    let name = Name::new();
    Peer::role("family", &name).finish();
    assert!(!name.exists());
}

#[test]
fn those_who_sleep_are_woken_by_what_they_wait_for_and_by_the_end() {
    on(&ByteQueueOptions::new(4000), |_, queue| {
        std::thread::scope(|scope| {
            let consumer = queue.try_clone().unwrap();
            consumer.set_spin(Duration::ZERO);
            let waiting = scope.spawn(move || {
                let first = consumer.receive_wait(SOON).unwrap().unwrap().tag();
                std::thread::sleep(Duration::from_millis(30));
                let second = consumer.receive_wait(SOON).unwrap().unwrap().tag();
                (first, second, consumer.receive_wait(FOREVER).map(|_| ()))
            });
            std::thread::sleep(Duration::from_millis(20));
            assert!(queue.send(&vec![1; queue.longest() as usize], 1).unwrap());
            queue.set_spin(Duration::ZERO);
            assert!(queue.send_wait(&vec![2; queue.longest() as usize], 2, SOON).unwrap());
            std::thread::sleep(Duration::from_millis(60));
            queue.end().unwrap();
            let (first, second, third) = waiting.join().unwrap();
            assert_eq!((first, second), (1, 2));
            refused(third, Status::Closed, &["ended"]);
        });
    });
}

/// `scribble SEGMENT OFFSET BYTES`: writes nonsense to a queue's control words and frames, until it is killed; not for ever.
#[test]
#[ignore = "not a test: a process that tests start"]
fn scribble() {
    let Some(words) = role_words() else { return };
    let file = std::fs::File::options().read(true).write(true).open(Name::path_of(&words[0])).unwrap();
    let map = MmapOptions::new().map_raw(&file).unwrap();
    let (offset, bytes): (usize, usize) = (words[1].parse().unwrap(), words[2].parse().unwrap());
    assert!(offset + 4096 + bytes <= map.len());
    let word = |at: usize| {
        // SAFETY: inside the mapping and aligned; atomics.
        unsafe { &*map.as_mut_ptr().add(offset + at / 8 * 8).cast::<AtomicU64>() }
    };
    let mut random = Random::new();
    println!("\nscribbles");
    // Nobody stops it if the test has crashed.
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let at = match random.below(64) {
            // Events and ends; the producer's line; the consumer's.
            0 => random.below(40) as usize,
            1 => 128 + random.below(24) as usize,
            2 => 256 + random.below(32) as usize,
            // Now and then, all makes sense again.
            3..6 => {
                (0..384).step_by(8).for_each(|at| word(at).store(0, Ordering::Relaxed));
                continue;
            }
            _ => 4096 + random.below(bytes as u64) as usize,
        };
        let value = match random.below(4) {
            0 => random.next(),
            1 => random.next() >> random.below(64),
            // What was there before, a little different.
            2 => word(at).load(Ordering::Relaxed).wrapping_add(random.below(64)),
            _ => 0,
        };
        word(at).store(value, Ordering::Relaxed);
        if random.below(4) == 0 {
            std::thread::sleep(random.micros(1, 300));
        }
    }
}

#[test]
fn a_peer_that_scribbles_makes_errors_and_nothing_worse() {
    let mut random = Random::new();
    let _alone = measuring();
    for options in [ByteQueueOptions::new(4000), ByteQueueOptions::new(9000).times(), ByteQueueOptions::stream(4096)] {
        let name = Name::new();
        let segment = fresh(&name);
        drop(ByteQueue::create(&segment, "q", &options).unwrap());
        let entry = segment.find("q").unwrap().unwrap();
        let mut scribbler = Peer::role("scribble", &format!("{name} {} {}", entry.offset, entry.count));
        scribbler.line("scribbles");
        let over = AtomicBool::new(false);
        let longest_call = AtomicU64::new(0);
        let counts = std::thread::scope(|scope| {
            let workers = [true, false].map(|produces| {
                let seed = random.next();
                let (segment, over, longest_call, framed) = (&segment, &over, &longest_call, entry.flags != 0);
                scope.spawn(move || {
                    let (mut good, mut bad, mut turn) = (0_u64, 0_u64, 0_u64);
                    let timed = |call: &mut dyn FnMut() -> shmds::Result<()>| {
                        let start = Instant::now();
                        let outcome = call();
                        longest_call.fetch_max(start.elapsed().as_micros() as u64, Ordering::Relaxed);
                        outcome
                    };
                    while !over.load(Ordering::Relaxed) {
                        let mut queue = None;
                        timed(&mut || ByteQueue::open(segment, "q").map(|opened| queue = Some(opened))).unwrap();
                        let queue = queue.unwrap();
                        for _ in 0..100 {
                            turn += 1;
                            let limit = Duration::from_millis(mix(seed ^ turn) % 5);
                            let bytes = vec![7; length(seed, turn, queue.longest())];
                            let outcome = timed(&mut || match (produces, framed) {
                                (true, true) if turn % 2 == 0 => queue.send_wait(&bytes, turn, limit).map(drop),
                                (true, _) => queue.reserve_wait(bytes.len(), limit).and_then(|place| {
                                    let Some(mut place) = place else { return Ok(()) };
                                    place.write(0, &bytes)?;
                                    place.commit(bytes.len() / 2, 0)
                                }),
                                (false, true) if turn % 3 == 0 => {
                                    let mut batch = queue.receive_batch()?;
                                    while let Some(message) = batch.next()? {
                                        assert!(message.to_vec().len() as u64 <= queue.longest());
                                    }
                                    Ok(())
                                }
                                (false, true) if turn % 3 == 1 => {
                                    queue.receive_into(&mut vec![0; queue.longest() as usize]).map(drop)
                                }
                                (false, true) => queue.receive_wait(limit).map(|message| {
                                    message.map(|message| message.to_vec().len());
                                }),
                                (false, false) => take(&queue, bytes.len().max(1)).map(drop),
                            });
                            let _ = timed(&mut || queue.stats().map(drop));
                            match outcome {
                                Ok(()) => good += 1,
                                Err(error) => {
                                    bad += 1;
                                    let expected = [Status::Corrupt, Status::Busy, Status::Closed];
                                    assert!(expected.contains(&error.status()), "{error}");
                                    break;
                                }
                            }
                        }
                    }
                    (good, bad)
                })
            });
            std::thread::sleep(Duration::from_secs(2));
            over.store(true, Ordering::Relaxed);
            workers.map(|worker| worker.join().unwrap())
        });
        scribbler.kill();
        let longest_call = Duration::from_micros(longest_call.into_inner());
        say(&format!("calls that went well and that did not: {counts:?}; the longest took {longest_call:?}"));
        assert!(longest_call < Duration::from_secs(1));
        segment.reap().unwrap();
        segment.remove("q").unwrap();
        assert_eq!(segment.stats().unwrap().used, 0);
        on(&options, |_, queue| assert!(queue.stats().unwrap().used == 0));
    }
}
