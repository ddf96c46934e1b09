// SPDX-License-Identifier: GPL-2.0

//! The command line of `vm run` and `vm shell`.

use crate::Result;
use lexopt::prelude::*;
use std::ffi::OsString;
use std::path::PathBuf;

pub const USAGE: &str = "\
usage: tools/testing/vm run [OPTION]... [--] COMMAND [ARG]...
       tools/testing/vm shell [OPTION]...

Runs COMMAND as root in a guest and passes its exit status on.

  --arch uml|x86_64       the test kernel (default: uml)
  --debug                 its debug flavour
  --flavour fast|debug|kasan|inline
                          this flavour of it
  --module rust|c|none|FILE.ko
                          the btrfs to load (default: rust, the module of this checkout)
  --disk SIZE|FILE[,ro]   a disk, empty or with the contents of FILE; listed in $DISKS
  --ram SIZE              a disk in the guest's memory; listed in $RAMDISKS
  --mem SIZE              memory of the guest (default: 1G and the RAM disks)
  --cpus N                processors of the guest (default: 2)
  --timeout S             seconds after which the guest is stopped (default: 600)
  --share DIR[,rw]        DIR is visible in the guest under its name, writable with rw
  --env NAME[=VALUE]      a variable for COMMAND
  --append TEXT           more text for the kernel's command line
  --no-report             kernel reports are expected: do not look for them
  --log FILE              keep the kernel's log in FILE

$BTRFS_VM_FLAGS has more options, before these; $BTRFS_VM_PATIENCE multiplies the timeout.

Exit status: that of COMMAND; 97 the guest could not be prepared, 98 the time was
over, 99 the kernel reported an oops, a warning, a lock problem, a hung task or a leak.
";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arch {
    Uml,
    X86_64,
}

