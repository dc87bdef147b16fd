//! Atomics, in C.

use std::ffi::{c_char, c_void};

use super::segment::shm_segment;
use super::status::shm_status;
use super::structure;
use super::table::shm_entry;
use super::{SHM_EXCLUSIVE, give_entry, give_span, guard, need, need_out, need_text, only_flags, timeout};
use crate::atomic::{Number, Operation, RawAtomic, Scalar};
use crate::error::{Result, Status, fail};
use crate::sync::Ordering;

/// A handle on a named atomic. May be used from any thread. All operations are lock-free.
pub struct shm_atomic(RawAtomic);

/// The type of an atomic, and the field of `shm_atomic_value` that it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum shm_atomic_type {
    /// One byte, 0 or 1: `b`. Whatever else a peer may have written there reads as true.
    SHM_ATOMIC_BOOL = 1,
    /// Signed, 32 bits: `i32`.
    SHM_ATOMIC_I32 = 2,
    /// Unsigned, 32 bits: `u32`.
    SHM_ATOMIC_U32 = 3,
    /// Signed, 64 bits: `i64`.
    SHM_ATOMIC_I64 = 4,
    /// Unsigned, 64 bits: `u64`.
    SHM_ATOMIC_U64 = 5,
    /// Floating point, 32 bits: `f32`.
    SHM_ATOMIC_F32 = 6,
    /// Floating point, 64 bits: `f64`.
    SHM_ATOMIC_F64 = 7,
}

/// A value of an atomic; the type says which field.
#[derive(Clone, Copy)]
#[repr(C)]
pub union shm_atomic_value {
    /// SHM_ATOMIC_BOOL.
    pub b: bool,
    /// SHM_ATOMIC_I32.
    pub i32: i32,
    /// SHM_ATOMIC_U32.
    pub u32: u32,
    /// SHM_ATOMIC_I64.
    pub i64: i64,
    /// SHM_ATOMIC_U64.
    pub u64: u64,
    /// SHM_ATOMIC_F32.
    pub f32: f32,
    /// SHM_ATOMIC_F64.
    pub f64: f64,
}

/// C11's memory orders, with the numbers that GCC and Clang give `memory_order`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum shm_memory_order {
    /// Atomic and no more.
    SHM_RELAXED = 0,
    /// Loads: what follows sees what came before the SHM_RELEASE whose value was read.
    SHM_ACQUIRE = 2,
    /// Stores: what came before is seen with it.
    SHM_RELEASE = 3,
    /// Both, for what loads and stores.
    SHM_ACQ_REL = 4,
    /// Both, and one order of all that have it.
    SHM_SEQ_CST = 5,
}

/// What `shm_atomic_fetch` does. All types but bool have sums and extremes; all but floating point have bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum shm_atomic_operation {
    /// Adds, wrapping around.
    SHM_ADD = 1,
    /// Subtracts, wrapping around.
    SHM_SUBTRACT = 2,
    /// Keeps the bits that both have.
    SHM_AND = 3,
    /// Sets bits.
    SHM_OR = 4,
    /// Flips bits.
    SHM_XOR = 5,
    /// The lesser; what is not a number is passed over, as by `fmin`.
    SHM_MINIMUM = 6,
    /// The greater; what is not a number is passed over, as by `fmax`.
    SHM_MAXIMUM = 7,
}

impl From<Scalar> for shm_atomic_type {
    fn from(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Bool => Self::SHM_ATOMIC_BOOL,
            Scalar::I32 => Self::SHM_ATOMIC_I32,
            Scalar::U32 => Self::SHM_ATOMIC_U32,
            Scalar::I64 => Self::SHM_ATOMIC_I64,
            Scalar::U64 => Self::SHM_ATOMIC_U64,
            Scalar::F32 => Self::SHM_ATOMIC_F32,
            Scalar::F64 => Self::SHM_ATOMIC_F64,
        }
    }
}

fn scalar(code: u32) -> Result<Scalar> {
    Scalar::ALL
        .into_iter()
        .find(|scalar| shm_atomic_type::from(*scalar) as u32 == code)
        .ok_or_else(|| fail!(Invalid, "there is no atomic type {code}"))
}

const RELAXED: u32 = shm_memory_order::SHM_RELAXED as u32;
const ACQUIRE: u32 = shm_memory_order::SHM_ACQUIRE as u32;
const RELEASE: u32 = shm_memory_order::SHM_RELEASE as u32;
const ACQ_REL: u32 = shm_memory_order::SHM_ACQ_REL as u32;
const SEQ_CST: u32 = shm_memory_order::SHM_SEQ_CST as u32;

