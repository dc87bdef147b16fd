//! The Rust peer on spans, arrays, atomics and pools. What it does is told in c-tests/support_peer.h.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shmds::{Array, Atomic, AtomicValue, Handle, Pool, Queue, Result, Segment, Span, Status};

use super::Message;
use super::diary::{begins, succeeds};
use super::log::Log;
use super::role::{FOREVER, number};

/// How long a peer waits for what another does.
const LONG: Duration = Duration::from_secs(30);
const OBJECT_WORDS: usize = 8;

/// A pool's object.
pub type Object = [u64; OBJECT_WORDS];

/// The byte of a filled span.
pub fn byte(seed: u64, at: u64) -> u8 {
    seed.wrapping_mul(31).wrapping_add(at * 7 + at / 251) as u8
}

/// Writing `number` of so many words: the first is the number, the last the sum of the others.
pub fn writing(words: &mut [u64], number: u64) {
    let [inner @ .., sum] = words else { panic!("no words") };
    for (at, word) in (1..).zip(inner.iter_mut()) {
        *word = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_mul(at);
    }
    inner[0] = number;
    *sum = inner.iter().fold(0, |sum, word| sum.wrapping_add(*word));
}

/// The number of the writing that these words are, all of them.
#[track_caller]
pub fn written(words: &[u64]) -> u64 {
    let mut expected = vec![0; words.len()];
    writing(&mut expected, words[0]);
    assert!(words == expected, "a mixture of writings, from number {} on", words[0]);
    words[0]
}

/// Whether all went right; `None` for words that are not about these structures.
pub(super) fn run(segment: &Segment, words: &[&str]) -> Option<Result<bool>> {
    let [verb, _, name, rest @ ..] = words else { return None };
    Some(match (*verb, rest) {
        ("span-fill", [seed]) => span_fill(segment, name, number(seed)),
        ("span-check", [seed]) => span_check(segment, name, number(seed)),
        ("array-write", [count]) => array_write(segment, name, number(count)),
        ("array-read", [count]) => array_read(segment, name, number(count)),
        ("array-hold", [count]) => array_hold(segment, name, number(count)),
        ("atomic-ping" | "atomic-pong", [rounds]) => {
            ping_or_pong(segment, name, verb.ends_with("ping"), number(rounds))
        }
        ("atomic-add", [log]) => atomic_add(segment, name, &Log::open(Path::new(log))),
        ("pool-give", [queue, count]) => pool_give(segment, name, queue, number(count)),
        ("pool-take", [queue, count]) => pool_take(segment, name, queue, number(count)),
        ("pool-hold", [count]) => pool_hold(segment, name, number(count)),
        ("pool-storm", [doomed, me, log]) => pool_storm(segment, name, doomed, number(me), &Log::open(Path::new(log))),
        _ => return None,
    })
}

/// Says "held COUNT", and does nothing more until it is killed.
fn held(count: usize) -> ! {
    println!("held {count}");
    loop {
        std::thread::park();
    }
}

fn span_fill(segment: &Segment, name: &str, seed: u64) -> Result<bool> {
    let span = Span::open(segment, name)?;
    for at in 0..span.len() {
        // SAFETY: inside the span; the other side looks when this process has ended.
        unsafe { span.as_ptr().add(at).write(byte(seed, at as u64)) };
    }
    Ok(true)
}

fn span_check(segment: &Segment, name: &str, seed: u64) -> Result<bool> {
    let span = Span::open(segment, name)?;
    // SAFETY: nobody writes any more.
    let bytes = unsafe { span.span().as_ref() };
    Ok((0..).zip(bytes).all(|(at, found)| *found == byte(seed, at)))
}

fn array_write(segment: &Segment, name: &str, count: u64) -> Result<bool> {
    let array = Array::<u64>::open(segment, name)?;
    let mut elements = vec![0; array.len()];
    let mut current = array.get(0)?;
    while count == 0 || current < count {
        current += 1;
        writing(&mut elements, current);
        begins();
        array.write(|array| {
            if current.is_multiple_of(2) {
                return array.copy_from_slice(0, &elements);
            }
            elements.iter().enumerate().try_for_each(|(at, element)| array.set(at, *element))
        })?;
        succeeds();
    }
    Ok(true)
}

fn array_read(segment: &Segment, name: &str, count: u64) -> Result<bool> {
    let array = Array::<u64>::open(segment, name)?;
    let mut elements = vec![0; array.len()];
    let (mut last, mut whole, mut torn) = (0, 0, 0);
    while count == 0 || last < count {
        begins();
        match array.snapshot(0, &mut elements, LONG) {
            Err(error) if error.status() == Status::Torn => {
                torn += 1;
                std::thread::sleep(Duration::from_micros(100));
                continue;
            }
            other => assert!(other?, "the writer leaves no gap"),
        }
        succeeds();
        let current = written(&elements);
        assert!(current >= last, "writing {current} after {last}");
        (last, whole) = (current, whole + 1);
    }
    println!("read {whole} torn {torn}");
    Ok(true)
}

fn array_hold(segment: &Segment, name: &str, count: usize) -> Result<bool> {
    let array = Array::<u64>::open(segment, name)?;
    let mut elements = vec![0; array.len()];
    writing(&mut elements, array.get(0)? + 1);
    array.write(|array| {
        array.copy_from_slice(0, &elements[..count])?;
        held(count)
    })
}

/// The values that ping and pong store.
trait There: AtomicValue + PartialEq + std::fmt::Debug {
    const THERE: Self;
    const BACK: Self;
}

macro_rules! there {
    ($($type:ty: $there:expr, $back:expr;)*) => {
        $(impl There for $type {
            const THERE: Self = $there;
            const BACK: Self = $back;
        })*
    };
}

