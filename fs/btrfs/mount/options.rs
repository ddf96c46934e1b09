// SPDX-License-Identifier: GPL-2.0

//! The mount options of a file system.
//!
//! [`Param`] is one option as user space wrote it, already split into name and
//! value; [`Options::apply`] checks it and records what it means. Options
//! influence each other (`nodatacow` turns compression off, `datasum` turns
//! `nodatacow` off), so their order counts, as `mount(8)` users know it.
//!
//! The names and rules are those of btrfs(5). Some options are of a subvolume and not of the file
//! system: [`DataOptions`].

use btrfs_format::file_extent::Compression;
use core::fmt;

use kernel::prelude::*;

use super::data_options::DataOptions;
pub(crate) use super::flags::Flags;

/// Bytes of file data that go inline at most, unless `max_inline=` says otherwise.
pub(crate) const DEFAULT_MAX_INLINE: u64 = 2048;
/// Seconds between two periodic commits, unless `commit=` says otherwise.
pub(crate) const DEFAULT_COMMIT_INTERVAL: u32 = 30;
/// From here on `commit=` is worth a warning, in seconds.
const LONG_COMMIT_INTERVAL: u32 = 300;

/// How new data is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Algorithm {
    /// DEFLATE; levels 1 to 9.
    Zlib,
    /// LZO1X; without levels.
    Lzo,
    /// Zstandard; levels -15 to 15.
    Zstd,
}

impl Param<'_> {
    /// Whether it is about what is of a subvolume.
    pub(crate) fn is_of_subvolume(&self) -> bool {
        matches!(
            self,
            Param::AutoDefrag(_) | Param::Compress { .. } | Param::DataCow(_) | Param::DataSum(_)
        )
    }
}

impl Algorithm {
    /// How it is written in file extents.
    pub(crate) fn compression(self) -> Compression {
        match self {
            Algorithm::Zlib => Compression::Zlib,
            Algorithm::Lzo => Compression::Lzo,
            Algorithm::Zstd => Compression::Zstd,
        }
    }

    /// Its name in options, properties and messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Algorithm::Zlib => "zlib",
            Algorithm::Lzo => "lzo",
            Algorithm::Zstd => "zstd",
        }
    }

    /// The level to use where `level` was asked for: 0 asks for the default, and
    /// what is out of bounds becomes the nearest level there is.
    pub(crate) fn level(self, level: i32) -> i32 {
        let (min, max, default) = match self {
            Algorithm::Zlib => (1, 9, 3),
            Algorithm::Lzo => (1, 1, 1),
            Algorithm::Zstd => (-15, 15, 3),
        };
        if level == 0 {
            default
        } else {
            level.clamp(min, max)
        }
    }
}

/// The argument of `rescue=`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rescue {
    UseBackupRoot,
    NoLogReplay,
    IgnoreBadRoots,
    IgnoreDataCsums,
    IgnoreMetaCsums,
    IgnoreSuperFlags,
    All,
}

impl Rescue {
    fn flags(self) -> Flags {
        match self {
            Rescue::UseBackupRoot => Flags::USEBACKUPROOT,
            Rescue::NoLogReplay => Flags::NOLOGREPLAY,
            Rescue::IgnoreBadRoots => Flags::IGNOREBADROOTS,
            Rescue::IgnoreDataCsums => Flags::IGNOREDATACSUMS,
            Rescue::IgnoreMetaCsums => Flags::IGNOREMETACSUMS,
            Rescue::IgnoreSuperFlags => Flags::IGNORESUPERFLAGS,
            Rescue::All => {
                Flags::USEBACKUPROOT
                    | Flags::NOLOGREPLAY
                    | Flags::IGNOREBADROOTS
                    | Flags::IGNOREDATACSUMS
                    | Flags::IGNOREMETACSUMS
                    | Flags::IGNORESUPERFLAGS
            }
        }
    }
}

