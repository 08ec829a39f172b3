//! The cache of a build: the local one first, then `--cache-from`; what is new goes to `--cache-to`.

use super::inline::Inline;
use super::lookup::{Lookups, Source};
use super::mounts::{self, Mount, Moved, Saved, Saves};
use super::notes;
use super::prune::{self, Pruned};
use super::push::{Job, Target};
use super::record::Record;
use super::{Surroundings, Wanted, Way};
use crate::cache::{self, LocalCache};
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::layer::rootfs::Rootfs;
use crate::layer::{BaseBlob, LayerId, LayerKind, Layers};
use crate::registry::Settings;
use crate::registry::client::Watch;
use crate::sync::lock;
use solver::{Cache, Event, Key, Observer, Shelf};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::SystemTime;

/// What a build's caches are made of.
pub struct Plan<'a> {
    /// `--cache-to` and `--cache-from`.
    pub wanted: &'a [Wanted],
    /// How registries are reached.
    pub settings: &'a Settings,
    /// The layers of the store.
    pub layers: &'a Layers,
    /// Who hears of trouble.
    pub observer: &'a Arc<dyn Observer>,
    /// Whether the blob of a base can be had on this machine.
    pub has_base: Box<dyn Fn(&Digest) -> bool + Send + Sync>,
}

/// A cache that has a record which this build does not use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// Which: `registry r.example/cache`.
    pub title: String,
    /// Why the record is not used, if the build names the cache.
    pub why: Option<String>,
    /// What to do.
    pub way_out: String,
}

/// The caches of a build.
pub struct Caches {
    local: LocalCache,
    layers: Layers,
    lookups: Lookups,
    targets: Vec<Target>,
    inline: Option<Inline>,
    observer: Arc<dyn Observer>,
    has_base: Box<dyn Fn(&Digest) -> bool + Send + Sync>,
    /// Written keys of this build, for what is pushed at its end.
    expected: Mutex<Vec<Key>>,
    /// Which source promised a blob.
    promised: Mutex<HashMap<Digest, usize>>,
    /// Blobs on their way, each once.
    coming: Mutex<HashMap<Digest, Arc<Mutex<()>>>>,
    /// Blobs that were promised and could not be had, or were not what was promised.
    distrusted: Mutex<HashSet<Digest>>,
    /// Cache mounts that were looked for.
    restored: Mutex<HashSet<String>>,
    /// What earlier builds have seen in other caches.
    noted: OnceLock<Vec<notes::Known>>,
    /// One import at a time: two of the same record would make the same layers.
    importing: Mutex<()>,
}

impl Caches {
    /// Opens them. Nothing is asked or written yet.
    pub fn open(plan: Plan<'_>) -> Result<Caches> {
        let around = Surroundings { store: plan.layers.store(), settings: plan.settings };
        let of = |way: Way| plan.wanted.iter().filter(move |wanted| wanted.way == way);
        let sources =
            of(Way::From).map(|wanted| Source::open(wanted, &around, plan.observer)).collect::<Result<Vec<_>>>()?;
        let inline = of(Way::To).find(|wanted| wanted.attributes.kind == "inline").map(Inline::new).transpose()?;
        let places = of(Way::To).filter(|wanted| wanted.attributes.kind != "inline");
        let targets = places.map(|wanted| Target::open(wanted, &around, plan.layers)).collect::<Result<Vec<_>>>()?;
        Ok(Caches {
            local: LocalCache::new(plan.layers.store()),
            layers: plan.layers.clone(),
            lookups: Lookups::new(sources),
            targets,
            inline,
            observer: Arc::clone(plan.observer),
            has_base: plan.has_base,
            expected: Mutex::default(),
            promised: Mutex::default(),
            coming: Mutex::default(),
            distrusted: Mutex::default(),
            restored: Mutex::default(),
            noted: OnceLock::new(),
            importing: Mutex::default(),
        })
    }

