//! Plans a layer in memory on top of the rootfs below it, and records all facts that were looked up
//! there, because a change of them must run the step again. This module does not know sources or
//! archives.

use super::owner::Owner;
use super::selection::Framed;
use base::digest::Digest;
use base::error::{Error, Kind, Result};
use base::sync::lock;
use frontend::op::Input;
use layer::files::{Files, Opener, Resolution, Stream, resolve};
use layer::tree::{Entry, Node, Time, child, is_below, show, split};
use std::collections::BTreeMap;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A planned layer.
pub(super) struct Plan<'a> {
    base: Option<&'a dyn Files>,
    made: BTreeMap<Box<[u8]>, Made>,
    /// True if the plan adds something to the base.
    changed: bool,
    links: u32,
    facts: Mutex<Framed>,
}

/// One path of the layer.
pub(super) struct Made {
    pub entry: Entry,
    /// True if the time is that of the step.
    pub now: bool,
    pub content: Content,
    /// True for a directory that hides everything of the base.
    fresh: bool,
}

/// The source of a file's bytes.
#[derive(Clone)]
pub(super) enum Content {
    None,
    /// A path of a source.
    Source(Input, Box<[u8]>),
    /// A here-document: its index among the op's sources.
    Inline(usize),
    /// A part of an unlinked temporary file.
    Spooled {
        file: Arc<File>,
        offset: u64,
        size: u64,
    },
    /// A path of the base.
    Base(Box<[u8]>),
}

impl<'a> Plan<'a> {
    /// An empty layer on a base; the base is `None` for an empty root.
    pub(super) fn new(base: Option<&'a dyn Files>) -> Plan<'a> {
        let (made, facts) = Default::default();
        Plan { base, made, changed: false, links: 0, facts }
    }

    /// The planned paths, and the digest of the facts that were looked up below.
    pub(super) fn finish(self) -> (Vec<Made>, Digest) {
        let made = if self.changed { self.made.into_values().collect() } else { Vec::new() };
        (made, self.facts.into_inner().unwrap_or_else(PoisonError::into_inner).finish())
    }

    /// Adds another fact to the digest.
    pub(super) fn record(&self, what: &str, number: u64) {
        let mut facts = self.facts();
        facts.bytes(what.as_bytes());
        facts.number(number);
    }

    /// Follows all links of a path, within the root.
    pub(super) fn resolve(&self, path: &[u8]) -> Result<Resolution> {
        resolve(self, path)
    }

    /// The entry at a path, unrecorded: for questions whose answer does not change the layer, or
    /// ends in an error.
    pub(super) fn peek(&self, path: &[u8]) -> Result<Option<Entry>> {
        match self.made.get(path) {
            Some(made) => Ok(Some(made.entry.clone())),
            None => self.through(path),
        }
    }

    /// The entry of the base at a path that the plan does not contain.
    fn through(&self, path: &[u8]) -> Result<Option<Entry>> {
        let mut at = path;
        while let Some((dir, _)) = split(at) {
            match self.made.get(dir) {
                Some(made) if made.fresh || !made.entry.node.is_dir() => return Ok(None),
                Some(_) => break,
                None => at = dir,
            }
        }
        match self.base.map_or(Ok(None), |base| base.lookup(path))? {
            None if path.is_empty() => Ok(Some(directory(path, 0o755, Owner::default()))),
            found => Ok(found),
        }
    }

    /// Makes the missing parts of a directory (a path without links), as `mkdir -p` does. Existing
    /// parts are repeated in the layer, because a directory in a layer replaces the metadata of the
    /// one below it.
    pub(super) fn make_dirs(&mut self, path: &[u8], mode: u32, owner: Option<Owner>) -> Result<()> {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.chain((!path.is_empty()).then_some(path.len())) {
            let dir = &path[..end];
            match self.lookup(dir)? {
                Some(entry) if entry.node.is_dir() => self.keep(entry),
                Some(_) => return Err(not_a_directory(dir)),
                None => {
                    let entry = directory(dir, mode, owner.unwrap_or_default());
                    self.put(Made { entry, now: true, content: Content::None, fresh: true })?;
                }
            }
        }
        Ok(())
    }

    fn keep(&mut self, entry: Entry) {
        let made = |entry| Made { entry, now: false, content: Content::None, fresh: false };
        self.made.entry(entry.path.clone()).or_insert_with_key(|_| made(entry));
    }

    /// Puts a directory over a directory or a missing path. Its content stays.
    pub(super) fn put_dir(&mut self, entry: Entry) -> Result<()> {
        let fresh = match self.made.get(&entry.path) {
            Some(made) => made.fresh,
            None => self.through(&entry.path)?.is_none(),
        };
        let opaque = matches!(
            self.made.get(&entry.path),
            Some(Made { entry: Entry { node: Node::Dir { opaque: true }, .. }, .. })
        );
        let entry = Entry { node: Node::Dir { opaque }, link: None, ..entry };
        self.put(Made { entry, now: false, content: Content::None, fresh })
    }

    /// Replaces a file with a directory.
    pub(super) fn replace_by_dir(&mut self, entry: Entry) -> Result<()> {
        // The base may have a directory here, hidden by a planned file that is now replaced. It
        // must stay hidden.
        let below = self.base.map_or(Ok(None), |base| base.lookup(&entry.path))?;
        let opaque = below.is_some_and(|below| below.node.is_dir());
        self.record("replaced directory", u64::from(opaque));
        let entry = Entry { node: Node::Dir { opaque }, link: None, ..entry };
        self.put(Made { entry, now: false, content: Content::None, fresh: true })
    }

    /// Puts anything except a directory, and replaces what the path had.
    pub(super) fn put_file(&mut self, entry: Entry, content: Content, now: bool) -> Result<()> {
        if self.made.get(&entry.path).is_some_and(|made| made.entry.node.is_dir()) {
            self.remove_below(&entry.path);
        }
        self.put(Made { entry, now, content, fresh: false })
    }

    fn put(&mut self, made: Made) -> Result<()> {
        let path = &made.entry.path;
        if split(path).is_some_and(|(_, name)| name.starts_with(b".wh.")) {
            let message =
                format!("`{}` cannot stand in a layer: names that begin with `.wh.` mean deletions there", show(path));
            return Err(Error::new(Kind::Dockerfile, message).hint("rename it, or leave it out with `--exclude`"));
        }
        self.changed = true;
        self.made.insert(path.clone(), made);
        Ok(())
    }

    fn remove_below(&mut self, dir: &[u8]) {
        let first: Box<[u8]> = [dir, b"/"].concat().into();
        let below = self.made.range(first..).map(|(path, _)| path).take_while(|path| is_below(path, dir));
        let below: Vec<_> = below.cloned().collect();
        below.iter().for_each(|path| drop(self.made.remove(path)));
    }

    /// A new number for a group of hard links.
    pub(super) fn link_group(&mut self) -> u32 {
        self.links += 1;
        self.links
    }

    /// The planned entry at a path.
    pub(super) fn made(&mut self, path: &[u8]) -> Option<&mut Made> {
        self.made.get_mut(path)
    }

    /// Copies a file of the base into the layer, so that it can get more names.
    pub(super) fn adopt(&mut self, entry: Entry) -> Result<()> {
        if let Some(base) = self.base
            && !self.made.contains_key(&entry.path)
        {
            let content = match entry.node {
                Node::File { .. } => Content::Base(entry.path.clone()),
                _ => Content::None,
            };
            let mut entry = Entry { link: None, ..entry };
            let mut found = Digest([0; 32]);
            if let Node::File { digest, .. } = &mut entry.node {
                found = base.digest(&entry.path)?;
                *digest = Some(found);
            }
            self.facts().bytes(&found.0);
            self.put_file(entry, content, false)?;
        }
        Ok(())
    }

    fn facts(&self) -> MutexGuard<'_, Framed> {
        lock(&self.facts)
    }
}

