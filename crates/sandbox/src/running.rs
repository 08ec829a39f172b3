//! Lists the running steps of every build on this store: for people who look at one, and for the
//! build that follows a killed one.
//!
//! ```text
//! <root>/steps-v1/<pid namespace>-<pid of kiln>-<start of kiln>-<number>   JSON: `Step`
//! ```
//!
//! A file is made before its step begins, written when the step has begun and removed when it has
//! ended. It is valid as long as its kiln lives: a process is identified by its pid and its start
//! time (proc_pid_stat(5)), so that a reused pid is never mistaken for it. The next step of any
//! build removes the files of a killed kiln. It first waits until the containers they name are
//! gone: the lock of the key ends with kiln, the container some milliseconds later. Files of
//! another pid namespace are left alone. GC rule: none needed.

use super::pidfd::{ends_within, has_ended};
use super::program::User;
use super::{Spec, processes};
use base::clock::since_1970;
use base::error::{At, Error, Kind, Result};
use base::read;
use rustix::event::Timespec;
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The largest file that is read. Kiln writes no larger ones.
const LARGEST: u64 = 1 << 20;
/// How long the container of a killed build may take to end.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
/// The process flag of a process that is about to end (PF_EXITING, linux/sched.h).
const EXITING: u64 = 4;

/// A process, identified even after its pid is reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The pid as kiln sees it.
    pub pid: u32,
    /// The start time, in clock ticks since boot.
    pub start: u64,
}

/// A running step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// The name that the progress view shows.
    pub name: String,
    /// When it began, in milliseconds since 1970.
    pub begun: u64,
    /// The first process of its container.
    pub process: Process,
    /// The user that its program runs as.
    pub user: User,
    /// The working directory.
    pub cwd: Vec<u8>,
    /// The directories of its control group.
    pub groups: Vec<PathBuf>,
}

/// The list of a build's steps. Clones share it.
#[derive(Clone, Debug)]
pub struct Steps(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    build: Option<Name>,
}

/// The number of the next step of this process, which may run several builds at once.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The parts of a file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name {
    namespace: u64,
    build: Process,
    number: u64,
}

impl Process {
    /// The process that has this pid now.
    fn of(pid: u32) -> Option<Process> {
        let start = processes::stat(pid)?.get(19)?.parse().ok()?;
        Some(Process { pid, start })
    }

    /// Opens a pidfd. None if the process has ended; it may be about to end.
    pub(super) fn open(&self) -> Option<OwnedFd> {
        let opened = pidfd_open(Pid::from_raw(i32::try_from(self.pid).ok()?)?, PidfdFlags::empty()).ok()?;
        // The pid is checked after the pidfd was opened: if it still has the same start time, and
        // the process has not ended, the pidfd is the right one.
        (Process::of(self.pid) == Some(*self) && !has_ended(&opened)).then_some(opened)
    }

    /// True if the process exists and is not about to end.
    fn is_alive(&self) -> bool {
        let Some(stat) = processes::stat(self.pid) else { return false };
        let number = |at: usize| stat.get(at).and_then(|field| field.parse::<u64>().ok());
        let state = stat.first().map(String::as_str);
        number(19) == Some(self.start) && !matches!(state, Some("Z" | "X")) && number(6).unwrap_or(0) & EXITING == 0
    }
}

impl Name {
    fn parse(name: &str) -> Option<Name> {
        let mut parts = name.split('-').map(|part| part.parse::<u64>().ok());
        let mut next = || parts.next().flatten();
        let (namespace, pid, start, number) = (next()?, next()?, next()?, next()?);
        Some(Name { namespace, build: Process { pid: u32::try_from(pid).ok()?, start }, number })
    }

    fn text(&self) -> String {
        format!("{}-{}-{}-{}", self.namespace, self.build.pid, self.build.start, self.number)
    }
}

/// The inode number of our pid namespace.
fn namespace() -> Option<u64> {
    fs::metadata("/proc/self/ns/pid").ok().map(|metadata| metadata.ino())
}

/// The directory of these files under a store's root.
pub fn folder(root: &Path) -> PathBuf {
    root.join("steps-v1")
}

impl Steps {
    /// Makes the list for a build that begins.
    pub fn of(root: &Path) -> Steps {
        let build = namespace().zip(Process::of(std::process::id()));
        let build = build.map(|(namespace, build)| Name { namespace, build, number: 0 });
        Steps(Arc::new(Inner { folder: folder(root), build }))
    }

