//! What an SPSC queue's usual operations touch, for code that is compiled into the caller: include/shmds.hpp has it for C++. The rules
//! are in `src/queue/spsc.rs`, whose private state this is; docs/FORMAT.md has the shared bytes.

use std::mem::offset_of;

use super::queue::shm_queue;
use super::status::shm_status;
use super::{guard, need, need_out};
use crate::error::{Status, fail};
use crate::queue::spsc::{Consumer, Inline, Producer};

/// Which `shm_queue_inline` this header describes.
pub const SHM_INLINE_VERSION: u32 = 1;

/// A producer between two calls: this handle's own state. As long as `element` is not `stop`, an element goes in by: copy it to `element`; store
/// `value` to `word`, with release; then, if there are several elements to a line, move `element` on by `step` and add 1 to `value`, else move
/// `element` and `word` on by `stride` and add 256. All else is `shm_queue_enqueue`'s.
#[repr(C)]
pub struct shm_queue_producer {
    /// Where the next element goes.
    pub element: *mut u8,
    /// Where this run ends.
    pub stop: *mut u8,
    /// The word of its line.
    pub word: *mut u64,
    /// What the word becomes with it.
    pub value: u64,
}

/// A consumer between two calls: this handle's own state. As long as `element` is not `stop`, an element is taken by: copy it from
/// `element`; add 1 to `position`, and store that to `exact`, with release; move `element` on by `step`.
///
/// At `stop`, the line of `word` is looked at, unless that is NULL: then only `shm_queue_dequeue` knows. If the lowest byte of `value` is
/// `per_line`, the next line comes first: `value` becomes the line's number (the other bytes) plus 1, with a lowest byte of zero; `word`
/// moves on by `stride`, from `end` to `slots`; and if `position` is at least `tell_at`, it is stored to `head`, with release, and
/// `tell_at` is `quarter` more. Then `word` is loaded, with acquire: what it is ahead of `value`, if that is not more than the line
/// has left, is how many elements came in; they lie one `step` apart, the first of a line `first` behind the word. Several are copied to
/// `news` first, each to where it is in the line. `value` grows by as many; if the line is full now and `element` is not NULL, `word` is stored as it
/// is. If nothing came in, `element` and `stop` become NULL.
#[repr(C)]
pub struct shm_queue_consumer {
    /// Where the next element is.
    pub element: *mut u8,
    /// Where this run ends.
    pub stop: *mut u8,
    /// The word of the line that is read.
    pub word: *mut u64,
    /// What the word was at the last look.
    pub value: u64,
    /// How many elements were taken.
    pub position: u64,
    /// The position from which on the producer is told.
    pub tell_at: u64,
    /// Not for inline code.
    pub reserved: [u64; 2],
    /// A line, copied out.
    pub news: [u8; 64],
}

/// An SPSC queue, as inline code sees it; valid until the handle is closed. Whoever works on it has to be compiled with the same
/// SHM_INLINE_VERSION as the library, and keeps the handle's rules: one thread per end. Before an element goes in, `shut` is zero; after each, in or out,
/// `items` or `space` is zero, or else `shm_queue_wake` is called, with no store moved down past that look by the compiler.
#[repr(C)]
pub struct shm_queue_inline {
    /// NULL, and all else zero, where there can be no inline code: the queue is not SPSC, or the kernel lacks what it takes.
    pub producer: *mut shm_queue_producer,
    /// NULL where `producer` is.
    pub consumer: *mut shm_queue_consumer,
    /// Nonzero once the queue is shut down.
    pub shut: *const u32,
    /// Nonzero while a consumer may be asleep.
    pub items: *const u32,
    /// Nonzero while a producer may be asleep.
    pub space: *const u32,
    /// The consumer's position, for successors.
    pub exact: *mut u64,
    /// The consumer's position, as the producer is told.
    pub head: *mut u64,
    /// The first line.
    pub slots: *mut u64,
    /// Behind the last line.
    pub end: *mut u64,
    /// Bytes from one line to the next.
    pub stride: u64,
    /// Bytes from a line to its first element.
    pub first: u64,
    /// Bytes from one element of a line to the next.
    pub step: u64,
    /// Elements to a line.
    pub per_line: u64,
    /// Elements between telling the producer.
    pub quarter: u64,
}

const _: () = {
    assert!(offset_of!(shm_queue_producer, element) == offset_of!(Producer, element));
    assert!(offset_of!(shm_queue_producer, stop) == offset_of!(Producer, stop));
    assert!(offset_of!(shm_queue_producer, word) == offset_of!(Producer, word));
    assert!(offset_of!(shm_queue_producer, value) == offset_of!(Producer, value));
    assert!(offset_of!(shm_queue_consumer, element) == offset_of!(Consumer, element));
    assert!(offset_of!(shm_queue_consumer, stop) == offset_of!(Consumer, stop));
    assert!(offset_of!(shm_queue_consumer, word) == offset_of!(Consumer, word));
    assert!(offset_of!(shm_queue_consumer, value) == offset_of!(Consumer, value));
    assert!(offset_of!(shm_queue_consumer, position) == offset_of!(Consumer, position));
    assert!(offset_of!(shm_queue_consumer, tell_at) == offset_of!(Consumer, tell_at));
    assert!(offset_of!(shm_queue_consumer, news) == offset_of!(Consumer, news));
};

/// For inline code: what `shm_queue_inline` says. `version` is the caller's SHM_INLINE_VERSION.
///
/// Errors: SHM_ERR_VERSION when this library's is another; then there is no inline code, and everything else works.
///
/// # Safety
/// `queue` is NULL or a handle; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_queue_get_inline(
    queue: Option<&shm_queue>,
    version: u32,
    out: *mut shm_queue_inline,
) -> shm_status {
    guard(|| {
        let (queue, out) = (&need(queue, "queue")?.raw, need_out(out, "out")?);
        if version != SHM_INLINE_VERSION {
            return Err(fail!(Version, "inline code of version {version}; this library's is {SHM_INLINE_VERSION}"));
        }
        // SAFETY: not NULL, and the caller's promise; numbers and pointers, which may be zero.
        unsafe { out.write(queue.inline().map_or_else(|| std::mem::zeroed(), |inline| translate(&inline))) };
        Ok(Status::Ok)
    })
}

fn translate(inline: &Inline<'_>) -> shm_queue_inline {
    let Inline { producer, consumer, control, placed, quarter } = inline;
    let (geometry, events) = (&placed.geometry, &control.events);
    shm_queue_inline {
        producer: producer.cast(),
        consumer: consumer.cast(),
        shut: (&raw const events.shut).cast(),
        items: events.items.waiters().cast(),
        space: events.space.waiters().cast(),
        exact: (&raw const control.exact.position).cast_mut().cast(),
        head: (&raw const *control.head).cast_mut().cast(),
        slots: (&raw const *placed.word(0)).cast_mut().cast(),
        end: placed.end().cast_mut().cast(),
        stride: geometry.stride as u64,
        first: geometry.first as u64,
        step: geometry.step as u64,
        per_line: geometry.per_line as u64,
        quarter: *quarter,
    }
}

/// For inline code: wakes whoever sleeps on the queue.
///
/// # Safety
/// `queue` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_queue_wake(queue: Option<&shm_queue>) -> shm_status {
    guard(|| {
        need(queue, "queue")?.raw.wake_all();
        Ok(Status::Ok)
    })
}
