// SPDX-License-Identifier: GPL-2.0

//! Results as a file that grows, as a table, and against a baseline.

use crate::output::Outcome;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// A result as it stands in a file: result, seconds, reason.
pub type Row = (String, u64, String);

/// The results of a file, the last one of each test; empty when there is no file.
pub fn load(path: &Path) -> BTreeMap<String, Row> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let rows = text.lines().skip(1).filter_map(|line| {
        let mut fields = line.split('\t');
        let test = fields.next()?.to_string();
        let result = fields.next()?.to_string();
        let seconds = fields.next().and_then(|s| s.parse().ok()).unwrap_or(0);
        Some((test, (result, seconds, fields.next().unwrap_or("").into())))
    });
    rows.collect()
}

/// Opens the file for more results.
pub fn open(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    if file.metadata()?.len() == 0 {
        file.write_all(b"test\tresult\tseconds\treason\n")?;
    }
    Ok(file)
}

pub fn append(file: &mut File, outcome: &Outcome) -> io::Result<()> {
    let reason = outcome.reason.replace(['\t', '\n'], " ");
    let line = format!(
        "{}\t{}\t{}\t{reason}\n",
        outcome.test, outcome.result, outcome.seconds
    );
    file.write_all(line.as_bytes())
}

/// Prints the counts and everything that did not pass.
pub fn table(results: &BTreeMap<String, Row>) {
    let mut counts: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    for (result, seconds, _) in results.values() {
        let count = counts.entry(result).or_default();
        count.0 += 1;
        count.1 += seconds;
    }
    println!("\nresult      tests  seconds");
    for (result, (tests, seconds)) in &counts {
        println!("{result:<10} {tests:>6} {seconds:>8}");
    }
    for (test, (result, seconds, reason)) in results {
        if result != "pass" && result != "notrun" {
            println!("{test:<12} {result:<8} {seconds:>4} s  {reason}");
        }
    }
}

/// Prints where the results differ from the baseline.
pub fn difference(results: &BTreeMap<String, Row>, baseline: &BTreeMap<String, Row>) {
    let (mut expected, mut passed, mut worse, mut better) = (0, 0, Vec::new(), Vec::new());
    for (test, (result, _, reason)) in results {
        let Some((before, _, _)) = baseline.get(test) else {
            continue;
        };
        let (good, was_good) = (result == "pass", before == "pass");
        expected += usize::from(was_good);
        passed += usize::from(was_good && good);
        match (was_good, good) {
            (true, false) => worse.push(format!("{test:<12} {before} -> {result}  {reason}")),
            (false, true) => better.push(format!("{test:<12} {before} -> {result}")),
            _ => {}
        }
    }
    println!(
        "\nagainst the baseline: {} worse, {} better",
        worse.len(),
        better.len()
    );
    for line in worse.iter().chain(&better) {
        println!("{line}");
    }
    if expected > 0 {
        let permille = passed * 1000 / expected;
        println!(
            "{passed} of {expected} that pass in the baseline passed: {}.{} %",
            permille / 10,
            permille % 10
        );
    }
}