fn order(code: u32) -> Result<Ordering> {
    match code {
        RELAXED => Ok(Ordering::Relaxed),
        ACQUIRE => Ok(Ordering::Acquire),
        RELEASE => Ok(Ordering::Release),
        ACQ_REL => Ok(Ordering::AcqRel),
        SEQ_CST => Ok(Ordering::SeqCst),
        _ => Err(fail!(Invalid, "there is no memory order {code}")),
    }
}

/// An order of a load that is at least as strong, as telling those apart costs more than they do; `None` for what a load cannot have.
#[inline(always)]
fn load_order(code: u32) -> Option<Ordering> {
    match code {
        RELAXED => Some(Ordering::Relaxed),
        ACQUIRE | SEQ_CST => Some(Ordering::SeqCst),
        _ => None,
    }
}

/// The order of a store; `None` for what it cannot have.
#[inline(always)]
fn store_order(code: u32) -> Option<Ordering> {
    match code {
        RELAXED => Some(Ordering::Relaxed),
        RELEASE => Some(Ordering::Release),
        SEQ_CST => Some(Ordering::SeqCst),
        _ => None,
    }
}

/// Likewise of what loads and stores.
#[inline(always)]
fn exchange_order(code: u32) -> Option<Ordering> {
    match code {
        RELAXED => Some(Ordering::Relaxed),
        ACQUIRE | RELEASE | ACQ_REL | SEQ_CST => Some(Ordering::SeqCst),
        _ => None,
    }
}

fn operation(code: u32) -> Result<Operation> {
    let known = [
        (shm_atomic_operation::SHM_ADD, Operation::Add),
        (shm_atomic_operation::SHM_SUBTRACT, Operation::Subtract),
        (shm_atomic_operation::SHM_AND, Operation::And),
        (shm_atomic_operation::SHM_OR, Operation::Or),
        (shm_atomic_operation::SHM_XOR, Operation::Xor),
        (shm_atomic_operation::SHM_MINIMUM, Operation::Minimum),
        (shm_atomic_operation::SHM_MAXIMUM, Operation::Maximum),
    ];
    known
        .into_iter()
        .find(|(number, _)| *number as u32 == code)
        .map(|(_, operation)| operation)
        .ok_or_else(|| fail!(Invalid, "there is no atomic operation {code}"))
}

/// The bits of the field that the type uses. The others may never have been written.
#[inline(always)]
fn to_bits(value: &shm_atomic_value, scalar: Scalar) -> u64 {
    // SAFETY: the field was written, as the type says; a bool is read as the byte it is, whatever that is.
    unsafe {
        match scalar {
            Scalar::Bool => (&raw const value.b).cast::<u8>().read().into(),
            Scalar::I32 | Scalar::U32 | Scalar::F32 => value.u32.into(),
            Scalar::I64 | Scalar::U64 | Scalar::F64 => value.u64,
        }
    }
}

#[inline(always)]
fn from_bits(bits: u64, scalar: Scalar) -> shm_atomic_value {
    let mut value = shm_atomic_value { u64: bits };
    if cfg!(target_endian = "big") {
        // Narrow fields have the first bytes. Elsewhere they have them already, and all is written by one store.
        match scalar {
            Scalar::Bool => value.b = bits != 0,
            Scalar::I32 | Scalar::U32 | Scalar::F32 => value.u32 = bits as u32,
            Scalar::I64 | Scalar::U64 | Scalar::F64 => {}
        }
    }
    value
}

/// One operation on a number of whichever width, which cannot fail: what comes before the guard. `None` where there is no number.
macro_rules! on_number {
    ($number:expr, |$atomic:ident, $type:ident| $body:expr) => {
        match $number {
            Some(Number::Narrow($atomic)) => {
                #[allow(dead_code, reason = "loads convert nothing")]
                type $type = u32;
                Some($body as u64)
            }
            Some(Number::Wide($atomic)) => {
                #[allow(dead_code, reason = "loads convert nothing")]
                type $type = u64;
                Some($body as u64)
            }
            None => None,
        }
    };
}

/// How many bytes of a segment an atomic takes, of whatever type.
///
/// # Safety
/// `bytes` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_atomic_size(bytes: *mut u64) -> shm_status {
    guard(|| {
        let bytes = need_out(bytes, "bytes")?;
        // SAFETY: not NULL, and the caller's promise.
        unsafe { bytes.write(RawAtomic::TAKEN) };
        Ok(Status::Ok)
    })
}

