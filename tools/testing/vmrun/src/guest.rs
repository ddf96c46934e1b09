// SPDX-License-Identifier: GPL-2.0

//! One run: prepares the directory, starts the guest, watches it, judges the result.

use crate::args::{Arch, Flavour, Module, Options};
use crate::console::{feed, pump, Channel, RawTerminal};
use crate::disk::{images, Image};
use crate::paths::{self, Kernel};
use crate::rundir::RunDir;
use crate::sandbox::Sandbox;
use crate::{klog, module, qemu, uml, Result, EXIT_REPORT, EXIT_SETUP, EXIT_TIMEOUT};
use nix::sys::signal::{SigSet, Signal};
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// The guest's first program, the same for all kernels.
const INIT: &str = include_str!("init.sh");
/// A log that grows past this is the sign of a loop; the guest is stopped.
const MAX_LOG: u64 = 256 << 20;
/// Memory of a guest without `--mem`, next to its RAM disks.
const DEFAULT_MEM: u64 = 1 << 30;

/// All that a kind of guest needs to build its command line.
pub struct Plan<'a> {
    pub options: &'a Options,
    pub kernel: &'a Kernel,
    pub rundir: &'a RunDir,
    pub images: &'a [Image],
    /// Directories to mount, and whether they may be written; parents first.
    pub shares: &'a [(bool, PathBuf)],
    /// Memory in bytes.
    pub memory: u64,
    pub stdin: &'a Channel,
    pub stdout: &'a Channel,
    pub stderr: &'a Channel,
    /// The number of a descriptor that appends to the kernel log.
    pub log: i32,
}

/// Runs the guest and returns the exit status of the whole command.
pub fn run(options: &Options) -> Result<i32> {
    let kernel = paths::kernel(options)?;
    let module = paths::module(options, &kernel)?;
    let stop = watch_signals()?;
    let rundir = RunDir::new()?;
    let images = images(&options.disks, &rundir)?;
    let log_path = rundir.join("log");
    let log = OpenOptions::new().append(true).create(true).open(&log_path);
    let log = log.map_err(|error| format!("{}: {error}", log_path.display()))?;
    let log = keep_open(log)?;
    let ram: u64 = options.ram.iter().sum();
    let (stdin, stdout, stderr) = (Channel::input()?, Channel::output()?, Channel::output()?);
    let shares = shares(options)?;
    let plan = Plan {
        options,
        kernel: &kernel,
        rundir: &rundir,
        images: &images,
        shares: &shares,
        memory: options.mem.unwrap_or(DEFAULT_MEM + ram + ram / 16),
        stdin: &stdin,
        stdout: &stdout,
        stderr: &stderr,
        log,
    };
    write_init(&plan, module.as_deref())?;
    let command = command(&plan)?;
    let raw = options.command.is_empty().then(RawTerminal::new).flatten();
    let mut child = spawn(command)?;
    if options.command.is_empty() {
        feed(stdin.ours);
    }
    let pumps = [
        pump(stdout.ours, io::stdout()),
        pump(stderr.ours, io::stderr()),
    ];
    drop((stdin.guest, stdout.guest, stderr.guest));
    let end = watch(&mut child, options.timeout, &log_path, &stop);
    for pump in pumps {
        let _ = pump.join();
    }
    drop(raw);
    judge(options, &rundir, end)
}

/// Gives the file a descriptor that the guest inherits.
fn keep_open(file: fs::File) -> Result<i32> {
    use std::os::fd::IntoRawFd;
    // dup() clears close-on-exec; the runner is short-lived and never closes it.
    let copy = nix::unistd::dup(&file).map_err(|error| error.to_string())?;
    Ok(copy.into_raw_fd())
}

fn command(plan: &Plan<'_>) -> Result<Command> {
    let mut writable = vec![plan.rundir.path().to_path_buf()];
    writable.extend(
        plan.images
            .iter()
            .filter(|image| !image.read_only)
            .map(|i| i.path.clone()),
    );
    let shares = plan.options.shares.iter();
    writable.extend(
        shares
            .filter(|share| share.writable)
            .map(|share| share.dir.clone()),
    );
    let sandbox = Sandbox {
        writable,
        scratch: plan.rundir.join("mem"),
        memory: plan.memory + (256 << 20),
    };
    match plan.options.arch {
        Arch::Uml => uml::command(plan, &sandbox),
        Arch::X86_64 => qemu::command(plan, &sandbox),
    }
}

