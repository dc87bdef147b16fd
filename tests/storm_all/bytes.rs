//! The two ends of a byte queue that can be killed and succeeded at any message.

use std::path::Path;
use std::time::Duration;

use shmds::{ByteQueue, Result, Segment, SegmentOptions};

use crate::support::diary::{begins, succeeds};
use crate::support::*;

/// Beside the messages in a taker's log, its last word: what it is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    Nothing,
    /// It looks at a message in place: that comes again if it dies, unless it has just been given back.
    InPlace,
    /// It copies one: that was given back before the call returned.
    Copying,
}

impl Holding {
    const ALL: [Self; 3] = [Self::Nothing, Self::InPlace, Self::Copying];

    pub fn of(log: &Log) -> Self {
        Self::ALL[log.get(log.words() - 1) as usize]
    }

    fn note(self, log: &Log) {
        log.set(log.words() - 1, self as u64);
    }
}

fn length(sequence: u64) -> usize {
    (sequence.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 50) as usize % 900
}

fn contents(message: &Message) -> Vec<u8> {
    let mut bytes = [message.producer, message.sequence].map(u64::to_le_bytes).concat();
    bytes.extend((0..length(message.sequence) as u64).map(|at| byte(message.check, at)));
    bytes
}

/// The producer and the sequence of a message that is whole.
pub fn judge(bytes: &[u8], tag: u64) -> (u64, u64) {
    assert!(bytes.len() >= 16, "{} bytes", bytes.len());
    let message = Message::new(word(bytes, 0), word(bytes, 8));
    assert!(tag == message.check && bytes == contents(&message), "torn, or another: {message:?}, {}", bytes.len());
    (message.producer, message.sequence)
}

#[test]
#[ignore = "not a test: a process of the storm"]
fn bytes_end() {
    play(|words| {
        let [verb, segment, log, producer] = words else { panic!("not four words: {words:?}") };
        let segment = Segment::open(segment, &SegmentOptions::new())?;
        let (queue, log) = (ByteQueue::open(&segment, "bytes")?, Log::open(Path::new(log)));
        if verb == "send" { send(&queue, &log, producer.parse().unwrap()) } else { take(&queue, &log) }
    });
}

fn send(queue: &ByteQueue, log: &Log, producer: u64) -> Result<()> {
    for sequence in 0.. {
        let message = Message::new(producer, sequence);
        let bytes = contents(&message);
        log.set(0, sequence);
        begins();
        if sequence % 3 == 0 {
            let mut room = queue.reserve_wait(bytes.len() + 40, Duration::MAX)?.unwrap();
            room.write(0, &bytes)?;
            room.commit(bytes.len(), message.check)?;
        } else {
            assert!(queue.send_wait(&bytes, message.check, Duration::MAX)?);
        }
        succeeds();
        log.set(1, sequence + 1);
    }
    Ok(())
}

fn take(queue: &ByteQueue, log: &Log) -> Result<()> {
    let mut buffer = vec![0; queue.longest() as usize];
    for turn in 0_u64.. {
        begins();
        Holding::InPlace.note(log);
        let message = queue.receive_wait(Duration::MAX)?.unwrap();
        // SAFETY: the producer keeps to the rules.
        let (producer, sequence) = judge(unsafe { message.as_slice() }, message.tag());
        log.append(producer, sequence);
        drop(message);
        succeeds();
        if turn.is_multiple_of(2) {
            Holding::Copying.note(log);
            if let Some((length, tag)) = queue.receive_into(&mut buffer)? {
                let (producer, sequence) = judge(&buffer[..length], tag);
                log.append(producer, sequence);
            }
        }
        Holding::Nothing.note(log);
    }
    Ok(())
}
