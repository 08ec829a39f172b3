//! Why a template could not be parsed or executed.

use std::fmt;

/// An error in a template, with its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The line of the template, from 1.
    pub line: usize,
    /// The error message, as Go words it.
    pub message: String,
}

impl Error {
    pub(crate) fn new(line: usize, message: impl Into<String>) -> Error {
        Error { line, message: message.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "template: :{}: {}", self.line, self.message)
    }
}

impl std::error::Error for Error {}
