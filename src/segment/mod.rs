//! Segments: pieces of shared memory with a directory of named structures.
//!
//! | file | what is in it |
//! |---|---|
//! | `region` | all pointer arithmetic on shared memory |
//! | `header` | the first bytes, and where everything else lies |
//! | `participants` | who is attached, who died |
//! | `table` | the directory: lock-free lookups, changes under the lock |
//! | `allocator` | free space, computed from the directory |
//! | `attachment` | one process's attachment: its locks, reaping, what it uses |
//! | `place` | where it lies: in shared memory, in a file, or behind a descriptor |
//! | `lifecycle` | create and attach |
//! | `removal` | taking a name away |
//! | `process_events` | fork and exit |
//! | `options` | how a segment is made or attached to |
//! | `memory` | wishes about its memory, and what became of them |
//! | `verify` | looking whether its bytes are what the rules allow |

pub(crate) mod region;
pub(crate) use region::Region;

#[cfg(not(loom))]
mod allocator;
#[cfg(not(loom))]
mod attachment;
#[cfg(not(loom))]
mod element;
mod header;
#[cfg(not(loom))]
mod lifecycle;
#[cfg(not(loom))]
mod memory;
#[cfg(not(loom))]
mod options;
#[cfg(not(loom))]
mod participants;
#[cfg(not(loom))]
mod place;
#[cfg(not(loom))]
mod process_events;
#[cfg(not(loom))]
mod removal;
mod table;
#[cfg(not(loom))]
mod verify;

#[cfg(not(loom))]
mod public {
    use std::io;
    use std::os::fd::{AsFd, OwnedFd};
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use super::attachment::{Attachment, Locked, unregistered};
    pub(crate) use super::element::{Element, section_bytes};
    pub(crate) use super::header::SECTION_ALIGN;
    pub use super::header::TableShape;
    use super::lifecycle;
    pub(crate) use super::memory::Wishes;
    pub use super::memory::{MemoryOption, Unavailable};
    pub use super::options::SegmentOptions;
    pub use super::participants::Participant;
    use super::place::Place;
    use super::region::Region;
    use super::removal;
    pub(crate) use super::table::Request;
    use super::table::State;
    pub use super::table::{Entry, Kind};
    pub use super::verify::{Finding, Severity, Verified, VerifyOptions};
    pub(crate) use super::verify::{Findings, Inspection, first_nonzero};
    use crate::error::{Error, Result, fail};
    use crate::os::{futex, process, socket};
    use crate::shared::{End, Holder};
    use crate::sync::Ordering;
    use crate::sync::private::AtomicU64;

    /// An attachment to a segment of shared memory.
    ///
    /// Cloning is cheap and is the same attachment. Structures opened through it keep it alive; it ends when the last of
    /// them and of the clones is dropped. May be used from any thread. After `fork`, the child's copy is an attachment
    /// of its own.
    #[derive(Clone, Debug)]
    pub struct Segment(Arc<Attachment>);

