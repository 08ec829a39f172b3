//! A directory of the user as [`Files`]: the build context or a named one. A directory is read when
//! it is first needed, an excluded one only if an exception may be below it. This module does not
//! know COPY or keys.
//!
//! A user's files may change at any time, and a build reads them twice: for a key, and to copy
//! them. The bytes of a file match its entry (size and digest), or reading fails with
//! [`Kind::Changed`], after which [`Context::look_again`] starts again (see `taken`).
//!
//! Every path is opened beneath the directory's descriptor without following links: links are
//! entries, and the host never resolves them. Owners are root, as in BuildKit.

mod index;
mod inodes;
mod taken;

use base::digest::Digest;
use base::error::{At, Error, Kind, Result};
use base::read;
use base::sync::lock;
use frontend::ignore::{Ignore, Matched};
use index::{Index, Stamp};
use inodes::Inodes;
use layer::files::{Files, Opener};
use layer::tree::{Entry, Node, Time, child, name, parent};
use rayon::prelude::*;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use store::Store;
use taken::Taken;

/// The buffer size for reading names.
const NAMES: usize = 32 << 10;
/// A context with at most this many entries is read by one thread, because threads would cost more
/// than they save.
const SMALL_CONTEXT: usize = 1500;
/// The most entries that are read ahead.
const LARGEST_AHEAD: usize = 16 << 20;

/// A directory of the user. Cheap to clone.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    path: PathBuf,
    dir: File,
    ignore: Option<Ignore>,
    read: Mutex<HashMap<Box<[u8]>, Arc<Listing>>>,
    index: Index,
    inodes: Inodes,
    taken: Taken,
    store: Store,
    /// True for a directory in the store, which cannot change.
    lasts: bool,
}

/// A directory as it was when it was first read.
struct Listing {
    /// The items, sorted by name.
    items: Vec<Item>,
    /// The result of the ignore patterns for the directory.
    matched: Matched,
}

struct Item {
    entry: Entry,
    stamp: Stamp,
    /// True if the directory is excluded, but may lead to an exception.
    only_way: bool,
}

impl Context {
    /// The ignore patterns, if there are any.
    pub fn ignore(&self) -> Option<&Ignore> {
        self.0.ignore.as_ref()
    }

    /// Opens a directory of the user with its ignore patterns. Nothing is read yet.
    pub fn open(path: &Path, ignore: Option<Ignore>, store: &Store) -> Result<Context> {
        Context::of(path, ignore, store, false)
    }

    /// Opens a directory that was fetched into the store, where it cannot change.
    pub fn fetched(path: &Path, ignore: Option<Ignore>, store: &Store) -> Result<Context> {
        Context::of(path, ignore, store, true)
    }

    fn of(path: &Path, ignore: Option<Ignore>, store: &Store, lasts: bool) -> Result<Context> {
        let missing = |cause: std::io::Error| {
            let error = Error::new(Kind::Usage, format!("cannot read the build context `{}`", path.display()))
                .because(cause.to_string());
            if cause.kind() == std::io::ErrorKind::NotFound {
                error.hint("the last argument is the directory to build from; `.` is this one")
            } else {
                error
            }
        };
        let path = path.canonicalize().map_err(missing)?;
        let dir = File::open(&path).map_err(missing)?;
        if !dir.metadata().map_err(missing)?.is_dir() {
            return Err(Error::new(Kind::Usage, format!("the build context `{}` is not a directory", path.display())));
        }
        let inodes = Inodes::on(Stamp::of_file(&dir).map_or(0, |stamp| stamp.device()));
        let (index, store, taken) = (Index::open(store, &path), store.clone(), Taken::default());
        Ok(Context(Arc::new(Inner { path, dir, ignore, read: Mutex::default(), index, inodes, taken, store, lasts })))
    }

    /// Forgets what was read. `changed` is a path that has changed.
    pub fn look_again(&self, changed: Option<&[u8]>) {
        self.0.taken.changed(changed);
        lock(&self.0.read).clear();
    }

    /// Saves the digests of files for the next build.
    pub fn save(&self) {
        self.0.index.save();
    }

