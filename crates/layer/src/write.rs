//! Writes the entries of a COPY as a plain tar. Threads read and hash files in parallel, in batches
//! of about a megabyte. One thread writes the batches in order and another hashes them, as the
//! digest of the whole tar needs. It holds a few batches for each core in memory, whatever the
//! layer's size.
//!
//! The caller knows the digests of the files, and a cache key was made of them. A file with another
//! digest is an error, found in the same read, and then no layer is published.
//!
//! A file that an earlier version of the layer has (the same path with the same digest) is taken
//! from its tar, and its source is not opened. Its bytes are checked by the checksums of that tar
//! or by their digest, so damage does not spread.

use super::Bytes;
use super::files::is_no_file;
use super::sums::{Summed, Sums, Window};
use super::tar::{padding, write};
use super::tree::{Entry, Node, Tree, is_below, worth_all_cores};
use base::digest::{Digest, Hasher};
use base::error::{At, Error, Kind, Result};
use base::sync::lock;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

/// A batch ends at this size in bytes.
const BATCH: u64 = 1 << 20;
/// The number of pieces that a reader may be ahead of the writer.
const AHEAD: usize = 3;

/// An earlier version of the same layer.
pub(super) struct Earlier {
    pub(super) tree: Arc<Tree>,
    pub(super) tar: File,
    pub(super) summed: Option<Summed>,
}

/// An entry in archive order.
struct Piece {
    entry: Entry,
    content: Content,
}

enum Content {
    /// Its own content.
    Own(Bytes),
    /// Another name of the entry at position `first`.
    Link { first: usize, to: Box<[u8]> },
}

/// A part of the archive, and the entries that end in it.
#[derive(Default)]
struct Stretch {
    bytes: Vec<u8>,
    /// Entries with offsets from the start of the batch. A link has the position of the entry that
    /// it is another name of.
    done: Vec<(Entry, Option<usize>)>,
    /// True for the last stretch of its batch.
    last: bool,
}

/// Writes the tar, and returns the tree with digests and offsets, and the digest of the whole tar.
pub(super) fn write_copy(
    folder: &Path,
    entries: Vec<(Entry, Bytes)>,
    earlier: Option<&Earlier>,
) -> Result<(Tree, Digest)> {
    let path = folder.join("tar");
    let pieces = arranged(entries)?;
    let mut out = Out {
        file: File::create_new(&path).at("make", &path)?,
        path: &path,
        sums: Sums::default(),
        at: 0,
        batch: 0,
        done: Vec::with_capacity(pieces.len()),
    };
    let much = worth_all_cores(pieces.iter().map(|piece| &piece.entry.node));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if much && cores > 1 {
        side_by_side(pieces, earlier, cores, &mut out)?;
    } else {
        let spare = Mutex::default();
        read_batch(pieces, earlier, &spare, &mut |stretch| {
            out.take(stretch)?;
            out.sums.update(&stretch.bytes);
            Ok(())
        })?;
    }
    out.write(&write::END)?;
    out.sums.update(&write::END);
    let mut done: Vec<Entry> = Vec::with_capacity(out.done.len());
    for (entry, first) in out.done {
        // All names are one inode, so the metadata of the first holds for all.
        let entry = match first.and_then(|first| done.get(first)) {
            Some(first) => Entry { path: entry.path, ..first.clone() },
            None => entry,
        };
        done.push(entry);
    }
    Ok((Tree::new(done), out.sums.finish(folder)?))
}

