//! Saves a cache mount: chunks that no pack holds go into new packs, and a pack with mostly unused
//! chunks is rewritten.
//!
//! A file that has not changed since the last save (inode, size, mtime, ctime) is not read, as its
//! chunks are known.

use super::index::{Chunk, Index, LARGEST_PACK, Pack, files_of};
use super::state::Known;
use base::digest::Digest;
use base::error::{At, Error, Kind, Result};
use layer::chunk::{Chunker, SMALLEST};
use layer::tree::{Entry, Node, Tree};
use layer::{BaseBlob, folder};
use std::collections::{HashMap, HashSet};
use std::io::{Read as _, Write as _};
use std::path::Path;
use store::Store;

/// The approximate plain size of a pack in bytes.
const PACK: u64 = 32 << 20;
/// With more packs than this, the smallest are merged.
const MOST_PACKS: usize = 64;
/// The media type of a pack.
pub(super) const PACK_TYPE: &str = "application/vnd.kiln.cache.pack.v1+zstd";

/// A part of a file: path, offset and size.
type Stretch<'a> = (&'a [u8], u64, u32);

/// Makes the index of a directory. Chunks in the packs of `earlier` stay there; `put` takes each
/// new pack.
pub(super) fn save(
    dir: &Path,
    known: &Known,
    earlier: Option<&Index>,
    store: &Store,
    put: &mut dyn FnMut(&BaseBlob) -> Result<()>,
) -> Result<Index> {
    let tree = folder::read(dir)?;
    let (lists, places) = cut(dir, &tree, known)?;
    let mut index = Index { files: Vec::new(), tree: tree.clone(), ..Index::default() };
    let mut at: HashMap<Digest, u32> = HashMap::new();
    if let Some(earlier) = earlier {
        keep(earlier, &lists, &mut index, &mut at);
    }
    let mut packer = Packer { store, open: None, put };
    for (digest, size) in lists.iter().flatten() {
        if at.contains_key(digest) {
            continue;
        }
        let bytes = read(dir, places[digest])?;
        if Digest::of(&bytes) != *digest {
            return Err(Error::new(Kind::System, "a cache mount changed while it was saved"));
        }
        let (pack, offset) = packer.add(&bytes, &mut index.packs)?;
        at.insert(*digest, index.chunks.len() as u32);
        index.chunks.push(Chunk { digest: *digest, pack, offset, size: *size });
    }
    packer.close(&mut index.packs)?;
    index.files = lists.iter().map(|list| list.iter().map(|(digest, _)| at[digest]).collect()).collect();
    Ok(index)
}

/// The chunks of each file, and a place to read each chunk from.
#[expect(clippy::type_complexity, reason = "two lists that are made in one walk")]
fn cut<'t>(
    dir: &Path,
    tree: &'t Tree,
    known: &Known,
) -> Result<(Vec<Vec<(Digest, u32)>>, HashMap<Digest, Stretch<'t>>)> {
    let (mut lists, mut places, mut seen) = (Vec::new(), HashMap::new(), HashSet::new());
    for entry in files_of(tree) {
        if entry.link.is_some_and(|link| !seen.insert(link)) {
            lists.push(Vec::new());
            continue;
        }
        let list = match known.chunks(dir, entry) {
            Some(list) => list,
            None => cut_file(dir, entry)?,
        };
        let mut offset = 0;
        for (digest, size) in &list {
            places.entry(*digest).or_insert((&*entry.path, offset, *size));
            offset += u64::from(*size);
        }
        lists.push(list);
    }
    Ok((lists, places))
}

fn cut_file(dir: &Path, entry: &Entry) -> Result<Vec<(Digest, u32)>> {
    let Node::File { size, .. } = entry.node else { return Ok(Vec::new()) };
    let mut file = folder::open(dir, &entry.path)?;
    let mut list = Vec::new();
    let mut done = |chunk: Vec<u8>| {
        if !chunk.is_empty() {
            list.push((Digest::of(&chunk), chunk.len() as u32));
        }
    };
    let mut chunker = Chunker::default();
    let mut buffer = vec![0; (size as usize).clamp(1, SMALLEST)];
    let mut left = size;
    while left > 0 {
        let count = file.read(&mut buffer).at("read", dir)?;
        if count == 0 || count as u64 > left {
            return Err(Error::new(Kind::System, "a cache mount changed while it was saved"));
        }
        left -= count as u64;
        chunker.push(&buffer[..count], &mut done);
    }
    done(chunker.finish());
    Ok(list)
}

