//! The bytes of a real segment are those of docs/FORMAT.md.

use std::fs;
use std::os::unix::fs::FileExt;

use std::sync::atomic::Ordering;

use shmds::speculo::{Area, AreaOptions};
use shmds::{
    Array, Atomic, AtomicValue, ByteQueue, ByteQueueOptions, Error, Pool, Queue, QueueOptions, Ring, RingOptions,
    Segment, SegmentOptions, Span, Status, TableShape,
};

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
    let hash = 0xc061_867e_d44d_6e8a_u64; // MurmurHash64A with seed 0: std::_Hash_bytes(text, length, 0) of libstdc++
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
fn a_segment_in_a_file_notes_the_machines_run_and_its_death_marks() {
    let path = std::env::temp_dir().join(format!("shmds-format-file-{}", std::process::id()));
    let options = SegmentOptions::new().size(1 << 20).table(TABLE).max_participants(70);
    let segment = Segment::create_file(&path, &options).unwrap();
    let queue = Queue::<u64>::create(&segment, "q", &QueueOptions::new(4)).unwrap();
    let file = fs::File::options().read(true).write(true).open(&path).unwrap();
    Segment::unlink_file(&path).unwrap();
    let read = || {
        let mut bytes = vec![0; 1 << 20];
        file.read_exact_at(&mut bytes, 0).unwrap();
        Bytes(bytes)
    };
    let boot = fs::read("/proc/sys/kernel/random/boot_id").unwrap();
    assert_eq!((read().wide(160), read().narrow(28), read().narrow(ENTRIES + 68)), (fnv1a(&boot), 1, 0));
    // As if participant 2, whom nobody knows, were dead in the middle of writing a slot.
    for (offset, value) in [(PARTICIPANTS + 64, 1_u64), (ENTRIES + 152, 3), (DATA + 512, 1 << 16 | 2)] {
        file.write_all_at(&value.to_le_bytes(), offset as u64).unwrap();
    }
    assert_eq!((segment.reap().unwrap(), read().narrow(ENTRIES + 68)), (1, 1));
    segment.clear_interrupted("q").unwrap();
    assert_eq!(read().narrow(ENTRIES + 68), 0);
    drop(queue);
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
    assert_eq!((bytes.wide(DATA + 128), bytes.wide(DATA + 256)), (14, 7), "tail and head, as of the last line begun");
    assert_eq!((bytes.wide(DATA + 384), bytes.wide(DATA + 392)), (9, 10), "exact and taken");
    // Seven elements to a line; four lines.
    let words: Vec<u64> = (0..4).map(|line| bytes.wide(DATA + 512 + line * 64)).collect();
    assert_eq!(words, [7, 1 << 8 | 7, 2 << 8 | 2, 0]);
    for value in 0..16_usize {
        let at = DATA + 512 + value / 7 * 64 + 8 + value % 7 * 8;
        assert_eq!(bytes.wide(at), 1000 + value as u64);
    }
}

/// What the first entry says: kind, size, element size, count, element alignment, flags.
fn described(bytes: &Bytes) -> [u64; 6] {
    assert_eq!(
        (bytes.wide(ENTRIES) & 0xff, bytes.wide(ENTRIES + 16) as usize),
        (2, DATA),
        "LIVE, and the first section"
    );
    [
        bytes.wide(ENTRIES) >> 8 & 0xff,
        bytes.wide(ENTRIES + 24),
        bytes.wide(ENTRIES + 32),
        bytes.wide(ENTRIES + 40),
        bytes.narrow(ENTRIES + 56).into(),
        bytes.narrow(ENTRIES + 60).into(),
    ]
}

#[test]
fn a_span_is_its_bytes_as_the_format_says() {
    let (name, segment) = segment("span");
    let span = Span::create(&segment, "s", 1001, 64, true).unwrap();
    // SAFETY: as long as the span is, and nobody else is there.
    unsafe { span.as_ptr().write_bytes(0xa5, span.len()) };
    let bytes = Bytes::of(&name);
    assert_eq!(described(&bytes), [1, 1001, 1, 1001, 64, 0]);
    assert!(bytes.0[DATA..DATA + 1001].iter().all(|byte| *byte == 0xa5));
    assert_eq!(bytes.0[DATA + 1001], 0);
}

