//! type=oci and type=docker: an OCI layout (image-layout.md) as a tarball or a directory; for
//! Docker with the `manifest.json` that every version of `docker load` reads.

use super::output::Output;
use super::{Exported, Exporter, Wanted, Watch};
use crate::image::manifest::{Packed, Packing, annotated, pack, top};
use crate::image::{Image, refs};
use base::digest::Digest;
use base::error::{At, Result};
use base::outside;
use frontend::config::ImageConfig;
use layer::Layers;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

struct Layout {
    dest: Option<PathBuf>,
    tar: bool,
    names: Vec<String>,
    packing: Packing,
    docker: bool,
    multi: bool,
}

fn layout(wanted: &Wanted, docker: bool) -> Result<Box<dyn Exporter>> {
    Ok(Box::new(Layout {
        dest: wanted.dest()?,
        tar: wanted.attributes.flag("tar", true)?,
        names: wanted.all_names().iter().map(|name| refs::normal(name)).collect::<Result<_>>()?,
        packing: wanted.packing(!docker)?,
        docker,
        multi: wanted.multi,
    }))
}

pub(super) fn oci(wanted: &Wanted) -> Result<Box<dyn Exporter>> {
    layout(wanted, false)
}

pub(super) fn docker(wanted: &Wanted) -> Result<Box<dyn Exporter>> {
    layout(wanted, true)
}

impl Exporter for Layout {
    fn needs_bytes(&self) -> bool {
        true
    }

    fn packs(&self) -> Option<Packing> {
        Some(self.packing)
    }

    fn title(&self) -> &'static str {
        if self.docker { "exporting to docker image format" } else { "exporting to oci image format" }
    }

    fn export(&self, images: &[Image], layers: &Layers, _: &Watch<'_>) -> Result<Exported> {
        let packed = images.iter().map(|image| pack(image, layers, self.packing)).collect::<Result<Vec<_>>>()?;
        let mut small: Vec<(Digest, Vec<u8>)> =
            packed.iter().map(|one| (Digest::of(&one.manifest), one.manifest.clone())).collect();
        let (top, bytes) = top(&packed, self.packing.flavor, self.multi)?;
        small.push((Digest::of(&bytes), bytes));
        let mut entries = Vec::new();
        let names: Vec<Option<&String>> =
            if self.names.is_empty() { vec![None] } else { self.names.iter().map(Some).collect() };
        for name in names {
            let mut annotations = BTreeMap::new();
            if let Some(time) = images.first().and_then(created) {
                annotations.insert("org.opencontainers.image.created".to_owned(), time);
            }
            if let Some(name) = name {
                annotations.insert("io.containerd.image.name".to_owned(), name.clone());
                let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
                annotations.insert("org.opencontainers.image.ref.name".to_owned(), tag.to_owned());
            }
            entries.push(annotated(&top, annotations)?);
        }
        let list = serde_json::to_vec(
            &json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}),
        );
        let list = list.map_err(|cause| {
            base::error::Error::new(base::error::Kind::Export, "cannot write index.json").because(cause)
        })?;
        let content = Content {
            packed: &packed,
            small: &small,
            index: &list,
            docker: self.docker.then(|| self.docker_manifest(&packed)),
        };
        match (&self.dest, self.tar) {
            (Some(dest), false) => content.directory(dest, layers)?,
            (dest, _) => content.tarball(Output::create(dest.as_deref(), 0)?, layers)?,
        }
        Ok(Exported { descriptor: Some(top), names: self.names.clone() })
    }
}

/// The time of an image from its config: the current time would make each archive different.
fn created(image: &Image) -> Option<String> {
    ImageConfig::read(&image.config).ok()?.created
}

impl Layout {
    /// The `manifest.json` that `docker load` read before OCI layouts existed.
    fn docker_manifest(&self, packed: &[Packed]) -> Vec<u8> {
        let path = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
        // Docker's own names are short: `app:latest`.
        let tags: Vec<String> = self
            .names
            .iter()
            .map(|name| name.trim_start_matches("docker.io/library/").trim_start_matches("docker.io/").to_owned())
            .collect();
        let images: Vec<serde_json::Value> = packed
            .iter()
            .map(|one| {
                let config = one.blobs.first().map(|(digest, _)| path(digest)).unwrap_or_default();
                let layers: Vec<String> = one.layers.iter().map(path).collect();
                json!({"Config": config, "RepoTags": if tags.is_empty() { serde_json::Value::Null } else { json!(tags) }, "Layers": layers})
            })
            .collect();
        serde_json::Value::Array(images).to_string().into_bytes()
    }
}

/// The content of a layout.
struct Content<'a> {
    packed: &'a [Packed],
    small: &'a [(Digest, Vec<u8>)],
    index: &'a [u8],
    docker: Option<Vec<u8>>,
}

const VERSION: &[u8] = b"{\"imageLayoutVersion\":\"1.0.0\"}";

impl Content<'_> {
    /// The blobs in the store, without duplicates.
    fn blobs(&self) -> BTreeSet<(Digest, u64)> {
        self.packed.iter().flat_map(|one| one.blobs.iter().copied()).collect()
    }

    fn tarball(&self, mut out: Output, layers: &Layers) -> Result<()> {
        out.directory("blobs")?;
        out.directory("blobs/sha256")?;
        let mut small: Vec<&(Digest, Vec<u8>)> = self.small.iter().collect();
        small.sort();
        small.dedup();
        for (digest, bytes) in small {
            out.file(&format!("blobs/sha256/{}", digest.hex()), bytes)?;
        }
        for (digest, size) in self.blobs() {
            out.copy(&format!("blobs/sha256/{}", digest.hex()), size, &layers.store().open_blob(&digest)?)?;
        }
        out.file("index.json", self.index)?;
        if let Some(docker) = &self.docker {
            out.file("manifest.json", docker)?;
        }
        out.file("oci-layout", VERSION)?;
        out.finish()
    }

    fn directory(&self, dest: &Path, layers: &Layers) -> Result<()> {
        let blobs = dest.join("blobs/sha256");
        outside::create_dir_all(&blobs).at("make", &blobs)?;
        let put = |name: &Path, bytes: &[u8]| {
            let temp = name.with_extension("new");
            outside::create_new(&temp).and_then(|mut file| file.write_all(bytes)).at("write", &temp)?;
            fs::rename(&temp, name).at("write", name)
        };
        for (digest, bytes) in self.small {
            put(&blobs.join(digest.hex()), bytes)?;
        }
        for (digest, _) in self.blobs() {
            let (from, to) = (layers.store().blob_path(&digest), blobs.join(digest.hex()));
            let temp = to.with_extension("new");
            let mut copy = outside::create_new(&temp).at("make", &temp)?;
            std::io::copy(&mut File::open(&from).at("open", &from)?, &mut copy).at("copy", &from)?;
            fs::rename(&temp, &to).at("write", &to)?;
        }
        if let Some(docker) = &self.docker {
            put(&dest.join("manifest.json"), docker)?;
        }
        put(&dest.join("oci-layout"), VERSION)?;
        put(&dest.join("index.json"), self.index)
    }
}
