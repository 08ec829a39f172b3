//! The inventory of the store: sizes, ages and dependencies. It only reads.
//!
//! Sizes are allocated blocks and inodes, as in `measure`.

use super::measure::{Usage, measure};
use super::{files, read, subfolders};
use crate::image::refs::{self, Ref, RefImage};
use base::error::{At as _, Result};
use cache::record::RecordFile;
use layer::{LayerId, LayerKind, RELEASED, Record};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use store::STORE_VERSION;
use store::lease::Leases;

/// The age in seconds before which indexes are not collected.
const LONGEST_BUILD: i64 = 86_400;

/// Everything in a store that takes space.
pub struct Inventory {
    /// The items that can be listed and removed.
    pub items: Vec<Item>,
    /// The size of the whole store.
    pub total: Usage,
    /// The path of each blob, by the hex digits of its digest.
    pub(super) blobs: HashMap<String, PathBuf>,
}

/// An item of the store.
#[derive(Clone, Debug)]
pub struct Item {
    /// The id of a layer, or the name of a mount or source.
    pub id: String,
    /// The type in BuildKit's terms.
    pub kind: Type,
    /// The items below it.
    pub parents: Vec<String>,
    /// The description for the user.
    pub description: String,
    /// The creation time in seconds since 1970.
    pub created: i64,
    /// The time of the last use in seconds since 1970.
    pub last_used: i64,
    /// The size.
    pub usage: Usage,
    /// True if a build uses it now, or an image needs it.
    pub in_use: bool,
    /// True if an image needs it.
    pub shared: bool,
    /// True if the user removed the last image that needed it, and nothing has used it since: no
    /// age keeps it.
    pub released: bool,
    /// The files that are removed with it, besides the directory of a layer that nothing names any
    /// more.
    pub files: Vec<PathBuf>,
    /// The layers that it keeps.
    pub layers: Vec<LayerId>,
}

/// The type of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A layer.
    Regular,
    /// The directory of a `RUN --mount=type=cache`.
    CacheMount,
    /// A commit of a repository.
    GitCheckout,
    /// A file from a URL.
    Http,
    /// Internal data of kiln.
    Internal,
}

impl Type {
    /// The name in `--filter type=`.
    pub fn name(self) -> &'static str {
        match self {
            Type::Regular => "regular",
            Type::CacheMount => "exec.cachemount",
            Type::GitCheckout => "source.git.checkout",
            Type::Http => "source.http",
            Type::Internal => "internal",
        }
    }

    /// True if it changes while it is kept.
    pub fn is_mutable(self) -> bool {
        self == Type::CacheMount
    }
}

/// The references of images.
#[derive(Default)]
pub(super) struct Named {
    /// The layers of images.
    pub images: HashSet<LayerId>,
    /// The configs and manifests of images.
    pub blobs: HashSet<String>,
}

impl Named {
    /// Reads all refs, or fails: an unreadable name must not lose the data of its image. A damaged
    /// ref names nothing.
    pub(super) fn read(root: &Path) -> Result<Named> {
        let (mut named, folder) = (Named::default(), refs::folder(root));
        let entries = match fs::read_dir(&folder) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(named),
            entries => entries.at("list", &folder)?,
        };
        for entry in entries {
            let path = entry.at("list", &folder)?.path();
            let bytes = match fs::read(&path) {
                // The name was removed at this moment.
                Err(cause) if cause.kind() == ErrorKind::NotFound => continue,
                bytes => bytes.at("read", &path)?,
            };
            if let Ok(entry) = serde_json::from_slice::<Ref>(&bytes) {
                let blobs = |image: &RefImage| [Some(image.config), image.manifest];
                named.blobs.extend(entry.images.iter().flat_map(blobs).flatten().map(|blob| blob.hex()));
                named.images.extend(entry.layers);
            }
        }
        Ok(named)
    }
}

/// The digests of the blobs that a layer was imported from or packed to.
pub(super) fn blobs_of(folder: &Path) -> Vec<String> {
    let mut blobs = Vec::new();
    for path in subfolders(folder) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("blob-") || name == "record" {
            let text = fs::read_to_string(&path).unwrap_or_default();
            blobs.extend(text.split("sha256:").skip(1).filter_map(|rest| rest.get(..64)).map(str::to_owned));
        }
    }
    blobs
}

pub(super) fn layers_folder(root: &Path) -> PathBuf {
    root.join(format!("store-v{STORE_VERSION}/layers"))
}

