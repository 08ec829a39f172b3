//! The files of a copy as a list that outlives it, so that the file that differs can be named.
//!
//! ```text
//! <root>/explain-v1/files/<64 hex of the selection's digest>
//!   "kilnfl01", count, then for each path: bytes shared with the path before, length and bytes of
//!   the rest, kind, mode, owner, group, size, first 8 bytes of the content's digest, and of that
//!   of the extended attributes
//! ```
//! Numbers are LEB128; the digests are 8 raw bytes. Written under a temporary name and renamed. A
//! list that is lost or damaged costs the name of a file. GC rule: the collector keeps the newest.

use crate::copy::Selection;
use base::digest::{Digest, Hasher};
use layer::tree::{Entry, Node, show};
use solver::Difference;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use store::Store;

const MAGIC: &[u8; 8] = b"kilnfl01";
/// The most paths in a list; the others are left out.
const MOST_ROWS: usize = 200_000;

/// One path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    path: Vec<u8>,
    kind: u8,
    mode: u32,
    owner: u32,
    group: u32,
    size: u64,
    content: [u8; 8],
    attributes: [u8; 8],
}

impl Row {
    fn of(entry: &Entry) -> Row {
        let (kind, size, content) = match &entry.node {
            Node::Dir { .. } => (0, 0, [0; 8]),
            Node::File { size, digest, .. } => (1, *size, digest.as_ref().map_or([0; 8], first)),
            Node::Symlink { target } => (2, target.len() as u64, first(&Digest::of(target))),
            Node::Char { major, minor } => (3, u64::from(*major) << 32 | u64::from(*minor), [0; 8]),
            Node::Block { major, minor } => (4, u64::from(*major) << 32 | u64::from(*minor), [0; 8]),
            Node::Fifo => (5, 0, [0; 8]),
            Node::Whiteout => (6, 0, [0; 8]),
        };
        let mut attributes = [0; 8];
        if !entry.xattrs.is_empty() {
            let mut hasher = Hasher::default();
            entry.xattrs.iter().flat_map(|(name, value)| [name, value]).for_each(|part| hasher.update(part));
            attributes = first(&hasher.finish());
        }
        let (owner, group) = (entry.uid, entry.gid);
        Row { path: entry.path.to_vec(), kind, mode: entry.mode, owner, group, size, content, attributes }
    }

    /// The attributes that can differ, separated by `, `.
    fn show(&self) -> String {
        let content: String = self.content.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let mut text = match self.kind {
            0 => "directory".to_owned(),
            1 => format!("sha256:{content}, {} bytes", self.size),
            2 => format!("link sha256:{content}"),
            3 | 4 => format!("device {}:{}", self.size >> 32, self.size & u64::from(u32::MAX)),
            _ => "special file".to_owned(),
        };
        text.push_str(&format!(", mode {:04o}, owner {}:{}", self.mode, self.owner, self.group));
        if self.attributes != [0; 8] {
            let hex: String = self.attributes.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
            text.push_str(&format!(", attributes {hex}"));
        }
        text
    }
}

fn first(digest: &Digest) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest.0[..8]);
    bytes
}

/// The files of a current copy.
pub(super) fn rows(selection: &Selection) -> Vec<Row> {
    selection.entries().take(MOST_ROWS).map(Row::of).collect()
}

fn path(root: &Path, digest: &str) -> PathBuf {
    super::folder(root).join("files").join(digest.trim_start_matches("sha256:"))
}

/// Saves a list.
pub(super) fn save(store: &Store, selection: &Selection) {
    let path = path(store.root(), &selection.digest().to_string());
    if !path.exists() {
        super::write(store, &path, &encode(&rows(selection)));
    }
}

/// The list of an earlier copy.
pub(super) fn load(store: &Store, digest: &str) -> Option<Vec<Row>> {
    decode(&super::bytes(&path(store.root(), digest))?)
}

fn encode(rows: &[Row]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    number(&mut bytes, rows.len() as u64);
    let mut before: &[u8] = b"";
    for row in rows {
        let shared = before.iter().zip(&row.path).take_while(|(one, two)| one == two).count();
        let rest = row.path.get(shared..).unwrap_or_default();
        number(&mut bytes, shared as u64);
        number(&mut bytes, rest.len() as u64);
        bytes.extend_from_slice(rest);
        bytes.push(row.kind);
        for value in [u64::from(row.mode), u64::from(row.owner), u64::from(row.group), row.size] {
            number(&mut bytes, value);
        }
        bytes.extend_from_slice(&row.content);
        bytes.extend_from_slice(&row.attributes);
        before = &row.path;
    }
    bytes
}

