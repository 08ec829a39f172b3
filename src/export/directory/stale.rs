//! mode=delete: removes files in a directory of the user that the images lack. Links are removed,
//! never followed.

use crate::image::Image;
use base::error::{At as _, Error, Kind, Result};
use layer::Layers;
use layer::tree::Node;
use layer::view::View;
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use std::collections::BTreeMap;
use std::path::Path;

/// The deepest nesting of directories: each level needs an open descriptor.
const DEEPEST: usize = 500;

/// The expected content of the directory: paths, each with true for a directory.
#[derive(Default)]
pub(super) struct Expected(BTreeMap<Vec<u8>, bool>);

impl Expected {
    /// Adds the files of an image, below the directory `folder` unless that is empty.
    pub(super) fn add(&mut self, folder: &str, image: &Image, layers: &Layers) -> Result<()> {
        if !folder.is_empty() {
            self.0.insert(folder.as_bytes().to_vec(), true);
        }
        for (_, entry) in View::new(layers, &image.layers)?.all()? {
            let is_made = matches!(entry.node, Node::Dir { .. } | Node::File { .. } | Node::Symlink { .. });
            if entry.path.is_empty() || !is_made {
                continue;
            }
            let path = join(folder.as_bytes(), &entry.path);
            self.0.insert(path, entry.is_dir());
        }
        Ok(())
    }

    /// Removes everything else, and entries of the wrong type.
    pub(super) fn remove_others(&self, dest: &Path) -> Result<()> {
        match open(CWD, dest.as_os_str(), OFlags::empty()) {
            Err(rustix::io::Errno::NOENT) => Ok(()),
            dir => self.clean(&dir.at("open", dest)?, b"", dest, 0),
        }
    }

    fn clean(&self, dir: &OwnedFd, path: &[u8], dest: &Path, depth: usize) -> Result<()> {
        for name in names(dir, dest)? {
            let below = join(path, name.to_bytes());
            let shown = || dest.join(String::from_utf8_lossy(&below).as_ref());
            let stat = rustix::fs::statat(dir, &*name, AtFlags::SYMLINK_NOFOLLOW).at("look at", shown())?;
            let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            match (self.0.get(&below), is_dir) {
                (Some(true), true) => {
                    let inner = open(dir.as_fd(), &*name, OFlags::NOFOLLOW).at("open", shown())?;
                    deeper(depth, &shown())?;
                    // It gets the image's mode when it is filled; until then its owner must be able
                    // to write.
                    let _ = rustix::fs::fchmod(&inner, Mode::from(stat.st_mode & 0o7777 | 0o700));
                    self.clean(&inner, &below, dest, depth + 1)?;
                }
                (Some(false), false) => {}
                (_, true) => remove_tree(dir, &name, &shown(), depth)?,
                (_, false) => rustix::fs::unlinkat(dir, &*name, AtFlags::empty()).at("remove", shown())?,
            }
        }
        Ok(())
    }
}

fn remove_tree(parent: &OwnedFd, name: &std::ffi::CStr, shown: &Path, depth: usize) -> Result<()> {
    deeper(depth, shown)?;
    let dir = open(parent.as_fd(), name, OFlags::NOFOLLOW).at("open", shown)?;
    // A directory that its owner cannot write is removed too.
    let _ = rustix::fs::fchmod(&dir, Mode::from(0o700));
    for inner in names(&dir, shown)? {
        let path = shown.join(inner.to_string_lossy().as_ref());
        let stat = rustix::fs::statat(&dir, &*inner, AtFlags::SYMLINK_NOFOLLOW).at("look at", &path)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            remove_tree(&dir, &inner, &path, depth + 1)?;
        } else {
            rustix::fs::unlinkat(&dir, &*inner, AtFlags::empty()).at("remove", &path)?;
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR).at("remove", shown)
}

fn deeper(depth: usize, shown: &Path) -> Result<()> {
    match depth < DEEPEST {
        true => Ok(()),
        false => Err(Error::new(Kind::Export, format!("`{}` lies too deep to be removed", shown.display()))),
    }
}

fn open(at: BorrowedFd<'_>, name: impl rustix::path::Arg, more: OFlags) -> Result<OwnedFd, rustix::io::Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | more;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

fn names(dir: &OwnedFd, shown: &Path) -> Result<Vec<std::ffi::CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir).at("list", shown)? {
        let name = entry.at("list", shown)?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}

fn join(folder: &[u8], path: &[u8]) -> Vec<u8> {
    if folder.is_empty() { path.to_vec() } else { [folder, b"/", path].concat() }
}
