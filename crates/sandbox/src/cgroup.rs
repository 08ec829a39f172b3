//! Control groups: what bounds all processes of a step together (cgroups(7)). Version 2, version 1, and machines that have
//! both; none where nothing may be written.
//!
//! A step's group is made before it begins and removed when it has ended. Its first process enters it before it does
//! anything else, so that nothing escapes. What a killed kiln left is removed by the next that makes a group.
//!
//! ```text
//! <place>/kiln.<pid namespace>-<pid>-<number>/     version 2: one, with every controller
//! <place of each controller>/kiln.<pid namespace>-<pid>-<number>/     version 1
//! ```
//!
//! What devices a step may open is said in its group too, where that can be: see `devices`.

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

/// Processes and threads of a step when nothing else is asked for: more than any build has. Where the machine has not
/// twice as many, half of what it has.
const MOST_PROCESSES: u64 = 32_768;
/// A step that was refused as many new processes as this does nothing else any more.
const MOST_REFUSALS: u64 = 1_000;

/// What a step may use. Nothing means no bound, but for the processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Bytes.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together; -1 for no bound of swap.
    pub memory_swap: Option<i64>,
    /// Relative to others; 1024 is usual.
    pub cpu_shares: Option<u64>,
    /// Microseconds.
    pub cpu_period: Option<u64>,
    /// Microseconds of each period; -1 for no bound.
    pub cpu_quota: Option<i64>,
    /// `0-2,4`.
    pub cpuset_cpus: Option<String>,
    /// `0,1`.
    pub cpuset_mems: Option<String>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// `--cgroup-parent`: where the groups are made.
    pub parent: Option<String>,
}

impl Resources {
    /// Whether the user wants any bound: then it must not be missing in silence.
    fn is_wished(&self) -> bool {
        *self != Resources::default()
    }

    /// The controllers that it takes.
    fn controllers(&self) -> Vec<&'static str> {
        let cpu = self.cpu_shares.is_some() || self.cpu_period.is_some() || self.cpu_quota.is_some();
        let sets = self.cpuset_cpus.is_some() || self.cpuset_mems.is_some();
        let memory = self.memory.is_some() || self.memory_swap.is_some();
        let all = [("pids", true), ("memory", memory), ("cpu", cpu), ("cpuset", sets)];
        all.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| name).collect()
    }
}

/// The number of the next group of this process: several builds of it run side by side, and a name is made of the
/// process and this number.
static NEXT: AtomicU64 = AtomicU64::new(0);

fn next() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The groups of a build's steps.
#[derive(Debug, Default)]
pub struct Groups {
    place: OnceLock<Result<Place, String>>,
    /// How often the machine had run out of memory when the first step began.
    kills: OnceLock<u64>,
    control: OnceLock<Control>,
}

/// What says which devices steps open that have no others than the usual.
#[derive(Debug)]
enum Control {
    /// A group of version 1, and where it and others are.
    Folder(PathBuf, Arc<Folder>),
    /// A program for groups of version 2.
    Program(OwnedFd),
    None,
}

impl Groups {
    /// A group for a step. None where there can be none and nobody asked for one.
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
            // Where it fails no device is opened either: mounts say so as well.
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
    /// Whether the machine ran out of memory and killed somebody since the first step began.
    pub fn machine_had_no_memory(&self) -> bool {
        self.kills.get().is_some_and(|before| machine_kills() > *before)
    }
}

/// A step's group, gone with this.
#[derive(Debug, Default)]
pub struct Group {
    /// Where it is, in every hierarchy, for whoever enters it later.
    folders: Vec<PathBuf>,
    /// Those that are gone with it.
    own: Vec<Folder>,
    /// That of the `devices` controller, which steps may share.
    shared: Option<Arc<Folder>>,
    controls_devices: bool,
    entries: Vec<Entry>,
    /// How many processes were refused.
    pids: Option<File>,
    memory: Option<File>,
    limits: (Option<u64>, u64),
}

/// How a process comes into a group.
#[derive(Debug)]
pub enum Entry {
    /// A file to write `0` to.
    File(OwnedFd),
    /// A folder of version 2, for clone3(2): CLONE_INTO_CGROUP does without the lock that moving a process takes for
    /// several milliseconds.
    Folder(OwnedFd, OwnedFd),
}

/// What a group put an end to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// So many bytes were not enough; none: those of a group above.
    Memory(Option<u64>),
    /// So many processes were not enough.
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

    /// Whether it says which devices may be opened.
    pub fn controls_devices(&self) -> bool {
        self.controls_devices
    }

    /// Where it is, in every hierarchy.
    pub(super) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// What the step's first process enters.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether so many processes were refused that the step can only be a bomb.
    pub(super) fn is_hopeless(&self) -> bool {
        self.refused() >= MOST_REFUSALS
    }

    fn refused(&self) -> u64 {
        self.pids.as_ref().map_or(0, |events| count(events, "max"))
    }

    /// Why a step that failed may have.
    pub(super) fn exceeded(&self) -> Option<Exceeded> {
        if self.memory.as_ref().is_some_and(|events| count(events, "oom_kill") > 0) {
            return Some(Exceeded::Memory(self.limits.0));
        }
        (self.refused() > 0).then_some(Exceeded::Processes(self.limits.1))
    }
}

impl Entry {
    /// A folder of version 1. Of a process with one thread `tasks` moves the whole, and moving oneself takes no lock of the
    /// machine's.
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

/// A number of a file of lines `name number`, read anew.
fn count(events: &File, name: &str) -> u64 {
    let mut text = [0; 1024];
    let length = events.read_at(&mut text, 0).unwrap_or(0);
    let text = String::from_utf8_lossy(&text[..length]).into_owned();
    let row = text.lines().filter_map(|line| line.split_once(' ')).find(|(found, _)| *found == name);
    row.and_then(|(_, number)| number.trim().parse().ok()).unwrap_or(0)
}

/// How often the machine as a whole ran out of memory and killed somebody (/proc/vmstat, proc(5)).
fn machine_kills() -> u64 {
    File::open("/proc/vmstat").map_or(0, |file| {
        let text = std::io::read_to_string(file).unwrap_or_default();
        let row = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        row.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
    })
}
