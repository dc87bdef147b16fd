//! An area, its writers and its readers do what a list of chunks does, whatever the order of operations and however often it is compacted.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use shmds::Status;
use shmds::speculo::{Area, AreaOptions, AreaStats, Chunk, Reader, ReaderOptions, ReaderStats};
use support::*;

const FIRST: u64 = 128;
const SMALLEST: u64 = 4096;
const READERS: usize = 2;

/// What is allocated.
#[derive(Clone, Debug)]
struct Draft {
    /// Whose place it takes, out of all ids that there were, and some that there were not.
    of: Option<u64>,
    size: u64,
    /// How long it lasts; `None`: for ever.
    lasts: Option<u64>,
    /// How much time passes before it is committed.
    takes: u64,
    /// Whether it is given up instead.
    discard: bool,
}

#[derive(Clone, Debug)]
enum Op {
    Write(Draft),
    Obsolete(u64),
    Collect,
    Pass(u64),
    Read(u64),
    Stats,
    Succeed,
    Next(usize),
    Get(usize, u64),
    NextValid(usize, u64),
    Seek(usize, u64),
    Reopen(usize),
}

fn drafts() -> impl Strategy<Value = Draft> {
    let size = prop_oneof![4 => 0_u64..200, 4 => 200_u64..1500, 1 => 1500_u64..20_000];
    let of = prop_oneof![1 => Just(None), 2 => any::<u64>().prop_map(Some)];
    let lasts = prop_oneof![2 => Just(None), 1 => (0_u64..300).prop_map(Some)];
    let takes = prop_oneof![3 => Just(0), 1 => 0_u64..50];
    (of, size, lasts, takes, prop::bool::weighted(0.15)).prop_map(|(of, size, lasts, takes, discard)| Draft {
        of,
        size,
        lasts,
        takes,
        discard,
    })
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        16 => drafts().prop_map(Op::Write),
        2 => any::<u64>().prop_map(Op::Obsolete),
        1 => Just(Op::Collect),
        2 => (0_u64..100).prop_map(Op::Pass),
        2 => any::<u64>().prop_map(Op::Read),
        3 => Just(Op::Stats),
        1 => Just(Op::Succeed),
        8 => (0..READERS).prop_map(Op::Next),
        3 => (0..READERS, any::<u64>()).prop_map(|(reader, id)| Op::Get(reader, id)),
        3 => (0..READERS, any::<u64>()).prop_map(|(reader, version)| Op::NextValid(reader, version)),
        1 => (0..READERS, any::<u64>()).prop_map(|(reader, version)| Op::Seek(reader, version)),
        1 => (0..READERS).prop_map(Op::Reopen),
    ];
    prop::collection::vec(op, 1..250)
}

/// A chunk as it should be.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    id: u64,
    /// 0: discarded.
    version: u64,
    expires: u64,
    obsolete: bool,
    contents: Vec<u8>,
}

impl Entry {
    fn bytes(&self) -> u64 {
        64 + (self.contents.len() as u64).next_multiple_of(64)
    }
}

fn seen(chunk: &Chunk<'_>) -> (u64, u64, u64, Vec<u8>) {
    (chunk.id(), chunk.version(), chunk.expires(), chunk.to_vec())
}

fn shown(entry: &Entry) -> (u64, u64, u64, Vec<u8>) {
    (entry.id, entry.version, entry.expires, entry.contents.clone())
}

/// An area as it should be.
struct Model {
    largest: u64,
    threshold: u64,
    now: u64,
    next_id: u64,
    entries: Vec<Entry>,
    bytes: u64,
    generation: u64,
    committed: u64,
    compactions: u64,
    /// Former areas that this writer left: generation and bytes.
    retired: Vec<(u64, u64)>,
    readers: [ReaderStats; READERS],
}

impl Model {
    fn is_valid(&self, entry: &Entry) -> bool {
        entry.version != 0 && !entry.obsolete && (entry.expires == 0 || entry.expires > self.now)
    }

