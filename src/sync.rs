//! The one place that imports atomics: the seam for model checking.
//!
//! Everything that lives in shared memory is made of the types exported here. Under `--cfg loom` they are loom's, which
//! explores every interleaving the C11 memory model allows; loom's atomics have another size, so layouts are computed
//! from `size_of`, and the assertions that pin the real bytes are `cfg(not(loom))`.
//!
//! Under `--cfg kill_points` they are wrappers that can end the process after any store ([`kill_points`]).
//!
//! [`private`] holds words that never leave this process (handle state, locks between threads); they are always real.

#[cfg(all(kill_points, not(loom)))]
pub mod kill_points;

#[cfg(not(any(loom, kill_points)))]
pub(crate) use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};
#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{Ordering, fence};
#[cfg(all(kill_points, not(loom)))]
pub(crate) use kill_points::{AtomicU8, AtomicU32, AtomicU64};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

/// Atomics for process-private state.
pub(crate) mod private {
    pub(crate) use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64};
}

/// The cheap half of an asymmetric fence: keeps the compiler from moving the following load above the preceding store.
/// The processor may still do so; whoever needs the order pays with [`crate::os::barrier::heavy`].
#[inline(always)]
pub(crate) fn light_fence() {
    #[cfg(not(loom))]
    core::sync::atomic::compiler_fence(Ordering::SeqCst);
    // loom cannot run code on another thread's processor, so the model has a full fence on both sides.
    #[cfg(all(loom, not(seeded_bug)))]
    fence(Ordering::SeqCst);
}

/// Between a swap and a load of another word, both of the order SeqCst, where others do the same crosswise: one side sees the other's
/// swap. The machine needs no more than those orders; loom knows this of fences only.
#[inline(always)]
pub(crate) fn swapped() {
    #[cfg(all(loom, not(seeded_bug)))]
    fence(Ordering::SeqCst);
}

/// Called after each change of shared memory that is not a store to an atomic from here.
#[inline(always)]
pub(crate) fn stored() {
    #[cfg(all(kill_points, not(loom)))]
    kill_points::stored();
}

/// How payload is published. Relaxed in the model checker's must-fail twin: a check that cannot fail proves nothing.
pub(crate) const PUBLISH: Ordering = if cfg!(seeded_bug) { Ordering::Relaxed } else { Ordering::Release };

/// How a slot changes hands; see `queue/mpmc.rs` for what the release half is there for.
pub(crate) const CLAIM: Ordering = if cfg!(seeded_bug) { Ordering::Acquire } else { Ordering::AcqRel };

/// Has the processor fetch a cache line that will be read soon; wherever it is, nothing else happens.
#[inline(always)]
pub(crate) fn prefetch(line: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    // SAFETY: a hint, which cannot fault.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(line.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(loom))))]
    let _ = line;
}

/// Called where a poll found nothing. A loop that polls runs ahead of its loads: dozens of the same word are under way, and when it changes all of them are
/// thrown away and begun anew, which takes longer than one that waits for its outcome.
#[inline(always)]
pub(crate) fn polled() {
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    // SAFETY: every x86-64 has it.
    unsafe {
        core::arch::x86_64::_mm_lfence();
    }
}

/// One turn of a spin loop.
#[inline(always)]
pub(crate) fn spin() {
    #[cfg(not(loom))]
    core::hint::spin_loop();
    #[cfg(loom)]
    loom::hint::spin_loop();
}

/// Runs a model over every interleaving with at most three preemptions. Where SHMDS_SOAK is set there is no bound but time, and it is said which
/// models took all of that.
#[cfg(all(test, loom))]
pub(crate) fn explore(model: impl Fn() + Sync + Send + 'static) {
    use std::time::{Duration, Instant};
    const LONGEST: Duration = Duration::from_secs(600);
    let mut builder = loom::model::Builder::new();
    if std::env::var_os("SHMDS_SOAK").is_none() {
        builder.preemption_bound = Some(3);
    } else {
        builder.max_duration = Some(LONGEST);
    }
    let begun = Instant::now();
    builder.check(model);
    let (took, thread) = (begun.elapsed(), std::thread::current());
    let end =
        if builder.max_duration.is_some_and(|most| took >= most) { "NOT all of it was seen" } else { "all was seen" };
    eprintln!("loom: {}: {end} in {took:.0?}", thread.name().unwrap_or_default());
}
