//! One attachment of one process to one segment: its mapping, its locks, its place among the participants.
//!
//! How attachments come and go is in `lifecycle`; what forks and exits do to them, in `process_events`.
//!
//! # Death
//!
//! The kernel drops a dead process's bytes. Until somebody [`reap`](Attachment::reap)s, its record and what it owned in
//! structures stay; reaping gives back what it owned first and its record last, so an id never names two owners, and
//! dying in the middle of reaping means that the next one does it again.

use std::fs::{File, Metadata};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use super::allocator::FreeSpace;
use super::header::{Header, Layout, PARTICIPANT_BYTES};
use super::memory::Unavailable;
use super::options::SegmentOptions;
use super::participants::{LIVING_BYTES, READERS_BYTE, Record, SEGMENT_BYTE, byte_of, reader_byte_of};
use super::place::Place;
use super::process_events::{self, Forking};
use super::region::Region;
use super::removal;
use super::table::{Phase, Table};
use crate::error::{Error, Result, Status, fail};
use crate::os::lock::{self, Mode};
use crate::os::mapping::Mapping;
use crate::os::object::{self, Identity};
use crate::os::{barrier, process};
use crate::shared::{Latch, fnv1a};
use crate::sync::Ordering;
use crate::sync::private::{AtomicBool, AtomicU32};

pub(crate) struct Attachment {
    pub(super) place: Place,
    /// The description that carries our locks. Opened, replaced and closed only while no fork can happen.
    pub(super) file: ManuallyDrop<File>,
    pub(super) identity: Identity,
    mapping: Mapping,
    unavailable: Vec<Unavailable>,
    prefaulted: bool,
    table: Table,
    pub(super) read_only: bool,
    pub(super) persistent: bool,
    lock_timeout: Duration,
    /// The process this attachment is of. A child made behind our back (by a bare `clone`) has a copy that is not its own.
    pub(super) pid: AtomicU32,
    /// See [`who`](Self::who). The id is 0 for a read-only attachment, and where a forked child could not register.
    pub(super) who: AtomicU32,
    /// Whether we are a forked child that could not register.
    pub(super) lost: AtomicBool,
    /// The half of the segment's lock that keeps this attachment's own threads apart.
    pub(super) local: Latch,
    /// Keeps the first open and the last close of a structure apart. Taken under the segment's lock, or alone.
    pub(super) uses_latch: Latch,
    /// Per entry: how many handles of ours are open on it, and [`HELD`].
    pub(super) uses: Box<[AtomicU32]>,
    pub(super) forking: Forking,
    /// Whether our wakers must fence for themselves, because membarrier does not reach us.
    fenced: bool,
}

/// In a word of `uses`: something may be owned there beyond the end of a call.
pub(super) const HELD: u32 = 1 << 31;

/// Proof of holding the segment's lock.
pub(crate) struct Locked<'a>(&'a Attachment);

impl Locked<'_> {
    fn unlock(&self) {
        if !self.0.read_only {
            self.0.header().lock_pid.store(0, Ordering::Release);
        }
        lock::unlock(self.0.file.as_fd(), SEGMENT_BYTE);
    }

    /// Lets other processes in, but not yet the other threads of this one: until `local` is released.
    pub(super) fn keep_local(self) {
        self.unlock();
        std::mem::forget(self);
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.unlock();
        self.0.local.release();
    }
}

/// Proof of holding the segment's lock together with others who look.
pub(super) struct Looking<'a>(&'a Attachment);

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        lock::unlock(self.0.file.as_fd(), SEGMENT_BYTE);
        self.0.local.release();
    }
}

/// A wait in small steps, for locks the kernel cannot wait for with a limit.
pub(super) struct Backoff {
    deadline: u64,
    step: Duration,
}

impl Backoff {
    pub(super) fn new(limit: Duration) -> Self {
        Self { deadline: process::deadline(limit), step: Duration::from_micros(10) }
    }

    /// Sleeps a little; false when the time is up.
    pub(super) fn wait(&mut self) -> bool {
        if process::now() >= self.deadline {
            return false;
        }
        process::sleep(self.step);
        self.step = (self.step * 2).min(Duration::from_millis(1));
        true
    }
}

