//! Speculo, in C: areas of chunks, and their readers.

use std::cell::UnsafeCell;
use std::ffi::{c_char, c_void};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::status::shm_status;
use super::structure;
use super::{
    SHM_ANY_OWNER, SHM_EXCLUSIVE, SHM_NAME_CAPACITY, guard, need, need_bytes, need_out, need_path, need_text,
    only_flags, put, put_text, timeout,
};
use crate::error::{Result, Status, fail};
use crate::speculo::{Clock, Found, Place, RawReader, Settings, Writer, list, unlink};

/// An area of chunks: first what it is to be, then, created or opened, its writer. There is one living writer per area.
///
/// For one thread at a time; a call during another call, or from the handle's own clock, is SHM_ERR_BUSY. After `fork` the writer is the
/// parent's: the child's calls that would change anything are SHM_ERR_BUSY, and it may close its copy.
pub struct speculo_area {
    busy: AtomicBool,
    inner: UnsafeCell<AreaState>,
}

struct AreaState {
    name: String,
    settings: Settings,
    clock: Clock,
    writer: Option<Writer>,
}

/// A reader of an area. It maps nothing that it could write to. For one thread at a time; there may be any number.
pub struct speculo_reader {
    busy: AtomicBool,
    inner: UnsafeCell<ReaderState>,
}

struct ReaderState {
    reader: RawReader,
    place: Place,
    /// Once it was asked for a chunk, its clock stays.
    used: bool,
}

/// The name of an area.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct speculo_area_name {
    /// NUL-terminated.
    pub name: [c_char; SHM_NAME_CAPACITY],
}

/// A chunk to be written, in the caller's memory. `speculo_chunk_init` first. It is never moved by the library and needs no closing, but what was
/// allocated with it is committed or discarded.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct speculo_chunk {
    /// The area it is of.
    pub area: *mut speculo_area,
    /// What the contents are known by; an update has the same. 0 before the first allocation. May be set to a known one before an update.
    pub id: u64,
    /// The version of the last commit with it; 0: allocated, or not committed yet.
    pub version: u64,
    /// Bytes of the contents.
    pub size: u64,
    /// When it expires, as `speculo_chunk_set_expiration` said.
    pub expires: u64,
    /// The contents while it is allocated; else NULL.
    pub data: *mut c_void,
    /// Zero, for later.
    pub reserved: [u64; 4],
}

/// A chunk that was read. It does not change, and is there until the next call of its reader.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct speculo_view {
    /// The first byte of the contents; at a multiple of 64.
    pub data: *const c_void,
    /// Bytes of the contents.
    pub size: u64,
    /// What it is known by; an update has the same.
    pub id: u64,
    /// How many chunks were committed up to this one.
    pub version: u64,
    /// When it expires, in nanoseconds of the clock; 0: never.
    pub expires: u64,
}

/// What a writer knows of its area.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct speculo_area_stats {
    /// The number of the area: 1 of the first, and greater after every compaction.
    pub generation: u64,
    /// Bytes of the area.
    pub bytes: u64,
    /// Bytes of it that are taken, by whatever chunks.
    pub used: u64,
    /// Bytes of chunks that are valid.
    pub live: u64,
    /// How many chunks are valid.
    pub chunks: u64,
    /// The version of the newest chunk: how many were ever committed.
    pub committed: u64,
    /// Bytes of former areas that readers still keep in memory.
    pub pinned: u64,
    /// How often this writer compacted.
    pub compactions: u64,
    /// Nonzero when the name no longer leads here: somebody removed the files by hand, and nobody else will ever find this area.
    pub orphaned: u64,
    /// Zero, for later.
    pub reserved: [u64; 3],
}

