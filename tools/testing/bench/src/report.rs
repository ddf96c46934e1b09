// SPDX-License-Identifier: GPL-2.0

//! Compares two modules: a table on standard output, and a plot.
//!
//! bench-report PLOT.svg <MEASUREMENTS
//!
//! Each line of the measurements is `PAIR CPUS MODULE WORKLOAD VALUE UNIT [CPU]`, CPU in seconds of
//! processor time. MODULE is `c` or `rust`, or another file system to compare with. A ratio says how
//! many times as good the Rust module is as the one in C, from runs next to each other.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Error, Read, Result};

/// What was measured of one workload: for each pair the values of C and Rust.
#[derive(Default)]
struct Row {
    order: usize,
    unit: String,
    pairs: BTreeMap<u32, [Option<f64>; 2]>,
    /// The same of processor time.
    cpu: BTreeMap<u32, [Option<f64>; 2]>,
    /// Processor time of other file systems, by their names.
    others: BTreeMap<String, f64>,
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
    cpu: Option<Cpu>,
}

/// Seconds of processor time.
struct Cpu {
    c: f64,
    rust: f64,
    ratio: [f64; 3],
    others: BTreeMap<String, f64>,
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
        let (words, cpu) = words.split_at(words.len().min(6));
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
        let cpu = cpu.first().and_then(|cpu| cpu.parse().ok());
        if !["c", "rust"].contains(&module) {
            row.others.extend(cpu.map(|cpu| (module.into(), cpu)));
            continue;
        }
        let which = usize::from(module == "rust");
        row.pairs.entry(pair).or_default()[which] = Some(value);
        row.cpu.entry(pair).or_default()[which] = cpu;
    }
    rows
}

/// The pairs of which both values are known.
fn whole(pairs: &BTreeMap<u32, [Option<f64>; 2]>) -> Vec<(f64, f64)> {
    pairs
        .values()
        .filter_map(|[c, rust]| (*c).zip(*rust))
        .collect()
}

fn column(pairs: &[(f64, f64)], f: fn(&(f64, f64)) -> f64) -> f64 {
    median(&pairs.iter().map(f).collect::<Vec<_>>())
}

/// Smallest, median and largest ratio.
fn ratios(pairs: &[(f64, f64)], more_is_better: bool) -> [f64; 3] {
    let ratios: Vec<f64> = pairs
        .iter()
        .map(|(c, rust)| if more_is_better { rust / c } else { c / rust })
        .collect();
    let fold = |f: fn(f64, f64) -> f64| ratios.iter().copied().fold(f64::NAN, f);
    [fold(f64::min), median(&ratios), fold(f64::max)]
}

fn summarize(rows: BTreeMap<(String, String), Row>) -> Vec<Summary> {
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by_key(|((cpus, _), row)| (cpus.clone(), row.order));
    let mut out = Vec::new();
    for ((cpus, name), row) in rows {
        let (pairs, cpu) = (whole(&row.pairs), whole(&row.cpu));
        if pairs.is_empty() {
            continue;
        }
        // Clocks tick, and what took no time cannot be compared.
        let measurable = cpu.iter().all(|(c, rust)| *c > 0.0 && *rust > 0.0);
        let cpu = (measurable && !cpu.is_empty()).then(|| Cpu {
            c: column(&cpu, |pair| pair.0),
            rust: column(&cpu, |pair| pair.1),
            ratio: ratios(&cpu, false),
            others: row.others,
        });
        out.push(Summary {
            cpus,
            name,
            c: column(&pairs, |pair| pair.0),
            rust: column(&pairs, |pair| pair.1),
            ratio: ratios(&pairs, row.unit.ends_with("/s")),
            unit: row.unit,
            pairs: pairs.len(),
            cpu,
        });
    }
    out
}

/// Processor time, and what of it is more than tmpfs takes.
fn cpu_table(rows: &[Summary]) -> String {
    let with_cpu = |row: &&Summary| row.cpu.is_some();
    if !rows.iter().any(|row| with_cpu(&row)) {
        return String::new();
    }
    let others = ["tmpfs", "ext4", "xfs"];
    let mut out = format!(
        "\nProcessor time of the guest's kernel, seconds\n{:<5}{:<22}{:>8}{:>8}{:>7}  {:<13}",
        "CPUs", "workload", "C", "Rust", "ratio", "min .. max"
    );
    for other in others {
        let _ = write!(out, "{other:>8}");
    }
    out.push('\n');
    for row in rows {
        let Some(cpu) = &row.cpu else {
            continue;
        };
        let [min, mid, max] = cpu.ratio;
        let _ = write!(
            out,
            "{:<5}{:<22}{:>8.2}{:>8.2}{mid:>7.2}  {:<13}",
            row.cpus,
            row.name,
            cpu.c,
            cpu.rust,
            format!("{min:.2} .. {max:.2}")
        );
        for other in others {
            let _ = match cpu.others.get(other) {
                Some(value) => write!(out, "{value:>8.2}"),
                None => write!(out, "{:>8}", "-"),
            };
        }
        out.push_str(if mid < 1.0 { "  slower\n" } else { "\n" });
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
    print!("{}{}", table(&rows), cpu_table(&rows));
    let slower = rows.iter().filter(|row| row.ratio[1] < 1.0).count();
    println!(
        "{} of {} rows at least as good as C",
        rows.len() - slower,
        rows.len()
    );
    std::fs::write(path, plot(&rows))
}
