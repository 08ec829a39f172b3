//! Look-ups in caches that answer slowly: all that is expected is asked for side by side as soon as the first answer is
//! needed, by threads of their own, so that a cache that never answers costs its timeout once and nothing more.

use super::envelope::Verifier;
use super::notes::Place;
use super::record::{self, Record};
use super::{Backend, Surroundings, Wanted};
use crate::error::{Kind, Result};
use crate::sync::lock;
use solver::{Event, Key, Observer, Shelf};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

/// Requests to one cache at once.
const AT_ONCE: usize = 8;

/// Tries of one look-up, whatever a backend tries itself.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(50);

/// What is asked for.
type Question = (Shelf, Key);

/// An answer.
enum Heard {
    Nothing,
    Record(Box<Record>),
    /// There is one, and this is wrong with it.
    Refused(&'static str),
}

/// One `--cache-from`.
pub(super) struct Source {
    /// For people.
    pub(super) title: String,
    /// Equal where the place is the same.
    pub(super) identity: String,
    /// As it is noted.
    pub(super) noted: Place,
    pub(super) backend: Box<dyn Backend>,
    /// Whether cache mounts come from it.
    pub(super) mounts: bool,
    pub(super) scopes: Vec<String>,
    /// Signatures that count, if any must.
    pub(super) verifier: Option<Verifier>,
    timeout: Duration,
    /// It failed, and is not asked again.
    broken: AtomicBool,
    /// What was warned of: each sort of trouble once.
    warned: Mutex<HashSet<&'static str>>,
    /// Threads that nobody waits for must not keep it: its views end with the build.
    observer: Weak<dyn Observer>,
}

impl Source {
    pub(super) fn open(wanted: &Wanted, around: &Surroundings<'_>, observer: &Arc<dyn Observer>) -> Result<Source> {
        Ok(Source {
            title: wanted.title(),
            identity: wanted.identity(),
            noted: wanted.noted(),
            backend: wanted.open(around)?,
            mounts: wanted.attributes.flag("mounts", false)?,
            scopes: wanted.scopes(),
            verifier: wanted.path("verify-key").map(|path| Verifier::read(&path)).transpose()?,
            timeout: wanted.timeout()?,
            broken: AtomicBool::new(false),
            warned: Mutex::default(),
            observer: Arc::downgrade(observer),
        })
    }

    /// Tells of a sort of trouble, once in a build: what is wrong with one object is likely wrong with many.
    pub(super) fn warn(&self, sort: &'static str, text: &str) {
        if lock(&self.warned).insert(sort) {
            let text = format!("cache {}: {text}", self.title);
            let Some(observer) = self.observer.upgrade() else { return };
            observer.event(SystemTime::now(), &Event::Warning { text });
        }
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::SeqCst)
    }

    /// Says why once; from now on it is as if it were not there.
    pub(super) fn give_up(&self, why: &str) {
        if !self.broken.swap(true, Ordering::SeqCst) {
            self.warn("gone", &format!("{why}; the build goes on without it"));
        }
    }

    fn ask(&self, (shelf, key): &Question) -> Heard {
        if self.is_broken() {
            return Heard::Nothing;
        }
        let name = record::name(*shelf, key);
        let mut answer = self.backend.get(&name);
        for _ in 1..TRIES {
            // What broke off once often comes whole the next time.
            if answer.as_ref().is_err_and(|error| error.kind() == Kind::Source) && !self.is_broken() {
                std::thread::sleep(PAUSE);
                answer = self.backend.get(&name);
            }
        }
        let object = match answer {
            Ok(Some(object)) => object,
            Ok(None) => return Heard::Nothing,
            Err(error) => {
                self.give_up(&error.to_string());
                return Heard::Nothing;
            }
        };
        match Record::open(*shelf, key, &object, self.verifier.as_ref()) {
            Ok(record) => Heard::Record(Box::new(record)),
            Err(why) => {
                self.warn("record", &format!("a record is not used: {why}"));
                Heard::Refused(why)
            }
        }
    }
}

/// The sources, and all answers so far.
pub(super) struct Lookups {
    sources: Vec<Arc<Source>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    expected: Vec<Key>,
    /// What each source has not been asked yet.
    queues: Vec<VecDeque<Question>>,
    answers: HashMap<Question, Answer>,
    /// When each source last gave an answer, or was first asked.
    heard: Vec<Option<Instant>>,
    closed: bool,
}

struct Answer {
    asked: Instant,
    /// Sources that have not answered.
    open: Vec<usize>,
    found: Option<(usize, Arc<Record>)>,
    /// All sources that have it.
    holders: Vec<usize>,
    /// Those whose record is not used, and why.
    refused: Vec<(usize, &'static str)>,
}

impl Lookups {
    pub(super) fn new(sources: Vec<Source>) -> Lookups {
        let shared = Arc::new(Shared::default());
        let count = sources.len();
        {
            let mut state = lock(&shared.state);
            state.queues.resize_with(count, VecDeque::new);
            state.heard.resize(count, None);
        }
        Lookups { sources: sources.into_iter().map(Arc::new).collect(), shared }
    }

