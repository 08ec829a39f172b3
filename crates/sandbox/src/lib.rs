//! Runs the process of a RUN step in new namespaces, on an overlay of layers. This crate knows
//! nothing of ops, formats of layers or the cache: its caller names the directories to mount and
//! the program to run.
//!
//! The order: `plan` turns a [`Spec`] into strings for the kernel. `child` mounts, pivots, drops
//! privileges and executes, by system calls alone. The parent reads the output and waits.

#![warn(unreachable_pub)]

pub mod attach;
mod attend;
pub mod cgroup;
mod child;
pub mod descriptors;
pub mod emulate;
pub mod helper;
#[cfg(test)]
#[path = "../../../tests/common/lacks.rs"]
mod lacks;
mod mounts;
pub mod network;
mod pidfd;
mod plan;
pub mod processes;
mod program;
pub mod running;
mod seccomp;
pub mod surroundings;
pub mod sys;
#[cfg(test)]
mod tests;

use crate::sys::spawn::{self, Surroundings};
use base::error::{Error, Kind, Result};
use base::sync::lock;
use cgroup::{Entry, Exceeded, Group, Resources};
use plan::Plan;
pub use program::User;
use running::Steps;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::process::{Resource, Rlimit, Signal, pidfd_send_signal};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How soon a sleeper notices that the user wishes the end.
const TICK: Duration = Duration::from_millis(50);

/// Everything that is needed to run a step.
#[derive(Debug)]
pub struct Spec {
    /// Mount points that the rootfs lacks, as a layer on top of it.
    pub stubs: Option<PathBuf>,
    /// The directories of the rootfs's layers, the topmost first.
    pub lowers: Vec<PathBuf>,
    /// The upper directory of the overlay. It is empty before the step and becomes the step's
    /// layer.
    pub upper: PathBuf,
    /// The work directory of the overlay: empty, on the file system of `upper`.
    pub work: PathBuf,
    /// An empty directory for discarded writes. Without one they go to memory. In a user namespace
    /// that needs Linux 6.6, because older tmpfs lacks the user.* attributes that overlayfs uses
    /// there.
    pub lost: Option<PathBuf>,
    /// An empty directory for the tmpfs on which the container is set up.
    pub stage: PathBuf,
    /// The mounts, in the order in which they are made.
    pub mounts: Vec<Mount>,
    /// The program and its arguments.
    pub args: Vec<Vec<u8>>,
    /// The environment, each entry `NAME=value`.
    pub env: Vec<Vec<u8>>,
    /// The working directory, an absolute path.
    pub cwd: Vec<u8>,
    /// The user that the program runs as.
    pub user: User,
    /// The step is killed after this time.
    pub timeout: Option<Duration>,
    /// The network of the step.
    pub network: Network,
    /// The limits of its processes.
    pub limits: Limits,
    /// The container's host name.
    pub hostname: String,
    /// The content of /etc/hosts.
    pub hosts: Vec<u8>,
    /// The content of /etc/resolv.conf.
    pub resolv: Vec<u8>,
    /// The user namespace that it enters to run programs of another architecture.
    pub emulation: Option<emulate::Entrance>,
    /// The control group of all its processes.
    pub group: Option<Group>,
    /// True in a user namespace, where overlayfs marks files with user.* attributes instead of
    /// trusted.*.
    pub userxattr: bool,
    /// The list of running steps that it is in while it runs, and its name there.
    pub listed: Option<(Steps, String)>,
}

/// The limits of a step's processes. They are no part of a cache key: a step that stays within its
/// limits gives the same result without them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The size of /dev/shm in bytes.
    pub shm_size: u64,
    /// Limits of each process (setrlimit(2)).
    pub ulimits: Vec<(Resource, Rlimit)>,
    /// Limits of all processes together (cgroups(7)).
    pub resources: Resources,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { shm_size: 64 << 20, ulimits: Vec::new(), resources: Resources::default() }
    }
}

/// Something mounted into the container.
#[derive(Debug)]
pub struct Mount {
    /// Absolute path in the container.
    pub target: Vec<u8>,
    /// The source of the mount.
    pub kind: MountKind,
}

/// The source of a mount.
#[derive(Debug)]
pub enum MountKind {
    /// A path of another rootfs. Writes, if allowed, are discarded.
    Layers {
        /// The directories of its layers, the topmost first.
        lowers: Vec<PathBuf>,
        /// An absolute path in it. Symbolic links are resolved beneath its root.
        source: Vec<u8>,
        /// Writing fails.
        readonly: bool,
    },
    /// A directory of the host that outlives the step.
    Dir {
        /// The directory.
        path: PathBuf,
        /// A path beneath it.
        source: Vec<u8>,
        /// Writing fails.
        readonly: bool,
    },
    /// A new tmpfs.
    Tmpfs {
        /// The size in bytes.
        size: Option<u64>,
    },
    /// A socket, device or file of the host.
    Node {
        /// Its path on the host.
        path: PathBuf,
    },
    /// A file in memory, which is never written to a disk.
    Bytes {
        /// The content.
        data: Vec<u8>,
        /// Its mode.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
}

/// The network of a step.
#[derive(Clone, Debug)]
pub enum Network {
    /// The network of the host.
    Host,
    /// A new network namespace with only a loopback.
    None,
    /// An existing network namespace: see [`network`].
    Own(Arc<OwnedFd>),
}

/// The stream that output comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The exit status of its first process.
    pub exit: Exit,
    /// Why it was killed or may have failed. None if it succeeded.
    pub why: Option<Why>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl Exit {
    /// The exit code as a shell gives it: 128 plus the signal if one ended it.
    pub fn code(self) -> i32 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + signal,
        }
    }
}

