//! Files to look things up in: a rootfs (`View`) or a directory of the user (`source::context`). Paths are relative to
//! the root, clean, bytes. Nothing is ever resolved by the host.

use super::tree::{Entry, Node, child, parent};
use base::digest::Digest;
use base::error::{Error, Kind, Result};
use std::io::Read;

/// Links followed on one path, as in the kernel's limit for hostile cases.
const MOST_LINKS: usize = 255;

/// Bytes from somewhere.
pub type Stream = Box<dyn Read + Send>;

/// A reader that can be made later, from another thread.
pub type Opener = Box<dyn FnOnce() -> Result<Box<dyn Read + Send>> + Send>;

/// A tree of files that can be looked at and read. Its entries are those that a process would see: none of them is a
/// whiteout, no directory is opaque.
pub trait Files: Send + Sync {
    /// What stands at a path; no link is followed. The root is the empty path.
    fn lookup(&self, path: &[u8]) -> Result<Option<Entry>>;
    /// The names in a directory, sorted.
    fn list(&self, path: &[u8]) -> Result<Vec<Box<[u8]>>>;
    /// What stands in a directory, sorted by name.
    fn children(&self, dir: &[u8]) -> Result<Vec<Entry>> {
        // What vanished since it was listed is not there.
        self.list(dir)?.iter().filter_map(|name| self.lookup(&child(dir, name)).transpose()).collect()
    }
    /// Says that all below a directory will be asked for.
    fn ahead(&self, _dir: &[u8]) -> Result<()> {
        Ok(())
    }
    /// Whether nobody changes the files while they are read.
    fn lasts(&self) -> bool {
        true
    }
    /// The bytes of a regular file, later.
    fn opener(&self, path: &[u8]) -> Opener;
    /// The digest of a regular file's bytes.
    fn digest(&self, path: &[u8]) -> Result<Digest>;

    /// The bytes of a regular file.
    fn open(&self, path: &[u8]) -> Result<Box<dyn Read + Send>> {
        self.opener(path)()
    }
}

/// Whether a read failed because its name led to something else than a file: a directory, a pipe, what a server forgot.
pub fn is_no_file(cause: &std::io::Error) -> bool {
    use std::io::ErrorKind::{IsADirectory, StaleNetworkFileHandle, WouldBlock};
    matches!(cause.kind(), IsADirectory | StaleNetworkFileHandle | WouldBlock)
}

/// Where a path leads.
#[derive(Clone, Debug)]
pub struct Resolution {
    /// Without links. Where something is missing, what is missing is kept as it was written.
    pub path: Box<[u8]>,
    /// What stands there; none if it is missing.
    pub entry: Option<Entry>,
}

/// Follows the links of a path beneath the root: absolute ones begin at the root, `..` stops there.
pub fn resolve(files: &dyn Files, path: &[u8]) -> Result<Resolution> {
    let parts = |path: &[u8]| path.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec).collect::<Vec<_>>();
    let mut todo = parts(path);
    let (mut at, mut links): (Box<[u8]>, usize) = (Box::default(), 0);
    let mut entry = files.lookup(b"")?;
    while let Some(part) = todo.pop() {
        match part.as_slice() {
            b"" | b"." => continue,
            b".." => {
                at = parent(&at).into();
                entry = files.lookup(&at)?;
                continue;
            }
            _ => {}
        }
        let next = child(&at, &part);
        let found = files.lookup(&next)?;
        match found.as_ref().map(|entry| &entry.node) {
            Some(Node::Symlink { target }) => {
                links += 1;
                if links > MOST_LINKS {
                    let shown = String::from_utf8_lossy(path).into_owned();
                    return Err(Error::new(
                        Kind::Dockerfile,
                        format!("too many levels of symbolic links on `{shown}`"),
                    ));
                }
                if target.starts_with(b"/") {
                    at = Box::default();
                }
                todo.extend(parts(target));
            }
            _ => (at, entry) = (next, found),
        }
    }
    Ok(Resolution { path: at, entry })
}
