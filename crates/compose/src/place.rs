//! Places in files: each value of a compose file knows the file and the bytes it was written in.

use std::cell::RefCell;
use std::rc::Rc;

/// The number of a file in [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId(u32);

impl FileId {
    /// Stands for no file.
    pub const NONE: FileId = FileId(u32::MAX);
}

/// A range of bytes in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: FileId,
    /// The first byte.
    pub start: u32,
    /// The byte after the last one.
    pub end: u32,
}

/// A file that was read.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its absolute path, or `-` for standard input.
    pub name: Rc<str>,
    /// Its text.
    pub text: Rc<str>,
}

/// All files of a project, kept for the excerpts in error messages.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: RefCell<Vec<Source>>,
}

impl Sources {
    /// Adds a file. A file that is read again gets a new number.
    pub fn add(&self, name: &str, text: &str) -> FileId {
        let mut files = self.files.borrow_mut();
        files.push(Source { name: name.into(), text: text.into() });
        FileId(files.len() as u32 - 1)
    }

    /// The file with this number.
    pub fn get(&self, file: FileId) -> Option<Source> {
        self.files.borrow().get(file.0 as usize).cloned()
    }

    /// The file, line and column of a place. Line and column count from 1.
    pub fn position(&self, place: Place) -> Option<(Rc<str>, u32, u32)> {
        let source = self.get(place.file)?;
        let before = source.text.as_bytes().get(..place.start as usize)?;
        let line = before.iter().filter(|&&byte| byte == b'\n').count() as u32 + 1;
        let start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let column = String::from_utf8_lossy(&before[start..]).chars().count() as u32 + 1;
        Some((source.name, line, column))
    }
}

impl Place {
    /// A place in a file.
    pub fn new(file: FileId, start: usize, end: usize) -> Place {
        Place { file, start: start as u32, end: end.max(start) as u32 }
    }
}
