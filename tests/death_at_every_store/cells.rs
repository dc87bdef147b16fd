//! Pools, arrays and atomics: no object is lost or given twice, no half of a writing is shown as a whole, and every change of an atomic is one step.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::thread;

use shmds::{Array, Atomic, AtomicValue, Pool, Segment, Status};

use super::{AN_INSTANT, Dying, Look, Operation, SOON};

/// Two words of the map.
const CAPACITY: u64 = 70;

pub(super) fn operations() -> Vec<Operation> {
    let mut all = pool_operations();
    all.extend(array_operations());
    all.extend(atomic_operations());
    all
}

fn me(segment: &Segment) -> u32 {
    segment.participants().iter().find(|one| one.is_self).unwrap().id
}

/// An operation on a pool of which the survivor has three objects and the one that dies has five. Afterwards the survivor has `most` at most, and so many if
/// it was complete, or `least`.
fn pool_operation(name: &str, [least, most]: [u64; 2], die: fn(&Dying, &Segment, &Pool<u64>)) -> Operation {
    let prepare = move |segment: &Segment, nth: u64| -> Look {
        let pool = Pool::<u64>::create(segment, "p", CAPACITY).unwrap();
        let mut ours = pool.acquire_batch(3).unwrap();
        ours.iter().for_each(|handle| pool.write(*handle, nth).unwrap());
        let me = me(segment);
        Box::new(move |complete| {
            let owned: Vec<_> = pool.handles().filter(|handle| pool.owner(*handle).unwrap() == me).collect();
            let count = owned.len() as u64;
            let expected = if least < 3 { least } else { most };
            assert!(if complete { count == expected } else { (least..=most).contains(&count) }, "{count} are ours");
            assert_eq!(pool.stats().allocated, count, "the dead own nothing");
            // Those handed over are ours; those that were taken from us are gone.
            ours.retain(|handle| owned.contains(handle));
            assert!(ours.iter().all(|handle| pool.read(*handle).unwrap() == nth));
            let rest: Vec<_> = std::iter::from_fn(|| pool.acquire().unwrap()).collect();
            assert_eq!(rest.len() as u64, CAPACITY - count, "every object can be had");
            let all: HashSet<u64> = owned.iter().chain(&rest).map(|handle| handle.to_bits() & 0xffff_ffff).collect();
            assert_eq!(all.len() as u64, CAPACITY, "and each once");
            pool.release_batch(&rest).unwrap();
            owned.iter().for_each(|handle| pool.release(*handle).unwrap());
            assert_eq!(pool.stats().allocated, 0);
        })
    };
    let die = move |dying: &Dying| {
        let segment = dying.attach();
        die(dying, &segment, &Pool::open(&segment, "p").unwrap());
    };
    Operation::new(format!("pool:{name}"), die, prepare)
}

fn pool_operations() -> Vec<Operation> {
    let case = |name, die| pool_operation(name, [3, 3], die);
    vec![
        case("acquire", |dying, _, pool| dying.during(|| pool.acquire().unwrap().unwrap())),
        case("acquire-with", |dying, _, pool| dying.during(|| pool.acquire_with(7).unwrap().unwrap())),
        case("acquire-batch", |dying, _, pool| {
            dying.during(|| assert_eq!(pool.acquire_batch(66).unwrap().len(), 66));
        }),
        case("acquire-more-than-there-are", |dying, _, pool| {
            dying.during(|| assert_eq!(pool.acquire_batch(70).unwrap().len(), 67));
        }),
        case("release", |dying, _, pool| {
            let five = pool.acquire_batch(5).unwrap();
            dying.during(|| pool.release(five[2]).unwrap());
        }),
        case("release-batch", |dying, _, pool| {
            let all = pool.acquire_batch(67).unwrap();
            dying.during(|| pool.release_batch(&all).unwrap());
        }),
        case("acquire-release", |dying, _, pool| {
            dying.during(|| (0..3).for_each(|_| pool.release(pool.acquire().unwrap().unwrap()).unwrap()));
        }),
        case("close-while-owning", |dying, _, pool| {
            let _ = pool;
            let segment = dying.attach();
            let pool = Pool::<u64>::open(&segment, "p").unwrap();
            assert_eq!(pool.acquire_batch(5).unwrap().len(), 5);
            dying.during(|| drop((pool, segment)));
        }),
        pool_operation("hand-over", [3, 4], |dying, segment, pool| {
            let to = segment.participants().iter().find(|one| !one.is_self).unwrap().id;
            let five = pool.acquire_batch(5).unwrap();
            dying.during(|| pool.hand_over(five[3], to).unwrap());
        }),
        pool_operation("adopt", [2, 3], |dying, segment, pool| {
            let me = me(segment);
            let theirs = pool.handles().find(|handle| pool.owner(*handle).unwrap() != me).unwrap();
            dying.during(|| pool.adopt(theirs).unwrap());
        }),
    ]
}

