//! Files in memory, written and printed as short lines.
//!
//! `a/` is a directory, `a/f=text` a file, `l->t` a link, `p|` a pipe. After a blank may follow a
//! mode (`0700`), an owner (`5:6`), a link group (`#1`), a time (`@7`) and an attribute
//! (`name~value`), each only if it is not the default.

use crate::copy::{entries, facts, select};
use base::digest::Digest;
use base::error::{Error, Kind, Result};
use frontend::op;
use layer::Bytes;
use layer::files::{Files, Opener, Stream};
use layer::tree::{Entry, Node, Time, show, split};
use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use store::Store;

#[derive(Default)]
pub(super) struct MemoryFiles(BTreeMap<Box<[u8]>, (Entry, Vec<u8>)>);

pub(super) const NOW: Time = Time { seconds: 99, nanos: 0 };

impl MemoryFiles {
    pub(super) fn of(lines: &[&str]) -> MemoryFiles {
        let mut files = MemoryFiles::default();
        lines.iter().for_each(|line| files.add(line, None));
        files
    }

    /// Adds a line; `content` replaces the text of a file.
    pub(super) fn add(&mut self, line: &str, content: Option<Vec<u8>>) {
        let mut words = line.split(' ');
        let word = words.next().unwrap_or_default();
        let (path, node, bytes) = if let Some((path, target)) = word.split_once("->") {
            (path, Node::Symlink { target: target.as_bytes().into() }, Vec::new())
        } else if let Some((path, text)) = word.split_once('=') {
            let bytes = content.unwrap_or_else(|| text.as_bytes().to_vec());
            (path, Node::File { size: bytes.len() as u64, digest: None, offset: None }, bytes)
        } else if let Some(path) = word.strip_suffix('|') {
            (path, Node::Fifo, Vec::new())
        } else {
            (word.strip_suffix('/').unwrap(), Node::Dir { opaque: false }, Vec::new())
        };
        let mode = if node.is_dir() { 0o755 } else { 0o644 };
        let (path, mtime): (Box<[u8]>, _) = (path.as_bytes().into(), Time { seconds: 1, nanos: 0 });
        let mut entry = Entry { path: path.clone(), node, mode, uid: 0, gid: 0, mtime, xattrs: Vec::new(), link: None };
        for word in words {
            if let Some((uid, gid)) = word.split_once(':') {
                (entry.uid, entry.gid) = (uid.parse().unwrap(), gid.parse().unwrap());
            } else if let Some((name, value)) = word.split_once('~') {
                entry.xattrs.push((name.as_bytes().into(), value.as_bytes().into()));
            } else if let Some(link) = word.strip_prefix('#') {
                entry.link = Some(link.parse().unwrap());
            } else if let Some(seconds) = word.strip_prefix('@') {
                entry.mtime.seconds = seconds.parse().unwrap();
            } else {
                entry.mode = u32::from_str_radix(word, 8).unwrap();
            }
        }
        let mut above = split(&path).map(|(dir, _)| dir);
        while let Some(dir) = above {
            assert!(dir.is_empty() || self.0.contains_key(dir), "{} has no parent", show(&path));
            above = split(dir).map(|(dir, _)| dir);
        }
        self.0.insert(path, (entry, bytes));
    }

    /// The same files with a layer on top.
    pub(super) fn with(&self, layer: Vec<(Entry, Bytes)>) -> MemoryFiles {
        let mut files = MemoryFiles(self.0.clone());
        for (entry, bytes) in layer {
            if !entry.node.is_dir() || entry.node == (Node::Dir { opaque: true }) {
                files.0.retain(|path, _| !path.starts_with(&[&*entry.path, b"/"].concat()));
            }
            files.0.insert(entry.path.clone(), (entry, read(bytes)));
        }
        files
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.0.values().map(|(entry, bytes)| line(entry, bytes)).collect()
    }
}

