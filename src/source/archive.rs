//! A context from a tar, unpacked to a directory of its own. Every name is resolved beneath the
//! directory's descriptor (openat2, RESOLVE_IN_ROOT), so that neither `..` nor links lead out of
//! it. Owners do not matter in a context, so none are set. This module does not know ignore files.

use base::error::{At as _, Error, Kind, Result};
use layer::compress::decompressor;
use layer::tar::read::{Archive, Member};
use layer::tree::{self, name, parent, show};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom, Write as _};
use std::path::Path;

/// The most members of an archive.
const MOST_MEMBERS: usize = 5_000_000;

/// Unpacks an archive, compressed or not, into a new directory. Returns the time of the newest
/// member.
pub fn unpack(stream: Box<dyn Read + Send>, folder: &Path) -> Result<Option<i64>> {
    std::fs::create_dir_all(folder).at("make", folder)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, folder, flags, Mode::empty()).at("open", folder)?;
    // Its mode is visible if a Dockerfile copies the whole context.
    rustix::fs::chmodat(CWD, folder, Mode::from(0o755), AtFlags::empty()).at("set the mode of", folder)?;
    let mut archive = Archive::new(decompressor(stream)?.0);
    let (mut newest, mut count, mut dirs) = (None, 0_usize, Vec::new());
    while let Some(member) = archive.next_member()? {
        count += 1;
        if count > MOST_MEMBERS {
            return Err(malformed(&member, "it is one of too many"));
        }
        newest = newest.max(Some(member.mtime.seconds));
        let name = clean(&member)?;
        if !name.is_empty() {
            place(&root, &member, &name, &mut archive, &mut dirs)?;
        }
    }
    // Set last: making entries changes a directory's time, and may need write permission that its
    // mode lacks.
    for (name, mode, time) in dirs.iter().rev() {
        if let Ok(dir) = beneath(&root, name, OFlags::RDONLY | OFlags::DIRECTORY) {
            rustix::fs::fchmod(&dir, Mode::from(*mode)).at("change the mode of", show(name))?;
            rustix::fs::futimens(&dir, &times(*time)).at("set the time of", show(name))?;
        }
    }
    Ok(newest)
}

/// Directories with their final mode and time.
type Dirs = Vec<(Vec<u8>, u32, i64)>;

fn malformed(member: &Member, why: &str) -> Error {
    Error::new(Kind::Dockerfile, format!("malformed archive: member `{}`", show(&member.path))).because(why.to_owned())
}

/// The name relative to the directory.
fn clean(member: &Member) -> Result<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in member.path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.pop().is_some() => {}
            b".." => return Err(malformed(member, "it leads out of the archive")),
            part if part.contains(&0) => return Err(malformed(member, "its name holds a zero byte")),
            part => parts.push(part),
        }
    }
    Ok(parts.join(&b'/'))
}

fn beneath(root: &OwnedFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Opens a directory beneath the root, and makes the missing parts.
fn folder(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    match beneath(root, path, OFlags::RDONLY | OFlags::DIRECTORY) {
        Err(Errno::NOENT) => {}
        found => return found,
    }
    let name = name(path);
    // The recursion is as deep as the name has parts, which is limited.
    let parent = folder(root, parent(path))?;
    match rustix::fs::mkdirat(&parent, name, Mode::from(0o755)) {
        // Independent of the umask.
        Ok(()) => rustix::fs::chmodat(&parent, name, Mode::from(0o755), AtFlags::empty())?,
        Err(Errno::EXIST) => {}
        Err(cause) => return Err(cause),
    }
    beneath(root, path, OFlags::RDONLY | OFlags::DIRECTORY)
}

fn times(seconds: i64) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

fn place(
    root: &OwnedFd,
    member: &Member,
    path: &[u8],
    archive: &mut Archive<Box<dyn Read + Send>>,
    dirs: &mut Dirs,
) -> Result<()> {
    let name = name(path);
    let wrong = |cause: Errno| malformed(member, &cause.to_string());
    let parent = folder(root, parent(path)).map_err(wrong)?;
    remove(&parent, name, member.kind == b'5').map_err(wrong)?;
    match member.kind {
        b'5' => {
            match rustix::fs::mkdirat(&parent, name, Mode::from(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(cause) => return Err(wrong(cause)),
            }
            dirs.push((path.to_vec(), member.mode, member.mtime.seconds));
            return Ok(());
        }
        b'0' | b'7' | 0 => write(&parent, name, member, archive)?,
        b'1' => return link(root, &parent, name, &member.link).map_err(wrong),
        b'2' => rustix::fs::symlinkat(&*member.link, &parent, name).map_err(wrong)?,
        b'6' => rustix::fs::mknodat(&parent, name, FileType::Fifo, Mode::from(member.mode), 0).map_err(wrong)?,
        b'3' | b'4' => return Err(malformed(member, "a context holds no devices")),
        _ => return Err(malformed(member, "it is of an unknown type")),
    }
    rustix::fs::utimensat(&parent, name, &times(member.mtime.seconds), AtFlags::SYMLINK_NOFOLLOW).map_err(wrong)
}

/// Removes an earlier member at the path; a directory stays if a directory follows.
fn remove(parent: &OwnedFd, name: &[u8], for_dir: bool) -> Result<(), Errno> {
    let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    match (FileType::from_raw_mode(stat.st_mode), for_dir) {
        (FileType::Directory, true) => Ok(()),
        (FileType::Directory, false) => rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR),
        _ => rustix::fs::unlinkat(parent, name, AtFlags::empty()),
    }
}

/// Makes a hard link to a file that exists in the directory.
fn link(root: &OwnedFd, parent: &OwnedFd, name: &[u8], target: &[u8]) -> Result<(), Errno> {
    let target: Vec<u8> = target.iter().copied().skip_while(|byte| *byte == b'/').collect();
    let (from, last) = (beneath(root, tree::parent(&target), OFlags::PATH | OFlags::DIRECTORY)?, tree::name(&target));
    let stat = rustix::fs::statat(&from, last, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory || matches!(last, b"." | b"..") {
        return Err(Errno::PERM);
    }
    rustix::fs::linkat(&from, last, parent.as_fd(), name, AtFlags::empty())
}

fn write(parent: &OwnedFd, name: &[u8], member: &Member, archive: &mut Archive<Box<dyn Read + Send>>) -> Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(parent, name, flags, Mode::from(0o600))
        .map_err(|cause| malformed(member, &cause.to_string()))?;
    let mut file = File::from(file);
    let whole = vec![(0, member.stored)];
    for (offset, length) in member.pieces.as_ref().unwrap_or(&whole) {
        file.seek(SeekFrom::Start(*offset)).at("write", show(&member.path))?;
        piece(archive, &mut file, *length).map_err(|error| error.context(format_args!("`{}`", show(&member.path))))?;
    }
    file.set_len(member.size).at("write", show(&member.path))?;
    rustix::fs::fchmod(&file, Mode::from(member.mode)).at("change the mode of", show(&member.path))
}

fn piece(archive: &mut Archive<Box<dyn Read + Send>>, file: &mut File, length: u64) -> Result<()> {
    let (mut buffer, mut left) = (vec![0; 128 << 10], length);
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = archive.read(&mut buffer[..want])?;
        file.write_all(&buffer[..count]).at("write", "a file")?;
        left -= count as u64;
        if count == 0 {
            return Err(Error::new(Kind::Dockerfile, "the archive ends too soon"));
        }
    }
    Ok(())
}
