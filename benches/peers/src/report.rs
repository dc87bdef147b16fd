//! Medians, the table, the JSON file.

use std::fmt::Write;
use std::path::Path;

use crate::BULK;
use crate::case::{Case, Contender, Test};

/// What one contender did in one case.
#[derive(Debug)]
pub struct Row {
    pub case: Case,
    pub contender: Contender,
    /// One per repetition; not a number where it failed.
    pub samples: Vec<f64>,
    /// Nanoseconds that two cache lines took there and back just before, one per repetition; none for one thread.
    pub floors: Vec<f64>,
}

impl Row {
    pub fn new(case: Case, contender: Contender) -> Self {
        Self { case, contender, samples: Vec::new(), floors: Vec::new() }
    }

    /// Median, least and greatest.
    fn summary(&self) -> (f64, f64, f64) {
        summary(&self.samples)
    }

    /// How many times better we are than `peer`: the median over the repetitions, each compared with itself.
    fn ratio(&self, peer: &Self) -> f64 {
        let better = |(ours, theirs)| if self.case.more_is_better() { ours / theirs } else { theirs / ours };
        summary(&self.samples.iter().zip(&peer.samples).map(better).collect::<Vec<_>>()).0
    }

    /// Round trips: how many floors it takes. Throughput: messages in the time of a floor.
    fn floors(&self) -> f64 {
        let compare = |(sample, floor)| match self.case.test {
            Test::Throughput => sample * floor / 1000.0,
            _ => sample / floor,
        };
        summary(&self.samples.iter().zip(&self.floors).map(compare).collect::<Vec<_>>()).0
    }
}