/// Where a reader is.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct speculo_reader_stats {
    /// The generation of the area it reads; 0: none yet.
    pub generation: u64,
    /// The version of the last chunk it got or passed over: what `speculo_reader_seek` takes.
    pub version: u64,
    /// How many chunks it got.
    pub received: u64,
    /// How many chunks it passed over, because they were replaced, obsolete or expired before it came to them.
    pub skipped: u64,
    /// How many chunks were committed since.
    pub lag: u64,
    /// Bytes of the area it has mapped.
    pub bytes: u64,
    /// Nonzero when the name no longer leads here: somebody removed the files, and who opens the name now gets another area or none.
    pub orphaned: u64,
    /// Zero, for later.
    pub reserved: [u64; 3],
}

/// The caller's clock.
struct Callback {
    now: unsafe extern "C-unwind" fn(context: *mut c_void) -> u64,
    context: *mut c_void,
}

// SAFETY: called by the thread that uses the handle, and by no other; its context goes where the handle goes, which the caller decides.
unsafe impl Send for Callback {}
// SAFETY: as above.
unsafe impl Sync for Callback {}

impl Callback {
    fn call(&self) -> u64 {
        // SAFETY: the caller's promise. What it throws unwinds to `guard`, where it ends, if need be with the program.
        unsafe { (self.now)(self.context) }
    }
}

fn clock(now: Option<unsafe extern "C-unwind" fn(context: *mut c_void) -> u64>, context: *mut c_void) -> Result<Clock> {
    let now = now.ok_or_else(|| fail!(Invalid, "now is NULL"))?;
    let callback = Callback { now, context };
    Ok(Clock::new(move || callback.call()))
}

/// Runs `body` with what is in a handle, alone.
fn alone<T, R>(
    busy: &AtomicBool,
    inner: &UnsafeCell<T>,
    what: &str,
    body: impl FnOnce(&mut T) -> Result<R>,
) -> Result<R> {
    struct Leave<'a>(&'a AtomicBool);
    impl Drop for Leave<'_> {
        fn drop(&mut self) {
            self.0.store(false, Ordering::Release);
        }
    }
    if busy.swap(true, Ordering::Acquire) {
        return Err(fail!(Busy, "this {what} is in the middle of another call"));
    }
    let _leave = Leave(busy);
    // SAFETY: whoever set the flag is alone.
    body(unsafe { &mut *inner.get() })
}

fn with_area<R>(area: Option<&speculo_area>, body: impl FnOnce(&mut AreaState) -> Result<R>) -> Result<R> {
    let area = need(area, "area")?;
    alone(&area.busy, &area.inner, "area", body)
}

/// Runs `body` with the writer of an area that was created or opened.
fn with_writer<R>(area: Option<&speculo_area>, body: impl FnOnce(&mut Writer) -> Result<R>) -> Result<R> {
    with_area(area, |state| match &mut state.writer {
        Some(writer) => body(writer),
        None => Err(fail!(Invalid, "area '{}' was neither created nor opened", state.name)),
    })
}

fn with_reader<R>(reader: Option<&speculo_reader>, body: impl FnOnce(&mut RawReader) -> Result<R>) -> Result<R> {
    let reader = need(reader, "reader")?;
    alone(&reader.busy, &reader.inner, "reader", |state| {
        state.used = true;
        body(&mut state.reader)
    })
}

/// Changes a setting of an area that was neither created nor opened yet.
fn set(area: Option<&speculo_area>, change: impl FnOnce(&mut AreaState) -> Result<()>) -> shm_status {
    guard(|| {
        with_area(area, |state| {
            if state.writer.is_some() {
                return Err(fail!(Invalid, "area '{}' is in use; settings come before", state.name));
            }
            change(state)
        })?;
        Ok(Status::Ok)
    })
}

impl AreaState {
    fn place(&self) -> Result<Place> {
        Place::new(&self.name, self.settings.directory.as_deref())
    }

    fn start(&mut self, begin: impl FnOnce(Place, Settings, Clock) -> Result<Writer>) -> Result<Status> {
        if self.writer.is_some() {
            return Err(fail!(Invalid, "area '{}' was created or opened already", self.name));
        }
        self.writer = Some(begin(self.place()?, self.settings.clone(), self.clock.clone())?);
        Ok(Status::Ok)
    }
}

