//! Reads a file once, hashes it in the same read, and compares the digest with that of the
//! selection. This module does not interpret the bytes.

use base::digest::{Digest, Hasher};
use base::error::{At as _, Error, Result};
use base::sync::lock;
use layer::files::{Files, Stream, is_no_file};
use layer::tree::{Entry, Node, show};
use std::io::{self, Read};
use std::sync::{Arc, Mutex};

/// The buffer size for the bytes that the reader left.
const BUFFER: usize = 128 << 10;

/// One file of a source.
pub(super) struct Verified<'a> {
    entry: &'a Entry,
    state: Arc<Mutex<State>>,
}

struct State {
    file: Stream,
    left: u64,
    /// `None` for a file that cannot change.
    hasher: Option<Hasher>,
}

impl<'a> Verified<'a> {
    /// Opens the file of an entry with a digest.
    pub(super) fn open(files: &dyn Files, entry: &'a Entry) -> Result<Verified<'a>> {
        let file = files.open(&entry.path)?;
        let left = if let Node::File { size, .. } = entry.node { size } else { 0 };
        let hasher = (!files.lasts()).then(Hasher::default);
        Ok(Verified { entry, state: Arc::new(Mutex::new(State { file, left, hasher })) })
    }

    /// The bytes of the file, once.
    pub(super) fn reader(&self) -> Stream {
        Box::new(Reader(Arc::clone(&self.state)))
    }

    /// Reads the rest, and fails if the file is not the selected one.
    pub(super) fn verify(self) -> Result<()> {
        let mut state = lock(&self.state);
        if state.hasher.is_none() {
            return Ok(());
        }
        let mut buffer = vec![0; BUFFER];
        loop {
            match state.read(&mut buffer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(cause) if is_no_file(&cause) => return Err(Error::changed(&self.entry.path)),
                failed => drop(failed.at("read", show(&self.entry.path))?),
            }
        }
        let found: Option<Digest> = state.hasher.take().map(Hasher::finish);
        match self.entry.node {
            Node::File { digest: Some(wanted), .. } if found != Some(wanted) => Err(Error::changed(&self.entry.path)),
            _ => Ok(()),
        }
    }
}

impl State {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = loop {
            match self.file.read(&mut buffer[..want]) {
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                count => break count?,
            }
        };
        self.left -= count as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        Ok(count)
    }
}

struct Reader(Arc<Mutex<State>>);

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        lock(&self.0).read(buffer)
    }
}
