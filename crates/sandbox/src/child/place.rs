//! Making mounts and putting them in their places. A place in the container is found by openat2(2) beneath its root and
//! mounted on by descriptor, so that links of a hostile image lead nowhere else.
//!
//! Every mount of a step is `nodev`, so that nobody in it opens a device, whichever way its node came to be. The exceptions
//! are the nodes themselves: each device that a step may have is a mount of its own (see `devices`).

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
/// What a directory without a mount of its own is opened with.
pub(super) const DIR: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A new file system, mounted nowhere yet. It has no set-user-id programs.
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

/// A second mount of what is at an open place. It has the flags of the mount that the place is in.
pub(super) fn clone_of(place: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(place, c"", flags)
}

/// The same of a name in a directory that nobody else can change.
pub(super) fn clone_at(dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    open_tree(dir, name, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
}

/// Attaches a mount on a name in a directory that nobody else can change.
pub(super) fn attach(mounted: BorrowedFd<'_>, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    move_mount(mounted, c"", dir, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Attaches on a descriptor: no name is looked up any more.
pub(super) fn attach_on(mounted: impl AsFd, target: impl AsFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mounted, c"", target, c"", flags)
}

/// Gives an attached mount more flags, with all that is mounted in it if wished. Nobody is in the container yet who could
/// use it without them.
pub(super) fn limit(mounted: impl AsFd, flags: MountAttrFlags, recursive: bool) -> Result<(), Errno> {
    mounts::limit(mounted.as_fd(), flags, recursive)
}

/// A place beneath a root, links followed beneath it too.
pub(super) fn beneath(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), flags)
}
