// SPDX-License-Identifier: GPL-2.0

//! Namespaces around a guest.
//!
//! The guest's kernel can see the host's files, so it is the host's kernel that must forbid
//! writing them: the guest runs in a mount namespace in which everything is read-only except the
//! run's own directory, the disks and what `--share DIR,rw` names. A PID namespace makes sure that
//! no process of the guest outlives the runner, however that ends.
//!
//! The runner starts itself as [`ENTER`], which makes the namespaces and starts itself once more as
//! [`INIT`], the first process of the PID namespace, which starts the guest.

use crate::Result;
use nix::mount::{mount, MsFlags};
use nix::sched::{unshare, CloneFlags};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{setrlimit, Resource};
use nix::sys::signal::Signal;
use nix::sys::wait::{waitpid, WaitStatus};
use nix::unistd::{getgid, getuid, Pid};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub const ENTER: &str = "__enter";
pub const INIT: &str = "__init";

/// What the guest may do outside its own memory.
pub struct Sandbox {
    /// Paths that stay writable.
    pub writable: Vec<PathBuf>,
    /// An empty directory on which a tmpfs of `memory` bytes is mounted; the guest's `TMPDIR`.
    pub scratch: PathBuf,
    pub memory: u64,
}

impl Sandbox {
    /// The command that runs `program` inside the sandbox; arguments are appended by the caller.
    pub fn command(&self, program: &Path) -> Result<Command> {
        let this = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(this);
        command
            .arg(ENTER)
            .arg(&self.scratch)
            .arg(self.memory.to_string());
        for path in &self.writable {
            command.arg(path);
        }
        command.arg("--").arg(program).env("TMPDIR", &self.scratch);
        Ok(command)
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// `ENTER SCRATCH MEMORY WRITABLE... -- PROGRAM ARG...`
pub fn enter(args: Vec<OsString>) -> Result<i32> {
    set_pdeathsig(Signal::SIGKILL).map_err(text)?;
    let mut args = args.into_iter();
    let (Some(scratch), Some(memory)) = (args.next(), args.next()) else {
        return Err("usage".into());
    };
    let writable: Vec<PathBuf> = args
        .by_ref()
        .take_while(|arg| arg != "--")
        .map(PathBuf::from)
        .collect();
    make_namespaces()?;
    guard_mounts(&writable)?;
    let size = format!("mode=0700,size={}", memory.to_string_lossy());
    mount(
        Some("vm"),
        Path::new(&scratch),
        Some("tmpfs"),
        MsFlags::empty(),
        Some(size.as_str()),
    )
    .map_err(|error| format!("no memory for the guest: tmpfs: {error}"))?;
    let this = std::env::current_exe().map_err(text)?;
    let status = Command::new(this)
        .arg(INIT)
        .args(args)
        .status()
        .map_err(text)?;
    Ok(status.code().unwrap_or(crate::EXIT_SETUP))
}

fn make_namespaces() -> Result<()> {
    let flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    if unshare(flags).is_ok() {
        return Ok(());
    }
    let (uid, gid) = (getuid(), getgid());
    unshare(flags | CloneFlags::CLONE_NEWUSER).map_err(|error| {
        format!(
            "cannot make namespaces ({error}): run as root, or allow user namespaces \
             (sysctl kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
        )
    })?;
    let write = |name: &str, value: String| {
        fs::write(format!("/proc/self/{name}"), value).map_err(|error| format!("{name}: {error}"))
    };
    write("setgroups", "deny".into())?;
    write("uid_map", format!("0 {uid} 1"))?;
    write("gid_map", format!("0 {gid} 1"))
}

/// File systems without files of the host; they need no guard and some refuse the flag.
const PSEUDO: [&str; 16] = [
    "proc",
    "sysfs",
    "devpts",
    "cgroup",
    "cgroup2",
    "securityfs",
    "debugfs",
    "tracefs",
    "mqueue",
    "bpf",
    "pstore",
    "configfs",
    "fusectl",
    "autofs",
    "binfmt_misc",
    "hugetlbfs",
];

/// Makes every mount read-only, but for `writable`.
fn guard_mounts(writable: &[PathBuf]) -> Result<()> {
    let none: Option<&str> = None;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).map_err(|error| format!("mount namespace: {error}"))?;
    for path in writable {
        mount(Some(path), path, none, MsFlags::MS_BIND, none)
            .map_err(|error| format!("{}: bind mount: {error}", path.display()))?;
    }
    let table = fs::read_to_string("/proc/self/mountinfo").map_err(text)?;
    for entry in table.lines().filter_map(Mount::parse) {
        let guarded = !PSEUDO.contains(&entry.kind.as_str()) && !writable.contains(&entry.target);
        if !guarded || entry.flags.contains(MsFlags::MS_RDONLY) {
            continue;
        }
        let flags = entry.flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        match mount(none, &entry.target, none, flags, none) {
            Ok(()) => {}
            // Not reachable: another mount hides it, or the user may not go there.
            Err(nix::Error::ENOENT | nix::Error::EINVAL | nix::Error::EACCES) => {}
            Err(error) => {
                return Err(format!(
                    "{}: cannot be guarded: {error}",
                    entry.target.display()
                ));
            }
        }
    }
    Ok(())
}

/// A line of `/proc/self/mountinfo`, see proc_pid_mountinfo(5).
struct Mount {
    target: PathBuf,
    kind: String,
    flags: MsFlags,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut fields = left.split(' ').skip(4);
        let target = unescape(fields.next()?).into();
        let flags = fields
            .next()?
            .split(',')
            .fold(MsFlags::empty(), |flags, option| {
                flags
                    | match option {
                        "ro" => MsFlags::MS_RDONLY,
                        "nosuid" => MsFlags::MS_NOSUID,
                        "nodev" => MsFlags::MS_NODEV,
                        "noexec" => MsFlags::MS_NOEXEC,
                        "noatime" => MsFlags::MS_NOATIME,
                        "nodiratime" => MsFlags::MS_NODIRATIME,
                        "relatime" => MsFlags::MS_RELATIME,
                        _ => MsFlags::empty(),
                    }
            });
        Some(Self {
            target,
            kind: right.split(' ').next()?.to_string(),
            flags,
        })
    }
}

/// Undoes the octal escapes of blanks in mountinfo.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

/// `INIT PROGRAM ARG...`: first process of the PID namespace.
pub fn init(args: Vec<OsString>) -> Result<i32> {
    set_pdeathsig(Signal::SIGKILL).map_err(text)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(text)?;
    let mut args = args.into_iter();
    let program = args.next().ok_or("usage")?;
    let child = Command::new(&program)
        .args(args)
        .spawn()
        .map_err(|error| format!("{}: {error}", program.to_string_lossy()))?;
    let child = Pid::from_raw(i32::try_from(child.id()).map_err(text)?);
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, status)) if pid == child => return Ok(status),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                return Ok(128 + signal as i32);
            }
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_lines() {
        let line = "36 35 98:0 / /mnt\\0402 rw,nosuid,relatime shared:1 - ext4 /dev/root rw";
        let mount = Mount::parse(line).unwrap();
        assert_eq!(mount.target, Path::new("/mnt 2"));
        assert_eq!(mount.kind, "ext4");
        assert_eq!(mount.flags, MsFlags::MS_NOSUID | MsFlags::MS_RELATIME);
    }
}
