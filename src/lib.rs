//! `kiln build`: builds an OCI image from a Dockerfile. ARCHITECTURE.md has the map; [`pipeline`]
//! is a build on one screen.

#![warn(unreachable_pub)]

pub mod call;
pub mod cli;
pub mod copy;
pub mod doctor;
pub mod engine;
pub mod explain;
pub mod export;
pub mod gc;
pub mod image;
pub mod pipeline;
pub mod progress;
pub mod request;
pub mod source;
