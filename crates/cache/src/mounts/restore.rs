//! Restores a cache mount: chunks that are here already are copied, and packs are downloaded only
//! for the others.

use super::index::{Chunk, Index, Pack};
use super::state::Known;
use crate::side_by_side;
use base::digest::Digest;
use base::error::{At, Error, Kind, Result};
use layer::tree::Entry;
use layer::{Flavour, compress, folder};
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{Cursor, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::Store;

/// The number of packs that are downloaded at once.
const AT_ONCE: usize = 4;

/// The place of a chunk's bytes.
#[derive(Clone)]
enum Place {
    /// In a file that exists here: its directory, its path and the offset.
    Here(Arc<PathBuf>, Box<[u8]>, u64),
    /// In the plain bytes of a pack.
    Pack(Arc<File>),
}

/// Writes the content of an index to a new directory. `bring` downloads a pack's blob into the
/// store.
pub(super) fn restore(
    index: &Index,
    to: &Path,
    here: Option<(&Path, &Known)>,
    flavour: &Flavour,
    store: &Store,
    bring: &(dyn Fn(&Pack) -> Result<()> + Sync),
) -> Result<()> {
    let mut places: HashMap<Digest, Place> = HashMap::new();
    if let Some((dir, known)) = here {
        let dir = Arc::new(dir.to_owned());
        for (path, list) in known.files(&dir) {
            let mut offset = 0;
            for (digest, size) in list {
                places.entry(digest).or_insert_with(|| Place::Here(Arc::clone(&dir), path.clone(), offset));
                offset += u64::from(size);
            }
        }
    }
    let used = || index.files.iter().flatten().map(|at| &index.chunks[*at as usize]);
    let needed: BTreeSet<u32> =
        used().filter(|chunk| !places.contains_key(&chunk.digest)).map(|chunk| chunk.pack).collect();
    let needed: Vec<(u32, &Pack)> = needed.into_iter().map(|at| (at, &index.packs[at as usize])).collect();
    let plain = side_by_side(&needed, AT_ONCE, &|(at, pack)| {
        bring(pack)?;
        Ok((*at, Arc::new(unpacked(pack, store)?)))
    });
    let plain: HashMap<u32, Arc<File>> = plain.into_iter().collect::<Result<_>>()?;
    for chunk in used() {
        if let (Some(file), false) = (plain.get(&chunk.pack), places.contains_key(&chunk.digest)) {
            places.insert(chunk.digest, Place::Pack(Arc::clone(file)));
        }
    }
    let lists: HashMap<&[u8], &Vec<u32>> = index.files().map(|(entry, list)| (&*entry.path, list)).collect();
    let open = |entry: &Entry| -> Result<Box<dyn Read + Send>> {
        let mut whole: Box<dyn Read + Send> = Box::new(std::io::empty());
        for at in lists.get(&*entry.path).into_iter().copied().flatten() {
            let chunk = index.chunks[*at as usize];
            let place = places.get(&chunk.digest).cloned().ok_or_else(|| damaged("a chunk is in no pack"))?;
            whole = Box::new(whole.chain(Late { made: None, chunk, place }));
        }
        Ok(whole)
    };
    folder::write(&index.tree, to, flavour, &open)
}

fn damaged(what: &str) -> Error {
    Error::new(Kind::Source, format!("a saved cache mount is damaged: {what}"))
}

/// The plain bytes of a pack, in an unlinked file.
fn unpacked(pack: &Pack, store: &Store) -> Result<File> {
    let path = store.temp("pack");
    let mut file = File::options().read(true).write(true).create_new(true).open(&path).at("make", &path)?;
    std::fs::remove_file(&path).at("remove", &path)?;
    let (plain, _) = compress::decompressor(Box::new(store.open_blob(&pack.blob.digest)?))?;
    let count = std::io::copy(&mut plain.take(pack.raw + 1), &mut file).at("unpack to", &path)?;
    if count == pack.raw { Ok(file) } else { Err(damaged("a pack has another size")) }
}

/// A chunk that is read and checked when it is needed.
struct Late {
    made: Option<Cursor<Vec<u8>>>,
    chunk: Chunk,
    place: Place,
}

impl Late {
    fn content(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.chunk.size as usize];
        match &self.place {
            Place::Pack(file) => file.read_exact_at(&mut bytes, u64::from(self.chunk.offset)).at("read", "a pack")?,
            Place::Here(dir, path, offset) => {
                let mut file = folder::open(dir, path)?;
                std::io::copy(&mut (&mut file).take(*offset), &mut std::io::sink()).at("read", &**dir)?;
                file.read_exact(&mut bytes).at("read", &**dir)?;
            }
        }
        if Digest::of(&bytes) == self.chunk.digest { Ok(bytes) } else { Err(damaged("a chunk has another digest")) }
    }
}

impl Read for Late {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.made.is_none() {
            self.made = Some(Cursor::new(self.content().map_err(|error| std::io::Error::other(error.to_string()))?));
        }
        self.made.as_mut().map_or(Ok(0), |cursor| cursor.read(buffer))
    }
}
