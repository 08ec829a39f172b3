//! Pushes to `--cache-to` in the background while steps run. Results become records and blobs. The
//! blobs of all steps are sent first, many at once. Records whose blobs have all arrived are
//! written together ([`commit`]), so that no reader finds a record without its blobs.

use super::batch::Record;
use super::catalog::Catalog;
use super::commit;
use super::envelope::Signer;
use super::feed::Feed;
use super::mounts::{self, Mount, Moved};
use super::place::{Place, Places};
use super::{Backend as _, Mode, Wanted};
use base::clock::since_1970;
use base::digest::Digest;
use base::error::{Error, Kind, Result};
use base::sync::lock;
use layer::rootfs::Rootfs;
use layer::trust::Keys;
use layer::{Compression, Facts, LayerId, LayerKind, Layers};
use solver::{Key, Shelf};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The number of blobs sent at once to one cache: a small one spends most of its time waiting.
const MOST_BLOBS: usize = 32;
/// The number of large blobs sent at once: most of their time is spent on the bytes.
const MOST_LARGE: usize = 4;
const LARGE: u64 = 1 << 20;
/// The number of results that are packed at once.
const MOST_PACKERS: usize = 4;
/// After this many failures nothing more is pushed.
const MOST_FAILURES: usize = 3;
/// The interval at which a wait checks the user's wish to stop.
const POLL: Duration = Duration::from_millis(50);

/// A result to push.
#[derive(Clone, Debug)]
pub(super) enum Job {
    /// A result in this store.
    Here { shelf: Shelf, key: Key, rootfs: Rootfs, text: String },
    /// A record of another cache, which promised its blobs.
    There { record: Record, verified: bool },
}

/// One `--cache-to`.
pub(super) struct Target {
    shared: Arc<Shared>,
}

/// The threads of a target.
#[derive(Default)]
struct Threads {
    commit: Option<JoinHandle<()>>,
    packers: Vec<JoinHandle<()>>,
    senders: Vec<JoinHandle<()>>,
}

pub(super) struct Shared {
    pub(super) place: Arc<Place>,
    mode: Mode,
    mounts: bool,
    scopes: Vec<String>,
    mounts_limit: u64,
    must: bool,
    compression: Compression,
    pub(super) signer: Option<Signer>,
    /// Layers that were signed with one of these keys may be signed again.
    trusted: Keys,
    layers: Layers,
    pub(super) feed: Arc<Feed>,
    catalog: OnceLock<Catalog>,
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
    pub(super) stop: AtomicBool,
    threads: Mutex<Threads>,
}

#[derive(Default)]
pub(super) struct State {
    jobs: VecDeque<Job>,
    /// The names of all jobs that were queued.
    known: HashSet<(Shelf, Key)>,
    packing: usize,
    blobs: HashMap<Digest, There>,
    to_send: VecDeque<Arc<Facts>>,
    sending: usize,
    sending_large: usize,
    /// Records that wait for their blobs.
    pub(super) waiting: Vec<Record>,
    facts: HashMap<LayerId, Arc<Facts>>,
    pub(super) committing: bool,
    pub(super) closed: bool,
    /// The written keys whose records are in the cache.
    pub(super) there: Vec<Key>,
    /// The number of results that cannot be signed because they are not trusted.
    untrusted: usize,
    /// The first failure.
    failure: Option<Error>,
    failures: usize,
}

/// The state of a blob in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum There {
    OnItsWay,
    Yes,
    /// No source has it, or sending it failed.
    No,
}

impl Target {
    pub(super) fn open(
        wanted: &Wanted,
        places: &mut Places<'_>,
        layers: &Layers,
        feed: &Arc<Feed>,
        trusted: &Keys,
    ) -> Result<Target> {
        let signer = wanted.path("sign-key").map(|path| Signer::read(&path)).transpose()?;
        let own = signer.iter().map(Signer::fingerprint);
        let shared = Shared {
            place: places.open(wanted)?,
            mode: wanted.mode()?,
            mounts: wanted.attributes.flag("mounts", false)?,
            scopes: wanted.scopes(),
            mounts_limit: wanted.mounts_limit()?,
            must: !wanted.attributes.flag("ignore-error", true)?,
            compression: wanted.compression()?,
            trusted: trusted.iter().cloned().chain(own).collect(),
            signer,
            layers: layers.clone(),
            feed: Arc::clone(feed),
            catalog: OnceLock::new(),
            state: Mutex::default(),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
            threads: Mutex::default(),
        };
        Ok(Target { shared: Arc::new(shared) })
    }

