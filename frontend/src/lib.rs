//! TEXT -> GRAPH: a Dockerfile becomes a plan. No files, no processes, no network: what stands behind a name is
//! asked through [`resolve::Resolve`].
pub mod config;
pub mod diagnostic;
pub mod expand;
pub mod glob;
pub mod ignore;
pub mod line;
pub mod op;
pub mod platform;
pub mod resolve;
pub mod text;