there! {
    bool: true, false;
    i32: 1, 0;
    u32: 1, 0;
    i64: 1 << 32, 0;
    u64: 1 << 32, 0;
    f32: 1.5, 0.0;
    f64: 1.5, 0.0;
}

fn ping_or_pong(segment: &Segment, name: &str, pings: bool, rounds: u64) -> Result<bool> {
    let play = match segment.find(name)?.expect("it was waited for").flags {
        1 => play::<bool>,
        2 => play::<i32>,
        3 => play::<u32>,
        4 => play::<i64>,
        5 => play::<u64>,
        6 => play::<f32>,
        _ => play::<f64>,
    };
    play(segment, name, pings, rounds)
}

fn play<T: There>(segment: &Segment, name: &str, pings: bool, rounds: u64) -> Result<bool> {
    let atomic = Atomic::<T>::open(segment, name)?;
    let limit = if rounds == 0 { FOREVER } else { LONG };
    let mut times = vec![Duration::ZERO];
    let mut round = 0;
    while round < rounds || rounds == 0 {
        if pings {
            std::thread::sleep(Duration::from_micros(200));
            let start = Instant::now();
            begins();
            atomic.store(T::THERE, Ordering::Release)?;
            atomic.notify_one()?;
            assert_eq!(atomic.wait(T::THERE, limit)?, Some(T::BACK));
            times.push(start.elapsed());
        } else {
            begins();
            assert_eq!(atomic.wait(T::BACK, limit)?, Some(T::THERE));
            atomic.store(T::BACK, Ordering::Release)?;
            atomic.notify_all()?;
        }
        succeeds();
        round += 1;
    }
    times.sort();
    println!("median-us {}", times[times.len() / 2].as_micros());
    Ok(true)
}

fn atomic_add(segment: &Segment, name: &str, log: &Log) -> Result<bool> {
    let atomic = Atomic::<u64>::open(segment, name)?;
    let mut last = 0;
    loop {
        begins();
        log.set(0, log.get(0) + 1);
        let value = atomic.fetch_add(1, Ordering::AcqRel)? + 1;
        log.set(1, log.get(1) + 1);
        succeeds();
        assert!(value > last, "the value did not grow: {value} after {last}");
        last = value;
    }
}

fn pool_give(segment: &Segment, name: &str, queue: &str, count: u64) -> Result<bool> {
    let (pool, queue) = (Pool::<Object>::open(segment, name)?, Queue::<Message>::open(segment, queue)?);
    for current in 0..count {
        let mut object = [0; OBJECT_WORDS];
        writing(&mut object, current);
        let handle = loop {
            if let Some(handle) = pool.acquire_with(object)? {
                break handle;
            }
            std::thread::sleep(Duration::from_micros(20));
        };
        assert!(queue.enqueue_wait(&Message::new(handle.to_bits(), current), LONG)?, "nobody takes");
    }
    // What we own goes with us.
    super::eventually("all are taken", || pool.is_empty());
    Ok(true)
}

fn pool_take(segment: &Segment, name: &str, queue: &str, count: u64) -> Result<bool> {
    let (pool, queue) = (Pool::<Object>::open(segment, name)?, Queue::<Message>::open(segment, queue)?);
    for current in 0..count {
        let message = queue.dequeue_wait(LONG)?.expect("somebody gives");
        let handle = Handle::from_bits(message.producer);
        pool.adopt(handle)?;
        assert_eq!((written(&pool.read(handle)?), message), (current, Message::new(message.producer, current)));
        pool.release(handle)?;
    }
    Ok(true)
}

fn pool_hold(segment: &Segment, name: &str, count: usize) -> Result<bool> {
    let pool = Pool::<Object>::open(segment, name)?;
    assert_eq!(pool.acquire_batch(count)?.len(), count);
    held(count)
}

fn pool_storm(segment: &Segment, name: &str, doomed: &str, me: u64, log: &Log) -> Result<bool> {
    let (pool, doomed) = (Pool::<Object>::open(segment, name)?, Array::<u64>::open(segment, doomed)?);
    for turn in 1.. {
        begins();
        while !pool_turn(&pool, &doomed, me + 1, turn)? {
            std::thread::sleep(Duration::from_micros(20));
        }
        log.set(0, turn);
        succeeds();
    }
    Ok(true)
}

/// Acquires one to four objects, marks them, finds its marks, and releases them; false when none was free.
pub fn pool_turn(pool: &Pool<Object>, doomed: &Array<u64>, mark: u64, turn: u64) -> Result<bool> {
    // SAFETY: the object is there, aligned, and reached through atomics by everybody.
    let words = |handle| Ok(unsafe { &*pool.get(handle)?.cast::<[AtomicU64; OBJECT_WORDS]>() });
    let mine = pool.acquire_batch(1 + turn as usize % 4)?;
    for handle in &mine {
        let object: &[AtomicU64; OBJECT_WORDS] = words(*handle)?;
        let other = object[0].swap(mark, Ordering::AcqRel);
        assert!(other == 0 || doomed.get(other as usize - 1)? != 0, "an object with two owners: {other}, {mark}");
        (2..).zip(&object[1..]).for_each(|(at, word)| word.store(mark * at, Ordering::Relaxed));
    }
    for handle in &mine {
        let object: &[AtomicU64; OBJECT_WORDS] = words(*handle)?;
        let marked = (2..).zip(&object[1..]).all(|(at, word)| word.load(Ordering::Relaxed) == mark * at);
        assert!(marked && object[0].swap(0, Ordering::AcqRel) == mark, "somebody wrote to my object");
    }
    if turn.is_multiple_of(2) {
        pool.release_batch(&mine)?;
    } else {
        mine.iter().try_for_each(|handle| pool.release(*handle))?;
    }
    Ok(!mine.is_empty())
}
