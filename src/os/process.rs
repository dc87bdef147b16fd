//! Who we are, what time it is, and what happens at fork.

/// Nanoseconds of a clock that never jumps (CLOCK_MONOTONIC), the same in every process of this machine.
#[cfg(not(loom))]
pub(crate) fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec; CLOCK_MONOTONIC always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Time stands still in a model.
#[cfg(loom)]
pub(crate) fn now() -> u64 {
    0
}

#[cfg(loom)]
pub(crate) fn since_boot() -> u64 {
    0
}

/// A model's process is the child of process 1.
#[cfg(loom)]
pub(crate) fn pid() -> u32 {
    2
}

/// The instant `timeout` from now; saturates to `u64::MAX`, which means never.
pub(crate) fn deadline(timeout: std::time::Duration) -> u64 {
    match u64::try_from(timeout.as_nanos()) {
        Ok(0) => 0,
        Ok(nanos) => now().saturating_add(nanos),
        Err(_) => u64::MAX,
    }
}

#[cfg(not(loom))]
mod real {
    use std::time::Duration;

    use crate::os::wiped::Wiped;
    use crate::sync::Ordering;
    use crate::sync::private::{self, AtomicBool, AtomicPtr, AtomicU32};

    /// The number of this process. It is asked for in front of every change that a forked child must not make, so the kernel is asked
    /// once, and the answer kept where a fork wipes it, by whatever way of forking.
    #[inline]
    pub(crate) fn pid() -> u32 {
        // SAFETY: null, or never freed.
        match unsafe { KEPT.load(Ordering::Acquire).as_ref() }.map_or(0, |kept| kept.load(Ordering::Relaxed)) {
            0 => ask_for_pid(),
            pid => pid,
        }
    }

    /// Null before it was made, and where the kernel cannot wipe. Not a lock or a once, which a fork could leave taken for ever.
    static KEPT: AtomicPtr<Wiped<AtomicU32>> = AtomicPtr::new(std::ptr::null_mut());
    /// Whether the kernel cannot wipe, so that it need not be tried with every call.
    static CANNOT: AtomicBool = AtomicBool::new(false);

    #[cold]
    fn ask_for_pid() -> u32 {
        let pid = std::process::id();
        if KEPT.load(Ordering::Acquire).is_null() && !CANNOT.load(Ordering::Relaxed) {
            // SAFETY: a number.
            let fresh = Box::new(unsafe { Wiped::<AtomicU32>::zeroed() });
            if fresh.is_wiped() {
                let fresh = Box::into_raw(fresh);
                if KEPT.compare_exchange(std::ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire).is_err() {
                    // SAFETY: ours alone: another thread was quicker, and nobody knows this one.
                    drop(unsafe { Box::from_raw(fresh) });
                }
            } else {
                CANNOT.store(true, Ordering::Relaxed);
            }
        }
        // SAFETY: as in `pid`.
        if let Some(kept) = unsafe { KEPT.load(Ordering::Acquire).as_ref() } {
            kept.store(pid, Ordering::Relaxed);
        }
        pid
    }

    pub(crate) fn effective_uid() -> u32 {
        // SAFETY: geteuid has no preconditions.
        unsafe { libc::geteuid() }
    }

    pub(crate) fn page_size() -> usize {
        // SAFETY: sysconf has no preconditions.
        let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(size).unwrap_or(4096)
    }

