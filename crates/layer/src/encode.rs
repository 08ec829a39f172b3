//! Encodes a tree as bytes: a version, each entry with its fields prefixed by their lengths, and a
//! SHA-256 of everything before it. Bytes that do not decode exactly are damaged.

use super::tree::{Entry, Node, Time, Tree};
use base::digest::{Digest, Hasher};

const MAGIC: &[u8; 8] = b"kilntr01";

/// Encodes a tree.
pub(super) fn encode(tree: &Tree) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    tree.entries.iter().for_each(|entry| fields(&mut out, entry, entry.link, entry.mtime, true));
    seal(&mut out, 0);
    out
}

/// Appends the encoding of a tree with one entry, with the given link group and time and without an
/// offset in an archive.
pub(super) fn encode_alone(out: &mut Vec<u8>, entry: &Entry, link: Option<u32>, mtime: Time) {
    let start = out.len();
    out.extend(MAGIC);
    fields(out, entry, link, mtime, false);
    seal(out, start);
}

fn seal(out: &mut Vec<u8>, start: usize) {
    let digest = Digest::of(&out[start..]);
    out.extend(digest.0);
}

fn fields(out: &mut Vec<u8>, entry: &Entry, link: Option<u32>, mtime: Time, placed: bool) {
    bytes(out, &entry.path);
    node(out, &entry.node, placed);
    [entry.mode, entry.uid, entry.gid].iter().for_each(|number| out.extend(number.to_le_bytes()));
    out.extend(mtime.seconds.to_le_bytes());
    out.extend(mtime.nanos.to_le_bytes());
    out.extend(link.map_or(0, |link| u64::from(link) + 1).to_le_bytes());
    out.extend((entry.xattrs.len() as u32).to_le_bytes());
    for (name, value) in &entry.xattrs {
        bytes(out, name);
        bytes(out, value);
    }
}

fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    out.extend((value.len() as u32).to_le_bytes());
    out.extend(value);
}

fn node(out: &mut Vec<u8>, node: &Node, placed: bool) {
    let device = |out: &mut Vec<u8>, tag: u8, major: u32, minor: u32| {
        out.push(tag);
        out.extend(major.to_le_bytes());
        out.extend(minor.to_le_bytes());
    };
    match node {
        Node::Dir { opaque } => out.extend([b'd', u8::from(*opaque)]),
        Node::File { size, digest, offset } => {
            out.push(b'f');
            out.extend(size.to_le_bytes());
            out.extend(offset.filter(|_| placed).map_or(0, |offset| offset + 1).to_le_bytes());
            out.push(u8::from(digest.is_some()));
            out.extend(digest.map_or([0; 32], |digest| digest.0));
        }
        Node::Symlink { target } => {
            out.push(b'l');
            bytes(out, target);
        }
        Node::Char { major, minor } => device(out, b'c', *major, *minor),
        Node::Block { major, minor } => device(out, b'b', *major, *minor),
        Node::Fifo => out.push(b'p'),
        Node::Whiteout => out.push(b'w'),
    }
}

/// Decodes a tree; `None` if the bytes are damaged.
pub(super) fn decode(all: &[u8]) -> Option<Tree> {
    let (body, sum) = all.split_at_checked(all.len().checked_sub(32)?)?;
    let mut hasher = Hasher::default();
    hasher.update(body);
    if hasher.finish().0 != sum {
        return None;
    }
    let mut reader = Reader(body.strip_prefix(MAGIC)?);
    let mut entries = Vec::new();
    while !reader.0.is_empty() {
        entries.push(reader.entry()?);
    }
    Some(Tree { entries })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }
    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }
    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }
    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
    fn bytes(&mut self) -> Option<Box<[u8]>> {
        let count = self.u32()?;
        Some(self.take(count as usize)?.into())
    }
    fn entry(&mut self) -> Option<Entry> {
        let (path, node) = (self.bytes()?, self.node()?);
        let (mode, uid, gid) = (self.u32()?, self.u32()?, self.u32()?);
        let mtime = Time { seconds: self.u64()? as i64, nanos: self.u32()? };
        let link = self.u64()?.checked_sub(1).map(|link| link as u32);
        let mut xattrs = Vec::new();
        for _ in 0..self.u32()? {
            xattrs.push((self.bytes()?, self.bytes()?));
        }
        Some(Entry { path, node, mode, uid, gid, mtime, xattrs, link })
    }
    fn node(&mut self) -> Option<Node> {
        Some(match self.u8()? {
            b'd' => Node::Dir { opaque: self.u8()? == 1 },
            b'f' => {
                let (size, offset, known) = (self.u64()?, self.u64()?.checked_sub(1), self.u8()? == 1);
                let digest = Digest(self.take(32)?.try_into().ok()?);
                Node::File { size, digest: known.then_some(digest), offset }
            }
            b'l' => Node::Symlink { target: self.bytes()? },
            b'c' => Node::Char { major: self.u32()?, minor: self.u32()? },
            b'b' => Node::Block { major: self.u32()?, minor: self.u32()? },
            b'p' => Node::Fifo,
            b'w' => Node::Whiteout,
            _ => return None,
        })
    }
}
