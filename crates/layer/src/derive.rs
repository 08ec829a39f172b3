//! Derives the forms of a layer: digests, directories, blobs. Each is made once and kept in the
//! layer's directory.

use super::chunks::Known;
use super::pack::{self, Compression};
use super::tree::{Entry, Node, Time, Tree, worth_all_cores};
use super::unpack::{Twin, Writer};
use super::{LayerId, LayerKind, Layers, Record, chunks, damaged, encode};
use base::digest::{DiffId, Digest, Hasher};
use base::error::{At, Error, Kind, Result};
use base::read;
use base::sync::lock;
use rayon::prelude::*;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufWriter, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use store::remove::remove_tree;

/// A file time this long before the start of a RUN still counts as within it: file times come from
/// a coarser clock, up to a tick behind.
const COARSE_CLOCK: u32 = 20_000_000;

/// From this size on, keeping the digests of a layer's files costs less than hashing them again for
/// a copy.
const WORTH_REMEMBERING: u64 = 1 << 20;

/// The number of earlier versions of a layer that are searched for a packed one: not every build
/// exports.
const EARLIER_FORMS: usize = 16;

/// The modes that the root directory of an image may have.
const ROOT_MODES: [u32; 8] = [0o755, 0o555, 0o700, 0o711, 0o750, 0o775, 0o777, 0o1777];

/// The limit in bytes for the short text files of a layer.
const LONGEST_TEXT: u64 = 64 << 10;

/// A layer's packed blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedBlob {
    /// The digest of the compressed bytes.
    pub digest: Digest,
    /// The size in bytes.
    pub size: u64,
    /// The media type for the manifest.
    pub media_type: String,
    /// The digest of the plain tar.
    pub diff_id: DiffId,
}

impl Layers {
    /// The content digest, which covers what a step that reads the layer can see (see
    /// `content_of`).
    pub fn content(&self, id: &LayerId) -> Result<Digest> {
        if self.record(id)?.kind == LayerKind::Base {
            return Ok(self.diff_id(id, None)?.0);
        }
        if let Some(known) = self.0.known.get(id, |seen| seen.content).flatten() {
            return Ok(known);
        }
        let content = self.remembered(id, "content", || {
            let (tree, hashed) = self.with_digests(id, Tree::clone(&*self.tree(id)?))?;
            if hashed >= WORTH_REMEMBERING {
                // If the tree cannot be kept, the next build hashes again.
                let _ = self.keep_tree(id, &tree);
                lock(&self.0.trees).insert(id.clone(), Arc::clone(&tree));
            }
            Ok(content_of(&tree, self.record(id)?.window).to_string())
        })?;
        let content = content.parse().map_err(|cause| damaged(id, "has a damaged content digest").because(cause))?;
        self.0.known.note(id, |seen| seen.content = Some(content));
        Ok(content)
    }

    /// The recorded digest, if there is one, and the same digest computed from the bytes on disk.
    pub fn vouched(&self, id: &LayerId) -> Result<(Option<Digest>, Digest)> {
        let known = |name: &str| fs::read_to_string(self.folder(id).join(name)).ok()?.trim().parse::<Digest>().ok();
        let (diff_id, content) = (known("diff-id"), known("content"));
        if diff_id.is_some() || content.is_none() {
            let now = pack::diff_id(&*self.tree(id)?, &|entry| self.open(id, entry), None)?;
            return Ok((diff_id, now));
        }
        Ok((content, self.content_now(id, None)?))
    }

    /// Computes the content digest from the bytes on disk and ignores the recorded one. An archive
    /// has no entry for the root directory, whose mode counts too. So for an imported layer this
    /// returns `promised` if it matches the content with any usual mode of the root.
    pub(super) fn content_now(&self, id: &LayerId, promised: Option<Digest>) -> Result<Digest> {
        let mut tree = Tree::clone(&*self.tree(id)?);
        for entry in &mut tree.entries {
            if let Node::File { digest, .. } = &mut entry.node {
                *digest = None;
            }
        }
        let ((tree, _), window) = (self.with_digests(id, tree)?, self.record(id)?.window);
        let found = content_of(&tree, window);
        if promised.is_none_or(|promised| promised == found)
            || tree.entries.first().is_some_and(|one| one.path.is_empty())
        {
            return Ok(found);
        }
        let mut rooted = Tree::clone(&tree);
        rooted.entries.insert(0, Entry::directory(b"", Default::default()));
        for mode in ROOT_MODES {
            rooted.entries[0].mode = mode;
            let rooted = content_of(&rooted, window);
            if Some(rooted) == promised {
                return Ok(rooted);
            }
        }
        Ok(found)
    }

