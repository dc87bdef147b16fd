//! Samples, and what is made of them: medians, ratios, the table, the JSON file.
//!
//! Whoever measures leaves lines of samples in files `*.samples`, tab-separated: the case, the unit, the role (`ours`, `peer`,
//! `floor`, `aside`), the contender, and the samples, one per repetition, with blanks in between: none, if the contender is not
//! to be had here. Other lines are for people.

use std::path::Path;

use crate::contender::{self, Role};
use crate::marks::{self, Mark};

/// What one contender did in one case.
#[derive(Clone, Debug)]
pub struct Row {
    pub case: String,
    pub unit: String,
    pub role: Role,
    pub contender: String,
    /// One per repetition; not a number where it failed.
    pub samples: Vec<f64>,
}

/// Median, least and greatest.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Summary {
    fn of(samples: impl Iterator<Item = f64>) -> Self {
        let mut good: Vec<_> = samples.filter(|sample| !sample.is_nan()).collect();
        let median = median(&mut good);
        let end = |place: Option<&f64>| place.copied().unwrap_or(f64::NAN);
        Self { median, least: end(good.first()), most: end(good.last()) }
    }
}

impl Row {
    pub fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let mut next = || fields.next().map(str::to_owned);
        let (case, unit, role, contender, samples) = (next()?, next()?, Role::of(&next()?)?, next()?, next()?);
        let samples = samples.split_whitespace().map(|sample| sample.parse().unwrap_or(f64::NAN)).collect();
        Some(Self { case, unit, role, contender, samples })
    }

    pub fn line(&self) -> String {
        let samples: Vec<_> = self.samples.iter().map(f64::to_string).collect();
        [&self.case, &self.unit, self.role.word(), &self.contender, &samples.join(" ")].join("\t") + "\n"
    }

    pub fn summary(&self) -> Summary {
        Summary::of(self.samples.iter().copied())
    }

    pub fn is_here(&self) -> bool {
        self.samples.iter().any(|sample| !sample.is_nan())
    }

    /// Whether a larger number is a better one.
    pub fn more_is_better(&self) -> bool {
        self.unit.ends_with("/s")
    }

    /// The median of the ratios to another row, repetition by repetition.
    fn times(&self, other: &Self) -> f64 {
        Summary::of(self.samples.iter().zip(&other.samples).map(|(this, other)| this / other)).median
    }
}

/// Sorts, and gives the middle; not a number if there is none.
pub fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    let half = samples.len() / 2;
    match samples.len() {
        0 => f64::NAN,
        length if length % 2 == 0 => (samples[half - 1] + samples[half]) / 2.0,
        _ => samples[half],
    }
}

#[derive(Debug, Default)]
pub struct Report {
    pub rows: Vec<Row>,
}

impl Report {
    /// All that lies in a directory.
    pub fn load(directory: &Path) -> std::io::Result<Self> {
        let mut files: Vec<_> = std::fs::read_dir(directory)?.collect::<Result<_, _>>()?;
        files.sort_by_key(std::fs::DirEntry::path);
        let mut rows = Vec::new();
        for file in files.iter().filter(|file| file.path().extension().is_some_and(|ending| ending == "samples")) {
            rows.extend(std::fs::read_to_string(file.path())?.lines().filter_map(Row::parse));
        }
        Ok(Self { rows })
    }

