//! A block of data that is published and updated: the weather at four places. Readers get the newest one, whole, and wait for the next.
//!
//!     cargo run --example speculo_block publish NAME [MILLISECONDS]    a new block after so many (1000), in place of the former
//!     cargo run --example speculo_block watch NAME                     tells each new block, until the publisher goes
//!
//! The C, C++ and Rust versions of this program understand each other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shmds::Status;
use shmds::speculo::{Area, AreaOptions, Chunk, Reader, ReaderOptions};

type Outcome = Result<(), Box<dyn std::error::Error>>;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Place {
    name: [u8; 16], // ends at the first zero
    temperature: f64,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Weather {
    number: u64, // how many blocks there were
    places: [Place; 4],
}

static STOPPED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_signal(_: libc::c_int) {
    STOPPED.store(true, Ordering::Relaxed);
}

fn stopped() -> bool {
    STOPPED.load(Ordering::Relaxed)
}

fn weather(number: u64) -> Weather {
    let mut block = Weather { number, ..bytemuck::Zeroable::zeroed() };
    for (place, (name, i)) in block.places.iter_mut().zip(["Bern", "Genoa", "Oslo", "Porto"].iter().zip(0_u8..)) {
        place.name[..name.len()].copy_from_slice(name.as_bytes());
        place.temperature = (number % 30) as f64 + f64::from(i) * 0.25;
    }
    block
}

fn read(chunk: &Chunk) -> Result<Weather, &'static str> {
    bytemuck::try_pod_read_unaligned(&chunk.to_vec()).map_err(|_| "this is no weather")
}

fn publish(name: &str, period: Duration) -> Outcome {
    // Or goes on with what a publisher left when it was killed.
    let mut area = Area::create(name, &AreaOptions::new())?;
    let (mut id, mut number) = (0, 0);
    if let Some(former) = Reader::open(name, &ReaderOptions::new())?.next()? {
        (id, number) = (former.id(), read(&former)?.number);
    }
    while !stopped() {
        number += 1;
        let size = size_of::<Weather>() as u64;
        let draft = if id == 0 { area.allocate(size, 0)? } else { area.update(id, size)? };
        let mut draft = draft.ok_or("no room for a block")?;
        draft.write(0, bytemuck::bytes_of(&weather(number)))?; // seen by nobody yet
        id = draft.id();
        draft.commit()?; // seen by everybody, and it never changes again
        std::thread::sleep(period);
    }
    Ok(area.unlink()?)
}

fn watch(name: &str) -> Outcome {
    let mut reader = loop {
        match Reader::open(name, &ReaderOptions::new()) {
            Err(error) if error.status() == Status::NotFound && !stopped() => {
                std::thread::sleep(Duration::from_millis(20)); // the publisher is not there yet
            }
            Err(_) if stopped() => return Ok(()),
            reader => break reader?,
        }
    };
    while !stopped() {
        // After which it looks whether it was stopped.
        let chunk = match reader.next_wait(Duration::from_millis(100)) {
            Err(error) if error.status() == Status::Closed => break,
            chunk => chunk?,
        };
        let Some(chunk) = chunk else { continue };
        let block = read(&chunk)?; // the newest: blocks whose place was taken are passed over
        print!("{}:", block.number);
        for place in block.places {
            let name = place.name.split(|byte| *byte == 0).next().unwrap_or_default();
            print!(" {} {:.2}", String::from_utf8_lossy(name), place.temperature);
        }
        println!();
    }
    Ok(())
}

fn main() -> Outcome {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only stores to an atomic.
        unsafe { libc::signal(signal, on_signal as *const () as libc::sighandler_t) };
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["publish", name] => publish(name, Duration::from_secs(1)),
        ["publish", name, milliseconds] => publish(name, Duration::from_millis(milliseconds.parse()?)),
        ["watch", name] => watch(name),
        _ => Err("usage: speculo_block publish NAME [MILLISECONDS] | watch NAME".into()),
    }
}
