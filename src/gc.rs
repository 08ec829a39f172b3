//! The garbage collector and the check of the store. The references are: refs name configs and
//! layers, cache records name layers, layers name blobs, and leases name everything in use by
//! builds. Everything else may be removed.
//!
//! A [`Rule`] decides what is removed: which items, unused for how long, down to which size. The
//! least recently used goes first; of items used at the same time, the one with more layers. The
//! layers below a result count as used with it, and are removed when nothing names them any more.
//! So an age keeps only young items, and a size is reached as long as there are items that no image
//! and no running build needs.
//!
//! Locking rule: one collector at a time (`<root>/collector`, flock). It reads the store while
//! builds go on. Then it closes the gate (`<root>/lock`, see `store::lease`), reads leases and refs
//! again, renames its victims to a temporary directory of its own and opens the gate; builds wait
//! only for that. The bytes are freed after the gate is open again (`sweep`). A killed process,
//! also a collector, leaves a directory without an owner: each collection begins with removing
//! those. `fsck` only reads; with `--repair` it removes damaged data, which is a cache miss for a
//! build.

mod check;
pub mod inventory;
pub mod measure;
pub mod policy;
mod sweep;

pub use check::{fsck, recover};

use crate::explain::removed;
use base::error::{At, Error, Kind, Result};
use inventory::{Inventory, Item, Type};
use layer::LayerId;
use measure::Usage;
use policy::{Rule, Space};
use sandbox::Stop;
use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;
use sweep::Sweep;

/// How often the lock of another collector is tried.
const POLL: Duration = Duration::from_millis(20);

/// The result of a collection.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// The removed items.
    pub items: Vec<Item>,
    /// The freed space.
    pub freed: Usage,
    /// The size of the store afterwards.
    pub left: Usage,
    /// The space that the rule wanted to free and could not: it is in use, too young, or excluded
    /// by filters.
    pub missing: Usage,
    /// The paths that could not be removed, with the reasons.
    pub stuck: Vec<String>,
}

/// The behaviour while another collector runs.
#[derive(Clone, Copy, Debug)]
pub enum Other<'a> {
    /// Wait until it ends, or until the build is stopped.
    Wait(&'a Stop),
    /// Return without collecting.
    Yield,
}

/// Removes the items that a rule selects, and always the leftovers of killed processes and of earlier
/// versions. `None` if another collector runs and `other` says not to wait.
pub fn collect(root: &Path, rule: &Rule, now: i64, other: Other<'_>) -> Result<Option<Collected>> {
    let path = root.join("collector");
    let turn = File::options().create(true).append(true).open(&path).at("open", &path)?;
    match other {
        Other::Wait(stop) => wait_for(&turn, &path, stop)?,
        Other::Yield if turn.try_lock().is_err() => return Ok(None),
        Other::Yield => {}
    }
    let left = sweep::leftovers(root, now)?;
    let inventory = Inventory::read(root, rule.exact, now)?;
    let (victims, wanted) = choose(&inventory, rule, &Space::of(root), now);
    let mut done = Collected { freed: left.freed, stuck: left.stuck, left: inventory.total, ..Collected::default() };
    if wanted == Some(Usage::default()) {
        return Ok(Some(done));
    }
    let mut sweep = Sweep::new(root, now);
    let swept = sweep.sweep(&inventory, &victims);
    let emptied = sweep.trash.empty();
    swept?;
    // Losing the note costs an explanation.
    let _ = removed::note(root, &sweep.keys, &rule.name);
    done.items = sweep.items;
    done.freed += emptied.freed;
    done.stuck.extend(emptied.stuck);
    done.left = inventory.total.without(emptied.freed);
    done.missing = wanted.unwrap_or_default().without(emptied.freed);
    Ok(Some(done))
}

fn wait_for(turn: &File, path: &Path, stop: &Stop) -> Result<()> {
    loop {
        match turn.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(cause)) => return Err(cause).at("lock", path),
            Err(TryLockError::WouldBlock) if stop.is_stopped() => {
                return Err(Error::new(Kind::Interrupted, "stopped while waiting for another collection"));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(POLL),
        }
    }
}

/// The items to remove, in order, and the space that the rule wants to free; `None` for all
/// selected items.
fn choose<'a>(inventory: &'a Inventory, rule: &Rule, space: &Space, now: i64) -> (Vec<&'a Item>, Option<Usage>) {
    let mut all: Vec<&Item> = inventory.items.iter().filter(|item| rule.means(item, now)).collect();
    // A layer on top of another has more layers.
    all.sort_by_key(|item| (item.last_used, usize::MAX - item.layers.len()));
    let Some(wanted) = rule.wanted(inventory.total, space) else { return (all, None) };
    let mut names: HashMap<&LayerId, usize> = HashMap::new();
    inventory.items.iter().flat_map(|item| &item.layers).for_each(|layer| *names.entry(layer).or_default() += 1);
    let layers: HashMap<String, &Item> =
        inventory.items.iter().filter(|item| item.kind == Type::Regular).map(|item| (item.id.clone(), item)).collect();
    let (mut victims, mut freed) = (Vec::new(), Usage::default());
    for item in all {
        if freed.covers(wanted) {
            break;
        }
        victims.push(item);
        if item.layers.is_empty() {
            freed += item.usage;
        }
        for layer in &item.layers {
            let Some(count) = names.get_mut(layer) else { continue };
            *count -= 1;
            if *count == 0 {
                let unused = layers.get(&layer.to_string()).filter(|item| !item.in_use);
                freed += unused.map_or(Usage::default(), |item| item.usage);
            }
        }
    }
    (victims, Some(wanted))
}

fn failed(cause: std::io::Error) -> Error {
    Error::new(Kind::Export, "cannot write the answer").because(cause)
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// All files below a directory, with links counted as files.
fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut todo) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => todo.push(entry.path()),
                Ok(_) => found.push(entry.path()),
                Err(_) => {}
            }
        }
    }
    found
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
