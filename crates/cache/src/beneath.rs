//! Accesses a directory that others may write to as well. No link below it is followed, for reading
//! or writing, and only regular files are read. New names are random, so that no other
//! process can create them first.
//!
//! New files and directories get the mode of the directory itself, so that a group that may write
//! to it may also write below it.

use base::error::{At, Error, Kind, Result};
use base::outside;
use base::read;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fchmod, fstat, mkdirat, openat2, renameat, unlinkat,
};
use rustix::io::Errno;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

/// The prefix of files that are being written, or whose writer was killed.
pub(super) const TEMPORARY: &str = ".new-";
/// The most parts of a path below the directory.
const MOST_PARTS: usize = 8;

/// The directory.
pub(super) struct Beneath {
    root: PathBuf,
}

/// A file in it.
pub(super) struct Found {
    pub(super) name: String,
    /// The modification time in seconds since 1970.
    pub(super) at: Option<u64>,
    pub(super) size: u64,
}

impl Beneath {
    pub(super) fn new(root: PathBuf) -> Beneath {
        Beneath { root }
    }

    /// The full path, for messages.
    pub(super) fn show(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Opens the directory itself. It may be a link of the user; nothing below it may.
    fn base(&self, make: bool) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(CWD, &self.root, flags, Mode::empty());
        match open() {
            Err(Errno::NOENT) if make => {
                outside::create_dir_all(&self.root).at("make", &self.root)?;
                open().at("open", &self.root)
            }
            opened => opened.at("open", &self.root),
        }
    }

    fn open(&self, base: impl AsFd, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        openat2(base, path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty(), resolve)
    }

    /// The bytes of a file; `None` if it does not exist.
    pub(super) fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let strange = |what: &str| Error::new(Kind::Source, format!("`{}` is {what}", self.show(path).display()));
        let base = match self.base(false) {
            Err(_) if !self.root.exists() => return Ok(None),
            base => base?,
        };
        // NONBLOCK, because opening a pipe would wait for its other end.
        let file = match self.open(&base, path, OFlags::RDONLY | OFlags::NONBLOCK) {
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(strange("a link, which is not followed")),
            file => file.at("open", self.show(path))?,
        };
        if FileType::from_raw_mode(fstat(&file).at("look at", self.show(path))?.st_mode) != FileType::RegularFile {
            return Err(strange("no regular file"));
        }
        let bytes = read::at_most(limit, File::from(file)).at("read", self.show(path))?;
        bytes.ok_or_else(|| strange(&format!("larger than {limit} bytes"))).map(Some)
    }

    /// True if the path is a regular file.
    pub(super) fn has(&self, path: &str) -> bool {
        let file = self.base(false).ok().and_then(|base| self.open(&base, path, OFlags::PATH).ok());
        let kind = file.and_then(|file| fstat(&file).ok()).map(|stat| FileType::from_raw_mode(stat.st_mode));
        kind == Some(FileType::RegularFile)
    }

    /// Writes a file atomically. A full or read-only disk is an error of the cache, not of the
    /// system.
    pub(super) fn write(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.put(path, bytes).map_err(|error| error.within(Kind::Export))
    }

    fn put(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let shown = self.show(path);
        let base = self.base(true)?;
        let modes = fstat(&base).at("look at", &self.root)?.st_mode & 0o7777;
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let dir = self.folder(base, folder, modes)?;
        let temp = format!("{TEMPORARY}{}", random()?);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&dir, &temp, flags, Mode::from(0o600)).at("write", &shown)?;
        let written = fchmod(&file, Mode::from(modes & 0o666))
            .map_err(std::io::Error::from)
            .and_then(|()| File::from(file).write_all(bytes))
            .and_then(|()| Ok(renameat(&dir, &temp, &dir, name)?));
        written.at("write", &shown).inspect_err(|_| {
            let _ = unlinkat(&dir, &temp, AtFlags::empty());
        })
    }

    /// Opens a directory below, and makes the missing parts.
    fn folder(&self, base: OwnedFd, path: &str, modes: u32) -> Result<OwnedFd> {
        let mut dir = base;
        for part in path.split('/').filter(|part| !part.is_empty()).take(MOST_PARTS) {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            dir = match self.open(&dir, part, flags) {
                Err(Errno::NOENT) => match mkdirat(&dir, part, Mode::from(0o700)) {
                    Err(cause) if cause != Errno::EXIST => return Err(cause).at("make", self.show(path)),
                    Err(_) => self.open(&dir, part, flags).at("open", self.show(path))?,
                    Ok(()) => {
                        let made = self.open(&dir, part, flags).at("open", self.show(path))?;
                        fchmod(&made, Mode::from(modes)).at("set the mode of", self.show(path))?;
                        made
                    }
                },
                opened => opened.at("open", self.show(path))?,
            };
        }
        Ok(dir)
    }

    /// The regular files of a directory below, without those in subdirectories; empty if it does
    /// not exist.
    pub(super) fn list(&self, path: &str) -> Result<Vec<Found>> {
        let Some((dir, names)) = self.names(path)? else { return Ok(Vec::new()) };
        let each = |name: &String| {
            let stat = rustix::fs::statat(&dir, name.as_str(), AtFlags::SYMLINK_NOFOLLOW).ok()?;
            let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            let at = u64::try_from(stat.st_mtime).ok();
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            regular.then(|| Found { name: name.to_owned(), at, size })
        };
        Ok(names.iter().filter_map(each).collect())
    }

    /// Opens a directory below and lists all names in it; `None` if it does not exist.
    fn names(&self, path: &str) -> Result<Option<(OwnedFd, Vec<String>)>> {
        let base = match self.base(false) {
            Err(_) if !self.root.exists() => return Ok(None),
            base => base?,
        };
        let dir = match self.open(&base, path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => return Ok(None),
            dir => dir.at("open", self.show(path))?,
        };
        let entries = Dir::read_from(&dir).at("read", self.show(path))?.flatten();
        let names = entries.filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
        let names = names.filter(|name| !matches!(name.as_str(), "." | "..")).collect();
        Ok(Some((dir, names)))
    }

    /// The names of all entries in a directory below.
    pub(super) fn folders(&self, path: &str) -> Result<Vec<String>> {
        Ok(self.names(path)?.map(|(_, names)| names).unwrap_or_default())
    }

    /// Removes a file; it may be missing.
    pub(super) fn remove(&self, path: &str) -> Result<()> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let Some((dir, _)) = self.names(folder)? else { return Ok(()) };
        match unlinkat(&dir, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            done => done.at("remove", self.show(path)),
        }
    }
}

