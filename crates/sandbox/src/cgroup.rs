//! Control groups limit all processes of a step together (cgroups(7)). Version 2, version 1 and
//! machines that have both are supported. Where kiln may write to no hierarchy, steps have no
//! group.
//!
//! A step's group is made before the step begins and removed after it has ended. The step's first
//! process enters the group before it does anything else, so that no process escapes. The next kiln
//! that makes a group removes the groups of a killed kiln.
//!
//! ```text
//! <place>/kiln.<pid namespace>-<pid>-<number>/     version 2: one, with every controller
//! <place of each controller>/kiln.<pid namespace>-<pid>-<number>/     version 1
//! ```
//!
//! Where possible, the group also limits which devices a step may open: see `devices`.

mod devices;
mod place;

use base::error::{Error, Kind, Result};
use devices::Folder;
pub use devices::{Device, Devices};
use place::Place;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// The default limit of a step's processes and threads: more than any build has. A machine that
/// allows fewer than twice as many gives a step half of what it allows.
const MOST_PROCESSES: u64 = 32_768;
/// A step that was refused this many new processes is a fork bomb, and is killed.
const MOST_REFUSALS: u64 = 1_000;

/// The limits of a step. None means no limit, except for `pids`, which has a default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Memory and swap together in bytes; -1 for no limit of swap.
    pub memory_swap: Option<i64>,
    /// Weight relative to other groups; 1024 is the default.
    pub cpu_shares: Option<u64>,
    /// The period of `cpu_quota`, in microseconds.
    pub cpu_period: Option<u64>,
    /// CPU time in each period, in microseconds; -1 for no limit.
    pub cpu_quota: Option<i64>,
    /// The CPUs that it may use, such as `0-2,4`.
    pub cpuset_cpus: Option<String>,
    /// The memory nodes that it may use, such as `0,1`.
    pub cpuset_mems: Option<String>,
    /// The number of processes and threads.
    pub pids: Option<u64>,
    /// `--cgroup-parent`: the group in which the groups are made.
    pub parent: Option<String>,
}

impl Resources {
    /// True if the user set any of these. Then a group that can't be made is an error.
    fn is_wished(&self) -> bool {
        *self != Resources::default()
    }

    /// The controllers that these limits need.
    fn controllers(&self) -> Vec<&'static str> {
        let cpu = self.cpu_shares.is_some() || self.cpu_period.is_some() || self.cpu_quota.is_some();
        let sets = self.cpuset_cpus.is_some() || self.cpuset_mems.is_some();
        let memory = self.memory.is_some() || self.memory_swap.is_some();
        let all = [("pids", true), ("memory", memory), ("cpu", cpu), ("cpuset", sets)];
        all.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| name).collect()
    }
}

/// The number of the next group of this process. It is part of the group's name, so that builds
/// which run side by side in one process use different names.
static NEXT: AtomicU64 = AtomicU64::new(0);

fn next() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The groups of a build's steps.
#[derive(Debug, Default)]
pub struct Groups {
    place: OnceLock<Result<Place, String>>,
    /// The machine's count of OOM kills when the first step began.
    kills: OnceLock<u64>,
    control: OnceLock<Control>,
}

/// Limits devices for steps that may open only the usual ones.
#[derive(Debug)]
enum Control {
    /// Version 1: the directory in which such groups are made, and the group that these steps
    /// share.
    Folder(PathBuf, Arc<Folder>),
    /// Version 2: a BPF program that is attached to each step's group.
    Program(OwnedFd),
    None,
}

impl Groups {
    /// Makes a group for a step. Returns None if no group can be made and the user asked for no
    /// limit.
    pub fn make(&self, resources: &Resources, devices: &Devices) -> Result<Option<Group>> {
        self.kills.get_or_init(machine_kills);
        let controllers = resources.controllers();
        let place = self.place.get_or_init(|| Place::find(&controllers, resources.parent.as_deref()));
        let number = next();
        let name = place::name(&number.to_string());
        let made = place.as_ref().map_err(Clone::clone).and_then(|place| Group::make(place, &name, resources));
        let mut group = match made {
            Ok(group) => group,
            Err(_) if !resources.is_wished() => Group::default(),
            Err(why) => return Err(Error::new(Kind::System, format!("the limits of steps can't be set: {why}")).hint(
                "leave them out, or run kiln as root, or in a control group that is yours (systemd-run --user --scope -p Delegate=yes kiln ...)",
            )),
        };
        if let Devices::UsualAnd(more) = devices {
            // If this fails, a step still can't open other devices, because its mounts are `nodev`.
            group.controls_devices = self.control(&mut group, more, number, resources.parent.as_deref()).is_ok();
        }
        Ok((!group.entries.is_empty()).then_some(group))
    }

