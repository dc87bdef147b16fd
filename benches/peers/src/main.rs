//! Throughput and round trips between two cores, for us and for our peers: all in turns, again and again, in fresh processes
//! each time, so that what disturbs the machine disturbs everybody.
//!
//! `SHMDS_BENCH_REPETITIONS` says how often (15), `SHMDS_BENCH_CORES` where (the first two allowed, "0,1"); an argument
//! picks the cases whose names contain it. What criterion measured before is taken into the report.

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;
use std::time::Instant;

use shmds::Segment;
use shmds_peers::case::{Case, Contender, Test};
use shmds_peers::control::{Control, cores, end_in, pin};
use shmds_peers::links::{Ours, OursC, segment};
use shmds_peers::measure::{Side, floor_ping, floor_pong};
use shmds_peers::report::{Report, Row};
use shmds_peers::{CAPACITY, Message, prefix, report};

const BETWEEN_CORES: [Test; 2] = [Test::Throughput, Test::RoundTrip];
/// The longest a measuring process lives, in seconds.
const PATIENCE: u32 = 10;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "worker") {
        Worker::parse(&arguments[1..]).run();
        return ExitCode::SUCCESS;
    }
    let Some(cores) = pick_cores() else {
        println!("Only one core to run on: nothing to measure between two.");
        return ExitCode::SUCCESS;
    };
    let repetitions = setting("SHMDS_BENCH_REPETITIONS").map_or(15, |text| text.parse().expect("a number"));
    let wanted = arguments.first().map_or("", String::as_str);
    Coordinator::new(cores).run(repetitions, wanted)
}

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

fn pick_cores() -> Option<[usize; 2]> {
    let list = match setting("SHMDS_BENCH_CORES") {
        Some(text) => text.split(',').map(|core| core.trim().parse().expect("cores, as in 0,1")).collect(),
        None => cores(),
    };
    Some([*list.first()?, *list.get(1)?])
}

/// Where reports go, and what iceoryx2 keeps in files.
fn directory() -> PathBuf {
    PathBuf::from(setting("CARGO_TARGET_DIR").unwrap_or_else(|| "target".to_owned())).join("bench")
}

struct Coordinator {
    cores: [usize; 2],
    fd: RawFd,
    control: &'static Control,
    runs: u32,
}

impl Coordinator {
    fn new(cores: [usize; 2]) -> Self {
        let (fd, control) = Control::create();
        Self { cores, fd, control, runs: 0 }
    }

    fn run(mut self, repetitions: usize, wanted: &str) -> ExitCode {
        let cases: Vec<_> =
            Case::all(&BETWEEN_CORES).into_iter().filter(|case| case.to_string().contains(wanted)).collect();
        let group = |case: &Case| -> Vec<Row> {
            case.contenders().into_iter().map(|contender| Row::new(*case, contender)).collect()
        };
        let mut groups: Vec<_> = cases.iter().map(group).collect();
        let begin = Instant::now();
        for repetition in 0..repetitions {
            for rows in &mut groups {
                // The cores may have moved since: each group has its own floor.
                let floor = self.floor();
                // Backwards every other time: nobody always comes after the same one.
                let mut order: Vec<_> = rows.iter_mut().collect();
                if repetition % 2 == 1 {
                    order.reverse();
                }
                for row in order {
                    row.samples.push(self.measure(row.case, row.contender));
                    row.floors.push(floor);
                }
            }
            eprintln!("  repetition {} of {repetitions} done, {} s", repetition + 1, begin.elapsed().as_secs());
        }
        let alone = Case::all(&[Test::Pair, Test::Bulk]).into_iter().filter(|case| case.to_string().contains(wanted));
        let alone = report::from_criterion(&directory().join("criterion"), alone);
        let report = Report { repetitions, rows: alone.into_iter().chain(groups.into_iter().flatten()).collect() };
        report.print();
        let path = directory().join("report.json");
        std::fs::create_dir_all(directory()).and_then(|()| std::fs::write(&path, report.json())).expect("a report");
        println!("\nAlso in {}.", path.display());
        let failed = report.rows.iter().any(|row| row.contender.is_ours() && row.samples.iter().any(|x| x.is_nan()));
        if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    fn floor(&mut self) -> f64 {
        self.together(&[0, 1], &["floor".to_owned()])
    }

    fn measure(&mut self, case: Case, contender: Contender) -> f64 {
        let place = |list: &[Contender]| list.iter().position(|other| *other == contender).expect("listed").to_string();
        let index = Case::all(&BETWEEN_CORES).iter().position(|other| *other == case).expect("listed").to_string();
        let what = [index, place(&Contender::ALL)];
        if contender.crosses_processes() { self.together(&[0, 1], &what) } else { self.together(&[2], &what) }
    }

    /// Runs one process per side and waits for all; not a number if one of them failed.
    fn together(&mut self, sides: &[usize], what: &[String]) -> f64 {
        self.runs += 1;
        self.control.clear();
        let name = format!("{}-{}", prefix(), self.runs);
        let program = std::env::current_exe().expect("a path");
        let start = |side: &usize| -> Child {
            let [first, second] = self.cores;
            let numbers = [self.fd as usize, first, second, *side].map(|number| number.to_string());
            Command::new(&program).arg("worker").args(numbers).arg(&name).args(what).spawn().expect("a process")
        };
        let children: Vec<_> = sides.iter().map(start).collect();
        let ended: Vec<_> = children.into_iter().map(|mut child| child.wait().expect("an end")).collect();
        let _ = Segment::unlink(&name);
        if ended.iter().all(|status| status.success()) { self.control.result() } else { f64::NAN }
    }
}

/// A process that measures: one side of it, or (side 2) both, in two threads.
struct Worker {
    control: &'static Control,
    cores: [usize; 2],
    side: usize,
    name: String,
    what: Vec<String>,
}

impl Worker {
    fn parse(arguments: &[String]) -> Self {
        let number = |place: usize| arguments[place].parse::<usize>().expect("a number");
        Self {
            control: Control::inherited(number(0) as RawFd),
            cores: [number(1), number(2)],
            side: number(3),
            name: arguments[4].clone(),
            what: arguments[5..].to_vec(),
        }
    }

