//! Hashing of ids, which are hashed in every commit and every lookup.
//!
//! A reader's ids come from whoever writes the area, and shall not be able to collide on purpose: both numbers that decide what collides
//! are random, and each map has its own. One multiplication is enough for the rest; SipHash takes five times as long.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

/// Something for each id.
pub(crate) type IdMap<T> = HashMap<u64, T, Secret>;

/// What decides which ids collide.
#[derive(Clone, Debug)]
pub(crate) struct Secret {
    mask: u64,
    factor: u64,
}

impl Default for Secret {
    fn default() -> Self {
        let random = RandomState::new();
        Self { mask: random.hash_one(0), factor: random.hash_one(1) | 1 }
    }
}

impl BuildHasher for Secret {
    type Hasher = Hash;
    #[inline]
    fn build_hasher(&self) -> Hash {
        Hash { state: self.mask, factor: self.factor }
    }
}

#[derive(Debug)]
pub(crate) struct Hash {
    state: u64,
    factor: u64,
}

impl Hasher for Hash {
    #[inline]
    fn write_u64(&mut self, id: u64) {
        // Both halves of the product: its low bits know nothing of the id's high ones.
        let product = u128::from(self.state ^ id) * u128::from(self.factor);
        self.state = product as u64 ^ (product >> 64) as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_differ_in_few_bits_spread() {
        // A table looks at the low bits, and compares the seven highest.
        for shift in [0, 7, 16, 32, 48] {
            let secret = Secret::default();
            let hashes: Vec<_> = (0..1_u64 << 12).map(|id| secret.hash_one(id << shift)).collect();
            for part in [
                hashes.iter().map(|hash| hash & 0xFFF).collect::<Vec<_>>(),
                hashes.iter().map(|hash| hash >> 52).collect(),
            ] {
                let mut counts = vec![0; 1 << 12];
                part.iter().for_each(|place| counts[*place as usize] += 1);
                // Thrown at random, the fullest of as many places has seven or so.
                assert!(counts.iter().all(|count| *count < 64), "{shift} {secret:?}");
            }
        }
    }

    #[test]
    fn no_two_maps_collide_alike() {
        let (one, other) = (Secret::default(), Secret::default());
        assert_ne!(one.hash_one(1_u64) & 0xFFFF_FFFF, other.hash_one(1_u64) & 0xFFFF_FFFF);
    }
}