#[test]
fn array_elements_and_lock_are_what_the_format_says() {
    let (name, segment) = segment("array");
    let array = Array::<[u16; 3]>::create(&segment, "a", 5).unwrap();
    let lock = |bytes: &Bytes| (bytes.wide(DATA), bytes.narrow(DATA + 8), bytes.narrow(DATA + 12));
    let bytes = Bytes::of(&name);
    assert_eq!(described(&bytes), [2, 128 + 5 * 6, 6, 5, 2, 0]);
    assert!(bytes.0[DATA..DATA + 128 + 5 * 6].iter().all(|byte| *byte == 0), "a zeroed section is an array of zeros");
    for writing in 1..=3 {
        array
            .write(|array| {
                assert_eq!(lock(&Bytes::of(&name)), (2 * writing - 1, 1, 0), "odd, and participant 1 writes");
                array.set(4, [1, 2, 0x0304])
            })
            .unwrap();
        assert_eq!(lock(&Bytes::of(&name)), (2 * writing, 0, 0));
    }
    let bytes = Bytes::of(&name);
    assert_eq!(bytes.0[DATA + 128 + 4 * 6..][..6], [1, 0, 2, 0, 4, 3]);
    let given_up = array.write(|array| array.set(5, [0; 3]));
    assert_eq!(given_up.map_err(|error: Error| error.status()), Err(Status::Invalid));
    assert_eq!(lock(&Bytes::of(&name)), (7, 0, 0), "torn: odd, and nobody there");
}

#[test]
fn an_array_of_large_alignment_begins_at_it() {
    #[derive(Clone, Copy, bytemuck::AnyBitPattern)]
    #[repr(C, align(512))]
    struct Wide([u8; 512]);
    let (name, segment) = segment("aligned");
    let array = Array::<Wide>::create(&segment, "a", 2).unwrap();
    array.set(1, Wide([7; 512])).unwrap();
    let bytes = Bytes::of(&name);
    assert_eq!(described(&bytes), [2, 512 + 2 * 512, 512, 2, 512, 0]);
    assert_eq!((bytes.0[DATA + 1023], bytes.0[DATA + 1024], bytes.0[DATA + 1535]), (0, 7, 7));
}

/// An atomic of this type with this value lies there as these bytes.
fn atomic_is<T: AtomicValue>(what: &str, code: u64, value: T, expected: &[u8]) {
    let (name, segment) = segment(what);
    let atomic = Atomic::<T>::create(&segment, "x", value).unwrap();
    let size = expected.len() as u64;
    let bytes = Bytes::of(&name);
    assert_eq!(described(&bytes), [3, 256, size, 1, size, code], "{what}");
    assert_eq!(&bytes.0[DATA..DATA + expected.len()], expected, "{what}");
    assert!(
        bytes.0[DATA + expected.len()..DATA + 256].iter().all(|byte| *byte == 0),
        "{what}: nothing else, nobody asleep"
    );
    // A sleeper leaves word at 128, and the next to notify moves the sequence there.
    assert!(atomic.wait(value, std::time::Duration::from_millis(1)).unwrap().is_none());
    assert_eq!(Bytes::of(&name).narrow(DATA + 132) & 1, 1, "{what}: somebody may be asleep");
    atomic.store(value, Ordering::Release).unwrap();
    atomic.notify_all().unwrap();
    let bytes = Bytes::of(&name);
    assert_eq!((bytes.narrow(DATA + 128), bytes.narrow(DATA + 132) & 1), (1, 0), "{what}: woken");
}