    pub(super) fn title(&self) -> &str {
        &self.shared.place.title
    }

    pub(super) fn place(&self) -> &Place {
        &self.shared.place
    }

    /// The written keys whose records are in the cache.
    pub(super) fn there(&self) -> Vec<Key> {
        lock(&self.shared.state).there.clone()
    }

    /// True if every step is pushed as soon as it ends.
    pub(super) fn takes_all(&self) -> bool {
        self.shared.mode == Mode::Max
    }

    /// True if cache mounts are saved to it.
    pub(super) fn takes_mounts(&self) -> bool {
        self.shared.mounts
    }

    /// Saves a cache mount, which the caller holds.
    pub(super) fn save(&self, mount: &Mount<'_>) -> Result<Option<Moved>> {
        let shared = &*self.shared;
        let (scopes, limit) = (shared.scopes.as_slice(), shared.mounts_limit);
        let place = mounts::Place { backend: &shared.place.backend, signer: shared.signer.as_ref(), scopes, limit };
        mounts::save(&place, mount, &shared.layers)
    }

    /// True if a failure of this cache fails the build.
    pub(super) fn must(&self) -> bool {
        self.shared.must
    }

    /// True if the record of a written key exists and will stay a while. Waits until the cache is
    /// read.
    pub(super) fn holds(&self, key: &Key) -> bool {
        let now = u64::try_from(since_1970().as_millis()).unwrap_or_default();
        self.shared.catalog().is_some_and(|catalog| catalog.has_fresh(Shelf::Written, key, now))
    }

    /// Notes a written key whose record already exists.
    pub(super) fn note(&self, key: Key) {
        lock(&self.shared.state).there.push(key);
    }

    /// Pushes a record in the background, once.
    pub(super) fn push(&self, job: Job) {
        let name = match &job {
            Job::Here { shelf, key, .. } => (*shelf, *key),
            Job::There { record, .. } => (record.shelf, record.key),
        };
        let mut state = lock(&self.shared.state);
        if state.failures >= MOST_FAILURES || !state.known.insert(name) {
            return;
        }
        state.jobs.push_back(job);
        drop(state);
        self.shared.changed.notify_all();
        self.shared.place.begin();
        let mut threads = lock(&self.shared.threads);
        if threads.commit.is_none() {
            let shared = Arc::clone(&self.shared);
            threads.commit = Some(std::thread::spawn(move || commit::serve(&shared)));
        }
        if threads.packers.len() < MOST_PACKERS {
            let shared = Arc::clone(&self.shared);
            threads.packers.push(std::thread::spawn(move || shared.pack_all()));
        }
    }

    /// The number of records that wait or are being pushed.
    pub(super) fn open_jobs(&self) -> usize {
        let state = lock(&self.shared.state);
        state.jobs.len() + state.packing + state.waiting.len() + usize::from(state.committing)
    }

    /// Waits for the pushes, which end because each request has a time limit.
    pub(super) fn finish(&self, stop: &dyn Fn() -> bool) -> Result<()> {
        let mut state = lock(&self.shared.state);
        state.closed = true;
        self.shared.changed.notify_all();
        while !state.is_idle() {
            // The thread that ends the wait may have panicked.
            let dead = lock(&self.shared.threads).commit.as_ref().is_none_or(JoinHandle::is_finished);
            if stop() || dead {
                self.shared.stop.store(true, Ordering::SeqCst);
                let left = state.jobs.len() + state.packing + state.waiting.len();
                let message = format!("cache {}: interrupted; {left} records are not pushed", self.shared.place.title);
                return Err(state.failure.take().unwrap_or_else(|| Error::new(Kind::Export, message)));
            }
            state = self.shared.changed.wait_timeout(state, POLL).unwrap_or_else(PoisonError::into_inner).0;
        }
        let (failure, untrusted) = (state.failure.take(), state.untrusted);
        drop(state);
        let threads = std::mem::take(&mut *lock(&self.shared.threads));
        for thread in threads.commit.into_iter().chain(threads.packers).chain(threads.senders) {
            // A thread that panicked has stopped pushing; its finished pushes are complete.
            let _ = thread.join();
        }
        if untrusted > 0 {
            let text = format!(
                "{untrusted} results are not signed and not pushed: they come from a cache that was read without verify-key="
            );
            self.shared.place.warn("untrusted", &text);
        }
        failure.map_or(Ok(()), Err)
    }
}

