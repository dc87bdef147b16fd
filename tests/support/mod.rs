//! What the tests share: names that leave nothing behind, sentences that are checked, processes in three languages.
#![allow(dead_code, unused_imports, unreachable_pub)] // every test file uses its own part

mod books;
mod bytes;
pub mod diary;
mod files;
mod log;
mod peer;
mod ring;
mod role;
pub mod scarce;
mod speculo;
mod speculo_peer;
mod structures;

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

pub use books::{Books, Succession};
pub use diary::Diary;
pub use files::{Janitor, Name, TempDir, prefix};
pub use log::Log;
pub use peer::{BYTES, EVERY_LANGUAGE, Language, Part, Peer, RING, SPECULO, STRUCTURES, play, role_words};
pub use ring::{Sample, Stage, verdict};
use shmds::{Result, Segment, SegmentOptions, Status};
pub use speculo::{AreaName, contents, newest_written, read_only_mappings, whole, word};
pub use speculo_peer::{storm_options, storm_words};
pub use structures::{Object, byte, pool_turn, writing, written};

/// How long anything that must happen may take on a machine with other things to do.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What travels between the peers; the same as in c-tests/support_peer.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::AnyBitPattern)]
#[repr(C)]
pub struct Message {
    pub producer: u64,
    pub sequence: u64,
    pub check: u64,
}

impl Message {
    pub fn new(producer: u64, sequence: u64) -> Self {
        let check = producer.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ sequence ^ 0x5bd1_e995;
        Self { producer, sequence, check }
    }

    pub fn is_whole(&self) -> bool {
        *self == Self::new(self.producer, self.sequence)
    }
}

/// A fresh segment of 4 MiB under this name, and nobody else's.
pub fn fresh(name: &Name) -> Segment {
    Segment::create(name, &sized().exclusive()).unwrap()
}

/// Options for a segment of 4 MiB.
pub fn sized() -> SegmentOptions {
    SegmentOptions::new().size(4 << 20)
}

/// The refusal must have this status, and its sentence each of these words.
#[track_caller]
pub fn refused<T>(result: Result<T>, status: Status, words: &[&str]) {
    let Err(error) = result else { panic!("should have been refused with {status:?}") };
    assert_eq!(error.status(), status, "{error}");
    for word in words {
        assert!(error.message().contains(word), "no {word:?} in {:?}", error.message());
    }
}

/// Looks every millisecond until it is so.
#[track_caller]
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < PATIENCE, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// For tests that measure: one at a time. A test that failed while measuring does not spoil the others.
pub fn measuring() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Whether this is the long run.
pub fn is_soak() -> bool {
    std::env::var_os("SHMDS_SOAK").is_some_and(|value| value == "1")
}

/// Nothing here can be tested by anybody else.
#[track_caller]
pub fn need_root() {
    // SAFETY: geteuid has no preconditions.
    assert!(unsafe { libc::geteuid() } == 0, "this test becomes other users, or mounts: it must be run by root");
}

/// Says a measured number, past libtest's capture.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A library that, preloaded, has the wall clock jump by twenty years with every look.
pub fn jumping_wall_clock(directory: &TempDir) -> PathBuf {
    let library = directory.path("jumping_wall_clock.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/jumping_wall_clock.c");
    let flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-fPIC", "-shared", "-o"];
    let built = Command::new("cc").args(flags).arg(&library).arg(source).args(["-ldl"]).status().unwrap();
    assert!(built.success());
    library
}

/// Random numbers, good enough to be unpredictable. The seed is said when a test fails.
pub struct Random(u64);

impl Random {
    pub fn new() -> Self {
        let time = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        let seed = std::env::var("SHMDS_SEED").map_or(time | 1, |seed| seed.parse().expect("SHMDS_SEED is a number"));
        println!("SHMDS_SEED={seed}");
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound
    }

    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    pub fn micros(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_micros(from + self.below(to - from))
    }
}