impl Attachment {
    /// A mapped segment, not registered yet. `reopen` makes the description that will carry its locks; that happens, and the
    /// attachment is known to the fork handlers, before a fork can come in between.
    pub(super) fn enrol(
        place: &Place,
        metadata: &Metadata,
        (mapping, unavailable): (Mapping, Vec<Unavailable>),
        layout: Layout,
        options: &SegmentOptions,
        persistent: bool,
        reopen: impl FnOnce() -> io::Result<File>,
    ) -> Result<Arc<Self>> {
        let what = place.what();
        process_events::enrol(&what, || {
            let file = reopen().map_err(|error| Error::system(format_args!("cannot open {what}"), error))?;
            // SAFETY: the mapping moves into the attachment, which keeps it where it is and outlives its table.
            let region = unsafe { Region::new(mapping.base(), mapping.len()) };
            Ok(Arc::new(Self {
                place: place.clone(),
                file: ManuallyDrop::new(file),
                identity: Identity::of(metadata),
                mapping,
                unavailable,
                prefaulted: options.memory.prefault,
                table: Table::new(region, layout),
                read_only: options.read_only,
                persistent,
                lock_timeout: options.lock_timeout,
                pid: AtomicU32::new(process::pid()),
                who: AtomicU32::new(0),
                lost: AtomicBool::new(false),
                local: Latch::new(),
                uses_latch: Latch::new(),
                uses: (0..layout.table.entries).map(|_| AtomicU32::new(0)).collect(),
                forking: Forking::default(),
                fenced: !barrier::register(),
            }))
        })
    }

    pub(crate) fn name(&self) -> &str {
        self.place.name()
    }

    /// "segment 'name'", for sentences.
    pub(crate) fn what(&self) -> String {
        self.place.what()
    }

    pub(crate) fn layout(&self) -> &Layout {
        self.table.layout()
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    pub(crate) fn is_persistent(&self) -> bool {
        self.persistent
    }

    /// The wishes about our memory that were not granted.
    pub(crate) fn unavailable(&self) -> &[Unavailable] {
        &self.unavailable
    }

    /// Whether no page faults are wished for, which other mappings of the same memory have to see to themselves.
    pub(crate) fn is_prefaulted(&self) -> bool {
        self.prefaulted
    }

    /// Whether wakers in this process must fence for themselves.
    pub(crate) fn is_fenced(&self) -> bool {
        self.fenced
    }

    /// Our participant id, for marking what we own; 0 when we may not own anything.
    #[inline(always)]
    pub(crate) fn me(&self) -> u32 {
        self.who() & 0xffff
    }

    /// How many forks ago we began << 16 | our participant id. Tells us from a parent whose state we have copied, even if we
    /// got the id that it had.
    #[inline(always)]
    pub(crate) fn who(&self) -> u32 {
        self.who.load(Ordering::Relaxed)
    }

    pub(super) fn set_me(&self, id: u32) {
        self.who.store(self.who() & !0xffff | id, Ordering::Relaxed);
    }

    pub(crate) fn region(&self) -> Region {
        // SAFETY: the mapping lives as long as the attachment, and everything made from this region holds the attachment.
        unsafe { Region::new(self.mapping.base(), self.mapping.len()) }
    }

    pub(crate) fn header(&self) -> &Header {
        // SAFETY: mapped and validated; made of atomics only.
        unsafe { self.mapping.base().cast().as_ref() }
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    pub(crate) fn record(&self, id: u32) -> &Record {
        let offset = self.layout().participants_offset + u64::from(id - 1) * PARTICIPANT_BYTES;
        // SAFETY: `id` is at most max_participants, so by the layout this is inside the mapping, aligned, and atomics.
        unsafe { self.mapping.base().add(offset as usize).cast().as_ref() }
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = u32> + use<> {
        1..=self.layout().max_participants
    }

    /// Takes the segment's lock, waiting no longer than this attachment's limit.
    pub(crate) fn lock(&self) -> Result<Locked<'_>> {
        self.lock_within(self.lock_timeout)
    }

    /// How long openers wait for that.
    pub(crate) fn lock_timeout(&self) -> Duration {
        self.lock_timeout
    }

    pub(crate) fn lock_within(&self, limit: Duration) -> Result<Locked<'_>> {
        self.acquire(limit, if self.read_only { Mode::Shared } else { Mode::Exclusive })?;
        let locked = Locked(self);
        if !self.read_only {
            let header = self.header();
            if header.lock_pid.swap(process::pid(), Ordering::AcqRel) != 0 {
                // The last holder died inside.
                self.table().repair();
            }
            header.lock_participant.store(self.me(), Ordering::Relaxed);
        }
        Ok(locked)
    }

    /// Keeps everybody from changing the table and the participants, and changes nothing: what a death inside the lock left stays as it is.
    pub(super) fn look(&self) -> Result<Looking<'_>> {
        self.acquire(self.lock_timeout, Mode::Shared)?;
        Ok(Looking(self))
    }

