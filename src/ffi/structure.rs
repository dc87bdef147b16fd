//! What handles have in common: how they are handed out and taken back. And what structures that are made with options have in common: their
//! options' defaults, their size, making and opening them.

use std::ffi::c_char;

use super::segment::shm_segment;
use super::status::shm_status;
use super::{Sized32, guard, need, need_options, need_out, need_text, put};
use crate::error::{Result, Status};
use crate::segment::Segment;

/// A handle on a structure, as C has it.
pub(super) trait Structure: Sized {
    type Options: Sized32;
    type Shape;
    fn shape(options: &Self::Options) -> Result<Self::Shape>;
    fn bytes(shape: &Self::Shape) -> Result<u64>;
    fn create(segment: &Segment, name: &str, shape: &Self::Shape) -> Result<Self>;
    fn open(segment: &Segment, name: &str, expected: Option<&Self::Shape>) -> Result<Self>;
}

/// Makes a handle around a core's handle, from which it can be made, a [`Structure`]. The options say what shape they mean by `translate`.
macro_rules! structure {
    ($handle:ident($raw:ty), $options:ty, $shape:ty) => {
        impl From<$raw> for $handle {
            fn from(raw: $raw) -> Self {
                Self(raw)
            }
        }

        $crate::ffi::structure::structure!($handle from $raw, $options, $shape);
    };
    ($handle:ident from $raw:ty, $options:ty, $shape:ty) => {
        impl $crate::ffi::structure::Structure for $handle {
            type Options = $options;
            type Shape = $shape;

            fn shape(options: &$options) -> $crate::error::Result<$shape> {
                options.translate()
            }

            fn bytes(shape: &$shape) -> $crate::error::Result<u64> {
                shape.bytes()
            }

            fn create(segment: &$crate::segment::Segment, name: &str, shape: &$shape) -> $crate::error::Result<Self> {
                <$raw>::create(segment, name, shape).map(Self::from)
            }

            fn open(
                segment: &$crate::segment::Segment,
                name: &str,
                expected: Option<&$shape>,
            ) -> $crate::error::Result<Self> {
                <$raw>::open(segment, name, expected).map(Self::from)
            }
        }
    };
}
pub(super) use structure;

/// # Safety
/// `options` is NULL or writable.
pub(super) unsafe fn options_init<S: Structure>(options: *mut S::Options) -> shm_status {
    guard(|| {
        put(need_out(options, "options")?, S::Options::defaults());
        Ok(Status::Ok)
    })
}

/// # Safety
/// `options` is NULL or as [`options_init`] left it; `bytes` is NULL or writable.
pub(super) unsafe fn size<S: Structure>(options: *const S::Options, bytes: *mut u64) -> shm_status {
    guard(|| {
        let bytes = need_out(bytes, "bytes")?;
        // SAFETY: the caller's promise.
        let options = unsafe { need_options(options) }?;
        put(bytes, S::bytes(&S::shape(&options)?)?);
        Ok(Status::Ok)
    })
}

/// # Safety
/// `segment` is NULL or a handle; `name` is NULL or a string; `options` is NULL or as [`options_init`] left it; `out` is NULL or writable.
pub(super) unsafe fn create<S: Structure>(
    segment: Option<&shm_segment>,
    name: *const c_char,
    options: *const S::Options,
    out: *mut *mut S,
) -> shm_status {
    guard(|| {
        let (segment, out) = (need(segment, "segment")?, need_out(out, "out")?);
        // SAFETY: the caller's promises.
        let (name, options) = unsafe { (need_text(name, "name")?, need_options(options)?) };
        give(S::create(&segment.segment, name, &S::shape(&options)?)?, out)
    })
}

/// # Safety
/// As [`create`].
pub(super) unsafe fn open<S: Structure>(
    segment: Option<&shm_segment>,
    name: *const c_char,
    expected: *const S::Options,
    out: *mut *mut S,
) -> shm_status {
    guard(|| {
        let (segment, out) = (need(segment, "segment")?, need_out(out, "out")?);
        // SAFETY: the caller's promise.
        let name = unsafe { need_text(name, "name") }?;
        let expected = if expected.is_null() {
            None
        } else {
            // SAFETY: the caller's promise.
            Some(S::shape(&unsafe { need_options(expected) }?)?)
        };
        give(S::open(&segment.segment, name, expected.as_ref())?, out)
    })
}

/// Hands a handle of whatever kind out, to be [`close`]d. `out` was checked.
pub(super) fn give<H>(handle: H, out: *mut *mut H) -> Result<Status> {
    put(out, Box::into_raw(Box::new(handle)));
    Ok(Status::Ok)
}

/// Ends a handle of whatever kind, called `noun` in a sentence.
///
/// # Safety
/// `handle` is NULL or came from [`give`], was not closed yet, and no other thread uses it.
pub(super) unsafe fn close<H>(handle: *mut H, noun: &str) -> shm_status {
    guard(|| {
        let handle = need_out(handle, noun)?;
        // SAFETY: the caller's promise.
        drop(unsafe { Box::from_raw(handle) });
        Ok(Status::Ok)
    })
}
