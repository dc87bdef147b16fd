//! Who is measured, in which cases, and where it runs.

use crate::case::{CAPACITY, Case, Mode, Test};

/// What a row is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Ours,
    Peer,
    /// What the machine allows, or what one does without us.
    Floor,
    /// Shown, compared with nothing.
    Aside,
}

impl Role {
    pub fn word(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Peer => "peer",
            Self::Floor => "floor",
            Self::Aside => "aside",
        }
    }

    pub fn of(word: &str) -> Option<Self> {
        [Self::Ours, Self::Peer, Self::Floor, Self::Aside].into_iter().find(|role| role.word() == word)
    }
}

/// Which program it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Rust,
    Cpp,
}

#[derive(Debug)]
pub struct Contender {
    /// Also what workers know it by.
    pub name: &'static str,
    pub role: Role,
    pub program: Program,
    /// It cannot live in shared memory, so its sides are threads of one process, which is easier for it.
    pub threads: bool,
    /// It passes on descriptors of the kernel, which both sides inherit.
    pub kernel: bool,
    pub fits: fn(&Case) -> bool,
}

impl Contender {
    const fn new(role: Role, program: Program, name: &'static str, fits: fn(&Case) -> bool) -> Self {
        Self { name, role, program, threads: false, kernel: false, fits }
    }

    const fn threads(self) -> Self {
        Self { threads: true, ..self }
    }

    const fn kernel(self) -> Self {
        Self { kernel: true, ..self }
    }
}

/// Streams, round trips and pairs over a queue of this mode.
fn queue(case: &Case, mode: Mode) -> bool {
    case.mode == mode && matches!(case.test, Test::Throughput | Test::Apart | Test::RoundTrip | Test::Pair)
}

fn remote(case: &Case) -> bool {
    matches!(case.test, Test::Throughput | Test::RoundTrip)
}

/// As `queue`, for what takes long whatever the capacity and has no bulk calls.
fn slow(case: &Case) -> bool {
    queue(case, Mode::Spsc) && remote(case) && case.bulk == 1 && case.capacity == CAPACITY
}

fn asleep(case: &Case) -> bool {
    case.test == Test::WakeUp
}

use Program::{Cpp, Rust};
use Role::{Aside, Floor, Ours, Peer};

pub static ALL: &[Contender] = &[
    Contender::new(Ours, Cpp, "shmds C++", |_| true),
    Contender::new(Ours, Cpp, "shmds C", |_| true),
    Contender::new(Ours, Rust, "shmds Rust", |_| true),
    Contender::new(Peer, Cpp, "boost spsc_queue", |case| queue(case, Mode::Spsc)),
    Contender::new(Peer, Cpp, "ck_ring", |case| queue(case, case.mode)),
    Contender::new(Peer, Cpp, "readerwriterqueue", |case| queue(case, Mode::Spsc)).threads(),
    Contender::new(Peer, Rust, "rtrb", |case| queue(case, Mode::Spsc)).threads(),
    Contender::new(Peer, Rust, "crossbeam ArrayQueue", |case| queue(case, case.mode)).threads(),
    // Its indices have 16 bits.
    Contender::new(Peer, Cpp, "boost queue", |case| queue(case, Mode::Mpmc) && case.capacity < 65535),
    // Among several it gives a producer's messages out of order when a consumer is preempted: another question.
    Contender::new(Peer, Cpp, "atomic_queue", |case| queue(case, case.mode) && case.sides() <= 2),
    Contender::new(Peer, Cpp, "concurrentqueue", |case| queue(case, Mode::Mpmc)).threads(),
    Contender::new(Peer, Rust, "iceoryx2", slow),
    Contender::new(Peer, Cpp, "boost message_queue", |case| slow(case) || asleep(case)),
    Contender::new(Peer, Rust, "pipe", |case| slow(case) || asleep(case)).kernel(),
    Contender::new(Peer, Rust, "Unix socket", |case| slow(case) || asleep(case)).kernel(),
    Contender::new(Peer, Rust, "POSIX mq", |case| slow(case) || asleep(case)).kernel(),
    Contender::new(Peer, Rust, "eventfd", asleep).kernel(),
    Contender::new(Peer, Cpp, "boost node allocator", |case| case.test == Test::Pool && case.bulk == 1),
    Contender::new(Peer, Cpp, "boost managed_shared_memory", |case| {
        matches!(case.test, Test::Pool | Test::Lookup | Test::Create | Test::Open) && case.bulk == 1
    }),
    Contender::new(Floor, Cpp, "malloc", |case| case.test == Test::Pool),
    Contender::new(Floor, Rust, "two lines", |case| case.test == Test::RoundTrip),
    Contender::new(Aside, Rust, "one line", |case| case.test == Test::RoundTrip && case.bytes == 8),
    Contender::new(Floor, Rust, "a copy of what another core wrote", |case| {
        case.test == Test::Throughput && case.sides() == 2 && case.bulk == 1
    }),
    Contender::new(Floor, Rust, "futex", asleep),
    Contender::new(Floor, Rust, "a store", |case| case.test == Test::HandOver),
    Contender::new(Floor, Cpp, "std::atomic", |case| matches!(case.test, Test::Load | Test::Add)),
    Contender::new(Floor, Rust, "raw system calls", |case| matches!(case.test, Test::Create | Test::Open)),
];

pub fn called(name: &str) -> &'static Contender {
    ALL.iter().find(|contender| contender.name == name).unwrap_or_else(|| panic!("there is no {name}"))
}
