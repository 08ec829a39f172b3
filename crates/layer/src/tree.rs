//! The tree of a layer: its index. It has every path with type, mode, owner, time, xattrs, link
//! group and, once it was needed, the digest of the content. Of the layer's other forms it knows
//! only the offsets in the tar.

use base::clock;
use base::digest::Digest;
use std::collections::HashMap;

/// The longest path. The path of the store is put before it, and no system call takes more than
/// PATH_MAX (4096).
pub const LONGEST_PATH: usize = 3072;

/// All entries of one layer, sorted by path. `/` sorts lowest, so that a directory comes right
/// before its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// The entries; each path occurs once.
    pub entries: Vec<Entry>,
}

/// Extended attributes: names with their values.
pub type Xattrs = Vec<(Box<[u8]>, Box<[u8]>)>;

/// One path of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The path relative to the root, without leading, trailing or double slashes; empty for the
    /// root itself.
    pub path: Box<[u8]>,
    /// The type and content.
    pub node: Node,
    /// Permission bits with setuid, setgid and sticky (07777); 0 for a whiteout.
    pub mode: u32,
    /// The owner as the image sees it.
    pub uid: u32,
    /// The group as the image sees it.
    pub gid: u32,
    /// Modification time.
    pub mtime: Time,
    /// Sorted by name. Overlayfs's own are left out, and file capabilities have version 2.
    pub xattrs: Xattrs,
    /// Entries with the same number are one inode. Directories have none.
    pub link: Option<u32>,
}

/// The type of a file, with its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Dir {
        /// True if it hides the content that lower layers have in it.
        opaque: bool,
    },
    /// A regular file.
    File {
        /// The size in bytes.
        size: u64,
        /// SHA-256 of the content; `None` until it is needed.
        digest: Option<Digest>,
        /// The offset of its bytes in the layer's plain tar, if there is one. A link group shares
        /// one offset.
        offset: Option<u64>,
    },
    /// A symbolic link.
    Symlink {
        /// The target as it is written.
        target: Box<[u8]>,
    },
    /// A character device.
    Char {
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// Hides the path in lower layers.
    Whiteout,
}

/// A point in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nanos: u32,
}

impl Time {
    /// The current time.
    pub fn now() -> Time {
        let since = clock::since_1970();
        Time { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: since.subsec_nanos() }
    }
}

impl Tree {
    /// A tree from entries in any order; the last entry for a path counts. Link groups are numbered
    /// from 1 in the order of their first paths, so that equal trees are equal values. A group with
    /// one entry is none.
    pub fn new(mut entries: Vec<Entry>) -> Tree {
        entries.sort_by(|one, two| order(&one.path, &two.path));
        entries.reverse();
        entries.dedup_by(|one, two| one.path == two.path);
        entries.reverse();
        number_links(&mut entries);
        Tree { entries }
    }

    /// The entry of a path.
    pub fn get(&self, path: &[u8]) -> Option<&Entry> {
        let at = self.entries.binary_search_by(|entry| order(&entry.path, path)).ok()?;
        self.entries.get(at)
    }

    /// The entries below a directory, at any depth.
    pub fn below(&self, dir: &[u8]) -> &[Entry] {
        let inside = |path: &[u8]| {
            dir.is_empty() || (path.len() > dir.len() && path.starts_with(dir) && path[dir.len()] == b'/')
        };
        let start = self.entries.partition_point(|entry| order(&entry.path, dir).is_le());
        let count = self.entries[start..].partition_point(|entry| inside(&entry.path));
        &self.entries[start..start + count]
    }
}

fn number_links(entries: &mut [Entry]) {
    let mut groups: HashMap<u32, (usize, u32)> = HashMap::new();
    for link in entries.iter().filter_map(|entry| entry.link) {
        groups.entry(link).or_default().0 += 1;
    }
    let mut last = 0;
    for entry in entries {
        let Some((count, number)) = entry.link.and_then(|link| groups.get_mut(&link)) else { continue };
        if *count == 1 {
            entry.link = None;
            continue;
        }
        if *number == 0 {
            last += 1;
            *number = last;
        }
        entry.link = Some(*number);
    }
}

/// Compares paths by their parts: `/` is lower than every other byte.
pub fn order(one: &[u8], two: &[u8]) -> std::cmp::Ordering {
    let rank = |byte: &u8| if *byte == b'/' { 0 } else { u16::from(*byte) + 1 };
    one.iter().map(rank).cmp(two.iter().map(rank))
}

/// True if reading these files takes longer than starting threads for it.
pub fn worth_all_cores<'a>(nodes: impl Iterator<Item = &'a Node>) -> bool {
    const FILE: u64 = 16 << 10;
    const MUCH: u64 = 1 << 20;
    let size = |node: &Node| if let Node::File { size, .. } = node { size + FILE } else { 0 };
    nodes.map(size).fold(0, u64::saturating_add) > MUCH
}

/// The parent directory of a path; empty in the root.
pub fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(b"", |at| &path[..at])
}

/// The last part of a path.
pub fn name(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(path, |at| &path[at + 1..])
}

/// The parent directory of a path and its last part; `None` for the root.
pub fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    (!path.is_empty()).then(|| (parent(path), name(path)))
}

/// True if a path lies in a directory, at any depth.
pub fn is_below(path: &[u8], dir: &[u8]) -> bool {
    path.strip_prefix(dir)
        .is_some_and(|rest| if dir.is_empty() { !rest.is_empty() } else { rest.first() == Some(&b'/') })
}

/// A path for messages: bytes that are not UTF-8 or not printable are escaped.
pub fn show(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().flat_map(char::escape_debug).collect()
}

/// A path with one more part.
pub fn child(dir: &[u8], name: &[u8]) -> Box<[u8]> {
    if dir.is_empty() { name.into() } else { [dir, b"/", name].concat().into() }
}

impl Node {
    /// True for a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self, Node::Dir { .. })
    }
}

impl Entry {
    /// A directory of root, 0755.
    pub fn directory(path: &[u8], mtime: Time) -> Entry {
        let node = Node::Dir { opaque: false };
        Entry { path: path.into(), node, mode: 0o755, uid: 0, gid: 0, mtime, xattrs: Vec::new(), link: None }
    }

    /// True for a directory.
    pub fn is_dir(&self) -> bool {
        self.node.is_dir()
    }

    /// The entry without its opaque mark. A merged view returns entries like this, because in
    /// another layer the same mark would hide something else.
    pub fn unmarked(&self) -> Entry {
        let node = if self.is_dir() { Node::Dir { opaque: false } } else { self.node.clone() };
        Entry { node, ..self.clone() }
    }
}
