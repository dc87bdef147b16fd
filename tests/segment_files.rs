//! Segments in files: they outlive every process, and what was synced is on the disk.

mod support;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};

use shmds::{Array, Queue, QueueOptions, Segment, SegmentOptions, Status};
use support::*;

fn plain() -> SegmentOptions {
    SegmentOptions::new()
}

#[test]
fn a_segment_in_a_file_stays_until_it_is_unlinked() {
    let directory = TempDir::new();
    let path = directory.path("orders");
    refused(Segment::open_file(&path, &plain()), Status::NotFound, &[path.to_str().unwrap()]);
    refused(Segment::unlink_file(&path), Status::NotFound, &[path.to_str().unwrap()]);
    let segment = Segment::create_file(&path, &sized().exclusive()).unwrap();
    assert_eq!((segment.name(), segment.count()), (path.to_str().unwrap(), 1));
    assert!(segment.stats().unwrap().persistent, "without being asked for");
    let queue = Queue::<u64>::create(&segment, "q", &QueueOptions::new(8)).unwrap();
    assert!(queue.enqueue(&4711).unwrap());
    segment.sync().unwrap();
    drop((segment, queue));
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "and nothing beside it");

    refused(Segment::create_file(&path, &sized().exclusive()), Status::Exists, &["orders"]);
    refused(Segment::create_file(&path, &plain().size(8 << 20)), Status::Mismatch, &["orders", "8388608"]);
    let segment = Segment::create_file(&path, &sized()).unwrap();
    let queue = Queue::<u64>::open(&segment, "q").unwrap();
    assert_eq!((queue.dequeue().unwrap(), segment.count()), (Some(4711), 1));
    let reader = Segment::open_file(&path, &plain().read_only()).unwrap();
    assert_eq!(reader.entries().count(), 1);
    reader.sync().unwrap();
    Segment::unlink_file(&path).unwrap();
    assert!(!path.exists() && segment.stats().unwrap().orphaned);
    assert!(queue.enqueue(&1).unwrap());
}

#[test]
fn a_relative_path_still_leads_there_after_a_change_of_directory() {
    let directory = TempDir::new();
    let path = directory.path("here");
    let words = format!("{} {}", path.parent().unwrap().display(), path.display());
    Peer::role("wanderer", &words).finish();
    assert!(path.exists());
}

/// `wanderer DIRECTORY PATH`
#[test]
#[ignore = "not a test: a process that tests start"]
fn wanderer() {
    let Some(words) = role_words() else { return };
    std::env::set_current_dir(&words[0]).unwrap();
    let segment = Segment::create_file("here", &sized()).unwrap();
    std::env::set_current_dir("/").unwrap();
    assert_eq!(segment.name(), words[1]);
    assert!(!segment.stats().unwrap().orphaned);
    assert_eq!(Segment::open_file(&words[1], &plain()).unwrap().count(), 2);
}

#[test]
fn what_is_no_segment_or_no_file_is_refused_and_left_alone() {
    let directory = TempDir::new();
    let (path, link) = (directory.path("file"), directory.path("link"));
    for bad in ["", "/", ".", "..", "a/", "/tmp/..", &format!("{}/", path.display())] {
        refused(Segment::create_file(bad, &sized()), Status::Invalid, &["path", bad]);
        refused(Segment::open_file(bad, &plain()), Status::Invalid, &["path", bad]);
        refused(Segment::unlink_file(bad), Status::Invalid, &["path", bad]);
    }
    let nowhere = directory.path("no/such/file");
    refused(Segment::create_file(&nowhere, &sized()), Status::NotFound, &["no directory", "no/such"]);
    refused(Segment::open_file(&nowhere, &plain()), Status::NotFound, &["no/such/file"]);
    refused(Segment::create_file("/proc/segment", &sized()), Status::System, &["'/proc'", "/proc/segment"]);

    fs::create_dir(&path).unwrap();
    refused(Segment::open_file(&path, &plain().read_only()), Status::Corrupt, &["not a regular file"]);
    assert!(Segment::open_file(&path, &plain()).is_err() && Segment::create_file(&path, &sized()).is_err());
    assert!(Segment::unlink_file(&path).is_err() && path.is_dir());
    fs::remove_dir(&path).unwrap();

    fs::write(&path, "something of somebody's, longer than nothing").unwrap();
    for result in [Segment::open_file(&path, &plain()), Segment::create_file(&path, &sized())] {
        refused(result, Status::Corrupt, &["not a segment", "44 bytes"]);
    }
    refused(Segment::unlink_file(&path), Status::Corrupt, &["not a segment"]);
    fs::remove_file(&path).unwrap();

    drop(Segment::create_file(&path, &sized()).unwrap());
    std::os::unix::fs::symlink(&path, &link).unwrap();
    refused(Segment::open_file(&link, &plain()), Status::Permission, &["link"]);
    refused(Segment::create_file(&link, &sized()), Status::Permission, &["link"]);
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(1 << 20).unwrap();
    refused(Segment::open_file(&path, &plain()), Status::Corrupt, &["4194304", "1048576"]);
    file.set_len(4 << 20).unwrap();
    assert!(Segment::open_file(&path, &plain()).is_ok());
    file.write_all_at(&[9; 8], 0).unwrap();
    refused(Segment::open_file(&path, &plain()), Status::Corrupt, &["0x0909090909090909"]);
}

