//! The writer: one living one per area.
//!
//! The order of stores is told in `chunks`, with what readers do about it.
//! Between the commit of an update and the mark on the old chunk both are WRITTEN: the newest with an id counts.
//!
//! # Death
//!
//! | dead after | what the next writer finds, and does |
//! |---|---|
//! | a header, before ALLOCATED | UNALLOCATED: written over |
//! | ALLOCATED, or the version | makes it DISCARDED; readers step over it, whatever version it has, which is given again |
//! | WRITTEN, before `committed` or the mark | counts it; marks the older chunk of this id |
//! | the link, before the switch | an area of another generation than the current one: unlinks it |
//! | the switch | the same with the old area, which it also marks OBSOLETE |
//!
//! Memory behind the last chunk is zero, because nothing was ever written there, but perhaps a header that never became ALLOCATED.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::chunks::Chunk;
use super::ids::IdMap;
use super::layout::{
    ALLOCATED, AREA_OBSOLETE, DISCARDED, FIRST, GRAIN, MANIFEST_BYTES, OBSOLETE, WRITTEN, chunk_bytes,
};
use super::mapped::{MappedArea, MappedManifest, boot};
use super::place::Place;
use super::{Clock, Settings};
use crate::error::{Error, Result, Status, fail};
use crate::os::lock::{self, Bytes, Mode};
use crate::os::object::{self, Build, Identity, Unlinked};
use crate::os::process;
use crate::os::unshared::Unshared;
use crate::shared::store_bytes;
use crate::sync::Ordering;

/// The byte of the manifest that the writer holds while it lives.
pub(super) const WRITER: Bytes = Bytes { start: 0, len: 1 };
/// The byte of an area that each of its readers holds.
pub(super) const READER: Bytes = Bytes { start: 1, len: 1 };

/// The writer's lock. It is given back, not only closed: a process that is being started right now has our descriptors too, until it is
/// another program.
#[derive(Debug)]
struct Lock {
    file: Unshared,
    pid: u32,
}

impl Lock {
    /// `None` while somebody else has it.
    fn take(file: Unshared, what: &str) -> Result<Option<Self>> {
        let taken =
            lock::try_lock(file.file().as_fd(), WRITER, Mode::Exclusive).map_err(|error| Error::lock(what, error))?;
        Ok(taken.then(|| Self { file, pid: process::pid() }))
    }

    /// Whether the file that bears it is the one at `path`.
    fn is_at(&self, path: &Path) -> std::io::Result<bool> {
        Ok(Identity::at(path)? == Some(Identity::of(&self.file.file().metadata()?)))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.pid == process::pid() {
            lock::unlock(self.file.file().as_fd(), WRITER);
        }
    }
}

/// An area that readers may still have mapped.
#[derive(Debug)]
struct Retired {
    file: File,
    bytes: u64,
}

/// What a writer knows of its area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AreaStats {
    /// The number of the area: 1 of the first, and greater after every compaction.
    pub generation: u64,
    /// Bytes of the area.
    pub bytes: u64,
    /// Bytes of it that are taken, by whatever chunks.
    pub used: u64,
    /// Bytes of chunks that are valid.
    pub live: u64,
    /// How many chunks are valid.
    pub chunks: u64,
    /// The version of the newest chunk: how many were ever committed.
    pub committed: u64,
    /// Bytes of former areas that readers still keep in memory.
    pub pinned: u64,
    /// How often this writer compacted.
    pub compactions: u64,
    /// Whether the name no longer leads here: somebody removed the files by hand, and nobody else will ever find this area.
    pub orphaned: bool,
}

#[derive(Debug)]
pub(crate) struct Writer {
    place: Place,
    settings: Settings,
    clock: Clock,
    manifest: MappedManifest,
    lock: Lock,
    pid: u32,
    area: MappedArea,
    /// Where the next chunk will lie.
    tail: u64,
    /// The valid chunk of each id.
    index: IdMap<u64>,
    /// When chunks expire, the soonest first. What is obsolete may still be in it.
    expiring: BinaryHeap<Reverse<(u64, u64)>>,
    live: u64,
    /// What was allocated, and neither committed nor discarded yet.
    draft: Option<Chunk>,
    retired: Vec<Retired>,
    committed: u64,
    next_id: u64,
    compactions: u64,
}

