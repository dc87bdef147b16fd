//! Areas of chunks: writing, updating, expiring, compacting, following, succeeding.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shmds::Status;
use shmds::speculo::{Area, AreaOptions, Reader, ReaderOptions};

/// A name of this test's, which leaves nothing behind.
struct Name(String);

impl Name {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(format!("shmds-speculo-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    fn objects(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir("/dev/shm").unwrap().flatten().map(|entry| entry.path());
        let ours = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(&format!("{}.", self.0));
        let mut found: Vec<_> = entries.filter(ours).collect();
        found.sort();
        found
    }

    fn reader(&self) -> Reader {
        Reader::open(&self.0, &ReaderOptions::new()).unwrap()
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        self.objects().iter().for_each(|path| drop(std::fs::remove_file(path)));
    }
}

fn area(name: &Name) -> Area {
    Area::create(&name.0, &AreaOptions::new()).unwrap()
}

fn rest(reader: &mut Reader) -> Vec<(u64, Vec<u8>)> {
    std::iter::from_fn(|| reader.next().unwrap().map(|chunk| (chunk.id(), chunk.to_vec()))).collect()
}

#[test]
fn chunks_are_seen_when_they_are_committed_and_in_order() {
    let name = Name::new();
    let mut area = area(&name);
    let mut reader = name.reader();
    assert!(reader.next().unwrap().is_none());
    let mut draft = area.allocate(5, 0).unwrap().unwrap();
    let first = draft.id();
    draft.write(0, b"hello").unwrap();
    assert_eq!(draft.write(4, b"xx").unwrap_err().status(), Status::Invalid);
    assert!(reader.next().unwrap().is_none(), "allocated is not there yet");
    assert_eq!(draft.commit().unwrap(), 1);
    drop(area.allocate(10, 0).unwrap());
    let second = area.write(b"world", 0).unwrap().unwrap();
    assert_eq!(rest(&mut reader), [(first, b"hello".to_vec()), (second, b"world".to_vec())]);
    assert_eq!(area.stats().committed, 2);
    reader.seek(1);
    assert_eq!(rest(&mut reader), [(second, b"world".to_vec())]);
    assert_eq!((reader.stats().version, reader.stats().lag), (2, 0));
}

#[test]
fn the_newest_of_an_id_counts_and_the_obsolete_does_not() {
    let name = Name::new();
    let mut area = area(&name);
    let (one, two) = (area.write(b"1", 0).unwrap().unwrap(), area.write(b"2", 0).unwrap().unwrap());
    let mut draft = area.update(one, 3).unwrap().unwrap();
    draft.write(0, b"1.1").unwrap();
    draft.commit().unwrap();
    let mut reader = name.reader();
    assert_eq!(reader.get(one).unwrap().unwrap().to_vec(), b"1.1");
    assert_eq!(rest(&mut reader), [(two, b"2".to_vec()), (one, b"1.1".to_vec())]);
    assert_eq!(reader.stats().skipped, 1);
    area.obsolete(two).unwrap();
    assert_eq!(area.obsolete(two).unwrap_err().status(), Status::NotFound);
    assert!(reader.get(two).unwrap().is_none() && reader.get(99).unwrap().is_none());
    let valid = reader.next_valid(0).unwrap().unwrap();
    let version = valid.version();
    assert_eq!((valid.id(), valid.to_vec()), (one, b"1.1".to_vec()));
    assert!(reader.next_valid(version).unwrap().is_none());
    assert_eq!(area.update(two, 1).unwrap_err().status(), Status::NotFound);
}

#[test]
fn chunks_expire_by_the_clock_and_by_nothing_else() {
    let name = Name::new();
    let time = Arc::new(AtomicU64::new(100));
    let clock = |time: &Arc<AtomicU64>| {
        let time = time.clone();
        move || time.load(Ordering::Relaxed)
    };
    let mut area = Area::create(&name.0, &AreaOptions::new().clock(clock(&time))).unwrap();
    let mut reader = Reader::open(&name.0, &ReaderOptions::new().clock(clock(&time))).unwrap();
    let short = area.write(b"short", 150).unwrap().unwrap();
    let long = area.write(b"long", 1000).unwrap().unwrap();
    assert!(reader.get(short).unwrap().is_some());
    time.store(150, Ordering::Relaxed);
    assert!(reader.get(short).unwrap().is_none() && reader.get(long).unwrap().is_some());
    assert_eq!(rest(&mut reader), [(long, b"long".to_vec())]);
    assert_eq!((area.stats().chunks, area.stats().live), (1, 128));
    assert!(area.collect().unwrap());
    assert_eq!((area.stats().used, area.stats().generation, area.collect().unwrap()), (128, 2, false));
    assert!(reader.next().unwrap().is_none() && reader.get(long).unwrap().is_some());
}

#[test]
fn a_full_area_moves_its_valid_chunks_and_readers_follow() {
    let name = Name::new();
    let mut area = Area::create(&name.0, &AreaOptions::new().min_size(4096).max_size(32 << 10)).unwrap();
    let mut reader = name.reader();
    let kept = area.write(&[7; 1000], 0).unwrap().unwrap();
    let mut id = area.write(&[0; 100], 0).unwrap().unwrap();
    let mut versions = Vec::new();
    for round in 1..2000_u32 {
        let mut draft = area.update(id, 100).unwrap().unwrap();
        draft.write(0, &round.to_le_bytes()).unwrap();
        draft.commit().unwrap();
        if round % 7 == 0 {
            while let Some(chunk) = reader.next().unwrap() {
                versions.push(chunk.version());
                let held = u32::from_le_bytes(chunk.to_vec()[..4].try_into().unwrap());
                assert!(chunk.id() != id || held == round, "the newest, and no other");
            }
        }
        if round % 500 == 0 {
            area.obsolete(id).unwrap();
            id = area.write(&[1; 100], 0).unwrap().unwrap();
        }
    }
    let stats = area.stats();
    assert!(stats.compactions > 50 && stats.chunks == 2 && stats.bytes <= 32 << 10, "{stats:?}");
    assert!(versions.is_sorted() && versions.len() > 250);
    let found = reader.get(kept).unwrap().unwrap();
    assert_eq!(found.to_vec(), [7; 1000]);
    assert_eq!(name.objects().len(), 2, "the manifest and one area");
    assert_eq!(stats.pinned, 0);
    area.unlink().unwrap();
    rest_until_closed(&mut reader);
    assert!(name.objects().is_empty());
}

#[test]
fn without_room_nothing_is_lost() {
    let name = Name::new();
    let mut area = Area::create(&name.0, &AreaOptions::new().min_size(4096).max_size(8192)).unwrap();
    assert_eq!(area.allocate(1 << 20, 0).unwrap_err().status(), Status::Invalid);
    let ids: Vec<u64> = std::iter::from_fn(|| area.write(&[5; 1000], 0).unwrap()).collect();
    assert_eq!(ids.len(), 7);
    assert!(area.write(&[6; 1000], 0).unwrap().is_none());
    let mut reader = name.reader();
    assert_eq!(rest(&mut reader).iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids);
    area.obsolete(ids[3]).unwrap();
    assert!(area.write(&[6; 1000], 0).unwrap().is_some());
    assert_eq!(rest(&mut reader).len(), 1);
}

#[test]
fn what_is_said_to_be_taken_is_taken() {
    let name = Name::new();
    let mut area = Area::create(&name.0, &AreaOptions::new().max_size(8200 + 63)).unwrap();
    let refused = area.allocate(1 << 20, 0).unwrap_err().to_string();
    let most: u64 = refused.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(area.allocate(most, 0).unwrap().is_some(), "{refused}");
    assert_eq!(area.allocate(most + 1, 0).unwrap_err().status(), Status::Invalid);
}

#[test]
fn old_areas_that_readers_keep_are_counted_and_can_be_limited() {
    let name = Name::new();
    let options = AreaOptions::new().min_size(4096).max_size(8192).max_pinned(8192);
    let mut area = Area::create(&name.0, &options).unwrap();
    let id = area.write(&[1; 500], 0).unwrap().unwrap();
    let readers: Vec<Reader> = (0..3).map(|_| name.reader()).collect();
    let collect = |area: &mut Area| {
        area.update(id, 500).unwrap().unwrap().commit().unwrap();
        area.collect().unwrap()
    };
    assert!(collect(&mut area));
    assert_eq!(area.stats().pinned, 4096);
    assert!(collect(&mut area), "nobody has the second");
    assert_eq!(area.stats().pinned, 4096);
    let _second = name.reader();
    assert!(collect(&mut area));
    assert_eq!(area.stats().pinned, 8192);
    let _third = name.reader();
    assert!(!collect(&mut area), "a third would be too many");
    drop(readers);
    assert!(collect(&mut area));
}

#[test]
fn an_area_that_nobody_reads_is_compacted_whatever_readers_may_keep() {
    let name = Name::new();
    let mut area = Area::create(&name.0, &AreaOptions::new().max_size(8192).max_pinned(0)).unwrap();
    let id = area.write(&[1; 1000], 0).unwrap().unwrap();
    let mut update = || Ok::<_, shmds::Error>(area.update(id, 1000)?.map(|draft| draft.commit().unwrap()));
    assert!((0..50).all(|_| update().unwrap().is_some()));
    let reader = name.reader();
    assert!((0..50).any(|_| update().unwrap().is_none()), "it would keep the area");
    drop(reader);
    assert!(update().unwrap().is_some());
}

#[test]
fn the_areas_of_a_prefix_are_listed_and_nothing_else() {
    let name = Name::new();
    let list = |prefix: &str| Area::list(prefix, &AreaOptions::new()).unwrap();
    let prefix = format!("{}.", name.0);
    assert_eq!(list(&prefix), [""; 0]);
    let named = |end: &str| format!("{prefix}{end}");
    let mut areas: Vec<_> = ["b", "a", "é", "a.speculo", "a.speculo-1"]
        .iter()
        .map(|end| Area::create(&named(end), &AreaOptions::new()).unwrap())
        .collect();
    // Neither an area's own file nor what is somebody else's is an area's name.
    std::fs::write(format!("/dev/shm/{prefix}segment"), "").unwrap();
    std::fs::write(format!("/dev/shm/{prefix}\n.speculo"), "").unwrap();
    assert_eq!(list(&prefix), ["a", "a.speculo", "a.speculo-1", "b", "é"].map(named));
    assert_eq!(list(&format!("/{prefix}b")), [named("b")]);
    areas.remove(0).unlink().unwrap();
    drop(areas);
    assert_eq!(list(&prefix), ["a", "a.speculo", "a.speculo-1", "é"].map(named), "a writer's end is no area's");
    assert!(list("").len() >= 4);
    let nowhere = Area::list("", &AreaOptions::new().directory("/nonexistent")).unwrap_err();
    assert_eq!(nowhere.status(), Status::NotFound, "{nowhere}");
}

#[test]
fn one_writer_at_a_time_and_the_next_goes_on() {
    let name = Name::new();
    assert_eq!(Area::open(&name.0, &AreaOptions::new()).unwrap_err().status(), Status::NotFound);
    let mut first = area(&name);
    let id = first.write(b"first", 0).unwrap().unwrap();
    let refused = Area::open(&name.0, &AreaOptions::new()).unwrap_err();
    assert_eq!(refused.status(), Status::Busy, "{refused}");
    assert_eq!(Area::unlink_name(&name.0, &AreaOptions::new()).unwrap_err().status(), Status::Busy);
    drop(first);
    assert_eq!(Area::create(&name.0, &AreaOptions::new().exclusive()).unwrap_err().status(), Status::Exists);
    let mut second = Area::open(&name.0, &AreaOptions::new()).unwrap();
    assert_eq!(second.read(id).unwrap(), b"first");
    let next = second.write(b"second", 0).unwrap().unwrap();
    assert!(next > id);
    assert_eq!(rest(&mut name.reader()).len(), 2);
    drop(second);
    assert!(Area::unlink_name(&name.0, &AreaOptions::new()).unwrap());
    assert!(!Area::unlink_name(&name.0, &AreaOptions::new()).unwrap());
    assert_eq!(Reader::open(&name.0, &ReaderOptions::new()).unwrap_err().status(), Status::NotFound);
}

/// The bytes of an area, its first generation unless told, to be changed as a writer's death would have left them.
struct Bytes(std::fs::File);

impl Bytes {
    fn of(name: &Name) -> Self {
        Self::of_generation(name, 1)
    }

