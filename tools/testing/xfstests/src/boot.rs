// SPDX-License-Identifier: GPL-2.0

//! One boot: a batch of tests in a fresh guest, until it is done or a test hangs or crashes it.

use crate::output::{Event, Outcome, Parser};
use crate::signals;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

pub struct Settings {
    pub top: PathBuf,
    pub suite: PathBuf,
    pub module: PathBuf,
    pub out: PathBuf,
    pub timeout: u64,
    pub mem: String,
    pub cpus: String,
    pub debug: bool,
    pub env: Vec<String>,
}

/// From the request to stop until the guest is stopped by force.
const GRACE: Duration = Duration::from_secs(25);
/// From the start of the guest to the first test.
const BOOT: u64 = 120;
/// How often a request to end the run is looked for.
const TICK: Duration = Duration::from_millis(200);

/// Runs `tests` and tells `done` each result; returns how many tests were dealt with. The others
/// have not been started. The log of the guest and what it printed stay in `dir`, see [`Files`].
pub fn run(
    settings: &Settings,
    dir: &Path,
    tests: &[String],
    mut done: impl FnMut(Outcome),
) -> Result<usize, String> {
    let files =
        Files::prepare(dir, tests).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut child = start(settings, dir, &files)?;
    let (sender, receiver) = mpsc::channel();
    let Some(mut out) = child.stdout.take() else {
        return Err("no output".into());
    };
    thread::spawn(move || {
        let mut buf = [0u8; 4096];
        while let Ok(n) = out.read(&mut buf) {
            if n == 0 || sender.send(buf[..n].to_vec()).is_err() {
                break;
            }
        }
    });
    let mut parser = Parser::default();
    let mut text = String::new();
    let (mut dealt, mut since, mut hanging) = (0, Instant::now(), false);
    let mut limit = Duration::from_secs(BOOT.max(settings.timeout));
    loop {
        if signals::stopped() {
            stop(&child);
            break;
        }
        let left = limit.saturating_sub(since.elapsed());
        match receiver.recv_timeout(left.min(TICK)) {
            Ok(bytes) => {
                let piece = String::from_utf8_lossy(&bytes);
                text.push_str(&piece);
                for event in parser.feed(&piece) {
                    match event {
                        Event::Started(_) => limit = Duration::from_secs(settings.timeout),
                        Event::Ended(outcome) => {
                            dealt += 1;
                            done(Outcome {
                                seconds: since.elapsed().as_secs(),
                                ..outcome
                            });
                        }
                    }
                    since = Instant::now();
                }
            }
            Err(RecvTimeoutError::Timeout) if since.elapsed() < limit => {}
            Err(RecvTimeoutError::Timeout) if hanging => {
                stop(&child);
                break;
            }
            Err(RecvTimeoutError::Timeout) => {
                hanging = true;
                limit += GRACE;
                let _ = fs::write(dir.join("stop"), "");
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    let _ = fs::write(&files.output, &text);
    // The test that was running has no result: it did not end by itself.
    if signals::stopped() {
        return Ok(dealt);
    }
    let log = fs::read(&files.log).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    if let Some((test, printed)) = parser.rest() {
        dealt += 1;
        let name = test.replace('/', "-");
        let _ = fs::copy(&files.log, settings.out.join(format!("{name}.log")));
        // Killed by the suite itself, or by the kernel.
        let (result, reason) = if hanging {
            ("timeout", blocked(&log))
        } else {
            match oops(&log) {
                Some(line) => ("crash", line),
                None => ("abort", last_line(&printed)),
            }
        };
        done(Outcome {
            test,
            result,
            seconds: since.elapsed().as_secs(),
            reason,
        });
    } else if dealt == 0 {
        let why = oops(&log).unwrap_or_else(|| last_line(&text));
        return Err(format!("no test started ({status}): {why}"));
    }
    Ok(dealt)
}

/// What a boot leaves beside the results: `DIR/boot-N.{list,log,output,errors}`.
struct Files {
    /// The kernel's log.
    log: PathBuf,
    /// What `check` printed.
    output: PathBuf,
    /// What the runner of the guest complained about.
    errors: PathBuf,
}

impl Files {
    /// Takes the first number that no earlier boot has.
    fn prepare(dir: &Path, tests: &[String]) -> std::io::Result<Self> {
        fs::create_dir_all(dir)?;
        let _ = fs::remove_file(dir.join("stop"));
        let list = tests.join("\n") + "\n";
        fs::write(dir.join("list"), &list)?;
        let mut number = 1;
        let file = |number: u32, kind: &str| dir.join(format!("boot-{number}.{kind}"));
        while file(number, "list").exists() {
            number += 1;
        }
        fs::write(file(number, "list"), &list)?;
        Ok(Self {
            log: file(number, "log"),
            output: file(number, "output"),
            errors: file(number, "errors"),
        })
    }
}

/// Removes what the boots of an earlier run left in `dir`.
pub fn forget(dir: &Path) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("boot-")) {
        let _ = fs::remove_file(entry.path());
    }
}

fn start(settings: &Settings, dir: &Path, files: &Files) -> Result<Child, String> {
    let mut command = Command::new(settings.top.join("tools/testing/vm"));
    // The suite looks at the kernel's log after each test itself.
    command.args([
        "run",
        "--module",
        "none",
        "--no-report",
        "--timeout",
        "1000000",
    ]);
    command.args(["--cpus", &settings.cpus, "--mem", &settings.mem]);
    if settings.debug {
        command.arg("--debug");
    }
    command.arg("--log").arg(&files.log);
    command.arg("--share").arg(format!("{},rw", dir.display()));
    command
        .arg("--env")
        .arg(format!("XFSTESTS={}", settings.suite.display()));
    for variable in &settings.env {
        command.arg("--env").arg(variable);
    }
    command
        .arg("--")
        .arg(settings.top.join("tools/testing/xfstests/guest"))
        .arg(dir)
        .arg(&settings.module);
    let errors = fs::File::create(&files.errors).map_err(|error| error.to_string())?;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors);
    signals::die_with_us(&mut command);
    command.spawn().map_err(|error| format!("vm: {error}"))
}

