//! The problems of a project, each with its place and a hint, and how they are shown in the
//! terminal.

use crate::place::{Place, Sources};
use frontend::diagnostic::{Diagnostic, Severity};
use frontend::line::Span;
use std::cell::RefCell;

/// The kind of a problem. Its stable name is printed in brackets before the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The text is no YAML, or no environment file.
    Syntax,
    /// The file needs more room or time than a project may take.
    Limit,
    /// A file can't be read.
    File,
    /// A variable is missing, or its use has no valid form.
    Interpolation,
    /// A key is not known.
    Key,
    /// A value has the wrong type or form.
    Value,
    /// Two files have values that can't be merged.
    Merge,
    /// `extends` or `include` names nothing usable.
    Extends,
    /// A service, network, volume, secret, config or model is referenced but not defined.
    Reference,
    /// Files, services or values refer to themselves.
    Cycle,
    /// Two settings contradict each other.
    Conflict,
    /// The name of the project is not valid.
    Name,
    /// A key is known, and has no effect.
    Ignored,
    /// A form is outdated.
    Deprecated,
    /// More than one file matches.
    Ambiguous,
}

impl Code {
    /// The name in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Syntax => "compose::syntax",
            Code::Limit => "compose::limit",
            Code::File => "compose::file",
            Code::Interpolation => "compose::interpolation",
            Code::Key => "compose::key",
            Code::Value => "compose::value",
            Code::Merge => "compose::merge",
            Code::Extends => "compose::extends",
            Code::Reference => "compose::reference",
            Code::Cycle => "compose::cycle",
            Code::Conflict => "compose::conflict",
            Code::Name => "compose::name",
            Code::Ignored => "compose::ignored",
            Code::Deprecated => "compose::deprecated",
            Code::Ambiguous => "compose::ambiguous",
        }
    }
}

/// A problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its kind.
    pub code: Code,
    /// The message: lower case, no full stop.
    pub message: String,
    /// Where it is.
    pub place: Option<Place>,
    /// The text at the caret.
    pub label: Option<String>,
    /// A second place and its label.
    pub also: Option<(Place, String)>,
    /// Notes.
    pub notes: Vec<String>,
    /// The hint.
    pub help: Option<String>,
}

impl Problem {
    /// A problem without a place.
    pub fn new(code: Code, message: impl Into<String>) -> Problem {
        Problem { code, message: message.into(), place: None, label: None, also: None, notes: Vec::new(), help: None }
    }

    /// A problem at a place.
    pub fn at(place: Place, code: Code, message: impl Into<String>) -> Problem {
        Problem { place: Some(place), ..Problem::new(code, message) }
    }

    /// Sets the text at the caret.
    pub fn label(mut self, text: impl Into<String>) -> Problem {
        self.label = Some(text.into());
        self
    }

    /// Adds a second place, which is printed as a note with file, line and column.
    pub fn also(mut self, place: Place, text: impl Into<String>) -> Problem {
        self.also = Some((place, text.into()));
        self
    }

    /// Adds a note.
    pub fn note(mut self, text: impl Into<String>) -> Problem {
        self.notes.push(text.into());
        self
    }

    /// Sets the hint.
    pub fn help(mut self, text: impl Into<String>) -> Problem {
        self.help = Some(text.into());
        self
    }

    /// Formats the problem: message, file, line, caret, notes and help.
    pub fn render(&self, sources: &Sources, severity: Severity, color: bool) -> String {
        let source = self.place.and_then(|place| Some((place, sources.get(place.file)?)));
        let mut diagnostic = Diagnostic::error(self.code.as_str(), self.message.clone(), None);
        diagnostic.severity = severity;
        diagnostic.label = self.label.clone();
        diagnostic.notes = self.notes.clone();
        if let Some((place, text)) = &self.also
            && let Some((name, line, column)) = sources.position(*place)
        {
            diagnostic.notes.push(format!("{text}: {name}:{line}:{column}"));
        }
        diagnostic.help = self.help.clone();
        let Some((place, source)) = source else {
            return diagnostic.render("", b"", color);
        };
        let line = sources.position(place).map_or(1, |(_, line, _)| line);
        diagnostic.span = Some(Span { bytes: place.start as usize..place.end as usize, lines: (line, line) });
        diagnostic.render(&source.name, source.text.as_bytes(), color)
    }
}

/// The error of a project that can't be loaded: at least one problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The problems, in the order of the files.
    pub problems: Vec<Problem>,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            write!(f, "{}{}", if at > 0 { "\n" } else { "" }, problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Error {
        Error { problems: vec![problem] }
    }
}

/// The result of a pass.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The files of a project and the warnings about them.
#[derive(Debug, Default)]
pub struct Report {
    /// All files that were read.
    pub sources: Sources,
    warnings: RefCell<Vec<Problem>>,
}

impl Report {
    /// Adds a warning, unless one with the same message exists.
    pub fn warn(&self, problem: Problem) {
        let mut warnings = self.warnings.borrow_mut();
        if !warnings.iter().any(|known| known.message == problem.message) {
            warnings.push(problem);
        }
    }

    /// The warnings so far.
    pub fn warnings(&self) -> Vec<Problem> {
        self.warnings.borrow().clone()
    }
}
