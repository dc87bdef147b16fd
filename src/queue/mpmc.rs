//! The many-to-many queue: every slot knows who is in it.
//!
//! # Algorithm
//!
//! Each slot has one word: `turn << 19 | phase << 16 | owner`. Position `p` is turn `p / capacity` of slot
//! `p % capacity`. A slot goes through its phases once a turn:
//!
//! ```text
//! EMPTY(t) ──CAS──▶ WRITING(t, me) ──store──▶ FULL(t) ──CAS──▶ READING(t, me) ──store──▶ EMPTY(t + 1)
//!                        │ abort, or the owner died                  │ the owner died
//!                        ▼                                           ▼
//!                     VOID(t) ──CAS by whoever needs it──▶ EMPTY(t + 1)
//! ```
//!
//! The slots are authoritative. `tail` and `head` only say where to begin looking and are moved forward by plain stores, so
//! an operation costs one compare-and-swap, and yet the owner of a slot is always known. Positions are claimed in order:
//! a producer claims `p` only having found every position before it claimed, and so do consumers. At position `p` =
//! (t, i), with slot i at turn s:
//!
//! | | producer | consumer |
//! |---|---|---|
//! | s = t | EMPTY: claim. Else: p + 1 | FULL: claim. READING: p + 1. VOID: make EMPTY(t+1), p + 1. EMPTY, WRITING: nothing there |
//! | s > t | EMPTY: after (s−1, i). Else: after (s, i) | READING: after (s, i). Else: after (s−1, i) |
//! | s = t−1 | VOID: make EMPTY(t), look again. Else: full | nothing there |
//! | s < t−1 | impossible: corrupt | impossible: corrupt |
//!
//! # Ordering
//!
//! - `publish`: the release store of FULL; pairs with the acquire half of the CAS in `claim_full`. The consumer sees the element.
//! - `vacate`: the release store of EMPTY(t+1); pairs with the acquire half of the CAS in `claim_empty`. The next producer overwrites
//!   only what has been read.
//! - `claim`: the release half of both; pairs with the acquire loads that find WRITING or READING and jump ahead because of it.
//!   Who jumps sees the neighbours at least as far along as the claimer did.
//! - `hint`: release stores, acquire loads. Who reads a hint sees the slots at least as far along as its writer did; a
//!   relaxed hint could be ahead of the slot it points at, and a producer would see a full queue where there is none.
//!
//! # Progress and death
//!
//! Lock-free, except that a consumer waits for the producer of the very element that is next, and a producer in a full
//! queue for the consumer of the oldest. Both are reported ([`Attempt::Behind`]) with the owner; the caller asks the kernel
//! whether it is alive, and if not, [`reclaim`] turns WRITING(dead) into VOID and READING(dead) into EMPTY of the next
//! turn. Each change is a CAS from a word that only the dead could have changed, so it can be done by several at once
//! and beside the living. An element is lost only if its consumer died holding it.
//!
//! Turns have 45 bits and are compared modulo 2^45.
//!
//! Source: the slot turns are Vyukov's bounded MPMC queue (2010); owners, hints and recovery are our own.

use super::layout::{Control, Placed};
use super::{Attempt, Claimed};
use crate::error::{Result, fail};
use crate::shared::{Width, load_element, store_element};
use crate::sync::{AtomicU64, CLAIM, Ordering, PUBLISH};

const PHASE_SHIFT: u32 = 16;
pub(super) const TURN_SHIFT: u32 = 19;
const OWNER_MASK: u64 = (1 << PHASE_SHIFT) - 1;
const PHASE_MASK: u64 = 0b111 << PHASE_SHIFT;

pub(super) const EMPTY: u64 = 0 << PHASE_SHIFT;
pub(super) const WRITING: u64 = 1 << PHASE_SHIFT;
pub(super) const FULL: u64 = 2 << PHASE_SHIFT;
pub(super) const READING: u64 = 3 << PHASE_SHIFT;
pub(super) const VOID: u64 = 4 << PHASE_SHIFT;

/// A slot's word at a turn. Bits of the turn beyond 45 fall off, which is how it wraps.
#[inline(always)]
fn word(turn: u64, phase: u64, owner: u32) -> u64 {
    turn << TURN_SHIFT | phase | u64::from(owner)
}

