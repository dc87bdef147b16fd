//! Queues between threads and handles: who may use them, how they wait, how they end.

mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shmds::{Mode, Queue, QueueOptions, Segment, SegmentOptions, Status};
use support::*;

const SOON: Duration = Duration::from_secs(20);

fn both_modes(capacity: u64) -> [QueueOptions; 2] {
    [QueueOptions::new(capacity), QueueOptions::new(capacity).spsc()]
}

/// Runs a test on a fresh queue of each mode.
fn on_both<T: shmds::Plain>(capacity: u64, test: impl Fn(&Segment, Queue<T>)) {
    for options in both_modes(capacity) {
        let name = Name::new();
        let segment = fresh(&name);
        test(&segment, Queue::create(&segment, "q", &options).unwrap());
    }
}

#[test]
fn the_capacity_is_rounded_up_and_all_of_it_can_be_used() {
    for (asked, got) in [(1, 1), (2, 2), (3, 4), (5, 8), (1000, 1024)] {
        on_both::<u32>(asked, |_, queue| {
            assert_eq!(queue.capacity(), got);
            for round in 0..3 {
                (0..got).for_each(|_| assert!(queue.enqueue(&round).unwrap()));
                assert!(!queue.enqueue(&round).unwrap() && queue.is_full());
                (0..got).for_each(|_| assert_eq!(queue.dequeue().unwrap(), Some(round)));
                assert!(queue.dequeue().unwrap().is_none() && queue.is_empty());
            }
        });
    }
}

#[test]
fn stats_say_what_the_queue_is_and_what_went_through() {
    on_both::<[u64; 3]>(10, |_, queue| {
        (0..12).for_each(|_| _ = queue.enqueue(&[1; 3]).unwrap());
        (0..3).for_each(|_| _ = queue.dequeue().unwrap());
        let stats = queue.stats();
        assert_eq!((stats.capacity, stats.size, stats.elem_size, stats.elem_align), (16, 9, 24, 8));
        assert_eq!((stats.enqueued, stats.dequeued, stats.shut_down), (12, 3, false));
        assert_eq!(queue.name(), "q");
    });
}

#[test]
fn after_a_shutdown_what_is_there_is_taken_and_nothing_comes() {
    on_both::<u64>(8, |segment, queue| {
        let words: &[&str] = &["'q'", "shut down"];
        assert_eq!(queue.enqueue_bulk(&[1, 2, 3, 4]).unwrap(), 4);
        let claim = queue.claim().unwrap().unwrap();
        drop(claim);
        queue.shutdown().unwrap();
        queue.shutdown().unwrap();
        assert!(queue.stats().shut_down);
        refused(queue.enqueue(&5), Status::Closed, words);
        refused(queue.enqueue_wait(&5, SOON), Status::Closed, words);
        refused(queue.enqueue_bulk(&[5]), Status::Closed, words);
        refused(queue.enqueue_bulk_wait(&[5], SOON), Status::Closed, words);
        refused(queue.claim(), Status::Closed, words);
        assert_eq!(queue.dequeue().unwrap(), Some(1));
        assert_eq!(queue.peek().unwrap().unwrap().read(), 2);
        let mut rest = [0; 4];
        assert_eq!(queue.dequeue_bulk(&mut rest).unwrap(), 2);
        assert_eq!(rest, [3, 4, 0, 0]);
        refused(queue.dequeue(), Status::Closed, words);
        refused(queue.dequeue_wait(SOON), Status::Closed, words);
        refused(queue.dequeue_bulk(&mut rest), Status::Closed, words);
        refused(queue.dequeue_bulk_wait(&mut rest, SOON), Status::Closed, words);
        refused(queue.peek(), Status::Closed, words);
        refused(queue.peek_wait(SOON), Status::Closed, words);
        drop(queue);
        let again = Queue::<u64>::open(segment, "q").unwrap();
        refused(again.dequeue(), Status::Closed, words);
    });
}

#[test]
fn a_shutdown_wakes_everybody_who_waits() {
    on_both::<u64>(2, |_, queue| {
        let other = queue.try_clone().unwrap();
        std::thread::scope(|scope| {
            let consumer = queue.try_clone().unwrap();
            let waiting = scope.spawn(move || consumer.dequeue_wait(SOON));
            std::thread::sleep(Duration::from_millis(20));
            other.shutdown().unwrap();
            refused(waiting.join().unwrap(), Status::Closed, &["'q'"]);
        });
    });
    on_both::<u64>(2, |_, queue| {
        assert_eq!(queue.enqueue_bulk(&[1, 2]).unwrap(), 2);
        let other = queue.try_clone().unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(move || (queue.enqueue_wait(&3, SOON), queue));
            std::thread::sleep(Duration::from_millis(20));
            other.shutdown().unwrap();
            refused(waiting.join().unwrap().0, Status::Closed, &["'q'"]);
        });
    });
}

