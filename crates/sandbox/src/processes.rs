//! Lists what the processes of a container are doing, for people who look at a step that does not
//! end (proc_pid_stat(5), proc_pid_wchan(5)).

use base::text;
use rustix::fd::{AsRawFd as _, OwnedFd};
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// The most lines of a list.
const MOST: usize = 40;
/// The most characters of a command line.
const LONGEST: usize = 120;

/// A line for this process and each of its descendants, indented below its parent: state, command,
/// and where in the kernel it waits.
pub fn doing(process: &OwnedFd) -> Vec<String> {
    number(process).map(tree).unwrap_or_default()
}

/// The pid of a pidfd.
pub(super) fn number(process: &OwnedFd) -> Option<u32> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())
}

/// The same as [`doing`], for a pid.
pub fn tree(pid: u32) -> Vec<String> {
    let mut lines = Vec::new();
    describe(pid, 0, &children(), &mut lines);
    lines
}

/// Counts the processes that, themselves or in a descendant, have a thread that runs, waits for a
/// core or waits for a disk.
pub(super) fn busy(pids: &[u32]) -> usize {
    let children = children();
    let is_busy = |pid: &&u32| {
        let mut todo = vec![**pid];
        while let Some(pid) = todo.pop() {
            if threads(pid).any(|state| matches!(state.as_str(), "R" | "D")) {
                return true;
            }
            todo.extend(children.get(&pid).into_iter().flatten());
        }
        false
    };
    pids.iter().filter(is_busy).count()
}

/// The states of a process's threads.
fn threads(pid: u32) -> impl Iterator<Item = String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.filter_map(|task| fields(&task.path().join("stat"))?.into_iter().next())
}

/// The child processes of every process.
fn children() -> HashMap<u32, Vec<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok())
            && let Some(parent) = parent(child)
        {
            children.entry(parent).or_default().push(child);
        }
    }
    children
}

fn describe(pid: u32, depth: usize, children: &HashMap<u32, Vec<u32>>, lines: &mut Vec<String>) {
    if lines.len() >= MOST {
        return;
    }
    lines.push(format!("{:width$}{}", "", line(pid), width = depth.min(10) * 2));
    let mut below = children.get(&pid).cloned().unwrap_or_default();
    below.sort_unstable();
    below.iter().for_each(|child| describe(*child, depth + 1, children, lines));
}

/// The fields of /proc/pid/stat after the process's name, which may hold any character. The first
/// is the state.
pub(super) fn stat(pid: u32) -> Option<Vec<String>> {
    fields(Path::new(&format!("/proc/{pid}/stat")))
}

fn fields(path: &Path) -> Option<Vec<String>> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.rsplit_once(") ")?.1.split_ascii_whitespace().map(str::to_owned).collect())
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

fn line(pid: u32) -> String {
    let state = match stat(pid).unwrap_or_default().first().map(String::as_str) {
        Some("R") => "runs",
        Some("S") => "sleeps",
        Some("D") => "waits for a device",
        Some("Z") => "has ended",
        Some("T" | "t") => "is stopped",
        _ => "is gone",
    };
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command).trim_end_matches('\0').replace('\0', " ");
    let command = text::line(&command, LONGEST);
    let place = fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    match place.as_str() {
        "" | "0" => format!("{pid} {state}: {command}"),
        place => format!("{pid} {state} in {place}: {command}"),
    }
}
