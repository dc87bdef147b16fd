//! Environments in which something is scarce, or missing altogether: a system call that the kernel does not know, a small /dev/shm, a limit. They
//! are made for one process and its children, by the kernel itself, so they are the same for C, C++ and Rust.

use std::io;
use std::path::PathBuf;

/// Something that a process has to do without from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// `membarrier`.
    Membarrier,
    /// Files without a name (`O_TMPFILE`).
    TmpFile,
    /// Locks of open file descriptions (`F_OFD_SETLK`, `F_OFD_GETLK`).
    OfdLocks,
    /// `memfd_create`.
    Memfd,
    /// Memory that forks wipe (`MADV_WIPEONFORK`).
    WipeOnFork,
    /// Filling the page table at once (`MADV_POPULATE_READ`, `MADV_POPULATE_WRITE`).
    Populate,
    /// `fallocate`.
    Fallocate,
    /// Sleeping by the wall clock (`FUTEX_CLOCK_REALTIME`): who does is killed.
    WallClock,
    /// `/proc`.
    Proc,
}

/// A system call that is refused when `argument & mask == value`, and how.
struct Refusal {
    call: libc::c_long,
    argument: u32,
    mask: u32,
    value: u32,
    answer: u32,
}

const fn errno(code: libc::c_int) -> u32 {
    libc::SECCOMP_RET_ERRNO | code as u32
}

/// Refuses a call whatever its arguments.
const fn all(call: libc::c_long, answer: u32) -> Refusal {
    Refusal { call, argument: 0, mask: 0, value: 0, answer }
}

/// Refuses a call with this argument.
const fn with(call: libc::c_long, argument: u32, value: libc::c_int, answer: u32) -> Refusal {
    Refusal { call, argument, mask: u32::MAX, value: value as u32, answer }
}

/// Refuses a call with all these bits in this argument.
const fn with_bits(call: libc::c_long, argument: u32, bits: libc::c_int, answer: u32) -> Refusal {
    Refusal { call, argument, mask: bits as u32, value: bits as u32, answer }
}

impl Lack {
    /// What the kernel answers from now on. Each is what one without the call says.
    fn refusals(self) -> Vec<Refusal> {
        let (unknown, invalid) = (errno(libc::ENOSYS), errno(libc::EINVAL));
        match self {
            Self::Membarrier => vec![all(libc::SYS_membarrier, unknown)],
            Self::TmpFile => vec![with_bits(libc::SYS_openat, 2, libc::O_TMPFILE, errno(libc::EOPNOTSUPP))],
            Self::OfdLocks => [libc::F_OFD_SETLK, libc::F_OFD_SETLKW, libc::F_OFD_GETLK]
                .map(|command| with(libc::SYS_fcntl, 1, command, invalid))
                .into(),
            Self::Memfd => vec![all(libc::SYS_memfd_create, unknown)],
            Self::WipeOnFork => vec![with(libc::SYS_madvise, 2, libc::MADV_WIPEONFORK, invalid)],
            Self::Populate => [libc::MADV_POPULATE_READ, libc::MADV_POPULATE_WRITE]
                .map(|advice| with(libc::SYS_madvise, 2, advice, invalid))
                .into(),
            Self::Fallocate => vec![all(libc::SYS_fallocate, unknown)],
            Self::WallClock => {
                let killed = libc::SECCOMP_RET_KILL_PROCESS;
                vec![with_bits(libc::SYS_futex, 1, libc::FUTEX_CLOCK_REALTIME, killed)]
            }
            Self::Proc => vec![],
        }
    }

    /// Has this process, and all that it starts, do without.
    pub fn impose(self) -> io::Result<()> {
        if self == Self::Proc {
            own_mounts()?;
            // SAFETY: a constant string; only this process sees it.
            return check(unsafe { libc::umount2(c"/proc".as_ptr(), libc::MNT_DETACH) });
        }
        refuse(&self.refusals())
    }
}

