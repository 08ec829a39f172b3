//! A batch holds the records that one build pushed together. A record maps a key to its result. The
//! facts of each layer are in the batch once, however many records name it, so a batch grows
//! linearly with its steps.
//!
//! A batch is an object (see [`envelope`]) with the name `batch-<12 hex: milliseconds since
//! 1970>-<16 hex: of the SHA-256 of its body>`. The body is base64 of Zstandard of JSON:
//!
//! ```text
//! {"version": 2, "keys": KEY_VERSION, "on": [names of batches],
//!  "layers": [facts, or [batch of "on", layer there]],
//!  "chains": [[chain below or null, layer]],
//!  "records": [{"shelf": "written", "at": milliseconds, "chain": 0,
//!               "text": "the description of the key"}]}
//! ```
//! A chain is a result: a layer on top of another chain. A build that writes several batches refers
//! to a layer of an earlier batch by its position there; without that batch the record does not
//! count. The reader computes a record's key from its text, so no record can be filed under another
//! key. A batch never changes; the newest record of a key counts.

use super::LARGEST_OBJECT;
use super::envelope::{self, Signer, Verifier};
use base::digest::Digest;
use base::error::{Error, Kind, Result};
use base::read;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use layer::{BaseBlob, Facts, LayerKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use solver::key::{KEY_VERSION, key_of_text};
use solver::{Key, Shelf};
use std::collections::HashMap;
use std::sync::Arc;

/// Raise this when the meaning of a field or the packing of layers changes: other versions are not
/// read.
const VERSION: u32 = 2;
/// The most layers of a result, as in images.
const MOST_LAYERS: usize = 10_000;
/// The most plain bytes in a body.
const LARGEST_PLAIN: u64 = 64 << 20;
/// A larger batch is split: a registry's manifest has to name its blobs too.
const LARGEST_BATCH: usize = LARGEST_OBJECT as usize / 4;
/// A batch with more plain bytes is split too.
const LARGEST_WRITTEN: usize = LARGEST_PLAIN as usize / 4;
/// The prefix of a batch's name.
pub(super) const PREFIX: &str = "batch-";

/// The result of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) shelf: Shelf,
    pub(super) key: Key,
    /// The time of the push in milliseconds since 1970.
    pub(super) at: u64,
    /// The printed description of the key.
    pub(super) text: String,
    /// The layers, the lowest first.
    pub(super) layers: Vec<Arc<Facts>>,
}

/// A batch that was read from a cache.
#[derive(Debug, Default)]
pub(super) struct Batch {
    on: Vec<String>,
    layers: Vec<Layer>,
    chains: Vec<(Option<u32>, u32)>,
    lines: Vec<Line>,
    keys: Vec<Key>,
    /// For each chain, true if all its layers are known.
    whole: Vec<bool>,
}

/// A batch that is ready to write.
pub(super) struct Sealed {
    pub(super) name: String,
    pub(super) object: Vec<u8>,
    /// The blobs of its layers, without those of base layers.
    pub(super) blobs: Vec<BaseBlob>,
}

/// The layers in the batches that this build has written: the names of the batches, and the
/// position of each layer.
#[derive(Debug, Default)]
pub(super) struct Written {
    names: Vec<String>,
    places: HashMap<String, (u32, u32)>,
}

/// A layer that a batch names.
#[derive(Debug)]
enum Layer {
    Known(Arc<Facts>),
    Elsewhere(u32, u32),
}

#[derive(Debug, Serialize, Deserialize)]
struct Body {
    version: u32,
    keys: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    on: Vec<String>,
    layers: Vec<Place>,
    chains: Vec<(Option<u32>, u32)>,
    records: Vec<Line>,
}

/// The serialized form of a layer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Place {
    Here(Box<Facts>),
    There(u32, u32),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Line {
    shelf: String,
    at: u64,
    chain: u32,
    text: String,
}

pub(super) fn shelf_name(shelf: Shelf) -> &'static str {
    match shelf {
        Shelf::Written => "written",
        Shelf::Settled => "settled",
        Shelf::Described => "described",
        Shelf::Same => "same",
    }
}

