// SPDX-License-Identifier: GPL-2.0

//! What `/proc/mounts` and the kernel log say about the options.

use core::fmt::{self, Write};

use super::data_options::DataOptions;
use super::options::{
    default_thread_pool, Algorithm, Flags, Loudness, Options, Report, DEFAULT_COMMIT_INTERVAL,
    DEFAULT_MAX_INLINE,
};

/// What the line of options says that is not an option: state of the file system.
pub(crate) struct Shown {
    /// Online processors.
    pub(crate) cpus: u32,
    /// POSIX ACLs are honoured.
    pub(crate) acl: bool,
    /// A v1 free space cache is in use.
    pub(crate) space_cache_v1: bool,
    /// There is a free space tree.
    pub(crate) free_space_tree: bool,
}

/// Flags that show as a word each, in two groups around what carries a value.
const RESCUE: [(Flags, &str); 6] = [
    (Flags::NOLOGREPLAY, "nologreplay"),
    (Flags::USEBACKUPROOT, "usebackuproot"),
    (Flags::IGNOREBADROOTS, "ignorebadroots"),
    (Flags::IGNOREDATACSUMS, "ignoredatacsums"),
    (Flags::IGNOREMETACSUMS, "ignoremetacsums"),
    (Flags::IGNORESUPERFLAGS, "ignoresuperflags"),
];

const LATE: [(Flags, &str); 6] = [
    (Flags::RESCAN_UUID_TREE, "rescan_uuid_tree"),
    (Flags::CLEAR_CACHE, "clear_cache"),
    (Flags::USER_SUBVOL_RM_ALLOWED, "user_subvol_rm_allowed"),
    (Flags::ENOSPC_DEBUG, "enospc_debug"),
    (Flags::AUTODEFRAG, "autodefrag"),
    (Flags::SKIP_BALANCE, "skip_balance"),
];

/// Writes the options, each with a comma before it, in the order users know from
/// `/proc/mounts`. `subvolid` and `subvol` are the caller's.
pub(crate) fn show(options: &Options, shown: &Shown, out: &mut dyn Write) -> fmt::Result {
    let word = |out: &mut dyn Write, flag, word| match options.has(flag) {
        true => write!(out, ",{word}"),
        false => Ok(()),
    };
    word(out, Flags::DEGRADED, "degraded")?;
    word(out, Flags::NODATASUM, "nodatasum")?;
    word(out, Flags::NODATACOW, "nodatacow")?;
    word(out, Flags::NOBARRIER, "nobarrier")?;
    if options.max_inline != DEFAULT_MAX_INLINE {
        write!(out, ",max_inline={}", options.max_inline)?;
    }
    if options.thread_pool != default_thread_pool(shown.cpus) {
        write!(out, ",thread_pool={}", options.thread_pool)?;
    }
    show_compression(&options.data(), out)?;
    word(out, Flags::NOSSD, "nossd")?;
    if options.has(Flags::SSD_SPREAD) {
        out.write_str(",ssd_spread")?;
    } else {
        word(out, Flags::SSD, "ssd")?;
    }
    word(out, Flags::NOTREELOG, "notreelog")?;
    let mut separator = ",rescue=";
    for (flag, name) in RESCUE {
        if options.has(flag) {
            write!(out, "{separator}{name}")?;
            separator = ":";
        }
    }
    word(out, Flags::FLUSHONCOMMIT, "flushoncommit")?;
    word(out, Flags::DISCARD_SYNC, "discard")?;
    word(out, Flags::DISCARD_ASYNC, "discard=async")?;
    if !shown.acl {
        out.write_str(",noacl")?;
    }
    out.write_str(match (shown.space_cache_v1, shown.free_space_tree) {
        (true, _) => ",space_cache",
        (false, true) => ",space_cache=v2",
        (false, false) => ",nospace_cache",
    })?;
    for (flag, name) in LATE {
        word(out, flag, name)?;
    }
    if options.metadata_ratio != 0 {
        write!(out, ",metadata_ratio={}", options.metadata_ratio)?;
    }
    word(out, Flags::PANIC_ON_FATAL_ERROR, "fatal_errors=panic")?;
    if options.commit_interval != DEFAULT_COMMIT_INTERVAL {
        write!(out, ",commit={}", options.commit_interval)?;
    }
    Ok(())
}

