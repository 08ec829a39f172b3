//! Limits the time of every call to a backend: none lasts longer than the silence that `timeout=`
//! allows, or than the user's wish to stop. Each call runs on a thread of its own, which is
//! abandoned if it takes too long. A cache that was silent for too long is broken, and nothing more
//! is requested from it in this build.

use super::{Backend, Listed};
use base::error::{Error, Kind, Result};
use base::sync::lock;
use layer::BaseBlob;
use registry::client::Watch;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The interval at which a wait checks the time and the user's wish.
const POLL: Duration = Duration::from_millis(20);
/// The time beyond the timeout in which the backend may report the cause itself.
const GRACE: Duration = Duration::from_millis(100);
/// A registry may verify a blob before it answers; this is its lowest speed in bytes per second.
const SLOWEST: u64 = 10 << 20;
/// The longest time of a call without a blob, in timeouts, even if the cache answers other calls.
const MOST_TIMEOUTS: u32 = 6;

/// Returns true once the user wants the build to stop.
pub type Stopped = Arc<dyn Fn() -> bool + Send + Sync>;

/// A backend with limited waits.
pub(super) struct Guard {
    inner: Arc<dyn Backend>,
    timeout: Duration,
    stopped: Stopped,
    health: Arc<Health>,
}

#[derive(Default)]
struct Health {
    broken: Mutex<Option<Error>>,
    /// The time of the last answer.
    heard: Mutex<Option<Instant>>,
}

/// The progress of a call, and the request to stop it.
#[derive(Default)]
struct Pulse {
    done: AtomicU64,
    stop: AtomicBool,
}

/// The limits of a call.
struct Limits<'a> {
    silence: Duration,
    longest: Option<Duration>,
    stop: &'a dyn Fn() -> bool,
    progress: &'a dyn Fn(u64),
}

impl Guard {
    pub(super) fn new(inner: Box<dyn Backend>, timeout: Duration, stopped: Stopped) -> Guard {
        Guard { inner: Arc::from(inner), timeout, stopped, health: Arc::default() }
    }

    /// The error that broke the cache.
    pub(super) fn broken(&self) -> Option<Error> {
        lock(&self.health.broken).clone()
    }

    /// Stops all requests from now on.
    pub(super) fn give_up(&self, why: &Error) {
        lock(&self.health.broken).get_or_insert_with(|| why.clone());
    }

    fn small<T: Send + 'static>(&self, call: impl FnOnce(&dyn Backend) -> Result<T> + Send + 'static) -> Result<T> {
        let longest = Some((self.timeout + GRACE) * MOST_TIMEOUTS);
        let limits = Limits { silence: self.timeout + GRACE, longest, stop: &|| false, progress: &|_| {} };
        self.run(&limits, move |backend, _| call(backend))
    }

    fn large<T: Send + 'static>(
        &self,
        blob: &BaseBlob,
        watch: &Watch<'_>,
        call: impl FnOnce(&dyn Backend, &Watch<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let silence = self.timeout + GRACE + Duration::from_secs(blob.size / SLOWEST);
        let limits = Limits { silence, longest: None, stop: watch.stop, progress: watch.progress };
        self.run(&limits, move |backend, pulse| {
            let progress = |done| pulse.done.store(done, Ordering::SeqCst);
            call(backend, &Watch { progress: &progress, stop: &|| pulse.stop.load(Ordering::SeqCst) })
        })
    }

    fn run<T: Send + 'static>(
        &self,
        limits: &Limits<'_>,
        call: impl FnOnce(&dyn Backend, &Pulse) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if let Some(error) = self.broken() {
            return Err(error);
        }
        let (sender, receiver) = channel();
        let (backend, pulse) = (Arc::clone(&self.inner), Arc::new(Pulse::default()));
        let theirs = Arc::clone(&pulse);
        std::thread::spawn(move || {
            // The receiver is gone if the call was abandoned.
            let _ = sender.send(call(&*backend, &theirs));
        });
        let (began, mut moved, mut seen) = (Instant::now(), Instant::now(), 0);
        loop {
            match receiver.recv_timeout(POLL) {
                Ok(done) => {
                    *lock(&self.health.heard) = Some(Instant::now());
                    return done;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::new(Kind::Source, "BUG: a request to a cache panicked"));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let done = pulse.done.load(Ordering::SeqCst);
            if done != seen {
                (seen, moved) = (done, Instant::now());
                *lock(&self.health.heard) = Some(moved);
                (limits.progress)(done);
            }
            let ended = self.ended(limits, began, moved);
            if let Some(error) = ended {
                pulse.stop.store(true, Ordering::SeqCst);
                return Err(error);
            }
        }
    }

    /// The reason to stop waiting for a call.
    fn ended(&self, limits: &Limits<'_>, began: Instant, moved: Instant) -> Option<Error> {
        if (self.stopped)() || (limits.stop)() {
            return Some(Error::new(Kind::Interrupted, "interrupted"));
        }
        if let Some(error) = self.broken() {
            return Some(error);
        }
        let heard = lock(&self.health.heard).map_or(moved, |heard| heard.max(moved));
        let late = limits.longest.is_some_and(|longest| began.elapsed() > longest);
        if !late && heard.elapsed() <= limits.silence {
            return None;
        }
        let error = Error::new(Kind::Source, format!("no answer in {} s", self.timeout.as_secs()));
        self.give_up(&error);
        Some(error)
    }
}

