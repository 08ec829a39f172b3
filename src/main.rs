//! kiln
#![allow(dead_code)]
mod digest;
mod error;
mod copy;
mod exec;
mod registry;
mod source;
mod sys;
mod layer;
mod store;
mod cache;
fn main() {}
