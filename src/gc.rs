//! The collector and the check of the store. Knows what names what: refs name configs and layers, cache records name
//! layers, layers name blobs, leases name what running builds use; everything else can go.
//!
//! What is removed is decided by a [`Rule`]: which things, how long unused, down to which size. The least recently used goes first, and of
//! things used at once what stands on another. What a result stands on counts as used with it, and goes when nothing names it any more:
//! an age never keeps more than what is young, and a size is reached as long as there is something that no image and no running build needs.
//!
//! Locking rule: one collector at a time (`<root>/collector`, flock). It looks through the store while builds go on. Then it closes the gate
//! (`<root>/lock`, see `store::lease`), reads leases and refs anew, renames its victims to a temporary folder of its own and opens the gate;
//! a build waits for no more than that. Bytes are freed when the gate is open again (`sweep`). What a killed process left, a collector
//! too, is a folder without an owner: each collection begins with those. `fsck` only reads, and removes with `--repair` what is damaged: a build
//! that needs it sees a miss.

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
use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use sweep::Sweep;

/// What a collection did.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// What went.
    pub items: Vec<Item>,
    /// What the disk has again.
    pub freed: Usage,
    /// What the store takes afterwards.
    pub left: Usage,
    /// What the rule wanted to go and what did not: it is in use, too young, or not meant by the filters.
    pub missing: Usage,
    /// What could not be removed, and why.
    pub stuck: Vec<String>,
}

/// Whether to wait for another collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// Wait for its end.
    Wait,
    /// Leave it to it.
    Yield,
}

/// Removes what a rule means, and always what killed processes have left. None if another collector is at work and must
/// not be waited for.
pub fn collect(root: &Path, rule: &Rule, now: i64, other: Other) -> Result<Option<Collected>> {
    let path = root.join("collector");
    let turn = File::options().create(true).append(true).open(&path).at("open", &path)?;
    match other {
        Other::Wait => turn.lock().at("lock", &path)?,
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
    // Losing it costs an explanation.
    let _ = removed::note(root, &sweep.keys, &rule.name);
    done.items = sweep.items;
    done.freed += emptied.freed;
    done.stuck.extend(emptied.stuck);
    done.left = inventory.total.without(emptied.freed);
    done.missing = wanted.unwrap_or_default().without(emptied.freed);
    Ok(Some(done))
}

/// What goes, in order, and how much the rule wants to go: none for all that it means.
fn choose<'a>(inventory: &'a Inventory, rule: &Rule, space: &Space, now: i64) -> (Vec<&'a Item>, Option<Usage>) {
    let mut all: Vec<&Item> = inventory.items.iter().filter(|item| rule.means(item, now)).collect();
    // What stands on another has its layers and more.
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

/// All files below a folder; links are files.
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
