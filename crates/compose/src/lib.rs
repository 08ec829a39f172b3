//! Turns Compose files into a model. It opens no files, starts no processes and uses no network;
//! [`host::Host`] gives access to the machine.
//!
//! [`options`] finds the files, variables and the name of a project. [`load`] turns the files into
//! one tree: text ([`yaml`]), variables (`interpolate`), other files (`include`, `extends`),
//! earlier files (`merge`, `unicity`), the schema ([`schema`]), long forms (`canonical`), defaults
//! and paths (`defaults`, `rebase`, `normalize`). [`model`] gives the tree types, and `consistency`
//! checks that its parts fit together. [`project`] holds the result and [`config`](mod@config)
//! prints it. Each value knows its place, so that a [`problem::Problem`] can point at it.

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

pub use rebase::is_remote_context;
