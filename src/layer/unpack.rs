//! A tree onto the disk: a directory that overlayfs can mount as a lower layer, or a plain copy for the user.
//!
//! The tree has every name once and every parent as a directory, and the target is a fresh directory that nobody else
//! writes, so that no link is ever walked through, whatever the entries are called.

use super::Flavour;
use super::files::Files;
use super::tree::{Entry, Node, Tree, child, show};
use crate::error::{At, Result};
use crate::read;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// How a tree is written.
pub(super) struct Writer<'a> {
    /// The fresh directory; exists.
    pub(super) dir: &'a Path,
    /// How whiteouts and opaque directories are marked.
    pub(super) flavour: &'a Flavour,
    /// Where a file's bytes come from, with the pieces of a sparse one.
    pub(super) open: &'a mut dyn FnMut(&Entry) -> Result<Box<dyn Read + Send>>,
}

impl Writer<'_> {
    /// Writes all entries.
    pub(super) fn write(mut self, tree: &Tree) -> Result<()> {
        let mut links: HashMap<u32, PathBuf> = HashMap::new();
        for entry in &tree.entries {
            self.entry(entry, &mut links)?;
        }
        // Times of directories last, the deepest first: making an entry changes its parent's.
        for entry in tree.entries.iter().rev().filter(|entry| entry.is_dir()) {
            set_time(&self.path(entry), entry)?;
        }
        Ok(())
    }

    fn path(&self, entry: &Entry) -> PathBuf {
        self.dir.join(OsStr::from_bytes(&entry.path))
    }

    fn entry(&mut self, entry: &Entry, links: &mut HashMap<u32, PathBuf>) -> Result<()> {
        let path = self.path(entry);
        if let Some(first) = entry.link.and_then(|link| links.get(&link)) {
            return fs::hard_link(first, &path).at("link", &path);
        }
        match &entry.node {
            Node::Dir { opaque } => {
                if !entry.path.is_empty() {
                    rustix::fs::mkdir(&path, Mode::from(0o700)).at("make", &path)?;
                }
                if *opaque {
                    rustix::fs::lsetxattr(&path, self.flavour.opaque(), b"y", XattrFlags::empty()).at("mark", &path)?;
                }
            }
            Node::File { size, .. } => {
                let reader = (self.open)(entry)?;
                write_file(&path, reader, *size)?;
            }
            Node::Symlink { target } => {
                std::os::unix::fs::symlink(OsStr::from_bytes(target), &path).at("make", &path)?;
            }
            Node::Fifo => make_node(&path, FileType::Fifo, 0)?,
            Node::Whiteout => return make_node(&path, FileType::CharacterDevice, 0),
            Node::Char { major, minor } | Node::Block { major, minor } => {
                let block = matches!(entry.node, Node::Block { .. });
                let kind = if block { FileType::BlockDevice } else { FileType::CharacterDevice };
                // In a user namespace nobody makes devices: they live in the tree alone.
                if make_node(&path, kind, rustix::fs::makedev(*major, *minor)).is_err() {
                    return Ok(());
                }
            }
        }
        self.flavour.set_owner(&path, entry.uid, entry.gid)?;
        self.metadata(&path, entry)?;
        if let Some(link) = entry.link {
            links.insert(link, path);
        }
        Ok(())
    }

    /// Mode, extended attributes and time; after the owner, which takes setuid away.
    fn metadata(&self, path: &Path, entry: &Entry) -> Result<()> {
        if !matches!(entry.node, Node::Symlink { .. }) {
            rustix::fs::chmodat(CWD, path, Mode::from(entry.mode), AtFlags::empty()).at("set the mode of", path)?;
        }
        for (name, value) in &entry.xattrs {
            let set = rustix::fs::lsetxattr(path, OsStr::from_bytes(name), value, XattrFlags::empty());
            if self.must_be_set(name, entry) {
                let what = format!("set the attribute `{}` of", show(name));
                set.at(&what, path)?;
            }
        }
        if entry.is_dir() { Ok(()) } else { set_time(path, entry) }
    }

    /// Whether an attribute is lost if it can't be set. The others live in the tree alone: labels and lists of this
    /// machine's policy, what a user namespace may not set, and user.* where the kernel has none (xattr(7)).
    fn must_be_set(&self, name: &[u8], entry: &Entry) -> bool {
        let plain = matches!(entry.node, Node::File { .. } | Node::Dir { .. });
        let root = *self.flavour == Flavour::Root;
        (name.starts_with(b"user.") && plain)
            || (name == b"security.capability" && root && matches!(entry.node, Node::File { .. }))
            || (name.starts_with(b"trusted.") && root)
    }
}