/// Why a step was killed or failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It reached a limit of its control group.
    Exceeded(Exceeded),
    /// It ran past its timeout. Holds a line for each process that says what it was doing.
    TimedOut(Vec<String>),
}

/// Kills all containers at once. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Running>);

#[derive(Debug, Default)]
struct Running {
    stopped: AtomicBool,
    interrupted: AtomicBool,
    next: AtomicU64,
    processes: Mutex<HashMap<u64, Arc<OwnedFd>>>,
}

impl Stop {
    /// Kills the running containers and prevents new ones from starting.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        for process in lock(&self.0.processes).values() {
            // When the init process of a pid namespace dies, the kernel kills all others in it.
            let _ = pidfd_send_signal(process.as_fd(), Signal::KILL);
        }
    }

    /// Stops for good, because the user interrupted the build.
    pub fn interrupt(&self) {
        self.0.interrupted.store(true, Ordering::SeqCst);
        self.stop();
    }

    /// Allows containers to start again after [`Stop::stop`]. Returns false if the user interrupted
    /// the build, which stays stopped.
    pub fn go_on(&self) -> bool {
        self.0.stopped.store(false, Ordering::SeqCst);
        let interrupted = self.0.interrupted.load(Ordering::SeqCst);
        if interrupted {
            self.stop();
        }
        !interrupted
    }

    /// True if the user interrupted the build.
    pub fn is_interrupted(&self) -> bool {
        self.0.interrupted.load(Ordering::SeqCst)
    }

    /// The number of containers that are using or waiting for a core or a disk now.
    pub fn busy(&self) -> usize {
        let pids =
            lock(&self.0.processes).values().filter_map(|process| processes::number(process)).collect::<Vec<_>>();
        processes::busy(&pids)
    }

    /// Waits so long, but not beyond the wish of the user that everything ends: then it is an error.
    pub fn sleep(&self, time: Duration) -> Result<()> {
        let began = Instant::now();
        loop {
            if self.is_interrupted() {
                return Err(Error::new(Kind::Interrupted, "stopped"));
            }
            match time.saturating_sub(began.elapsed()) {
                Duration::ZERO => return Ok(()),
                left => std::thread::sleep(left.min(TICK)),
            }
        }
    }

    /// True after [`Stop::stop`], until [`Stop::go_on`].
    pub fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::SeqCst)
    }

    fn add(&self, process: &Arc<OwnedFd>) -> u64 {
        let number = self.0.next.fetch_add(1, Ordering::SeqCst);
        lock(&self.0.processes).insert(number, Arc::clone(process));
        // `stop` may have been called while the process was starting.
        if self.is_stopped() {
            self.stop();
        }
        number
    }

    fn remove(&self, number: u64) {
        lock(&self.0.processes).remove(&number);
    }
}

/// Runs a step, and returns when all its processes have ended. The calling thread must outlive the
/// step: when the thread ends, the kernel kills the step.
pub fn run(spec: &Spec, output: &mut dyn FnMut(Stream, &[u8]), stop: &Stop) -> Result<Ended> {
    if stop.is_stopped() {
        return Err(Error::new(Kind::Interrupted, "stopped"));
    }
    let pipe = || {
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|cause| Error::new(Kind::System, "cannot make a pipe").because(cause))
    };
    let (out, out_in) = pipe()?;
    let (err, err_in) = pipe()?;
    let plan = Plan::of(spec, out_in, err_in)?;
    let place = spec.listed.as_ref().map(|(steps, _)| steps.place()).transpose()?;
    let surroundings = Surroundings {
        inside: false,
        network: matches!(spec.network, Network::None),
        group: spec.group.iter().flat_map(Group::entries).find_map(Entry::folder),
    };
    let child = |entered| child::run(&plan, entered);
    let process = spawn::spawn(surroundings, &child).map_err(|failure| plan.explain(failure))?;
    drop(plan);
    let process = Arc::new(process);
    if let (Some(place), Some((_, name))) = (&place, &spec.listed) {
        place.list(name, &process, spec);
    }
    let number = stop.add(&process);
    let ended = attend::attend(&process, [(Stream::Out, out), (Stream::Err, err)], spec, output);
    stop.remove(number);
    drop(place);
    let (exit, why) = ended?;
    let failed = exit != Exit::Code(0);
    let exceeded = || spec.group.as_ref().filter(|_| failed).and_then(Group::exceeded);
    let why = why.or_else(|| exceeded().map(Why::Exceeded));
    Ok(Ended { exit, why })
}
