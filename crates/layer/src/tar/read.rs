//! Reads a hostile tar entry by entry. Every size is checked before it is used.

use super::{BLOCK, checksum, padding};
use crate::tree::{Time, Xattrs};
use base::error::{Error, Kind as ErrorKind, Result};
use base::read;
use std::io::Read;

/// The largest extended header in bytes.
const LARGEST_EXTENSION: u64 = 1 << 20;
/// The longest name (PATH_MAX).
const LONGEST_NAME: usize = 4096;
/// The most pieces of a sparse file.
const MOST_PIECES: usize = 1 << 20;
/// The largest total size of all sparse files in one archive: a few bytes stand for any number of
/// zeros, which are read, hashed and written into layers in full.
const LARGEST_SPARSE: u64 = 16 << 30;
/// The number of digits in 2^64.
const MOST_DIGITS: usize = 20;
/// The most extended headers of one member.
const MOST_EXTENSIONS: usize = 64;
/// The most extended attributes of one entry.
const MOST_XATTRS: usize = 1024;

/// One member of an archive.
#[derive(Clone, Debug, Default)]
pub struct Member {
    /// The name in the archive, unchecked: it may be absolute, contain `..` or be empty.
    pub path: Vec<u8>,
    /// The target of a link.
    pub link: Vec<u8>,
    /// The type flag: `0` file, `1` hard link, `2` symbolic link, `3` `4` devices, `5` directory,
    /// `6` fifo.
    pub kind: u8,
    /// Permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The size of the content, with the holes of a sparse file.
    pub size: u64,
    /// Modification time.
    pub mtime: Time,
    /// The major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes, sorted, without those of overlayfs.
    pub xattrs: Xattrs,
    /// The number of bytes stored in the archive.
    pub stored: u64,
    /// For sparse files: the place of each stored piece, as (offset, length).
    pub pieces: Option<Vec<(u64, u64)>>,
    /// The offset of the stored bytes in the archive.
    pub offset: u64,
}

/// Reads members one after another. `next_member` skips content that was not read.
pub struct Archive<R> {
    reader: R,
    at: u64,
    left: u64,
    pad: u64,
    /// The total size of all sparse files so far.
    sparse: u64,
}

/// The fields that extended headers set for the next member.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<Time>,
    xattrs: Xattrs,
    sparse: Sparse,
}

#[derive(Default)]
struct Sparse {
    major: Option<u64>,
    size: Option<u64>,
    name: Option<Vec<u8>>,
    map: Vec<u64>,
    given: bool,
}

fn bad(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Source, format!("damaged tar archive: {}", what.into()))
}

impl<R: Read> Archive<R> {
    /// Reads an archive from the reader's current position.
    pub fn new(reader: R) -> Archive<R> {
        Archive { reader, at: 0, left: 0, pad: 0, sparse: 0 }
    }

    /// The next member; `None` at the end.
    pub fn next_member(&mut self) -> Result<Option<Member>> {
        let mut extension = Extension::default();
        for _ in 0..=MOST_EXTENSIONS {
            self.skip()?;
            let Some(block) = self.block()? else { return Ok(None) };
            let size = numeric(&block[124..136])?;
            match block[156] {
                b'L' | b'K' => {
                    let mut text = self.extension(size)?;
                    text.truncate(text.iter().position(|byte| *byte == 0).unwrap_or(text.len()));
                    *(if block[156] == b'L' { &mut extension.path } else { &mut extension.link }) = Some(text);
                }
                b'x' => extension.read(&self.extension(size)?)?,
                b'g' => {
                    // Global records apply to all that follows. They are ignored, as in BuildKit
                    // and containerd.
                    let records = self.extension(size)?;
                    Extension::default().read(&records)?;
                }
                _ => return self.member(&block, extension).map(Some),
            }
        }
        Err(bad(format!("more than {MOST_EXTENSIONS} extended headers before a member")))
    }

