//! `Area` and `Reader`: the Rust face.

use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::Duration;

use super::{AreaStats, Clock, Found, Place, RawReader, ReaderStats, Settings, Writer, verify};
use crate::error::{Result, Status, fail};
use crate::segment::{Finding, Verified, VerifyOptions};
use crate::shared::store_bytes;

/// What an area is to be.
///
/// ```
/// use shmds::speculo::AreaOptions;
/// let options = AreaOptions::new().max_size(16 << 20).gc_threshold(30);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct AreaOptions {
    settings: Settings,
    clock: Clock,
}

impl AreaOptions {
    /// 64 KiB at first, 1 MiB at most; mode 0600; compacted when half of it is wasted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of the area at most. It grows and shrinks with what is valid in it.
    pub fn max_size(mut self, bytes: u64) -> Self {
        self.settings.largest = bytes;
        self.settings.smallest = self.settings.smallest.min(bytes);
        self
    }

    /// Bytes of the area at first, and at least, unless a compaction finds no room for so many.
    pub fn min_size(mut self, bytes: u64) -> Self {
        self.settings.smallest = bytes;
        self
    }

    /// Bytes of former areas that readers may keep in memory, before the area is not compacted any more. Without limit unless told.
    pub fn max_pinned(mut self, bytes: u64) -> Self {
        self.settings.most_pinned = bytes;
        self
    }

    /// Permission bits, exact whatever the umask; the owner needs at least 0600. Readers need to be allowed to read only. An area that is
    /// there keeps its own.
    pub fn mode(mut self, mode: u32) -> Self {
        self.settings.mode = mode;
        self
    }

    /// Where the manifest and the areas lie, if not where POSIX shared memory does.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.settings.directory = Some(directory.into());
        self
    }

    /// How many percent of the area have to be wasted before it is compacted although there is room.
    pub fn gc_threshold(mut self, percent: u32) -> Self {
        self.settings.threshold = percent;
        self
    }

    /// Another clock than the one that counts nanoseconds since the machine started. Readers need the same.
    pub fn clock(mut self, clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.clock = Clock::new(clock);
        self
    }

    /// Creating fails with `Exists` instead of continuing what is there.
    pub fn exclusive(mut self) -> Self {
        self.settings.exclusive = true;
        self
    }

    /// Continues an area although it belongs to a user who is neither us nor root.
    pub fn any_owner(mut self) -> Self {
        self.settings.any_owner = true;
        self
    }

    fn place(&self, name: &str) -> Result<Place> {
        Place::new(name, self.settings.directory.as_deref())
    }
}

/// The writer of an area of chunks. One living writer per area; for one thread at a time.
///
/// ```
/// # fn main() -> shmds::Result<()> {
/// use shmds::speculo::{Area, AreaOptions, Reader, ReaderOptions};
/// let name = format!("doc-area-{}", std::process::id());
/// let mut area = Area::create(&name, &AreaOptions::new())?;
/// let mut reader = Reader::open(&name, &ReaderOptions::new())?;
///
/// let id = area.write(b"first", 0)?.expect("there is room");
/// let mut draft = area.update(id, 6)?.expect("there is room");
/// draft.write(0, b"second")?;
/// draft.commit()?;
///
/// let chunk = reader.next()?.expect("one was committed");
/// assert_eq!((chunk.id(), chunk.to_vec()), (id, b"second".to_vec()));
/// assert!(reader.next()?.is_none());
/// # area.unlink()
/// # }
/// ```
#[derive(Debug)]
pub struct Area {
    writer: Writer,
}

impl Area {
    /// Makes the area `name`, or continues it where its last writer stopped, completing or dropping what that left half-done.
    ///
    /// # Errors
    /// `Busy` when it has a living writer; `Exists` when exclusive; `Invalid`; `NoSpace`; `Permission`; `Version`; `Corrupt`.
    pub fn create(name: &str, options: &AreaOptions) -> Result<Self> {
        let (place, clock) = (options.place(name)?, options.clock.clone());
        Ok(Self { writer: Writer::create(place, options.settings.clone(), clock)? })
    }

    /// Continues the area `name`.
    ///
    /// # Errors
    /// `NotFound`; else as [`create`](Self::create).
    pub fn open(name: &str, options: &AreaOptions) -> Result<Self> {
        let (place, clock) = (options.place(name)?, options.clock.clone());
        Ok(Self { writer: Writer::open(place, options.settings.clone(), clock)? })
    }

