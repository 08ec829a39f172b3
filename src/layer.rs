//! layers
pub mod tree;
