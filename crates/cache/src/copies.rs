//! Copies of objects of other caches that this machine has read or written. Objects never change,
//! so they are not read again.
//!
//! ```text
//! <root>/remote-objects-v1/<64 hex of what --cache-from says>/<name of the object>
//! ```
//! Locking rule: none. Files are written under a temporary name and renamed, and can all be lost.
//! Their content is checked each time, like a download. GC rule: limited here to 16 caches; of each
//! cache only the objects of its last list stay.

use super::LARGEST_OBJECT;
use crate::record;
use base::digest::Digest;
use base::read;
use std::fs;
use std::path::PathBuf;
use store::Store;
use store::remove::remove_tree;

/// The number of caches that are kept.
const MOST_PLACES: usize = 16;

/// The copies of one cache.
#[derive(Clone, Debug)]
pub(super) struct Copies {
    store: Store,
    folder: PathBuf,
}

impl Copies {
    /// The copies of a cache, by its note.
    pub(super) fn of(store: &Store, from: &str) -> Copies {
        let folder = store.root().join("remote-objects-v1").join(Digest::of(from.as_bytes()).hex());
        Copies { store: store.clone(), folder }
    }

    /// The copy of an object.
    pub(super) fn get(&self, name: &str) -> Option<Vec<u8>> {
        read::short(LARGEST_OBJECT, &self.folder.join(name)).ok()
    }

    /// Keeps a copy; a failure means that the object is read again.
    pub(super) fn put(&self, name: &str, bytes: &[u8]) {
        record::remember(&self.store, &self.folder.join(name), bytes);
    }

    /// Removes all other copies, and those of caches that were not used for long.
    pub(super) fn keep(&self, names: &[&str]) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if !names.iter().any(|name| entry.file_name() == *name) {
                // Another build may have removed it first.
                let _ = fs::remove_file(entry.path());
            }
        }
        let places = self.folder.parent().map(fs::read_dir);
        let places = places.into_iter().flatten().flatten().flatten();
        let mut places: Vec<_> =
            places.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
        places.sort_by(|one, two| two.cmp(one));
        for (_, folder) in places.iter().skip(MOST_PLACES).filter(|(_, folder)| *folder != self.folder) {
            let _ = remove_tree(folder);
        }
    }
}
