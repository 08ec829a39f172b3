//! The named images of the store.

use super::Image;
use base::digest::Digest;
use base::error::{At, Error, Kind, Result};
use frontend::platform::Platform;
use layer::{LayerId, RELEASED};
use registry::Reference;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use store::{Store, lease};

/// A name and its images.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ref {
    /// The normalised name: `docker.io/library/app:latest`.
    pub name: String,
    /// The time when the name was set, in seconds since 1970.
    pub at: i64,
    /// One image for each platform.
    pub images: Vec<RefImage>,
    /// Every layer of every image, for the collector.
    pub layers: Vec<LayerId>,
}

/// An image of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefImage {
    /// The platform, as `linux/amd64`.
    pub platform: String,
    /// The digest of the config: the image ID.
    pub config: Digest,
    /// The layers, the lowest first.
    pub layers: Vec<LayerId>,
    /// SOURCE_DATE_EPOCH of the build.
    pub epoch: Option<i64>,
    /// The manifest that it was pulled with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
}

/// All named images.
#[derive(Clone, Debug)]
pub struct Refs {
    store: Store,
    root: PathBuf,
}

/// The directory of the refs below a store's root.
pub fn folder(root: &Path) -> PathBuf {
    root.join("refs-v1")
}

/// The normalised form of a name: `app` is `docker.io/library/app:latest`.
pub fn normal(name: &str) -> Result<String> {
    name.parse::<Reference>().map(|reference| reference.to_string()).map_err(|cause| Error::new(Kind::Usage, cause))
}

impl Refs {
    /// The refs of a store.
    pub fn new(store: &Store) -> Refs {
        Refs { store: store.clone(), root: folder(store.root()) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(Digest::of(name.as_bytes()).hex())
    }

    /// Gives images a name, and removes it from the images that had it.
    pub fn put(&self, name: &str, images: &[Image], at: i64) -> Result<()> {
        let name = normal(name)?;
        let image = |image: &Image| RefImage {
            platform: image.platform.to_string(),
            config: image.id,
            layers: image.layers.clone(),
            epoch: image.epoch,
            manifest: image.manifest,
        };
        let layers = images.iter().flat_map(|image| image.layers.iter().cloned()).collect();
        let entry = Ref { name: name.clone(), at, images: images.iter().map(image).collect(), layers };
        if read(&self.path(&name)).is_some_and(|known| known.images == entry.images && known.layers == entry.layers) {
            return Ok(());
        }
        let bytes =
            serde_json::to_vec(&entry).map_err(|cause| Error::new(Kind::Store, "cannot write a ref").because(cause))?;
        let temp = self.store.temp("ref");
        fs::write(&temp, bytes).at("write", &temp)?;
        fs::create_dir_all(&self.root).at("make", &self.root)?;
        fs::rename(&temp, self.path(&name)).at("write", self.path(&name))
    }

    /// The ref of a name, or the first ref of an image with this ID prefix.
    pub fn get(&self, name: &str) -> Result<Option<Ref>> {
        self.find(name).map(|found| found.into_iter().next())
    }

    /// The ref of a name, or all refs of the image with this ID prefix.
    pub fn find(&self, name: &str) -> Result<Vec<Ref>> {
        if let Ok(full) = normal(name)
            && let Some(found) = read(&self.path(&full))
        {
            return Ok(vec![found]);
        }
        let id = name.strip_prefix("sha256:").unwrap_or(name);
        if id.len() < 4 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Vec::new());
        }
        let named = |entry: &Ref| {
            let ids = entry.images.iter().map(|image| image.config);
            ids.filter(|config| config.hex().starts_with(id)).collect::<Vec<_>>()
        };
        let mut found = self.list()?;
        found.retain(|entry| !named(entry).is_empty());
        let ids: BTreeSet<Digest> = found.iter().flat_map(named).collect();
        if ids.len() > 1 {
            return Err(Error::new(Kind::Usage, format!("the ids of several images begin with `{id}`"))
                .hint("write more of it; `kiln images` lists them"));
        }
        Ok(found)
    }

    /// All refs, sorted by name.
    pub fn list(&self) -> Result<Vec<Ref>> {
        let Ok(found) = fs::read_dir(&self.root) else { return Ok(Vec::new()) };
        let mut all: Vec<Ref> = found.flatten().filter_map(|entry| read(&entry.path())).collect();
        all.sort_by(|one, two| one.name.cmp(&two.name));
        Ok(all)
    }

    /// Removes a name. The next prune deletes the data that nothing else needs.
    pub fn remove(&self, entry: &Ref) -> Result<()> {
        for layer in &entry.layers {
            // If this fails, the layer is deleted when it is old.
            let _ = File::create(self.store.layers().join(layer.to_string()).join(RELEASED));
        }
        match fs::remove_file(self.path(&entry.name)) {
            // Another process removed it first.
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(()),
            done => done.at("remove", self.path(&entry.name)),
        }
    }

    /// The images of a ref, for an export.
    pub fn images(&self, entry: &Ref) -> Result<Vec<Image>> {
        entry.images.iter().map(|image| self.image(image)).collect()
    }

    /// One image of a ref. Takes its layers into use.
    pub fn image(&self, image: &RefImage) -> Result<Image> {
        let names: Vec<String> = image.layers.iter().map(lease::layer).collect();
        let there = |layer: &LayerId| self.store.layers().join(layer.to_string()).join("record").exists();
        if !self.store.keep(&names, || image.layers.iter().all(there)) {
            return Err(Error::new(Kind::Store, format!("the image {} has lost a layer", image.config))
                .hint("build or pull it again; `kiln fsck --repair` takes its name away"));
        }
        let config = self.store.read_blob(&image.config, 8 << 20)?;
        let platform = Platform::parse(&image.platform).map_err(|cause| Error::new(Kind::Store, cause))?;
        let (id, layers) = (image.config, image.layers.clone());
        Ok(Image { config, id, layers, platform, epoch: image.epoch, manifest: image.manifest })
    }
}

fn read(path: &Path) -> Option<Ref> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}
