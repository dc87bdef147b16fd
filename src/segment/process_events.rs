//! What happens to attachments when their process forks or ends.
//!
//! A child inherits the mappings and the open file descriptions, locks and all. Before the fork, the parent makes it a
//! participant of each segment: a second description, a record, a lock byte, a share in all open structures. Its first act is
//! to put the second description in the place of the first, or a living child would keep a dead parent alive. There is no
//! moment at which a closing parent could take the segment from its child.
//!
//! Every description that may carry a lock belongs to an attachment in [`LIST`] and is opened and closed only by who holds the list,
//! which the forking thread does across the fork. So no child ever has one that it does not know of.
//!
//! A process that ends in good order without having closed its attachments removes the names of those it was the last to
//! use; one that is killed cannot, and leaves that to the next to attach.

use std::cell::UnsafeCell;
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use super::attachment::{Attachment, HELD, Locked};
use super::participants::{READERS_BYTE, byte_of, reader_byte_of};
use super::removal;
use crate::error::{Error, Result};
use crate::os::lock::{self, Mode};
use crate::os::{object, process};
use crate::shared::Latch;
use crate::sync::Ordering;

/// Every attachment of this process.
struct List {
    /// Held across forks, and while an attachment comes or goes.
    latch: Latch,
    inner: UnsafeCell<Inner>,
}

struct Inner {
    attachments: Vec<*const Attachment>,
    /// A description of nothing, kept ready for children at the limit of descriptors; there once the handlers are registered.
    nothing: Option<File>,
}

// SAFETY: `inner` is used only by who holds the latch; the attachments in it are there, as they retire under the latch.
unsafe impl Sync for List {}

static LIST: List =
    List { latch: Latch::new(), inner: UnsafeCell::new(Inner { attachments: Vec::new(), nothing: None }) };

/// Between the handlers before and after a fork. Guarded by the list's latch.
#[derive(Default)]
pub(super) struct Forking(UnsafeCell<Plan>);

// SAFETY: used under the list's latch only.
unsafe impl Sync for Forking {}

#[derive(Default)]
struct Plan {
    /// What the child will be; `None` where it could not be registered.
    child: Option<Child>,
    /// Whether we hold `local`.
    local: bool,
}

struct Child {
    file: File,
    id: u32,
}

/// Makes an attachment while no fork can happen, and notes it.
pub(super) fn enrol(what: &str, make: impl FnOnce() -> Result<Arc<Attachment>>) -> Result<Arc<Attachment>> {
    LIST.latch.with(|| {
        // SAFETY: the latch is held.
        let inner = unsafe { &mut *LIST.inner.get() };
        if inner.nothing.is_none() {
            let failed = |error| Error::system(format_args!("cannot prepare {what} for forks"), error);
            let nothing = object::nothing().map_err(failed)?;
            process::at_fork(prepare, parent, child).and_then(|()| process::at_exit(exit)).map_err(failed)?;
            inner.nothing = Some(nothing);
        }
        let attachment = make()?;
        inner.attachments.push(Arc::as_ptr(&attachment));
        Ok(attachment)
    })
}

/// Lets an attachment do its last acts while no fork can happen, and forgets it.
pub(super) fn retire<T>(attachment: &mut Attachment, last_acts: impl FnOnce(&mut Attachment) -> T) -> T {
    LIST.latch.with(|| {
        let result = last_acts(attachment);
        // SAFETY: the latch is held.
        let inner = unsafe { &mut *LIST.inner.get() };
        inner.attachments.retain(|other| !std::ptr::eq(*other, attachment));
        result
    })
}

/// Does something while no fork can happen, so that no child gets a description that it does not know of.
pub(super) fn undisturbed<T>(act: impl FnOnce() -> T) -> T {
    LIST.latch.with(act)
}

/// The list, for handlers.
///
/// # Safety
/// The latch is held.
unsafe fn list() -> (impl Iterator<Item = &'static Attachment> + Clone, &'static Inner) {
    // SAFETY: the latch is held, and attachments in the list are there.
    unsafe {
        let inner = &*LIST.inner.get();
        (inner.attachments.iter().map(|attachment| &**attachment), inner)
    }
}

unsafe extern "C" fn prepare() {
    LIST.latch.acquire();
    // One limit for all: a stopped process must not make us wait for each of its segments.
    let deadline = process::deadline(Duration::from_secs(1));
    // SAFETY: acquired.
    for attachment in unsafe { list() }.0 {
        let limit = Duration::from_nanos(deadline.saturating_sub(process::now()));
        attachment.before_fork(limit);
    }
}

unsafe extern "C" fn parent() {
    // SAFETY: acquired in `prepare`.
    unsafe { list() }.0.for_each(Attachment::after_fork_in_parent);
    LIST.latch.release();
}

unsafe extern "C" fn child() {
    // SAFETY: acquired in `prepare`, by the only thread that is here.
    let (attachments, inner) = unsafe { list() };
    for attachment in attachments {
        attachment.after_fork_in_child(inner.nothing.as_ref());
    }
    LIST.latch.release();
}

