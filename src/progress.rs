//! Views of the stream of events. Each view is one row and one file.

pub mod log;
mod plain;
mod rawjson;
pub mod report;
pub mod timings;
mod tty;

use base::error::{Error, Result};
use solver::{Event, Observer};
use std::sync::Arc;
use std::time::SystemTime;

/// A view.
pub struct Row {
    /// The value of `--progress`.
    pub name: &'static str,
    /// The description for the user.
    pub help: &'static str,
    make: fn(Screen) -> Arc<dyn Observer>,
}

/// The properties of the output that a view needs.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// True if standard error is a terminal that can move its cursor.
    pub terminal: bool,
    /// True if colours may be used.
    pub color: bool,
}

/// All views.
pub const VIEWS: &[Row] = &[
    Row {
        name: "auto",
        help: "tty on a terminal, plain elsewhere",
        make: |screen| if screen.terminal { tty::view(screen) } else { plain::view() },
    },
    Row { name: "tty", help: "a live view with bars and the tail of what runs", make: tty::view },
    Row { name: "plain", help: "a line for everything that happens", make: |_| plain::view() },
    Row { name: "quiet", help: "nothing but errors", make: |_| Arc::new(Nothing) },
    Row { name: "none", help: "the same as quiet", make: |_| Arc::new(Nothing) },
    Row { name: "rawjson", help: "a JSON object a line, as docker buildx writes it", make: |_| rawjson::view() },
];

/// The rows as text for `kiln build --help`.
pub fn help() -> String {
    VIEWS.iter().map(|row| format!("  {:<9}{}\n", row.name, row.help)).collect()
}

/// The view with a name.
pub fn view(name: &str, screen: Screen) -> Result<Arc<dyn Observer>> {
    let row = VIEWS.iter().find(|row| row.name == name);
    let row = row.ok_or_else(|| Error::unknown("progress view", name, VIEWS.iter().map(|row| row.name)))?;
    Ok((row.make)(screen))
}

struct Nothing;

impl Observer for Nothing {
    fn event(&self, _: SystemTime, _: &Event) {}
}

/// Passes events to several observers.
pub struct All(pub Vec<Arc<dyn Observer>>);

impl Observer for All {
    fn event(&self, at: SystemTime, event: &Event) {
        self.0.iter().for_each(|observer| observer.event(at, event));
    }

    fn wants_phases(&self) -> bool {
        self.0.iter().any(|observer| observer.wants_phases())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_unique_and_documented_and_typos_are_suggested() {
        let screen = Screen { terminal: false, color: false };
        for row in VIEWS {
            assert_eq!(VIEWS.iter().filter(|other| other.name == row.name).count(), 1);
            assert!(!row.help.is_empty() && view(row.name, screen).is_ok());
        }
        let error = view("plian", screen).err().map(|error| error.hints().join(""));
        assert_eq!(error.as_deref(), Some("did you mean `plain`?"));
    }
}
