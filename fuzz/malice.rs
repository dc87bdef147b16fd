//! The same bodies that `cargo test --test malice` runs.
#![allow(dead_code)]

#[path = "../tests/malice/abi.rs"]
mod abi;
#[path = "../tests/malice/dice.rs"]
mod dice;
#[path = "../tests/malice/functions.rs"]
mod functions;
#[path = "../tests/malice/scribble.rs"]
mod scribble;
#[path = "../tests/malice/targets.rs"]
pub mod targets;
#[path = "../tests/malice/watch.rs"]
mod watch;
