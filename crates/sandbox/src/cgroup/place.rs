//! Finds where groups can be made: the mounted hierarchies, those that kiln may write to, and the
//! file for each limit (Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/*.rst).

use super::{Entry, Resources};
use rustix::fs::OFlags;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The end of the name of a group that is made only to test a directory.
const TRIAL: &str = "trial";

#[derive(Debug)]
pub(super) enum Place {
    /// Version 2: one hierarchy for every controller.
    Two(PathBuf),
    /// Version 1: one hierarchy for each controller.
    One(Vec<(&'static str, PathBuf)>),
}

/// A mounted hierarchy.
struct Mounted {
    at: PathBuf,
    /// The directory of the hierarchy that is mounted (field `root` of mountinfo).
    root: String,
    /// The controllers of version 1. None for version 2.
    controllers: Option<Vec<String>>,
}

impl Place {
    /// Finds the first directory that has all controllers and where groups can be made. The error
    /// says why there is none.
    pub(super) fn find(controllers: &[&'static str], parent: Option<&str>) -> Result<Place, String> {
        let mounted = mounted();
        if mounted.is_empty() {
            return Err("no control groups are mounted".to_owned());
        }
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let two = mounted.iter().filter(|mounted| mounted.controllers.is_none());
        let mut why = None;
        for folder in two.flat_map(|mounted| candidates(mounted, &own, parent)) {
            match serves(&folder, controllers) {
                Ok(()) => return Ok(Place::Two(folder)),
                Err(cause) => why = why.or(Some(cause)),
            }
        }
        let one = controllers.iter().map(|controller| Ok((*controller, of_one(controller, &mounted, &own, parent)?)));
        let one = one.collect::<Result<Vec<_>, _>>();
        one.map(Place::One).map_err(|cause| {
            if mounted.iter().any(|mounted| mounted.controllers.is_some()) { cause } else { why.unwrap_or(cause) }
        })
    }

    /// The directories of a group of this name.
    pub(super) fn folders(&self, name: &str) -> Vec<PathBuf> {
        match self {
            Place::Two(place) => vec![place.join(name)],
            Place::One(places) => {
                let mut all: Vec<PathBuf> = places.iter().map(|(_, place)| place.join(name)).collect();
                // Controllers that are mounted together share one directory.
                all.dedup();
                all
            }
        }
    }

    pub(super) fn folder_of(&self, controller: &str, name: &str) -> PathBuf {
        match self {
            Place::Two(place) => place.join(name),
            Place::One(places) => {
                let place = places.iter().find(|(found, _)| *found == controller);
                place.map(|(_, place)| place.join(name)).unwrap_or_default()
            }
        }
    }

    /// A new cpuset of version 1 is empty, and no process can enter it: copies the sets of the
    /// parent.
    pub(super) fn prepare(&self, folder: &Path) {
        if matches!(self, Place::One(_)) {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let parent = folder.parent().map(|parent| parent.join(file));
                if let Some(value) = parent.and_then(|parent| fs::read(parent).ok()) {
                    let _ = fs::write(folder.join(file), value);
                }
            }
        }
    }

    pub(super) fn entry(&self, folder: &Path) -> Result<Entry, String> {
        match self {
            Place::Two(_) => Ok(Entry::Folder(
                Entry::open(folder, OFlags::PATH | OFlags::DIRECTORY)?,
                Entry::open(&folder.join("cgroup.procs"), OFlags::WRONLY)?,
            )),
            Place::One(_) => Entry::of_one(folder),
        }
    }

    pub(super) fn memory_events(&self) -> &'static str {
        match self {
            Place::Two(_) => "memory.events",
            Place::One(_) => "memory.oom_control",
        }
    }

    /// Controller, file and value, in the order in which they must be written.
    pub(super) fn settings(&self, wanted: &Resources, pids: u64) -> Vec<(&'static str, &'static str, String)> {
        let mut all = vec![("pids", "pids.max", pids.to_string())];
        let mut add =
            |controller, file, value: Option<String>| all.extend(value.map(|value| (controller, file, value)));
        // As in Docker, memory and swap together default to twice the memory.
        let swap = wanted
            .memory_swap
            .or(wanted.memory.map(|memory| i64::try_from(memory.saturating_mul(2)).unwrap_or(i64::MAX)));
        let number = |value: Option<u64>| value.map(|value| value.to_string());
        match self {
            Place::Two(place) => {
                add("memory", "memory.max", number(wanted.memory));
                // A kernel without swap accounting has no such file.
                let swap =
                    swap.filter(|_| place_has_swap(place)).map(|swap| match (u64::try_from(swap), wanted.memory) {
                        (Ok(swap), Some(memory)) => swap.saturating_sub(memory).to_string(),
                        _ => "max".to_owned(),
                    });
                add("memory", "memory.swap.max", swap);
                add("cpu", "cpu.weight", wanted.cpu_shares.map(|shares| weight(shares).to_string()));
                if wanted.cpu_quota.is_some() || wanted.cpu_period.is_some() {
                    let quota =
                        wanted.cpu_quota.filter(|quota| *quota > 0).map_or("max".to_owned(), |quota| quota.to_string());
                    add("cpu", "cpu.max", Some(format!("{quota} {}", wanted.cpu_period.unwrap_or(100_000))));
                }
            }
            Place::One(places) => {
                add("memory", "memory.limit_in_bytes", number(wanted.memory));
                let counted = places
                    .iter()
                    .any(|(name, place)| *name == "memory" && place.join("memory.memsw.limit_in_bytes").exists());
                add("memory", "memory.memsw.limit_in_bytes", swap.filter(|_| counted).map(|swap| swap.to_string()));
                add("cpu", "cpu.shares", number(wanted.cpu_shares));
                add("cpu", "cpu.cfs_period_us", number(wanted.cpu_period));
                add("cpu", "cpu.cfs_quota_us", wanted.cpu_quota.map(|quota| quota.to_string()));
            }
        }
        add("cpuset", "cpuset.cpus", wanted.cpuset_cpus.clone());
        add("cpuset", "cpuset.mems", wanted.cpuset_mems.clone());
        all
    }
}

/// The directory in which groups of version 1's controller `devices` can be made.
pub(super) fn of_devices(parent: Option<&str>) -> Result<PathBuf, String> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    of_one("devices", &mounted(), &own, parent)
}

