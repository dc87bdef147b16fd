//! What one language sends, every other receives: whole, in order, each element once.

mod support;

use shmds::{Queue, QueueOptions, Segment};
use support::*;

const COUNT: u64 = 20_000;
const CAPACITY: u64 = 128;

fn queue(segment: &Segment, is_spsc: bool) -> Queue<Message> {
    let options = QueueOptions::new(CAPACITY);
    Queue::create(segment, "q", &if is_spsc { options.spsc() } else { options }).unwrap()
}

/// The line a consumer ends with.
fn verdict(count: u64) -> String {
    format!("consumed {count} lost-order 0 bad 0")
}

fn every_pair(is_spsc: bool, style: &str) {
    let name = Name::new();
    let segment = fresh(&name);
    for from in EVERY_LANGUAGE {
        for to in EVERY_LANGUAGE {
            let queue = queue(&segment, is_spsc);
            let consumer = to.start(format!("consume {name} q {COUNT} {style}").trim_end());
            let producer = from.start(format!("produce {name} q 1 {COUNT} {style}").trim_end());
            producer.finish();
            let said = consumer.finish();
            assert!(said.lines().any(|line| line == verdict(COUNT)), "{from:?} to {to:?} {style}: {said}");
            // COUNT came in rising sequence, and COUNT were sent: each came once.
            let stats = queue.stats();
            assert_eq!((stats.enqueued, stats.dequeued, stats.size), (COUNT, COUNT, 0), "{from:?} to {to:?} {style}");
            segment.remove("q").unwrap();
        }
    }
    drop(segment);
    assert!(!name.exists());
}

#[test]
fn every_language_sends_to_every_other_over_an_mpmc_queue() {
    every_pair(false, "");
}

#[test]
fn every_language_sends_to_every_other_over_an_mpmc_queue_in_bulk() {
    every_pair(false, "--bulk 37");
}

#[test]
fn every_language_sends_to_every_other_over_an_mpmc_queue_in_place() {
    every_pair(false, "--inplace");
}

#[test]
fn every_language_sends_to_every_other_over_an_spsc_queue() {
    every_pair(true, "");
}

#[test]
fn every_language_sends_to_every_other_over_an_spsc_queue_in_bulk() {
    every_pair(true, "--bulk 37");
}

#[test]
fn every_language_sends_to_every_other_over_an_spsc_queue_in_place() {
    every_pair(true, "--inplace");
}

#[test]
fn three_producers_and_three_consumers_in_three_languages_share_one_queue() {
    let name = Name::new();
    let segment = fresh(&name);
    for round in 0..3 {
        let queue = queue(&segment, false);
        let styles = ["", " --bulk 7", " --inplace"];
        let style = |nth: usize| styles[(nth + round) % 3];
        let consumers: Vec<Peer> =
            (0..3).map(|nth| EVERY_LANGUAGE[nth].start(&format!("consume {name} q 0{}", style(nth)))).collect();
        let producers: Vec<Peer> = (0..3)
            .map(|nth| EVERY_LANGUAGE[nth].start(&format!("produce {name} q {nth} {COUNT}{}", style(nth + 1))))
            .collect();
        for producer in producers {
            producer.finish();
        }
        eventually("the queue is drained", || queue.is_empty());
        queue.shutdown().unwrap();
        let total: u64 = consumers.into_iter().map(consumed).sum();
        assert_eq!(total, 3 * COUNT);
        segment.remove("q").unwrap();
    }
}

/// How many elements a consumer says it had, all of them whole and in order.
fn consumed(consumer: Peer) -> u64 {
    let said = consumer.finish();
    let line = said.lines().find(|line| line.starts_with("consumed")).expect("a verdict");
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(words[2..], ["lost-order", "0", "bad", "0"]);
    words[1].parse().unwrap()
}