    fn acquire(&self, limit: Duration, mode: Mode) -> Result<()> {
        if self.lost.load(Ordering::Relaxed) {
            return Err(unregistered(self));
        }
        let mut backoff = Backoff::new(limit);
        while !self.local.try_acquire() {
            if !backoff.wait() {
                return Err(fail!(
                    Busy,
                    "another thread of this process holds the lock of {} for more than {limit:?}",
                    self.what()
                ));
            }
        }
        loop {
            match lock::try_lock(self.file.as_fd(), SEGMENT_BYTE, mode) {
                Ok(true) => return Ok(()),
                Ok(false) if backoff.wait() => {}
                Ok(false) => {
                    self.local.release();
                    return Err(locked_by_another(&self.what(), self.header(), limit));
                }
                Err(error) => {
                    self.local.release();
                    return Err(self.cannot_lock(error));
                }
            }
        }
    }

    #[cold]
    pub(super) fn cannot_lock(&self, error: io::Error) -> Error {
        Error::lock(self.what(), error)
    }

    /// Whether anybody but us holds a byte of the living.
    pub(crate) fn is_alive(&self) -> Result<bool> {
        lock::is_locked_by_others(self.file.as_fd(), LIVING_BYTES).map_err(|error| self.cannot_lock(error))
    }

    /// Whether participant `id` lives. Costs a system call. An id that nobody can have is nobody's who lives.
    pub(crate) fn lives(&self, id: u32) -> bool {
        (1..=self.layout().max_participants).contains(&id)
            && (id == self.me() || lock::is_locked_by_others(self.file.as_fd(), byte_of(id)).unwrap_or(true))
    }

    /// Takes a place among the living.
    pub(super) fn register(&self, locked: &Locked<'_>) -> Result<()> {
        if self.read_only {
            return self.lock_shared(READERS_BYTE);
        }
        let Some(id) = self.take_record(&self.file, locked).map_err(|error| self.cannot_lock(error))? else {
            let most = self.layout().max_participants;
            return Err(fail!(Limit, "{} has all of its {most} participants", self.what()));
        };
        self.become_participant(id);
        Ok(())
    }

    pub(super) fn become_participant(&self, id: u32) {
        self.set_me(id);
        if self.fenced {
            self.header().fences.store(1, Ordering::Release);
        }
    }

    /// Takes a byte that readers share. Nobody of good will ever holds it exclusively.
    fn lock_shared(&self, byte: lock::Bytes) -> Result<()> {
        match lock::try_lock(self.file.as_fd(), byte, Mode::Shared) {
            Ok(true) => Ok(()),
            Ok(false) => Err(fail!(Busy, "somebody keeps the readers of {} out", self.what())),
            Err(error) => Err(self.cannot_lock(error)),
        }
    }