/// Creates the atomic `name` with the value `initial`, or opens it, whatever its value, if it is there with this type. `type`: one of
/// `shm_atomic_type`; `flags`: SHM_EXCLUSIVE or 0. The handle is closed with `shm_atomic_close`; it keeps the segment attached.
///
/// Errors: SHM_ERR_EXISTS with SHM_EXCLUSIVE; SHM_ERR_MISMATCH, naming both types; SHM_ERR_NO_SPACE; SHM_ERR_LIMIT when the table is
/// full; SHM_ERR_INVALID; SHM_ERR_READ_ONLY; SHM_ERR_BUSY when a stopped process holds the segment's lock.
///
/// # Safety
/// `segment` is NULL or a handle; `name` is NULL or a string; `initial`'s field of this type is set; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_atomic_create(
    segment: Option<&shm_segment>,
    name: *const c_char,
    r#type: u32,
    initial: shm_atomic_value,
    flags: u32,
    out: *mut *mut shm_atomic,
) -> shm_status {
    guard(|| {
        let (segment, out) = (need(segment, "segment")?, need_out(out, "out")?);
        // SAFETY: the caller's promise.
        let name = unsafe { need_text(name, "name") }?;
        only_flags(flags, SHM_EXCLUSIVE, "atomics")?;
        let scalar = scalar(r#type)?;
        let (initial, exclusive) = (to_bits(&initial, scalar), flags & SHM_EXCLUSIVE != 0);
        structure::give(shm_atomic(RawAtomic::create(&segment.segment, name, scalar, initial, exclusive)?), out)
    })
}

/// Opens the atomic `name`. `type`: what it must be, one of `shm_atomic_type`; 0: whatever it is.
///
/// Errors: SHM_ERR_NOT_FOUND; SHM_ERR_MISMATCH, naming both types; SHM_ERR_INVALID; SHM_ERR_BUSY.
///
/// # Safety
/// `segment` is NULL or a handle; `name` is NULL or a string; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_atomic_open(
    segment: Option<&shm_segment>,
    name: *const c_char,
    r#type: u32,
    out: *mut *mut shm_atomic,
) -> shm_status {
    guard(|| {
        let (segment, out) = (need(segment, "segment")?, need_out(out, "out")?);
        // SAFETY: the caller's promise.
        let name = unsafe { need_text(name, "name") }?;
        let scalar = if r#type == 0 { None } else { Some(scalar(r#type)?) };
        structure::give(shm_atomic(RawAtomic::open(&segment.segment, name, scalar)?), out)
    })
}

/// Ends the handle, and with it the validity of the address it gave.
///
/// # Safety
/// `atomic` is NULL or a handle that was not closed yet, and no other thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_atomic_close(atomic: *mut shm_atomic) -> shm_status {
    // SAFETY: the caller's promises.
    unsafe { structure::close(atomic, "atomic") }
}

/// Reads the value. `order`: SHM_RELAXED, SHM_ACQUIRE or SHM_SEQ_CST.
///
/// Errors: SHM_ERR_INVALID for another order.
///
/// # Safety
/// `atomic` is NULL or a handle; `value` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_atomic_load(
    atomic: Option<&shm_atomic>,
    order: u32,
    value: *mut shm_atomic_value,
) -> shm_status {
    if let Some(atomic) = atomic
        && !value.is_null()
        && let Some(order) = load_order(order)
        && let Some(bits) = on_number!(atomic.0.number(), |number, T| number.load(order))
    {
        // SAFETY: not NULL, and the caller's promise.
        unsafe { value.write(from_bits(bits, atomic.0.scalar())) };
        return shm_status::SHM_OK;
    }
    // SAFETY: the caller's promises.
    unsafe { load(atomic, order, value) }
}

/// # Safety
/// As [`shm_atomic_load`].
#[cold]
unsafe extern "C" fn load(atomic: Option<&shm_atomic>, order: u32, value: *mut shm_atomic_value) -> shm_status {
    guard(|| {
        let (atomic, value) = (&need(atomic, "atomic")?.0, need_out(value, "value")?);
        let bits = atomic.load(self::order(order)?)?;
        // SAFETY: not NULL, and the caller's promise.
        unsafe { value.write(from_bits(bits, atomic.scalar())) };
        Ok(Status::Ok)
    })
}