/// Sorts the entries, keeps the last one for each path, and resolves link groups.
fn arranged(entries: Vec<(Entry, Bytes)>) -> Result<Vec<Piece>> {
    let mut entries: Vec<Option<(Entry, Bytes)>> = entries.into_iter().map(Some).collect();
    let mut bytes_of: HashMap<u32, Bytes> = HashMap::new();
    for (entry, bytes) in entries.iter_mut().flatten() {
        // Any name of a group may have the bytes; they go to the name that is written first.
        if let Some(link) = entry.link.filter(|_| !matches!(bytes, Bytes::None)) {
            bytes_of.entry(link).or_insert(std::mem::replace(bytes, Bytes::None));
        }
    }
    let mut order: Vec<usize> = (0..entries.len()).collect();
    let path = |at: &usize| entries[*at].as_ref().map_or(&b""[..], |(entry, _)| &entry.path);
    order.sort_by(|one, two| super::tree::order(path(one), path(two)).then(one.cmp(two)));
    let places: Vec<usize> = (order.iter().enumerate())
        .filter(|(place, at)| !path(at).is_empty() && order.get(place + 1).is_none_or(|next| path(next) != path(at)))
        .map(|(_, at)| *at)
        .collect();
    let mut pieces: Vec<Piece> = Vec::with_capacity(places.len());
    let mut first: HashMap<u32, usize> = HashMap::new();
    for (entry, mut bytes) in places.into_iter().filter_map(|at| entries[at].take()) {
        let above = pieces.last().map(|piece| &piece.entry);
        if let Some(above) = above.filter(|above| !above.is_dir() && is_below(&entry.path, &above.path)) {
            let what = format!("`{}` cannot be in `{}`, which is no directory", path_of(&entry), path_of(above));
            return Err(Error::new(Kind::Dockerfile, what));
        }
        if let Some(link) = entry.link {
            if let Some(&first) = first.get(&link) {
                let to = pieces[first].entry.path.clone();
                pieces.push(Piece { entry, content: Content::Link { first, to } });
                continue;
            }
            first.insert(link, pieces.len());
            if matches!(bytes, Bytes::None) {
                bytes = bytes_of.remove(&link).unwrap_or(Bytes::None);
            }
        }
        pieces.push(Piece { entry, content: Content::Own(bytes) });
    }
    Ok(pieces)
}

/// Readers take the batches in turn, and the writer takes from the readers in the same order.
fn side_by_side(pieces: Vec<Piece>, earlier: Option<&Earlier>, readers: usize, out: &mut Out<'_>) -> Result<()> {
    let mut batches: Vec<Vec<Vec<Piece>>> = (0..readers).map(|_| Vec::new()).collect();
    let (mut batch, mut size, mut count) = (Vec::new(), 0, 0);
    for piece in pieces {
        size += 512 + if let Node::File { size, .. } = piece.entry.node { size } else { 0 };
        batch.push(piece);
        if size >= BATCH {
            batches[count % readers].push(std::mem::take(&mut batch));
            (size, count) = (0, count + 1);
        }
    }
    batches[count % readers].push(batch);
    count += 1;
    let spare = Mutex::default();
    std::thread::scope(|scope| {
        let receivers: Vec<Receiver<Result<Stretch>>> = batches
            .into_iter()
            .map(|batches| {
                let (sender, receiver) = sync_channel(AHEAD);
                let spare = &spare;
                scope.spawn(move || read_batches(batches, earlier, spare, &sender));
                receiver
            })
            .collect();
        let (written, hashed) = sync_channel::<Vec<u8>>(AHEAD);
        let (sums, spare) = (std::mem::take(&mut out.sums), &spare);
        let summing = scope.spawn(move || {
            let mut sums = sums;
            for bytes in hashed {
                sums.update(&bytes);
                lock(spare).push(bytes);
            }
            sums
        });
        for number in 0..count {
            loop {
                let mut stretch = receivers[number % readers].recv().map_err(|_| gone("a reader"))??;
                let last = stretch.last;
                out.take(&mut stretch)?;
                written.send(stretch.bytes).map_err(|_| gone("the hasher"))?;
                if last {
                    break;
                }
            }
        }
        drop(written);
        out.sums = summing.join().map_err(|_| gone("the hasher"))?;
        Ok(())
    })
}

