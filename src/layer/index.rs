//! A layer's tar as a tree: what its entries amount to after one another, with all names made safe. Entries that lead
//! out of the root are errors; links of the layer itself are followed beneath its root, as containerd does it.

use super::tar::read::{Archive, Member};
use super::tree::{Entry, Node, Time, Tree, child, name, parent};
use crate::error::{Error, Kind, Result};
use std::collections::BTreeMap;
use std::io::Read;

/// Entries of one layer beyond this are refused.
const MOST_ENTRIES: usize = 20_000_000;
/// Paths longer than this are refused (PATH_MAX): links of a layer could put long ones together.
const LONGEST_PATH: usize = 4096;
/// Links followed on one name.
const MOST_LINKS: usize = 255;

/// The pieces of sparse files that an archive stores, as (offset, length), by path.
pub type Sparse = BTreeMap<Vec<u8>, Vec<(u64, u64)>>;

/// Entries in the making.
#[derive(Default)]
pub struct Builder {
    entries: BTreeMap<Vec<u8>, Entry>,
    whiteouts: Vec<Vec<u8>>,
    opaque: Vec<Vec<u8>>,
    links: u32,
    /// The first entry of the archive may only be read once: pieces of sparse files by path.
    pub sparse: Sparse,
}

/// Reads a plain tar into a tree with offsets. Sparse files come back with their pieces.
pub fn index(reader: impl Read) -> Result<(Tree, Sparse)> {
    let mut archive = Archive::new(reader);
    let mut builder = Builder::default();
    while let Some(member) = archive.next()? {
        builder.add(&member)?;
    }
    let sparse = std::mem::take(&mut builder.sparse);
    Ok((builder.finish(), sparse))
}

fn refuse(member: &Member, what: &str) -> Error {
    let path = String::from_utf8_lossy(&member.path).into_owned();
    Error::new(Kind::Source, format!("tar entry `{path}` {what}"))
        .hint("the archive is damaged or hostile; nothing of it was used")
}

/// Marks that overlayfs obeys: in an archive they could show any path of other layers.
fn of_overlay(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

impl Builder {
    /// Takes the next entry of an archive.
    pub fn add(&mut self, member: &Member) -> Result<()> {
        let path = self.place(member, &member.path, true)?;
        if path.is_empty() {
            return Ok(());
        }
        if self.entries.len() + self.whiteouts.len() + self.opaque.len() >= MOST_ENTRIES {
            return Err(refuse(member, "is one too many"));
        }
        let base = name(&path).to_vec();
        if base == b".wh..wh..opq" {
            self.opaque.push(parent(&path).to_vec());
            return Ok(());
        }
        if base.starts_with(b".wh.") {
            if !base.starts_with(b".wh..wh.") && base.len() > 4 {
                if matches!(&base[4..], b"." | b"..") {
                    return Err(refuse(member, "hides no name"));
                }
                self.whiteouts.push(child(parent(&path), &base[4..]).into());
            }
            return Ok(());
        }
        let mut entry = Entry {
            path: path.clone().into(),
            node: Node::Fifo,
            mode: member.mode,
            uid: member.uid,
            gid: member.gid,
            mtime: member.mtime,
            xattrs: member.xattrs.iter().filter(|(name, _)| !of_overlay(name)).cloned().collect(),
            link: None,
        };
        entry.node = match member.kind {
            b'0' => Node::File { size: member.size, digest: None, offset: Some(member.offset) },
            b'1' => return self.hard_link(member, path),
            b'2' => Node::Symlink { target: member.link.clone().into() },
            // How overlayfs writes a whiteout: once unpacked it would be one.
            b'3' if member.device == (0, 0) => {
                self.whiteouts.push(path);
                return Ok(());
            }
            b'3' => Node::Char { major: member.device.0, minor: member.device.1 },
            b'4' => Node::Block { major: member.device.0, minor: member.device.1 },
            b'5' => Node::Dir { opaque: false },
            b'6' => Node::Fifo,
            _ => return Err(refuse(member, "is of an unknown type")),
        };
        self.set_pieces(&path, member.pieces.clone());
        self.put(path, entry);
        Ok(())
    }

    fn hard_link(&mut self, member: &Member, path: Vec<u8>) -> Result<()> {
        let target = self.place(member, &member.link, false)?;
        let links = &mut self.links;
        let Some(entry) = self.entries.get_mut(&target).filter(|entry| !entry.is_dir()) else {
            return Err(refuse(member, "is a hard link to a file that is not in the archive"));
        };
        let group = *entry.link.get_or_insert_with(|| {
            *links += 1;
            *links
        });
        let mut linked = entry.clone();
        (linked.path, linked.link) = (path.clone().into(), Some(group));
        let pieces = self.sparse.get(&target).cloned();
        self.set_pieces(&path, pieces);
        if path != target {
            self.put(path, linked);
        }
        Ok(())
    }

    fn set_pieces(&mut self, path: &[u8], pieces: Option<Vec<(u64, u64)>>) {
        match pieces {
            Some(pieces) => drop(self.sparse.insert(path.to_vec(), pieces)),
            None => drop(self.sparse.remove(path)),
        }
    }

    /// Replaces what stands at a path, unless both are directories.
    fn put(&mut self, path: Vec<u8>, entry: Entry) {
        let keeps_inside = entry.is_dir() && self.entries.get(&path).is_some_and(Entry::is_dir);
        if !keeps_inside && self.entries.get(&path).is_some_and(Entry::is_dir) {
            let prefix = [path.as_slice(), b"/"].concat();
            let inside = self.entries.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
            let gone: Vec<Vec<u8>> = inside.map(|(path, _)| path.clone()).collect();
            gone.iter().for_each(|path| drop(self.entries.remove(path)));
        }
        self.entries.insert(path, entry);
    }

    /// A name beneath the root: `..` that leads out is refused, links of the layer are followed in its parents,
    /// parents that are missing are made.
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
                        self.put(next.clone(), Entry::directory(&next, Time::default()));
                    }
                    at = next;
                }
            }
        }
        Ok(at)
    }

    /// The tree of all entries.
    pub fn finish(mut self) -> Tree {
        for path in std::mem::take(&mut self.opaque) {
            if self.is_dir(&path) {
                self.hide_below(path);
            }
        }
        for path in std::mem::take(&mut self.whiteouts) {
            if !self.is_dir(parent(&path)) {
                continue;
            }
            // What is hidden and brought again in the same layer is replaced.
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
        Tree::new(self.entries.into_values().collect())
    }

    /// Whether a directory stands at a path: what hid something in one that was replaced later hides nothing.
    fn is_dir(&self, path: &[u8]) -> bool {
        path.is_empty() || self.entries.get(path).is_some_and(Entry::is_dir)
    }

    fn hide_below(&mut self, path: Vec<u8>) {
        let entry = self.entries.entry(path.clone()).or_insert_with(|| Entry::directory(&path, Time::default()));
        entry.node = Node::Dir { opaque: true };
    }
}

#[cfg(test)]
mod tests;
