//! Descriptors that forked children do not keep: what a lock of this process's hangs on.
//!
//! A child inherits the open file description, and with it the lock: it would keep a dead parent's lock alive. So its first act is to
//! put a description of nothing in its place.

use std::cell::UnsafeCell;
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, RawFd};

use super::{object, process};
use crate::shared::Latch;

/// A file that is this process's alone.
#[derive(Debug)]
pub(crate) struct Unshared(ManuallyDrop<File>);

struct List {
    /// Held across forks, and while a file comes or goes.
    latch: Latch,
    inner: UnsafeCell<Inner>,
}

struct Inner {
    files: Vec<RawFd>,
    /// Kept ready for children at the limit of descriptors; there once the handlers are registered.
    nothing: Option<File>,
}

// SAFETY: `inner` is used only by who holds the latch.
unsafe impl Sync for List {}

static LIST: List = List { latch: Latch::new(), inner: UnsafeCell::new(Inner { files: Vec::new(), nothing: None }) };

impl Unshared {
    /// Opens a file while no fork can happen.
    pub(crate) fn open(open: impl FnOnce() -> io::Result<File>) -> io::Result<Self> {
        LIST.latch.with(|| {
            // SAFETY: the latch is held.
            let inner = unsafe { &mut *LIST.inner.get() };
            if inner.nothing.is_none() {
                let nothing = object::nothing()?;
                process::at_fork(prepare, parent, child)?;
                inner.nothing = Some(nothing);
            }
            let file = open()?;
            inner.files.push(file.as_raw_fd());
            Ok(Self(ManuallyDrop::new(file)))
        })
    }

    pub(crate) fn file(&self) -> &File {
        &self.0
    }
}

impl Drop for Unshared {
    fn drop(&mut self) {
        LIST.latch.with(|| {
            // SAFETY: the latch is held.
            let inner = unsafe { &mut *LIST.inner.get() };
            inner.files.retain(|file| *file != self.0.as_raw_fd());
            // SAFETY: dropped once, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        });
    }
}

extern "C" fn prepare() {
    LIST.latch.acquire();
}

extern "C" fn parent() {
    LIST.latch.release();
}

extern "C" fn child() {
    // SAFETY: the forking thread held the latch, and is the only one here.
    let inner = unsafe { &mut *LIST.inner.get() };
    if let Some(nothing) = &inner.nothing {
        inner.files.iter().for_each(|file| object::replace_raw(*file, nothing));
    }
    LIST.latch.release();
}