    /// The size beyond which this process may not have a file grow.
    pub(crate) fn largest_file() -> u64 {
        let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: a live structure, which is left as it is if there is no such limit.
        unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) };
        #[allow(clippy::unnecessary_cast)] // not everywhere
        let limit = if limit.rlim_cur == libc::RLIM_INFINITY { u64::MAX } else { limit.rlim_cur as u64 };
        limit
    }

    /// Nanoseconds since the machine started, time asleep included; nothing that people set changes it, and it is the same in every time
    /// namespace.
    pub(crate) fn since_boot() -> u64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointer is to a live timespec; CLOCK_BOOTTIME exists since Linux 2.6.39.
        unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut time) };
        let ours = time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64;
        ours.saturating_add_signed(boot_offset().saturating_neg())
    }

    /// How many nanoseconds CLOCK_BOOTTIME is ahead here of what it is outside of all time namespaces. Found out once, and again by a forked
    /// child, which may be in another one.
    fn boot_offset() -> i64 {
        const UNKNOWN: u64 = i64::MIN as u64;
        static OFFSET: private::AtomicU64 = private::AtomicU64::new(UNKNOWN);
        static FORGOTTEN_AT_FORK: AtomicBool = AtomicBool::new(false);
        unsafe extern "C" fn forget() {
            OFFSET.store(UNKNOWN, Ordering::Relaxed);
        }
        match OFFSET.load(Ordering::Relaxed) {
            UNKNOWN => {}
            offset => return offset as i64,
        }
        if !FORGOTTEN_AT_FORK.swap(true, Ordering::Relaxed) {
            // SAFETY: as in `at_fork`. If it is refused, children keep what their parent knew.
            unsafe { libc::pthread_atfork(None, None, Some(forget)) };
        }
        let offset = find_boot_offset();
        OFFSET.store(offset as u64, Ordering::Relaxed);
        offset
    }

    fn find_boot_offset() -> i64 {
        let namespace = |name| std::fs::read_link(format!("/proc/self/ns/{name}")).ok();
        // The file tells of the namespace of our children. Who has just made one for them has come from none, as far as can be known.
        if namespace("time") != namespace("time_for_children") {
            return 0;
        }
        let offsets = std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
        let ours = offsets.lines().find_map(|line| line.strip_prefix("boottime"));
        let mut numbers = ours.unwrap_or_default().split_ascii_whitespace().map_while(|word| word.parse::<i64>().ok());
        let (seconds, nanos) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
    }

    /// What tells this run of the machine from others.
    pub(crate) fn boot_id() -> Option<Vec<u8>> {
        std::fs::read("/proc/sys/kernel/random/boot_id").ok()
    }

    pub(crate) fn sleep(duration: Duration) {
        std::thread::sleep(duration);
    }

    /// The first 15 bytes of this thread's command name, NUL-padded: for people reading a list of participants.
    pub(crate) fn command() -> [u8; 16] {
        let mut name = [0_u8; 16];
        // SAFETY: PR_GET_NAME writes at most 16 bytes.
        unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
        name[15] = 0;
        name
    }

    /// Ends this process at once, as if somebody had killed it.
    #[cfg(kill_points)]
    pub(crate) fn die() -> ! {
        // SAFETY: neither has preconditions.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        unreachable!("no process outlives its SIGKILL");
    }

    /// Has `handler` run when this process ends by `exit` or by returning from `main`.
    pub(crate) fn at_exit(handler: extern "C" fn()) -> std::io::Result<()> {
        // SAFETY: the handler is a function of this library; glibc ties it to the shared object that registered it.
        match unsafe { libc::atexit(handler) } {
            0 => Ok(()),
            _ => Err(std::io::Error::from_raw_os_error(libc::ENOMEM)),
        }
    }

    /// Has `prepare` run before every later fork of this process, and one of the others after it.
    pub(crate) fn at_fork(
        prepare: unsafe extern "C" fn(),
        parent: unsafe extern "C" fn(),
        child: unsafe extern "C" fn(),
    ) -> std::io::Result<()> {
        // SAFETY: the handlers are functions of this library, which is never unloaded while they are registered: glibc
        // ties them to the shared object that registered them.
        match unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) } {
            0 => Ok(()),
            errno => Err(std::io::Error::from_raw_os_error(errno)),
        }
    }
}
#[cfg(not(loom))]
pub(crate) use real::*;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_child_knows_its_own_number() {
        let ours = pid();
        assert_eq!(ours, std::process::id());
        // The second way tells no handler of the C library.
        // SAFETY: the child calls nothing that another thread could be in the middle of.
        let fork = || unsafe { libc::fork() };
        // SAFETY: as above; nothing is shared, and the stack is copied.
        let clone =
            || unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0_usize, 0_usize, 0_usize, 0_usize) as i32 };
        for start in [&fork as &dyn Fn() -> libc::pid_t, &clone] {
            let child = start();
            assert!(child >= 0);
            if child == 0 {
                // Twice: the first call asks, the second one remembers.
                // SAFETY: getpid and _exit have no preconditions; nothing else of the test harness runs here.
                unsafe { libc::_exit((1..=2).find(|_| pid() != libc::getpid() as u32).unwrap_or(0)) };
            }
            let mut status = 0;
            // SAFETY: our child, and a live word.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert_eq!(status, 0, "a child took itself for process {ours}, or died");
        }
        assert_eq!(pid(), ours);
    }
}