    fn of_generation(name: &Name, generation: u64) -> Self {
        let path = format!("/dev/shm/{}.speculo-{generation}", name.0);
        Self(std::fs::File::options().read(true).write(true).open(path).unwrap())
    }

    fn put(&self, offset: u64, bytes: &[u8]) {
        self.0.write_all_at(bytes, offset).unwrap();
    }
}

#[test]
fn a_death_between_version_and_state_takes_nothing_from_readers() {
    let name = Name::new();
    let mut first = area(&name);
    let id = first.write(b"old", 0).unwrap().unwrap();
    drop(first.update(id, 3).unwrap());
    drop(first);
    // The second chunk has its version, and is still ALLOCATED.
    let bytes = Bytes::of(&name);
    bytes.put(256 + 16, &2_u64.to_le_bytes());
    bytes.put(256, &1_u32.to_le_bytes());
    let mut reader = name.reader();
    let mut second = Area::open(&name.0, &AreaOptions::new()).unwrap();
    assert_eq!(rest(&mut reader), [(id, b"old".to_vec())]);
    assert_eq!(reader.get(id).unwrap().unwrap().to_vec(), b"old", "what was not committed takes nobody's place");
    let next = second.write(b"next", 0).unwrap().unwrap();
    assert_eq!(second.stats().committed, 2, "its version is given again");
    assert_eq!(rest(&mut reader), [(next, b"next".to_vec())]);
}

/// Updates a chunk as a writer does that dies before it marks the chunk at `old` as obsolete, or is just about to.
fn update_unmarked(name: &Name, area: &mut Area, id: u64, contents: &[u8], old: u64) {
    let mut draft = area.update(id, contents.len() as u64).unwrap().unwrap();
    draft.write(0, contents).unwrap();
    draft.commit().unwrap();
    let generation = area.stats().generation;
    Bytes::of_generation(name, generation).put(old, &2_u32.to_le_bytes());
}

#[test]
fn next_brings_nothing_older_than_get_has_shown() {
    let name = Name::new();
    let mut area = area(&name);
    let (id, other) = (area.write(b"v1", 0).unwrap().unwrap(), area.write(b"other", 0).unwrap().unwrap());
    let [mut only_next, mut early, mut gets, mut walks] = [(); 4].map(|()| name.reader());
    assert_eq!(early.get(id).unwrap().unwrap().to_vec(), b"v1");
    update_unmarked(&name, &mut area, id, b"v2", 128);
    let newer = [(other, b"other".to_vec()), (id, b"v2".to_vec())];
    let all = [&[(id, b"v1".to_vec())], &newer[..]].concat();
    // Nobody has shown them v2 yet.
    assert_eq!(rest(&mut only_next), all);
    assert_eq!(rest(&mut early), all);
    assert_eq!(gets.get(id).unwrap().unwrap().to_vec(), b"v2");
    assert_eq!(walks.next_valid(2).unwrap().unwrap().to_vec(), b"v2");
    for reader in [&mut gets, &mut walks] {
        assert_eq!(rest(reader), newer);
        assert_eq!((reader.stats().received, reader.stats().skipped), (2, 1));
        reader.seek(0);
        assert_eq!(rest(reader), newer);
    }
}

#[test]
fn next_brings_nothing_older_than_get_has_shown_although_that_has_expired() {
    let name = Name::new();
    let time = Arc::new(AtomicU64::new(100));
    let clock = || {
        let time = time.clone();
        move || time.load(Ordering::Relaxed)
    };
    let mut area = Area::create(&name.0, &AreaOptions::new().clock(clock())).unwrap();
    let mut reader = Reader::open(&name.0, &ReaderOptions::new().clock(clock())).unwrap();
    let id = area.write(b"v1", 0).unwrap().unwrap();
    area.update_until(id, 2, 150).unwrap().unwrap().commit().unwrap();
    Bytes::of(&name).put(128, &2_u32.to_le_bytes());
    assert_eq!(reader.get(id).unwrap().unwrap().version(), 2);
    time.store(150, Ordering::Relaxed);
    assert!(reader.next().unwrap().is_none() && reader.get(id).unwrap().is_none());
    assert_eq!(reader.stats().skipped, 2);
    // What it took the place of does not come back in a new area either.
    drop(area);
    let mut next = Area::open(&name.0, &AreaOptions::new().clock(clock())).unwrap();
    let last = next.write(b"last", 0).unwrap().unwrap();
    assert!(next.collect().unwrap());
    reader.seek(0);
    assert_eq!(rest(&mut reader), [(last, b"last".to_vec())]);
}

#[test]
fn nothing_older_than_get_has_shown_comes_from_a_new_area() {
    let name = Name::new();
    let mut first = area(&name);
    let (id, other) = (first.write(b"v1", 0).unwrap().unwrap(), first.write(b"other", 0).unwrap().unwrap());
    update_unmarked(&name, &mut first, id, b"v2", 128);
    let mut reader = name.reader();
    assert_eq!(reader.get(id).unwrap().unwrap().to_vec(), b"v2");
    drop(first);
    let mut second = area(&name);
    assert!(second.collect().unwrap());
    // In the new area, other lies at 128 and v2 at 256.
    assert_eq!(reader.next().unwrap().unwrap().id(), other);
    assert_eq!(reader.stats().generation, 2);
    update_unmarked(&name, &mut second, id, b"v3", 256);
    assert_eq!(reader.get(id).unwrap().unwrap().to_vec(), b"v3");
    assert_eq!(rest(&mut reader), [(id, b"v3".to_vec())]);
    assert_eq!((reader.stats().received, reader.stats().skipped), (2, 2));
    // Nor from the one after it, whose index knows nothing yet.
    drop(second);
    let mut third = area(&name);
    assert!(third.collect().unwrap());
    reader.seek(0);
    assert_eq!(rest(&mut reader), [(other, b"other".to_vec()), (id, b"v3".to_vec())]);
}

#[test]
fn a_restart_of_the_machine_brings_nothing_back_that_was_replaced() {
    let name = Name::new();
    let mut first = area(&name);
    let id = first.write(b"old", 0).unwrap().unwrap();
    first.update_until(id, 3, u64::MAX).unwrap().unwrap().commit().unwrap();
    drop(first);
    // The writer died before it marked the first one; then the machine started anew.
    let bytes = Bytes::of(&name);
    bytes.put(128, &2_u32.to_le_bytes());
    bytes.put(32, &7_u64.to_le_bytes());
    let mut second = Area::open(&name.0, &AreaOptions::new()).unwrap();
    assert_eq!((second.read(id), second.stats().chunks, second.stats().generation), (None, 0, 2));
    assert!(name.reader().get(id).unwrap().is_none());
}

#[test]
fn an_area_that_outgrew_its_limit_survives_a_restart_of_the_machine() {
    let name = Name::new();
    let mut first = area(&name);
    let ids: Vec<u64> = (0..20).map(|_| first.write(&[3; 1000], 0).unwrap().unwrap()).collect();
    drop(first);
    Bytes::of(&name).put(32, &7_u64.to_le_bytes());
    let mut second = Area::open(&name.0, &AreaOptions::new().max_size(8192)).unwrap();
    assert_eq!(second.read(ids[19]).unwrap(), [3; 1000]);
    let more = std::iter::from_fn(|| second.write(&[4; 1000], 0).unwrap()).count();
    assert!(more < 4, "it takes no more than there is room for by chance");
}

#[test]
fn versions_that_make_no_sense_do_not_stop_a_reader() {
    let name = Name::new();
    let mut area = area(&name);
    area.write(b"one", 0).unwrap().unwrap();
    Bytes::of(&name).put(128 + 16, &u64::MAX.to_le_bytes());
    let mut reader = name.reader();
    for _ in 0..3 {
        assert_eq!(reader.next().unwrap().unwrap().version(), u64::MAX);
        reader.seek(0);
    }
    Bytes::of(&name).put(128 + 24, &u64::MAX.to_le_bytes());
    assert_eq!(reader.next().unwrap_err().status(), Status::Corrupt);
    Bytes::of(&name).put(128 + 24, &3_u64.to_le_bytes());
    Bytes::of(&name).put(128, &5_u32.to_le_bytes());
    assert_eq!(reader.get(1).unwrap_err().status(), Status::Corrupt);
}

#[test]
fn what_is_not_there_can_be_made_exclusively() {
    let name = Name::new();
    let exclusive = AreaOptions::new().exclusive();
    let first = Area::create(&name.0, &exclusive).unwrap();
    drop(first);
    assert_eq!(Area::create(&name.0, &exclusive).unwrap_err().status(), Status::Exists);
}

#[test]
fn the_next_writer_shuts_no_reader_out() {
    let name = Name::new();
    let mut first = Area::create(&name.0, &AreaOptions::new().mode(0o644)).unwrap();
    first.write(b"x", 0).unwrap();
    drop(first);
    let mut second = Area::open(&name.0, &AreaOptions::new()).unwrap();
    second.obsolete(1).unwrap();
    assert!(second.collect().unwrap());
    let modes: Vec<u32> = name.objects().iter().map(|path| path.metadata().unwrap().mode() & 0o7777).collect();
    assert_eq!(modes, [0o644, 0o644]);
}

#[test]
fn what_cannot_be_made_leaves_nothing() {
    let name = Name::new();
    let huge = AreaOptions::new().max_size(1 << 60).min_size(1 << 60);
    assert_eq!(Area::create(&name.0, &huge).unwrap_err().status(), Status::NoSpace);
    assert_eq!(name.objects(), Vec::<PathBuf>::new());
    area(&name);
}

#[test]
fn a_former_area_that_nobody_reads_takes_no_memory() {
    let name = Name::new();
    let mut area = area(&name);
    area.write(b"x", 0).unwrap();
    area.obsolete(1).unwrap();
    assert!(area.collect().unwrap());
    let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let former = format!("{}.speculo-1", name.0);
    let open = links.filter_map(|link| std::fs::read_link(link.path()).ok());
    assert_eq!(open.filter(|path| path.to_string_lossy().contains(&former)).count(), 0);
}

#[test]
fn a_commit_that_its_writer_died_before_announcing_is_found() {
    let name = Name::new();
    let mut area = area(&name);
    let mut reader = name.reader();
    let draft = area.allocate(3, 0).unwrap().unwrap();
    let bytes = Bytes::of(&name);
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(move || reader.next_wait(Duration::from_secs(10)).unwrap().map(|chunk| chunk.id()));
        std::thread::sleep(Duration::from_millis(20));
        bytes.put(128 + 16, &1_u64.to_le_bytes());
        bytes.put(128, &2_u32.to_le_bytes());
        let written = Instant::now();
        assert_eq!(sleeper.join().unwrap(), Some(draft.id()));
        assert!(written.elapsed() < Duration::from_secs(5), "long before its time was over");
    });
}