/// Makes a handle that holds what an area is to be, until `speculo_area_create` or `speculo_area_open`. Flags: SHM_EXCLUSIVE (create only),
/// SHM_ANY_OWNER. It is closed with `speculo_area_close`.
///
/// Errors: SHM_ERR_INVALID for an impossible name or flag.
///
/// # Safety
/// `name` is NULL or a string; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_area_new(name: *const c_char, flags: u32, out: *mut *mut speculo_area) -> shm_status {
    guard(|| {
        let out = need_out(out, "out")?;
        // SAFETY: the caller's promise.
        let name = unsafe { need_text(name, "name") }?.to_owned();
        only_flags(flags, SHM_EXCLUSIVE | SHM_ANY_OWNER, "areas")?;
        Place::new(&name, None)?;
        let settings = Settings {
            exclusive: flags & SHM_EXCLUSIVE != 0,
            any_owner: flags & SHM_ANY_OWNER != 0,
            ..Settings::default()
        };
        let state = AreaState { name, settings, clock: Clock::default(), writer: None };
        let area = speculo_area { busy: AtomicBool::new(false), inner: UnsafeCell::new(state) };
        structure::give(area, out)
    })
}

/// Bytes of the area at most; 1 MiB unless told. It grows and shrinks with what is valid in it.
///
/// Errors: SHM_ERR_INVALID once the area was created or opened, as for every setting. Whether a setting is possible is said then.
///
/// # Safety
/// `area` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_area_set_max_size(area: Option<&speculo_area>, bytes: u64) -> shm_status {
    set(area, |state| {
        state.settings.largest = bytes;
        state.settings.smallest = state.settings.smallest.min(bytes);
        Ok(())
    })
}

/// Bytes of the area at first, and at least, unless a compaction finds no room for so many; 64 KiB unless told. Comes after `speculo_area_set_max_size`.
///
/// # Safety
/// `area` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_area_set_min_size(area: Option<&speculo_area>, bytes: u64) -> shm_status {
    set(area, |state| {
        state.settings.smallest = bytes;
        Ok(())
    })
}

/// Bytes of former areas that readers may keep in memory, before the area is not compacted any more. Without limit unless told.
///
/// # Safety
/// `area` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_area_set_max_pinned(area: Option<&speculo_area>, bytes: u64) -> shm_status {
    set(area, |state| {
        state.settings.most_pinned = bytes;
        Ok(())
    })
}

/// Permission bits, exact whatever the umask; 0600 unless told, which the owner needs at least. Readers need to be allowed to read only. An area that
/// is there keeps its own.
///
/// # Safety
/// `area` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_area_set_mode(area: Option<&speculo_area>, mode: u32) -> shm_status {
    set(area, |state| {
        state.settings.mode = mode;
        Ok(())
    })
}

/// Where the manifest and the areas lie, if not where POSIX shared memory does.
///
/// # Safety
/// `area` is NULL or a handle; `path` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_area_set_directory(area: Option<&speculo_area>, path: *const c_char) -> shm_status {
    set(area, |state| {
        // SAFETY: the caller's promise.
        state.settings.directory = Some(unsafe { need_path(path) }?.to_owned());
        Ok(())
    })
}

/// How many percent of the area, 1 to 100, have to be wasted before it is compacted although there is room; 50 unless told.
///
/// # Safety
/// `area` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_area_set_gc_threshold(area: Option<&speculo_area>, percent: u32) -> shm_status {
    set(area, |state| {
        state.settings.threshold = percent;
        Ok(())
    })
}

/// Another clock than `speculo_now`: `now(context)` says how many nanoseconds it is. Readers need the same. It is called in calls of this handle
/// alone, and must not throw: that may end the program.
///
/// # Safety
/// `area` is NULL or a handle; `now` is NULL or a function that may be called with `context` until the handle is closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_area_set_clock(
    area: Option<&speculo_area>,
    now: Option<unsafe extern "C-unwind" fn(context: *mut c_void) -> u64>,
    context: *mut c_void,
) -> shm_status {
    set(area, |state| {
        state.clock = clock(now, context)?;
        Ok(())
    })
}

