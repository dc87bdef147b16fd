//! Wishes about a segment's memory, and what became of them.
//!
//! They concern the pages behind one attachment's mapping. The kernel may refuse each of them for reasons of its own, and
//! then the segment works all the same: so what could not be had is no error, but it is told.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use crate::os::mapping::Mapping;
use crate::os::memory;

/// A wish about a segment's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemoryOption {
    /// [`SegmentOptions::prefault`](crate::SegmentOptions::prefault).
    Prefault,
    /// [`SegmentOptions::lock_memory`](crate::SegmentOptions::lock_memory).
    LockMemory,
    /// [`SegmentOptions::huge_pages`](crate::SegmentOptions::huge_pages).
    HugePages,
    /// [`SegmentOptions::numa_node`](crate::SegmentOptions::numa_node).
    NumaNode,
}

/// A wish that was not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// Which.
    pub option: MemoryOption,
    /// Why, in a sentence.
    pub reason: String,
}

/// All the wishes of one attachment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) prefault: bool,
    pub(crate) lock: bool,
    pub(crate) huge: bool,
    pub(crate) node: Option<u32>,
}

impl Wishes {
    /// Asks the kernel for all of them, and says what it refused. `what` names the segment in sentences; `on_disk` says that its
    /// pages are those of a disk, which writing to them would only make it write.
    pub(super) fn ask(self, file: &File, mapping: &Mapping, what: &str, on_disk: bool) -> Vec<Unavailable> {
        let mut unavailable = Vec::new();
        let mut note = |option, wish: &str, result: io::Result<()>| {
            if let Err(error) = result {
                let reason = format!("the {} bytes of {what} cannot be {wish}: {error}", mapping.len());
                unavailable.push(Unavailable { option, reason });
            }
        };
        // Where pages are comes first, then how large they are; only then they are looked at and pinned.
        if let Some(node) = self.node {
            note(MemoryOption::NumaNode, &format!("on node {node}"), mapping.bind_to_node(node));
        }
        if self.huge && !memory::is_made_of_huge_pages(file.as_fd()) {
            note(MemoryOption::HugePages, "in huge pages", mapping.use_huge_pages());
        }
        if self.prefault {
            note(MemoryOption::Prefault, "prefaulted", mapping.prefault(on_disk));
        }
        if self.lock {
            note(MemoryOption::LockMemory, "locked in memory", mapping.lock_in_memory());
        }
        unavailable
    }
}
