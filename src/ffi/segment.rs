//! Segments, in C.

use std::ffi::{CString, c_char};
use std::time::Duration;

use super::status::shm_status;
use super::structure;
use super::{
    SHM_ANY_OWNER, SHM_EXCLUSIVE, SHM_HUGE_PAGES, SHM_LOCK_MEMORY, SHM_NUMA_NODE, SHM_PERSISTENT, SHM_PREFAULT,
    SHM_READ_ONLY, Sized32, guard, need, need_options, need_out, need_text, only_flags,
};
use crate::error::{Result, Status, fail};
use crate::segment::{MemoryOption, Segment, SegmentOptions, TableShape, Wishes};

/// An attachment to a segment of shared memory. May be used from any thread. After `fork`, the child's copy is an
/// attachment of its own.
pub struct shm_segment {
    pub(super) segment: Segment,
    name: CString,
    /// Flag and sentence of every wish about memory that was not granted.
    unavailable: Vec<(u32, CString)>,
}

/// How many structures a segment may have, and how long their names may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum shm_table_shape {
    /// 64 structures, names of up to 32 bytes.
    SHM_TABLE_STANDARD = 0,
    /// 16 structures, names of up to 16 bytes.
    SHM_TABLE_SMALL = 1,
    /// 256 structures, names of up to 64 bytes.
    SHM_TABLE_LARGE = 2,
    /// 1024 structures, names of up to 256 bytes.
    SHM_TABLE_HUGE = 3,
    /// What `table_entries` and `table_name_bytes` say.
    SHM_TABLE_CUSTOM = 4,
}

/// How a segment is made or attached to. `shm_segment_options_init` first, then change what should differ.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct shm_segment_options {
    /// Bytes of this struct; set by `shm_segment_options_init`.
    pub struct_size: u32,
    /// SHM_EXCLUSIVE, SHM_READ_ONLY (open only), SHM_PERSISTENT, SHM_ANY_OWNER; SHM_PREFAULT, SHM_LOCK_MEMORY and
    /// SHM_HUGE_PAGES, which are wishes: `shm_segment_unavailable` says which could not be had.
    pub flags: u32,
    /// Bytes of the whole segment, rounded up to pages. `shm_segment_size` computes it.
    pub size: u64,
    /// Permission bits, exact whatever the umask. Default 0600, which the owner needs at least.
    pub mode: u32,
    /// One of `shm_table_shape`.
    pub table: u32,
    /// The group's number, or -1 (default): the creator's.
    pub group: i64,
    /// SHM_TABLE_CUSTOM: most bytes in a name, 1 to 256.
    pub table_name_bytes: u32,
    /// SHM_TABLE_CUSTOM: most structures, 1 to 65535.
    pub table_entries: u32,
    /// The largest structure allowed, in bytes; 0 (default): no limit.
    pub max_allocation: u64,
    /// Most attachments at a time, 1 to 4096. Default 64.
    pub max_participants: u32,
    /// The longest wait for the segment's lock, in milliseconds. Default 5000.
    pub lock_timeout_ms: u32,
    /// The NUMA node to have the memory on, or -1 (default): any. A wish, as SHM_PREFAULT is.
    pub numa_node: i32,
    /// Zero, for later.
    pub reserved: u32,
}

// SAFETY: repr(C), plain, begins with its size.
unsafe impl Sized32 for shm_segment_options {
    const FIRST: usize = size_of::<Self>();
    const NAME: &'static str = "shm_segment_options";

    fn defaults() -> Self {
        let defaults = SegmentOptions::new();
        Self {
            struct_size: size_of::<Self>() as u32,
            flags: 0,
            size: defaults.size,
            mode: defaults.mode,
            table: shm_table_shape::SHM_TABLE_STANDARD as u32,
            group: -1,
            table_name_bytes: 0,
            table_entries: 0,
            max_allocation: defaults.max_allocation,
            max_participants: defaults.max_participants,
            lock_timeout_ms: defaults.lock_timeout.as_millis() as u32,
            numa_node: -1,
            reserved: 0,
        }
    }
}

