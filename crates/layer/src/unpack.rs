//! Writes a tree to disk: as a directory that overlayfs can mount as a lower layer, or as a plain
//! copy for the user.
//!
//! The tree has every name once and every parent as a directory, and the target is a new directory
//! that nothing else writes to. So no link is ever followed, whatever the entries are called.
//!
//! The order: directories; then their files, one directory per thread, by names relative to its
//! descriptor; then link groups, which span directories; then the metadata of directories, as
//! making an entry changes the time of its parent. No system call sets what creating the file has
//! already set.

use super::files::Files;
use super::stage::Stage;
use super::tree::{Entry, Node, Tree, child, name, parent, show, worth_all_cores};
use super::{Flavour, cores};
use base::error::{At, Result};
use base::read;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Files are written in pieces of this size; a piece of zeros becomes a hole.
const HOLE: usize = 64 * 1024;

/// Opens the bytes of a file.
pub(super) type Open<'a> = dyn Fn(&Entry) -> Result<Box<dyn Read + Send>> + Sync + 'a;

/// Writes one tree.
pub(super) struct Writer<'a> {
    /// The new directory, which exists.
    pub(super) dir: &'a Path,
    /// The identity, which decides how whiteouts and opaque directories are marked.
    pub(super) flavour: &'a Flavour,
    /// Opens the bytes of a file.
    pub(super) open: &'a Open<'a>,
    /// A directory with equal files, to be hard-linked.
    pub(super) twin: Option<&'a Twin>,
    /// The files of an archive that were written while it was read.
    pub(super) stage: Option<&'a Stage>,
}

/// A directory with the files of another tree, made for the same identity.
pub(super) struct Twin {
    /// The tree of the directory.
    pub(super) tree: std::sync::Arc<Tree>,
    /// The directory.
    pub(super) dir: File,
    /// True if it is a directory of the same layer, so that all its files are equal.
    pub(super) same: bool,
}

impl Twin {
    fn open_dir(&self, dir: &[u8]) -> rustix::io::Result<OwnedFd> {
        let path = if dir.is_empty() { b"." } else { dir };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat2(&self.dir, path, flags, Mode::empty(), resolve)
    }

    /// True if it has the same file with the same metadata.
    fn has(&self, entry: &Entry) -> bool {
        if self.same {
            return true;
        }
        let Node::File { size, digest: Some(digest), .. } = entry.node else { return false };
        let same = |there: &Entry| matches!(there.node, Node::File { size: s, digest: Some(d), .. } if (s, d) == (size, digest));
        let alone = |entry: &Entry| entry.link.is_none();
        self.tree.get(&entry.path).is_some_and(|there| {
            same(there)
                && alone(there)
                && alone(entry)
                && (there.mode, there.uid, there.gid, there.mtime) == (entry.mode, entry.uid, entry.gid, entry.mtime)
                && there.xattrs == entry.xattrs
        })
    }
}

/// The directory in which entries are written.
struct Place<'a> {
    fd: BorrowedFd<'a>,
    /// The same directory in the twin.
    twin: Option<OwnedFd>,
}

