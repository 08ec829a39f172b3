//! Timings in the Trace Event Format, which chrome://tracing and <https://ui.perfetto.dev> open: a
//! JSON object with `traceEvents`, times in microseconds, "X" for an event with a duration, "i" for
//! an instant, "M" for names, and "s"/"f" for the arrow from a step to one that depends on it.
//!
//! Concurrent steps are in different lanes; each lane is a "thread" of the one "process".

use super::{Report, Span};
use serde_json::{Value, json};
use solver::StepId;
use std::collections::BTreeMap;
use std::time::Duration;

const PROCESS: u32 = 1;
/// The lane of the whole build; the lanes of steps follow.
const BUILD: usize = 0;

/// The lane, start and end of each step's box.
type Places = BTreeMap<StepId, (usize, Duration, Duration)>;

/// A box in the picture, with the boxes inside it.
struct Piece<'a> {
    name: String,
    begin: Duration,
    end: Duration,
    category: &'static str,
    /// The step, if the box is a whole step.
    step: Option<StepId>,
    inside: Vec<&'a Span>,
}

pub(super) fn of(report: &Report) -> Value {
    let mut events = vec![
        json!({"ph": "M", "name": "process_name", "pid": PROCESS, "args": {"name": "kiln build"}}),
        lane(BUILD, "build"),
    ];
    events.extend(report.phases.iter().map(|span| complete(span.name, "phase", BUILD, span.begin, span.took)));
    let (mut lanes, mut place): (Vec<Duration>, Places) = Default::default();
    for piece in pieces(report) {
        let free = lanes.iter().position(|until| *until <= piece.begin).unwrap_or(lanes.len());
        if free == lanes.len() {
            lanes.push(Duration::ZERO);
            events.push(lane(free + 1, "steps"));
        }
        lanes[free] = piece.end;
        let took = piece.end.saturating_sub(piece.begin);
        events.push(complete(&piece.name, piece.category, free + 1, piece.begin, took));
        let inside = piece.inside.iter().map(|span| complete(span.name, "phase", free + 1, span.begin, span.took));
        events.extend(inside);
        if let Some(step) = piece.step {
            place.insert(step, (free + 1, piece.begin, piece.end));
        }
    }
    arrows(report, &place, &mut events);
    for step in report.steps.values().filter(|step| step.outcome == "cached" && !step.name.is_empty()) {
        events.push(json!({"ph": "i", "name": format!("cached: {}", step.name), "cat": "cached", "s": "t",
            "pid": PROCESS, "tid": BUILD, "ts": micros(step.begins())}));
    }
    json!({"traceEvents": events, "displayTimeUnit": "ms"})
}

/// All boxes, sorted by start. A phase outside the time of its step is a box of its own.
fn pieces(report: &Report) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    for (id, step) in &report.steps {
        let times = step.begin.zip(step.end);
        let within = |span: &&Span| times.is_some_and(|(begin, end)| span.begin >= begin && span.end() <= end);
        let (inside, outside): (Vec<&Span>, Vec<&Span>) = step.phases.iter().partition(within);
        if let Some((begin, end)) = times {
            pieces.push(Piece { name: step.name.clone(), begin, end, category: "step", step: Some(*id), inside });
        }
        pieces.extend(outside.into_iter().map(|span| Piece {
            name: format!("{}: {}", span.name, step.name),
            begin: span.begin,
            end: span.end(),
            category: "phase",
            step: None,
            inside: Vec::new(),
        }));
    }
    pieces.sort_by_key(|piece| (piece.begin, piece.end));
    pieces
}

fn arrows(report: &Report, place: &Places, events: &mut Vec<Value>) {
    let mut number = 0;
    for (id, (lane, begin, _)) in place {
        for below in report.ran_below(*id) {
            let Some((from, _, end)) = place.get(&below) else { continue };
            number += 1;
            let common = |ph: &str, tid: usize, at: Duration| json!({"ph": ph, "name": "needs", "cat": "needs", "id": number, "pid": PROCESS, "tid": tid, "ts": micros(at)});
            events.push(common("s", *from, *end));
            let mut finish = common("f", *lane, *begin);
            finish["bp"] = json!("e");
            events.push(finish);
        }
    }
}

fn lane(number: usize, name: &str) -> Value {
    json!({"ph": "M", "name": "thread_name", "pid": PROCESS, "tid": number, "args": {"name": name}})
}

fn complete(name: &str, category: &str, lane: usize, begin: Duration, took: Duration) -> Value {
    json!({"ph": "X", "name": name, "cat": category, "pid": PROCESS, "tid": lane, "ts": micros(begin), "dur": micros(took)})
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
