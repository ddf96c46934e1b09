// SPDX-License-Identifier: GPL-2.0

//! The command line of a User-Mode Linux guest.

use crate::guest::Plan;
use crate::sandbox::Sandbox;
use crate::Result;
use std::process::Command;

/// Disks that the driver can have, see `MAX_DEV` in arch/um/drivers/ubd_kern.c.
const MAX_DISKS: usize = 16;

pub fn command(plan: &Plan<'_>, sandbox: &Sandbox) -> Result<Command> {
    if plan.images.len() > MAX_DISKS {
        return Err(format!("a uml guest has at most {MAX_DISKS} disks"));
    }
    let mut command = sandbox.command(&plan.kernel.image)?;
    // SMP needs the seccomp mode. The log goes to one descriptor, the command's input and output
    // to consoles of their own, so that neither disturbs the other.
    command
        .args([
            "seccomp=on",
            "root=/dev/root",
            "rootfstype=hostfs",
            "rootflags=/",
            "ro",
        ])
        .args([
            "con=null",
            "ssl=null",
            "oops=panic",
            "console=tty0",
            "null_blk.nr_devices=0",
        ])
        .arg(format!("ncpus={}", plan.options.cpus))
        .arg(format!("mem={}K", plan.memory >> 10))
        .arg(format!("con0=null,fd:{}", plan.log))
        .arg(format!(
            "con1=fd:{},fd:{}",
            plan.stdin.number(),
            plan.stdout.number()
        ))
        .arg(format!("con2=null,fd:{}", plan.stderr.number()))
        .arg(format!("uml_dir={}/", plan.rundir.path().display()))
        .arg("umid=uml")
        .arg(format!("init={}", plan.rundir.join("init").display()));
    for (index, image) in plan.images.iter().enumerate() {
        let path = image.path.display().to_string();
        if path.contains([',', ':']) {
            return Err(format!(
                "{path}: the name of a disk has no comma or colon here"
            ));
        }
        // d: data, whatever it looks like; r: read-only; c: no lock, others may read it too.
        let flags = if image.read_only { "drc" } else { "d" };
        command.arg(format!("ubd{index:x}{flags}={path}"));
    }
    let most = plan.options.ram.iter().max().copied().unwrap_or(0);
    command.arg(format!("brd.rd_nr={}", plan.options.ram.len()));
    command.arg(format!("brd.rd_size={}", most >> 10));
    command.args(&plan.options.append);
    // What the program itself prints before its console works belongs to the log.
    command.stdout(log_file(plan)?).stderr(log_file(plan)?);
    Ok(command)
}

fn log_file(plan: &Plan<'_>) -> Result<std::fs::File> {
    let path = plan.rundir.join("log");
    std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .map_err(|error| format!("{}: {error}", path.display()))
}