    fn control(&self, group: &mut Group, more: &[Device], number: u64, parent: Option<&str>) -> Result<(), String> {
        let two = group.entries.iter().find_map(Entry::owned_folder);
        match self.control.get_or_init(|| Control::find(two.is_some(), parent)) {
            Control::Program(program) => {
                let folder = two.ok_or("the step has no group of version 2")?;
                if more.is_empty() {
                    devices::attach(folder, program)
                } else {
                    devices::attach(folder, &devices::load(more)?)
                }
            }
            Control::Folder(_, usual) if more.is_empty() => group.enter(usual.clone()),
            Control::Folder(place, _) => group.enter(Arc::new(Control::folder(place, number, more)?)),
            Control::None => Err("no control group can say it".to_owned()),
        }
    }
}

impl Control {
    fn find(two: bool, parent: Option<&str>) -> Control {
        if two && let Ok(program) = devices::load(&[]) {
            return Control::Program(program);
        }
        let found = place::of_devices(parent);
        let made = found.and_then(|place| Ok((Control::folder(&place, next(), &[])?, place)));
        made.map_or(Control::None, |(folder, place)| Control::Folder(place, Arc::new(folder)))
    }

    fn folder(place: &Path, number: u64, more: &[Device]) -> Result<Folder, String> {
        let path = place.join(place::name(&format!("devices-{number}")));
        fs::create_dir(&path).map_err(|cause| format!("cannot make {}: {cause}", path.display()))?;
        let folder = Folder(path);
        devices::limit(&folder.0, more).map_err(|cause| format!("cannot limit {}: {cause}", folder.0.display()))?;
        Ok(folder)
    }
}

impl Groups {
    /// True if the machine ran out of memory and killed a process since the first step began.
    pub fn machine_had_no_memory(&self) -> bool {
        self.kills.get().is_some_and(|before| machine_kills() > *before)
    }
}

/// The group of a step. Dropping it removes its directories.
#[derive(Debug, Default)]
pub struct Group {
    /// The group's directory in every hierarchy, for programs that enter the step later (see
    /// `attach`).
    folders: Vec<PathBuf>,
    /// The directories that this group owns and removes when it is dropped.
    own: Vec<Folder>,
    /// The group of the `devices` controller. Steps may share one.
    shared: Option<Arc<Folder>>,
    controls_devices: bool,
    entries: Vec<Entry>,
    /// `pids.events`, which counts the processes that were refused.
    pids: Option<File>,
    memory: Option<File>,
    limits: (Option<u64>, u64),
}

/// A way for a process to enter a group.
#[derive(Debug)]
pub enum Entry {
    /// A file to write `0` to.
    File(OwnedFd),
    /// A directory of version 2 for clone3(2), and its `cgroup.procs`. CLONE_INTO_CGROUP avoids the
    /// lock that moving a process takes for several milliseconds.
    Folder(OwnedFd, OwnedFd),
}

/// The limit that a step reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// The limit of memory, in bytes. None if it is the limit of a group above.
    Memory(Option<u64>),
    /// The limit of processes and threads.
    Processes(u64),
}

