//! What goes to `--cache-to`: records with the layers they name, in the background, each as soon as its step has ended.
//! Blobs first, then the record: nobody ever finds a record whose blobs are missing.

use super::envelope::Signer;
use super::lookup::Source;
use super::mounts::{self, Mount, Moved, Place};
use super::notes;
use super::record::{self, Record};
use super::{Backend, Mode, Surroundings, Wanted};
use crate::error::{Error, Kind, Result};
use crate::layer::rootfs::Rootfs;
use crate::layer::{BaseBlob, Compression, Facts, LayerId, LayerKind, Layers};
use crate::registry::client::Watch;
use crate::sync::lock;
use solver::{Key, Shelf};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Records that are pushed at once to one cache.
const AT_ONCE: usize = 4;
/// Tries of one record, whatever a backend tries itself.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);
/// How long a cache that has answered may take for a piece of a blob.
const PATIENCE: Duration = Duration::from_secs(60);
/// After so many failures nothing more is tried.
const MOST_FAILURES: usize = 3;
/// How often the end of the build looks whether anything moves.
const POLL: Duration = Duration::from_millis(50);

/// A result to push.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) shelf: Shelf,
    pub(super) key: Key,
    pub(super) rootfs: Rootfs,
    pub(super) description: String,
    /// It may be there already: look first.
    pub(super) ask: bool,
}

/// One `--cache-to`.
pub(super) struct Target {
    shared: Arc<Shared>,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    title: String,
    identity: String,
    noted: notes::Place,
    mode: Mode,
    mounts: bool,
    scopes: Vec<String>,
    mounts_limit: u64,
    must: bool,
    timeout: Duration,
    compression: Compression,
    signer: Option<Signer>,
    backend: Box<dyn Backend>,
    layers: Layers,
    state: Mutex<State>,
    changed: Condvar,
    /// Grows while anything moves.
    moved: AtomicU64,
    /// Layers that are being packed: that takes its time.
    packing: AtomicUsize,
    stop: AtomicBool,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    /// Names that were put in the queue, or are known to be there.
    known: HashSet<String>,
    busy: usize,
    closed: bool,
    pushed: usize,
    /// Written keys whose records are there.
    there: Vec<Key>,
    /// The first of them.
    failure: Option<Error>,
    failures: usize,
    /// Blobs of this process: each is brought once.
    blobs: HashMap<BlobName, Arc<Mutex<Option<bool>>>>,
}

type BlobName = crate::digest::Digest;

impl Target {
    pub(super) fn open(wanted: &Wanted, around: &Surroundings<'_>, layers: &Layers) -> Result<Target> {
        let shared = Shared {
            title: wanted.title(),
            identity: wanted.identity(),
            noted: wanted.noted(),
            mode: wanted.mode()?,
            mounts: wanted.attributes.flag("mounts", false)?,
            scopes: wanted.scopes(),
            mounts_limit: wanted.mounts_limit()?,
            must: !wanted.attributes.flag("ignore-error", true)?,
            timeout: wanted.timeout()?,
            compression: Compression::wanted(&wanted.attributes)?,
            signer: wanted.path("sign-key").map(|path| Signer::read(&path)).transpose()?,
            backend: wanted.open(around)?,
            layers: layers.clone(),
            state: Mutex::default(),
            changed: Condvar::new(),
            moved: AtomicU64::new(0),
            packing: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        };
        Ok(Target { shared: Arc::new(shared), workers: Mutex::default() })
    }

    pub(super) fn title(&self) -> &str {
        &self.shared.title
    }

    /// How it is noted, and the written keys whose records are known to be there.
    pub(super) fn there(&self) -> (&notes::Place, Vec<Key>) {
        (&self.shared.noted, lock(&self.shared.state).there.clone())
    }

    /// Whether every step is pushed, and at once.
    pub(super) fn takes_all(&self) -> bool {
        self.shared.mode == Mode::Max
    }

    /// Whether cache mounts go there.
    pub(super) fn takes_mounts(&self) -> bool {
        self.shared.mounts
    }

    /// Saves a cache mount, which the caller holds.
    pub(super) fn save(&self, mount: &Mount<'_>) -> Result<Option<Moved>> {
        let shared = &*self.shared;
        let (scopes, limit) = (shared.scopes.as_slice(), shared.mounts_limit);
        let place = Place { backend: &*shared.backend, signer: shared.signer.as_ref(), scopes, limit };
        mounts::save(&place, mount, &shared.layers)
    }

    /// Whether a failure of this cache is one of the build.
    pub(super) fn must(&self) -> bool {
        self.shared.must
    }

    /// Whether what is found there is what would be pushed here.
    pub(super) fn is_fed_by(&self, source: &Source) -> bool {
        source.identity == self.shared.identity && (self.shared.signer.is_none() || source.verifier.is_some())
    }

    /// Pushes a record in the background, once.
    pub(super) fn push(&self, job: Job) {
        let mut state = lock(&self.shared.state);
        if state.failures >= MOST_FAILURES || !state.known.insert(record::name(job.shelf, &job.key)) {
            return;
        }
        state.queue.push_back(job);
        drop(state);
        self.shared.changed.notify_one();
        let mut workers = lock(&self.workers);
        if workers.len() < AT_ONCE {
            let shared = Arc::clone(&self.shared);
            workers.push(std::thread::spawn(move || shared.serve()));
        }
    }