fn gone(who: &str) -> Error {
    Error::new(Kind::System, format!("BUG: {who} of a copy is gone"))
}

/// Buffers for reuse.
type Spare = Mutex<Vec<Vec<u8>>>;

fn read_batches(
    batches: Vec<Vec<Piece>>,
    earlier: Option<&Earlier>,
    spare: &Spare,
    sender: &SyncSender<Result<Stretch>>,
) {
    for batch in batches {
        // The writer stops receiving only after an error.
        let gone = || Error::new(Kind::System, "the copy was given up");
        let mut send = |stretch: &mut Stretch| {
            let stretch = std::mem::take(stretch);
            sender.send(Ok(stretch)).map_err(|_| gone())
        };
        if let Err(error) = read_batch(batch, earlier, spare, &mut send) {
            let _ = sender.send(Err(error));
            return;
        }
    }
}

type Send<'a> = dyn FnMut(&mut Stretch) -> Result<()> + 'a;

/// Reads one batch as a stretch, or as several if it holds a large file.
fn read_batch(pieces: Vec<Piece>, earlier: Option<&Earlier>, spare: &Spare, send: &mut Send<'_>) -> Result<()> {
    let (open, window) = (Stretch::default(), Window::default());
    let mut reader = Reader { earlier, window, spare, sent: 0, open, send };
    reader.buffer();
    for piece in pieces {
        reader.piece(piece)?;
    }
    reader.open.last = true;
    (reader.send)(&mut reader.open)
}

struct Reader<'a, 'b> {
    earlier: Option<&'a Earlier>,
    /// The part of the earlier version that is in memory.
    window: Window,
    spare: &'a Spare,
    /// The number of bytes of this batch that were already sent.
    sent: u64,
    open: Stretch,
    send: &'a mut Send<'b>,
}

impl Reader<'_, '_> {
    fn buffer(&mut self) {
        let spare = lock(self.spare).pop();
        self.open.bytes = spare.unwrap_or_default();
        self.open.bytes.clear();
    }

    fn piece(&mut self, piece: Piece) -> Result<()> {
        let Piece { mut entry, content } = piece;
        let header = |path: &[u8], entry: &Entry, kind| write::header(path, entry, kind, None);
        match content {
            Content::Link { first, to } => {
                self.open.bytes.extend(header(&entry.path, &entry, write::Kind::Link(&to)));
                self.open.done.push((entry, Some(first)));
            }
            Content::Own(bytes) => {
                self.open.bytes.extend(header(&entry.path, &entry, write::Kind::Node));
                if entry.node == (Node::Dir { opaque: true }) {
                    let mark = [&entry.path, b"/.wh..wh..opq".as_slice()].concat();
                    let hidden = Entry { mode: 0, ..entry.clone() };
                    self.open.bytes.extend(header(&mark, &hidden, write::Kind::Whiteout));
                }
                self.content(&mut entry, bytes)?;
                self.open.done.push((entry, None));
            }
        }
        Ok(())
    }

    fn content(&mut self, entry: &mut Entry, bytes: Bytes) -> Result<()> {
        let Node::File { size, .. } = entry.node else { return Ok(()) };
        let at = self.sent + self.open.bytes.len() as u64;
        let found = match self.of_earlier(entry) {
            Some(found) => found,
            None => {
                let (mut reader, watched): (Box<dyn Read>, Option<Box<[u8]>>) = match bytes {
                    Bytes::None => (Box::new(std::io::empty()), None),
                    Bytes::Inline(bytes) => (Box::new(std::io::Cursor::new(bytes)), None),
                    Bytes::Open(open) => (open()?, None),
                    Bytes::Watched(open, path) => (open()?, Some(path)),
                };
                self.stream(entry, size, &mut reader, watched.as_deref())?
            }
        };
        self.open.bytes.resize(self.open.bytes.len() + padding(size) as usize, 0);
        entry.node = Node::File { size, digest: Some(found), offset: Some(at) };
        Ok(())
    }

