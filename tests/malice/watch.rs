//! Whoever does not come back, or dies, says where.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

/// The most that a call may take of the processor. Its waits are told to be shorter by far.
const LONGEST: Duration = Duration::from_secs(1);
/// And of the clock, on a machine with other things to do.
const LONGEST_ON_THE_CLOCK: Duration = Duration::from_secs(20);

/// What a thread is doing. One per thread that calls the library.
#[derive(Debug)]
pub struct Watch(Arc<State>);

#[derive(Debug, Default)]
struct State {
    seed: AtomicU64,
    /// Of the episode. Changes with each call.
    step: AtomicU64,
    what: AtomicPtr<u8>,
    what_len: AtomicU32,
    busy: AtomicBool,
    over: AtomicBool,
}

thread_local! {
    static CURRENT: Cell<*const State> = const { Cell::new(std::ptr::null()) };
}

fn thread_time(clock: libc::clockid_t) -> Option<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a live timespec.
    let read = unsafe { libc::clock_gettime(clock, &raw mut time) } == 0;
    read.then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

impl Watch {
    pub fn new() -> Self {
        static HANDLERS: Once = Once::new();
        HANDLERS.call_once(say_where_it_died);
        let state = Arc::new(State::default());
        CURRENT.set(Arc::as_ptr(&state));
        let mut clock = 0;
        // SAFETY: this thread, and a live clock id.
        let known = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock) } == 0;
        assert!(known);
        let watched = Arc::clone(&state);
        std::thread::spawn(move || watched.watch(clock));
        Self(state)
    }

    pub fn episode(&self, seed: u64) {
        self.0.seed.store(seed, Ordering::Relaxed);
        self.0.step.store(0, Ordering::Relaxed);
    }

    #[inline]
    pub fn begin(&self, what: &'static str) {
        let state = &self.0;
        state.what.store(what.as_ptr().cast_mut(), Ordering::Relaxed);
        state.what_len.store(what.len() as u32, Ordering::Relaxed);
        state.step.store(state.step.load(Ordering::Relaxed) + 1, Ordering::Release);
        state.busy.store(true, Ordering::Release);
    }

    #[inline]
    pub fn end(&self) {
        self.0.busy.store(false, Ordering::Release);
    }

    pub fn place(&self) -> String {
        self.0.place()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        CURRENT.set(std::ptr::null());
        self.0.over.store(true, Ordering::Relaxed);
    }
}

impl State {
    fn what(&self) -> &'static str {
        let (start, len) = (self.what.load(Ordering::Relaxed), self.what_len.load(Ordering::Relaxed));
        if start.is_null() {
            return "nothing";
        }
        // SAFETY: of a static string. At worst, two calls' names are mixed up, and names are ASCII.
        unsafe { std::str::from_utf8_unchecked(std::slice::from_raw_parts(start, len as usize)) }
    }

    fn place(&self) -> String {
        let (seed, step) = (self.seed.load(Ordering::Relaxed), self.step.load(Ordering::Relaxed));
        format!("in {}, step {step} of SHMDS_MALICE_SEED={seed}", self.what())
    }

    fn watch(&self, clock: libc::clockid_t) {
        let mut since = None;
        while !self.over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(100));
            let key = (self.seed.load(Ordering::Relaxed), self.step.load(Ordering::Acquire));
            let busy = self.busy.load(Ordering::Acquire);
            let Some(used) = thread_time(clock) else { return };
            match since {
                Some((same, before, begun)) if busy && same == key => {
                    if used.saturating_sub(before) > LONGEST || Instant::elapsed(&begun) > LONGEST_ON_THE_CLOCK {
                        eprintln!("malice: hangs {}", self.place());
                        std::process::abort();
                    }
                }
                _ => since = busy.then(|| (key, used, Instant::now())),
            }
        }
    }
}

/// A fault says where it was, and is a fault then. A sanitizer has handlers of its own, which say more.
fn say_where_it_died() {
    extern "C" fn say(signal: libc::c_int) {
        let state = CURRENT.with(Cell::get);
        if !state.is_null() {
            // SAFETY: it is cleared before its state goes. Formatting may allocate, and so hang; but the process is lost anyway, and
            // the alarm ends it then.
            unsafe { libc::alarm(5) };
            // SAFETY: as above.
            eprintln!("malice: signal {signal} {}", unsafe { &*state }.place());
        }
        // SAFETY: the default action ends the process when the instruction is tried again.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE] {
        // SAFETY: a zeroed sigaction is a valid one; the pointers are live.
        unsafe {
            // Rust's runtime has one for stack overflows only, and goes back to the default itself.
            let sanitized = std::env::var_os("ASAN_OPTIONS").is_some();
            if !sanitized {
                libc::signal(signal, say as *const () as libc::sighandler_t);
            }
        }
    }
}