fn array_operations() -> Vec<Operation> {
    const LEN: u64 = 12;
    let prepare = |abandoned: bool| {
        move |segment: &Segment, nth: u64| -> Look {
            let array = Array::<u64>::create(segment, "a", LEN).unwrap();
            array.write(|array| array.fill(nth * 100)).unwrap();
            let writings = array.writings().0;
            Box::new(move |complete| {
                let mut copy = [0; LEN as usize];
                match array.snapshot(0, &mut copy, SOON) {
                    Ok(true) => {
                        assert!(!complete || !abandoned, "what was given up is torn");
                        let new = copy == [nth * 100 + 1; LEN as usize];
                        assert!(new || !complete && copy == [nth * 100; LEN as usize], "a mixture: {copy:?}");
                        assert_eq!(array.writings(), (writings + u64::from(new), false));
                    }
                    Err(error) if error.status() == Status::Torn && (!complete || abandoned) => {
                        assert!(array.writings().1)
                    }
                    other => panic!("{other:?}"),
                }
                array.write(|array| array.fill(nth * 100 + 2)).unwrap();
                assert!(array.snapshot(0, &mut copy, SOON).unwrap());
                assert_eq!(copy, [nth * 100 + 2; LEN as usize]);
            })
        }
    };
    let write = |dying: &Dying| {
        let segment = dying.attach();
        let array = Array::<u64>::open(&segment, "a").unwrap();
        dying.during(|| array.write(|array| array.fill(dying.nth * 100 + 1)).unwrap());
    };
    let copy = |dying: &Dying| {
        let segment = dying.attach();
        let array = Array::<u64>::open(&segment, "a").unwrap();
        let new = [dying.nth * 100 + 1; LEN as usize];
        dying.during(|| array.write(|array| array.copy_from_slice(0, &new)).unwrap());
    };
    let set = |dying: &Dying| {
        let segment = dying.attach();
        let array = Array::<u64>::open(&segment, "a").unwrap();
        dying.during(|| array.write(|array| (0..12).try_for_each(|at| array.set(at, dying.nth * 100 + 1))).unwrap());
    };
    let abandon = |dying: &Dying| {
        let segment = dying.attach();
        let array = Array::<u64>::open(&segment, "a").unwrap();
        let given_up = || array.write(|array| array.set(3, 1).and_then(|()| array.set(99, 1)));
        dying.during(|| assert_eq!(given_up().unwrap_err().status(), Status::Invalid));
    };
    vec![
        Operation::new("array:write-fill", write, prepare(false)),
        Operation::new("array:write-copy", copy, prepare(false)),
        Operation::new("array:write-set", set, prepare(false)),
        Operation::new("array:write-abandon", abandon, prepare(true)),
    ]
}