    /// The tree with the digest of every file, and the number of bytes that were hashed.
    fn with_digests(&self, id: &LayerId, mut tree: Tree) -> Result<(Arc<Tree>, u64)> {
        let unknown = |entry: &&mut Entry| matches!(entry.node, Node::File { digest: None, .. });
        let mut unknown: Vec<&mut Entry> = tree.entries.iter_mut().filter(unknown).collect();
        let give = |entry: &mut &mut Entry| {
            let found = self.digest(id, entry)?;
            if let Node::File { digest, .. } = &mut entry.node {
                *digest = Some(found);
            }
            Ok::<(), Error>(())
        };
        let sizes = unknown.iter().map(|entry| if let Node::File { size, .. } = entry.node { size } else { 0 });
        let hashed = sizes.sum();
        match worth_all_cores(unknown.iter().map(|entry| &entry.node)) {
            true => unknown.par_iter_mut().try_for_each(give),
            false => unknown.iter_mut().try_for_each(give),
        }?;
        Ok((Arc::new(tree), hashed))
    }

    /// True if reading the layer is worth several threads.
    pub fn is_large(&self, id: &LayerId) -> bool {
        self.tree(id).is_ok_and(|tree| worth_all_cores(tree.entries.iter().map(|entry| &entry.node)))
    }

    /// The digest of the plain tar. `clamp` limits all times in it; a base layer is never clamped.
    pub fn diff_id(&self, id: &LayerId, clamp: Option<i64>) -> Result<DiffId> {
        let clamp = self.clamp_of(id, clamp)?;
        let text = self.remembered(id, &named("diff-id", clamp), || {
            Ok(pack::diff_id(&*self.tree(id)?, &|entry| self.open(id, entry), clamp)?.to_string())
        })?;
        Ok(DiffId(text.parse().map_err(|cause| damaged(id, "has a damaged diff id").because(cause))?))
    }

    /// The blob in the store, packed now if needed. A base layer keeps its own blob, unless `force`
    /// asks for another compression.
    pub fn blob(&self, id: &LayerId, how: Compression, force: bool, clamp: Option<i64>) -> Result<PackedBlob> {
        let record = self.record(id)?;
        let own = record.blob.as_ref().filter(|_| record.kind == LayerKind::Base);
        if let Some(blob) = own.filter(|blob| !force || blob.media_type == how.media_type()) {
            if !self.store().has(&blob.digest) {
                return Err(Error::new(Kind::Store, format!("blob {} is not in the store", blob.digest)));
            }
            let diff_id = self.diff_id(id, None)?;
            return Ok(PackedBlob {
                digest: blob.digest,
                size: blob.size,
                media_type: blob.media_type.clone(),
                diff_id,
            });
        }
        let clamp = self.clamp_of(id, clamp)?;
        let name = named(&format!("blob-{}", how.label()), clamp);
        let known = |text: &str| {
            let (digest, size) = text.split_once(' ')?;
            let digest: Digest = digest.parse().ok()?;
            self.store().has(&digest).then_some((digest, size.parse().ok()?))
        };
        let path = self.folder(id).join(&name);
        let (digest, size) = self.once(id, &name, || {
            if let Some(known) = fs::read_to_string(&path).ok().and_then(|text| known(text.trim())) {
                return Ok(known);
            }
            let mut writer = BufWriter::with_capacity(1 << 20, self.store().blob()?);
            let (diff_id, chunks) = match record.kind {
                // The tar of a base layer stays as it is, byte for byte: another tar would be
                // another layer.
                LayerKind::Base => pack::pack(&|out| self.read_plain(id, out), how, None, &mut writer)?,
                _ => {
                    let (tree, open) = (self.tree(id)?, |entry: &Entry| self.open(id, entry));
                    let known = self.known_chunks(&record, how, &name);
                    pack::pack(&|out| pack::write_tar(&tree, &open, clamp, out), how, known.as_ref(), &mut writer)?
                }
            };
            let writer =
                writer.into_inner().map_err(|cause| Error::new(Kind::Store, "cannot write a blob").because(cause))?;
            let blob = writer.complete()?;
            put_text(&self.folder(id).join(named("diff-id", clamp)), &diff_id.to_string())?;
            if !chunks.is_empty() {
                let head = pack::head(how).len() as u32;
                put_small(&self.folder(id).join(list_name(&name)), &chunks::encode(head, &chunks))?;
            }
            put_text(&path, &format!("{} {}", blob.digest, blob.size))?;
            Ok((blob.digest, blob.size))
        })?;
        let diff_id = self.diff_id(id, clamp)?;
        Ok(PackedBlob { digest, size, media_type: how.media_type().to_owned(), diff_id })
    }

