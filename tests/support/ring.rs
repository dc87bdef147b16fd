//! A ring among processes: the peer in Rust, and what tests need to set up. What peers do is told in
//! c-tests/support_ring.h.

use std::sync::atomic::Ordering;
use std::time::Duration;

use shmds::{Array, Atomic, Result, Ring, RingOptions, RingStart, Segment, SegmentOptions};

use super::diary::{begins, succeeds};
use super::files::Name;
use super::peer::{Language, Peer, play};

const LOOK: Duration = Duration::from_millis(20);

/// What goes through the ring: every word depends on the position and on who wrote it, and the last on all the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::AnyBitPattern)]
#[repr(C)]
pub struct Sample(pub [u64; 8]);

impl Sample {
    fn sum(&self) -> u64 {
        self.0[..7].iter().fold(0, |sum, word| sum.wrapping_add(*word))
    }

    pub fn new(position: u64, writer: u64) -> Self {
        let word = |nth: u64| position.wrapping_add(writer) ^ nth << 40;
        let mut sample = Self([position, writer, word(2), word(3), word(4), word(5), word(6), 0]);
        sample.0[7] = sample.sum();
        sample
    }

    /// Whether it is whole, and the sample of that position.
    pub fn is(&self, position: u64) -> bool {
        let mut wrong = (self.0[0] ^ position) | (self.0[7] ^ self.sum());
        for nth in 2..7 {
            wrong |= self.0[nth] ^ position.wrapping_add(self.0[1]) ^ (nth as u64) << 40;
        }
        wrong == 0
    }
}

/// A segment with a ring "r", its end and its log.
pub struct Stage {
    pub ring: Ring<Sample>,
    pub log: Array<u64>,
    pub end: Atomic<u64>,
    pub segment: Segment,
    pub name: Name,
}

impl Stage {
    /// `marks`: for how many positions it is noted that they were handed out.
    pub fn new(options: &RingOptions, marks: u64) -> Self {
        let name = Name::new();
        let size = SegmentOptions::new().size(options.bytes::<Sample>().unwrap() + marks * 8 + (1 << 20));
        let segment = Segment::create(&name, &size.exclusive()).unwrap();
        let ring = Ring::create(&segment, "r", options).unwrap();
        let end = Atomic::create(&segment, "end", 0).unwrap();
        let log = Array::create(&segment, "log", 8 + marks).unwrap();
        Self { ring, log, end, segment, name }
    }

    pub fn start(&self, language: Language, verb: &str, bulk: u64, pause_us: u64) -> Peer {
        let mut peer = language.start_ring(&format!("{verb} {} {bulk} {pause_us}", self.name));
        if verb != "push" {
            peer.line("ready");
        }
        peer
    }

    /// Everybody stops at this position.
    pub fn set_end(&self, position: u64) {
        self.end.store(position, Ordering::Release).unwrap();
    }

    pub fn written(&self) -> u64 {
        self.ring.stats().unwrap().written
    }
}

/// How many samples a peer says it got, and how many it lost.
#[track_caller]
pub fn verdict(peer: Peer) -> (u64, u64) {
    let said = peer.finish();
    let line = said.lines().find(|line| line.starts_with("got ")).unwrap_or_else(|| panic!("no verdict: {said}"));
    let words: Vec<&str> = line.split(' ').collect();
    (words[1].parse().unwrap(), words[3].parse().unwrap())
}

#[test]
#[ignore = "not a test: the process that tests start as their peer in Rust"]
fn ring_role() {
    play(run);
}

struct Job {
    ring: Ring<Sample>,
    log: Array<u64>,
    end: Atomic<u64>,
    bulk: u64,
    pause: Duration,
    buffer: Vec<Sample>,
}

fn run(words: &[String]) -> Result<()> {
    let [verb, segment, bulk, pause_us] = words else { panic!("not four words: {words:?}") };
    let segment = Segment::open(segment, &SegmentOptions::new())?;
    let bulk: u64 = bulk.parse().unwrap();
    let mut job = Job {
        ring: Ring::open(&segment, "r")?,
        log: Array::open(&segment, "log")?,
        end: Atomic::open(&segment, "end")?,
        bulk,
        pause: Duration::from_micros(pause_us.parse().unwrap()),
        buffer: vec![Sample([0; 8]); bulk as usize],
    };
    match verb.as_str() {
        "push" => job.push(),
        "pop" => job.pop(),
        "poll" => job.follow(false),
        "wait" => job.follow(true),
        _ => panic!("no such word: {verb}"),
    }
}

