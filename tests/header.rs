//! The committed header is what the sources generate.

use std::{env, fs};

#[test]
fn the_committed_header_is_not_stale() {
    let generated = fs::read_to_string(env!("SHMDS_GENERATED_HEADER")).unwrap();
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/include/shmds.h");
    if env::var_os("SHMDS_UPDATE_HEADER").is_some() {
        fs::write(committed, &generated).unwrap();
    }
    assert!(fs::read_to_string(committed).unwrap() == generated, "include/shmds.h is stale: run `make header`");
}
