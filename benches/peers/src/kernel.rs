//! What the kernel has for passing a message on, over descriptors that all sides inherit.

use std::os::fd::RawFd;
use std::ptr::null;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

use crate::Message;
use crate::case::{Case, Test};
use crate::control::Line;
use crate::links::{Receiver, Sender, Waiting};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    Pipe,
    Socket,
    Queue,
    /// Carries no bytes: messages are counted.
    Event,
}

impl Means {
    fn of(contender: &str) -> Self {
        match contender {
            "pipe" => Self::Pipe,
            "Unix socket" => Self::Socket,
            "POSIX mq" => Self::Queue,
            "eventfd" => Self::Event,
            other => panic!("the kernel has no {other}"),
        }
    }
}

/// Where one receives and where one sends, there and back.
pub type Descriptors = [RawFd; 4];

/// Opens them, without names; none when the kernel refuses.
pub fn open(contender: &str, case: &Case) -> Option<Descriptors> {
    let nonblock = if case.test == Test::WakeUp { 0 } else { libc::O_NONBLOCK };
    let pair = |number: i64| -> Option<[RawFd; 2]> {
        let mut ends = [-1; 2];
        // SAFETY: plain calls; names end with a NUL, and are taken away at once.
        let opened = unsafe {
            match Means::of(contender) {
                Means::Pipe => {
                    let opened = libc::pipe2(ends.as_mut_ptr(), nonblock);
                    libc::fcntl(ends[1], libc::F_SETPIPE_SZ, case.capacity * case.bytes);
                    opened
                }
                Means::Socket => libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET | nonblock, 0, ends.as_mut_ptr()),
                Means::Event => {
                    ends = [libc::eventfd(0, nonblock); 2];
                    ends[0]
                }
                Means::Queue => {
                    let name = format!("/{}-{number}\0", crate::prefix());
                    let mut attributes: libc::mq_attr = std::mem::zeroed();
                    attributes.mq_msgsize = case.bytes as _;
                    // What only root may have, or else what everybody may.
                    for capacity in [case.capacity, 10] {
                        attributes.mq_maxmsg = capacity as _;
                        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR | nonblock;
                        ends = [libc::mq_open(name.as_ptr().cast(), flags, 0o600, &raw mut attributes); 2];
                        if ends[0] >= 0 {
                            libc::mq_unlink(name.as_ptr().cast());
                            // The library's calls open them so; we want them in the workers.
                            libc::fcntl(ends[0], libc::F_SETFD, 0);
                            break;
                        }
                    }
                    ends[0]
                }
            }
        };
        (opened >= 0).then_some(ends)
    };
    let ([there, to], [back, from]) = (pair(0)?, pair(1)?);
    Some([there, to, back, from])
}

pub fn close(descriptors: Descriptors) {
    for fd in descriptors {
        // SAFETY: ours; the second close of one that is there twice is refused.
        unsafe { libc::close(fd) };
    }
}

/// One way.
pub struct Link {
    means: Means,
    receive: RawFd,
    send: RawFd,
    counted: u64,
}

impl Link {
    pub fn new(contender: &str, ends: &[RawFd]) -> Self {
        Self { means: Means::of(contender), receive: ends[0], send: ends[1], counted: 0 }
    }

    fn would_block(&self, what: &str) {
        let error = std::io::Error::last_os_error();
        assert!(error.kind() == std::io::ErrorKind::WouldBlock, "{what} by {:?}: {error}", self.means);
    }
}

impl<M: Message> Sender<M> for Link {
    fn send(&mut self, message: &M) -> bool {
        let (at, length) = (std::ptr::from_ref(message).cast(), size_of::<M>());
        // SAFETY: the bytes of the message; an eventfd takes eight, a number.
        let sent = unsafe {
            match self.means {
                Means::Queue => i64::from(libc::mq_send(self.send, at, length, 0)),
                Means::Event => libc::write(self.send, std::ptr::from_ref(&1u64).cast(), 8) as i64,
                _ => libc::write(self.send, at.cast(), length) as i64,
            }
        };
        if sent < 0 {
            self.would_block("sending");
        }
        sent >= 0
    }
}

impl<M: Message> Receiver<M> for Link {
    fn receive(&mut self) -> Option<M> {
        let mut message = M::zeroed();
        let (at, length) = (std::ptr::from_mut(&mut message).cast(), size_of::<M>());
        // SAFETY: room for the bytes of a message.
        let got = unsafe {
            match self.means {
                Means::Queue => libc::mq_receive(self.receive, at, length, std::ptr::null_mut()) as i64,
                _ => libc::read(self.receive, at.cast(), length) as i64,
            }
        };
        if got < 0 {
            self.would_block("receiving");
            return None;
        }
        assert!(got as usize == length, "a message is cut");
        if self.means == Means::Event {
            message = M::new(self.counted);
            self.counted += 1;
        }
        Some(message)
    }
}

impl<M: Message> Waiting<M> for Link {
    fn send_waking(&mut self, message: &M) {
        assert!(self.send(message), "a call that blocks");
    }

    fn receive_asleep(&mut self) -> M {
        self.receive().expect("a call that blocks")
    }
}

/// The floor under every wake-up: a word, and a futex to sleep on.
pub struct Futex {
    word: &'static AtomicU32,
    seen: u32,
}

impl Futex {
    pub fn new(line: &'static Line) -> Self {
        // SAFETY: the first half of a word that nobody uses otherwise.
        Self { word: unsafe { &*std::ptr::from_ref(&line.0).cast() }, seen: 0 }
    }
}

impl<M: Message> Waiting<M> for Futex {
    fn send_waking(&mut self, _: &M) {
        self.word.fetch_add(1, SeqCst);
        // SAFETY: a plain call.
        unsafe { libc::syscall(libc::SYS_futex, self.word.as_ptr(), libc::FUTEX_WAKE, 1) };
    }

    fn receive_asleep(&mut self) -> M {
        while self.word.load(SeqCst) == self.seen {
            // SAFETY: a plain call.
            unsafe { libc::syscall(libc::SYS_futex, self.word.as_ptr(), libc::FUTEX_WAIT, self.seen, null::<u8>()) };
        }
        self.seen += 1;
        M::new(u64::from(self.seen) - 1)
    }
}
