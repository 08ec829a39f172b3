//! Runs a program inside the container of a running step: in its namespaces, with its environment,
//! user, capabilities, system call filter and control group, and no more than it has.
//!
//! The step is hostile. So a descriptor holds its process before anything about it is believed, and
//! the user it runs as comes from kiln's own list. Nothing is looked up or run in its root until
//! the program is in all of the container's namespaces. Nothing of ours can be reached from inside:
//! kiln stays out of the container's pid namespace and can't be traced, its streams are relayed
//! (see `streams`), and every other descriptor is closed. The program has its own session, and dies
//! with kiln and with the step.

mod streams;

use super::pidfd::{self, has_ended};
use super::program::{Doing as _, Program};
use super::running::Step;
use crate::sys::spawn::{self, Failure, Surroundings};
use base::error::{Error, Kind, Result};
use base::read;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::{DumpableBehavior, Signal, set_parent_process_death_signal};
use rustix::thread::{ThreadNameSpaceType as Namespace, move_into_thread_name_spaces};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use streams::Streams;

/// The largest environment that is read, in bytes.
const LARGEST_ENVIRONMENT: u64 = 8 << 20;

/// Runs a command in the container of a step, on our own streams. `term` is the TERM of our
/// terminal. Returns the exit code, or 128 plus the signal that ended the command. No thread may
/// exist yet, and none can be started afterwards, so the caller should do nothing else after it.
pub fn attach(step: &Step, command: &[Vec<u8>], term: Option<&OsStr>) -> Result<u8> {
    let process = step.process.open().ok_or_else(gone)?;
    let mut streams = Streams::of()?;
    let env = environment(step, &process, term.filter(|_| streams.is_terminal()))?;
    let program = Program::of(command, &env, &step.cwd, &step.user)?;
    let groups = groups(step);
    enter(step, &process)?;
    let child = |_| begin(&program, &streams, &groups);
    let child = spawn::spawn(Surroundings { inside: true, ..Surroundings::default() }, &child).map_err(|failure| {
        let ended = has_ended(&process) || failure.doing == "make its namespaces";
        if ended { gone() } else { program.explain(failure) }
    })?;
    drop((process, groups));
    streams.carry(&child)?;
    Ok(u8::try_from(pidfd::exit(&child, "a program")?.code()).unwrap_or(255))
}

fn gone() -> Error {
    Error::new(Kind::Step, "the step has ended").hint("`kiln ps` lists those that run")
}

/// The environment of the step's process, and TERM if the step sets none.
fn environment(step: &Step, process: &OwnedFd, term: Option<&OsStr>) -> Result<Vec<Vec<u8>>> {
    let path = format!("/proc/{}/environ", step.process.pid);
    let bytes = File::open(path).and_then(|file| read::at_most(LARGEST_ENVIRONMENT, file));
    if has_ended(process) {
        return Err(gone());
    }
    let failed = || Error::new(Kind::System, "cannot read the environment of the step");
    let bytes = bytes.map_err(|cause| failed().because(cause))?;
    let bytes = bytes.ok_or_else(|| failed().because(format!("it is larger than {LARGEST_ENVIRONMENT} bytes")))?;
    let mut env: Vec<Vec<u8>> =
        bytes.split(|byte| *byte == 0).filter(|pair| !pair.is_empty()).map(<[u8]>::to_vec).collect();
    if let Some(term) = term
        && !env.iter().any(|pair| pair.starts_with(b"TERM="))
    {
        env.push([b"TERM=", term.as_encoded_bytes()].concat());
    }
    Ok(env)
}

/// The `cgroup.procs` files of the step's control groups. A user's session may lie where the kernel
/// forbids a move into them (cgroups(7), delegation containment). Then the program counts to that
/// session.
fn groups(step: &Step) -> Vec<OwnedFd> {
    let open = |file| rustix::fs::openat(CWD, &file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).ok();
    step.groups.iter().map(|folder| folder.join("cgroup.procs")).filter_map(open).collect()
}

/// Enters all namespaces of the step at once. The pid namespace becomes that of our children. A
/// user namespace that is already ours can't be entered again (setns(2)).
fn enter(step: &Step, process: &OwnedFd) -> Result<()> {
    let user = |pid: &str| std::fs::metadata(format!("/proc/{pid}/ns/user")).map(|it| (it.dev(), it.ino())).ok();
    let mut namespaces = Namespace::MOUNT
        | Namespace::PROCESS_ID
        | Namespace::NETWORK
        | Namespace::INTER_PROCESS_COMMUNICATION
        | Namespace::HOST_NAME_AND_NIS_DOMAIN_NAME
        | Namespace::CONTROL_GROUP;
    if user("self") != user(&step.process.pid.to_string()) {
        namespaces |= Namespace::USER;
    }
    let failed = |cause| match has_ended(process) {
        true => gone(),
        false => Error::new(Kind::System, "cannot enter the container of the step")
            .because(cause)
            .hint("enter it as the user who runs the build"),
    };
    // From here on no process inside can read our memory, descriptors or program.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed)?;
    move_into_thread_name_spaces(rustix::fd::AsFd::as_fd(process), namespaces).map_err(failed)
}

/// Runs in the child, so it makes only system calls.
fn begin(program: &Program, streams: &Streams, groups: &[OwnedFd]) -> Failure {
    let prepare = || -> Result<(), Failure> {
        set_parent_process_death_signal(Some(Signal::KILL)).doing("be ended with its parent", 0)?;
        for group in groups {
            let _ = rustix::io::write(group, b"0");
        }
        let _leader = rustix::process::setsid();
        streams.give(program.uid, program.gid).doing("set up its streams", 0)
    };
    match prepare() {
        Err(failure) => failure,
        Ok(()) => program.begin(),
    }
}