    fn valid(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| self.is_valid(entry))
    }

    fn find(&self, id: u64) -> Option<&Entry> {
        self.valid().find(|entry| entry.id == id)
    }

    fn live(&self) -> u64 {
        self.valid().map(Entry::bytes).sum()
    }

    fn used(&self) -> u64 {
        self.entries.iter().map(Entry::bytes).sum()
    }

    fn compact(&mut self, wanted: u64) -> bool {
        let needed = FIRST + self.live() + wanted;
        if needed > self.largest {
            return false;
        }
        self.retired.push((self.generation, self.bytes));
        self.entries = self.valid().cloned().collect();
        self.bytes = (2 * needed).clamp(SMALLEST, self.largest).next_multiple_of(4096);
        self.generation += 1;
        self.compactions += 1;
        true
    }

    /// The id of what is allocated, if there is room.
    fn allocate(&mut self, of: Option<u64>, size: u64) -> Result<Option<u64>, Status> {
        let bytes = 64 + size.next_multiple_of(64);
        if bytes > self.largest - FIRST {
            return Err(Status::Invalid);
        }
        if of.is_some_and(|id| self.find(id).is_none()) {
            return Err(Status::NotFound);
        }
        let (used, wasted) = (self.used(), self.used() - self.live());
        let full = FIRST + used + bytes > self.bytes;
        let wasteful = wasted * 100 >= used * self.threshold && used >= SMALLEST / 2;
        let compacted = (full || wasteful) && self.compact(bytes);
        if full && !compacted {
            return Ok(None);
        }
        self.next_id += u64::from(of.is_none());
        Ok(Some(of.unwrap_or(self.next_id - 1)))
    }

    /// What is allocated takes its place, committed or not.
    fn enter(&mut self, mut entry: Entry, discard: bool) {
        if !discard {
            self.committed += 1;
            entry.version = self.committed;
            self.dismiss(entry.id);
        }
        self.entries.push(entry);
    }

    fn dismiss(&mut self, id: u64) {
        self.entries.iter_mut().filter(|entry| entry.id == id).for_each(|entry| entry.obsolete = true);
    }

    fn follow(&mut self, reader: usize) {
        (self.readers[reader].generation, self.readers[reader].bytes) = (self.generation, self.bytes);
    }

    fn next(&mut self, reader: usize) -> Option<Entry> {
        self.follow(reader);
        let passed = self.readers[reader].version;
        for entry in self.entries.clone().into_iter().filter(|entry| entry.version > passed) {
            let valid = self.is_valid(&entry);
            let stats = &mut self.readers[reader];
            stats.skipped += entry.version - stats.version - u64::from(valid);
            stats.received += u64::from(valid);
            stats.version = entry.version;
            if valid {
                return Some(entry);
            }
        }
        None
    }

    fn stats(&self) -> AreaStats {
        let is_read = |generation| self.readers.iter().any(|reader| reader.generation == generation);
        AreaStats {
            generation: self.generation,
            bytes: self.bytes,
            used: self.used(),
            live: self.live(),
            chunks: self.valid().count() as u64,
            committed: self.committed,
            pinned: self.retired.iter().filter(|(generation, _)| is_read(*generation)).map(|(_, bytes)| bytes).sum(),
            compactions: self.compactions,
            orphaned: false,
        }
    }
}

struct Test {
    name: AreaName,
    time: Arc<AtomicU64>,
    area: Option<Area>,
    readers: [Reader; READERS],
    model: Model,
}

fn clock(time: &Arc<AtomicU64>) -> impl Fn() -> u64 + Send + Sync + 'static {
    let time = time.clone();
    move || time.load(Ordering::Relaxed)
}

impl Test {
    fn new(largest: u64, threshold: u32) -> Self {
        let (name, time) = (AreaName::new(), Arc::new(AtomicU64::new(1)));
        let area = Area::create(&name, &Self::options(&time, largest, threshold).exclusive()).unwrap();
        let readers = std::array::from_fn(|_| Self::reader(&name, &time));
        let stats = ReaderStats {
            generation: 1,
            version: 0,
            received: 0,
            skipped: 0,
            lag: 0,
            bytes: SMALLEST,
            orphaned: false,
        };
        let model = Model {
            largest,
            threshold: threshold.into(),
            now: 1,
            next_id: 1,
            entries: Vec::new(),
            bytes: SMALLEST,
            generation: 1,
            committed: 0,
            compactions: 0,
            retired: Vec::new(),
            readers: [stats; READERS],
        };
        Self { name, time, area: Some(area), readers, model }
    }

    fn options(time: &Arc<AtomicU64>, largest: u64, threshold: u32) -> AreaOptions {
        AreaOptions::new().max_size(largest).min_size(SMALLEST).gc_threshold(threshold).clock(clock(time))
    }

    fn reader(name: &str, time: &Arc<AtomicU64>) -> Reader {
        Reader::open(name, &ReaderOptions::new().clock(clock(time))).unwrap()
    }

    fn pass(&mut self, time: u64) {
        self.model.now += time;
        self.time.store(self.model.now, Ordering::Relaxed);
    }

    fn area(&mut self) -> &mut Area {
        self.area.as_mut().unwrap()
    }

    /// One of the ids that there were, or one before or behind them.
    fn id(&self, any: u64) -> u64 {
        any % (self.model.next_id + 1)
    }

    fn version(&self, any: u64) -> u64 {
        any % (self.model.committed + 2)
    }