    /// A record for whoever has the description `file`, and the lock byte that belongs to it. `None` when all are taken.
    pub(super) fn take_record(&self, file: &File, locked: &Locked<'_>) -> io::Result<Option<u32>> {
        self.reap(locked);
        for id in self.ids() {
            if self.record(id).is_taken() {
                continue;
            }
            // A free record whose byte is held belongs to somebody about to go; leave it to them.
            if lock::try_lock(file.as_fd(), byte_of(id), Mode::Exclusive)? {
                self.record(id).take();
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// Buries everybody who died; returns how many.
    pub(crate) fn reap(&self, locked: &Locked<'_>) -> u32 {
        self.ids().filter(|id| self.record(*id).is_taken() && !self.lives(*id) && self.bury(locked, *id)).count() as u32
    }

    /// Gives back what a participant owned, and then its record. False when something could not be given back.
    fn bury(&self, _locked: &Locked<'_>, dead: u32) -> bool {
        let table = self.table();
        let mut complete = true;
        // Sections lie side by side. Were every entry believed, each could be the whole segment, and to look through all of them for each of the
        // dead take hours. The smaller come first, so that one that lies keeps few others out.
        let mut room = self.layout().size - self.layout().data_offset;
        let mut open: Vec<_> = (0..table.capacity()).filter(|entry| table.is_user(*entry, dead)).collect();
        open.sort_by_cached_key(|entry| table.size(*entry));
        for entry in open {
            let found = table.read(entry).map(|(_, found)| found).filter(|found| found.size <= room);
            let section = found.as_ref().and_then(|found| self.section(found.offset, found.size));
            if let (Some(found), Some(section)) = (found, section) {
                room -= found.size;
                // First, or dying here would hide it.
                if crate::kinds::is_unfinished(&found, section, dead) {
                    table.set_interrupted(entry, true);
                }
                if !crate::kinds::reclaim(&found, section, dead) {
                    complete = false;
                    continue;
                }
                // The dead may have been giving something to somebody who left.
                crate::kinds::reclaim_strays(&found, section, |id| table.is_user(entry, id));
            }
            // Bytes that make no sense have nothing to give back.
            table.remove_user(entry, dead);
        }
        if complete {
            self.record(dead).give_back();
        }
        self.free_unused();
        complete
    }

    /// Gives back what `dead` owned in one structure. Bytes that make no sense have nothing to give back.
    fn reclaim(&self, entry: u32, dead: u32) -> bool {
        let Some((_, found)) = self.table().read(entry) else { return true };
        let section = self.section(found.offset, found.size);
        section.is_none_or(|section| crate::kinds::reclaim(&found, section, dead))
    }

    /// If the machine went down since somebody was last attached to a segment in a file: what was open then may be of
    /// several moments, as its pages went to the disk in any order.
    pub(super) fn notice_restart(&self, _locked: &Locked<'_>) {
        let (table, now) = (self.table(), boot());
        // Who cannot know leaves it to the next who can.
        if !self.place.is_file() || self.read_only || now == 0 || self.header().boot.load(Ordering::Relaxed) == now {
            return;
        }
        for entry in (0..table.capacity()).filter(|entry| table.has_users(*entry)) {
            table.set_interrupted(entry, true);
        }
        self.note_boot();
    }

    /// Notes that the segment is in use since the machine was last started.
    pub(super) fn note_boot(&self) {
        self.header().boot.store(boot(), Ordering::Release);
    }

    /// The part of the mapping that a section covers, if the entry tells the truth.
    pub(crate) fn section(&self, offset: u64, size: u64) -> Option<Region> {
        if offset < self.layout().data_offset {
            return None;
        }
        self.region().part(offset, size)
    }

    /// Another description of the object, which holds no locks and will never hold any of ours.
    pub(crate) fn descriptor(&self) -> Result<File> {
        // By the name, if it still leads here: what was linked without one has no good label behind the other way.
        object::open_if_still(self.place.path(), self.identity, self.read_only)
            .map_or_else(|| object::reopen(&self.file, None, self.read_only), Ok)
            .map_err(|error| Error::system(format_args!("cannot open {}", self.what()), error))
    }

    /// Returns when a part of the mapping is in its file as it is now.
    pub(crate) fn sync(&self, offset: u64, bytes: u64) -> Result<()> {
        self.mapping
            .sync(offset as usize, bytes as usize)
            .map_err(|error| Error::system(format_args!("cannot write {} to its file", self.what()), error))
    }

    /// Called when an operation has been stuck behind `owner` for a while: buries it if it is dead, and has `reclaim` give back what
    /// it owns where we are stuck. True when something was done, so that looking again is worth it.
    ///
    /// The latter also if it is nobody: a peer may have scribbled an id that is free, or that cannot be, and no burial comes by
    /// where its owner has nothing open. Who lives has its lock before it can own anything, and gets it under the segment's lock,
    /// so nobody becomes `owner` meanwhile.
    ///
    /// # Errors
    /// `Busy` when the segment's lock was not to be had in time: it is not known then.
    pub(crate) fn bury_if_dead(&self, owner: u32, wait: Duration, reclaim: impl FnOnce() -> bool) -> Result<bool> {
        if self.read_only || self.lives(owner) {
            return Ok(false);
        }
        let locked = self.lock_within(wait)?;
        if self.lives(owner) {
            return Ok(false);
        }
        if (1..=self.layout().max_participants).contains(&owner) {
            self.bury(&locked, owner);
        }
        Ok(reclaim())
    }

    /// Frees the memory of removed structures that nobody uses any more. Under the lock.
    pub(crate) fn free_unused(&self) {
        let table = self.table();
        for entry in 0..table.capacity() {
            if table.state(entry).phase() != Some(Phase::Unlinked) {
                continue;
            }
            // Only who has a record can be a user; other bits are a scribbling peer's.
            let used =
                table.has_users(entry) && self.ids().any(|id| table.is_user(entry, id) && self.record(id).is_taken());
            if !used && !lock::is_locked_by_others(self.file.as_fd(), reader_byte_of(entry)).unwrap_or(true) {
                table.free(entry);
            }
        }
    }

    /// What the sections leave free. Under the lock.
    pub(crate) fn free_space(&self, _locked: &Locked<'_>) -> Result<FreeSpace> {
        FreeSpace::between(self.layout(), self.table().sections())
    }

    /// Notes one more handle of ours on an entry. Under the lock.
    pub(crate) fn add_use(&self, entry: u32) -> Result<()> {
        self.uses_latch.with(|| {
            let uses = &self.uses[entry as usize];
            if uses.load(Ordering::Relaxed) == 0 {
                if self.read_only {
                    self.lock_shared(reader_byte_of(entry))?;
                } else {
                    self.table().add_user(entry, self.me());
                    if self.place.is_file() {
                        // So that after a crash of the machine it is known what was open.
                        self.sync(0, self.layout().data_offset)
                            .inspect_err(|_| self.table().remove_user(entry, self.me()))?;
                    }
                }
            }
            uses.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
    }

    /// Notes that something in an entry that we use may be ours beyond the end of a call.
    #[inline]
    pub(crate) fn note_held(&self, entry: u32) {
        let uses = &self.uses[entry as usize];
        if uses.load(Ordering::Relaxed) & HELD == 0 {
            uses.fetch_or(HELD, Ordering::Relaxed);
        }
    }

    /// Notes one handle less; the last one gives back what we own there.
    pub(crate) fn remove_use(&self, entry: u32) {
        if !self.is_of_this_process() {
            return;
        }
        self.uses_latch.with(|| {
            let uses = &self.uses[entry as usize];
            let left = uses.fetch_sub(1, Ordering::Relaxed) - 1;
            if left & !HELD > 0 {
                return;
            }
            uses.store(0, Ordering::Relaxed);
            if self.read_only {
                lock::unlock(self.file.as_fd(), reader_byte_of(entry));
            } else if self.me() != 0 && (left & HELD == 0 || self.reclaim(entry, self.me())) {
                self.table().remove_user(entry, self.me());
            }
        });
    }

    /// Whether the name leads somewhere else by now, or nowhere.
    pub(crate) fn is_orphaned(&self) -> bool {
        self.place.leads_to(self.identity).is_ok_and(|leads| !leads)
    }

    pub(super) fn is_of_this_process(&self) -> bool {
        self.pid.load(Ordering::Relaxed) == process::pid()
    }

    /// The last act of an attachment. Whatever fails here, the kernel does for us when the descriptor closes; the next
    /// to attach then finds a dead participant. True when somebody with a better lock should look whether the segment is dead.
    fn detach(&self) -> bool {
        if self.read_only {
            lock::unlock(self.file.as_fd(), READERS_BYTE);
            return !self.persistent && matches!(self.is_alive(), Ok(false));
        }
        let me = self.me();
        if me == 0 {
            return false;
        }
        // No longer than a fork may be made to wait.
        let Ok(locked) = self.lock_within(Duration::from_millis(100)) else { return false };
        if self.bury(&locked, me) {
            lock::unlock(self.file.as_fd(), byte_of(me));
        }
        self.set_me(0);
        self.remove_if_last(&locked);
        false
    }

    /// Removes the name, if it is ours to remove and nobody else living is attached.
    fn remove_if_last(&self, _locked: &Locked<'_>) {
        if !self.persistent && matches!(self.is_alive(), Ok(false)) && !self.is_orphaned() {
            let _ = self.place.unlink();
        }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let ours = self.is_of_this_process();
        let look = process_events::retire(self, |attachment| {
            let look = ours && attachment.detach();
            // SAFETY: not used again; `retire` runs this once, from here.
            unsafe { ManuallyDrop::drop(&mut attachment.file) };
            look
        });
        if look {
            removal::remove_if_dead(&self.place);
        }
    }
}

impl std::fmt::Debug for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attachment").field("name", &self.name()).field("me", &self.me()).finish_non_exhaustive()
    }
}

/// A number for this run of the machine; 0 where it has none.
fn boot() -> u64 {
    process::boot_id().map_or(0, |id| fnv1a(&id))
}

#[cold]
pub(super) fn locked_by_another(what: &str, header: &Header, limit: Duration) -> Error {
    let holder = match header.lock_pid.load(Ordering::Relaxed) {
        0 => "a read-only attacher".to_owned(),
        pid => format!("process {pid}"),
    };
    fail!(Busy, "the lock of {what} is held by {holder} for more than {limit:?}")
}

/// The sentence for a handle that cannot own anything.
#[cold]
pub(crate) fn unregistered(attachment: &Attachment) -> Error {
    let what = attachment.what();
    if attachment.lost.load(Ordering::Relaxed) || !attachment.is_read_only() {
        return fail!(
            Limit,
            "this process was forked and could not register in {what}: all {} participants or all descriptors taken, or \
             its lock was held",
            attachment.layout().max_participants
        );
    }
    Error::new(Status::ReadOnly, format!("{what} is attached read-only"))
}
