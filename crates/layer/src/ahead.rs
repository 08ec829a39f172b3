//! Reads a stream ahead of its consumer, in a thread of its own: one core decompresses while
//! another one hashes and writes. The number of blocks that wait is bounded.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// The size of a block, and the number of blocks that may wait.
const BLOCK: usize = 128 << 10;
const AHEAD: usize = 8;

/// A stream that another thread reads. The thread ends with the stream, or soon after this is
/// dropped.
pub(super) struct Ahead {
    blocks: Receiver<io::Result<Block>>,
    /// Used blocks go back to the thread: allocating is slower than copying.
    used: Sender<Block>,
    block: Block,
    at: usize,
    ended: bool,
}

/// A buffer and the number of valid bytes in it; zero is the end of the stream.
#[derive(Default)]
struct Block {
    bytes: Vec<u8>,
    length: usize,
}

impl Ahead {
    pub(super) fn new(stream: Box<dyn Read + Send>) -> Ahead {
        let (to, blocks) = sync_channel(AHEAD);
        let (used, again) = channel();
        std::thread::spawn(move || pump(stream, &to, &again));
        Ahead { blocks, used, block: Block::default(), at: 0, ended: false }
    }
}

fn pump(mut stream: Box<dyn Read + Send>, to: &SyncSender<io::Result<Block>>, again: &Receiver<Block>) {
    loop {
        let mut bytes = again.try_recv().map_or_else(|_| vec![0; BLOCK], |block| block.bytes);
        let got = base::read::fill(&mut stream, &mut bytes);
        let last = got.as_ref().map_or(true, |length| *length == 0);
        if to.send(got.map(|length| Block { bytes, length })).is_err() || last {
            return;
        }
    }
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.length && !self.ended {
            let used = std::mem::take(&mut self.block);
            if !used.bytes.is_empty() {
                // Fails once the thread has ended, which does no harm.
                let _ = self.used.send(used);
            }
            // The channel closes without an empty block only if the thread panicked.
            let block = self.blocks.recv().unwrap_or_else(|_| Err(io::Error::other("the stream broke off")));
            (self.at, self.ended) = (0, true);
            self.block = block?;
            self.ended = self.block.length == 0;
        }
        let count = buffer.len().min(self.block.length - self.at);
        buffer[..count].copy_from_slice(&self.block.bytes[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_stream_comes_as_it_is_and_so_does_its_error() {
        let bytes: Vec<u8> = (0..3 * BLOCK + 7).map(|at| (at % 251) as u8).collect();
        let mut read = Vec::new();
        Ahead::new(Box::new(io::Cursor::new(bytes.clone()))).read_to_end(&mut read).unwrap();
        assert!(read == bytes);
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        let mut read = Vec::new();
        let stream = io::Cursor::new(vec![1; BLOCK]).chain(Broken);
        let error = Ahead::new(Box::new(stream)).read_to_end(&mut read).unwrap_err();
        assert_eq!((error.to_string().as_str(), read.len()), ("broken", BLOCK));
        // Dropping the reader early must end the thread, even on an endless stream.
        drop(Ahead::new(Box::new(io::repeat(0))));
    }
}