    fn listing(&self, dir: &[u8]) -> Result<Option<Arc<Listing>>> {
        if let Some(known) = lock(&self.0.read).get(dir) {
            return Ok(Some(Arc::clone(known)));
        }
        let matched = if dir.is_empty() {
            Matched::default()
        } else {
            let Some(above) = self.listing(parent(dir))? else { return Ok(None) };
            if !above.find(name(dir)).is_some_and(|item| item.entry.is_dir()) {
                return Ok(None);
            }
            match &self.0.ignore {
                None => Matched::default(),
                Some(ignore) => ignore.enter(&String::from_utf8_lossy(dir), &above.matched).1,
            }
        };
        let listing = Arc::new(self.read(dir, matched)?);
        lock(&self.0.read).insert(dir.into(), Arc::clone(&listing));
        Ok(Some(listing))
    }

    fn read(&self, dir: &[u8], matched: Matched) -> Result<Listing> {
        let shown = || self.0.path.join(std::ffi::OsStr::from_bytes(dir));
        let fd = self.beneath(dir, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let read = |cause| if cause == Errno::NOENT { Error::changed(dir) } else { failed("read", &shown(), cause) };
        let mut items = Vec::new();
        let mut names = Vec::with_capacity(NAMES);
        let mut names = rustix::fs::RawDir::new(&fd, names.spare_capacity_mut());
        while let Some(found) = names.next() {
            let found = found.map_err(read)?;
            let name = found.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let path = child(dir, name.to_bytes());
            let ignored = match &self.0.ignore {
                None => false,
                Some(ignore) => {
                    let shown = String::from_utf8_lossy(&path);
                    let ignored = ignore.enter(&shown, &matched).0;
                    if ignored && !ignore.may_hold_exception(&shown) {
                        continue;
                    }
                    ignored
                }
            };
            let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
            // A file that vanished since the listing is left out.
            let Ok(stat) = rustix::fs::statx(&fd, name, flags, StatxFlags::BASIC_STATS) else { continue };
            let Some((mut entry, stamp)) = self.entry_of(&fd, name, path, &stat)? else { continue };
            if ignored && !entry.is_dir() {
                continue;
            }
            if let Node::File { size, digest, .. } = &mut entry.node {
                if self.0.taken.wants(&entry.path, &stamp) {
                    let Some(taken) = self.take(&entry.path)? else { continue };
                    (*size, *digest) = (taken.0, Some(taken.1));
                } else {
                    *digest = self.0.index.known(&stamp);
                }
            }
            items.push(Item { entry, stamp, only_way: ignored });
        }
        items.sort_unstable_by(|one, two| one.entry.path.cmp(&two.entry.path));
        Ok(Listing { items, matched })
    }

    /// Reads everything below a directory, on all cores if it is large.
    fn read_ahead(&self, dir: &[u8]) -> Result<()> {
        let mut seen = 0;
        let mut todo: Vec<Box<[u8]>> = vec![dir.into()];
        while let Some(dir) = todo.pop() {
            let Some(listing) = self.listing(&dir)? else { continue };
            seen += listing.items.len();
            todo.extend(listing.dirs());
            if seen > SMALL_CONTEXT && todo.len() > 1 {
                let left = AtomicUsize::new(LARGEST_AHEAD);
                return todo.par_iter().try_for_each(|dir| self.read_below(dir, &left));
            }
        }
        Ok(())
    }

    fn read_below(&self, dir: &[u8], left: &AtomicUsize) -> Result<()> {
        let Some(listing) = self.listing(dir)? else { return Ok(()) };
        // Beyond the limit, entries are read when they are needed, and that reader has its own
        // limit.
        if left.fetch_sub(listing.items.len().min(left.load(Ordering::Relaxed)), Ordering::Relaxed) == 0 {
            return Ok(());
        }
        let dirs: Vec<Box<[u8]>> = listing.dirs().collect();
        dirs.par_iter().try_for_each(|dir| self.read_below(dir, left))
    }

    fn beneath(&self, path: &[u8], flags: OFlags) -> Result<rustix::fd::OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let below = if path.is_empty() { b"." } else { path };
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK;
        rustix::fs::openat2(&self.0.dir, below, flags, Mode::empty(), resolve).map_err(|cause| match cause {
            // It was something else when its directory was read.
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO | Errno::STALE if !path.is_empty() => {
                Error::changed(path)
            }
            cause => failed("open", &self.0.path.join(std::ffi::OsStr::from_bytes(path)), cause),
        })
    }

