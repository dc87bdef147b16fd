//! Other users, groups, modes, read-only file systems and namespaces. (Of segments of another user, `segment_refusals` tells.)

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use shmds::speculo::{Area, AreaOptions, Reader, ReaderOptions};
use shmds::{Queue, QueueOptions, Segment, SegmentOptions, Status};

use crate::only;
use crate::signals::{ended_well, forked};
use crate::support::scarce::{
    files_of, is_root_or_said, mount_shared_memory, own_shared_memory, possessions, possessions_of,
};
use crate::support::*;

/// Becomes another user for good, with these groups beside its own.
pub(crate) fn become_user(uid: u32, gid: u32, groups: &[u32]) {
    // SAFETY: a live list; glibc has all threads follow.
    let became = unsafe {
        libc::setgroups(groups.len(), groups.as_ptr()) == 0
            && libc::setresgid(gid, gid, gid) == 0
            && libc::setresuid(uid, uid, uid) == 0
    };
    assert!(became, "cannot become user {uid}");
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o7777
}

/// `masked NAME DIRECTORY UMASK`: makes everything under a umask.
#[test]
#[ignore = "not a test: a process that tests start"]
fn masked() {
    let Some(words) = role_words() else { return };
    let [name, directory, mask] = &words[..] else { panic!("{words:?}") };
    // SAFETY: no preconditions.
    unsafe { libc::umask(u32::from_str_radix(mask, 8).unwrap()) };
    for bits in [0o600, 0o640, 0o644, 0o666] {
        let segment = Segment::create(name, &sized().mode(bits)).unwrap();
        let file = format!("{directory}file");
        let in_file = Segment::create_file(&file, &sized().mode(bits)).unwrap();
        let nameless = Segment::create_memfd(name, &sized().mode(bits)).unwrap();
        let memfd = std::fs::File::from(nameless.fd().unwrap()).metadata().unwrap().mode() & 0o7777;
        assert_eq!([mode(&Name::path_of(name)), mode(Path::new(&file)), memfd], [bits; 3]);
        drop((segment, in_file));
        Segment::unlink_file(file).unwrap();

        let mut area = Area::create(name, &AreaOptions::new().mode(bits)).unwrap();
        for _ in 0..2 {
            let id = area.write(b"moved", 0).unwrap().unwrap();
            area.obsolete(id).unwrap();
            let modes: Vec<u32> = files_of(name).iter().map(|path| mode(path)).collect();
            assert_eq!(modes, [bits; 2], "the manifest and the area");
            assert!(area.collect().unwrap());
        }
        area.unlink().unwrap();
    }
}

#[test]
fn modes_are_exact_whatever_the_umask() {
    let directory = TempDir::new();
    for mask in ["000", "022", "077", "777"] {
        let (name, area) = (Name::new(), AreaName::new());
        Peer::role("rights::masked", &format!("{name} {} {mask}", directory.path("").display())).finish();
        assert!(!name.exists() && area.objects().is_empty());
    }
}

/// `member NAME AREA GROUP WHAT`: as a user whom only a group lets in, or not.
#[test]
#[ignore = "not a test: a process that tests start"]
fn member() {
    let Some(words) = role_words() else { return };
    let [name, area, group, what] = &words[..] else { panic!("{words:?}") };
    become_user(65533, 65533, &[group.parse().unwrap()]);
    let nothing = possessions();
    let plain = SegmentOptions::new();
    if what == "reads" || what == "writes" {
        let reader = Segment::open(name, &plain.clone().read_only()).unwrap();
        assert_eq!(Queue::<u64>::open(&reader, "q").unwrap().len(), 1);
        assert_eq!(Reader::open(area, &ReaderOptions::new()).unwrap().next().unwrap().unwrap().to_vec(), b"one");
    } else {
        refused(Segment::open(name, &plain.clone().read_only()), Status::Permission, &[name, "Permission denied"]);
        refused(Reader::open(area, &ReaderOptions::new()), Status::Permission, &[area, "Permission denied"]);
    }
    if what == "writes" {
        let queue = Queue::<u64>::open(&Segment::open(name, &plain).unwrap(), "q").unwrap();
        assert!(queue.enqueue(&2).unwrap() && queue.dequeue().unwrap() == Some(1));
    } else {
        refused(Segment::open(name, &plain), Status::Permission, &[name, "Permission denied"]);
        refused(Segment::create(name, &sized()), Status::Permission, &[name, "Permission denied"]);
    }
    // Its owner may be trusted, but its lock is a writer's.
    let denied = if what == "writes" { "has a writer already" } else { "Permission denied" };
    let status = if what == "writes" { Status::Busy } else { Status::Permission };
    refused(Area::open(area, &AreaOptions::new()), status, &[area, denied]);
    refused(Area::create(area, &AreaOptions::new()), status, &[area, denied]);
    refused(Area::unlink_name(area, &AreaOptions::new()), status, &[area, denied]);
    // The directory is sticky: who does not own a name cannot take it away.
    if what == "writes" {
        refused(Segment::unlink(name), Status::Permission, &[name, "not permitted"]);
    }
    assert_eq!(possessions(), nothing);
}

