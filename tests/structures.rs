//! Span, array, atomic and pool between processes: what crosses, and what a killed one leaves.

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use shmds::{Array, Atomic, Handle, Pool, Queue, QueueOptions, Ring, RingOptions, Segment, Span, Status};
use support::*;

const SOON: Duration = Duration::from_secs(20);

/// `tenant NAME`: takes what there is, tells a handle, begins a writing, and waits to be killed.
#[test]
#[ignore = "not a test: a process that tests start"]
fn tenant() {
    let Some(words) = role_words() else { return };
    let segment = Segment::open(&words[0], &sized()).unwrap();
    let span = Span::open(&segment, "span").unwrap();
    // SAFETY: the other side looks only after `told` has changed.
    unsafe { span.as_ptr().write_bytes(7, span.len()) };
    let pool = Pool::<u64>::open(&segment, "pool").unwrap();
    let handles = pool.acquire_batch(10).unwrap();
    assert_eq!(handles.len(), 4);
    pool.write(handles[0], 42).unwrap();
    let told = Atomic::<u64>::open(&segment, "told").unwrap();
    let array = Array::<u32>::open(&segment, "array").unwrap();
    array
        .write(|array| {
            array.set(0, 1)?;
            told.store(handles[0].to_bits(), Ordering::Release)?;
            told.notify_all()?;
            loop {
                std::thread::park();
            }
            #[allow(unreachable_code)]
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_free_object_is_found_although_its_hint_was_lost() {
    let name = Name::new();
    let segment = fresh(&name);
    let pool = Pool::<u64>::create(&segment, "pool", 100).unwrap();
    let mine = pool.acquire().unwrap().unwrap();
    // As if somebody had scribbled there, or adopted and released what another was just acquiring.
    // SAFETY: two words of the map, of which this test has the only user.
    unsafe { pool.span().cast::<[u64; 2]>().write([0; 2]) };
    let others = pool.acquire_batch(100).unwrap();
    assert!(others.len() == 99 && !others.contains(&mine), "{others:?}");
    assert!(pool.is_full() && pool.acquire().unwrap().is_none());
    pool.release(mine).unwrap();
    assert!(pool.acquire().unwrap().is_some());
}

#[test]
fn every_structure_shows_its_bytes() {
    let name = Name::new();
    let segment = fresh(&name);
    let span = Span::create(&segment, "span", 100, 0, true).unwrap();
    let array = Array::<u32>::create(&segment, "array", 50).unwrap();
    let atomic = Atomic::<u64>::create(&segment, "atomic", 5).unwrap();
    let queue = Queue::<u64>::create(&segment, "queue", &QueueOptions::new(4)).unwrap();
    let pool = Pool::<u64>::create(&segment, "pool", 4).unwrap();
    let ring = Ring::<u64>::create(&segment, "ring", &RingOptions::new(4)).unwrap();
    let all = segment.span();
    assert_eq!(all.len() as u64, segment.stats().unwrap().size);
    let shown = [
        (span.span(), span.entry()),
        (array.span(), array.entry()),
        (atomic.span(), atomic.entry()),
        (queue.span(), queue.entry()),
        (pool.span(), pool.entry()),
        (ring.span(), ring.entry()),
    ];
    for (span, entry) in shown {
        let found = segment.find(&entry.name).unwrap().unwrap();
        assert_eq!((span.len() as u64, entry.kind, entry.offset), (found.size, found.kind, found.offset));
        let offset = span.as_ptr().cast::<u8>() as u64 - all.as_ptr().cast::<u8>() as u64;
        assert_eq!(offset, found.offset, "{}", entry.name);
    }
}

#[test]
fn a_pool_tells_how_full_it_is_and_a_segment_removes_everything_at_once() {
    let name = Name::new();
    let segment = fresh(&name);
    let pool = Pool::<u64>::create(&segment, "pool", 2).unwrap();
    assert!((pool.capacity(), pool.is_empty(), pool.is_full()) == (2, true, false));
    assert_eq!(pool.acquire_batch(9).unwrap().len(), 2);
    assert!(!pool.is_empty() && pool.is_full());
    let _other = Array::<u32>::create(&segment, "array", 50).unwrap();
    drop(Span::create(&segment, "span", 50, 0, true).unwrap());
    assert_eq!((segment.remove_all().unwrap(), segment.entries().count()), (3, 0));
    assert_eq!((segment.stats().unwrap().entries_used, segment.remove_all().unwrap()), (2, 0), "two are still open");
    drop((pool, _other));
    assert_eq!(segment.stats().unwrap().used, 0);
}

#[test]
fn minima_and_maxima_pass_over_what_is_not_a_number() {
    let name = Name::new();
    let segment = fresh(&name);
    let atomic = Atomic::<f64>::create(&segment, "x", 5.0).unwrap();
    let now = || atomic.load(Ordering::Relaxed).unwrap();
    for change in [Atomic::fetch_min, Atomic::fetch_max] {
        atomic.store(5.0, Ordering::Relaxed).unwrap();
        assert_eq!((change(&atomic, f64::NAN, Ordering::Relaxed).unwrap(), now()), (5.0, 5.0));
        atomic.store(f64::NAN, Ordering::Relaxed).unwrap();
        assert!(change(&atomic, f64::NAN, Ordering::Relaxed).unwrap().is_nan() && now().is_nan());
        change(&atomic, 7.0, Ordering::Relaxed).unwrap();
        assert_eq!(now(), 7.0);
    }
}

#[test]
fn a_scribbled_bool_is_true_for_every_operation() {
    let name = Name::new();
    let segment = fresh(&name);
    let flag = Atomic::<bool>::create(&segment, "flag", false).unwrap();
    let order = Ordering::SeqCst;
    for scribbled in 1..=u8::MAX {
        // SAFETY: the value's byte, and nobody else is there.
        let scribble = || unsafe { flag.as_ptr().cast::<u8>().write_volatile(scribbled) };
        scribble();
        assert!(flag.load(order).unwrap() && flag.wait(true, Duration::ZERO).unwrap().is_none());
        assert_eq!(flag.compare_exchange(false, false, order, order).unwrap(), Err(true));
        assert_eq!(flag.compare_exchange(true, false, order, order).unwrap(), Ok(true));
        assert!(!flag.load(order).unwrap());
        for (change, operand, left) in [
            (Atomic::fetch_and as fn(&Atomic<bool>, bool, Ordering) -> _, true, true),
            (Atomic::fetch_or, false, true),
            (Atomic::fetch_xor, true, false),
            (Atomic::exchange, false, false),
        ] {
            scribble();
            assert_eq!((change(&flag, operand, order).unwrap(), flag.load(order).unwrap()), (true, left));
        }
    }
}

#[test]
fn a_writing_that_fails_or_panics_leaves_the_array_torn() {
    let name = Name::new();
    let segment = fresh(&name);
    let array = Array::<u32>::create(&segment, "array", 50).unwrap();
    let mut copy = [9; 50];
    let failed = array.write(|array| array.set(0, 1).and_then(|()| array.set(50, 1)));
    refused(failed, Status::Invalid, &["'array' has 50 elements"]);
    refused(array.snapshot(0, &mut copy, SOON), Status::Torn, &["'array'", "gave up"]);
    array.write(|array| array.fill(2)).unwrap();
    assert!(array.snapshot(0, &mut copy, SOON).unwrap());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        array.write(|_| -> shmds::Result<()> { panic!("on purpose") })
    }));
    assert!(panicked.is_err());
    refused(array.snapshot(0, &mut copy, SOON), Status::Torn, &["'array'"]);
    assert_eq!(array.writings(), (1, true));
}

