//! Files to syntax trees.

mod hcl;
mod json;
mod json_text;
mod template;

pub use hcl::{expression, parse as parse_hcl};
pub use json::parse as parse_json;

use crate::ast::Body;
use crate::problem::{Problem, Source, Span};

/// Largest definition, in bytes.
pub const LARGEST: usize = 8 << 20;

/// Reads a definition that is not a compose file: by the ending of its name, else as HCL and then as JSON.
pub fn parse(file: usize, source: &Source) -> Result<Body, Problem> {
    let start = Span::new(file, 0..0);
    if source.text.len() > LARGEST {
        return Err(Problem::at(start, "Definition too large", format!("more than {} MiB", LARGEST >> 20)));
    }
    let text = std::str::from_utf8(&source.text).map_err(|error| {
        let at = error.valid_up_to();
        Problem::at(Span::new(file, at..at + 1), "Invalid character encoding", "All input files must be UTF-8 encoded.")
    })?;
    if source.name.ends_with(".json") {
        return parse_json(file, text);
    }
    match parse_hcl(file, text) {
        Err(problem) if !source.name.ends_with(".hcl") => parse_json(file, text).map_err(|_| problem),
        result => result,
    }
}
