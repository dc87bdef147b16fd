//! What a writer stores and readers load, and in which order: over a region, knowing no file.
//!
//! ```text
//! writer                                        reader
//!   commit                                        waiting
//!     version                relaxed                key = bell               acquire, `rung`
//!     state = WRITTEN        release, `written`     follow: current          acquire, `switched`
//!     committed = version    release                next: state              acquire, `written`
//!     old chunk = OBSOLETE   release                sleep while bell == key, but within
//!                                                   QUIET of rung not longer than until then
//!     ring
//!   ring
//!     bell += 1              seq_cst, `rung`
//!     woken within QUIET of now: done
//!     rung = now             relaxed
//!     bell += 1, wake        release, `rung`
//!   compaction                                    following
//!     the new area gets its name                    current                  acquire, `switched`
//!     current = generation   release, `switched`    open that area
//!     old area = OBSOLETE, and loses its name       it counts if current is the same, and removed is not set
//!   removal
//!     removed = 1            release
//!     areas lose their names
//! ```
//!
//! - `written`: a reader that sees a chunk WRITTEN sees its contents and header.
//! - `switched`: a reader that sees a generation finds its area whole, and under its name until the next switch.
//! - `rung`: a reader whose key is the bell after a change sees the change when it looks; with a key from before, it does not fall asleep.
//!
//! Waking is a system call, which takes longer than all the rest of a commit, and readers cannot say whether they sleep. So of commits in
//! quick succession the first one wakes. Nobody sleeps through the others: if a reader was asleep when the bell moved, the
//! writer looks at the time after that. Either QUIET has passed since `rung`, and it wakes; or it has not, and the reader, whose key says that it has
//! seen that `rung`, sleeps no longer than until it has. Clocks are read after the bell moved, and before sleeping; of `rung`, it is
//! the one that time namespaces do not shift, or a reader in another one would take it for long ago, or yet to come.

use super::layout::{
    ALLOCATED, AREA_OBSOLETE, AreaHeader, ChunkHeader, DISCARDED, FIRST, GRAIN, Manifest, UNALLOCATED, WRITTEN,
    chunk_bytes,
};
use crate::error::{Result, fail};
use crate::os::{futex, process};
use crate::segment::Region;
use crate::shared::{Dynamic, copy_committed};
use crate::sync::{Ordering, PUBLISH};

/// How often an area may be gone before it could be opened.
const TRIES: u32 = 1000;

/// How long a reader sleeps before it looks by itself, in nanoseconds: a writer can die between a commit and the bell.
const LONGEST_SLEEP: u64 = 500_000_000;

/// How many nanoseconds after waking its readers a writer may leave out waking them; they look by themselves then. In a model no time passes.
const QUIET: u64 = if cfg!(loom) { 0 } else { 20_000 };

/// An area's bytes. Whoever holds this also holds what they lie in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunks {
    region: Region,
    pub(crate) generation: u64,
}

/// A chunk's header, read once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) offset: u64,
    pub(crate) state: u32,
    pub(crate) id: u64,
    pub(crate) version: u64,
    pub(crate) size: u64,
    pub(crate) expires: u64,
    /// Where the chunk after it begins.
    pub(crate) next: u64,
}

impl Chunks {
    /// Makes a region of zero bytes an area without chunks. It has more bytes than an area's header, here and in `open`.
    pub(crate) fn create(region: Region, generation: u64, boot: u64) -> Self {
        let area = Self { region, generation };
        area.header().begin(area.bytes(), generation, boot);
        area
    }

    /// The area in a region, which is to be of that generation.
    pub(crate) fn open(region: Region, generation: u64, what: &str) -> Result<Self> {
        let area = Self { region, generation };
        area.header().check(area.bytes(), generation, what)?;
        Ok(area)
    }

    pub(crate) fn header(&self) -> &AreaHeader {
        // SAFETY: the region is larger, and begins where a page does; atomics only.
        unsafe { self.region.base().cast().as_ref() }
    }

