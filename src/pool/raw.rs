//! A handle on a pool whose object size is known at run time.

use std::ptr::NonNull;

use super::slots::{Geometry, Handle, MOST, Refusal, Slots};
use crate::error::{Error, Result, fail};
use crate::os::process;
use crate::segment::{Element, Entry, Kind, Region, Request, Section, Segment, section_bytes};
use crate::sync::Ordering;
use crate::sync::private::AtomicU64;

/// What a pool is asked to be, or expected to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolShape {
    /// Objects; when opening, 0: any.
    pub(crate) capacity: u64,
    pub(crate) elem_size: u64,
    /// 0: what suits the size.
    pub(crate) elem_align: u32,
    pub(crate) type_tag: u64,
    pub(crate) exclusive: bool,
}

impl PoolShape {
    fn geometry(&self) -> Result<(Element, Geometry)> {
        let element = Element::new(self.elem_size, self.elem_align)?;
        if self.capacity == 0 || self.capacity > MOST {
            return Err(fail!(Invalid, "a pool may have 1 to {MOST} objects, not {}", self.capacity));
        }
        let geometry = element.step().and_then(|step| Geometry::new(self.capacity, step, element.align.into()));
        Ok((element, geometry.ok_or_else(|| element.too_many("pool", self.capacity))?))
    }

    /// Bytes of a segment that such a pool takes.
    pub(crate) fn bytes(&self) -> Result<u64> {
        let (element, geometry) = self.geometry()?;
        section_bytes(geometry.bytes, geometry.align).ok_or_else(|| element.too_many("pool", self.capacity))
    }

    fn accept(&self, entry: &Entry) -> Result<()> {
        Element { size: self.elem_size, align: self.elem_align }.accept(entry)?;
        entry.accept_count(self.capacity, Some(self.capacity))?;
        entry.accept_tag(self.type_tag)
    }
}

/// How many objects a pool has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolStats {
    /// All.
    pub capacity: u64,
    /// Acquired and not released.
    pub allocated: u64,
    /// Free.
    pub available: u64,
}

/// How often an exhausted pool looks for the dead.
const PATIENCE: u64 = 1_000_000;

/// How often it looks at every object for one that is free although no hint says so.
const LONG_PATIENCE: u64 = 100_000_000;

#[derive(Debug)]
pub(crate) struct RawPool {
    section: Section,
    slots: Slots,
    /// The object that was acquired last, whose bit in the map may still be set.
    last: AtomicU64,
    /// When an exhausted pool was last searched for objects of the dead.
    searched: AtomicU64,
    /// When its objects were last looked at one by one.
    combed: AtomicU64,
}

impl RawPool {
    pub(crate) fn create(segment: &Segment, name: &str, shape: &PoolShape) -> Result<Self> {
        let (element, geometry) = shape.geometry()?;
        let request = Request {
            name,
            kind: Kind::Pool,
            flags: 0,
            size: geometry.bytes,
            align: geometry.align,
            elem_size: element.size,
            elem_align: element.align,
            count: shape.capacity,
            type_tag: shape.type_tag,
        };
        let initialise = |section| {
            if let Some(slots) = Slots::new(section, geometry) {
                slots.initialise();
            }
            Ok(())
        };
        let accept = |entry: &Entry| shape.accept(entry);
        Self::over(segment.create_section_with(&request, shape.exclusive, accept, initialise)?)
    }

    pub(crate) fn open(segment: &Segment, name: &str, expected: Option<&PoolShape>) -> Result<Self> {
        Self::over(
            segment.open_section(name, Kind::Pool, |entry| expected.map_or(Ok(()), |shape| shape.accept(entry)))?,
        )
    }

    fn over(section: Section) -> Result<Self> {
        let Some(slots) = place(section.entry(), section.region()) else {
            return Err(fail!(Corrupt, "the entry of pool '{}' makes no sense", section.entry().name));
        };
        // Others may hand us objects at any time.
        section.note_held();
        // Participants begin in words of their own, so that they meet late.
        let me = section.segment().attachment().me();
        let last = AtomicU64::new(u64::from(me.saturating_sub(1)) * 64 % slots.capacity());
        Ok(Self { section, slots, last, searched: AtomicU64::new(0), combed: AtomicU64::new(0) })
    }

