//! Saves and restores cache mounts (`mounts=true`): the directory of a `RUN --mount=type=cache` is
//! saved after a build, and restored on a machine that has none. This module knows the content of a
//! mount; `engine` owns its directory and holds its lock meanwhile.
//!
//! A save is an index with the packs that it names, and an object that points to it: `mount-<32 hex
//! of the mount's name>-<scope>`. The scope is the value of `mounts-scope=`, for example a branch;
//! a restore takes the first scope that exists. If two jobs save the same mount in the same scope,
//! the last one wins. Each save is complete, so they never mix.

mod index;
mod restore;
mod save;
mod state;

use super::envelope::{self, Signer};
use super::lookup::Source;
use super::{Backend, LARGEST_OBJECT};
use base::clock::since_1970;
use base::digest::Digest;
use base::error::{At, Error, Kind, Result};
use base::sync::lock;
use index::{Index, LARGEST_INDEX};
use layer::{BaseBlob, Layers};
use registry::client::UNWATCHED;
use serde::{Deserialize, Serialize};
use state::Known;
use std::path::Path;
use std::sync::Mutex;
use store::remove::remove_tree;

/// The media type of an index.
const INDEX_TYPE: &str = "application/vnd.kiln.cache.index.v1+zstd";

/// A cache mount on this machine, locked against changes.
#[derive(Clone, Copy, Debug)]
pub struct Mount<'a> {
    /// Its directory; the mounted content is in `data`.
    pub folder: &'a Path,
    /// The name of the directory: 64 hex digits that identify the mount.
    pub name: &'a str,
    /// The mount's `id=`.
    pub id: &'a str,
}

/// The object that points to a saved mount.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    version: u32,
    /// The name of the mount's directory.
    pub name: String,
    /// The mount's `id=`.
    pub id: String,
    /// The scope it was saved in.
    pub scope: String,
    /// The time of the save in seconds since 1970.
    pub at: u64,
    /// The plain size of its files in bytes.
    pub size: u64,
    /// The number of files.
    pub files: u64,
    index: BaseBlob,
    packs: Vec<BaseBlob>,
}

/// The amount that a save or restore moved.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moved {
    /// The number of bytes sent or received.
    pub bytes: u64,
    /// The plain size of the mount in bytes.
    pub of: u64,
}

/// The result of saving a mount to several targets.
#[derive(Debug, Default)]
pub struct Saves {
    /// The saves that sent something new.
    pub moved: Vec<Moved>,
    /// The failures; true if the failure fails the build (`ignore-error=false`).
    pub failures: Vec<(bool, Error)>,
}

/// The target of saves and its settings.
pub(super) struct Place<'a> {
    pub(super) backend: &'a dyn Backend,
    pub(super) signer: Option<&'a Signer>,
    /// The first scope is written; the others are searched for packs that need not be sent again.
    pub(super) scopes: &'a [String],
    /// The largest mount that is saved, in bytes.
    pub(super) limit: u64,
}

/// The name of the object for a mount.
fn object(name: &str, scope: &str) -> String {
    let clean: String =
        scope.chars().map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '-' }).take(24).collect();
    // Two scopes that become equal when cleaned stay apart.
    let clean = if clean == scope { clean } else { format!("{clean}.{}", &Digest::of(scope.as_bytes()).hex()[..8]) };
    format!("mount-{:.32}-{clean}", name)
}

fn find(source: &Source, mount: &Mount<'_>, scopes: &[String]) -> Result<Option<Saved>> {
    for scope in scopes {
        if let Some(saved) = read(source, &object(mount.name, scope))? {
            return Ok(Some(saved));
        }
    }
    Ok(None)
}

/// Reads a saved mount by its name. An unusable one causes one warning and counts as missing.
fn read(source: &Source, name: &str) -> Result<Option<Saved>> {
    let Some(bytes) = source.place.backend.get(name)? else { return Ok(None) };
    let body = envelope::open(name, &bytes, source.verifier.as_ref());
    let saved = body.and_then(|body| serde_json::from_slice::<Saved>(body).map_err(|_| "it is damaged"));
    match saved {
        Ok(saved) if saved.version == 1 && object(&saved.name, &saved.scope) == name => Ok(Some(saved)),
        Ok(_) => Ok(None),
        Err(why) => {
            source.place.warn("mount", &format!("a cache mount is not used: {why}"));
            Ok(None)
        }
    }
}

/// All saved mounts of a source.
pub(super) fn list(source: &Source) -> Result<Vec<Saved>> {
    let names = source.place.backend.list("mount-")?;
    let mut all =
        names.iter().filter_map(|listed| read(source, &listed.name).transpose()).collect::<Result<Vec<_>>>()?;
    all.sort_by(|one, two| (&one.id, &one.scope).cmp(&(&two.id, &two.scope)));
    Ok(all)
}

