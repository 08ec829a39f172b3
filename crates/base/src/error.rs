//! The one error of the machine: its kind (which decides the exit code), what went wrong, why, and the way out.

use crate::words::closest;
use rustix::io::Errno;
use std::fmt;
use std::path::Path;

/// Short for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of thing went wrong. Documented in `kiln --help` with its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The command line: exit code 2.
    Usage,
    /// The Dockerfile or what it refers to in the context: exit code 1.
    Dockerfile,
    /// A RUN that ended with an error: exit code 1.
    Step,
    /// A base image or registry: exit code 1.
    Source,
    /// Writing the result: exit code 1.
    Export,
    /// The store is damaged: exit code 3.
    Store,
    /// What a cache promised is not there or not what it promised: the build goes on without it. Exit code 1 if it never
    /// comes to an end that way.
    Lost,
    /// A file of a context is not what it was when the build looked at it: the build looks again. Exit code 1 if that never
    /// comes to an end.
    Changed,
    /// The system refuses something that kiln needs, room on the disk too: exit code 4.
    System,
    /// A step that `--fail-on-miss` names was not cached: exit code 5.
    Missed,
    /// Ctrl-C or SIGTERM: exit code 130.
    Interrupted,
}

impl Kind {
    /// The exit code of a kiln that ends with this kind of error.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Dockerfile | Kind::Step | Kind::Source | Kind::Export | Kind::Lost | Kind::Changed => 1,
            Kind::Usage => 2,
            Kind::Store => 3,
            Kind::System => 4,
            Kind::Missed => 5,
            Kind::Interrupted => 130,
        }
    }
}

/// An error for people. Messages begin in lower case and have no full stop; names stand in backticks.
#[derive(Clone, Debug)]
pub struct Error(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    kind: Kind,
    message: String,
    causes: Vec<String>,
    hints: Vec<String>,
    report: Option<String>,
    changed: Option<Box<[u8]>>,
}

impl Error {
    /// An error of a kind, with what went wrong.
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        let (causes, hints) = (Vec::new(), Vec::new());
        Error(Box::new(Parts { kind, message: message.into(), causes, hints, report: None, changed: None }))
    }

    /// A file or directory of a context, by its path there, is not what it was when it was looked at.
    pub fn changed(path: &[u8]) -> Error {
        let path = if path.is_empty() { b"." } else { path };
        let shown: String = String::from_utf8_lossy(path).chars().flat_map(char::escape_debug).collect();
        let mut error = Error::new(Kind::Changed, format!("`{shown}` changed while it was copied"));
        error.0.changed = Some(path.into());
        error.hint("something writes to the build context: wait until it has ended, or exclude it by .dockerignore")
    }

    /// A word of the command line that means nothing: with the one that was likely meant, or all there are.
    pub fn unknown<'a>(what: &str, word: &str, known: impl IntoIterator<Item = &'a str>) -> Error {
        let known: Vec<&str> = known.into_iter().collect();
        let error = Error::new(Kind::Usage, format!("unknown {what} `{word}`"));
        match closest(word, known.iter().copied()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!("known are {}", known.join(", "))),
        }
    }

    /// Adds why it happened.
    pub fn because(mut self, cause: impl fmt::Display) -> Error {
        self.0.causes.push(cause.to_string());
        self
    }

    /// Adds the way out.
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hints.push(hint.into());
        self
    }

    /// Puts what was being done before the message: `what: message`.
    pub fn context(mut self, what: impl fmt::Display) -> Error {
        self.0.message = format!("{what}: {}", self.0.message);
        self
    }

    /// Adds a finished picture of the place (file, line, caret) that is printed instead of the message.
    pub fn report(mut self, report: String) -> Error {
        self.0.report = Some(report);
        self
    }

    /// Says what was being done when the system refused something: an error of reading or writing files belongs to what
    /// the files are for. Other errors stay what they are.
    pub fn within(mut self, kind: Kind) -> Error {
        if self.0.kind == Kind::System {
            self.0.kind = kind;
        }
        self
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        match self.0.kind {
            // Whatever could not be written is missing, not damaged.
            Kind::Store if self.is_out_of_room() => Kind::System,
            kind => kind,
        }
    }

    /// Whether it came of a disk, or a quota, that is full.
    pub fn is_out_of_room(&self) -> bool {
        let full = [Errno::NOSPC, Errno::DQUOT].map(|errno| std::io::Error::from(errno).to_string());
        self.0.causes.iter().any(|cause| full.iter().any(|full| cause.contains(full.as_str())))
    }
    /// The path in its context of what changed.
    pub fn what_changed(&self) -> Option<&[u8]> {
        self.0.changed.as_deref()
    }
    /// What went wrong.
    pub fn message(&self) -> &str {
        &self.0.message
    }
    /// Why, the nearest cause first.
    pub fn causes(&self) -> &[String] {
        &self.0.causes
    }
    /// The ways out.
    pub fn hints(&self) -> &[String] {
        &self.0.hints
    }
    /// The picture of the place, if there is one.
    pub fn picture(&self) -> Option<&str> {
        self.0.report.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        self.0.causes.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl std::error::Error for Error {}

/// Gives an I/O error its path and its place in our own kinds.
pub trait At<T> {
    /// `cannot WHAT PATH: cause`.
    fn at(self, what: &str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T, E: fmt::Display> At<T> for std::result::Result<T, E> {
    fn at(self, what: &str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|cause| {
            Error::new(Kind::System, format!("cannot {what} `{}`", path.as_ref().display())).because(cause)
        })
    }
}
