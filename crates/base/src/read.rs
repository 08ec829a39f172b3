//! Bounded reads: no foreign file or stream is read whole before its length is known. Knows nothing
//! of what the bytes mean.

use crate::error::{At as _, Error, Kind, Result};
use rustix::fs::{FileType, Mode, OFlags};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The largest text of a user, such as a Dockerfile or an ignore file.
pub const LARGEST_TEXT: u64 = 16 << 20;

/// Reads to the end. None if that is more than `limit` bytes.
pub fn at_most(limit: u64, from: impl Read) -> io::Result<Option<Vec<u8>>> {
    // An empty buffer would make the first reads of a file very small.
    let mut bytes = Vec::with_capacity(usize::try_from(limit).unwrap_or(usize::MAX).min(4096));
    from.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= limit))
}

/// Opens a regular file for reading. The kind is checked on the open file, and opening never waits: a
/// pipe may have no writer, and a device may never end.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(File::from(file)),
        FileType::Directory => Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory")),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}

/// Reads a stream of at most `limit` bytes. A longer one is an error of the kind `FileTooLarge`.
pub fn bounded(limit: u64, from: impl Read) -> io::Result<Vec<u8>> {
    let large = || io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {limit} bytes"));
    at_most(limit, from)?.ok_or_else(large)
}

/// Reads a user's file of at most `limit` bytes. A larger one is an error.
pub fn file(limit: u64, path: &Path) -> Result<Vec<u8>> {
    let read = || at_most(limit, File::open(path).at("open", path)?).at("read", path);
    read()
        .map_err(|error| error.within(Kind::Usage))?
        .ok_or_else(|| Error::new(Kind::Usage, format!("`{}` is larger than {limit} bytes", path.display())))
}

/// Reads a user's text of at most [`LARGEST_TEXT`] bytes. A longer one is an error. `name` is the
/// name for messages.
pub fn text(from: impl Read, name: impl AsRef<Path>) -> Result<Vec<u8>> {
    let bytes = at_most(LARGEST_TEXT, from).at("read", &name).map_err(|error| error.within(Kind::Usage))?;
    bytes.ok_or_else(|| {
        Error::new(Kind::Usage, format!("`{}` is larger than {LARGEST_TEXT} bytes", name.as_ref().display()))
            .hint("a Dockerfile and an ignore file are text; is this another file?")
    })
}

/// Reads a file that is most likely short, and has at most `limit` bytes. Saves two system calls:
/// fstat(2), and the read(2) that returns 0.
pub fn short(limit: u64, path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut bytes = vec![0; 1024];
    let got = loop {
        match file.read(&mut bytes) {
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            got => break got?,
        }
    };
    let whole = got < bytes.len();
    bytes.truncate(got);
    if !whole {
        // A regular file has ended if read(2) returns less than was asked for.
        file.take(limit.saturating_add(1).saturating_sub(got as u64)).read_to_end(&mut bytes)?;
    }
    let large = || io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {limit} bytes"));
    if bytes.len() as u64 > limit { Err(large()) } else { Ok(bytes) }
}

/// Fills a buffer. Returns less than its length if the stream has ended.
pub fn fill(from: &mut (impl Read + ?Sized), buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match from.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(count) => got += count,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(got)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_too_long_is_nothing_and_never_cut() {
        assert_eq!(at_most(3, &b"abc"[..]).unwrap(), Some(b"abc".to_vec()));
        assert_eq!(at_most(3, &b"abcd"[..]).unwrap(), None);
        assert_eq!(at_most(0, &b""[..]).unwrap(), Some(Vec::new()));
        let temp = tempfile::NamedTempFile::new().unwrap();
        for length in [0, 1, 1023, 1024, 1025, 5000] {
            let bytes = vec![7; length];
            std::fs::write(&temp, &bytes).unwrap();
            assert_eq!(short(5000, temp.path()).unwrap(), bytes);
            assert!(length == 0 || short(length as u64 - 1, temp.path()).is_err(), "{length}");
        }
        let error = text(io::repeat(b'#'), "standard input").expect_err("endless");
        assert_eq!(error.kind(), Kind::Usage);
        assert_eq!(error.message(), "`standard input` is larger than 16777216 bytes");
    }

    #[test]
    fn only_regular_files_are_opened_and_no_pipe_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let (file, pipe) = (dir.path().join("file"), dir.path().join("pipe"));
        std::fs::write(&file, "text").unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::from(0o600), 0).unwrap();
        assert_eq!(bounded(4, open_regular(&file).unwrap()).unwrap(), b"text");
        assert_eq!(bounded(3, open_regular(&file).unwrap()).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        for other in [pipe.as_path(), dir.path(), Path::new("/dev/zero")] {
            assert!(open_regular(other).is_err(), "{}", other.display());
        }
    }

    #[test]
    fn a_buffer_is_filled_by_pieces() {
        let mut buffer = [0; 5];
        assert_eq!(fill(&mut (&b"ab"[..]).chain(&b"cdef"[..]), &mut buffer).unwrap(), 5);
        assert_eq!(&buffer, b"abcde");
        assert_eq!(fill(&mut &b"xy"[..], &mut buffer).unwrap(), 2);
    }
}