/// Replaces the value. `order`: SHM_RELAXED, SHM_RELEASE or SHM_SEQ_CST. Wakes nobody: see `shm_atomic_notify_one`.
///
/// Errors: SHM_ERR_INVALID for another order; SHM_ERR_READ_ONLY.
///
/// # Safety
/// `atomic` is NULL or a handle; `value`'s field of the atomic's type is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_atomic_store(
    atomic: Option<&shm_atomic>,
    value: shm_atomic_value,
    order: u32,
) -> shm_status {
    if let Some(atomic) = atomic
        && let Some(order) = store_order(order)
        && atomic.0.is_writable()
        && let bits = to_bits(&value, atomic.0.scalar())
        && on_number!(atomic.0.number(), |number, T| {
            number.store(bits as T, order);
            bits
        })
        .is_some()
    {
        return shm_status::SHM_OK;
    }
    // SAFETY: the caller's promises.
    unsafe { store(atomic, value, order) }
}

/// # Safety
/// As [`shm_atomic_store`].
#[cold]
unsafe extern "C" fn store(atomic: Option<&shm_atomic>, value: shm_atomic_value, order: u32) -> shm_status {
    guard(|| {
        let atomic = &need(atomic, "atomic")?.0;
        atomic.store(to_bits(&value, atomic.scalar()), self::order(order)?)?;
        Ok(Status::Ok)
    })
}

/// Replaces the value, and sets `old` to the one before. `order`: any.
///
/// Errors: SHM_ERR_INVALID; SHM_ERR_READ_ONLY.
///
/// # Safety
/// As `shm_atomic_store`; `old` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_atomic_exchange(
    atomic: Option<&shm_atomic>,
    value: shm_atomic_value,
    order: u32,
    old: *mut shm_atomic_value,
) -> shm_status {
    if let Some(atomic) = atomic
        && !old.is_null()
        && let Some(order) = exchange_order(order)
        && atomic.0.is_writable()
        && let bits = to_bits(&value, atomic.0.scalar())
        && let Some(found) = on_number!(atomic.0.number(), |number, T| number.swap(bits as T, order))
    {
        // SAFETY: not NULL, and the caller's promise.
        unsafe { old.write(from_bits(found, atomic.0.scalar())) };
        return shm_status::SHM_OK;
    }
    // SAFETY: the caller's promises.
    unsafe { exchange(atomic, value, order, old) }
}

/// # Safety
/// As [`shm_atomic_exchange`].
#[cold]
unsafe extern "C" fn exchange(
    atomic: Option<&shm_atomic>,
    value: shm_atomic_value,
    order: u32,
    old: *mut shm_atomic_value,
) -> shm_status {
    guard(|| {
        let (atomic, old) = (&need(atomic, "atomic")?.0, need_out(old, "old")?);
        let bits = atomic.exchange(to_bits(&value, atomic.scalar()), self::order(order)?)?;
        // SAFETY: not NULL, and the caller's promise.
        unsafe { old.write(from_bits(bits, atomic.scalar())) };
        Ok(Status::Ok)
    })
}

/// Replaces `expected`, compared bit by bit, by `desired`, and sets `exchanged`; if the value is another, `expected` becomes that. A weak
/// exchange may fail for no reason, which is cheaper in loops on some machines. `success`: any order; `failure`: SHM_RELAXED, SHM_ACQUIRE or
/// SHM_SEQ_CST.
///
/// Errors: SHM_ERR_INVALID for another order; SHM_ERR_READ_ONLY.
///
/// # Safety
/// As `shm_atomic_store`, for both values; `expected` and `exchanged` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_atomic_compare_exchange(
    atomic: Option<&shm_atomic>,
    expected: *mut shm_atomic_value,
    desired: shm_atomic_value,
    weak: bool,
    success: u32,
    failure: u32,
    exchanged: *mut bool,
) -> shm_status {
    if let Some(atomic) = atomic
        && !expected.is_null()
        && !exchanged.is_null()
        && let Some(success_order) = exchange_order(success)
        && let Some(failure_order) = load_order(failure)
        && atomic.0.is_writable()
    {
        // A stronger order costs no more.
        let order = if failure_order == Ordering::Relaxed { success_order } else { Ordering::SeqCst };
        let scalar = atomic.0.scalar();
        // SAFETY: not NULL, and the caller's promise.
        let old = to_bits(unsafe { &*expected }, scalar);
        let new = to_bits(&desired, scalar);
        let failure_order = if order == Ordering::Relaxed { order } else { Ordering::SeqCst };
        let found = on_number!(atomic.0.number(), |number, T| {
            number.compare_exchange(old as T, new as T, order, failure_order).unwrap_or_else(|found| found)
        });
        if let Some(found) = found {
            // SAFETY: not NULL, and the caller's promise.
            unsafe {
                exchanged.write(found == old);
                if found != old {
                    expected.write(from_bits(found, scalar));
                }
            }
            return shm_status::SHM_OK;
        }
    }
    // SAFETY: the caller's promises.
    unsafe { compare_exchange(atomic, expected, desired, weak, success, failure, exchanged) }
}