/// The directory in which groups of a controller of version 1 can be made. A group is made there as
/// a test.
fn of_one(controller: &str, mounted: &[Mounted], own: &str, parent: Option<&str>) -> Result<PathBuf, String> {
    let has =
        |mounted: &&Mounted| mounted.controllers.as_ref().is_some_and(|all| all.iter().any(|name| name == controller));
    let mounted = mounted.iter().find(has).ok_or_else(|| format!("there is no controller `{controller}`"))?;
    let folder = candidates(mounted, own, parent).into_iter().next().unwrap_or_else(|| mounted.at.clone());
    try_out(&folder)?;
    Ok(folder)
}

fn place_has_swap(place: &Path) -> bool {
    let name = place.join(name(TRIAL));
    let has = fs::create_dir(&name).is_ok() && name.join("memory.swap.max").exists();
    let _ = fs::remove_dir(&name);
    has
}

/// Converts version 1's shares (2 to 262144) to version 2's weight (1 to 10000), as runc does.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// The mounted hierarchies, from /proc/self/mountinfo (proc_pid_mountinfo(5)).
fn mounted() -> Vec<Mounted> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let row = |line: &str| {
        let (mount, rest) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, at) = (mount.next()?.to_owned(), PathBuf::from(mount.next()?));
        let mut rest = rest.split(' ');
        match rest.next()? {
            "cgroup2" => Some(Mounted { at, root, controllers: None }),
            "cgroup" => {
                let options = rest.next_back()?.split(',').map(str::to_owned).collect();
                Some(Mounted { at, root, controllers: Some(options) })
            }
            _ => None,
        }
    };
    text.lines().filter_map(row).collect()
}

/// The directories in which a group may be made: our own group and those above it in version 2,
/// only our own in version 1.
fn candidates(mounted: &Mounted, own: &str, parent: Option<&str>) -> Vec<PathBuf> {
    if let Some(parent) = parent {
        let names = Path::new(parent).components().filter_map(|part| match part {
            std::path::Component::Normal(name) => Some(name),
            _ => None,
        });
        return vec![names.fold(mounted.at.clone(), |folder, name| folder.join(name))];
    }
    let ours = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (names, path) = (fields.next()?, fields.next()?);
        let is = match &mounted.controllers {
            None => names.is_empty(),
            Some(all) => names.split(',').any(|name| !name.is_empty() && all.iter().any(|known| known == name)),
        };
        is.then_some(path)
    });
    let inside = ours.unwrap_or("/");
    let inside = inside.strip_prefix(mounted.root.as_str()).filter(|_| mounted.root != "/").unwrap_or(inside);
    let folder = mounted.at.join(inside.trim_start_matches('/'));
    if mounted.controllers.is_some() {
        return vec![folder];
    }
    // In version 2 only the root can have both processes and children with controllers (the no
    // internal process constraint). So the nearest directory that works is used.
    folder.ancestors().take_while(|above| above.starts_with(&mounted.at)).map(Path::to_owned).collect()
}

