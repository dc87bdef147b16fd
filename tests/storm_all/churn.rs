//! Processes that make, open and remove structures and segments, attach and close, and end with as many descriptors and mappings
//! as they began with.

use std::path::Path;
use std::time::Duration;

use shmds::{Array, Pool, Queue, QueueOptions, Result, Segment, SegmentOptions, Span, Status};

use crate::support::diary::{begins, succeeds};
use crate::support::*;

/// Words of the log.
pub const ATTACHED: u64 = 0;
pub const REMOVED: u64 = 1;
pub const LOG_WORDS: u64 = 2;

#[test]
#[ignore = "not a test: a process of the storm"]
fn churner() {
    play(|words| {
        let [segment, log, number] = words else { panic!("not three words: {words:?}") };
        let segment = Segment::open(segment, &SegmentOptions::new())?;
        let mut churner =
            Churner { segment, log: Log::open(Path::new(log)), own: format!("own-{number}"), random: Random::new() };
        churner.turn(true)?;
        let had = has(churner.segment.name());
        loop {
            for _ in 0..32 {
                churner.turn(false)?;
            }
            assert_eq!(has(churner.segment.name()), had, "descriptors and mappings");
        }
    });
}

/// How many descriptors a process has, and how many mappings of what has a name like this.
pub fn has(name: &str) -> (usize, usize) {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    (descriptors, maps.lines().filter(|line| line.contains(name)).count())
}

/// `None` for an outcome that another churner may have brought about.
fn unless<T>(result: Result<T>, others: &[Status]) -> Result<Option<T>> {
    match result {
        Err(error) if others.contains(&error.status()) => Ok(None),
        result => result.map(Some),
    }
}

struct Churner {
    segment: Segment,
    log: Log,
    own: String,
    random: Random,
}

impl Churner {
    fn count(&self, word: u64) {
        self.log.set(word, self.log.get(word) + 1);
    }

    /// One of the things it does, or all of them.
    fn turn(&mut self, all: bool) -> Result<()> {
        let one = self.random.below(7);
        for (nth, does) in [Self::share, Self::remove, Self::span, Self::attach, Self::look, Self::place, Self::pool]
            .into_iter()
            .enumerate()
        {
            if all || nth as u64 == one {
                begins();
                does(self)?;
                succeeds();
            }
        }
        Ok(())
    }

    fn shared(&mut self) -> String {
        format!("churn-{}", self.random.below(4))
    }

    /// Uses a queue that others make, use and remove at the same time.
    fn share(&mut self) -> Result<()> {
        let name = self.shared();
        let queue = if self.random.below(2) == 0 {
            Queue::<Message>::create(&self.segment, &name, &QueueOptions::new(8))?
        } else {
            let Some(queue) = unless(Queue::<Message>::open(&self.segment, &name), &[Status::NotFound])? else {
                return Ok(());
            };
            queue
        };
        let _ = queue.enqueue(&Message::new(7, 8))?;
        if let Some(message) = queue.dequeue()? {
            assert!(message.is_whole(), "{message:?}");
        }
        Ok(())
    }

    fn remove(&mut self) -> Result<()> {
        let name = self.shared();
        if unless(self.segment.remove(&name), &[Status::NotFound])?.is_some() {
            self.count(REMOVED);
        }
        Ok(())
    }

    /// Memory that nobody else may have.
    fn span(&mut self) -> Result<()> {
        let seed = self.random.next();
        let bytes = 1 + self.random.below(20_000);
        let span = Span::create(&self.segment, &self.own, bytes, 64, true)?;
        let fill = |at| byte(seed, at);
        for at in 0..bytes {
            // SAFETY: inside a span that is ours.
            unsafe { span.as_ptr().add(at as usize).write(fill(at)) };
        }
        let found = self.segment.find(&self.own)?.expect("it is there");
        assert_eq!(found.users, 1);
        self.segment.remove(&self.own)?;
        // SAFETY: as above; it stays ours until it is closed.
        let same = (0..bytes).all(|at| unsafe { span.as_ptr().add(at as usize).read() } == fill(at));
        assert!(same, "somebody wrote to a span of {bytes} bytes that nobody else knows");
        self.count(REMOVED);
        Ok(())
    }

    fn attach(&mut self) -> Result<()> {
        let options = SegmentOptions::new();
        let options = if self.random.below(2) == 0 { options.read_only() } else { options };
        let another = Segment::open(self.segment.name(), &options)?;
        assert!(another.count() >= 1);
        let _ = unless(Array::<u64>::open(&another, "array"), &[Status::NotFound])?;
        self.count(ATTACHED);
        Ok(())
    }

    fn look(&mut self) -> Result<()> {
        let entries = self.segment.entries().count() as u32;
        let stats = self.segment.stats()?;
        assert!(stats.used + stats.free <= stats.size && entries <= stats.entries_used + stats.entries_free);
        assert!(self.segment.participants().iter().any(|one| one.is_self));
        self.segment.reap()?;
        Ok(())
    }

    /// A segment of its own, as short as it can be.
    fn place(&mut self) -> Result<()> {
        let name = format!("{}-{}", self.segment.name(), self.own);
        let segment = Segment::create(&name, &SegmentOptions::new().size(64 << 10).exclusive())?;
        let queue = Queue::<u64>::create(&segment, "q", &QueueOptions::new(8).spsc())?;
        assert!(queue.enqueue(&1)? && queue.dequeue_wait(Duration::MAX)? == Some(1));
        if self.random.below(2) == 0 {
            Segment::unlink(&name)?;
        }
        drop((queue, segment));
        assert!(!Name::path_of(&name).exists(), "the last one takes it away");
        self.count(ATTACHED);
        self.count(REMOVED);
        Ok(())
    }

    /// Objects that their owner does not give back: those who look after the dead do.
    fn pool(&mut self) -> Result<()> {
        let pool = Pool::<Object>::create_with(&self.segment, &self.own, 8, 0, true)?;
        let taken = pool.acquire_batch(1 + self.random.below(8) as usize)?;
        assert_eq!(pool.stats().available, 8 - taken.len() as u64);
        self.segment.remove(&self.own)?;
        self.count(REMOVED);
        Ok(())
    }
}
