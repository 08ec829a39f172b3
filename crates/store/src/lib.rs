//! The store: digest -> bytes. It returns the exact bytes or an error. It knows nothing of images,
//! layers or keys.
//!
//! ```text
//! <root>/
//!   lock                         the gate: shared while an object is taken into use, exclusive
//!                                while the collector renames its victims; held no longer
//!   boot                         the last time when all was on the disk (see `boot`)
//!   store-v1/blobs/sha256/ab/<64 hex>   immutable; written under tmp/ and renamed
//!   store-v1/layers/<id>/        owned by `layer`
//!   store-v1/tmp/<pid>-<n>/      a process's own; removed by its owner, or by the collector if
//!                                no process holds its lease
//!     lease                      flock: held while the process lives; a line for each object that
//!                                it uses (see `lease`)
//!   steps-v1/                    owned by `sandbox`: the steps that run now
//!   cache-v2/                    owned by `cache`
//!   explain-v1/                  owned by `explain`
//!   remotes-v1/                  owned by `cache`: what is known of other caches
//!   remote-objects-v1/           owned by `cache`: objects of other caches that this store has
//!   refs-v1/                     owned by `image`: named images, the roots of the collector
//! ```
//!
//! Only its owner can access it (see `owner`). Nothing incomplete has a name: a kill at any moment
//! loses nothing that was published. GC rule: a blob lives while a ref, a layer or a lease names it
//! (see `gc`). Checking for a blob with [`Store::has`], opening it or writing it takes it into use.

#![warn(unreachable_pub)]

mod arrival;
pub mod boot;
pub mod lease;
pub mod owner;
pub mod remove;

use arrival::{Arrival, Arrivals, Follower};
use base::digest::{Digest, Hasher};
use base::error::{At, Error, Kind, Result};
use base::read;
use lease::Lease;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The version in the names of the store's directories. A change of format makes a new directory,
/// never a migration.
pub const STORE_VERSION: u32 = 1;

/// An open store. Cheap to clone. What it uses stays in use until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    tmp: PathBuf,
    note: Option<String>,
    count: AtomicU64,
    lease: Lease,
    arrivals: Arrivals,
}

impl Store {
    /// Opens the store under `root`, and makes missing directories.
    pub fn open(root: &Path) -> Result<Store> {
        let note = owner::secure(root)?;
        let (tmp, lease) = Lease::begin(root, &root.join(format!("store-v{STORE_VERSION}/tmp")))?;
        Ok(Store(Arc::new(Inner {
            root: root.to_owned(),
            tmp,
            note,
            count: AtomicU64::new(0),
            lease,
            arrivals: Arrivals::default(),
        })))
    }

    /// Takes objects into use if they exist: the collector leaves them alone for as long as this
    /// process has the store open. `there` checks that they exist, or makes them. Names are those
    /// of `lease`.
    pub fn keep(&self, names: &[String], there: impl FnOnce() -> bool) -> bool {
        self.0.lease.keep(names, there)
    }

    /// Makes an object and takes it into use.
    pub fn make<T>(&self, name: String, make: impl FnOnce() -> Result<T>) -> Result<T> {
        self.0.lease.make(name, make)
    }

    /// A message about what opening the store changed, for people.
    pub fn note(&self) -> Option<&str> {
        self.0.note.as_deref()
    }

    /// The root directory of the store.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// The directory of the layers.
    pub fn layers(&self) -> PathBuf {
        self.0.root.join(format!("store-v{STORE_VERSION}/layers"))
    }

    /// A new name in this process's temporary directory, which is on the same file system as
    /// everything that is published.
    pub fn temp(&self, what: &str) -> PathBuf {
        self.0.tmp.join(format!("{}-{what}", self.0.count.fetch_add(1, Ordering::Relaxed)))
    }

