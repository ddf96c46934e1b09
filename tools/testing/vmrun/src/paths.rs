// SPDX-License-Identifier: GPL-2.0

//! Where the checkout, the cache and the test kernels are.

use crate::args::{Arch, Flavour, Module, Options};
use crate::Result;
use std::env;
use std::path::{Path, PathBuf};

pub struct Kernel {
    /// The kernel's build tree.
    pub dir: PathBuf,
    /// What `uname -r` prints in the guest.
    pub release: String,
    /// The program or image to start.
    pub image: PathBuf,
}

/// The root of the checkout, which `tools/testing/vm` passes on.
pub fn checkout() -> Result<PathBuf> {
    match env::var_os("BTRFS_TOP") {
        Some(top) => Ok(top.into()),
        None => Err("BTRFS_TOP is not set: start this program by tools/testing/vm".into()),
    }
}

/// The cache that `tools/setup/setup.sh` fills.
pub fn cache() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        Some(base) => PathBuf::from(base),
        None => match env::var_os("HOME") {
            Some(home) => Path::new(&home).join(".cache"),
            None => return Err("neither XDG_CACHE_HOME nor HOME is set".into()),
        },
    };
    Ok(base.join("btrfs-rs"))
}

/// The test kernel: `$BTRFS_KDIR`, or what set-up built.
pub fn kernel(options: &Options) -> Result<Kernel> {
    let (arch, image) = match options.arch {
        Arch::Uml => ("um", "linux"),
        Arch::X86_64 => ("x86_64", "arch/x86/boot/bzImage"),
    };
    let name = match options.flavour {
        Flavour::Fast => arch.to_string(),
        Flavour::Debug => format!("{arch}-debug"),
        Flavour::Kasan => format!("{arch}-kasan"),
        Flavour::Inline => format!("{arch}-inline"),
    };
    let dir = match env::var_os("BTRFS_KDIR") {
        Some(dir) => PathBuf::from(dir),
        None => cache()?.join(&name),
    };
    let dir = dir.canonicalize().map_err(|_| {
        format!(
            "there is no kernel in {}: run tools/setup/setup.sh {name}",
            dir.display()
        )
    })?;
    let release = dir.join("include/config/kernel.release");
    let release = std::fs::read_to_string(&release)
        .map_err(|error| format!("{}: {error}", release.display()))?;
    let image = dir.join(image);
    if !image.exists() {
        return Err(format!(
            "{} is missing: run tools/setup/setup.sh {name}",
            image.display()
        ));
    }
    Ok(Kernel {
        dir,
        release: release.trim().to_string(),
        image,
    })
}

/// The module to load, where one is asked for.
pub fn module(options: &Options, kernel: &Kernel) -> Result<Option<PathBuf>> {
    let path = match &options.module {
        Module::None => return Ok(None),
        Module::File(path) => path.clone(),
        Module::C => kernel.dir.join("fs/btrfs/btrfs.ko"),
        Module::Rust => rust_module(kernel)?,
    };
    if !path.exists() {
        return Err(match options.module {
            Module::Rust => format!(
                "{} is missing: build it with make KDIR={} ARCH={}",
                path.display(),
                kernel.dir.display(),
                if options.arch == Arch::Uml {
                    "um"
                } else {
                    "x86_64"
                },
            ),
            _ => format!("{} is missing", path.display()),
        });
    }
    Ok(Some(path))
}

/// The module that this checkout builds for `kernel`.
pub fn rust_module(kernel: &Kernel) -> Result<PathBuf> {
    match env::var_os("BTRFS_KO") {
        Some(path) => Ok(path.into()),
        None => Ok(checkout()?
            .join("build")
            .join(&kernel.release)
            .join("btrfs.ko")),
    }
}
