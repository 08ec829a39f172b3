//! Objects of other caches that this machine has read or written: they never change, so they are not read again.
//!
//! ```text
//! <root>/remote-objects-v1/<64 hex of what --cache-from says>/<name of the object>
//! ```
//! Locking rule: none; files are written under a temporary name and renamed, and can all be lost. What they hold is checked
//! each time like what comes from the cache itself. GC rule: bounded here, to 16 caches; of each only what was listed last
//! stays.

use super::LARGEST_OBJECT;
use crate::record;
use base::digest::Digest;
use base::read;
use std::fs;
use std::path::PathBuf;
use store::Store;
use store::remove::remove_tree;

/// Caches that stay.
const MOST_PLACES: usize = 16;

/// The objects of one cache.
#[derive(Clone, Debug)]
pub(super) struct Copies {
    store: Store,
    folder: PathBuf,
}

impl Copies {
    /// The copies of the cache that is noted so.
    pub(super) fn of(store: &Store, from: &str) -> Copies {
        let folder = store.root().join("remote-objects-v1").join(Digest::of(from.as_bytes()).hex());
        Copies { store: store.clone(), folder }
    }

    /// An object, if there is a copy.
    pub(super) fn get(&self, name: &str) -> Option<Vec<u8>> {
        read::short(LARGEST_OBJECT, &self.folder.join(name)).ok()
    }

    /// Keeps a copy. What can't be kept is read again.
    pub(super) fn put(&self, name: &str, bytes: &[u8]) {
        record::remember(&self.store, &self.folder.join(name), bytes);
    }

    /// Removes all others, and caches that were not used for long.
    pub(super) fn keep(&self, names: &[&str]) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if !names.iter().any(|name| entry.file_name() == *name) {
                // Another build may have been faster.
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