fn spawn(mut command: Command) -> Result<Child> {
    command
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| format!("the guest cannot be started: {error}"))
}

/// A flag that an interrupt or a termination request sets, so that the run can clean up.
fn watch_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut set = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        set.add(signal);
    }
    set.thread_block().map_err(|error| error.to_string())?;
    let flag = Arc::clone(&stop);
    thread::spawn(move || {
        let _ = set.wait();
        flag.store(true, Ordering::Relaxed);
    });
    Ok(stop)
}

enum End {
    /// The guest ended by itself.
    Done,
    Timeout,
    LogFull,
    Interrupted,
}

fn watch(child: &mut Child, timeout: Option<u64>, log: &Path, stop: &AtomicBool) -> End {
    let deadline = timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut ticks: u32 = 0;
    let end = loop {
        if !matches!(child.try_wait(), Ok(None)) {
            return End::Done;
        }
        if stop.load(Ordering::Relaxed) {
            break End::Interrupted;
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            break End::Timeout;
        }
        ticks = ticks.wrapping_add(1);
        if ticks % 64 == 0 && fs::metadata(log).is_ok_and(|meta| meta.len() > MAX_LOG) {
            break End::LogFull;
        }
        thread::sleep(Duration::from_millis(5));
    };
    let _ = child.kill();
    let _ = child.wait();
    end
}

