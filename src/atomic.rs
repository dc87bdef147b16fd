//! A named atomic of every width the machine has, with waiting that crosses processes.
//!
//! # Bytes
//!
//! | offset | field |
//! |---|---|
//! | 0 | the value: 1, 4 or 8 bytes, as native code has it |
//! | 128 | event count: waiters sleep here |
//!
//! The entry's flags say the type: 1 bool, 2 i32, 3 u32, 4 i64, 5 u64, 6 f32, 7 f64. A bool is stored as 0 or 1; whatever else a peer
//! may have written reads as true, in every operation alike.
//!
//! # Guarantees
//!
//! Every operation is lock-free: one instruction for loads, stores, exchanges, and integer sums and bits; a compare-and-swap loop
//! for minima, maxima, floating-point arithmetic and the bits of a bool. Of a minimum or maximum, what is not a number is passed over
//! (IEEE 754's minNum, C's `fmin`). The memory orders are C11's. Native code may use the address
//! ([`Atomic::as_ptr`]) with its own atomics.
//!
//! A futex compares 32 bits, and `std::atomic::wait` never wakes another process; so waiting goes through an event count, for every
//! width, and whoever changes the value says so with `notify`. It costs a load while nobody sleeps.
//!
//! # Death
//!
//! Nobody ever holds an atomic, so there is nothing to give back. Who dies between changing it and notifying leaves the waiters to look
//! again by themselves, within 50 ms.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::time::Duration;

use crate::error::{Result, fail};
use crate::segment::{Entry, Inspection, Kind, Request, Section, Segment};
use crate::shared::{EventCount, LINE_PAIR, SLICE, poll};
use crate::sync::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// The type of an atomic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Scalar {
    /// One byte, 0 or 1.
    Bool = 1,
    /// Signed, 32 bits.
    I32 = 2,
    /// Unsigned, 32 bits.
    U32 = 3,
    /// Signed, 64 bits.
    I64 = 4,
    /// Unsigned, 64 bits.
    U64 = 5,
    /// Floating point, 32 bits.
    F32 = 6,
    /// Floating point, 64 bits.
    F64 = 7,
}

impl Scalar {
    pub(crate) const ALL: [Self; 7] = [Self::Bool, Self::I32, Self::U32, Self::I64, Self::U64, Self::F32, Self::F64];

    pub(crate) fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|scalar| *scalar as u32 == code)
    }

    /// Bytes of a value.
    #[must_use]
    pub const fn size(self) -> u64 {
        match self {
            Self::Bool => 1,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    #[inline(always)]
    pub(crate) fn is_integer(self) -> bool {
        matches!(self, Self::I32 | Self::U32 | Self::I64 | Self::U64)
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::I32 => "i32",
            Self::U32 => "u32",
            Self::I64 => "i64",
            Self::U64 => "u64",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }
}

/// What a read-modify-write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Add,
    Subtract,
    And,
    Or,
    Xor,
    Minimum,
    Maximum,
}

impl Operation {
    /// What becomes of `old`, both given as bits. `None` where the type has no such operation.
    fn apply(self, scalar: Scalar, old: u64, operand: u64) -> Option<u64> {
        macro_rules! integer {
            ($type:ty) => {{
                let (a, b) = (old as $type, operand as $type);
                (match self {
                    Self::Add => a.wrapping_add(b),
                    Self::Subtract => a.wrapping_sub(b),
                    Self::And => a & b,
                    Self::Or => a | b,
                    Self::Xor => a ^ b,
                    Self::Minimum => a.min(b),
                    Self::Maximum => a.max(b),
                }) as u64
            }};
        }
        macro_rules! float {
            ($type:ty, $bits:ty) => {{
                let (a, b) = (<$type>::from_bits(old as $bits), <$type>::from_bits(operand as $bits));
                let result = match self {
                    Self::Add => a + b,
                    Self::Subtract => a - b,
                    Self::Minimum => a.min(b),
                    Self::Maximum => a.max(b),
                    Self::And | Self::Or | Self::Xor => return None,
                };
                result.to_bits() as u64
            }};
        }
        Some(match scalar {
            Scalar::Bool => match self {
                Self::And => old & operand,
                Self::Or => old | operand,
                Self::Xor => old ^ operand,
                _ => return None,
            },
            Scalar::I32 => integer!(i32) & 0xffff_ffff,
            Scalar::U32 => integer!(u32),
            Scalar::I64 => integer!(i64),
            Scalar::U64 => integer!(u64),
            Scalar::F32 => float!(f32, u32),
            Scalar::F64 => float!(f64, u64),
        })
    }
}

