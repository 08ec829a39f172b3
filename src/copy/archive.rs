//! ADD of a local archive: a tar, plain or compressed, known by its content. Its entries go below the destination;
//! names that lead out are errors, links that it makes itself are followed beneath its own root only.

use super::Layer;
use super::select::Group;
use crate::error::{At, Error, Kind, Result};
use crate::layer::Bytes;
use crate::layer::compress::{Format, begins_tar, decompressor};
use crate::layer::files::Files;
use crate::layer::index;
use crate::layer::tree::{Entry, Node, child, parent};
use crate::store::Store;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// Plain bytes of one archive beyond this are refused.
const LARGEST: u64 = 1 << 40;

/// Unpacks a source if it is an archive. False if it is a file like others.
pub(super) fn unpack<'f>(layer: &mut Layer<'_>, group: &Group, files: &dyn Fn(usize) -> Result<&'f dyn Files>, store: &Store) -> Result<bool> {
    let Some(item) = group.items.first().filter(|item| item.inline.is_none()) else { return Ok(false) };
    let (mut plain, format) = decompressor(files(group.input)?.open(&item.source)?)?;
    let mut head = Vec::new();
    let first = (&mut plain).take(512).read_to_end(&mut head);
    if !begins_tar(&head) {
        // What only looks compressed is a file; what is damaged in its compression is an error.
        return match first {
            Err(cause) if format != Format::Plain => Err(damaged(&item.source, &cause)),
            _ => Ok(false),
        };
    }
    let spool = spool(&head, plain, &item.source, store)?;
    let (tree, sparse) = index::plain(std::io::BufReader::with_capacity(1 << 20, &*spool))?;
    layer.directories(&layer.facts.dest().to_vec(), true)?;
    for entry in tree.entries {
        let below = join(layer.facts.dest(), &entry.path);
        // The way may lead through links of the target; the last part is replaced, not followed.
        let dir = layer.facts.resolve(parent(&below))?;
        let path = child(&dir, crate::layer::tree::name(&below));
        put(layer, Entry { path, ..entry.clone() }, &spool, sparse.get(entry.path.as_ref()))?;
    }
    Ok(true)
}

fn put(layer: &mut Layer<'_>, mut entry: Entry, spool: &Arc<File>, pieces: Option<&Vec<(u64, u64)>>) -> Result<()> {
    layer.directories(&entry.path, false)?;
    if let Some((uid, gid)) = layer.facts.owner {
        (entry.uid, entry.gid) = (uid, gid);
    }
    entry.link = entry.link.map(|link| {
        let next = layer.groups.len() as u32 + 1;
        *layer.groups.entry((usize::MAX, link)).or_insert(next)
    });
    let bytes = match &mut entry.node {
        Node::File { size, offset, digest } => {
            let at = offset.take().ok_or_else(|| Error::new(Kind::Dockerfile, "a file of an archive has no place in it"))?;
            *digest = None;
            let (spool, size, pieces) = (Arc::clone(spool), *size, pieces.cloned());
            Bytes::Open(Box::new(move || {
                let part = Part { file: spool, at, position: 0, size, pieces: pieces.unwrap_or_else(|| vec![(0, size)]) };
                Ok(Box::new(part) as Box<dyn Read + Send>)
            }))
        }
        _ => Bytes::None,
    };
    layer.put(entry, bytes);
    Ok(())
}

fn join(dir: &[u8], inside: &[u8]) -> Box<[u8]> {
    if dir.is_empty() { inside.into() } else { child(dir, inside) }
}

fn damaged(source: &[u8], cause: &dyn std::fmt::Display) -> Error {
    let source = String::from_utf8_lossy(source).into_owned();
    Error::new(Kind::Dockerfile, format!("`{source}` is a damaged archive: unexpected end or corrupt data")).because(cause)
        .hint("COPY it to have the file as it is")
}

/// The plain tar in a file without a name.
fn spool(head: &[u8], mut plain: Box<dyn Read + Send>, source: &[u8], store: &Store) -> Result<Arc<File>> {
    let path = store.temp("archive");
    let mut file = File::options().read(true).write(true).create_new(true).open(&path).at("make", &path)?;
    std::fs::remove_file(&path).at("remove", &path)?;
    file.write_all(head).at("write", &path)?;
    let (mut buffer, mut size) = (vec![0; 256 * 1024], head.len() as u64);
    loop {
        let count = plain.read(&mut buffer).map_err(|cause| damaged(source, &cause))?;
        if count == 0 {
            break;
        }
        size += count as u64;
        if size > LARGEST {
            return Err(damaged(source, &"it unpacks to more than a terabyte"));
        }
        file.write_all(&buffer[..count]).at("write", &path)?;
    }
    std::io::Seek::rewind(&mut file).at("read", &path)?;
    Ok(Arc::new(file))
}

/// One file of the spooled archive; what lies between its stored pieces is zero.
struct Part {
    file: Arc<File>,
    at: u64,
    position: u64,
    size: u64,
    pieces: Vec<(u64, u64)>,
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut before = 0;
        let mut piece = None;
        for (offset, length) in &self.pieces {
            if self.position < offset + length {
                piece = Some((*offset, *length));
                break;
            }
            before += length;
        }
        let (offset, length) = piece.unwrap_or((self.size, 0));
        let limit = if self.position < offset { offset } else { offset + length };
        let want = usize::try_from(limit.saturating_sub(self.position)).unwrap_or(usize::MAX).min(buffer.len());
        let count = if self.position < offset {
            buffer[..want].fill(0);
            want
        } else {
            self.file.read_at(&mut buffer[..want], self.at + before + (self.position - offset))?
        };
        self.position += count as u64;
        Ok(count)
    }
}