/// Generations, versions and ids are below this, and never get there: what is not was never counted.
pub(super) const MOST: u64 = 1 << 62;

fn check_number(number: &str, found: u64, what: &str) -> Result<()> {
    if found < MOST {
        return Ok(());
    }
    Err(fail!(Corrupt, "{what} says {number} {found}, and nobody can have counted so far"))
}

impl Writer {
    /// Makes the area, or continues one that is there unless it must not be.
    pub(crate) fn create(place: Place, settings: Settings, clock: Clock) -> Result<Self> {
        settings.check()?;
        for _ in 0..100 {
            match open_manifest(&place, &settings)? {
                // Before its first area, a manifest is nothing yet: it is ours, or of a writer that died making it.
                Some((manifest, _)) if settings.exclusive && manifest.current.load(Ordering::Acquire) != 0 => {
                    return Err(fail!(Exists, "{} exists already", place.what()));
                }
                Some((manifest, lock)) => return Self::recover(place, settings, clock, manifest, lock),
                None => {}
            }
            if let Some((manifest, lock)) = make_manifest(&place, &settings)? {
                return Self::recover(place, settings, clock, manifest, lock);
            }
        }
        Err(fail!(Busy, "{} is made and removed all the time", place.what()))
    }

    /// Continues an area that is there.
    pub(crate) fn open(place: Place, settings: Settings, clock: Clock) -> Result<Self> {
        settings.check()?;
        match open_manifest(&place, &settings)? {
            Some((manifest, lock)) => Self::recover(place, settings, clock, manifest, lock),
            None => Err(fail!(NotFound, "there is no {}", place.what())),
        }
    }

