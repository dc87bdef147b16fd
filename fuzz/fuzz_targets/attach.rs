//! Arbitrary files are attached to, and what is in them is used. The body is in tests/malice/targets.rs.
#![no_main]

#[path = "../malice.rs"]
mod malice;

libfuzzer_sys::fuzz_target!(|data: &[u8]| malice::targets::attach(data));
