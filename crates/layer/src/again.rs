//! A layer that a rootfs holds twice: two equal steps with others between them, such as COPY, `RUN rm`, COPY. Overlayfs
//! takes a directory once in a mount (ELOOP, "conflicting lowerdir path" in the kernel's log), and of two equal layers
//! neither can be left out, since what is between them counts. So each further one gets a directory of its own, whose
//! files are hard links to those of the first.
//!
//! It is made under a temporary name and renamed, by one process at a time (the layer's lock). It lies in the layer's
//! folder and is collected with it.

use super::unpack::{Twin, Writer};
use super::{LayerId, Layers};
use base::error::{At, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use store::remove::remove_tree;

impl Layers {
    /// The directory of a layer for the `more`-th time that a rootfs holds it, beside the first.
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
            // What is left over has no name and goes with the store's temporary folder.
            let _ = remove_tree(&new);
        })
    }
}
