//! Reads a layer's tar as a tree: applies its entries in order and makes all names safe. An entry
//! that leads out of the root is an error. Links of the layer itself are followed beneath its root,
//! as in containerd.
//!
//! The layers below complete an archive: a directory without an entry of its own keeps the metadata
//! that it has below, and a hard link to a file below copies that file and its parents up.

use super::tar::read::{Archive, Member};
use super::tree::{Entry, LONGEST_PATH, Node, Time, Tree, child, name, parent, show};
use base::error::{Error, Kind, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

/// The limit for the entries of one layer.
const MOST_ENTRIES: usize = 5_000_000;
/// The limit in bytes for all paths, links, attributes and sparse maps of one layer: one long name
/// implies thousands of directories with names of their own.
const MOST_TEXT: usize = 512 << 20;
/// The limit for links followed in one name.
const MOST_LINKS: usize = 255;

/// The result of reading an archive.
#[derive(Debug)]
pub(super) struct Indexed {
    /// All entries; files have their offset in the archive.
    pub tree: Tree,
    /// Files whose bytes come from a path of the layers below.
    pub below: BTreeMap<Vec<u8>, Box<[u8]>>,
}

/// Reads the content of a regular file from the archive, or skips it.
pub(super) type Bodies<'a, R> = dyn FnMut(&Member, &mut Archive<R>) -> Result<()> + 'a;

/// Looks a path up in the layers below.
pub(super) type Below<'a> = dyn FnMut(&[u8]) -> Result<Option<Entry>> + 'a;

/// Builds the tree entry by entry.
struct Builder<'a> {
    below: &'a mut Below<'a>,
    entries: BTreeMap<Vec<u8>, Entry>,
    whiteouts: BTreeSet<Vec<u8>>,
    opaque: BTreeSet<Vec<u8>>,
    from_below: BTreeMap<Vec<u8>, Box<[u8]>>,
    links: u32,
    /// The number of archive entries so far.
    members: usize,
    /// The bytes of text so far, in all entries including replaced ones.
    text: usize,
    most_text: usize,
}

/// Reads a plain tar into a tree with offsets, in one pass. `bodies` is called for each regular
/// file as it arrives.
pub(super) fn index<'a, R: Read>(reader: R, below: &'a mut Below<'a>, bodies: &mut Bodies<'_, R>) -> Result<Indexed> {
    index_within(reader, below, bodies, MOST_TEXT)
}

fn index_within<'a, R: Read>(
    reader: R,
    below: &'a mut Below<'a>,
    bodies: &mut Bodies<'_, R>,
    most_text: usize,
) -> Result<Indexed> {
    let mut archive = Archive::new(reader);
    let mut builder = Builder {
        below,
        entries: BTreeMap::new(),
        whiteouts: BTreeSet::new(),
        opaque: BTreeSet::new(),
        from_below: BTreeMap::new(),
        links: 0,
        members: 0,
        text: 0,
        most_text,
    };
    while let Some(member) = archive.next_member()? {
        builder.add(&member)?;
        if member.kind == b'0' {
            bodies(&member, &mut archive)?;
        }
    }
    Ok(builder.finish())
}

fn refuse(member: &Member, what: &str) -> Error {
    Error::new(Kind::Source, format!("tar entry `{}` {what}", show(&member.path)))
        .hint("the archive is damaged or hostile; nothing of it was used")
}

/// An entry with the metadata of a member.
pub(super) fn entry_of(member: &Member, path: &[u8], node: Node) -> Entry {
    Entry {
        path: path.into(),
        node,
        mode: member.mode,
        uid: member.uid,
        gid: member.gid,
        mtime: member.mtime,
        xattrs: member.xattrs.clone(),
        link: None,
    }
}

