//! Byte queues: nothing committed is lost, nothing else is seen, and nothing comes twice but what was received and not released.

use std::thread;
use std::time::{Duration, Instant};

use shmds::{ByteQueue, ByteQueueOptions, Segment, Status};

use super::{AN_INSTANT, Dying, Look, Operation, SOON};

/// Who does what in an operation.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Producer,
    Consumer,
}

type Contents = Vec<Vec<u8>>;

/// How many messages are there before: 1 and up.
const HELD: u64 = 3;

/// Message `number` of a turn, different in every turn. Of a stream: so many bytes. Those that the dying one sends are always as long, so that
/// they take as many stores.
fn message(nth: u64, number: u64) -> Vec<u8> {
    let mut state = (nth << 8 | number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let length = if number > HELD { 1 + number * 13 % 60 } else { 1 + (state >> 40) % 700 };
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}

fn messages(nth: u64, numbers: &[u64]) -> Contents {
    numbers.iter().map(|number| message(nth, *number)).collect()
}

fn put(queue: &ByteQueue, message: &[u8]) -> bool {
    let Some(mut place) = queue.reserve(message.len()).unwrap() else { return false };
    place.write(0, message).unwrap();
    place.commit(message.len(), message.len() as u64).unwrap();
    true
}

/// All that is there; a stream's bytes as one message, unless there are none.
fn drain(queue: &ByteQueue, framed: bool) -> Contents {
    let mut all = Vec::new();
    if framed {
        while let Some(message) = queue.receive().unwrap() {
            assert_eq!(message.tag(), message.len() as u64);
            all.push(message.to_vec());
        }
    } else {
        while let Some(used) = queue
            .consume(1, |data, there| {
                // SAFETY: so many are there.
                all.push(unsafe { std::slice::from_raw_parts(data, there) }.to_vec());
                there
            })
            .unwrap()
        {
            assert!(used > 0);
        }
    }
    all
}

/// An operation on a queue that holds messages 1, 2 and 3. Afterwards it holds one of `possible`, and the last of them if it was complete.
fn operation(
    manner: (&'static str, ByteQueueOptions),
    name: &str,
    end: End,
    possible: &'static [&'static [u64]],
    die: impl Fn(&Dying, &ByteQueue) + 'static,
) -> Operation {
    let ((manner, options), framed) = (manner, manner.0 != "stream");
    let prepare = move |segment: &Segment, nth: u64| -> Look {
        let [producer, consumer] = [0; 2].map(|_| ByteQueue::create(segment, "q", &options).unwrap());
        assert_eq!(drain(&consumer, framed), Contents::new());
        assert!(messages(nth, &[1, 2, 3]).iter().all(|message| put(&producer, message)));
        let before = consumer.stats().unwrap();
        // What the other process does not do, we go on doing.
        let (producer, consumer) = match end {
            End::Producer => (None, Some(consumer)),
            End::Consumer => (Some(producer), None),
        };
        let segment = segment.clone();
        Box::new(move |complete| {
            let open = || ByteQueue::open_as(&segment, "q", &options).unwrap();
            let (producer, consumer) = (producer.unwrap_or_else(open), consumer.unwrap_or_else(open));
            // The successor goes on before anybody has taken what its predecessor left.
            let more: &[u64] = if put(&producer, &message(nth, 9)) { &[9] } else { &[] };
            let found = drain(&consumer, framed);
            let expected = |numbers: &&'static [u64]| {
                let all = messages(nth, &[numbers, more].concat());
                if framed { found == all } else { found.concat() == all.concat() }
            };
            let which = possible.iter().position(expected);
            let lengths: Vec<_> = found.iter().map(Vec::len).collect();
            let which = which.unwrap_or_else(|| panic!("messages of {lengths:?} bytes"));
            assert!(!complete || which == possible.len() - 1, "it was complete, and left {:?}", possible[which]);
            // The whole buffer is there for the next, and both ends are ours.
            let longest = vec![nth as u8; producer.longest() as usize];
            assert!(put(&producer, &longest) && !put(&producer, &longest));
            assert!(drain(&consumer, framed) == [longest]);
            let after = consumer.stats().unwrap();
            assert_eq!((after.used, after.bytes_sent), (0, after.bytes_received));
            assert!(after.producer != 0 && after.producer == after.consumer);
            if framed {
                let sent = possible[which].iter().filter(|number| **number > HELD).count() + more.len() + 1;
                let sent = sent as u64;
                let counted = after.sent - before.sent;
                assert!((sent..=sent + 1).contains(&counted), "{sent} were sent, {counted} counted");
            }
        })
    };
    let die = move |dying: &Dying| {
        let segment = dying.attach();
        die(dying, &ByteQueue::open(&segment, "q").unwrap());
    };
    Operation::new(format!("bytes:{manner}:{name}"), die, prepare)
}

