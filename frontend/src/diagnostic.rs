//! A fault of a Dockerfile, its place, and the text to write instead; and its picture in the look of rustc.

use crate::line::Span;
use annotate_snippets::{AnnotationKind, Group, Level, Patch, Renderer, Snippet};
use std::ops::Range;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// There is no plan.
    Error,
    /// There is one, but it may not do what is meant.
    Warning,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// A stable name: for warnings that of BuildKit's rule.
    pub code: &'static str,
    /// The fault, lower case, no full stop.
    pub message: String,
    /// Where.
    pub span: Option<Span>,
    /// The text at the caret.
    pub label: Option<String>,
    /// Background.
    pub notes: Vec<String>,
    /// The way out.
    pub help: Option<String>,
    /// The text to write instead.
    pub fix: Option<Fix>,
}

/// A rewrite of a part of the Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// The place that is replaced.
    pub span: Span,
    /// The text that replaces it.
    pub text: String,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(code: &'static str, message: impl Into<String>, span: Option<Span>) -> Diagnostic {
        let message = message.into();
        let severity = Severity::Error;
        Diagnostic { severity, code, message, span, label: None, notes: Vec::new(), help: None, fix: None }
    }

    /// A warning at a place.
    pub fn warning(code: &'static str, message: impl Into<String>, span: Option<Span>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, message, span) }
    }

    /// Sets the text at the caret.
    pub fn label(mut self, text: impl Into<String>) -> Diagnostic {
        self.label = Some(text.into());
        self
    }

    /// Adds background.
    pub fn note(mut self, text: impl Into<String>) -> Diagnostic {
        self.notes.push(text.into());
        self
    }

    /// Sets the way out.
    pub fn help(mut self, text: impl Into<String>) -> Diagnostic {
        self.help = Some(text.into());
        self
    }

    /// Sets the rewrite, which is shown under the way out.
    pub fn fix(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.fix = Some(Fix { span, text: text.into() });
        self
    }

    /// The finding as text: code, file, line, caret, notes and help.
    pub fn render(&self, file: &str, source: &[u8], color: bool) -> String {
        let (text, map) = readable(source);
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let message = printable(&self.message);
        let mut group = Group::with_title(level.primary_title(message).id(self.code));
        if let Some(span) = &self.span {
            let place = visible(&text, &map, &span.bytes);
            let mut annotation = AnnotationKind::Primary.span(place);
            if let Some(label) = &self.label {
                annotation = annotation.label(printable(label));
            }
            group = group.element(Snippet::source(&text).path(file).annotation(annotation));
        }
        for note in &self.notes {
            group = group.element(Level::NOTE.message(printable(note)));
        }
        let mut groups = Vec::new();
        match (&self.help, &self.fix) {
            (Some(help), None) => group = group.element(Level::HELP.message(printable(help))),
            (help, Some(fix)) => {
                let title = help.as_deref().unwrap_or("write this instead");
                let patch = Patch::new(visible(&text, &map, &fix.span.bytes), printable(&fix.text));
                groups.push(
                    Level::HELP
                        .secondary_title(printable(title))
                        .element(Snippet::source(&text).path(file).patch(patch)),
                );
            }
            (None, None) => {}
        }
        groups.insert(0, group);
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&groups)
    }
}

/// A text that a terminal may be given: control characters, also those of the second block, which some obey,
/// are shown as U+FFFD.
fn printable(text: &str) -> String {
    let safe = |c: char| if c.is_control() && !matches!(c, '\n' | '\t') { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().map(safe).collect()
}

/// The source as text that a terminal may be given, and for every byte of the source its place there.
fn readable(source: &[u8]) -> (String, Vec<usize>) {
    let mut text = String::with_capacity(source.len());
    let mut map = Vec::with_capacity(source.len() + 1);
    for chunk in source.utf8_chunks() {
        for c in chunk.valid().chars() {
            map.extend(std::iter::repeat_n(text.len(), c.len_utf8()));
            match c {
                '\n' | '\t' | '\r' => text.push(c),
                c if c.is_control() => text.push(char::REPLACEMENT_CHARACTER),
                c => text.push(c),
            }
        }
        map.extend(chunk.invalid().iter().map(|_| text.len()));
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    map.push(text.len());
    (text, map)
}

/// The part of a place that is drawn: its first line, within the text, at character boundaries.
fn visible(text: &str, map: &[usize], bytes: &Range<usize>) -> Range<usize> {
    let place = |at: usize| map.get(at).copied().unwrap_or(text.len());
    let start = (0..=place(bytes.start)).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let end = place(bytes.end).max(start);
    let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let end = (start..=end.min(line_end)).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(start);
    let trimmed = text[start..end].trim_end().len();
    start..start + trimmed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_points_at_the_place_even_after_bytes_that_are_no_text() {
        let source = b"FROM scratch\nRUN \xff\xfe FORM\nX\n";
        let span = Span { bytes: 20..24, lines: (2, 2) };
        let picture =
            Diagnostic::error("x", "wrong", Some(span)).label("here").help("right").render("Dockerfile", source, false);
        assert!(picture.contains("error[x]: wrong") && picture.contains("Dockerfile:2:8"), "{picture}");
        assert!(picture.contains("^^^^ here") && picture.contains("help: right"), "{picture}");
        Diagnostic::error("x", "wrong", Some(Span { bytes: 90..99, lines: (9, 9) })).render("Dockerfile", source, true);
    }
}