    /// The names of all cases, in order.
    pub fn cases(&self) -> Vec<&str> {
        let mut cases: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !cases.contains(&row.case.as_str()) {
                cases.push(&row.case);
            }
        }
        cases
    }

    pub fn rows_of<'a>(&'a self, case: &'a str) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| row.case == case)
    }

    pub fn best_peer<'a>(&'a self, case: &'a str) -> Option<&'a Row> {
        let good = |row: &&Row| if row.more_is_better() { row.summary().median } else { -row.summary().median };
        let peers = self.rows_of(case).filter(|row| row.role == Role::Peer && row.is_here());
        peers.max_by(|a, b| good(a).total_cmp(&good(b)))
    }

    pub fn floor<'a>(&'a self, case: &'a str) -> Option<&'a Row> {
        self.rows_of(case).find(|row| row.role == Role::Floor && row.is_here())
    }

    /// How many times better one of our faces is than the best peer; not a number if there is none.
    pub fn ratio(&self, row: &Row) -> f64 {
        let Some(peer) = self.best_peer(&row.case) else { return f64::NAN };
        if row.role != Role::Ours {
            f64::NAN
        } else if row.more_is_better() {
            row.times(peer)
        } else {
            peer.times(row)
        }
    }

    /// How many times the floor it is.
    pub fn floor_ratio(&self, row: &Row) -> f64 {
        self.floor(&row.case).map_or(f64::NAN, |floor| row.times(floor))
    }

    /// What is aimed at, and whether it was met; nothing where nothing could be measured or compared.
    pub fn mark(&self, row: &Row) -> Option<(Mark, Option<bool>)> {
        let mark = marks::of(&row.case, &row.contender)?;
        let (number, met): (f64, fn(f64, f64) -> bool) = match mark {
            Mark::TimesPeer(_) => (self.ratio(row), |number, mark| number >= mark),
            Mark::OfFloor(_) => (self.floor_ratio(row), |number, mark| number <= mark),
            Mark::ShareOfFloor(_) => (self.floor_ratio(row), |number, mark| number >= mark),
            Mark::ShareOf(other, _) => {
                let other = self.rows_of(other).find(|other| other.contender == row.contender);
                (other.map_or(f64::NAN, |other| row.times(other)), |number, mark| number >= mark)
            }
            Mark::AtMost(_) => (row.summary().median, |number, mark| number <= mark),
            Mark::AtLeast(_) => (row.summary().median, |number, mark| number >= mark),
        };
        let (Mark::TimesPeer(limit)
        | Mark::OfFloor(limit)
        | Mark::ShareOfFloor(limit)
        | Mark::ShareOf(_, limit)
        | Mark::AtMost(limit)
        | Mark::AtLeast(limit)) = mark;
        Some((mark, (!number.is_nan()).then(|| met(number, limit))))
    }

    pub fn print(&self) {
        println!(
            "\nMedians, least and greatest of all repetitions, in turns. \"Peer\": how many times better than the best peer,"
        );
        println!(
            "repetition by repetition; \"floor\": how many times what the machine allows, or takes without us. (t): cannot live"
        );
        println!(
            "in shared memory, so measured between threads of one process; all others between processes. docs/PERFORMANCE.md"
        );
        println!("says how it is done. Absolute numbers are this machine's, ratios travel better.");
        let (mut met, mut missed) = (0, Vec::new());
        for case in self.cases() {
            let unit = self.rows_of(case).next().map_or("", |row| &row.unit);
            println!(
                "\n{:<46} {:>9} {:>9} {:>9} {:>7} {:>7}",
                format!("{case}: {unit}"),
                "median",
                "min",
                "max",
                "peer",
                "floor"
            );
            for row in self.rows_of(case) {
                let name = format!("{}{}", row.contender, if in_threads(row) { " (t)" } else { "" });
                if !row.is_here() {
                    println!("  {name:<44} {:>9}", if row.samples.is_empty() { "not here" } else { "failed" });
                    continue;
                }
                let Summary { median, least, most } = row.summary();
                let [median, least, most] = [median, least, most].map(cell);
                let [ratio, floor] = [self.ratio(row), self.floor_ratio(row)].map(cell);
                let mark = self.mark(row).map_or(String::new(), |(mark, is_met)| {
                    match is_met {
                        Some(true) => met += 1,
                        _ => missed.push(format!("{case}, {name}: {mark}")),
                    }
                    format!("  {mark} {}", verdict(is_met))
                });
                println!("  {name:<44} {median:>9} {least:>9} {most:>9} {ratio:>7} {floor:>7}{mark}");
                let failures = row.samples.iter().filter(|sample| sample.is_nan()).count();
                if failures > 0 {
                    println!("  {:<44} failed {failures} times", "");
                }
            }
        }
        println!("\nMarks: {met} of {} met{}", met + missed.len(), if missed.is_empty() { "." } else { "; not:" });
        missed.iter().for_each(|missed| println!("  {missed}"));
    }

    /// A list of rows. `ours` or `peer` is whom the row is about; in our own rows `peer` is the best of them, which `ratio`
    /// compares with.
    pub fn json(&self) -> String {
        let line = |row: &Row| {
            let quoted = |text: &str| format!("\"{}\"", text.replace(['\\', '"'], ""));
            let null = || "null".to_owned();
            let Summary { median, least, most } = row.summary();
            let is_ours = row.role == Role::Ours;
            let peer =
                if is_ours { self.best_peer(&row.case).map(|peer| &peer.contender) } else { Some(&row.contender) };
            let mark = self.mark(row);
            let fields = [
                ("name", quoted(&row.case)),
                ("ours", if is_ours { quoted(&row.contender) } else { null() }),
                ("peer", peer.map_or_else(null, |peer| quoted(peer))),
                ("unit", quoted(&row.unit)),
                ("median", number(median)),
                ("min", number(least)),
                ("max", number(most)),
                ("ratio", number(self.ratio(row))),
                ("floor_ratio", number(self.floor_ratio(row))),
                ("mark", mark.map_or_else(null, |(mark, _)| quoted(&mark.to_string()))),
                ("met", mark.and_then(|(_, met)| met).map_or_else(null, |met| met.to_string())),
            ];
            format!("{{{}}}", fields.map(|(name, value)| format!("\"{name}\": {value}")).join(", "))
        };
        format!("[\n  {}\n]\n", self.rows.iter().map(line).collect::<Vec<_>>().join(",\n  "))
    }

    /// A line per case, for docs/PERFORMANCE.md.
    pub fn markdown(&self) -> String {
        let mut text = String::from(
            "| case | unit | C++ | C | Rust | best peer | floor | marks |\n|---|---|--:|--:|--:|---|---|---|\n",
        );
        for case in self.cases() {
            let unit = self.rows_of(case).next().map_or("", |row| &row.unit);
            let face = |name: &str| self.rows_of(case).find(|row| row.contender == name);
            let faces = ["shmds C++", "shmds C", "shmds Rust"].map(face);
            let [cpp, c, rust] = faces
                .map(|row| row.filter(|row| row.is_here()).map_or(String::new(), |row| cell(row.summary().median)));
            let told = |row: Option<&Row>| {
                row.map_or(String::new(), |row| {
                    let threads = if in_threads(row) { " (t)" } else { "" };
                    format!("{} {}{threads}", cell(row.summary().median), row.contender)
                })
            };
            let marks: Vec<_> = faces
                .into_iter()
                .flatten()
                .filter_map(|row| {
                    let (mark, met) = self.mark(row)?;
                    Some(format!("{} {mark}: {}", row.contender.trim_start_matches("shmds "), verdict(met)))
                })
                .collect();
            let (peer, floor) = (told(self.best_peer(case)), told(self.floor(case)));
            text += &format!("| {case} | {unit} | {cpp} | {c} | {rust} | {peer} | {floor} | {} |\n", marks.join("; "));
        }
        text
    }
}

