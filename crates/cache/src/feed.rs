//! Downloads the blobs of imported layers from any cache that has them. This module knows blobs and
//! the caches that promised them.

use super::lookup::{Lookups, Source, lost};
use base::digest::Digest;
use base::error::{Error, Kind, Result};
use base::sync::lock;
use layer::BaseBlob;
use registry::client::Watch;
use solver::{Event, Observer};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;
use store::Store;

/// The sources of blobs.
pub(super) struct Feed {
    pub(super) lookups: Lookups,
    store: Store,
    observer: Arc<dyn Observer>,
    /// The source that promised a blob.
    promised: Mutex<HashMap<Digest, usize>>,
    /// The blobs that are being downloaded; each has a lock.
    coming: Mutex<HashMap<Digest, Arc<Mutex<()>>>>,
    /// The blobs that were promised, but were missing or wrong.
    distrusted: Mutex<HashSet<Digest>>,
}

impl Feed {
    pub(super) fn new(lookups: Lookups, store: &Store, observer: &Arc<dyn Observer>) -> Feed {
        Feed {
            lookups,
            store: store.clone(),
            observer: Arc::clone(observer),
            promised: Mutex::default(),
            coming: Mutex::default(),
            distrusted: Mutex::default(),
        }
    }

    /// Records that a source has a blob.
    pub(super) fn promise(&self, blob: &Digest, source: usize) {
        lock(&self.promised).insert(*blob, source);
    }

    /// The repository that has a blob, according to its source.
    pub(super) fn origin(&self, blob: &Digest) -> Option<String> {
        use super::Backend as _;
        let source = *lock(&self.promised).get(blob)?;
        self.source(source)?.place.backend.origin()
    }

    fn source(&self, at: usize) -> Option<&Source> {
        self.lookups.sources().get(at)
    }

    /// Downloads a blob and checks it.
    pub(super) fn bring(&self, blob: &BaseBlob, watch: &Watch<'_>) -> Result<()> {
        use super::Backend as _;
        let turn = Arc::clone(lock(&self.coming).entry(blob.digest).or_default());
        let _turn = lock(&turn);
        if self.store.has(&blob.digest) {
            return Ok(());
        }
        let first = lock(&self.promised).get(&blob.digest).copied();
        let all = self.lookups.sources();
        let order = first.into_iter().chain((0..all.len()).filter(|at| Some(*at) != first));
        for source in order.filter_map(|at| all.get(at)).filter(|source| !source.is_broken()) {
            match source.place.backend.get_blob(blob, watch) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == Kind::Interrupted => return Err(error),
                Err(error) => source.place.warn("layer", &lost(&error)),
            }
        }
        Err(Error::new(Kind::Lost, format!("no cache has the blob {}", blob.digest)))
    }

    /// Warns that an imported layer differs from its record.
    pub(super) fn complain(&self, blob: &BaseBlob, error: &Error) {
        let source = lock(&self.promised).get(&blob.digest).copied();
        let text = lost(error);
        match source.and_then(|at| self.source(at)) {
            Some(source) => source.place.warn("layer", &text),
            // An earlier build recorded the promise of a cache that this build does not name.
            None => self.observer.event(SystemTime::now(), &Event::Warning { text: format!("cache: {text}") }),
        }
    }

    /// Rejects all records that name this blob from now on.
    pub(super) fn distrust(&self, blob: &Digest) {
        lock(&self.distrusted).insert(*blob);
    }

    pub(super) fn is_distrusted(&self, blob: &Digest) -> bool {
        lock(&self.distrusted).contains(blob)
    }
}
