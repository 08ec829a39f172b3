//! type=image: puts images in the store under their names, and with push=true also in a registry.
//! Manifest and blobs are made when they are needed.

use super::registry::Push;
use super::{Exported, Exporter, Wanted, Watch};
use crate::image::manifest::Packing;
use crate::image::{Image, Refs, refs};
use base::digest::Digest;
use base::error::Result;
use layer::Layers;
use std::collections::HashSet;

struct Named {
    names: Vec<String>,
    now: i64,
    push: Option<Push>,
}

pub(super) fn image(wanted: &Wanted) -> Result<Box<dyn Exporter>> {
    wanted.packing(true)?;
    let push = wanted.attributes.flag("push", false)?.then(|| Push::of(wanted)).transpose()?;
    // An image that is pushed by its digest gets no name.
    let by_digest = wanted.attributes.flag("push-by-digest", false)?;
    let names = wanted.all_names().into_iter().filter(|_| !by_digest);
    Ok(Box::new(Named { names: names.map(|name| refs::normal(&name)).collect::<Result<_>>()?, now: wanted.now, push }))
}

impl Exporter for Named {
    fn needs_bytes(&self) -> bool {
        self.push.as_ref().is_some_and(Exporter::needs_bytes)
    }

    fn place(&self, images: &[Image], layers: &Layers, watch: &Watch<'_>) -> HashSet<Digest> {
        self.push.as_ref().map(|push| push.place(images, layers, watch)).unwrap_or_default()
    }

    fn packs(&self) -> Option<Packing> {
        self.push.as_ref().and_then(Exporter::packs)
    }

    fn title(&self) -> &'static str {
        self.push.as_ref().map_or("naming the image", Exporter::title)
    }

    fn export(&self, images: &[Image], layers: &Layers, watch: &Watch<'_>) -> Result<Exported> {
        let refs = Refs::new(layers.store());
        self.names.iter().try_for_each(|name| refs.put(name, images, self.now))?;
        match &self.push {
            Some(push) => push.export(images, layers, watch),
            None => Ok(Exported { descriptor: None, names: self.names.clone() }),
        }
    }
}