    /// Bytes of the area.
    pub(crate) fn bytes(&self) -> u64 {
        self.region.len() as u64
    }

    /// All of it.
    #[cfg(not(loom))]
    pub(super) fn region(&self) -> Region {
        self.region
    }

    /// The header at `offset`, or `None` at the end.
    #[inline]
    fn at(&self, offset: u64) -> Option<&ChunkHeader> {
        self.region.at(offset)
    }

    /// The chunk at `offset`; `None` at the end, and where nothing is allocated. Its size was checked.
    #[inline]
    pub(crate) fn chunk(&self, offset: u64) -> Result<Option<Chunk>> {
        let Some(header) = self.at(offset) else { return Ok(None) };
        let state = header.state.load(Ordering::Acquire); // `written`
        if state == UNALLOCATED {
            return Ok(None);
        }
        let size = header.size.load(Ordering::Relaxed);
        let next = chunk_bytes(size).and_then(|bytes| bytes.checked_add(offset)).filter(|next| *next <= self.bytes());
        let (Some(next), ALLOCATED..=DISCARDED) = (next, state) else {
            return Err(fail!(
                Corrupt,
                "the chunk at {offset} of an area of {} bytes says that it has {size} and state {state}",
                self.bytes()
            ));
        };
        Ok(Some(Chunk {
            offset,
            state,
            id: header.id.load(Ordering::Relaxed),
            // Its writer may have died between giving it a version and committing it; then the version is another's.
            version: if state == DISCARDED { 0 } else { header.version.load(Ordering::Relaxed) },
            size,
            expires: header.expires.load(Ordering::Relaxed),
            next,
        }))
    }

    /// The address of the contents of the chunk at `offset`, which are `size` bytes. Null when they are not all inside.
    #[inline]
    pub(crate) fn contents(&self, offset: u64, size: u64) -> *mut u8 {
        self.region.part(offset + GRAIN, size).map_or(std::ptr::null_mut(), |part| part.base().as_ptr())
    }

    /// Allocates a chunk of the writer's at `offset`, if there is room.
    pub(crate) fn allocate(&self, offset: u64, id: u64, size: u64, expires: u64) -> Option<Chunk> {
        let next = chunk_bytes(size)?.checked_add(offset).filter(|next| *next <= self.bytes())?;
        let chunk = Chunk { offset, state: ALLOCATED, id, version: 0, size, expires, next };
        self.enter(&chunk)?;
        Some(chunk)
    }

    /// Stores a header; what is before this in the program is seen by whoever sees its state.
    fn enter(&self, chunk: &Chunk) -> Option<()> {
        let header = self.at(chunk.offset)?;
        header.id.store(chunk.id, Ordering::Relaxed);
        header.version.store(chunk.version, Ordering::Relaxed);
        header.size.store(chunk.size, Ordering::Relaxed);
        header.expires.store(chunk.expires, Ordering::Relaxed);
        header.state.store(chunk.state, Ordering::Release);
        Some(())
    }

    /// Has an allocated chunk expire at another time.
    pub(crate) fn set_expires(&self, offset: u64, expires: u64) {
        if let Some(header) = self.at(offset) {
            header.expires.store(expires, Ordering::Relaxed); // `written` comes after it
        }
    }

    pub(crate) fn mark(&self, offset: u64, state: u32) {
        if let Some(header) = self.at(offset) {
            header.state.store(state, Ordering::Release);
        }
    }

    /// Copies the chunks that are `valid` to `to`, an empty area that nobody sees yet.
    pub(crate) fn copy_to(&self, to: &Self, valid: impl Fn(&Chunk) -> bool) -> Result<()> {
        let (mut offset, mut tail) = (FIRST, FIRST);
        while let Some(chunk) = self.chunk(offset)? {
            offset = chunk.next;
            if chunk.state == WRITTEN && valid(&chunk) {
                tail = self.copy(&chunk, to, tail)?;
            }
        }
        Ok(())
    }