impl Group {
    fn make(place: &Place, name: &str, resources: &Resources) -> Result<Group, String> {
        let pids = resources.pids.unwrap_or_else(most_processes);
        let (mut refusals, mut kills) = (None, None);
        let mut group = Group { limits: (resources.memory, pids), ..Group::default() };
        for folder in place.folders(name) {
            fs::create_dir(&folder).map_err(|cause| format!("cannot make {}: {cause}", folder.display()))?;
            group.own.push(Folder(folder.clone()));
            group.folders.push(folder.clone());
            place.prepare(&folder);
            group.entries.push(place.entry(&folder)?);
            refusals = refusals.or_else(|| File::open(folder.join("pids.events")).ok());
            let events = folder.join(place.memory_events());
            kills = kills.or_else(|| File::open(events).ok());
        }
        (group.pids, group.memory) = (refusals, kills);
        for (controller, file, value) in place.settings(resources, pids) {
            let path = place.folder_of(controller, name).join(file);
            fs::write(&path, &value).map_err(|cause| format!("cannot write {value} to {}: {cause}", path.display()))?;
        }
        Ok(group)
    }

    fn enter(&mut self, folder: Arc<Folder>) -> Result<(), String> {
        self.entries.push(Entry::of_one(&folder.0)?);
        self.folders.push(folder.0.clone());
        self.shared = Some(folder);
        Ok(())
    }

    /// True if the group limits which devices may be opened.
    pub fn controls_devices(&self) -> bool {
        self.controls_devices
    }

    /// The group's directory in every hierarchy.
    pub(super) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// The entries through which the step's first process enters the group.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// True if so many processes were refused that the step can only be a fork bomb.
    pub(super) fn is_hopeless(&self) -> bool {
        self.refused() >= MOST_REFUSALS
    }

    fn refused(&self) -> u64 {
        self.pids.as_ref().map_or(0, |events| count(events, "max"))
    }

    /// The limit that the step reached, which may be why it failed.
    pub(super) fn exceeded(&self) -> Option<Exceeded> {
        if self.memory.as_ref().is_some_and(|events| count(events, "oom_kill") > 0) {
            return Some(Exceeded::Memory(self.limits.0));
        }
        (self.refused() > 0).then_some(Exceeded::Processes(self.limits.1))
    }
}

impl Entry {
    /// The `tasks` file of a directory of version 1. It moves one thread, which is all of a process
    /// with one thread. A thread that moves itself takes no system-wide lock.
    fn of_one(folder: &Path) -> Result<Entry, String> {
        Entry::open(&folder.join("tasks"), OFlags::WRONLY).map(Entry::File)
    }

    fn owned_folder(&self) -> Option<&OwnedFd> {
        match self {
            Entry::Folder(folder, _) => Some(folder),
            Entry::File(_) => None,
        }
    }

    pub(super) fn folder(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Entry::Folder(folder, _) => Some(folder.as_fd()),
            Entry::File(_) => None,
        }
    }

    /// The file to write `0` to, for a process that is not inside yet.
    pub(super) fn file(&self, inside: bool) -> Option<BorrowedFd<'_>> {
        match self {
            Entry::Folder(..) if inside => None,
            Entry::Folder(_, file) | Entry::File(file) => Some(file.as_fd()),
        }
    }

    fn open(path: &Path, flags: OFlags) -> Result<OwnedFd, String> {
        let opened = rustix::fs::openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty());
        opened.map_err(|cause| format!("cannot open {}: {cause}", path.display()))
    }
}

fn most_processes() -> u64 {
    let number = |name: &str| fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok()?.trim().parse::<u64>().ok();
    let machine = ["pid_max", "threads-max"].into_iter().filter_map(number).min();
    machine.map_or(MOST_PROCESSES, |machine| (machine / 2).clamp(1, MOST_PROCESSES))
}

/// Reads the file from its start and returns the number of the line `name number`.
fn count(events: &File, name: &str) -> u64 {
    let mut text = [0; 1024];
    let length = events.read_at(&mut text, 0).unwrap_or(0);
    let text = String::from_utf8_lossy(&text[..length]).into_owned();
    let row = text.lines().filter_map(|line| line.split_once(' ')).find(|(found, _)| *found == name);
    row.and_then(|(_, number)| number.trim().parse().ok()).unwrap_or(0)
}

/// The number of processes that the machine's OOM killer has killed (/proc/vmstat, proc(5)).
fn machine_kills() -> u64 {
    File::open("/proc/vmstat").map_or(0, |file| {
        let text = std::io::read_to_string(file).unwrap_or_default();
        let row = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        row.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
    })
}
