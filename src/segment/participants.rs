//! Who is attached, and who died.
//!
//! A participant is one attachment of one process. While it lives it holds an open-file-description lock on its own
//! byte ([`byte_of`]), which the kernel drops when the process dies, however it dies. The record is what people read;
//! the lock is what counts. A record is taken and given back under the segment's lock only.

use crate::os::lock::Bytes;
use crate::os::process;
use crate::shared::Shared;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// The lock bytes of a segment's object.
///
/// | byte | held, exclusively, by |
/// |---|---|
/// | 0 | whoever changes the table (shared by read-only attachers while they register) |
/// | id | participant `id` (1 …= 4096) |
/// | 65536 | every read-only attacher (shared) |
/// | 65537 + e | every read-only attacher that has the structure of entry `e` open (shared) |
pub(crate) const SEGMENT_BYTE: Bytes = Bytes { start: 0, len: 1 };
pub(crate) const READERS_BYTE: Bytes = Bytes { start: 0x1_0000, len: 1 };
/// All bytes held by anybody alive.
pub(crate) const LIVING_BYTES: Bytes = Bytes { start: 1, len: 0x1_0000 };

pub(crate) fn byte_of(id: u32) -> Bytes {
    Bytes { start: id, len: 1 }
}

pub(crate) fn reader_byte_of(entry: u32) -> Bytes {
    Bytes { start: READERS_BYTE.start + 1 + entry, len: 1 }
}

const FREE: u32 = 0;
const TAKEN: u32 = 1;

#[repr(C)]
pub(crate) struct Record {
    state: AtomicU32,
    pid: AtomicU32,
    attached: AtomicU64,
    command: [AtomicU64; 2],
    reserved: [AtomicU64; 4],
}

// SAFETY: atomics only.
unsafe impl Shared for Record {}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Record>() as u64 == super::header::PARTICIPANT_BYTES);

impl Record {
    pub(crate) fn is_taken(&self) -> bool {
        self.state.load(Ordering::Acquire) == TAKEN
    }

    /// The state, if it is none.
    pub(super) fn nonsense(&self) -> Option<u32> {
        Some(self.state.load(Ordering::Acquire)).filter(|state| !matches!(*state, FREE | TAKEN))
    }

    pub(crate) fn take(&self) {
        let command = process::command();
        let (low, high) = command.split_at(8);
        for (word, bytes) in self.command.iter().zip([low, high]) {
            word.store(u64::from_le_bytes(bytes.try_into().unwrap_or_default()), Ordering::Relaxed);
        }
        self.pid.store(process::pid(), Ordering::Relaxed);
        self.attached.store(process::now(), Ordering::Relaxed);
        self.state.store(TAKEN, Ordering::Release);
    }

    pub(crate) fn give_back(&self) {
        self.state.store(FREE, Ordering::Release);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    pub(crate) fn describe(&self, id: u32, alive: bool, is_self: bool) -> Participant {
        let mut command = Vec::with_capacity(16);
        for word in &self.command {
            command.extend(word.load(Ordering::Relaxed).to_le_bytes());
        }
        let end = command.iter().position(|byte| *byte == 0).unwrap_or(command.len());
        Participant {
            id,
            pid: self.pid(),
            alive,
            is_self,
            attached: self.attached.load(Ordering::Relaxed),
            command: String::from_utf8_lossy(&command[..end]).into_owned(),
        }
    }
}

/// One attachment of one process, as listed by [`Segment::participants`](crate::Segment::participants).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    /// Its number in the segment, from 1; reused after its death has been dealt with.
    pub id: u32,
    /// The process, as it called itself in its own pid namespace. For people; liveness does not depend on it.
    pub pid: u32,
    /// Whether it lives: whether its lock is held.
    pub alive: bool,
    /// Whether it is the attachment that was asked.
    pub is_self: bool,
    /// When it attached, in nanoseconds of CLOCK_MONOTONIC.
    pub attached: u64,
    /// The name of its command, at most 15 bytes.
    pub command: String,
}
