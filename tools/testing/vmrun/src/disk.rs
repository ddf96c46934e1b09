// SPDX-License-Identifier: GPL-2.0

//! Disk images of a run.

use crate::args::Disk;
use crate::rundir::RunDir;
use crate::Result;
use std::fs::File;
use std::path::PathBuf;

pub struct Image {
    pub path: PathBuf,
    pub read_only: bool,
}

/// Makes the empty disks (sparse files) and lists all images in order.
pub fn images(disks: &[Disk], rundir: &RunDir) -> Result<Vec<Image>> {
    disks
        .iter()
        .enumerate()
        .map(|(index, disk)| match disk {
            Disk::File { path, read_only } => Ok(Image {
                path: path.clone(),
                read_only: *read_only,
            }),
            Disk::Empty(bytes) => {
                let path = rundir.join(&format!("disk{index}"));
                let file = File::create(&path);
                file.and_then(|file| file.set_len(*bytes))
                    .map_err(|error| format!("{}: {error}", path.display()))?;
                Ok(Image {
                    path,
                    read_only: false,
                })
            }
        })
        .collect()
}
