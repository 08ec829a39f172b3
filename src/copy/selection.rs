//! The selected files of a copy as a list, and their digest. This module does not know the
//! destination.
//!
//! | enters the digest | does not |
//! |---|---|
//! | order and names of the sources | where in the input they lie |
//! | relative paths, types, modes, link targets, device numbers | times |
//! | owners, unless `--chown` replaces them | mode and owner of the source directory |
//! | extended attributes, link groups, digests of contents | |

use base::digest::{Digest, Hasher};
use frontend::op::{Copy, CopySource, Input};
use layer::tree::{Entry, Node};
use std::collections::HashMap;

/// The files that a copy takes, in order.
#[derive(Debug)]
pub struct Selection {
    pub(super) picked: Vec<Picked>,
    digest: Digest,
}

/// One source, or one match of its pattern.
#[derive(Debug)]
pub(super) enum Picked {
    Path(Files),
    /// A here-document: its index among the op's sources.
    Inline(usize),
}

/// A file, or a directory with its selected content.
#[derive(Debug)]
pub(super) struct Files {
    pub input: Input,
    /// Its name below a destination that is a directory.
    pub name: Box<[u8]>,
    /// The first is the source itself, with links followed. The paths of the others begin with its
    /// path, and directories come before their content. Every file has its digest.
    pub items: Vec<Item>,
    /// True if a tar archive is to be unpacked.
    pub unpack: bool,
}

/// One path.
#[derive(Debug)]
pub(super) struct Item {
    pub entry: Entry,
    /// True for a directory that was not selected itself, but contains a selected path.
    pub carried: bool,
}

impl Selection {
    pub(super) fn new(op: &Copy, picked: Vec<Picked>) -> Selection {
        let digest = digest(op, &picked);
        Selection { picked, digest }
    }

    /// The copied paths, in order, without directories of which only the contents are copied.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        let files = self.picked.iter().filter_map(|picked| match picked {
            Picked::Path(files) => Some(files),
            Picked::Inline(_) => None,
        });
        let whole = |(number, item): &(usize, &Item)| *number > 0 || !item.entry.node.is_dir();
        files.flat_map(move |files| files.items.iter().enumerate().filter(whole).map(|(_, item)| &item.entry))
    }

    /// The digest of everything that is copied.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl Files {
    /// The source itself.
    pub(super) fn root(&self) -> &Entry {
        // `select` never makes a list without its root.
        &self.items[0].entry
    }

    /// The digest of the files, with the mode and owner of the source itself.
    pub(super) fn shown(&self) -> Digest {
        let mut to = Framed::default();
        let Entry { mode, uid, gid, xattrs, .. } = self.root();
        [mode, uid, gid].iter().for_each(|number| to.number(u64::from(**number)));
        xattrs.iter().for_each(|(name, value)| [name, value].iter().for_each(|part| to.bytes(part)));
        describe(self, true, &mut to);
        to.finish()
    }

    /// The path of an item below its source; empty for the source itself.
    pub(super) fn below<'a>(&self, item: &'a Item) -> &'a [u8] {
        let root = self.root().path.len();
        let skip = if root == 0 { 0 } else { root + 1 };
        item.entry.path.get(skip..).unwrap_or_default()
    }
}

/// A hasher that keeps its parts apart.
#[derive(Default)]
pub(super) struct Framed(Hasher);

impl Framed {
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }
    pub(super) fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }
    pub(super) fn finish(self) -> Digest {
        self.0.finish()
    }
}

fn digest(op: &Copy, picked: &[Picked]) -> Digest {
    let mut to = Framed::default();
    for picked in picked {
        match picked {
            Picked::Inline(at) => {
                if let Some(CopySource::Inline { name, data }) = op.sources.get(*at) {
                    to.bytes(b"inline");
                    to.bytes(name.as_bytes());
                    to.bytes(data);
                }
            }
            Picked::Path(files) => describe(files, op.owner.is_none(), &mut to),
        }
    }
    to.finish()
}

fn describe(files: &Files, owners: bool, to: &mut Framed) {
    to.bytes(b"files");
    to.bytes(&files.name);
    to.number(files.items.len() as u64);
    let mut links = HashMap::new();
    for (number, item) in files.items.iter().enumerate() {
        let entry = &item.entry;
        to.bytes(files.below(item));
        to.number(u64::from(item.carried));
        node(&entry.node, to);
        let contents_only = number == 0 && entry.node.is_dir();
        if contents_only {
            continue;
        }
        to.number(u64::from(entry.mode));
        if owners {
            to.number(u64::from(entry.uid) << 32 | u64::from(entry.gid));
        }
        to.number(entry.xattrs.len() as u64);
        for (name, value) in &entry.xattrs {
            to.bytes(name);
            to.bytes(value);
        }
        let first = entry.link.map_or(number, |link| *links.entry(link).or_insert(number));
        to.number(first as u64);
    }
}

fn node(node: &Node, to: &mut Framed) {
    let device = |major: u32, minor: u32| u64::from(major) << 32 | u64::from(minor);
    match node {
        Node::Dir { .. } => to.number(0),
        Node::File { size, digest, .. } => {
            to.number(1);
            to.number(*size);
            to.bytes(digest.as_ref().map_or(&[], |digest| &digest.0));
        }
        Node::Symlink { target } => {
            to.number(2);
            to.bytes(target);
        }
        Node::Char { major, minor } => {
            to.number(3);
            to.number(device(*major, *minor));
        }
        Node::Block { major, minor } => {
            to.number(4);
            to.number(device(*major, *minor));
        }
        Node::Fifo => to.number(5),
        Node::Whiteout => to.number(6),
    }
}
