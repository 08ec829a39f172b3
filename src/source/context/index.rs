//! The index of known files of one context: maps device, inode, size and times to SHA-256, so that
//! an unchanged file is not read again.
//!
//! ```text
//! <root>/cache-v2/files/<64 hex of the context's path>
//!   "kilnfx01", then rows of 88 bytes, then the CRC-32 of all of it
//! ```
//! It takes one read and one write under a temporary name, and no write if nothing is new. The rows
//! are used as they are in the file; loading makes only a table of their positions by inode. If it
//! is damaged or lost, files are hashed again.
//!
//! A digest is kept only if the hashed file had the stamp before and after: a name may lead to
//! another file when it is opened. As in git, a file whose times are too close to the moment of
//! hashing is not kept, because it could change again without a change of its times.

use base::digest::Digest;
use base::error::{Error, Kind, Result};
use base::sync::lock;
use layer::files::is_no_file;
use rustix::fs::{AtFlags, StatxFlags};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::Store;

const MAGIC: &[u8; 8] = b"kilnfx01";
const ROW: usize = 88;
/// The size of a stamp in a row.
const STAMP: usize = 56;
/// Times closer to now than this are not trusted, in nanoseconds.
const YOUNG: i128 = 100_000_000;
/// The same for a file system that seems to keep only full seconds, or every other one.
const YOUNG_IN_SECONDS: i128 = 2_100_000_000;
const SECOND: i128 = 1_000_000_000;

/// The state of a file without its content.
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

    /// The stamp of an open file.
    pub(super) fn of_file(file: &File) -> Option<Stamp> {
        rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).ok().map(|stat| Stamp::of(&stat))
    }

    pub(super) fn device(&self) -> u64 {
        self.device
    }

    /// True if it was written or renamed less than this ago.
    pub(super) fn is_younger(&self, than: Duration) -> bool {
        now() - self.last() < i128::try_from(than.as_nanos()).unwrap_or(i128::MAX)
    }

    /// The time of the last change.
    fn last(&self) -> i128 {
        self.mtime.max(self.ctime)
    }

    /// True if a later change would give another stamp, as seen from `then`.
    fn is_settled(&self, then: i128) -> bool {
        let coarse = self.ctime % SECOND == 0;
        then - self.last() > if coarse { YOUNG_IN_SECONDS } else { YOUNG }
    }

    /// The bytes of the stamp in a row.
    fn bytes(&self) -> [u8; STAMP] {
        let mut row = [0; STAMP];
        row[..8].copy_from_slice(&self.device.to_le_bytes());
        row[8..16].copy_from_slice(&self.inode.to_le_bytes());
        row[16..24].copy_from_slice(&self.size.to_le_bytes());
        row[24..40].copy_from_slice(&self.mtime.to_le_bytes());
        row[40..56].copy_from_slice(&self.ctime.to_le_bytes());
        row
    }
}

/// The rows of a file, and an open-addressing table of their positions, twice as large as needed.
#[derive(Default)]
struct Rows {
    bytes: Vec<u8>,
    /// Row numbers from 1; 0 is a free slot.
    places: Vec<u32>,
}

impl Rows {
    fn load(path: &Path) -> Rows {
        let mut bytes = std::fs::read(path).unwrap_or_default();
        let Some((body, sum)) = bytes.len().checked_sub(4).map(|at| bytes.split_at(at)) else { return Rows::default() };
        let mut crc = flate2::Crc::new();
        crc.update(body);
        let whole = body.starts_with(MAGIC) && (body.len() - MAGIC.len()).is_multiple_of(ROW);
        if crc.sum().to_le_bytes() != sum || !whole || bytes.len() / ROW >= u32::MAX as usize / 4 {
            return Rows::default();
        }
        bytes.truncate(bytes.len() - 4);
        let mut rows = Rows { places: Vec::new(), bytes };
        let count = rows.iter().count();
        let mut places = vec![0_u32; (count * 2).next_power_of_two()];
        for (number, row) in rows.iter().enumerate() {
            let mut at = home(&row[..16], places.len());
            while places[at] != 0 {
                at = (at + 1) % places.len();
            }
            places[at] = number as u32 + 1;
        }
        rows.places = places;
        rows
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.get(MAGIC.len()..).unwrap_or_default().chunks_exact(ROW)
    }

    fn find(&self, stamp: &Stamp) -> Option<Digest> {
        let wanted = stamp.bytes();
        let mut at = home(&wanted[..16], self.places.len());
        loop {
            let number = self.places.get(at).copied()?.checked_sub(1)?;
            let start = MAGIC.len() + number as usize * ROW;
            let row = self.bytes.get(start..start + ROW)?;
            if row[..STAMP] == wanted {
                return Some(Digest(row[STAMP..].try_into().ok()?));
            }
            at = (at + 1) % self.places.len();
        }
    }
}

/// The first slot for a file's row. Files made together have neighbouring inode numbers, and so
/// have their slots: sixteen in a row.
fn home(file: &[u8], places: usize) -> usize {
    let (device, inode) = (number(&file[..8]), number(&file[8..16]));
    let group = (device.rotate_left(40) ^ (inode >> 4)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (((group >> 28) as usize) << 4 | (inode & 15) as usize) & places.saturating_sub(1)
}

fn number(part: &[u8]) -> u64 {
    part.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Nanoseconds since 1970.
fn now() -> i128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128)
}

