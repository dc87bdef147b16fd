//! Whether the bytes of a pool are what its rules allow.

use super::raw::place;
use super::slots::{FREE, OWNED, owner, phase};
use crate::segment::{Entry, Inspection, Region};
use crate::sync::Ordering;

pub(crate) fn verify(entry: &Entry, section: Region, look: &mut Inspection<'_>) {
    let exactly = entry.flags == 0;
    let Some(slots) = place(entry, section).filter(|slots| exactly && slots.bytes() == entry.size) else {
        return look.nonsense();
    };
    for index in 0..slots.capacity() {
        let (state, offset) = (slots.state(index), slots.state_offset(index));
        let found = state.load(Ordering::SeqCst);
        match phase(found) {
            FREE if owner(found) == 0 => {
                // Between making an object free and setting its bit, it may be missing.
                let hinted = slots.map(index / 64).load(Ordering::SeqCst) >> (index % 64) & 1 != 0;
                if look.is_at_rest() && !hinted {
                    look.leftover(index / 64 * 8, format_args!("object {index} is free, and the map does not say so"));
                }
            }
            // Objects are handed over without a lock, also to somebody who is closing the pool, and then taken back.
            OWNED => look.owner(offset, owner(found), true, format_args!("object {index} belongs to"), || {
                state.load(Ordering::SeqCst) == found
            }),
            _ => look.damage(offset, format_args!("object {index} has the state {found:#x}, which there is not")),
        }
    }
    let last = slots.capacity() / 64;
    let beyond = if slots.capacity().is_multiple_of(64) {
        0
    } else {
        slots.map(last).load(Ordering::Relaxed) >> (slots.capacity() % 64)
    };
    if beyond != 0 {
        look.damage(last * 8, format_args!("the map has {beyond:#x} behind the last of {} objects", slots.capacity()));
    }
}
