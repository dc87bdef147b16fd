//! Areas of chunks: whoever reads sees nothing torn and nothing uncommitted, whatever the writer dies in; the next one goes on.

use std::collections::{BTreeMap, HashMap};
use std::fs;

use shmds::speculo::{Area, AreaOptions, Reader, ReaderOptions};
use shmds::{Status, VerifyOptions};

use super::support::{AreaName, Peer, Random, contents, newest_written, role_words, say, whole, word};
use super::{Context, Dying, Total};

/// The ids that are there before; a fourth is obsolete, a fifth has expired.
const THERE: [u64; 3] = [1, 2, 3];
/// Too much for the first area.
const LARGE: usize = 9000;

fn options() -> AreaOptions {
    AreaOptions::new().min_size(4096).max_size(64 << 10)
}

fn open(dying: &Dying) -> Area {
    Area::open(&dying.segment, &options()).unwrap()
}

fn update(area: &mut Area, id: u64, number: u64) {
    let bytes = contents(id, number);
    let mut draft = area.update(id, bytes.len() as u64).unwrap().unwrap();
    draft.write(0, &bytes).unwrap();
    draft.commit().unwrap();
}

fn write(area: &mut Area, number: u64) -> u64 {
    // Who is new has 0 instead of its id, which nobody knows before.
    area.write(&contents(0, number), 0).unwrap().unwrap()
}

type Die = fn(&Dying);

/// The names of all of them.
pub(super) fn names() -> impl Iterator<Item = String> {
    let all = OPERATIONS.iter().chain([&CREATE]).chain(&REMOVE);
    all.map(|(name, _)| format!("speculo:{name}"))
}

/// What there is to die in. The chunks that may be new afterwards: of these ids.
const OPERATIONS: &[(&str, Die)] = &[
    ("open", |dying| dying.during(|| open(dying))),
    ("allocate", |dying| {
        let mut area = open(dying);
        dying.during(|| std::mem::forget(area.allocate(700, 0).unwrap()));
    }),
    ("allocate-update", |dying| {
        let mut area = open(dying);
        dying.during(|| std::mem::forget(area.update(1, 700).unwrap()));
    }),
    ("commit", |dying| {
        let mut area = open(dying);
        let bytes = contents(0, 50);
        let mut draft = area.allocate(bytes.len() as u64, 0).unwrap().unwrap();
        draft.write(0, &bytes).unwrap();
        dying.during(|| draft.commit().unwrap());
    }),
    ("write", |dying| {
        let mut area = open(dying);
        dying.during(|| write(&mut area, 50));
    }),
    ("commit-update", |dying| {
        let mut area = open(dying);
        let bytes = contents(2, 50);
        let mut draft = area.update(2, bytes.len() as u64).unwrap().unwrap();
        draft.write(0, &bytes).unwrap();
        dying.during(|| draft.commit().unwrap());
    }),
    ("update-twice", |dying| {
        let mut area = open(dying);
        dying.during(|| (50..52).for_each(|number| update(&mut area, 2, number)));
    }),
    ("update-expired", |dying| {
        let mut area = open(dying);
        dying.during(|| area.update_until(3, 16, 1).unwrap().unwrap().commit().unwrap());
    }),
    ("discard", |dying| {
        let mut area = open(dying);
        let draft = area.update(1, 300).unwrap().unwrap();
        dying.during(|| drop(draft));
    }),
    ("obsolete", |dying| {
        let mut area = open(dying);
        dying.during(|| area.obsolete(2).unwrap());
    }),
    ("collect", |dying| {
        let mut area = open(dying);
        dying.during(|| assert!(area.collect().unwrap()));
    }),
    ("grow", |dying| {
        let mut area = open(dying);
        dying.during(|| std::mem::forget(area.allocate(LARGE as u64, 0).unwrap().unwrap()));
    }),
    ("shrink", |dying| {
        let mut area = open(dying);
        let id = area.write(&[1; LARGE], 1).unwrap().unwrap();
        let before = area.stats().bytes;
        dying.during(|| {
            assert!(area.read(id).is_none() && area.collect().unwrap());
            assert!(area.stats().bytes < before);
        });
    }),
    ("close", |dying| {
        let area = open(dying);
        dying.during(|| drop(area));
    }),
    ("close-with-a-draft", |dying| {
        let mut area = open(dying);
        std::mem::forget(area.update(1, 300).unwrap().unwrap());
        dying.during(|| drop(area));
    }),
];

