//! Pools, in C.

use std::ffi::{c_char, c_void};

use super::segment::shm_segment;
use super::status::shm_status;
use super::structure::{self, structure};
use super::table::shm_entry;
use super::{SHM_EXCLUSIVE, Sized32, give_entry, give_span, guard, need, need_out, null, only_flags};
use crate::error::{Result, Status, fail};
use crate::pool::{Handle, PoolShape, RawPool};

/// The handle of no object of any pool.
pub const SHM_NO_OBJECT: u64 = 0;
const _: () = assert!(SHM_NO_OBJECT == Handle::NONE.to_bits());

/// A handle on a pool of objects. May be used from any thread.
///
/// An object is named by a number that may be sent to other processes. It belongs to the attachment that acquired it, until it is released
/// or handed over. The objects of a dead process come back by themselves. A number that was released, of whatever process, is refused.
pub struct shm_pool(RawPool);

/// What a pool is to be, or must be. `shm_pool_options_init` first.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct shm_pool_options {
    /// Bytes of this struct; set by `shm_pool_options_init`.
    pub struct_size: u32,
    /// SHM_EXCLUSIVE (create only).
    pub flags: u32,
    /// Objects. When opening, 0: any.
    pub capacity: u64,
    /// Bytes of an object.
    pub elem_size: u64,
    /// Alignment: a power of two up to 4096; 0 (default): what suits the size, at most 8.
    pub elem_align: u32,
    /// Zero.
    pub reserved: u32,
    /// A mark of your own for the type; opening with another one is a mismatch. 0 (default): unchecked.
    pub type_tag: u64,
}

// SAFETY: repr(C), plain, begins with its size.
unsafe impl Sized32 for shm_pool_options {
    const FIRST: usize = size_of::<Self>();
    const NAME: &'static str = "shm_pool_options";

    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>() as u32,
            flags: 0,
            capacity: 0,
            elem_size: 0,
            elem_align: 0,
            reserved: 0,
            type_tag: 0,
        }
    }
}

impl shm_pool_options {
    fn translate(&self) -> Result<PoolShape> {
        only_flags(self.flags, SHM_EXCLUSIVE, "pools")?;
        if self.reserved != 0 {
            return Err(fail!(Invalid, "shm_pool_options.reserved is {}, not 0", self.reserved));
        }
        Ok(PoolShape {
            capacity: self.capacity,
            elem_size: self.elem_size,
            elem_align: self.elem_align,
            type_tag: self.type_tag,
            exclusive: self.flags & SHM_EXCLUSIVE != 0,
        })
    }
}

structure!(shm_pool(RawPool), shm_pool_options, PoolShape);

/// What a pool is, and how full.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct shm_pool_stats {
    /// How many objects there are.
    pub capacity: u64,
    /// How many are acquired.
    pub allocated: u64,
    /// How many are free.
    pub available: u64,
    /// Bytes of an object.
    pub elem_size: u64,
    /// Alignment of an object.
    pub elem_align: u32,
    /// Zero.
    pub reserved: u32,
}

/// Fills in the defaults.
///
/// # Safety
/// `options` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_pool_options_init(options: *mut shm_pool_options) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::options_init::<shm_pool>(options) }
}

/// How many bytes of a segment such a pool takes, alignment included.
///
/// Errors: SHM_ERR_INVALID when there can be no such pool.
///
/// # Safety
/// `options` is NULL or as `shm_pool_options_init` left it; `bytes` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_pool_size(options: *const shm_pool_options, bytes: *mut u64) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::size::<shm_pool>(options, bytes) }
}

/// Creates the pool `name`, or opens it if it is there with as many of the same. The handle is closed with
/// `shm_pool_close`; it keeps the segment attached.
///
/// Errors: SHM_ERR_EXISTS with SHM_EXCLUSIVE; SHM_ERR_MISMATCH, naming what differs; SHM_ERR_NO_SPACE; SHM_ERR_LIMIT when the table is
/// full; SHM_ERR_INVALID; SHM_ERR_READ_ONLY; SHM_ERR_BUSY when a stopped process holds the segment's lock.
///
/// # Safety
/// `segment` is NULL or a handle; `name` is NULL or a string; `options` is NULL or as `shm_pool_options_init` left it; `out`
/// is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_pool_create(
    segment: Option<&shm_segment>,
    name: *const c_char,
    options: *const shm_pool_options,
    out: *mut *mut shm_pool,
) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::create::<shm_pool>(segment, name, options, out) }
}

/// Opens the pool `name`. `expected`: what it must be; NULL: whatever it is.
///
/// Errors: SHM_ERR_NOT_FOUND; SHM_ERR_MISMATCH, naming what differs; SHM_ERR_INVALID; SHM_ERR_BUSY.
///
/// # Safety
/// As `shm_pool_create`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_pool_open(
    segment: Option<&shm_segment>,
    name: *const c_char,
    expected: *const shm_pool_options,
    out: *mut *mut shm_pool,
) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::open::<shm_pool>(segment, name, expected, out) }
}