    pub(crate) fn entry(&self) -> &Entry {
        self.section.entry()
    }

    pub(crate) fn span(&self) -> NonNull<[u8]> {
        self.section.region().bytes()
    }

    fn me(&self) -> Result<u32> {
        let me = self.section.segment().attachment().me();
        if me == 0 { Err(self.section.unregistered()) } else { Ok(me) }
    }

    pub(crate) fn writable(&self) -> Result<()> {
        self.me().map(|_| ())
    }

    /// Takes a free object, if one is where it is looked for first.
    #[inline(always)]
    pub(crate) fn acquire_at_once(&self) -> Option<Handle> {
        let (me, last) = (self.section.segment().attachment().me(), self.last.load(Ordering::Relaxed));
        if me == 0 {
            return None;
        }
        let acquired = self.slots.acquire_at_once(me, last)?;
        self.remember(acquired);
        Some(acquired)
    }

    #[inline(always)]
    fn remember(&self, acquired: Handle) {
        if let Some(index) = acquired.index() {
            self.last.store(index, Ordering::Relaxed);
        }
    }

    /// Takes a free object; `None` when there is none.
    pub(crate) fn acquire(&self) -> Result<Option<Handle>> {
        let mut acquired = self.acquire_at_once();
        if acquired.is_some() {
            return Ok(acquired);
        }
        self.acquire_batch(1, |handle| acquired = Some(handle))?;
        Ok(acquired)
    }

    /// Takes up to `count` free objects and hands them to `give`.
    pub(crate) fn acquire_batch(&self, count: usize, mut give: impl FnMut(Handle)) -> Result<()> {
        let me = self.me()?;
        let mut left = count;
        while left > 0 {
            let from = self.last.load(Ordering::Relaxed);
            self.slots.acquire(me, from, left, |handle| {
                left -= 1;
                self.remember(handle);
                give(handle);
            });
            if left > 0 && !self.search() {
                break;
            }
        }
        Ok(())
    }

    /// Buries the dead, who may own objects, and finds strays and lost hints; each once in a while. True when there were some.
    #[cold]
    fn search(&self) -> bool {
        let now = process::now();
        let due = |last: &AtomicU64, patience| {
            let due = now.saturating_sub(last.load(Ordering::Relaxed)) >= patience;
            if due {
                last.store(now, Ordering::Relaxed);
            }
            due
        };
        due(&self.searched, PATIENCE) && self.section.segment().reap().is_ok_and(|dead| dead > 0)
            || due(&self.combed, LONG_PATIENCE) && self.comb()
    }

    /// Looks at every object, for strays and for lost hints. True when there were some.
    fn comb(&self) -> bool {
        match self.section.segment().attachment().lock() {
            Ok(_locked) => self.slots.reclaim_from(|owner| !self.section.is_user(owner)),
            Err(_) => self.slots.restore_hints(),
        }
    }

    /// Gives an object back; false, and nothing was done, if that is refused.
    #[inline(always)]
    pub(crate) fn release_at_once(&self, handle: Handle) -> bool {
        let me = self.section.segment().attachment().me();
        me != 0 && self.slots.release_at_once(me, handle)
    }

    pub(crate) fn release(&self, handle: Handle) -> Result<()> {
        if self.release_at_once(handle) {
            return Ok(());
        }
        self.release_batch([handle]).map_err(|(_, error)| error)
    }

    /// Gives objects back; stops at the first that is refused, and says how many came before it.
    pub(crate) fn release_batch(&self, handles: impl IntoIterator<Item = Handle>) -> Result<(), (usize, Error)> {
        let me = self.me().map_err(|error| (0, error))?;
        self.slots.release(me, handles).map_err(|(done, handle, refusal)| (done, self.refused(handle, refusal)))
    }

    /// The address of an object, whoever owns it, if there is one.
    #[inline(always)]
    pub(crate) fn get_at_once(&self, handle: Handle) -> Option<*mut u8> {
        self.slots.find(handle).ok().map(|index| self.slots.object(index))
    }

    /// The address of an object, whoever owns it.
    #[inline]
    pub(crate) fn get(&self, handle: Handle) -> Result<*mut u8> {
        match self.slots.find(handle) {
            Ok(index) => Ok(self.slots.object(index)),
            Err(refusal) => Err(self.refused(handle, refusal)),
        }
    }

