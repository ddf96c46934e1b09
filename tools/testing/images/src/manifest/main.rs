// SPDX-License-Identifier: GPL-2.0

//! Lists everything a user can see of a mounted tree, one fact per line.
//!
//! `manifest DIR [--no-direct] [--no-ioctl] [--content-only]`
//!
//! The output of two implementations for the same image must be identical: nothing in it depends on
//! the mount (device numbers are counted in order of appearance, no mount ids, no access order).
//! Every line is `path<TAB>field: value`, so a difference names the object and what is wrong with
//! it. Errors are values: a file that cannot be read gives a line that says so.

mod content;
mod dir;
mod ioctls;
mod object;

use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use testkit::sys;

/// What to list.
#[derive(Clone, Copy)]
pub struct Options {
    pub direct: bool,
    pub ioctls: bool,
    /// Only what damage to a device could change: types, sizes and bytes.
    pub content_only: bool,
}

/// Collects lines and what must be remembered between objects.
pub struct Listing {
    out: BufWriter<std::io::Stdout>,
    pub options: Options,
    pub root: OwnedFd,
    /// Device numbers in order of appearance.
    devices: HashMap<(u32, u32), usize>,
}

impl Listing {
    /// Writes one line about an object.
    pub fn line(&mut self, path: &Path, field: &str, value: std::fmt::Arguments<'_>) {
        let path = escape(path.as_os_str().as_bytes());
        if let Err(error) = writeln!(self.out, "{path}\t{field}: {value}") {
            eprintln!("manifest: {error}");
            std::process::exit(1);
        }
    }

    /// Writes a value, or the error's name in its place.
    pub fn result<T: std::fmt::Display>(
        &mut self,
        path: &Path,
        field: &str,
        value: std::io::Result<T>,
    ) {
        match value {
            Ok(value) => self.line(path, field, format_args!("{value}")),
            Err(error) => self.line(
                path,
                field,
                format_args!("ERROR {}", sys::errno_name(&error)),
            ),
        }
    }

    /// The number of a device, counted in order of appearance.
    pub fn device(&mut self, major: u32, minor: u32) -> usize {
        let next = self.devices.len();
        *self.devices.entry((major, minor)).or_insert(next)
    }
}

/// Bytes as printable ASCII without blanks; everything else as `\xNN`.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &b in bytes {
        if b.is_ascii_graphic() && b != b'\\' {
            text.push(char::from(b));
        } else {
            text.push_str(&format!("\\x{b:02x}"));
        }
    }
    text
}

/// A short fingerprint of bytes.
pub fn fingerprint(bytes: &[u8]) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(bytes))
}

/// Lists an object and, when it is a directory, everything below it in name order.
fn walk(list: &mut Listing, full: &Path, shown: &Path) {
    let Some(kind) = object::list(list, full, shown) else {
        return;
    };
    match kind {
        libc::S_IFREG => content::list(list, full, shown),
        libc::S_IFDIR => {
            let mut names = dir::list(list, full, shown);
            names.sort();
            for name in names {
                walk(list, &full.join(&name), &shown.join(&name));
            }
        }
        _ => {}
    }
}

/// What statfs says, except for the mount flags that the two mounts may differ in.
fn list_statfs(list: &mut Listing, root: &Path) {
    match sys::statfs(root) {
        Ok(st) => {
            let [a, b] = sys::fsid(&st);
            list.line(
                Path::new("."),
                "statfs",
                format_args!(
                    "type={:x} bsize={} frsize={} blocks={} bfree={} bavail={} files={} ffree={} fsid={a:08x}{b:08x} namelen={}",
                    st.f_type, st.f_bsize, st.f_frsize, st.f_blocks, st.f_bfree, st.f_bavail, st.f_files, st.f_ffree,
                    st.f_namelen
                ),
            );
        }
        Err(error) => list.result::<&str>(Path::new("."), "statfs", Err(error)),
    }
}

fn usage() -> ! {
    eprintln!("usage: manifest DIR [--no-direct] [--no-ioctl] [--content-only]");
    std::process::exit(2);
}

fn main() {
    let mut options = Options {
        direct: true,
        ioctls: true,
        content_only: false,
    };
    let mut root = None;
    for arg in std::env::args().skip(1) {
        match arg.as_str() {
            "--no-direct" => options.direct = false,
            "--no-ioctl" => options.ioctls = false,
            "--content-only" => options.content_only = true,
            _ if arg.starts_with('-') || root.is_some() => usage(),
            _ => root = Some(PathBuf::from(arg)),
        }
    }
    let Some(root) = root else { usage() };
    let fd = match sys::open(&root, libc::O_RDONLY | libc::O_DIRECTORY) {
        Ok(fd) => fd,
        Err(error) => {
            eprintln!("manifest: {}: {error}", root.display());
            std::process::exit(1);
        }
    };
    let out = BufWriter::with_capacity(1 << 20, std::io::stdout());
    let mut list = Listing {
        out,
        options,
        root: fd,
        devices: HashMap::new(),
    };
    if !options.content_only {
        list_statfs(&mut list, &root);
    }
    if options.ioctls && !options.content_only {
        let fd = list.root.as_fd().try_clone_to_owned();
        match fd {
            Ok(fd) => ioctls::filesystem(&mut list, &fd),
            Err(error) => list.result::<&str>(Path::new("."), "ioctls", Err(error)),
        }
    }
    walk(&mut list, &root, Path::new("."));
    let devices = list.devices.len();
    list.line(Path::new("."), "end", format_args!("devices={devices}"));
    if let Err(error) = list.out.flush() {
        eprintln!("manifest: {error}");
        std::process::exit(1);
    }
}
