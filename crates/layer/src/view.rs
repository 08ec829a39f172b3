//! A rootfs as files: merges the trees of its layers by their whiteouts and opaque directories,
//! without a mount.

use super::files::{Files, Opener};
use super::tree::{Entry, Node, Time, Tree, name, parent};
use super::{LayerId, Layers};
use base::digest::Digest;
use base::error::{Error, Kind, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A rootfs to read files from.
#[derive(Clone)]
pub struct View {
    layers: Layers,
    /// The trees, the topmost first.
    trees: Vec<(LayerId, Arc<Tree>)>,
    /// The offset of each layer's link group numbers, so that layers share none.
    groups: Vec<u32>,
}

impl View {
    /// A view of layers, the lowest first. The blobs of base layers must be in the store.
    pub fn new(layers: &Layers, ids: &[LayerId]) -> Result<View> {
        let trees: Vec<(LayerId, Arc<Tree>)> =
            ids.iter().rev().map(|id| Ok((id.clone(), layers.tree(id)?))).collect::<Result<_>>()?;
        let most = |tree: &Tree| tree.entries.iter().filter_map(|entry| entry.link).max().unwrap_or(0);
        let mut groups = vec![0_u32; trees.len()];
        for at in (1..trees.len()).rev() {
            groups[at - 1] = groups[at].saturating_add(most(&trees[at].1));
        }
        Ok(View { layers: layers.clone(), trees, groups })
    }

    /// True if there is a directory at a path.
    pub fn has_dir(&self, path: &[u8]) -> bool {
        self.find(path).is_some_and(|(_, entry)| entry.is_dir())
    }

    /// The topmost layer that has a path, and its entry there. The entry may have an opaque mark,
    /// which must not leave this module.
    fn find(&self, path: &[u8]) -> Option<(&LayerId, &Entry)> {
        for (id, tree) in &self.trees {
            if let Some(entry) = tree.get(path) {
                return (entry.node != Node::Whiteout).then_some((id, entry));
            }
            if hides(tree, path) {
                return None;
            }
        }
        None
    }

    /// Every path of the rootfs with its entry; a directory comes before its content.
    pub fn all(&self) -> Result<Vec<(LayerId, Entry)>> {
        let mut seen: BTreeMap<Vec<u16>, (LayerId, Entry)> = BTreeMap::new();
        let key = |path: &[u8]| path.iter().map(|byte| if *byte == b'/' { 0 } else { u16::from(*byte) + 1 }).collect();
        for (depth, (id, tree)) in self.trees.iter().enumerate() {
            let above = &self.trees[..depth];
            for entry in &tree.entries {
                let hidden = above.iter().any(|(_, tree)| tree.get(&entry.path).is_some() || hides(tree, &entry.path));
                if !hidden && entry.node != Node::Whiteout {
                    seen.entry(key(&entry.path)).or_insert_with(|| (id.clone(), entry.unmarked()));
                }
            }
        }
        Ok(seen.into_values().collect())
    }

    /// The link group of an entry, with a number that no other layer uses.
    fn group(&self, of: &LayerId, entry: &Entry) -> Option<u32> {
        let at = self.trees.iter().position(|(id, _)| id == of)?;
        Some(entry.link?.saturating_add(*self.groups.get(at)?))
    }

    fn file(&self, path: &[u8]) -> Result<(&LayerId, &Entry)> {
        let found = self.find(path).filter(|(_, entry)| matches!(entry.node, Node::File { .. }));
        found.ok_or_else(|| {
            Error::new(Kind::Dockerfile, format!("`/{}` is not a file of the image", String::from_utf8_lossy(path)))
        })
    }
}

/// True if a tree without this path hides it in lower layers: a parent is a whiteout, no directory,
/// or opaque.
fn hides(tree: &Tree, path: &[u8]) -> bool {
    let mut dir = path;
    while !dir.is_empty() {
        dir = parent(dir);
        match tree.get(dir).map(|entry| &entry.node) {
            Some(Node::Dir { opaque: true }) => return true,
            // The directory leaves lower layers visible.
            Some(Node::Dir { opaque: false }) | None => {}
            Some(_) => return true,
        }
    }
    false
}

impl Files for View {
    fn lookup(&self, path: &[u8]) -> Result<Option<Entry>> {
        let found = self.find(path).map(|(id, entry)| Entry { link: self.group(id, entry), ..entry.unmarked() });
        Ok(found.or_else(|| path.is_empty().then(|| Entry::directory(b"", Time::default()))))
    }

    fn list(&self, path: &[u8]) -> Result<Vec<Box<[u8]>>> {
        let mut names: BTreeMap<Box<[u8]>, bool> = BTreeMap::new();
        for (_, tree) in &self.trees {
            for entry in tree.below(path).iter().filter(|entry| parent(&entry.path) == path) {
                names.entry(name(&entry.path).into()).or_insert(entry.node != Node::Whiteout);
            }
            if hides(tree, &[path, b"/x"].concat()) {
                break;
            }
        }
        Ok(names.into_iter().filter(|(_, shown)| *shown).map(|(name, _)| name).collect())
    }

    fn opener(&self, path: &[u8]) -> Opener {
        match self.file(path) {
            Ok((id, entry)) => {
                let (layers, id, entry) = (self.layers.clone(), id.clone(), entry.clone());
                Box::new(move || layers.open(&id, &entry))
            }
            Err(error) => Box::new(move || Err(error)),
        }
    }

    fn digest(&self, path: &[u8]) -> Result<Digest> {
        let (id, entry) = self.file(path)?;
        self.layers.digest(id, entry)
    }
}