/// The target with the planned layer. Every answer from the base is recorded.
impl Files for Plan<'_> {
    fn lookup(&self, path: &[u8]) -> Result<Option<Entry>> {
        if let Some(made) = self.made.get(path) {
            return Ok(Some(made.entry.clone()));
        }
        let found = self.through(path)?;
        // The root belongs to no layer, and it always exists.
        if !path.is_empty() {
            fact(path, found.as_ref(), &mut self.facts());
        }
        Ok(found)
    }
    fn list(&self, path: &[u8]) -> Result<Vec<Box<[u8]>>> {
        Err(unreadable(path))
    }
    fn open(&self, path: &[u8]) -> Result<Stream> {
        Err(unreadable(path))
    }
    fn opener(&self, path: &[u8]) -> Opener {
        let error = unreadable(path);
        Box::new(|| Err(error))
    }
    fn digest(&self, path: &[u8]) -> Result<Digest> {
        Err(unreadable(path))
    }
}

/// Records an entry of the base: for a directory everything that a layer repeats, for a link its
/// target, for others that they exist.
fn fact(path: &[u8], found: Option<&Entry>, to: &mut Framed) {
    to.bytes(path);
    match found {
        None => to.bytes(b"nothing"),
        Some(Entry { node: Node::Symlink { target }, .. }) => {
            to.bytes(b"link");
            to.bytes(target);
        }
        Some(entry) if entry.node.is_dir() => {
            to.bytes(b"directory");
            [entry.mode, entry.uid, entry.gid].iter().for_each(|number| to.number(u64::from(*number)));
            to.number(entry.xattrs.len() as u64);
            for (name, value) in &entry.xattrs {
                to.bytes(name);
                to.bytes(value);
            }
        }
        Some(_) => to.bytes(b"file"),
    }
}

fn directory(path: &[u8], mode: u32, owner: Owner) -> Entry {
    let Owner { uid, gid } = owner;
    let node = Node::Dir { opaque: false };
    Entry { path: path.into(), node, mode, uid, gid, mtime: Time::default(), xattrs: Vec::new(), link: None }
}

pub(super) fn not_a_directory(path: &[u8]) -> Error {
    let message = format!("`/{}` of the target is not a directory", show(path));
    Error::new(Kind::Dockerfile, message).hint("remove it before, or copy to another place")
}

fn unreadable(path: &[u8]) -> Error {
    Error::new(Kind::Dockerfile, format!("`/{}` is only planned and cannot be read", show(path)))
}

/// A path below one directory, moved to another directory.
pub(super) fn moved(dir: &[u8], below: &[u8]) -> Box<[u8]> {
    if below.is_empty() { dir.into() } else { child(dir, below) }
}
