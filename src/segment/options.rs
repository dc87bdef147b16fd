//! How a segment is made or attached to.

use std::time::Duration;

use super::header::{Layout, TableShape};
use super::memory::Wishes;
use crate::error::{Result, fail};
use crate::os::process;

/// How a segment is made or attached to.
///
/// ```
/// use shmds::{SegmentOptions, TableShape};
/// let options = SegmentOptions::new().size(1 << 20).table(TableShape::LARGE);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SegmentOptions {
    pub(crate) size: u64,
    pub(crate) mode: u32,
    pub(crate) group: Option<u32>,
    /// `None`: standard when created, any when attached to.
    pub(crate) table: Option<TableShape>,
    pub(crate) max_participants: u32,
    pub(crate) max_allocation: u64,
    pub(crate) lock_timeout: Duration,
    pub(crate) exclusive: bool,
    pub(crate) read_only: bool,
    pub(crate) persistent: bool,
    pub(crate) any_owner: bool,
    pub(crate) memory: Wishes,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl SegmentOptions {
    /// No size, mode 0600, a standard table, 64 participants, no limit to a structure's size, at most five seconds of
    /// waiting for the segment's lock.
    pub const fn new() -> Self {
        Self {
            size: 0,
            mode: 0o600,
            group: None,
            table: None,
            max_participants: 64,
            max_allocation: 0,
            lock_timeout: Duration::from_secs(5),
            exclusive: false,
            read_only: false,
            persistent: false,
            any_owner: false,
            memory: Wishes { prefault: false, lock: false, huge: false, node: None },
        }
    }

    /// Bytes of the whole segment, table included; rounded up to whole pages. Needed to create;
    /// [`size_for`](Self::size_for) computes it.
    pub const fn size(mut self, bytes: u64) -> Self {
        self.size = bytes;
        self
    }

    /// Permission bits of a created segment, exact whatever the umask; the owner needs at least 0600.
    pub const fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// The group of a created segment.
    pub const fn group(mut self, gid: u32) -> Self {
        self.group = Some(gid);
        self
    }

    /// How many structures, with names how long. Attaching with another shape is a mismatch.
    pub const fn table(mut self, shape: TableShape) -> Self {
        self.table = Some(shape);
        self
    }

    /// How many attachments a created segment allows at a time, 1 to 4096.
    pub const fn max_participants(mut self, count: u32) -> Self {
        self.max_participants = count;
        self
    }

    /// The largest structure allowed in a created segment, in bytes; 0: no limit.
    pub const fn max_allocation(mut self, bytes: u64) -> Self {
        self.max_allocation = bytes;
        self
    }

    /// The longest wait for the segment's lock, which is held for microseconds unless its holder was stopped.
    pub const fn lock_timeout(mut self, limit: Duration) -> Self {
        self.lock_timeout = limit;
        self
    }

    /// Creating fails with [`Status::Exists`](crate::Status::Exists) instead of attaching.
    pub const fn exclusive(mut self) -> Self {
        self.exclusive = true;
        self
    }

    /// Opens without permission to write: for monitors. Structures can be looked at only.
    pub const fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// A created segment stays when nobody is attached.
    pub const fn persistent(mut self) -> Self {
        self.persistent = true;
        self
    }

    /// Attaches although the segment belongs to a user who is neither us nor root. Only for users you trust: whoever
    /// owns a segment can change its bytes and its length at any time.
    pub const fn any_owner(mut self) -> Self {
        self.any_owner = true;
        self
    }

    /// Has every page in our page table before creating or opening returns, so that no first touch costs a page fault.
    /// This and the other wishes about memory are no conditions: [`Segment::unavailable`](crate::Segment::unavailable) says
    /// what could not be had.
    pub const fn prefault(mut self) -> Self {
        self.memory.prefault = true;
        self
    }

    /// Keeps every page in memory while this process is attached, and prefaulted: nothing is swapped out.
    pub const fn lock_memory(mut self) -> Self {
        self.memory.lock = true;
        self
    }

    /// Has the memory in huge pages of 2 MiB, but for a rest at its end. Needs Linux 6.1 for segments in shared memory.
    pub const fn huge_pages(mut self) -> Self {
        self.memory.huge = true;
        self
    }

    /// Has the memory on one NUMA node, and moves it there if need be. What others have mapped too is not moved.
    pub const fn numa_node(mut self, node: u32) -> Self {
        self.memory.node = Some(node);
        self
    }

    /// The size of a segment in which sections of `sections_bytes` altogether fit. Every structure says what it takes:
    /// [`QueueOptions::bytes`](crate::QueueOptions::bytes).
    pub fn size_for(&self, sections_bytes: u64) -> Result<u64> {
        let table = self.table.unwrap_or(TableShape::STANDARD);
        let empty = Layout::new(i64::MAX as u64, table, self.max_participants, 0)?;
        whole_pages(empty.data_offset.saturating_add(sections_bytes))
    }

    /// The geometry of a segment made with these options.
    pub(crate) fn layout(&self) -> Result<Layout> {
        if self.read_only {
            return Err(fail!(Invalid, "a segment cannot be created read-only"));
        }
        if self.size == 0 {
            return Err(fail!(Invalid, "a segment cannot be created with size 0"));
        }
        if self.mode & !0o777 != 0 || self.mode & 0o600 != 0o600 {
            return Err(fail!(Invalid, "mode {:#o} is not possible: it needs 0600 and nothing above 0777", self.mode));
        }
        let table = self.table.unwrap_or(TableShape::STANDARD);
        Layout::new(whole_pages(self.size)?, table, self.max_participants, self.max_allocation)
    }
}

fn whole_pages(bytes: u64) -> Result<u64> {
    bytes
        .checked_next_multiple_of(process::page_size() as u64)
        .filter(|bytes| i64::try_from(*bytes).is_ok())
        .ok_or_else(|| fail!(Invalid, "a segment of {bytes} bytes is more than this machine can address"))
}
