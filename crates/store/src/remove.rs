//! Removes directory trees, whatever they contain. Knows nothing of their purpose.
//!
//! A step decides how deep its tree is and which modes it has, and its deepest path may be too long
//! to use. So everything goes through descriptors, of which at most `DEEPEST` are open. A deeper
//! directory is moved up to the top of the tree and removed from there. Symbolic links are removed
//! and never followed. If something can't be removed, the rest is removed anyway.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::io;
use std::path::Path;

/// The most directories that are open at once.
const DEEPEST: usize = 64;

/// Removes a file or a tree. A missing one is fine. Returns the first error.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let top = match open(CWD, path) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => return gone(unlinkat(CWD, path, AtFlags::empty())),
        Err(errno) => return Err(errno.into()),
    };
    let mut tree = Tree { top: top.as_fd(), moved: 0, again: true, failed: None };
    while std::mem::take(&mut tree.again) {
        let list = top.try_clone()?;
        tree.empty(list, 0);
    }
    match tree.failed {
        Some(errno) => Err(errno.into()),
        None => gone(unlinkat(CWD, path, AtFlags::REMOVEDIR)),
    }
}

fn gone(done: Result<(), Errno>) -> io::Result<()> {
    match done {
        Err(Errno::NOENT) => Ok(()),
        done => Ok(done?),
    }
}

/// Opens a directory for listing. If its mode forbids that to the owner, changes the mode first.
fn open(dir: impl AsFd, name: impl rustix::path::Arg + Copy) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&dir, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            let place = openat(&dir, name, flags | OFlags::PATH, Mode::empty())?;
            open_up(place.as_fd())?;
            openat(&dir, name, flags, Mode::empty())
        }
        opened => opened,
    }
}

/// Uses the entry in /proc, because fchmod(2) fails on descriptors of O_PATH.
fn open_up(place: BorrowedFd<'_>) -> Result<(), Errno> {
    use std::os::fd::AsRawFd as _;
    rustix::fs::chmod(format!("/proc/self/fd/{}", place.as_raw_fd()), Mode::RWXU)
}

struct Tree<'a> {
    top: BorrowedFd<'a>,
    /// The number of directories that were moved to the top.
    moved: u64,
    /// True if some were moved since the top was last listed.
    again: bool,
    failed: Option<Errno>,
}

impl Tree<'_> {
    /// Removes the content of a directory.
    fn empty(&mut self, dir: OwnedFd, depth: usize) {
        let mut entries = match Dir::new(dir) {
            Ok(entries) => entries,
            Err(errno) => return self.fail(errno),
        };
        // Duplicated descriptors share the read position of the directory.
        entries.rewind();
        while let Some(entry) = entries.read() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(errno) => return self.fail(errno),
            };
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            let dir = match entries.fd() {
                Ok(dir) => dir,
                Err(errno) => return self.fail(errno),
            };
            let done = match entry.file_type() {
                FileType::Directory => self.directory(dir, entry.file_name(), depth),
                FileType::Unknown => match self.directory(dir, entry.file_name(), depth) {
                    Err(Errno::NOTDIR | Errno::LOOP) => unlink(dir, entry.file_name(), AtFlags::empty()),
                    done => done,
                },
                _ => unlink(dir, entry.file_name(), AtFlags::empty()),
            };
            match done {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => self.fail(errno),
            }
        }
    }

    fn directory(&mut self, dir: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<(), Errno> {
        if depth >= DEEPEST {
            return match unlink(dir, name, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => self.move_up(dir, name),
                done => done,
            };
        }
        self.empty(open(dir, name)?, depth + 1);
        match unlink(dir, name, AtFlags::REMOVEDIR) {
            // The reason why it is not empty is reported already.
            Err(Errno::NOTEMPTY | Errno::EXIST) if self.failed.is_some() => Ok(()),
            done => done,
        }
    }

    /// Moves a directory to the top, under an unused name.
    fn move_up(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        loop {
            let to = CString::new(format!("deep-{}", self.moved)).unwrap_or_default();
            self.moved += 1;
            match renameat(dir, name, self.top, &to) {
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
                // A rename changes its `..`, which needs write permission on it.
                Err(Errno::ACCESS) => {
                    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    open_up(openat(dir, name, flags, Mode::empty())?.as_fd())?;
                    open_up(dir)?;
                    renameat(dir, name, self.top, &to)?;
                    self.again = true;
                    return Ok(());
                }
                Ok(()) => {
                    self.again = true;
                    return Ok(());
                }
                failed => return failed,
            }
        }
    }

    fn fail(&mut self, errno: Errno) {
        self.failed.get_or_insert(errno);
    }
}

/// Removes an entry. If the directory's mode forbids that to the owner, changes the mode first.
fn unlink(dir: BorrowedFd<'_>, name: &CStr, flags: AtFlags) -> Result<(), Errno> {
    match unlinkat(dir, name, flags) {
        Err(Errno::ACCESS) => {
            open_up(dir)?;
            unlinkat(dir, name, flags)
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    /// Makes nested directories by descriptors: the deepest may have no usable path.
    fn deep(path: &Path, levels: usize) {
        fs::create_dir(path).unwrap();
        let mut dir = open(CWD, path).unwrap();
        for _ in 0..levels {
            rustix::fs::mkdirat(&dir, c"d", Mode::RWXU).unwrap();
            drop(openat(&dir, c"f", OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR).unwrap());
            dir = open(&dir, c"d").unwrap();
        }
    }

    #[test]
    fn a_tree_goes_however_deep_it_is() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("tree");
        for levels in [0, DEEPEST - 1, DEEPEST, DEEPEST + 1, 3000] {
            deep(&path, levels);
            // Names that it would have used itself.
            fs::write(path.join("deep-0"), "").unwrap();
            fs::create_dir_all(path.join("deep-1/x")).unwrap();
            remove_tree(&path).unwrap();
            assert!(!path.exists(), "{levels}");
        }
    }

    #[test]
    fn modes_links_and_files_are_no_reason_to_stop() {
        let temp = tempfile::tempdir().unwrap();
        let (kept, path) = (temp.path().join("kept"), temp.path().join("tree"));
        fs::create_dir_all(path.join("a/b/c")).unwrap();
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "").unwrap();
        std::os::unix::fs::symlink(&kept, path.join("a/link")).unwrap();
        for closed in ["a/b", "a"] {
            fs::set_permissions(path.join(closed), fs::Permissions::from_mode(0o000)).unwrap();
        }
        remove_tree(&path).unwrap();
        assert!(!path.exists() && kept.join("file").exists());
        std::os::unix::fs::symlink(&kept, &path).unwrap();
        remove_tree(&path).unwrap();
        assert!(fs::symlink_metadata(&path).is_err() && kept.join("file").exists());
        fs::write(&path, "").unwrap();
        remove_tree(&path).unwrap();
        remove_tree(&path).unwrap();
    }
}