#[test]
fn exclusive_creation_makes_what_is_not_there() {
    let (name, options) = (Name::new(), AreaOptions::new().exclusive());
    let mut area = Area::create(&name.0, &options).unwrap();
    assert!(area.write(b"mine", 0).unwrap().is_some());
    drop(area);
    assert_eq!(Area::create(&name.0, &options).unwrap_err().status(), Status::Exists);
}

/// A process that is being started has all descriptors for a moment, and with them whatever they hold.
#[test]
fn a_closed_area_is_free_whatever_processes_are_being_started() {
    let (name, over) = (Name::new(), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while over.load(Ordering::Relaxed) == 0 {
                    assert!(std::process::Command::new("true").status().unwrap().success());
                }
            });
        }
        let outcome = (0..3000).try_for_each(|_| Area::create(&name.0, &AreaOptions::new()).map(drop));
        over.store(1, Ordering::Relaxed);
        outcome.unwrap();
    });
}

#[test]
fn a_sleeping_reader_is_woken_by_a_commit() {
    let name = Name::new();
    let mut area = area(&name);
    let mut reader = name.reader();
    assert!(reader.next_wait(Duration::from_millis(5)).unwrap().is_none());
    std::thread::scope(|scope| {
        let sleeper =
            scope.spawn(move || reader.next_wait(Duration::from_secs(20)).unwrap().map(|chunk| chunk.to_vec()));
        std::thread::sleep(Duration::from_millis(20));
        area.write(b"wake up", 0).unwrap();
        assert_eq!(sleeper.join().unwrap(), Some(b"wake up".to_vec()));
    });
}

