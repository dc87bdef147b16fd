//! Processes on the other side: C and C++ programs, and this test's own program in another role.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::diary::DIARY;
use super::scarce::Lack;
use super::{PATIENCE, say};

/// What a peer is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Rust,
    C,
    Cpp,
}

pub const EVERY_LANGUAGE: [Language; 3] = [Language::Rust, Language::C, Language::Cpp];

/// The variable that carries the words of a role.
pub const ROLE_WORDS: &str = "SHMDS_PEER_ARGS";

/// A process; killed and waited for when dropped. One that dies of a signal nobody sent fails the test.
pub struct Peer {
    child: Child,
    out: BufReader<ChildStdout>,
    what: String,
    over: bool,
}

/// What a peer takes part in: the test that is the peer in Rust, and the beginning of the others' names.
#[derive(Clone, Copy, Debug)]
pub struct Part(&'static str, &'static str);

pub const STRUCTURES: Part = Part("support::role::role", "peer");
pub const RING: Part = Part("support::ring::ring_role", "peer_ring");
pub const BYTES: Part = Part("support::bytes::bytes_role", "peer_bytes");
pub const SPECULO: Part = Part("support::speculo_peer::speculo_role", "peer_speculo");

impl Language {
    /// `role`: the test that is the peer in Rust; `kind`: the beginning of the others' names.
    fn command(self, role: &str, kind: &str, words: &str) -> Command {
        let file = match self {
            Self::Rust => return role_command(role, words),
            Self::C => format!("{kind}_c"),
            Self::Cpp => format!("{kind}_cpp"),
        };
        let program = peers().join(file);
        assert!(program.is_file(), "there is no peer {}; `make test-rust` builds it", program.display());
        let mut command = Command::new(program);
        command.args(words.split(' ')).stdin(Stdio::null());
        command
    }

    /// Starts a peer in a process in which all this is lacking.
    pub fn start_without(self, lacks: &[Lack], Part(role, kind): Part, words: &str) -> Peer {
        let mut command = self.command(role, kind, words);
        without(&mut command, lacks);
        Peer::spawn(command)
    }

    /// Starts a peer with these words, one space apart, explained in c-tests/support_peer.h.
    pub fn start(self, words: &str) -> Peer {
        Peer::spawn(self.command("support::role::role", "peer", words))
    }

    /// Starts a peer at a ring with these words, explained in c-tests/support_ring.h.
    pub fn start_ring(self, words: &str) -> Peer {
        Peer::spawn(self.command("support::ring::ring_role", "peer_ring", words))
    }

    /// Starts a peer at a byte queue with these words, explained in c-tests/support_bytes.h.
    pub fn start_bytes(self, words: &str) -> Peer {
        Peer::spawn(self.command("support::bytes::bytes_role", "peer_bytes", words))
    }

    /// Starts a peer at an area with these words, explained in c-tests/support_speculo_peer.h; as another user if told.
    pub fn start_speculo(self, uid: Option<u32>, words: &str) -> Peer {
        let mut command = self.command("support::speculo_peer::speculo_role", "peer_speculo", words);
        if let Some(uid) = uid {
            command.uid(uid).gid(uid);
        }
        Peer::spawn(command)
    }

    /// Starts an example with these words. It reads what is told to it, and is asked to end when the test is killed.
    pub fn start_example(self, example: &str, words: &str) -> Peer {
        // The C and C++ examples lie beside the peers, the Rust ones beside the directory of this test's program.
        let test = std::env::current_exe().unwrap();
        let program = match self {
            Self::Rust => test.parent().unwrap().with_file_name("examples").join(example),
            Self::C => peers().with_file_name("examples").join(format!("{example}_c")),
            Self::Cpp => peers().with_file_name("examples").join(format!("{example}_cpp")),
        };
        assert!(program.is_file(), "no {}: `make` and `cargo build --examples` build them", program.display());
        let mut command = Command::new(program);
        command.args(words.split(' ')).stdin(Stdio::piped());
        bind(&mut command, libc::SIGTERM);
        Peer::spawn(command)
    }

    /// Starts a peer of a storm: `role` and `kind` as for [`start`](Self::start) and the others. It keeps a diary, and ends with the thread that
    /// starts it.
    pub fn start_in_storm(self, role: &str, kind: &str, words: &str, diary: &Path) -> Peer {
        let mut command = self.command(role, kind, words);
        command.env(DIARY, diary);
        bind(&mut command, libc::SIGKILL);
        Peer::spawn(command)
    }
}

/// Has it get this signal when the thread that starts it ends.
fn bind(command: &mut Command, signal: libc::c_int) {
    let last_wish = move || {
        // SAFETY: between fork and exec; a system call only.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong) };
        Ok(())
    };
    // SAFETY: as above.
    unsafe { command.pre_exec(last_wish) };
}

fn without(command: &mut Command, lacks: &[Lack]) {
    let lacks = lacks.to_vec();
    // SAFETY: between fork and exec; system calls, and what they need.
    unsafe { command.pre_exec(move || lacks.iter().try_for_each(|lack| lack.impose())) };
}

fn peers() -> PathBuf {
    std::env::var_os("SHMDS_PEERS_DIR")
        .expect("SHMDS_PEERS_DIR must say where the C and C++ peers are; `make test-rust` builds them and sets it")
        .into()
}

