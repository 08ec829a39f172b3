//! JSON lines as `docker buildx build --progress=rawjson` writes them: BuildKit's `SolveStatus`.

use base::clock::rfc3339;
use base::digest::Digest;
use base::sync::lock;
use base64::Engine as _;
use serde_json::{Value, json};
use solver::{Event, Observer, Outcome, StepId, Stream};
use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) fn view() -> Arc<dyn Observer> {
    Arc::new(RawJson::default())
}

#[derive(Default)]
struct RawJson {
    began: Mutex<HashMap<StepId, (String, String)>>,
}

/// A time in RFC 3339 with nanoseconds.
fn time(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let whole = rfc3339(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    format!("{}.{:09}Z", whole.trim_end_matches('Z'), since.subsec_nanos())
}

fn digest(step: StepId) -> String {
    Digest::of(format!("step {}", step.0).as_bytes()).to_string()
}

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

impl RawJson {
    fn line(&self, at: SystemTime, event: &Event) -> Option<Value> {
        let mut began = lock(&self.began);
        let now = time(at);
        Some(match event {
            Event::Begin { step, name } => {
                began.insert(*step, (name.clone(), now.clone()));
                json!({"vertexes": [{"digest": digest(*step), "name": name, "started": now}]})
            }
            Event::Cached { step, name } => {
                json!({"vertexes": [{"digest": digest(*step), "name": name, "started": now, "completed": now, "cached": true}]})
            }
            Event::End { step, outcome, .. } => {
                let (name, started) = began.get(step).cloned().unwrap_or_default();
                let mut vertex = json!({"digest": digest(*step), "name": name, "started": started, "completed": now});
                match outcome {
                    Outcome::Done => {}
                    Outcome::Failed(message) => vertex["error"] = json!(message),
                    Outcome::Stopped => vertex["error"] = json!("context canceled"),
                }
                json!({"vertexes": [vertex]})
            }
            Event::Output { step, stream, bytes } => {
                let stream = if *stream == Stream::Out { 1 } else { 2 };
                json!({"logs": [{"vertex": digest(*step), "stream": stream, "data": base64(bytes), "timestamp": now}]})
            }
            Event::Transfer { step, what, done, total } => {
                let mut status =
                    json!({"id": what, "vertex": digest(*step), "current": done, "timestamp": now, "started": now});
                if let Some(total) = total {
                    status["total"] = json!(total);
                }
                if *total == Some(*done) {
                    status["completed"] = status["timestamp"].clone();
                }
                json!({"statuses": [status]})
            }
            Event::Missed { step, miss } => {
                let data = base64(format!("not cached: {}\n", miss.text).as_bytes());
                json!({"logs": [{"vertex": digest(*step), "stream": 2, "data": data, "timestamp": now}]})
            }
            Event::Warning { text } => json!({"warnings": [{"level": 1, "short": base64(text.as_bytes())}]}),
            Event::Waiting { .. } | Event::Needs { .. } | Event::Phase { .. } => return None,
        })
    }
}

impl Observer for RawJson {
    fn event(&self, at: SystemTime, event: &Event) {
        if let Some(line) = self.line(at, event) {
            let _ = writeln!(std::io::stderr().lock(), "{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_solve_statuses() {
        let view = RawJson::default();
        let at = UNIX_EPOCH + std::time::Duration::from_nanos(1_500_000_001);
        let line = view.line(at, &Event::Begin { step: StepId(1), name: "x".to_owned() }).expect("a line");
        assert_eq!(line["vertexes"][0]["started"], "1970-01-01T00:00:01.500000001Z");
        let bytes = b"ab\n".to_vec();
        let line = view.line(at, &Event::Output { step: StepId(1), stream: Stream::Err, bytes }).expect("a line");
        assert_eq!((&line["logs"][0]["data"], &line["logs"][0]["stream"]), (&json!("YWIK"), &json!(2)));
    }
}