fn read(bytes: Bytes) -> Vec<u8> {
    match bytes {
        Bytes::None => Vec::new(),
        Bytes::Inline(bytes) => bytes,
        Bytes::Open(open) | Bytes::Watched(open, _) => {
            let mut bytes = Vec::new();
            open().unwrap().read_to_end(&mut bytes).unwrap();
            bytes
        }
    }
}

fn line(entry: &Entry, bytes: &[u8]) -> String {
    let path = show(&entry.path);
    let mut line = match &entry.node {
        Node::Dir { opaque: false } => format!("{path}/"),
        Node::Dir { opaque: true } => format!("{path}/ opaque"),
        Node::Symlink { target } => format!("{path}->{}", show(target)),
        Node::File { size, .. } => {
            assert_eq!(*size, bytes.len() as u64, "{path}");
            format!("{path}={}", show(bytes))
        }
        Node::Fifo => format!("{path}|"),
        other => format!("{path} {other:?}"),
    };
    let usual = if entry.node.is_dir() { 0o755 } else { 0o644 };
    if entry.mode != usual && !matches!(entry.node, Node::Symlink { .. }) {
        line += &format!(" {:04o}", entry.mode);
    }
    if (entry.uid, entry.gid) != (0, 0) {
        line += &format!(" {}:{}", entry.uid, entry.gid);
    }
    if let Some(link) = entry.link {
        line += &format!(" #{link}");
    }
    if entry.mtime.seconds != 1 {
        line += &format!(" @{}", entry.mtime.seconds);
    }
    for (name, value) in &entry.xattrs {
        line += &format!(" {}~{}", show(name), show(value));
    }
    line
}

impl Files for MemoryFiles {
    fn lookup(&self, path: &[u8]) -> Result<Option<Entry>> {
        if path.is_empty() && !self.0.contains_key(path) {
            let mut root = MemoryFiles::default();
            root.add("/", None);
            return Ok(root.0.into_values().next().map(|(entry, _)| entry));
        }
        Ok(self.0.get(path).map(|(entry, _)| entry.clone()))
    }
    fn list(&self, path: &[u8]) -> Result<Vec<Box<[u8]>>> {
        let parts = self.0.keys().filter_map(|key| split(key)).filter(|(dir, _)| *dir == path);
        Ok(parts.map(|(_, name)| name.into()).collect())
    }
    fn open(&self, path: &[u8]) -> Result<Stream> {
        match self.0.get(path) {
            Some((_, bytes)) => Ok(Box::new(Cursor::new(bytes.clone()))),
            None => Err(Error::new(Kind::Dockerfile, "missing")),
        }
    }
    fn opener(&self, path: &[u8]) -> Opener {
        let stream = self.open(path);
        Box::new(|| stream)
    }
    fn digest(&self, path: &[u8]) -> Result<Digest> {
        Ok(Digest::of(&self.0[path].1))
    }
}

/// The result of a copy: the digests of its sources and its facts, and its layer.
pub(super) struct Made {
    pub sources: Digest,
    pub facts: Digest,
    pub layer: Vec<(Entry, Bytes)>,
}

pub(super) fn make(op: &op::Copy, context: &MemoryFiles, base: Option<&MemoryFiles>) -> Result<Made> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let sources = |_| Ok(context as &dyn Files);
    let base = base.map(|base| base as &dyn Files);
    let selection = select(op, &sources)?;
    let facts = facts(op, &selection, &sources, base, &store)?;
    let digest = facts.digest();
    let layer = entries(op, facts, &sources, base, NOW)?;
    Ok(Made { sources: selection.digest(), facts: digest, layer })
}

/// The layer as lines.
pub(super) fn layer(op: &op::Copy, context: &MemoryFiles, base: Option<&MemoryFiles>) -> Result<Vec<String>> {
    let made = make(op, context, base)?;
    Ok(made.layer.into_iter().map(|(entry, bytes)| line(&entry, &read(bytes))).collect())
}