    /// Copies a chunk to `tail` of another area; where the next one will lie.
    fn copy(&self, chunk: &Chunk, to: &Self, tail: u64) -> Result<u64> {
        let smaller = || fail!(Corrupt, "a chunk of {} bytes was smaller when it was committed", chunk.size);
        let (source, target) = (self.contents(chunk.offset, chunk.size), to.contents(tail, chunk.size));
        if source.is_null() || target.is_null() {
            return Err(smaller());
        }
        // SAFETY: both are inside their areas; nobody changes what was committed, and nobody else has the new area.
        unsafe { copy_committed(Dynamic(chunk.size as usize), source, target) };
        let next = tail + (chunk.next - chunk.offset);
        to.enter(&Chunk { offset: tail, next, ..*chunk }).ok_or_else(smaller)?;
        Ok(next)
    }
}

impl Manifest {
    /// Makes an allocated chunk visible, which has its version.
    pub(crate) fn commit(&self, area: &Chunks, chunk: &Chunk) {
        if let Some(header) = area.at(chunk.offset) {
            header.version.store(chunk.version, Ordering::Relaxed);
            header.state.store(WRITTEN, PUBLISH); // `written`
        }
        self.committed.store(chunk.version, Ordering::Release);
    }

    /// Has readers look again, who are awake now or within [`QUIET`].
    pub(crate) fn ring(&self) {
        // Sequentially consistent, so that it is there for others before we look at the time.
        self.bell.fetch_add(1, if cfg!(seeded_bug) { PUBLISH } else { Ordering::SeqCst }); // `rung`
        if process::since_boot().wrapping_sub(self.rung.load(Ordering::Relaxed)) >= QUIET {
            self.wake();
        }
    }

    /// Has readers look again now.
    pub(crate) fn wake(&self) {
        self.rung.store(process::since_boot(), Ordering::Relaxed);
        self.bell.fetch_add(1, PUBLISH); // `rung`
        futex::wake_all(&self.bell);
    }

    /// Makes another area the current one, and has the former one lose its name.
    pub(crate) fn switch(&self, generation: u64, former: &Chunks, unlink: impl FnOnce()) {
        self.current.store(generation, PUBLISH); // `switched`
        former.header().state.store(AREA_OBSOLETE, Ordering::Release);
        unlink();
    }

    /// Tells readers that everything goes, and has it go.
    pub(crate) fn remove(&self, unlink: impl FnOnce() -> Result<()>) -> Result<()> {
        #[cfg(not(seeded_bug))]
        self.removed.store(1, Ordering::Release);
        unlink()?;
        self.ring();
        Ok(())
    }

    /// Whether everything was removed, or is being.
    pub(crate) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire) != 0
    }

    /// What a reader that is at generation `at` is to move over to, if that is another area: what `open` made of the current one, or `None` when
    /// there is no area of this name.
    ///
    /// A name stands for its area until that has been replaced or removed, and then perhaps for somebody else's. So whatever was opened, or was not,
    /// counts only if neither had been said by then.
    #[inline]
    pub(crate) fn follow<T>(
        &self,
        at: u64,
        what: impl Fn() -> String,
        mut open: impl FnMut(u64) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        for _ in 0..TRIES {
            let current = self.current.load(Ordering::Acquire); // `switched`
            if current == at {
                return Ok(None);
            }
            let opened = open(current);
            let same = self.current.load(Ordering::Acquire) == current;
            if self.is_removed() {
                return Ok(None);
            }
            if same {
                let missing =
                    || fail!(Corrupt, "there is no generation {current} of {}, although the manifest says so", what());
                return opened?.ok_or_else(missing).map(Some);
            }
        }
        Err(fail!(Busy, "{} was replaced {TRIES} times while this reader tried to open it", what()))
    }
}

