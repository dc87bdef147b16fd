//! Processes die in the middle of spans, arrays, atomics and pools; everybody else goes on.

mod support;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shmds::{Array, Atomic, Handle, Pool, Segment, Span, Status};
use support::*;

const SOON: Duration = Duration::from_secs(20);
const LEN: usize = 200;
const CAPACITY: u64 = 70;

fn numbers(segment: &Segment) -> Array<u64> {
    Array::create(segment, "a", LEN as u64).unwrap()
}

/// Which writing the array has, whole; `None` when it is torn.
fn whole(array: &Array<u64>) -> Option<u64> {
    let mut copy = [0; LEN];
    match array.snapshot(0, &mut copy, SOON) {
        Err(error) if error.status() == Status::Torn => None,
        other => {
            assert!(other.unwrap(), "nobody writes");
            Some(written(&copy))
        }
    }
}

/// Every object is there once.
fn is_complete(pool: &Pool<Object>) {
    let capacity = pool.capacity();
    assert_eq!((pool.stats().available, pool.handles().count()), (capacity, 0));
    let handles = pool.acquire_batch(capacity as usize + 1).unwrap();
    let objects: HashSet<_> = handles.iter().map(|handle| pool.get(*handle).unwrap()).collect();
    assert_eq!((handles.len() as u64, objects.len() as u64), (capacity, capacity));
    pool.release_batch(&handles).unwrap();
}

#[test]
fn a_writer_killed_in_the_middle_leaves_the_array_torn_and_the_next_makes_it_whole() {
    let name = Name::new();
    let segment = fresh(&name);
    for turn in 0..9 {
        let (dying, next) = (EVERY_LANGUAGE[turn % 3], EVERY_LANGUAGE[turn / 3]);
        let array = numbers(&segment);
        let mut holder = dying.start(&format!("array-hold {name} a 100"));
        holder.line("held");
        let mut copy = [0; LEN];
        assert!(!array.snapshot(0, &mut copy, Duration::from_millis(5)).unwrap(), "it lives, and is not done");
        refused(array.write(|_| Ok(())), Status::Busy, &["'a'", "participant"]);
        holder.kill();
        assert_eq!((whole(&array), array.writings()), (None, (0, true)), "{dying:?}");
        next.start(&format!("array-write {name} a 5")).finish();
        assert_eq!((whole(&array), array.writings()), (Some(5), (4, false)), "{dying:?}, then {next:?}");
        segment.remove("a").unwrap();
    }
}

#[test]
fn all_objects_of_a_killed_process_come_back_and_no_others() {
    let name = Name::new();
    let segment = fresh(&name);
    for language in EVERY_LANGUAGE {
        let pool = Pool::<Object>::create(&segment, "p", CAPACITY).unwrap();
        let mine = pool.acquire_batch(3).unwrap();
        let mut holder = language.start(&format!("pool-hold {name} p 66"));
        holder.line("held 66");
        assert_eq!(pool.acquire_batch(CAPACITY as usize).unwrap().len(), 1);
        assert_eq!(pool.acquire().unwrap(), None, "all are owned by the living");
        let theirs: Vec<Handle> = pool.handles().filter(|handle| pool.owner(*handle).unwrap() != 1).collect();
        assert_eq!(theirs.len(), 66);
        holder.kill();
        let mut back = Vec::new();
        eventually("they are back", || {
            back.extend(pool.acquire().unwrap());
            back.len() == 66
        });
        assert_eq!(pool.acquire().unwrap(), None, "{language:?}");
        assert!(theirs.iter().all(|handle| !pool.is_valid(*handle)), "their handles are stale");
        assert!(mine.iter().all(|handle| pool.owner(*handle).unwrap() == 1));
        let all: Vec<Handle> = pool.handles().collect();
        pool.release_batch(&all).unwrap();
        is_complete(&pool);
        segment.remove("p").unwrap();
    }
}

