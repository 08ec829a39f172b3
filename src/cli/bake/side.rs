//! Targets side by side: each is built as soon as those that it links to are.

use super::plan::{Prepared, Target, of_target};
use crate::pipeline::{self, Built};
use crate::progress::{All, report};
use crate::request::{NamedContext, fetch};
use base::error::{At as _, Error, Kind, Result};
use base::outside;
use base::sync::lock;
use layer::Layers;
use sandbox::Stop;
use serde_json::{Map, Value, json};
use solver::{Event, Observer, StepId};
use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::SystemTime;

/// Targets that are built at once. Their steps are bounded by themselves.
const AT_ONCE: usize = 32;

/// The surroundings of all builds.
pub(in crate::cli) struct Bench<'a> {
    pub layers: &'a Layers,
    pub stop: &'a Stop,
    pub observer: &'a Arc<dyn Observer>,
}

/// The events of one target among those of others: its steps have numbers of their own, and its
/// name in theirs.
struct Part {
    target: String,
    next: Arc<AtomicU32>,
    numbers: Mutex<HashMap<u32, u32>>,
    all: Arc<dyn Observer>,
}

impl Part {
    fn number(&self, step: StepId) -> StepId {
        let new = || self.next.fetch_add(1, Ordering::Relaxed);
        StepId(*lock(&self.numbers).entry(step.0).or_insert_with(new))
    }

    /// `[build 2/4] RUN make` of target `app` is `[app build 2/4] RUN make`.
    fn name(&self, name: &str) -> String {
        match name.strip_prefix('[') {
            Some(rest) => format!("[{} {rest}", self.target),
            None => format!("[{}] {name}", self.target),
        }
    }
}

impl Observer for Part {
    fn event(&self, at: SystemTime, event: &Event) {
        let mut event = event.clone();
        match &mut event {
            Event::Begin { step, name } | Event::Cached { step, name } | Event::Waiting { step, name, .. } => {
                *step = self.number(*step);
                *name = self.name(name);
            }
            Event::Missed { step, .. }
            | Event::Output { step, .. }
            | Event::Transfer { step, .. }
            | Event::End { step, .. } => *step = self.number(*step),
            Event::Needs { step, inputs } => {
                *step = self.number(*step);
                for input in inputs {
                    *input = self.number(*input);
                }
            }
            Event::Phase { step, .. } => *step = step.map(|step| self.number(step)),
            Event::Warning { text } => *text = format!("{}: {text}", self.target),
        }
        self.all.event(at, &event);
    }

    fn wants_phases(&self) -> bool {
        self.all.wants_phases()
    }
}

/// Targets that wait, and those that are done.
#[derive(Default)]
struct State {
    waiting: Vec<Target>,
    /// How many targets are being built.
    running: usize,
    done: BTreeMap<String, Built>,
    failed: Option<(String, Error)>,
}

/// Builds all targets. The names and ids of images come back; metadata of all goes into one file.
pub(in crate::cli) fn build(
    prepared: Prepared,
    bench: &Bench<'_>,
    metadata: Option<&Path>,
) -> Result<Vec<(String, String)>> {
    let count = prepared.targets.len();
    let state = Mutex::new(State { waiting: prepared.targets, ..State::default() });
    let (changed, next) = (Condvar::new(), Arc::new(AtomicU32::new(0)));
    std::thread::scope(|scope| {
        for _ in 0..count.min(AT_ONCE) {
            scope.spawn(|| {
                let _told = OnPanic(&state, &changed, bench.stop);
                work(&state, &changed, &next, bench);
            });
        }
    });
    let state = state.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some((name, error)) = state.failed {
        return Err(if count > 1 { of_target(error, &name) } else { error });
    }
    if let Some(path) = metadata {
        let all: Map<String, Value> =
            state.done.iter().map(|(name, built)| (name.clone(), built.metadata.clone())).collect();
        let text = serde_json::to_string_pretty(&Value::Object(all)).unwrap_or_default() + "\n";
        outside::write(path, text.as_bytes()).at("write", path).map_err(|error| error.within(Kind::Export))?;
    }
    Ok(state.done.into_iter().map(|(name, built)| (name, built.id())).collect())
}

/// Ends the other threads when this one panics: they would wait for its target forever.
struct OnPanic<'a>(&'a Mutex<State>, &'a Condvar, &'a Stop);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(self.0).waiting.clear();
            self.2.stop();
            self.1.notify_all();
        }
    }
}

