// SPDX-License-Identifier: GPL-2.0

//! The private directory of one run. It goes away with the run, and what a killed runner left
//! behind goes away with the next one.

use crate::Result;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

const PREFIX: &str = "guest-run.";

pub struct RunDir(PathBuf);

impl RunDir {
    /// Makes the directory below `$BTRFS_VM_DIR` (default: /var/tmp).
    pub fn new() -> Result<Self> {
        let base = env::var_os("BTRFS_VM_DIR").map_or("/var/tmp".into(), PathBuf::from);
        remove_stale(&base);
        let path = base.join(format!("{PREFIX}{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let path = path
            .canonicalize()
            .map_err(|error| format!("{}: {error}", path.display()))?;
        for name in ["ctl", "mem", "mod", "bin"] {
            fs::create_dir(path.join(name)).map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes the directories whose runner is gone.
fn remove_stale(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if let Some(pid) = pid.and_then(|pid| pid.parse::<u32>().ok()) {
            if !Path::new("/proc").join(pid.to_string()).exists() {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}