/// One mount option with its value. A `bool` is true unless the option was
/// written with `no`.
#[derive(Clone, Copy)]
pub(crate) enum Param<'a> {
    AutoDefrag(bool),
    Barrier(bool),
    ClearCache,
    Commit(u32),
    /// `compress` or `compress-force`, with what stood after `=`.
    Compress {
        force: bool,
        spec: Option<&'a str>,
    },
    DataCow(bool),
    DataSum(bool),
    Degraded,
    /// `discard` (true) or `nodiscard`.
    Discard(bool),
    DiscardAsync,
    EnospcDebug(bool),
    /// `fatal_errors=panic` (true) or `bug`.
    FatalErrorsPanic(bool),
    FlushOnCommit(bool),
    MaxInline(&'a str),
    MetadataRatio(u32),
    NoRecovery,
    RescanUuidTree,
    Rescue(Rescue),
    SkipBalance,
    /// `space_cache`, `space_cache=v1` (true) or `nospace_cache`.
    SpaceCacheV1(bool),
    SpaceCacheV2,
    Ssd(bool),
    SsdSpread(bool),
    ThreadPool(u32),
    TreeLog(bool),
    UserSubvolRmAllowed,
}

/// How loud a message about an option is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loudness {
    Info,
    Warning,
    Error,
}

/// Where messages about options go: the kernel log, or a test.
pub(crate) trait Report {
    fn report(&mut self, loudness: Loudness, message: fmt::Arguments<'_>);
}

/// All options of one mount.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    /// The on/off ones.
    pub(crate) flags: Flags,
    /// How to compress; means nothing without [`Flags::COMPRESS`].
    pub(crate) algorithm: Algorithm,
    /// Level for `algorithm`.
    pub(crate) level: i32,
    /// Largest inline extent, bytes.
    pub(crate) max_inline: u64,
    /// Seconds between periodic commits.
    pub(crate) commit_interval: u32,
    /// Allocate a metadata chunk after this many data chunks; 0 is off.
    pub(crate) metadata_ratio: u32,
    /// Largest number of workers per queue.
    pub(crate) thread_pool: u32,
}

impl Options {
    /// The options of a mount that names none, on a machine with `cpus` online
    /// processors.
    pub(crate) fn new(cpus: u32) -> Self {
        Self {
            flags: Flags::default(),
            algorithm: Algorithm::Zlib,
            level: 0,
            max_inline: DEFAULT_MAX_INLINE,
            commit_interval: DEFAULT_COMMIT_INTERVAL,
            metadata_ratio: 0,
            thread_pool: default_thread_pool(cpus),
        }
    }

    /// Whether all of `flags` are set.
    pub(crate) fn has(&self, flags: Flags) -> bool {
        self.flags.has(flags)
    }

    fn put(&mut self, flag: Flags, on: bool) {
        if on {
            self.flags.set(flag);
        } else {
            self.flags.clear(flag);
        }
    }

