//! The child between clone and exec: system calls on prepared data, nothing else. No allocation, no lock, no panic:
//! it runs on the memory of a process whose other threads go on.
//!
//! Every place in the container is found by openat2(2) beneath its root and mounted on by descriptor, so that links
//! of a hostile image lead nowhere else.

use super::Network;
use super::mounts::{DEVICES, FIXED, LINKS, MASKED, READONLY};
use super::plan::{Overlay, Place, Plan, Target, What};
use super::program::Doing;
use crate::sys::netns;
use crate::sys::spawn::{self, Failure};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree,
    unmount,
};
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::ffi::CStr;

type Step = Result<(), Failure>;

/// Puts the container together and becomes its program. Comes back only with a failure.
pub(super) fn run(plan: &Plan<'_>, entered: bool) -> Failure {
    match prepare(plan, entered) {
        Err(failure) => failure,
        Ok(()) => plan.program.begin(),
    }
}

fn prepare(plan: &Plan<'_>, entered: bool) -> Step {
    set_parent_process_death_signal(Some(Signal::KILL)).doing("be ended with its parent", 0)?;
    // First of all: whatever it does counts. The root of the cgroup namespace is made anew from there.
    for file in plan.group.iter().filter_map(|entry| entry.file(entered)) {
        rustix::io::write(file, b"0").doing("enter its control group", 0)?;
    }
    spawn::new_cgroup_root().doing("enter its control group", 1)?;
    let _leader = rustix::process::setsid();
    rustix::process::umask(Mode::empty());
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change(c"/", private).doing("have mounts of its own", 0)?;
    rustix::system::sethostname(&plan.hostname).doing("set its host name", 0)?;
    match &plan.network {
        Network::None => netns::loopback_up().doing("bring up its loopback", 0)?,
        Network::Own(namespace) => {
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), network).doing("enter its network", 0)?;
        }
        Network::Host => {}
    }
    let stage = stage(plan)?;
    let root = root(plan, stage.as_fd())?;
    fixed(plan, stage.as_fd(), root.as_fd())?;
    for (at, target) in plan.mounts.iter().enumerate() {
        mount(target, at, stage.as_fd(), root.as_fd())?;
    }
    // In the rootfs itself it was made before. As with runc it is made in a mount that hides it.
    if matches!(beneath(root.as_fd(), &plan.cwd.path), Err(Errno::NOENT)) {
        make_place(&plan.cwd, true, root.as_fd()).doing("make the working directory", 0)?;
    }
    if !plan.insecure {
        restrict(root.as_fd())?;
    }
    pivot(root.as_fd())?;
    standard_streams(plan)?;
    if let Some(namespace) = plan.emulation {
        // By its descriptor, which is closed with all others.
        let user = Some(LinkNameSpaceType::User);
        move_into_link_name_space(namespace, user).doing("enter the namespace of emulators", 0)?;
    }
    drop((stage, root));
    Ok(())
}

/// A tmpfs that nobody but this process sees, to put things on.
fn stage(plan: &Plan<'_>) -> Result<OwnedFd, Failure> {
    let mounted = tmpfs(Some(c"0700"), None).doing("make its stage", 0)?;
    attach(mounted.as_fd(), CWD, &plan.stage).doing("make its stage", 1)?;
    let stage =
        rustix::fs::openat(CWD, &*plan.stage, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let stage = stage.doing("make its stage", 2)?;
    for name in [c"root", c"empty"] {
        rustix::fs::mkdirat(&stage, name, Mode::from(0o755)).doing("make its stage", 3)?;
    }
    Ok(stage)
}

fn tmpfs(mode: Option<&CStr>, size: Option<&CStr>) -> Result<OwnedFd, Errno> {
    let fs = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    if let Some(mode) = mode {
        fsconfig_set_string(fs.as_fd(), c"mode", mode)?;
    }
    if let Some(size) = size {
        fsconfig_set_string(fs.as_fd(), c"size", size)?;
    }
    fsconfig_create(fs.as_fd())?;
    fsmount(
        fs.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
    )
}

fn attach(mounted: BorrowedFd<'_>, dir: BorrowedFd<'_>, path: &CStr) -> Result<(), Errno> {
    move_mount(mounted, c"", dir, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Attaches on a descriptor: no name is looked up any more.
fn attach_on(mounted: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mounted, c"", target, c"", flags)
}

/// A place beneath a root, links followed beneath it too.
fn beneath(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), flags)
}

