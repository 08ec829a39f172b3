//! Trees of files to read from: a rootfs (`View`) or a directory of the user (`source::context`).
//! Paths are bytes, clean and relative to the root. The host never resolves one of them.

use super::tree::{Entry, Node, child, parent};
use base::digest::Digest;
use base::error::{Error, Kind, Result};
use std::io::Read;

/// The number of links followed in one path; the kernel has a limit too (path_resolution(7)).
const MOST_LINKS: usize = 255;

/// A stream of bytes.
pub type Stream = Box<dyn Read + Send>;

/// Opens a reader later, possibly in another thread.
pub type Opener = Box<dyn FnOnce() -> Result<Box<dyn Read + Send>> + Send>;

/// A tree of files. Its entries are those that a process would see: there are no whiteouts and no
/// opaque directories.
pub trait Files: Send + Sync {
    /// The entry at a path, without following links. The root is the empty path.
    fn lookup(&self, path: &[u8]) -> Result<Option<Entry>>;
    /// The names in a directory, sorted.
    fn list(&self, path: &[u8]) -> Result<Vec<Box<[u8]>>>;
    /// The entries in a directory, sorted by name.
    fn children(&self, dir: &[u8]) -> Result<Vec<Entry>> {
        // A file that vanished since the listing is left out.
        self.list(dir)?.iter().filter_map(|name| self.lookup(&child(dir, name)).transpose()).collect()
    }
    /// Announces that everything below a directory will be read.
    fn ahead(&self, _dir: &[u8]) -> Result<()> {
        Ok(())
    }
    /// True if the files cannot change while they are read.
    fn lasts(&self) -> bool {
        true
    }
    /// Opens a regular file later.
    fn opener(&self, path: &[u8]) -> Opener;
    /// The digest of a regular file's bytes.
    fn digest(&self, path: &[u8]) -> Result<Digest>;

    /// The bytes of a regular file.
    fn open(&self, path: &[u8]) -> Result<Box<dyn Read + Send>> {
        self.opener(path)()
    }
}

/// True if a read failed because the name led to something other than a file: a directory, a pipe,
/// or a file that an NFS server forgot.
pub fn is_no_file(cause: &std::io::Error) -> bool {
    use std::io::ErrorKind::{IsADirectory, StaleNetworkFileHandle, WouldBlock};
    matches!(cause.kind(), IsADirectory | StaleNetworkFileHandle | WouldBlock)
}

/// The result of resolving a path.
#[derive(Clone, Debug)]
pub struct Resolution {
    /// The path without links. Missing parts are kept as they were written.
    pub path: Box<[u8]>,
    /// The entry at the path; `None` if it is missing.
    pub entry: Option<Entry>,
}

/// Follows the links of a path beneath the root: absolute links begin at the root, and `..` stops
/// there.
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