/// Repeats `look` until it finds something, or until `deadline`: asleep, without a word to the writer. What a writer committed and died before it rang
/// for is found within half a second.
pub(crate) fn wait<R, T>(
    reader: &mut R,
    manifest: impl Fn(&R) -> &Manifest,
    deadline: u64,
    mut look: impl FnMut(&mut R) -> Result<Option<T>>,
) -> Result<Option<T>> {
    loop {
        let key = manifest(reader).bell.load(Ordering::Acquire); // `rung`
        if let Some(found) = look(reader)? {
            return Ok(Some(found));
        }
        let now = process::now();
        if now >= deadline {
            return Ok(None);
        }
        let longest = longest_sleep(process::since_boot(), manifest(reader).rung.load(Ordering::Relaxed));
        futex::wait(&manifest(reader).bell, key, deadline.min(now.saturating_add(longest)));
    }
}

/// How long a reader may sleep that found nothing at `now`, when sleepers were last woken at `rung`: so soon after that, a commit does not
/// wake it. A time that is yet to come is nobody's.
fn longest_sleep(now: u64, rung: u64) -> u64 {
    let since = now.wrapping_sub(rung);
    if since < QUIET { QUIET - since } else { LONGEST_SLEEP }
}

/// How far a reader has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    /// Where the chunk after the last one lies.
    pub(crate) offset: u64,
    /// The version of the last chunk that it got or passed over.
    pub(crate) passed: u64,
    pub(crate) received: u64,
    pub(crate) skipped: u64,
}

impl Default for Cursor {
    fn default() -> Self {
        Self { offset: FIRST, passed: 0, received: 0, skipped: 0 }
    }
}