    /// Allocates a chunk of a new id with contents of `size` bytes, which expires at `expires` (nanoseconds of the clock; 0: never). `None` when there
    /// is no room, and none can be made.
    ///
    /// # Errors
    /// `Invalid` when it never fits; `Busy` in a forked child; `NoSpace` and other failures of making a new area.
    pub fn allocate(&mut self, size: u64, expires: u64) -> Result<Option<Draft<'_>>> {
        self.draft(size, expires, None)
    }

    /// Allocates a chunk that takes the place of chunk `id` when it is committed.
    ///
    /// # Errors
    /// `NotFound` when there is no valid chunk of this id; else as [`allocate`](Self::allocate).
    pub fn update(&mut self, id: u64, size: u64) -> Result<Option<Draft<'_>>> {
        self.update_until(id, size, 0)
    }

    /// As [`update`](Self::update), with a time when it expires.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub fn update_until(&mut self, id: u64, size: u64, expires: u64) -> Result<Option<Draft<'_>>> {
        self.draft(size, expires, Some(id))
    }

    fn draft(&mut self, size: u64, expires: u64, id: Option<u64>) -> Result<Option<Draft<'_>>> {
        let allocated = self.writer.allocate(size, expires, id)?;
        Ok(found_room(allocated)?.map(|(id, data)| Draft { area: self, id, data, size }))
    }

    /// Commits a chunk with a copy of `contents`; its id, or `None` when there is no room.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate).
    pub fn write(&mut self, contents: &[u8], expires: u64) -> Result<Option<u64>> {
        // SAFETY: a slice is readable.
        found_room(unsafe { self.writer.write(contents.as_ptr(), contents.len() as u64, expires) }?)
    }

    /// Says that chunk `id` counts no more.
    ///
    /// # Errors
    /// `NotFound`; `Busy` in a forked child.
    pub fn obsolete(&mut self, id: u64) -> Result<()> {
        self.writer.obsolete(id)
    }

    /// Moves what is valid to a new area now. False when nothing would be gained, or readers pin too much.
    ///
    /// # Errors
    /// `NoSpace` and other failures of making a new area; nothing is lost then.
    pub fn collect(&mut self) -> Result<bool> {
        self.writer.collect()
    }

    /// A copy of the contents of the valid chunk `id`.
    #[must_use]
    pub fn read(&mut self, id: u64) -> Option<Vec<u8>> {
        let (data, size) = self.writer.find(id)?;
        // SAFETY: inside the area; nobody changes what was committed.
        Some(unsafe { std::slice::from_raw_parts(data, usize::try_from(size).ok()?) }.to_vec())
    }

    /// How full it is, and what keeps memory.
    #[must_use]
    pub fn stats(&mut self) -> AreaStats {
        self.writer.stats()
    }

    /// Removes the area, for everybody: readers keep what they have, and are told `Closed`.
    ///
    /// # Errors
    /// Failures of the system.
    pub fn unlink(self) -> Result<()> {
        self.writer.unlink()
    }

    /// Looks at the area `name`, whether or not somebody writes it, and tells `visit` whatever is not as it should be. Nothing is changed, and no
    /// permission to write is needed. Of the options, only the [`directory`](AreaOptions::directory) matters.
    ///
    /// # Errors
    /// `NotFound`; `Permission`; `Corrupt` or `Version` for what is no manifest of ours; `Busy`. Damage is no error here:
    /// [`Verified::sound`](crate::Verified::sound) makes it one.
    pub fn verify_name(
        name: &str,
        area: &AreaOptions,
        options: VerifyOptions,
        visit: impl FnMut(&Finding),
    ) -> Result<Verified> {
        verify(&area.place(name)?, options, visit)
    }

    /// Removes the area `name`, which nobody writes to. False when there is none.
    ///
    /// # Errors
    /// `Busy` when it has a living writer; `Permission`.
    pub fn unlink_name(name: &str, options: &AreaOptions) -> Result<bool> {
        super::unlink(&options.place(name)?, &options.settings)
    }

    /// The names of the areas that begin with `prefix`, in alphabetical order. One that comes or goes meanwhile may or may not be among them.
    ///
    /// # Errors
    /// `NotFound` or `Permission`, of the directory.
    pub fn list(prefix: &str, options: &AreaOptions) -> Result<Vec<String>> {
        super::list(prefix, options.settings.directory.as_deref())
    }
}

/// What allocating led to: `None` when there is no room.
fn found_room<T>(allocated: Result<T, Status>) -> Result<Option<T>> {
    match allocated {
        Ok(allocated) => Ok(Some(allocated)),
        Err(Status::Full) => Ok(None),
        Err(status) => Err(fail!(Internal, "allocating ended with {status:?}")),
    }
}

/// A chunk that is allocated and not committed. Discarded when dropped.
#[derive(Debug)]
pub struct Draft<'a> {
    area: &'a mut Area,
    id: u64,
    data: *mut u8,
    size: u64,
}

