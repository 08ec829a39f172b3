//! The limit of descriptors of a process (RLIMIT_NOFILE): the hard limit for kiln itself, the
//! original limit for a step.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::OnceLock;

static BEFORE: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit of this process to the hard limit. A login has 1,024, and many layers at
/// once need more.
pub fn raise() {
    let limit = *BEFORE.get_or_init(|| getrlimit(Resource::Nofile));
    // If this fails, kiln does less at once.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// The original limit, for steps: some programs close every descriptor up to the limit, one by one.
pub(super) fn before() -> Option<(Resource, Rlimit)> {
    BEFORE.get().map(|limit| (Resource::Nofile, *limit))
}
