// SPDX-License-Identifier: GPL-2.0

//! Which tests to run: names, groups, lists, and results of an earlier run.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Directories of tests that concern btrfs.
const DIRS: [&str; 2] = ["btrfs", "generic"];

/// The tests that the words of the command line name, without repetition, in their order.
pub fn tests(suite: &Path, words: &[String]) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for word in words {
        let found = if let Some(file) = word.strip_prefix('@') {
            list(file)?
        } else if is_test(word) {
            vec![word.clone()]
        } else {
            group(suite, word)?
        };
        if found.is_empty() {
            return Err(format!("{word}: no such test, group or list"));
        }
        all.extend(found);
    }
    let mut seen = BTreeSet::new();
    all.retain(|test| seen.insert(test.clone()));
    Ok(all)
}

/// `generic/001` and its like.
pub fn is_test(word: &str) -> bool {
    word.split_once('/').is_some_and(|(dir, number)| {
        !dir.is_empty()
            && dir.bytes().all(|b| b.is_ascii_lowercase())
            && number.len() >= 3
            && number.bytes().all(|b| b.is_ascii_digit())
    })
}

/// `FILE`, or `FILE:RESULT` for the tests that had this result. A line's first word is the test,
/// its second the result.
fn list(word: &str) -> Result<Vec<String>, String> {
    let (file, result) = match word.rsplit_once(':') {
        Some((file, result)) if !Path::new(word).exists() => (file, Some(result)),
        _ => (word, None),
    };
    let text = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let rows = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let test = words.next().filter(|test| is_test(test))?;
        let matches = result.is_none() || words.next() == result;
        matches.then(|| test.to_string())
    });
    Ok(rows.collect())
}

/// The tests of `GROUP` or `DIR/GROUP`; `all` and `DIR/all` are every test.
fn group(suite: &Path, word: &str) -> Result<Vec<String>, String> {
    let (dirs, group) = match word.split_once('/') {
        Some((dir, group)) => (vec![dir], group),
        None => (DIRS.to_vec(), word),
    };
    let mut all = Vec::new();
    for dir in dirs {
        let path = suite.join("tests").join(dir).join("group.list");
        let text =
            fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or("").split_whitespace();
            let Some(number) = words.next() else { continue };
            if group == "all" || words.any(|name| name == group) {
                all.push(format!("{dir}/{number}"));
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::is_test;

    #[test]
    fn test_names() {
        assert!(is_test("generic/001") && is_test("btrfs/1234"));
        assert!(!is_test("generic/quick") && !is_test("quick") && !is_test("/001"));
    }
}
