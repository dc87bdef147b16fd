//! A reader: it maps what it reads read-only, and nobody knows of it.
//!
//! It remembers the version of the last chunk that it passed. Versions grow from chunk to chunk and stay when chunks are copied, so it finds
//! its place in any area: at the first chunk with a greater one.
//!
//! # What a reader gets of one id never goes back
//!
//! Whichever of `next`, `get` and `next_valid` showed it a chunk v2, none of them shows it v1, an older one of that id, from then on. (Only `seek` goes
//! back, because it is asked to.)
//!
//! - `next` after `next`: v1 lies before v2, and versions only grow.
//! - `get` and `next_valid` after anything: they show the newest, having looked at all that is committed, and v2 is.
//! - `next` after `get` or `next_valid`: v1 may still be WRITTEN, because the writer marks it only after v2 is, and may die between. But v2 is
//!   in the index then, and `next` passes over what the index knows a newer one of. Who only calls `next` has no index, and pays nothing.
//! - In a new area the index begins empty, and need not know: v1 is not there. Before a writer moves anything, it has every WRITTEN chunk of the area in
//!   its own index, what its predecessor committed included, and copies of each id the newest at most. Nor is v1 there when v2 has
//!   expired or was obsoleted: its place in the writer's index went to v2.
//! - A reader looks at one area at a time, and never at a former one again.
//!
//! What keeps memory of former areas is the kernel: a shared lock on a byte of each area that is mapped, which takes no permission to write, tells the
//! writer how much that is.

use std::os::fd::AsFd;
use std::time::Duration;

use super::Clock;
use super::chunks::{self, Chunk, Cursor};
use super::ids::IdMap;
use super::layout::{ALLOCATED, FIRST, WRITTEN};
use super::mapped::{MappedArea, MappedManifest};
use super::place::Place;
use super::writer::{READER, is_expired, of_this_boot};
use crate::error::{Error, Result, fail};
use crate::os::lock::{self, Mode};
use crate::os::object::{self, Identity};
use crate::os::process;
use crate::sync::Ordering;

/// Where a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderStats {
    /// The generation of the area it reads; 0: none yet.
    pub generation: u64,
    /// The version of the last chunk it got or passed over: what `seek` takes.
    pub version: u64,
    /// How many chunks it got.
    pub received: u64,
    /// How many chunks it passed over, because they were replaced, obsolete or expired before it came to them.
    pub skipped: u64,
    /// How many chunks were committed since.
    pub lag: u64,
    /// Bytes of the area it has mapped.
    pub bytes: u64,
    /// Whether the name no longer leads here: somebody removed the files, and who opens the name now gets another area or none.
    pub orphaned: bool,
}

/// A chunk and where its contents are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) chunk: Chunk,
    pub(crate) data: *const u8,
}

#[derive(Debug)]
struct Open {
    area: MappedArea,
    of_this_boot: bool,
}

/// Where a walk over the valid chunks is.
#[derive(Clone, Copy, Debug, Default)]
struct Walk {
    generation: u64,
    version: u64,
    offset: u64,
}

/// Whether the index has a newer chunk of its id: the writer has not marked this one yet, or died before it could.
#[inline]
fn is_replaced(index: &IdMap<u64>, indexed: u64, chunk: &Chunk) -> bool {
    chunk.offset < indexed && index.get(&chunk.id).is_some_and(|newest| *newest > chunk.offset)
}

#[derive(Debug)]
pub(crate) struct RawReader {
    place: Place,
    clock: Clock,
    manifest: MappedManifest,
    identity: Identity,
    open: Option<Open>,
    cursor: Cursor,
    /// The newest chunk of each id, up to `indexed`.
    index: IdMap<u64>,
    indexed: u64,
    walk: Walk,
}

impl RawReader {
    pub(crate) fn open(place: Place, clock: Clock) -> Result<Self> {
        let what = format!("the manifest of {}", place.what());
        let file = object::open(&place.manifest(), true)
            .map_err(|error| Error::system(format_args!("cannot open {what}"), error))?;
        let metadata = file.metadata().map_err(|error| Error::system(format_args!("cannot look at {what}"), error))?;
        let manifest = MappedManifest::new(&file, true, false, &what)?;
        let mut reader = Self {
            place,
            clock,
            manifest,
            identity: Identity::of(&metadata),
            open: None,
            cursor: Cursor::default(),
            index: IdMap::default(),
            indexed: FIRST,
            walk: Walk::default(),
        };
        reader.follow()?;
        Ok(reader)
    }