impl shm_segment_options {
    pub(super) fn translate(&self) -> Result<SegmentOptions> {
        let wishes = SHM_PREFAULT | SHM_LOCK_MEMORY | SHM_HUGE_PAGES;
        let known = SHM_EXCLUSIVE | SHM_READ_ONLY | SHM_PERSISTENT | SHM_ANY_OWNER | wishes;
        only_flags(self.flags, known, "segments")?;
        let flag = |flag| self.flags & flag != 0;
        if self.reserved != 0 {
            return Err(fail!(Invalid, "the reserved field of the segment's options is {}, not 0", self.reserved));
        }
        let node = match self.numa_node {
            -1 => None,
            node => Some(u32::try_from(node).map_err(|_| fail!(Invalid, "there can be no NUMA node {node}"))?),
        };
        let group = match self.group {
            -1 => None,
            gid => Some(u32::try_from(gid).map_err(|_| fail!(Invalid, "there can be no group {gid}"))?),
        };
        let custom = TableShape { name_bytes: self.table_name_bytes, entries: self.table_entries };
        let (_, table) = [
            (shm_table_shape::SHM_TABLE_STANDARD, TableShape::STANDARD),
            (shm_table_shape::SHM_TABLE_SMALL, TableShape::SMALL),
            (shm_table_shape::SHM_TABLE_LARGE, TableShape::LARGE),
            (shm_table_shape::SHM_TABLE_HUGE, TableShape::HUGE),
            (shm_table_shape::SHM_TABLE_CUSTOM, custom),
        ]
        .into_iter()
        .find(|(shape, _)| *shape as u32 == self.table)
        .ok_or_else(|| fail!(Invalid, "there is no table shape {}", self.table))?;
        Ok(SegmentOptions {
            size: self.size,
            mode: self.mode,
            group,
            table: Some(table),
            max_participants: self.max_participants,
            max_allocation: self.max_allocation,
            lock_timeout: Duration::from_millis(self.lock_timeout_ms.into()),
            exclusive: flag(SHM_EXCLUSIVE),
            read_only: flag(SHM_READ_ONLY),
            persistent: flag(SHM_PERSISTENT),
            any_owner: flag(SHM_ANY_OWNER),
            memory: Wishes {
                prefault: flag(SHM_PREFAULT),
                lock: flag(SHM_LOCK_MEMORY),
                huge: flag(SHM_HUGE_PAGES),
                node,
            },
        })
    }
}

/// How full a segment is.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct shm_segment_stats {
    /// Bytes of the whole segment.
    pub size: u64,
    /// Bytes taken by structures.
    pub used: u64,
    /// Bytes free for structures.
    pub free: u64,
    /// The largest structure there is room for, but for its alignment.
    pub largest_free: u64,
    /// Names in use, and removed structures still open somewhere.
    pub entries_used: u32,
    /// Names that can still be given.
    pub entries_free: u32,
    /// Attachments that live, read-only ones not counted.
    pub participants: u32,
    /// How many attachments there may be.
    pub max_participants: u32,
    /// Most bytes in a name.
    pub table_name_bytes: u32,
    /// SHM_PERSISTENT and, of this attachment, SHM_READ_ONLY.
    pub flags: u32,
    /// 1 when the name no longer leads to this segment: somebody removed it.
    pub orphaned: u32,
    /// 1 when somebody attached whom membarrier does not reach, so that their wakers pay for a fence.
    pub fences: u32,
    /// Zero, for later.
    pub reserved: [u64; 4],
}

/// One attachment of one process.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct shm_participant {
    /// Its number in the segment, from 1; reused after its death has been dealt with.
    pub id: u32,
    /// The process, as it called itself in its own pid namespace. For people.
    pub pid: u32,
    /// 1 while it lives; 0 when it died and has not been reaped yet.
    pub alive: u32,
    /// 1 for the attachment that was asked.
    pub is_self: u32,
    /// When it attached, in nanoseconds of CLOCK_MONOTONIC.
    pub attached_ns: u64,
    /// The name of its command, at most 15 bytes and a NUL.
    pub command: [c_char; 16],
}

