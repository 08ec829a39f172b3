//! What the processes of a container are doing: for people who look at a step that does not end (proc_pid_stat(5),
//! proc_pid_wchan(5)).

use crate::text;
use rustix::fd::{AsRawFd as _, OwnedFd};
use std::collections::HashMap;
use std::fs;

/// Lines of an answer; more than this nobody reads.
const MOST: usize = 40;
/// Of one command line.
const LONGEST: usize = 120;

/// A line for each process that began with this one, indented below its parent: state, command, where it waits.
pub fn doing(process: &OwnedFd) -> Vec<String> {
    number(process).map(tree).unwrap_or_default()
}

/// The number behind a descriptor of a process.
pub(super) fn number(process: &OwnedFd) -> Option<u32> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())
}

/// The same for a process by its number.
pub fn tree(pid: u32) -> Vec<String> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok())
            && let Some(parent) = parent(child)
        {
            children.entry(parent).or_default().push(child);
        }
    }
    let mut lines = Vec::new();
    describe(pid, 0, &children, &mut lines);
    lines
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

/// The fields behind the name, which may hold anything: the first is the state.
pub(super) fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
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
