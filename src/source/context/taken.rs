//! Files of a context that change while a build reads them. Their bytes are taken over first, into a file of the
//! store's temporary folder that nobody else writes, and are hashed and copied from there. So a build comes to an end
//! beside a program that never stops writing, and each image has bytes that its files had at some time.
//!
//! Which: a file that was found changed, from then on; after several times everything that was written lately. Knows
//! nothing of directories and of ignore patterns.

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

/// After so many looks at a context, files that were written lately are taken over before they change again.
const PATIENCE: u32 = 3;
/// What counts as lately.
const LATELY: Duration = Duration::from_secs(60);

/// What was taken over of one context.
#[derive(Default)]
pub(super) struct Taken {
    /// How often the context was found changed.
    changes: AtomicU32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Paths that were found changed.
    wanted: HashSet<Box<[u8]>>,
    /// Where their bytes are now.
    files: HashMap<Box<[u8]>, PathBuf>,
}

impl Taken {
    /// A path was found changed. What was taken over before is dropped: the context is looked at from the beginning.
    pub(super) fn changed(&self, path: Option<&[u8]>) {
        let mut state = lock(&self.state);
        self.changes.fetch_add(1, Ordering::Relaxed);
        state.wanted.extend(path.map(Into::into));
        for (_, file) in state.files.drain() {
            // It goes with the temporary folder if not now.
            let _ = std::fs::remove_file(file);
        }
    }

    /// Whether a file should be taken over before anything is said of it.
    pub(super) fn wants(&self, path: &[u8], stamp: &Stamp) -> bool {
        let changes = self.changes.load(Ordering::Relaxed);
        changes > 0 && (lock(&self.state).wanted.contains(path) || (changes >= PATIENCE && stamp.is_younger(LATELY)))
    }

    /// Takes a file over: as many bytes as it has now. Their number and their digest come back; none if it is no file.
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

    /// The bytes of a file that was taken over.
    pub(super) fn open(&self, path: &[u8]) -> Option<Result<File>> {
        if self.changes.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let state = lock(&self.state);
        state.files.get(path).map(|copy| File::open(copy).at("open", copy))
    }
}
