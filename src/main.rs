//! kiln
#![allow(dead_code)]
mod digest;
mod error;
mod copy;
mod engine;
mod exec;
mod export;
mod image;
mod registry;
mod source;
mod sys;
mod layer;
mod store;
mod cache;
fn main() {}
