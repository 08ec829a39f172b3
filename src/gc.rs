//! The collector and the check of the store. Knows what names what: refs name configs and layers, cache records name
//! layers, layers name blobs; everything else can go.
//!
//! Locking rule: `prune` holds the store's lock exclusively, so no build runs meanwhile. `fsck` only reads, and
//! removes with `--repair` what is damaged: a build that needs it sees a miss.

mod check;

pub use check::fsck;

use crate::cache::{self, RecordFile};
use crate::error::{At, Error, Kind, Result};
use crate::explain::removed;
use crate::image::refs::{self, Ref};
use crate::layer::{LayerId, remove};
use crate::source::fetched;
use crate::store::STORE_VERSION;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Frees what no image needs and no record that is at most `keep` seconds old.
pub fn prune(root: &Path, keep: u64, now: i64, out: &mut dyn Write) -> Result<()> {
    let path = root.join("lock");
    let lock = File::options().create(true).append(true).open(&path).at("open", &path)?;
    if lock.try_lock().is_err() {
        writeln!(out, "waiting for builds to end").map_err(failed)?;
        lock.lock().at("lock", &path)?;
    }
    let base = root.join(format!("store-v{STORE_VERSION}"));
    let mut live = Live::default();
    for file in files(&refs::folder(root)) {
        if let Some(entry) = read::<Ref>(&file) {
            live.blobs.extend(entry.images.iter().map(|image| image.config.hex()));
            live.layers.extend(entry.layers);
        }
    }
    let mut freed = 0;
    let mut gone = Vec::new();
    for file in files(&cache::folder(root).join("records")) {
        let young = |record: &RecordFile| record.records.iter().any(|record| record.at as i64 + keep as i64 > now);
        match read::<RecordFile>(&file).filter(young) {
            Some(record) => live.layers.extend(record.layers),
            None => {
                gone.extend(file.file_name().map(|name| name.to_string_lossy().into_owned()));
                freed += take(&file)?;
            }
        }
    }
    let rule = if keep == 0 { "kiln prune --all".to_owned() } else { "kiln prune".to_owned() };
    removed::note(root, &gone, &rule).at("note", root)?;
    for folder in subfolders(&base.join("layers")) {
        let id = folder.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<LayerId>().ok());
        match id.filter(|id| live.layers.contains(id)) {
            Some(_) => live.keep_blobs_of(&folder),
            None => freed += take(&folder)?,
        }
    }
    for file in files(&base.join("blobs")) {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !live.blobs.contains(&name) {
            freed += take(&file)?;
        }
    }
    for (folder, used) in fetched::all(root) {
        if used.saturating_add(keep as i64) <= now {
            freed += take(&folder)?;
        }
    }
    // Nobody else is here: whatever is temporary was left behind.
    freed += take(&base.join("tmp"))? + take(&cache::folder(root).join("locks"))?;
    if keep == 0 {
        freed += take(&root.join("mounts-v1"))? + take(&cache::folder(root).join("files"))?;
    }
    writeln!(out, "freed {:.1} MB", freed as f64 / 1e6).map_err(failed)
}

fn failed(cause: std::io::Error) -> Error {
    Error::new(Kind::Export, "cannot write the answer").because(cause)
}

#[derive(Default)]
struct Live {
    layers: HashSet<LayerId>,
    blobs: HashSet<String>,
}

impl Live {
    /// The blobs that a layer came as or was packed to.
    fn keep_blobs_of(&mut self, folder: &Path) {
        for file in files(folder).into_iter().filter(|file| file.parent() == Some(folder)) {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("blob-") || name == "record" {
                let text = fs::read_to_string(&file).unwrap_or_default();
                let digests = text.split("sha256:").skip(1).filter_map(|rest| rest.get(..64));
                self.blobs.extend(digests.map(str::to_owned));
            }
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// All files below a folder; links are files.
fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut todo) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                // The files of images are not ours to look through.
                Ok(kind) if kind.is_dir() && !entry.file_name().to_string_lossy().starts_with("dir-") => {
                    todo.push(entry.path())
                }
                Ok(kind) if !kind.is_dir() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Removes a file or tree; says how much it held.
fn take(path: &Path) -> Result<u64> {
    let size = size(path);
    match fs::symlink_metadata(path) {
        Err(_) => return Ok(0),
        Ok(metadata) if metadata.is_dir() => remove(path).at("remove", path)?,
        Ok(_) => fs::remove_file(path).at("remove", path)?,
    }
    Ok(size)
}

/// What a tree takes of the disk.
fn size(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    let own = metadata.blocks() * 512;
    if !metadata.is_dir() {
        return own;
    }
    own + fs::read_dir(path).into_iter().flatten().flatten().map(|entry| size(&entry.path())).sum::<u64>()
}
