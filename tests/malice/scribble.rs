//! The hostile peer: somebody with permission to write, who knows the format.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::dice::Dice;

/// Memory that a segment is in, mapped once more, and what is where in it.
#[derive(Clone)]
pub struct Scribbler {
    base: usize,
    len: usize,
    /// Offset and length of what is worth scribbling over, the best more than once.
    hot: Vec<(usize, usize)>,
    /// Numbers that mean something here.
    limits: Vec<u64>,
    /// What was there before, to be put back where it does not belong.
    old: [(usize, u64); 64],
    next: usize,
    pub mutations: u64,
}

impl Scribbler {
    /// # Safety
    /// There are `len` bytes at `base`, at a multiple of 8, that may be written, by anybody at any time, as long as this is used.
    pub unsafe fn new(base: *mut u8, len: usize) -> Self {
        let limits = vec![len as u64, 2, 4, 64, 4096];
        Self { base: base.addr(), len, hot: vec![(0, len)], limits, old: [(0, 0); 64], next: 0, mutations: 0 }
    }

    fn word(&self, at: usize) -> &'static AtomicU64 {
        assert!(at.is_multiple_of(8) && at + 8 <= self.len);
        // SAFETY: inside, aligned, and atomic; nobody keeps it longer than this is used.
        unsafe { AtomicU64::from_ptr(std::ptr::with_exposed_provenance_mut(self.base + at)) }
    }

    pub fn peek(&self, at: usize) -> u64 {
        self.word(at).load(Ordering::Relaxed)
    }

    pub fn put(&self, at: usize, value: u64) {
        self.word(at).store(value, Ordering::Relaxed);
    }

    pub fn copy(&self) -> Vec<u64> {
        (0..self.len).step_by(8).map(|at| self.peek(at)).collect()
    }

    pub fn restore(&mut self, contents: &[u64]) {
        contents.iter().enumerate().for_each(|(index, value)| self.put(index * 8, *value));
        self.old = [(0, 0); 64];
        self.next = 0;
    }

    /// Learns from a segment's header and table, as docs/FORMAT.md has them, what is where. What makes no sense teaches nothing.
    pub fn study_segment(&mut self) {
        let low = |word: u64| word as u32 as usize;
        let [participants, index, entries, data] = [56, 64, 72, 80].map(|at| self.peek(at) as usize);
        if !(256 <= participants && participants < index && index < entries && entries < data && data <= self.len) {
            return;
        }
        self.hot = vec![(0, self.len), (128, 128), (128, 128), (participants, 256), (index, entries - index)];
        self.limits.extend([participants, index, entries, data].map(|at| at as u64));
        let (names, users) = (low(self.peek(32)).min(256), low(self.peek(40)).min(4096));
        let stride = (128 + names.next_multiple_of(8) + users.div_ceil(64) * 8).next_multiple_of(64);
        for entry in (entries..data - stride.min(data)).step_by(stride).filter(|at| at % 8 == 0) {
            let [offset, size, count] = [16, 24, 40].map(|field| self.peek(entry + field));
            if self.peek(entry) & 0xff == 0 || offset.saturating_add(size) > self.len as u64 {
                continue;
            }
            self.limits.extend([offset, size, count, offset + size]);
            let (offset, size) = (offset as usize, size as usize);
            // The control lines more than the rest.
            self.hot.extend([(entry, stride), (offset, size), (offset, size), (offset, size.min(4096))]);
            self.hot.extend([(offset, size.min(1024)); 6]);
        }
    }

    /// For what begins with what matters most.
    pub fn study_start(&mut self) {
        let len = self.len;
        self.hot = vec![
            (0, len),
            (0, len.min(4096)),
            (0, len.min(1024)),
            (128, len.min(256).saturating_sub(128)),
            (0, len.min(64)),
        ];
    }

    /// Makes the header's check fit what it says now, as a peer would who knows how.
    pub fn sign_header(&mut self) {
        let wide = [0, 16, 48, 56, 64, 72, 80, 88].map(|at| self.peek(at).to_le_bytes()).concat();
        let half = |at: usize| ((self.peek(at & !7) >> (at % 8 * 8)) as u32).to_le_bytes();
        let narrow = [8, 12, 24, 28, 32, 36, 40].map(half).concat();
        let bytes = wide.into_iter().chain(narrow);
        let check =
            bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        self.put(96, check);
    }

    /// One mutation.
    pub fn scribble(&mut self, dice: &mut Dice<'_>) {
        let (start, len) = dice.one_of(&self.hot);
        let at = (start + dice.below((len as u64).max(8)) as usize).min(self.len - 8) & !7;
        let word = self.word(at);
        let now = word.load(Ordering::Relaxed);
        self.old[self.next % 64] = (at, now);
        self.next += 1;
        self.mutations += 1;
        let value = match dice.below(16) {
            0 | 1 => now ^ 1 << dice.below(64),
            2 => dice.nasty(&self.limits),
            3 => now.wrapping_add(dice.below(9)).wrapping_sub(4),
            4 => now.wrapping_add(1 << dice.below(64)),
            5 => now.wrapping_sub(1 << dice.below(64)),
            // Of another moment: where it was, or somewhere else.
            6 | 7 => {
                let (place, value) = self.old[dice.below(64) as usize];
                if dice.once_in(2) {
                    return self.put(place, value);
                }
                value
            }
            8 => self.peek((start + dice.below((len as u64).max(8)) as usize).min(self.len - 8) & !7),
            9 => {
                let other = (start + dice.below((len as u64).max(8)) as usize).min(self.len - 8) & !7;
                self.word(other).swap(now, Ordering::Relaxed)
            }
            // Another participant, in the low bits, where slots and ends have theirs.
            10 => now & !0xffff | dice.one_of(&[0, 1, 2, 3, 4, 5, 63, 64, 65, 4096, 4097, 0x7fff, 0xffff]),
            // Another phase, turn or generation.
            11 => now ^ dice.below(8) << dice.one_of(&[0, 8, 16, 19, 32, 48]),
            12 => {
                // SAFETY: a byte of the word.
                let byte = unsafe { AtomicU8::from_ptr(word.as_ptr().cast::<u8>().add(dice.below(8) as usize)) };
                return byte.store(dice.one_of(&[0, 1, 2, 3, 4, 0x7f, 0x80, 0xff]), Ordering::Relaxed);
            }
            13 | 14 => {
                // SAFETY: half of the word.
                let half = unsafe { AtomicU32::from_ptr(word.as_ptr().cast::<u32>().add(dice.below(2) as usize)) };
                return half.store(dice.nasty(&self.limits) as u32, Ordering::Relaxed);
            }
            _ => 0,
        };
        word.store(value, Ordering::Relaxed);
    }
}