    /// The result of [`Layers::blob`], if it is known without the bytes: for a base layer, and for
    /// an imported layer that was packed with the same compression.
    pub fn known_blob(&self, id: &LayerId, how: Compression, force: bool, clamp: Option<i64>) -> Option<PackedBlob> {
        let record = self.record(id).ok()?;
        let own = record.blob?;
        if record.kind == LayerKind::Base {
            if force && own.media_type != how.media_type() {
                return None;
            }
        } else {
            let text = fs::read_to_string(self.folder(id).join(format!("blob-{}", how.label()))).ok()?;
            let same = text.split_once(' ').is_some_and(|(digest, _)| digest == own.digest.to_string());
            if clamp.is_some() || !same {
                return None;
            }
        }
        let diff_id = self.diff_id(id, None).ok()?;
        Some(PackedBlob { digest: own.digest, size: own.size, media_type: own.media_type, diff_id })
    }

    /// The chunks of the nearest earlier version of a layer that was packed in the same way. `name`
    /// is the file that describes its blob.
    fn known_chunks(&self, record: &Record, how: Compression, name: &str) -> Option<Known> {
        let mut earlier = record.earlier.clone();
        for _ in 0..EARLIER_FORMS {
            let id = earlier?;
            let text = fs::read_to_string(self.folder(&id).join(name)).unwrap_or_default();
            let blob = text.split_once(' ').and_then(|(digest, _)| self.store().open_blob(&digest.parse().ok()?).ok());
            let list = File::open(self.folder(&id).join(list_name(name)));
            let list = list.ok().and_then(|list| read::at_most(chunks::LARGEST, list).ok().flatten());
            if let (Some(blob), Some(list)) = (blob, list) {
                return Known::open(&list, how, blob);
            }
            earlier = self.record(&id).ok()?.earlier;
        }
        None
    }

    fn clamp_of(&self, id: &LayerId, clamp: Option<i64>) -> Result<Option<i64>> {
        Ok(clamp.filter(|_| self.record(id).is_ok_and(|record| record.kind != LayerKind::Base)))
    }

    /// Reads a short text file in the layer's directory, or makes it.
    fn remembered(&self, id: &LayerId, name: &str, make: impl FnOnce() -> Result<String>) -> Result<String> {
        let path = self.folder(id).join(name);
        let read = || {
            let text = String::from_utf8(read::short(LONGEST_TEXT, &path).ok()?).ok()?;
            Some(text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        if let Some(text) = read() {
            return Ok(text);
        }
        self.once(id, name, || match read() {
            Some(text) => Ok(text),
            None => {
                let text = make()?;
                put_text(&path, &text)?;
                Ok(text)
            }
        })
    }

    /// Unpacks a layer for this identity under a temporary name, and renames the result.
    pub(super) fn make_dir(&self, id: &LayerId, dir: &Path) -> Result<()> {
        let new = self.store().temp("dir");
        fs::create_dir(&new).at("make", &new)?;
        rustix::fs::chmod(&new, rustix::fs::Mode::from(0o755)).at("set the mode of", &new)?;
        let tar = self.folder(id).join("tar");
        let made = if tar.exists() {
            self.write_copy_dir(id, &new, File::open(&tar).at("open", &tar)?)
        } else if self.record(id)?.blob.is_some() {
            self.unpack_base(id, &new)
        } else {
            self.copy_dir(id, &new)
        };
        made.and_then(|()| fs::rename(&new, dir).at("publish", dir)).inspect_err(|_| {
            let _ = remove_tree(&new);
        })
    }

    /// Copies a RUN's layer from the directory of another identity.
    fn copy_dir(&self, id: &LayerId, new: &Path) -> Result<()> {
        let other = fs::read_dir(self.folder(id)).at("read", self.folder(id))?.flatten();
        let other = other
            .map(|item| item.path())
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("dir-")));
        let other = other.ok_or_else(|| damaged(id, "has lost its bytes"))?;
        let open = |entry: &Entry| super::open_beneath(&other, &entry.path);
        Writer { dir: new, flavour: self.flavour(), open: &open, twin: None, stage: None }.write(&*self.tree(id)?)
    }

