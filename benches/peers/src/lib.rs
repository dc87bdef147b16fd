//! Measures shmds beside others.
//!
//! | file | what is in it |
//! |---|---|
//! | `case`, `contender` | what is measured, and whom |
//! | `marks` | what is aimed at |
//! | `control` | the memory that measuring processes share; pinning |
//! | `measure` | the loops whose time is taken between processes |
//! | `alone` | what one process pays |
//! | `links`, `kernel`, `iceoryx` | contenders, behind the same traits |
//! | `worker` | one measuring process |
//! | `main` | starts them, again and again, in turns |
//! | `report`, `plot` | medians, ratios, the table, JSON, pictures |
//! | `benches/single` | what one thread pays for a call (criterion) |
//! | `cpp/` | workers in C++: our C++ and C faces, and peers |

pub mod alone;
pub mod case;
pub mod contender;
pub mod control;
#[cfg(feature = "iceoryx2")]
pub mod iceoryx;
pub mod kernel;
pub mod links;
pub mod marks;
pub mod measure;
pub mod plot;
pub mod report;
pub mod worker;

/// A setting from the environment.
pub fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

/// Where reports go, and what iceoryx2 keeps in files.
pub fn directory() -> std::path::PathBuf {
    std::path::PathBuf::from(setting("CARGO_TARGET_DIR").unwrap_or_else(|| "target".to_owned())).join("bench")
}

/// What all names in /dev/shm begin with in this run, so that what a killed run leaves can be told.
pub fn prefix() -> String {
    setting("SHMDS_BENCH_NAME").unwrap_or_else(|| format!("shmds-bench-{}", std::process::id()))
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
