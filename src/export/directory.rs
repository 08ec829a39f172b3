//! type=local: writes the files of the image to a directory of the user. Only mode=delete removes
//! files that the image lacks. Links in the directory are never followed: every path is opened
//! beneath its descriptor.

mod stale;

use super::plain::folder;
use super::{Exported, Exporter, Wanted, Watch};
use crate::image::Image;
use base::error::{At, Error, Kind, Result};
use base::outside;
use layer::tree::{Entry, Node, name, parent};
use layer::view::View;
use layer::{LayerId, Layers};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid};
use stale::Expected;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

struct Local {
    dest: PathBuf,
    split: Option<bool>,
    delete: bool,
}

pub(super) fn local(wanted: &Wanted) -> Result<Box<dyn Exporter>> {
    let split = wanted.split()?;
    let dest = wanted
        .dest()?
        .ok_or_else(|| Error::new(Kind::Usage, "type=local can't write to standard output").hint("use type=tar"))?;
    let delete = match wanted.attributes.text("mode") {
        None | Some("copy") => false,
        Some("delete") => true,
        Some(other) => return Err(Error::unknown("mode of type=local", other, ["copy", "delete"])),
    };
    Ok(Box::new(Local { dest, split, delete }))
}

impl Exporter for Local {
    fn needs_bytes(&self) -> bool {
        true
    }

    fn title(&self) -> &'static str {
        "exporting the files to a directory"
    }

    fn export(&self, images: &[Image], layers: &Layers, _: &Watch<'_>) -> Result<Exported> {
        let split = self.split.unwrap_or(images.len() > 1);
        if self.delete {
            let mut expected = Expected::default();
            for image in images {
                expected.add(&if split { folder(image) } else { String::new() }, image, layers)?;
            }
            expected.remove_others(&self.dest)?;
        }
        for image in images {
            let dest = if split { self.dest.join(folder(image)) } else { self.dest.clone() };
            outside::create_dir_all(&dest).at("make", &dest)?;
            Target { dir: File::open(&dest).at("open", &dest)?, dest: &dest, epoch: image.epoch }
                .fill(image, layers)?;
        }
        Ok(Exported::default())
    }
}

struct Target<'a> {
    dir: File,
    dest: &'a Path,
    epoch: Option<i64>,
}

impl Target<'_> {
    fn fill(&self, image: &Image, layers: &Layers) -> Result<()> {
        let all = View::new(layers, &image.layers)?.all()?;
        let mut first: HashMap<(&LayerId, u32), &[u8]> = HashMap::new();
        for (layer, entry) in all.iter().filter(|(_, entry)| !entry.path.is_empty()) {
            let dir = self.open(parent(&entry.path))?;
            let name = name(&entry.path);
            if let Some(earlier) = entry.link.and_then(|link| first.get(&(layer, link))) {
                self.link(earlier, &dir, name, entry)?;
                continue;
            }
            self.make(&dir, name, entry, || layers.open(layer, entry))?;
            if let Some(link) = entry.link {
                first.insert((layer, link), &entry.path);
            }
        }
        for (_, entry) in all.iter().rev().filter(|(_, entry)| entry.is_dir() && !entry.path.is_empty()) {
            self.time(&self.open(parent(&entry.path))?, name(&entry.path), entry)?;
        }
        Ok(())
    }

    fn shown(&self, path: &[u8]) -> PathBuf {
        self.dest.join(String::from_utf8_lossy(path).as_ref())
    }

    fn open(&self, path: &[u8]) -> Result<OwnedFd> {
        let flags = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let path = if path.is_empty() { b"." } else { path };
        let open = rustix::fs::openat2(
            &self.dir,
            path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            flags,
        );
        open.map_err(|cause| {
            Error::new(Kind::Export, format!("cannot write into `{}`", self.shown(path).display())).because(cause)
        })
    }

    fn link(&self, earlier: &[u8], dir: &OwnedFd, name: &[u8], entry: &Entry) -> Result<()> {
        let _ = rustix::fs::unlinkat(dir, name, AtFlags::empty());
        let from = self.open(parent(earlier))?;
        rustix::fs::linkat(&from, layer::tree::name(earlier), dir, name, AtFlags::empty())
            .at("link", self.shown(&entry.path))
    }

    fn make(
        &self,
        dir: &OwnedFd,
        name: &[u8],
        entry: &Entry,
        open: impl FnOnce() -> Result<Box<dyn std::io::Read + Send>>,
    ) -> Result<()> {
        let shown = || self.shown(&entry.path);
        if !entry.is_dir() {
            // An existing entry is replaced; for a link that is the link itself, not its target.
            let _ = rustix::fs::unlinkat(dir, name, AtFlags::empty());
        }
        match &entry.node {
            Node::Dir { .. } => match rustix::fs::mkdirat(dir, name, Mode::from(0o700)) {
                Err(rustix::io::Errno::EXIST) => {
                    let there = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).at("read", shown())?;
                    if rustix::fs::FileType::from_raw_mode(there.st_mode) != rustix::fs::FileType::Directory {
                        return Err(Error::new(
                            Kind::Export,
                            format!("`{}` is in the way of a directory", shown().display()),
                        ));
                    }
                }
                done => done.at("make", shown())?,
            },
            Node::File { .. } => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mut file = File::from(rustix::fs::openat(dir, name, flags, Mode::from(0o600)).at("make", shown())?);
                std::io::copy(&mut open()?, &mut file).at("write", shown())?;
            }
            Node::Symlink { target } => rustix::fs::symlinkat(target.as_ref(), dir, name).at("make", shown())?,
            // Devices and pipes are for containers, not for the user's directory.
            _ => return Ok(()),
        }
        if rustix::process::geteuid().is_root() {
            let _ = rustix::fs::chownat(
                dir,
                name,
                Some(Uid::from_raw(entry.uid)),
                Some(Gid::from_raw(entry.gid)),
                AtFlags::SYMLINK_NOFOLLOW,
            );
        }
        if !matches!(entry.node, Node::Symlink { .. }) {
            rustix::fs::chmodat(dir, name, Mode::from(entry.mode), AtFlags::empty()).at("set the mode of", shown())?;
        }
        if entry.is_dir() { Ok(()) } else { self.time(dir, name, entry) }
    }

    fn time(&self, dir: &OwnedFd, name: &[u8], entry: &Entry) -> Result<()> {
        let seconds = self.epoch.map_or(entry.mtime.seconds, |epoch| entry.mtime.seconds.min(epoch));
        let time = Timespec { tv_sec: seconds, tv_nsec: i64::from(entry.mtime.nanos) };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .at("set the time of", self.shown(&entry.path))
    }
}