    /// Records `param`.
    ///
    /// Fails with `EINVAL` for a value that is not allowed, and `EOPNOTSUPP` for what is not there
    /// yet, after saying so to `log`.
    pub(crate) fn apply(&mut self, param: Param<'_>, log: &mut dyn Report) -> Result {
        match param {
            Param::AutoDefrag(on) => self.put(Flags::AUTODEFRAG, on),
            Param::Barrier(on) => self.put(Flags::NOBARRIER, !on),
            Param::ClearCache => self.flags.set(Flags::CLEAR_CACHE),
            Param::Commit(seconds) => self.apply_commit(seconds, log),
            Param::Compress { force, spec } => return self.apply_compress(force, spec, log),
            Param::DataCow(true) => self.flags.clear(Flags::NODATACOW),
            Param::DataCow(false) => {
                self.flags.clear(Flags::COMPRESS | Flags::FORCE_COMPRESS);
                self.flags.set(Flags::NODATACOW | Flags::NODATASUM);
            }
            Param::DataSum(true) => self.flags.clear(Flags::NODATACOW | Flags::NODATASUM),
            Param::DataSum(false) => self.flags.set(Flags::NODATASUM),
            Param::Degraded => self.flags.set(Flags::DEGRADED),
            Param::Discard(_) | Param::DiscardAsync => self.apply_discard(param),
            Param::EnospcDebug(on) => self.put(Flags::ENOSPC_DEBUG, on),
            Param::FatalErrorsPanic(on) => self.put(Flags::PANIC_ON_FATAL_ERROR, on),
            Param::FlushOnCommit(on) => self.put(Flags::FLUSHONCOMMIT, on),
            Param::MaxInline(size) => self.max_inline = parse_size(size),
            Param::MetadataRatio(ratio) => self.metadata_ratio = ratio,
            Param::NoRecovery => {
                log.report(
                    Loudness::Info,
                    format_args!(
                        "'norecovery' is for compatibility only, \
                         recommended to use 'rescue=nologreplay'"
                    ),
                );
                self.flags.set(Flags::NOLOGREPLAY);
            }
            Param::RescanUuidTree => self.flags.set(Flags::RESCAN_UUID_TREE),
            Param::Rescue(rescue) => self.flags.set(rescue.flags()),
            Param::SkipBalance => self.flags.set(Flags::SKIP_BALANCE),
            Param::SpaceCacheV1(_) | Param::SpaceCacheV2 => self.apply_space_cache(param, log),
            Param::Ssd(_) | Param::SsdSpread(_) => self.apply_ssd(param),
            Param::ThreadPool(0) => {
                log.report(
                    Loudness::Error,
                    format_args!("invalid value 0 for thread_pool"),
                );
                return Err(EINVAL);
            }
            Param::ThreadPool(size) => self.thread_pool = size,
            Param::TreeLog(on) => self.put(Flags::NOTREELOG, !on),
            Param::UserSubvolRmAllowed => self.flags.set(Flags::USER_SUBVOL_RM_ALLOWED),
        }
        Ok(())
    }

    fn apply_commit(&mut self, seconds: u32, log: &mut dyn Report) {
        if seconds > LONG_COMMIT_INTERVAL {
            log.report(
                Loudness::Warning,
                format_args!("excessive commit interval {seconds}, use with care"),
            );
        }
        self.commit_interval = match seconds {
            0 => DEFAULT_COMMIT_INTERVAL,
            seconds => seconds,
        };
    }

    fn apply_discard(&mut self, param: Param<'_>) {
        let all = Flags::DISCARD_SYNC | Flags::DISCARD_ASYNC | Flags::NODISCARD;
        self.flags.clear(all);
        self.flags.set(match param {
            Param::DiscardAsync => Flags::DISCARD_ASYNC,
            Param::Discard(true) => Flags::DISCARD_SYNC,
            _ => Flags::NODISCARD,
        });
    }

    fn apply_space_cache(&mut self, param: Param<'_>, log: &mut dyn Report) {
        self.flags.clear(Flags::SPACE_CACHE);
        if let Param::SpaceCacheV2 = param {
            self.flags.set(Flags::FREE_SPACE_TREE);
            return;
        }
        if let Param::SpaceCacheV1(true) = param {
            log.report(
                Loudness::Warning,
                format_args!("v1 space cache is deprecated, falling back to no space cache"),
            );
        }
        self.flags.clear(Flags::FREE_SPACE_TREE);
        self.flags.set(Flags::NOSPACECACHE);
    }

    fn apply_ssd(&mut self, param: Param<'_>) {
        match param {
            Param::Ssd(true) => {
                self.flags.clear(Flags::NOSSD);
                self.flags.set(Flags::SSD);
            }
            Param::SsdSpread(true) => {
                self.flags.clear(Flags::NOSSD);
                self.flags.set(Flags::SSD | Flags::SSD_SPREAD);
            }
            Param::Ssd(false) => {
                self.flags.clear(Flags::SSD | Flags::SSD_SPREAD);
                self.flags.set(Flags::NOSSD);
            }
            _ => self.flags.clear(Flags::SSD_SPREAD),
        }
    }