/// Makes the area, or continues the one that is there where its last writer stopped: what that had committed is kept, what it had only allocated is
/// dropped.
///
/// Errors: SHM_ERR_BUSY when it has a living writer; SHM_ERR_EXISTS with SHM_EXCLUSIVE; SHM_ERR_INVALID for an impossible setting;
/// SHM_ERR_NO_SPACE; SHM_ERR_NOT_FOUND for a directory that is not there; SHM_ERR_PERMISSION, also for an area of another user without
/// SHM_ANY_OWNER; SHM_ERR_CORRUPT or SHM_ERR_VERSION when the name belongs to something else.
///
/// # Safety
/// `area` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_area_create(area: Option<&speculo_area>) -> shm_status {
    guard(|| with_area(area, |state| state.start(Writer::create)))
}

/// Continues an area that is there.
///
/// Errors: SHM_ERR_NOT_FOUND; else as `speculo_area_create`.
///
/// # Safety
/// `area` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_area_open(area: Option<&speculo_area>) -> shm_status {
    guard(|| with_area(area, |state| state.start(Writer::open)))
}

/// Ends the handle. The area stays; what was allocated and not committed is discarded.
///
/// # Safety
/// `area` is NULL or a handle that was not closed yet; no other thread, no clock and no chunk uses it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_area_close(area: *mut speculo_area) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::close(area, "area") }
}

/// Removes the area, for everybody: readers keep what they have, and are told SHM_CLOSED. The handle is as before it was created or opened.
/// A handle that was neither removes the area it is for, if nobody writes to it.
///
/// Errors: SHM_ERR_NOT_FOUND; SHM_ERR_BUSY when it has another living writer; SHM_ERR_PERMISSION.
///
/// # Safety
/// `area` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_area_unlink(area: Option<&speculo_area>) -> shm_status {
    guard(|| {
        with_area(area, |state| {
            if let Some(writer) = &state.writer {
                writer.unlink()?;
                state.writer = None;
                return Ok(Status::Ok);
            }
            remove(&state.place()?, &state.settings)
        })
    })
}

fn remove(place: &Place, settings: &Settings) -> Result<Status> {
    if unlink(place, settings)? { Ok(Status::Ok) } else { Err(fail!(NotFound, "there is no {}", place.what())) }
}

/// Where POSIX shared memory lies, for NULL.
///
/// # Safety
/// `directory` is NULL or a string that outlives the result.
pub(super) unsafe fn directory<'a>(directory: *const c_char) -> Result<Option<&'a Path>> {
    // SAFETY: the caller's promise.
    if directory.is_null() { Ok(None) } else { unsafe { need_path(directory) }.map(Some) }
}

/// Removes the area `name`, which nobody writes to, in `directory` (NULL: where POSIX shared memory lies).
///
/// Errors: as `speculo_area_unlink`.
///
/// # Safety
/// `name` is NULL or a string; `directory` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_area_unlink_name(name: *const c_char, directory: *const c_char) -> shm_status {
    guard(|| {
        // SAFETY: the caller's promises.
        let (name, directory) = unsafe { (need_text(name, "name")?, self::directory(directory)?) };
        remove(&Place::new(name, directory)?, &Settings::default())
    })
}

/// Lists the areas in `directory` (NULL: where POSIX shared memory lies) whose names begin with `prefix` ("": all of them), in alphabetical order. Fills
/// at most `capacity` elements of `out` (which may be NULL when `capacity` is 0) and sets `count` to how many there are, which may be more. One that
/// comes or goes meanwhile may or may not be among them.
///
/// Errors: SHM_ERR_NOT_FOUND or SHM_ERR_PERMISSION, of the directory.
///
/// # Safety
/// `prefix` is NULL or a string; `directory` is NULL or a string; `out` has room for `capacity` elements; `count` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_area_list(
    prefix: *const c_char,
    directory: *const c_char,
    out: *mut speculo_area_name,
    capacity: usize,
    count: *mut usize,
) -> shm_status {
    guard(|| {
        let count = need_out(count, "count")?;
        if capacity > 0 {
            need_out(out, "out")?;
        }
        // SAFETY: the caller's promises.
        let names = unsafe { list(need_text(prefix, "prefix")?, self::directory(directory)?) }?;
        for (index, name) in names.iter().take(capacity).enumerate() {
            // SAFETY: less than `capacity`, and the caller's promise.
            unsafe { out.add(index).write(speculo_area_name { name: put_text(name) }) };
        }
        put(count, names.len());
        Ok(Status::Ok)
    })
}

