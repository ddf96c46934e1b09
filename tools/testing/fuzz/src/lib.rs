// SPDX-License-Identifier: GPL-2.0

//! Hostile images.
//!
//! [`image`] reads an image and finds all its tree blocks; [`mutate`] turns a seed into changes of
//! a few of them and of the superblock, with the checksums made right again, so that the changes
//! get past the checksum and reach what checks and uses the structures. [`exercise`] reads what came
//! out, where it mounts, and [`scribble`] writes to it. The same image and the same seed give the same changes, everywhere.

pub mod csum;
pub mod exercise;
pub mod fields;
pub mod image;
pub mod mutate;
pub mod scribble;
