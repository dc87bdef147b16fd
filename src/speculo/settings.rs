//! What an area is to be, and what time it is.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Result, fail};
use crate::os::process;

/// What an area is to be.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// `None`: where POSIX shared memory lies.
    pub(crate) directory: Option<PathBuf>,
    /// Bytes of an area at first, and at least.
    pub(crate) smallest: u64,
    /// And at most.
    pub(crate) largest: u64,
    /// Bytes of former areas that readers may keep in memory.
    pub(crate) most_pinned: u64,
    pub(crate) mode: u32,
    /// How many percent of the area have to be wasted before it is compacted although there is room.
    pub(crate) threshold: u32,
    pub(crate) exclusive: bool,
    pub(crate) any_owner: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            directory: None,
            smallest: 64 << 10,
            largest: 1 << 20,
            most_pinned: u64::MAX,
            mode: 0o600,
            threshold: 50,
            exclusive: false,
            any_owner: false,
        }
    }
}

impl Settings {
    pub(super) fn check(&self) -> Result<()> {
        let page = process::page_size() as u64;
        if self.largest < page || i64::try_from(self.largest).is_err() {
            return Err(fail!(Invalid, "an area of at most {} bytes is not possible; it needs {page}", self.largest));
        }
        if self.smallest < page || self.smallest > self.largest {
            let (smallest, largest) = (self.smallest, self.largest);
            return Err(fail!(Invalid, "an area cannot have {smallest} bytes at first and {largest} at most"));
        }
        if self.mode & !0o777 != 0 || self.mode & 0o600 != 0o600 {
            return Err(fail!(Invalid, "mode {:#o} is not possible: it needs 0600 and nothing above 0777", self.mode));
        }
        if !(1..=100).contains(&self.threshold) {
            return Err(fail!(Invalid, "{} percent cannot be wasted; 1 to 100 can", self.threshold));
        }
        Ok(())
    }
}

/// What time it is for areas without a clock of their own: nanoseconds since the machine started (CLOCK_BOOTTIME), whatever time people set and
/// in whatever time namespace.
#[must_use]
pub fn now() -> u64 {
    process::since_boot()
}

/// What time it is: nanoseconds since the machine started, or somebody else's idea of it.
#[derive(Clone, Default)]
pub(crate) struct Clock(Option<Arc<dyn Fn() -> u64 + Send + Sync>>);

impl Clock {
    pub(crate) fn new(clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(clock)))
    }

    #[inline]
    pub(crate) fn now(&self) -> u64 {
        self.0.as_ref().map_or_else(now, |clock| clock())
    }

    /// Whether it is somebody else's, which may go on when the machine starts anew.
    pub(super) fn is_own(&self) -> bool {
        self.0.is_some()
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(if self.is_own() { "own clock" } else { "boot time" })
    }
}
