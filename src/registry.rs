//! The distribution protocol, as far as an anonymous reader needs it (OCI distribution specification). Knows nothing of
//! images, layers or the cache.

pub mod client;
pub mod reference;

pub use client::{Client, Settings};
pub use reference::Reference;
