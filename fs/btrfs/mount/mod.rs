// SPDX-License-Identifier: GPL-2.0

//! Mounting: from options and devices to a file system that can be used.
//!
//! [`mod@options`] says what the options mean and [`mod@spec`] how they are written, [`mod@show`]
//! how they are shown; [`mod@context`] is a mount under way, [`mod@open`] opens the file
//! system, which is then an [`Fs`].

#![forbid(unsafe_code)]

mod context;
pub(crate) mod data_options;
mod flags;
mod fs;
mod open;
pub(crate) mod options;
pub(crate) mod show;
mod source;
mod space_cache;
mod spec;
#[cfg(CONFIG_KUNIT = "y")]
mod tests;
mod writable;

pub(crate) use context::{online_cpus, MountContext};
pub(crate) use fs::Fs;
pub(crate) use open::open;
pub(crate) use show::{show, Shown};
pub(crate) use spec::PARAMS;
