//! The examples of areas, in every language and between all of them: streams of messages that expire, and a block that is updated.

mod support;

use std::path::PathBuf;
use std::time::Duration;

use shmds::speculo::{Area, AreaOptions, Reader, ReaderOptions};
use support::{EVERY_LANGUAGE, Language, Name, PATIENCE, Peer, eventually};

/// A name of which nothing is left, whatever an area is called after it.
struct Examples(Name);

impl Examples {
    fn new() -> Self {
        Self(Name::new())
    }

    fn objects(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir("/dev/shm").unwrap().flatten().map(|entry| entry.path());
        let prefix = format!("{}.", self.0);
        entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(&prefix)).collect()
    }

    fn start(&self, language: Language, role: &str, rest: &str) -> Peer {
        let example = if matches!(role, "send" | "merge") { "speculo_stream" } else { "speculo_block" };
        language.start_example(example, format!("{role} {} {rest}", self.0).trim())
    }

    fn merge_in_every_language(&self) -> Vec<Peer> {
        EVERY_LANGUAGE.map(|language| self.start(language, "merge", "")).into()
    }

    fn leave_nothing(&self) {
        assert!(self.objects().is_empty(), "left behind: {:?}", self.objects());
    }

    /// Everybody is asked to end, and nothing is left of them.
    fn end(&self, programs: Vec<Peer>) {
        for program in programs {
            program.signal(libc::SIGINT);
            assert_eq!(program.finish(), "", "more than was sent");
        }
        self.leave_nothing();
    }
}

impl Drop for Examples {
    fn drop(&mut self) {
        self.objects().iter().for_each(|path| drop(std::fs::remove_file(path)));
    }
}

/// Seconds that messages are valid whose end is waited for. Whoever is to read them has as long.
const VALID: u64 = 3;

/// A sender, and what has been committed of it.
struct Sender {
    program: Peer,
    name: String,
    seen: Reader,
    /// When its last message does.
    expires: u64,
}

impl Sender {
    fn start(stream: &Examples, language: Language, name: &str, seconds: u64) -> Self {
        let program = stream.start(language, "send", &format!("{name} {seconds}"));
        let area = format!("{}.{name}", stream.0);
        let mut seen = None;
        eventually("the sender has an area", || {
            seen = Reader::open(&area, &ReaderOptions::new()).ok();
            seen.is_some()
        });
        Self { program, name: name.to_owned(), seen: seen.unwrap(), expires: 0 }
    }

    /// Has a message committed, and says how a reader tells it.
    fn send(&mut self, text: &str) -> String {
        self.program.tell(text);
        loop {
            let message = self.seen.next_wait(PATIENCE).unwrap().expect("a message");
            self.expires = message.expires();
            if message.to_vec()[8..] == *text.as_bytes() {
                return format!("{}: {text}", self.name);
            }
        }
    }
}

fn expect_lines(readers: &mut [Peer], lines: &[String]) {
    for (reader, language) in readers.iter_mut().zip(EVERY_LANGUAGE) {
        assert_eq!(reader.lines(lines.len()), lines, "in {language:?}");
    }
}

#[test]
fn all_languages_merge_senders_in_all_languages_in_the_order_of_time() {
    let stream = Examples::new();
    let mut early = stream.merge_in_every_language();
    let mut senders = Vec::new();
    let mut told = Vec::new();
    // One more sender in every round; what they say takes turns.
    for (language, name) in EVERY_LANGUAGE.into_iter().zip(["rust", "c", "cpp"]) {
        senders.push(Sender::start(&stream, language, name, 60));
        for turn in 0..12 {
            let nth = turn * 5 % senders.len();
            told.push(senders[nth].send(&format!("number {}, {}", told.len(), "é".repeat(turn * 40))));
        }
        told.push(senders[0].send(""));
    }
    expect_lines(&mut early, &told);
    // Who comes late finds them at different senders, and has to sort them.
    let mut late = stream.merge_in_every_language();
    expect_lines(&mut late, &told);
    early.extend(late);
    early.extend(senders.into_iter().map(|sender| sender.program));
    stream.end(early);
}

#[test]
fn who_comes_late_gets_what_has_not_expired_and_nothing_else() {
    let stream = Examples::new();
    let mut early = stream.merge_in_every_language();
    let (mut senders, mut short, mut long) = (Vec::new(), Vec::new(), Vec::new());
    for language in EVERY_LANGUAGE {
        let mut sender = |seconds, told: &mut Vec<String>| {
            let mut sender = Sender::start(&stream, language, &format!("{language:?}-{seconds}"), seconds);
            told.push(sender.send("as long as it is valid"));
            senders.push(sender);
        };
        sender(VALID, &mut short);
        sender(60, &mut long);
    }
    let all: Vec<String> = short.iter().zip(&long).flat_map(|(short, long)| [short.clone(), long.clone()]).collect();
    expect_lines(&mut early, &all);
    std::thread::sleep(Duration::from_secs(VALID));
    // The areas are there, and so are their bytes; but their time is over.
    assert_eq!(Area::list(&stream.0, &AreaOptions::new()).unwrap().len(), 6);
    let mut late = stream.merge_in_every_language();
    expect_lines(&mut late, &long);
    early.extend(late);
    early.extend(senders.into_iter().map(|sender| sender.program));
    stream.end(early);
}