    /// How many records wait or are on their way.
    pub(super) fn open_jobs(&self) -> usize {
        let state = lock(&self.shared.state);
        state.queue.len() + state.busy
    }

    /// Waits for what is on its way, as long as anything moves. How many records were pushed comes back.
    pub(super) fn finish(&self, stop: &dyn Fn() -> bool) -> Result<usize> {
        let (mut seen, mut since) = (self.shared.moved.load(Ordering::SeqCst), Instant::now());
        let mut state = lock(&self.shared.state);
        state.closed = true;
        self.shared.changed.notify_all();
        while state.busy > 0 || !state.queue.is_empty() {
            let moved = self.shared.moved.load(Ordering::SeqCst);
            if moved != seen || self.shared.packing.load(Ordering::SeqCst) > 0 {
                (seen, since) = (moved, Instant::now());
            }
            // One that has taken something is only slow.
            let patience = if seen == 0 { self.shared.timeout } else { self.shared.timeout.max(PATIENCE) };
            let stalled = since.elapsed() > patience;
            if stop() || stalled {
                self.shared.stop.store(true, Ordering::SeqCst);
                let what = if stalled { "nothing moves any more" } else { "interrupted" };
                let left = state.queue.len() + state.busy;
                let error = Error::new(
                    Kind::Export,
                    format!("cache {}: {what}; {left} records are not pushed", self.shared.title),
                );
                return Err(state.failure.take().unwrap_or(error));
            }
            state = self.shared.changed.wait_timeout(state, POLL).unwrap_or_else(PoisonError::into_inner).0;
        }
        let result = state.failure.take().map_or(Ok(state.pushed), Err);
        drop(state);
        for worker in lock(&self.workers).drain(..) {
            // One that panicked has pushed nothing more; what it did is whole.
            let _ = worker.join();
        }
        result
    }
}

impl Shared {
    fn serve(&self) {
        let mut state = lock(&self.state);
        loop {
            let Some(job) = state.queue.pop_front() else {
                if state.closed {
                    return;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.busy += 1;
            drop(state);
            let mut done = self.push(&job);
            for _ in 1..TRIES {
                // Registries stumble over the same blob or tag from two sides at once: the second time it is there.
                if done.as_ref().is_err_and(|error| error.kind() == Kind::Source) && !self.stop.load(Ordering::SeqCst) {
                    std::thread::sleep(PAUSE);
                    done = self.push(&job);
                }
            }
            state = lock(&self.state);
            state.busy -= 1;
            self.moved.fetch_add(1, Ordering::SeqCst);
            match done {
                Ok(pushed) => state.pushed += usize::from(pushed),
                Err(error) => {
                    state.failures += 1;
                    if state.failures >= MOST_FAILURES {
                        state.queue.clear();
                    }
                    state.failure.get_or_insert(error.context(format!("cache {}", self.title)));
                }
            }
            self.changed.notify_all();
        }
    }

    /// False if the record can't travel: a layer of it is not here, or its description is that of an older kiln.
    fn push(&self, job: &Job) -> Result<bool> {
        if job.ask && self.signer.is_none() && self.has(job)? {
            self.note(job);
            return Ok(false);
        }
        let (mut all, mut blobs) = (Vec::new(), Vec::new());
        for layer in &job.rootfs.layers {
            self.packing.fetch_add(1, Ordering::SeqCst);
            let facts = self.layers.facts(layer, self.compression);
            self.packing.fetch_sub(1, Ordering::SeqCst);
            let facts = facts?;
            if facts.kind != LayerKind::Base {
                if !self.bring(layer, &facts)? {
                    return Ok(false);
                }
                blobs.push(facts.blob.clone());
            }
            all.push(facts);
        }
        let Some(record) = Record::new(job.shelf, &job.key, &job.description, all) else { return Ok(false) };
        blobs.dedup();
        self.backend.put(&record::name(job.shelf, &job.key), &record.seal(self.signer.as_ref())?, &blobs)?;
        self.note(job);
        Ok(true)
    }

    fn note(&self, job: &Job) {
        if job.shelf == Shelf::Written {
            lock(&self.state).there.push(job.key);
        }
    }

    fn has(&self, job: &Job) -> Result<bool> {
        let object = self.backend.get(&record::name(job.shelf, &job.key))?;
        Ok(object.is_some_and(|object| Record::open(job.shelf, &job.key, &object, None).is_ok()))
    }

    /// Makes sure that the backend has the blob of a layer. False if nobody has it.
    fn bring(&self, layer: &LayerId, facts: &Facts) -> Result<bool> {
        let turn = Arc::clone(lock(&self.state).blobs.entry(facts.blob.digest).or_default());
        let mut there = lock(&turn);
        if there.is_none() {
            *there = Some(self.bring_now(layer, &facts.blob)?);
        }
        Ok(there.unwrap_or(false))
    }

    fn bring_now(&self, layer: &LayerId, blob: &BaseBlob) -> Result<bool> {
        if self.backend.has_blob(blob)? {
            return Ok(true);
        }
        if self.layers.missing_blob(layer).is_some() {
            return Ok(false);
        }
        let path = self.layers.store().blob_path(&blob.digest);
        let watch = Watch {
            progress: &|_| {
                self.moved.fetch_add(1, Ordering::SeqCst);
            },
            stop: &|| self.stop.load(Ordering::SeqCst),
        };
        self.backend.put_blob(blob, &path, &watch).map(|()| true)
    }
}
