//! The index of known files of one context: (device, inode, size, times) -> SHA-256, so that an unchanged file is not
//! read again.
//!
//! ```text
//! <root>/cache-v1/files/<64 hex of the context's path>
//!   "kilnfx01", then rows of 88 bytes, then the CRC-32 of all of it
//! ```
//! One read, one write under a temporary name. Damaged or lost: files are hashed again. git's rule for files too
//! young to trust: a file whose times are not clearly older than the moment it was hashed is not remembered, because
//! it could change again without its times showing it.

use crate::cache;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Kind, Result};
use crate::store::Store;
use crate::sync::lock;
use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

const MAGIC: &[u8; 8] = b"kilnfx01";
const ROW: usize = 88;
/// Times that are nearer to now than this are not trusted, in nanoseconds.
const YOUNG: i128 = 100_000_000;

/// What tells a file's state without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    mtime: i128,
    ctime: i128,
}

impl Stamp {
    pub(super) fn of(stat: &rustix::fs::Statx) -> Stamp {
        let nanos =
            |time: &rustix::fs::StatxTimestamp| i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
        Stamp {
            device: u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor),
            inode: stat.stx_ino,
            size: stat.stx_size,
            mtime: nanos(&stat.stx_mtime),
            ctime: nanos(&stat.stx_ctime),
        }
    }

    fn row(&self, digest: &Digest) -> [u8; ROW] {
        let mut row = [0; ROW];
        row[..8].copy_from_slice(&self.device.to_le_bytes());
        row[8..16].copy_from_slice(&self.inode.to_le_bytes());
        row[16..24].copy_from_slice(&self.size.to_le_bytes());
        row[24..40].copy_from_slice(&self.mtime.to_le_bytes());
        row[40..56].copy_from_slice(&self.ctime.to_le_bytes());
        row[56..].copy_from_slice(&digest.0);
        row
    }

    fn read(row: &[u8]) -> Option<(Stamp, Digest)> {
        let u64_at = |at: usize| Some(u64::from_le_bytes(row.get(at..at + 8)?.try_into().ok()?));
        let i128_at = |at: usize| Some(i128::from_le_bytes(row.get(at..at + 16)?.try_into().ok()?));
        let stamp = Stamp {
            device: u64_at(0)?,
            inode: u64_at(8)?,
            size: u64_at(16)?,
            mtime: i128_at(24)?,
            ctime: i128_at(40)?,
        };
        Some((stamp, Digest(row.get(56..88)?.try_into().ok()?)))
    }
}

/// Digests by stamp.
pub(super) struct Index {
    store: Store,
    path: PathBuf,
    old: OnceLock<HashMap<Stamp, Digest>>,
    new: Mutex<HashMap<Stamp, Digest>>,
}

impl Index {
    /// The index of a context. It is read when it is first asked.
    pub(super) fn open(store: &Store, context: &Path) -> Index {
        use std::os::unix::ffi::OsStrExt as _;
        let name = Digest::of(context.as_os_str().as_bytes()).hex();
        let path = cache::folder(store.root()).join("files").join(name);
        Index { store: store.clone(), path, old: OnceLock::new(), new: Mutex::default() }
    }

    /// The digest of a file, read only if it is not known.
    pub(super) fn digest(&self, stamp: &Stamp, open: impl FnOnce() -> Result<Box<dyn Read + Send>>) -> Result<Digest> {
        if let Some(known) = self.old.get_or_init(|| load(&self.path)).get(stamp) {
            return Ok(*known);
        }
        if let Some(known) = lock(&self.new).get(stamp) {
            return Ok(*known);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128);
        let (mut reader, mut hasher, mut size) = (open()?, Hasher::default(), 0);
        let mut buffer = vec![0; usize::try_from(stamp.size).unwrap_or(usize::MAX).clamp(1, 128 * 1024)];
        loop {
            let count = reader
                .read(&mut buffer)
                .map_err(|cause| Error::new(Kind::Dockerfile, "cannot read a file of the context").because(cause))?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
            size += count as u64;
        }
        let digest = hasher.finish();
        if size == stamp.size && now - stamp.mtime.max(stamp.ctime) > YOUNG {
            lock(&self.new).insert(*stamp, digest);
        }
        Ok(digest)
    }

    /// Writes the index if something is new. One that can't be written is lost: files are hashed again.
    pub(super) fn save(&self) {
        let new = std::mem::take(&mut *lock(&self.new));
        if new.is_empty() {
            return;
        }
        let mut bytes = MAGIC.to_vec();
        // What is old and was replaced has another stamp of the same inode.
        let changed: std::collections::HashSet<(u64, u64)> =
            new.keys().map(|stamp| (stamp.device, stamp.inode)).collect();
        let old = self.old.get_or_init(|| load(&self.path));
        let kept = old.iter().filter(|(stamp, _)| !changed.contains(&(stamp.device, stamp.inode)));
        for (stamp, digest) in kept.chain(&new) {
            bytes.extend(stamp.row(digest));
        }
        let mut crc = flate2::Crc::new();
        crc.update(&bytes);
        bytes.extend(crc.sum().to_le_bytes());
        let temp = self.store.temp("files");
        let _ = self.path.parent().map(std::fs::create_dir_all);
        let _ = std::fs::write(&temp, bytes).and_then(|()| std::fs::rename(&temp, &self.path));
    }
}

fn load(path: &Path) -> HashMap<Stamp, Digest> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let Some((body, sum)) = bytes.len().checked_sub(4).map(|at| bytes.split_at(at)) else { return HashMap::new() };
    let mut crc = flate2::Crc::new();
    crc.update(body);
    match body.strip_prefix(MAGIC) {
        Some(rows) if crc.sum().to_le_bytes() == sum => rows.chunks_exact(ROW).filter_map(Stamp::read).collect(),
        _ => HashMap::new(),
    }
}
