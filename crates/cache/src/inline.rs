//! type=inline: records inside the image they are of. Nothing is kept beside the image: its config has one more field, and
//! its own layers are the blobs. `--cache-from REF` finds them when the image was pushed to REF.
//!
//! The field `dev.kiln.cache.inline.v2` of the image config is an object around records, like a [`batch`], with the name
//! `inline`. Only what the image contains is there (`mode=min`). A record names the blobs that a push makes, so
//! `compression=` must be that of the push. Its time is that of its layer, so that equal images stay equal.

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

/// The field of the config.
pub const FIELD: &str = "dev.kiln.cache.inline.v2";
/// The name that the object is signed under.
const NAME: &str = "inline";

/// A `--cache-to type=inline`.
pub(super) struct Inline {
    compression: Compression,
    signer: Option<Signer>,
    /// Layers that one of these keys has signed may be signed again.
    trusted: Keys,
}

/// It is no place of its own: nothing is read or written by name.
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

/// The object in a config, with its name; none where nothing can be read.
pub(super) fn object(config: &[u8]) -> Option<(String, Vec<u8>)> {
    let value: Value = serde_json::from_slice(config).ok()?;
    Some((NAME.to_owned(), value[FIELD].as_str()?.as_bytes().to_vec()))
}
