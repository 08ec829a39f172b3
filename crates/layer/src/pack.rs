//! Packs a layer: writes its tree and files as a tar and compresses it, in one pass on all cores.
//! The bytes depend on the content alone, never on threads.
//!
//! gzip is one member of raw deflate chunks without a dictionary. Each chunk ends with a full flush
//! (RFC 1951, 3.2.4) and their checksums are combined. zstd is one frame per chunk. `chunk` says
//! where chunks are cut.

use super::chunk::Chunker;
use super::chunks::{Chunk, Known};
use super::tar::{padding, write};
use super::tree::{Entry, Node, Tree, name, parent};
use base::attributes::Attributes;
use base::digest::{Digest, Hasher};
use base::error::{Error, Kind, Result};
use flate2::{Compress, Compression as Level, Crc, FlushCompress};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// The compression of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// gzip at a level from 0 to 9.
    Gzip(u32),
    /// zstd at a level from 1 to 22.
    Zstd(i32),
    /// No compression.
    None,
}

impl Compression {
    /// gzip at the level that compresses as well as Go's default, at its speed or better (measured:
    /// zlib-rs 4).
    pub const GZIP: Compression = Compression::Gzip(4);
    /// zstd at its default level.
    pub const ZSTD: Compression = Compression::Zstd(3);

    /// Reads `compression=` and `compression-level=`. The default is gzip, and a level above the
    /// highest of its format becomes the highest.
    pub fn wanted(attributes: &Attributes) -> Result<Compression> {
        let level = attributes.text("compression-level").map(|text| {
            text.parse::<u32>().ok().filter(|level| *level <= 22).ok_or_else(|| {
                Error::new(Kind::Usage, format!("compression-level={text} is no level"))
                    .hint("gzip has 0 to 9, zstd 1 to 22")
            })
        });
        let level = level.transpose()?;
        match attributes.text("compression") {
            None | Some("gzip") => Ok(level.map_or(Compression::GZIP, |level| Compression::Gzip(level.min(9)))),
            Some("zstd") => Ok(level.map_or(Compression::ZSTD, |level| Compression::Zstd(level.clamp(1, 22) as i32))),
            Some("uncompressed") => Ok(Compression::None),
            Some(other) => Err(Error::unknown("compression", other, ["gzip", "zstd", "uncompressed"])),
        }
    }

    /// The OCI media type of a layer with this compression.
    pub fn media_type(self) -> &'static str {
        match self {
            Compression::Gzip(_) => "application/vnd.oci.image.layer.v1.tar+gzip",
            Compression::Zstd(_) => "application/vnd.oci.image.layer.v1.tar+zstd",
            Compression::None => "application/vnd.oci.image.layer.v1.tar",
        }
    }

    /// The part of a file name that stands for this compression.
    pub(super) fn label(self) -> String {
        match self {
            Compression::Gzip(level) => format!("gzip{level}"),
            Compression::Zstd(level) => format!("zstd{level}"),
            Compression::None => "plain".to_owned(),
        }
    }
}

/// Opens the content of a file of the tree.
pub(super) type Open<'a> = dyn Fn(&Entry) -> Result<Box<dyn Read + Send>> + Sync + 'a;

/// Writes the tar of a tree. `clamp` is the latest time in it.
pub(super) fn write_tar(tree: &Tree, open: &Open<'_>, clamp: Option<i64>, out: &mut Take<'_>) -> Result<()> {
    let mut first: HashMap<u32, &[u8]> = HashMap::new();
    let mut buffer = vec![0; 256 * 1024];
    for entry in tree.entries.iter().filter(|entry| !entry.path.is_empty()) {
        if let Some(earlier) = entry.link.and_then(|link| first.get(&link)) {
            out(&write::header(&entry.path, entry, write::Kind::Link(earlier), clamp))?;
            continue;
        }
        if let Some(link) = entry.link {
            first.insert(link, &entry.path);
        }
        match &entry.node {
            Node::Whiteout => {
                let dir = parent(&entry.path);
                let slash: &[u8] = if dir.is_empty() { b"" } else { b"/" };
                let path = [dir, slash, b".wh.", name(&entry.path)].concat();
                out(&write::header(&path, entry, write::Kind::Whiteout, clamp))?;
            }
            Node::File { size, .. } => {
                out(&write::header(&entry.path, entry, write::Kind::Node, clamp))?;
                content(entry, *size, open, &mut buffer, out)?;
            }
            Node::Dir { opaque: true } => {
                out(&write::header(&entry.path, entry, write::Kind::Node, clamp))?;
                let path = [&entry.path, b"/.wh..wh..opq".as_slice()].concat();
                out(&write::header(&path, &Entry { mode: 0, ..entry.clone() }, write::Kind::Whiteout, clamp))?;
            }
            _ => out(&write::header(&entry.path, entry, write::Kind::Node, clamp))?,
        }
    }
    out(&write::END)
}

