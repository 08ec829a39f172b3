//! Copies files of a context that change while a build reads them. Their bytes are first copied to
//! a private file in the store's temporary directory, and hashed and used from there. So a build
//! ends beside a program that never stops writing, and each image has bytes that its files had at
//! some time.
//!
//! A file is copied once it was found changed; after several changes every recently written file
//! is. This module does not know directories and ignore patterns.

use super::index::Stamp;
use base::digest::Digest;
use base::error::{At as _, Result};
use base::sync::lock;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use store::Store;

/// After this many changes of a context, recently written files are copied before they change
/// again.
const PATIENCE: u32 = 3;
/// The age up to which a file counts as recently written.
const LATELY: Duration = Duration::from_secs(60);

/// The copied files of one context.
#[derive(Default)]
pub(super) struct Taken {
    /// The number of times that the context was found changed.
    changes: AtomicU32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The paths that were found changed.
    wanted: HashSet<Box<[u8]>>,
    /// The copies of their bytes.
    files: HashMap<Box<[u8]>, PathBuf>,
}

impl Taken {
    /// Records a changed path. The copies are dropped, because the context is read from the
    /// beginning.
    pub(super) fn changed(&self, path: Option<&[u8]>) {
        let mut state = lock(&self.state);
        self.changes.fetch_add(1, Ordering::Relaxed);
        state.wanted.extend(path.map(Into::into));
        for (_, file) in state.files.drain() {
            // If this fails, the temporary directory is removed later.
            let _ = std::fs::remove_file(file);
        }
    }

    /// True if a file should be copied before its entry is made.
    pub(super) fn wants(&self, path: &[u8], stamp: &Stamp) -> bool {
        let changes = self.changes.load(Ordering::Relaxed);
        changes > 0 && (lock(&self.state).wanted.contains(path) || (changes >= PATIENCE && stamp.is_younger(LATELY)))
    }

    /// Copies a file up to its current size. Returns the number of bytes and their digest; `None`
    /// if it is no file.
    pub(super) fn take(&self, path: &[u8], file: File, store: &Store) -> Result<Option<(u64, Digest)>> {
        let metadata = file.metadata().at("read", String::from_utf8_lossy(path).as_ref())?;
        if !metadata.is_file() {
            return Ok(None);
        }
        let copy = store.temp("taken");
        let mut to =
            File::options().read(true).write(true).create_new(true).mode(0o600).open(&copy).at("make", &copy)?;
        let size = std::io::copy(&mut file.take(metadata.len()), &mut to).at("write", &copy)?;
        std::io::Seek::rewind(&mut to).at("read", &copy)?;
        let (digest, size) = Digest::of_file(&mut to, size).at("read", &copy)?;
        lock(&self.state).files.insert(path.into(), copy);
        Ok(Some((size, digest)))
    }

    /// Opens the copy of a file.
    pub(super) fn open(&self, path: &[u8]) -> Option<Result<File>> {
        if self.changes.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let state = lock(&self.state);
        state.files.get(path).map(|copy| File::open(copy).at("open", copy))
    }
}