/// How the test kernel is configured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flavour {
    Fast,
    /// Checks of locks, leaks, memory.
    Debug,
    /// Every access to memory is checked; built by clang.
    Kasan,
    /// Rust's C helpers are inlined; built by clang.
    Inline,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Module {
    Rust,
    C,
    None,
    File(PathBuf),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Disk {
    /// An empty disk of so many bytes.
    Empty(u64),
    /// An image on the host.
    File { path: PathBuf, read_only: bool },
}

#[derive(Debug)]
pub struct Share {
    pub dir: PathBuf,
    pub writable: bool,
}

#[derive(Debug)]
pub struct Options {
    pub arch: Arch,
    pub flavour: Flavour,
    pub module: Module,
    pub disks: Vec<Disk>,
    /// Sizes of the RAM disks in bytes.
    pub ram: Vec<u64>,
    /// Memory of the guest in bytes, where it was given.
    pub mem: Option<u64>,
    pub cpus: u32,
    /// Seconds; none for an interactive shell.
    pub timeout: Option<u64>,
    pub shares: Vec<Share>,
    pub env: Vec<(String, OsString)>,
    pub append: Vec<String>,
    pub report: bool,
    pub log: Option<PathBuf>,
    /// Empty for an interactive shell.
    pub command: Vec<OsString>,
}

/// `512`, `64K`, `100M`, `2G`, `1T` as bytes; anything else is no size.
pub fn parse_size(text: &str) -> Option<u64> {
    let shift = match text.bytes().last()?.to_ascii_uppercase() {
        b'K' => 10,
        b'M' => 20,
        b'G' => 30,
        b'T' => 40,
        _ => 0,
    };
    let digits = if shift == 0 {
        text
    } else {
        &text[..text.len() - 1]
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn size(value: OsString) -> Result<u64> {
    let text = value.to_string_lossy();
    match parse_size(&text) {
        Some(bytes) if bytes > 0 => Ok(bytes),
        _ => Err(format!("vm: '{text}' is not a size (512, 64K, 100M, 2G)")),
    }
}

/// Splits `PATH,FLAG` where FLAG is the given one.
fn split_flag(value: OsString, flag: &str) -> (PathBuf, bool) {
    match value
        .to_str()
        .and_then(|text| text.strip_suffix(flag)?.strip_suffix(','))
    {
        Some(path) => (path.into(), true),
        None => (value.into(), false),
    }
}

fn existing(path: PathBuf) -> Result<PathBuf> {
    path.canonicalize()
        .map_err(|error| format!("vm: {}: {error}", path.display()))
}

fn disk(value: OsString) -> Result<Disk> {
    if let Some(bytes) = value.to_str().and_then(parse_size) {
        return Ok(Disk::Empty(bytes));
    }
    let (path, read_only) = split_flag(value, "ro");
    Ok(Disk::File {
        path: existing(path)?,
        read_only,
    })
}

fn module(value: OsString) -> Result<Module> {
    Ok(match value.to_str() {
        Some("rust") => Module::Rust,
        Some("c") => Module::C,
        Some("none") => Module::None,
        _ => Module::File(existing(value.into())?),
    })
}

fn env(value: OsString) -> Result<(String, OsString)> {
    let text = value
        .into_string()
        .map_err(|_| "vm: --env wants UTF-8".to_string())?;
    Ok(match text.split_once('=') {
        Some((name, value)) => (name.to_string(), value.into()),
        None => {
            let value = std::env::var_os(&text).unwrap_or_default();
            (text, value)
        }
    })
}

/// Parses what follows `run` or `shell`.
pub fn parse(argv: impl Iterator<Item = OsString>, shell: bool) -> Result<Options> {
    let mut options = Options {
        arch: Arch::Uml,
        flavour: Flavour::Fast,
        module: Module::Rust,
        disks: Vec::new(),
        ram: Vec::new(),
        mem: None,
        cpus: 2,
        timeout: (!shell).then_some(600),
        shares: Vec::new(),
        env: Vec::new(),
        append: Vec::new(),
        report: !shell,
        log: None,
        command: Vec::new(),
    };
    let mut parser = lexopt::Parser::from_args(argv);
    // The first word that is no option begins the command, whose options are not ours.
    while let Some(arg) = parser.next().map_err(usage)? {
        match arg {
            Long("help") | Short('h') => {
                print!("{USAGE}");
                std::process::exit(0);
            }
            Value(first) => {
                options.command.push(first);
                options.command.extend(parser.raw_args().map_err(usage)?);
            }
            _ => option(&mut options, arg.into_owned(), &mut parser)?,
        }
    }
    options.timeout = options
        .timeout
        .map(|seconds| seconds.saturating_mul(patience()));
    if shell && !options.command.is_empty() {
        return Err(format!("vm: shell takes no command\n{USAGE}"));
    }
    if !shell && options.command.is_empty() {
        return Err(format!("vm: no command\n{USAGE}"));
    }
    Ok(options)
}

/// What times are multiplied by, for slow kernels.
fn patience() -> u64 {
    let value = std::env::var("BTRFS_VM_PATIENCE").ok();
    value.and_then(|text| text.parse().ok()).unwrap_or(1).max(1)
}

fn usage(error: lexopt::Error) -> String {
    format!("vm: {error}\n{USAGE}")
}

/// An option's name, free of the parser it came from.
trait IntoOwned {
    fn into_owned(self) -> String;
}

impl IntoOwned for lexopt::Arg<'_> {
    fn into_owned(self) -> String {
        match self {
            Long(name) => format!("--{name}"),
            Short(name) => format!("-{name}"),
            Value(value) => value.to_string_lossy().into_owned(),
        }
    }
}

fn option(options: &mut Options, name: String, parser: &mut lexopt::Parser) -> Result<()> {
    match name.as_str() {
        "--debug" => options.flavour = Flavour::Debug,
        "--no-report" => options.report = false,
        "--arch" | "--flavour" | "--module" | "--disk" | "--ram" | "--ramdisk" | "--mem"
        | "--cpus" | "--timeout" | "--share" | "--env" | "--append" | "--log" => {
            let value = parser.value().map_err(usage)?;
            option_with_value(options, &name, value)?;
        }
        _ => return Err(format!("vm: no such option: {name}\n{USAGE}")),
    }
    Ok(())
}

fn option_with_value(options: &mut Options, name: &str, value: OsString) -> Result<()> {
    match name {
        "--arch" => {
            options.arch = match value.to_str() {
                Some("uml" | "um") => Arch::Uml,
                Some("x86_64") => Arch::X86_64,
                _ => return Err("vm: --arch is uml or x86_64".into()),
            }
        }
        "--flavour" => {
            options.flavour = match value.to_str() {
                Some("fast") => Flavour::Fast,
                Some("debug") => Flavour::Debug,
                Some("kasan") => Flavour::Kasan,
                Some("inline") => Flavour::Inline,
                _ => return Err("vm: --flavour is fast, debug, kasan or inline".into()),
            }
        }
        "--module" => options.module = module(value)?,
        "--disk" => options.disks.push(disk(value)?),
        "--ram" | "--ramdisk" => options.ram.push(size(value)?),
        "--mem" => options.mem = Some(size(value)?),
        "--cpus" => {
            options.cpus = number(value, "--cpus")?.clamp(1, 8).try_into().unwrap_or(1);
        }
        "--timeout" => options.timeout = Some(number(value, "--timeout")?.max(1)),
        "--share" => {
            let (dir, writable) = split_flag(value, "rw");
            options.shares.push(Share {
                dir: existing(dir)?,
                writable,
            });
        }
        "--env" => options.env.push(env(value)?),
        "--append" => options.append.push(value.to_string_lossy().into_owned()),
        "--log" => options.log = Some(value.into()),
        _ => return Err(format!("vm: no such option: {name}")),
    }
    Ok(())
}

fn number(value: OsString, name: &str) -> Result<u64> {
    value
        .to_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("vm: {name} wants a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> impl Iterator<Item = OsString> + '_ {
        text.split_whitespace().map(OsString::from)
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("512"), Some(512));
        assert_eq!(parse_size("64k"), Some(65536));
        assert_eq!(parse_size("2G"), Some(2 << 30));
        for bad in ["", "G", "1.5G", "image", "99999999999T"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_command_keeps_its_own_options() {
        let options = parse(words("--debug --ram 1M ls --debug -l"), false).unwrap();
        assert_eq!(options.flavour, Flavour::Debug);
        assert_eq!(options.command, ["ls", "--debug", "-l"]);
        let options = parse(words("--module none -- --odd --name"), false).unwrap();
        assert_eq!(options.command, ["--odd", "--name"]);
    }

    #[test]
    fn disks() {
        assert_eq!(disk("3M".into()).unwrap(), Disk::Empty(3 << 20));
        let file = Disk::File {
            path: "/dev/null".into(),
            read_only: true,
        };
        assert_eq!(disk("/dev/null,ro".into()).unwrap(), file);
        assert!(disk("/no/such/image".into()).is_err());
    }
}