fn shelf_of(name: &str) -> Option<Shelf> {
    [Shelf::Written, Shelf::Settled, Shelf::Described, Shelf::Same].into_iter().find(|one| shelf_name(*one) == name)
}

impl Record {
    /// Makes a record. `None` if the key does not belong to the text, as in a record of another
    /// kiln version.
    pub(super) fn new(shelf: Shelf, key: Key, at: u64, text: &str, layers: Vec<Arc<Facts>>) -> Option<Record> {
        (key_of_text(text) == Some(key)).then(|| Record { shelf, key, at, text: text.to_owned(), layers })
    }
}

/// The name of an object, from its time and body.
pub(super) fn name_of(prefix: &str, at: u64, body: &[u8]) -> String {
    format!("{prefix}{at:012x}-{}", &Digest::of(body).hex()[..16])
}

/// The time in the name of a batch or an index: milliseconds since 1970.
pub(super) fn time_of(prefix: &str, name: &str) -> Option<u64> {
    let (time, digest) = name.strip_prefix(prefix)?.split_once('-')?;
    let hex = |text: &str, length: usize| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (hex(time, 12) && hex(digest, 16)).then(|| u64::from_str_radix(time, 16).ok())?
}

/// Encodes a value as the body of an object.
pub(super) fn pack(value: &impl Serialize) -> Result<Vec<u8>> {
    let failed = |cause: String| Error::new(Kind::Export, "cannot write an object of a cache").because(cause);
    let json = serde_json::to_vec(value).map_err(|cause| failed(cause.to_string()))?;
    let packed = zstd::bulk::compress(&json, 9).map_err(|cause| failed(cause.to_string()))?;
    Ok(STANDARD.encode(packed).into_bytes())
}

/// Decodes a body; `None` if it is damaged or too large.
pub(super) fn unpack<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    let packed = STANDARD.decode(body).ok()?;
    let plain = read::at_most(LARGEST_PLAIN, zstd::Decoder::new(packed.as_slice()).ok()?).ok()??;
    serde_json::from_slice(&plain).ok()
}

/// Makes batches of records, as many as their size needs. They may refer to layers in batches that
/// were written before.
pub(super) fn seal(records: &[Record], at: u64, signer: Option<&Signer>, written: &mut Written) -> Result<Vec<Sealed>> {
    let plain: usize = records.iter().map(|record| record.text.len() + record.layers.len() * 8).sum();
    let body = if plain > LARGEST_WRITTEN && records.len() > 1 { None } else { Some(body_of(records, written)) };
    let body = body.map(|body| Ok::<_, Error>((pack(&body)?, body))).transpose()?;
    let Some((packed, body)) = body.filter(|(packed, _)| packed.len() <= LARGEST_BATCH || records.len() == 1) else {
        let (first, second) = records.split_at(records.len() / 2);
        let mut all = seal(first, at, signer, written)?;
        all.extend(seal(second, at, signer, written)?);
        return Ok(all);
    };
    if packed.len() > LARGEST_BATCH {
        return Err(Error::new(Kind::Export, format!("a record is larger than {LARGEST_BATCH} bytes")));
    }
    let name = name_of(PREFIX, at, &packed);
    let object = envelope::seal(&name, &packed, signer);
    written.add(&name, &body);
    let mut blobs: Vec<BaseBlob> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for facts in records.iter().flat_map(|record| &record.layers).filter(|facts| facts.kind != LayerKind::Base) {
        if seen.insert(facts.blob.digest) {
            blobs.push(facts.blob.clone());
        }
    }
    Ok(vec![Sealed { name, object, blobs }])
}

/// An object with a fixed name around records: equal records give equal bytes.
pub(super) fn seal_as(name: &str, records: &[Record], signer: Option<&Signer>) -> Result<Vec<u8>> {
    Ok(envelope::seal(name, &pack(&body_of(records, &Written::default()))?, signer))
}

impl Written {
    /// Adds a batch that was made.
    fn add(&mut self, name: &str, body: &Body) {
        let batch = self.names.len() as u32;
        self.names.push(name.to_owned());
        for (at, place) in body.layers.iter().enumerate() {
            if let Place::Here(facts) = place {
                let text = serde_json::to_string(&**facts).unwrap_or_default();
                self.places.insert(text, (batch, at as u32));
            }
        }
    }
}