pub(super) fn show_compression(options: &DataOptions, out: &mut dyn Write) -> fmt::Result {
    if !options.has(Flags::COMPRESS) {
        return Ok(());
    }
    let option = match options.has(Flags::FORCE_COMPRESS) {
        true => "compress-force",
        false => "compress",
    };
    let algorithm = options.algorithm();
    write!(out, ",{option}={}", algorithm.name())?;
    if options.level() != 0 && algorithm != Algorithm::Lzo {
        write!(out, ":{}", options.level())?;
    }
    Ok(())
}

/// Messages for flags that were turned on.
const TURNED_ON: [(Flags, &str); 20] = [
    (Flags::NODATASUM, "setting nodatasum"),
    (Flags::DEGRADED, "allowing degraded mounts"),
    (Flags::NODATACOW, "setting nodatacow"),
    (Flags::SSD, "enabling ssd optimizations"),
    (Flags::SSD_SPREAD, "using spread ssd allocation scheme"),
    (Flags::NOBARRIER, "turning off barriers"),
    (Flags::NOTREELOG, "disabling tree log"),
    (Flags::NOLOGREPLAY, "disabling log replay at mount time"),
    (Flags::FLUSHONCOMMIT, "turning on flush-on-commit"),
    (Flags::DISCARD_SYNC, "turning on sync discard"),
    (Flags::DISCARD_ASYNC, "turning on async discard"),
    (Flags::FREE_SPACE_TREE, "enabling free space tree"),
    (Flags::SPACE_CACHE, "enabling disk space caching"),
    (Flags::CLEAR_CACHE, "force clearing of disk cache"),
    (Flags::AUTODEFRAG, "enabling auto defrag"),
    (
        Flags::USEBACKUPROOT,
        "trying to use backup root at mount time",
    ),
    (Flags::IGNOREBADROOTS, "ignoring bad roots"),
    (Flags::IGNOREDATACSUMS, "ignoring data csums"),
    (Flags::IGNOREMETACSUMS, "ignoring meta csums"),
    (
        Flags::IGNORESUPERFLAGS,
        "ignoring unknown super block flags",
    ),
];

/// Messages for flags that a remount turned off.
const TURNED_OFF: [(Flags, &str); 10] = [
    (Flags::NODATASUM, "setting datasum"),
    (Flags::NODATACOW, "setting datacow"),
    (Flags::SSD, "not using ssd optimizations"),
    (Flags::SSD_SPREAD, "not using spread ssd allocation scheme"),
    (Flags::NOBARRIER, "turning on barriers"),
    (Flags::NOTREELOG, "enabling tree log"),
    (Flags::SPACE_CACHE, "disabling disk space caching"),
    (Flags::FREE_SPACE_TREE, "disabling free space tree"),
    (Flags::AUTODEFRAG, "disabling auto defrag"),
    (Flags::COMPRESS, "use no compression"),
];

/// Tells the log what `new` changes against `old`, or against nothing at the first
/// mount.
pub(crate) fn announce(new: &Options, old: Option<&Options>, log: &mut dyn Report) {
    let had = |flag| old.is_some_and(|old| old.has(flag));
    for (flag, message) in TURNED_ON {
        if new.has(flag) && !had(flag) {
            log.report(Loudness::Info, format_args!("{message}"));
        }
    }
    for (flag, message) in TURNED_OFF {
        if !new.has(flag) && had(flag) {
            log.report(Loudness::Info, format_args!("{message}"));
        }
    }
    let force = new.has(Flags::FORCE_COMPRESS);
    let changed = old.is_none_or(|old| {
        old.algorithm != new.algorithm
            || old.level != new.level
            || (force && !old.has(Flags::FORCE_COMPRESS))
    });
    if new.has(Flags::COMPRESS) && changed {
        log.report(
            Loudness::Info,
            format_args!(
                "{} {} compression, level {}",
                if force { "force" } else { "use" },
                new.algorithm.name(),
                new.level
            ),
        );
    }
    if new.max_inline != DEFAULT_MAX_INLINE {
        log.report(
            Loudness::Info,
            format_args!("max_inline set to {}", new.max_inline),
        );
    }
}
