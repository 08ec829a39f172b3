//! type=inline: records inside their own image. The image config has one more field, and the
//! image's layers are the blobs. `--cache-from REF` finds the records when the image was pushed to
//! REF.
//!
//! The field `dev.kiln.cache.inline.v2` of the image config is an object around records, like a
//! `batch`, with the name `inline`. It contains only the steps of the image (`mode=min`). A
//! record names the blobs that a push makes, so `compression=` must match the push. A record has
//! the time of its layer, so that equal images stay equal.

use super::batch::{self, Record};
use super::envelope::Signer;
use super::{Backend, LARGEST_OBJECT, Mode, Surroundings, Wanted};
use base::error::{Error, Kind, Result};
use layer::rootfs::Rootfs;
use layer::trust::Keys;
use layer::{Compression, Layers};
use serde_json::Value;
use solver::{Key, Shelf};
use std::sync::Arc;

/// The field in the image config.
pub const FIELD: &str = "dev.kiln.cache.inline.v2";
/// The name under which the object is signed.
const NAME: &str = "inline";

/// A `--cache-to type=inline`.
pub(super) struct Inline {
    compression: Compression,
    signer: Option<Signer>,
    /// Layers that were signed with one of these keys may be signed again.
    trusted: Keys,
}

/// An inline cache is no backend: nothing in it is read or written by name.
pub(super) fn open(_: &Wanted, _: &Surroundings<'_>) -> Result<Box<dyn Backend>> {
    Err(Error::new(Kind::Usage, "--cache-from type=inline is no place")
        .hint("write the name of the image: --cache-from REF"))
}

impl Inline {
    pub(super) fn new(wanted: &Wanted, trusted: &Keys) -> Result<Inline> {
        if wanted.attributes.text("mode").is_some() && wanted.mode()? == Mode::Max {
            let error = Error::new(Kind::Usage, "--cache-to type=inline holds what the image contains: mode=min");
            return Err(error.hint("type=registry holds every step"));
        }
        if wanted.attributes.flag("mounts", false)? {
            return Err(
                Error::new(Kind::Usage, "--cache-to type=inline holds no cache mounts").hint("type=registry does")
            );
        }
        let signer = wanted.path("sign-key").map(|path| Signer::read(&path)).transpose()?;
        let own = signer.iter().map(Signer::fingerprint);
        let trusted = trusted.iter().cloned().chain(own).collect();
        Ok(Inline { compression: wanted.compression()?, signer, trusted })
    }

    /// The value of the field.
    pub(super) fn field(&self, records: &[(Key, Rootfs, String)], layers: &Layers) -> Result<String> {
        let signs = self.signer.is_some();
        let mut all = Vec::new();
        for (key, rootfs, text) in
            records.iter().filter(|(_, rootfs, _)| !signs || layers.trusted(&rootfs.layers, &self.trusted))
        {
            let facts = rootfs
                .layers
                .iter()
                .map(|id| layers.facts(id, self.compression).map(Arc::new))
                .collect::<Result<Vec<_>>>()?;
            let at = facts.last().and_then(|facts| u64::try_from(facts.created).ok()).unwrap_or(0);
            all.extend(Record::new(Shelf::Written, *key, at.saturating_mul(1000), text, facts));
        }
        let object = batch::seal_as(NAME, &all, self.signer.as_ref())?;
        if object.len() as u64 > LARGEST_OBJECT / 2 {
            return Err(Error::new(Kind::Export, "the inline cache is too large for an image config")
                .hint("type=registry has room for it"));
        }
        Ok(String::from_utf8_lossy(&object).into_owned())
    }
}

/// The object in an image config, with its name; `None` if there is none.
pub(super) fn object(config: &[u8]) -> Option<(String, Vec<u8>)> {
    let value: Value = serde_json::from_slice(config).ok()?;
    Some((NAME.to_owned(), value[FIELD].as_str()?.as_bytes().to_vec()))
}
