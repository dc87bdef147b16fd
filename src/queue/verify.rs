//! Whether the bytes of a queue are what its rules allow.
//!
//! Both kinds of queue are slots (or lines) that their sides visit in turns: a side that has come to position `p` has visited slot `i`
//! exactly ⌈(p − i) / slots⌉ times. So each slot says how far its sides have come at least, and from the furthest of that follows what
//! every other slot has to say. While others work this holds, too, because slots only go forward: nothing looked at later may be behind it.
//! Everything is therefore looked at twice, first for how far the sides are, and then for who is behind.

use super::layout::{Control, FLAG_SPSC, Geometry, Mode, Placed};
use super::mpmc::{self, EMPTY, FULL, Mpmc, READING, VOID, WRITING};
use super::spsc::{COUNT_BITS, COUNT_MASK};
use crate::segment::{Entry, Inspection, Region};
use crate::sync::Ordering;

const PRODUCER: u64 = 24;
const CONSUMER: u64 = 32;
const TAIL: u64 = 128;
const HEAD: u64 = 256;
const EXACT: u64 = 384;
const TAKEN: u64 = 392;

/// Positions beyond this are nobody's: centuries away, and nothing computed from smaller ones overflows.
const FAR: u64 = 1 << 55;

pub(crate) fn verify(entry: &Entry, section: Region, look: &mut Inspection<'_>) {
    let exactly = |geometry: &Geometry| geometry.bytes == entry.size && entry.flags & !FLAG_SPSC == 0;
    let placed = Geometry::of(entry).ok().filter(exactly).and_then(|geometry| geometry.place(section));
    let Some(placed) = placed else { return look.nonsense() };
    let events = &placed.control().events;
    look.event(0, &events.items, "items");
    look.event(8, &events.space, "space");
    match placed.geometry.shape.mode {
        Mode::Mpmc => {
            for (offset, end) in [(PRODUCER, &events.producer), (CONSUMER, &events.consumer)] {
                if end.holder().is_some() {
                    look.damage(
                        offset,
                        format_args!("it has many producers and consumers, and an end that somebody holds"),
                    );
                }
            }
            many(&placed, look);
        }
        Mode::Spsc => {
            look.end(PRODUCER, &events.producer, "producer");
            look.end(CONSUMER, &events.consumer, "consumer");
            single(&placed, look);
        }
    }
}

/// How far one side of a many-to-many queue has come at least, counted from the turn of the tail hint. Wide, as slots can say anything.
struct Side {
    noun: &'static str,
    slots: i128,
    position: i128,
    /// The slot that says so.
    leader: u64,
    /// Whether somebody was found behind; one sentence is enough.
    told: bool,
}

/// Where a side is of which no slot says anything.
const NOWHERE: i128 = i128::MIN / 2;

impl Side {
    fn new(noun: &'static str, slots: u64) -> Self {
        Self { noun, slots: slots.into(), position: NOWHERE, leader: 0, told: false }
    }

    /// Takes note of a slot that was visited so many times.
    fn learn(&mut self, index: u64, visits: i128) {
        let reached = (visits - 1) * self.slots + i128::from(index) + 1;
        if reached > self.position {
            (self.position, self.leader) = (reached, index);
        }
    }

    /// How often a slot has to have been visited.
    fn visits(&self, index: u64) -> i128 {
        (self.position - i128::from(index) + self.slots - 1).div_euclid(self.slots)
    }

    fn check(&mut self, index: u64, visits: i128, offset: u64, look: &mut Inspection<'_>) {
        let (needed, leader, noun) = (self.visits(index), self.leader, self.noun);
        if visits < needed && !self.told {
            self.told = true;
            let behind = needed - visits;
            look.damage(
                offset,
                format_args!("slot {index} is {behind} turns behind for its {noun}, who have been at slot {leader}"),
            );
        }
    }
}

fn many(placed: &Placed, look: &mut Inspection<'_>) {
    let (control, capacity) = (placed.control(), placed.geometry.shape.capacity);
    let (shift, mask) = (capacity.trailing_zeros(), capacity - 1);
    // Before the slots: pairs with the hints' release stores, so that what is seen of the slots is at least as far.
    let (tail, head) = (control.tail.load(Ordering::Acquire), control.head.load(Ordering::Acquire));
    let base = tail >> shift;
    let at = |index: u64| (placed.geometry.slots + index as usize * placed.geometry.stride) as u64;
    let visits = |word: u64| {
        let turn = i128::from(mpmc::ahead(word, base));
        (turn + i128::from(mpmc::phase(word) != EMPTY), turn + i128::from(mpmc::phase(word) == READING))
    };
    let (mut producers, mut consumers) = (Side::new("producers", capacity), Side::new("consumers", capacity));
    for index in 0..capacity {
        let word = placed.word(index).load(Ordering::Acquire);
        let (produced, consumed) = visits(word);
        if slot(index, word, at(index), placed, look) {
            producers.learn(index, produced);
            consumers.learn(index, consumed);
        }
    }
    let counted_from_base = |hint: u64| {
        // The turns of slots have 45 bits; so do those of hints, for comparing.
        let turns = i128::from(mpmc::ahead((hint >> shift) << mpmc::TURN_SHIFT, base));
        turns * i128::from(capacity) + i128::from(hint & mask)
    };
    for (side, hint, offset) in [(&producers, tail, TAIL), (&consumers, head, HEAD)] {
        let ahead = counted_from_base(hint) - side.position;
        if ahead > 0 && side.position != NOWHERE {
            look.damage(
                offset,
                format_args!("the hint where its {} are is {hint}, {ahead} ahead of the slots", side.noun),
            );
        }
    }
    for index in 0..capacity {
        let word = placed.word(index).load(Ordering::Acquire);
        if !is_state(word) {
            continue;
        }
        let (produced, consumed) = visits(word);
        producers.check(index, produced, at(index), look);
        consumers.check(index, consumed, at(index), look);
        producers.learn(index, produced);
        consumers.learn(index, consumed);
    }
    // A hint may lag by any number of turns, if who stores it is slow; but it leads to the place. Very large queues are gone through in
    // several calls.
    if look.is_at_rest() && look.is_clean() && capacity < 1 << 22 {
        let (enqueued, dequeued) = Mpmc::new(*placed).positions();
        let begin = base << shift;
        let reached = |position: u64| i128::from(position.wrapping_sub(begin).cast_signed());
        if reached(enqueued) != producers.position {
            look.damage(
                TAIL,
                format_args!("producers who begin at the hint {tail} come to {enqueued}, and no further"),
            );
        }
        // Consumers go on over void slots.
        if !(consumers.position..=producers.position).contains(&reached(dequeued)) {
            look.damage(
                HEAD,
                format_args!("consumers who begin at the hint {head} come to {dequeued}, and no further"),
            );
        }
    }
}

