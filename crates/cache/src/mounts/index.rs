//! The index of a saved cache mount: its tree, the chunks of each file, and the packs that hold the
//! chunks.
//!
//! The format is Zstandard around JSON: `{"version": 1, "packs": [{"blob": ..., "raw": bytes}],
//! "chunks": base64 of 44 bytes each (SHA-256, then pack, offset in the pack's plain bytes and size
//! as little-endian u32), "files": [[chunk, ...], ...] in the order of the tree's files, "tree":
//! base64 of the tree}`. Further names of one inode have no chunks.

use base::digest::Digest;
use base::error::{At, Error, Kind, Result};
use base::read;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use layer::chunk::LARGEST;
use layer::tree::{Entry, Node, Tree};
use layer::{BaseBlob, folder};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::Path;

/// The largest index in bytes, compressed or not.
pub(super) const LARGEST_INDEX: u64 = 512 << 20;
/// The most plain bytes in a pack.
pub(super) const LARGEST_PACK: u64 = 64 << 20;

/// A pack: the plain bytes of chunks, one after another, as one blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pack {
    pub(super) blob: BaseBlob,
    /// The plain size in bytes.
    pub(super) raw: u64,
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) digest: Digest,
    pub(super) pack: u32,
    pub(super) offset: u32,
    pub(super) size: u32,
}

/// A decoded index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) packs: Vec<Pack>,
    pub(super) chunks: Vec<Chunk>,
    /// The chunk numbers for each file of the tree.
    pub(super) files: Vec<Vec<u32>>,
    pub(super) tree: Tree,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    version: u32,
    packs: Vec<Pack>,
    chunks: String,
    files: Vec<Vec<u32>>,
    tree: String,
}

impl Index {
    /// The files of the tree with their chunks. Only the first name of an inode has chunks.
    pub(super) fn files(&self) -> impl Iterator<Item = (&Entry, &Vec<u32>)> {
        files_of(&self.tree).zip(&self.files)
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let mut chunks = Vec::with_capacity(self.chunks.len() * 44);
        for chunk in &self.chunks {
            chunks.extend(chunk.digest.0);
            [chunk.pack, chunk.offset, chunk.size].iter().for_each(|number| chunks.extend(number.to_le_bytes()));
        }
        let tree = STANDARD.encode(folder::encode(&self.tree));
        let (packs, files) = (self.packs.clone(), self.files.clone());
        let wire = Wire { version: 1, packs, chunks: STANDARD.encode(chunks), files, tree };
        let failed = |cause: String| Error::new(Kind::Export, "cannot write an index").because(cause);
        let json = serde_json::to_vec(&wire).map_err(|cause| failed(cause.to_string()))?;
        zstd::bulk::compress(&json, 3).map_err(|cause| failed(cause.to_string()))
    }

    /// Reads an untrusted index; afterwards all numbers are within their limits.
    pub(super) fn decode(path: &Path) -> Result<Index> {
        let file = std::fs::File::open(path).at("open", path)?;
        let (plain, _) = layer::compress::decompressor(Box::new(file))?;
        let bad = || Error::new(Kind::Source, "the index of a cache mount is damaged");
        let bytes = read::at_most(LARGEST_INDEX, plain).at("read", path)?;
        let bytes = bytes.ok_or_else(|| bad().because("it is too large"))?;
        let wire: Wire = serde_json::from_slice(&bytes).map_err(|cause| bad().because(cause))?;
        index_of(wire).ok_or_else(bad)
    }
}

/// The files of a tree.
pub(super) fn files_of(tree: &Tree) -> impl Iterator<Item = &Entry> {
    tree.entries.iter().filter(|entry| matches!(entry.node, Node::File { .. }))
}

fn index_of(wire: Wire) -> Option<Index> {
    let tree = folder::decode(&STANDARD.decode(wire.tree).ok()?)?;
    let number = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.try_into().ok()?));
    let bytes = STANDARD.decode(wire.chunks).ok()?;
    let chunk = |bytes: &[u8]| {
        let digest = Digest(bytes.get(..32)?.try_into().ok()?);
        let (pack, offset, size) = (number(&bytes[32..36])?, number(&bytes[36..40])?, number(&bytes[40..])?);
        let end = u64::from(offset) + u64::from(size);
        let within = size as usize <= LARGEST && end <= wire.packs.get(pack as usize)?.raw;
        within.then_some(Chunk { digest, pack, offset, size })
    };
    if bytes.len() % 44 != 0 || wire.version != 1 || wire.packs.iter().any(|pack| pack.raw > LARGEST_PACK) {
        return None;
    }
    let chunks = bytes.chunks_exact(44).map(chunk).collect::<Option<Vec<Chunk>>>()?;
    let index = Index { packs: wire.packs, chunks, files: wire.files, tree };
    // The chunks of every file must add up to its size.
    let mut seen = HashSet::new();
    for (entry, list) in index.files() {
        let size: Option<u64> =
            list.iter().map(|chunk| index.chunks.get(*chunk as usize).map(|chunk| u64::from(chunk.size))).sum();
        let further = entry.link.is_some_and(|link| !seen.insert(link));
        let Node::File { size: stated, .. } = entry.node else { return None };
        if size? != if further { 0 } else { stated } {
            return None;
        }
    }
    (index.files.len() == files_of(&index.tree).count()).then_some(index)
}