#[test]
fn a_group_has_the_rights_that_the_mode_gives_it() {
    if !is_root_or_said("groups") {
        return;
    }
    const GROUP: u32 = 65432;
    for (bits, group, what) in
        [(0o640, GROUP, "reads"), (0o660, GROUP, "writes"), (0o600, GROUP, "is out"), (0o660, 65431, "is out")]
    {
        let (name, area_name) = (Name::new(), AreaName::new());
        let segment = Segment::create(&name, &sized().mode(bits).group(GROUP)).unwrap();
        let queue = Queue::<u64>::create(&segment, "q", &QueueOptions::new(8)).unwrap();
        assert!(queue.enqueue(&1).unwrap());
        let mut area = Area::create(&area_name, &AreaOptions::new().mode(bits)).unwrap();
        area.write(b"one", 0).unwrap().unwrap();
        for path in area_name.objects() {
            std::os::unix::fs::chown(path, None, Some(GROUP)).unwrap();
        }
        let what = what.replace(' ', "-");
        Peer::role("rights::member", &format!("{name} {} {group} {what}", &*area_name)).finish();
        area.unlink().unwrap();
    }
}

/// `stranger AREA OWNER`: looks at an area of a user whom it does not know.
#[test]
#[ignore = "not a test: a process that tests start"]
fn stranger() {
    let Some(words) = role_words() else { return };
    become_user(65533, 65533, &[]);
    let (area, owner) = (&words[0], &words[1]);
    assert_eq!(Reader::open(area, &ReaderOptions::new()).unwrap().next().unwrap().unwrap().to_vec(), b"one");
    let numbers: &[&str] = &[area, &format!("user {owner}"), "user 65533"];
    let plain = AreaOptions::new();
    refused(Area::open(area, &plain), Status::Permission, numbers);
    refused(Area::create(area, &plain), Status::Permission, numbers);
    refused(Area::unlink_name(area, &plain), Status::Permission, numbers);
    refused(Area::open(area, &plain.any_owner()), Status::Busy, &[area, "has a writer already"]);
}

/// `owner AREA`: writes as a user of its own, for everybody.
#[test]
#[ignore = "not a test: a process that tests start"]
fn owner() {
    let Some(words) = role_words() else { return };
    become_user(65534, 65534, &[]);
    let mut area = Area::create(&words[0], &AreaOptions::new().mode(0o666)).unwrap();
    area.write(b"one", 0).unwrap().unwrap();
    println!("\nready");
    assert!(std::io::stdin().lines().next().is_none());
    area.unlink().unwrap();
}

#[test]
fn another_users_area_is_read_by_everybody_and_written_by_who_trusts_that_user() {
    if !is_root_or_said("areas of other users") {
        return;
    }
    let name = AreaName::new();
    let mut owner = Peer::role_without(&[], "rights::owner", &name);
    owner.line("ready");
    Peer::role("rights::stranger", &format!("{} 65534", &*name)).finish();
    refused(Area::open(&name, &AreaOptions::new()), Status::Permission, &[&name, "user 65534", "user 0"]);
    owner.end_input();
    owner.finish();
    assert!(name.objects().is_empty());
}

#[test]
fn what_is_no_file_at_an_areas_name_is_refused_and_left_alone() {
    let (name, other) = (AreaName::new(), AreaName::new());
    let manifest = name.manifest();
    let look = |status: Status, word: &str| {
        let before = possessions_of(&name);
        refused(Area::create(&name, &AreaOptions::new()), status, &[&name, word]);
        refused(Area::open(&name, &AreaOptions::new()), status, &[&name, word]);
        assert!(Reader::open(&name, &ReaderOptions::new()).is_err_and(|error| error.message().contains(&*name)));
        assert!(Area::unlink_name(&name, &AreaOptions::new()).is_err());
        assert!(manifest.symlink_metadata().is_ok() && possessions_of(&name) == before);
    };
    std::fs::create_dir(&manifest).unwrap();
    look(Status::System, "Is a directory");
    std::fs::remove_dir(&manifest).unwrap();

    let real = Area::create(&other, &AreaOptions::new()).unwrap();
    std::os::unix::fs::symlink(other.manifest(), &manifest).unwrap();
    look(Status::Permission, "symbolic links");
    std::fs::remove_file(&manifest).unwrap();
    real.unlink().unwrap();

    let path = std::ffi::CString::new(manifest.to_str().unwrap()).unwrap();
    // SAFETY: a NUL-terminated path.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    look(Status::Corrupt, "no manifest");
    std::fs::remove_file(&manifest).unwrap();
}