impl State {
    /// True if nothing is left to pack or to send.
    pub(super) fn is_sent(&self) -> bool {
        self.jobs.is_empty() && self.packing == 0 && self.to_send.is_empty() && self.sending == 0
    }

    fn is_idle(&self) -> bool {
        self.is_sent() && self.waiting.is_empty() && !self.committing
    }

    /// Takes the records whose blobs have all arrived, and drops those with a lost blob.
    pub(super) fn take_ready(&mut self) -> Vec<Record> {
        let blobs = &self.blobs;
        let all_are = |record: &Record, what: There| {
            let travelled = record.layers.iter().filter(|facts| facts.kind != LayerKind::Base);
            travelled.map(|facts| blobs.get(&facts.blob.digest).copied()).all(|there| there == Some(what))
        };
        let lost =
            |record: &Record| record.layers.iter().any(|facts| blobs.get(&facts.blob.digest) == Some(&There::No));
        self.waiting.retain(|record| !lost(record));
        let (ready, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(|one| all_are(one, There::Yes));
        self.waiting = waiting;
        ready
    }

    /// Counts a failure. The first error is reported at the end.
    pub(super) fn fail(&mut self, error: Error, title: &str) {
        self.failures += 1;
        self.failure.get_or_insert(error.context(format!("cache {title}")));
        if self.failures >= MOST_FAILURES {
            self.give_up();
        }
    }

    /// Stops all pushes.
    pub(super) fn give_up(&mut self) {
        self.failures = self.failures.max(MOST_FAILURES);
        self.jobs.clear();
        self.waiting.clear();
        self.to_send.clear();
    }
}

impl Shared {
    /// The records in the cache; `None` if it cannot be read, and then nothing can be pushed.
    fn catalog(&self) -> Option<&Catalog> {
        if let Some(catalog) = self.catalog.get() {
            return Some(catalog);
        }
        let loaded = self.place.loaded().ok()?;
        let verifier = self.signer.as_ref().map(Signer::verifier);
        Some(self.catalog.get_or_init(|| Catalog::of(&loaded, verifier.as_ref())))
    }

    /// True if the threads may end once the queues are empty.
    fn is_over(&self, state: &State) -> bool {
        state.closed || self.stop.load(Ordering::SeqCst)
    }

    /// Starts sender threads, as many as there are blobs to send, up to the limit.
    fn add_senders(self: &Arc<Shared>, wanted: usize) {
        let mut threads = lock(&self.threads);
        while threads.senders.len() < wanted.min(MOST_BLOBS) {
            let shared = Arc::clone(self);
            threads.senders.push(std::thread::spawn(move || shared.send_all()));
        }
    }

