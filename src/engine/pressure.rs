//! The brake: decides if another step may start, or must wait. It does not know steps, only their
//! number and how many of them want a core now.
//!
//! - Memory: a step waits if too little memory is available, or if little is available and all
//!   processes are stalled on it (`full` in Documentation/accounting/psi.rst of the kernel).
//!   Available is MemAvailable of proc(5), which includes the page cache, or the rest of the limit
//!   of kiln's own cgroup. `some` means nothing: it rises when others fill the page cache.
//! - Cores: as many steps as there are cores start at once. Further ones start while the running
//!   ones leave a core free, because they sleep or wait for the network. Otherwise one more starts
//!   each `PATIENCE`, since its need of a core shows only when it runs. The load of other
//!   programs is no reason to wait.

use base::sync::lock;
use solver::Room;
use std::fs::File;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Below this percentage of available memory nothing more starts.
const TOO_LITTLE: u64 = 5;
/// Below this percentage of available memory, stalls count.
const LITTLE: u64 = 25;
/// The percentage of the last ten seconds during which all processes were stalled on memory.
const TOO_MUCH: f64 = 10.0;
/// The time in which a step shows whether it wants a core.
const LOOK: Duration = Duration::from_millis(50);
/// The time between two further steps on a busy machine. A shorter time only delays all of them:
/// with one second, four steps of a second each on two cores took 5 % longer than two by two.
const PATIENCE: Duration = Duration::from_secs(5);
/// The checks take at most one part in this many of a core.
const SHARE: u32 = 20;
/// The limit in bytes for the kernel's files.
const LONGEST: u64 = 64 * 1024;
/// The first existing file counts. In a container's cgroup namespace the first is the container's.
const PRESSURE: &[&str] = &["/sys/fs/cgroup/memory.pressure", "/proc/pressure/memory"];

/// Decides when steps start.
#[derive(Debug)]
pub struct Brake {
    cores: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The time when a step started last.
    began: Option<Instant>,
    /// The time of the last check, and how long its answer holds.
    looked: Option<(Instant, Duration)>,
    answer: Room,
}

impl Default for State {
    fn default() -> State {
        State { began: None, looked: None, answer: Room::Free }
    }
}

impl Default for Brake {
    fn default() -> Brake {
        Brake { cores: cores(), state: Mutex::default() }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).max(2)
}

/// The default limit for concurrent steps: many of them wait for the network.
pub fn default_jobs() -> usize {
    (4 * cores()).max(16)
}

impl Brake {
    /// Decides if another step may start. `busy` returns how many running steps want a core now.
    pub fn room(&self, running: usize, busy: impl FnOnce() -> usize) -> Room {
        self.decide(running, Instant::now(), memory_is_short, busy)
    }

    fn decide(
        &self,
        running: usize,
        now: Instant,
        memory: impl FnOnce() -> bool,
        busy: impl FnOnce() -> usize,
    ) -> Room {
        let mut state = lock(&self.state);
        let fresh = state.looked.is_some_and(|(at, holds)| now.saturating_duration_since(at) < holds);
        if state.answer != Room::Free && fresh {
            return state.answer;
        }
        let since = state.began.map_or(PATIENCE, |began| now.saturating_duration_since(began));
        let began = Instant::now();
        state.answer = if memory() {
            Room::Short("memory")
        } else if running < self.cores {
            Room::Free
        } else if since < LOOK {
            Room::Unknown
        } else if since < PATIENCE && busy() >= self.cores {
            Room::Short("a free core")
        } else {
            Room::Free
        };
        state.looked = Some((now, (began.elapsed() * SHARE).max(LOOK / 5)));
        if state.answer == Room::Free {
            state.began = Some(now);
        }
        state.answer
    }
}

/// True if there is too little memory for another step.
fn memory_is_short() -> bool {
    let Some(memory) = Memory::now() else { return false };
    let stalled = || read(PRESSURE).as_deref().and_then(stalled).is_some_and(|percent| percent > TOO_MUCH);
    memory.is_below(TOO_LITTLE) || (memory.is_below(LITTLE) && stalled())
}

/// Memory in kilobytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Memory {
    total: u64,
    available: u64,
}

impl Memory {
    fn now() -> Option<Memory> {
        let machine = Memory::of_machine(&read(&["/proc/meminfo"])?)?;
        Some(Memory::of_group().filter(|group| group.total < machine.total).unwrap_or(machine))
    }

