//! The one stream of events. Every progress view, log, trace and report is an [`Observer`] of it.

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

/// Names a step of one build: a vertex, or work beside the graph (loading a base image, exporting).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId(pub u32);

/// An event of a build.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Work on a step begins. Comes once a step, before everything else about it but `Waiting`, unless the step is
    /// `Cached`.
    Begin {
        /// The step.
        step: StepId,
        /// For people: `[build 2/4] RUN make`.
        name: String,
    },
    /// A step's result was in the cache. Nothing else comes for it.
    Cached {
        /// The step.
        step: StepId,
        /// For people.
        name: String,
    },
    /// The step was not in the cache, and why. Comes at most once a step, right after its `Begin`.
    Missed {
        /// The step.
        step: StepId,
        /// Why.
        miss: Miss,
    },
    /// The step could begin, but waits. Its `Begin` follows.
    Waiting {
        /// The step.
        step: StepId,
        /// For people.
        name: String,
        /// For what: `the same step of pid 4711`.
        what: String,
    },
    /// The steps that the step stands on. Comes for every step of a graph, before anything else about it, but only to an
    /// observer that [wants phases](Observer::wants_phases).
    Needs {
        /// The step.
        step: StepId,
        /// Its inputs.
        inputs: Vec<StepId>,
    },
    /// A part of the work ended: it began `took` ago. Phases of one step may lie in each other, and some lie before
    /// its `Begin` or behind its `End`. Comes only to an observer that [wants phases](Observer::wants_phases).
    Phase {
        /// The step that it belongs to; none for the build as a whole.
        step: Option<StepId>,
        /// One word: `pull`, `key`, `run`.
        name: &'static str,
        /// How long it took.
        took: Duration,
    },
    /// The step wrote something. Any bytes, cut anywhere.
    Output {
        /// The step.
        step: StepId,
        /// Where to.
        stream: Stream,
        /// The text.
        bytes: Vec<u8>,
    },
    /// A long transfer goes on. Comes many times for the same `what`; ended when `done` equals `total`.
    Transfer {
        /// The step that it belongs to.
        step: StepId,
        /// `sha256:ab12cd34ef56 pulling`.
        what: String,
        /// Bytes so far.
        done: u64,
        /// Bytes in all, when known.
        total: Option<u64>,
    },
    /// The step ended.
    End {
        /// The step.
        step: StepId,
        /// How.
        outcome: Outcome,
        /// How long it took.
        took: Duration,
    },
    /// Something the user should know that is no error.
    Warning {
        /// For people; may hold several lines.
        text: String,
    },
}

/// Why a step was not in the cache: what differs from the nearest earlier time. What the words mean is the engine's affair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Miss {
    /// One word for programs: `file`, `argument`, `base`, `evicted`, ...
    pub cause: &'static str,
    /// One line for people.
    pub text: String,
    /// All that differs, the first cause first; bounded.
    pub differences: Vec<Difference>,
}

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The sort of thing: one of the words of [`Miss::cause`].
    pub cause: &'static str,
    /// The name of the thing.
    pub name: String,
    /// The old value; none if it was not there.
    pub old: Option<String>,
    /// The new value; none if it is gone.
    pub new: Option<String>,
}

/// Where a step's output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has a result.
    Done,
    /// It has none; the message is one line.
    Failed(String),
    /// It was stopped because something else failed or the user wished so.
    Stopped,
}

/// Does work that is no vertex as a step of its own: tells that it begins, and how it ended.
pub fn told<T, E: fmt::Display>(
    observer: &dyn Observer,
    step: StepId,
    name: String,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let began = Instant::now();
    observer.event(SystemTime::now(), &Event::Begin { step, name });
    let result = work();
    let outcome = result.as_ref().map_or_else(|error| Outcome::Failed(error.to_string()), |_| Outcome::Done);
    observer.event(SystemTime::now(), &Event::End { step, outcome, took: began.elapsed() });
    result
}

/// Watches a build. Called from many threads.
pub trait Observer: Send + Sync {
    /// Takes an event. Must not block for long: the build waits.
    fn event(&self, at: SystemTime, event: &Event);

    /// True if it wants to know of phases: nobody looks at the clock for one that does not.
    fn wants_phases(&self) -> bool {
        false
    }
}

/// Does a part of the work, and tells how long it took if that is wanted.
pub fn phase<T>(observer: &dyn Observer, step: Option<StepId>, name: &'static str, work: impl FnOnce() -> T) -> T {
    if !observer.wants_phases() {
        return work();
    }
    let began = Instant::now();
    let result = work();
    observer.event(SystemTime::now(), &Event::Phase { step, name, took: began.elapsed() });
    result
}
