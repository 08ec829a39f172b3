//! Limits which devices a step may open: by the `devices` controller of version 1, or by a BPF
//! program of version 2 (Documentation/admin-guide/cgroup-v1/devices.rst, cgroup-v2.rst). mknod(2)
//! is allowed for all devices, because images hold device nodes. With and without such a group,
//! mounts are `nodev` (see `child::place`).
//!
//! Steps that may open the usual devices share one group of version 1:
//!
//! ```text
//! <place of `devices`>/kiln.<pid namespace>-<pid>-devices/             for the whole build
//! <place of `devices`>/kiln.<pid namespace>-<pid>-devices-<number>/    for a step that has more
//! ```

use crate::sys::bpf::{self, Instruction};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{major, minor};
use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// The devices that a step may open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Devices {
    /// All devices of the machine.
    All,
    /// The devices that every container has, and these.
    UsualAnd(Vec<Device>),
}

/// A device of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    block: bool,
    major: u32,
    /// None means every minor number.
    minor: Option<u32>,
}

const fn character(major: u32, minor: Option<u32>) -> Device {
    Device { block: false, major, minor }
}

/// null, zero, full, random, urandom, tty, ptmx and the terminals behind it (runc,
/// `libcontainer/specconv`).
const USUAL: [Device; 8] = [
    character(1, Some(3)),
    character(1, Some(5)),
    character(1, Some(7)),
    character(1, Some(8)),
    character(1, Some(9)),
    character(5, Some(0)),
    character(5, Some(2)),
    character(136, None),
];

impl Device {
    /// The device that a path leads to, if it leads to one.
    pub fn at(path: &Path) -> Option<Device> {
        let metadata = fs::metadata(path).ok()?;
        let (kind, number) = (metadata.file_type(), metadata.rdev());
        let device = Device { block: kind.is_block_device(), major: major(number), minor: Some(minor(number)) };
        (kind.is_block_device() || kind.is_char_device()).then_some(device)
    }

    /// The rule in the syntax of version 1.
    fn rule(&self) -> String {
        let kind = if self.block { 'b' } else { 'c' };
        let minor = self.minor.map_or("*".to_owned(), |minor| minor.to_string());
        format!("{kind} {}:{minor} rwm", self.major)
    }
}

/// Allows a group of version 1 only the usual devices and `more`.
pub(super) fn limit(folder: &Path, more: &[Device]) -> std::io::Result<()> {
    fs::write(folder.join("devices.deny"), "a")?;
    let allow = File::options().write(true).open(folder.join("devices.allow"))?;
    let nodes = ["c *:* m".to_owned(), "b *:* m".to_owned()];
    for rule in nodes.into_iter().chain(USUAL.iter().chain(more).map(Device::rule)) {
        // A group can't allow a device that a group above denies, so this error is ignored.
        let _ = std::io::Write::write(&mut &allow, rule.as_bytes());
    }
    Ok(())
}

/// Attaches a program of [`load`] to a group of version 2.
pub(super) fn attach(folder: &OwnedFd, program: &OwnedFd) -> Result<(), String> {
    bpf::attach_device_program(program.as_fd(), folder.as_fd()).map_err(|cause| cause.to_string())
}

/// Loads a program for [`attach`] that allows the usual devices and `more`.
pub(super) fn load(more: &[Device]) -> Result<OwnedFd, String> {
    bpf::load_device_program(&program(more)).map_err(|cause| cause.to_string())
}

/// A directory of a control group. Dropping it removes the directory.
#[derive(Debug)]
pub(super) struct Folder(pub(super) PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // A later build removes a group that still has processes now.
        let _ = fs::remove_dir(&self.0);
    }
}

// linux/bpf_common.h, linux/bpf.h
const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const MOVE: u8 = 0xbc;
const SET: u8 = 0xb4;
const UNLESS_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;
// struct bpf_cgroup_dev_ctx: access and type, major, minor.
const MKNOD: i32 = 1;
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;

