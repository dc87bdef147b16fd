//! Names and directories that go when their test does.

use std::fmt::{self, Display, Formatter};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

fn unique() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    format!("shmds-test-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// A segment name nobody else has. What still has it at the end is removed, and fails the test.
#[derive(Debug)]
pub struct Name(String);

impl Name {
    pub fn new() -> Self {
        Self(unique())
    }

    pub fn path(&self) -> PathBuf {
        Self::path_of(&self.0)
    }

    /// Where the segment of this name lies.
    pub fn path_of(name: &str) -> PathBuf {
        Path::new("/dev/shm").join(name)
    }

    pub fn exists(&self) -> bool {
        self.path().symlink_metadata().is_ok()
    }

    /// Removes whatever has the name, for tests that leave something on purpose.
    pub fn clear(&self) {
        let path = self.path();
        if path.is_dir() && !path.is_symlink() {
            let _ = std::fs::remove_dir(path);
        } else {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Display for Name {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let left = self.exists();
        self.clear();
        assert!(!left || std::thread::panicking(), "{} was left behind", self.path().display());
    }
}

/// A directory outside of shared memory.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(unique());
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
