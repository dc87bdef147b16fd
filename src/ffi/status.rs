//! Statuses, their texts, and the last error of each thread.

use std::cell::RefCell;
use std::ffi::{CString, c_char};

use crate::error::{Error, Status};

/// What every function returns. Zero is done; positive is an ordinary outcome; negative is an error, whose sentence
/// `shm_last_error` has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum shm_status {
    /// Done.
    SHM_OK = 0,
    /// No room now.
    SHM_FULL = 1,
    /// Nothing there now.
    SHM_EMPTY = 2,
    /// The time allowed ran out.
    SHM_TIMEOUT = 3,
    /// Shut down: nothing more will come, or may be sent.
    SHM_CLOSED = 4,
    /// The writer overtook this reader; what was lost is counted.
    SHM_LAPPED = 5,
    /// A writer died or gave up in the middle, and nobody has written since: what is there is a mixture.
    SHM_TORN = 6,
    /// An argument is not acceptable.
    SHM_ERR_INVALID = -1,
    /// No such name.
    SHM_ERR_NOT_FOUND = -2,
    /// The name is taken, and exclusive creation was asked for.
    SHM_ERR_EXISTS = -3,
    /// The name is taken by something of another kind or shape.
    SHM_ERR_MISMATCH = -4,
    /// Made by another format version, byte order or page size.
    SHM_ERR_VERSION = -5,
    /// The bytes make no sense: not ours, truncated, or written over by a peer.
    SHM_ERR_CORRUPT = -6,
    /// No room in the segment, or in the shared-memory file system.
    SHM_ERR_NO_SPACE = -7,
    /// A count limit is reached: entries, participants, descriptors, memory.
    SHM_ERR_LIMIT = -8,
    /// The operating system or an owner check refuses.
    SHM_ERR_PERMISSION = -9,
    /// Somebody living holds what was asked for.
    SHM_ERR_BUSY = -10,
    /// The attachment is read-only.
    SHM_ERR_READ_ONLY = -11,
    /// Another failure of the operating system; the sentence has its number.
    SHM_ERR_SYSTEM = -12,
    /// A defect of the library, stopped at its boundary.
    SHM_ERR_INTERNAL = -13,
}

impl From<Status> for shm_status {
    #[inline(always)]
    fn from(status: Status) -> Self {
        match status {
            Status::Ok => Self::SHM_OK,
            Status::Full => Self::SHM_FULL,
            Status::Empty => Self::SHM_EMPTY,
            Status::Timeout => Self::SHM_TIMEOUT,
            Status::Closed => Self::SHM_CLOSED,
            Status::Lapped => Self::SHM_LAPPED,
            Status::Torn => Self::SHM_TORN,
            Status::Invalid => Self::SHM_ERR_INVALID,
            Status::NotFound => Self::SHM_ERR_NOT_FOUND,
            Status::Exists => Self::SHM_ERR_EXISTS,
            Status::Mismatch => Self::SHM_ERR_MISMATCH,
            Status::Version => Self::SHM_ERR_VERSION,
            Status::Corrupt => Self::SHM_ERR_CORRUPT,
            Status::NoSpace => Self::SHM_ERR_NO_SPACE,
            Status::Limit => Self::SHM_ERR_LIMIT,
            Status::Permission => Self::SHM_ERR_PERMISSION,
            Status::Busy => Self::SHM_ERR_BUSY,
            Status::ReadOnly => Self::SHM_ERR_READ_ONLY,
            Status::System => Self::SHM_ERR_SYSTEM,
            Status::Internal => Self::SHM_ERR_INTERNAL,
        }
    }
}

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

/// Keeps an error's sentence for [`shm_last_error`].
pub(super) fn remember(error: &Error) {
    let sentence = CString::new(error.message().replace('\0', "␀")).unwrap_or_default();
    // A thread that is ending has nobody left to ask.
    let _ = LAST_ERROR.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            *last = sentence;
        }
    });
}

/// The sentence of this thread's last negative status, with the names and numbers involved; empty when there was none.
/// Valid until this thread's next failing call. Never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn shm_last_error() -> *const c_char {
    LAST_ERROR.try_with(|last| last.try_borrow().map_or(c"".as_ptr(), |last| last.as_ptr())).unwrap_or(c"".as_ptr())
}

/// A few words that say what a status means. Total: any number gives a static string, never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn shm_status_string(status: i32) -> *const c_char {
    Status::from_code(status).map_or(c"unknown status", Status::c_text).as_ptr()
}

/// The number of the ABI: libraries with the same number are interchangeable. Before version 1.0 it is the minor version.
#[unsafe(no_mangle)]
pub extern "C" fn shm_abi_version() -> u32 {
    let number = if env!("CARGO_PKG_VERSION_MAJOR") == "0" {
        env!("CARGO_PKG_VERSION_MINOR")
    } else {
        env!("CARGO_PKG_VERSION_MAJOR")
    };
    number.parse().unwrap_or(0)
}

/// The version of the library, such as "0.1.0". Static.
#[unsafe(no_mangle)]
pub extern "C" fn shm_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    #[test]
    fn the_c_codes_are_the_codes() {
        for code in -20..20 {
            // SAFETY: static strings.
            let text = unsafe { CStr::from_ptr(shm_status_string(code)) }.to_str().unwrap();
            match Status::from_code(code) {
                Some(status) => {
                    assert_eq!(shm_status::from(status) as i32, code);
                    assert_eq!(text, status.text());
                }
                None => assert_eq!(text, "unknown status"),
            }
        }
    }

    #[test]
    fn versions_agree() {
        // SAFETY: a static string.
        let version = unsafe { CStr::from_ptr(shm_version()) }.to_str().unwrap();
        assert_eq!(version, env!("CARGO_PKG_VERSION"));
        assert!(version.split('.').any(|part| part == shm_abi_version().to_string()));
    }
}
