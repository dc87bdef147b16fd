//! Areas of chunks: names that leave nothing behind, contents that say whether they are whole, and the bytes as they lie there.

use std::collections::BTreeMap;
use std::ops::{Deref, Range};
use std::path::PathBuf;

use super::Name;

/// The name of an area that nobody else has. What is left of it goes with it.
pub struct AreaName(Name);

impl AreaName {
    pub fn new() -> Self {
        Self(Name::new())
    }

    /// The manifest and the areas.
    pub fn objects(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir("/dev/shm").unwrap().flatten().map(|entry| entry.path());
        let prefix = format!("{}.speculo", &*self.0);
        let ours = |path: &PathBuf| {
            let rest = path.file_name().unwrap().to_string_lossy().strip_prefix(&prefix).map(str::to_owned);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let mut found: Vec<_> = entries.filter(ours).collect();
        found.sort();
        found
    }

    pub fn manifest(&self) -> PathBuf {
        PathBuf::from(format!("/dev/shm/{}.speculo", &*self.0))
    }

    pub fn area(&self, generation: u64) -> PathBuf {
        PathBuf::from(format!("/dev/shm/{}.speculo-{generation}", &*self.0))
    }
}

impl Deref for AreaName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for AreaName {
    fn drop(&mut self) {
        self.objects().iter().for_each(|path| drop(std::fs::remove_file(path)));
    }
}

/// What a chunk of this id and number has in it: both, and bytes that follow from them, as many as follow from them.
pub fn contents(label: u64, number: u64) -> Vec<u8> {
    let mut state = (label << 40 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let length = (state >> 40) % 300;
    let mut all = [label.to_le_bytes(), number.to_le_bytes()].concat();
    all.extend((0..length).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    }));
    all
}

/// The label and the number of what is whole.
#[track_caller]
pub fn whole(bytes: &[u8]) -> (u64, u64) {
    assert!(bytes.len() >= 16, "{} bytes", bytes.len());
    let (label, number) = (word(bytes, 0), word(bytes, 8));
    assert!(bytes == contents(label, number), "chunk {number} of {label} is not as it was written");
    (label, number)
}

/// Where this process has mapped the manifest and one area, and nothing more of that name: neither is writable, nor can be made so.
#[track_caller]
pub fn read_only_mappings(name: &str) -> [Range<usize>; 2] {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let ours: Vec<_> = maps.lines().filter(|line| line.contains(&format!("/{name}.speculo"))).collect();
    let ranges = ours.iter().map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (from, to) = words.next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|digits| usize::from_str_radix(digits, 16).unwrap());
        assert_eq!(words.next(), Some("r--s"), "{line}");
        // SAFETY: a mapping of this process; if it could be changed, nothing would be lost by it.
        let outcome = unsafe { libc::mprotect(from as *mut _, to - from, libc::PROT_READ | libc::PROT_WRITE) };
        let error = std::io::Error::last_os_error();
        assert_eq!((outcome, error.raw_os_error()), (-1, Some(libc::EACCES)), "it can be made writable: {line}");
        from..to
    });
    ranges.collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("not the manifest and one area: {ours:?}"))
}

pub fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// What the file of an area holds: per id the version and the contents of the newest WRITTEN chunk, if it never expires.
pub fn newest_written(area: &[u8]) -> BTreeMap<u64, (u64, Vec<u8>)> {
    let (mut found, mut at) = (BTreeMap::new(), 128);
    while at + 64 <= area.len() {
        let (state, size) = (area[at], word(area, at + 24) as usize);
        let (id, version, expires) = (word(area, at + 8), word(area, at + 16), word(area, at + 32));
        match state {
            0 => break,
            2 if expires == 0 => drop(found.insert(id, (version, area[at + 64..at + 64 + size].to_vec()))),
            2 => drop(found.remove(&id)),
            _ => {}
        }
        at += 64 + size.next_multiple_of(64);
    }
    found
}
