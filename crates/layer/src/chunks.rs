//! The list of chunks in a packed blob. The next version of the layer compresses only the chunks
//! that changed.
//!
//! A chunk of the earlier blob is reused only if it decompresses to exactly the wanted bytes. A
//! damaged blob or a colliding checksum costs time and nothing else. This module does not interpret
//! the bytes.
//!
//! ```text
//! <layer>/chunks-<compression>[@clamp]
//!   "kilnch01", the number of bytes before the first chunk, then for each chunk its
//!   CRC-32 (ISO-HDLC), plain size and packed size, in order: u32, little endian
//! ```
//!
//! The list is written under a temporary name and renamed, as all small files of a layer, and is
//! deleted with the layer.

use super::pack::{Compression, LAST_BLOCK};
use flate2::{Decompress, FlushDecompress, Status};
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Raise this when a compressor's output changes; otherwise blobs would depend on earlier builds.
const MAGIC: &[u8; 8] = b"kilnch01";
/// The size of a row in bytes.
const ROW: usize = 12;
/// A larger list is damaged: a row stands for at least a quarter of a megabyte.
pub(super) const LARGEST: u64 = 64 << 20;

/// One chunk of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    /// The checksum of the plain bytes.
    pub(super) crc: u32,
    /// The plain size in bytes.
    pub(super) plain: u32,
    /// The compressed size in bytes.
    pub(super) packed: u32,
}

/// Encodes the list. `head` is the number of bytes in the blob before the first chunk.
pub(super) fn encode(head: u32, chunks: &[Chunk]) -> Vec<u8> {
    let rows = chunks.iter().flat_map(|chunk| [chunk.crc, chunk.plain, chunk.packed]);
    let numbers = std::iter::once(head).chain(rows).flat_map(u32::to_le_bytes);
    MAGIC.iter().copied().chain(numbers).collect()
}

/// The chunks of an earlier blob, by checksum.
#[derive(Debug)]
pub(super) struct Known {
    how: Compression,
    blob: File,
    /// Offset and compressed size, by checksum and plain size.
    places: HashMap<(u32, u32), (u64, u32)>,
}

impl Known {
    /// Reads a list and keeps its blob; `None` if the list is damaged.
    pub(super) fn open(list: &[u8], how: Compression, blob: File) -> Option<Known> {
        let (head, rows) = list.strip_prefix(MAGIC)?.split_first_chunk::<4>()?;
        let mut at = u64::from(u32::from_le_bytes(*head));
        let mut places = HashMap::with_capacity(rows.len() / ROW);
        for row in rows.chunks(ROW) {
            let number = |at: usize| row.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
            let (crc, plain, packed) = (number(0)?, number(4)?, number(8)?);
            places.insert((crc, plain), (at, packed));
            at += u64::from(packed);
        }
        Some(Known { how, blob, places })
    }

    /// The compressed form of a chunk, if the earlier blob has it and it is sound.
    pub(super) fn get(&self, crc: u32, plain: &[u8]) -> Option<Vec<u8>> {
        let (at, size) = *self.places.get(&(crc, u32::try_from(plain.len()).ok()?))?;
        // No compressor expands a chunk beyond this, so a larger size is damage.
        let limit = plain.len() + plain.len() / 8 + 1024;
        let mut packed = vec![0; usize::try_from(size).ok().filter(|size| *size <= limit)?];
        self.blob.read_exact_at(&mut packed, at).ok()?;
        is_packed_form(&packed, plain, self.how).then_some(packed)
    }
}

/// The end of a full flush: the length fields of an empty stored block (RFC 1951, 3.2.4).
const FLUSHED: &[u8] = &[0, 0, 0xff, 0xff];

/// True if the chunk and the last block were consumed to the last byte.
fn all_taken(inflate: &Decompress, packed: &[u8]) -> bool {
    inflate.total_in() == (packed.len() + LAST_BLOCK.len()) as u64
}

/// True if `packed` decompresses to exactly `plain`, with no byte left over.
fn is_packed_form(packed: &[u8], plain: &[u8], how: Compression) -> bool {
    match how {
        Compression::Gzip(_) => {
            let mut inflate = Decompress::new(false);
            // One byte more, so that a longer output is noticed.
            let mut out = Vec::with_capacity(plain.len() + 1);
            let mut unpack = |bytes: &[u8]| inflate.decompress_vec(bytes, &mut out, FlushDecompress::None).ok();
            // A final block inside the chunk would end the whole blob. Without a full flush at the
            // end, on a block boundary, the next chunk would be decoded wrongly.
            let whole = unpack(packed).is_some_and(|status| status != Status::StreamEnd) && packed.ends_with(FLUSHED);
            whole && unpack(LAST_BLOCK) == Some(Status::StreamEnd) && all_taken(&inflate, packed) && out == plain
        }
        Compression::Zstd(_) => zstd::bulk::decompress(packed, plain.len()).is_ok_and(|out| out == plain),
        Compression::None => packed == plain,
    }
}