#[inline(always)]
pub(super) fn phase(word: u64) -> u64 {
    word & PHASE_MASK
}

#[inline(always)]
pub(super) fn owner(word: u64) -> u32 {
    (word & OWNER_MASK) as u32
}

/// How many turns `word` is ahead of `turn`.
#[inline(always)]
pub(super) fn ahead(word: u64, turn: u64) -> i64 {
    (word & !(OWNER_MASK | PHASE_MASK)).wrapping_sub(turn << TURN_SHIFT) as i64 >> TURN_SHIFT
}

/// The word after `word`'s turn is over: EMPTY of the next.
#[inline(always)]
fn next_turn(word: u64) -> u64 {
    (word & !(OWNER_MASK | PHASE_MASK)).wrapping_add(1 << TURN_SHIFT) | EMPTY
}

/// What the table in the module's documentation says to do at a slot.
enum Step {
    /// The slot is next: claim it.
    Claim,
    /// Look at this position instead.
    To(u64),
    /// The slot is void: make it EMPTY of the next turn, and look at it again.
    Renew,
    /// The slot is void: make it EMPTY of the next turn, and look at the next position.
    RenewAndPass,
    /// Full, or nothing there.
    Nothing,
    /// As `Nothing`, until this owner is done.
    Behind(u32),
    /// No rule leads here: so many turns off.
    Impossible(i64),
}

/// The algorithm over one queue's bytes. Every operation is told who `me` is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mpmc {
    placed: Placed,
    mask: u64,
    shift: u32,
    /// How many steps an operation takes before it says full or empty: a bound for a queue somebody scribbles over.
    steps: u64,
}

impl Mpmc {
    pub(crate) fn new(placed: Placed) -> Self {
        let capacity = placed.geometry.shape.capacity;
        Self { placed, mask: capacity - 1, shift: capacity.trailing_zeros(), steps: (2 * capacity).min(1 << 24) + 1024 }
    }

    fn control(&self) -> &Control {
        self.placed.control()
    }

    #[inline(always)]
    fn slot(&self, position: u64) -> &AtomicU64 {
        self.placed.word(position & self.mask)
    }

    #[inline(always)]
    fn payload(&self, position: u64) -> *mut u8 {
        self.placed.element(position & self.mask, 0)
    }

    /// `position`, moved on by so many turns, and one further.
    #[inline(always)]
    fn after(&self, position: u64, turns: i64) -> u64 {
        position.wrapping_add((turns as u64) << self.shift).wrapping_add(1)
    }

    /// What a producer does at `position`, where it found the word `found`.
    #[inline(always)]
    fn producer_step(&self, position: u64, found: u64) -> Step {
        let turn = position >> self.shift;
        if found == word(turn, EMPTY, 0) {
            return Step::Claim;
        }
        match ahead(found, turn) {
            0 => Step::To(position.wrapping_add(1)),
            turns @ 1.. => Step::To(self.after(position, turns - i64::from(phase(found) == EMPTY))),
            -1 => match phase(found) {
                READING => Step::Behind(owner(found)),
                VOID => Step::Renew,
                _ => Step::Nothing,
            },
            turns => Step::Impossible(turns),
        }
    }

    /// What a consumer does at `position`, where it found the word `found`.
    #[inline(always)]
    fn consumer_step(&self, position: u64, found: u64) -> Step {
        let turn = position >> self.shift;
        if found == word(turn, FULL, 0) {
            return Step::Claim;
        }
        match ahead(found, turn) {
            0 => match phase(found) {
                READING => Step::To(position.wrapping_add(1)),
                VOID => Step::RenewAndPass,
                WRITING => Step::Behind(owner(found)),
                EMPTY => Step::Nothing,
                _ => Step::Impossible(0),
            },
            turns @ 1.. => Step::To(self.after(position, turns - i64::from(phase(found) != READING))),
            -1 => Step::Nothing,
            turns => Step::Impossible(turns),
        }
    }

