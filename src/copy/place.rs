//! Places selected files: decides which directories are made, which names the copied files get, and
//! what they replace. This module does not read files.
//!
//! As in BuildKit (fsutil's copy):
//!
//! | source | destination | what happens |
//! |---|---|---|
//! | file | a directory, or ends in a slash | it goes into the directory, with its own name |
//! | file | a file, a link to one, nothing | it gets that name, behind the link if there is one |
//! | directory | a directory or nothing | its contents go there; the destination stays as it is |
//! | directory | a file | error |
//!
//! Below the destination no link is followed. A copied file replaces a file or link of its name,
//! and may not replace a directory. A copied directory is merged into a directory, which takes its
//! metadata, and may not replace a file.

use super::mode::Chmod;
use super::owner::Owner;
use super::pattern::parts;
use super::plan::{Content, Plan, moved, not_a_directory};
use super::selection::{Files as Taken, Item};
use base::error::{Error, Kind, Result};
use layer::files::Files;
use layer::tree::{Entry, Node, Time, show, split};
use std::collections::HashMap;

/// The destination and the flags of a copy.
pub(super) struct Placing<'a> {
    /// As in the op: absolute, possibly with a trailing slash.
    pub dest: &'a str,
    pub owner: Option<Owner>,
    pub chmod: Option<Chmod>,
}

impl Placing<'_> {
    /// The destination as a clean path from the root.
    pub(super) fn dest(&self) -> Vec<u8> {
        parts(self.dest).join("/").into_bytes()
    }

    /// Copies a file or a directory.
    pub(super) fn copy(&self, taken: &Taken, plan: &mut Plan<'_>) -> Result<()> {
        let root = taken.root();
        let target = self.target(&taken.name, root.node.is_dir(), plan)?;
        let mut links = HashMap::new();
        for (number, item) in taken.items.iter().enumerate() {
            let path = moved(&target, taken.below(item));
            if number == 0 && root.node.is_dir() {
                self.contents_of(root, &path, plan)?;
            } else if item.entry.node.is_dir() {
                self.directory(item, path, plan)?;
            } else {
                let content = match item.entry.node {
                    Node::File { .. } => Content::Source(taken.input, item.entry.path.clone()),
                    _ => Content::None,
                };
                let digest = match item.entry.node {
                    Node::File { digest, .. } => Some(digest),
                    _ => None,
                };
                // Names of one inode with different digests were read before and after a change.
                let group = item.entry.link.zip(digest);
                let link = group.map(|group| *links.entry(group).or_insert_with(|| plan.link_group()));
                self.file(Entry { path, link, ..item.entry.clone() }, content, false, plan)?;
            }
        }
        Ok(())
    }

    /// Copies a here-document of `size` bytes.
    pub(super) fn inline(&self, name: &str, size: u64, number: usize, plan: &mut Plan<'_>) -> Result<()> {
        let name = name.rsplit('/').next().unwrap_or(name);
        let path = self.target(name.as_bytes(), false, plan)?;
        let node = Node::File { size, digest: None, offset: None };
        let (mtime, xattrs) = (Time::default(), Vec::new());
        let entry = Entry { path, node, mode: 0o644, uid: 0, gid: 0, mtime, xattrs, link: None };
        self.file(entry, Content::Inline(number), true, plan)
    }

    /// The path of a source in the target. Makes the missing directories.
    fn target(&self, name: &[u8], directory: bool, plan: &mut Plan<'_>) -> Result<Box<[u8]>> {
        let dest = self.dest();
        let into = self.dest.ends_with('/') || self.dest.ends_with("/.");
        let parent = if into { &dest[..] } else { split(&dest).map_or(&b""[..], |(parent, _)| parent) };
        let parent = plan.resolve(parent)?.path;
        self.make_dirs(&parent, plan)?;
        let found = plan.resolve(&dest)?;
        let is_dir = found.entry.as_ref().is_some_and(|entry| entry.node.is_dir());
        let target = if !directory && is_dir { moved(&found.path, name) } else { found.path };
        match directory && found.entry.is_none() {
            true => self.make_dirs(&target, plan)?,
            false => self.make_dirs(split(&target).map_or(&b""[..], |(parent, _)| parent), plan)?,
        }
        Ok(target)
    }

    fn make_dirs(&self, path: &[u8], plan: &mut Plan<'_>) -> Result<()> {
        let mode = self.chmod.as_ref().map_or(0o755, Chmod::of_made_directories);
        plan.make_dirs(path, mode, self.owner)
    }

    /// The destination takes only the time of a directory whose contents are copied.
    fn contents_of(&self, root: &Entry, path: &[u8], plan: &mut Plan<'_>) -> Result<()> {
        if path.is_empty() {
            return Ok(());
        }
        match plan.lookup(path)? {
            Some(entry) if entry.node.is_dir() => plan.put_dir(Entry { mtime: root.mtime, ..entry }),
            _ => Err(not_a_directory(path)),
        }
    }

    fn directory(&self, item: &Item, path: Box<[u8]>, plan: &mut Plan<'_>) -> Result<()> {
        let there = match item.carried {
            // If it only leads to a selected file, an existing directory keeps its owner.
            true => plan.lookup(&path)?,
            false => plan.peek(&path)?,
        };
        match there {
            Some(there) if !there.node.is_dir() => Err(not_a_directory(&path)),
            Some(there) if item.carried => plan.put_dir(Entry { mode: item.entry.mode, ..there }),
            _ => plan.put_dir(self.flagged(Entry { path, ..item.entry.clone() })),
        }
    }

    fn file(&self, entry: Entry, content: Content, now: bool, plan: &mut Plan<'_>) -> Result<()> {
        if plan.peek(&entry.path)?.is_some_and(|there| there.node.is_dir()) {
            let message = format!("cannot replace the directory `/{}` of the target by a file", show(&entry.path));
            return Err(Error::new(Kind::Dockerfile, message).hint("remove it before, or copy to another place"));
        }
        plan.put_file(self.flagged(entry), content, now)
    }

    /// The entry after `--chown` and `--chmod`.
    fn flagged(&self, mut entry: Entry) -> Entry {
        if let Some(Owner { uid, gid }) = self.owner {
            (entry.uid, entry.gid) = (uid, gid);
        }
        if let Some(chmod) = &self.chmod
            && !matches!(entry.node, Node::Symlink { .. })
        {
            entry.mode = chmod.apply(entry.mode, entry.node.is_dir());
        }
        entry
    }
}
