// SPDX-License-Identifier: GPL-2.0

//! The ioctls of files and directories.
//!
//! Each family of commands has a file; this one only finds the right one. What is not
//! there yet is `ENOTTY`.

#![allow(dead_code)]

use kernel::prelude::*;
use kfs::fs::File;

use crate::vfs::Btrfs;

/// Runs the command `cmd` on `file`. `ENOTTY`: there is no such command.
pub(crate) fn run(_file: &File<Btrfs>, _cmd: u32, _arg: usize) -> Result<isize> {
    Err(ENOTTY)
}