impl Cursor {
    /// The next chunk that is valid, if it is committed.
    pub(crate) fn next(&mut self, area: &Chunks, is_valid: impl Fn(&Chunk) -> bool) -> Result<Option<Chunk>> {
        while let Some(chunk) = area.chunk(self.offset)? {
            if chunk.state == ALLOCATED {
                break;
            }
            let valid = chunk.state == WRITTEN && is_valid(&chunk);
            self.offset = chunk.next;
            // Discarded chunks are read with version 0; what was passed already in a former area has a smaller one.
            if chunk.version <= self.passed {
                continue;
            }
            let between = chunk.version - self.passed - 1;
            self.passed = chunk.version;
            self.skipped = self.skipped.saturating_add(between);
            if valid {
                self.received += 1;
                return Ok(Some(chunk));
            }
            self.skipped = self.skipped.saturating_add(1);
        }
        Ok(None)
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::super::layout::OBSOLETE;
    use super::*;
    use crate::segment::region::heap::HeapRegion;
    use crate::shared::{load_element, store_element};
    use crate::sync::{AtomicU32, explore};
    use loom::cell::UnsafeCell as Cell;
    use loom::sync::Arc;

    const SIZE: u64 = size_of::<Cell<u64>>() as u64;
    /// How many chunks an area has room for, each with a word in a cell, which reports every race on it.
    const ROOM: u64 = 3;
    const CHUNK: u64 = 2 * GRAIN;

    /// A manifest, and areas that have names or have not.
    struct Model {
        heap: HeapRegion,
        areas: Vec<HeapRegion>,
        names: Vec<AtomicU32>,
    }

    // SAFETY: atomics, and cells that report whatever is shared wrongly.
    unsafe impl Sync for Model {}
    // SAFETY: as above.
    unsafe impl Send for Model {}

    impl Model {
        /// Room for so many areas, of which the first is there.
        fn new(areas: u64) -> Arc<Self> {
            let heap = HeapRegion::new(size_of::<Manifest>());
            // SAFETY: fresh, large enough and ours.
            unsafe { heap.region().base().cast::<Manifest>().write(Manifest::new()) };
            let names = (0..areas).map(|_| AtomicU32::new(0)).collect();
            let model = Self { heap, areas: (0..areas).map(|_| empty()).collect(), names };
            model.create(1);
            model.current.store(1, Ordering::Relaxed);
            Arc::new(model)
        }

        fn area(&self, generation: u64) -> Chunks {
            Chunks { region: self.areas[generation as usize - 1].region(), generation }
        }

        /// That an area has a name says nothing of its bytes here, so what readers see of them is the work of `switched` alone.
        fn create(&self, generation: u64) -> Chunks {
            let area = Chunks::create(self.areas[generation as usize - 1].region(), generation, 7);
            self.names[generation as usize - 1].store(1, Ordering::Relaxed);
            area
        }

        /// Who finds no name sees what was done before it was taken away: that much a file system gives.
        fn unlink(&self, generation: u64) {
            self.names[generation as usize - 1].store(0, Ordering::Release);
        }

        fn is_named(&self, generation: u64) -> bool {
            self.names[generation as usize - 1].load(Ordering::Acquire) == 1
        }

        /// As a writer does it: what it replaces is marked after the commit, and then the bell rings.
        fn write(&self, area: &Chunks, offset: u64, id: u64, version: u64, replaced: Option<u64>) {
            let mut chunk = area.allocate(offset, id, SIZE, 0).unwrap();
            let word = contents(id, version);
            // SAFETY: allocated; in a model, contents are a cell.
            unsafe { store_element(Dynamic(8), std::ptr::from_ref(&word).cast(), area.contents(offset, SIZE)) };
            chunk.version = version;
            self.commit(area, &chunk);
            if let Some(offset) = replaced {
                area.mark(offset, OBSOLETE);
            }
            self.ring();
        }
    }

    impl std::ops::Deref for Model {
        type Target = Manifest;

        fn deref(&self) -> &Manifest {
            // SAFETY: a manifest lies there as long as the heap does.
            unsafe { self.heap.region().base().cast().as_ref() }
        }
    }

    /// Zero bytes, as loom has them: its atomics and cells are made before they are used.
    fn empty() -> HeapRegion {
        let heap = HeapRegion::new((FIRST + ROOM * CHUNK) as usize);
        let base = heap.region().base();
        // SAFETY: fresh, large enough and ours.
        unsafe {
            base.cast().write(AreaHeader::new());
            for nth in 0..ROOM {
                let chunk = base.add((FIRST + nth * CHUNK) as usize);
                chunk.cast().write(ChunkHeader::new());
                chunk.add(GRAIN as usize).cast().write(Cell::new(0_u64));
            }
        }
        heap
    }

    /// Not zero, which is what memory holds at first.
    fn contents(id: u64, version: u64) -> u64 {
        id * 100 + version
    }

    struct Reader {
        model: Arc<Model>,
        open: Option<Chunks>,
        cursor: Cursor,
    }

    impl Reader {
        fn new(model: &Arc<Model>) -> Self {
            Self { model: model.clone(), open: None, cursor: Cursor::default() }
        }

        /// The id and the version of the next chunk, whose contents were looked at.
        fn next(&mut self) -> Result<Option<(u64, u64)>> {
            let (model, at) = (&self.model, self.open.map_or(0, |open| open.generation));
            let opened = model.follow(at, String::new, |generation| {
                if !model.is_named(generation) {
                    return Ok(None);
                }
                Chunks::open(model.area(generation).region, generation, "an area").map(Some)
            })?;
            if opened.is_some() {
                (self.open, self.cursor.offset) = (opened, FIRST);
            }
            let Some(area) = self.open else { return Ok(None) };
            let Some(chunk) = self.cursor.next(&area, |_| true)? else { return Ok(None) };
            let mut word = 0_u64;
            // SAFETY: committed.
            unsafe {
                load_element(Dynamic(8), area.contents(chunk.offset, chunk.size), std::ptr::from_mut(&mut word).cast());
            }
            assert_eq!((word, chunk.size), (contents(chunk.id, chunk.version), SIZE), "not whole");
            Ok(Some((chunk.id, chunk.version)))
        }

        fn wait(&mut self) -> (u64, u64) {
            wait(self, |reader| &reader.model, u64::MAX, Self::next).unwrap().unwrap()
        }

        /// Waits for the chunk of that version; each before it was received or passed over, and none twice.
        fn reach(&mut self, last: u64) -> Vec<(u64, u64)> {
            let mut seen = Vec::new();
            while self.cursor.passed < last {
                seen.push(self.wait());
            }
            assert!(seen.is_sorted_by_key(|(_, version)| *version), "{seen:?}");
            assert_eq!((self.cursor.received, self.cursor.received + self.cursor.skipped), (seen.len() as u64, last));
            seen
        }
    }

    #[test]
    fn loom_chunks_are_seen_whole_and_in_order() {
        explore(|| {
            let model = Model::new(1);
            let mut reader = Reader::new(&model);
            let thread = loom::thread::spawn(move || {
                let area = model.area(1);
                model.write(&area, FIRST, 1, 1, None);
                model.write(&area, FIRST + CHUNK, 1, 2, Some(FIRST));
            });
            let mut seen = Vec::new();
            for _ in 0..2 {
                seen.extend(reader.next().unwrap());
            }
            thread.join().unwrap();
            seen.extend(std::iter::from_fn(|| reader.next().unwrap()));
            assert!(matches!(seen[..], [(1, 2)] | [(1, 1), (1, 2)]), "{seen:?}");
            assert_eq!(reader.cursor.received + reader.cursor.skipped, 2);
        });
    }

    #[test]
    fn loom_no_commit_is_slept_through() {
        explore(|| {
            let model = Model::new(1);
            let mut reader = Reader::new(&model);
            let thread = loom::thread::spawn(move || model.write(&model.area(1), FIRST, 1, 1, None));
            assert_eq!(reader.wait(), (1, 1));
            thread.join().unwrap();
        });
    }

    #[test]
    fn loom_a_reader_follows_to_another_area_and_misses_nothing() {
        explore(|| {
            let model = Model::new(2);
            model.write(&model.area(1), FIRST, 1, 1, None);
            let mut reader = Reader::new(&model);
            let thread = loom::thread::spawn(move || {
                let old = model.area(1);
                model.write(&old, FIRST + CHUNK, 2, 2, None);
                let new = model.create(2);
                old.copy_to(&new, |chunk| chunk.id == 2).unwrap();
                model.switch(2, &old, || model.unlink(1));
                model.ring();
                model.write(&new, FIRST + CHUNK, 3, 3, None);
            });
            let seen = reader.reach(3);
            assert!(matches!(seen[..], [(1, 1), (2, 2), (3, 3)] | [(2, 2), (3, 3)]), "{seen:?}");
            thread.join().unwrap();
            assert_eq!(reader.open.unwrap().generation, 2);
        });
    }

    #[test]
    fn loom_what_is_removed_is_never_taken_for_corruption() {
        explore(|| {
            let model = Model::new(2);
            let mut reader = Reader::new(&model);
            let thread = loom::thread::spawn(move || {
                let new = model.create(2);
                model.switch(2, &model.area(1), || model.unlink(1));
                model.ring();
                let _: Result<()> = model.remove(|| {
                    model.unlink(new.generation);
                    Ok(())
                });
            });
            let told = |reader: &mut Reader| {
                assert_eq!(reader.next()?, None);
                Ok(reader.model.is_removed().then_some(()))
            };
            wait(&mut reader, |reader| &reader.model, u64::MAX, told).unwrap();
            thread.join().unwrap();
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn nobody_sleeps_longer_than_until_commits_wake_again() {
        const RUNG: u64 = 1 << 40;
        for since in [0, 1, QUIET - 1] {
            assert_eq!(longest_sleep(RUNG + since, RUNG), QUIET - since);
        }
        for rung in [0, RUNG - QUIET, RUNG + 1, u64::MAX] {
            assert_eq!(longest_sleep(RUNG, rung), LONGEST_SLEEP, "{rung}");
        }
    }
}
