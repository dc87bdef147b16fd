//! The page that two measuring processes share, and where they run.

use std::os::fd::RawFd;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// A word with a pair of cache lines to itself.
#[repr(C, align(128))]
#[derive(Default)]
pub struct Line(pub AtomicU64);

/// All zero at first.
#[repr(C)]
#[derive(Default)]
pub struct Control {
    /// The two lines of the ping-pong.
    pub ping: Line,
    pub pong: Line,
    /// What was measured: the bits of an `f64`.
    result: Line,
    ready: AtomicU32,
    stop: AtomicU32,
}

impl Control {
    /// A fresh page without a name, which children inherit.
    pub fn create() -> (RawFd, &'static Self) {
        // SAFETY: plain calls.
        let fd = unsafe { libc::memfd_create(c"shmds-bench".as_ptr(), 0) };
        // SAFETY: as above.
        assert!(fd >= 0 && unsafe { libc::ftruncate(fd, size_of::<Self>() as i64) } == 0, "a page to share");
        (fd, Self::inherited(fd))
    }

    /// The page behind an inherited descriptor; mapped until the process ends.
    pub fn inherited(fd: RawFd) -> &'static Self {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping where the kernel likes it.
        let page = unsafe { libc::mmap(null_mut(), size_of::<Self>(), access, libc::MAP_SHARED, fd, 0) };
        assert!(page != libc::MAP_FAILED, "a page to share");
        // SAFETY: large enough, aligned to a page, atomics only, never unmapped.
        unsafe { &*page.cast::<Self>() }
    }

    /// Everything as it was at first.
    pub fn clear(&self) {
        for word in [&self.ping.0, &self.pong.0, &self.result.0] {
            word.store(0, Ordering::SeqCst);
        }
        self.ready.store(0, Ordering::SeqCst);
        self.stop.store(0, Ordering::SeqCst);
    }

    /// Waits until both sides are here.
    pub fn meet(&self) {
        self.ready.fetch_add(1, Ordering::SeqCst);
        while self.ready.load(Ordering::SeqCst) < 2 {
            std::thread::sleep(Duration::from_micros(20));
        }
    }

    #[inline(always)]
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) != 0
    }

    /// Says what was measured, and that it is over.
    pub fn finish(&self, result: f64) {
        self.result.0.store(result.to_bits(), Ordering::SeqCst);
        self.stop.store(1, Ordering::SeqCst);
    }

    pub fn result(&self) -> f64 {
        f64::from_bits(self.result.0.load(Ordering::SeqCst))
    }
}

/// The cores this process may use.
pub fn cores() -> Vec<usize> {
    // SAFETY: plain bits, filled by the call.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of_val(&set), &mut set);
        (0..libc::CPU_SETSIZE as usize).filter(|core| libc::CPU_ISSET(*core, &set)).collect()
    }
}

/// Keeps this thread on one core.
pub fn pin(core: usize) {
    // SAFETY: as above.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        assert_eq!(libc::sched_setaffinity(0, size_of_val(&set), &set), 0, "cannot run on core {core}");
    }
}

/// Ends this process after so many seconds, or when its parent ends.
pub fn end_in(seconds: u32) {
    // SAFETY: plain calls.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::alarm(seconds);
    }
}
