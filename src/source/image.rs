//! Base images: resolves a name to a manifest, a config and layers, whose blobs are downloaded when
//! they are needed.
//!
//! ```text
//! <root>/cache-v2/pins/<64 hex of name and platform>    JSON: the last answer for a name
//! <root>/cache-v2/origins/<64 hex of a blob>            the name to fetch it by
//! ```
//! Both can be lost, which costs a request, or a message that a base must be pulled again.

use crate::source::index::{Document, Part, choose, is_index};
use crate::source::layout;
use base::digest::{DiffId, Digest};
use base::error::{At, Error, Kind, Result};
use frontend::platform::Platform;
use layer::BaseBlob;
use registry::client::{UNWATCHED, Watch};
use registry::{Client, Reference, Settings};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use store::Store;

/// The largest config in bytes.
const LARGEST_CONFIG: u64 = 8 << 20;
/// The number of blobs fetched at once.
const AT_ONCE: usize = 4;
/// The most layers of an image.
const MOST_LAYERS: usize = 10_000;

/// An image with its digest.
#[derive(Clone, Debug)]
pub struct Pinned {
    /// The normalised name.
    pub name: String,
    /// The digest of the platform's manifest.
    pub digest: Digest,
    /// The config blob, unchanged.
    pub config: Vec<u8>,
    /// The layers, the lowest first.
    pub layers: Vec<BaseLayer>,
    /// The error, if the registry could not be reached and this is an earlier answer.
    pub stale: Option<String>,
}

/// A layer of a base image.
#[derive(Clone, Debug)]
pub struct BaseLayer {
    /// The digest of its plain tar.
    pub diff_id: DiffId,
    /// The compressed blob.
    pub blob: BaseBlob,
}

/// The policy for asking the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    /// Ask in each build; if that fails, use the earlier answer.
    Usual,
    /// `--pull`: the registry must answer.
    Always,
}

/// Resolves and downloads images.
pub struct Images {
    store: Store,
    client: Client,
}

#[derive(Serialize, Deserialize)]
struct Pin {
    name: String,
    /// The digest of the name's document: an index or the manifest itself.
    top: Digest,
    manifest: Digest,
}

/// The relevant parts of a manifest.
struct Parts {
    config: (Digest, u64),
    layers: Vec<BaseBlob>,
}

impl Images {
    /// Stores images from registries and layouts in a store.
    pub fn new(store: Store, settings: &Settings) -> Images {
        Images { store, client: Client::new(settings) }
    }

    /// Resolves a name: a reference, or `oci-layout://path[:tag]`.
    pub fn resolve(&self, name: &str, platform: &Platform, pull: Pull) -> Result<Pinned> {
        if let Some(place) = name.strip_prefix("oci-layout://") {
            return layout::resolve(&self.store, place, platform);
        }
        let reference: Reference = name.parse().map_err(|cause: String| Error::new(Kind::Source, cause))?;
        let pin = self.pin(&reference, platform);
        if let (Some(pin), true) = (&pin, reference.digest.is_some())
            && let Ok(pinned) = self.stored(&reference, pin.manifest)
        {
            return Ok(pinned);
        }
        match self.ask(&reference, platform, pin.as_ref()) {
            Err(error) if pull == Pull::Usual && error.is_transient() => {
                match pin.and_then(|pin| self.stored(&reference, pin.manifest).ok()) {
                    Some(pinned) => Ok(Pinned { stale: Some(error.to_string()), ..pinned }),
                    None => Err(error),
                }
            }
            answer => answer,
        }
    }

    /// The last known answer for a name, if all its documents are in the store.
    pub fn guess(&self, name: &str, platform: &Platform) -> Option<Pinned> {
        let reference: Reference = name.parse().ok()?;
        let pin = self.pin(&reference, platform)?;
        self.stored(&reference, pin.manifest).ok()
    }

    fn ask(&self, reference: &Reference, platform: &Platform, pin: Option<&Pin>) -> Result<Pinned> {
        if let (Some(pin), None) = (pin, reference.digest) {
            // One request is enough if nothing has changed.
            if self.client.head(reference)? == Some(pin.top)
                && let Ok(pinned) = self.stored(reference, pin.manifest)
            {
                return Ok(pinned);
            }
        }
        let top = self.client.manifest(reference)?;
        self.store.put_blob(&top.bytes)?;
        let get = |part: Part, digest: &str| self.document(reference, part, digest);
        let first = Document { digest: top.digest, bytes: top.bytes };
        let Document { digest: manifest, bytes } = choose(first, &reference.to_string(), platform, &get)?;
        let parts = parts(&bytes, &reference.to_string())?;
        if !self.store.has(&parts.config.0) {
            self.client.blob(reference, &parts.config.0, parts.config.1, &self.store, &UNWATCHED)?;
        }
        let pin = Pin { name: reference.to_string(), top: top.digest, manifest };
        self.remember(&self.pin_path(reference, platform), &serde_json::to_vec(&pin).unwrap_or_default());
        self.stored(reference, manifest)
    }

