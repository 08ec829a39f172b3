//! Sets up a process inside of a container and executes its program: working directory, limits,
//! system call filter and privileges. A step and `kiln shell` use the same code, so that neither
//! has more rights than the other.
//!
//! The data is prepared on the heap beforehand. [`Program::begin`] makes only system calls, because
//! it runs between clone(2) and execve(2).

use super::{descriptors, seccomp};
use crate::sys::spawn::{self, Failure, Instruction, Pointers, pointers};
use base::error::{Error, Kind, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal};
use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};
use std::ffi::CString;

/// Docker's default capabilities (moby, `oci/caps/defaults.go`).
const CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// The user and the privileges of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// True if the program keeps all capabilities and has no system call filter.
    pub insecure: bool,
    /// True if root keeps CAP_NET_RAW, to send raw packets.
    #[serde(default)]
    pub raw_sockets: bool,
    /// True if the program may not open sockets of families that a network namespace does not
    /// isolate.
    #[serde(default)]
    pub offline: bool,
}

impl User {
    /// The capabilities that root keeps of Docker's default ones.
    fn capabilities(&self) -> CapabilitySet {
        if self.raw_sockets { CAPABILITIES } else { CAPABILITIES.difference(CapabilitySet::NET_RAW) }
    }
}

/// A program, ready for the kernel.
pub(super) struct Program {
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    groups: Vec<Gid>,
    insecure: bool,
    /// The capabilities that it keeps.
    capabilities: CapabilitySet,
    cwd: CString,
    ulimits: Vec<(Resource, Rlimit)>,
    /// The program that filters its system calls.
    filter: &'static [Instruction],
    /// The paths to try to execute, in order.
    programs: Vec<CString>,
    args: Pointers,
    env: Pointers,
    /// The strings that `args` and `env` point to.
    _strings: (Vec<CString>, Vec<CString>),
    shown: String,
}

pub(super) trait Doing<T> {
    fn doing(self, doing: &'static str, which: usize) -> Result<T, Failure>;
}

impl<T> Doing<T> for Result<T, Errno> {
    fn doing(self, doing: &'static str, which: usize) -> Result<T, Failure> {
        self.map_err(|errno| Failure { doing, which, errno })
    }
}

impl Program {
    pub(super) fn of(args: &[Vec<u8>], env: &[Vec<u8>], cwd: &[u8], user: &User) -> Result<Program> {
        let programs = programs(args, env)?;
        let shown = args.first().map(|arg| String::from_utf8_lossy(arg).into_owned()).unwrap_or_default();
        let args = args.iter().map(|arg| string(arg)).collect::<Result<Vec<_>>>()?;
        let env = env.iter().map(|pair| string(pair)).collect::<Result<Vec<_>>>()?;
        Ok(Program {
            uid: Uid::from_raw(user.uid),
            gid: Gid::from_raw(user.gid),
            groups: user.groups.iter().map(|group| Gid::from_raw(*group)).collect(),
            insecure: user.insecure,
            capabilities: user.capabilities(),
            cwd: string(cwd)?,
            ulimits: descriptors::before().into_iter().collect(),
            filter: if user.offline { &seccomp::OFFLINE } else { &seccomp::FILTER },
            programs,
            args: Pointers(pointers(&args)),
            env: Pointers(pointers(&env)),
            _strings: (args, env),
            shown,
        })
    }

    /// Adds limits for each of its processes.
    pub(super) fn limited(mut self, ulimits: &[(Resource, Rlimit)]) -> Program {
        // The last limit of a resource takes effect.
        self.ulimits.extend_from_slice(ulimits);
        self
    }

    /// Executes the program. The standard streams must be set, and the root must be the
    /// container's. Returns only if it failed.
    pub(super) fn begin(&self) -> Failure {
        match self.prepare() {
            Err(failure) => failure,
            Ok(()) => Failure { doing: "execute", which: 0, errno: self.execute() },
        }
    }

    fn prepare(&self) -> Result<(), Failure> {
        // All descriptors of the host are closed before the working directory is entered.
        spawn::close_from(3).doing("close what it inherited", 0)?;
        rustix::process::chdir(&*self.cwd).doing("enter the working directory", 0)?;
        if !spawn::cwd_is_reachable() {
            return Err(Errno::NOENT).doing("enter the working directory", 0);
        }
        spawn::join_new_keyring();
        for (resource, limit) in &self.ulimits {
            rustix::process::setrlimit(*resource, *limit).doing("set the limits of its processes", 0)?;
        }
        if !self.insecure && !self.filter.is_empty() {
            // This comes before the capabilities are dropped: without them a filter requires
            // no_new_privs, which breaks sudo.
            spawn::install_filter(self.filter).doing("limit its system calls", 0)?;
        }
        self.privileges()?;
        end_with_parent()?;
        rustix::process::umask(Mode::from(0o022));
        spawn::reset_signals();
        Ok(())
    }

