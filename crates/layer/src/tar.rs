//! Tar archives as layers hold them: reading ustar, GNU and PAX (with sparse files), writing PAX as Go's
//! `archive/tar` does. Knows nothing of layers, whiteouts or disks. Formats: pax(1), tar(5) of libarchive.

pub mod read;
pub mod write;

/// Everything in a tar is padded to this.
pub(crate) const BLOCK: u64 = 512;

/// The sum of a header block's bytes, in which the field of the checksum itself counts as blanks.
pub(crate) fn checksum(block: &[u8]) -> u64 {
    let byte = |(at, byte): (usize, &u8)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) };
    block.iter().enumerate().map(byte).sum()
}

/// Bytes of padding behind a file's content.
pub fn padding(size: u64) -> u64 {
    (BLOCK - size % BLOCK) % BLOCK
}
