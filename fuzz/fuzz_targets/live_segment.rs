//! Bytes decide what is called, and what is scribbled, on a live segment. The body is in tests/malice/targets.rs.
#![no_main]

#[path = "../malice.rs"]
mod malice;

libfuzzer_sys::fuzz_target!(|data: &[u8]| malice::targets::live_segment(data));
