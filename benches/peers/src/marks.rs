//! What is aimed at. All but the plain numbers are ratios within one run, repetition by repetition.

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mark {
    /// So many times better than the best peer.
    TimesPeer(f64),
    /// At most so many times the floor.
    OfFloor(f64),
    /// At least that share of what the machine allows.
    ShareOfFloor(f64),
    /// At least that share of what the same face does in another case.
    ShareOf(&'static str, f64),
    AtMost(f64),
    AtLeast(f64),
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TimesPeer(times) => write!(f, ">= {times:.2}x peer"),
            Self::OfFloor(times) => write!(f, "<= {times:.2}x floor"),
            Self::ShareOfFloor(share) => write!(f, ">= {share:.2}x floor"),
            Self::ShareOf(case, share) => write!(f, ">= {share:.2}x {case}"),
            Self::AtMost(number) => write!(f, "<= {number}"),
            Self::AtLeast(number) => write!(f, ">= {number}"),
        }
    }
}

use Mark::{AtLeast, AtMost, OfFloor, ShareOf, ShareOfFloor, TimesPeer};

const C: &[&str] = &["shmds C"];
const CPP: &[&str] = &["shmds C++"];
/// Those whose calls can be inlined.
const INLINE: &[&str] = &["shmds C++", "shmds Rust"];
const EACH: &[&str] = &["shmds C++", "shmds C", "shmds Rust"];
/// What the C ABI may cost beside inlined calls.
const CALLS: f64 = 1.1;

const TABLE: &[(&str, &[&str], Mark)] = &[
    ("throughput SPSC 8 B", C, TimesPeer(1.7)),
    ("throughput SPSC 64 B", C, TimesPeer(3.0)),
    ("throughput SPSC 256 B", C, TimesPeer(2.0)),
    ("throughput SPSC 8 B", CPP, TimesPeer(2.4)),
    ("throughput SPSC 64 B", CPP, TimesPeer(6.0)),
    ("throughput SPSC 256 B", CPP, TimesPeer(2.5)),
    ("throughput SPSC 8 B, 32 a call", C, TimesPeer(4.0)),
    ("round trip SPSC 8 B", INLINE, OfFloor(1.05)),
    ("round trip SPSC 64 B", INLINE, OfFloor(1.3)),
    ("round trip SPSC 256 B", INLINE, OfFloor(1.8)),
    ("round trip SPSC 8 B", C, OfFloor(1.05 * CALLS)),
    ("round trip SPSC 64 B", C, OfFloor(1.3 * CALLS)),
    ("round trip SPSC 256 B", C, OfFloor(1.8 * CALLS)),
    ("pair SPSC 8 B", INLINE, AtMost(3.0)),
    ("pair SPSC 8 B", C, AtMost(8.0)),
    ("throughput MPMC 8 B", EACH, TimesPeer(1.5)),
    ("throughput MPMC 64 B", EACH, TimesPeer(1.5)),
    ("throughput MPMC 8 B, 2P2C", EACH, TimesPeer(1.5)),
    ("throughput MPMC 64 B, 2P2C", EACH, TimesPeer(1.1)),
    ("throughput MPMC 8 B, 4P4C", EACH, ShareOf("throughput MPMC 8 B", 0.5)),
    ("throughput MPMC 64 B, 4P4C", EACH, ShareOf("throughput MPMC 64 B", 0.5)),
    ("pair MPMC 8 B", EACH, AtMost(18.0)),
    ("bytes, 16 B to 4 KiB", CPP, AtLeast(12.0)),
    ("bytes, 64 KiB", CPP, ShareOfFloor(0.95)),
    ("bytes, 1 MiB", CPP, ShareOfFloor(0.95)),
    ("array in C, sequential, 128 KiB", C, OfFloor(1.02)),
    ("array in C, random, 128 KiB", C, OfFloor(1.02)),
    ("array in C, sequential, 65536 KiB", C, OfFloor(1.02)),
    ("array in C, random, 65536 KiB", C, OfFloor(1.02)),
    ("array in C++, sequential, 128 KiB", CPP, OfFloor(1.02)),
    ("array in C++, random, 128 KiB", CPP, OfFloor(1.02)),
    ("array in C++, sequential, 65536 KiB", CPP, OfFloor(1.02)),
    ("array in C++, random, 65536 KiB", CPP, OfFloor(1.02)),
    ("array in Rust, sequential, 128 KiB", INLINE, OfFloor(1.02)),
    ("array in Rust, random, 128 KiB", INLINE, OfFloor(1.02)),
    ("array in Rust, sequential, 65536 KiB", INLINE, OfFloor(1.02)),
    ("array in Rust, random, 65536 KiB", INLINE, OfFloor(1.02)),
    ("pool 64 B, acquire and release", EACH, TimesPeer(1.0 / 0.7)),
    ("pool 64 B, acquire and release, 32 a call", EACH, OfFloor(1.0)),
    ("lookup among 1", EACH, AtMost(40.0)),
    ("lookup among 64", EACH, AtMost(40.0)),
    ("lookup among 1024", EACH, AtMost(40.0)),
    ("create 1 MiB", EACH, OfFloor(1.3)),
    ("open 1 MiB", EACH, OfFloor(1.3)),
    ("pair SPSC 8 B, more where somebody slept", EACH, AtMost(0.5)),
    ("round trip SPSC 8 B, asleep in between", EACH, OfFloor(1.1)),
    ("hand-over SPSC 8 B, p99", EACH, AtMost(1000.0)),
];

pub fn of(case: &str, contender: &str) -> Option<Mark> {
    TABLE.iter().find(|(name, faces, _)| *name == case && faces.contains(&contender)).map(|(_, _, mark)| *mark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Case;

    #[test]
    fn marks_are_about_cases_that_there_are() {
        let names: Vec<_> = Case::all()
            .iter()
            .flat_map(|case| case.values().iter().map(move |(what, _)| format!("{case}{what}")))
            .collect();
        for (case, _, _) in TABLE {
            let elsewhere = case.starts_with("bytes, ") || case.starts_with("array in ");
            assert!(elsewhere || names.iter().any(|name| name == case), "there is no case \"{case}\"");
        }
    }
}
