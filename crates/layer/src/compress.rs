//! Decompresses streams, recognised by their first bytes: gzip, zstd, bzip2, xz, or plain.
//!
//! A few bytes can decompress to any number of zeros. A stream is refused if its output is far
//! larger than its input, or if it asks for a lot of memory.

use super::tar::checksum;
use base::error::{Error, Kind as ErrorKind, Result};
use base::read;
use std::io::{Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Any stream may decompress to this many bytes.
const FREE: u64 = 4 << 30;
/// Beyond that, the limit is this many bytes for each compressed byte. Layers usually compress 2 to
/// 20 times.
const MOST_TIMES: u64 = 200;
/// The largest dictionary of an xz or lzma stream, in KiB; that of `xz -9` is 64 MiB.
const LARGEST_DICTIONARY: u32 = 200 << 10;
/// The largest window of a zstd stream, as a power of two: `zstd --long` writes it and every
/// decoder reads it.
const LARGEST_WINDOW: u32 = 27;

/// The compression format of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 1952, any number of members.
    Gzip,
    /// RFC 8878, any number of frames.
    Zstd,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// No compression.
    Plain,
}

/// Recognises a format by its first bytes.
pub fn format_of(head: &[u8]) -> Format {
    match head {
        [0x1f, 0x8b, ..] => Format::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Format::Zstd,
        [b'B', b'Z', b'h', ..] => Format::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Format::Xz,
        _ => Format::Plain,
    }
}

/// Decompresses a stream, and says in which format it was.
pub fn decompressor(stream: Box<dyn Read + Send>) -> Result<(Box<dyn Read + Send>, Format)> {
    decompressor_within(stream, FREE)
}

fn decompressor_within(mut stream: Box<dyn Read + Send>, free: u64) -> Result<(Box<dyn Read + Send>, Format)> {
    let mut head = [0; 6];
    let got = read::fill(&mut stream, &mut head)
        .map_err(|cause| Error::new(ErrorKind::Source, "cannot read an archive").because(cause))?;
    let format = format_of(&head[..got]);
    let taken = Arc::new(AtomicU64::new(0));
    let whole = Counted { inner: Cursor::new(head[..got].to_vec()).chain(stream), taken: Arc::clone(&taken) };
    let plain: Box<dyn Read + Send> = match format {
        Format::Gzip => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        Format::Zstd => Box::new(zstd_decoder(whole)?),
        Format::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(whole)),
        Format::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(whole, true, LARGEST_DICTIONARY)),
        Format::Plain => return Ok((Box::new(whole), format)),
    };
    Ok((Box::new(Bounded { inner: plain, taken, given: 0, free }), format))
}

fn zstd_decoder<R: Read>(stream: R) -> Result<zstd::Decoder<'static, std::io::BufReader<R>>> {
    let failed = |cause| Error::new(ErrorKind::Source, "cannot read a zstd stream").because(cause);
    let mut decoder = zstd::Decoder::new(stream).map_err(failed)?;
    decoder.window_log_max(LARGEST_WINDOW).map_err(failed)?;
    Ok(decoder)
}

/// Counts the bytes that are read.
struct Counted<R> {
    inner: R,
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.taken.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Fails when the output grows too large.
struct Bounded {
    inner: Box<dyn Read + Send>,
    taken: Arc<AtomicU64>,
    given: u64,
    free: u64,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.given += count as u64;
        let taken = self.taken.load(Ordering::Relaxed);
        if self.given > self.free && self.given / MOST_TIMES > taken {
            let what = format!("{taken} compressed bytes become more than {} bytes: that is a bomb", self.given);
            return Err(std::io::Error::other(what));
        }
        Ok(count)
    }
}

/// True if the bytes begin with a tar header, that is, if its checksum is right.
pub fn begins_tar(head: &[u8]) -> bool {
    let Some(block) = head.get(..512) else { return false };
    let digits: Vec<u8> = block[148..156].iter().copied().filter(|byte| (b'0'..=b'7').contains(byte)).collect();
    let stated = std::str::from_utf8(&digits).ok().and_then(|digits| u64::from_str_radix(digits, 8).ok());
    block.iter().any(|byte| *byte != 0) && stated == Some(checksum(block))
}

#[cfg(test)]
mod tests;
