//! Images in an OCI layout on disk (image-layout.md): `oci-layout://path[:tag][@digest]`. The layout may be hostile:
//! only files with the bytes that their names promise are taken.

use super::image::{Pinned, assemble, read_parts, small_file};
use crate::cache;
use crate::cache::remember;
use crate::digest::Digest;
use crate::error::{At, Error, Kind, Result};
use crate::store::Store;
use frontend::platform::Platform;
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Indexes inside indexes beyond this are refused.
const DEEPEST: usize = 4;

/// The image of a platform in a layout. `pick` finds it in an index.
pub(super) fn resolve(
    store: &Store,
    place: &str,
    platform: &Platform,
    pick: impl Fn(&Value) -> Result<Digest>,
) -> Result<Pinned> {
    let (path, wanted) = split(place)?;
    let bad = |why: &str| Error::new(Kind::Source, format!("oci-layout://{place}: {why}"));
    let index: Value = serde_json::from_slice(&small_file(&path.join("index.json"))?)
        .map_err(|cause| bad("index.json can't be read").because(cause))?;
    let listed = index["manifests"].as_array().cloned().unwrap_or_default();
    let tag = |image: &Value| {
        image["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap_or_default().to_owned()
    };
    let fits = |image: &&Value| match &wanted {
        Wanted::Any => true,
        Wanted::Tag(name) => tag(image) == *name || tag(image).ends_with(&format!(":{name}")),
        Wanted::Digest(digest) => image["digest"].as_str() == Some(digest.to_string().as_str()),
    };
    let mut found: Vec<&Value> = listed.iter().filter(fits).collect();
    if found.is_empty() && matches!(&wanted, Wanted::Tag(name) if name == "latest") {
        found = listed.iter().collect();
    }
    let image = match found.as_slice() {
        [one] => *one,
        [] => {
            return Err(bad("no such image in it")
                .hint(format!("there is {}", listed.iter().map(&tag).collect::<Vec<_>>().join(", "))));
        }
        _ => return Err(bad("several images fit").hint("name one: `oci-layout://path:tag`")),
    };
    let mut digest: Digest =
        image["digest"].as_str().unwrap_or_default().parse().map_err(|cause| bad("damaged index").because(cause))?;
    for _ in 0..DEEPEST {
        copy_blob(store, &path, &digest)?;
        let bytes = store.read_blob(&digest, 4 << 20)?;
        let value: Value =
            serde_json::from_slice(&bytes).map_err(|cause| bad("a manifest can't be read").because(cause))?;
        if value.get("manifests").is_some() {
            digest = pick(&value)?;
            continue;
        }
        let name = format!("oci-layout://{place}");
        let (config, layers) = read_parts(&bytes, &name)?;
        copy_blob(store, &path, &config.0)?;
        let origin = format!("oci-layout://{}", path.display());
        for layer in &layers {
            remember(store, &cache::origin(store.root(), &layer.digest), origin.as_bytes());
        }
        let config = store.read_blob(&config.0, 8 << 20)?;
        let pinned = assemble(name, digest, config, layers)?;
        let _ = platform;
        return Ok(pinned);
    }
    Err(bad("indexes inside indexes without end"))
}

enum Wanted {
    Any,
    Tag(String),
    Digest(Digest),
}

/// A path with what follows it.
fn split(place: &str) -> Result<(PathBuf, Wanted)> {
    let whole = Path::new(place);
    if whole.join("index.json").exists() {
        return Ok((absolute(whole)?, Wanted::Any));
    }
    if let Some((path, digest)) = place.split_once('@') {
        let digest =
            digest.parse().map_err(|cause| Error::new(Kind::Source, format!("oci-layout://{place}")).because(cause))?;
        return Ok((
            absolute(Path::new(path.rsplit_once(':').map_or(path, |(path, _)| path)))?,
            Wanted::Digest(digest),
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

/// Takes a blob of a layout into the store, checked.
pub(super) fn copy_blob(store: &Store, layout: &Path, digest: &Digest) -> Result<()> {
    if store.has(digest) {
        return Ok(());
    }
    let path = layout.join("blobs/sha256").join(digest.hex());
    let mut file = File::open(&path).at("open", &path)?;
    let mut writer = store.blob_of(digest)?;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer).at("read", &path)? {
            0 => break,
            count => writer.write_all(&buffer[..count]).at("write", &path)?,
        }
    }
    writer.complete_as(digest, None).map(drop)
}