fn body_of(records: &[Record], written: &Written) -> Body {
    let mut body = Body {
        version: VERSION,
        keys: KEY_VERSION,
        on: Vec::new(),
        layers: Vec::new(),
        chains: Vec::new(),
        records: Vec::new(),
    };
    // Most equal facts are one shared value; the others are compared by their text.
    let (mut known, mut equal): (HashMap<*const Facts, u32>, HashMap<String, u32>) = Default::default();
    let mut chains: HashMap<(Option<u32>, u32), u32> = HashMap::new();
    for record in records {
        let mut chain = None;
        for facts in &record.layers {
            let layer = *known.entry(Arc::as_ptr(facts)).or_insert_with(|| {
                let text = serde_json::to_string(&**facts).unwrap_or_default();
                let there = written.places.get(&text).copied();
                *equal.entry(text).or_insert_with(|| {
                    let here = || Place::Here(Box::new(Facts::clone(facts)));
                    body.layers.push(there.map_or_else(here, |(batch, layer)| Place::There(batch, layer)));
                    body.layers.len() as u32 - 1
                })
            });
            chain = Some(*chains.entry((chain, layer)).or_insert_with(|| {
                body.chains.push((chain, layer));
                body.chains.len() as u32 - 1
            }));
        }
        let Some(chain) = chain else { continue };
        let (shelf, text) = (shelf_name(record.shelf).to_owned(), record.text.clone());
        body.records.push(Line { shelf, at: record.at, chain, text });
    }
    if body.layers.iter().any(|place| matches!(place, Place::There(..))) {
        body.on.clone_from(&written.names);
    }
    body
}

/// Reads an object by its name. The error says in a few words why it is not used.
pub(super) fn open(name: &str, object: &[u8], verifier: Option<&Verifier>) -> Result<Batch, &'static str> {
    let body = envelope::open(name, object, verifier)?;
    if time_of(PREFIX, name).is_some() && !name.ends_with(&Digest::of(body).hex()[..16]) {
        return Err("it is damaged");
    }
    let body: Body = unpack(body).ok_or("it is damaged")?;
    if body.version != VERSION || body.keys != KEY_VERSION {
        return Err("it is of another version");
    }
    let odd = |place: &Place| match place {
        Place::Here(facts) => facts.kind == LayerKind::Base && facts.content != facts.diff_id.0,
        Place::There(batch, _) => *batch as usize >= body.on.len(),
    };
    let mut heights: Vec<usize> = Vec::with_capacity(body.chains.len());
    for (below, layer) in &body.chains {
        let height = match below {
            None => 1,
            Some(below) => heights.get(*below as usize).ok_or("it is damaged")? + 1,
        };
        if height > MOST_LAYERS || *layer as usize >= body.layers.len() {
            return Err("it is damaged");
        }
        heights.push(height);
    }
    let known = |line: &Line| (line.chain as usize) < body.chains.len() && shelf_of(&line.shelf).is_some();
    if body.layers.iter().any(odd) || !body.records.iter().all(known) {
        return Err("it is damaged");
    }
    let keys: Option<Vec<Key>> = body.records.iter().map(|line| key_of_text(&line.text)).collect();
    let keys = keys.ok_or("its description is that of another key")?;
    let layer = |place| match place {
        Place::Here(facts) => Layer::Known(Arc::from(facts)),
        Place::There(batch, layer) => Layer::Elsewhere(batch, layer),
    };
    let layers = body.layers.into_iter().map(layer).collect();
    Ok(Batch { on: body.on, layers, chains: body.chains, lines: body.records, keys, whole: Vec::new() })
}

impl Batch {
    /// Every record with its position, shelf, key and time.
    pub(super) fn records(&self) -> impl Iterator<Item = (usize, Shelf, Key, u64)> {
        let all = self.lines.iter().zip(&self.keys).enumerate();
        all.filter_map(|(at, (line, key))| Some((at, shelf_of(&line.shelf)?, *key, line.at)))
    }

    /// True if all layers of a record are known.
    pub(super) fn is_whole(&self, at: usize) -> bool {
        let Some(line) = self.lines.get(at) else { return false };
        self.whole.get(line.chain as usize).copied().unwrap_or(false)
    }

