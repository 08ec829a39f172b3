//! The order of times in a rootfs. Programs such as make compare the times of files, so a result that is put together of
//! layers from several builds must not show an order that running the steps could not have produced.
//!
//! The rules:
//!
//! 1. No key holds a time: what was only touched is found (as in BuildKit), with the times that it had.
//! 2. What is found by a key that speaks of all below it comes with the layers below it. They were made one on the other.
//! 3. The layer of a step that ran again and came out the same is replaced by the earlier one, unless something below
//!    it is newer than that: then the new layer stays. What stands on it is found by its content all the same.
//! 4. A copy that is found by content goes on a base in which something is newer only if its files have the times that
//!    the sources have now. Else the copy is made again.
//! 5. A copy that runs gives every file the time of its source, as in BuildKit, changed or not: to keep an earlier time
//!    of one file would turn its order with the others round.
//!
//! A copy with `--link` that is found by its written key is put on any base, as in BuildKit. Times of directories do not
//! count, nor those of here-documents and directories that a copy makes.

use super::Job;
use base::error::Result;
use base::sync::lock;
use frontend::op;
use layer::LayerId;
use layer::rootfs::Rootfs;
use solver::Step;

impl Job<'_> {
    /// Whether anything in a base was made after the topmost layer of a rootfs. Layers of one second count as newer, but
    /// for those that the layer was made on.
    pub(super) fn is_newer(&self, base: &Rootfs, found: &Rootfs) -> Result<bool> {
        let Some((top, below)) = found.layers.split_last() else { return Ok(false) };
        let made = self.host.layers.record(top)?.created;
        let newer = |layer: &LayerId| Ok(self.host.layers.record(layer)?.created >= made);
        let others = base.layers.iter().filter(|layer| !below.contains(layer));
        others.map(newer).find(|newer| !matches!(newer, Ok(false))).unwrap_or(Ok(false))
    }

    /// Whether an earlier layer of a copy has the times that the copy would give its files here. What is not known
    /// without fetching the layer counts as no: the sources are here.
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
