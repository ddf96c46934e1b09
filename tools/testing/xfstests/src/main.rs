// SPDX-License-Identifier: GPL-2.0

//! Runs an installed xfstests tree in guests.
//!
//! Tests wait in one queue. Every shard takes a batch, boots a guest for it and reads what `check`
//! prints; a test that hangs or takes the guest down ends the boot, gets a result of its own, and
//! what was left of the batch goes back to the head of the queue. Results are written as they come.

mod boot;
mod output;
mod report;
mod select;
mod signals;

use boot::Settings;
use std::collections::VecDeque;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;

const USAGE: &str = "\
usage: XFSTESTS=DIR tools/testing/xfstests/run [OPTION]... TEST|GROUP|@FILE[:RESULT]...

Runs tests of the xfstests tree installed in DIR. GROUP is a name such as quick or
generic/quick; @FILE names a list, whose first column is the test; with :RESULT only the
tests whose second column is that (@results.tsv:fail).

  --module rust|c|FILE.ko the btrfs to test (default: rust, the module of this checkout)
  --baseline FILE         compare the results with these
  --out DIR               where results and logs go (default: build/xfstests/MODULE)
  --resume                leave out what has a result in DIR, and add to it
  --exclude WORD          leave out these tests (TEST, GROUP, @FILE)
  --shards N              guests at a time (default: 1)
  --batch N               tests in one boot (default: 60)
  --timeout S             seconds for one test (default: 240)
  --mem SIZE, --cpus N    of a guest (default: 5G, 1)
  --debug                 in the debug kernel
  --env NAME=VALUE        for the suite: MOUNT_OPTIONS, MKFS_OPTIONS, ...
  --report                only print the table of what DIR has

The devices of the suite are in the guest's memory. DIR/results.tsv has the results,
DIR/shard-N/results what the suite kept, DIR/shard-N/boot-M.log the kernel's log of each guest
(.list, .output: its tests, what they printed), DIR/TEST.log that of a crash or a hang. Only one
run at a time may use DIR. INT, TERM and HUP end the guests and the run, whose results stay; the
guests do not outlive it either when it is killed.
Exit status: 0 when no test failed (with --baseline: none that passes there).
";

struct Args {
    words: Vec<String>,
    exclude: Vec<String>,
    module: String,
    baseline: Option<PathBuf>,
    out: Option<PathBuf>,
    resume: bool,
    report: bool,
    shards: usize,
    batch: usize,
    timeout: u64,
    mem: String,
    cpus: String,
    debug: bool,
    env: Vec<String>,
}

fn parse() -> Result<Args, String> {
    let mut args = Args {
        words: Vec::new(),
        exclude: Vec::new(),
        module: "rust".into(),
        baseline: None,
        out: None,
        resume: false,
        report: false,
        shards: 1,
        batch: 60,
        timeout: 240,
        mem: "5G".into(),
        cpus: "1".into(),
        debug: false,
        env: Vec::new(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
        match word.as_str() {
            "--help" | "-h" => {
                print!("{USAGE}");
                std::process::exit(0);
            }
            "--resume" => args.resume = true,
            "--report" => args.report = true,
            "--debug" => args.debug = true,
            "--module" => args.module = value()?,
            "--baseline" => args.baseline = Some(value()?.into()),
            "--out" => args.out = Some(value()?.into()),
            "--exclude" => args.exclude.push(value()?),
            "--shards" => args.shards = number(&value()?)?,
            "--batch" => args.batch = number(&value()?)?,
            "--timeout" => args.timeout = number(&value()?)? as u64,
            "--mem" => args.mem = value()?,
            "--cpus" => args.cpus = value()?,
            "--env" => args.env.push(value()?),
            _ if word.starts_with('-') => return Err(format!("no such option: {word}\n{USAGE}")),
            _ => args.words.push(word),
        }
    }
    if args.words.is_empty() && !args.report {
        return Err(USAGE.into());
    }
    Ok(args)
}

fn number(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{text} is not a number")),
    }
}

/// Copies the module to the results, so that a build meanwhile does not change it.
fn module(args: &Args, top: &Path, out: &Path) -> Result<PathBuf, String> {
    let home = std::env::var("HOME").unwrap_or_default();
    let cache = std::env::var("XDG_CACHE_HOME").unwrap_or(format!("{home}/.cache"));
    let flavour = if args.debug { "um-debug" } else { "um" };
    let kernel = Path::new(&cache).join("btrfs-rs").join(flavour);
    let file = match args.module.as_str() {
        "c" => kernel.join("fs/btrfs/btrfs.ko"),
        "rust" => match std::env::var_os("BTRFS_KO") {
            Some(file) => file.into(),
            None => {
                let release = kernel.join("include/config/kernel.release");
                let release = fs::read_to_string(&release)
                    .map_err(|error| format!("{}: {error}", release.display()))?;
                top.join("build").join(release.trim()).join("btrfs.ko")
            }
        },
        file => file.into(),
    };
    let copy = out.join("btrfs.ko");
    fs::copy(&file, &copy).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(copy)
}

