// SPDX-License-Identifier: GPL-2.0

//! The options: what they mean together, and how they are shown.

use core::fmt::{self, Write};
use kernel::prelude::*;

use super::options::{parse_size, Flags, Loudness, Options, Param, Report, Rescue};
use super::show::{self, Shown};

/// Counts what is reported.
#[derive(Default)]
struct Lines {
    warnings: u32,
    errors: u32,
}

impl Report for Lines {
    fn report(&mut self, loudness: Loudness, _message: fmt::Arguments<'_>) {
        match loudness {
            Loudness::Info => {}
            Loudness::Warning => self.warnings += 1,
            Loudness::Error => self.errors += 1,
        }
    }
}

/// Text in memory.
struct Text(KVec<u8>);

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0
            .extend_from_slice(text.as_bytes(), GFP_KERNEL)
            .map_err(|_| fmt::Error)
    }
}

fn options(params: &[Param<'_>]) -> Result<Options> {
    let mut options = Options::new(2);
    for param in params {
        options.apply(*param, &mut Lines::default())?;
    }
    Ok(options)
}

/// Whether the options after `params` are shown as `wanted`.
fn shows(params: &[Param<'_>], wanted: &str) -> bool {
    let Ok(options) = options(params) else {
        return false;
    };
    let shown = Shown {
        cpus: 2,
        acl: true,
        space_cache_v1: false,
        free_space_tree: true,
    };
    let mut text = Text(KVec::new());
    show::show(&options, &shown, &mut text).is_ok() && text.0.as_slice() == wanted.as_bytes()
}

fn compress(spec: &str) -> Param<'_> {
    Param::Compress {
        force: false,
        spec: Some(spec),
    }
}

#[kernel::macros::kunit_tests(btrfs_options)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let cases = [
            ("0", 0),
            ("4096", 4096),
            ("4k", 4096),
            ("0x100", 256),
            ("010", 8),
            ("1Mfoo", 1 << 20),
            ("foo", 0),
            ("k", 0),
            ("99999E", u64::MAX),
        ];
        for (text, size) in cases {
            assert_eq!(parse_size(text), size);
        }
    }

    #[test]
    fn later_options_override() {
        let none = ",space_cache=v2";
        assert!(shows(&[], none));
        assert!(shows(&[compress("zstd"), compress("none")], none));
        assert!(shows(&[Param::DataCow(false), Param::DataSum(true)], none));
        assert!(shows(
            &[compress("lzo"), Param::DataCow(false)],
            ",nodatasum,nodatacow,space_cache=v2"
        ));
        assert!(shows(
            &[Param::DataCow(false), compress("lzo")],
            ",compress=lzo,space_cache=v2"
        ));
        assert!(shows(
            &[Param::SsdSpread(true), Param::Ssd(false)],
            ",nossd,space_cache=v2"
        ));
        let force = Param::Compress {
            force: true,
            spec: Some("zstd:99"),
        };
        assert!(shows(&[force], ",compress-force=zstd:15,space_cache=v2"));
        assert!(shows(
            &[force, compress("zlib")],
            ",compress=zlib:3,space_cache=v2"
        ));
    }

    #[test]
    fn rescue_is_one_word() {
        let line = ",rescue=nologreplay:usebackuproot:ignorebadroots:ignoredatacsums:\
                    ignoremetacsums:ignoresuperflags,space_cache=v2";
        assert!(shows(&[Param::Rescue(Rescue::All)], line));
    }

    #[test]
    fn bad_values_are_refused() {
        for param in [
            compress("zlib:abc"),
            compress("zlibx"),
            compress("no:1"),
            compress(""),
            Param::ThreadPool(0),
        ] {
            let mut lines = Lines::default();
            let result = Options::new(2).apply(param, &mut lines);
            assert!(result == Err(EINVAL) && lines.errors == 1);
        }
        let mut lines = Lines::default();
        assert!(Options::new(2)
            .apply(Param::Commit(301), &mut lines)
            .is_ok());
        assert_eq!(lines.warnings, 1);
    }

    #[test]
    fn some_are_of_the_subvolume() -> Result {
        let of_fs = options(&[Param::TreeLog(false), Param::DataCow(false)])?;
        let of_subvol = options(&[Param::Barrier(false), compress("lzo")])?.data();
        let both = of_fs.with_data(of_subvol);
        assert!(both.has(Flags::NOTREELOG | Flags::COMPRESS));
        assert!(!both.has(Flags::NODATACOW) && !both.has(Flags::NODATASUM));
        assert!(!both.has(Flags::NOBARRIER));
        assert!(both.data() == of_subvol && of_fs.with_data(of_fs.data()) == of_fs);
        Ok(())
    }

    #[test]
    fn whole_sets_are_checked() -> Result {
        let mut lines = Lines::default();
        let rescue = options(&[Param::NoRecovery])?;
        assert!(rescue.check(true, false, false, &mut lines).is_ok());
        assert!(rescue.check(false, false, false, &mut lines).is_err());
        let without = options(&[Param::SpaceCacheV1(false)])?;
        assert!(without.check(true, true, false, &mut lines).is_err());
        let cleared = options(&[Param::SpaceCacheV1(false), Param::ClearCache])?;
        assert!(cleared.check(true, true, false, &mut lines).is_ok());
        assert!(cleared.check(true, true, true, &mut lines).is_err());
        let mut plain = options(&[])?;
        plain.adopt_space_cache(true, true);
        assert!(plain.has(Flags::FREE_SPACE_TREE) && !plain.has(Flags::SPACE_CACHE));
        assert!(plain.check(false, true, true, &mut lines).is_ok());
        Ok(())
    }
}
