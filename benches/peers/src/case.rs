//! What is measured, and with whom.

use std::fmt;

/// Elements of these sizes, in bytes.
pub const SIZES: [usize; 3] = [8, 64, 256];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Spsc,
    Mpmc,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// One enqueue and one dequeue by the same thread.
    Pair,
    /// As `Pair`, 32 elements a call.
    Bulk,
    /// A stream from one core to the other.
    Throughput,
    /// There and back between two cores.
    RoundTrip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// shmds, through `Queue<T>`.
    Ours,
    /// shmds, through its C functions.
    OursC,
    Rtrb,
    Crossbeam,
    Iceoryx,
}

/// One question: a group of rows in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    pub test: Test,
    pub mode: Mode,
    pub bytes: usize,
}

impl Case {
    pub fn all(tests: &[Test]) -> Vec<Self> {
        let mut cases = Vec::new();
        for &test in tests {
            for mode in [Mode::Spsc, Mode::Mpmc] {
                cases.extend(SIZES.map(|bytes| Self { test, mode, bytes }));
            }
        }
        cases
    }

    pub fn contenders(&self) -> Vec<Contender> {
        use Contender::{Crossbeam, Iceoryx, Ours, OursC, Rtrb};
        let mut list = match (self.mode, self.test) {
            (Mode::Spsc, Test::Bulk) => vec![Ours, Rtrb],
            (Mode::Mpmc, Test::Bulk) => vec![Ours, Crossbeam],
            (Mode::Spsc, _) => vec![Ours, OursC, Rtrb, Crossbeam],
            (Mode::Mpmc, _) => vec![Ours, OursC, Crossbeam],
        };
        let remote = matches!(self.test, Test::Throughput | Test::RoundTrip);
        if cfg!(feature = "iceoryx2") && remote && self.mode == Mode::Spsc {
            list.push(Iceoryx);
        }
        list
    }

    pub fn unit(&self) -> &'static str {
        match self.test {
            Test::Throughput => "M/s",
            _ => "ns",
        }
    }

    /// Whether a larger number is a better one.
    pub fn more_is_better(&self) -> bool {
        self.test == Test::Throughput
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let test = match self.test {
            Test::Pair => "pair",
            Test::Bulk => "pair, in bulk",
            Test::Throughput => "throughput",
            Test::RoundTrip => "round trip",
        };
        let mode = if self.mode == Mode::Spsc { "SPSC" } else { "MPMC" };
        write!(f, "{test} {mode} {} B", self.bytes)
    }
}

impl Contender {
    pub const ALL: [Self; 5] = [Self::Ours, Self::OursC, Self::Rtrb, Self::Crossbeam, Self::Iceoryx];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "shmds",
            Self::OursC => "shmds, C calls",
            Self::Rtrb => "rtrb",
            Self::Crossbeam => "crossbeam ArrayQueue",
            Self::Iceoryx => "iceoryx2 pub-sub",
        }
    }

    pub fn is_ours(self) -> bool {
        matches!(self, Self::Ours | Self::OursC)
    }

    /// Whether it works between processes; the others get two threads of one process, which is easier for them.
    pub fn crosses_processes(self) -> bool {
        self.is_ours() || self == Self::Iceoryx
    }
}
