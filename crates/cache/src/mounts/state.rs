//! The state of a cache mount on this machine: its content at the last save or restore, and the
//! files that have not changed since.
//!
//! ```text
//! <mount>/id         the mount's id, for the user
//! <mount>/index      the index of the last save or restore; missing if there was none
//! <mount>/stats      JSON: the digest of the index's blob, and the stat of each file
//! <mount>/dirty      exists if a step has used the mount since
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

/// A file that changed this many nanoseconds before the check may change again unnoticed, as file
/// times come from a coarse clock.
const YOUNG: i128 = 100_000_000;

/// Files that seem to be of the future are not waited for.
const LONGEST_WAIT: Duration = Duration::from_millis(120);

/// Inode, size, mtime and ctime, each in seconds and nanoseconds.
type Stat = [i64; 6];

#[derive(Serialize, Deserialize)]
struct Stats {
    /// The digest of the index's blob.
    index: Digest,
    files: Vec<Option<Stat>>,
}

/// The known content of a mount.
#[derive(Default)]
pub(super) struct Known {
    pub(super) index: Option<Index>,
    /// The digest of the index's blob.
    pub(super) digest: Option<Digest>,
    /// By path: the position of the file in the index, and its stat.
    stats: HashMap<Box<[u8]>, (usize, Stat)>,
}

impl Known {
    /// Reads the state; unreadable parts count as unknown.
    pub(super) fn read(mount: &Path) -> Known {
        let stats = fs::read(mount.join("stats")).ok().and_then(|bytes| serde_json::from_slice::<Stats>(&bytes).ok());
        let (Some(stats), Ok(index)) = (stats, Index::decode(&mount.join("index"))) else { return Known::default() };
        let files = files_of(&index.tree).zip(stats.files).enumerate();
        let by_path = files.filter_map(|(at, (entry, stat))| Some((entry.path.clone(), (at, stat?)))).collect();
        Known { index: Some(index), digest: Some(stats.index), stats: by_path }
    }

    /// The chunks of a file, if it has not changed.
    pub(super) fn chunks(&self, dir: &Path, entry: &Entry) -> Option<Vec<(Digest, u32)>> {
        let (at, stat) = self.stats.get(&entry.path)?;
        let index = self.index.as_ref()?;
        let list = index.files.get(*at).filter(|list| !list.is_empty() || stat[1] == 0)?;
        (stat_of(dir, &entry.path).as_ref() == Some(stat)).then(|| {
            list.iter().map(|chunk| index.chunks[*chunk as usize]).map(|chunk| (chunk.digest, chunk.size)).collect()
        })
    }

    /// All files that have not changed, with their chunks.
    pub(super) fn files<'a>(&'a self, dir: &'a Path) -> impl Iterator<Item = (Box<[u8]>, Vec<(Digest, u32)>)> + 'a {
        let files = self.index.iter().flat_map(|index| files_of(&index.tree));
        files.filter_map(move |entry| Some((entry.path.clone(), self.chunks(dir, entry)?)))
    }
}

/// Records the current content of a mount, which the caller holds.
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
    let now = || since_1970().as_nanos() as i128;
    let trusted_from = |stat: &Stat| i128::from(stat[4]) * 1_000_000_000 + i128::from(stat[5]) + YOUNG;
    let began = now();
    let mut stats: Vec<Option<Stat>> = files_of(tree).map(|entry| stat_of(dir, &entry.path)).collect();
    let young = |stat: &Option<Stat>| stat.as_ref().is_some_and(|stat| trusted_from(stat) >= began);
    let Some(last) = stats.iter().filter(|stat| young(stat)).flatten().map(trusted_from).max() else { return stats };
    // A file that was written just now is old enough to be trusted a moment later.
    let wait = u64::try_from(last - now() + 1).unwrap_or(0);
    std::thread::sleep(Duration::from_nanos(wait).min(LONGEST_WAIT));
    let began = now();
    for (entry, stat) in files_of(tree).zip(&mut stats).filter(|(_, stat)| young(stat)) {
        *stat = stat_of(dir, &entry.path).filter(|stat| trusted_from(stat) < began);
    }
    stats
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