    fn write(&mut self, op: &Draft) {
        let of = op.of.map(|any| self.id(any));
        let expires = op.lasts.map_or(0, |time| self.model.now + time);
        let expected = self.model.allocate(of, op.size);
        let area = self.area.as_mut().unwrap();
        let outcome = match of {
            None => area.allocate(op.size, expires),
            Some(id) => area.update_until(id, op.size, expires),
        };
        let draft = match outcome {
            Err(error) => return assert_eq!(Err(error.status()), expected),
            Ok(draft) => draft,
        };
        assert_eq!(Ok(draft.as_ref().map(|draft| draft.id())), expected);
        let Some(mut draft) = draft else { return };
        // Only a part is written; the rest is zero.
        let mut entry =
            Entry { id: draft.id(), version: 0, expires, obsolete: false, contents: vec![0; op.size as usize] };
        let part = op.size as usize / 3..op.size as usize;
        entry.contents[part.clone()].fill(self.model.committed as u8 | 1);
        draft.write(part.start as u64, &entry.contents[part]).unwrap();
        self.model.now += op.takes;
        self.time.store(self.model.now, Ordering::Relaxed);
        // It is allocated; nobody sees it.
        while let Some(expected) = self.model.next(0) {
            assert_eq!(seen(&self.readers[0].next().unwrap().unwrap()), shown(&expected));
        }
        assert!(self.readers[0].next().unwrap().is_none());
        self.model.enter(entry, op.discard);
        if op.discard {
            drop(draft);
        } else {
            assert_eq!(draft.commit().unwrap(), self.model.committed);
        }
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Write(draft) => self.write(draft),
            Op::Obsolete(any) => {
                let id = self.id(*any);
                let expected = self.model.find(id).map(drop).ok_or(Status::NotFound);
                self.model.dismiss(id);
                assert_eq!(self.area().obsolete(id).map_err(|error| error.status()), expected);
            }
            Op::Collect => {
                let expected = self.model.live() != self.model.used() && self.model.compact(0);
                assert_eq!(self.area().collect().unwrap(), expected);
            }
            Op::Pass(time) => self.pass(*time),
            Op::Read(any) => {
                let id = self.id(*any);
                assert_eq!(self.area().read(id), self.model.find(id).map(|entry| entry.contents.clone()));
            }
            Op::Stats => assert_eq!(self.area().stats(), self.model.stats()),
            Op::Succeed => {
                (self.model.retired, self.model.compactions) = (Vec::new(), 0);
                let options = Self::options(&self.time, self.model.largest, self.model.threshold as u32);
                drop(self.area.take()); // One at a time.
                self.area = Some(Area::open(&self.name, &options).unwrap());
            }
            Op::Next(reader) => {
                let expected = self.model.next(*reader);
                let found = self.readers[*reader].next().unwrap();
                assert_eq!(found.as_ref().map(seen), expected.as_ref().map(shown));
            }
            Op::Get(reader, any) => {
                let id = self.id(*any);
                self.model.follow(*reader);
                let found = self.readers[*reader].get(id).unwrap();
                assert_eq!(found.as_ref().map(seen), self.model.find(id).map(shown));
            }
            Op::NextValid(reader, any) => {
                let version = self.version(*any);
                self.model.follow(*reader);
                let found = self.readers[*reader].next_valid(version).unwrap();
                let expected = self.model.valid().find(|entry| entry.version > version);
                assert_eq!(found.as_ref().map(seen), expected.map(shown));
            }
            Op::Seek(reader, any) => {
                let version = self.version(*any);
                self.model.readers[*reader].version = version;
                self.readers[*reader].seek(version);
            }
            Op::Reopen(reader) => {
                self.readers[*reader] = Self::reader(&self.name, &self.time);
                (self.model.readers[*reader].version, self.model.readers[*reader].received) = (0, 0);
                self.model.readers[*reader].skipped = 0;
                self.model.follow(*reader);
            }
        }
        for (reader, expected) in self.readers.iter().zip(self.model.readers) {
            let lag = self.model.committed.saturating_sub(expected.version);
            assert_eq!(reader.stats(), ReaderStats { lag, ..expected });
        }
    }

    fn end(mut self) {
        self.run(&Op::Stats);
        for id in 0..=self.model.next_id {
            self.run(&Op::Read(id));
            self.run(&Op::Get(0, id));
        }
        // What a walk over all that is valid finds.
        for version in 0..=self.model.committed {
            self.run(&Op::NextValid(1, version));
        }
        // What they have is theirs, also when it is removed.
        (0..READERS).for_each(|nth| self.run(&Op::Get(nth, 0)));
        self.area.take().unwrap().unlink().unwrap();
        for nth in 0..READERS {
            while let Some(expected) = self.model.next(nth) {
                assert_eq!(seen(&self.readers[nth].next().unwrap().unwrap()), shown(&expected));
            }
            assert_eq!(self.readers[nth].next().unwrap_err().status(), Status::Closed);
        }
        assert!(self.name.objects().is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_area_is_a_list_of_chunks(
        pages in 1_u64..6,
        threshold in prop_oneof![1_u32..=100, 40_u32..60],
        ops in ops(),
    ) {
        let mut test = Test::new(pages * 4096, threshold);
        ops.iter().for_each(|op| test.run(op));
        test.end();
    }
}