#[test]
fn atomics_of_every_type_are_what_the_format_says() {
    atomic_is("bool", 1, true, &[1]);
    atomic_is("i32", 2, -2_i32, &[0xfe, 0xff, 0xff, 0xff]);
    atomic_is("u32", 3, 0x0102_0304_u32, &[4, 3, 2, 1]);
    atomic_is("i64", 4, -2_i64, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    atomic_is("u64", 5, 0x0102_0304_0506_0708_u64, &[8, 7, 6, 5, 4, 3, 2, 1]);
    atomic_is("f32", 6, 1.5_f32, &[0, 0, 0xc0, 0x3f]);
    atomic_is("f64", 7, -2.0_f64, &[0, 0, 0, 0, 0, 0, 0, 0xc0]);
}

#[test]
fn pool_map_states_and_objects_are_what_the_format_says() {
    let (name, segment) = segment("pool");
    let pool = Pool::<[u32; 3]>::create(&segment, "p", 70).unwrap();
    // Two words of map, then states at 128, then objects behind 70 words at the next multiple of 128.
    let (states, objects) = (DATA + 128, DATA + 768);
    let bytes = Bytes::of(&name);
    assert_eq!(described(&bytes), [5, 768 + 70 * 12, 12, 70, 4, 0]);
    assert_eq!((bytes.wide(DATA), bytes.wide(DATA + 8)), (u64::MAX, (1 << 6) - 1), "all may be free");
    assert!(bytes.0[DATA + 16..DATA + 768 + 70 * 12].iter().all(|byte| *byte == 0), "FREE, of generation 0");

    let handles = pool.acquire_batch(66).unwrap();
    let bits: Vec<u64> = handles.iter().map(|handle| handle.to_bits()).collect();
    assert_eq!(bits, (1..=66).collect::<Vec<u64>>(), "generation 0, number + 1");
    pool.write(handles[65], [1, 2, 3]).unwrap();
    pool.release(handles[64]).unwrap();
    pool.release(handles[0]).unwrap();
    let bytes = Bytes::of(&name);
    assert_eq!((bytes.wide(DATA), bytes.wide(DATA + 8)), (1, 0b11_1101));
    let state = |index: usize| bytes.wide(states + 8 * index);
    assert_eq!((state(0), state(1), state(64), state(65), state(66)), (1 << 32, 1 << 16 | 1, 1 << 32, 1 << 16 | 1, 0));
    assert_eq!([0, 4, 8].map(|at| bytes.narrow(objects + 65 * 12 + at)), [1, 2, 3]);

    assert_eq!(pool.acquire().unwrap().unwrap().to_bits(), 1 << 32 | 65, "of the next generation");
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

#[test]
fn byte_queue_positions_and_frames_are_what_the_format_says() {
    let (name, segment) = segment("bytes");
    let options = ByteQueueOptions::new(5000).align(32).times().type_tag(7);
    let queue = ByteQueue::create(&segment, "b", &options).unwrap();
    // A page of control words, then the longest message and its header, rounded up to pages.
    let buffer = DATA + 4096;
    let bytes = Bytes::of(&name);
    assert_eq!(described(&bytes), [7, 4096 + 8192, 1, 8192, 32, 3]);
    assert_eq!(bytes.wide(ENTRIES + 48), 7);
    assert!(bytes.0[DATA..buffer + 8192].iter().all(|byte| *byte == 0), "a zeroed section is an empty queue");

    assert!(queue.send(&[0xa5; 33], 0x0102_0304_0506_0708).unwrap());
    assert!(queue.send(b"", 9).unwrap());
    drop(queue.receive().unwrap().unwrap());
    assert!(!queue.send(&[1; 8160], 0).unwrap());
    let bytes = Bytes::of(&name);
    // A header of 24 bytes, and 33, both rounded up to 32; then an empty message.
    assert_eq!((bytes.wide(DATA + 128), bytes.wide(DATA + 136), bytes.wide(DATA + 144)), (128, 2, 1), "tail");
    assert_eq!([0, 8, 16, 24].map(|at| bytes.wide(DATA + 256 + at)), [96, 1, 0, 128], "head, messages, empty, high");
    assert_eq!(
        (bytes.narrow(buffer), bytes.narrow(buffer + 4), bytes.wide(buffer + 8)),
        (33, 0, 0x0102_0304_0506_0708)
    );
    assert!(bytes.wide(buffer + 16) > 0 && bytes.wide(buffer + 16) < bytes.wide(buffer + 96 + 16), "times");
    assert_eq!(&bytes.0[buffer + 32..buffer + 65], &[0xa5; 33]);
    assert_eq!((bytes.narrow(buffer + 96), bytes.wide(buffer + 104)), (0, 9));
    let (producer, consumer) = (bytes.wide(DATA + 24), bytes.wide(DATA + 32));
    assert!(producer == consumer && producer & 0xffff == 1 && producer >> 16 > 0, "one handle has both ends");
    assert_eq!(bytes.narrow(DATA + 16), 0);
    queue.end().unwrap();
    drop(queue);
    let bytes = Bytes::of(&name);
    assert_eq!((bytes.narrow(DATA + 16), bytes.wide(DATA + 24), bytes.wide(DATA + 32)), (1, 0, 0));
}

#[test]
fn a_stream_is_its_bytes_around_the_end_as_the_format_says() {
    let (name, segment) = segment("stream");
    let queue = ByteQueue::create(&segment, "b", &ByteQueueOptions::stream(4096)).unwrap();
    assert_eq!(described(&Bytes::of(&name)), [7, 4096 + 4096, 1, 4096, 1, 0]);
    for (length, byte) in [(4000, 1), (200, 2)] {
        let mut room = queue.reserve(length).unwrap().unwrap();
        room.write(0, &vec![byte; length]).unwrap();
        room.commit(length, 0).unwrap();
        assert_eq!(queue.consume(length, |_, there| there).unwrap(), Some(length));
    }
    let (bytes, buffer) = (Bytes::of(&name), DATA + 4096);
    assert_eq!((bytes.wide(DATA + 128), bytes.wide(DATA + 256)), (4200, 4200), "positions never wrap");
    let expected: Vec<u8> = (0..4096).map(|at| if (104..4000).contains(&at) { 1 } else { 2 }).collect();
    assert_eq!(&bytes.0[buffer..buffer + 4096], &expected[..]);
}

#[test]
fn areas_of_chunks_are_what_the_format_says() {
    let name = format!("shmds-format-speculo-{}", std::process::id());
    let mut area = Area::create(&name, &AreaOptions::new().min_size(4096).clock(|| 5).exclusive()).unwrap();
    let id = area.write(&[0xa5; 65], 77).unwrap().unwrap();
    assert_eq!(area.write(b"second", 0).unwrap(), Some(2));
    drop(area.allocate(0, 0).unwrap());
    let mut draft = area.update(id, 3).unwrap().unwrap();
    draft.write(0, b"new").unwrap();
    let read = || (Bytes::of(&format!("{name}.speculo")), Bytes::of(&format!("{name}.speculo-1")));
    let header = |bytes: &Bytes, at: usize| {
        (bytes.narrow(at), bytes.narrow(at + 4), [8, 16, 24, 32].map(|field| bytes.wide(at + field)))
    };
    // 65 bytes take two grains and a header of one; one and a header; a header.
    const CHUNKS: [usize; 5] = [128, 320, 448, 512, 640];

    let (manifest, bytes) = read();
    assert_eq!(header(&bytes, CHUNKS[3]), (1, 0, [1, 0, 3, 0]), "ALLOCATED, without a version");
    assert_eq!(manifest.wide(136), 2);
    let bell = manifest.narrow(152);
    draft.commit().unwrap();

    let (manifest, bytes) = read();
    assert_eq!((manifest.0.len(), &manifest.0[..8]), (4096, &b"SPECMANI"[..]));
    assert_eq!((manifest.narrow(8), manifest.narrow(12)), (1, 0x0102_0304));
    assert!(manifest.0[16..128].iter().all(|byte| *byte == 0));
    assert_eq!([128, 136, 144].map(|at| manifest.wide(at)), [1, 3, 4], "current, committed, next id");
    // Once for the commit, once for the time when readers were woken, unless they just had been.
    assert!([bell + 1, bell + 2].contains(&manifest.narrow(152)) && manifest.narrow(156) == 0);
    assert_ne!(manifest.wide(160), 0, "when readers were woken");

    assert_eq!((bytes.0.len(), &bytes.0[..8]), (4096, &b"SPECAREA"[..]));
    assert_eq!((bytes.narrow(8), bytes.narrow(12), bytes.wide(16), bytes.wide(24)), (1, 0x0102_0304, 4096, 1));
    let boot = fs::read("/proc/sys/kernel/random/boot_id").unwrap();
    assert_eq!((bytes.wide(32), bytes.narrow(40)), (fnv1a(&boot), 1));
    assert!(bytes.0[44..128].iter().all(|byte| *byte == 0));
    assert_eq!(header(&bytes, CHUNKS[0]), (3, 0, [1, 1, 65, 77]), "OBSOLETE: replaced by its update");
    assert_eq!(bytes.0[CHUNKS[0] + 64..][..66], [&[0xa5; 65][..], &[0]].concat());
    assert_eq!(header(&bytes, CHUNKS[1]), (2, 0, [2, 2, 6, 0]));
    assert_eq!(&bytes.0[CHUNKS[1] + 64..][..7], b"second\0");
    assert_eq!((bytes.narrow(CHUNKS[2]), bytes.wide(CHUNKS[2] + 8)), (4, 3), "DISCARDED");
    assert_eq!(header(&bytes, CHUNKS[3]), (2, 0, [1, 3, 3, 0]), "WRITTEN, of the same id");
    assert_eq!(&bytes.0[CHUNKS[3] + 64..][..4], b"new\0");
    assert!(bytes.0[CHUNKS[4]..].iter().all(|byte| *byte == 0), "UNALLOCATED");

    assert!(area.collect().unwrap());
    assert!(!fs::exists(format!("/dev/shm/{name}.speculo-1")).unwrap());
    let (manifest, bytes) = (Bytes::of(&format!("{name}.speculo")), Bytes::of(&format!("{name}.speculo-2")));
    assert_eq!((manifest.wide(128), manifest.wide(136), bytes.wide(24)), (2, 3, 2));
    assert_eq!(header(&bytes, 128), (2, 0, [2, 2, 6, 0]), "moved with its version");
    assert_eq!(header(&bytes, 256), (2, 0, [1, 3, 3, 0]));
    assert!(bytes.0[384..].iter().all(|byte| *byte == 0));
    area.unlink().unwrap();
    assert!(!fs::exists(format!("/dev/shm/{name}.speculo")).unwrap());
}
