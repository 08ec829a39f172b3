//! Compressed streams, recognised by their first bytes: gzip, zstd, bzip2, xz, or plain.

use crate::error::{Error, Kind as ErrorKind, Result};
use std::io::{Cursor, Read};

/// How a stream is compressed.
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
    /// Not at all.
    Plain,
}

/// What the first bytes say.
pub fn format_of(head: &[u8]) -> Format {
    match head {
        [0x1f, 0x8b, ..] => Format::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Format::Zstd,
        [b'B', b'Z', b'h', ..] => Format::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Format::Xz,
        _ => Format::Plain,
    }
}

/// The stream without its compression.
pub fn decompressor(mut stream: Box<dyn Read + Send>) -> Result<(Box<dyn Read + Send>, Format)> {
    let mut head = [0; 6];
    let mut got = 0;
    while got < head.len() {
        match stream
            .read(&mut head[got..])
            .map_err(|cause| Error::new(ErrorKind::Source, "cannot read an archive").because(cause))?
        {
            0 => break,
            count => got += count,
        }
    }
    let format = format_of(&head[..got]);
    let whole = Cursor::new(head[..got].to_vec()).chain(stream);
    let plain: Box<dyn Read + Send> = match format {
        Format::Gzip => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        Format::Zstd => Box::new(
            zstd::Decoder::new(whole)
                .map_err(|cause| Error::new(ErrorKind::Source, "cannot read a zstd stream").because(cause))?,
        ),
        Format::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(whole)),
        Format::Xz => Box::new(lzma_rust2::XzReader::new(whole, true)),
        Format::Plain => Box::new(whole),
    };
    Ok((plain, format))
}

/// Whether a plain stream begins with a tar header: its checksum is right.
pub fn begins_tar(head: &[u8]) -> bool {
    let Some(block) = head.get(..512) else { return false };
    let digits: Vec<u8> = block[148..156].iter().copied().filter(|byte| (b'0'..=b'7').contains(byte)).collect();
    let stated = std::str::from_utf8(&digits).ok().and_then(|digits| u64::from_str_radix(digits, 8).ok());
    let sum: u64 =
        block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) }).sum();
    block.iter().any(|byte| *byte != 0) && stated == Some(sum)
}
