//! Records which keys vouch for a layer. The record of an imported layer says what it is, and the
//! record may be signed. A layer that was built here on an imported layer is no more trustworthy
//! than that one.
//!
//! `vouched` in the layer's directory holds the fingerprints of public keys, one per line. Each key
//! alone vouches for all of the layer. A layer from a cache without a signature has an empty file,
//! or none. A base layer, and a layer built here from trusted layers only, has no such file. It is
//! written under a temporary name and renamed, and goes with the layer.

use super::derive::put_text;
use super::{LayerId, Layers};
use base::error::Result;
use base::read;
use std::collections::BTreeSet;

/// The largest list of keys in bytes.
const LARGEST: u64 = 64 << 10;

/// Fingerprints: the SHA-256 of public keys, in hex.
pub type Keys = BTreeSet<String>;

impl Layers {
    /// The keys that vouch for a layer; `None` for a layer that needs none, as a base layer.
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

    /// True if each layer needs no voucher or one of these keys vouches for it.
    pub fn trusted(&self, ids: &[LayerId], keys: &Keys) -> bool {
        ids.iter().all(|id| self.vouchers(id).is_none_or(|vouched| !vouched.is_disjoint(keys)))
    }

    /// Adds a key that vouches for an imported layer; `None` records an unsigned one.
    pub fn vouch(&self, id: &LayerId, key: Option<&str>) -> Result<()> {
        if !self.travelled(id) {
            return Ok(());
        }
        let mut all = self.vouchers(id).unwrap_or_default();
        let new = key.is_some_and(|key| all.insert(key.to_owned()));
        if new { self.write_vouchers(id, all) } else { Ok(()) }
    }

    /// Records that a layer was made from others: the keys that vouch for all of them vouch for it.
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