fn number(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn decode(bytes: &[u8]) -> Option<Vec<Row>> {
    let mut from = Reader(bytes.strip_prefix(MAGIC)?);
    let count = usize::try_from(from.number()?).ok().filter(|count| *count <= MOST_ROWS)?;
    let mut rows: Vec<Row> = Vec::new();
    for _ in 0..count {
        let shared = usize::try_from(from.number()?).ok()?;
        let rest = usize::try_from(from.number()?).ok()?;
        let mut path = rows.last().map_or(&b""[..], |row| &row.path).get(..shared)?.to_vec();
        path.extend_from_slice(from.take(rest)?);
        let kind = *from.take(1)?.first()?;
        let mut small = || u32::try_from(from.number()?).ok();
        let (mode, owner, group) = (small()?, small()?, small()?);
        let size = from.number()?;
        let (content, attributes) = (from.take(8)?.try_into().ok()?, from.take(8)?.try_into().ok()?);
        rows.push(Row { path, kind, mode, owner, group, size, content, attributes });
    }
    from.0.is_empty().then_some(rows)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

/// The differences in the order of the new list, at most `most`, and the total number.
pub(super) fn compare(old: &[Row], new: &[Row], most: usize) -> (Vec<Difference>, usize) {
    // Two lists are mostly equal, so equal rows at both ends are skipped.
    let same = old.iter().zip(new).take_while(|(one, two)| one == two).count();
    let (old, new) = (&old[same..], &new[same..]);
    let same = old.iter().rev().zip(new.iter().rev()).take_while(|(one, two)| one == two).count();
    let (old, new) = (&old[..old.len() - same], &new[..new.len() - same]);
    let mut known: HashMap<&[u8], &Row> = old.iter().map(|row| (row.path.as_slice(), row)).collect();
    let (mut found, mut count) = (Vec::new(), 0);
    let mut differs = |path: &[u8], old: Option<&Row>, new: Option<&Row>| {
        count += 1;
        if found.len() < most {
            let (old, new) = (old.map(Row::show), new.map(Row::show));
            found.push(Difference { cause: super::FILE, name: show(path), old, new });
        }
    };
    for row in new {
        match known.remove(row.path.as_slice()) {
            Some(before) if before == row => {}
            before => differs(&row.path, before, Some(row)),
        }
    }
    for row in old.iter().filter(|row| known.contains_key(row.path.as_slice())) {
        differs(&row.path, Some(row), None);
    }
    (found, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(path: &str, size: u64) -> Row {
        let (content, attributes) = (size.to_be_bytes(), [0; 8]);
        Row { path: path.into(), kind: 1, mode: 0o644, owner: 0, group: 70_000, size, content, attributes }
    }

    #[test]
    fn a_list_comes_back_and_damage_is_no_list() {
        let rows = vec![row("a", 1), row("a/b", 300), row("a/bc", u64::MAX), row("z", 0)];
        let bytes = encode(&rows);
        assert_eq!(decode(&bytes), Some(rows));
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), None, "{cut}");
        }
        assert_eq!(decode(&[bytes.as_slice(), b"x"].concat()), None);
        assert_eq!(decode(&[&MAGIC[..], &[0xff; 12]].concat()), None);
    }

    #[test]
    fn what_changed_came_and_went_is_named() {
        let old = [row("a", 1), row("b", 2), row("c", 3), row("y", 5), row("z", 9)];
        let new = [row("a", 1), row("b", 4), row("bb", 7), row("y", 5), row("z", 9)];
        let (found, count) = compare(&old, &new, 2);
        assert_eq!(count, 3);
        let names: Vec<_> = found.iter().map(|one| (one.name.as_str(), one.old.is_some(), one.new.is_some())).collect();
        assert_eq!(names, [("b", true, true), ("bb", false, true)]);
        assert_eq!(found[0].new.as_deref(), Some("sha256:000000000000, 4 bytes, mode 0644, owner 0:70000"));
        assert_eq!(compare(&old, &old, 9).1, 0);
        let (found, _) = compare(&old, &new[..2], 9);
        assert_eq!(found.iter().filter(|one| one.new.is_none()).count(), 3);
    }
}