    /// Opens the file as it is now, or its copy if it was copied.
    fn file(&self, path: &[u8]) -> Result<File> {
        let taken = self.0.taken.open(path);
        taken.unwrap_or_else(|| self.beneath(path, OFlags::RDONLY).map(File::from))
    }

    /// Copies a file; `None` if it is no file any more.
    fn take(&self, path: &[u8]) -> Result<Option<(u64, Digest)>> {
        match self.beneath(path, OFlags::RDONLY) {
            Err(error) if error.kind() == Kind::Changed => Ok(None),
            opened => self.0.taken.take(path, File::from(opened?), &self.0.store),
        }
    }

    /// The entry of a file; `None` for a socket and for a file that vanished.
    fn entry_of(
        &self,
        dir: &rustix::fd::OwnedFd,
        name: &std::ffi::CStr,
        path: Box<[u8]>,
        stat: &rustix::fs::Statx,
    ) -> Result<Option<(Entry, Stamp)>> {
        use rustix::fs::FileType;
        let node = match FileType::from_raw_mode(u32::from(stat.stx_mode)) {
            FileType::Directory => Node::Dir { opaque: false },
            FileType::RegularFile => Node::File { size: stat.stx_size, digest: None, offset: None },
            FileType::Symlink => match rustix::fs::readlinkat(dir, name, Vec::new()) {
                Ok(target) => Node::Symlink { target: target.to_bytes().into() },
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::INVAL) => return Err(Error::changed(&path)),
                Err(cause) => return Err(failed("read", String::from_utf8_lossy(&path).as_ref().as_ref(), cause)),
            },
            FileType::Fifo => Node::Fifo,
            FileType::CharacterDevice => Node::Char { major: stat.stx_rdev_major, minor: stat.stx_rdev_minor },
            FileType::BlockDevice => Node::Block { major: stat.stx_rdev_major, minor: stat.stx_rdev_minor },
            _ => return Ok(None),
        };
        let stamp = Stamp::of(stat);
        let mtime = Time { seconds: stat.stx_mtime.tv_sec, nanos: stat.stx_mtime.tv_nsec };
        let linked = stat.stx_nlink > 1 && !matches!(node, Node::Dir { .. });
        let link = linked.then(|| self.0.inodes.group(stamp.device(), stat.stx_ino));
        let mode = u32::from(stat.stx_mode) & 0o7777;
        Ok(Some((Entry { path, node, mode, uid: 0, gid: 0, mtime, xattrs: Vec::new(), link }, stamp)))
    }

    fn item<T>(&self, path: &[u8], with: impl FnOnce(&Item) -> T) -> Result<Option<T>> {
        Ok(self.listing(parent(path))?.and_then(|listing| listing.find(name(path)).map(with)))
    }

    /// True if an excluded directory contains an exception.
    fn holds_something(&self, dir: &[u8]) -> Result<bool> {
        let Some(listing) = self.listing(dir)? else { return Ok(false) };
        for item in &listing.items {
            if !item.only_way || self.holds_something(&item.entry.path)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Listing {
    fn find(&self, name: &[u8]) -> Option<&Item> {
        let at = self.items.binary_search_by(|item| item.name().cmp(name)).ok()?;
        self.items.get(at)
    }

    fn dirs(&self) -> impl Iterator<Item = Box<[u8]>> {
        self.items.iter().filter(|item| item.entry.is_dir()).map(|item| item.entry.path.clone())
    }
}

impl Item {
    fn name(&self) -> &[u8] {
        name(&self.entry.path)
    }
}

impl Files for Context {
    fn lookup(&self, path: &[u8]) -> Result<Option<Entry>> {
        if path.is_empty() {
            return Ok(Some(Entry::directory(b"", Time::default())));
        }
        match self.item(path, |item| (item.entry.clone(), item.only_way))? {
            Some((_, true)) if !self.holds_something(path)? => Ok(None),
            found => Ok(found.map(|(entry, _)| entry)),
        }
    }

    fn list(&self, path: &[u8]) -> Result<Vec<Box<[u8]>>> {
        let Some(listing) = self.listing(path)? else { return Ok(Vec::new()) };
        let mut names = Vec::with_capacity(listing.items.len());
        for item in &listing.items {
            if !item.only_way || self.holds_something(&item.entry.path)? {
                names.push(item.name().into());
            }
        }
        Ok(names)
    }

    fn children(&self, dir: &[u8]) -> Result<Vec<Entry>> {
        let Some(listing) = self.listing(dir)? else { return Ok(Vec::new()) };
        let mut entries = Vec::with_capacity(listing.items.len());
        for item in &listing.items {
            if !item.only_way || self.holds_something(&item.entry.path)? {
                entries.push(item.entry.clone());
            }
        }
        Ok(entries)
    }

    fn ahead(&self, dir: &[u8]) -> Result<()> {
        self.read_ahead(dir)
    }

    fn opener(&self, path: &[u8]) -> Opener {
        let (context, path) = (self.clone(), path.to_vec());
        Box::new(move || Ok(Box::new(context.file(&path)?) as Box<dyn Read + Send>))
    }

    fn lasts(&self) -> bool {
        self.0.lasts
    }

    fn digest(&self, path: &[u8]) -> Result<Digest> {
        let known = |item: &Item| match item.entry.node {
            Node::File { digest, .. } => (item.stamp, digest),
            _ => (item.stamp, None),
        };
        match self.item(path, known)? {
            None => Err(Error::changed(path)),
            Some((_, Some(digest))) => Ok(digest),
            Some((stamp, None)) => self.0.index.digest(&stamp, || self.file(path))?.ok_or_else(|| Error::changed(path)),
        }
    }
}

fn failed(what: &str, path: &Path, cause: Errno) -> Error {
    Error::new(Kind::System, format!("cannot {what} `{}`", path.display())).because(cause)
}

/// Reads a text file of the user: a Dockerfile or an ignore file.
pub fn read_text(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).at("read", path).map_err(|error| error.within(Kind::Usage))?;
    read::text(file, path)
}

/// Reads a text file of a fetched context; links are followed only beneath its directory.
pub fn read_beneath(folder: &Path, name: &Path) -> Result<Vec<u8>> {
    let root = File::open(folder).at("open", folder)?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::openat2(&root, name, flags, Mode::empty(), resolve).map_err(|cause| {
        Error::new(Kind::Usage, format!("the context has no file `{}`", name.display()))
            .because(cause)
            .hint("name the Dockerfile with -f")
    })?;
    read::text(File::from(file), name)
}

/// The ignore patterns of a context: `<Dockerfile>.dockerignore` beside the Dockerfile, else
/// `.dockerignore` in the context.
pub fn ignore_of(context: &Path, dockerfile: Option<&Path>) -> Result<Option<Ignore>> {
    let beside = dockerfile.map(|path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    let places = beside.into_iter().chain([context.join(".dockerignore")]);
    let Some(path) = places.into_iter().find(|path| path.is_file()) else { return Ok(None) };
    // A link out of the context would reveal other files to its author by their effect.
    if let (Ok(real), Ok(root)) = (path.canonicalize(), context.canonicalize())
        && path.starts_with(context)
        && !real.starts_with(&root)
    {
        return Err(Error::new(Kind::Dockerfile, format!("`{}` leads out of the context", path.display())));
    }
    let ignore = Ignore::parse(&read_text(&path)?).map_err(|error| {
        Error::new(Kind::Dockerfile, format!("{}:{}: {}", path.display(), error.line, error.message))
    })?;
    Ok(Some(ignore).filter(|ignore| !ignore.is_empty()))
}

#[cfg(test)]
mod tests;
