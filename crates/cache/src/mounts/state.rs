//! What is known of a cache mount on this machine: what it held when it was last saved or restored, and which of its files
//! are still those.
//!
//! ```text
//! <mount>/id         the mount's id, for people
//! <mount>/index      the index of then; missing if it was never saved or restored
//! <mount>/stats      JSON: the digest of the index's blob, and of each file (inode, size, time and time of change)
//! <mount>/dirty      a step has used it since
//! ```

use super::index::{Index, files_of};
use base::clock::since_1970;
use base::digest::Digest;
use base::error::{At, Error, Kind, Result};
use layer::tree::{Entry, Tree};
use rustix::fs::{AtFlags, CWD};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

/// A file that changed this shortly before it was looked at may change again unseen: clocks of files tick slowly.
const YOUNG: i128 = 100_000_000;

/// Inode, size, seconds and nanoseconds of modification and of change.
type Stat = [i64; 6];

#[derive(Serialize, Deserialize)]
struct Stats {
    /// Of the blob that the index came or went as.
    index: Digest,
    files: Vec<Option<Stat>>,
}

/// What a mount held.
#[derive(Default)]
pub(super) struct Known {
    pub(super) index: Option<Index>,
    /// The digest of the index's blob.
    pub(super) digest: Option<Digest>,
    /// By path: the number of the file, and what it looked like.
    stats: HashMap<Box<[u8]>, (usize, Stat)>,
}

impl Known {
    /// Reads it; whatever can't be read is not known.
    pub(super) fn read(mount: &Path) -> Known {
        let stats = fs::read(mount.join("stats")).ok().and_then(|bytes| serde_json::from_slice::<Stats>(&bytes).ok());
        let (Some(stats), Ok(index)) = (stats, Index::decode(&mount.join("index"))) else { return Known::default() };
        let files = files_of(&index.tree).zip(stats.files).enumerate();
        let by_path = files.filter_map(|(at, (entry, stat))| Some((entry.path.clone(), (at, stat?)))).collect();
        Known { index: Some(index), digest: Some(stats.index), stats: by_path }
    }

    /// The chunks of a file that is still what it was.
    pub(super) fn chunks(&self, dir: &Path, entry: &Entry) -> Option<Vec<(Digest, u32)>> {
        let (at, stat) = self.stats.get(&entry.path)?;
        let index = self.index.as_ref()?;
        let list = index.files.get(*at).filter(|list| !list.is_empty() || stat[1] == 0)?;
        (stat_of(dir, &entry.path).as_ref() == Some(stat)).then(|| {
            list.iter().map(|chunk| index.chunks[*chunk as usize]).map(|chunk| (chunk.digest, chunk.size)).collect()
        })
    }

    /// All files that are still what they were.
    pub(super) fn files<'a>(&'a self, dir: &'a Path) -> impl Iterator<Item = (Box<[u8]>, Vec<(Digest, u32)>)> + 'a {
        let files = self.index.iter().flat_map(|index| files_of(&index.tree));
        files.filter_map(move |entry| Some((entry.path.clone(), self.chunks(dir, entry)?)))
    }
}

/// Writes down what the mount holds now: nobody may use it meanwhile.
pub(super) fn write(mount: &Path, index: &Index, blob: Digest, packed: &[u8]) -> Result<()> {
    let failed = |cause| Error::new(Kind::System, "cannot write what is known of a cache mount").because(cause);
    let stats = Stats { index: blob, files: stats_of(&mount.join("data"), &index.tree) };
    let stats = serde_json::to_vec(&stats).map_err(failed)?;
    for (name, bytes) in [("stats", stats.as_slice()), ("index", packed)] {
        let temp = mount.join(format!("{name}.new"));
        fs::write(&temp, bytes).and_then(|()| fs::rename(&temp, mount.join(name))).at("write", &temp)?;
    }
    let dirty = mount.join("dirty");
    if dirty.exists() { fs::remove_file(&dirty).at("remove", &dirty) } else { Ok(()) }
}

fn stats_of(dir: &Path, tree: &Tree) -> Vec<Option<Stat>> {
    // What was written just now is old enough to be trusted a moment later.
    std::thread::sleep(Duration::from_millis(120));
    let now = since_1970().as_nanos() as i128;
    let old = |stat: &Stat| i128::from(stat[4]) * 1_000_000_000 + i128::from(stat[5]) + YOUNG < now;
    files_of(tree).map(|entry| stat_of(dir, &entry.path).filter(old)).collect()
}

fn stat_of(dir: &Path, path: &[u8]) -> Option<Stat> {
    let stat = rustix::fs::statat(CWD, dir.join(OsStr::from_bytes(path)), AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some([
        stat.st_ino as i64,
        stat.st_size,
        stat.st_mtime as i64,
        stat.st_mtime_nsec as i64,
        stat.st_ctime as i64,
        stat.st_ctime_nsec as i64,
    ])
}
