//! Queues and rings: elements are there or not, in order, each once, and only what the dead one was taking is lost.

use std::ops::RangeInclusive;
use std::thread;
use std::time::Duration;

use shmds::{Queue, QueueOptions, Ring, RingOptions, Segment};

use super::{AN_INSTANT, Dying, Look, Operation, SOON};

const CAPACITY: u64 = 8;

/// Fills three words, so that a part of an element is no element.
type Element = [u64; 3];

fn element(number: u64) -> Element {
    [number, !number, number.rotate_left(32)]
}

/// The number of a whole element.
fn number(element: Element) -> u64 {
    assert_eq!(element, self::element(element[0]), "a part of an element");
    element[0]
}

/// The numbers of a turn: the survivor's begin with 0, the dying one's with 50.
fn numbers(nth: u64, from: u64, count: u64) -> Vec<u64> {
    (nth * 100 + from..nth * 100 + from + count).collect()
}

fn elements(nth: u64, from: u64, count: u64) -> Vec<Element> {
    numbers(nth, from, count).into_iter().map(element).collect()
}

/// How many elements an operation puts in, or takes out.
#[derive(Clone, Copy)]
enum Effect {
    Puts(u64),
    Takes(u64),
}
use Effect::{Puts, Takes};

pub(super) fn operations() -> Vec<Operation> {
    let modes = [("mpmc", QueueOptions::new(CAPACITY)), ("spsc", QueueOptions::new(CAPACITY).spsc())];
    let mut all: Vec<_> = modes.into_iter().flat_map(queue_operations).collect();
    let manners = [("ring", RingOptions::new(CAPACITY)), ("overwriting-ring", RingOptions::new(CAPACITY).overwrite())];
    all.extend(manners.into_iter().flat_map(ring_operations));
    all
}

fn drain(queue: &Queue<Element>) -> Vec<u64> {
    std::iter::from_fn(|| queue.dequeue_wait(Duration::from_millis(20)).unwrap()).map(number).collect()
}

