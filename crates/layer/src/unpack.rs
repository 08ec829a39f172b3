//! A tree onto the disk: a directory that overlayfs can mount as a lower layer, or a plain copy for the user.
//!
//! The tree has every name once and every parent as a directory, and the target is a fresh directory that nobody else
//! writes, so that no link is ever walked through, whatever the entries are called.
//!
//! Directories come first, then what is in them, a directory a thread, by names relative to its descriptor; then link
//! groups, which go across directories; then the metadata of directories, because making an entry changes its parent.
//! What creating a file costs is the floor: nothing else is asked of the kernel that its creation gave already.

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

/// Files are written in pieces of this size; one of zeros stays a hole.
const HOLE: usize = 64 * 1024;

/// Gives the bytes of a file.
pub(super) type Open<'a> = dyn Fn(&Entry) -> Result<Box<dyn Read + Send>> + Sync + 'a;

/// How a tree is written.
pub(super) struct Writer<'a> {
    /// The fresh directory; exists.
    pub(super) dir: &'a Path,
    /// How whiteouts and opaque directories are marked.
    pub(super) flavour: &'a Flavour,
    /// Where a file's bytes come from.
    pub(super) open: &'a Open<'a>,
    /// Where equal files are already.
    pub(super) twin: Option<&'a Twin>,
    /// Where the files of an archive are that was read as it came.
    pub(super) stage: Option<&'a Stage>,
}

/// A directory that holds files of another tree, made for the same identity.
pub(super) struct Twin {
    /// What it holds.
    pub(super) tree: std::sync::Arc<Tree>,
    /// Where.
    pub(super) dir: File,
    /// It is a directory of the very layer that is written: all its files are equal.
    pub(super) same: bool,
}

impl Twin {
    fn open_dir(&self, dir: &[u8]) -> rustix::io::Result<OwnedFd> {
        let path = if dir.is_empty() { b"." } else { dir };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat2(&self.dir, path, flags, Mode::empty(), resolve)
    }

    /// Whether it has a file that differs in nothing.
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

/// Where entries of one directory are written.
struct Place<'a> {
    fd: BorrowedFd<'a>,
    /// The same directory of the twin.
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
        // The deepest first: setting a time must be the last that happens in a directory.
        tree.entries.iter().rev().filter(|entry| entry.is_dir()).try_for_each(|entry| self.finish_dir(entry))
    }

    fn path(&self, entry: &Entry) -> PathBuf {
        self.dir.join(OsStr::from_bytes(&entry.path))
    }

    /// All that is no directory in one.
    fn directory(&self, root: BorrowedFd<'_>, dir: &[u8], entries: &[&Entry]) -> Result<()> {
        let shown = || self.dir.join(OsStr::from_bytes(dir));
        let fd = open_dir(root, dir).at("open", shown())?;
        // A directory that the twin does not have has no files to offer.
        let twin = self.twin.and_then(|twin| twin.open_dir(dir).ok());
        let place = Place { fd: fd.as_fd(), twin };
        let mut buffer = Vec::new();
        entries.iter().try_for_each(|entry| self.entry(entry, &place, &mut buffer))
    }

    /// Groups of hard links: the first name has the bytes.
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
                // In a user namespace nobody makes devices: they live in the tree alone.
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
            // EMLINK, EPERM, EXDEV: it is written like any other.
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

/// Makes a file that is written next.
pub(super) fn new_file(dir: BorrowedFd<'_>, at: &OsStr, entry: &Entry) -> rustix::io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, at, flags, Mode::from(entry.mode & 0o777)).map(File::from)
}

fn open_dir(at: impl AsFd, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, OsStr::from_bytes(path), flags, Mode::empty())
}

/// Whether what is created belongs to the right ones already.
fn creator_is(entry: &Entry) -> bool {
    static IDS: OnceLock<(u32, u32)> = OnceLock::new();
    let own = || (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    *IDS.get_or_init(own) == (entry.uid, entry.gid)
}

/// The bits that creating a file takes away (proc_pid_status(5)); all of them if that is not known.
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

/// Bytes to a new file; long runs of zeros stay holes.
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
    /// The name of overlayfs's mark for directories that hide what is below.
    pub(super) fn opaque(&self) -> &'static str {
        match self {
            Flavour::Root => "trusted.overlay.opaque",
            Flavour::User { .. } => "user.overlay.opaque",
        }
    }

    /// Gives a new file its metadata; the time comes last.
    pub(super) fn finish_file(&self, file: &File, entry: &Entry, path: &dyn Fn() -> PathBuf) -> Result<()> {
        let mut given = entry.mode & 0o7000 == 0 && entry.mode & umask() == 0;
        if !creator_is(entry) {
            let (uid, gid) = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
            self.owned(rustix::fs::fchown(file, uid, gid)).at("change the owner of", path())?;
            given = false;
        }
        // After the owner, which takes setuid away.
        if !given {
            rustix::fs::fchmod(file, Mode::from(entry.mode)).at("set the mode of", path())?;
        }
        self.xattrs(entry, path, |name, value| rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()))?;
        rustix::fs::futimens(file, &times(entry)).at("set the time of", path())
    }

    fn owned(&self, done: rustix::io::Result<()>) -> rustix::io::Result<()> {
        match self {
            // Nobody else exists in such a mapping: the owner that is meant lives in the tree.
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

    /// Whether an attribute is lost if it can't be set. The others live in the tree alone: labels and lists of this
    /// machine's policy, what a user namespace may not set, and user.* where the kernel has none (xattr(7)).
    fn must_be_set(&self, name: &[u8], entry: &Entry) -> bool {
        let plain = matches!(entry.node, Node::File { .. } | Node::Dir { .. });
        let root = *self == Flavour::Root;
        (name.starts_with(b"user.") && plain)
            || (name == b"security.capability" && root && matches!(entry.node, Node::File { .. }))
            || (name.starts_with(b"trusted.") && root)
    }
}
