//! Writes batches. All records that are ready are written together: at once when the first is
//! ready, then at growing intervals, and at the end. So a killed build loses little, and a build of
//! many short steps writes few objects.

use super::Backend as _;
use super::batch::{self, Record, Sealed, Written};
use super::catalog::{self, ENOUGH_FOR_INDEX, Object};
use super::push::Shared;
use base::clock::since_1970;
use base::digest::Digest;
use base::error::{Error, Kind, Result};
use base::sync::lock;
use solver::Shelf;
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// The interval for checking whether records are ready.
const POLL: Duration = Duration::from_millis(100);
/// The shortest time between two batches.
const SHORTEST: Duration = Duration::from_secs(4);
/// The same for a backend where every batch is an index.
const SHORTEST_INDEX: Duration = Duration::from_secs(30);
/// The time between two batches is at least the build time so far divided by this.
const PART: u32 = 2;
/// The number of tries for one batch; a backend has its own retries.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);
/// The number of tries to write an index that no other writer replaces.
const INDEX_TRIES: u64 = 4;

/// Runs the thread that writes the batches of a target.
pub(super) fn serve(shared: &Shared) {
    let (began, mut last) = (Instant::now(), None::<Instant>);
    let shortest = if shared.place.backend.newest_only() { SHORTEST_INDEX } else { SHORTEST };
    let mut written = Own::default();
    let mut state = lock(&shared.state);
    loop {
        let over = shared.stop.load(Ordering::SeqCst);
        if over {
            state.give_up();
            return;
        }
        let last_time = state.closed && state.is_sent();
        let pause = shortest.max(began.elapsed() / PART);
        let due = last.is_none_or(|last| last.elapsed() > pause);
        if last_time || (due && !state.waiting.is_empty()) {
            let ready = state.take_ready();
            if last_time {
                // The blobs of the other records will not be sent any more.
                state.waiting.clear();
            }
            if !ready.is_empty() || last_time {
                state.committing = true;
                drop(state);
                let done = commit(shared, &ready, last_time, &mut written);
                last = (!ready.is_empty()).then(Instant::now).or(last);
                state = lock(&shared.state);
                state.committing = false;
                match done {
                    Ok(()) => {
                        let written = ready.iter().filter(|record| record.shelf == Shelf::Written);
                        state.there.extend(written.map(|record| record.key));
                    }
                    Err(error) => {
                        // Later batches must not refer to a batch that may not exist.
                        (written.written, written.anchored) = Default::default();
                        state.fail(error, &shared.place.title);
                    }
                }
                shared.changed.notify_all();
            }
            if last_time {
                return;
            }
        }
        state = shared.changed.wait_timeout(state, POLL).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// The objects that this build has written.
#[derive(Default)]
struct Own {
    objects: Vec<Object>,
    written: Written,
    /// The blobs that one of its batches names.
    anchored: HashSet<Digest>,
}

fn now() -> u64 {
    u64::try_from(since_1970().as_millis()).unwrap_or_default()
}

fn commit(shared: &Shared, ready: &[Record], last: bool, own: &mut Own) -> Result<()> {
    let (place, backend) = (&shared.place, &shared.place.backend);
    let sealed = if ready.is_empty() {
        Vec::new()
    } else {
        batch::seal(ready, now(), shared.signer.as_ref(), &mut own.written)?
    };
    if backend.newest_only() {
        return match sealed.is_empty() {
            true => Ok(()),
            false => write_newest(shared, sealed),
        };
    }
    for mut one in sealed {
        // An earlier batch of this build already keeps these blobs, and the two have the same age.
        one.blobs.retain(|blob| own.anchored.insert(blob.digest));
        again(|| backend.put(&one.name, &one.object, &one.blobs), shared)?;
        place.copies.put(&one.name, &one.object);
        own.objects.push(Object { name: one.name, bytes: Arc::new(one.object) });
    }
    // An index only saves requests for others, so its failure is no error.
    if last && !own.objects.is_empty() {
        let _ = write_index(shared, &own.objects);
    }
    Ok(())
}

/// Combines many batches in one index.
fn write_index(shared: &Shared, written: &[Object]) -> Result<()> {
    let (place, backend) = (&shared.place, &shared.place.backend);
    let loaded = place.loaded()?;
    let new = written.iter().filter(|object| !loaded.has(&object.name)).count();
    if loaded.single + new <= ENOUGH_FOR_INDEX {
        return Ok(());
    }
    let index = loaded.index(written, now())?;
    backend.put(&index.name, &index.bytes, &[])?;
    place.copies.put(&index.name, &index.bytes);
    // If the backend cannot remove old indexes, they stay and are not read.
    loaded.indexes.iter().try_for_each(|old| backend.remove(old))
}

/// Writes an index with all other objects, for backends that find only the newest object. If
/// another writer interferes, its objects are added and the index is written again.
fn write_newest(shared: &Shared, sealed: Vec<Sealed>) -> Result<()> {
    let (place, backend) = (&shared.place, &shared.place.backend);
    let own: Vec<Object> =
        sealed.into_iter().map(|one| Object { name: one.name, bytes: Arc::new(one.object) }).collect();
    for tried in 0..INDEX_TRIES {
        let loaded = catalog::load(backend, &place.copies, false)?;
        let all_there = own.iter().all(|object| loaded.has(&object.name));
        if all_there {
            return Ok(());
        }
        let index = loaded.index(&own, now())?;
        again(|| backend.put(&index.name, &index.bytes, &[]), shared)?;
        // A random pause keeps two writers from colliding again.
        std::thread::sleep(PAUSE * u32::try_from(tried).unwrap_or(1) + Duration::from_millis(now() % 100));
    }
    Ok(())
}

/// Retries a write: a registry may fail while two clients push the same blob, and then has it.
fn again(put: impl Fn() -> Result<()>, shared: &Shared) -> Result<()> {
    let mut tries = 1;
    loop {
        let began = Instant::now();
        let done: Result<(), Error> = put();
        let soon = began.elapsed() < Duration::from_secs(1) && !shared.stop.load(Ordering::SeqCst);
        match done {
            Err(error) if error.kind() == Kind::Source && tries < TRIES && soon => {
                tries += 1;
                std::thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
}
