//! Mounts overlays by mount(2). Layers are named by links on the stage, which are a few characters
//! long. So the page of options that the kernel takes has room for as many layers as overlayfs
//! allows, on every kernel and wherever the store is.

use super::super::plan::Overlay;
use super::place::DIR;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use std::ffi::CStr;

/// Mounts an overlay on a directory of the stage. Makes the stage the working directory.
pub(super) fn overlay(
    overlay: &Overlay,
    stage: BorrowedFd<'_>,
    name: &CStr,
    flags: MountFlags,
) -> Result<OwnedFd, Errno> {
    rustix::process::fchdir(stage)?;
    for (name, target) in &overlay.links {
        rustix::fs::symlinkat(&**target, stage, &**name)?;
    }
    for folder in &overlay.folders {
        rustix::fs::mkdirat(stage, &**folder, Mode::from(0o755))?;
    }
    mount(c"overlay", name, c"overlay", flags, &*overlay.options)?;
    rustix::fs::openat(stage, name, DIR, Mode::empty())
}
