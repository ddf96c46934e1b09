// SPDX-License-Identifier: GPL-2.0

//! The end of the run from outside: no guest may go on writing to the results behind it.
//!
//! SIGINT, SIGTERM and SIGHUP set a flag; every shard stops its guest, waits for it, and ends. Where
//! the runner has no chance to do that (SIGKILL, a crash), the host's kernel sends SIGTERM to the
//! runners of the guests, which is what [`die_with_us`] asks for.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{io, mem, ptr, thread};

static STOPPED: AtomicBool = AtomicBool::new(false);

/// The run is to end.
pub fn stopped() -> bool {
    STOPPED.load(Ordering::Relaxed)
}

/// Sets the flag when one of the signals comes. Called before any other thread exists, so that all
/// of them have the signals blocked.
pub fn watch() {
    // SAFETY: an all-zero sigset_t is storage for sigemptyset, which initializes it.
    let mut set: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: `set` is valid for writing.
    unsafe { libc::sigemptyset(&mut set) };
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // A signal that is ignored stays ignored: that is how nohup works.
        if !ignored(signal) {
            // SAFETY: `set` was initialized.
            unsafe { libc::sigaddset(&mut set, signal) };
        }
    }
    // SAFETY: `set` was initialized, and the old mask is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, ptr::null_mut()) };
    thread::spawn(move || {
        let mut signal = 0;
        // SAFETY: `set` was initialized, and `signal` is valid for writing.
        if unsafe { libc::sigwait(&set, &mut signal) } == 0 {
            STOPPED.store(true, Ordering::Relaxed);
        }
    });
}

fn ignored(signal: i32) -> bool {
    // SAFETY: an all-zero sigaction is a valid one.
    let mut old: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: only asks; `old` is valid for writing.
    let status = unsafe { libc::sigaction(signal, ptr::null(), &mut old) };
    status == 0 && old.sa_sigaction == libc::SIG_IGN
}

/// The child gets SIGTERM when the thread that starts it is gone, and no blocked signals.
pub fn die_with_us(command: &mut Command) {
    let parent = std::process::id();
    let prepare = move || {
        // SAFETY: an all-zero sigset_t is storage for sigemptyset, which initializes it.
        let mut none: libc::sigset_t = unsafe { mem::zeroed() };
        // SAFETY: `none` is valid for writing.
        unsafe { libc::sigemptyset(&mut none) };
        // SAFETY: `none` was initialized, and the old mask is not asked for.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &none, ptr::null_mut()) };
        // SAFETY: no pointers.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: no arguments. Died before the request?
        if unsafe { libc::getppid() } as u32 != parent {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(())
    };
    // SAFETY: the closure calls nothing but system calls that are safe between fork and exec.
    unsafe { command.pre_exec(prepare) };
}