/// Commits a chunk with a copy of `size` bytes, which expires at `expires` (nanoseconds of the clock; 0: never), and sets `id` (may be NULL) to
/// what it is known by: SHM_OK, or SHM_FULL when there is no room, and none can be made.
///
/// Errors: as `speculo_chunk_allocate`.
///
/// # Safety
/// `area` is NULL or a handle; `data` is NULL or readable for `size` bytes; `id` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_area_write(
    area: Option<&speculo_area>,
    data: *const c_void,
    size: u64,
    expires: u64,
    id: *mut u64,
) -> shm_status {
    guard(|| {
        if size > 0 {
            need_bytes(data, "data")?;
        }
        // SAFETY: the caller's promise.
        with_writer(area, |writer| match unsafe { writer.write(data.cast(), size, expires) }? {
            Ok(new) => {
                put(id, new);
                Ok(Status::Ok)
            }
            Err(status) => Ok(status),
        })
    })
}

/// Says that chunk `id` counts no more.
///
/// Errors: SHM_ERR_NOT_FOUND when there is no valid chunk of this id.
///
/// # Safety
/// `area` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_area_obsolete(area: Option<&speculo_area>, id: u64) -> shm_status {
    guard(|| with_writer(area, |writer| writer.obsolete(id).map(|()| Status::Ok)))
}

/// Moves what is valid to a new area now: SHM_OK, or SHM_EMPTY when nothing would be gained, or readers pin too much.
///
/// Errors: SHM_ERR_BUSY while a chunk is allocated; SHM_ERR_NO_SPACE; nothing is lost then.
///
/// # Safety
/// `area` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_area_collect(area: Option<&speculo_area>) -> shm_status {
    guard(|| with_writer(area, |writer| Ok(if writer.collect()? { Status::Ok } else { Status::Empty })))
}

/// How full the area is, and what keeps memory.
///
/// # Safety
/// `area` is NULL or a handle; `stats` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_area_get_stats(
    area: Option<&speculo_area>,
    stats: *mut speculo_area_stats,
) -> shm_status {
    guard(|| {
        let stats = need_out(stats, "stats")?;
        let found = with_writer(area, |writer| Ok(writer.stats()))?;
        let translated = speculo_area_stats {
            generation: found.generation,
            bytes: found.bytes,
            used: found.used,
            live: found.live,
            chunks: found.chunks,
            committed: found.committed,
            pinned: found.pinned,
            compactions: found.compactions,
            orphaned: found.orphaned.into(),
            reserved: [0; 3],
        };
        put(stats, translated);
        Ok(Status::Ok)
    })
}

/// What time it is for areas without a clock of their own: nanoseconds since the machine started, time asleep included (CLOCK_BOOTTIME). Setting the
/// machine's time does not change it, and it is the same in every time namespace: there, CLOCK_BOOTTIME less the namespace's offset.
///
/// # Safety
/// `now` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_now(now: *mut u64) -> shm_status {
    guard(|| {
        put(need_out(now, "now")?, Clock::default().now());
        Ok(Status::Ok)
    })
}

/// Prepares a chunk of `area`: no id, never expires.
///
/// # Safety
/// `chunk` is NULL or writable; `area` is NULL or a handle, which is closed after the last call with this chunk.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_chunk_init(chunk: *mut speculo_chunk, area: *mut speculo_area) -> shm_status {
    guard(|| {
        let (chunk, area) = (need_out(chunk, "chunk")?, need_out(area, "area")?);
        let fresh = speculo_chunk {
            area,
            id: 0,
            version: 0,
            size: 0,
            expires: 0,
            data: std::ptr::null_mut(),
            reserved: [0; 4],
        };
        put(chunk, fresh);
        Ok(Status::Ok)
    })
}