#[test]
fn a_process_killed_asleep_at_an_atomic_is_in_nobodys_way() {
    let name = Name::new();
    let segment = fresh(&name);
    for turn in 0..9 {
        let (dying, next) = (EVERY_LANGUAGE[turn % 3], EVERY_LANGUAGE[turn / 3]);
        let atomic = Atomic::<u64>::create(&segment, "x", 0).unwrap();
        let sleepers = [dying, next].map(|language| language.start(&format!("atomic-pong {name} x 0")));
        eventually("they are there", || segment.find("x").unwrap().unwrap().users == 3);
        std::thread::sleep(Duration::from_millis(30));
        let [dead, living] = sleepers;
        dead.kill();
        let start = Instant::now();
        for _ in 0..5 {
            atomic.store(1 << 32, Ordering::Release).unwrap();
            atomic.notify_one().unwrap();
            assert_eq!(atomic.wait(1 << 32, SOON).unwrap(), Some(0), "{dying:?} died, {next:?} answers");
        }
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        living.kill();
        segment.remove("x").unwrap();
    }
}

#[test]
fn an_array_is_whole_or_torn_after_each_of_60_writers_deaths_and_readers_never_get_a_mixture() {
    let (name, mut random) = (Name::new(), Random::new());
    let segment = fresh(&name);
    let array = numbers(&segment);
    let readers = EVERY_LANGUAGE.map(|language| language.start(&format!("array-read {name} a 0")));
    let (mut last, mut torn) = (0, 0);
    for death in 0..60 {
        let before = array.writings().0;
        let writer = EVERY_LANGUAGE[death % 3].start(&format!("array-write {name} a 0"));
        eventually("it writes", || array.writings().0 > before);
        std::thread::sleep(random.micros(0, 3000));
        writer.kill();
        match whole(&array) {
            Some(number) => {
                assert!(number > last, "{number} after {last}");
                last = number;
            }
            None => torn += 1,
        }
        if death % 2 == 0 {
            let mut elements = [0; LEN];
            let number = array.get(0).unwrap().max(last) + 1;
            writing(&mut elements, number);
            array.write(|array| array.copy_from_slice(0, &elements)).unwrap();
            last = whole(&array).unwrap();
            assert_eq!(last, number);
        }
    }
    say(&format!("60 writers killed: {torn} left the array torn, {} writings", array.writings().0));
    readers.into_iter().for_each(Peer::kill);
    segment.reap().unwrap();
    assert_eq!(segment.count(), 1);
}

/// `giver NAME`: has an object of the pool until it is killed.
#[test]
#[ignore = "not a test: a process that tests start"]
fn giver() {
    let Some(words) = role_words() else { return };
    let segment = Segment::open(&words[0], &sized()).unwrap();
    let pool = Pool::<u64>::open(&segment, "p").unwrap();
    let _one = pool.acquire().unwrap().unwrap();
    println!("\nready");
    loop {
        std::thread::park();
    }
}

/// Makes an object that of a participant who was there: as if it had given everything back in the very moment of being handed this.
fn stray(pool: &Pool<u64>, handle: Handle) {
    const LEFT: u64 = 9;
    let index = (handle.to_bits() & 0xffff_ffff) - 1;
    // SAFETY: the word of the object's state, as docs/FORMAT.md has it: behind the map, which has one.
    let state = unsafe { AtomicU64::from_ptr(pool.span().cast::<u8>().add(128 + index as usize * 8).cast().as_ptr()) };
    state.store(state.load(Ordering::Relaxed) & !(0xffff << 16) | LEFT << 16, Ordering::Relaxed);
    assert_eq!(u64::from(pool.owner(handle).unwrap()), LEFT);
}

#[test]
fn an_object_handed_to_somebody_who_was_leaving_comes_back() {
    let name = Name::new();
    let segment = fresh(&name);
    let pool = Pool::<u64>::create(&segment, "p", 4).unwrap();
    let mut giver = Peer::role("giver", &name);
    giver.line("ready");
    stray(&pool, pool.handles().next().unwrap());
    segment.reap().unwrap();
    assert_eq!(pool.stats().allocated, 1, "its giver may take it back");
    giver.kill();
    segment.reap().unwrap();
    assert_eq!(pool.stats().allocated, 0);

    let mut four = pool.acquire_batch(4).unwrap();
    stray(&pool, four[2]);
    four[2] = pool.acquire().unwrap().expect("the giver lives, and looked too early");
    assert_eq!(pool.acquire().unwrap(), None);
    pool.release_batch(&four).unwrap();
    assert_eq!(pool.stats().allocated, 0);
}