/// Ends the handle. What it holds is given back with the process's last handle on the pool.
///
/// # Safety
/// `pool` is NULL or a handle that was not closed yet, and no other thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_pool_close(pool: *mut shm_pool) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::close(pool, "pool") }
}

/// Takes a free object, whose bytes are whatever they were: SHM_OK, SHM_EMPTY.
///
/// Errors: SHM_ERR_READ_ONLY.
///
/// # Safety
/// `pool` is NULL or a handle; `handle` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_pool_acquire(pool: Option<&shm_pool>, handle: *mut u64) -> shm_status {
    if let Some(shm_pool(raw)) = pool
        && !handle.is_null()
        && let Some(acquired) = raw.acquire_at_once()
    {
        // SAFETY: not NULL, and the caller's promise.
        unsafe { handle.write(acquired.to_bits()) };
        return shm_status::SHM_OK;
    }
    // SAFETY: the caller's promises.
    unsafe { acquire(pool, handle) }
}

/// # Safety
/// As [`shm_pool_acquire`].
#[cold]
unsafe extern "C" fn acquire(pool: Option<&shm_pool>, handle: *mut u64) -> shm_status {
    guard(|| {
        let (pool, handle) = (&need(pool, "pool")?.0, need_out(handle, "handle")?);
        let Some(acquired) = pool.acquire()? else { return Ok(Status::Empty) };
        // SAFETY: not NULL, and the caller's promise.
        unsafe { handle.write(acquired.to_bits()) };
        Ok(Status::Ok)
    })
}

/// Takes as many free objects as there are, up to `count`, and sets `done` to how many: SHM_OK when at least one (or `count` is 0), else
/// SHM_EMPTY.
///
/// Errors: as `shm_pool_acquire`.
///
/// # Safety
/// `pool` is NULL or a handle; `handles` is NULL or writable for `count` handles; `done` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_pool_acquire_batch(
    pool: Option<&shm_pool>,
    handles: *mut u64,
    count: usize,
    done: *mut usize,
) -> shm_status {
    guard(|| {
        let (pool, handles, done) = (&need(pool, "pool")?.0, need_out(handles, "handles")?, need_out(done, "done")?);
        let mut moved = 0;
        pool.acquire_batch(count, |acquired| {
            // SAFETY: below `count`, and the caller's promise.
            unsafe { handles.add(moved).write(acquired.to_bits()) };
            moved += 1;
        })?;
        // SAFETY: not NULL, and the caller's promise.
        unsafe { done.write(moved) };
        Ok(if moved > 0 || count == 0 { Status::Ok } else { Status::Empty })
    })
}

/// Gives an object back.
///
/// Errors: SHM_ERR_INVALID for a handle that was released before, that belongs to another attachment, or that never was;
/// SHM_ERR_READ_ONLY.
///
/// # Safety
/// `pool` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_pool_release(pool: Option<&shm_pool>, handle: u64) -> shm_status {
    match pool {
        Some(pool) if pool.0.release_at_once(Handle::from_bits(handle)) => shm_status::SHM_OK,
        _ => release(pool, handle),
    }
}

#[cold]
extern "C" fn release(pool: Option<&shm_pool>, handle: u64) -> shm_status {
    guard(|| {
        need(pool, "pool")?.0.release(Handle::from_bits(handle))?;
        Ok(Status::Ok)
    })
}

/// Gives `count` objects back, one after the other; stops at the first that is refused. `done` is set to how many came before it, also
/// when the result is an error.
///
/// Errors: as `shm_pool_release`.
///
/// # Safety
/// `pool` is NULL or a handle; `handles` is NULL or readable for `count` handles; `done` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_pool_release_batch(
    pool: Option<&shm_pool>,
    handles: *const u64,
    count: usize,
    done: *mut usize,
) -> shm_status {
    guard(|| {
        let (pool, done) = (&need(pool, "pool")?.0, need_out(done, "done")?);
        if handles.is_null() {
            return Err(null("handles"));
        }
        // SAFETY: below `count`, and the caller's promise.
        let handles = (0..count).map(|i| Handle::from_bits(unsafe { handles.add(i).read() }));
        let refused = pool.release_batch(handles).err();
        // SAFETY: not NULL, and the caller's promise.
        unsafe { done.write(refused.as_ref().map_or(count, |(done, _)| *done)) };
        refused.map_or(Ok(Status::Ok), |(_, error)| Err(error))
    })
}

/// The address of an object, whoever owns it. Valid until it is released; of a read-only segment, for reading only.
///
/// Errors: SHM_ERR_INVALID for a handle that is stale or never was.
///
/// # Safety
/// `pool` is NULL or a handle; `object` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_pool_get(pool: Option<&shm_pool>, handle: u64, object: *mut *mut c_void) -> shm_status {
    if let Some(shm_pool(raw)) = pool
        && !object.is_null()
        && let Some(found) = raw.get_at_once(Handle::from_bits(handle))
    {
        // SAFETY: not NULL, and the caller's promise.
        unsafe { object.write(found.cast()) };
        return shm_status::SHM_OK;
    }
    // SAFETY: the caller's promises.
    unsafe { get(pool, handle, object) }
}

