//! Shared-memory objects: files, of a memory file system for the most part.
//!
//! An object is built without a name (`O_TMPFILE`), filled, and only then linked to its name, so that nobody ever sees
//! one half-built. Where unnamed files or `/proc` are missing it gets a temporary name instead.

use std::ffi::CString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::lock::{self, Bytes, Mode};
use super::mapping::HUGE_PAGE;
use super::memory::is_made_of_huge_pages;
use super::{check, process};

/// Where POSIX shared-memory objects live on Linux.
const DIRECTORY: &str = "/dev/shm";

/// Names of objects under construction where `O_TMPFILE` is missing; never a legal segment name's start for anybody
/// who does not mean harm, and removed by the next builder when their own builder is dead.
pub(crate) const TEMPORARY_PREFIX: &str = ".shmds-build-";

/// Where objects lie unless told.
pub(crate) fn directory() -> &'static Path {
    Path::new(DIRECTORY)
}

/// The path of the object called `name` (no slashes; the caller has checked).
pub(crate) fn path_of(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// What tells one object from another, whatever their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }

    /// The object a path leads to now, without following a symbolic link. `None` when there is none.
    pub(crate) fn at(path: &Path) -> io::Result<Option<Self>> {
        match fs::symlink_metadata(path) {
            Ok(metadata) => Ok(Some(Self::of(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Opens an existing object. Never follows a symbolic link in the last component, never blocks on a FIFO.
pub(crate) fn open(path: &Path, read_only: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(!read_only)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)
}

/// Opens what has this path, if it is this object.
pub(crate) fn open_if_still(path: Option<&Path>, identity: Identity, read_only: bool) -> Option<File> {
    let file = open(path?, read_only).ok()?;
    file.metadata().is_ok_and(|found| Identity::of(&found) == identity).then_some(file)
}

/// An object under construction: reserved, but without its name yet.
pub(crate) struct Unlinked {
    file: File,
    /// Set where the object had to be given a temporary name.
    temporary: Option<Temporary>,
}

/// A name that goes when this value does.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// How an object is built before it gets its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Build {
    /// Without any name, where the system can; with a temporary one otherwise.
    Best,
    /// With a temporary name: what [`Build::Best`] falls back to.
    #[cfg(test)]
    Temporary,
}

impl Unlinked {
    /// A new object of `size` bytes, every page of which is reserved, with exactly these permission bits and group.
    pub(crate) fn new(directory: &Path, size: u64, mode: u32, group: Option<u32>, build: Build) -> io::Result<Self> {
        let object = Self::open(directory, build)?;
        object.prepare(size, mode, group)?;
        Ok(object)
    }

    fn prepare(&self, size: u64, mode: u32, group: Option<u32>) -> io::Result<()> {
        // mkstemp-like creation is subject to umask; the mode asked for is exact.
        if let Some(group) = group {
            // SAFETY: a valid descriptor; −1 leaves the owner alone.
            check(unsafe { libc::fchown(self.file.as_raw_fd(), u32::MAX, group) })?;
        }
        self.file.set_permissions(fs::Permissions::from_mode(mode))?;
        reserve(&self.file, size)
    }

    fn open(directory: &Path, build: Build) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600);
        if build == Build::Best && Path::new("/proc/self/fd").exists() {
            match options.clone().custom_flags(libc::O_TMPFILE | libc::O_CLOEXEC).open(directory) {
                Ok(file) => return Ok(Self { file, temporary: None }),
                // The codes a file system without O_TMPFILE answers with.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL)) => {}
                Err(error) => return Err(error),
            }
        }
        remove_dead_temporaries(directory);
        for _ in 0..100 {
            let path = directory.join(format!("{TEMPORARY_PREFIX}{}-{}", process::pid(), process::now()));
            let fresh = options.clone().create_new(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(&path);
            let file = match fresh {
                // Of somebody with our number, in another pid namespace.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                outcome => outcome?,
            };
            let object = Self { file, temporary: Some(Temporary(path)) };
            let locked = lock::try_lock(object.file.as_fd(), BUILDER, Mode::Exclusive)?;
            // Between creation and this lock, a cleaner may have taken us for dead. Then it has the file, and we begin anew.
            if locked && object.file.metadata()?.nlink() != 0 {
                return Ok(object);
            }
        }
        Err(io::Error::from_raw_os_error(libc::EAGAIN))
    }

    /// A new object without a name, and without a file system: all of its memory reserved, and its length sealed. In
    /// huge pages if `huge` and there are enough reserved ones; its length is then rounded up to them.
    pub(crate) fn memfd(label: &str, size: u64, mode: u32, group: Option<u32>, huge: bool) -> io::Result<Self> {
        let whole = size.checked_next_multiple_of(HUGE_PAGE as u64).filter(|_| huge);
        if let Some(size) = whole
            && let Ok(object) = Self::memfd_of(label, size, mode, group, libc::MFD_HUGETLB | libc::MFD_HUGE_2MB)
        {
            return Ok(object);
        }
        Self::memfd_of(label, size, mode, group, 0)
    }

    fn memfd_of(label: &str, size: u64, mode: u32, group: Option<u32>, pages: libc::c_uint) -> io::Result<Self> {
        let label = c_path(Path::new(label))?;
        let create = |flags| {
            // SAFETY: a NUL-terminated string.
            check(unsafe { libc::memfd_create(label.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING | flags) })
        };
        // Some machines allow only objects that can never be executed; older ones do not know the flag.
        let inert = if mode & 0o111 == 0 { libc::MFD_NOEXEC_SEAL } else { 0 };
        let descriptor = create(pages | inert).or_else(|_| create(pages))?;
        // SAFETY: just made, and nobody else's.
        let object = Self { file: unsafe { File::from_raw_fd(descriptor) }, temporary: None };
        object.prepare(size, mode, group)?;
        // SAFETY: a valid descriptor.
        check(unsafe { libc::fcntl(descriptor, libc::F_ADD_SEALS, SHRINK | GROW | libc::F_SEAL_SEAL) })?;
        Ok(object)
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Another description of the object, as [`reopen`] makes.
    pub(crate) fn reopen(&self) -> io::Result<File> {
        reopen(&self.file, self.temporary.as_ref().map(|temporary| temporary.0.as_path()), false)
    }

    /// Gives the object its name. `AlreadyExists` when the name is taken; the object is then gone.
    pub(crate) fn link(self, path: &Path) -> io::Result<()> {
        let from = match &self.temporary {
            Some(temporary) => temporary.0.clone(),
            None => PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd())),
        };
        let (from, to) = (c_path(&from)?, c_path(path)?);
        // SAFETY: both are NUL-terminated strings. AT_SYMLINK_FOLLOW leads from /proc/self/fd to the file itself.
        check(unsafe {
            libc::linkat(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), libc::AT_SYMLINK_FOLLOW)
        })?;
        Ok(())
    }
}

/// The byte a builder of a temporarily named object holds while it lives: beyond all bytes a segment uses.
const BUILDER: Bytes = Bytes { start: 1 << 20, len: 1 };

/// Removes temporary objects whose builder is dead. Best effort: what cannot be opened is not ours to judge.
fn remove_dead_temporaries(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().as_encoded_bytes().starts_with(TEMPORARY_PREFIX.as_bytes()) {
            continue;
        }
        let Ok(file) = open(&entry.path(), false) else { continue };
        if lock::try_lock(file.as_fd(), BUILDER, Mode::Exclusive).unwrap_or(false) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Reserves every page now: a full file system is an error here and never a SIGBUS at some later store.
fn reserve(file: &File, size: u64) -> io::Result<()> {
    let too_large = || io::Error::from_raw_os_error(libc::EFBIG);
    let length = libc::off_t::try_from(size).map_err(|_| too_large())?;
    if size > process::largest_file() {
        // The kernel would not only refuse, but end us by SIGXFSZ.
        return Err(too_large());
    }
    // Huge pages are reserved or not; asking for too many harms nobody.
    let free = if is_made_of_huge_pages(file.as_fd()) { None } else { free_bytes(file).or_else(available_memory) };
    if let Some(free) = free
        && size > free
    {
        // Asked first, because reserving until it fails would push the machine into memory pressure.
        return Err(io::Error::from_raw_os_error(libc::ENOSPC));
    }
    let (mut done, mut step) = (0, length);
    while done < length {
        // SAFETY: a valid descriptor.
        match unsafe { libc::posix_fallocate(file.as_raw_fd(), done, step.min(length - done)) } {
            0 => done += step,
            // A signal makes the kernel give up and undo all of this step: in a process drowned in signals only a short one comes to its end.
            libc::EINTR => step = (step / 2).max(1 << 16),
            libc::ENOSYS | libc::EOPNOTSUPP => return fill(file, size),
            errno => return Err(io::Error::from_raw_os_error(errno)),
        }
    }
    Ok(())
}

/// Reserves by writing, where the kernel cannot otherwise.
fn fill(file: &File, size: u64) -> io::Result<()> {
    let zeros = vec![0; size.min(1 << 16) as usize];
    let mut done = 0;
    while done < size {
        let some = zeros.len().min((size - done) as usize);
        file.write_all_at(&zeros[..some], done)?;
        done += some as u64;
    }
    Ok(())
}

fn free_bytes(file: &File) -> Option<u64> {
    // SAFETY: statvfs is plain data, and the descriptor is valid.
    let mut info: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    check(unsafe { libc::fstatvfs(file.as_raw_fd(), &mut info) }).ok()?;
    // A file system without a limit reports zero blocks.
    (info.f_blocks != 0).then(|| info.f_bavail.saturating_mul(info.f_frsize))
}

/// How much memory could still be had, where nothing else is a limit.
fn available_memory() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let kilobytes = |key: &str| -> Option<u64> {
        let line = info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    };
    Some((kilobytes("MemAvailable")? + kilobytes("SwapFree").unwrap_or(0)) << 10)
}

/// How much room a directory's file system has left, in brackets, for sentences; nothing where it does not say.
pub(crate) fn describe_room(directory: &Path) -> String {
    let Ok(directory) = File::open(directory) else { return String::new() };
    let bytes = free_bytes(&directory).map(|bytes| format!("{bytes} were free"));
    // SAFETY: statvfs is plain data, and the descriptor is valid.
    let mut info: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let known = check(unsafe { libc::fstatvfs(directory.as_raw_fd(), &mut info) }).is_ok();
    // A file system without a limit reports zero files.
    let files = (known && info.f_files != 0 && info.f_favail == 0).then(|| "no more files are possible".to_owned());
    let told: Vec<_> = bytes.into_iter().chain(files).collect();
    if told.is_empty() { String::new() } else { format!(" ({})", told.join(", and ")) }
}

/// Has the name of a file survive the machine. Best effort: who may make names there may still not be allowed to read
/// it.
pub(crate) fn sync_directory(of: Option<&Path>) {
    let Some(directory) = of.and_then(Path::parent) else { return };
    let _ = File::open(directory).and_then(|directory| directory.sync_all());
}

/// The seals that keep an object's length as it is.
pub(crate) const SHRINK: libc::c_int = libc::F_SEAL_SHRINK;
pub(crate) const GROW: libc::c_int = libc::F_SEAL_GROW;

/// The seals on an object; `None` where there can be none, as on a disk.
pub(crate) fn seals(file: &File) -> Option<libc::c_int> {
    // SAFETY: a valid descriptor.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) }).ok()
}

/// The longest label of an object without a name.
pub(crate) const LONGEST_LABEL: usize = 249;

/// What people may call an object: the label it was made with, or its path.
pub(crate) fn label(file: &File) -> String {
    let number = file.as_raw_fd();
    let path = fs::read_link(format!("/proc/self/fd/{number}"))
        .map_or_else(|_| format!("descriptor {number}"), |path| path.display().to_string());
    let path = path.strip_suffix(" (deleted)").unwrap_or(&path);
    let in_memory = path.strip_prefix("/memfd:").or_else(|| path.strip_prefix(DIRECTORY)?.strip_prefix('/'));
    in_memory.unwrap_or(path).to_owned()
}

/// Removes a name. True when it was there.
pub(crate) fn unlink(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Another open file description of the same object, which holds no locks.
pub(crate) fn reopen(file: &File, path: Option<&Path>, read_only: bool) -> io::Result<File> {
    let identity = Identity::of(&file.metadata()?);
    let by_descriptor = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let fresh = OpenOptions::new()
        .read(true)
        .write(!read_only)
        .custom_flags(libc::O_CLOEXEC)
        .open(by_descriptor)
        .or_else(|error| path.map_or(Err(without_proc(error)), |path| open(path, read_only)))?;
    if Identity::of(&fresh.metadata()?) != identity {
        return Err(io::Error::from_raw_os_error(libc::ESTALE));
    }
    Ok(fresh)
}

/// "No such file" is no answer to who has a descriptor of it.
fn without_proc(error: io::Error) -> io::Error {
    if Path::new("/proc/self/fd").exists() {
        return error;
    }
    io::Error::new(io::ErrorKind::Unsupported, "there is no /proc, through which a descriptor is opened again")
}

/// Puts another description in the place of `file`'s, keeping the descriptor's number, and needing no new one. What a forked
/// child does first: the description it inherited carries its parent's locks, and keeps them alive.
pub(crate) fn replace(file: &File, other: &File) {
    replace_raw(file.as_raw_fd(), other);
}

/// As [`replace`], for a descriptor known by its number.
pub(crate) fn replace_raw(file: RawFd, other: &File) {
    // SAFETY: both descriptors are open; dup3 replaces the second at once.
    unsafe { libc::dup3(other.as_raw_fd(), file, libc::O_CLOEXEC) };
}

/// A description of nothing.
pub(crate) fn nothing() -> io::Result<File> {
    File::open("/dev/null")
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unique(what: &str) -> PathBuf {
        path_of(&format!("shmds-object-{what}-{}", process::pid()))
    }

    fn temporaries() -> Vec<PathBuf> {
        let ours = format!("{TEMPORARY_PREFIX}{}-", process::pid());
        let entries = fs::read_dir(DIRECTORY).unwrap().flatten().map(|entry| entry.path());
        entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(&ours)).collect()
    }

    #[test]
    fn both_ways_of_building_give_the_same_object() {
        for build in [Build::Best, Build::Temporary] {
            let path = unique(&format!("{build:?}"));
            let object = Unlinked::new(Path::new(DIRECTORY), 8192, 0o640, None, build).unwrap();
            assert_eq!(Identity::at(&path).unwrap(), None);
            let file = object.reopen().unwrap();
            object.link(&path).unwrap();
            let metadata = file.metadata().unwrap();
            assert_eq!((metadata.len(), metadata.mode() & 0o7777, metadata.nlink()), (8192, 0o640, 1), "{build:?}");
            assert_eq!(Identity::at(&path).unwrap(), Some(Identity::of(&metadata)));

            let second = Unlinked::new(Path::new(DIRECTORY), 4096, 0o600, None, build).unwrap();
            assert_eq!(second.link(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert!(unlink(&path).unwrap());
            assert!(!unlink(&path).unwrap());
        }
        assert_eq!(temporaries(), Vec::<PathBuf>::new());
    }

    #[test]
    fn dead_builders_leave_nothing_and_living_ones_keep_theirs() {
        let dead = Path::new(DIRECTORY).join(format!("{TEMPORARY_PREFIX}0-{}", process::now()));
        File::create(&dead).unwrap();
        let living = Unlinked::new(Path::new(DIRECTORY), 4096, 0o600, None, Build::Temporary).unwrap();
        let other = Unlinked::new(Path::new(DIRECTORY), 4096, 0o600, None, Build::Temporary).unwrap();
        assert!(!dead.exists());
        let path = unique("living");
        living.link(&path).unwrap();
        assert!(unlink(&path).unwrap());
        drop(other);
    }

    #[test]
    fn more_than_there_is_room_for_is_refused_before_anything_is_taken() {
        // Not a little more than is free: somebody may give it back meanwhile, and then it would all be taken.
        for size in [1 << 50, i64::MAX as u64] {
            let Err(error) = Unlinked::new(Path::new(DIRECTORY), size, 0o600, None, Build::Best) else {
                panic!("{size}")
            };
            assert!(matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EFBIG)), "{error}");
        }
    }
}
