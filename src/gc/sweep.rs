//! Removes victims from the store. They are renamed while the gate is closed; their bytes are freed
//! after it is open again.

use super::inventory::{self, Inventory, Item, Named, Type};
use super::measure::{Usage, alone};
use super::subfolders;
use base::error::Result;
use layer::LayerId;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use store::lease::{self, Gate, Leases};
use store::remove::remove_tree;

/// The beginnings of names that collectors give: to what killed processes have left, and to what they collect.
const LEFT: &str = "left";
const COLLECTED: &str = "collected";

/// Renamed paths that are not yet freed. They are temporary files: if the collector is killed, the
/// next one frees them.
pub(super) struct Trash {
    folder: PathBuf,
    prefix: String,
    away: Vec<PathBuf>,
}

/// The result of freeing the trash.
#[derive(Clone, Debug, Default)]
pub(super) struct Emptied {
    /// The freed space.
    pub freed: Usage,
    /// The paths that could not be removed, with the reasons.
    pub stuck: Vec<String>,
}

impl Trash {
    pub(super) fn new(root: &Path, what: &str, now: i64) -> Trash {
        let prefix = format!("{what}-{}-{now}-", std::process::id());
        Trash { folder: inventory::tmp_folder(root), prefix, away: Vec::new() }
    }

    fn take(&mut self, path: &Path) -> bool {
        // An earlier collector has moved it here and could not remove it.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.parent() == Some(&self.folder) && [LEFT, COLLECTED].iter().any(|what| name.starts_with(what)) {
            self.away.push(path.to_owned());
            return true;
        }
        let to = self.folder.join(format!("{}{}", self.prefix, self.away.len()));
        let renamed = fs::rename(path, &to).is_ok();
        if renamed {
            self.away.push(to);
        }
        renamed
    }

    /// Frees the bytes. A failed removal does not stop the others.
    pub(super) fn empty(self) -> Emptied {
        let mut emptied = Emptied::default();
        let mut left = Vec::new();
        let all = alone(&self.away);
        for path in self.away {
            if let Err(cause) = remove_tree(&path) {
                emptied.stuck.push(format!("{}: {cause}", path.display()));
                left.push(path);
            }
        }
        emptied.freed = all.without(alone(&left));
        emptied
    }
}

/// Frees the leftovers of killed processes, which are temporary directories whose lease is not held,
/// and of earlier versions of kiln.
pub(super) fn leftovers(root: &Path, now: i64) -> Result<Emptied> {
    let tmp = inventory::tmp_folder(root);
    let outdated = inventory::outdated(root);
    if Leases::read(&tmp)?.dead.is_empty() && outdated.is_empty() {
        return Ok(Emptied::default());
    }
    let mut trash = Trash::new(root, LEFT, now);
    let gate = Gate::close(root)?;
    for dead in Leases::read(&tmp)?.dead.iter().chain(&outdated) {
        trash.take(dead);
    }
    drop(gate);
    Ok(trash.empty())
}

/// Renames the victims.
pub(super) struct Sweep<'a> {
    root: &'a Path,
    pub(super) trash: Trash,
    /// The keys of removed records.
    pub(super) keys: Vec<String>,
    /// The removed items.
    pub(super) items: Vec<Item>,
    /// Blobs whose layer was removed.
    orphans: Vec<String>,
}