/// The BPF program. Its input is an access to a device (`struct bpf_cgroup_dev_ctx`); it returns 1
/// to allow the access.
fn program(more: &[Device]) -> Vec<Instruction> {
    let step = |code, destination: u8, source: u8, offset, constant| Instruction {
        code,
        registers: destination | source << 4,
        offset,
        constant,
    };
    let give = |verdict| [step(SET, 0, 0, 0, verdict), step(EXIT, 0, 0, 0, 0)];
    let mut all = vec![
        // 2: the type, 3: the access, 4: major, 5: minor.
        step(LOAD_WORD, 2, 1, 0, 0),
        step(MOVE, 3, 2, 0, 0),
        step(AND, 2, 0, 0, 0xffff),
        step(SHIFT_RIGHT, 3, 0, 0, 16),
        step(LOAD_WORD, 4, 1, 4, 0),
        step(LOAD_WORD, 5, 1, 8, 0),
    ];
    // mknod(2) alone is always allowed.
    all.push(step(UNLESS_EQUAL, 3, 0, 2, MKNOD));
    all.extend(give(1));
    for device in USUAL.iter().chain(more) {
        let number = |number: u32| number as i32;
        // A test that fails skips the remaining instructions of this device.
        let left = 2 + i16::from(device.minor.is_some());
        all.push(step(UNLESS_EQUAL, 2, 0, left + 1, if device.block { BLOCK } else { CHARACTER }));
        all.push(step(UNLESS_EQUAL, 4, 0, left, number(device.major)));
        if let Some(minor) = device.minor {
            all.push(step(UNLESS_EQUAL, 5, 0, 2, number(minor)));
        }
        all.extend(give(1));
    }
    all.extend(give(0));
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sys::spawn::{Failure, Surroundings, spawn};
    use rustix::fs::{CWD, Mode, OFlags};
    use rustix::io::Errno;
    use std::io::Read as _;

    /// Steps may open only the first two.
    const TRIED: [&std::ffi::CStr; 4] = [c"/dev/null", c"/dev/urandom", c"/dev/net/tun", c"/dev/loop-control"];

    /// Opens the devices `TRIED` in a process that entered a group through this file. Returns a
    /// letter for each: y for opened, n for denied, - for missing.
    fn opens(entry: &Path) -> String {
        let entry = File::options().write(true).open(entry).unwrap();
        let (mut read, write) = std::io::pipe().unwrap();
        let child = |_| {
            let _ = rustix::io::write(&entry, b"0");
            for path in TRIED {
                let opened = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
                let answer: &[u8] = match opened {
                    Ok(_) => b"y",
                    Err(Errno::PERM) => b"n",
                    Err(_) => b"-",
                };
                let _ = rustix::io::write(&write, answer);
            }
            Failure { doing: "end", which: 0, errno: Errno::CANCELED }
        };
        spawn(Surroundings::default(), &child).unwrap_err();
        drop(write);
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        text
    }

    fn is_right(group: &str) {
        let free = opens(Path::new("/dev/null"));
        assert!(free.starts_with("yy"), "{free}");
        if !free.ends_with('y') && !free.contains("yyy") {
            crate::lacks::skipped("/dev/net/tun or /dev/loop-control");
        }
        assert_eq!(group, free.replace("yyyy", "yynn").replace("yyy-", "yyn-").replace("yy-y", "yy-n"));
    }

    #[test]
    fn a_group_of_version_1_opens_the_usual_devices_alone() {
        let Ok(place) = super::super::place::of_devices(None) else {
            return crate::lacks::skipped("control groups of version 1 that we may write to");
        };
        let folder = Folder(place.join(super::super::place::name("devices-test-1")));
        fs::create_dir(&folder.0).unwrap();
        limit(&folder.0, &[]).unwrap();
        is_right(&opens(&folder.0.join("tasks")));
        let tun = Device::at(Path::new("/dev/net/tun"));
        if let Some(tun) = tun {
            limit(&folder.0, &[tun]).unwrap();
            assert!(opens(&folder.0.join("tasks")).starts_with("yyy"));
        }
    }

    #[test]
    fn a_group_of_version_2_opens_the_usual_devices_alone() {
        let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
        let root = roots.into_iter().find(|root| root.join("cgroup.procs").exists());
        let folder = root.map(|root| Folder(root.join(super::super::place::name("devices-test-2"))));
        let Some(folder) = folder.filter(|folder| fs::create_dir(&folder.0).is_ok()) else {
            return crate::lacks::skipped("control groups of version 2 that we may write to");
        };
        let open: OwnedFd = File::open(&folder.0).unwrap().into();
        let program = match load(&[]) {
            Ok(program) => program,
            Err(why) => {
                return crate::lacks::skipped(&format!("the right to load programs into the kernel: {why}"));
            }
        };
        attach(&open, &program).unwrap();
        is_right(&opens(&folder.0.join("cgroup.procs")));
        let other: OwnedFd = load(&[Device { block: true, major: 7, minor: Some(0) }, character(10, None)]).unwrap();
        drop(other);
    }
}
