//! Keeping words that different sides write apart.

/// How far apart words written by different sides lie: processors fetch cache lines of 64 bytes in pairs. A constant of
/// the format, not of the compiler: both sides must agree on it.
pub(crate) const LINE_PAIR: usize = 128;

/// A value with a line pair of its own.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub(crate) struct CacheAligned<T>(pub(crate) T);

impl<T> std::ops::Deref for CacheAligned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

const _: () = assert!(align_of::<CacheAligned<u8>>() == LINE_PAIR);
