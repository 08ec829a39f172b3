//! The cache of a build: reads the local cache first, then each `--cache-from`, and pushes new
//! results to `--cache-to`.
//!
//! The store remembers which key signed an imported layer. A build whose caches are all verified
//! uses only verified layers, from the local store too. A result is signed only if each of its
//! layers was built here or verified.

use super::batch::Record;
use super::feed::Feed;
use super::inline::Inline;
use super::lookup::{Lookups, Source};
use super::mounts::{self, Mount, Moved, Saved, Saves};
use super::place::Places;
use super::prune::{self, Pruned};
use super::push::{Job, Target};
use super::{Stopped, Surroundings, Wanted, Way, notes};
use crate::record::{self, LocalCache};
use base::digest::{DiffId, Digest};
use base::error::{Error, Result};
use base::sync::lock;
use layer::rootfs::Rootfs;
use layer::trust::Keys;
use layer::{BaseBlob, LayerId, LayerKind, Layers};
use registry::Settings;
use registry::client::Watch;
use solver::{Cache, Event, Key, Observer, Shelf};
use std::collections::HashSet;
use std::fs::File;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::SystemTime;

/// Returns true if a layer of a base image, by diff id and blob, is available on this machine.
pub(crate) type HasBase = Box<dyn Fn(&DiffId, &BaseBlob) -> bool + Send + Sync>;

/// The parts that a build's caches are made of.
pub struct Plan<'a> {
    /// The `--cache-to` and `--cache-from` options.
    pub wanted: &'a [Wanted],
    /// The settings for registries.
    pub settings: &'a Settings,
    /// The layers of the store.
    pub layers: &'a Layers,
    /// The receiver of warnings.
    pub observer: &'a Arc<dyn Observer>,
    /// Returns true if a layer of a base image is available.
    pub has_base: HasBase,
    /// Returns true once the user wants the build to stop.
    pub stopped: Stopped,
}

/// A cache with a record that this build does not use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// The cache, as `registry r.example/cache`.
    pub title: String,
    /// The reason why the record is not used, if the build names the cache.
    pub why: Option<String>,
    /// The advice for the user.
    pub way_out: String,
}

/// The caches of a build.
pub struct Caches {
    local: LocalCache,
    layers: Layers,
    feed: Arc<Feed>,
    targets: Vec<Target>,
    inline: Option<Inline>,
    observer: Arc<dyn Observer>,
    has_base: HasBase,
    /// The trusted keys, if the build uses only verified layers.
    only: Option<Keys>,
    /// The written keys of this build, for the push at its end.
    expected: Mutex<Vec<Key>>,
    /// The cache mounts that were restored or looked up.
    restored: Mutex<HashSet<String>>,
    /// The records of other caches that earlier builds noted.
    noted: OnceLock<Vec<notes::Known>>,
    /// Held by an import: two imports of the same record would make the same layers.
    importing: Mutex<()>,
}

impl Caches {
    /// Opens the caches. Nothing is requested or written yet.
    pub fn open(plan: Plan<'_>) -> Result<Caches> {
        let around = Surroundings { store: plan.layers.store(), settings: plan.settings };
        let usable: Vec<&Wanted> = plan.wanted.iter().filter(|wanted| wanted.is_usable(plan.observer)).collect();
        let of = |way: Way| usable.iter().filter(move |wanted| wanted.way == way);
        let mut places = Places::new(&around, plan.observer, &plan.stopped);
        let sources = of(Way::From).map(|wanted| Source::open(wanted, &mut places)).collect::<Result<Vec<_>>>()?;
        let keys: Keys = sources.iter().filter_map(|source| Some(source.verifier.as_ref()?.fingerprint())).collect();
        let only = !sources.is_empty() && sources.iter().all(|source| source.verifier.is_some());
        let feed = Arc::new(Feed::new(Lookups::new(sources), plan.layers.store(), plan.observer));
        let inline = of(Way::To).find(|wanted| wanted.attributes.kind == "inline");
        let inline = inline.map(|wanted| Inline::new(wanted, &keys)).transpose()?;
        let targets = of(Way::To).filter(|wanted| wanted.attributes.kind != "inline");
        let targets = targets.map(|wanted| Target::open(wanted, &mut places, plan.layers, &feed, &keys));
        Ok(Caches {
            local: LocalCache::new(plan.layers.store()),
            layers: plan.layers.clone(),
            targets: targets.collect::<Result<Vec<_>>>()?,
            feed,
            inline,
            observer: Arc::clone(plan.observer),
            has_base: plan.has_base,
            only: only.then_some(keys),
            expected: Mutex::default(),
            restored: Mutex::default(),
            noted: OnceLock::new(),
            importing: Mutex::default(),
        })
    }