/// An operation that makes an atomic `to` of `from`.
fn atomic_operation<T: AtomicValue + Copy + PartialEq + std::fmt::Debug + 'static>(
    name: &str,
    [from, to]: [T; 2],
    die: fn(&Dying, &Atomic<T>),
) -> Operation {
    let prepare = move |segment: &Segment, _nth: u64| -> Look {
        let atomic = Atomic::<T>::create(segment, "x", from).unwrap();
        atomic.store(from, Ordering::Relaxed).unwrap();
        Box::new(move |complete| {
            let now = atomic.load(Ordering::Acquire).unwrap();
            assert!(now == to || !complete && now == from, "{now:?}");
        })
    };
    let die = move |dying: &Dying| {
        let segment = dying.attach();
        die(dying, &Atomic::open(&segment, "x").unwrap());
    };
    Operation::new(format!("atomic:{name}"), die, prepare)
}

fn atomic_operations() -> Vec<Operation> {
    const ORDER: Ordering = Ordering::AcqRel;
    vec![
        atomic_operation("store", [5_u64, 9], |dying, x| dying.during(|| x.store(9, Ordering::Release).unwrap())),
        atomic_operation("exchange", [5_u32, 9], |dying, x| {
            dying.during(|| assert_eq!(x.exchange(9, ORDER).unwrap(), 5));
        }),
        atomic_operation("compare-exchange", [5_u64, 9], |dying, x| {
            dying.during(|| assert_eq!(x.compare_exchange(5, 9, ORDER, Ordering::Acquire).unwrap(), Ok(5)));
        }),
        atomic_operation("compare-exchange-in-vain", [5_u64, 5], |dying, x| {
            dying.during(|| assert_eq!(x.compare_exchange(6, 9, ORDER, Ordering::Acquire).unwrap(), Err(5)));
        }),
        atomic_operation("fetch-sub", [5_u32, 2], |dying, x| dying.during(|| x.fetch_sub(3, ORDER).unwrap())),
        atomic_operation("fetch-and", [5_u64, 4], |dying, x| dying.during(|| x.fetch_and(6, ORDER).unwrap())),
        atomic_operation("fetch-xor", [5_u64, 3], |dying, x| dying.during(|| x.fetch_xor(6, ORDER).unwrap())),
        atomic_operation("fetch-min-f32", [5_f32, 2.5], |dying, x| dying.during(|| x.fetch_min(2.5, ORDER).unwrap())),
        atomic_operation("wait-in-vain", [5_u64, 5], |dying, x| {
            dying.during(|| assert_eq!(x.wait(5, AN_INSTANT).unwrap(), None));
        }),
        atomic_operation("notify-one", [5_u64, 5], |dying, x| {
            assert_eq!(x.wait(5, AN_INSTANT).unwrap(), None);
            dying.during(|| x.notify_one().unwrap());
        }),
        atomic_operation("fetch-add", [5_i64, 8], |dying, x| dying.during(|| x.fetch_add(3, ORDER).unwrap())),
        atomic_operation("fetch-max", [5_i64, 8], |dying, x| dying.during(|| x.fetch_max(8, ORDER).unwrap())),
        atomic_operation("fetch-add-f64", [5_f64, 5.5], |dying, x| dying.during(|| x.fetch_add(0.5, ORDER).unwrap())),
        atomic_operation("fetch-or-bool", [false, true], |dying, x| dying.during(|| x.fetch_or(true, ORDER).unwrap())),
        Operation::new(
            "atomic:store-notify",
            |dying| {
                let segment = dying.attach();
                let x = Atomic::<u64>::open(&segment, "x").unwrap();
                dying.during(|| {
                    x.store(dying.nth, Ordering::Release).unwrap();
                    x.notify_all().unwrap();
                });
            },
            |segment, nth| {
                let x = Atomic::<u64>::create(segment, "x", 0).unwrap();
                x.store(0, Ordering::Release).unwrap();
                let segment = segment.clone();
                let sleeper = thread::spawn(move || {
                    let x = Atomic::<u64>::open(&segment, "x").unwrap();
                    x.wait(0, SOON).unwrap()
                });
                thread::sleep(std::time::Duration::from_millis(2));
                Box::new(move |_| assert_eq!(sleeper.join().unwrap(), Some(nth), "it looks by itself"))
            },
        ),
    ]
}