/// A chunk and the writer it is of.
///
/// # Safety
/// `chunk` is NULL or as `speculo_chunk_init` and its like left it; its area is NULL or a handle.
unsafe fn with_chunk<R>(
    chunk: *mut speculo_chunk,
    body: impl FnOnce(&mut speculo_chunk, &mut Writer) -> Result<R>,
) -> Result<R> {
    // SAFETY: not NULL, and the caller's promise.
    let chunk = unsafe { &mut *need_out(chunk, "chunk")? };
    // SAFETY: the caller's promise.
    let area = unsafe { chunk.area.as_ref() };
    with_writer(area, |writer| body(chunk, writer))
}

/// Refuses a chunk that is not the one that is allocated.
fn need_allocated(chunk: &speculo_chunk, writer: &Writer) -> Result<()> {
    if chunk.data.is_null() || writer.allocated() != Some((chunk.id, chunk.data.cast())) {
        return Err(fail!(Invalid, "chunk {} is not allocated", chunk.id));
    }
    Ok(())
}

/// Has what is allocated with this chunk, now or later, expire at `expires`: nanoseconds of the area's clock; 0: never.
///
/// # Safety
/// As `speculo_chunk_commit`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_chunk_set_expiration(chunk: *mut speculo_chunk, expires: u64) -> shm_status {
    guard(|| {
        // SAFETY: the caller's promise.
        unsafe {
            with_chunk(chunk, |chunk, writer| {
                if !chunk.data.is_null() {
                    need_allocated(chunk, writer)?;
                    writer.expire_draft(expires)?;
                }
                chunk.expires = expires;
                Ok(Status::Ok)
            })
        }
    })
}

/// # Safety
/// As `speculo_chunk_allocate`.
unsafe fn allocate(chunk: *mut speculo_chunk, size: u64, data: *mut *mut c_void, update: bool) -> shm_status {
    guard(|| {
        let data = need_out(data, "data")?;
        let body = |chunk: &mut speculo_chunk, writer: &mut Writer| {
            let id = update.then_some(chunk.id);
            match writer.allocate(size, chunk.expires, id)? {
                Ok((id, contents)) => {
                    (chunk.id, chunk.version, chunk.size, chunk.data) = (id, 0, size, contents.cast());
                    put(data, chunk.data);
                    Ok(Status::Ok)
                }
                Err(status) => Ok(status),
            }
        };
        // SAFETY: the caller's promise.
        unsafe { with_chunk(chunk, body) }
    })
}

/// Allocates a chunk of a new id with contents of `size` bytes, which are zero, and sets `data` to them: SHM_OK, or SHM_FULL when there is no room,
/// and none can be made. Nobody sees it before it is committed. An area has one allocated chunk at a time.
///
/// Errors: SHM_ERR_BUSY when one is allocated already, or in a forked child; SHM_ERR_INVALID when it never fits; SHM_ERR_NO_SPACE and other
/// failures of making a new area, SHM_ERR_CORRUPT when its files were removed by hand among them.
///
/// # Safety
/// `chunk` is NULL or as `speculo_chunk_init` and calls with it left it, and its area is not closed; `data` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_chunk_allocate(
    chunk: *mut speculo_chunk,
    size: u64,
    data: *mut *mut c_void,
) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { allocate(chunk, size, data, false) }
}

/// As `speculo_chunk_allocate`, of the id that the chunk has: it takes the place of the valid chunk of that id when it is committed.
///
/// Errors: SHM_ERR_NOT_FOUND when there is no valid chunk of the id; else as `speculo_chunk_allocate`.
///
/// # Safety
/// As `speculo_chunk_allocate`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_chunk_update(
    chunk: *mut speculo_chunk,
    size: u64,
    data: *mut *mut c_void,
) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { allocate(chunk, size, data, true) }
}