/// How long a waiting call spins before it sleeps, in nanoseconds.
const SPIN: u64 = 10_000;

/// A handle on a named atomic whose type is known at run time. Values are given as bits, zero-extended. May be used from any
/// thread.
#[derive(Debug)]
pub(crate) struct RawAtomic {
    section: Section,
    value: NonNull<u8>,
    event: NonNull<EventCount>,
    scalar: Scalar,
}

// SAFETY: addresses of shared memory that `section` keeps open, reached through atomics only.
unsafe impl Send for RawAtomic {}
// SAFETY: as above.
unsafe impl Sync for RawAtomic {}

/// The value as the atomic of its width.
enum Word<'a> {
    Byte(&'a AtomicU8),
    Narrow(&'a AtomicU32),
    Wide(&'a AtomicU64),
}

/// The value of an atomic that is a number.
pub(crate) enum Number<'a> {
    Narrow(&'a AtomicU32),
    Wide(&'a AtomicU64),
}

/// One operation on whichever width. What is a conversion for one width is none for another.
macro_rules! on_word {
    ($word:expr, |$atomic:ident, $type:ident| $body:expr) => {
        match $word {
            Word::Byte($atomic) => {
                type $type = u8;
                $body
            }
            Word::Narrow($atomic) => {
                type $type = u32;
                $body
            }
            Word::Wide($atomic) => {
                type $type = u64;
                $body
            }
        }
    };
}

const EVENT_OFFSET: u64 = LINE_PAIR as u64;
const BYTES: u64 = 2 * LINE_PAIR as u64;

#[allow(clippy::useless_conversion, reason = "`on_word!` writes the same for every width")]
impl RawAtomic {
    /// Bytes of a segment that an atomic takes.
    pub(crate) const TAKEN: u64 = BYTES;

    /// Creates the atomic with this value, or opens it, value and all, if it is there with this type.
    pub(crate) fn create(segment: &Segment, name: &str, scalar: Scalar, initial: u64, exclusive: bool) -> Result<Self> {
        let request = Request {
            name,
            kind: Kind::Atomic,
            flags: scalar as u32,
            size: BYTES,
            align: LINE_PAIR as u64,
            elem_size: scalar.size(),
            elem_align: scalar.size() as u32,
            count: 1,
            type_tag: 0,
        };
        let accept = |entry: &Entry| accept(entry, scalar);
        // The value is there before the name is.
        let initialise = |section| {
            if let Some(value) = place(section, scalar) {
                on_word!(word(value.0, scalar), |atomic, T| atomic.store(initial as T, Ordering::Relaxed));
            }
            Ok(())
        };
        Self::over(segment.create_section_with(&request, exclusive, accept, initialise)?)
    }

    /// `scalar`: the type it must have; `None`: any.
    pub(crate) fn open(segment: &Segment, name: &str, scalar: Option<Scalar>) -> Result<Self> {
        let accept = |entry: &Entry| scalar.map_or(Ok(()), |scalar| accept(entry, scalar));
        Self::over(segment.open_section(name, Kind::Atomic, accept)?)
    }

    fn over(section: Section) -> Result<Self> {
        let entry = section.entry();
        let placed = Scalar::from_code(entry.flags)
            .filter(|scalar| scalar.size() == entry.elem_size)
            .and_then(|scalar| Some((scalar, place(section.region(), scalar)?)));
        let Some((scalar, (value, event))) = placed else {
            return Err(fail!(Corrupt, "the entry of atomic '{}' makes no sense", entry.name));
        };
        Ok(Self { section, value, event, scalar })
    }

    pub(crate) fn entry(&self) -> &Entry {
        self.section.entry()
    }

    pub(crate) fn span(&self) -> NonNull<[u8]> {
        self.section.region().bytes()
    }

    pub(crate) fn name(&self) -> &str {
        &self.entry().name
    }

    pub(crate) fn scalar(&self) -> Scalar {
        self.scalar
    }

    pub(crate) fn pointer(&self) -> NonNull<u8> {
        self.value
    }

    fn event(&self) -> &EventCount {
        // SAFETY: checked in `place`; atomics only.
        unsafe { self.event.as_ref() }
    }

    #[inline(always)]
    fn word(&self) -> Word<'_> {
        word(self.value, self.scalar)
    }

    /// The value, for operations that need no more than the machine's: those on a bool have a say in which bytes are true.
    #[inline(always)]
    pub(crate) fn number(&self) -> Option<Number<'_>> {
        match self.word() {
            Word::Byte(_) => None,
            Word::Narrow(atomic) => Some(Number::Narrow(atomic)),
            Word::Wide(atomic) => Some(Number::Wide(atomic)),
        }
    }

    #[inline(always)]
    pub(crate) fn is_writable(&self) -> bool {
        self.section.segment().attachment().me() != 0
    }

    /// Whether there is nobody whom [`notify`](Self::notify) would have to wake, and nothing else for it to do.
    #[inline(always)]
    pub(crate) fn nobody_waits(&self) -> bool {
        self.is_writable() && !self.event().has_waiters() && !self.section.segment().attachment().is_fenced()
    }

    #[inline(always)]
    fn writable(&self) -> Result<()> {
        self.section.segment().writable()
    }

    /// A value as this type has it: a bool is 0 or 1, narrow types have 32 bits.
    #[inline(always)]
    fn normal(&self, bits: u64) -> u64 {
        match self.scalar {
            Scalar::Bool => (bits != 0).into(),
            Scalar::I32 | Scalar::U32 | Scalar::F32 => bits & 0xffff_ffff,
            Scalar::I64 | Scalar::U64 | Scalar::F64 => bits,
        }
    }

    #[inline(always)]
    pub(crate) fn load(&self, order: Ordering) -> Result<u64> {
        if !matches!(order, Ordering::Relaxed | Ordering::Acquire | Ordering::SeqCst) {
            return Err(fail!(Invalid, "a load cannot have the order {order:?}"));
        }
        // Two reads of one read-only word must agree on what a scribbled bool is.
        Ok(on_word!(self.word(), |atomic, T| self.normal((atomic.load(order) as T).into())))
    }

    #[inline(always)]
    pub(crate) fn store(&self, value: u64, order: Ordering) -> Result<()> {
        if !matches!(order, Ordering::Relaxed | Ordering::Release | Ordering::SeqCst) {
            return Err(fail!(Invalid, "a store cannot have the order {order:?}"));
        }
        self.writable()?;
        let value = self.normal(value);
        on_word!(self.word(), |atomic, T| atomic.store(value as T, order));
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn exchange(&self, value: u64, order: Ordering) -> Result<u64> {
        self.writable()?;
        let value = self.normal(value);
        Ok(on_word!(self.word(), |atomic, T| self.normal(atomic.swap(value as T, order).into())))
    }

    /// Replaces `expected` by `desired`; otherwise the value found is the error. A weak exchange may fail for no reason.
    #[inline(always)]
    pub(crate) fn compare_exchange(
        &self,
        expected: u64,
        desired: u64,
        weak: bool,
        success: Ordering,
        failure: Ordering,
    ) -> Result<Result<u64, u64>> {
        if !matches!(failure, Ordering::Relaxed | Ordering::Acquire | Ordering::SeqCst) {
            return Err(fail!(Invalid, "a failed exchange cannot have the order {failure:?}"));
        }
        self.writable()?;
        let (expected, desired) = (self.normal(expected), self.normal(desired));
        Ok(on_word!(self.word(), |atomic, T| {
            let mut tried = expected as T;
            loop {
                let outcome = if weak {
                    atomic.compare_exchange_weak(tried, desired as T, success, failure)
                } else {
                    atomic.compare_exchange(tried, desired as T, success, failure)
                };
                match outcome {
                    Ok(_) => break Ok(expected),
                    // A byte that no bool has may read as the one expected.
                    Err(found) if found != tried && self.normal(found.into()) == expected => tried = found,
                    Err(found) => break Err(self.normal(found.into())),
                }
            }
        }))
    }

    /// Does `operation`; returns the value before.
    #[inline(always)]
    pub(crate) fn fetch(&self, operation: Operation, operand: u64, order: Ordering) -> Result<u64> {
        self.writable()?;
        let operand = self.normal(operand);
        let integer = self.scalar.is_integer();
        let old = on_word!(self.word(), |atomic, T| match operation {
            Operation::Add if integer => atomic.fetch_add(operand as T, order).into(),
            Operation::Subtract if integer => atomic.fetch_sub(operand as T, order).into(),
            Operation::And if integer => atomic.fetch_and(operand as T, order).into(),
            Operation::Or if integer => atomic.fetch_or(operand as T, order).into(),
            Operation::Xor if integer => atomic.fetch_xor(operand as T, order).into(),
            _ => {
                let mut old = atomic.load(Ordering::Relaxed);
                loop {
                    let Some(new) = operation.apply(self.scalar, self.normal(old.into()), operand) else {
                        return Err(self.no_operation(operation));
                    };
                    match atomic.compare_exchange_weak(old, new as T, order, Ordering::Relaxed) {
                        Ok(_) => break self.normal(old.into()),
                        Err(found) => old = found,
                    }
                }
            }
        });
        Ok(old)
    }

    #[cold]
    fn no_operation(&self, operation: Operation) -> crate::Error {
        fail!(Invalid, "atomic '{}' is a {}, which has no {operation:?}", self.name(), self.scalar.noun())
    }

    /// Waits until the value is not `old`: the value then, or `None` when the time is up. For changes that are notified.
    pub(crate) fn wait(&self, old: u64, timeout: Duration) -> Result<Option<u64>> {
        let old = self.normal(old);
        let changed = || self.load(Ordering::Acquire).ok().filter(|now| *now != old);
        if self.section.segment().attachment().is_read_only() {
            // Cannot leave word that it sleeps.
            return match poll(timeout.min(Duration::from_nanos(SPIN)), SPIN, changed) {
                None if !timeout.is_zero() => Err(self.section.unregistered()),
                found => Ok(found),
            };
        }
        Ok(self.event().wait(timeout, SPIN, || SLICE, changed))
    }

    /// Wakes those who wait for the value to change. It costs a load when nobody sleeps.
    pub(crate) fn notify(&self) -> Result<()> {
        self.writable()?;
        self.event().notify(self.section.segment().attachment().is_fenced());
        Ok(())
    }
}

fn accept(entry: &Entry, scalar: Scalar) -> Result<()> {
    if entry.flags != scalar as u32 {
        let found = Scalar::from_code(entry.flags).map_or("something unknown", Scalar::noun);
        return Err(fail!(Mismatch, "atomic '{}' is a {found}, not a {}", entry.name, scalar.noun()));
    }
    Ok(())
}

/// The parts of an atomic's section.
fn place(section: crate::segment::Region, scalar: Scalar) -> Option<(NonNull<u8>, NonNull<EventCount>)> {
    let value = section.part(0, scalar.size())?.base();
    let event = NonNull::from(section.at::<EventCount>(EVENT_OFFSET)?);
    // The widest word must be in place, whatever the type.
    section.at::<AtomicU64>(0)?;
    Some((value, event))
}

/// Looks whether the bytes are what the rules allow. Every value is somebody's.
pub(crate) fn verify(entry: &Entry, section: crate::segment::Region, look: &mut Inspection<'_>) {
    let placed = Scalar::from_code(entry.flags)
        .filter(|scalar| entry.elem_size == scalar.size() && entry.count == 1 && entry.size == BYTES)
        .and_then(|scalar| place(section, scalar));
    let Some((_, event)) = placed else { return look.nonsense() };
    // SAFETY: checked in `place`; atomics only.
    look.event(EVENT_OFFSET, unsafe { event.as_ref() }, "waiters");
}

#[inline(always)]
fn word<'a>(value: NonNull<u8>, scalar: Scalar) -> Word<'a> {
    // SAFETY: checked in `place`: inside the section, and aligned for the widest.
    unsafe {
        match scalar.size() {
            1 => Word::Byte(value.cast().as_ref()),
            4 => Word::Narrow(value.cast().as_ref()),
            _ => Word::Wide(value.cast().as_ref()),
        }
    }
}

mod sealed {
    pub trait Sealed: Copy {
        const SCALAR: super::Scalar;
        fn to_bits(self) -> u64;
        fn from_bits(bits: u64) -> Self;
    }
}

/// The types an [`Atomic`] can have.
pub trait AtomicValue: sealed::Sealed {}

macro_rules! atomic_values {
    ($($type:ty, $scalar:ident, |$value:ident| $to:expr, |$bits:ident| $from:expr;)*) => {$(
        impl sealed::Sealed for $type {
            const SCALAR: Scalar = Scalar::$scalar;
            fn to_bits(self) -> u64 {
                let $value = self;
                $to
            }
            fn from_bits($bits: u64) -> Self {
                $from
            }
        }
        impl AtomicValue for $type {}
    )*};
}

atomic_values! {
    bool, Bool, |value| value.into(), |bits| bits != 0;
    i32, I32, |value| u64::from(value as u32), |bits| bits as i32;
    u32, U32, |value| value.into(), |bits| bits as u32;
    i64, I64, |value| value as u64, |bits| bits as i64;
    u64, U64, |value| value, |bits| bits;
    f32, F32, |value| value.to_bits().into(), |bits| f32::from_bits(bits as u32);
    f64, F64, |value| value.to_bits(), |bits| f64::from_bits(bits);
}

/// A handle on a named atomic `T`. May be used from any thread.
///
/// ```
/// # fn main() -> shmds::Result<()> {
/// use shmds::{Atomic, Segment, SegmentOptions};
/// use std::sync::atomic::Ordering;
/// let name = format!("doc-atomic-{}", std::process::id());
/// let segment = Segment::create(&name, &SegmentOptions::new().size(1 << 20))?;
/// let frame = Atomic::<u64>::create(&segment, "frame", 0)?;
/// frame.fetch_add(1, Ordering::Release)?;
/// frame.notify_all()?;
/// assert_eq!(frame.wait(0, std::time::Duration::MAX)?, Some(1));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Atomic<T> {
    raw: RawAtomic,
    value: PhantomData<T>,
}

impl<T: AtomicValue> Atomic<T> {
    /// Creates the atomic `name` with the value `initial`, or opens it, whatever its value, if it is there with this type.
    ///
    /// # Errors
    /// `Mismatch`, naming both types; `NoSpace`; `Limit`; `Invalid`; `ReadOnly`; `Busy`.
    pub fn create(segment: &Segment, name: &str, initial: T) -> Result<Self> {
        let raw = RawAtomic::create(segment, name, T::SCALAR, initial.to_bits(), false)?;
        Ok(Self { raw, value: PhantomData })
    }

    /// As [`create`](Self::create), but fails with `Exists` instead of opening.
    ///
    /// # Errors
    /// As [`create`](Self::create); `Exists`.
    pub fn create_exclusive(segment: &Segment, name: &str, initial: T) -> Result<Self> {
        let raw = RawAtomic::create(segment, name, T::SCALAR, initial.to_bits(), true)?;
        Ok(Self { raw, value: PhantomData })
    }

    /// Opens the atomic `name`.
    ///
    /// # Errors
    /// `NotFound`; `Mismatch`; `Invalid`; `Busy`.
    pub fn open(segment: &Segment, name: &str) -> Result<Self> {
        Ok(Self { raw: RawAtomic::open(segment, name, Some(T::SCALAR))?, value: PhantomData })
    }

    /// How many bytes of a segment an atomic takes.
    #[must_use]
    pub const fn bytes() -> u64 {
        RawAtomic::TAKEN
    }

    /// All of its bytes, as docs/FORMAT.md has them. Valid while a handle on it is open; of a read-only segment, for reading only.
    /// Other processes may write to them at any time.
    #[must_use]
    pub fn span(&self) -> NonNull<[u8]> {
        self.raw.span()
    }

    /// What the table said of it when it was opened.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        self.raw.entry()
    }

    /// The name in the segment's table.
    #[must_use]
    pub fn name(&self) -> &str {
        self.raw.name()
    }

    /// The address of the value, for native atomics. Valid while a handle is open.
    #[must_use]
    pub fn as_ptr(&self) -> *mut T {
        self.raw.pointer().as_ptr().cast()
    }

    /// The value.
    ///
    /// # Errors
    /// `Invalid` for an order a load cannot have.
    pub fn load(&self, order: Ordering) -> Result<T> {
        self.raw.load(order).map(T::from_bits)
    }

    /// Replaces the value.
    ///
    /// # Errors
    /// `Invalid` for an order a store cannot have; `ReadOnly`, here and in every function that changes the value.
    pub fn store(&self, value: T, order: Ordering) -> Result<()> {
        self.raw.store(value.to_bits(), order)
    }

    /// Replaces the value; returns the one before.
    ///
    /// # Errors
    /// `ReadOnly`.
    pub fn exchange(&self, value: T, order: Ordering) -> Result<T> {
        self.raw.exchange(value.to_bits(), order).map(T::from_bits)
    }

    /// Replaces `expected`, compared bit by bit, by `desired`; the inner result is the value before, an error if it was another.
    ///
    /// # Errors
    /// `Invalid` for an order a failure cannot have; `ReadOnly`.
    pub fn compare_exchange(
        &self,
        expected: T,
        desired: T,
        success: Ordering,
        failure: Ordering,
    ) -> Result<Result<T, T>> {
        let outcome = self.raw.compare_exchange(expected.to_bits(), desired.to_bits(), false, success, failure)?;
        Ok(outcome.map(T::from_bits).map_err(T::from_bits))
    }

    /// As [`compare_exchange`](Self::compare_exchange), but may fail for no reason, which is cheaper in loops on some machines.
    ///
    /// # Errors
    /// As [`compare_exchange`](Self::compare_exchange).
    pub fn compare_exchange_weak(
        &self,
        expected: T,
        desired: T,
        success: Ordering,
        failure: Ordering,
    ) -> Result<Result<T, T>> {
        let outcome = self.raw.compare_exchange(expected.to_bits(), desired.to_bits(), true, success, failure)?;
        Ok(outcome.map(T::from_bits).map_err(T::from_bits))
    }

    /// Adds, wrapping around; returns the value before.
    ///
    /// # Errors
    /// `Invalid` for a bool; `ReadOnly`.
    pub fn fetch_add(&self, operand: T, order: Ordering) -> Result<T> {
        self.fetch(Operation::Add, operand, order)
    }

    /// Subtracts, wrapping around; returns the value before.
    ///
    /// # Errors
    /// `Invalid` for a bool; `ReadOnly`.
    pub fn fetch_sub(&self, operand: T, order: Ordering) -> Result<T> {
        self.fetch(Operation::Subtract, operand, order)
    }

    /// Keeps the bits that both have; returns the value before.
    ///
    /// # Errors
    /// `Invalid` for floating point; `ReadOnly`.
    pub fn fetch_and(&self, operand: T, order: Ordering) -> Result<T> {
        self.fetch(Operation::And, operand, order)
    }

    /// Sets the bits of `operand`; returns the value before.
    ///
    /// # Errors
    /// `Invalid` for floating point; `ReadOnly`.
    pub fn fetch_or(&self, operand: T, order: Ordering) -> Result<T> {
        self.fetch(Operation::Or, operand, order)
    }

    /// Flips the bits of `operand`; returns the value before.
    ///
    /// # Errors
    /// `Invalid` for floating point; `ReadOnly`.
    pub fn fetch_xor(&self, operand: T, order: Ordering) -> Result<T> {
        self.fetch(Operation::Xor, operand, order)
    }

    /// Makes it the lesser, where what is not a number is passed over; returns the value before.
    ///
    /// # Errors
    /// `Invalid` for a bool; `ReadOnly`.
    pub fn fetch_min(&self, operand: T, order: Ordering) -> Result<T> {
        self.fetch(Operation::Minimum, operand, order)
    }

    /// Makes it the greater, where what is not a number is passed over; returns the value before.
    ///
    /// # Errors
    /// `Invalid` for a bool; `ReadOnly`.
    pub fn fetch_max(&self, operand: T, order: Ordering) -> Result<T> {
        self.fetch(Operation::Maximum, operand, order)
    }

    fn fetch(&self, operation: Operation, operand: T, order: Ordering) -> Result<T> {
        self.raw.fetch(operation, operand.to_bits(), order).map(T::from_bits)
    }

    /// Waits until the value, compared bit by bit, is not `old`: the value then; `None` when the time is up (`Duration::MAX`: never).
    /// Whoever changes the value must notify.
    ///
    /// # Errors
    /// `ReadOnly`: a read-only attachment can look, but cannot leave word that it sleeps.
    pub fn wait(&self, old: T, timeout: Duration) -> Result<Option<T>> {
        Ok(self.raw.wait(old.to_bits(), timeout)?.map(T::from_bits))
    }

    /// Wakes at least one of those who wait, in whatever process. It costs a load when nobody sleeps.
    ///
    /// # Errors
    /// `ReadOnly`.
    pub fn notify_one(&self) -> Result<()> {
        self.raw.notify()
    }

    /// Wakes all who wait, in whatever process. It costs a load when nobody sleeps.
    ///
    /// # Errors
    /// `ReadOnly`.
    pub fn notify_all(&self) -> Result<()> {
        self.raw.notify()
    }
}
