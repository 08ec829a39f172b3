//! Writes a tarball to a file or to standard output. A file is written under a temporary name,
//! synced and renamed.

use base::error::{At, Error, Kind, Result};
use base::outside;
use layer::tar::{padding, write};
use layer::tree::{Entry, Node, Time};
use std::fs::File;
use std::io::{BufWriter, IsTerminal as _, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

/// The destination of the bytes.
pub(super) struct Output {
    to: Box<dyn Write>,
    file: Option<(PathBuf, PathBuf)>,
    /// The same file, without the bytes still buffered in `to`.
    direct: Option<File>,
    syncer: Option<Syncer>,
    time: Time,
}

/// The bytes that are written before a sync is requested.
const PIECE: u64 = 64 << 20;

/// A thread that syncs written bytes to the disk while others are copied, to shorten the final
/// sync.
struct Syncer {
    /// One pending request covers everything written until it is received.
    wish: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Syncer {
    fn begin(file: &File) -> Option<Syncer> {
        let file = file.try_clone().ok()?;
        let (wish, wishes) = sync_channel(1);
        let sync = move || {
            for () in wishes {
                // The final sync reports a failed write.
                let _ = file.sync_data();
            }
        };
        let thread = std::thread::Builder::new().name("sync".to_owned()).spawn(sync).ok()?;
        Some(Syncer { wish, thread })
    }

    fn end(self) {
        drop(self.wish);
        let _ = self.thread.join();
    }
}

impl Output {
    /// Opens a path or standard output. `time` is the time of the archive's entries.
    pub(super) fn create(dest: Option<&Path>, time: i64) -> Result<Output> {
        let time = Time { seconds: time, nanos: 0 };
        let Some(dest) = dest else {
            if std::io::stdout().is_terminal() {
                return Err(
                    Error::new(Kind::Usage, "a tarball is not for a terminal").hint("write `dest=FILE`, or pipe it on")
                );
            }
            return Ok(Output {
                to: Box::new(BufWriter::with_capacity(1 << 20, std::io::stdout())),
                file: None,
                direct: None,
                syncer: None,
                time,
            });
        };
        if dest.is_dir() {
            return Err(Error::new(Kind::Usage, format!("dest `{}` is a directory", dest.display()))
                .hint("name a file, or add tar=false"));
        }
        if dest.metadata().is_ok_and(|there| !there.is_file()) {
            // A pipe or a device is opened and never replaced.
            let file = File::options().write(true).open(dest).at("open", dest)?;
            let to = Box::new(BufWriter::with_capacity(1 << 20, file));
            return Ok(Output { to, file: None, direct: None, syncer: None, time });
        }
        let mut name = dest.as_os_str().to_owned();
        name.push(format!(".kiln-{}", std::process::id()));
        let temp = PathBuf::from(name);
        let file = outside::create_new(&temp).at("make", &temp)?;
        let direct = Some(file.try_clone().at("make", &temp)?);
        let to = Box::new(BufWriter::with_capacity(1 << 20, file));
        Ok(Output { to, file: Some((temp, dest.to_owned())), direct, syncer: None, time })
    }

    /// Adds a file with these bytes.
    pub(super) fn file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.stream(name, bytes.len() as u64, &mut &*bytes)
    }

    /// Adds a file from a reader.
    fn stream(&mut self, name: &str, size: u64, from: &mut dyn Read) -> Result<()> {
        self.header(name, size)?;
        self.content(from, size)
    }

    /// Adds a file from a file of the host, copied by the kernel if possible.
    pub(super) fn copy(&mut self, name: &str, size: u64, from: &File) -> Result<()> {
        self.header(name, size)?;
        let mut left = size;
        if let Some(direct) = &self.direct {
            self.to.flush().map_err(failed)?;
            // Both files continue after the copied bytes, so the rest can be copied the usual way
            // if the kernel stops.
            while left > 0 {
                let most = usize::try_from(left.min(PIECE)).unwrap_or(usize::MAX);
                match rustix::fs::copy_file_range(from, None, direct, None, most) {
                    Ok(count) if count > 0 => left -= count as u64,
                    _ => break,
                }
                if left > 0 && self.syncer.is_none() {
                    self.syncer = Syncer::begin(direct);
                }
                if let Some(syncer) = &self.syncer {
                    let _ = syncer.wish.try_send(());
                }
            }
        }
        self.rest(from, left, size)
    }

    fn header(&mut self, name: &str, size: u64) -> Result<()> {
        let node = Node::File { size, digest: None, offset: None };
        let entry = Entry { node, mode: 0o644, ..Entry::directory(name.as_bytes(), self.time) };
        self.raw(&write::header(name.as_bytes(), &entry, write::Kind::Node, None))
    }

    /// The content of the file whose header was written last.
    pub(super) fn content(&mut self, from: impl Read, size: u64) -> Result<()> {
        self.rest(from, size, size)
    }

    /// The last `left` bytes of a content of `size` bytes, and the padding after them.
    fn rest(&mut self, from: impl Read, left: u64, size: u64) -> Result<()> {
        let mut from = std::io::BufReader::with_capacity(256 << 10, from.take(left));
        let copied = std::io::copy(&mut from, &mut self.to).map_err(failed)?;
        if copied != left {
            return Err(Error::new(Kind::Store, "a file of the image is shorter than it was"));
        }
        self.raw(&[0; 512][..padding(size) as usize])
    }

    /// Adds a directory.
    pub(super) fn directory(&mut self, name: &str) -> Result<()> {
        let header =
            write::header(name.as_bytes(), &Entry::directory(name.as_bytes(), self.time), write::Kind::Node, None);
        self.raw(&header)
    }

    /// Writes bytes unchanged.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.to.write_all(bytes).map_err(failed)
    }

    /// Ends the archive and renames the file.
    pub(super) fn finish(mut self) -> Result<()> {
        self.to.write_all(&write::END).and_then(|()| self.to.flush()).map_err(failed)?;
        if let Some(syncer) = self.syncer.take() {
            syncer.end();
        }
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
