//! `kiln pull`: downloads an image with all its blobs, and names it in the store.

use super::{Image, Refs};
use crate::source::image::{Images, Pull};
use base::digest::Digest;
use base::error::{Error, Kind, Result};
use frontend::config::ImageConfig;
use frontend::platform::Platform;
use layer::Layers;
use layer::rootfs::Rootfs;
use registry::Settings;

/// Pulls an image and returns `name@digest`.
pub fn pull(layers: &Layers, name: &str, platform: &Platform, settings: &Settings, now: i64) -> Result<String> {
    if name.contains("://") {
        return Err(Error::new(Kind::Usage, format!("`{name}` is no image of a registry")));
    }
    let source = Images::new(layers.store().clone(), settings);
    let pinned = source.resolve(name, platform, Pull::Always)?;
    let blobs: Vec<_> = pinned.layers.iter().map(|layer| layer.blob.clone()).collect();
    let missing: Vec<_> = blobs.into_iter().filter(|blob| !layers.store().has(&blob.digest)).collect();
    source.fetch(&missing, &|_, _, _| {}, &|| false)?;
    let mut rootfs = Rootfs::default();
    for layer in &pinned.layers {
        rootfs.layers.push(layers.base(layer.diff_id, &layer.blob, rootfs.top())?);
    }
    let id = Digest::of(&pinned.config);
    layers.store().put_blob(&pinned.config)?;
    let platform = platform_of(&pinned.config).unwrap_or_else(|| platform.clone());
    let manifest = Some(pinned.digest);
    let image = Image { config: pinned.config, id, layers: rootfs.layers, platform, epoch: None, manifest };
    Refs::new(layers.store()).put(name, &[image], now)?;
    let short = pinned.name.split_once('@').map_or(pinned.name.as_str(), |(name, _)| name);
    Ok(format!("{short}@{}", pinned.digest))
}

/// The platform in the config: the registry may have had only an image for another platform.
fn platform_of(config: &[u8]) -> Option<Platform> {
    let config = ImageConfig::read(config).ok()?;
    let variant = config.variant.map_or_else(String::new, |variant| format!("/{variant}"));
    Platform::parse(&format!("{}/{}{variant}", config.os, config.architecture)).ok()
}