fn random() -> Result<String> {
    base::random::name().at("read", "/dev/urandom")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    #[test]
    fn planted_links_and_pipes_are_not_followed() {
        let dir = tempfile::tempdir().expect("a folder");
        let (root, victim) = (dir.path().join("cache"), dir.path().join("victim"));
        std::fs::create_dir_all(victim.join("ab")).expect("made");
        std::fs::write(victim.join("file"), "untouched").expect("written");
        std::fs::create_dir_all(root.join("objects")).expect("made");
        symlink(victim.join("file"), root.join("objects/one")).expect("a link");
        symlink(&victim, root.join("chunks")).expect("a link");
        rustix::fs::mkfifoat(CWD, root.join("objects/pipe"), Mode::from(0o644)).expect("a pipe");
        let beneath = Beneath::new(root.clone());
        assert!(beneath.read("objects/one", 100).is_err() && !beneath.has("objects/one"));
        assert!(beneath.read("objects/pipe", 100).is_err() && !beneath.has("objects/pipe"));
        assert!(beneath.write("chunks/ab/two", b"new").is_err() && beneath.read("chunks/file", 100).is_err());
        assert!(beneath.list("chunks").is_err() && beneath.list("objects").expect("a list").is_empty());
        beneath.write("objects/one", b"new").expect("the link itself is replaced");
        assert_eq!(beneath.read("objects/one", 100).expect("read").as_deref(), Some(&b"new"[..]));
        assert_eq!(std::fs::read_to_string(victim.join("file")).expect("a file"), "untouched");
        assert_eq!(std::fs::read_dir(victim.join("ab")).expect("a folder").count(), 0);
        assert_eq!(beneath.list("objects").expect("a list").len(), 1);
        beneath.remove("objects/one").expect("removed");
        beneath.remove("objects/one").expect("gone is gone");
        assert!(beneath.remove("chunks/file").is_err());
        assert!(victim.join("file").exists());
    }

    #[test]
    fn what_is_made_has_the_modes_of_the_folder() {
        let dir = tempfile::tempdir().expect("a folder");
        for (modes, file) in [(0o755, 0o644), (0o700, 0o600), (0o2775, 0o664), (0o1777, 0o666)] {
            let root = dir.path().join(format!("{modes:o}"));
            std::fs::create_dir(&root).expect("made");
            std::fs::set_permissions(&root, std::fs::Permissions::from_mode(modes)).expect("set");
            Beneath::new(root.clone()).write("a/b/c", b"x").expect("written");
            let mode = |path: &str| std::fs::metadata(root.join(path)).expect("there").mode() & 0o7777;
            assert_eq!((mode("a"), mode("a/b"), mode("a/b/c")), (modes, modes, file));
        }
        let beneath = Beneath::new(dir.path().join("new/one"));
        assert_eq!(beneath.read("x", 1).expect("nothing"), None);
        beneath.write("x", b"y").expect("written");
        assert!(beneath.read("x", 0).is_err());
    }
}
