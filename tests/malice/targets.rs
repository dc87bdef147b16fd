//! What is attacked, and how.

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use shmds::speculo::{Area, AreaOptions};
use shmds::{
    Array, Atomic, ByteQueue, ByteQueueOptions, Pool, Queue, QueueOptions, Ring, RingOptions, Segment, SegmentOptions,
    Span, TableShape,
};

use super::abi::{Function, Kind, Machine};
use super::dice::Dice;
use super::scribble::Scribbler;

/// A structure to attack: what it is called here, how it is made under the name `a`, its number in the table, and how the names of its functions begin.
pub struct Structure {
    pub name: &'static str,
    make: fn(&Segment) -> shmds::Result<()>,
    kind: u32,
    functions: &'static [&'static str],
}

const fn structure(
    name: &'static str,
    kind: u32,
    functions: &'static [&'static str],
    make: fn(&Segment) -> shmds::Result<()>,
) -> Structure {
    Structure { name, make, kind, functions }
}

/// Everything that lies in a segment.
pub static STRUCTURES: [Structure; 15] = [
    structure("SPSC queue, small", 4, &["shm_queue_"], |segment| {
        Queue::<u64>::create(segment, "a", &QueueOptions::new(64).spsc()).map(drop)
    }),
    structure("SPSC queue, large", 4, &["shm_queue_"], |segment| {
        Queue::<[u64; 40]>::create(segment, "a", &QueueOptions::new(16).spsc()).map(drop)
    }),
    structure("MPMC queue, small", 4, &["shm_queue_"], |segment| {
        Queue::<u64>::create(segment, "a", &QueueOptions::new(16)).map(drop)
    }),
    structure("MPMC queue, large", 4, &["shm_queue_"], |segment| {
        Queue::<[u8; 100]>::create(segment, "a", &QueueOptions::new(8)).map(drop)
    }),
    structure("ring", 6, &["shm_ring_"], |segment| Ring::<u64>::create(segment, "a", &RingOptions::new(32)).map(drop)),
    structure("ring, overwriting", 6, &["shm_ring_"], |segment| {
        Ring::<[u64; 3]>::create(segment, "a", &RingOptions::new(16).overwrite()).map(drop)
    }),
    structure("pool", 5, &["shm_pool_"], |segment| Pool::<[u64; 6]>::create(segment, "a", 100).map(drop)),
    structure("array", 2, &["shm_array_"], |segment| Array::<[u32; 3]>::create(segment, "a", 50).map(drop)),
    structure("atomic i64", 3, &["shm_atomic_"], |segment| Atomic::<i64>::create(segment, "a", 5).map(drop)),
    structure("atomic f32", 3, &["shm_atomic_"], |segment| Atomic::<f32>::create(segment, "a", 5.0).map(drop)),
    structure("atomic bool", 3, &["shm_atomic_"], |segment| Atomic::<bool>::create(segment, "a", true).map(drop)),
    structure("byte queue of bytes", 7, &["shm_byte_queue_"], |segment| {
        ByteQueue::create(segment, "a", &ByteQueueOptions::stream(4096)).map(drop)
    }),
    structure("byte queue of messages", 7, &["shm_byte_queue_"], |segment| {
        ByteQueue::create(segment, "a", &ByteQueueOptions::new(4096).times()).map(drop)
    }),
    structure("span", 1, &["shm_span_"], |segment| Span::create(segment, "a", 1000, 64, false).map(drop)),
    structure("segment and table", 4, &["shm_segment_", "shm_table_", "_create", "_open", "_close"], |segment| {
        Queue::<u64>::create(segment, "a", &QueueOptions::new(16))?;
        Pool::<u64>::create(segment, "b", 16)?;
        Span::create(segment, "c", 100, 8, false).map(drop)
    }),
];

