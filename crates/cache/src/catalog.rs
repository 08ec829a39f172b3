//! The contents of a cache. All batches are read at once, so a build knows every answer after a few
//! requests.
//!
//! | object | content |
//! |---|---|
//! | `batch-<time>-<digest>` | records (see [`batch`]); the list of these names is the truth |
//! | `index-<time>-<digest>` | copies of many small batches; only the newest index counts |
//!
//! The body of an index is encoded like that of a batch: `{"version": 2, "before": milliseconds,
//! "objects": {name: object}}`. It contains the newest batches up to a size; batches older than
//! `before` that it lacks are no longer read. An index is not signed: each object in it is checked
//! as if it had been read by itself. A batch in an index whose name is no longer listed was removed
//! and does not count. Writers never overwrite each other's batches. If two indexes are written at
//! once, one is not read, which only costs requests.
//!
//! This machine keeps a copy of each object that it read or wrote ([`Copies`]), and does not read
//! the object again.

use super::Backend;
use super::batch::{self, Batch, PREFIX, Record, time_of};
use super::copies::Copies;
use super::envelope::{self, Verifier};
use super::side_by_side;
use base::error::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use solver::{Key, Shelf};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The prefix of an index's name.
pub(super) const INDEX: &str = "index-";
const VERSION: u32 = 2;
/// The number of concurrent reads.
const AT_ONCE: usize = 16;
/// Only this many batches outside the index are read, the newest.
const MOST_SINGLE: usize = 256;
/// With more batches outside the index, a writer makes a new index.
pub(super) const ENOUGH_FOR_INDEX: usize = 8;
/// The limit in bytes for the objects in an index.
const LARGEST_INDEX: usize = 2 << 20;
/// The number of tries for one object if a try fails quickly; a backend has its own retries.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(50);
const AT_ONCE_IS: Duration = Duration::from_secs(1);
/// A build pushes a record again if it is older than this, before the record is pruned.
const OLD: u64 = 7 * 24 * 3600 * 1000;

/// An object of a cache.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) name: String,
    pub(super) bytes: Arc<Vec<u8>>,
}

/// The objects that were read from a cache, unchecked.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) objects: Vec<Object>,
    /// The names of all indexes.
    pub(super) indexes: Vec<String>,
    /// The number of batches outside the index.
    pub(super) single: usize,
    /// The field `before` of the newest index.
    before: u64,
    /// The reasons why objects were left out.
    pub(super) trouble: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Index {
    version: u32,
    before: u64,
    objects: BTreeMap<String, String>,
}

/// Reads all objects of a cache. `extra` also reads the objects beside the batches (an image's
/// inline cache).
pub(super) fn load(backend: &dyn Backend, copies: &Copies, extra: bool) -> Result<Loaded> {
    let (names, more) = std::thread::scope(|scope| {
        let more = scope.spawn(|| if extra { backend.extra() } else { Vec::new() });
        let names = again(|| backend.names());
        (names, more.join().unwrap_or_default())
    });
    let mut loaded = Loaded::default();
    loaded.objects.extend(more.into_iter().map(|(name, bytes)| Object { name, bytes: Arc::new(bytes) }));
    let names = match names {
        // A login that may pull an image may not be allowed to list its tags.
        Err(_) if !loaded.objects.is_empty() => return Ok(loaded),
        names => names?,
    };
    loaded.indexes = names.iter().filter(|name| time_of(INDEX, name).is_some()).cloned().collect();
    loaded.indexes.sort();
    let mut listed: Vec<&String> = names.iter().filter(|name| time_of(PREFIX, name).is_some()).collect();
    listed.sort_by(|one, two| two.cmp(one));
    let index = read_index(backend, copies, &mut loaded)?;
    loaded.before = index.before;
    let known: HashSet<&String> = listed.iter().copied().collect();
    let from_index = index.objects.iter().filter(|(name, _)| backend.newest_only() || known.contains(name));
    let from_index = from_index.map(|(name, text)| (name.clone(), text.as_bytes().to_vec()));
    loaded.objects.extend(from_index.map(|(name, bytes)| Object { name, bytes: Arc::new(bytes) }));
    let covered =
        |name: &str| index.objects.contains_key(name) || time_of(PREFIX, name).is_some_and(|time| time < loaded.before);
    let single: Vec<&String> = listed.into_iter().filter(|name| !covered(name)).take(MOST_SINGLE).collect();
    loaded.single = single.len();
    let got = side_by_side(&single, AT_ONCE, &|name| Ok((*name, read(backend, copies, name))));
    for (name, got) in got.into_iter().flatten() {
        match got {
            Ok(Some(bytes)) => loaded.objects.push(Object { name: name.clone(), bytes: Arc::new(bytes) }),
            // The batch was removed after the list was made.
            Ok(None) => {}
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            Err(error) => loaded.trouble.push(error.to_string()),
        }
    }
    if loaded.objects.is_empty() && loaded.trouble.len() == single.len() && !single.is_empty() {
        return Err(Error::new(Kind::Source, loaded.trouble.swap_remove(0)));
    }
    let kept: Vec<&str> =
        single.iter().map(|name| name.as_str()).chain(loaded.indexes.last().map(String::as_str)).collect();
    copies.keep(&kept);
    Ok(loaded)
}

