//! Bake definitions, read as buildx reads them.

pub mod allow;
pub mod ast;
mod checks;
mod clock;
pub mod command;
pub mod csv;
pub mod definition;
pub mod entry;
pub mod eval;
pub mod functions;
pub mod host;
mod list;
pub mod number;
pub mod paths;
pub mod problem;
pub mod remote;
pub mod selection;
pub mod syntax;
pub mod target;
mod types;
pub mod value;