fn content(entry: &Entry, size: u64, open: &Open<'_>, buffer: &mut [u8], out: &mut Take<'_>) -> Result<()> {
    let path = || String::from_utf8_lossy(&entry.path).into_owned();
    let mut left = size;
    if size > 0 {
        let mut reader = open(entry)?;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let got = reader.read(&mut buffer[..want]);
            let got = got.map_err(|cause| {
                Error::new(Kind::Store, format!("cannot read `{}` of a layer", path())).because(cause)
            })?;
            if got == 0 {
                return Err(Error::new(Kind::Store, format!("`{}` of a layer is shorter than it was", path())));
            }
            out(&buffer[..got])?;
            left -= got as u64;
        }
    }
    out(&[0; 512][..padding(size) as usize])
}

/// The digest of the plain tar.
pub(super) fn diff_id(tree: &Tree, open: &Open<'_>, clamp: Option<i64>) -> Result<Digest> {
    let mut hasher = Hasher::default();
    write_tar(tree, open, clamp, &mut |bytes| {
        hasher.update(bytes);
        Ok(())
    })?;
    Ok(hasher.finish())
}

/// Takes the bytes of a plain tar.
pub(super) type Take<'a> = dyn FnMut(&[u8]) -> Result<()> + 'a;

/// Produces a plain tar piece by piece.
pub(super) type Tar<'a> = dyn Fn(&mut Take<'_>) -> Result<()> + Sync + 'a;

/// Packs a plain tar into a writer, and returns the tar's digest and the chunks. Chunks in `known`
/// are not compressed again. It holds a few chunks in memory, whatever the layer's size.
pub(super) fn pack(
    tar: &Tar<'_>,
    how: Compression,
    known: Option<&Known>,
    to: &mut dyn Write,
) -> Result<(Digest, Vec<Chunk>)> {
    pack_on(std::thread::available_parallelism().map_or(1, usize::from), tar, how, known, to)
}

fn pack_on(
    cores: usize,
    tar: &Tar<'_>,
    how: Compression,
    known: Option<&Known>,
    to: &mut dyn Write,
) -> Result<(Digest, Vec<Chunk>)> {
    let failed = |cause: std::io::Error| Error::new(Kind::Store, "cannot write a blob").because(cause);
    if how == Compression::None {
        let mut hasher = Hasher::default();
        tar(&mut |bytes| {
            hasher.update(bytes);
            to.write_all(bytes).map_err(failed)
        })?;
        return Ok((hasher.finish(), Vec::new()));
    }
    std::thread::scope(|scope| {
        let (chunks, packed): (Vec<_>, Vec<_>) = (0..cores)
            .map(|_| {
                let ((to_core, chunks), (done, packed)) = (sync_channel(AHEAD), sync_channel(AHEAD));
                scope.spawn(move || compress_all(&chunks, how, known, &done));
                (to_core, packed)
            })
            .unzip();
        let reader = scope.spawn(move || read(tar, &chunks));
        // The receivers are dropped with this closure. When writing fails, no thread may keep
        // waiting to send.
        let packed: Vec<Receiver<Packed>> = packed;
        let mut packer = Packer::new(how, to).map_err(failed)?;
        for core in packed.iter().cycle() {
            // Chunks are dealt in order, so the first core without a chunk is the end.
            let Ok(chunk) = core.recv() else { break };
            packer.take(chunk.map_err(failed)?).map_err(failed)?;
        }
        let chunks = packer.finish().map_err(failed)?;
        let digest =
            reader.join().unwrap_or_else(|_| Err(Error::new(Kind::System, "BUG: packing a layer panicked")))?;
        Ok((digest, chunks))
    })
}

