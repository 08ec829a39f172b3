//! A tarball on its way to a file or to standard output: written under another name, synced, renamed.

use crate::error::{At, Error, Kind, Result};
use crate::layer::tar::{padding, write};
use crate::layer::tree::{Entry, Node, Time};
use std::fs::File;
use std::io::{BufWriter, IsTerminal as _, Read, Write};
use std::path::{Path, PathBuf};

/// Where the bytes go.
pub(super) struct Output {
    to: Box<dyn Write>,
    file: Option<(PathBuf, PathBuf)>,
    time: Time,
}

impl Output {
    /// To a path, or to standard output. Times in the archive are `time`.
    pub(super) fn create(dest: Option<&Path>, time: i64) -> Result<Output> {
        let time = Time { seconds: time, nanos: 0 };
        let Some(dest) = dest else {
            if std::io::stdout().is_terminal() {
                return Err(
                    Error::new(Kind::Usage, "a tarball is not for a terminal").hint("write `dest=FILE`, or pipe it on")
                );
            }
            return Ok(Output { to: Box::new(BufWriter::with_capacity(1 << 20, std::io::stdout())), file: None, time });
        };
        if dest.is_dir() {
            return Err(Error::new(Kind::Usage, format!("dest `{}` is a directory", dest.display()))
                .hint("name a file, or add tar=false"));
        }
        let mut name = dest.as_os_str().to_owned();
        name.push(format!(".kiln-{}", std::process::id()));
        let temp = PathBuf::from(name);
        let file = File::create(&temp).at("make", &temp)?;
        Ok(Output { to: Box::new(BufWriter::with_capacity(1 << 20, file)), file: Some((temp, dest.to_owned())), time })
    }

    /// A file of the archive.
    pub(super) fn file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.stream(name, bytes.len() as u64, &mut &*bytes)
    }

    /// A file of the archive from a reader.
    pub(super) fn stream(&mut self, name: &str, size: u64, from: &mut dyn Read) -> Result<()> {
        let node = Node::File { size, digest: None, offset: None };
        let entry = Entry { node, mode: 0o644, ..Entry::directory(name.as_bytes(), self.time) };
        self.raw(&write::header(name.as_bytes(), &entry, write::Kind::Node, None))?;
        self.content(from, size)
    }

    /// The content of the file whose header was written.
    pub(super) fn content(&mut self, from: impl Read, size: u64) -> Result<()> {
        let copied = std::io::copy(&mut from.take(size), &mut self.to).map_err(failed)?;
        if copied != size {
            return Err(Error::new(Kind::Store, "a file of the image is shorter than it was"));
        }
        self.raw(&[0; 512][..padding(size) as usize])
    }

    /// A directory of the archive.
    pub(super) fn directory(&mut self, name: &str) -> Result<()> {
        let header =
            write::header(name.as_bytes(), &Entry::directory(name.as_bytes(), self.time), write::Kind::Node, None);
        self.raw(&header)
    }

    /// Bytes as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.to.write_all(bytes).map_err(failed)
    }

    /// Ends the archive and gives it its name.
    pub(super) fn finish(mut self) -> Result<()> {
        self.to.write_all(&write::END).and_then(|()| self.to.flush()).map_err(failed)?;
        if let Some((temp, dest)) = self.file.take() {
            File::open(&temp).and_then(|file| file.sync_all()).at("write", &temp)?;
            std::fs::rename(&temp, &dest).at("write", &dest)?;
        }
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some((temp, _)) = &self.file {
            let _ = std::fs::remove_file(temp);
        }
    }
}

fn failed(cause: std::io::Error) -> Error {
    Error::new(Kind::Export, "cannot write the output").because(cause)
}
