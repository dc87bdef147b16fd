//! What committing a chunk costs in Rust. benches/speculo.cpp starts this beside the same in C and C++, and tells what is done:
//! `commit SIZE COUNT IDS MOST NAME` says nanoseconds a chunk.

use std::time::Instant;

use shmds::speculo::{Area, AreaOptions};

fn main() {
    let args: Vec<_> = std::env::args().collect();
    let [_, part, size, count, ids, most, name] = &args[..] else { return };
    assert_eq!(part, "commit");
    let [size, count, ids, most] = [size, count, ids, most].map(|number| number.parse::<u64>().unwrap());
    let least = if ids == 0 { most } else { most.min(65536) };
    let options = AreaOptions::new().max_size(most).min_size(least).exclusive();
    let mut area = Area::create(name, &options).unwrap();
    let source = vec![b'x'; size as usize];
    for _ in 0..ids {
        area.write(&source, 0).unwrap().unwrap();
    }
    let begun = Instant::now();
    for n in 0..count {
        let draft = if ids == 0 { area.allocate(size, 0) } else { area.update(1 + n % ids, size) };
        let mut draft = draft.unwrap().unwrap();
        draft.write(0, &source).unwrap();
        draft.commit().unwrap();
    }
    println!("{:.3}", begun.elapsed().as_nanos() as f64 / count as f64);
    area.unlink().unwrap();
}
