//! Sums of a plain tar, computed while it is written: the digest of the whole, and a checksum of
//! each block. With the checksums, a later version of the same layer verifies a part of this one
//! without hashing it twice.
//!
//! `sums` beside `tar` holds the CRC-32 of each [`BLOCK`] bytes as four bytes, little endian; the
//! last block may be shorter. If it is lost, files are hashed one by one. The checksums detect
//! errors of disks and kernels; they do not protect against an attacker.

use base::digest::{Digest, Hasher};
use base::error::{At, Result};
use flate2::Crc;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// The bytes that share a checksum.
const BLOCK: usize = 64 << 10;
/// The bytes of a tar that are read and checked at once.
const WINDOW: usize = 18 * BLOCK;

/// The sums of a tar that is being written.
#[derive(Default)]
pub(super) struct Sums {
    whole: Hasher,
    block: Crc,
    blocks: Vec<u8>,
}

impl Sums {
    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        self.whole.update(bytes);
        while !bytes.is_empty() {
            let room = BLOCK - self.block.amount() as usize;
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            self.block.update(now);
            if self.block.amount() as usize == BLOCK {
                self.end_block();
            }
            bytes = rest;
        }
    }

    fn end_block(&mut self) {
        self.blocks.extend(self.block.sum().to_le_bytes());
        self.block.reset();
    }

    /// Writes the checksums and returns the digest of the whole.
    pub(super) fn finish(mut self, folder: &Path) -> Result<Digest> {
        if self.block.amount() > 0 {
            self.end_block();
        }
        let path = folder.join("sums");
        std::fs::write(&path, &self.blocks).at("write", &path)?;
        Ok(self.whole.finish())
    }
}

/// An earlier tar with its checksums.
pub(super) struct Summed {
    tar: File,
    length: u64,
    blocks: Vec<u8>,
}

impl Summed {
    /// Opens the checksums of a tar; `None` unless they cover all of it.
    pub(super) fn open(tar: &File, folder: &Path) -> Option<Summed> {
        let (tar, blocks) = (tar.try_clone().ok()?, std::fs::read(folder.join("sums")).ok()?);
        let length = tar.metadata().ok()?.len();
        let fits = length.div_ceil(BLOCK as u64) * 4 == blocks.len() as u64;
        fits.then_some(Summed { tar, length, blocks })
    }
}

/// A part of an earlier tar whose checksums were right.
#[derive(Default)]
pub(super) struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// Some bytes of the tar; `None` if they are damaged or missing.
    pub(super) fn part(&mut self, of: &Summed, at: u64, size: usize) -> Option<&[u8]> {
        let inside = at >= self.start && at.saturating_add(size as u64) <= self.start + self.bytes.len() as u64;
        if !inside {
            self.load(of, at, size)?;
        }
        let from = usize::try_from(at - self.start).ok()?;
        self.bytes.get(from..from + size)
    }

    fn load(&mut self, of: &Summed, at: u64, size: usize) -> Option<()> {
        let first = at / BLOCK as u64;
        self.start = first * BLOCK as u64;
        let length = (of.length.checked_sub(self.start)?).min(WINDOW.max(size + BLOCK).next_multiple_of(BLOCK) as u64);
        self.bytes.resize(usize::try_from(length).ok()?, 0);
        let sums = of.blocks.get(usize::try_from(first).ok()? * 4..)?;
        let sound = of.tar.read_exact_at(&mut self.bytes, self.start).is_ok()
            && self.bytes.chunks(BLOCK).zip(sums.chunks_exact(4)).all(|(block, sum)| {
                let mut crc = Crc::new();
                crc.update(block);
                crc.sum().to_le_bytes() == sum
            });
        if !sound {
            self.bytes.clear();
        }
        sound.then_some(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn parts_are_sound_or_none() {
        let temp = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..WINDOW * 2 + 1234).map(|at| (at % 251) as u8).collect();
        let path = temp.path().join("tar");
        std::fs::write(&path, &bytes).unwrap();
        let mut sums = Sums::default();
        bytes.chunks(70_001).for_each(|part| sums.update(part));
        assert_eq!(sums.finish(temp.path()).unwrap(), Digest::of(&bytes));
        let tar = File::options().read(true).write(true).open(&path).unwrap();
        let summed = Summed::open(&tar, temp.path()).unwrap();
        let mut window = Window::default();
        for (at, size) in
            [(0, 1), (5, 4096), (BLOCK - 1, 2), (WINDOW - 1, BLOCK), (3, 2 * WINDOW), (bytes.len() - 9, 9)]
        {
            assert_eq!(window.part(&summed, at as u64, size), Some(&bytes[at..at + size]), "{at} {size}");
        }
        for (at, size) in [(bytes.len() as u64 - 9, 10), (u64::MAX, 1), (bytes.len() as u64 + 1, 0)] {
            assert_eq!(window.part(&summed, at, size), None, "{at} {size}");
        }
        tar.write_all_at(b"XX", BLOCK as u64 * 3).unwrap();
        let mut window = Window::default();
        assert_eq!(window.part(&summed, 0, 1), None, "it is in one window with a damaged block");
        let after = (WINDOW + BLOCK) as u64;
        assert!(window.part(&summed, after, 1).is_some());
        tar.set_len(100).unwrap();
        assert!(Summed::open(&tar, temp.path()).is_none(), "there are sums of more than there is");
    }
}
