//! Encodes the headers of one entry: ustar if everything fits, otherwise PAX records too.

use super::{BLOCK, checksum};
use crate::tree::{Entry, Node};

/// The two empty blocks that end an archive.
pub const END: [u8; 1024] = [0; 1024];

/// The meaning of an entry's name in the archive.
#[derive(Clone, Copy, Debug)]
pub enum Kind<'a> {
    /// The entry itself.
    Node,
    /// A hard link to an earlier entry.
    Link(&'a [u8]),
    /// An empty file with this name, which hides a path (OCI image specification, layer.md).
    Whiteout,
}

/// The headers of an entry under `path`. The content of a file must follow, padded to 512 bytes.
/// `clamp` is the latest time that is written.
pub fn header(path: &[u8], entry: &Entry, kind: Kind<'_>, clamp: Option<i64>) -> Vec<u8> {
    let (flag, size, link): (u8, u64, &[u8]) = match (kind, &entry.node) {
        (Kind::Link(to), _) => (b'1', 0, to),
        (Kind::Whiteout, _) | (_, Node::Whiteout) => (b'0', 0, b""),
        (_, Node::Dir { .. }) => (b'5', 0, b""),
        (_, Node::File { size, .. }) => (b'0', *size, b""),
        (_, Node::Symlink { target }) => (b'2', 0, target),
        (_, Node::Char { .. }) => (b'3', 0, b""),
        (_, Node::Block { .. }) => (b'4', 0, b""),
        (_, Node::Fifo) => (b'6', 0, b""),
    };
    let mut name = path.to_vec();
    if flag == b'5' {
        name.push(b'/');
    }
    let mtime = clamp.map_or(entry.mtime.seconds, |clamp| entry.mtime.seconds.min(clamp));
    let mut records = Records::default();
    let mut block = [0_u8; BLOCK as usize];
    put_name(&mut block, &name, &mut records);
    if link.len() > 100 || !link.is_ascii() {
        records.add(b"linkpath", link);
    }
    put(&mut block[157..257], link);
    octal(&mut block[100..108], u64::from(entry.mode & 0o7777));
    number(&mut block[108..116], i64::from(entry.uid), b"uid", &mut records);
    number(&mut block[116..124], i64::from(entry.gid), b"gid", &mut records);
    number(&mut block[124..136], i64::try_from(size).unwrap_or(i64::MAX), b"size", &mut records);
    number(&mut block[136..148], mtime, b"mtime", &mut records);
    block[156] = flag;
    if let (Kind::Node, Node::Char { major, minor } | Node::Block { major, minor }) = (kind, &entry.node) {
        octal(&mut block[329..337], u64::from(*major));
        octal(&mut block[337..345], u64::from(*minor));
    }
    if matches!(kind, Kind::Node) {
        for (key, value) in &entry.xattrs {
            records.add(&[b"SCHILY.xattr.", key.as_ref()].concat(), value);
        }
    }
    seal(&mut block);
    let mut bytes = records.blocks(&name);
    bytes.extend(block);
    bytes
}

/// PAX extended header records: `length key=value\n`, where the length counts itself.
#[derive(Default)]
struct Records(Vec<(Vec<u8>, Vec<u8>)>);

impl Records {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.0.push((key.to_vec(), value.to_vec()));
    }

    /// The header and content of the records; empty without records.
    fn blocks(mut self, name: &[u8]) -> Vec<u8> {
        if self.0.is_empty() {
            return Vec::new();
        }
        self.0.sort();
        let mut body = Vec::new();
        for (key, value) in &self.0 {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + rest.to_string().len();
            if rest + length.to_string().len() != length {
                length = rest + length.to_string().len();
            }
            body.extend(format!("{length} ").into_bytes());
            body.extend([key.as_slice(), b"=", value, b"\n"].concat());
        }
        let trimmed = name.strip_suffix(b"/").unwrap_or(name);
        let at = trimmed.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        let mut pax = [&trimmed[..at], b"PaxHeaders.0/", &trimmed[at..]].concat();
        pax.iter_mut().filter(|byte| !byte.is_ascii()).for_each(|byte| *byte = b'_');
        pax.truncate(100);
        let mut block = [0_u8; BLOCK as usize];
        put(&mut block[0..100], &pax);
        octal(&mut block[100..108], 0);
        octal(&mut block[108..116], 0);
        octal(&mut block[116..124], 0);
        octal(&mut block[124..136], body.len() as u64);
        octal(&mut block[136..148], 0);
        block[156] = b'x';
        seal(&mut block);
        let mut bytes = block.to_vec();
        let padding = super::padding(body.len() as u64) as usize;
        bytes.extend(body);
        bytes.resize(bytes.len() + padding, 0);
        bytes
    }
}

fn put(field: &mut [u8], value: &[u8]) {
    let count = value.len().min(field.len());
    field[..count].copy_from_slice(&value[..count]);
}

/// Writes the name to its field, or splits it at a slash into name and prefix, or adds a record.
fn put_name(block: &mut [u8; BLOCK as usize], name: &[u8], records: &mut Records) {
    if name.len() <= 100 && name.is_ascii() {
        put(&mut block[0..100], name);
        return;
    }
    let cut = (name.len().saturating_sub(101)..name.len().min(156))
        .find(|&at| at > 0 && name[at] == b'/' && at + 1 < name.len());
    match cut.filter(|_| name.is_ascii()) {
        Some(at) => {
            put(&mut block[345..500], &name[..at]);
            put(&mut block[0..100], &name[at + 1..]);
        }
        None => {
            records.add(b"path", name);
            put(&mut block[0..100], name);
        }
    }
}

fn octal(field: &mut [u8], value: u64) {
    let digits = format!("{value:0width$o}", width = field.len() - 1);
    put(field, &digits.as_bytes()[digits.len().saturating_sub(field.len() - 1)..]);
}

fn number(field: &mut [u8], value: i64, key: &[u8], records: &mut Records) {
    let limit = 1_i64 << (3 * (field.len() - 1));
    if (0..limit).contains(&value) {
        octal(field, value as u64);
    } else {
        records.add(key, value.to_string().as_bytes());
        octal(field, 0);
    }
}

fn seal(block: &mut [u8; BLOCK as usize]) {
    put(&mut block[257..265], b"ustar\x0000");
    let sum = checksum(block);
    put(&mut block[148..156], format!("{sum:06o}\0 ").as_bytes());
}
