//! A record on its way: which key, what the key is made of, and the facts of each layer of the result.
//!
//! JSON, in an envelope: `{"version": 1, "shelf": "written", "key": "<64 hex>", "description": "...", "layers": [facts]}`,
//! the lowest layer first. On import the key is made again from the description; a record whose description is that of
//! another key is refused. A base's layer says which blob of the base image it is; it is not kept in the cache.

use super::LARGEST_OBJECT;
use super::envelope::{self, Signer, Verifier};
use crate::error::{Error, Kind, Result};
use crate::layer::{Facts, LayerKind};
use serde::{Deserialize, Serialize};
use solver::key::key_of_text;
use solver::{Key, Shelf};

/// Changes with the meaning of any field, and with how layers are packed or keyed: other versions are not read.
const VERSION: u32 = 1;
/// More layers are refused, as in images.
const MOST_LAYERS: usize = 10_000;

/// The body of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    version: u32,
    shelf: String,
    key: String,
    /// What the key is made of, printed.
    pub(super) description: String,
    /// The lowest first.
    pub(super) layers: Vec<Facts>,
}

/// The name of a record.
pub(super) fn name(shelf: Shelf, key: &Key) -> String {
    format!("{}-{key}", shelf_name(shelf))
}

/// Whether an object of this name is a record.
pub(super) fn is_name(name: &str) -> bool {
    let shelves = [Shelf::Written, Shelf::Settled, Shelf::Described, Shelf::Same];
    let key = shelves.iter().find_map(|shelf| name.strip_prefix(shelf_name(*shelf))?.strip_prefix('-'));
    key.is_some_and(|key| key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn shelf_name(shelf: Shelf) -> &'static str {
    match shelf {
        Shelf::Written => "written",
        Shelf::Settled => "settled",
        Shelf::Described => "described",
        Shelf::Same => "same",
    }
}

impl Record {
    /// A record; none if the description is not that of the key (a record of an older kiln).
    pub(super) fn new(shelf: Shelf, key: &Key, description: &str, layers: Vec<Facts>) -> Option<Record> {
        let (shelf, key) = (shelf_name(shelf).to_owned(), *key);
        (key_of_text(description) == Some(key)).then(|| Record {
            version: VERSION,
            shelf,
            key: key.to_string(),
            description: description.to_owned(),
            layers,
        })
    }

    /// The object to put under the record's name.
    pub(super) fn seal(&self, signer: Option<&Signer>) -> Result<Vec<u8>> {
        let failed = |cause: String| Error::new(Kind::Export, "cannot write a record").because(cause);
        let body = serde_json::to_vec(self).map_err(|cause| failed(cause.to_string()))?;
        let object = envelope::seal(&format!("{}-{}", self.shelf, self.key), &body, signer);
        match object.len() as u64 <= LARGEST_OBJECT / 2 {
            true => Ok(object),
            false => Err(failed(format!("it is larger than {} bytes", LARGEST_OBJECT / 2))),
        }
    }

    /// Reads a record whoever wrote it, to remove it or to see what it names: never to use it.
    pub(super) fn unchecked(name: &str, object: &[u8]) -> Option<Record> {
        serde_json::from_slice(envelope::open(name, object, None).ok()?).ok()
    }

    /// Reads what was found under the name of a key; an error says in a few words why it is not used.
    pub(super) fn open(
        shelf: Shelf,
        key: &Key,
        object: &[u8],
        verifier: Option<&Verifier>,
    ) -> Result<Record, &'static str> {
        let body = envelope::open(&name(shelf, key), object, verifier)?;
        let record: Record = serde_json::from_slice(body).map_err(|_| "it is damaged")?;
        if record.version != VERSION {
            return Err("it is of another version");
        }
        if record.shelf != shelf_name(shelf) || record.key != key.to_string() {
            return Err("it is the record of another key");
        }
        if key_of_text(&record.description) != Some(*key) {
            return Err("its description is that of another key");
        }
        let odd = |facts: &Facts| facts.kind == LayerKind::Base && facts.content != facts.diff_id.0;
        if record.layers.is_empty() || record.layers.len() > MOST_LAYERS || record.layers.iter().any(odd) {
            return Err("it is damaged");
        }
        Ok(record)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::digest::{DiffId, Digest};
    use crate::layer::BaseBlob;
    use solver::key::{key_of, print_of};

    pub(in super::super) fn sample() -> (Key, Record) {
        let walk = |to: &mut dyn solver::Manifest| to.text("run", "make");
        let digest = Digest::of(b"x");
        let facts = Facts {
            kind: LayerKind::Run,
            created: 7,
            window: Some([(6, 5), (7, 0)]),
            diff_id: DiffId(digest),
            content: digest,
            blob: BaseBlob { digest, size: 1, media_type: "application/vnd.oci.image.layer.v1.tar".to_owned() },
            packed: "plain".to_owned(),
        };
        let key = key_of(walk);
        (key, Record::new(Shelf::Written, &key, &print_of(walk), vec![facts]).expect("a record"))
    }

    #[test]
    fn a_record_comes_back_and_any_changed_byte_is_a_miss() {
        let (key, record) = sample();
        let object = record.seal(None).expect("an object");
        assert_eq!(Record::open(Shelf::Written, &key, &object, None), Ok(record));
        for at in 0..object.len() {
            let mut other = object.clone();
            other[at] ^= 1;
            assert!(Record::open(Shelf::Written, &key, &other, None).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_record_is_that_of_its_key_alone() {
        let (key, record) = sample();
        let lie = |change: fn(&mut Record)| {
            let mut record = record.clone();
            change(&mut record);
            let body = serde_json::to_vec(&record).expect("JSON");
            let object = envelope::seal(&name(Shelf::Written, &key), &body, None);
            Record::open(Shelf::Written, &key, &object, None).expect_err("refused")
        };
        assert_eq!(
            lie(|record| record.description = "run: \"rm\"\n".to_owned()),
            "its description is that of another key"
        );
        assert_eq!(lie(|record| record.key = "00".repeat(32)), "it is the record of another key");
        assert_eq!(lie(|record| record.shelf = "settled".to_owned()), "it is the record of another key");
        assert_eq!(lie(|record| record.version = 2), "it is of another version");
        assert_eq!(lie(|record| record.layers.clear()), "it is damaged");
        assert!(Record::new(Shelf::Written, &key, "run: \"rm\"\n", Vec::new()).is_none());
    }
}
