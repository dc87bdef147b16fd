//! Whether the bytes of an area are what its rules allow.
//!
//! Who looks maps everything read-only and keeps nobody from working. Chunks are walked over once, from the first; the manifest's counters are
//! loaded after them, because they only grow.

use std::os::fd::AsFd;

use super::chunks::{Chunk, Chunks};
use super::layout::{ALLOCATED, DISCARDED, FIRST, GRAIN, Manifest, READY, WRITTEN};
use super::mapped::{MappedArea, MappedManifest};
use super::place::Place;
use super::writer::{MOST, WRITER};
use crate::error::{Error, Result, Status};
use crate::os::{lock, object};
use crate::segment::{Finding, Findings, Verified, VerifyOptions, first_nonzero};
use crate::sync::Ordering;

pub(crate) fn verify(place: &Place, options: VerifyOptions, mut visit: impl FnMut(&Finding)) -> Result<Verified> {
    let what = format!("the manifest of {}", place.what());
    let file = object::open(&place.manifest(), true)
        .map_err(|error| Error::system(format_args!("cannot open {what}"), error))?;
    let manifest = MappedManifest::new(&file, true, false, &what)?;
    let written = lock::is_locked_by_others(file.as_fd(), WRITER)
        .map_err(|error| Error::system(format_args!("cannot look who writes {}", place.what()), error))?;
    let mut look =
        Look { what: place.what(), at_rest: options.at_rest, written, found: Findings::default(), chunks: 0 };
    look.manifest(place, &manifest)?;
    let mut verified = Verified { checked: look.chunks, ..Verified::default() };
    verified.take(look.found, place.name(), None, &mut visit);
    Ok(verified)
}

struct Look {
    what: String,
    at_rest: bool,
    /// Whether a writer lives. What is half done is its own affair.
    written: bool,
    found: Findings,
    chunks: u64,
}

impl Look {
    fn manifest(&mut self, place: &Place, manifest: &Manifest) -> Result<()> {
        let what = self.what.clone();
        let left = self.at_rest && !self.written;
        let open = |generation: u64| {
            let what = format!("generation {generation} of {}", place.what());
            match object::open(&place.area(generation), true) {
                Ok(file) => MappedArea::open(&file, generation, true, &what).map(Some),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(Error::system(format_args!("cannot open {what}"), error)),
            }
        };
        let area = match manifest.follow(0, || what.clone(), open) {
            Ok(area) => area,
            Err(error) if matches!(error.status(), Status::Corrupt | Status::Version) => {
                self.found.damage(0, format_args!("{error}"));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let Some(area) = area else {
            if left {
                let half = if manifest.is_removed() { "removed" } else { "made" };
                self.found.leftover(0, format_args!("{what} is half {half}, and has no writer"));
            }
            return Ok(());
        };
        let state = area.header().state.load(Ordering::Acquire);
        // It is marked obsolete only after another took its place.
        let is_current = manifest.current.load(Ordering::Acquire) == area.generation;
        if state != READY && is_current {
            self.found
                .damage(40, format_args!("generation {} of {what} is read, and its state is {state}", area.generation));
        }
        self.area(&area, manifest);
        if left {
            for generation in place.generations()?.into_iter().filter(|generation| *generation != area.generation) {
                self.found.leftover(0, format_args!("generation {generation} of {what} has a name, and is not read"));
            }
        }
        Ok(())
    }

    fn area(&mut self, area: &Chunks, manifest: &Manifest) {
        let (what, left) = (self.what.clone(), self.at_rest && !self.written);
        let (mut offset, mut last, mut most) = (FIRST, 0, 0);
        let mut draft = None::<u64>;
        let mut counting = Vec::new();
        loop {
            let chunk = match area.chunk(offset) {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => return self.found.damage(offset, format_args!("{what}: {error}")),
            };
            let Chunk { state, id, version, next, .. } = chunk;
            self.chunks += 1;
            // There is one draft at a time, so it was committed meanwhile, or discarded.
            let still = |offset| matches!(area.chunk(offset), Ok(Some(Chunk { state: ALLOCATED, .. })));
            if let Some(draft) = draft.take().filter(|draft| still(*draft)) {
                self.found.damage(draft, format_args!("{what}: the chunk at {draft} is allocated, and not the last"));
            }
            if id == 0 || id >= MOST || version >= MOST {
                self.found
                    .damage(offset, format_args!("{what}: the chunk at {offset} has id {id} and version {version}"));
            }
            most = most.max(id);
            match state {
                ALLOCATED => draft = Some(offset),
                DISCARDED => {}
                _ if version <= last => {
                    let order =
                        format_args!("{what}: the chunk at {offset} has version {version}, after version {last}");
                    self.found.damage(offset, order);
                }
                _ => last = version,
            }
            // Two may count while others work: the older one is marked after the newer one is there.
            if self.at_rest && state == WRITTEN {
                counting.push((id, offset));
            }
            offset = next;
        }
        let (committed, next_id) =
            (manifest.committed.load(Ordering::Acquire), manifest.next_id.load(Ordering::Acquire));
        if most >= next_id || next_id >= MOST {
            self.found
                .damage(FIRST, format_args!("{what}: there is a chunk with id {most}, and the next one is {next_id}"));
        }
        // A chunk is there before it is counted.
        if last > committed.saturating_add(1) || committed >= MOST {
            self.found.damage(
                FIRST,
                format_args!("{what}: there is a chunk of version {last}, and {committed} were committed"),
            );
        } else if left && last > committed {
            self.found.leftover(FIRST, format_args!("{what}: version {last} is there, and {committed} were committed"));
        }
        if !self.at_rest {
            return;
        }
        counting.sort_unstable();
        for pair in counting.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            let [(id, older), (_, newer)] = [pair[0], pair[1]];
            self.found.leftover(older, format_args!("{what}: chunk {id} counts at {older} and, newer, at {newer}"));
        }
        if let Some(draft) = draft.filter(|_| left) {
            self.found.leftover(draft, format_args!("{what}: the chunk at {draft} is allocated, and has no writer"));
        }
        // Whose header was not finished is overwritten.
        if let Some(stray) = first_nonzero(area.region(), (offset + GRAIN).min(area.bytes())) {
            self.found.damage(stray, format_args!("{what}: byte {stray} is not zero, and behind the last chunk"));
        }
    }
}