/// Where someone who takes samples is.
#[derive(Default)]
struct Judge {
    next: u64,
    got: u64,
    lost: u64,
}

impl Judge {
    fn see(&mut self, samples: &[Sample], lost: u64) {
        self.next += lost;
        self.lost += lost;
        for (nth, sample) in samples.iter().enumerate() {
            let position = self.next + nth as u64;
            assert!(sample.is(position), "sample {position} is torn, or another: {sample:?}");
        }
        self.next += samples.len() as u64;
        self.got += samples.len() as u64;
    }

    fn verdict(&self) {
        println!("got {} lost {}", self.got, self.lost);
    }
}

impl Job {
    fn pause(&self) {
        if !self.pause.is_zero() {
            std::thread::sleep(self.pause);
        }
    }

    fn is_over(&self, next: u64) -> Result<bool> {
        let end = self.end.load(Ordering::Acquire)?;
        Ok(end != 0 && next == end)
    }

    fn push(&mut self) -> Result<()> {
        let own = u64::from(std::process::id());
        let end = self.end.load(Ordering::Acquire)?;
        let mut next = self.ring.stats()?.written;
        while end == 0 || next < end {
            let mut count = 1 + (next.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) % self.bulk;
            if end != 0 {
                count = count.min(end - next);
            }
            let samples = &mut self.buffer[..count as usize];
            for (position, sample) in (next..).zip(samples.iter_mut()) {
                *sample = Sample::new(position, own);
            }
            next += count;
            self.log.set(0, next)?;
            begins();
            if let [sample] = samples {
                assert!(self.ring.push_wait(sample, Duration::MAX)?);
            } else {
                assert_eq!(self.ring.push_bulk_wait(samples, Duration::MAX)?, samples.len());
            }
            succeeds();
            self.log.set(1, next)?;
            self.pause();
        }
        Ok(())
    }

    fn pop(&mut self) -> Result<()> {
        let stats = self.ring.stats()?;
        let (mut judge, mut lost) = (Judge { next: stats.read + stats.lost, ..Judge::default() }, stats.lost);
        println!("ready");
        while !self.is_over(judge.next)? {
            begins();
            let count = if self.bulk == 1 {
                self.ring.pop_wait(LOOK)?.into_iter().map(|sample| self.buffer[0] = sample).count()
            } else {
                self.ring.pop_bulk_wait(&mut self.buffer, LOOK)?
            };
            // Nobody else changes it: we are the consumer.
            let now = self.ring.stats()?.lost;
            if count > 0 {
                succeeds();
            }
            judge.see(&self.buffer[..count], now - std::mem::replace(&mut lost, now));
            for position in judge.next - count as u64..judge.next {
                let at = position as usize + 8;
                if at < self.log.len() {
                    self.log.set(at, self.log.get(at)? + 1)?;
                }
            }
            self.pause();
        }
        judge.verdict();
        Ok(())
    }

    fn follow(&mut self, waits: bool) -> Result<()> {
        let (mut reader, mut judge) = (self.ring.reader(RingStart::At(0))?, Judge::default());
        println!("ready");
        while !self.is_over(judge.next)? {
            let before = reader.lost();
            begins();
            let count = if waits {
                reader.read_bulk_wait(&mut self.buffer, LOOK)?
            } else if self.bulk == 1 {
                reader.read()?.into_iter().map(|sample| self.buffer[0] = sample).count()
            } else {
                reader.read_bulk(&mut self.buffer)?
            };
            if count == 0 {
                std::thread::yield_now();
            } else {
                succeeds();
            }
            judge.see(&self.buffer[..count], reader.lost() - before);
            self.pause();
        }
        assert_eq!((reader.position(), reader.total_read(), reader.lost()), (judge.next, judge.got, judge.lost));
        judge.verdict();
        Ok(())
    }
}
