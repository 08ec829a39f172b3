//! Layers: one filesystem diff each, immutable, in up to three forms. Each form is made from
//! another one when it is needed. This module does not know keys, images or registries.
//!
//! ```text
//! <root>/store-v1/layers/<id>/
//!   record            JSON: the layer's kind and metadata; written last
//!   tree              the index (see `encode`); a base layer gets it when it is first read
//!   tar               a COPY's plain tar: its bytes until a dir is made
//!   sums              checksums of the blocks of that tar (see `sums`)
//!   dir-<flavour>/    unpacked and mountable; `root` with trusted.* marks, `user-<mapping>` with
//!                     user.* marks
//!   again-<n>-<flavour>/   a copy of hard links, for a rootfs that holds the layer n + 1 times
//!                     (see `again`)
//!   content           the content digest            diff-id[@<clamp>]    of the plain tar
//!   blob-<how>[@<clamp>]   digest and size of a packed blob in the store
//!   facts             the facts of a layer that was imported from a build cache (see `travel`)
//!   vouched           the keys that vouch for an imported layer, and for layers built on it
//!                     (see `trust`)
//!   lock              flock: held while a dir is made
//!   released          its time is when the user removed the name of an image with this layer; a
//!                     layer that was not used since then is not kept for being young
//! ```
//!
//! Everything is written under a temporary name and renamed; publishing a layer renames its whole
//! directory. Derived files may be lost, as they can be made again. The collector keeps a layer
//! while a ref, a cache record or a lease names it. Making a layer takes it into use; code that
//! finds a layer's name in a record takes it into use with [`Layers::keep`].

#![warn(unreachable_pub)]

mod again;
mod ahead;
mod base_layer;
pub mod chunk;
mod chunks;
pub mod compress;
mod cores;
mod derive;
mod encode;
pub mod files;
pub mod folder;
mod harvest;
mod index;
mod known;
#[cfg(test)]
#[path = "../../../tests/common/lacks.rs"]
mod lacks;
mod pack;
mod publish;
pub mod rootfs;
mod stage;
mod sums;
pub mod tar;
mod travel;
pub mod tree;
pub mod trust;
pub mod unpack;
pub mod view;
mod write;

/// The file of a layer whose time says when the user removed an image with the layer.
pub const RELEASED: &str = "released";

pub use derive::PackedBlob;
pub use pack::Compression;
pub use publish::Draft;
pub use travel::Facts;

use base::digest::Digest;
use base::error::{At, Error, Kind, Result};
use base::read;
use base::sync::lock;
use files::Opener;
use known::Known;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use store::{Store, lease};
use tree::{Entry, Node, Tree};

/// The largest record of a layer in bytes.
const LARGEST_RECORD: u64 = 1 << 20;

/// The name of a layer, in hex: the chain id of a base layer (OCI image specification, config.md),
/// a digest for an imported layer, otherwise a random number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LayerId(String);

impl std::str::FromStr for LayerId {
    type Err = String;
    fn from_str(text: &str) -> Result<LayerId, String> {
        let hex = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if hex && matches!(text.len(), 32 | 64) {
            Ok(LayerId(text.to_owned()))
        } else {
            Err(format!("`{text:.80}` is no layer id"))
        }
    }
}

impl TryFrom<String> for LayerId {
    type Error = String;
    fn try_from(text: String) -> Result<LayerId, String> {
        text.parse()
    }
}

impl From<LayerId> for String {
    fn from(id: LayerId) -> String {
        id.0
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The identity that a directory is made for. It decides the ids in the directory and the form of
/// overlayfs's marks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Real root.
    Root,
    /// Root of a user namespace with this mapping.
    User {
        /// The mapping as a short name for a directory.
        mapping: String,
        /// True if the mapping has one id only: owners are recorded in the tree alone.
        single_id: bool,
    },
}

impl Flavour {
    fn folder(&self) -> String {
        match self {
            Flavour::Root => "dir-root".to_owned(),
            Flavour::User { mapping, .. } => format!("dir-user-{mapping}"),
        }
    }
}

/// The metadata of a layer, fixed when it is made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The kind of step that made it.
    pub kind: LayerKind,
    /// The creation time in seconds since 1970; for a base layer the time when it was first seen.
    pub created: i64,
    /// Start and end of its RUN in seconds and nanoseconds.
    #[serde(default)]
    window: Option<[(i64, u32); 2]>,
    /// The compressed blob that it was imported from.
    #[serde(default)]
    pub blob: Option<BaseBlob>,
    /// The layer that the same step made before. It may be gone.
    #[serde(default)]
    earlier: Option<LayerId>,
    /// The layer below an imported layer. It supplies what the archive leaves out.
    #[serde(default)]
    below: Option<LayerId>,
}

