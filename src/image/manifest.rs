//! Manifests and indexes of images (OCI image specification, manifest.md and image-index.md; Docker's schema 2).

use super::Image;
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::layer::{Compression, Layers, PackedBlob};
use oci_spec::image::{
    Descriptor, DescriptorBuilder, ImageIndexBuilder, ImageManifestBuilder, MediaType, PlatformBuilder,
};
use std::collections::HashMap;
use std::str::FromStr as _;

/// Whose words the media types are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    /// OCI's.
    Oci,
    /// Docker's.
    Docker,
}

/// A manifest whose blobs are all in the store.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The descriptor of the manifest.
    pub descriptor: Descriptor,
    /// The manifest itself.
    pub manifest: Vec<u8>,
    /// The blobs it names, the config first.
    pub blobs: Vec<(Digest, u64)>,
    /// The layers' blobs, the lowest first.
    pub layers: Vec<PackedBlob>,
}

/// How blobs are made.
#[derive(Clone, Copy, Debug)]
pub struct Packing {
    /// For layers of this build.
    pub compression: Compression,
    /// For those of the base too.
    pub force: bool,
    /// Media types.
    pub flavor: Flavor,
}

fn bad(cause: impl std::fmt::Display) -> Error {
    Error::new(Kind::Export, "cannot write a manifest").because(cause)
}

/// A descriptor; the digest is one of ours, so it always parses.
fn descriptor(media_type: &str, digest: &Digest, size: u64) -> Result<DescriptorBuilder> {
    let digest = oci_spec::image::Digest::from_str(&digest.to_string()).map_err(bad)?;
    Ok(DescriptorBuilder::default().media_type(MediaType::from(media_type)).digest(digest).size(size))
}

/// Makes the blobs of an image and its manifest.
pub fn pack(image: &Image, layers: &Layers, how: Packing) -> Result<Packed> {
    let docker = how.flavor == Flavor::Docker;
    let mut packed = Vec::new();
    let mut blobs = vec![(image.id, image.config.len() as u64)];
    for layer in &image.layers {
        let blob = layers.blob(layer, how.compression, how.force, image.epoch)?;
        blobs.push((blob.digest, blob.size));
        packed.push(blob);
    }
    let config_type = if docker {
        "application/vnd.docker.container.image.v1+json"
    } else {
        "application/vnd.oci.image.config.v1+json"
    };
    let config = descriptor(config_type, &image.id, image.config.len() as u64)?.build().map_err(bad)?;
    let layer = |blob: &PackedBlob| {
        descriptor(&layer_type(&blob.media_type, docker), &blob.digest, blob.size)?.build().map_err(bad)
    };
    let media_type = if docker {
        "application/vnd.docker.distribution.manifest.v2+json"
    } else {
        "application/vnd.oci.image.manifest.v1+json"
    };
    let manifest = ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::from(media_type))
        .config(config)
        .layers(packed.iter().map(layer).collect::<Result<Vec<_>>>()?)
        .build()
        .map_err(bad)?;
    let bytes = serde_json::to_vec(&manifest).map_err(bad)?;
    let platform = &image.platform;
    let mut place = PlatformBuilder::default().os(platform.os.as_str()).architecture(platform.architecture.as_str());
    if let Some(variant) = &platform.variant {
        place = place.variant(variant.clone());
    }
    let descriptor = descriptor(media_type, &Digest::of(&bytes), bytes.len() as u64)?
        .platform(place.build().map_err(bad)?)
        .build()
        .map_err(bad)?;
    layers.store().put_blob(&image.config)?;
    Ok(Packed { descriptor, manifest: bytes, blobs, layers: packed })
}

fn layer_type(media_type: &str, docker: bool) -> String {
    if !docker {
        return media_type.to_owned();
    }
    media_type
        .replace("application/vnd.oci.image.layer.v1.tar+", "application/vnd.docker.image.rootfs.diff.tar.")
        .replace("application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar")
}

/// An index of several manifests: its descriptor and bytes.
pub fn index(manifests: &[Packed], flavor: Flavor) -> Result<(Descriptor, Vec<u8>)> {
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

/// A descriptor with annotations.
pub fn annotated(descriptor: &Descriptor, annotations: HashMap<String, String>) -> Descriptor {
    let mut descriptor = descriptor.clone();
    descriptor.set_annotations(Some(annotations).filter(|annotations| !annotations.is_empty()));
    descriptor
}
