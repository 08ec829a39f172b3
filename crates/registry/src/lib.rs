//! The distribution protocol (OCI distribution specification): pull, push and authentication. Knows
//! nothing of images, layers or the cache.

#![warn(unreachable_pub)]

mod agents;
mod auth;
pub mod client;
pub mod config;
mod helper;
pub mod login;
pub mod push;
pub mod reference;
mod transport;

pub use agents::{Agents, Proxies};
pub use client::{Client, Settings};
pub use login::{Credential, Logins};
pub use reference::Reference;
pub use transport::escaped;