extern "C" fn exit() {
    // Whoever calls `exit` in a signal handler may have interrupted the holder.
    if !LIST.latch.acquire_within(Duration::from_secs(1)) {
        return;
    }
    // SAFETY: acquired.
    let all = unsafe { list() }.0.filter(|attachment| attachment.is_of_this_process() && !attachment.persistent);
    // Readers stop counting as alive; nothing else is taken from threads that may still be at work.
    for reader in all.clone().filter(|attachment| attachment.read_only) {
        lock::unlock(reader.file.as_fd(), READERS_BYTE);
    }
    let mut places = Vec::new();
    for attachment in all.clone() {
        let ours = all.clone().filter(|other| other.identity == attachment.identity);
        let ours: Vec<u32> = ours.map(Attachment::me).filter(|id| *id != 0).collect();
        if attachment.read_only && ours.is_empty() {
            places.push(attachment.place.clone());
        } else if !attachment.read_only {
            attachment.remove_if_last_but(&ours);
        }
    }
    LIST.latch.release();
    places.iter().for_each(removal::remove_if_dead);
}

impl Attachment {
    /// Makes the child-to-be a participant, while we are certainly alive and hold all that it will have. Holds `local` and
    /// `uses_latch` until after the fork, so that nothing is opened or closed in between; other processes can have the
    /// segment's lock meanwhile.
    fn before_fork(&self, limit: Duration) {
        // SAFETY: the list's latch is held.
        let plan = unsafe { &mut *self.forking.0.get() };
        *plan = Plan::default();
        if !self.is_of_this_process() {
            return;
        }
        let locked = if self.me() != 0 { self.lock_within(limit).ok() } else { None };
        self.uses_latch.acquire();
        if self.read_only {
            plan.child = self.prepare_reader();
        } else if let Some(locked) = locked {
            plan.child = self.prepare_participant(&locked);
            plan.local = true;
            locked.keep_local();
        }
    }

    fn prepare_reader(&self) -> Option<Child> {
        let file = object::reopen(&self.file, self.place.path(), true).ok()?;
        let in_use = self.uses.iter().zip(0..).filter(|(uses, _)| uses.load(Ordering::Relaxed) != 0);
        for byte in in_use.map(|(_, entry)| reader_byte_of(entry)).chain([READERS_BYTE]) {
            if !lock::try_lock(file.as_fd(), byte, Mode::Shared).ok()? {
                return None;
            }
        }
        Some(Child { file, id: 0 })
    }

    fn prepare_participant(&self, locked: &Locked<'_>) -> Option<Child> {
        let file = object::reopen(&self.file, self.place.path(), false).ok()?;
        let id = self.take_record(&file, locked).ok()??;
        for (uses, entry) in self.uses.iter().zip(0..) {
            if uses.load(Ordering::Relaxed) != 0 {
                self.table().add_user(entry, id);
            }
        }
        Some(Child { file, id })
    }

    /// The child's description is closed here; its locks live on in the child. If there is none, they go, and its record is that
    /// of a dead participant.
    fn after_fork_in_parent(&self) {
        if !self.is_of_this_process() {
            return;
        }
        // SAFETY: the list's latch is held.
        let plan = std::mem::take(unsafe { &mut *self.forking.0.get() });
        self.uses_latch.release();
        if plan.local {
            self.local.release();
        }
    }

    fn after_fork_in_child(&self, nothing: Option<&File>) {
        // SAFETY: the list's latch is held.
        let plan = std::mem::take(unsafe { &mut *self.forking.0.get() });
        if let Some(file) = plan.child.as_ref().map(|child| &child.file).or(nothing) {
            object::replace(&self.file, file);
        }
        self.lost.store(plan.child.is_none(), Ordering::Relaxed);
        let id = plan.child.map_or(0, |child| child.id);
        self.who.store((self.who() >> 16).wrapping_add(1) << 16 | id, Ordering::Relaxed);
        if id != 0 {
            self.record(id).take();
        }
        // What the parent holds is the parent's.
        self.uses.iter().for_each(|uses| _ = uses.fetch_and(!HELD, Ordering::Relaxed));
        self.pid.store(process::pid(), Ordering::Relaxed);
        self.uses_latch.release();
        self.local.release();
    }

    /// Removes the name at exit, unless somebody living is attached who is none of `ours`.
    fn remove_if_last_but(&self, ours: &[u32]) {
        let Ok(_locked) = self.lock_within(Duration::from_millis(100)) else { return };
        let mut others = self.ids().filter(|id| !ours.contains(id)).map(byte_of).chain([READERS_BYTE]);
        let alive = others.any(|byte| lock::is_locked_by_others(self.file.as_fd(), byte).unwrap_or(true));
        if !alive && !self.is_orphaned() {
            let _ = self.place.unlink();
        }
    }
}
