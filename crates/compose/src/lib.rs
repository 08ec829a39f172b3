//! Compose files to a model: no files, no processes, no network. The machine is asked through [`host::Host`].
//!
//! [`options`] finds the files, variables and the name of a project; [`load`] brings each file to one tree:
//! text ([`yaml`]), variables (`interpolate`), other files (`include`, `extends`), earlier files (`merge`, `unicity`),
//! the form of compose files ([`schema`]), long forms (`canonical`), defaults and paths (`defaults`, `rebase`,
//! `normalize`). [`model`] gives the tree types; `consistency` checks that its parts fit together; [`project`] holds
//! the result and [`config`](mod@config) prints it. Each value knows its place, so that a [`problem::Problem`] has a
//! caret.

mod canonical;
pub mod config;
mod consistency;
mod defaults;
pub mod dotenv;
mod extends;
pub mod filepath;
pub mod go;
pub mod host;
mod include;
mod interpolate;
pub mod load;
mod merge;
pub mod model;
pub mod node;
mod normalize;
pub mod options;
pub mod path;
pub mod place;
pub mod print;
pub mod problem;
pub mod project;
mod read;
mod rebase;
mod resolve;
pub mod schema;
mod select;
pub mod shell;
pub mod template;
pub mod timestamp;
mod unicity;
pub mod yaml;
