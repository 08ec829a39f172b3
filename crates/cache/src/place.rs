//! A cache in a build, shared by `--cache-from` and `--cache-to`: its content is read once, and
//! each kind of trouble causes one warning.

use super::catalog::{self, Loaded};
use super::copies::Copies;
use super::guard::{Guard, Stopped};
use super::{Surroundings, Wanted, notes};
use base::error::{Error, Kind, Result};
use base::sync::lock;
use solver::{Event, Observer};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::SystemTime;

/// The place of a cache.
pub(super) struct Place {
    /// The name for messages.
    pub(super) title: String,
    /// A text that is equal for the same place.
    identity: String,
    /// The cache in the notes.
    pub(super) noted: notes::Place,
    pub(super) backend: Guard,
    pub(super) copies: Copies,
    state: Mutex<State>,
    changed: Condvar,
    /// The kinds of trouble that were reported; each is reported once.
    warned: Mutex<HashSet<&'static str>>,
    /// Weak, because abandoned threads must not keep the observer alive after the build.
    observer: Weak<dyn Observer>,
}

enum State {
    Unread,
    Reading,
    Read(Result<Arc<Loaded>>),
}

/// The places of a build, each once.
pub(super) struct Places<'a> {
    pub(super) around: &'a Surroundings<'a>,
    pub(super) observer: &'a Arc<dyn Observer>,
    pub(super) stopped: &'a Stopped,
    known: Vec<Arc<Place>>,
}

impl<'a> Places<'a> {
    pub(super) fn new(
        around: &'a Surroundings<'a>,
        observer: &'a Arc<dyn Observer>,
        stopped: &'a Stopped,
    ) -> Places<'a> {
        Places { around, observer, stopped, known: Vec::new() }
    }

    /// The place of a `--cache-to` or `--cache-from`.
    pub(super) fn open(&mut self, wanted: &Wanted) -> Result<Arc<Place>> {
        let identity = wanted.identity();
        if let Some(place) = self.known.iter().find(|place| place.identity == identity) {
            return Ok(Arc::clone(place));
        }
        let timeout = wanted.timeout()?;
        let mut settings = self.around.settings.clone();
        settings.patience = Some(timeout);
        let around = Surroundings { store: self.around.store, settings: &settings };
        let noted = wanted.noted();
        let place = Arc::new(Place {
            title: wanted.title(),
            identity,
            copies: Copies::of(around.store, &noted.from),
            noted,
            backend: Guard::new(wanted.open(&around)?, timeout, Arc::clone(self.stopped)),
            state: Mutex::new(State::Unread),
            changed: Condvar::new(),
            warned: Mutex::default(),
            observer: Arc::downgrade(self.observer),
        });
        self.known.push(Arc::clone(&place));
        Ok(place)
    }
}

impl Place {
    /// Warns about one kind of trouble, once per build: many objects are likely to have the same
    /// fault.
    pub(super) fn warn(&self, sort: &'static str, text: &str) {
        if lock(&self.warned).insert(sort) {
            let text = format!("cache {}: {text}", self.title);
            let Some(observer) = self.observer.upgrade() else { return };
            observer.event(SystemTime::now(), &Event::Warning { text });
        }
    }

    /// True if a warning has said that the cache is given up.
    pub(super) fn has_told(&self) -> bool {
        lock(&self.warned).contains("gone")
    }

    /// Suppresses the warning about a broken cache, which is reported elsewhere.
    pub(super) fn tell(&self) {
        if self.is_broken() {
            lock(&self.warned).insert("gone");
        }
    }

    pub(super) fn is_broken(&self) -> bool {
        self.backend.broken().is_some()
    }

    /// Warns once, and ignores the cache from now on.
    pub(super) fn give_up(&self, why: &Error) {
        self.backend.give_up(why);
        if why.kind() != Kind::Interrupted {
            self.warn("gone", &format!("{why}; the build goes on without it"));
        }
    }

    /// Starts to read the cache, on a thread of its own.
    pub(super) fn begin(self: &Arc<Place>) {
        let mut state = lock(&self.state);
        if matches!(*state, State::Unread) {
            *state = State::Reading;
            let place = Arc::clone(self);
            std::thread::spawn(move || {
                // After a panic the waiting threads must not wait for ever.
                let load = AssertUnwindSafe(|| catalog::load(&place.backend, &place.copies, true).map(Arc::new));
                let panicked = |_| Err(Error::new(Kind::Source, "BUG: reading a cache panicked"));
                *lock(&place.state) = State::Read(catch_unwind(load).unwrap_or_else(panicked));
                place.changed.notify_all();
            });
        }
    }

    /// The content of the cache. Waits until it is read, which ends because each request has a time
    /// limit.
    pub(super) fn loaded(self: &Arc<Place>) -> Result<Arc<Loaded>> {
        self.begin();
        let mut state = lock(&self.state);
        loop {
            match &*state {
                State::Read(loaded) => return loaded.clone(),
                _ => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}
