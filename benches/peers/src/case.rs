//! What is measured.

use std::fmt;

/// Elements moved by one call where calls move several.
pub const BULK: usize = 32;
/// Elements that queues have room for unless a case says otherwise.
pub const CAPACITY: usize = 1024;

/// A number among a structure's kinds of use; the words are what workers are told.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            pub fn of(word: &str) -> Self {
                match word { $($word => Self::$variant,)* _ => panic!("there is no {word}") }
            }
        }
    };
}

words! {
    Mode { Spsc = "SPSC", Mpmc = "MPMC", }
}

words! {
    Test {
        /// A stream from producers to consumers.
        Throughput = "throughput",
        /// What a stream would be if its ends never met: one fills the queue, then the other empties it.
        Apart = "apart",
        /// There and back between two cores, both spinning.
        RoundTrip = "round-trip",
        /// There and back, both asleep in between.
        WakeUp = "wake-up",
        /// One way, at irregular moments, to a receiver that waits by the library's own rule.
        HandOver = "hand-over",
        /// One writer, readers that each get everything; the writer does not wait for them.
        Ring = "ring",
        /// One enqueue and one dequeue by the same thread.
        Pair = "pair",
        /// What a pair costs more on a queue where somebody slept once.
        Slept = "slept",
        /// Acquire and release.
        Pool = "pool",
        Load = "load",
        Add = "add",
        /// A name among `capacity` names.
        Lookup = "lookup",
        /// A segment of `bytes` bytes.
        Create = "create",
        Open = "open",
    }
}

/// One question: a group of rows in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    pub test: Test,
    pub mode: Mode,
    pub bytes: usize,
    pub capacity: usize,
    pub producers: usize,
    pub consumers: usize,
    /// Elements a call moves.
    pub bulk: usize,
}

impl Case {
    const fn new(test: Test, mode: Mode, bytes: usize) -> Self {
        Self { test, mode, bytes, capacity: CAPACITY, producers: 1, consumers: 1, bulk: 1 }
    }

    const fn capacity(self, capacity: usize) -> Self {
        Self { capacity, ..self }
    }

    const fn between(self, producers: usize, consumers: usize) -> Self {
        Self { producers, consumers, ..self }
    }

    const fn bulk(self) -> Self {
        Self { bulk: BULK, ..self }
    }

    pub fn all() -> Vec<Self> {
        use Mode::{Mpmc, Spsc};
        use Test::{
            Add, Apart, Create, HandOver, Load, Lookup, Open, Pair, Pool, Ring, RoundTrip, Slept, Throughput, WakeUp,
        };
        let mut all = Vec::new();
        for mode in [Spsc, Mpmc] {
            for test in [Throughput, RoundTrip, Pair] {
                all.extend([8, 64, 256].map(|bytes| Self::new(test, mode, bytes)));
            }
            all.push(Self::new(Throughput, mode, 8).bulk());
            all.push(Self::new(Pair, mode, 8).bulk());
            all.extend([8, 64].map(|bytes| Self::new(Throughput, mode, bytes).capacity(65536)));
        }
        all.extend([64, 256].map(|bytes| Self::new(Throughput, Spsc, bytes).bulk()));
        all.extend([8, 64, 256].map(|bytes| Self::new(Apart, Spsc, bytes)));
        all.push(Self::new(Throughput, Spsc, 256).capacity(65536));
        for both in [2, 4] {
            all.extend([8, 64].map(|bytes| Self::new(Throughput, Mpmc, bytes).between(both, both)));
        }
        for readers in [1, 4] {
            all.extend([8, 64].map(|bytes| Self::new(Ring, Spsc, bytes).between(1, readers)));
        }
        all.extend([WakeUp, HandOver, Slept].map(|test| Self::new(test, Spsc, 8)));
        let pool = Self::new(Pool, Mpmc, 64);
        all.extend([pool, pool.bulk(), Self::new(Load, Mpmc, 8), Self::new(Add, Mpmc, 8)]);
        all.extend([1, 64, 1024].map(|names| Self::new(Lookup, Mpmc, 8).capacity(names)));
        all.extend([Create, Open].map(|test| Self::new(test, Mpmc, 1 << 20)));
        all
    }

