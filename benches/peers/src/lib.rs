//! Measures the queues of shmds beside those of others.
//!
//! | file | what is in it |
//! |---|---|
//! | `case` | what is measured, and with whom |
//! | `links` | the contenders, all behind one pair of traits |
//! | `iceoryx` | one of them, if it is built in |
//! | `control` | the page that two measuring processes share; pinning |
//! | `measure` | the loops whose time is taken |
//! | `report` | medians, the table, the JSON file |
//! | `main` | starts the processes, again and again, in turns |
//! | `benches/single` | what one thread pays for a call (criterion) |

pub mod case;
pub mod control;
#[cfg(feature = "iceoryx2")]
pub mod iceoryx;
pub mod links;
pub mod measure;
pub mod report;

/// Elements that every queue has room for.
pub const CAPACITY: usize = 1024;
/// Elements moved by one bulk call.
pub const BULK: usize = 32;

/// What all names in /dev/shm begin with in this run, so that what a killed run leaves can be told.
pub fn prefix() -> String {
    std::env::var("SHMDS_BENCH_NAME").unwrap_or_else(|_| format!("shmds-bench-{}", std::process::id()))
}

/// What is sent: one, eight or 32 words.
pub trait Message: shmds::Plain + links::Sendable {
    fn new(sequence: u64) -> Self;
    /// The sequence number; panics when the message is not whole.
    fn sequence(&self) -> u64;
}

macro_rules! message {
    ($($words:literal)*) => {$(
        impl Message for [u64; $words] {
            #[inline(always)]
            fn new(sequence: u64) -> Self {
                [sequence; $words]
            }

            #[inline(always)]
            fn sequence(&self) -> u64 {
                assert!(self[$words - 1] == self[0], "a message is torn");
                self[0]
            }
        }
    )*};
}
message!(1 8 32);