impl<'a> Sweep<'a> {
    pub(super) fn new(root: &'a Path, now: i64) -> Sweep<'a> {
        let trash = Trash::new(root, COLLECTED, now);
        Sweep { root, trash, keys: Vec::new(), items: Vec::new(), orphans: Vec::new() }
    }

    /// Does all work while the gate is closed. Leases are read before refs: a build that ends in
    /// between has written its refs.
    pub(super) fn sweep(&mut self, inventory: &Inventory, victims: &[&Item]) -> Result<()> {
        let ids: HashSet<&str> = victims.iter().map(|item| item.id.as_str()).collect();
        let survivors = inventory.items.iter().filter(|item| !ids.contains(item.id.as_str()));
        let mut kept: HashSet<LayerId> = survivors.flat_map(|item| item.layers.iter().cloned()).collect();
        let _gate = Gate::close(self.root)?;
        let leases = Leases::read(&inventory::tmp_folder(self.root))?;
        let named = Named::read(self.root)?;
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
                self.trash.take(path);
            }
        }
        Ok(())
    }

    /// Takes records, mounts, sources and indexes; blobs come later.
    fn take_files(&mut self, item: &Item, leases: &Leases, kept: &mut HashSet<LayerId>) {
        for file in item.files.iter().filter(|_| !item.is_blob()) {
            let held = leases.names.contains(&lease::path(self.root, file));
            // The record was used since the inventory was read.
            let touched = item.kind == Type::Regular && inventory::mtime(file) > item.last_used;
            if held || touched {
                kept.extend(item.layers.iter().cloned());
            } else if self.trash.take(file) {
                match item.kind {
                    Type::Regular => self.keys.extend(file.file_name().map(|name| name.to_string_lossy().into_owned())),
                    _ => self.items.push(item.clone()),
                }
            }
        }
    }

    /// Takes layers that nothing names. Returns the blobs that the remaining layers name.
    fn take_layers(&mut self, inventory: &Inventory, leases: &Leases, kept: &HashSet<LayerId>) -> HashSet<String> {
        let known = inventory.items.iter().filter(|item| item.kind == Type::Regular);
        let known: HashMap<&str, &Item> = known.map(|item| (item.id.as_str(), item)).collect();
        let mut live = HashSet::new();
        for folder in subfolders(&inventory::layers_folder(self.root)) {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let id = name.parse::<LayerId>().ok();
            let held = id.is_some_and(|id| kept.contains(&id) || leases.names.contains(&lease::layer(&id)));
            let blobs = inventory::blobs_of(&folder);
            // A layer that is newer than the inventory may be needed.
            match known.get(name.as_str()) {
                Some(item) if !held && self.trash.take(&folder) => {
                    self.items.push((*item).clone());
                    self.orphans.extend(blobs);
                }
                _ => live.extend(blobs),
            }
        }
        live
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_leftover_that_stays_keeps_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let tmp = inventory::tmp_folder(dir.path());
        for folder in ["left-1-2-0", "collected-1-2-0", "4711-x"] {
            fs::create_dir_all(tmp.join(folder)).unwrap();
        }
        let mut trash = Trash::new(dir.path(), LEFT, 99);
        for folder in ["left-1-2-0", "collected-1-2-0", "4711-x"] {
            assert!(trash.take(&tmp.join(folder)), "{folder}");
        }
        assert!(tmp.join("left-1-2-0").exists() && tmp.join("collected-1-2-0").exists());
        assert!(!tmp.join("4711-x").exists());
        let emptied = trash.empty();
        assert!(emptied.stuck.is_empty() && fs::read_dir(&tmp).unwrap().next().is_none());
    }

    #[test]
    fn what_earlier_versions_have_left_goes_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let old = ["cache-v1", "sizes-v1"];
        let kept =
            ["cache-v2", "cache-v99", "sizes-v2", "store-v0", "refs-v0", "mounts-v0", "cache-vx", "x-v1", "cache"];
        for name in old.iter().chain(&kept) {
            fs::create_dir_all(root.join(name).join("below")).unwrap();
        }
        let mut names = inventory::outdated(root);
        names.sort();
        assert_eq!(names, old.map(|name| root.join(name)));
        fs::create_dir_all(inventory::tmp_folder(root)).unwrap();
        let emptied = leftovers(root, 1).unwrap();
        assert!(emptied.freed.inodes >= 4 && emptied.stuck.is_empty());
        assert!(old.iter().all(|name| !root.join(name).exists()));
        assert!(kept.iter().all(|name| root.join(name).join("below").exists()));
    }
}