    /// Processes, or threads, it takes.
    pub fn sides(&self) -> usize {
        use Test::{Apart, HandOver, Ring, RoundTrip, Throughput, WakeUp};
        match self.test {
            Throughput | Apart | RoundTrip | WakeUp | HandOver | Ring => self.producers + self.consumers,
            _ => 1,
        }
    }

    /// What each of the numbers that a measurement yields is called, behind the case's own name; and its unit.
    pub fn values(&self) -> &'static [(&'static str, &'static str)] {
        match self.test {
            Test::Throughput => &[("", "M/s")],
            Test::Apart => &[(", put in", "ns"), (", taken out", "ns")],
            Test::RoundTrip => &[("", "ns"), (", p99", "ns"), (", p99.9", "ns")],
            Test::HandOver => &[(", median", "ns"), (", p99", "ns"), (", p99.9", "ns")],
            Test::WakeUp => &[("", "ns"), (", the call that wakes", "ns")],
            Test::Ring => &[(", read", "M/s"), (", written", "M/s")],
            Test::Create | Test::Open => &[("", "ns"), (" and close it", "ns")],
            _ => &[("", "ns")],
        }
    }

    /// For a worker; `parse` reads it.
    pub fn words(&self) -> Vec<String> {
        let numbers = [self.bytes, self.capacity, self.producers, self.consumers, self.bulk];
        let words = [self.test.word().to_owned(), self.mode.word().to_owned()];
        words.into_iter().chain(numbers.map(|number| number.to_string())).collect()
    }

    pub fn parse(words: &[String]) -> Self {
        let number = |place: usize| words[place].parse().expect("a number");
        Self {
            test: Test::of(&words[0]),
            mode: Mode::of(&words[1]),
            bytes: number(2),
            capacity: number(3),
            producers: number(4),
            consumers: number(5),
            bulk: number(6),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, capacity, .. } = self;
        let mode = self.mode.word();
        match self.test {
            Test::Throughput => write!(f, "throughput {mode} {bytes} B")?,
            Test::Apart => write!(f, "one end at a time, {mode} {bytes} B")?,
            Test::RoundTrip => write!(f, "round trip {mode} {bytes} B")?,
            Test::Pair => write!(f, "pair {mode} {bytes} B")?,
            Test::Ring => write!(f, "ring {bytes} B, {} to {}", self.producers, self.consumers)?,
            Test::WakeUp => write!(f, "round trip {mode} {bytes} B, asleep in between")?,
            Test::HandOver => write!(f, "hand-over {mode} {bytes} B")?,
            Test::Slept => write!(f, "pair {mode} {bytes} B, more where somebody slept")?,
            Test::Pool => write!(f, "pool {bytes} B, acquire and release")?,
            Test::Load => f.write_str("atomic, load")?,
            Test::Add => f.write_str("atomic, fetch_add")?,
            Test::Lookup => write!(f, "lookup among {capacity}")?,
            Test::Create => write!(f, "create {} MiB", bytes >> 20)?,
            Test::Open => write!(f, "open {} MiB", bytes >> 20)?,
        }
        if self.test == Test::Throughput && *capacity != CAPACITY {
            write!(f, ", capacity {capacity}")?;
        }
        if self.test == Test::Throughput && self.sides() > 2 {
            write!(f, ", {}P{}C", self.producers, self.consumers)?;
        }
        if self.bulk > 1 {
            write!(f, ", {} a call", self.bulk)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_told_exactly_the_case() {
        for case in Case::all() {
            assert_eq!(Case::parse(&case.words()), case);
        }
    }

    #[test]
    fn no_two_cases_have_one_name() {
        let mut names: Vec<_> = Case::all().iter().map(Case::to_string).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), Case::all().len());
    }
}
