//! Starts what is measured, for us and for our peers: all in turns, again and again, in fresh processes each time, so that
//! what disturbs the machine disturbs everybody.
//!
//! `run [PART]` measures the cases whose names contain PART; `SHMDS_BENCH_REPETITIONS` says how often (9),
//! `SHMDS_BENCH_CORES` where (the first two allowed, "0,1"). `report` makes the table, the JSON file and the pictures of all
//! samples that lie in target/bench; `docs` writes the same into docs/PERFORMANCE.md.

use std::io::{IsTerminal, Write};
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::Instant;

use shmds::Segment;
use shmds_peers::case::Case;
use shmds_peers::contender::{self, Contender, Program, Role};
use shmds_peers::control::{self, Control, VALUES, cores};
use shmds_peers::report::{Report, Row, from_criterion};
use shmds_peers::worker::Worker;
use shmds_peers::{directory, kernel, plot, prefix, setting};

/// What docs/PERFORMANCE.md shows.
const SHOWN: [&str; 3] = ["throughput-spsc", "round-trip-spsc", "throughput-mpmc"];
const BEGIN: &str = "<!-- measured: `make bench` writes from here -->\n";
const END: &str = "<!-- to here -->";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["worker", ..] => Worker::parse(&arguments[1..]).run(),
        ["run"] => return run(""),
        ["run", part] => return run(part),
        ["report"] => report(),
        ["docs"] => docs(Path::new("docs")),
        _ => panic!("run [PART], report or docs"),
    }
    ExitCode::SUCCESS
}

fn run(part: &str) -> ExitCode {
    let list = match setting("SHMDS_BENCH_CORES") {
        Some(text) => text.split(',').map(|core| core.trim().parse().expect("cores, as in 0,1")).collect(),
        None => cores(),
    };
    let [first, second, ..] = list[..] else {
        println!("Only one core to run on: nothing to measure between two.");
        return ExitCode::SUCCESS;
    };
    let repetitions = setting("SHMDS_BENCH_REPETITIONS").map_or(9, |text| text.parse().expect("a number"));
    Coordinator::new([first, second]).run(repetitions, part)
}

fn report() {
    let mut report = Report::load(&directory()).expect("samples");
    report.rows.extend(from_criterion(&directory().join("criterion")));
    report.print();
    write(&directory().join("report.json"), &report.json());
    for (name, cases) in plot::pictures(&report) {
        if let Some(picture) = plot::bars(&report, &cases) {
            write(&directory().join(name + ".svg"), &picture);
        }
    }
    println!("\nAlso in {}, with pictures beside it.", directory().join("report.json").display());
}

fn docs(docs: &Path) {
    let report = Report::load(&directory()).expect("samples");
    let path = docs.join("PERFORMANCE.md");
    let text = std::fs::read_to_string(&path).expect("docs/PERFORMANCE.md");
    let (before, rest) = text.split_once(BEGIN).expect("where to begin");
    let (_, after) = rest.split_once(END).expect("where to end");
    write(&path, &format!("{before}{BEGIN}\n{}\n\n{}\n{END}{after}", machine(&report), report.markdown()));
    for (name, cases) in plot::pictures(&report) {
        // Other capacities and bulks are in target/bench.
        let cases: Vec<_> =
            cases.into_iter().filter(|case| !case.contains("capacity") && !case.contains(", p9")).collect();
        if let (true, Some(picture)) = (SHOWN.contains(&name.as_str()), plot::bars(&report, &cases)) {
            write(&docs.join(name + ".svg"), &picture);
        }
    }
}

fn machine(report: &Report) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("an unknown processor", |(_, model)| model);
    let repetitions = report.rows.iter().map(|row| row.samples.len()).filter(|count| *count > 0);
    let (least, most) = (repetitions.clone().min().unwrap_or(0), repetitions.max().unwrap_or(0));
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{model}, {} cores, Linux {}, {least} to {most} repetitions.", cores().len(), kernel.trim())
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

struct Coordinator {
    cores: [usize; 2],
    fd: RawFd,
    control: &'static Control,
    /// The worker in C++, and who is in it: it depends on which headers were there.
    cpp: PathBuf,
    in_cpp: Vec<String>,
    runs: u32,
}

/// A contender in a case, and a row for each value that it yields.
struct Entry {
    contender: &'static Contender,
    rows: Vec<Row>,
}

impl Coordinator {
    fn new(cores: [usize; 2]) -> Self {
        let (fd, control) = Control::create();
        let cpp = setting("SHMDS_BENCH_CPP").map_or_else(|| directory().join("cpp"), PathBuf::from);
        let told = Command::new(&cpp).arg("contenders").output().map_or(Vec::new(), |output| output.stdout);
        let in_cpp = String::from_utf8_lossy(&told).lines().map(str::to_owned).collect();
        Self { cores, fd, control, cpp, in_cpp, runs: 0 }
    }

    fn is_here(&self, contender: &Contender) -> bool {
        match contender.program {
            Program::Cpp => self.in_cpp.iter().any(|name| name == contender.name),
            Program::Rust => contender.name != "iceoryx2" || cfg!(feature = "iceoryx2"),
        }
    }

