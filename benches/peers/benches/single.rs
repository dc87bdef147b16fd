//! What one thread pays for an enqueue and a dequeue, with nobody at the other end.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};
use crossbeam_queue::ArrayQueue;
use shmds_peers::case::{Case, Contender, Test};
use shmds_peers::control::{cores, pin};
use shmds_peers::links::{Ours, OursC, Receiver, Sender, segment};
use shmds_peers::{BULK, CAPACITY, Message, prefix};

fn main() {
    pin(cores()[0]);
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(150))
        .measurement_time(Duration::from_millis(500))
        .sample_size(20)
        .nresamples(5_000)
        .configure_from_args();
    for case in Case::all(&[Test::Pair, Test::Bulk]) {
        let mut group = criterion.benchmark_group(case.to_string());
        match case.bytes {
            8 => measure::<[u64; 1]>(case, &mut group),
            64 => measure::<[u64; 8]>(case, &mut group),
            256 => measure::<[u64; 32]>(case, &mut group),
            other => panic!("no message has {other} bytes"),
        }
        group.finish();
    }
    criterion.final_summary();
}

fn measure<M: Message>(case: Case, group: &mut BenchmarkGroup<'_, WallTime>) {
    let name = format!("{}-single", prefix());
    for contender in case.contenders() {
        let bulk = case.test == Test::Bulk;
        match contender {
            Contender::Ours => {
                let segment = segment(&name);
                let ours = Ours::<M>::new(&segment, "queue", case.mode);
                if bulk {
                    let there = |messages: &[M]| ours.queue.enqueue_bulk(messages).expect("a working queue");
                    let back = |messages: &mut [M]| ours.queue.dequeue_bulk(messages).expect("a working queue");
                    bulks(group, contender, there, back);
                } else {
                    let receiver = ours.queue.try_clone().expect("another handle");
                    pairs(group, contender, ours, Ours { queue: receiver });
                }
            }
            Contender::OursC => {
                let (sender, receiver) = (OursC::new(&name, "queue", case.mode), OursC::new(&name, "queue", case.mode));
                pairs::<M, _, _>(group, contender, sender, receiver);
            }
            Contender::Rtrb => {
                let (mut sender, mut receiver) = rtrb::RingBuffer::<M>::new(CAPACITY);
                if bulk {
                    let there = |messages: &[M]| sender.push_entire_slice(messages).map_or(0, |()| messages.len());
                    let back = |messages: &mut [M]| receiver.pop_entire_slice(messages).map_or(0, |()| messages.len());
                    bulks(group, contender, there, back);
                } else {
                    pairs(group, contender, sender, receiver);
                }
            }
            Contender::Crossbeam => {
                let queue = Arc::new(ArrayQueue::<M>::new(CAPACITY));
                if bulk {
                    // It has no bulk calls.
                    let there =
                        |messages: &[M]| messages.iter().filter(|message| queue.push(**message).is_ok()).count();
                    let back = |messages: &mut [M]| {
                        messages.iter_mut().map_while(|message| queue.pop().map(|popped| *message = popped)).count()
                    };
                    bulks(group, contender, there, back);
                } else {
                    pairs(group, contender, queue.clone(), queue.clone());
                }
            }
            Contender::Iceoryx => unreachable!("not measured alone"),
        }
    }
}

fn pairs<M: Message, S: Sender<M>, R: Receiver<M>>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    contender: Contender,
    mut sender: S,
    mut receiver: R,
) {
    let message = M::new(7);
    group.bench_function(contender.name(), |bencher| {
        bencher.iter(|| {
            assert!(sender.send(black_box(&message)));
            receiver.receive().expect("what was just sent")
        });
    });
}

fn bulks<M: Message>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    contender: Contender,
    mut there: impl FnMut(&[M]) -> usize,
    mut back: impl FnMut(&mut [M]) -> usize,
) {
    let (messages, mut received) = ([M::new(7); BULK], [M::new(0); BULK]);
    group.bench_function(contender.name(), |bencher| {
        bencher.iter(|| {
            assert_eq!(there(black_box(&messages)), BULK);
            assert_eq!(back(black_box(&mut received)), BULK);
        });
    });
}
