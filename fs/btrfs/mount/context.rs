// SPDX-License-Identifier: GPL-2.0

//! A mount or remount under way.

use btrfs_format::superblock::CompatRo;
use btrfs_format::types::TreeId;
use core::fmt;
use kernel::prelude::*;
use kernel::str::CString;
use kfs::fs::{capable, Capability, FsContext, Param as Given, Purpose, SbFlags};
use kfs::log::Level;

use super::open::ToLog;
use super::options::{Loudness, Options, Report};
use super::show;
use super::spec::{self, Meaning};
use crate::vfs::{BtrfsInode, BtrfsSuper};
use crate::volume::log::{print_general, State};
use crate::volume::registry::{self, Found};
use crate::volume::superblock::check_features;

/// What the options of a mount have said so far.
pub(crate) struct MountContext {
    pub(crate) options: Options,
    /// Path of the subvolume to mount.
    subvol: Option<CString>,
    /// Id of the subvolume to mount.
    subvolid: Option<TreeId>,
    /// The devices, once they are known.
    pub(crate) found: Option<Found>,
}

/// Sends what is said about options to the kernel log, before there is a file system.
struct ToGeneral;

impl Report for ToGeneral {
    fn report(&mut self, loudness: Loudness, message: fmt::Arguments<'_>) {
        let level = match loudness {
            Loudness::Info => Level::Info,
            Loudness::Warning => Level::Warning,
            Loudness::Error => Level::Error,
        };
        print_general(level, message);
    }
}

impl MountContext {
    /// Starts with the defaults or, for a remount, with the options of `sb`.
    pub(crate) fn new(cx: &FsContext, sb: Option<&BtrfsSuper>) -> Self {
        let options = match sb {
            Some(sb) if cx.purpose() == Purpose::Reconfigure => sb.data().options(),
            _ => Options::new(online_cpus()),
        };
        cx.set_sb_flags(SbFlags::POSIXACL | SbFlags::I_VERSION, true);
        Self {
            options,
            subvol: None,
            subvolid: None,
            found: None,
        }
    }

    /// Takes in one option.
    pub(crate) fn parse(&mut self, cx: &FsContext, given: &Given<'_>) -> Result {
        match spec::meaning(given)? {
            Meaning::Option(param) => return self.options.apply(param, &mut ToGeneral),
            Meaning::Acl(on) => {
                cx.set_sb_flags(SbFlags::POSIXACL, on);
                // The VFS refuses to change this with a remount; `reconfigure` does it.
                if cx.purpose() != Purpose::Reconfigure {
                    cx.add_sb_flags_mask(SbFlags::POSIXACL);
                }
            }
            Meaning::Device(path) => {
                // The options of a mount are parsed before anybody asks who mounts.
                if !capable(Capability::SysAdmin) {
                    return Err(EPERM);
                }
                registry::scan(path)?;
            }
            Meaning::Subvol(path) => self.subvol = Some(path.to_cstring()?),
            Meaning::SubvolId(0) => self.subvolid = Some(TreeId::FS_TREE),
            Meaning::SubvolId(id) => self.subvolid = Some(TreeId(id)),
            Meaning::Nothing => {}
        }
        Ok(())
    }

    /// Finds the file system that the mount means.
    pub(crate) fn find(&mut self, cx: &FsContext) -> Result<registry::EntryId> {
        let source = cx.source().ok_or(EINVAL)?;
        let found = registry::find(source)?;
        let id = found.id();
        self.found = Some(found);
        cx.set_sb_flags(SbFlags::NOSEC, true);
        Ok(id)
    }

    /// The path of the directory that becomes the root of the mount, without a leading slash;
    /// `None` for the root of the super block.
    pub(crate) fn subtree(&self, sb: &BtrfsSuper) -> Result<Option<CString>> {
        if let Some(path) = &self.subvol {
            return trimmed(path.to_bytes());
        }
        let fs = sb.data();
        let id = match self.subvolid {
            Some(id) => id,
            None => fs.roots().default_subvol()?,
        };
        trimmed(&fs.subvol_path(id)?)
    }

    /// Checks that `root`, which was found at `path`, is the subvolume that is meant.
    pub(crate) fn check_subtree(&self, sb: &BtrfsSuper, root: &BtrfsInode, path: &CStr) -> Result {
        let log = sb.data().log();
        let path = crate::volume::log::Bytes(path.to_bytes());
        let mut result = Ok(());
        if root.ino() != btrfs_format::types::Ino::ROOT_DIR.get() {
            log.error(format_args!("'{path}' is not a valid subvolume"));
            result = Err(EINVAL);
        }
        if let Some(id) = self.subvolid {
            if root.data().subvol().id() != id {
                log.error(format_args!("subvol '{path}' does not match subvolid {id}"));
                result = Err(EINVAL);
            }
        }
        result
    }

    /// Changes the options of the mounted file system `sb`.
    pub(crate) fn reconfigure(&mut self, sb: &BtrfsSuper, cx: &FsContext) -> Result {
        let log = sb.data().log();
        log.set_state(State::Remounting, true);
        let result = self.change_options(sb, cx);
        log.set_state(State::Remounting, false);
        result
    }

    fn change_options(&mut self, sb: &BtrfsSuper, cx: &FsContext) -> Result {
        let fs = sb.data();
        let log = fs.log();
        let old = fs.options();
        // A second mount of the file system cannot change its options.
        if cx.purpose() != Purpose::Reconfigure {
            self.options = old;
        }
        let read_only = cx.is_rdonly();
        self.options.check(
            read_only,
            fs.has_compat_ro(CompatRo::FREE_SPACE_TREE),
            fs.has_compat_ro(CompatRo::BLOCK_GROUP_TREE),
            &mut ToLog(log),
        )?;
        check_features(&fs.volume().superblock(), !read_only, log)?;
        match (sb.is_rdonly(), read_only) {
            (true, false) => fs.make_writable()?,
            (false, true) => {
                // Nobody can write any more, but what was written is only in memory.
                sb.sync_inodes_for_remount();
                fs.make_read_only()?;
            }
            _ => {}
        }
        if old.thread_pool != self.options.thread_pool {
            log.info(format_args!(
                "resize thread pool {} -> {}",
                old.thread_pool, self.options.thread_pool
            ));
        }
        let acl = cx.sb_flags().contains(SbFlags::POSIXACL);
        if acl != sb.flags().contains(SbFlags::POSIXACL) {
            sb.set_posixacl(acl);
        }
        show::announce(&self.options, Some(&old), &mut ToLog(log));
        self.options.clear_one_shot();
        fs.set_options(self.options);
        Ok(())
    }
}

/// Number of processors, for the size of thread pools.
pub(crate) fn online_cpus() -> u32 {
    kernel::cpu::nr_cpu_ids()
}

/// `path` without the slashes it begins with; `None` if nothing else is in it.
fn trimmed(path: &[u8]) -> Result<Option<CString>> {
    let start = path.iter().take_while(|byte| **byte == b'/').count();
    match path.get(start..) {
        None | Some([]) => Ok(None),
        Some(rest) => {
            let mut copy = KVec::with_capacity(rest.len() + 1, GFP_KERNEL)?;
            copy.extend_from_slice(rest, GFP_KERNEL)?;
            copy.push(0, GFP_KERNEL)?;
            let text = CStr::from_bytes_with_nul(&copy).map_err(|_| EINVAL)?;
            Ok(Some(text.to_cstring()?))
        }
    }
}
