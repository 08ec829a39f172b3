//! Stores blobs as content-defined chunks, for backends where many small objects are cheap: a
//! changed layer costs only its changed chunks. A blob is compressed in independent pieces (see
//! `layer::pack`), so an unchanged part of the layer is an unchanged part of the blob, with the
//! same chunks.
//!
//! A chunk is named by its digest and has the path `chunks/ab/<64 hex>`. A blob with more than one
//! chunk has a list under the digest of `kiln list <blob>`, with a line `<64 hex> <size>` for each
//! chunk. A blob with one chunk is that chunk.

use super::side_by_side;
use base::digest::Digest;
use base::error::{At, Error, Kind, Result};
use layer::BaseBlob;
use layer::chunk::{Chunker, LARGEST, SMALLEST};
use registry::client::Watch;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use store::Store;

/// The largest list in bytes, enough for 30 GB of chunks of the usual size.
const LARGEST_LIST: u64 = 4 << 20;
/// The number of chunks that are transferred at once.
const AT_ONCE: usize = 8;

/// A place for chunks.
pub(super) trait Chunks: Sync {
    /// True if the chunk exists.
    fn has(&self, name: &Digest) -> Result<bool>;
    /// The bytes of a chunk, unchecked; `None` if it does not exist.
    fn get(&self, name: &Digest, limit: u64) -> Result<Option<Vec<u8>>>;
    /// Writes a chunk atomically.
    fn put(&self, name: &Digest, bytes: &[u8]) -> Result<()>;
}

/// The path of a chunk.
pub(super) fn path(name: &Digest) -> String {
    let hex = name.hex();
    format!("chunks/{}/{hex}", &hex[..2])
}

fn list_name(blob: &Digest) -> Digest {
    Digest::of(format!("kiln list {blob}").as_bytes())
}

fn is_single(blob: &BaseBlob) -> bool {
    blob.size <= SMALLEST as u64
}

pub(super) fn has(chunks: &dyn Chunks, blob: &BaseBlob) -> Result<bool> {
    // The list is written last, so it proves that all chunks exist.
    chunks.has(&if is_single(blob) { blob.digest } else { list_name(&blob.digest) })
}

pub(super) fn put(chunks: &dyn Chunks, blob: &BaseBlob, from: &Path, watch: &Watch<'_>) -> Result<()> {
    let mut file = File::open(from).at("open", from)?;
    let (mut chunker, mut buffer) = (Chunker::default(), vec![0; 1 << 20]);
    let (mut list, mut done, mut batch) = (String::new(), 0, Vec::new());
    loop {
        let count = file.read(&mut buffer).at("read", from)?;
        if count == 0 {
            batch.push(std::mem::take(&mut chunker).finish());
        }
        chunker.push(&buffer[..count], &mut |chunk| batch.push(chunk));
        if batch.len() >= AT_ONCE || count == 0 {
            if (watch.stop)() {
                return Err(Error::new(Kind::Interrupted, "stopped"));
            }
            batch.retain(|chunk: &Vec<u8>| !chunk.is_empty());
            for line in put_batch(chunks, &batch)? {
                list.push_str(&line);
            }
            done += batch.drain(..).map(|chunk| chunk.len() as u64).sum::<u64>();
            (watch.progress)(done);
        }
        if count == 0 {
            break;
        }
    }
    if is_single(blob) { Ok(()) } else { chunks.put(&list_name(&blob.digest), list.as_bytes()) }
}

fn put_batch(chunks: &dyn Chunks, batch: &[Vec<u8>]) -> Result<Vec<String>> {
    let one = |chunk: &Vec<u8>| {
        let name = Digest::of(chunk);
        if !chunks.has(&name)? {
            chunks.put(&name, chunk)?;
        }
        Ok(format!("{} {}\n", name.hex(), chunk.len()))
    };
    side_by_side(batch, AT_ONCE, &one).into_iter().collect()
}

/// Downloads a blob into the store; each chunk and the whole are checked.
pub(super) fn get(chunks: &dyn Chunks, blob: &BaseBlob, store: &Store, watch: &Watch<'_>) -> Result<()> {
    let list = list_of(chunks, blob)?;
    let mut writer = store.blob_of(&blob.digest)?;
    for batch in list.chunks(AT_ONCE) {
        if (watch.stop)() {
            return Err(Error::new(Kind::Interrupted, "stopped"));
        }
        let parts = side_by_side(batch, AT_ONCE, &|(name, size)| get_one(chunks, name, *size));
        for part in parts {
            writer.write_all(&part?).map_err(|cause| Error::new(Kind::Store, "cannot write a blob").because(cause))?;
        }
        (watch.progress)(writer.size());
    }
    writer.complete_as(&blob.digest, Some(blob.size)).map(drop)
}

fn get_one(chunks: &dyn Chunks, name: &Digest, size: u64) -> Result<Vec<u8>> {
    let bytes = chunks.get(name, size)?.ok_or_else(|| lost(name, "is not there"))?;
    if Digest::of(&bytes) == *name { Ok(bytes) } else { Err(lost(name, "is damaged")) }
}

fn lost(name: &Digest, what: &str) -> Error {
    Error::new(Kind::Source, format!("chunk {name} {what}"))
}

/// The names of a blob's chunks and of its list; empty if the blob is incomplete.
pub(super) fn names(chunks: &dyn Chunks, blob: &BaseBlob) -> Result<Vec<Digest>> {
    if !has(chunks, blob)? {
        return Ok(Vec::new());
    }
    let list = list_of(chunks, blob).unwrap_or_default();
    Ok(list.into_iter().map(|(name, _)| name).chain([list_name(&blob.digest)]).collect())
}

/// The chunks of a blob in order. Their sizes must add up to the size of the blob; their content is
/// checked on download.
fn list_of(chunks: &dyn Chunks, blob: &BaseBlob) -> Result<Vec<(Digest, u64)>> {
    if is_single(blob) {
        return Ok(vec![(blob.digest, blob.size)]);
    }
    let name = list_name(&blob.digest);
    let bytes = chunks.get(&name, LARGEST_LIST)?.ok_or_else(|| lost(&blob.digest, "is not there"))?;
    let line = |line: &str| {
        let (hex, size) = line.split_once(' ')?;
        let size: u64 = size.parse().ok().filter(|size| *size <= LARGEST as u64)?;
        Some((format!("sha256:{hex}").parse().ok()?, size))
    };
    let list: Option<Vec<(Digest, u64)>> = String::from_utf8_lossy(&bytes).lines().map(line).collect();
    list.filter(|list| list.iter().map(|(_, size)| size).sum::<u64>() == blob.size)
        .ok_or_else(|| lost(&blob.digest, "has a damaged list of chunks"))
}
