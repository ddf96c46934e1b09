// SPDX-License-Identifier: GPL-2.0

//! The list of mount options as the VFS wants it, and what each becomes.

use kernel::prelude::*;
use kfs::fs::{EnumEntry, Param as Given, ParamSpec, Params};

use super::options::{Param, Rescue};

/// The numbers of the options in [`PARAMS`].
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Opt {
    Acl,
    AutoDefrag,
    Barrier,
    ClearCache,
    Commit,
    Compress,
    CompressForce,
    DataCow,
    DataSum,
    Degraded,
    Device,
    Discard,
    DiscardMode,
    EnospcDebug,
    FatalErrors,
    FlushOnCommit,
    MaxInline,
    MetadataRatio,
    NoRecovery,
    Rescue,
    RescanUuidTree,
    SkipBalance,
    SpaceCache,
    SpaceCacheVersion,
    Ssd,
    SsdSpread,
    Subvol,
    SubvolEmpty,
    SubvolId,
    ThreadPool,
    TreeLog,
    UserSubvolRmAllowed,
}

impl Opt {
    const ALL: [Opt; 32] = [
        Opt::Acl,
        Opt::AutoDefrag,
        Opt::Barrier,
        Opt::ClearCache,
        Opt::Commit,
        Opt::Compress,
        Opt::CompressForce,
        Opt::DataCow,
        Opt::DataSum,
        Opt::Degraded,
        Opt::Device,
        Opt::Discard,
        Opt::DiscardMode,
        Opt::EnospcDebug,
        Opt::FatalErrors,
        Opt::FlushOnCommit,
        Opt::MaxInline,
        Opt::MetadataRatio,
        Opt::NoRecovery,
        Opt::Rescue,
        Opt::RescanUuidTree,
        Opt::SkipBalance,
        Opt::SpaceCache,
        Opt::SpaceCacheVersion,
        Opt::Ssd,
        Opt::SsdSpread,
        Opt::Subvol,
        Opt::SubvolEmpty,
        Opt::SubvolId,
        Opt::ThreadPool,
        Opt::TreeLog,
        Opt::UserSubvolRmAllowed,
    ];
}

/// Values of the options whose value is a word.
const SYNC: i32 = 0;
const ASYNC: i32 = 1;
const PANIC: i32 = 0;
const BUG: i32 = 1;
const V1: i32 = 1;
const V2: i32 = 2;

const DISCARD: &[EnumEntry] = &[
    EnumEntry::new(c"sync", SYNC),
    EnumEntry::new(c"async", ASYNC),
    EnumEntry::END,
];
const FATAL_ERRORS: &[EnumEntry] = &[
    EnumEntry::new(c"panic", PANIC),
    EnumEntry::new(c"bug", BUG),
    EnumEntry::END,
];
const SPACE_CACHE: &[EnumEntry] = &[
    EnumEntry::new(c"v1", V1),
    EnumEntry::new(c"v2", V2),
    EnumEntry::END,
];
const RESCUES: [Rescue; 7] = [
    Rescue::UseBackupRoot,
    Rescue::NoLogReplay,
    Rescue::IgnoreBadRoots,
    Rescue::IgnoreDataCsums,
    Rescue::IgnoreMetaCsums,
    Rescue::IgnoreSuperFlags,
    Rescue::All,
];
const RESCUE: &[EnumEntry] = &[
    EnumEntry::new(c"usebackuproot", 0),
    EnumEntry::new(c"nologreplay", 1),
    EnumEntry::new(c"ignorebadroots", 2),
    EnumEntry::new(c"ibadroots", 2),
    EnumEntry::new(c"ignoredatacsums", 3),
    EnumEntry::new(c"idatacsums", 3),
    EnumEntry::new(c"ignoremetacsums", 4),
    EnumEntry::new(c"imetacsums", 4),
    EnumEntry::new(c"ignoresuperflags", 5),
    EnumEntry::new(c"isuperflags", 5),
    EnumEntry::new(c"all", 6),
    EnumEntry::END,
];