    fn run(self) {
        end_in(PATIENCE);
        if self.what[0] == "floor" {
            pin(self.cores[self.side]);
            self.control.meet();
            return if self.side == 0 { floor_ping(self.control) } else { floor_pong(self.control) };
        }
        let case = Case::all(&BETWEEN_CORES)[self.what[0].parse::<usize>().expect("a number")];
        let contender = Contender::ALL[self.what[1].parse::<usize>().expect("a number")];
        match case.bytes {
            8 => self.contend::<[u64; 1]>(case, contender),
            64 => self.contend::<[u64; 8]>(case, contender),
            256 => self.contend::<[u64; 32]>(case, contender),
            other => panic!("no message has {other} bytes"),
        }
    }

    fn contend<M: Message>(&self, case: Case, contender: Contender) {
        match contender {
            Contender::Ours => {
                pin(self.cores[self.side]);
                let segment = segment(&self.name);
                let end = |queue: &str| Ours::<M>::new(&segment, queue, case.mode);
                self.one_side(case.test, end, end);
            }
            Contender::OursC => {
                pin(self.cores[self.side]);
                let end = |queue: &str| OursC::<M>::new(&self.name, queue, case.mode);
                self.one_side(case.test, end, end);
            }
            Contender::Rtrb => self.both_sides::<M, _, _>(case.test, || rtrb::RingBuffer::new(CAPACITY)),
            Contender::Crossbeam => {
                self.both_sides::<M, _, _>(case.test, || {
                    let queue = Arc::new(crossbeam_queue::ArrayQueue::new(CAPACITY));
                    (queue.clone(), queue)
                });
            }
            Contender::Iceoryx => self.iceoryx::<M>(case.test),
        }
    }

    #[cfg(feature = "iceoryx2")]
    fn iceoryx<M: Message>(&self, test: Test) {
        use shmds_peers::iceoryx::{receiver, sender};
        pin(self.cores[self.side]);
        let directory = std::path::absolute(directory().join("iceoryx2")).expect("a path");
        let directory = directory.to_str().expect("a path of text");
        let service = |queue: &str| format!("{}/{queue}", self.name);
        self.one_side::<M, _, _>(
            test,
            |queue| sender(directory, &service(queue)),
            |queue| receiver(directory, &service(queue)),
        );
    }

    #[cfg(not(feature = "iceoryx2"))]
    fn iceoryx<M: Message>(&self, _: Test) {
        unreachable!("not built in");
    }

    /// One side of two processes, over the queues "there" and "back".
    fn one_side<M, S, R>(&self, test: Test, sender: impl Fn(&str) -> S, receiver: impl Fn(&str) -> R)
    where
        M: Message,
        S: shmds_peers::links::Sender<M>,
        R: shmds_peers::links::Receiver<M>,
    {
        let side = match (test, self.side) {
            (Test::Throughput, 0) => Side::Produce(sender("there")),
            (Test::Throughput, _) => Side::Consume(receiver("there")),
            (_, 0) => Side::Ping(sender("there"), receiver("back")),
            _ => Side::Echo(receiver("there"), sender("back")),
        };
        self.control.meet();
        // Both are attached: the name is needed no more, and a killed run leaves nothing.
        if self.side == 0 {
            let _ = Segment::unlink(&self.name);
        }
        side.run(self.control);
    }

    /// Both sides, in two threads of this process.
    fn both_sides<M, S, R>(&self, test: Test, queue: impl Fn() -> (S, R))
    where
        M: Message,
        S: shmds_peers::links::Sender<M> + Send,
        R: shmds_peers::links::Receiver<M> + Send,
    {
        let ((there, arrived), (back, returned)) = (queue(), queue());
        let sides = match test {
            Test::Throughput => [Side::Produce(there), Side::Consume(arrived)],
            _ => [Side::Ping(there, returned), Side::Echo(arrived, back)],
        };
        std::thread::scope(|scope| {
            for (core, side) in self.cores.into_iter().zip(sides) {
                scope.spawn(move || {
                    pin(core);
                    self.control.meet();
                    side.run(self.control);
                });
            }
        });
    }
}
