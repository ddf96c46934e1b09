// SPDX-License-Identifier: GPL-2.0

//! Compares two modules: a table on standard output, and a plot.
//!
//! bench-report PLOT.svg <MEASUREMENTS
//!
//! Each line of the measurements is `PAIR CPUS MODULE WORKLOAD VALUE UNIT`. A ratio says how many
//! times as good the Rust module is as the one in C, from runs next to each other.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Error, Read, Result};

/// What was measured of one workload: for each pair the values of C and Rust.
#[derive(Default)]
struct Row {
    order: usize,
    unit: String,
    pairs: BTreeMap<u32, [Option<f64>; 2]>,
}

/// The numbers of a finished row.
struct Summary {
    cpus: String,
    name: String,
    unit: String,
    c: f64,
    rust: f64,
    /// Smallest, median and largest ratio.
    ratio: [f64; 3],
    pairs: usize,
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

fn parse(text: &str) -> BTreeMap<(String, String), Row> {
    let mut rows: BTreeMap<(String, String), Row> = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [pair, cpus, module, name, value, unit] = words[..] else {
            continue;
        };
        let (Ok(pair), Ok(value)) = (pair.parse(), value.parse()) else {
            continue;
        };
        let order = rows.len();
        let row = rows
            .entry((cpus.into(), name.into()))
            .or_insert_with(|| Row {
                order,
                unit: unit.into(),
                ..Row::default()
            });
        row.pairs.entry(pair).or_default()[usize::from(module == "rust")] = Some(value);
    }
    rows
}

fn summarize(rows: BTreeMap<(String, String), Row>) -> Vec<Summary> {
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by_key(|((cpus, _), row)| (cpus.clone(), row.order));
    let mut out = Vec::new();
    for ((cpus, name), row) in rows {
        let pairs: Vec<(f64, f64)> = row
            .pairs
            .values()
            .filter_map(|[c, rust]| (*c).zip(*rust))
            .collect();
        if pairs.is_empty() {
            continue;
        }
        let more_is_better = row.unit.ends_with("/s");
        let ratios: Vec<f64> = pairs
            .iter()
            .map(|(c, rust)| if more_is_better { rust / c } else { c / rust })
            .collect();
        let column = |f: fn(&(f64, f64)) -> f64| median(&pairs.iter().map(f).collect::<Vec<_>>());
        let fold = |f: fn(f64, f64) -> f64| ratios.iter().copied().fold(ratios[0], f);
        out.push(Summary {
            cpus,
            name,
            unit: row.unit,
            c: column(|pair| pair.0),
            rust: column(|pair| pair.1),
            ratio: [fold(f64::min), median(&ratios), fold(f64::max)],
            pairs: pairs.len(),
        });
    }
    out
}

fn table(rows: &[Summary]) -> String {
    let mut out = format!(
        "{:<5}{:<22}{:>12}{:>12} {:<8}{:>7}  {:<13}{:>5}\n",
        "CPUs", "workload", "C", "Rust", "", "ratio", "min .. max", "pairs"
    );
    for row in rows {
        let [min, mid, max] = row.ratio;
        let _ = writeln!(
            out,
            "{:<5}{:<22}{:>12.1}{:>12.1} {:<8}{mid:>7.2}  {:<13}{:>5}{}",
            row.cpus,
            row.name,
            row.c,
            row.rust,
            row.unit,
            format!("{min:.2} .. {max:.2}"),
            row.pairs,
            if mid < 1.0 { "  slower" } else { "" }
        );
    }
    out
}

/// Bars of the median ratio, with a line from the smallest to the largest.
fn plot(rows: &[Summary]) -> String {
    const LEFT: f64 = 220.0;
    const WIDTH: f64 = 560.0;
    const STEP: f64 = 22.0;
    let top = rows
        .iter()
        .map(|row| row.ratio[2])
        .fold(1.5, f64::max)
        .min(6.0);
    let x = |ratio: f64| LEFT + WIDTH * ratio.min(top) / top;
    let height = 60.0 + STEP * rows.len() as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"860\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"14\">Speed of btrfs in Rust, C = 1 (median and \
         spread)</text>\n"
    );
    for (i, row) in rows.iter().enumerate() {
        let y = 36.0 + STEP * i as f64;
        let [min, mid, max] = row.ratio;
        let color = if mid < 1.0 { "#c0504d" } else { "#4f9d69" };
        let _ = writeln!(
            out,
            "<text x=\"10\" y=\"{:.0}\">{} ({} CPU)</text>\
             <rect x=\"{LEFT}\" y=\"{y:.0}\" width=\"{:.1}\" height=\"14\" fill=\"{color}\"/>\
             <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{:.0}\" y2=\"{:.0}\" stroke=\"black\"/>\
             <text x=\"{:.1}\" y=\"{:.0}\">{mid:.2}</text>",
            y + 11.0,
            row.name,
            row.cpus,
            x(mid) - LEFT,
            x(min),
            x(max),
            y + 7.0,
            y + 7.0,
            x(max) + 6.0,
            y + 11.0,
        );
    }
    let _ = writeln!(
        out,
        "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"30\" y2=\"{1:.0}\" stroke=\"gray\" \
         stroke-dasharray=\"4\"/>\n</svg>",
        x(1.0),
        height - 20.0
    );
    out
}

fn main() -> Result<()> {
    let path = std::env::args()
        .nth(1)
        .ok_or_else(|| Error::other("usage: bench-report PLOT"))?;
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let rows = summarize(parse(&text));
    print!("{}", table(&rows));
    let slower = rows.iter().filter(|row| row.ratio[1] < 1.0).count();
    println!(
        "{} of {} rows at least as good as C",
        rows.len() - slower,
        rows.len()
    );
    std::fs::write(path, plot(&rows))
}
