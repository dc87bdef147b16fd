//! What reading an array costs beside a heap array, in Rust: `heap[i]` and `array.as_slice()[i]`. `array.c` and `array.cpp` do the
//! same in C and C++; scripts/bench.sh runs all three, pinned to one core. On stdout a line of samples for each, as
//! benches/peers/src/report.rs reads them.
//!
//! Both arrays are of the same length and stride, begin at the same place in a page, lie in pages of 4 KiB, and were written
//! before. Which physical pages an array gets matters as much as what is measured here, and those that are free are given
//! again: so each repetition makes both arrays twice, once the one first and once the other, and its sample is the geometric
//! mean of the two. They are read in turns. Sequential: the sum. Random: a walk in which each place depends on what was read
//! at the one before; each walk takes a way of its own, so that the caches do not know it.

use std::alloc::{Layout, alloc, dealloc};
use std::hint::black_box;
use std::time::Instant;

use shmds::{Array, Segment, SegmentOptions};

const REPETITIONS: usize = 11;
/// A page, and where in it an array of the library begins.
const PAGE: usize = 4096;
const FIRST: usize = 128;

#[inline(never)]
fn sum(array: &[u64]) -> u64 {
    (0..array.len()).fold(0, |sum, i| sum.wrapping_add(array[i]))
}

#[inline(never)]
fn walk(array: &[u64], steps: usize, start: u64) -> u64 {
    let (mask, mut at) = (array.len() as u64 - 1, start);
    for _ in 0..steps {
        at = at
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407 + array[(at >> 20 & mask) as usize]);
    }
    at
}

/// A heap array of 4 KiB pages.
struct Heap {
    base: *mut u8,
    layout: Layout,
    len: usize,
}

impl Heap {
    fn new(len: usize) -> Self {
        let layout = Layout::from_size_align((FIRST + len * 8).next_multiple_of(PAGE), PAGE).unwrap();
        // SAFETY: not of size 0.
        let base = unsafe { alloc(layout) };
        assert!(!base.is_null());
        // SAFETY: whole pages, ours.
        unsafe {
            libc::madvise(base.cast(), layout.size(), libc::MADV_NOHUGEPAGE);
            base.write_bytes(0, layout.size());
        }
        Self { base, layout, len }
    }

    fn as_slice(&self) -> &[u64] {
        // SAFETY: inside the allocation, aligned and written.
        unsafe { std::slice::from_raw_parts(self.base.add(FIRST).cast(), self.len) }
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        // SAFETY: allocated so.
        unsafe { dealloc(self.base, self.layout) };
    }
}

/// Nanoseconds for one element: the best of several, in turns.
fn measure(arrays: [&[u64]; 2], reads: usize, read: impl Fn(&[u64], u64) -> u64) -> [f64; 2] {
    let mut best = [f64::INFINITY; 2];
    for turn in 0..6 {
        for which in [turn % 2, 1 - turn % 2] {
            let start = Instant::now();
            black_box(read(black_box(arrays[which]), turn as u64));
            best[which] = best[which].min(start.elapsed().as_nanos() as f64 / reads as f64);
        }
    }
    best
}

/// An array of ours, in a segment of its own.
fn ours(len: usize) -> Array<u64> {
    let name = format!("shmds-bench-array-{}", std::process::id());
    let size = SegmentOptions::new().size_for(Array::<u64>::bytes_for(len as u64).unwrap()).unwrap();
    let segment = Segment::create(&name, &SegmentOptions::new().size(size).exclusive()).unwrap();
    let array = Array::<u64>::create(&segment, "a", len as u64).unwrap();
    Segment::unlink(&name).unwrap();
    array.fill(0).unwrap();
    assert_eq!(array.as_ptr() as usize % PAGE, FIRST);
    array
}

fn compare(what: &str, kib: usize, reads: usize, read: impl Fn(&[u64], u64) -> u64) {
    let (len, mut samples) = (kib * 128, [vec![], vec![]]);
    for _ in 0..REPETITIONS {
        let mut products = [1.0; 2];
        for heap_first in [true, false] {
            let early = heap_first.then(|| Heap::new(len));
            let array = ours(len);
            let heap = early.unwrap_or_else(|| Heap::new(len));
            // SAFETY: nobody writes.
            let of_each = measure([heap.as_slice(), unsafe { array.as_slice() }], reads, &read);
            products.iter_mut().zip(of_each).for_each(|(product, time)| *product *= time);
        }
        samples.iter_mut().zip(products).for_each(|(samples, product)| samples.push(f64::sqrt(product)));
    }
    for (who, samples) in ["floor\theap", "ours\tshmds Rust"].iter().zip(samples) {
        let samples: Vec<_> = samples.iter().map(|sample| format!("{sample:.4}")).collect();
        println!("array in Rust, {what}, {kib} KiB\tns\t{who}\t{}", samples.join(" "));
    }
}

fn main() {
    for kib in [128, 64 << 10] {
        // Small arrays are read several times, for a time that can be measured.
        let times = if kib < 512 { 32 } else { 1 };
        compare("sequential", kib, times * kib * 128, |array, _| (0..times).map(|_| sum(black_box(array))).sum());
        compare("random", kib, 100_000, |array, start| walk(array, 100_000, start));
    }
}
