//! Pictures: a bar per contender, with a line from the least to the greatest repetition. Floors and far slower peers would
//! leave nothing to see of the others, so bars end at a scale that fits us and the best peer.

use crate::contender::Role;
use crate::report::{Report, Row, Summary, in_threads};

const LABEL: f64 = 240.0;
const WIDTH: f64 = 420.0;
const LINE: f64 = 20.0;

/// One picture of these cases, each with a scale of its own; none if nothing was measured.
pub fn bars(report: &Report, cases: &[&str]) -> Option<String> {
    let (mut body, mut y) = (String::new(), 10.0);
    for case in cases {
        let mut rows: Vec<&Row> = report.rows_of(case).filter(|row| row.is_here()).collect();
        let peer = report.best_peer(case).map_or(0.0, |peer| peer.summary().median);
        let peer = if rows.iter().any(|row| row.more_is_better()) { peer } else { 3.0 * peer };
        let ours = rows.iter().filter(|row| row.role == Role::Ours).map(|row| row.summary().median);
        let most = ours.fold(peer, f64::max);
        if rows.len() < 2 || most <= 0.0 {
            continue;
        }
        rows.sort_by_key(|row| row.role as u8);
        y += LINE;
        body += &format!("<text x=\"8\" y=\"{y}\" font-weight=\"bold\">{case}, {}</text>\n", rows[0].unit);
        for row in rows {
            let Summary { median, least, most: greatest } = row.summary();
            let at = |number: f64| LABEL + (number / most).clamp(0.0, 1.1) * WIDTH;
            let color = match row.role {
                Role::Ours => "#2f6db5",
                Role::Peer => "#b5b5b5",
                Role::Floor | Role::Aside => "#e0c98a",
            };
            let name = format!("{}{}", row.contender, if in_threads(row) { " (t)" } else { "" });
            let (top, middle) = (y + 6.0, y + 6.0 + LINE * 0.35);
            y += LINE;
            body += &format!("<text x=\"{}\" y=\"{y}\" text-anchor=\"end\">{name}</text>", LABEL - 6.0);
            body += &format!(
                "<rect x=\"{LABEL}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"14\" fill=\"{color}\"/>",
                at(median) - LABEL
            );
            let (from, to) = (at(least), at(greatest));
            body += &format!("<path d=\"M{from:.1} {middle:.1}H{to:.1}\" stroke=\"#333\"/>");
            body += &format!("<text x=\"{:.1}\" y=\"{y}\">{median:.1}</text>\n", at(median).max(to) + 6.0);
        }
        y += LINE * 0.5;
    }
    let (width, height) = (LABEL + WIDTH + 90.0, y + 10.0);
    let head = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    (!body.is_empty()).then(|| format!("{head}{body}</svg>\n"))
}

/// Cases whose names begin alike go into one picture; its name, and they.
pub fn pictures(report: &Report) -> Vec<(String, Vec<&str>)> {
    let mut pictures: Vec<(String, Vec<&str>)> = Vec::new();
    for case in report.cases().into_iter().filter(|case| !case.ends_with("by criterion")) {
        let words: Vec<_> =
            case.split([' ', ',']).take_while(|word| !word.starts_with(|c: char| c.is_ascii_digit())).collect();
        let name = words.join("-").trim_end_matches('-').to_lowercase().replace("++", "pp");
        match pictures.iter_mut().find(|(other, _)| *other == name) {
            Some((_, cases)) => cases.push(case),
            None => pictures.push((name, vec![case])),
        }
    }
    pictures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_of_cases_that_begin_alike() {
        let lines = ["round trip SPSC 8 B", "round trip SPSC 64 B", "pair SPSC 8 B", "array in C++, random, 128 KiB"];
        let rows = lines.iter().filter_map(|case| Row::parse(&format!("{case}\tns\tours\tshmds C\t1 2 3")));
        let report = Report { rows: rows.collect() };
        let pictures = pictures(&report);
        let names: Vec<_> = pictures.iter().map(|(name, cases)| (name.as_str(), cases.len())).collect();
        assert_eq!(names, [("round-trip-spsc", 2), ("pair-spsc", 1), ("array-in-cpp--random", 1)]);
    }
}
