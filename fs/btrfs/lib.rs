// SPDX-License-Identifier: GPL-2.0

//! The btrfs file system.

use kernel::prelude::*;

mod backref;
mod control;
mod data;
mod dir;
mod edits;
mod inode;
mod ioctl;
mod mount;
mod space;
mod subvol;
mod sysfs;
mod tree;
mod txn;
mod vfs;
mod volume;
mod xattr;

module! {
    type: BtrfsModule,
    name: "btrfs",
    authors: ["The btrfs in Rust authors"],
    description: "The btrfs file system",
    license: "GPL",
    alias: ["fs-btrfs", "devname:btrfs-control", "char-major-10-234"],
}

/// What lives as long as the module is loaded. The order of the fields is that of unloading.
struct BtrfsModule {
    _file_system: kfs::fs::Registration<vfs::Btrfs>,
    _sysfs: sysfs::Lifetime,
    _control: Pin<KBox<kfs::misc::Registration<control::Control>>>,
    _workspaces: kfs::compress::Workspaces,
    _registry: volume::registry::Lifetime,
    _engine: kfs::block::Engine,
    /// Tree blocks are dropped a while after their last use.
    _blocks: kfs::rcu::Settle,
}

impl kernel::Module for BtrfsModule {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let engine = kfs::block::Engine::new()?;
        let registry = volume::registry::init()?;
        let sysfs = sysfs::init()?;
        let control = control::register()?;
        let file_system = kfs::fs::Registration::new(&vfs::SLOT)?;
        pr_info!("loaded\n");
        Ok(BtrfsModule {
            _file_system: file_system,
            _sysfs: sysfs,
            _control: control,
            _workspaces: kfs::compress::Workspaces::new(),
            _registry: registry,
            _engine: engine,
            _blocks: kfs::rcu::Settle::new(),
        })
    }
}
