//! Records the outcome of each step, and saves the report for `kiln explain` at the end.

use crate::explain::builds::{self, Build, Step};
use base::clock::now;
use base::sync::lock;
use solver::{Event, Observer, Outcome, StepId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};
use store::Store;

/// The most steps in one report; the others are left out.
const MOST_STEPS: usize = 10_000;

/// An observer that saves a report to a store. `dockerfile` and `target` are shown to the user.
pub fn observer(store: &Store, dockerfile: String, target: Option<String>) -> Arc<dyn Observer> {
    let build = Build { dockerfile, target, at: now(), ..Build::default() };
    Arc::new(Report {
        store: store.clone(),
        began: Instant::now(),
        state: Mutex::new(State { build, places: HashMap::new() }),
    })
}

struct Report {
    store: Store,
    began: Instant,
    state: Mutex<State>,
}

struct State {
    build: Build,
    places: HashMap<StepId, usize>,
}

impl State {
    fn step(&mut self, id: StepId, name: &str) -> Option<&mut Step> {
        let next = self.build.steps.len();
        let place = *self.places.entry(id).or_insert(next);
        if place == next && next < MOST_STEPS {
            self.build.steps.push(Step { name: name.to_owned(), ..Step::default() });
        }
        self.build.steps.get_mut(place)
    }

    fn set(&mut self, id: StepId, name: &str, state: &str, seconds: f64) {
        if let Some(step) = self.step(id, name) {
            (step.state, step.seconds) = (state.to_owned(), seconds);
        }
    }
}

impl Observer for Report {
    fn event(&self, _: SystemTime, event: &Event) {
        let mut state = lock(&self.state);
        match event {
            Event::Begin { step, name } => state.set(*step, name, "running", 0.0),
            Event::Cached { step, name } => state.set(*step, name, "cached", 0.0),
            Event::Missed { step, miss } => {
                if let Some(step) = state.step(*step, "") {
                    step.miss = Some(miss.into());
                }
            }
            Event::End { step, outcome, took } => {
                let outcome = match outcome {
                    Outcome::Done => "done",
                    Outcome::Failed(_) => "failed",
                    Outcome::Stopped => "stopped",
                };
                state.set(*step, "", outcome, took.as_secs_f64());
            }
            _ => {}
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if state.build.steps.iter().any(|step| step.miss.is_some()) {
            state.build.seconds = self.began.elapsed().as_secs_f64();
            builds::save(&self.store, &state.build);
        }
    }
}
