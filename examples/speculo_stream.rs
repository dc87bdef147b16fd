//! A stream of messages that expire. Every sender writes to an area of its own; a reader merges them, in the order of time.
//!
//!     cargo run --example speculo_stream send STREAM SENDER [SECONDS]    each line of standard input is a message, valid for so long (10)
//!     cargo run --example speculo_stream merge STREAM                    tells the messages of all senders, also of those that come later
//!
//! The C, C++ and Rust versions of this program understand each other.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use shmds::Status;
use shmds::speculo::{Area, AreaOptions, Reader, ReaderOptions, now};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const SECOND: u64 = 1_000_000_000;
/// A message is told when no sender is about to commit an older one any more.
const DELAY: u64 = SECOND / 20;
const NAP: Duration = Duration::from_millis(5);

static STOPPED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_signal(_: libc::c_int) {
    STOPPED.store(true, Ordering::Relaxed);
}

fn stopped() -> bool {
    STOPPED.load(Ordering::Relaxed)
}

fn send(stream: &str, sender: &str, valid: u64) -> Outcome {
    // Or goes on with what a sender of this name left when it was killed.
    let mut area = Area::create(&format!("{stream}.{sender}"), &AreaOptions::new())?;
    // A thread of their own, because Rust does not let a signal end the wait for a line.
    let (put, lines) = sync_channel(0);
    std::thread::spawn(move || std::io::stdin().lines().try_for_each(|line| put.send(line)));
    let mut over = 0;
    while !stopped() {
        let line = match lines.recv_timeout(NAP) {
            Ok(line) => line?,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        loop {
            let sent = now();
            over = sent + valid;
            let message = [&sent.to_ne_bytes(), line.as_bytes()].concat();
            if area.write(&message, over)?.is_some() || stopped() {
                break;
            }
            std::thread::sleep(NAP); // until older messages have expired
        }
    }
    while !stopped() && now() < over {
        std::thread::sleep(NAP); // who comes later is to read them, too
    }
    Ok(area.unlink()?)
}

/// A sender's area, and the next message in it: when it was sent, and its text.
struct Source {
    reader: Reader,
    head: Option<(u64, Vec<u8>)>,
}

type Sources = BTreeMap<String, Source>;

fn split(bytes: &[u8]) -> (u64, Vec<u8>) {
    bytes.split_first_chunk().map_or_else(Default::default, |(sent, text)| (u64::from_ne_bytes(*sent), text.to_vec()))
}

fn discover(sources: &mut Sources, prefix: &str) -> shmds::Result<()> {
    let mut names = Area::list(prefix, &AreaOptions::new())?;
    names.retain(|name| !sources.contains_key(name));
    for name in names {
        match Reader::open(&name, &ReaderOptions::new()) {
            Err(error) if error.status() == Status::NotFound => {} // gone meanwhile
            reader => drop(sources.insert(name, Source { reader: reader?, head: None })),
        }
    }
    Ok(())
}

/// Takes the oldest of all messages, if it was sent until `due`: the area's name, and the text.
fn take(sources: &mut Sources, due: u64) -> shmds::Result<Option<(String, Vec<u8>)>> {
    let mut gone = Vec::new();
    for (name, source) in sources.iter_mut().filter(|(_, source)| source.head.is_none()) {
        match source.reader.next() {
            Err(error) if error.status() == Status::Closed => gone.push(name.clone()), // and everything is read
            chunk => source.head = chunk?.map(|chunk| split(&chunk.to_vec())),
        }
    }
    gone.iter().for_each(|name| drop(sources.remove(name)));
    let heads = sources.iter_mut().filter_map(|(name, source)| Some((source.head.as_ref()?.0, name, source)));
    let oldest = heads.min_by_key(|(sent, ..)| *sent).filter(|(sent, ..)| *sent <= due);
    Ok(oldest.and_then(|(_, name, source)| Some((name.clone(), source.head.take()?.1))))
}

fn merge(stream: &str) -> Outcome {
    let prefix = format!("{stream}.");
    let (mut sources, mut out) = (Sources::new(), std::io::stdout().lock());
    while !stopped() {
        let due = now() - DELAY; // before it looks who is there: all that was committed until now is found
        discover(&mut sources, &prefix)?;
        while let (false, Some((name, text))) = (stopped(), take(&mut sources, due)?) {
            write!(out, "{}: ", &name[prefix.len()..])?;
            out.write_all(&text)?;
            writeln!(out)?;
        }
        std::thread::sleep(NAP); // nothing would be told sooner if it waited at an area (next_wait): the delay is longer
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
        ["send", stream, sender] => send(stream, sender, 10 * SECOND),
        ["send", stream, sender, seconds] => send(stream, sender, seconds.parse::<u64>()? * SECOND),
        ["merge", stream] => merge(stream),
        _ => Err("usage: speculo_stream send STREAM SENDER [SECONDS] | merge STREAM".into()),
    }
}
