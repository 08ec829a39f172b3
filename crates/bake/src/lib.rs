//! Bake definitions to targets, as buildx reads them: no files, no processes, no network. The machine is asked through
//! [`host::Host`].
//!
//! [`syntax`] reads HCL and JSON to one tree ([`ast`]); `compose` takes targets from compose files. [`definition`]
//! evaluates variables, functions and blocks with [`eval`], [`value`] and [`functions`], which follow go-cty and HCL.
//! [`selection`] picks targets and applies inheritance, overrides and links; `checks` looks at what they ask for.
//! [`command`] is all of it, from flags to text or to a plan. Each value knows its place, so that a
//! [`problem::Problem`] has a caret.

pub mod allow;
pub mod ast;
mod checks;
mod clock;
pub mod command;
mod compose;
pub mod csv;
pub mod definition;
pub mod entry;
pub mod eval;
pub mod functions;
pub mod grants;
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
