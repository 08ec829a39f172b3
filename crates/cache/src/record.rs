//! The local cache: maps keys to small records. Losing one only costs time, so an unreadable record
//! is a miss and a failed write is ignored. This module does not know the content of layers.
//!
//! ```text
//! <root>/cache-v2/
//!   records/<shelf>/ab/<64 hex>   JSON, the newest record first:
//!                                 {"layers": [...],
//!                                  "records": [{"layers", "at", "description"}]}
//!   locks/<64 hex>                flock of the build that runs the step; contains its pid
//! ```
//!
//! `layers` at the top names every layer of every record, for the collector. A record is written to
//! a temporary name and renamed. If two builds add to the same key at once, one record may be lost,
//! which is a miss later. The time of a record's file is that of its last use, to within ten
//! minutes. GC rule: a record lives while the collector's policy says so (see `gc`); a layer lives
//! while a record names it.

use base::digest::Digest;
use layer::LayerId;
use layer::rootfs::Rootfs;
use rustix::fs::{CWD, RenameFlags};
use serde::{Deserialize, Serialize};
use solver::{Cache, Key, Shelf};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::Store;

/// A part of the cache's directory name: a new meaning of keys gets a new directory.
pub const CACHE_VERSION: u32 = solver::key::KEY_VERSION;
/// The number of records kept for one key.
const MOST_RECORDS: usize = 8;
/// The precision of the last use.
const MARK_EVERY: Duration = Duration::from_secs(600);
/// The largest record file in bytes.
const LARGEST_RECORD: u64 = 8 << 20;

/// The records in the store's directory.
#[derive(Clone, Debug)]
pub struct LocalCache {
    store: Store,
    root: PathBuf,
}

/// The content of a file under `records`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct RecordFile {
    /// Every layer that a record of this file names.
    pub layers: Vec<LayerId>,
    /// The records, the newest first.
    pub records: Vec<Record>,
}

/// One remembered result.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The rootfs, the lowest layer first.
    pub layers: Vec<LayerId>,
    /// The time when it was written in seconds since 1970.
    pub at: u64,
    /// The printed description of the key: comparing two of them shows why a step ran again.
    pub description: String,
}

/// The directory of the cache below a store's root.
pub fn folder(root: &Path) -> PathBuf {
    root.join(format!("cache-v{CACHE_VERSION}"))
}

/// The file that records the origin of a blob: the name of an image, a repository or a layout.
pub fn origin(root: &Path, blob: &Digest) -> PathBuf {
    folder(root).join("origins").join(blob.hex())
}

/// Writes a small file that may be lost.
pub fn remember(store: &Store, path: &Path, bytes: &[u8]) {
    let temp = store.temp("memory");
    let _ = path.parent().map(fs::create_dir_all);
    let _ = fs::write(&temp, bytes).and_then(|()| fs::rename(&temp, path));
}

impl LocalCache {
    /// The cache of a store. Directories are made when they are needed.
    pub fn new(store: &Store) -> LocalCache {
        LocalCache { store: store.clone(), root: folder(store.root()) }
    }

    fn path(&self, shelf: Shelf, key: &Key) -> PathBuf {
        let shelf = match shelf {
            Shelf::Written => "written",
            Shelf::Settled => "settled",
            Shelf::Described => "described",
            Shelf::Same => "same",
        };
        let hex = key.to_string();
        self.root.join("records").join(shelf).join(&hex[..2]).join(hex)
    }

