// SPDX-License-Identifier: GPL-2.0

//! The command line of a QEMU guest (x86_64).

use crate::guest::Plan;
use crate::paths::{self, Kernel};
use crate::rundir::RunDir;
use crate::sandbox::Sandbox;
use crate::Result;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const PROGRAM: &str = "qemu-system-x86_64";
/// How long the probe may take to boot the kernel into its panic for want of a root.
const PROBE: Duration = Duration::from_secs(10);

fn program() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(PROGRAM))
        .find(|file| file.exists())
        .ok_or_else(|| format!("{PROGRAM} is missing: run tools/setup/setup.sh x86_64"))
}

pub fn command(plan: &Plan<'_>, sandbox: &Sandbox) -> Result<Command> {
    let program = program()?;
    let accelerator = accelerator(&program, plan.kernel, plan.rundir)?;
    let mut command = sandbox.command(&program)?;
    command
        .args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ])
        .args(["-machine", "q35", "-cpu", "max", "-accel", accelerator])
        .args(["-smp", &plan.options.cpus.to_string()])
        .args(["-m", &format!("{}M", plan.memory.div_ceil(1 << 20))])
        .arg("-kernel")
        .arg(&plan.kernel.image)
        .args(["-append", &kernel_arguments(plan)])
        .args(["-object", "rng-random,id=rng,filename=/dev/urandom"])
        .args(["-device", "virtio-rng-pci,rng=rng"]);
    consoles(plan, &mut command)?;
    directories(plan, &mut command);
    disks(plan, &mut command)?;
    let log = paths_log(plan.rundir)?;
    command
        .stdout(log.try_clone().map_err(|error| error.to_string())?)
        .stderr(log);
    Ok(command)
}

fn paths_log(rundir: &RunDir) -> Result<fs::File> {
    let path = rundir.join("log");
    fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn kernel_arguments(plan: &Plan<'_>) -> String {
    let most = plan.options.ram.iter().max().copied().unwrap_or(0);
    let mut words = vec![
        "root=/dev/root rootfstype=9p ro".to_string(),
        "rootflags=trans=virtio,version=9p2000.L,cache=loose,msize=512000".to_string(),
        "console=ttyS0 oops=panic panic=-1 null_blk.nr_devices=0".to_string(),
        format!(
            "brd.rd_nr={} brd.rd_size={}",
            plan.options.ram.len(),
            most >> 10
        ),
        format!("init={}", plan.rundir.join("init").display()),
    ];
    words.extend(plan.options.append.iter().cloned());
    words.join(" ")
}

/// The serial port takes the log; the command gets hvc0, and hvc1 for its errors.
fn consoles(plan: &Plan<'_>, command: &mut Command) -> Result<()> {
    let log = plan.rundir.join("log");
    // The one two-way device that all versions of QEMU have wants two names of pipes.
    for (name, number) in [
        ("tty.in", plan.stdin.number()),
        ("tty.out", plan.stdout.number()),
    ] {
        symlink(format!("/proc/self/fd/{number}"), plan.rundir.join(name))
            .map_err(|error| format!("{name}: {error}"))?;
    }
    command
        .args([
            "-chardev",
            &format!("file,id=log,path={},append=on", log.display()),
        ])
        .args(["-serial", "chardev:log", "-device", "virtio-serial-pci"])
        .args([
            "-chardev",
            &format!("pipe,id=out,path={}", plan.rundir.join("tty").display()),
        ])
        .args([
            "-chardev",
            &format!("file,id=err,path=/dev/fd/{}", plan.stderr.number()),
        ])
        .args([
            "-device",
            "virtconsole,chardev=out",
            "-device",
            "virtconsole,chardev=err",
        ]);
    Ok(())
}

/// The host's root, the run's directory and the shares, by 9p. The sandbox guards them all.
fn directories(plan: &Plan<'_>, command: &mut Command) {
    let mut share = |tag: &str, dir: &Path, options: &str| {
        let id = tag.trim_start_matches("/dev/");
        command
            .arg("-fsdev")
            .arg(format!(
                "local,id={id},path={},security_model=none,multidevs=remap{options}",
                dir.display()
            ))
            .args([
                "-device",
                &format!("virtio-9p-pci,fsdev={id},mount_tag={tag}"),
            ]);
    };
    share("/dev/root", Path::new("/"), ",readonly=on");
    share("ctl", plan.rundir.path(), "");
    for (index, (writable, dir)) in plan.shares.iter().enumerate() {
        share(
            &format!("share{index}"),
            dir,
            if *writable { "" } else { ",readonly=on" },
        );
    }
}

fn disks(plan: &Plan<'_>, command: &mut Command) -> Result<()> {
    for (index, image) in plan.images.iter().enumerate() {
        let path = image.path.display().to_string();
        if path.contains(',') {
            return Err(format!("{path}: the name of a disk has no comma here"));
        }
        let read_only = if image.read_only {
            ",readonly=on"
        } else {
            ",discard=unmap"
        };
        command
            .arg("-drive")
            .arg(format!(
                "file={path},format=raw,if=none,id=disk{index}{read_only}"
            ))
            .args([
                "-device",
                &format!("virtio-blk-pci,drive=disk{index},serial=disk{index}"),
            ]);
    }
    Ok(())
}

/// KVM where a guest really runs with it, else emulation. /dev/kvm may be there and fail at
/// the first instruction, so the probe boots the kernel; its answer holds until the host reboots.
fn accelerator(program: &Path, kernel: &Kernel, rundir: &RunDir) -> Result<&'static str> {
    const KVM: &str = "kvm";
    const EMULATION: &str = "tcg,thread=multi";
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let memory = paths::cache()?.join(format!("kvm-{}", boot.trim()));
    let works = match fs::read_to_string(&memory) {
        Ok(answer) => answer.trim() == "yes",
        Err(_) => {
            let works = fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open("/dev/kvm")
                .is_ok()
                && boots_with_kvm(program, kernel, rundir);
            let _ = fs::write(&memory, if works { "yes" } else { "no" });
            works
        }
    };
    Ok(if works { KVM } else { EMULATION })
}

fn boots_with_kvm(program: &Path, kernel: &Kernel, rundir: &RunDir) -> bool {
    let log = rundir.join("probe");
    let child = Command::new(program)
        .args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ])
        .args([
            "-machine", "q35", "-accel", "kvm", "-cpu", "max", "-m", "256M",
        ])
        .args(["-append", "console=ttyS0 panic=-1", "-serial"])
        .arg(format!("file:{}", log.display()))
        .arg("-kernel")
        .arg(&kernel.image)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        return false;
    };
    let deadline = Instant::now() + PROBE;
    while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
        thread::sleep(Duration::from_millis(50));
    }
    let _ = child.kill();
    let _ = child.wait();
    let log = fs::read(&log).unwrap_or_default();
    String::from_utf8_lossy(&log).contains("Kernel panic")
}
