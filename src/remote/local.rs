//! type=local: a directory, of this machine or of a file system that several share.
//!
//! ```text
//! <dest>/objects/<name>                      small objects, written to a temporary name and renamed
//! <dest>/chunks/ab/<64 hex>                  see `chunked`
//! ```

use super::chunked::{self, Chunks};
use super::{Backend, LARGEST_OBJECT, Listed, Surroundings, Wanted};
use crate::digest::Digest;
use crate::error::{At, Error, Kind, Result};
use crate::layer::BaseBlob;
use crate::outside;
use crate::read;
use crate::registry::client::Watch;
use crate::store::Store;
use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

struct Local {
    root: PathBuf,
    store: Store,
    count: AtomicU64,
}

pub(super) fn open(wanted: &Wanted, surroundings: &Surroundings<'_>) -> Result<Box<dyn Backend>> {
    let root = std::path::absolute(wanted.place()).at("find", wanted.place())?;
    Ok(Box::new(Local { root, store: surroundings.store.clone(), count: AtomicU64::new(0) }))
}

impl Local {
    fn object(&self, name: &str) -> PathBuf {
        self.root.join("objects").join(name)
    }

    /// Another process, or another machine, may write the same name: each has its own temporary one.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let dir = path.parent().unwrap_or(&self.root);
        outside::create_dir_all(dir).at("make", dir)?;
        let unique = format!("{}-{}", std::process::id(), self.count.fetch_add(1, Ordering::Relaxed));
        let host = Digest::of(&fs::read("/etc/machine-id").unwrap_or_default()).hex();
        let temp = dir.join(format!(".{}-{unique}", &host[..12]));
        let done = outside::write(&temp, bytes).and_then(|()| fs::rename(&temp, path));
        done.at("write", path).inspect_err(|_| {
            let _ = fs::remove_file(&temp);
        })
    }
}

fn object(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.at("open", path)?,
    };
    let bytes = read::at_most(limit, file).at("read", path)?;
    let large = || Error::new(Kind::Source, format!("`{}` is larger than {limit} bytes", path.display()));
    bytes.ok_or_else(large).map(Some)
}

/// When a file was written, in seconds since 1970.
fn written(metadata: &fs::Metadata) -> Option<u64> {
    Some(metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

impl Chunks for Local {
    fn has(&self, name: &Digest) -> Result<bool> {
        Ok(self.root.join(chunked::path(name)).exists())
    }
    fn get(&self, name: &Digest, limit: u64) -> Result<Option<Vec<u8>>> {
        object(&self.root.join(chunked::path(name)), limit)
    }
    fn put(&self, name: &Digest, bytes: &[u8]) -> Result<()> {
        self.write(&self.root.join(chunked::path(name)), bytes)
    }
}

impl Backend for Local {
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        object(&self.object(name), LARGEST_OBJECT)
    }
    fn put(&self, name: &str, bytes: &[u8], _: &[BaseBlob]) -> Result<()> {
        self.write(&self.object(name), bytes)
    }
    fn has_blob(&self, blob: &BaseBlob) -> Result<bool> {
        chunked::has(self, blob)
    }
    fn get_blob(&self, blob: &BaseBlob, watch: &Watch<'_>) -> Result<()> {
        chunked::get(self, blob, &self.store, watch)
    }
    fn put_blob(&self, blob: &BaseBlob, from: &Path, watch: &Watch<'_>) -> Result<()> {
        chunked::put(self, blob, from, watch)
    }
    fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        let entries = fs::read_dir(self.root.join("objects")).into_iter().flatten().flatten();
        let listed = |entry: fs::DirEntry| Listed {
            name: entry.file_name().to_string_lossy().into_owned(),
            at: entry.metadata().ok().and_then(|metadata| written(&metadata)),
        };
        let ours = |one: &Listed| one.name.starts_with(prefix) && !one.name.starts_with('.');
        Ok(entries.map(listed).filter(ours).collect())
    }
    fn remove(&self, name: &str) -> Result<()> {
        match fs::remove_file(self.object(name)) {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(()),
            done => done.at("remove", self.object(name)),
        }
    }
    fn sweep(&self, before: u64, named: &dyn Fn() -> Result<Vec<BaseBlob>>) -> Result<u64> {
        let (mut kept, mut freed) = (HashSet::new(), 0);
        for blob in named()? {
            kept.extend(chunked::names(self, &blob)?.iter().map(Digest::hex));
        }
        let folders = fs::read_dir(self.root.join("chunks")).into_iter().flatten().flatten();
        for entry in folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten()) {
            let Ok(metadata) = entry.metadata() else { continue };
            let old = written(&metadata).is_some_and(|at| at <= before);
            if old && !kept.contains(&*entry.file_name().to_string_lossy()) {
                fs::remove_file(entry.path()).at("remove", entry.path())?;
                freed += metadata.len();
            }
        }
        Ok(freed)
    }
}