/// The number of chunks that may wait before and behind each core.
const AHEAD: usize = 2;

/// A compressed chunk, and the checksum of its plain bytes.
type Packed = std::io::Result<(Vec<u8>, Crc)>;

/// Reads, hashes and cuts the tar, and deals the chunks to the cores in turn.
fn read(tar: &Tar<'_>, cores: &[SyncSender<Vec<u8>>]) -> Result<Digest> {
    let (mut hasher, mut chunker) = (Hasher::default(), Chunker::default());
    let gone = || Error::new(Kind::Store, "cannot write a blob");
    let (mut closed, mut count) = (false, 0);
    let mut deal = |chunk: Vec<u8>| {
        let sent = cores.get(count % cores.len().max(1)).is_some_and(|core| core.send(chunk).is_ok());
        count += 1;
        sent
    };
    tar(&mut |bytes| {
        hasher.update(bytes);
        chunker.push(bytes, &mut |chunk| closed |= !deal(chunk));
        if closed { Err(gone()) } else { Ok(()) }
    })?;
    if !deal(chunker.finish()) {
        return Err(gone());
    }
    Ok(hasher.finish())
}

fn compress_all(chunks: &Receiver<Vec<u8>>, how: Compression, known: Option<&Known>, done: &SyncSender<Packed>) {
    for chunk in chunks {
        let mut crc = Crc::new();
        crc.update(&chunk);
        let packed = known.and_then(|known| known.get(crc.sum(), &chunk));
        let packed = packed.map_or_else(|| compress(&chunk, how), Ok);
        if done.send(packed.map(|packed| (packed, crc))).is_err() {
            return;
        }
    }
}

/// Writes compressed chunks in order.
struct Packer<'a> {
    how: Compression,
    to: &'a mut dyn Write,
    crc: Crc,
    chunks: Vec<Chunk>,
}

impl<'a> Packer<'a> {
    fn new(how: Compression, to: &'a mut dyn Write) -> std::io::Result<Packer<'a>> {
        to.write_all(head(how))?;
        Ok(Packer { how, to, crc: Crc::new(), chunks: Vec::new() })
    }

    fn take(&mut self, (bytes, crc): (Vec<u8>, Crc)) -> std::io::Result<()> {
        self.crc.combine(&crc);
        // A chunk has at most four megabytes, so its size fits.
        self.chunks.push(Chunk { crc: crc.sum(), plain: crc.amount(), packed: bytes.len() as u32 });
        self.to.write_all(&bytes)
    }

    fn finish(self) -> std::io::Result<Vec<Chunk>> {
        if let Compression::Gzip(_) = self.how {
            // The last block, then the gzip trailer: checksum and size modulo 2^32.
            self.to.write_all(LAST_BLOCK)?;
            self.to.write_all(&self.crc.sum().to_le_bytes())?;
            self.to.write_all(&self.crc.amount().to_le_bytes())?;
        }
        Ok(self.chunks)
    }
}

/// An empty last block with fixed codes, which ends the stream of deflate chunks.
pub(super) const LAST_BLOCK: &[u8] = &[3, 0];

/// The bytes before the first chunk: a gzip header, or nothing.
pub(super) fn head(how: Compression) -> &'static [u8] {
    match how {
        // RFC 1952: no name, no time, unknown operating system.
        Compression::Gzip(_) => &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff],
        _ => &[],
    }
}

