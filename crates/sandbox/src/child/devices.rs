//! /dev: a `nodev` tmpfs, and the few devices of a step, each with a mount of its own.

use super::super::mounts::{DEVICES, LINKS};
use super::place::{NODEV, READONLY, attach, attach_on, clone_at, limit, tmpfs};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{CWD, FileType, Mode};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use std::ffi::CStr;

pub(super) fn devices(place: impl AsFd, insecure: bool) -> Result<(), Errno> {
    // Mounts that are cloned from it now keep its flags, so `nodev` is set last.
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
    // mknod(2) of a device fails in a user namespace, so the host's devices are mounted. Read-only
    // protects their owner and mode; writing to a device still works.
    rustix::fs::mknodat(dev, name, FileType::RegularFile, mode, 0)?;
    let mounted = clone_at(CWD, host)?;
    attach(mounted.as_fd(), dev, name)?;
    limit(&mounted, READONLY, false)
}
