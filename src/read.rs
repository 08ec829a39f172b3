//! Reading with a bound: no file and no stream of others is taken whole before its length is known. Knows nothing of what
//! the bytes mean.

use crate::error::{At as _, Error, Kind, Result};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The longest text of a user: a Dockerfile, an ignore file.
pub const LARGEST_TEXT: u64 = 16 << 20;

/// Everything up to the end; none if that is more than `limit` bytes.
pub fn at_most(limit: u64, from: impl Read) -> io::Result<Option<Vec<u8>>> {
    // With nothing to begin with, a file's first bytes are read by the dozen.
    let mut bytes = Vec::with_capacity(usize::try_from(limit).unwrap_or(usize::MAX).min(4096));
    from.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= limit))
}

/// A file of a user's, of at most `limit` bytes; a larger one is refused.
pub fn file(limit: u64, path: &Path) -> Result<Vec<u8>> {
    at_most(limit, File::open(path).at("open", path)?)
        .at("read", path)?
        .ok_or_else(|| Error::new(Kind::Usage, format!("`{}` is larger than {limit} bytes", path.display())))
}

/// A text of a user; longer ones than [`LARGEST_TEXT`] are refused. `name` is what people call it.
pub fn text(from: impl Read, name: impl AsRef<Path>) -> Result<Vec<u8>> {
    at_most(LARGEST_TEXT, from).at("read", &name)?.ok_or_else(|| {
        Error::new(Kind::Usage, format!("`{}` is larger than {LARGEST_TEXT} bytes", name.as_ref().display()))
            .hint("a Dockerfile and an ignore file are text; is this another file?")
    })
}

/// Fills a buffer as far as the stream goes; less than its length means that the stream has ended.
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
        let error = text(io::repeat(b'#'), "standard input").expect_err("endless");
        assert_eq!(error.kind(), Kind::Usage);
        assert_eq!(error.message(), "`standard input` is larger than 16777216 bytes");
    }

    #[test]
    fn a_buffer_is_filled_by_pieces() {
        let mut buffer = [0; 5];
        assert_eq!(fill(&mut (&b"ab"[..]).chain(&b"cdef"[..]), &mut buffer).unwrap(), 5);
        assert_eq!(&buffer, b"abcde");
        assert_eq!(fill(&mut &b"xy"[..], &mut buffer).unwrap(), 2);
    }
}
