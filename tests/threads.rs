//! Threads on one mapping that touch what is theirs by plain pointers: `scripts/sanitize.sh` has ThreadSanitizer look at them. The queues of many and
//! the rings have theirs in `queue.rs` and `ring.rs`.

mod support;

use std::time::Duration;

use shmds::{Array, ByteQueue, ByteQueueOptions, Pool, Queue, QueueOptions};
use support::*;

const SOON: Duration = Duration::from_secs(60);

#[test]
fn an_object_of_a_pool_is_one_threads_at_a_time() {
    let name = Name::new();
    let segment = fresh(&name);
    // One less than there are threads.
    Pool::<[u64; 4]>::create(&segment, "p", 2).unwrap();
    std::thread::scope(|scope| {
        for me in 0..3 {
            let pool = Pool::<[u64; 4]>::open(&segment, "p").unwrap();
            scope.spawn(move || {
                let mut got = 0;
                while got < 3000 {
                    let Some(handle) = pool.acquire().unwrap() else {
                        std::thread::yield_now();
                        continue;
                    };
                    got += 1;
                    let object = pool.get(handle).unwrap();
                    // SAFETY: acquired.
                    unsafe { object.write([me * 10_000 + got; 4]) };
                    // SAFETY: as above.
                    assert_eq!(unsafe { object.read() }, [me * 10_000 + got; 4]);
                    pool.release(handle).unwrap();
                }
            });
        }
    });
    assert_eq!(Pool::<[u64; 4]>::open(&segment, "p").unwrap().stats().available, 2);
}

#[test]
fn an_array_is_written_by_one_thread_at_a_time_and_a_snapshot_is_of_one_moment() {
    let name = Name::new();
    let segment = fresh(&name);
    let array = Array::<u64>::create(&segment, "a", 40).unwrap();
    std::thread::scope(|scope| {
        for first in [0, 1] {
            let array = &array;
            scope.spawn(move || {
                for turn in 0..1500 {
                    while array.write(|array| array.fill(turn * 2 + first)).is_err() {
                        std::thread::yield_now();
                    }
                }
            });
        }
        for _ in 0..3000 {
            let mut copy = [0; 40];
            if array.snapshot(0, &mut copy, SOON).unwrap() {
                assert_eq!(copy, [copy[0]; 40]);
            }
        }
    });
    assert_eq!(array.writings(), (3000, false));
}

#[test]
fn what_an_spsc_queue_shows_in_place_is_no_longer_written() {
    let name = Name::new();
    let segment = fresh(&name);
    let out = Queue::<[u64; 5]>::create(&segment, "q", &QueueOptions::new(8).spsc()).unwrap();
    let queue = out.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for nth in 0..10_000_u64 {
                let mut claim = out.claim_wait(SOON).unwrap().unwrap();
                // SAFETY: claimed.
                unsafe { claim.as_mut_ptr().write([nth; 5]) };
                claim.commit().unwrap();
            }
        });
        for nth in 0..10_000 {
            let shown = queue.peek_wait(SOON).unwrap().unwrap();
            // SAFETY: shown.
            assert_eq!(unsafe { shown.as_ptr().read() }, [nth; 5]);
        }
    });
}

#[test]
fn what_a_byte_queue_shows_in_place_is_no_longer_written() {
    let name = Name::new();
    let segment = fresh(&name);
    let out = ByteQueue::create(&segment, "b", &ByteQueueOptions::new(4000)).unwrap();
    let queue = out.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for nth in 0..10_000_u64 {
                let length = 1 + nth as usize % 300;
                let mut place = out.reserve_wait(length, SOON).unwrap().unwrap();
                // SAFETY: reserved.
                unsafe { place.as_mut_ptr().write_bytes(nth as u8, length) };
                place.commit(length, nth).unwrap();
            }
        });
        for nth in 0..10_000_u64 {
            let message = queue.receive_wait(SOON).unwrap().unwrap();
            // SAFETY: shown.
            let bytes = unsafe { std::slice::from_raw_parts(message.as_ptr(), message.len()) };
            assert_eq!((message.tag(), bytes.len()), (nth, 1 + nth as usize % 300));
            assert!(bytes.iter().all(|byte| *byte == nth as u8));
        }
    });
}