#[cfg(test)]
mod tests {
    use super::super::pack::compress;
    use super::*;
    use flate2::Crc;
    use std::io::{Read as _, Write as _};

    const PLAIN: &[u8] = b"the very same bytes, the very same bytes, the very same bytes";

    fn known(how: Compression, spoil: impl Fn(&mut Vec<u8>, &mut Vec<Chunk>)) -> (Known, u32) {
        let packed = compress(PLAIN, how).expect("compressed");
        let mut crc = Crc::new();
        crc.update(PLAIN);
        let mut blob = [b"head".as_slice(), &packed].concat();
        let size = |bytes: &[u8]| u32::try_from(bytes.len()).expect("small");
        let mut chunks = vec![Chunk { crc: crc.sum(), plain: size(PLAIN), packed: size(&packed) }];
        spoil(&mut blob, &mut chunks);
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&blob).expect("written");
        (Known::open(&encode(4, &chunks), how, file).expect("a list"), crc.sum())
    }

    /// Decompresses concatenated chunks as another program would.
    fn unpacked(chunks: &[u8], how: Compression) -> Vec<u8> {
        let mut out = Vec::new();
        let blob = [chunks, LAST_BLOCK].concat();
        match how {
            Compression::Gzip(_) => drop(flate2::read::DeflateDecoder::new(&blob[..]).read_to_end(&mut out)),
            _ => out = zstd::stream::decode_all(chunks).unwrap_or_default(),
        }
        out
    }

    #[test]
    fn a_chunk_that_does_not_end_where_a_block_ends_is_none() {
        let whole = compress(PLAIN, Compression::GZIP).expect("compressed");
        assert!(is_packed_form(&whole, PLAIN, Compression::GZIP));
        for cut in 1..=5 {
            assert!(!is_packed_form(&whole[..whole.len() - cut], PLAIN, Compression::GZIP), "{cut} bytes less");
        }
        let ended = [&whole[..], LAST_BLOCK].concat();
        assert!(!is_packed_form(&ended, PLAIN, Compression::GZIP), "it ends the blob");
    }

    #[test]
    fn a_chunk_is_had_again_only_if_it_unpacks_to_what_is_wanted() {
        for how in [Compression::GZIP, Compression::ZSTD] {
            let (good, crc) = known(how, |_, _| {});
            assert_eq!(good.get(crc, PLAIN), compress(PLAIN, how).ok(), "{how:?}");
            assert_eq!(good.get(crc, &PLAIN[1..]), None, "{how:?}: another size");
            let other: Vec<u8> = PLAIN.iter().rev().copied().collect();
            assert_eq!(good.get(crc, &other), None, "{how:?}: other bytes of that size and checksum");
            for at in 0..good.blob.metadata().expect("a file").len() as usize - 4 {
                let (bad, crc) = known(how, |blob, _| blob[4 + at] ^= 0x10);
                let twice = bad.get(crc, PLAIN).map(|bytes| unpacked(&[&bytes[..], &bytes[..]].concat(), how));
                assert!(twice.is_none_or(|twice| twice == [PLAIN, PLAIN].concat()), "{how:?}: byte {at} is damaged");
            }
            let (cut, crc) = known(how, |blob, _| blob.truncate(9));
            assert_eq!(cut.get(crc, PLAIN), None, "{how:?}: the blob is shorter");
            let (huge, crc) = known(how, |_, chunks| chunks[0].packed = u32::MAX);
            assert_eq!(huge.get(crc, PLAIN), None, "{how:?}: no chunk is that large");
        }
    }

    #[test]
    fn a_damaged_list_is_none() {
        let chunk = Chunk { crc: 1, plain: 2, packed: 3 };
        let list = encode(10, &[chunk, chunk]);
        let open = |list: &[u8]| Known::open(list, Compression::GZIP, tempfile::tempfile().expect("a file")).is_some();
        assert!(open(&list));
        for bad in [&list[..3], &list[..11], &list[..list.len() - 1], b"kilnch99\0\0\0\0".as_slice()] {
            assert!(!open(bad), "{bad:?}");
        }
    }
}
