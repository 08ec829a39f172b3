//! Manifests and indexes of images (OCI image specification, manifest.md and image-index.md;
//! Docker's schema 2).

use super::Image;
use base::digest::Digest;
use base::error::{Error, Kind, Result};
use layer::{BaseBlob, Compression, Layers, PackedBlob};
use oci_spec::image::{
    Descriptor, DescriptorBuilder, ImageIndexBuilder, ImageManifestBuilder, MediaType, PlatformBuilder,
};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::str::FromStr as _;
use store::Store;

const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The owner of the media types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    /// OCI media types.
    Oci,
    /// Docker media types.
    Docker,
}

/// A manifest whose blobs are all in the store.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The descriptor of the manifest.
    pub descriptor: Descriptor,
    /// The manifest itself.
    pub manifest: Vec<u8>,
    /// The blobs that it names, the config first.
    pub blobs: Vec<(Digest, u64)>,
    /// The digests of the layer blobs, the lowest first.
    pub layers: Vec<Digest>,
}

/// The settings for making blobs.
#[derive(Clone, Copy, Debug)]
pub struct Packing {
    /// The compression of layers that were built here.
    pub compression: Compression,
    /// True if it applies to layers of the base too.
    pub force: bool,
    /// The media types.
    pub flavor: Flavor,
    /// True if the media types were requested, which then also changes a pulled image.
    pub flavor_asked: bool,
}

fn bad(cause: impl std::fmt::Display + 'static) -> Error {
    Error::new(Kind::Export, "cannot write a manifest").because(cause)
}

/// A descriptor. The digest is kiln's own, so it always parses.
fn descriptor(media_type: &str, digest: &Digest, size: u64) -> Result<DescriptorBuilder> {
    let digest = oci_spec::image::Digest::from_str(&digest.to_string()).map_err(bad)?;
    Ok(DescriptorBuilder::default().media_type(MediaType::from(media_type)).digest(digest).size(size))
}

/// Makes the blobs and the manifest of an image. A pulled image keeps its own.
pub fn pack(image: &Image, layers: &Layers, how: Packing) -> Result<Packed> {
    pack_but(image, layers, how, &HashSet::new())
}

/// The same, without the bytes of blobs that the destination already has.
pub fn pack_but(image: &Image, layers: &Layers, how: Packing, placed: &HashSet<Digest>) -> Result<Packed> {
    if let Some(original) = original(image, layers.store())?
        && !how.force
        && (!how.flavor_asked || how.flavor == original.flavor)
    {
        return original.packed(image);
    }
    let docker = how.flavor == Flavor::Docker;
    let mut packed = Vec::new();
    let mut blobs = vec![(image.id, image.config.len() as u64)];
    for layer in &image.layers {
        let known = layers.known_blob(layer, how.compression, how.force, image.epoch);
        let blob = match known.filter(|blob| placed.contains(&blob.digest)) {
            Some(blob) => blob,
            None => layers.blob(layer, how.compression, how.force, image.epoch)?,
        };
        blobs.push((blob.digest, blob.size));
        packed.push(blob);
    }
    let config_type = if docker { DOCKER_CONFIG } else { "application/vnd.oci.image.config.v1+json" };
    let config = descriptor(config_type, &image.id, image.config.len() as u64)?.build().map_err(bad)?;
    let layer = |blob: &PackedBlob| {
        descriptor(&layer_type(&blob.media_type, docker), &blob.digest, blob.size)?.build().map_err(bad)
    };
    let media_type = if docker { DOCKER_MANIFEST } else { OCI_MANIFEST };
    let manifest = ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::from(media_type))
        .config(config)
        .layers(packed.iter().map(layer).collect::<Result<Vec<_>>>()?)
        .build()
        .map_err(bad)?;
    let bytes = serde_json::to_vec(&manifest).map_err(bad)?;
    let descriptor = described(image, media_type, &bytes)?;
    layers.store().put_blob(&image.config)?;
    Ok(Packed { descriptor, manifest: bytes, blobs, layers: packed.iter().map(|blob| blob.digest).collect() })
}

/// The descriptor of an image's manifest.
fn described(image: &Image, media_type: &str, manifest: &[u8]) -> Result<Descriptor> {
    let platform = &image.platform;
    let mut place = PlatformBuilder::default().os(platform.os.as_str()).architecture(platform.architecture.as_str());
    if let Some(variant) = &platform.variant {
        place = place.variant(variant.clone());
    }
    descriptor(media_type, &Digest::of(manifest), manifest.len() as u64)?
        .platform(place.build().map_err(bad)?)
        .build()
        .map_err(bad)
}

