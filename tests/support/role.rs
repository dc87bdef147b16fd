//! The peer in Rust. What it does is told in c-tests/support_peer.h.

use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

use shmds::{Queue, Result, Segment, SegmentOptions, Status};

use super::diary::{begins, succeeds};
use super::log::Log;
use super::peer::role_words;
use super::{Message, say, structures};

pub(super) const FOREVER: Duration = Duration::MAX;

/// How long the segment, and then the structure, may take to appear.
const PATIENCE: Duration = Duration::from_secs(5);

#[test]
#[ignore = "not a test: the process that tests start as their peer in Rust"]
fn role() {
    let Some(words) = role_words() else { return };
    println!();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let right = run(&words).unwrap_or_else(|error| {
        say(&format!("peer: {words:?}: {error}"));
        false
    });
    std::process::exit(i32::from(!right));
}

pub(super) fn number<T: FromStr<Err: std::fmt::Debug>>(word: &str) -> T {
    word.parse().unwrap()
}

/// How messages are moved.
#[derive(Clone, Copy)]
struct Style {
    bulk: usize,
    inplace: bool,
    pause: Duration,
}

impl Style {
    fn of(words: &[&str]) -> Self {
        let after = |option| words.iter().position(|word| *word == option).map(|at| words[at + 1]);
        Self {
            bulk: after("--bulk").map_or(1, number),
            inplace: words.contains(&"--inplace"),
            pause: Duration::from_micros(after("--pause-us").map_or(0, number)),
        }
    }

    fn pause(self) {
        if !self.pause.is_zero() {
            std::thread::sleep(self.pause);
        }
    }
}

/// Whether all went right.
fn run(words: &[&str]) -> Result<bool> {
    let [verb, segment, queue, rest @ ..] = words else { panic!("too few words: {words:?}") };
    let segment = find_segment(segment)?;
    assert!(segment.wait_for(queue, PATIENCE)?.is_some(), "there is no {queue}");
    if let Some(outcome) = structures::run(&segment, words) {
        return outcome;
    }
    let queue = Queue::<Message>::open(&segment, queue)?;
    let style = Style::of(rest);
    match (*verb, rest) {
        ("produce", [producer, count, ..]) => produce(&queue, number(producer), number(count), style),
        ("consume", [count, ..]) => consume(&queue, number(count), style),
        ("hold", [how]) => hold(&queue, how),
        ("storm-produce", [producer, first, log, ..]) => {
            storm_produce(&queue, number(producer), number(first), &Log::open(Path::new(log)), style)
        }
        ("storm-consume", [log, ..]) => storm_consume(&queue, &Log::open(Path::new(log)), style),
        _ => panic!("no such words: {words:?}"),
    }
}

fn find_segment(name: &str) -> Result<Segment> {
    let start = Instant::now();
    loop {
        match Segment::open(name, &SegmentOptions::new()) {
            Err(error) if error.status() == Status::NotFound && start.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(1));
            }
            other => return other,
        }
    }
}

/// `None` after a shutdown.
fn unless_closed<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if error.status() == Status::Closed => Ok(None),
        other => other.map(Some),
    }
}

/// False after a shutdown.
fn send(queue: &Queue<Message>, message: Message, inplace: bool) -> Result<bool> {
    if !inplace {
        return Ok(unless_closed(queue.enqueue_wait(&message, FOREVER))?.is_some());
    }
    let Some(claim) = unless_closed(queue.claim_wait(FOREVER))? else { return Ok(false) };
    let mut claim = claim.expect("waits for ever");
    claim.write(message);
    claim.commit()?;
    Ok(true)
}

fn produce(queue: &Queue<Message>, producer: u64, count: u64, style: Style) -> Result<bool> {
    let mut sequence = 0;
    while sequence < count {
        let some = (style.bulk as u64).min(count - sequence);
        if some > 1 {
            let messages: Vec<_> = (sequence..sequence + some).map(|s| Message::new(producer, s)).collect();
            assert_eq!(queue.enqueue_bulk_wait(&messages, FOREVER)?, messages.len());
        } else {
            assert!(send(queue, Message::new(producer, sequence), style.inplace)?, "shut down");
        }
        sequence += some;
        style.pause();
    }
    Ok(true)
}

#[derive(Default)]
struct Judge {
    next: std::collections::HashMap<u64, u64>,
    consumed: u64,
    lost_order: u64,
    bad: u64,
}

impl Judge {
    fn see(&mut self, message: &Message) {
        self.consumed += 1;
        if !message.is_whole() {
            self.bad += 1;
            return;
        }
        let next = self.next.entry(message.producer).or_default();
        self.lost_order += u64::from(message.sequence < *next);
        *next = message.sequence + 1;
    }
}

fn consume(queue: &Queue<Message>, count: u64, style: Style) -> Result<bool> {
    let mut judge = Judge::default();
    let mut buffer = vec![Message::new(0, 0); style.bulk];
    while count == 0 || judge.consumed < count {
        if style.inplace {
            let Some(peek) = unless_closed(queue.peek_wait(FOREVER))? else { break };
            judge.see(&peek.expect("waits for ever").read());
        } else if style.bulk == 1 {
            let Some(message) = unless_closed(queue.dequeue_wait(FOREVER))? else { break };
            judge.see(&message.expect("waits for ever"));
        } else {
            let want = if count == 0 { style.bulk } else { style.bulk.min((count - judge.consumed) as usize) };
            let Some(some) = unless_closed(queue.dequeue_bulk_wait(&mut buffer[..want], FOREVER))? else { break };
            buffer[..some].iter().for_each(|message| judge.see(message));
        }
        style.pause();
    }
    println!("consumed {} lost-order {} bad {}", judge.consumed, judge.lost_order, judge.bad);
    Ok(judge.lost_order == 0 && judge.bad == 0 && (count == 0 || judge.consumed == count))
}

fn hold(queue: &Queue<Message>, how: &str) -> Result<bool> {
    let held = match how {
        "claim" => {
            let mut claim = queue.claim_wait(FOREVER)?.expect("waits for ever");
            claim.write(Message::new(0xdead, 0));
            std::mem::forget(claim);
            "claim"
        }
        _ => {
            std::mem::forget(queue.peek_wait(FOREVER)?.expect("waits for ever"));
            "peek"
        }
    };
    println!("held {held}");
    loop {
        std::thread::park();
    }
}

fn storm_produce(queue: &Queue<Message>, producer: u64, first: u64, log: &Log, style: Style) -> Result<bool> {
    log.set(1, first);
    let mut sequence = first;
    loop {
        log.set(0, sequence);
        begins();
        if !send(queue, Message::new(producer, sequence), style.inplace)? {
            return Ok(true);
        }
        succeeds();
        sequence += 1;
        log.set(1, sequence);
    }
}

fn storm_consume(queue: &Queue<Message>, log: &Log, style: Style) -> Result<bool> {
    let append = |message: Message| {
        assert!(message.is_whole(), "a message with a wrong check: {message:?}");
        log.append(message.producer, message.sequence);
    };
    while log.has_room() {
        begins();
        if style.inplace {
            let Some(peek) = unless_closed(queue.peek_wait(FOREVER))? else { return Ok(true) };
            append(peek.expect("waits for ever").read());
        } else {
            let Some(message) = unless_closed(queue.dequeue_wait(FOREVER))? else { return Ok(true) };
            append(message.expect("waits for ever"));
        }
        succeeds();
    }
    say("peer: storm-consume: the log is full");
    std::process::exit(3)
}
