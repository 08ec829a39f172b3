//! kiln
#![allow(dead_code)]
mod digest;
mod error;
mod exec;
mod sys;
mod layer;
mod store;
mod cache;
fn main() {}