    fn lookups(&self) -> &Lookups {
        &self.feed.lookups
    }

    /// Downloads and checks the blob of an imported layer, from any source that has it.
    pub fn bring(&self, blob: &BaseBlob, watch: &Watch<'_>) -> Result<()> {
        self.feed.bring(blob, watch)
    }

    /// Warns that an imported layer differs from its record.
    pub fn complain(&self, blob: &BaseBlob, error: &Error) {
        self.feed.complain(blob, error);
    }

    /// Rejects all records that name this blob from now on.
    pub fn distrust(&self, blob: &BaseBlob) {
        self.feed.distrust(&blob.digest);
    }

    /// Makes a rootfs from a record without downloading blobs. The error says in a few words why
    /// the record is not used.
    fn import(&self, at: usize, record: &Record) -> Result<Rootfs, &'static str> {
        let _one = lock(&self.importing);
        let source = self.lookups().sources().get(at).ok_or("it is damaged")?;
        let key = source.verifier.as_ref().map(super::envelope::Verifier::fingerprint);
        let mut rootfs = Rootfs::default();
        for facts in &record.layers {
            if facts.kind == LayerKind::Base {
                let known = self.layers.knows_base(facts, rootfs.top());
                if !known && !(self.has_base)(&facts.diff_id, &facts.blob) {
                    return Err("its base image is not at hand");
                }
            } else if self.feed.is_distrusted(&facts.blob.digest) {
                return Err("a layer of it can't be had");
            } else {
                self.promise(at, &facts.blob.digest);
            }
            let imported = self.layers.import(facts, rootfs.top());
            match imported.and_then(|layer| self.layers.vouch(&layer, key.as_deref()).map(|()| layer)) {
                Ok(layer) => rootfs.layers.push(layer),
                Err(error) => {
                    source.place.warn("import", &error.to_string());
                    return Err("it is damaged");
                }
            }
        }
        Ok(rootfs)
    }

    /// Records that a source has a blob, so that a later build or a push can use it from there.
    fn promise(&self, source: usize, blob: &Digest) {
        self.feed.promise(blob, source);
        let path = record::origin(self.layers.store().root(), blob);
        if let Some(origin) = self.feed.origin(blob).filter(|_| !path.exists()) {
            record::remember(self.layers.store(), &path, origin.as_bytes());
        }
    }

    /// True if a source restores cache mounts.
    pub fn restores_mounts(&self) -> bool {
        self.lookups().sources().iter().any(|source| source.mounts && !source.is_broken())
    }

    /// True if a target saves cache mounts.
    pub fn saves_mounts(&self) -> bool {
        self.targets.iter().any(Target::takes_mounts)
    }

    /// Restores a cache mount from the first source that has it. A failure is a warning and leaves
    /// the mount unchanged.
    pub fn restore_mount(&self, mount: &Mount<'_>) -> Option<Moved> {
        // Each mount is restored once per build; later saves of other machines are for the next
        // build.
        if !lock(&self.restored).insert(mount.name.to_owned()) {
            return None;
        }
        for source in self.lookups().sources().iter().filter(|source| source.mounts && !source.is_broken()) {
            match mounts::restore(source, mount, &source.scopes, &self.layers) {
                Ok(None) => {}
                Ok(moved) => return moved,
                Err(error) if source.is_broken() => source.place.give_up(&error),
                Err(error) => {
                    let text = format!("cache mount `{}` is not restored: {error}", mount.id);
                    source.place.warn("mount", &text);
                }
            }
        }
        None
    }

    /// Saves a cache mount to every target that takes mounts. The caller holds the mount.
    pub fn save_mount(&self, mount: &Mount<'_>) -> Saves {
        let mut saves = Saves::default();
        for target in self.targets.iter().filter(|target| target.takes_mounts()) {
            match target.save(mount) {
                Ok(moved) => saves.moved.extend(moved),
                Err(error) if target.place().has_told() && !target.must() => drop(error),
                Err(error) => {
                    target.place().tell();
                    saves.failures.push((target.must(), error.context(format!("cache {}", target.title()))));
                }
            }
        }
        saves
    }

    /// The saved cache mounts of each source, in order, for `kiln cache ls`.
    pub fn saved_mounts(&self) -> Result<Vec<Saved>> {
        let all = self.lookups().sources().iter().map(mounts::list).collect::<Result<Vec<_>>>()?;
        Ok(all.into_iter().flatten().collect())
    }

    /// Removes a saved cache mount, for `kiln cache rm`.
    pub fn forget_mount(&self, saved: &Saved) -> Result<()> {
        self.lookups().sources().iter().try_for_each(|source| mounts::forget(&source.place.backend, saved))
    }

    /// Removes the records of each source that are older than a time in seconds since 1970, for
    /// `kiln cache prune`.
    pub fn prune(&self, before: u64) -> Result<Pruned> {
        self.lookups().sources().iter().try_fold(Pruned::default(), |all, source| {
            let one = prune::prune(&source.place.backend, before)?;
            let (records, kept, bytes) = (all.records + one.records, all.kept + one.kept, all.bytes + one.bytes);
            Ok(Pruned { records, kept, bytes })
        })
    }

    /// True if this build may use a result of this store.
    fn usable(&self, rootfs: &Rootfs) -> bool {
        rootfs.layers.iter().all(|layer| self.layers.exists(layer)) && self.trusted(rootfs)
    }

    fn trusted(&self, rootfs: &Rootfs) -> bool {
        self.only.as_ref().is_none_or(|keys| self.layers.trusted(&rootfs.layers, keys))
    }

    /// The inline cache for an image with these layers, if it was requested.
    pub fn inline(&self, layers: &[LayerId]) -> Result<Option<String>> {
        let Some(inline) = &self.inline else { return Ok(None) };
        let mut keys = lock(&self.expected).clone();
        keys.sort_unstable();
        keys.dedup();
        let record = |key: &Key| {
            // Includes every step that any cache knows, so that the image is the same on every
            // machine.
            self.get(Shelf::Written, key);
            let (rootfs, description) = self.local.described(Shelf::Written, key, &|found| self.usable(found))?;
            layers.starts_with(&rootfs.layers).then_some((*key, rootfs, description))
        };
        let records: Vec<_> = keys.iter().filter_map(record).collect();
        inline.field(&records, &self.layers).map(Some)
    }

    /// Starts to push the results that were not pushed when their step ended. `images` holds the
    /// layers of each image, and is empty if the build failed.
    pub fn begin_end(&self, images: &[Vec<LayerId>]) {
        let mut expected = std::mem::take(&mut *lock(&self.expected));
        expected.sort_unstable();
        expected.dedup();
        for target in self.targets.iter().filter(|target| target.takes_all() || !images.is_empty()) {
            for key in &expected {
                if target.holds(key) {
                    target.note(*key);
                } else if target.takes_all() {
                    self.push_step(target, key);
                } else {
                    self.push_within(target, key, images);
                }
            }
        }
        *lock(&self.expected) = expected;
    }

    /// Pushes the result of a step from this store, or else all its records from the first cache
    /// that has it.
    fn push_step(&self, target: &Target, key: &Key) {
        if let Some((rootfs, text)) = self.local.described(Shelf::Written, key, &|found| self.usable(found)) {
            target.push(Job::Here { shelf: Shelf::Written, key: *key, rootfs, text });
        }
        let Some((at, records)) = self.lookups().step(key) else { return };
        let verified = self.lookups().sources().get(at).is_some_and(|source| source.verifier.is_some());
        for record in records {
            let travelled = record.layers.iter().filter(|facts| facts.kind != LayerKind::Base);
            travelled.for_each(|facts| self.feed.promise(&facts.blob.digest, at));
            target.push(Job::There { record, verified });
        }
    }

    /// Pushes the result of a step if an image contains it.
    fn push_within(&self, target: &Target, key: &Key, images: &[Vec<LayerId>]) {
        self.get(Shelf::Written, key);
        let Some((rootfs, text)) = self.local.described(Shelf::Written, key, &|found| self.usable(found)) else {
            return;
        };
        if images.iter().any(|layers| layers.starts_with(&rootfs.layers)) {
            target.push(Job::Here { shelf: Shelf::Written, key: *key, rootfs, text });
        }
    }

    /// Waits for pushes in progress. A failure is a warning, except with `ignore-error=false`.
    pub fn end(&self, stop: &dyn Fn() -> bool) -> Result<()> {
        let mut result = Ok(());
        for target in &self.targets {
            match target.finish(stop) {
                Ok(()) => {}
                Err(error) if target.must() => {
                    result = result.and(Err(error.hint("ignore-error=true makes this a warning")))
                }
                // The warning was already given.
                Err(_) if target.place().has_told() => {}
                Err(error) => {
                    let text = format!("{error}; the image is not affected");
                    self.observer.event(SystemTime::now(), &Event::Warning { text });
                }
            }
        }
        self.note();
        result
    }

    /// The cache that has a record of a written key which this build cannot use. This makes no
    /// request: it uses earlier look-ups and the notes of earlier builds.
    pub fn elsewhere(&self, key: &Key) -> Option<Elsewhere> {
        if let Some((source, why)) = self.lookups().refusal(key) {
            let way_out = match why {
                "it is not signed" => "push it with sign-key=, or take away verify-key=",
                "it is signed by another key" => "name the public key of its signer with verify-key=",
                "its base image is not at hand" => "pull the base image",
                _ => "a build with --cache-to writes it anew",
            };
            return Some(Elsewhere {
                title: source.place.title.clone(),
                why: Some(why.to_owned()),
                way_out: way_out.to_owned(),
            });
        }
        let noted = self.noted.get_or_init(|| notes::load(self.layers.store().root()));
        noted.iter().filter(|known| known.has(key)).find_map(|known| {
            let given = self.lookups().sources().iter().find(|source| source.place.noted.from == known.place.from);
            let title = known.place.title.clone();
            match given {
                None => Some(Elsewhere { title, why: None, way_out: format!("add --cache-from {}", known.place.from) }),
                Some(source) if source.is_broken() => Some(Elsewhere {
                    title,
                    why: Some("it can't be reached".to_owned()),
                    way_out: "the warning says why".to_owned(),
                }),
                // The cache was read in this build and no longer has the record.
                Some(_) => None,
            }
        })
    }

    /// Notes which records other caches have, from look-ups and pushes.
    fn note(&self) {
        let (store, keys) = (self.layers.store(), lock(&self.expected).clone());
        for (at, source) in self.lookups().sources().iter().enumerate() {
            let (found, gone) = self.lookups().heard(at, &keys);
            notes::save(store, &source.place.noted, &found, &gone);
        }
        for target in &self.targets {
            notes::save(store, &target.place().noted, &target.there(), &[]);
        }
    }

    /// The caches with records that are still to be pushed, and their number.
    pub fn outstanding(&self) -> Vec<(String, usize)> {
        let targets = self.targets.iter().map(|target| (target.title().to_owned(), target.open_jobs()));
        targets.filter(|(_, count)| *count > 0).collect()
    }
}