    /// Writes a COPY's layer. Files that have not changed since its earlier version are hard links.
    fn write_copy_dir(&self, id: &LayerId, new: &Path, tar: File) -> Result<()> {
        let tar = Arc::new(tar);
        let open = |entry: &Entry| part_of(&tar, entry);
        let earlier = self.record(id)?.earlier;
        let twin = earlier.and_then(|id| {
            let dir = File::open(self.folder(&id).join(self.flavour_folder())).ok()?;
            Some(Twin { tree: self.tree(&id).ok()?, dir, same: false })
        });
        Writer { dir: new, flavour: self.flavour(), open: &open, twin: twin.as_ref(), stage: None }
            .write(&*self.tree(id)?)
    }
}

/// Hashes the parts of a tree that count, with all file digests. A file's time counts only if the
/// RUN set it itself. Only whole seconds count, as an archive keeps no more: packing and unpacking
/// a layer does not change its content digest.
fn content_of(tree: &Tree, window: Option<[(i64, u32); 2]>) -> Digest {
    let counts = |entry: &Entry| match (window, &entry.node) {
        (Some([begin, end]), Node::File { .. }) => {
            let begin = if begin.1 >= COARSE_CLOCK { begin.0 } else { begin.0 - 1 };
            entry.mtime.seconds < begin || entry.mtime.seconds > end.0
        }
        _ => false,
    };
    let (mut hasher, mut bytes) = (Hasher::default(), Vec::new());
    // A link group number only says which entries are one file. Groups count in the order of their
    // first entries, and a group with one entry is none.
    let (mut members, mut groups): (HashMap<u32, u32>, HashMap<u32, u32>) = Default::default();
    tree.entries.iter().filter_map(|entry| entry.link).for_each(|link| *members.entry(link).or_default() += 1);
    for entry in &tree.entries {
        bytes.clear();
        let next = groups.len() as u32;
        let link = entry.link.filter(|link| members.get(link).is_some_and(|count| *count > 1));
        let link = link.map(|link| *groups.entry(link).or_insert(next));
        let seconds = if counts(entry) { entry.mtime.seconds } else { 0 };
        let mtime = Time { seconds, nanos: 0 };
        encode::encode_alone(&mut bytes, entry, link, mtime);
        hasher.update(&bytes);
    }
    hasher.finish()
}

/// Opens the bytes of a file at its offset in a plain tar.
pub(super) fn part_of(tar: &Arc<File>, entry: &Entry) -> Result<Box<dyn Read + Send>> {
    let Node::File { size, offset, .. } = entry.node else { return Ok(Box::new(std::io::empty())) };
    let at = offset.ok_or_else(|| Error::new(Kind::Store, "a file of a tar has no place in it"))?;
    Ok(Box::new(Stretch { tar: Arc::clone(tar), at, left: size }))
}

/// `name`, or `name@clamp`.
fn named(name: &str, clamp: Option<i64>) -> String {
    clamp.map_or(name.to_owned(), |clamp| format!("{name}@{clamp}"))
}

/// The name of a blob's chunk list, from the name of the file that describes the blob.
fn list_name(name: &str) -> String {
    name.replacen("blob-", "chunks-", 1)
}

/// Writes a short text file under a temporary name and renames it.
pub(super) fn put_text(path: &Path, text: &str) -> Result<()> {
    put_small(path, text.as_bytes())
}

fn put_small(path: &Path, bytes: &[u8]) -> Result<()> {
    // Two threads may write the same file at once, so each uses its own temporary name.
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let temp = path.with_extension(format!("new{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    fs::write(&temp, bytes).at("write", &temp)?;
    fs::rename(&temp, path).at("write", path)
}

/// A part of a tar, read at its offset.
struct Stretch {
    tar: Arc<File>,
    at: u64,
    left: u64,
}

impl Read for Stretch {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = std::os::unix::fs::FileExt::read_at(&*self.tar, &mut buffer[..want], self.at)?;
        (self.at, self.left) = (self.at + count as u64, self.left - count as u64);
        Ok(count)
    }
}