/// Builds targets until there are none that wait.
fn work(state: &Mutex<State>, changed: &Condvar, next: &Arc<AtomicU32>, bench: &Bench<'_>) {
    let mut held = lock(state);
    loop {
        if held.failed.is_some() || held.waiting.is_empty() {
            changed.notify_all();
            return;
        }
        let ready = |target: &Target| target.links.values().all(|link| held.done.contains_key(link));
        let Some(at) = held.waiting.iter().position(ready) else {
            if held.running == 0 {
                let stuck = held.waiting.iter().map(|target| target.name.clone()).collect::<Vec<_>>().join(", ");
                let error = Error::new(Kind::System, format!("BUG: {stuck}: each waits for one that is not built"));
                held.failed = Some((stuck, error));
                continue;
            }
            held = changed.wait(held).unwrap_or_else(std::sync::PoisonError::into_inner);
            continue;
        };
        let mut target = held.waiting.swap_remove(at);
        for (context, link) in &target.links {
            if let Some(built) = held.done.get(link) {
                let images = Arc::clone(&built.images);
                target.request.contexts.insert(context.clone(), NamedContext::Built(images));
            }
        }
        held.running += 1;
        drop(held);
        let built = one(&mut target, next, bench);
        held = lock(state);
        held.running -= 1;
        match built {
            Ok(built) => drop(held.done.insert(target.name, built)),
            Err(error) => {
                // A build that was stopped because of another is not the one that failed.
                let stopped = error.kind() == Kind::Interrupted && held.failed.is_some();
                if !stopped && held.failed.as_ref().is_none_or(|(_, known)| known.kind() == Kind::Interrupted) {
                    held.failed = Some((target.name, error));
                }
                bench.stop.stop();
            }
        }
        changed.notify_all();
    }
}

fn one(target: &mut Target, next: &Arc<AtomicU32>, bench: &Bench<'_>) -> Result<Built> {
    let part = Part {
        target: target.name.clone(),
        next: Arc::clone(next),
        numbers: Mutex::default(),
        all: Arc::clone(bench.observer),
    };
    let report = report::observer(bench.layers.store(), target.dockerfile.clone(), target.request.target.clone());
    let observer: Arc<dyn Observer> = Arc::new(All(vec![Arc::new(part), report]));
    fetch::fetch_context(&mut target.request, bench.layers.store(), bench.stop, &*observer)?;
    for text in std::mem::take(&mut target.request.warnings) {
        observer.event(SystemTime::now(), &Event::Warning { text });
    }
    pipeline::build(&target.request, bench.layers, bench.stop, &observer, None)
}

/// Answers `--call` for each target, one after the other. With JSON all are one object.
pub(super) fn call(prepared: Prepared, bench: &Bench<'_>) -> Result<ExitCode> {
    let json = prepared.call.as_ref().is_some_and(|call| call.format == "json");
    let ignore = prepared.call.as_ref().is_some_and(|call| call.ignore_status);
    let (mut all_well, mut texts, mut objects) = (true, Vec::new(), Map::new());
    for mut target in prepared.targets.into_iter().filter(Target::is_call) {
        fetch::fetch_context(&mut target.request, bench.layers.store(), bench.stop, &**bench.observer)?;
        let answer = pipeline::call(&target.request, bench.layers, bench.stop, bench.observer);
        let (text, well) = answer.map_err(|error| of_target(error, &target.name))?;
        all_well &= well;
        if json {
            let kind = format!("{:?}", target.request.asked.call).to_lowercase();
            let answer: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
            objects.insert(target.name, json!({ "build": target.printed, kind: answer }));
        } else {
            let description = Some(target.description).filter(|text| !text.is_empty()).map(|text| text + "\n");
            texts.push(format!("{}\n{}\n{text}", target.name, description.unwrap_or_default()));
        }
    }
    let text = match json {
        true => serde_json::to_string_pretty(&json!({ "target": objects })).unwrap_or_default() + "\n",
        false => texts.join("\n"),
    };
    let print = |cause| Error::new(Kind::Export, "cannot print the answer").because(cause);
    std::io::stdout().write_all(text.as_bytes()).map_err(print)?;
    Ok(if all_well || ignore { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