fn judge(options: &Options, rundir: &RunDir, end: End) -> Result<i32> {
    let log = fs::read(rundir.join("log")).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    if let Some(path) = &options.log {
        fs::write(path, log.as_bytes()).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let reports = if options.report {
        klog::reports(&log)
    } else {
        Vec::new()
    };
    if !reports.is_empty() {
        eprint!("{log}");
        eprintln!("vm: the kernel reported:");
        for line in reports.iter().take(20) {
            eprintln!("vm:   {line}");
        }
        return Ok(EXIT_REPORT);
    }
    match end {
        End::Interrupted => return Ok(130),
        End::Timeout | End::LogFull => {
            eprint!("{}", tail(&log, 60));
            eprintln!(
                "vm: {}",
                match end {
                    End::Timeout => "the time is over",
                    _ => "the kernel log is too long",
                }
            );
            return Ok(EXIT_TIMEOUT);
        }
        End::Done => {}
    }
    let status = fs::read_to_string(rundir.join("ctl/status")).unwrap_or_default();
    match status.trim().parse::<i32>() {
        Ok(status) => Ok(status),
        Err(_) => {
            eprint!("{}", tail(&log, 60));
            let reason = status.trim();
            let reason = if reason.is_empty() {
                "the guest ended early"
            } else {
                reason
            };
            eprintln!("vm: {reason}");
            Ok(if options.report && status.is_empty() {
                EXIT_REPORT
            } else {
                EXIT_SETUP
            })
        }
    }
}

fn tail(log: &str, lines: usize) -> String {
    let all: Vec<&str> = log.lines().collect();
    let from = all.len().saturating_sub(lines);
    all.get(from..)
        .unwrap_or_default()
        .iter()
        .fold(String::new(), |text, line| text + line + "\n")
}

/// Quotes a word for sh.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Writes the init script: settings, then the part that is the same for all.
fn write_init(plan: &Plan<'_>, module: Option<&Path>) -> Result<()> {
    let options = plan.options;
    let mut script = String::from("#!/bin/sh\n");
    let mut set = |name: &str, value: &str| {
        let _ = writeln!(script, "{name}={}", quote(value));
    };
    let uml = options.arch == Arch::Uml;
    set("vm_arch", if uml { "uml" } else { "x86_64" });
    let debug = options.flavour == Flavour::Debug;
    set("vm_debug", if debug { "1" } else { "" });
    set("vm_rundir", &plan.rundir.path().to_string_lossy());
    set(
        "vm_modroot",
        &plan.kernel.dir.join("modroot").to_string_lossy(),
    );
    set(
        "vm_cwd",
        &std::env::current_dir()
            .unwrap_or("/".into())
            .to_string_lossy(),
    );
    set("vm_modules", &copy_modules(plan, module)?);
    set(
        "vm_rmmod",
        if options.module == Module::None {
            ""
        } else {
            "btrfs"
        },
    );
    set(
        "vm_ram",
        &options
            .ram
            .iter()
            .map(|b| b.to_string())
            .collect::<Vec<_>>()
            .join(" "),
    );
    let shares = plan
        .shares
        .iter()
        .fold(String::new(), |text, (writable, dir)| {
            format!(
                "{text}{} {}\n",
                if *writable { "rw" } else { "ro" },
                dir.display()
            )
        });
    set("vm_shares", &shares);
    set("vm_size", &terminal_size());
    let disks = (0..plan.images.len()).map(|index| disk_name(options.arch, index));
    set("DISKS", &disks.collect::<Vec<_>>().join(" "));
    let progs = paths::cache()?.join("progs");
    set(
        "vm_path",
        &format!("{0}/bin:{0}/sbin:{0}/usr/bin:{0}/usr/sbin", progs.display()),
    );
    let rust = paths::rust_module(plan.kernel)?;
    set(
        "BTRFS_KO",
        &module.map_or(rust, Path::to_path_buf).to_string_lossy(),
    );
    set(
        "BTRFS_C_KO",
        &plan.kernel.dir.join("fs/btrfs/btrfs.ko").to_string_lossy(),
    );
    set("BTRFS_TOP", &paths::checkout()?.to_string_lossy());
    for (name, value) in &options.env {
        let _ = writeln!(script, "export {name}={}", quote(&value.to_string_lossy()));
    }
    let words = options
        .command
        .iter()
        .map(|word| quote(&word.to_string_lossy()));
    let _ = writeln!(script, "set -- {}", words.collect::<Vec<_>>().join(" "));
    script.push_str(INIT);
    let path = plan.rundir.join("init");
    fs::write(&path, script)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// The device node of a disk by index.
fn disk_name(arch: Arch, index: usize) -> String {
    let letter = char::from(b'a' + u8::try_from(index % 26).unwrap_or(0));
    match arch {
        Arch::Uml => format!("/dev/ubd{letter}"),
        Arch::X86_64 => format!("/dev/vd{letter}"),
    }
}

/// Copies the modules to the run's directory, which the guest always sees, and lists their names
/// in load order.
fn copy_modules(plan: &Plan<'_>, module: Option<&Path>) -> Result<String> {
    let Some(module) = module else {
        return Ok(String::new());
    };
    let mut names = Vec::new();
    for path in module::load_order(module, &plan.kernel.dir)? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        fs::copy(&path, plan.rundir.join("mod").join(&name))
            .map_err(|error| format!("{}: {error}", path.display()))?;
        names.push(name);
    }
    Ok(names.join(" "))
}

/// Directories that must be mounted in the guest: the shares, and what would be hidden by the
/// guest's private directories.
fn shares(options: &Options) -> Result<Vec<(bool, PathBuf)>> {
    let mut shares: Vec<(bool, PathBuf)> = options
        .shares
        .iter()
        .map(|share| (share.writable, share.dir.clone()))
        .collect();
    let cwd = std::env::current_dir().unwrap_or("/".into());
    for dir in [paths::checkout()?, paths::cache()?, cwd] {
        let hidden = ["/tmp", "/mnt", "/run", "/var/tmp"]
            .iter()
            .any(|top| dir.starts_with(top));
        if hidden && dir.exists() && !shares.iter().any(|(_, other)| dir.starts_with(other)) {
            shares.push((false, dir));
        }
    }
    // Parents first, so that none hides another.
    shares.sort_by_key(|(_, dir)| dir.components().count());
    Ok(shares)
}

fn terminal_size() -> String {
    let stty = Command::new("stty")
        .arg("size")
        .stdin(Stdio::inherit())
        .stderr(Stdio::null())
        .output();
    stty.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_string())
        .unwrap_or_default()
}