impl Backend for Guard {
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let name = name.to_owned();
        self.small(move |backend| backend.get(&name))
    }
    fn put(&self, name: &str, bytes: &[u8], blobs: &[BaseBlob]) -> Result<()> {
        let (name, bytes, blobs) = (name.to_owned(), bytes.to_vec(), blobs.to_vec());
        self.small(move |backend| backend.put(&name, &bytes, &blobs))
    }
    fn has_blob(&self, blob: &BaseBlob) -> Result<bool> {
        let blob = blob.clone();
        self.small(move |backend| backend.has_blob(&blob))
    }
    fn get_blob(&self, blob: &BaseBlob, watch: &Watch<'_>) -> Result<()> {
        let own = blob.clone();
        self.large(blob, watch, move |backend, watch| backend.get_blob(&own, watch))
    }
    fn put_blob(&self, blob: &BaseBlob, from: &Path, watch: &Watch<'_>) -> Result<()> {
        let (own, from): (BaseBlob, PathBuf) = (blob.clone(), from.to_owned());
        self.large(blob, watch, move |backend, watch| backend.put_blob(&own, &from, watch))
    }
    fn take_blob(&self, blob: &BaseBlob, from: &str) -> Result<bool> {
        let (blob, from) = (blob.clone(), from.to_owned());
        self.small(move |backend| backend.take_blob(&blob, &from))
    }
    fn names(&self) -> Result<Vec<String>> {
        self.small(|backend| backend.names())
    }
    fn extra(&self) -> Vec<(String, Vec<u8>)> {
        self.small(|backend| Ok(backend.extra())).unwrap_or_default()
    }
    fn newest_only(&self) -> bool {
        self.inner.newest_only()
    }
    fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        let prefix = prefix.to_owned();
        self.small(move |backend| backend.list(&prefix))
    }
    fn remove(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.small(move |backend| backend.remove(&name))
    }
    fn sweep(&self, before: u64, named: &dyn Fn() -> Result<Vec<BaseBlob>>) -> Result<u64> {
        // The sweep's own requests are guarded; the sweep of a large directory takes its time.
        self.inner.sweep(before, named)
    }
    fn origin(&self) -> Option<String> {
        self.inner.origin()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry::client::UNWATCHED;

    /// A backend that answers after a while.
    struct Slow(Duration);

    impl Backend for Slow {
        fn get(&self, _: &str) -> Result<Option<Vec<u8>>> {
            std::thread::sleep(self.0);
            Ok(None)
        }
        fn put(&self, _: &str, _: &[u8], _: &[BaseBlob]) -> Result<()> {
            Ok(())
        }
        fn has_blob(&self, _: &BaseBlob) -> Result<bool> {
            Ok(false)
        }
        fn get_blob(&self, _: &BaseBlob, watch: &Watch<'_>) -> Result<()> {
            for done in 1..=10 {
                std::thread::sleep(self.0 / 10);
                (watch.progress)(done);
            }
            Ok(())
        }
        fn put_blob(&self, _: &BaseBlob, _: &Path, _: &Watch<'_>) -> Result<()> {
            Ok(())
        }
        fn list(&self, _: &str) -> Result<Vec<Listed>> {
            Ok(Vec::new())
        }
        fn remove(&self, _: &str) -> Result<()> {
            Ok(())
        }
    }

    fn guard(answer: u64, stopped: Stopped) -> Guard {
        Guard::new(Box::new(Slow(Duration::from_secs(answer))), Duration::from_secs(1), stopped)
    }

    fn blob() -> BaseBlob {
        BaseBlob { digest: base::digest::Digest::of(b""), size: 1, media_type: String::new() }
    }

    #[test]
    fn silence_ends_a_call_and_every_other() {
        let guard = guard(30, Arc::new(|| false));
        let began = Instant::now();
        let error = guard.get("x").expect_err("too late");
        assert!(error.to_string().contains("no answer in 1 s") && began.elapsed().as_secs() < 5, "{error}");
        assert!(guard.has_blob(&blob()).is_err() && guard.broken().is_some());
    }

    #[test]
    fn what_moves_is_waited_for_and_a_wish_to_stop_is_not() {
        assert!(guard(4, Arc::new(|| false)).get_blob(&blob(), &UNWATCHED).is_ok());
        let began = Instant::now();
        let error = guard(30, Arc::new(move || began.elapsed().as_millis() > 100)).get("x").expect_err("stopped");
        assert_eq!((error.kind(), began.elapsed().as_millis() < 900), (Kind::Interrupted, true));
    }
}
