//! Greetings between processes. Run `cargo run --example hello send` in one terminal and `… hello receive` in another,
//! in either order; the C, C++ and Rust versions of this program understand each other.

use shmds::{Queue, QueueOptions, Segment, SegmentOptions};
use std::time::Duration;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::AnyBitPattern)]
struct Greeting {
    number: u64,
    text: [u8; 24], // ends at the first zero
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ten_seconds = Duration::from_secs(10);
    let sending = std::env::args().nth(1).is_some_and(|word| word == "send");
    let segment = Segment::create("hello", &SegmentOptions::new().size(1 << 20))?; // whoever comes first creates it
    if sending {
        segment.wait_for("greetings", ten_seconds)?.ok_or("nobody listens")?;
    }

    let queue = Queue::<Greeting>::create(&segment, "greetings", &QueueOptions::new(16))?; // attaches if it is there
    for number in 1..=3 {
        if sending {
            let mut text = [0; 24];
            text[..15].copy_from_slice(b"hello from Rust");
            assert!(queue.enqueue(&Greeting { number, text })?, "the queue is full");
            println!("sent {number}");
        } else {
            let greeting = queue.dequeue_wait(ten_seconds)?.ok_or("nobody sends")?;
            let text = String::from_utf8_lossy(&greeting.text);
            println!("received {}: {}", greeting.number, text.trim_end_matches('\0'));
        }
    }
    Ok(()) // the last to leave takes the segment away
}
