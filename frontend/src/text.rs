//! Bytes to logical lines: directives, comments, continuations, here-documents. Knows the syntax of every
//! instruction but not what it means. After an error it goes on with the next line, so all are found at once.
//!
//! The rules are those of BuildKit's `frontend/dockerfile/parser`.

mod directive;
mod heredoc;
mod joined;
mod print;
mod split;

use crate::diagnostic::Diagnostic;
use crate::line::{Directives, Document, Line};
use directive::Reader;
use joined::{File, Joined};
use std::ops::Range;

/// The names of all instructions.
pub fn instruction_names() -> impl Iterator<Item = &'static str> {
    split::SYNTAX.iter().map(|(name, _)| *name)
}

/// Further comments above an instruction are dropped.
const MOST_COMMENTS: usize = 1000;

/// More errors are not looked for.
const MOST_ERRORS: usize = 100;

/// Cuts a Dockerfile into lines: what could be read, and everything that is wrong, in the order of the file.
pub fn read(source: &[u8]) -> (Document, Vec<Diagnostic>) {
    if let Some(frontend) = crate::syntax::foreign(source) {
        let message = format!("this file is for the frontend {frontend:?}, which is not fetched");
        let error = Diagnostic::error("foreign-syntax", message, None);
        let document = Document {
            directives: Directives::default(),
            escape: '\\',
            lines: Vec::new(),
            empty_continuations: Vec::new(),
        };
        return (document, vec![error.help("kiln reads Dockerfiles; `docker buildx build` runs other frontends")]);
    }
    let file = File::new(source);
    let mut parser = Parser {
        file: &file,
        next: 0,
        reader: Reader::default(),
        errors: Vec::new(),
        empty: Vec::new(),
        comments: Vec::new(),
    };
    let mut lines = Vec::new();
    while parser.errors.len() < MOST_ERRORS
        && let Some(line) = parser.line()
    {
        lines.extend(line);
    }
    if lines.is_empty() && parser.errors.is_empty() {
        let empty = source.trim_ascii().is_empty();
        let message = if empty { "the Dockerfile cannot be empty" } else { "file with no instructions" };
        let error = Diagnostic::error("no-instructions", message, None);
        parser.errors.push(error.help("a Dockerfile begins with `FROM image`"));
    }
    let Parser { reader: Reader { directives, escape, .. }, errors, empty: empty_continuations, .. } = parser;
    (Document { directives, escape, lines, empty_continuations }, errors)
}

/// Cuts a Dockerfile into lines that are all well formed.
pub fn parse(source: &[u8]) -> Result<Document, Vec<Diagnostic>> {
    let (document, errors) = read(source);
    if errors.is_empty() { Ok(document) } else { Err(errors) }
}

/// Parses the text of an instruction that stands in an image's config (ONBUILD).
pub fn parse_trigger(text: &str) -> Result<Line, Vec<Diagnostic>> {
    let mut document = parse(text.as_bytes())?;
    match (document.lines.pop(), document.lines.is_empty()) {
        (Some(line), true) => Ok(line),
        _ => Err(vec![Diagnostic::error("onbuild", "an ONBUILD trigger must be a single instruction", None)]),
    }
}

/// The here-document that a word of the form `<<NAME` begins.
pub(crate) fn heredoc_word(word: &str) -> Option<crate::line::Heredoc> {
    heredoc::parse(word)
}

/// A body without the tabs that begin its lines (`<<-`).
pub(crate) fn chomped(body: &str) -> String {
    body.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
}

struct Parser<'a> {
    file: &'a File<'a>,
    next: usize,
    reader: Reader,
    errors: Vec<Diagnostic>,
    empty: Vec<crate::line::Span>,
    comments: Vec<String>,
}

