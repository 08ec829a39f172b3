//! type=inline: records inside the image they are of. Nothing is kept beside the image: its config has one more field, and
//! its own layers are the blobs. `--cache-from REF` finds them when the image was pushed to REF.
//!
//! The field `dev.kiln.cache.inline.v1` of the image config is base64 of Zstandard of a JSON object: the name of each
//! record, and the record in its envelope. Only what the image contains is there (`mode=min`). A record names the blobs that
//! a push makes, so `compression=` must be that of the push.

use super::envelope::Signer;
use super::record::Record;
use super::{Backend, Mode, Surroundings, Wanted};
use crate::error::{Error, Kind, Result};
use crate::layer::rootfs::Rootfs;
use crate::layer::{Compression, Layers};
use crate::read;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use solver::{Key, Shelf};
use std::collections::BTreeMap;

/// The field of the config.
pub const FIELD: &str = "dev.kiln.cache.inline.v1";
/// More plain bytes are no cache.
const LARGEST: u64 = 32 << 20;

/// A `--cache-to type=inline`.
pub(super) struct Inline {
    compression: Compression,
    signer: Option<Signer>,
}

/// It is no place of its own: nothing is read or written by name.
pub(super) fn open(_: &Wanted, _: &Surroundings<'_>) -> Result<Box<dyn Backend>> {
    Err(Error::new(Kind::Usage, "--cache-from type=inline is no place")
        .hint("write the name of the image: --cache-from REF"))
}

impl Inline {
    pub(super) fn new(wanted: &Wanted) -> Result<Inline> {
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
        Ok(Inline { compression: Compression::wanted(&wanted.attributes)?, signer })
    }

    /// The value of the field.
    pub(super) fn field(&self, records: &[(Key, Rootfs, String)], layers: &Layers) -> Result<String> {
        let mut all = BTreeMap::new();
        for (key, rootfs, description) in records {
            let facts =
                rootfs.layers.iter().map(|id| layers.facts(id, self.compression)).collect::<Result<Vec<_>>>()?;
            let Some(record) = Record::new(Shelf::Written, key, description, facts) else { continue };
            let object = String::from_utf8_lossy(&record.seal(self.signer.as_ref())?).into_owned();
            all.insert(super::record::name(Shelf::Written, key), object);
        }
        let failed = |cause: String| Error::new(Kind::Export, "cannot write the inline cache").because(cause);
        let json = serde_json::to_vec(&all).map_err(|cause| failed(cause.to_string()))?;
        let packed = zstd::bulk::compress(&json, 10).map_err(|cause| failed(cause.to_string()))?;
        Ok(STANDARD.encode(packed))
    }
}

/// The records in a config, by name; none where nothing can be read.
pub(super) fn records(config: &[u8]) -> BTreeMap<String, String> {
    let value: Value = serde_json::from_slice(config).unwrap_or_default();
    let packed = value[FIELD].as_str().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
    let json = zstd::Decoder::new(packed.as_slice()).and_then(|decoder| read::at_most(LARGEST, decoder));
    json.ok().flatten().and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
}
