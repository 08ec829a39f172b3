//! Layers of base images: from the blob that they came as to tree and dir. The plain bytes are checked against the
//! diff id before anything of them is used.
//!
//! A base layer's tree depends on what it stands on (see `index`), so its name is its chain id; its content is still
//! known by its diff id alone.

use super::derive::{part_of, put_text};
use super::files::Files as _;
use super::index::{Indexed, Source, index};
use super::tree::{Entry, Node, Tree};
use super::unpack::Writer;
use super::view::View;
use super::{BaseBlob, LayerId, LayerKind, Layers, Record, compress, damaged, encode, json};
use crate::clock::now;
use crate::digest::{DiffId, Digest, Hasher};
use crate::error::{At, Error, Kind, Result};
use crate::read;
use crate::store::lease;
use std::fs::{self, File};
use std::io::{Read, Seek as _, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

/// Layers of one image beyond this are refused.
const MOST_LAYERS: usize = 4096;
/// Zeros of this length are left out of temporary files.
const HOLE: usize = 64 << 10;

impl Layers {
    /// Makes a layer of a base image known, on top of `below`. Its blob may still be missing.
    pub fn base(&self, diff_id: DiffId, blob: &BaseBlob, below: Option<&LayerId>) -> Result<LayerId> {
        let id = LayerId(below.map_or_else(
            || diff_id.0.hex(),
            |below| Digest::of(format!("sha256:{below} {}", diff_id.0).as_bytes()).hex(),
        ));
        let folder = self.folder(&id);
        if self.keep(std::slice::from_ref(&id)) {
            return Ok(id);
        }
        let (created, blob, below) = (now(), Some(blob.clone()), below.cloned());
        let record = Record { kind: LayerKind::Base, created, window: None, blob, earlier: None, below };
        let bytes = json(&record)?;
        self.store().make(lease::layer(&id), || {
            fs::create_dir_all(&folder).at("make", &folder)?;
            put_text(&folder.join("diff-id"), &diff_id.to_string())?;
            let temp = self.store().temp("record");
            fs::write(&temp, &bytes).at("write", &temp)?;
            fs::rename(&temp, folder.join("record")).at("publish", &folder)
        })?;
        Ok(id)
    }

    /// The tree of a base.
    pub(super) fn index_base(&self, id: &LayerId) -> Result<Tree> {
        let mut plain = Checked { inner: self.plain(id)?, hasher: Hasher::default() };
        let indexed = self.index_on(id, &mut plain)?;
        drain(&mut plain, &mut |_| Ok(()))?;
        self.check(id, plain.hasher.finish())?;
        self.keep_tree(id, &indexed.tree)?;
        Ok(indexed.tree)
    }

    /// Writes the files of a base to a new directory.
    pub(super) fn unpack_base(&self, id: &LayerId, new: &Path) -> Result<()> {
        let temp = self.store().temp("tar");
        let mut file = File::options().read(true).write(true).create_new(true).open(&temp).at("make", &temp)?;
        // It has no name from here on: a kill leaves nothing.
        fs::remove_file(&temp).at("remove", &temp)?;
        let mut end = 0;
        let digest = self.read_checked(id, &mut |bytes| {
            end += bytes.len() as u64;
            match bytes.len() == HOLE && bytes.iter().all(|byte| *byte == 0) {
                true => file.seek(SeekFrom::Start(end)).map(drop),
                false => file.write_all(bytes),
            }
            .at("unpack to", &temp)
        })?;
        self.check(id, digest)?;
        file.set_len(end).at("unpack to", &temp)?;
        file.seek(SeekFrom::Start(0)).at("read", &temp)?;
        let indexed = self.index_on(id, std::io::BufReader::with_capacity(1 << 20, &file))?;
        self.write_base(id, &indexed, &Arc::new(file), new)?;
        if !self.folder(id).join("tree").exists() {
            self.keep_tree(id, &indexed.tree)?;
        }
        Ok(())
    }

    /// Gives the plain tar of a base, as it came.
    pub(super) fn read_plain(&self, id: &LayerId, out: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let digest = self.read_checked(id, out)?;
        self.check(id, digest)
    }

    fn read_checked(&self, id: &LayerId, out: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<Digest> {
        let mut plain = Checked { inner: self.plain(id)?, hasher: Hasher::default() };
        drain(&mut plain, out)?;
        Ok(plain.hasher.finish())
    }

    fn plain(&self, id: &LayerId) -> Result<Box<dyn Read + Send>> {
        let blob = self.record(id)?.blob.ok_or_else(|| damaged(id, "has neither tree nor blob"))?;
        Ok(compress::decompressor(Box::new(self.store().open_blob(&blob.digest)?))?.0)
    }

    fn check(&self, id: &LayerId, got: Digest) -> Result<()> {
        if self.diff_id(id, None)?.0 == got {
            return Ok(());
        }
        if self.travelled(id) {
            return Err(Error::new(Kind::Lost, format!("layer {id} of a cache: its content has the digest {got}")));
        }
        Err(Error::new(Kind::Source, format!("base layer {id}: its content has the digest {got}"))
            .hint("the image is damaged or was tampered with; nothing of the layer was used"))
    }

    pub(super) fn keep_tree(&self, id: &LayerId, tree: &Tree) -> Result<()> {
        let temp = self.store().temp("tree");
        fs::write(&temp, encode::encode(tree)).at("write", &temp)?;
        fs::rename(&temp, self.folder(id).join("tree")).at("write", self.folder(id))
    }

    /// Reads a tar as a layer on what it stands on, which is looked into only if the tar leaves something out.
    fn index_on(&self, id: &LayerId, tar: impl Read) -> Result<Indexed> {
        let mut view = None;
        index(tar, &mut |path| {
            if view.is_none() {
                view = Some(self.view_below(id)?);
            }
            view.as_ref().map_or(Ok(None), |view| view.lookup(path))
        })
    }

    /// What a base layer stands on.
    fn view_below(&self, id: &LayerId) -> Result<View> {
        let mut chain = Vec::new();
        let mut below = self.record(id)?.below;
        while let Some(next) = below {
            if chain.len() == MOST_LAYERS {
                return Err(Error::new(Kind::Source, format!("an image of more than {MOST_LAYERS} layers")));
            }
            below = self.record(&next)?.below;
            chain.push(next);
        }
        chain.reverse();
        // The lowest first: each tree may need those below it, and none asks through all of them.
        chain.iter().try_for_each(|layer| self.tree(layer).map(drop))?;
        View::new(self, &chain)
    }

    fn write_base(&self, id: &LayerId, indexed: &Indexed, tar: &Arc<File>, new: &Path) -> Result<()> {
        let open = |entry: &Entry| -> Result<Box<dyn Read + Send>> {
            match (indexed.sources.get(entry.path.as_ref()), &entry.node) {
                (Some(Source::Below(path)), _) => self.view_below(id)?.open(path),
                (Some(Source::Pieces(pieces)), Node::File { size, offset: Some(at), .. }) => {
                    let tar = Arc::clone(tar);
                    let (at, size, pieces) = (*at, *size, Arc::clone(pieces));
                    Ok(Box::new(Sparse { tar, at, pieces, next: 0, position: 0, size }))
                }
                _ => part_of(tar, entry),
            }
        };
        Writer { dir: new, flavour: self.flavour(), open: &open, twin: None }.write(&indexed.tree)
    }
}

/// Reads to the end, in pieces of one size but for the last.
fn drain(from: &mut dyn Read, out: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut buffer = vec![0; HOLE];
    loop {
        let got = read::fill(from, &mut buffer)
            .map_err(|cause| Error::new(Kind::Source, "cannot read a base layer").because(cause))?;
        if got == 0 {
            return Ok(());
        }
        out(&buffer[..got])?;
    }
}

/// Hashes what is read through it.
struct Checked {
    inner: Box<dyn Read + Send>,
    hasher: Hasher,
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// A sparse file: its stored pieces with zeros between.
struct Sparse {
    tar: Arc<File>,
    at: u64,
    pieces: Arc<[(u64, u64)]>,
    next: usize,
    position: u64,
    size: u64,
}

impl Read for Sparse {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.pieces.get(self.next).is_some_and(|(offset, length)| self.position >= offset + length) {
            self.next += 1;
        }
        let (start, end) =
            self.pieces.get(self.next).map_or((self.size, self.size), |(offset, length)| (*offset, offset + length));
        let limit = if self.position < start { start } else { end };
        let want = usize::try_from(limit - self.position).unwrap_or(usize::MAX).min(buffer.len());
        let count = if self.position < start {
            buffer[..want].fill(0);
            want
        } else {
            let got = self.tar.read_at(&mut buffer[..want], self.at)?;
            self.at += got as u64;
            got
        };
        self.position += count as u64;
        Ok(count)
    }
}