/// The manifest that an image was pulled with.
pub struct Original {
    bytes: Vec<u8>,
    media_type: String,
    flavor: Flavor,
    config: BaseBlob,
    /// The layer blobs, the lowest first.
    layers: Vec<BaseBlob>,
}

/// The manifest that an image was pulled with, if it was pulled.
pub fn original(image: &Image, store: &Store) -> Result<Option<Original>> {
    let Some(digest) = &image.manifest else { return Ok(None) };
    let damaged =
        || Error::new(Kind::Store, format!("the manifest {digest} can't be read")).hint("pull the image again");
    let bytes = store.read_blob(digest, 8 << 20)?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|cause| damaged().because(cause))?;
    let blob = |value: &Value| {
        Some(BaseBlob {
            digest: value["digest"].as_str()?.parse().ok()?,
            size: value["size"].as_u64()?,
            media_type: value["mediaType"].as_str().unwrap_or_default().to_owned(),
        })
    };
    let config = blob(&value["config"]).ok_or_else(damaged)?;
    let listed = value["layers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let layers = listed.iter().map(|layer| blob(layer).ok_or_else(damaged)).collect::<Result<Vec<_>>>()?;
    // A manifest of OCI may omit its media type.
    let said = value["mediaType"].as_str().map(str::to_owned);
    let docker = config.media_type == DOCKER_CONFIG;
    let media_type = said.unwrap_or_else(|| if docker { DOCKER_MANIFEST } else { OCI_MANIFEST }.to_owned());
    let flavor = if media_type == DOCKER_MANIFEST { Flavor::Docker } else { Flavor::Oci };
    Ok(Some(Original { bytes, media_type, flavor, config, layers }))
}

impl Original {
    /// The layer blobs that the store lacks.
    pub fn missing(&self, store: &Store) -> Vec<BaseBlob> {
        self.layers.iter().filter(|blob| !store.has(&blob.digest)).cloned().collect()
    }

    fn packed(self, image: &Image) -> Result<Packed> {
        let descriptor = described(image, &self.media_type, &self.bytes)?;
        let layers: Vec<Digest> = self.layers.iter().map(|blob| blob.digest).collect();
        let blobs = std::iter::once(&self.config).chain(&self.layers).map(|blob| (blob.digest, blob.size)).collect();
        Ok(Packed { descriptor, manifest: self.bytes, blobs, layers })
    }
}

/// The document that a name will refer to, with its descriptor: the manifest, or an index of
/// several. With `multi`, one image also gets an index.
pub fn top(packed: &[Packed], flavor: Flavor, multi: bool) -> Result<(Descriptor, Vec<u8>)> {
    match packed {
        [one] if !multi => Ok((one.descriptor.clone(), one.manifest.clone())),
        several => index(several, flavor),
    }
}

fn layer_type(media_type: &str, docker: bool) -> String {
    if !docker {
        return media_type.to_owned();
    }
    media_type
        .replace("application/vnd.oci.image.layer.v1.tar+", "application/vnd.docker.image.rootfs.diff.tar.")
        .replace("application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar")
}

/// An index of manifests: its descriptor and bytes.
fn index(manifests: &[Packed], flavor: Flavor) -> Result<(Descriptor, Vec<u8>)> {
    let media_type = match flavor {
        Flavor::Oci => "application/vnd.oci.image.index.v1+json",
        Flavor::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
    };
    let index = ImageIndexBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::from(media_type))
        .manifests(manifests.iter().map(|packed| packed.descriptor.clone()).collect::<Vec<_>>())
        .build()
        .map_err(bad)?;
    let bytes = serde_json::to_vec(&index).map_err(bad)?;
    let descriptor = descriptor(media_type, &Digest::of(&bytes), bytes.len() as u64)?.build().map_err(bad)?;
    Ok((descriptor, bytes))
}

/// A descriptor with annotations, sorted by name.
pub fn annotated(descriptor: &Descriptor, annotations: BTreeMap<String, String>) -> Result<Value> {
    let mut value = serde_json::to_value(descriptor).map_err(bad)?;
    // oci_spec stores annotations in an unsorted map.
    if !annotations.is_empty() {
        value["annotations"] = serde_json::to_value(annotations).map_err(bad)?;
    }
    Ok(value)
}
