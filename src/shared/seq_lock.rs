//! One writer, any number of readers who never hold it up: the sequence lock.
//!
//! ```text
//! writer                                   reader
//!   writer = me          (CAS from 0)        s = sequence          acquire, `close`
//!   sequence = odd       relaxed             odd? → look again
//!   release fence        `open`              copy                  contended
//!   store the contents   contended           acquire fence         `open`
//!   sequence = even      release, `close`    sequence == s ? → a consistent copy
//!   writer = 0           release
//! ```
//!
//! - `close`: a reader that sees the even sequence sees everything stored before it.
//! - `open`: a reader that copied any of the new contents sees, after its fence, a sequence that is not the old one.
//!
//! **Death.** `sequence` is odd only while `writer` is somebody. A writer that dies leaves it odd; recovery clears
//! `writer` and leaves `sequence`: odd with nobody there is what a reader sees as *torn*. The next writer finds it odd, leaves it so,
//! and makes it even when the contents are whole again.
//!
//! Source: the Linux kernel's seqlock; the fences are those of Boehm, "Can seqlocks get along with programming language
//! memory models?" (2012).

use super::Shared;
use crate::sync::{AtomicU32, AtomicU64, Ordering, PUBLISH, fence};

/// See the module's documentation. Sixteen bytes of shared memory; zero is its initial state.
#[repr(C)]
pub(crate) struct SeqLock {
    sequence: AtomicU64,
    writer: AtomicU32,
    reserved: AtomicU32,
}

// SAFETY: atomics only.
unsafe impl Shared for SeqLock {}

/// What a reader got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// A consistent copy.
    Whole,
    /// The participant who is writing.
    Writing(u32),
    /// A writer died inside, and nobody has written since.
    Torn,
    /// Something changed during the copy.
    Changed,
}

impl SeqLock {
    #[cfg(all(test, loom))]
    pub(crate) fn new() -> Self {
        Self { sequence: AtomicU64::new(0), writer: AtomicU32::new(0), reserved: AtomicU32::new(0) }
    }

