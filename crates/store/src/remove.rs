//! Removes trees, whatever is in them. Knows nothing of what they are for.
//!
//! A step decides how deep its tree is and which modes it has, and no path to its end need exist. So everything goes by
//! descriptors, and there are never more of them than [`DEEPEST`]: a directory that is deeper is moved up to the top of
//! the tree and removed from there. Links are removed and never followed. What can't be removed keeps nothing else.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::io;
use std::path::Path;

/// So many directories are open at once.
const DEEPEST: usize = 64;

/// Removes a file or a tree; one that is not there is fine. Of several errors the first comes back.
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

/// Opens a directory for listing. One whose mode forbids that to its owner is given back to it.
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

/// By its entry in /proc: fchmod(2) knows no descriptors of O_PATH.
fn open_up(place: BorrowedFd<'_>) -> Result<(), Errno> {
    use std::os::fd::AsRawFd as _;
    rustix::fs::chmod(format!("/proc/self/fd/{}", place.as_raw_fd()), Mode::RWXU)
}

struct Tree<'a> {
    top: BorrowedFd<'a>,
    /// How many directories were moved to the top.
    moved: u64,
    /// Some were since the last look at it.
    again: bool,
    failed: Option<Errno>,
}

impl Tree<'_> {
    /// Removes everything in a directory.
    fn empty(&mut self, dir: OwnedFd, depth: usize) {
        let mut entries = match Dir::new(dir) {
            Ok(entries) => entries,
            Err(errno) => return self.fail(errno),
        };
        // Descriptors that were copied share their place in the list.
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
            // Why something is left in it was told already.
            Err(Errno::NOTEMPTY | Errno::EXIST) if self.failed.is_some() => Ok(()),
            done => done,
        }
    }

    /// To the top, under a name that nothing has there.
    fn move_up(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        loop {
            let to = CString::new(format!("deep-{}", self.moved)).unwrap_or_default();
            self.moved += 1;
            match renameat(dir, name, self.top, &to) {
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
                // Its `..` changes, which takes the right to write to it.
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

/// A directory whose mode forbids it to its owner is given back to it first.
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

    /// Directories inside each other, by descriptors: there is no path to the last.
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