#[test]
fn waiting_ends_when_its_time_is_up_and_not_before() {
    on_both::<u64>(2, |_, queue| {
        let limit = Duration::from_millis(30);
        let timed = |call: &dyn Fn() -> bool| {
            let start = Instant::now();
            assert!(!call());
            assert!((limit..SOON).contains(&start.elapsed()), "{:?}", start.elapsed());
        };
        timed(&|| queue.dequeue_wait(limit).unwrap().is_some());
        timed(&|| queue.peek_wait(limit).unwrap().is_some());
        timed(&|| queue.dequeue_bulk_wait(&mut [0; 3], limit).unwrap() != 0);
        assert_eq!(queue.enqueue_bulk_wait(&[1, 2], limit).unwrap(), 2);
        timed(&|| queue.enqueue_wait(&3, limit).unwrap());
        timed(&|| queue.claim_wait(limit).unwrap().is_some());
        timed(&|| queue.enqueue_bulk_wait(&[3, 4], limit).unwrap() != 0);
        assert_eq!(queue.dequeue().unwrap(), Some(1));
        assert_eq!(queue.enqueue_bulk_wait(&[3, 4], limit).unwrap(), 1, "what is in stays in");
        assert!(!queue.enqueue_wait(&5, Duration::ZERO).unwrap());
    });
}

#[test]
fn whoever_waits_is_woken_by_what_it_waits_for() {
    on_both::<u64>(1, |_, queue| {
        const COUNT: u64 = 2000;
        let consumer = queue.try_clone().unwrap();
        consumer.set_spin(Duration::ZERO);
        queue.set_spin(Duration::ZERO);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                (0..COUNT).for_each(|nth| assert_eq!(consumer.dequeue_wait(SOON).unwrap(), Some(nth)));
            });
            (0..COUNT).for_each(|nth| assert!(queue.enqueue_wait(&nth, SOON).unwrap()));
        });
    });
}

#[test]
fn four_producers_and_four_consumers_lose_and_double_nothing_and_keep_the_order() {
    const EACH: u64 = 50_000;
    let name = Name::new();
    let segment = fresh(&name);
    let queue = Queue::<Message>::create(&segment, "q", &QueueOptions::new(64)).unwrap();
    let (count, sum) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let queue = queue.try_clone().unwrap();
            let (count, sum) = (&count, &sum);
            scope.spawn(move || {
                let mut next = [0; 4];
                loop {
                    let message = match queue.dequeue_wait(SOON) {
                        Ok(message) => message.expect("it comes soon"),
                        Err(error) => break assert_eq!(error.status(), Status::Closed),
                    };
                    assert!(message.is_whole());
                    let from = message.producer as usize;
                    assert!(message.sequence >= next[from], "out of order");
                    next[from] = message.sequence + 1;
                    count.fetch_add(1, Ordering::Relaxed);
                    sum.fetch_add(message.sequence, Ordering::Relaxed);
                }
            });
        }
        let producers: Vec<_> = (0..4)
            .map(|producer| {
                let queue = queue.try_clone().unwrap();
                scope.spawn(move || {
                    (0..EACH).for_each(|nth| assert!(queue.enqueue_wait(&Message::new(producer, nth), SOON).unwrap()));
                })
            })
            .collect();
        producers.into_iter().for_each(|producer| producer.join().unwrap());
        eventually("the queue is drained", || queue.is_empty());
        queue.shutdown().unwrap();
    });
    assert_eq!(count.load(Ordering::Relaxed), 4 * EACH);
    assert_eq!(sum.load(Ordering::Relaxed), 4 * EACH * (EACH - 1) / 2);
}

#[test]
fn an_spsc_queue_has_one_producer_and_one_consumer_until_they_go() {
    let name = Name::new();
    let segment = fresh(&name);
    let first = Queue::<u64>::create(&segment, "q", &QueueOptions::new(8).spsc()).unwrap();
    assert_eq!(first.stats().mode, Mode::Spsc);
    let second = first.try_clone().unwrap();
    let elsewhere = Segment::open(&name, &SegmentOptions::new()).unwrap();
    let third = Queue::<u64>::open(&elsewhere, "q").unwrap();
    assert!(first.enqueue(&1).unwrap());
    refused(second.enqueue(&2), Status::Busy, &["'q'", "producer", "another handle of this attachment"]);
    let process = format!("participant 1 (process {})", std::process::id());
    refused(third.enqueue(&2), Status::Busy, &["'q'", "producer", &process]);
    refused(third.claim(), Status::Busy, &["'q'", "producer", &process]);
    assert_eq!(third.dequeue().unwrap(), Some(1));
    let process = format!("participant 2 (process {})", std::process::id());
    refused(first.dequeue(), Status::Busy, &["'q'", "consumer", &process]);
    refused(second.peek_wait(SOON), Status::Busy, &["'q'", "consumer", &process]);
    drop(first);
    assert!(second.enqueue(&2).unwrap(), "its handle is gone, so the end is free");
    drop(third);
    assert_eq!(second.dequeue().unwrap(), Some(2));
}