fn set_time(path: &Path, entry: &Entry) -> Result<()> {
    let time = Timespec { tv_sec: entry.mtime.seconds, tv_nsec: i64::from(entry.mtime.nanos) };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).at("set the time of", path)
}

fn make_node(path: &Path, kind: FileType, device: u64) -> Result<()> {
    rustix::fs::mknodat(CWD, path, kind, Mode::from(0o600), device).at("make", path)
}

/// Bytes to a new file; long runs of zeros stay holes.
fn write_file(path: &Path, mut reader: Box<dyn Read + Send>, size: u64) -> Result<()> {
    const HOLE: usize = 64 * 1024;
    let mut file = File::create_new(path).at("make", path)?;
    let mut buffer = vec![0; HOLE.min(usize::try_from(size).unwrap_or(HOLE).max(1))];
    let mut at = 0_u64;
    loop {
        let got = read::fill(&mut reader, &mut buffer).at("read the content of", path)?;
        if got == 0 {
            break;
        }
        if got == HOLE && buffer.iter().all(|byte| *byte == 0) {
            at += got as u64;
            continue;
        }
        rustix::fs::seek(file.as_fd(), rustix::fs::SeekFrom::Start(at)).at("write", path)?;
        io::Write::write_all(&mut file, &buffer[..got]).at("write", path)?;
        at += got as u64;
    }
    file.set_len(at).at("write", path)
}

/// Copies a directory of a rootfs to a new directory of the host: all that is in it, with owners and modes.
pub fn write_tree(files: &dyn Files, from: &[u8], to: &Path, flavour: &Flavour) -> Result<()> {
    let mut entries = Vec::new();
    let mut todo = vec![Box::<[u8]>::default()];
    while let Some(inside) = todo.pop() {
        let path = if from.is_empty() {
            inside.clone()
        } else if inside.is_empty() {
            from.into()
        } else {
            child(from, &inside)
        };
        let Some(mut entry) = files.lookup(&path)? else { continue };
        if let Node::Dir { opaque } = &mut entry.node {
            *opaque = false;
            todo.extend(files.list(&path)?.iter().map(|name| child(&inside, name)));
        }
        (entry.path, entry.link) = (inside, None);
        entries.push(entry);
    }
    fs::create_dir(to).at("make", to)?;
    let mut open =
        |entry: &Entry| files.open(&if from.is_empty() { entry.path.clone() } else { child(from, &entry.path) });
    Writer { dir: to, flavour, open: &mut open }.write(&Tree::new(entries))
}

impl Flavour {
    /// The name of overlayfs's mark for directories that hide what is below.
    pub(super) fn opaque(&self) -> &'static str {
        match self {
            Flavour::Root => "trusted.overlay.opaque",
            Flavour::User { .. } => "user.overlay.opaque",
        }
    }

    fn set_owner(&self, path: &Path, uid: u32, gid: u32) -> Result<()> {
        let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        let done = rustix::fs::chownat(CWD, path, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW);
        match self {
            // Nobody else exists in such a mapping: the owner that is meant lives in the tree.
            Flavour::User { single_id: true, .. } => Ok(()),
            _ => done.at("change the owner of", path),
        }
    }
}
