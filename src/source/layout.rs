//! Images in an OCI layout on disk (image-layout.md): `oci-layout://path[:tag][@digest]`. The
//! layout may be hostile: a file must have the digest in its name.

use super::image::{Pinned, assemble, read_parts, small_file};
use super::index::{Document, Part, choose};
use base::digest::Digest;
use base::error::{At, Error, Kind, Result};
use cache::record::remember;
use frontend::platform::Platform;
use serde_json::Value;
use sha2::{Digest as _, Sha512};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use store::Store;

/// The largest manifest or config in bytes.
const LARGEST_DOCUMENT: u64 = 8 << 20;
const SHA512: &str = "sha512:";

/// Resolves the image for a platform in a layout.
pub(super) fn resolve(store: &Store, place: &str, platform: &Platform) -> Result<Pinned> {
    let (path, wanted) = split(place)?;
    let name = format!("oci-layout://{place}");
    let index: Value = serde_json::from_slice(&small_file(&path.join("index.json"))?)
        .map_err(|cause| Error::new(Kind::Source, format!("{name}: index.json can't be read")).because(cause))?;
    let image = listed(&index, &wanted, &name)?;
    let get = |_: Part, digest: &str| {
        let digest = take(store, &path, digest)?;
        Ok(Document { digest, bytes: store.read_blob(&digest, LARGEST_DOCUMENT)? })
    };
    let top = get(Part::Manifest, image["digest"].as_str().unwrap_or_default())?;
    let Document { digest, bytes } = choose(top, &name, platform, &get)?;
    let mut manifest: Value = serde_json::from_slice(&bytes)
        .map_err(|cause| Error::new(Kind::Source, format!("{name}: a manifest can't be read")).because(cause))?;
    take_others(store, &path, &mut manifest)?;
    let (config, layers) = read_parts(&manifest, &name)?;
    copy_blob(store, &path, &config.0)?;
    let origin = format!("oci-layout://{}", path.display());
    for layer in &layers {
        remember(store, &cache::record::origin(store.root(), &layer.digest), origin.as_bytes());
    }
    let config = store.read_blob(&config.0, LARGEST_DOCUMENT)?;
    assemble(name, digest, config, layers)
}

/// The requested entry of `index.json`.
fn listed<'a>(index: &'a Value, wanted: &Wanted, name: &str) -> Result<&'a Value> {
    let bad = |why: &str| Error::new(Kind::Source, format!("{name}: {why}"));
    let listed = index["manifests"].as_array().map(Vec::as_slice).unwrap_or_default();
    let tag = |image: &Value| {
        image["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap_or_default().to_owned()
    };
    let fits = |image: &&Value| match wanted {
        Wanted::Any => true,
        Wanted::Tag(name) => tag(image) == *name || tag(image).ends_with(&format!(":{name}")),
        Wanted::Digest(digest) => image["digest"].as_str() == Some(digest),
    };
    let mut found: Vec<&Value> = listed.iter().filter(fits).collect();
    if found.is_empty() && matches!(wanted, Wanted::Tag(name) if name == "latest") {
        found = listed.iter().collect();
    }
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(bad("no such image in it")
            .hint(format!("there is {}", listed.iter().map(&tag).collect::<Vec<_>>().join(", ")))),
        _ => Err(bad("several images fit").hint("name one: `oci-layout://path:tag`")),
    }
}

enum Wanted {
    Any,
    Tag(String),
    /// The digest as it is written.
    Digest(String),
}

/// Splits a place into its path and what it selects.
fn split(place: &str) -> Result<(PathBuf, Wanted)> {
    let whole = Path::new(place);
    if whole.join("index.json").exists() {
        return Ok((absolute(whole)?, Wanted::Any));
    }
    if let Some((path, digest)) = place.split_once('@') {
        return Ok((
            absolute(Path::new(path.rsplit_once(':').map_or(path, |(path, _)| path)))?,
            Wanted::Digest(digest.to_owned()),
        ));
    }
    match place.rsplit_once(':') {
        Some((path, tag)) if Path::new(path).join("index.json").exists() => {
            Ok((absolute(Path::new(path))?, Wanted::Tag(tag.to_owned())))
        }
        _ => Err(Error::new(Kind::Source, format!("oci-layout://{place}: there is no OCI layout"))
            .hint("a layout is a folder with an index.json")),
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize().at("find", path)
}

/// Copies a blob into the store by its digest as it is written, checks it, and returns its digest
/// in the store.
fn take(store: &Store, layout: &Path, digest: &str) -> Result<Digest> {
    let Some(hex) = digest.strip_prefix(SHA512) else {
        let digest = digest
            .parse()
            .map_err(|cause| Error::new(Kind::Source, "an index of the layout can't be used").because(cause))?;
        return copy_blob(store, layout, &digest).map(|()| digest);
    };
    let wrong = |why: String| Error::new(Kind::Source, why);
    if hex.len() != 128 || !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(wrong(format!("`{digest:.150}` is no digest")));
    }
    let path = layout.join("blobs/sha512").join(hex);
    let (mut file, mut writer) = (File::open(&path).at("open", &path)?, store.blob()?);
    let mut hasher = Sha512::new();
    copy(&mut file, &path, &mut |bytes| {
        hasher.update(bytes);
        writer.write_all(bytes).at("write", &path)
    })?;
    let got: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if got != hex {
        return Err(wrong(format!("`{}` does not have the digest that it is named after", path.display())));
    }
    writer.complete().map(|blob| blob.digest)
}

/// Copies the blobs that a manifest names by another hash than SHA-256, and replaces their digests
/// in the manifest: the store knows only SHA-256.
fn take_others(store: &Store, layout: &Path, manifest: &mut Value) -> Result<()> {
    let mut descriptors: Vec<&mut Value> = Vec::new();
    if let Some(manifest) = manifest.as_object_mut() {
        for (key, value) in manifest.iter_mut() {
            match key.as_str() {
                "config" => descriptors.push(value),
                "layers" => descriptors.extend(value.as_array_mut().into_iter().flatten()),
                _ => {}
            }
        }
    }
    for descriptor in descriptors {
        let other = descriptor["digest"].as_str().filter(|digest| digest.starts_with(SHA512)).map(str::to_owned);
        if let Some(digest) = other {
            descriptor["digest"] = Value::String(take(store, layout, &digest)?.to_string());
        }
    }
    Ok(())
}

/// Copies a blob of a layout into the store and checks it.
pub(super) fn copy_blob(store: &Store, layout: &Path, digest: &Digest) -> Result<()> {
    if store.has(digest) {
        return Ok(());
    }
    let path = layout.join("blobs/sha256").join(digest.hex());
    let mut file = File::open(&path).at("open", &path)?;
    let mut writer = store.blob_of(digest)?;
    copy(&mut file, &path, &mut |bytes| writer.write_all(bytes).at("write", &path))?;
    writer.complete_as(digest, None).map(drop)
}

fn copy(file: &mut File, path: &Path, to: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer).at("read", path)? {
            0 => return Ok(()),
            count => to(&buffer[..count])?,
        }
    }
}
