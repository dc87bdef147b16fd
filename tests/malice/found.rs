//! What was found once, step by step.

use std::fs::File;
use std::os::unix::fs::FileExt;

use shmds::{Array, Pool, Queue, QueueOptions, Ring, RingOptions, Segment, SegmentOptions, TableShape};

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