impl Parser<'_> {
    /// The next physical line without its end.
    fn physical(&mut self) -> Option<Range<usize>> {
        let mut line = self.file.line(self.next)?;
        if self.next == 0 && self.file.bytes.starts_with(b"\xef\xbb\xbf") {
            line.start += 3;
        }
        self.next += 1;
        let bytes = &self.file.bytes[line.clone()];
        let ends = bytes.iter().rev().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
        Some(line.start..line.end - ends)
    }

    /// The next logical line: none at the end of the file, `Some(None)` for what is no instruction.
    #[expect(clippy::option_option, reason = "the end of the file and a line without an instruction are two things")]
    fn line(&mut self) -> Option<Option<Line>> {
        let first = self.physical()?;
        let text = left_trimmed(self.file.bytes, first.clone());
        match self.reader.read(self.file, text.clone()) {
            Ok(false) => self.comment(first),
            Ok(true) => {}
            Err(error) => self.errors.push(error),
        }
        let (begin, text) =
            (text.start, if is_comment(&self.file.bytes[text.clone()]) { text.start..text.start } else { text });
        let (kept, mut goes_on) = self.continuation(text);
        if !goes_on && kept.is_empty() {
            return Some(None);
        }
        let mut joined = Joined::default();
        joined.push(self.file, kept.clone());
        let mut end = kept.end;
        let mut empty = false;
        while goes_on {
            let Some(next) = self.physical() else { break };
            let bytes = &self.file.bytes[next.clone()];
            if is_comment(bytes) {
                continue;
            }
            if String::from_utf8_lossy(bytes).trim().is_empty() {
                empty = true;
                continue;
            }
            end = next.end;
            let (kept, more) = self.continuation(next);
            joined.push(self.file, kept);
            goes_on = more;
        }
        if empty {
            self.empty.push(self.file.span(begin..end));
        }
        let split = split::line(self.file, &joined, self.reader.escape);
        let bodies = self.bodies(&joined, begin);
        match (split, bodies) {
            (Ok(mut line), Ok(heredocs)) => {
                line.heredocs = heredocs;
                line.comments = std::mem::take(&mut self.comments);
                let last = self.file.line(self.next.saturating_sub(1)).map_or(end, |line| line.end);
                line.span = self.file.span(begin..trim_end(self.file.bytes, begin, last.max(end)));
                line.span.lines.1 = self.next as u32;
                Some(Some(line))
            }
            (Err(error), _) | (_, Err(error)) => {
                self.errors.push(error);
                Some(None)
            }
        }
    }

    /// Keeps a comment for the instruction below it.
    fn comment(&mut self, line: Range<usize>) {
        let bytes = &self.file.bytes[line];
        if !is_comment(bytes) {
            return;
        }
        // BuildKit takes the first character away, `#` or not.
        let text = String::from_utf8_lossy(bytes.get(1..).unwrap_or_default()).trim().to_owned();
        if text.is_empty() {
            self.comments.clear();
        } else if self.comments.len() < MOST_COMMENTS {
            self.comments.push(text);
        }
    }

    /// Cuts the continuation character and what blanks follow it: one escape character at the end of the line,
    /// not two.
    fn continuation(&self, line: Range<usize>) -> (Range<usize>, bool) {
        let bytes = &self.file.bytes[line.clone()];
        let blanks = bytes.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let text = &bytes[..bytes.len() - blanks];
        let escape = self.reader.escape as u8;
        match text {
            [before @ .., last] if *last == escape && before.last() != Some(&escape) => {
                (line.start..line.start + before.len(), true)
            }
            _ => (line, false),
        }
    }

    /// The bodies of the here-documents that a line begins.
    fn bodies(&mut self, joined: &Joined, begin: usize) -> Result<Vec<crate::line::Heredoc>, Diagnostic> {
        let mut heredocs = heredoc::begun(&joined.text);
        for heredoc in &mut heredocs {
            loop {
                let Some(line) = self.file.line(self.next) else {
                    let span = joined.whole(self.file);
                    debug_assert!(span.bytes.start >= begin);
                    let message = format!("unterminated heredoc: no line holds only `{}`", heredoc.name);
                    return Err(Diagnostic::error("unterminated-heredoc", message, Some(span)));
                };
                self.next += 1;
                let text = String::from_utf8_lossy(&self.file.bytes[line]);
                let bare = text.trim_end_matches(['\r', '\n']);
                let bare = if heredoc.chomp { bare.trim_start_matches('\t') } else { bare };
                if bare == heredoc.name {
                    break;
                }
                heredoc.content.push_str(&text);
            }
        }
        Ok(heredocs)
    }
}

fn left_trimmed(bytes: &[u8], line: Range<usize>) -> Range<usize> {
    let text = String::from_utf8_lossy(&bytes[line.clone()]);
    let cut = text.len() - text.trim_start().len();
    // Only bytes that are text are blank, so the count is the same in the file.
    line.start + cut.min(line.len())..line.end
}

fn trim_end(bytes: &[u8], start: usize, end: usize) -> usize {
    let cut = bytes[start..end].iter().rev().take_while(|byte| byte.is_ascii_whitespace()).count();
    end - cut
}

fn is_comment(line: &[u8]) -> bool {
    String::from_utf8_lossy(line).trim_start().starts_with('#')
}