    /// Takes over whatever the last writer left.
    fn recover(
        place: Place,
        mut settings: Settings,
        clock: Clock,
        manifest: MappedManifest,
        lock: Lock,
    ) -> Result<Self> {
        let failed = |error| Error::system(format_args!("cannot look at the manifest of {}", place.what()), error);
        // Whoever may read the manifest is to be able to follow.
        settings.mode = lock.file.file().metadata().map_err(failed)?.mode() & 0o777;
        let current = manifest.current.load(Ordering::Acquire);
        let what = format!("the manifest of {}", place.what());
        check_number("area", current, &what)?;
        let committed = manifest.committed.load(Ordering::Relaxed);
        check_number("version", committed, &what)?;
        let area = if current == 0 {
            first_area(&place, &settings, &manifest)
                // It needs no descriptor, which there may be none of.
                .inspect_err(|_| {
                    drop(manifest.remove(|| object::unlink(&place.manifest()).map(drop).map_err(failed)))
                })?
        } else {
            let what = format!("generation {current} of {}", place.what());
            let file = object::open(&place.area(current), false).map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => fail!(Corrupt, "there is no {what}, although the manifest says so"),
                _ => Error::system(format_args!("cannot open {what}"), error),
            })?;
            // Nothing goes away before what is there instead has been looked at.
            let area = MappedArea::open(&file, current, false, &what)?;
            retire_all_but(&place, current)?;
            area
        };
        let mut writer = Self {
            place,
            settings,
            clock,
            manifest,
            lock,
            pid: process::pid(),
            area,
            tail: FIRST,
            index: IdMap::default(),
            expiring: BinaryHeap::new(),
            live: 0,
            draft: None,
            retired: Vec::new(),
            committed,
            next_id: 0,
            compactions: 0,
        };
        writer.scan()?;
        // Before the chunk with that version may be left behind.
        writer.manifest.committed.store(writer.committed, Ordering::Release);
        if !of_this_boot(&writer.area) {
            writer.move_to_new_area(FIRST + writer.live)?;
        }
        writer.manifest.wake();
        Ok(writer)
    }

    /// Learns the area by heart, and ends what a dead writer had begun in it.
    fn scan(&mut self) -> Result<()> {
        self.index.clear();
        self.expiring.clear();
        (self.tail, self.live) = (FIRST, 0);
        let times_count = self.clock.is_own() || of_this_boot(&self.area);
        let mut next_id = self.next_id.max(self.manifest.next_id.load(Ordering::Relaxed)).max(1);
        check_number("id", next_id, "the manifest")?;
        while let Some(chunk) = self.area.chunk(self.tail)? {
            self.tail = chunk.next;
            check_number("version", chunk.version, "a chunk")?;
            check_number("id", chunk.id, "a chunk")?;
            next_id = next_id.max(chunk.id.saturating_add(1));
            match chunk.state {
                ALLOCATED => self.area.mark(chunk.offset, DISCARDED),
                WRITTEN => {
                    self.committed = self.committed.max(chunk.version);
                    self.admit(&chunk);
                    // The times of another run of the machine mean nothing in this one: they are over. What they took the place of is, too.
                    if chunk.expires != 0 && !times_count {
                        self.index.remove(&chunk.id);
                        self.discount(chunk.offset);
                    }
                }
                _ => {}
            }
        }
        self.next_id = next_id;
        self.manifest.next_id.store(next_id, Ordering::Release);
        Ok(())
    }

    /// Enters a WRITTEN chunk into the books; an older one of its id is obsolete.
    fn admit(&mut self, chunk: &Chunk) {
        if let Some(old) = self.index.insert(chunk.id, chunk.offset) {
            self.dismiss(old);
        }
        self.live += chunk.next - chunk.offset;
        if chunk.expires != 0 {
            self.expiring.push(Reverse((chunk.expires, chunk.offset)));
        }
    }

    /// Marks a chunk that was valid as obsolete.
    fn dismiss(&mut self, offset: u64) {
        self.area.mark(offset, OBSOLETE);
        self.discount(offset);
    }

    fn discount(&mut self, offset: u64) {
        if let Ok(Some(chunk)) = self.area.chunk(offset) {
            self.live = self.live.saturating_sub(chunk.next - chunk.offset);
        }
    }

    /// Refuses a process that inherited this writer by a fork: the lock is its parent's.
    fn ours(&self) -> Result<()> {
        if self.pid == process::pid() {
            return Ok(());
        }
        Err(fail!(
            Busy,
            "{} has one writer, and that is process {}, which forked this one",
            self.place.what(),
            self.pid
        ))
    }

    /// Also refuses what must wait until the chunk that is allocated is committed or discarded.
    fn without_draft(&self) -> Result<()> {
        self.ours()?;
        if self.draft.is_none() {
            return Ok(());
        }
        let what = self.place.what();
        Err(fail!(Busy, "a chunk of {what} is allocated, and neither committed nor discarded"))
    }

    fn now(&self) -> u64 {
        self.clock.now()
    }

    /// Takes chunks off the books whose time is over.
    fn expire(&mut self) {
        if self.expiring.is_empty() {
            return;
        }
        let now = self.now();
        while let Some(Reverse((expires, offset))) = self.expiring.peek().copied()
            && expires <= now
        {
            self.expiring.pop();
            let Ok(Some(chunk)) = self.area.chunk(offset) else { continue };
            if chunk.expires == expires && self.index.get(&chunk.id) == Some(&offset) {
                self.index.remove(&chunk.id);
                self.discount(offset);
            }
        }
    }

    /// Allocates a chunk: of a new id, or of one whose chunk it will take the place of. `Full` when there is no room, and none
    /// can be made.
    pub(crate) fn allocate(
        &mut self,
        size: u64,
        expires: u64,
        id: Option<u64>,
    ) -> Result<Result<(u64, *mut u8), Status>> {
        self.without_draft()?;
        let too_large = || fail!(Invalid, "{} cannot have a chunk of {size} bytes", self.place.what());
        let bytes = chunk_bytes(size).ok_or_else(too_large)?;
        if bytes > self.settings.largest.saturating_sub(FIRST) {
            let most = (self.settings.largest - FIRST) / GRAIN * GRAIN - GRAIN;
            return Err(fail!(
                Invalid,
                "a chunk of {size} bytes never fits into {}, which takes {most}",
                self.place.what()
            ));
        }
        self.expire();
        if let Some(id) = id
            && !self.index.contains_key(&id)
        {
            return Err(fail!(NotFound, "{} has no chunk {id}", self.place.what()));
        }
        let taken = self.tail - FIRST;
        let wasteful = (taken - self.live).saturating_mul(100) >= taken.saturating_mul(self.settings.threshold.into());
        let full = bytes > self.area.bytes() - self.tail;
        if full || wasteful && taken >= self.settings.smallest / 2 {
            match self.compact(bytes) {
                Ok(false) if full => return Ok(Err(Status::Full)),
                Err(error) if full => return Err(error),
                _ => {}
            }
        }
        let id = match id {
            Some(id) => id,
            None => {
                self.next_id += 1;
                self.manifest.next_id.store(self.next_id, Ordering::Relaxed); // `written` comes after it
                self.next_id - 1
            }
        };
        let Some(chunk) = self.area.allocate(self.tail, id, size, expires) else { return Ok(Err(Status::Full)) };
        (self.tail, self.draft) = (chunk.next, Some(chunk));
        Ok(Ok((id, self.area.contents(chunk.offset, size))))
    }

    /// Allocates a chunk of a new id, with a copy of `size` bytes, and commits it; says its id. `Full` as [`allocate`](Self::allocate).
    ///
    /// # Safety
    /// `contents` is readable for `size` bytes, and may be anything when there are none.
    pub(crate) unsafe fn write(&mut self, contents: *const u8, size: u64, expires: u64) -> Result<Result<u64, Status>> {
        let (id, place) = match self.allocate(size, expires, None)? {
            Ok(allocated) => allocated,
            Err(status) => return Ok(Err(status)),
        };
        if size > 0 {
            // SAFETY: as many bytes are there, ours alone; and the caller's promise.
            unsafe { store_bytes(contents, place, size as usize) };
        }
        self.commit()?;
        Ok(Ok(id))
    }

    fn take_draft(&mut self) -> Result<Chunk> {
        self.ours()?;
        self.draft.take().ok_or_else(|| fail!(Invalid, "no chunk of {} is allocated", self.place.what()))
    }

    /// Makes the allocated chunk visible; says its version.
    pub(crate) fn commit(&mut self) -> Result<u64> {
        let mut chunk = self.take_draft()?;
        self.committed += 1;
        (chunk.version, chunk.state) = (self.committed, WRITTEN);
        self.manifest.commit(&self.area, &chunk);
        self.admit(&chunk);
        self.manifest.ring();
        Ok(chunk.version)
    }

    /// Gives the allocated chunk up. Nobody sees it; its room comes back with the next compaction.
    pub(crate) fn discard(&mut self) -> Result<()> {
        let draft = self.take_draft()?;
        self.area.mark(draft.offset, DISCARDED);
        // Readers wait at an allocated chunk for what comes of it.
        self.manifest.ring();
        Ok(())
    }

    /// The id of the allocated chunk, and where its contents are.
    pub(crate) fn allocated(&self) -> Option<(u64, *mut u8)> {
        self.draft.map(|draft| (draft.id, self.area.contents(draft.offset, draft.size)))
    }

    /// Has the allocated chunk expire at another time.
    pub(crate) fn expire_draft(&mut self, expires: u64) -> Result<()> {
        let mut draft = self.take_draft()?;
        draft.expires = expires;
        self.area.set_expires(draft.offset, expires);
        self.draft = Some(draft);
        Ok(())
    }

    /// Says that a chunk counts no more.
    pub(crate) fn obsolete(&mut self, id: u64) -> Result<()> {
        self.ours()?;
        self.expire();
        match self.index.remove(&id) {
            Some(offset) => {
                self.dismiss(offset);
                Ok(())
            }
            None => Err(fail!(NotFound, "{} has no chunk {id}", self.place.what())),
        }
    }

    /// Compacts now; false when nothing would be gained, or there is no room for it.
    pub(crate) fn collect(&mut self) -> Result<bool> {
        self.without_draft()?;
        self.expire();
        if self.live == self.tail - FIRST {
            return Ok(false);
        }
        self.compact(0)
    }

    /// Moves the valid chunks to a new area with room for `wanted` more bytes. False when that is more than is allowed; then nothing has
    /// changed.
    fn compact(&mut self, wanted: u64) -> Result<bool> {
        let needed = FIRST + self.live + wanted;
        if needed > self.settings.largest {
            return Ok(false);
        }
        if self.pinned().saturating_add(self.area.bytes()) > self.settings.most_pinned && self.is_read() {
            return Ok(false);
        }
        self.move_to_new_area(needed)?;
        self.compactions += 1;
        Ok(true)
    }

    /// Puts an area with the valid chunks in the place of this one; `needed`: how many bytes it has to have.
    fn move_to_new_area(&mut self, needed: u64) -> Result<()> {
        if !self.is_named()? {
            return Err(fail!(Corrupt, "the files of {} were removed, and this was their writer", self.place.what()));
        }
        // Twice what is needed, so that compacting costs each byte a constant share.
        let bytes = needed.saturating_mul(2).clamp(self.settings.smallest, self.settings.largest).max(needed);
        let fresh = name_area(&self.place, self.area.generation, |generation| {
            let fresh = self.build(generation, needed, bytes - needed)?;
            self.area.copy_to(&fresh.area, |chunk| self.index.get(&chunk.id) == Some(&chunk.offset))?;
            Ok(fresh)
        })?;
        let generation = fresh.generation;
        let old = object::open(&self.place.area(self.area.generation), false).ok();
        self.manifest.switch(generation, &self.area, || {
            let _ = object::unlink(&self.place.area(self.area.generation));
        });
        if let Some(file) = old {
            self.retired.push(Retired { file, bytes: self.area.bytes() });
        }
        self.pinned(); // lets go of what nobody reads, also of this one
        self.area = fresh;
        self.scan()?;
        self.manifest.ring();
        Ok(())
    }

    /// An area of the bytes that are needed, and as many more of `spare` as there is room for.
    fn build(&self, generation: u64, needed: u64, mut spare: u64) -> Result<Fresh> {
        loop {
            match build(&self.place, &self.settings, generation, needed + spare) {
                Err(error) if error.status() == Status::NoSpace && spare > 0 => {
                    spare = if spare < process::page_size() as u64 { 0 } else { spare / 2 };
                }
                outcome => return outcome,
            }
        }
    }

    /// Bytes of former areas that readers keep in memory. What none has any more is let go.
    fn pinned(&mut self) -> u64 {
        self.retired.retain(|area| lock::is_locked_by_others(area.file.as_fd(), READER).unwrap_or(false));
        self.retired.iter().map(|area| area.bytes).sum()
    }

    /// Whether readers would keep this area in memory.
    fn is_read(&self) -> bool {
        let file = object::open(&self.place.area(self.area.generation), false);
        file.and_then(|file| lock::is_locked_by_others(file.as_fd(), READER)).unwrap_or(true)
    }

    pub(crate) fn stats(&mut self) -> AreaStats {
        self.expire();
        AreaStats {
            generation: self.area.generation,
            bytes: self.area.bytes(),
            used: self.tail - FIRST,
            live: self.live,
            chunks: self.index.len() as u64,
            committed: self.committed,
            pinned: self.pinned(),
            compactions: self.compactions,
            orphaned: self.is_named().is_ok_and(|named| !named),
        }
    }

    /// Whether the chunk of an id is there, and where its contents are.
    pub(crate) fn find(&mut self, id: u64) -> Option<(*const u8, u64)> {
        self.expire();
        let chunk = self.area.chunk(*self.index.get(&id)?).ok()??;
        Some((self.area.contents(chunk.offset, chunk.size).cast_const(), chunk.size))
    }

    /// Removes the area, for everybody. Readers keep what they have mapped, and are told.
    pub(crate) fn unlink(&self) -> Result<()> {
        self.ours()?;
        if self.is_named()? { remove(&self.place, &self.manifest) } else { self.manifest.remove(|| Ok(())) }
    }

    /// Whether the names are still those of our files. Somebody may have removed these by hand, and another writer made new ones.
    fn is_named(&self) -> Result<bool> {
        self.lock
            .is_at(&self.place.manifest())
            .map_err(|error| Error::system(format_args!("cannot look at the manifest of {}", self.place.what()), error))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.draft.is_some() && self.ours().is_ok() {
            let _ = self.discard();
        }
    }
}