pub fn in_threads(row: &Row) -> bool {
    let remote = ["throughput", "round trip"].iter().any(|test| row.case.starts_with(test));
    remote && contender::ALL.iter().any(|contender| contender.threads && contender.name == row.contender)
}

fn verdict(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "met",
        Some(false) => "MISSED",
        None => "not measured",
    }
}

/// A number in the table.
fn cell(number: f64) -> String {
    match number.abs() {
        _ if number.is_nan() => String::new(),
        size if size < 10.0 => format!("{number:.2}"),
        size if size < 1000.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

/// A number in JSON, which has no NaN.
fn number(number: f64) -> String {
    if number.is_finite() { format!("{number:.3}") } else { "null".to_owned() }
}

/// What criterion measured, in nanoseconds an operation: a directory per case, in it one per contender. Its samples are not
/// those of the other rows' repetitions, so the cases are their own.
pub fn from_criterion(home: &Path) -> Vec<Row> {
    let inside = |path: &Path| -> Vec<_> {
        let mut all: Vec<_> =
            std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        all.sort();
        all
    };
    let name = |path: &Path| path.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
    let mut rows = Vec::new();
    for case in inside(home) {
        for contender in inside(&case) {
            let Ok(text) = std::fs::read_to_string(contender.join("new/sample.json")) else { continue };
            let (iterations, times) = (list(&text, "\"iters\":["), list(&text, "\"times\":["));
            let elements = if name(&case).ends_with("a call") { crate::case::BULK as f64 } else { 1.0 };
            let samples = times.iter().zip(iterations).map(|(time, count)| time / count / elements).collect();
            let contender = name(&contender);
            let role = if contender.starts_with("shmds") { Role::Ours } else { Role::Peer };
            rows.push(Row {
                case: format!("{}, by criterion", name(&case)),
                unit: "ns".to_owned(),
                role,
                contender,
                samples,
            });
        }
    }
    rows
}

fn list(text: &str, opening: &str) -> Vec<f64> {
    let inside = text.split_once(opening).and_then(|(_, rest)| rest.split_once(']')).map_or("", |(inside, _)| inside);
    inside.split(',').filter_map(|number| number.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(unit: &str, case: &str, samples: [&[f64]; 3]) -> Report {
        let roles = [(Role::Ours, "shmds C"), (Role::Peer, "rtrb"), (Role::Floor, "floor")];
        let rows = roles.iter().zip(samples).map(|((role, contender), samples)| {
            let [case, unit, contender] = [case, unit, contender].map(str::to_owned);
            Row { case, unit, role: *role, contender, samples: samples.to_vec() }
        });
        Report { rows: rows.collect() }
    }

    #[test]
    fn median_is_in_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&mut []).is_nan());
    }

    #[test]
    fn ratio_above_one_means_that_we_are_better() {
        for (unit, ours, theirs) in [("M/s", 30.0, 10.0), ("ns", 10.0, 30.0)] {
            let report = report(unit, "a case", [&[ours], &[theirs], &[5.0]]);
            assert_eq!(report.ratio(&report.rows[0]), 3.0);
            assert_eq!(report.floor_ratio(&report.rows[0]), ours / 5.0);
        }
    }

    #[test]
    fn ratios_are_taken_repetition_by_repetition() {
        let report = report("ns", "a case", [&[1.0, 20.0, 300.0], &[3.0, 60.0, 600.0], &[1.0, f64::NAN, 100.0]]);
        assert_eq!(report.ratio(&report.rows[0]), 3.0);
        assert_eq!(report.floor_ratio(&report.rows[0]), 2.0);
    }

    #[test]
    fn marks_are_met_or_missed() {
        for (ours, met) in [(1.6, false), (1.8, true)] {
            let report = report("M/s", "throughput SPSC 8 B", [&[ours], &[1.0], &[9.0]]);
            assert_eq!(report.mark(&report.rows[0]), Some((Mark::TimesPeer(1.7), Some(met))));
        }
        let alone = report("M/s", "throughput SPSC 8 B", [&[2.0], &[], &[]]);
        assert_eq!(alone.mark(&alone.rows[0]), Some((Mark::TimesPeer(1.7), None)));
    }

    #[test]
    fn lines_of_samples_are_read_back() {
        let row = &report("M/s", "a case", [&[1.5, f64::NAN], &[], &[]]).rows[0];
        let back = Row::parse(row.line().trim_end()).unwrap();
        assert_eq!((back.case.as_str(), back.role, back.contender.as_str()), ("a case", Role::Ours, "shmds C"));
        assert!(back.samples[0] == 1.5 && back.samples[1].is_nan() && back.samples.len() == 2);
        assert!(Row::parse("a line for people").is_none());
    }

    #[test]
    fn samples_of_criterion_are_read() {
        let text = r#"{"sampling_mode":"Linear","iters":[2.0,4.0],"times":[10.0,20.5]}"#;
        assert_eq!(list(text, "\"iters\":["), [2.0, 4.0]);
        assert_eq!(list(text, "\"times\":["), [10.0, 20.5]);
    }
}
