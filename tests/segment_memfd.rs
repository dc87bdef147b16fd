//! Segments without a name: passed by descriptor, sealed, gone with the last who has one.

mod support;

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use shmds::{Queue, QueueOptions, Segment, SegmentOptions, Status};
use support::*;

fn plain() -> SegmentOptions {
    SegmentOptions::new()
}

fn nameless() -> Segment {
    Segment::create_memfd("nameless", &sized()).unwrap()
}

/// A memfd with seals of the test's choice.
fn memfd(seals: libc::c_int) -> File {
    // SAFETY: a NUL-terminated string; the descriptor is ours.
    let file = unsafe { File::from_raw_fd(libc::memfd_create(c"foreign".as_ptr(), libc::MFD_ALLOW_SEALING)) };
    file.set_len(1 << 20).unwrap();
    // SAFETY: a valid descriptor.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) }, 0);
    file
}

/// Has `descriptor` inherited by what is started next.
fn inheritable(descriptor: &OwnedFd) -> i32 {
    // SAFETY: a valid descriptor.
    assert_eq!(unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_SETFD, 0) }, 0);
    descriptor.as_raw_fd()
}

#[test]
fn a_segment_without_a_name_is_attached_to_by_descriptor_and_is_nowhere_else() {
    let segment = nameless();
    let again = Segment::open_fd(segment.fd().unwrap(), &plain()).unwrap();
    assert_eq!((segment.name(), again.name(), segment.count()), ("nameless", "nameless", 2));
    let queue = Queue::<u64>::create(&segment, "q", &QueueOptions::new(8)).unwrap();
    assert!(queue.enqueue(&5).unwrap());
    assert_eq!(Queue::<u64>::open(&again, "q").unwrap().dequeue().unwrap(), Some(5));
    let stats = again.stats().unwrap();
    assert!(!stats.persistent && !stats.orphaned && stats.size == 4 << 20, "{stats:?}");
    refused(Segment::open("nameless", &plain()), Status::NotFound, &["nameless"]);
    segment.sync().unwrap();
    let other = nameless();
    assert_eq!((other.count(), other.entries().count()), (1, 0), "the same name is another segment");
    for bad in ["", "a/b", &"n".repeat(250)] {
        refused(Segment::create_memfd(bad, &sized()), Status::Invalid, &["name"]);
    }
    refused(Segment::create_memfd("n", &plain()), Status::Invalid, &["size 0"]);
    refused(Segment::create_memfd("n", &plain().size(1 << 50)), Status::NoSpace, &["'n'", "1125899906842624"]);
}

#[test]
fn a_descriptor_keeps_the_segment_and_is_no_attachment() {
    let segment = nameless();
    let queue = Queue::<u64>::create(&segment, "q", &QueueOptions::new(8)).unwrap();
    assert!(queue.enqueue(&5).unwrap());
    let descriptor = segment.fd().unwrap();
    assert_eq!(segment.count(), 1);
    drop((segment, queue));
    let segment = Segment::open_fd(&descriptor, &plain()).unwrap();
    assert_eq!(segment.participants().len(), 1, "whoever closed is gone, although we have a descriptor of theirs");
    assert_eq!(Queue::<u64>::open(&segment, "q").unwrap().dequeue().unwrap(), Some(5));
}

#[test]
fn its_length_cannot_be_changed() {
    let segment = nameless();
    let file = File::from(segment.fd().unwrap());
    for size in [0, 4096, 8 << 20] {
        assert_eq!(file.set_len(size).unwrap_err().raw_os_error(), Some(libc::EPERM), "{size}");
    }
    // SAFETY: a valid descriptor.
    let sealed = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_FUTURE_WRITE) };
    assert_eq!(sealed, -1, "nobody can seal others out");
    assert!(Segment::open_fd(&file, &plain()).is_ok());
}

#[test]
fn a_reader_gets_a_descriptor_for_reading() {
    let segment = nameless();
    let reader = Segment::open_fd(segment.fd().unwrap(), &plain().read_only()).unwrap();
    assert_eq!((reader.count(), reader.stats().unwrap().read_only), (1, true));
    let file = File::from(reader.fd().unwrap());
    assert!(std::os::unix::fs::FileExt::write_at(&file, &[1], 0).is_err());
    assert!(Segment::open_fd(&file, &plain().read_only()).is_ok());
}

#[test]
fn what_is_not_sealed_or_no_segment_is_refused() {
    let both = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;
    for seals in [0, libc::F_SEAL_SHRINK, libc::F_SEAL_GROW | libc::F_SEAL_SEAL] {
        let file = memfd(seals);
        let words: &[&str] = &["foreign", "not sealed", &format!("{seals:#x}")];
        refused(Segment::open_fd(&file, &plain()), Status::Permission, words);
        refused(Segment::open_fd(&file, &plain().any_owner()), Status::Corrupt, &["foreign", "not a segment"]);
    }
    refused(Segment::open_fd(memfd(both), &plain()), Status::Corrupt, &["foreign", "not a segment"]);
    let (reading, writing) = std::io::pipe().unwrap();
    for result in [Segment::open_fd(&reading, &plain().read_only()), Segment::open_fd(&writing, &plain())] {
        refused(result, Status::Corrupt, &["pipe:", "not a regular file"]);
    }
    refused(Segment::open_fd(File::open("/").unwrap(), &plain()), Status::Corrupt, &["not a regular file"]);
    refused(
        Segment::open_fd(File::open("/proc/self/exe").unwrap(), &plain().read_only()),
        Status::Corrupt,
        &["not a segment"],
    );
}

