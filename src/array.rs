//! A named array of fixed length: reads cost what a heap array's cost.
//!
//! # Bytes
//!
//! | offset | field |
//! |---|---|
//! | 0 | sequence lock (16 bytes): `shared/seq_lock.rs` |
//! | 128, or the alignment if that is larger | the elements, at multiples of their size rounded up to their alignment |
//!
//! # Guarantees
//!
//! The plain pointer ([`Array::as_ptr`]) is what it is: a load is a load, and who reads while another process writes gets
//! whatever is there. On top of it:
//!
//! - single elements and ranges are copied in and out through atomics of at most eight bytes: never undefined, but a range, or an element of more than
//!   eight bytes, may be a mixture of old and new;
//! - one writer and any number of readers who want a consistent copy use [`Array::write`] and [`Array::snapshot`]. Readers never hold
//!   the writer up.
//!
//! # Death
//!
//! A writer that dies between the beginning and the end of a writing, or gives it up, leaves the array *torn*: snapshots say so,
//! until the next writing is complete. Nothing else remembers anything.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::time::Duration;

use crate::error::{Result, Status, fail};
use crate::os::process;
use crate::segment::{Element, Entry, Inspection, Kind, Region, Request, Section, Segment, section_bytes};
use crate::shared::{LINE_PAIR, Plain, Read, SeqLock, load_contended, store_contended};
use crate::sync::spin;

/// What an array is asked to be, or expected to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ArrayShape {
    /// Elements; when opening, 0: any.
    pub(crate) len: u64,
    pub(crate) elem_size: u64,
    /// 0: what suits the size.
    pub(crate) elem_align: u32,
    pub(crate) type_tag: u64,
    pub(crate) exclusive: bool,
}

/// Where an array's bytes lie.
#[derive(Clone, Copy, Debug)]
struct Geometry {
    element: Element,
    /// Offset of the first element.
    first: u64,
    /// Bytes from one element to the next.
    step: u64,
    bytes: u64,
}

impl Geometry {
    fn new(element: Element, len: u64) -> Option<Self> {
        let step = element.step()?;
        let first = (LINE_PAIR as u64).max(element.align.into());
        let bytes = step.checked_mul(len)?.checked_add(first)?;
        (bytes <= i64::MAX as u64).then_some(Self { element, first, step, bytes })
    }
}

impl ArrayShape {
    fn geometry(&self) -> Result<Geometry> {
        let element = Element::new(self.elem_size, self.elem_align)?;
        if self.len == 0 {
            return Err(fail!(Invalid, "an array of 0 elements cannot be made"));
        }
        Geometry::new(element, self.len).ok_or_else(|| element.too_many("array", self.len))
    }

    /// Bytes of a segment that such an array takes.
    pub(crate) fn bytes(&self) -> Result<u64> {
        let geometry = self.geometry()?;
        section_bytes(geometry.bytes, geometry.element.align.into())
            .ok_or_else(|| geometry.element.too_many("array", self.len))
    }

    fn accept(&self, entry: &Entry) -> Result<()> {
        Element { size: self.elem_size, align: self.elem_align }.accept(entry)?;
        entry.accept_count(self.len, Some(self.len))?;
        entry.accept_tag(self.type_tag)
    }
}

/// A handle on an array whose element size is known at run time. May be used from any thread.
#[derive(Debug)]
pub(crate) struct RawArray {
    section: Section,
    lock: NonNull<SeqLock>,
    data: NonNull<u8>,
    geometry: Geometry,
    len: usize,
}

// SAFETY: addresses of shared memory that `section` keeps open; reached through atomics, or by the caller's own pointer.
unsafe impl Send for RawArray {}
// SAFETY: as above.
unsafe impl Sync for RawArray {}

impl RawArray {
    pub(crate) fn create(segment: &Segment, name: &str, shape: &ArrayShape) -> Result<Self> {
        let geometry = shape.geometry()?;
        let request = Request {
            name,
            kind: Kind::Array,
            flags: 0,
            size: geometry.bytes,
            align: geometry.element.align.into(),
            elem_size: geometry.element.size,
            elem_align: geometry.element.align,
            count: shape.len,
            type_tag: shape.type_tag,
        };
        Self::over(segment.create_section(&request, shape.exclusive, |entry| shape.accept(entry))?)
    }

