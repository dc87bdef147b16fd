//! Looking whether the bytes of a segment are what its rules allow, without changing any of them.
//!
//! # What may be said while others work
//!
//! A finding is certain, or it is none. So structures say only what holds at every instant, and load words in an order in which the later
//! one can only have come further; each check says why. On top of it, what seems wrong at first is looked at a second time under the
//! segment's lock, and only that counts: then no entry goes, and no participant comes or goes, so an id that a word bears is somebody's
//! or it is not.
//!
//! The lock is taken shared, as read-only attachers do, and nothing is repaired on the way: who looks must not change what is there.
//!
//! # What a hostile peer can do
//!
//! The geometry is this attachment's own. Entries are checked against it before anything in their sections is looked at, and loops are
//! bounded by it; at most [`TOLD`] findings of one structure are told, and the rest counted.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Arguments;

use super::Segment;
use super::attachment::Attachment;
use super::header::{Layout, SECTION_ALIGN};
use super::region::Region;
use super::table::{Entry, Kind, Phase, State};
use crate::error::{Result, fail};
use crate::kinds;
use crate::shared::{End, EventCount, murmur64a};
use crate::sync::{AtomicU64, Ordering, fence};

/// How a segment, or an area of chunks, is verified.
///
/// ```
/// use shmds::VerifyOptions;
/// let options = VerifyOptions::new().at_rest();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct VerifyOptions {
    pub(crate) at_rest: bool,
}

impl VerifyOptions {
    /// What holds at every instant, while others work.
    pub const fn new() -> Self {
        Self { at_rest: false }
    }

    /// Also what holds when nobody works: no call is under way in any process. If somebody does after all, it may find what is not there.
    pub const fn at_rest(mut self) -> Self {
        self.at_rest = true;
        self
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Severity {
    /// Something of somebody who died, or, at rest, something begun and not ended. [Reaping](Segment::reap) gives it back, or the next
    /// who does the same thing completes it.
    Leftover = 1,
    /// No rule leads here: somebody wrote over it.
    Damage = 2,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The name of the structure it is in; empty for the segment itself.
    pub name: String,
    /// What that is; `None` for the segment itself.
    pub kind: Option<Kind>,
    /// Where it is, in bytes from the beginning of the segment, or of the area's file.
    pub offset: u64,
    /// What it is, with names and numbers.
    pub sentence: String,
}

/// What verifying came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many structures were looked at; of an area, how many chunks.
    pub checked: u64,
    /// How many were not, because a later version of the library made them.
    pub unknown: u64,
    /// How many findings are damage.
    pub damage: u64,
    /// How many findings are leftovers.
    pub leftovers: u64,
    /// The first damage.
    pub first: Option<String>,
}

impl Verified {
    /// An error if there is damage; its sentence is that of the first.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn sound(&self) -> Result<()> {
        self.first.as_ref().map_or(Ok(()), |first| Err(fail!(Corrupt, "{first}")))
    }

    pub(crate) fn take(&mut self, found: Findings, name: &str, kind: Option<Kind>, visit: &mut impl FnMut(&Finding)) {
        self.damage += found.damage;
        self.leftovers += found.leftovers;
        for (severity, offset, sentence) in found.told {
            if severity == Severity::Damage && self.first.is_none() {
                self.first = Some(sentence.clone());
            }
            visit(&Finding { severity, name: name.to_owned(), kind, offset, sentence });
        }
    }
}

/// How many findings of one structure are told.
const TOLD: u64 = 64;

/// What a look at one thing finds.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    told: Vec<(Severity, u64, String)>,
    damage: u64,
    leftovers: u64,
}

impl Findings {
    fn are_none(&self) -> bool {
        self.told.is_empty()
    }

    pub(crate) fn damage(&mut self, offset: u64, what: Arguments<'_>) {
        self.damage += 1;
        // The first damage is told even when there are as many leftovers.
        if self.damage + self.leftovers <= TOLD || self.damage == 1 {
            self.told.push((Severity::Damage, offset, what.to_string()));
        }
    }

    pub(crate) fn leftover(&mut self, offset: u64, what: Arguments<'_>) {
        self.leftovers += 1;
        if self.damage + self.leftovers <= TOLD {
            self.told.push((Severity::Leftover, offset, what.to_string()));
        }
    }
}

