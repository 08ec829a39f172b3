//! Content-defined chunking: a cut depends only on the bytes near it, so a change in the middle
//! changes only the chunks around it. The hash is a gear hash (Xia et al., FastCDC, 2016) over the
//! last 64 bytes.

/// The smallest size of a chunk, except the last.
pub const SMALLEST: usize = 256 * 1024;
/// The largest size of a chunk.
pub const LARGEST: usize = 4 * 1024 * 1024;
/// Beyond the smallest size, a cut comes once in this many bytes on average.
const MASK: u64 = (1 << 20) - 1;

/// A random number for every byte: the first 256 outputs of splitmix64 seeded with 0.
const GEAR: [u64; 256] = {
    let mut table = [0; 256];
    let mut state: u64 = 0;
    let mut at = 0;
    while at < 256 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = state;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        table[at] = value ^ (value >> 31);
        at += 1;
    }
    table
};

/// Cuts a stream into chunks.
#[derive(Default)]
pub struct Chunker {
    open: Vec<u8>,
    hash: u64,
}

impl Chunker {
    /// Takes bytes and passes every finished chunk on.
    pub fn push(&mut self, mut bytes: &[u8], done: &mut dyn FnMut(Vec<u8>)) {
        while !bytes.is_empty() {
            // No cut is possible before the smallest size, and the hash forgets bytes after 64
            // more.
            let skip = SMALLEST.saturating_sub(64 + self.open.len()).min(bytes.len());
            self.open.extend_from_slice(&bytes[..skip]);
            bytes = &bytes[skip..];
            let mut cut = None;
            for (at, byte) in bytes.iter().enumerate() {
                self.hash = (self.hash << 1).wrapping_add(GEAR[usize::from(*byte)]);
                let size = self.open.len() + at + 1;
                if size >= LARGEST || (size >= SMALLEST && (self.hash >> 40) & MASK == 0) {
                    cut = Some(at + 1);
                    break;
                }
            }
            let end = cut.unwrap_or(bytes.len());
            self.open.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end..];
            if cut.is_some() {
                self.hash = 0;
                done(std::mem::take(&mut self.open));
            }
        }
    }

    /// The last chunk; may be empty.
    pub fn finish(self) -> Vec<u8> {
        self.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(bytes: &[u8], step: usize) -> Vec<Vec<u8>> {
        let (mut chunker, mut chunks) = (Chunker::default(), Vec::new());
        bytes.chunks(step).for_each(|part| chunker.push(part, &mut |chunk| chunks.push(chunk)));
        chunks.push(chunker.finish());
        chunks
    }

    #[test]
    fn cuts_depend_on_content_alone_and_a_change_stays_near() {
        let mut state = 1_u64;
        let mut bytes: Vec<u8> = (0..24_000_000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        let before = cut(&bytes, 7919);
        assert_eq!(before, cut(&bytes, 1_000_003));
        assert!(before.len() > 8 && before.iter().all(|chunk| chunk.len() <= LARGEST));
        bytes.splice(12_000_000..12_000_000, *b"inserted");
        let after = cut(&bytes, 7919);
        let changed = after.iter().filter(|chunk| !before.contains(chunk)).count();
        assert!(changed <= 3, "{changed} of {} chunks changed", after.len());
    }
}