/// Fills in the defaults.
///
/// # Safety
/// `options` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_segment_options_init(options: *mut shm_segment_options) -> shm_status {
    guard(|| {
        let options = need_out(options, "options")?;
        // SAFETY: not NULL, and the caller's promise.
        unsafe { options.write(shm_segment_options::defaults()) };
        Ok(Status::Ok)
    })
}

fn flag_of(option: MemoryOption) -> u32 {
    match option {
        MemoryOption::Prefault => SHM_PREFAULT,
        MemoryOption::LockMemory => SHM_LOCK_MEMORY,
        MemoryOption::HugePages => SHM_HUGE_PAGES,
        MemoryOption::NumaNode => SHM_NUMA_NODE,
    }
}

pub(super) fn give(segment: Segment, out: *mut *mut shm_segment) -> Result<Status> {
    let name = CString::new(segment.name()).unwrap_or_default();
    let sentence = |reason: &str| CString::new(reason).unwrap_or_default();
    let unavailable = segment.unavailable().iter().map(|one| (flag_of(one.option), sentence(&one.reason))).collect();
    structure::give(shm_segment { segment, name, unavailable }, out)
}

/// The caller's options, or the defaults for NULL.
///
/// # Safety
/// As for [`need_options`].
pub(super) unsafe fn options_or_defaults(options: *const shm_segment_options) -> Result<SegmentOptions> {
    if options.is_null() {
        return Ok(SegmentOptions::new());
    }
    // SAFETY: the caller's promise.
    unsafe { need_options(options) }?.translate()
}

/// The short way: with a size, creates the segment `name` or attaches to it, whatever its table; with size 0, attaches only.
/// The handle is closed with `shm_segment_close`.
///
/// Errors: as `shm_segment_create` and `shm_segment_open`.
///
/// # Safety
/// `name` is NULL or a string; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_open_segment(name: *const c_char, size: u64, out: *mut *mut shm_segment) -> shm_status {
    guard(|| {
        let out = need_out(out, "out")?;
        // SAFETY: the caller's promise.
        let name = unsafe { need_text(name, "name") }?;
        let options = SegmentOptions::new().size(size);
        give(if size == 0 { Segment::open(name, &options) } else { Segment::create(name, &options) }?, out)
    })
}

/// Creates the segment `name`, or attaches to it if it is there, at least as large and with the same table. A leading slash
/// in the name means nothing. All of its memory is reserved now. The handle is closed with `shm_segment_close`.
///
/// Errors: SHM_ERR_INVALID for an impossible name or option; SHM_ERR_EXISTS with SHM_EXCLUSIVE; SHM_ERR_MISMATCH;
/// SHM_ERR_NO_SPACE when /dev/shm has no room; SHM_ERR_PERMISSION, also for a segment of another user without
/// SHM_ANY_OWNER; SHM_ERR_LIMIT when all participants are taken; SHM_ERR_CORRUPT or SHM_ERR_VERSION when the name belongs to
/// something else; SHM_ERR_BUSY when a stopped process holds the segment's lock.
///
/// # Safety
/// `name` is NULL or a string; `options` is NULL or as `shm_segment_options_init` left it; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_segment_create(
    name: *const c_char,
    options: *const shm_segment_options,
    out: *mut *mut shm_segment,
) -> shm_status {
    guard(|| {
        let out = need_out(out, "out")?;
        // SAFETY: the caller's promises.
        let (name, options) = unsafe { (need_text(name, "name")?, need_options(options)?) };
        give(Segment::create(name, &options.translate()?)?, out)
    })
}

