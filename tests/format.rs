//! The bytes of a real segment are those of docs/FORMAT.md.

use std::fs;

use shmds::{Queue, QueueOptions, Ring, RingOptions, Segment, SegmentOptions, TableShape};

struct Bytes(Vec<u8>);

impl Bytes {
    fn of(name: &str) -> Self {
        Self(fs::read(format!("/dev/shm/{name}")).unwrap())
    }

    fn narrow(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.0[offset..offset + 4].try_into().unwrap())
    }

    fn wide(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.0[offset..offset + 8].try_into().unwrap())
    }
}

/// FNV-1a, written again from its definition.
fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = 14_695_981_039_346_656_037_u64;
    for byte in bytes {
        hash ^= u64::from(*byte);
        hash = hash.wrapping_mul(1_099_511_628_211);
    }
    hash
}

const TABLE: TableShape = TableShape { name_bytes: 20, entries: 10 };

// With 70 participants and this table:
const PARTICIPANTS: usize = 256;
const INDEX: usize = PARTICIPANTS + 70 * 64;
const ENTRIES: usize = 5248; // 4736 + 64 words, at a multiple of 128
const ENTRY: usize = 192; // 128 + 24 + 16, rounded up to 64
const DATA: usize = 8192; // 5248 + 1920, at a multiple of 4096

fn segment(what: &str) -> (String, Segment) {
    let name = format!("shmds-format-{what}-{}", std::process::id());
    let options = SegmentOptions::new().size(1 << 20).table(TABLE).max_participants(70).max_allocation(500_000);
    let segment = Segment::create(&name, &options.exclusive()).unwrap();
    (name, segment)
}

#[test]
fn header_and_participants_are_where_the_format_says() {
    let (name, _segment) = segment("header");
    let bytes = Bytes::of(&name);
    assert_eq!(&bytes.0[0..8], b"SHMDSEG\0");
    assert_eq!((bytes.narrow(8), bytes.narrow(12)), (1, 0x0102_0304));
    assert_eq!((bytes.wide(16), bytes.narrow(24), bytes.narrow(28)), (1 << 20, 4096, 0));
    assert_eq!((bytes.narrow(32), bytes.narrow(36), bytes.narrow(40), bytes.narrow(44)), (20, 10, 70, 64));
    assert_eq!(bytes.wide(48), 500_000);
    let offsets = [56, 64, 72, 80].map(|offset| bytes.wide(offset) as usize);
    assert_eq!(offsets, [PARTICIPANTS, INDEX, ENTRIES, DATA]);
    let hashed: Vec<u8> = [0, 16, 48, 56, 64, 72, 80, 88]
        .iter()
        .flat_map(|at| bytes.0[*at..at + 8].to_vec())
        .chain([8, 12, 24, 28, 32, 36, 40].iter().flat_map(|at| bytes.0[*at..at + 4].to_vec()))
        .collect();
    assert_eq!(bytes.wide(96), fnv1a(&hashed));
    assert_eq!((bytes.narrow(128), bytes.narrow(136), bytes.wide(144) as usize), (0, 0, DATA));
    assert_eq!((bytes.narrow(PARTICIPANTS), bytes.narrow(PARTICIPANTS + 4)), (1, std::process::id()));
    assert_eq!(bytes.narrow(PARTICIPANTS + 64), 0);
}

#[test]
fn entries_and_index_are_where_the_format_says() {
    let (name, segment) = segment("entries");
    let options = QueueOptions::new(3).spsc().type_tag(77);
    let _queue = Queue::<[u8; 40]>::create(&segment, "a-queue-of-bytes", &options).unwrap();
    let bytes = Bytes::of(&name);
    let hash = fnv1a(b"a-queue-of-bytes");
    assert_eq!(bytes.wide(ENTRIES), 1 << 32 | 4 << 8 | 2);
    assert_eq!(bytes.wide(ENTRIES + 8), hash);
    assert_eq!(bytes.wide(ENTRIES + 16) as usize, DATA);
    // Four lines of 64 bytes: a word and 40 bytes, rounded up to a power of two.
    assert_eq!(bytes.wide(ENTRIES + 24), 512 + 4 * 64);
    assert_eq!((bytes.wide(ENTRIES + 32), bytes.wide(ENTRIES + 40), bytes.wide(ENTRIES + 48)), (40, 4, 77));
    assert_eq!((bytes.narrow(ENTRIES + 56), bytes.narrow(ENTRIES + 60), bytes.narrow(ENTRIES + 64)), (1, 1, 16));
    assert_eq!(&bytes.0[ENTRIES + 128..ENTRIES + 152], b"a-queue-of-bytes\0\0\0\0\0\0\0\0");
    assert_eq!((bytes.wide(ENTRIES + 152), bytes.wide(ENTRIES + 160)), (1, 0));
    assert_eq!(bytes.wide(ENTRIES + ENTRY), 0);
    let slot = INDEX + (hash as u32 % 64) as usize * 8;
    assert_eq!(bytes.wide(slot), hash & 0xffff_ffff_0000_0000 | 1);
    assert_eq!((bytes.narrow(140), bytes.wide(144)), (1, (DATA + 512 + 4 * 64) as u64));

    drop(_queue);
    segment.remove("a-queue-of-bytes").unwrap();
    let bytes = Bytes::of(&name);
    assert_eq!(bytes.wide(ENTRIES), 1 << 32 | 4 << 8);
    assert_eq!((bytes.wide(slot), bytes.narrow(136), bytes.narrow(140)), (0, 2, 2));
}