/// The blobs that the object of a saved mount names, without checking its signature.
pub(super) fn blobs_of(name: &str, object: &[u8]) -> Vec<BaseBlob> {
    let body = envelope::open(name, object, None).ok();
    let saved = body.and_then(|body| serde_json::from_slice::<Saved>(body).ok());
    saved.map_or_else(Vec::new, |saved| saved.packs.into_iter().chain([saved.index]).collect())
}

/// Removes a saved mount; the backend's collector removes its packs.
pub(super) fn forget(backend: &dyn Backend, saved: &Saved) -> Result<()> {
    backend.remove(&object(&saved.name, &saved.scope))
}

/// Restores a mount, unless it has newer content. `None` if there is nothing to restore.
pub(super) fn restore(source: &Source, mount: &Mount<'_>, scopes: &[String], layers: &Layers) -> Result<Option<Moved>> {
    let data = mount.folder.join("data");
    let known = Known::read(mount.folder);
    if data.exists() && (known.index.is_none() || mount.folder.join("dirty").exists()) {
        return Ok(None);
    }
    let Some(saved) = find(source, mount, scopes)? else { return Ok(None) };
    if data.exists() && known.digest == Some(saved.index.digest) {
        return Ok(None);
    }
    let store = layers.store();
    let brought = Mutex::new(Vec::new());
    let bring = |blob: &BaseBlob| {
        if !store.has(&blob.digest) {
            source.place.backend.get_blob(blob, &UNWATCHED)?;
            lock(&brought).push(blob.clone());
        }
        Ok(())
    };
    if saved.index.size > LARGEST_INDEX {
        return Err(Error::new(Kind::Source, "the index of a cache mount is too large"));
    }
    bring(&saved.index)?;
    let packed = store.blob_path(&saved.index.digest);
    let index = Index::decode(&packed)?;
    let bytes = std::fs::read(&packed).at("read", &packed)?;
    let new = store.temp("mount");
    std::fs::create_dir(&new).at("make", &new)?;
    let here = data.exists().then_some((data.as_path(), &known));
    let restored = restore::restore(&index, &new, here, layers.flavour(), store, &|pack| bring(&pack.blob));
    // These blobs were needed once and are not kept in the store. Blobs that the store had before
    // stay.
    let brought = brought.into_inner().unwrap_or_default();
    for blob in &brought {
        let _ = std::fs::remove_file(store.blob_path(&blob.digest));
    }
    let old = store.temp("mount");
    let done = restored.and_then(|()| {
        if data.exists() {
            std::fs::rename(&data, &old).at("replace", &data)?;
        }
        std::fs::rename(&new, &data).at("make", &data)
    });
    let _ = remove_tree(&old).and_then(|()| remove_tree(&new));
    done?;
    state::write(mount.folder, &index, saved.index.digest, &bytes)?;
    Ok(Some(Moved { bytes: brought.iter().map(|blob| blob.size).sum(), of: saved.size }))
}

/// Saves a mount. `None` if it has not changed.
pub(super) fn save(place: &Place<'_>, mount: &Mount<'_>, layers: &Layers) -> Result<Option<Moved>> {
    let (store, data) = (layers.store(), mount.folder.join("data"));
    let known = Known::read(mount.folder);
    let mut moved = Moved::default();
    let earlier = earlier(place, mount, layers, &known, &mut moved)?;
    let scope = place.scopes.first().map(String::as_str).unwrap_or_default();
    if earlier.as_ref().is_some_and(|(_, digest, of)| of == scope && Some(*digest) == known.digest)
        && !mount.folder.join("dirty").exists()
    {
        return Ok(None);
    }
    let size = size_of(&layer::folder::read(&data)?);
    if size > place.limit {
        let message = format!("cache mount `{}` has {} MB, more than mounts-limit= allows", mount.id, size >> 20);
        return Err(Error::new(Kind::Export, message));
    }
    let mut put = |blob: &BaseBlob| {
        let path = store.blob_path(&blob.digest);
        if !place.backend.has_blob(blob)? {
            place.backend.put_blob(blob, &path, &UNWATCHED)?;
            moved.bytes += blob.size;
        }
        std::fs::remove_file(&path).at("remove", &path)
    };
    let earlier = earlier.map(|(index, ..)| index);
    let index = save::save(&data, &known, earlier.as_ref(), store, &mut put)?;
    let bytes = index.encode()?;
    let blob = store.put_blob(&bytes)?;
    let blob = BaseBlob { digest: blob.digest, size: blob.size, media_type: INDEX_TYPE.to_owned() };
    put(&blob)?;
    moved.of = size;
    let packs: Vec<BaseBlob> = index.packs.iter().map(|pack| pack.blob.clone()).collect();
    let blobs: Vec<BaseBlob> = std::iter::once(blob.clone()).chain(packs.iter().cloned()).collect();
    let saved = Saved {
        version: 1,
        name: mount.name.to_owned(),
        id: mount.id.to_owned(),
        scope: scope.to_owned(),
        at: since_1970().as_secs(),
        size,
        files: index.files.len() as u64,
        index: blob.clone(),
        packs,
    };
    let name = object(mount.name, scope);
    let body = serde_json::to_vec(&saved)
        .map_err(|cause| Error::new(Kind::Export, "cannot write an object").because(cause))?;
    let object = envelope::seal(&name, &body, place.signer);
    if object.len() as u64 > LARGEST_OBJECT / 2 {
        return Err(Error::new(Kind::Export, format!("cache mount `{}` has too many packs", mount.id)));
    }
    place.backend.put(&name, &object, &blobs)?;
    state::write(mount.folder, &index, blob.digest, &bytes)?;
    Ok(Some(moved))
}

