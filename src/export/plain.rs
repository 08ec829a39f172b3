//! type=tar: the files of the image as one tarball, without layers.

use super::output::Output;
use super::{Exported, Exporter, Wanted, Watch};
use crate::image::Image;
use base::error::Result;
use layer::tar::write;
use layer::tree::{Entry, Node};
use layer::view::View;
use layer::{LayerId, Layers};
use std::collections::HashMap;
use std::path::PathBuf;

struct Tar {
    dest: Option<PathBuf>,
    split: Option<bool>,
}

pub(super) fn tar(wanted: &Wanted) -> Result<Box<dyn Exporter>> {
    let split = wanted.split()?;
    Ok(Box::new(Tar { dest: wanted.dest()?, split }))
}

/// The directory of a platform in an output of several: `linux_amd64`.
pub(super) fn folder(image: &Image) -> String {
    image.platform.to_string().replace('/', "_")
}

impl Exporter for Tar {
    fn needs_bytes(&self) -> bool {
        true
    }

    fn title(&self) -> &'static str {
        "exporting the files as a tarball"
    }

    fn export(&self, images: &[Image], layers: &Layers, _: &Watch<'_>) -> Result<Exported> {
        let mut out = Output::create(self.dest.as_deref(), 0)?;
        for image in images {
            let below = if self.split.unwrap_or(images.len() > 1) { Some(folder(image)) } else { None };
            if let Some(below) = &below {
                out.directory(below)?;
            }
            let mut first: HashMap<(LayerId, u32), Vec<u8>> = HashMap::new();
            for (layer, entry) in View::new(layers, &image.layers)?.all()? {
                if entry.path.is_empty() {
                    continue;
                }
                let path =
                    below.as_ref().map_or(entry.path.to_vec(), |below| [below.as_bytes(), b"/", &entry.path].concat());
                self.entry(&mut out, layers, image, &layer, &entry, path, &mut first)?;
            }
        }
        out.finish()?;
        Ok(Exported::default())
    }
}

impl Tar {
    #[expect(clippy::too_many_arguments, reason = "one entry with all that surrounds it")]
    fn entry(
        &self,
        out: &mut Output,
        layers: &Layers,
        image: &Image,
        layer: &LayerId,
        entry: &Entry,
        path: Vec<u8>,
        first: &mut HashMap<(LayerId, u32), Vec<u8>>,
    ) -> Result<()> {
        let group = entry.link.map(|link| (layer.clone(), link));
        if let Some(earlier) = group.as_ref().and_then(|group| first.get(group)) {
            return out.raw(&write::header(&path, entry, write::Kind::Link(earlier), image.epoch));
        }
        out.raw(&write::header(&path, entry, write::Kind::Node, image.epoch))?;
        if let Node::File { size, .. } = entry.node {
            out.content(layers.open(layer, entry)?, size)?;
        }
        if let Some(group) = group {
            first.insert(group, path);
        }
        Ok(())
    }
}
