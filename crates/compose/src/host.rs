//! The interface to the machine: [`Host`] reads files and examines paths for this crate.

use std::io;

/// The kind of a file. Symbolic links are followed.
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
    /// The working directory, which relative paths of the command line are relative to.
    fn directory(&self) -> String;

    /// The environment.
    fn environment(&self) -> Vec<(String, String)>;

    /// The kind of the file at a path.
    fn kind(&self, path: &str) -> io::Result<Kind>;

    /// Reads a regular file of at most `limit` bytes. A larger one is an error of the kind
    /// `FileTooLarge`. No other kind of file is ever opened, unless `given` is true: then the user
    /// named it on the command line, and it may be a pipe.
    fn read(&self, path: &str, limit: u64, given: bool) -> io::Result<Vec<u8>>;

    /// Reads standard input, at most `limit` bytes.
    fn input(&self, limit: u64) -> io::Result<Vec<u8>>;

    /// True if the path itself is a symbolic link.
    fn is_link(&self, path: &str) -> bool;

    /// The path with all links resolved.
    fn canonical(&self, path: &str) -> io::Result<String>;
}