impl Builder<'_> {
    /// Takes the next entry of the archive.
    fn add(&mut self, member: &Member) -> Result<()> {
        self.members += 1;
        let path = self.place(member, &member.path, true)?;
        self.count(member, &path)?;
        if path.is_empty() {
            return Ok(());
        }
        let base = name(&path).to_vec();
        if base == b".wh..wh..opq" {
            self.opaque.insert(parent(&path).to_vec());
            return Ok(());
        }
        if base.starts_with(b".wh.") {
            if !base.starts_with(b".wh..wh.") && base.len() > 4 {
                if matches!(&base[4..], b"." | b"..") {
                    return Err(refuse(member, "hides no name"));
                }
                self.whiteouts.insert(child(parent(&path), &base[4..]).into());
            }
            return Ok(());
        }
        let mut entry = entry_of(member, &path, Node::Fifo);
        entry.node = match member.kind {
            b'0' => Node::File { size: member.size, digest: None, offset: Some(member.offset) },
            b'1' => return self.hard_link(member, path),
            b'2' => Node::Symlink { target: member.link.clone().into() },
            // Overlayfs writes a whiteout as device 0/0, so unpacking this entry would make one.
            b'3' if member.device == (0, 0) => {
                self.whiteouts.insert(path);
                return Ok(());
            }
            b'3' => Node::Char { major: member.device.0, minor: member.device.1 },
            b'4' => Node::Block { major: member.device.0, minor: member.device.1 },
            b'5' => Node::Dir { opaque: false },
            b'6' => Node::Fifo,
            _ => return Err(refuse(member, "is of an unknown type")),
        };
        self.put(path, entry);
        Ok(())
    }

    /// Counts the memory of an entry. Replaced entries count too, so that no order of entries
    /// evades the limit.
    fn count(&mut self, member: &Member, path: &[u8]) -> Result<()> {
        let attributes: usize = member.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        let map = member.pieces.as_ref().map_or(0, |pieces| pieces.len() * 16);
        self.count_text(member, path.len() + member.link.len() + attributes + map)
    }

    fn count_text(&mut self, member: &Member, bytes: usize) -> Result<()> {
        self.text = self.text.saturating_add(bytes);
        if self.text > self.most_text {
            return Err(refuse(member, "is too much: the layer's names and attributes are larger than any real one's"));
        }
        if self.members.max(self.entries.len() + self.whiteouts.len() + self.opaque.len()) >= MOST_ENTRIES {
            return Err(refuse(member, "is one too many"));
        }
        Ok(())
    }

    fn hard_link(&mut self, member: &Member, path: Vec<u8>) -> Result<()> {
        let target = self.place(member, &member.link, false)?;
        if !self.entries.contains_key(&target) {
            self.bring_up(member, &target)?;
        }
        let links = &mut self.links;
        let Some(entry) = self.entries.get_mut(&target).filter(|entry| !entry.is_dir()) else {
            return Err(refuse(member, &format!("is a hard link to `{}`, which is no file", show(&target))));
        };
        let group = *entry.link.get_or_insert_with(|| {
            *links += 1;
            *links
        });
        let mut linked = entry.clone();
        (linked.path, linked.link) = (path.clone().into(), Some(group));
        let attributes = linked.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.count_text(member, attributes)?;
        if path != target {
            let below = self.from_below.get(&target).cloned();
            self.put(path.clone(), linked);
            below.map(|below| self.from_below.insert(path, below));
        }
        Ok(())
    }

    /// Copies a file of the layers below into this layer, as overlayfs does for a new hard link.
    fn bring_up(&mut self, member: &Member, target: &[u8]) -> Result<()> {
        let missing = || refuse(member, &format!("is a hard link to `{}`, which does not exist", show(target)));
        let found = self.lower(target)?.filter(|found| !found.is_dir()).ok_or_else(missing)?;
        let ends = (0..target.len()).filter(|&at| target[at] == b'/');
        for dir in ends.map(|end| &target[..end]) {
            if !self.entries.contains_key(dir) {
                self.count_text(member, dir.len())?;
                let dir = self.implied(dir)?;
                self.entries.insert(dir.path.to_vec(), dir);
            }
        }
        let mut entry = Entry { path: target.into(), link: None, ..found };
        if let Node::File { offset, .. } = &mut entry.node {
            *offset = None;
            self.from_below.insert(target.to_vec(), target.into());
        }
        self.entries.insert(target.to_vec(), entry);
        Ok(())
    }

    /// The entry of the layers below at a path, unless this layer hides it so far.
    fn lower(&mut self, path: &[u8]) -> Result<Option<Entry>> {
        if self.whiteouts.contains(path) || self.opaque.contains(b"".as_slice()) {
            return Ok(None);
        }
        let mut dir = path;
        while !dir.is_empty() {
            dir = parent(dir);
            let replaced = self.entries.get(dir).is_some_and(|entry| !entry.is_dir());
            if replaced || self.whiteouts.contains(dir) || self.opaque.contains(dir) {
                return Ok(None);
            }
        }
        (self.below)(path)
    }

    /// A directory without an entry in the archive: it keeps its metadata from below, or belongs to
    /// root.
    fn implied(&mut self, path: &[u8]) -> Result<Entry> {
        let below = self.lower(path)?.filter(Entry::is_dir);
        let node = Node::Dir { opaque: false };
        Ok(below.map_or_else(|| Entry::directory(path, Time::default()), |below| Entry { node, ..below }))
    }

    /// Replaces the entry at a path. A directory that replaces a directory keeps its content.
    fn put(&mut self, path: Vec<u8>, entry: Entry) {
        let keeps_inside = entry.is_dir() && self.entries.get(&path).is_some_and(Entry::is_dir);
        if !keeps_inside && self.entries.get(&path).is_some_and(Entry::is_dir) {
            let prefix = [path.as_slice(), b"/"].concat();
            let inside = self.entries.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
            let gone: Vec<Vec<u8>> = inside.map(|(path, _)| path.clone()).collect();
            for path in gone {
                self.entries.remove(&path);
                self.from_below.remove(&path);
            }
        }
        self.from_below.remove(&path);
        self.entries.insert(path, entry);
    }

    /// Resolves a name beneath the root. A `..` that leads out is refused, links of the layer are
    /// followed in its parents, and missing parents are made.
    fn place(&mut self, member: &Member, written: &[u8], make: bool) -> Result<Vec<u8>> {
        let mut depth = 0_usize;
        for part in written.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => depth = depth.checked_sub(1).ok_or_else(|| refuse(member, "leads out of the archive"))?,
                _ => depth += 1,
            }
        }
        let parts = |path: &[u8]| path.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec).collect::<Vec<_>>();
        let (mut todo, mut at, mut links) = (parts(written), Vec::new(), 0);
        while let Some(part) = todo.pop() {
            match part.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    at = parent(&at).to_vec();
                    continue;
                }
                _ => {}
            }
            let next: Vec<u8> = child(&at, &part).into();
            if next.len() > LONGEST_PATH {
                return Err(refuse(member, "has a path that no file system holds"));
            }
            let last = todo.iter().all(|rest| rest.is_empty() || rest == b".");
            match self.entries.get(&next).map(|entry| &entry.node) {
                _ if last => at = next,
                Some(Node::Symlink { target }) => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(refuse(member, "goes round in links"));
                    }
                    if target.starts_with(b"/") {
                        at.clear();
                    }
                    todo.extend(parts(target));
                }
                Some(Node::Dir { .. }) => at = next,
                other => {
                    if make && (other.is_none() || todo.iter().any(|rest| !rest.is_empty())) {
                        self.count_text(member, next.len())?;
                        let dir = self.implied(&next)?;
                        self.put(next.clone(), dir);
                    }
                    at = next;
                }
            }
        }
        Ok(at)
    }

    /// Applies whiteouts and opaque marks, and returns the tree.
    fn finish(mut self) -> Indexed {
        for path in std::mem::take(&mut self.opaque) {
            if self.is_dir(&path) {
                self.hide_below(path);
            }
        }
        for path in std::mem::take(&mut self.whiteouts) {
            if !self.is_dir(parent(&path)) {
                continue;
            }
            // A path that the layer hides and adds again is replaced.
            match self.entries.get(&path) {
                Some(entry) if entry.is_dir() => self.hide_below(path),
                Some(_) => {}
                None => {
                    let node = Node::Whiteout;
                    let entry = Entry { node, mode: 0, ..Entry::directory(&path, Time::default()) };
                    self.entries.insert(path, entry);
                }
            }
        }
        Indexed { tree: Tree::new(self.entries.into_values().collect()), below: self.from_below }
    }

    /// True if a directory is at the path. A mark in a directory that was replaced later hides
    /// nothing.
    fn is_dir(&self, path: &[u8]) -> bool {
        path.is_empty() || self.entries.get(path).is_some_and(Entry::is_dir)
    }

    fn hide_below(&mut self, path: Vec<u8>) {
        let entry = self.entries.entry(path.clone()).or_insert_with(|| Entry::directory(&path, Time::default()));
        entry.node = Node::Dir { opaque: true };
    }
}

#[cfg(test)]
pub(super) mod tests;
