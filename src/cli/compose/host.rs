//! The machine that compose files refer to: files, the environment, standard input.

use compose::host::{Host, Kind};
use rustix::fs::{FileType, Mode, OFlags};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;

/// This machine.
pub(super) struct Machine;

impl Host for Machine {
    fn directory(&self) -> String {
        // $PWD, if it names the current directory: it keeps the links in the user's path.
        let here = std::fs::metadata(".").ok().map(|meta| (meta.dev(), meta.ino()));
        let way = std::env::var("PWD").ok().filter(|way| way.starts_with('/'));
        let leads = |way: &String| std::fs::metadata(way).ok().map(|meta| (meta.dev(), meta.ino())) == here;
        way.filter(|way| here.is_some() && leads(way))
            .or_else(|| Some(std::env::current_dir().ok()?.to_string_lossy().into_owned()))
            .unwrap_or_default()
    }

    fn environment(&self) -> Vec<(String, String)> {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        };
        std::env::vars_os().filter_map(text).collect()
    }

    fn kind(&self, path: &str) -> io::Result<Kind> {
        let kind = std::fs::metadata(path)?.file_type();
        Ok(match (kind.is_file(), kind.is_dir()) {
            (true, _) => Kind::File,
            (_, true) => Kind::Directory,
            _ => Kind::Other,
        })
    }

    fn read(&self, path: &str, limit: u64, given: bool) -> io::Result<Vec<u8>> {
        if given && self.kind(path)? == Kind::Other {
            return bounded(File::open(path)?, limit);
        }
        // NONBLOCK, because opening a pipe without a writer would wait.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty())?;
        match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
            FileType::RegularFile => bounded(File::from(file), limit),
            FileType::Directory => Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory")),
            _ => Err(io::Error::other("not a regular file")),
        }
    }

    fn input(&self, limit: u64) -> io::Result<Vec<u8>> {
        bounded(io::stdin().lock(), limit)
    }

    fn is_link(&self, path: &str) -> bool {
        std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink())
    }

    fn canonical(&self, path: &str) -> io::Result<String> {
        Ok(std::fs::canonicalize(path)?.to_string_lossy().into_owned())
    }
}

fn bounded(from: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let large = || io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {limit} bytes"));
    base::read::at_most(limit, from)?.ok_or_else(large)
}