/// # Safety
/// As [`shm_atomic_compare_exchange`].
#[cold]
unsafe extern "C" fn compare_exchange(
    atomic: Option<&shm_atomic>,
    expected: *mut shm_atomic_value,
    desired: shm_atomic_value,
    weak: bool,
    success: u32,
    failure: u32,
    exchanged: *mut bool,
) -> shm_status {
    guard(|| {
        let atomic = &need(atomic, "atomic")?.0;
        let (expected, exchanged) = (need_out(expected, "expected")?, need_out(exchanged, "exchanged")?);
        let scalar = atomic.scalar();
        // SAFETY: not NULL, and the caller's promise.
        let old = to_bits(unsafe { &*expected }, scalar);
        let new = to_bits(&desired, scalar);
        let outcome = atomic.compare_exchange(old, new, weak, order(success)?, order(failure)?)?;
        // SAFETY: as above.
        unsafe {
            if let Err(found) = outcome {
                expected.write(from_bits(found, scalar));
            }
            exchanged.write(outcome.is_ok());
        }
        Ok(Status::Ok)
    })
}

/// Changes the value by `operand`, and sets `old` to the one before; NULL: not wanted. `operation`: one of `shm_atomic_operation`; `order`:
/// any.
///
/// Errors: SHM_ERR_INVALID, also when the type has no such operation; SHM_ERR_READ_ONLY.
///
/// # Safety
/// As `shm_atomic_store`; `old` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_atomic_fetch(
    atomic: Option<&shm_atomic>,
    operation: u32,
    operand: shm_atomic_value,
    order: u32,
    old: *mut shm_atomic_value,
) -> shm_status {
    const ADD: u32 = shm_atomic_operation::SHM_ADD as u32;
    const SUBTRACT: u32 = shm_atomic_operation::SHM_SUBTRACT as u32;
    const AND: u32 = shm_atomic_operation::SHM_AND as u32;
    const OR: u32 = shm_atomic_operation::SHM_OR as u32;
    const XOR: u32 = shm_atomic_operation::SHM_XOR as u32;
    if let Some(atomic) = atomic
        && let Some(order) = exchange_order(order)
        && atomic.0.is_writable()
    {
        let (atomic, bits) = (&atomic.0, to_bits(&operand, atomic.0.scalar()));
        let integer = atomic.number().filter(|_| atomic.scalar().is_integer());
        let found = match operation {
            ADD => on_number!(integer, |number, T| number.fetch_add(bits as T, order)),
            SUBTRACT => on_number!(integer, |number, T| number.fetch_sub(bits as T, order)),
            AND => on_number!(integer, |number, T| number.fetch_and(bits as T, order)),
            OR => on_number!(integer, |number, T| number.fetch_or(bits as T, order)),
            XOR => on_number!(integer, |number, T| number.fetch_xor(bits as T, order)),
            _ => None,
        };
        if let Some(found) = found {
            if !old.is_null() {
                // SAFETY: not NULL, and the caller's promise.
                unsafe { old.write(from_bits(found, atomic.scalar())) };
            }
            return shm_status::SHM_OK;
        }
    }
    // SAFETY: the caller's promises.
    unsafe { fetch(atomic, operation, operand, order, old) }
}

/// # Safety
/// As [`shm_atomic_fetch`].
#[cold]
unsafe extern "C" fn fetch(
    atomic: Option<&shm_atomic>,
    operation: u32,
    operand: shm_atomic_value,
    order: u32,
    old: *mut shm_atomic_value,
) -> shm_status {
    guard(|| {
        let atomic = &need(atomic, "atomic")?.0;
        let operand = to_bits(&operand, atomic.scalar());
        let bits = atomic.fetch(self::operation(operation)?, operand, self::order(order)?)?;
        if !old.is_null() {
            // SAFETY: the caller's promise.
            unsafe { old.write(from_bits(bits, atomic.scalar())) };
        }
        Ok(Status::Ok)
    })
}

