// SPDX-License-Identifier: GPL-2.0

//! The file system under test, and the clocks.

use std::cell::Cell;
use std::fs;
use std::io::{Error, Result};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Where the file system is mounted.
pub const MNT: &str = "/mnt";
/// Where the host's /proc is, in which the guest is a process.
const HOST_PROC: &str = "/run/host-proc";
/// How often the clock of the host is looked for, milliseconds.
const PATIENCE: u32 = 2000;

pub struct Guest {
    fs: String,
    disk: String,
    pub tar: String,
    /// The directory in which `bench-clock` of the host answers, and the guest's number there.
    clock: Option<(String, String)>,
    asked: Cell<u32>,
}

/// What a workload took.
pub struct Measured {
    pub amount: f64,
    pub unit: &'static str,
    pub seconds: f64,
    /// Seconds of processor time of the guest's kernel.
    pub cpu: f64,
}

fn run(program: &str, args: &[&str]) -> Result<()> {
    let status = Command::new(program)
        .args(args)
        .stdout(Stdio::null())
        .status()?;
    match status.success() {
        true => Ok(()),
        false => Err(Error::other(format!("{program} {args:?} failed"))),
    }
}

pub fn in_mnt(name: &str) -> String {
    format!("{MNT}/{name}")
}

/// Makes all of it durable.
pub fn sync() {
    // SAFETY: It has no arguments.
    unsafe { libc::sync() }
}

impl Guest {
    pub fn new(fs: &str, disk: &str, tar: &str) -> Result<Self> {
        fs::create_dir_all(HOST_PROC)?;
        // Only User-Mode Linux is a process of the host.
        let _ = Command::new("mount")
            .args(["-t", "hostfs", "-o", "ro,/proc", "none", HOST_PROC])
            .stderr(Stdio::null())
            .status()?;
        let own = fs::read_link(format!("{HOST_PROC}/self"));
        let clock = match (std::env::var("BENCH_CLOCK"), own) {
            (Ok(dir), Ok(pid)) => Some((dir, pid.display().to_string())),
            _ => None,
        };
        Ok(Self {
            fs: fs.into(),
            disk: disk.into(),
            tar: tar.into(),
            clock,
            asked: Cell::new(0),
        })
    }

    /// Makes the file system and mounts it.
    pub fn fresh(&self, options: &str) -> Result<()> {
        match self.fs.as_str() {
            "btrfs" => run("mkfs.btrfs", &["-q", "-f", "-K", &self.disk])?,
            "ext4" => {
                let lazy = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
                run("mkfs.ext4", &["-q", "-F", "-E", lazy, &self.disk])?;
            }
            "xfs" => run("mkfs.xfs", &["-q", "-f", "-K", &self.disk])?,
            _ => {}
        }
        self.mount(options)
    }

    pub fn mount(&self, options: &str) -> Result<()> {
        let options = match options {
            "" => "rw",
            options => options,
        };
        fs::write("/proc/sys/vm/drop_caches", "3")?;
        run("mount", &["-t", &self.fs, "-o", options, &self.disk, MNT])
    }

    pub fn umount(&self) -> Result<()> {
        run("umount", &[MNT])
    }

    /// The processor time of the guest's kernel, seconds; 0 where nobody tells.
    fn cpu(&self) -> Result<f64> {
        let Some((dir, pid)) = &self.clock else {
            return Ok(0.0);
        };
        // A new name each time: what was read once stays in the guest's page cache.
        let number = self.asked.replace(self.asked.get() + 1);
        fs::write(format!("{dir}/ask-{number}-{pid}"), "")?;
        let answer = format!("{dir}/cpu-{number}");
        for _ in 0..PATIENCE {
            if let Ok(text) = fs::read_to_string(&answer) {
                return text.trim().parse().map_err(Error::other);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(Error::other("bench-clock does not answer"))
    }

    /// Measures `f`, which does `amount` of something.
    pub fn measure(
        &self,
        out: &mut Vec<Measured>,
        amount: u64,
        unit: &'static str,
        f: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let (cpu, start) = (self.cpu()?, Instant::now());
        f()?;
        let seconds = start.elapsed().as_secs_f64();
        out.push(Measured {
            amount: amount as f64,
            unit,
            seconds,
            cpu: self.cpu()? - cpu,
        });
        Ok(())
    }

    /// A program as a workload.
    pub fn program(&self, program: &str, args: &[&str]) -> Result<()> {
        run(program, args)
    }
}
