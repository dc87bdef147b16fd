//! Names and directories that go when their test does, also when it is killed.

use std::fmt::{self, Display, Formatter};
use std::ops::Deref;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

fn unique() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    format!("{}{}", prefix(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// What all names of this process begin with.
pub fn prefix() -> String {
    format!("shmds-test-{}-", std::process::id())
}

/// A process that outlives this one, also when that and all of its group are killed, and then removes what has its names.
pub struct Janitor(Child);

impl Janitor {
    pub fn employ() -> Self {
        let script = r#"while read -r _; do :; done; sleep 1; rm -rf "/dev/shm/$1"* "$2/$1"*"#;
        let mut command = Command::new("sh");
        command.args(["-c", script, "janitor", &prefix()]).arg(std::env::temp_dir());
        // Its input ends when this process does.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Self(command.spawn().unwrap())
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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