fn worth(structure: &Structure, function: &Function) -> usize {
    let name = function.name;
    let about_segments = structure.functions[0] == "shm_segment_";
    let ours = structure.functions.iter().any(|part| name.starts_with(part) || name.ends_with(part));
    match name {
        // They have names, files or areas of their own, which is for others to attack.
        _ if name.starts_with("speculo") || name.contains("_file") || name == "shm_open_segment" => 0,
        "shm_segment_create" | "shm_segment_open" | "shm_segment_unlink" | "shm_segment_create_memfd" => 0,
        "shm_segment_send" | "shm_segment_receive" | "shm_segment_sync" | "shm_segment_sync_range" => 0,
        "shm_segment_reap"
        | "shm_segment_get_stats"
        | "shm_segment_participants"
        | "shm_segment_verify"
        | "shm_table_find"
        | "shm_table_find_sized" => {
            if about_segments {
                12
            } else {
                1
            }
        }
        "shm_segment_open_fd" | "shm_segment_close" | "shm_segment_fd" => usize::from(about_segments),
        _ if !ours => 0,
        _ if about_segments => 3,
        _ if function.is("_options_init") || function.is("_size") => 0,
        _ if function.is("_open") || function.is("_close") || function.is("_create") => 1,
        _ if function.is("_shutdown") || function.is("_end") || function.is("_set_spin") || function.is("_wait") => 2,
        _ => 16,
    }
}

fn small() -> SegmentOptions {
    SegmentOptions::new().size(1 << 15).table(TableShape::SMALL).max_participants(8)
}

/// A mapping of a descriptor's object, besides the library's own.
struct Mapped {
    base: *mut u8,
    len: usize,
}

impl Mapped {
    fn new(file: &File) -> Option<Self> {
        let len = file.metadata().ok()?.len() as usize;
        if len < 256 {
            return None;
        }
        // SAFETY: a new mapping of a descriptor of ours.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        (base != libc::MAP_FAILED).then_some(Self { base: base.cast(), len })
    }

    /// Not to be used after this is dropped.
    fn scribbler(&self) -> Scribbler {
        // SAFETY: mapped; others write to it through atomics or at their own risk.
        unsafe { Scribbler::new(self.base, self.len & !7) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: mapped above.
        unsafe { libc::munmap(self.base.cast(), self.len) };
    }
}

/// One structure in a segment without a name, its users, and somebody who scribbles over it.
pub struct World {
    structure: &'static Structure,
    pub machine: Machine,
    file: File,
    golden: Vec<u64>,
    scribbler: Scribbler,
    _mapped: Mapped,
    _segment: Segment,
}

impl World {
    pub fn new(structure: &'static Structure) -> Self {
        let segment = Segment::create_memfd("malice", &small()).unwrap();
        (structure.make)(&segment).unwrap();
        let file = File::from(segment.fd().unwrap());
        let mapped = Mapped::new(&file).unwrap();
        let mut scribbler = mapped.scribbler();
        scribbler.study_segment();
        let golden = scribbler.copy();
        let machine = Machine::new(|function| worth(structure, function));
        Self { structure, machine, file, golden, scribbler, _mapped: mapped, _segment: segment }
    }

    pub fn mutations(&self) -> u64 {
        self.scribbler.mutations
    }

    /// Everything as it was at first, with two users of the structure. False if it cannot be had.
    fn restore(&mut self) -> bool {
        self.scribbler.restore(&self.golden);
        self.machine.close_all(&mut Dice::fed(&[]));
        // Closing has changed what it left.
        self.scribbler.restore(&self.golden);
        (0..2).all(|_| {
            let descriptor = self.file.as_raw_fd() as u64;
            let Ok(segment) = self.machine.open("shm_segment_open_fd", &[descriptor, 0], Kind::Segment, None, true)
            else {
                return false;
            };
            self.machine.open_structure(segment, c"a", self.structure.kind).is_ok()
        })
    }