#[test]
fn the_dead_leave_objects_a_torn_array_and_bytes() {
    let name = Name::new();
    let segment = fresh(&name);
    let span = Span::create(&segment, "span", 100, 0, true).unwrap();
    let pool = Pool::<u64>::create(&segment, "pool", 4).unwrap();
    let told = Atomic::<u64>::create(&segment, "told", 0).unwrap();
    let array = Array::<u32>::create(&segment, "array", 50).unwrap();
    let tenant = Peer::role("tenant", &name);
    let given = Handle::from_bits(told.wait(0, SOON).unwrap().expect("told in time"));

    let mut copy = [9; 50];
    assert!(!array.snapshot(0, &mut copy, Duration::from_millis(20)).unwrap());
    refused(array.write(|_| Ok(())), Status::Busy, &["'array'", "participant"]);
    refused(pool.release(given), Status::Invalid, &["'pool'", "belongs to participant"]);
    assert_eq!(pool.acquire().unwrap(), None);
    pool.adopt(given).unwrap();

    tenant.kill();
    refused(array.snapshot(0, &mut copy, SOON), Status::Torn, &["'array'", "died"]);
    array.write(|array| array.fill(2)).unwrap();
    assert!(array.snapshot(0, &mut copy, SOON).unwrap());
    assert_eq!(copy, [2; 50]);

    eventually("the dead one's objects are back", || segment.reap().is_ok() && pool.stats().available == 3);
    assert_eq!(pool.read(given).unwrap(), 42);
    pool.release(given).unwrap();
    refused(pool.release(given), Status::Invalid, &["stale"]);
    // SAFETY: nobody else is left.
    assert!(unsafe { std::slice::from_raw_parts(span.as_ptr().as_ptr(), span.len()) }.iter().all(|byte| *byte == 7));
}