/// Installs a filter of system calls. It stays for good, and children inherit it.
fn refuse(refusals: &[Refusal]) -> io::Result<()> {
    // Where a `seccomp_data` has the number of the call, and the lower half of its first argument.
    const NUMBER: u32 = 0;
    const ARGUMENTS: u32 = 16;
    let step = |code: u32, k: u32, jf: u8| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    let load = |at| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at, 0);
    let skip_unless = |value, steps| step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, steps);
    let answer = |with| step(libc::BPF_RET | libc::BPF_K, with, 0);
    let mut program = Vec::new();
    for refusal in refusals {
        program.extend([
            load(NUMBER),
            skip_unless(refusal.call as u32, 4),
            load(ARGUMENTS + 8 * refusal.argument),
            step(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, refusal.mask, 0),
            skip_unless(refusal.value, 1),
            answer(refusal.answer),
        ]);
    }
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: a live program; the kernel copies it.
    unsafe {
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        check(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program))
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Mounts of this process's own, as root or in a user namespace of its own, where it is root. Only a process with one thread may ask.
pub fn own_mounts() -> io::Result<()> {
    // SAFETY: no preconditions.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    if uid == 0 {
        // SAFETY: no preconditions.
        check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    } else {
        // SAFETY: no preconditions.
        check(unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) })?;
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
        std::fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    }
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: constant strings; the mounts are seen by this process alone.
    check(unsafe { libc::mount(c"none".as_ptr(), c"/".as_ptr(), std::ptr::null(), private, std::ptr::null()) })
}

/// Has this process see a /dev/shm of its own, with such options as `size=64k`.
pub fn own_shared_memory(options: &str) {
    own_mounts().unwrap_or_else(|error| panic!("no mounts of its own: {error}"));
    mount_shared_memory(options, 0);
}

/// Mounts a memory file system at /dev/shm, or changes how it is mounted, where that is nobody else's business.
pub fn mount_shared_memory(options: &str, flags: libc::c_ulong) {
    let options = std::ffi::CString::new(options).unwrap();
    let (kind, at) = (c"tmpfs".as_ptr(), c"/dev/shm".as_ptr());
    // SAFETY: NUL-terminated strings; the mount is seen by this process alone.
    let mounted = check(unsafe { libc::mount(c"shm".as_ptr(), at, kind, flags, options.as_ptr().cast()) });
    mounted.unwrap_or_else(|error| panic!("cannot mount {options:?}: {error}"));
}

/// Sets one of this process's limits; the hard one stays, so that it can be raised again.
pub fn limit(resource: libc::__rlimit_resource_t, most: u64) {
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: live structures.
    let done = unsafe {
        check(libc::getrlimit(resource, &mut old)).and_then(|()| {
            let new = libc::rlimit { rlim_cur: most.min(old.rlim_max), rlim_max: old.rlim_max };
            check(libc::setrlimit(resource, &new))
        })
    };
    done.unwrap();
}

/// What this process has of objects in memory: descriptors and mappings of them, in /proc's words.
pub fn possessions() -> Vec<String> {
    let ours = |what: &str| what.contains("/dev/shm") || what.contains("/memfd:");
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let links = descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let mut all: Vec<String> = links.map(|link| link.display().to_string()).filter(|link| ours(link)).collect();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    all.extend(maps.lines().filter(|line| ours(line)).map(|line| {
        let mut words = line.split_ascii_whitespace();
        format!("{} {}", words.next().unwrap(), words.next_back().unwrap())
    }));
    all.sort();
    all
}

/// As [`possessions`], of what has this name: other tests of this process have others.
pub fn possessions_of(name: &str) -> Vec<String> {
    let mut all = possessions();
    all.retain(|what| what.contains(name));
    all
}

/// The files in shared memory that have this name, as a segment or an area; all, if it is empty.
pub fn files_of(name: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/dev/shm").unwrap().flatten().map(|entry| entry.path());
    let is_its = |path: &PathBuf| {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        name.is_empty() || file.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let mut found: Vec<PathBuf> = entries.filter(is_its).collect();
    found.sort();
    found
}

/// Whether a test that only root can run may go on. Where it cannot, it fails, unless whoever runs it says that they know: SHMDS_UNPRIVILEGED=1.
#[must_use]
pub fn is_root_or_said(what: &str) -> bool {
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } == 0 {
        return true;
    }
    let said = std::env::var_os("SHMDS_UNPRIVILEGED").is_some_and(|value| value == "1");
    assert!(said, "{what}: only root can test that; SHMDS_UNPRIVILEGED=1 says that it is known not to be tested");
    super::say(&format!("NOT TESTED, as this is not root: {what}"));
    false
}
