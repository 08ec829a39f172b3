//! The pieces that every crate of kiln uses: errors with their exit codes, digests, clocks, sizes,
//! cleaned text, words that people write, bounded reads, and the files that kiln writes for its
//! user.
//!
//! It depends on no other crate of kiln, and knows no image, store or container.

#![warn(unreachable_pub)]

pub mod attributes;
pub mod clock;
pub mod digest;
pub mod error;
pub mod outside;
pub mod random;
pub mod read;
pub mod size;
pub mod sync;
pub mod text;
pub mod umask;
pub mod words;
