//! kiln
#![allow(dead_code)]
mod digest;
mod error;
mod layer;
mod store;
fn main() {}
