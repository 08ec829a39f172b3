//! Measures the disk space of trees: bytes and inodes. It only reads.
//!
//! A step decides how deep a tree is, so the walk uses descriptors: a path is limited (PATH_MAX), a
//! tree is not. It has one directory open at a time and returns through `..`, which must be the
//! directory that it came from.

#![allow(clippy::unnecessary_cast, reason = "the fields of stat(2) are as wide as the architecture wants")]

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::CString;
use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::path::{Path, PathBuf};

/// An amount of disk space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Allocated blocks, in bytes.
    pub bytes: u64,
    /// Files, directories and links.
    pub inodes: u64,
}

impl Usage {
    /// The difference of two amounts, at least zero.
    pub fn without(self, other: Usage) -> Usage {
        Usage { bytes: self.bytes.saturating_sub(other.bytes), inodes: self.inodes.saturating_sub(other.inodes) }
    }

    /// True if it is at least another amount.
    pub fn covers(self, other: Usage) -> bool {
        self.bytes >= other.bytes && self.inodes >= other.inodes
    }
}

impl Add for Usage {
    type Output = Usage;
    fn add(self, other: Usage) -> Usage {
        Usage { bytes: self.bytes + other.bytes, inodes: self.inodes + other.inodes }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Usage) {
        *self = *self + other;
    }
}

impl Sum for Usage {
    fn sum<I: Iterator<Item = Usage>>(all: I) -> Usage {
        all.fold(Usage::default(), Add::add)
    }
}

/// The size of a tree. A file with several names counts for each with its share, so that the sum
/// over all trees is the real size.
pub fn measure(path: &Path) -> Usage {
    let mut total = Usage::default();
    each(path, &mut |stat| {
        let names = if is_directory(stat) { 1 } else { stat.st_nlink as u64 };
        total += Usage { bytes: blocks(stat) / names.max(1), inodes: 1 };
    });
    total
}

/// The space that removing these paths frees; a file that has another name elsewhere stays.
pub(super) fn alone(paths: &[PathBuf]) -> Usage {
    let mut total = Usage::default();
    let mut linked: HashMap<(u64, u64), u64> = HashMap::new();
    for path in paths {
        each(path, &mut |stat| {
            let names = stat.st_nlink as u64;
            if !is_directory(stat) && names > 1 {
                let seen = linked.entry((stat.st_dev as u64, stat.st_ino as u64)).or_default();
                *seen += 1;
                if *seen < names {
                    return;
                }
            }
            total += Usage { bytes: blocks(stat), inodes: 1 };
        });
    }
    total
}

fn blocks(stat: &Stat) -> u64 {
    stat.st_blocks as u64 * 512
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// A directory on the way down: its identity, and its subdirectories still to enter.
struct Level {
    inode: (u64, u64),
    todo: Vec<CString>,
}

/// Visits everything in a tree, itself first. Unreadable files are left out.
fn each(path: &Path, visit: &mut dyn FnMut(&Stat)) {
    let Ok(stat) = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) else { return };
    visit(&stat);
    if !is_directory(&stat) {
        return;
    }
    let Ok((mut dir, first)) = enter(CWD, path, visit) else { return };
    let mut levels = vec![first];
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.todo.pop() {
            if let Ok((below, next)) = enter(&dir, &name, visit) {
                dir = below;
                levels.push(next);
            }
            continue;
        }
        levels.pop();
        let Some(above) = levels.last() else { return };
        match open(&dir, c"..") {
            Ok((parent, inode)) if inode == above.inode => dir = parent,
            // The directory was moved meanwhile.
            _ => return,
        }
    }
}

fn open(dir: impl rustix::fd::AsFd, name: impl rustix::path::Arg) -> Result<(OwnedFd, (u64, u64)), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = openat(dir, name, flags, Mode::empty())?;
    let stat = fstat(&opened)?;
    Ok((opened, (stat.st_dev as u64, stat.st_ino as u64)))
}

/// Visits the entries of a directory.
fn enter(
    dir: impl rustix::fd::AsFd,
    name: impl rustix::path::Arg,
    visit: &mut dyn FnMut(&Stat),
) -> Result<(OwnedFd, Level), Errno> {
    let (opened, inode) = open(dir, name)?;
    let mut todo = Vec::new();
    let mut entries = Dir::read_from(&opened)?;
    while let Some(Ok(entry)) = entries.read() {
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let Ok(stat) = statat(&opened, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        visit(&stat);
        if is_directory(&stat) {
            todo.push(name.to_owned());
        }
    }
    Ok((opened, Level { inode, todo }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn names_of_one_file_share_it_and_trees_of_any_depth_are_counted() {
        let temp = tempfile::tempdir().unwrap();
        let (one, two) = (temp.path().join("one"), temp.path().join("two"));
        fs::create_dir(&two).unwrap();
        fs::create_dir_all(one.join("a/b")).unwrap();
        fs::write(one.join("a/b/file"), vec![1; 100_000]).unwrap();
        let whole = measure(&one);
        assert!(whole.bytes >= 100_000 && whole.inodes == 4, "{whole:?}");
        fs::hard_link(one.join("a/b/file"), two.join("file")).unwrap();
        assert!(measure(&one).bytes < 90_000);
        assert!(alone(std::slice::from_ref(&one)).bytes < 90_000, "it stays under its other name");
        let both = alone(&[one.clone(), two.clone()]);
        assert!(both.bytes >= 100_000 && both.inodes == 5, "{both:?}");

        let mut dir = open(CWD, two.as_path()).unwrap().0;
        for _ in 0..3000 {
            rustix::fs::mkdirat(&dir, c"d", Mode::RWXU).unwrap();
            dir = open(&dir, c"d").unwrap().0;
        }
        assert_eq!(measure(&two).inodes, 3002);
        store::remove::remove_tree(&two).unwrap();
    }
}