impl Record {
    /// The duration of a RUN in milliseconds.
    pub fn took(&self) -> Option<u64> {
        let [begin, end] = self.window?.map(|(seconds, nanos)| seconds * 1000 + i64::from(nanos / 1_000_000));
        u64::try_from(end - begin).ok()
    }

    /// The layer below an imported layer.
    pub fn below(&self) -> Option<&LayerId> {
        self.below.as_ref()
    }
}

/// The kind of step that made a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerKind {
    /// A base image.
    Base,
    /// A RUN.
    Run,
    /// A COPY, ADD or WORKDIR.
    Copy,
}

/// The blob that a layer was imported from: by a base image or by a build cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseBlob {
    /// The digest of the compressed bytes.
    pub digest: Digest,
    /// The size in bytes.
    pub size: u64,
    /// The media type from the manifest.
    pub media_type: String,
}

/// The content of an entry in a layer that is being made.
pub enum Bytes {
    /// No content: the entry is not a file, or is a hard link to an earlier entry.
    None,
    /// These bytes.
    Inline(Vec<u8>),
    /// The bytes of a reader. They cannot change, as they lie in a layer or in a private file.
    Open(Opener),
    /// A file of the user, which may have changed since it was hashed, and its path.
    Watched(Opener, Box<[u8]>),
}

/// All layers of a store, for one identity. Cheap to clone.
#[derive(Clone)]
pub struct Layers(Arc<Inner>);

/// A lock that one derivation holds at a time.
type Turn = Arc<Mutex<()>>;

struct Inner {
    store: Store,
    flavour: Flavour,
    trees: Mutex<HashMap<LayerId, Arc<Tree>>>,
    known: Known,
    busy: Mutex<HashMap<(LayerId, String), Turn>>,
}

impl Layers {
    /// The layers of a store.
    pub fn new(store: Store, flavour: Flavour) -> Layers {
        Layers(Arc::new(Inner {
            store,
            flavour,
            trees: Mutex::default(),
            known: Known::default(),
            busy: Mutex::default(),
        }))
    }

    /// The store of the layers.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// The identity that directories are made for.
    pub fn flavour(&self) -> &Flavour {
        &self.0.flavour
    }

    /// The name of the directories for this identity.
    pub fn flavour_folder(&self) -> String {
        self.0.flavour.folder()
    }

    fn folder(&self, id: &LayerId) -> PathBuf {
        self.0.store.layers().join(&id.0)
    }

    /// True if the layer was published.
    pub fn exists(&self, id: &LayerId) -> bool {
        self.folder(id).join("record").exists()
    }

    /// Takes layers into use. Returns false if one of them does not exist.
    pub fn keep(&self, ids: &[LayerId]) -> bool {
        if self.0.known.has(ids) {
            return true;
        }
        let names: Vec<String> = ids.iter().map(lease::layer).collect();
        let there = self.0.store.keep(&names, || ids.iter().all(|id| self.exists(id)));
        if there {
            self.0.known.add(ids);
        }
        there
    }

    /// The metadata of a layer.
    pub fn record(&self, id: &LayerId) -> Result<Record> {
        if let Some(record) = self.0.known.get(id, |seen| seen.record.clone()).flatten() {
            return Ok(record);
        }
        let path = self.folder(id).join("record");
        let bytes = read::short(LARGEST_RECORD, &path).map_err(|cause| damaged(id, "has no record").because(cause))?;
        let record: Record = serde_json::from_slice(&bytes)
            .map_err(|cause| damaged(id, "has a record that can't be read").because(cause))?;
        self.0.known.note(id, |seen| seen.record = Some(record.clone()));
        Ok(record)
    }

    /// The blob that the store must have before the tree or a file of this layer can be read;
    /// `None` if nothing is missing.
    pub fn needs_blob(&self, id: &LayerId) -> Option<BaseBlob> {
        let folder = self.folder(id);
        let indexed = || lock(&self.0.trees).contains_key(id) || folder.join("tree").exists();
        if indexed() && (self.has_dir(id) || folder.join(self.0.flavour.folder()).exists()) {
            return None;
        }
        self.record(id).ok()?.blob.filter(|blob| !self.0.store.has(&blob.digest))
    }

    /// The blob of this layer, if the store lacks it.
    pub fn missing_blob(&self, id: &LayerId) -> Option<BaseBlob> {
        self.record(id).ok()?.blob.filter(|blob| !self.0.store.has(&blob.digest))
    }

    /// The index of a layer. Files may lack digests.
    pub fn tree(&self, id: &LayerId) -> Result<Arc<Tree>> {
        if let Some(tree) = lock(&self.0.trees).get(id) {
            return Ok(Arc::clone(tree));
        }
        self.once(id, "tree", || {
            if let Some(tree) = lock(&self.0.trees).get(id) {
                return Ok(Arc::clone(tree));
            }
            let path = self.folder(id).join("tree");
            let tree = match fs::read(&path) {
                Ok(bytes) => encode::decode(&bytes).ok_or_else(|| damaged(id, "has a damaged tree"))?,
                Err(_) => self.index_base(id)?,
            };
            let tree = Arc::new(tree);
            lock(&self.0.trees).insert(id.clone(), Arc::clone(&tree));
            Ok(tree)
        })
    }