impl Draft<'_> {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The first byte of the contents, which are zero.
    #[must_use]
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.data
    }

    /// How many bytes of contents there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.size
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// Copies `bytes` in, `offset` bytes from the beginning.
    ///
    /// # Errors
    /// `Invalid` when they do not fit.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let len = bytes.len() as u64;
        if offset > self.size || len > self.size - offset {
            return Err(fail!(Invalid, "{len} bytes at {offset} do not fit into a chunk of {}", self.size));
        }
        // SAFETY: inside the chunk, which is ours until it is committed.
        unsafe { store_bytes(bytes.as_ptr(), self.data.add(offset as usize), bytes.len()) };
        Ok(())
    }

    /// Makes it visible; from now on it does not change. Its version: how many chunks were committed with it.
    ///
    /// # Errors
    /// `Busy` in a forked child.
    pub fn commit(self) -> Result<u64> {
        self.area.writer.commit()
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if self.area.writer.allocated().is_some_and(|(id, _)| id == self.id) {
            let _ = self.area.writer.discard();
        }
    }
}

/// How to read an area.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ReaderOptions {
    directory: Option<PathBuf>,
    clock: Clock,
}

impl ReaderOptions {
    /// An area where POSIX shared memory lies, by the time since the machine started.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the manifest and the areas lie.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// The writer's clock, if it has one of its own.
    pub fn clock(mut self, clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.clock = Clock::new(clock);
        self
    }
}

/// A reader of an area. It needs permission to read only, and maps nothing that it could write to. For one thread at a time; there may be any number.
#[derive(Debug)]
pub struct Reader {
    raw: RawReader,
}

impl Reader {
    /// Begins at the oldest valid chunk.
    ///
    /// # Errors
    /// `NotFound`; `Permission`; `Version`; `Corrupt`.
    pub fn open(name: &str, options: &ReaderOptions) -> Result<Self> {
        let place = Place::new(name, options.directory.as_deref())?;
        Ok(Self { raw: RawReader::open(place, options.clock.clone())? })
    }

    /// The next chunk that is valid now, after the last one. Of an id, no older chunk comes after a newer one, whether this, [`get`](Self::get) or
    /// [`next_valid`](Self::next_valid) showed it; only [`seek`](Self::seek) goes back.
    ///
    /// # Errors
    /// `Closed` when the area was removed, once there is nothing left; `Corrupt`.
    #[expect(clippy::should_implement_trait, reason = "a chunk must not outlive the next call, and reading can fail")]
    pub fn next(&mut self) -> Result<Option<Chunk<'_>>> {
        Ok(self.raw.next()?.map(Chunk::new))
    }

    /// As [`next`](Self::next), waiting up to `timeout` (`Duration::MAX`: for ever) for one: asleep, not polling.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn next_wait(&mut self, timeout: Duration) -> Result<Option<Chunk<'_>>> {
        Ok(self.raw.next_wait(timeout)?.map(Chunk::new))
    }

    /// The newest chunk of an id, if it is valid. Where the reader is does not change: [`next`](Self::next) may still come to this chunk, but to
    /// none of its id that is older.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn get(&mut self, id: u64) -> Result<Option<Chunk<'_>>> {
        Ok(self.raw.get(id)?.map(Chunk::new))
    }

    /// The first chunk that is valid now and whose version is greater than `version`: begin with 0, and go on with the version of the last. Where
    /// the reader is does not change.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn next_valid(&mut self, version: u64) -> Result<Option<Chunk<'_>>> {
        Ok(self.raw.next_valid(version)?.map(Chunk::new))
    }

    /// Goes on after the chunk of that version, as [`ReaderStats::version`] or [`Chunk::version`] said it; 0: begins again.
    pub fn seek(&mut self, version: u64) {
        self.raw.seek(version);
    }

    /// Where it is.
    #[must_use]
    pub fn stats(&self) -> ReaderStats {
        self.raw.stats()
    }
}

/// A chunk that was committed. It does not change, and stays until the next call of its reader.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    found: Found,
    reader: PhantomData<&'a Reader>,
}

impl Chunk<'_> {
    fn new(found: Found) -> Self {
        Self { found, reader: PhantomData }
    }

    /// What it is known by; an update has the same.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.found.chunk.id
    }

    /// How many chunks were committed up to this one.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.found.chunk.version
    }

    /// When it expires, in nanoseconds of the clock; 0: never.
    #[must_use]
    pub fn expires(&self) -> u64 {
        self.found.chunk.expires
    }

    /// How many bytes of contents it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.found.chunk.size as usize
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first byte of the contents.
    #[must_use]
    pub fn as_ptr(&self) -> *const u8 {
        self.found.data
    }

    /// The contents in place.
    ///
    /// # Safety
    /// The writer keeps to the rules: it does not change what it has committed.
    #[must_use]
    pub unsafe fn as_slice(&self) -> &[u8] {
        // SAFETY: inside the area, and the caller's promise.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.len()) }
    }

    /// A copy of the contents.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(self.len());
        // SAFETY: as many bytes are there, and there is room for them.
        unsafe {
            std::ptr::copy_nonoverlapping(self.as_ptr(), copy.as_mut_ptr(), self.len());
            copy.set_len(self.len());
        }
        copy
    }
}