#[test]
fn names_and_sizes_that_cannot_be_are_refused() {
    for name in ["", "a/b", ".hidden", "tab\t", &"n".repeat(201)] {
        assert_eq!(Area::create(name, &AreaOptions::new()).unwrap_err().status(), Status::Invalid, "{name}");
    }
    let name = Name::new();
    for options in [
        AreaOptions::new().max_size(0),
        AreaOptions::new().max_size(u64::MAX),
        AreaOptions::new().max_size(8192).min_size(8193),
        AreaOptions::new().gc_threshold(0),
        AreaOptions::new().gc_threshold(101),
        AreaOptions::new().mode(0o400),
    ] {
        assert_eq!(Area::create(&name.0, &options).unwrap_err().status(), Status::Invalid, "{options:?}");
    }
    let elsewhere = AreaOptions::new().directory("/nonexistent");
    assert_eq!(Area::create(&name.0, &elsewhere).unwrap_err().status(), Status::NotFound);
}

/// Has a chunk updated and then moved to another area.
fn written_and_moved(area: &mut Area, contents: &[u8]) -> u64 {
    let id = area.write(b"", 0).unwrap().unwrap();
    let mut draft = area.update(id, contents.len() as u64).unwrap().unwrap();
    draft.write(0, contents).unwrap();
    draft.commit().unwrap();
    assert!(area.collect().unwrap());
    id
}

