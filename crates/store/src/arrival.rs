//! Blobs that are being downloaded. A reader can read the part that has arrived while the rest
//! still comes. Knows nothing of where blobs come from.
//!
//! The writer of a blob never waits for its readers, because the bytes are in a file. Bytes that
//! are read this way are not verified yet: the stream ends only after the whole blob matched its
//! digest, and fails if it never does.

use base::digest::Digest;
use base::sync::lock;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// The blobs that a thread of this process is downloading.
#[derive(Debug, Default)]
pub(super) struct Arrivals(Mutex<HashMap<Digest, Arc<Arrival>>>);

/// A blob that is being downloaded.
#[derive(Debug, Default)]
pub(super) struct Arrival {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The file that the current try writes. Each try begins with a new file.
    file: Option<Arc<File>>,
    tries: u32,
    written: u64,
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The blob is in the store.
    Come,
    /// No thread downloads it any more.
    Lost,
}

impl Arrivals {
    pub(super) fn find(&self, digest: &Digest) -> Option<Arc<Arrival>> {
        lock(&self.0).get(digest).cloned()
    }

    /// Registers blobs that the caller will download. Returns them without those that another
    /// thread downloads already.
    pub(super) fn expect(&self, digests: &[Digest]) -> Vec<Digest> {
        let mut all = lock(&self.0);
        let new = |digest: &&Digest| match all.entry(**digest) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(Arc::default());
                true
            }
        };
        digests.iter().filter(new).copied().collect()
    }

    pub(super) fn forget(&self, digest: &Digest) {
        if let Some(arrival) = lock(&self.0).remove(digest) {
            arrival.change(|state| state.end = state.end.or(Some(End::Lost)));
        }
    }
}

impl Arrival {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }

    /// A new try begins, with its own file.
    pub(super) fn begin(&self, file: &Arc<File>) {
        self.change(|state| {
            (state.file, state.written) = (Some(Arc::clone(file)), 0);
            state.tries += 1;
        });
    }

    pub(super) fn grow(&self, count: u64) {
        self.change(|state| state.written += count);
    }

    /// The try has ended. If it failed, another one may begin.
    pub(super) fn finish(&self, well: bool) {
        self.change(|state| {
            if well {
                state.end = Some(End::Come);
            } else if state.end.is_none() {
                state.file = None;
            }
        });
    }

    /// Waits until the blob is in the store, or until no thread downloads it any more.
    pub(super) fn wait(&self) {
        let mut state = lock(&self.state);
        while state.end.is_none() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Reads a blob that is still being written.
#[derive(Debug)]
pub(super) struct Follower {
    arrival: Arc<Arrival>,
    /// The file and the number of the try that it reads.
    file: Option<(Arc<File>, u32)>,
    at: u64,
}

impl Follower {
    pub(super) fn new(arrival: Arc<Arrival>) -> Follower {
        Follower { arrival, file: None, at: 0 }
    }

    /// Waits for unread bytes and returns their file. None at the end of the blob.
    fn next(&mut self) -> io::Result<Option<(Arc<File>, u64)>> {
        let lost = |why| Err(io::Error::other(why));
        let mut state = lock(&self.arrival.state);
        loop {
            if self.file.is_none() {
                self.file = state.file.as_ref().map(|file| (Arc::clone(file), state.tries));
            }
            match &self.file {
                Some((_, tries)) if *tries != state.tries => return lost("the blob comes anew"),
                Some((file, _)) if self.at < state.written => return Ok(Some((Arc::clone(file), state.written))),
                _ => {}
            }
            match state.end {
                Some(End::Come) if self.file.is_some() => return Ok(None),
                Some(_) => return lost("the blob does not come"),
                None => state = self.arrival.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

impl Read for Follower {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((file, written)) = self.next()? else { return Ok(0) };
        let want = usize::try_from(written - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let count = file.read_at(&mut buffer[..want], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Store;
    use std::io::Write as _;

    #[test]
    fn what_comes_is_read_as_it_comes_and_ends_when_it_was_checked() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        let digest = Digest::of(b"half and half");
        let coming = store.expect(&[digest]);
        assert_eq!(coming.digests(), [digest]);
        assert!(store.expect(&[digest]).digests().is_empty(), "somebody brings it already");
        let mut follower = store.follow(&digest).unwrap();
        let mut writer = store.blob_of(&digest).unwrap();
        writer.write_all(b"half ").unwrap();
        let mut first = [0; 5];
        follower.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"half ");
        assert!(!store.has(&digest));
        writer.write_all(b"and half").unwrap();
        let rest = std::thread::spawn(move || {
            let mut rest = Vec::new();
            follower.read_to_end(&mut rest).map(|_| rest)
        });
        writer.complete_as(&digest, Some(13)).unwrap();
        assert_eq!(rest.join().unwrap().unwrap(), b"and half");
        drop(coming);
        store.await_blob(&digest);
        let mut whole = Vec::new();
        store.follow(&digest).unwrap().read_to_end(&mut whole).unwrap();
        assert_eq!(whole, b"half and half");
    }

    #[test]
    fn what_breaks_off_or_is_another_has_no_end() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        let digest = Digest::of(b"promised");
        let coming = store.expect(&[digest]);
        let mut read = Vec::new();
        // Another try may bring other bytes first.
        let (mut early, mut writer) = (store.follow(&digest).unwrap(), store.blob_of(&digest).unwrap());
        writer.write_all(b"pro").unwrap();
        early.read_exact(&mut [0; 3]).unwrap();
        drop(writer);
        let mut writer = store.blob_of(&digest).unwrap();
        writer.write_all(b"something else").unwrap();
        assert!(early.read_to_end(&mut read).unwrap_err().to_string().contains("anew"));
        // All the bytes of a false blob may be read, but not its end.
        let late = store.follow(&digest).unwrap();
        let late = std::thread::spawn(move || late.take(99).read_to_end(&mut Vec::new()).unwrap_err().to_string());
        assert!(writer.complete_as(&digest, None).is_err());
        let never = store.follow(&digest).unwrap();
        drop(coming);
        assert!(late.join().unwrap().contains("does not come"));
        assert!(never.take(1).read_to_end(&mut read).is_err());
        assert!(store.follow(&digest).is_err(), "nobody brings it and it is not there");
    }
}
