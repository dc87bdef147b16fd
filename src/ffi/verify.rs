//! Verifying, in C.

use std::ffi::{CString, c_char, c_void};

use super::segment::shm_segment;
use super::speculo;
use super::status::shm_status;
use super::table::shm_kind;
use super::{guard, need, need_text, only_flags, put};
use crate::error::{Result, Status};
use crate::segment::{Finding, Severity, Verified, VerifyOptions};
use crate::speculo::{Place, verify};

/// Verifying: nobody works now, no call is under way in any process. Then more is certain, and looked at.
pub const SHM_VERIFY_AT_REST: u32 = 0x1000;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum shm_severity {
    /// Something of somebody who died, or, at rest, something begun and not ended. `shm_segment_reap` gives it back, or the next who does
    /// the same thing completes it.
    SHM_LEFTOVER = 1,
    /// No rule leads here: somebody wrote over it.
    SHM_DAMAGE = 2,
}

impl From<Severity> for shm_severity {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Leftover => Self::SHM_LEFTOVER,
            Severity::Damage => Self::SHM_DAMAGE,
        }
    }
}

/// Something that is not as it should be. Valid while the visitor is called.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct shm_finding {
    /// One of `shm_severity`.
    pub severity: u32,
    /// One of `shm_kind`: what it is in; 0 for the segment itself, and for an area of chunks.
    pub kind: u32,
    /// Where it is, in bytes from the beginning of the segment, or of the area's file.
    pub offset: u64,
    /// The name of the structure, or of the area; empty for the segment itself.
    pub name: *const c_char,
    /// What it is, with names and numbers.
    pub sentence: *const c_char,
    /// Zero, for later.
    pub reserved: [u64; 2],
}

/// What verifying came to.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct shm_verified {
    /// How many structures were looked at; of an area, how many chunks.
    pub checked: u64,
    /// How many were not, because a later version of the library made them.
    pub unknown: u64,
    /// How many findings are SHM_DAMAGE. Of one structure, 64 findings or so are told, and all are counted.
    pub damage: u64,
    /// How many findings are SHM_LEFTOVER.
    pub leftovers: u64,
    /// Zero, for later.
    pub reserved: [u64; 4],
}

/// Is called for each finding, in the thread that verifies and holding no lock. It must not throw: that may end the program.
pub type shm_visit = Option<unsafe extern "C-unwind" fn(finding: *const shm_finding, context: *mut c_void)>;

fn options(flags: u32) -> Result<VerifyOptions> {
    only_flags(flags, SHM_VERIFY_AT_REST, "verifying")?;
    Ok(VerifyOptions { at_rest: flags & SHM_VERIFY_AT_REST != 0 })
}

/// Has C look at a finding.
fn tell(finding: &Finding, visit: shm_visit, context: *mut c_void) {
    let Some(visit) = visit else { return };
    let text = |text: &str| CString::new(text.replace('\0', "␀")).unwrap_or_default();
    let (name, sentence) = (text(&finding.name), text(&finding.sentence));
    let translated = shm_finding {
        severity: shm_severity::from(finding.severity) as u32,
        kind: finding.kind.map_or(0, |kind| shm_kind::from(kind) as u32),
        offset: finding.offset,
        name: name.as_ptr(),
        sentence: sentence.as_ptr(),
        reserved: [0; 2],
    };
    // SAFETY: the caller's promise, that it may be called so.
    unsafe { visit(&raw const translated, context) };
}

fn give(verified: &Verified, out: *mut shm_verified) -> Result<Status> {
    let Verified { checked, unknown, damage, leftovers, .. } = *verified;
    put(out, shm_verified { checked, unknown, damage, leftovers, reserved: [0; 4] });
    verified.sound()?;
    Ok(Status::Ok)
}

/// Looks at the whole segment and at every structure in it, and calls `visit` (may be NULL) with `context` for whatever is not as it
/// should be. Nothing is changed, and nobody is held up for long; a read-only attachment will do. `flags`: 0 or SHM_VERIFY_AT_REST.
///
/// While others work, only what is certain is told: there are no false alarms. What a structure holds is its users' affair and is not looked
/// at. With SHM_VERIFY_AT_REST and somebody working after all, something may be found that is not there.
///
/// SHM_OK: there is no damage, but perhaps there are leftovers. SHM_ERR_CORRUPT: there is; `shm_last_error` has the first. In both cases `out`
/// (may be NULL) is filled.
///
/// Other errors: SHM_ERR_BUSY when somebody keeps the segment's lock; SHM_ERR_INVALID for unknown flags.
///
/// # Safety
/// `segment` is NULL or a handle; `visit` is NULL or may be called with `context`; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_segment_verify(
    segment: Option<&shm_segment>,
    flags: u32,
    visit: shm_visit,
    context: *mut c_void,
    out: *mut shm_verified,
) -> shm_status {
    guard(|| {
        let segment = need(segment, "segment")?;
        give(&segment.segment.verify(options(flags)?, |finding| tell(finding, visit, context))?, out)
    })
}

/// As `shm_segment_verify`, for the area `name` in a directory (NULL: where POSIX shared memory lies), whether or not somebody writes it. No
/// permission to write is needed.
///
/// Other errors: SHM_ERR_NOT_FOUND; SHM_ERR_PERMISSION; SHM_ERR_VERSION; SHM_ERR_BUSY for an area that keeps being replaced. For what is no
/// area at all it is SHM_ERR_CORRUPT with `out` left as it was.
///
/// # Safety
/// `name` is a string; `directory` is NULL or a string; `visit` is NULL or may be called with `context`; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn speculo_area_verify(
    name: *const c_char,
    directory: *const c_char,
    flags: u32,
    visit: shm_visit,
    context: *mut c_void,
    out: *mut shm_verified,
) -> shm_status {
    guard(|| {
        // SAFETY: the caller's promises.
        let (name, directory) = unsafe { (need_text(name, "name")?, speculo::directory(directory)?) };
        give(&verify(&Place::new(name, directory)?, options(flags)?, |finding| tell(finding, visit, context))?, out)
    })
}
