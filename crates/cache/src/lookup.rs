//! Look-ups: when the first answer is needed, every `--cache-from` is read once, in parallel; then
//! all answers are known. If several have a record, the first one named wins, and those with
//! `verify-key=` come before those without. So the same build gets the same answers, whichever
//! cache is faster.

use super::Wanted;
use super::batch::Record;
use super::catalog::Catalog;
use super::envelope::Verifier;
use super::place::{Place, Places};
use base::error::{Error, Result};
use base::sync::lock;
use solver::{Key, Shelf};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

/// One `--cache-from`.
pub(super) struct Source {
    pub(super) place: Arc<Place>,
    /// True if cache mounts are restored from it.
    pub(super) mounts: bool,
    pub(super) scopes: Vec<String>,
    /// The verifier of signatures, if they are required.
    pub(super) verifier: Option<Verifier>,
    catalog: OnceLock<Option<Catalog>>,
}

impl Source {
    pub(super) fn open(wanted: &Wanted, places: &mut Places<'_>) -> Result<Source> {
        Ok(Source {
            place: places.open(wanted)?,
            mounts: wanted.attributes.flag("mounts", false)?,
            scopes: wanted.scopes(),
            verifier: wanted.path("verify-key").map(|path| Verifier::read(&path)).transpose()?,
            catalog: OnceLock::new(),
        })
    }

    pub(super) fn is_broken(&self) -> bool {
        self.place.is_broken()
    }

    /// The usable records; `None` if the cache cannot be read. Waits until it is read.
    fn catalog(&self) -> Option<&Catalog> {
        let read = || {
            let loaded = self.place.loaded().inspect_err(|error| self.place.give_up(error)).ok()?;
            for trouble in loaded.trouble.iter().take(1) {
                self.place.warn("batch", &format!("a part of it is not used: {trouble}"));
            }
            let catalog = Catalog::of(&loaded, self.verifier.as_ref());
            for why in catalog.reasons.iter().take(1) {
                self.place.warn("record", &format!("a record is not used: {why}"));
            }
            Some(catalog)
        };
        self.catalog.get_or_init(read).as_ref()
    }

    /// The same, without waiting for the cache.
    fn known(&self) -> Option<&Catalog> {
        self.catalog.get()?.as_ref()
    }
}

/// The sources, and the refused records in them.
pub(super) struct Lookups {
    sources: Vec<Source>,
    /// Records that were found and are not used: the source and the reason.
    refused: Mutex<HashMap<Key, (usize, &'static str)>>,
}

impl Lookups {
    pub(super) fn new(sources: Vec<Source>) -> Lookups {
        Lookups { sources, refused: Mutex::default() }
    }

    pub(super) fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The sources with their positions, in the order in which they win.
    fn order(&self) -> impl Iterator<Item = (usize, &Source)> {
        let of = |verified: bool| {
            self.sources.iter().enumerate().filter(move |(_, source)| source.verifier.is_some() == verified)
        };
        of(true).chain(of(false))
    }

    /// The records of a key, the winning one first.
    pub(super) fn get(&self, shelf: Shelf, key: &Key) -> impl Iterator<Item = (usize, Record)> {
        self.sources.iter().for_each(|source| source.place.begin());
        self.order().filter_map(move |(at, source)| Some((at, source.catalog()?.get(shelf, key)?)))
    }

    /// All records of a step with the same result, from the first source that has the step.
    pub(super) fn step(&self, key: &Key) -> Option<(usize, Vec<Record>)> {
        self.sources.iter().for_each(|source| source.place.begin());
        self.order().find_map(|(at, source)| {
            let records = source.catalog()?.with_others(Shelf::Written, key);
            (!records.is_empty()).then_some((at, records))
        })
    }

    /// Remembers why a record is not used.
    pub(super) fn refuse(&self, source: usize, key: &Key, why: &'static str) {
        lock(&self.refused).insert(*key, (source, why));
    }

    /// The source with a refused record of a written key, and the reason.
    pub(super) fn refusal(&self, key: &Key) -> Option<(&Source, &'static str)> {
        if let Some((at, why)) = lock(&self.refused).get(key).copied() {
            return Some((&self.sources[at], why));
        }
        self.sources.iter().find_map(|source| Some((source, source.known()?.refusal(Shelf::Written, key)?)))
    }

    /// Splits written keys into those that a source has and those that it lacks. Both are empty if
    /// the source was not read.
    pub(super) fn heard(&self, at: usize, keys: &[Key]) -> (Vec<Key>, Vec<Key>) {
        let Some(catalog) = self.sources[at].known() else { return Default::default() };
        let there = |key: &Key| catalog.has(Shelf::Written, key) || catalog.refusal(Shelf::Written, key).is_some();
        keys.iter().partition(|key| there(key))
    }
}

/// The warning about a layer that cannot be downloaded.
pub(super) fn lost(error: &Error) -> String {
    format!("a layer can't be had, what needs it is built again: {error}")
}
