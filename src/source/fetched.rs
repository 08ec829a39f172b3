//! What was fetched from elsewhere, kept for the next build.
//!
//! ```text
//! <root>/sources-v1/
//!   http/<sha256 of the URL>/record.json        what the server said of it, and the digest of what came
//!                            <digest>/<name>    the file alone in its folder
//!   git/<sha256 of repository, commit and options>/   the files of one commit
//! ```
//!
//! A folder is made under a temporary name and renamed: what has a name is whole. Its own time says when it was used last.
//! GC rule: what no build used for as long as `kiln prune` keeps is removed, unless a lease names it; a build copies, so nothing else
//! refers here.

use base::digest::Digest;
use base::error::{At as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use store::remove::remove_tree;
use store::{Store, lease};

/// The folder of one kind of source.
fn folder(root: &Path, kind: &str) -> PathBuf {
    root.join("sources-v1").join(kind)
}

/// Where something is kept, or would be.
pub(super) fn place(store: &Store, kind: &str, name: &str) -> Result<PathBuf> {
    let folder = folder(store.root(), kind);
    fs::create_dir_all(&folder).at("make", &folder)?;
    Ok(folder.join(Digest::of(name.as_bytes()).hex()))
}

/// Takes it into use if it is there, and notes that it was used now.
pub(super) fn keep(store: &Store, path: &Path) -> bool {
    let there = store.keep(&[lease::path(store.root(), path)], || path.exists());
    if there {
        // Losing the time costs a download, later.
        let _ = fs::File::open(path).and_then(|folder| folder.set_modified(SystemTime::now()));
    }
    there
}

/// Gives a finished folder its name, unless somebody was faster.
pub(super) fn publish(made: &Path, place: &Path) -> Result<()> {
    if place.exists() {
        return remove_tree(made).at("remove", made);
    }
    match fs::rename(made, place) {
        Err(_) if place.exists() => remove_tree(made).at("remove", made),
        done => done.at("publish", place),
    }
}

/// What is kept, each with the time of its last use in seconds.
pub fn all(root: &Path) -> Vec<(PathBuf, i64)> {
    let entries = ["http", "git"].into_iter().flat_map(|kind| fs::read_dir(folder(root, kind)).into_iter().flatten());
    let used = |path: PathBuf| {
        let time = fs::metadata(&path).and_then(|metadata| metadata.modified()).ok()?;
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Some((path, i64::try_from(since.as_secs()).unwrap_or(i64::MAX)))
    };
    entries.flatten().filter_map(|entry| used(entry.path())).collect()
}
