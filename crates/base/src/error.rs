//! The error type of all crates: its kind (which decides the exit code), the message, the causes
//! and the hints.

use crate::words::closest;
use rustix::io::Errno;
use std::any::Any;
use std::fmt;
use std::io;
use std::path::Path;

/// A result with this error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of an error. `kiln --help` documents the kinds with their exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A mistake on the command line: exit code 2.
    Usage,
    /// A mistake in the Dockerfile, or in what it refers to in the context: exit code 1.
    Dockerfile,
    /// A RUN failed: exit code 1.
    Step,
    /// A base image or a registry failed: exit code 1.
    Source,
    /// Writing the result failed: exit code 1.
    Export,
    /// The store is damaged: exit code 3.
    Store,
    /// A cache lacks what it promised, or has something else: the build goes on without it. Exit
    /// code 1 if the build can't finish that way.
    Lost,
    /// A file of a context changed after the build had read it: the build reads it again. Exit code
    /// 1 if the changes do not end.
    Changed,
    /// The system refuses something that kiln needs, disk space included: exit code 4.
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

/// An error for people. Messages begin in lower case and have no full stop. Names are in backticks.
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
    passing: Option<Passing>,
    /// A disk, or a quota, is full.
    full: bool,
}

/// Why the same may go well another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passing {
    /// Nobody answers.
    Unreachable,
    /// A connection breaks, or a server has trouble.
    Transient,
}

impl Error {
    /// Makes an error of a kind with a message.
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error(Box::new(Parts {
            kind,
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
            report: None,
            changed: None,
            passing: None,
            full: false,
        }))
    }

    /// Makes the error for a file or directory of a context, by its path there, that changed after
    /// the build had read it.
    pub fn changed(path: &[u8]) -> Error {
        let path = if path.is_empty() { b"." } else { path };
        let shown: String = String::from_utf8_lossy(path).chars().flat_map(char::escape_debug).collect();
        let mut error = Error::new(Kind::Changed, format!("`{shown}` changed while it was copied"));
        error.0.changed = Some(path.into());
        error.hint("something writes to the build context: wait until it has ended, or exclude it by .dockerignore")
    }

    /// Makes the error for an unknown word of the command line. The hint names the likely one, or
    /// all known ones.
    pub fn unknown<'a>(what: &str, word: &str, known: impl IntoIterator<Item = &'a str>) -> Error {
        let known: Vec<&str> = known.into_iter().collect();
        let error = Error::new(Kind::Usage, format!("unknown {what} `{word}`"));
        match closest(word, known.iter().copied()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!("known are {}", known.join(", "))),
        }
    }

    /// Adds a cause.
    pub fn because(mut self, cause: impl fmt::Display + 'static) -> Error {
        self.0.full |= is_full(&cause);
        self.0.causes.push(cause.to_string());
        self
    }

    /// Adds a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hints.push(hint.into());
        self
    }

    /// Notes that nobody answered.
    pub fn unreachable(mut self) -> Error {
        self.0.passing = Some(Passing::Unreachable);
        self
    }

    /// Notes that a connection broke, or that a server had trouble.
    pub fn transient(mut self) -> Error {
        self.0.passing.get_or_insert(Passing::Transient);
        self
    }

    /// Prefixes the message with the action or object: `what: message`.
    pub fn context(mut self, what: impl fmt::Display) -> Error {
        self.0.message = format!("{what}: {}", self.0.message);
        self
    }

    /// Adds a formatted excerpt (file, line, caret), which is printed instead of the message.
    pub fn report(mut self, report: String) -> Error {
        self.0.report = Some(report);
        self
    }

    /// Replaces the kind `System`, because an I/O error belongs to the purpose of the file. Other
    /// kinds stay.
    pub fn within(mut self, kind: Kind) -> Error {
        if self.0.kind == Kind::System {
            self.0.kind = kind;
        }
        self
    }

    /// The kind. A store error because of a full disk is `System`.
    pub fn kind(&self) -> Kind {
        match self.0.kind {
            // A file that could not be written is missing, not damaged.
            Kind::Store if self.is_out_of_room() => Kind::System,
            kind => kind,
        }
    }

    /// True if the cause is a full disk or an exceeded quota.
    pub fn is_out_of_room(&self) -> bool {
        self.0.full
    }
    /// True if no server answered.
    pub fn is_unreachable(&self) -> bool {
        self.0.passing == Some(Passing::Unreachable)
    }
    /// True if a retry may succeed: no server answered, a connection broke, or the server reported a fault of its own.
    pub fn is_transient(&self) -> bool {
        self.0.passing.is_some()
    }
    /// The path of the file that changed, in its context.
    pub fn what_changed(&self) -> Option<&[u8]> {
        self.0.changed.as_deref()
    }
    /// The message.
    pub fn message(&self) -> &str {
        &self.0.message
    }
    /// The causes, the nearest first.
    pub fn causes(&self) -> &[String] {
        &self.0.causes
    }
    /// The hints.
    pub fn hints(&self) -> &[String] {
        &self.0.hints
    }
    /// The formatted excerpt, if there is one.
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

/// True if a cause is, or wraps, the system's error for a full disk or quota.
fn is_full(cause: &dyn Any) -> bool {
    if let Some(errno) = cause.downcast_ref::<Errno>() {
        return matches!(*errno, Errno::NOSPC | Errno::DQUOT);
    }
    let error = cause.downcast_ref::<Error>();
    error.is_some_and(Error::is_out_of_room) || cause.downcast_ref::<io::Error>().is_some_and(io_is_full)
}

fn io_is_full(cause: &io::Error) -> bool {
    let inner = cause.get_ref();
    matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        || inner.and_then(|inner| inner.downcast_ref::<io::Error>()).is_some_and(io_is_full)
        || inner.and_then(|inner| inner.downcast_ref::<Error>()).is_some_and(Error::is_out_of_room)
}

/// Turns an I/O error into an [`Error`] with the path.
pub trait At<T> {
    /// `cannot WHAT PATH: cause`.
    fn at(self, what: &str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T, E: fmt::Display + 'static> At<T> for std::result::Result<T, E> {
    fn at(self, what: &str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|cause| {
            Error::new(Kind::System, format!("cannot {what} `{}`", path.as_ref().display())).because(cause)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_known_by_its_number_and_not_by_words() {
        let new = || Error::new(Kind::Store, "cannot write");
        let full = || io::Error::from(Errno::NOSPC);
        assert!(new().because(full()).is_out_of_room() && new().because(Errno::DQUOT).is_out_of_room());
        assert!(new().because(io::Error::other(full())).is_out_of_room());
        assert!(new().because(io::Error::other(new().because(full()))).is_out_of_room());
        assert!(new().because(new().because(full())).is_out_of_room());
        assert_eq!(new().because(full()).context("x").kind(), Kind::System);
        assert!(!new().because(full().to_string()).is_out_of_room() && !new().because(Errno::IO).is_out_of_room());
        let written: Result<()> = Err(full()).at("write", "x");
        assert!(written.is_err_and(|error| error.is_out_of_room()));
    }

    #[test]
    fn what_passes_stays_known_when_an_error_gets_more_words() {
        let new = || Error::new(Kind::Source, "cannot reach r.io");
        assert!(!new().is_transient() && !new().is_unreachable());
        let error = new().unreachable().context("x").because("y").hint("z").transient();
        assert!(error.is_unreachable() && error.is_transient());
        assert!(new().transient().is_transient() && !new().transient().is_unreachable());
    }
}
