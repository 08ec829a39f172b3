//! COPY, ADD and WORKDIR: from files to the entries of a layer. In three steps, so that a key can be had before any
//! work: `select` (what the sources hold), `facts` (what is looked up in the target), `entries` (the layer).
//! Knows nothing of keys, mounts or layers' forms. The semantics are BuildKit's (`solver/llbsolver/file`, fsutil's copy).

mod archive;
mod mode;
mod owner;
mod select;
mod target;

pub use select::{Selection, select};
pub use target::{Facts, facts};

use crate::error::{Error, Kind, Result};
use crate::layer::Bytes;
use crate::layer::files::{Files, resolve};
use crate::layer::tree::{Entry, Node, Time, child, name};
use crate::store::Store;
use frontend::op::{self, FileAction};
use select::{Group, Item};
use std::collections::BTreeMap;
use std::collections::HashMap;
use target::Place;

/// The entries of a copy's layer. `files` gives the sources again, to open what is copied.
pub fn entries<'a>(
    copy: &op::Copy,
    selection: &Selection,
    facts: &Facts<'_>,
    files: &dyn Fn(usize) -> Result<&'a dyn Files>,
    store: &Store,
    now: Time,
) -> Result<Vec<(Entry, Bytes)>> {
    let mut layer = Layer { copy, facts, now, made: BTreeMap::new(), groups: HashMap::new() };
    for group in &selection.groups {
        let archive = copy.unpack != op::Unpack::Never && group.is_file();
        if archive && archive::unpack(&mut layer, group, files, store)? {
            continue;
        }
        layer.group(group, files)?;
    }
    Ok(layer.finish())
}

/// The entries of WORKDIR's layer: the directory and its missing parents, of the user who is in force.
pub fn mkdir(action: &FileAction, base: Option<&dyn Files>, now: Time) -> Result<Vec<(Entry, Bytes)>> {
    let FileAction::Mkdir { path, user } = action;
    let nothing = target::Nothing;
    let files = base.unwrap_or(&nothing);
    let found = resolve(files, path.as_bytes())?;
    if let Some(entry) = &found.entry {
        if entry.is_dir() {
            return Ok(Vec::new());
        }
        return Err(Error::new(Kind::Dockerfile, format!("cannot make the directory `{path}`: there is a file")));
    }
    let (uid, gid) = if user.is_empty() { (0, 0) } else { owner::lookup(files, user)? };
    let mut made = Vec::new();
    for prefix in prefixes(&found.path) {
        let entry = match files.lookup(prefix)? {
            Some(entry) if entry.is_dir() => Entry { node: Node::Dir { opaque: false }, ..entry },
            Some(_) => return Err(not_a_directory(prefix)),
            None => Entry { uid, gid, ..Entry::directory(prefix, now) },
        };
        made.push((entry, Bytes::None));
    }
    Ok(made)
}

/// `a/b/c` as `a`, `a/b`, `a/b/c`.
fn prefixes(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = (0..path.len()).filter(|&at| path[at] == b'/').chain([path.len()]);
    ends.filter(|end| *end > 0).map(|end| &path[..end])
}

fn not_a_directory(path: &[u8]) -> Error {
    Error::new(Kind::Dockerfile, format!("cannot copy to non-directory: /{}", String::from_utf8_lossy(path)))
}

/// A layer in the making, with what stands below it.
struct Layer<'a> {
    copy: &'a op::Copy,
    facts: &'a Facts<'a>,
    now: Time,
    made: BTreeMap<Box<[u8]>, (Entry, Bytes)>,
    /// Link groups of the sources, numbered anew.
    groups: HashMap<(usize, u32), u32>,
}