/// # Safety
/// As [`shm_pool_get`].
#[cold]
unsafe extern "C" fn get(pool: Option<&shm_pool>, handle: u64, object: *mut *mut c_void) -> shm_status {
    guard(|| {
        let (pool, object) = (&need(pool, "pool")?.0, need_out(object, "object")?);
        // SAFETY: not NULL, and the caller's promise.
        unsafe { object.write(pool.get(Handle::from_bits(handle))?.cast()) };
        Ok(Status::Ok)
    })
}

/// Whether the handle is of its object's present use, whoever owns it.
///
/// # Safety
/// `pool` is NULL or a handle; `valid` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_pool_is_valid(pool: Option<&shm_pool>, handle: u64, valid: *mut bool) -> shm_status {
    guard(|| {
        let (pool, valid) = (&need(pool, "pool")?.0, need_out(valid, "valid")?);
        // SAFETY: not NULL, and the caller's promise.
        unsafe { valid.write(pool.owner(Handle::from_bits(handle)).is_ok()) };
        Ok(Status::Ok)
    })
}

/// The participant that owns an object.
///
/// Errors: as `shm_pool_get`.
///
/// # Safety
/// `pool` is NULL or a handle; `participant` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_pool_owner(pool: Option<&shm_pool>, handle: u64, participant: *mut u32) -> shm_status {
    guard(|| {
        let (pool, participant) = (&need(pool, "pool")?.0, need_out(participant, "participant")?);
        // SAFETY: not NULL, and the caller's promise.
        unsafe { participant.write(pool.owner(Handle::from_bits(handle))?) };
        Ok(Status::Ok)
    })
}

/// Makes an object of ours one of participant `to`'s, who has the pool open.
///
/// Errors: as `shm_pool_release`; SHM_ERR_NOT_FOUND when there is no such participant, or it does not have the pool open.
///
/// # Safety
/// `pool` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_pool_hand_over(pool: Option<&shm_pool>, handle: u64, to: u32) -> shm_status {
    guard(|| {
        need(pool, "pool")?.0.hand_over(Handle::from_bits(handle), to)?;
        Ok(Status::Ok)
    })
}

/// Makes an object ours, whoever owned it: what the receiver of a handle does. If its sender died in between, the object may have
/// been given back, and this fails.
///
/// Errors: as `shm_pool_get`; SHM_ERR_READ_ONLY.
///
/// # Safety
/// `pool` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_pool_adopt(pool: Option<&shm_pool>, handle: u64) -> shm_status {
    guard(|| {
        need(pool, "pool")?.0.adopt(Handle::from_bits(handle))?;
        Ok(Status::Ok)
    })
}

/// The next object that somebody owns: SHM_OK, or SHM_EMPTY after the last. Begin with `cursor` 0. One that is acquired or released
/// meanwhile may or may not be there.
///
/// # Safety
/// `pool` is NULL or a handle; `cursor` and `handle` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_pool_next(pool: Option<&shm_pool>, cursor: *mut u64, handle: *mut u64) -> shm_status {
    guard(|| {
        let (pool, cursor, handle) = (&need(pool, "pool")?.0, need_out(cursor, "cursor")?, need_out(handle, "handle")?);
        // SAFETY: not NULL, and the caller's promises.
        let Some(found) = pool.next_owned(unsafe { &mut *cursor }) else { return Ok(Status::Empty) };
        // SAFETY: as above.
        unsafe { handle.write(found.to_bits()) };
        Ok(Status::Ok)
    })
}

/// What the pool is and how full. It counts the objects: not for hot paths.
///
/// # Safety
/// `pool` is NULL or a handle; `stats` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_pool_get_stats(pool: Option<&shm_pool>, stats: *mut shm_pool_stats) -> shm_status {
    guard(|| {
        let (pool, stats) = (&need(pool, "pool")?.0, need_out(stats, "stats")?);
        let found = pool.stats();
        let translated = shm_pool_stats {
            capacity: found.capacity,
            allocated: found.allocated,
            available: found.available,
            elem_size: pool.entry().elem_size,
            elem_align: pool.entry().elem_align,
            reserved: 0,
        };
        // SAFETY: not NULL, and the caller's promise.
        unsafe { stats.write(translated) };
        Ok(Status::Ok)
    })
}

/// All bytes of the pool, as docs/FORMAT.md has them. Valid until the handle is closed; of a read-only segment, for reading only.
/// Other processes may write to them at any time.
///
/// # Safety
/// `pool` is NULL or a handle; `data` and `bytes` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_pool_span(
    pool: Option<&shm_pool>,
    data: *mut *mut c_void,
    bytes: *mut usize,
) -> shm_status {
    // SAFETY: the caller's promises.
    guard(|| unsafe { give_span(need(pool, "pool")?.0.span(), data, bytes) })
}

/// What the table said of the pool when this handle was opened, its name among it.
///
/// # Safety
/// `pool` is NULL or a handle; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_pool_entry(pool: Option<&shm_pool>, out: *mut shm_entry) -> shm_status {
    // SAFETY: the caller's promises.
    guard(|| unsafe { give_entry(need(pool, "pool")?.0.entry(), out) })
}
