//! The collector and the check of the store. Knows what names what: refs name configs and layers, cache records name
//! layers, layers name blobs, leases name what running builds use; everything else can go.
//!
//! What is removed is decided by a [`Rule`]: which things, how long unused, down to which size. The least recently used goes first, and of
//! things used at once what stands on another. What a result stands on counts as used with it, and goes when nothing names it any more:
//! an age never keeps more than what is young, and a size is reached as long as there is something that no image and no running build needs.
//!
//! Locking rule: one collector at a time (`<root>/collector`, flock). It looks through the store while builds go on. Then it closes the gate
//! (`<root>/lock`, see `store::lease`), reads leases and refs anew, renames its victims to a temporary folder of its own and opens the gate;
//! a build waits for no more than that. Bytes are freed behind the gate. Killed in between, it leaves a folder without
//! an owner, which the next one removes. `fsck` only reads, and removes with `--repair` what is damaged: a build
//! that needs it sees a miss.

mod check;
pub mod inventory;
pub mod policy;

pub use check::{fsck, recover};

use crate::error::{At, Error, Kind, Result};
use crate::explain::removed;
use crate::layer::{LayerId, remove};
use crate::store::lease::{self, Gate, Leases};
use inventory::{Inventory, Item, Named, Type};
use policy::{Rule, Space};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// What a collection did.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// What went.
    pub items: Vec<Item>,
    /// Bytes that the disk has again.
    pub freed: u64,
    /// Bytes of the store afterwards.
    pub left: u64,
    /// Bytes that the rule wanted to go and that did not: they are in use, too young, or not meant by the filters.
    pub missing: u64,
}

/// Whether to wait for another collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// Wait for its end.
    Wait,
    /// Leave it to it.
    Yield,
}

/// Removes what a rule means. None if another collector is at work and must not be waited for.
pub fn collect(root: &Path, rule: &Rule, now: i64, other: Other) -> Result<Option<Collected>> {
    let path = root.join("collector");
    let turn = File::options().create(true).append(true).open(&path).at("open", &path)?;
    match other {
        Other::Wait => turn.lock().at("lock", &path)?,
        Other::Yield if turn.try_lock().is_err() => return Ok(None),
        Other::Yield => {}
    }
    let inventory = Inventory::read(root, rule.exact, now)?;
    let (victims, wanted) = choose(&inventory, rule, &Space::of(root), now);
    let trash = inventory::tmp_folder(root);
    let prefix = format!("collected-{}-{now}-", std::process::id());
    let mut sweep = Sweep {
        root,
        trash: &trash,
        prefix: &prefix,
        away: Vec::new(),
        keys: Vec::new(),
        items: Vec::new(),
        orphans: Vec::new(),
    };
    let swept = sweep.sweep(&inventory, &victims);
    let (away, items, keys) = (sweep.away, sweep.items, sweep.keys);
    let freed = alone(&away);
    for path in &away {
        remove_any(path).at("remove", path)?;
    }
    swept?;
    // Losing it costs an explanation.
    let _ = removed::note(root, &keys, &rule.name);
    let left = inventory.total.saturating_sub(freed);
    Ok(Some(Collected { items, freed, left, missing: wanted.saturating_sub(freed) }))
}

/// What goes, in order, and how many bytes the rule wants to go.
fn choose<'a>(inventory: &'a Inventory, rule: &Rule, space: &Space, now: i64) -> (Vec<&'a Item>, u64) {
    let mut all: Vec<&Item> = inventory.items.iter().filter(|item| rule.means(item, now)).collect();
    // What stands on another has its layers and more.
    all.sort_by_key(|item| (item.last_used, usize::MAX - item.layers.len()));
    let Some(wanted) = rule.wanted(inventory.total, space) else { return (all, 0) };
    let mut names: HashMap<&LayerId, usize> = HashMap::new();
    inventory.items.iter().flat_map(|item| &item.layers).for_each(|layer| *names.entry(layer).or_default() += 1);
    let layers: HashMap<String, &Item> =
        inventory.items.iter().filter(|item| item.kind == Type::Regular).map(|item| (item.id.clone(), item)).collect();
    let (mut victims, mut freed) = (Vec::new(), 0);
    for item in all {
        if freed >= wanted {
            break;
        }
        victims.push(item);
        if item.layers.is_empty() {
            freed += item.size;
        }
        for layer in &item.layers {
            let Some(count) = names.get_mut(layer) else { continue };
            *count -= 1;
            if *count == 0 {
                freed += layers.get(&layer.to_string()).filter(|item| !item.in_use).map_or(0, |item| item.size);
            }
        }
    }
    (victims, wanted)
}

