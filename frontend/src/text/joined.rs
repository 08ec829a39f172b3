//! Text put together from pieces of the file, with the place of every byte: the source map.

use crate::line::Span;
use std::ops::Range;

/// The file and where its lines begin.
pub(super) struct File<'a> {
    pub(super) bytes: &'a [u8],
    starts: Vec<usize>,
}

impl<'a> File<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> File<'a> {
        let after = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
        File { bytes, starts: std::iter::once(0).chain(after).collect() }
    }

    /// The lines with their ends (`\n` included), each with its number from 1.
    pub(super) fn line(&self, index: usize) -> Option<Range<usize>> {
        let start = *self.starts.get(index).filter(|start| **start < self.bytes.len())?;
        Some(start..self.starts.get(index + 1).copied().unwrap_or(self.bytes.len()))
    }

    /// A place from byte offsets.
    pub(super) fn span(&self, bytes: Range<usize>) -> Span {
        let line = |at: usize| self.starts.partition_point(|start| *start <= at).max(1) as u32;
        let last = bytes.end.saturating_sub(1).max(bytes.start);
        Span { lines: (line(bytes.start), line(last)), bytes }
    }
}

/// Text with the place of each of its bytes.
#[derive(Clone, Default)]
pub(super) struct Joined {
    pub(super) text: String,
    at: Vec<usize>,
}

impl Joined {
    /// Adds bytes of the file; what is no UTF-8 is replaced.
    pub(super) fn push(&mut self, file: &File<'_>, range: Range<usize>) {
        let mut at = range.start;
        for chunk in file.bytes[range].utf8_chunks() {
            self.at.extend(at..at + chunk.valid().len());
            self.text.push_str(chunk.valid());
            at += chunk.valid().len();
            if !chunk.invalid().is_empty() {
                self.text.push(char::REPLACEMENT_CHARACTER);
                self.at.extend([at; char::REPLACEMENT_CHARACTER.len_utf8()]);
                at += chunk.invalid().len();
            }
        }
    }

    /// A part of it. The range must lie on character boundaries.
    pub(super) fn slice(&self, range: Range<usize>) -> Joined {
        Joined { text: self.text[range.clone()].to_owned(), at: self.at[range].to_vec() }
    }

    /// Without blanks at both ends.
    pub(super) fn trim(&self) -> Joined {
        self.trim_start().slice(0..self.text.trim().len())
    }

    /// Without blanks at the beginning.
    pub(super) fn trim_start(&self) -> Joined {
        self.slice(self.text.len() - self.text.trim_start().len()..self.text.len())
    }

    /// The place of a part of the text.
    pub(super) fn span(&self, file: &File<'_>, range: Range<usize>) -> Span {
        let first = self.at.get(range.start).or(self.at.last()).copied().unwrap_or(0);
        let last = range.end.checked_sub(1).and_then(|end| self.at.get(end)).map_or(first, |last| last + 1);
        file.span(first..last.max(first))
    }

    /// The place of all of it.
    pub(super) fn whole(&self, file: &File<'_>) -> Span {
        self.span(file, 0..self.text.len())
    }
}
