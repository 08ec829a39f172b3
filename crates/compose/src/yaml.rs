//! Parses YAML: the documents of a file become [`Node`]s, and the tags `!reset` and `!override`
//! become lists of paths.
//!
//! The events of `saphyr-parser` become a raw tree in which an alias is a reference (`events`).
//! `expand` turns it into the tree of the model: it copies aliases, resolves merge keys and types
//! scalars (`scalar`). The size of a file, the depth of a tree and the number of its nodes after
//! the aliases were copied are limited, so that a small file can't cost much.

mod events;
mod expand;
mod scalar;

use crate::node::Node;
use crate::place::{FileId, Place};
use crate::problem::{Code, Problem, Result};

/// The largest file, in bytes.
pub const LARGEST: u64 = 8 << 20;

/// The deepest tree.
pub(crate) const DEEPEST: usize = 100;

/// The most nodes of a tree after its aliases are copied.
pub(crate) const MOST_NODES: usize = 400_000;

/// A document of a file.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its tree.
    pub root: Node,
    /// The paths that `!reset` and `!override` clear in earlier files.
    pub cleared: Vec<Vec<String>>,
}

/// Reads all documents of a file.
pub fn parse(text: &str, file: FileId) -> Result<Vec<Document>> {
    if text.len() as u64 > LARGEST {
        let problem = Problem::new(Code::Limit, format!("the file is too large: more than {LARGEST} bytes"));
        return Err(problem.into());
    }
    refuse_control_characters(text, file)?;
    let mut nodes = MOST_NODES;
    let documents = events::documents(text, file)?;
    documents.into_iter().map(|root| expand::document(&root, &mut nodes)).collect()
}

fn refuse_control_characters(text: &str, file: FileId) -> Result<()> {
    let allowed = |c: char| {
        matches!(c, '\t' | '\n' | '\r' | '\u{85}' | ' '..='\u{7e}')
            || (c >= '\u{a0}' && !matches!(c, '\u{fffe}' | '\u{ffff}'))
    };
    match text.char_indices().find(|(_, c)| !allowed(*c)) {
        None => Ok(()),
        Some((at, c)) => {
            let place = Place::new(file, at, at + c.len_utf8());
            let message = format!("control characters are not allowed in YAML: U+{:04X}", c as u32);
            Err(Problem::at(place, Code::Syntax, message).into())
        }
    }
}

#[cfg(test)]
mod tests;