    /// An image whose manifest and config are in the store.
    fn stored(&self, reference: &Reference, manifest: Digest) -> Result<Pinned> {
        let parts = parts(&self.store.read_blob(&manifest, 4 << 20)?, &reference.to_string())?;
        let config = self.store.read_blob(&parts.config.0, LARGEST_CONFIG)?;
        let pinned = assemble(reference.to_string(), manifest, config, parts.layers)?;
        let origin = Reference { tag: None, digest: Some(manifest), ..reference.clone() };
        for layer in &pinned.layers {
            let path = cache::record::origin(self.store.root(), &layer.blob.digest);
            if !path.exists() {
                self.remember(&path, origin.to_string().as_bytes());
            }
        }
        Ok(pinned)
    }

    /// A manifest or a config of a repository.
    fn document(&self, reference: &Reference, part: Part, digest: &str) -> Result<Document> {
        let digest: Digest = digest.parse().map_err(|cause| {
            Error::new(Kind::Source, format!("{reference}: its index can't be used")).because(cause)
        })?;
        if !self.store.has(&digest) {
            let one = Reference { digest: Some(digest), ..reference.clone() };
            match part {
                Part::Manifest => drop(self.store.put_blob(&self.client.manifest(&one)?.bytes)?),
                Part::Config(size) if size <= LARGEST_CONFIG => {
                    self.client.blob(reference, &digest, size, &self.store, &UNWATCHED)?;
                }
                Part::Config(_) => {
                    return Err(Error::new(Kind::Source, format!("{reference}: it is too large to be an image")));
                }
            }
        }
        Ok(Document { digest, bytes: self.store.read_blob(&digest, LARGEST_CONFIG)? })
    }

    /// Downloads missing blobs, several at once. `progress` receives the name, bytes so far, and
    /// total bytes.
    pub fn fetch(
        &self,
        blobs: &[BaseBlob],
        progress: &(dyn Fn(&str, u64, u64) + Sync),
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<()> {
        let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(blobs.len()) {
                scope.spawn(|| {
                    while let Some(blob) = blobs.get(next.fetch_add(1, Ordering::SeqCst)) {
                        let failed = || failure.lock().map_or(true, |failure| failure.is_some());
                        if failed() {
                            return;
                        }
                        let what = format!("{:.19}", blob.digest);
                        let watch =
                            Watch { progress: &|done| progress(&what, done, blob.size), stop: &|| stop() || failed() };
                        if let (Err(error), Ok(mut failure)) = (self.fetch_one(blob, &watch), failure.lock()) {
                            failure.get_or_insert(error);
                        }
                    }
                });
            }
        });
        failure.into_inner().unwrap_or_default().map_or(Ok(()), Err)
    }

    /// True if a known image has this layer as this blob. For an image in a layout only the blob is
    /// compared.
    pub fn has_layer(&self, diff_id: &DiffId, blob: &BaseBlob) -> bool {
        let origin = fs::read_to_string(cache::record::origin(self.store.root(), &blob.digest)).unwrap_or_default();
        if origin.starts_with("oci-layout://") {
            return true;
        }
        let Ok(reference) = origin.trim().parse::<Reference>() else { return false };
        let pinned = reference.digest.and_then(|manifest| self.stored(&reference, manifest).ok());
        let is_it = |layer: &BaseLayer| {
            layer.diff_id == *diff_id && (layer.blob.digest, layer.blob.size) == (blob.digest, blob.size)
        };
        pinned.is_some_and(|pinned| pinned.layers.iter().any(is_it))
    }

    /// The registry's image with this blob, if it came from a registry.
    pub fn origin(&self, blob: &Digest) -> Option<Reference> {
        fs::read_to_string(cache::record::origin(self.store.root(), blob)).ok()?.trim().parse().ok()
    }

    fn fetch_one(&self, blob: &BaseBlob, watch: &Watch<'_>) -> Result<()> {
        if self.store.has(&blob.digest) {
            return Ok(());
        }
        let origin = fs::read_to_string(cache::record::origin(self.store.root(), &blob.digest)).unwrap_or_default();
        if let Some(place) = origin.strip_prefix("oci-layout://") {
            return layout::copy_blob(&self.store, place.as_ref(), &blob.digest);
        }
        let reference: Reference = origin.trim().parse().map_err(|_| {
            Error::new(Kind::Source, format!("nobody knows where blob {} comes from", blob.digest))
                .hint("build again, with --pull, or with the --cache-from that it came from")
        })?;
        self.client.blob(&reference, &blob.digest, blob.size, &self.store, watch)
    }

    fn folder(&self, name: &str) -> PathBuf {
        cache::record::folder(self.store.root()).join(name)
    }

    fn pin_path(&self, reference: &Reference, platform: &Platform) -> PathBuf {
        self.folder("pins").join(Digest::of(format!("{platform} {reference}").as_bytes()).hex())
    }

    fn pin(&self, reference: &Reference, platform: &Platform) -> Option<Pin> {
        serde_json::from_slice(&fs::read(self.pin_path(reference, platform)).ok()?).ok()
    }

    /// Writes a file whose loss costs a request.
    fn remember(&self, path: &std::path::Path, bytes: &[u8]) {
        cache::record::remember(&self.store, path, bytes);
    }
}

