//! Arbitrary calls of the C ABI. The body is in tests/malice/targets.rs.
#![no_main]

#[path = "../malice.rs"]
mod malice;

libfuzzer_sys::fuzz_target!(|data: &[u8]| malice::targets::c_abi(data));
