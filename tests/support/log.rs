//! Words in a file, written through a shared mapping: they survive whoever writes them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};

pub struct Log {
    map: MmapRaw,
    path: PathBuf,
}

impl Log {
    /// A file of zeros; what nobody writes takes no room.
    pub fn create(path: PathBuf, words: u64) -> Self {
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.set_len(words * 8).unwrap();
        Self::map(&file, path)
    }

    pub fn open(path: &Path) -> Self {
        Self::map(&File::options().read(true).write(true).open(path).unwrap(), path.to_owned())
    }

    fn map(file: &File, path: PathBuf) -> Self {
        Self { map: MmapOptions::new().map_raw(file).unwrap(), path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path, as a word for a peer.
    pub fn word_for_peer(&self) -> &str {
        self.path
            .to_str()
            .filter(|path| !path.contains(' '))
            .expect("a temporary directory without a space in its name")
    }

    pub fn words(&self) -> u64 {
        self.map.len() as u64 / 8
    }

    pub fn word(&self, index: u64) -> &AtomicU64 {
        assert!(index < self.words());
        // SAFETY: inside the mapping, which begins with a page; atomics are all that is ever made of it.
        unsafe { &*self.map.as_ptr().cast::<AtomicU64>().add(index as usize) }
    }

    pub fn get(&self, index: u64) -> u64 {
        self.word(index).load(Ordering::Acquire)
    }

    pub fn set(&self, index: u64, value: u64) {
        self.word(index).store(value, Ordering::Release);
    }

    /// A consumer's log: how many elements it says it has.
    pub fn count(&self) -> u64 {
        self.get(0)
    }

    /// A consumer's log: the producers and sequences.
    pub fn elements(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        (0..self.count()).map(|nth| (self.get(1 + 2 * nth), self.get(2 + 2 * nth)))
    }

    /// The log of a dead consumer: its elements, producer and sequence in turn.
    pub fn pairs(&self) -> &[u64] {
        assert!(self.count() * 2 < self.words());
        // SAFETY: inside the mapping, and nobody writes any more.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast::<u64>().add(1), self.count() as usize * 2) }
    }

    /// A consumer's log: one more element.
    pub fn append(&self, producer: u64, sequence: u64) {
        let count = self.count();
        self.set(1 + 2 * count, producer);
        self.set(2 + 2 * count, sequence);
        self.set(0, count + 1);
    }

    /// A consumer's log: whether there is room for one more.
    pub fn has_room(&self) -> bool {
        self.count() * 2 + 2 < self.words()
    }
}
