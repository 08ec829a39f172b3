//! The logical line: what stands between two instructions of a Dockerfile, joined, cut into words, with its place.

use std::ops::Range;

/// A place in the Dockerfile: bytes, and the lines they stand on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// Byte offsets in the file as it was read.
    pub bytes: Range<usize>,
    /// Lines of the first and last byte, counted from 1.
    pub lines: (u32, u32),
}

/// One logical line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The instruction's name in upper case.
    pub name: String,
    /// The name as it is written, for casing checks.
    pub written: String,
    /// From the name to the end of the line, here-documents included.
    pub span: Span,
    /// The place of the name alone.
    pub name_span: Span,
    /// `--name` and `--name=value`, in order, before the arguments.
    pub flags: Vec<Flag>,
    /// True if the arguments are a JSON list of strings.
    pub json: bool,
    /// Words; or the one text of a shell form; or for ENV and LABEL key, value, separator in turn (quotes kept).
    pub args: Vec<Word>,
    /// Everything after the name, joined, flags included: for history and ONBUILD.
    pub rest: String,
    /// In the order in which they begin.
    pub heredocs: Vec<Heredoc>,
    /// The comments since the line before, without `#`; an empty comment drops those above it.
    pub comments: Vec<String>,
    /// The instruction behind ONBUILD.
    pub trigger: Option<Box<Line>>,
}

/// `--name=value` as it came, quotes and escapes resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Without the dashes.
    pub name: String,
    /// The text behind the first `=`.
    pub value: Option<String>,
    /// The place of the whole flag.
    pub span: Span,
}

/// A word with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// As it is meant after joining lines; quotes are kept where the instruction expands later.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// `<<EOF`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter without quotes.
    pub name: String,
    /// The body.
    pub content: String,
    /// True if variables are expanded in it (the delimiter was not quoted).
    pub expand: bool,
    /// `<<-`: leading tabs are stripped.
    pub chomp: bool,
    /// The file descriptor before `<<`, 0 by default.
    pub fd: u32,
}

/// The directives at the top of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// `# syntax=`.
    pub syntax: Option<Word>,
    /// `# escape=`.
    pub escape: Option<Word>,
    /// `# check=`.
    pub check: Option<Word>,
}

/// A Dockerfile, cut into lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The directives.
    pub directives: Directives,
    /// `\` or a backtick.
    pub escape: char,
    /// The instructions, in order.
    pub lines: Vec<Line>,
    /// Instructions that have empty lines between their continuations.
    pub empty_continuations: Vec<Span>,
}
