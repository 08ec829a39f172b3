//! Remembers facts about the layers that this process uses. Layers are immutable and the collector
//! keeps those in use, so nothing has to be read twice. Layers that are not in use are not
//! remembered.

use super::trust::Keys;
use super::{LayerId, Record};
use base::digest::Digest;
use base::sync::lock;
use std::collections::HashMap;
use std::sync::Mutex;

/// The facts by layer.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<HashMap<LayerId, Seen>>);

/// The facts about one layer.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) record: Option<Record>,
    pub(super) content: Option<Digest>,
    /// True if its directory for this identity exists.
    pub(super) dir: bool,
    /// The keys that vouch for it; the inner `None` if it needs none.
    pub(super) vouched: Option<Option<Keys>>,
}

impl Known {
    /// Adds layers that were taken into use.
    pub(super) fn add(&self, ids: &[LayerId]) {
        let mut all = lock(&self.0);
        for id in ids {
            all.entry(id.clone()).or_default();
        }
    }

    /// True if all of them are in use, so that they exist.
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

    /// Removes a layer that was deleted.
    pub(super) fn forget(&self, id: &LayerId) {
        lock(&self.0).remove(id);
    }
}