impl Writer<'_> {
    /// Writes all entries.
    pub(super) fn write(self, tree: &Tree) -> Result<()> {
        let root = open_dir(CWD, self.dir.as_os_str().as_bytes()).at("open", self.dir)?;
        let mut inside: BTreeMap<&[u8], Vec<&Entry>> = BTreeMap::new();
        let (mut linked, mut much) = (Vec::new(), Vec::new());
        for entry in &tree.entries {
            match &entry.node {
                Node::Dir { .. } if entry.path.is_empty() => {}
                Node::Dir { .. } => {
                    let path = OsStr::from_bytes(&entry.path);
                    rustix::fs::mkdirat(&root, path, Mode::from(0o700)).at("make", self.path(entry))?;
                }
                _ if entry.link.is_some() => linked.push(entry),
                node => {
                    inside.entry(parent(&entry.path)).or_default().push(entry);
                    much.push(node);
                }
            }
        }
        let inside: Vec<(&[u8], Vec<&Entry>)> = inside.into_iter().collect();
        let write = |(dir, entries): &(&[u8], Vec<&Entry>)| self.directory(root.as_fd(), dir, entries);
        match inside.len() > 1 && worth_all_cores(much.into_iter()) {
            true => cores::each(&inside, write),
            false => inside.iter().try_for_each(write),
        }?;
        self.links(root.as_fd(), &linked)?;
        // The deepest first: nothing may change a directory after its time is set.
        tree.entries.iter().rev().filter(|entry| entry.is_dir()).try_for_each(|entry| self.finish_dir(entry))
    }

    fn path(&self, entry: &Entry) -> PathBuf {
        self.dir.join(OsStr::from_bytes(&entry.path))
    }

    /// Writes all entries of one directory that are not directories.
    fn directory(&self, root: BorrowedFd<'_>, dir: &[u8], entries: &[&Entry]) -> Result<()> {
        let shown = || self.dir.join(OsStr::from_bytes(dir));
        let fd = open_dir(root, dir).at("open", shown())?;
        // A directory that the twin lacks has no files to link.
        let twin = self.twin.and_then(|twin| twin.open_dir(dir).ok());
        let place = Place { fd: fd.as_fd(), twin };
        let mut buffer = Vec::new();
        entries.iter().try_for_each(|entry| self.entry(entry, &place, &mut buffer))
    }

    /// Writes groups of hard links; the first name gets the bytes.
    fn links(&self, root: BorrowedFd<'_>, entries: &[&Entry]) -> Result<()> {
        let mut first: HashMap<u32, PathBuf> = HashMap::new();
        for entry in entries {
            let path = self.path(entry);
            if let Some(first) = entry.link.and_then(|link| first.get(&link)) {
                fs::hard_link(first, &path).at("link", &path)?;
                continue;
            }
            self.directory(root, parent(&entry.path), &[entry])?;
            first.extend(entry.link.map(|link| (link, path)));
        }
        Ok(())
    }

    fn entry(&self, entry: &Entry, place: &Place<'_>, buffer: &mut Vec<u8>) -> Result<()> {
        let at = OsStr::from_bytes(name(&entry.path));
        let path = || self.path(entry);
        match &entry.node {
            Node::Dir { .. } => return Ok(()),
            Node::File { size, .. } => return self.file(entry, *size, place, buffer),
            Node::Symlink { target } => {
                rustix::fs::symlinkat(OsStr::from_bytes(target), place.fd, at).at("make", path())?;
            }
            Node::Fifo => make_node(place.fd, at, FileType::Fifo, 0).at("make", path())?,
            Node::Whiteout => return make_node(place.fd, at, FileType::CharacterDevice, 0).at("make", path()),
            Node::Char { major, minor } | Node::Block { major, minor } => {
                let block = matches!(entry.node, Node::Block { .. });
                let kind = if block { FileType::BlockDevice } else { FileType::CharacterDevice };
                // A user namespace cannot make devices, so they are recorded in the tree alone.
                if make_node(place.fd, at, kind, rustix::fs::makedev(*major, *minor)).is_err() {
                    return Ok(());
                }
            }
        }
        if !creator_is(entry) {
            let (uid, gid) = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
            self.flavour
                .owned(rustix::fs::chownat(place.fd, at, uid, gid, AtFlags::SYMLINK_NOFOLLOW))
                .at("change the owner of", path())?;
        }
        if !matches!(entry.node, Node::Symlink { .. }) {
            rustix::fs::chmodat(place.fd, at, Mode::from(entry.mode), AtFlags::empty())
                .at("set the mode of", path())?;
        }
        self.xattrs(entry)?;
        rustix::fs::utimensat(place.fd, at, &times(entry), AtFlags::SYMLINK_NOFOLLOW).at("set the time of", path())
    }

    fn file(&self, entry: &Entry, size: u64, place: &Place<'_>, buffer: &mut Vec<u8>) -> Result<()> {
        let at = OsStr::from_bytes(name(&entry.path));
        let path = || self.path(entry);
        if let Some(twin) = place.twin.as_ref().filter(|_| self.twin.is_some_and(|twin| twin.has(entry))) {
            // If linking fails (EMLINK, EPERM, EXDEV), the file is written like any other.
            if rustix::fs::linkat(twin, at, place.fd, at, AtFlags::empty()).is_ok() {
                return Ok(());
            }
        }
        if let (Some(stage), Node::File { offset: Some(offset), .. }) = (self.stage, &entry.node) {
            return stage.give(*offset, place.fd, at).at("make", path());
        }
        let mut reader = (self.open)(entry)?;
        let file = new_file(place.fd, at, entry).at("make", path())?;
        write_file(&file, &mut reader, size, buffer).at("write", path())?;
        self.flavour.finish_file(&file, entry, &path)
    }

    fn finish_dir(&self, entry: &Entry) -> Result<()> {
        let path = self.path(entry);
        if entry.node == (Node::Dir { opaque: true }) {
            rustix::fs::lsetxattr(&path, self.flavour.opaque(), b"y", XattrFlags::empty()).at("mark", &path)?;
        }
        if !creator_is(entry) {
            let (uid, gid) = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
            self.flavour
                .owned(rustix::fs::chownat(CWD, &path, uid, gid, AtFlags::SYMLINK_NOFOLLOW))
                .at("change the owner of", &path)?;
        }
        self.xattrs(entry)?;
        rustix::fs::chmodat(CWD, &path, Mode::from(entry.mode), AtFlags::empty()).at("set the mode of", &path)?;
        rustix::fs::utimensat(CWD, &path, &times(entry), AtFlags::SYMLINK_NOFOLLOW).at("set the time of", &path)
    }

    fn xattrs(&self, entry: &Entry) -> Result<()> {
        let path = || self.path(entry);
        self.flavour.xattrs(entry, &path, |name, value| rustix::fs::lsetxattr(path(), name, value, XattrFlags::empty()))
    }
}