    /// Reads stored bytes of the current member.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.reader.read(&mut buffer[..want]).map_err(|cause| bad("cannot read").because(cause))?;
        if count == 0 && want > 0 {
            return Err(bad("unexpected end of the archive"));
        }
        self.left -= count as u64;
        self.at += count as u64;
        Ok(count)
    }

    fn skip(&mut self) -> Result<()> {
        let mut buffer = [0; 16 * 1024];
        while self.left > 0 {
            self.read(&mut buffer)?;
        }
        self.left = std::mem::take(&mut self.pad);
        while self.left > 0 {
            self.read(&mut buffer)?;
        }
        Ok(())
    }

    /// The next header block; `None` at two empty blocks or at the end. A header after a single
    /// empty block is an error, because some readers would continue there.
    fn block(&mut self) -> Result<Option<[u8; BLOCK as usize]>> {
        let Some(block) = self.any_block()? else { return Ok(None) };
        if block.iter().all(|byte| *byte == 0) {
            return match self.any_block()? {
                Some(next) if next.iter().any(|byte| *byte != 0) => Err(bad("a header after an empty block")),
                _ => Ok(None),
            };
        }
        if numeric(&block[148..156])? != checksum(&block) {
            return Err(bad("a header's checksum is wrong"));
        }
        Ok(Some(block))
    }

    fn any_block(&mut self) -> Result<Option<[u8; BLOCK as usize]>> {
        let mut block = [0; BLOCK as usize];
        match read::fill(&mut self.reader, &mut block).map_err(|cause| bad("cannot read").because(cause))? {
            0 => return Ok(None),
            got if got < block.len() => return Err(bad("unexpected end of the archive")),
            _ => self.at += BLOCK,
        }
        Ok(Some(block))
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > LARGEST_EXTENSION {
            return Err(bad(format!("an extended header of {size} bytes")));
        }
        (self.left, self.pad) = (size, padding(size));
        self.exactly(size as usize)
    }

    /// Reads exactly this many bytes of the content; a shorter archive is an error.
    fn exactly(&mut self, length: usize) -> Result<Vec<u8>> {
        let (mut bytes, mut got) = (vec![0; length], 0);
        while got < length {
            got += self.read(&mut bytes[got..])?;
        }
        Ok(bytes)
    }

    fn member(&mut self, block: &[u8; BLOCK as usize], extension: Extension) -> Result<Member> {
        let ustar = block[257..262] == *b"ustar";
        let gnu = block[257..265] == *b"ustar  \0";
        let mut path = text(&block[0..100]).to_vec();
        if ustar && !gnu && block[345] != 0 {
            path = [text(&block[345..500]), b"/", &path].concat();
        }
        let path = extension.sparse.name.clone().or(extension.path).unwrap_or(path);
        let link = extension.link.unwrap_or_else(|| text(&block[157..257]).to_vec());
        if path.len() > LONGEST_NAME || link.len() > LONGEST_NAME || path.contains(&0) || link.contains(&0) {
            return Err(bad("a name that no file system holds"));
        }
        let kind = match block[156] {
            // Only old archives, which had no flag for directories; Go's and Python's readers do
            // the same.
            0 if path.ends_with(b"/") => b'5',
            0 | b'7' | b'S' => b'0',
            kind => kind,
        };
        let stored = extension.size.map_or_else(|| numeric(&block[124..136]), Ok)?;
        // Every type except links, devices, directories and fifos has bytes after its header, even
        // if they are ignored. A reader that took them for headers would see other members than
        // everybody else.
        let behind = if matches!(block[156], b'1'..=b'6') { 0 } else { stored };
        let stored = if kind == b'0' { behind } else { 0 };
        if behind > i64::MAX as u64 / 2 {
            return Err(bad("an impossible size"));
        }
        let id = |field: &[u8]| numeric(field).and_then(owner);
        let mut member = Member {
            path,
            link,
            kind,
            mode: (numeric(&block[100..108])? & 0o7777) as u32,
            uid: extension.uid.map_or_else(|| id(&block[108..116]), Ok)?,
            gid: extension.gid.map_or_else(|| id(&block[116..124]), Ok)?,
            size: stored,
            mtime: extension
                .mtime
                .map_or_else(|| signed(&block[136..148]).map(|seconds| Time { seconds, nanos: 0 }), Ok)?,
            device: if matches!(kind, b'3' | b'4') {
                (device(&block[329..337])?, device(&block[337..345])?)
            } else {
                (0, 0)
            },
            xattrs: extension.xattrs,
            stored,
            pieces: None,
            offset: 0,
        };
        (self.left, self.pad) = (behind, padding(behind));
        if block[156] == b'S' {
            self.old_sparse(block, &mut member)?;
        } else if extension.sparse.given {
            self.pax_sparse(&extension.sparse, &mut member)?;
        }
        member.offset = self.at;
        check_pieces(&member)?;
        if member.pieces.is_some() {
            self.sparse = self.sparse.saturating_add(member.size);
            if self.sparse > LARGEST_SPARSE {
                return Err(bad(format!("sparse files of more than {LARGEST_SPARSE} bytes")));
            }
        }
        Ok(member)
    }

    /// GNU's first sparse format: four pieces in the header, the others in blocks after it.
    fn old_sparse(&mut self, block: &[u8; BLOCK as usize], member: &mut Member) -> Result<()> {
        let mut pieces = Vec::new();
        let add = |table: &[u8], pieces: &mut Vec<(u64, u64)>| -> Result<()> {
            for piece in table.chunks_exact(24).take_while(|piece| piece[0] != 0) {
                pieces.push((numeric(&piece[..12])?, numeric(&piece[12..])?));
            }
            Ok(())
        };
        add(&block[386..482], &mut pieces)?;
        let mut more = block[482] == 1;
        while more {
            let mut next = [0; BLOCK as usize];
            self.reader.read_exact(&mut next).map_err(|cause| bad("cannot read").because(cause))?;
            self.at += BLOCK;
            let before = pieces.len();
            add(&next[..504], &mut pieces)?;
            more = next[504] == 1;
            if pieces.len() == before && more {
                return Err(bad("the map of a sparse file goes on without pieces"));
            }
            if pieces.len() > MOST_PIECES {
                return Err(bad("too many pieces of a sparse file"));
            }
        }
        member.size = numeric(&block[483..495])?;
        member.pieces = Some(pieces);
        Ok(())
    }

    /// PAX sparse 0.0, 0.1 (the map in the records) and 1.0 (the map before the content).
    fn pax_sparse(&mut self, sparse: &Sparse, member: &mut Member) -> Result<()> {
        let mut map = sparse.map.clone();
        if sparse.major == Some(1) {
            let count = self.line()?;
            if count > MOST_PIECES as u64 {
                return Err(bad("too many pieces of a sparse file"));
            }
            map = (0..count * 2).map(|_| self.line()).collect::<Result<_>>()?;
            // The map is padded to a block.
            let used = member.stored - self.left;
            self.exactly(padding(used).min(self.left) as usize)?;
            member.stored = self.left;
        }
        member.size = sparse.size.ok_or_else(|| bad("a sparse file without a size"))?;
        member.pieces = Some(map.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect());
        Ok(())
    }

    /// A decimal number on a line of its own.
    fn line(&mut self) -> Result<u64> {
        let mut value: u64 = 0;
        // More digits than the largest number has must be zeros, which could go on for ever.
        for _ in 0..=MOST_DIGITS {
            let mut byte = [0];
            match (self.read(&mut byte)?, byte[0]) {
                (1, b'\n') => return Ok(value),
                (1, digit @ b'0'..=b'9') => {
                    let digit = u64::from(digit - b'0');
                    value = value.checked_mul(10).and_then(|v| v.checked_add(digit)).ok_or_else(|| bad("a number"))?;
                }
                _ => return Err(bad("the map of a sparse file")),
            }
        }
        Err(bad("a number of too many digits in the map of a sparse file"))
    }
}

