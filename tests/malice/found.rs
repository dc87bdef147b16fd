//! What was found once, step by step.

use std::fs::File;
use std::os::unix::fs::FileExt;

use std::time::{Duration, Instant};

use shmds::{Array, Pool, Queue, QueueOptions, Ring, RingOptions, Segment, SegmentOptions, Status, TableShape};

/// A segment without a name, and its bytes.
fn segment() -> (Segment, File) {
    let options = SegmentOptions::new().size(1 << 16).table(TableShape::SMALL).max_participants(8);
    let segment = Segment::create_memfd("found", &options).unwrap();
    let file = File::from(segment.fd().unwrap());
    (segment, file)
}

fn word(file: &File, at: u64) -> u64 {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at).unwrap();
    u64::from_le_bytes(bytes)
}

/// Where the entry `number` of the table is: after docs/FORMAT.md, for names of 16 bytes and 8 participants.
fn entry(file: &File, number: u64) -> u64 {
    word(file, 72) + number * 192
}

/// The alignment of 0 that asks for a default was believed in a table entry, too, and divided by.
#[test]
fn an_entry_that_aligns_elements_to_nothing_is_corrupt() {
    let (segment, file) = segment();
    drop(Queue::<u64>::create(&segment, "a", &QueueOptions::new(8)).unwrap());
    drop(Queue::<u64>::create(&segment, "b", &QueueOptions::new(8).spsc()).unwrap());
    drop(Ring::<u64>::create(&segment, "c", &RingOptions::new(8)).unwrap());
    drop(Pool::<u64>::create(&segment, "d", 8).unwrap());
    drop(Array::<u64>::create(&segment, "e", 8).unwrap());
    for number in 0..5 {
        let at = entry(&file, number);
        // The user 5, who does not live, has it open.
        file.write_all_at(&16_u64.to_le_bytes(), at + 128 + 16).unwrap();
        file.write_all_at(&0_u32.to_le_bytes(), at + 56).unwrap();
    }
    let participants = word(&file, 56);
    file.write_all_at(&1_u32.to_le_bytes(), participants + 4 * 64).unwrap();
    assert_eq!(segment.reap().unwrap(), 1, "what makes no sense has nothing to give back");
}

/// Repeats, for as long as a test may take, what must succeed in the end.
fn in_the_end(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what} is stuck for ever");
    }
}

/// A slot, an end and a writer that belong to nobody: to an id that cannot be, to a record that is free, and to 0, where that means somebody.
/// Everybody waited for them, as burying looks where the dead one has something open, and that was nowhere.
#[test]
fn what_belongs_to_nobody_is_given_back() {
    for nobody in [0_u64, 5, 9, 0xffff] {
        let (segment, file) = segment();
        let scribble = |entry_number: u64, at: u64, value: u64| {
            let section = word(&file, entry(&file, entry_number) + 16);
            file.write_all_at(&value.to_le_bytes(), section + at).unwrap();
        };
        let find = |entry_number: u64, sought: u64| {
            let entry = entry(&file, entry_number);
            let (section, size) = (word(&file, entry + 16), word(&file, entry + 24));
            let mut places = (0..size).step_by(8).filter(|at| word(&file, section + at) == sought);
            places.next().unwrap_or_else(|| panic!("there is no {sought:#x}"))
        };
        // The owner of a slot.
        let queue = Queue::<u64>::create(&segment, "a", &QueueOptions::new(1)).unwrap();
        queue.enqueue(&7).unwrap();
        let slot = find(0, 2 << 16);
        scribble(0, slot, 1 << 16 | nobody);
        in_the_end("a consumer behind a producer", || {
            assert_eq!(queue.dequeue().unwrap(), None);
            queue.enqueue(&8).unwrap()
        });
        assert_eq!(queue.dequeue().unwrap(), Some(8));
        queue.enqueue(&9).unwrap();
        let turn = find(0, 2 << 19 | 2 << 16);
        scribble(0, turn, 2 << 19 | 3 << 16 | nobody);
        in_the_end("a producer behind a consumer", || queue.enqueue(&10).unwrap());
        assert_eq!(queue.dequeue().unwrap(), Some(10));
        // The holder of an end; 0 is nobody there, and no news.
        let ends = Queue::<u64>::create(&segment, "b", &QueueOptions::new(8).spsc()).unwrap();
        ends.enqueue(&1).unwrap();
        drop(ends);
        let again = Queue::<u64>::open(&segment, "b").unwrap();
        again.enqueue(&2).unwrap();
        let section = word(&file, entry(&file, 1) + 16);
        // Ours, the first participant's, and some handle's.
        let is_ours = |at: &u64| matches!(word(&file, section + at), held if held & 0xffff == 1 && held >> 16 != 0);
        let end = (0..384).step_by(8).find(is_ours).expect("an end that we have");
        drop(again);
        scribble(1, end, 77 << 16 | nobody);
        let third = Queue::<u64>::open(&segment, "b").unwrap();
        assert!(third.enqueue(&3).unwrap(), "an end that nobody has");
        // The writer of an array.
        let array = Array::<u64>::create(&segment, "c", 8).unwrap();
        scribble(2, 0, 3);
        scribble(2, 8, nobody);
        assert!(
            array.snapshot(0, &mut [0; 8], Duration::from_secs(20)).is_err_and(|error| error.status() == Status::Torn)
        );
        scribble(2, 8, nobody);
        array.write(|array| array.fill(5)).unwrap();
        assert_eq!(array.get(0).unwrap(), 5);
    }
}

/// Every entry was believed to be as large as the segment, and looked through for each of the dead, under the segment's lock: for a minute.
#[test]
fn a_table_of_entries_that_are_the_whole_segment_is_reaped_at_once() {
    let options = SegmentOptions::new().size(64 << 20).table(TableShape::STANDARD);
    let segment = Segment::create_memfd("found", &options).unwrap();
    let file = File::from(segment.fd().unwrap());
    // As many as are in the first half.
    drop(Queue::<u64>::create(&segment, "a", &QueueOptions::new(2 << 20)).unwrap());
    let (participants, entries, data) = (word(&file, 56), word(&file, 72), word(&file, 80));
    let stride = (128 + 32 + 8_u64).next_multiple_of(64);
    let mut like = vec![0; stride as usize];
    file.read_exact_at(&mut like, entries).unwrap();
    like[160..168].fill(0xff);
    for number in 0..64 {
        assert!(entries + (number + 1) * stride <= data);
        file.write_all_at(&like, entries + number * stride).unwrap();
    }
    for number in 1..64 {
        file.write_all_at(&1_u32.to_le_bytes(), participants + number * 64).unwrap();
    }
    let begun = Instant::now();
    assert_eq!(segment.reap().unwrap(), 63);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:.1?}", begun.elapsed());
}