fn size_of(tree: &layer::tree::Tree) -> u64 {
    let size = |entry: &layer::tree::Entry| match entry.node {
        layer::tree::Node::File { size, .. } => size,
        _ => 0,
    };
    tree.entries.iter().map(size).sum()
}

/// An earlier save whose packs all exist: its index, digest and scope.
fn earlier(
    place: &Place<'_>,
    mount: &Mount<'_>,
    layers: &Layers,
    known: &Known,
    moved: &mut Moved,
) -> Result<Option<(Index, Digest, String)>> {
    for scope in place.scopes {
        let name = object(mount.name, scope);
        let Some(bytes) = place.backend.get(&name)? else { continue };
        // The signature does not matter, as everything that is used from it is named by its
        // content.
        let Ok(body) = envelope::open(&name, &bytes, None) else { continue };
        let Ok(saved) = serde_json::from_slice::<Saved>(body) else { continue };
        let index = match &known.index {
            Some(index) if known.digest == Some(saved.index.digest) => index.clone(),
            _ => {
                let store = layers.store();
                let had = store.has(&saved.index.digest);
                let too_large = saved.index.size > LARGEST_INDEX;
                if too_large || (!had && place.backend.get_blob(&saved.index, &UNWATCHED).is_err()) {
                    continue;
                }
                let path = store.blob_path(&saved.index.digest);
                let index = Index::decode(&path);
                if !had {
                    moved.bytes += saved.index.size;
                    let _ = std::fs::remove_file(&path);
                }
                let Ok(index) = index else { continue };
                index
            }
        };
        let all = index.packs.iter().map(|pack| place.backend.has_blob(&pack.blob)).collect::<Result<Vec<bool>>>()?;
        if all.iter().all(|there| *there) {
            return Ok(Some((index, saved.index.digest, scope.clone())));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::{Surroundings, Wanted, Way};
    use super::*;
    use base::attributes::Attributes;
    use layer::Flavour;
    use registry::Settings;
    use std::sync::Arc;
    use store::Store;

    struct Nobody;

    impl solver::Observer for Nobody {
        fn event(&self, _: std::time::SystemTime, _: &solver::Event) {}
    }

    fn mount<'a>(folder: &'a Path, name: &'a str) -> Mount<'a> {
        Mount { folder, name, id: "m" }
    }

    #[test]
    fn a_restore_takes_away_what_it_brought_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a folder");
        let (cache, settings) = (dir.path().join("cache").display().to_string(), Settings::default());
        let wanted = |way, key| Wanted { way, attributes: Attributes::new("local", [(key, cache.as_str())]) };
        let machine = |name: &str| {
            let folder = dir.path().join(name).join("mount");
            std::fs::create_dir_all(&folder).expect("a folder");
            (Layers::new(Store::open(&dir.path().join(name)).expect("a store"), Flavour::Root), folder)
        };
        let (name, scopes) = ("ab".repeat(32), ["main".to_owned()]);

        let (layers, folder) = machine("first");
        std::fs::create_dir(folder.join("data")).expect("a folder");
        std::fs::write(folder.join("data/file"), "text").expect("written");
        let around = Surroundings { store: layers.store(), settings: &settings };
        let backend = wanted(Way::To, "dest").open(&around).expect("a backend");
        let place = Place { backend: &*backend, signer: None, scopes: &scopes, limit: 1 << 20 };
        save(&place, &mount(&folder, &name), &layers).expect("saved").expect("something new");

        for had in [false, true] {
            let (layers, folder) = machine(if had { "second" } else { "third" });
            let around = Surroundings { store: layers.store(), settings: &settings };
            let observer: Arc<dyn solver::Observer> = Arc::new(Nobody);
            let stopped: super::super::Stopped = Arc::new(|| false);
            let mut places = super::super::place::Places::new(&around, &observer, &stopped);
            let source = Source::open(&wanted(Way::From, "src"), &mut places).expect("a source");
            let saved = find(&source, &mount(&folder, &name), &scopes).expect("an answer").expect("saved");
            let blobs = [&saved.index, &saved.packs[0]];
            for blob in blobs.iter().filter(|_| had) {
                source.place.backend.get_blob(blob, &UNWATCHED).expect("brought");
            }
            restore(&source, &mount(&folder, &name), &scopes, &layers).expect("restored").expect("something");
            assert_eq!(std::fs::read_to_string(folder.join("data/file")).expect("a file"), "text");
            assert!(blobs.iter().all(|blob| layers.store().blob_path(&blob.digest).exists() == had), "had: {had}");
        }
    }
}