/// Asks the runner of the guest to stop it; it cleans up behind itself.
fn stop(child: &Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        // SAFETY: a signal to a child that has not been waited for.
        unsafe { libc::kill(pid, libc::SIGTERM) };
    }
}

fn last_line(text: &str) -> String {
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.unwrap_or("").trim().chars().take(200).collect()
}

/// A line of the log without its time.
fn message(line: &str) -> String {
    let text = line.split_once("] ").map_or(line, |(_, text)| text);
    text.trim().chars().take(200).collect()
}

/// The first line of the kernel's report about its own death.
fn oops(log: &str) -> Option<String> {
    const SIGNS: [&str; 7] = [
        "panicked at",
        "BUG: ",
        "kernel BUG at",
        "Oops",
        "general protection",
        "Kernel panic",
        "Out of memory",
    ];
    let line = log
        .lines()
        .find(|line| SIGNS.iter().any(|sign| line.contains(sign)))?;
    Some(message(line))
}

/// Who waits for what, from the log of a hanging guest: a task and where it is.
fn blocked(log: &str) -> String {
    let mut reason = String::from("no result in time");
    let mut lines = log
        .lines()
        .skip_while(|line| !line.contains("sysrq: Show Blocked"));
    let mut tasks = 0;
    while let Some(line) = lines.next() {
        if line.contains("task:") && tasks < 2 {
            tasks += 1;
            let text = message(line);
            let name = text.split_whitespace().next().unwrap_or("").to_string();
            reason.push_str(&format!(" | {name}:"));
            for frame in lines
                .by_ref()
                .take(14)
                .filter(|l| l.contains("btrfs"))
                .take(2)
            {
                reason.push_str(&format!(" {}", message(frame)));
            }
        }
    }
    reason
}
