//! Inputs from outside the graph: base images and the user's directories.

pub mod archive;
pub mod context;
pub mod fetched;
pub mod git;
pub mod http;
pub mod image;
mod index;
pub mod layout;