/// Makes the allocated chunk visible, and sets its version. Its contents must not be changed any more.
///
/// Errors: SHM_ERR_INVALID when it is not allocated; SHM_ERR_BUSY in a forked child.
///
/// # Safety
/// `chunk` is NULL or as `speculo_chunk_init` and calls with it left it, and its area is not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_chunk_commit(chunk: *mut speculo_chunk) -> shm_status {
    guard(|| {
        let body = |chunk: &mut speculo_chunk, writer: &mut Writer| {
            need_allocated(chunk, writer)?;
            chunk.version = writer.commit()?;
            chunk.data = std::ptr::null_mut();
            Ok(Status::Ok)
        };
        // SAFETY: the caller's promise.
        unsafe { with_chunk(chunk, body) }
    })
}

/// Gives the allocated chunk up. Nobody ever sees it.
///
/// Errors: as `speculo_chunk_commit`.
///
/// # Safety
/// As `speculo_chunk_commit`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_chunk_discard(chunk: *mut speculo_chunk) -> shm_status {
    guard(|| {
        let body = |chunk: &mut speculo_chunk, writer: &mut Writer| {
            need_allocated(chunk, writer)?;
            writer.discard()?;
            chunk.data = std::ptr::null_mut();
            Ok(Status::Ok)
        };
        // SAFETY: the caller's promise.
        unsafe { with_chunk(chunk, body) }
    })
}

/// Opens a reader of the area `name` in `directory` (NULL: where POSIX shared memory lies), which begins at the oldest valid chunk. It needs permission
/// to read only, whoever the owner. It is closed with `speculo_reader_close`.
///
/// Errors: SHM_ERR_NOT_FOUND; SHM_ERR_PERMISSION; SHM_ERR_INVALID; SHM_ERR_CORRUPT or SHM_ERR_VERSION when the name belongs to
/// something else.
///
/// # Safety
/// `name` is NULL or a string; `directory` is NULL or a string; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_reader_open(
    name: *const c_char,
    directory: *const c_char,
    out: *mut *mut speculo_reader,
) -> shm_status {
    guard(|| {
        let out = need_out(out, "out")?;
        // SAFETY: the caller's promises.
        let (name, directory) = unsafe { (need_text(name, "name")?, self::directory(directory)?) };
        let place = Place::new(name, directory)?;
        let reader = RawReader::open(place.clone(), Clock::default())?;
        let state = ReaderState { reader, place, used: false };
        let reader = speculo_reader { busy: AtomicBool::new(false), inner: UnsafeCell::new(state) };
        structure::give(reader, out)
    })
}

/// Has the reader go by the writer's clock, as in `speculo_area_set_clock`. Comes before anything else is asked of it.
///
/// Errors: SHM_ERR_INVALID when it was used already.
///
/// # Safety
/// `reader` is NULL or a reader; `now` is NULL or a function that may be called with `context` until the reader is closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_reader_set_clock(
    reader: Option<&speculo_reader>,
    now: Option<unsafe extern "C-unwind" fn(context: *mut c_void) -> u64>,
    context: *mut c_void,
) -> shm_status {
    guard(|| {
        let reader = need(reader, "reader")?;
        alone(&reader.busy, &reader.inner, "reader", |state| {
            if state.used {
                return Err(fail!(Invalid, "the reader of {} was used; its clock comes before", state.place.what()));
            }
            state.reader.set_clock(clock(now, context)?);
            Ok(Status::Ok)
        })
    })
}

/// Ends the reader, and with it what it showed.
///
/// # Safety
/// `reader` is NULL or a reader that was not closed yet, and neither another thread nor its clock uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_reader_close(reader: *mut speculo_reader) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::close(reader, "reader") }
}