    /// Brings the blob of a layer that travelled, checked, from whichever source has it.
    pub fn bring(&self, blob: &BaseBlob, watch: &Watch<'_>) -> Result<()> {
        let turn = Arc::clone(lock(&self.coming).entry(blob.digest).or_default());
        let _turn = lock(&turn);
        if self.layers.store().has(&blob.digest) {
            return Ok(());
        }
        let first = lock(&self.promised).get(&blob.digest).copied();
        let all = self.lookups.sources();
        let order = first.into_iter().chain((0..all.len()).filter(|at| Some(*at) != first));
        for source in order.map(|at| &all[at]).filter(|source| !source.is_broken()) {
            match source.backend.get_blob(blob, watch) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == Kind::Interrupted => return Err(error),
                Err(error) => source.warn("layer", &lost(&error)),
            }
        }
        Err(Error::new(Kind::Lost, format!("no cache has the blob {}", blob.digest)))
    }

    /// Tells of a layer that came and is not what its record says.
    pub fn complain(&self, blob: &BaseBlob, error: &Error) {
        let source = lock(&self.promised).get(&blob.digest).map(|at| &self.lookups.sources()[*at]);
        let text = lost(error);
        match source {
            Some(source) => source.warn("layer", &text),
            // It was promised in an earlier build, by a cache that this one does not name.
            None => self.observer.event(SystemTime::now(), &Event::Warning { text: format!("cache: {text}") }),
        }
    }

    /// No record that names this blob is used from now on.
    pub fn distrust(&self, blob: &BaseBlob) {
        lock(&self.distrusted).insert(blob.digest);
    }

    /// Makes a rootfs of a record, without any bytes; else a few words say why it is not used.
    fn import(&self, source: usize, record: &Record) -> Result<Rootfs, &'static str> {
        let _one = lock(&self.importing);
        let mut rootfs = Rootfs::default();
        for facts in &record.layers {
            if facts.kind == LayerKind::Base {
                if !self.layers.store().has(&facts.blob.digest) && !(self.has_base)(&facts.blob.digest) {
                    return Err("its base image is not at hand");
                }
            } else if lock(&self.distrusted).contains(&facts.blob.digest) {
                return Err("a layer of it can't be had");
            } else {
                lock(&self.promised).insert(facts.blob.digest, source);
                self.keep_origin(source, &facts.blob.digest);
            }
            match self.layers.import(facts, rootfs.top()) {
                Ok(layer) => rootfs.layers.push(layer),
                Err(error) => {
                    self.lookups.sources()[source].warn("import", &error.to_string());
                    return Err("it is damaged");
                }
            }
        }
        Ok(rootfs)
    }

    /// A later build, or a push, can then have the blob from there too.
    fn keep_origin(&self, source: usize, blob: &Digest) {
        let path = cache::origin(self.layers.store().root(), blob);
        if let Some(origin) = self.lookups.sources()[source].backend.origin().filter(|_| !path.exists()) {
            cache::remember(self.layers.store(), &path, origin.as_bytes());
        }
    }

    /// Whether cache mounts are restored from anywhere.
    pub fn restores_mounts(&self) -> bool {
        self.lookups.sources().iter().any(|source| source.mounts && !source.is_broken())
    }

    /// Whether cache mounts are saved anywhere.
    pub fn saves_mounts(&self) -> bool {
        self.targets.iter().any(Target::takes_mounts)
    }

    /// Restores a cache mount from the first source that has it. Trouble is a warning: the mount is as it was.
    pub fn restore_mount(&self, mount: &Mount<'_>) -> Option<Moved> {
        // Once in a build is enough: what others save meanwhile is for the next.
        if !lock(&self.restored).insert(mount.name.to_owned()) {
            return None;
        }
        for source in self.lookups.sources().iter().filter(|source| source.mounts && !source.is_broken()) {
            match mounts::restore(source, mount, &source.scopes, &self.layers) {
                Ok(None) => {}
                Ok(moved) => return moved,
                Err(error) => source.warn("mount", &format!("cache mount `{}` is not restored: {error}", mount.id)),
            }
        }
        None
    }

    /// Saves a cache mount, which the caller holds, to everywhere that takes them.
    pub fn save_mount(&self, mount: &Mount<'_>) -> Saves {
        let mut saves = Saves::default();
        for target in self.targets.iter().filter(|target| target.takes_mounts()) {
            match target.save(mount) {
                Ok(moved) => saves.moved.extend(moved),
                Err(error) => {
                    saves.failures.push((target.must(), error.context(format!("cache {}", target.title()))));
                }
            }
        }
        saves
    }

    /// What is saved of cache mounts in each source, in order; `kiln cache ls`.
    pub fn saved_mounts(&self) -> Result<Vec<Saved>> {
        let all = self.lookups.sources().iter().map(|source| mounts::list(source)).collect::<Result<Vec<_>>>()?;
        Ok(all.into_iter().flatten().collect())
    }

    /// Takes what was saved of a cache mount away; `kiln cache rm`.
    pub fn forget_mount(&self, saved: &Saved) -> Result<()> {
        self.lookups.sources().iter().try_for_each(|source| mounts::forget(&*source.backend, saved))
    }

    /// Removes the records of each source that are older than a time, in seconds since 1970; `kiln cache prune`.
    pub fn prune(&self, before: u64) -> Result<Pruned> {
        self.lookups.sources().iter().try_fold(Pruned::default(), |all, source| {
            let one = prune::prune(&*source.backend, before)?;
            let (records, kept, bytes) = (all.records + one.records, all.kept + one.kept, all.bytes + one.bytes);
            Ok(Pruned { records, kept, bytes })
        })
    }

    fn usable(&self, rootfs: &Rootfs) -> bool {
        rootfs.layers.iter().all(|layer| self.layers.exists(layer))
    }

    /// What an image of these layers carries of the cache itself, if that was wished.
    pub fn inline(&self, layers: &[LayerId]) -> Result<Option<String>> {
        let Some(inline) = &self.inline else { return Ok(None) };
        let mut keys = lock(&self.expected).clone();
        keys.sort_unstable();
        keys.dedup();
        let record = |key: &Key| {
            // Every step that is known anywhere, so that the image is the same whichever machine has built it.
            self.get(Shelf::Written, key);
            let (rootfs, description) = self.local.described(Shelf::Written, key, &|found| self.usable(found))?;
            layers.starts_with(&rootfs.layers).then_some((*key, rootfs, description))
        };
        let records: Vec<_> = keys.iter().filter_map(record).collect();
        inline.field(&records, &self.layers).map(Some)
    }

    /// Begins to push what was not pushed as its step ended. `images` is what each image contains; nothing for a build
    /// that failed.
    pub fn begin_end(&self, images: &[Vec<LayerId>]) {
        let expected = std::mem::take(&mut *lock(&self.expected));
        for key in expected.iter().filter(|_| !self.targets.is_empty()) {
            let Some((rootfs, description)) = self.local.described(Shelf::Written, key, &|found| self.usable(found))
            else {
                continue;
            };
            if images.is_empty() && !self.targets.iter().any(Target::takes_all) {
                break;
            }
            let within = images.iter().any(|layers| layers.starts_with(&rootfs.layers));
            let job = Job { shelf: Shelf::Written, key: *key, rootfs, description, ask: true };
            for target in self.targets.iter().filter(|target| within || target.takes_all()) {
                let sources = self.lookups.sources().iter().enumerate();
                let mut same = sources.filter(|(_, source)| target.is_fed_by(source)).map(|(at, _)| at);
                if !same.any(|at| self.lookups.holds(at, Shelf::Written, key)) {
                    target.push(job.clone());
                }
            }
        }
    }

    /// Waits for all that is on its way. A failure is a warning, unless `ignore-error=false` was said.
    pub fn end(&self, stop: &dyn Fn() -> bool) -> Result<()> {
        let mut result = Ok(());
        for target in &self.targets {
            match target.finish(stop) {
                Ok(_) => {}
                Err(error) if target.must() => {
                    result = result.and(Err(error.hint("ignore-error=true makes this a warning")))
                }
                Err(error) => {
                    let text = format!("{error}; the image is not affected");
                    self.observer.event(SystemTime::now(), &Event::Warning { text });
                }
            }
        }
        self.note();
        result
    }

    /// The cache that has the record of a written key, when this build found none that it can use. Nothing is asked: it says
    /// what look-ups have heard, and what earlier builds have noted.
    pub fn elsewhere(&self, key: &Key) -> Option<Elsewhere> {
        if let Some((source, why)) = self.lookups.refusal(key) {
            let way_out = match why {
                "it is not signed" => "push it with sign-key=, or take away verify-key=",
                "it is signed by another key" => "name the public key of its signer with verify-key=",
                "its base image is not at hand" => "pull the base image",
                _ => "a build with --cache-to writes it anew",
            };
            return Some(Elsewhere {
                title: source.title.clone(),
                why: Some(why.to_owned()),
                way_out: way_out.to_owned(),
            });
        }
        let noted = self.noted.get_or_init(|| notes::load(self.layers.store().root()));
        noted.iter().filter(|known| known.has(key)).find_map(|known| {
            let given = self.lookups.sources().iter().find(|source| source.noted.from == known.place.from);
            let title = known.place.title.clone();
            match given {
                None => Some(Elsewhere { title, why: None, way_out: format!("add --cache-from {}", known.place.from) }),
                Some(source) if source.is_broken() => Some(Elsewhere {
                    title,
                    why: Some("it can't be reached".to_owned()),
                    way_out: "the warning says why".to_owned(),
                }),
                // It was asked, and has it no more.
                Some(_) => None,
            }
        })
    }

    /// Notes what was found in other caches and what was pushed there.
    fn note(&self) {
        let store = self.layers.store();
        for (at, source) in self.lookups.sources().iter().enumerate() {
            let (found, gone) = self.lookups.heard(at);
            notes::save(store, &source.noted, &found, &gone);
        }
        for target in &self.targets {
            let (place, found) = target.there();
            notes::save(store, place, &found, &[]);
        }
    }

    /// What is still to be pushed: the caches, and how many records.
    pub fn outstanding(&self) -> Vec<(String, usize)> {
        let targets = self.targets.iter().map(|target| (target.title().to_owned(), target.open_jobs()));
        targets.filter(|(_, count)| *count > 0).collect()
    }
}