    /// The path of a blob, even if it does not exist.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.0.root.join(format!("store-v{STORE_VERSION}/blobs/sha256/{}/{hex}", &hex[..2]))
    }

    /// True if the blob exists. It is in use from now on.
    pub fn has(&self, digest: &Digest) -> bool {
        self.keep(&[lease::blob(digest)], || self.blob_path(digest).exists())
    }

    /// Opens a blob for reading. The reader must verify its digest.
    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        self.has(digest);
        File::open(self.blob_path(digest))
            .map_err(|cause| Error::new(Kind::Store, format!("blob {digest} is not in the store")).because(cause))
    }

    /// Reads a small blob (a manifest, a config) of at most `limit` bytes, and verifies it.
    pub fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let bytes = read::at_most(limit, self.open_blob(digest)?).at("read", self.blob_path(digest))?;
        let large = || Error::new(Kind::Store, format!("blob {digest} is larger than {limit} bytes"));
        let bytes = bytes.ok_or_else(large)?;
        if Digest::of(&bytes) != *digest {
            return Err(Error::new(Kind::Store, format!("blob {digest} is damaged")).hint("run `kiln fsck --repair`"));
        }
        Ok(bytes)
    }

    /// Registers blobs that a thread of this process downloads now, without those that another
    /// thread downloads already.
    pub fn expect(&self, digests: &[Digest]) -> Expected {
        Expected { store: self.clone(), digests: self.0.arrivals.expect(digests) }
    }

    /// Waits until no thread of this process is downloading a blob.
    pub fn await_blob(&self, digest: &Digest) {
        if let Some(arrival) = self.0.arrivals.find(digest) {
            arrival.wait();
        }
    }

    /// Opens a blob for reading. If it is being downloaded, the bytes come as they arrive. The
    /// reader must verify them.
    pub fn follow(&self, digest: &Digest) -> Result<Box<dyn Read + Send>> {
        match self.0.arrivals.find(digest).filter(|_| !self.has(digest)) {
            Some(arrival) => Ok(Box::new(Follower::new(arrival))),
            None => Ok(Box::new(self.open_blob(digest)?)),
        }
    }

    /// Begins to write a blob.
    pub fn blob(&self) -> Result<BlobWriter> {
        self.begin(None)
    }

    /// Begins to write the blob of a digest. Readers that follow it get its bytes.
    pub fn blob_of(&self, digest: &Digest) -> Result<BlobWriter> {
        self.begin(self.0.arrivals.find(digest))
    }

    fn begin(&self, arrival: Option<Arc<Arrival>>) -> Result<BlobWriter> {
        let path = self.temp("blob");
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).at("make", &path)?;
        let file = Arc::new(file);
        arrival.iter().for_each(|arrival| arrival.begin(&file));
        Ok(BlobWriter { store: self.clone(), path, file: Some(file), hasher: Hasher::default(), size: 0, arrival })
    }

    /// Stores bytes from memory.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Blob> {
        let digest = Digest::of(bytes);
        if self.has(&digest) {
            return Ok(Blob { digest, size: bytes.len() as u64 });
        }
        let mut writer = self.blob()?;
        writer.write_all(bytes).at("write", &writer.path)?;
        writer.complete()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The files here were never published. If they can't be removed now, the collector does it.
        let _ = remove::remove_tree(&self.tmp);
    }
}

/// A blob in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob {
    /// The digest.
    pub digest: Digest,
    /// The size in bytes.
    pub size: u64,
}

/// Blobs that are being downloaded. After this is dropped, no reader waits for them.
#[derive(Debug)]
pub struct Expected {
    store: Store,
    digests: Vec<Digest>,
}

impl Expected {
    /// The blobs to download.
    pub fn digests(&self) -> &[Digest] {
        &self.digests
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.digests.iter().for_each(|digest| self.store.0.arrivals.forget(digest));
    }
}

/// Writes a blob. If it is dropped without `complete`, the bytes are removed.
#[derive(Debug)]
pub struct BlobWriter {
    store: Store,
    path: PathBuf,
    file: Option<Arc<File>>,
    hasher: Hasher,
    size: u64,
    /// Notifies the readers that follow this blob.
    arrival: Option<Arc<Arrival>>,
}

impl BlobWriter {
    /// Publishes the bytes under their digest.
    pub fn complete(mut self) -> Result<Blob> {
        drop(self.file.take());
        let digest = std::mem::take(&mut self.hasher).finish();
        let to = self.store.blob_path(&digest);
        let dir = to.parent().expect("a blob stands in a folder");
        fs::create_dir_all(dir).at("make", dir)?;
        self.store.make(lease::blob(&digest), || fs::rename(&self.path, &to).at("write", &to))?;
        self.arrival.take().iter().for_each(|arrival| arrival.finish(true));
        Ok(Blob { digest, size: self.size })
    }

    /// Publishes the bytes if they have the promised digest and size.
    pub fn complete_as(self, digest: &Digest, size: Option<u64>) -> Result<Blob> {
        let got = self.hasher.clone().finish();
        if got != *digest || size.is_some_and(|size| size != self.size) {
            let message = format!("got {got} of {} bytes where {digest} was promised", self.size);
            return Err(
                Error::new(Kind::Source, message).hint("the registry or a proxy on the way is faulty; try again")
            );
        }
        self.complete()
    }

    /// The number of bytes written so far.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut file = &**self.file.as_ref().expect("open until completed");
        let count = file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        self.arrival.iter().for_each(|arrival| arrival.grow(count as u64));
        Ok(count)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        // This fails after `complete`, which has renamed the file.
        let _ = fs::remove_file(&self.path);
        self.arrival.iter().for_each(|arrival| arrival.finish(false));
    }
}
