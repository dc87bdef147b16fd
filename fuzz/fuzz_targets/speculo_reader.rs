//! Arbitrary manifests and areas are read and written. The body is in tests/malice/targets.rs.
#![no_main]

#[path = "../malice.rs"]
mod malice;

libfuzzer_sys::fuzz_target!(|data: &[u8]| malice::targets::speculo_reader(data));
