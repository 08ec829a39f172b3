//! Makes a further directory for a layer that a rootfs holds twice, as COPY, `RUN rm`, COPY leaves
//! it. Overlayfs refuses a mount that names one lower directory twice (ELOOP, "conflicting lowerdir
//! path" in the kernel's log). Neither of the two layers can be left out, because the layers
//! between them count. So each repetition gets a directory of its own, whose files are hard links
//! to those of the first.
//!
//! The directory is made under a temporary name and renamed, by one process at a time (the layer's
//! lock). It lies in the layer's directory and is collected with it.

use super::unpack::{Twin, Writer};
use super::{LayerId, Layers};
use base::error::{At, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use store::remove::remove_tree;

impl Layers {
    /// The directory of a layer for the `more`-th repetition in a rootfs.
    pub(super) fn dir_again(&self, id: &LayerId, more: usize) -> Result<PathBuf> {
        let name = format!("again-{more}-{}", self.flavour_folder());
        let dir = self.folder(id).join(&name);
        if !dir.exists() {
            let first = self.dir(id)?;
            self.once(id, &name, || {
                let path = self.folder(id).join("lock");
                let lock = File::create(&path).at("open", &path)?;
                lock.lock().at("lock", &path)?;
                if dir.exists() { Ok(()) } else { self.link_dir(id, &first, &dir) }
            })?;
        }
        Ok(dir)
    }

    fn link_dir(&self, id: &LayerId, first: &Path, dir: &Path) -> Result<()> {
        let new = self.store().temp("dir");
        fs::create_dir(&new).at("make", &new)?;
        rustix::fs::chmod(&new, rustix::fs::Mode::from(0o755)).at("set the mode of", &new)?;
        let tree = self.tree(id)?;
        let open = |entry: &super::tree::Entry| super::open_beneath(first, &entry.path);
        let twin = Twin { tree: tree.clone(), dir: File::open(first).at("open", first)?, same: true };
        let writer = Writer { dir: &new, flavour: self.flavour(), open: &open, twin: Some(&twin), stage: None };
        let made = writer.write(&tree).and_then(|()| fs::rename(&new, dir).at("publish", dir));
        made.inspect_err(|_| {
            // A failed removal leaves a directory without a name, which goes with the store's
            // temporary directory.
            let _ = remove_tree(&new);
        })
    }
}