    pub(crate) fn open(segment: &Segment, name: &str, expected: Option<&ArrayShape>) -> Result<Self> {
        Self::over(
            segment.open_section(name, Kind::Array, |entry| expected.map_or(Ok(()), |shape| shape.accept(entry)))?,
        )
    }

    fn over(section: Section) -> Result<Self> {
        let Some((lock, data, geometry)) = place(section.entry(), section.region()) else {
            return Err(fail!(Corrupt, "the entry of array '{}' makes no sense", section.entry().name));
        };
        let len = section.entry().count as usize;
        Ok(Self { section, lock, data, geometry, len })
    }

    fn lock(&self) -> &SeqLock {
        // SAFETY: checked in `place`; atomics only.
        unsafe { self.lock.as_ref() }
    }

    pub(crate) fn entry(&self) -> &Entry {
        self.section.entry()
    }

    pub(crate) fn span(&self) -> NonNull<[u8]> {
        self.section.region().bytes()
    }

    pub(crate) fn data(&self) -> NonNull<u8> {
        self.data
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn elem_size(&self) -> usize {
        self.geometry.element.size as usize
    }

    /// Bytes from one element to the next.
    pub(crate) fn step(&self) -> usize {
        self.geometry.step as usize
    }

    /// The address of element `start`, if it and the `count - 1` after it are there.
    fn range(&self, start: usize, count: usize) -> Result<*mut u8> {
        if start > self.len || count > self.len - start {
            return Err(fail!(
                Invalid,
                "array '{}' has {} elements; {count} at {start} are not among them",
                self.entry().name,
                self.len
            ));
        }
        // SAFETY: inside the section by the check and `place`.
        Ok(unsafe { self.data.as_ptr().add(start * self.step()) })
    }

    /// Copies `count` elements out, one after the other.
    ///
    /// # Safety
    /// `out` is writable for that many elements.
    pub(crate) unsafe fn load(&self, start: usize, count: usize, out: *mut u8) -> Result<()> {
        let from = self.range(start, count)?;
        // SAFETY: in range, and the caller's promise.
        unsafe { self.load_range(from, count, out) };
        Ok(())
    }

    unsafe fn load_range(&self, from: *const u8, count: usize, out: *mut u8) {
        let (size, step) = (self.elem_size(), self.step());
        // SAFETY: the caller's promise, and `range`.
        unsafe {
            if size == step {
                load_contended(from, out, count * size);
            } else {
                (0..count).for_each(|i| load_contended(from.add(i * step), out.add(i * size), size));
            }
        }
    }

    /// Copies `count` elements in.
    ///
    /// # Safety
    /// `elements` is readable for that many elements.
    pub(crate) unsafe fn store(&self, start: usize, count: usize, elements: *const u8) -> Result<()> {
        let to = self.range(start, count)?;
        self.section.segment().writable()?;
        let (size, step) = (self.elem_size(), self.step());
        // SAFETY: in range, and the caller's promise.
        unsafe {
            if size == step {
                store_contended(elements, to, count * size);
            } else {
                (0..count).for_each(|i| store_contended(elements.add(i * size), to.add(i * step), size));
            }
        }
        Ok(())
    }

    /// Copies one element into all places.
    ///
    /// # Safety
    /// `element` is readable for an element.
    pub(crate) unsafe fn fill(&self, element: *const u8) -> Result<()> {
        self.section.segment().writable()?;
        for index in 0..self.len {
            // SAFETY: in range, and the caller's promise.
            unsafe { store_contended(element, self.data.as_ptr().add(index * self.step()), self.elem_size()) };
        }
        Ok(())
    }

    /// Begins a writing that snapshots see whole or not at all.
    pub(crate) fn begin_write(&self) -> Result<()> {
        self.section.segment().writable()?;
        self.section.note_held();
        let attachment = self.section.segment().attachment();
        let Err(owner) = self.lock().begin(attachment.me()) else { return Ok(()) };
        self.section.succeed(owner)?;
        // Whatever came of it, as with ends.
        let Err(owner) = self.lock().begin(attachment.me()) else { return Ok(()) };
        Err(fail!(Busy, "array '{}' is being written by participant {owner}", self.entry().name))
    }

    /// Ends it.
    pub(crate) fn end_write(&self) -> Result<()> {
        self.leave_write(SeqLock::end)
    }

    /// Leaves it in the middle: the array is torn.
    pub(crate) fn abandon_write(&self) -> Result<()> {
        self.leave_write(SeqLock::abandon)
    }

    fn leave_write(&self, leave: impl FnOnce(&SeqLock, u32) -> bool) -> Result<()> {
        let me = self.section.segment().attachment().me();
        if me != 0 && leave(self.lock(), me) {
            return Ok(());
        }
        Err(fail!(Invalid, "this attachment is not writing array '{}'", self.entry().name))
    }

    /// Copies `count` elements out, all of the same moment: `Ok`, `Torn`, or `Timeout` when the writer leaves no gap.
    ///
    /// # Safety
    /// As [`load`](Self::load).
    pub(crate) unsafe fn snapshot(
        &self,
        start: usize,
        count: usize,
        out: *mut u8,
        timeout: Duration,
    ) -> Result<Status> {
        let from = self.range(start, count)?;
        let deadline = process::deadline(timeout);
        let mut tries = 0_u32;
        loop {
            // SAFETY: in range, and the caller's promise.
            match self.lock().read(|| unsafe { self.load_range(from, count, out) }) {
                Read::Whole => return Ok(Status::Ok),
                Read::Torn => return Ok(Status::Torn),
                Read::Changed => {}
                Read::Writing(owner) => {
                    // A dead writer is buried once in a while; a read-only reader sees it as torn by itself.
                    if tries % 1024 == 1023 {
                        let attachment = self.section.segment().attachment();
                        if !self.section.bury_if_dead(owner) && attachment.is_read_only() && !attachment.lives(owner) {
                            return Ok(Status::Torn);
                        }
                    }
                }
            }
            if process::now() >= deadline {
                return Ok(Status::Timeout);
            }
            tries = tries.wrapping_add(1);
            if tries.is_multiple_of(64) { std::thread::yield_now() } else { spin() }
        }
    }

    /// How many writings were completed, and whether the last one was not.
    pub(crate) fn writings(&self) -> (u64, bool) {
        self.lock().state()
    }
}

/// The parts of an array's section, if its entry tells the truth.
fn place(entry: &Entry, section: Region) -> Option<(NonNull<SeqLock>, NonNull<u8>, Geometry)> {
    let element = Element::of(entry)?;
    let geometry = Geometry::new(element, entry.count)?;
    let lock = NonNull::from(section.at::<SeqLock>(0)?);
    let data = section.part(geometry.first, geometry.bytes - geometry.first)?.base();
    let aligned = entry.offset.is_multiple_of(element.align.into());
    (aligned && entry.count > 0).then_some((lock, data, geometry))
}

/// Whether a dead writer left in the middle.
pub(crate) fn is_unfinished(entry: &Entry, section: Region, dead: u32) -> bool {
    // SAFETY: checked in `place`; atomics only.
    place(entry, section).is_some_and(|(lock, ..)| unsafe { lock.as_ref() }.is_unfinished_by(dead))
}

/// Looks whether the bytes are what the rules allow. Even while a writer is there, it is so only for the moment between its coming and its
/// first change.
pub(crate) fn verify(entry: &Entry, section: Region, look: &mut Inspection<'_>) {
    let placed = place(entry, section).filter(|(.., geometry)| geometry.bytes == entry.size && entry.flags == 0);
    let Some((lock, ..)) = placed else { return look.nonsense() };
    // SAFETY: checked in `place`; atomics only.
    let lock = unsafe { lock.as_ref() };
    let writer = lock.writer();
    if writer != 0 {
        look.owner(8, writer, false, format_args!("it is being written by"), || lock.writer() == writer);
    }
    if !look.is_at_rest() {
        return;
    }
    match writer {
        0 if lock.state().1 => look.leftover(0, format_args!("it is torn: a writing was begun, and not completed")),
        writer if look.is_living(writer) => {
            look.leftover(8, format_args!("it is being written by participant {writer}, who lives"));
        }
        _ => {}
    }
}

/// Makes a dead writer leave.
pub(crate) fn reclaim(entry: &Entry, section: Region, dead: u32) -> bool {
    if let Some((lock, ..)) = place(entry, section) {
        // SAFETY: checked in `place`; atomics only.
        unsafe { lock.as_ref() }.reclaim(dead);
    }
    true
}

/// A handle on a named array of `T` of fixed length. May be used from any thread.
///
/// ```
/// # fn main() -> shmds::Result<()> {
/// use shmds::{Array, Segment, SegmentOptions};
/// let name = format!("doc-array-{}", std::process::id());
/// let segment = Segment::create(&name, &SegmentOptions::new().size(1 << 20))?;
/// let temperatures = Array::<f32>::create(&segment, "temperatures", 100)?;
/// temperatures.set(3, 21.5)?;
/// assert_eq!(temperatures.get(3)?, 21.5);
///
/// // All elements of one moment, for any number of readers:
/// temperatures.write(|array| array.copy_from_slice(0, &[1.0; 100]))?;
/// let mut copy = [0.0; 100];
/// assert!(temperatures.snapshot(0, &mut copy, std::time::Duration::MAX)?);
/// assert_eq!(copy, [1.0; 100]);
///
/// // What iterators do, they do with an array:
/// let warmest = temperatures.iter().fold(f32::MIN, f32::max);
/// let product: f32 = temperatures.iter().zip(&copy).map(|(a, b)| a * b).sum();
/// assert_eq!((warmest, product), (1.0, 100.0));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Array<T> {
    raw: RawArray,
    element: PhantomData<T>,
}