/// `read_only_mount`: has a /dev/shm in which nothing can be changed.
#[test]
#[ignore = "not a test: a process that tests start"]
fn read_only_mount() {
    if role_words().is_none() {
        return;
    }
    own_shared_memory("size=4m");
    let one = SegmentOptions::new().size(1 << 20).persistent();
    let queue = Queue::<u64>::create(&Segment::create("one", &one).unwrap(), "q", &QueueOptions::new(8)).unwrap();
    assert!(queue.enqueue(&7).unwrap());
    drop(queue);
    let mut area = Area::create("area", &AreaOptions::new()).unwrap();
    area.write(b"there", 0).unwrap().unwrap();
    drop(area);
    mount_shared_memory("size=4m", libc::MS_REMOUNT | libc::MS_RDONLY);
    let (nothing, files) = (possessions(), files_of(""));
    let cannot = "Read-only file system";
    let plain = SegmentOptions::new();
    refused(Segment::open("one", &plain), Status::Permission, &["'one'", cannot]);
    refused(Segment::create("one", &sized()), Status::Permission, &["'one'", cannot]);
    refused(Segment::create("two", &sized()), Status::Permission, &["'two'", "4194304", cannot]);
    refused(Segment::unlink("one"), Status::Permission, &["'one'", cannot]);
    refused(Area::open("area", &AreaOptions::new()), Status::Permission, &["'area'", cannot]);
    refused(Area::create("area", &AreaOptions::new()), Status::Permission, &["'area'", cannot]);
    refused(Area::create("other", &AreaOptions::new()), Status::Permission, &["'other'", "4096", cannot]);
    refused(Area::unlink_name("area", &AreaOptions::new()), Status::Permission, &["'area'", cannot]);
    refused(Segment::open("two", &plain.clone().read_only()), Status::NotFound, &["'two'"]);
    {
        let segment = Segment::open("one", &plain.read_only()).unwrap();
        let queue = Queue::<u64>::open(&segment, "q").unwrap();
        assert_eq!(queue.len(), 1);
        refused(queue.dequeue(), Status::ReadOnly, &["'one'"]);
        let mut reader = Reader::open("area", &ReaderOptions::new()).unwrap();
        assert_eq!(reader.next().unwrap().unwrap().to_vec(), b"there");
        assert!(reader.next_wait(std::time::Duration::from_millis(5)).unwrap().is_none());
    }
    assert_eq!((possessions(), files_of("")), (nothing, files));
    mount_shared_memory("size=4m", libc::MS_REMOUNT);
    assert_eq!(Segment::open("one", &SegmentOptions::new()).unwrap().count(), 1);
}

#[test]
fn a_read_only_file_system_can_be_read_from_and_says_that_it_is_one() {
    Peer::role_without(&[], "rights::read_only_mount", "-").finish();
}

/// `inmate NAME`: enqueues, and holds a place in the queue until it is killed. Says what number it has.
#[test]
#[ignore = "not a test: a process that tests start"]
fn inmate() {
    let Some(words) = role_words() else { return };
    let segment = Segment::open(&words[0], &SegmentOptions::new()).unwrap();
    let queue = Queue::<u64>::open(&segment, "q").unwrap();
    assert!(queue.enqueue(&u64::from(std::process::id())).unwrap());
    let claim = queue.claim().unwrap().unwrap();
    let child = forked(|| assert!(queue.enqueue(&0).unwrap(), "children of ours are participants, too"));
    ended_well(child);
    println!("\nnumber {}", std::process::id());
    std::mem::forget(claim);
    loop {
        std::thread::park();
    }
}

