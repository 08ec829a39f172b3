//! A plain directory as a tree and back: how cache mounts travel. Devices, pipes and sockets stay where they are.

use super::tree::{LONGEST_PATH, Node, Tree, name, order, parent};
use super::unpack::{Open, Writer};
use super::{Flavour, encode, harvest};
use base::error::Result;
use std::io::Read;
use std::path::Path;

/// What is in a directory: directories, files and links.
pub fn read(dir: &Path) -> Result<Tree> {
    let mut tree = harvest::harvest(dir, "")?;
    tree.entries.retain(|entry| is_plain(&entry.node));
    Ok(tree)
}

/// Writes a tree to a fresh directory, which exists.
pub fn write(tree: &Tree, dir: &Path, flavour: &Flavour, open: &Open<'_>) -> Result<()> {
    Writer { dir, flavour, open, twin: None, stage: None }.write(tree)
}

/// A file of a directory; no link is followed.
pub fn open(dir: &Path, path: &[u8]) -> Result<Box<dyn Read + Send>> {
    super::open_beneath(dir, path)
}

/// The tree as bytes.
pub fn encode(tree: &Tree) -> Vec<u8> {
    encode::encode(tree)
}

/// The tree of bytes from anywhere. None if it is not one that [`write()`] can be given: each name once, each parent a
/// directory, nothing that leads out.
pub fn decode(bytes: &[u8]) -> Option<Tree> {
    let tree = encode::decode(bytes)?;
    let mut folders: Vec<&[u8]> = vec![b""];
    let mut last: &[u8] = b"";
    for entry in &tree.entries {
        let path: &[u8] = &entry.path;
        let part = name(path);
        // A slash at the beginning would make it a path of the host.
        let clean = !path.starts_with(b"/") && !part.is_empty() && part != b"." && part != b"..";
        let clean = clean && !path.contains(&0) && path.len() <= LONGEST_PATH;
        if !clean || order(last, path).is_ge() || !is_plain(&entry.node) {
            return None;
        }
        // Sorted as they are, the open directories are a stack.
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
