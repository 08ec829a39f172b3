//! RUN: one process in new namespaces on an overlay of layers. Knows nothing of ops, layers' forms or the cache: it is
//! told which directories to mount and what to run.
//!
//! The order: `plan` turns a [`Spec`] into strings that are ready for the kernel; `child` mounts, pivots, drops
//! privileges and executes, with nothing but system calls; the parent reads what the process writes and waits.

#![warn(unreachable_pub)]

pub mod attach;
mod attend;
pub mod cgroup;
mod child;
pub mod descriptors;
pub mod emulate;
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
use std::time::Duration;

/// A step, resolved to the last detail.
#[derive(Debug)]
pub struct Spec {
    /// Mount points that the rootfs lacks, as a layer on top of it.
    pub stubs: Option<PathBuf>,
    /// The directories of the rootfs's layers, the topmost first.
    pub lowers: Vec<PathBuf>,
    /// Empty; becomes the step's own layer.
    pub upper: PathBuf,
    /// Empty, on the same file system.
    pub work: PathBuf,
    /// An empty directory for writes that are thrown away. Without one they go to memory, which in a user namespace serves
    /// since Linux 6.6: overlayfs's marks are attributes that tmpfs did not have.
    pub lost: Option<PathBuf>,
    /// An empty directory to mount things on while the container is put together.
    pub stage: PathBuf,
    /// In order.
    pub mounts: Vec<Mount>,
    /// The program and its arguments.
    pub args: Vec<Vec<u8>>,
    /// `NAME=value`.
    pub env: Vec<Vec<u8>>,
    /// Absolute.
    pub cwd: Vec<u8>,
    /// Who runs it.
    pub user: User,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// What it sees of the network.
    pub network: Network,
    /// What bounds its processes.
    pub limits: Limits,
    /// The container's host name.
    pub hostname: String,
    /// /etc/hosts.
    pub hosts: Vec<u8>,
    /// /etc/resolv.conf.
    pub resolv: Vec<u8>,
    /// What it enters to run programs of another architecture.
    pub emulation: Option<emulate::Entrance>,
    /// What bounds all its processes together.
    pub group: Option<Group>,
    /// Overlayfs's marks are user.* attributes, because we are in a user namespace.
    pub userxattr: bool,
    /// Where it is listed while it runs, and by which name.
    pub listed: Option<(Steps, String)>,
}

/// What bounds a step's processes. No part of any key: a step that ends well within its limits is the same without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of /dev/shm.
    pub shm_size: u64,
    /// setrlimit(2).
    pub ulimits: Vec<(Resource, Rlimit)>,
    /// Of all its processes together.
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
    /// What.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Debug)]
pub enum MountKind {
    /// A path of another rootfs. Writes, where allowed, are thrown away.
    Layers {
        /// Its layers' directories, the topmost first.
        lowers: Vec<PathBuf>,
        /// Absolute in it; links are followed beneath it.
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
    /// A fresh tmpfs.
    Tmpfs {
        /// In bytes.
        size: Option<u64>,
    },
    /// A socket, device or file of the host.
    Node {
        /// Where it is.
        path: PathBuf,
    },
    /// A file that is never on a disk.
    Bytes {
        /// What it holds.
        data: Vec<u8>,
        /// Its mode.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
}

/// What a step sees of the network.
#[derive(Clone, Debug)]
pub enum Network {
    /// The host's.
    Host,
    /// Loopback alone.
    None,
    /// A namespace that is there already: see [`network`].
    Own(Arc<OwnedFd>),
}

/// Where output comes from.
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
    /// Its first process.
    pub exit: Exit,
    /// What put an end to it, when it did not end well.
    pub why: Option<Why>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

impl Exit {
    /// As one number, as shells have it: 128 and the signal.
    pub fn code(self) -> i32 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + signal,
        }
    }
}

/// Why a step did not come to its own end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It wanted more than its control group gives.
    Exceeded(Exceeded),
    /// It took longer than allowed. What its processes were doing then, a line for each.
    TimedOut(Vec<String>),
}

/// Ends every container at once. Clones are the same.
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
    /// Kills what runs and lets nothing more begin.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        for process in lock(&self.0.processes).values() {
            // The first process of a pid namespace takes all others with it.
            let _ = pidfd_send_signal(process.as_fd(), Signal::KILL);
        }
    }

    /// Stops for good: the user wishes so.
    pub fn interrupt(&self) {
        self.0.interrupted.store(true, Ordering::SeqCst);
        self.stop();
    }

    /// Lets things begin again that were stopped for a reason that is gone; false if the user wished the end.
    pub fn go_on(&self) -> bool {
        self.0.stopped.store(false, Ordering::SeqCst);
        let interrupted = self.0.interrupted.load(Ordering::SeqCst);
        if interrupted {
            self.stop();
        }
        !interrupted
    }

    /// Whether the user wishes the end.
    pub fn is_interrupted(&self) -> bool {
        self.0.interrupted.load(Ordering::SeqCst)
    }

    /// How many containers want a core at this moment.
    pub fn busy(&self) -> usize {
        let pids =
            lock(&self.0.processes).values().filter_map(|process| processes::number(process)).collect::<Vec<_>>();
        processes::busy(&pids)
    }

    /// Whether it was called.
    pub fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::SeqCst)
    }

    fn add(&self, process: &Arc<OwnedFd>) -> u64 {
        let number = self.0.next.fetch_add(1, Ordering::SeqCst);
        lock(&self.0.processes).insert(number, Arc::clone(process));
        // It may have been called while the process began.
        if self.is_stopped() {
            self.stop();
        }
        number
    }

    fn remove(&self, number: u64) {
        lock(&self.0.processes).remove(&number);
    }
}

/// Runs a step to its end, and everything it started. The thread that calls must outlive it: when it ends, so do they.
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
