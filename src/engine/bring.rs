//! Brings the bytes of layers when they are needed: of bases from where they come, of others from the caches that promised
//! them. A layer that no cache really has is forgotten, and the build begins again without it.

use super::Machine;
use crate::error::{Error, Kind, Result};
use crate::layer::{BaseBlob, LayerId};
use crate::registry::client::Watch;
use crate::remote::side_by_side;
use solver::{Event, StepId};
use std::time::SystemTime;

/// Blobs of caches that are fetched at once.
const AT_ONCE: usize = 4;

impl Machine {
    /// Brings the blobs that are missing to read these layers. Ask before `tree`, `dir` or `open` of a base.
    pub fn fetch(&self, layers: &[LayerId], step: u32) -> Result<()> {
        let missing = layers.iter().filter_map(|id| Some((id.clone(), self.layers.needs_blob(id)?))).collect();
        self.fetch_blobs(missing, step)
    }

    /// Brings the blobs that an export of these images must contain.
    pub fn fetch_all(&self, images: &[crate::image::Image], step: u32) -> Result<()> {
        let layers = images.iter().flat_map(|image| &image.layers);
        let missing = layers.filter_map(|id| Some((id.clone(), self.layers.missing_blob(id)?))).collect();
        self.fetch_blobs(missing, step)
    }

    /// Brings what is missing of layers that travelled, so that they can be packed anew.
    pub fn fetch_travelled(&self, layers: &[LayerId], step: u32) -> Result<()> {
        let travelled: Vec<LayerId> = layers.iter().filter(|id| self.layers.travelled(id)).cloned().collect();
        self.fetch(&travelled, step)
    }

    fn fetch_blobs(&self, mut missing: Vec<(LayerId, BaseBlob)>, step: u32) -> Result<()> {
        missing.sort_by_key(|(_, blob)| blob.digest);
        missing.dedup_by_key(|(_, blob)| blob.digest);
        if missing.is_empty() {
            return Ok(());
        }
        let progress = |what: &str, done: u64, total: u64| {
            let (step, what, total) = (StepId(step), what.to_owned(), Some(total));
            self.observer.event(SystemTime::now(), &Event::Transfer { step, what, done, total });
        };
        let (travelled, bases): (Vec<_>, Vec<_>) = missing.into_iter().partition(|(id, _)| self.layers.travelled(id));
        let bases: Vec<BaseBlob> = bases.into_iter().map(|(_, blob)| blob).collect();
        self.phase(step, "pull", || {
            self.images.fetch(&bases, &progress, &|| self.stop.is_stopped())?;
            side_by_side(&travelled, AT_ONCE, &|(id, blob)| self.bring(id, blob, &progress)).into_iter().collect()
        })
    }

    fn bring(&self, id: &LayerId, blob: &BaseBlob, progress: &(dyn Fn(&str, u64, u64) + Sync)) -> Result<()> {
        let what = format!("{:.19}", blob.digest);
        let watch = Watch { progress: &|done| progress(&what, done, blob.size), stop: &|| self.stop.is_stopped() };
        // What the record says of the plain bytes is only as true as its writer: it is checked before anybody uses them.
        let brought = self.remote.bring(blob, &watch).or_else(|error| match self.images.origin(&blob.digest) {
            // The repository that promised it in an earlier build, which this one need not name.
            Some(_) if error.kind() == Kind::Lost => {
                self.images.fetch(std::slice::from_ref(blob), progress, &|| self.stop.is_stopped())
            }
            _ => Err(error),
        });
        let brought = brought.and_then(|()| self.layers.verify(id));
        brought.map_err(|error| {
            if self.stop.is_stopped() || error.kind() == Kind::Interrupted {
                return Error::new(Kind::Interrupted, "stopped");
            }
            self.remote.complain(blob, &error);
            self.layers.forget(id);
            self.remote.distrust(blob);
            Error::new(Kind::Lost, "a layer of a cache can't be had").because(error)
        })
    }
}