/// Attaches to the segment `name`. `options` may be NULL; only SHM_READ_ONLY, SHM_ANY_OWNER, `lock_timeout_ms` and the
/// wishes about memory matter.
/// The handle is closed with `shm_segment_close`.
///
/// Errors: SHM_ERR_NOT_FOUND, also when everybody who was attached is dead; else as `shm_segment_create`.
///
/// # Safety
/// `name` is NULL or a string; `options` is NULL or as `shm_segment_options_init` left it; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_segment_open(
    name: *const c_char,
    options: *const shm_segment_options,
    out: *mut *mut shm_segment,
) -> shm_status {
    guard(|| {
        let out = need_out(out, "out")?;
        // SAFETY: the caller's promises.
        let name = unsafe { need_text(name, "name") }?;
        // SAFETY: the caller's promise.
        let options = unsafe { options_or_defaults(options) }?;
        give(Segment::open(name, &options)?, out)
    })
}

/// Ends the handle. The attachment ends with the last structure opened through it; if it was the last living one, and the
/// segment is not persistent, the segment is gone.
///
/// # Safety
/// `segment` is NULL or a handle that was not closed yet, and no other thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_segment_close(segment: *mut shm_segment) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::close(segment, "segment") }
}

/// Removes the name of a segment at once, whoever is attached; they keep what they have.
///
/// Errors: SHM_ERR_NOT_FOUND; SHM_ERR_PERMISSION; SHM_ERR_CORRUPT or SHM_ERR_VERSION for something that is not a segment of
/// ours, which is left alone; SHM_ERR_BUSY.
///
/// # Safety
/// `name` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_segment_unlink(name: *const c_char) -> shm_status {
    guard(|| {
        // SAFETY: the caller's promise.
        Segment::unlink(unsafe { need_text(name, "name") }?)?;
        Ok(Status::Ok)
    })
}

/// The segment's name, without a leading slash; of a segment in a file, its path. Valid until the handle is closed.
///
/// # Safety
/// `segment` is NULL or a handle; `name` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_segment_name(segment: Option<&shm_segment>, name: *mut *const c_char) -> shm_status {
    guard(|| {
        let (segment, name) = (need(segment, "segment")?, need_out(name, "name")?);
        // SAFETY: not NULL, and the caller's promise.
        unsafe { name.write(segment.name.as_ptr()) };
        Ok(Status::Ok)
    })
}

/// Which wishes about this attachment's memory could not be had: SHM_PREFAULT, SHM_LOCK_MEMORY, SHM_HUGE_PAGES and
/// SHM_NUMA_NODE, or'ed; 0 when there was none or all were granted. Without them the segment works all the same. A
/// forked child's own copy of the mapping is neither prefaulted nor locked.
///
/// # Safety
/// `segment` is NULL or a handle; `options` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_segment_unavailable(segment: Option<&shm_segment>, options: *mut u32) -> shm_status {
    guard(|| {
        let (segment, options) = (need(segment, "segment")?, need_out(options, "options")?);
        // SAFETY: not NULL, and the caller's promise.
        unsafe { options.write(segment.unavailable.iter().fold(0, |all, (option, _)| all | option)) };
        Ok(Status::Ok)
    })
}

/// Why one of them could not be had, in a sentence that is valid until the handle is closed.
///
/// Errors: SHM_ERR_NOT_FOUND for an option that was granted, or not asked for.
///
/// # Safety
/// `segment` is NULL or a handle; `reason` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_segment_unavailable_reason(
    segment: Option<&shm_segment>,
    option: u32,
    reason: *mut *const c_char,
) -> shm_status {
    guard(|| {
        let (segment, reason) = (need(segment, "segment")?, need_out(reason, "reason")?);
        let Some((_, sentence)) = segment.unavailable.iter().find(|(unavailable, _)| *unavailable == option) else {
            return Err(fail!(NotFound, "option {option:#x} is not among those that could not be had"));
        };
        // SAFETY: not NULL, and the caller's promise.
        unsafe { reason.write(sentence.as_ptr()) };
        Ok(Status::Ok)
    })
}

/// How many attachments live, read-only ones not counted.
///
/// # Safety
/// `segment` is NULL or a handle; `living` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_segment_count(segment: Option<&shm_segment>, living: *mut u32) -> shm_status {
    guard(|| {
        let (segment, living) = (need(segment, "segment")?, need_out(living, "living")?);
        // SAFETY: not NULL, and the caller's promise.
        unsafe { living.write(segment.segment.count()) };
        Ok(Status::Ok)
    })
}