fn overlay(overlay: &Overlay, stage: BorrowedFd<'_>, names: Option<(&CStr, &CStr)>) -> Result<OwnedFd, Errno> {
    let fs = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for lower in &overlay.lowers {
        fsconfig_set_string(fs.as_fd(), c"lowerdir+", &**lower)?;
    }
    // One lower directory alone is no overlay, and none is no rootfs.
    let empty = rustix::fs::openat(stage, c"empty", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::mount::fsconfig_set_fd(fs.as_fd(), c"lowerdir+", empty.as_fd())?;
    match (&overlay.upper, names) {
        (Some((upper, work)), _) => {
            fsconfig_set_string(fs.as_fd(), c"upperdir", &**upper)?;
            fsconfig_set_string(fs.as_fd(), c"workdir", &**work)?;
        }
        (None, Some((upper, work))) => {
            for (key, name) in [(c"upperdir", upper), (c"workdir", work)] {
                rustix::fs::mkdirat(stage, name, Mode::from(0o755))?;
                let dir =
                    rustix::fs::openat(stage, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
                rustix::mount::fsconfig_set_fd(fs.as_fd(), key, dir.as_fd())?;
            }
        }
        (None, None) => {}
    }
    for (key, value) in [(c"redirect_dir", c"off"), (c"index", c"off"), (c"metacopy", c"off")] {
        if !(overlay.userxattr && key != c"index") {
            fsconfig_set_string(fs.as_fd(), key, value)?;
        }
    }
    if overlay.upper.is_some() || names.is_some() {
        fsconfig_set_flag(fs.as_fd(), c"volatile")?;
    }
    if overlay.userxattr {
        fsconfig_set_flag(fs.as_fd(), c"userxattr")?;
    }
    fsconfig_create(fs.as_fd())?;
    fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

fn root(plan: &Plan<'_>, stage: BorrowedFd<'_>) -> Result<OwnedFd, Failure> {
    let mounted = overlay(&plan.root, stage, None).doing("mount its root (overlayfs)", 0)?;
    attach(mounted.as_fd(), stage, c"root").doing("mount its root (overlayfs)", 1)?;
    Ok(mounted)
}

fn fixed(plan: &Plan<'_>, stage: BorrowedFd<'_>, root: BorrowedFd<'_>) -> Step {
    for (at, name) in FIXED.iter().enumerate() {
        let doing = "mount fixed";
        let place = || beneath(root, name).doing(doing, at);
        let file = |text: &[u8]| -> Step {
            let mounted = bytes(stage, name, text, 0o644).doing(doing, at)?;
            readonly(mounted.as_fd(), false).doing(doing, at)?;
            attach_on(mounted.as_fd(), place()?.as_fd()).doing(doing, at)
        };
        match at {
            0 => {
                let mounted = proc(plan).doing(doing, at)?;
                attach_on(mounted.as_fd(), place()?.as_fd()).doing(doing, at)?;
            }
            1 => devices(&place()?).doing(doing, at)?,
            2 => {
                let options = [(c"newinstance", None), (c"ptmxmode", Some(c"0666")), (c"mode", Some(c"0620"))];
                let mounted = filesystem(c"devpts", &options, false).doing(doing, at)?;
                attach_on(mounted.as_fd(), place()?.as_fd()).doing(doing, at)?;
            }
            3 => {
                let mounted = tmpfs(Some(c"1777"), Some(&plan.shm_size)).doing(doing, at)?;
                attach_on(mounted.as_fd(), place()?.as_fd()).doing(doing, at)?;
            }
            // A kernel without message queues is fine.
            4 => {
                if let Ok(mounted) = filesystem(c"mqueue", &[], true) {
                    attach_on(mounted.as_fd(), place()?.as_fd()).doing(doing, at)?;
                }
            }
            5 => sysfs(plan, &place()?).doing(doing, at)?,
            6 => file(&plan.hosts)?,
            _ => file(&plan.resolv)?,
        }
    }
    Ok(())
}

fn filesystem(kind: &CStr, options: &[(&CStr, Option<&CStr>)], noexec: bool) -> Result<OwnedFd, Errno> {
    let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        match value {
            Some(value) => fsconfig_set_string(fs.as_fd(), *key, *value)?,
            None => fsconfig_set_flag(fs.as_fd(), *key)?,
        }
    }
    fsconfig_create(fs.as_fd())?;
    let mut flags = MountAttrFlags::MOUNT_ATTR_NOSUID;
    if noexec {
        flags |= MountAttrFlags::MOUNT_ATTR_NOEXEC | MountAttrFlags::MOUNT_ATTR_NODEV;
    }
    fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)
}

/// A fresh proc of the new pid namespace, or where the surroundings forbid that the one that kiln sees.
fn proc(plan: &Plan<'_>) -> Result<OwnedFd, Errno> {
    if !plan.shared_proc {
        return filesystem(c"proc", &[], true);
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, c"/proc", flags)
}

/// A fresh sysfs, or where the network is not ours the host's, readable only.
fn sysfs(plan: &Plan<'_>, place: &OwnedFd) -> Result<(), Errno> {
    let mounted = match filesystem(c"sysfs", &[], true) {
        Ok(mounted) => mounted,
        Err(_) => open_tree(
            CWD,
            c"/sys",
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE,
        )?,
    };
    if !plan.insecure {
        readonly(mounted.as_fd(), true)?;
    }
    attach_on(mounted.as_fd(), place.as_fd())
}

fn devices(place: &OwnedFd) -> Result<(), Errno> {
    let fs = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(fs.as_fd(), c"mode", c"0755")?;
    fsconfig_set_string(fs.as_fd(), c"size", c"67108864")?;
    fsconfig_create(fs.as_fd())?;
    let dev = fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_NOSUID)?;
    attach_on(dev.as_fd(), place.as_fd())?;
    for name in [c"pts", c"shm", c"mqueue"] {
        rustix::fs::mkdirat(&dev, name, Mode::from(0o755))?;
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(*target, &dev, *name)?;
    }
    for (name, host, major, minor) in DEVICES {
        let device = rustix::fs::makedev(*major, *minor);
        if rustix::fs::mknodat(&dev, *name, FileType::CharacterDevice, Mode::from(0o666), device).is_ok() {
            continue;
        }
        // In a user namespace nobody makes devices; the host's own are mounted.
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        drop(rustix::fs::openat(&dev, *name, flags, Mode::from(0o666))?);
        let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let mounted = open_tree(CWD, *host, clone)?;
        let target = rustix::fs::openat(&dev, *name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        attach_on(mounted.as_fd(), target.as_fd())?;
    }
    Ok(())
}

/// A file on the stage, and a mount of it.
fn bytes(stage: BorrowedFd<'_>, path: &CStr, data: &[u8], mode: u32) -> Result<OwnedFd, Errno> {
    // The name only has to be another for each; slashes have no place in it.
    let name: &CStr = if path == c"etc/hosts" {
        c"hosts"
    } else if path == c"etc/resolv.conf" {
        c"resolv"
    } else {
        path
    };
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(stage, name, flags, Mode::from(mode))?;
    let mut left = data;
    while !left.is_empty() {
        let count = rustix::io::write(&file, left)?;
        left = left.get(count..).unwrap_or_default();
    }
    open_tree(stage, name, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
}

fn clone_of(place: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(place, c"", flags)
}

fn readonly(mounted: BorrowedFd<'_>, recursive: bool) -> Result<(), Errno> {
    spawn::make_readonly(mounted, recursive)
}

fn mount(target: &Target, at: usize, stage: BorrowedFd<'_>, root: BorrowedFd<'_>) -> Step {
    let doing = "mount";
    let [name, upper, work] = &target.names;
    let mounted = match &target.what {
        What::Tmpfs { size } => tmpfs(Some(c"1777"), size.as_deref()).doing(doing, at)?,
        What::Bytes { data, mode, uid, gid } => {
            let mounted = bytes(stage, name, data, 0o600).doing(doing, at)?;
            rustix::fs::chownat(stage, &**name, Some(*uid), Some(*gid), AtFlags::empty()).doing(doing, at)?;
            rustix::fs::chmodat(stage, &**name, Mode::from(*mode), AtFlags::empty()).doing(doing, at)?;
            mounted
        }
        What::Dir { path, source } => {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let dir =
                rustix::fs::openat(CWD, &**path, flags, Mode::empty()).doing("find the source of a mount for", at)?;
            let place = beneath(dir.as_fd(), source).doing("find the source of a mount for", at)?;
            clone_of(place.as_fd()).doing(doing, at)?
        }
        What::Node { path } => {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let node =
                rustix::fs::openat(CWD, &**path, flags, Mode::empty()).doing("find the source of a mount for", at)?;
            clone_of(node.as_fd()).doing(doing, at)?
        }
        What::Layers { overlay: layers, source, writable } => {
            let names = writable.then_some((&**upper, &**work));
            let whole = overlay(layers, stage, names).doing(doing, at)?;
            rustix::fs::mkdirat(stage, &**name, Mode::from(0o755)).doing(doing, at)?;
            attach(whole.as_fd(), stage, name).doing(doing, at)?;
            let place = beneath(whole.as_fd(), source).doing("find the source of a mount for", at)?;
            clone_of(place.as_fd()).doing(doing, at)?
        }
    };
    if target.readonly {
        readonly(mounted.as_fd(), false).doing(doing, at)?;
    }
    let is_dir = !matches!(target.what, What::Bytes { .. } | What::Node { .. });
    let place = match beneath(root, &target.place.path) {
        Err(Errno::NOENT) => make_place(&target.place, is_dir, root).doing(doing, at)?,
        found => found.doing(doing, at)?,
    };
    attach_on(mounted.as_fd(), place.as_fd()).doing(doing, at)
}

/// Makes a directory or a file inside of a mount: what is missing in the rootfs itself was put there before.
fn make_place(place: &Place, is_dir: bool, root: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let mut dir = beneath(root, c".")?;
    for way in &place.ways {
        dir = match beneath(root, way) {
            Err(Errno::NOENT) => {
                let start = way.to_bytes().iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
                let name = way.to_bytes_with_nul().get(start..).and_then(|name| CStr::from_bytes_with_nul(name).ok());
                rustix::fs::mkdirat(&dir, name.ok_or(Errno::INVAL)?, Mode::from(0o755))?;
                beneath(root, way)?
            }
            found => found?,
        };
    }
    if is_dir {
        rustix::fs::mkdirat(&dir, &*place.name, Mode::from(0o755))?;
    } else {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        drop(rustix::fs::openat(&dir, &*place.name, flags, Mode::from(0o644))?);
    }
    beneath(root, &place.path)
}

/// Hides and protects parts of /proc and /sys. What a kernel does not have needs neither.
fn restrict(root: BorrowedFd<'_>) -> Step {
    let null = beneath(root, c"dev/null").doing("mask", 0)?;
    for (at, path) in MASKED.iter().enumerate() {
        let Ok(place) = beneath(root, path) else { continue };
        let stat = rustix::fs::fstat(&place).doing("mask", at)?;
        let mounted = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let mounted = tmpfs(Some(c"0555"), None).doing("mask", at)?;
            readonly(mounted.as_fd(), false).doing("mask", at)?;
            mounted
        } else {
            clone_of(null.as_fd()).doing("mask", at)?
        };
        attach_on(mounted.as_fd(), place.as_fd()).doing("mask", at)?;
    }
    for path in READONLY {
        let Ok(place) = beneath(root, path) else { continue };
        let mounted = clone_of(place.as_fd()).doing("protect /proc", 0)?;
        readonly(mounted.as_fd(), true).doing("protect /proc", 1)?;
        attach_on(mounted.as_fd(), place.as_fd()).doing("protect /proc", 2)?;
    }
    Ok(())
}

/// The container's root becomes the only one; the host's goes with all its mounts (pivot_root(2), "." on ".").
fn pivot(root: BorrowedFd<'_>) -> Step {
    let doing = "change its root";
    rustix::process::fchdir(root).doing(doing, 0)?;
    rustix::process::pivot_root(c".", c".").doing(doing, 1)?;
    unmount(c".", UnmountFlags::DETACH).doing(doing, 2)?;
    rustix::process::chdir(c"/").doing(doing, 3)
}

fn standard_streams(plan: &Plan<'_>) -> Step {
    let doing = "set up its streams";
    let null =
        rustix::fs::openat(CWD, c"/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).doing(doing, 0)?;
    for fd in [&plan.out, &plan.err] {
        // So that the user of the step can open /dev/stdout.
        let _ = rustix::fs::fchown(fd, Some(plan.program.uid), Some(plan.program.gid));
    }
    rustix::stdio::dup2_stdin(&null).doing(doing, 1)?;
    rustix::stdio::dup2_stdout(&plan.out).doing(doing, 2)?;
    rustix::stdio::dup2_stderr(&plan.err).doing(doing, 3)
}