    /// Makes an object of ours one of `to`'s.
    pub(crate) fn hand_over(&self, handle: Handle, to: u32) -> Result<()> {
        let me = self.me()?;
        let attachment = self.section.segment().attachment();
        if to == 0 || to > attachment.layout().max_participants || !attachment.record(to).is_taken() {
            return Err(fail!(NotFound, "there is no participant {to} in {}", attachment.what()));
        }
        let not_open = || Err(fail!(NotFound, "participant {to} does not have pool '{}' open", self.entry().name));
        // Before, so that whoever gives back strays cannot take one from who may still keep it.
        if !self.section.is_user(to) {
            return not_open();
        }
        self.slots.hand_over(me, handle, to).map_err(|refusal| self.refused(handle, refusal))?;
        // If they closed it or died meanwhile, nobody would look here soon for what they own.
        if !self.section.is_user(to) || !attachment.lives(to) {
            return match self.slots.hand_over(to, handle, me) {
                Ok(()) => not_open(),
                // They released it, or it was reclaimed: it found its way.
                Err(_) => Ok(()),
            };
        }
        Ok(())
    }

    /// Makes somebody else's object ours: what the receiver of a handle does.
    pub(crate) fn adopt(&self, handle: Handle) -> Result<()> {
        let me = self.me()?;
        let refused = |refusal| self.refused(handle, refusal);
        let owner = self.slots.owner(handle).map_err(refused)?;
        self.slots.hand_over(owner, handle, me).map_err(refused)
    }

    pub(crate) fn owner(&self, handle: Handle) -> Result<u32> {
        self.slots.owner(handle).map_err(|refusal| self.refused(handle, refusal))
    }

    #[cold]
    fn refused(&self, handle: Handle, refusal: Refusal) -> Error {
        let (name, bits) = (&self.entry().name, handle.to_bits());
        match refusal {
            Refusal::NoSuchObject => {
                fail!(Invalid, "handle {bits:#x} names none of the {} objects of pool '{name}'", self.slots.capacity())
            }
            Refusal::Stale => fail!(Invalid, "handle {bits:#x} of pool '{name}' is stale: its object was released"),
            Refusal::Foreign(owner) => {
                fail!(Invalid, "the object of handle {bits:#x} of pool '{name}' belongs to participant {owner}")
            }
        }
    }

    /// The next object that somebody owns: begin with cursor 0.
    pub(crate) fn next_owned(&self, cursor: &mut u64) -> Option<Handle> {
        let (index, handle) = self.slots.next_owned(*cursor)?;
        *cursor = index + 1;
        Some(handle)
    }

    pub(crate) fn stats(&self) -> PoolStats {
        let (capacity, available) = (self.slots.capacity(), self.slots.available());
        PoolStats { capacity, allocated: capacity - available, available }
    }
}

impl Drop for RawPool {
    fn drop(&mut self) {
        if self.section.segment().attachment().me() != 0 {
            self.slots.leave(self.last.load(Ordering::Relaxed));
        }
    }
}

/// The parts of a pool's section, if its entry tells the truth.
pub(super) fn place(entry: &Entry, section: Region) -> Option<Slots> {
    let element = Element::of(entry)?;
    let geometry = Geometry::new(entry.count, element.step()?, element.align.into())?;
    let aligned = entry.offset.is_multiple_of(geometry.align) && entry.count > 0;
    if aligned { Slots::new(section, geometry) } else { None }
}

/// Whether `dead` owned objects.
pub(crate) fn is_unfinished(entry: &Entry, section: Region, dead: u32) -> bool {
    place(entry, section).is_some_and(|slots| slots.is_owner(dead))
}

/// Gives back the objects of who does not have the pool open. Under the segment's lock.
pub(crate) fn reclaim_strays(entry: &Entry, section: Region, is_user: impl Fn(u32) -> bool) {
    if let Some(slots) = place(entry, section) {
        slots.reclaim_from(|owner| !is_user(owner));
    }
}

/// Gives back the objects of `dead`.
pub(crate) fn reclaim(entry: &Entry, section: Region, dead: u32) -> bool {
    if let Some(slots) = place(entry, section) {
        slots.reclaim(dead);
    }
    true
}
