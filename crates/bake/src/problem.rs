//! Findings about a definition, and their places.

use frontend::diagnostic::Diagnostic;
use std::fmt;
use std::ops::Range;

/// A place in one of the files that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The file's number in `Sources`.
    pub file: usize,
    /// First byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

impl Span {
    /// A place.
    pub fn new(file: usize, bytes: Range<usize>) -> Span {
        Span { file, start: bytes.start, end: bytes.end.max(bytes.start) }
    }

    /// From the beginning of one place to the end of another.
    pub fn to(self, end: Span) -> Span {
        Span { end: end.end.max(self.start), ..self }
    }
}

/// A finding, in buildx's words.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The kind of finding; empty where the detail says all.
    pub summary: String,
    /// The sentence.
    pub detail: String,
    /// The place, where there is one.
    pub span: Option<Span>,
    /// The way out.
    pub help: Option<String>,
}

impl Problem {
    /// A finding at a place.
    pub fn at(span: Span, summary: impl Into<String>, detail: impl Into<String>) -> Problem {
        Problem { summary: summary.into(), detail: detail.into(), span: Some(span), help: None }
    }

    /// A finding that is not about a place in a file.
    pub fn plain(detail: impl Into<String>) -> Problem {
        Problem { summary: String::new(), detail: detail.into(), span: None, help: None }
    }

    /// Sets the place, unless there is one.
    pub fn or_at(mut self, span: Option<Span>) -> Problem {
        self.span = self.span.or(span);
        self
    }

    /// Sets the kind, unless there is one.
    pub fn or_summary(mut self, summary: &str) -> Problem {
        if self.summary.is_empty() {
            self.summary = summary.into();
        }
        self
    }

    /// Sets the way out.
    pub fn help(mut self, text: impl Into<String>) -> Problem {
        self.help = Some(text.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.summary.as_str(), self.detail.as_str()) {
            ("", detail) => out.write_str(detail),
            (summary, "") => out.write_str(summary),
            (summary, detail) => write!(out, "{summary}: {detail}"),
        }
    }
}

impl std::error::Error for Problem {}

/// A file of a definition.
#[derive(Clone, Debug)]
pub struct Source {
    /// The name that messages show.
    pub name: String,
    /// The content.
    pub text: Vec<u8>,
}

/// Draws a finding with the lines of its place.
pub fn render(problem: &Problem, warning: bool, sources: &[Source], color: bool) -> String {
    let source = problem.span.and_then(|span| sources.get(span.file).map(|source| (span, source)));
    let place = source.map(|(span, source)| {
        let line = |at: usize| {
            let before = &source.text[..at.min(source.text.len())];
            u32::try_from(1 + before.iter().filter(|&&byte| byte == b'\n').count()).unwrap_or(u32::MAX)
        };
        let lines = (line(span.start), line(span.end));
        frontend::line::Span { bytes: span.start..span.end, lines }
    });
    let make = if warning { Diagnostic::warning } else { Diagnostic::error };
    let mut diagnostic = make("bake", problem.to_string(), place);
    if let Some(help) = &problem.help {
        diagnostic = diagnostic.help(help);
    }
    let (name, text) = source.map_or(("", &[][..]), |(_, source)| (source.name.as_str(), &source.text[..]));
    diagnostic.render(name, text, color)
}
