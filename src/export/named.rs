//! type=image: the store, under the names that were given. Manifest and blobs are made when somebody wants them.

use super::{Exported, Exporter, Wanted};
use crate::error::Result;
use crate::image::{Image, Refs, refs};
use crate::layer::Layers;

struct Named {
    names: Vec<String>,
    now: i64,
}

pub(super) fn image(wanted: &Wanted) -> Result<Box<dyn Exporter>> {
    wanted.compression()?;
    let names = wanted.all_names().iter().map(|name| refs::normal(name)).collect::<Result<_>>()?;
    Ok(Box::new(Named { names, now: wanted.now }))
}

impl Exporter for Named {
    fn needs_bytes(&self) -> bool {
        false
    }

    fn title(&self) -> &'static str {
        "naming the image"
    }

    fn export(&self, images: &[Image], layers: &Layers) -> Result<Exported> {
        let refs = Refs::new(layers.store());
        self.names.iter().try_for_each(|name| refs.put(name, images, self.now))?;
        Ok(Exported { descriptor: None, names: self.names.clone() })
    }
}
