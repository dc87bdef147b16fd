//! Environments that a library meets outside of its makers' machines: too little room, limits, missing system calls, other users, namespaces,
//! names that go or are taken, signals without end, other versions. Each is a real one, made by the kernel for a child of the test; what
//! is asked for fails with the right status and a sentence that names the thing and the numbers, or works, and a failure leaves nothing.
//!
//! Where only root can make one, the test fails for others, unless they say by SHMDS_UNPRIVILEGED=1 that they know.

#[path = "../support/mod.rs"]
mod support;

mod calls;
mod limits;
mod names;
mod rights;
mod room;
mod signals;
mod versions;

use shmds::{ByteQueue, Segment};
use support::eventually;

/// So many participants live, and nobody else is in the books. While another test of this process starts another one, that is of the company, too.
#[track_caller]
fn only(segment: &Segment, count: u32) {
    eventually("only those are there", || {
        segment.reap().unwrap();
        segment.count() == count && segment.participants().len() == count as usize
    });
}

/// Commits these bytes to a stream; false when there is no room.
fn put(queue: &ByteQueue, bytes: &[u8]) -> bool {
    let Some(mut room) = queue.reserve(bytes.len()).unwrap() else { return false };
    room.write(0, bytes).unwrap();
    room.commit(bytes.len(), 0).unwrap();
    true
}

/// So many bytes of a stream, which are there.
fn take(queue: &ByteQueue, length: usize) -> Vec<u8> {
    let mut taken = Vec::new();
    let look = |bytes: *const u8, _| {
        // SAFETY: at least as many are shown.
        taken = unsafe { std::slice::from_raw_parts(bytes, length) }.to_vec();
        length
    };
    assert_eq!(queue.consume(length, look).unwrap(), Some(length));
    taken
}
