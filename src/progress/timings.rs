//! Build timings: collects steps and their phases from the stream of events, finds the critical
//! path, and formats a table, JSON (`kiln.timings` in the metadata) and a Chrome trace (`trace`).
//!
//! The critical path is computed from the end: a step waited for the input that ended last. Cached
//! steps take no time, so the path goes through them. Steps outside the graph (resolving a base,
//! exporting) wait for the step that ended last before them. Work for all steps before the first
//! one runs (selecting the files of copies, looking up keys) is the phase `look up` of the whole
//! build.

mod trace;

use base::sync::lock;
use base::text::printable;
use serde_json::{Value, json};
use solver::{Event, Observer, Outcome, StepId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

/// Records the times of a build's steps, in a few hundred bytes per step.
pub struct Timings {
    began: SystemTime,
    seen: Mutex<Report>,
}

/// The times of steps and phases since the start of the build.
#[derive(Clone, Default)]
struct Report {
    total: Duration,
    steps: BTreeMap<StepId, Step>,
    /// The phases of the whole build.
    phases: Vec<Span>,
}

#[derive(Clone, Default)]
struct Step {
    name: String,
    /// `None` for a step outside the graph.
    needs: Option<Vec<StepId>>,
    begin: Option<Duration>,
    end: Option<Duration>,
    outcome: &'static str,
    phases: Vec<Span>,
}

/// A period of time.
#[derive(Clone, Debug, PartialEq)]
struct Span {
    name: &'static str,
    begin: Duration,
    took: Duration,
}

impl Timings {
    /// Starts the clock.
    pub fn begin() -> Timings {
        Timings { began: SystemTime::now(), seen: Mutex::default() }
    }

    /// The report so far; running steps end now.
    fn report(&self) -> Report {
        let mut report = lock(&self.seen).clone();
        report.total = SystemTime::now().duration_since(self.began).unwrap_or_default();
        for step in report.steps.values_mut().filter(|step| step.begin.is_some() && step.end.is_none()) {
            step.end = Some(report.total);
        }
        report
    }

    /// The timings as a table.
    pub fn table(&self) -> String {
        self.report().table()
    }

    /// The timings as JSON, in seconds. `docs/performance.md` describes the fields.
    pub fn json(&self) -> Value {
        self.report().json()
    }

    /// A Chrome trace.
    pub fn trace(&self) -> Value {
        trace::of(&self.report())
    }
}

impl Observer for Timings {
    fn event(&self, at: SystemTime, event: &Event) {
        let now = at.duration_since(self.began).unwrap_or_default();
        lock(&self.seen).take(now, event);
    }

    fn wants_phases(&self) -> bool {
        true
    }
}

impl Report {
    fn take(&mut self, now: Duration, event: &Event) {
        match event {
            Event::Begin { step, name } => {
                let step = self.steps.entry(*step).or_default();
                (step.name, step.begin, step.outcome) = (name.clone(), Some(now), "running");
            }
            Event::Cached { step, name } => {
                let step = self.steps.entry(*step).or_default();
                (step.name, step.outcome) = (name.clone(), "cached");
            }
            Event::Needs { step, inputs } => self.steps.entry(*step).or_default().needs = Some(inputs.clone()),
            Event::Phase { step, name, took } => {
                let span = Span { name, begin: now.saturating_sub(*took), took: *took };
                match step {
                    Some(step) => self.steps.entry(*step).or_default().phases.push(span),
                    None => self.phases.push(span),
                }
            }
            Event::End { step, outcome, .. } => {
                let step = self.steps.entry(*step).or_default();
                step.end = Some(now);
                step.outcome = match outcome {
                    Outcome::Done => "done",
                    Outcome::Failed(_) => "failed",
                    Outcome::Stopped => "stopped",
                };
            }
            Event::Waiting { .. }
            | Event::Output { .. }
            | Event::Transfer { .. }
            | Event::Missed { .. }
            | Event::Warning { .. } => {}
        }
    }

    /// The steps that determine the duration of the build, in order.
    fn critical_path(&self) -> Vec<StepId> {
        let ran = self.steps.iter().filter(|(_, step)| step.end.is_some());
        let mut path: Vec<StepId> = Vec::new();
        let mut next = ran.max_by_key(|(_, step)| step.end).map(|(id, _)| *id);
        while let Some(id) = next.filter(|id| !path.contains(id)) {
            path.push(id);
            next = self.waited_for(id);
        }
        path.reverse();
        path
    }

    /// The step whose end allowed this one to start.
    fn waited_for(&self, id: StepId) -> Option<StepId> {
        let begin = self.steps.get(&id)?.begin?;
        let ended = |id: &StepId| self.steps.get(id).and_then(|step| step.end).filter(|end| *end <= begin);
        let below = self.ran_below(id);
        let in_graph = below.iter().filter(|id| ended(id).is_some()).max_by_key(|id| ended(id)).copied();
        let graph = |id: &StepId| self.steps.get(id).is_some_and(|step| step.needs.is_some());
        in_graph.or_else(|| {
            // The first step of a graph waits for a step outside it: its base.
            let others = self.steps.keys().filter(|other| **other != id && !(graph(&id) && graph(other)));
            others.filter(|other| ended(other).is_some()).max_by_key(|other| ended(other)).copied()
        })
    }

    /// The nearest steps below that took time.
    fn ran_below(&self, id: StepId) -> Vec<StepId> {
        let (mut found, mut seen, mut todo) = (Vec::new(), BTreeSet::new(), vec![id]);
        while let Some(at) = todo.pop() {
            let needs = self.steps.get(&at).and_then(|step| step.needs.as_deref()).unwrap_or_default();
            for need in needs.iter().filter(|need| seen.insert(**need)) {
                match self.steps.get(need).is_some_and(|step| step.end.is_some()) {
                    true => found.push(*need),
                    false => todo.push(*need),
                }
            }
        }
        found
    }

    fn table(&self) -> String {
        let path = self.critical_path();
        let on_path: Duration = path.iter().filter_map(|id| self.steps.get(id)).filter_map(Step::took).sum();
        let mut text = format!(
            "timings: {} in all, {} of it in the steps of the critical path\n",
            seconds(self.total),
            seconds(on_path)
        );
        self.rows("critical path", &path, &mut text);
        let mut others: Vec<StepId> = self.steps.keys().filter(|id| !path.contains(id)).copied().collect();
        others.retain(|id| self.steps.get(id).is_some_and(|step| step.end.is_some() || !step.phases.is_empty()));
        others.sort_by_key(|id| self.steps.get(id).map(Step::begins));
        self.rows("beside it", &others, &mut text);
        if !self.phases.is_empty() {
            let _ = writeln!(text, "the build as a whole:\n  {:>8}  {}", "", sums(&self.phases));
        }
        text
    }

    fn rows(&self, title: &str, ids: &[StepId], text: &mut String) {
        if !ids.is_empty() {
            let _ = writeln!(text, "{title}:");
        }
        for step in ids.iter().filter_map(|id| self.steps.get(id)) {
            let took = step.took().map_or_else(|| step.outcome.to_owned(), seconds);
            let name = if step.name.is_empty() { "(source)" } else { step.name.lines().next().unwrap_or_default() };
            let name = printable(name);
            let _ = writeln!(text, "  {took:>8}  at {}  {name}", seconds(step.begins()));
            if !step.phases.is_empty() {
                let _ = writeln!(text, "  {:>8}  {}", "", sums(&step.phases));
            }
        }
    }

    fn json(&self) -> Value {
        let spans = |spans: &[Span]| -> Vec<Value> {
            let span = |span: &Span| json!({"name": span.name, "start": span.begin.as_secs_f64(), "seconds": span.took.as_secs_f64()});
            spans.iter().map(span).collect()
        };
        let step = |(id, step): (&StepId, &Step)| {
            let inputs: Vec<u32> = step.needs.iter().flatten().map(|need| need.0).collect();
            json!({
                "step": id.0, "name": step.name, "outcome": step.outcome, "start": step.begin.map(|at| at.as_secs_f64()),
                "seconds": step.took().map(|took| took.as_secs_f64()), "inputs": inputs, "phases": spans(&step.phases),
            })
        };
        let told = self.steps.iter().filter(|(_, step)| !step.outcome.is_empty() || !step.phases.is_empty());
        json!({
            "seconds": self.total.as_secs_f64(),
            "criticalPath": self.critical_path().iter().map(|id| id.0).collect::<Vec<u32>>(),
            "steps": told.map(step).collect::<Vec<Value>>(),
            "phases": spans(&self.phases),
        })
    }
}

impl Span {
    fn end(&self) -> Duration {
        self.begin + self.took
    }
}

impl Step {
    fn took(&self) -> Option<Duration> {
        Some(self.end?.saturating_sub(self.begin?))
    }

    /// The time when it started, or of its first phase.
    fn begins(&self) -> Duration {
        self.begin.or_else(|| self.phases.iter().map(|span| span.begin).min()).unwrap_or_default()
    }
}

/// Phases in the order of their start, summed up by name.
fn sums(spans: &[Span]) -> String {
    let mut spans: Vec<&Span> = spans.iter().collect();
    spans.sort_by_key(|span| span.begin);
    let mut sums: Vec<(&str, Duration)> = Vec::new();
    for span in spans {
        match sums.iter_mut().find(|(name, _)| *name == span.name) {
            Some((_, sum)) => *sum += span.took,
            None => sums.push((span.name, span.took)),
        }
    }
    sums.iter().map(|(name, sum)| format!("{name} {}", seconds(*sum))).collect::<Vec<_>>().join(", ")
}

fn seconds(time: Duration) -> String {
    format!("{:.3}s", time.as_secs_f64())
}

#[cfg(test)]
mod tests;
