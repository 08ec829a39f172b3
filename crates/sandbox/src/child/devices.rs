//! /dev: a tmpfs on which nobody opens a device, and the few that a step has, each mounted on its own.

use super::super::mounts::{DEVICES, LINKS};
use super::place::{NODEV, READONLY, attach, attach_on, clone_at, limit, tmpfs};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{CWD, FileType, Mode};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use std::ffi::CStr;

pub(super) fn devices(place: impl AsFd, insecure: bool) -> Result<(), Errno> {
    // What is mounted from it now keeps what it has now; `nodev` comes last.
    let dev = tmpfs(c"0755", Some(c"67108864"), MountAttrFlags::empty())?;
    attach_on(&dev, place)?;
    for name in [c"pts", c"shm", c"mqueue"] {
        rustix::fs::mkdirat(&dev, name, Mode::from(0o755))?;
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(*target, &dev, *name)?;
    }
    for (name, host, major, minor) in DEVICES {
        device(dev.as_fd(), name, host, rustix::fs::makedev(*major, *minor))?;
    }
    if insecure { Ok(()) } else { limit(&dev, NODEV, false) }
}

fn device(dev: BorrowedFd<'_>, name: &CStr, host: &CStr, device: u64) -> Result<(), Errno> {
    let mode = Mode::from(0o666);
    if rustix::fs::mknodat(dev, name, FileType::CharacterDevice, mode, device).is_ok() {
        let mounted = clone_at(dev, name)?;
        return attach(mounted.as_fd(), dev, name);
    }
    // In a user namespace nobody makes devices; the host's own are mounted. Readable only, which keeps their owner and mode and
    // does not concern what is written to them.
    rustix::fs::mknodat(dev, name, FileType::RegularFile, mode, 0)?;
    let mounted = clone_at(CWD, host)?;
    attach(mounted.as_fd(), dev, name)?;
    limit(&mounted, READONLY, false)
}
