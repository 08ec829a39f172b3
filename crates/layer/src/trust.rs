//! By whose word a layer is what it is. A layer that came from another machine's cache is what its record says, and the
//! record may be signed; a layer that was made here of such a layer is no more trustworthy than that one.
//!
//! `vouched` in the layer's folder: the fingerprints of public keys, one a line. Each of them alone vouches for all of
//! the layer. A layer that came from a cache without a signature has an empty file, or none. A base, and what was made here
//! of nothing but trusted layers, has no such file. Written under a temporary name and renamed; it goes with the layer.

use super::derive::put_text;
use super::{LayerId, Layers};
use base::error::Result;
use base::read;
use std::collections::BTreeSet;

/// A larger file is no list of keys.
const LARGEST: u64 = 64 << 10;

/// Fingerprints: the SHA-256 of public keys, in hex.
pub type Keys = BTreeSet<String>;

impl Layers {
    /// The keys that vouch for a layer; none for one that was made here, or is a base.
    pub fn vouchers(&self, id: &LayerId) -> Option<Keys> {
        if let Some(known) = self.0.known.get(id, |seen| seen.vouched.clone()).flatten() {
            return known;
        }
        let text = read::short(LARGEST, &self.folder(id).join("vouched")).ok();
        let keys = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect::<Keys>();
        let vouched = text.map(keys).or_else(|| self.travelled(id).then(Keys::new));
        self.0.known.note(id, |seen| seen.vouched = Some(vouched.clone()));
        vouched
    }

    /// Whether these keys are enough to trust layers.
    pub fn trusted(&self, ids: &[LayerId], keys: &Keys) -> bool {
        ids.iter().all(|id| self.vouchers(id).is_none_or(|vouched| !vouched.is_disjoint(keys)))
    }

    /// A key vouches for a layer that came from a cache too; none: whoever wrote it is not known.
    pub fn vouch(&self, id: &LayerId, key: Option<&str>) -> Result<()> {
        if !self.travelled(id) {
            return Ok(());
        }
        let mut all = self.vouchers(id).unwrap_or_default();
        let new = key.is_some_and(|key| all.insert(key.to_owned()));
        if new { self.write_vouchers(id, all) } else { Ok(()) }
    }

    /// A layer was made here of others: those that vouch for all of them vouch for it.
    pub fn made_of<'a>(&self, id: &LayerId, others: impl Iterator<Item = &'a LayerId>) -> Result<()> {
        let vouched: Vec<Keys> = others.filter(|other| *other != id).filter_map(|other| self.vouchers(other)).collect();
        let Some((first, rest)) = vouched.split_first() else { return Ok(()) };
        let all = rest.iter().fold(first.clone(), |all, keys| all.intersection(keys).cloned().collect());
        self.write_vouchers(id, all)
    }

    fn write_vouchers(&self, id: &LayerId, keys: Keys) -> Result<()> {
        let text: String = keys.iter().flat_map(|key| [key.as_str(), "\n"]).collect();
        put_text(&self.folder(id).join("vouched"), &text)?;
        self.0.known.note(id, |seen| seen.vouched = Some(Some(keys)));
        Ok(())
    }
}
