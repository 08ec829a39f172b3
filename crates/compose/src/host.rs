//! The one question this crate asks outward: [`Host`] reads files and looks at paths for it.

use std::io;

/// The kind of the thing at a path, links followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A device, a pipe or a socket.
    Other,
}

/// The machine as this crate sees it. All paths are absolute.
pub trait Host {
    /// The directory that relative paths of the command line are relative to.
    fn directory(&self) -> String;

    /// The environment.
    fn environment(&self) -> Vec<(String, String)>;

    /// The kind of the thing at a path.
    fn kind(&self, path: &str) -> io::Result<Kind>;

    /// The bytes of a regular file, up to `limit`; a larger one is an error of the kind `FileTooLarge`. Whatever is
    /// no regular file is never opened, unless `given` says that the user named it on the command line: then it may
    /// be a pipe.
    fn read(&self, path: &str, limit: u64, given: bool) -> io::Result<Vec<u8>>;

    /// Standard input, up to `limit`.
    fn input(&self, limit: u64) -> io::Result<Vec<u8>>;

    /// Whether the thing at a path is itself a symbolic link.
    fn is_link(&self, path: &str) -> bool;

    /// The path with all links resolved.
    fn canonical(&self, path: &str) -> io::Result<String>;
}
