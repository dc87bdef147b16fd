//! Where decisions come from: a seed, or the bytes a fuzzer made.

/// Decisions, one after the other.
pub struct Dice<'a> {
    /// What a fuzzer decided, as long as there is some.
    bytes: Option<&'a [u8]>,
    state: u64,
}

impl<'a> Dice<'a> {
    pub fn seeded(seed: u64) -> Self {
        // Neighbouring seeds have nothing to do with each other.
        Self { bytes: None, state: (seed ^ 0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9) | 1 }
    }

    pub fn fed(bytes: &'a [u8]) -> Self {
        Self { bytes: Some(bytes), state: 1 }
    }

    /// Whether a fuzzer has nothing more to say. Chance always has.
    pub fn is_over(&self) -> bool {
        self.bytes.is_some_and(<[u8]>::is_empty)
    }

    fn take(&mut self, count: usize) -> Option<u64> {
        let bytes = self.bytes.as_mut()?;
        let (now, later) = bytes.split_at(count.min(bytes.len()));
        *bytes = later;
        Some(now.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)))
    }

    pub fn word(&mut self) -> u64 {
        self.take(8).unwrap_or_else(|| {
            // xorshift64*
            self.state ^= self.state >> 12;
            self.state ^= self.state << 25;
            self.state ^= self.state >> 27;
            self.state.wrapping_mul(0x2545_F491_4F6C_DD1D)
        })
    }

    /// A number below `bound`, which is not 0. Costs a fuzzer no more bytes than it has to.
    pub fn below(&mut self, bound: u64) -> u64 {
        let fed = match bound {
            1 => Some(0),
            2..=0x100 => self.take(1),
            0x101..=0x1_0000 => self.take(2),
            _ => self.take(8),
        };
        fed.unwrap_or_else(|| self.word() >> 11) % bound
    }

    /// Whether something happens that happens once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == times - 1
    }

    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// A number such as break arithmetic, about one time in two near one of `limits`.
    pub fn nasty(&mut self, limits: &[u64]) -> u64 {
        match self.below(12) {
            0 => 0,
            1 => 1,
            2 => u64::MAX,
            3 => 1 << self.below(64),
            4 => (1_u64 << self.below(64)).wrapping_sub(1),
            5 => self.word(),
            6 => self.below(20),
            7 => i64::MAX as u64,
            8 => u32::MAX.into(),
            _ if limits.is_empty() => self.below(1 << 12),
            _ => self.one_of(limits).wrapping_add(self.below(5)).wrapping_sub(2),
        }
    }
}