#[test]
fn a_sender_that_has_nothing_more_to_say_stays_until_its_messages_have_expired() {
    let stream = Examples::new();
    let name = |language| format!("{language:?}");
    let mut senders = EVERY_LANGUAGE.map(|language| Sender::start(&stream, language, &name(language), VALID));
    let told = senders.each_mut().map(|sender| sender.send("last words"));
    let expires = senders.each_ref().map(|sender| sender.expires);
    senders.iter_mut().for_each(|sender| sender.program.end_input());
    let mut late = stream.merge_in_every_language();
    expect_lines(&mut late, &told);
    for (sender, expires) in senders.into_iter().zip(expires) {
        assert_eq!(sender.program.finish(), "");
        assert!(shmds::speculo::now() >= expires, "{} went too early", sender.name);
    }
    stream.end(late);
}

#[test]
fn a_killed_sender_is_continued_in_any_language() {
    let stream = Examples::new();
    let mut early = stream.merge_in_every_language();
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let mut successors = Vec::new();
    for killed in EVERY_LANGUAGE {
        for successor in EVERY_LANGUAGE {
            let name = format!("{killed:?}-{successor:?}");
            let mut sender = Sender::start(&stream, killed, &name, 60);
            before.push(sender.send("before"));
            sender.program.kill();
            successors.push(Sender::start(&stream, successor, &name, 60));
        }
    }
    expect_lines(&mut early, &before);
    after.extend(successors.iter_mut().map(|sender| sender.send("after")));
    expect_lines(&mut early, &after);
    let mut late = stream.merge_in_every_language();
    expect_lines(&mut late, &[before, after].concat());
    early.extend(late);
    early.extend(successors.into_iter().map(|sender| sender.program));
    stream.end(early);
}

#[test]
fn a_sender_whose_area_is_full_goes_on_when_messages_have_expired() {
    let stream = Examples::new();
    let mut senders = EVERY_LANGUAGE.map(|language| Sender::start(&stream, language, &format!("{language:?}"), 1));
    for sender in &mut senders {
        // Twice what an area holds.
        let text = "x".repeat(900);
        (0..2000).for_each(|_| sender.program.tell(&text));
        sender.send("the end");
        assert_eq!(sender.seen.stats().version, 2001, "{} gave messages up", sender.name);
    }
    stream.end(senders.map(|sender| sender.program).into());
}

/// The number of a block that is whole.
#[track_caller]
fn whole(line: &str) -> u64 {
    let number: u64 = line.split(':').next().unwrap().parse().unwrap_or_else(|_| panic!("no block: {line}"));
    let degrees = number % 30;
    let expected = format!("{number}: Bern {degrees}.00 Genoa {degrees}.25 Oslo {degrees}.50 Porto {degrees}.75");
    assert_eq!(line, expected, "a block that nobody published");
    number
}

#[test]
fn every_language_watches_the_block_of_any_language_and_of_who_continues_it() {
    for [first, second, third] in [[0, 1, 2], [1, 2, 0], [2, 0, 1]] {
        // A name with a dot, so that what it leaves is found as a sender's area is.
        let name = Examples::new();
        let start = |language: usize, role: &str, rest: &str| {
            let example = format!("{role} {}.block {rest}", name.0);
            EVERY_LANGUAGE[language].start_example("speculo_block", example.trim())
        };
        let mut watchers: Vec<_> = (0..3).map(|language| (start(language, "watch", ""), 0)).collect();
        let mut reached = 0;
        let publishers = [first, second, third].map(|language| (language, language != third));
        for (language, is_killed) in publishers {
            let publisher = start(language, "publish", "2");
            // Each block fills four lines of a cache; hundreds of them fill an area, which is replaced then.
            let goal = reached + 300;
            for (watcher, last) in &mut watchers {
                while *last < goal {
                    let number = whole(&watcher.lines(1)[0]);
                    assert!(number > *last, "{number} came after {last}");
                    *last = number;
                }
            }
            reached = goal;
            let mut late = start((language + 1) % 3, "watch", "");
            assert!(whole(&late.lines(1)[0]) >= reached, "an old block was still there");
            watchers.push((late, reached));
            if is_killed {
                publisher.kill();
            } else {
                publisher.signal(libc::SIGTERM);
                publisher.finish();
            }
        }
        for (mut watcher, last) in watchers {
            watcher.rest().lines().fold(last, |last, line| {
                let number = whole(line);
                assert!(number > last, "{number} came after {last}");
                number
            });
            watcher.finish();
        }
        name.leave_nothing();
    }
}

#[test]
fn who_waits_for_an_area_that_never_comes_can_be_interrupted() {
    let name = Examples::new();
    for language in EVERY_LANGUAGE {
        let watcher = name.start(language, "watch", "");
        let status = format!("/proc/{}/status", watcher.pid());
        eventually("it has its handlers", || {
            let caught = std::fs::read_to_string(&status).unwrap();
            let caught = caught.lines().find_map(|line| line.strip_prefix("SigCgt:\t")).unwrap().to_owned();
            u64::from_str_radix(&caught, 16).unwrap() & 1 << (libc::SIGINT - 1) != 0
        });
        watcher.signal(libc::SIGINT);
        assert_eq!(watcher.finish(), "");
    }
}
