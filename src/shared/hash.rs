//! The hash of the format.

/// FNV-1a, 64 bits: short, public, and the same in every language. (Fowler, Noll, Vo.)
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// `MurmurHash64A` with seed 0, of bytes that are hashed while somebody waits: a multiplication per word instead of one per byte.
/// (Austin Appleby, 2008. GNU's `std::hash` is the same function with another seed.)
#[inline]
pub(crate) fn murmur64a(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0xc6a4_a793_5bd1_e995;
    const SHIFT: u32 = 47;
    let shifted = |word: u64| word ^ word >> SHIFT;
    let (words, rest) = bytes.as_chunks();
    let mut hash = (bytes.len() as u64).wrapping_mul(FACTOR);
    for word in words {
        let word = shifted(u64::from_le_bytes(*word).wrapping_mul(FACTOR)).wrapping_mul(FACTOR);
        hash = (hash ^ word).wrapping_mul(FACTOR);
    }
    if !rest.is_empty() {
        hash = (hash ^ little_endian(rest)).wrapping_mul(FACTOR);
    }
    shifted(shifted(hash).wrapping_mul(FACTOR))
}

/// One to eight bytes as a word, the first byte lowest.
#[inline]
pub(crate) fn little_endian(bytes: &[u8]) -> u64 {
    // Two reads that overlap say the same twice where they do.
    match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(low), Some(high)) => {
            u64::from(u32::from_le_bytes(*low)) | u64::from(u32::from_le_bytes(*high)) << ((bytes.len() - 4) * 8)
        }
        _ => {
            let (middle, last) = (bytes.len() / 2, bytes.len() - 1);
            [0, middle, last].into_iter().fold(0, |word, nth| word | u64::from(bytes[nth]) << (nth * 8))
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn hash_agrees_with_the_published_vectors() {
        assert_eq!(super::fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(super::fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(super::fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn hash_by_words_agrees_with_libstdcxx() {
        // std::_Hash_bytes(text, length, 0)
        for (text, hash) in [
            ("", 0),
            ("a", 0x0717_17d2_d36b_6b11),
            ("foobar", 0xd49f_4617_20d7_a196),
            ("eight ch", 0xf202_a696_1772_0ab2),
            ("structure-0000", 0x49f8_1846_0dce_ea12),
            ("a-queue-of-bytes", 0xc061_867e_d44d_6e8a),
        ] {
            assert_eq!(super::murmur64a(text.as_bytes()), hash, "of '{text}'");
        }
    }

    #[test]
    fn words_begin_with_the_lowest_byte() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        for len in 1..=8 {
            let mut padded = [0; 8];
            padded[..len].copy_from_slice(&bytes[..len]);
            assert_eq!(super::little_endian(&bytes[..len]), u64::from_le_bytes(padded), "of {len} bytes");
        }
    }
}
