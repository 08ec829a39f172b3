//! Reads a plain directory as a tree and writes it back, for cache mounts that are exported.
//! Devices, pipes and sockets are left out.

use super::tree::{LONGEST_PATH, Node, Tree, name, order, parent};
use super::unpack::{Open, Writer};
use super::{Flavour, encode, harvest};
use base::error::Result;
use std::io::Read;
use std::path::Path;

/// The directories, files and links in a directory.
pub fn read(dir: &Path) -> Result<Tree> {
    let mut tree = harvest::harvest(dir, "")?;
    tree.entries.retain(|entry| is_plain(&entry.node));
    Ok(tree)
}

/// Writes a tree to an empty directory.
pub fn write(tree: &Tree, dir: &Path, flavour: &Flavour, open: &Open<'_>) -> Result<()> {
    Writer { dir, flavour, open, twin: None, stage: None }.write(tree)
}

/// Opens a file of a directory without following links.
pub fn open(dir: &Path, path: &[u8]) -> Result<Box<dyn Read + Send>> {
    super::open_beneath(dir, path)
}

/// Encodes a tree.
pub fn encode(tree: &Tree) -> Vec<u8> {
    encode::encode(tree)
}

/// Decodes a tree from an untrusted source. Returns `None` unless [`write()`] can take it: each
/// name once, each parent a directory, and no path outside the root.
pub fn decode(bytes: &[u8]) -> Option<Tree> {
    let tree = encode::decode(bytes)?;
    let mut folders: Vec<&[u8]> = vec![b""];
    let mut last: &[u8] = b"";
    for entry in &tree.entries {
        let path: &[u8] = &entry.path;
        let part = name(path);
        // A leading slash would make it an absolute path of the host.
        let clean = !path.starts_with(b"/") && !part.is_empty() && part != b"." && part != b"..";
        let clean = clean && !path.contains(&0) && path.len() <= LONGEST_PATH;
        if !clean || order(last, path).is_ge() || !is_plain(&entry.node) {
            return None;
        }
        // The paths are sorted, so the open directories form a stack.
        while folders.last().is_some_and(|folder| *folder != parent(path)) {
            folders.pop();
        }
        folders.last()?;
        if entry.is_dir() {
            folders.push(path);
        }
        last = path;
    }
    Some(tree)
}

fn is_plain(node: &Node) -> bool {
    matches!(node, Node::Dir { opaque: false } | Node::File { .. } | Node::Symlink { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Entry;

    fn entry(path: &str, node: Node) -> Entry {
        let mtime = Default::default();
        Entry { path: path.as_bytes().into(), node, mode: 0o644, uid: 0, gid: 0, mtime, xattrs: Vec::new(), link: None }
    }

    fn dir() -> Node {
        Node::Dir { opaque: false }
    }

    fn link() -> Node {
        Node::Symlink { target: (*b"/etc").into() }
    }

    fn taken(entries: Vec<Entry>) -> bool {
        decode(&encode::encode(&Tree { entries })).is_some()
    }

    #[test]
    fn nothing_hostile_is_a_tree() {
        assert!(taken(vec![entry("a", dir()), entry("a/b", dir()), entry("a/b/c", link()), entry("a/d", link())]));
        assert!(!taken(vec![entry("..", dir())]) && !taken(vec![entry("a", dir()), entry("a/..", dir())]));
        assert!(!taken(vec![entry("", dir())]) && !taken(vec![entry("/a", dir())]) && !taken(vec![entry("a/", dir())]));
        assert!(!taken(vec![entry("a", link()), entry("a/b", link())]), "through a link");
        assert!(!taken(vec![entry("a/b", link())]) && !taken(vec![entry("a", dir()), entry("a", link())]));
        assert!(!taken(vec![entry("a\0b", link())]) && !taken(vec![entry("a", Node::Whiteout)]));
    }
}
