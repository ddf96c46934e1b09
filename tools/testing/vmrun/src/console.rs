// SPDX-License-Identifier: GPL-2.0

//! The channels between the runner and the guest: pipes whose guest ends are inherited.

use crate::Result;
use nix::fcntl::{fcntl, FcntlArg, FdFlag};
use nix::sys::termios::{cfmakeraw, tcgetattr, tcsetattr, SetArg, Termios};
use nix::unistd::pipe;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread::{self, JoinHandle};

/// A pipe of which the guest inherits one end.
pub struct Channel {
    /// Our end.
    pub ours: OwnedFd,
    /// The guest's end, not closed on exec.
    pub guest: OwnedFd,
}

/// Pipes are big enough that a guest's console hardly ever has to wait.
const PIPE_BYTES: i32 = 1 << 20;

fn ends() -> Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe().map_err(|error| format!("pipe: {error}"))?;
    // An unprivileged user may be over the limit for pipe buffers: the default size works too.
    let _ = fcntl(&write, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
    Ok((read, write))
}

fn private(fd: &OwnedFd) -> Result<()> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
        .map(drop)
        .map_err(|error| format!("fcntl: {error}"))
}

impl Channel {
    /// The guest writes, we read.
    pub fn output() -> Result<Self> {
        let (read, write) = ends()?;
        private(&read)?;
        Ok(Self {
            ours: read,
            guest: write,
        })
    }

    /// We write, the guest reads.
    pub fn input() -> Result<Self> {
        let (read, write) = ends()?;
        private(&write)?;
        Ok(Self {
            ours: write,
            guest: read,
        })
    }

    /// The number under which the guest finds its end.
    pub fn number(&self) -> i32 {
        self.guest.as_raw_fd()
    }
}

/// Copies what the guest writes to `to` until the guest is gone.
pub fn pump(from: OwnedFd, mut to: impl Write + Send + 'static) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut from = File::from(from);
        let mut buffer = vec![0; 1 << 16];
        // Reads on after the output is gone, lest the guest waits for us.
        let mut open = true;
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let bytes = buffer.get(..count).unwrap_or_default();
            open = open && to.write_all(bytes).and_then(|()| to.flush()).is_ok();
        }
    })
}

/// The terminal in raw mode, until dropped.
pub struct RawTerminal(Termios);

impl RawTerminal {
    /// `None` where standard input is no terminal.
    pub fn new() -> Option<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let saved = tcgetattr(&stdin).ok()?;
        let mut raw = saved.clone();
        cfmakeraw(&mut raw);
        tcsetattr(&stdin, SetArg::TCSANOW, &raw).ok()?;
        Some(Self(saved))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.0);
    }
}

/// Copies standard input to the guest's terminal; the end of a file becomes ^D.
/// The thread is left behind when the guest ends: it may wait for a key for ever.
pub fn feed(to: OwnedFd) {
    thread::spawn(move || {
        let mut to = File::from(to);
        let mut stdin = io::stdin();
        let mut buffer = [0; 512];
        while let Ok(count @ 1..) = stdin.read(&mut buffer) {
            if to
                .write_all(buffer.get(..count).unwrap_or_default())
                .is_err()
            {
                return;
            }
        }
        let _ = to.write_all(b"\x04");
        // Keeps the guest's terminal open: its end would hang the shell up before it is done.
        loop {
            thread::park();
        }
    });
}