fn lost(error: &Error) -> String {
    format!("a layer can't be had, what needs it is built again: {error}")
}

impl Cache<Rootfs> for Caches {
    type Lock = File;

    fn expect(&self, keys: &[Key]) {
        lock(&self.expected).extend(keys);
        if !self.lookups.sources().is_empty() {
            self.lookups.expect(keys);
        }
    }

    fn get(&self, shelf: Shelf, key: &Key) -> Vec<Rootfs> {
        let mut found = self.local.get(shelf, key);
        if self.lookups.sources().is_empty() || found.iter().any(|rootfs| self.usable(rootfs)) {
            return found;
        }
        let Some((source, record)) = self.lookups.get(shelf, key) else { return found };
        match self.import(source, &record) {
            Ok(rootfs) => {
                self.local.put(shelf, key, &rootfs, &record.description);
                found.insert(0, rootfs);
            }
            Err(why) if shelf == Shelf::Written => self.lookups.refuse(source, key, why),
            Err(_) => {}
        }
        found
    }

    fn put(&self, shelf: Shelf, key: &Key, output: &Rootfs, description: &str) {
        self.local.put(shelf, key, output, description);
        for target in self.targets.iter().filter(|target| target.takes_all()) {
            let (rootfs, description) = (output.clone(), description.to_owned());
            target.push(Job { shelf, key: *key, rootfs, description, ask: false });
        }
    }

    fn try_lock(&self, key: &Key) -> Result<File, String> {
        self.local.try_lock(key)
    }
}