#[test]
fn a_new_spsc_producer_does_not_overwrite_what_the_consumer_looks_at() {
    let name = Name::new();
    let segment = fresh(&name);
    let consumer = Queue::<[u64; 8]>::create(&segment, "q", &QueueOptions::new(2).spsc()).unwrap();
    let producer = consumer.try_clone().unwrap();
    assert_eq!(producer.enqueue_bulk(&[[1; 8], [2; 8]]).unwrap(), 2);
    let peek = consumer.peek().unwrap().unwrap();
    drop(producer);
    let producer = consumer.try_clone().unwrap();
    let overwrote = producer.enqueue(&[3; 8]).unwrap();
    assert_eq!(peek.read(), [1; 8], "what is looked at stays as it is");
    assert!(!overwrote, "its place is not free");
    drop(peek);
    assert!(producer.enqueue(&[3; 8]).unwrap());
    assert_eq!((consumer.dequeue().unwrap(), consumer.dequeue().unwrap()), (Some([2; 8]), Some([3; 8])));
}

#[test]
fn claims_hold_their_place_and_order() {
    let name = Name::new();
    let segment = fresh(&name);
    let queue = Queue::<u64>::create(&segment, "q", &QueueOptions::new(4)).unwrap();
    let mut first = queue.claim().unwrap().unwrap();
    let mut second = queue.claim().unwrap().unwrap();
    second.write(2);
    second.commit().unwrap();
    assert_eq!(queue.dequeue().unwrap(), None, "the first comes first");
    first.write(1);
    first.commit().unwrap();
    let (one, two) = (queue.peek().unwrap().unwrap(), queue.peek().unwrap().unwrap());
    assert_eq!((one.read(), two.read()), (1, 2), "each is its own");
    assert_eq!(queue.enqueue_bulk(&[3, 4, 5, 6]).unwrap(), 2, "what is looked at takes room");
    drop((two, one));
    assert_eq!(queue.enqueue_bulk(&[5, 6, 7]).unwrap(), 2);
}

#[test]
fn what_a_closed_handle_held_is_given_back() {
    let name = Name::new();
    let segment = fresh(&name);
    let queue = Queue::<u64>::create(&segment, "q", &QueueOptions::new(2)).unwrap();
    let elsewhere = Segment::open(&name, &SegmentOptions::new()).unwrap();
    let other = Queue::<u64>::open(&elsewhere, "q").unwrap();
    std::mem::forget(other.claim().unwrap().unwrap());
    assert!(queue.enqueue(&2).unwrap());
    assert_eq!(queue.dequeue().unwrap(), None);
    drop(other);
    assert_eq!(queue.dequeue().unwrap(), Some(2), "its claim went with it");
    assert_eq!(elsewhere.find("q").unwrap().unwrap().users, 1);
}

#[test]
fn a_reader_may_look_at_a_queue_and_nothing_else() {
    on_both::<u64>(8, |segment, queue| {
        assert_eq!(queue.enqueue_bulk(&[1, 2, 3]).unwrap(), 3);
        let reader = Segment::open(segment.name(), &SegmentOptions::new().read_only()).unwrap();
        let seen = Queue::<u64>::open(&reader, "q").unwrap();
        assert_eq!((seen.len(), seen.capacity(), seen.is_full(), seen.stats().enqueued), (3, 8, false, 3));
        let words: &[&str] = &[segment.name(), "read-only"];
        refused(seen.enqueue(&1), Status::ReadOnly, words);
        refused(seen.enqueue_wait(&1, SOON), Status::ReadOnly, words);
        refused(seen.enqueue_bulk(&[1]), Status::ReadOnly, words);
        refused(seen.claim(), Status::ReadOnly, words);
        refused(seen.dequeue(), Status::ReadOnly, words);
        refused(seen.dequeue_wait(SOON), Status::ReadOnly, words);
        refused(seen.dequeue_bulk(&mut [0]), Status::ReadOnly, words);
        refused(seen.peek(), Status::ReadOnly, words);
        refused(seen.shutdown(), Status::ReadOnly, words);
        refused(Queue::<u64>::create(&reader, "new", &QueueOptions::new(8)), Status::ReadOnly, words);
        assert_eq!(seen.try_clone().unwrap().len(), 3);
    });
}
