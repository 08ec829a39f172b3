//! The event log: one JSON object per line, appended to a file that several builds may share.

use base::outside;
use serde_json::json;
use solver::{Event, Observer, Outcome};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// An observer that logs to a file; `None` if the file cannot be opened.
pub fn observer(path: &Path) -> Option<Arc<dyn Observer>> {
    let file = outside::open(path, File::options().create(true).append(true)).ok()?;
    Some(Arc::new(Log(file)))
}

struct Log(File);

impl Observer for Log {
    fn event(&self, at: SystemTime, event: &Event) {
        let at = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let line = match event {
            Event::Begin { step, name } => json!({"event": "begin", "step": step.0, "name": name}),
            Event::Cached { step, name } => json!({"event": "cached", "step": step.0, "name": name}),
            Event::Missed { step, miss } => {
                json!({"event": "missed", "step": step.0, "cause": miss.cause, "text": miss.text})
            }
            Event::Waiting { step, name, what } => {
                json!({"event": "waiting", "step": step.0, "name": name, "what": what})
            }
            Event::End { step, outcome, took } => {
                let outcome = match outcome {
                    Outcome::Done => "done",
                    Outcome::Failed(_) => "failed",
                    Outcome::Stopped => "stopped",
                };
                json!({"event": "end", "step": step.0, "outcome": outcome, "seconds": took.as_secs_f64()})
            }
            Event::Warning { text } => json!({"event": "warning", "text": text}),
            // Output may contain secrets, which do not belong in a persistent log.
            Event::Output { .. } | Event::Transfer { .. } | Event::Needs { .. } | Event::Phase { .. } => return,
        };
        let mut line = line;
        line["at"] = json!(at);
        line["pid"] = json!(std::process::id());
        // One write per line keeps the lines of several processes apart.
        let _ = (&self.0).write_all(format!("{line}\n").as_bytes());
    }
}