fn check_pieces(member: &Member) -> Result<()> {
    let Some(pieces) = &member.pieces else { return Ok(()) };
    let (mut end, mut stored) = (0_u64, 0_u64);
    for (offset, length) in pieces {
        let next = offset.checked_add(*length).filter(|next| *offset >= end && *next <= member.size);
        end = next.ok_or_else(|| bad("the map of a sparse file"))?;
        stored += length;
    }
    if stored == member.stored { Ok(()) } else { Err(bad("the map of a sparse file does not fit its content")) }
}

impl Extension {
    /// Reads `length key=value\n` records. The length delimits the value, which may hold any bytes.
    fn read(&mut self, mut records: &[u8]) -> Result<()> {
        while !records.is_empty() {
            let digits = records.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let length = std::str::from_utf8(&records[..digits]).ok().and_then(|digits| digits.parse::<usize>().ok());
            let length =
                length.filter(|length| *length > digits + 1 && *length <= records.len() && records[digits] == b' ');
            let (record, rest) = records.split_at(length.ok_or_else(|| bad("a PAX record"))?);
            records = rest;
            let body = record[digits + 1..].strip_suffix(b"\n").ok_or_else(|| bad("a PAX record"))?;
            let at = body.iter().position(|byte| *byte == b'=').ok_or_else(|| bad("a PAX record"))?;
            self.set(&body[..at], &body[at + 1..])?;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let number = || {
            let text = std::str::from_utf8(value).ok();
            text.and_then(|text| text.parse::<u64>().ok()).ok_or_else(|| bad("a number in a PAX record"))
        };
        let id = || number().and_then(owner);
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number()?),
            b"uid" => self.uid = Some(id()?),
            b"gid" => self.gid = Some(id()?),
            b"mtime" => self.mtime = Some(time(value).ok_or_else(|| bad("a time in a PAX record"))?),
            b"GNU.sparse.major" => (self.sparse.major, self.sparse.given) = (Some(number()?), true),
            b"GNU.sparse.name" => self.sparse.name = Some(value.to_vec()),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                (self.sparse.size, self.sparse.given) = (Some(number()?), true)
            }
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => self.sparse.map.push(number()?),
            b"GNU.sparse.map" => {
                let text = std::str::from_utf8(value).map_err(|_| bad("the map of a sparse file"))?;
                let numbers = text.split(',').map(str::parse::<u64>).collect::<Result<Vec<_>, _>>();
                self.sparse.map = numbers.map_err(|_| bad("the map of a sparse file"))?;
            }
            _ => {
                let name = key.strip_prefix(b"SCHILY.xattr.");
                if let Some(name) = name.filter(|name| !name.is_empty() && name.len() < 256 && !of_overlay(name)) {
                    self.xattrs.retain(|(known, _)| known.as_ref() != name);
                    self.xattrs.push((name.into(), value.into()));
                    self.xattrs.sort();
                    let bytes: usize = self.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
                    if self.xattrs.len() > MOST_XATTRS || bytes as u64 > LARGEST_EXTENSION {
                        return Err(bad("too many extended attributes"));
                    }
                }
            }
        }
        if self.sparse.map.len() > 2 * MOST_PIECES { Err(bad("too many pieces of a sparse file")) } else { Ok(()) }
    }
}

