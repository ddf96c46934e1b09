// SPDX-License-Identifier: GPL-2.0

//! Runs a command in a guest with one of the test kernels.
//!
//! `tools/testing/vm` builds and calls this program; its interface is described in
//! `Documentation/testing.md`. The program calls itself again under two hidden names to enter the
//! namespaces that keep a guest from touching the host (see [`sandbox`]).

mod args;
mod console;
mod disk;
mod guest;
mod klog;
mod module;
mod paths;
mod qemu;
mod rundir;
mod sandbox;
mod uml;

use std::process::exit;

/// Exit status: an oops, a warning or a leak was reported.
pub const EXIT_REPORT: i32 = 99;
/// Exit status: the time was over.
pub const EXIT_TIMEOUT: i32 = 98;
/// Exit status: the guest could not be prepared (kernel or module missing, module refused).
pub const EXIT_SETUP: i32 = 97;
/// Exit status: wrong usage.
pub const EXIT_USAGE: i32 = 64;

/// What every step returns: the error is a message for the user.
pub type Result<T> = std::result::Result<T, String>;

fn main() {
    let mut argv = std::env::args_os().skip(1);
    let first = argv.next().unwrap_or_default();
    let status = match first.to_str() {
        Some("run") => args::parse(argv, false).map(run_or_shell),
        Some("shell") => args::parse(argv, true).map(run_or_shell),
        Some(sandbox::ENTER) => {
            exit(sandbox::enter(argv.collect()).unwrap_or_else(|message| fail(&message)))
        }
        Some(sandbox::INIT) => {
            exit(sandbox::init(argv.collect()).unwrap_or_else(|message| fail(&message)))
        }
        Some("help" | "--help" | "-h") => {
            print!("{}", args::USAGE);
            exit(0);
        }
        _ => Err(format!("vm: no such command\n{}", args::USAGE)),
    };
    match status {
        Ok(status) => exit(status),
        Err(message) => {
            eprintln!("{message}");
            exit(EXIT_USAGE);
        }
    }
}

fn run_or_shell(options: args::Options) -> i32 {
    guest::run(&options).unwrap_or_else(|message| fail(&message))
}

fn fail(message: &str) -> i32 {
    eprintln!("vm: {message}");
    EXIT_SETUP
}