/// Creates a file to be written.
pub(super) fn new_file(dir: BorrowedFd<'_>, at: &OsStr, entry: &Entry) -> rustix::io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, at, flags, Mode::from(entry.mode & 0o777)).map(File::from)
}

fn open_dir(at: impl AsFd, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, OsStr::from_bytes(path), flags, Mode::empty())
}

/// True if a file that this process creates already has the right owner.
fn creator_is(entry: &Entry) -> bool {
    static IDS: OnceLock<(u32, u32)> = OnceLock::new();
    let own = || (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    *IDS.get_or_init(own) == (entry.uid, entry.gid)
}

/// The umask (proc_pid_status(5)); all bits if it is not known.
fn umask() -> u32 {
    static UMASK: OnceLock<u32> = OnceLock::new();
    *UMASK.get_or_init(|| {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        line.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()).unwrap_or(0o777)
    })
}

fn times(entry: &Entry) -> Timestamps {
    let time = Timespec { tv_sec: entry.mtime.seconds, tv_nsec: i64::from(entry.mtime.nanos) };
    Timestamps { last_access: time, last_modification: time }
}

fn make_node(dir: BorrowedFd<'_>, at: &OsStr, kind: FileType, device: u64) -> rustix::io::Result<()> {
    rustix::fs::mknodat(dir, at, kind, Mode::from(0o600), device)
}

/// Writes bytes to a new file and leaves long runs of zeros as holes.
pub(super) fn write_file(file: &File, reader: &mut dyn Read, size: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.resize(HOLE.min(usize::try_from(size).unwrap_or(HOLE)), 0);
    let (mut at, mut hole) = (0_u64, false);
    while at < size {
        let want = buffer.len().min(usize::try_from(size - at).unwrap_or(usize::MAX));
        let got = read::fill(reader, &mut buffer[..want])?;
        if got == 0 {
            break;
        }
        hole = got == HOLE && buffer.iter().all(|byte| *byte == 0);
        if !hole {
            file.write_all_at(&buffer[..got], at)?;
        }
        at += got as u64;
    }
    if hole { file.set_len(at) } else { Ok(()) }
}

/// Copies a directory of a rootfs with all its content, owners and modes to a new directory of the
/// host.
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
        if entry.is_dir() {
            todo.extend(files.list(&path)?.iter().map(|name| child(&inside, name)));
        }
        (entry.path, entry.link) = (inside, None);
        entries.push(entry);
    }
    fs::create_dir(to).at("make", to)?;
    let open = |entry: &Entry| files.open(&if from.is_empty() { entry.path.clone() } else { child(from, &entry.path) });
    Writer { dir: to, flavour, open: &open, twin: None, stage: None }.write(&Tree::new(entries))
}

impl Flavour {
    /// The attribute with which overlayfs marks an opaque directory.
    pub(super) fn opaque(&self) -> &'static str {
        match self {
            Flavour::Root => "trusted.overlay.opaque",
            Flavour::User { .. } => "user.overlay.opaque",
        }
    }

    /// Sets the metadata of a new file; the time comes last.
    pub(super) fn finish_file(&self, file: &File, entry: &Entry, path: &dyn Fn() -> PathBuf) -> Result<()> {
        let mut given = entry.mode & 0o7000 == 0 && entry.mode & umask() == 0;
        if !creator_is(entry) {
            let (uid, gid) = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
            self.owned(rustix::fs::fchown(file, uid, gid)).at("change the owner of", path())?;
            given = false;
        }
        // After the owner: changing it clears setuid.
        if !given {
            rustix::fs::fchmod(file, Mode::from(entry.mode)).at("set the mode of", path())?;
        }
        self.xattrs(entry, path, |name, value| rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()))?;
        rustix::fs::futimens(file, &times(entry)).at("set the time of", path())
    }

    fn owned(&self, done: rustix::io::Result<()>) -> rustix::io::Result<()> {
        match self {
            // Such a mapping has one id only; the tree has the right owner.
            Flavour::User { single_id: true, .. } => Ok(()),
            _ => done,
        }
    }

    fn xattrs(
        &self,
        entry: &Entry,
        path: &dyn Fn() -> PathBuf,
        set: impl Fn(&OsStr, &[u8]) -> rustix::io::Result<()>,
    ) -> Result<()> {
        for (name, value) in &entry.xattrs {
            let done = set(OsStr::from_bytes(name), value);
            if self.must_be_set(name, entry) {
                let what = format!("set the attribute `{}` of", show(name));
                done.at(&what, path())?;
            }
        }
        Ok(())
    }

    /// True if failing to set the attribute is an error. The others may be in the tree alone:
    /// labels of this machine's policy, attributes that a user namespace cannot set, and user.*
    /// where the kernel has none (xattr(7)).
    fn must_be_set(&self, name: &[u8], entry: &Entry) -> bool {
        let plain = matches!(entry.node, Node::File { .. } | Node::Dir { .. });
        let root = *self == Flavour::Root;
        (name.starts_with(b"user.") && plain)
            || (name == b"security.capability" && root && matches!(entry.node, Node::File { .. }))
            || (name.starts_with(b"trusted.") && root)
    }
}