/// True for attributes that overlayfs obeys: in an archive they could expose any path of other
/// layers.
fn of_overlay(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// Parses seconds with an optional fraction.
fn time(value: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    // The fraction of a negative time counts downwards.
    if whole.starts_with('-') && nanos > 0 {
        return Some(Time { seconds: seconds.checked_sub(1)?, nanos: 1_000_000_000 - nanos });
    }
    Some(Time { seconds, nanos })
}

fn text(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|byte| *byte == 0).unwrap_or(field.len())]
}

/// Parses a user or group id. The largest number is refused: it means "unchanged" to chown(2).
fn owner(id: u64) -> Result<u32> {
    u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or_else(|| bad(format!("an impossible owner: {id}")))
}

fn device(field: &[u8]) -> Result<u32> {
    u32::try_from(numeric(field)?).map_err(|_| bad("an impossible device"))
}

/// Parses octal digits, or GNU's base 256 if the first bit is set.
fn signed(field: &[u8]) -> Result<i64> {
    if field[0] & 0x80 != 0 {
        let negative = field[0] & 0x40 != 0;
        let mut value: i128 = i128::from(field[0] & 0x3f) - if negative { 0x40 } else { 0 };
        for byte in &field[1..] {
            value = value
                .checked_mul(256)
                .and_then(|value| value.checked_add(i128::from(*byte)))
                .ok_or_else(|| bad("a number"))?;
        }
        return i64::try_from(value).map_err(|_| bad("a number out of range"));
    }
    let digits: Vec<u8> = field.iter().copied().filter(|byte| *byte != b' ').take_while(|byte| *byte != 0).collect();
    if digits.is_empty() {
        return Ok(0);
    }
    let digits = std::str::from_utf8(&digits).map_err(|_| bad("a number"))?;
    i64::from_str_radix(digits, 8).map_err(|_| bad(format!("a number: {digits:?}")))
}

fn numeric(field: &[u8]) -> Result<u64> {
    u64::try_from(signed(field)?).map_err(|_| bad("a negative number"))
}

#[cfg(test)]
mod tests;
