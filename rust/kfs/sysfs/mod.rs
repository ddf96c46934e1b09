// SPDX-License-Identifier: GPL-2.0

//! Directories and files in sysfs.
//!
//! A [`Directory<D>`] is a kobject with data of the type `D`; its files are
//! [`Attribute<D>`]s, constants that know how to show and store. [`Set`] is the
//! directory of a file system type below `/sys/fs`.
//!
//! C headers: [`include/linux/kobject.h`](srctree/include/linux/kobject.h),
//! [`include/linux/sysfs.h`](srctree/include/linux/sysfs.h)
//!
//! # Examples
//!
//! ```ignore
//! const ATTRS: &[Attribute<Info>] = &[
//!     Attribute::ro(c"nodesize", |info, out| Ok(writeln!(out, "{}", info.nodesize)?)),
//! ];
//! let dir = Directory::new(&set, c"0a1b...", info, ATTRS)?;
//! let sub = Directory::new(&dir, c"devices", (), &[])?;
//! ```
//!
//! # Rules
//!
//! Drop a directory before the one it is in. While a directory is being dropped, readers
//! of its files are waited for: do not hold a lock that a file's callback takes.

mod attribute;
mod directory;

pub use attribute::{Attribute, Output};
pub use directory::{Directory, Kobject, Parent, Set};