/// Renames what goes.
struct Sweep<'a> {
    root: &'a Path,
    /// Names for what goes: it needs no room to be moved there.
    trash: &'a Path,
    prefix: &'a str,
    /// What was renamed.
    away: Vec<PathBuf>,
    /// Of records that went.
    keys: Vec<String>,
    /// What went.
    items: Vec<Item>,
    /// Blobs whose layer went.
    orphans: Vec<String>,
}

impl Sweep<'_> {
    /// Everything that happens behind the closed gate. Leases are read before refs: a build that ends in between has left its refs.
    fn sweep(&mut self, inventory: &Inventory, victims: &[&Item]) -> Result<()> {
        let ids: HashSet<&str> = victims.iter().map(|item| item.id.as_str()).collect();
        let survivors = inventory.items.iter().filter(|item| !ids.contains(item.id.as_str()));
        let mut kept: HashSet<LayerId> = survivors.flat_map(|item| item.layers.iter().cloned()).collect();
        let _gate = Gate::close(self.root)?;
        let leases = Leases::read(&inventory::tmp_folder(self.root))?;
        let named = Named::read(self.root)?;
        for dead in &leases.dead {
            self.away(dead);
        }
        for item in victims {
            self.take_files(item, &leases, &mut kept);
        }
        kept.extend(named.images.iter().cloned());
        let live = self.take_layers(inventory, &leases, &kept);
        let loose = victims.iter().filter(|item| item.is_blob()).map(|item| item.id.clone());
        let gone: Vec<String> = self.orphans.drain(..).chain(loose).collect();
        for hex in gone {
            let used =
                live.contains(&hex) || named.blobs.contains(&hex) || leases.names.contains(&format!("blob {hex}"));
            if let Some(path) = inventory.blobs.get(&hex).filter(|_| !used) {
                self.away(path);
            }
        }
        Ok(())
    }

    /// Records, mounts, sources, indexes: blobs come later.
    fn take_files(&mut self, item: &Item, leases: &Leases, kept: &mut HashSet<LayerId>) {
        for file in item.files.iter().filter(|_| !item.is_blob()) {
            let held = leases.names.contains(&lease::path(self.root, file));
            // Somebody used the record since it was looked at.
            let touched = item.kind == Type::Regular && inventory::mtime(file) > item.last_used;
            if held || touched {
                kept.extend(item.layers.iter().cloned());
            } else if self.away(file) {
                match item.kind {
                    Type::Regular => self.keys.extend(file.file_name().map(|name| name.to_string_lossy().into_owned())),
                    _ => self.items.push(item.clone()),
                }
            }
        }
    }

    /// Layers that nothing names. Returns the blobs that the others name.
    fn take_layers(&mut self, inventory: &Inventory, leases: &Leases, kept: &HashSet<LayerId>) -> HashSet<String> {
        let known = inventory.items.iter().filter(|item| item.kind == Type::Regular);
        let known: HashMap<&str, &Item> = known.map(|item| (item.id.as_str(), item)).collect();
        let mut live = HashSet::new();
        for folder in subfolders(&inventory::layers_folder(self.root)) {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let id = name.parse::<LayerId>().ok();
            let held = id.is_some_and(|id| kept.contains(&id) || leases.names.contains(&lease::layer(&id)));
            let blobs = inventory::blobs_of(&folder);
            // What came after the look through the store is not known to be needless.
            match known.get(name.as_str()) {
                Some(item) if !held && self.away(&folder) => {
                    self.items.push((*item).clone());
                    self.orphans.extend(blobs);
                }
                _ => live.extend(blobs),
            }
        }
        live
    }

    fn away(&mut self, path: &Path) -> bool {
        let to = self.trash.join(format!("{}{}", self.prefix, self.away.len()));
        let renamed = fs::rename(path, &to).is_ok();
        if renamed {
            self.away.push(to);
        }
        renamed
    }
}

fn remove_any(path: &Path) -> std::io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { remove(path) } else { fs::remove_file(path) }
}

/// What the disk gets back when these go: files that have other names elsewhere stay.
fn alone(paths: &[PathBuf]) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let (mut total, mut todo) = (0, paths.to_vec());
    let mut linked: HashMap<(u64, u64), u64> = HashMap::new();
    while let Some(path) = todo.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() {
            todo.extend(subfolders(&path));
        } else if metadata.nlink() > 1 {
            let seen = linked.entry((metadata.dev(), metadata.ino())).or_default();
            *seen += 1;
            if *seen < metadata.nlink() {
                continue;
            }
        }
        total += metadata.blocks() * 512;
    }
    total
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
