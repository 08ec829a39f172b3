//! The mounts of every container: /proc, /dev, /sys and two files of /etc. Hides and protects parts
//! of them.

use super::super::mounts::{FIXED, MASKED, PROTECTED};
use super::super::plan::Plan;
use super::super::program::Doing as _;
use super::Step;
use super::devices::devices;
use super::place::{NODEV, NOEXEC, READONLY, attach_on, beneath, clone_at, clone_of, filesystem, limit, tmpfs};
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use std::ffi::CStr;

/// An empty directory on the stage. It is mounted over directories to hide them.
pub(super) const HIDDEN: &CStr = c"hidden";

/// Makes the mounts of every container, in the order of `FIXED`.
pub(super) fn fixed(plan: &Plan<'_>, stage: BorrowedFd<'_>, root: BorrowedFd<'_>) -> Step {
    for (at, name) in FIXED.iter().enumerate() {
        let doing = "mount fixed";
        let place = || beneath(root, name).doing(doing, at);
        match at {
            0 => proc(plan, place()?).doing(doing, at)?,
            1 => devices(place()?, plan.insecure).doing(doing, at)?,
            2 => {
                // No `nodev` here: terminals are devices, and mknod(2) fails in a devpts.
                let options = [(c"newinstance", None), (c"ptmxmode", Some(c"0666")), (c"mode", Some(c"0620"))];
                let mounted = filesystem(c"devpts", &options, NOEXEC).doing(doing, at)?;
                attach_on(mounted, place()?).doing(doing, at)?;
            }
            3 => {
                let mounted = tmpfs(c"1777", Some(&plan.shm_size), NODEV).doing(doing, at)?;
                attach_on(mounted, place()?).doing(doing, at)?;
            }
            // A kernel without message queues (mq_overview(7)) is fine.
            4 => {
                if let Ok(mounted) = filesystem(c"mqueue", &[], NODEV | NOEXEC) {
                    attach_on(mounted, place()?).doing(doing, at)?;
                }
            }
            5 => sysfs(plan, place()?).doing(doing, at)?,
            6 => text(stage, c"hosts", &plan.hosts, place()?).doing(doing, at)?,
            _ => text(stage, c"resolv", &plan.resolv, place()?).doing(doing, at)?,
        }
    }
    Ok(())
}

/// Hides and protects parts of /proc and /sys. Paths that the kernel does not have are skipped.
pub(super) fn restrict(plan: &Plan<'_>, stage: BorrowedFd<'_>, root: BorrowedFd<'_>) -> Step {
    let null = beneath(root, c"dev/null").doing("mask", 0)?;
    let heat = plan.heat.iter().map(|path| &**path);
    for (at, path) in MASKED.iter().copied().chain(heat).enumerate() {
        let Ok(place) = beneath(root, path) else { continue };
        let stat = rustix::fs::fstat(&place).doing("mask", at)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let mounted = clone_at(stage, HIDDEN).doing("mask", at)?;
            attach_on(&mounted, place).doing("mask", at)?;
            limit(&mounted, READONLY | NODEV, false).doing("mask", at)?;
        } else {
            let mounted = clone_of(null.as_fd()).doing("mask", at)?;
            attach_on(mounted, place).doing("mask", at)?;
        }
    }
    for path in PROTECTED {
        let Ok(place) = beneath(root, path) else { continue };
        let mounted = clone_of(place.as_fd()).doing("protect /proc", 0)?;
        attach_on(&mounted, place).doing("protect /proc", 1)?;
        limit(&mounted, READONLY, false).doing("protect /proc", 2)?;
    }
    Ok(())
}

/// Mounts a new proc for the new pid namespace. Where the surroundings forbid that, mounts the proc
/// that kiln sees.
fn proc(plan: &Plan<'_>, place: OwnedFd) -> Result<(), Errno> {
    if plan.shared_proc {
        let mounted = all_of(c"/proc")?;
        attach_on(&mounted, place)?;
        return limit(&mounted, NODEV | NOEXEC, true);
    }
    attach_on(filesystem(c"proc", &[], NODEV | NOEXEC)?, place)
}

/// Mounts a new sysfs, or the host's if the network namespace is not ours. Read-only unless the
/// step is insecure.
fn sysfs(plan: &Plan<'_>, place: OwnedFd) -> Result<(), Errno> {
    let flags = if plan.insecure { NODEV | NOEXEC } else { NODEV | NOEXEC | READONLY };
    if let Ok(mounted) = filesystem(c"sysfs", &[], NODEV | NOEXEC) {
        attach_on(&mounted, place)?;
        return limit(&mounted, flags, false);
    }
    let mounted = all_of(c"/sys")?;
    attach_on(&mounted, &place)?;
    match limit(&mounted, flags, true) {
        // Linux 5.11 can't set flags on the mounts below /sys, such as control groups. Then an
        // empty tmpfs hides all of it.
        Err(Errno::NOSYS) => {
            let over = tmpfs(c"0555", None, NODEV)?;
            attach_on(&over, mounted)?;
            limit(&over, READONLY, false)
        }
        done => done,
    }
}

/// Clones a tree of the host with all mounts below it.
fn all_of(path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, path, flags)
}

/// Mounts a text over a file, read-only.
fn text(stage: BorrowedFd<'_>, name: &CStr, text: &[u8], place: OwnedFd) -> Result<(), Errno> {
    let mounted = bytes(stage, name, text, 0o644)?;
    attach_on(&mounted, place)?;
    limit(&mounted, READONLY | NODEV, false)
}

/// Writes a file on the stage and returns a mount of it.
pub(super) fn bytes(stage: BorrowedFd<'_>, name: &CStr, data: &[u8], mode: u32) -> Result<OwnedFd, Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(stage, name, flags, Mode::from(mode))?;
    let mut left = data;
    while !left.is_empty() {
        let count = rustix::io::write(&file, left)?;
        left = left.get(count..).unwrap_or_default();
    }
    clone_at(stage, name)
}
