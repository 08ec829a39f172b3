//! ADD of an archive: plans its members beneath the destination, and writes their bytes to an
//! unlinked temporary file. This module does not know tar's format or compression.
//!
//! As in Docker, the destination is the root while a member is placed: absolute names and links
//! start there, and `..` stops there, in links of the archive and of the target alike. A name that
//! would lead out is refused. A member replaces the entry at its path, except that a directory is
//! merged into a directory, which takes its metadata; the destination itself keeps its own. Owners
//! and modes come from the archive; only `--chown` overrides them. Directories without a member
//! belong to root.

use super::owner::Owner;
use super::plan::{Content, Plan, moved};
use base::digest::Digest;
use base::error::{At, Error, Kind, Result};
use layer::compress::decompressor;
use layer::files::{Files, Opener, Stream, resolve};
use layer::tar::read::{Archive, Member};
use layer::tree::{Entry, LONGEST_PATH, Node, is_below, show, split};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use store::Store;

const BUFFER: usize = 128 << 10;

/// An archive whose first member was read.
pub(super) struct Begun {
    first: Member,
    rest: Archive<Stream>,
}

/// Opens a file as an archive; `None` if it is not one. As in BuildKit, a readable first header
/// decides.
pub(super) fn archive(file: Stream) -> Option<Begun> {
    let mut rest = Archive::new(decompressor(file).ok()?.0);
    let first = rest.next_member().ok().flatten()?;
    Some(Begun { first, rest })
}

/// Plans the members of `archive` beneath the directory `dest` (a clean path), which is made if it
/// is missing.
pub(super) fn unpack(
    archive: Begun,
    dest: &[u8],
    owner: Option<Owner>,
    plan: &mut Plan<'_>,
    store: &Store,
) -> Result<()> {
    let dest = plan.resolve(dest)?.path;
    plan.make_dirs(&dest, 0o755, owner)?;
    let mut spool = Spool::new(store)?;
    let Begun { first, rest: mut reader } = archive;
    let mut next = Some(first);
    while let Some(member) = next.take().map_or_else(|| reader.next_member(), |first| Ok(Some(first)))? {
        let Some(name) = clean(&member.path)? else { continue };
        let placed = place(&dest, &name, plan)?;
        let owner = owner.unwrap_or(Owner { uid: member.uid, gid: member.gid });
        let made = put(&member, owner, &dest, placed, plan, &mut spool, &mut reader);
        made.map_err(|error| error.context(format_args!("member `{}`", show(&member.path))))?;
    }
    Ok(())
}

/// The name of a member relative to the destination; `None` for the destination itself.
fn clean(name: &[u8]) -> Result<Option<Vec<u8>>> {
    let absolute = name.starts_with(b"/");
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.pop().is_some() || absolute => {}
            b".." => {
                let message = format!("malformed archive: its member `{}` leads out of it", show(name));
                return Err(Error::new(Kind::Dockerfile, message));
            }
            part => parts.push(part),
        }
    }
    Ok((!parts.is_empty()).then(|| parts.join(&b'/')))
}

/// The path in the rootfs for a name in the archive, with the links in its directory followed.
/// Missing directories are made.
fn place(dest: &[u8], name: &[u8], plan: &mut Plan<'_>) -> Result<Box<[u8]>> {
    let (dir, last) = split(name).unwrap_or((b"", name));
    let dir = resolve(&Below { plan, dest }, dir)?.path;
    let dir = moved(dest, &dir);
    let path = moved(&dir, last);
    if path.len() > LONGEST_PATH {
        let what = format!("malformed archive: it holds a path of more than {LONGEST_PATH} bytes");
        return Err(Error::new(Kind::Dockerfile, what));
    }
    plan.make_dirs(&dir, 0o755, None)?;
    Ok(path)
}

fn put(
    member: &Member,
    owner: Owner,
    dest: &[u8],
    path: Box<[u8]>,
    plan: &mut Plan<'_>,
    spool: &mut Spool,
    reader: &mut Archive<Stream>,
) -> Result<()> {
    let there = plan.lookup(&path)?;
    let (major, minor) = member.device;
    let (node, content) = match member.kind {
        b'5' => (Node::Dir { opaque: false }, Content::None),
        b'2' => (Node::Symlink { target: member.link.clone().into() }, Content::None),
        b'3' if member.device == (0, 0) => {
            let what = "malformed archive: a character device 0:0 hides files, as overlayfs has it";
            return Err(Error::new(Kind::Dockerfile, what));
        }
        b'3' => (Node::Char { major, minor }, Content::None),
        b'4' => (Node::Block { major, minor }, Content::None),
        b'6' => (Node::Fifo, Content::None),
        b'1' => return link(&member.link, dest, path, plan),
        _ => {
            let content = spool.take(member, reader)?;
            (Node::File { size: member.size, digest: None, offset: None }, content)
        }
    };
    let Owner { uid, gid } = owner;
    let (mode, mtime, xattrs) = (member.mode & 0o7777, member.mtime, member.xattrs.clone());
    let entry = Entry { path, node, mode, uid, gid, mtime, xattrs, link: None };
    match (entry.node.is_dir(), there) {
        (true, Some(there)) if !there.node.is_dir() => plan.replace_by_dir(entry),
        (true, _) => plan.put_dir(entry),
        (false, _) => plan.put_file(entry, content, false),
    }
}