    /// Claims the next EMPTY slot: EMPTY(t) → WRITING(t, me).
    #[inline(always)]
    fn claim_empty(&self, me: u32) -> Result<Attempt<u64>> {
        let hint = &self.control().tail;
        let mut position = hint.load(Ordering::Acquire);
        for _ in 0..self.steps {
            let slot = self.slot(position);
            let found = slot.load(Ordering::Acquire);
            match self.producer_step(position, found) {
                Step::Claim => {
                    let mine = word(position >> self.shift, WRITING, me);
                    if slot.compare_exchange(found, mine, CLAIM, Ordering::Relaxed).is_ok() {
                        advance(hint, position.wrapping_add(1));
                        return Ok(Attempt::Done(position));
                    }
                }
                Step::Renew | Step::RenewAndPass => _ = self.renew(slot, found),
                Step::To(next) => position = next,
                Step::Nothing => return Ok(Attempt::Not),
                Step::Behind(owner) => return Ok(Attempt::Behind(owner)),
                Step::Impossible(turns) => return Err(self.corrupt(position, found, turns)),
            }
        }
        // So that the next to look begins where we stopped. Every position before it is claimed.
        advance(hint, position);
        Ok(Attempt::Not)
    }

    /// Claims the next FULL slot: FULL(t) → READING(t, me).
    #[inline(always)]
    fn claim_full(&self, me: u32) -> Result<Attempt<u64>> {
        let hint = &self.control().head;
        let mut position = hint.load(Ordering::Acquire);
        for _ in 0..self.steps {
            let slot = self.slot(position);
            let found = slot.load(Ordering::Acquire);
            match self.consumer_step(position, found) {
                Step::Claim => {
                    let mine = word(position >> self.shift, READING, me);
                    if slot.compare_exchange(found, mine, CLAIM, Ordering::Relaxed).is_ok() {
                        advance(hint, position.wrapping_add(1));
                        return Ok(Attempt::Done(position));
                    }
                }
                Step::Renew | Step::RenewAndPass => {
                    if self.renew(slot, found) {
                        // Room was made without anything being dequeued; seldom enough for the full fence.
                        self.control().events.space.notify_slow();
                    }
                    position = position.wrapping_add(1);
                }
                Step::To(next) => position = next,
                Step::Nothing => return Ok(Attempt::Not),
                Step::Behind(owner) => return Ok(Attempt::Behind(owner)),
                Step::Impossible(turns) => return Err(self.corrupt(position, found, turns)),
            }
        }
        // So that the next to look begins where we stopped. Every position before it is claimed.
        advance(hint, position);
        Ok(Attempt::Not)
    }

