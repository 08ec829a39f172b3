//! type=registry: a repository. Each object is a manifest under a tag made of the tag of `ref=` and
//! the object's name. The object is an annotation of the manifest, so that reading it takes one
//! request. The blobs that it names are the manifest's layers, so the registry's garbage collection
//! keeps them. Another annotation contains the tag of `ref=`, so that two caches never share a
//! manifest: a registry deletes a manifest by digest, with all its tags.
//!
//! Blobs are stored whole and not in chunks: an image push needs the same blob, and mounts it
//! instead of sending it again; the registry's garbage collection keeps what a manifest names; and
//! a chunk costs three requests (HEAD, POST, PUT), while registries limit requests more than bytes.
//! docs/cache.md has the figures.

use super::{Backend, LARGEST_OBJECT, Listed, Surroundings, Wanted, inline};
use base::error::{Error, Kind, Result};
use base::sync::lock;
use layer::BaseBlob;
use registry::client::{UNWATCHED, Watch};
use registry::push::Upload;
use registry::{Client, Reference};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Mutex;
use store::Store;

/// The annotation that contains an object, and the type of its manifest.
const ANNOTATION: &str = "dev.kiln.cache.object.v1";
/// The annotation that contains the tag of `ref=`.
const SCOPE: &str = "dev.kiln.cache.scope";
const ARTIFACT: &str = "application/vnd.kiln.cache.v1";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// The largest image config in bytes.
const LARGEST_CONFIG: u64 = 8 << 20;

struct Repository {
    client: Client,
    place: Reference,
    store: Store,
    /// The empty config that every manifest names, once the repository has it.
    empty: Mutex<Option<BaseBlob>>,
}

pub(super) fn open(wanted: &Wanted, surroundings: &Surroundings<'_>) -> Result<Box<dyn Backend>> {
    let place: Reference = wanted.place().parse().map_err(|cause: String| Error::new(Kind::Usage, cause))?;
    let tag = place.tag.as_deref().unwrap_or_default();
    // The longest name is that of a cache mount: 72 characters.
    if place.digest.is_some() || tag.len() > 48 {
        return Err(Error::new(Kind::Usage, format!("`{place}` can't be a cache")).hint(
            "write a repository with a tag of at most 48 characters, such as `registry.example/team/cache:main`",
        ));
    }
    let client = Client::new(surroundings.settings);
    if wanted.attributes.flag("registry.insecure", false)? {
        client.trust(&place);
    }
    Ok(Box::new(Repository { client, place, store: surroundings.store.clone(), empty: Mutex::default() }))
}

impl Repository {
    fn at(&self, name: &str) -> Reference {
        Reference { tag: Some(format!("{}.{name}", self.scope())), ..self.place.clone() }
    }

    /// The tag that distinguishes this cache.
    fn scope(&self) -> &str {
        self.place.tag.as_deref().unwrap_or("latest")
    }

    /// The inline cache of the image with this tag (`type=inline`).
    fn inline(&self) -> Option<(String, Vec<u8>)> {
        let manifest = self.client.find_manifest(&self.place).ok()??;
        let value: Value = serde_json::from_slice(&manifest.bytes).ok()?;
        let digest = value["config"]["digest"].as_str()?.parse().ok()?;
        let size = value["config"]["size"].as_u64().filter(|size| *size <= LARGEST_CONFIG)?;
        self.client.blob(&self.place, &digest, size, &self.store, &UNWATCHED).ok()?;
        inline::object(&self.store.read_blob(&digest, LARGEST_CONFIG).ok()?)
    }

    /// Pushes the empty config `{}` that every manifest needs (OCI image specification, "Guidelines
    /// for Artifact Usage"). One worker pushes it and the others wait: Debian's registry answers
    /// 400 to a manifest while it receives the same blob again.
    fn need_empty(&self) -> Result<BaseBlob> {
        let mut there = lock(&self.empty);
        if let Some(blob) = &*there {
            return Ok(blob.clone());
        }
        let blob = self.store.put_blob(b"{}")?;
        let blob = BaseBlob { digest: blob.digest, size: blob.size, media_type: EMPTY.to_owned() };
        if !self.has_blob(&blob)? {
            self.put_blob(&blob, &self.store.blob_path(&blob.digest), &UNWATCHED)?;
        }
        Ok(there.insert(blob).clone())
    }
}

fn descriptor(blob: &BaseBlob) -> Value {
    json!({"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size})
}

impl Backend for Repository {
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(manifest) = self.client.find_manifest(&self.at(name))? else { return Ok(None) };
        let value: Value = serde_json::from_slice(&manifest.bytes).unwrap_or_default();
        let object = value["annotations"][ANNOTATION].as_str();
        let damaged = || Error::new(Kind::Source, format!("{}: the manifest holds no object of kiln", self.at(name)));
        object.map(|object| Some(object.as_bytes().to_vec())).ok_or_else(damaged)
    }

    fn put(&self, name: &str, bytes: &[u8], blobs: &[BaseBlob]) -> Result<()> {
        let text =
            std::str::from_utf8(bytes).map_err(|cause| Error::new(Kind::Export, "an object is text").because(cause))?;
        let config = self.need_empty()?;
        let layers: Vec<Value> =
            if blobs.is_empty() { vec![descriptor(&config)] } else { blobs.iter().map(descriptor).collect() };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": ARTIFACT,
            "config": descriptor(&config),
            "layers": layers,
            "annotations": {ANNOTATION: text, SCOPE: self.scope()},
        });
        let bytes = serde_json::to_vec(&manifest)
            .map_err(|cause| Error::new(Kind::Export, "cannot write a manifest").because(cause))?;
        if bytes.len() as u64 > LARGEST_OBJECT {
            return Err(Error::new(Kind::Export, format!("{}: the object is too large for a manifest", self.at(name))));
        }
        self.client.push_manifest(&self.at(name), MANIFEST, &bytes).map(drop)
    }

    fn has_blob(&self, blob: &BaseBlob) -> Result<bool> {
        self.client.has_blob(&self.place, &blob.digest)
    }

    fn get_blob(&self, blob: &BaseBlob, watch: &Watch<'_>) -> Result<()> {
        self.client.blob(&self.place, &blob.digest, blob.size, &self.store, watch)
    }

    fn put_blob(&self, blob: &BaseBlob, from: &Path, watch: &Watch<'_>) -> Result<()> {
        let upload = Upload { digest: &blob.digest, size: blob.size, path: from };
        self.client.send_blob(&self.place, upload, watch)
    }

    fn take_blob(&self, blob: &BaseBlob, from: &str) -> Result<bool> {
        let from = from.parse::<Reference>().ok();
        from.map_or(Ok(false), |from| self.client.mount_blob(&self.place, &blob.digest, &from))
    }

    fn extra(&self) -> Vec<(String, Vec<u8>)> {
        self.inline().into_iter().collect()
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        let tag = format!("{}.", self.scope());
        let names = self.client.tags(&self.place)?;
        let names = names.iter().filter_map(|name| name.strip_prefix(&tag));
        // A list of tags contains no times.
        let listed = |name: &str| Listed { name: name.to_owned(), at: None };
        Ok(names.filter(|name| name.starts_with(prefix)).map(listed).collect())
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.client.delete_manifest(&self.at(name))
    }

    fn origin(&self) -> Option<String> {
        Some(self.place.to_string())
    }
}