/// The name of a group of this process. It holds the pid namespace, because several containers may
/// see the same groups and a pid is unique only in its namespace.
pub(super) fn name(end: &str) -> String {
    format!("kiln.{}-{}-{end}", namespace(), std::process::id())
}

fn namespace() -> u64 {
    static NAMESPACE: OnceLock<u64> = OnceLock::new();
    *NAMESPACE.get_or_init(|| fs::metadata("/proc/self/ns/pid").map_or(0, |metadata| metadata.ino()))
}

/// Removes the groups of kiln processes that have ended. Those of another pid namespace are left
/// alone.
fn sweep(folder: &Path) {
    let ours = format!("kiln.{}-", namespace());
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(&ours).and_then(|rest| rest.split('-').next()).and_then(|pid| pid.parse().ok());
        if pid.is_some_and(|pid: u32| !Path::new(&format!("/proc/{pid}")).exists()) {
            // A group that still has processes can't be removed, and stays.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Makes a group to test a directory, after removing what killed builds left there.
fn trial(folder: &Path) -> Result<PathBuf, String> {
    sweep(folder);
    // The directory of --cgroup-parent may not exist yet. All others exist.
    let _ = fs::create_dir_all(folder);
    let name = folder.join(name(TRIAL));
    fs::create_dir(&name).map_err(|cause| format!("cannot make a control group in {}: {cause}", folder.display()))?;
    Ok(name)
}

fn try_out(folder: &Path) -> Result<(), String> {
    let name = trial(folder)?;
    let _ = fs::remove_dir(name);
    Ok(())
}

/// Succeeds if groups with these controllers can be made in a directory of version 2.
fn serves(folder: &Path, controllers: &[&str]) -> Result<(), String> {
    let name = trial(folder)?;
    let given = || fs::read_to_string(name.join("cgroup.controllers")).unwrap_or_default();
    let missing =
        || controllers.iter().find(|wanted| !given().split_whitespace().any(|name| name == **wanted)).copied();
    if missing().is_some() {
        for controller in controllers {
            // The kernel refuses this if the directory has processes of its own.
            let _ = fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
    let missing = missing();
    let _ = fs::remove_dir(&name);
    match missing {
        None => Ok(()),
        Some(controller) => Err(format!("the controller `{controller}` is not given to {}", folder.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(place: &Place, wanted: &Resources) -> Vec<String> {
        place.settings(wanted, 10).into_iter().map(|(_, file, value)| format!("{file}={value}")).collect()
    }

    #[test]
    fn each_version_gets_its_own_files_and_units() {
        let wanted = Resources {
            memory: Some(1000),
            cpu_shares: Some(1024),
            cpu_quota: Some(50_000),
            cpuset_cpus: Some("0-1".to_owned()),
            ..Resources::default()
        };
        let two = written(&Place::Two("/nowhere".into()), &wanted);
        assert_eq!(two, ["pids.max=10", "memory.max=1000", "cpu.weight=39", "cpu.max=50000 100000", "cpuset.cpus=0-1"]);
        let one = written(&Place::One(Vec::new()), &wanted);
        let expected = [
            "pids.max=10",
            "memory.limit_in_bytes=1000",
            "cpu.shares=1024",
            "cpu.cfs_quota_us=50000",
            "cpuset.cpus=0-1",
        ];
        assert_eq!(one, expected);
        assert_eq!((weight(2), weight(262_144), weight(0)), (1, 10_000, 1));
    }

    #[test]
    fn groups_are_made_where_we_are_or_above_and_never_outside_of_the_hierarchy() {
        let two = Mounted { at: "/sys/fs/cgroup".into(), root: "/".to_owned(), controllers: None };
        let own = "5:memory,cpu:/job\n0::/user.slice/app.scope\n";
        let paths = |mounted: &Mounted, parent| {
            candidates(mounted, own, parent).iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        let above = ["/sys/fs/cgroup/user.slice/app.scope", "/sys/fs/cgroup/user.slice", "/sys/fs/cgroup"];
        assert_eq!(paths(&two, None), above);
        let one = Mounted {
            at: "/sys/fs/cgroup/m".into(),
            root: "/job".to_owned(),
            controllers: Some(vec!["memory".to_owned()]),
        };
        assert_eq!(paths(&one, None), ["/sys/fs/cgroup/m/"]);
        let nowhere = Mounted { at: "/nowhere/cgroup".into(), ..two };
        assert_eq!(paths(&nowhere, Some("../../etc/x")), ["/nowhere/cgroup/etc/x"]);
    }
}
