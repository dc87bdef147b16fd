//! A queue does what a `VecDeque` does, whatever the mode, the element and the way elements are moved.

mod support;

use std::collections::VecDeque;
use std::fmt::Debug;
use std::time::Duration;

use proptest::prelude::*;
use shmds::{Queue, QueueOptions};
use support::*;

/// Element types that can be told apart by a number.
trait Sample: shmds::Plain + bytemuck::Pod + PartialEq + Debug {
    fn of(number: u64) -> Self {
        let mut value = Self::zeroed();
        let bytes = bytemuck::bytes_of_mut(&mut value);
        let pattern = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
        bytes.iter_mut().enumerate().for_each(|(nth, byte)| *byte = pattern[nth % 8].wrapping_add((nth / 8) as u8));
        value
    }
}

impl<T: shmds::Plain + bytemuck::Pod + PartialEq + Debug> Sample for T {}

#[derive(Clone, Debug)]
enum Op {
    Enqueue,
    EnqueueBulk(usize),
    EnqueueWait,
    Dequeue,
    DequeueBulk(usize),
    DequeueWait,
    Commit,
    Abort,
    Peek,
    Reopen,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => Just(Op::Enqueue),
        3 => (0_usize..40).prop_map(Op::EnqueueBulk),
        1 => Just(Op::EnqueueWait),
        6 => Just(Op::Dequeue),
        3 => (0_usize..40).prop_map(Op::DequeueBulk),
        1 => Just(Op::DequeueWait),
        4 => Just(Op::Commit),
        2 => Just(Op::Abort),
        4 => Just(Op::Peek),
        1 => Just(Op::Reopen),
    ];
    prop::collection::vec(op, 1..300)
}

/// A queue as it should be. `None` is an aborted claim of an MPMC queue: a place that is free again only when all older
/// elements are gone.
struct Model {
    places: VecDeque<Option<u64>>,
    capacity: usize,
    keeps_aborted: bool,
    next: u64,
}

impl Model {
    /// The number that is enqueued next, if there is room.
    fn push(&mut self) -> Option<u64> {
        self.trim();
        (self.places.len() < self.capacity).then(|| {
            self.next += 1;
            self.places.push_back(Some(self.next));
            self.next
        })
    }

    fn abort(&mut self) -> bool {
        self.trim();
        let room = self.places.len() < self.capacity;
        if room && self.keeps_aborted {
            self.places.push_back(None);
        }
        room
    }

    fn pop(&mut self) -> Option<u64> {
        self.trim();
        self.places.pop_front().flatten()
    }

    fn trim(&mut self) {
        while self.places.front() == Some(&None) {
            self.places.pop_front();
        }
    }
}

fn behaves<T: Sample>(options: QueueOptions, is_spsc: bool, capacity: u64, ops: &[Op]) {
    let name = Name::new();
    let segment = fresh(&name);
    let mut queue = Queue::<T>::create(&segment, "q", &options).unwrap();
    assert_eq!(queue.capacity(), capacity.next_power_of_two());
    let mut model =
        Model { places: VecDeque::new(), capacity: queue.capacity() as usize, keeps_aborted: !is_spsc, next: 0 };
    for op in ops {
        match op {
            Op::Enqueue => {
                let next = T::of(model.next + 1);
                assert_eq!(queue.enqueue(&next).unwrap(), model.push().is_some(), "{op:?}");
            }
            Op::EnqueueWait => {
                let next = T::of(model.next + 1);
                let done = queue.enqueue_wait(&next, Duration::from_micros(50)).unwrap();
                assert_eq!(done, model.push().is_some(), "{op:?}");
            }
            Op::EnqueueBulk(count) => {
                let all: Vec<T> = (1..=*count as u64).map(|nth| T::of(model.next + nth)).collect();
                let pushed = (0..*count).take_while(|_| model.push().is_some()).count();
                assert_eq!(queue.enqueue_bulk(&all).unwrap(), pushed, "{op:?}");
            }
            Op::Dequeue => assert_eq!(queue.dequeue().unwrap(), model.pop().map(T::of), "{op:?}"),
            Op::DequeueWait => {
                let got = queue.dequeue_wait(Duration::from_micros(50)).unwrap();
                assert_eq!(got, model.pop().map(T::of), "{op:?}");
            }
            Op::DequeueBulk(count) => {
                let mut all = vec![T::of(0); *count];
                let done = queue.dequeue_bulk(&mut all).unwrap();
                let popped: Vec<T> = (0..*count).map_while(|_| model.pop().map(T::of)).collect();
                assert_eq!(&all[..done], &popped, "{op:?}");
                assert!(all[done..].iter().all(|rest| *rest == T::of(0)), "nothing else was written");
            }
            Op::Commit => {
                let next = T::of(model.next + 1);
                let claim = queue.claim().unwrap();
                assert_eq!(claim.is_some(), model.push().is_some(), "{op:?}");
                if let Some(mut claim) = claim {
                    claim.write(next);
                    claim.commit().unwrap();
                }
            }
            Op::Abort => {
                let claim = queue.claim().unwrap();
                assert_eq!(claim.is_some(), model.abort(), "{op:?}");
                if let Some(mut claim) = claim {
                    claim.write(T::of(u64::MAX));
                }
            }
            Op::Peek => {
                let peek = queue.peek().unwrap();
                assert_eq!(peek.map(|peek| peek.read()), model.pop().map(T::of), "{op:?}");
            }
            Op::Reopen => {
                drop(queue);
                queue = Queue::open(&segment, "q").unwrap();
            }
        }
        model.trim();
        let len = model.places.len() as u64;
        assert_eq!((queue.len(), queue.is_empty()), (len, len == 0), "after {op:?}");
        assert_eq!(queue.is_full(), len == queue.capacity(), "after {op:?}");
    }
}

fn behaves_in_both_modes<T: Sample>(capacity: u64, ops: &[Op]) {
    behaves::<T>(QueueOptions::new(capacity), false, capacity, ops);
    behaves::<T>(QueueOptions::new(capacity).spsc(), true, capacity, ops);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn queues_of_bytes_behave(capacity in 1_u64..130, ops in ops()) {
        behaves_in_both_modes::<u8>(capacity, &ops);
    }

    #[test]
    fn queues_of_words_behave(capacity in 1_u64..40, ops in ops()) {
        behaves_in_both_modes::<u32>(capacity, &ops);
        behaves_in_both_modes::<u64>(capacity, &ops);
    }

    #[test]
    fn queues_of_odd_elements_behave(capacity in 1_u64..20, ops in ops()) {
        behaves_in_both_modes::<[u8; 28]>(capacity, &ops);
        behaves_in_both_modes::<[u8; 29]>(capacity, &ops);
    }

    #[test]
    fn queues_of_large_elements_behave(capacity in 1_u64..20, ops in ops()) {
        behaves_in_both_modes::<[u64; 8]>(capacity, &ops);
        behaves_in_both_modes::<[u64; 512]>(capacity, &ops);
    }
}