    /// Takes the content from the earlier version, if it has the same file and the bytes are sound.
    fn of_earlier(&mut self, entry: &Entry) -> Option<Digest> {
        let earlier = self.earlier?;
        let Node::File { size, digest: Some(wanted), .. } = entry.node else { return None };
        let Node::File { size: there, digest: Some(known), offset: Some(offset) } = earlier.tree.get(&entry.path)?.node
        else {
            return None;
        };
        // A large file is sent in parts before it is hashed to the end, so it comes from its
        // source.
        if known != wanted || there != size || size > BATCH {
            return None;
        }
        if let Some(summed) = &earlier.summed {
            let sound = self.window.part(summed, offset, size as usize)?;
            self.open.bytes.extend_from_slice(sound);
            return Some(wanted);
        }
        let start = self.open.bytes.len();
        self.open.bytes.resize(start + size as usize, 0);
        let bytes = &mut self.open.bytes[start..];
        let read = earlier.tar.read_exact_at(bytes, offset).is_ok();
        if read && Digest::of(bytes) == wanted {
            return Some(wanted);
        }
        self.open.bytes.truncate(start);
        None
    }

    /// Reads the content from its source, up to the size of the entry.
    fn stream(&mut self, entry: &Entry, size: u64, reader: &mut dyn Read, watched: Option<&[u8]>) -> Result<Digest> {
        let mut hasher = Hasher::default();
        let mut left = size;
        while left > 0 {
            let start = self.open.bytes.len();
            self.open.bytes.reserve(usize::try_from(left.min(BATCH)).unwrap_or(0));
            let got = (&mut *reader).take(left.min(BATCH)).read_to_end(&mut self.open.bytes);
            let got = match (got, watched) {
                (Err(cause), Some(path)) if is_no_file(&cause) => return Err(Error::changed(path)),
                (got, _) => got.at("read", path_of(entry))?,
            };
            if got == 0 {
                return Err(unlike(entry, watched));
            }
            hasher.update(&self.open.bytes[start..]);
            left -= got as u64;
            if self.open.bytes.len() as u64 >= 2 * BATCH {
                self.sent += self.open.bytes.len() as u64;
                (self.send)(&mut self.open)?;
                self.buffer();
            }
        }
        let found = hasher.finish();
        match entry.node {
            Node::File { digest: Some(wanted), .. } if wanted != found => Err(unlike(entry, watched)),
            _ => Ok(found),
        }
    }
}

/// The error for bytes that differ from the entry's digest.
fn unlike(entry: &Entry, watched: Option<&[u8]>) -> Error {
    match watched {
        Some(path) => Error::changed(path),
        None => Error::new(Kind::Store, format!("the bytes of `{}` are not what they were", path_of(entry)))
            .hint("run `kiln fsck --repair`; what is lost is built again"),
    }
}

fn path_of(entry: &Entry) -> String {
    String::from_utf8_lossy(&entry.path).into_owned()
}

/// The archive that is being written.
struct Out<'a> {
    file: File,
    path: &'a Path,
    /// The sums of the bytes that reached the hashing thread.
    sums: Sums,
    at: u64,
    /// The offset of the current batch.
    batch: u64,
    done: Vec<(Entry, Option<usize>)>,
}

impl Out<'_> {
    fn take(&mut self, stretch: &mut Stretch) -> Result<()> {
        self.write(&stretch.bytes)?;
        for (mut entry, first) in stretch.done.drain(..) {
            if let Node::File { offset: Some(offset), .. } = &mut entry.node {
                *offset += self.batch;
            }
            self.done.push((entry, first));
        }
        if stretch.last {
            self.batch = self.at;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.at += bytes.len() as u64;
        self.file.write_all(bytes).at("write", self.path)
    }
}

#[cfg(test)]
mod tests;