pub(super) fn tmp_folder(root: &Path) -> PathBuf {
    root.join(format!("store-v{STORE_VERSION}/tmp"))
}

impl Inventory {
    /// Reads the whole store. Unless `exact` is true, layers that have not changed have their last
    /// measured size.
    pub fn read(root: &Path, exact: bool, now: i64) -> Result<Inventory> {
        let (leases, named) = (Leases::read(&tmp_folder(root))?, Named::read(root)?);
        let mut sizes = blob_sizes(root);
        let blobs = sizes.iter().map(|(hex, (path, _))| (hex.clone(), path.clone())).collect();
        let mut known = Sizes::load(root, exact);
        let mut layers = layer_items(root, &leases, &named, &mut sizes, &mut known);
        known.save(root);
        let lost = add_records(root, &mut layers);
        let mut items: Vec<Item> = layers.into_values().collect();
        items.extend(lost);
        items.extend(mounts(root, &leases));
        items.extend(sources(root, &leases));
        items.extend(loose_blobs(&leases, &named, &sizes));
        items.extend(indexes(root, now));
        items.extend(leases.dead.iter().map(|folder| leftover(folder, "left by a build that was killed")));
        items.extend(outdated(root).iter().map(|path| leftover(path, "left by an earlier version of kiln")));
        let sum = items.iter().map(|item| item.usage).sum::<Usage>();
        if !exact {
            return Ok(Inventory { items, total: sum, blobs });
        }
        let total = measure(root);
        let rest = "records, names of images, folders, what builds write now";
        items.push(Item { usage: total.without(sum), ..internal("rest", rest, 0) });
        Ok(Inventory { items, total, blobs })
    }
}

impl Item {
    /// True if it is a blob that no layer names.
    pub(super) fn is_blob(&self) -> bool {
        self.kind == Type::Internal && self.description == BLOB
    }
}

const BLOB: &str = "blob: a manifest, a config";

/// The last measured sizes of layers: name -> (time of its directory, bytes, inodes).
const SIZES: &str = "sizes-v2";

/// The measured sizes of layers. A layer's directory has another time after something was added to
/// it.
#[derive(Default)]
struct Sizes {
    old: HashMap<String, (i64, u64, u64)>,
    new: HashMap<String, (i64, u64, u64)>,
}

impl Sizes {
    fn load(root: &Path, exact: bool) -> Sizes {
        let old = if exact { None } else { read(&root.join(SIZES)) };
        Sizes { old: old.unwrap_or_default(), ..Sizes::default() }
    }

    fn of(&mut self, name: &str, folder: &Path) -> Usage {
        let time =
            fs::symlink_metadata(folder).map_or(0, |metadata| metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec());
        let known = self.old.get(name).filter(|(known, _, _)| *known == time);
        let usage =
            known.map_or_else(|| measure(folder), |(_, bytes, inodes)| Usage { bytes: *bytes, inodes: *inodes });
        self.new.insert(name.to_owned(), (time, usage.bytes, usage.inodes));
        usage
    }

    fn save(&self, root: &Path) {
        // A lost file means measuring again. A reader never sees a partial one, and a killed
        // process's file is swept.
        let temp = tmp_folder(root).join(format!("sizes-{}", std::process::id()));
        let bytes = serde_json::to_vec(&self.new).unwrap_or_default();
        let _ = fs::write(&temp, bytes).and_then(|()| fs::rename(&temp, root.join(SIZES)));
    }
}

fn internal(id: &str, description: &str, used: i64) -> Item {
    Item {
        id: id.to_owned(),
        kind: Type::Internal,
        parents: Vec::new(),
        description: description.to_owned(),
        created: used,
        last_used: used,
        usage: Usage::default(),
        in_use: false,
        shared: false,
        released: false,
        files: Vec::new(),
        layers: Vec::new(),
    }
}

pub(super) fn mtime(path: &Path) -> i64 {
    fs::symlink_metadata(path).map_or(0, |metadata| metadata.mtime())
}

fn blob_sizes(root: &Path) -> HashMap<String, (PathBuf, Usage)> {
    let folder = root.join(format!("store-v{STORE_VERSION}/blobs"));
    let sized = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.to_owned();
        let usage = Usage { bytes: fs::symlink_metadata(&path).ok()?.blocks() * 512, inodes: 1 };
        Some((name, (path, usage)))
    };
    files(&folder).into_iter().filter_map(sized).collect()
}