/// `restless NAME SEED`: does everything with every structure, until it is killed.
#[test]
#[ignore = "not a test: a process that tests start"]
fn restless() {
    let Some(words) = role_words() else { return };
    let segment = Segment::open(&words[0], &sized()).unwrap();
    println!("\nready");
    let me = segment.participants().iter().find(|one| one.is_self).expect("attached").id;
    for round in words[1].parse::<u64>().unwrap().. {
        let own = format!("own-{}", round % 7);
        match round % 4 {
            0 => drop(Span::create(&segment, &own, round % 5000 + 1, 0, false)),
            1 => drop(Array::<u64>::create(&segment, &own, round % 500 + 1).map(|array| array.fill(round))),
            2 => drop(Atomic::<u64>::create(&segment, &own, round).map(|one| one.fetch_add(1, Ordering::Relaxed))),
            _ => drop(Pool::<u64>::create(&segment, &own, round % 100 + 1).map(|pool| pool.acquire_batch(9))),
        }
        if round % 3 == 0 {
            // The other may have been faster.
            let _ = segment.remove(&own);
        }

        let array = Array::<u64>::open(&segment, "a").unwrap();
        let mut elements = [0; LEN];
        let _ = array.write(|array| {
            writing(&mut elements, round);
            array.copy_from_slice(0, &elements)
        });
        if array.snapshot(0, &mut elements, Duration::from_millis(1)).unwrap_or(false) {
            written(&elements);
        }

        let atomic = Atomic::<u64>::open(&segment, "x").unwrap();
        atomic.fetch_max(round, Ordering::Relaxed).unwrap();
        atomic.notify_all().unwrap();
        let _ = atomic.wait(round, Duration::from_micros(50)).unwrap();

        let pool = Pool::<Object>::open(&segment, "p").unwrap();
        let handles = pool.acquire_batch(round as usize % 5 + 1).unwrap();
        for handle in &handles {
            pool.write(*handle, [round; 8]).unwrap();
            for other in segment.participants().iter().filter(|other| other.id != me) {
                // Theirs now, unless they are gone or do not have it open.
                if pool.hand_over(*handle, other.id).is_ok() && round % 2 == 0 {
                    let _ = pool.adopt(*handle);
                }
            }
        }
        for handle in pool.handles().collect::<Vec<_>>() {
            if pool.owner(handle).is_ok_and(|owner| owner == me) {
                let _ = pool.release(handle);
            }
        }
    }
}

#[test]
fn all_structures_are_sound_after_each_of_100_deaths_beside_a_survivor() {
    let (name, mut random) = (Name::new(), Random::new());
    let segment = fresh(&name);
    let array = numbers(&segment);
    let atomic = Atomic::<u64>::create(&segment, "x", 0).unwrap();
    let pool = Pool::<Object>::create(&segment, "p", CAPACITY).unwrap();
    let mut greatest = 0;
    for death in 0..50 {
        let mut two = [0, 1].map(|_| Peer::role("restless", &format!("{name} {}", random.below(1000))));
        two.iter_mut().for_each(|one| {
            one.line("ready");
        });
        std::thread::sleep(random.micros(0, 5000));
        two.into_iter().for_each(Peer::kill);
        segment.reap().unwrap();
        // What was handed over to us came to stay.
        let ours: Vec<Handle> = pool.handles().collect();
        pool.release_batch(&ours).unwrap();
        is_complete(&pool);
        let _ = whole(&array);
        let now = atomic.load(Ordering::Relaxed).unwrap();
        assert!(now >= greatest);
        greatest = now;
        let mut elements = [0; LEN];
        writing(&mut elements, death);
        array.write(|array| array.copy_from_slice(0, &elements)).unwrap();
        assert_eq!(whole(&array), Some(death));

        assert_eq!((segment.count(), segment.participants().len()), (1, 1));
        for entry in segment.entries().filter(|entry| entry.name.starts_with("own-")).collect::<Vec<_>>() {
            assert_eq!(entry.users, 0, "{entry:?}");
            segment.remove(&entry.name).unwrap();
        }
        assert_eq!(segment.stats().unwrap().entries_used, 3, "nothing is removed and not free, nothing half-built");
    }
    segment.remove_all().unwrap();
    drop((array, atomic, pool));
    assert_eq!(segment.stats().unwrap().used, 0, "all memory came back");
}
