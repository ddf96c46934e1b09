// SPDX-License-Identifier: GPL-2.0

//! A mount or remount under way.

use btrfs_format::superblock::CompatRo;
use btrfs_format::types::TreeId;
use core::fmt;
use kernel::prelude::*;
use kernel::str::CString;
use kfs::fs::{capable, Capability, FsContext, Param as Given, Purpose, SbFlags};
use kfs::log::Level;

use super::data_options::DataOptions;
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
    /// They say something of the subvolume.
    named: bool,
    /// This mount opened the file system.
    first: bool,
    /// Path of the subvolume to mount.
    subvol: Option<CString>,
    /// Id of the subvolume to mount.
    subvolid: Option<TreeId>,
    /// The devices, once they are known.
    found: Option<Found>,
}

/// Sends what is said about options to the kernel log, before there is a file system; errors go to who
/// mounts as well.
struct ToGeneral<'a>(&'a FsContext);

impl Report for ToGeneral<'_> {
    fn report(&mut self, loudness: Loudness, message: fmt::Arguments<'_>) {
        let level = match loudness {
            Loudness::Info => Level::Info,
            Loudness::Warning => Level::Warning,
            Loudness::Error => Level::Error,
        };
        print_general(level, message);
        if loudness == Loudness::Error && self.0.has_reader() {
            self.0.error(message);
        }
    }
}

impl MountContext {
    /// Starts with the defaults or, for a remount, with the options of the mount at `root`.
    pub(crate) fn new(cx: &FsContext, root: Option<&BtrfsInode>) -> Self {
        let options = match root.map(|root| root.data()) {
            Some(root) if cx.purpose() == Purpose::Reconfigure => {
                root.fs().options().with_data(root.subvol().data_options())
            }
            _ => Options::new(online_cpus()),
        };
        cx.set_sb_flags(SbFlags::POSIXACL | SbFlags::I_VERSION, true);
        Self {
            options,
            named: false,
            first: false,
            subvol: None,
            subvolid: None,
            found: None,
        }
    }

    /// Takes in one option.
    pub(crate) fn parse(&mut self, cx: &FsContext, given: &Given<'_>) -> Result {
        match spec::meaning(given)? {
            Meaning::Option(param) => {
                self.named |= param.is_of_subvolume();
                return self.options.apply(param, &mut ToGeneral(cx));
            }
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

    /// The devices that were found, for who opens the file system.
    pub(crate) fn take_found(&mut self) -> Option<Found> {
        self.first = true;
        self.found.take()
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

    /// The mount succeeds, with the root directory `root`: it states the options of that subvolume,
    /// unless it says nothing of them and another mount did.
    pub(crate) fn attach(&self, sb: &BtrfsSuper, root: &BtrfsInode) -> Result {
        let fs = sb.data();
        let subvol = root.data().subvol();
        let (own, new) = (subvol.own_options(), self.options.data());
        if !self.named && own.is_some() {
            return Ok(());
        }
        // What the first mount says was logged when the file system was opened.
        if !self.first && new != own.unwrap_or(DataOptions::PLAIN) {
            let id = subvol.id();
            fs.log().info(format_args!("subvolume {id}: {new}"));
        }
        fs.subvols().state_options(subvol, new)
    }

    /// Changes the options of the mounted file system `sb`, and of the subvolume of `root`, if there is
    /// a mount that they were given for.
    pub(crate) fn reconfigure(
        &mut self,
        sb: &BtrfsSuper,
        root: Option<&BtrfsInode>,
        cx: &FsContext,
    ) -> Result {
        let log = sb.data().log();
        log.set_state(State::Remounting, true);
        let result = self.change_options(sb, root, cx);
        log.set_state(State::Remounting, false);
        result
    }

    fn change_options(&self, sb: &BtrfsSuper, root: Option<&BtrfsInode>, cx: &FsContext) -> Result {
        let fs = sb.data();
        let log = fs.log();
        let subvol = root.map(|root| root.data().subvol());
        let data = subvol.map_or(DataOptions::PLAIN, |subvol| subvol.data_options());
        let old = fs.options().with_data(data);
        // A second mount of the file system cannot change the file system's options.
        let mut new = match subvol {
            Some(_) => self.options,
            None => old,
        };
        let read_only = cx.is_rdonly();
        let tree = fs.has_compat_ro(CompatRo::FREE_SPACE_TREE);
        new.check(
            read_only,
            tree,
            fs.has_compat_ro(CompatRo::BLOCK_GROUP_TREE),
            &mut ToLog(log),
        )?;
        check_features(&fs.volume().superblock(), !read_only, log)?;
        let becomes_writable = sb.is_rdonly() && !read_only;
        if !becomes_writable && !new.keeps_space_as(tree) {
            log.warn(format_args!(
                "remount supports changing free space tree only from RO to RW"
            ));
            new.keep_space_as(tree, fs.has_space_cache_v1());
        }
        match (sb.is_rdonly(), read_only) {
            (true, false) => fs.make_writable(&new)?,
            (false, true) => {
                // Nobody can write any more, but what was written is only in memory.
                sb.sync_inodes_for_remount();
                fs.make_read_only()?;
            }
            _ => {}
        }
        if old.thread_pool != new.thread_pool {
            log.info(format_args!(
                "resize thread pool {} -> {}",
                old.thread_pool, new.thread_pool
            ));
        }
        let acl = cx.sb_flags().contains(SbFlags::POSIXACL);
        if acl != sb.flags().contains(SbFlags::POSIXACL) {
            sb.set_posixacl(acl);
        }
        show::announce(&new, Some(&old), &mut ToLog(log));
        new.clear_one_shot();
        fs.set_options(new);
        match subvol {
            Some(subvol) if self.named => fs.subvols().state_options(subvol, new.data()),
            _ => Ok(()),
        }
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
