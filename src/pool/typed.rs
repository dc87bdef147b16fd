//! `Pool<T>`: the typed face.

use std::marker::PhantomData;
use std::ptr::NonNull;

use super::raw::{PoolShape, PoolStats, RawPool};
use super::slots::Handle;
use crate::error::{Result, fail};
use crate::segment::{Entry, Segment};
use crate::shared::Plain;

/// A handle on a pool of `T`. May be used from any thread.
///
/// An object belongs to the participant that acquired it, until it is released or handed over. The objects of a dead
/// participant come back by themselves.
///
/// ```
/// # fn main() -> shmds::Result<()> {
/// use shmds::{Pool, Segment, SegmentOptions};
/// let name = format!("doc-pool-{}", std::process::id());
/// let segment = Segment::create(&name, &SegmentOptions::new().size(1 << 20))?;
/// let pool = Pool::<[f64; 4]>::create(&segment, "matrices", 100)?;
/// let handle = pool.acquire_with([1.0, 0.0, 0.0, 1.0])?.expect("room for one");
/// assert_eq!(pool.read(handle)?, [1.0, 0.0, 0.0, 1.0]);
/// pool.release(handle)?;
/// assert!(pool.release(handle).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Pool<T> {
    raw: RawPool,
    object: PhantomData<T>,
}

impl<T: Plain> Pool<T> {
    /// Creates the pool `name` of `capacity` objects, or opens it if it is there with as many of this kind.
    ///
    /// # Errors
    /// `Mismatch`, naming what differs; `NoSpace`; `Limit`; `Invalid`; `ReadOnly`; `Busy`.
    pub fn create(segment: &Segment, name: &str, capacity: u64) -> Result<Self> {
        Self::create_with(segment, name, capacity, 0, false)
    }

    /// As [`create`](Self::create), with a type tag of your own (0: none) and, if exclusive, failing with `Exists` instead of
    /// opening.
    ///
    /// # Errors
    /// As [`create`](Self::create); `Exists`.
    pub fn create_with(segment: &Segment, name: &str, capacity: u64, type_tag: u64, exclusive: bool) -> Result<Self> {
        let shape = PoolShape { capacity, type_tag, exclusive, ..Self::any() };
        Ok(Self { raw: RawPool::create(segment, name, &shape)?, object: PhantomData })
    }

    /// Opens the pool `name`, however large it is.
    ///
    /// # Errors
    /// `NotFound`; `Mismatch`; `Invalid`; `Busy`.
    pub fn open(segment: &Segment, name: &str) -> Result<Self> {
        Ok(Self { raw: RawPool::open(segment, name, Some(&Self::any()))?, object: PhantomData })
    }

    /// How many bytes of a segment a pool of `capacity` objects takes, alignment included.
    ///
    /// # Errors
    /// `Invalid` when there can be no such pool.
    pub fn bytes_for(capacity: u64) -> Result<u64> {
        PoolShape { capacity, ..Self::any() }.bytes()
    }

    fn any() -> PoolShape {
        let (elem_size, elem_align) = (size_of::<T>() as u64, align_of::<T>() as u32);
        PoolShape { capacity: 0, elem_size, elem_align, type_tag: 0, exclusive: false }
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

    /// How many objects there are.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.raw.entry().count
    }

    /// Whether nobody owns an object. It counts them.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stats().allocated == 0
    }

    /// Whether all objects are owned. It counts them.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.stats().available == 0
    }

    /// How many objects there are, acquired and free. It counts them: not for hot paths.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.raw.stats()
    }

    /// Takes a free object, whose bytes are whatever they were; `None` when there is none.
    ///
    /// # Errors
    /// `ReadOnly`.
    pub fn acquire(&self) -> Result<Option<Handle>> {
        self.raw.acquire()
    }

    /// Takes a free object and writes `object` into it; `None` when there is none.
    ///
    /// # Errors
    /// `ReadOnly`.
    pub fn acquire_with(&self, object: T) -> Result<Option<Handle>> {
        let Some(handle) = self.raw.acquire()? else { return Ok(None) };
        self.write(handle, object)?;
        Ok(Some(handle))
    }

    /// Takes as many free objects as there are, up to `count`.
    ///
    /// # Errors
    /// `ReadOnly`.
    pub fn acquire_batch(&self, count: usize) -> Result<Vec<Handle>> {
        let mut handles = Vec::new();
        self.raw.acquire_batch(count, |handle| handles.push(handle))?;
        Ok(handles)
    }

    /// Gives an object back.
    ///
    /// # Errors
    /// `Invalid` for a handle that was released before, that belongs to another participant, or that never was; `ReadOnly`.
    pub fn release(&self, handle: Handle) -> Result<()> {
        self.raw.release(handle)
    }

    /// Gives all of these back; stops at the first that is refused, and says how many came before it.
    ///
    /// # Errors
    /// As [`release`](Self::release).
    pub fn release_batch(&self, handles: &[Handle]) -> Result<()> {
        self.raw
            .release_batch(handles.iter().copied())
            .map_err(|(done, error)| fail!(Invalid, "after {done} of {}: {error}", handles.len()))
    }

    /// The object of a handle, whoever owns it. Valid until it is released; others who have the handle can reach it too.
    ///
    /// # Errors
    /// `Invalid` for a handle that is stale or never was.
    pub fn get(&self, handle: Handle) -> Result<*mut T> {
        Ok(self.raw.get(handle)?.cast())
    }

    /// A copy of the object.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn read(&self, handle: Handle) -> Result<T> {
        let object = self.get(handle)?;
        let mut copy = T::zeroed();
        // SAFETY: the object is there; through atomics, as others may have the handle.
        unsafe { crate::shared::load_contended(object.cast(), (&raw mut copy).cast(), size_of::<T>()) };
        Ok(copy)
    }

    /// Replaces the object.
    ///
    /// # Errors
    /// As [`get`](Self::get); `ReadOnly`.
    pub fn write(&self, handle: Handle, object: T) -> Result<()> {
        let place = self.get(handle)?;
        self.raw.writable()?;
        // SAFETY: the object is there; through atomics, as others may have the handle.
        unsafe { crate::shared::store_contended((&raw const object).cast(), place.cast(), size_of::<T>()) };
        Ok(())
    }

    /// Whether the handle is of its object's present use.
    #[must_use]
    pub fn is_valid(&self, handle: Handle) -> bool {
        self.raw.owner(handle).is_ok()
    }

    /// The participant that owns an object.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn owner(&self, handle: Handle) -> Result<u32> {
        self.raw.owner(handle)
    }

    /// Makes an object of ours one of participant `to`'s, who has the pool open.
    ///
    /// # Errors
    /// As [`release`](Self::release); `NotFound` when there is no such participant.
    pub fn hand_over(&self, handle: Handle, to: u32) -> Result<()> {
        self.raw.hand_over(handle, to)
    }

    /// Makes an object ours, whoever owned it: what the receiver of a handle does. If its sender died in between, the object may
    /// have been given back, and this fails.
    ///
    /// # Errors
    /// As [`get`](Self::get); `ReadOnly`.
    pub fn adopt(&self, handle: Handle) -> Result<()> {
        self.raw.adopt(handle)
    }

    /// The objects that somebody owns, in no particular order. One that is acquired or released meanwhile may or may not be there.
    pub fn handles(&self) -> impl Iterator<Item = Handle> + '_ {
        let mut cursor = 0;
        std::iter::from_fn(move || self.raw.next_owned(&mut cursor))
    }
}