/// Whom an id is.
#[derive(Clone, Copy, PartialEq)]
enum Life {
    /// No participant can have it.
    Impossible,
    /// Nobody has it.
    Nobody,
    /// Somebody who died and was not reaped yet.
    Dead,
    Living,
}

/// Who is there, found out at most once.
struct Census<'a> {
    attachment: &'a Attachment,
    known: RefCell<HashMap<u32, Life>>,
}

impl<'a> Census<'a> {
    fn new(attachment: &'a Attachment) -> Self {
        Self { attachment, known: RefCell::default() }
    }

    fn life(&self, id: u32) -> Life {
        let attachment = self.attachment;
        if id == 0 || id > attachment.layout().max_participants {
            return Life::Impossible;
        }
        *self.known.borrow_mut().entry(id).or_insert_with(|| {
            if !attachment.record(id).is_taken() {
                Life::Nobody
            } else if attachment.lives(id) {
                Life::Living
            } else {
                Life::Dead
            }
        })
    }

    fn pid(&self, id: u32) -> u32 {
        self.attachment.record(id).pid()
    }
}

/// A look at one structure.
pub(crate) struct Inspection<'a> {
    at_rest: bool,
    census: Census<'a>,
    number: u32,
    entry: &'a Entry,
    found: Findings,
}

impl Inspection<'_> {
    /// Whether nobody works now.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.at_rest
    }

    /// Whether nothing is wrong so far.
    pub(crate) fn is_clean(&self) -> bool {
        self.found.damage == 0
    }

    /// Something that no rule allows, `offset` bytes into the section. The sentence goes on after the structure's name.
    pub(crate) fn damage(&mut self, offset: u64, what: Arguments<'_>) {
        let Entry { kind, name, offset: section, .. } = self.entry;
        self.found.damage(section + offset, format_args!("{} '{name}': {what}", kind.noun()));
    }

    /// As [`damage`](Self::damage), of something that will be given back or completed.
    pub(crate) fn leftover(&mut self, offset: u64, what: Arguments<'_>) {
        let Entry { kind, name, offset: section, .. } = self.entry;
        self.found.leftover(section + offset, format_args!("{} '{name}': {what}", kind.noun()));
    }

    /// The entry says what no structure of its kind can be.
    pub(crate) fn nonsense(&mut self) {
        let Entry { size, offset, count, elem_size, elem_align, flags, .. } = *self.entry;
        self.damage(
            0,
            format_args!(
                "its entry makes no sense: {count} elements of {elem_size} bytes aligned to {elem_align}, flags {flags:#x}, in \
                 {size} bytes at {offset}"
            ),
        );
    }

    /// Looks who has something, as a word says: `what`, such as "slot 3 is being written by". `still`: whether the word is the same.
    ///
    /// `lent`: what others may give to somebody who is about to go, and take back then. If they died before that, it is still there at rest, until
    /// somebody gives it back.
    pub(crate) fn owner(&mut self, offset: u64, id: u32, lent: bool, what: Arguments<'_>, still: impl Fn() -> bool) {
        let life = self.census.life(id);
        let certain = self.at_rest || !lent;
        let tell = if lent { Self::leftover } else { Self::damage };
        match life {
            Life::Impossible => {
                let most = self.census.attachment.layout().max_participants;
                self.damage(offset, format_args!("{what} participant {id}, and they are numbered 1 to {most}"));
            }
            Life::Nobody if certain && still() => {
                tell(self, offset, format_args!("{what} participant {id}, and there is none"));
            }
            Life::Dead => {
                let pid = self.census.pid(id);
                self.leftover(offset, format_args!("{what} participant {id} (process {pid}), who is dead"));
            }
            // Who lives gives back what it owns before it closes a structure, so this one would never be looked for here.
            Life::Living
                if certain && !self.census.attachment.table().is_user(self.number, id) && {
                    fence(Ordering::Acquire);
                    still()
                } =>
            {
                tell(self, offset, format_args!("{what} participant {id}, who does not have it open"));
            }
            _ => {}
        }
    }

    /// Whether a participant lives.
    pub(crate) fn is_living(&self, id: u32) -> bool {
        self.census.life(id) == Life::Living
    }

    /// Looks who has an end; `noun` is what to call it.
    pub(crate) fn end(&mut self, offset: u64, end: &End, noun: &str) {
        let Some(holder) = end.holder() else { return };
        self.owner(offset, holder.participant(), false, format_args!("its {noun} is"), || end.holder() == Some(holder));
    }

    /// Looks at where somebody may sleep; `noun` is what to call it.
    pub(crate) fn event(&mut self, offset: u64, event: &EventCount, noun: &str) {
        if let Some(waiters) = event.nonsense() {
            self.damage(offset, format_args!("the event count of its {noun} has waiters {waiters:#x}"));
        }
    }
}

