//! How many descriptors a process may have: kiln itself as many as it is allowed to, a step as many as before.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::OnceLock;

static BEFORE: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit of this process to the hard one: a login has 1,024, and many layers at once take more.
pub fn raise() {
    let limit = *BEFORE.get_or_init(|| getrlimit(Resource::Nofile));
    // Where it is refused, less is done at once.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// What it was before: programs in steps exist that close all descriptors that they might have, one by one.
pub(super) fn before() -> Option<(Resource, Rlimit)> {
    BEFORE.get().map(|limit| (Resource::Nofile, *limit))
}
