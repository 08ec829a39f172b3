//! Makes mounts and attaches them. openat2(2) finds a place in the container beneath its root, and
//! the mount is attached by descriptor. So links of a hostile image can't lead out of the root.
//!
//! Every mount of a step is `nodev`, so that the step can't open a device however its node was
//! made. The exceptions are the nodes themselves: each device that a step may open is a mount of
//! its own (see `devices`).

use crate::sys::mounts;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use std::ffi::CStr;

pub(super) const NODEV: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV;
pub(super) const NOEXEC: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOEXEC;
pub(super) const READONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY;
/// The flags to open a directory with.
pub(super) const DIR: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Makes a new file system that is not attached yet. Set-user-ID bits have no effect on it.
pub(super) fn filesystem(
    kind: &CStr,
    options: &[(&CStr, Option<&CStr>)],
    flags: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        match value {
            Some(value) => fsconfig_set_string(fs.as_fd(), *key, *value)?,
            None => fsconfig_set_flag(fs.as_fd(), *key)?,
        }
    }
    fsconfig_create(fs.as_fd())?;
    fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags | MountAttrFlags::MOUNT_ATTR_NOSUID)
}

pub(super) fn tmpfs(mode: &CStr, size: Option<&CStr>, flags: MountAttrFlags) -> Result<OwnedFd, Errno> {
    let options = [(c"mode", Some(mode)), (c"size", size)];
    filesystem(c"tmpfs", &options[..1 + usize::from(size.is_some())], flags)
}

/// Clones the mount at an open place. The clone has the flags of the mount that the place is in.
pub(super) fn clone_of(place: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(place, c"", flags)
}

/// The same for a name in a directory that no other process can change.
pub(super) fn clone_at(dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    open_tree(dir, name, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
}

/// Attaches a mount on a name in a directory that no other process can change.
pub(super) fn attach(mounted: BorrowedFd<'_>, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    move_mount(mounted, c"", dir, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Attaches a mount on a descriptor, so that no name is looked up.
pub(super) fn attach_on(mounted: impl AsFd, target: impl AsFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mounted, c"", target, c"", flags)
}

/// Adds flags to an attached mount, and to all mounts below it if `recursive`. No process of the
/// step exists yet that could use the mount without them.
pub(super) fn limit(mounted: impl AsFd, flags: MountAttrFlags, recursive: bool) -> Result<(), Errno> {
    mounts::limit(mounted.as_fd(), flags, recursive)
}

/// Opens a path beneath a root. Symbolic links are resolved beneath it too.
pub(super) fn beneath(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), flags)
}