/// An entry that is to be looked at.
struct Listed {
    number: u32,
    state: State,
    entry: Entry,
}

impl Segment {
    /// Looks at the whole segment and at every structure in it, and tells `visit` whatever is not as it should be: which structure, where, and a
    /// sentence with names and numbers. Nothing is changed, and nobody is held up for long; works with a read-only attachment, too.
    ///
    /// While others work, only what is certain is told: there are no false alarms. What a structure holds is its users' affair and is not looked at.
    ///
    /// ```
    /// # fn main() -> shmds::Result<()> {
    /// # use shmds::{Queue, QueueOptions, Segment, SegmentOptions, VerifyOptions};
    /// # let name = format!("doc-verify-{}", std::process::id());
    /// # let segment = Segment::create(&name, &SegmentOptions::new().size(1 << 20))?;
    /// let queue = Queue::<u64>::create(&segment, "numbers", &QueueOptions::new(16))?;
    /// queue.enqueue(&7)?;
    /// let verified = segment.verify(VerifyOptions::new().at_rest(), |finding| eprintln!("{}", finding.sentence))?;
    /// assert_eq!((verified.checked, verified.damage, verified.leftovers), (1, 0, 0));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Busy` when somebody keeps the segment's lock; `System`. Damage is no error here: [`Verified::sound`] makes it one.
    pub fn verify(&self, options: VerifyOptions, mut visit: impl FnMut(&Finding)) -> Result<Verified> {
        let attachment = self.attachment();
        let mut verified = Verified::default();
        let (found, listed) = look_at_table(attachment, options)?;
        verified.take(found, "", None, &mut visit);
        for one in listed {
            // Removed, and nobody has it open: its bytes are nobody's any more.
            if one.state.phase() == Some(Phase::Unlinked) && !attachment.table().has_users(one.number) {
                continue;
            }
            let Some((known, mut found)) = inspect(attachment, options, &one) else { continue };
            if !found.are_none() {
                let _looking = attachment.look()?;
                let Some((_, again)) = inspect(attachment, options, &one) else { continue };
                found = again;
            }
            *(if known { &mut verified.checked } else { &mut verified.unknown }) += 1;
            verified.take(found, &one.entry.name, Some(one.entry.kind), &mut visit);
        }
        Ok(verified)
    }
}

/// Looks at one structure: whether its kind is known, and what was found. `None` when it is gone.
fn inspect(attachment: &Attachment, options: VerifyOptions, one: &Listed) -> Option<(bool, Findings)> {
    let Listed { number, state, entry } = one;
    let section = attachment.section(entry.offset, entry.size)?;
    let census = Census::new(attachment);
    let mut look = Inspection { at_rest: options.at_rest, census, number: *number, entry, found: Findings::default() };
    let known = kinds::verify(entry, section, &mut look);
    // Pairs with the release fence in `Table::build`: who saw a word of the section's next user sees that this entry is gone.
    fence(Ordering::Acquire);
    (attachment.table().state(*number) == *state).then_some((known, look.found))
}

/// Looks at header, participants, index and entries, under the lock. Lists the entries whose sections may be looked at.
fn look_at_table(attachment: &Attachment, options: VerifyOptions) -> Result<(Findings, Vec<Listed>)> {
    let _looking = attachment.look()?;
    let mut look = TableLook {
        attachment,
        census: Census::new(attachment),
        layout: attachment.layout(),
        died_inside: attachment.header().lock_pid.load(Ordering::Acquire) != 0,
        found: Findings::default(),
    };
    look.header();
    look.participants();
    let listed = look.entries();
    look.names(&listed);
    let sound = look.sections(listed);
    if options.at_rest {
        look.unused();
    }
    Ok((look.found, sound))
}