pub(super) fn operations() -> Vec<Operation> {
    let plain = ("framed", ByteQueueOptions::new(4000));
    let timed = ("timed", ByteQueueOptions::new(4000).align(64).times());
    let stream = ("stream", ByteQueueOptions::stream(4000));
    let mut all = Vec::new();
    for manner in [plain, timed] {
        all.extend(framed(manner));
    }
    all.extend(unframed(stream));
    for manner in [plain, stream] {
        all.extend([ended(manner), waking_a_producer(manner)]);
    }
    all.push(waking_a_consumer(plain));
    all
}

fn framed(manner: (&'static str, ByteQueueOptions)) -> Vec<Operation> {
    let send = |dying: &Dying, queue: &ByteQueue, number| {
        let message = message(dying.nth, number);
        assert!(queue.send(&message, message.len() as u64).unwrap());
    };
    let sends = |name, possible, die: fn(&Dying, &ByteQueue)| operation(manner, name, End::Producer, possible, die);
    let receives = |name, possible, die: fn(&Dying, &ByteQueue)| operation(manner, name, End::Consumer, possible, die);
    const SENT: &[&[u64]] = &[&[1, 2, 3], &[1, 2, 3, 4]];
    const ALL: &[&[u64]] = &[&[1, 2, 3]];
    const TAKEN: &[&[u64]] = &[&[1, 2, 3], &[2, 3]];
    vec![
        operation(manner, "become-producer-and-send", End::Producer, SENT, move |dying, queue| {
            dying.during(|| send(dying, queue, 4))
        }),
        operation(manner, "send", End::Producer, &[&[1, 2, 3, 4], &[1, 2, 3, 4, 5]], move |dying, queue| {
            send(dying, queue, 4);
            dying.during(|| send(dying, queue, 5));
        }),
        sends("reserve-write-commit", SENT, |dying, queue| {
            let message = message(dying.nth, 4);
            dying.during(|| {
                let mut place = queue.reserve(message.len() + 300).unwrap().unwrap();
                place.write(0, &message).unwrap();
                place.commit(message.len(), message.len() as u64).unwrap();
            });
        }),
        sends("reserve-write", ALL, |dying, queue| {
            dying.during(|| {
                let mut place = queue.reserve(1000).unwrap().unwrap();
                place.write(0, &[0xee; 200]).unwrap();
                place
            });
        }),
        sends("reserve-write-abort", ALL, |dying, queue| {
            dying.during(|| queue.reserve(1000).unwrap().unwrap().write(0, &[0xee; 200]).unwrap());
        }),
        sends("send-without-room", ALL, |dying, queue| {
            dying.during(|| assert!(!queue.send(&vec![0xee; queue.longest() as usize], 0).unwrap()));
        }),
        operation(manner, "send-wait", End::Producer, SENT, |dying, queue| {
            let message = message(dying.nth, 4);
            dying.during(|| assert!(queue.send_wait(&message, message.len() as u64, SOON).unwrap()));
        }),
        sends("reserve-wait-in-vain", ALL, |dying, queue| {
            dying.during(|| assert!(queue.reserve_wait(queue.longest() as usize, AN_INSTANT).unwrap().is_none()));
        }),
        receives("receive-wait-release", TAKEN, |dying, queue| {
            dying.during(|| drop(queue.receive_wait(SOON).unwrap().unwrap()));
        }),
        receives("receive-wait-in-vain", &[&[]], |dying, queue| {
            while queue.receive().unwrap().is_some() {}
            dying.during(|| assert!(queue.receive_wait(AN_INSTANT).unwrap().is_none()));
        }),
        operation(manner, "drop-producer", End::Producer, &[&[1, 2, 3, 4]], move |dying, queue| {
            let queue = queue.try_clone().unwrap();
            send(dying, &queue, 4);
            dying.during(|| drop(queue));
        }),
        receives("become-consumer", ALL, |dying, queue| dying.during(|| queue.receive().unwrap().unwrap())),
        receives("receive-release", TAKEN, |dying, queue| dying.during(|| drop(queue.receive().unwrap().unwrap()))),
        receives("receive-again-and-release", &[&[2, 3], &[3]], |dying, queue| {
            drop(queue.receive().unwrap().unwrap());
            dying.during(|| drop(queue.receive().unwrap().unwrap()));
        }),
        receives("receive-into", TAKEN, |dying, queue| {
            dying.during(|| assert!(queue.receive_into(&mut [0; 700]).unwrap().is_some()));
        }),
        receives("receive-batch-release", &[&[1, 2, 3], &[3]], |dying, queue| {
            dying.during(|| {
                let mut batch = queue.receive_batch().unwrap();
                (0..2).for_each(|_| drop(batch.next().unwrap().unwrap()));
            });
        }),
        receives("receive-batch-hold", ALL, |dying, queue| {
            dying.during(|| {
                let mut batch = queue.receive_batch().unwrap();
                while batch.next().unwrap().is_some() {}
                batch
            });
        }),
        receives("receive-of-nothing", &[&[]], |dying, queue| {
            while queue.receive().unwrap().is_some() {}
            dying.during(|| assert!(queue.receive().unwrap().is_none()));
        }),
        receives("drop-consumer", &[&[2, 3]], |dying, queue| {
            let queue = queue.try_clone().unwrap();
            drop(queue.receive().unwrap().unwrap());
            dying.during(|| drop(queue));
        }),
        // Both ends are the other's: the survivor keeps neither.
        both_ends(manner),
    ]
}

fn both_ends(manner: (&'static str, ByteQueueOptions)) -> Operation {
    let (name, options) = manner;
    let die = |dying: &Dying| {
        let segment = dying.attach();
        dying.during(|| {
            let queue = ByteQueue::open(&segment, "q").unwrap();
            for number in [4, 5] {
                let message = message(dying.nth, number);
                assert!(queue.send(&message, message.len() as u64).unwrap());
            }
            assert!(queue.receive().unwrap().unwrap().to_vec() == message(dying.nth, 4));
        });
    };
    let prepare = move |segment: &Segment, nth: u64| -> Look {
        let queue = ByteQueue::create(segment, "q", &options).unwrap();
        Box::new(move |complete| {
            let left = drain(&queue, true);
            let possible = [[].as_slice(), &[4], &[4, 5], &[5]].map(|numbers| messages(nth, numbers));
            assert!(if complete { left == possible[3] } else { possible.contains(&left) });
            assert!(put(&queue, &message(nth, 6)) && drain(&queue, true) == [message(nth, 6)]);
        })
    };
    Operation::new(format!("bytes:{name}:open-send-receive-close"), die, prepare)
}

fn unframed(manner: (&'static str, ByteQueueOptions)) -> Vec<Operation> {
    let case = |name, end, possible, die: fn(&Dying, &ByteQueue)| operation(manner, name, end, possible, die);
    vec![
        case("reserve-commit", End::Producer, &[&[1, 2, 3], &[1, 2, 3, 4]], |dying, queue| {
            let bytes = message(dying.nth, 4);
            dying.during(|| {
                let mut place = queue.reserve(bytes.len() + 500).unwrap().unwrap();
                place.write(0, &bytes).unwrap();
                place.commit(bytes.len(), 0).unwrap();
            });
        }),
        case("reserve-abort", End::Producer, &[&[1, 2, 3]], |dying, queue| {
            dying.during(|| queue.reserve(900).unwrap().unwrap().write(0, &[0xee; 200]).unwrap());
        }),
        case("consume", End::Consumer, &[&[1, 2, 3], &[2, 3]], |dying, queue| {
            let first = message(dying.nth, 1).len();
            dying.during(|| assert_eq!(queue.consume(first + 1, |_, _| first).unwrap(), Some(first)));
        }),
        case("consume-wait", End::Consumer, &[&[1, 2, 3], &[2, 3]], |dying, queue| {
            let first = message(dying.nth, 1).len();
            dying.during(|| assert_eq!(queue.consume_wait(first + 1, SOON, |_, _| first).unwrap(), Some(first)));
        }),
        case("consume-all", End::Consumer, &[&[1, 2, 3], &[]], |dying, queue| {
            dying.during(|| queue.consume(1, |_, there| there).unwrap().unwrap());
        }),
        case("look-and-consume-nothing", End::Consumer, &[&[1, 2, 3]], |dying, queue| {
            dying.during(|| assert_eq!(queue.consume(1, |_, _| 0).unwrap(), Some(0)));
        }),
        case("drop-both", End::Consumer, &[&[2, 3]], |dying, queue| {
            let queue = queue.try_clone().unwrap();
            let first = message(dying.nth, 1).len();
            assert_eq!(queue.consume(1, |_, _| first).unwrap(), Some(first));
            dying.during(|| drop(queue));
        }),
    ]
}

fn ended(manner: (&'static str, ByteQueueOptions)) -> Operation {
    let ((name, options), framed) = (manner, manner.0 != "stream");
    let die = |dying: &Dying| {
        let segment = dying.attach();
        let queue = ByteQueue::open(&segment, "q").unwrap();
        assert!(put(&queue, &message(dying.nth, 1)));
        dying.during(|| queue.end().unwrap());
    };
    let prepare = move |segment: &Segment, nth: u64| -> Look {
        let consumer = ByteQueue::create(segment, "q", &options.exclusive()).unwrap();
        assert_eq!(drain(&consumer, framed), Contents::new());
        let segment = segment.clone();
        Box::new(move |complete| {
            let take = || {
                if framed {
                    consumer.receive().map(|found| found.map(|one| one.to_vec()))
                } else {
                    let mut bytes = Vec::new();
                    let look = |data, there| {
                        // SAFETY: so many are there.
                        bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(data, there) });
                        there
                    };
                    consumer.consume(1, look).map(|found| found.map(|_| bytes))
                }
            };
            assert!(take().unwrap() == Some(message(nth, 1)), "what was sent before the end is not lost");
            let over = take().is_err_and(|error| error.status() == Status::Closed);
            assert!(over || !complete);
            let successor = ByteQueue::open(&segment, "q").unwrap();
            if over {
                assert_eq!(successor.reserve(1).map(|_| ()).unwrap_err().status(), Status::Closed);
            } else {
                assert!(put(&successor, &message(nth, 2)));
                assert!(take().unwrap() == Some(message(nth, 2)));
                successor.end().unwrap();
            }
            assert!(take().is_err_and(|error| error.status() == Status::Closed));
            segment.remove("q").unwrap();
        })
    };
    Operation::new(format!("bytes:{name}:end"), die, prepare)
}

/// The survivor sleeps; whatever is there, it finds it, whether it was woken or not.
fn waking_a_consumer((name, options): (&'static str, ByteQueueOptions)) -> Operation {
    let die = |dying: &Dying| {
        let segment = dying.attach();
        let queue = ByteQueue::open(&segment, "q").unwrap();
        dying.during(|| assert!(put(&queue, &message(dying.nth, 4))));
    };
    let prepare = move |segment: &Segment, nth: u64| -> Look {
        let consumer = ByteQueue::create(segment, "q", &options).unwrap();
        consumer.set_spin(Duration::ZERO);
        let sleeper = thread::spawn(move || {
            let got = consumer.receive_wait(2 * SOON).unwrap().map(|message| message.to_vec());
            (got, consumer)
        });
        thread::sleep(Duration::from_millis(2));
        let segment = segment.clone();
        Box::new(move |complete| {
            assert!(put(&ByteQueue::open(&segment, "q").unwrap(), &message(nth, 5)));
            let (got, consumer) = sleeper.join().unwrap();
            let all = [vec![got.expect("in time")], drain(&consumer, true)].concat();
            let both = messages(nth, &[4, 5]);
            assert!(all == both || !complete && all == both[1..]);
        })
    };
    Operation::new(format!("bytes:{name}:wake-a-consumer"), die, prepare)
}

fn waking_a_producer(manner: (&'static str, ByteQueueOptions)) -> Operation {
    let ((name, options), framed) = (manner, manner.0 != "stream");
    let die = move |dying: &Dying| {
        let segment = dying.attach();
        let queue = ByteQueue::open(&segment, "q").unwrap();
        dying.during(|| {
            if framed {
                drop(queue.receive().unwrap().unwrap());
            } else {
                queue.consume(1, |_, there| there).unwrap().unwrap();
            }
        });
    };
    let prepare = move |segment: &Segment, nth: u64| -> Look {
        let producer = ByteQueue::create(segment, "q", &options).unwrap();
        producer.set_spin(Duration::ZERO);
        let longest = vec![1; producer.longest() as usize];
        assert!(put(&producer, &longest));
        let sleeper = thread::spawn(move || {
            let bytes = message(nth, 2);
            let mut place = producer.reserve_wait(bytes.len(), 2 * SOON).unwrap().expect("in time");
            place.write(0, &bytes).unwrap();
            place.commit(bytes.len(), bytes.len() as u64).unwrap();
            producer
        });
        thread::sleep(Duration::from_millis(2));
        let segment = segment.clone();
        Box::new(move |complete| {
            let consumer = ByteQueue::open(&segment, "q").unwrap();
            let mut found = Contents::new();
            let end = Instant::now() + SOON;
            while !sleeper.is_finished() && Instant::now() < end {
                found.extend(drain(&consumer, framed));
            }
            let producer = sleeper.join().unwrap();
            found.extend(drain(&consumer, framed));
            let (gone, not) = (message(nth, 2), [longest, message(nth, 2)].concat());
            let found = found.concat();
            assert!(found == gone || !complete && found == not);
            assert!(put(&producer, &message(nth, 3)) && drain(&consumer, framed) == [message(nth, 3)]);
        })
    };
    Operation::new(format!("bytes:{name}:wake-a-producer"), die, prepare)
}