/// Every layer with the blobs that it was imported from or packed to.
fn layer_items(
    root: &Path,
    leases: &Leases,
    named: &Named,
    blobs: &mut HashMap<String, (PathBuf, Usage)>,
    sizes: &mut Sizes,
) -> BTreeMap<LayerId, Item> {
    let mut all = BTreeMap::new();
    for folder in subfolders(&layers_folder(root)) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Ok(id) = name.parse::<LayerId>() else { continue };
        let record = read::<Record>(&folder.join("record"));
        // A blob that several layers name counts once.
        let packed: Usage = blobs_of(&folder).iter().filter_map(|hex| blobs.remove(hex)).map(|(_, size)| size).sum();
        let shared = named.images.contains(&id);
        let created = record.as_ref().map_or(0, |record| record.created);
        let description = match record.as_ref().map(|record| record.kind) {
            Some(LayerKind::Base) => "layer of a base image",
            Some(LayerKind::Run) => "RUN",
            Some(LayerKind::Copy) => "COPY, ADD or WORKDIR",
            None => "damaged layer",
        };
        let below = record.and_then(|record| record.below().map(ToString::to_string));
        let item = Item {
            kind: Type::Regular,
            parents: below.into_iter().collect(),
            usage: sizes.of(&name, &folder) + packed,
            created,
            in_use: shared || leases.names.contains(&store::lease::layer(&id)),
            shared,
            released: folder.join(RELEASED).exists(),
            ..internal(&name, description, created.max(mtime(&folder.join("record"))))
        };
        all.insert(id, item);
    }
    all
}

/// Adds each record to the topmost layer of its newest result. Returns the records without such a
/// layer.
fn add_records(root: &Path, layers: &mut BTreeMap<LayerId, Item>) -> Vec<Item> {
    let mut lost = Vec::new();
    let mut uses: Vec<(Vec<LayerId>, i64)> = Vec::new();
    for file in files(&cache::record::folder(root).join("records")) {
        let record = read::<RecordFile>(&file);
        let newest = record.as_ref().and_then(|record| record.records.first());
        let top = newest.and_then(|newest| newest.layers.last());
        let Some(item) = top.and_then(|top| layers.get_mut(top)) else {
            lost.push(Item {
                files: vec![file.clone()],
                ..internal("record", "a record without its layer", mtime(&file))
            });
            continue;
        };
        let Some(newest) = newest else { continue };
        let used = mtime(&file);
        if let Some(description) = described(&newest.description) {
            item.description = description;
        }
        if let Some(below) = newest.layers.len().checked_sub(2).and_then(|at| newest.layers.get(at)) {
            item.parents = vec![below.to_string()];
        }
        item.files.push(file);
        // Older results of the same step have records of their own.
        item.layers.extend(newest.layers.iter().cloned());
        uses.push((newest.layers.clone(), used));
    }
    // The layers below a result were used with it.
    for (stack, used) in uses {
        for layer in stack {
            if let Some(item) = layers.get_mut(&layer) {
                item.last_used = item.last_used.max(used);
            }
        }
    }
    for item in layers.values_mut() {
        item.released &= item.last_used <= mtime(&layers_folder(root).join(&item.id).join(RELEASED));
        item.layers.sort();
        item.layers.dedup();
    }
    lost
}

/// Returns `RUN make` or `COPY to /src` from a printed description.
fn described(text: &str) -> Option<String> {
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(plain(line))
    };
    match value("op: ")?.as_str() {
        "exec" => {
            let args = text.lines().skip_while(|line| !line.starts_with("args:")).skip(1);
            let last = args.take_while(|line| line.starts_with(' ')).last()?;
            Some(format!("RUN {}", plain(last)))
        }
        "copy" => Some(format!("COPY to {}", value("dest: ")?)),
        "mkdir" => Some(format!("WORKDIR {}", value("path: ")?)),
        _ => None,
    }
}

/// A printed value without its quotes.
fn plain(line: &str) -> String {
    let line = line.trim();
    line.strip_prefix('"').and_then(|line| line.strip_suffix('"')).unwrap_or(line).replace("\\\"", "\"")
}

fn held(root: &Path, leases: &Leases, path: &Path) -> bool {
    leases.names.contains(&store::lease::path(root, path))
}