struct TableLook<'a> {
    attachment: &'a Attachment,
    census: Census<'a>,
    layout: &'a Layout,
    /// Whether the last holder of the lock died inside: then the next one drops what was being built and rebuilds the index.
    died_inside: bool,
    found: Findings,
}

impl TableLook<'_> {
    fn header(&mut self) {
        let (header, layout, what) = (self.attachment.header(), self.layout, self.attachment.what());
        match Layout::read(header, layout.size, &what) {
            Ok(now) if now == *layout => {}
            Ok(_) => {
                self.found.damage(0, format_args!("the header of {what} says something else than when it was opened"))
            }
            Err(error) => self.found.damage(0, format_args!("{error}")),
        }
        if self.died_inside {
            let pid = header.lock_pid.load(Ordering::Relaxed);
            self.found.leftover(128, format_args!("process {pid} died holding the lock of {what}"));
        } else if header.index_version.load(Ordering::Relaxed) % 2 == 1 {
            self.found.damage(136, format_args!("the index of {what} is being rebuilt, and nobody does it"));
        }
        let used = header.high_water.load(Ordering::Relaxed);
        if !(layout.data_offset..=layout.size).contains(&used) {
            self.found.damage(
                144,
                format_args!("the high water of {what} is {used}, not in {} to {}", layout.data_offset, layout.size),
            );
        }
    }

    fn participants(&mut self) {
        for id in self.attachment.ids() {
            let (record, offset) =
                (self.attachment.record(id), self.layout.participants_offset + u64::from(id - 1) * 64);
            if let Some(state) = record.nonsense() {
                self.found.damage(offset, format_args!("the record of participant {id} has the state {state}"));
            } else if self.census.life(id) == Life::Dead {
                let pid = record.pid();
                self.found
                    .leftover(offset, format_args!("participant {id} (process {pid}) is dead and was not reaped"));
            }
        }
    }

    /// Looks at every entry; lists those that are something.
    fn entries(&mut self) -> Vec<Listed> {
        let table = self.attachment.table();
        let mut listed = Vec::new();
        for number in 0..table.capacity() {
            let (state, offset) = (table.state(number), table.offset(number));
            match state.phase() {
                Some(Phase::Free) => {}
                Some(Phase::Building) if self.died_inside => {
                    self.found.leftover(offset, format_args!("entry {number} was being built by somebody who died"));
                }
                Some(Phase::Building) => {
                    self.found.damage(offset, format_args!("entry {number} is being built, and nobody does it"));
                }
                Some(Phase::Live | Phase::Unlinked) if state.is_sound() => {
                    // It can only change under the lock.
                    let Some((_, entry)) = table.read(number) else { continue };
                    self.entry(number, &entry);
                    listed.push(Listed { number, state, entry });
                }
                _ => self.found.damage(offset, format_args!("entry {number} has the state {:#x}", state.bits())),
            }
        }
        listed
    }

    /// Looks at an entry's own words.
    fn entry(&mut self, number: u32, entry: &Entry) {
        let table = self.attachment.table();
        let (offset, shown) = (table.offset(number), &entry.name);
        let (stored, length, hash) = table.stored_name(number);
        let most = self.layout.table.name_bytes;
        if length == 0 || length > most {
            self.found.damage(
                offset + 64,
                format_args!("the name of entry {number} has {length} bytes, and may have {most}"),
            );
        } else {
            let (name, padding) = stored.split_at(length as usize);
            let legal = std::str::from_utf8(name).is_ok_and(|name| table.check_name(name).is_ok());
            if !legal || padding.iter().any(|byte| *byte != 0) {
                self.found.damage(offset + 128, format_args!("the name of entry {number} is none: {shown:?}"));
            } else if murmur64a(name) != hash {
                self.found
                    .damage(offset + 8, format_args!("the hash of '{shown}' is {hash:#x}, not {:#x}", murmur64a(name)));
            }
        }
        for id in table.users(number) {
            match self.census.life(id) {
                Life::Impossible | Life::Nobody => self.found.damage(
                    offset,
                    format_args!("'{shown}' is said to be open by participant {id}, and there is none"),
                ),
                Life::Dead | Life::Living => {}
            }
        }
    }

    /// Looks whether each name is there once, and whether the index leads to it and to nothing else.
    fn names(&mut self, listed: &[Listed]) {
        let table = self.attachment.table();
        let mut names = HashMap::new();
        let live = listed.iter().filter(|one| one.state.phase() == Some(Phase::Live));
        for one in live {
            let (name, offset) = (one.entry.name.as_str(), table.offset(one.number));
            if let Some(other) = names.insert(name, one.number) {
                self.found
                    .damage(offset, format_args!("entries {other} and {} have the same name, '{name}'", one.number));
            } else if !table.is_indexed(one.number, name) {
                self.index(offset, format_args!("the index does not lead to '{name}'"));
            }
        }
        let mut led_to = vec![false; table.capacity() as usize];
        for (slot, number) in table.indexed() {
            let is_first = |number: u32| !std::mem::replace(&mut led_to[number as usize], true);
            let leads = |number: &u32| table.state(*number).phase() == Some(Phase::Live);
            if !number.filter(leads).is_some_and(is_first) {
                let offset = self.layout.index_offset + u64::from(slot) * 8;
                self.index(
                    offset,
                    format_args!("word {slot} of the index leads to no name, or to one that another leads to"),
                );
            }
        }
    }

    /// The index is wrong: whoever takes the lock after a death makes it anew.
    fn index(&mut self, offset: u64, what: Arguments<'_>) {
        if self.died_inside {
            self.found.leftover(offset, what);
        } else {
            self.found.damage(offset, what);
        }
    }

    /// Those of the entries whose sections are inside, aligned, and nobody else's.
    fn sections(&mut self, mut listed: Vec<Listed>) -> Vec<Listed> {
        let (table, layout) = (self.attachment.table(), self.layout);
        let used = self.attachment.header().high_water.load(Ordering::Relaxed);
        listed.retain(|one| {
            let Entry { name, offset, size, .. } = &one.entry;
            let at = table.offset(one.number) + 16;
            let inside = self.attachment.section(*offset, *size).is_some() && *size > 0;
            if !inside || !offset.is_multiple_of(SECTION_ALIGN) {
                let (from, to) = (layout.data_offset, layout.size);
                self.found.damage(
                    at,
                    format_args!("'{name}' has {size} bytes at {offset}; there can be something from {from} to {to}"),
                );
                return false;
            }
            if offset + size > used {
                self.found
                    .damage(at, format_args!("'{name}' has {size} bytes at {offset}, beyond the high water {used}"));
            }
            if layout.max_allocation != 0 && *size > layout.max_allocation {
                let most = layout.max_allocation;
                self.found.damage(at, format_args!("'{name}' has {size} bytes, and structures may have {most}"));
            }
            true
        });
        listed.sort_by_key(|one| one.entry.offset);
        let (mut end, mut before) = (0, None::<usize>);
        let mut overlapping = vec![false; listed.len()];
        for (nth, one) in listed.iter().enumerate() {
            let Entry { name, offset, size, .. } = &one.entry;
            if let Some(other) = before.filter(|_| *offset < end) {
                overlapping[nth] = true;
                overlapping[other] = true;
                let other = &listed[other].entry.name;
                let at = table.offset(one.number) + 16;
                self.found
                    .damage(at, format_args!("'{name}' has {size} bytes at {offset}, where '{other}' goes to {end}"));
            }
            if offset + size > end {
                (end, before) = (offset + size, Some(nth));
            }
        }
        let mut overlapping = overlapping.into_iter();
        listed.retain(|_| !overlapping.next().unwrap_or_default());
        listed
    }

    /// Looks whether what nobody ever used is zero, as the next to use it takes for granted.
    fn unused(&mut self) {
        let used = self
            .attachment
            .header()
            .high_water
            .load(Ordering::Relaxed)
            .clamp(self.layout.data_offset, self.layout.size);
        if let Some(stray) = first_nonzero(self.attachment.region(), used) {
            self.found.damage(stray, format_args!("byte {stray} is not zero, and was never part of a structure"));
        }
    }
}

/// Where the first word from `from` on begins that is not zero, up to the end.
pub(crate) fn first_nonzero(region: Region, from: u64) -> Option<u64> {
    (from.next_multiple_of(8)..region.len() as u64)
        .step_by(8)
        .find(|at| region.at::<AtomicU64>(*at).is_some_and(|word| word.load(Ordering::Relaxed) != 0))
}
