//! Whether the bytes of a ring are what its rules allow.

use super::layout::{Control, FLAG_OVERWRITE, Geometry};
use crate::segment::{Entry, Inspection, Region};
use crate::sync::{Ordering, spin};

/// Positions beyond this are nobody's: centuries away, and nothing computed from smaller ones overflows.
const FAR: u64 = 1 << 55;

/// How often positions are looked at before they are found wrong: the announcement is a relaxed store, which may be seen before older ones.
const TRIES: u32 = 1000;

/// The positions of a ring, each loaded when it can only be on the right side of those before it.
struct Positions {
    /// Never more than `announced`.
    written: u64,
    /// Never more than a capacity ahead of `written_after`.
    announced: u64,
    written_after: u64,
    /// Both loaded after `written`, and before `written_after`: at least a capacity's distance from the one, never ahead of the other.
    read: u64,
    lost: u64,
}

impl Positions {
    fn load(control: &Control) -> Self {
        let (written, announced) = (&control.written.written, &control.written.announced);
        let (read, lost) = (&control.consumed.read, &control.consumed.lost);
        Self {
            written: written.load(Ordering::Acquire),
            announced: announced.load(Ordering::Acquire),
            read: read.load(Ordering::Acquire),
            lost: lost.load(Ordering::Acquire),
            written_after: written.load(Ordering::Acquire),
        }
    }

    /// What cannot be, and where it is.
    fn nonsense(&self, capacity: u64, overwrite: bool) -> Option<(u64, String)> {
        let Self { written, announced, written_after, read, lost } = *self;
        let words = [(written, 128), (announced, 136), (read, 256), (lost, 264)];
        if let Some((value, offset)) = words.into_iter().find(|(value, _)| *value >= FAR) {
            return Some((offset, format!("a position is {value}, which nobody can have come to")));
        }
        let consumer = read + lost;
        if announced < written || announced - written > capacity && announced > written_after + capacity {
            let range = format!("{written} were written and its capacity is {capacity}");
            return Some((136, format!("{announced} are announced, {range}")));
        }
        if consumer > written_after {
            return Some((256, format!("its consumer is at {consumer}, and only {written_after} were written")));
        }
        if !overwrite && written > consumer + capacity {
            return Some((
                256,
                format!("{written} were written and its consumer is at {consumer}, with a capacity of {capacity}"),
            ));
        }
        if !overwrite && lost > 0 {
            return Some((264, format!("{lost} were lost, and nothing is overwritten")));
        }
        None
    }
}

pub(crate) fn verify(entry: &Entry, section: Region, look: &mut Inspection<'_>) {
    let exactly = |geometry: &Geometry| geometry.bytes == entry.size && entry.flags & !FLAG_OVERWRITE == 0;
    let placed = Geometry::of(entry).ok().filter(exactly).and_then(|geometry| geometry.place(section));
    let Some(placed) = placed else { return look.nonsense() };
    let (control, shape) = (placed.control(), placed.geometry.shape);
    look.event(0, &control.events.items, "items");
    look.event(8, &control.events.space, "space");
    look.end(16, &control.events.writer, "writer");
    look.end(24, &control.events.consumer, "consumer");
    let mut nonsense = None;
    for _ in 0..TRIES {
        nonsense = Positions::load(control).nonsense(shape.capacity, shape.overwrite);
        if nonsense.is_none() {
            break;
        }
        spin();
    }
    if let Some((offset, sentence)) = nonsense {
        look.damage(offset, format_args!("{sentence}"));
    }
    let Positions { written, announced, .. } = Positions::load(control);
    if look.is_at_rest() && announced > written && look.is_clean() {
        look.leftover(136, format_args!("{announced} are announced and {written} written: a push was not completed"));
    }
}