impl<T: Plain> Array<T> {
    /// Creates the array `name` of `len` elements, all zero bytes, or opens it if it is there with this length and these elements.
    ///
    /// # Errors
    /// `Mismatch`, naming what differs; `NoSpace`; `Limit`; `Invalid`; `ReadOnly`; `Busy`.
    pub fn create(segment: &Segment, name: &str, len: u64) -> Result<Self> {
        Self::create_with(segment, name, len, 0, false)
    }

    /// As [`create`](Self::create), with a type tag of your own (0: none) and, if exclusive, failing with `Exists` instead of
    /// opening.
    ///
    /// # Errors
    /// As [`create`](Self::create); `Exists`.
    pub fn create_with(segment: &Segment, name: &str, len: u64, type_tag: u64, exclusive: bool) -> Result<Self> {
        let shape = ArrayShape { len, type_tag, exclusive, ..Self::any() };
        Self::over(RawArray::create(segment, name, &shape)?)
    }

    /// Opens the array `name`, however long it is.
    ///
    /// # Errors
    /// `NotFound`; `Mismatch`; `Invalid`; `Busy`.
    pub fn open(segment: &Segment, name: &str) -> Result<Self> {
        Self::over(RawArray::open(segment, name, Some(&Self::any()))?)
    }

    /// Who made it may have asked for a larger alignment: then there is not one `T` behind the other.
    fn over(raw: RawArray) -> Result<Self> {
        let (name, step) = (&raw.entry().name, raw.step());
        if step != size_of::<T>() {
            return Err(fail!(
                Mismatch,
                "the elements of array '{name}' are {step} bytes apart, not {}",
                size_of::<T>()
            ));
        }
        Ok(Self { raw, element: PhantomData })
    }

