//! Taking a segment's name away, without being attached to it.
//!
//! The object is not mapped, but only looked at and locked: it may be another user's, who could cut it short meanwhile.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use super::attachment::{Backoff, locked_by_another};
use super::header::{Header, Layout};
use super::lifecycle::{cannot_look, is_persistent, open_existing, too_small};
use super::options::SegmentOptions;
use super::participants::{LIVING_BYTES, SEGMENT_BYTE};
use super::place::Place;
use super::process_events;
use crate::error::{Error, Result, fail};
use crate::os::lock::{self, Mode};
use crate::os::object::Identity;

/// Whose segment may lose its name.
#[derive(Clone, Copy, PartialEq)]
enum Whose {
    /// Nobody's, unless it is there to stay.
    Dead,
    Anybodys,
}

/// Removes a segment that nobody living is attached to. Does nothing where that is not certain, or not allowed.
pub(super) fn remove_if_dead(place: &Place) {
    let _ = remove(place, Whose::Dead, Duration::from_millis(100));
}

/// Removes a segment's name, whoever is attached; they keep what they have. What is not a segment is left alone.
pub(crate) fn unlink(place: &Place) -> Result<()> {
    remove(place, Whose::Anybodys, SegmentOptions::new().lock_timeout)
}

fn remove(place: &Place, whose: Whose, limit: Duration) -> Result<()> {
    let mut backoff = Backoff::new(limit);
    loop {
        match process_events::undisturbed(|| attempt(place, whose))? {
            None => return Ok(()),
            Some(_) if backoff.wait() => {}
            Some(header) => return Err(locked_by_another(&place.what(), &header, limit)),
        }
    }
}

/// Removes the name at once, or says what is in the header of a segment whose lock somebody has.
fn attempt(place: &Place, whose: Whose) -> Result<Option<Header>> {
    let what = place.what();
    let (file, metadata) = open_existing(place, false)?.ok_or_else(|| fail!(NotFound, "there is no {what}"))?;
    let header = read_header(&file).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => too_small(&what, metadata.len()),
        _ => cannot_look(&what, error),
    })?;
    Layout::read(&header, metadata.len(), &what)?;
    if !lock::try_lock(file.as_fd(), SEGMENT_BYTE, Mode::Exclusive).map_err(|error| Error::lock(&what, error))? {
        return Ok(Some(header));
    }
    let remove = || {
        let leads = place.leads_to(Identity::of(&metadata)).map_err(|error| cannot_look(&what, error))?;
        let stays = whose == Whose::Dead
            && (is_persistent(place, &header) || lock::is_locked_by_others(file.as_fd(), LIVING_BYTES).unwrap_or(true));
        if !leads {
            return Err(fail!(NotFound, "{what} was removed by somebody else"));
        }
        if stays {
            Ok(())
        } else {
            place.unlink().map_err(|error| Error::system(format_args!("cannot remove {what}"), error))
        }
    };
    let removed = remove();
    // Before the description goes, which a child that was made by a bare `clone` may have, too.
    lock::unlock(file.as_fd(), SEGMENT_BYTE);
    removed.map(|()| None)
}

fn read_header(file: &File) -> io::Result<Header> {
    let mut header = MaybeUninit::<Header>::zeroed();
    // SAFETY: as many bytes, and zeroed.
    let bytes = unsafe { std::slice::from_raw_parts_mut(header.as_mut_ptr().cast::<u8>(), size_of::<Header>()) };
    file.read_exact_at(bytes, 0)?;
    // SAFETY: made of atomic integers, for which any bytes will do.
    Ok(unsafe { header.assume_init() })
}
