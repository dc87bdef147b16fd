//! What one thread pays for an enqueue and a dequeue, with nobody at the other end.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};
use crossbeam_queue::ArrayQueue;
use shmds_peers::case::{BULK, CAPACITY, Case, Mode, Test};
use shmds_peers::control::{cores, pin};
use shmds_peers::links::{Ours, Receiver, Sender, segment};
use shmds_peers::{Message, prefix};

fn main() {
    pin(cores()[0]);
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(150))
        .measurement_time(Duration::from_millis(500))
        .sample_size(20)
        .nresamples(5_000)
        .configure_from_args();
    for case in Case::all().into_iter().filter(|case| case.test == Test::Pair) {
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
    let segment = segment(&format!("{}-single", prefix()), &case);
    let ours = || Ours::<M>::new(&segment, "queue", &case);
    let queue = Arc::new(ArrayQueue::<M>::new(CAPACITY));
    contend(case, group, "shmds Rust", ours(), ours());
    contend(case, group, "crossbeam ArrayQueue", queue.clone(), queue);
    if case.mode == Mode::Spsc {
        let (sender, receiver) = rtrb::RingBuffer::<M>::new(CAPACITY);
        contend(case, group, "rtrb", sender, receiver);
    }
}

fn contend<M: Message, S: Sender<M>, R: Receiver<M>>(
    case: Case,
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    sender: S,
    receiver: R,
) {
    if case.bulk == 1 {
        pairs(group, name, sender, receiver);
    } else {
        bulks(group, name, sender, receiver);
    }
}

fn pairs<M: Message, S: Sender<M>, R: Receiver<M>>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    mut sender: S,
    mut receiver: R,
) {
    let message = M::new(7);
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            assert!(sender.send(black_box(&message)));
            receiver.receive().expect("what was just sent")
        });
    });
}

fn bulks<M: Message, S: Sender<M>, R: Receiver<M>>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    mut sender: S,
    mut receiver: R,
) {
    let (messages, mut received) = ([M::new(7); BULK], [M::new(0); BULK]);
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            assert_eq!(sender.send_bulk(black_box(&messages)), BULK);
            assert_eq!(receiver.receive_bulk(black_box(&mut received)), BULK);
        });
    });
}
