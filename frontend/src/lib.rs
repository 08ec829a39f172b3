//! TEXT -> GRAPH: a Dockerfile becomes a plan. No files, no processes, no network: what stands behind a name is
//! asked through [`resolve::Resolve`].
//!
//! [`read`] cuts bytes into logical lines; `instruction` (THE TABLE) reads each by its own rules;
//! [`plan()`] lowers the stages that the target needs, each through the narrow surface of `stage`.

#![warn(unreachable_pub)]

pub mod check;
pub mod config;
pub mod diagnostic;
pub mod expand;
pub mod glob;
pub mod go;
pub mod ignore;
mod instruction;
pub mod line;
pub mod op;
pub mod outline;
pub mod plan;
mod planner;
pub mod platform;
mod reference;
pub mod remote;
pub mod resolve;
mod stage;
pub mod syntax;
pub mod text;

pub use planner::{check, global_default, plan, read};
