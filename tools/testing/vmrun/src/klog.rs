// SPDX-License-Identifier: GPL-2.0

//! Finds reports of trouble in a kernel log.

/// What begins a report. Each is a text that the kernel prints only for a defect.
const SIGNS: [&str; 22] = [
    "BUG: ",
    "kernel BUG at",
    "WARNING: ",
    "------------[ cut here ]------------",
    "Oops",
    "general protection fault",
    "Kernel panic",
    "Unable to handle kernel",
    "Kernel mode fault at",
    "Segfault with no mm",
    "stack segment:",
    "INFO: task ",
    "INFO: trying to register non-static key",
    "INFO: rcu",
    "rcu: INFO:",
    "UBSAN: ",
    "refcount_t: ",
    "unreferenced object",
    "rust_kernel: panicked",
    "corruption.",
    "Slab corruption",
    "# not ok",
];

/// The line without the time stamp `[    1.234567] ` and without a caller id.
fn message(line: &str) -> &str {
    let line = line.trim_start();
    match line
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("] "))
    {
        Some((stamp, rest))
            if stamp
                .trim()
                .bytes()
                .all(|b| b.is_ascii_digit() || b == b'.') =>
        {
            rest
        }
        _ => line,
    }
}

fn is_report(line: &str) -> bool {
    let message = message(line);
    if message.starts_with("INFO: task ") {
        return message.contains("blocked");
    }
    if message.starts_with("BTRFS") {
        // What our module in a debug kernel finds when it looks at itself after a commit.
        return message.contains("consistency check: ");
    }
    // A test of KUnit that failed, at any depth of the KTAP output.
    if message.trim_start().starts_with("not ok ") {
        return true;
    }
    SIGNS.iter().any(|sign| {
        message.starts_with(sign)
            || (message.contains(sign) && !matches!(*sign, "Oops" | "corruption."))
            || (*sign == "corruption." && message.starts_with("list_") && message.contains(sign))
    })
}

/// The line with which the init script says that the run proper begins.
const BEGIN: &str = "vm: begin\n";

/// The first line of every report in `log`, not counting what the kernel says of itself at boot
/// (the debug flavour has a warning about starting its second processor).
pub fn reports(log: &str) -> Vec<&str> {
    let run = log.split_once(BEGIN).map_or(log, |(_, run)| run);
    run.lines().filter(|line| is_report(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_found() {
        for line in [
            "[    1.000000] BUG: sleeping function called from invalid context at x.c:1",
            "[    1.000000] WARNING: possible circular locking dependency detected",
            "WARNING: CPU: 0 PID: 1 at fs/inode.c:3 f+0x1/0x2",
            "[  120.5] INFO: task mount:12 blocked for more than 60 seconds.",
            "[    1.0] unreferenced object 0x1234 (size 8):",
            "[    1.0] rust_kernel: panicked at fs/btrfs/lib.rs:1:1:",
            "[    1.0]     not ok 2 chunk_map",
            "[    1.0] list_add corruption. next->prev should be prev",
            "[    1.0] BTRFS error (device ubda): consistency check: block group 1 has no item",
        ] {
            assert_eq!(reports(line).len(), 1, "{line}");
        }
    }

    #[test]
    fn boot_is_not_judged() {
        let log = "BUG: at boot\n[    1.0] vm: begin\nWARNING: later\n";
        assert_eq!(reports(log), ["WARNING: later"]);
    }

    #[test]
    fn normal_lines_are_no_reports() {
        for line in [
            "[    1.0] BTRFS error (device ubda): parent transid verify failed",
            "[    1.0] BTRFS warning (device ubda): checksum WARNING: no",
            "[    1.0] btrfs: loading out-of-tree module taints kernel.",
            "[    1.0]     ok 2 chunk_map",
            "[    1.0] INFO: lockdep is turned off.",
            "",
        ] {
            assert!(reports(line).is_empty(), "{line}");
        }
    }
}