/// How full the segment is.
///
/// Errors: SHM_ERR_CORRUPT when the table makes no sense; SHM_ERR_BUSY.
///
/// # Safety
/// `segment` is NULL or a handle; `stats` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_segment_get_stats(
    segment: Option<&shm_segment>,
    stats: *mut shm_segment_stats,
) -> shm_status {
    guard(|| {
        let (segment, stats) = (need(segment, "segment")?, need_out(stats, "stats")?);
        let found = segment.segment.stats()?;
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        let translated = shm_segment_stats {
            size: found.size,
            used: found.used,
            free: found.free,
            largest_free: found.largest_free,
            entries_used: found.entries_used,
            entries_free: found.entries_free,
            participants: found.participants,
            max_participants: found.max_participants,
            table_name_bytes: found.name_bytes,
            flags: flag(found.persistent, SHM_PERSISTENT) | flag(found.read_only, SHM_READ_ONLY),
            orphaned: found.orphaned.into(),
            fences: found.fences.into(),
            reserved: [0; 4],
        };
        // SAFETY: not NULL, and the caller's promise.
        unsafe { stats.write(translated) };
        Ok(Status::Ok)
    })
}

/// Lists the attachments, dead ones that were not reaped yet included. Fills at most `capacity` elements of `out` (which may
/// be NULL when `capacity` is 0) and sets `count` to how many there are, which may be more.
///
/// # Safety
/// `segment` is NULL or a handle; `out` has room for `capacity` elements; `count` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_segment_participants(
    segment: Option<&shm_segment>,
    out: *mut shm_participant,
    capacity: usize,
    count: *mut usize,
) -> shm_status {
    guard(|| {
        let (segment, count) = (need(segment, "segment")?, need_out(count, "count")?);
        if capacity > 0 {
            need_out(out, "out")?;
        }
        let found = segment.segment.participants();
        for (index, participant) in found.iter().take(capacity).enumerate() {
            let translated = shm_participant {
                id: participant.id,
                pid: participant.pid,
                alive: participant.alive.into(),
                is_self: participant.is_self.into(),
                attached_ns: participant.attached,
                command: super::put_text(&participant.command),
            };
            // SAFETY: less than `capacity`, and the caller's promise.
            unsafe { out.add(index).write(translated) };
        }
        // SAFETY: not NULL, and the caller's promise.
        unsafe { count.write(found.len()) };
        Ok(Status::Ok)
    })
}

/// Gives back what dead participants owned, in every structure. This also happens by itself, when somebody attaches or is
/// stuck behind a dead owner. `reaped` (may be NULL) is set to how many there were.
///
/// Errors: SHM_ERR_READ_ONLY; SHM_ERR_BUSY.
///
/// # Safety
/// `segment` is NULL or a handle; `reaped` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_segment_reap(segment: Option<&shm_segment>, reaped: *mut u32) -> shm_status {
    guard(|| {
        let count = need(segment, "segment")?.segment.reap()?;
        if !reaped.is_null() {
            // SAFETY: not NULL, and the caller's promise.
            unsafe { reaped.write(count) };
        }
        Ok(Status::Ok)
    })
}

/// The size of a segment, with the table of `options` (NULL: defaults), in which structures of `sections_bytes` altogether fit.
/// `shm_queue_size` and its like say what each takes.
///
/// # Safety
/// `options` is NULL or as `shm_segment_options_init` left it; `size` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_segment_size(
    options: *const shm_segment_options,
    sections_bytes: u64,
    size: *mut u64,
) -> shm_status {
    guard(|| {
        let size = need_out(size, "size")?;
        // SAFETY: the caller's promise.
        let options = unsafe { options_or_defaults(options) }?;
        // SAFETY: not NULL, and the caller's promise.
        unsafe { size.write(options.size_for(sections_bytes)?) };
        Ok(Status::Ok)
    })
}
