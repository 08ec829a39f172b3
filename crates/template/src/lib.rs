//! Go's `text/template` over JSON values: what `--format '{{.Names}}'` means to docker's users.
//!
//! Reading order: [`Template`] is the whole interface; `lex` cuts a text into tokens, `parse` makes
//! nodes of them, `exec` walks the nodes with a value, `functions` holds one row per function,
//! `printf` formats like Go's `fmt`, and `table` aligns columns like docker's `table` prefix.
//!
//! Supported: fields, variables, pipelines, parentheses, comments, trim markers, `if`, `range`,
//! `with`, `break`, `continue`, `define`, `template`, `block`, Go's predefined functions and
//! docker's (`json`, `join`, `split`, `lower`, `upper`, `title`, `pad`, `truncate`).
//! Not supported: methods with arguments and `call`, because a JSON value has neither.
//!
//! Templates come from the command line, so they are hostile: nesting, recursion, loops and the
//! size of the output have limits ([`Limits`]). This crate does no I/O.

#![warn(unreachable_pub)]

mod error;
mod exec;
mod functions;
mod lex;
mod node;
mod parse;
mod print;
mod printf;
pub mod table;

pub use error::Error;
pub use exec::{Limits, Missing};

use node::Trees;
use serde_json::Value;

/// A parsed template.
#[derive(Debug, Clone)]
pub struct Template {
    trees: Trees,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// The text is not a template: the error names the line and what was expected there.
    pub fn parse(text: &str) -> Result<Template, Error> {
        Ok(Template { trees: parse::parse(text)? })
    }

    /// Executes the template with `data` as its dot.
    ///
    /// # Errors
    /// A field is missing (with [`Missing::Error`]), a function refuses its arguments, or a limit
    /// is reached. What was printed before the error is lost.
    pub fn execute(&self, data: &Value, missing: Missing) -> Result<String, Error> {
        exec::execute(&self.trees, data, missing, Limits::default())
    }

    /// The names of the fields that the template takes from its top-level value, in order of their
    /// first use: docker prints them as the heading of a `table`.
    pub fn fields(&self) -> Vec<String> {
        self.trees.fields()
    }
}