/// All options of btrfs(5) but those of debugging builds.
pub(crate) const PARAMS: Params = Params::new(&[
    ParamSpec::flag_no(c"acl", Opt::Acl as u8),
    ParamSpec::flag_no(c"autodefrag", Opt::AutoDefrag as u8),
    ParamSpec::flag_no(c"barrier", Opt::Barrier as u8),
    ParamSpec::flag(c"clear_cache", Opt::ClearCache as u8),
    ParamSpec::u32(c"commit", Opt::Commit as u8),
    ParamSpec::flag(c"compress", Opt::Compress as u8),
    ParamSpec::string(c"compress", Opt::Compress as u8),
    ParamSpec::flag(c"compress-force", Opt::CompressForce as u8),
    ParamSpec::string(c"compress-force", Opt::CompressForce as u8),
    ParamSpec::flag_no(c"datacow", Opt::DataCow as u8),
    ParamSpec::flag_no(c"datasum", Opt::DataSum as u8),
    ParamSpec::flag(c"degraded", Opt::Degraded as u8),
    ParamSpec::string(c"device", Opt::Device as u8),
    ParamSpec::flag_no(c"discard", Opt::Discard as u8),
    ParamSpec::enumeration(c"discard", Opt::DiscardMode as u8, DISCARD),
    ParamSpec::enumeration(c"fatal_errors", Opt::FatalErrors as u8, FATAL_ERRORS),
    ParamSpec::flag_no(c"flushoncommit", Opt::FlushOnCommit as u8),
    ParamSpec::string(c"max_inline", Opt::MaxInline as u8),
    ParamSpec::u32(c"metadata_ratio", Opt::MetadataRatio as u8),
    ParamSpec::flag(c"rescan_uuid_tree", Opt::RescanUuidTree as u8),
    ParamSpec::flag(c"skip_balance", Opt::SkipBalance as u8),
    ParamSpec::flag_no(c"space_cache", Opt::SpaceCache as u8),
    ParamSpec::enumeration(c"space_cache", Opt::SpaceCacheVersion as u8, SPACE_CACHE),
    ParamSpec::flag_no(c"ssd", Opt::Ssd as u8),
    ParamSpec::flag_no(c"ssd_spread", Opt::SsdSpread as u8),
    ParamSpec::string(c"subvol", Opt::Subvol as u8),
    // Some scripts pass `subvol=` with nothing behind it, and it has always worked.
    ParamSpec::flag(c"subvol=", Opt::SubvolEmpty as u8),
    ParamSpec::u64(c"subvolid", Opt::SubvolId as u8),
    ParamSpec::u32(c"thread_pool", Opt::ThreadPool as u8),
    ParamSpec::flag_no(c"treelog", Opt::TreeLog as u8),
    ParamSpec::flag(c"user_subvol_rm_allowed", Opt::UserSubvolRmAllowed as u8),
    ParamSpec::enumeration(c"rescue", Opt::Rescue as u8, RESCUE),
    ParamSpec::flag(c"norecovery", Opt::NoRecovery as u8),
    ParamSpec::flag_no(c"enospc_debug", Opt::EnospcDebug as u8),
    ParamSpec::END,
]);

/// What an option means.
pub(crate) enum Meaning<'a> {
    /// It belongs to the options of the file system.
    Option(Param<'a>),
    /// POSIX ACLs on or off.
    Acl(bool),
    /// Another device of the file system.
    Device(&'a CStr),
    /// The path of the subvolume to mount.
    Subvol(&'a CStr),
    /// The id of the subvolume to mount; 0 is the top level.
    SubvolId(u64),
    /// Nothing.
    Nothing,
}

/// Translates what the VFS parsed. `EINVAL` for text that is not UTF-8.
pub(crate) fn meaning<'a>(given: &Given<'a>) -> Result<Meaning<'a>> {
    let opt = Opt::ALL
        .into_iter()
        .find(|opt| *opt as u8 == given.opt())
        .ok_or(EINVAL)?;
    let on = !given.negated();
    let text = || given.string().and_then(|text| text.to_str().ok());
    Ok(Meaning::Option(match opt {
        Opt::Acl => return Ok(Meaning::Acl(on)),
        Opt::Device => return Ok(Meaning::Device(given.string().ok_or(EINVAL)?)),
        Opt::Subvol => return Ok(Meaning::Subvol(given.string().ok_or(EINVAL)?)),
        Opt::SubvolEmpty => return Ok(Meaning::Nothing),
        Opt::SubvolId => return Ok(Meaning::SubvolId(given.u64())),
        Opt::AutoDefrag => Param::AutoDefrag(on),
        Opt::Barrier => Param::Barrier(on),
        Opt::ClearCache => Param::ClearCache,
        Opt::Commit => Param::Commit(given.u32()),
        Opt::Compress | Opt::CompressForce => Param::Compress {
            force: opt == Opt::CompressForce,
            spec: match given.string() {
                Some(spec) => Some(spec.to_str().map_err(|_| EINVAL)?),
                None => None,
            },
        },
        Opt::DataCow => Param::DataCow(on),
        Opt::DataSum => Param::DataSum(on),
        Opt::Degraded => Param::Degraded,
        Opt::Discard => Param::Discard(on),
        Opt::DiscardMode if given.enumeration() == ASYNC => Param::DiscardAsync,
        Opt::DiscardMode => Param::Discard(true),
        Opt::EnospcDebug => Param::EnospcDebug(on),
        Opt::FatalErrors => Param::FatalErrorsPanic(given.enumeration() == PANIC),
        Opt::FlushOnCommit => Param::FlushOnCommit(on),
        Opt::MaxInline => Param::MaxInline(text().ok_or(EINVAL)?),
        Opt::MetadataRatio => Param::MetadataRatio(given.u32()),
        Opt::NoRecovery => Param::NoRecovery,
        Opt::Rescue => {
            let index = usize::try_from(given.enumeration()).map_err(|_| EINVAL)?;
            Param::Rescue(*RESCUES.get(index).ok_or(EINVAL)?)
        }
        Opt::RescanUuidTree => Param::RescanUuidTree,
        Opt::SkipBalance => Param::SkipBalance,
        Opt::SpaceCache => Param::SpaceCacheV1(on),
        Opt::SpaceCacheVersion if given.enumeration() == V2 => Param::SpaceCacheV2,
        Opt::SpaceCacheVersion => Param::SpaceCacheV1(true),
        Opt::Ssd => Param::Ssd(on),
        Opt::SsdSpread => Param::SsdSpread(on),
        Opt::ThreadPool => Param::ThreadPool(given.u32()),
        Opt::TreeLog => Param::TreeLog(on),
        Opt::UserSubvolRmAllowed => Param::UserSubvolRmAllowed,
    }))
}