/// Reads the newest index. A damaged one is ignored, and the batches are read one by one.
fn read_index(backend: &dyn Backend, copies: &Copies, loaded: &mut Loaded) -> Result<Index> {
    let none = Index { version: VERSION, before: 0, objects: BTreeMap::new() };
    let Some(name) = loaded.indexes.last().cloned() else { return Ok(none) };
    let Some(bytes) = read(backend, copies, &name)? else { return Ok(none) };
    let index = envelope::open(&name, &bytes, None).ok().and_then(batch::unpack::<Index>);
    match index.filter(|index| index.version == VERSION) {
        Some(index) => Ok(index),
        None => {
            loaded.trouble.push("an index is damaged, or of another version".to_owned());
            Ok(none)
        }
    }
}

fn read(backend: &dyn Backend, copies: &Copies, name: &str) -> Result<Option<Vec<u8>>> {
    if let Some(bytes) = copies.get(name) {
        return Ok(Some(bytes));
    }
    let got = again(|| backend.get(name))?;
    if let Some(bytes) = got.as_deref().filter(|bytes| envelope::open(name, bytes, None).is_ok()) {
        copies.put(name, bytes);
    }
    Ok(got)
}

/// Retries a call that failed quickly: a broken connection often works the next time.
fn again<T>(ask: impl Fn() -> Result<T>) -> Result<T> {
    let mut tries = 1;
    loop {
        let began = Instant::now();
        match ask() {
            Err(error) if tries < TRIES && error.kind() == Kind::Source && began.elapsed() < AT_ONCE_IS => {
                tries += 1;
                std::thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
}

impl Loaded {
    /// Makes an index of these objects and newer ones.
    pub(super) fn index(&self, newer: &[Object], now: u64) -> Result<Object> {
        let mut all: Vec<&Object> = self.objects.iter().chain(newer).collect();
        all.retain(|object| time_of(PREFIX, &object.name).is_some());
        all.sort_by(|one, two| two.name.cmp(&one.name));
        let (mut size, mut objects, mut oldest) = (0, BTreeMap::new(), 0);
        for object in all {
            size += object.bytes.len();
            if size > LARGEST_INDEX {
                break;
            }
            oldest = time_of(PREFIX, &object.name).unwrap_or(0);
            objects.insert(object.name.clone(), String::from_utf8_lossy(&object.bytes).into_owned());
        }
        let before = if size > LARGEST_INDEX { oldest.max(self.before) } else { self.before };
        let body = batch::pack(&Index { version: VERSION, before, objects })?;
        // The name sorts after the newest index, whatever the clocks say.
        let newest = self.indexes.last().and_then(|name| time_of(INDEX, name)).unwrap_or(0);
        let name = batch::name_of(INDEX, now.max(newest + 1), &body);
        Ok(Object { bytes: Arc::new(envelope::seal(&name, &body, None)), name })
    }

    /// True if this batch was read.
    pub(super) fn has(&self, name: &str) -> bool {
        self.objects.iter().any(|object| object.name == name)
    }
}

/// The records of a cache by key.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    batches: Vec<Batch>,
    /// The batch, the position in it, and the time of the push.
    by_key: HashMap<(Shelf, Key), (usize, usize, u64)>,
    refused: HashMap<(Shelf, Key), &'static str>,
    /// The reasons why objects were refused, each once.
    pub(super) reasons: Vec<&'static str>,
}

impl Catalog {
    /// Indexes the objects that were read; a verifier limits them to those that it accepts.
    pub(super) fn of(loaded: &Loaded, verifier: Option<&Verifier>) -> Catalog {
        let mut catalog = Catalog::default();
        let (mut batches, mut names): (Vec<Batch>, HashMap<&str, usize>) = Default::default();
        for object in &loaded.objects {
            match batch::open(&object.name, &object.bytes, verifier) {
                Ok(batch) => {
                    names.insert(object.name.as_str(), batches.len());
                    batches.push(batch);
                }
                Err(why) => catalog.refuse(object, why),
            }
        }
        for at in 0..batches.len() {
            let Some(mut batch) = batches.get_mut(at).map(std::mem::take) else { continue };
            batch.resolve(&|name, layer| names.get(name).and_then(|at| batches.get(*at)?.layer(layer)));
            batches[at] = batch;
        }
        batches.into_iter().for_each(|batch| catalog.add(batch));
        catalog
    }

    fn add(&mut self, batch: Batch) {
        let number = self.batches.len();
        for (place, shelf, key, at) in batch.records() {
            if !batch.is_whole(place) {
                continue;
            }
            let known = self.by_key.entry((shelf, key)).or_insert((number, place, at));
            if at >= known.2 {
                *known = (number, place, at);
            }
        }
        self.batches.push(batch);
    }

    fn refuse(&mut self, object: &Object, why: &'static str) {
        if !self.reasons.contains(&why) {
            self.reasons.push(why);
        }
        if let Ok(batch) = batch::open(&object.name, &object.bytes, None) {
            self.refused.extend(batch.records().map(|(_, shelf, key, _)| ((shelf, key), why)));
        }
    }

    /// The newest record of a key.
    pub(super) fn get(&self, shelf: Shelf, key: &Key) -> Option<Record> {
        let (batch, place, _) = *self.by_key.get(&(shelf, *key))?;
        self.batches.get(batch)?.record(place)
    }

    /// True if there is a record of the key.
    pub(super) fn has(&self, shelf: Shelf, key: &Key) -> bool {
        self.by_key.contains_key(&(shelf, *key))
    }

    /// True if there is a record of the key that need not be pushed again soon.
    pub(super) fn has_fresh(&self, shelf: Shelf, key: &Key, now: u64) -> bool {
        self.by_key.get(&(shelf, *key)).is_some_and(|(.., at)| now.saturating_sub(*at) < OLD)
    }

    /// The reason why a record of the key is not used.
    pub(super) fn refusal(&self, shelf: Shelf, key: &Key) -> Option<&'static str> {
        self.refused.get(&(shelf, *key)).copied()
    }

    /// The record of a key, and all others of the same step with the same result.
    pub(super) fn with_others(&self, shelf: Shelf, key: &Key) -> Vec<Record> {
        let Some((batch, place, _)) = self.by_key.get(&(shelf, *key)).copied() else { return Vec::new() };
        let Some(batch) = self.batches.get(batch) else { return Vec::new() };
        batch.of_same_result(place).filter_map(|place| batch.record(place)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::tests::{layer, record};
    use super::*;

    fn loaded(times: &[u64]) -> Loaded {
        let object = |time: &u64| {
            let sealed =
                batch::seal(&[record(1, *time, vec![layer(*time as usize)])], *time, None, &mut Default::default());
            let sealed = sealed.expect("sealed").remove(0);
            Object { name: sealed.name, bytes: Arc::new(sealed.object) }
        };
        Loaded { objects: times.iter().map(object).collect(), ..Loaded::default() }
    }

    #[test]
    fn the_newest_record_of_a_key_counts() {
        for times in [[3, 9, 5], [9, 5, 3], [5, 3, 9]] {
            let catalog = Catalog::of(&loaded(&times), None);
            let key = record(1, 0, Vec::new()).key;
            assert_eq!(catalog.get(Shelf::Written, &key).expect("a record").layers, [layer(9)]);
            assert!(catalog.has_fresh(Shelf::Written, &key, 9) && !catalog.has_fresh(Shelf::Written, &key, OLD * 2));
        }
    }

    #[test]
    fn an_index_is_newer_than_the_newest_and_bounded() {
        let mut some = loaded(&[3, 9]);
        some.indexes = vec![batch::name_of(INDEX, 700, b"")];
        let index = some.index(&loaded(&[5]).objects, 20).expect("an index");
        assert_eq!(time_of(INDEX, &index.name), Some(701));
        let body = envelope::open(&index.name, &index.bytes, None).expect("opened");
        let body: Index = batch::unpack(body).expect("unpacked");
        assert_eq!((body.objects.len(), body.before), (3, 0));

        let large =
            |time: u64| Object { name: batch::name_of(PREFIX, time, b""), bytes: Arc::new(vec![b' '; 700_000]) };
        let many: Vec<Object> = (100..110).map(large).collect();
        let index = Loaded::default().index(&many, 20).expect("an index");
        let body: Index =
            batch::unpack(envelope::open(&index.name, &index.bytes, None).expect("opened")).expect("unpacked");
        let kept: Vec<u64> = body.objects.keys().filter_map(|name| time_of(PREFIX, name)).collect();
        assert_eq!((kept, body.before), (vec![108, 109], 108));
    }
}