/// Maps stamps to digests.
pub(super) struct Index {
    store: Store,
    path: PathBuf,
    old: OnceLock<Rows>,
    new: Mutex<HashMap<Stamp, Digest>>,
}

impl Index {
    /// The index of a context. It is read when it is first used.
    pub(super) fn open(store: &Store, context: &Path) -> Index {
        use std::os::unix::ffi::OsStrExt as _;
        let name = Digest::of(context.as_os_str().as_bytes()).hex();
        let path = cache::record::folder(store.root()).join("files").join(name);
        Index { store: store.clone(), path, old: OnceLock::new(), new: Mutex::default() }
    }

    /// The digest of a file, if an earlier build knew it.
    pub(super) fn known(&self, stamp: &Stamp) -> Option<Digest> {
        self.old.get_or_init(|| Rows::load(&self.path)).find(stamp)
    }

    /// The digest of a file, which is read only if the digest is not known. `None` if the file is
    /// now shorter than its stamp says; of a file that has grown, only the earlier length counts.
    pub(super) fn digest(&self, stamp: &Stamp, open: impl FnOnce() -> Result<File>) -> Result<Option<Digest>> {
        if let Some(known) = self.known(stamp) {
            return Ok(Some(known));
        }
        if let Some(known) = lock(&self.new).get(stamp) {
            return Ok(Some(*known));
        }
        let (then, file) = (now(), open()?);
        let (digest, size) = match Digest::of_file(&mut (&file).take(stamp.size), stamp.size) {
            Ok(hashed) => hashed,
            Err(cause) if is_no_file(&cause) => return Ok(None),
            Err(cause) => {
                return Err(Error::new(Kind::Dockerfile, "cannot read a file of the context").because(cause));
            }
        };
        if size != stamp.size {
            return Ok(None);
        }
        if stamp.is_settled(then) && Stamp::of_file(&file).as_ref() == Some(stamp) {
            lock(&self.new).insert(*stamp, digest);
        }
        Ok(Some(digest))
    }

    /// Writes the index if something is new. If that fails, files are hashed again.
    pub(super) fn save(&self) {
        let new = std::mem::take(&mut *lock(&self.new));
        if new.is_empty() {
            return;
        }
        let mut bytes = MAGIC.to_vec();
        // An outdated row has another stamp for the same inode.
        let file = |stamp: &Stamp| <[u8; 16]>::try_from(&stamp.bytes()[..16]).unwrap_or_default();
        let changed: HashSet<[u8; 16]> = new.keys().map(file).collect();
        let old = self.old.get_or_init(|| Rows::load(&self.path));
        let row = |(stamp, digest): (&Stamp, &Digest)| [&stamp.bytes()[..], &digest.0].concat();
        let new: Vec<Vec<u8>> = new.iter().map(row).collect();
        let kept = old.iter().filter(|row| !changed.contains(&row[..16]));
        let mut rows: Vec<&[u8]> = kept.chain(new.iter().map(Vec::as_slice)).collect();
        // Sorted by device and inode, which keeps the files of one directory together.
        rows.sort_unstable_by_key(|row| (number(&row[..8]), number(&row[8..16])));
        rows.iter().for_each(|row| bytes.extend(*row));
        let mut crc = flate2::Crc::new();
        crc.update(&bytes);
        bytes.extend(crc.sum().to_le_bytes());
        let temp = self.store.temp("files");
        let _ = self.path.parent().map(std::fs::create_dir_all);
        let _ = std::fs::write(&temp, bytes).and_then(|()| std::fs::rename(&temp, &self.path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(inode: u64) -> Stamp {
        Stamp { device: 3, inode, size: inode * 7, mtime: i128::from(inode) << 40, ctime: -1 }
    }

    #[test]
    fn rows_are_found_by_every_part_of_their_stamp_and_damage_is_an_empty_index() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(dir.path()).expect("a store");
        let context = Path::new("/some/context");
        let digest = |inode: u64| Digest::of(&inode.to_le_bytes());
        let index = Index::open(&store, context);
        index.new.lock().expect("free").extend((0..3000).map(|inode| (stamp(inode), digest(inode))));
        index.save();
        let again = Index::open(&store, context);
        assert!((0..3000).all(|inode| again.known(&stamp(inode)) == Some(digest(inode))));
        assert_eq!(again.known(&stamp(3000)), None);
        assert_eq!(again.known(&Stamp { ctime: 0, ..stamp(5) }), None);
        // A changed file replaces its row; the others stay.
        let changed = Stamp { size: 1, ..stamp(5) };
        again.new.lock().expect("free").insert(changed, digest(99));
        again.save();
        let last = Index::open(&store, context);
        assert_eq!((last.known(&changed), last.known(&stamp(5))), (Some(digest(99)), None));
        assert_eq!(last.known(&stamp(6)), Some(digest(6)));
        let mut bytes = std::fs::read(&last.path).expect("written");
        bytes[100] ^= 1;
        std::fs::write(&last.path, bytes).expect("written");
        assert_eq!(Index::open(&store, context).known(&stamp(6)), None);
        assert_eq!(Index::open(&store, Path::new("/other")).known(&stamp(6)), None);
    }
}