    fn read(&self, path: &Path) -> Option<RecordFile> {
        let file = File::open(path).ok()?;
        let metadata = file.metadata().ok()?;
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(LARGEST_RECORD)).ok()? + 1);
        (&file).take(LARGEST_RECORD).read_to_end(&mut bytes).ok()?;
        if metadata.modified().ok().and_then(|time| time.elapsed().ok()).is_some_and(|age| age > MARK_EVERY) {
            // If this fails, the record is collected earlier than it should be.
            let _ = file.set_modified(SystemTime::now());
        }
        serde_json::from_slice(&bytes).ok()
    }

    /// The newest record for a key that `good` accepts, with the description of the key.
    pub fn described(&self, shelf: Shelf, key: &Key, good: &dyn Fn(&Rootfs) -> bool) -> Option<(Rootfs, String)> {
        let records = self.read(&self.path(shelf, key))?.records.into_iter();
        let mut records = records.map(|record| (Rootfs { layers: record.layers }, record.description));
        records.find(|(rootfs, _)| good(rootfs))
    }

    fn write(&self, path: &Path, file: &RecordFile) -> std::io::Result<()> {
        let temp = self.store.temp("record");
        fs::write(&temp, serde_json::to_vec(file)?)?;
        // Replacing a file by a rename makes ext4 write the new file out at once (ext4(5),
        // auto_da_alloc). Exchanging the two does not, and an empty record after a power failure is
        // only a miss.
        match rustix::fs::renameat_with(CWD, &temp, CWD, path, RenameFlags::EXCHANGE) {
            Ok(()) => fs::remove_file(&temp),
            Err(_) => fs::rename(&temp, path).or_else(|_| {
                fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
                fs::rename(&temp, path)
            }),
        }
    }
}

impl Cache<Rootfs> for LocalCache {
    type Lock = File;

    fn get(&self, shelf: Shelf, key: &Key) -> Vec<Rootfs> {
        let file = self.read(&self.path(shelf, key)).unwrap_or_default();
        file.records.into_iter().map(|record| Rootfs { layers: record.layers }).collect()
    }

    fn put(&self, shelf: Shelf, key: &Key, output: &Rootfs, description: &str) {
        let path = self.path(shelf, key);
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let record = Record { layers: output.layers.clone(), at, description: description.to_owned() };
        let mut file = self.read(&path).unwrap_or_default();
        file.records.retain(|old| old.layers != record.layers);
        file.records.insert(0, record);
        file.records.truncate(MOST_RECORDS);
        file.layers = file.records.iter().flat_map(|record| record.layers.iter().cloned()).collect();
        file.layers.sort();
        file.layers.dedup();
        // A record that cannot be written is a miss in a later build.
        let _ = self.write(&path, &file);
    }

    fn try_lock(&self, key: &Key) -> Result<File, String> {
        let path = self.root.join("locks").join(key.to_string());
        let open = || OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
        let file = open().or_else(|_| {
            fs::create_dir_all(self.root.join("locks"))?;
            open()
        });
        // If locks cannot be made, the key is not shared with other builds.
        let mut file = file.or_else(|_| File::open("/dev/null")).map_err(|cause| cause.to_string())?;
        if file.try_lock().is_err() {
            let mut owner = String::new();
            let _ = (&file).take(32).read_to_string(&mut owner);
            return Err(format!("pid {}", owner.trim()));
        }
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rootfs(ids: &[&str]) -> Rootfs {
        Rootfs { layers: ids.iter().map(|id| id.repeat(32).parse().expect("an id")).collect() }
    }

    #[test]
    fn records_are_kept_by_shelf_and_key_the_newest_first_and_damage_is_a_miss() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(dir.path()).expect("a store");
        let (cache, key) = (LocalCache::new(&store), Key([7; 32]));
        cache.put(Shelf::Written, &key, &rootfs(&["a"]), "first");
        cache.put(Shelf::Written, &key, &rootfs(&["a", "b"]), "second");
        let again = LocalCache::new(&store);
        assert_eq!(again.get(Shelf::Written, &key), [rootfs(&["a", "b"]), rootfs(&["a"])]);
        assert_eq!(again.get(Shelf::Settled, &key), []);
        assert_eq!(again.get(Shelf::Written, &Key([8; 32])), []);
        fs::write(cache.path(Shelf::Written, &key), b"{\"layers\": 3").expect("written");
        assert_eq!(again.get(Shelf::Written, &key), []);
    }

    #[test]
    fn a_lock_names_its_owner_and_ends_with_the_holder() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(dir.path()).expect("a store");
        let (cache, key) = (LocalCache::new(&store), Key([7; 32]));
        let lock = cache.try_lock(&key).expect("free");
        assert_eq!(cache.try_lock(&key).err(), Some(format!("pid {}", std::process::id())));
        assert!(cache.try_lock(&Key([8; 32])).is_ok());
        drop(lock);
        assert!(cache.try_lock(&key).is_ok());
    }
}