/// Whether there is such a word, whoever its owner is.
fn is_state(word: u64) -> bool {
    match mpmc::phase(word) {
        EMPTY | FULL | VOID => mpmc::owner(word) == 0,
        phase => matches!(phase, WRITING | READING),
    }
}

/// Looks at a slot's own word; false when it says nothing.
fn slot(index: u64, word: u64, offset: u64, placed: &Placed, look: &mut Inspection<'_>) -> bool {
    if !is_state(word) {
        look.damage(offset, format_args!("slot {index} has the state {word:#x}, which there is not"));
        return false;
    }
    let owner = mpmc::owner(word);
    let doing = match mpmc::phase(word) {
        WRITING => "written",
        READING => "read",
        _ => return true,
    };
    let still = || placed.word(index).load(Ordering::Acquire) == word;
    look.owner(offset, owner, false, format_args!("slot {index} is being {doing} by"), still);
    if look.is_at_rest() && look.is_living(owner) {
        look.leftover(offset, format_args!("slot {index} is being {doing} by participant {owner}, who lives"));
    }
    true
}

fn single(placed: &Placed, look: &mut Inspection<'_>) {
    let Control { tail, head, exact, .. } = placed.control();
    // Each is behind what is loaded after it: the consumer stores its position before it tells it, and shows one element more at most.
    let told = head.load(Ordering::Acquire);
    let taken = exact.taken.load(Ordering::Acquire);
    let position = exact.position.load(Ordering::Acquire);
    let hint = tail.load(Ordering::Acquire);
    for (value, offset) in [(told, HEAD), (taken, TAKEN), (position, EXACT), (hint, TAIL)] {
        if value >= FAR {
            return look.damage(offset, format_args!("a position is {value}, which nobody can have come to"));
        }
    }
    if told > position {
        look.damage(HEAD, format_args!("the consumer told that it is at {told}, and is at {position}"));
    }
    if taken > position + 1 {
        look.damage(TAKEN, format_args!("the consumer is at {position}, and was shown what is before {taken}"));
    }
    let (capacity, lines, per_line) =
        (placed.geometry.shape.capacity, placed.geometry.lines, placed.geometry.per_line as u64);
    let at = |index: u64| (placed.geometry.slots + index as usize * placed.geometry.stride) as u64;
    // The position behind the last element of a line; 0 for one that was never written. None for what no line can say.
    let reached = |index: u64| {
        let word = placed.word(index).load(Ordering::Acquire);
        let (line, count) = (word >> COUNT_BITS, word & COUNT_MASK);
        let sound = line < FAR && line % lines == index && (1..=per_line).contains(&count);
        if word == 0 {
            Ok(0)
        } else if sound {
            Ok(line * per_line + count)
        } else {
            Err(word)
        }
    };
    let mut published = 0;
    for index in 0..lines {
        match reached(index) {
            Ok(position) => published = published.max(position),
            Err(word) => {
                look.damage(
                    at(index),
                    format_args!("line {index} of {lines} has the word {word:#x}, which it cannot have"),
                );
            }
        }
    }
    for (value, offset, who) in [(position, EXACT, "the consumer is"), (hint, TAIL, "the producer was")] {
        if value > published {
            look.damage(offset, format_args!("{who} at {value}, and {published} elements were ever published"));
        }
    }
    for index in 0..lines {
        let Ok(found) = reached(index) else { continue };
        // The last line that lies here and of which something was published.
        let newest = published.div_ceil(per_line).saturating_sub(1);
        let line = newest.checked_sub((newest % lines + lines - index) % lines).filter(|_| published > 0);
        let needed = line.map_or(0, |line| ((line + 1) * per_line).min(published));
        if found < needed {
            look.damage(
                at(index),
                format_args!("line {index} ends at element {found}, not {needed}, and {published} were published"),
            );
        }
        published = published.max(found);
    }
    // Loaded last: the producer was never further ahead of it than this.
    let (position, hint) = (exact.position.load(Ordering::Acquire), tail.load(Ordering::Acquire));
    if published > position.saturating_add(capacity) {
        look.damage(
            EXACT,
            format_args!(
                "the consumer is at {position} and {published} were published, more than its capacity {capacity}"
            ),
        );
    }
    // A successor looks for what was published from here on, and no further than that.
    if published > hint.saturating_add(capacity) {
        look.damage(TAIL, format_args!("the producer was at {hint}, more than {capacity} behind {published}"));
    }
    if look.is_at_rest() && taken > position {
        look.leftover(TAKEN, format_args!("element {position} was shown to somebody who has not released it"));
    }
}