/// Removes an area that nobody writes to. False when there is none.
pub(crate) fn unlink(place: &Place, settings: &Settings) -> Result<bool> {
    match open_manifest(place, settings)? {
        Some((manifest, _lock)) => remove(place, &manifest).map(|()| true),
        None => Ok(false),
    }
}

fn remove(place: &Place, manifest: &MappedManifest) -> Result<()> {
    manifest.remove(|| {
        for generation in place.generations()? {
            retire(place, generation);
        }
        let failed = |error| Error::system(format_args!("cannot remove {}", place.what()), error);
        object::unlink(&place.manifest()).map(drop).map_err(failed)
    })
}

/// Marks an area that is not the current one, and takes its name away. In a directory that is everybody's, any user can have a file of such a
/// name, for all to write to: it is not mapped, as it could be cut short under us.
fn retire(place: &Place, generation: u64) {
    let path = place.area(generation);
    if let Ok(file) = object::open(&path, false)
        && file.metadata().is_ok_and(|found| is_trusted(found.uid()))
        && let Ok(area) = MappedArea::open(&file, generation, false, "a former area")
    {
        area.header().state.store(AREA_OBSOLETE, Ordering::Release);
    }
    let _ = object::unlink(&path);
}

fn retire_all_but(place: &Place, current: u64) -> Result<()> {
    let others = place.generations()?.into_iter().filter(|generation| *generation != current);
    others.for_each(|generation| retire(place, generation));
    Ok(())
}