    /// Makes a void slot EMPTY of the next turn. Consumers that come to it later find it ahead, as if it had been read.
    #[cold]
    fn renew(&self, slot: &AtomicU64, found: u64) -> bool {
        slot.compare_exchange(found, next_turn(found), Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    #[cold]
    fn corrupt(&self, position: u64, found: u64, turns: i64) -> crate::Error {
        fail!(Corrupt, "queue slot {} has the state {found:#x}, {turns} turns off", position & self.mask)
    }

    /// Enqueues a copy of `element`.
    ///
    /// # Safety
    /// `element` is readable for an element of `width`, which is the queue's element size.
    #[inline(always)]
    pub(crate) unsafe fn enqueue<W: Width>(&self, me: u32, width: W, element: *const u8) -> Result<Attempt<()>> {
        let position = match self.claim_empty(me)? {
            Attempt::Done(position) => position,
            Attempt::Not => return Ok(Attempt::Not),
            Attempt::Behind(owner) => return Ok(Attempt::Behind(owner)),
        };
        // SAFETY: the slot is ours until it is published, and as wide as an element.
        unsafe { store_element(width, element, self.payload(position)) };
        self.publish(position);
        Ok(Attempt::Done(()))
    }

    /// As [`enqueue`](Self::enqueue), if the slot that the hint points at is next; false, with nothing done, if that is not so.
    ///
    /// # Safety
    /// As [`enqueue`](Self::enqueue).
    #[inline(always)]
    pub(crate) unsafe fn enqueue_at_once<W: Width>(&self, me: u32, width: W, element: *const u8) -> bool {
        let hint = &self.control().tail;
        let position = hint.load(Ordering::Acquire);
        let (slot, turn) = (self.slot(position), position >> self.shift);
        // Not looked at before: that would fetch its line twice, once to look and once to write.
        let next =
            slot.compare_exchange(word(turn, EMPTY, 0), word(turn, WRITING, me), CLAIM, Ordering::Relaxed).is_ok();
        if next {
            advance(hint, position.wrapping_add(1));
            // SAFETY: the slot is ours until it is published, and as wide as an element.
            unsafe { store_element(width, element, self.payload(position)) };
            self.publish(position);
        }
        next
    }

    /// As [`dequeue`](Self::dequeue), if the slot that the hint points at is next; false, with nothing done, if that is not so.
    ///
    /// # Safety
    /// As [`dequeue`](Self::dequeue).
    #[inline(always)]
    pub(crate) unsafe fn dequeue_at_once<W: Width>(&self, me: u32, width: W, element: *mut u8) -> bool {
        let hint = &self.control().head;
        let position = hint.load(Ordering::Acquire);
        let (slot, turn) = (self.slot(position), position >> self.shift);
        let full = word(turn, FULL, 0);
        // Looked at before: consumers wait here, and would keep the line from the producer.
        let next = slot.load(Ordering::Relaxed) == full
            && slot.compare_exchange(full, word(turn, READING, me), CLAIM, Ordering::Relaxed).is_ok();
        if next {
            advance(hint, position.wrapping_add(1));
            // SAFETY: the slot is ours until it is vacated, and as wide as an element.
            unsafe { load_element(width, self.payload(position), element) };
            self.vacate(position);
        }
        next
    }

    /// Dequeues into `element`.
    ///
    /// # Safety
    /// `element` is writable for an element of `width`, which is the queue's element size.
    #[inline(always)]
    pub(crate) unsafe fn dequeue<W: Width>(&self, me: u32, width: W, element: *mut u8) -> Result<Attempt<()>> {
        let position = match self.claim_full(me)? {
            Attempt::Done(position) => position,
            Attempt::Not => return Ok(Attempt::Not),
            Attempt::Behind(owner) => return Ok(Attempt::Behind(owner)),
        };
        // SAFETY: the slot is ours until it is vacated, and as wide as an element.
        unsafe { load_element(width, self.payload(position), element) };
        self.vacate(position);
        Ok(Attempt::Done(()))
    }

    #[inline(always)]
    fn publish(&self, position: u64) {
        self.slot(position).store(word(position >> self.shift, FULL, 0), PUBLISH);
    }

    #[inline(always)]
    fn vacate(&self, position: u64) {
        self.slot(position).store(word((position >> self.shift).wrapping_add(1), EMPTY, 0), Ordering::Release);
    }

    /// Claims a slot to be filled in place.
    pub(crate) fn claim(&self, me: u32) -> Result<Attempt<Claimed>> {
        Ok(self.claim_empty(me)?.map(|position| Claimed { position, data: self.payload(position) }))
    }

    /// Claims an element to be read in place.
    pub(crate) fn peek(&self, me: u32) -> Result<Attempt<Claimed>> {
        Ok(self.claim_full(me)?.map(|position| Claimed { position, data: self.payload(position) }))
    }

    /// Whether `me` holds the slot of `position` in this phase. Only its owner, or who buries it, changes such a slot.
    fn holds(&self, me: u32, position: u64, phase: u64) -> bool {
        self.slot(position).load(Ordering::Relaxed) == word(position >> self.shift, phase, me)
    }

    /// Publishes a claimed slot. False when it is not claimed by `me`.
    pub(crate) fn commit(&self, me: u32, position: u64) -> bool {
        let mine = self.holds(me, position, WRITING);
        if mine {
            self.publish(position);
        }
        mine
    }

    /// Gives a claimed slot up; consumers step over it. False when it is not claimed by `me`.
    pub(crate) fn abort(&self, me: u32, position: u64) -> bool {
        let mine = self.holds(me, position, WRITING);
        if mine {
            self.slot(position).store(word(position >> self.shift, VOID, 0), Ordering::Release);
        }
        mine
    }

    /// Gives the slot of a peeked element back. False when it is not held by `me`.
    pub(crate) fn release(&self, me: u32, position: u64) -> bool {
        let mine = self.holds(me, position, READING);
        if mine {
            self.vacate(position);
        }
        mine
    }

    /// Whether a participant is writing or reading any slot.
    pub(crate) fn is_owner(&self, participant: u32) -> bool {
        (0..=self.mask).any(|index| {
            let found = self.slot(index).load(Ordering::Acquire);
            owner(found) == participant && matches!(phase(found), WRITING | READING)
        })
    }

    /// Gives back every slot that `dead` holds. True when there was one.
    pub(crate) fn reclaim(&self, dead: u32) -> bool {
        let mut any = false;
        for index in 0..=self.mask {
            let slot = self.slot(index);
            let found = slot.load(Ordering::Acquire);
            if owner(found) != dead {
                continue;
            }
            let freed = match phase(found) {
                WRITING => found & !(OWNER_MASK | PHASE_MASK) | VOID,
                READING => next_turn(found),
                _ => continue,
            };
            any |= slot.compare_exchange(found, freed, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        }
        any
    }

    /// How many positions were ever claimed by producers, and by consumers or stepped over. Exact when nobody works.
    pub(crate) fn positions(&self) -> (u64, u64) {
        let head = self.frontier(&self.control().head, Self::consumer_step);
        (self.frontier(&self.control().tail, Self::producer_step), head)
    }

    /// Where an operation beginning at `hint` would end up.
    fn frontier(&self, hint: &AtomicU64, step: fn(&Self, u64, u64) -> Step) -> u64 {
        let mut position = hint.load(Ordering::Acquire);
        for _ in 0..self.steps {
            position = match step(self, position, self.slot(position).load(Ordering::Acquire)) {
                Step::To(next) => next,
                Step::RenewAndPass => position.wrapping_add(1),
                _ => break,
            };
        }
        position
    }

    /// Makes a zeroed queue begin at `position`: for tests near the wrap.
    #[cfg(test)]
    pub(crate) fn start_at(&self, position: u64) {
        self.control().tail.store(position, Ordering::Relaxed);
        self.control().head.store(position, Ordering::Relaxed);
        for offset in 0..=self.mask {
            let position = position.wrapping_add(offset);
            self.slot(position).store(word(position >> self.shift, EMPTY, 0), Ordering::Relaxed);
        }
    }
}

/// Moves a hint forward. A store that comes late may move it back a little; a hint may be behind, never ahead.
#[inline(always)]
fn advance(hint: &AtomicU64, to: u64) {
    if to.wrapping_sub(hint.load(Ordering::Relaxed)) as i64 > 0 {
        // Release, `hint`: who starts from here must see the slots that led here.
        hint.store(to, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::queue::layout::{Geometry, Mode, Shape};
    use crate::segment::region::heap::HeapRegion;
    use crate::shared::Fixed;

    const WORD: Fixed<u64> = Fixed::WIDTH;

    struct TestQueue {
        queue: Mpmc,
        _heap: HeapRegion,
    }

    impl TestQueue {
        fn new(capacity: u64) -> Self {
            let geometry = Geometry::new(Shape { mode: Mode::Mpmc, capacity, elem_size: 8, elem_align: 8 }).unwrap();
            let heap = HeapRegion::new(geometry.bytes as usize);
            Self { queue: Mpmc::new(geometry.place(heap.region()).unwrap()), _heap: heap }
        }

        fn push(&self, me: u32, value: u64) -> Attempt<()> {
            // SAFETY: a live u64.
            unsafe { self.queue.enqueue(me, WORD, (&raw const value).cast()) }.unwrap()
        }

        fn pop(&self, me: u32) -> Attempt<u64> {
            let mut value = 0_u64;
            // SAFETY: a live u64.
            unsafe { self.queue.dequeue(me, WORD, (&raw mut value).cast()) }.unwrap().map(|()| value)
        }
    }

    #[test]
    fn elements_come_out_in_order_across_the_wrap_of_turns() {
        for capacity in [1, 2, 8] {
            let test = TestQueue::new(capacity);
            // The last positions before turns wrap at 2^45, and those before positions wrap at 2^64.
            for start in [0, (1_u64 << 45).wrapping_mul(capacity).wrapping_sub(3), u64::MAX - 2] {
                test.queue.start_at(start / capacity * capacity);
                for value in 0..50 {
                    assert_eq!(test.push(1, value), Attempt::Done(()), "capacity {capacity} from {start}");
                    if capacity > 1 {
                        assert_eq!(test.push(1, value + 1000), Attempt::Done(()));
                        assert_eq!(test.pop(2), Attempt::Done(value));
                        assert_eq!(test.pop(2), Attempt::Done(value + 1000));
                    } else {
                        assert_eq!(test.push(1, 0), Attempt::Not);
                        assert_eq!(test.pop(2), Attempt::Done(value));
                    }
                    assert_eq!(test.pop(2), Attempt::Not);
                }
            }
        }
    }

    #[test]
    fn full_holds_exactly_the_capacity() {
        let test = TestQueue::new(8);
        for value in 0..8 {
            assert_eq!(test.push(1, value), Attempt::Done(()));
        }
        assert_eq!(test.push(1, 8), Attempt::Not);
        assert_eq!(test.pop(1), Attempt::Done(0));
        assert_eq!(test.push(1, 8), Attempt::Done(()));
        assert_eq!(test.push(1, 9), Attempt::Not);
    }

    #[test]
    fn consumers_wait_for_a_claimed_slot_and_step_over_a_void_one() {
        let test = TestQueue::new(4);
        let Attempt::Done(claimed) = test.queue.claim(7).unwrap() else { panic!() };
        assert_eq!(test.push(1, 11), Attempt::Done(()));
        assert_eq!(test.pop(2), Attempt::Behind(7));
        assert!(!test.queue.reclaim(6));
        assert!(test.queue.reclaim(7));
        assert!(!test.queue.reclaim(7), "can be done twice");
        assert_eq!(test.pop(2), Attempt::Done(11));
        assert!(!test.queue.commit(7, claimed.position), "a buried claim cannot be committed");
    }

    #[test]
    fn producers_wait_for_the_oldest_reader_and_go_on_after_its_death() {
        let test = TestQueue::new(2);
        test.push(1, 1);
        test.push(1, 2);
        let Attempt::Done(peeked) = test.queue.peek(9).unwrap() else { panic!() };
        // SAFETY: peeked.
        assert_eq!(unsafe { peeked.data.cast::<u64>().read() }, 1);
        assert_eq!(test.push(1, 3), Attempt::Behind(9));
        assert!(test.queue.reclaim(9));
        assert_eq!(test.push(1, 3), Attempt::Done(()));
        assert_eq!(test.pop(2), Attempt::Done(2));
        assert_eq!(test.pop(2), Attempt::Done(3));
    }

    #[test]
    fn aborted_claims_are_never_seen() {
        let test = TestQueue::new(2);
        for round in 0..10 {
            let Attempt::Done(claimed) = test.queue.claim(1).unwrap() else { panic!() };
            assert!(!test.queue.commit(2, claimed.position), "not theirs");
            assert!(test.queue.abort(1, claimed.position));
            assert!(!test.queue.abort(1, claimed.position));
            assert_eq!(test.push(1, round), Attempt::Done(()));
            assert_eq!(test.pop(1), Attempt::Done(round));
        }
    }

    #[test]
    fn a_hint_far_behind_is_caught_up_with() {
        let test = TestQueue::new(1 << 21);
        for value in 0..(1 << 21) + 5 {
            assert_eq!(test.push(1, value), Attempt::Done(()));
            assert_eq!(test.pop(1), Attempt::Done(value));
        }
        test.push(1, 77);
        test.queue.control().head.store(101, Ordering::Relaxed);
        assert_eq!(test.pop(1), Attempt::Done(77));
    }

    #[test]
    fn aborted_claims_take_no_room() {
        let test = TestQueue::new(4);
        for round in 0..20 {
            let Attempt::Done(claimed) = test.queue.claim(1).unwrap() else { panic!("full in round {round}") };
            assert!(test.queue.abort(1, claimed.position));
        }
        assert_eq!(test.push(1, 5), Attempt::Done(()));
        assert_eq!(test.pop(1), Attempt::Done(5));
        assert_eq!(test.pop(1), Attempt::Not);
    }

    #[test]
    fn void_slots_are_renewed_under_older_elements() {
        let test = TestQueue::new(2);
        assert_eq!(test.push(1, 1), Attempt::Done(()));
        let Attempt::Done(claimed) = test.queue.claim(1).unwrap() else { panic!() };
        assert!(test.queue.abort(1, claimed.position));
        assert_eq!(test.push(1, 2), Attempt::Not, "the oldest element is next to be overwritten");
        assert_eq!(test.pop(1), Attempt::Done(1));
        assert_eq!(test.push(1, 2), Attempt::Done(()));
        assert_eq!(test.push(1, 3), Attempt::Done(()));
        assert_eq!(test.pop(1), Attempt::Done(2));
        assert_eq!(test.pop(1), Attempt::Done(3));
    }

    #[test]
    fn stale_hints_cost_steps_and_nothing_else() {
        let test = TestQueue::new(4);
        for value in 0..103 {
            test.push(1, value);
            // As left by a process that was preempted before its late store.
            test.queue.control().tail.store(value / 2, Ordering::Relaxed);
            assert_eq!(test.pop(1), Attempt::Done(value));
            test.queue.control().head.store(value / 3, Ordering::Relaxed);
        }
        assert_eq!(test.pop(1), Attempt::Not);
    }

    #[test]
    fn scribbled_states_and_hints_end_in_an_outcome() {
        let test = TestQueue::new(4);
        let mut seed = 0x1234_5678_9abc_def0_u64;
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let mut value = 0_u64;
        for _ in 0..20_000 {
            match random() % 6 {
                0 => test.queue.control().tail.store(random(), Ordering::Relaxed),
                1 => test.queue.control().head.store(random(), Ordering::Relaxed),
                2 => test.queue.slot(random()).store(random(), Ordering::Relaxed),
                // SAFETY: a live u64.
                3 => drop(unsafe { test.queue.enqueue(1, WORD, (&raw const value).cast()) }),
                // SAFETY: a live u64.
                4 => drop(unsafe { test.queue.dequeue(1, WORD, (&raw mut value).cast()) }),
                _ => drop(test.queue.reclaim(random() as u32 & 3)),
            }
        }
    }

    #[test]
    fn a_hint_ahead_of_its_slots_is_corrupt() {
        let test = TestQueue::new(4);
        test.queue.control().tail.store(4 * 100, Ordering::Relaxed);
        let value = 1_u64;
        // SAFETY: a live u64.
        let error = unsafe { test.queue.enqueue(1, WORD, (&raw const value).cast()) }.unwrap_err();
        assert_eq!(error.status(), crate::Status::Corrupt);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::queue::layout::Mode;
    use crate::queue::layout::model::ModelQueue;
    use crate::shared::Fixed;
    use crate::sync::explore;
    use loom::sync::Arc;

    const WORD: Fixed<u64> = Fixed::WIDTH;

    struct Model {
        queue: Mpmc,
        _memory: ModelQueue,
    }

    impl Model {
        fn new(capacity: u64) -> Arc<Self> {
            let memory = ModelQueue::new(Mode::Mpmc, capacity, |_| 0);
            Arc::new(Self { queue: Mpmc::new(memory.placed), _memory: memory })
        }

        fn push(&self, me: u32, value: u64) -> bool {
            let element = (&raw const value).cast::<u8>();
            // SAFETY: a live u64.
            let done = unsafe { self.queue.enqueue_at_once(me, WORD, element) };
            // SAFETY: as above.
            done || matches!(unsafe { self.queue.enqueue(me, WORD, element) }.unwrap(), Attempt::Done(()))
        }

        fn pop(&self, me: u32) -> Option<u64> {
            let mut value = 0_u64;
            let element = (&raw mut value).cast::<u8>();
            // SAFETY: a live u64.
            let done = unsafe { self.queue.dequeue_at_once(me, WORD, element) };
            // SAFETY: as above.
            let done = done || matches!(unsafe { self.queue.dequeue(me, WORD, element) }.unwrap(), Attempt::Done(()));
            done.then_some(value)
        }
    }

    /// Pops until `count` elements came, whoever gets them.
    fn drain(model: &Model, me: u32, count: usize) -> Vec<u64> {
        let mut values = Vec::new();
        while values.len() < count {
            match model.pop(me) {
                Some(value) => values.push(value),
                None => loom::thread::yield_now(),
            }
        }
        values
    }

    #[test]
    fn loom_two_producers_one_consumer() {
        explore(|| {
            let model = Model::new(2);
            let producers: Vec<_> = [1_u32, 2]
                .map(|me| {
                    let model = model.clone();
                    loom::thread::spawn(move || assert!(model.push(me, u64::from(me) * 10)))
                })
                .into_iter()
                .collect();
            let mut values = drain(&model, 3, 2);
            values.sort_unstable();
            assert_eq!(values, [10, 20]);
            producers.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }

    #[test]
    fn loom_slots_are_reused_only_after_they_were_read() {
        explore(|| {
            let model = Model::new(1);
            let producer = {
                let model = model.clone();
                loom::thread::spawn(move || {
                    for value in [1, 2] {
                        while !model.push(1, value) {
                            loom::thread::yield_now();
                        }
                    }
                })
            };
            assert_eq!(drain(&model, 2, 2), [1, 2]);
            producer.join().unwrap();
        });
    }

    #[test]
    fn loom_two_consumers_share_what_one_producer_sends() {
        explore(|| {
            let model = Model::new(2);
            let consumers: Vec<_> = [2_u32, 3]
                .map(|me| {
                    let model = model.clone();
                    loom::thread::spawn(move || model.pop(me))
                })
                .into_iter()
                .collect();
            assert!(model.push(1, 10));
            assert!(model.push(1, 20));
            let mut values: Vec<u64> = consumers.into_iter().filter_map(|thread| thread.join().unwrap()).collect();
            while let Some(value) = model.pop(4) {
                values.push(value);
            }
            values.sort_unstable();
            assert_eq!(values, [10, 20]);
        });
    }

    #[test]
    fn loom_void_slots_are_renewed_by_either_side() {
        explore(|| {
            let model = Model::new(1);
            let Attempt::Done(claimed) = model.queue.claim(9).unwrap() else { panic!() };
            assert!(model.queue.abort(9, claimed.position));
            let producer = {
                let model = model.clone();
                loom::thread::spawn(move || assert!(model.push(1, 10)))
            };
            assert_eq!(drain(&model, 2, 1), [10]);
            producer.join().unwrap();
            assert_eq!(model.pop(2), None);
        });
    }

    #[test]
    fn loom_who_jumps_over_a_claim_sees_its_neighbours() {
        explore(|| {
            let model = Model::new(2);
            assert!(model.push(1, 10) && model.push(1, 11));
            assert_eq!(model.pop(1), Some(10));
            assert!(model.push(1, 12));
            let Attempt::Done(held) = model.queue.peek(8).unwrap() else { panic!() };
            assert_eq!(model.pop(1), Some(12));
            // As left by a producer that was preempted before its late store.
            model.queue.control().tail.store(0, Ordering::Release);
            let claimer = {
                let model = model.clone();
                loom::thread::spawn(move || {
                    assert!(model.queue.release(8, held.position));
                    let _ = model.queue.claim(1).unwrap();
                    let _ = model.queue.claim(1).unwrap();
                })
            };
            let jumper = {
                let model = model.clone();
                loom::thread::spawn(move || model.push(2, 77))
            };
            let _ = jumper.join().unwrap();
            claimer.join().unwrap();
        });
    }

    #[test]
    fn loom_dead_producer_is_stepped_over_beside_the_living() {
        explore(|| {
            let model = Model::new(2);
            // Participant 9 claimed and died.
            assert!(matches!(model.queue.claim(9).unwrap(), Attempt::Done(_)));
            let producer = {
                let model = model.clone();
                loom::thread::spawn(move || assert!(model.push(1, 10)))
            };
            let reaper = {
                let model = model.clone();
                loom::thread::spawn(move || model.queue.reclaim(9))
            };
            assert_eq!(drain(&model, 2, 1), [10]);
            producer.join().unwrap();
            let _ = reaper.join().unwrap();
            assert_eq!(model.pop(2), None);
        });
    }
}
