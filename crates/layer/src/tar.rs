//! Tar archives: reads ustar, GNU and PAX (with sparse files), writes PAX as Go's `archive/tar`
//! does. This module does not know layers, whiteouts or disks. Formats: pax(1), tar(5) of
//! libarchive.

pub mod read;
pub mod write;

/// The block size of a tar.
pub(crate) const BLOCK: u64 = 512;

/// The sum of a header's bytes, with the checksum field counted as blanks.
pub(crate) fn checksum(block: &[u8]) -> u64 {
    let byte = |(at, byte): (usize, &u8)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) };
    block.iter().enumerate().map(byte).sum()
}

/// The padding after a file's content, in bytes.
pub fn padding(size: u64) -> u64 {
    (BLOCK - size % BLOCK) % BLOCK
}
