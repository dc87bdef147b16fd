//! How long a process of a storm waits: each that is started with a diary notes its operations there, and which took long. The same
//! as in c-tests/support_peer.h.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::log::Log;

/// The variable that says where a process's diary is.
pub const DIARY: &str = "SHMDS_PEER_DIARY";

/// What takes longer is noted.
const LONG_NS: u64 = 1_000_000;
/// So many are kept: the last ones.
const KEPT: u64 = 1024;

const DONE: u64 = 0;
const BEGUN: u64 = 1;
const NOTED: u64 = 2;
const NOTES: u64 = 3;

/// Nanoseconds of the monotonic clock, which all processes share.
pub fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes to what is passed.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn own() -> Option<&'static Log> {
    static OWN: OnceLock<Option<Log>> = OnceLock::new();
    OWN.get_or_init(|| Some(Log::open(Path::new(&std::env::var_os(DIARY)?)))).as_ref()
}

/// An operation begins, or is tried again.
pub fn begins() {
    if let Some(diary) = own()
        && diary.get(BEGUN) == 0
    {
        diary.set(BEGUN, now_ns());
    }
}

/// It came to something.
pub fn succeeds() {
    let Some(diary) = own() else { return };
    let (begun, now) = (diary.get(BEGUN), now_ns());
    if now - begun > LONG_NS {
        let noted = diary.get(NOTED);
        diary.set(NOTES + noted % KEPT * 2, begun);
        diary.set(NOTES + noted % KEPT * 2 + 1, now);
        diary.set(NOTED, noted + 1);
    }
    diary.set(BEGUN, 0);
    diary.set(DONE, diary.get(DONE) + 1);
}

/// What was begun will not be gone on with.
pub fn gives_up() {
    if let Some(diary) = own() {
        diary.set(BEGUN, 0);
    }
}

/// A process's diary, in the hands of who started it.
pub struct Diary(Log);

impl Diary {
    pub fn create(path: PathBuf) -> Self {
        Self(Log::create(path, NOTES + 2 * KEPT))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// How many operations came to something.
    pub fn done(&self) -> u64 {
        self.0.get(DONE)
    }

    pub fn has_begun(&self) -> bool {
        self.done() > 0 || self.0.get(BEGUN) != 0
    }

    /// From when to when the operations took that took long, the one under way included, which goes until now.
    pub fn waits(&self, now: u64) -> Vec<(u64, u64)> {
        let noted = self.0.get(NOTED).min(KEPT);
        let mut waits: Vec<_> =
            (0..noted).map(|nth| (self.0.get(NOTES + nth * 2), self.0.get(NOTES + nth * 2 + 1))).collect();
        let begun = self.0.get(BEGUN);
        if begun != 0 {
            waits.push((begun, now));
        }
        waits
    }
}