/// The first area of a manifest.
fn first_area(place: &Place, settings: &Settings, manifest: &MappedManifest) -> Result<MappedArea> {
    retire_all_but(place, 0)?;
    let area = name_area(place, 0, |generation| build(place, settings, generation, settings.smallest))?;
    manifest.current.store(area.generation, Ordering::Release); // `switched`
    Ok(area)
}

/// How many names in a row may be somebody else's before a writer gives up.
const FOREIGN: u64 = 100;

/// Gives the area that `make` makes the name of the first generation after `last` that can be had. Where a directory is everybody's,
/// another user may have taken the next one, for whatever reason, and nobody else can take it away.
fn name_area(place: &Place, last: u64, mut make: impl FnMut(u64) -> Result<Fresh>) -> Result<MappedArea> {
    let mut why = None;
    for generation in last + 1..=last + FOREIGN {
        let path = place.area(generation);
        // What has this name is of a writer that died, or of nobody who could know better: we have the lock.
        if let Err(error) = object::unlink(&path) {
            why = Some(error);
            continue;
        }
        let Fresh { object, area } = make(generation)?;
        match object.link(&path) {
            Ok(()) => return Ok(area),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => why = Some(error),
            Err(error) => return Err(Error::system(format_args!("cannot give {} a name", place.what()), error)),
        }
    }
    let error = why.map_or(String::new(), |error| format!(": {error}"));
    let (first, last) = (last + 1, last + FOREIGN);
    Err(fail!(
        Permission,
        "the names of generations {first} to {last} of {} are somebody else's, and cannot be taken away{error}",
        place.what()
    ))
}