    /// Some calls, with mutations between them.
    pub fn episode(&mut self, dice: &mut Dice<'_>, calls: u64) {
        if !self.restore() {
            let mutations = self.mutations();
            *self = Self::new(self.structure);
            self.scribbler.mutations = mutations;
            assert!(self.restore(), "{}: {}", self.structure.name, self.machine.last_error());
        }
        self.calls(dice, calls);
    }

    fn calls(&mut self, dice: &mut Dice<'_>, calls: u64) {
        for _ in 0..dice.below(64) {
            self.machine.step(dice);
        }
        for _ in 0..calls {
            if dice.is_over() {
                break;
            }
            for _ in 0..dice.below(8) {
                self.scribbler.scribble(dice);
            }
            self.machine.step(dice);
        }
    }

    /// As episodes, while somebody scribbles all the time, through another mapping.
    pub fn storm(&mut self, seed: u64, duration: Duration) {
        let stop = AtomicBool::new(false);
        let mut rival = self.scribbler.clone();
        rival.mutations = 0;
        let done = std::thread::scope(|scope| {
            let rival = scope.spawn(|| {
                let mut dice = Dice::seeded(seed);
                while !stop.load(Ordering::Relaxed) {
                    for _ in 0..64 {
                        rival.scribble(&mut dice);
                    }
                    // Sometimes it lets things be for a moment, so that calls get somewhere.
                    if dice.once_in(4) {
                        std::thread::sleep(Duration::from_micros(dice.below(100)));
                    }
                }
                rival.mutations
            });
            let (end, mut seed) = (Instant::now() + duration, seed);
            while Instant::now() < end {
                seed += 1;
                self.machine.watch.episode(seed);
                // Some of it may not be there by then.
                self.restore();
                self.calls(&mut Dice::seeded(seed), 256);
            }
            stop.store(true, Ordering::Relaxed);
            rival.join().unwrap()
        });
        self.scribbler.mutations += done;
    }
}

/// A live segment with one structure: which, what is called, and what is scribbled between the calls.
pub fn live_segment(data: &[u8]) {
    thread_local! {
        static WORLDS: RefCell<[Option<World>; STRUCTURES.len()]> = const { RefCell::new([const { None }; STRUCTURES.len()]) };
    }
    let mut dice = Dice::fed(data);
    let which = dice.below(STRUCTURES.len() as u64) as usize;
    WORLDS.with_borrow_mut(|worlds| {
        worlds[which].get_or_insert_with(|| World::new(&STRUCTURES[which])).episode(&mut dice, 10_000);
    });
}

fn memfd(contents: &[u8], sealed: bool) -> File {
    // SAFETY: a name, and flags.
    let descriptor = unsafe { libc::memfd_create(c"malice".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    assert!(descriptor >= 0);
    // SAFETY: ours.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
    file.write_all_at(contents, 0).unwrap();
    if sealed {
        // SAFETY: a descriptor of ours.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_SHRINK | libc::F_SEAL_GROW) };
    }
    file
}

/// A segment with one structure of every kind, as it lies in its file.
fn image() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let segment = Segment::create_memfd("malice", &small().size(1 << 16).persistent()).unwrap();
        let queue = Queue::<u64>::create(&segment, "q", &QueueOptions::new(8)).unwrap();
        queue.enqueue(&7).unwrap();
        Queue::<[u8; 12]>::create(&segment, "s", &QueueOptions::new(8).spsc()).unwrap().enqueue(&[1; 12]).unwrap();
        let ring = Ring::<u64>::create(&segment, "r", &RingOptions::new(8).overwrite()).unwrap();
        ring.push_bulk(&[1, 2, 3]).unwrap();
        let pool = Pool::<u64>::create(&segment, "p", 8).unwrap();
        pool.acquire().unwrap();
        Array::<u32>::create(&segment, "n", 16).unwrap().fill(3).unwrap();
        Atomic::<i64>::create(&segment, "a", 1).unwrap();
        Atomic::<bool>::create(&segment, "t", true).unwrap();
        Span::create(&segment, "c", 100, 8, false).unwrap();
        ByteQueue::create(&segment, "b", &ByteQueueOptions::new(4096)).unwrap().send(b"message", 7).unwrap();
        ByteQueue::create(&segment, "y", &ByteQueueOptions::stream(4096)).unwrap();
        // While everything is open: whoever opens the copy finds its users dead.
        let file = File::from(segment.fd().unwrap());
        let mut bytes = vec![0; segment.span().len()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    })
}

/// A file of arbitrary contents, or of a segment with scribbles in it, is attached to, and everything in it opened and used.
pub fn attach(data: &[u8]) {
    let mut dice = Dice::fed(data);
    attach_one(&mut dice, data.get(2..).unwrap_or_default());
}

/// As `attach`; `raw` is what a file of arbitrary contents has.
pub fn attach_one(dice: &mut Dice<'_>, raw: &[u8]) -> (u64, u64) {
    let ways = dice.below(64);
    let mut mutations = 0;
    let file = if ways % 8 == 7 {
        let mut contents = raw.to_vec();
        contents.resize(contents.len().next_multiple_of(4096), 0);
        memfd(&contents, true)
    } else {
        let file = memfd(image(), ways % 8 != 6);
        let mapped = Mapped::new(&file).unwrap();
        let mut scribbler = mapped.scribbler();
        scribbler.study_segment();
        if (ways / 8).is_multiple_of(2) {
            scribbler.study_start();
        }
        for _ in 0..dice.below(12) {
            scribbler.scribble(dice);
        }
        if (ways / 16).is_multiple_of(2) {
            scribbler.sign_header();
        }
        mutations += scribbler.mutations;
        file
    };
    let mut machine = Machine::new(|function| match function.name {
        name if name.starts_with("speculo") || name.contains("unlink") || name == "shm_open_segment" => 0,
        name if name.contains("segment_create") || name == "shm_segment_open" || name == "shm_segment_open_file" => 0,
        name if name.ends_with("_close") || name.ends_with("_end") || name.ends_with("_shutdown") => 1,
        name if name.contains("send")
            || name.contains("receive")
            || name.ends_with("_init")
            || name.ends_with("_size") =>
        {
            1
        }
        _ => 4,
    });
    machine.scribbles = true;
    if ways / 32 == 1 {
        // By a name.
        let path = machine.home.directory.join("f0");
        let mut contents = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut contents, 0).unwrap();
        std::fs::write(&path, contents).unwrap();
        let path = CString::new(path.as_os_str().as_bytes()).unwrap();
        let path = path.as_ptr().expose_provenance() as u64;
        let _ = machine.open("shm_segment_open_file", &[path, 0], Kind::Segment, None, true);
    } else {
        let _ = machine.open("shm_segment_open_fd", &[file.as_raw_fd() as u64, 0], Kind::Segment, None, true);
    }
    if !machine.handles.is_empty() {
        for (name, kind) in [
            (c"q", 4),
            (c"s", 4),
            (c"r", 6),
            (c"p", 5),
            (c"n", 2),
            (c"a", 3),
            (c"t", 3),
            (c"c", 1),
            (c"b", 7),
            (c"y", 7),
        ] {
            let name: &CStr = name;
            let _ = machine.open_structure(0, name, kind);
        }
        for _ in 0..200 {
            if dice.is_over() {
                break;
            }
            if dice.once_in(4) {
                machine.scribble(dice);
            }
            machine.step(dice);
        }
    }
    (mutations + machine.mutations, machine.calls)
}