    /// Runs a thread that makes records of results.
    fn pack_all(self: &Arc<Shared>) {
        let mut state = lock(&self.state);
        loop {
            let Some(job) = state.jobs.pop_front() else {
                if self.is_over(&state) {
                    return;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.packing += 1;
            drop(state);
            let packed = self.pack(job);
            state = lock(&self.state);
            state.packing -= 1;
            match packed {
                Ok(Some(record)) if state.failures < MOST_FAILURES => {
                    for facts in record.layers.iter().filter(|facts| facts.kind != LayerKind::Base) {
                        if let Entry::Vacant(new) = state.blobs.entry(facts.blob.digest) {
                            new.insert(There::OnItsWay);
                            state.to_send.push_back(Arc::clone(facts));
                        }
                    }
                    state.waiting.push(record);
                    let wanted = state.to_send.len() + state.sending;
                    drop(state);
                    self.add_senders(wanted);
                    state = lock(&self.state);
                }
                Ok(_) => {}
                Err(error) => state.fail(error, &self.place.title),
            }
            self.changed.notify_all();
        }
    }

    /// The record of a result; `None` if it may not be pushed.
    fn pack(&self, job: Job) -> Result<Option<Record>> {
        let at = u64::try_from(since_1970().as_millis()).unwrap_or_default();
        let (shelf, key, rootfs, text) = match job {
            Job::There { verified, .. } if self.signer.is_some() && !verified => {
                lock(&self.state).untrusted += 1;
                return Ok(None);
            }
            Job::There { record, .. } => return Ok(Some(Record { at, ..record })),
            Job::Here { shelf, key, rootfs, text } => (shelf, key, rootfs, text),
        };
        if self.signer.is_some() && !self.layers.trusted(&rootfs.layers, &self.trusted) {
            lock(&self.state).untrusted += usize::from(shelf == Shelf::Written);
            return Ok(None);
        }
        let layers = rootfs.layers.iter().map(|layer| self.facts(layer)).collect::<Result<Vec<_>>>()?;
        Ok(Record::new(shelf, key, at, &text, layers))
    }

    fn facts(&self, layer: &LayerId) -> Result<Arc<Facts>> {
        if let Some(facts) = lock(&self.state).facts.get(layer) {
            return Ok(Arc::clone(facts));
        }
        let facts = Arc::new(self.layers.facts(layer, self.compression)?);
        lock(&self.state).facts.insert(layer.clone(), Arc::clone(&facts));
        Ok(facts)
    }

    /// Runs a thread that sends blobs.
    fn send_all(&self) {
        let mut state = lock(&self.state);
        loop {
            let Some(facts) = state.next_to_send() else {
                if self.is_over(&state) && state.is_sent() {
                    return;
                }
                state = self.changed.wait_timeout(state, POLL).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            };
            let large = usize::from(facts.blob.size > LARGE);
            state.sending += 1;
            state.sending_large += large;
            drop(state);
            let sent = self.send(&facts);
            state = lock(&self.state);
            state.sending -= 1;
            state.sending_large -= large;
            let there = if matches!(sent, Ok(true)) { There::Yes } else { There::No };
            state.blobs.insert(facts.blob.digest, there);
            match sent {
                Ok(_) => {}
                // A broken cache is broken for all blobs.
                Err(error) if self.place.is_broken() => {
                    state.fail(error, &self.place.title);
                    state.give_up();
                }
                Err(error) => state.fail(error, &self.place.title),
            }
            self.changed.notify_all();
        }
    }

    /// Makes sure that the cache has a blob. False if no source has it.
    fn send(&self, facts: &Facts) -> Result<bool> {
        let (blob, backend) = (&facts.blob, &self.place.backend);
        // A cache that cannot be read is not written either.
        self.place.loaded()?;
        if backend.has_blob(blob)? {
            return Ok(true);
        }
        let stop = || self.stop.load(Ordering::SeqCst);
        let watch = registry::client::Watch { progress: &|_| {}, stop: &stop };
        let store = self.layers.store();
        if !store.has(&blob.digest) {
            if let Some(origin) = self.feed.origin(&blob.digest)
                && backend.take_blob(blob, &origin)?
            {
                return Ok(true);
            }
            match self.feed.bring(blob, &watch) {
                Err(error) if error.kind() == Kind::Lost => return Ok(false),
                brought => brought?,
            }
        }
        backend.put_blob(blob, &store.blob_path(&blob.digest), &watch).map(|()| true)
    }
}

impl State {
    /// The next blob that may be sent now.
    fn next_to_send(&mut self) -> Option<Arc<Facts>> {
        let may = |facts: &Arc<Facts>| facts.blob.size <= LARGE || self.sending_large < MOST_LARGE;
        let at = self.to_send.iter().position(may)?;
        self.to_send.remove(at)
    }
}
