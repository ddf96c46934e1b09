// SPDX-License-Identifier: GPL-2.0

//! What `check` prints, as results.
//!
//! A test's line begins with its name, printed when the test starts; the rest of the line and
//! indented lines follow when it ends. The name of the next test, or the summary, closes it.

use crate::select::is_test;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub test: String,
    /// pass, notrun, fail, timeout, crash, or abort where the suite gave up.
    pub result: &'static str,
    pub seconds: u64,
    pub reason: String,
}

/// What the text that was read so far means.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    Started(String),
    /// The result without its duration.
    Ended(Outcome),
}

#[derive(Default)]
pub struct Parser {
    line: String,
    /// The running test and what it printed.
    current: Option<(String, String)>,
    /// The line begins with the name of the current test.
    named: bool,
}

const SUMMARY: [&str; 5] = [
    "Ran: ",
    "Not run: ",
    "Failures: ",
    "Passed all ",
    "Interrupted!",
];

impl Parser {
    /// Takes bytes as they come, not in whole lines: a hanging test has not ended its line.
    pub fn feed(&mut self, text: &str) -> Vec<Event> {
        let mut events = Vec::new();
        for c in text.chars() {
            match c {
                '\r' => {}
                '\n' => {
                    self.look(&mut events, true);
                    if let Some((_, text)) = &mut self.current {
                        text.push_str(&self.line);
                        text.push('\n');
                    }
                    self.line.clear();
                    self.named = false;
                }
                _ => {
                    self.line.push(c);
                    // The name is followed by blanks up to the column of the results.
                    if c == ' ' || c == '\t' {
                        self.look(&mut events, false);
                    }
                }
            }
        }
        events
    }

    fn look(&mut self, events: &mut Vec<Event>, whole: bool) {
        if self.named {
            return;
        }
        if let Some(name) = self.line.split([' ', '\t']).next().filter(|w| is_test(w)) {
            let name = name.to_string();
            self.close(events);
            events.push(Event::Started(name.clone()));
            self.current = Some((name, String::new()));
            self.named = true;
        } else if whole && SUMMARY.iter().any(|word| self.line.starts_with(word)) {
            self.close(events);
        }
    }

    fn close(&mut self, events: &mut Vec<Event>) {
        if let Some((test, text)) = self.current.take() {
            events.push(Event::Ended(judge(test, &text)));
        }
    }

    /// The test that was running when the output ended, and what it had printed.
    pub fn rest(self) -> Option<(String, String)> {
        let line = self.line;
        self.current.map(|(test, text)| (test, text + &line))
    }
}

fn judge(test: String, text: &str) -> Outcome {
    let first = text.lines().next().unwrap_or("");
    let first = first.strip_prefix(&test).unwrap_or(first).trim();
    let (result, reason) = if let Some((_, reason)) = text.split_once("[not run]") {
        ("notrun", reason.lines().next().unwrap_or("").trim().into())
    } else if first.contains("[expunged]") {
        ("notrun", "expunged".into())
    } else if seconds(first) && text.lines().count() <= 1 {
        ("pass", String::new())
    } else {
        ("fail", why(first, text))
    };
    Outcome {
        test,
        result,
        seconds: 0,
        reason,
    }
}

/// `12s`: what a passing test's line ends with.
fn seconds(text: &str) -> bool {
    let last = text.rsplit(' ').next().unwrap_or("");
    last.strip_suffix('s')
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// The kind of failure and the first lines that differ.
fn why(first: &str, text: &str) -> String {
    let kind = match first.split_once(" (see ") {
        Some((kind, _)) => kind,
        None => first,
    };
    let mut parts = vec![kind.trim_start_matches("- ").to_string()];
    for line in text.lines().skip(1) {
        let line = line.trim_start();
        let head = ["--- ", "+++ ", "@@"].iter().any(|h| line.starts_with(h));
        if line.starts_with(['+', '-']) && !head && parts.len() < 4 {
            parts.push(line.chars().take(160).collect());
        } else if line.starts_with("_check_") && parts.len() < 4 {
            parts.push(line.split(" (see ").next().unwrap_or(line).to_string());
        }
    }
    parts.join(" | ").replace('\t', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Vec<(String, &'static str, String)> {
        let mut parser = Parser::default();
        let events = parser.feed(text);
        let ended = events.into_iter().filter_map(|event| match event {
            Event::Ended(o) => Some((o.test, o.result, o.reason)),
            Event::Started(_) => None,
        });
        ended.collect()
    }

    #[test]
    fn results() {
        let text = "FSTYP         -- btrfs\n\ngeneric/001         4s\n\
            generic/002        [not run] no such thing\n\
            generic/003       - output mismatch (see /x/003.out.bad)\n    --- a\n    +++ b\n    @@ -1 +1 @@\n    +bad\n     ...\n\
            generic/004       [failed, exit status 1]- output mismatch (see /x)\n    -a\n\
            generic/005        7s\n_check_dmesg: something found in dmesg (see /x.dmesg)\n\
            Ran: generic/001\n";
        let found = run(text);
        let results: Vec<_> = found.iter().map(|(_, result, _)| *result).collect();
        assert_eq!(results, ["pass", "notrun", "fail", "fail", "fail"]);
        assert_eq!(found[1].2, "no such thing");
        assert_eq!(found[2].2, "output mismatch | +bad");
    }

    #[test]
    fn a_hanging_test_is_named() {
        let mut parser = Parser::default();
        assert_eq!(
            parser.feed("generic/001   "),
            [Event::Started("generic/001".into())]
        );
        assert_eq!(parser.rest().unwrap().0, "generic/001");
    }
}