#[test]
fn a_late_reader_gets_nothing_of_an_area_that_was_made_anew_under_its_name() {
    let name = Name::new();
    let mut first = area(&name);
    let mut late = name.reader();
    let id = written_and_moved(&mut first, b"first");
    first.unlink().unwrap();
    // Of the generation that the first one ended with, and with chunks of the same ids.
    let mut second = area(&name);
    assert_eq!(written_and_moved(&mut second, b"second"), id);
    assert_eq!(late.get(id).unwrap().unwrap().to_vec(), b"first", "it keeps what it has");
    assert_eq!(rest_until_closed(&mut late), [b"first"]);
    assert_eq!(rest(&mut name.reader()), [(id, b"second".to_vec())]);
}

fn rest_until_closed(reader: &mut Reader) -> Vec<Vec<u8>> {
    let mut seen = Vec::new();
    loop {
        match reader.next() {
            Ok(chunk) => seen.push(chunk.expect("the area was removed").to_vec()),
            Err(error) => {
                assert_eq!(error.status(), Status::Closed);
                return seen;
            }
        }
    }
}

#[test]
fn a_writer_whose_files_were_removed_by_hand_leaves_those_alone_that_came_after() {
    let name = Name::new();
    let orphan = || {
        let mut area = area(&name);
        area.write(b"orphan", 0).unwrap();
        name.objects().iter().for_each(|path| std::fs::remove_file(path).unwrap());
        area
    };
    let [mut moves, unlinks] = [orphan(), orphan()];
    let mut next = area(&name);
    written_and_moved(&mut next, b"next");
    moves.obsolete(1).unwrap();
    let refused = moves.collect().unwrap_err();
    assert_eq!(refused.status(), Status::Corrupt, "{refused}");
    unlinks.unlink().unwrap();
    assert_eq!(rest(&mut name.reader()), [(1, b"next".to_vec())]);
    assert_eq!(name.objects().len(), 2);
}