/// Waits up to `timeout_ns` nanoseconds (SHM_FOREVER: no limit) until the value, compared bit by bit, is not `old`: SHM_OK, and `now` is the
/// value, unless it is NULL; else SHM_TIMEOUT. Whoever changes the value must notify, in whatever process.
///
/// Errors: SHM_ERR_READ_ONLY when it would have to sleep.
///
/// # Safety
/// As `shm_atomic_store`; `now` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_atomic_wait(
    atomic: Option<&shm_atomic>,
    old: shm_atomic_value,
    timeout_ns: u64,
    now: *mut shm_atomic_value,
) -> shm_status {
    guard(|| {
        let atomic = &need(atomic, "atomic")?.0;
        let Some(bits) = atomic.wait(to_bits(&old, atomic.scalar()), timeout(timeout_ns))? else {
            return Ok(Status::Timeout);
        };
        if !now.is_null() {
            // SAFETY: the caller's promise.
            unsafe { now.write(from_bits(bits, atomic.scalar())) };
        }
        Ok(Status::Ok)
    })
}

/// Wakes at least one of those who wait, in whatever process. It costs a load when nobody sleeps.
///
/// Errors: SHM_ERR_READ_ONLY.
///
/// # Safety
/// `atomic` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_atomic_notify_one(atomic: Option<&shm_atomic>) -> shm_status {
    match atomic {
        Some(atomic) if atomic.0.nobody_waits() => shm_status::SHM_OK,
        _ => notify(atomic),
    }
}

/// Wakes all who wait, in whatever process. It costs a load when nobody sleeps.
///
/// Errors: SHM_ERR_READ_ONLY.
///
/// # Safety
/// `atomic` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_atomic_notify_all(atomic: Option<&shm_atomic>) -> shm_status {
    match atomic {
        Some(atomic) if atomic.0.nobody_waits() => shm_status::SHM_OK,
        _ => notify(atomic),
    }
}

#[cold]
extern "C" fn notify(atomic: Option<&shm_atomic>) -> shm_status {
    guard(|| {
        need(atomic, "atomic")?.0.notify()?;
        Ok(Status::Ok)
    })
}

/// The address of the value, for native atomics of its type. Valid until the handle is closed; of a read-only segment, for loads only.
///
/// # Safety
/// `atomic` is NULL or a handle; `value` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_atomic_pointer(atomic: Option<&shm_atomic>, value: *mut *mut c_void) -> shm_status {
    guard(|| {
        let (atomic, value) = (&need(atomic, "atomic")?.0, need_out(value, "value")?);
        // SAFETY: not NULL, and the caller's promise.
        unsafe { value.write(atomic.pointer().as_ptr().cast()) };
        Ok(Status::Ok)
    })
}

/// The type: one of `shm_atomic_type`.
///
/// # Safety
/// `atomic` is NULL or a handle; `type` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_atomic_get_type(atomic: Option<&shm_atomic>, r#type: *mut u32) -> shm_status {
    guard(|| {
        let (atomic, code) = (&need(atomic, "atomic")?.0, need_out(r#type, "type")?);
        // SAFETY: not NULL, and the caller's promise.
        unsafe { code.write(shm_atomic_type::from(atomic.scalar()) as u32) };
        Ok(Status::Ok)
    })
}

/// All bytes of the atomic, as docs/FORMAT.md has them. Valid until the handle is closed; of a read-only segment, for reading only.
/// Other processes may write to them at any time.
///
/// # Safety
/// `atomic` is NULL or a handle; `data` and `bytes` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_atomic_span(
    atomic: Option<&shm_atomic>,
    data: *mut *mut c_void,
    bytes: *mut usize,
) -> shm_status {
    // SAFETY: the caller's promises.
    guard(|| unsafe { give_span(need(atomic, "atomic")?.0.span(), data, bytes) })
}

/// What the table said of the atomic when this handle was opened, its name among it.
///
/// # Safety
/// `atomic` is NULL or a handle; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_atomic_entry(atomic: Option<&shm_atomic>, out: *mut shm_entry) -> shm_status {
    // SAFETY: the caller's promises.
    guard(|| unsafe { give_entry(need(atomic, "atomic")?.0.entry(), out) })
}