#[test]
fn any_segment_can_be_passed_by_descriptor() {
    let (name, directory) = (Name::new(), TempDir::new());
    let named = fresh(&name);
    let other = Segment::open_fd(named.fd().unwrap(), &plain()).unwrap();
    assert_eq!((other.name(), other.count()), (&*name, 2));
    drop(named);
    assert!(name.exists(), "somebody living is attached");
    let reader = Segment::open_fd(other.fd().unwrap(), &plain().read_only()).unwrap();
    drop(other);
    assert!(name.exists());
    drop(reader);
    assert!(!name.exists(), "gone with the last, however it came to be attached");

    let removed = fresh(&name);
    let other = Segment::open_fd(removed.fd().unwrap(), &plain()).unwrap();
    Segment::unlink(&name).unwrap();
    assert!(other.stats().unwrap().orphaned);
    let next = fresh(&name);
    drop((removed, other));
    assert!(name.exists() && !next.stats().unwrap().orphaned, "the name is another's now");
    // Nor is a label a name.
    drop(Segment::create_memfd(&name, &sized()).unwrap());
    assert!(name.exists());
    drop(next);

    let path = directory.path("file");
    let file = Segment::create_file(&path, &sized()).unwrap();
    let other = Segment::open_fd(file.fd().unwrap(), &plain()).unwrap();
    assert_eq!((other.name(), other.count()), (path.to_str().unwrap(), 2));
    other.sync().unwrap();
}

#[test]
fn reserved_huge_pages_of_another_user_need_trust() {
    need_root();
    let flags = libc::MFD_ALLOW_SEALING | libc::MFD_HUGETLB | libc::MFD_HUGE_2MB;
    // SAFETY: a NUL-terminated string.
    let number = unsafe { libc::memfd_create(c"punched".as_ptr(), flags) };
    if number == -1 {
        say("skipped: this kernel has no huge pages to reserve");
        return;
    }
    // SAFETY: just made, and nobody else's.
    let file = unsafe { File::from_raw_fd(number) };
    file.set_len(2 << 20).unwrap();
    std::os::unix::fs::fchown(&file, Some(65534), None).unwrap();
    // SAFETY: a valid descriptor.
    let sealed = unsafe { libc::fcntl(number, libc::F_ADD_SEALS, libc::F_SEAL_SHRINK | libc::F_SEAL_GROW) };
    assert_eq!(sealed, 0);
    refused(Segment::open_fd(&file, &plain()), Status::Permission, &["punched", "65534", "SHM_ANY_OWNER"]);
    let trusted = Segment::open_fd(&file, &plain().any_owner()).unwrap_err();
    assert_ne!(trusted.status(), Status::Permission, "{trusted}");
}

/// `hasty`: attaches again and again to what is cut short and sealed at that very moment.
#[test]
#[ignore = "not a test: a process that tests start"]
fn hasty() {
    if role_words().is_none() {
        return;
    }
    let mut image = [0; 4096];
    let model = File::from(nameless().fd().unwrap());
    std::os::unix::fs::FileExt::read_exact_at(&model, &mut image, 0).unwrap();
    let go = std::sync::Barrier::new(2);
    let attempts = 10_000_u32;
    let files = std::sync::Mutex::new(None::<File>);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for attempt in 0..attempts {
                go.wait();
                let file = files.lock().unwrap().as_ref().unwrap().try_clone().unwrap();
                go.wait();
                (0..attempt % 400).for_each(|_| std::hint::spin_loop());
                file.set_len(4096).unwrap();
                let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;
                // SAFETY: a valid descriptor.
                unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) };
                go.wait();
            }
        });
        for _ in 0..attempts {
            let file = memfd(0);
            file.set_len(4 << 20).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &image, 0).unwrap();
            *files.lock().unwrap() = Some(file.try_clone().unwrap());
            go.wait();
            go.wait();
            assert!(Segment::open_fd(&file, &plain()).is_err());
            go.wait();
        }
    });
}

#[test]
fn a_length_is_looked_at_after_its_seals() {
    Peer::role("hasty", "-").finish();
}

/// `heir DESCRIPTOR`: got it by inheritance.
#[test]
#[ignore = "not a test: a process that tests start"]
fn heir() {
    let Some(words) = role_words() else { return };
    // SAFETY: inherited, and nobody else's here.
    let descriptor = unsafe { OwnedFd::from_raw_fd(words[0].parse().unwrap()) };
    let segment = Segment::open_fd(&descriptor, &plain()).unwrap();
    drop(descriptor);
    let queue = Queue::<u64>::open(&segment, "q").unwrap();
    let _claim = queue.claim().unwrap();
    println!("\nattached {}", segment.count());
    loop {
        std::thread::park();
    }
}