/// Processes in other namespaces are participants like any, two with one number, too; their deaths are seen, and what they held comes back.
fn inmates(program: &str, arguments: &[&str], number: Option<u32>) {
    let name = Name::new();
    let segment = fresh(&name);
    let queue = Queue::<u64>::create(&segment, "q", &QueueOptions::new(16)).unwrap();
    let start = || {
        let mut inmate = Peer::role_through(program, arguments, "rights::inmate", &name);
        let said: u32 = inmate.line("number ").parse().unwrap();
        assert!(number.is_none_or(|number| number == said), "{said}");
        (inmate, said)
    };
    let [(first, one), (second, two)] = [start(), start()];
    only(&segment, 3);
    let participants = segment.participants();
    let mut seen: Vec<u32> = participants.iter().filter(|who| !who.is_self).map(|who| who.pid).collect();
    seen.sort();
    let mut said = vec![one, two];
    said.sort();
    assert_eq!(seen, said);
    assert_eq!(queue.dequeue().unwrap(), Some(one.into()));
    first.kill();
    // It is the program's child, and dies right after it.
    eventually("its death is seen", || segment.count() == 2);
    assert_eq!(queue.dequeue_wait(PATIENCE).unwrap(), Some(0), "over the place that it held");
    only(&segment, 2); // the other of its number lives
    second.kill();
    eventually("its death is seen", || segment.count() == 1);
    assert_eq!(queue.dequeue_wait(PATIENCE).unwrap(), Some(two.into()));
    assert_eq!(queue.dequeue_wait(PATIENCE).unwrap(), Some(0));
    only(&segment, 1);
}

#[test]
fn the_death_of_the_first_process_of_a_pid_namespace_is_seen_outside() {
    let namespaces = ["--pid", "--fork", "--kill-child", "--"];
    // SAFETY: geteuid has no preconditions.
    let mut all = if unsafe { libc::geteuid() } == 0 { vec![] } else { vec!["--map-root-user"] };
    all.extend(namespaces);
    inmates("unshare", &all, Some(1));
}

#[test]
fn processes_in_user_namespaces_are_participants_like_any() {
    inmates("unshare", &["--user", "--map-root-user", "--"], None);
}

#[test]
fn processes_in_other_mount_ipc_and_net_namespaces_are_participants_like_any() {
    // SAFETY: geteuid has no preconditions.
    let mut all = if unsafe { libc::geteuid() } == 0 { vec![] } else { vec!["--map-root-user"] };
    all.extend(["--mount", "--ipc", "--net", "--uts", "--"]);
    inmates("unshare", &all, None);
}

/// `elsewhere NAME AREA`: has another /dev/shm.
#[test]
#[ignore = "not a test: a process that tests start"]
fn elsewhere() {
    let Some(words) = role_words() else { return };
    own_shared_memory("size=8m");
    refused(Segment::open(&words[0], &SegmentOptions::new()), Status::NotFound, &[&words[0]]);
    refused(Reader::open(&words[1], &ReaderOptions::new()), Status::NotFound, &[&words[1]]);
    let segment = Segment::create(&words[0], &sized().exclusive()).unwrap();
    assert_eq!(segment.count(), 1);
    Area::create(&words[1], &AreaOptions::new().exclusive()).unwrap().unlink().unwrap();
    drop(segment);
    assert!(files_of("").is_empty());
}

#[test]
fn another_shared_memory_has_other_names() {
    let (name, area_name) = (Name::new(), AreaName::new());
    let segment = fresh(&name);
    let area = Area::create(&area_name, &AreaOptions::new()).unwrap();
    Peer::role_without(&[], "rights::elsewhere", &format!("{name} {}", &*area_name)).finish();
    only(&segment, 1);
    assert!(name.exists());
    area.unlink().unwrap();
}

/// `unknown_to NAME`: in a user namespace that knows only its own user, looks at what root has.
#[test]
#[ignore = "not a test: a process that tests start"]
fn unknown_to() {
    let Some(words) = role_words() else { return };
    let name = &words[0];
    // Everybody else is "nobody" here, who is not to be trusted for it.
    let read = SegmentOptions::new().read_only();
    refused(Segment::open(name, &read), Status::Permission, &[name, "user 65534", "user 0"]);
    assert_eq!(Segment::open(name, &read.any_owner()).unwrap().count(), 1);
}

#[test]
fn in_a_user_namespace_whoever_is_unknown_there_is_not_trusted() {
    if !is_root_or_said("user namespaces of other users") {
        return;
    }
    let name = Name::new();
    let _segment = Segment::create(&name, &sized().mode(0o644)).unwrap();
    let user = ["--reuid=65533", "--regid=65533", "--clear-groups", "unshare", "--user", "--map-root-user", "--"];
    Peer::role_through("setpriv", &user, "rights::unknown_to", &name).finish();
}
