//! The order of times in a rootfs. Programs such as make compare the times of files, so a result
//! that combines layers of several builds must not show an order that running the steps could not
//! have produced.
//!
//! The rules:
//!
//! 1. No key contains a time: a file that was only touched is found (as in BuildKit), with its
//!    earlier time.
//! 2. A result whose key covers everything below it comes with the layers below it. These were made
//!    on top of each other.
//! 3. If a step ran again with an equal result, its layer is replaced by the earlier one, unless a
//!    layer below is newer than that: then the new layer stays. Steps on top of it are found by
//!    content in both cases.
//! 4. A copy that is found by content is put on a base with a newer layer only if its files have
//!    the times that the sources have now. Otherwise the copy is made again.
//! 5. A copy that runs gives every file the time of its source, as in BuildKit, changed or not:
//!    keeping an earlier time of one file would reverse its order with the others.
//!
//! A copy with `--link` that is found by its written key is put on any base, as in BuildKit. Times
//! of directories do not count, nor those of here-documents and of directories that a copy makes.

use super::Job;
use base::error::Result;
use base::sync::lock;
use frontend::op;
use layer::LayerId;
use layer::rootfs::Rootfs;
use solver::Step;

impl Job<'_> {
    /// True if a layer of the base was made after the topmost layer of `found`. Layers of the same
    /// second count as newer, except those that the layer was made on.
    pub(super) fn is_newer(&self, base: &Rootfs, found: &Rootfs) -> Result<bool> {
        let Some((top, below)) = found.layers.split_last() else { return Ok(false) };
        let made = self.host.layers.record(top)?.created;
        let newer = |layer: &LayerId| Ok(self.host.layers.record(layer)?.created >= made);
        let others = base.layers.iter().filter(|layer| !below.contains(layer));
        others.map(newer).find(|newer| !matches!(newer, Ok(false))).unwrap_or(Ok(false))
    }

    /// True if an earlier layer of a copy has the times that the copy would set now. Returns false
    /// if that would need a download, because the sources are here.
    pub(super) fn has_times_of_now(&self, step: &Step<'_, Self>, copy: &op::Copy, found: &Rootfs) -> Result<bool> {
        let Some(top) = found.top().filter(|top| self.host.layers.needs_blob(top).is_none()) else { return Ok(false) };
        let tree = self.host.layers.tree(top)?;
        self.target_digest(step, copy)?;
        let same = match lock(&self.memo.facts).get(&step.id) {
            Some(facts) => facts.times().all(|(path, time)| tree.get(path).is_some_and(|there| there.mtime == time)),
            None => false,
        };
        if !same {
            lock(&self.memo.retimed).insert(step.id);
        }
        Ok(same)
    }
}
