//! The end of a build: exporters, `--iidfile`, `--metadata-file`.

use super::Build;
use crate::export::{self, Exported};
use crate::image::Image;
use crate::progress::timings::Timings;
use base::attributes::Attributes;
use base::clock::now;
use base::error::{At as _, Error, Kind, Result};
use base::outside;
use serde_json::{Value, json};
use solver::Event;
use solver::event::told;
use std::path::Path;

impl Build<'_> {
    /// Runs all exporters.
    pub(super) fn export(&mut self, images: &[Image]) -> Result<Exported> {
        self.export_all(images).map_err(|error| error.within(Kind::Export))
    }

    fn export_all(&mut self, images: &[Image]) -> Result<Exported> {
        let mut outputs = self.request.outputs.clone();
        if !self.request.names.is_empty() && !outputs.iter().any(|output| output.attributes.kind == "image") {
            let now = outputs.first().map_or_else(|| self.request.epoch.unwrap_or_else(now), |output| output.now);
            outputs.push(export::Wanted {
                attributes: Attributes::new("image", []),
                names: self.request.names.clone(),
                now,
                ..Default::default()
            });
        }
        let mut exported = Exported::default();
        for output in &outputs {
            let exporter = export::exporter(output)?;
            let step = self.take_step();
            let progress = |what: &str, done: u64, total: u64| {
                self.event(&Event::Transfer { step, what: what.to_owned(), done, total: Some(total) });
            };
            let watch = export::Watch { progress: &progress, stop: &|| self.host.stop.is_stopped() };
            let made = told(&*self.host.observer, step, exporter.title().to_owned(), || {
                if exporter.needs_bytes() {
                    let placed = exporter.place(images, &self.host.layers, &watch);
                    self.host.fetch_all(images, &placed, step)?;
                }
                exporter.export(images, &self.host.layers, &watch)
            })?;
            exported.descriptor = made.descriptor.or(exported.descriptor);
            exported.names.extend(made.names);
        }
        Ok(exported)
    }

    /// Writes the files of `--iidfile` and `--metadata-file`.
    pub(super) fn write_files(&self, images: &[Image], metadata: &Value) -> Result<()> {
        let Some(first) = images.first() else { return Ok(()) };
        if let Some(path) = &self.request.iidfile {
            write_file(path, &first.id.to_string())?;
        }
        if let Some(path) = &self.request.metadata_file {
            let text = serde_json::to_string_pretty(metadata)
                .map_err(|cause| Error::new(Kind::Export, "cannot write the metadata").because(cause))?;
            write_file(path, &(text + "\n"))?;
        }
        Ok(())
    }
}

/// The metadata of images that were exported.
pub(super) fn metadata(images: &[Image], exported: &Exported, timings: Option<&Timings>) -> Value {
    let mut metadata = json!({});
    if let Some(first) = images.first() {
        metadata["containerimage.config.digest"] = json!(first.id.to_string());
    }
    if let Some(descriptor) = &exported.descriptor {
        metadata["containerimage.digest"] = json!(descriptor.digest().to_string());
        metadata["containerimage.descriptor"] = json!(descriptor);
    }
    let mut names = exported.names.clone();
    names.sort();
    names.dedup();
    if !names.is_empty() {
        metadata["image.name"] = json!(names.join(","));
    }
    if let Some(timings) = timings {
        metadata["kiln.timings"] = timings.json();
    }
    metadata
}

/// Writes a file for the user.
fn write_file(path: &Path, text: &str) -> Result<()> {
    outside::write(path, text.as_bytes()).at("write", path).map_err(|error| error.within(Kind::Export))
}