    fn run(mut self, repetitions: usize, part: &str) -> ExitCode {
        let cases = Case::all().into_iter().filter(|case| case.to_string().contains(part));
        let entry = |case: Case, contender: &'static Contender| {
            let row = |(what, unit): &(&str, &str)| Row {
                case: format!("{case}{what}"),
                unit: (*unit).to_owned(),
                role: contender.role,
                contender: contender.name.to_owned(),
                samples: Vec::new(),
            };
            Entry { contender, rows: case.values().iter().map(row).collect() }
        };
        let entries = |case: Case| -> (Case, Vec<Entry>) {
            let all = contender::ALL.iter().filter(|contender| (contender.fits)(&case));
            (case, all.map(|contender| entry(case, contender)).collect())
        };
        let mut groups: Vec<_> = cases.map(entries).collect();
        let begin = Instant::now();
        for repetition in 0..repetitions {
            for (case, group) in &mut groups {
                self.tell(&format!("repetition {} of {repetitions}: {case}", repetition + 1));
                // Backwards every other time: nobody always comes after the same one.
                let mut order: Vec<_> = group.iter_mut().filter(|entry| self.is_here(entry.contender)).collect();
                if repetition % 2 == 1 {
                    order.reverse();
                }
                for entry in order {
                    let values = self.measure(case, entry.contender);
                    entry.rows.iter_mut().zip(values).for_each(|(row, value)| row.samples.push(value));
                }
            }
            let seconds = begin.elapsed().as_secs_f64();
            let left = seconds / (repetition + 1) as f64 * (repetitions - repetition - 1) as f64;
            self.tell("");
            eprintln!("  repetition {} of {repetitions} done after {seconds:.0} s, {left:.0} s to go", repetition + 1);
            save(&groups);
        }
        self.judge(&groups)
    }

    /// Says who was left out or failed; of us, nobody may.
    fn judge(&self, groups: &[(Case, Vec<Entry>)]) -> ExitCode {
        let mut fine = true;
        for contender in contender::ALL.iter().filter(|contender| !self.is_here(contender)) {
            fine &= contender.role != Role::Ours;
            eprintln!("  left out, because it is not here: {}", contender.name);
        }
        for row in groups.iter().flat_map(|(_, group)| group).flat_map(|entry| &entry.rows) {
            let failures = row.samples.iter().filter(|sample| sample.is_nan()).count();
            if failures > 0 {
                fine &= row.role != Role::Ours;
                eprintln!("  failed {failures} times: {}, {}", row.case, row.contender);
            }
        }
        if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// Progress, for those who watch.
    fn tell(&self, what: &str) {
        if std::io::stderr().is_terminal() {
            eprint!("\r  {what:<70}\r");
            let _ = std::io::stderr().flush();
        }
    }

    /// Runs one process per side and waits for all; no numbers if one of them failed.
    fn measure(&mut self, case: &Case, contender: &Contender) -> [f64; VALUES] {
        self.runs += 1;
        control::clear(self.fd);
        let name = format!("{}-{}", prefix(), self.runs);
        let descriptors = match contender.kernel.then(|| kernel::open(contender.name, case)) {
            Some(None) => return [f64::NAN; VALUES],
            opened => opened.flatten(),
        };
        let program = match contender.program {
            Program::Rust => std::env::current_exe().expect("a path"),
            Program::Cpp => self.cpp.clone(),
        };
        let start = |side: Option<usize>| -> Child {
            let mut command = Command::new(&program);
            command.arg("worker").args(Worker::words(self.fd, self.cores, side, &name, contender.name));
            command.args(case.words()).args(descriptors.iter().flatten().map(RawFd::to_string));
            command.spawn().expect("a process")
        };
        let children =
            if contender.threads { vec![start(None)] } else { (0..case.sides()).map(Some).map(start).collect() };
        let succeeded = wait_for(children);
        if let Some(descriptors) = descriptors {
            kernel::close(descriptors);
        }
        let _ = Segment::unlink(&name);
        if succeeded { self.control.results() } else { [f64::NAN; VALUES] }
    }
}

/// Whether all ended well. When one does not, the others have nobody left to work with.
fn wait_for(mut children: Vec<Child>) -> bool {
    let mut succeeded = true;
    while !children.is_empty() {
        let mut status = 0;
        // SAFETY: a plain call; all children are ours.
        let ended = unsafe { libc::wait(&mut status) };
        children.retain(|child| child.id() as i32 != ended);
        if status != 0 {
            succeeded = false;
            children.iter_mut().for_each(|child| drop(child.kill()));
        }
    }
    succeeded
}

fn save(groups: &[(Case, Vec<Entry>)]) {
    let mut text = String::new();
    for (case, group) in groups {
        for value in 0..case.values().len() {
            group.iter().for_each(|entry| text += &entry.rows[value].line());
        }
    }
    std::fs::create_dir_all(directory()).expect("target/bench");
    write(&directory().join("structures.samples"), &text);
}
