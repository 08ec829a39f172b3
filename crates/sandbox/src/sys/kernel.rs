//! Features that an older kernel may lack. kiln needs Linux 5.11. It tries newer features, and
//! falls back where the kernel lacks them.
//!
//! A kiln with debug assertions reads the kernel's version from the variable
//! `KILN_TEST_KERNEL=5.11`, so that tests can force each fallback. A release build ignores the
//! variable.

use std::sync::atomic::{AtomicU32, Ordering};

/// The oldest kernel that kiln works on: it has overlayfs in a user namespace (`userxattr`).
pub const OLDEST: (u32, u32) = (5, 11);

/// A version of Linux.
type Version = (u32, u32);

/// mount_setattr(2).
pub const MOUNT_SETATTR: Version = (5, 12);
/// clone3(2) into a control group.
pub const CLONE_INTO_CGROUP: Version = (5, 7);
/// Each user namespace has its own binfmt_misc.
pub const OWN_BINFMT_MISC: Version = (6, 7);

static PRETENDED: AtomicU32 = AtomicU32::new(u32::MAX);

/// Sets the version to pretend, in builds with debug assertions.
pub fn pretend(version: &str) {
    if cfg!(debug_assertions)
        && let Some((major, minor)) = parse(version)
    {
        PRETENDED.store(number((major, minor)), Ordering::Relaxed);
    }
}

/// True if the pretended version is older than `since`. The real kernel is tried only if this is
/// false. Makes no system call.
pub fn lacks(since: Version) -> bool {
    cfg!(debug_assertions) && PRETENDED.load(Ordering::Relaxed) < number(since)
}

/// The first two numbers of a release, such as `6.1.0-56-amd64`.
pub fn parse(release: &str) -> Option<Version> {
    let mut parts = release.split(['.', '-']).map(|part| part.parse::<u32>().ok());
    Some((parts.next()??, parts.next()??))
}

fn number((major, minor): Version) -> u32 {
    major.saturating_mul(1000).saturating_add(minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read() {
        assert_eq!(parse("6.1.0-56-amd64"), Some((6, 1)));
        assert_eq!(parse("5.11"), Some((5, 11)));
        assert_eq!(parse("six"), None);
        assert!(number((5, 9)) < number(OLDEST));
    }
}