    /// Before anything was read.
    pub(crate) fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
        let is_own = self.clock.is_own();
        if let Some(open) = &mut self.open {
            open.of_this_boot = is_own || of_this_boot(&open.area);
        }
    }

    fn generation(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.area.generation)
    }

    /// Moves over to the current area, if this is another. What was shown of the former one is not there any more.
    fn follow(&mut self) -> Result<()> {
        let opened = self.manifest.follow(
            self.generation(),
            || self.place.what(),
            |current| {
                let what = format!("generation {current} of {}", self.place.what());
                let file = match object::open(&self.place.area(current), true) {
                    Ok(file) => file,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                    Err(error) => return Err(Error::system(format_args!("cannot open {what}"), error)),
                };
                // A courtesy to the writer's statistics.
                let _ = lock::try_lock(file.as_fd(), READER, Mode::Shared);
                let area = MappedArea::open(&file, current, true, &what)?;
                Ok(Some(Open { of_this_boot: self.clock.is_own() || of_this_boot(&area), area }))
            },
        )?;
        if opened.is_some() {
            self.open = opened;
            (self.cursor.offset, self.indexed) = (FIRST, FIRST);
            self.index.clear();
        }
        Ok(())
    }

    fn is_valid(&self, open: &Open, chunk: &Chunk) -> bool {
        chunk.state == WRITTEN && !is_expired(chunk.expires, open.of_this_boot, || self.clock.now())
    }

    fn found(&self, chunk: Chunk) -> Result<Found> {
        let data = self.open.as_ref().map_or(std::ptr::null_mut(), |open| open.area.contents(chunk.offset, chunk.size));
        if data.is_null() {
            return Err(fail!(Corrupt, "chunk {} of {} lies outside", chunk.id, self.place.what()));
        }
        Ok(Found { chunk, data: data.cast_const() })
    }

    /// The next chunk that is valid now, after the last one; its contents stay where they are until the next call.
    pub(crate) fn next(&mut self) -> Result<Option<Found>> {
        self.follow()?;
        if let Some(open) = &self.open {
            let (index, indexed) = (&self.index, self.indexed);
            let counts = |chunk: &Chunk| {
                !is_expired(chunk.expires, open.of_this_boot, || self.clock.now())
                    && !is_replaced(index, indexed, chunk)
            };
            if let Some(chunk) = self.cursor.next(&open.area, counts)? {
                return self.found(chunk).map(Some);
            }
        }
        if self.manifest.is_removed() {
            return Err(fail!(Closed, "{} was removed", self.place.what()));
        }
        Ok(None)
    }

    /// As [`next`](Self::next), waiting up to `timeout` for it.
    pub(crate) fn next_wait(&mut self, timeout: Duration) -> Result<Option<Found>> {
        chunks::wait(self, |reader| &reader.manifest, process::deadline(timeout), Self::next)
    }

    /// Looks at what was committed since it looked last, and enters it into the index.
    fn catch_up(&mut self) -> Result<()> {
        self.follow()?;
        let Some(open) = &self.open else { return Ok(()) };
        while let Some(chunk) = open.area.chunk(self.indexed)? {
            if chunk.state == ALLOCATED {
                break;
            }
            // The newest with an id counts, also before the writer has marked the one before.
            if chunk.version != 0 {
                self.index.insert(chunk.id, chunk.offset);
            }
            self.indexed = chunk.next;
        }
        Ok(())
    }

    /// The newest chunk of an id, if it is valid.
    pub(crate) fn get(&mut self, id: u64) -> Result<Option<Found>> {
        self.catch_up()?;
        let (Some(open), Some(offset)) = (&self.open, self.index.get(&id)) else { return Ok(None) };
        let Some(chunk) = open.area.chunk(*offset)? else { return Ok(None) };
        if self.is_valid(open, &chunk) { self.found(chunk).map(Some) } else { Ok(None) }
    }

    /// The first valid chunk, newest of its id, whose version is greater than `version`.
    pub(crate) fn next_valid(&mut self, version: u64) -> Result<Option<Found>> {
        self.catch_up()?;
        let Some(open) = &self.open else { return Ok(None) };
        let same = self.walk.generation == open.area.generation && self.walk.version == version;
        let mut offset = if same { self.walk.offset } else { FIRST };
        while offset < self.indexed
            && let Some(chunk) = open.area.chunk(offset)?
        {
            offset = chunk.next;
            if chunk.version > version
                && self.index.get(&chunk.id) == Some(&chunk.offset)
                && self.is_valid(open, &chunk)
            {
                self.walk = Walk { generation: open.area.generation, version: chunk.version, offset };
                return self.found(chunk).map(Some);
            }
        }
        Ok(None)
    }

    /// Goes on after the chunk of that version.
    pub(crate) fn seek(&mut self, version: u64) {
        (self.cursor.passed, self.cursor.offset) = (version, FIRST);
    }

    pub(crate) fn stats(&self) -> ReaderStats {
        let committed = self.manifest.committed.load(Ordering::Acquire);
        ReaderStats {
            generation: self.generation(),
            version: self.cursor.passed,
            received: self.cursor.received,
            skipped: self.cursor.skipped,
            lag: committed.saturating_sub(self.cursor.passed),
            bytes: self.open.as_ref().map_or(0, |open| open.area.bytes()),
            orphaned: Identity::at(&self.place.manifest()).is_ok_and(|there| there != Some(self.identity)),
        }
    }
}