    /// Makes the file for a step that is about to begin. Returns once no container of a killed
    /// build is left.
    pub(super) fn place(&self) -> Result<Place> {
        let Some(build) = self.0.build else { return Err(Error::new(Kind::System, "cannot read /proc/self/stat")) };
        self.sweep(build)?;
        let name = Name { number: NEXT.fetch_add(1, Ordering::Relaxed), ..build };
        let path = self.0.folder.join(name.text());
        let open = || OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&path);
        let file = open().or_else(|_| fs::create_dir_all(&self.0.folder).and_then(|()| open())).at("make", &path)?;
        Ok(Place { path, file })
    }

    fn sweep(&self, own: Name) -> Result<()> {
        for (path, name) in entries(&self.0.folder) {
            if name.namespace != own.namespace || name.build == own.build || name.build.is_alive() {
                continue;
            }
            if let Some(step) = listed(&path) {
                wait_for_end(&step)?;
            }
            let _ = fs::remove_file(&path);
        }
        Ok(())
    }
}

/// Kills the container of a killed build, if the kernel has not done so yet.
fn wait_for_end(step: &Step) -> Result<()> {
    let Some(process) = step.process.open() else { return Ok(()) };
    // This is not permitted if it runs as another user in another user namespace. Then the kernel
    // alone ends it.
    let _ = pidfd_send_signal(&process, Signal::KILL);
    if ends_within(&process, PATIENCE) {
        return Ok(());
    }
    let pid = step.process.pid;
    Err(Error::new(Kind::System, format!("a step of a build that was killed does not end: {}", step.name))
        .because(processes::tree(pid).join("\n"))
        .hint(format!("end process {pid}, then build again")))
}

fn entries(folder: &Path) -> Vec<(PathBuf, Name)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.path(), Name::parse(entry.file_name().to_str()?)?))).collect()
}

/// Reads a file, if we own it: a file of another user could make us enter any process.
fn listed(path: &Path) -> Option<Step> {
    let file = File::open(path).ok()?;
    if file.metadata().ok()?.uid() != rustix::process::geteuid().as_raw() {
        return None;
    }
    serde_json::from_slice(&read::at_most(LARGEST, file).ok()??).ok()
}

/// A step's file in the list. Dropping it removes the file.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    file: File,
}

impl Place {
    /// Lists a step that has begun. If that fails, the step runs unlisted.
    pub(super) fn list(&self, name: &str, process: &OwnedFd, spec: &Spec) {
        let Some(process) = processes::number(process).and_then(Process::of) else { return };
        let step = Step {
            name: name.to_owned(),
            begun: u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX),
            process,
            user: spec.user.clone(),
            cwd: spec.cwd.clone(),
            groups: spec.group.as_ref().map(|group| group.folders().to_vec()).unwrap_or_default(),
        };
        if let Ok(text) = serde_json::to_vec(&step) {
            let _ = (&self.file).write_all(&text);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A later step removes what is left.
        let _ = fs::remove_file(&self.path);
    }
}

/// A running step of a running build.
#[derive(Debug)]
pub struct Running {
    /// `<pid of the build>-<number>`, which identifies it while it runs.
    pub id: String,
    /// The pid of the build.
    pub build: u32,
    /// The step.
    pub step: Step,
}

/// Lists our running steps, by build and age.
pub fn list(root: &Path) -> Vec<Running> {
    let here = namespace();
    let mut found = entries(&folder(root));
    found.retain(|(_, name)| Some(name.namespace) == here && name.build.is_alive());
    found.sort_by_key(|(_, name)| (name.build.start, name.build.pid, name.number));
    let running = |(path, name): (PathBuf, Name)| {
        let step = listed(&path).filter(|step| step.process.is_alive())?;
        Some(Running { id: format!("{}-{}", name.build.pid, name.number), build: name.build.pid, step })
    };
    found.into_iter().filter_map(running).collect()
}

impl Running {
    /// How long it has run.
    pub fn age(&self) -> Duration {
        since_1970().saturating_sub(Duration::from_millis(self.step.begun))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_they_said() {
        let name = Name { namespace: 4_026_531_836, build: Process { pid: 17, start: 99 }, number: 3 };
        assert_eq!(Name::parse(&name.text()), Some(name));
        for other in ["", "1-2-3", "1-2-3-x", "../1-2-3-4", "1-99999999999-3-4"] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_number_that_was_given_anew_is_another_process() {
        let own = Process::of(std::process::id()).expect("we are there");
        assert!(own.is_alive() && own.open().is_some());
        let other = Process { start: own.start + 1, ..own };
        assert!(!other.is_alive() && other.open().is_none());
    }
}
