//! The machine that compose files refer to: files, the environment, standard input.

use base::read::{bounded, open_regular};
use compose::host::{Host, Kind};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

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
            return bounded(limit, File::open(path)?);
        }
        bounded(limit, open_regular(Path::new(path))?)
    }

    fn input(&self, limit: u64) -> io::Result<Vec<u8>> {
        bounded(limit, io::stdin().lock())
    }

    fn is_link(&self, path: &str) -> bool {
        std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink())
    }

    fn canonical(&self, path: &str) -> io::Result<String> {
        Ok(std::fs::canonicalize(path)?.to_string_lossy().into_owned())
    }
}
