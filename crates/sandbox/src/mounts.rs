//! The paths that every container has mounted, hidden and read-only, as in Docker.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::OnceLock;

/// The mounts of every container, in the order in which they are made.
pub(super) const FIXED: &[&CStr] =
    &[c"proc", c"dev", c"dev/pts", c"dev/shm", c"dev/mqueue", c"sys", c"etc/hosts", c"etc/resolv.conf"];

/// Hidden paths: /dev/null covers files, an empty directory covers directories.
pub(super) const MASKED: &[&CStr] = &[
    c"proc/acpi",
    c"proc/asound",
    c"proc/interrupts",
    c"proc/kcore",
    c"proc/keys",
    c"proc/latency_stats",
    c"proc/sched_debug",
    c"proc/scsi",
    c"proc/timer_list",
    c"proc/timer_stats",
    c"sys/devices/virtual/powercap",
    c"sys/firmware",
];

/// The thermal data of each processor, through which steps could observe each other. It is hidden
/// as well. Read once.
pub(super) fn heat() -> &'static [CString] {
    static HEAT: OnceLock<Vec<CString>> = OnceLock::new();
    HEAT.get_or_init(|| throttles(Path::new("/sys/devices/system/cpu")))
}

/// The `thermal_throttle` directories below a directory of processors, without the leading slash.
fn throttles(processors: &Path) -> Vec<CString> {
    let processors = std::fs::read_dir(processors).into_iter().flatten().flatten();
    let places = processors.map(|entry| entry.path().join("thermal_throttle")).filter(|place| place.is_dir());
    places.filter_map(|place| CString::new(place.as_os_str().as_bytes().get(1..)?).ok()).collect()
}

/// Read-only paths.
pub(super) const PROTECTED: &[&CStr] = &[c"proc/bus", c"proc/fs", c"proc/irq", c"proc/sys", c"proc/sysrq-trigger"];

/// Devices of the host that a container has: name, major and minor number.
pub(super) const DEVICES: &[(&CStr, &CStr, u32, u32)] = &[
    (c"null", c"/dev/null", 1, 3),
    (c"zero", c"/dev/zero", 1, 5),
    (c"full", c"/dev/full", 1, 7),
    (c"random", c"/dev/random", 1, 8),
    (c"urandom", c"/dev/urandom", 1, 9),
    (c"tty", c"/dev/tty", 5, 0),
];

/// Links in /dev.
pub(super) const LINKS: &[(&CStr, &CStr)] = &[
    (c"fd", c"/proc/self/fd"),
    (c"stdin", c"/proc/self/fd/0"),
    (c"stdout", c"/proc/self/fd/1"),
    (c"stderr", c"/proc/self/fd/2"),
    (c"ptmx", c"pts/ptmx"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heat_of_each_processor_that_counts_it_is_hidden() {
        let dir = tempfile::tempdir().expect("a folder");
        for place in ["cpu0/thermal_throttle", "cpu1/cache", "cpu12/thermal_throttle", "cpuidle"] {
            std::fs::create_dir_all(dir.path().join(place)).expect("made");
        }
        let mut found = throttles(dir.path());
        found.sort();
        let name = |cpu| format!("{}/{cpu}/thermal_throttle", &dir.path().display().to_string()[1..]);
        let names: Vec<_> = ["cpu0", "cpu12"].map(name).into_iter().map(|name| CString::new(name).ok()).collect();
        assert_eq!(found.into_iter().map(Some).collect::<Vec<_>>(), names);
        assert_eq!(throttles(Path::new("/nowhere")), Vec::<CString>::new());
    }
}
