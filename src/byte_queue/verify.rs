//! Whether the bytes of a byte queue are what its rules allow.

use super::layout::{Control, FLAG_FRAMED, FLAG_TIMES, Framing, Shape};
use super::raw::place;
use crate::os::process;
use crate::segment::{Entry, Inspection, Region};
use crate::sync::{AtomicU64, Ordering, fence};

const TAIL: u64 = 128;
const HEAD: u64 = 256;

/// Positions beyond this are nobody's: centuries away, and nothing computed from smaller ones overflows.
const FAR: u64 = 1 << 60;

pub(crate) fn verify(entry: &Entry, section: Region, look: &mut Inspection<'_>) {
    let page = process::page_size() as u64;
    let flags = entry.flags & !(FLAG_FRAMED | FLAG_TIMES) == 0 && entry.flags != FLAG_TIMES;
    let exactly = flags && entry.elem_size == 1 && page.checked_add(entry.count) == Some(entry.size);
    let placed = place(entry, section).filter(|_| exactly).zip(section.at::<Control>(0));
    let Some(((shape, buffer), control)) = placed else { return look.nonsense() };
    look.event(0, &control.events.data, "data");
    look.event(8, &control.events.space, "space");
    look.end(24, &control.events.producer, "producer");
    look.end(32, &control.events.consumer, "consumer");
    // Each is behind what is loaded after it.
    let head = control.consumed.head.load(Ordering::Acquire);
    let tail = control.produced.tail.load(Ordering::Acquire);
    let released = control.consumed.head.load(Ordering::Acquire);
    let Shape { capacity, framing } = shape;
    let misplaced = |position: u64| framing.is_some_and(|framing| !position.is_multiple_of(framing.align));
    for (position, offset, noun) in [(head, HEAD, "head"), (tail, TAIL, "tail"), (released, HEAD, "head")] {
        if position >= FAR || misplaced(position) {
            return look.damage(offset, format_args!("its {noun} is {position}, where none can be"));
        }
    }
    if head > tail || tail > released.saturating_add(capacity) {
        return look.damage(TAIL, format_args!("it has bytes {head} to {tail}, with a capacity of {capacity}"));
    }
    if let Some(framing) = framing {
        frames(framing, buffer, control, (released, tail), look);
    }
}

/// Goes from frame to frame. What is before the head may be written over at any time, so the head is looked at after each header.
fn frames(framing: Framing, buffer: Region, control: &Control, (head, tail): (u64, u64), look: &mut Inspection<'_>) {
    let capacity = buffer.len() as u64;
    let mut position = head;
    while position < tail {
        let offset = position % capacity;
        // A header ends before the buffer does, or is cut in two after a word.
        let length = buffer.at::<AtomicU64>(offset).map_or(u64::MAX, |word| word.load(Ordering::Relaxed));
        // Pairs with the release store of the tail: who saw a later header sees a later head.
        fence(Ordering::Acquire);
        let released = control.consumed.head.load(Ordering::Acquire);
        if released > position {
            // At most up to the tail as it was; what came later is another look's affair.
            position = released;
            continue;
        }
        let [low, high] = bytemuck::cast::<u64, [u32; 2]>(length);
        let frame = framing.frame(low.into());
        if high != 0 || frame > tail - position {
            let there = tail - position;
            return look.damage(
                process::page_size() as u64 + offset,
                format_args!(
                    "at {position} there is a message of {low} bytes, marked {high:#x}, where {there} bytes are"
                ),
            );
        }
        position += frame;
    }
}
