//! The typed model: a project with its services, networks, volumes, secrets, configs and models.
//!
//! A record is a table of keys (`record`). The table reads the record from a tree
//! ([`decode`]) and prints it ([`encode`]), in the order of Docker Compose's output.

mod build;
pub mod decode;
mod deploy;
pub mod encode;
mod mount;
mod record;
mod resource;
mod service;
mod values;

pub use build::Build;
pub use deploy::*;
pub use mount::*;
pub use resource::*;
pub use service::*;
pub use values::*;

use std::collections::BTreeMap;

/// Values by name.
pub type Named<T> = BTreeMap<String, T>;
