//! Content digests: SHA-256, and a type of its own for diff ids, so that they are not mixed up.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

/// A SHA-256 digest, written `sha256:` and 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

/// The digest of a layer's uncompressed tar (OCI image specification, config.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiffId(pub Digest);

/// The most bytes of a file that are read at once.
const LARGEST_READ: usize = 128 * 1024;

impl Digest {
    /// The digest of bytes in memory.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// The digest of a file that should have `size` bytes, and its real size. A small file takes
    /// one read: one byte more than `size` is asked for, and a short read shows the end.
    pub fn of_file(from: &mut dyn Read, size: u64) -> io::Result<(Digest, u64)> {
        let (mut hasher, mut taken) = (Hasher::default(), 0);
        let room = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(1);
        let mut buffer = vec![0; room.min(LARGEST_READ)];
        loop {
            let count = match from.read(&mut buffer) {
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                count => count?,
            };
            hasher.update(&buffer[..count]);
            taken += count as u64;
            if count == 0 || (taken == size && count < buffer.len()) {
                return Ok((hasher.finish(), taken));
            }
        }
    }

    /// The 64 hex digits without the prefix.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Computes a digest incrementally.
#[derive(Clone, Debug, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
    /// The digest of all bytes.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for DiffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A text that is no digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadDigest(String);

impl fmt::Display for BadDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a sha256 digest", self.0)
    }
}

impl std::error::Error for BadDigest {}

impl FromStr for Digest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Digest, BadDigest> {
        let bad = || BadDigest(text.chars().take(100).collect());
        let hex = text.strip_prefix("sha256:").ok_or_else(bad)?.as_bytes();
        if hex.len() != 64 || !hex.iter().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(c)) {
            return Err(bad());
        }
        let digit = |c: u8| if c <= b'9' { c - b'0' } else { c - b'a' + 10 };
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = digit(pair[0]) << 4 | digit(pair[1]);
        }
        Ok(Digest(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = BadDigest;
    fn try_from(text: String) -> Result<Digest, BadDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lower_case_sha256_is_a_digest() {
        let good = Digest::of(b"x").to_string();
        assert_eq!(good.parse::<Digest>().map(|digest| digest.to_string()), Ok(good.clone()));
        for bad in ["", "sha256:", "sha512:aa", "../../etc", &good.to_uppercase(), &good[..70], &format!("{good}0")] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