/// The parts of a manifest. Ambiguous manifests are refused (CVE-2021-41190).
fn parts(bytes: &[u8], name: &str) -> Result<Parts> {
    let value = serde_json::from_slice(bytes)
        .map_err(|cause| Error::new(Kind::Source, format!("{name}: the manifest can't be read")).because(cause))?;
    parts_of(&value, name)
}

fn parts_of(value: &Value, name: &str) -> Result<Parts> {
    let bad = |why: &str| Error::new(Kind::Source, format!("{name}: {why}"));
    if value["schemaVersion"] == 1 || value.get("fsLayers").is_some() {
        return Err(
            bad("its manifest has the format of 2015 (schema 1)").hint("push the image again with a tool of today")
        );
    }
    if is_index(value) {
        return Err(bad("its manifest is an index and an image at once"));
    }
    let blob = |value: &Value| -> Result<BaseBlob> {
        let digest = value["digest"]
            .as_str()
            .unwrap_or_default()
            .parse()
            .map_err(|cause| bad("damaged manifest").because(cause))?;
        let size = value["size"].as_u64().ok_or_else(|| bad("damaged manifest: a blob without a size"))?;
        Ok(BaseBlob { digest, size, media_type: value["mediaType"].as_str().unwrap_or_default().to_owned() })
    };
    let config = blob(&value["config"])?;
    if !CONFIG_TYPES.contains(&config.media_type.as_str()) {
        return Err(bad(&format!("it is no image but {}", config.media_type)));
    }
    let layers = value["layers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if layers.len() > MOST_LAYERS || config.size > LARGEST_CONFIG {
        return Err(bad("it is too large to be an image"));
    }
    Ok(Parts { config: (config.digest, config.size), layers: layers.iter().map(blob).collect::<Result<_>>()? })
}

/// The media types of a config; Docker wrote the last one before the others existed.
const CONFIG_TYPES: [&str; 3] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
    "application/octet-stream",
];

/// A pinned image from its parts; each layer needs its diff ID.
pub(super) fn assemble(name: String, digest: Digest, config: Vec<u8>, blobs: Vec<BaseBlob>) -> Result<Pinned> {
    let bad = |why: &str| Error::new(Kind::Source, format!("{name}: {why}"));
    let value: Value =
        serde_json::from_slice(&config).map_err(|cause| bad("the config can't be read").because(cause))?;
    let diff_ids = value["rootfs"]["diff_ids"].as_array().map(Vec::as_slice).unwrap_or_default();
    if diff_ids.len() != blobs.len() {
        return Err(bad(&format!("{} layers but {} diff ids", blobs.len(), diff_ids.len())));
    }
    let mut layers = Vec::new();
    for (diff_id, blob) in diff_ids.iter().zip(blobs) {
        let diff_id =
            diff_id.as_str().unwrap_or_default().parse().map_err(|cause| bad("damaged config").because(cause))?;
        let media_type = oci_layer_type(&blob.media_type)
            .ok_or_else(|| bad(&format!("a layer is of the unknown type {}", blob.media_type)))?;
        layers
            .push(BaseLayer { diff_id: DiffId(diff_id), blob: BaseBlob { media_type: media_type.to_owned(), ..blob } });
    }
    Ok(Pinned { name, digest, config, layers, stale: None })
}

/// Translates Docker's media types of layers to OCI's. As in BuildKit, a nondistributable layer
/// counts as a normal one: a store with its bytes has received it already.
fn oci_layer_type(media_type: &str) -> Option<&'static str> {
    const DOCKER: &str = "application/vnd.docker.image.rootfs.";
    const OCI: &str = "application/vnd.oci.image.layer.";
    let docker = media_type.strip_prefix(DOCKER).map(|rest| rest.strip_prefix("foreign.").unwrap_or(rest));
    let oci = media_type.strip_prefix(OCI).map(|rest| rest.strip_prefix("nondistributable.").unwrap_or(rest));
    match (docker, oci) {
        (Some("diff.tar"), _) | (_, Some("v1.tar")) => Some("application/vnd.oci.image.layer.v1.tar"),
        (Some("diff.tar.gzip"), _) | (_, Some("v1.tar+gzip")) => Some("application/vnd.oci.image.layer.v1.tar+gzip"),
        (Some("diff.tar.zstd"), _) | (_, Some("v1.tar+zstd")) => Some("application/vnd.oci.image.layer.v1.tar+zstd"),
        _ => None,
    }
}

/// The parts of a manifest in a layout.
pub(super) fn read_parts(manifest: &Value, name: &str) -> Result<((Digest, u64), Vec<BaseBlob>)> {
    parts_of(manifest, name).map(|parts| (parts.config, parts.layers))
}

/// Reads a file of limited size.
pub(super) fn small_file(path: &std::path::Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).at("open", path)?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, LARGEST_CONFIG), &mut bytes).at("read", path)?;
    Ok(bytes)
}
