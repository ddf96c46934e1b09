// SPDX-License-Identifier: GPL-2.0

//! The command line of a QEMU guest.

use crate::guest::Plan;
use crate::sandbox::Sandbox;
use crate::Result;
use std::process::Command;

pub fn command(_plan: &Plan<'_>, _sandbox: &Sandbox) -> Result<Command> {
    Err("--arch x86_64 does not work yet".into())
}