fn role_command(test: &str, words: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--ignored", "--nocapture", "--quiet", "--test-threads=1"]);
    command.env(ROLE_WORDS, words).stdin(Stdio::null());
    command
}

/// The words a role was started with; none when it was not started as one.
pub fn role_words() -> Option<Vec<String>> {
    let words = std::env::var(ROLE_WORDS).ok()?;
    Some(words.split(' ').map(str::to_owned).collect())
}

/// What a peer in Rust does, if this process was started as one; it ends with it.
pub fn play(run: impl FnOnce(&[String]) -> shmds::Result<()>) {
    let Some(words) = role_words() else { return };
    println!();
    if let Err(error) = run(&words) {
        say(&format!("peer: {words:?}: {error}"));
        std::process::exit(1);
    }
    std::process::exit(0);
}

impl Peer {
    /// Starts this program again, to run the ignored test `test` as a process of its own.
    pub fn role(test: &str, words: &str) -> Self {
        Self::spawn(role_command(test, words))
    }

    /// As [`role`](Self::role), in a process in which all this is lacking. It reads what is told to it.
    pub fn role_without(lacks: &[Lack], test: &str, words: &str) -> Self {
        let mut command = role_command(test, words);
        without(command.stdin(Stdio::piped()), lacks);
        Self::spawn(command)
    }

    /// As [`role`](Self::role), through another program that is told what to run.
    pub fn role_through(program: &str, arguments: &[&str], test: &str, words: &str) -> Self {
        let inner = role_command(test, words);
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).args(arguments).arg(inner.get_program()).args(inner.get_args());
        command.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let what = format!("{command:?}");
        command.stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out, what, over: false }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that begins with `start`, and gives what follows it.
    pub fn line(&mut self, start: &str) -> String {
        let mut line = String::new();
        while self.out.read_line(&mut line).unwrap() > 0 {
            if let Some(rest) = line.strip_prefix(start) {
                return rest.trim().to_owned();
            }
            line.clear();
        }
        panic!("{} ended without saying {start:?}", self.what);
    }

    /// Writes a line to its standard input, if it was started with one.
    pub fn tell(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Ends its standard input.
    pub fn end_input(&mut self) {
        self.child.stdin = None;
    }

    /// What it prints next: so many lines, each within the time that anything may take.
    pub fn lines(&mut self, count: usize) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        while lines.len() < count {
            if self.out.buffer().is_empty() {
                let mut out = libc::pollfd { fd: self.out.get_ref().as_raw_fd(), events: libc::POLLIN, revents: 0 };
                // SAFETY: one live structure.
                let ready = unsafe { libc::poll(&mut out, 1, PATIENCE.as_millis() as libc::c_int) };
                assert_eq!(ready, 1, "{} says no more than {lines:?}", self.what);
            }
            let line = self.out.by_ref().lines().next();
            lines.push(line.unwrap_or_else(|| panic!("{} ended after {lines:?}", self.what)).unwrap());
        }
        lines
    }

    /// What it prints until it ends.
    pub fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        rest
    }

    /// Sends a signal other than SIGKILL.
    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: kill has no preconditions; the child was not waited for, so the id is still its.
        assert_eq!(unsafe { libc::kill(self.child.id() as libc::pid_t, signal) }, 0);
    }

    /// Stops the process, and waits until it has stopped.
    pub fn stop(&self) {
        self.signal(libc::SIGSTOP);
        let stat = format!("/proc/{}/stat", self.pid());
        super::eventually("the process stops", || {
            let line = std::fs::read_to_string(&stat).unwrap();
            line.rsplit(") ").next().unwrap().starts_with('T')
        });
    }

    /// Sends SIGKILL and returns at once.
    pub fn shoot(&mut self) {
        self.child.kill().unwrap();
    }

    /// Sends SIGKILL and waits. It must not have ended before.
    #[track_caller]
    pub fn kill(mut self) {
        self.shoot();
        let status = self.child.wait().unwrap();
        self.over = true;
        assert_eq!(status.signal(), Some(libc::SIGKILL), "{} ended by itself: {status}", self.what);
    }

    /// Sends SIGKILL and waits. Fine if it has ended in success before.
    #[track_caller]
    pub fn kill_if_running(mut self) {
        self.shoot();
        let status = self.child.wait().unwrap();
        self.over = true;
        assert!(status.success() || status.signal() == Some(libc::SIGKILL), "{}: {status}", self.what);
    }

    /// Waits until SIGKILL, wherever it comes from, has ended it, and gives what it printed since the last line asked for.
    #[track_caller]
    pub fn died(mut self) -> String {
        let status = self.ended(PATIENCE);
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        assert_eq!(status.signal(), Some(libc::SIGKILL), "{}: {status}; it printed:\n{rest}", self.what);
        rest
    }

    /// Waits until it ends in success, and gives what it printed since the last line asked for.
    #[track_caller]
    pub fn finish(mut self) -> String {
        // A long run has a thousand rounds instead of thirty.
        let status = self.ended(if std::env::var_os("SHMDS_SOAK").is_some() { PATIENCE * 30 } else { PATIENCE });
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        assert!(status.success(), "{}: {status}; it printed:\n{rest}", self.what);
        rest
    }

    #[track_caller]
    fn ended(&mut self, patience: Duration) -> ExitStatus {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < patience, "{} does not end", self.what);
            std::thread::sleep(Duration::from_micros(500));
        };
        self.over = true;
        status
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if !self.over {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
