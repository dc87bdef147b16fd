//! The memory that measuring processes share, and where they run. `cpp/control.hpp` has the same.

use std::os::fd::RawFd;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Numbers that one measurement may yield.
pub const VALUES: usize = 3;
/// Room for peers that live in memory they are handed, behind the control page.
pub const ARENA: usize = 48 << 20;

/// A word with a pair of cache lines to itself.
#[repr(C, align(128))]
#[derive(Default)]
pub struct Line(pub AtomicU64);

/// All zero at first.
#[repr(C, align(4096))]
#[derive(Default)]
pub struct Control {
    pub ping: Line,
    pub pong: Line,
    /// How many messages each consumer got, where there are several.
    pub counts: [Line; 8],
    /// What was measured: the bits of `f64`s.
    results: [AtomicU64; VALUES],
    ready: AtomicU32,
    stop: AtomicU32,
}

impl Control {
    /// Fresh memory without a name, which children inherit.
    pub fn create() -> (RawFd, &'static Self) {
        // SAFETY: plain calls.
        let fd = unsafe { libc::memfd_create(c"shmds-bench".as_ptr(), 0) };
        clear(fd);
        (fd, Self::inherited(fd))
    }

    /// The memory behind an inherited descriptor; mapped until the process ends.
    pub fn inherited(fd: RawFd) -> &'static Self {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping where the kernel likes it.
        let page = unsafe { libc::mmap(null_mut(), size_of::<Self>() + ARENA, access, libc::MAP_SHARED, fd, 0) };
        assert!(page != libc::MAP_FAILED, "memory to share");
        // SAFETY: large enough, aligned to a page, atomics only, never unmapped.
        unsafe { &*page.cast::<Self>() }
    }

    pub fn arena(&self) -> *mut u8 {
        std::ptr::from_ref(self).wrapping_add(1).cast_mut().cast()
    }

    /// Waits until all sides are here.
    pub fn meet(&self, sides: usize) {
        self.ready.fetch_add(1, Ordering::SeqCst);
        while (self.ready.load(Ordering::SeqCst) as usize) < sides {
            std::thread::sleep(Duration::from_micros(20));
        }
    }

    #[inline(always)]
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) != 0
    }

    /// Says what was measured, and that it is over.
    pub fn finish(&self, results: &[f64]) {
        for (place, result) in self.results.iter().zip(results) {
            place.store(result.to_bits(), Ordering::SeqCst);
        }
        self.stop.store(1, Ordering::SeqCst);
    }

    pub fn results(&self) -> [f64; VALUES] {
        self.results.each_ref().map(|result| f64::from_bits(result.load(Ordering::SeqCst)))
    }
}

/// Everything as it was at first.
pub fn clear(fd: RawFd) {
    // SAFETY: plain calls; who maps it finds zeros.
    let done =
        unsafe { libc::ftruncate(fd, 0) == 0 && libc::ftruncate(fd, (size_of::<Control>() + ARENA) as i64) == 0 };
    assert!(done, "memory to share");
}

/// Nanoseconds, the same for all processes.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: plain numbers, filled by the call.
    unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
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