    fn apply_compress(&mut self, force: bool, spec: Option<&str>, log: &mut dyn Report) -> Result {
        // `compress` after `compress-force` takes the force away.
        self.put(Flags::FORCE_COMPRESS, force);
        let (algorithm, level) = match spec.map_or(Ok(Some((Algorithm::Zlib, 0))), parse_spec) {
            Ok(Some(wanted)) => wanted,
            Ok(None) => {
                self.level = 0;
                self.flags.clear(Flags::COMPRESS | Flags::FORCE_COMPRESS);
                return Ok(());
            }
            Err(e) => {
                log.report(
                    Loudness::Error,
                    format_args!(
                        "failed to parse compression option '{}'",
                        spec.unwrap_or_default()
                    ),
                );
                return Err(e);
            }
        };
        if algorithm == Algorithm::Lzo && level != 0 {
            log.report(
                Loudness::Warning,
                format_args!("Compression level ignored for LZO"),
            );
        }
        self.algorithm = algorithm;
        self.level = algorithm.level(level);
        self.flags.set(Flags::COMPRESS);
        self.flags.clear(Flags::NODATACOW | Flags::NODATASUM);
        Ok(())
    }

    /// Those that are of the subvolume.
    pub(crate) fn data(&self) -> DataOptions {
        DataOptions::new(self.flags, self.algorithm, self.level)
    }

    /// With what is of the subvolume replaced.
    pub(crate) fn with_data(mut self, data: DataOptions) -> Self {
        self.flags.clear(DataOptions::FLAGS);
        self.flags.set(data.flags());
        self.algorithm = data.algorithm();
        self.level = data.level();
        self
    }

    /// Forgets the options that only mean something while mounting.
    pub(crate) fn clear_one_shot(&mut self) {
        self.flags.clear(Flags::CLEAR_CACHE | Flags::NOSPACECACHE);
    }

    /// Takes over from the file system which free space cache it has, where the
    /// options do not say. `tree`: it has a free space tree; `v1`: it has a v1
    /// cache.
    pub(crate) fn adopt_space_cache(&mut self, tree: bool, v1: bool) {
        let said = [
            Flags::FREE_SPACE_TREE,
            Flags::SPACE_CACHE,
            Flags::NOSPACECACHE,
        ];
        if said.iter().any(|flag| self.has(*flag)) {
            return;
        }
        if tree {
            self.flags.set(Flags::FREE_SPACE_TREE);
        } else if v1 {
            self.flags.set(Flags::SPACE_CACHE);
        }
    }

    /// Whether the options want a free space tree where there is one, and only there.
    pub(crate) fn keeps_space_as(&self, tree: bool) -> bool {
        self.has(Flags::FREE_SPACE_TREE) == tree
    }

    /// Makes the options want what there is.
    pub(crate) fn keep_space_as(&mut self, tree: bool, v1: bool) {
        self.put(Flags::FREE_SPACE_TREE, tree && !v1);
        self.put(Flags::SPACE_CACHE, v1);
    }

    /// Turns on what the devices make reasonable, unless it was decided.
    pub(crate) fn adopt_devices(&mut self, rotating: bool, discardable: bool, zoned: bool) {
        if !self.has(Flags::NOSSD) && !rotating {
            self.flags.set(Flags::SSD);
        }
        let said = [Flags::DISCARD_SYNC, Flags::DISCARD_ASYNC, Flags::NODISCARD];
        if discardable && !zoned && !said.iter().any(|flag| self.has(*flag)) {
            self.flags.set(Flags::DISCARD_ASYNC);
        }
    }

