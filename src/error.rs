//! One list of outcomes, one table of their texts.
//!
//! [`Status`] is what a C caller sees; [`Error`] is a status with one sentence that names the thing and the number.
//! Ordinary outcomes (full, empty, timed out) are positive and are not errors; failures are negative.

use std::ffi::CStr;
use std::{fmt, io};

/// The outcome of an operation, with the number it has in the C ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// No room now.
    Full = 1,
    /// Nothing there now.
    Empty = 2,
    /// The time allowed ran out.
    Timeout = 3,
    /// Shut down: nothing more will come, or may be sent.
    Closed = 4,
    /// The writer overtook this reader; what was lost is counted.
    Lapped = 5,
    /// A writer died or gave up in the middle, and nobody has written since: what is there is a mixture.
    Torn = 6,
    /// An argument is not acceptable.
    Invalid = -1,
    /// No such name.
    NotFound = -2,
    /// The name is taken, and exclusive creation was asked for.
    Exists = -3,
    /// The name is taken by something of another kind or shape.
    Mismatch = -4,
    /// Made by another format version, byte order or page size.
    Version = -5,
    /// The bytes make no sense: not ours, truncated, or written over by a peer.
    Corrupt = -6,
    /// No room in the segment, or in the shared-memory file system.
    NoSpace = -7,
    /// A count limit is reached: entries, participants, descriptors, memory.
    Limit = -8,
    /// The operating system or an owner check refuses.
    Permission = -9,
    /// Somebody living holds what was asked for.
    Busy = -10,
    /// The attachment is read-only.
    ReadOnly = -11,
    /// Another failure of the operating system; the sentence has its number.
    System = -12,
    /// A defect of the library, stopped at its boundary.
    Internal = -13,
}

impl Status {
    /// Every status.
    const ALL: [Self; 20] = [
        Self::Ok,
        Self::Full,
        Self::Empty,
        Self::Timeout,
        Self::Closed,
        Self::Lapped,
        Self::Torn,
        Self::Invalid,
        Self::NotFound,
        Self::Exists,
        Self::Mismatch,
        Self::Version,
        Self::Corrupt,
        Self::NoSpace,
        Self::Limit,
        Self::Permission,
        Self::Busy,
        Self::ReadOnly,
        Self::System,
        Self::Internal,
    ];

    /// The number of this status in the C ABI.
    #[must_use]
    pub const fn code(self) -> i32 {
        self as i32
    }

    /// The status with this number, if there is one.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }

    /// A few words that say what the status means.
    #[must_use]
    pub fn text(self) -> &'static str {
        let c_text = self.c_text();
        c_text.to_str().unwrap_or("")
    }

    /// The same, as C wants it.
    pub(crate) const fn c_text(self) -> &'static CStr {
        match self {
            Self::Ok => c"done",
            Self::Full => c"full: no room now",
            Self::Empty => c"empty: nothing there now",
            Self::Timeout => c"the time allowed ran out",
            Self::Closed => c"shut down",
            Self::Lapped => c"the writer overtook this reader",
            Self::Torn => c"a writer died or gave up in the middle",
            Self::Invalid => c"invalid argument",
            Self::NotFound => c"no such name",
            Self::Exists => c"the name exists already",
            Self::Mismatch => c"the name belongs to something of another kind or shape",
            Self::Version => c"made by another format version, byte order or page size",
            Self::Corrupt => c"corrupt or foreign bytes",
            Self::NoSpace => c"not enough room",
            Self::Limit => c"a count limit is reached",
            Self::Permission => c"permission refused",
            Self::Busy => c"held by somebody living",
            Self::ReadOnly => c"the attachment is read-only",
            Self::System => c"the operating system failed",
            Self::Internal => c"defect in the library",
        }
    }
}

/// `fail!(Status, "format {}", …)` makes an [`Error`]; `return Err(fail!(…))` reads as the sentence it is.
macro_rules! fail {
    ($status:ident, $($arg:tt)*) => {
        $crate::error::Error::new($crate::error::Status::$status, format!($($arg)*))
    };
}
pub(crate) use fail;

/// A failure: its [`Status`] and one sentence naming the thing and the number involved.
///
/// One word in size, so that results on hot paths stay in registers.
pub struct Error(Box<Inner>);

struct Inner {
    status: Status,
    message: String,
    source: Option<io::Error>,
}

/// What the fallible operations of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    #[cold]
    pub(crate) fn new(status: Status, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { status, message: message.into(), source: None }))
    }

    /// A failed system call: `what` says what was tried on which thing.
    #[cold]
    pub(crate) fn system(what: impl fmt::Display, source: io::Error) -> Self {
        let status = match source.raw_os_error() {
            Some(libc::EACCES | libc::EPERM | libc::EROFS) => Status::Permission,
            Some(libc::ENOSPC | libc::EFBIG | libc::EDQUOT) => Status::NoSpace,
            Some(libc::ENOMEM | libc::EMFILE | libc::ENFILE | libc::EAGAIN | libc::ENOLCK) => Status::Limit,
            Some(libc::ENOENT) => Status::NotFound,
            Some(libc::EEXIST) => Status::Exists,
            Some(libc::ELOOP) => Status::Permission,
            _ => Status::System,
        };
        Self(Box::new(Inner { status, message: format!("{what}: {source}"), source: Some(source) }))
    }

    /// A failed lock in `what`.
    #[cold]
    pub(crate) fn lock(what: impl fmt::Display, source: io::Error) -> Self {
        let missing = [libc::EINVAL, libc::ENOSYS, libc::EOPNOTSUPP, libc::ENOLCK, libc::EOVERFLOW];
        if !source.raw_os_error().is_some_and(|code| missing.contains(&code)) {
            return Self::system(format_args!("cannot lock in {what}"), source);
        }
        fail!(
            System,
            "the file system of {what}, or the system, has no open-file-description locks, by which the living are known: {source}"
        )
    }

    /// Which kind of failure this is.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.status
    }

    /// The sentence.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.status, self.0.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|e| e as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_one_text_and_keeps_its_code() {
        for status in Status::ALL {
            assert_eq!(Status::from_code(status.code()), Some(status));
            assert_eq!(Status::ALL.iter().filter(|other| other.text() == status.text()).count(), 1);
        }
        assert_eq!(Status::from_code(99), None);
    }

    #[test]
    fn error_is_one_word_wide() {
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }
}
