// SPDX-License-Identifier: GPL-2.0

//! Tells guests how much processor time they took, on the host.
//!
//! bench-clock DIR
//!
//! A guest that asks makes an empty file `ask-NUMBER-PID` in DIR, and is answered by `cpu-NUMBER`, with
//! seconds in it. In a guest there is no such clock: what it takes for processor time includes that of
//! whoever had the processor instead of it.

use std::fs;
use std::io::{Error, Result};
use std::time::Duration;

/// Seconds that process `pid` was running, its children not included.
fn seconds(pid: &str) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name, which may have blanks: state, and ten other fields.
    let rest = text.rsplit(')').next()?;
    let mut times = rest.split_whitespace().skip(11);
    let mut ticks = || times.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / 100.0)
}

fn answer(dir: &str) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().into_string().unwrap_or_default();
        let words: Vec<&str> = name.split('-').collect();
        if let ["ask", number, pid] = words[..] {
            // What was asked stays: the guest may not be done making the file.
            let reply = format!("{dir}/cpu-{number}");
            if fs::exists(&reply)? {
                continue;
            }
            let value = seconds(pid).ok_or_else(|| Error::other("no such process"))?;
            let draft = format!("{dir}/draft");
            fs::write(&draft, format!("{value}\n"))?;
            fs::rename(&draft, reply)?;
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    let Some(dir) = std::env::args().nth(1) else {
        return Err(Error::other("usage: bench-clock DIR"));
    };
    loop {
        answer(&dir)?;
        std::thread::sleep(Duration::from_millis(5));
    }
}