#[test]
fn the_death_of_an_heir_is_noticed_although_its_descriptor_lives_on_here() {
    let segment = nameless();
    let queue = Queue::<u64>::create(&segment, "q", &QueueOptions::new(8)).unwrap();
    let descriptor = segment.fd().unwrap();
    let mut heir = Peer::role("heir", &inheritable(&descriptor).to_string());
    assert_eq!(heir.line("attached"), "2");
    heir.kill();
    assert_eq!((segment.count(), segment.reap().unwrap()), (1, 1));
    assert!(queue.enqueue(&1).unwrap());
    assert_eq!(queue.dequeue().unwrap(), Some(1), "its claim is void");
}

#[test]
fn the_death_of_a_creator_is_noticed_by_those_it_passed_the_segment_to() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let theirs = OwnedFd::from(theirs);
    let mut sender = Peer::role("sender", &inheritable(&theirs).to_string());
    drop(theirs);
    let segment = Segment::receive(&ours, &plain()).unwrap();
    assert_eq!(segment.count(), 2);
    sender.line("sent");
    sender.kill();
    // A second descriptor is still on its way, and must not keep its sender alive.
    assert_eq!((segment.count(), segment.reap().unwrap(), segment.entries().count()), (1, 1, 1));
    assert_eq!(Segment::receive(&ours, &plain()).unwrap().count(), 2);
    let end = Segment::receive(&ours, &plain());
    refused(end, Status::Closed, &["closed"]);
}

/// `sender SOCKET`
#[test]
#[ignore = "not a test: a process that tests start"]
fn sender() {
    let Some(words) = role_words() else { return };
    // SAFETY: inherited, and nobody else's here.
    let socket = unsafe { OwnedFd::from_raw_fd(words[0].parse().unwrap()) };
    let segment = nameless();
    let _queue = Queue::<u64>::create(&segment, "q", &QueueOptions::new(8)).unwrap();
    segment.send(&socket).unwrap();
    segment.send(&socket).unwrap();
    println!("\nsent");
    loop {
        std::thread::park();
    }
}

#[test]
fn sockets_that_do_not_wait_and_messages_without_a_descriptor_are_told() {
    use std::io::Write;
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    refused(Segment::receive(&theirs, &plain()), Status::Timeout, &["receive"]);
    ours.write_all(b"x").unwrap();
    refused(Segment::receive(&theirs, &plain()), Status::System, &["no descriptor"]);
    refused(nameless().send(File::open("/dev/null").unwrap()), Status::System, &["'nameless'"]);
    drop(ours);
    refused(nameless().send(&theirs), Status::System, &["'nameless'"]);
}

/// `as_other_user SOCKET MAY`: attaches to what another user sends.
#[test]
#[ignore = "not a test: a process that tests start"]
fn as_other_user() {
    let Some(words) = role_words() else { return };
    // SAFETY: no preconditions.
    assert_eq!(unsafe { libc::setresuid(65534, 65534, 65534) }, 0);
    // SAFETY: inherited, and nobody else's here.
    let socket = unsafe { OwnedFd::from_raw_fd(words[0].parse().unwrap()) };
    let result = Segment::receive(&socket, &plain());
    match words[1].as_str() {
        "yes" => assert_eq!(result.unwrap().count(), 2),
        _ => refused(result, Status::Permission, &["nameless"]),
    }
}

#[test]
fn the_mode_says_whose_processes_may_attach() {
    need_root();
    for (mode, may) in [(0o600, "no"), (0o666, "yes")] {
        let segment = Segment::create_memfd("nameless", &sized().mode(mode)).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let theirs = OwnedFd::from(theirs);
        let other = Peer::role("as_other_user", &format!("{} {may}", inheritable(&theirs)));
        segment.send(&ours).unwrap();
        other.finish();
    }
}

#[test]
fn forked_children_are_participants_of_their_own() {
    let segment = nameless();
    // SAFETY: the child does nothing but ask, and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let right = segment.count() == 2;
        // SAFETY: no preconditions.
        unsafe { libc::_exit(i32::from(!right)) };
    }
    let mut status = 0;
    // SAFETY: our child, and a live word.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0);
    assert_eq!((segment.reap().unwrap(), segment.count()), (1, 1));
}

#[test]
fn huge_pages_are_had_in_one_way_or_another_or_told() {
    let segment = Segment::create_memfd("huge", &plain().size((4 << 20) + 4096).huge_pages().prefault()).unwrap();
    let size = segment.stats().unwrap().size;
    assert!([(4 << 20) + 4096, 6 << 20].contains(&size), "reserved ones are whole: {size}");
    segment.unavailable().iter().for_each(|one| assert!(one.reason.contains("'huge'")));
    let other = Segment::open_fd(segment.fd().unwrap(), &plain().huge_pages()).unwrap();
    assert_eq!(other.unavailable().len(), segment.unavailable().len());
    assert!(Segment::open_fd(segment.fd().unwrap(), &plain()).is_ok());
}
