//! Nothing that a hostile peer writes makes us fault, overrun, hang for a second, or allocate without bound.
//!
//! The peer has permission to write, and knows the format. What it can do beyond writing, as cutting a segment short, is not here.
//! A finding ends the run and says its seed. SHMDS_MALICE_SEED repeats an episode, SHMDS_MALICE_MS says how long each structure is attacked. The bodies are shared with
//! `fuzz/`, where a fuzzer decides what happens, and its corpus is replayed here.

#![allow(unreachable_pub)] // parts of it are a fuzzer's, too

mod abi;
mod dice;
mod found;
mod functions;
mod scribble;
mod targets;
mod watch;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use dice::Dice;
use targets::{STRUCTURES, World};

/// No peer makes us allocate more than this at a time. Segments and buffers of the tests are smaller by far.
const MOST_AT_A_TIME: usize = 16 << 20;

/// The system's, with a bound.
struct Bounded;

// SAFETY: the system's.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        assert!(layout.size() <= MOST_AT_A_TIME, "malice: an allocation of {} bytes", layout.size());
        // SAFETY: the caller's promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises.
        unsafe { System.dealloc(pointer, layout) };
    }
}

#[global_allocator]
static BOUNDED: Bounded = Bounded;

fn is_soak() -> bool {
    std::env::var_os("SHMDS_SOAK").is_some_and(|value| value == "1")
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// How long a structure is attacked, and with how many mutations at least.
fn measure() -> (Duration, u64) {
    let millis = number("SHMDS_MALICE_MS").unwrap_or(700);
    (Duration::from_millis(millis), if is_soak() { 10_000_000 } else { 0 })
}

fn first_seed() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 & 0xffff_ffff_ff00
}

fn say(what: &str, mutations: u64, calls: u64, statuses: &BTreeMap<i32, u64>) {
    let resident = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = resident.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(pages * 4096 < 512 << 20, "{} MiB are in use", pages >> 8);
    let _ = writeln!(
        std::io::stderr(),
        "malice: {what}: {mutations} mutations, {calls} calls, 0 findings; statuses {statuses:?}"
    );
    assert!(calls > 0);
}

/// Calls with mutations between them, and then with mutations all the time.
fn attack(which: usize) {
    let structure = &STRUCTURES[which];
    let mut world = World::new(structure);
    let episode = |world: &mut World, seed: u64| {
        world.machine.watch.episode(seed);
        world.episode(&mut Dice::seeded(seed), 256);
    };
    if let Some(seed) = number("SHMDS_MALICE_SEED") {
        return episode(&mut world, seed);
    }
    let ((duration, least), mut seed) = (measure(), first_seed());
    let begun = Instant::now();
    while begun.elapsed() < duration || world.mutations() < least {
        seed += 1;
        episode(&mut world, seed);
    }
    while begun.elapsed() < duration * 3 / 2 || world.mutations() < least * 3 / 2 {
        seed += 1_000_000;
        world.storm(seed, duration / 8);
    }
    say(structure.name, world.mutations(), world.machine.calls, &world.machine.statuses);
}

macro_rules! attacks {
    ($($name:ident $which:literal)*) => {
        $(#[test]
        fn $name() {
            attack($which);
        })*

        #[test]
        fn every_structure_is_attacked() {
            assert_eq!([$($which),*].as_slice(), (0..STRUCTURES.len()).collect::<Vec<_>>().as_slice());
        }
    };
}

attacks! {
    a_scribbled_spsc_queue_of_small_elements_harms_nobody 0
    a_scribbled_spsc_queue_of_large_elements_harms_nobody 1
    a_scribbled_mpmc_queue_of_small_elements_harms_nobody 2
    a_scribbled_mpmc_queue_of_large_elements_harms_nobody 3
    a_scribbled_ring_harms_nobody 4
    a_scribbled_overwriting_ring_harms_nobody 5
    a_scribbled_pool_harms_nobody 6
    a_scribbled_array_harms_nobody 7
    a_scribbled_atomic_integer_harms_nobody 8
    a_scribbled_atomic_float_harms_nobody 9
    a_scribbled_atomic_bool_harms_nobody 10
    a_scribbled_byte_queue_of_bytes_harms_nobody 11
    a_scribbled_byte_queue_of_messages_harms_nobody 12
    a_scribbled_span_harms_nobody 13
    a_scribbled_table_harms_nobody 14
}

/// Random decisions for a body that has no world of its own, and so is slower: in a long run it has that part of the mutations.
fn attack_with(what: &str, part: u64, mut body: impl FnMut(&mut Dice<'_>, &[u8]) -> (u64, u64)) {
    let mut once = |seed: u64| {
        let mut raw = Dice::seeded(!seed);
        let raw: Vec<u8> = (0..raw.below(512)).map(|_| if raw.once_in(2) { 0 } else { raw.word() as u8 }).collect();
        body(&mut Dice::seeded(seed), &raw)
    };
    if let Some(seed) = number("SHMDS_MALICE_SEED") {
        once(seed);
        return;
    }
    let ((duration, least), mut seed) = (measure(), first_seed());
    let (begun, mut mutations, mut calls) = (Instant::now(), 0, 0);
    while begun.elapsed() < duration || mutations < least / part {
        seed += 1;
        println!("SHMDS_MALICE_SEED={seed}");
        let (more_mutations, more_calls) = once(seed);
        (mutations, calls) = (mutations + more_mutations, calls + more_calls);
    }
    say(what, mutations, calls, &BTreeMap::new());
}

#[test]
fn a_scribbled_file_is_refused_or_harms_nobody() {
    attack_with("attaching", 10, targets::attach_one);
}

#[test]
fn a_scribbled_area_harms_nobody() {
    attack_with("speculo", 1, targets::speculo_one);
}

#[test]
fn no_calls_of_the_c_abi_make_it_fault() {
    attack_with("C ABI", 100, |dice, _| targets::c_abi_one(dice, 1000));
}

/// What a fuzzer found worth keeping.
#[test]
fn the_fuzzers_corpus_harms_nobody() {
    type Body = fn(&[u8]);
    let bodies: [(&str, Body); 4] = [
        ("live_segment", targets::live_segment),
        ("attach", targets::attach),
        ("speculo_reader", targets::speculo_reader),
        ("c_abi", targets::c_abi),
    ];
    for (target, body) in bodies {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "no corpus of {target}");
        for file in files {
            println!("{}", file.display());
            body(&std::fs::read(&file).unwrap());
        }
    }
}