    /// Enters as the writer; otherwise says who is inside.
    pub(crate) fn begin(&self, me: u32) -> Result<(), u32> {
        self.writer.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).map(|_| ())?;
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence | 1, Ordering::Relaxed);
        // `open`: nothing of the new contents is seen before the odd sequence.
        #[cfg(not(seeded_bug))]
        fence(Ordering::Release);
        Ok(())
    }

    /// Leaves. False when `me` is not inside.
    pub(crate) fn end(&self, me: u32) -> bool {
        if self.writer.load(Ordering::Relaxed) != me {
            return false;
        }
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store((sequence | 1).wrapping_add(1), PUBLISH); // `close`
        self.writer.store(0, Ordering::Release);
        true
    }

    /// Leaves in the middle: what is there stays visible as torn. False when `me` is not inside.
    pub(crate) fn abandon(&self, me: u32) -> bool {
        self.writer.compare_exchange(me, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Copies the contents, by `copy`, which must go through contended loads, and says what came of it.
    pub(crate) fn read(&self, copy: impl FnOnce()) -> Read {
        let before = self.sequence.load(Ordering::Acquire);
        if before % 2 == 1 {
            let writer = self.writer.load(Ordering::Acquire);
            let same = self.sequence.load(Ordering::Relaxed) == before;
            return if writer != 0 {
                Read::Writing(writer)
            } else if same {
                Read::Torn
            } else {
                Read::Changed
            };
        }
        copy();
        fence(Ordering::Acquire); // pairs with `open`
        if self.sequence.load(Ordering::Relaxed) == before { Read::Whole } else { Read::Changed }
    }

    /// How many sections were written to their end, and whether the last one was not.
    pub(crate) fn state(&self) -> (u64, bool) {
        let sequence = self.sequence.load(Ordering::Acquire);
        (sequence / 2, sequence % 2 == 1)
    }

    /// Who is inside; 0: nobody.
    #[cfg(not(loom))]
    pub(crate) fn writer(&self) -> u32 {
        self.writer.load(Ordering::Acquire)
    }

    /// Whether `dead` is inside and may have changed something.
    pub(crate) fn is_unfinished_by(&self, dead: u32) -> bool {
        self.writer.load(Ordering::Acquire) == dead && self.state().1
    }

    /// Makes a dead writer leave; what it left unfinished stays visible as torn. Can be done twice without harm.
    pub(crate) fn reclaim(&self, dead: u32) {
        self.abandon(dead);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::shared::{load_contended, store_contended};
    use crate::sync::explore;
    use loom::sync::Arc;

    const BYTES: usize = 2 * size_of::<AtomicU64>();

    struct Model {
        lock: SeqLock,
        words: [AtomicU64; 2],
    }

    fn model() -> Arc<Model> {
        Arc::new(Model { lock: SeqLock::new(), words: [AtomicU64::new(0), AtomicU64::new(0)] })
    }

    fn write(model: &Model, value: u64) {
        let from = [value; 2];
        // SAFETY: two words each.
        unsafe { store_contended(from.as_ptr().cast(), model.words.as_ptr().cast_mut().cast(), BYTES) };
    }

    fn read(model: &Model) -> (Read, [u64; 2]) {
        let mut to = [9; 2];
        // SAFETY: two words each.
        let read = model.lock.read(|| unsafe {
            load_contended(model.words.as_ptr().cast(), to.as_mut_ptr().cast(), BYTES);
        });
        (read, to)
    }

    #[test]
    fn loom_a_whole_copy_is_consistent() {
        explore(|| {
            let model = model();
            let writer = {
                let model = model.clone();
                loom::thread::spawn(move || {
                    for value in [1, 2] {
                        model.lock.begin(1).unwrap();
                        write(&model, value);
                        assert!(model.lock.end(1));
                    }
                })
            };
            if let (Read::Whole, words) = read(&model) {
                assert_eq!(words[0], words[1]);
            }
            writer.join().unwrap();
            assert_eq!(read(&model), (Read::Whole, [2, 2]));
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn lock() -> SeqLock {
        SeqLock { sequence: AtomicU64::new(0), writer: AtomicU32::new(0), reserved: AtomicU32::new(0) }
    }

    #[test]
    fn one_writer_at_a_time() {
        let lock = lock();
        assert_eq!(lock.begin(3), Ok(()));
        assert_eq!(lock.begin(4), Err(3));
        assert!(!lock.end(4));
        assert_eq!(lock.read(|| unreachable!()), Read::Writing(3));
        assert!(lock.end(3) && !lock.end(3));
        assert_eq!((lock.read(|| ()), lock.state()), (Read::Whole, (1, false)));
    }

    #[test]
    fn death_inside_is_visible_until_the_next_whole_writing() {
        let lock = lock();
        lock.begin(3).unwrap();
        lock.reclaim(4);
        assert_eq!(lock.read(|| unreachable!()), Read::Writing(3));
        lock.reclaim(3);
        lock.reclaim(3);
        assert_eq!((lock.read(|| unreachable!()), lock.state()), (Read::Torn, (0, true)));
        lock.begin(4).unwrap();
        assert_eq!(lock.read(|| unreachable!()), Read::Writing(4));
        assert!(lock.end(4));
        assert_eq!((lock.read(|| ()), lock.state()), (Read::Whole, (1, false)));
    }

    #[test]
    fn who_gives_up_inside_leaves_it_torn() {
        let lock = lock();
        lock.begin(3).unwrap();
        assert!(!lock.abandon(4) && lock.abandon(3) && !lock.abandon(3));
        assert_eq!((lock.read(|| unreachable!()), lock.state()), (Read::Torn, (0, true)));
        assert!(lock.begin(4).is_ok() && lock.end(4));
        assert_eq!((lock.read(|| ()), lock.state()), (Read::Whole, (1, false)));
    }

    #[test]
    fn a_change_during_the_copy_is_noticed() {
        let lock = lock();
        let read = lock.read(|| {
            lock.begin(1).unwrap();
            lock.end(1);
        });
        assert_eq!(read, Read::Changed);
    }
}
