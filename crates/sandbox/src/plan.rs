//! Turns a [`Spec`] into strings for the kernel before the child exists, because the child must not
//! allocate.

use super::cgroup::{Entry, Group};
use super::mounts::{FIXED, MASKED, heat};
use super::program::{Program, string};
use super::{Mount, MountKind, Network, Spec, surroundings};
use crate::sys::spawn::Failure;
use base::error::{At as _, Error, Kind, Result};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{Gid, Uid};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Overlayfs takes at most 500 lower directories, and the empty one counts.
const MOST_LOWERS: usize = 499;
/// mount(2) takes one page of options. This is the smallest page size.
const OPTIONS: usize = 4096;

/// Everything that the child needs.
pub(super) struct Plan<'a> {
    /// The user namespace with emulators, which the child enters last.
    pub(super) emulation: Option<BorrowedFd<'a>>,
    /// The control groups that the child enters.
    pub(super) group: &'a [Entry],
    pub(super) stage: CString,
    pub(super) root: Overlay,
    pub(super) mounts: Vec<Target>,
    /// The working directory.
    pub(super) cwd: Place,
    pub(super) hostname: Vec<u8>,
    /// True if the container gets the proc that kiln sees, not a new one.
    pub(super) shared_proc: bool,
    pub(super) network: Network,
    pub(super) insecure: bool,
    /// Paths of this machine that are hidden in addition to `MASKED`.
    pub(super) heat: &'static [CString],
    pub(super) shm_size: CString,
    pub(super) hosts: Vec<u8>,
    pub(super) resolv: Vec<u8>,
    /// The program of the step.
    pub(super) program: Program,
    pub(super) out: OwnedFd,
    pub(super) err: OwnedFd,
}

/// An overlay. It is mounted with the stage as the working directory.
pub(super) struct Overlay {
    /// Symbolic links to make on the stage, and their targets. The names are short, hold no
    /// character that is special in mount options, and differ between all overlays of a step.
    pub(super) links: Vec<(CString, CString)>,
    /// Directories to make on the stage.
    pub(super) folders: Vec<CString>,
    /// The options for mount(2).
    pub(super) options: CString,
}

/// The destination of writes to an overlay.
enum Upper<'a> {
    /// There is none: the overlay is read-only.
    None,
    /// Directories on the stage, which vanish with it.
    Lost,
    /// An upper directory, and the work directory for overlayfs's own use.
    Kept(&'a Path, &'a Path),
}

/// A path in the container. It may have to be created inside a mount.
pub(super) struct Place {
    /// Relative to the container's root.
    pub(super) path: CString,
    /// The parent directories, from the root downwards.
    pub(super) ways: Vec<CString>,
    /// The last component.
    pub(super) name: CString,
}

/// A mount with its mount point.
pub(super) struct Target {
    pub(super) place: Place,
    /// A name on the stage that only this mount uses.
    pub(super) own: CString,
    pub(super) what: What,
    pub(super) readonly: bool,
}

/// The source of a mount, ready for the kernel.
pub(super) enum What {
    Layers { overlay: Overlay, source: CString },
    Dir { path: CString, source: CString },
    Node { path: CString },
    Tmpfs { size: Option<CString> },
    Bytes { data: Vec<u8>, mode: u32, uid: Uid, gid: Gid },
}

fn path(path: &Path) -> Result<CString> {
    string(path.as_os_str().as_bytes())
}