    /// The facts of a layer, if they are known.
    pub(super) fn layer(&self, at: u32) -> Option<Arc<Facts>> {
        match self.layers.get(at as usize)? {
            Layer::Known(facts) => Some(Arc::clone(facts)),
            Layer::Elsewhere(..) => None,
        }
    }

    /// Fills in the layers that are in other batches; `find` looks them up.
    pub(super) fn resolve(&mut self, find: &dyn Fn(&str, u32) -> Option<Arc<Facts>>) {
        for layer in &mut self.layers {
            if let Layer::Elsewhere(batch, at) = layer
                && let Some(facts) = self.on.get(*batch as usize).and_then(|name| find(name, *at))
            {
                *layer = Layer::Known(facts);
            }
        }
        self.whole.clear();
        for (below, layer) in &self.chains {
            let below = below.is_none_or(|below| self.whole.get(below as usize).copied().unwrap_or(false));
            self.whole.push(below && matches!(self.layers.get(*layer as usize), Some(Layer::Known(_))));
        }
    }

    /// The record at a position.
    pub(super) fn record(&self, at: usize) -> Option<Record> {
        let (line, key) = (self.lines.get(at)?, *self.keys.get(at)?);
        let (mut layers, mut next) = (Vec::new(), Some(line.chain));
        while let Some(chain) = next {
            let (below, layer) = *self.chains.get(chain as usize)?;
            layers.push(self.layer(layer)?);
            next = below;
        }
        layers.reverse();
        Some(Record { shelf: shelf_of(&line.shelf)?, key, at: line.at, text: line.text.clone(), layers })
    }

    /// The positions of all records with the same result as this one.
    pub(super) fn of_same_result(&self, at: usize) -> impl Iterator<Item = usize> {
        let chain = self.lines.get(at).map(|line| line.chain);
        (0..self.lines.len()).filter(move |other| self.lines.get(*other).map(|line| line.chain) == chain)
    }

