//! The world outside of a definition, which this crate asks for nothing else.

use std::io;

/// Kind of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A socket.
    Socket,
    /// Anything else.
    Other,
}

/// The machine as this crate sees it.
pub trait Host {
    /// An environment variable.
    fn variable(&self, name: &str) -> Option<String>;
    /// All environment variables.
    fn variables(&self) -> Vec<(String, String)>;
    /// The kind of a file, symbolic links followed.
    fn stat(&self, path: &str) -> io::Result<FileKind>;
    /// The size of a file, symbolic links followed.
    fn size(&self, path: &str) -> io::Result<u64>;
    /// The content of a file; an error above a limit that the host sets.
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;
    /// The absolute path of something that exists, symbolic links followed.
    fn canonical(&self, path: &str) -> io::Result<String>;
    /// Seconds since 1970.
    fn now(&self) -> i64;
    /// Bytes that nobody can guess.
    fn random(&self, bytes: &mut [u8]);
    /// The user's home directory.
    fn home(&self) -> String;
}
