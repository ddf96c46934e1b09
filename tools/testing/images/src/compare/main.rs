// SPDX-License-Identifier: GPL-2.0

//! Compares two listings of `manifest`.
//!
//! `compare [--not-yet FILE] [--examples N] EXPECTED FOUND`
//!
//! Lines are matched by object and field. Differences are grouped by field, the most frequent
//! first, with a few examples each. FILE names fields (one per line, `#` starts a comment) that may
//! answer EOPNOTSUPP or ENOTTY instead of what is expected: what is not there yet, and nothing else.
//! Exit status 0 when there is no other difference, 1 when there is.

use std::collections::{BTreeMap, BTreeSet};

/// Values of each (object, field), in order.
type Listing = BTreeMap<(String, String), Vec<String>>;

fn load(path: &str) -> Listing {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| {
        eprintln!("compare: {path}: {error}");
        std::process::exit(2);
    });
    let mut all = Listing::new();
    for line in text.lines() {
        let (object, rest) = line.split_once('\t').unwrap_or((line, ""));
        let (field, value) = rest.split_once(": ").unwrap_or((rest, ""));
        all.entry((object.into(), field.into()))
            .or_default()
            .push(value.into());
    }
    all
}

/// The field without what varies from object to object (offsets, ids, attribute names).
fn group(field: &str) -> String {
    let mut words = field.split(' ');
    match (words.next(), words.next()) {
        (Some("ioctl"), Some(name)) => format!("ioctl {name}"),
        (Some(first), _) => first.into(),
        _ => String::new(),
    }
}

/// Differences of one group of fields.
#[derive(Default)]
struct Group {
    count: usize,
    missing: usize,
    examples: Vec<String>,
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.into(),
    }
}

fn usage() -> ! {
    eprintln!("usage: compare [--not-yet FILE] [--examples N] EXPECTED FOUND");
    std::process::exit(2);
}

fn main() {
    let mut args = std::env::args().skip(1);
    let (mut files, mut not_yet, mut examples) = (Vec::new(), BTreeSet::new(), 3usize);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--not-yet" => {
                let text = args.next().and_then(|p| std::fs::read_to_string(p).ok());
                let text = text.unwrap_or_else(|| usage());
                let lines = text
                    .lines()
                    .map(|l| l.split('#').next().unwrap_or("").trim());
                not_yet.extend(lines.filter(|l| !l.is_empty()).map(String::from));
            }
            "--examples" => {
                examples = args
                    .next()
                    .and_then(|n| n.parse().ok())
                    .unwrap_or_else(|| usage())
            }
            _ => files.push(arg),
        }
    }
    let [expected, found] = &files[..] else {
        usage()
    };
    let (expected, found) = (load(expected), load(found));
    let keys: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    let total = keys.len();
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let none = Vec::new();
    for key in keys {
        let (want, have) = (
            expected.get(key).unwrap_or(&none),
            found.get(key).unwrap_or(&none),
        );
        if want == have {
            continue;
        }
        let group = groups.entry(group(&key.1)).or_default();
        group.count += 1;
        // A field that is not there at all belongs to one whose first answer was a refusal.
        let refused = |v: &String| ["ERROR EOPNOTSUPP", "ERROR ENOTTY"].contains(&v.as_str());
        if have.iter().all(refused) {
            group.missing += 1;
        }
        if group.examples.len() < examples {
            let at = want.iter().zip(have).position(|(a, b)| a != b);
            let at = at.unwrap_or(want.len().min(have.len()));
            let side = |v: &[String]| v.get(at).map_or("(nothing)".into(), |v| cut(v));
            group.examples.push(format!(
                "  {} {}\n    expected {}\n    found    {}",
                key.0,
                key.1,
                side(want),
                side(have)
            ));
        }
    }
    let mut failed = 0;
    let mut sorted: Vec<_> = groups.into_iter().collect();
    sorted.sort_by_key(|(_, g)| std::cmp::Reverse(g.count));
    for (name, group) in sorted {
        if not_yet.contains(&name) && group.missing == group.count {
            println!("not yet: {name} ({})", group.count);
            continue;
        }
        failed += group.count;
        println!(
            "{name}: {} differ, {} of them unsupported",
            group.count, group.missing
        );
        for example in group.examples {
            println!("{example}");
        }
    }
    println!("{total} facts compared, {failed} differ");
    std::process::exit(i32::from(failed > 0));
}
