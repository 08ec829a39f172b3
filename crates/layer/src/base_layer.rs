//! Layers of base images: makes tree and directory from the blob in one pass, even while it is
//! still downloaded. The plain bytes are checked against the diff id before any file gets a name or
//! is looked up.
//!
//! The tree of a base layer depends on the layers below it (see `index`), so its name is its chain
//! id. Its content is known by its diff id alone.

use super::ahead::Ahead;
use super::derive::put_text;
use super::files::Files as _;
use super::index::{Bodies, Indexed, index};
use super::stage::Stage;
use super::tree::{Entry, Tree};
use super::unpack::Writer;
use super::view::View;
use super::{BaseBlob, LayerId, LayerKind, Layers, Record, compress, damaged, encode, json};
use base::clock::now;
use base::digest::{DiffId, Digest, Hasher};
use base::error::{At, Error, Kind, Result};
use base::read;
use std::fs;
use std::io::Read;
use std::path::Path;
use store::lease;

/// Layers of one image beyond this are refused.
const MOST_LAYERS: usize = 4096;
/// Bytes that are read at once.
const BLOCK: usize = 64 << 10;

/// The name of a base layer: its chain id.
pub(super) fn name(diff_id: DiffId, below: Option<&LayerId>) -> LayerId {
    LayerId(
        below.map_or_else(
            || diff_id.0.hex(),
            |below| Digest::of(format!("sha256:{below} {}", diff_id.0).as_bytes()).hex(),
        ),
    )
}

impl Layers {
    /// Adds a layer of a base image on top of `below`. Its blob may still be missing.
    pub fn base(&self, diff_id: DiffId, blob: &BaseBlob, below: Option<&LayerId>) -> Result<LayerId> {
        let id = name(diff_id, below);
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

    /// Reads the blob of a base layer into its tree, checks the diff id and keeps the tree.
    pub(super) fn index_base(&self, id: &LayerId) -> Result<Tree> {
        let mut plain = Checked { inner: self.plain(id)?, hasher: Hasher::default() };
        let indexed = self.index_on(id, &mut plain, &mut |_, _| Ok(()))?;
        drain(&mut plain, &mut |_| Ok(()))?;
        self.check(id, plain.hasher.finish())?;
        self.keep_tree(id, &indexed.tree)?;
        Ok(indexed.tree)
    }

    /// Unpacks a base layer to a new directory in one pass over its blob, which may still be on its
    /// way. Files are written as they arrive, and get their names after the diff id was checked.
    pub(super) fn unpack_base(&self, id: &LayerId, new: &Path) -> Result<()> {
        let stage = Stage::new(self.store().temp("stage"))?;
        let mut plain = Checked { inner: Box::new(Ahead::new(self.plain(id)?)), hasher: Hasher::default() };
        let mut buffer = Vec::new();
        let indexed = self.index_on(id, &mut plain, &mut |member, archive| {
            stage.take(member, archive, self.flavour(), &mut buffer)
        })?;
        drain(&mut plain, &mut |_| Ok(()))?;
        self.check(id, plain.hasher.finish())?;
        let open = |entry: &Entry| match indexed.below.get(entry.path.as_ref()) {
            Some(path) => self.view_below(id)?.open(path),
            None => Err(damaged(id, "has a file without bytes")),
        };
        let (flavour, stage) = (self.flavour(), Some(&stage));
        Writer { dir: new, flavour, open: &open, twin: None, stage }.write(&indexed.tree)?;
        if !self.folder(id).join("tree").exists() {
            self.keep_tree(id, &indexed.tree)?;
        }
        Ok(())
    }

    /// Passes on the plain tar of a base layer, unchanged, and checks its diff id.
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
        Ok(compress::decompressor(self.store().follow(&blob.digest)?)?.0)
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

    /// Reads a tar as a layer on top of the layers below, which are opened only if the tar leaves
    /// something out.
    fn index_on<R: Read>(&self, id: &LayerId, tar: R, bodies: &mut Bodies<'_, R>) -> Result<Indexed> {
        let mut view = None;
        let mut below = |path: &[u8]| {
            if view.is_none() {
                view = Some(self.view_below(id)?);
            }
            view.as_ref().map_or(Ok(None), |view| view.lookup(path))
        };
        index(tar, &mut below, bodies)
    }

    /// A view of the layers below a base layer.
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
        // The lowest first: the tree of each layer may need those below it, and recursion stays
        // shallow.
        chain.iter().try_for_each(|layer| {
            self.await_dir(layer);
            self.tree(layer).map(drop)
        })?;
        View::new(self, &chain)
    }
}

/// Reads to the end in blocks of one size; the last may be shorter.
fn drain(from: &mut dyn Read, out: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut buffer = vec![0; BLOCK];
    loop {
        let got = read::fill(from, &mut buffer)
            .map_err(|cause| Error::new(Kind::Source, "cannot read a base layer").because(cause))?;
        if got == 0 {
            return Ok(());
        }
        out(&buffer[..got])?;
    }
}

/// Hashes the bytes that are read through it.
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