const CREATE: (&str, Die) = ("create", |dying| {
    dying.during(|| write(&mut Area::create(&dying.segment, &options()).unwrap(), 50));
});

const REMOVE: [(&str, Die); 2] = [
    ("unlink", |dying| {
        let area = open(dying);
        dying.during(|| area.unlink().unwrap());
    }),
    ("unlink-name", |dying| {
        dying.during(|| assert!(Area::unlink_name(&dying.segment, &options()).unwrap()));
    }),
];

#[test]
#[ignore = "not a test: a process that tests start"]
fn dying() {
    let Some(words) = role_words() else { return };
    println!();
    let dying = Dying { segment: words[0].clone(), nth: words[2].parse().unwrap() };
    let all = OPERATIONS.iter().chain([&CREATE]).chain(&REMOVE);
    let (_, die) = all.into_iter().find(|(name, _)| *name == words[1]).unwrap();
    die(&dying);
    unreachable!("it should be dead");
}

/// Dies in the operation after its n-th store; how many stores there were, if it was complete.
fn die(name: &str, operation: &str, nth: u64) -> Option<u64> {
    let out = Peer::role("speculo::dying", &format!("{name} {operation} {nth}")).died();
    out.lines().find_map(|line| line.strip_prefix("complete after ")).map(|count| count.parse().unwrap())
}

/// A reader that is there all the time, and what it has seen.
struct Witness {
    reader: Reader,
    passed: u64,
    numbers: HashMap<u64, u64>,
}

impl Witness {
    fn new(name: &str) -> Self {
        let reader = Reader::open(name, &ReaderOptions::new()).unwrap();
        Self { reader, passed: 0, numbers: HashMap::new() }
    }

    /// Reads what there is; everything is whole and in order. The versions it got.
    fn drain(&mut self) -> Vec<u64> {
        let mut versions = Vec::new();
        loop {
            let chunk = match self.reader.next() {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) if error.status() == Status::Closed => break,
                Err(error) => panic!("{error}"),
            };
            let (label, number) = whole(&chunk.to_vec());
            assert!(label == 0 || label == chunk.id());
            assert!(chunk.version() > self.passed, "{} after {}", chunk.version(), self.passed);
            self.passed = chunk.version();
            let before = self.numbers.insert(chunk.id(), number);
            assert!(before.is_none_or(|before| before < number), "{number} of {} after {before:?}", chunk.id());
            versions.push(chunk.version());
        }
        versions
    }
}

/// An area of three chunks, with some waste between them; nobody writes to it now.
fn prepare(name: &str) {
    let mut area = Area::create(name, &options().exclusive()).unwrap();
    for id in THERE {
        assert_eq!(area.write(&contents(id, 1), 0).unwrap(), Some(id));
    }
    area.write(&contents(4, 1), 0).unwrap();
    area.write(&contents(5, 1), 1).unwrap();
    area.obsolete(4).unwrap();
    update(&mut area, 1, 2);
}

/// What there is according to the bytes.
fn lies_there(name: &AreaName) -> BTreeMap<u64, (u64, Vec<u8>)> {
    let current = word(&fs::read(name.manifest()).unwrap(), 128);
    if current == 0 { BTreeMap::new() } else { newest_written(&fs::read(name.area(current)).unwrap()) }
}

fn all_valid(reader: &mut Reader) -> BTreeMap<u64, (u64, Vec<u8>)> {
    let (mut found, mut version) = (BTreeMap::new(), 0);
    while let Some(chunk) = reader.next_valid(version).unwrap() {
        version = chunk.version();
        found.insert(chunk.id(), (version, chunk.to_vec()));
    }
    found
}

/// No damage, and leftovers up to so many.
fn finds(name: &AreaName, options: VerifyOptions, most: u64) {
    let mut sentences = Vec::new();
    let found = Area::verify_name(name, &self::options(), options, |one| sentences.push(one.sentence.clone())).unwrap();
    assert!(found.damage == 0 && found.leftovers <= most, "{sentences:#?}");
}