pub(super) fn compress(chunk: &[u8], how: Compression) -> std::io::Result<Vec<u8>> {
    if chunk.is_empty() {
        return Ok(Vec::new());
    }
    match how {
        Compression::Gzip(level) => {
            let mut deflate = Compress::new(Level::new(level), false);
            let mut out = Vec::with_capacity(chunk.len() / 2 + 1024);
            loop {
                let at = deflate.total_in() as usize;
                deflate.compress_vec(&chunk[at..], &mut out, FlushCompress::Full)?;
                if deflate.total_in() as usize == chunk.len() && out.len() < out.capacity() {
                    return Ok(out);
                }
                out.reserve(chunk.len() / 4 + 1024);
            }
        }
        Compression::Zstd(level) => zstd::bulk::compress(chunk, level),
        Compression::None => Ok(chunk.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(size: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 59) as u8
        };
        (0..size).map(|_| next()).collect()
    }

    /// If this fails after a compressor was updated, write the new digests here and raise
    /// `chunks::MAGIC`.
    #[test]
    fn bytes_are_those_that_earlier_blobs_were_made_of() {
        let bytes = noise(100_000);
        let packed = |how| compress(&bytes, how).map(|packed| Digest::of(&packed).to_string()).expect("packed");
        assert_eq!(
            packed(Compression::GZIP),
            "sha256:8fb01de9a3eebc6b2351651f86a870f2c836dee9cfd72cacdef485b1ddad5acc"
        );
        assert_eq!(
            packed(Compression::ZSTD),
            "sha256:d69c919166bdacca8f496d6b7893ce02a0f3639e82a7eaa937dca3ce4df1ae66"
        );
    }

    #[test]
    fn only_changed_chunks_are_compressed_again() {
        let mut bytes = noise(12_000_000);
        let packed = |bytes: &[u8], how, known: Option<&Known>| {
            let mut blob = Vec::new();
            let tar = |out: &mut Take<'_>| bytes.chunks(70_001).try_for_each(out);
            let (digest, chunks) = pack_on(2, &tar, how, known, &mut blob).expect("packed");
            assert_eq!(digest, Digest::of(bytes));
            (blob, chunks)
        };
        for (how, other) in [(Compression::Gzip(9), Compression::Gzip(1)), (Compression::Zstd(9), Compression::Zstd(1))]
        {
            let (blob, chunks) = packed(&bytes, how, None);
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(&blob).expect("written");
            let list = super::super::chunks::encode(head(how).len() as u32, &chunks);
            let known = Known::open(&list, how, file).expect("a list");
            // Chunks of a blob are reused at the same level only.
            assert_eq!(packed(&bytes, other, Some(&known)).0, blob, "{how:?}");
            bytes[6_000_000] ^= 1;
            let again = packed(&bytes, other, Some(&known)).1;
            let changed = again.iter().filter(|chunk| !chunks.contains(chunk)).count();
            assert!((1..=2).contains(&changed), "{how:?}: {changed} of {}", again.len());
        }
    }

    #[test]
    fn bytes_do_not_depend_on_the_number_of_cores() {
        let bytes = noise(12_000_000);
        let tar = |out: &mut Take<'_>| bytes.chunks(70_001).try_for_each(out);
        for how in [Compression::Gzip(1), Compression::Zstd(1), Compression::None] {
            let packed = |cores| {
                let mut blob = Vec::new();
                let (digest, _) = pack_on(cores, &tar, how, None, &mut blob).expect("packed");
                assert_eq!(digest, Digest::of(&bytes));
                Digest::of(&blob)
            };
            assert!(packed(1) == packed(2) && packed(2) == packed(7), "{how:?}");
        }
    }

    #[test]
    fn a_reader_or_a_writer_that_fails_ends_it_at_once() {
        let broken = |out: &mut Take<'_>| {
            out(&vec![1; 6 << 20])?;
            Err(Error::new(Kind::Store, "the reader failed"))
        };
        let failed = pack_on(3, &broken, Compression::Gzip(1), None, &mut Vec::new());
        assert_eq!(failed.map_err(|error| error.message().to_owned()), Err("the reader failed".to_owned()));
        let endless = |out: &mut Take<'_>| loop {
            out(&[7; 65536])?;
        };
        let full = pack_on(3, &endless, Compression::Zstd(1), None, &mut &mut [0_u8; 100][..]);
        assert!(full.is_err());
    }
}