    fn of_machine(text: &str) -> Option<Memory> {
        Some(Memory { total: field(text, "MemTotal:")?, available: field(text, "MemAvailable:")? })
    }

    /// The memory limit of kiln's own cgroup (version 2 or 1), if it has one.
    fn of_group() -> Option<Memory> {
        let groups = read(&["/proc/self/cgroup"])?;
        let path = |controller: &str| groups.lines().find_map(|line| line.split_once(controller).map(|(_, path)| path));
        let number = |dir: &str, file: &str| read(&[&format!("{dir}/{file}")])?.trim().parse::<u64>().ok();
        let of = |dir: &str, [most, used, cache]: [&str; 3]| {
            let (most, used) = (number(dir, most)?, number(dir, used)?);
            let stat = read(&[&format!("{dir}/memory.stat")])?;
            let cached: u64 = cache.split(' ').filter_map(|name| field(&stat, name)).sum();
            Some(Memory { total: most / 1024, available: (most.saturating_sub(used) + cached).min(most) / 1024 })
        };
        let new = path("0::").and_then(|path| {
            let files = ["memory.max", "memory.current", "inactive_file active_file"];
            of(&format!("/sys/fs/cgroup{path}"), files)
        });
        new.or_else(|| {
            let files = ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file total_active_file"];
            of(&format!("/sys/fs/cgroup/memory{}", path(":memory:")?), files)
        })
    }

    fn is_below(self, percent: u64) -> bool {
        self.available < self.total / 100 * percent
    }
}

/// The number after a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        words.next().filter(|word| *word == name).and_then(|_| words.next()?.parse().ok())
    })
}

/// The content of the first existing file.
fn read(paths: &[&str]) -> Option<String> {
    let file = paths.iter().find_map(|path| File::open(path).ok())?;
    let bytes = base::read::at_most(LONGEST, file).ok()??;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The percentage of the last ten seconds during which all processes were stalled.
fn stalled(text: &str) -> Option<f64> {
    let full = text.lines().find_map(|line| line.strip_prefix("full "))?;
    full.split_whitespace().find_map(|field| field.strip_prefix("avg10="))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read_and_others_are_nothing() {
        let text =
            "some avg10=92.50 avg60=3.00 avg300=0.12 total=32775574\nfull avg10=1.25 avg60=0.00 avg300=0.09 total=1\n";
        assert_eq!(stalled(text), Some(1.25));
        for bad in ["", "some avg10=50.00", "full avg60=1.0", "full avg10=lots"] {
            assert_eq!(stalled(bad), None, "{bad:?}");
        }
        let memory = Memory::of_machine("MemTotal:   1000 kB\nMemFree:  1 kB\nMemAvailable:    240 kB\n");
        assert_eq!(memory, Some(Memory { total: 1000, available: 240 }));
        assert!(memory.is_some_and(|memory| memory.is_below(25) && !memory.is_below(24)));
        assert_eq!(Memory::of_machine("MemTotal: 1000 kB\n"), None);
    }

    #[test]
    fn a_core_that_is_left_free_gets_one_more_step_and_a_busy_machine_one_now_and_then() {
        let brake = Brake { cores: 2, state: Mutex::default() };
        let start = Instant::now();
        let at = |millis: u64, running: usize, busy: usize| {
            brake.decide(running, start + Duration::from_millis(millis), || false, || busy)
        };
        assert_eq!((at(0, 0, 0), at(0, 1, 1)), (Room::Free, Room::Free), "a core for each");
        assert_eq!(at(20, 2, 0), Room::Unknown, "nobody knows yet what they do");
        assert_eq!(at(100, 2, 2), Room::Short("a free core"));
        assert_eq!(at(200, 2, 1), Room::Free, "one of them sleeps");
        assert_eq!(at(400, 3, 2), Room::Short("a free core"));
        assert_eq!(at(5100, 3, 2), Room::Short("a free core"));
        assert_eq!(at(5300, 3, 2), Room::Free, "patience has an end");
    }

    #[test]
    fn without_memory_nothing_begins() {
        let brake = Brake { cores: 4, state: Mutex::default() };
        assert_eq!(brake.decide(1, Instant::now(), || true, || 0), Room::Short("memory"));
    }
}
