//! Publishes new layers: the upper directory of a RUN by a rename, the entries of a COPY as a plain
//! tar.

use super::sums::Summed;
use super::tree::{Entry, Node, Time, Tree};
use super::{Bytes, LayerId, LayerKind, Layers, Record, derive, encode, harvest, json, random_id, write};
use base::clock::now;
use base::error::{At, Result};
use base::sync::lock;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::lease;
use store::remove::remove_tree;

/// The directories of a RUN. Dropping it deletes everything that was not published.
pub struct Draft {
    folder: PathBuf,
    upper: PathBuf,
    work: PathBuf,
}

impl Draft {
    /// Overlayfs's upper directory, which the step writes to.
    pub fn upper(&self) -> &Path {
        &self.upper
    }
    /// Overlayfs's work directory.
    pub fn work(&self) -> &Path {
        &self.work
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After publishing, only the work directory is left.
        let _ = remove_tree(&self.folder).and(remove_tree(&self.work));
    }
}

impl Layers {
    /// Makes the directories for a RUN.
    pub fn draft(&self) -> Result<Draft> {
        let folder = self.0.store.temp("layer");
        // The work directory lies elsewhere: what the kernel leaves in it is deleted later, in the
        // background.
        let (upper, work) = (folder.join(self.0.flavour.folder()), self.0.store.temp("work"));
        let draft = Draft { folder, upper, work };
        for dir in [&draft.folder, &draft.upper, &draft.work] {
            fs::create_dir(dir).at("make", dir)?;
        }
        // The container's root shows the mode of the topmost layer's directory.
        let mode = rustix::fs::Mode::from(0o755);
        rustix::fs::chmod(&draft.upper, mode).at("set the mode of", &draft.upper)?;
        Ok(draft)
    }

    /// Publishes the upper directory of a RUN as a layer, by a rename. `window` is when the RUN
    /// ran, `earlier` the layer that it made before. `below` returns true if the rootfs under the
    /// RUN has a directory at a path.
    pub fn publish_upper(
        &self,
        draft: &Draft,
        window: (Time, Time),
        earlier: Option<&LayerId>,
        below: &dyn Fn(&[u8]) -> bool,
    ) -> Result<LayerId> {
        let mut tree = harvest::harvest(&draft.upper, self.0.flavour.opaque())?;
        for entry in &mut tree.entries {
            // Overlayfs also marks a directory that replaces a file, but a file has nothing to
            // hide.
            if entry.node == (Node::Dir { opaque: true }) && !below(&entry.path) {
                entry.node = Node::Dir { opaque: false };
            }
        }
        let ends = [window.0, window.1].map(|time| (time.seconds, time.nanos));
        let record = Record {
            kind: LayerKind::Run,
            created: window.1.seconds,
            window: Some(ends),
            blob: None,
            earlier: earlier.cloned(),
            below: None,
        };
        self.publish(&draft.folder, tree, &record)
    }

    /// Publishes entries as a layer, written as a plain tar. They need not be sorted; the last
    /// entry for a path counts. Files that `earlier` has are taken from there.
    pub fn publish_tar(&self, entries: Vec<(Entry, Bytes)>, earlier: Option<&LayerId>) -> Result<LayerId> {
        let folder = self.0.store.temp("layer");
        fs::create_dir(&folder).at("make", &folder)?;
        let source = earlier.and_then(|id| self.earlier_form(id));
        let result = write::write_copy(&folder, entries, source.as_ref()).and_then(|(tree, diff_id)| {
            derive::put_text(&folder.join("diff-id"), &diff_id.to_string())?;
            let earlier = earlier.filter(|_| source.is_some()).cloned();
            let (created, window, blob, below) = (now(), None, None, None);
            let record = Record { kind: LayerKind::Copy, created, window, blob, earlier, below };
            self.publish(&folder, tree, &record)
        });
        if result.is_err() {
            let _ = remove_tree(&folder);
        }
        result
    }

    /// The files of a layer that an earlier run of the same COPY made; `None` if it has no tar or
    /// is damaged.
    fn earlier_form(&self, id: &LayerId) -> Option<write::Earlier> {
        let folder = self.folder(id);
        let tar = File::open(folder.join("tar")).ok()?;
        let summed = Summed::open(&tar, &folder);
        Some(write::Earlier { tree: self.tree(id).ok()?, tar, summed })
    }

    fn publish(&self, folder: &Path, tree: Tree, record: &Record) -> Result<LayerId> {
        let id = random_id()?;
        let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).at("write", folder.join(name));
        write("tree", &encode::encode(&tree))?;
        write("record", &json(record)?)?;
        self.0
            .store
            .make(lease::layer(&id), || fs::rename(folder, self.folder(&id)).at("publish", self.folder(&id)))?;
        self.0.known.add(std::slice::from_ref(&id));
        lock(&self.0.trees).insert(id.clone(), Arc::new(tree));
        Ok(id)
    }
}
