//! type=local: a directory, on this machine or on a shared file system.
//!
//! ```text
//! <dest>/objects/<name>           small objects, written to a temporary name and renamed
//! <dest>/chunks/ab/<64 hex>       see `chunked`
//! ```
//! Others may write to it too: see [`beneath`](super::beneath).

use super::beneath::{Beneath, Found, TEMPORARY};
use super::chunked::{self, Chunks};
use super::{Backend, LARGEST_OBJECT, Listed, Surroundings, Wanted};
use base::digest::Digest;
use base::error::{At, Result};
use layer::BaseBlob;
use registry::client::Watch;
use std::collections::HashSet;
use std::path::Path;
use store::Store;

struct Local {
    folder: Beneath,
    store: Store,
}

pub(super) fn open(wanted: &Wanted, surroundings: &Surroundings<'_>) -> Result<Box<dyn Backend>> {
    let root = std::path::absolute(wanted.place()).at("find", wanted.place())?;
    Ok(Box::new(Local { folder: Beneath::new(root), store: surroundings.store.clone() }))
}

fn object(name: &str) -> String {
    format!("objects/{name}")
}

impl Chunks for Local {
    fn has(&self, name: &Digest) -> Result<bool> {
        Ok(self.folder.has(&chunked::path(name)))
    }
    fn get(&self, name: &Digest, limit: u64) -> Result<Option<Vec<u8>>> {
        self.folder.read(&chunked::path(name), limit)
    }
    fn put(&self, name: &Digest, bytes: &[u8]) -> Result<()> {
        self.folder.write(&chunked::path(name), bytes)
    }
}

impl Backend for Local {
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.folder.read(&object(name), LARGEST_OBJECT)
    }
    fn put(&self, name: &str, bytes: &[u8], _: &[BaseBlob]) -> Result<()> {
        self.folder.write(&object(name), bytes)
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
        let ours = |found: &Found| found.name.starts_with(prefix) && !found.name.starts_with(TEMPORARY);
        let found = self.folder.list("objects")?.into_iter().filter(ours);
        Ok(found.map(|found| Listed { name: found.name, at: found.at }).collect())
    }
    fn remove(&self, name: &str) -> Result<()> {
        self.folder.remove(&object(name))
    }
    fn sweep(&self, before: u64, named: &dyn Fn() -> Result<Vec<BaseBlob>>) -> Result<u64> {
        let (mut kept, mut freed) = (HashSet::new(), 0);
        for blob in named()? {
            kept.extend(chunked::names(self, &blob)?.iter().map(Digest::hex));
        }
        for part in self.folder.folders("chunks")? {
            let path = format!("chunks/{part}");
            // A regular file here is no directory of chunks and lists nothing.
            for chunk in self.folder.list(&path).unwrap_or_default() {
                if chunk.at.is_some_and(|at| at <= before) && !kept.contains(&chunk.name) {
                    self.folder.remove(&format!("{path}/{}", chunk.name))?;
                    freed += chunk.size;
                }
            }
        }
        // A killed writer leaves a partial object behind.
        for left in self.folder.list("objects")?.iter().filter(|found| found.name.starts_with(TEMPORARY)) {
            if left.at.is_some_and(|at| at <= before) {
                self.folder.remove(&object(&left.name))?;
            }
        }
        Ok(freed)
    }
}