fn summary(samples: &[f64]) -> (f64, f64, f64) {
    let mut good: Vec<_> = samples.iter().copied().filter(|sample| !sample.is_nan()).collect();
    let middle = median(&mut good);
    let end = |place: Option<&f64>| place.copied().unwrap_or(f64::NAN);
    (middle, end(good.first()), end(good.last()))
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

pub struct Report {
    pub repetitions: usize,
    pub rows: Vec<Row>,
}

/// What a row says beside its samples.
struct Comparison {
    /// Ours compared with the best peer; a peer compared with our Rust face.
    ratio: f64,
    /// The peer of that comparison.
    with: &'static str,
}

impl Report {
    fn floor(&self) -> (f64, f64, f64) {
        summary(&self.rows.iter().flat_map(|row| row.floors.iter().copied()).collect::<Vec<_>>())
    }

    fn group(&self, case: Case) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.case == case)
    }

    fn best_peer(&self, case: Case) -> Option<&Row> {
        let better = |row: &&Row| if case.more_is_better() { row.summary().0 } else { -row.summary().0 };
        self.group(case)
            .filter(|row| !row.contender.is_ours() && !row.summary().0.is_nan())
            .max_by(|a, b| better(a).total_cmp(&better(b)))
    }

    fn compare(&self, row: &Row) -> Comparison {
        let ours = self.group(row.case).find(|row| row.contender == Contender::Ours);
        let (ratio, with) = if row.contender.is_ours() {
            self.best_peer(row.case).map_or((f64::NAN, ""), |peer| (row.ratio(peer), peer.contender.name()))
        } else {
            (ours.map_or(f64::NAN, |ours| ours.ratio(row)), row.contender.name())
        };
        Comparison { ratio, with }
    }

    pub fn print(&self) {
        let (middle, least, most) = self.floor();
        println!(
            "\nCapacity {}; medians, least and greatest of {} repetitions in turns (one",
            crate::CAPACITY,
            self.repetitions
        );
        println!("thread: of criterion's samples). \"Ahead\": how many times better shmds is, repetition by");
        println!("repetition; in its own rows, than the best peer. \"Floors\": round trips in units of the floor, and");
        println!("messages in the time of a floor. (t): cannot live in shared memory, so two threads of one process;");
        println!(
            "the others are two processes. Nobody sleeps. Absolute numbers are this machine's, ratios travel better."
        );
        println!(
            "\nFloor, two cache lines there and back between two processes: {middle:.0} ns ({least:.0} to {most:.0})"
        );
        let mut case = None;
        for row in &self.rows {
            if case.replace(row.case) != Some(row.case) {
                let title = format!("{}, {}", row.case, row.case.unit());
                println!("\n{title:<30} {:>9} {:>9} {:>9} {:>8} {:>8}", "median", "min", "max", "ahead", "floors");
            }
            let remote = matches!(row.case.test, Test::Throughput | Test::RoundTrip);
            let threads = if remote && !row.contender.crosses_processes() { " (t)" } else { "" };
            let name = format!("{}{threads}", row.contender.name());
            let ((middle, least, most), comparison) = (row.summary(), self.compare(row));
            let [middle, least, most] = [middle, least, most].map(|number| cell(number, 1));
            let [ratio, floors] = [comparison.ratio, row.floors()].map(|number| cell(number, 2));
            println!("  {name:<28} {middle:>9} {least:>9} {most:>9} {ratio:>8} {floors:>8}");
            let failures = row.samples.iter().filter(|sample| sample.is_nan()).count();
            if failures > 0 {
                println!("  {:<28} failed {failures} times", "");
            }
        }
    }

    /// A list of rows. `peer` is whom the row is about, or in our own rows the best of them, which `ratio` compares with.
    pub fn json(&self) -> String {
        let (middle, least, most) = self.floor();
        let mut lines = vec![format!(
            r#"{{"name": "floor", "ours": null, "peer": null, "unit": "ns", "median": {}, "min": {}, "max": {}, "ratio": null, "floor_ratio": 1}}"#,
            number(middle),
            number(least),
            number(most)
        )];
        for row in &self.rows {
            let ((middle, least, most), comparison) = (row.summary(), self.compare(row));
            let ours =
                if row.contender.is_ours() { format!("\"{}\"", row.contender.name()) } else { "null".to_owned() };
            let mut line = String::new();
            write!(line, r#"{{"name": "{}", "ours": {ours}, "peer": "{}""#, row.case, comparison.with).unwrap();
            write!(line, r#", "unit": "{}", "median": {}"#, row.case.unit(), number(middle)).unwrap();
            write!(line, r#", "min": {}, "max": {}"#, number(least), number(most)).unwrap();
            write!(line, r#", "ratio": {}, "floor_ratio": {}}}"#, number(comparison.ratio), number(row.floors()))
                .unwrap();
            lines.push(line);
        }
        format!("[\n  {}\n]\n", lines.join(",\n  "))
    }
}

/// A number in the table.
fn cell(number: f64, digits: usize) -> String {
    if number.is_nan() { "-".to_owned() } else { format!("{number:.digits$}") }
}

/// A number in JSON, which has no NaN.
fn number(number: f64) -> String {
    if number.is_finite() { format!("{number:.3}") } else { "null".to_owned() }
}

/// What criterion measured of these cases, in nanoseconds an element; what it has not measured is left out.
pub fn from_criterion(home: &Path, cases: impl Iterator<Item = Case>) -> Vec<Row> {
    let mut rows = Vec::new();
    for case in cases {
        for contender in case.contenders() {
            let file = home.join(case.to_string()).join(contender.name()).join("new/sample.json");
            let Ok(text) = std::fs::read_to_string(file) else { continue };
            let (iterations, times) = (list(&text, "\"iters\":["), list(&text, "\"times\":["));
            let elements = if case.test == Test::Bulk { BULK as f64 } else { 1.0 };
            let samples = times.iter().zip(iterations).map(|(time, count)| time / count / elements).collect();
            rows.push(Row { case, contender, samples, floors: Vec::new() });
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

    #[test]
    fn median_is_in_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&mut []).is_nan());
    }

    #[test]
    fn ratio_above_one_means_that_we_are_better() {
        let row = |case, contender, sample| Row { case, contender, samples: vec![sample], floors: vec![5.0] };
        for (test, ours, theirs) in [(Test::Throughput, 30.0, 10.0), (Test::RoundTrip, 10.0, 30.0)] {
            let case = Case::all(&[test])[0];
            let rows = vec![row(case, Contender::Ours, ours), row(case, Contender::Rtrb, theirs)];
            let report = Report { repetitions: 1, rows };
            assert_eq!(report.compare(&report.rows[0]).ratio, 3.0);
            assert_eq!(report.compare(&report.rows[1]).ratio, 3.0);
        }
    }

    #[test]
    fn samples_of_criterion_are_read() {
        let text = r#"{"sampling_mode":"Linear","iters":[2.0,4.0],"times":[10.0,20.5]}"#;
        assert_eq!(list(text, "\"iters\":["), [2.0, 4.0]);
        assert_eq!(list(text, "\"times\":["), [10.0, 20.5]);
    }
}
