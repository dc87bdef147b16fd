//! What may travel.

/// Elements that may live in shared memory: plain data for which **every** bit pattern is a valid value, because a peer
/// may have written any. Pointers, references, `bool`, `char` and most enums are not; integers, floats, arrays, and
/// `#[repr(C)]` structs of them are.
///
/// Implemented for every type that is [`bytemuck::AnyBitPattern`] and [`Send`]; derive the former:
///
/// ```
/// #[derive(Clone, Copy, bytemuck::AnyBitPattern)]
/// #[repr(C)]
/// struct Reading {
///     time: u64,
///     value: f64,
/// }
/// fn may_travel<T: shmds::Plain>() {}
/// may_travel::<Reading>();
/// ```
pub trait Plain: bytemuck::AnyBitPattern + Send {}

impl<T: bytemuck::AnyBitPattern + Send> Plain for T {}