impl Layer<'_> {
    /// What stands at a path now: made here, or below.
    fn at(&self, path: &[u8]) -> Result<Option<Entry>> {
        match self.made.get(path) {
            Some((entry, _)) => Ok(Some(entry.clone())),
            None => self.facts.below(path),
        }
    }

    /// Makes the parents of a path, and the path itself a directory if wished.
    fn directories(&mut self, path: &[u8], itself: bool) -> Result<()> {
        let all: Vec<Box<[u8]>> = prefixes(path).map(Into::into).collect();
        let count = if itself { all.len() } else { all.len().saturating_sub(1) };
        for prefix in all.into_iter().take(count) {
            self.directory(prefix)?;
        }
        Ok(())
    }

    /// A directory that must be: one that is there is kept as it is, another is made for the owner of the copy.
    fn directory(&mut self, path: Box<[u8]>) -> Result<()> {
        if self.made.get(&path).is_some_and(|(entry, _)| entry.is_dir()) {
            return Ok(());
        }
        let entry = match self.at(&path)? {
            Some(entry) if entry.is_dir() => entry,
            Some(_) => return Err(not_a_directory(&path)),
            None => {
                let (uid, gid) = self.facts.owner.unwrap_or((0, 0));
                Entry { uid, gid, ..Entry::directory(&path, self.now) }
            }
        };
        self.made.insert(path, (entry, Bytes::None));
        Ok(())
    }

    /// The directories on the way to a path, and itself, that do not exist.
    fn missing(&self, path: &[u8]) -> Result<Vec<Box<[u8]>>> {
        let mut missing = Vec::new();
        for prefix in prefixes(path) {
            if self.at(prefix)?.is_none() {
                missing.push(prefix.into());
            }
        }
        Ok(missing)
    }

    fn group<'f>(&mut self, group: &Group, files: &dyn Fn(usize) -> Result<&'f dyn Files>) -> Result<()> {
        let place = self.facts.place_for(group, |path| self.at(path))?;
        let (root, inside): (Box<[u8]>, bool) = match place {
            Place::File(path) => (path, false),
            Place::Directory(path) => (path, true),
        };
        let new: Vec<Box<[u8]>> = if group.whole { self.missing(&root)? } else { Vec::new() };
        self.directories(&root, inside)?;
        for path in new {
            // A directory that is copied to a new place gives all that is made for it the mode, where one is set.
            if let (Some((entry, _)), Some(mode)) = (self.made.get_mut(&path), self.copy.mode.as_deref()) {
                entry.mode = mode::apply(mode, entry.mode, true)?;
            }
        }
        for item in &group.items {
            let path = if item.path.is_empty() {
                if inside { child(&root, &group.name) } else { root.clone() }
            } else if root.is_empty() {
                item.path.clone()
            } else {
                child(&root, &item.path)
            };
            self.item(group, item, path, files)?;
        }
        Ok(())
    }

    fn item<'f>(&mut self, group: &Group, item: &Item, path: Box<[u8]>, files: &dyn Fn(usize) -> Result<&'f dyn Files>) -> Result<()> {
        if path.is_empty() {
            return Ok(());
        }
        self.directories(&path, false)?;
        let below = self.at(&path)?;
        let mut entry = Entry { path: path.clone(), ..item.entry.clone() };
        match (&below, entry.is_dir()) {
            (Some(below), true) if below.is_dir() => return self.directory(path),
            (Some(_), true) => return Err(not_a_directory(&path)),
            (Some(below), false) if below.is_dir() => {
                let shown = String::from_utf8_lossy(&path).into_owned();
                return Err(Error::new(Kind::Dockerfile, format!("cannot replace to directory /{shown} with file")));
            }
            _ => {}
        }
        if let Some((uid, gid)) = self.facts.owner {
            (entry.uid, entry.gid) = (uid, gid);
        }
        if !matches!(entry.node, Node::Symlink { .. }) {
            entry.mode = self.copy.mode.as_deref().map_or(Ok(entry.mode), |mode| mode::apply(mode, entry.mode, entry.is_dir()))?;
        }
        entry.link = entry.link.map(|link| {
            let next = self.groups.len() as u32 + 1;
            *self.groups.entry((group.input, link)).or_insert(next)
        });
        let bytes = match (&entry.node, &item.inline) {
            (Node::File { .. }, Some(data)) => Bytes::Inline(data.clone()),
            (Node::File { .. }, None) => Bytes::Open(files(group.input)?.opener(&item.source)),
            _ => Bytes::None,
        };
        if let Node::File { digest, offset, .. } = &mut entry.node {
            (*digest, *offset) = (None, None);
        }
        self.put(entry, bytes);
        Ok(())
    }

    /// Replaces what was made at a path, and what was in it.
    fn put(&mut self, entry: Entry, bytes: Bytes) {
        self.made.insert(entry.path.clone(), (entry, bytes));
    }

    fn finish(self) -> Vec<(Entry, Bytes)> {
        self.made.into_values().collect()
    }
}

/// The last part of a path, for a file that goes into a directory.
fn base_name(path: &[u8]) -> Box<[u8]> {
    name(path).into()
}
