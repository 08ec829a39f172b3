//! Fetched sources, kept for the next build.
//!
//! ```text
//! <root>/sources-v1/
//!   http/<sha256 of the URL>/record.json        the server's answer and the file's digest
//!                            <digest>/<name>    the file alone in its directory
//!   git/<sha256 of repository, commit and options>/   the files of one commit
//! ```
//!
//! A directory is made under a temporary name and renamed, so a directory with a name is complete.
//! Its mtime is the time of its last use. GC rule: it is removed if no build has used it for as
//! long as `kiln prune` keeps data, unless a lease names it. A build copies it, so nothing else
//! refers to it.

use base::digest::Digest;
use base::error::{At as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use store::remove::remove_tree;
use store::{Store, lease};

/// The directory of one kind of source.
fn folder(root: &Path, kind: &str) -> PathBuf {
    root.join("sources-v1").join(kind)
}

/// The path of a source, whether it exists or not; makes its parent.
pub(super) fn place(store: &Store, kind: &str, name: &str) -> Result<PathBuf> {
    let folder = folder(store.root(), kind);
    fs::create_dir_all(&folder).at("make", &folder)?;
    Ok(folder.join(Digest::of(name.as_bytes()).hex()))
}

/// Takes a source into use if it exists, and records the time.
pub(super) fn keep(store: &Store, path: &Path) -> bool {
    let there = store.keep(&[lease::path(store.root(), path)], || path.exists());
    if there {
        // Losing the time costs a download later.
        let _ = fs::File::open(path).and_then(|folder| folder.set_modified(SystemTime::now()));
    }
    there
}

/// Renames a finished directory to its path, unless another process was faster.
pub(super) fn publish(made: &Path, place: &Path) -> Result<()> {
    if place.exists() {
        return remove_tree(made).at("remove", made);
    }
    match fs::rename(made, place) {
        Err(_) if place.exists() => remove_tree(made).at("remove", made),
        done => done.at("publish", place),
    }
}

/// All sources, each with the time of its last use in seconds.
pub fn all(root: &Path) -> Vec<(PathBuf, i64)> {
    let entries = ["http", "git"].into_iter().flat_map(|kind| fs::read_dir(folder(root, kind)).into_iter().flatten());
    let used = |path: PathBuf| {
        let time = fs::metadata(&path).and_then(|metadata| metadata.modified()).ok()?;
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Some((path, i64::try_from(since.as_secs()).unwrap_or(i64::MAX)))
    };
    entries.flatten().filter_map(|entry| used(entry.path())).collect()
}
