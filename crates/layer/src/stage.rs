//! Holds the files of an archive before they have names. An archive is read once, in a stream: each
//! file is written with its metadata under its offset in the archive. It is renamed to its path
//! when the whole archive was read and checked. So no file of a damaged or hostile archive ever
//! gets a name.

use super::Flavour;
use super::index::entry_of;
use super::tar::read::{Archive, Member};
use super::tree::Node;
use super::unpack::{new_file, write_file};
use base::error::{At, Error, Result};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use store::remove::remove_tree;

/// A directory of files without names. Dropping it deletes the files that were not taken.
pub(super) struct Stage {
    path: PathBuf,
    dir: OwnedFd,
}

impl Stage {
    pub(super) fn new(path: PathBuf) -> Result<Stage> {
        fs::create_dir(&path).at("make", &path)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(CWD, &path, flags, Mode::empty()).at("open", &path)?;
        Ok(Stage { path, dir })
    }

    /// Writes the archive's current file to the directory.
    pub(super) fn take<R: Read>(
        &self,
        member: &Member,
        archive: &mut Archive<R>,
        flavour: &Flavour,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        let entry = entry_of(member, b"", Node::File { size: member.size, digest: None, offset: None });
        let name = number(member.offset);
        let path = || self.path.join(&name);
        let file = new_file(self.dir.as_fd(), &name, &entry).at("make", path())?;
        let whole = [(0, member.size)];
        let pieces = member.pieces.as_deref().unwrap_or(&whole);
        let mut body = Body { archive, pieces, position: 0, size: member.size, failure: None };
        let written = write_file(&file, &mut body, member.size, buffer);
        if let Some(error) = body.failure {
            return Err(error);
        }
        written.at("write", path())?;
        flavour.finish_file(&file, &entry, &path)
    }

    /// Renames the file at an offset of the archive to its path.
    pub(super) fn give(&self, offset: u64, to: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<()> {
        rustix::fs::renameat(&self.dir, number(offset), to, name)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // A failed removal is repeated with the store's temporary directory.
        let _ = remove_tree(&self.path);
    }
}

fn number(offset: u64) -> OsString {
    format!("{offset:x}").into()
}

/// The content of the current archive member; a sparse file is its pieces with zeros between.
struct Body<'a, R> {
    archive: &'a mut Archive<R>,
    /// The pieces that are not yet read to their end.
    pieces: &'a [(u64, u64)],
    position: u64,
    size: u64,
    /// The archive's own error, which an `io::Error` would lose.
    failure: Option<Error>,
}

impl<R: Read> Read for Body<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let [(offset, length), rest @ ..] = self.pieces
            && self.position >= offset + length
        {
            self.pieces = rest;
        }
        let (start, end) =
            self.pieces.first().map_or((self.size, self.size), |(offset, length)| (*offset, offset + length));
        let stored = self.position >= start;
        let left = if stored { end } else { start } - self.position;
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = if stored && want > 0 {
            self.archive.read(&mut buffer[..want]).map_err(|error| {
                self.failure = Some(error);
                io::Error::other("the archive")
            })?
        } else {
            buffer[..want].fill(0);
            want
        };
        self.position += count as u64;
        Ok(count)
    }
}