    /// Checks the options as a whole against the file system's features.
    ///
    /// Fails with `EINVAL` after saying what is wrong.
    pub(crate) fn check(
        &self,
        read_only: bool,
        free_space_tree: bool,
        block_group_tree: bool,
        log: &mut dyn Report,
    ) -> Result {
        let mut good = true;
        if !read_only {
            for (flag, name) in READ_ONLY {
                if self.has(flag) {
                    log.report(
                        Loudness::Error,
                        format_args!("{name} must be used with ro mount option"),
                    );
                    good = false;
                    break;
                }
            }
        }
        let wanted = self.has(Flags::FREE_SPACE_TREE);
        if free_space_tree && !wanted && !self.has(Flags::CLEAR_CACHE) {
            log.report(
                Loudness::Error,
                format_args!("cannot disable free-space-tree"),
            );
            good = false;
        }
        if block_group_tree && !wanted {
            log.report(
                Loudness::Error,
                format_args!("cannot disable free-space-tree with block-group-tree feature"),
            );
            good = false;
        }
        if good {
            Ok(())
        } else {
            Err(EINVAL)
        }
    }
}

/// The options that only a read-only mount may have, in the order of the check.
const READ_ONLY: [(Flags, &str); 6] = [
    (Flags::USEBACKUPROOT, "usebackuproot"),
    (Flags::NOLOGREPLAY, "nologreplay"),
    (Flags::IGNOREBADROOTS, "ignorebadroots"),
    (Flags::IGNOREDATACSUMS, "ignoredatacsums"),
    (Flags::IGNOREMETACSUMS, "ignoremetacsums"),
    (Flags::IGNORESUPERFLAGS, "ignoresuperflags"),
];

/// Workers per queue where `thread_pool=` does not say.
pub(crate) fn default_thread_pool(cpus: u32) -> u32 {
    cpus.saturating_add(2).min(8)
}

/// Reads `zstd:3` and the like; `None` is `no` or `none`, level 0 is "not said".
fn parse_spec(spec: &str) -> Result<Option<(Algorithm, i32)>> {
    let (name, level) = match spec.split_once(':') {
        Some((name, level)) => (name, Some(level)),
        None => (spec, None),
    };
    let algorithm = match (name, level) {
        ("zlib", _) => Algorithm::Zlib,
        ("lzo", _) => Algorithm::Lzo,
        ("zstd", _) => Algorithm::Zstd,
        ("no" | "none", None) => return Ok(None),
        _ => return Err(EINVAL),
    };
    let level = match level {
        Some(level) => level.parse().map_err(|_| EINVAL)?,
        None => 0,
    };
    Ok(Some((algorithm, level)))
}

/// Reads a number with an optional suffix `K` to `E`; decimal, octal (`0...`) or
/// hexadecimal (`0x...`). What does not look like one counts as 0, and what stands
/// behind it is ignored: the option has always been that lenient.
pub(crate) fn parse_size(text: &str) -> u64 {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (text.get(2..).unwrap_or_default(), 16),
        [b'0', ..] => (text, 8),
        _ => (text, 10),
    };
    let mut value = 0u64;
    let mut seen = false;
    let mut rest = digits.chars();
    let mut suffix = None;
    for c in rest.by_ref() {
        match c.to_digit(radix) {
            Some(digit) => {
                value = value
                    .wrapping_mul(u64::from(radix))
                    .wrapping_add(u64::from(digit));
                seen = true;
            }
            None => {
                suffix = Some(c);
                break;
            }
        }
    }
    let shift = match suffix.map(|c| c.to_ascii_uppercase()) {
        Some('K') => 10,
        Some('M') => 20,
        Some('G') => 30,
        Some('T') => 40,
        Some('P') => 50,
        Some('E') => 60,
        _ => 0,
    };
    if seen && value.leading_zeros() < shift && value != 0 {
        return u64::MAX;
    }
    value << shift
}