impl Cache<Rootfs> for Caches {
    type Lock = File;

    fn expect(&self, keys: &[Key]) {
        lock(&self.expected).extend(keys);
    }

    fn get(&self, shelf: Shelf, key: &Key) -> Vec<Rootfs> {
        let mut found = self.local.get(shelf, key);
        if self.lookups().sources().is_empty() {
            return found;
        }
        found.retain(|rootfs| self.trusted(rootfs));
        if found.iter().any(|rootfs| self.usable(rootfs)) {
            return found;
        }
        for (source, record) in self.lookups().get(shelf, key) {
            match self.import(source, &record) {
                Ok(rootfs) => {
                    self.local.put(shelf, key, &rootfs, &record.text);
                    found.insert(0, rootfs);
                    break;
                }
                Err(why) if shelf == Shelf::Written => self.lookups().refuse(source, key, why),
                Err(_) => {}
            }
        }
        found
    }

    fn put(&self, shelf: Shelf, key: &Key, output: &Rootfs, description: &str) {
        self.local.put(shelf, key, output, description);
        if shelf == Shelf::Written {
            lock(&self.expected).push(*key);
        }
        for target in self.targets.iter().filter(|target| target.takes_all()) {
            let (rootfs, text) = (output.clone(), description.to_owned());
            target.push(Job::Here { shelf, key: *key, rootfs, text });
        }
    }

    fn try_lock(&self, key: &Key) -> Result<File, String> {
        self.local.try_lock(key)
    }
}
