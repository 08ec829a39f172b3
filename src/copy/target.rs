//! What a copy looks up in its target: where the destination leads, what stands on the way and there, and the ids
//! behind names. That, and nothing else of the target, enters the settled key.

use super::owner;
use super::select::Group;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Kind, Result};
use crate::layer::files::{Files, Opener, resolve};
use crate::layer::tree::{Entry, Time, child};
use frontend::op;

/// What was found in the target.
pub struct Facts<'a> {
    files: Option<&'a dyn Files>,
    /// The destination without links.
    dest: Box<[u8]>,
    /// It is written as a directory.
    slash: bool,
    /// The ids behind `--chown`.
    pub(super) owner: Option<(u32, u32)>,
}

/// Where a source goes.
pub(super) enum Place {
    /// It becomes this path.
    File(Box<[u8]>),
    /// It, or what is in it, goes into this directory.
    Directory(Box<[u8]>),
}

/// A target without anything in it.
pub(super) struct Nothing;

impl Files for Nothing {
    fn lookup(&self, path: &[u8]) -> Result<Option<Entry>> {
        Ok(path.is_empty().then(|| Entry::directory(b"", Time::default())))
    }
    fn list(&self, _: &[u8]) -> Result<Vec<Box<[u8]>>> {
        Ok(Vec::new())
    }
    fn opener(&self, _: &[u8]) -> Opener {
        Box::new(|| Err(Error::new(Kind::Dockerfile, "there is no file in an empty image")))
    }
    fn digest(&self, _: &[u8]) -> Result<Digest> {
        Err(Error::new(Kind::Dockerfile, "there is no file in an empty image"))
    }
}

/// Looks up what a copy needs to know of its target; none for a linked one.
pub fn facts<'a>(copy: &op::Copy, base: Option<&'a dyn Files>) -> Result<Facts<'a>> {
    let files: &dyn Files = base.unwrap_or(&Nothing);
    let slash = copy.dest.ends_with('/');
    let found = resolve(files, copy.dest.as_bytes())?;
    let owner = copy.owner.as_deref().map(|owner| owner::lookup(files, owner)).transpose()?;
    Ok(Facts { files: base, dest: found.path, slash, owner })
}

impl Facts<'_> {
    /// What stands below the layer at a path.
    pub(super) fn below(&self, path: &[u8]) -> Result<Option<Entry>> {
        self.files.map_or(Ok(None), |files| files.lookup(path))
    }

    /// Where a source goes, given what stands there now.
    pub(super) fn place_for(&self, group: &Group, at: impl Fn(&[u8]) -> Result<Option<Entry>>) -> Result<Place> {
        let dest = &self.dest;
        if group.rooted || dest.is_empty() {
            return Ok(Place::Directory(dest.clone()));
        }
        let there = at(dest)?;
        if self.slash || there.as_ref().is_some_and(Entry::is_dir) {
            return Ok(Place::Directory(dest.clone()));
        }
        Ok(Place::File(dest.clone()))
    }

    /// A place below the destination as a path of the rootfs, links followed in the target: for archives.
    pub(super) fn resolve(&self, path: &[u8]) -> Result<Box<[u8]>> {
        self.files.map_or_else(|| Ok(path.into()), |files| resolve(files, path).map(|found| found.path))
    }

    pub(super) fn dest(&self) -> &[u8] {
        &self.dest
    }

    /// What enters the settled key: the way to the destination, and what stands where the selection goes.
    pub fn digest(&self, selection: &super::Selection) -> Result<Digest> {
        let mut hasher = Hasher::default();
        hasher.update(&self.dest);
        hasher.update(&[0, u8::from(self.slash)]);
        hasher.update(format!("{:?}", self.owner).as_bytes());
        let Some(files) = self.files else { return Ok(hasher.finish()) };
        let mut add = |path: &[u8]| -> Result<()> {
            // Of a file only that it is there matters: it is replaced. Directories are kept as they are.
            let entry = files.lookup(path)?;
            let kept = entry.map(|entry| entry.is_dir().then_some((entry.mode, entry.uid, entry.gid, entry.mtime, entry.xattrs)));
            hasher.update(&(path.len() as u64).to_le_bytes());
            hasher.update(path);
            hasher.update(format!("{kept:?}").as_bytes());
            Ok(())
        };
        super::prefixes(&self.dest).try_for_each(&mut add)?;
        for group in &selection.groups {
            for item in &group.items {
                add(&if item.path.is_empty() { child(&self.dest, &group.name) } else { join(&self.dest, &item.path) })?;
            }
        }
        Ok(hasher.finish())
    }
}

fn join(dir: &[u8], inside: &[u8]) -> Box<[u8]> {
    if dir.is_empty() { inside.into() } else { child(dir, inside) }
}
