//! The child between clone(2) and execve(2). It makes system calls on prepared data, and nothing
//! else: no allocation, no lock, no panic. It shares its memory with a process whose other threads
//! go on running.
//!
//! `place` makes and finds mounts, `fixed` makes what every container has, `devices` makes /dev,
//! and `overlay` mounts layers as one tree.

mod devices;
mod fixed;
mod overlay;
mod place;

use super::Network;
use super::plan::{Place, Plan, Target, What};
use super::program::Doing;
use crate::sys::netns;
use crate::sys::spawn::{self, Failure};
use fixed::{HIDDEN, bytes};
use overlay::overlay;
use place::{NODEV, READONLY, attach, attach_on, beneath, clone_of, limit, tmpfs};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountFlags, MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::ffi::CStr;

type Step = Result<(), Failure>;

/// Sets up the container and executes its program. Returns only if that failed.
pub(super) fn run(plan: &Plan<'_>, entered: bool) -> Failure {
    match prepare(plan, entered) {
        Err(failure) => failure,
        Ok(()) => plan.program.begin(),
    }
}

fn prepare(plan: &Plan<'_>, entered: bool) -> Step {
    set_parent_process_death_signal(Some(Signal::KILL)).doing("be ended with its parent", 0)?;
    // This comes first, so that the group counts everything the child does. Then the cgroup
    // namespace is unshared, so that the group is its root.
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
    fixed::fixed(plan, stage.as_fd(), root.as_fd())?;
    for (at, target) in plan.mounts.iter().enumerate() {
        mount(plan, target, at, stage.as_fd(), root.as_fd())?;
    }
    // In the rootfs it was made before. Like runc, this makes it in a mount that hides the rootfs
    // there.
    if matches!(beneath(root.as_fd(), &plan.cwd.path), Err(Errno::NOENT)) {
        make_place(&plan.cwd, true, root.as_fd()).doing("make the working directory", 0)?;
    }
    if !plan.insecure {
        fixed::restrict(plan, stage.as_fd(), root.as_fd())?;
    }
    pivot(root.as_fd())?;
    standard_streams(plan)?;
    if let Some(namespace) = plan.emulation {
        // By its descriptor, which is closed with all others before the program is executed.
        let user = Some(LinkNameSpaceType::User);
        move_into_link_name_space(namespace, user).doing("enter the namespace of emulators", 0)?;
    }
    drop((stage, root));
    Ok(())
}

/// A tmpfs that only this process sees, for links, files and mount points.
fn stage(plan: &Plan<'_>) -> Result<OwnedFd, Failure> {
    let mounted = tmpfs(c"0700", None, NODEV).doing("make its stage", 0)?;
    attach(mounted.as_fd(), CWD, &plan.stage).doing("make its stage", 1)?;
    for name in [c"root", c"empty", HIDDEN] {
        rustix::fs::mkdirat(&mounted, name, Mode::from(0o755)).doing("make its stage", 2)?;
    }
    Ok(mounted)
}

fn root(plan: &Plan<'_>, stage: BorrowedFd<'_>) -> Result<OwnedFd, Failure> {
    overlay(&plan.root, stage, c"root", overlay_flags(plan)).doing("mount its root (overlayfs)", 0)
}

/// The image may hold device nodes, and a step may make some. A step can't open them unless it is
/// insecure.
fn overlay_flags(plan: &Plan<'_>) -> MountFlags {
    if plan.insecure { MountFlags::empty() } else { MountFlags::NODEV }
}

fn mount(plan: &Plan<'_>, target: &Target, at: usize, stage: BorrowedFd<'_>, root: BorrowedFd<'_>) -> Step {
    let (doing, finding) = ("mount", "find the source of a mount for");
    let name = &*target.own;
    let mut flags = if plan.insecure { MountAttrFlags::empty() } else { NODEV };
    let mounted = match &target.what {
        What::Tmpfs { size } => tmpfs(c"1777", size.as_deref(), NODEV).doing(doing, at)?,
        What::Bytes { data, mode, uid, gid } => {
            let mounted = bytes(stage, name, data, 0o600).doing(doing, at)?;
            rustix::fs::chownat(stage, name, Some(*uid), Some(*gid), AtFlags::empty()).doing(doing, at)?;
            rustix::fs::chmodat(stage, name, Mode::from(*mode), AtFlags::empty()).doing(doing, at)?;
            mounted
        }
        What::Dir { path, source } => {
            let dir = rustix::fs::openat(CWD, &**path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
            let place = beneath(dir.doing(finding, at)?.as_fd(), source).doing(finding, at)?;
            clone_of(place.as_fd()).doing(doing, at)?
        }
        What::Node { path } => {
            let how = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let node = rustix::fs::openat(CWD, &**path, how, Mode::empty()).doing(finding, at)?;
            if is_device(node.as_fd()).doing(finding, at)? {
                // The user allowed this device.
                flags -= NODEV;
            }
            clone_of(node.as_fd()).doing(doing, at)?
        }
        What::Layers { overlay: layers, source } => {
            rustix::fs::mkdirat(stage, name, Mode::from(0o755)).doing(doing, at)?;
            let whole = overlay(layers, stage, name, overlay_flags(plan)).doing(doing, at)?;
            let place = beneath(whole.as_fd(), source).doing(finding, at)?;
            clone_of(place.as_fd()).doing(doing, at)?
        }
    };
    let is_dir = !matches!(target.what, What::Bytes { .. } | What::Node { .. });
    let place = match beneath(root, &target.place.path) {
        Err(Errno::NOENT) => make_place(&target.place, is_dir, root).doing(doing, at)?,
        found => {
            let place = found.doing(doing, at)?;
            if let What::Tmpfs { .. } = target.what {
                // Like runc: only a tmpfs whose mount point it makes gets mode 1777. Others get the
                // mode of the directory that they cover.
                let covered = Mode::from_raw_mode(rustix::fs::fstat(&place).doing(doing, at)?.st_mode & 0o7777);
                rustix::fs::chmodat(&mounted, c".", covered, AtFlags::empty()).doing(doing, at)?;
            }
            place
        }
    };
    attach_on(&mounted, place).doing(doing, at)?;
    if target.readonly {
        flags |= READONLY;
    }
    limit(&mounted, flags, false).doing(doing, at)
}

fn is_device(node: BorrowedFd<'_>) -> Result<bool, Errno> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(node)?.st_mode);
    Ok(matches!(kind, FileType::CharacterDevice | FileType::BlockDevice))
}

/// Makes a mount point inside of a mount. Those in the rootfs were made before (`Spec::stubs`).
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

/// Makes the container's root the root, and detaches the host's with all its mounts (pivot_root(2),
/// "." on ".").
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
        // This lets the user of the step open /dev/stdout.
        let _ = rustix::fs::fchown(fd, Some(plan.program.uid), Some(plan.program.gid));
    }
    rustix::stdio::dup2_stdin(&null).doing(doing, 1)?;
    rustix::stdio::dup2_stdout(&plan.out).doing(doing, 2)?;
    rustix::stdio::dup2_stderr(&plan.err).doing(doing, 3)
}