    /// The blobs of its layers, without those of base layers.
    pub(super) fn blobs(&self) -> impl Iterator<Item = &BaseBlob> {
        let known = self.layers.iter().filter_map(|layer| match layer {
            Layer::Known(facts) if facts.kind != LayerKind::Base => Some(facts),
            _ => None,
        });
        known.map(|facts| &facts.blob)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use base::digest::DiffId;
    use solver::key::{key_of, print_of};

    pub(in super::super) fn layer(number: usize) -> Arc<Facts> {
        let digest = Digest::of(format!("layer {number}").as_bytes());
        Arc::new(Facts {
            kind: LayerKind::Run,
            created: 7,
            window: Some([(6, 5), (7, 0)]),
            diff_id: DiffId(digest),
            content: digest,
            blob: BaseBlob { digest, size: 1, media_type: "application/vnd.oci.image.layer.v1.tar".to_owned() },
            packed: "plain".to_owned(),
        })
    }

    pub(in super::super) fn record(number: usize, at: u64, layers: Vec<Arc<Facts>>) -> Record {
        let walk = |to: &mut dyn solver::Manifest| to.text("run", &format!("make {number}"));
        Record::new(Shelf::Written, key_of(walk), at, &print_of(walk), layers).expect("a record")
    }

    #[test]
    fn records_come_back_and_any_changed_byte_is_a_miss() {
        let all: Vec<_> = (1..4).map(|count| record(count, 5, (0..count).map(layer).collect())).collect();
        let sealed = seal(&all, 9, None, &mut Written::default()).expect("sealed").remove(0);
        assert_eq!((time_of(PREFIX, &sealed.name), sealed.blobs.len()), (Some(9), 3));
        let batch = open(&sealed.name, &sealed.object, None).expect("opened");
        let back: Vec<_> = batch.records().filter_map(|(at, ..)| batch.record(at)).collect();
        assert_eq!(back, all);
        assert_eq!(batch.of_same_result(1).collect::<Vec<_>>(), [1]);
        assert_eq!(batch.blobs().count(), 3);
        for at in 0..sealed.object.len() {
            let mut other = sealed.object.clone();
            other[at] ^= 1;
            assert!(open(&sealed.name, &other, None).is_err(), "byte {at}");
        }
        let other = name_of(PREFIX, 9, b"other");
        assert_eq!(open(&other, &sealed.object, None).err(), Some("it is damaged"));
    }

    #[test]
    fn a_batch_is_as_large_as_its_steps_and_not_as_their_square() {
        let size = |count: usize| {
            let all: Vec<_> = (1..=count).map(|top| record(top, 5, (0..top).map(layer).collect())).collect();
            seal(&all, 9, None, &mut Written::default())
                .expect("sealed")
                .iter()
                .map(|one| one.object.len())
                .sum::<usize>()
        };
        let (few, many) = (size(40), size(160));
        assert!(many < few * 5, "{few} bytes for 40 steps, {many} for 160");
    }

    fn here(body: &mut Body) -> &mut Facts {
        match &mut body.layers[0] {
            Place::Here(facts) => facts,
            Place::There(..) => panic!("it is here"),
        }
    }

    #[test]
    fn a_later_batch_builds_on_an_earlier_one() {
        let mut written = Written::default();
        let first = seal(&[record(1, 5, vec![layer(0), layer(1)])], 9, None, &mut written).expect("sealed").remove(0);
        let all = [record(2, 5, vec![layer(0), layer(1), layer(2)])];
        let second = seal(&all, 10, None, &mut written).expect("sealed").remove(0);
        let earlier = open(&first.name, &first.object, None).expect("opened");
        let mut later = open(&second.name, &second.object, None).expect("opened");
        assert_eq!((later.record(0), later.blobs().count(), second.blobs.len()), (None, 1, 3));
        later.resolve(&|name, at| earlier.layer(at).filter(|_| name == first.name));
        assert_eq!(later.record(0).as_ref(), all.first());
    }

    #[test]
    fn what_is_inconsistent_is_refused() {
        let lie = |change: &dyn Fn(&mut Body)| {
            let mut body = body_of(&[record(1, 5, vec![layer(0), layer(1)])], &Written::default());
            change(&mut body);
            let body = pack(&body).expect("packed");
            let name = name_of(PREFIX, 9, &body);
            open(&name, &envelope::seal(&name, &body, None), None).map(drop)
        };
        assert_eq!(lie(&|_| {}), Ok(()));
        assert_eq!(lie(&|body| body.version = 1), Err("it is of another version"));
        assert_eq!(lie(&|body| body.keys += 1), Err("it is of another version"));
        let damages: [&dyn Fn(&mut Body); 7] = [
            &|body| body.layers[1] = Place::There(0, 0),
            &|body| body.records[0].chain = 2,
            &|body| body.records[0].shelf = "other".to_owned(),
            &|body| body.chains[0].0 = Some(0),
            &|body| body.chains[1].0 = Some(7),
            &|body| body.chains[1].1 = 2,
            &|body| here(body).kind = LayerKind::Base,
        ];
        for (number, damage) in damages.iter().enumerate() {
            let base_is_fine = number == 6;
            let lied = if base_is_fine {
                lie(&|body| {
                    damage(body);
                    here(body).content = Digest::of(b"other");
                })
            } else {
                lie(damage)
            };
            assert_eq!(lied, Err("it is damaged"), "{number}");
        }
        assert_eq!(
            lie(&|body| body.records[0].text = "\u{1}".to_owned()),
            Err("its description is that of another key")
        );
    }

    #[test]
    fn a_batch_that_is_too_large_becomes_two() {
        let mut state = 7_u64;
        let mut noise = || {
            let text: String = std::iter::repeat_with(|| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                char::from(b'a' + (state >> 33) as u8 % 26)
            })
            .take(600_000)
            .collect();
            let walk = |to: &mut dyn solver::Manifest| to.text("run", &text);
            Record::new(Shelf::Written, key_of(walk), 5, &print_of(walk), vec![layer(0)]).expect("a record")
        };
        let all = [noise(), noise(), noise()];
        let sealed = seal(&all, 9, None, &mut Written::default()).expect("sealed");
        let read = sealed.iter().map(|one| open(&one.name, &one.object, None).expect("opened").records().count());
        assert!(sealed.len() > 1 && read.sum::<usize>() == 3);
    }
}
