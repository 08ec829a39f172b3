//! What this process has seen of the layers that it uses. They are immutable, and the collector leaves alone what is in
//! use: what was seen once need not be looked for again. Of layers that are not in use nothing is kept here.

use super::trust::Keys;
use super::{LayerId, Record};
use base::digest::Digest;
use base::sync::lock;
use std::collections::HashMap;
use std::sync::Mutex;

/// What was seen, by layer.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<HashMap<LayerId, Seen>>);

/// What was seen of one.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) record: Option<Record>,
    pub(super) content: Option<Digest>,
    /// Whether its dir is there.
    pub(super) dir: bool,
    /// The keys that vouch for it, if it needs any.
    pub(super) vouched: Option<Option<Keys>>,
}

impl Known {
    /// Layers that were taken into use.
    pub(super) fn add(&self, ids: &[LayerId]) {
        let mut all = lock(&self.0);
        for id in ids {
            all.entry(id.clone()).or_default();
        }
    }

    /// Whether all of them are in use, and so are there.
    pub(super) fn has(&self, ids: &[LayerId]) -> bool {
        let all = lock(&self.0);
        ids.iter().all(|id| all.contains_key(id))
    }

    pub(super) fn get<T>(&self, id: &LayerId, what: impl FnOnce(&Seen) -> T) -> Option<T> {
        lock(&self.0).get(id).map(what)
    }

    pub(super) fn note(&self, id: &LayerId, what: impl FnOnce(&mut Seen)) {
        lock(&self.0).get_mut(id).map(what);
    }

    /// It is gone.
    pub(super) fn forget(&self, id: &LayerId) {
        lock(&self.0).remove(id);
    }
}
