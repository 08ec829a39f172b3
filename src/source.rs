//! What comes from outside the graph: base images and the user's directories.

pub mod context;
pub mod image;
pub mod layout;