/// Plans a hard link to a file of an earlier member or of the target.
fn link(target: &[u8], dest: &[u8], path: Box<[u8]>, plan: &mut Plan<'_>) -> Result<()> {
    let missing = || {
        let message = format!("malformed archive: it links to `{}`, which is not a file there", show(target));
        Error::new(Kind::Dockerfile, message)
    };
    let name = clean(target)?.ok_or_else(missing)?;
    let (dir, last) = split(&name).unwrap_or((b"", &name));
    let dir = resolve(&Below { plan, dest }, dir)?.path;
    let from = moved(&moved(dest, &dir), last);
    let there = plan.lookup(&from)?.filter(|there| !there.node.is_dir()).ok_or_else(missing)?;
    // The entry at the link's own path is removed first, with everything below it.
    if from == path || is_below(&from, &path) {
        return Err(missing());
    }
    let (dir, _) = split(&from).unwrap_or((b"", &from));
    plan.make_dirs(dir, 0o755, None)?;
    plan.adopt(there)?;
    let group = plan.link_group();
    let first = plan.made(&from).ok_or_else(missing)?;
    let regular = matches!(first.entry.node, Node::File { .. });
    if regular && first.entry.link.is_none() {
        first.entry.link = Some(group);
    }
    let (entry, content) = (Entry { path, ..first.entry.clone() }, first.content.clone());
    plan.put_file(entry, content, false)
}

/// The planned target with the destination as its root.
struct Below<'p, 'a> {
    plan: &'p Plan<'a>,
    dest: &'p [u8],
}

impl Files for Below<'_, '_> {
    fn lookup(&self, path: &[u8]) -> Result<Option<Entry>> {
        self.plan.lookup(&moved(self.dest, path))
    }
    fn list(&self, path: &[u8]) -> Result<Vec<Box<[u8]>>> {
        self.plan.list(path)
    }
    fn open(&self, path: &[u8]) -> Result<Stream> {
        self.plan.open(path)
    }
    fn opener(&self, path: &[u8]) -> Opener {
        self.plan.opener(path)
    }
    fn digest(&self, path: &[u8]) -> Result<Digest> {
        self.plan.digest(path)
    }
}

/// A temporary file for the bytes of all members. It is unlinked at once; its space is freed with
/// the last reader.
struct Spool {
    file: Arc<File>,
    end: u64,
    buffer: Vec<u8>,
}

impl Spool {
    fn new(store: &Store) -> Result<Spool> {
        let path = store.temp("archive");
        let file = File::options().read(true).write(true).create_new(true).open(&path).at("make", &path)?;
        fs::remove_file(&path).at("remove", &path)?;
        Ok(Spool { file: Arc::new(file), end: 0, buffer: vec![0; BUFFER] })
    }

    /// Writes the bytes of the current member. Holes stay holes, and runs of zeros become holes.
    fn take(&mut self, member: &Member, reader: &mut Archive<Stream>) -> Result<Content> {
        let failed = |cause| Error::new(Kind::System, "cannot write the archive's files to the store").because(cause);
        let offset = self.end;
        let end = offset.checked_add(member.size).ok_or_else(|| Error::new(Kind::Dockerfile, "a file is too large"))?;
        let whole = [(0, member.stored)];
        let mut file = &*self.file;
        for (at, length) in member.pieces.as_deref().unwrap_or(&whole) {
            if at.checked_add(*length).is_none_or(|last| last > member.size) {
                return Err(Error::new(Kind::Dockerfile, "malformed archive: a piece lies behind the end of its file"));
            }
            file.seek(SeekFrom::Start(offset + at)).map_err(failed)?;
            let mut left = *length;
            while left > 0 {
                let want = usize::try_from(left).map_or(BUFFER, |left| left.min(BUFFER));
                let count = reader.read(&mut self.buffer[..want])?;
                if count == 0 {
                    return Err(Error::new(Kind::Dockerfile, "malformed archive: it ends within a file"));
                }
                match self.buffer[..count].iter().all(|byte| *byte == 0) {
                    true => file.seek(SeekFrom::Current(count as i64)).map(drop),
                    false => file.write_all(&self.buffer[..count]),
                }
                .map_err(failed)?;
                left -= count as u64;
            }
        }
        // A hole at the end has no byte after it that would extend the file.
        self.file.set_len(end).map_err(failed)?;
        self.end = end;
        Ok(Content::Spooled { file: self.file.clone(), offset, size: member.size })
    }
}

/// Reads a part of a spool.
pub(super) struct Part {
    pub file: Arc<File>,
    pub offset: u64,
    pub left: u64,
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let wanted = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = self.file.read_at(&mut buffer[..wanted], self.offset)?;
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}
