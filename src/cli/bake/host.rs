//! The machine as a definition sees it.

use ::bake::host::{FileKind, Host};
use base::read;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

/// Larger files are not read for a definition.
const LARGEST: u64 = 8 << 20;

/// The machine that kiln runs on.
#[derive(Debug)]
pub(super) struct Machine;

impl Host for Machine {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn variables(&self) -> Vec<(String, String)> {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        std::env::vars_os().filter_map(text).collect()
    }

    fn stat(&self, path: &str) -> io::Result<FileKind> {
        let kind = std::fs::metadata(path)?.file_type();
        Ok(match kind {
            kind if kind.is_dir() => FileKind::Directory,
            kind if kind.is_file() => FileKind::File,
            kind if kind.is_socket() => FileKind::Socket,
            _ => FileKind::Other,
        })
    }

    fn size(&self, path: &str) -> io::Result<u64> {
        std::fs::metadata(path).map(|metadata| metadata.len())
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        read::bounded(LARGEST, read::open_regular(Path::new(path))?)
    }

    fn canonical(&self, path: &str) -> io::Result<String> {
        Ok(std::fs::canonicalize(path)?.to_string_lossy().into_owned())
    }

    fn now(&self) -> i64 {
        base::clock::now()
    }

    fn random(&self, bytes: &mut [u8]) {
        // Without a source of randomness identifiers repeat, which is harmless.
        let _ = base::random::fill(bytes);
    }

    fn home(&self) -> String {
        self.variable("HOME").filter(|home| !home.is_empty()).unwrap_or_else(|| "/root".to_owned())
    }
}