    pub(super) fn sources(&self) -> &[Arc<Source>] {
        &self.sources
    }

    /// Written keys that may be asked for; nothing is sent before one is.
    pub(super) fn expect(&self, keys: &[Key]) {
        lock(&self.shared.state).expected.extend(keys);
    }

    /// The record of a key, from whichever source has it first.
    pub(super) fn get(&self, shelf: Shelf, key: &Key) -> Option<(usize, Arc<Record>)> {
        if self.sources.iter().all(|source| source.is_broken()) {
            return None;
        }
        let question = (shelf, *key);
        let mut state = lock(&self.shared.state);
        self.begin(&mut state, question);
        for key in std::mem::take(&mut state.expected) {
            self.begin(&mut state, (Shelf::Written, key));
        }
        self.shared.changed.notify_all();
        loop {
            let answer = state.answers.get(&question)?;
            if answer.found.is_some() {
                return answer.found.clone();
            }
            let late = |at: &&usize| {
                let source = &self.sources[**at];
                let heard = state.heard[**at];
                let since = heard.map_or(answer.asked, |heard| heard.max(answer.asked));
                !source.is_broken() && since.elapsed() < source.timeout
            };
            if !answer.open.iter().any(|at| late(&at)) {
                for at in answer.open.clone() {
                    self.sources[at].give_up(&format!("no answer in {} s", self.sources[at].timeout.as_secs()));
                }
                return None;
            }
            state = self
                .shared
                .changed
                .wait_timeout(state, Duration::from_millis(100))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Whether a source is known to have the record of a key.
    pub(super) fn holds(&self, source: usize, shelf: Shelf, key: &Key) -> bool {
        let state = lock(&self.shared.state);
        state.answers.get(&(shelf, *key)).is_some_and(|answer| answer.holders.contains(&source))
    }

    /// Remembers that a record which was found is not used.
    pub(super) fn refuse(&self, source: usize, key: &Key, why: &'static str) {
        if let Some(answer) = lock(&self.shared.state).answers.get_mut(&(Shelf::Written, *key)) {
            answer.refused.push((source, why));
        }
    }

    /// The source that has the record of a written key which is not used, and why.
    pub(super) fn refusal(&self, key: &Key) -> Option<(&Source, &'static str)> {
        let state = lock(&self.shared.state);
        let (at, why) = *state.answers.get(&(Shelf::Written, *key))?.refused.last()?;
        Some((&self.sources[at], why))
    }

    /// The written keys that a source was asked for: those it has, and those it has not.
    pub(super) fn heard(&self, at: usize) -> (Vec<Key>, Vec<Key>) {
        let state = lock(&self.shared.state);
        let asked = state.answers.iter().filter(|((shelf, _), answer)| {
            *shelf == Shelf::Written && !answer.open.contains(&at) && !self.sources[at].is_broken()
        });
        let has = |answer: &Answer| answer.holders.contains(&at) || answer.refused.iter().any(|(who, _)| *who == at);
        let (there, gone): (Vec<_>, Vec<_>) = asked.partition(|(_, answer)| has(answer));
        let keys = |pairs: Vec<(&Question, _)>| pairs.into_iter().map(|((_, key), _)| *key).collect();
        (keys(there), keys(gone))
    }

    fn begin(&self, state: &mut State, question: Question) {
        if state.answers.contains_key(&question) {
            return;
        }
        let open: Vec<usize> = (0..self.sources.len()).filter(|at| !self.sources[*at].is_broken()).collect();
        for &at in &open {
            state.queues[at].push_back(question);
            if state.heard[at].is_none() {
                state.heard[at] = Some(Instant::now());
                (0..AT_ONCE).for_each(|_| self.serve(at));
            }
        }
        let answer = Answer { asked: Instant::now(), open, found: None, holders: Vec::new(), refused: Vec::new() };
        state.answers.insert(question, answer);
    }

    /// A thread that asks one source. It is not waited for: it holds nothing but the connection.
    fn serve(&self, at: usize) {
        let (source, shared) = (Arc::clone(&self.sources[at]), Arc::clone(&self.shared));
        std::thread::spawn(move || {
            let mut state = lock(&shared.state);
            while !state.closed {
                let Some(question) = state.queues[at].pop_front() else {
                    state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    continue;
                };
                drop(state);
                let found = source.ask(&question);
                state = lock(&shared.state);
                state.heard[at] = Some(Instant::now());
                if let Some(answer) = state.answers.get_mut(&question) {
                    answer.open.retain(|open| *open != at);
                    match found {
                        Heard::Nothing => {}
                        Heard::Refused(why) => answer.refused.push((at, why)),
                        Heard::Record(record) => {
                            answer.holders.push(at);
                            answer.found.get_or_insert_with(|| (at, Arc::from(record)));
                        }
                    }
                }
                shared.changed.notify_all();
            }
        });
    }
}

impl Drop for Lookups {
    fn drop(&mut self) {
        lock(&self.shared.state).closed = true;
        self.shared.changed.notify_all();
    }
}