    /// True if this process has seen the layer's directory for this identity.
    fn has_dir(&self, id: &LayerId) -> bool {
        self.0.known.get(id, |seen| seen.dir).unwrap_or(false)
    }

    /// The directory of a layer for a mount, made if needed.
    pub fn dir(&self, id: &LayerId) -> Result<PathBuf> {
        let dir = self.folder(id).join(self.0.flavour.folder());
        if self.has_dir(id) {
            return Ok(dir);
        }
        if !dir.exists() {
            self.make_dir_once(id, &dir)?;
        }
        self.0.known.note(id, |seen| seen.dir = true);
        Ok(dir)
    }

    fn make_dir_once(&self, id: &LayerId, dir: &Path) -> Result<()> {
        self.once(id, "dir", || {
            let path = self.folder(id).join("lock");
            let lock = File::create(&path).at("open", &path)?;
            lock.lock().at("lock", &path)?;
            if dir.exists() { Ok(()) } else { self.make_dir(id, dir) }
        })
    }

    /// Waits while another thread makes the directory of a layer, and its tree with it.
    fn await_dir(&self, id: &LayerId) {
        let turn = lock(&self.0.busy).get(&(id.clone(), "dir".to_owned())).map(Arc::clone);
        turn.iter().for_each(|turn| drop(lock(turn)));
    }

    /// The directories of layers for one mount. Missing ones are made in parallel.
    pub fn dirs<'a>(&self, ids: impl Iterator<Item = &'a LayerId>) -> Result<Vec<PathBuf>> {
        let ids: Vec<&LayerId> = ids.collect();
        let mut missing = ids.clone();
        missing.retain(|id| !self.has_dir(id) && !self.folder(id).join(self.0.flavour.folder()).exists());
        missing.sort();
        missing.dedup();
        cores::each(&missing, |id| self.dir(id).map(drop))?;
        let mut times = HashMap::new();
        let dir = |id: &&LayerId| match times.entry((*id).clone()).and_modify(|times| *times += 1).or_insert(0) {
            0 => self.dir(id),
            more => self.dir_again(id, *more),
        };
        ids.iter().map(dir).collect()
    }

    /// Opens a file of this layer by its entry.
    pub fn open(&self, id: &LayerId, entry: &Entry) -> Result<Box<dyn Read + Send>> {
        if let Node::File { size, offset: Some(offset), .. } = entry.node {
            let tar = self.folder(id).join("tar");
            if let Ok(mut file) = File::open(&tar) {
                std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(offset)).at("read", &tar)?;
                return Ok(Box::new(file.take(size)));
            }
        }
        open_beneath(&self.dir(id)?, &entry.path)
    }

    /// The digest of a file's bytes.
    pub fn digest(&self, id: &LayerId, entry: &Entry) -> Result<Digest> {
        match entry.node {
            Node::File { digest: Some(digest), .. } => Ok(digest),
            Node::File { size, .. } => Digest::of_file(&mut *self.open(id, entry)?, size)
                .map(|(digest, _)| digest)
                .map_err(|cause| Error::new(Kind::Store, "cannot read a file of a layer").because(cause)),
            _ => Ok(Digest::of(b"")),
        }
    }

    /// Runs `work` while no other thread of this process does the same for the layer.
    fn once<T>(&self, id: &LayerId, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let turn = Arc::clone(lock(&self.0.busy).entry((id.clone(), what.to_owned())).or_default());
        let _turn = lock(&turn);
        work()
    }
}

/// Opens a file of a layer's directory without following links.
fn open_beneath(dir: &Path, path: &[u8]) -> Result<Box<dyn Read + Send>> {
    use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
    let base = File::open(dir).at("open", dir)?;
    let flags = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let open = openat2(&base, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty(), flags);
    let fd = open.at("read", dir.join(String::from_utf8_lossy(path).as_ref()))?;
    Ok(Box::new(File::from(fd)))
}

fn random_id() -> Result<LayerId> {
    base::random::name().at("read", "/dev/urandom").map(LayerId)
}

fn json(record: &Record) -> Result<Vec<u8>> {
    serde_json::to_vec(record).map_err(|cause| Error::new(Kind::System, "cannot write a layer's record").because(cause))
}

fn damaged(id: &LayerId, what: &str) -> Error {
    Error::new(Kind::Store, format!("layer {id} {what}")).hint("run `kiln fsck --repair`; what is lost is built again")
}

#[cfg(test)]
mod tests;
