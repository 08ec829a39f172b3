//! YAML to trees: the documents of a file as [`Node`]s, with the tags `!reset` and `!override` as lists of paths.
//!
//! The events of `saphyr-parser` become a raw tree in which an alias is a reference (`events`); [`expand`] turns it
//! into the tree of the model: aliases are copied, merge keys resolved, scalars typed (`scalar`). Budgets hold for the
//! size of a file, the depth of a tree and the number of its nodes after the aliases were copied, so that no file
//! costs more than its own size allows.

mod events;
mod expand;
mod scalar;

use crate::node::Node;
use crate::place::{FileId, Place};
use crate::problem::{Code, Problem, Result};

/// No file is larger, in bytes.
pub const LARGEST: u64 = 8 << 20;

/// No tree is deeper.
pub(crate) const DEEPEST: usize = 100;

/// No tree has more nodes once its aliases are copied.
pub(crate) const MOST_NODES: usize = 400_000;

/// A document of a file.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its tree.
    pub root: Node,
    /// The paths that `!reset` and `!override` take away from earlier files.
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