/// An operation on a queue that has `before` elements in it.
fn queue_operation(
    (mode, options): (&'static str, QueueOptions),
    name: &str,
    before: u64,
    effect: Effect,
    die: fn(&Dying, &Queue<Element>),
) -> Operation {
    let prepare = move |segment: &Segment, nth: u64| -> Look {
        let open = move |segment: &Segment| Queue::<Element>::create(segment, "q", &options).unwrap();
        let [producer, consumer] = [open(segment), open(segment)];
        assert_eq!(consumer.dequeue().unwrap(), None);
        elements(nth, 0, before).iter().for_each(|element| assert!(producer.enqueue(element).unwrap()));
        let (producer, consumer) = match effect {
            Puts(_) => (None, Some(consumer)),
            Takes(_) => (Some(producer), None),
        };
        let segment = segment.clone();
        Box::new(move |complete| {
            let (producer, consumer) =
                (producer.unwrap_or_else(|| open(&segment)), consumer.unwrap_or_else(|| open(&segment)));
            // The successor goes on before anybody has taken what its predecessor left.
            let more = u64::from(producer.enqueue(&elements(nth, 60, 1)[0]).unwrap());
            let mut found = drain(&consumer);
            assert_eq!(found.split_off(found.len() - more as usize), numbers(nth, 60, more));
            let least = |count| if complete { count } else { 0 };
            match effect {
                Puts(count) => {
                    let mut expected = numbers(nth, 0, before);
                    expected.extend(numbers(nth, 50, count));
                    let many = found.len() as u64;
                    assert!((before + least(count)..=before + count).contains(&many), "{found:?}");
                    assert_eq!(found, expected[..found.len()]);
                }
                Takes(count) => {
                    let lost = before - found.len() as u64;
                    assert!((least(count)..=count).contains(&lost), "{found:?}");
                    assert_eq!(found, numbers(nth, lost, before - lost));
                }
            }
            elements(nth, 70, CAPACITY).iter().for_each(|element| assert!(producer.enqueue(element).unwrap()));
            assert!(!producer.enqueue(&element(0)).unwrap());
            assert_eq!(drain(&consumer), numbers(nth, 70, CAPACITY));
            assert!(consumer.is_empty());
        })
    };
    let die = move |dying: &Dying| {
        let segment = dying.attach();
        die(dying, &Queue::open(&segment, "q").unwrap());
    };
    Operation::new(format!("{mode}:{name}"), die, prepare)
}

fn queue_operations(mode: (&'static str, QueueOptions)) -> Vec<Operation> {
    let case = |name, before, effect, die| queue_operation(mode, name, before, effect, die);
    vec![
        case("enqueue", 3, Puts(1), |dying, queue| {
            dying.during(|| assert!(queue.enqueue(&elements(dying.nth, 50, 1)[0]).unwrap()));
        }),
        case("enqueue-again", 3, Puts(2), |dying, queue| {
            assert!(queue.enqueue(&elements(dying.nth, 50, 1)[0]).unwrap());
            dying.during(|| assert!(queue.enqueue(&elements(dying.nth, 51, 1)[0]).unwrap()));
        }),
        case("enqueue-bulk", 3, Puts(4), |dying, queue| {
            dying.during(|| assert_eq!(queue.enqueue_bulk(&elements(dying.nth, 50, 4)).unwrap(), 4));
        }),
        case("enqueue-bulk-without-room-for-all", 6, Puts(2), |dying, queue| {
            dying.during(|| assert_eq!(queue.enqueue_bulk(&elements(dying.nth, 50, 4)).unwrap(), 2));
        }),
        case("enqueue-without-room", 8, Puts(0), |dying, queue| {
            dying.during(|| assert!(!queue.enqueue(&element(9)).unwrap()));
        }),
        case("claim-commit", 3, Puts(1), |dying, queue| {
            dying.during(|| {
                let mut claim = queue.claim().unwrap().unwrap();
                claim.write(elements(dying.nth, 50, 1)[0]);
                claim.commit().unwrap();
            });
        }),
        case("claim", 3, Puts(0), |dying, queue| {
            dying.during(|| {
                let mut claim = queue.claim().unwrap().unwrap();
                claim.write(element(9));
                std::mem::forget(claim);
            });
        }),
        case("claim-abort", 3, Puts(0), |dying, queue| {
            dying.during(|| {
                let mut claim = queue.claim().unwrap().unwrap();
                claim.write(element(9));
            });
        }),
        case("drop-producer", 3, Puts(1), |dying, queue| {
            let queue = queue.try_clone().unwrap();
            assert!(queue.enqueue(&elements(dying.nth, 50, 1)[0]).unwrap());
            dying.during(|| drop(queue));
        }),
        case("enqueue-wait", 3, Puts(1), |dying, queue| {
            dying.during(|| assert!(queue.enqueue_wait(&elements(dying.nth, 50, 1)[0], SOON).unwrap()));
        }),
        case("enqueue-wait-in-vain", 8, Puts(0), |dying, queue| {
            dying.during(|| assert!(!queue.enqueue_wait(&element(9), AN_INSTANT).unwrap()));
        }),
        case("enqueue-bulk-wait", 3, Puts(4), |dying, queue| {
            dying.during(|| assert_eq!(queue.enqueue_bulk_wait(&elements(dying.nth, 50, 4), SOON).unwrap(), 4));
        }),
        case("claim-wait-commit", 3, Puts(1), |dying, queue| {
            dying.during(|| {
                let mut claim = queue.claim_wait(SOON).unwrap().unwrap();
                claim.write(elements(dying.nth, 50, 1)[0]);
                claim.commit().unwrap();
            });
        }),
        case("dequeue-wait", 5, Takes(1), |dying, queue| {
            dying.during(|| assert!(queue.dequeue_wait(SOON).unwrap().is_some()));
        }),
        case("dequeue-wait-in-vain", 0, Takes(0), |dying, queue| {
            dying.during(|| assert_eq!(queue.dequeue_wait(AN_INSTANT).unwrap(), None));
        }),
        case("dequeue-bulk-wait", 5, Takes(3), |dying, queue| {
            dying.during(|| assert_eq!(queue.dequeue_bulk_wait(&mut [element(0); 3], SOON).unwrap(), 3));
        }),
        case("peek-wait-release", 5, Takes(1), |dying, queue| {
            dying.during(|| drop(queue.peek_wait(SOON).unwrap().unwrap()));
        }),
        case("dequeue", 5, Takes(1), |dying, queue| {
            dying.during(|| assert_eq!(queue.dequeue().unwrap(), Some(elements(dying.nth, 0, 1)[0])));
        }),
        case("dequeue-again", 5, Takes(2), |dying, queue| {
            assert!(queue.dequeue().unwrap().is_some());
            dying.during(|| assert_eq!(queue.dequeue().unwrap(), Some(elements(dying.nth, 1, 1)[0])));
        }),
        case("dequeue-bulk", 5, Takes(3), |dying, queue| {
            dying.during(|| assert_eq!(queue.dequeue_bulk(&mut [element(0); 3]).unwrap(), 3));
        }),
        case("dequeue-bulk-all", 8, Takes(8), |dying, queue| {
            dying.during(|| assert_eq!(queue.dequeue_bulk(&mut [element(0); 9]).unwrap(), 8));
        }),
        case("dequeue-of-nothing", 0, Takes(0), |dying, queue| {
            dying.during(|| assert_eq!(queue.dequeue().unwrap(), None));
        }),
        case("peek-release", 5, Takes(1), |dying, queue| {
            dying.during(|| assert_eq!(queue.peek().unwrap().unwrap().read(), elements(dying.nth, 0, 1)[0]));
        }),
        case("peek", 5, Takes(1), |dying, queue| {
            dying.during(|| std::mem::forget(queue.peek().unwrap().unwrap()));
        }),
        case("drop-consumer", 5, Takes(1), |dying, queue| {
            let queue = queue.try_clone().unwrap();
            assert!(queue.dequeue().unwrap().is_some());
            dying.during(|| drop(queue));
        }),
        waking(mode),
        shutdown(mode),
    ]
}

/// The survivor sleeps, and finds what is there whether it was woken or not.
fn waking((mode, options): (&'static str, QueueOptions)) -> Operation {
    let die = |dying: &Dying| {
        let segment = dying.attach();
        let queue = Queue::<Element>::open(&segment, "q").unwrap();
        dying.during(|| assert!(queue.enqueue(&elements(dying.nth, 50, 1)[0]).unwrap()));
    };
    let prepare = move |segment: &Segment, nth: u64| -> Look {
        let consumer = Queue::<Element>::create(segment, "q", &options).unwrap();
        consumer.set_spin(Duration::ZERO);
        let sleeper = thread::spawn(move || (consumer.dequeue_wait(2 * SOON).unwrap().map(number), consumer));
        thread::sleep(Duration::from_millis(2));
        let segment = segment.clone();
        Box::new(move |complete| {
            let producer = Queue::<Element>::open(&segment, "q").unwrap();
            assert!(producer.enqueue(&elements(nth, 70, 1)[0]).unwrap());
            let (got, consumer) = sleeper.join().unwrap();
            let mut all = vec![got.expect("in time")];
            all.extend(drain(&consumer));
            let both = [numbers(nth, 50, 1), numbers(nth, 70, 1)].concat();
            assert!(all == both || !complete && all == both[1..], "{all:?}");
        })
    };
    Operation::new(format!("{mode}:wake-a-consumer"), die, prepare)
}

fn shutdown((mode, options): (&'static str, QueueOptions)) -> Operation {
    let die = |dying: &Dying| {
        let segment = dying.attach();
        let queue = Queue::<Element>::open(&segment, "q").unwrap();
        dying.during(|| queue.shutdown().unwrap());
    };
    let prepare = move |segment: &Segment, nth: u64| -> Look {
        let queue = Queue::<Element>::create(segment, "q", &options.exclusive()).unwrap();
        elements(nth, 0, 3).iter().for_each(|element| assert!(queue.enqueue(element).unwrap()));
        let segment = segment.clone();
        Box::new(move |complete| {
            let shut = queue.stats().shut_down;
            assert!(shut || !complete);
            assert!(queue.enqueue(&element(9)).is_err() == shut);
            queue.shutdown().unwrap();
            (0..3).for_each(|at| assert_eq!(queue.dequeue().unwrap().map(number), Some(nth * 100 + at)));
            if !shut {
                assert_eq!(queue.dequeue().unwrap().map(number), Some(9));
            }
            assert!(queue.dequeue().is_err());
            segment.remove("q").unwrap();
        })
    };
    Operation::new(format!("{mode}:shutdown"), die, prepare)
}

/// What an operation on a ring may have done: how many elements were written, how many the consumer went over.
struct RingEffect {
    written: RangeInclusive<u64>,
    read: RangeInclusive<u64>,
}

/// An operation on a ring in which every element is the number of elements written before it. Six elements are there that nobody read; where it
/// overwrites, three more than it has room for.
fn ring_operation(
    (manner, options): (&'static str, RingOptions),
    name: &str,
    effect: Effect,
    die: fn(&Dying, &Ring<Element>),
) -> Operation {
    let overwrites = manner != "ring";
    let prepare = move |segment: &Segment, _nth: u64| -> Look {
        let open = move |segment: &Segment| Ring::<Element>::create(segment, "r", &options).unwrap();
        let [writer, consumer] = [open(segment), open(segment)];
        let write = |ring: &Ring<Element>| ring.push(&element(ring.stats().unwrap().written)).unwrap();
        assert_eq!(consumer.pop().unwrap(), None);
        (0..if overwrites { CAPACITY + 3 } else { 6 }).for_each(|_| assert!(write(&writer)));
        let before = consumer.stats().unwrap();
        let (writer, consumer) = match effect {
            Puts(_) => (None, Some(consumer)),
            Takes(_) => (Some(writer), None),
        };
        let mut follower = open(segment).reader(shmds::RingStart::Oldest).unwrap();
        let segment = segment.clone();
        Box::new(move |complete| {
            let (writer, consumer) =
                (writer.unwrap_or_else(|| open(&segment)), consumer.unwrap_or_else(|| open(&segment)));
            let range = |count| if complete { count..=count } else { 0..=count };
            let allowed = match effect {
                Puts(count) => RingEffect { written: range(count), read: 0..=0 },
                Takes(count) => RingEffect { written: 0..=0, read: range(count) },
            };
            let now = consumer.stats().unwrap();
            assert!(allowed.written.contains(&(now.written - before.written)), "{before:?}, {now:?}");
            assert!(allowed.read.contains(&(now.read - before.read)), "{before:?}, {now:?}");
            let popped: Vec<u64> = std::iter::from_fn(|| consumer.pop().unwrap()).map(number).collect();
            let then = consumer.stats().unwrap();
            assert_eq!(then.read, now.read + popped.len() as u64);
            assert_eq!(then.read + then.lost, then.written, "every element was read or lost: {before:?}, {then:?}");
            assert_eq!(popped, (now.written - popped.len() as u64..now.written).collect::<Vec<_>>(), "in order");
            if !overwrites {
                assert_eq!(then.lost, 0);
            }
            // What a dead writer announced it may have spoilt.
            let spoilt = match effect {
                Puts(count) if overwrites => count,
                _ => 0,
            };
            if !matches!(effect, Takes(_)) {
                assert!(popped.len() as u64 >= CAPACITY.min(now.written - now.read - now.lost) - spoilt, "{popped:?}");
            }
            let mut seen = Vec::new();
            while let Some(element) = follower.read().unwrap() {
                seen.push(number(element));
            }
            assert!(seen.is_sorted() && seen.last().is_none_or(|last| *last == now.written - 1), "{seen:?}");
            // A successor writes a ringful, and all of it arrives.
            (0..CAPACITY).for_each(|_| assert!(write(&writer)));
            assert!(overwrites || !write(&writer));
            let mut all = [element(0); CAPACITY as usize];
            assert_eq!(consumer.pop_bulk(&mut all).unwrap(), CAPACITY as usize);
            assert_eq!(all.map(number).to_vec(), (now.written..now.written + CAPACITY).collect::<Vec<_>>());
            assert_eq!(consumer.stats().unwrap().lost, then.lost);
        })
    };
    let die = move |dying: &Dying| {
        let segment = dying.attach();
        die(dying, &Ring::open(&segment, "r").unwrap());
    };
    Operation::new(format!("{manner}:{name}"), die, prepare)
}

fn ring_operations(manner: (&'static str, RingOptions)) -> Vec<Operation> {
    let case = |name, effect, die| ring_operation(manner, name, effect, die);
    vec![
        case("push", Puts(1), |dying, ring| {
            let next = element(ring.stats().unwrap().written);
            dying.during(|| assert!(ring.push(&next).unwrap()));
        }),
        case("push-again", Puts(2), |dying, ring| {
            let written = ring.stats().unwrap().written;
            assert!(ring.push(&element(written)).unwrap());
            dying.during(|| assert!(ring.push(&element(written + 1)).unwrap()));
        }),
        case("push-bulk", Puts(2), |dying, ring| {
            let written = ring.stats().unwrap().written;
            dying.during(|| assert_eq!(ring.push_bulk(&[element(written), element(written + 1)]).unwrap(), 2));
        }),
        case("drop-writer", Puts(1), |dying, ring| {
            let ring = ring.try_clone().unwrap();
            assert!(ring.push(&element(ring.stats().unwrap().written)).unwrap());
            dying.during(|| drop(ring));
        }),
        case("push-wait", Puts(1), |dying, ring| {
            let next = element(ring.stats().unwrap().written);
            dying.during(|| assert!(ring.push_wait(&next, SOON).unwrap()));
        }),
        case("push-bulk-wait", Puts(2), |dying, ring| {
            let written = ring.stats().unwrap().written;
            let both = [element(written), element(written + 1)];
            dying.during(|| assert_eq!(ring.push_bulk_wait(&both, SOON).unwrap(), 2));
        }),
        case("pop-wait", Takes(1), |dying, ring| dying.during(|| assert!(ring.pop_wait(SOON).unwrap().is_some()))),
        case("pop-bulk-wait", Takes(3), |dying, ring| {
            dying.during(|| assert_eq!(ring.pop_bulk_wait(&mut [element(0); 3], SOON).unwrap(), 3));
        }),
        case("clear", Takes(if manner.0 == "ring" { 6 } else { CAPACITY }), |dying, ring| {
            dying.during(|| assert!(ring.clear().unwrap() >= 6));
        }),
        case("reader-read-wait-in-vain", Takes(0), |dying, ring| {
            let mut reader = ring.reader(shmds::RingStart::Newest).unwrap();
            dying.during(|| assert_eq!(reader.read_wait(AN_INSTANT).unwrap(), None));
        }),
        case("pop", Takes(1), |dying, ring| dying.during(|| assert!(ring.pop().unwrap().is_some()))),
        case("pop-again", Takes(2), |dying, ring| {
            assert!(ring.pop().unwrap().is_some());
            dying.during(|| assert!(ring.pop().unwrap().is_some()));
        }),
        case("pop-bulk", Takes(3), |dying, ring| {
            dying.during(|| assert_eq!(ring.pop_bulk(&mut [element(0); 3]).unwrap(), 3));
        }),
        case("skip", Takes(3), |dying, ring| dying.during(|| assert_eq!(ring.skip(3).unwrap(), 3))),
        case("drop-consumer", Takes(1), |dying, ring| {
            let ring = ring.try_clone().unwrap();
            assert!(ring.pop().unwrap().is_some());
            dying.during(|| drop(ring));
        }),
    ]
}