fn mounts(root: &Path, leases: &Leases) -> Vec<Item> {
    let item = |path: PathBuf| {
        let used = subfolders(&path).iter().map(|inner| mtime(&inner.join("lock"))).max().unwrap_or(0);
        let id = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let description = fs::read_to_string(path.join("id")).unwrap_or_default();
        Item {
            kind: Type::CacheMount,
            usage: measure(&path),
            created: mtime(&path),
            in_use: held(root, leases, &path),
            files: vec![path.clone()],
            ..internal(&id, &format!("cache mount {}", description.trim()), used.max(mtime(&path.join("lock"))))
        }
    };
    subfolders(&root.join("mounts-v1")).into_iter().map(item).collect()
}

fn sources(root: &Path, leases: &Leases) -> Vec<Item> {
    let item = |(path, used): (PathBuf, i64)| {
        let git = path.parent().is_some_and(|parent| parent.ends_with("git"));
        let id = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Item {
            kind: if git { Type::GitCheckout } else { Type::Http },
            usage: measure(&path),
            in_use: held(root, leases, &path),
            files: vec![path.clone()],
            ..internal(&id, if git { "files of a commit" } else { "file behind a URL" }, used)
        }
    };
    crate::source::fetched::all(root).into_iter().map(item).collect()
}

/// The blobs that no layer names: manifests and configs of bases, and leftovers.
fn loose_blobs(leases: &Leases, named: &Named, blobs: &HashMap<String, (PathBuf, Usage)>) -> Vec<Item> {
    let item = |(hex, (path, usage)): (&String, &(PathBuf, Usage))| Item {
        usage: *usage,
        shared: named.blobs.contains(hex),
        in_use: named.blobs.contains(hex) || leases.names.contains(&format!("blob {hex}")),
        files: vec![path.clone()],
        ..internal(hex, BLOB, mtime(path))
    };
    blobs.iter().map(item).collect()
}

/// A leftover, which each collection removes.
fn leftover(path: &Path, description: &str) -> Item {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Item { usage: measure(path), ..internal(&name, description, mtime(path)) }
}

/// Data of earlier versions that this one makes anew. A name is outdated if it differs from a current one by a lower
/// number: `cache-v1` beside `cache-v2`.
pub(super) fn outdated(root: &Path) -> Vec<PathBuf> {
    fn version(path: &Path) -> Option<(&str, u32)> {
        let (name, number) = path.file_name()?.to_str()?.rsplit_once("-v")?;
        Some((name, number.parse().ok()?))
    }
    let current = [cache::record::folder(root), crate::explain::folder(root), root.join(SIZES)];
    let is_old = |path: &PathBuf| {
        let Some((name, number)) = version(path) else { return false };
        current.iter().filter_map(|path| version(path)).any(|(known, now)| known == name && number < now)
    };
    subfolders(root).into_iter().filter(is_old).collect()
}

/// Indexes and explanations, which are small but grow in number.
fn indexes(root: &Path, now: i64) -> Vec<Item> {
    let folders = ["files", "origins", "pins", "locks"].map(|name| cache::record::folder(root).join(name));
    let explained = ["files", "steps"].map(|name| crate::explain::folder(root).join(name));
    // A running build may rely on an index that it wrote.
    let young = |path: &Path| now.saturating_sub(mtime(path)) < LONGEST_BUILD;
    let item = |path: PathBuf| Item {
        usage: measure(&path),
        in_use: young(&path),
        files: vec![path.clone()],
        ..internal(&path.file_name().unwrap_or_default().to_string_lossy(), "an index, to read less", mtime(&path))
    };
    folders.iter().chain(&explained).flat_map(|folder| files(folder)).map(item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ref_that_cannot_be_looked_at_stops_the_collector() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(Named::read(dir.path()).is_ok_and(|named| named.images.is_empty()));
        let folder = refs::folder(dir.path());
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("damaged"), "{").expect("written");
        assert!(Named::read(dir.path()).is_ok_and(|named| named.images.is_empty()));
        std::os::unix::fs::symlink("loop", folder.join("loop")).expect("a link to itself");
        assert!(Named::read(dir.path()).is_err());
    }

    #[test]
    fn descriptions_are_those_of_the_dockerfile() {
        let run = "op: \"exec\"\nbase: \"0\"\nargs:\n  \"/bin/sh\"\n  \"-c\"\n  \"echo \\\"x\\\"\"\nenv:\n";
        assert_eq!(described(run).as_deref(), Some("RUN echo \"x\""));
        assert_eq!(described("op: \"copy\"\nlink: \"no\"\ndest: \"/src/\"\n").as_deref(), Some("COPY to /src/"));
        assert_eq!(described(""), None);
    }
}