/// After a death: readers that were there are content, and the next writer finds what was committed, and goes on.
fn look(name: &AreaName, witnesses: &mut [Witness]) {
    let expected = lies_there(name);
    expected.values().for_each(|(_, bytes)| _ = whole(bytes));
    let found = all_valid(&mut Reader::open(name, &ReaderOptions::new()).unwrap());
    assert_eq!(found, expected, "without a writer");
    // Who has asked for the newest gets nothing older from next, also where the dead writer did not mark it.
    let mut asker = Witness::new(name);
    THERE.iter().for_each(|id| _ = asker.reader.get(*id).unwrap());
    let mut versions: Vec<u64> = expected.values().map(|(version, _)| *version).collect();
    versions.sort_unstable();
    assert_eq!(asker.drain(), versions, "after get");
    drop(asker);
    // Whatever it left half-done, it broke nothing; and the next writer leaves nothing of it.
    finds(name, VerifyOptions::new().at_rest(), u64::MAX);
    // One reads already now, the other only when there is a writer again.
    witnesses[0].drain();
    let mut area = Area::open(name, &options()).unwrap();
    finds(name, VerifyOptions::new().at_rest(), 0);
    assert_eq!(name.objects().len(), 2, "{:?}", name.objects());
    for (id, (_, bytes)) in &expected {
        assert_eq!(area.read(*id).as_ref(), Some(bytes), "chunk {id}");
    }
    assert_eq!(area.stats().chunks, expected.len() as u64);
    let mut reader = Reader::open(name, &ReaderOptions::new()).unwrap();
    assert_eq!(all_valid(&mut reader), expected, "with the next writer");
    let newest = expected.values().map(|(version, _)| *version).max().unwrap_or(0);
    assert!(area.stats().committed >= newest);
    witnesses.iter_mut().for_each(|witness| drop(witness.drain()));

    // Nobody misses what comes now.
    for round in 0..3 {
        let (id, first) = (write(&mut area, 100 + round), area.stats().committed);
        assert!(!expected.contains_key(&id) && id > 5, "{id} was there");
        let mut versions = vec![first];
        for id in expected.keys().filter(|id| THERE.contains(id)) {
            update(&mut area, *id, 100 + round);
            versions.push(area.stats().committed);
        }
        for witness in witnesses.iter_mut() {
            assert_eq!(witness.drain(), versions, "round {round}");
            for id in expected.keys().filter(|id| THERE.contains(id)) {
                let newest = witness.reader.get(*id).unwrap().unwrap();
                assert_eq!(whole(&newest.to_vec()), (*id, 100 + round));
            }
        }
        area.collect().unwrap();
        witnesses.iter_mut().for_each(|witness| assert_eq!(witness.drain(), []));
        assert_eq!(name.objects().len(), 2);
    }
    assert_eq!(all_valid(&mut reader).len() as u64, area.stats().chunks);
    finds(name, VerifyOptions::new().at_rest(), 0);
    area.unlink().unwrap();
    assert_eq!(name.objects().len(), 0);
}

fn witnesses(name: &str) -> [Witness; 2] {
    let mut both = [Witness::new(name), Witness::new(name)];
    assert_eq!(both[0].drain().len(), 3);
    both
}

/// Somebody who looks at one chunk all the time: it stays as it is.
fn with_a_chunk_held<T>(name: &str, during: impl FnOnce() -> T) -> T {
    let mut reader = Reader::open(name, &ReaderOptions::new()).unwrap();
    let held = reader.next().unwrap().unwrap();
    let copy = held.to_vec();
    let outcome = during();
    assert_eq!(held.to_vec(), copy, "it changed while somebody looked at it");
    outcome
}

#[test]
fn areas_survive_a_death_at_every_store() {
    let mut total = Total::default();
    for (operation, _) in OPERATIONS {
        for nth in 1.. {
            let context = Context(operation, nth);
            let name = AreaName::new();
            prepare(&name);
            let mut witnesses = witnesses(&name);
            let complete = with_a_chunk_held(&name, || {
                let complete = die(&name, operation, nth);
                look(&name, &mut witnesses);
                complete
            });
            total.deaths += 1;
            std::mem::forget(context);
            if let Some(count) = complete {
                assert_eq!(count, nth - 1, "as many deaths as stores");
                total.operation(&format!("speculo:{operation}"), count);
                break;
            }
        }
    }
    total.say();
}