fn run() -> Result<bool, String> {
    let args = parse()?;
    let top = PathBuf::from(std::env::var_os("BTRFS_TOP").ok_or("start this by its script")?);
    let name = Path::new(&args.module).file_stem().unwrap_or_default();
    let default = top.join("build/xfstests").join(name);
    let out = args.out.clone().unwrap_or(default);
    fs::create_dir_all(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    let out = out.canonicalize().map_err(|error| error.to_string())?;
    let file = out.join("results.tsv");
    if !args.report {
        let _lock = lock(&out)?;
        if !args.resume {
            let _ = fs::rename(&file, out.join("results.old.tsv"));
            for shard in fs::read_dir(&out).into_iter().flatten().flatten() {
                if shard.file_name().to_string_lossy().starts_with("shard-") {
                    boot::forget(&shard.path());
                }
            }
        }
        work(&args, &top, &out, &file)?;
    }
    let results = report::load(&file);
    report::table(&results);
    let bad = |test: &str| {
        results
            .get(test)
            .is_some_and(|row| !["pass", "notrun"].contains(&row.0.as_str()))
    };
    let Some(baseline) = &args.baseline else {
        return Ok(!results.keys().any(|test| bad(test)));
    };
    let baseline = report::load(baseline);
    report::difference(&results, &baseline);
    Ok(!baseline
        .iter()
        .any(|(test, row)| row.0 == "pass" && bad(test)))
}

/// Keeps others from using the directory. Guests inherit the lock: as long as one is there, however
/// the run ended, nobody else begins.
fn lock(out: &Path) -> Result<fs::File, String> {
    let path = out.join(".lock");
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let fd = file.as_raw_fd();
    // SAFETY: the descriptor is open.
    if unsafe { libc::flock(fd, libc::LOCK_EX | libc::LOCK_NB) } != 0 {
        return Err(format!("{}: another run is using it", out.display()));
    }
    // SAFETY: the descriptor is open; no flags: it is inherited.
    unsafe { libc::fcntl(fd, libc::F_SETFD, 0) };
    Ok(file)
}

fn work(args: &Args, top: &Path, out: &Path, file: &Path) -> Result<(), String> {
    let suite = std::env::var_os("XFSTESTS").ok_or("XFSTESTS does not name an installed tree")?;
    let suite = PathBuf::from(suite)
        .canonicalize()
        .map_err(|error| format!("XFSTESTS: {error}"))?;
    let mut tests = select::tests(&suite, &args.words)?;
    let exclude = select::tests(&suite, &args.exclude)?;
    let known = if args.resume {
        report::load(file)
    } else {
        Default::default()
    };
    tests.retain(|test| !exclude.contains(test) && !known.contains_key(test));
    let settings = Settings {
        top: top.into(),
        suite,
        module: module(args, top, out)?,
        out: out.into(),
        timeout: args.timeout,
        mem: args.mem.clone(),
        cpus: args.cpus.clone(),
        debug: args.debug,
        env: args.env.clone(),
    };
    println!("{} tests, results in {}", tests.len(), file.display());
    let total = tests.len();
    let queue = Mutex::new(VecDeque::from(tests));
    let results = Mutex::new((
        report::open(file).map_err(|error| error.to_string())?,
        0usize,
    ));
    let failures: Vec<String> = thread::scope(|scope| {
        let shards: Vec<_> = (0..args.shards)
            .map(|index| {
                let (queue, results, settings) = (&queue, &results, &settings);
                scope.spawn(move || shard(index, settings, args.batch, queue, results, total))
            })
            .collect();
        let ends = shards
            .into_iter()
            .map(|s| s.join().unwrap_or(Err("a shard died".into())));
        ends.filter_map(Result::err).collect()
    });
    if signals::stopped() {
        return Err("interrupted".into());
    }
    match failures.first() {
        Some(failure) => Err(failure.clone()),
        None => Ok(()),
    }
}

/// Runs batches until the queue is empty.
fn shard(
    index: usize,
    settings: &Settings,
    batch: usize,
    queue: &Mutex<VecDeque<String>>,
    results: &Mutex<(fs::File, usize)>,
    total: usize,
) -> Result<(), String> {
    let dir = settings.out.join(format!("shard-{index}"));
    let mut idle = 0;
    loop {
        let tests: Vec<String> = {
            let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            let n = batch.min(queue.len());
            queue.drain(..n).collect()
        };
        if tests.is_empty() || signals::stopped() {
            return Ok(());
        }
        let ran = boot::run(settings, &dir, &tests, |outcome| {
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            results.1 += 1;
            println!(
                "[{}/{total}] {:<12} {:<8} {:>4} s  {}",
                results.1, outcome.test, outcome.result, outcome.seconds, outcome.reason
            );
            if let Err(error) = report::append(&mut results.0, &outcome) {
                eprintln!("xfstests: results: {error}");
            }
        });
        let dealt = match ran {
            Ok(dealt) => {
                idle = 0;
                dealt
            }
            Err(error) => {
                eprintln!("xfstests: {error}");
                idle += 1;
                if idle == 3 {
                    return Err(format!("{error}, three times"));
                }
                0
            }
        };
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        for test in tests.into_iter().skip(dealt).rev() {
            queue.push_front(test);
        }
    }
}

fn main() {
    signals::watch();
    match run() {
        Ok(true) => {}
        Ok(false) => std::process::exit(1),
        Err(error) => {
            eprintln!("xfstests: {error}");
            std::process::exit(if signals::stopped() { 130 } else { 2 });
        }
    }
}
