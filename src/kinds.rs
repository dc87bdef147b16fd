//! The one place that knows every kind of structure: what to do with what a dead participant held in it, and whether its bytes make sense.
//!
//! The segment calls this while it buries a participant, and when it is verified; these are the only calls that go upward in the house.

use crate::segment::{Entry, Inspection, Kind, Region};
use crate::{array, atomic, byte_queue, pool, queue, ring, span};

/// Whether `dead` left a structure in the middle of a change. Asked before it is reclaimed.
pub(crate) fn is_unfinished(entry: &Entry, section: Region, dead: u32) -> bool {
    match entry.kind {
        Kind::Array => array::is_unfinished(entry, section, dead),
        Kind::Pool => pool::is_unfinished(entry, section, dead),
        Kind::Queue => queue::is_unfinished(entry, section, dead),
        Kind::Ring => ring::is_unfinished(entry, section, dead),
        _ => false,
    }
}

/// Gives back whatever `dead` owned in a section. Can be done twice without harm, and beside living users. False when
/// this version of the library does not know how, so that the participant must not be forgotten yet.
pub(crate) fn reclaim(entry: &Entry, section: Region, dead: u32) -> bool {
    match entry.kind {
        Kind::Span | Kind::Atomic => true,
        Kind::Array => array::reclaim(entry, section, dead),
        Kind::ByteQueue => byte_queue::reclaim(entry, section, dead),
        Kind::Pool => pool::reclaim(entry, section, dead),
        Kind::Queue => queue::reclaim(entry, section, dead),
        Kind::Ring => ring::reclaim(entry, section, dead),
        _ => false,
    }
}

/// Gives back what was given to participants who left before it reached them: who is no user has no right to anything. Under the segment's
/// lock, so that nobody becomes one meanwhile.
pub(crate) fn reclaim_strays(entry: &Entry, section: Region, is_user: impl Fn(u32) -> bool) {
    if entry.kind == Kind::Pool {
        pool::reclaim_strays(entry, section, is_user);
    }
}

/// Looks whether the bytes of a section are what the rules of its kind allow. False when this version of the library does not know them.
pub(crate) fn verify(entry: &Entry, section: Region, look: &mut Inspection<'_>) -> bool {
    match entry.kind {
        Kind::Span => span::verify(entry, look),
        Kind::Array => array::verify(entry, section, look),
        Kind::Atomic => atomic::verify(entry, section, look),
        Kind::Queue => queue::verify(entry, section, look),
        Kind::Pool => pool::verify(entry, section, look),
        Kind::Ring => ring::verify(entry, section, look),
        Kind::ByteQueue => byte_queue::verify(entry, section, look),
        Kind::Unknown => return false,
    }
    true
}