/// An area that has no name yet.
struct Fresh {
    object: Unlinked,
    area: MappedArea,
}

fn build(place: &Place, settings: &Settings, generation: u64, bytes: u64) -> Result<Fresh> {
    let what = format!("generation {generation} of {}", place.what());
    let page = process::page_size() as u64;
    let bytes = bytes.next_multiple_of(page);
    let object = Unlinked::new(place.directory(), bytes, settings.mode, None, Build::Best).map_err(|error| {
        let room = object::describe_room(place.directory());
        Error::system(format_args!("cannot make {what} of {bytes} bytes{room}"), error)
    })?;
    let area = MappedArea::create(object.file(), bytes, generation, &what)?;
    Ok(Fresh { object, area })
}

/// Whether a user does not harm us: we, or root.
fn is_trusted(owner: u32) -> bool {
    owner == process::effective_uid() || owner == 0
}

/// The manifest, and its lock, which says that nobody else writes; `None` when there is no manifest.
fn open_manifest(place: &Place, settings: &Settings) -> Result<Option<(MappedManifest, Lock)>> {
    let what = format!("the manifest of {}", place.what());
    let failed = |error| Error::system(format_args!("cannot open {what}"), error);
    for _ in 0..100 {
        // Locks and mappings have descriptions of their own: a forked child keeps the mapping, and with it the description.
        let lock = match Unshared::open(|| object::open(&place.manifest(), false)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            outcome => outcome.map_err(failed)?,
        };
        let metadata = lock.file().metadata().map_err(failed)?;
        let (owner, us) = (metadata.uid(), process::effective_uid());
        if !is_trusted(owner) && !settings.any_owner {
            return Err(fail!(Permission, "{what} belongs to user {owner}, and we are user {us}"));
        }
        let Some(lock) = Lock::take(lock, &what)? else {
            return Err(fail!(Busy, "{} has a writer already", place.what()));
        };
        if !lock.is_at(&place.manifest()).map_err(failed)? {
            continue; // removed, or removed and made again, before we had the lock
        }
        let file = object::reopen(lock.file.file(), Some(&place.manifest()), false).map_err(failed)?;
        let manifest = MappedManifest::new(&file, false, false, &what)?;
        if !manifest.is_removed() {
            return Ok(Some((manifest, lock)));
        }
        // Whoever removed it died before it was gone.
        remove(place, &manifest)?;
    }
    Err(fail!(Busy, "{} is made and removed all the time", place.what()))
}