fn read(dir: &Path, (path, offset, size): Stretch<'_>) -> Result<Vec<u8>> {
    let mut file = folder::open(dir, path)?;
    std::io::copy(&mut (&mut file).take(offset), &mut std::io::sink()).at("read", dir)?;
    let mut bytes = Vec::with_capacity(size as usize);
    file.take(u64::from(size)).read_to_end(&mut bytes).at("read", dir)?;
    Ok(bytes)
}

/// Keeps the packs with enough used chunks.
fn keep(earlier: &Index, lists: &[Vec<(Digest, u32)>], index: &mut Index, at: &mut HashMap<Digest, u32>) {
    let wanted: HashSet<Digest> = lists.iter().flatten().map(|(digest, _)| *digest).collect();
    let mut live = vec![0_u64; earlier.packs.len()];
    for chunk in earlier.chunks.iter().filter(|chunk| wanted.contains(&chunk.digest)) {
        live[chunk.pack as usize] += u64::from(chunk.size);
    }
    let mut kept: Vec<usize> =
        (0..live.len()).filter(|pack| live[*pack] * 2 >= earlier.packs[*pack].raw.max(1)).collect();
    if kept.len() > MOST_PACKS {
        kept.sort_by_key(|pack| std::cmp::Reverse(live[*pack]));
        kept.truncate(MOST_PACKS / 2);
        kept.sort_unstable();
    }
    let place: HashMap<u32, u32> = kept.iter().enumerate().map(|(new, old)| (*old as u32, new as u32)).collect();
    index.packs = kept.iter().map(|pack| earlier.packs[*pack].clone()).collect();
    for chunk in earlier.chunks.iter().filter(|chunk| wanted.contains(&chunk.digest)) {
        if let (Some(pack), false) = (place.get(&chunk.pack), at.contains_key(&chunk.digest)) {
            at.insert(chunk.digest, index.chunks.len() as u32);
            index.chunks.push(Chunk { pack: *pack, ..*chunk });
        }
    }
}

type Encoder = zstd::Encoder<'static, store::BlobWriter>;

/// Fills packs one after another.
struct Packer<'a> {
    store: &'a Store,
    open: Option<(Encoder, u64)>,
    put: &'a mut dyn FnMut(&BaseBlob) -> Result<()>,
}

impl Packer<'_> {
    /// Adds a chunk, and returns the pack and the offset in it.
    fn add(&mut self, bytes: &[u8], packs: &mut Vec<Pack>) -> Result<(u32, u32)> {
        let failed = |cause| Error::new(Kind::Store, "cannot write a pack").because(cause);
        if self.open.as_ref().is_some_and(|(_, raw)| raw + bytes.len() as u64 > PACK.min(LARGEST_PACK)) {
            self.close(packs)?;
        }
        if self.open.is_none() {
            self.open = Some((zstd::Encoder::new(self.store.blob()?, 3).map_err(failed)?, 0));
        }
        let Some((encoder, raw)) = &mut self.open else { return Err(failed(std::io::Error::other("no pack is open"))) };
        let offset = *raw as u32;
        encoder.write_all(bytes).map_err(failed)?;
        *raw += bytes.len() as u64;
        Ok((packs.len() as u32, offset))
    }

    fn close(&mut self, packs: &mut Vec<Pack>) -> Result<()> {
        let Some((encoder, raw)) = self.open.take() else { return Ok(()) };
        let failed = |cause| Error::new(Kind::Store, "cannot write a pack").because(cause);
        let blob = encoder.finish().map_err(failed)?.complete()?;
        let blob = BaseBlob { digest: blob.digest, size: blob.size, media_type: PACK_TYPE.to_owned() };
        (self.put)(&blob)?;
        packs.push(Pack { blob, raw });
        Ok(())
    }
}