/// Areas of arbitrary contents, or with scribbles in them, are read and written.
pub fn speculo_reader(data: &[u8]) {
    let mut dice = Dice::fed(data);
    speculo_one(&mut dice, data.get(1..).unwrap_or_default());
}

/// Scribbles over the files of an area.
fn scribble_area(directory: &Path, dice: &mut Dice<'_>, times: u64) -> u64 {
    let mut files: Vec<_> =
        std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    if files.is_empty() {
        return 0;
    }
    let path = &files[dice.below(files.len() as u64) as usize];
    let Ok(file) = File::options().read(true).write(true).open(path) else { return 0 };
    let Some(mapped) = Mapped::new(&file) else { return 0 };
    let mut scribbler = mapped.scribbler();
    scribbler.study_start();
    (0..times).for_each(|_| scribbler.scribble(dice));
    scribbler.mutations
}

/// As `speculo_reader`; `raw` is what files of arbitrary contents have.
pub fn speculo_one(dice: &mut Dice<'_>, raw: &[u8]) -> (u64, u64) {
    let mut machine = Machine::new(|function| match function.name {
        name if !name.starts_with("speculo") => 0,
        "speculo_reader_next" | "speculo_reader_get" | "speculo_reader_next_valid" | "speculo_reader_get_stats" => 8,
        "speculo_area_write" | "speculo_chunk_update" | "speculo_chunk_commit" | "speculo_chunk_allocate" => 6,
        name if name.ends_with("_close")
            || name.contains("unlink")
            || name.contains("_list")
            || name.contains("set_") =>
        {
            1
        }
        _ => 2,
    });
    let directory = machine.home.directory.clone();
    let options = AreaOptions::new().min_size(4096).max_size(1 << 15).directory(&directory);
    let mut area = Area::create("area", &options).unwrap();
    for (number, size) in [10, 100, 500, 40, 0].into_iter().enumerate() {
        area.write(&vec![7; size], if number == 3 { 1 } else { 0 }).unwrap();
    }
    drop(area);
    let mut mutations = 0;
    let arbitrary = dice.below(8);
    if arbitrary == 7 {
        // The manifest from the front, an area from the rest.
        let (manifest, area) = raw.split_at(raw.len().min(192));
        for (file, contents) in [("area.speculo", manifest), ("area.speculo-1", area)] {
            if let Ok(file) = File::options().write(true).open(directory.join(file)) {
                file.write_all_at(&contents[..contents.len().min(4096)], 0).unwrap();
            }
        }
    }
    let place = CString::new(directory.as_os_str().as_bytes()).unwrap();
    let place = place.as_ptr().expose_provenance() as u64;
    let name = c"area".as_ptr().expose_provenance() as u64;
    for round in 0..400_u64 {
        if dice.is_over() {
            break;
        }
        if round % 64 == 0 {
            let _ = machine.open("speculo_reader_open", &[name, place], Kind::Reader, None, true);
            if let Ok(area) = machine.open("speculo_area_new", &[name, 0], Kind::Area, None, true) {
                let pointer = machine.handles[area].pointer;
                machine.prepare_area(pointer, place);
            }
        }
        if dice.once_in(8) {
            let times = 1 + dice.below(32);
            mutations += scribble_area(&directory, dice, times);
        }
        machine.step(dice);
        if machine.handles.len() > 12 {
            machine.close_all(dice);
        }
    }
    (mutations, machine.calls)
}

/// Any calls of any functions, with any arguments that may be given, on segments and areas that are scribbled over.
pub fn c_abi(data: &[u8]) {
    c_abi_one(&mut Dice::fed(data), 2000);
}

pub fn c_abi_one(dice: &mut Dice<'_>, calls: u64) -> (u64, u64) {
    let mut machine = Machine::new(|function| match function.name {
        "shm_segment_create" | "shm_segment_create_memfd" | "shm_open_segment" => 12,
        name if name.ends_with("_create") || name.ends_with("_open") => 6,
        name if name.ends_with("_end") || name.ends_with("_shutdown") || name == "shm_segment_close" => 1,
        _ => 2,
    });
    machine.scribbles = dice.once_in(2);
    for _ in 0..calls {
        if dice.is_over() {
            break;
        }
        if machine.scribbles && dice.once_in(8) {
            machine.scribble(dice);
        }
        machine.step(dice);
    }
    (machine.mutations, machine.calls)
}
