//! The hot paths whose instructions are counted, in Rust, where other code is compiled into the caller than C calls.
//! benches/instructions.cpp tells what is done; scripts/instructions.sh starts this with a name and a directory.

use std::hint::black_box;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use shmds::speculo::{Area, AreaOptions, Reader, ReaderOptions};
use shmds::*;

const TIMES: usize = 1024;
const MANY: usize = 32;

/// Callgrind counts what happens in here, and writes the number down each time.
#[unsafe(no_mangle)]
#[inline(never)]
fn measured(path: &mut dyn Once, times: usize) {
    path.run(times);
    black_box(()); // or it would be a jump out of here
}

trait Once {
    fn run(&mut self, times: usize);
}

impl<F: FnMut() -> bool> Once for F {
    #[inline(never)]
    fn run(&mut self, times: usize) {
        (0..times).for_each(|_| assert!(self()));
    }
}

/// The path says whether it did what it is for.
fn count(name: &str, mut path: impl FnMut() -> bool) {
    path.run(TIMES);
    measured(&mut path, TIMES);
    measured(&mut path, 2 * TIMES);
    println!("Rust {name}");
}

fn queue<const WORDS: usize>(segment: &Segment, kind: &str, options: QueueOptions)
where
    [u64; WORDS]: Plain,
{
    let bytes = format!("{} B", 8 * WORDS);
    let queue = Queue::<[u64; WORDS]>::create(segment, &format!("{kind} {bytes}"), &options).unwrap();
    let (ins, mut outs) = ([[0; WORDS]; MANY], [[0; WORDS]; MANY]);
    count(&format!("{kind} enqueue, dequeue, {bytes}"), || {
        queue.enqueue(&ins[0]).unwrap() && black_box(queue.dequeue().unwrap()).is_some()
    });
    count(&format!("{kind} enqueue 32, dequeue 32, one by one, {bytes}"), || {
        ins.iter().all(|each| queue.enqueue(each).unwrap())
            && (0..MANY).all(|_| black_box(queue.dequeue().unwrap()).is_some())
    });
    count(&format!("{kind} enqueue 32, dequeue 32, in bulk, {bytes}"), || {
        queue.enqueue_bulk(&ins).unwrap() == MANY && queue.dequeue_bulk(&mut outs).unwrap() == MANY
    });
    count(&format!("{kind} claim, commit, peek, release, {bytes}"), || {
        queue.claim().unwrap().unwrap().commit().unwrap();
        queue.peek().unwrap().is_some()
    });
    assert!(queue.dequeue_wait(Duration::from_millis(1)).unwrap().is_none());
    count(&format!("{kind} enqueue, dequeue, after a wait, {bytes}"), || {
        queue.enqueue(&ins[0]).unwrap() && black_box(queue.dequeue().unwrap()).is_some()
    });
}

fn structures(segment: &Segment) {
    for (kind, options) in [("SPSC", QueueOptions::new(256).spsc()), ("MPMC", QueueOptions::new(256))] {
        queue::<1>(segment, kind, options);
        queue::<8>(segment, kind, options);
        queue::<32>(segment, kind, options);
    }

    let (message, mut buffer) = ([0; 64], [0; 64]);
    let bytes = ByteQueue::create(segment, "bytes", &ByteQueueOptions::new(1 << 16)).unwrap();
    count("byte queue send, receive, release, 64 B", || {
        bytes.send(&message, 7).unwrap() && bytes.receive().unwrap().is_some_and(|found| found.len() == 64)
    });
    count("byte queue send, receive into, 64 B", || {
        bytes.send(&message, 7).unwrap() && bytes.receive_into(&mut buffer).unwrap() == Some((64, 7))
    });

    let element = [0_u64; 8];
    let ring = Ring::<[u64; 8]>::create(segment, "ring", &RingOptions::new(256).overwrite()).unwrap();
    let mut reader = ring.reader(RingStart::Oldest).unwrap();
    count("ring that overwrites push, read, 64 B", || {
        ring.push(&element).unwrap() && black_box(reader.read().unwrap()).is_some()
    });

    let pool = Pool::<[u64; 8]>::create(segment, "pool", 256).unwrap();
    count("pool acquire, get, release", || {
        let handle = pool.acquire().unwrap().unwrap();
        black_box(pool.get(handle).unwrap());
        pool.release(handle).is_ok()
    });

    let atomic = Atomic::<u64>::create(segment, "atomic", 1).unwrap();
    count("atomic add", || atomic.fetch_add(1, SeqCst).unwrap() != 0);
    count("atomic load", || atomic.load(SeqCst).unwrap() != 0);
    count("atomic store", || atomic.store(1, SeqCst).is_ok());

    let array = Array::<u64>::create(segment, "array", TIMES as u64).unwrap();
    let mut at = 0;
    count("array set, get", || {
        at = (at + 1) % TIMES;
        array.set(at, 1).is_ok() && array.get(at).unwrap() == 1
    });
    count("table lookup", || segment.find("array").unwrap().is_some());
}

fn speculo(directory: &str) {
    let name = "area"; // in a directory of its own: compaction spells names out, and takes as long as they are
    let mut area = Area::create(name, &AreaOptions::new().directory(directory).exclusive()).unwrap();
    let mut reader = Reader::open(name, &ReaderOptions::new().directory(directory)).unwrap();
    let contents = [0; 64];
    let ids: Vec<_> = (0..16).map(|_| area.write(&contents, 0).unwrap().unwrap()).collect();
    while reader.next().unwrap().is_some() {}
    let mut at = 0;
    count("speculo update, commit, next, 64 B", || {
        at = (at + 1) % ids.len();
        let mut draft = area.update(ids[at], 64).unwrap().unwrap();
        draft.write(0, &contents).unwrap();
        draft.commit().unwrap();
        reader.next().unwrap().is_some_and(|chunk| chunk.id() == ids[at])
    });
    count("speculo get, 1 of 16", || {
        at = (at + 1) % ids.len();
        reader.get(ids[at]).unwrap().is_some()
    });
    area.unlink().unwrap();
}

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    let [_, name, directory] = &arguments[..] else { return };
    let segment = Segment::create(name, &SegmentOptions::new().size(4 << 20).exclusive()).unwrap();
    Segment::unlink(name).unwrap();
    structures(&segment);
    speculo(directory);
}
