//! What another version of the library made, or another machine, is refused with both sides named. (Of segments, `segment_refusals` tells.)

use std::fs::File;
use std::os::unix::fs::FileExt;

use shmds::Status;
use shmds::speculo::{Area, AreaOptions, Reader, ReaderOptions};

use crate::support::scarce::possessions_of;
use crate::support::*;

fn area(name: &AreaName) -> Area {
    Area::create(name, &AreaOptions::new()).unwrap()
}

/// Everything that opens it is refused, and leaves all as it is.
fn refused_by_all(name: &AreaName, status: Status, words: &[&str]) {
    let before = (possessions_of(name), name.objects());
    refused(Area::create(name, &AreaOptions::new()), status, words);
    refused(Area::open(name, &AreaOptions::new()), status, words);
    refused(Reader::open(name, &ReaderOptions::new()), status, words);
    assert_eq!((possessions_of(name), name.objects()), before);
}

/// What is found at a place in a file, and has to be said of it.
const FOREIGN: [(u64, u32, Status, &[&str]); 5] = [
    (8, 2, Status::Version, &["format 2", "knows 1"]),
    (8, 0, Status::Version, &["format 0", "knows 1"]),
    (8, u32::MAX, Status::Version, &["format 4294967295", "knows 1"]),
    (12, 0x0102_0304_u32.swap_bytes(), Status::Version, &["other byte order"]),
    (0, 7, Status::Corrupt, &["something else"]),
];

fn with(file: &File, offset: u64, value: &[u8], look: impl FnOnce()) {
    let mut before = vec![0; value.len()];
    file.read_exact_at(&mut before, offset).unwrap();
    file.write_all_at(value, offset).unwrap();
    look();
    file.write_all_at(&before, offset).unwrap();
}

#[test]
fn areas_and_manifests_of_another_format_or_byte_order_are_refused() {
    let name = AreaName::new();
    let generation = {
        let mut area = area(&name);
        area.write(b"there", 0).unwrap().unwrap();
        area.stats().generation
    };
    for (path, what) in [(name.manifest(), "the manifest of"), (name.area(generation), "generation 1 of")] {
        let file = File::options().read(true).write(true).open(path).unwrap();
        for (offset, value, status, words) in FOREIGN {
            with(&file, offset, &value.to_ne_bytes(), || {
                refused_by_all(&name, status, &[words, &[what, &name]].concat());
            });
        }
    }
    let mut area = Area::open(&name, &AreaOptions::new()).unwrap();
    assert_eq!(area.read(1).unwrap(), b"there");
    area.unlink().unwrap();
}

#[test]
fn areas_and_manifests_of_another_size_are_refused() {
    let name = AreaName::new();
    drop(area(&name));
    let file = File::options().read(true).write(true).open(name.area(1)).unwrap();
    with(&file, 16, &(1_u64 << 20).to_ne_bytes(), || {
        refused_by_all(&name, Status::Corrupt, &[&name, "1048576 bytes", "it has 65536"]);
    });
    with(&file, 24, &9_u64.to_ne_bytes(), || {
        refused_by_all(&name, Status::Corrupt, &[&name, "generation 9", "and 1"]);
    });
    for bytes in [0, 100] {
        file.set_len(bytes).unwrap();
        refused_by_all(&name, Status::Corrupt, &[&name, &format!("{bytes} bytes"), "is no area"]);
    }
    let manifest = File::options().write(true).open(name.manifest()).unwrap();
    for bytes in [0, 4095] {
        manifest.set_len(bytes).unwrap();
        refused_by_all(&name, Status::Corrupt, &[&name, &format!("{bytes} bytes"), "is no manifest"]);
    }
}
