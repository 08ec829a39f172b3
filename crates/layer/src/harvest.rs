//! Reads the upper directory of a RUN as a tree. Overlayfs's whiteouts and marks become the tree's
//! own, hard links are found by inode, and sockets are left out. No process uses the directory any
//! more.

use super::tree::{Entry, LONGEST_PATH, Node, Time, Tree, Xattrs, child};
use base::error::{At, Error, Kind, Result};
use rustix::fs::{AtFlags, CWD, FileType, OFlags, Stat};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// The tree of a directory, without digests. `opaque` is the attribute with which overlayfs marked
/// directories here. If a step set the attribute of the other name, it hides nothing.
pub(super) fn harvest(dir: &Path, opaque: &str) -> Result<Tree> {
    let mark = opaque.as_bytes();
    let mut harvest = Harvest { dir, mark, entries: Vec::new(), links: HashMap::new(), todo: vec![Box::default()] };
    while let Some(path) = harvest.todo.pop() {
        harvest.directory(&path)?;
    }
    Ok(Tree::new(harvest.entries))
}

struct Harvest<'a> {
    dir: &'a Path,
    mark: &'a [u8],
    entries: Vec<Entry>,
    links: HashMap<(u64, u64), u32>,
    todo: Vec<Box<[u8]>>,
}

impl Harvest<'_> {
    fn directory(&mut self, path: &[u8]) -> Result<()> {
        let at = self.dir.join(OsStr::from_bytes(path));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, &at, flags, rustix::fs::Mode::empty()).at("read", &at)?;
        for item in rustix::fs::Dir::read_from(&fd).at("read", &at)? {
            let item = item.at("read", &at)?;
            let name = item.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let stat = rustix::fs::statat(&fd, item.file_name(), AtFlags::SYMLINK_NOFOLLOW).at("read", &at)?;
            self.entry(child(path, name), &stat)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: Box<[u8]>, stat: &Stat) -> Result<()> {
        if path.len() > LONGEST_PATH {
            return Err(Error::new(Kind::Step, format!("the step made a path of more than {LONGEST_PATH} bytes")));
        }
        let at = self.dir.join(OsStr::from_bytes(&path));
        let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mut opaque = false;
        let xattrs = if kind == FileType::Symlink { Vec::new() } else { xattrs(&at, self.mark, &mut opaque)? };
        let node = match kind {
            FileType::Directory => {
                self.todo.push(path.clone());
                Node::Dir { opaque }
            }
            FileType::RegularFile => Node::File { size: stat.st_size as u64, digest: None, offset: None },
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(CWD, &at, Vec::new()).at("read", &at)?;
                Node::Symlink { target: target.to_bytes().into() }
            }
            FileType::CharacterDevice if device == (0, 0) => Node::Whiteout,
            FileType::CharacterDevice => Node::Char { major: device.0, minor: device.1 },
            FileType::BlockDevice => Node::Block { major: device.0, minor: device.1 },
            FileType::Fifo => Node::Fifo,
            _ => return Ok(()),
        };
        let whiteout = node == Node::Whiteout;
        let link = (stat.st_nlink > 1 && kind != FileType::Directory && !whiteout).then(|| {
            let next = self.links.len() as u32 + 1;
            *self.links.entry((stat.st_dev, stat.st_ino)).or_insert(next)
        });
        let mode = if whiteout { 0 } else { stat.st_mode & 0o7777 };
        let mtime = Time { seconds: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 };
        self.entries.push(Entry { path, node, mode, uid: stat.st_uid, gid: stat.st_gid, mtime, xattrs, link });
        Ok(())
    }
}

/// The extended attributes that belong to the image.
fn xattrs(path: &Path, mark: &[u8], opaque: &mut bool) -> Result<Xattrs> {
    let mut names = Vec::with_capacity(256);
    match rustix::fs::llistxattr(path, rustix::buffer::spare_capacity(&mut names)) {
        Ok(_) => {}
        Err(rustix::io::Errno::RANGE) => {
            names.reserve(64 * 1024);
            rustix::fs::llistxattr(path, rustix::buffer::spare_capacity(&mut names))
                .at("read the attributes of", path)?;
        }
        Err(_) => return Ok(Vec::new()),
    }
    let mut found = Xattrs::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = Vec::with_capacity(64 * 1024);
        let got = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), rustix::buffer::spare_capacity(&mut value));
        match name {
            name if name == mark => *opaque |= value == b"y",
            name if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") => {}
            // A label of this machine's SELinux policy is no part of an image.
            b"security.selinux" => {}
            b"security.capability" => found.push((name.into(), rootful(&value).into())),
            name if got.is_ok() => found.push((name.into(), value.into())),
            _ => {}
        }
    }
    found.sort();
    Ok(found)
}

/// File capabilities of version 3 hold the root user of a namespace (capabilities(7)); images use
/// version 2.
fn rootful(value: &[u8]) -> Vec<u8> {
    const V3: u32 = 0x0300_0000;
    const V2: u32 = 0x0200_0000;
    match value.first_chunk::<4>().map(|magic| u32::from_le_bytes(*magic)) {
        Some(magic) if magic & 0xff00_0000 == V3 && value.len() == 24 => {
            let magic = (magic & 0x00ff_ffff) | V2;
            [&magic.to_le_bytes(), &value[4..20]].concat()
        }
        _ => value.to_vec(),
    }
}