#[test]
fn who_completes_what_a_dead_writer_left_can_die_of_it_at_every_store() {
    let mut total = Total::default();
    for operation in ["allocate", "update-twice", "discard", "collect", "grow"] {
        for first in 1.. {
            let mut complete = None;
            for second in 1.. {
                let words = format!("{operation}:{first}:open");
                let context = Context(&words, second);
                let name = AreaName::new();
                prepare(&name);
                let mut witnesses = witnesses(&name);
                complete = die(&name, operation, first);
                let over = die(&name, "open", second);
                look(&name, &mut witnesses);
                total.deaths += 2;
                std::mem::forget(context);
                if over.is_some() {
                    break;
                }
            }
            if complete.is_some() {
                break;
            }
        }
    }
    total.say();
}

#[test]
fn areas_that_are_half_made_or_half_removed_are_survived_at_every_store() {
    let mut total = Total::default();
    for nth in 1.. {
        let context = Context("create", nth);
        let name = AreaName::new();
        let count = die(&name, CREATE.0, nth);
        let complete = count.is_some();
        total.deaths += 1;
        assert!(name.objects().len() <= 2);
        drop(Area::create(&name, &options()).unwrap());
        let mut witnesses = [Witness::new(&name), Witness::new(&name)];
        assert!(!complete || lies_there(&name).len() == 1);
        // The first ids belong to somebody else elsewhere.
        let mut area = Area::open(&name, &options()).unwrap();
        (0..5).for_each(|_| assert!(area.allocate(1, 0).unwrap().is_some()));
        drop(area);
        look(&name, &mut witnesses);
        std::mem::forget(context);
        if let Some(count) = count {
            total.operation("speculo:create", count);
            break;
        }
    }
    for (operation, _) in REMOVE {
        for nth in 1.. {
            let context = Context(operation, nth);
            let name = AreaName::new();
            prepare(&name);
            let mut witness = Witness::new(&name);
            let count = die(&name, operation, nth);
            total.deaths += 1;
            witness.drain();
            let mut area = Area::create(&name, &options()).unwrap();
            assert_eq!(area.stats().chunks, 0, "the first store says that it is removed");
            assert!(witness.reader.next().is_err_and(|error| error.status() == Status::Closed));
            assert_eq!(name.objects().len(), 2);
            let id = write(&mut area, 7);
            let mut reader = Reader::open(&name, &ReaderOptions::new()).unwrap();
            assert_eq!(reader.next().unwrap().unwrap().id(), id);
            std::mem::forget(context);
            if let Some(count) = count {
                total.operation(&format!("speculo:{operation}"), count);
                break;
            }
        }
    }
    total.say();
}

#[test]
fn an_area_that_was_linked_and_never_switched_to_is_removed() {
    let name = AreaName::new();
    prepare(&name);
    let mut witnesses = witnesses(&name);
    let mut bytes = fs::read(name.area(1)).unwrap();
    bytes[24..32].copy_from_slice(&2_u64.to_le_bytes());
    fs::write(name.area(2), bytes).unwrap();
    look(&name, &mut witnesses);
}

#[test]
#[ignore = "not a test: a process that tests start"]
fn compacting() {
    let Some(words) = role_words() else { return };
    println!("\nhere");
    let mut area = Area::open(&words[0], &options()).unwrap();
    for number in 1000.. {
        if let Some(bytes) = area.read(1) {
            update(&mut area, 1, whole(&bytes).1.max(number) + 1);
        }
        area.collect().unwrap();
    }
}

/// Between system calls there is no store to die after: the instant is any.
#[test]
fn areas_survive_a_death_at_any_instant_of_compaction() {
    let mut random = Random::new();
    let (mut left, rounds) = ([0_u32; 4], 150);
    for _ in 0..rounds {
        let name = AreaName::new();
        prepare(&name);
        let mut witnesses = witnesses(&name);
        let mut peer = Peer::role("speculo::compacting", &name);
        peer.line("here");
        std::thread::sleep(random.micros(0, 3000));
        peer.kill();
        left[name.objects().len().min(3)] += 1;
        // What comes then has smaller numbers than the dead one's: it is another chunk.
        Area::open(&name, &options()).unwrap().obsolete(1).unwrap();
        look(&name, &mut witnesses);
    }
    say(&format!("areas: {rounds} deaths at any instant; {} left an area too many", left[3]));
}
