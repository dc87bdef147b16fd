//! One writer who does not wait, and four readers who cannot keep up, in processes of three languages: nothing torn, and
//! every element either read or counted as lost.
//!
//! `SHMDS_SOAK=1` sends 10^9 elements from each language, `SHMDS_RING_ELEMENTS` as many as it says.

mod support;

use std::time::Instant;

use shmds::RingOptions;
use support::*;

const CAPACITY: u64 = 4096;

/// What the reader does, how many it reads at once, and how many microseconds it sleeps in between.
const READERS: [(&str, u64, u64); 4] = [("poll", 512, 0), ("poll", 1, 0), ("poll", 16, 100), ("wait", 64, 0)];

fn elements() -> u64 {
    let said = std::env::var("SHMDS_RING_ELEMENTS").map(|elements| elements.parse().expect("a number of elements"));
    said.unwrap_or(if is_soak() { 1_000_000_000 } else { 20_000_000 })
}

#[test]
fn an_overwriting_writer_flat_out_tears_nothing_and_every_reader_accounts_for_every_element() {
    let _alone = measuring();
    let elements = elements();
    for (turn, from) in EVERY_LANGUAGE.into_iter().enumerate() {
        let stage = Stage::new(&RingOptions::new(CAPACITY).overwrite(), 0);
        stage.set_end(elements);
        let readers: Vec<(Language, Peer)> = (turn..)
            .zip(READERS)
            .map(|(nth, (verb, bulk, pause_us))| {
                let language = EVERY_LANGUAGE[nth % 3];
                (language, stage.start(language, verb, bulk, pause_us))
            })
            .collect();
        let begun = Instant::now();
        stage.start(from, "push", 64, 0).finish();
        let took = begun.elapsed();
        let rate = elements as f64 / took.as_secs_f64() / 1e6;
        say(&format!("ring storm: {elements} elements from {from:?} in {took:.1?}, {rate:.1} million a second"));
        for ((language, reader), what) in readers.into_iter().zip(READERS) {
            let (got, lost) = verdict(reader);
            say(&format!("ring storm: {language:?} {what:?}: {got} read, {lost} lost"));
            assert_eq!(got + lost, elements, "{language:?} {what:?}");
            assert!(got > 0, "the last one was never overwritten");
        }
        assert_eq!(stage.written(), elements);
    }
}