#[test]
fn mpmc_slots_are_what_the_format_says() {
    let (name, segment) = segment("mpmc");
    let queue = Queue::<u64>::create(&segment, "q", &QueueOptions::new(4)).unwrap();
    for value in [100, 101, 102, 103] {
        assert!(queue.enqueue(&value).unwrap());
    }
    assert_eq!(queue.dequeue().unwrap(), Some(100));
    assert!(queue.enqueue(&104).unwrap());
    let _peeked = queue.peek().unwrap().unwrap();
    assert_eq!(queue.dequeue().unwrap(), Some(102));
    queue.shutdown().unwrap();
    let bytes = Bytes::of(&name);
    assert_eq!((bytes.narrow(DATA + 16), bytes.wide(DATA + 128), bytes.wide(DATA + 256)), (1, 5, 3));
    let state = |turn: u64, phase: u64, owner: u64| turn << 19 | phase << 16 | owner;
    let slots: Vec<(u64, u64)> =
        (0..4).map(|slot| DATA + 512 + slot * 16).map(|at| (bytes.wide(at), bytes.wide(at + 8))).collect();
    assert_eq!(slots, [(state(1, 2, 0), 104), (state(0, 3, 1), 101), (state(1, 0, 0), 102), (state(0, 2, 0), 103)]);
}

#[test]
fn spsc_lines_are_what_the_format_says() {
    let (name, segment) = segment("spsc");
    let queue = Queue::<u64>::create(&segment, "q", &QueueOptions::new(16).spsc()).unwrap();
    for value in 0..16 {
        assert!(queue.enqueue(&(1000 + value)).unwrap());
    }
    for value in 0..9 {
        assert_eq!(queue.dequeue().unwrap(), Some(1000 + value));
    }
    let _peeked = queue.peek().unwrap().unwrap();
    let bytes = Bytes::of(&name);
    assert_eq!((bytes.wide(DATA + 24) & 0xffff, bytes.wide(DATA + 32) & 0xffff), (1, 1));
    assert_eq!((bytes.wide(DATA + 128), bytes.wide(DATA + 256)), (16, 8), "tail; head, told every quarter");
    assert_eq!((bytes.wide(DATA + 384), bytes.wide(DATA + 392)), (9, 10), "exact and taken");
    // Seven elements to a line; four lines.
    let words: Vec<u64> = (0..4).map(|line| bytes.wide(DATA + 512 + line * 64)).collect();
    assert_eq!(words, [7, 1 << 8 | 7, 2 << 8 | 2, 0]);
    for value in 0..16_usize {
        let at = DATA + 512 + value / 7 * 64 + 8 + value % 7 * 8;
        assert_eq!(bytes.wide(at), 1000 + value as u64);
    }
}

#[test]
fn rings_are_what_the_format_says() {
    let (name, segment) = segment("ring");
    let ring = Ring::<[u8; 3]>::create(&segment, "r", &RingOptions::new(3).overwrite().type_tag(9)).unwrap();
    assert_eq!(ring.push_bulk(&[[1; 3], [2; 3], [3; 3], [4; 3], [5; 3], [6; 3]]).unwrap(), 6);
    assert_eq!(ring.pop().unwrap(), Some([3; 3]));
    let bytes = Bytes::of(&name);
    assert_eq!(bytes.wide(ENTRIES), 1 << 32 | 6 << 8 | 2, "a ring");
    assert_eq!((bytes.wide(ENTRIES + 24), bytes.wide(ENTRIES + 32), bytes.wide(ENTRIES + 40)), (384 + 4 * 3, 3, 4));
    assert_eq!((bytes.wide(ENTRIES + 48), bytes.narrow(ENTRIES + 56), bytes.narrow(ENTRIES + 60)), (9, 1, 1));
    assert_eq!(bytes.0[DATA..DATA + 16], [0; 16], "nobody sleeps");
    let ends = [16, 24].map(|end| bytes.wide(DATA + end));
    assert_eq!(ends.map(|end| end & 0xffff), [1, 1]);
    assert!(ends[0] >> 16 != 0 && ends[0] == ends[1], "one handle has both");
    assert_eq!((bytes.wide(DATA + 128), bytes.wide(DATA + 136)), (6, 6), "written, announced");
    assert_eq!((bytes.wide(DATA + 256), bytes.wide(DATA + 264)), (1, 2), "read, lost");
    assert_eq!(bytes.0[DATA + 384..DATA + 396], [5, 5, 5, 6, 6, 6, 3, 3, 3, 4, 4, 4], "position p at p mod 4");

    drop(ring);
    segment.remove("r").unwrap();
    let wide = Ring::<Line>::create(&segment, "wide", &RingOptions::new(2)).unwrap();
    assert!(wide.push(&Line([7; 64])).unwrap() && wide.push(&Line([8; 64])).unwrap());
    let bytes = Bytes::of(&name);
    let entry = ENTRIES + (0..10).map(|nth| nth * ENTRY).find(|at| bytes.0[ENTRIES + at + 128] == b'w').unwrap();
    assert_eq!((bytes.wide(entry + 32), bytes.narrow(entry + 56), bytes.narrow(entry + 60)), (512, 512, 0));
    let at = bytes.wide(entry + 16) as usize;
    assert_eq!((bytes.wide(at + 128), bytes.wide(at + 136), bytes.wide(at + 256)), (2, 2, 0));
    assert_eq!(
        (bytes.wide(at + 384), bytes.wide(at + 512), bytes.wide(at + 1024)),
        (0, 7, 8),
        "elements begin at their alignment"
    );
}

/// Larger in its alignment than a ring's own words are.
#[derive(Clone, Copy, bytemuck::AnyBitPattern)]
#[repr(C, align(512))]
struct Line([u64; 64]);
