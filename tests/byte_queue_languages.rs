//! What one language sends through a byte queue, every other receives: whole, in order, and to the end.
//!
//! `SHMDS_SOAK=1` sends 10^8 messages altogether.

mod support;

use std::time::Instant;

use shmds::{ByteQueue, ByteQueueOptions, ByteQueueStats, Segment, SegmentOptions};
use support::*;

/// Messages or bytes from every language to every other through a fresh queue; `sent` gets what the queue counted.
fn every_pair(what: &str, options: &ByteQueueOptions, count: u64, most: u64, sent: impl Fn(&ByteQueueStats)) {
    let mut random = Random::new();
    let (begun, mut moved, mut copied, mut batches) = (Instant::now(), 0, 0, 0);
    for from in EVERY_LANGUAGE {
        for to in EVERY_LANGUAGE {
            let name = Name::new();
            let segment = SegmentOptions::new().size(options.bytes().unwrap() + (1 << 20)).exclusive();
            let segment = Segment::create(&name, &segment).unwrap();
            let queue = ByteQueue::create(&segment, "q", options).unwrap();
            let words = format!("{name} {count} {} {}", random.below(1 << 60), most.min(queue.longest()));
            let sender = from.start_bytes(&format!("send {words}"));
            let said = to.start_bytes(&format!("take {words}")).finish();
            sender.finish();
            let line = said.lines().find(|line| line.starts_with("took ")).unwrap_or_default();
            let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
            let [took, some, others] = numbers[..] else { panic!("{from:?} to {to:?}: {said}") };
            (copied, batches) = (copied + some, batches + others);
            assert_eq!(took, count, "{from:?} to {to:?}");
            let stats = queue.stats().unwrap();
            assert!(stats.ended && stats.used == 0 && stats.bytes_sent == stats.bytes_received, "{stats:?}");
            assert_eq!((stats.producer, stats.consumer), (0, 0), "{from:?} to {to:?}");
            sent(&stats);
            moved += stats.bytes_sent;
        }
    }
    let took = begun.elapsed();
    let rate = 9.0 * count as f64 / took.as_secs_f64() / 1e6;
    say(&format!(
        "byte queue, {what}: 9 pairs, {count} each in {took:.1?}, {rate:.2} million a second, {moved} bytes; {copied} copied, {batches} in batches"
    ));
}

#[test]
fn every_language_takes_the_messages_of_every_other_in_order_and_to_the_end() {
    let _alone = measuring();
    for options in [ByteQueueOptions::new(4000), ByteQueueOptions::new(60_000).align(64).times()] {
        every_pair("messages of every length", &options, 5000, u64::MAX, |stats| {
            assert_eq!((stats.sent, stats.received), (5000, 5000));
            assert!(stats.full > 0, "it was never full, so nobody ever waited for room: {stats:?}");
        });
    }
    let count = if is_soak() { 11_111_112 } else { 20_000 };
    every_pair("short messages", &ByteQueueOptions::new(60_000), count, 64, |stats| {
        assert_eq!((stats.sent, stats.received), (count, count));
    });
}

#[test]
fn every_language_takes_the_stream_of_every_other_to_the_end() {
    let _alone = measuring();
    let count = if is_soak() { 100_000_000 } else { 1_000_000 };
    every_pair("stream", &ByteQueueOptions::stream(4096), count, 1000, |stats| assert_eq!(stats.bytes_sent, count));
}