#[test]
fn a_copy_of_a_segment_in_shared_memory_is_no_corpse_to_be_removed() {
    let (name, directory) = (Name::new(), TempDir::new());
    let path = directory.path("dump");
    let segment = fresh(&name);
    let array = Array::<u64>::create(&segment, "a", 4).unwrap();
    array.set(1, 5).unwrap();
    fs::copy(name.path(), &path).unwrap();
    drop((segment, array));

    refused(Segment::create_file(&path, &sized().exclusive()), Status::Exists, &["dump"]);
    for options in [plain().read_only(), plain(), plain()] {
        let segment = Segment::open_file(&path, &options).unwrap();
        assert!(segment.stats().unwrap().persistent);
        assert_eq!(Array::<u64>::open(&segment, "a").unwrap().get(1).unwrap(), 5);
    }
    assert!(path.exists());
}

/// `as_other PATH`: may read the file and no more.
#[test]
#[ignore = "not a test: a process that tests start"]
fn as_other() {
    let Some(words) = role_words() else { return };
    // SAFETY: neither has preconditions; glibc has all threads follow.
    assert!(unsafe { libc::setresgid(65534, 65534, 65534) == 0 && libc::setresuid(65534, 65534, 65534) == 0 });
    refused(Segment::open_file(&words[0], &plain()), Status::Permission, &[&words[0]]);
    refused(Segment::create_file(&words[0], &sized()), Status::Permission, &[&words[0]]);
    refused(Segment::create_file(format!("{}2", words[0]), &sized()), Status::Permission, &[&words[0]]);
    refused(Segment::unlink_file(&words[0]), Status::Permission, &[&words[0]]);
    let reader = Segment::open_file(&words[0], &plain().read_only()).unwrap();
    assert_eq!(Array::<u64>::open(&reader, "a").unwrap().get(1).unwrap(), 5);
}

#[test]
fn a_file_that_may_only_be_read_can_only_be_read() {
    need_root();
    let directory = TempDir::new();
    let path = directory.path("readable");
    let segment = Segment::create_file(&path, &sized().mode(0o444 | 0o600)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
    Array::<u64>::create(&segment, "a", 4).unwrap().set(1, 5).unwrap();
    Peer::role("as_other", path.to_str().unwrap()).finish();
}

/// `on_a_full_disk DIRECTORY`: has a file system of 1 MiB there.
#[test]
#[ignore = "not a test: a process that tests start"]
fn on_a_full_disk() {
    let Some(words) = role_words() else { return };
    let target = std::ffi::CString::new(words[0].as_str()).unwrap();
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: NUL-terminated strings; the mounts are seen by this process alone.
    let mounted = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(c"none".as_ptr(), c"/".as_ptr(), std::ptr::null(), private, std::ptr::null()) == 0
            && libc::mount(c"small".as_ptr(), target.as_ptr(), c"tmpfs".as_ptr(), 0, c"size=1m".as_ptr().cast()) == 0
    };
    assert!(mounted, "{}", std::io::Error::last_os_error());
    let path = format!("{}/file", words[0]);
    refused(Segment::create_file(&path, &sized()), Status::NoSpace, &[&path, "4194304", "1048576 were free"]);
    assert_eq!(fs::read_dir(&words[0]).unwrap().count(), 0);
    let small = Segment::create_file(&path, &plain().size(1 << 20)).unwrap();
    refused(Segment::create_file(path + "2", &plain().size(1 << 20)), Status::NoSpace, &["(0 were free)"]);
    drop(small);
}

#[test]
fn a_full_disk_is_an_error_with_its_numbers() {
    need_root();
    let directory = TempDir::new();
    fs::create_dir(directory.path("mount")).unwrap();
    Peer::role("on_a_full_disk", directory.path("mount").to_str().unwrap()).finish();
}

#[test]
fn a_range_that_is_not_in_the_segment_cannot_be_synced() {
    let directory = TempDir::new();
    let segment = Segment::create_file(directory.path("file"), &sized()).unwrap();
    let array = Array::<u64>::create(&segment, "a", 10_000).unwrap();
    let bytes = array.as_ptr().cast::<u8>().cast_const();
    segment.sync_range(bytes, 80_000).unwrap();
    segment.sync_range(bytes.wrapping_add(7), 0).unwrap();
    refused(segment.sync_range(bytes, 4 << 20), Status::Invalid, &["4194304", "file"]);
    refused(segment.sync_range(bytes, usize::MAX), Status::Invalid, &["file"]);
    refused(segment.sync_range(std::ptr::null(), 1), Status::Invalid, &["1 bytes", "file"]);
    refused(segment.sync_range((&raw const array).cast(), 1), Status::Invalid, &["file"]);
}

#[test]
fn wishes_about_memory_are_for_files_too() {
    let directory = TempDir::new();
    let wishes = sized().prefault().lock_memory().huge_pages().numa_node(0);
    let segment = Segment::create_file(directory.path("file"), &wishes).unwrap();
    for refused in segment.unavailable() {
        assert!(refused.reason.contains("/file'") && refused.reason.contains("4194304"), "{}", refused.reason);
    }
}