    /// How many bytes of a segment an array of `len` elements takes, alignment included.
    ///
    /// # Errors
    /// `Invalid` when there can be no such array.
    pub fn bytes_for(len: u64) -> Result<u64> {
        ArrayShape { len, ..Self::any() }.bytes()
    }

    fn any() -> ArrayShape {
        let (elem_size, elem_align) = (size_of::<T>() as u64, align_of::<T>() as u32);
        ArrayShape { len: 0, elem_size, elem_align, type_tag: 0, exclusive: false }
    }

    /// All of its bytes, as docs/FORMAT.md has them. Valid while a handle on it is open; of a read-only segment, for reading only.
    /// Other processes may write to them at any time.
    #[must_use]
    pub fn span(&self) -> NonNull<[u8]> {
        self.raw.span()
    }

    /// What the table said of it when it was opened.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        self.raw.entry()
    }

    /// The name in the segment's table.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.raw.entry().name
    }

    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Always false: an array has at least one element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first of the elements, which lie one after the other. Valid while a handle on the array is open; of a read-only segment, for
    /// reading only. Other processes may write to them at any time.
    #[must_use]
    pub fn as_ptr(&self) -> *mut T {
        self.raw.data().as_ptr().cast()
    }

    /// The elements as a slice, which costs what a heap slice costs.
    ///
    /// # Safety
    /// While the slice lives, no process and no thread writes to the array.
    #[must_use]
    pub unsafe fn as_slice(&self) -> &[T] {
        // SAFETY: the elements are there, aligned, any bytes are a `T`, and by the caller's promise nobody writes.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.len()) }
    }

    /// A copy of element `index`.
    ///
    /// # Errors
    /// `Invalid` when there is no such element.
    pub fn get(&self, index: usize) -> Result<T> {
        let mut element = T::zeroed();
        // SAFETY: room for one.
        unsafe { self.raw.load(index, 1, (&raw mut element).cast()) }?;
        Ok(element)
    }

    /// Replaces element `index`.
    ///
    /// # Errors
    /// `Invalid` when there is no such element; `ReadOnly`.
    pub fn set(&self, index: usize, element: T) -> Result<()> {
        // SAFETY: one element.
        unsafe { self.raw.store(index, 1, (&raw const element).cast()) }
    }

    /// Replaces all elements.
    ///
    /// # Errors
    /// `ReadOnly`.
    pub fn fill(&self, element: T) -> Result<()> {
        // SAFETY: one element.
        unsafe { self.raw.fill((&raw const element).cast()) }
    }

    /// Copies elements out, from `start` on, as they are.
    ///
    /// # Errors
    /// `Invalid` when there are not as many.
    pub fn copy_to_slice(&self, start: usize, elements: &mut [T]) -> Result<()> {
        // SAFETY: room for as many.
        unsafe { self.raw.load(start, elements.len(), elements.as_mut_ptr().cast()) }
    }

    /// Copies elements in, from `start` on.
    ///
    /// # Errors
    /// `Invalid` when there are not as many; `ReadOnly`.
    pub fn copy_from_slice(&self, start: usize, elements: &[T]) -> Result<()> {
        // SAFETY: as many elements.
        unsafe { self.raw.store(start, elements.len(), elements.as_ptr().cast()) }
    }

    /// The elements one after the other, each a copy of its moment.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = T> + DoubleEndedIterator + '_ {
        (0..self.len()).map(|index| self.get(index).unwrap_or_else(|_| T::zeroed()))
    }

    /// Runs `writing` so that snapshots see all of what it changes, or nothing. One writer at a time. If it fails or panics, the
    /// array is torn: half a writing is not shown as a whole one.
    ///
    /// # Errors
    /// `Busy` when somebody living writes; `ReadOnly`; what `writing` returns.
    pub fn write<R>(&self, writing: impl FnOnce(&Self) -> Result<R>) -> Result<R> {
        /// What becomes of the writing unless `writing` succeeds.
        struct Abandon<'a>(&'a RawArray);
        impl Drop for Abandon<'_> {
            fn drop(&mut self) {
                let _ = self.0.abandon_write();
            }
        }
        self.raw.begin_write()?;
        let abandon = Abandon(&self.raw);
        let result = writing(self)?;
        std::mem::forget(abandon);
        self.raw.end_write()?;
        Ok(result)
    }

    /// Copies elements out, from `start` on, all of the same moment. False when the writer left no gap until `timeout`.
    ///
    /// # Errors
    /// `Torn` when a writer died in the middle or gave up, and nobody has written since: [`copy_to_slice`](Self::copy_to_slice) gets what is there;
    /// `Invalid` when there are not as many.
    pub fn snapshot(&self, start: usize, elements: &mut [T], timeout: Duration) -> Result<bool> {
        // SAFETY: room for as many.
        match unsafe { self.raw.snapshot(start, elements.len(), elements.as_mut_ptr().cast(), timeout) }? {
            Status::Ok => Ok(true),
            Status::Torn => {
                Err(fail!(Torn, "the last writer of array '{}' died or gave up in the middle", self.name()))
            }
            _ => Ok(false),
        }
    }

    /// How many writings were completed, and whether the last one was left unfinished (or is under way).
    #[must_use]
    pub fn writings(&self) -> (u64, bool) {
        self.raw.writings()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::SegmentOptions;

    #[test]
    fn elements_with_gaps_between_them_are_no_array_of_a_type() {
        let name = format!("shmds-test-gaps-{}", process::pid());
        let segment = Segment::create(&name, &SegmentOptions::new().size(1 << 20).exclusive()).unwrap();
        let shape = ArrayShape { len: 4, elem_size: 4, elem_align: 64, type_tag: 0, exclusive: true };
        let _raw = RawArray::create(&segment, "wide", &shape).unwrap();
        let refused = Array::<u32>::open(&segment, "wide").unwrap_err();
        assert_eq!(refused.status(), Status::Mismatch);
        assert!(refused.message().contains("'wide' are 64 bytes apart, not 4"), "{refused}");
    }
}