    fn execute(&self) -> Errno {
        let mut worst = Errno::NOENT;
        for program in &self.programs {
            match spawn::execute(program, &self.args.0, &self.env.0) {
                Errno::NOENT | Errno::NOTDIR => {}
                errno => worst = errno,
            }
        }
        worst
    }

    fn privileges(&self) -> Result<(), Failure> {
        let doing = "change the user";
        if !self.insecure {
            for capability in CapabilitySet::all().difference(self.capabilities).iter() {
                // The kernel may not know all of these capabilities.
                let _ = rustix::thread::remove_capability_from_bounding_set(capability);
            }
        }
        let _ = rustix::thread::clear_ambient_capability_set();
        let groups = spawn::set_groups(&self.groups);
        // With a single mapped id, setgroups(2) fails. That is fine if the only group is the user's
        // own.
        if self.groups.iter().any(|group| *group != self.gid) {
            groups.doing(doing, 0)?;
        }
        spawn::set_ids(self.uid, self.gid).doing(doing, 1)?;
        if self.uid.is_root() && !self.insecure {
            let sets = rustix::thread::CapabilitySets {
                effective: self.capabilities,
                permitted: self.capabilities,
                inheritable: CapabilitySet::empty(),
            };
            rustix::thread::set_capabilities(None, sets).doing("drop its privileges", 0)?;
        }
        Ok(())
    }

    /// Turns the child's failure into an error message.
    pub(super) fn explain(&self, failure: Failure) -> Error {
        let errno = failure.errno;
        match failure.doing {
            "execute" if errno == Errno::NOENT && !self.shown.contains('/') => {
                Error::new(Kind::Step, format!("exec: {:?}: executable file not found in $PATH", self.shown))
                    .hint("install it in an earlier step, or name it by its path; the exec form has no shell")
            }
            "execute" => Error::new(Kind::Step, format!("exec: {:?}: {errno}", self.shown)).hint(match errno {
                Errno::NOEXEC => "it is for another architecture, or a script without a `#!` line",
                Errno::NOENT => "it, or the interpreter that it names, is not in the image",
                _ => "is it executable for the user that runs it?",
            }),
            "enter the working directory" | "make the working directory" => {
                Error::new(Kind::Step, format!("cannot enter the working directory `{}`", self.cwd.to_string_lossy()))
                    .because(errno)
            }
            "change the user" => Error::new(Kind::System, format!("cannot run as user {}: {errno}", self.uid))
                .hint("this id is not mapped: give the user a range in /etc/subuid and /etc/subgid, or run as root"),
            doing => Error::new(Kind::System, format!("a container cannot {doing}"))
                .because(errno)
                .hint("run `kiln doctor`, or try as root"),
        }
    }
}

/// Sets the parent death signal again, because the kernel clears it when credentials change
/// (prctl(2), PR_SET_PDEATHSIG). If the parent died in between, the pipe of the output has no
/// reader, which poll(2) shows.
fn end_with_parent() -> Result<(), Failure> {
    let doing = "be ended with its parent";
    set_parent_process_death_signal(Some(Signal::KILL)).doing(doing, 1)?;
    let out = rustix::stdio::stdout();
    let mut polled = [PollFd::new(&out, PollFlags::empty())];
    poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).doing(doing, 2)?;
    let [out] = &polled;
    if out.revents().intersects(PollFlags::ERR | PollFlags::HUP) { Err(Errno::PIPE).doing(doing, 3) } else { Ok(()) }
}

pub(super) fn string(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| {
        let shown = String::from_utf8_lossy(bytes).into_owned();
        Error::new(Kind::Step, format!("{shown:?} holds a zero byte"))
    })
}

/// The paths of the program: its own path, or one in each directory of PATH.
fn programs(args: &[Vec<u8>], env: &[Vec<u8>]) -> Result<Vec<CString>> {
    let program = args.first().filter(|program| !program.is_empty());
    let program = program.ok_or_else(|| Error::new(Kind::Step, "there is no command to run"))?;
    if program.contains(&b'/') {
        return Ok(vec![string(program)?]);
    }
    let path = env.iter().rev().find_map(|pair| pair.strip_prefix(b"PATH=")).unwrap_or_default();
    let dirs = path.split(|byte| *byte == b':').filter(|dir| !dir.is_empty());
    dirs.map(|dir| string(&[dir, b"/", program].concat())).collect()
}