    /// How full a segment is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SegmentStats {
        /// Bytes of the whole segment.
        pub size: u64,
        /// Bytes taken by structures.
        pub used: u64,
        /// Bytes free for structures.
        pub free: u64,
        /// The largest structure there is room for, but for its alignment.
        pub largest_free: u64,
        /// Names in use, and removed structures still open somewhere.
        pub entries_used: u32,
        /// Names that can still be given.
        pub entries_free: u32,
        /// Attachments that live, read-only ones not counted.
        pub participants: u32,
        /// How many attachments there may be.
        pub max_participants: u32,
        /// Most bytes in a name.
        pub name_bytes: u32,
        /// Whether the segment stays when nobody is attached.
        pub persistent: bool,
        /// Whether this attachment is read-only.
        pub read_only: bool,
        /// Whether the name no longer leads to this segment: somebody removed it.
        pub orphaned: bool,
        /// Whether somebody attached whom membarrier does not reach, so that their wakers pay for a fence.
        pub fences: bool,
    }

    impl Segment {
        /// Creates the segment `name`, or attaches to it if it is there, at least as large, and (if the options name
        /// one) with the same table. A leading slash in the name means nothing.
        ///
        /// # Errors
        /// `Invalid` for an impossible name or option; `Exists` when exclusive; `Mismatch`; `NoSpace` when /dev/shm
        /// has no room (all of it is reserved now); `Permission`; `Limit` when all participants are taken; `Corrupt`
        /// or `Version` when the name belongs to something else; `Busy` when a stopped process holds the lock.
        pub fn create(name: &str, options: &SegmentOptions) -> Result<Self> {
            lifecycle::attach(&Place::memory(name)?, options, true).map(Self)
        }

        /// Attaches to the segment `name`. Of the options, only [`read_only`](SegmentOptions::read_only),
        /// [`any_owner`](SegmentOptions::any_owner), [`lock_timeout`](SegmentOptions::lock_timeout) and those about
        /// memory matter.
        ///
        /// # Errors
        /// `NotFound` also when everybody who was attached is dead; else as [`create`](Self::create).
        pub fn open(name: &str, options: &SegmentOptions) -> Result<Self> {
            lifecycle::attach(&Place::memory(name)?, options, false).map(Self)
        }

        /// Removes the name of a segment at once, whoever is attached; they keep what they have.
        ///
        /// # Errors
        /// `NotFound`; `Permission`; `Corrupt` or `Version` for something that is not a segment of ours, which is left
        /// alone; `Busy`.
        pub fn unlink(name: &str) -> Result<()> {
            removal::unlink(&Place::memory(name)?)
        }

        /// Creates a segment in the file `path`, in any directory of a disk, or attaches to it if it is there. It is
        /// persistent: it stays when every process is gone, and when the machine is restarted. Its name and its table
        /// are on the disk when this returns; what is in its structures is there after the next [`sync`](Self::sync),
        /// or when the kernel finds the time.
        ///
        /// # Errors
        /// As [`create`](Self::create); `NotFound` when there is no such directory.
        pub fn create_file(path: impl AsRef<Path>, options: &SegmentOptions) -> Result<Self> {
            lifecycle::attach(&Place::file(path.as_ref())?, options, true).map(Self)
        }

        /// Attaches to the segment in the file `path`, whether or not anybody else is attached. A symbolic link is
        /// refused.
        ///
        /// # Errors
        /// As [`open`](Self::open).
        pub fn open_file(path: impl AsRef<Path>, options: &SegmentOptions) -> Result<Self> {
            lifecycle::attach(&Place::file(path.as_ref())?, options, false).map(Self)
        }

        /// Removes the file of a segment, whoever is attached; they keep what they have.
        ///
        /// # Errors
        /// As [`unlink`](Self::unlink).
        pub fn unlink_file(path: impl AsRef<Path>) -> Result<()> {
            removal::unlink(&Place::file(path.as_ref())?)
        }

        /// Creates a segment that has no name: peers get a [descriptor](Self::fd) of it, and it lives as long as
        /// somebody has one or is attached. Its length is sealed, so peers need not be trusted with it: they can write
        /// nonsense, but not cut it short under others. `name` is what people see, in sentences and in /proc; many may
        /// have the same. The mode says whose processes may attach once they have a descriptor. With
        /// [`huge_pages`](SegmentOptions::huge_pages), reserved ones are taken where there are enough; not for peers
        /// you do not trust, as a hole punched into those cannot always be filled again.
        ///
        /// # Errors
        /// As [`create`](Self::create).
        pub fn create_memfd(name: &str, options: &SegmentOptions) -> Result<Self> {
            lifecycle::create_memfd(name, options).map(Self)
        }

        /// Attaches to the segment that a descriptor leads to, which stays the caller's: it may be closed right after.
        /// Mostly one of a segment made by [`create_memfd`](Self::create_memfd), but any segment's will do. The options
        /// matter as for [`open`](Self::open).
        ///
        /// # Errors
        /// `Permission` when a memfd is not sealed against shrinking and growing, or another object, or one of reserved huge pages,
        /// belongs to another user, unless [`any_owner`](SegmentOptions::any_owner) is asked for, or when its mode
        /// forbids it; else as [`open`](Self::open).
        pub fn open_fd(descriptor: impl AsFd, options: &SegmentOptions) -> Result<Self> {
            lifecycle::attach_descriptor(descriptor.as_fd(), options).map(Self)
        }

        /// A new descriptor that leads to the segment, to be inherited or passed; closed on `exec` unless that is
        /// changed. It is not an attachment. Of a read-only attachment it is read-only.
        ///
        /// # Errors
        /// `Limit` when there are no more descriptors; `Permission`; `System`.
        pub fn fd(&self) -> Result<OwnedFd> {
            self.0.descriptor().map(OwnedFd::from)
        }

        /// Passes a descriptor of the segment through a Unix socket, with one byte, for [`receive`](Self::receive).
        ///
        /// # Errors
        /// As [`fd`](Self::fd); `Timeout` when the socket does not wait, or not longer; `System`.
        pub fn send(&self, socket: impl AsFd) -> Result<()> {
            let descriptor = self.fd()?;
            socket::send(socket.as_fd(), descriptor.as_fd())
                .map_err(|error| socket_failed(format_args!("cannot send {}", self.0.what()), error))
        }

        /// Attaches to a segment whose descriptor comes through a Unix socket.
        ///
        /// # Errors
        /// `Closed` when the other end is; `Timeout` when the socket does not wait, or not longer; `System` when something else comes;
        /// else as [`open_fd`](Self::open_fd).
        pub fn receive(socket: impl AsFd, options: &SegmentOptions) -> Result<Self> {
            match socket::receive(socket.as_fd()) {
                Ok(Some(descriptor)) => Self::open_fd(descriptor, options),
                Ok(None) => Err(fail!(Closed, "the socket was closed before a segment came")),
                Err(error) => Err(socket_failed(format_args!("cannot receive a segment"), error)),
            }
        }

        /// Returns when all of the segment is on the disk as it is now. Of a segment that is not in a file there is
        /// nothing to do.
        ///
        /// Who goes on writing meanwhile is not held up, and what becomes of that is open. What a reader finds after a
        /// crash of the machine is certain only for what was not written to after the last `sync`.
        ///
        /// # Errors
        /// `System` when the disk fails; `NoSpace`.
        pub fn sync(&self) -> Result<()> {
            self.0.sync(0, self.0.layout().size)
        }

        /// As [`sync`](Self::sync), for the `bytes` bytes at `start`: of an array or a span, say.
        ///
        /// # Errors
        /// `Invalid` when they are not all in the segment; `System`; `NoSpace`.
        pub fn sync_range(&self, start: *const u8, bytes: usize) -> Result<()> {
            let offset = start.addr().wrapping_sub(self.0.region().base().addr().get());
            if self.0.region().part(offset as u64, bytes as u64).is_none() {
                return Err(fail!(Invalid, "the {bytes} bytes at {start:p} are not in {}", self.0.what()));
            }
            self.0.sync(offset as u64, bytes as u64)
        }

        /// The name, without a leading slash; of a segment in a file, its path. What has no name is called as its
        /// creator called it.
        #[must_use]
        pub fn name(&self) -> &str {
            self.0.name()
        }

        /// What was asked for about this attachment's memory, and could not be had. A forked child has the memory where
        /// and as large as its parent has it, but its own copy of the mapping is neither prefaulted nor locked.
        #[must_use]
        pub fn unavailable(&self) -> &[Unavailable] {
            self.0.unavailable()
        }

        /// How many attachments live, read-only ones not counted. A system call per taken record.
        #[must_use]
        pub fn count(&self) -> u32 {
            self.0.ids().filter(|id| self.0.record(*id).is_taken() && self.0.lives(*id)).count() as u32
        }

        /// Who is attached, and who died and has not been reaped yet.
        #[must_use]
        pub fn participants(&self) -> Vec<Participant> {
            let taken = self.0.ids().filter(|id| self.0.record(*id).is_taken());
            taken.map(|id| self.0.record(id).describe(id, self.0.lives(id), id == self.0.me())).collect()
        }

        /// Gives back what dead participants owned, in every structure; returns how many there were. This also happens
        /// by itself, when somebody attaches or is stuck behind a dead owner.
        ///
        /// # Errors
        /// `ReadOnly`; `Busy`.
        pub fn reap(&self) -> Result<u32> {
            self.writable()?;
            let locked = self.0.lock()?;
            Ok(self.0.reap(&locked))
        }

        /// How full the segment is.
        ///
        /// # Errors
        /// `Corrupt` when the table makes no sense; `Busy`.
        pub fn stats(&self) -> Result<SegmentStats> {
            let locked = self.0.lock()?;
            if !self.0.is_read_only() {
                self.0.free_unused();
            }
            let space = self.0.free_space(&locked)?;
            let layout = self.0.layout();
            let entries_free = self.0.table().free_entries();
            drop(locked);
            Ok(SegmentStats {
                size: layout.size,
                used: layout.size - layout.data_offset - space.total(),
                free: space.total(),
                largest_free: space.largest(),
                entries_used: layout.table.entries - entries_free,
                entries_free,
                participants: self.count(),
                max_participants: layout.max_participants,
                name_bytes: layout.table.name_bytes,
                persistent: self.0.is_persistent(),
                read_only: self.0.is_read_only(),
                orphaned: self.0.is_orphaned(),
                fences: self.0.header().fences.load(Ordering::Relaxed) != 0,
            })
        }

        /// The structure called `name`, if there is one. Takes no lock; its cost does not grow with the table.
        ///
        /// # Errors
        /// `Invalid` for a name this table cannot hold.
        pub fn find(&self, name: &str) -> Result<Option<Entry>> {
            let table = self.0.table();
            let found = table.find(name).and_then(|(entry, state)| table.read_named(entry, state, name.to_owned()));
            // What is there needs no check.
            if found.is_none() {
                table.check_name(name)?;
            }
            Ok(found)
        }

        /// As [`find`](Self::find), without a copy of the name, and without finding out whether it could be one.
        #[inline]
        pub(crate) fn find_bytes<'a>(&self, name: &'a [u8]) -> Option<Entry<&'a [u8]>> {
            let table = self.0.table();
            let (entry, state) = table.find(name)?;
            table.read_named(entry, state, name)
        }

        /// Waits until there is a structure called `name`, or the time is up (`Duration::MAX`: for ever).
        ///
        /// # Errors
        /// `Invalid` for a name this table cannot hold.
        pub fn wait_for(&self, name: &str, timeout: Duration) -> Result<Option<Entry>> {
            let deadline = process::deadline(timeout);
            let changes = &self.0.header().changes;
            loop {
                let key = changes.load(Ordering::Acquire);
                if let Some(found) = self.find(name)? {
                    return Ok(Some(found));
                }
                let now = process::now();
                if now >= deadline {
                    return Ok(None);
                }
                // In slices: whoever publishes a name may die before it wakes us.
                futex::wait(changes, key, deadline.min(now.saturating_add(100_000_000)));
            }
        }

        /// The structures there are, in no particular order. One that comes or goes meanwhile may or may not be there.
        pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
            let mut next = 0;
            std::iter::from_fn(move || self.next_entry(&mut next))
        }

        /// One step of [`entries`](Self::entries), for callers who keep the cursor (0 at first) themselves.
        pub(crate) fn next_entry(&self, cursor: &mut u32) -> Option<Entry> {
            let (entry, found) = self.0.table().next_live(*cursor)?;
            *cursor = entry + 1;
            Some(found)
        }

        /// The structures in the middle of whose change somebody died, since
        /// [`clear_interrupted`](Self::clear_interrupted). They are as usable as any, but something may be missing:
        ///
        /// - of an array, a writing: a snapshot of it is `Torn` until the next writing is complete;
        /// - of a queue, the elements that the dead were enqueueing or dequeueing;
        /// - of a pool, the objects the dead owned, which were given back;
        /// - of a ring, the elements that a dead writer was pushing and, where it overwrites, as many old ones. Until
        ///   as many were pushed again, a dead writer is noted whatever it was doing.
        ///
        /// Changes through plain pointers leave no trace. After a crash of the machine, everything is listed that
        /// anybody had open in a segment in a file. What was not complete enough to have a name is not there. The dead
        /// are known when somebody has [reaped](Self::reap) them, as attaching to write does.
        pub fn interrupted(&self) -> impl Iterator<Item = Entry> + '_ {
            self.entries().filter(|entry| entry.interrupted)
        }

        /// Forgets that a structure was interrupted: you have looked at it, and it is as it should be.
        ///
        /// # Errors
        /// `NotFound`; `Invalid`; `ReadOnly`; `Busy`.
        pub fn clear_interrupted(&self, name: &str) -> Result<()> {
            let (entry, _locked) = self.locked_entry(name)?;
            self.0.table().set_interrupted(entry, false);
            Ok(())
        }

        /// The entry of a name, and the segment's lock to change it.
        fn locked_entry(&self, name: &str) -> Result<(u32, Locked<'_>)> {
            self.writable()?;
            let table = self.0.table();
            table.check_name(name)?;
            let locked = self.0.lock()?;
            let Some((entry, _)) = table.find(name) else {
                return Err(fail!(NotFound, "there is no '{name}' in {}", self.0.what()));
            };
            Ok((entry, locked))
        }

        /// Takes the name of a structure away. Those who have it open keep it; its memory is free again when the last of
        /// them closes it or dies.
        ///
        /// # Errors
        /// `NotFound`; `Invalid`; `ReadOnly`; `Busy`.
        pub fn remove(&self, name: &str) -> Result<()> {
            let (entry, _locked) = self.locked_entry(name)?;
            self.0.table().unlink(entry..entry + 1);
            self.0.free_unused();
            Ok(())
        }

        /// Takes the names of all structures away, as [`remove`](Self::remove) does; returns how many there were.
        ///
        /// # Errors
        /// `ReadOnly`; `Busy`.
        pub fn remove_all(&self) -> Result<u32> {
            self.writable()?;
            let table = self.0.table();
            let _locked = self.0.lock()?;
            let removed = table.unlink(0..table.capacity());
            self.0.free_unused();
            Ok(removed)
        }

        pub(crate) fn writable(&self) -> Result<()> {
            if self.0.me() == 0 { Err(unregistered(&self.0)) } else { Ok(()) }
        }

        /// The section of a new structure, zeroed, or of the one that has the name already and passes `accept`.
        pub(crate) fn create_section(
            &self,
            request: &Request<'_>,
            exclusive: bool,
            accept: impl FnOnce(&Entry) -> Result<()>,
        ) -> Result<Section> {
            self.create_section_with(request, exclusive, accept, |_| Ok(()))
        }

        /// As [`create_section`](Self::create_section); `initialise` runs before anybody can find the new one, and if it fails nobody ever will.
        pub(crate) fn create_section_with(
            &self,
            request: &Request<'_>,
            exclusive: bool,
            accept: impl FnOnce(&Entry) -> Result<()>,
            initialise: impl FnOnce(Region) -> Result<()>,
        ) -> Result<Section> {
            self.writable()?;
            let (attachment, table) = (&self.0, self.0.table());
            table.check_name(request.name)?;
            let locked = attachment.lock()?;
            if let Some((entry, state)) = table.find(request.name) {
                if exclusive {
                    return Err(fail!(Exists, "'{}' exists already in {}", request.name, attachment.what()));
                }
                return self.open_entry(entry, state, request.kind, accept);
            }
            let layout = attachment.layout();
            if layout.max_allocation != 0 && request.size > layout.max_allocation {
                return Err(fail!(
                    NoSpace,
                    "'{}' takes {} bytes; {} allows structures of at most {}",
                    request.name,
                    request.size,
                    attachment.what(),
                    layout.max_allocation
                ));
            }
            attachment.free_unused();
            let place = match self.find_place(request, &locked) {
                // What the dead used may be in the way.
                Err(_) if attachment.reap(&locked) > 0 => self.find_place(request, &locked),
                found => found,
            };
            let (entry, offset) = place?;
            let region = attachment.section(offset, request.size).expect("free space lies inside");
            let state = table.build(entry, request, offset);
            self.clear(region, offset);
            initialise(region).and_then(|()| attachment.add_use(entry)).inspect_err(|_| table.free(entry))?;
            table.publish(entry, state);
            let (_, found) = table.read(entry).ok_or_else(|| gone(request.name))?;
            Ok(Section { segment: self.clone(), entry, region, found })
        }

        /// A free entry, and the offset of enough free memory.
        fn find_place(&self, request: &Request<'_>, locked: &Locked<'_>) -> Result<(u32, u64)> {
            let (attachment, table) = (&self.0, self.0.table());
            let Some(entry) = table.free_entry() else {
                return Err(fail!(
                    Limit,
                    "no entry is left for '{}': all {} of {} are taken",
                    request.name,
                    table.capacity(),
                    attachment.what()
                ));
            };
            let space = attachment.free_space(locked)?;
            match space.first_fit(request.size, request.align.max(SECTION_ALIGN)) {
                Some(offset) => Ok((entry, offset)),
                None => Err(fail!(
                    NoSpace,
                    "'{}' takes {} bytes; the largest free piece of {} has {}",
                    request.name,
                    request.size,
                    attachment.what(),
                    space.largest()
                )),
            }
        }

        /// Zeroes what was used before. Memory nobody ever used is zero as the kernel gave it.
        fn clear(&self, section: Region, offset: u64) {
            let high_water = &self.0.header().high_water;
            let (end, used) = (offset + section.len() as u64, high_water.load(Ordering::Relaxed));
            if end > used {
                // Before anything is written beyond it.
                high_water.store(end, Ordering::Release);
            }
            let dirty = section.part(0, used.clamp(offset, end) - offset).expect("clamped to the section");
            // SAFETY: the section belongs to an entry under construction, which nobody else looks into.
            unsafe { dirty.clear() };
        }

        /// The section of the structure called `name`, if it is of that kind and passes `accept`.
        pub(crate) fn open_section(
            &self,
            name: &str,
            kind: Kind,
            accept: impl FnOnce(&Entry) -> Result<()>,
        ) -> Result<Section> {
            let table = self.0.table();
            table.check_name(name)?;
            if !self.0.is_read_only() {
                self.writable()?;
            }
            let _locked = self.0.lock()?;
            match table.find(name) {
                Some((entry, state)) => self.open_entry(entry, state, kind, accept),
                None => Err(fail!(NotFound, "there is no '{name}' in {}", self.0.what())),
            }
        }

        fn open_entry(
            &self,
            entry: u32,
            state: State,
            kind: Kind,
            accept: impl FnOnce(&Entry) -> Result<()>,
        ) -> Result<Section> {
            let table = self.0.table();
            let (now, found) = table.read(entry).ok_or_else(|| gone(""))?;
            if now != state {
                return Err(gone(&found.name));
            }
            if found.kind != kind {
                let (is, asked) = (found.kind.with_article(), kind.with_article());
                return Err(fail!(Mismatch, "'{}' is {is}, not {asked}", found.name));
            }
            accept(&found)?;
            let Some(region) = self.0.section(found.offset, found.size) else {
                return Err(fail!(
                    Corrupt,
                    "the entry of '{}' leads outside {}: {} bytes at {}",
                    found.name,
                    self.0.what(),
                    found.size,
                    found.offset
                ));
            };
            self.0.add_use(entry)?;
            if self.0.is_read_only() && table.state(entry) != state {
                // Our lock is shared with nobody who changes the table, so this is a scribbling peer's doing.
                self.0.remove_use(entry);
                return Err(gone(&found.name));
            }
            Ok(Section { segment: self.clone(), entry, region, found })
        }

        pub(crate) fn attachment(&self) -> &Attachment {
            &self.0
        }
    }

    fn socket_failed(what: std::fmt::Arguments<'_>, error: io::Error) -> Error {
        if error.kind() == io::ErrorKind::WouldBlock {
            return fail!(Timeout, "{what}: the socket does not wait any longer");
        }
        if error.kind() == io::ErrorKind::InvalidInput {
            return fail!(Invalid, "{what}: {error}");
        }
        Error::system(what, error)
    }

    /// An entry that changed while its reader held the lock.
    fn gone(name: &str) -> crate::Error {
        fail!(Corrupt, "the entry of '{name}' changed under the segment's lock")
    }

    /// An open structure's share of the segment. Gives back what we own in it when the last handle on it is dropped.
    #[derive(Debug)]
    pub(crate) struct Section {
        segment: Segment,
        entry: u32,
        region: Region,
        found: Entry,
    }

    impl Section {
        pub(crate) fn segment(&self) -> &Segment {
            &self.segment
        }

        /// The bytes. Valid as long as the section is open.
        pub(crate) fn region(&self) -> Region {
            self.region
        }

        /// What the table said when it was opened.
        pub(crate) fn entry(&self) -> &Entry {
            &self.found
        }

        /// Notes that something in the structure may be ours beyond the end of a call, to be given back with its last handle.
        #[inline]
        pub(crate) fn note_held(&self) {
            self.segment.0.note_held(self.entry);
        }

        /// Another handle on the same structure, name or no name.
        pub(crate) fn reopen(&self) -> Result<Self> {
            let attachment = self.segment.attachment();
            if !attachment.is_read_only() {
                self.segment.writable()?;
            }
            attachment.add_use(self.entry)?;
            Ok(Self {
                segment: self.segment.clone(),
                entry: self.entry,
                region: self.region,
                found: self.found.clone(),
            })
        }

        /// A number that tells one handle of this process from the others.
        pub(crate) fn next_handle() -> u64 {
            static HANDLES: AtomicU64 = AtomicU64::new(1);
            HANDLES.fetch_add(1, Ordering::Relaxed)
        }

        /// Takes an end of this structure, from a dead holder if need be. `noun` names the end in sentences.
        pub(crate) fn take_end(&self, end: &End, me: Holder, noun: &str) -> Result<()> {
            if me.participant() == 0 {
                return Err(self.unregistered());
            }
            let Err(dead) = end.take(me) else { return Ok(()) };
            self.succeed(dead.participant())?;
            // Whatever came of it: somebody else may have buried it before, and may even have its id by now.
            let Err(current) = end.take(me) else { return Ok(()) };
            let attachment = self.segment.attachment();
            let owner = current.participant();
            let whose = if owner == me.participant() {
                "another handle of this attachment".to_owned()
            } else if (1..=attachment.layout().max_participants).contains(&owner) {
                format!("participant {owner} (process {})", attachment.record(owner).pid())
            } else {
                let Entry { kind, name, .. } = &self.found;
                return Err(fail!(Corrupt, "{} '{name}' says its {noun} is participant {owner}", kind.noun()));
            };
            let Entry { kind, name, .. } = &self.found;
            Err(fail!(Busy, "{} '{name}' has one {noun} at a time, and that is {whose}", kind.noun()))
        }

        /// Called when an operation has been stuck behind `owner`: gives back what it owned, if it does not live. True when looking again
        /// is worth it.
        pub(crate) fn bury_if_dead(&self, owner: u32) -> bool {
            const WAIT: Duration = Duration::from_millis(20);
            self.segment.0.bury_if_dead(owner, WAIT, || self.reclaim(owner)).unwrap_or(false)
        }

        /// Called by who comes after `owner`: gives back what it owned, if it does not live. Waits for the segment's lock as opening does.
        pub(crate) fn succeed(&self, owner: u32) -> Result<()> {
            let attachment = &self.segment.0;
            attachment.bury_if_dead(owner, attachment.lock_timeout(), || self.reclaim(owner)).map(|_| ())
        }

        fn reclaim(&self, owner: u32) -> bool {
            crate::kinds::reclaim(&self.found, self.region, owner)
        }

        /// Whether a participant has this structure open.
        pub(crate) fn is_user(&self, participant: u32) -> bool {
            self.segment.0.table().is_user(self.entry, participant)
        }

        /// The error of an operation that needs to own something.
        #[cold]
        pub(crate) fn unregistered(&self) -> crate::Error {
            unregistered(&self.segment.0)
        }
    }

    impl Drop for Section {
        fn drop(&mut self) {
            self.segment.0.remove_use(self.entry);
        }
    }
}
#[cfg(not(loom))]
pub use public::*;