/// Makes a manifest without an area, with ourselves as its writer; `None` when somebody else was quicker. Whatever may be refused is asked for before it has
/// its name: nothing is left where there is no descriptor or no lock to be had.
fn make_manifest(place: &Place, settings: &Settings) -> Result<Option<(MappedManifest, Lock)>> {
    let what = format!("the manifest of {}", place.what());
    let failed = |error| {
        let room = object::describe_room(place.directory());
        Error::system(format_args!("cannot make {what} of {MANIFEST_BYTES} bytes{room}"), error)
    };
    let object = Unlinked::new(place.directory(), MANIFEST_BYTES, settings.mode, None, Build::Best).map_err(failed)?;
    let manifest = MappedManifest::new(object.file(), false, true, &what)?;
    let lock = Unshared::open(|| object.reopen()).map_err(failed)?;
    let Some(lock) = Lock::take(lock, &what)? else {
        return Err(fail!(Internal, "{what} has no name, and yet somebody else has it"));
    };
    match object.link(&place.manifest()) {
        Ok(()) => Ok(Some((manifest, lock))),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// Whether a chunk that expires at `expires`, in an area of that boot, counts at `now`.
#[inline]
pub(super) fn is_expired(expires: u64, of_this_boot: bool, now: impl FnOnce() -> u64) -> bool {
    expires != 0 && (!of_this_boot || expires <= now())
}

/// Whether the times of an area are ours. Where that is not known they are taken for ours: to see chunks a while too long does less harm than to
/// drop those of a writer that lives.
pub(super) fn of_this_boot(area: &MappedArea) -> bool {
    let (theirs, ours) = (area.header().boot.load(Ordering::Relaxed), boot());
    theirs == ours || theirs == 0 || ours == 0
}
