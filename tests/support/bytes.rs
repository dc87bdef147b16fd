//! The peer at a byte queue in Rust. What peers do is told in c-tests/support_bytes.h.

use std::time::Duration;

use shmds::{ByteQueue, Error, Result, Segment, SegmentOptions, Status};

use super::peer::play;

/// Flags of the table's entry, as docs/FORMAT.md has them.
const FRAMED: u32 = 1;
const TIMES: u32 = 2;

fn mix(mut word: u64) -> u64 {
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// How long message or piece `number` is: 1 to `most`.
fn length(seed: u64, number: u64, most: u64) -> usize {
    let random = mix(seed ^ number);
    let least = 1 << (random % u64::from(64 - most.leading_zeros()));
    (least + (random >> 32) % least).min(most) as usize
}

/// How many are reserved for so many.
fn reserved(length: usize, number: u64, longest: u64) -> usize {
    (length + (number % 50) as usize).min(longest as usize)
}

fn word(seed: u64, number: u64, nth: u64) -> u64 {
    let start = seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    start.wrapping_add((nth + 1).wrapping_mul(0xD1B5_4A32_D192_ED03))
}

/// Writes message `number`, and gives its tag.
fn write(bytes: &mut [u8], seed: u64, number: u64) -> u64 {
    let mut sum = number;
    for (part, nth) in bytes.chunks_mut(8).zip(0..) {
        let all = word(seed, number, nth).to_ne_bytes();
        part.copy_from_slice(&all[..part.len()]);
        sum = sum.wrapping_add(padded(part));
    }
    sum
}

fn padded(part: &[u8]) -> u64 {
    let mut all = [0; 8];
    all[..part.len()].copy_from_slice(part);
    u64::from_ne_bytes(all)
}

fn check(bytes: &[u8], tag: u64, seed: u64, number: u64, most: u64) {
    let mut sum = number;
    let mut same = bytes.len() == length(seed, number, most);
    for (part, nth) in bytes.chunks(8).zip(0..) {
        same &= *part == word(seed, number, nth).to_ne_bytes()[..part.len()];
        sum = sum.wrapping_add(padded(part));
    }
    assert!(same && tag == sum, "message {number} came with {} bytes and tag {tag}: torn, or another", bytes.len());
}

/// The stream's byte at `position`.
fn at(seed: u64, position: u64) -> u8 {
    (mix(word(seed, 0, position / 8)) >> (position % 8 * 8)) as u8
}

#[test]
#[ignore = "not a test: the process that tests start as their peer in Rust"]
fn bytes_role() {
    play(run);
}

struct Job {
    queue: ByteQueue,
    /// Messages, or bytes of a stream.
    count: u64,
    seed: u64,
    most: u64,
}

fn run(words: &[String]) -> Result<()> {
    let [verb, segment, count, seed, most] = words else { panic!("not five words: {words:?}") };
    let [count, seed, most] = [count, seed, most].map(|word| word.parse().unwrap());
    let segment = Segment::open(segment, &SegmentOptions::new())?;
    let queue = ByteQueue::open(&segment, "q")?;
    let framed = queue.entry().flags & FRAMED != 0;
    let job = Job { queue, count, seed, most };
    if verb == "send" {
        if framed { job.send_messages() } else { job.send_stream() }?;
        job.queue.end()?;
        assert!(closed(job.queue.reserve_wait(1, Duration::MAX).map(drop))?.is_none(), "after the end");
    } else {
        let (took, copied, batches) = if framed { job.take_messages() } else { job.take_stream() }?;
        assert_eq!(took, count, "the stream ended too early, or too late");
        println!("took {took} copied {copied} in batches {batches}");
    }
    Ok(())
}

/// `None` for what came to nothing because the stream has ended.
fn closed<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if is_closed(&error) => Ok(None),
        result => result.map(Some),
    }
}

fn is_closed(error: &Error) -> bool {
    error.status() == Status::Closed
}

impl Job {
    fn send_messages(&self) -> Result<()> {
        let longest = self.queue.longest();
        let mut buffer = vec![0; longest as usize];
        for number in 0..self.count {
            let length = length(self.seed, number, self.most);
            if number % 2 == 0 {
                let tag = write(&mut buffer[..length], self.seed, number);
                assert!(self.queue.send_wait(&buffer[..length], tag, Duration::MAX)?);
            } else {
                let mut room = self.queue.reserve_wait(reserved(length, number, longest), Duration::MAX)?.unwrap();
                // SAFETY: reserved.
                let bytes = unsafe { std::slice::from_raw_parts_mut(room.as_mut_ptr(), length) };
                let tag = write(bytes, self.seed, number);
                room.commit(length, tag)?;
            }
        }
        Ok(())
    }

    fn send_stream(&self) -> Result<()> {
        let (mut position, mut turn, longest) = (0, 0, self.queue.longest());
        while position < self.count {
            let length = length(self.seed, turn, self.most).min((self.count - position) as usize);
            let mut room = self.queue.reserve_wait(reserved(length, turn, longest), Duration::MAX)?.unwrap();
            // SAFETY: reserved.
            let bytes = unsafe { std::slice::from_raw_parts_mut(room.as_mut_ptr(), length) };
            for (byte, position) in bytes.iter_mut().zip(position..) {
                *byte = at(self.seed, position);
            }
            room.commit(length, 0)?;
            (position, turn) = (position + length as u64, turn + 1);
        }
        Ok(())
    }

    fn take_messages(&self) -> Result<(u64, u64, u64)> {
        let (mut number, mut copied, mut batches) = (0, 0, 0);
        let mut buffer = vec![0; self.queue.longest() as usize];
        let times = self.queue.entry().flags & TIMES != 0;
        let mut judge = |bytes: &[u8], tag| {
            check(bytes, tag, self.seed, number, self.most);
            number += 1;
        };
        while let Some(message) = closed(self.queue.receive_wait(Duration::MAX))? {
            let message = message.unwrap();
            // SAFETY: the producer keeps to the rules.
            judge(unsafe { message.as_slice() }, message.tag());
            assert_eq!(message.time() != 0, times);
            drop(message);
            if let Some(Some((length, tag))) = closed(self.queue.receive_into(&mut buffer))? {
                judge(&buffer[..length], tag);
                copied += 1;
            }
            let mut batch = self.queue.receive_batch()?;
            while let Some(Some(message)) = closed(batch.next())? {
                // SAFETY: as above.
                judge(unsafe { message.as_slice() }, message.tag());
                batches += 1;
            }
        }
        Ok((number, copied, batches))
    }

    fn take_stream(&self) -> Result<(u64, u64, u64)> {
        let (mut position, mut turn, mut least) = (0, 0, 1);
        loop {
            let look = |data, there: usize| {
                let part = if turn % 3 == 0 { there.div_ceil(2) } else { there };
                // SAFETY: so many are there, and the producer keeps to the rules.
                let bytes: &[u8] = unsafe { std::slice::from_raw_parts(data, part) };
                for (byte, position) in bytes.iter().zip(position..) {
                    assert_eq!(*byte, at(self.seed, position), "byte {position}");
                }
                part
            };
            match closed(self.queue.consume_wait(least, Duration::from_secs(1), look))? {
                None if least == 1 => return Ok((position, 0, 0)),
                None => least = 1, // so many will not come, but perhaps fewer
                Some(None) => {}
                Some(Some(part)) => {
                    position += part as u64;
                    least = length(self.seed, turn, self.queue.longest() / 2);
                    turn += 1;
                }
            }
        }
    }
}
