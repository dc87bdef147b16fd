//! The contenders, all behind one pair of traits.

use std::ffi::{CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::null_mut;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use shmds::{Queue, QueueOptions, Segment, SegmentOptions};

use crate::case::Mode;
use crate::{CAPACITY, Message};

pub trait Sender<M> {
    /// False when there is no room.
    fn send(&mut self, message: &M) -> bool;
}

pub trait Receiver<M> {
    fn receive(&mut self) -> Option<M>;
}

/// What the contenders ask of a message's type.
#[cfg(feature = "iceoryx2")]
pub trait Sendable: iceoryx2::prelude::ZeroCopySend + std::fmt::Debug + Copy + Send + 'static {}
#[cfg(feature = "iceoryx2")]
impl<T: iceoryx2::prelude::ZeroCopySend + std::fmt::Debug + Copy + Send + 'static> Sendable for T {}

#[cfg(not(feature = "iceoryx2"))]
pub trait Sendable: std::fmt::Debug + Copy + Send + 'static {}
#[cfg(not(feature = "iceoryx2"))]
impl<T: std::fmt::Debug + Copy + Send + 'static> Sendable for T {}

const SEGMENT_SIZE: u64 = 4 << 20;

/// The segment of one measurement: both sides create it, and whoever comes second attaches.
pub fn segment(name: &str) -> Segment {
    Segment::create(name, &SegmentOptions::new().size(SEGMENT_SIZE)).expect("a segment")
}

/// An end of one of our queues.
pub struct Ours<M> {
    pub queue: Queue<M>,
}

impl<M: Message> Ours<M> {
    pub fn new(segment: &Segment, name: &str, mode: Mode) -> Self {
        let options = QueueOptions::new(CAPACITY as u64);
        let options = if mode == Mode::Spsc { options.spsc() } else { options };
        Self { queue: Queue::create(segment, name, &options).expect("a queue") }
    }
}

impl<M: Message> Sender<M> for Ours<M> {
    #[inline(always)]
    fn send(&mut self, message: &M) -> bool {
        self.queue.enqueue(message).expect("a working queue")
    }
}

impl<M: Message> Receiver<M> for Ours<M> {
    #[inline(always)]
    fn receive(&mut self) -> Option<M> {
        self.queue.dequeue().expect("a working queue")
    }
}

// From include/shmds.h: what a C program calls. The functions are in the same library as the Rust face.
#[repr(C)]
struct QueueOptionsC {
    struct_size: u32,
    flags: u32,
    capacity: u64,
    elem_size: u64,
    elem_align: u32,
    reserved: u32,
    type_tag: u64,
}

unsafe extern "C" {
    fn shm_open_segment(name: *const c_char, size: u64, out: *mut *mut c_void) -> c_int;
    fn shm_segment_close(segment: *mut c_void) -> c_int;
    fn shm_queue_options_init(options: *mut QueueOptionsC) -> c_int;
    fn shm_queue_create(
        segment: *mut c_void,
        name: *const c_char,
        options: *const QueueOptionsC,
        out: *mut *mut c_void,
    ) -> c_int;
    fn shm_queue_close(queue: *mut c_void) -> c_int;
    fn shm_queue_enqueue(queue: *mut c_void, element: *const c_void) -> c_int;
    fn shm_queue_dequeue(queue: *mut c_void, element: *mut c_void) -> c_int;
}

const SHM_SPSC: u32 = 256;

/// An end of one of our queues, in C.
pub struct OursC<M> {
    segment: *mut c_void,
    queue: *mut c_void,
    message: PhantomData<M>,
}

// SAFETY: handles may go from thread to thread.
unsafe impl<M> Send for OursC<M> {}

impl<M> OursC<M> {
    pub fn new(segment_name: &str, name: &str, mode: Mode) -> Self {
        let (mut segment, mut queue) = (null_mut(), null_mut());
        let mut options = QueueOptionsC {
            struct_size: 0,
            flags: 0,
            capacity: 0,
            elem_size: 0,
            elem_align: 0,
            reserved: 0,
            type_tag: 0,
        };
        let (segment_name, name) = (CString::new(segment_name).unwrap(), CString::new(name).unwrap());
        // SAFETY: as declared in the header; all pointers are valid.
        unsafe {
            assert_eq!(shm_queue_options_init(&mut options), 0);
            assert_eq!(options.struct_size as usize, size_of::<QueueOptionsC>());
            options.flags = if mode == Mode::Spsc { SHM_SPSC } else { 0 };
            options.capacity = CAPACITY as u64;
            options.elem_size = size_of::<M>() as u64;
            options.elem_align = align_of::<M>() as u32;
            assert_eq!(shm_open_segment(segment_name.as_ptr(), SEGMENT_SIZE, &mut segment), 0);
            assert_eq!(shm_queue_create(segment, name.as_ptr(), &options, &mut queue), 0);
        }
        Self { segment, queue, message: PhantomData }
    }
}

impl<M> Drop for OursC<M> {
    fn drop(&mut self) {
        // SAFETY: both were opened by us and are closed once.
        unsafe {
            shm_queue_close(self.queue);
            shm_segment_close(self.segment);
        }
    }
}

impl<M: Message> Sender<M> for OursC<M> {
    #[inline(always)]
    fn send(&mut self, message: &M) -> bool {
        // SAFETY: an open handle, and an element of its size.
        let status = unsafe { shm_queue_enqueue(self.queue, std::ptr::from_ref(message).cast()) };
        assert!(status >= 0, "a working queue");
        status == 0
    }
}

impl<M: Message> Receiver<M> for OursC<M> {
    #[inline(always)]
    fn receive(&mut self) -> Option<M> {
        let mut message = M::zeroed();
        // SAFETY: an open handle, and room for an element of its size.
        let status = unsafe { shm_queue_dequeue(self.queue, std::ptr::from_mut(&mut message).cast()) };
        assert!(status >= 0, "a working queue");
        (status == 0).then_some(message)
    }
}

impl<M: Message> Sender<M> for rtrb::Producer<M> {
    #[inline(always)]
    fn send(&mut self, message: &M) -> bool {
        self.push(*message).is_ok()
    }
}

impl<M: Message> Receiver<M> for rtrb::Consumer<M> {
    #[inline(always)]
    fn receive(&mut self) -> Option<M> {
        self.pop().ok()
    }
}

impl<M: Message> Sender<M> for Arc<ArrayQueue<M>> {
    #[inline(always)]
    fn send(&mut self, message: &M) -> bool {
        self.push(*message).is_ok()
    }
}

impl<M: Message> Receiver<M> for Arc<ArrayQueue<M>> {
    #[inline(always)]
    fn receive(&mut self) -> Option<M> {
        self.pop()
    }
}