/// Hands out a chunk, or says that there is `none`.
fn show(found: Result<Option<Found>>, none: Status, view: *mut speculo_view) -> Result<Status> {
    let found = match found {
        Err(error) if error.status() == Status::Closed => return Ok(Status::Closed),
        found => found?,
    };
    let Some(Found { chunk, data }) = found else { return Ok(none) };
    let (id, version, expires) = (chunk.id, chunk.version, chunk.expires);
    put(view, speculo_view { data: data.cast(), size: chunk.size, id, version, expires });
    Ok(Status::Ok)
}

/// The next chunk that is valid now, after the last one: SHM_OK; SHM_EMPTY; SHM_CLOSED when the area was removed and nothing is left. Of an id, no older
/// chunk comes after a newer one, whether this, `speculo_reader_get` or `speculo_reader_next_valid` showed it; only `speculo_reader_seek` goes back. What
/// `view` is set to is there until the next call of this reader.
///
/// Errors: SHM_ERR_CORRUPT; SHM_ERR_PERMISSION when a new area cannot be opened; SHM_ERR_BUSY when it cannot be found.
///
/// # Safety
/// `reader` is NULL or a reader; `view` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_reader_next(reader: Option<&speculo_reader>, view: *mut speculo_view) -> shm_status {
    guard(|| {
        let view = need_out(view, "view")?;
        with_reader(reader, |reader| show(reader.next(), Status::Empty, view))
    })
}

/// As `speculo_reader_next`, waiting up to `timeout_ns` nanoseconds (SHM_FOREVER: no limit) for a chunk, asleep; then SHM_TIMEOUT.
///
/// # Safety
/// As `speculo_reader_next`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_reader_next_wait(
    reader: Option<&speculo_reader>,
    timeout_ns: u64,
    view: *mut speculo_view,
) -> shm_status {
    guard(|| {
        let view = need_out(view, "view")?;
        with_reader(reader, |reader| show(reader.next_wait(timeout(timeout_ns)), Status::Timeout, view))
    })
}

/// The newest chunk of an id: SHM_OK, or SHM_EMPTY when there is none or it is not valid. Where the reader is does not change:
/// `speculo_reader_next` may still come to this chunk, but to none of its id that is older.
///
/// Errors: as `speculo_reader_next`.
///
/// # Safety
/// As `speculo_reader_next`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_reader_get(
    reader: Option<&speculo_reader>,
    id: u64,
    view: *mut speculo_view,
) -> shm_status {
    guard(|| {
        let view = need_out(view, "view")?;
        with_reader(reader, |reader| show(reader.get(id), Status::Empty, view))
    })
}

/// The first chunk that is valid now and whose version is greater than `version`: SHM_OK, or SHM_EMPTY. Begin with 0, and go on with the version of
/// the last. Where the reader is does not change.
///
/// Errors: as `speculo_reader_next`.
///
/// # Safety
/// As `speculo_reader_next`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_reader_next_valid(
    reader: Option<&speculo_reader>,
    version: u64,
    view: *mut speculo_view,
) -> shm_status {
    guard(|| {
        let view = need_out(view, "view")?;
        with_reader(reader, |reader| show(reader.next_valid(version), Status::Empty, view))
    })
}

/// Goes on after the chunk of that version; 0: begins again.
///
/// # Safety
/// `reader` is NULL or a reader.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_reader_seek(reader: Option<&speculo_reader>, version: u64) -> shm_status {
    guard(|| {
        with_reader(reader, |reader| {
            reader.seek(version);
            Ok(Status::Ok)
        })
    })
}

/// Where the reader is.
///
/// # Safety
/// `reader` is NULL or a reader; `stats` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_reader_get_stats(
    reader: Option<&speculo_reader>,
    stats: *mut speculo_reader_stats,
) -> shm_status {
    guard(|| {
        let stats = need_out(stats, "stats")?;
        let found = with_reader(reader, |reader| Ok(reader.stats()))?;
        let translated = speculo_reader_stats {
            generation: found.generation,
            version: found.version,
            received: found.received,
            skipped: found.skipped,
            lag: found.lag,
            bytes: found.bytes,
            orphaned: found.orphaned.into(),
            reserved: [0; 3],
        };
        put(stats, translated);
        Ok(Status::Ok)
    })
}
