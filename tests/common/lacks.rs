//! A test that lacks something says so past the test harness, which hides what a passing test prints. With
//! KILN_TEST_REQUIRE=1, which test.sh sets after it has prepared the machine, such a test fails: only the lacks in
//! `EXCUSES` pass, and each only where it is real.
#![allow(dead_code, unreachable_pub, unused_qualifications)]

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Something that test.sh can't give to a machine.
struct Excuse {
    /// The beginning of the text that `skipped` is called with.
    what: &'static str,
    /// True where the machine really lacks it.
    lacking: fn() -> bool,
    /// The reason why test.sh can't help.
    _why: &'static str,
}

const EXCUSES: [Excuse; 11] = [
    Excuse {
        what: "root",
        lacking: || !rustix::process::geteuid().is_root(),
        _why: "test.sh runs every test as root first; only its second pass is an ordinary user's",
    },
    Excuse {
        what: "a /dev/net/tun that we may open",
        lacking: || !writable("/dev/net/tun"),
        _why: "the device belongs to the kernel and the machine; test.sh opens it to users where it exists",
    },
    Excuse {
        what: "/dev/net/tun or /dev/loop-control",
        lacking: || !writable("/dev/net/tun") && !writable("/dev/loop-control"),
        _why: "the devices belong to the kernel and the machine",
    },
    Excuse {
        what: "an x86_64 machine",
        lacking: || std::env::consts::ARCH != "x86_64",
        _why: "the test runs a program of this machine's 32-bit mode",
    },
    Excuse {
        what: "a processor that counts how often it was throttled",
        lacking: || true,
        _why: "virtual machines have none; the test looked in /sys itself",
    },
    Excuse {
        what: "a control group that we may write to",
        lacking: || !["", "pids", "unified"].iter().any(|name| group(Path::new("/sys/fs/cgroup").join(name))),
        _why: "the machine decides which control groups there are, and who may write to them",
    },
    Excuse {
        what: "control groups of version 1 that we may write to",
        lacking: || !group("/sys/fs/cgroup/devices".into()),
        _why: "a kernel has the devices controller in version 1 or not; most machines have version 2 alone",
    },
    Excuse {
        what: "control groups of version 2 that we may write to",
        lacking: || !["", "unified"].iter().any(|name| group(Path::new("/sys/fs/cgroup").join(name))),
        _why: "the machine decides which version is mounted, and who may write to it",
    },
    Excuse {
        what: "the right to load programs into the kernel",
        lacking: || true,
        _why: "kernels and containers may forbid BPF; the test asked the kernel itself",
    },
    Excuse {
        what: "the right to mount",
        lacking: || !may_mount(),
        _why: "root in a container without CAP_SYS_ADMIN can't mount",
    },
    Excuse {
        what: "a temporary folder with attributes of users",
        lacking: || true,
        _why: "tmpfs has them from Linux 6.6 on; the test asked the kernel itself",
    },
];

/// True where a file can be opened for reading and writing; a mode alone doesn't say it of a device.
fn writable(path: &str) -> bool {
    std::fs::File::options().read(true).write(true).open(path).is_ok()
}

/// True for a control group in which groups can be made.
fn group(path: PathBuf) -> bool {
    path.join("cgroup.procs").exists() && rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}

/// True with CAP_SYS_ADMIN, which is bit 21.
fn may_mount() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).is_some_and(|set| set & (1 << 21) != 0)
}

/// Says whether a program is installed. test.sh installs every program that tests ask for, so none is excused.
pub fn have(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = folders.any(|folder| folder.join(program).is_file());
    if !found {
        skipped(&format!("the program {program}"));
    }
    found
}

/// Says what a test lacks that now ends or leaves something out.
///
/// # Panics
/// With KILN_TEST_REQUIRE, unless the lack is excused.
#[track_caller]
pub fn skipped(what: &str) {
    let required = std::env::var_os("KILN_TEST_REQUIRE").is_some_and(|value| !value.is_empty() && value != "0");
    let excused = EXCUSES.iter().any(|excuse| what.starts_with(excuse.what) && (excuse.lacking)());
    assert!(!required || excused, "this test needs {what}, and KILN_TEST_REQUIRE is set");
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("a test");
    visible(&format!("SKIPPED, in whole or in part: {name}: needs {what}"));
}

/// Prints a line past the harness, which captures the print macros and nothing else.
pub fn visible(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
