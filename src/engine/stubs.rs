//! Mount points that a rootfs lacks, as a directory on top of its layers for one step, so that the
//! step's own layer never contains a trace of a mount. Existing parents are repeated with their
//! metadata.
//!
//! The directories are in this process's temporary directory of the store, are shared by steps that
//! lack the same mount points, and are removed with the process.

use base::error::{At, Error, Kind, Result};
use layer::files::{Files, resolve};
use layer::tree::{Entry, Node, Xattrs};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags, openat2};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// The type of a mount point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Want {
    Directory,
    /// The directory below a tmpfs, which takes its mode (see `sandbox::child`).
    Tmpfs,
    File,
}

/// The entries of the directory, by path relative to the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stubs(BTreeMap<Box<[u8]>, Stub>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stub {
    want: Want,
    mode: u32,
    uid: u32,
    gid: u32,
    /// `None` for an entry that does not exist below: its time is never visible.
    mtime: Option<(i64, u32)>,
    xattrs: Xattrs,
}

impl Stubs {
    /// Adds the missing entries for a mount at `target`; none if it exists.
    pub(super) fn need(&mut self, files: &dyn Files, target: &[u8], want: Want) -> Result<()> {
        let found = resolve(files, target)?;
        if found.entry.is_some() {
            return Ok(());
        }
        let path = &found.path;
        let ends = (0..path.len()).filter(|&at| path[at] == b'/').chain([path.len()]);
        for end in ends.filter(|&end| end > 0) {
            let prefix = &path[..end];
            let below = files.lookup(prefix)?;
            if end < path.len() && below.as_ref().is_some_and(|entry| !matches!(entry.node, Node::Dir { .. })) {
                let [path, prefix] = [&path[..], prefix].map(String::from_utf8_lossy);
                let text = format!("cannot make `/{path}` for the step: `/{prefix}` is not a directory");
                return Err(Error::new(Kind::Step, text));
            }
            let want = if end == path.len() { want } else { Want::Directory };
            match self.0.get_mut(prefix) {
                // It is the parent of another mount point as well.
                Some(known) if want == Want::Tmpfs => *known = Stub::of(None, want),
                Some(_) => {}
                None => drop(self.0.insert(prefix.into(), Stub::of(below.as_ref(), want))),
            }
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes the entries in an existing directory. `root` is the metadata of the rootfs's own root.
    pub(super) fn make(&self, dir: &Path, root: Option<&Entry>) -> Result<()> {
        for (path, stub) in &self.0 {
            let at = dir.join(OsStr::from_bytes(path));
            match stub.want {
                Want::Directory | Want::Tmpfs => rustix::fs::mkdir(&at, Mode::from(0o700)).at("make", &at)?,
                Want::File => drop(std::fs::File::create_new(&at).at("make", &at)?),
            }
        }
        // The deepest first, as making a child changes the time of its parent.
        for (path, stub) in self.0.iter().rev() {
            stub.apply(&dir.join(OsStr::from_bytes(path)))?;
        }
        Stub::of(root, Want::Directory).apply(dir)
    }

    /// Removes from a step's layer the directories that only mount points needed, if they are empty
    /// after the step, whatever the step did in them. BuildKit does the same. The step may have put
    /// links there: none is followed.
    pub(super) fn sweep(&self, upper: &Path) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let root = rustix::fs::open(upper, flags, Mode::empty()).at("open", upper)?;
        for (path, _) in self.0.iter().rev().filter(|(_, stub)| stub.mtime.is_none()) {
            let path = Path::new(OsStr::from_bytes(path));
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            let Ok(parent) = openat2(&root, parent, flags, Mode::empty(), resolve) else { continue };
            let stat = rustix::fs::fstat(&parent).at("read", upper)?;
            if rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR).is_ok() {
                let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec.cast_signed() };
                let times = Timestamps { last_access: time, last_modification: time };
                rustix::fs::futimens(&parent, &times).at("set a time below", upper)?;
            }
        }
        Ok(())
    }
}

impl Stub {
    fn of(below: Option<&Entry>, want: Want) -> Stub {
        match below {
            Some(Entry { node: Node::Dir { .. }, mode, uid, gid, mtime, xattrs, .. }) => {
                let (mtime, xattrs) = (Some((mtime.seconds, mtime.nanos)), xattrs.clone());
                Stub { want, mode: *mode, uid: *uid, gid: *gid, mtime, xattrs }
            }
            _ => {
                let mode = match want {
                    Want::Directory => 0o755,
                    Want::Tmpfs => 0o1777,
                    Want::File => 0o644,
                };
                Stub { want, mode, uid: 0, gid: 0, mtime: None, xattrs: Xattrs::new() }
            }
        }
    }

    fn apply(&self, path: &Path) -> Result<()> {
        if self.uid != 0 || self.gid != 0 {
            let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
            // With a single-id mapping this fails; the layer's own tree keeps the owner.
            let _ = rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW);
        }
        for (name, value) in &self.xattrs {
            // An attribute that cannot be set here is in the tree of the layer below only.
            let _ = rustix::fs::lsetxattr(path, OsStr::from_bytes(name), value, XattrFlags::empty());
        }
        rustix::fs::chmodat(CWD, path, Mode::from(self.mode), AtFlags::empty()).at("set the mode of", path)?;
        if let Some((seconds, nanos)) = self.mtime {
            let time = Timespec { tv_sec: seconds, tv_nsec: i64::from(nanos) };
            let times = Timestamps { last_access: time, last_modification: time };
            rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).at("set the time of", path)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_empty_directories_of_mount_points_are_swept_and_no_link_is_followed() {
        let dir = tempfile::tempdir().expect("made");
        let upper = dir.path().join("upper");
        for made in ["upper/a/b", "upper/c/d", "upper/old", "outside/d"] {
            std::fs::create_dir_all(dir.path().join(made)).expect("made");
        }
        std::fs::write(upper.join("c/kept"), "").expect("made");
        std::os::unix::fs::symlink(dir.path().join("outside"), upper.join("l")).expect("made");
        let missing = Stub::of(None, Want::Directory);
        let known = Stub { mtime: Some((1, 0)), ..missing.clone() };
        let wanted = ["a", "a/b", "a/b/gone", "c", "c/d", "l", "l/d"].map(|path| (path, missing.clone()));
        let stubs = wanted.into_iter().chain([("old", known)]).map(|(path, stub)| (path.as_bytes().into(), stub));
        Stubs(stubs.collect()).sweep(&upper).expect("made");
        let there = ["a", "c/d", "c", "l", "old"].map(|path| upper.join(path).symlink_metadata().is_ok());
        assert_eq!(there, [false, false, true, true, true]);
        assert!(dir.path().join("outside/d").exists());
    }
}