impl<'a> Plan<'a> {
    pub(super) fn of(spec: &'a Spec, out: OwnedFd, err: OwnedFd) -> Result<Plan<'a>> {
        let lowers: Vec<&Path> = spec.stubs.iter().chain(&spec.lowers).map(AsRef::as_ref).collect();
        let root = Overlay::of("r", &lowers, &Upper::Kept(&spec.upper, &spec.work), spec.userxattr)?;
        Ok(Plan {
            emulation: spec.emulation.as_ref().map(super::emulate::Entrance::namespace),
            group: spec.group.as_ref().map(Group::entries).unwrap_or_default(),
            stage: path(&spec.stage)?,
            root,
            mounts: spec
                .mounts
                .iter()
                .enumerate()
                .map(|(at, mount)| Target::of(at, mount, spec))
                .collect::<Result<_>>()?,
            cwd: Place::of(&spec.cwd)?,
            hostname: spec.hostname.clone().into_bytes(),
            shared_proc: spec.userxattr && surroundings::hide_proc(),
            network: spec.network.clone(),
            insecure: spec.user.insecure,
            heat: heat(),
            shm_size: string(spec.limits.shm_size.to_string().as_bytes())?,
            hosts: spec.hosts.clone(),
            resolv: spec.resolv.clone(),
            program: Program::of(&spec.args, &spec.env, &spec.cwd, &spec.user)?.limited(&spec.limits.ulimits),
            out,
            err,
        })
    }

    /// Turns the child's failure into an error message.
    pub(super) fn explain(&self, failure: Failure) -> Error {
        let name = |list: &[&std::ffi::CStr]| {
            list.get(failure.which).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let target = || {
            self.mounts
                .get(failure.which)
                .map(|target| format!("/{}", target.place.path.to_string_lossy()))
                .unwrap_or_default()
        };
        let errno = failure.errno;
        match failure.doing {
            "mount" | "find the source of a mount for" => {
                Error::new(Kind::Step, format!("cannot {} `{}`", failure.doing, target())).because(errno)
            }
            "mount fixed" => Error::new(Kind::System, format!("cannot mount `/{}`", name(FIXED))).because(errno),
            "mask" => Error::new(Kind::System, format!("cannot hide `/{}`", name(MASKED))).because(errno),
            "make its namespaces" => Error::new(Kind::System, "the system lets nobody here make namespaces, which RUN needs")
                .because(errno)
                .hint("inside of a container: --security-opt seccomp=unconfined, or seccompProfile Unconfined in Kubernetes; elsewhere allow user namespaces, or run as root. `kiln doctor` tells more; what has no RUN builds anyway"),
            "mount its root (overlayfs)" if failure.errno == rustix::io::Errno::LOOP => {
                Error::new(Kind::System, "BUG: one directory stands twice in the root of a step")
                    .because(errno)
                    .hint("please report this with the Dockerfile")
            }
            "mount its root (overlayfs)" => Error::new(Kind::System, "the store lies where overlayfs can't write: a container's own file system, most likely")
                .because(errno)
                .hint("put it on a volume: set KILN_ROOT to a folder of one (docker: -v kiln:/var/lib/kiln; Kubernetes: an emptyDir), or to a tmpfs"),
            _ => self.program.explain(failure),
        }
    }
}

impl Overlay {
    /// `name` must differ for each overlay of a step.
    fn of(name: &str, lowers: &[&Path], upper: &Upper<'_>, userxattr: bool) -> Result<Overlay> {
        if lowers.len() > MOST_LOWERS {
            let message = format!("{} layers are more than the {MOST_LOWERS} that overlayfs can mount", lowers.len());
            return Err(Error::new(Kind::Step, message).hint("join steps, or begin a new stage with COPY --from"));
        }
        let (mut links, mut folders) = (Vec::new(), Vec::new());
        let mut options = "lowerdir=".to_owned();
        for (at, lower) in lowers.iter().enumerate() {
            let short = format!("{name}{at:x}");
            options += &format!("{short}:");
            links.push((string(short.as_bytes())?, path(lower)?));
        }
        // An empty layer comes last: overlayfs needs two lower directories without an upper one,
        // and a rootfs may have no layer.
        options += "empty,index=off";
        let (up, work) = (format!("{name}u"), format!("{name}w"));
        if !matches!(upper, Upper::None) {
            options += &format!(",upperdir={up},workdir={work},volatile");
        }
        match upper {
            Upper::None => {}
            Upper::Lost => folders.extend([string(up.as_bytes())?, string(work.as_bytes())?]),
            Upper::Kept(to, beside) => {
                links.extend([(string(up.as_bytes())?, path(to)?), (string(work.as_bytes())?, path(beside)?)]);
            }
        }
        options += if userxattr { ",userxattr" } else { ",redirect_dir=off,metacopy=off" };
        if options.len() >= OPTIONS {
            return Err(Error::new(Kind::System, "the options of an overlay are longer than the kernel takes"));
        }
        Ok(Overlay { links, folders, options: string(options.as_bytes())? })
    }
}

impl Target {
    fn of(at: usize, mount: &Mount, spec: &Spec) -> Result<Target> {
        let own = string(format!("m{at:x}").as_bytes())?;
        let (what, readonly) = match &mount.kind {
            MountKind::Layers { lowers, source, readonly } => {
                let lowers: Vec<&Path> = lowers.iter().map(AsRef::as_ref).collect();
                let lost = spec.lost.as_ref().filter(|_| !readonly).map(|dir| lost(dir, at)).transpose()?;
                let upper = match &lost {
                    Some((upper, work)) => Upper::Kept(upper, work),
                    None if *readonly => Upper::None,
                    None => Upper::Lost,
                };
                let overlay = Overlay::of(&format!("{at:x}."), &lowers, &upper, spec.userxattr)?;
                (What::Layers { overlay, source: relative(source)? }, *readonly)
            }
            MountKind::Dir { path: dir, source, readonly } => {
                (What::Dir { path: path(dir)?, source: relative(source)? }, *readonly)
            }
            MountKind::Node { path: node } => (What::Node { path: path(node)? }, false),
            MountKind::Tmpfs { size } => {
                let size = size.map(|size| string(size.to_string().as_bytes())).transpose()?;
                (What::Tmpfs { size }, false)
            }
            MountKind::Bytes { data, mode, uid, gid } => (
                What::Bytes { data: data.clone(), mode: *mode, uid: Uid::from_raw(*uid), gid: Gid::from_raw(*gid) },
                true,
            ),
        };
        let place = Place::of(&mount.target)?;
        Ok(Target { place, own, what, readonly })
    }
}

/// Makes the upper and work directories for the discarded writes of one mount.
fn lost(dir: &Path, at: usize) -> Result<(PathBuf, PathBuf)> {
    let make = |name: &str| -> Result<PathBuf> {
        let path = dir.join(format!("{at}-{name}"));
        std::fs::create_dir(&path).at("make", &path)?;
        // The root of the mount shows this mode.
        rustix::fs::chmod(&path, rustix::fs::Mode::from(0o755)).at("set the mode of", &path)?;
        Ok(path)
    };
    Ok((make("upper")?, make("work")?))
}

impl Place {
    fn of(path: &[u8]) -> Result<Place> {
        let path = relative(path)?;
        let bytes = path.as_bytes();
        let ends = (1..bytes.len()).filter(|&at| bytes[at] == b'/' && bytes[at - 1] != b'/');
        let ways = ends.map(|at| string(&bytes[..at])).collect::<Result<_>>()?;
        let name = string(bytes.rsplit(|byte| *byte == b'/').next().unwrap_or(bytes))?;
        Ok(Place { ways, name, path })
    }
}

/// Strips leading slashes. The root becomes `.`.
fn relative(path: &[u8]) -> Result<CString> {
    string(path.iter().position(|byte| *byte != b'/').map_or(b".", |at| &path[at..]))
}
